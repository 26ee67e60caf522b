"""Units: S-class systems, of which no machine of today has one."""

from vgpu_harness.conformance.rule import Nvml, rule
from vgpu_harness.conformance.rules.nvml_common import INVALID_ARGUMENT, number


@rule(
    "nvmlUnitGetCount",
    "nvmlUnitGetHandleByIndex",
    "nvmlUnitGetUnitInfo",
    "nvmlUnitGetLedState",
    "nvmlUnitGetPsuInfo",
    "nvmlUnitGetTemperature",
    "nvmlUnitGetFanSpeedInfo",
    "nvmlUnitGetDevices",
    "nvmlUnitSetLedState",
    source="nvml.h 13.5, the functions named",
    gpu=True,
)
def no_unit_is_there(nvml: Nvml) -> None:
    """No unit is counted; asking for the handle of one, or with a handle of none, is NVML_ERROR_INVALID_ARGUMENT."""
    nvml.init()
    nvml.equal(number(nvml, "nvmlUnitGetCount"), 0, "the number of units")
    nvml.expect(INVALID_ARGUMENT, "nvmlUnitGetCount", None)
    unit = nvml.out("nvmlUnit_t")
    nvml.expect(INVALID_ARGUMENT, "nvmlUnitGetHandleByIndex", 0, unit)
    nvml.untouched(unit)
    out = nvml.out("char", 1024)
    room = nvml.ffi.cast("void *", out)
    for function in ("nvmlUnitGetUnitInfo", "nvmlUnitGetLedState", "nvmlUnitGetPsuInfo", "nvmlUnitGetFanSpeedInfo"):
        nvml.expect(INVALID_ARGUMENT, function, None, room)
    nvml.expect(INVALID_ARGUMENT, "nvmlUnitGetTemperature", None, 0, room)
    nvml.expect(INVALID_ARGUMENT, "nvmlUnitGetDevices", None, room, None)
    nvml.expect(INVALID_ARGUMENT, "nvmlUnitSetLedState", None, 0)
    nvml.untouched(out)


@rule("nvmlSystemGetHicVersion", source="nvml.h 13.5, nvmlSystemGetHicVersion", gpu=True)
def no_host_interface_card_is_there(nvml: Nvml) -> None:
    """There is no host interface card of an S-class system: the count becomes 0."""
    nvml.init()
    count, entries = nvml.out("unsigned int"), nvml.out("nvmlHwbcEntry_t", 4)
    count[0] = 4
    nvml.ok("nvmlSystemGetHicVersion", count, entries)
    nvml.equal(int(count[0]), 0, "the number of cards")
    nvml.untouched(entries)
    nvml.expect(INVALID_ARGUMENT, "nvmlSystemGetHicVersion", None, entries)
