"""Device, host and managed memory: allocation, accounting, and what is told of an address."""

from typing import Any

from vgpu_harness.conformance.rule import Cuda, rule

INVALID_VALUE, OUT_OF_MEMORY, INVALID_CONTEXT, NOT_FOUND = 1, 2, 201, 500
ALREADY_REGISTERED, NOT_REGISTERED = 712, 713
MIB = 1 << 20
HOST, DEVICE = 1, 2  # CUmemorytype
READ_MOSTLY, PREFERRED, ACCESSED_BY, PREFETCHED = 1, 2, 3, 4  # CUmem_range_attribute
CPU, NOWHERE = -1, -2  # CU_DEVICE_CPU, CU_DEVICE_INVALID


def allocate(cuda: Cuda, size: int, name: str = "cuMemAlloc_v2", kind: str = "CUdeviceptr") -> int:
    """Device memory: its address."""
    address = cuda.out(kind)
    cuda.ok(name, address, size)
    return int(cuda.value(address))


def write(cuda: Cuda, address: int, content: bytes) -> None:
    """Copies bytes to an address of the device."""
    cuda.ok("cuMemcpyHtoD_v2", address, content, len(content))


def read(cuda: Cuda, address: int, size: int) -> bytes:
    """Copies bytes from an address of the device."""
    room = cuda.out("char", size)
    cuda.ok("cuMemcpyDtoH_v2", room, address, size)
    return bytes(cuda.ffi.buffer(room))


def free(cuda: Cuda) -> int:
    """Bytes of the current device that are free."""
    unused, total = cuda.out("size_t"), cuda.out("size_t")
    cuda.ok("cuMemGetInfo_v2", unused, total)
    return int(cuda.value(unused))


def host_memory(cuda: Cuda, address: int, size: int) -> Any:
    """The host's bytes at an address, to read and to write."""
    return cuda.ffi.buffer(cuda.ffi.cast("char *", address), size)


@rule("cuMemGetInfo_v2", "cuMemGetInfo", source="cuda.h 13.5, cuMemGetInfo; cuDeviceTotalMem", gpu=True)
def memory_is_accounted(cuda: Cuda) -> None:
    """Free memory is no more than the total, goes down by an allocation, and up again when it is freed."""
    cuda.context()
    unused, total, whole = cuda.out("size_t"), cuda.out("size_t"), cuda.out("size_t")
    cuda.ok("cuMemGetInfo_v2", unused, total)
    cuda.ok("cuDeviceTotalMem_v2", whole, 0)
    cuda.equal(cuda.value(total), cuda.value(whole), "the total, which cuDeviceTotalMem answers, too,")
    before = cuda.value(unused)
    cuda.check(0 < before <= cuda.value(total), f"{before} bytes are free of {cuda.value(total)}")
    address = allocate(cuda, 64 * MIB)
    taken = before - free(cuda)
    cuda.check(taken == 64 * MIB if cuda.host is not None else taken >= 64 * MIB, f"64 MiB take {taken} bytes")
    cuda.ok("cuMemFree_v2", address)
    cuda.equal(free(cuda), before, "free memory at the end")
    small, all_of_it = cuda.out("unsigned int"), cuda.out("unsigned int")
    cuda.ok("cuMemGetInfo", small, all_of_it)
    cuda.equal(cuda.value(small), min(before, 2**32 - 1), "free memory in 32 bits")
    cuda.equal(cuda.value(all_of_it), min(cuda.value(total), 2**32 - 1), "total memory in 32 bits")


@rule("cuMemAlloc_v2", "cuMemFree_v2", source="cuda.h 13.5, cuMemAlloc, cuMemFree", gpu=True)
def memory_is_allocated_and_freed(cuda: Cuda) -> None:
    """cuMemAlloc answers an aligned address whose memory keeps its contents, until cuMemFree, which takes it once."""
    cuda.context()
    address = allocate(cuda, 1000)
    cuda.equal(address % 256, 0, "the address modulo 256")
    write(cuda, address, b"vgpu" * 250)
    cuda.equal(read(cuda, address, 1000), b"vgpu" * 250, "what was written")
    cuda.ok("cuMemFree_v2", address)
    cuda.expect(INVALID_VALUE, "cuMemFree_v2", address)
    cuda.expect(INVALID_VALUE, "cuMemAlloc_v2", cuda.out("CUdeviceptr"), 0)
    cuda.expect(INVALID_VALUE, "cuMemAlloc_v2", None, 1)


