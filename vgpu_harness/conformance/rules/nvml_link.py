"""NVLink, peers, topology, fabric: how devices reach each other."""

from typing import Any

from vgpu_harness.conformance.library import pointer_type
from vgpu_harness.conformance.rule import Nvml, rule
from vgpu_harness.conformance.rules.nvml_common import (
    INVALID_ARGUMENT,
    NO_PERMISSION,
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
_CHOICE = "own choice: links lead to the GPUs of one's own kind"


def _number_for(nvml: Nvml, function: str) -> Any:
    return nvml.out(pointer_type(function).args[-1].item.cname)


_TWO = {
    "gpu": [
        {"nvml": {"NVLINK_ERRORS": {0: 3, 2: 5, 16: 7}}},
        {"pci": "0000:3b:00.0"},
        {"pci": "0001:07:00.0", "profile": "t4-16gb"},
    ]
}


@rule(
    "nvmlDeviceGetNvLinkState",
    "nvmlDeviceGetNvLinkVersion",
    "nvmlDeviceGetNvLinkCapability",
    "nvmlDeviceGetNvLinkRemoteDeviceType",
    source=f"{_HEADER}, the functions named; {_CHOICE}",
    gpu=True,
    host=_TWO,
)
def links(nvml: Nvml) -> None:
    """Two H100 are linked by 18 links of version 4.0 each; a T4 has no links, and there is no 19th."""
    device = nvml.device()
    questions: tuple[tuple[str, tuple[int, ...], int], ...] = (
        ("nvmlDeviceGetNvLinkState", (), 1),
        ("nvmlDeviceGetNvLinkVersion", (), 6),
        ("nvmlDeviceGetNvLinkRemoteDeviceType", (), 0),
        *(("nvmlDeviceGetNvLinkCapability", (i,), wanted) for i, wanted in enumerate((1, 0, 1, 0, 0, 1))),
    )
    for function, more, wanted in questions:
        if nvml.host is not None:
            for link in (0, 17):
                is_number(nvml, wanted, function, device, link, *more)
            nvml.expect(INVALID_ARGUMENT, function, device, 18, *more, _number_for(nvml, function))
            nvml.expect(NOT_SUPPORTED, function, nvml.device(2), 0, *more, _number_for(nvml, function))
        nvml.expect(INVALID_ARGUMENT, function, None, 0, *more, _number_for(nvml, function))
        nvml.expect((INVALID_ARGUMENT, NOT_SUPPORTED), function, device, 0, *more, None)
    nvml.expect(INVALID_ARGUMENT, "nvmlDeviceGetNvLinkCapability", device, 0, 6, nvml.out("unsigned int"))


@rule("nvmlDeviceGetNvLinkState", source=_CHOICE, gpu=True, host={"gpu": [{"nvml": {"NVLINK_STATE": {3: 1}}}]})
def a_single_gpu_has_no_peer(nvml: Nvml) -> None:
    """Its links are inactive, but for one that the host file says is active; where it leads is not known."""
    device = nvml.device()
    if nvml.host is not None:
        is_number(nvml, 0, "nvmlDeviceGetNvLinkState", device, 0)
        is_number(nvml, 1, "nvmlDeviceGetNvLinkState", device, 3)
        is_number(nvml, 255, "nvmlDeviceGetNvLinkRemoteDeviceType", device, 0)
        nvml.expect(NOT_SUPPORTED, "nvmlDeviceGetNvLinkRemotePciInfo_v2", device, 3, nvml.out("nvmlPciInfo_t"))


@rule(
    "nvmlDeviceGetNvLinkRemotePciInfo",
    "nvmlDeviceGetNvLinkRemotePciInfo_v2",
    source=f"{_HEADER}, nvmlPciInfo_t; {_CHOICE}",
    gpu=True,
    host=_TWO,
)
def links_lead_to_the_other_gpu(nvml: Nvml) -> None:
    """The PCI address at the far end is that of the other GPU."""
    device = nvml.device()
    for function in ("nvmlDeviceGetNvLinkRemotePciInfo", "nvmlDeviceGetNvLinkRemotePciInfo_v2"):
        box = nvml.out("nvmlPciInfo_t")
        if nvml.host is not None:
            nvml.ok(function, device, 0, box)
            pci = nvml.value(box)
            nvml.equal((pci.domain, pci.bus, pci.device), (0, 0x3B, 0), "the far end")
            nvml.equal(bytes(nvml.ffi.string(pci.busId)), b"00000000:3B:00.0", "its name")
            nvml.expect(INVALID_ARGUMENT, function, device, 18, box)
        nvml.expect(INVALID_ARGUMENT, function, None, 0, box)


@rule(
    "nvmlDeviceGetNvLinkErrorCounter",
    "nvmlDeviceResetNvLinkErrorCounters",
    source=f"{_HEADER}, the functions named",
    gpu=True,
    host=_TWO,
)
def errors_of_links(nvml: Nvml) -> None:
    """Each link counts its errors by kind; a reset clears all kinds of one link."""
    device, function = nvml.device(), "nvmlDeviceGetNvLinkErrorCounter"
    if nvml.host is not None:
        for link, kind, wanted in ((0, 0, 3), (0, 1, 0), (0, 2, 5), (1, 0, 7)):
            is_number(nvml, wanted, function, device, link, kind)
        nvml.expect(INVALID_ARGUMENT, "nvmlDeviceResetNvLinkErrorCounters", device, 18)
        nvml.expect(NOT_SUPPORTED, "nvmlDeviceResetNvLinkErrorCounters", nvml.device(2), 0)
        nvml.ok("nvmlDeviceResetNvLinkErrorCounters", device, 0)
        for link, kind, wanted in ((0, 0, 0), (0, 2, 0), (1, 0, 7)):
            is_number(nvml, wanted, function, device, link, kind)
    nvml.expect(INVALID_ARGUMENT, function, device, 0, 5, nvml.out("unsigned long long"))
    nvml.expect(INVALID_ARGUMENT, function, None, 0, 0, nvml.out("unsigned long long"))
    nvml.expect(INVALID_ARGUMENT, "nvmlDeviceResetNvLinkErrorCounters", None, 0)


@rule(
    "nvmlSystemSetNvlinkBwMode",
    "nvmlSystemGetNvlinkBwMode",
    "nvmlDeviceGetNvlinkSupportedBwModes",
    "nvmlDeviceGetNvlinkBwMode",
    "nvmlDeviceSetNvlinkBwMode",
    source=f"{_HEADER}, the functions named; modes of nvml.h 12.9",
    gpu=True,
    host=_TWO,
)
def bandwidth_modes(nvml: Nvml) -> None:
    """Root sets one of five modes for the system or for one device, and reads it back."""
    device = nvml.device()
    modes = nvml.struct("nvmlNvlinkSupportedBwModes_t", version=version(nvml, "nvmlNvlinkSupportedBwModes_t", 1))
    checks_version(nvml, "nvmlDeviceGetNvlinkSupportedBwModes", device, "nvmlNvlinkSupportedBwModes_t", 1)
    checks_version(nvml, "nvmlDeviceGetNvlinkBwMode", device, "nvmlNvlinkGetBwMode_t", 1)
    checks_version(nvml, "nvmlDeviceSetNvlinkBwMode", device, "nvmlNvlinkSetBwMode_t", 1)
    nvml.expect((INVALID_ARGUMENT, NO_PERMISSION), "nvmlSystemGetNvlinkBwMode", None)
    if nvml.host is None:
        return
    nvml.ok("nvmlDeviceGetNvlinkSupportedBwModes", device, modes)
    nvml.equal(list(modes[0].bwModes)[: modes[0].totalBwModes], [0, 1, 2, 3, 4], "the modes")
    nvml.expect(INVALID_ARGUMENT, "nvmlSystemSetNvlinkBwMode", 5)
    is_roots(nvml, "nvmlSystemSetNvlinkBwMode", 3)
    is_roots(nvml, "nvmlSystemGetNvlinkBwMode", nvml.out("unsigned int"))
    setting = nvml.struct("nvmlNvlinkSetBwMode_t", version=version(nvml, "nvmlNvlinkSetBwMode_t", 1), bwMode=4)
    is_roots(nvml, "nvmlDeviceSetNvlinkBwMode", device, setting)
    if not may_change(nvml):
        return

    def mode_of(index: int) -> tuple[int, int]:
        box = nvml.out("nvmlNvlinkGetBwMode_t", version=version(nvml, "nvmlNvlinkGetBwMode_t", 1))
        nvml.ok("nvmlDeviceGetNvlinkBwMode", nvml.device(index), box)
        return nvml.value(box).bwMode, box[0].bIsBest

    nvml.ok("nvmlSystemSetNvlinkBwMode", 3)
    is_number(nvml, 3, "nvmlSystemGetNvlinkBwMode")
    nvml.equal([mode_of(0), mode_of(1)], [(3, 0), (3, 0)], "the modes of both devices")
    nvml.ok("nvmlDeviceSetNvlinkBwMode", device, setting)
    nvml.equal([mode_of(0), mode_of(1)], [(4, 0), (3, 0)], "the modes after one was set")
    setting[0].bSetBest = 1
    nvml.ok("nvmlDeviceSetNvlinkBwMode", device, setting)
    nvml.equal(mode_of(0), (0, 1), "the best mode")


@rule(
    "nvmlDeviceSetNvLinkDeviceLowPowerThreshold",
    source=f"{_HEADER}, NVML_FI_DEV_NVLINK_GET_POWER_THRESHOLD",
    gpu=True,
    host=_TWO,
)
def links_save_power(nvml: Nvml) -> None:
    """The idle time that is set is what field 168 answers; one beyond the bounds is refused, -1 is the default."""
    device, function = nvml.device(), "nvmlDeviceSetNvLinkDeviceLowPowerThreshold"
    nvml.expect(INVALID_ARGUMENT, function, device, None)
    nvml.expect(INVALID_ARGUMENT, function, None, nvml.struct("nvmlNvLinkPowerThres_t", lowPwrThreshold=1))
    if nvml.host is None:
        return

    def threshold() -> int:
        box = nvml.out("nvmlFieldValue_t", fieldId=168)
        nvml.ok("nvmlDeviceGetFieldValues", device, 1, box)
        return int(box[0].value.uiVal)

    usual = threshold()
    for wrong in (0, 0x2000):
        nvml.expect(INVALID_ARGUMENT, function, device, nvml.struct("nvmlNvLinkPowerThres_t", lowPwrThreshold=wrong))
    for given, wanted in ((123, 123), (0x1FFF, 0x1FFF), (0xFFFFFFFF, usual)):
        nvml.ok(function, device, nvml.struct("nvmlNvLinkPowerThres_t", lowPwrThreshold=given))
        nvml.equal(threshold(), wanted, "the threshold then")
    nvml.expect(NOT_SUPPORTED, function, nvml.device(2), nvml.struct("nvmlNvLinkPowerThres_t", lowPwrThreshold=1))


@rule(
    "nvmlDeviceGetNvLinkInfo",
    "nvmlDeviceGetNvLinkInfo_v3",
    source=f"{_HEADER}, nvmlNvLinkInfo_v3_t",
    gpu=True,
    host=_TWO,
)
def links_are_not_encrypted(nvml: Nvml) -> None:
    """Encryption is off, and there is no firmware to tell of."""
    device = nvml.device()
    checks_version(nvml, "nvmlDeviceGetNvLinkInfo", device, "nvmlNvLinkInfo_t", 2)
    refuses_nothing(nvml, "nvmlDeviceGetNvLinkInfo_v3", device)
    if nvml.host is None:
        return
    for right, firmware in ((8 | 1 << 24, False), (version(nvml, "nvmlNvLinkInfo_t", 2), True)):
        box = nvml.out("nvmlNvLinkInfo_t", version=right)
        nvml.ok("nvmlDeviceGetNvLinkInfo", device, box)
        nvml.equal(box[0].isNvleEnabled, 0, "encryption")
        nvml.equal(box[0].firmwareInfo.numValidEntries == 0, firmware, "only version 2 has firmware")
    box = nvml.out("nvmlNvLinkInfo_v3_t")
    nvml.ok("nvmlDeviceGetNvLinkInfo_v3", device, box)
    nvml.equal((box[0].isNvleEnabled, box[0].isNvleReady, box[0].firmwareInfo.numValidEntries), (0, 0, 0), "encryption")
    nvml.expect(NOT_SUPPORTED, "nvmlDeviceGetNvLinkInfo_v3", nvml.device(2), box)


@rule(
    "nvmlDeviceGetTopologyCommonAncestor",
    "nvmlDeviceGetTopologyNearestGpus",
    "nvmlSystemGetTopologyGpuSet",
    source=f"{_HEADER}, nvmlGpuTopologyLevel_t; own choice: a PCI domain is a host bridge",
    gpu=True,
    host=_TWO,
)
def topology(nvml: Nvml) -> None:
    """A device's own level is 0, a host bridge's 30, a node's 40; the nearest GPUs are those of the level asked for."""
    device = nvml.device()
    is_number(nvml, 0, "nvmlDeviceGetTopologyCommonAncestor", device, device)
    nvml.expect(INVALID_ARGUMENT, "nvmlDeviceGetTopologyCommonAncestor", device, None, nvml.out("int"))
    nvml.expect(INVALID_ARGUMENT, "nvmlDeviceGetTopologyCommonAncestor", device, device, None)
    count = nvml.struct("unsigned int")
    nvml.ok("nvmlSystemGetTopologyGpuSet", 0, count, None)
    nvml.check(nvml.host is None or count[0] == 3, "all three are near processor 0")
    nvml.expect(INVALID_ARGUMENT, "nvmlDeviceGetTopologyNearestGpus", device, 7, count, None)
    nvml.expect(INVALID_ARGUMENT, "nvmlDeviceGetTopologyNearestGpus", device, 30, None, None)
    nvml.expect(INVALID_ARGUMENT, "nvmlSystemGetTopologyGpuSet", 1 << 20, count, None)
    nvml.expect(INVALID_ARGUMENT, "nvmlSystemGetTopologyGpuSet", 0, count, None)
    if nvml.host is None:
        return
    everyone = [nvml.device(i) for i in range(3)]
    for other, wanted in ((1, 30), (2, 40)):
        is_number(nvml, wanted, "nvmlDeviceGetTopologyCommonAncestor", device, everyone[other])
    nvml.equal(_gpus(nvml, "nvmlSystemGetTopologyGpuSet", 0), everyone, "the GPUs near processor 0")
    for level, near in ((30, [1]), (40, [2]), (10, []), (50, [])):
        wanted_gpus = [everyone[i] for i in near]
        nvml.equal(_gpus(nvml, "nvmlDeviceGetTopologyNearestGpus", device, level), wanted_gpus, f"GPUs at {level}")


def _gpus(nvml: Nvml, function: str, *arguments: Any) -> list[Any]:
    count = nvml.struct("unsigned int")
    nvml.ok(function, *arguments, count, None)
    if count[0] == 0:
        return []
    devices = nvml.out("nvmlDevice_t", count[0])
    nvml.ok(function, *arguments, count, devices)
    return nvml.values(devices, count[0])


@rule("nvmlDeviceGetP2PStatus", source=f"{_HEADER}, nvmlGpuP2PStatus_t; {_CHOICE}", gpu=True, host=_TWO)
def peers(nvml: Nvml) -> None:
    """GPUs with links reach each other (0), over PCI Express nobody does (1)."""
    device = nvml.device()
    nvml.expect(INVALID_ARGUMENT, "nvmlDeviceGetP2PStatus", device, device, 5, nvml.out("int"))
    nvml.expect(INVALID_ARGUMENT, "nvmlDeviceGetP2PStatus", None, device, 0, nvml.out("int"))
    nvml.expect(INVALID_ARGUMENT, "nvmlDeviceGetP2PStatus", device, device, 0, None)
    if nvml.host is not None:
        for other, linked in ((1, 0), (2, 1)):
            for index in range(5):
                wanted = linked if index < 4 else 1
                is_number(nvml, wanted, "nvmlDeviceGetP2PStatus", device, nvml.device(other), index)


_FABRIC = {
    "gpu": [
        {"nvml": {"FABRIC_STATE": 3, "FABRIC_CLIQUE": 7, "FABRIC_CLUSTER": "00112233445566778899aabbccddeeff"}},
        {},
        {"profile": "a100-80gb-sxm4"},
    ]
}


@rule(
    "nvmlDeviceGetGpuFabricInfo",
    "nvmlDeviceGetGpuFabricInfoV",
    "nvmlDeviceGetGpuFabricInfo_v4",
    source=f"{_HEADER}, nvmlGpuFabricInfoV_t, nvmlGpuFabricInfo_v4_t",
    gpu=True,
    host=_FABRIC,
)
def fabric(nvml: Nvml) -> None:
    """A GPU in a fabric tells its state, cluster and clique; one outside is in state 0; none before Hopper."""
    device, function = nvml.device(), "nvmlDeviceGetGpuFabricInfoV"
    refuses_nothing(nvml, "nvmlDeviceGetGpuFabricInfo", device)
    refuses_nothing(nvml, "nvmlDeviceGetGpuFabricInfo_v4", device)
    checks_version(nvml, function, device, "nvmlGpuFabricInfoV_t", 3)
    if nvml.host is None:
        nvml.expect((SUCCESS, NOT_SUPPORTED), "nvmlDeviceGetGpuFabricInfo", device, nvml.out("nvmlGpuFabricInfo_t"))
        return
    cluster = list(bytes.fromhex("00112233445566778899aabbccddeeff"))
    for index, (state, clique, uuid) in enumerate(((3, 7, cluster), (0, 0, [0] * 16))):
        of = nvml.device(index)
        for function, kind, fields in (
            ("nvmlDeviceGetGpuFabricInfo", "nvmlGpuFabricInfo_t", {}),
            ("nvmlDeviceGetGpuFabricInfoV", "nvmlGpuFabricInfoV_t", {"version": 36 | 2 << 24}),
            ("nvmlDeviceGetGpuFabricInfoV", "nvmlGpuFabricInfoV_t", {"version": 40 | 3 << 24}),
        ):
            box = nvml.out(kind, **fields)
            nvml.ok(function, of, box)
            got = box[0]
            nvml.equal((got.state, got.status, got.cliqueId), (state, 0, clique), f"what {function} answers")
            nvml.equal(list(got.clusterUuid), uuid, "the cluster")
        box = nvml.out("nvmlGpuFabricInfo_v4_t")
        nvml.ok("nvmlDeviceGetGpuFabricInfo_v4", of, box)
        got = nvml.value(box)
        nvml.equal((got.state, got.numCliques, got.cliques[0].id), (state, state == 3, clique), "the cliques")
    nvml.expect(NOT_SUPPORTED, "nvmlDeviceGetGpuFabricInfo", nvml.device(2), nvml.out("nvmlGpuFabricInfo_t"))
