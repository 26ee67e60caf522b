"""Memory of contexts: the account of each device, memory of the host, managed memory, and what is told of addresses."""

import itertools

import pytest
from support.memory import (
    INVALID_VALUE,
    MIB,
    OUT_OF_MEMORY,
    SUCCESS,
    free,
    info,
    small,
)

from vgpu_harness._wire import ffi

INVALID_DEVICE, INVALID_CONTEXT = 101, 201
CONTEXT_IS_DESTROYED, NOT_PERMITTED = 709, 800
ALREADY_REGISTERED, NOT_REGISTERED = 712, 713
USER_SPACE_END = 1 << 47
MAPPED = 2  # CU_MEMHOSTALLOC_DEVICEMAP

FREE = 900 * MIB


@pytest.fixture
def cuda(vgpu_cuda):
    """The driver after cuInit(0), with a context."""
    assert vgpu_cuda.cuInit(0) == SUCCESS
    assert vgpu_cuda.cuCtxCreate_v2(ffi.new("CUcontext *"), 0, 0) == SUCCESS
    return vgpu_cuda


def current(cuda):
    """The context that is current."""
    out = ffi.new("CUcontext *")
    cuda.cuCtxGetCurrent(out)
    return out[0]


def allocate(cuda, size: int) -> tuple[int, int]:
    """cuMemAlloc: (code, address)."""
    return cuda.number("cuMemAlloc_v2", "CUdeviceptr", size)


