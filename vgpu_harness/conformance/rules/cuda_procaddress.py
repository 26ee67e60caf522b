"""cuGetProcAddress and cuGetExportTable: how a program that was built for another version finds its functions."""

from typing import Any

from vgpu_harness.conformance.rule import Cuda, rule

INVALID_VALUE, NOT_FOUND = 1, 500
FOUND, SYMBOL_NOT_FOUND, VERSION_NOT_SUFFICIENT = 0, 1, 2
LEGACY, PER_THREAD = 1, 2
# name, first version, whether flag 2 means another function: cudaTypedefs.h 12.9
STEPS = (
    ("cuInit", 2000, False),
    ("cuDeviceGet", 2000, False),
    ("cuDriverGetVersion", 2020, False),
    ("cuGetErrorString", 6000, False),
    ("cuMemAlloc", 3020, False),
    ("cuMemcpyHtoD", 3020, True),
    ("cuStreamSynchronize", 2000, True),
    ("cuEventRecord", 2000, True),
)
_MEASURED = "measured on 535.261.03"


def _ask(cuda: Cuda, name: str, version: int, flags: int = 0) -> tuple[Any, int]:
    function, status = cuda.out("void *"), cuda.out("CUdriverProcAddressQueryResult")
    cuda.ok("cuGetProcAddress_v2", name, function, version, flags, status)
    return cuda.value(function), int(cuda.value(status))


def _search(cuda: Cuda) -> None:
    """What must hold before cuInit and after it."""
    for name, since, has_twin in STEPS:
        plain, status = _ask(cuda, name, 12000)
        cuda.equal(status, FOUND, f"the status of {name}")
        cuda.check(plain != cuda.null, f"{name} has an address")
        cuda.equal(_ask(cuda, name, 12000, LEGACY), (plain, FOUND), f"{name} for the legacy stream")
        own, status = _ask(cuda, name, 12000, PER_THREAD)
        cuda.equal(status, FOUND, f"the status of {name} for the thread's own stream")
        cuda.equal(own != plain, has_twin, f"whether {name} for the thread's own stream is another function")
        older = _ask(cuda, name, since - 1)
        cuda.check(
            older[1] == FOUND or older == (cuda.null, VERSION_NOT_SUFFICIENT), f"{name} before {since} is {older[1]}"
        )
    cuda.equal(_ask(cuda, "cuInit", 1000), (cuda.null, VERSION_NOT_SUFFICIENT), "cuInit for version 1000")
    cuda.equal(_ask(cuda, "cuMemcpyHtoD", 6050, PER_THREAD)[1], VERSION_NOT_SUFFICIENT, "per-thread before 7.0")
    for name in ("cuNoSuchFunction", "", "cuMemAlloc_v2", "cuinit"):
        cuda.equal(_ask(cuda, name, 12000), (cuda.null, SYMBOL_NOT_FOUND), f"{name!r}")


@rule("cuGetProcAddress_v2", source=f"cuda.h 13.5, cudaTypedefs.h 12.9; {_MEASURED}", gpu=False)
def functions_are_found_before_init(cuda: Cuda) -> None:
    """Before cuInit functions are found by their unsuffixed name, version and stream flag."""
    _search(cuda)


@rule("cuGetProcAddress_v2", source=f"cuda.h 13.5, cudaTypedefs.h 12.9; {_MEASURED}", gpu=True)
def functions_are_found(cuda: Cuda) -> None:
    """After cuInit functions are found as before it, and what is found works."""
    cuda.init()
    _search(cuda)
    function, _ = _ask(cuda, "cuDriverGetVersion", 12000)
    version, same = cuda.out("int"), cuda.out("int")
    cuda.ok("cuDriverGetVersion", version)
    cuda.equal(int(cuda.ffi.cast("int(*)(int *)", function)(same)), 0, "what the function answers")
    cuda.equal(cuda.value(same), cuda.value(version), "the version by the function")


@rule("cuGetProcAddress_v2", source=_MEASURED, gpu=False)
def bad_questions(cuda: Cuda) -> None:
    """A flag above 3 is CUDA_ERROR_INVALID_VALUE and writes nothing; the status may be left out."""
    function, status = cuda.out("void *"), cuda.out("CUdriverProcAddressQueryResult")
    for flags in (4, 8, 1 << 40):
        cuda.expect(INVALID_VALUE, "cuGetProcAddress_v2", "cuInit", function, 12000, flags, status)
    cuda.untouched(function)
    cuda.untouched(status)
    cuda.ok("cuGetProcAddress_v2", "cuInit", function, 12000, LEGACY | PER_THREAD, None)
    cuda.check(cuda.value(function) != cuda.null, "cuInit is found")
    cuda.ok("cuGetProcAddress_v2", "cuNoSuchFunction", function, 12000, 0, None)
    cuda.equal(cuda.value(function), cuda.null, "a function that is not found")


def _first_form(cuda: Cuda) -> None:
    function = cuda.out("void *")
    cuda.ok("cuGetProcAddress", "cuMemAlloc", function, 12000, 0)
    cuda.equal(cuda.value(function), _ask(cuda, "cuMemAlloc", 12000)[0], "cuMemAlloc")
    other = cuda.out("void *")
    cuda.expect(NOT_FOUND, "cuGetProcAddress", "cuNoSuchFunction", other, 12000, 0)
    cuda.expect(NOT_FOUND, "cuGetProcAddress", "cuInit", other, 1000, 0)
    cuda.expect(INVALID_VALUE, "cuGetProcAddress", "cuInit", other, 12000, 4)
    cuda.untouched(other)


@rule("cuGetProcAddress", source=_MEASURED, gpu=False)
def the_first_form_before_init(cuda: Cuda) -> None:
    """The form without a status finds the same; what it does not find is 500, and nothing is written."""
    _first_form(cuda)


@rule("cuGetProcAddress", source=_MEASURED, gpu=True)
def the_first_form(cuda: Cuda) -> None:
    """The form without a status answers after cuInit as before it."""
    cuda.init()
    _first_form(cuda)


def _unknown_table(cuda: Cuda) -> None:
    table = cuda.out("const void *")
    cuda.expect(INVALID_VALUE, "cuGetExportTable", table, cuda.struct("CUuuid"))
    cuda.equal(cuda.value(table), cuda.null, "an unknown table")


@rule("cuGetExportTable", source=_MEASURED, gpu=False)
def unknown_tables_before_init(cuda: Cuda) -> None:
    """Of an unknown private table cuGetExportTable answers CUDA_ERROR_INVALID_VALUE and NULL, before cuInit, too."""
    _unknown_table(cuda)


@rule("cuGetExportTable", source=_MEASURED, gpu=True)
def unknown_tables(cuda: Cuda) -> None:
    """Of an unknown private table cuGetExportTable answers CUDA_ERROR_INVALID_VALUE and NULL after cuInit."""
    cuda.init()
    _unknown_table(cuda)
