/* Names of types of cuda.h that the list of entry points needs: what is inside them is defined where a model needs it.
 */
#ifndef VGPU_CUDA_NAMES_H
#define VGPU_CUDA_NAMES_H

#include "cuda/types.h"

/* Numbers. */
typedef uint32_t cuuint32_t;
typedef unsigned long long CUtexObject;
typedef unsigned long long CUsurfObject;
typedef cuuint64_t CUgraphConditionalHandle;
typedef unsigned int CUlogIterator;
typedef cuuint32_t CUlogicalEndpointId;

/* Enums in cuda.h. Here they are ints of the same size, since a caller may pass any number. */
typedef int CUaddress_mode;
typedef int CUarray_format;
typedef int CUatomicOperation;
typedef int CUcoredumpSettings;
typedef int CUdevResourceType;
typedef int CUdevice_P2PAttribute;
typedef int CUexecAffinityType;
typedef int CUfilter_mode;
typedef int CUflushGPUDirectRDMAWritesScope;
typedef int CUflushGPUDirectRDMAWritesTarget;
typedef int CUfunc_cache;
typedef int CUfunctionLoadingState;
typedef int CUfunction_attribute;
typedef int CUgraphExecUpdateResult;
typedef int CUgraphMem_attribute;
typedef int CUgraphNodeType;
typedef int CUjitInputType;
typedef int CUjit_option;
typedef int CUkernelNodeAttrID;
typedef int CUlibraryOption;
typedef int CUlimit;
typedef int CUlogicalEndpointIpcHandleType;
typedef int CUmemAccess_flags;
typedef int CUmemAllocationHandleType;
typedef int CUmemAllocationType;
typedef int CUmemPool_attribute;
typedef int CUmemRangeHandleType;
typedef int CUmem_advise;
typedef int CUmem_range_attribute;
typedef int CUmoduleLoadingMode;
typedef int CUmulticastGranularity_flags;
typedef int CUpointer_attribute;
typedef int CUprocessState;
typedef int CUsharedconfig;
typedef int CUstreamAttrID;
typedef int CUstreamCaptureMode;
typedef int CUstreamCaptureStatus;
typedef int CUtensorMapAllocClass;
typedef int CUtensorMapDataType;
typedef int CUtensorMapFloatOOBfill;
typedef int CUtensorMapIm2ColWideMode;
typedef int CUtensorMapInterleave;
typedef int CUtensorMapL2promotion;
typedef int CUtensorMapSwizzle;

/* Handles. */
typedef struct CUarray_st *CUarray;
typedef struct CUasyncCallbackEntry_st *CUasyncCallbackHandle;
typedef struct CUIcheckpointOperation_st *CUcheckpointOperationHandle;
typedef struct CUcoredumpCallbackEntry_st *CUcoredumpCallbackHandle;
typedef struct CUdevResourceDesc_st *CUdevResourceDesc;
typedef struct CUevent_st *CUevent;
typedef struct CUextMemory_st *CUexternalMemory;
typedef struct CUextSemaphore_st *CUexternalSemaphore;
typedef struct CUfunc_st *CUfunction;
typedef struct CUgraph_st *CUgraph;
typedef struct CUgraphExec_st *CUgraphExec;
typedef struct CUgraphNode_st *CUgraphNode;
typedef struct CUgraphicsResource_st *CUgraphicsResource;
typedef struct CUgreenCtx_st *CUgreenCtx;
typedef struct CUkern_st *CUkernel;
typedef struct CUlib_st *CUlibrary;
typedef struct CUlinkState_st *CUlinkState;
typedef struct CUlogsCallbackEntry_st *CUlogsCallbackHandle;
typedef struct CUmemPoolHandle_st *CUmemoryPool;
typedef struct CUmipmappedArray_st *CUmipmappedArray;
typedef struct CUmod_st *CUmodule;
typedef struct CUstream_st *CUstream;
typedef struct CUsurfref_st *CUsurfref;
typedef struct CUtexref_st *CUtexref;
typedef struct CUuserObject_st *CUuserObject;

