"""Modules, libraries, the functions and variables in them, and the linker."""

import os
import tempfile
from pathlib import Path

from vgpu_harness.conformance.rule import Cuda, rule
from vgpu_harness.conformance.rules.cuda_code import PTX, function, kernel, library, module

INVALID_VALUE, INVALID_IMAGE, INVALID_PTX, FILE_NOT_FOUND, INVALID_HANDLE, NOT_FOUND = 1, 200, 218, 301, 400, 500
GARBAGE = b"this is no code at all, whatever one may think of it" + bytes(64)
INPUT_PTX = 1
_LOADS = ("cuModuleLoadData", "cuModuleLoadDataEx", "cuModuleLoadFatBinary", "cuModuleLoad")


def _file(content: bytes) -> str:
    descriptor, path = tempfile.mkstemp(prefix="vgpu-conform-")
    with os.fdopen(descriptor, "wb") as file:
        file.write(content)
    return path


@rule(*_LOADS, source="cuda.h 13.5, cuModuleLoad, cuModuleLoadData, cuModuleLoadDataEx", gpu=True)
def modules_are_loaded(cuda: Cuda) -> None:
    """Each way to load a module gives one whose functions can be had; what is no code is refused."""
    cuda.context()
    path, bad = _file(PTX), _file(GARBAGE)
    rest = {"cuModuleLoadDataEx": (0, None, None)}
    for name in _LOADS:
        handle, found = cuda.out("CUmodule"), cuda.out("CUfunction")
        is_file = name == "cuModuleLoad"
        if name != "cuModuleLoadFatBinary" or cuda.host is not None:
            cuda.ok(name, handle, path if is_file else PTX, *rest.get(name, ()))
            cuda.ok("cuModuleGetFunction", found, cuda.value(handle), "first")
        handle = cuda.out("CUmodule")
        cuda.expect(
            (INVALID_IMAGE, INVALID_PTX), name, handle, bad if is_file else GARBAGE, *rest.get(name, ())
        )  # fmt: skip
        if cuda.host is not None:
            cuda.untouched(handle)
    Path(path).unlink()
    Path(bad).unlink()
    cuda.expect(FILE_NOT_FOUND, "cuModuleLoad", cuda.out("CUmodule"), path)


@rule("cuModuleGetFunction", "cuFuncGetModule", "cuFuncGetName", source="cuda.h 13.5, cuModuleGetFunction", gpu=True)
def functions_are_found_by_name(cuda: Cuda) -> None:
    """A function is found by its name, knows it and its module; another name is not found."""
    cuda.context()
    owner, found, said, name = module(cuda), cuda.out("CUfunction"), cuda.out("CUmodule"), cuda.out("const char *")
    cuda.expect(NOT_FOUND, "cuModuleGetFunction", found, owner, "third")
    cuda.ok("cuModuleGetFunction", found, owner, "second")
    cuda.ok("cuFuncGetModule", said, cuda.value(found))
    cuda.equal(cuda.value(said), owner, "the module of a function")
    cuda.ok("cuFuncGetName", name, cuda.value(found))
    cuda.equal(cuda.string(cuda.value(name)), "second", "the name of a function")


@rule(
    "cuModuleGetFunctionCount", "cuModuleEnumerateFunctions", source="cuda.h 13.5, cuModuleEnumerateFunctions", gpu=True
)
def functions_are_counted(cuda: Cuda) -> None:
    """A module knows how many functions it has, and all of them."""
    cuda.context()
    owner, count, functions = module(cuda), cuda.out("unsigned int"), cuda.out("CUfunction", 2)
    cuda.ok("cuModuleGetFunctionCount", count, owner)
    cuda.equal(cuda.value(count), 2, "the number of functions")
    cuda.ok("cuModuleEnumerateFunctions", functions, 2, owner)
    names = []
    for found in cuda.values(functions):
        name = cuda.out("const char *")
        cuda.ok("cuFuncGetName", name, found)
        names.append(cuda.string(cuda.value(name)))
    cuda.equal(sorted(names), ["first", "second"], "the names of the functions")