@rule("cuMemAlloc_v2", source="cuda.h 13.5, cuMemAlloc", gpu=True)
def more_than_there_is_is_out_of_memory(cuda: Cuda) -> None:
    """What exceeds the device's memory answers CUDA_ERROR_OUT_OF_MEMORY and leaves the output alone; the rest fits."""
    cuda.context()
    whole, address = cuda.out("size_t"), cuda.out("CUdeviceptr")
    cuda.ok("cuDeviceTotalMem_v2", whole, 0)
    cuda.expect(OUT_OF_MEMORY, "cuMemAlloc_v2", address, cuda.value(whole) + 1)
    cuda.expect(OUT_OF_MEMORY, "cuMemAlloc_v2", address, 2**64 - 1)
    cuda.untouched(address)
    cuda.ok("cuMemAlloc_v2", address, MIB)
    write(cuda, cuda.value(address), b"x")


@rule(
    "cuMemAlloc", "cuMemFree", "cuMemAllocPitch", "cuMemGetAddressRange",
    source="cuda.h 13.5, the forms from before CUDA 3.2", gpu=True,
)  # fmt: skip
def memory_below_4_gib(cuda: Cuda) -> None:
    """The forms of the time of 32-bit addresses answer such addresses, and the newer ones know them."""
    cuda.context()
    address = allocate(cuda, 4096, "cuMemAlloc", "CUdeviceptr_v1")
    write(cuda, address, b"low")
    cuda.equal(read(cuda, address, 3), b"low", "what was written")
    base, size = cuda.out("CUdeviceptr_v1"), cuda.out("unsigned int")
    cuda.ok("cuMemGetAddressRange", base, size, address + 100)
    cuda.equal((cuda.value(base), cuda.value(size)), (address, 4096), "the allocation's range")
    cuda.ok("cuMemFree", address)
    cuda.expect(INVALID_VALUE, "cuMemFree", address)
    rows, pitch = cuda.out("CUdeviceptr_v1"), cuda.out("unsigned int")
    cuda.ok("cuMemAllocPitch", rows, pitch, 100, 3, 4)
    cuda.check(
        cuda.value(pitch) >= 100 and cuda.value(pitch) % 32 == 0, f"{cuda.value(pitch)} is a pitch for 100 bytes"
    )
    write(cuda, cuda.value(rows) + 2 * cuda.value(pitch), b"r" * 100)


@rule("cuMemAllocPitch_v2", source="cuda.h 13.5, cuMemAllocPitch", gpu=True)
def rows_are_aligned(cuda: Cuda) -> None:
    """cuMemAllocPitch answers a pitch that is a multiple of the texture alignment, and memory for all rows."""
    cuda.context()
    alignment = cuda.out("int")
    cuda.ok("cuDeviceGetAttribute", alignment, 14, 0)
    rows, pitch = cuda.out("CUdeviceptr"), cuda.out("size_t")
    cuda.ok("cuMemAllocPitch_v2", rows, pitch, 1025, 7, 16)
    cuda.check(cuda.value(pitch) >= 1025, f"a pitch of {cuda.value(pitch)} has room for 1025 bytes")
    cuda.equal(cuda.value(pitch) % cuda.value(alignment), 0, "the pitch modulo the alignment")
    last = cuda.value(rows) + 6 * cuda.value(pitch)
    write(cuda, last, b"e" * 1025)
    cuda.equal(read(cuda, last, 1025), b"e" * 1025, "the last row")
    for width, height, element in ((0, 1, 4), (1, 0, 4), (1, 1, 3), (1, 1, 32)):
        cuda.expect(INVALID_VALUE, "cuMemAllocPitch_v2", rows, pitch, width, height, element)
    cuda.ok("cuMemFree_v2", cuda.value(rows))


