"""The end of a run's processes: none survives it, wherever it went.

A daemon leaves its parent and its session, so being a descendant is not enough; but every process of a run has the
run's trace in its environment, from its first moment on, unless it was started with another one.
"""

import contextlib
import os
import time
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import psutil

PATIENCE = 1.0
"""Seconds between asking a process to end and ending it."""


def names_trace(pid: int, trace: str | os.PathLike[str]) -> bool:
    """Does the environment that the process was started with name this trace?"""
    needle = b"\0VGPU_TRACE=" + os.fsencode(trace) + b"\0"
    # /proc/PID/environ is what the process was started with. Read here, not with psutil, which parses all of it.
    try:
        return needle in b"\0" + Path(f"/proc/{pid}/environ").read_bytes() + b"\0"
    except OSError:
        return False


def processes_of(trace: Path, roots: "Iterable[psutil.Process]" = ()) -> "list[psutil.Process]":
    """The processes of a run that are alive, children after their parents.

    Args:
        trace: the run's trace, as its environment names it.
        roots: processes of it that are known; their descendants are found too.
    """
    import psutil

    found: dict[int, psutil.Process] = {}
    me = os.getpid()
    for pid in psutil.pids():
        if pid != me and names_trace(pid, trace):
            with contextlib.suppress(psutil.NoSuchProcess):
                found[pid] = psutil.Process(pid)
    for process in [*found.values(), *roots]:
        with contextlib.suppress(psutil.NoSuchProcess):
            for child in (process, *process.children(recursive=True)):
                found.setdefault(child.pid, child)
    return [process for process in _parents_first(found.values()) if _alive(process)]


def _alive(process: "psutil.Process") -> bool:
    import psutil

    try:
        return bool(process.is_running()) and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def _parents_first(processes: "Iterable[psutil.Process]") -> "list[psutil.Process]":
    import psutil

    def started(process: "psutil.Process") -> tuple[float, int]:
        try:
            return process.create_time(), process.pid
        except psutil.NoSuchProcess:
            return 0.0, process.pid

    return sorted(processes, key=started)


def reap(trace: Path, roots: "Iterable[psutil.Process]" = (), *, patience: float = PATIENCE) -> tuple[int, ...]:
    """Ends all processes of a run, the youngest first: SIGTERM, then SIGKILL.

    Args:
        trace: the run's trace, as its environment names it.
        roots: processes of the run that are known.
        patience: seconds that the processes have to end by themselves.

    Returns:
        The pids that had to be asked.
    """
    import psutil

    asked: dict[int, None] = {}
    deadline = time.monotonic() + patience
    known = {process.pid: process for process in roots}
    while True:
        # Asked anew each time: while one process is ended, another may start one.
        alive = processes_of(trace, known.values())
        known = {p.pid: p for p in (*known.values(), *alive) if _alive(p)}
        if not known:
            return tuple(asked)
        final = time.monotonic() >= deadline
        for process in reversed(_parents_first(known.values())):
            if final or process.pid not in asked:
                asked[process.pid] = None
                with contextlib.suppress(psutil.NoSuchProcess, psutil.AccessDenied):
                    process.kill() if final else process.terminate()
        if final and time.monotonic() >= deadline + 5 * max(patience, PATIENCE):
            return tuple(asked)
        # Not psutil's wait: it would take the exit status of a child that its parent is to have.
        time.sleep(0.01)