@rule("cuModuleGetGlobal_v2", "cuModuleUnload", source="cuda.h 13.5, cuModuleGetGlobal, cuModuleUnload", gpu=True)
def variables_are_memory(cuda: Cuda) -> None:
    """A variable of a module has its size, and is memory, until the module is unloaded; another is not found."""
    cuda.context()
    owner, address, size, name = module(cuda), cuda.out("CUdeviceptr"), cuda.out("size_t"), "counter"
    cuda.expect(NOT_FOUND, "cuModuleGetGlobal_v2", address, size, owner, "first")
    cuda.untouched(address)
    cuda.ok("cuModuleGetGlobal_v2", address, size, owner, name)
    cuda.equal(cuda.value(size), 12, "the size of a variable")
    cuda.ok("cuMemsetD8_v2", cuda.value(address), 1, 12)
    cuda.ok("cuModuleUnload", owner)
    if cuda.host is not None:
        cuda.expect(INVALID_VALUE, "cuMemsetD8_v2", cuda.value(address), 1, 12)
        cuda.expect(INVALID_HANDLE, "cuModuleUnload", owner)


@rule("cuLibraryLoadData", "cuLibraryLoadFromFile", source="cuda.h 13.5, cuLibraryLoadData", gpu=True)
def libraries_are_loaded(cuda: Cuda) -> None:
    """A library is loaded from memory and from a file, without a context; what is no code is refused."""
    cuda.init()
    path = _file(PTX)
    for name, code, missing in (("cuLibraryLoadData", PTX, None), ("cuLibraryLoadFromFile", path, path + ".not")):
        handle, count = cuda.out("CUlibrary"), cuda.out("unsigned int")
        cuda.ok(name, handle, code, None, None, 0, None, None, 0)
        cuda.ok("cuLibraryGetKernelCount", count, cuda.value(handle))
        cuda.equal(cuda.value(count), 2, "the number of kernels")
        if missing is not None:
            cuda.expect(FILE_NOT_FOUND, name, cuda.out("CUlibrary"), missing, None, None, 0, None, None, 0)
    Path(path).unlink()


@rule("cuLibraryLoadData", "cuLibraryLoadFromFile", source="measured on 535.261.03, in any state", gpu=False)
def libraries_need_room(cuda: Cuda) -> None:
    """Without room for the library it is CUDA_ERROR_INVALID_VALUE before cuInit, too."""
    for name in ("cuLibraryLoadData", "cuLibraryLoadFromFile"):
        cuda.expect(INVALID_VALUE, name, None, None, None, None, 0, None, None, 0)


@rule("cuLibraryUnload", source="measured on 535.261.03, in any state", gpu=False)
def null_is_no_library(cuda: Cuda) -> None:
    """NULL cannot be unloaded."""
    cuda.expect(INVALID_HANDLE, "cuLibraryUnload", None)


@rule("cuLibraryUnload", source="cuda.h 13.5, cuLibraryUnload; our rule for the handle", gpu=True)
def libraries_are_unloaded(cuda: Cuda) -> None:
    """A library can be unloaded; on a simulated host it is gone then, with all that came of it."""
    cuda.context()
    owner = library(cuda)
    found = cuda.out("CUkernel")
    cuda.ok("cuLibraryGetKernel", found, owner, "first")
    cuda.ok("cuLibraryUnload", owner)
    cuda.expect(INVALID_HANDLE, "cuLibraryUnload", None)
    if cuda.host is not None:
        cuda.expect(INVALID_HANDLE, "cuLibraryUnload", owner)
        cuda.expect(INVALID_HANDLE, "cuKernelGetName", cuda.out("const char *"), cuda.value(found))