@rule(
    "cuMemGetAddressRange_v2", source="cuda.h 13.5, cuMemGetAddressRange; measured on 535.261.03: both NULL is 0",
    gpu=True,
)  # fmt: skip
def the_range_of_an_address(cuda: Cuda) -> None:
    """cuMemGetAddressRange answers base and size of the allocation that an address is in; either may be left out."""
    cuda.context()
    address = allocate(cuda, 5000)
    base, size = cuda.out("CUdeviceptr"), cuda.out("size_t")
    cuda.ok("cuMemGetAddressRange_v2", base, size, address + 4999)
    cuda.equal((cuda.value(base), cuda.value(size)), (address, 5000), "the allocation's range")
    cuda.ok("cuMemGetAddressRange_v2", None, size, address)
    cuda.ok("cuMemGetAddressRange_v2", base, None, address)
    cuda.ok("cuMemGetAddressRange_v2", None, None, 0)
    cuda.ok("cuMemFree_v2", address)
    gone = cuda.out("CUdeviceptr")
    cuda.expect((INVALID_VALUE, NOT_FOUND), "cuMemGetAddressRange_v2", gone, None, address)
    cuda.untouched(gone)


@rule(
    "cuMemGetAddressRange", "cuMemGetAddressRange_v2", source="measured on 535.261.03", gpu=False,
)  # fmt: skip
def nothing_is_asked_of_an_address(cuda: Cuda) -> None:
    """Without an output cuMemGetAddressRange answers 0, initialised or not; with one it needs cuInit.

    What the output holds after that refusal is no rule: 535.261.03 writes 0 there.
    """
    for name, kind in (("cuMemGetAddressRange", "CUdeviceptr_v1"), ("cuMemGetAddressRange_v2", "CUdeviceptr")):
        cuda.ok(name, None, None, 0)
        base = cuda.out(kind)
        cuda.expect(3, name, base, None, 0)


@rule(
    "cuMemHostAlloc", "cuMemAllocHost", "cuMemAllocHost_v2", "cuMemFreeHost", "cuMemHostGetFlags",
    "cuMemHostGetDevicePointer_v2", source="cuda.h 13.5, cuMemHostAlloc and its like", gpu=True,
)  # fmt: skip
def host_memory_is_the_programs_too(cuda: Cuda) -> None:
    """The host reads and writes what cuMemHostAlloc gives, copies see it, and it is freed once."""
    cuda.context()
    device = allocate(cuda, 64)
    for name, flags in (
        ("cuMemHostAlloc", 0),
        ("cuMemHostAlloc", 3),
        ("cuMemAllocHost", None),
        ("cuMemAllocHost_v2", None),
    ):
        pointer = cuda.out("void *")
        cuda.ok(name, pointer, 8192, *([] if flags is None else [flags]))
        address = int(cuda.ffi.cast("uintptr_t", cuda.value(pointer)))
        host_memory(cuda, address, 8192)[8128:] = b"h" * 64
        seen = cuda.out("CUdeviceptr")
        cuda.ok("cuMemHostGetDevicePointer_v2", seen, address + 8128, 0)
        cuda.ok("cuMemcpyDtoD_v2", device, cuda.value(seen), 64)
        cuda.equal(read(cuda, device, 64), b"h" * 64, "what the host wrote")
        told = cuda.out("unsigned int")
        cuda.ok("cuMemHostGetFlags", told, address + 5)
        cuda.equal(cuda.value(told) & (flags or 0), flags or 0, "the flags that were given")
        cuda.check(cuda.value(told) < 16, f"{cuda.value(told)} is a set of flags")
        cuda.ok("cuMemFreeHost", address)
        cuda.expect(INVALID_VALUE, "cuMemFreeHost", address)
    cuda.expect(INVALID_VALUE, "cuMemHostAlloc", cuda.out("void *"), 4096, 0x100)


