/* What the nodes of graphs are made from, as cuda.h 13.5 lays it out. */
#ifndef VGPU_CUDA_STRUCTS_GRAPH_H
#define VGPU_CUDA_STRUCTS_GRAPH_H

#include "cuda/structs_copy.h"
#include "cuda/structs_pool.h"
#include "cuda/structs_stream.h"

enum vgpu_node_type {
    VGPU_NODE_KERNEL = 0,
    VGPU_NODE_MEMCPY = 1,
    VGPU_NODE_MEMSET = 2,
    VGPU_NODE_HOST = 3,
    VGPU_NODE_GRAPH = 4,
    VGPU_NODE_EMPTY = 5,
    VGPU_NODE_WAIT_EVENT = 6,
    VGPU_NODE_EVENT_RECORD = 7,
    VGPU_NODE_SEMAPHORES_SIGNAL = 8,
    VGPU_NODE_SEMAPHORES_WAIT = 9,
    VGPU_NODE_MEM_ALLOC = 10,
    VGPU_NODE_MEM_FREE = 11,
    VGPU_NODE_BATCH_MEM_OP = 12,
    VGPU_NODE_CONDITIONAL = 13,
};

enum vgpu_conditional_type {
    VGPU_CONDITIONAL_IF = 0,
    VGPU_CONDITIONAL_WHILE = 1,
    VGPU_CONDITIONAL_SWITCH = 2,
};

/* Of a graph within a node. */
enum vgpu_ownership {
    VGPU_OWNERSHIP_UNSAID = -1,
    VGPU_OWNERSHIP_CLONE = 0,
    VGPU_OWNERSHIP_MOVE = 1,
};

struct CUDA_KERNEL_NODE_PARAMS_st {
    CUfunction func;
    unsigned int gridDimX;
    unsigned int gridDimY;
    unsigned int gridDimZ;
    unsigned int blockDimX;
    unsigned int blockDimY;
    unsigned int blockDimZ;
    unsigned int sharedMemBytes;
    void **kernelParams;
    void **extra;
};

/* The first one, and two members more. */
struct CUDA_KERNEL_NODE_PARAMS_v2_st {
    CUfunction func;
    unsigned int gridDimX;
    unsigned int gridDimY;
    unsigned int gridDimZ;
    unsigned int blockDimX;
    unsigned int blockDimY;
    unsigned int blockDimZ;
    unsigned int sharedMemBytes;
    void **kernelParams;
    void **extra;
    CUkernel kern;
    CUcontext ctx;
};

struct CUDA_MEMSET_NODE_PARAMS_st {
    CUdeviceptr dst;
    size_t pitch;
    unsigned int value;
    unsigned int elementSize;
    size_t width;
    size_t height;
};

struct CUDA_HOST_NODE_PARAMS_st {
    CUhostFn fn;
    void *userData;
};

struct CUDA_EXT_SEM_SIGNAL_NODE_PARAMS_st {
    CUexternalSemaphore *extSemArray;
    const CUDA_EXTERNAL_SEMAPHORE_SIGNAL_PARAMS *paramsArray;
    unsigned int numExtSems;
};

struct CUDA_EXT_SEM_WAIT_NODE_PARAMS_st {
    CUexternalSemaphore *extSemArray;
    const CUDA_EXTERNAL_SEMAPHORE_WAIT_PARAMS *paramsArray;
    unsigned int numExtSems;
};

struct CUDA_BATCH_MEM_OP_NODE_PARAMS_v1_st {
    CUcontext ctx;
    unsigned int count;
    CUstreamBatchMemOpParams *paramArray;
    unsigned int flags;
};

struct CUDA_MEM_ALLOC_NODE_PARAMS_v1_st {
    CUmemPoolProps poolProps;
    const CUmemAccessDesc *accessDescs;
    size_t accessDescCount;
    size_t bytesize;
    CUdeviceptr dptr;
};

struct CUgraphEdgeData_st {
    unsigned char from_port;
    unsigned char to_port;
    unsigned char type;
    unsigned char reserved[5];
};

struct CUDA_GRAPH_INSTANTIATE_PARAMS_st {
    cuuint64_t flags;
    CUstream hUploadStream;
    CUgraphNode hErrNode_out;
    int result_out;
};

struct CUgraphExecUpdateResultInfo_st {
    CUgraphExecUpdateResult result;
    CUgraphNode errorNode;
    CUgraphNode errorFromNode;
};

struct CUgraphNodeParams_st {
    CUgraphNodeType type;
    int reserved0[3];
    union {
        long long reserved1[29];
        CUDA_KERNEL_NODE_PARAMS kernel;
        struct {
            int flags;
            int reserved;
            CUcontext copyCtx;
            CUDA_MEMCPY3D of;
        } memcpy;
        struct {
            CUDA_MEMSET_NODE_PARAMS of;
            CUcontext ctx;
        } memset;
        struct {
            CUDA_HOST_NODE_PARAMS of;
            unsigned int syncMode;
            CUcontext ctx;
        } host;
        struct {
            CUgraph graph;
            int ownership;
        } graph;
        struct {
            CUevent event;
            CUcontext ctx; /* of a record */
        } event;
        struct {
            CUDA_EXT_SEM_SIGNAL_NODE_PARAMS of;
            CUcontext ctx;
        } extSemSignal;
        struct {
            CUDA_EXT_SEM_WAIT_NODE_PARAMS of;
            CUcontext ctx;
        } extSemWait;
        CUDA_MEM_ALLOC_NODE_PARAMS alloc;
        struct {
            CUdeviceptr dptr;
        } free;
        CUDA_BATCH_MEM_OP_NODE_PARAMS memOp;
        struct {
            CUgraphConditionalHandle handle;
            int type; /* enum vgpu_conditional_type */
            unsigned int size;
            CUgraph *phGraph_out;
            CUcontext ctx;
        } conditional;
    };
    long long reserved2;
};

#ifndef VGPU_CDEF
static_assert(sizeof(CUgraphNodeParams) == 256, "as cuda.h has it");
static_assert(sizeof(CUDA_KERNEL_NODE_PARAMS_v1) == 56, "as cuda.h has it");
static_assert(sizeof(CUDA_KERNEL_NODE_PARAMS) == 72, "as cuda.h has it");
static_assert(sizeof(CUDA_MEMSET_NODE_PARAMS) == 40, "as cuda.h has it");
static_assert(sizeof(CUDA_BATCH_MEM_OP_NODE_PARAMS) == 32, "as cuda.h has it");
static_assert(sizeof(CUDA_MEM_ALLOC_NODE_PARAMS) == 120, "as cuda.h has it");
static_assert(sizeof(CUDA_EXT_SEM_SIGNAL_NODE_PARAMS) == 24, "as cuda.h has it");
static_assert(sizeof(CUDA_GRAPH_INSTANTIATE_PARAMS) == 32, "as cuda.h has it");
static_assert(sizeof(CUgraphExecUpdateResultInfo) == 24, "as cuda.h has it");
static_assert(sizeof(CUgraphEdgeData) == 8, "as cuda.h has it");
#endif

#endif
