"""Memory pools: what they take and keep, who may use them, and how they end."""

import pytest
from support.memory import (
    INVALID_VALUE,
    MIB,
    OUT_OF_MEMORY,
    SUCCESS,
    free,
    little,
    small,
    write,
)

from vgpu_harness._wire import ffi

INVALID_DEVICE, NOT_SUPPORTED = 101, 801
USED, RESERVED, THRESHOLD = 7, 5, 4
STEP = 2 * MIB


@pytest.fixture
def cuda(vgpu_cuda):
    """The driver after cuInit(0), with a context."""
    assert vgpu_cuda.cuInit(0) == SUCCESS
    assert vgpu_cuda.cuCtxCreate_v2(ffi.new("CUcontext *"), 0, 0) == SUCCESS
    return vgpu_cuda


def pool(cuda, code: int = SUCCESS, device: int = 0, location: int = 1, **fields: int):
    """cuMemPoolCreate: the handle."""
    props = ffi.new("CUmemPoolProps *", {"allocType": 1, "location": {"type": location, "id": device}} | fields)
    handle = ffi.new("CUmemoryPool *")
    assert cuda.cuMemPoolCreate(handle, props) == code
    return handle[0]


def take(cuda, own, size: int) -> tuple[int, int]:
    """cuMemAllocFromPoolAsync: (code, address)."""
    return cuda.number("cuMemAllocFromPoolAsync", "CUdeviceptr", size, own, ffi.NULL)


def number(cuda, own, attribute: int) -> int:
    """An attribute of 64 bits."""
    code, value = cuda.number("cuMemPoolGetAttribute", "cuuint64_t", before=(own, attribute))
    assert code == SUCCESS
    return value


@small
def test_a_pool_takes_memory_in_steps_and_gives_it_back(cuda):
    """The device's account has what the pool has reserved; what nobody uses goes back to the device."""
    before, own = free(cuda), pool(cuda)
    code, first = take(cuda, own, 100)
    assert (code, before - free(cuda), number(cuda, own, USED), number(cuda, own, RESERVED)) == (0, STEP, 512, STEP)
    code, second = take(cuda, own, STEP)
    assert (code, before - free(cuda)) == (SUCCESS, 2 * STEP)
    assert [cuda.cuMemFree_v2(second), before - free(cuda)] == [SUCCESS, STEP]
    assert [cuda.cuMemFreeAsync(first, ffi.NULL), free(cuda)] == [SUCCESS, before]


@small
def test_the_limit_is_the_devices_and_the_pools(cuda):
    """All of the device's memory can be had through a pool and no more; of a pool no more than its maximum."""
    whole = free(cuda)
    assert take(cuda, pool(cuda), whole + 1)[0] == OUT_OF_MEMORY
    code, address = take(cuda, pool(cuda), whole)
    assert (code, free(cuda), take(cuda, pool(cuda), 1)[0]) == (SUCCESS, 0, OUT_OF_MEMORY)
    assert cuda.cuMemFree_v2(address) == SUCCESS
    own = pool(cuda, maxSize=5 * MIB)
    assert [take(cuda, own, size)[0] for size in (6 * MIB + 1, 6 * MIB, 1)] == [OUT_OF_MEMORY, SUCCESS, OUT_OF_MEMORY]
    assert take(cuda, own, 2**64 - 1)[0] == OUT_OF_MEMORY


def test_a_destroyed_pool_ends_with_its_last_allocation(cuda):
    """Its handle is gone at once, its memory serves on until it is freed, and is then the device's again."""
    before, own = free(cuda), pool(cuda)
    threshold = ffi.new("cuuint64_t *", 2**64 - 1)
    assert cuda.cuMemPoolSetAttribute(own, THRESHOLD, threshold) == SUCCESS
    address = take(cuda, own, MIB)[1]
    assert [cuda.cuMemPoolDestroy(own), cuda.cuMemPoolDestroy(own), take(cuda, own, 1)[0]] == [0, 1, 1]
    assert [write(cuda, address, b"x"), free(cuda) < before] == [SUCCESS, True]
    assert [cuda.cuMemFreeAsync(address, ffi.NULL), free(cuda)] == [SUCCESS, before]


