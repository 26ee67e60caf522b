"""Which processes a run had, seen from outside: by looking at /proc every few milliseconds.

The shims and the auditor report themselves; a process that neither of them is in shows only here. What lives for a
shorter time than lies between two looks is not seen.
"""

import os
import select
import time
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

INTERVAL = 0.01
"""Seconds between two looks."""


@dataclass(frozen=True)
class Process:
    """A process as it was when it was last seen.

    Attributes:
        pid: its number.
        parent: its parent's number when it was first seen.
        program: path of what it executes, "" if that is not known.
        argv: its command line.
        traced: its environment named the run's trace; without, the shims have been taken out of its environment.
        preloaded: its environment had an LD_PRELOAD.
    """

    pid: int
    parent: int
    program: str
    argv: tuple[str, ...]
    traced: bool
    preloaded: bool

    def to_json(self) -> dict[str, Any]:
        """The process as a JSON object."""
        return asdict(self) | {"argv": list(self.argv)}


def _stat(pid: int) -> tuple[int, int] | None:
    """Parent and session of a process (proc(5): fields 4 and 6 of stat; the name before them may hold anything)."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_bytes().rpartition(b")")[2].split()
    except OSError:
        return None
    return int(fields[1]), int(fields[3])


class Observer:
    """Watches a process and all that come from it."""

    def __init__(self, root: Process, trace: Path) -> None:
        self._needle = b"\0VGPU_TRACE=" + os.fsencode(trace) + b"\0"
        self._processes: dict[int, Process] = {root.pid: root}
        self._others: set[int] = set()
        self._root = root.pid
        found = _stat(root.pid)
        # Its own session, if it was given one: orphans stay in it.
        self._session = root.pid if found is not None and found[1] == root.pid else None

    def look(self) -> None:
        """Takes in what /proc shows now."""
        for name in os.listdir("/proc"):  # noqa: PTH208 - three times as fast as iterdir, a hundred times a second
            if name.isdecimal() and (pid := int(name)) not in self._others and pid not in self._processes:
                self._meet(pid)
        for pid, process in self._processes.items():
            self._processes[pid] = self._seen_again(process)

    def _meet(self, pid: int) -> None:
        found = _stat(pid)
        if found is None:
            return
        parent, session = found
        if parent not in self._processes and session != self._session:
            self._others.add(pid)
            return
        self._processes[pid] = Process(pid, parent, "", (), traced=False, preloaded=False)

    def _seen_again(self, process: Process) -> Process:
        place = Path(f"/proc/{process.pid}")
        try:
            program = str((place / "exe").readlink())
            if program == process.program:
                return process
            argv = (place / "cmdline").read_bytes().split(b"\0")[:-1]
            environment = b"\0" + (place / "environ").read_bytes()
        except OSError:
            return process
        return replace(
            process,
            program=program,
            argv=tuple(os.fsdecode(word) for word in argv),
            traced=self._needle in environment,
            preloaded=b"\0LD_PRELOAD=" in environment,
        )

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
    def processes(self) -> tuple[Process, ...]:
        """All that were seen, in the order in which they were."""
        return tuple(self._processes.values())
