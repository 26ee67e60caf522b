"""Questions about a device."""

from typing import Any

from vgpu_harness.conformance.rule import Cuda, rule

INVALID_VALUE, NOT_INITIALIZED, INVALID_DEVICE, INVALID_CONTEXT, NOT_SUPPORTED = 1, 3, 101, 201, 801
ABSENT = 4711
MAJOR, MINOR, BUS, SLOT, DOMAIN, MULTIPROCESSORS, THREADS = 75, 76, 33, 34, 50, 16, 1
FLOAT, NV12 = 0x20, 0xB0
SM_COUNT, NO_AFFINITY = 0, 3
TO_OWNER, TO_ALL = 100, 200
_DOC = "cuda.h 13.5"


def _number(cuda: Cuda, name: str, kind: str, *rest: Any, before: tuple[Any, ...] = ()) -> int:
    box = cuda.out(kind)
    cuda.ok(name, *before, box, *rest)
    return int(cuda.value(box))


def _attribute(cuda: Cuda, attribute: int, device: int = 0) -> int:
    return _number(cuda, "cuDeviceGetAttribute", "int", attribute, device)


@rule("cuDeviceGetName", source=f"{_DOC}, cuDeviceGetName", gpu=True)
def names(cuda: Cuda) -> None:
    """cuDeviceGetName answers a text that is cut to the buffer, and always ended."""
    device = cuda.device()
    box, short = cuda.out("char", 256), cuda.out("char", 8)
    cuda.ok("cuDeviceGetName", box, 256, device)
    name = cuda.text(box)
    cuda.check(len(name) > 3 and name.isprintable(), f"{name!r} is a name")
    if cuda.host is not None:
        cuda.check(any(name.startswith(gpu.name) for gpu in cuda.host.gpu), f"{name!r} is the name of one of the GPUs")
    cuda.ok("cuDeviceGetName", short, 4, device)
    cuda.equal(cuda.text(short), name[:3], "the name in 4 bytes")
    cuda.expect(INVALID_DEVICE, "cuDeviceGetName", short, 8, ABSENT)
    cuda.expect(INVALID_VALUE, "cuDeviceGetName", None, 8, device)
    cuda.expect(INVALID_VALUE, "cuDeviceGetName", short, 0, device)


@rule("cuDeviceGetAttribute", "cuDeviceComputeCapability", source=f"{_DOC}, cuDeviceGetAttribute", gpu=True)
def attributes(cuda: Cuda) -> None:
    """Attributes are answered, those of the compute capability also by cuDeviceComputeCapability; others are errors."""
    device = cuda.device()
    major, minor = cuda.out("int"), cuda.out("int")
    cuda.ok("cuDeviceComputeCapability", major, minor, device)
    cuda.equal(_attribute(cuda, MAJOR), cuda.value(major), "the attribute of the major number")
    cuda.equal(_attribute(cuda, MINOR), cuda.value(minor), "the attribute of the minor number")
    if cuda.host is not None:
        known = {gpu.compute_numbers for gpu in cuda.host.gpu}
        cuda.check((cuda.value(major), cuda.value(minor)) in known, "the compute capability is that of one of the GPUs")
    cuda.check(5 <= cuda.value(major) <= 15, f"{cuda.value(major)} is a major compute capability")
    cuda.check(1 <= _attribute(cuda, MULTIPROCESSORS) <= 1024, "there are multiprocessors")
    box = cuda.out("int")
    cuda.expect(INVALID_VALUE, "cuDeviceGetAttribute", box, 0x7FFF, device)
    cuda.expect(INVALID_DEVICE, "cuDeviceGetAttribute", box, MAJOR, ABSENT)
    cuda.expect(INVALID_VALUE, "cuDeviceGetAttribute", None, MAJOR, device)
    cuda.expect(INVALID_DEVICE, "cuDeviceComputeCapability", box, box, ABSENT)
    cuda.untouched(box)


@rule("cuDeviceGetAttribute", source="measured on 535.261.03", gpu=False)
def attributes_before_init(cuda: Cuda) -> None:
    """Before cuInit NULL for the output is CUDA_ERROR_INVALID_VALUE, memory CUDA_ERROR_NOT_INITIALIZED."""
    box = cuda.out("int")
    cuda.expect(INVALID_VALUE, "cuDeviceGetAttribute", None, MAJOR, 0)
    cuda.expect(NOT_INITIALIZED, "cuDeviceGetAttribute", box, MAJOR, 0)
    cuda.untouched(box)


