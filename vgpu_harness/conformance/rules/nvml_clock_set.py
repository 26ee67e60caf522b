"""Clocks that a program sets: for applications, locked, boosted, offset."""

from typing import Any

from vgpu_harness.conformance.rule import Nvml, rule
from vgpu_harness.conformance.rules.nvml_clock import CLOCKS, HOST
from vgpu_harness.conformance.rules.nvml_common import (
    INVALID_ARGUMENT,
    NOT_SUPPORTED,
    SUCCESS,
    checks_version,
    is_number,
    is_roots,
    may_change,
    refuses_nothing,
    version,
)

_HEADER = "nvml.h 13.5"
_GRAPHICS, _SM, _MEMORY = range(3)


@rule(
    "nvmlDeviceSetApplicationsClocks",
    "nvmlDeviceResetApplicationsClocks",
    "nvmlDeviceGetApplicationsClock",
    "nvmlDeviceGetCurrentClocksThrottleReasons",
    source=f"{_HEADER}, NVML_RESTRICTED_API_SET_APPLICATION_CLOCKS, nvmlClocksEventReasonApplicationsClocksSetting",
    gpu=True,
    host={"gpu": [{"nvml": CLOCKS | {"CLOCK": [1980, 1980, 2619, 765], "API_RESTRICTED": [1]}}]},
)
def application_clocks(nvml: Nvml) -> None:
    """Pairs of the lists can be set; clocks and their reasons follow, until they are reset."""
    device = nvml.device()
    nvml.expect(INVALID_ARGUMENT, "nvmlDeviceSetApplicationsClocks", None, 2619, 1755)
    nvml.expect(INVALID_ARGUMENT, "nvmlDeviceResetApplicationsClocks", None)
    if nvml.host is None:
        return
    is_roots(nvml, "nvmlDeviceSetApplicationsClocks", device, 1593, 345)
    is_roots(nvml, "nvmlDeviceResetApplicationsClocks", device)
    may_change(nvml)
    for memory, graphics in ((2619, 1000), (1000, 345)):
        nvml.expect(INVALID_ARGUMENT, "nvmlDeviceSetApplicationsClocks", device, memory, graphics)
    nvml.ok("nvmlDeviceSetApplicationsClocks", device, 1593, 345)
    for kind, clock in ((_GRAPHICS, 345), (_SM, 345), (_MEMORY, 1593)):
        is_number(nvml, clock, "nvmlDeviceGetApplicationsClock", device, kind)
        is_number(nvml, clock, "nvmlDeviceGetClockInfo", device, kind)
    is_number(nvml, 1 | 2, "nvmlDeviceGetCurrentClocksThrottleReasons", device)
    nvml.ok("nvmlDeviceResetApplicationsClocks", device)
    for kind, clock in ((_GRAPHICS, 1755), (_MEMORY, 2619)):
        is_number(nvml, clock, "nvmlDeviceGetApplicationsClock", device, kind)
    is_number(nvml, 1980, "nvmlDeviceGetClockInfo", device, _GRAPHICS)
    is_number(nvml, 1, "nvmlDeviceGetCurrentClocksThrottleReasons", device)


@rule(
    "nvmlDeviceSetApplicationsClocks",
    source=f"{_HEADER}, nvmlDeviceSetAPIRestriction",
    gpu=True,
    host={"gpu": [{"nvml": CLOCKS | {"API_RESTRICTED": [0]}}]},
)
def application_clocks_of_everyone(nvml: Nvml) -> None:
    """Where the function is not restricted, anyone may use it."""
    device = nvml.device()
    if nvml.host is None:
        nvml.expect(INVALID_ARGUMENT, "nvmlDeviceSetApplicationsClocks", None, 0, 0)
        return

    def as_nobody() -> int:
        import os

        if os.geteuid() == 0:
            os.seteuid(65534)
        code = nvml.call("nvmlDeviceSetApplicationsClocks", nvml.device(), 1593, 345)
        is_number(nvml, 345, "nvmlDeviceGetApplicationsClock", nvml.device(), _GRAPHICS)
        return code

    nvml.equal(nvml.in_fork(as_nobody), SUCCESS, "the answer to one who is not root")
    is_number(nvml, 1755, "nvmlDeviceGetApplicationsClock", device, _GRAPHICS)


