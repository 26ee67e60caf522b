"""CUDA_VISIBLE_DEVICES and CUDA_DEVICE_ORDER."""

from typing import Any

from vgpu_harness.conformance.rule import Cuda, rule

NO_DEVICE = 100
_GUIDE = "CUDA C++ Programming Guide, CUDA environment variables"
_TWO: dict[str, Any] = {"gpu": [{}, {}]}


def _count(cuda: Cuda) -> int:
    box = cuda.out("int")
    cuda.ok("cuDeviceGetCount", box)
    return int(cuda.value(box))


def _uuid(cuda: Cuda, device: int) -> str:
    box = cuda.out("CUuuid")
    cuda.ok("cuDeviceGetUuid_v2", box, device)
    digits = bytes(cuda.ffi.buffer(cuda.value(box).bytes)).hex()
    return "GPU-" + "-".join(digits[a:b] for a, b in ((0, 8), (8, 12), (12, 16), (16, 20), (20, 32)))


def _in_child(cuda: Cuda, visible: str) -> int:
    """The devices that a child sees for which the variable is this; 1000 and the code, where its cuInit fails."""

    def count() -> int:
        cuda.setenv("CUDA_VISIBLE_DEVICES", visible)
        code = cuda.call("cuInit", 0)
        return 1000 + code if code != 0 else _count(cuda)

    return cuda.in_fork(count)


def _all(cuda: Cuda) -> int:
    def count() -> int:
        cuda.setenv("CUDA_VISIBLE_DEVICES", None)
        cuda.init()
        return _count(cuda)

    return cuda.in_fork(count)


@rule("cuInit", "cuDeviceGetCount", source=_GUIDE, gpu=True, host=_TWO)
def nothing_visible(cuda: Cuda) -> None:
    """An empty list, and one that starts with no device, hides all: cuInit answers CUDA_ERROR_NO_DEVICE."""
    for visible in ("", "-1", "no-device", "4711", ",0"):
        cuda.equal(_in_child(cuda, visible), 1000 + NO_DEVICE, f"what is seen for {visible!r}")


@rule("cuInit", "cuDeviceGetCount", source=_GUIDE, gpu=True, host=_TWO)
def the_list_ends_at_what_is_none(cuda: Cuda) -> None:
    """Devices after the first entry that names none are hidden."""
    for visible in ("0", "0,-1,0", "0,4711", "0,no-device"):
        cuda.equal(_in_child(cuda, visible), 1, f"what is seen for {visible!r}")


@rule("cuInit", "cuDeviceGetUuid_v2", source=_GUIDE, gpu=True, host=_TWO)
def the_list_gives_the_order(cuda: Cuda) -> None:
    """Devices come in the list's order, by index or by the start of their UUID, and the variable is read once."""
    if _all(cuda) < 2:
        return
    cuda.setenv("CUDA_DEVICE_ORDER", "PCI_BUS_ID")
    cuda.setenv("CUDA_VISIBLE_DEVICES", "1,0")

    def start(device: int) -> int:
        cuda.init()
        return int(_uuid(cuda, device)[4:8], 16)

    swapped = cuda.in_fork(lambda: start(0))
    cuda.setenv("CUDA_VISIBLE_DEVICES", None)
    straight = cuda.in_fork(lambda: start(1))
    cuda.equal(swapped, straight, "the start of the first device's UUID")
    cuda.init()
    cuda.setenv("CUDA_VISIBLE_DEVICES", "0")
    cuda.init()
    cuda.check(_count(cuda) >= 2, "a change after cuInit means nothing")
    second = _uuid(cuda, 1)
    cuda.check(second != _uuid(cuda, 0), "two devices have different UUIDs")


@rule("cuDeviceGetCount", "cuDeviceGetName", "cuDeviceGetUuid_v2", "cuDeviceTotalMem_v2", "cuDeviceGetAttribute",
      source="MIG User Guide, Device Enumeration", gpu=True,
      host={"gpu": [{"mig": [{"profile": "1g.10gb"}, {"profile": "2g.20gb"}]}]})  # fmt: skip
def one_mig_device(cuda: Cuda) -> None:
    """Of several MIG devices a process sees the first alone, with the memory and multiprocessors of its part."""
    cuda.init()
    count = _count(cuda)
    name, total, units = cuda.out("char", 128), cuda.out("size_t"), cuda.out("int")
    cuda.ok("cuDeviceGetName", name, 128, 0)
    cuda.ok("cuDeviceTotalMem_v2", total, 0)
    cuda.ok("cuDeviceGetAttribute", units, 16, 0)
    if "MIG" not in cuda.text(name):
        return  # a machine without MIG
    cuda.equal(count, 1, "the number of devices")
    whole, part = cuda.out("CUuuid"), cuda.out("CUuuid")
    cuda.ok("cuDeviceGetUuid", whole, 0)
    cuda.ok("cuDeviceGetUuid_v2", part, 0)
    uuids = [bytes(cuda.ffi.buffer(cuda.value(box).bytes)) for box in (whole, part)]
    cuda.check(uuids[0] != uuids[1], "the MIG device has another UUID than its GPU")
    if cuda.host is not None:
        gpu = cuda.host.gpu[0]
        cuda.check(gpu.name in cuda.text(name), f"{cuda.text(name)!r} is a part of {gpu.name!r}")
        cuda.check(8 << 30 <= cuda.value(total) <= 21 << 30, f"{cuda.value(total)} bytes are one of the parts")
        cuda.check(10 <= cuda.value(units) <= 40, f"{cuda.value(units)} multiprocessors are one of the parts")
        cuda.equal(uuids[0].hex(), gpu.uuid[4:].replace("-", ""), "the GPU's UUID")
