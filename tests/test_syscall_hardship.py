"""When the shim's start-up meets a hardship, the program goes on with its own results."""

import shutil
from pathlib import Path

import pytest
from support.compile import compile_program
from test_syscall_files import GPU, Machine, MakeMachine, make_machine  # noqa: F401

from vgpu_harness.host import Host
from vgpu_harness.trace import create_trace

SOURCE = Path(__file__).with_name("support") / "hardship.c"
SEES = "stat 0 0 mode 100444; open 0 read 6 0x10de; access 0"


@pytest.fixture(scope="module")
def program() -> Path:
    """The program that brings the hardship over itself."""
    return compile_program(SOURCE.read_text(encoding="utf-8"), "hardship")


@pytest.fixture
def machine(make_machine: MakeMachine) -> Machine:  # noqa: F811
    """A host whose files a test may spoil."""
    return make_machine(Host())


def lines(machine: Machine, program: Path, kind: str, *, shim: bool = True, **variables: str) -> list[str]:
    """What the program finds of a file of its own and of the GPU's vendor."""
    own = machine.directory / "own"
    own.write_text("hello!")
    run = machine.run(program, kind, own, f"{GPU}/vendor", shim=shim, **variables)
    assert (run.returncode, run.stderr) == (0, "")
    return run.stdout.splitlines()


def test_there_is_none(machine: Machine, program: Path) -> None:
    """Without a hardship the program sees the GPU: what the tests below see is the hardship's doing."""
    own, gpu = lines(machine, program, "none")
    assert own.endswith("; open 0 read 6 hello!; access 0")
    assert gpu == SEES


@pytest.mark.parametrize("kind", ["descriptors", "memory", "mmap", "read-only"])
def test_limits_leave_the_programs_own_results(machine: Machine, program: Path, kind: str) -> None:
    """No descriptor, no memory, no mmap, no file to write to: the program's own file is as it is without the shim."""
    assert lines(machine, program, kind)[0] == lines(machine, program, kind, shim=False)[0]


def test_without_the_image_files_are_real(machine: Machine, program: Path) -> None:
    """Where the image cannot be mapped, the GPU's path shows what the machine has there."""
    assert lines(machine, program, "memory") == lines(machine, program, "memory", shim=False)
    assert lines(machine, program, "mmap") == lines(machine, program, "mmap", shim=False)


def test_a_trace_that_cannot_be_written_changes_nothing(machine: Machine, program: Path) -> None:
    """A trace on a read-only file system, a missing one, a directory, a file of another kind: the GPU is seen."""
    assert lines(machine, program, "read-only")[1] == SEES
    for path in (
        machine.directory / "none",
        machine.directory,
        Path("/dev/full"),
        Path("/dev/null"),
        Path("/etc/hostname"),
    ):
        assert lines(machine, program, "none", VGPU_TRACE=str(path))[1] == SEES, path


def test_a_full_trace_changes_nothing(machine: Machine, program: Path, tmp_path: Path) -> None:
    """A trace without room for a record loses records, not files."""
    trace = tmp_path / "trace"
    create_trace(trace, 8192)
    for _ in range(12):
        assert lines(machine, program, "none", VGPU_TRACE=str(trace))[1] == SEES
    assert trace.stat().st_size == 8192


def test_a_missing_tree_is_missing_files(machine: Machine, program: Path) -> None:
    """Without its tree the GPU's files are ENOENT, and never the real machine's."""
    shutil.rmtree(machine.tree)
    own, gpu = lines(machine, program, "none")
    assert own.endswith("; open 0 read 6 hello!; access 0")
    assert gpu == "stat -1 2 mode 0; open 2 read -1 ; access -1"
