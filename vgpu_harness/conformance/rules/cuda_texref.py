"""Texture references: what is set is told, and what they are bound to takes the place of what they were bound to."""

from typing import Any

from vgpu_harness.conformance.rule import Cuda, rule
from vgpu_harness.conformance.rules.cuda_memory import allocate
from vgpu_harness.conformance.rules.cuda_texture import FLOAT, array

INVALID_VALUE = 1
OVERRIDE_FORMAT = 1


def texref(cuda: Cuda) -> Any:
    """A texture reference in a context."""
    cuda.context()
    handle = cuda.out("CUtexref")
    cuda.ok("cuTexRefCreate", handle)
    return cuda.value(handle)


def told(cuda: Cuda, name: str, kind: str, of: Any, *more: int) -> Any:
    """What a function tells in its first argument."""
    box = cuda.out(kind)
    cuda.ok(name, box, of, *more)
    return cuda.value(box)


@rule(
    "cuTexRefCreate", "cuTexRefSetAddressMode", "cuTexRefGetAddressMode", "cuTexRefSetFilterMode",
    "cuTexRefGetFilterMode", "cuTexRefSetMipmapFilterMode", "cuTexRefGetMipmapFilterMode", "cuTexRefSetMaxAnisotropy",
    "cuTexRefGetMaxAnisotropy", "cuTexRefSetFlags", "cuTexRefGetFlags", "cuTexRefSetFormat", "cuTexRefGetFormat",
    source="cuda.h 13.5, the deprecated texture references", gpu=True,
)  # fmt: skip
def numbers_are_told_as_they_were_set(cuda: Cuda) -> None:
    """Modes, anisotropy, flags and format of a texture reference are what they were set to last."""
    of = texref(cuda)
    for mode in (2, 1):
        for dimension in (0, 1, 2):
            cuda.ok("cuTexRefSetAddressMode", of, dimension, mode)
            cuda.equal(told(cuda, "cuTexRefGetAddressMode", "CUaddress_mode", of, dimension), mode, "the address mode")
    for mode in (1, 0):
        for which in ("FilterMode", "MipmapFilterMode"):
            cuda.ok(f"cuTexRefSet{which}", of, mode)
            cuda.equal(told(cuda, f"cuTexRefGet{which}", "CUfilter_mode", of), mode, which)
    for number in (4, 8):
        cuda.ok("cuTexRefSetMaxAnisotropy", of, number)
        cuda.equal(told(cuda, "cuTexRefGetMaxAnisotropy", "int", of), number, "the anisotropy")
    for flags in (2, 3):
        cuda.ok("cuTexRefSetFlags", of, flags)
        cuda.equal(told(cuda, "cuTexRefGetFlags", "unsigned int", of), flags, "the flags")
    for form in ((FLOAT, 4), (1, 2)):
        cuda.ok("cuTexRefSetFormat", of, *form)
        kind, channels = cuda.out("CUarray_format"), cuda.out("int")
        cuda.ok("cuTexRefGetFormat", kind, channels, of)
        cuda.equal((cuda.value(kind), cuda.value(channels)), form, "format and channels")
    if cuda.host is not None:
        cuda.expect(INVALID_VALUE, "cuTexRefSetAddressMode", of, 3, 0)
        cuda.expect(INVALID_VALUE, "cuTexRefSetFormat", of, FLOAT, 3)


@rule(
    "cuTexRefSetMipmapLevelBias", "cuTexRefGetMipmapLevelBias", "cuTexRefSetMipmapLevelClamp",
    "cuTexRefGetMipmapLevelClamp", "cuTexRefSetBorderColor", "cuTexRefGetBorderColor",
    source="cuda.h 13.5, the deprecated texture references", gpu=True,
)  # fmt: skip
def fractions_are_told_as_they_were_set(cuda: Cuda) -> None:
    """Bias, clamp and border colour of a texture reference are what they were set to last."""
    of = texref(cuda)
    for number in (0.5, 1.25):
        cuda.ok("cuTexRefSetMipmapLevelBias", of, number)
        cuda.equal(told(cuda, "cuTexRefGetMipmapLevelBias", "float", of), number, "the bias")
        low, high, colour = cuda.out("float"), cuda.out("float"), cuda.out("float", 4)
        cuda.ok("cuTexRefSetMipmapLevelClamp", of, number, number + 2)
        cuda.ok("cuTexRefGetMipmapLevelClamp", low, high, of)
        cuda.equal((cuda.value(low), cuda.value(high)), (number, number + 2), "the clamp")
        cuda.ok("cuTexRefSetBorderColor", of, cuda.ffi.new("float[]", [number, 0.25, 0.5, 0.75]))
        cuda.ok("cuTexRefGetBorderColor", colour, of)
        cuda.equal(cuda.values(colour), [number, 0.25, 0.5, 0.75], "the border colour")


