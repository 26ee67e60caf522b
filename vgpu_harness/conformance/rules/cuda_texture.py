"""Arrays, mipmapped arrays, texture and surface objects."""

from typing import Any

from vgpu_harness.conformance.rule import Cuda, rule
from vgpu_harness.conformance.rules.cuda_memory import allocate, read, write

INVALID_VALUE, INVALID_CONTEXT, INVALID_HANDLE = 1, 201, 400
BYTE, FLOAT = 1, 0x20  # CUarray_format
LAYERED, SURFACE = 1, 2
HOST, DEVICE, ARRAY = 1, 2, 3  # CUmemorytype


def array(cuda: Cuda, width: int, height: int = 0, depth: int = 0, **more: int) -> Any:
    """An array of bytes, with more fields of its descriptor."""
    fields = {"Format": BYTE, "NumChannels": 1} | more
    shape = cuda.struct("CUDA_ARRAY3D_DESCRIPTOR", Width=width, Height=height, Depth=depth, **fields)
    handle = cuda.out("CUarray")
    cuda.ok("cuArray3DCreate_v2", handle, shape)
    return cuda.value(handle)


def rows(cuda: Cuda, of: Any, width: int, height: int, z: int = 0) -> bytes:
    """The bytes of rows of an array."""
    room = cuda.out("char", width * height)
    way = cuda.struct(
        "CUDA_MEMCPY3D", srcMemoryType=ARRAY, srcArray=of, srcZ=z, dstMemoryType=HOST, dstHost=room, dstPitch=width,
        dstHeight=height, WidthInBytes=width, Height=height, Depth=1,
    )  # fmt: skip
    cuda.ok("cuMemcpy3D_v2", way)
    return bytes(cuda.ffi.buffer(room))


@rule(
    "cuArrayCreate", "cuArrayCreate_v2", "cuArray3DCreate", "cuArray3DCreate_v2", "cuArrayGetDescriptor",
    "cuArrayGetDescriptor_v2", "cuArray3DGetDescriptor", "cuArray3DGetDescriptor_v2",
    source="cuda.h 13.5, cuArrayCreate, cuArray3DCreate, cuArrayGetDescriptor", gpu=True,
)  # fmt: skip
def an_array_is_as_it_was_described(cuda: Cuda) -> None:
    """Width, height, depth, format, channels and flags of a new array are those that it was made with."""
    cuda.context()
    for suffix, kind in (("", "_v1"), ("_v2", "")):
        flat = cuda.struct(f"CUDA_ARRAY_DESCRIPTOR{kind}", Width=64, Height=8, Format=FLOAT, NumChannels=4)
        handle, told = cuda.out("CUarray"), cuda.out(f"CUDA_ARRAY_DESCRIPTOR{kind}")
        cuda.ok(f"cuArrayCreate{suffix}", handle, flat)
        cuda.ok(f"cuArrayGetDescriptor{suffix}", told, cuda.value(handle))
        got = cuda.value(told)
        cuda.equal((got.Width, got.Height, got.Format, got.NumChannels), (64, 8, FLOAT, 4), "the description")
        fields = {"Width": 32, "Height": 16, "Depth": 4, "Format": BYTE, "NumChannels": 2, "Flags": LAYERED}
        solid = cuda.struct(f"CUDA_ARRAY3D_DESCRIPTOR{kind}", **fields)
        layered, whole = cuda.out("CUarray"), cuda.out(f"CUDA_ARRAY3D_DESCRIPTOR{kind}")
        cuda.ok(f"cuArray3DCreate{suffix}", layered, solid)
        cuda.ok(f"cuArray3DGetDescriptor{suffix}", whole, cuda.value(layered))
        cuda.equal({name: getattr(cuda.value(whole), name) for name in fields}, fields, "the description")
        for wrong in ({"NumChannels": 3}, {"Width": 0}, {"Format": 0}):
            for name, value in wrong.items():
                kept = getattr(flat[0], name)
                setattr(flat[0], name, value)
                cuda.expect(INVALID_VALUE, f"cuArrayCreate{suffix}", cuda.out("CUarray"), flat)
                setattr(flat[0], name, kept)


