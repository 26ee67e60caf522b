"""The functions that random sequences are drawn from.

Of these, every argument that `Kind` can say is legal: memory that is given is as large as its function may write,
and no count makes one read beyond it. What an array, a callback or a struct with pointers is must be known for each
function of the others; random rubbish there is the caller's crash and says nothing of a library.
"""

CUDA = (
    "cuInit", "cuDriverGetVersion", "cuGetErrorString", "cuGetErrorName", "cuGetProcAddress",
    "cuGetProcAddress_v2", "cuGetExportTable", "cuDeviceGetCount", "cuDeviceGet", "cuDeviceGetAttribute",
    "cuDeviceGetUuid", "cuDeviceGetUuid_v2", "cuDeviceGetName", "cuDeviceTotalMem", "cuDeviceTotalMem_v2",
    "cuDeviceGetPCIBusId", "cuDeviceGetByPCIBusId", "cuCtxCreate", "cuCtxCreate_v2", "cuCtxCreate_v3",
    "cuCtxCreate_v4", "cuCtxDestroy", "cuCtxDestroy_v2", "cuCtxGetCurrent", "cuCtxSetCurrent", "cuCtxPushCurrent",
    "cuCtxPushCurrent_v2", "cuCtxPopCurrent", "cuCtxPopCurrent_v2", "cuCtxGetDevice", "cuCtxGetDevice_v2",
    "cuCtxSynchronize", "cuCtxSynchronize_v2", "cuDevicePrimaryCtxRetain", "cuDevicePrimaryCtxRelease",
    "cuDevicePrimaryCtxRelease_v2", "cuDevicePrimaryCtxReset", "cuDevicePrimaryCtxReset_v2",
    "cuDevicePrimaryCtxGetState", "cuMemGetInfo", "cuMemGetInfo_v2", "cuMemAlloc", "cuMemAlloc_v2", "cuMemFree",
    "cuMemFree_v2", "cuMemGetAllocationGranularity", "cuMemCreate", "cuMemAddressReserve", "cuMemMap",
    "cuMemSetAccess", "cuMemUnmap", "cuMemRelease", "cuMemAddressFree", "cuStreamCreate", "cuStreamDestroy_v2",
    "cuStreamQuery", "cuStreamSynchronize", "cuStreamGetFlags", "cuEventCreate", "cuEventDestroy_v2",
    "cuEventRecord", "cuEventQuery", "cuEventSynchronize", "cuEventElapsedTime", "cuMemAllocManaged",
    "cuMemsetD8_v2", "cuMemsetD32_v2", "cuMemcpyDtoD_v2", "cuMemcpy", "cuMemGetAddressRange_v2", "cuModuleUnload",
    "cuModuleGetLoadingMode", "cuDevicePrimaryCtxSetFlags_v2", "cuCtxGetFlags", "cuCtxGetApiVersion",
    "cuCtxGetLimit", "cuCtxSetLimit", "cuDeviceCanAccessPeer", "cuDeviceGetP2PAttribute", "cuGraphCreate",
    "cuGraphDestroy", "cuGraphInstantiateWithFlags", "cuGraphExecDestroy", "cuMemPoolDestroy",
)  # fmt: skip

NVML = (
    "nvmlInit", "nvmlInit_v2", "nvmlInitWithFlags", "nvmlShutdown", "nvmlErrorString",
    "nvmlSystemGetDriverVersion", "nvmlSystemGetNVMLVersion", "nvmlSystemGetCudaDriverVersion",
    "nvmlSystemGetCudaDriverVersion_v2", "nvmlDeviceGetCount", "nvmlDeviceGetCount_v2",
    "nvmlDeviceGetHandleByIndex", "nvmlDeviceGetHandleByIndex_v2", "nvmlDeviceGetHandleByUUID",
    "nvmlDeviceGetHandleByPciBusId", "nvmlDeviceGetHandleByPciBusId_v2", "nvmlDeviceGetHandleBySerial",
    "nvmlDeviceGetName", "nvmlDeviceGetUUID", "nvmlDeviceGetSerial", "nvmlDeviceGetMinorNumber",
    "nvmlDeviceGetIndex", "nvmlDeviceGetPciInfo", "nvmlDeviceGetPciInfo_v2", "nvmlDeviceGetPciInfo_v3",
    "nvmlDeviceGetMemoryInfo", "nvmlDeviceGetMemoryInfo_v2", "nvmlDeviceGetCudaComputeCapability",
    "nvmlDeviceGetArchitecture", "nvmlDeviceGetTemperature", "nvmlDeviceGetPowerUsage", "nvmlDeviceGetClockInfo",
    "nvmlDeviceGetUtilizationRates", "nvmlDeviceGetPersistenceMode", "nvmlDeviceSetPersistenceMode",
    "nvmlDeviceGetComputeMode", "nvmlDeviceGetEccMode", "nvmlDeviceGetMigMode", "nvmlDeviceGetBAR1MemoryInfo",
    "nvmlUnitGetCount", "nvmlDeviceGetBrand", "nvmlDeviceGetPerformanceState",
)  # fmt: skip
