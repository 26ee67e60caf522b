"""Fans, and the power profiles for kinds of work."""

from typing import Any

from vgpu_harness.conformance.rule import Nvml, rule
from vgpu_harness.conformance.rules.nvml_common import (
    INVALID_ARGUMENT,
    NOT_SUPPORTED,
    SUCCESS,
    checks_version,
    is_number,
    is_roots,
    may_change,
    number,
    refuses_nothing,
    version,
)

_HEADER = "nvml.h 13.5"
_FANS: dict[str, Any] = {"FANS": 2, "FAN_SPEED": [40, 55], "FAN_SPEED_MIN": 30, "FAN_SPEED_MAX": 90, "FAN_RPM": 3000}
_HOST = {"gpu": [{"nvml": _FANS}, {"nvml": {"FANS": []}}]}


@rule(
    "nvmlDeviceGetNumFans",
    "nvmlDeviceGetFanSpeed",
    "nvmlDeviceGetFanSpeed_v2",
    "nvmlDeviceGetTargetFanSpeed",
    "nvmlDeviceGetFanSpeedRPM",
    "nvmlDeviceGetMinMaxFanSpeed",
    "nvmlDeviceGetFanControlPolicy_v2",
    "nvmlDeviceGetCoolerInfo",
    source=f"{_HEADER}, the functions named",
    gpu=True,
    host=_HOST,
)
def fans(nvml: Nvml) -> None:
    """Each fan has its speed, in percent and in revolutions; one too many is refused; a board without has none."""
    device = nvml.device()
    count = number(nvml, "nvmlDeviceGetNumFans", device)
    refuses_nothing(nvml, "nvmlDeviceGetNumFans", device)
    refuses_nothing(nvml, "nvmlDeviceGetFanSpeed", device)
    if nvml.host is None:
        return
    nvml.equal(count, 2, "the number of fans")
    is_number(nvml, 40, "nvmlDeviceGetFanSpeed", device)
    for fan, speed in enumerate(_FANS["FAN_SPEED"]):
        is_number(nvml, speed, "nvmlDeviceGetFanSpeed_v2", device, fan)
        is_number(nvml, speed, "nvmlDeviceGetTargetFanSpeed", device, fan)
        is_number(nvml, 0, "nvmlDeviceGetFanControlPolicy_v2", device, fan)
        _is_turning(nvml, device, fan, 30 * speed)
    for function in ("nvmlDeviceGetFanSpeed_v2", "nvmlDeviceGetTargetFanSpeed", "nvmlDeviceGetFanControlPolicy_v2"):
        refuses_nothing(nvml, function, device, 0)
        nvml.expect(INVALID_ARGUMENT, function, device, 2, nvml.out("unsigned int"))
        nvml.expect(NOT_SUPPORTED, function, nvml.device(1), 0, nvml.out("unsigned int"))
    slowest, fastest = nvml.out("unsigned int"), nvml.out("unsigned int")
    nvml.ok("nvmlDeviceGetMinMaxFanSpeed", device, slowest, fastest)
    nvml.equal((nvml.value(slowest), nvml.value(fastest)), (30, 90), "the bounds")
    nvml.expect(INVALID_ARGUMENT, "nvmlDeviceGetMinMaxFanSpeed", device, slowest, None)
    for function in ("nvmlDeviceGetNumFans", "nvmlDeviceGetFanSpeed"):
        nvml.expect(NOT_SUPPORTED, function, nvml.device(1), nvml.out("unsigned int"))
    nvml.expect(NOT_SUPPORTED, "nvmlDeviceGetMinMaxFanSpeed", nvml.device(1), slowest, fastest)


def _is_turning(nvml: Nvml, device: Any, fan: int, wanted: int) -> None:
    kind = "nvmlFanSpeedInfo_t"
    checks_version(nvml, "nvmlDeviceGetFanSpeedRPM", device, kind, 1, fan=0)
    speed = nvml.out(kind, version=version(nvml, kind, 1), fan=fan)
    nvml.ok("nvmlDeviceGetFanSpeedRPM", device, speed)
    nvml.equal(nvml.value(speed).speed, wanted, "revolutions a minute")
    kind = "nvmlCoolerInfo_t"
    checks_version(nvml, "nvmlDeviceGetCoolerInfo", device, kind, 1, index=0)
    cooler = nvml.out(kind, version=version(nvml, kind, 1), index=fan)
    nvml.ok("nvmlDeviceGetCoolerInfo", device, cooler)
    nvml.equal((nvml.value(cooler).signalType, cooler[0].target), (2, 14), "the cooler's signal and target")
    wrong = nvml.struct(kind, version=version(nvml, kind, 1), index=2)
    nvml.expect(INVALID_ARGUMENT, "nvmlDeviceGetCoolerInfo", device, wrong)