@rule("cuArrayDestroy", source="cuda.h 13.5, cuArrayDestroy", gpu=True)
def an_array_is_destroyed(cuda: Cuda) -> None:
    """cuArrayDestroy gives the array's memory back; NULL is no array."""
    cuda.context()
    unused, total = cuda.out("size_t"), cuda.out("size_t")
    cuda.ok("cuMemGetInfo_v2", unused, total)
    before = cuda.value(unused)
    made = array(cuda, 4096, 16384)
    cuda.ok("cuMemGetInfo_v2", unused, total)
    cuda.check(before - cuda.value(unused) >= 4096 * 16384, "an array takes memory")
    cuda.ok("cuArrayDestroy", made)
    cuda.ok("cuMemGetInfo_v2", unused, total)
    cuda.equal(cuda.value(unused), before, "free memory at the end")
    cuda.expect(INVALID_HANDLE, "cuArrayDestroy", None)


@rule(
    "cuArrayGetDescriptor_v2", "cuArray3DGetDescriptor_v2", "cuArrayGetPlane", "cuMipmappedArrayGetLevel",
    source="measured on 535.261.03: 400 for NULL at any time", gpu=False,
)  # fmt: skip
def no_array_is_an_invalid_handle(cuda: Cuda) -> None:
    """NULL for an array answers CUDA_ERROR_INVALID_HANDLE, initialised or not, and leaves the output alone."""
    flat, solid, level = cuda.out("CUDA_ARRAY_DESCRIPTOR"), cuda.out("CUDA_ARRAY3D_DESCRIPTOR"), cuda.out("CUarray")
    for arguments in (
        ("cuArrayGetDescriptor_v2", flat, None),
        ("cuArray3DGetDescriptor_v2", solid, None),
        ("cuArrayGetPlane", level, None, 0),
        ("cuMipmappedArrayGetLevel", level, None, 0),
    ):
        cuda.expect(INVALID_HANDLE, *arguments)
    for box in (flat, solid, level):
        cuda.untouched(box)


@rule(
    "cuMemcpyHtoA_v2", "cuMemcpyAtoH_v2", "cuMemcpyDtoA_v2", "cuMemcpyAtoD_v2", "cuMemcpyAtoA_v2",
    "cuMemcpyHtoAAsync_v2", "cuMemcpyAtoHAsync_v2", "cuMemcpyHtoA", "cuMemcpyAtoH", "cuMemcpyDtoA", "cuMemcpyAtoD",
    "cuMemcpyAtoA", "cuMemcpyHtoAAsync", "cuMemcpyAtoHAsync", source="cuda.h 13.5, cuMemcpyHtoA and its like", gpu=True,
)  # fmt: skip
def bytes_go_through_an_array(cuda: Cuda) -> None:
    """Bytes go into a row of an array at an offset, from array to array, and out again; not past its end."""
    cuda.context()
    for suffix, low in (("_v2", False), ("", True)):
        first, second = array(cuda, 256), array(cuda, 256)
        options = ("cuMemAlloc", "CUdeviceptr_v1") if low else ("cuMemAlloc_v2", "CUdeviceptr")
        at = allocate(cuda, 256, *options)
        room = cuda.out("char", 100)
        for put, get, stream in (("HtoA", "AtoH", ()), ("HtoAAsync", "AtoHAsync", (None,))):
            content = bytes(range(len(put), len(put) + 100))
            cuda.ok(f"cuMemcpy{put}{suffix}", first, 56, content, 100, *stream)
            cuda.ok(f"cuMemcpyAtoA{suffix}", second, 11, first, 56, 100)
            cuda.ok(f"cuMemcpy{get}{suffix}", room, second, 11, 100, *stream)
            cuda.ok("cuCtxSynchronize")
            cuda.equal(bytes(cuda.ffi.buffer(room)), content, "what came out of the array")
            cuda.ok(f"cuMemcpyAtoD{suffix}", at, second, 11, 100)
            cuda.equal(read(cuda, at, 100), content, "what came out of it to the device")
        write(cuda, at, b"d" * 256)
        cuda.ok(f"cuMemcpyDtoA{suffix}", second, 0, at, 256)
        cuda.ok(f"cuMemcpyAtoH{suffix}", room, second, 156, 100)
        cuda.equal(bytes(cuda.ffi.buffer(room)), b"d" * 100, "what came from the device")
        cuda.expect(INVALID_VALUE, f"cuMemcpyHtoA{suffix}", first, 200, b"x" * 57, 57)


