"""Device memory: allocation in contexts, and virtual memory management. Both draw on one account for each device."""

import itertools
import pathlib

import pytest

from vgpu_harness._wire import ffi, lib

SUCCESS, INVALID_VALUE, OUT_OF_MEMORY, INVALID_DEVICE, INVALID_CONTEXT = 0, 1, 2, 101, 201
CONTEXT_IS_DESTROYED, NOT_SUPPORTED = 709, 801
MIB = 1 << 20
GRAIN = 2 * MIB
USER_SPACE_END = 1 << 47

small = pytest.mark.vgpu(host={"gpu": [{"memory_mib": 1024, "reserved_mib": 24, "used_mib": 100}]})
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


def info(cuda, kind: str = "size_t", name: str = "cuMemGetInfo_v2") -> tuple[int, int, int]:
    """cuMemGetInfo: (code, free, total)."""
    free, total = ffi.new(f"{kind} *"), ffi.new(f"{kind} *")
    return getattr(cuda, name)(free, total), int(free[0]), int(total[0])


def free(cuda) -> int:
    """Bytes that are free."""
    code, unused, _ = info(cuda)
    assert code == SUCCESS
    return unused


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
        """Twice, inside, NULL: invalid. An address is not given out again."""
        address = allocate(cuda, 4096)[1]
        assert [cuda.cuMemFree_v2(wrong) for wrong in (address + 1, 0, address + 4096)] == [INVALID_VALUE] * 3
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


def properties(dev: int = 0, location: int = 1, kind: int = 1):
    """A CUmemAllocationProp."""
    return ffi.new("CUmemAllocationProp *", {"type": kind, "location": {"type": location, "id": dev}})


def access(dev: int = 0, flags: int = 3, location: int = 1):
    """A CUmemAccessDesc."""
    return ffi.new("CUmemAccessDesc *", {"location": {"type": location, "id": dev}, "flags": flags})


def physical(cuda, size: int = GRAIN, **options: int) -> tuple[int, int]:
    """cuMemCreate: (code, handle)."""
    return cuda.number("cuMemCreate", "CUmemGenericAllocationHandle", size, properties(**options), 0)


def reserve(cuda, size: int = 4 * GRAIN, alignment: int = 0, hint: int = 0, flags: int = 0) -> tuple[int, int]:
    """cuMemAddressReserve: (code, address)."""
    return cuda.number("cuMemAddressReserve", "CUdeviceptr", size, alignment, hint, flags)


