"""Code that rules load: PTX, which every driver compiles for its device."""

from typing import Any

from vgpu_harness.conformance.rule import Cuda

PTX = b"""
.version 6.4
.target sm_70
.address_size 64

.visible .global .align 4 .u32 counter[3];
.visible .global .attribute(.managed) .align 8 .u64 seen_by_both;

.visible .entry first(.param .u64 first_param_0, .param .u32 first_param_1, .param .align 8 .b8 first_param_2[24])
{
    .reg .b64 %rd<2>;
    .shared .align 4 .b8 shared_memory[1024];
    ret;
}

.visible .entry second()
.maxntid 128, 1, 1
{
    ret;
}
"""

OFFSETS = ((0, 8), (8, 4), (16, 24))
"""Of the parameters of `first`: where each is, and its size in bytes."""

SHARED = 1024
"""Bytes of shared memory that `first` has."""


def module(cuda: Cuda) -> Any:
    """The code as a module of the current context."""
    handle = cuda.out("CUmodule")
    cuda.ok("cuModuleLoadData", handle, PTX)
    return cuda.value(handle)


def function(cuda: Cuda, name: str = "first") -> Any:
    """A function of it."""
    handle = cuda.out("CUfunction")
    cuda.ok("cuModuleGetFunction", handle, module(cuda), name)
    return cuda.value(handle)


def library(cuda: Cuda) -> Any:
    """The code as a library."""
    handle = cuda.out("CUlibrary")
    cuda.ok("cuLibraryLoadData", handle, PTX, None, None, 0, None, None, 0)
    return cuda.value(handle)


def kernel(cuda: Cuda, name: str = "first") -> Any:
    """A kernel of it."""
    handle = cuda.out("CUkernel")
    cuda.ok("cuLibraryGetKernel", handle, library(cuda), name)
    return cuda.value(handle)