@rule(
    "cuLibraryGetKernel",
    "cuLibraryGetKernelCount",
    "cuLibraryEnumerateKernels",
    "cuKernelGetName",
    "cuKernelGetLibrary",
    source="cuda.h 13.5, cuLibraryGetKernel, cuLibraryEnumerateKernels, cuKernelGetLibrary",
    gpu=True,
)
def kernels_of_a_library(cuda: Cuda) -> None:
    """Kernels are found by name, counted and listed, and know their name and library."""
    cuda.init()
    owner, count, found = library(cuda), cuda.out("unsigned int"), cuda.out("CUkernel")
    cuda.ok("cuLibraryGetKernelCount", count, owner)
    cuda.equal(cuda.value(count), 2, "the number of kernels")
    cuda.expect(NOT_FOUND, "cuLibraryGetKernel", found, owner, "third")
    cuda.ok("cuLibraryGetKernel", found, owner, "first")
    kernels = cuda.out("CUkernel", 2)
    cuda.ok("cuLibraryEnumerateKernels", kernels, 2, owner)
    cuda.check(cuda.value(found) in cuda.values(kernels), "the kernel that was found is among those that are listed")
    name, said = cuda.out("const char *"), cuda.out("CUlibrary")
    cuda.ok("cuKernelGetName", name, cuda.value(found))
    cuda.equal(cuda.string(cuda.value(name)), "first", "the name of the kernel")
    cuda.ok("cuKernelGetLibrary", said, cuda.value(found))
    cuda.equal(cuda.value(said), owner, "the library of the kernel")


@rule("cuLibraryGetModule", "cuKernelGetFunction", source="cuda.h 13.5, cuLibraryGetModule", gpu=True)
def libraries_are_modules_in_contexts(cuda: Cuda) -> None:
    """In a context a library is a module, always the same one, and its kernels are functions of that."""
    cuda.context()
    owner = library(cuda)
    found, first, again = cuda.out("CUkernel"), cuda.out("CUmodule"), cuda.out("CUmodule")
    cuda.ok("cuLibraryGetModule", first, owner)
    cuda.ok("cuLibraryGetModule", again, owner)
    cuda.equal(cuda.value(again), cuda.value(first), "the module of the library, asked a second time,")
    cuda.ok("cuLibraryGetKernel", found, owner, "second")
    code, said = cuda.out("CUfunction"), cuda.out("CUmodule")
    cuda.ok("cuKernelGetFunction", code, cuda.value(found))
    cuda.ok("cuFuncGetModule", said, cuda.value(code))
    cuda.equal(cuda.value(said), cuda.value(first), "the module of the kernel's function")


@rule("cuLibraryGetGlobal", source="cuda.h 13.5, cuLibraryGetGlobal", gpu=True)
def variables_of_a_library(cuda: Cuda) -> None:
    """A variable of a library is memory of the current context."""
    cuda.context()
    address, size, owner = cuda.out("CUdeviceptr"), cuda.out("size_t"), library(cuda)
    cuda.ok("cuLibraryGetGlobal", address, size, owner, "counter")
    cuda.equal(cuda.value(size), 12, "the size of a variable")
    cuda.ok("cuMemsetD8_v2", cuda.value(address), 1, 12)
    cuda.expect(NOT_FOUND, "cuLibraryGetGlobal", address, size, owner, "nothing")


@rule("cuLibraryGetManaged", source="cuda.h 13.5, cuLibraryGetManaged; PTX ISA 9.1, .attribute(.managed)", gpu=True)
def managed_variables_of_a_library(cuda: Cuda) -> None:
    """A managed variable of a library is memory that the program sees, too; any other is none."""
    cuda.context()
    owner, address, size = library(cuda), cuda.out("CUdeviceptr"), cuda.out("size_t")
    cuda.expect(NOT_FOUND, "cuLibraryGetManaged", address, size, owner, "counter")
    cuda.untouched(address)
    cuda.ok("cuLibraryGetManaged", address, size, owner, "seen_by_both")
    cuda.equal(cuda.value(size), 8, "the size of a managed variable")
    cuda.ok("cuMemsetD8_v2", cuda.value(address), 7, 8)
    cuda.ok("cuCtxSynchronize")
    seen = bytes(cuda.ffi.buffer(cuda.ffi.cast("char *", cuda.value(address)), 8))
    cuda.equal(seen, bytes([7]) * 8, "what the program sees of it")