@rule("cuDeviceGetUuid", "cuDeviceGetUuid_v2", source=f"{_DOC}, cuDeviceGetUuid", gpu=True)
def uuids(cuda: Cuda) -> None:
    """Both forms answer the same 16 bytes for a whole GPU, and no two devices have the same."""
    cuda.init()
    found: list[bytes] = []
    for device in range(_number(cuda, "cuDeviceGetCount", "int")):
        pair = [cuda.out("CUuuid") for _ in range(2)]
        cuda.ok("cuDeviceGetUuid", pair[0], device)
        cuda.ok("cuDeviceGetUuid_v2", pair[1], device)
        first, second = (bytes(cuda.ffi.buffer(cuda.value(box).bytes)) for box in pair)
        if cuda.host is not None:
            known = {gpu.uuid[4:].replace("-", ""): gpu for gpu in cuda.host.gpu}
            cuda.check(first.hex() in known, "the UUID is that of one of the GPUs")
            if not known[first.hex()].mig:
                cuda.equal(second, first, "the second form's UUID")
        found.append(second)
    cuda.equal(len(set(found)), len(found), "the number of different UUIDs")
    cuda.check(any(found[0]), "a UUID is not all zeros")
    box = cuda.out("CUuuid")
    for name in ("cuDeviceGetUuid", "cuDeviceGetUuid_v2"):
        cuda.expect(INVALID_DEVICE, name, box, ABSENT)
        cuda.expect(INVALID_VALUE, name, None, 0)
    cuda.untouched(box)


@rule("cuDeviceTotalMem", "cuDeviceTotalMem_v2", source=f"{_DOC}, cuDeviceTotalMem", gpu=True)
def total_memory(cuda: Cuda) -> None:
    """The memory in bytes; the form with 32 bits says no more than they hold."""
    device = cuda.device()
    total = _number(cuda, "cuDeviceTotalMem_v2", "size_t", device)
    cuda.check(1 << 28 <= total <= 1 << 44, f"{total} bytes are a GPU's memory")
    if cuda.host is not None:
        known = {(gpu.memory_mib - gpu.reserved_mib) << 20 for gpu in cuda.host.gpu if not gpu.mig}
        cuda.check(not known or total in known, f"{total} is the memory of one of the GPUs")
        cuda.equal(_number(cuda, "cuDeviceTotalMem", "unsigned int", device), min(total, 2**32 - 1), "in 32 bits")
    for name, kind in (("cuDeviceTotalMem", "unsigned int"), ("cuDeviceTotalMem_v2", "size_t")):
        box = cuda.out(kind)
        cuda.expect(INVALID_DEVICE, name, box, ABSENT)
        cuda.expect(INVALID_VALUE, name, None, device)
        cuda.untouched(box)


@rule("cuDeviceGetPCIBusId", "cuDeviceGetByPCIBusId", source=f"{_DOC}, cuDeviceGetPCIBusId", gpu=True)
def pci_addresses(cuda: Cuda) -> None:
    """The address is that of the attributes, needs 13 bytes, and leads back to the device."""
    device = cuda.device()
    box = cuda.out("char", 32)
    cuda.ok("cuDeviceGetPCIBusId", box, 32, device)
    address = cuda.text(box)
    domain, bus, slot = (_attribute(cuda, attribute) for attribute in (DOMAIN, BUS, SLOT))
    cuda.equal(address.lower(), f"{domain:04x}:{bus:02x}:{slot:02x}.0", "the address")
    cuda.equal(_number(cuda, "cuDeviceGetByPCIBusId", "CUdevice", address), device, "the device at the address")
    found = cuda.out("CUdevice")
    cuda.expect(INVALID_DEVICE, "cuDeviceGetByPCIBusId", found, "ffff:ff:1f.0")
    cuda.expect(INVALID_VALUE, "cuDeviceGetByPCIBusId", found, None)
    cuda.expect(INVALID_DEVICE, "cuDeviceGetPCIBusId", box, 32, ABSENT)
    cuda.expect(INVALID_VALUE, "cuDeviceGetPCIBusId", None, 32, device)
    cuda.untouched(found)