@rule("cuMemcpy2D_v2", "cuMemcpy3D_v2", source="cuda.h 13.5, cuMemcpy2D, cuMemcpy3D: arrays", gpu=True)
def rows_go_through_an_array(cuda: Cuda) -> None:
    """Rows go into a part of an array, layers into one of its layers; the rest stays; not past its edges."""
    cuda.context()
    flat = array(cuda, 64, 8)
    content = bytes(range(200))
    source = cuda.out("char", 200)
    cuda.ffi.memmove(source, content, 200)
    way = cuda.struct(
        "CUDA_MEMCPY2D", srcMemoryType=HOST, srcHost=source, srcPitch=50, dstMemoryType=ARRAY, dstArray=flat, dstY=2,
        WidthInBytes=50, Height=4,
    )  # fmt: skip
    for start in (4, 5):
        way[0].dstXInBytes = start
        cuda.ok("cuMemcpy2D_v2", way)
        got = [rows(cuda, flat, 64, 8)[y * 64 + start :][:50] for y in range(2, 6)]
        cuda.equal(b"".join(got), content, "the rows")
    for field, value in (("dstXInBytes", 20), ("dstY", 5)):
        kept = getattr(way[0], field)
        setattr(way[0], field, value)
        cuda.expect(INVALID_VALUE, "cuMemcpy2D_v2", way)
        setattr(way[0], field, kept)
    layers = array(cuda, 10, 5, 3, Flags=LAYERED)
    way = cuda.struct(
        "CUDA_MEMCPY3D", srcMemoryType=HOST, srcHost=source, srcPitch=10, srcHeight=5, dstMemoryType=ARRAY,
        dstArray=layers, dstZ=1, WidthInBytes=10, Height=5, Depth=2,
    )  # fmt: skip
    cuda.ok("cuMemcpy3D_v2", way)
    cuda.equal([rows(cuda, layers, 10, 5, z) for z in (1, 2)], [content[:50], content[50:100]], "the layers")
    way[0].dstZ = 2
    cuda.expect(INVALID_VALUE, "cuMemcpy3D_v2", way)


@rule(
    "cuMipmappedArrayCreate", "cuMipmappedArrayGetLevel", "cuMipmappedArrayDestroy",
    source="cuda.h 13.5, cuMipmappedArrayCreate", gpu=True,
)  # fmt: skip
def levels_have_half_the_size(cuda: Cuda) -> None:
    """Each level of a mipmapped array has half the numbers of the one before; there are no more than were made."""
    cuda.context()
    unused, total = cuda.out("size_t"), cuda.out("size_t")
    cuda.ok("cuMemGetInfo_v2", unused, total)
    before = cuda.value(unused)
    shape = cuda.struct("CUDA_ARRAY3D_DESCRIPTOR", Width=4096, Height=2048, Format=FLOAT, NumChannels=1)
    mipmap, level = cuda.out("CUmipmappedArray"), cuda.out("CUarray")
    cuda.ok("cuMipmappedArrayCreate", mipmap, shape, 3)
    for i, size in enumerate(((4096, 2048), (2048, 1024), (1024, 512))):
        told = cuda.out("CUDA_ARRAY_DESCRIPTOR")
        cuda.ok("cuMipmappedArrayGetLevel", level, cuda.value(mipmap), i)
        cuda.ok("cuArrayGetDescriptor_v2", told, cuda.value(level))
        cuda.equal((cuda.value(told).Width, cuda.value(told).Height), size, f"the size of level {i}")
    cuda.expect(INVALID_VALUE, "cuMipmappedArrayGetLevel", level, cuda.value(mipmap), 3)
    cuda.ok("cuMipmappedArrayDestroy", cuda.value(mipmap))
    cuda.ok("cuMemGetInfo_v2", unused, total)
    cuda.equal(cuda.value(unused), before, "free memory at the end")
    cuda.expect(INVALID_VALUE, "cuMipmappedArrayCreate", mipmap, shape, 0)


