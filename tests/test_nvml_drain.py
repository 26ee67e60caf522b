"""GPUs that were removed or are lost: what the functions say that name them otherwise than by a handle."""

import os

import pytest

from vgpu_harness._wire import ffi

SUCCESS, INVALID_ARGUMENT, NOT_SUPPORTED, NO_PERMISSION, GPU_IS_LOST = 0, 2, 3, 4, 15
GPUS = [{"nvml": {"PERSISTENCE_MODE": 0}}, {"nvml": {"PERSISTENCE_MODE": 0}}]


@pytest.fixture
def nvml(vgpu_nvml):
    """NVML after nvmlInit_v2."""
    assert vgpu_nvml.nvmlInit_v2() == SUCCESS
    return vgpu_nvml


def address(nvml, n: int):
    """Where the GPU at position `n` is, as nvmlDeviceRemoveGpu wants it."""
    pci = ffi.new("nvmlPciInfo_t *")
    assert nvml.nvmlDeviceGetPciInfo_v3(nvml.device(n)[1], pci) == SUCCESS
    return pci


def links(nvml, device) -> tuple[int, int]:
    """Whether the first link is active, and what asking where it leads answers."""
    active, pci = ffi.new("nvmlEnableState_t *"), ffi.new("nvmlPciInfo_t *")
    assert nvml.nvmlDeviceGetNvLinkState(device, 0, active) == SUCCESS
    return int(active[0]), nvml.nvmlDeviceGetNvLinkRemotePciInfo_v2(device, 0, pci)


@pytest.mark.vgpu(host={"gpu": GPUS})
def test_no_link_leads_to_a_gpu_that_was_removed(nvml):
    """Its peer's links are inactive and lead nowhere until it is discovered again."""
    first, pci = nvml.device(0)[1], address(nvml, 1)
    assert links(nvml, first) == (1, SUCCESS)
    code = nvml.nvmlDeviceRemoveGpu(pci)
    if os.geteuid() != 0:
        assert code == NO_PERMISSION
        return
    assert code == SUCCESS
    assert links(nvml, first) == (0, NOT_SUPPORTED)
    assert nvml.nvmlDeviceDiscoverGpus(pci) == SUCCESS
    assert links(nvml, first) == (1, SUCCESS)


@pytest.mark.vgpu(host={"gpu": [GPUS[0], GPUS[1] | {"mig": [{"profile": "1g.10gb"}]}]})
def test_nothing_of_a_gpu_that_was_removed_is_left(nvml):
    """Its MIG devices and GPU instances are no handles any more, and the system's GPUs are the others."""
    second, pci = nvml.device(1)[1], address(nvml, 1)
    mig, instance, out = ffi.new("nvmlDevice_t *"), ffi.new("nvmlGpuInstance_t *"), ffi.new("unsigned int *")
    info = ffi.new("nvmlGpuInstanceInfo_t *")
    assert nvml.nvmlDeviceGetMigDeviceHandleByIndex(second, 0, mig) == SUCCESS
    assert nvml.nvmlDeviceGetGpuInstanceId(mig[0], out) == SUCCESS
    if os.geteuid() != 0:
        assert nvml.nvmlDeviceRemoveGpu(pci) == NO_PERMISSION
        return
    assert nvml.nvmlDeviceGetGpuInstanceById(second, out[0], instance) == SUCCESS
    assert nvml.nvmlGpuInstanceGetInfo(instance[0], info) == SUCCESS
    assert nvml.nvmlDeviceRemoveGpu(pci) == SUCCESS
    assert nvml.nvmlDeviceGetGpuInstanceId(mig[0], out) == INVALID_ARGUMENT
    assert nvml.nvmlGpuInstanceGetInfo(instance[0], info) == INVALID_ARGUMENT
    out[0] = 0
    assert (nvml.nvmlSystemGetTopologyGpuSet(0, out, ffi.NULL), out[0]) == (SUCCESS, 1)


def sampled(nvml, device):
    """A question for one metric between two samples of a device."""
    question = ffi.new("nvmlGpmMetricsGet_t *")
    question.version, question.numMetrics = 1, 1
    question.metrics[0].metricId = 1
    for name in ("sample1", "sample2"):
        sample = ffi.new("nvmlGpmSample_t *")
        assert nvml.nvmlGpmSampleAlloc(sample) == SUCCESS
        assert nvml.nvmlGpmSampleGet(device, sample[0]) == SUCCESS
        setattr(question, name, sample[0])
    return question


@pytest.mark.vgpu(host={"gpu": GPUS, "faults": [{"function": "nvmlDeviceGetBoardId", "lost": 1}]})
def test_a_lost_gpu_has_no_metrics_and_cannot_be_drained(nvml):
    """What names it by a sample or by its address is answered as all else: GPU_IS_LOST; the other one goes on."""
    questions = [sampled(nvml, nvml.device(n)[1]) for n in range(2)]
    places = [address(nvml, n) for n in range(2)]
    state = ffi.new("nvmlEnableState_t *")

    def codes() -> list[list[int]]:
        return [
            [nvml.nvmlGpmMetricsGet(question) for question in questions],
            [nvml.nvmlDeviceQueryDrainState(place, state) for place in places],
        ]

    assert codes() == [[SUCCESS, SUCCESS]] * 2
    nvml.nvmlDeviceGetBoardId(nvml.device(0)[1], ffi.new("unsigned int *"))
    assert codes() == [[SUCCESS, GPU_IS_LOST]] * 2


@pytest.mark.vgpu(host={"gpu": GPUS, "faults": [{"function": "nvmlGpmMetricsGet", "result": 999, "gpu": 1}]})
def test_a_fault_for_one_gpu_reaches_its_metrics(nvml):
    """A fault of nvmlGpmMetricsGet with `gpu` holds for samples of this GPU."""
    questions = [sampled(nvml, nvml.device(n)[1]) for n in range(2)]
    assert [nvml.nvmlGpmMetricsGet(question) for question in questions] == [SUCCESS, 999]


@pytest.mark.vgpu(host={"gpu": GPUS})
def test_samples_of_a_gpu_that_was_removed(nvml):
    """They are of no GPU that there is: an invalid argument."""
    question, pci = sampled(nvml, nvml.device(1)[1]), address(nvml, 1)
    assert nvml.nvmlGpmMetricsGet(question) == SUCCESS
    if os.geteuid() != 0:
        assert nvml.nvmlDeviceRemoveGpu(pci) == NO_PERMISSION
        return
    assert nvml.nvmlDeviceRemoveGpu(pci) == SUCCESS
    assert nvml.nvmlGpmMetricsGet(question) == INVALID_ARGUMENT
