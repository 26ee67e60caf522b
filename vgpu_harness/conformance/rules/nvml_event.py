"""Events, accounting, performance monitoring, confidential computing."""

import os
import time
from typing import Any

from vgpu_harness.conformance.rule import Nvml, rule
from vgpu_harness.conformance.rules.nvml_common import (
    INSUFFICIENT_SIZE,
    INVALID_ARGUMENT,
    NOT_FOUND,
    NOT_SUPPORTED,
    SUCCESS,
    is_number,
    is_roots,
    may_change,
    number,
    refuses_nothing,
    version,
)

_HEADER = "nvml.h 13.5"
_TIMEOUT, _LOST = 10, 15
_XID, _XID_OFF_THE_BUS, _NO_INSTANCE = 8, 79, 0xFFFFFFFF
_UNBIND, _BIND = 1, 2


def _event_set(nvml: Nvml) -> Any:
    box = nvml.out("nvmlEventSet_t")
    nvml.ok("nvmlEventSetCreate", box)
    return nvml.value(box)


@rule(
    "nvmlEventSetCreate",
    "nvmlEventSetFree",
    "nvmlEventSetWait",
    "nvmlEventSetWait_v2",
    source=f"{_HEADER}, nvmlEventSetWait_v2",
    gpu=True,
)
def nothing_happens(nvml: Nvml) -> None:
    """Waiting lasts as long as it is allowed to and ends with NVML_ERROR_TIMEOUT; a freed set is none."""
    nvml.init()
    events, data = _event_set(nvml), nvml.out("nvmlEventData_t")
    for function in ("nvmlEventSetWait", "nvmlEventSetWait_v2"):
        start = time.monotonic()
        nvml.expect(_TIMEOUT, function, events, data, 60)
        nvml.check(time.monotonic() - start > 0.05, "the wait has lasted")
        nvml.expect(_TIMEOUT, function, events, data, 0)
        nvml.untouched(data)
        nvml.expect(INVALID_ARGUMENT, function, events, None, 0)
        nvml.expect(INVALID_ARGUMENT, function, None, data, 0)
    nvml.ok("nvmlEventSetFree", events)
    if nvml.host is not None:
        nvml.expect(INVALID_ARGUMENT, "nvmlEventSetFree", events)
        nvml.expect(INVALID_ARGUMENT, "nvmlEventSetWait_v2", events, data, 0)
    nvml.expect(INVALID_ARGUMENT, "nvmlEventSetCreate", None)
    nvml.expect(INVALID_ARGUMENT, "nvmlEventSetFree", None)


@rule(
    "nvmlDeviceGetSupportedEventTypes",
    "nvmlDeviceRegisterEvents",
    source=f"{_HEADER}, nvmlEventType*",
    gpu=True,
    host={"gpu": [{}, {"profile": "t4-16gb", "nvml": {"ECC": []}}]},
)
def what_can_be_registered(nvml: Nvml) -> None:
    """Each event that the device supports can be registered, another one is NVML_ERROR_NOT_SUPPORTED or none at all."""
    device, events = nvml.device(), _event_set(nvml)
    mask = number(nvml, "nvmlDeviceGetSupportedEventTypes", device) or 0
    for bit in range(63):
        refused = NOT_SUPPORTED if nvml.host is None else INVALID_ARGUMENT
        wanted = (SUCCESS,) if mask >> bit & 1 else (refused, NOT_SUPPORTED, INVALID_ARGUMENT)
        nvml.expect(wanted, "nvmlDeviceRegisterEvents", device, 1 << bit, events)
    nvml.expect(INVALID_ARGUMENT, "nvmlDeviceRegisterEvents", device, _XID, None)
    nvml.expect(INVALID_ARGUMENT, "nvmlDeviceRegisterEvents", None, _XID, events)
    refuses_nothing(nvml, "nvmlDeviceGetSupportedEventTypes", device)
    if nvml.host is not None:
        nvml.equal(mask, 0xFF1F, "the events of an H100")
        is_number(nvml, 0x1C, "nvmlDeviceGetSupportedEventTypes", nvml.device(1))
        nvml.expect(NOT_SUPPORTED, "nvmlDeviceRegisterEvents", nvml.device(1), 1, events)