@rule("cuDeviceGetProperties", source=f"{_DOC}, cuDeviceGetProperties", gpu=True)
def properties(cuda: Cuda) -> None:
    """The struct's members are the attributes 1 to 14."""
    device = cuda.device()
    box = cuda.out("CUdevprop")
    cuda.ok("cuDeviceGetProperties", box, device)
    cuda.value(box)
    members = list(cuda.ffi.cast("int *", box)[0:14])
    cuda.equal(members, [_attribute(cuda, attribute) for attribute in range(1, 15)], "the members")
    other = cuda.out("CUdevprop")
    cuda.expect(INVALID_DEVICE, "cuDeviceGetProperties", other, ABSENT)
    cuda.expect(INVALID_VALUE, "cuDeviceGetProperties", None, device)
    cuda.untouched(other)


@rule("cuDeviceGetTexture1DLinearMaxWidth", source=f"{_DOC}, cuDeviceGetTexture1DLinearMaxWidth", gpu=True)
def widths_of_linear_textures(cuda: Cuda) -> None:
    """A texture of smaller texels is no narrower; what is no format of a texel is CUDA_ERROR_INVALID_VALUE."""
    device = cuda.device()
    widths = [
        _number(cuda, "cuDeviceGetTexture1DLinearMaxWidth", "size_t", FLOAT, channels, device) for channels in (1, 2, 4)
    ]
    cuda.equal(sorted(widths, reverse=True), widths, "the widths")
    cuda.check(1 << 20 <= widths[0] <= 1 << 34, f"{widths[0]} is a width")
    if cuda.host is not None:
        cuda.equal(widths[0], _attribute(cuda, 69), "the width of 4 bytes")
    box = cuda.out("size_t")
    cuda.expect(INVALID_VALUE, "cuDeviceGetTexture1DLinearMaxWidth", box, FLOAT, 3, device)
    cuda.expect(INVALID_VALUE, "cuDeviceGetTexture1DLinearMaxWidth", box, 0x7F, 1, device)
    cuda.expect(INVALID_DEVICE, "cuDeviceGetTexture1DLinearMaxWidth", box, FLOAT, 1, ABSENT)
    cuda.expect(INVALID_VALUE, "cuDeviceGetTexture1DLinearMaxWidth", None, FLOAT, 1, device)
    cuda.untouched(box)


@rule("cuDeviceGetExecAffinitySupport", source=f"{_DOC}, cuDeviceGetExecAffinitySupport", gpu=True)
def support_of_affinity(cuda: Cuda) -> None:
    """It is 0 or 1, for the one type that there is."""
    device = cuda.device()
    supported = _number(cuda, "cuDeviceGetExecAffinitySupport", "int", SM_COUNT, device)
    cuda.check(supported in {0, 1}, f"{supported} is no or yes")
    box = cuda.out("int")
    cuda.expect(INVALID_VALUE, "cuDeviceGetExecAffinitySupport", box, NO_AFFINITY, device)
    cuda.expect(INVALID_DEVICE, "cuDeviceGetExecAffinitySupport", box, SM_COUNT, ABSENT)
    cuda.untouched(box)


@rule("cuDeviceGetLuid", source=f"{_DOC}, cuDeviceGetLuid; own choice: a LUID is what Windows has", gpu=True)
def there_are_no_luids(cuda: Cuda) -> None:
    """On Linux a device has no LUID: CUDA_ERROR_NOT_SUPPORTED, and nothing is written."""
    device = cuda.device()
    luid, mask = cuda.out("char", 8), cuda.out("unsigned int")
    cuda.expect(NOT_SUPPORTED, "cuDeviceGetLuid", luid, mask, device)
    cuda.expect(INVALID_DEVICE, "cuDeviceGetLuid", luid, mask, ABSENT)
    cuda.untouched(luid)
    cuda.untouched(mask)


@rule("cuDeviceGetHostAtomicCapabilities", source=f"{_DOC}, cuDeviceGetHostAtomicCapabilities", gpu=True)
def atomics_over_the_bus(cuda: Cuda) -> None:
    """Each operation has its capabilities, none where the attribute says that there are none."""
    device = cuda.device()
    asked, told = cuda.out("CUatomicOperation", 3), cuda.out("unsigned int", 3)
    for i in range(3):
        asked[i] = 4 * i
    cuda.ok("cuDeviceGetHostAtomicCapabilities", told, asked, 3, device)
    capabilities = cuda.values(told)
    if _attribute(cuda, 86) == 0:
        cuda.equal(capabilities, [0, 0, 0], "the capabilities")
    asked[1] = ABSENT
    other = cuda.out("unsigned int", 3)
    cuda.expect(INVALID_VALUE, "cuDeviceGetHostAtomicCapabilities", other, asked, 3, device)
    cuda.expect(INVALID_VALUE, "cuDeviceGetHostAtomicCapabilities", other, asked, 0, device)
    cuda.expect(INVALID_DEVICE, "cuDeviceGetHostAtomicCapabilities", other, asked, 1, ABSENT)
    cuda.untouched(other)


