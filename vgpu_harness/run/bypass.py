"""Programs that reached a path of the table past the shims: static ones, raw system calls, io_uring.

Two witnesses, neither of which asks the shims. A watch of the machine's own files costs nothing and sees whatever opens
or reads them, io_uring too; by fanotify(7), which is for root, it knows the process, by inotify(7) it does not. The
supervisor in its log mode (`vgpu_harness.run.notification`) sees every call that names a path of the table, also one
that the machine does not have, and who made it; it costs each call that names a file some ten microseconds.
"""

import os
import struct
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Literal, Self

from vgpu_harness._wire import ffi, lib
from vgpu_harness.errors import ImageError
from vgpu_harness.host import check_image
from vgpu_harness.host.tree import Row
from vgpu_harness.run.notification import Sight
from vgpu_harness.run.observer import Process
from vgpu_harness.trace import Kind, Record

_EVENT = struct.Struct("iIII")  # struct inotify_event, inotify(7): wd, mask, cookie, length of the name
_NAMED_EVENT = struct.Struct("IBBHQii")  # struct fanotify_event_metadata, fanotify(7): ..., mask, descriptor, pid
_OVERFLOW = 0x4000  # IN_Q_OVERFLOW and FAN_Q_OVERFLOW
_ROOM = 65536
_NAMED_ROOM = 100 * _NAMED_EVENT.size
"""Each event that is read opens a descriptor."""
_WATCHES = 128
"""So many files and directories are watched at most; a PCI device has some five directories."""

Witness = Literal["inotify", "fanotify", "notification"]
REMEDY = "use the provider namespace or notification, which such programs cannot bypass"


@dataclass(frozen=True)
class Bypass:
    """A path of the table that a process reached past the shims.

    Attributes:
        path: as the host calls it; "" for an io_uring, through which files can be opened unseen.
        seen_by: who saw it.
        pid: the process; None if that is not known.
        program: what it executed; "" if that is not known.
        call: the system call; "" if that is not known.
        times: how often it was seen.
        denied: the process gate had turned the process away: it was meant to see the real file.
        suspects: where the process is not known, the programs of the run that the shims cannot be in.
        absent: the machine has no such file.
    """

    path: str
    seen_by: Witness
    pid: int | None = None
    program: str = ""
    call: str = ""
    times: int = 1
    denied: bool = False
    suspects: tuple[str, ...] = ()
    absent: bool = False

    def __str__(self) -> str:
        if self.pid is not None:
            who = f"{self.program or 'a program that may not be read'} (process {self.pid})"
        elif self.suspects:
            who = f"a process that inotify does not name ({' or '.join(self.suspects)}, or another on this machine)"
        else:
            who = "a process that inotify does not name, of this run or another on this machine"
        what = f"{self.path}: " if self.path else ""
        by = f" by {self.call}" if self.call else ""
        got = "found no such file" if self.absent else "got the real file"
        if self.denied:
            return f"{what}denied by the gate: {who} {got}{by}"
        if not self.path:
            return f"an io_uring was made by {who}: what it opens bypasses the shims; {REMEDY}"
        return f"{what}bypassed: {who} {got}{by}; {REMEDY}"

    @property
    def is_of_run(self) -> bool:
        """Is it known to be, or likely to be, a process of the run that did it?"""
        return self.pid is not None or bool(self.suspects)

    def to_json(self) -> dict[str, Any]:
        """The value as a JSON object."""
        return asdict(self) | {"suspects": list(self.suspects)}

    @classmethod
    def from_json(cls, value: dict[str, Any]) -> Self:
        """The value that `to_json` wrote."""
        return cls(**(value | {"suspects": tuple(value["suspects"])}))


