"""Multi-instance GPUs: the mode, MIG devices, GPU instances and compute instances."""

import os
from typing import Any

from vgpu_harness.conformance.library import pointer_type
from vgpu_harness.conformance.rule import Nvml, rule
from vgpu_harness.conformance.rules.nvml_common import (
    IN_USE,
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
_GUIDE = "NVIDIA Multi-Instance GPU User Guide, H100 80GB"
_RESET_REQUIRED, _INSUFFICIENT_RESOURCES, _VERSION_MISMATCH = 16, 23, 25
_MIB = 1 << 20
_1G, _2G, _3G, _7G = 19, 14, 9, 0  # nvidia-smi's ids of the profiles of an H100
_HOST = {
    "gpu": [
        {
            "mig": [{"profile": "3g.40gb", "start": 4}, {"profile": "1g.10gb", "start": 0}],
            "process": [{"pid": "self", "memory_mib": 300, "mig": 0}, {"pid": 4711, "name": "a", "memory_mib": 100}],
        },
        {"profile": "t4-16gb"},
    ]
}
_EMPTY = {"gpu": [{"nvml": {"MIG": 1}}, {"profile": "t4-16gb"}]}


def _modes(nvml: Nvml, device: Any) -> tuple[int, int]:
    now, then = nvml.out("unsigned int"), nvml.out("unsigned int")
    nvml.ok("nvmlDeviceGetMigMode", device, now, then)
    return nvml.value(now), nvml.value(then)


@rule(
    "nvmlDeviceGetMigMode",
    "nvmlDeviceSetMigMode",
    source=f"{_HEADER}, nvmlDeviceSetMigMode; {_GUIDE}: Hopper needs no reset",
    gpu=True,
    host={"gpu": [{}, {"profile": "a100-80gb-sxm4"}, {"profile": "t4-16gb"}]},
)
def mig_mode(nvml: Nvml) -> None:
    """Root's new mode holds at once on an H100, waits for a reset on an A100, and is not supported by a T4."""
    device = nvml.device()
    now, then, status = nvml.out("unsigned int"), nvml.out("unsigned int"), nvml.out("nvmlReturn_t")
    nvml.expect(INVALID_ARGUMENT, "nvmlDeviceGetMigMode", device, None, then)
    nvml.expect(INVALID_ARGUMENT, "nvmlDeviceGetMigMode", None, now, then)
    nvml.expect(INVALID_ARGUMENT, "nvmlDeviceSetMigMode", None, 1, status)
    if nvml.host is None:
        if nvml.expect((SUCCESS, NOT_SUPPORTED), "nvmlDeviceGetMigMode", device, now, then) == SUCCESS:
            nvml.check({now[0], then[0]} <= {0, 1}, "the modes are on or off")
        return
    ampere, turing = nvml.device(1), nvml.device(2)
    nvml.equal((_modes(nvml, device), _modes(nvml, ampere)), ((0, 0), (0, 0)), "the modes at first")
    nvml.expect(NOT_SUPPORTED, "nvmlDeviceGetMigMode", turing, now, then)
    nvml.expect(INVALID_ARGUMENT, "nvmlDeviceSetMigMode", device, 2, status)
    is_roots(nvml, "nvmlDeviceSetMigMode", device, 1, status)
    if may_change(nvml):
        for of, wanted, modes in ((device, SUCCESS, (1, 1)), (ampere, _RESET_REQUIRED, (0, 1))):
            status = nvml.out("nvmlReturn_t")
            nvml.ok("nvmlDeviceSetMigMode", of, 1, status)
            nvml.equal((int(nvml.value(status)), _modes(nvml, of)), (wanted, modes), "status and modes then")
        nvml.expect(NOT_SUPPORTED, "nvmlDeviceSetMigMode", turing, 1, status)


def _part(nvml: Nvml, device: Any, index: int) -> Any:
    box = nvml.out("nvmlDevice_t")
    nvml.ok("nvmlDeviceGetMigDeviceHandleByIndex", device, index, box)
    return nvml.value(box)


@rule(
    "nvmlDeviceGetMigDeviceHandleByIndex",
    "nvmlDeviceIsMigDeviceHandle",
    "nvmlDeviceGetDeviceHandleFromMigDeviceHandle",
    "nvmlDeviceGetGpuInstanceId",
    "nvmlDeviceGetComputeInstanceId",
    "nvmlDeviceGetMaxMigDeviceCount",
    source=f"{_HEADER}, the functions named",
    gpu=True,
    host=_HOST,
)
def mig_devices(nvml: Nvml) -> None:
    """Each MIG device has a handle, which leads back to its GPU, and the ids of its instances."""
    device = nvml.device()
    is_number(nvml, 0, "nvmlDeviceIsMigDeviceHandle", device)
    for function in ("nvmlDeviceIsMigDeviceHandle", "nvmlDeviceGetMaxMigDeviceCount"):
        refuses_nothing(nvml, function, device)
    ids = ("nvmlDeviceGetGpuInstanceId", "nvmlDeviceGetComputeInstanceId")
    for function in ids:
        nvml.expect((NOT_SUPPORTED, INVALID_ARGUMENT), function, device, nvml.out("unsigned int"))
        nvml.expect(INVALID_ARGUMENT, function, None, nvml.out("unsigned int"))
    box = nvml.out("nvmlDevice_t")
    nvml.expect(INVALID_ARGUMENT, "nvmlDeviceGetMigDeviceHandleByIndex", device, 0, None)
    nvml.expect((NOT_SUPPORTED, INVALID_ARGUMENT), "nvmlDeviceGetDeviceHandleFromMigDeviceHandle", device, box)
    if nvml.host is None:
        return
    is_number(nvml, 7, "nvmlDeviceGetMaxMigDeviceCount", device)
    is_number(nvml, 0, "nvmlDeviceGetMaxMigDeviceCount", nvml.device(1))
    parts = [_part(nvml, device, i) for i in range(2)]
    nvml.check(len({device, *parts}) == 3, "the handles are different ones")
    nvml.expect(NOT_FOUND, "nvmlDeviceGetMigDeviceHandleByIndex", device, 2, box)
    nvml.expect(NOT_SUPPORTED, "nvmlDeviceGetMigDeviceHandleByIndex", nvml.device(1), 0, box)
    seen = set()
    for part in parts:
        is_number(nvml, 1, "nvmlDeviceIsMigDeviceHandle", part)
        whole = nvml.out("nvmlDevice_t")
        nvml.ok("nvmlDeviceGetDeviceHandleFromMigDeviceHandle", part, whole)
        nvml.equal(nvml.value(whole), device, "the GPU of a MIG device")
        seen.add(number(nvml, ids[0], part))
        is_number(nvml, 0, ids[1], part)
    nvml.check(len(seen) == 2, "the GPU instances have different ids")
    nvml.check(all(0 <= (i or 0) < 15 for i in seen), "the ids are those of instances")


@rule(
    "nvmlDeviceGetAttributes",
    "nvmlDeviceGetAttributes_v2",
    "nvmlDeviceGetMemoryInfo",
    "nvmlDeviceGetComputeRunningProcesses_v3",
    source=f"{_HEADER}, nvmlDeviceAttributes_t; {_GUIDE}",
    gpu=True,
    host=_HOST,
)
def what_a_mig_device_has(nvml: Nvml) -> None:
    """A MIG device has its profile's share of the GPU, its own memory, and its own processes."""
    device = nvml.device()
    for function in ("nvmlDeviceGetAttributes", "nvmlDeviceGetAttributes_v2"):
        refuses_nothing(nvml, function, device)
        if nvml.host is not None:
            nvml.expect(NOT_SUPPORTED, function, device, nvml.out("nvmlDeviceAttributes_t"))
            for index, wanted in ((0, (16, 1, 1, 1, 9984)), (1, (60, 3, 3, 3, 40448))):
                box = nvml.out("nvmlDeviceAttributes_t")
                nvml.ok(function, _part(nvml, device, index), box)
                got = nvml.value(box)
                share = (got.multiprocessorCount, got.sharedCopyEngineCount, got.gpuInstanceSliceCount)
                said = (*share, got.computeInstanceSliceCount, got.memorySizeMB)
                nvml.equal(said, wanted, f"the attributes of MIG device {index}")
    if nvml.host is None:
        return
    for index, (total, users) in enumerate(((9984, []), (40448, [(os.getpid(), 300)]))):
        part, memory = _part(nvml, device, index), nvml.out("nvmlMemory_t")
        nvml.ok("nvmlDeviceGetMemoryInfo", part, memory)
        used = sum(mib for _, mib in users)
        got = (memory[0].total // _MIB, memory[0].used // _MIB, memory[0].free // _MIB)
        nvml.equal(got, (total, used, total - used), "the memory")
        count, infos = nvml.struct("unsigned int"), nvml.out("nvmlProcessInfo_t", 4)
        count[0] = 4
        nvml.ok("nvmlDeviceGetComputeRunningProcesses_v3", part, count, infos)
        nvml.equal([(infos[i].pid, infos[i].usedGpuMemory // _MIB) for i in range(count[0])], users, "its processes")


@rule(
    "nvmlDeviceGetGpuInstanceProfileInfo",
    "nvmlDeviceGetGpuInstanceProfileInfoV",
    "nvmlDeviceGetGpuInstanceProfileInfoByIdV",
    "nvmlDeviceGetGpuInstancePossiblePlacements",
    "nvmlDeviceGetGpuInstancePossiblePlacements_v2",
    source=f"{_HEADER}, the functions named; {_GUIDE}",
    gpu=True,
    host=_EMPTY,
)
def profiles(nvml: Nvml) -> None:
    """What a profile gives, by its number and by its id, and where its instances may begin."""
    device, kind = nvml.device(), "nvmlGpuInstanceProfileInfo_v2_t"
    right, first = version(nvml, kind, 2), nvml.out("nvmlGpuInstanceProfileInfo_t")
    nvml.expect(INVALID_ARGUMENT, "nvmlDeviceGetGpuInstanceProfileInfo", device, 4711, first)
    nvml.expect(INVALID_ARGUMENT, "nvmlDeviceGetGpuInstanceProfileInfo", None, 0, first)
    nvml.expect(INVALID_ARGUMENT, "nvmlDeviceGetGpuInstanceProfileInfoV", device, 0, None)
    nvml.expect(INVALID_ARGUMENT, "nvmlDeviceGetGpuInstanceProfileInfoByIdV", None, 0, nvml.out(kind, version=right))
    if nvml.host is None:
        return
    for profile, id_, wanted in (
        (0, _1G, (19, 1, 7, 16, 1, 1, 0, 1, 0, 9984)),
        (2, _3G, (9, 3, 2, 60, 3, 3, 0, 3, 0, 40448)),
    ):
        nvml.ok("nvmlDeviceGetGpuInstanceProfileInfo", device, profile, first)
        boxes = [nvml.out(kind, version=right) for _ in range(2)]
        nvml.ok("nvmlDeviceGetGpuInstanceProfileInfoV", device, profile, boxes[0])
        nvml.ok("nvmlDeviceGetGpuInstanceProfileInfoByIdV", device, id_, boxes[1])
        for got in (first[0], boxes[0][0], boxes[1][0]):
            said = (got.id, got.sliceCount, got.instanceCount, got.multiprocessorCount, got.copyEngineCount)
            engines = (got.decoderCount, got.encoderCount, got.jpegCount, got.ofaCount, got.memorySizeMB)
            nvml.equal((*said, *engines), wanted, f"profile {profile}")
        nvml.equal(bytes(nvml.ffi.string(boxes[0][0].name))[:2], b"%dg" % wanted[1], "the profile's name")
    nvml.expect(_VERSION_MISMATCH, "nvmlDeviceGetGpuInstanceProfileInfoV", device, 0, nvml.out(kind, version=4711))
    nvml.expect(_VERSION_MISMATCH, "nvmlDeviceGetGpuInstanceProfileInfoByIdV", device, 0, nvml.out(kind, version=4711))
    nvml.expect(NOT_SUPPORTED, "nvmlDeviceGetGpuInstanceProfileInfo", device, 5, first)
    nvml.expect(NOT_SUPPORTED, "nvmlDeviceGetGpuInstanceProfileInfo", nvml.device(1), 0, first)
    for function in ("nvmlDeviceGetGpuInstancePossiblePlacements", "nvmlDeviceGetGpuInstancePossiblePlacements_v2"):
        count, places = nvml.out("unsigned int"), nvml.out("nvmlGpuInstancePlacement_t", 8)
        nvml.ok(function, device, _3G, None, count)
        nvml.equal(nvml.value(count), 2, "the places of a 3g instance")
        nvml.ok(function, device, _3G, places, count)
        nvml.equal([(places[i].start, places[i].size) for i in range(2)], [(0, 4), (4, 4)], "the places")
        count[0] = 1
        nvml.expect(INSUFFICIENT_SIZE, function, device, _3G, places, count)
        nvml.expect(INVALID_ARGUMENT, function, device, 4711, places, count)


def _made(nvml: Nvml, function: str, *arguments: Any) -> Any:
    box = nvml.out(pointer_type(function).args[-1].item.cname)
    nvml.ok(function, *arguments, box)
    return nvml.value(box)


@rule(
    "nvmlDeviceCreateGpuInstance",
    "nvmlDeviceCreateGpuInstanceWithPlacement",
    "nvmlGpuInstanceDestroy",
    "nvmlDeviceGetGpuInstances",
    "nvmlDeviceGetGpuInstanceById",
    "nvmlGpuInstanceGetInfo",
    "nvmlDeviceGetGpuInstanceRemainingCapacity",
    source=f"{_HEADER}, the functions named; {_GUIDE}",
    gpu=True,
    host=_EMPTY,
)
def gpu_instances(nvml: Nvml) -> None:
    """Instances take memory slices until none are left, and give them back; they are found by profile and by id."""
    device, box = nvml.device(), nvml.out("nvmlGpuInstance_t")
    nvml.expect(INVALID_ARGUMENT, "nvmlDeviceCreateGpuInstance", None, _1G, box)
    nvml.expect(INVALID_ARGUMENT, "nvmlDeviceGetGpuInstanceById", None, 1, box)
    nvml.expect(INVALID_ARGUMENT, "nvmlGpuInstanceDestroy", None)
    nvml.expect(INVALID_ARGUMENT, "nvmlGpuInstanceGetInfo", None, nvml.out("nvmlGpuInstanceInfo_t"))
    if nvml.host is None:
        return
    is_roots(nvml, "nvmlDeviceCreateGpuInstance", device, _1G, box)
    is_roots(nvml, "nvmlDeviceGetGpuInstanceRemainingCapacity", device, _1G, nvml.out("unsigned int"))
    if not may_change(nvml):
        return

    def left(profile: int) -> int | None:
        return number(nvml, "nvmlDeviceGetGpuInstanceRemainingCapacity", device, profile)

    nvml.equal([left(i) for i in (_1G, _2G, _3G, _7G)], [7, 3, 2, 1], "what an empty GPU has room for")
    small = _made(nvml, "nvmlDeviceCreateGpuInstance", device, _1G)
    place = nvml.struct("nvmlGpuInstancePlacement_t", start=4, size=4)
    big = _made(nvml, "nvmlDeviceCreateGpuInstanceWithPlacement", device, _3G, place)
    nvml.equal([left(i) for i in (_1G, _2G, _3G, _7G)], [3, 1, 0, 0], "what there is room for then")
    nvml.expect(_INSUFFICIENT_RESOURCES, "nvmlDeviceCreateGpuInstance", device, _7G, box)
    nvml.expect(_INSUFFICIENT_RESOURCES, "nvmlDeviceCreateGpuInstanceWithPlacement", device, _3G, place, box)
    place[0].size = 3
    nvml.expect(INVALID_ARGUMENT, "nvmlDeviceCreateGpuInstanceWithPlacement", device, _3G, place, box)
    nvml.untouched(box)
    for handle, profile, taken in ((small, _1G, (0, 1)), (big, _3G, (4, 4))):
        info = nvml.out("nvmlGpuInstanceInfo_t")
        nvml.ok("nvmlGpuInstanceGetInfo", handle, info)
        got = nvml.value(info)
        said = (got.device, got.profileId, (got.placement.start, got.placement.size))
        nvml.equal(said, (device, profile, taken), "what the instance is")
        nvml.equal(_made(nvml, "nvmlDeviceGetGpuInstanceById", device, got.id), handle, "the instance of the id")
        listed, count = nvml.out("nvmlGpuInstance_t", 7), nvml.out("unsigned int")
        nvml.ok("nvmlDeviceGetGpuInstances", device, profile, listed, count)
        nvml.equal((nvml.value(count), nvml.values(listed, 1)), (1, [handle]), "the instances of the profile")
    nvml.expect(NOT_FOUND, "nvmlDeviceGetGpuInstanceById", device, 4711, box)
    nvml.ok("nvmlGpuInstanceDestroy", big)
    nvml.expect(INVALID_ARGUMENT, "nvmlGpuInstanceDestroy", big)
    nvml.equal(left(_3G), 1, "the room after one instance is gone")
    nvml.expect(NOT_SUPPORTED, "nvmlDeviceCreateGpuInstance", nvml.device(1), _1G, box)


@rule(
    "nvmlGpuInstanceGetComputeInstanceProfileInfo",
    "nvmlGpuInstanceGetComputeInstanceProfileInfoV",
    "nvmlGpuInstanceGetComputeInstanceRemainingCapacity",
    "nvmlGpuInstanceGetComputeInstancePossiblePlacements",
    "nvmlGpuInstanceCreateComputeInstance",
    "nvmlGpuInstanceCreateComputeInstanceWithPlacement",
    "nvmlComputeInstanceDestroy",
    "nvmlGpuInstanceGetComputeInstances",
    "nvmlGpuInstanceGetComputeInstanceById",
    "nvmlComputeInstanceGetInfo",
    "nvmlComputeInstanceGetInfo_v2",
    source=f"{_HEADER}, the functions named; {_GUIDE}",
    gpu=True,
    host=_EMPTY,
)
def compute_instances(nvml: Nvml) -> None:
    """Compute instances share a GPU instance's slices; each of them is a MIG device as long as it lives."""
    device, box = nvml.device(), nvml.out("nvmlComputeInstance_t")
    nvml.expect(INVALID_ARGUMENT, "nvmlGpuInstanceCreateComputeInstance", None, 0, box)
    nvml.expect(INVALID_ARGUMENT, "nvmlComputeInstanceDestroy", None)
    nvml.expect(INVALID_ARGUMENT, "nvmlComputeInstanceGetInfo_v2", None, nvml.out("nvmlComputeInstanceInfo_t"))
    if nvml.host is None or not may_change(nvml):
        return
    parent = _made(nvml, "nvmlDeviceCreateGpuInstance", device, _3G)
    kind, first = "nvmlComputeInstanceProfileInfo_v2_t", nvml.out("nvmlComputeInstanceProfileInfo_t")
    for profile, name, wanted in ((0, b"1c.3g.40gb", (0, 1, 3, 16, 3)), (2, b"3g.40gb", (2, 3, 1, 60, 3))):
        second = nvml.out(kind, version=version(nvml, kind, 2))
        nvml.ok("nvmlGpuInstanceGetComputeInstanceProfileInfo", parent, profile, 0, first)
        nvml.ok("nvmlGpuInstanceGetComputeInstanceProfileInfoV", parent, profile, 0, second)
        for got in (first[0], second[0]):
            said = (got.id, got.sliceCount, got.instanceCount, got.multiprocessorCount, got.sharedCopyEngineCount)
            nvml.equal(said, wanted, f"compute profile {profile}")
        nvml.equal(bytes(nvml.ffi.string(second[0].name)), name, "its name")
    nvml.expect(NOT_SUPPORTED, "nvmlGpuInstanceGetComputeInstanceProfileInfo", parent, 4, 0, first)
    nvml.expect(INVALID_ARGUMENT, "nvmlGpuInstanceGetComputeInstanceProfileInfo", parent, 0, 1, first)
    nvml.expect(
        _VERSION_MISMATCH, "nvmlGpuInstanceGetComputeInstanceProfileInfoV", parent, 0, 0, nvml.out(kind, version=4711)
    )

    def left(profile: int) -> int | None:
        return number(nvml, "nvmlGpuInstanceGetComputeInstanceRemainingCapacity", parent, profile)

    count, places = nvml.out("unsigned int"), nvml.out("nvmlComputeInstancePlacement_t", 8)
    nvml.ok("nvmlGpuInstanceGetComputeInstancePossiblePlacements", parent, 0, None, count)
    nvml.equal(nvml.value(count), 3, "the places of a single slice")
    nvml.ok("nvmlGpuInstanceGetComputeInstancePossiblePlacements", parent, 0, places, count)
    nvml.equal([(places[i].start, places[i].size) for i in range(3)], [(0, 1), (1, 1), (2, 1)], "the places")
    nvml.equal([left(i) for i in (0, 1, 2)], [3, 1, 1], "what there is room for")
    one = _made(nvml, "nvmlGpuInstanceCreateComputeInstance", parent, 0)
    place = nvml.struct("nvmlComputeInstancePlacement_t", start=1, size=2)
    two = _made(nvml, "nvmlGpuInstanceCreateComputeInstanceWithPlacement", parent, 1, place)
    nvml.equal([left(i) for i in (0, 1, 2)], [0, 0, 0], "the room that is left")
    nvml.expect(_INSUFFICIENT_RESOURCES, "nvmlGpuInstanceCreateComputeInstance", parent, 0, box)
    nvml.expect(_INSUFFICIENT_RESOURCES, "nvmlGpuInstanceCreateComputeInstanceWithPlacement", parent, 1, place, box)
    for handle, id_, profile, taken in ((one, 0, 0, (0, 1)), (two, 1, 1, (1, 2))):
        info, old = nvml.out("nvmlComputeInstanceInfo_t"), nvml.out("nvmlComputeInstanceInfo_t")
        nvml.ok("nvmlComputeInstanceGetInfo_v2", handle, info)
        nvml.ok("nvmlComputeInstanceGetInfo", handle, old)
        for got in (nvml.value(info), nvml.value(old)):
            nvml.equal(
                (got.device, got.gpuInstance, got.id, got.profileId), (device, parent, id_, profile), "its facts"
            )
        nvml.equal((info[0].placement.start, info[0].placement.size), taken, "its place")
        nvml.check((old[0].placement.start, old[0].placement.size) != taken, "version 1 has no place")
        nvml.equal(_made(nvml, "nvmlGpuInstanceGetComputeInstanceById", parent, id_), handle, "the instance of the id")
        listed, count = nvml.out("nvmlComputeInstance_t", 7), nvml.out("unsigned int")
        nvml.ok("nvmlGpuInstanceGetComputeInstances", parent, profile, listed, count)
        nvml.equal((nvml.value(count), nvml.values(listed, 1)), (1, [handle]), "the instances of the profile")
    nvml.expect(NOT_FOUND, "nvmlGpuInstanceGetComputeInstanceById", parent, 7, box)
    part = _part(nvml, device, 1)
    is_number(nvml, 1, "nvmlDeviceGetComputeInstanceId", part)
    nvml.expect(IN_USE, "nvmlGpuInstanceDestroy", parent)
    nvml.ok("nvmlComputeInstanceDestroy", two)
    nvml.expect(INVALID_ARGUMENT, "nvmlComputeInstanceDestroy", two)
    nvml.expect(INVALID_ARGUMENT, "nvmlDeviceIsMigDeviceHandle", part, nvml.out("unsigned int"))
    nvml.equal(left(1), 1, "the room after one is gone")
    nvml.ok("nvmlComputeInstanceDestroy", one)
    nvml.ok("nvmlGpuInstanceDestroy", parent)
    nvml.expect(INVALID_ARGUMENT, "nvmlGpuInstanceCreateComputeInstance", parent, 0, box)


@rule("nvmlComputeInstanceDestroy", "nvmlDeviceSetMigMode", source=_GUIDE, gpu=True, host=_HOST)
def instances_in_use(nvml: Nvml) -> None:
    """An instance with a process cannot be taken away, and MIG not be switched off while there are instances."""
    device = nvml.device()
    if nvml.host is None or not may_change(nvml):
        return
    used = _part(nvml, device, 1)
    parent = _made(nvml, "nvmlDeviceGetGpuInstanceById", device, number(nvml, "nvmlDeviceGetGpuInstanceId", used))
    compute = _made(nvml, "nvmlGpuInstanceGetComputeInstanceById", parent, 0)
    nvml.expect(IN_USE, "nvmlComputeInstanceDestroy", compute)
    status = nvml.out("nvmlReturn_t")
    nvml.ok("nvmlDeviceSetMigMode", device, 0, status)
    nvml.equal((int(nvml.value(status)), _modes(nvml, device)), (IN_USE, (1, 0)), "status and modes")