@rule(
    "nvmlDeviceSetFanSpeed_v2",
    "nvmlDeviceSetDefaultFanSpeed_v2",
    "nvmlDeviceSetFanControlPolicy",
    "nvmlDeviceGetFanControlPolicy_v2",
    source=f"{_HEADER}, NVML_FAN_POLICY_*",
    gpu=True,
    host=_HOST,
)
def fans_under_manual_control(nvml: Nvml) -> None:
    """A speed that is set makes the fan's control manual, for that fan alone, until the default is set."""
    device = nvml.device()
    nvml.expect(INVALID_ARGUMENT, "nvmlDeviceSetFanSpeed_v2", None, 0, 50)
    nvml.expect(INVALID_ARGUMENT, "nvmlDeviceSetDefaultFanSpeed_v2", None, 0)
    if nvml.host is None:
        return
    for call in (("SetFanSpeed_v2", 1, 80), ("SetDefaultFanSpeed_v2", 1), ("SetFanControlPolicy", 1, 1)):
        is_roots(nvml, f"nvmlDevice{call[0]}", device, *call[1:])
    may_change(nvml)
    nvml.ok("nvmlDeviceSetFanSpeed_v2", device, 1, 80)
    _is_controlled(nvml, device, 1, 80, 1)
    _is_controlled(nvml, device, 0, 40, 0)
    nvml.ok("nvmlDeviceSetDefaultFanSpeed_v2", device, 1)
    _is_controlled(nvml, device, 1, 55, 0)
    nvml.ok("nvmlDeviceSetFanControlPolicy", device, 0, 1)
    _is_controlled(nvml, device, 0, 40, 1)
    nvml.ok("nvmlDeviceSetFanControlPolicy", device, 0, 0)
    _is_controlled(nvml, device, 0, 40, 0)
    for fan, speed in ((0, 29), (0, 91), (2, 50)):
        nvml.expect(INVALID_ARGUMENT, "nvmlDeviceSetFanSpeed_v2", device, fan, speed)
    nvml.expect(INVALID_ARGUMENT, "nvmlDeviceSetFanControlPolicy", device, 0, 2)
    nvml.expect(NOT_SUPPORTED, "nvmlDeviceSetFanSpeed_v2", nvml.device(1), 0, 50)


def _is_controlled(nvml: Nvml, device: Any, fan: int, speed: int, policy: int) -> None:
    is_number(nvml, speed, "nvmlDeviceGetFanSpeed_v2", device, fan)
    is_number(nvml, speed, "nvmlDeviceGetTargetFanSpeed", device, fan)
    is_number(nvml, policy, "nvmlDeviceGetFanControlPolicy_v2", device, fan)


_PROFILES: dict[str, Any] = {"WORKLOAD_PROFILES": {0: 1, 1: 2, 5: 3, 40: 4}, "WORKLOAD_CONFLICTS": {0: 0b10, 1: 0b01}}
_REQUEST = "nvmlWorkloadPowerProfileRequestedProfiles_t"


def _bits(mask: Any) -> set[int]:
    return {32 * i + bit for i, word in enumerate(mask.mask) for bit in range(32) if word >> bit & 1}