@rule(
    "cuMemHostRegister", "cuMemHostRegister_v2", "cuMemHostUnregister",
    source="cuda.h 13.5, cuMemHostRegister, cuMemHostUnregister", gpu=True,
)  # fmt: skip
def memory_of_the_program_is_registered(cuda: Cuda) -> None:
    """Registered memory is known by its address, not registered twice, and unregistered once."""
    cuda.context()
    room = cuda.out("char", 16384)
    address = (int(cuda.ffi.cast("uintptr_t", room)) + 4095) // 4096 * 4096
    kind = cuda.out("unsigned int")
    for name in ("cuMemHostRegister_v2", "cuMemHostRegister"):
        cuda.ok(name, address, 4096, 0)
        cuda.ok("cuPointerGetAttribute", kind, 2, address + 100)
        cuda.equal(cuda.value(kind), HOST, "the type of registered memory")
        cuda.expect(ALREADY_REGISTERED, name, address, 4096, 0)
        cuda.expect(ALREADY_REGISTERED, name, address, 8192, 0)
        cuda.ok("cuMemHostUnregister", address)
        cuda.expect(NOT_REGISTERED, "cuMemHostUnregister", address)
        cuda.expect(INVALID_VALUE, "cuPointerGetAttribute", kind, 2, address)
        cuda.expect(INVALID_VALUE, name, None, 4096, 0)
        cuda.expect(INVALID_VALUE, name, address, 0, 0)


@rule(
    "cuMemFree_v2", "cuMemFreeHost", "cuMemHostUnregister", "cuMemHostGetFlags", "cuMemHostAlloc",
    source="lupinemachines/lupine, issues 437 and 850: measured on 590.48.01", gpu=True,
)  # fmt: skip
def nothing_is_freed_like_nothing(cuda: Cuda) -> None:
    """To free 0 or NULL is nothing to do; host memory is mapped, and what was not registered is not unregistered."""
    cuda.context()
    before = free(cuda)
    cuda.ok("cuMemFree_v2", 0)
    cuda.ok("cuMemFreeHost", None)
    cuda.expect(INVALID_VALUE, "cuMemHostUnregister", None)
    none, pointer, told = cuda.out("void *"), cuda.out("void *"), cuda.out("unsigned int")
    cuda.ok("cuMemHostAlloc", none, 0, 0)
    cuda.ok("cuMemHostAlloc", pointer, 4096, 0)
    cuda.ok("cuMemHostGetFlags", told, cuda.value(pointer))
    cuda.equal(cuda.value(told), 2, "the flags of memory that was asked for without any")
    cuda.expect(INVALID_VALUE, "cuMemHostUnregister", cuda.value(pointer))
    cuda.ok("cuMemFreeHost", cuda.value(pointer))
    room = cuda.out("char", 16384)
    address = (int(cuda.ffi.cast("uintptr_t", room)) + 4095) // 4096 * 4096
    cuda.expect(NOT_REGISTERED, "cuMemHostUnregister", address)
    cuda.ok("cuMemHostRegister_v2", address, 4096, 0)
    cuda.expect(INVALID_VALUE, "cuMemHostUnregister", address + 64)
    cuda.ok("cuMemHostUnregister", address)
    cuda.equal(free(cuda), before, "free memory at the end")


@rule("cuMemAllocManaged", source="cuda.h 13.5, cuMemAllocManaged", gpu=True)
def managed_memory_is_at_one_address(cuda: Cuda) -> None:
    """Host and copies use managed memory at one address; cuMemFree frees it."""
    cuda.context()
    address = cuda.out("CUdeviceptr")
    cuda.ok("cuMemAllocManaged", address, 2 * MIB, 1)
    at = cuda.value(address)
    host_memory(cuda, at, 2 * MIB)[MIB : MIB + 7] = b"managed"
    cuda.equal(read(cuda, at + MIB, 7), b"managed", "what the host wrote")
    write(cuda, at, b"device")
    cuda.ok("cuCtxSynchronize")
    cuda.equal(bytes(host_memory(cuda, at, 6)), b"device", "what was copied there")
    managed = cuda.struct("unsigned int")
    cuda.ok("cuPointerGetAttribute", managed, 8, at)
    cuda.equal(managed[0], 1, "IS_MANAGED")
    cuda.ok("cuMemFree_v2", at)
    cuda.expect(INVALID_VALUE, "cuMemFree_v2", at)
    for size, flags in ((0, 1), (1, 0), (1, 3), (1, 8)):
        cuda.expect(INVALID_VALUE, "cuMemAllocManaged", address, size, flags)


