"""The board of a device: numbers, texts, the link, the processors near it, its own records of itself."""

import os
import time
from typing import Any

from vgpu_harness.conformance.rule import Nvml, rule
from vgpu_harness.conformance.rules.nvml_common import (
    INVALID_ARGUMENT,
    NOT_READY,
    NOT_SUPPORTED,
    SUCCESS,
    checks_version,
    is_number,
    is_roots,
    is_text,
    may_change,
    number,
    refuses_nothing,
    version,
)

_HEADER = "nvml.h 13.5"

NUMBERS = {
    "nvmlDeviceGetBrand": ("BRAND", 12),
    "nvmlDeviceGetModuleId": ("MODULE_ID", 3),
    "nvmlDeviceGetNumGpuCores": ("CORES", 16896),
    "nvmlDeviceGetIrqNum": ("IRQ", 55),
    "nvmlDeviceGetBoardId": ("BOARD_ID", 0x1B00),
    "nvmlDeviceGetMultiGpuBoard": ("MULTI_GPU_BOARD", 1),
    "nvmlDeviceGetNumaNodeId": ("NUMA_NODE", 2),
    "nvmlDeviceGetInforomConfigurationChecksum": ("INFOROM_CHECKSUM", 0x12345678),
    "nvmlDeviceGetMaxPcieLinkGeneration": ("LINK_GENERATION_MAX", 4),
    "nvmlDeviceGetGpuMaxPcieLinkGeneration": ("LINK_GENERATION_MAX", 4),
    "nvmlDeviceGetMaxPcieLinkWidth": ("LINK_WIDTH_MAX", 8),
    "nvmlDeviceGetCurrPcieLinkGeneration": ("LINK_GENERATION", 2),
    "nvmlDeviceGetCurrPcieLinkWidth": ("LINK_WIDTH", 4),
    "nvmlDeviceGetPcieReplayCounter": ("PCIE_REPLAYS", 17),
    "nvmlDeviceGetPersistenceMode": ("PERSISTENCE_MODE", 1),
    "nvmlDeviceGetComputeMode": ("COMPUTE_MODE", 2),
    "nvmlDeviceGetDisplayMode": ("DISPLAY_MODE", 1),
    "nvmlDeviceGetDisplayActive": ("DISPLAY_ACTIVE", 1),
    "nvmlDeviceGetAdaptiveClockInfoStatus": ("ADAPTIVE_CLOCKING", 1),
    "nvmlDeviceGetPowerSource": ("POWER_SOURCE", 1),
    "nvmlDeviceGetPerformanceState": ("PERFORMANCE_STATE", 8),
    "nvmlDeviceGetPowerState": ("PERFORMANCE_STATE", 8),
}
"""Functions of one number, the property of the host file that they show, and a number that no default has."""


@rule(
    *NUMBERS,
    source=f"{_HEADER}, the functions named",
    gpu=True,
    host={"gpu": [{"nvml": dict(NUMBERS.values())}]},
)
def numbers_of_a_device(nvml: Nvml) -> None:
    """Each answers its number of the device, and refuses NULL for the device and for the number."""
    device = nvml.device()
    for function, (_, wanted) in NUMBERS.items():
        is_number(nvml, wanted, function, device)
        refuses_nothing(nvml, function, device)


@rule(
    "nvmlDeviceGetNumGpuCores",
    "nvmlDeviceGetIrqNum",
    "nvmlDeviceGetNumaNodeId",
    "nvmlDeviceGetInforomConfigurationChecksum",
    "nvmlDeviceGetAdaptiveClockInfoStatus",
    source=f"{_HEADER}: NVML_ERROR_NOT_SUPPORTED if this query is not supported by the device",
    gpu=True,
    host={
        "gpu": [{"nvml": {"CORES": [], "IRQ": [], "NUMA_NODE": [], "INFOROM_CHECKSUM": [], "ADAPTIVE_CLOCKING": []}}]
    },
)
def numbers_that_a_device_lacks(nvml: Nvml) -> None:
    """What a device does not have is NVML_ERROR_NOT_SUPPORTED, and the output is left alone."""
    device = nvml.device()
    for name in ("NumGpuCores", "IrqNum", "NumaNodeId", "InforomConfigurationChecksum", "AdaptiveClockInfoStatus"):
        out = nvml.out("unsigned int")
        code = nvml.expect((SUCCESS, NOT_SUPPORTED), f"nvmlDeviceGet{name}", device, out)
        if nvml.host is not None:
            nvml.equal(code, NOT_SUPPORTED, f"the answer of nvmlDeviceGet{name}")
        if code == NOT_SUPPORTED:
            nvml.untouched(out)
        else:
            nvml.value(out)


