"""Clocks and performance states: what they are, what can be chosen, why they are not higher."""

from typing import Any

from vgpu_harness.conformance.rule import Nvml, rule
from vgpu_harness.conformance.rules.nvml_common import (
    INSUFFICIENT_SIZE,
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
_GRAPHICS, _SM, _MEMORY, _VIDEO = range(4)
CLOCKS: dict[str, Any] = {
    "CLOCK": [345, 345, 2619, 765],
    "CLOCK_MAX": [1980, 1980, 2619, 1545],
    "CLOCK_DEFAULT": [1755, 1755, 2619],
    "MEMORY_CLOCKS": [2619, 1593],
    "GRAPHICS_CLOCKS": [1980, 1965, 1755, 345],
    "PERFORMANCE_STATES": [0, 8],
    "PERFORMANCE_STATE": 0,
    "UTILIZATION_GPU": 0,
}
HOST = {"gpu": [{"nvml": CLOCKS}]}
_BY_TYPE: dict[str, list[int | None]] = {
    "nvmlDeviceGetClockInfo": [345, 345, 2619, 765],
    "nvmlDeviceGetMaxClockInfo": [1980, 1980, 2619, 1545],
    "nvmlDeviceGetApplicationsClock": [1755, 1755, 2619, None],
    "nvmlDeviceGetDefaultApplicationsClock": [1755, 1755, 2619, None],
    "nvmlDeviceGetMaxCustomerBoostClock": [1980, 1980, 2619, None],
}


@rule(
    *_BY_TYPE, "nvmlDeviceGetClock", source=f"{_HEADER}, enum nvmlClockType_t, enum nvmlClockId_t", gpu=True, host=HOST
)
def clocks_by_type(nvml: Nvml) -> None:
    """Graphics, SM, memory and video each have their clocks; what cannot be chosen is not supported; others refused."""
    device = nvml.device()
    for function, wanted in _BY_TYPE.items():
        for kind, clock in enumerate(wanted):
            _has_clock(nvml, clock, function, device, kind)
        refuses_nothing(nvml, function, device, _GRAPHICS)
        for wrong in (4, -1):
            out = nvml.out("unsigned int")
            nvml.expect(INVALID_ARGUMENT, function, device, wrong, out)
            nvml.untouched(out)
    functions = [name for name in _BY_TYPE if name != "nvmlDeviceGetMaxClockInfo"]
    for which, function in enumerate(functions):
        for kind, clock in enumerate(_BY_TYPE[function]):
            _has_clock(nvml, clock, "nvmlDeviceGetClock", device, kind, which)
    refuses_nothing(nvml, "nvmlDeviceGetClock", device, _GRAPHICS, 0)
    for kind, which in ((4, 0), (0, 4), (0, -1)):
        nvml.expect(INVALID_ARGUMENT, "nvmlDeviceGetClock", device, kind, which, nvml.out("unsigned int"))


def _has_clock(nvml: Nvml, wanted: int | None, function: str, *arguments: Any) -> None:
    if wanted is not None:
        is_number(nvml, wanted, function, *arguments)
    elif nvml.host is not None:
        nvml.expect(NOT_SUPPORTED, function, *arguments, nvml.out("unsigned int"))


@rule("nvmlDeviceGetClockInfo", "nvmlDeviceGetMaxClockInfo", source=f"{_HEADER}, nvmlDeviceGetMaxClockInfo", gpu=True)
def no_clock_is_above_its_highest(nvml: Nvml) -> None:
    """On the default host no clock is above its highest, but for the few MHz that NVML's note allows."""
    device = nvml.device()
    for kind in range(4):
        now = number(nvml, "nvmlDeviceGetClockInfo", device, kind)
        highest = number(nvml, "nvmlDeviceGetMaxClockInfo", device, kind)
        nvml.check(now is None or highest is None or 0 < now <= highest + 15, f"0 < {now} <= {highest} MHz")


def _listed(nvml: Nvml, function: str, *arguments: Any) -> list[int] | None:
    """A list of clocks, asked for as NVML wants it: first how many; None: not supported."""
    count = nvml.struct("unsigned int")
    codes = (INSUFFICIENT_SIZE, NOT_SUPPORTED) if nvml.host is None else INSUFFICIENT_SIZE
    if nvml.expect(codes, function, *arguments, count, None) == NOT_SUPPORTED:
        return None
    needed = int(count[0])
    nvml.check(needed >= 1, f"{function} says how many there are")
    clocks = nvml.out("unsigned int", needed + 1)
    nvml.ok(function, *arguments, count, clocks)
    nvml.equal(int(clocks[needed]), 0xA5A5A5A5, "what is past the last clock")
    count[0] = needed - 1
    nvml.expect(INSUFFICIENT_SIZE, function, *arguments, count, nvml.out("unsigned int", needed))
    nvml.equal(int(count[0]), needed, "the size that is wanted")
    nvml.expect(INVALID_ARGUMENT, function, *arguments, None, clocks)
    nvml.expect(INVALID_ARGUMENT, function, None, *arguments[1:], count, clocks)
    return [int(clock) for clock in nvml.values(clocks, needed)]


@rule(
    "nvmlDeviceGetSupportedMemoryClocks",
    "nvmlDeviceGetSupportedGraphicsClocks",
    "nvmlDeviceGetMaxClockInfo",
    source=f"{_HEADER}, the functions named",
    gpu=True,
    host=HOST,
)
def clocks_to_choose_from(nvml: Nvml) -> None:
    """The lists say how long they are, go downwards from the highest clock, and belong to a memory clock."""
    device = nvml.device()
    memory = _listed(nvml, "nvmlDeviceGetSupportedMemoryClocks", device)
    if memory is None:
        return
    nvml.equal(memory, sorted(memory, reverse=True), "the memory clocks, from the highest down")
    graphics = _listed(nvml, "nvmlDeviceGetSupportedGraphicsClocks", device, memory[0])
    if nvml.host is not None:
        nvml.equal(memory, CLOCKS["MEMORY_CLOCKS"], "the memory clocks")
        nvml.equal(graphics, CLOCKS["GRAPHICS_CLOCKS"], "the graphics clocks")
        nvml.equal(graphics[0] if graphics else 0, number(nvml, "nvmlDeviceGetMaxClockInfo", device, 0), "the highest")
    count, none = nvml.struct("unsigned int"), nvml.out("unsigned int", 1)
    nvml.expect(NOT_FOUND, "nvmlDeviceGetSupportedGraphicsClocks", device, max(memory) + 1, count, none)


@rule(
    "nvmlDeviceGetSupportedGraphicsClocks",
    "nvmlDeviceGetSupportedMemoryClocks",
    "nvmlDeviceGetMaxClockInfo",
    source=f"{_HEADER}, the functions named",
    gpu=True,
)
def the_lists_begin_with_the_highest_clock(nvml: Nvml) -> None:
    """On the default host both lists have the highest clock."""
    device = nvml.device()
    memory = _listed(nvml, "nvmlDeviceGetSupportedMemoryClocks", device)
    if memory is not None:
        nvml.equal(memory[0], number(nvml, "nvmlDeviceGetMaxClockInfo", device, _MEMORY), "the highest memory clock")
        graphics = _listed(nvml, "nvmlDeviceGetSupportedGraphicsClocks", device, memory[0])
        highest = number(nvml, "nvmlDeviceGetMaxClockInfo", device, _GRAPHICS)
        nvml.check(graphics and highest in graphics, f"{highest} MHz can be chosen")


@rule(
    "nvmlDeviceGetSupportedPerformanceStates",
    "nvmlDeviceGetPerformanceState",
    source=f"{_HEADER}, the functions named",
    gpu=True,
    host=HOST,
)
def performance_states(nvml: Nvml) -> None:
    """The state now is one of those listed; the rest of the room says "unknown"; too little room is refused."""
    device, room = nvml.device(), nvml.out("nvmlPstates_t", 16)
    codes = (SUCCESS, NOT_SUPPORTED) if nvml.host is None else SUCCESS
    if nvml.expect(codes, "nvmlDeviceGetSupportedPerformanceStates", device, room, 64) == NOT_SUPPORTED:
        return
    states = [int(state) for state in nvml.values(room)]
    known = [state for state in states if state != 32]
    nvml.equal(states, known + [32] * (16 - len(known)), "the states, the unknown ones last")
    nvml.check(number(nvml, "nvmlDeviceGetPerformanceState", device) in known, f"the state now is one of {known}")
    if nvml.host is not None:
        nvml.equal(known, [0, 8], "the states")
        nvml.expect(
            INSUFFICIENT_SIZE, "nvmlDeviceGetSupportedPerformanceStates", device, nvml.out("nvmlPstates_t", 2), 7
        )
    nvml.expect(INVALID_ARGUMENT, "nvmlDeviceGetSupportedPerformanceStates", device, None, 64)
    nvml.expect(INVALID_ARGUMENT, "nvmlDeviceGetSupportedPerformanceStates", None, room, 64)


@rule("nvmlDeviceGetMinMaxClockOfPState", source=f"{_HEADER}, nvmlDeviceGetMinMaxClockOfPState", gpu=True, host=HOST)
def clocks_of_a_performance_state(nvml: Nvml) -> None:
    """Memory has one clock in each state, the others a range; a state that the device lacks is refused."""
    device, least, most = nvml.device(), nvml.out("unsigned int"), nvml.out("unsigned int")
    nvml.expect(INVALID_ARGUMENT, "nvmlDeviceGetMinMaxClockOfPState", device, 0, 0, least, None)
    nvml.expect(INVALID_ARGUMENT, "nvmlDeviceGetMinMaxClockOfPState", device, 0, 0, None, most)
    nvml.expect(INVALID_ARGUMENT, "nvmlDeviceGetMinMaxClockOfPState", device, 4, 0, least, most)
    if nvml.host is None:
        nvml.expect((SUCCESS, NOT_SUPPORTED), "nvmlDeviceGetMinMaxClockOfPState", device, 0, 0, least, most)
        return
    wanted = {
        (_GRAPHICS, 0): (345, 1980),
        (_SM, 8): (345, 1980),
        (_MEMORY, 0): (2619, 2619),
        (_MEMORY, 8): (1593, 1593),
    }
    for (kind, state), clocks in (wanted | {(_VIDEO, 0): (1545, 1545)}).items():
        nvml.ok("nvmlDeviceGetMinMaxClockOfPState", device, kind, state, least, most)
        nvml.equal((nvml.value(least), nvml.value(most)), clocks, f"the clocks of type {kind} in state {state}")
    nvml.expect(INVALID_ARGUMENT, "nvmlDeviceGetMinMaxClockOfPState", device, 0, 5, least, most)


def _modes(text: str) -> list[dict[str, int]]:
    """The token=value pairs of each part of such a text."""
    parts = [part.strip() for part in text.split(";")]
    return [
        {name.strip(): int(value) for name, value in (token.split("=") for token in part.split(","))}
        for part in parts
        if part
    ]


@rule(
    "nvmlDeviceGetPerformanceModes",
    "nvmlDeviceGetCurrentClockFreqs",
    source=f"{_HEADER}, the functions named",
    gpu=True,
    host=HOST,
)
def performance_modes_as_text(nvml: Nvml) -> None:
    """The texts have the tokens that nvml.h lists, slowest level first; memory transfers twice a clock."""
    device = nvml.device()
    said = {}
    for function, kind in (
        ("nvmlDeviceGetPerformanceModes", "nvmlDevicePerfModes_t"),
        ("nvmlDeviceGetCurrentClockFreqs", "nvmlDeviceCurrentClockFreqs_t"),
    ):
        checks_version(nvml, function, device, kind, 1)
        box = nvml.out(kind, version=version(nvml, kind, 1))
        codes = (SUCCESS, NOT_SUPPORTED) if nvml.host is None else SUCCESS
        if nvml.expect(codes, function, device, box) == NOT_SUPPORTED:
            return
        said[function] = _modes(nvml.string(nvml.value(box).str))
    levels, now = said["nvmlDeviceGetPerformanceModes"], said["nvmlDeviceGetCurrentClockFreqs"]
    nvml.equal([level["perf"] for level in levels], list(range(len(levels))), "the levels")
    nvml.check(all(level["nvclockmin"] <= level["nvclockmax"] for level in levels), "no range is empty")
    if nvml.host is not None:
        nvml.equal([level["memclockmax"] for level in levels], [1593, 2619], "the memory clocks")
        nvml.equal([level["memtransferratemax"] for level in levels], [3186, 5238], "the transfer rates")
        nvml.equal([(level["nvclockmin"], level["nvclockmax"]) for level in levels], [(345, 1980)] * 2, "the ranges")
        nvml.equal([(part["nvclock"], part["memclock"]) for part in now], [(345, 2619)], "the clocks now")


@rule(
    "nvmlDeviceGetCurrentClocksThrottleReasons",
    "nvmlDeviceGetSupportedClocksThrottleReasons",
    source=f"{_HEADER}, nvmlClocksEventReason*",
    gpu=True,
    host={
        "gpu": [
            {"nvml": {"UTILIZATION_GPU": 0, "CLOCK_REASONS_KNOWN": 0x1EF}},
            {"nvml": {"UTILIZATION_GPU": 80}},
            {"nvml": {"UTILIZATION_GPU": 90, "CLOCK_REASONS": 0x60}},
        ]
    },
)
def reasons_for_clocks(nvml: Nvml) -> None:
    """An idle device says so, a busy one gives no reason; reasons given are among those that it knows."""
    device = nvml.device()
    known = number(nvml, "nvmlDeviceGetSupportedClocksThrottleReasons", device)
    reasons = number(nvml, "nvmlDeviceGetCurrentClocksThrottleReasons", device)
    nvml.check(known is None or (known > 0 and (reasons or 0) & ~known == 0), f"{reasons} are among {known}")
    for name in ("Current", "Supported"):
        refuses_nothing(nvml, f"nvmlDeviceGet{name}ClocksThrottleReasons", device)
    if nvml.host is not None:
        nvml.equal(known, 0x1EF, "the reasons that it knows")
        nvml.equal(reasons, 1, "an idle device's reasons")
        for index, wanted in ((1, 0), (2, 0x60)):
            is_number(nvml, wanted, "nvmlDeviceGetCurrentClocksThrottleReasons", nvml.device(index))


@rule(
    "nvmlDeviceGetDynamicPstatesInfo",
    source=f"{_HEADER}, nvmlGpuDynamicPstatesInfo_t",
    gpu=True,
    host={"gpu": [{"nvml": {"UTILIZATION_GPU": 61, "UTILIZATION_MEMORY": 17, "UTILIZATION_DECODER": 5}}]},
)
def utilisation_by_domain(nvml: Nvml) -> None:
    """The domains that are there say how busy they are: GPU, frame buffer, video."""
    device, info = nvml.device(), nvml.out("nvmlGpuDynamicPstatesInfo_t")
    refuses_nothing(nvml, "nvmlDeviceGetDynamicPstatesInfo", device)
    codes = (SUCCESS, NOT_SUPPORTED) if nvml.host is None else SUCCESS
    if nvml.expect(codes, "nvmlDeviceGetDynamicPstatesInfo", device, info) == SUCCESS:
        there = [domain.percentage for domain in nvml.value(info).utilization if domain.bIsPresent == 1]
        nvml.check(there and max(there) <= 100, f"{there} are percentages")
        if nvml.host is not None:
            nvml.equal((there, int(info[0].flags)), ([61, 17, 5], 1), "percentages and flags")
