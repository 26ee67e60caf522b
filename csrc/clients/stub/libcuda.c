/* A foreign libcuda.so.1: like the link-time stubs of the CUDA toolkit it has the driver's names, and answers each call
 * with 34, CUDA_ERROR_STUB_LIBRARY. The mini libggml-cuda.so is linked against it; on a test's library path it is the
 * wrong library that a client may find. */
#define STUB(name)                                                                                                     \
    __attribute__((visibility("default"))) int name(void);                                                             \
    int name(void) {                                                                                                   \
        return 34;                                                                                                     \
    }

STUB(cuCtxCreate_v3)
STUB(cuCtxDestroy)
STUB(cuCtxSetCurrent)
STUB(cuDeviceGet)
STUB(cuDeviceGetAttribute)
STUB(cuDeviceGetCount)
STUB(cuDeviceGetName)
STUB(cuDeviceGetPCIBusId)
STUB(cuDeviceGetUuid)
STUB(cuDeviceGetUuid_v2)
STUB(cuDevicePrimaryCtxRetain)
STUB(cuDeviceTotalMem_v2)
STUB(cuDriverGetVersion)
STUB(cuGetErrorString)
STUB(cuInit)
STUB(cuMemAddressFree)
STUB(cuMemAddressReserve)
STUB(cuMemCreate)
STUB(cuMemGetAllocationGranularity)
STUB(cuMemGetInfo_v2)
STUB(cuMemMap)
STUB(cuMemRelease)
STUB(cuMemSetAccess)
STUB(cuMemUnmap)