_TEXTS: dict[str, Any] = {
    "VBIOS": "96.00.99.00.01",
    "BOARD_PART_NUMBER": "692-2G520-0200-000",
    "INFOROM_IMAGE": "G520.0200.00.05",
    "INFOROM": ["2.1", "7.16"],
}


@rule(
    "nvmlDeviceGetVbiosVersion",
    "nvmlDeviceGetBoardPartNumber",
    "nvmlDeviceGetInforomImageVersion",
    "nvmlDeviceGetInforomVersion",
    "nvmlDeviceGetName",
    "nvmlDeviceGetUUID",
    "nvmlDeviceGetSerial",
    source=f"{_HEADER}, the functions named",
    gpu=True,
    host={"gpu": [{"serial": "1650000000001", "nvml": _TEXTS}]},
)
def texts_of_a_device(nvml: Nvml) -> None:
    """Each answers its text whole or NVML_ERROR_INSUFFICIENT_SIZE; an InfoROM object that is none is refused."""
    device = nvml.device()
    gpu = nvml.host.gpu[0] if nvml.host is not None else None
    is_text(nvml, gpu.name if gpu else "", "nvmlDeviceGetName", device)
    is_text(nvml, gpu.nvml_uuid if gpu else "", "nvmlDeviceGetUUID", device)
    is_text(nvml, "1650000000001", "nvmlDeviceGetSerial", device)
    is_text(nvml, _TEXTS["VBIOS"], "nvmlDeviceGetVbiosVersion", device)
    is_text(nvml, _TEXTS["BOARD_PART_NUMBER"], "nvmlDeviceGetBoardPartNumber", device)
    is_text(nvml, _TEXTS["INFOROM_IMAGE"], "nvmlDeviceGetInforomImageVersion", device)
    for form, text in enumerate(_TEXTS["INFOROM"]):
        is_text(nvml, text, "nvmlDeviceGetInforomVersion", device, form)
    unused = nvml.out("char", 16)
    nvml.expect(
        (SUCCESS, NOT_SUPPORTED) if gpu is None else NOT_SUPPORTED, "nvmlDeviceGetInforomVersion", device, 2, unused, 16
    )
    nvml.expect(INVALID_ARGUMENT, "nvmlDeviceGetInforomVersion", device, 4, nvml.out("char", 16), 16)
    nvml.expect(INVALID_ARGUMENT, "nvmlDeviceGetVbiosVersion", None, nvml.out("char", 16), 16)


@rule(
    "nvmlDeviceGetMinorNumber",
    "nvmlDeviceGetCudaComputeCapability",
    "nvmlDeviceGetArchitecture",
    source=f"{_HEADER}, the functions named; NVML_DEVICE_ARCH_*",
    gpu=True,
    host={"gpu": [{"minor": 6}]},
)
def what_a_device_is(nvml: Nvml) -> None:
    """The device node's number, the compute capability, and the architecture that it belongs to."""
    device = nvml.device()
    is_number(nvml, 6, "nvmlDeviceGetMinorNumber", device)
    refuses_nothing(nvml, "nvmlDeviceGetMinorNumber", device)
    major, minor, architecture = nvml.out("int"), nvml.out("int"), nvml.out("nvmlDeviceArchitecture_t")
    nvml.ok("nvmlDeviceGetCudaComputeCapability", device, major, minor)
    nvml.ok("nvmlDeviceGetArchitecture", device, architecture)
    compute = 10 * nvml.value(major) + nvml.value(minor)
    first = [(100, 10), (90, 9), (89, 8), (80, 7), (75, 6), (70, 5), (60, 4), (50, 3), (30, 2)]
    nvml.equal(nvml.value(architecture), next(a for c, a in first if compute >= c), f"the architecture of {compute}")
    if nvml.host is not None:
        nvml.equal(compute, 90, "ten times the compute capability")
    nvml.expect(INVALID_ARGUMENT, "nvmlDeviceGetCudaComputeCapability", device, major, None)
    nvml.expect(INVALID_ARGUMENT, "nvmlDeviceGetCudaComputeCapability", device, None, minor)
    refuses_nothing(nvml, "nvmlDeviceGetArchitecture", device)