class TestVirtualMemory:
    def test_the_way_of_a_pool(self, cuda):
        """Reserve, create, map, release, set access, unmap, free, as ggml's pool does; the account ends even."""
        before = free(cuda)
        start = reserve(cuda, 32 << 30)[1]
        for n in range(3):
            handle = physical(cuda)[1]
            assert cuda.cuMemMap(start + n * GRAIN, GRAIN, 0, handle, 0) == SUCCESS
            assert cuda.cuMemRelease(handle) == SUCCESS
            assert cuda.cuMemSetAccess(start + n * GRAIN, GRAIN, access(), 1) == SUCCESS
        assert free(cuda) == before - 3 * GRAIN
        assert cuda.cuMemSetAccess(start, 3 * GRAIN, access(), 1) == SUCCESS
        assert cuda.cuMemAddressFree(start, 32 << 30) == INVALID_VALUE
        assert [cuda.cuMemUnmap(start, 3 * GRAIN), cuda.cuMemAddressFree(start, 32 << 30)] == [SUCCESS] * 2
        assert free(cuda) == before

    @pytest.mark.parametrize("option", [0, 1])
    def test_granularity(self, option, cuda):
        """2 MiB, least and best."""
        assert cuda.number("cuMemGetAllocationGranularity", "size_t", properties(), option) == (SUCCESS, GRAIN)

    @pytest.mark.parametrize(
        ("options", "code"),
        [
            ({"dev": 1}, INVALID_DEVICE),
            ({"dev": -1}, INVALID_DEVICE),
            ({"kind": 0}, INVALID_VALUE),
            ({"kind": 2}, INVALID_VALUE),
            ({"location": 0}, INVALID_VALUE),
            ({"location": 2}, INVALID_VALUE),
            ({"location": 3}, NOT_SUPPORTED),
        ],
    )
    def test_properties_are_checked(self, options, code, cuda):
        """The device must exist, the kind be pinned, the place a device."""
        assert cuda.number("cuMemGetAllocationGranularity", "size_t", properties(**options), 0) == (code, 0)
        assert physical(cuda, **options) == (code, 0)

    def test_numbers_are_checked(self, cuda):
        """Sizes off the granularity, nothing, NULL, unknown options and flags: invalid."""
        handle = ffi.new("CUmemGenericAllocationHandle *")
        assert [physical(cuda, size)[0] for size in (0, 1, GRAIN - 1, GRAIN + 4096)] == [INVALID_VALUE] * 4
        assert cuda.cuMemCreate(handle, GRAIN, properties(), 1) == INVALID_VALUE
        assert cuda.cuMemCreate(ffi.NULL, GRAIN, properties(), 0) == INVALID_VALUE
        assert cuda.cuMemCreate(handle, GRAIN, ffi.NULL, 0) == INVALID_VALUE
        assert cuda.number("cuMemGetAllocationGranularity", "size_t", properties(), 2)[0] == INVALID_VALUE

    @small
    def test_the_limit_is_exact_and_shared(self, cuda):
        """cuMemCreate and cuMemAlloc draw on the same memory."""
        assert physical(cuda, FREE + GRAIN)[0] == OUT_OF_MEMORY
        code, handle = physical(cuda, FREE - GRAIN)
        assert (code, free(cuda)) == (SUCCESS, GRAIN)
        assert [physical(cuda, 2 * GRAIN)[0], allocate(cuda, GRAIN + 1)[0], allocate(cuda, GRAIN)[0]] == [
            OUT_OF_MEMORY,
            OUT_OF_MEMORY,
            SUCCESS,
        ]
        assert [physical(cuda)[0], cuda.cuMemRelease(handle), physical(cuda)[0]] == [OUT_OF_MEMORY, SUCCESS, SUCCESS]

    @pytest.mark.parametrize(
        ("arguments", "code"),
        [
            ({"size": 0}, INVALID_VALUE),
            ({"size": 4095}, INVALID_VALUE),
            ({"alignment": 3 * GRAIN}, INVALID_VALUE),
            ({"flags": 1}, INVALID_VALUE),
            ({"hint": 1}, INVALID_VALUE),
            ({"size": 2**64 - 4096}, OUT_OF_MEMORY),
            ({"size": 2**62}, OUT_OF_MEMORY),
            ({"alignment": 2**63}, OUT_OF_MEMORY),
            ({"alignment": 1 << 30}, SUCCESS),
            ({"size": 4096}, SUCCESS),
            ({"hint": 0x7E0000000000}, SUCCESS),
        ],
    )
    def test_reservations_are_checked(self, arguments, code, cuda):
        """Pages, powers of two, no flags; what the address space cannot hold is out of memory."""
        got, start = reserve(cuda, **arguments)
        assert got == code
        assert start % arguments.get("alignment", GRAIN) == 0 or code == INVALID_VALUE
        if code == SUCCESS:
            assert cuda.cuMemAddressFree(start, arguments.get("size", 4 * GRAIN)) == SUCCESS

    def test_a_reservation_is_taken_from_the_hosts_address_space(self, cuda):
        """No host mapping can land in it, and it has no access; freed, it is gone."""

        def mapped(start: int) -> list[str]:
            with pathlib.Path("/proc/self/maps").open() as maps:
                lines = [line.split() for line in maps]
            return [
                mode
                for place, mode, *_ in lines
                if int(place.split("-")[0], 16) <= start < int(place.split("-")[1], 16)
            ]

        start = reserve(cuda, 512 * GRAIN)[1]
        assert mapped(start) == mapped(start + 512 * GRAIN - 1) == ["---p"]
        cuda.cuMemAddressFree(start, 512 * GRAIN)
        assert mapped(start + 256 * GRAIN) == []

    def test_a_reservation_is_freed_whole_and_once(self, cuda):
        """Start and size must be those of the reservation."""
        start = reserve(cuda)[1]
        wrong = [(start + GRAIN, 3 * GRAIN), (start, 3 * GRAIN), (0, 4 * GRAIN), (start, 0)]
        assert [cuda.cuMemAddressFree(*pair) for pair in wrong] == [INVALID_VALUE] * 4
        assert [cuda.cuMemAddressFree(start, 4 * GRAIN) for _ in range(2)] == [SUCCESS, INVALID_VALUE]

    def test_mappings_are_checked(self, cuda):
        """In one reservation, on the granularity, within the memory, not over another mapping, of a living handle."""
        start, handle = reserve(cuda)[1], physical(cuda, 2 * GRAIN)[1]
        wrong = [
            (start - GRAIN, GRAIN, 0, handle, 0),
            (start + 4 * GRAIN, GRAIN, 0, handle, 0),
            (start + 3 * GRAIN, 2 * GRAIN, 0, handle, 0),
            (start + 4096, GRAIN, 0, handle, 0),
            (start, 4096, 0, handle, 0),
            (start, 0, 0, handle, 0),
            (start, 3 * GRAIN, 0, handle, 0),
            (start, GRAIN, GRAIN, handle, 0),
            (start, GRAIN, 0, handle, 1),
            (start, GRAIN, 0, handle + 1, 0),
            (start, GRAIN, 0, 0, 0),
            (start, 2**64 - GRAIN, 0, handle, 0),
        ]
        assert [cuda.cuMemMap(*arguments) for arguments in wrong] == [INVALID_VALUE] * len(wrong)
        assert cuda.cuMemMap(start + GRAIN, 2 * GRAIN, 0, handle, 0) == SUCCESS
        assert [cuda.cuMemMap(start + n * GRAIN, GRAIN, 0, handle, 0) for n in range(4)] == [
            SUCCESS,
            INVALID_VALUE,
            INVALID_VALUE,
            SUCCESS,
        ]
        assert [cuda.cuMemRelease(handle), cuda.cuMemRelease(handle)] == [SUCCESS, INVALID_VALUE]
        assert cuda.cuMemUnmap(start, GRAIN) == SUCCESS
        assert cuda.cuMemMap(start, GRAIN, 0, handle, 0) == INVALID_VALUE

    def test_only_whole_mappings_are_unmapped(self, cuda):
        """Several neighbours at once, no part of one, no gap, and not twice."""
        start = reserve(cuda)[1]
        handle = physical(cuda, 2 * GRAIN)[1]
        cuda.cuMemMap(start, 2 * GRAIN, 0, handle, 0)
        cuda.cuMemMap(start + 3 * GRAIN, GRAIN, 0, handle, 0)
        wrong = [
            (start, GRAIN),
            (start + GRAIN, GRAIN),
            (start, 3 * GRAIN),
            (start, 4 * GRAIN),
            (start, 0),
            (start + 2 * GRAIN, GRAIN),
        ]
        assert [cuda.cuMemUnmap(*pair) for pair in wrong] == [INVALID_VALUE] * len(wrong)
        assert [cuda.cuMemSetAccess(*pair, access(), 1) for pair in wrong] == [INVALID_VALUE] * len(wrong)
        assert [cuda.cuMemUnmap(start, 2 * GRAIN) for _ in range(2)] == [SUCCESS, INVALID_VALUE]

    def test_memory_lives_as_long_as_a_handle_or_a_mapping(self, cuda):
        """Released while mapped it stays taken, until the last mapping goes."""
        before, start = free(cuda), reserve(cuda)[1]
        handle = physical(cuda)[1]
        cuda.cuMemMap(start, GRAIN, 0, handle, 0)
        cuda.cuMemMap(start + GRAIN, GRAIN, 0, handle, 0)
        cuda.cuMemRelease(handle)
        steps = [free(cuda)]
        for n in range(2):
            cuda.cuMemUnmap(start + n * GRAIN, GRAIN)
            steps.append(free(cuda))
        assert steps == [before - GRAIN, before - GRAIN, before]

    def test_it_belongs_to_no_context(self, cuda):
        """cuMemCreate needs no context, and what it made outlives each (cuda.h, cuCtxDestroy)."""
        before = free(cuda)
        context = current(cuda)
        handle = physical(cuda)[1]
        cuda.cuCtxDestroy_v2(context)
        assert physical(cuda)[0] == SUCCESS
        cuda.cuCtxCreate_v2(ffi.new("CUcontext *"), 0, 0)
        assert [free(cuda), cuda.cuMemRelease(handle)] == [before - 2 * GRAIN, SUCCESS]

    @pytest.mark.parametrize(
        ("options", "count", "code"),
        [
            ({}, 0, INVALID_VALUE),
            ({"flags": 2}, 1, INVALID_VALUE),
            ({"dev": 5}, 1, INVALID_DEVICE),
            ({"location": 3}, 1, INVALID_VALUE),
            ({"flags": 0}, 1, SUCCESS),
            ({"flags": 1}, 1, SUCCESS),
        ],
    )
    def test_access_is_checked(self, options, count, code, cuda):
        """For devices that exist, none, read or read and write."""
        start, handle = reserve(cuda)[1], physical(cuda)[1]
        cuda.cuMemMap(start, GRAIN, 0, handle, 0)
        assert cuda.cuMemSetAccess(start, GRAIN, access(**options), count) == code
        assert cuda.cuMemSetAccess(start, GRAIN, ffi.NULL, 1) == INVALID_VALUE


def test_closing_a_process_gives_its_reservations_back(vgpu_image):
    """Nothing of a state is left in the address space once it is freed, mapped or not."""
    from vgpu_harness.shims.inprocess import Cuda

    def reserved() -> int:
        with pathlib.Path("/proc/self/maps").open() as maps:
            places = [line.split()[0].split("-") for line in maps if " ---p " in line]
        return sum(int(end, 16) - int(start, 16) for start, end in places)

    assert lib.VGPU_CUDA_GRANULARITY == GRAIN
    before = reserved()
    with Cuda(vgpu_image) as cuda:
        cuda.cuInit(0)
        ranges = [reserve(cuda, GRAIN)[1] for _ in range(8)]
        assert reserved() >= before + 8 * GRAIN
        handle = physical(cuda)[1]
        assert [cuda.cuMemMap(start, GRAIN, 0, handle, 0) for start in ranges] == [SUCCESS] * 8
    assert reserved() < before + GRAIN