/* Structs and unions: the models define those that they look into. */
typedef struct CUDA_ARRAY3D_DESCRIPTOR_st CUDA_ARRAY3D_DESCRIPTOR;
typedef struct CUDA_ARRAY3D_DESCRIPTOR_v1_st CUDA_ARRAY3D_DESCRIPTOR_v1;
typedef struct CUDA_ARRAY_DESCRIPTOR_st CUDA_ARRAY_DESCRIPTOR;
typedef struct CUDA_ARRAY_DESCRIPTOR_v1_st CUDA_ARRAY_DESCRIPTOR_v1;
typedef struct CUDA_ARRAY_MEMORY_REQUIREMENTS_st CUDA_ARRAY_MEMORY_REQUIREMENTS;
typedef struct CUDA_ARRAY_SPARSE_PROPERTIES_st CUDA_ARRAY_SPARSE_PROPERTIES;
typedef struct CUDA_BATCH_MEM_OP_NODE_PARAMS_v1_st CUDA_BATCH_MEM_OP_NODE_PARAMS;
typedef struct CUDA_EXTERNAL_MEMORY_BUFFER_DESC_st CUDA_EXTERNAL_MEMORY_BUFFER_DESC;
typedef struct CUDA_EXTERNAL_MEMORY_HANDLE_DESC_st CUDA_EXTERNAL_MEMORY_HANDLE_DESC;
typedef struct CUDA_EXTERNAL_MEMORY_MIPMAPPED_ARRAY_DESC_st CUDA_EXTERNAL_MEMORY_MIPMAPPED_ARRAY_DESC;
typedef struct CUDA_EXTERNAL_SEMAPHORE_HANDLE_DESC_st CUDA_EXTERNAL_SEMAPHORE_HANDLE_DESC;
typedef struct CUDA_EXTERNAL_SEMAPHORE_SIGNAL_PARAMS_st CUDA_EXTERNAL_SEMAPHORE_SIGNAL_PARAMS;
typedef struct CUDA_EXTERNAL_SEMAPHORE_WAIT_PARAMS_st CUDA_EXTERNAL_SEMAPHORE_WAIT_PARAMS;
typedef struct CUDA_EXT_SEM_SIGNAL_NODE_PARAMS_st CUDA_EXT_SEM_SIGNAL_NODE_PARAMS;
typedef struct CUDA_EXT_SEM_WAIT_NODE_PARAMS_st CUDA_EXT_SEM_WAIT_NODE_PARAMS;
typedef struct CUDA_FABRIC_COPY_BATCH_OP_st CUDA_FABRIC_COPY_BATCH_OP;
typedef struct CUDA_GRAPH_INSTANTIATE_PARAMS_st CUDA_GRAPH_INSTANTIATE_PARAMS;
typedef struct CUDA_HOST_NODE_PARAMS_st CUDA_HOST_NODE_PARAMS;
typedef struct CUDA_KERNEL_NODE_PARAMS_v2_st CUDA_KERNEL_NODE_PARAMS;
typedef struct CUDA_KERNEL_NODE_PARAMS_st CUDA_KERNEL_NODE_PARAMS_v1;
typedef struct CUDA_LAUNCH_PARAMS_st CUDA_LAUNCH_PARAMS;
typedef struct CUDA_MEMCPY2D_st CUDA_MEMCPY2D;
typedef struct CUDA_MEMCPY2D_v1_st CUDA_MEMCPY2D_v1;
typedef struct CUDA_MEMCPY3D_st CUDA_MEMCPY3D;
typedef struct CUDA_MEMCPY3D_BATCH_OP_st CUDA_MEMCPY3D_BATCH_OP;
typedef struct CUDA_MEMCPY3D_PEER_st CUDA_MEMCPY3D_PEER;
typedef struct CUDA_MEMCPY3D_v1_st CUDA_MEMCPY3D_v1;
typedef struct CUDA_MEMSET_NODE_PARAMS_st CUDA_MEMSET_NODE_PARAMS;
typedef struct CUDA_MEM_ALLOC_NODE_PARAMS_v1_st CUDA_MEM_ALLOC_NODE_PARAMS;
typedef struct CUDA_RESOURCE_DESC_st CUDA_RESOURCE_DESC;
typedef struct CUDA_RESOURCE_VIEW_DESC_st CUDA_RESOURCE_VIEW_DESC;
typedef struct CUDA_TEXTURE_DESC_st CUDA_TEXTURE_DESC;
typedef struct CU_DEV_SM_RESOURCE_GROUP_PARAMS_st CU_DEV_SM_RESOURCE_GROUP_PARAMS;
typedef struct CUarrayMapInfo_st CUarrayMapInfo;
typedef struct CUcheckpointCheckpointArgs_st CUcheckpointCheckpointArgs;
typedef struct CUcheckpointLockArgs_st CUcheckpointLockArgs;
typedef struct CUcheckpointRestoreArgs_st CUcheckpointRestoreArgs;
typedef struct CUcheckpointUnlockArgs_st CUcheckpointUnlockArgs;
typedef struct CUcliqueInfo_st CUcliqueInfo;
typedef struct CUdevResource_st CUdevResource;
typedef struct CUdevprop_st CUdevprop;
typedef struct CUgraphEdgeData_st CUgraphEdgeData;
typedef struct CUgraphExecUpdateResultInfo_st CUgraphExecUpdateResultInfo;
typedef struct CUgraphNodeParams_st CUgraphNodeParams;
typedef struct CUipcEventHandle_st CUipcEventHandle;
typedef struct CUipcMemHandle_st CUipcMemHandle;
typedef union CUlaunchAttributeValue_union CUkernelNodeAttrValue;
typedef struct CUlaunchConfig_st CUlaunchConfig;
typedef struct CUlogicalEndpointProp_struct CUlogicalEndpointProp;
typedef struct CUmemDecompressParams_st CUmemDecompressParams;
typedef struct CUmemPoolProps_st CUmemPoolProps;
typedef struct CUmemPoolPtrExportData_st CUmemPoolPtrExportData;
typedef struct CUmemcpyAttributes_st CUmemcpyAttributes;
typedef struct CUmulticastObjectProp_st CUmulticastObjectProp;
typedef union CUlaunchAttributeValue_union CUstreamAttrValue;
typedef union CUstreamBatchMemOpParams_union CUstreamBatchMemOpParams;
typedef struct CUstreamCigCaptureParams_st CUstreamCigCaptureParams;
typedef struct CUtensorMap_st CUtensorMap;