_LOCKS: dict[str, tuple[int, tuple[tuple[tuple[int, int], int], ...]]] = {
    "Gpu": (_GRAPHICS, (((1000, 1500), 1000), ((0, 200), 345), ((1965, 1965), 1965), ((5000, 9000), 1980))),
    "Memory": (_MEMORY, (((9000, 9001), 2619), ((0, 2000), 2000), ((1593, 1593), 1593))),
}
"""By kind of lock: the type of clock, and bounds that are set with the clock that follows."""


@rule(
    "nvmlDeviceSetGpuLockedClocks",
    "nvmlDeviceResetGpuLockedClocks",
    "nvmlDeviceSetMemoryLockedClocks",
    "nvmlDeviceResetMemoryLockedClocks",
    "nvmlDeviceGetClockInfo",
    source=f"{_HEADER}, the functions named",
    gpu=True,
    host=HOST,
)
def locked_clocks(nvml: Nvml) -> None:
    """A locked clock stays within its bounds, and those within what the device can do; a reset frees it."""
    device = nvml.device()
    for what in _LOCKS:
        setter, reset = f"nvmlDeviceSet{what}LockedClocks", f"nvmlDeviceReset{what}LockedClocks"
        nvml.expect(INVALID_ARGUMENT, setter, None, 1000, 1500)
        nvml.expect(INVALID_ARGUMENT, reset, None)
        if nvml.host is None:
            continue
        is_roots(nvml, setter, device, 1000, 1500)
        is_roots(nvml, reset, device)
    if may_change(nvml):
        for what, (kind, bounds) in _LOCKS.items():
            usual = CLOCKS["CLOCK"][kind]
            for pair, clock in bounds:
                nvml.ok(f"nvmlDeviceSet{what}LockedClocks", device, *pair)
                is_number(nvml, clock, "nvmlDeviceGetClockInfo", device, kind)
            nvml.expect(INVALID_ARGUMENT, f"nvmlDeviceSet{what}LockedClocks", device, 1600, 1500)
            nvml.ok(f"nvmlDeviceReset{what}LockedClocks", device)
            is_number(nvml, usual, "nvmlDeviceGetClockInfo", device, kind)


@rule(
    "nvmlDeviceSetGpuLockedClocks",
    source=f"{_HEADER}, enum nvmlClockLimitId_t and the table of its pairs",
    gpu=True,
    host=HOST,
)
def clocks_locked_by_name(nvml: Nvml) -> None:
    """The names of limits come in pairs: numbers beside them are refused; unlimited on both sides unlocks."""
    device, tdp, unlimited = nvml.device(), 0xFFFFFF01, 0xFFFFFF02
    nvml.expect(INVALID_ARGUMENT, "nvmlDeviceSetGpuLockedClocks", None, unlimited, unlimited)
    if may_change(nvml):
        for pair in ((tdp, 1500), (1000, unlimited)):
            nvml.expect(INVALID_ARGUMENT, "nvmlDeviceSetGpuLockedClocks", device, *pair)
        nvml.ok("nvmlDeviceSetGpuLockedClocks", device, 1000, 1500)
        is_number(nvml, 1000, "nvmlDeviceGetClockInfo", device, _GRAPHICS)
        nvml.ok("nvmlDeviceSetGpuLockedClocks", device, unlimited, unlimited)
        is_number(nvml, 345, "nvmlDeviceGetClockInfo", device, _GRAPHICS)
        nvml.ok("nvmlDeviceSetGpuLockedClocks", device, tdp, unlimited)
        is_number(nvml, 1980, "nvmlDeviceGetClockInfo", device, _GRAPHICS)


