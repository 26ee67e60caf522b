"""Where the tree of a run lies while the run lasts: in memory, in a directory of the user's own that all may enter.

A program may give its rights up (a daemon that root starts becomes another user), and has to find the tree still: so it
is not in the run's own directory, which is closed to others, but beside it. Its name is nobody else's to list.

Opening a file of a tmpfs takes less time than on a disk, and so does making the tree's hundreds of links. Memory is not
for keeping: the directory is removed when the run has ended. If the harness is killed before, the next run of this user
removes it: whoever has made it holds its lock, which the kernel lets go of with the process.
"""

import contextlib
import fcntl
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

MEMORY = Path("/dev/shm")  # noqa: S108 - the directory made in it is the user's own, of a name that nobody can guess
PREFIX = "vgpu-tree-"
_ROOM = 16 << 20
"""Bytes that have to be free: eight GPUs on a large machine take some 2 MiB."""
_OPEN = 0o711
"""Rights of the directory: all may go through it into the tree, whose files have the rights that sysfs gives them."""
_TRIES = 10
"""So often another run may take a directory for a stale one, in the moment before it is locked."""


def is_memory(directory: Path) -> bool:
    """Is the directory on a tmpfs? /proc/self/mountinfo tells (proc_pid_mountinfo(5)); a machine without has none."""
    try:
        device = directory.stat().st_dev
        lines = Path("/proc/self/mountinfo").read_text().splitlines()
    except OSError:
        return False
    number = f"{os.major(device)}:{os.minor(device)}"
    return any(line.split()[2] == number and " - tmpfs " in line for line in lines)


def _locked(directory: Path) -> int | None:
    """A descriptor that holds the directory's lock; None if another process does, or it is gone."""
    try:
        descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    except OSError:
        return None
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(descriptor)
        return None
    return descriptor


def remove_stale(memory: Path | None = None) -> None:
    """Removes what runs of this user have left whose harness was killed."""
    for entry in (memory or MEMORY).glob(f"{PREFIX}*"):
        with contextlib.suppress(OSError):
            if entry.lstat().st_uid != os.geteuid():
                continue
        if (descriptor := _locked(entry)) is not None:
            shutil.rmtree(entry, ignore_errors=True)
            os.close(descriptor)


def _made(memory: Path) -> tuple[Path, int] | None:
    """A new directory with its lock; None where there is no room for one."""
    try:
        if not is_memory(memory):
            return None
        room = os.statvfs(memory)
        if room.f_bavail * room.f_frsize < _ROOM:
            return None
        remove_stale(memory)
        for _ in range(_TRIES):
            place = Path(tempfile.mkdtemp(prefix=PREFIX, dir=memory))
            descriptor = _locked(place)
            if descriptor is not None and place.exists():
                os.fchmod(descriptor, _OPEN)
                return place, descriptor
            if descriptor is not None:
                os.close(descriptor)
    except OSError:
        pass
    return None


@contextlib.contextmanager
def scratch(directory: Path, memory: Path | None = None) -> Iterator[tuple[Path, bool]]:
    """A directory for the tree of one run, removed at the end.

    Args:
        directory: the run's own, where it lies if there is no memory for it; no other user gets there.
        memory: the tmpfs; /dev/shm for None.

    Yields:
        The directory, which exists and is empty, and whether it is in memory.
    """
    made = _made(memory or MEMORY)
    if made is None:
        place = Path(tempfile.mkdtemp(prefix="tree-", dir=directory))
        try:
            yield place, is_memory(place)
        finally:
            shutil.rmtree(place, ignore_errors=True)
        return
    place, descriptor = made
    try:
        yield place, True
    finally:
        shutil.rmtree(place, ignore_errors=True)
        os.close(descriptor)
