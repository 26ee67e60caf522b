"""Memory pools and the stream-ordered allocator."""

from typing import Any

from vgpu_harness.conformance.rule import Cuda, rule
from vgpu_harness.conformance.rules.cuda_memory import free, read, write

INVALID_VALUE, OUT_OF_MEMORY, INVALID_DEVICE = 1, 2, 101
MIB = 1 << 20
THRESHOLD, RESERVED, RESERVED_HIGH, USED, USED_HIGH = 4, 5, 6, 7, 8  # CUmemPool_attribute
READ_WRITE = 3


def pool(cuda: Cuda, size: int = 0) -> Any:
    """A pool of device 0 with a maximum size."""
    props = cuda.struct("CUmemPoolProps", allocType=1, maxSize=size)
    props[0].location.type = 1
    handle = cuda.out("CUmemoryPool")
    cuda.ok("cuMemPoolCreate", handle, props)
    return cuda.value(handle)


def number(cuda: Cuda, of: Any, attribute: int) -> int:
    """An attribute of 64 bits."""
    box = cuda.out("cuuint64_t")
    cuda.ok("cuMemPoolGetAttribute", of, attribute, box)
    return int(cuda.value(box))


def allocate(cuda: Cuda, of: Any, size: int) -> int:
    """Memory of a pool, ready to be used: its address."""
    address = cuda.out("CUdeviceptr")
    cuda.ok("cuMemAllocFromPoolAsync", address, size, of, None)
    cuda.ok("cuCtxSynchronize")
    return int(cuda.value(address))


@rule("cuMemAllocAsync", "cuMemFreeAsync", source="cuda.h 13.5, cuMemAllocAsync, cuMemFreeAsync", gpu=True)
def memory_in_a_stream(cuda: Cuda) -> None:
    """Memory that is allocated in a stream keeps its contents, comes from the device's pool, and goes back there."""
    cuda.context()
    default, address = cuda.out("CUmemoryPool"), cuda.out("CUdeviceptr")
    cuda.ok("cuDeviceGetDefaultMemPool", default, 0)
    before = number(cuda, cuda.value(default), USED)
    cuda.ok("cuMemAllocAsync", address, MIB, None)
    at = cuda.value(address)
    cuda.check(number(cuda, cuda.value(default), USED) >= before + MIB, "the pool counts what is in use")
    write(cuda, at, b"stream")
    cuda.equal(read(cuda, at, 6), b"stream", "what was written")
    cuda.ok("cuMemFreeAsync", at, None)
    cuda.ok("cuCtxSynchronize")
    cuda.equal(number(cuda, cuda.value(default), USED), before, "what is in use at the end")
    cuda.expect(INVALID_VALUE, "cuMemFreeAsync", at, None)
    cuda.expect(INVALID_VALUE, "cuMemAllocAsync", address, 0, None)


@rule(
    "cuDeviceGetDefaultMemPool", "cuDeviceGetMemPool", "cuDeviceSetMemPool", "cuMemPoolDestroy",
    source="cuda.h 13.5, cuDeviceSetMemPool, cuMemPoolDestroy", gpu=True,
)  # fmt: skip
def the_pool_of_a_device(cuda: Cuda) -> None:
    """At first it is the default pool; what is set is answered; a destroyed one makes room for the default again."""
    cuda.context()
    default, current = cuda.out("CUmemoryPool"), cuda.out("CUmemoryPool")
    cuda.ok("cuDeviceGetDefaultMemPool", default, 0)
    cuda.ok("cuDeviceGetMemPool", current, 0)
    cuda.equal(cuda.value(current), cuda.value(default), "the pool at first")
    own = pool(cuda)
    cuda.check(own != cuda.value(default), "a new pool is another one")
    cuda.ok("cuDeviceSetMemPool", 0, own)
    cuda.ok("cuDeviceGetMemPool", current, 0)
    cuda.equal(cuda.value(current), own, "the pool that was set")
    address = cuda.out("CUdeviceptr")
    cuda.ok("cuMemAllocAsync", address, MIB, None)
    cuda.check(number(cuda, own, USED) >= MIB, "memory comes from the pool that was set")
    cuda.ok("cuMemFreeAsync", cuda.value(address), None)
    cuda.ok("cuMemPoolDestroy", own)
    cuda.ok("cuDeviceGetMemPool", current, 0)
    cuda.equal(cuda.value(current), cuda.value(default), "the pool at the end")
    cuda.expect(INVALID_VALUE, "cuMemPoolDestroy", cuda.value(default))
    cuda.expect(INVALID_DEVICE, "cuDeviceGetMemPool", current, 4711)