@rule(
    "nvmlDeviceSetGpuLockedClocks",
    "nvmlDeviceSetMemoryLockedClocks",
    source=f"{_HEADER}: Volta or newer, Ampere or newer",
    gpu=True,
    host={"gpu": [{"compute": "7.5"}, {"compute": "6.0"}, {}]},
)
def locks_by_architecture(nvml: Nvml) -> None:
    """Turing locks its graphics clock and not its memory's; Pascal neither; Hopper both."""
    nvml.init()
    nvml.expect(INVALID_ARGUMENT, "nvmlDeviceSetGpuLockedClocks", None, 500, 600)
    if may_change(nvml):
        for index, codes in enumerate(((SUCCESS, NOT_SUPPORTED), (NOT_SUPPORTED, NOT_SUPPORTED), (SUCCESS, SUCCESS))):
            for what, code in zip(("Gpu", "Memory"), codes, strict=True):
                nvml.expect(code, f"nvmlDeviceSet{what}LockedClocks", nvml.device(index), 500, 600)
        is_number(nvml, 500, "nvmlDeviceGetClockInfo", nvml.device(2), _GRAPHICS)


@rule(
    "nvmlDeviceGetAutoBoostedClocksEnabled",
    "nvmlDeviceSetAutoBoostedClocksEnabled",
    "nvmlDeviceSetDefaultAutoBoostedClocksEnabled",
    source=f"{_HEADER}, the functions named",
    gpu=True,
    host={"gpu": [{"nvml": {"AUTO_BOOST": [1, 0]}}, {"nvml": {"AUTO_BOOST": []}}]},
)
def auto_boost(nvml: Nvml) -> None:
    """The boost now and by default are set apart; the default may be left out of the question; Pascal has none."""
    device, now, usual = nvml.device(), nvml.out("nvmlEnableState_t"), nvml.out("nvmlEnableState_t")
    nvml.expect(INVALID_ARGUMENT, "nvmlDeviceGetAutoBoostedClocksEnabled", device, None, usual)
    if nvml.host is None:
        nvml.expect((SUCCESS, NOT_SUPPORTED), "nvmlDeviceGetAutoBoostedClocksEnabled", device, now, usual)
        return
    nvml.ok("nvmlDeviceGetAutoBoostedClocksEnabled", device, now, None)
    nvml.equal(nvml.value(now), 1, "the boost now")
    is_roots(nvml, "nvmlDeviceSetDefaultAutoBoostedClocksEnabled", device, 1, 0)
    may_change(nvml)
    nvml.ok("nvmlDeviceSetAutoBoostedClocksEnabled", device, 0)
    nvml.ok("nvmlDeviceSetDefaultAutoBoostedClocksEnabled", device, 1, 0)
    nvml.ok("nvmlDeviceGetAutoBoostedClocksEnabled", device, now, usual)
    nvml.equal((nvml.value(now), nvml.value(usual)), (0, 1), "the boost now and by default")
    nvml.expect(INVALID_ARGUMENT, "nvmlDeviceSetAutoBoostedClocksEnabled", device, 2)
    nvml.expect(NOT_SUPPORTED, "nvmlDeviceGetAutoBoostedClocksEnabled", nvml.device(1), now, usual)
    nvml.expect(NOT_SUPPORTED, "nvmlDeviceSetAutoBoostedClocksEnabled", nvml.device(1), 1)
    nvml.expect(NOT_SUPPORTED, "nvmlDeviceSetDefaultAutoBoostedClocksEnabled", nvml.device(1), 1, 0)


_OFFSETS = {
    "CLOCK_OFFSET_MIN": {0: -1000, 2: -2000},
    "CLOCK_OFFSET_MAX": {0: 1000, 2: 6000},
    "PERFORMANCE_STATES": [0, 8],
}
_FIXED: dict[str, Any] = {"CLOCK_OFFSET_MIN": [], "CLOCK_OFFSET_MAX": []}