def linear(cuda: Cuda) -> Any:
    """A resource: 4096 floats of device memory."""
    resource = cuda.struct("CUDA_RESOURCE_DESC", resType=2)
    resource[0].res.linear.devPtr = allocate(cuda, 16384)
    resource[0].res.linear.format, resource[0].res.linear.numChannels = FLOAT, 1
    resource[0].res.linear.sizeInBytes = 16384
    return resource


@rule(
    "cuTexObjectCreate", "cuTexObjectGetResourceDesc", "cuTexObjectGetTextureDesc",
    source="cuda.h 13.5, cuTexObjectCreate", gpu=True,
)  # fmt: skip
def a_texture_is_as_it_was_described(cuda: Cuda) -> None:
    """Resource and texture of a texture object are those that it was made with; memory must be there."""
    cuda.context()
    resource = linear(cuda)
    texture = cuda.struct("CUDA_TEXTURE_DESC", flags=2)
    texture[0].addressMode[0] = 1
    handle = cuda.out("CUtexObject")
    cuda.ok("cuTexObjectCreate", handle, resource, texture, None)
    of, how = cuda.out("CUDA_RESOURCE_DESC"), cuda.out("CUDA_TEXTURE_DESC")
    cuda.ok("cuTexObjectGetResourceDesc", of, cuda.value(handle))
    cuda.ok("cuTexObjectGetTextureDesc", how, cuda.value(handle))
    got = cuda.value(of)
    cuda.equal((got.resType, got.res.linear.devPtr), (2, resource[0].res.linear.devPtr), "the resource")
    cuda.equal((got.res.linear.sizeInBytes, got.res.linear.format), (16384, FLOAT), "the resource")
    cuda.equal((cuda.value(how).addressMode[0], how[0].flags), (1, 2), "the texture")
    cuda.expect(INVALID_VALUE, "cuTexObjectCreate", handle, resource, None, None)
    resource[0].res.linear.devPtr += 4
    cuda.expect(INVALID_VALUE, "cuTexObjectCreate", handle, resource, texture, None)


@rule(
    "cuTexObjectGetResourceViewDesc", "cuTexObjectDestroy", source="cuda.h 13.5, cuTexObjectGetResourceViewDesc",
    gpu=True,
)  # fmt: skip
def a_view_is_told_if_there_is_one(cuda: Cuda) -> None:
    """A texture object of an array may have a view, which is told; without one there is none to tell."""
    cuda.context()
    resource, texture = cuda.struct("CUDA_RESOURCE_DESC"), cuda.struct("CUDA_TEXTURE_DESC")
    resource[0].res.array.hArray = array(cuda, 64, 64, Format=FLOAT)
    view = cuda.struct("CUDA_RESOURCE_VIEW_DESC", format=0x16, width=64, height=64)
    with_view, without, told = cuda.out("CUtexObject"), cuda.out("CUtexObject"), cuda.out("CUDA_RESOURCE_VIEW_DESC")
    cuda.ok("cuTexObjectCreate", with_view, resource, texture, view)
    cuda.ok("cuTexObjectCreate", without, resource, texture, None)
    cuda.expect(INVALID_VALUE, "cuTexObjectGetResourceViewDesc", told, cuda.value(without))
    cuda.untouched(told)
    cuda.ok("cuTexObjectGetResourceViewDesc", told, cuda.value(with_view))
    cuda.equal((cuda.value(told).format, told[0].width), (0x16, 64), "the view")
    cuda.ok("cuTexObjectDestroy", cuda.value(with_view))
    if cuda.host is not None:
        # NVIDIA's library follows the handle of what is no longer there.
        cuda.expect(INVALID_VALUE, "cuTexObjectDestroy", cuda.value(with_view))


