"""Who looks, in a run by preload, for programs that go past the shims; see `vgpu_harness.run.bypass`."""

import os
import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from types import TracebackType
from typing import Literal, Self

from vgpu_harness.errors import ImageError
from vgpu_harness.host import check_image
from vgpu_harness.host.tree import Row
from vgpu_harness.run.bypass import Bypass, RealFiles, Witness, bypasses, image_rows
from vgpu_harness.run.notification import FilterError, Notification, Supervised
from vgpu_harness.run.observer import Process
from vgpu_harness.run.program import Program
from vgpu_harness.run.started import Started
from vgpu_harness.trace import Record

ObserveFiles = Literal["auto", "watch", "inotify", "notification", "none"]
"""Who is to be the witness. "watch" is by fanotify where that is allowed; "auto" is "notification" for a program that
makes its system calls itself, and "watch" for others."""

_GO_NOTE = re.compile(rb"\x04\0\0\0....\x04\0\0\0Go\0\0", re.DOTALL)
"""The note of cmd/link with a program's build ID: size of the name, of the text, type 4 and the name. It stands in
front of the program's code, within the first page."""
_PAGE = 4096


def makes_own_calls(program: Program) -> bool:
    """Does it open files without libc: a static program, or one of Go's, whose run-time library never asks libc?"""
    if program.static:
        return True
    try:
        with program.binary.open("rb") as file:
            return _GO_NOTE.search(file.read(_PAGE)) is not None
    except OSError:  # one that may be executed and not read
        return False


class _Log(Supervised):
    """The supervisor in its log mode, where there can be one."""

    def __init__(self, watch: "Watch", image: Path) -> None:
        super().__init__(image, log=True)
        self._watch = watch

    def waiting(self, started: Started) -> None:
        """As the supervisor's; where the kernel refuses that, and it was not asked for by name, a watch takes over."""
        try:
            super().waiting(started)
        except FilterError as error:
            self._watch.without_filter(error)


class Watch:
    """The witness of one run.

    Args:
        image: the host image.
        how: which one.
        rows: the image's path table, if that is known; otherwise it is read.
        program: for "auto": what is started.

    Attributes:
        enclosure: what has to be put around the program; None if nothing has.
    """

    def __init__(
        self, image: Path, how: ObserveFiles, rows: Iterable[Row] | None = None, program: Program | None = None
    ) -> None:
        self._image = image
        self._rows = rows
        self._asked = how
        self._refusal = ""
        if how == "auto":
            how = "notification" if program is not None and self._can_log(program) else "watch"
        self._real = self._watching(how == "watch") if how in {"watch", "inotify"} else None
        self.enclosure = _Log(self, image) if how == "notification" else None

    def _can_log(self, program: Program) -> bool:
        if not makes_own_calls(program):
            return False
        try:
            check_image(self._image)
        except (ImageError, OSError):  # which no supervisor takes, and no shim serves a path of
            return False
        self._refusal = Notification().available() or ""
        return not self._refusal

    def _watching(self, named: bool) -> RealFiles:
        return RealFiles(image_rows(self._image) if self._rows is None else self._rows, named=named)

    def without_filter(self, error: FilterError) -> None:
        """The kernel refuses the supervisor's filter.

        Raises:
            FilterError: if the supervisor was asked for by name.
        """
        if self._asked != "auto":
            raise error
        cause = error.__cause__
        self._refusal = (cause.strerror if isinstance(cause, OSError) else None) or str(error)
        self._real = self._watching(named=True)
        self._real.__enter__()

    def __enter__(self) -> Self:
        if self._real is not None:
            self._real.__enter__()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if self._real is not None:
            self._real.__exit__(kind, error, traceback)
        if self.enclosure is not None:
            self.enclosure.finish()

    @property
    def witness(self) -> Witness | Literal["none"]:
        """Who it was, once it has been entered."""
        if self._real is not None:
            return "none" if self._real.refused else self._real.seen_by
        return "notification" if self.enclosure is not None else "none"

    @property
    def blind(self) -> str | None:
        """Why a program may have gone past the shims unseen, once it has been left; None if none can have."""
        real = self._real
        if real is None:
            missed = self.enclosure.unread + self.enclosure.unlisted if self.enclosure is not None else 0
            if self.enclosure is None:
                return "nobody was to look for that"
            return f"{missed} calls were of processes that may not be read, or too many to list" if missed else None
        by_name = f"; there is no notification: {self._refusal}" if self._refusal else ""
        if real.refused:
            return f"no watch is to be had: inotify: {os.strerror(real.refused)}{by_name}"
        reasons = []
        if real.lost:
            reasons.append("events were lost")
        if real.unwatched:
            reasons.append(f"{real.unwatched} paths could not be watched")
        if real.absent:
            reasons.append(f"the machine has not {real.absent} of the paths, and a watch sees nobody look for them")
        return "; ".join(reasons) + by_name if reasons else None

    @property
    def finding(self) -> str | None:
        """What the user should hear of a witness that was wanted and is not to be had; None if there was one."""
        if self._asked == "none" or self.blind is None or (self.witness != "none" and not self._refusal):
            return None
        return (
            f"programs that go past the shims may be unseen: {self.blind}; docs/providers.md has what a witness needs"
        )

    def found(self, processes: Sequence[Process], records: Iterable[Record]) -> tuple[Bypass, ...]:
        """What went past the shims, once it has been left; see `bypasses`."""
        return bypasses(self._real, self.enclosure.sights if self.enclosure is not None else (), processes, records)