def managed(cuda: Cuda) -> int:
    """2 MiB of managed memory in a context: its address."""
    cuda.context()
    address = cuda.out("CUdeviceptr")
    cuda.ok("cuMemAllocManaged", address, 2 * MIB, 1)
    return int(cuda.value(address))


def told(cuda: Cuda, attribute: int, address: int, size: int) -> int:
    """cuMemRangeGetAttribute: an attribute of one number."""
    number = cuda.out("int")
    cuda.ok("cuMemRangeGetAttribute", number, 4, attribute, address, size)
    return int(cuda.value(number))


@rule("cuMemAdvise", "cuMemRangeGetAttribute", source="cuda.h 13.5, cuMemAdvise, cuMemRangeGetAttribute", gpu=True)
def advice_is_remembered(cuda: Cuda) -> None:
    """Advice about a part holds for that part; a range that it holds for only in part is told to have none."""
    at = managed(cuda)
    cuda.equal([told(cuda, attribute, at, 2 * MIB) for attribute in (1, 2, 4)], [0, NOWHERE, NOWHERE], "at first, all")
    cuda.ok("cuMemAdvise", at, MIB, 1, 0)
    cuda.ok("cuMemAdvise", at, MIB, 3, 0)
    cuda.ok("cuMemAdvise", at + MIB, MIB, 3, CPU)
    cuda.equal([told(cuda, READ_MOSTLY, at, size) for size in (MIB, 2 * MIB)], [1, 0], "read mostly")
    cuda.equal(
        [told(cuda, PREFERRED, *part) for part in ((at, MIB), (at + MIB, MIB), (at, 2 * MIB))],
        [0, CPU, NOWHERE],
        "the preferred location",
    )
    cuda.ok("cuMemAdvise", at, MIB, 5, 0)
    devices = cuda.out("int", 3)
    cuda.ok("cuMemRangeGetAttribute", devices, 12, ACCESSED_BY, at, MIB)
    cuda.equal(cuda.values(devices), [0, NOWHERE, NOWHERE], "who accesses it")
    for advice in (2, 4, 6):
        cuda.ok("cuMemAdvise", at, 2 * MIB, advice, 0)
    cuda.equal([told(cuda, attribute, at, MIB) for attribute in (1, 2, 3)], [0, NOWHERE, NOWHERE], "at the end, all")
    cuda.expect(INVALID_VALUE, "cuMemAdvise", at, MIB, 7, 0)
    cuda.expect(INVALID_VALUE, "cuMemRangeGetAttribute", devices, 3, READ_MOSTLY, at, MIB)


@rule("cuMemAdvise_v2", "cuMemRangeGetAttributes", source="cuda.h 13.5, cuMemAdvise, cuMemRangeGetAttributes", gpu=True)
def advice_with_a_location(cuda: Cuda) -> None:
    """A location of the host is told as type 2, of a device as type 1 and its number; several attributes at once."""
    at = managed(cuda)
    numbers = [cuda.out("int") for _ in range(2)]
    boxes = cuda.ffi.new("void *[]", numbers)
    sizes, kinds = cuda.ffi.new("size_t[]", [4, 4]), cuda.ffi.new("int[]", [5, 1])
    for place, wanted in ((1, 0), (2, 0)), ((2, 0), (1, 0)):
        location = cuda.struct("CUmemLocation", type=place[0], id=0)
        cuda.ok("cuMemAdvise_v2", at, MIB, 3, location[0])
        cuda.ok("cuMemAdvise_v2", at, MIB, 1 if place[0] == 1 else 2, location[0])
        cuda.ok("cuMemRangeGetAttributes", boxes, sizes, kinds, 2, at, MIB)
        cuda.equal(cuda.value(numbers[0]), place[0], "the preferred location's type")
        cuda.equal(numbers[1][0], int(wanted[0] == 2), "read mostly")
    nowhere = cuda.struct("CUmemLocation", type=0, id=0)
    cuda.expect(INVALID_VALUE, "cuMemAdvise_v2", at, MIB, 3, nowhere[0])


