"""Physical memory and its mappings: contents, access, and sharing with another process by a descriptor."""

import multiprocessing
import os
import pathlib
from multiprocessing import reduction
from pathlib import Path

import pytest
from support.memory import (
    GRAIN,
    INVALID_VALUE,
    MIB,
    OUT_OF_MEMORY,
    SUCCESS,
    access,
    allocate,
    free,
    info,
    little,
    physical,
    properties,
    read,
    reserve,
    small,
    write,
)

from vgpu_harness._wire import ffi, lib
from vgpu_harness.shims.inprocess import Cuda

INVALID_DEVICE, NOT_SUPPORTED, FILE = 101, 801, 1
FREE = 900 * MIB


@pytest.fixture
def cuda(vgpu_cuda):
    """The driver after cuInit(0), with a context."""
    assert vgpu_cuda.cuInit(0) == SUCCESS
    assert vgpu_cuda.cuCtxCreate_v2(ffi.new("CUcontext *"), 0, 0) == SUCCESS
    return vgpu_cuda


def shareable(cuda, size: int = GRAIN) -> int:
    """Physical memory that may go to other processes: its handle."""
    prop = properties()
    prop.requestedHandleTypes = FILE
    code, handle = cuda.number("cuMemCreate", "CUmemGenericAllocationHandle", size, prop, 0)
    assert code == SUCCESS
    return handle


def mapped(cuda, handle: int, flags: int = 3) -> int:
    """An address where a handle is mapped with some access."""
    start = reserve(cuda, GRAIN)[1]
    assert cuda.cuMemMap(start, GRAIN, 0, handle, 0) == SUCCESS
    assert cuda.cuMemSetAccess(start, GRAIN, access(flags=flags), 1) == SUCCESS
    return start


def test_access_decides_what_a_copy_may_do(cuda):
    """Without access nothing, with read access only reading, then all; unmapped memory is no memory."""
    start, room = mapped(cuda, physical(cuda)[1], 0), ffi.new("char[4]")
    got = []
    for flags in (0, 1, 3):
        cuda.cuMemSetAccess(start, GRAIN, access(flags=flags), 1)
        got.append((write(cuda, start, b"flag"), cuda.cuMemcpyDtoH_v2(room, start, 4), cuda.cuMemsetD8_v2(start, 0, 1)))
    assert got == [(INVALID_VALUE,) * 3, (INVALID_VALUE, SUCCESS, INVALID_VALUE), (SUCCESS,) * 3]
    assert [cuda.cuMemUnmap(start, GRAIN), write(cuda, start, b"x")] == [SUCCESS, INVALID_VALUE]


def test_contents_live_as_long_as_the_memory(cuda):
    """Released and unmapped, the memory is gone: what is mapped next is zeros."""
    handle = physical(cuda)[1]
    start = mapped(cuda, handle)
    assert write(cuda, start, b"old") == SUCCESS
    cuda.cuMemUnmap(start, GRAIN)
    assert read(cuda, mapped(cuda, handle), 3) == b"old"
    assert cuda.cuMemRelease(handle) == SUCCESS
    assert read(cuda, mapped(cuda, physical(cuda)[1]), 3) == bytes(3)


def test_a_copy_stays_in_its_reservation(cuda):
    """Neighbouring mappings of one range are copied over, an unmapped gap in it is not."""
    start = reserve(cuda, 4 * GRAIN)[1]
    for place in (0, 1, 3):
        assert cuda.cuMemMap(start + place * GRAIN, GRAIN, 0, physical(cuda)[1], 0) == SUCCESS
        cuda.cuMemSetAccess(start + place * GRAIN, GRAIN, access(), 1)
    source = allocate(cuda, 3 * GRAIN)
    assert cuda.cuMemsetD8_v2(source, 9, 3 * GRAIN) == SUCCESS
    assert cuda.cuMemcpyDtoD_v2(start, source, 2 * GRAIN) == SUCCESS
    assert read(cuda, start + GRAIN - 2, 4) == b"\x09" * 4
    assert cuda.cuMemcpyDtoD_v2(start + GRAIN, source, 2 * GRAIN) == INVALID_VALUE
    assert cuda.cuMemcpyDtoD_v2(start, source, 3 * GRAIN) == INVALID_VALUE


@little
def test_what_is_written_is_bounded(cuda):
    """Mapped memory counts for memory.backing as it is written, in full once it is shared."""
    start = mapped(cuda, physical(cuda)[1])
    assert [write(cuda, start, b"m" * MIB), write(cuda, start + MIB, b"m")] == [SUCCESS, OUT_OF_MEMORY]
    out = ffi.new("int *", -1)
    assert (cuda.cuMemExportToShareableHandle(out, shareable(cuda), FILE, 0), out[0]) == (OUT_OF_MEMORY, -1)


def test_handles_are_checked(cuda):
    """Export asks for a kind that was requested, import for a descriptor of such memory."""
    out, handle = ffi.new("int *", -1), shareable(cuda)
    wrong = [(physical(cuda)[1], FILE, 0), (handle, 8, 0), (handle, 0, 0), (handle, FILE, 1), (handle + 99, FILE, 0)]
    assert [cuda.cuMemExportToShareableHandle(out, *arguments) for arguments in wrong] == [INVALID_VALUE] * 5
    assert cuda.cuMemExportToShareableHandle(ffi.NULL, handle, FILE, 0) == INVALID_VALUE
    assert out[0] == -1
    null = os.open(os.devnull, os.O_RDONLY)
    for number, kind, code in ((null, FILE, INVALID_VALUE), (999, FILE, INVALID_VALUE), (null, 8, NOT_SUPPORTED)):
        place = ffi.cast("void *", number)
        got = cuda.number("cuMemImportFromShareableHandle", "CUmemGenericAllocationHandle", place, kind)
        assert got == (code, 0)
    os.close(null)
    prop = properties()
    prop.requestedHandleTypes = 8
    assert cuda.number("cuMemCreate", "CUmemGenericAllocationHandle", GRAIN, prop, 0) == (NOT_SUPPORTED, 0)