class TestContextMemory:
    @small
    def test_each_byte_is_accounted(self, cuda):
        """Free goes down by what is allocated and up by what is freed; total stays."""
        assert info(cuda) == (SUCCESS, FREE, 1000 * MIB)
        addresses = [allocate(cuda, size)[1] for size in (1, 4096, 100 * MIB)]
        assert info(cuda) == (SUCCESS, FREE - 1 - 4096 - 100 * MIB, 1000 * MIB)
        assert [cuda.cuMemFree_v2(address) for address in addresses] == [SUCCESS] * 3
        assert free(cuda) == FREE

    @small
    def test_the_limit_is_exact(self, cuda):
        """All that is free can be had, and not a byte more."""
        assert allocate(cuda, FREE + 1) == (OUT_OF_MEMORY, 0)
        assert allocate(cuda, FREE)[0] == SUCCESS
        assert (free(cuda), allocate(cuda, 1)) == (0, (OUT_OF_MEMORY, 0))

    def test_no_bytes_and_no_place_are_invalid(self, cuda):
        """Zero bytes, NULL, and a size that no device has."""
        assert [allocate(cuda, 0)[0], cuda.cuMemAlloc_v2(ffi.NULL, 1)] == [INVALID_VALUE] * 2
        assert allocate(cuda, 2**64 - 1)[0] == OUT_OF_MEMORY

    def test_only_what_was_allocated_is_freed(self, cuda):
        """Twice, inside: invalid; 0 is nothing to free. An address is not given out again."""
        address = allocate(cuda, 4096)[1]
        assert [cuda.cuMemFree_v2(wrong) for wrong in (address + 1, 0, address + 4096)] == [
            INVALID_VALUE,
            SUCCESS,
            INVALID_VALUE,
        ]
        assert [cuda.cuMemFree_v2(address), cuda.cuMemFree_v2(address)] == [SUCCESS, INVALID_VALUE]
        assert allocate(cuda, 4096)[1] != address

    def test_addresses_do_not_overlap_and_are_not_the_hosts(self, cuda):
        """Aligned to 512 bytes, apart from each other, outside of what a host pointer can be."""
        sizes = (1, 511, 512, 513, 1 << 30)
        places = [(allocate(cuda, size)[1], size) for size in sizes]
        assert all(start % 512 == 0 and start >= USER_SPACE_END for start, _ in places)
        assert all(start + size <= after for (start, size), (after, _) in itertools.pairwise(places))

    def test_the_32_bit_forms(self, cuda):
        """Addresses below 4 GiB, amounts of memory cut to 4 GiB less 1; both forms share one account."""
        before = free(cuda)
        code, address = cuda.number("cuMemAlloc", "CUdeviceptr_v1", 3 << 30)
        assert (code, free(cuda)) == (SUCCESS, before - (3 << 30))
        assert 0 < address < address + (3 << 30) < 2**32
        assert cuda.number("cuMemAlloc", "CUdeviceptr_v1", 3 << 30)[0] == OUT_OF_MEMORY
        assert info(cuda, "unsigned int", "cuMemGetInfo") == (SUCCESS, 2**32 - 1, 2**32 - 1)
        assert [cuda.cuMemFree(address), cuda.cuMemFree(address), free(cuda)] == [SUCCESS, INVALID_VALUE, before]
        assert [cuda.cuMemAlloc(ffi.NULL, 1), cuda.cuMemGetInfo(ffi.NULL, ffi.NULL)] == [INVALID_VALUE] * 2

    def test_memory_goes_with_its_context(self, cuda):
        """What a context allocated is free again once it is destroyed; others keep theirs."""
        before = free(cuda)
        kept = allocate(cuda, MIB)[1]
        second = ffi.new("CUcontext *")
        cuda.cuCtxCreate_v2(second, 0, 0)
        lost = allocate(cuda, 64 * MIB)[1]
        assert free(cuda) == before - 65 * MIB
        cuda.cuCtxDestroy_v2(second[0])
        assert (free(cuda), cuda.cuMemFree_v2(lost), cuda.cuMemFree_v2(kept)) == (before - MIB, INVALID_VALUE, SUCCESS)

    @pytest.mark.parametrize("end", ["cuDevicePrimaryCtxRelease_v2", "cuDevicePrimaryCtxReset_v2"])
    def test_memory_of_a_primary_context_goes_with_it(self, end, cuda):
        """Last release and reset both give everything back."""
        before = free(cuda)
        primary = ffi.new("CUcontext *")
        cuda.cuDevicePrimaryCtxRetain(primary, 0)
        cuda.cuCtxPushCurrent_v2(primary[0])
        allocate(cuda, MIB)
        getattr(cuda, end)(0)
        assert [info(cuda)[0], allocate(cuda, 1)[0]] == [CONTEXT_IS_DESTROYED] * 2
        cuda.cuCtxPopCurrent_v2(ffi.NULL)
        assert free(cuda) == before

    def test_without_a_context_there_is_no_memory(self, cuda):
        """Every call about memory needs a current context."""
        address = allocate(cuda, 1)[1]
        cuda.cuCtxPopCurrent_v2(ffi.NULL)
        assert [allocate(cuda, 1)[0], cuda.cuMemFree_v2(address), info(cuda)[0]] == [INVALID_CONTEXT] * 3

    @pytest.mark.vgpu(host={"gpu": [{}, {}]})
    def test_each_device_has_its_account(self, cuda):
        """Memory of one device does not come out of another's."""
        cuda.cuCtxCreate_v2(ffi.new("CUcontext *"), 0, 1)
        before = free(cuda)
        address = allocate(cuda, MIB)[1]
        cuda.cuCtxPopCurrent_v2(ffi.NULL)
        assert free(cuda) == before
        assert cuda.cuMemFree_v2(address) == SUCCESS


def host_memory(cuda, size: int, flags: int = 0) -> int:
    """cuMemHostAlloc: the address."""
    pointer = ffi.new("void **")
    assert cuda.cuMemHostAlloc(pointer, size, flags) == SUCCESS
    return int(ffi.cast("uintptr_t", pointer[0]))


def at(address: int):
    """A pointer to an address."""
    return ffi.cast("void *", address)


