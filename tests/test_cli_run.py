"""`vgpu-harness run` as a person calls it: streams, exit status, messages, files."""

import json
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest
from support.compile import compile_program

from vgpu_harness.trace import Trace

PROGRAM = "int main(void) { return 0; }"
SMALL = ("--trace-size", "1M")


def command(*words: object) -> list[str]:
    """The command line of the harness."""
    return [sys.executable, "-m", "vgpu_harness", *map(str, words)]


def call(*words: object, input: str | None = None) -> subprocess.CompletedProcess[str]:  # noqa: A002
    """Runs the harness with its streams in pipes."""
    return subprocess.run(command(*words), input=input, capture_output=True, text=True, timeout=60, check=False)


def test_streams_pass_through() -> None:
    """Input, output and errors are the program's own, and nothing is added."""
    done = call("run", *SMALL, "--", "sh", "-c", "cat; echo oops >&2", input="hello\n")
    assert (done.stdout, done.stderr, done.returncode) == ("hello\n", "oops\n", 0)


@pytest.mark.parametrize(("script", "status"), [("exit 0", 0), ("exit 7", 7), ("exit 255", 255), ("kill -9 $$", 137)])
def test_the_exit_status_is_the_programs_own(script: str, status: int) -> None:
    """As a shell gives it: 128 + n for signal n."""
    done = call("run", *SMALL, "--", "sh", "-c", script)
    assert (done.returncode, done.stderr) == (status, "")


@pytest.mark.parametrize("observe", ["ptrace", "sampled"])
def test_the_exit_status_is_known_where_sigchld_is_ignored(observe: str) -> None:
    """Who ignores SIGCHLD hands that on, and has children without a status."""
    words = command("run", *SMALL, "--observe", observe, "--", "sh", "-c", "exit 7")
    script = (
        "import os, signal, sys; signal.signal(signal.SIGCHLD, signal.SIG_IGN); os.execv(sys.argv[1], sys.argv[1:])"
    )
    assert subprocess.run([sys.executable, "-c", script, *words], timeout=60, check=False).returncode == 7


def test_the_program_sees_the_gpu_and_keeps_its_options() -> None:
    """Options behind the program's name are the program's, with or without `--`."""
    for dashes in (("--",), ()):
        done = call("run", *SMALL, *dashes, "stat", "--format", "%F %t", "/dev/nvidia0")
        assert (done.stdout, done.stderr) == ("character special file c3\n", "")


def test_trace_and_summary_go_where_they_are_told(tmp_path: Path) -> None:
    """--trace and --json are files outside the run's directory, which is gone; --keep keeps that."""
    trace, summary = tmp_path / "my.trace", tmp_path / "run.json"
    assert call("run", *SMALL, "--trace", trace, "--json", summary, "--", "true").returncode == 0
    assert len(Trace.open(trace)) > 0
    data = json.loads(summary.read_text())
    assert (data["argv"], data["returncode"], data["trace"]) == (["true"], 0, str(trace))
    assert not Path(data["directory"]).exists()
    assert sorted(entry.name for entry in tmp_path.iterdir()) == ["my.trace", "run.json"]
    assert call("run", *SMALL, "--keep", tmp_path / "kept", "--", "true").returncode == 0
    assert {"trace", "run.json", "host.image", "tree"} <= {entry.name for entry in (tmp_path / "kept").iterdir()}


WRONG = {
    "no such program": ("--", "no-such-program"),
    "is a static program": ("--observe-files", "watch", "--", "{static}"),
    "is a directory": ("--", "{here}"),
    "bad.toml": ("--host", "{here}/bad.toml", "--", "true"),
    "No such file": ("--host", "{here}/missing.toml", "--", "true"),
    "at least": ("--trace-size", "1K", "--", "true"),
    "cannot make a trace": ("--trace", "/nowhere/trace", "--", "true"),
    "cannot be written": ("--json", "/nowhere/x.json", "--", "true"),
    "is not a size": ("--trace-size", "many", "--", "true"),
    "is not above 0": ("--timeout", "0", "--", "true"),
    "Missing argument": (),
    "No such option": ("--nothing", "--", "true"),
}
"""Command lines that are wrong before the start, by what is said of them."""


@pytest.mark.parametrize("problem", WRONG)
def test_what_is_wrong_before_the_start_exits_2(problem: str, tmp_path: Path) -> None:
    """One message, exit status 2, nothing on stdout, nothing left behind."""
    (tmp_path / "bad.toml").write_text("[gpu]\n")
    static = compile_program(PROGRAM, "static", "-static")
    words = [word.format(here=tmp_path, static=static) for word in WRONG[problem]]
    before = sorted(entry.name for entry in tmp_path.iterdir())
    done = call("run", *words)
    assert (done.returncode, done.stdout) == (2, "")
    assert problem in done.stderr
    assert "Traceback" not in done.stderr
    assert sorted(entry.name for entry in tmp_path.iterdir()) == before