@rule(
    "nvmlDeviceGetHandleByUUID",
    "nvmlDeviceGetHandleBySerial",
    "nvmlDeviceGetHandleByPciBusId",
    "nvmlDeviceGetHandleByPciBusId_v2",
    "nvmlDeviceGetPciInfo",
    "nvmlDeviceGetPciInfo_v2",
    "nvmlDeviceGetPciInfo_v3",
    "nvmlDeviceGetPciInfoExt",
    source=f"{_HEADER}, the functions named",
    gpu=True,
    host={"gpu": [{}, {"pci": "00ab:3c:1e.0", "serial": "1650000000002"}]},
)
def ways_to_a_handle(nvml: Nvml) -> None:
    """UUID, serial number and PCI address, in each spelling, lead back to the handle that they were asked of."""
    nvml.init()
    device = nvml.device(1 if nvml.host is not None else 0)
    handle, text = nvml.out("nvmlDevice_t"), nvml.out("char", 96)
    keys = {}
    nvml.ok("nvmlDeviceGetUUID", device, text, 96)
    keys["nvmlDeviceGetHandleByUUID"] = [nvml.text(text)]
    if nvml.expect((SUCCESS, NOT_SUPPORTED), "nvmlDeviceGetSerial", device, text, 96) == SUCCESS:
        keys["nvmlDeviceGetHandleBySerial"] = [nvml.text(text)]
    pci = nvml.out("nvmlPciInfo_t")
    nvml.ok("nvmlDeviceGetPciInfo_v3", device, pci)
    known = nvml.value(pci)
    place = f"{known.bus:02x}:{known.device:02x}"
    spelled = [f"{known.domain:04X}:{place}.0", f"{known.domain:08x}:{place.upper()}.0", f"{known.domain:x}:{place}"]
    spelled += [nvml.string(known.busId), nvml.string(known.busIdLegacy)]
    keys |= dict.fromkeys(["nvmlDeviceGetHandleByPciBusId", "nvmlDeviceGetHandleByPciBusId_v2"], spelled)
    for function, texts in keys.items():
        for key in texts:
            handle = nvml.out("nvmlDevice_t")
            nvml.ok(function, key, handle)
            nvml.equal(nvml.value(handle), device, f"the handle of {function}({key!r})")
        nvml.expect((INVALID_ARGUMENT, 6), function, "ffff:ff:1f.7", handle)
        nvml.expect(INVALID_ARGUMENT, function, None, handle)
        nvml.expect(INVALID_ARGUMENT, function, texts[0], None)
    if nvml.host is not None:
        nvml.equal((known.domain, known.bus, known.device), (0xAB, 0x3C, 0x1E), "the PCI address")
        nvml.equal(len(keys), 4, "the number of ways")
    _other_layouts(nvml, device, known)


def _other_layouts(nvml: Nvml, device: Any, known: Any) -> None:
    fields = ("domain", "bus", "device", "pciDeviceId")
    for function, kind in (
        ("nvmlDeviceGetPciInfo", "nvmlPciInfo_v1_t"),
        ("nvmlDeviceGetPciInfo_v2", "nvmlPciInfo_v2_t"),
    ):
        older = nvml.out(kind)
        nvml.ok(function, device, older)
        for field in fields:
            nvml.equal(getattr(nvml.value(older), field), getattr(known, field), f"{field} of {function}")
        refuses_nothing(nvml, function, device)
    kind = "nvmlPciInfoExt_t"
    newer = nvml.out(kind, version=version(nvml, kind, 1))
    nvml.ok("nvmlDeviceGetPciInfoExt", device, newer)
    for field in (*fields, "pciSubSystemId"):
        nvml.equal(getattr(nvml.value(newer), field), getattr(known, field), f"{field} of nvmlDeviceGetPciInfoExt")
    nvml.equal(nvml.string(newer[0].busId), nvml.string(known.busId), "its bus id")
    nvml.equal(int(newer[0].baseClass), 3, "the base class: a display controller")
    checks_version(nvml, "nvmlDeviceGetPciInfoExt", device, kind, 1)