@rule(
    "cuMemGetDefaultMemPool", "cuMemGetMemPool", "cuMemSetMemPool", source="cuda.h 13.5, cuMemSetMemPool", gpu=True,
)  # fmt: skip
def the_pool_of_a_location(cuda: Cuda) -> None:
    """For a device's pinned memory they are cuDeviceGetDefaultMemPool, cuDeviceGetMemPool, cuDeviceSetMemPool."""
    cuda.context()
    place = cuda.struct("CUmemLocation", type=1, id=0)
    default, current, known = (cuda.out("CUmemoryPool") for _ in range(3))
    cuda.ok("cuDeviceGetDefaultMemPool", known, 0)
    cuda.ok("cuMemGetDefaultMemPool", default, place, 1)
    cuda.equal(cuda.value(default), cuda.value(known), "the default pool")
    own = pool(cuda)
    cuda.ok("cuMemSetMemPool", place, 1, own)
    cuda.ok("cuMemGetMemPool", current, place, 1)
    cuda.equal(cuda.value(current), own, "the pool that was set")
    cuda.ok("cuDeviceGetMemPool", known, 0)
    cuda.equal(cuda.value(known), own, "the device's pool")
    cuda.expect(INVALID_VALUE, "cuMemGetMemPool", current, place, 0)


@rule(
    "cuMemPoolCreate", "cuMemAllocFromPoolAsync", "cuMemPoolGetAttribute", "cuMemFreeAsync",
    source="cuda.h 13.5, CUmemPool_attribute", gpu=True,
)  # fmt: skip
def a_pool_counts(cuda: Cuda) -> None:
    """Used and reserved memory follow the allocations, watermarks stay up; the maximum size is kept."""
    cuda.context()
    own = pool(cuda, 64 * MIB)
    cuda.equal(
        [number(cuda, own, of) for of in (THRESHOLD, RESERVED, USED, USED_HIGH)], [0] * 4, "a new pool's numbers"
    )
    cuda.check(number(cuda, own, 13) >= 64 * MIB, "the maximum size is at least what was asked for")
    address = allocate(cuda, own, 5 * MIB)
    used, reserved = number(cuda, own, USED), number(cuda, own, RESERVED)
    cuda.check(5 * MIB <= used <= reserved, f"5 MiB are in use: {used} of {reserved}")
    write(cuda, address, b"pool")
    cuda.equal(read(cuda, address, 4), b"pool", "what was written")
    refused = cuda.out("CUdeviceptr")
    cuda.expect(OUT_OF_MEMORY, "cuMemAllocFromPoolAsync", refused, 256 * MIB, own, None)
    cuda.untouched(refused)
    cuda.ok("cuMemFreeAsync", address, None)
    cuda.ok("cuCtxSynchronize")
    cuda.equal([number(cuda, own, of) for of in (USED, USED_HIGH)], [0, used], "use at the end, and its watermark")
    cuda.check(number(cuda, own, RESERVED_HIGH) >= reserved, "the watermark of what was reserved stays")
    box = cuda.out("int")
    for attribute, wanted in ((1, 1), (2, 1), (3, 1), (9, 1), (11, 0), (12, 1)):
        cuda.ok("cuMemPoolGetAttribute", own, attribute, box)
        cuda.equal(cuda.value(box), wanted, f"attribute {attribute}")
    cuda.expect(INVALID_VALUE, "cuMemPoolGetAttribute", own, 99, box)


