"""No process survives a run: the reaper finds children, orphans and daemons, and ends them."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest
from support.compile import compile_program

from vgpu_harness.run.reaper import processes_of, reap

DAEMON = r"""
/* Forks twice, with a session of its own in between, ignores SIGTERM if asked, says its pid and lives on. */
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

int main(int argc, char **argv) {
    if (argc > 2 && strcmp(argv[2], "stubborn") == 0) {
        signal(SIGTERM, SIG_IGN);
    }
    pid_t child = fork();
    if (child == 0) {
        setsid();
        if (fork() == 0) {
            char fresh[4096];
            snprintf(fresh, sizeof(fresh), "%s.part", argv[1]);
            FILE *file = fopen(fresh, "w");
            fprintf(file, "%d", (int)getpid());
            fclose(file);
            rename(fresh, argv[1]);
            sleep(60);
        }
        _exit(0);
    }
    waitpid(child, NULL, 0);
    return 0;
}
"""


@pytest.fixture
def trace(tmp_path: Path) -> Path:
    """The path that the processes of this test carry in their environment; no file is needed."""
    return tmp_path / "trace"


def start_daemon(trace: Path, *options: str, traced: bool = True) -> int:
    """Starts the daemon, whose parent is gone by then; answers its pid."""
    note = trace.with_name("pid")
    variables = {"VGPU_TRACE": str(trace)} if traced else {}
    subprocess.run([compile_program(DAEMON, "daemon"), note, *options], env=variables, check=True, timeout=20)
    deadline = time.monotonic() + 10
    while not note.exists() and time.monotonic() < deadline:
        time.sleep(0.005)
    return int(note.read_text())


@pytest.mark.parametrize("options", [(), ("stubborn",)])
def test_a_daemon_is_found_and_ended(trace: Path, options: tuple[str, ...]) -> None:
    """An orphan in a session of its own is ended, by SIGKILL if it ignores SIGTERM."""
    pid = start_daemon(trace, *options)
    assert psutil.pid_exists(pid)
    assert [process.pid for process in processes_of(trace)] == [pid]
    started = time.monotonic()
    assert reap(trace, patience=0.3) == (pid,)
    assert (time.monotonic() - started >= 0.3) == bool(options)
    assert not psutil.pid_exists(pid) or psutil.Process(pid).status() == psutil.STATUS_ZOMBIE


def test_processes_of_others_are_left_alone(trace: Path) -> None:
    """A daemon without the trace in its environment, or with another one, is none of this run's."""
    pid = start_daemon(trace, traced=False)
    try:
        assert processes_of(trace) == []
        assert reap(trace) == ()
        assert psutil.Process(pid).is_running()
        assert processes_of(trace.with_name("trac")) == []
    finally:
        os.kill(pid, signal.SIGKILL)


def test_descendants_without_the_trace_are_ended_too(trace: Path) -> None:
    """A child whose environment was emptied is found as a descendant of a known process; the youngest goes first."""
    script = "env -i sleep 60 & echo $!; env -i sleep 60 & echo $!; wait"
    shell = subprocess.Popen(["sh", "-c", script], env={"PATH": os.environ["PATH"]}, stdout=subprocess.PIPE, text=True)
    assert shell.stdout is not None
    with shell.stdout:
        children = [int(shell.stdout.readline()) for _ in range(2)]
    ended = reap(trace, [psutil.Process(shell.pid)])
    shell.wait(timeout=10)
    assert ended == (*reversed(children), shell.pid)
    for pid in children:
        assert not psutil.pid_exists(pid) or psutil.Process(pid).status() == psutil.STATUS_ZOMBIE


def test_who_starts_new_processes_while_ending_is_ended(trace: Path) -> None:
    """A program that answers SIGTERM by starting another one: that one is found by the next look."""
    code = (
        "import os, signal, sys, time\n"
        "def again(*_):\n"
        "    if os.fork() == 0:\n"
        "        signal.signal(signal.SIGTERM, signal.SIG_DFL)\n"
        "        time.sleep(60)\n"
        "    os._exit(0)\n"
        "signal.signal(signal.SIGTERM, again)\n"
        "print('ready', flush=True)\n"
        "time.sleep(60)\n"
    )
    process = subprocess.Popen(
        [sys.executable, "-I", "-S", "-c", code], env={"VGPU_TRACE": str(trace)}, stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    with process.stdout:
        assert process.stdout.readline() == "ready\n"
    ended = reap(trace, [psutil.Process(process.pid)], patience=20)
    process.wait(timeout=10)
    assert len(ended) == 2
    assert processes_of(trace) == []