class RealFiles:
    """Watches the machine's own files that stand where the table has rows, while it is entered.

    Directories that the tree only adds entries to are left out: /dev and /sys are listed by everybody all the time.

    Args:
        rows: the path table.
        named: by fanotify, if that is allowed.

    Attributes:
        seen_by: how they are watched.
        opened: how often each path was opened or read by which process, once it has been left.
        lost: there were more events than the kernel keeps.
        refused: the errno with which the kernel refused any watch; 0 if it did not.
        absent: how many of the paths the machine has not, so that nobody can be seen to look for them.
        unwatched: how many it has, and are not watched all the same.
    """

    def __init__(self, rows: Iterable[Row], *, named: bool = True) -> None:
        self._rows = [row.path for row in rows if row.whole or row.device]
        self._named = named
        self._places: dict[int, str] = {}
        self._watched: set[str] = set()
        self._descriptor = -1
        self.opened: dict[tuple[str, int | None], int] = {}
        self.lost = False
        self.refused = self.absent = self.unwatched = 0

    @property
    def seen_by(self) -> Witness:
        """The name of the witness."""
        return "fanotify" if self._named else "inotify"

    def __enter__(self) -> Self:
        self._descriptor = lib.vgpu_notify_real_files(self._named)
        if self._named and self._descriptor < 0:
            self._named = False
            self._descriptor = lib.vgpu_notify_real_files(self._named)
        self.refused = max(0, -self._descriptor)
        for path in self._rows:
            place = os.path.realpath(path)
            if not os.path.lexists(place):
                self.absent += 1
            elif self._descriptor < 0 or not self._watch(place):
                self.unwatched += 1
        # Listing the directories for their watches was an event as well.
        self._read()
        self.opened = {}
        return self

    def _watch(self, path: str) -> bool:
        if path in self._watched:
            return True
        if len(self._watched) >= _WATCHES:
            return False
        watch = lib.vgpu_notify_real_file(self._descriptor, self._named, os.fsencode(path))
        if watch < 0:
            return False
        self._places[watch] = path
        self._watched.add(path)
        try:
            with os.scandir(path) as entries:
                below = [entry.path for entry in entries if entry.is_dir(follow_symlinks=False)]
        except OSError:  # a file, or a directory that may not be read
            return True
        for directory in below:
            self._watch(directory)
        return True

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._read()
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1

    def _read(self) -> None:
        while self._descriptor >= 0:
            try:
                data = os.read(self._descriptor, _NAMED_ROOM if self._named else _ROOM)
            except BlockingIOError:
                return
            at = 0
            while at < len(data):
                at += self._take_named(data, at) if self._named else self._take(data, at)

    def _take(self, data: bytes, at: int) -> int:
        watch, mask, _, length = _EVENT.unpack_from(data, at)
        name = os.fsdecode(data[at + _EVENT.size : at + _EVENT.size + length].rstrip(b"\0"))
        if mask & _OVERFLOW:
            self.lost = True
        elif watch in self._places:
            self._count(f"{self._places[watch]}/{name}" if name else self._places[watch], None)
        return int(_EVENT.size + length)

    def _take_named(self, data: bytes, at: int) -> int:
        length, _, _, _, mask, descriptor, pid = _NAMED_EVENT.unpack_from(data, at)
        if mask & _OVERFLOW:
            self.lost = True
        if descriptor >= 0:
            try:
                self._count(str(Path(f"/proc/self/fd/{descriptor}").readlink()), pid)
            finally:
                os.close(descriptor)
        return int(length)

    def _count(self, path: str, pid: int | None) -> None:
        self.opened[path, pid] = self.opened.get((path, pid), 0) + 1


def image_rows(image: str | os.PathLike[str]) -> tuple[Row, ...]:
    """The path table of a host image; none if the shims refuse it, as then they serve no path.

    Raises:
        OSError: it cannot be read.
    """
    try:
        check_image(image)
    except ImageError:
        return ()
    data = Path(image).read_bytes()
    memory = ffi.from_buffer(data)
    head = ffi.cast("struct vgpu_image *", memory)
    rows = ffi.cast("struct vgpu_path *", memory + head.paths.offset)
    return tuple(
        Row(
            os.fsdecode(ffi.string(memory + rows[i].path)),
            os.fsdecode(ffi.string(memory + rows[i].target)),
            whole=rows[i].kind == lib.VGPU_PATH_TREE,
            device=(os.major(rows[i].rdev), os.minor(rows[i].rdev)) if rows[i].device else None,
        )
        for i in range(head.paths.count)
    )


def bypasses(
    real: RealFiles | None, sights: Sequence[Sight], processes: Sequence[Process], records: Iterable[Record]
) -> tuple[Bypass, ...]:
    """What went past the shims in a run, each path once a process.

    Args:
        real: what the watch saw; None if there was none.
        sights: what the supervisor saw in its log mode.
        processes: of the run. What others opened, of whom the watch knows the number, is none of its business.
        records: the trace, which has the decisions of the gate.
    """
    denied = {record.pid for record in records if record.kind == Kind.GATE and record.inputs[:1] != (lib.VGPU_READY,)}
    found = [
        Bypass(
            sight.path,
            "notification",
            sight.pid,
            sight.program,
            sight.call,
            sight.times,
            denied=sight.pid in denied,
            absent=bool(sight.path) and not os.path.lexists(sight.path),
        )
        for sight in sights
    ]
    named = {sight.path for sight in sights}
    programs = {process.pid: process.program for process in processes}
    suspects = tuple(
        dict.fromkeys(
            f"{image.program} (process {process.pid})"
            for process in processes
            for image in process.images
            if image.static or image.foreign or image.secure or image.lost
        )
    )
    for (path, pid), times in real.opened.items() if real is not None else ():
        if path in named or real is None:
            continue
        if pid is None:
            # One that the gate turned away opened the real file, and nothing says that anybody else did.
            turned_away = not suspects and bool(denied)
            found.append(Bypass(path, real.seen_by, times=times, denied=turned_away, suspects=suspects))
        elif pid in programs:
            found.append(Bypass(path, real.seen_by, pid, programs[pid], times=times, denied=pid in denied))
    return tuple(found)