def test_memory_of_a_pool_is_of_no_context(cuda):
    """It outlives the context it was asked for in; of an address of it the pool is told, and no context."""
    own, address = pool(cuda), None
    context = ffi.new("CUcontext *")
    cuda.cuCtxCreate_v2(context, 0, 0)
    address = take(cuda, own, 64)[1]
    assert cuda.cuCtxDestroy_v2(context[0]) == SUCCESS
    assert write(cuda, address, b"still there") == SUCCESS
    told, of = ffi.new("CUcontext *", ffi.cast("CUcontext", 7)), ffi.new("CUmemoryPool *")
    assert [cuda.cuPointerGetAttribute(told, 1, address), told[0]] == [SUCCESS, ffi.NULL]
    assert [cuda.cuPointerGetAttribute(of, 17, address), of[0]] == [SUCCESS, own]


@little
def test_the_contents_count(cuda):
    """What is written to memory of a pool is bounded by memory.backing, and comes back when it is freed."""
    own = pool(cuda)
    for _ in range(2):
        address = take(cuda, own, 2 * MIB)[1]
        assert [write(cuda, address, b"p" * MIB), write(cuda, address + MIB, b"p")] == [SUCCESS, OUT_OF_MEMORY]
        assert cuda.cuMemFreeAsync(address, ffi.NULL) == SUCCESS


def test_properties_are_checked(cuda):
    """A pool is of pinned memory of a device that there is, for this process alone."""
    for code, fields in (
        (INVALID_VALUE, {"allocType": 0}),
        (INVALID_VALUE, {"location": 0}),
        (NOT_SUPPORTED, {"location": 3}),
        (INVALID_DEVICE, {"device": 1}),
        (NOT_SUPPORTED, {"handleTypes": 1}),
    ):
        assert pool(cuda, code, **fields) == ffi.NULL
    assert cuda.cuMemPoolCreate(ffi.NULL, ffi.new("CUmemPoolProps *")) == INVALID_VALUE


@pytest.mark.vgpu(host={"gpu": [{}, {}]})
def test_a_pool_is_of_one_device(cuda):
    """It cannot be another device's pool; its memory is taken from its device, whichever context is current."""
    own, out = pool(cuda, device=1), ffi.new("CUmemoryPool *")
    assert cuda.cuDeviceSetMemPool(0, own) == INVALID_VALUE
    before = free(cuda)
    code, address = take(cuda, own, 64 * MIB)
    assert (code, free(cuda)) == (SUCCESS, before)
    cuda.cuCtxCreate_v2(ffi.new("CUcontext *"), 0, 1)
    taken = free(cuda)
    assert [cuda.cuMemFree_v2(address), free(cuda) - taken] == [SUCCESS, 64 * MIB]
    assert [cuda.cuDeviceSetMemPool(1, own), cuda.cuDeviceGetMemPool(out, 1), out[0]] == [SUCCESS, SUCCESS, own]
    assert [cuda.cuDeviceGetMemPool(out, 0), out[0] == own] == [SUCCESS, False]


@pytest.mark.vgpu(host={"gpu": [{}, {}]})
def test_access_is_given_to_other_devices(cuda):
    """A pool's own device keeps its access; what is not a device, and half an access, is refused."""
    own, flags = pool(cuda), ffi.new("CUmemAccess_flags *")

    def access(device: int) -> tuple[int, int]:
        place = ffi.new("CUmemLocation *", {"type": 1, "id": device})
        return cuda.cuMemPoolGetAccess(flags, own, place), flags[0]

    def give(device: int, kind: int, location: int = 1) -> int:
        wanted = ffi.new("CUmemAccessDesc *", {"location": {"type": location, "id": device}, "flags": kind})
        return cuda.cuMemPoolSetAccess(own, wanted, 1)

    assert [access(0), access(1)] == [(SUCCESS, 3), (SUCCESS, 0)]
    assert [give(0, 0), give(1, 1), give(1, 3, 0), give(2, 3)] == [INVALID_VALUE] * 3 + [INVALID_DEVICE]
    code = give(1, 3)
    assert access(1) == ((SUCCESS, 3) if code == SUCCESS else (SUCCESS, 0))
    can = cuda.number("cuDeviceCanAccessPeer", "int", 1, 0)
    assert (code == SUCCESS) == (can == (SUCCESS, 1))
    assert give(0, 3) == SUCCESS