@rule(
    "nvmlDeviceGetGpcClkVfOffset",
    "nvmlDeviceGetMemClkVfOffset",
    "nvmlDeviceSetGpcClkVfOffset",
    "nvmlDeviceSetMemClkVfOffset",
    "nvmlDeviceGetGpcClkMinMaxVfOffset",
    "nvmlDeviceGetMemClkMinMaxVfOffset",
    source=f"{_HEADER}, the functions named",
    gpu=True,
    host={"gpu": [{"nvml": _OFFSETS}, {"nvml": _FIXED}]},
)
def offsets(nvml: Nvml) -> None:
    """Offsets start at 0 and are set within their bounds by root; boards that cannot be overclocked have none."""
    device = nvml.device()
    for what, least, most in (("GpcClk", -1000, 1000), ("MemClk", -2000, 6000)):
        refuses_nothing(nvml, f"nvmlDeviceGet{what}VfOffset", device)
        is_number(nvml, 0, f"nvmlDeviceGet{what}VfOffset", device)
        low, high = nvml.out("int"), nvml.out("int")
        codes = (SUCCESS, NOT_SUPPORTED) if nvml.host is None else SUCCESS
        got = nvml.expect(codes, f"nvmlDeviceGet{what}MinMaxVfOffset", device, low, high)
        if got == SUCCESS:
            nvml.check(nvml.value(low) <= nvml.value(high), f"{low[0]} <= {high[0]}")
        nvml.expect(INVALID_ARGUMENT, f"nvmlDeviceSet{what}VfOffset", None, 0)
        if nvml.host is not None:
            nvml.equal((nvml.value(low), nvml.value(high)), (least, most), f"the bounds of {what}")
            is_roots(nvml, f"nvmlDeviceSet{what}VfOffset", device, 100)
            nvml.expect(NOT_SUPPORTED, f"nvmlDeviceGet{what}VfOffset", nvml.device(1), nvml.out("int"))
            nvml.expect(NOT_SUPPORTED, f"nvmlDeviceGet{what}MinMaxVfOffset", nvml.device(1), low, high)
        if may_change(nvml):
            for offset in (most, least, -150):
                nvml.ok(f"nvmlDeviceSet{what}VfOffset", device, offset)
                is_number(nvml, offset, f"nvmlDeviceGet{what}VfOffset", device)
            for wrong in (most + 1, least - 1):
                nvml.expect(INVALID_ARGUMENT, f"nvmlDeviceSet{what}VfOffset", device, wrong)
            nvml.expect(NOT_SUPPORTED, f"nvmlDeviceSet{what}VfOffset", nvml.device(1), 0)


@rule(
    "nvmlDeviceGetClockOffsets",
    "nvmlDeviceSetClockOffsets",
    source=f"{_HEADER}, nvmlClockOffset_v1_t",
    gpu=True,
    host={"gpu": [{"nvml": _OFFSETS}]},
)
def offsets_in_a_struct(nvml: Nvml) -> None:
    """The struct's way and the older one show the same offset; types and states that are none are refused."""
    device, kind = nvml.device(), "nvmlClockOffset_t"
    for function in ("nvmlDeviceGetClockOffsets", "nvmlDeviceSetClockOffsets"):
        checks_version(nvml, function, device, kind, 1, type=0, pstate=0, clockOffsetMHz=0)
    info = nvml.struct(kind, version=version(nvml, kind, 1), type=_MEMORY, pstate=0, clockOffsetMHz=77)
    if nvml.host is None:
        nvml.expect((SUCCESS, NOT_SUPPORTED), "nvmlDeviceGetClockOffsets", device, info)
        return
    nvml.ok("nvmlDeviceGetClockOffsets", device, info)
    nvml.equal(
        (info[0].clockOffsetMHz, info[0].minClockOffsetMHz, info[0].maxClockOffsetMHz), (0, -2000, 6000), "offsets"
    )
    info[0].clockOffsetMHz = 500
    is_roots(nvml, "nvmlDeviceSetClockOffsets", device, info)
    may_change(nvml)
    nvml.ok("nvmlDeviceSetClockOffsets", device, info)
    is_number(nvml, 500, "nvmlDeviceGetMemClkVfOffset", device)
    info[0].clockOffsetMHz = 0
    nvml.ok("nvmlDeviceGetClockOffsets", device, info)
    nvml.equal(int(info[0].clockOffsetMHz), 500, "the offset")
    for field, wrong in (("type", 4), ("pstate", 5), ("type", -1)):
        bad = nvml.struct(kind, version=version(nvml, kind, 1), type=_MEMORY, pstate=0)
        setattr(bad[0], field, wrong)
        nvml.expect(INVALID_ARGUMENT, "nvmlDeviceGetClockOffsets", device, bad)
        nvml.expect(INVALID_ARGUMENT, "nvmlDeviceSetClockOffsets", device, bad)
    video = nvml.struct(kind, version=version(nvml, kind, 1), type=3, pstate=0)
    nvml.expect(NOT_SUPPORTED, "nvmlDeviceGetClockOffsets", device, video)
