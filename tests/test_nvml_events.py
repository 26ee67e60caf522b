"""NVML's waits: others go on while one waits, and a set that is freed meanwhile ends the wait."""

import os
import threading
import time

import pytest

from vgpu_harness._wire import ffi
from vgpu_harness.shims.inprocess import Nvml

SUCCESS, UNINITIALIZED, INVALID_ARGUMENT, TIMEOUT = 0, 1, 2, 10
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


def test_a_shutdown_ends_the_wait(nvml):
    """Who waits does not keep a program that shuts NVML down from ending."""
    thread, answers = waiting(nvml, event_set(nvml), ffi.new("nvmlEventData_t *"), 3000)
    time.sleep(0.05)
    assert nvml.nvmlShutdown() == SUCCESS
    thread.join(10)
    assert [code for code, _ in answers] == [UNINITIALIZED]


def test_a_later_set_is_another_one(nvml):
    """A wait ends with its set, even where a new set has been put at the same address meanwhile."""
    codes = []
    for _ in range(3):
        others, events = [event_set(nvml) for _ in range(7)], event_set(nvml)
        thread, answers = waiting(nvml, events, ffi.new("nvmlEventData_t *"), 300)
        time.sleep(0.05)
        # glibc hands the address out again once its cache of freed blocks, 7 long, is full
        for one in [*others, events]:
            nvml.nvmlEventSetFree(one)
        for _ in range(30):
            event_set(nvml)
        thread.join(10)
        codes += [code for code, _ in answers]
    assert len(codes) == 3
    assert codes.count(TIMEOUT) < 2  # one thread may have begun too late


def system_request(kind: str, events=ffi.NULL):
    """A request of version 1 about a set of system events."""
    request = ffi.new(f"nvmlSystem{kind}Request_t *", {"set": events})
    request.version = ffi.sizeof(request[0]) | 1 << 24
    return request


@pytest.mark.vgpu(host={"gpu": [{"nvml": {"PERSISTENCE_MODE": 0}}]})
def test_a_second_registration_forgets_no_event(nvml):
    """What has happened since the first one is still told; a wrong set leaves the request alone."""
    unbind, bind = 1, 2
    created, register = system_request("EventSetCreate"), system_request("RegisterEvent")
    assert nvml.nvmlSystemEventSetCreate(created) == SUCCESS
    register.set, register.eventTypes = created.set, unbind
    assert nvml.nvmlSystemRegisterEvents(register) == SUCCESS
    pci, told = ffi.new("nvmlPciInfo_t *"), ffi.new("struct vgpu_nvml_system_event[4]")
    assert nvml.nvmlDeviceGetPciInfo_v3(nvml.device(0)[1], pci) == SUCCESS
    removed = nvml.nvmlDeviceRemoveGpu_v2(pci, 0, 0)
    assert (removed == SUCCESS) == (os.geteuid() == 0)
    register.eventTypes = bind
    assert nvml.nvmlSystemRegisterEvents(register) == SUCCESS
    wait = system_request("EventSetWait", created.set)
    wait.data, wait.dataSize, wait.numEvent = told, 4, 77
    code = nvml.nvmlSystemEventSetWait(wait)
    assert (code, wait.numEvent) == ((SUCCESS, 1) if removed == SUCCESS else (TIMEOUT, 0))
    assert told[0].eventType == (unbind if removed == SUCCESS else 0)
    wait.set, wait.numEvent = ffi.NULL, 77
    assert (nvml.nvmlSystemEventSetWait(wait), wait.numEvent) == (INVALID_ARGUMENT, 77)
