"""The processes of a run, by ptrace events: every one of them is seen, however short its life.

ptrace(2) knows threads only: a tracee answers to the thread that seized it. So each run has a tracing thread, which
makes the run's first process, seizes it while it waits in vgpu-start, and from then on waits for its own children and
tracees alone (__WNOTHREAD). The processes that they make are seized by the kernel, at their birth.
"""

import contextlib
import errno
import os
import signal
import threading
import time
from collections.abc import Callable
from pathlib import Path

from vgpu_harness._wire import ffi, lib
from vgpu_harness.run.observer import Process, Sighting, Signs
from vgpu_harness.run.started import Started

_WALL, _WNOTHREAD = 0x40000000, 0x20000000
"""<bits/waitflags.h>; os has no names for them: threads and processes alike, and those of the calling thread only."""

_BIRTHS = (lib.VGPU_EVENT_FORK, lib.VGPU_EVENT_VFORK, lib.VGPU_EVENT_CLONE)
_GROUP = ("Tgid", "PPid")
_STOPPING = (signal.SIGSTOP, signal.SIGTSTP, signal.SIGTTIN, signal.SIGTTOU)
_LAST_PATIENCE = 5.0
"""Seconds that a process has to end after SIGKILL."""


class Tracer:
    """Traces the process that `launch` makes, and all that come from it.

    Args:
        started: the process to be made.
        launch: makes it; called in the tracing thread, whose child it has to be.
        signs: reads what the processes execute.

    Attributes:
        status: the exit status of that process, once `finish` has been called.
    """

    def __init__(self, started: Started, launch: Callable[[], None], signs: Signs) -> None:
        self._started = started
        self._launch = launch
        self._signs = signs
        self.status = 0
        self._threads: dict[int, int] = {}
        self._living: dict[int, Sighting] = {}
        self._seen: list[Sighting] = []
        # The maker of a process or thread and what it made report independently of each other: who stopped before its
        # maker's event was read, and who even ended without ever having stopped.
        self._met: set[int] = set()
        self._early: dict[int, int] = {}
        self._ready = threading.Event()
        self._root_ended = threading.Event()
        self._error: BaseException | None = None
        self._refused = 0
        self._thread = threading.Thread(target=self._main, name="vgpu-tracer", daemon=True)

    def begin(self) -> int:
        """Makes and seizes the process; answers 0, or the errno with which the kernel refused to let it be traced.

        Raises:
            OSError, ShimError: it could not be made.
        """
        try:
            self._thread.start()
        except RuntimeError as error:
            # Python has no number for it; it is what pthread_create(3) fails with, RLIMIT_NPROC for one.
            raise OSError(errno.EAGAIN, os.strerror(errno.EAGAIN)) from error
        self._ready.wait()
        self._raise()
        return self._refused

    def _raise(self) -> None:
        if self._error is not None:
            raise self._error

    def _main(self) -> None:
        try:
            self._launch()
            self._refused = lib.vgpu_observe_seize(self._started.pid)
            if not self._refused:
                self._started.traced = True
                self._add(self._started.pid, os.getpid())
                self._ready.set()
                self._loop()
        except BaseException as error:
            self._error = error
        finally:
            self._ready.set()
            self._root_ended.set()

    def _loop(self) -> None:
        while True:
            try:
                tid, status = os.waitpid(-1, _WALL | _WNOTHREAD)
            except ChildProcessError:
                return
            self._take(tid, status)

    def _take(self, tid: int, status: int) -> None:
        if os.WIFSTOPPED(status):
            self._stopped(tid, os.WSTOPSIG(status), status >> 16)
        else:
            self._ended(tid, os.waitstatus_to_exitcode(status))

    def _stopped(self, tid: int, number: int, event: int) -> None:
        if tid not in self._threads:
            self._meet(tid)
        if event in _BIRTHS:
            self._born(tid, self._message(tid), thread=event == lib.VGPU_EVENT_CLONE)
        elif event == lib.VGPU_EVENT_EXEC:
            self._executed(tid, self._message(tid))
        elif event == lib.VGPU_EVENT_SECCOMP:
            other = ffi.new("int *")
            if became := lib.vgpu_observe_enter(tid, other):
                if became > 0:
                    self._take(tid, other[0])
                return
        elif event == lib.VGPU_EVENT_STOP and number in _STOPPING:
            lib.vgpu_observe_listen(tid)
            return
        elif not event and self._started.filtered:
            lib.vgpu_observe_restart(tid)
        # ESRCH, if it was killed while it was stopped: its end is reported next.
        lib.vgpu_observe_continue(tid, 0 if event else number)

    @staticmethod
    def _message(tid: int) -> int:
        message = ffi.new("unsigned long *")
        return 0 if lib.vgpu_observe_message(tid, message) else int(message[0])

    def _add(self, pid: int, parent: int) -> None:
        maker = self._living.get(parent)
        sighting = Sighting(pid, parent, maker.image if maker is not None else None)
        self._seen.append(sighting)
        self._living[pid] = sighting
        self._threads[pid] = pid

    def _meet(self, tid: int) -> None:
        """Takes in a new process or thread whose first stop came before the event of its maker, which still waits."""
        self._early.pop(tid, None)
        self._met.add(tid)
        try:
            lines = Path(f"/proc/{tid}/status").read_text().splitlines()
        except OSError:
            return
        found = {name: int(value) for name, _, value in (line.partition(":") for line in lines) if name in _GROUP}
        if found["Tgid"] == tid:
            self._add(tid, found["PPid"])
        else:
            self._threads[tid] = found["Tgid"]

    def _born(self, maker: int, tid: int, *, thread: bool) -> None:
        if tid in self._met:
            self._met.discard(tid)
            return
        if not tid or maker not in self._threads:
            return
        pid = self._threads[maker]
        status = self._early.pop(tid, None)
        if status is None:
            # The kind of event says which signal tells of the end, not whether this is a thread.
            thread = Path(f"/proc/{pid}/task/{tid}").exists()
        if thread:
            if status is None:
                self._threads[tid] = pid
            return
        self._add(tid, pid)
        if status is not None:
            self._ended(tid, status)

    def _executed(self, tid: int, former: int) -> None:
        if former != tid:
            # Another than the first thread did it: that one has its number now, and its own is gone without a word.
            self._threads.pop(former, None)
        sighting = self._living.get(tid)
        if sighting is not None:
            sighting.executed(self._signs.read(tid, sighting.image.program if sighting.image is not None else ""))

    def _ended(self, tid: int, status: int) -> None:
        pid = self._threads.pop(tid, None)
        if pid is None:
            self._early[tid] = status
        elif pid == tid:
            self._living.pop(pid).status = status
            if pid == self._started.pid:
                self._root_ended.set()

    def watch(self, timeout: float) -> bool:
        """Waits until the root process ends or `timeout` seconds are over; answers whether it has ended."""
        ended = self._root_ended.wait(min(timeout, threading.TIMEOUT_MAX))
        self._raise()
        return ended

    @property
    def living(self) -> tuple[int, ...]:
        """The processes that have not ended."""
        return tuple(self._living)

    def finish(self) -> tuple[int, ...]:
        """Ends what is left of the run, and waits for it; answers the processes that it ended.

        By then all have been asked to end. Left is what /proc shows as a zombie, a process that goes on without its
        first thread, and what cannot be killed: only the root process is waited for as long as that may take.
        """
        killed: dict[int, None] = {}
        deadline = time.monotonic() + _LAST_PATIENCE
        self._thread.join(_LAST_PATIENCE / 10)
        while self._thread.is_alive() and not (self._root_ended.is_set() and time.monotonic() > deadline):
            for pid in self.living:
                # Its number cannot be another's: until this run's thread has waited for it, it is taken.
                with contextlib.suppress(ProcessLookupError, PermissionError):
                    os.kill(pid, signal.SIGKILL)
                    killed[pid] = None
            self._thread.join(_LAST_PATIENCE / 100)
        if self._error is not None:
            # With its tracer the process has died, and is an ordinary child.
            self._started.wait()
            self._raise()
        self.status = self._seen[0].status or 0
        self._started.ended(self.status)
        return tuple(killed)

    @property
    def processes(self) -> tuple[Process, ...]:
        """All processes of the run, in the order in which they were made."""
        return tuple(sighting.process() for sighting in self._seen)
