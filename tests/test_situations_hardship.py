"""A fault in any start-up step of the four shims together: the program goes on, with its own results and no word of it.

Its own results are what it finds of a file of its own and how the programs that it starts end. The driver answers what
it answers where there is no GPU, or no memory, and sees all where the fault is none of its business.
"""

from collections.abc import Callable
from pathlib import Path

import pytest
from support.compile import compile_library, compile_program
from test_situations_calls import with_all
from test_syscall_files import GPU, Machine, MakeMachine, make_machine  # noqa: F401

from vgpu_harness.host import Host
from vgpu_harness.trace import create_trace

SUPPORT = Path(__file__).with_name("support")
ALL = "cuda 0 0 1 nvml 0 0 1"
NO_GPU = "cuda 100 3 -1 nvml 9 1 99"
"""CUDA_ERROR_NO_DEVICE, then NOT_INITIALIZED; NVML_ERROR_DRIVER_NOT_LOADED, then UNINITIALIZED."""
NO_MEMORY = {f"cuda {cuda} nvml {nvml}" for cuda in ("2 2 -1", "100 3 -1") for nvml in ("20 20 99", "9 1 99")}
"""CUDA_ERROR_OUT_OF_MEMORY and NVML_ERROR_MEMORY too: which step fails first depends on malloc's reserve."""
EXIT = 7
CHILD = f'void _start(void) {{ __asm__("mov $60, %eax\\n mov ${EXIT}, %edi\\n syscall"); }}'
FRAGILE = """
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
int cuInit(unsigned flags) {
    int fd = open(getenv("VGPU_HOST"), O_RDONLY);
    if (fd < 0 || mmap(NULL, 4096, PROT_READ, MAP_PRIVATE, fd, 0) == MAP_FAILED) {
        FAIL;
    }
    return (int)flags;
}
int cuDeviceGetCount(int *count) { return *count = 0; }
int nvmlInit_v2(void) { return 0; }
int nvmlDeviceGetCount_v2(unsigned *count) { return (int)(*count = 0); }
"""
KINDS = ("descriptors", "memory", "late memory", "mmap", "read-only", "proc")


@pytest.fixture(scope="module")
def program() -> Path:
    """The program that brings the hardship over itself."""
    return compile_program((SUPPORT / "hardship.c").read_text(encoding="utf-8"), "hardship")


@pytest.fixture(scope="module")
def child() -> Path:
    """A program without libraries, as a started one has the same hardship."""
    return compile_program(CHILD, "child", "-static", "-nostdlib")


@pytest.fixture(scope="module")
def machine(make_machine: MakeMachine) -> Machine:  # noqa: F811
    """The default host, with all shims."""
    machine = with_all(make_machine(Host()))
    (machine.directory / "own").write_text("hello!")
    return machine


Unharmed = Callable[..., tuple[str, str]]


@pytest.fixture(scope="module")
def unharmed(machine: Machine, program: Path, child: Path) -> Unharmed:
    """Runs the program with the shims and without them; answers what it sees of the GPU's file and of the driver."""

    def look(kind: str, **variables: str) -> tuple[str, str]:
        words = (program, kind, machine.directory / "own", f"{GPU}/device", child)
        told, plain = machine.run(*words, shim=True, **variables), machine.run(*words, shim=False)
        assert (told.returncode, told.stderr) == (plain.returncode, plain.stderr) == (0, "")
        lines, expected = told.stdout.splitlines(), plain.stdout.splitlines()
        assert (lines[0], lines[3:]) == (expected[0], expected[3:])
        return lines[1], lines[2]

    return look


def test_there_is_none(unharmed: Unharmed) -> None:
    """Without a hardship the GPU is seen: what the tests below find is the hardship's doing."""
    file, driver = unharmed("none")
    assert ("0x2331" in file, driver) == (True, ALL)


@pytest.mark.parametrize("kind", KINDS)
def test_what_the_process_lacks(unharmed: Unharmed, kind: str) -> None:
    """No descriptor, no memory from the start or later, no mmap, no file to write to, no /proc."""
    file, driver = unharmed(kind)
    if kind in {"read-only", "proc"}:
        assert ("0x2331" in file, driver) == (True, ALL)
    elif kind == "late memory":
        assert driver in NO_MEMORY | {line.replace("cuda 2 2 -1", "cuda 0 0 1") for line in NO_MEMORY}
    else:
        assert driver in ({NO_GPU} if kind != "memory" else NO_MEMORY)


@pytest.mark.parametrize("kind", ["missing", "directory", "empty", "start", "truncated", "version", "foreign"])
def test_a_host_image_that_is_none(unharmed: Unharmed, machine: Machine, tmp_path: Path, kind: str) -> None:
    """A missing image, a damaged one, one of another version: there is no GPU, as on a machine without one."""
    good = Path(machine.environment["VGPU_HOST"]).read_bytes()
    bad = {
        "empty": b"", "start": good[:10], "truncated": good[:-1], "version": good[:8] + b"\x63" + good[9:],
        "foreign": b"X" + good[1:],
    }  # fmt: skip
    image = tmp_path if kind == "directory" else tmp_path / "image"
    if kind in bad:
        image.write_bytes(bad[kind])
    file, driver = unharmed("none", VGPU_HOST=str(image))
    assert ("0x2331" in file, driver) == (False, NO_GPU)


@pytest.mark.parametrize("kind", ["missing", "directory", "empty", "foreign", "full", "device"])
def test_a_trace_that_is_none(unharmed: Unharmed, tmp_path: Path, kind: str) -> None:
    """A trace that is missing, damaged or full costs records, and nothing else."""
    trace = {"directory": tmp_path, "device": Path("/dev/full")}.get(kind, tmp_path / "trace")
    if kind in {"empty", "foreign"}:
        trace.write_bytes(b"" if kind == "empty" else bytes(8192))
    if kind == "full":
        create_trace(trace, 8192)
    for _ in range(3 if kind == "full" else 1):  # it has room for 32 records
        file, driver = unharmed("none", VGPU_TRACE=str(trace))
        assert ("0x2331" in file, driver) == (True, ALL)
    assert not trace.is_file() or trace.stat().st_size in {0, 8192}


def test_a_tree_that_is_gone(unharmed: Unharmed, machine: Machine) -> None:
    """Without its tree the GPU's files are missing, and the driver is there."""
    machine.tree.rename(machine.directory / "away")
    try:
        file, driver = unharmed("none")
    finally:
        (machine.directory / "away").rename(machine.tree)
    assert file.startswith("stat -1 2 mode 0; open 2")
    assert driver == ALL


@pytest.mark.parametrize("end", ["abort()", 'fputs("no GPU\\n", stderr)', 'puts("no GPU")'])
def test_a_fragile_library_is_found_out(unharmed: Unharmed, tmp_path: Path, end: str) -> None:
    """A library that ends its program, or talks, where its start-up fails does not pass; without a fault it does."""
    fragile = str(compile_library(FRAGILE, "libfragile.so", f"-DFAIL={end}"))
    unharmed("none", LD_PRELOAD=fragile)
    for kind, image in (("mmap", None), ("memory", None), ("descriptors", None), ("none", tmp_path / "none")):
        with pytest.raises(AssertionError):
            unharmed(kind, LD_PRELOAD=fragile, **({"VGPU_HOST": str(image)} if image else {}))
