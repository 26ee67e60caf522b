"""Contents of device memory: that they arrive, what they cost the host, and how they are bounded."""

import mmap
import multiprocessing
import os
import random
from pathlib import Path

import pytest
from support.memory import GIB, INVALID_VALUE, KIB, MIB, OUT_OF_MEMORY, SUCCESS, allocate, little, read, write

from vgpu_harness._wire import ffi
from vgpu_harness.shims.inprocess import Cuda
from vgpu_harness.trace import Kind, Trace, create_trace

INVALID_CONTEXT, MAP_FAILED, NOT_FOUND = 201, 205, 500
GRANULE = 64 * KIB


@pytest.fixture
def cuda(vgpu_image: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """The driver with a context; ``last()`` is the record of its last call."""
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    path = create_trace(tmp_path / "trace", 1 << 16)
    with Cuda(vgpu_image, trace=path) as driver:
        assert driver.cuInit(0) == SUCCESS
        assert driver.cuCtxCreate_v2(ffi.new("CUcontext *"), 0, 0) == SUCCESS
        driver.last = lambda: [record for record in Trace.open(path) if record.kind == Kind.CALL][-1]
        yield driver


def resident() -> int:
    """Bytes of memory that this process has."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def test_64_mib_go_up_across_and_down(cuda):
    """Every byte of 64 MiB is what it was after HtoD, DtoD and DtoH."""
    size = 64 * MIB
    content = random.Random(4711).randbytes(MIB) * 64
    first, second = allocate(cuda, size), allocate(cuda, size)
    assert write(cuda, first, content) == SUCCESS
    assert cuda.cuMemcpyDtoD_v2(second, first, size) == SUCCESS
    room = bytearray(size)
    assert cuda.cuMemcpyDtoH_v2(ffi.from_buffer(room), second, size) == SUCCESS
    assert room == content


def test_memory_that_nobody_wrote_is_zeros_and_costs_nothing(cuda):
    """70 GiB are allocated, filled with zeros, copied elsewhere and read, for next to no memory of the host."""
    before = resident()
    first, second = allocate(cuda, 70 * GIB), allocate(cuda, 4 * GIB)
    assert cuda.cuMemsetD8_v2(first, 0, 70 * GIB) == SUCCESS
    assert cuda.cuMemcpyDtoD_v2(second, first + GIB, 4 * GIB) == SUCCESS
    assert read(cuda, first + 69 * GIB - 3, 10 * KIB) == bytes(10 * KIB)
    assert write(cuda, first + 35 * GIB, b"x") == SUCCESS
    assert cuda.cuMemcpyDtoD_v2(second, first + 34 * GIB, 3 * GIB) == SUCCESS
    assert read(cuda, second + GIB - 1, 3) == b"\0x\0"
    assert resident() - before < 32 * MIB


@little
class TestBacking:
    def test_what_is_written_is_bounded(self, cuda):
        """1 MiB is written in granules of 64 KiB; one more is out of memory, and the record says why."""
        address = allocate(cuda, GIB)
        for i in range(16):
            assert write(cuda, address + i * MIB, b"!") == SUCCESS
        assert write(cuda, address + 16 * MIB, b"!") == OUT_OF_MEMORY
        assert cuda.last().text == "memory.backing of the host file is used up"
        assert cuda.cuMemsetD32_v2(address + 32 * MIB, 7, 1) == OUT_OF_MEMORY
        assert write(cuda, address + 3 * MIB + GRANULE - 5, b"again") == SUCCESS
        assert read(cuda, address + 16 * MIB, 3) == bytes(3)

    def test_what_is_freed_can_be_written_again(self, cuda):
        """Freeing an allocation, and ending its context, give its granules back."""
        for _ in range(3):
            address = allocate(cuda, 16 * GRANULE)
            assert write(cuda, address, b"a" * 16 * GRANULE) == SUCCESS
            assert write(cuda, allocate(cuda, 1), b"b") == OUT_OF_MEMORY
            assert cuda.cuMemFree_v2(address) == SUCCESS
        context = ffi.new("CUcontext *")
        for _ in range(3):
            cuda.cuCtxCreate_v2(context, 0, 0)
            assert write(cuda, allocate(cuda, MIB), b"c" * MIB) == SUCCESS
            cuda.cuCtxDestroy_v2(context[0])

    def test_small_allocations_count_what_they_take(self, cuda):
        """256 allocations of a few bytes take a page each, not a granule each."""
        addresses = [allocate(cuda, 100) for _ in range(257)]
        assert [write(cuda, address, b"s") for address in addresses] == [SUCCESS] * 256 + [OUT_OF_MEMORY]

    def test_managed_memory_counts_at_once(self, cuda):
        """The program writes to it unseen: more than there is left is refused when it is allocated."""
        assert cuda.number("cuMemAllocManaged", "CUdeviceptr", MIB + 1, 1)[0] == OUT_OF_MEMORY
        assert cuda.last().text == "memory.backing of the host file is used up"
        code, address = cuda.number("cuMemAllocManaged", "CUdeviceptr", MIB, 1)
        assert (code, write(cuda, allocate(cuda, 1), b"x")) == (SUCCESS, OUT_OF_MEMORY)
        assert [cuda.cuMemFree_v2(address), write(cuda, allocate(cuda, 1), b"x")] == [SUCCESS, SUCCESS]

    def test_host_memory_does_not_count(self, cuda):
        """A program would take it with a real device, too."""
        pointer = ffi.new("void **")
        assert cuda.cuMemHostAlloc(pointer, 4 * MIB, 0) == SUCCESS
        assert cuda.cuMemsetD8_v2(int(ffi.cast("uintptr_t", pointer[0])), 1, 4 * MIB) == SUCCESS
        assert write(cuda, allocate(cuda, MIB), b"x" * MIB) == SUCCESS

    def test_the_contents_of_arrays_and_mappings_count(self, cuda):
        """What is copied into an array is bounded as any other memory; an array that is destroyed gives it back."""
        shape = ffi.new("CUDA_ARRAY3D_DESCRIPTOR *", {"Width": MIB // 16, "Height": 0, "Format": 1, "NumChannels": 1})
        shape.Height, handle = 17, ffi.new("CUarray *")
        assert cuda.cuArray3DCreate_v2(handle, shape) == SUCCESS
        source = allocate(cuda, MIB // 16)
        assert cuda.cuMemsetD8_v2(source, 5, MIB // 16) == SUCCESS
        way = ffi.new("CUDA_MEMCPY2D *", {"srcMemoryType": 2, "srcDevice": source, "dstMemoryType": 3})
        way.dstArray, way.WidthInBytes, way.Height = handle[0], MIB // 16, 1
        codes = []
        for way.dstY in range(16):
            codes.append(cuda.cuMemcpy2D_v2(way))
        assert codes == [SUCCESS] * 15 + [OUT_OF_MEMORY]
        assert [cuda.cuArrayDestroy(handle[0]), write(cuda, allocate(cuda, MIB // 2), b"n" * (MIB // 2))] == [0, 0]


class TestRanges:
    def test_neighbouring_allocations_are_not_one(self, cuda):
        """Copies and fills over the end of one allocation into the next are refused, in every direction."""
        first, second = allocate(cuda, 512), allocate(cuda, 512)
        assert second == first + 512
        room = ffi.new("char[1024]")
        other = allocate(cuda, 4096)
        assert {
            cuda.cuMemcpyDtoH_v2(room, first + 256, 512),
            cuda.cuMemcpyHtoD_v2(first + 256, room, 512),
            cuda.cuMemcpyDtoD_v2(other, first, 513),
            cuda.cuMemcpyDtoD_v2(first, other, 513),
            cuda.cuMemsetD8_v2(first, 1, 513),
            cuda.cuMemcpyDtoH_v2(room, first, 2**64 - 1),
            cuda.cuMemsetD32_v2(first, 1, 2**62),
        } == {INVALID_VALUE}
        assert read(cuda, first, 512) + read(cuda, second, 512) == bytes(1024)

    def test_bad_host_memory_is_no_crash(self, cuda):
        """Addresses where the host has nothing, or only room to read, are an invalid value, however many bytes."""
        device = allocate(cuda, 4 * MIB)
        reserved = cuda.number("cuMemAddressReserve", "CUdeviceptr", 2 * MIB, 0, 0, 0)[1]
        for address in (1, 4096, (1 << 47) - 8, 1 << 48, 2**64 - 1, reserved):
            place = ffi.cast("void *", address)
            for size in (1, 8, 3 * MIB):
                assert cuda.cuMemcpyHtoD_v2(device, place, size) == INVALID_VALUE
                assert cuda.cuMemcpyDtoH_v2(place, device, size) == INVALID_VALUE
                assert cuda.cuMemcpy(address, device, size) == INVALID_VALUE
            assert cuda.cuMemsetD8_v2(address, 0, 1) == INVALID_VALUE
        with mmap.mmap(-1, 4096, prot=mmap.PROT_READ) as page:
            assert cuda.cuMemcpyHtoD_v2(device, ffi.from_buffer(page), 4096) == SUCCESS
            assert cuda.cuMemcpyDtoH_v2(ffi.from_buffer(page), device, 4096) == INVALID_VALUE

    def test_overlapping_copies_move(self, cuda):
        """Within one allocation bytes arrive as they were, forwards and backwards."""
        content = bytes(range(256)) * 1024
        for way in (1, -1):
            address = allocate(cuda, len(content) + 200)
            start = address + (0 if way == 1 else 100)
            write(cuda, start, content)
            assert cuda.cuMemcpyDtoD_v2(start + 100 * way, start, len(content)) == SUCCESS
            assert read(cuda, start + 100 * way, len(content)) == content

    def test_random_copies_agree_with_a_model(self, cuda):
        """Writes, copies, fills and frees in any order leave in each allocation what a list of bytearrays has."""
        dice = random.Random(20)
        sizes = [1, 511, 4096, GRANULE, GRANULE + 1, 5 * GRANULE - 3]
        model = [(allocate(cuda, size), bytearray(size)) for size in sizes]
        for _ in range(400):
            (to, target), (source, origin) = dice.choice(model), dice.choice(model)
            size = dice.randint(0, min(len(target), len(origin)))
            at, start = dice.randint(0, len(target) - size), dice.randint(0, len(origin) - size)
            if (action := dice.randrange(3)) == 0:
                content = dice.randbytes(size)
                assert write(cuda, to + at, content) == SUCCESS
                target[at : at + size] = content
            elif action == 1:
                assert cuda.cuMemcpyDtoD_v2(to + at, source + start, size) == SUCCESS
                target[at : at + size] = bytes(origin[start : start + size])
            else:
                value = dice.choice([0, 7])
                assert cuda.cuMemsetD8_v2(to + at, value, size) == SUCCESS
                target[at : at + size] = bytes([value]) * size
        assert all(read(cuda, address, len(content)) == content for address, content in model)

    def test_host_memory_is_copied_to_host_memory(self, cuda):
        """cuMemcpy copies between any two addresses of the process."""
        source, target = ffi.new("char[]", b"unified"), ffi.new("char[7]")
        places = [int(ffi.cast("uintptr_t", memory)) for memory in (target, source)]
        assert (cuda.cuMemcpy(*places, 7), bytes(ffi.buffer(target))) == (SUCCESS, b"unified")

    def test_what_is_copied_ends_with_its_context(self, cuda):
        """Memory of a destroyed context is gone, and an address of it is an invalid value."""
        context = ffi.new("CUcontext *")
        cuda.cuCtxCreate_v2(context, 0, 0)
        address = allocate(cuda, 64)
        assert [write(cuda, address, b"x"), cuda.cuCtxDestroy_v2(context[0])] == [SUCCESS, SUCCESS]
        assert write(cuda, address, b"x") == INVALID_VALUE


def test_ten_thousand_allocations_are_found(cuda):
    """Each of many allocations keeps its own contents, whichever are freed in between."""
    addresses = [allocate(cuda, 64) for _ in range(10_000)]
    for i, address in enumerate(addresses[::100]):
        assert write(cuda, address + 60, i.to_bytes(4, "little")) == SUCCESS
    assert {cuda.cuMemFree_v2(address) for address in addresses[1::2]} == {SUCCESS}
    assert [int.from_bytes(read(cuda, address + 60, 4), "little") for address in addresses[::100]] == [*range(100)]
    base, size = ffi.new("CUdeviceptr *"), ffi.new("size_t *")
    for kept, freed in zip(addresses[9_000:9_100:2], addresses[9_001:9_100:2], strict=True):
        assert cuda.cuMemGetAddressRange_v2(base, size, freed) == NOT_FOUND
        assert (cuda.cuMemGetAddressRange_v2(base, size, kept + 5), base[0], size[0]) == (SUCCESS, kept, 64)


@pytest.mark.parametrize(("suffix", "stream"), [("_v2_ptds", ()), ("Async_v2_ptsz", (ffi.NULL,))])
def test_the_forms_of_a_thread_copy_too(suffix, stream, cuda):
    """Entry points for a thread's own default stream do what those for all threads' do."""
    first, second, room = allocate(cuda, 100), allocate(cuda, 100), ffi.new("char[3]")
    codes = [
        getattr(cuda, f"cuMemcpyHtoD{suffix}")(first + 7, ffi.from_buffer(b"abc"), 3, *stream),
        getattr(cuda, f"cuMemcpyDtoD{suffix}")(second, first + 7, 3, *stream),
        getattr(cuda, f"cuMemcpyDtoH{suffix}")(room, second, 3, *stream),
    ]
    assert (codes, bytes(ffi.buffer(room))) == ([SUCCESS] * 3, b"abc")


def _opens(image: Path, handle: bytes, pipe) -> None:
    """In another process: opens a handle, tells what is there, and writes to it."""
    with Cuda(image) as cuda:
        cuda.cuInit(0)
        cuda.cuCtxCreate_v2(ffi.new("CUcontext *"), 0, 0)
        box = ffi.new("CUipcMemHandle *")
        ffi.memmove(box, handle, len(handle))
        codes, addresses = zip(
            *(cuda.number("cuIpcOpenMemHandle_v2", "CUdeviceptr", box[0], 1) for _ in range(2)), strict=True
        )
        content = read(cuda, addresses[0], 5000) if codes[0] == SUCCESS else b""
        changed = write(cuda, addresses[0] + 4990, b"from there")
        outside = write(cuda, addresses[0] + 4991, b"from there")
        closed = [cuda.cuIpcCloseMemHandle(addresses[0]) for _ in range(3)]
        pipe.send((codes, addresses[0] == addresses[1], content, changed, outside, closed))


class TestSharedMemory:
    def handle(self, cuda, address: int) -> bytes:
        """cuIpcGetMemHandle: the handle."""
        box = ffi.new("CUipcMemHandle *")
        assert cuda.cuIpcGetMemHandle(box, address) == SUCCESS
        return bytes(ffi.buffer(box))

    def test_another_process_sees_the_same_bytes(self, cuda, vgpu_image):
        """A handle opens in another process, twice as one address; each sees what the other writes."""
        address = allocate(cuda, 5000)
        write(cuda, address, b"from here")
        handle = self.handle(cuda, address)
        write(cuda, address + 3000, b"later")
        ours, theirs = multiprocessing.Pipe()
        child = multiprocessing.get_context("fork").Process(target=_opens, args=(vgpu_image, handle, theirs))
        child.start()
        assert ours.poll(20)
        codes, same, content, changed, outside, closed = ours.recv()
        child.join(20)
        assert (codes, same, changed, outside, closed) == ((0, 0), True, 0, INVALID_VALUE, [0, 0, INVALID_VALUE])
        assert (content[:9], content[3000:3005]) == (b"from here", b"later")
        assert read(cuda, address + 4990, 10) == b"from there"

    def test_handles_are_checked(self, cuda):
        """Not in the process that made it, not without the flag; two allocations have two handles."""
        address = allocate(cuda, 100)
        box = ffi.new("CUipcMemHandle *")
        ffi.memmove(box, self.handle(cuda, address), 64)
        assert cuda.number("cuIpcOpenMemHandle", "CUdeviceptr", box[0], 1) == (INVALID_CONTEXT, 0)
        assert cuda.number("cuIpcOpenMemHandle_v2", "CUdeviceptr", box[0], 0) == (INVALID_VALUE, 0)
        assert cuda.cuIpcCloseMemHandle(address) == INVALID_VALUE
        assert cuda.cuIpcGetMemHandle(box, 64) == INVALID_VALUE
        assert self.handle(cuda, address) != self.handle(cuda, allocate(cuda, 100))
        nothing = ffi.new("CUipcMemHandle *")
        assert cuda.number("cuIpcOpenMemHandle_v2", "CUdeviceptr", nothing[0], 1) == (INVALID_VALUE, 0)

    def test_a_handle_of_freed_memory_opens_nothing(self, cuda, vgpu_image):
        """Its descriptor is closed with the allocation, so the other process cannot map it."""
        address = allocate(cuda, 5000)
        handle = self.handle(cuda, address)
        assert cuda.cuMemFree_v2(address) == SUCCESS
        ours, theirs = multiprocessing.Pipe()
        child = multiprocessing.get_context("fork").Process(target=_opens, args=(vgpu_image, handle, theirs))
        child.start()
        assert ours.poll(20)
        assert ours.recv()[0] == (MAP_FAILED, MAP_FAILED)
        child.join(20)


def test_zeros_in_rows(cuda):
    """A fill of rows with zeros leaves what lies between them, written or not, and knows no slow size."""
    numbers, size, pitch, width = random.Random(7), 4 * MIB, 768, 500
    address, wanted = allocate(cuda, size), bytearray(size)
    for _ in range(12):
        at = numbers.randrange(size - 70_000)
        content = numbers.randbytes(numbers.randrange(1, 70_000))
        assert write(cuda, address + at, content) == SUCCESS
        wanted[at : at + len(content)] = content
    rows = (size - 512) // pitch
    assert cuda.cuMemsetD2D8_v2(address + 100, pitch, 0, width, rows) == SUCCESS
    for i in range(rows):
        wanted[100 + i * pitch : 100 + i * pitch + width] = bytes(width)
    assert read(cuda, address, size) == wanted
    huge = allocate(cuda, 32 * GIB)
    assert write(cuda, huge + 16 * GIB, b"xy") == SUCCESS
    assert cuda.cuMemsetD2D8_v2(huge, 512, 0, 1, 32 * GIB // 512) == SUCCESS
    assert read(cuda, huge + 16 * GIB, 2) == b"\0y"


def test_the_height_of_a_single_slice(cuda):
    """It does not matter, however large it is (cuda.h: for slices alone)."""
    address, back = allocate(cuda, 4096), ffi.new("unsigned char[64]")
    assert write(cuda, address, bytes(range(128))) == SUCCESS
    copy = ffi.new(
        "CUDA_MEMCPY3D *",
        {"srcMemoryType": 2, "srcDevice": address, "srcPitch": 64, "srcHeight": 2**63, "dstMemoryType": 1,
         "dstHost": back, "dstPitch": 32, "dstHeight": 2**63, "WidthInBytes": 32, "Height": 2, "Depth": 1},
    )  # fmt: skip
    assert cuda.cuMemcpy3D_v2(copy) == SUCCESS
    assert bytes(back) == bytes([*range(32), *range(64, 96)])
