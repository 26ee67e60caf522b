"""Programs that the shims did not reach are named, with who took them away and what to change."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from support.compile import compile_program

from vgpu_harness.host import Host
from vgpu_harness.run import Run
from vgpu_harness.run import run as run_program
from vgpu_harness.run.observer import Image, Process
from vgpu_harness.run.shimless import Shimless, without_shims
from vgpu_harness.shims import shim_path
from vgpu_harness.trace import Kind, Library, Record

WITHOUT = "with an environment without LD_PRELOAD, LD_AUDIT, VGPU_HOST and VGPU_TRACE"
PRELOAD_IT = "preload libvgpu-exec.so too (delivery.preload), which keeps it"
TRUE = "int main(void) { return 0; }"
WAYS = r"""
/* Starts `argv[2]` with an empty environment in the way that `argv[1]` names. */
#define _GNU_SOURCE
#include <spawn.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

int main(int argc, char **argv) {
    char *words[] = {argv[argc - 1], NULL}, *empty[] = {NULL};
    pid_t child = 0;
    if (strcmp(argv[1], "spawn") == 0) {
        posix_spawn(&child, argv[2], NULL, NULL, words, empty);
    } else if ((child = fork()) == 0) {
        if (strcmp(argv[1], "raw") == 0) {
            syscall(SYS_execve, argv[2], words, empty);
        } else if (strcmp(argv[1], "raw-full") == 0) {
            syscall(SYS_execve, argv[2], words, environ);
        } else if (strcmp(argv[1], "clearenv") == 0) {
            clearenv();
            execv(argv[2], words);
        } else {
            execve(argv[2], words, empty);
        }
        _exit(1);
    }
    waitpid(child, NULL, 0);
    return 0;
}
"""


@pytest.fixture
def run(tmp_path: Path) -> Callable[..., Run]:
    """A run in a directory of this test; a number tells several apart."""

    def started(*argv: Any, number: int = 0, **options: Any) -> Run:
        options = {"directory": tmp_path / f"run{number}", "trace_size": 1 << 20, "timeout": 20.0} | options
        return run_program([str(word) for word in argv], **options)

    return started


def host(*preload: str) -> Host:
    """A host that preloads these and has no links."""
    return Host(delivery={"preload": list(preload), "links": []})  # type: ignore[arg-type]


@pytest.mark.parametrize("way", ["execve", "clearenv", "spawn"])
def test_what_the_exec_shim_keeps_is_named_where_that_is_missing(run: Callable[..., Run], way: str) -> None:
    """An emptied environment is a finding with the one who emptied it; with libvgpu-exec.so it is none at all."""
    program, ways = compile_program(TRUE, "brief"), compile_program(WAYS, "ways")
    done = run(ways, way, program, host=host("syscall"))
    by = f"was started by ways (process {done.pid}) {WITHOUT}"
    assert done.without_shims == (Shimless(done.processes[1].pid, str(program), by, PRELOAD_IT),)
    assert done.processes[1].images[0].lost == ("LD_PRELOAD", "LD_AUDIT", "VGPU_HOST", "VGPU_TRACE")
    assert str(done.without_shims[0]) in done.explain()
    kept = run(ways, way, program, host=host("exec", "syscall"), number=1)
    assert (kept.without_shims, kept.processes[1].traced) == ((), True)


def test_a_raw_execve_is_named(run: Callable[..., Run]) -> None:
    """With libvgpu-exec.so in the caller, what was lost went past it; a raw execve that keeps all is no finding."""
    program, ways = compile_program(TRUE, "brief"), compile_program(WAYS, "ways")
    done = run(ways, "raw", program)
    (found,) = done.without_shims
    assert found.reason.startswith(f"was started by ways (process {done.pid}) {WITHOUT}, by a raw execve, as Go")
    assert "libvgpu-exec.so cannot reach that" in found.reason
    assert "os.Environ()" in found.remedy
    assert run(ways, "raw-full", program, number=1).without_shims == ()
    (unrecorded,) = run(ways, "raw", program, audit=False, number=2).without_shims
    assert "by a raw execve" in unrecorded.reason


def test_one_process_after_the_other(run: Callable[..., Run]) -> None:
    """`env -i` takes them from the process that it is in; what comes after it has nothing to lose, and says so."""
    done = run("sh", "-c", "env -i /bin/sh -c '/bin/sleep 0; /bin/true'", host=host("syscall"))
    shell, sleep, _ = done.without_shims
    assert (shell.reason, shell.remedy) == (f"was started by env (in the same process) {WITHOUT}", PRELOAD_IT)
    name = Path("/bin/sh").resolve().name
    had_none = "which had no LD_PRELOAD, LD_AUDIT, VGPU_HOST and VGPU_TRACE itself"
    assert (sleep.reason, sleep.remedy) == (f"was started by {name} (process {shell.pid}), {had_none}", f"see {name}")


def test_a_part_that_is_lost_is_named(run: Callable[..., Run]) -> None:
    """One entry of LD_PRELOAD, or one variable; more than there was is no loss."""
    ours = ":".join(str(shim_path(name)) for name in ("syscall", "cuda"))
    script = f"LD_PRELOAD={shim_path('cuda')} sleep 0; env -u VGPU_HOST true; LD_PRELOAD='{ours} /x.so' sleep 0; true"
    done = run("sh", "-c", script, host=host("syscall", "cuda"))
    assert [found.reason.partition(" without ")[2] for found in done.without_shims] == [
        f"{shim_path('syscall')} in LD_PRELOAD", "VGPU_HOST",
    ]  # fmt: skip


def test_an_exec_shim_that_was_not_loaded_is_named(run: Callable[..., Run], tmp_path: Path) -> None:
    """It stands in the list, ld.so ignored it: what is lost is not blamed on a raw execve."""
    absent = tmp_path / "libvgpu-exec.so"
    done = run("sh", "-c", "env -i /bin/true", host=host(str(absent), "syscall"))
    (found,) = done.without_shims
    assert found.reason.endswith(f"ld.so did not load {absent} there")


EXEC = "/lib/libvgpu-exec.so"


def process(pid: int, parent: int, *images: Image) -> Process:
    """A process that executed these."""
    return Process(pid, parent, "", (), traced=False, preloaded=False, images=images)


def image(program: str, *lost: str, caller: str = "") -> Image:
    """A program whose environment had not these."""
    return Image(program, (program,), traced=False, preloaded=False, lost=lost, caller=caller)


def record(kind: Kind, pid: int, text: str) -> Record:
    """The auditor's record of a library, or the exec shim's of a call."""
    library, name = (Library.AUDIT, "") if kind == Kind.MAPPED else (Library.EXEC, "execve")
    return Record(kind, 0, pid, pid, 0, library, name, text, (), (), 0, 0, cut=False, faulted=False)


@pytest.mark.parametrize("mapped_in", [1, 2])
def test_it_counts_where_the_exec_shim_was_loaded(mapped_in: int) -> None:
    """Only in the caller could it have kept anything; that another process had it says nothing."""
    seen = [process(1, 0, image("/bin/first")), process(3, 1, image("/bin/true", "LD_PRELOAD", caller="/bin/first"))]
    for recorded in (True, False):
        (found,) = without_shims(seen, [EXEC], [record(Kind.MAPPED, mapped_in, EXEC)], recorded=recorded)
        assert ("by a raw execve" in found.reason) == (mapped_in == 1 or not recorded)


def test_a_call_that_the_exec_shim_saw_was_no_raw_execve() -> None:
    """Its own record of the call, in the process or in the one that made it, is told from one of another program."""
    true = str(Path("/bin/true").resolve())
    seen = [process(1, 0, image("/bin/first")), process(3, 1, image(true, "LD_PRELOAD", caller="/bin/first"))]
    mapped = record(Kind.MAPPED, 1, EXEC)
    for pid, text, saw in ((1, "/bin/true", True), (3, "/bin/true", True), (3, "/bin/cat", False), (4, true, False)):
        (found,) = without_shims(seen, [EXEC], [mapped, record(Kind.ENTERED, pid, text)], recorded=True)
        assert ("although libvgpu-exec.so saw the call" in found.reason) == saw
        assert ("by a raw execve" in found.reason) != saw


@pytest.mark.parametrize("lost", ["LD_PRELOAD", f"LD_PRELOAD: {EXEC}"])
def test_a_caller_without_the_exec_shim_cannot_keep_anything(lost: str) -> None:
    """It had lost the exec shim, and what it started lost more: that is followed back to the caller."""
    first, second = image("/bin/first", lost), image("/bin/second", "VGPU_HOST", caller="/bin/first")
    _, found = without_shims([process(1, 0, first), process(3, 1, second)], [EXEC], [], recorded=True)
    assert found.reason.endswith("libvgpu-exec.so was not in that one")
    assert found.remedy == "see first"


@pytest.mark.parametrize("lost", ["VGPU_HOST", "VGPU_HOST="])
def test_without_a_host_the_exec_shim_keeps_nothing(lost: str) -> None:
    """It was in the caller, but transparent: that is followed back to the caller, and is no raw execve."""
    first, second = image("/bin/first", lost), image("/bin/second", lost, "LD_PRELOAD", caller="/bin/first")
    records = [record(Kind.MAPPED, 1, EXEC)]
    _, found = without_shims([process(1, 0, first), process(3, 1, second)], [EXEC], records, recorded=True)
    assert found.reason.endswith(
        "without VGPU_HOST and LD_PRELOAD; libvgpu-exec.so does nothing where VGPU_HOST is missing"
    )
    assert found.remedy == "see first"


def test_shims_that_were_switched_off_are_named(run: Callable[..., Run]) -> None:
    """A variable that is there without a value is meant so, also to the exec shim: the one to ask is who set it."""
    done = run("sh", "-c", "VGPU_HOST= VGPU_TRACE= sleep 0; true")
    (found,) = done.without_shims
    name = Path("/bin/sh").resolve().name
    assert found.reason == (
        f"was started by {name} (process {done.pid}) with VGPU_HOST and VGPU_TRACE set to nothing, "
        "which switches the shims off"
    )
    assert found.remedy == "leave VGPU_HOST and VGPU_TRACE as the run has it"


def test_a_run_within_a_run_tells_of_itself(run: Callable[..., Run]) -> None:
    """Its program has another host and trace, and vgpu-start is static: none of that is a finding of the outer run."""
    inner = [sys.executable, "-P", "-m", "vgpu_harness", "run", "--trace-size", "1M", "--"]
    path = {"PYTHONPATH": os.environ["PYTHONPATH"]} if "PYTHONPATH" in os.environ else {}
    done = run(*inner, "sh", "-c", "env -i sleep 0; exit 4", env=path)
    assert (done.returncode, done.stderr, done.without_shims) == (4, "", ())
    nested = {image.name: image.nested for process in done.processes for image in process.images}
    shell = Path("/bin/sh").resolve().name
    assert (nested["vgpu-start"], nested[shell], nested["sleep"]) == (True, True, True)
    assert not done.processes[0].images[0].nested


def test_a_copy_of_the_caller_is_the_caller() -> None:
    """A subshell executes nothing itself: it is the program that its parent is, and the last of that number counts."""
    seen = [
        process(1, 0, image("/bin/old")), process(1, 0, image("/bin/first"), image("/bin/later")), process(2, 1),
        process(3, 2, image("/bin/second", "VGPU_HOST", caller="/bin/first")),
    ]  # fmt: skip
    (found,) = without_shims(seen, [], [], recorded=True)
    assert found.reason == "was started by first (process 2) with an environment without VGPU_HOST"


def test_programs_that_cannot_take_them_are_named(run: Callable[..., Run], tmp_path: Path) -> None:
    """Static, set-user-ID, 32-bit: what the program is, whatever its environment; an ordinary one is no finding."""
    static = compile_program(TRUE, "static", "-static")
    narrow = compile_program(
        'void _start(void) { __asm__("int $0x80" : : "a"(1), "b"(0)); for (;;) { } }',
        "narrow", "-m32", "-nostdlib", "-static", "-fno-pic", "-no-pie", "-fno-stack-protector",
    )  # fmt: skip
    other = shutil.copy(compile_program(TRUE, "brief"), tmp_path / "other")
    if os.geteuid() == 0:
        os.chown(other, 65534, 65534)
    other.chmod(0o4755)
    done = run("sh", "-c", f"{static}; {narrow}; {other}; /bin/true; true")
    reasons = {found.program: found.reason for found in done.without_shims}
    assert reasons.pop(str(static)).startswith("is a static program: no dynamic linker runs in it")
    assert reasons.pop(str(narrow)) == "is no 64-bit x86-64 program, as the shims are"
    assert ("has other privileges" in reasons.pop(str(other), "")) == (os.geteuid() == 0)
    assert reasons == {}


def test_they_come_back_from_the_files_of_the_run(run: Callable[..., Run]) -> None:
    """run.json has the processes, how they were seen, and what the shims did not reach."""
    done = run("sh", "-c", "env -i sleep 0", host=host("syscall"))
    again = Run.load(done.directory)
    assert (again.without_shims, again.processes, again.observed) == (done.without_shims, done.processes, "ptrace")
    assert len(again.without_shims) == 1


def test_the_command_says_it_after_the_program(tmp_path: Path) -> None:
    """One line on stderr when all is over, of three at most; the status stays the program's, --json has all."""
    described = tmp_path / "host.toml"
    described.write_text('[delivery]\npreload = ["syscall"]\n')
    command = [sys.executable, "-m", "vgpu_harness", "run", "--trace-size", "1M", "--json", str(tmp_path / "json")]
    # An ordinary user's watch is not told who reads the machine's files: other tests do, at the same time.
    command += ["--observe-files", "none"]

    def said(*words: str) -> tuple[int, list[str], int]:
        done = subprocess.run([*command, *words], capture_output=True, text=True, timeout=60, check=False)
        assert done.stdout == ""
        found = len(json.loads((tmp_path / "json").read_text())["without_shims"])
        return done.returncode, done.stderr.splitlines(), found

    script = "for i in 1 2 3 4 5; do env -i /bin/sleep 0; done; echo last >&2; exit 3"
    status, (last, line), found = said("--host", str(described), "--", "sh", "-c", script)
    assert (status, last, found) == (3, "last", 5)
    assert line.startswith("vgpu-harness: /")
    assert line.count(WITHOUT) == 3
    assert line.endswith("; and 2 more programs without shims, which --json lists")
    assert said("--", "sh", "-c", script) == (3, ["last"], 0)
