"""Every NVML entry point before nvmlInit, after it, without a host, after a fork, and with nothing for arguments."""

import subprocess
import sys

import pytest
from support.entries import INITIALISED, Marked, call_with, entries, in_child, looks_into_structs, nothing, nulls, zeros

from vgpu_harness import Host
from vgpu_harness._wire import ffi, lib
from vgpu_harness.host import Driver, Tree, write_image
from vgpu_harness.shims import shim_path
from vgpu_harness.shims.elf import read_elf
from vgpu_harness.shims.inprocess import Nvml
from vgpu_harness.trace import Kind, Trace

SUCCESS, UNINITIALIZED, INVALID_ARGUMENT, DRIVER_NOT_LOADED = 0, 1, 2, 9

ENTRIES = entries("nvml")
NEEDS_INIT = [name for name, when in ENTRIES.items() if when == INITIALISED]


def test_the_exports_are_the_list():
    """libvgpu-nvml.so exports exactly the functions of its list, under NVIDIA's soname."""
    facts = read_elf(shim_path("nvml"))
    assert set(facts.exported) == set(ENTRIES)
    assert facts.soname == "libnvidia-ml.so.1"


def test_a_call_needs_init(vgpu_image):
    """UNINITIALIZED before nvmlInit and after the last shutdown, whatever the arguments are; nothing is written."""

    def wrong() -> list[tuple[str, list[int]]]:
        found = []
        with Nvml(vgpu_image) as nvml:
            for name in NEEDS_INIT:
                marked = Marked()
                before = [call_with(name, nvml.process, make) for make in (marked, nothing)]
                nvml.nvmlInit_v2()
                ready = [call_with(name, nvml.process, make) for make in (zeros(), nothing)]
                nvml.nvmlShutdown()
                after = [call_with(name, nvml.process, make) for make in (marked, nothing)]
                if before + after != [UNINITIALIZED] * 4 or UNINITIALIZED in ready or not marked.untouched():
                    found.append((name, before + ready + after))
        return found

    assert in_child(wrong) == "[]"


def test_without_a_host_nothing_is_initialised():
    """No driver is loaded then: 9 from each init, 1 from the rest."""
    with Nvml() as nvml:
        assert [nvml.nvmlInit(), nvml.nvmlInit_v2(), nvml.nvmlInitWithFlags(1)] == [DRIVER_NOT_LOADED] * 3
        assert {call_with(name, nvml.process, nothing) for name in NEEDS_INIT} == {UNINITIALIZED}


def test_what_nvidias_library_answers_without_a_driver():
    """As measured on libnvidia-ml 535: its own version, no version of CUDA, and a shutdown that never fails."""
    with Nvml() as nvml:
        assert nvml.text("nvmlSystemGetNVMLVersion", 80)[0] == SUCCESS
        assert nvml.text("nvmlSystemGetDriverVersion", 80)[0] == UNINITIALIZED
        assert nvml.number("nvmlSystemGetCudaDriverVersion_v2", "int")[0] == UNINITIALIZED
        assert [nvml.nvmlShutdown(), nvml.nvmlShutdown()] == [SUCCESS, SUCCESS]


@pytest.mark.parametrize(("driver", "first"), [("535.261.03", SUCCESS), ("580.95.05", UNINITIALIZED)])
def test_a_shutdown_without_an_init_is_no_error_on_an_old_driver(driver, first, tmp_path):
    """The branch 535 answers 0 until an init has succeeded; after that, one shutdown too many is an error for all."""
    image = write_image(Host(driver=Driver(version=driver)), Tree(tmp_path, ()), tmp_path / "image")
    with Nvml(image) as nvml:
        assert [nvml.nvmlShutdown(), nvml.nvmlShutdown()] == [first, first]
        assert [nvml.nvmlInit_v2(), nvml.nvmlShutdown(), nvml.nvmlShutdown()] == [SUCCESS, SUCCESS, UNINITIALIZED]


@pytest.mark.parametrize("number", [0, 1, 2**31 - 1])
@pytest.mark.parametrize("kind", ["NULL", "zeros", "marks"])
def test_bad_arguments_never_crash(kind, number, vgpu_image):
    """NULL, zeroed memory and rubbish for every parameter, device handles included: an answer, never a crash."""

    def all_calls() -> int:
        with Nvml(vgpu_image) as nvml:
            for name in ENTRIES:
                if kind == "marks" and (number > 1 or looks_into_structs(name)):
                    continue  # a pointer, or a count of what is not there: rubbish there is the caller's crash
                nvml.nvmlInit_v2()
                makers = {
                    "NULL": nulls(number),
                    "zeros": zeros(),
                    "marks": Marked(number),
                }
                call_with(name, nvml.process, makers[kind])
        return len(ENTRIES)

    assert in_child(all_calls) == repr(len(ENTRIES))