class TestHostMemory:
    def test_it_is_not_the_devices(self, cuda):
        """Memory of the host takes nothing from a device, and ends with its context or by its own function."""
        before, context = free(cuda), ffi.new("CUcontext *")
        address = host_memory(cuda, 3 * MIB, 7)
        assert free(cuda) == before
        assert [cuda.cuMemFree_v2(address), cuda.cuMemFreeHost(at(address + 1))] == [INVALID_VALUE] * 2
        assert [cuda.cuMemFreeHost(at(address)), cuda.cuMemFreeHost(at(address))] == [SUCCESS, INVALID_VALUE]
        cuda.cuCtxCreate_v2(context, 0, 0)
        lost = host_memory(cuda, 4096)
        cuda.cuCtxDestroy_v2(context[0])
        assert cuda.cuMemFreeHost(at(lost)) == INVALID_VALUE

    def test_flags_are_kept_and_checked(self, cuda):
        """What was asked for is told, and that it is mapped; bits that there are not are invalid, no bytes are NULL."""
        told = ffi.new("unsigned int *")
        for flags in range(8):
            address = host_memory(cuda, 4096, flags)
            assert (cuda.cuMemHostGetFlags(told, at(address + 4095)), told[0]) == (SUCCESS, flags | MAPPED)
        pointer = ffi.new("void **")
        assert cuda.cuMemHostAlloc(pointer, 4096, 8) == INVALID_VALUE
        assert (cuda.cuMemHostAlloc(pointer, 0, 0), pointer[0]) == (SUCCESS, ffi.NULL)
        assert cuda.cuMemFreeHost(pointer[0]) == SUCCESS
        assert cuda.cuMemHostAlloc(pointer, 2**60, 0) == OUT_OF_MEMORY
        assert cuda.cuMemHostGetFlags(told, at(allocate(cuda, 1)[1])) == INVALID_VALUE

    def test_memory_that_is_registered_is_there(self, cuda):
        """It must be mapped, no part of it registered already, and not that of another device."""
        room = ffi.new("char[]", 5 * 4096)
        start = int(ffi.cast("uintptr_t", room))
        assert cuda.cuMemHostRegister_v2(at(start + 4096), 8192, 0) == SUCCESS
        overlaps = [(start, 4097), (start + 8000, 1), (start + 4096 + 8191, 2), (start, 5 * 4096)]
        codes = [cuda.cuMemHostRegister_v2(at(address), size, 0) for address, size in overlaps]
        assert codes == [ALREADY_REGISTERED] * 4
        assert cuda.cuMemHostRegister_v2(at(start), 4096, 3) == SUCCESS
        assert cuda.cuMemHostRegister_v2(at(4096), 4096, 0) == INVALID_VALUE
        assert cuda.cuMemHostRegister_v2(at(start + 4 * 4096), 64, 4) == NOT_PERMITTED
        assert cuda.cuMemHostUnregister(at(start + 1)) == INVALID_VALUE
        assert cuda.cuMemHostUnregister(at(start + 4 * 4096)) == NOT_REGISTERED
        assert cuda.cuMemHostUnregister(at(host_memory(cuda, 4096))) == INVALID_VALUE
        assert [cuda.cuMemHostUnregister(at(start + 4096 * i)) for i in range(2)] == [SUCCESS] * 2

    def test_what_is_told_of_its_addresses(self, cuda):
        """It is the host's, at the same address for both, and no device memory is told to be at a host address."""
        address, device = host_memory(cuda, 4096), allocate(cuda, 64)[1]
        kind, place = ffi.new("unsigned int *"), ffi.new("CUdeviceptr *")
        assert (cuda.cuPointerGetAttribute(kind, 2, address + 9), kind[0]) == (SUCCESS, 1)
        for attribute in (3, 4):
            assert (cuda.cuPointerGetAttribute(place, attribute, address + 9), place[0]) == (SUCCESS, address + 9)
        assert cuda.cuPointerGetAttribute(place, 4, device) == INVALID_VALUE
        assert (cuda.cuMemHostGetDevicePointer_v2(place, at(address + 1), 0), place[0]) == (SUCCESS, address + 1)
        assert cuda.cuMemHostGetDevicePointer_v2(place, at(address), 1) == INVALID_VALUE
        assert cuda.cuMemHostGetDevicePointer_v2(place, at(device), 0) == INVALID_VALUE