@rule("cuDeviceGetP2PAtomicCapabilities", source=f"{_DOC}, cuDeviceGetP2PAtomicCapabilities", gpu=True,
      host={"gpu": [{}, {}]})  # fmt: skip
def atomics_between_devices(cuda: Cuda) -> None:
    """There are some exactly where the attribute of native atomics is 1; a device is no peer of itself."""
    cuda.init()
    asked, told = cuda.out("CUatomicOperation", 2), cuda.out("unsigned int", 2)
    asked[0], asked[1] = 0, 9
    cuda.expect(INVALID_DEVICE, "cuDeviceGetP2PAtomicCapabilities", told, asked, 2, 0, 0)
    cuda.expect(INVALID_VALUE, "cuDeviceGetP2PAtomicCapabilities", told, asked, 0, 0, 1)
    cuda.untouched(told)
    if _number(cuda, "cuDeviceGetCount", "int") < 2:
        return
    native = _number(cuda, "cuDeviceGetP2PAttribute", "int", 3, 0, 1)
    cuda.ok("cuDeviceGetP2PAtomicCapabilities", told, asked, 2, 0, 1)
    for capabilities in cuda.values(told):
        cuda.equal(bool(capabilities), bool(native), "whether there are capabilities")
        cuda.check(capabilities < 1 << 7, f"{capabilities:#x} are capabilities of cuda.h")


@rule("cuFlushGPUDirectRDMAWrites", source=f"{_DOC}, cuFlushGPUDirectRDMAWrites", gpu=True)
def flushing_of_remote_writes(cuda: Cuda) -> None:
    """It needs a current context and a scope of cuda.h; where the device cannot, it is CUDA_ERROR_NOT_SUPPORTED."""
    cuda.init()
    cuda.expect(INVALID_CONTEXT, "cuFlushGPUDirectRDMAWrites", 0, TO_OWNER)
    cuda.context()
    can = _attribute(cuda, 117) & 1
    for scope in (TO_OWNER, TO_ALL):
        cuda.expect(0 if can else NOT_SUPPORTED, "cuFlushGPUDirectRDMAWrites", 0, scope)
    cuda.expect(INVALID_VALUE, "cuFlushGPUDirectRDMAWrites", 0, 1)
    cuda.expect(INVALID_VALUE, "cuFlushGPUDirectRDMAWrites", 1, TO_OWNER)


@rule("cuDeviceRegisterAsyncNotification", "cuDeviceUnregisterAsyncNotification",
      source=f"{_DOC}, cuDeviceRegisterAsyncNotification", gpu=True)  # fmt: skip
def notifications(cuda: Cuda) -> None:
    """Each registration has a handle of its own, which can be given back once, on its device."""
    device = cuda.device()
    called = cuda.ffi.callback(
        "void(struct CUasyncNotificationInfo_st *, void *, CUasyncCallbackHandle)", lambda *_: None
    )
    handles = []
    for _ in range(2):
        handle = cuda.out("CUasyncCallbackHandle")
        cuda.ok("cuDeviceRegisterAsyncNotification", device, called, None, handle)
        handles.append(cuda.value(handle))
    cuda.check(handles[0] != handles[1], "two registrations have different handles")
    cuda.ok("cuDeviceUnregisterAsyncNotification", device, handles[0])
    cuda.expect((INVALID_VALUE, 400), "cuDeviceUnregisterAsyncNotification", device, handles[0])
    cuda.ok("cuDeviceUnregisterAsyncNotification", device, handles[1])
    other = cuda.out("CUasyncCallbackHandle")
    cuda.expect(INVALID_DEVICE, "cuDeviceRegisterAsyncNotification", ABSENT, called, None, other)
    cuda.expect(INVALID_VALUE, "cuDeviceRegisterAsyncNotification", device, None, None, other)
    cuda.untouched(other)