_CARRIED = {"nvml": {"MULTI_GPU_BOARD": 1, "BOARD_ID": 0x700, "BRIDGE_CHIP": [0x1234 << 8, 0x5678 << 8 | 1]}}


@rule(
    "nvmlDeviceOnSameBoard",
    "nvmlDeviceGetBridgeChipInfo",
    source=f"{_HEADER}, the functions named",
    gpu=True,
    host={"gpu": [_CARRIED, _CARRIED, {}]},
)
def boards_of_several_devices(nvml: Nvml) -> None:
    """Two GPUs of one board say so, and have bridge chips; a device is on one board with itself."""
    first = nvml.device(0)
    is_number(nvml, 1, "nvmlDeviceOnSameBoard", first, first)
    refuses_nothing(nvml, "nvmlDeviceOnSameBoard", first, first)
    chips = nvml.out("nvmlBridgeChipHierarchy_t")
    nvml.expect(INVALID_ARGUMENT, "nvmlDeviceGetBridgeChipInfo", first, None)
    if nvml.host is None:
        nvml.expect((SUCCESS, NOT_SUPPORTED), "nvmlDeviceGetBridgeChipInfo", first, chips)
        return
    second, third = nvml.device(1), nvml.device(2)
    is_number(nvml, 1, "nvmlDeviceOnSameBoard", first, second)
    is_number(nvml, 0, "nvmlDeviceOnSameBoard", first, third)
    nvml.ok("nvmlDeviceGetBridgeChipInfo", first, chips)
    got = [(chip.type, chip.fwVersion) for chip in list(nvml.value(chips).bridgeChipInfo)[: chips[0].bridgeCount]]
    nvml.equal(got, [(0, 0x1234), (1, 0x5678)], "the bridge chips")
    nvml.expect(NOT_SUPPORTED, "nvmlDeviceGetBridgeChipInfo", third, chips)


@rule(
    "nvmlDeviceGetBusType",
    "nvmlDeviceGetPcieLinkMaxSpeed",
    "nvmlDeviceGetPcieSpeed",
    "nvmlDeviceGetPcieThroughput",
    source=f"{_HEADER}, NVML_BUS_TYPE_PCIE, NVML_PCIE_LINK_MAX_SPEED_*",
    gpu=True,
    host={"gpu": [{"nvml": {"LINK_GENERATION_MAX": 5, "LINK_GENERATION": 3, "PCIE_THROUGHPUT": [111, 222]}}]},
)
def the_link(nvml: Nvml) -> None:
    """PCI Express has type 2; its speeds follow from the generation; traffic is told apart by direction."""
    device = nvml.device()
    is_number(nvml, 2, "nvmlDeviceGetBusType", device)
    is_number(nvml, 5, "nvmlDeviceGetPcieLinkMaxSpeed", device)
    is_number(nvml, 8000, "nvmlDeviceGetPcieSpeed", device)
    for function in ("nvmlDeviceGetBusType", "nvmlDeviceGetPcieLinkMaxSpeed", "nvmlDeviceGetPcieSpeed"):
        refuses_nothing(nvml, function, device)
    for counter, wanted in enumerate((111, 222)):
        is_number(nvml, wanted, "nvmlDeviceGetPcieThroughput", device, counter)
    refuses_nothing(nvml, "nvmlDeviceGetPcieThroughput", device, 0)
    out = nvml.out("unsigned int")
    nvml.expect(INVALID_ARGUMENT, "nvmlDeviceGetPcieThroughput", device, 2, out)
    nvml.untouched(out)


@rule(
    "nvmlDeviceGetCurrPcieLinkGeneration",
    "nvmlDeviceGetCurrPcieLinkWidth",
    "nvmlDeviceGetMaxPcieLinkGeneration",
    "nvmlDeviceGetMaxPcieLinkWidth",
    source=f"{_HEADER}, the functions named",
    gpu=True,
    host={"gpu": [{"nvml": {"LINK_GENERATION": 9, "LINK_WIDTH": 64}}]},
)
def the_link_is_never_better_than_it_can_be(nvml: Nvml) -> None:
    """Generation and width of the link now are at most the highest ones, whatever the host file says."""
    device = nvml.device()
    for what in ("Generation", "Width"):
        highest = number(nvml, f"nvmlDeviceGetMaxPcieLink{what}", device)
        now = number(nvml, f"nvmlDeviceGetCurrPcieLink{what}", device)
        nvml.check(now is None or highest is None or 1 <= now <= highest, f"1 <= {now} <= {highest}")