def _imports(image: Path, pipe) -> None:
    """In another process: imports a descriptor, tells what is there, and writes to it."""
    with Cuda(image) as cuda:
        cuda.cuInit(0)
        cuda.cuCtxCreate_v2(ffi.new("CUcontext *"), 0, 0)
        before = free(cuda)
        number = reduction.recv_handle(pipe)
        place = ffi.cast("void *", number)
        code, handle = cuda.number("cuMemImportFromShareableHandle", "CUmemGenericAllocationHandle", place, FILE)
        start = mapped(cuda, handle)
        content = read(cuda, start + 5, 4)
        pipe.send((code, content, write(cuda, start + 100, b"there"), free(cuda) == before))


def test_another_process_maps_the_same_memory(cuda, vgpu_image):
    """A descriptor goes to another process, which maps the memory; both see what the other writes."""
    handle = shareable(cuda)
    start = mapped(cuda, handle)
    write(cuda, start + 5, b"here")
    out = ffi.new("int *")
    assert cuda.cuMemExportToShareableHandle(out, handle, FILE, 0) == SUCCESS
    ours, theirs = multiprocessing.Pipe()
    child = multiprocessing.get_context("fork").Process(target=_imports, args=(vgpu_image, theirs))
    child.start()
    reduction.send_handle(ours, out[0], child.pid)
    os.close(out[0])
    assert ours.poll(20)
    assert ours.recv() == (SUCCESS, b"here", SUCCESS, True)
    child.join(20)
    assert read(cuda, start + 100, 5) == b"there"


def test_a_retained_handle_is_released_once_more(cuda):
    """The memory lives until each reference, the handle's own and the retained one, is released."""
    before, handle = info(cuda)[1], physical(cuda)[1]
    start = mapped(cuda, handle)
    place = ffi.cast("void *", start + 1)
    assert cuda.number("cuMemRetainAllocationHandle", "CUmemGenericAllocationHandle", place) == (SUCCESS, handle)
    assert [cuda.cuMemRelease(handle), cuda.cuMemUnmap(start, GRAIN)] == [SUCCESS] * 2
    assert free(cuda) == before - GRAIN
    assert [cuda.cuMemRelease(handle), cuda.cuMemRelease(handle), free(cuda)] == [SUCCESS, INVALID_VALUE, before]


@pytest.mark.vgpu(host={"gpu": [{}, {}]})
def test_access_is_of_a_device(cuda):
    """What one device may do, another may not: access is asked for and checked by device."""
    start = mapped(cuda, physical(cuda)[1])
    out, place = ffi.new("unsigned long long *"), ffi.new("CUmemLocation *", {"type": 1})
    rights = []
    for place.id in (0, 1, 2):
        rights.append((cuda.cuMemGetAccess(out, place, start), out[0]))
    assert rights == [(SUCCESS, 3), (SUCCESS, 0), (101, 0)]
    cuda.cuCtxCreate_v2(ffi.new("CUcontext *"), 0, 1)
    assert write(cuda, start, b"x") == INVALID_VALUE
    assert cuda.cuMemSetAccess(start, GRAIN, access(dev=1), 1) == SUCCESS
    assert write(cuda, start, b"x") == SUCCESS


def number(cuda, size: int) -> int:
    """cuMemAlloc: the code."""
    return int(cuda.number("cuMemAlloc_v2", "CUdeviceptr", size)[0])


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
        assert [physical(cuda, 2 * GRAIN)[0], number(cuda, GRAIN + 1), number(cuda, GRAIN)] == [
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
        out = ffi.new("CUcontext *")
        cuda.cuCtxGetCurrent(out)
        context = out[0]
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

    def reserved(addresses: list[int]) -> int:
        with pathlib.Path("/proc/self/maps").open() as maps:
            places = [line.split()[0].split("-") for line in maps if " ---p " in line]
        spans = [(int(start, 16), int(end, 16)) for start, end in places]
        return sum(any(start <= address < end for start, end in spans) for address in addresses)

    assert lib.VGPU_CUDA_GRANULARITY == GRAIN
    with Cuda(vgpu_image) as cuda:
        cuda.cuInit(0)
        ranges = [reserve(cuda, GRAIN)[1] for _ in range(8)]
        handle = physical(cuda)[1]
        assert [cuda.cuMemMap(start, GRAIN, 0, handle, 0) for start in ranges] == [SUCCESS] * 8
        assert reserved(ranges) == 8
    assert reserved(ranges) == 0


def test_a_descriptor_that_the_program_has_closed(cuda):
    """What has taken the number of a closed descriptor is neither handed out nor closed: sharing is an error."""
    handle = shareable(cuda)
    code, given = cuda.number("cuMemExportToShareableHandle", "int", handle, FILE, 0)
    assert code == SUCCESS
    inode = os.fstat(given).st_ino
    links = [link for link in Path("/proc/self/fd").iterdir() if link.exists() and link.name != str(given)]
    own = [int(link.name) for link in links if link.stat().st_ino == inode]
    assert len(own) == 1
    other = os.open(os.devnull, os.O_RDONLY)
    os.dup2(other, own[0])
    assert cuda.number("cuMemExportToShareableHandle", "int", handle, FILE, 0)[0] == OUT_OF_MEMORY
    assert cuda.cuMemRelease(handle) == SUCCESS
    assert os.fstat(own[0]).st_rdev == os.fstat(other).st_rdev
    for name in (own[0], other, given):
        os.close(name)
