"""Provider "notification": a supervisor answers the file calls of every program, static and Go programs included.

A seccomp filter in the run's processes sends each system call that names a file to a listener, seccomp_unotify(2); a
thread of this process, all of it C, serves that (csrc/observe/notify.h). In its log mode nothing is answered: the
supervisor notes who reaches a path of the table past the preloaded shims.
"""

import contextlib
import os
import platform
import re
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vgpu_harness._wire import ffi, lib
from vgpu_harness.errors import RunError
from vgpu_harness.run.provider import Command

if TYPE_CHECKING:
    from vgpu_harness.run.delivery import Delivered
    from vgpu_harness.run.observer import Process
    from vgpu_harness.run.started import Started

_OLDEST = (5, 14)
"""The first kernel that puts a descriptor into a program and answers its call in one step (SECCOMP_ADDFD_FLAG_SEND)."""
_FILTER_ROOM = 4096
_LAST_PATIENCE = 1.0
"""Seconds that the supervisor waits for the last process, when a run has been ended."""


class NotificationError(RunError):
    """The system calls of a run's processes cannot be supervised."""


class FilterError(NotificationError):
    """The kernel refuses the filter; the process is as it was."""


@dataclass(frozen=True)
class Sight:
    """What a process did past the shims.

    Attributes:
        pid: of the process.
        program: what it executed then; "" if that may not be read.
        path: the path of the table that it reached, as the host calls it; "" for an io_uring that it made.
        call: the first system call that did it.
        times: how often.
    """

    pid: int
    program: str
    path: str
    call: str
    times: int


class Supervised:
    """One program under a filter, and the supervisor of all that comes from it.

    Args:
        image: the host image.
        log: answer nothing, note who reaches a path of the table.

    Attributes:
        sights: in the order of the first, once `finish` has been called.
        calls: system calls that reached the supervisor, likewise.
        served: those that it answered.
        unread: those of processes whose memory may not be read; they got the real files.
        unlisted: sights that found no room.
    """

    def __init__(self, image: Path, *, log: bool = False) -> None:
        self._image = image
        self._log = log
        self._trace = ""
        self._supervisor: Any = ffi.NULL
        self._thread: threading.Thread | None = None
        self._answer = 0
        self.sights: tuple[Sight, ...] = ()
        self.calls = self.served = self.unread = self.unlisted = 0

    def command(self, argv: Sequence[str], program: Path, environment: Mapping[str, str]) -> Command:
        """The program as it is: the filter is vgpu-start's to set."""
        self._trace = environment.get("VGPU_TRACE", "")
        return Command(tuple(argv), program, environment)

    def waiting(self, started: "Started") -> None:
        """Sets the filter in the process, and starts to serve.

        Raises:
            FilterError: the kernel refuses the filter.
            NotificationError: the image cannot be used.
        """
        room = ffi.new("char[]", _FILTER_ROOM)
        rings = lib.VGPU_RINGS_REPORTED if self._log else lib.VGPU_RINGS_REFUSED
        stops = started.traced and not self._log
        instructions = bytes(ffi.buffer(room, lib.vgpu_notify_filter(room, _FILTER_ROOM, rings, stops)))
        try:
            listener = started.listen(instructions)
        except OSError as error:
            raise FilterError(
                f"provider 'notification': the kernel refuses the filter: {error.strerror}; use another provider, and "
                "look whether this is a run within a run, or in a container whose seccomp profile forbids it"
            ) from error
        reason = ffi.new("char **")
        trace = os.fsencode(self._trace) if self._trace else ffi.NULL
        self._supervisor = lib.vgpu_notify_new(listener, os.fsencode(self._image), trace, self._log, reason)
        if self._supervisor == ffi.NULL:
            os.close(listener)
            words = ffi.string(reason[0]).decode()
            raise NotificationError(f"{self._image}: {words}; write the image again from its host file")
        self._thread = threading.Thread(target=self._loop, name="vgpu-notify", daemon=True)
        self._thread.start()

    def entered(self) -> None:
        """The process that executes the command is the program's."""

    def _loop(self) -> None:
        self._answer = lib.vgpu_notify_serve(self._supervisor)

    def stop(self) -> None:
        """Ends the service at once: calls that wait, and all that come, get ENOSYS."""
        if self._thread is not None:
            lib.vgpu_notify_stop(self._supervisor)
            self._thread.join()
        self.finish()

    def finish(self) -> None:
        """Ends the service, of which nobody is left, and takes in what was noted.

        Raises:
            NotificationError: the service ended early.
        """
        if self._thread is None:
            return
        self._thread.join(_LAST_PATIENCE)
        if self._thread.is_alive():
            # A process that cannot be ended is still there.
            lib.vgpu_notify_stop(self._supervisor)
            self._thread.join()
        self._thread = None
        counts = lib.vgpu_notify_counts(self._supervisor)
        self.calls, self.served = counts.calls, counts.served
        self.unread, self.unlisted = counts.unread, counts.unlisted
        count = ffi.new("uint32_t *")
        found = lib.vgpu_notify_sights(self._supervisor, count)
        self.sights = tuple(_sight(found[i]) for i in range(count[0]))
        lib.vgpu_notify_free(self._supervisor)
        self._supervisor = ffi.NULL
        if self._answer < 0:
            raise NotificationError(
                f"provider 'notification': the supervisor stopped: {os.strerror(-self._answer)}; report this"
            )

    def processes_of_run(self, processes: tuple["Process", ...]) -> tuple["Process", ...]:
        """All: none of them is the supervisor's own."""
        return processes

    def findings(self) -> tuple[str, ...]:
        """Calls that could not be answered; in the log mode that is for the witness to say."""
        if not self.unread or self._log:
            return ()
        what = "calls of processes whose memory may not be read got the real files"
        return (f"{self.unread} {what}; run the harness as root",)

    def status(self, root: int, processes: tuple["Process", ...]) -> int:  # noqa: ARG002 - the protocol's
        """The program's own."""
        return root


def _sight(found: Any) -> Sight:
    program, path, call = (os.fsdecode(ffi.string(text)) for text in (found.program, found.path, found.name))
    return Sight(found.pid, program, path, call, found.times)


@contextlib.contextmanager
def supervised(image: Path, *, log: bool = False) -> Iterator[Supervised]:
    """A program's supervisor, which serves until the run has ended."""
    found = Supervised(image, log=log)
    try:
        yield found
    finally:
        found.finish()


class Notification:
    """The provider: no file shim, no mount, and no program that is not reached but by an io_uring, which is refused."""

    withheld: frozenset[str] = frozenset({"syscall"})
    shows_static = True
    system_links = False

    def available(self) -> str | None:
        """Why it cannot be had here, as far as that can be told without a try."""
        number = lib.vgpu_notify_available()
        if number:
            return f"the kernel has no seccomp user notification: {os.strerror(number)}; use another provider"
        release = re.match(r"(\d+)\.(\d+)", platform.release())
        if release is not None and tuple(map(int, release.groups())) < _OLDEST:
            oldest = ".".join(map(str, _OLDEST))
            return f"Linux {platform.release()} cannot put descriptors into a program; use Linux {oldest} or later"
        return None

    def enclose(self, delivered: "Delivered") -> AbstractContextManager[Supervised]:
        """The supervisor of one run."""
        return supervised(delivered.image)