@rule(
    "nvmlDeviceGetCpuAffinity",
    "nvmlDeviceGetCpuAffinityWithinScope",
    source=f"{_HEADER}, the functions named",
    gpu=True,
)
def processors_near_a_device(nvml: Nvml) -> None:
    """Some processor is near the device, each exists, words past the last one are cleared; no room is refused."""
    device, words = nvml.device(), 1024 // 64
    for function, scopes in (("nvmlDeviceGetCpuAffinity", [()]), ("nvmlDeviceGetCpuAffinityWithinScope", [(0,), (1,)])):
        for scope in scopes:
            near = nvml.out("unsigned long", words)
            nvml.ok(function, device, words, near, *scope)
            bits = [word * 64 + bit for word in range(words) for bit in range(64) if near[word] >> bit & 1]
            nvml.check(bits and max(bits) < (os.cpu_count() or 1024), f"{bits} are processors of this machine")
            if nvml.host is not None:
                nvml.equal(len(bits), os.sysconf("SC_NPROCESSORS_ONLN"), "how many processors are near")
            nvml.expect(INVALID_ARGUMENT, function, device, 0, near, *scope)
            nvml.expect(INVALID_ARGUMENT, function, device, words, None, *scope)
            nvml.expect(INVALID_ARGUMENT, function, None, words, near, *scope)
    unused = nvml.out("unsigned long", words)
    nvml.expect(INVALID_ARGUMENT, "nvmlDeviceGetCpuAffinityWithinScope", device, words, unused, 2)
    nvml.untouched(unused)


@rule("nvmlDeviceSetCpuAffinity", "nvmlDeviceClearCpuAffinity", source=f"{_HEADER}, the functions named", gpu=True)
def threads_are_bound_to_the_processors_near(nvml: Nvml) -> None:
    """Setting lets the calling thread run on the processors near the device, clearing lets it run on all."""
    device, all_of_them = nvml.device(), os.sched_getaffinity(0)
    for function in ("nvmlDeviceSetCpuAffinity", "nvmlDeviceClearCpuAffinity"):
        os.sched_setaffinity(0, {min(all_of_them)})
        nvml.ok(function, device)
        now = os.sched_getaffinity(0)
        nvml.check(len(now) >= min(2, len(all_of_them)), f"after {function} there are more processors than {now}")
        nvml.expect(INVALID_ARGUMENT, function, None)


@rule(
    "nvmlDeviceGetLastBBXFlushTime",
    "nvmlDeviceGetBBXTimeData_v1",
    "nvmlDeviceGetGpuUptime_v1",
    source=f"{_HEADER}, the functions named",
    gpu=True,
    host={"gpu": [{"nvml": {"BBX_FLUSH": [1_700_000_000_000_000, 4711], "BBX_TIME_RUN": 86400}}, {}]},
)
def ages(nvml: Nvml) -> None:
    """The black box's last flush and time, and the uptime, which is this machine's; no flush yet is not ready."""
    device = nvml.device()
    when, took = nvml.out("unsigned long long"), nvml.out("unsigned long")
    codes: tuple[int, ...] = (SUCCESS, NOT_SUPPORTED, NOT_READY) if nvml.host is None else (SUCCESS,)
    if nvml.expect(codes, "nvmlDeviceGetLastBBXFlushTime", device, when, took) == SUCCESS and nvml.host is not None:
        nvml.equal((nvml.value(when), nvml.value(took)), (1_700_000_000_000_000, 4711), "the flush")
        nvml.expect(NOT_READY, "nvmlDeviceGetLastBBXFlushTime", nvml.device(1), when, took)
    nvml.expect(INVALID_ARGUMENT, "nvmlDeviceGetLastBBXFlushTime", device, when, None)
    run, up = nvml.out("nvmlBBXTimeData_v1_t"), nvml.out("nvmlGpuUptime_v1_t")
    codes = (SUCCESS, NOT_SUPPORTED) if nvml.host is None else (SUCCESS,)
    if nvml.expect(codes, "nvmlDeviceGetBBXTimeData_v1", device, run) == SUCCESS and nvml.host is not None:
        nvml.equal(nvml.value(run).timeRun, 86400, "the time with a driver")
    before = time.monotonic()
    if nvml.expect(codes, "nvmlDeviceGetGpuUptime_v1", device, up) == SUCCESS:
        nvml.check(nvml.value(up).uptime <= before + 60, f"an uptime of {up[0].uptime} s is at most the machine's")
    if nvml.host is not None:
        nvml.check(before - 1 <= up[0].uptime <= time.monotonic(), f"{up[0].uptime} s are the machine's uptime")
    refuses_nothing(nvml, "nvmlDeviceGetBBXTimeData_v1", device)
    refuses_nothing(nvml, "nvmlDeviceGetGpuUptime_v1", device)