@rule("cuLibraryGetManaged", "cuLibraryGetGlobal", source="measured on 535.261.03, in any state", gpu=False)
def variables_need_a_name(cuda: Cuda) -> None:
    """Without room or name it is CUDA_ERROR_INVALID_VALUE before cuInit, too."""
    for name in ("cuLibraryGetManaged", "cuLibraryGetGlobal"):
        cuda.expect(INVALID_VALUE, name, None, None, None, None)


@rule("cuKernelGetFunction", "cuLibraryGetKernel", "cuLibraryGetModule", source="measured on 535.261.03", gpu=False)
def handles_need_room(cuda: Cuda) -> None:
    """Without room for the answer it is CUDA_ERROR_INVALID_VALUE before cuInit, too."""
    cuda.expect(INVALID_VALUE, "cuKernelGetFunction", None, None)
    cuda.expect(INVALID_VALUE, "cuLibraryGetKernel", None, None, None)
    cuda.expect(INVALID_VALUE, "cuLibraryGetModule", None, None)


@rule("cuFuncIsLoaded", "cuFuncLoad", source="cuda.h 13.5, cuFuncLoad, cuFuncIsLoaded", gpu=True)
def functions_are_loaded(cuda: Cuda) -> None:
    """A function that has been asked to be loaded is loaded."""
    cuda.context()
    code, state = function(cuda), cuda.out("CUfunctionLoadingState")
    cuda.ok("cuFuncIsLoaded", state, code)
    if cuda.host is not None:
        cuda.equal(cuda.value(state), 0, "the state before")
    cuda.ok("cuFuncLoad", code)
    cuda.ok("cuFuncIsLoaded", state, code)
    cuda.equal(cuda.value(state), 1, "the state then")


_LINKS = ("cuLinkAddData", "cuLinkAddData_v2", "cuLinkAddFile", "cuLinkAddFile_v2", "cuLinkComplete", "cuLinkDestroy")


@rule(*_LINKS, source="measured on 535.261.03, in any state", gpu=False)
def null_is_no_link(cuda: Cuda) -> None:
    """NULL is no link, before cuInit, too."""
    for name in _LINKS[:2]:
        cuda.expect(INVALID_HANDLE, name, None, 0, None, 0, None, 0, None, None)
    for name in _LINKS[2:4]:
        cuda.expect(INVALID_HANDLE, name, None, 0, None, 0, None, None)
    cuda.expect(INVALID_HANDLE, "cuLinkComplete", None, None, None)
    cuda.expect(INVALID_HANDLE, "cuLinkDestroy", None)


def _links(cuda: Cuda, version: str) -> None:
    """One PTX, from memory and from a file, becomes a module by way of a link."""
    cuda.context()
    rest, path = (0, None, None), _file(PTX)
    text = cuda.ffi.from_buffer(bytearray(PTX + b"\0"))
    for add, code in (("Data", (cuda.ffi.cast("void *", text), len(PTX) + 1, "code")), ("File", (path,))):
        state, image, size = cuda.out("CUlinkState"), cuda.out("void *"), cuda.out("size_t")
        cuda.ok(f"cuLinkCreate{version}", *rest, state)
        link = cuda.value(state)
        missing = "/nowhere/to/be/found.ptx"
        cuda.expect(FILE_NOT_FOUND, f"cuLinkAddFile{version}", link, INPUT_PTX, missing, *rest)
        cuda.ok(f"cuLinkAdd{add}{version}", link, INPUT_PTX, *code, *rest)
        cuda.ok("cuLinkComplete", link, image, size)
        cuda.check(cuda.value(size) > 0, "there is code")
        owner, found = cuda.out("CUmodule"), cuda.out("CUfunction")
        cuda.ok("cuModuleLoadData", owner, cuda.value(image))
        cuda.ok("cuModuleGetFunction", found, cuda.value(owner), "second")
        cuda.ok("cuLinkDestroy", link)
        if cuda.host is not None:
            cuda.expect(INVALID_HANDLE, "cuLinkComplete", link, image, size)
    Path(path).unlink()


