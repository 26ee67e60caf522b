"""libvgpu-cuda.so as it is shipped: what it exports, and how it answers a program that loads it."""

import ctypes
import json
import subprocess
import sys
from pathlib import Path

import pytest
from elftools.elf.elffile import ELFFile
from support.compile import compile_library
from support.entries import entries

from vgpu_harness.shims import shim_path
from vgpu_harness.shims.elf import read_elf

LIST = set(entries("cuda"))
TLS_MOST = 32

# Calls the library by its plain C names; prints one JSON object.
CLIENT = """
import ctypes, json, sys
cuda = ctypes.CDLL(sys.argv[1])
count, version, free, total = ctypes.c_int(), ctypes.c_int(), ctypes.c_size_t(), ctypes.c_size_t()
context = ctypes.c_void_p()
early = cuda.cuDeviceGetCount(ctypes.byref(count))
codes = [early, cuda.cuInit(0), cuda.cuDriverGetVersion(ctypes.byref(version)),
         cuda.cuDeviceGetCount(ctypes.byref(count)), cuda.cuCtxCreate_v3(ctypes.byref(context), None, 0, 0, 0),
         cuda.cuMemGetInfo_v2(ctypes.byref(free), ctypes.byref(total)), cuda.cuCtxDestroy(context)]
same = {}
for name, asked in json.loads(sys.argv[2]):
    pfn, status = ctypes.c_void_p(), ctypes.c_int(77)
    cuda.cuGetProcAddress_v2(asked[0].encode(), ctypes.byref(pfn), asked[1], ctypes.c_uint64(0), ctypes.byref(status))
    same[name] = pfn.value == ctypes.cast(getattr(cuda, name), ctypes.c_void_p).value
print(json.dumps([codes, version.value, count.value, free.value, total.value, same]))
"""


def exported(library: Path) -> set[str]:
    """The names that a library defines for others."""
    return set(read_elf(library).exported)


def test_the_exports_are_the_list():
    """libvgpu-cuda.so exports exactly the functions of its list."""
    assert exported(shim_path("cuda")) == LIST


def test_the_soname_is_the_drivers():
    """Programs that ask for libcuda.so.1 are satisfied by it."""
    assert read_elf(shim_path("cuda")).soname == "libcuda.so.1"


@pytest.mark.parametrize("name", ["cuda", "nvml"])
def test_it_is_small_in_thread_storage_and_has_no_constructor(name):
    """At most 32 bytes of thread-local storage; no constructor but those that the compiler adds to every library."""
    with shim_path(name).open("rb") as stream:
        elf = ELFFile(stream)
        sizes = [segment["p_memsz"] for segment in elf.iter_segments("PT_TLS")]
        starts = elf.get_section_by_name(".init_array")
        assert sum(sizes) <= TLS_MOST
        assert starts is None or starts["sh_size"] == ctypes.sizeof(ctypes.c_void_p)  # frame_dummy of crtbegin.o


def test_a_program_gets_answers_from_the_shipped_file(vgpu_run, vgpu_host):
    """Loaded by a program, the file answers what the host says, and cuGetProcAddress answers its exported functions."""
    asked = [
        ("cuInit", ("cuInit", 12000)),
        ("cuMemAlloc_v2", ("cuMemAlloc", 12000)),
        ("cuCtxCreate_v3", ("cuCtxCreate", 12000)),
    ]
    run = vgpu_run([sys.executable, "-c", CLIENT, "libcuda.so.1", json.dumps(asked)])
    assert (run.returncode, run.stderr) == (0, "")
    codes, version, count, free, total, same = json.loads(run.stdout)
    assert codes == [3, 0, 0, 0, 0, 0, 0]
    gpu = vgpu_host.gpu[0]
    mib = 1 << 20
    assert (version, count) == (vgpu_host.driver.cuda_number, len(vgpu_host.gpu))
    assert (free, total) == (
        (gpu.memory_mib - gpu.reserved_mib - gpu.used_mib) * mib,
        (gpu.memory_mib - gpu.reserved_mib) * mib,
    )
    assert same == {"cuInit": True, "cuMemAlloc_v2": True, "cuCtxCreate_v3": True}


def test_calls_of_the_shipped_file_carry_their_return_address(vgpu_run):
    """A traced call tells where it was made; in this process, where a test calls, there is no such place."""
    from vgpu_harness.trace import Trace

    run = vgpu_run([sys.executable, "-c", CLIENT, "libcuda.so.1", "[]"])
    calls = [
        record for record in Trace.open(run.trace_path) if record.name.startswith("cu") and record.kind.name == "CALL"
    ]
    assert len(calls) >= len("codes")
    assert all(record.caller != 0 for record in calls)


def test_without_a_host_the_shipped_file_is_silent_and_has_no_device():
    """A program under a shim without a host image sees NVIDIA's answers for a machine without a GPU, and no output."""
    script = (
        "import ctypes, sys; c = ctypes.CDLL(sys.argv[1]); v = ctypes.c_int(); "
        "sys.exit((c.cuInit(0), c.cuDeviceGetCount(ctypes.byref(v)), c.cuInit(1)) != (100, 3, 1))"
    )
    run = subprocess.run(
        [sys.executable, "-c", script, shim_path("cuda")], capture_output=True, timeout=60, check=False, env={}
    )
    assert (run.returncode, run.stdout, run.stderr) == (0, b"", b"")


def test_another_library_with_the_same_names_does_not_change_what_is_answered():
    """cuGetProcAddress answers our own functions even where a library that comes first defines the same names."""
    liar = compile_library(
        "int cuInit(unsigned flags); int cuInit(unsigned flags) { return flags == 0; }", "libliar.so"
    )
    asked = json.dumps([("cuInit", ("cuInit", 12000))])
    environment = {"LD_PRELOAD": f"{liar}:{shim_path('cuda')}"}
    command = [sys.executable, "-c", CLIENT, shim_path("cuda"), asked]
    run = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False, env=environment)
    assert run.returncode == 0, run.stderr
    assert json.loads(run.stdout)[5] == {"cuInit": True}