@rule(
    "nvmlDeviceGetRepairStatus",
    "nvmlDeviceGetCapabilities",
    "nvmlDeviceGetAddressingMode",
    "nvmlDeviceGetPdi",
    source=f"{_HEADER}, the functions and their structs",
    gpu=True,
    host={
        "gpu": [
            {"nvml": {"REPAIR_PENDING": [1, 0], "CAPABILITIES": 1, "ADDRESSING_MODE": 2, "PDI": 0x123456789ABCDEF}},
            {"compute": "7.5", "nvml": {"PDI": []}},
        ]
    },
)
def versioned_facts(nvml: Nvml) -> None:
    """Structs with a version are filled in for the right version alone; what a GPU lacks is not supported."""
    device = nvml.device()
    facts: dict[str, tuple[str, dict[str, int]]] = {
        "nvmlDeviceGetRepairStatus": ("nvmlRepairStatus_t", {"bChannelRepairPending": 1, "bTpcRepairPending": 0}),
        "nvmlDeviceGetCapabilities": ("nvmlDeviceCapabilities_t", {"capMask": 1}),
        "nvmlDeviceGetAddressingMode": ("nvmlDeviceAddressingMode_t", {"value": 2}),
        "nvmlDeviceGetPdi": ("nvmlPdi_t", {"value": 0x123456789ABCDEF}),
    }
    for function, (kind, fields) in facts.items():
        checks_version(nvml, function, device, kind, 1)
        box = nvml.out(kind, version=version(nvml, kind, 1))
        if nvml.host is None:
            nvml.expect((SUCCESS, NOT_SUPPORTED), function, device, box)
            continue
        nvml.ok(function, device, box)
        for field, wanted in fields.items():
            nvml.equal(getattr(nvml.value(box), field), wanted, f"{field} of {function}")
        if function in {"nvmlDeviceGetRepairStatus", "nvmlDeviceGetPdi"}:
            nvml.expect(NOT_SUPPORTED, function, nvml.device(1), box)


@rule(
    "nvmlDeviceValidateInforom",
    source=f"{_HEADER}, nvmlDeviceValidateInforom",
    gpu=True,
    host={"gpu": [{}, {"nvml": {"INFOROM_IMAGE": []}}]},
)
def the_inforom_is_sound(nvml: Nvml) -> None:
    """An InfoROM validates; a board without one has nothing to validate."""
    device = nvml.device()
    nvml.expect((SUCCESS, NOT_SUPPORTED) if nvml.host is None else SUCCESS, "nvmlDeviceValidateInforom", device)
    nvml.expect(INVALID_ARGUMENT, "nvmlDeviceValidateInforom", None)
    if nvml.host is not None:
        nvml.expect(NOT_SUPPORTED, "nvmlDeviceValidateInforom", nvml.device(1))