/* Callbacks. */
struct CUasyncNotificationInfo_st;
typedef void (*CUhostFn)(void *userData);
typedef void (*CUstreamCallback)(CUstream hStream, CUresult status, void *userData);
typedef size_t (*CUoccupancyB2DSize)(int blockSize);
typedef void (*CUasyncCallback)(struct CUasyncNotificationInfo_st *info, void *userData,
                                CUasyncCallbackHandle callback);
typedef void (*CUcoredumpStatusCallback)(void *userData, int pid, CUdevice dev);
typedef CUresult (*CUgraphRecaptureCallback)(void *data, CUgraphNode node, const CUgraphNodeParams *originalParams,
                                             const CUgraphNodeParams *recaptureParams, int status);
typedef void (*CUlogsCallback)(void *data, int logLevel, char *message, size_t length);

/* Passed by value. */
struct CUipcEventHandle_st {
    char reserved[64];
};

struct CUipcMemHandle_st {
    char reserved[64];
};

/* Of cudaEGL.h, cudaGL.h, cudaVDPAU.h and cudaProfiler.h, and of the headers that those include. */
typedef void *EGLImageKHR;
typedef void *EGLStreamKHR;
typedef void *EGLSyncKHR;
typedef int EGLint;
typedef unsigned int GLenum;
typedef unsigned int GLuint;
typedef unsigned int VdpDevice;
typedef unsigned int VdpVideoSurface;
typedef unsigned int VdpOutputSurface;
typedef int VdpGetProcAddress(VdpDevice device, unsigned int function_id, void **function_pointer);
typedef int CUGLDeviceList;
typedef int CUoutput_mode;
typedef struct CUeglStreamConnection_st *CUeglStreamConnection;

typedef struct CUeglFrame_st {
    union {
        CUarray pArray[3];
        void *pPitch[3];
    } frame;
    unsigned int width;
    unsigned int height;
    unsigned int depth;
    unsigned int pitch;
    unsigned int planeCount;
    unsigned int numChannels;
    int frameType;
    int eglColorFormat;
    int cuFormat;
} CUeglFrame;

#ifndef VGPU_CDEF
static_assert(sizeof(CUipcMemHandle) == 64, "as cuda.h has it");
static_assert(sizeof(CUeglFrame) == 64, "as cudaEGL.h has it");
#endif

#endif
