"""Running a program: its streams, limits, environment, processes, and whether the shims were in it."""

import math
import re
import shutil
import signal
import stat
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil
import pytest
from support.compile import compile_library, compile_program

from vgpu_harness.errors import HostError, ImageError, ProgramError, RunError, TraceError
from vgpu_harness.host import Host
from vgpu_harness.run import Run
from vgpu_harness.run import run as run_program
from vgpu_harness.run.child import NotStartedError
from vgpu_harness.run.runner import NotMappedError
from vgpu_harness.shims import shim_path
from vgpu_harness.trace import Kind, Library

SMALL = 1 << 20
SHOW = r"""
/* Says what kind of process it is: limits, session, streams, environment. */
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <unistd.h>

extern char **environ;

int main(void) {
    struct rlimit core;
    char line[100] = "";
    usleep(20000);
    getrlimit(RLIMIT_CORE, &core);
    printf("core %lu\nleader %d\nstdin %s\n", (unsigned long)core.rlim_max, getsid(0) == getpid(),
           fgets(line, sizeof(line), stdin) != NULL ? line : "nothing");
    for (char **at = environ; *at != NULL; at++) {
        printf("env %s\n", *at);
    }
    fprintf(stderr, "to stderr\n");
    return 3;
}
"""
READ_VENDOR = r"""
#include <stdio.h>
int main(void) {
    char line[100] = "";
    FILE *file = fopen("/sys/bus/pci/devices/0000:00:05.0/vendor", "r");
    fputs(file != NULL && fgets(line, sizeof(line), file) != NULL ? line : "none\n", stdout);
    return 0;
}
"""


@pytest.fixture
def run(tmp_path: Path) -> Callable[..., Run]:
    """``run_program`` with a directory of this test and a small trace."""

    def started(*argv: Any, **options: Any) -> Run:
        options = {"directory": tmp_path / "run", "trace_size": SMALL, "timeout": 20.0} | options
        return run_program([str(word) for word in argv], **options)

    return started


def preload(*entries: Any, **more: Any) -> Host:
    """A host that preloads these."""
    return Host(delivery={"preload": [str(entry) for entry in entries], "links": []}, **more)


def test_a_program_sees_the_simulated_host(run: Callable[..., Run], tmp_path: Path) -> None:
    """It reads NVIDIA's vendor number; the trace has who was mapped and what was called."""
    done = run(compile_program(READ_VENDOR, "reader"))
    assert (done.returncode, done.stdout, done.stderr, done.timed_out) == (0, "0x10de\n", "", False)
    kinds = {record.kind for record in done.trace}
    assert {Kind.MAPPED, Kind.INIT, Kind.GATE, Kind.CALL} <= kinds
    mapped = {record.text for record in done.trace if record.kind == Kind.MAPPED}
    assert set(done.preload) <= mapped
    assert stat.S_IMODE((tmp_path / "run").stat().st_mode) == 0o700
    assert {record.pid for record in done.trace} == {done.pid}
    # The control: without the shims the same program does not.
    plain = run(compile_program(READ_VENDOR, "reader"), host=preload(), directory=tmp_path / "plain")
    assert plain.stdout != "0x10de\n"
    assert Library.SYSCALL not in {record.library for record in plain.trace}