def _put(mask: Any, ids: set[int]) -> None:
    for profile in ids:
        mask.mask[profile // 32] |= 1 << profile % 32


def _current(nvml: Nvml, device: Any) -> tuple[set[int], set[int], set[int]]:
    kind = "nvmlWorkloadPowerProfileCurrentProfiles_t"
    current = nvml.out(kind, version=version(nvml, kind, 1))
    nvml.ok("nvmlDeviceWorkloadPowerProfileGetCurrentProfiles", device, current)
    known = nvml.value(current)
    return _bits(known.perfProfilesMask), _bits(known.requestedProfilesMask), _bits(known.enforcedProfilesMask)


@rule(
    "nvmlDeviceWorkloadPowerProfileGetProfilesInfo",
    "nvmlDeviceWorkloadPowerProfileGetCurrentProfiles",
    "nvmlDeviceWorkloadPowerProfileSetRequestedProfiles",
    "nvmlDeviceWorkloadPowerProfileClearRequestedProfiles",
    "nvmlDeviceWorkloadPowerProfileUpdateProfiles_v1",
    source=f"{_HEADER}, the functions named, nvmlPowerProfileOperation_t",
    gpu=True,
    host={"gpu": [{"nvml": _PROFILES}, {"nvml": {"WORKLOAD_PROFILES": []}}]},
)
def power_profiles(nvml: Nvml) -> None:
    """Profiles are asked for and taken back; of those that exclude each other the lower priority number holds."""
    device, kind = nvml.device(), "nvmlWorkloadPowerProfileProfilesInfo_t"
    family = "nvmlDeviceWorkloadPowerProfile"
    checks_version(nvml, f"{family}GetProfilesInfo", device, kind, 1)
    checks_version(nvml, f"{family}GetCurrentProfiles", device, "nvmlWorkloadPowerProfileCurrentProfiles_t", 1)
    info = nvml.out(kind, version=version(nvml, kind, 1))
    codes = (SUCCESS, NOT_SUPPORTED) if nvml.host is None else SUCCESS
    if nvml.expect(codes, f"{family}GetProfilesInfo", device, info) == NOT_SUPPORTED or nvml.host is None:
        return
    known = {profile: nvml.value(info).perfProfile[profile] for profile in _bits(info[0].perfProfilesMask)}
    nvml.equal({key: one.priority for key, one in known.items()}, _PROFILES["WORKLOAD_PROFILES"], "the priorities")
    conflicts = {key: _bits(one.conflictingMask) for key, one in known.items()}
    nvml.equal(conflicts, {0: {1}, 1: {0}, 5: set(), 40: set()}, "what excludes what")
    nvml.equal(_current(nvml, device), ({0, 1, 5, 40}, set(), set()), "the profiles at first")
    _profiles_change(nvml, device, family)


def _profiles_change(nvml: Nvml, device: Any, family: str) -> None:
    def request(ids: set[int]) -> Any:
        asked = nvml.struct(_REQUEST, version=version(nvml, _REQUEST, 1))
        _put(asked[0].requestedProfilesMask, ids)
        return asked

    def update(operation: int, ids: set[int]) -> Any:
        asked = nvml.struct("nvmlWorkloadPowerProfileUpdateProfiles_v1_t", operation=operation)
        _put(asked[0].updateProfilesMask, ids)
        return asked

    for name in ("Set", "Clear"):
        is_roots(nvml, f"{family}{name}RequestedProfiles", device, request({1}))
        checks_version(nvml, f"{family}{name}RequestedProfiles", device, _REQUEST, 1)
    is_roots(nvml, f"{family}UpdateProfiles_v1", device, update(1, {1}))
    may_change(nvml)
    steps: list[tuple[str, Any, tuple[set[int], set[int]]]] = [
        ("SetRequestedProfiles", request({1, 40}), ({1, 40}, {1, 40})),
        ("SetRequestedProfiles", request({0}), ({0, 1, 40}, {0, 40})),
        ("ClearRequestedProfiles", request({0, 5}), ({1, 40}, {1, 40})),
        ("UpdateProfiles_v1", update(1, {5}), ({1, 5, 40}, {1, 5, 40})),
        ("UpdateProfiles_v1", update(0, {1}), ({5, 40}, {5, 40})),
        ("UpdateProfiles_v1", update(2, {0}), ({0}, {0})),
    ]
    for name, asked, (requested, enforced) in steps:
        nvml.ok(f"{family}{name}", device, asked)
        nvml.equal(_current(nvml, device)[1:], (requested, enforced), f"what is requested and in force after {name}")
    nvml.expect(INVALID_ARGUMENT, f"{family}SetRequestedProfiles", device, request({2}))
    nvml.expect(INVALID_ARGUMENT, f"{family}UpdateProfiles_v1", device, update(3, {0}))
    nvml.expect(NOT_SUPPORTED, f"{family}SetRequestedProfiles", nvml.device(1), request(set()))
