/* The types of cuda.h 12.9 and 13.0 that the entry points take. Written from the documented ABI; sizes are tested. */
#ifndef VGPU_CUDA_TYPES_H
#define VGPU_CUDA_TYPES_H

#ifndef VGPU_CDEF
#include <assert.h>
#include <stddef.h>
#include <stdint.h>
#endif

typedef enum cudaError_enum {
#define VGPU_CUDA_CODE(name, number, text) name = number,
#include "cuda/errors.def"
} CUresult;

typedef int CUdevice;
typedef struct CUctx_st *CUcontext;
typedef unsigned long long CUdeviceptr;
typedef unsigned int CUdeviceptr_v1; /* before 3.2 device addresses had 32 bits */
typedef unsigned long long CUmemGenericAllocationHandle;
typedef uint64_t cuuint64_t;

/* Enums in cuda.h. Here they are ints of the same size, since a caller may pass any number. */
typedef int CUdevice_attribute;
typedef int CUmemAllocationGranularity_flags;
typedef int CUdriverProcAddressQueryResult;

enum vgpu_cuda_number {
    VGPU_CUDA_OWN_VERSION = 13000,   /* what cuDriverGetVersion answers where there is no host image */
    VGPU_CUDA_GRANULARITY = 2097152, /* cuMemGetAllocationGranularity on a H100 and an A100, minimum and recommended */
};

enum vgpu_cuda_attribute {
    VGPU_ATTRIBUTE_FIRST = 1,
    VGPU_ATTRIBUTE_CLOCK_RATE = 13,
    VGPU_ATTRIBUTE_MULTIPROCESSOR_COUNT = 16,
    VGPU_ATTRIBUTE_PCI_BUS_ID = 33,
    VGPU_ATTRIBUTE_PCI_DEVICE_ID = 34,
    VGPU_ATTRIBUTE_PCI_DOMAIN_ID = 50,
    VGPU_ATTRIBUTE_COMPUTE_MAJOR = 75,
    VGPU_ATTRIBUTE_COMPUTE_MINOR = 76,
    VGPU_ATTRIBUTE_VMM_SUPPORTED = 102,
    VGPU_ATTRIBUTE_LAST_13_0 = 147, /* ONLY_PARTIAL_HOST_NATIVE_ATOMIC_SUPPORTED, the highest of cuda.h 13.0 */
    VGPU_ATTRIBUTE_LAST = 161,      /* the highest of cuda.h 13.5 */
};

enum vgpu_proc_address_flag {
    VGPU_PROC_LEGACY_STREAM = 1,
    VGPU_PROC_PER_THREAD_STREAM = 2,
};

enum vgpu_proc_address_status {
    VGPU_PROC_SUCCESS = 0,
    VGPU_PROC_NOT_FOUND = 1,
    VGPU_PROC_VERSION_NOT_SUFFICIENT = 2,
};

enum vgpu_memory_kind {
    VGPU_LOCATION_DEVICE = 1,
    VGPU_LOCATION_HOST_NUMA = 3,
    VGPU_ALLOCATION_PINNED = 1,
    VGPU_GRANULARITY_MINIMUM = 0,
    VGPU_GRANULARITY_RECOMMENDED = 1,
    VGPU_ACCESS_NONE = 0,
    VGPU_ACCESS_READ = 1,
    VGPU_ACCESS_READ_WRITE = 3,
};

typedef struct CUuuid_st {
    char bytes[16];
} CUuuid;

typedef struct CUexecAffinityParam_st {
    int type;
    union {
        unsigned int smCount;
    } param;
} CUexecAffinityParam;

typedef struct CUctxCreateParams_st {
    CUexecAffinityParam *execAffinityParams;
    int numExecAffinityParams;
    void *cigParams;
} CUctxCreateParams;

typedef struct CUmemLocation_st {
    int type;
    int id;
} CUmemLocation;

typedef struct CUmemAllocationProp_st {
    int type;
    int requestedHandleTypes;
    CUmemLocation location;
    void *win32HandleMetaData;
    struct {
        unsigned char compressionType;
        unsigned char gpuDirectRDMACapable;
        unsigned short usage;
        unsigned char reserved[4];
    } allocFlags;
} CUmemAllocationProp;

typedef struct CUmemAccessDesc_st {
    CUmemLocation location;
    int flags;
} CUmemAccessDesc;

#ifndef VGPU_CDEF
static_assert(sizeof(CUresult) == 4, "an enum is an int");
static_assert(sizeof(CUuuid) == 16, "as cuda.h has it");
static_assert(sizeof(CUmemAllocationProp) == 32, "as cuda.h has it");
static_assert(sizeof(CUmemAccessDesc) == 12, "as cuda.h has it");
static_assert(sizeof(CUctxCreateParams) == 24, "as cuda.h has it");
#endif

#endif