@rule(
    "cuSurfObjectCreate", "cuSurfObjectDestroy", "cuSurfObjectGetResourceDesc", source="cuda.h 13.5: surfaces",
    gpu=True,
)  # fmt: skip
def a_surface_is_of_an_array(cuda: Cuda) -> None:
    """A surface object is of an array that was made for it, which it tells; of memory it cannot be."""
    cuda.context()
    made = array(cuda, 64, 64, Flags=SURFACE)
    resource, handle = cuda.struct("CUDA_RESOURCE_DESC"), cuda.out("CUsurfObject")
    resource[0].res.array.hArray = made
    cuda.ok("cuSurfObjectCreate", handle, resource)
    told = cuda.out("CUDA_RESOURCE_DESC")
    cuda.ok("cuSurfObjectGetResourceDesc", told, cuda.value(handle))
    cuda.equal((cuda.value(told).resType, told[0].res.array.hArray), (0, made), "the resource")
    cuda.expect(INVALID_VALUE, "cuSurfObjectCreate", cuda.out("CUsurfObject"), linear(cuda))
    cuda.ok("cuSurfObjectDestroy", cuda.value(handle))
    if cuda.host is not None:
        cuda.expect(INVALID_VALUE, "cuSurfObjectDestroy", cuda.value(handle))


def encoded(cuda: Cuda, name: str, address: int, **changed: Any) -> tuple[int, bytes]:
    """A tensor map of 64 x 32 x 16 floats, with some arguments changed: (code, its bytes)."""
    room = cuda.out("char", 256)
    skip = -int(cuda.ffi.cast("uintptr_t", room)) % 64
    numbers = {"rank": 3, "box": [16, 8, 4], "low": [0], "high": [0], "channels": 16, "pixels": 8} | changed
    lists = [cuda.ffi.new("cuuint64_t[]", list(values)) for values in ((64, 32, 16), (256, 8192))]
    steps = cuda.ffi.new("cuuint32_t[]", [1, 1, 1])
    corners = [cuda.ffi.new("int[]", numbers[side]) for side in ("low", "high")]
    shape = {
        "cuTensorMapEncodeTiled": [cuda.ffi.new("cuuint32_t[]", numbers["box"])],
        "cuTensorMapEncodeIm2col": [*corners, numbers["channels"], numbers["pixels"]],
    }[name]
    place = int(cuda.ffi.cast("uintptr_t", room)) + skip
    code = cuda.call(name, place, 7, numbers["rank"], address, *lists, *shape, steps, 0, 0, 0, 0)
    return code, bytes(cuda.ffi.buffer(room))[skip : skip + 128]


@rule(
    "cuTensorMapEncodeTiled", "cuTensorMapEncodeIm2col", "cuTensorMapReplaceAddress",
    source="cuda.h 13.5, cuTensorMapEncodeTiled, cuTensorMapEncodeIm2col, cuTensorMapReplaceAddress", gpu=True,
)  # fmt: skip
def a_tensor_map_is_what_was_asked_for(cuda: Cuda) -> None:
    """Each map is another one if anything is; another address put into it makes it the map of that address."""
    cuda.context()
    first = allocate(cuda, 1 << 20)
    for name, other in (("cuTensorMapEncodeTiled", {"box": [16, 8, 2]}), ("cuTensorMapEncodeIm2col", {"pixels": 9})):
        maps = [encoded(cuda, name, first), encoded(cuda, name, first, **other), encoded(cuda, name, first + 4096)]
        cuda.equal([code for code, _ in maps], [0, 0, 0], f"the codes of {name}")
        cuda.equal(len({content for _, content in maps}), 3, "the number of different maps")
        room = cuda.out("char", 256)
        skip = -int(cuda.ffi.cast("uintptr_t", room)) % 64
        cuda.ffi.memmove(room + skip, maps[0][1], 128)
        place = int(cuda.ffi.cast("uintptr_t", room)) + skip
        cuda.ok("cuTensorMapReplaceAddress", place, first + 4096)
        cuda.check(bytes(cuda.ffi.buffer(room))[skip : skip + 128] == maps[2][1], "it is the map of the other address")
        cuda.expect(INVALID_VALUE, "cuTensorMapReplaceAddress", place, first + 8)
        cuda.expect(INVALID_VALUE, "cuTensorMapReplaceAddress", None, first)
        for wrong in ({"rank": 6}, {"box": [3, 8, 4], "channels": 3}, {"box": [257, 1, 1], "pixels": 1025}):
            cuda.equal(encoded(cuda, name, first, **wrong)[0], INVALID_VALUE, f"the code of {name} for {wrong}")
