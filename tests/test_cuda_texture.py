"""Arrays and what is made of them: shapes, limits, memory, and who ends whom."""

import pytest
from support.memory import (
    INVALID_VALUE,
    OUT_OF_MEMORY,
    SUCCESS,
    allocate,
    free,
    small,
)

from vgpu_harness._wire import ffi

INVALID_CONTEXT, INVALID_HANDLE, NOT_SUPPORTED = 201, 400, 801
BYTE, HALF, FLOAT = 1, 0x10, 0x20
LAYERED, SURFACE, CUBEMAP, GATHER, SPARSE, DEFERRED = 1, 2, 4, 8, 0x40, 0x80


@pytest.fixture
def cuda(vgpu_cuda):
    """The driver after cuInit(0), with a context."""
    assert vgpu_cuda.cuInit(0) == SUCCESS
    assert vgpu_cuda.cuCtxCreate_v2(ffi.new("CUcontext *"), 0, 0) == SUCCESS
    return vgpu_cuda


def array(cuda, *numbers: int, **more: int):
    """cuArray3DCreate: (code, handle)."""
    width, height, depth = (*numbers, 0, 0)[:3]
    fields = {"Width": width, "Height": height, "Depth": depth, "Format": BYTE, "NumChannels": 1} | more
    handle = ffi.new("CUarray *")
    return cuda.cuArray3DCreate_v2(handle, ffi.new("CUDA_ARRAY3D_DESCRIPTOR *", fields)), handle[0]


@pytest.mark.parametrize(
    ("numbers", "more", "size"),
    [
        ((100,), {}, 100),
        ((100, 3), {"Format": FLOAT, "NumChannels": 4}, 4800),
        ((10, 20, 30), {"Format": HALF}, 12000),
        ((10, 0, 5), {"Flags": LAYERED}, 50),
        ((10, 4, 5), {"Flags": LAYERED | SURFACE}, 200),
        ((16, 16, 6), {"Flags": CUBEMAP}, 1536),
        ((16, 16, 12), {"Flags": CUBEMAP | LAYERED}, 3072),
        ((16, 4), {"Flags": GATHER}, 64),
        ((8,), {"Format": 0xC2, "NumChannels": 4}, 32),
    ],
)
def test_an_array_takes_what_its_elements_do(numbers, more, size, cuda):
    """The device's account has width, height, depth and element, until the array is destroyed."""
    before = free(cuda)
    code, handle = array(cuda, *numbers, **more)
    assert (code, before - free(cuda)) == (SUCCESS, size)
    assert [cuda.cuArrayDestroy(handle), free(cuda)] == [SUCCESS, before]


@pytest.mark.parametrize(
    ("numbers", "more", "code"),
    [
        ((0, 1), {}, INVALID_VALUE),
        ((1, 0, 1), {}, INVALID_VALUE),
        ((4, 4, 0), {"Flags": LAYERED}, INVALID_VALUE),
        ((4, 5, 6), {"Flags": CUBEMAP}, INVALID_VALUE),
        ((4, 4, 5), {"Flags": CUBEMAP}, INVALID_VALUE),
        ((4, 4, 7), {"Flags": CUBEMAP | LAYERED}, INVALID_VALUE),
        ((4, 4, 4), {"Flags": GATHER}, INVALID_VALUE),
        ((4,), {"Flags": 0x1000}, INVALID_VALUE),
        ((4,), {"NumChannels": 3}, INVALID_VALUE),
        ((4,), {"NumChannels": 0}, INVALID_VALUE),
        ((4,), {"Format": 0x91}, INVALID_VALUE),
        ((4,), {"Format": 0xC2}, INVALID_VALUE),
        ((131073,), {}, INVALID_VALUE),
        ((131072, 65537), {}, INVALID_VALUE),
        ((16384, 16384, 16385), {}, INVALID_VALUE),
        ((32768, 32768, 2049), {"Flags": LAYERED}, INVALID_VALUE),
        ((4, 4), {"Flags": SPARSE}, NOT_SUPPORTED),
        ((4, 4), {"Flags": DEFERRED}, NOT_SUPPORTED),
        ((16384, 16384, 16384), {"Format": FLOAT, "NumChannels": 4}, OUT_OF_MEMORY),
    ],
)
def test_shapes_are_checked(numbers, more, code, cuda):
    """Numbers that do not go together, formats that there are not, more than the device has."""
    before = free(cuda)
    assert array(cuda, *numbers, **more) == (code, ffi.NULL)
    assert free(cuda) == before


@small
def test_the_limit_is_exact_and_shared(cuda):
    """Arrays draw on the memory that cuMemAlloc does."""
    whole = free(cuda)
    assert cuda.number("cuMemAlloc_v2", "CUdeviceptr", whole - 1000)[0] == SUCCESS
    assert [array(cuda, size)[0] for size in (1001, 1000, 1)] == [OUT_OF_MEMORY, SUCCESS, OUT_OF_MEMORY]


def test_what_is_gone_is_known_as_gone(cuda):
    """A destroyed array, one of an ended context, and one that never was have no context; NULL is no handle."""
    handle = array(cuda, 64)[1]
    assert [cuda.cuArrayDestroy(handle), cuda.cuArrayDestroy(handle)] == [SUCCESS, INVALID_CONTEXT]
    context, told = ffi.new("CUcontext *"), ffi.new("CUDA_ARRAY_DESCRIPTOR *")
    before = free(cuda)
    cuda.cuCtxCreate_v2(context, 0, 0)
    lost = array(cuda, 1 << 20 >> 4, 16)[1]
    cuda.cuCtxDestroy_v2(context[0])
    codes = [cuda.cuArrayGetDescriptor_v2(told, which) for which in (lost, ffi.cast("CUarray", 4096), ffi.NULL)]
    assert (codes, free(cuda)) == ([INVALID_CONTEXT, INVALID_CONTEXT, INVALID_HANDLE], before)
    assert cuda.cuMemcpyAtoA_v2(array(cuda, 8)[1], 0, lost, 0, 8) == INVALID_CONTEXT


