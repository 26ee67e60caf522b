"""Memory, utilisation, encoders, samples: how much of a device is used."""

from vgpu_harness.conformance.rule import Nvml, rule
from vgpu_harness.conformance.rules.nvml_common import (
    INVALID_ARGUMENT,
    NOT_FOUND,
    NOT_SUPPORTED,
    SUCCESS,
    checks_version,
    is_number,
    number,
    refuses_nothing,
    version,
)

_HEADER = "nvml.h 13.5"
_MIB = 1 << 20


@rule(
    "nvmlDeviceGetMemoryInfo",
    "nvmlDeviceGetMemoryInfo_v2",
    source=f"{_HEADER}, nvmlMemory_t, nvmlMemory_v2_t",
    gpu=True,
)
def memory_adds_up(nvml: Nvml) -> None:
    """Free and used make the total; version 2 of the struct shows what the driver reserves apart from what is used."""
    device = nvml.device()
    first = nvml.out("nvmlMemory_t")
    nvml.ok("nvmlDeviceGetMemoryInfo", device, first)
    one = nvml.value(first)
    second = nvml.out("nvmlMemory_v2_t", version=version(nvml, "nvmlMemory_v2_t", 2))
    nvml.ok("nvmlDeviceGetMemoryInfo_v2", device, second)
    two = nvml.value(second)
    nvml.equal(one.free + one.used, one.total, "free and used memory")
    nvml.equal(two.free + two.used + two.reserved, two.total, "free, used and reserved memory")
    nvml.equal(two.total, one.total, "the total of version 2")
    if nvml.host is not None:
        gpu = nvml.host.gpu[0]
        nvml.equal((one.total, two.reserved), (gpu.memory_mib * _MIB, gpu.reserved_mib * _MIB), "total and reserve")
        nvml.equal((two.used, one.used), (gpu.used_mib * _MIB, (gpu.used_mib + gpu.reserved_mib) * _MIB), "used memory")
    refuses_nothing(nvml, "nvmlDeviceGetMemoryInfo", device)
    checks_version(nvml, "nvmlDeviceGetMemoryInfo_v2", device, "nvmlMemory_v2_t", 2)


@rule("nvmlDeviceGetBAR1MemoryInfo", source=f"{_HEADER}, nvmlBAR1Memory_t", gpu=True)
def bar1_adds_up(nvml: Nvml) -> None:
    """Free and used parts of the window make its size, a power of two."""
    device, box = nvml.device(), nvml.out("nvmlBAR1Memory_t")
    nvml.ok("nvmlDeviceGetBAR1MemoryInfo", device, box)
    bar = nvml.value(box)
    nvml.equal(bar.bar1Free + bar.bar1Used, bar.bar1Total, "free and used window")
    nvml.check(bar.bar1Total > 0 and bar.bar1Total & (bar.bar1Total - 1) == 0, "the window's size is a power of two")
    if nvml.host is not None:
        nvml.equal((bar.bar1Total, bar.bar1Used), (131072 * _MIB, _MIB), "the window, and what is used of it")
    refuses_nothing(nvml, "nvmlDeviceGetBAR1MemoryInfo", device)


@rule("nvmlDeviceGetMemoryBusWidth", source=f"{_HEADER}, nvmlDeviceGetMemoryBusWidth", gpu=True)
def width_of_the_memory_bus(nvml: Nvml) -> None:
    """An H100's bus has 5120 bits."""
    device = nvml.device()
    is_number(nvml, 5120, "nvmlDeviceGetMemoryBusWidth", device)
    refuses_nothing(nvml, "nvmlDeviceGetMemoryBusWidth", device)


@rule("nvmlDeviceGetMemoryAffinity", source=f"{_HEADER}, nvmlDeviceGetMemoryAffinity", gpu=True)
def memory_that_is_near(nvml: Nvml) -> None:
    """The set of nodes is written whole and has a node, for a node and for a socket; no other scope, no empty set."""
    device = nvml.device()
    for scope in (0, 1):
        nodes = nvml.out("unsigned long", 3)
        nvml.ok("nvmlDeviceGetMemoryAffinity", device, 3, nodes, scope)
        words = nvml.values(nodes)
        nvml.check(any(words), f"a node is near (scope {scope})")
        if nvml.host is not None:
            nvml.equal(words, [1, 0, 0], "the nodes")
    left = nvml.out("unsigned long")
    nvml.expect(INVALID_ARGUMENT, "nvmlDeviceGetMemoryAffinity", device, 0, left, 0)
    nvml.expect(INVALID_ARGUMENT, "nvmlDeviceGetMemoryAffinity", device, 1, None, 0)
    nvml.expect(INVALID_ARGUMENT, "nvmlDeviceGetMemoryAffinity", device, 1, left, 2)
    nvml.expect(INVALID_ARGUMENT, "nvmlDeviceGetMemoryAffinity", None, 1, left, 0)
    nvml.untouched(left)