@pytest.mark.parametrize("wrong", [1, 0x5EED0, 2**64 - 1])
def test_a_wrong_handle_is_an_invalid_argument(wrong, vgpu_nvml, vgpu_image):
    """Numbers, handles of another process, and the place beside the last device: none is read."""
    vgpu_nvml.nvmlInit_v2()
    beside = int(ffi.cast("uintptr_t", vgpu_nvml.device(0)[1])) + 1
    with Nvml(vgpu_image) as other:
        other.nvmlInit_v2()
        handles = [ffi.cast("nvmlDevice_t", wrong), ffi.cast("nvmlDevice_t", beside), other.device(0)[1]]
        assert [vgpu_nvml.name(handle)[0] for handle in handles] == [INVALID_ARGUMENT] * 3


def test_a_forked_child_starts_anew(vgpu_nvml):
    """NVML's references are not inherited: the child inits for itself, and the parent keeps its count."""
    vgpu_nvml.nvmlInit_v2()
    vgpu_nvml.nvmlInit_v2()

    def child() -> list[int]:
        steps = [
            vgpu_nvml.device_count()[0],
            vgpu_nvml.nvmlShutdown(),
            vgpu_nvml.nvmlInit_v2(),
            vgpu_nvml.device_count()[0],
        ]
        return [*steps, vgpu_nvml.nvmlShutdown(), vgpu_nvml.nvmlShutdown()]

    assert in_child(child) == repr([UNINITIALIZED, UNINITIALIZED, SUCCESS, SUCCESS, SUCCESS, UNINITIALIZED])
    assert [vgpu_nvml.nvmlShutdown() for _ in range(3)] == [SUCCESS, SUCCESS, UNINITIALIZED]


@pytest.mark.parametrize(
    ("code", "text"),
    [
        (0, b"Success"),
        (1, b"Uninitialized"),
        (9, b"Driver Not Loaded"),
        (13, b"Function Not Found"),
        (18, b"Driver/library version mismatch"),
        (999, b"Unknown Error"),
        (12345, b"Unknown Error"),
    ],
)
def test_texts_of_codes(code, text, vgpu_nvml):
    """As NVIDIA's library says them, to a process that the gate refuses as well."""
    vgpu_nvml.set_facts(exe="sshd")
    assert ffi.string(lib.vgpu_call_nvmlErrorString(vgpu_nvml.process, code)) == text


CLIENT = """
import ctypes, sys
nvml = ctypes.CDLL("libnvidia-ml.so.1")
count, device, name = ctypes.c_uint(), ctypes.c_void_p(), ctypes.create_string_buffer(96)
codes = [nvml.nvmlDeviceGetCount_v2(ctypes.byref(count)), nvml.nvmlInit_v2(),
         nvml.nvmlDeviceGetCount_v2(ctypes.byref(count)), nvml.nvmlDeviceGetHandleByIndex_v2(0, ctypes.byref(device)),
         nvml.nvmlDeviceGetName(device, name, 96), nvml.nvmlShutdown(), nvml.nvmlShutdown()]
nvml.nvmlErrorString.restype = ctypes.c_char_p
print(codes, count.value, name.value.decode(), nvml.nvmlErrorString(9).decode())
"""


def test_a_program_gets_answers_from_the_shipped_file(vgpu_run, vgpu_host):
    """Loaded by a program, the file counts and answers, each call with its return address in the trace."""
    run = vgpu_run([sys.executable, "-c", CLIENT])
    assert (run.returncode, run.stderr) == (0, "")
    assert run.stdout == f"[1, 0, 0, 0, 0, 0, 1] 1 {vgpu_host.gpu[0].name} Driver Not Loaded\n"
    records = [record for record in Trace.open(run.trace_path) if record.name.startswith("nvml")]
    assert [record.name for record in records if record.kind == Kind.ENTERED] == ["nvmlInit_v2"]
    calls = [record for record in records if record.kind == Kind.CALL]
    assert [record.result for record in calls[:7]] == [1, 0, 0, 0, 0, 0, 1]
    assert all(record.caller for record in calls)
    assert [calls[3].text, calls[4].text] == [vgpu_host.gpu[0].pci, vgpu_host.gpu[0].name]


def test_without_a_host_the_shipped_file_is_silent():
    """A program under a shim without a host image sees no driver, and no output."""
    script = "import ctypes, sys; n = ctypes.CDLL(sys.argv[1]); sys.exit((n.nvmlInit_v2(), n.nvmlShutdown()) != (9, 0))"
    run = subprocess.run(
        [sys.executable, "-c", script, shim_path("nvml")], capture_output=True, timeout=60, check=False, env={}
    )
    assert (run.returncode, run.stdout, run.stderr) == (0, b"", b"")