def test_the_process_is_what_it_should_be(
    run: Callable[..., Run], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """No core files, a session of its own, a closed stdin, a built environment, its streams in files."""
    monkeypatch.setenv("SECRET_TOKEN", "hunter2")
    done = run(compile_program(SHOW, "show"), env={"CUDA_VISIBLE_DEVICES": "0"})
    lines = done.stdout.splitlines()
    assert lines[:3] == ["core 0", "leader 1", "stdin nothing"]
    environment = dict(line[4:].split("=", 1) for line in lines if line.startswith("env "))
    directory = tmp_path / "run"
    assert environment["HOME"] == str(directory / "home")
    assert environment["TMPDIR"] == str(directory / "tmp")
    assert environment["VGPU_HOST"] == str(directory / "host.image")
    assert environment["VGPU_TRACE"] == str(directory / "trace")
    assert environment["LD_PRELOAD"] == ":".join(done.preload)
    assert environment["LD_AUDIT"] == str(shim_path("audit"))
    assert environment["CUDA_VISIBLE_DEVICES"] == "0"
    assert "SECRET_TOKEN" not in environment
    assert (done.returncode, done.stderr) == (3, "to stderr\n")
    assert (directory / "stdout").read_text() == done.stdout


def test_input_reaches_the_program(run: Callable[..., Run]) -> None:
    """Text that is given is its standard input."""
    assert "stdin hello\n" in run(compile_program(SHOW, "show"), input="hello\n").stdout


def test_time_is_limited(run: Callable[..., Run]) -> None:
    """A program that does not end is ended, and the run says so."""
    started = time.monotonic()
    done = run("sleep", "30", timeout=0.2)
    assert time.monotonic() - started < 10
    assert done.timed_out
    assert done.returncode == -signal.SIGTERM
    assert "its time was over" in done.explain()


@pytest.mark.parametrize("timeout", [0, -1.0, math.nan])
def test_a_time_that_is_none_is_refused(run: Callable[..., Run], timeout: float) -> None:
    """The timeout must be above 0."""
    with pytest.raises(RunError, match="is not above 0"):
        run("true", timeout=timeout)


def test_nothing_survives_a_run(run: Callable[..., Run]) -> None:
    """What the program left in the background is ended, and named in the result."""
    done = run("sh", "-c", "setsid sleep 60 >/dev/null 2>&1 & echo $!; setsid sleep 60 & echo $!; sleep 0.1")
    assert done.returncode == 0
    pids = [int(word) for word in done.stdout.split()]
    assert len(pids) == 2
    assert set(pids) <= set(done.reaped)
    for pid in pids:
        assert not psutil.pid_exists(pid) or psutil.Process(pid).status() == psutil.STATUS_ZOMBIE


@pytest.mark.parametrize("observe", ["ptrace", "sampled"])
def test_a_daemon_is_seen(run: Callable[..., Run], observe: str) -> None:
    """It left its parent and its session before anybody could look, and is there all the time."""
    done = run("sh", "-c", "(setsid sleep 60 >/dev/null 2>&1 &); sleep 0.3", observe=observe)
    (daemon,) = [process for process in done.processes if process.argv[-1:] == ("60",)]
    assert done.reaped == (daemon.pid,)


def test_processes_are_seen_with_and_without_the_shims(run: Callable[..., Run]) -> None:
    """A child whose environment was emptied is seen from outside, marked as untraced; one with it is traced."""
    done = run("sh", "-c", "env -i sleep 0.3 & sleep 0.3 & wait", host=preload("syscall"))
    sleeps = {process.traced: process for process in done.processes if "sleep" in process.argv[0]}
    assert set(sleeps) == {True, False}
    assert (sleeps[False].preloaded, sleeps[True].preloaded) == (False, True)
    assert {process.parent for process in sleeps.values()} == {done.pid}
    mapped = {record.pid for record in done.trace if record.kind == Kind.MAPPED and record.text.endswith("/sleep")}
    assert mapped == {sleeps[True].pid}


def test_killed_by_a_signal(run: Callable[..., Run]) -> None:
    """The status of a killed program is the negative number of the signal, and is said by name."""
    done = run("sh", "-c", "kill -SEGV $$")
    assert done.returncode == -signal.SIGSEGV
    assert "killed by SIGSEGV" in repr(done)


IGNORED = re.escape(
    "none of the shims was mapped; on stderr: ERROR: ld.so: object '/nowhere/libcuda.so' from LD_PRELOAD cannot be "
    "preloaded (cannot open shared object file): ignored."
)


class TestMapped:
    """LD_PRELOAD fails open; a run does not."""

    def test_a_missing_preload_file_fails_the_run_in_the_words_of_ld_so(self, run: Callable[..., Run]) -> None:
        """Nothing was mapped: the error quotes ld.so; the run's files are kept."""
        with pytest.raises(NotMappedError, match=IGNORED) as caught:
            run("true", host=preload("/nowhere/libcuda.so"))
        done = Run.load(str(caught.value).rpartition(" ")[2])
        assert done.returncode == 0
        assert done.unmapped is not None

    def test_a_foreign_preload_file_fails_the_run(self, run: Callable[..., Run], tmp_path: Path) -> None:
        """A library of another class is ignored by ld.so; the reason is quoted."""
        library = Path(shutil.copy(compile_library("int x;", "libx.so"), tmp_path / "libcuda32.so"))
        data = bytearray(library.read_bytes())
        data[4] = 1
        library.write_bytes(data)
        with pytest.raises(NotMappedError, match=r"cannot be preloaded \(wrong ELF class: ELFCLASS32\)"):
            run("true", host=preload(library))

    def test_one_of_several_that_is_ignored_is_a_finding(self, run: Callable[..., Run]) -> None:
        """As long as one shim is mapped the run is sound, and says which was ignored."""
        done = run("true", host=preload("/nowhere/libcuda.so", "syscall"))
        assert done.unmapped is None
        assert any(finding.startswith("ld.so ignored /nowhere/libcuda.so (cannot open") for finding in done.findings)
        assert run("true", host=preload("syscall"), directory=done.directory.with_name("control")).findings == ()

    def test_the_check_can_be_left_out(self, run: Callable[..., Run]) -> None:
        """Then the reason stands in the result."""
        done = run("true", host=preload("/nowhere/libcuda.so"), check_mapped=False)
        assert "cannot be preloaded" in str(done.unmapped)

    def test_without_the_auditor_only_ld_so_can_tell(self, run: Callable[..., Run], tmp_path: Path) -> None:
        """A program that calls nothing passes; one whose preload was refused by ld.so does not."""
        assert run("true", audit=False).unmapped is None
        with pytest.raises(NotMappedError):
            run("true", host=preload("/nowhere/x.so"), audit=False, directory=tmp_path / "second")

    def test_a_library_that_is_mapped_and_never_called_is_mapped(self, run: Callable[..., Run]) -> None:
        """A user's library that never says a word is seen by the auditor."""
        library = compile_library("int unused_anywhere;", "libsilent.so")
        done = run("true", host=preload(library))
        assert done.unmapped is None
        assert str(library) in {record.text for record in done.trace if record.kind == Kind.MAPPED}


class TestGate:
    """The program that is asked for gets the GPU, unless its host says no."""

    def test_a_denied_name_is_admitted(self, run: Callable[..., Run], tmp_path: Path) -> None:
        """A program called lspci is on the default list; `run` lets it in, without `admit` it stays out and says so."""
        (tmp_path / "bin").mkdir()
        program = shutil.copy(compile_program(READ_VENDOR, "reader"), tmp_path / "bin/lspci")
        assert run(program).stdout == "0x10de\n"
        refused = run(program, admit=False, directory=tmp_path / "second")
        assert refused.stdout != "0x10de\n"
        assert any("lspci does not see the GPU" in finding for finding in refused.findings)

    def test_a_hosts_own_list_wins(self, run: Callable[..., Run], tmp_path: Path) -> None:
        """A deny list that was written out is meant, even for the program itself."""
        (tmp_path / "bin").mkdir()
        program = shutil.copy(compile_program(READ_VENDOR, "reader"), tmp_path / "bin/reader")
        assert run(program, host=Host(gate={"deny": ["reader"]})).stdout != "0x10de\n"  # type: ignore[arg-type]
        other = Host(gate={"deny": ["somebody"]})  # type: ignore[arg-type]
        assert run(program, host=other, directory=tmp_path / "second").stdout == "0x10de\n"


class TestBeforeTheStart:
    """What is wrong before the start is one error, and nothing is left behind."""

    @pytest.mark.parametrize(
        ("options", "error"),
        [
            ({"host": "nothing.toml"}, HostError),
            ({"trace_size": 100}, TraceError),
            ({"trace": "/nowhere/trace"}, TraceError),
            ({"env": {"VGPU_HOST": "x"}}, RunError),
            ({"library_path": ["/a:b"]}, RunError),
            ({"argv": ["no-such-program"]}, ProgramError),
            ({"argv": []}, RunError),
            ({"host": preload("syscall", faults=[{"library": "syscall", "missing_symbol": "nothing"}])}, Exception),
        ],
    )
    def test_nothing_is_half_written(self, tmp_path: Path, options: dict[str, Any], error: type[Exception]) -> None:
        """Whatever it is, a directory that was not there is not there afterwards."""
        argv = options.pop("argv", ["true"])
        with pytest.raises(error):
            run_program(argv, directory=tmp_path / "run", **({"trace_size": SMALL} | options))
        assert [entry.name for entry in tmp_path.iterdir()] == []

    def test_a_directory_keeps_what_was_in_it(self, tmp_path: Path) -> None:
        """A directory that was there keeps its own files, and only those."""
        (tmp_path / "mine").write_text("x")
        with pytest.raises(RunError):
            run_program(["true"], directory=tmp_path, trace_size=SMALL, library_path=["/a:b"])
        assert [entry.name for entry in tmp_path.iterdir()] == ["mine"]
        assert run_program(["true"], directory=tmp_path, trace_size=SMALL).returncode == 0

    def test_a_directory_of_another_run_is_refused(self, run: Callable[..., Run]) -> None:
        """A run is a value: its files are not written over."""
        first = run("true")
        with pytest.raises(RunError, match=r"has the host\.image of a run already"):
            run("true")
        assert Run.load(first.directory).returncode == 0

    def test_the_kernel_may_refuse(self, run: Callable[..., Run]) -> None:
        """A command line that is too long is found by execve only."""
        with pytest.raises(NotStartedError, match="cannot be executed: Argument list too long") as caught:
            run("true", "x" * (200 << 10))
        assert isinstance(caught.value.__cause__, OSError)


class TestImage:
    """A host image stands for a host."""

    def test_an_image_is_used_as_it_is(self, run: Callable[..., Run], tmp_path: Path) -> None:
        """The program sees the host that the image describes."""
        image = run("true", keep_tree=True).directory / "host.image"
        done = run(compile_program(READ_VENDOR, "reader"), host=image, directory=tmp_path / "second")
        assert done.stdout == "0x10de\n"
        assert not (done.directory / "host.image").exists()

    def test_an_image_whose_tree_is_gone_is_refused(self, run: Callable[..., Run], tmp_path: Path) -> None:
        """That of a run is, unless it was to be kept: the image would hide what it is to show."""
        image = run("true").directory / "host.image"
        with pytest.raises(ImageError, match=r"its tree is gone .* --keep"):
            run("true", host=image, directory=tmp_path / "second")

    def test_a_damaged_image_is_refused(self, run: Callable[..., Run], tmp_path: Path) -> None:
        """Before the start, and nothing is left."""
        broken = tmp_path / "broken.image"
        broken.write_bytes((run("true").directory / "host.image").read_bytes()[:-7])
        with pytest.raises(ImageError):
            run("true", host=broken, directory=tmp_path / "second")
        assert not (tmp_path / "second").exists()

    def test_an_image_fault_is_refused_by_the_shims(self, run: Callable[..., Run]) -> None:
        """An image that is wrong on purpose starts; the shims say why they refuse it."""
        done = run(compile_program(READ_VENDOR, "reader"), host=Host(faults=[{"image": "truncated"}]))  # type: ignore[list-item]
        assert done.stdout != "0x10de\n"
        assert any(finding.startswith("the shims refused the host image: truncated") for finding in done.findings)


def test_python_itself_can_be_run(run: Callable[..., Run]) -> None:
    """A large program with many threads of its own making is no special case."""
    code = (
        "import os, threading\n"
        "threading.Thread(target=os.stat, args=('/dev/nvidia0',)).start()\n"
        "print(os.stat('/dev/nvidia0').st_rdev >> 8)"
    )
    assert run(sys.executable, "-I", "-S", "-c", code).stdout == "195\n"
