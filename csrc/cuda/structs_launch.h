/* How kernels are launched, as cuda.h 13.5 lays it out. */
#ifndef VGPU_CUDA_STRUCTS_LAUNCH_H
#define VGPU_CUDA_STRUCTS_LAUNCH_H

#include "cuda/structs_stream.h"

typedef struct CUlaunchAttribute_st {
    int id; /* enum vgpu_launch_attribute */
    char pad[4];
    CUstreamAttrValue value;
} CUlaunchAttribute;

struct CUlaunchConfig_st {
    unsigned int gridDimX;
    unsigned int gridDimY;
    unsigned int gridDimZ;
    unsigned int blockDimX;
    unsigned int blockDimY;
    unsigned int blockDimZ;
    unsigned int sharedMemBytes;
    CUstream hStream;
    CUlaunchAttribute *attrs;
    unsigned int numAttrs;
};

struct CUDA_LAUNCH_PARAMS_st {
    CUfunction function;
    unsigned int gridDimX;
    unsigned int gridDimY;
    unsigned int gridDimZ;
    unsigned int blockDimX;
    unsigned int blockDimY;
    unsigned int blockDimZ;
    unsigned int sharedMemBytes;
    CUstream hStream;
    void **kernelParams;
};

enum vgpu_function_attribute {
    VGPU_FUNCTION_MAX_THREADS = 0,
    VGPU_FUNCTION_SHARED = 1,
    VGPU_FUNCTION_CONST = 2,
    VGPU_FUNCTION_LOCAL = 3,
    VGPU_FUNCTION_REGISTERS = 4,
    VGPU_FUNCTION_PTX_VERSION = 5,
    VGPU_FUNCTION_BINARY_VERSION = 6,
    VGPU_FUNCTION_CACHE_MODE_CA = 7,
    VGPU_FUNCTION_MAX_DYNAMIC_SHARED = 8,
    VGPU_FUNCTION_CARVEOUT = 9,
    VGPU_FUNCTION_CLUSTER_MUST_BE_SET = 10,
    VGPU_FUNCTION_CLUSTER_WIDTH = 11,
    VGPU_FUNCTION_CLUSTER_HEIGHT = 12,
    VGPU_FUNCTION_CLUSTER_DEPTH = 13,
    VGPU_FUNCTION_NON_PORTABLE_CLUSTER = 14,
    VGPU_FUNCTION_CLUSTER_SCHEDULING = 15,
};

/* Of CUdevice_attribute: the limits of a launch. */
enum vgpu_launch_limit {
    VGPU_LIMIT_THREADS_PER_BLOCK = 1,
    VGPU_LIMIT_BLOCK_X = 2, /* y and z follow */
    VGPU_LIMIT_GRID_X = 5,  /* likewise */
    VGPU_LIMIT_SHARED_PER_BLOCK = 8,
    VGPU_LIMIT_WARP = 10,
    VGPU_LIMIT_REGISTERS_PER_BLOCK = 12,
    VGPU_LIMIT_MULTIPROCESSORS = 16,
    VGPU_LIMIT_THREADS_PER_SM = 39,
    VGPU_LIMIT_SHARED_PER_SM = 81,
    VGPU_LIMIT_REGISTERS_PER_SM = 82,
    VGPU_LIMIT_COOPERATIVE_LAUNCH = 95,
    VGPU_LIMIT_SHARED_OPTIN = 97,
    VGPU_LIMIT_BLOCKS_PER_SM = 106,
    VGPU_LIMIT_RESERVED_SHARED = 111,
    VGPU_LIMIT_CLUSTER_LAUNCH = 120,
};

#ifndef VGPU_CDEF
static_assert(sizeof(CUlaunchAttribute) == 72, "as cuda.h has it");
static_assert(sizeof(CUlaunchConfig) == 56, "as cuda.h has it");
static_assert(sizeof(CUDA_LAUNCH_PARAMS) == 56, "as cuda.h has it");
#endif

#endif