@rule(
    "cuMemPrefetchAsync", "cuMemPrefetchAsync_v2", "cuMemPrefetchBatchAsync",
    source="cuda.h 13.5, cuMemPrefetchAsync: the last location is told", gpu=True,
)  # fmt: skip
def prefetches_are_told(cuda: Cuda) -> None:
    """Where a range was prefetched to last is what cuMemRangeGetAttribute answers."""
    at = managed(cuda)
    cuda.ok("cuMemPrefetchAsync", at, 2 * MIB, 0, None)
    cuda.equal(told(cuda, PREFETCHED, at, 2 * MIB), 0, "the last location")
    cuda.ok("cuMemPrefetchAsync", at, MIB, CPU, None)
    cuda.equal([told(cuda, PREFETCHED, at, size) for size in (MIB, 2 * MIB)], [CPU, NOWHERE], "the last location")
    device, host = (cuda.struct("CUmemLocation", type=kind, id=0) for kind in (1, 2))
    cuda.ok("cuMemPrefetchAsync_v2", at, MIB, device[0], 0, None)
    cuda.equal(told(cuda, PREFETCHED, at, 2 * MIB), 0, "the last location")
    cuda.expect(INVALID_VALUE, "cuMemPrefetchAsync_v2", at, MIB, device[0], 1, None)
    stream = cuda.out("CUstream")
    cuda.ok("cuStreamCreate", stream, 1)
    starts, sizes = cuda.ffi.new("CUdeviceptr[]", [at, at + MIB]), cuda.ffi.new("size_t[]", [MIB, MIB])
    firsts = cuda.ffi.new("size_t[]", [0])
    cuda.ok("cuMemPrefetchBatchAsync", starts, sizes, 2, host, firsts, 1, 0, cuda.value(stream))
    cuda.equal(told(cuda, PREFETCHED, at, 2 * MIB), CPU, "the last location")
    cuda.expect(INVALID_VALUE, "cuMemPrefetchAsync", allocate(cuda, MIB), MIB, 0, None)


@rule(
    "cuMemDiscardBatchAsync", "cuMemDiscardAndPrefetchBatchAsync", source="cuda.h 13.5, cuMemDiscardBatchAsync",
    gpu=True,
)  # fmt: skip
def what_is_discarded_is_prefetched(cuda: Cuda) -> None:
    """A range that is discarded and prefetched is told to have been prefetched, and can be written again."""
    at = managed(cuda)
    stream = cuda.out("CUstream")
    cuda.ok("cuStreamCreate", stream, 1)
    starts, sizes = cuda.ffi.new("CUdeviceptr[]", [at]), cuda.ffi.new("size_t[]", [MIB])
    firsts, device = cuda.ffi.new("size_t[]", [0]), cuda.struct("CUmemLocation", type=1, id=0)
    write(cuda, at, b"old")
    cuda.ok("cuMemDiscardBatchAsync", starts, sizes, 1, 0, cuda.value(stream))
    if cuda.host is not None:
        # cuda.h leaves open what is read then; on our shims it is zeros.
        cuda.equal(read(cuda, at, 3), bytes(3), "what was discarded")
    cuda.ok("cuMemDiscardAndPrefetchBatchAsync", starts, sizes, 1, device, firsts, 1, 0, cuda.value(stream))
    cuda.equal(told(cuda, PREFETCHED, at, MIB), 0, "the last location")
    write(cuda, at, b"new")
    cuda.equal(read(cuda, at, 3), b"new", "what was written")