@rule(
    "nvmlDeviceRegisterEvents",
    "nvmlEventSetWait",
    "nvmlEventSetWait_v2",
    source="NVIDIA's XID catalogue: 79, GPU has fallen off the bus; own choice: each set tells it once",
    gpu=True,
    host={"gpu": [{}, {}], "faults": [{"function": "nvmlDeviceGetPowerUsage", "lost": 1}]},
)
def a_lost_gpu_is_an_event(nvml: Nvml) -> None:
    """A GPU that falls off the bus is XID 79 once, for the sets that have registered it for that GPU."""
    first, second = nvml.device(0), nvml.device(1)
    if nvml.host is None:
        return
    sets = [_event_set(nvml) for _ in range(4)]
    for events in sets[:2]:
        nvml.ok("nvmlDeviceRegisterEvents", second, _XID, events)
    nvml.ok("nvmlDeviceRegisterEvents", first, _XID, sets[2])
    nvml.ok("nvmlDeviceRegisterEvents", second, 4, sets[3])
    data = nvml.out("nvmlEventData_t")
    nvml.expect(_TIMEOUT, "nvmlEventSetWait_v2", sets[0], data, 0)
    nvml.call("nvmlDeviceGetPowerUsage", first, nvml.out("unsigned int"))
    nvml.ok("nvmlEventSetWait_v2", sets[0], data, 1000)
    event = nvml.value(data)
    nvml.equal((event.device, event.eventType, event.eventData), (second, _XID, _XID_OFF_THE_BUS), "the event")
    nvml.equal((event.gpuInstanceId, event.computeInstanceId), (_NO_INSTANCE, _NO_INSTANCE), "its instances")
    nvml.expect(_TIMEOUT, "nvmlEventSetWait_v2", sets[0], data, 0)
    old = nvml.out("nvmlEventData_t")
    tail = bytes(nvml.ffi.buffer(old))[24:]
    nvml.ok("nvmlEventSetWait", sets[1], old, 1000)
    nvml.equal((old[0].device, old[0].eventType, old[0].eventData), (second, _XID, _XID_OFF_THE_BUS), "the event")
    nvml.equal(bytes(nvml.ffi.buffer(old))[24:], tail, "what is behind the struct's first version")
    for events in sets[2:]:
        nvml.expect(_TIMEOUT, "nvmlEventSetWait_v2", events, data, 0)
    nvml.expect(_LOST, "nvmlDeviceGetMemoryInfo", second, nvml.out("nvmlMemory_t"))


def _request(nvml: Nvml, kind: str, **fields: Any) -> Any:
    name = f"nvmlSystem{kind}Request_t"
    return nvml.struct(name, version=version(nvml, name, 1), **fields)


@rule(
    "nvmlSystemEventSetCreate",
    "nvmlSystemEventSetFree",
    "nvmlSystemRegisterEvents",
    "nvmlSystemEventSetWait",
    source=f"{_HEADER}, nvmlSystemEventType*",
    gpu=True,
    host={"gpu": [{}, {"pci": "0000:3b:00.0", "nvml": {"PERSISTENCE_MODE": 0}}]},
)
def gpus_come_and_go(nvml: Nvml) -> None:
    """A GPU that is taken out of service or put back is a system event; nothing new is NVML_ERROR_TIMEOUT."""
    nvml.init()
    for kind, function in (
        ("EventSetCreate", "nvmlSystemEventSetCreate"),
        ("EventSetFree", "nvmlSystemEventSetFree"),
        ("RegisterEvent", "nvmlSystemRegisterEvents"),
        ("EventSetWait", "nvmlSystemEventSetWait"),
    ):
        nvml.expect(INVALID_ARGUMENT, function, None)
        nvml.expect(25, function, nvml.struct(f"nvmlSystem{kind}Request_t", version=4711))
    if nvml.host is None:
        return
    create = _request(nvml, "EventSetCreate")
    nvml.ok("nvmlSystemEventSetCreate", create)
    events = create[0].set
    nvml.check(events != nvml.null, "a set has been made")
    nvml.ok("nvmlSystemRegisterEvents", _request(nvml, "RegisterEvent", set=events, eventTypes=3))
    nvml.expect(INVALID_ARGUMENT, "nvmlSystemRegisterEvents", _request(nvml, "RegisterEvent", set=events, eventTypes=4))
    told = nvml.out("struct vgpu_nvml_system_event", 4)
    wait = _request(nvml, "EventSetWait", set=events, data=told, dataSize=4, timeoutms=30)
    start = time.monotonic()
    nvml.expect(_TIMEOUT, "nvmlSystemEventSetWait", wait)
    nvml.check(time.monotonic() - start > 0.02, "the wait has lasted")
    if may_change(nvml):
        pci = nvml.struct("nvmlPciInfo_t", bus=0x3B)
        for function, more, wanted in (
            ("nvmlDeviceRemoveGpu_v2", (0, 0), _UNBIND),
            ("nvmlDeviceDiscoverGpus", (), _BIND),
        ):
            nvml.ok(function, pci, *more)
            nvml.ok("nvmlSystemEventSetWait", wait)
            got = (wait[0].numEvent, told[0].eventType, told[0].gpuId)
            nvml.equal(got, (1, wanted, 0x3B00), f"the events after {function}")
    nvml.ok("nvmlSystemEventSetFree", _request(nvml, "EventSetFree", set=events))
    nvml.expect(INVALID_ARGUMENT, "nvmlSystemEventSetFree", _request(nvml, "EventSetFree", set=events))


