/* What streams and launches are configured with, as cuda.h 13.5 lays it out. */
#ifndef VGPU_CUDA_STRUCTS_STREAM_H
#define VGPU_CUDA_STRUCTS_STREAM_H

#include "cuda/names.h"

enum vgpu_launch_attribute {
    VGPU_LAUNCH_IGNORE = 0,
    VGPU_LAUNCH_ACCESS_POLICY_WINDOW = 1,
    VGPU_LAUNCH_COOPERATIVE = 2,
    VGPU_LAUNCH_SYNCHRONIZATION_POLICY = 3,
    VGPU_LAUNCH_CLUSTER_DIMENSION = 4,
    VGPU_LAUNCH_CLUSTER_SCHEDULING = 5,
    VGPU_LAUNCH_PRIORITY = 8,
    VGPU_LAUNCH_MEM_SYNC_DOMAIN_MAP = 9,
    VGPU_LAUNCH_MEM_SYNC_DOMAIN = 10,
    VGPU_LAUNCH_ATTRIBUTES = 19, /* all numbers are below */
};

typedef struct CUaccessPolicyWindow_st {
    void *base_ptr;
    size_t num_bytes;
    float hitRatio;
    int hitProp;
    int missProp;
} CUaccessPolicyWindow;

union CUlaunchAttributeValue_union {
    char pad[64];
    CUaccessPolicyWindow accessPolicyWindow;
    int cooperative;
    int syncPolicy;
    struct {
        unsigned int x;
        unsigned int y;
        unsigned int z;
    } clusterDim;
    int clusterSchedulingPolicyPreference;
    int programmaticStreamSerializationAllowed;
    int priority;
    struct {
        unsigned char default_;
        unsigned char remote;
    } memSyncDomainMap;
    int memSyncDomain;
    unsigned int sharedMemCarveout;
};

enum vgpu_memory_operation {
    VGPU_OPERATION_WAIT_32 = 1,
    VGPU_OPERATION_WRITE_32 = 2,
    VGPU_OPERATION_FLUSH = 3,
    VGPU_OPERATION_WAIT_64 = 4,
    VGPU_OPERATION_WRITE_64 = 5,
    VGPU_OPERATION_BARRIER = 6,
    VGPU_OPERATION_ATOMIC = 8,
};

union CUstreamBatchMemOpParams_union {
    int operation; /* enum vgpu_memory_operation */
    struct {
        int operation;
        CUdeviceptr address;
        cuuint64_t value; /* its low half, where the operation is one of 32 bits */
        unsigned int flags;
        CUdeviceptr alias;
    } waitValue, writeValue;
    struct {
        int operation;
        unsigned int flags;
    } flushRemoteWrites, memoryBarrier;
    struct {
        int operation;
        unsigned int flags;
        int reductionOp;
        int dataType;
        CUdeviceptr address;
        cuuint64_t value;
        CUdeviceptr alias;
    } atomicReduction;
    cuuint64_t pad[6];
};

#ifndef VGPU_CDEF
static_assert(sizeof(CUaccessPolicyWindow) == 32, "as cuda.h has it");
static_assert(sizeof(CUstreamAttrValue) == 64, "as cuda.h has it");
static_assert(sizeof(CUstreamBatchMemOpParams) == 48, "as cuda.h has it");
static_assert(offsetof(CUstreamBatchMemOpParams, waitValue.flags) == 24, "as cuda.h has it");
#endif

#endif
