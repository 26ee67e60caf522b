"""The processes of a run, by looking at /proc every few milliseconds: for where ptrace is refused or not wanted.

What lives for a shorter time than lies between two looks is not seen.
"""

import os
import select
import time

from vgpu_harness.run.observer import Image, Process, Sighting, Signs, auxiliary
from vgpu_harness.run.reaper import names_trace
from vgpu_harness.run.started import Started

INTERVAL = 0.01
"""Seconds between two looks."""


def _parent_and_session(pid: int) -> tuple[int | None, int]:
    """None and 0: the process is gone."""
    import psutil

    try:
        return psutil.Process(pid).ppid(), os.getsid(pid)
    except (psutil.NoSuchProcess, ProcessLookupError):
        return None, 0


class Sampler:
    """Watches a process and all that come from it.

    Attributes:
        status: the exit status of the process, once `finish` has been called.
    """

    def __init__(self, started: Started, signs: Signs, first: Image) -> None:
        """Is ready to watch a process that has just become `first`, as far as that is known without a look at it."""
        root = started.pid
        self.status = 0
        self._started = started
        self._signs = signs
        self._seen = {root: Sighting(root, os.getpid(), first, [first])}
        self._auxiliary: dict[int, bytes] = {}
        self._others: set[int] = set()
        self._root = root
        # Its own session, if it was given one: orphans stay in it.
        self._session = root if _parent_and_session(root)[1] == root else None

    def look(self) -> None:
        """Takes in what /proc shows now."""
        import psutil

        pids = psutil.pids()
        self._others.intersection_update(pids)
        for pid in pids:
            if pid not in self._others and pid not in self._seen:
                self._meet(pid)
        for sighting in self._seen.values():
            self._see_again(sighting)

    def _meet(self, pid: int) -> None:
        parent, session = _parent_and_session(pid)
        if parent is None:
            return
        # A daemon may have left its parent and its session before it was first looked at.
        if parent not in self._seen and session != self._session and not names_trace(pid, self._signs.trace):
            self._others.add(pid)
            return
        self._seen[pid] = Sighting(pid, parent, self._seen[parent].image if parent in self._seen else None)
        self._auxiliary[pid] = self._auxiliary.get(parent, b"")

    def _see_again(self, sighting: Sighting) -> None:
        pid, known = sighting.pid, self._auxiliary.get(sighting.pid)
        found = auxiliary(pid)
        if found == known or (not found and sighting.image is not None and not sighting.image.program):
            return
        image = self._signs.read(pid, sighting.image.program if sighting.image is not None else "", found)
        if image is not None:
            if known is None and image.program == sighting.images[0].program:
                sighting.images.clear()
            sighting.executed(image)
            self._auxiliary[pid] = found

    def watch(self, timeout: float) -> bool:
        """Looks until the root process ends or `timeout` seconds are over; answers whether it has ended."""
        deadline = time.monotonic() + timeout
        try:
            descriptor = os.pidfd_open(self._root)
        except ProcessLookupError:
            return True
        try:
            poll = select.poll()
            poll.register(descriptor, select.POLLIN)
            while True:
                self.look()
                left = deadline - time.monotonic()
                if poll.poll(1000 * max(0.0, min(INTERVAL, left))):
                    return True
                if left <= 0:
                    return False
        finally:
            os.close(descriptor)

    @property
    def living(self) -> tuple[int, ...]:
        """The processes that are known to be the run's without a look at them."""
        return (self._root,)

    def finish(self) -> tuple[int, ...]:
        """Waits for the root process; ends none."""
        self.status = self._seen[self._root].status = self._started.wait()
        return ()

    @property
    def processes(self) -> tuple[Process, ...]:
        """All that were seen, in the order in which they were."""
        return tuple(sighting.process() for sighting in self._seen.values())