@rule(
    "nvmlDeviceGetCurrentClocksEventReasons",
    "nvmlDeviceGetSupportedClocksEventReasons",
    source=f"{_HEADER}, nvmlClocksEventReasons*",
    gpu=True,
)
def reasons_for_clocks(nvml: Nvml) -> None:
    """The newer names answer what the older ones do: the reasons now are some of those that the device can tell."""
    device = nvml.device()
    for what in ("Current", "Supported"):
        newer = number(nvml, f"nvmlDeviceGet{what}ClocksEventReasons", device)
        nvml.equal(newer, number(nvml, f"nvmlDeviceGet{what}ClocksThrottleReasons", device), f"the {what} reasons")
        refuses_nothing(nvml, f"nvmlDeviceGet{what}ClocksEventReasons", device)


_USED = {
    "gpu": [
        {
            "process": [
                {"pid": "self", "memory_mib": 300, "sm": 30, "memory": 3},
                {"pid": 4711, "name": "other", "memory_mib": 100, "sm": 20, "memory": 2},
            ]
        }
    ]
}


@rule(
    "nvmlDeviceGetAccountingMode",
    "nvmlDeviceSetAccountingMode",
    "nvmlDeviceGetAccountingBufferSize",
    "nvmlDeviceGetAccountingPids",
    "nvmlDeviceGetAccountingStats",
    "nvmlDeviceGetAccountingStats_v2",
    source=f"{_HEADER}, nvmlDeviceGetAccountingStats",
    gpu=True,
    host=_USED,
)
def accounting(nvml: Nvml) -> None:
    """Off it tells nothing; switched on by root it lists the processes and what each of them uses."""
    device = nvml.device()
    number(nvml, "nvmlDeviceGetAccountingMode", device)
    is_number(nvml, 4000, "nvmlDeviceGetAccountingBufferSize", device)
    refuses_nothing(nvml, "nvmlDeviceGetAccountingMode", device)
    refuses_nothing(nvml, "nvmlDeviceGetAccountingBufferSize", device)
    refuses_nothing(nvml, "nvmlDeviceGetAccountingStats", device, 4711)
    nvml.expect(INVALID_ARGUMENT, "nvmlDeviceGetAccountingStats_v2", device, None)
    nvml.expect(INVALID_ARGUMENT, "nvmlDeviceGetAccountingPids", device, None, None)
    nvml.expect(INVALID_ARGUMENT, "nvmlDeviceSetAccountingMode", None, 1)
    if nvml.host is None:
        return
    is_number(nvml, 0, "nvmlDeviceGetAccountingMode", device)
    count, pids = nvml.struct("unsigned int"), nvml.out("unsigned int", 2)
    nvml.expect(NOT_SUPPORTED, "nvmlDeviceGetAccountingPids", device, count, None)
    nvml.expect(NOT_SUPPORTED, "nvmlDeviceGetAccountingStats", device, 4711, nvml.out("nvmlAccountingStats_t"))
    nvml.expect(INVALID_ARGUMENT, "nvmlDeviceSetAccountingMode", device, 2)
    is_roots(nvml, "nvmlDeviceSetAccountingMode", device, 1)
    if not may_change(nvml):
        return
    nvml.ok("nvmlDeviceSetAccountingMode", device, 1)
    is_number(nvml, 1, "nvmlDeviceGetAccountingMode", device)
    nvml.expect(INSUFFICIENT_SIZE, "nvmlDeviceGetAccountingPids", device, count, None)
    nvml.equal(count[0], 2, "the processes")
    nvml.ok("nvmlDeviceGetAccountingPids", device, count, pids)
    nvml.equal(nvml.values(pids), [os.getpid(), 4711], "their numbers")
    for pid, wanted in ((os.getpid(), (30, 3, 300 << 20, 1, 0)), (4711, (20, 2, 100 << 20, 1, 0))):
        first = nvml.out("nvmlAccountingStats_t")
        nvml.ok("nvmlDeviceGetAccountingStats", device, pid, first)
        second = nvml.out("nvmlAccountingStats_v2_t", pid=pid)
        nvml.ok("nvmlDeviceGetAccountingStats_v2", device, second)
        for got in (nvml.value(first), nvml.value(second)):
            said = (got.gpuUtilization, got.memoryUtilization, got.maxMemoryUsage, got.isRunning, got.time)
            nvml.equal(said, wanted, f"what process {pid} uses")
        nvml.equal((second[0].sampleCount, second[0].sumGpuUtil), (1, wanted[0]), "the sums")
    nvml.expect(NOT_FOUND, "nvmlDeviceGetAccountingStats", device, 4712, nvml.out("nvmlAccountingStats_t"))