@rule("nvmlDeviceGetClkMonStatus", source=f"{_HEADER}, nvmlDeviceGetClkMonStatus: Ampere or newer, root", gpu=True)
def clock_monitors(nvml: Nvml) -> None:
    """Root alone learns that no clock has failed."""
    device = nvml.device()
    nvml.expect(INVALID_ARGUMENT, "nvmlDeviceGetClkMonStatus", device, None)
    if nvml.host is not None:
        is_roots(nvml, "nvmlDeviceGetClkMonStatus", device, nvml.out("nvmlClkMonStatus_t"))
    if may_change(nvml):
        status = nvml.out("nvmlClkMonStatus_t")
        nvml.ok("nvmlDeviceGetClkMonStatus", device, status)
        nvml.equal((nvml.value(status).bGlobalStatus, status[0].clkMonListSize), (0, 0), "failure and its list")


@rule(
    "nvmlDeviceGetGspFirmwareVersion",
    "nvmlDeviceGetGspFirmwareMode",
    source=f"{_HEADER}, the functions named",
    gpu=True,
    host={
        "gpu": [{"nvml": {"GSP_FIRMWARE": [1, 1]}}, {"nvml": {"GSP_FIRMWARE": [0, 1]}}, {"nvml": {"GSP_FIRMWARE": []}}]
    },
)
def system_processor_firmware(nvml: Nvml) -> None:
    """GSP firmware has the driver's version where it runs, none where it is off."""
    device, text = nvml.device(), nvml.out("char", 64)
    nvml.expect(INVALID_ARGUMENT, "nvmlDeviceGetGspFirmwareVersion", device, None)
    on, usual = nvml.out("unsigned int"), nvml.out("unsigned int")
    nvml.expect(INVALID_ARGUMENT, "nvmlDeviceGetGspFirmwareMode", device, on, None)
    nvml.expect(INVALID_ARGUMENT, "nvmlDeviceGetGspFirmwareMode", device, None, usual)
    if nvml.host is None:
        nvml.expect((SUCCESS, NOT_SUPPORTED), "nvmlDeviceGetGspFirmwareMode", device, on, usual)
        return
    nvml.ok("nvmlDeviceGetGspFirmwareVersion", device, text)
    nvml.equal(nvml.text(text), nvml.host.driver.version, "the firmware's version")
    for index, wanted in ((0, (1, 1)), (1, (0, 1))):
        nvml.ok("nvmlDeviceGetGspFirmwareMode", nvml.device(index), on, usual)
        nvml.equal((int(on[0]), int(usual[0])), wanted, "the mode now and by default")
    nvml.expect(NOT_SUPPORTED, "nvmlDeviceGetGspFirmwareVersion", nvml.device(1), text)
    nvml.expect(NOT_SUPPORTED, "nvmlDeviceGetGspFirmwareMode", nvml.device(2), on, usual)


@rule(
    "nvmlDeviceGetPlatformInfo",
    source=f"{_HEADER}, nvmlPlatformInfo_v1_t, nvmlPlatformInfo_v2_t",
    gpu=True,
    host={
        "gpu": [
            {
                "nvml": {
                    "PLATFORM": [3, 4, 5, 1, 2],
                    "CHASSIS_SERIAL": "1821225190817",
                    "GPU_GUID": "00112233445566778899aabbccddeeff",
                }
            },
            {},
        ]
    },
)
def the_platform(nvml: Nvml) -> None:
    """Where in its rack a GPU is, in both versions of the struct; GPUs before Blackwell do not know."""
    device, kind = nvml.device(), "nvmlPlatformInfo_t"
    checks_version(nvml, "nvmlDeviceGetPlatformInfo", device, kind, 2)
    for form in (1, 2):
        box = nvml.out(kind, version=version(nvml, kind, form))
        codes = (SUCCESS, NOT_SUPPORTED) if nvml.host is None else SUCCESS
        if nvml.expect(codes, "nvmlDeviceGetPlatformInfo", device, box) == SUCCESS and nvml.host is not None:
            known = nvml.value(box)
            places = (known.slotNumber, known.trayIndex, known.hostId, known.peerType, known.moduleId)
            nvml.equal(places, (3, 4, 5, 1, 2), "the place")
            nvml.equal(bytes(known.ibGuid).hex(), "00112233445566778899aabbccddeeff", "the GUID")
            chassis = bytes(known.chassisSerialNumber).rstrip(b"\0")
            nvml.equal(chassis, b"1821225190817" if form == 2 else b"", "the chassis's number")
            nvml.expect(NOT_SUPPORTED, "nvmlDeviceGetPlatformInfo", nvml.device(1), box)
