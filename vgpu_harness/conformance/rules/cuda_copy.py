"""Copies and fills: in all directions, of rows and slices, one after another and many at once."""

from collections.abc import Callable, Mapping
from typing import Any

from vgpu_harness.conformance.rule import Cuda, rule
from vgpu_harness.conformance.rules.cuda_memory import allocate, read, write

INVALID_VALUE, INVALID_HANDLE = 1, 400
HOST, DEVICE, ARRAY, UNIFIED = 1, 2, 3, 4  # CUmemorytype
SIZE = 200_000
PATTERN = bytes(range(256)) * (SIZE // 256 + 1)


def pattern(shift: int = 0, size: int = SIZE) -> bytes:
    """Bytes, each shift other ones."""
    return PATTERN[shift : shift + size]


def content(cuda: Cuda, room: Any) -> bytes:
    """The bytes of an output."""
    return bytes(cuda.ffi.buffer(room))


@rule(
    "cuMemcpyHtoD_v2", "cuMemcpyDtoH_v2", "cuMemcpyDtoD_v2", "cuMemcpy", "cuMemcpyHtoDAsync_v2", "cuMemcpyDtoHAsync_v2",
    "cuMemcpyDtoDAsync_v2", "cuMemcpyAsync", source="cuda.h 13.5, cuMemcpy and its like", gpu=True,
)  # fmt: skip
def bytes_arrive_in_all_directions(cuda: Cuda) -> None:
    """What goes to the device, from there to another place of it, and back is what it was; neighbours stay."""
    cuda.context()
    for shift, (up, across, down, stream) in enumerate(
        (
            ("cuMemcpyHtoD_v2", "cuMemcpyDtoD_v2", "cuMemcpyDtoH_v2", ()),
            ("cuMemcpyHtoDAsync_v2", "cuMemcpyDtoDAsync_v2", "cuMemcpyDtoHAsync_v2", (None,)),
            ("cuMemcpy", "cuMemcpy", "cuMemcpy", ()),
            ("cuMemcpyAsync", "cuMemcpyAsync", "cuMemcpyAsync", (None,)),
        )
    ):
        first, second = allocate(cuda, SIZE + 2), allocate(cuda, SIZE)
        source, target = cuda.out("char", SIZE), cuda.out("char", SIZE)
        cuda.ffi.memmove(source, pattern(shift), SIZE)
        unified = up in {"cuMemcpy", "cuMemcpyAsync"}
        here, there = (
            (int(cuda.ffi.cast("uintptr_t", source)), int(cuda.ffi.cast("uintptr_t", target)))
            if unified
            else (source, target)
        )
        write(cuda, first, b"<" * (SIZE + 2))
        cuda.ok(up, first + 1, here, SIZE, *stream)
        cuda.ok(across, second, first + 1, SIZE, *stream)
        cuda.ok(down, there, second, SIZE, *stream)
        cuda.ok("cuCtxSynchronize")
        cuda.check(content(cuda, target) == pattern(shift), f"{up}, {across}, {down} leave the bytes as they were")
        cuda.equal((read(cuda, first, 1), read(cuda, first + SIZE + 1, 1)), (b"<", b"<"), "the neighbours")


@rule(
    "cuMemcpyHtoD", "cuMemcpyDtoH", "cuMemcpyDtoD", "cuMemcpyHtoDAsync", "cuMemcpyDtoHAsync", "cuMemcpyDtoDAsync",
    source="cuda.h 13.5, the forms from before CUDA 3.2", gpu=True,
)  # fmt: skip
def bytes_arrive_below_4_gib(cuda: Cuda) -> None:
    """The forms for 32-bit addresses copy as the newer ones do."""
    cuda.context()
    for shift, (suffix, stream) in enumerate((("", ()), ("Async", (None,)))):
        first, second = (allocate(cuda, 1000, "cuMemAlloc", "CUdeviceptr_v1") for _ in range(2))
        target = cuda.out("char", 1000)
        cuda.ok(f"cuMemcpyHtoD{suffix}", first, pattern(shift, 1000), 1000, *stream)
        cuda.ok(f"cuMemcpyDtoD{suffix}", second, first, 1000, *stream)
        cuda.ok(f"cuMemcpyDtoH{suffix}", target, second, 1000, *stream)
        cuda.ok("cuCtxSynchronize")
        cuda.check(content(cuda, target) == pattern(shift, 1000), "the bytes are as they were")


@rule("cuMemcpyHtoD_v2", "cuMemcpyDtoH_v2", source="cuda.h 13.5: CUDA_ERROR_INVALID_VALUE", gpu=True)
def copies_stay_within_an_allocation(cuda: Cuda) -> None:
    """A copy past the end of an allocation, to what was freed, or from NULL is INVALID_VALUE; nothing is copied."""
    cuda.context()
    address = allocate(cuda, 4096)
    write(cuda, address, pattern(0, 4096))
    room = cuda.out("char", 5000)
    cuda.expect(INVALID_VALUE, "cuMemcpyDtoH_v2", None, address, 1)
    cuda.expect(INVALID_VALUE, "cuMemcpyHtoD_v2", address, None, 1)
    cuda.ok("cuMemcpyHtoD_v2", address, pattern(1), 0)
    if cuda.host is not None:
        # NVIDIA's allocations are larger than what was asked for.
        cuda.expect(INVALID_VALUE, "cuMemcpyDtoH_v2", room, address, 4097)
        cuda.expect(INVALID_VALUE, "cuMemcpyHtoD_v2", address + 4095, b"ab", 2)
    cuda.untouched(room)
    cuda.check(read(cuda, address, 4096) == pattern(0, 4096), "the contents are as they were")
    cuda.ok("cuMemFree_v2", address)
    cuda.expect(INVALID_VALUE, "cuMemcpyDtoH_v2", room, address, 1)
    cuda.untouched(room)


@rule("cuMemcpyPeer", "cuMemcpyPeerAsync", source="cuda.h 13.5, cuMemcpyPeer", gpu=True)
def bytes_arrive_from_context_to_context(cuda: Cuda) -> None:
    """cuMemcpyPeer copies between memory of two contexts, be they one."""
    context = cuda.context()
    for shift, (name, stream) in enumerate((("cuMemcpyPeer", ()), ("cuMemcpyPeerAsync", (None,)))):
        first, second = allocate(cuda, 5000), allocate(cuda, 5000)
        write(cuda, first, pattern(shift, 5000))
        cuda.ok(name, second, context, first, context, 5000, *stream)
        cuda.ok("cuCtxSynchronize")
        cuda.check(read(cuda, second, 5000) == pattern(shift, 5000), f"{name} copies")


def _way(cuda: Cuda, kind: str, first: int, second: int, **more: Any) -> Any:
    """Rows of 30 bytes, 4 of them, from byte 10, row 1 of rows of 64 bytes to byte 5, row 2 of rows of 128."""
    return cuda.struct(
        kind,
        srcMemoryType=DEVICE,
        srcDevice=first,
        srcXInBytes=10,
        srcY=1,
        srcPitch=64,
        dstMemoryType=UNIFIED,
        dstDevice=second,
        dstXInBytes=5,
        dstY=2,
        dstPitch=128,
        WidthInBytes=30,
        Height=4,
        **more,
    )


def _expected(slices: int = 1) -> bytes:
    """What `_way` makes of 8 rows of 128 bytes of zeros, for each slice."""
    rows = bytearray(slices * 8 * 128)
    for z in range(slices):
        for y in range(4):
            start = (z * 8 + y + 2) * 128 + 5
            rows[start : start + 30] = pattern()[z * 8 * 64 + (y + 1) * 64 + 10 :][:30]
    return bytes(rows)


def _rows_arrive(
    cuda: Cuda,
    names: tuple[str, ...],
    kind: str,
    slices: int = 1,
    more: Mapping[str, Any] | None = None,
    *,
    low: bool = False,
) -> None:
    cuda.context()
    options = ("cuMemAlloc", "CUdeviceptr_v1") if low else ("cuMemAlloc_v2", "CUdeviceptr")
    first, second = allocate(cuda, slices * 8 * 64, *options), allocate(cuda, slices * 8 * 128, *options)
    write(cuda, first, pattern(0, slices * 8 * 64))
    for name in names:
        cuda.ok("cuMemsetD8_v2", second, 0, slices * 8 * 128)
        way = _way(cuda, kind, first, second, **more or {})
        cuda.ok(name, way, *([None] if "Async" in name else []))
        cuda.ok("cuCtxSynchronize")
        cuda.check(read(cuda, second, slices * 8 * 128) == _expected(slices), f"{name} copies the rows, and only them")
        way[0].dstPitch = 34
        cuda.expect(INVALID_VALUE, name, way, *([None] if "Async" in name else []))
        way[0].dstPitch, way[0].srcMemoryType = 128, 9
        cuda.expect(INVALID_VALUE, name, way, *([None] if "Async" in name else []))
        cuda.expect(INVALID_VALUE, name, None, *([None] if "Async" in name else []))


@rule(
    "cuMemcpy2D_v2", "cuMemcpy2DUnaligned_v2", "cuMemcpy2DAsync_v2", source="cuda.h 13.5, cuMemcpy2D", gpu=True,
)  # fmt: skip
def rows_arrive(cuda: Cuda) -> None:
    """Rows go from one pitch to another, from and to the bytes and rows that were said; a pitch must hold a row."""
    _rows_arrive(
        cuda, ("cuMemcpy2D_v2", "cuMemcpy2DUnaligned_v2", "cuMemcpy2DAsync_v2"), "CUDA_MEMCPY2D"
    )  # fmt: skip


@rule(
    "cuMemcpy2D", "cuMemcpy2DUnaligned", "cuMemcpy2DAsync", source="cuda.h 13.5, the forms from before CUDA 3.2",
    gpu=True,
)  # fmt: skip
def rows_arrive_below_4_gib(cuda: Cuda) -> None:
    """The forms for 32-bit addresses copy rows as the newer ones do."""
    _rows_arrive(cuda, ("cuMemcpy2D", "cuMemcpy2DUnaligned", "cuMemcpy2DAsync"), "CUDA_MEMCPY2D_v1", low=True)


@rule("cuMemcpy3D_v2", "cuMemcpy3DAsync_v2", source="cuda.h 13.5, cuMemcpy3D", gpu=True)
def slices_arrive(cuda: Cuda) -> None:
    """Slices go from one height and pitch to another."""
    more = {"Depth": 3, "srcHeight": 8, "dstHeight": 8}
    _rows_arrive(cuda, ("cuMemcpy3D_v2", "cuMemcpy3DAsync_v2"), "CUDA_MEMCPY3D", 3, more)


@rule("cuMemcpy3D", "cuMemcpy3DAsync", source="cuda.h 13.5, the forms from before CUDA 3.2", gpu=True)
def slices_arrive_below_4_gib(cuda: Cuda) -> None:
    """The forms for 32-bit addresses copy slices as the newer ones do."""
    more = {"Depth": 3, "srcHeight": 8, "dstHeight": 8}
    _rows_arrive(cuda, ("cuMemcpy3D", "cuMemcpy3DAsync"), "CUDA_MEMCPY3D_v1", 3, more, low=True)


@rule("cuMemcpy3DPeer", "cuMemcpy3DPeerAsync", source="cuda.h 13.5, cuMemcpy3DPeer", gpu=True)
def slices_arrive_from_context_to_context(cuda: Cuda) -> None:
    """cuMemcpy3DPeer copies slices between memory of two contexts, be they one."""
    context = cuda.context()
    more = {"Depth": 3, "srcHeight": 8, "dstHeight": 8, "srcContext": context, "dstContext": context}
    _rows_arrive(cuda, ("cuMemcpy3DPeer", "cuMemcpy3DPeerAsync"), "CUDA_MEMCPY3D_PEER", 3, more)


def _fills(cuda: Cuda, ask: Callable[[int, int, int], list[tuple[Any, ...]]], *, low: bool = False) -> None:
    """Each of the calls that `ask` answers for a width in bits, an address and rows must fill as it should."""
    cuda.context()
    options = ("cuMemAlloc", "CUdeviceptr_v1") if low else ("cuMemAlloc_v2", "CUdeviceptr")
    for bits, value in ((8, 0xA1), (16, 0xB1B2), (32, 0xC1C2C3C4)):
        size = bits // 8
        address = allocate(cuda, 4096, *options)
        for name, flat, *arguments in ask(bits, address, value):
            write(cuda, address, b"\x11" * 4096)
            cuda.ok(name, *arguments)
            cuda.ok("cuCtxSynchronize")
            row = value.to_bytes(size, "little") * 10
            wanted = bytearray(b"\x11" * 4096)
            for y in range(1 if flat else 3):
                wanted[64 + y * 96 : 64 + y * 96 + len(row)] = row
            cuda.check(read(cuda, address, 4096) == bytes(wanted), f"{name} fills, and only what it should")
            if size > 1:
                cuda.expect(INVALID_VALUE, name, arguments[0] + 1, *arguments[1:])


@rule(
    "cuMemsetD8_v2", "cuMemsetD16_v2", "cuMemsetD32_v2", "cuMemsetD2D8_v2", "cuMemsetD2D16_v2", "cuMemsetD2D32_v2",
    source="cuda.h 13.5, cuMemsetD8 and its like", gpu=True,
)  # fmt: skip
def memory_is_filled(cuda: Cuda) -> None:
    """Elements of 8, 16, 32 bits, in one run or in rows; an address must be a multiple of the element."""
    _fills(
        cuda,
        lambda bits, address, value: [
            (f"cuMemsetD{bits}_v2", True, address + 64, value, 10),
            (f"cuMemsetD2D{bits}_v2", False, address + 64, 96, value, 10, 3),
        ],
    )


@rule(
    "cuMemsetD8Async", "cuMemsetD16Async", "cuMemsetD32Async", "cuMemsetD2D8Async", "cuMemsetD2D16Async",
    "cuMemsetD2D32Async", source="cuda.h 13.5, cuMemsetD8Async and its like", gpu=True,
)  # fmt: skip
def memory_is_filled_in_a_stream(cuda: Cuda) -> None:
    """The same in a stream; one that there is not is CUDA_ERROR_INVALID_HANDLE."""
    _fills(
        cuda,
        lambda bits, address, value: [
            (f"cuMemsetD{bits}Async", True, address + 64, value, 10, None),
            (f"cuMemsetD2D{bits}Async", False, address + 64, 96, value, 10, 3, None),
        ],
    )


@rule(
    "cuMemsetD8", "cuMemsetD16", "cuMemsetD32", "cuMemsetD2D8", "cuMemsetD2D16", "cuMemsetD2D32",
    source="cuda.h 13.5, the forms from before CUDA 3.2", gpu=True,
)  # fmt: skip
def memory_is_filled_below_4_gib(cuda: Cuda) -> None:
    """The forms for 32-bit addresses fill as the newer ones do."""
    _fills(
        cuda,
        lambda bits, address, value: [
            (f"cuMemsetD{bits}", True, address + 64, value, 10),
            (f"cuMemsetD2D{bits}", False, address + 64, 96, value, 10, 3),
        ],
        low=True,
    )


def _stream(cuda: Cuda) -> Any:
    stream = cuda.out("CUstream")
    cuda.ok("cuStreamCreate", stream, 1)
    return cuda.value(stream)


@rule(
    "cuMemcpyBatchAsync", "cuMemcpyBatchAsync_v2", "cuMemcpyWithAttributesAsync",
    source="cuda.h 13.5, cuMemcpyBatchAsync, cuMemcpyWithAttributesAsync", gpu=True,
)  # fmt: skip
def a_batch_arrives(cuda: Cuda) -> None:
    """All copies of a batch are done; one that cannot be refuses the batch, and attributes must fit it."""
    cuda.context()
    stream = _stream(cuda)
    first, second = allocate(cuda, 4096), allocate(cuda, 4096)
    write(cuda, first, pattern(0, 4096))
    to = cuda.ffi.new("CUdeviceptr[]", [second + 100, second + 3000])
    source = cuda.ffi.new("CUdeviceptr[]", [first, first + 2000])
    sizes, firsts = cuda.ffi.new("size_t[]", [500, 1000]), cuda.ffi.new("size_t[]", [0])
    attributes, failed = cuda.struct("CUmemcpyAttributes", srcAccessOrder=1), cuda.out("size_t")
    for name, more in (("cuMemcpyBatchAsync", (failed,)), ("cuMemcpyBatchAsync_v2", ())):
        cuda.ok("cuMemsetD8_v2", second, 0, 4096)
        cuda.ok(name, to, source, sizes, 2, attributes, firsts, 1, *more, stream)
        cuda.ok("cuStreamSynchronize", stream)
        got = read(cuda, second, 4096)
        cuda.check(got[100:600] == pattern(0, 500) and got[3000:4000] == pattern(2000, 1000), f"{name} copies both")
        cuda.check(not any(got[:100] + got[600:3000] + got[4000:]), f"{name} leaves the rest alone")
        cuda.expect(INVALID_VALUE, name, to, source, sizes, 2, attributes, firsts, 3, *more, stream)
        cuda.expect(INVALID_VALUE, name, to, source, sizes, 0, attributes, firsts, 1, *more, stream)
        cuda.expect(INVALID_VALUE, name, to, source, sizes, 2, attributes, firsts, 1, *more, None)
        source[1] = 0
        cuda.expect(INVALID_VALUE, name, to, source, sizes, 2, attributes, firsts, 1, *more, stream)
        source[1] = first + 2000
    cuda.equal(cuda.value(failed), 1, "the copy that cannot be done")
    cuda.ok("cuMemcpyWithAttributesAsync", second, first + 7, 50, attributes, stream)
    cuda.ok("cuStreamSynchronize", stream)
    cuda.check(read(cuda, second, 50) == pattern(7, 50), "cuMemcpyWithAttributesAsync copies")
    attributes[0].srcAccessOrder = 0
    cuda.expect(INVALID_VALUE, "cuMemcpyWithAttributesAsync", second, first, 50, attributes, stream)


@rule(
    "cuMemcpy3DBatchAsync", "cuMemcpy3DBatchAsync_v2", "cuMemcpy3DWithAttributesAsync",
    source="cuda.h 13.5, cuMemcpy3DBatchAsync", gpu=True,
)  # fmt: skip
def a_batch_of_slices_arrives(cuda: Cuda) -> None:
    """Slices of a batch arrive; a length of 0 stands for rows and layers without a gap."""
    cuda.context()
    stream = _stream(cuda)
    first, second = allocate(cuda, 4096), allocate(cuda, 4096)
    write(cuda, first, pattern(0, 4096))
    way = cuda.struct("CUDA_MEMCPY3D_BATCH_OP", srcAccessOrder=1)
    way[0].src.type = way[0].dst.type = 1
    way[0].src.op.ptr.ptr, way[0].src.op.ptr.rowLength, way[0].src.op.ptr.layerHeight = first, 50, 5
    way[0].dst.op.ptr.ptr = second
    way[0].extent.width, way[0].extent.height, way[0].extent.depth = 20, 3, 2
    wanted = b"".join(pattern((z * 5 + y) * 50, 20) for z in range(2) for y in range(3))
    failed = cuda.out("size_t")
    for name, arguments in (
        ("cuMemcpy3DBatchAsync", (1, way, failed, 0, stream)),
        ("cuMemcpy3DBatchAsync_v2", (1, way, 0, stream)),
        ("cuMemcpy3DWithAttributesAsync", (way, 0, stream)),
    ):
        cuda.ok("cuMemsetD8_v2", second, 0, 4096)
        cuda.ok(name, *arguments)
        cuda.ok("cuStreamSynchronize", stream)
        cuda.check(read(cuda, second, 121) == wanted + b"\0", f"{name} copies")
    way[0].extent.depth = 0
    cuda.expect(INVALID_VALUE, "cuMemcpy3DBatchAsync_v2", 1, way, 0, stream)