@rule(
    "nvmlGpmQueryDeviceSupport",
    "nvmlGpmSampleAlloc",
    "nvmlGpmSampleGet",
    "nvmlGpmSampleFree",
    "nvmlGpmMetricsGet",
    source=f"{_HEADER}, nvmlGpmMetricsGet",
    gpu=True,
    host={"gpu": [{"nvml": {"UTILIZATION_GPU": 37, "UTILIZATION_MEMORY": 21, "PCIE_THROUGHPUT": [2048, 1024]}},
                  {"profile": "a100-80gb-sxm4"}]},
)  # fmt: skip
def metrics(nvml: Nvml) -> None:
    """Two samples of one device make metrics; an unsampled one is refused, an unknown metric has its own code."""
    device = nvml.device()
    support = nvml.out("nvmlGpmSupport_t", version=1)
    nvml.ok("nvmlGpmQueryDeviceSupport", device, support)
    nvml.check(support[0].isSupportedDevice in (0, 1), "the device is supported or not")
    nvml.expect(25, "nvmlGpmQueryDeviceSupport", device, nvml.out("nvmlGpmSupport_t", version=4711))
    nvml.expect(INVALID_ARGUMENT, "nvmlGpmQueryDeviceSupport", None, support)
    nvml.expect(INVALID_ARGUMENT, "nvmlGpmSampleAlloc", None)
    nvml.expect(INVALID_ARGUMENT, "nvmlGpmMetricsGet", None)
    if nvml.host is None:
        return
    nvml.equal(support[0].isSupportedDevice, 1, "support by an H100")
    boxes = [nvml.out("nvmlGpmSample_t") for _ in range(2)]
    for box in boxes:
        nvml.ok("nvmlGpmSampleAlloc", box)
    samples = [nvml.value(box) for box in boxes]
    question = nvml.struct("nvmlGpmMetricsGet_t", version=1, numMetrics=4, sample1=samples[0], sample2=samples[1])
    for i, metric in enumerate((1, 10, 20, 400)):
        question[0].metrics[i].metricId = metric
    nvml.ok("nvmlGpmSampleGet", device, samples[0])
    nvml.expect(INVALID_ARGUMENT, "nvmlGpmMetricsGet", question)
    nvml.ok("nvmlGpmSampleGet", device, samples[1])
    nvml.ok("nvmlGpmMetricsGet", question)
    got = [(question[0].metrics[i].nvmlReturn, question[0].metrics[i].value) for i in range(3)]
    nvml.equal(got, [(SUCCESS, 37.0), (SUCCESS, 21.0), (SUCCESS, 2.0)], "the metrics")
    nvml.equal(question[0].metrics[3].nvmlReturn, NOT_SUPPORTED, "the code of an unknown metric")
    nvml.equal(nvml.string(question[0].metrics[0].unit), "%", "the unit of a utilisation")
    nvml.expect(NOT_SUPPORTED, "nvmlGpmSampleGet", nvml.device(1), samples[1])
    nvml.ok("nvmlGpmSampleFree", samples[1])
    nvml.expect(INVALID_ARGUMENT, "nvmlGpmSampleFree", samples[1])
    nvml.expect(INVALID_ARGUMENT, "nvmlGpmMetricsGet", question)