class TestManagedMemory:
    def told(self, cuda, attribute: int, address: int, size: int) -> int:
        """cuMemRangeGetAttribute: a number."""
        number = ffi.new("int *")
        assert cuda.cuMemRangeGetAttribute(number, 4, attribute, address, size) == SUCCESS
        return number[0]

    def test_advice_holds_for_whole_pages(self, cuda):
        """Advice for a few bytes holds for their pages; advice that is taken back for a part leaves the rest."""
        address = cuda.number("cuMemAllocManaged", "CUdeviceptr", MIB, 1)[1]
        assert cuda.cuMemAdvise(address + 5000, 10, 1, 0) == SUCCESS
        spans = [(4096, 4096), (0, 4096), (8192, 1), (4095, 2), (5000, 10)]
        assert [self.told(cuda, 1, address + start, size) for start, size in spans] == [1, 0, 0, 0, 1]
        assert cuda.cuMemAdvise(address, MIB, 1, 0) == SUCCESS
        assert cuda.cuMemAdvise(address + 16384, 4096, 2, 0) == SUCCESS
        spans = [(0, MIB), (0, 16384), (16384, 4096), (20480, MIB - 20480)]
        assert [self.told(cuda, 1, address + start, size) for start, size in spans] == [0, 1, 0, 1]

    def test_ranges_and_locations_are_checked(self, cuda):
        """Not past the allocation, not of other memory, not for a device or a place that there is not."""
        address, device = cuda.number("cuMemAllocManaged", "CUdeviceptr", MIB, 1)[1], allocate(cuda, MIB)[1]
        codes = [cuda.cuMemAdvise(*wrong, 1, 0) for wrong in ((address, MIB + 1), (address, 0), (device, 64), (64, 1))]
        assert codes == [INVALID_VALUE] * 4
        assert cuda.cuMemAdvise(address, MIB, 3, 1) == INVALID_DEVICE
        assert cuda.cuMemPrefetchAsync(address, MIB, 7, ffi.NULL) == INVALID_DEVICE
        for kind, code in ((0, INVALID_VALUE), (5, INVALID_VALUE), (3, SUCCESS), (4, SUCCESS)):
            place = ffi.new("CUmemLocation *", {"type": kind})[0]
            assert cuda.cuMemAdvise_v2(address, MIB, 3, place) == code
            assert cuda.cuMemAdvise_v2(address, MIB, 5, place) == INVALID_VALUE
        number = ffi.new("int[2]")
        assert [cuda.cuMemRangeGetAttribute(number, size, 1, address, MIB) for size in (0, 3, 8)] == [INVALID_VALUE] * 3
        assert cuda.cuMemRangeGetAttribute(number, 4, 9, address, MIB) == INVALID_VALUE

    def test_what_is_discarded_is_gone(self, cuda):
        """Whole pages of a discarded range are zeros, and its neighbours are as they were."""
        address, stream = cuda.number("cuMemAllocManaged", "CUdeviceptr", 16384, 1)[1], ffi.new("CUstream *")
        cuda.cuMemsetD8_v2(address, 1, 16384)
        cuda.cuStreamCreate(stream, 1)
        starts, sizes = ffi.new("CUdeviceptr[]", [address + 4096]), ffi.new("size_t[]", [8192])
        assert cuda.cuMemDiscardBatchAsync(starts, sizes, 1, 0, stream[0]) == SUCCESS
        memory = bytes(ffi.buffer(ffi.cast("char *", address), 16384))
        assert memory == b"\1" * 4096 + bytes(8192) + b"\1" * 4096
        assert cuda.cuMemDiscardBatchAsync(starts, sizes, 1, 0, ffi.NULL) == INVALID_VALUE
        sizes[0] = 16384
        assert cuda.cuMemDiscardBatchAsync(starts, sizes, 1, 0, stream[0]) == INVALID_VALUE

    def test_it_is_a_device_that_is_told(self, cuda):
        """Managed memory counts as the device's, and is told to be managed; other memory is told not to be."""
        address = cuda.number("cuMemAllocManaged", "CUdeviceptr", 64, 2)[1]
        number = ffi.new("unsigned int *")
        got = []
        for place, attribute in itertools.product((address, allocate(cuda, 64)[1]), (2, 8)):
            got.append((cuda.cuPointerGetAttribute(number, attribute, place), number[0]))
        assert got == [(SUCCESS, 2), (SUCCESS, 1), (SUCCESS, 2), (SUCCESS, 0)]