def test_a_level_ends_with_its_mipmapped_array(cuda):
    """There are as many levels as halves; none is destroyed by itself; all memory comes back."""
    shape = ffi.new(
        "CUDA_ARRAY3D_DESCRIPTOR *", {"Width": 16, "Height": 4, "Depth": 0, "Format": BYTE, "NumChannels": 1}
    )
    before, mipmap, level = free(cuda), ffi.new("CUmipmappedArray *"), ffi.new("CUarray *")
    assert cuda.cuMipmappedArrayCreate(mipmap, shape, 99) == SUCCESS
    assert before - free(cuda) == 64 + 16 + 4 + 2 + 1
    codes = [cuda.cuMipmappedArrayGetLevel(level, mipmap[0], i) for i in range(6)]
    assert codes == [SUCCESS] * 5 + [INVALID_VALUE]
    assert cuda.cuArrayDestroy(level[0]) == INVALID_HANDLE
    assert [cuda.cuMipmappedArrayDestroy(mipmap[0]), free(cuda)] == [SUCCESS, before]
    assert cuda.cuMipmappedArrayDestroy(mipmap[0]) == INVALID_CONTEXT
    assert cuda.cuMemcpyHtoA_v2(level[0], 0, ffi.from_buffer(b"x"), 1) == INVALID_CONTEXT


def texture(cuda, resource: dict, how: dict | None = None, view: dict | None = None) -> int:
    """cuTexObjectCreate: the code."""
    struct = ffi.new("CUDA_RESOURCE_DESC *", resource)
    what = ffi.NULL if view is None else ffi.new("CUDA_RESOURCE_VIEW_DESC *", view)
    return cuda.cuTexObjectCreate(ffi.new("CUtexObject *"), struct, ffi.new("CUDA_TEXTURE_DESC *", how or {}), what)


def test_what_a_texture_is_of_is_checked(cuda):
    """An array that there is; memory that is there, aligned, in rows of a pitch; no numbers that there are not."""
    made, memory = array(cuda, 64, 64)[1], allocate(cuda, 1 << 20)
    of_array = {"resType": 0, "res": {"array": {"hArray": made}}}
    rows = {"devPtr": memory, "format": FLOAT, "numChannels": 1, "width": 100, "height": 100, "pitchInBytes": 512}
    assert texture(cuda, of_array, {"addressMode": [0, 1, 3], "flags": 0x73}) == SUCCESS
    assert texture(cuda, of_array, {}, {"format": 1, "width": 64, "height": 64}) == SUCCESS
    assert texture(cuda, {"resType": 3, "res": {"pitch2D": rows}}) == SUCCESS
    wrong = [
        texture(cuda, {"resType": 0, "res": {"array": {"hArray": ffi.cast("CUarray", 64)}}}),
        texture(cuda, {"resType": 1, "res": {"array": {"hArray": made}}}),
        texture(cuda, {"resType": 4}),
        texture(cuda, of_array | {"flags": 1}),
        texture(cuda, of_array, {"addressMode": [4, 0, 0]}),
        texture(cuda, of_array, {"filterMode": 2}),
        texture(cuda, of_array, {"flags": 0x100}),
        texture(cuda, of_array, {}, {"format": 0x23}),
        texture(cuda, of_array, {}, {"firstLayer": 2, "lastLayer": 1}),
        texture(cuda, {"resType": 3, "res": {"pitch2D": rows}}, {}, {"format": 1}),
        *(
            texture(cuda, {"resType": 3, "res": {"pitch2D": rows | {name: value}}})
            for name, value in {
                "devPtr": memory + 4, "format": 0, "width": 129, "height": 2049, "pitchInBytes": 500, "numChannels": 3,
            }.items()
        ),
    ]  # fmt: skip
    assert wrong == [INVALID_VALUE] * len(wrong)


def test_objects_end_with_their_context(cuda):
    """Textures and surfaces of an ended context are gone; a surface needs an array that was made for it."""
    context, handle = ffi.new("CUcontext *"), ffi.new("CUsurfObject *")
    cuda.cuCtxCreate_v2(context, 0, 0)
    resource = ffi.new("CUDA_RESOURCE_DESC *")
    resource.res.array.hArray = array(cuda, 64, 64)[1]
    assert cuda.cuSurfObjectCreate(handle, resource) == INVALID_VALUE
    resource.res.array.hArray = array(cuda, 64, 64, Flags=SURFACE)[1]
    assert cuda.cuSurfObjectCreate(handle, resource) == SUCCESS
    told = ffi.new("CUDA_RESOURCE_DESC *")
    assert cuda.cuSurfObjectGetResourceDesc(told, handle[0]) == SUCCESS
    assert cuda.cuTexObjectGetResourceDesc(told, handle[0]) == INVALID_VALUE
    cuda.cuCtxDestroy_v2(context[0])
    assert [cuda.cuSurfObjectGetResourceDesc(told, handle[0]), cuda.cuSurfObjectDestroy(handle[0])] == [1, 1]