def test_a_path_that_cannot_be_preloaded_exits_2(tmp_path: Path) -> None:
    """A space in a user's shim is one message."""
    host = tmp_path / "host.toml"
    host.write_text('[delivery]\npreload = ["/my libs/libcuda.so"]\n')
    done = call("run", "--host", host, "--", "true")
    assert done.returncode == 2
    assert "space" in done.stderr
    assert "/my libs/libcuda.so" in done.stderr


def test_shims_that_were_never_mapped_exit_125(tmp_path: Path) -> None:
    """The program ran without the shims: its own status would be a lie."""
    host = tmp_path / "host.toml"
    host.write_text('[delivery]\npreload = ["/nowhere/libcuda.so"]\nlinks = []\n')
    done = call("run", *SMALL, "--host", host, "--json", tmp_path / "x.json", "--", "true")
    assert done.returncode == 125
    assert "vgpu-harness: true: none of the shims was mapped: /nowhere/libcuda.so does not exist\n" in done.stderr
    assert json.loads((tmp_path / "x.json").read_text())["unmapped"]


def test_a_program_that_cannot_be_executed_exits_126(tmp_path: Path) -> None:
    """As env does; the kernel's reason is given."""
    program = Path(shutil.copy(compile_program(PROGRAM, "busy"), tmp_path))
    with program.open("r+b"):
        done = call("run", *SMALL, "--", program)
    assert done.returncode == 126
    assert done.stderr.startswith(f"vgpu-harness: {program}: cannot be executed: Text file busy")
    assert call("run", *SMALL, "--", program).returncode == 0


def test_what_is_worth_saying_is_one_line() -> None:
    """A trace that is too small for the run is said on stderr, and the status stays the program's."""
    done = call(
        "run", "--trace-size", "8320", "--", "sh", "-c", "for i in 1 2 3 4 5 6 7 8; do ls / >/dev/null; done; exit 5"
    )
    assert done.returncode == 5
    assert done.stderr.count("\n") == 1
    assert "the trace was full and dropped" in done.stderr


def test_a_timeout_ends_the_program() -> None:
    """The status is that of the signal, and one line says why."""
    done = call("run", *SMALL, "--timeout", "0.2", "--", "sleep", "30")
    assert (done.returncode, done.stderr) == (143, "vgpu-harness: sleep: ended, its time was over\n")


@pytest.mark.parametrize(("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_ending_the_harness_ends_the_program(number: signal.Signals, status: int, tmp_path: Path) -> None:
    """Ctrl-C or a SIGTERM to the harness leaves no process and no directory."""
    note = tmp_path / "note"
    script = f"echo $$ $HOME > {note}.part; mv {note}.part {note}; sleep 60"
    harness = subprocess.Popen(command("run", *SMALL, "--", "sh", "-c", script), stderr=subprocess.PIPE, text=True)
    deadline = time.monotonic() + 20
    while not note.exists() and time.monotonic() < deadline:
        time.sleep(0.01)
    pid, home = note.read_text().split()
    harness.send_signal(number)
    assert "Traceback" not in harness.communicate(timeout=20)[1]
    assert harness.returncode == status
    assert not psutil.pid_exists(int(pid)) or psutil.Process(int(pid)).status() == psutil.STATUS_ZOMBIE
    assert not Path(home).exists()


@pytest.mark.parametrize("observe", ["ptrace", "sampled"])
@pytest.mark.parametrize(("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_impatience_ends_the_program_at_once(number: signal.Signals, status: int, observe: str, tmp_path: Path) -> None:
    """A second Ctrl-C while a program takes its time to end leaves no process either."""
    note, asked = tmp_path / "note", tmp_path / "asked"
    script = f"trap 'touch {asked}' TERM; echo $$ > {note}.part; mv {note}.part {note}; while :; do sleep 0.02; done"
    words = command("run", *SMALL, "--observe", observe, "--", "sh", "-c", script)
    harness = subprocess.Popen(words, stderr=subprocess.DEVNULL)
    deadline = time.monotonic() + 20
    for sign in (note, asked):
        while not sign.exists() and time.monotonic() < deadline:
            time.sleep(0.01)
        harness.send_signal(number)
    pid = int(note.read_text())
    assert harness.wait(timeout=20) == status
    assert not psutil.pid_exists(pid) or psutil.Process(pid).status() == psutil.STATUS_ZOMBIE
