"""Every function that a rule proves is made to lie, and a rule must notice."""

from pathlib import Path

import pytest

from vgpu_harness.conformance.control import NEVER, Control, Outcome, controls
from vgpu_harness.conformance.rule import Rule, select
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


def test_every_lie_is_noticed() -> None:
    """Success without work, true errors but no work, another first output: a rule fails, or there is nothing to see."""
    with Suite(subjects(None, None, None)) as suite:
        found = list(controls(suite, select(), quick=True))
    bad = [control for control in found if not control.good]
    silent = [control for control in bad if control.lie is Lie.SILENCE and control.outcome is Outcome.NOT_NOTICED]
    wrong = [f"{control.function}: {control.lie.value} {control.message}" for control in bad if control not in silent]
    assert "\n".join(wrong) == ""
    for reasons, message in ((NOTHING_TO_SEE, ""), (NEVER_SUCCEEDS, NEVER)):
        unseen = {control.function for control in silent if control.message == message}
        listed = [function for functions in reasons.values() for function in functions]
        assert sorted(unseen) == sorted(listed)
    assert {control.function for control in found} == {name for rule in select() for name in rule.functions}
    for lie in Lie:
        assert sum(control.lie is lie and control.outcome is Outcome.NOTICED for control in found) >= 5, lie


RULES = '''
"""Rules that notice too little."""

from vgpu_harness.conformance.rule import Cuda, rule


@rule("cuInit", source="none", gpu=True)
def initialises(cuda: Cuda) -> None:
    """It only asks for a code."""
    cuda.init()


@rule("cuDriverGetVersion", source="none", gpu=True)
def an_error(cuda: Cuda) -> None:
    """It only asks for an error."""
    cuda.expect(1, "cuDriverGetVersion", None)


@rule("cuDeviceGetCount", source="none", gpu=True)
def an_output(cuda: Cuda) -> None:
    """It does not look at the output's value."""
    cuda.init()
    count = cuda.out("int")
    cuda.ok("cuDeviceGetCount", count)
    cuda.value(count)


@rule("cuDeviceGet", source="none", gpu=True)
def wrong(cuda: Cuda) -> None:
    """It is broken without any lie."""
    cuda.expect(7, "cuDeviceGet", None, 0)


@rule("cuGetErrorName", source="none", gpu=False)
def without_a_gpu(cuda: Cuda) -> None:
    """It needs no GPU."""
    name = cuda.out("const char *")
    cuda.ok("cuGetErrorName", 0, name)
    cuda.equal(cuda.string(cuda.value(name)), "CUDA_SUCCESS", "the name")
'''


@pytest.fixture(scope="module")
def lax(tmp_path_factory: pytest.TempPathFactory) -> dict[tuple[str, str], Control]:
    """The controls of rules that notice too little, by function and lie."""
    from vgpu_harness.conformance import rule

    file = tmp_path_factory.mktemp("rules") / "lax.py"
    file.write_text(RULES)
    before = rule.all_rules()
    rule.load(file)
    rules: list[Rule] = select(("lax.*",))
    rule._rules.clear()
    rule._rules.update(before)
    with Suite({"cuda": subjects(None, None, None)["cuda"]}, files=(Path(file),)) as suite:
        return {(control.function, control.lie.value): control for control in controls(suite, rules)}


@pytest.mark.parametrize(
    ("function", "outcomes"),
    [
        ("cuInit", ["not noticed", "not noticed", "no effect"]),
        ("cuDriverGetVersion", ["not noticed", "noticed", "no effect"]),
        ("cuDeviceGetCount", ["noticed", "noticed", "not noticed"]),
        ("cuDeviceGet", ["not tried", "not tried", "not tried"]),
        ("cuGetErrorName", ["noticed"]),
    ],
)
def test_a_rule_that_notices_too_little_is_found(
    lax: dict[tuple[str, str], Control], function: str, outcomes: list[str]
) -> None:
    """Each lie has its own outcome for each kind of lax rule; for one without a GPU there is only one lie."""
    found = [control for (name, _), control in lax.items() if name == function]
    assert [control.outcome.value for control in found] == outcomes
    assert [control.lie for control in found] == (list(Lie) if len(outcomes) > 1 else [Lie.SUCCESS])


def test_a_control_says_why(lax: dict[tuple[str, str], Control]) -> None:
    """It names the rules that were tried, how the lie was noticed, and why a function was not tried."""
    noticed = lax["cuDeviceGetCount", "silence"]
    assert noticed.to_json() == {
        "schema": 1,
        "api": "cuda",
        "function": "cuDeviceGetCount",
        "lie": "silence",
        "outcome": "noticed",
        "rules": ["lax.an_output"],
        "message": "failed an output of int has not been written",
    }
    assert (lax["cuInit", "silence"].message, lax["cuDriverGetVersion", "silence"].message) == ("", NEVER)
    assert "lax.wrong: failed cuDeviceGet answers 3, not 7" in lax["cuDeviceGet", "silence"].message