@rule("cuPointerGetAttribute", source="cuda.h 13.5, cuPointerGetAttribute", gpu=True)
def attributes_of_an_address(cuda: Cuda) -> None:
    """Context, type, device, range and identity of an allocation; of an address that is none: INVALID_VALUE."""
    context = cuda.context()
    first, second = allocate(cuda, 3000), allocate(cuda, 3000)
    owner = cuda.out("CUcontext")
    cuda.ok("cuPointerGetAttribute", owner, 1, first)
    cuda.equal(cuda.value(owner), context, "the context")
    for attribute, kind, wanted in (
        (2, "unsigned int", DEVICE),
        (3, "CUdeviceptr", first + 8),
        (9, "int", 0),
        (11, "CUdeviceptr", first),
        (12, "size_t", 3000),
    ):
        box = cuda.out(kind)
        cuda.ok("cuPointerGetAttribute", box, attribute, first + 8)
        cuda.equal(cuda.value(box), wanted, f"attribute {attribute}")
    ids = [cuda.out("unsigned long long") for _ in range(2)]
    for box, address in zip(ids, (first, second), strict=True):
        cuda.ok("cuPointerGetAttribute", box, 7, address)
    cuda.check(cuda.value(ids[0]) != cuda.value(ids[1]), "two allocations have two buffer ids")
    box = cuda.out("unsigned int")
    cuda.expect(INVALID_VALUE, "cuPointerGetAttribute", box, 2, 64)
    cuda.expect(INVALID_VALUE, "cuPointerGetAttribute", box, 999, first)
    cuda.expect(INVALID_VALUE, "cuPointerGetAttribute", cuda.out("void *"), 4, first)
    cuda.untouched(box)


@rule("cuPointerGetAttributes", source="cuda.h 13.5, cuPointerGetAttributes: no error for any address", gpu=True)
def several_attributes_at_once(cuda: Cuda) -> None:
    """cuPointerGetAttributes answers each of them, and for an address that CUDA does not know values of nothing."""
    cuda.context()
    address = allocate(cuda, 3000)
    kind, size, start = cuda.out("unsigned int"), cuda.out("size_t"), cuda.out("CUdeviceptr")
    boxes, attributes = cuda.ffi.new("void *[]", [kind, size, start]), cuda.ffi.new("int[]", [2, 12, 11])
    cuda.ok("cuPointerGetAttributes", 3, attributes, boxes, address + 1)
    cuda.equal([cuda.value(box) for box in (kind, size, start)], [DEVICE, 3000, address], "type, size and start")
    cuda.ok("cuPointerGetAttributes", 3, attributes, boxes, 64)
    cuda.equal([cuda.value(box) for box in (kind, size, start)], [0, 0, 0], "type, size and start of nothing")
    cuda.expect(INVALID_VALUE, "cuPointerGetAttributes", 0, attributes, boxes, address)


@rule("cuPointerSetAttribute", source="cuda.h 13.5, cuPointerSetAttribute: only SYNC_MEMOPS", gpu=True)
def an_attribute_is_set(cuda: Cuda) -> None:
    """SYNC_MEMOPS is what it was set to; no other attribute can be set."""
    cuda.context()
    address = allocate(cuda, 64)
    for wanted in (1, 0, 1):
        cuda.ok("cuPointerSetAttribute", cuda.ffi.new("unsigned int *", wanted), 6, address)
        box = cuda.struct("unsigned int")
        cuda.ok("cuPointerGetAttribute", box, 6, address)
        cuda.equal(box[0], wanted, "SYNC_MEMOPS")
    cuda.expect(INVALID_VALUE, "cuPointerSetAttribute", cuda.ffi.new("unsigned int *", 1), 2, address)
    cuda.expect(INVALID_VALUE, "cuPointerSetAttribute", None, 6, address)


@rule(
    "cuMemAlloc_v2", "cuMemGetInfo_v2", "cuMemcpyHtoD_v2", "cuMemsetD8_v2",
    source="cuda.h 13.5: CUDA_ERROR_INVALID_CONTEXT", gpu=True,
)  # fmt: skip
def memory_needs_a_context(cuda: Cuda) -> None:
    """Without a current context calls about memory answer CUDA_ERROR_INVALID_CONTEXT and leave outputs alone."""
    cuda.init()
    address, size = cuda.out("CUdeviceptr"), cuda.out("size_t")
    cuda.expect(INVALID_CONTEXT, "cuMemAlloc_v2", address, 64)
    cuda.expect(INVALID_CONTEXT, "cuMemGetInfo_v2", size, size)
    cuda.expect(INVALID_CONTEXT, "cuMemcpyHtoD_v2", 4096, b"x", 1)
    cuda.expect(INVALID_CONTEXT, "cuMemsetD8_v2", 4096, 0, 1)
    for box in (address, size):
        cuda.untouched(box)