@rule(
    "cuLinkCreate_v2", "cuLinkAddData_v2", "cuLinkAddFile_v2", "cuLinkComplete", "cuLinkDestroy",
    source="cuda.h 13.5, cuLinkCreate, cuLinkAddData, cuLinkComplete", gpu=True,
)  # fmt: skip
def links_make_code(cuda: Cuda) -> None:
    """What cuLinkComplete hands out is code that can be loaded; files that are not there are not found."""
    _links(cuda, "_v2")


@rule("cuLinkCreate", "cuLinkAddData", "cuLinkAddFile", source="cuda.h 12.9, cuLinkCreate", gpu=True)
def links_of_the_older_form(cuda: Cuda) -> None:
    """The first forms do the same."""
    _links(cuda, "")


@rule("cuModuleGetFunction", source="cuda.h 13.5, cuLibraryGetKernel: a CUkernel may stand for a CUfunction", gpu=True)
def kernels_stand_for_functions(cuda: Cuda) -> None:
    """A kernel and a function of the same name need the same registers."""
    cuda.context()
    said = []
    for handle in (function(cuda), cuda.ffi.cast("CUfunction", kernel(cuda))):
        registers = cuda.out("int")
        cuda.ok("cuFuncGetAttribute", registers, 4, handle)
        said.append(cuda.value(registers))
    cuda.equal(said[0], said[1], "the registers of the function")


@rule(
    "cuModuleGetTexRef", "cuModuleGetSurfRef", "cuLibraryGetUnifiedFunction",
    source="cuda.h 13.5: a name that is not there is NOT_FOUND", gpu=True,
)  # fmt: skip
def names_that_are_not_there(cuda: Cuda) -> None:
    """Code without references to textures and surfaces, and without unified functions, has none of any name."""
    cuda.context()
    owner, found = module(cuda), cuda.out("uintptr_t")
    for name in ("cuModuleGetTexRef", "cuModuleGetSurfRef"):
        cuda.expect(NOT_FOUND, name, cuda.ffi.cast("void *", found), owner, "first")
    cuda.expect(NOT_FOUND, "cuLibraryGetUnifiedFunction", cuda.ffi.cast("void **", found), library(cuda), "first")
    if cuda.host is not None:
        cuda.untouched(found)


@rule("cuModuleGetLoadingMode", source="CUDA C++ Programming Guide, lazy loading; cuda.h 13.5", gpu=True)
def loading_is_lazy(cuda: Cuda) -> None:
    """Modules are loaded lazily by default, eagerly where CUDA_MODULE_LOADING says so at cuInit."""
    said = cuda.out("CUmoduleLoadingMode")
    cuda.setenv("CUDA_MODULE_LOADING", "EAGER")
    cuda.init()
    cuda.ok("cuModuleGetLoadingMode", said)
    cuda.equal(cuda.value(said), 1, "the mode that was asked for")


@rule(
    "cuFuncGetName", "cuKernelGetName",
    source="tests of NVIDIA/cuda-python: test_cuFuncGetName_failure, test_cuKernelGetName_failure", gpu=True,
)  # fmt: skip
def null_has_no_name(cuda: Cuda) -> None:
    """NULL is no function and no kernel: it is CUDA_ERROR_INVALID_VALUE, and no name is written."""
    cuda.context()
    name = cuda.out("const char *")
    for function_name in ("cuFuncGetName", "cuKernelGetName"):
        cuda.expect(INVALID_VALUE, function_name, name, None)
    cuda.untouched(name)