@rule(
    "nvmlGpmQueryIfStreamingEnabled",
    "nvmlGpmSetStreamingEnabled",
    source=f"{_HEADER}, the functions named",
    gpu=True,
)
def streaming(nvml: Nvml) -> None:
    """Root switches the streaming of metrics on and off, and the query says so."""
    device = nvml.device()
    refuses_nothing(nvml, "nvmlGpmQueryIfStreamingEnabled", device)
    nvml.expect(INVALID_ARGUMENT, "nvmlGpmSetStreamingEnabled", None, 1)
    if nvml.host is None:
        return
    nvml.expect(INVALID_ARGUMENT, "nvmlGpmSetStreamingEnabled", device, 2)
    is_roots(nvml, "nvmlGpmSetStreamingEnabled", device, 1)
    if may_change(nvml):
        for state in (1, 0):
            nvml.ok("nvmlGpmSetStreamingEnabled", device, state)
            is_number(nvml, state, "nvmlGpmQueryIfStreamingEnabled", device)


@rule(
    "nvmlSystemGetConfComputeCapabilities",
    "nvmlSystemGetConfComputeState",
    "nvmlSystemGetConfComputeSettings",
    "nvmlSystemGetConfComputeGpusReadyState",
    "nvmlDeviceGetConfComputeMemSizeInfo",
    source=f"{_HEADER}, NVML_CC_*; own choice: a processor without confidential computing",
    gpu=True,
)
def confidential_computing_is_off(nvml: Nvml) -> None:
    """An H100 could do it and its host cannot: it is off, no work is accepted, all memory is unprotected."""
    device = nvml.device()
    for function in ("Capabilities", "State", "Settings", "GpusReadyState"):
        nvml.expect(INVALID_ARGUMENT, f"nvmlSystemGetConfCompute{function}", None)
    refuses_nothing(nvml, "nvmlDeviceGetConfComputeMemSizeInfo", device)
    kind = "nvmlSystemConfComputeSettings_t"
    nvml.expect(25, "nvmlSystemGetConfComputeSettings", nvml.struct(kind, version=4711))
    if nvml.host is None:
        return
    able, state = nvml.out("nvmlConfComputeSystemCaps_t"), nvml.out("nvmlConfComputeSystemState_t")
    nvml.ok("nvmlSystemGetConfComputeCapabilities", able)
    nvml.ok("nvmlSystemGetConfComputeState", state)
    settings = nvml.out(kind, version=version(nvml, kind, 1))
    nvml.ok("nvmlSystemGetConfComputeSettings", settings)
    memory = nvml.out("nvmlConfComputeMemSizeInfo_t")
    nvml.ok("nvmlDeviceGetConfComputeMemSizeInfo", device, memory)
    nvml.equal((able[0].cpuCaps, able[0].gpusCaps), (0, 1), "what processor and GPUs can")
    nvml.equal((state[0].environment, state[0].ccFeature, state[0].devToolsMode), (0, 0, 0), "the state")
    said = settings[0]
    nvml.equal((said.environment, said.ccFeature, said.devToolsMode, said.multiGpuMode), (0, 0, 0, 0), "the settings")
    sizes = (memory[0].protectedMemSizeKib, memory[0].unprotectedMemSizeKib)
    nvml.equal(sizes, (0, nvml.host.gpu[0].memory_mib * 1024), "protected and other memory")
    is_number(nvml, 0, "nvmlSystemGetConfComputeGpusReadyState")
