"""The processes that use a device."""

import os
from typing import Any

from vgpu_harness.conformance.rule import Nvml, rule
from vgpu_harness.conformance.rules.nvml_common import (
    INSUFFICIENT_SIZE,
    INVALID_ARGUMENT,
    NOT_FOUND,
    SUCCESS,
    checks_version,
    version,
)

_HEADER = "nvml.h 13.5"
_MIB = 1 << 20
_NO_INSTANCE = 0xFFFFFFFF
_KINDS = ("Compute", "Graphics", "MPSCompute")
_HOST: dict[str, Any] = {
    "gpu": [
        {
            "process": [
                {"pid": "self", "kind": "compute", "memory_mib": 300, "sm": 30, "memory": 3, "encoder": 1},
                {"pid": 4711, "name": "other", "kind": "compute", "memory_mib": 100},
                {"pid": 4712, "name": "display", "kind": "graphics", "memory_mib": 20, "decoder": 9},
                {"pid": 4713, "name": "shared", "kind": "mps", "memory_mib": 40},
            ]
        },
        {},
    ]
}
_THERE: dict[str, list[tuple[int | None, int]]] = {
    "Compute": [(None, 300), (4711, 100)],
    "Graphics": [(4712, 20)],
    "MPSCompute": [(4713, 40)],
}


def _wanted(kind: str) -> list[tuple[int, int]]:
    return [(pid or os.getpid(), mib * _MIB) for pid, mib in _THERE[kind]]


def _listed(nvml: Nvml, function: str, device: Any, item: str, wanted: list[tuple[int, int]]) -> None:
    count = nvml.struct("unsigned int")
    code = nvml.expect((SUCCESS, INSUFFICIENT_SIZE), function, device, count, None)
    nvml.equal(code == SUCCESS, count[0] == 0, f"{function} with no room says success, and that there are none")
    if nvml.host is not None:
        nvml.equal((code, count[0]), (INSUFFICIENT_SIZE, len(wanted)), f"{function}: code and number with no room")
    room = count[0] + 3
    count[0] = room
    users = nvml.out(item, room)
    nvml.ok(function, device, count, users)
    got = nvml.values(users, count[0])
    nvml.check(all(user.pid > 0 for user in got), "each process has a number")
    if nvml.host is not None:
        nvml.equal([(user.pid, user.usedGpuMemory) for user in got], wanted, function)
        if item != "nvmlProcessInfo_v1_t":
            instances = {(user.gpuInstanceId, user.computeInstanceId) for user in got}
            nvml.equal(instances, {(_NO_INSTANCE, _NO_INSTANCE)}, "the instances of processes without MIG")
    nvml.expect(INVALID_ARGUMENT, function, device, None, users)
    nvml.expect(INVALID_ARGUMENT, function, None, count, users)


@rule(
    *(f"nvmlDeviceGet{kind}RunningProcesses{form}" for kind in _KINDS for form in ("", "_v2", "_v3")),
    source=f"{_HEADER}, nvmlDeviceGetComputeRunningProcesses_v3",
    gpu=True,
    host=_HOST,
)
def running_processes(nvml: Nvml) -> None:
    """Each list has its processes, in the layout of its version; too little room is an error and the number needed."""
    device = nvml.device()
    for kind in _KINDS:
        for form, item in (("", "nvmlProcessInfo_v1_t"), ("_v2", "nvmlProcessInfo_v2_t"), ("_v3", "nvmlProcessInfo_t")):
            _listed(nvml, f"nvmlDeviceGet{kind}RunningProcesses{form}", device, item, _wanted(kind))


@rule(
    "nvmlDeviceGetComputeRunningProcesses_v3",
    source=f"{_HEADER}, nvmlDeviceGetComputeRunningProcesses_v3",
    gpu=True,
    host=_HOST,
)
def an_idle_device_has_no_processes(nvml: Nvml) -> None:
    """Without processes no room is success and 0; one place for two processes is too little, and stays untouched."""
    if nvml.host is None:
        return
    idle, count = nvml.device(1), nvml.struct("unsigned int")
    nvml.ok("nvmlDeviceGetComputeRunningProcesses_v3", idle, count, None)
    nvml.equal(count[0], 0, "the processes of an idle device")
    count[0] = 1
    users = nvml.out("nvmlProcessInfo_t")
    nvml.expect(INSUFFICIENT_SIZE, "nvmlDeviceGetComputeRunningProcesses_v3", nvml.device(), count, users)
    nvml.untouched(users)
    nvml.equal(count[0], 2, "the places needed")