@rule(
    "cuTexRefSetArray", "cuTexRefGetArray", "cuTexRefSetMipmappedArray", "cuTexRefGetMipmappedArray",
    "cuTexRefSetAddress_v2", "cuTexRefGetAddress_v2", "cuTexRefSetAddress2D_v2", "cuTexRefSetAddress2D_v3",
    source="cuda.h 13.5, the deprecated texture references", gpu=True,
)  # fmt: skip
def a_reference_is_bound_to_one_thing(cuda: Cuda) -> None:
    """What it is bound to is told; binding it to another thing ends that, and then there is nothing to tell."""
    of, made = texref(cuda), array(cuda, 64, 64, Format=FLOAT)
    cuda.ok("cuTexRefSetArray", of, made, OVERRIDE_FORMAT)
    cuda.equal(told(cuda, "cuTexRefGetArray", "CUarray", of), made, "the array")
    shape = cuda.struct("CUDA_ARRAY3D_DESCRIPTOR", Width=64, Height=64, Format=FLOAT, NumChannels=1)
    mipmap = cuda.out("CUmipmappedArray")
    cuda.ok("cuMipmappedArrayCreate", mipmap, shape, 2)
    cuda.ok("cuTexRefSetMipmappedArray", of, cuda.value(mipmap), OVERRIDE_FORMAT)
    cuda.equal(told(cuda, "cuTexRefGetMipmappedArray", "CUmipmappedArray", of), cuda.value(mipmap), "the levels")
    cuda.expect(INVALID_VALUE, "cuTexRefGetArray", cuda.out("CUarray"), of)
    address, offset = allocate(cuda, 65536), cuda.out("size_t")
    cuda.ok("cuTexRefSetFormat", of, FLOAT, 1)
    cuda.ok("cuTexRefSetAddress_v2", offset, of, address, 4096)
    cuda.equal(cuda.value(offset), 0, "the offset of an aligned address")
    cuda.equal(told(cuda, "cuTexRefGetAddress_v2", "CUdeviceptr", of), address, "the address")
    cuda.expect(INVALID_VALUE, "cuTexRefGetMipmappedArray", cuda.out("CUmipmappedArray"), of)
    rows = cuda.struct("CUDA_ARRAY_DESCRIPTOR", Width=64, Height=16, Format=FLOAT, NumChannels=1)
    for start, name in ((16384, "cuTexRefSetAddress2D_v2"), (32768, "cuTexRefSetAddress2D_v3")):
        cuda.ok(name, of, rows, address + start, 512)
        cuda.equal(told(cuda, "cuTexRefGetAddress_v2", "CUdeviceptr", of), address + start, "the address")
    cuda.expect(INVALID_VALUE, "cuTexRefSetAddress2D_v3", of, rows, address + 4, 512)


@rule(
    "cuTexRefSetAddress", "cuTexRefGetAddress", "cuTexRefSetAddress2D", "cuTexRefDestroy",
    source="cuda.h 13.5, the forms from before CUDA 3.2", gpu=True,
)  # fmt: skip
def a_reference_below_4_gib(cuda: Cuda) -> None:
    """The forms for 32-bit addresses bind and tell as the newer ones do, until the reference is destroyed."""
    of, address = texref(cuda), allocate(cuda, 65536, "cuMemAlloc", "CUdeviceptr_v1")
    offset = cuda.out("unsigned int")
    cuda.ok("cuTexRefSetAddress", offset, of, address, 4096)
    cuda.equal(cuda.value(offset), 0, "the offset of an aligned address")
    cuda.equal(told(cuda, "cuTexRefGetAddress", "CUdeviceptr_v1", of), address, "the address")
    rows = cuda.struct("CUDA_ARRAY_DESCRIPTOR_v1", Width=64, Height=16, Format=FLOAT, NumChannels=1)
    cuda.ok("cuTexRefSetAddress2D", of, rows, address + 16384, 512)
    cuda.equal(told(cuda, "cuTexRefGetAddress", "CUdeviceptr_v1", of), address + 16384, "the address")
    cuda.ok("cuTexRefDestroy", of)
    if cuda.host is not None:
        # NVIDIA's library follows the handle of what is no longer there.
        cuda.expect(INVALID_VALUE, "cuTexRefDestroy", of)
