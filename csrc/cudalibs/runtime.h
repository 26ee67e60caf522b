/* The CUDA runtime API, as far as the stand-ins have it. This is NVIDIA's public ABI, written from its documentation:
 * a client built with this header runs on NVIDIA's libcudart as well. Define CUDART_MAJOR as 12 or 13. */
#ifndef CUDALIBS_RUNTIME_H
#define CUDALIBS_RUNTIME_H

#include <stddef.h>
#include <stdint.h>

#include "device_prop.h"

typedef enum cudaError {
#define CUDART_CODE(name, number, text) name = number,
#include "errors.def"
} cudaError_t;

/* Enums in NVIDIA's headers. Here they are ints of the same size, since a caller may pass any number. */
typedef int cudaDeviceAttr;
typedef int cudaFuncAttribute;
typedef int cudaMemcpyKind;
typedef int cudaStreamCaptureMode;
typedef int cudaStreamCaptureStatus;

/* The numbers of cudaDeviceAttr are those of the driver's CUdevice_attribute. */
enum {
    cudaDevAttrIntegrated = 18,
    cudaDevAttrPciBusId = 33,
    cudaDevAttrPciDeviceId = 34,
    cudaDevAttrPciDomainId = 50,
    cudaDevAttrComputeCapabilityMajor = 75,
    cudaDevAttrComputeCapabilityMinor = 76,
    cudaDevAttrCooperativeLaunch = 95,
};

enum {
    cudaMemcpyHostToHost = 0,
    cudaMemcpyHostToDevice = 1,
    cudaMemcpyDeviceToHost = 2,
    cudaMemcpyDeviceToDevice = 3,
    cudaMemcpyDefault = 4,
};

typedef struct CUstream_st *cudaStream_t;
typedef struct CUevent_st *cudaEvent_t;
typedef struct CUgraph_st *cudaGraph_t;
typedef struct CUgraphExec_st *cudaGraphExec_t;
typedef struct CUgraphNode_st *cudaGraphNode_t;
typedef struct CUkern_st *cudaKernel_t;

struct uint3 {
    unsigned int x, y, z;
};

struct dim3 {
    unsigned int x, y, z;
};
typedef struct dim3 dim3;

typedef struct cudaGraphExecUpdateResultInfo_st {
    int result;
    cudaGraphNode_t errorNode;
    cudaGraphNode_t errorFromNode;
} cudaGraphExecUpdateResultInfo;

typedef struct cudaLaunchConfig_st {
    dim3 gridDim;
    dim3 blockDim;
    size_t dynamicSmemBytes;
    cudaStream_t stream;
    struct cudaLaunchAttribute_st *attrs;
    unsigned int numAttrs;
} cudaLaunchConfig_t;

struct cudaFuncAttributes {
    size_t sharedSizeBytes;
    size_t constSizeBytes;
    size_t localSizeBytes;
    int maxThreadsPerBlock;
    int numRegs;
    int ptxVersion;
    int binaryVersion;
    int cacheModeCA;
    int maxDynamicSharedSizeBytes;
    int preferredShmemCarveout;
    int clusterDimMustBeSet;
    int requiredClusterWidth;
    int requiredClusterHeight;
    int requiredClusterDepth;
    int clusterSchedulingPolicyPreference;
    int nonPortableClusterSizeAllowed;
    int reserved[16];
};

#define CUDART(type, name, parameters) __attribute__((visibility("default"))) extern type name parameters;
#include "cudart.def"

/* What cuda_runtime_api.h of 12 does: a program that is compiled against it asks for the newer layout. */
#if CUDART_MAJOR == 12
#define cudaGetDeviceProperties cudaGetDeviceProperties_v2
#endif

#endif
