"""What the CUDA stand-ins export: exactly their lists, each symbol in the version node of its library."""

import subprocess
import sys
from pathlib import Path

import pytest
from elftools.elf.elffile import ELFFile
from support.compile import compile_program
from support.runtime import CUDALIBS as SOURCES
from support.runtime import MAJORS, header_flags, listed

from vgpu_harness.host.faults import known_functions
from vgpu_harness.shims.elf import read_elf
from vgpu_harness.shims.paths import CUDALIBS, client_path, cudalib_path

NEEDS = Path(__file__).with_name("support") / "ggml_cuda_needs.txt"
LIBC = {"libc.so.6", "libdl.so.2", "libpthread.so.0", "ld-linux-x86-64.so.2"}
ERRORS = 134
"""Codes that NVIDIA's libcudart 12.8.90 and 13.0.96 have a name for."""


def needed(library: str) -> set[str]:
    """What the real libggml-cuda.so needs of one library; "" for what it asks for without a version."""
    rows = [line.partition("@") for line in NEEDS.read_text().splitlines() if not line.startswith("#")]
    return {name for name, _, version in rows if version == library}


@pytest.mark.parametrize("name", CUDALIBS)
def test_the_exports_are_the_list(name):
    """No name more, no name less, and all in one version node that is called as the library is, and is a symbol too."""
    room, major = name.removeprefix("lib").split(".so.")
    assert read_elf(cudalib_path(name)).provided == {entry: {name} for entry in {name, *listed(room, int(major))}}


@pytest.mark.parametrize(("name", "count"), [("libcudart.so.13", 58), ("libcublas.so.13", 13)])
def test_the_real_backend_finds_all_it_needs(name, count):
    """Each symbol that a libggml-cuda.so built by NVIDIA's compiler asks for is there, in the version it asks for."""
    assert len(needed(name)) == count
    assert needed(name) <= set(read_elf(cudalib_path(name)).provided)


@pytest.mark.parametrize("room", ["cudart", "cublas"])
def test_12_has_the_same_but_for_the_properties(room):
    """What was built for 12 asks for the same names, and for two layouts of the properties."""
    assert listed(room, 12) - listed(room, 13) == ({"cudaGetDeviceProperties_v2"} if room == "cudart" else set())
    assert listed(room, 13) <= listed(room, 12)


@pytest.mark.parametrize("major", MAJORS)
def test_the_mini_backend_is_linked_as_the_real_one_is(major):
    """The three libraries are DT_NEEDED, and each name of runtime and cuBLAS is asked for in its library's version."""
    facts = read_elf(client_path(f"ggml/cuda_v{major}/libggml-cuda.so"))
    runtime, blas = f"libcudart.so.{major}", f"libcublas.so.{major}"
    assert {"libcuda.so.1", runtime, blas} <= set(facts.needed)
    versions = {version: name for name, version in facts.required if name.startswith("cu")}
    assert set(versions) == {"", runtime, blas}
    for name, version in facts.required:
        if version in {runtime, blas}:
            assert version in read_elf(cudalib_path(version)).provided[name]


def test_the_driver_has_what_the_real_backend_asks_it_for():
    """The eleven names that it binds to libcuda.so.1 itself are the shim's."""
    assert len(needed("")) == 11
    assert needed("") <= known_functions()


@pytest.mark.parametrize("name", CUDALIBS)
def test_they_are_ordinary_clients_of_the_driver(name):
    """Only libc is needed, no driver library; no constructor but those that the compiler adds to every library."""
    assert set(read_elf(cudalib_path(name)).needed) <= LIBC
    with cudalib_path(name).open("rb") as stream:
        starts = ELFFile(stream).get_section_by_name(".init_array")
        assert starts is not None
        assert starts.data_size == 8


@pytest.mark.parametrize("major", MAJORS)
def test_the_headers_declare_every_entry_point(major):
    """runtime.h and cublas.h compile on their own, with all warnings, and a program that uses all of it is linked."""
    names = sorted(listed("cudart", major) | listed("cublas", major))
    uses = "\n".join(f"    (void)&{name};" for name in names)
    source = f'#include "runtime.h"\n#include "cublas.h"\nint main(void) {{\n{uses}\n    return 0;\n}}\n'
    libraries = [str(cudalib_path(f"lib{room}.so.{major}")) for room in ("cudart", "cublas")]
    program = compile_program(source, f"declared-{major}", *header_flags(major), *libraries)
    path = str(cudalib_path("libcudart.so.12").parent)
    subprocess.run([program], check=True, timeout=60, env={"LD_LIBRARY_PATH": path})


ASK = """
import ctypes, sys
runtime = ctypes.CDLL(sys.argv[1])
for function in (runtime.cudaGetErrorName, runtime.cudaGetErrorString):
    function.restype = ctypes.c_char_p
for code in range(-1, 10001):
    name = runtime.cudaGetErrorName(code).decode()
    if name != "unrecognized error code":
        print(code, name, runtime.cudaGetErrorString(code).decode(), sep="|")
"""


@pytest.mark.parametrize("major", MAJORS)
def test_codes_have_nvidias_names_and_texts(major):
    """As the real runtime has them, also for the codes that no driver ever answers; others have none."""
    command = [sys.executable, "-c", ASK, str(cudalib_path(f"libcudart.so.{major}"))]
    said = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True).stdout
    rows = [line.split("|") for line in said.splitlines()]
    assert len(rows) == ERRORS
    texts = {int(code): (name, text) for code, name, text in rows}
    assert texts[0] == ("cudaSuccess", "no error")
    assert texts[35] == (
        "cudaErrorInsufficientDriver", "CUDA driver version is insufficient for CUDA runtime version"
    )  # fmt: skip
    assert texts[36][1] == "API call is not supported in the installed CUDA driver"
    assert texts[98] == ("cudaErrorInvalidDeviceFunction", "invalid device function")
    assert texts[802] == ("cudaErrorSystemNotReady", "system not yet initialized")
    assert 12345 not in texts


def test_the_layouts_are_checked_by_the_compiler(tmp_path):
    """A field that is moved in the list does not compile: the offsets of NVIDIA's header stand beside it."""
    for name in ("device_prop.h", "device_prop.def"):
        (tmp_path / name).write_text((SOURCES / name).read_text())
    source = '#include "device_prop.h"\nint main(void) { return 0; }\n'
    for major in MAJORS:
        compile_program(source, "layout", f"-DCUDART_MAJOR={major}", f"-I{tmp_path}")
    fields = (tmp_path / "device_prop.def").read_text()
    moved = fields.replace("CUDART_PROP(int, major, , 75)\n", "CUDART_PROP(size_t, major, , 75)\n")
    assert moved != fields
    (tmp_path / "device_prop.def").write_text(moved)
    for major in MAJORS:
        with pytest.raises(AssertionError, match="is where NVIDIA's header has it"):
            compile_program(source, "moved", f"-DCUDART_MAJOR={major}", f"-I{tmp_path}")