_BUSY = {"gpu": [{"process": [{"pid": "self", "memory_mib": 1000, "sm": 30, "memory": 20, "encoder": 5, "decoder": 7}],
                  "nvml": {"UTILIZATION_JPG": 11, "UTILIZATION_OFA": 13}}, {"profile": "t4-16gb"}]}  # fmt: skip


@rule("nvmlDeviceGetUtilizationRates", source=f"{_HEADER}, nvmlUtilization_t", gpu=True, host=_BUSY)
def utilization(nvml: Nvml) -> None:
    """Both rates are percents; on the simulated host they are those of its process."""
    device, box = nvml.device(), nvml.out("nvmlUtilization_t")
    nvml.ok("nvmlDeviceGetUtilizationRates", device, box)
    rates = nvml.value(box)
    nvml.check(rates.gpu <= 100 and rates.memory <= 100, "the rates are percents")
    if nvml.host is not None:
        nvml.equal((rates.gpu, rates.memory), (30, 20), "the rates")
    refuses_nothing(nvml, "nvmlDeviceGetUtilizationRates", device)


@rule(
    "nvmlDeviceGetEncoderUtilization",
    "nvmlDeviceGetDecoderUtilization",
    "nvmlDeviceGetJpgUtilization",
    "nvmlDeviceGetOfaUtilization",
    source=f"{_HEADER}, the functions named",
    gpu=True,
    host=_BUSY,
)
def utilization_of_engines(nvml: Nvml) -> None:
    """Each engine has its percents, and the microseconds that they were taken over."""
    device = nvml.device()
    for name, wanted in (("Encoder", 5), ("Decoder", 7), ("Jpg", 11), ("Ofa", 13)):
        function = f"nvmlDeviceGet{name}Utilization"
        percents, period = nvml.out("unsigned int"), nvml.out("unsigned int")
        nvml.ok(function, device, percents, period)
        nvml.check(nvml.value(percents) <= 100 and nvml.value(period) > 0, f"{function} answers percents of some time")
        if nvml.host is not None:
            nvml.equal((percents[0], period[0]), (wanted, 166666), function)
        nvml.expect(INVALID_ARGUMENT, function, device, None, period)
        nvml.expect(INVALID_ARGUMENT, function, device, percents, None)
        nvml.expect(INVALID_ARGUMENT, function, None, percents, period)


@rule(
    "nvmlDeviceGetEncoderCapacity",
    source=f"{_HEADER}, nvmlDeviceGetEncoderCapacity",
    gpu=True,
    host={"gpu": [{"nvml": {"ENCODER_CAPACITY": [100, 90]}}]},
)
def capacity_of_encoders(nvml: Nvml) -> None:
    """What is free is told for each codec in percent; a codec that the device has not is NVML_ERROR_NOT_SUPPORTED."""
    device = nvml.device()
    number(nvml, "nvmlDeviceGetEncoderCapacity", device, 0)
    if nvml.host is not None:
        is_number(nvml, 100, "nvmlDeviceGetEncoderCapacity", device, 0)
        is_number(nvml, 90, "nvmlDeviceGetEncoderCapacity", device, 1)
        nvml.expect(NOT_SUPPORTED, "nvmlDeviceGetEncoderCapacity", device, 2, nvml.out("unsigned int"))
    nvml.expect(INVALID_ARGUMENT, "nvmlDeviceGetEncoderCapacity", device, 4711, nvml.out("unsigned int"))
    refuses_nothing(nvml, "nvmlDeviceGetEncoderCapacity", device, 0)


