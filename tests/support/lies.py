"""Every function that a rule proves is made to lie: what must be noticed, and what no rule can see."""

from collections.abc import Collection

from vgpu_harness.conformance.control import NEVER, Control, Outcome, controls
from vgpu_harness.conformance.rule import select
from vgpu_harness.conformance.subject import subjects
from vgpu_harness.conformance.suite import Lie, Suite

# Why no rule sees that a function is silent where it should work. What is noticed after all must leave the lists.
NOTHING_TO_SEE = {
    "no work of a simulated GPU is ever left over to be waited for": (
        "cuCtxSynchronize", "cuCtxSynchronize_v2", "cuCtxWaitEvent", "cuGreenCtxWaitEvent", "cuStreamSynchronize",
        "cuStreamQuery", "cuEventSynchronize", "cuEventQuery",
    ),
    "a simulated GPU has no caches": ("cuCtxResetPersistingL2Cache", "cuFlushGPUDirectRDMAWrites"),
    "no profiler is attached": ("cuProfilerStart", "cuProfilerStop"),
    "the banks of these GPUs are fixed, and it has no effect there (cuda.h 13.5)": ("cuCtxSetSharedMemConfig",),
    "a sound InfoROM has nothing to tell": ("nvmlDeviceValidateInforom",),
    "what a kernel would be given is seen by none, since no kernel runs": (
        "cuParamSetSize", "cuParamSeti", "cuParamSetf", "cuParamSetv", "cuFuncSetSharedSize", "cuFuncSetCacheConfig",
        "cuKernelSetCacheConfig", "cuFuncSetSharedMemConfig", "cuGraphExecKernelNodeSetParams",
        "cuGraphExecKernelNodeSetParams_v2",
    ),
    "no function tells what an executable graph waits for, nor what stream memory is attached to": (
        "cuGraphExecEventWaitNodeSetEvent", "cuStreamAttachMemAsync",
    ),
}  # fmt: skip
NEVER_SUCCEEDS = {
    "Linux has no locally unique identifiers and no driver models": (
        "cuDeviceGetLuid", "nvmlDeviceGetDriverModel", "nvmlDeviceGetDriverModel_v2", "nvmlDeviceSetDriverModel",
    ),
    "code that a driver of today loads has no texture references, and PTX no unified functions": (
        "cuModuleGetTexRef", "cuModuleGetSurfRef", "cuLibraryGetUnifiedFunction",
    ),
    "NVIDIA's private tables are not there": ("cuGetExportTable", "nvmlInternalGetExportTable"),
    "it is deprecated, and is not supported": ("cuProfilerInitialize",),
    "no context has an affinity": ("cuCtxGetExecAffinity",),
    "no device is excluded": ("nvmlGetExcludedDeviceInfoByIndex", "nvmlGetBlacklistDeviceInfoByIndex"),
    "no unit (S-class system) is there": (
        "nvmlUnitGetHandleByIndex", "nvmlUnitGetUnitInfo", "nvmlUnitGetLedState", "nvmlUnitGetPsuInfo",
        "nvmlUnitGetTemperature", "nvmlUnitGetFanSpeedInfo", "nvmlUnitGetDevices", "nvmlUnitSetLedState",
    ),
    "no debugger is attached": (
        "cudbgApiInit", "cudbgReportDriverApiError", "cudbgReportDriverInternalError", "cudbgGetAPI",
    ),
    "no other driver is there to share with": (
        "cuEGLStreamConsumerConnect", "cuEGLStreamConsumerConnectWithFlags", "cuEGLStreamProducerConnect",
        "cuEGLStreamConsumerDisconnect", "cuEGLStreamProducerDisconnect", "cuEGLStreamConsumerAcquireFrame",
        "cuEGLStreamConsumerReleaseFrame", "cuEGLStreamProducerReturnFrame", "cuImportExternalMemory",
        "cuImportExternalSemaphore", "cuDestroyExternalMemory", "cuDestroyExternalSemaphore",
        "cuExternalMemoryGetMappedBuffer", "cuExternalMemoryGetMappedMipmappedArray", "cuSignalExternalSemaphoresAsync",
        "cuWaitExternalSemaphoresAsync", "cuGraphExecExternalSemaphoresSignalNodeSetParams",
        "cuGraphExecExternalSemaphoresWaitNodeSetParams",
    ),
    "no array is sparse or has planes, and memory is in no dma-buf and above 4 GiB": (
        "cuArrayGetSparseProperties", "cuArrayGetMemoryRequirements", "cuArrayGetPlane", "cuMemMapArrayAsync",
        "cuMipmappedArrayGetSparseProperties", "cuMipmappedArrayGetMemoryRequirements",
        "cuMemGetHandleForAddressRange", "cuMemHostGetDevicePointer",
    ),
    "no kernel runs": ("cuLaunch", "cuLaunchGrid", "cuLaunchGridAsync", "cuLaunchCooperativeKernelMultiDevice"),
}  # fmt: skip

FUNCTIONS = tuple(sorted({name for rule in select() for name in rule.functions}))
"""All that a rule names."""


def check_lies(functions: Collection[str]) -> list[Control]:
    """Success without work, true errors but no work, another first output: a rule fails, or there is nothing to see."""
    with Suite(subjects(None, None, None)) as suite:
        found = list(controls(suite, select(), quick=True, functions=functions))
    bad = [control for control in found if not control.good]
    silent = [control for control in bad if control.lie is Lie.SILENCE and control.outcome is Outcome.NOT_NOTICED]
    wrong = [f"{control.function}: {control.lie.value} {control.message}" for control in bad if control not in silent]
    assert "\n".join(wrong) == ""
    for reasons, message in ((NOTHING_TO_SEE, ""), (NEVER_SUCCEEDS, NEVER)):
        unseen = {control.function for control in silent if control.message == message}
        listed = {function for names in reasons.values() for function in names if function in functions}
        assert sorted(unseen) == sorted(listed)
    assert {control.function for control in found} == set(functions)
    for lie in Lie:
        assert sum(control.lie is lie and control.outcome is Outcome.NOTICED for control in found) >= 5, lie
    return found
