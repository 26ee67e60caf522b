"""NVML's waits: others go on while one waits, and a set that is freed meanwhile ends the wait."""

import threading
import time

import pytest

from vgpu_harness._wire import ffi
from vgpu_harness.shims.inprocess import Nvml

SUCCESS, UNINITIALIZED, TIMEOUT = 0, 1, 10
XID, OFF_THE_BUS = 8, 79
lost_gpu = pytest.mark.vgpu(host={"gpu": [{}, {}], "faults": [{"function": "nvmlDeviceGetPowerUsage", "lost": 1}]})


@pytest.fixture
def nvml(vgpu_nvml):
    """NVML after nvmlInit_v2."""
    assert vgpu_nvml.nvmlInit_v2() == SUCCESS
    return vgpu_nvml


def event_set(nvml: Nvml):
    """A new set."""
    box = ffi.new("nvmlEventSet_t *")
    assert nvml.nvmlEventSetCreate(box) == SUCCESS
    return box[0]


def waiting(nvml: Nvml, events, data, milliseconds: int):
    """A thread that waits, and the list that gets the code and how long it took in seconds."""
    answers: list[tuple[int, float]] = []

    def wait() -> None:
        start = time.monotonic()
        answers.append((nvml.nvmlEventSetWait_v2(events, data, milliseconds), time.monotonic() - start))

    thread = threading.Thread(target=wait)
    thread.start()
    return thread, answers


@lost_gpu
def test_others_go_on_while_one_waits(nvml):
    """A loss that another thread meets wakes the waiting one long before its time is up."""
    device, data, events = nvml.device(1)[1], ffi.new("nvmlEventData_t *"), event_set(nvml)
    assert nvml.nvmlDeviceRegisterEvents(device, XID, events) == SUCCESS
    thread, answers = waiting(nvml, events, data, 20_000)
    assert nvml.nvmlDeviceGetCount_v2(ffi.new("unsigned int *")) == SUCCESS
    nvml.nvmlDeviceGetPowerUsage(nvml.device(0)[1], ffi.new("unsigned int *"))
    thread.join(10)
    ((code, took),) = answers
    assert (code, data.device, data.eventType, data.eventData) == (SUCCESS, device, XID, OFF_THE_BUS)
    assert took < 10


def test_a_set_that_is_freed_ends_the_wait(nvml):
    """The waiting thread does not touch freed memory, and comes back."""
    data, events = ffi.new("nvmlEventData_t *"), event_set(nvml)
    thread, answers = waiting(nvml, events, data, 20_000)
    while nvml.nvmlEventSetFree(events) != SUCCESS:
        time.sleep(0.001)
    thread.join(10)
    assert [code for code, _ in answers] in ([UNINITIALIZED], [2])


def test_sets_are_freed_with_the_process(vgpu_image):
    """A program that frees neither its sets nor its samples leaves nothing behind: the state takes them along."""
    with Nvml(vgpu_image) as nvml:
        assert nvml.nvmlInit_v2() == SUCCESS
        for _ in range(3):
            event_set(nvml)
            assert nvml.nvmlGpmSampleAlloc(ffi.new("nvmlGpmSample_t *")) == SUCCESS
        assert nvml.nvmlEventSetWait_v2(event_set(nvml), ffi.new("nvmlEventData_t *"), 0) == TIMEOUT