@rule(
    "cuMemPoolSetAttribute", "cuMemPoolTrimTo", source="cuda.h 13.5, cuMemPoolSetAttribute, cuMemPoolTrimTo", gpu=True
)
def a_pool_keeps_up_to_its_threshold(cuda: Cuda) -> None:
    """Below the release threshold freed memory stays reserved; cuMemPoolTrimTo gives it back; watermarks reset to 0."""
    cuda.context()
    own, before = pool(cuda), free(cuda)
    cuda.ok("cuMemPoolSetAttribute", own, THRESHOLD, cuda.ffi.new("cuuint64_t *", 2**64 - 1))
    cuda.equal(number(cuda, own, THRESHOLD), 2**64 - 1, "the threshold")
    cuda.ok("cuMemFreeAsync", allocate(cuda, own, 16 * MIB), None)
    cuda.ok("cuCtxSynchronize")
    cuda.check(number(cuda, own, RESERVED) >= 16 * MIB, "what was freed stays reserved")
    cuda.ok("cuMemPoolTrimTo", own, 0)
    cuda.equal((number(cuda, own, RESERVED), free(cuda)), (0, before), "what is reserved and free once it is trimmed")
    cuda.ok("cuMemPoolSetAttribute", own, USED_HIGH, cuda.ffi.new("cuuint64_t *", 0))
    cuda.equal(number(cuda, own, USED_HIGH), 0, "the watermark")
    cuda.expect(INVALID_VALUE, "cuMemPoolSetAttribute", own, USED_HIGH, cuda.ffi.new("cuuint64_t *", 5))
    cuda.expect(INVALID_VALUE, "cuMemPoolSetAttribute", own, USED, cuda.ffi.new("cuuint64_t *", 0))
    cuda.ok("cuMemPoolSetAttribute", own, 2, cuda.ffi.new("int *", 0))
    box = cuda.out("int")
    cuda.ok("cuMemPoolGetAttribute", own, 2, box)
    cuda.equal(cuda.value(box), 0, "opportunistic reuse")


@rule("cuMemPoolGetAccess", source="cuda.h 13.5, cuMemPoolGetAccess", gpu=True)
def access_to_a_pool(cuda: Cuda) -> None:
    """A pool's own device has access to it, a device that there is not has none."""
    cuda.context()
    own, flags = pool(cuda), cuda.out("CUmemAccess_flags")
    place = cuda.struct("CUmemLocation", type=1, id=0)
    cuda.ok("cuMemPoolGetAccess", flags, own, place)
    cuda.equal(cuda.value(flags), READ_WRITE, "the access of the pool's device")
    place[0].id = 4711
    cuda.expect((INVALID_VALUE, INVALID_DEVICE), "cuMemPoolGetAccess", flags, own, place)


@rule("cuMemPoolSetAccess", source="cuda.h 13.5, cuMemPoolSetAccess", gpu=True, host={"gpu": [{}, {}]})
def access_of_another_device(cuda: Cuda) -> None:
    """A device that can be the pool's peer has the access that it is given; one that there is not is refused."""
    cuda.context()
    own, count, can = pool(cuda), cuda.out("int"), cuda.struct("int")
    access = cuda.struct("CUmemAccessDesc", flags=READ_WRITE)
    access[0].location.type, access[0].location.id = 1, 4711
    cuda.expect((INVALID_VALUE, INVALID_DEVICE), "cuMemPoolSetAccess", own, access, 1)
    access[0].location.id = 0
    cuda.ok("cuMemPoolSetAccess", own, access, 1)
    cuda.ok("cuDeviceGetCount", count)
    if cuda.value(count) > 1:
        cuda.ok("cuDeviceCanAccessPeer", can, 1, 0)
    if can[0] == 1:
        place = cuda.struct("CUmemLocation", type=1, id=1)
        for flags in (READ_WRITE, 0):
            access[0].flags, access[0].location.id, told = flags, 1, cuda.out("CUmemAccess_flags")
            cuda.ok("cuMemPoolSetAccess", own, access, 1)
            cuda.ok("cuMemPoolGetAccess", told, own, place)
            cuda.equal(cuda.value(told), flags, "the access that was given")