@rule(
    "nvmlDeviceGetEncoderStats",
    "nvmlDeviceGetEncoderSessions",
    "nvmlDeviceGetFBCStats",
    "nvmlDeviceGetFBCSessions",
    source=f"{_HEADER}, the functions named",
    gpu=True,
)
def no_sessions(nvml: Nvml) -> None:
    """Nobody encodes or captures: no sessions, no frames, no latency."""
    device = nvml.device()
    numbers = [nvml.out("unsigned int") for _ in range(3)]
    nvml.ok("nvmlDeviceGetEncoderStats", device, *numbers)
    stats = nvml.out("nvmlFBCStats_t")
    nvml.ok("nvmlDeviceGetFBCStats", device, stats)
    counts = []
    for function in ("nvmlDeviceGetEncoderSessions", "nvmlDeviceGetFBCSessions"):
        count = nvml.out("unsigned int")
        count[0] = 0
        if nvml.host is None:
            nvml.expect((SUCCESS, NOT_SUPPORTED, 7), function, device, count, None)
        else:
            count[0] = 7
            nvml.ok(function, device, count, nvml.ffi.cast("void *", nvml.out("char", 1024)))
        counts.append(int(count[0]))
        nvml.expect(INVALID_ARGUMENT, function, device, None, None)
        nvml.expect(INVALID_ARGUMENT, function, None, count, None)
    said = nvml.value(stats)
    if nvml.host is not None:
        nvml.equal(counts, [0, 0], "the sessions")
        nvml.equal([nvml.value(box) for box in numbers], [0, 0, 0], "sessions, frames, latency")
        nvml.equal((said.sessionsCount, said.averageFPS, said.averageLatency), (0, 0, 0), "the same of captures")
    nvml.check(nvml.value(numbers[0]) < 1000, "the sessions are a plausible number")
    refuses_nothing(nvml, "nvmlDeviceGetFBCStats", device)
    nvml.expect(INVALID_ARGUMENT, "nvmlDeviceGetEncoderStats", device, None, numbers[1], numbers[2])


@rule("nvmlDeviceGetSamples", source=f"{_HEADER}, nvmlDeviceGetSamples", gpu=True, host=_BUSY)
def samples(nvml: Nvml) -> None:
    """Samples come in the order of time, at most as many as there is room for; of the future there are none."""
    device = nvml.device()
    of, count = nvml.out("nvmlValueType_t"), nvml.out("unsigned int")
    for kind, wanted in ((1, 30), (2, 20), (3, 5), (4, 7), (5, 345), (6, 2619)):
        of, count = nvml.out("nvmlValueType_t"), nvml.out("unsigned int")
        nvml.ok("nvmlDeviceGetSamples", device, kind, 0, of, count, None)
        there = nvml.value(count)
        nvml.equal(nvml.value(of), 1, "the type of the values (unsigned int)")
        nvml.check(0 < there < 10_000, "the number of samples is plausible")
        box = nvml.out("nvmlSample_t", there)
        nvml.ok("nvmlDeviceGetSamples", device, kind, 0, of, count, box)
        got = nvml.values(box, count[0])
        times = [sample.timeStamp for sample in got]
        nvml.equal(times, sorted(set(times)), "the times of the samples")
        if nvml.host is not None:
            nvml.equal([sample.sampleValue.uiVal for sample in got], [wanted] * 16, f"the samples of kind {kind}")
            far = times[-1] + 3_600_000_000
            nvml.expect(NOT_FOUND, "nvmlDeviceGetSamples", device, kind, far, of, count, box)
            count[0] = 2
            nvml.ok("nvmlDeviceGetSamples", device, kind, 0, of, count, nvml.out("nvmlSample_t", 2))
            nvml.equal(count[0], 2, "the samples in a smaller buffer")
    nvml.expect(INVALID_ARGUMENT, "nvmlDeviceGetSamples", device, 10, 0, of, count, None)
    nvml.expect(INVALID_ARGUMENT, "nvmlDeviceGetSamples", device, 1, 0, of, None, None)
    nvml.expect(INVALID_ARGUMENT, "nvmlDeviceGetSamples", None, 1, 0, of, count, None)
    if nvml.host is not None:
        nvml.expect(NOT_SUPPORTED, "nvmlDeviceGetSamples", device, 7, 0, of, count, None)


@rule(
    "nvmlDeviceGetViolationStatus",
    source=f"{_HEADER}, nvmlPerfPolicyType_t",
    gpu=True,
    host={"gpu": [{"nvml": {"VIOLATION": {0: 5000, 11: 7000}}}]},
)
def time_held_back(nvml: Nvml) -> None:
    """For each policy there is how long it has held the clocks back, and when that was."""
    device, box = nvml.device(), nvml.out("nvmlViolationTime_t")
    for policy, wanted in ((0, 5000), (1, 0), (10, 0), (11, 7000)):
        box = nvml.out("nvmlViolationTime_t")
        nvml.ok("nvmlDeviceGetViolationStatus", device, policy, box)
        time = nvml.value(box)
        nvml.check(0 < time.referenceTime < 1 << 62, "the time of reference is plausible")
        if nvml.host is not None:
            nvml.equal(time.violationTime, wanted, f"the time for policy {policy}")
    for policy in (-1, 6, 9, 12):
        nvml.expect(INVALID_ARGUMENT, "nvmlDeviceGetViolationStatus", device, policy, box)
    refuses_nothing(nvml, "nvmlDeviceGetViolationStatus", device, 0)