@rule("nvmlDeviceGetRunningProcessDetailList", source=f"{_HEADER}, nvmlProcessDetailList_v1_t", gpu=True, host=_HOST)
def details_of_processes(nvml: Nvml) -> None:
    """Modes 0, 1 and 2 list compute, graphics and MPS processes."""
    device, function = nvml.device(), "nvmlDeviceGetRunningProcessDetailList"
    right = version(nvml, "nvmlProcessDetailList_t", 1)
    for mode, kind in enumerate(_KINDS):
        plist = nvml.struct("nvmlProcessDetailList_t", version=right, mode=mode)
        nvml.expect((SUCCESS, INSUFFICIENT_SIZE), function, device, plist)
        room = plist[0].numProcArrayEntries
        users = nvml.out("struct vgpu_nvml_process_detail", max(room, 1))
        plist[0].procArray = users
        nvml.ok(function, device, plist)
        if nvml.host is not None:
            got = [(user.pid, user.usedGpuMemory) for user in nvml.values(users, room)]
            nvml.equal(got, _wanted(kind), f"the processes of mode {mode}")
    nvml.expect(INVALID_ARGUMENT, function, device, nvml.struct("nvmlProcessDetailList_t", version=right, mode=3))
    checks_version(nvml, function, device, "nvmlProcessDetailList_t", 1)


@rule(
    "nvmlDeviceGetProcessUtilization",
    "nvmlDeviceGetProcessesUtilizationInfo",
    source=f"{_HEADER}, nvmlDeviceGetProcessUtilization",
    gpu=True,
    host=_HOST,
)
def what_each_process_uses(nvml: Nvml) -> None:
    """Processes that use an engine are listed with its percents; an idle device has none: NVML_ERROR_NOT_FOUND."""
    device, count = nvml.device(), nvml.struct("unsigned int")
    codes = (INSUFFICIENT_SIZE, NOT_FOUND, 3)
    nvml.expect(codes, "nvmlDeviceGetProcessUtilization", device, None, count, 0)
    right = version(nvml, "nvmlProcessesUtilizationInfo_t", 1)
    info = nvml.struct("nvmlProcessesUtilizationInfo_t", version=right)
    nvml.expect(codes, "nvmlDeviceGetProcessesUtilizationInfo", device, info)
    checks_version(nvml, "nvmlDeviceGetProcessesUtilizationInfo", device, "nvmlProcessesUtilizationInfo_t", 1)
    nvml.expect(INVALID_ARGUMENT, "nvmlDeviceGetProcessUtilization", device, None, None, 0)
    if nvml.host is None:
        return
    nvml.equal((count[0], info[0].processSamplesCount), (2, 2), "the processes that use an engine")
    wanted = [(os.getpid(), 30, 3, 1, 0), (4712, 0, 0, 0, 9)]
    users = nvml.out("nvmlProcessUtilizationSample_t", 2)
    nvml.ok("nvmlDeviceGetProcessUtilization", device, users, count, 0)
    others = nvml.out("struct vgpu_nvml_process_utilization", 2)
    info[0].procUtilArray = others
    nvml.ok("nvmlDeviceGetProcessesUtilizationInfo", device, info)
    for got in (nvml.values(users), nvml.values(others)):
        nvml.equal([(u.pid, u.smUtil, u.memUtil, u.encUtil, u.decUtil) for u in got], wanted, "what processes use")
        nvml.check(all(u.timeStamp > 0 for u in got), "each sample has a time")
    far = users[0].timeStamp + 3_600_000_000
    nvml.expect(NOT_FOUND, "nvmlDeviceGetProcessUtilization", device, users, count, far)
    idle = nvml.device(1)
    nvml.expect(NOT_FOUND, "nvmlDeviceGetProcessUtilization", idle, None, count, 0)
    info[0].lastSeenTimeStamp = 0
    nvml.expect(NOT_FOUND, "nvmlDeviceGetProcessesUtilizationInfo", idle, info)
