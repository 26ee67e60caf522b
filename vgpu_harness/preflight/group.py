"""The cgroup of an enclosure: an init needs one in which it may make others. Nothing is mounted outside for it."""

import contextlib
import ctypes
import os
from pathlib import Path

from vgpu_harness.conformance.enter import step

# <linux/mount.h>, <asm/unistd_64.h>
_MS_NOSUID, _MS_NODEV, _MS_NOEXEC = 0x2, 0x4, 0x8
_SYS_FSOPEN, _SYS_FSCONFIG, _SYS_FSMOUNT, _FSCONFIG_CREATE = 430, 431, 432, 6

_GROUP = "vgpu-preflight-"


def own_group() -> tuple[tuple[int, str] | None, str | None]:
    """Makes a cgroup below this process's own.

    Returns:
        A descriptor of the root of all cgroups, and the new one's path from there; or None, and why not.
    """
    libc = ctypes.CDLL(None, use_errno=True)
    own = next((line[3:] for line in Path("/proc/self/cgroup").read_text().splitlines() if line[:3] == "0::"), None)
    if own is None:
        return None, "this kernel has no cgroup2"
    context = libc.syscall(ctypes.c_long(_SYS_FSOPEN), b"cgroup2", ctypes.c_long(1))
    if context < 0:
        return None, f"cgroup2 cannot be opened: {os.strerror(ctypes.get_errno())}"
    long, null = ctypes.c_long, ctypes.c_long(0)
    libc.syscall(long(_SYS_FSCONFIG), long(context), long(_FSCONFIG_CREATE), null, null, null)
    root = libc.syscall(long(_SYS_FSMOUNT), long(context), long(1), null)
    os.close(context)
    if root < 0:
        return None, f"cgroup2 cannot be mounted: {os.strerror(ctypes.get_errno())}"
    place = own.strip("/") or "."
    name = f"{place}/{_GROUP}{os.getpid()}"
    try:
        _remove_stale(root, place)
        os.mkdir(name, dir_fd=root)
    except OSError as error:
        os.close(root)
        return None, f"no cgroup can be made below {own}: {error.strerror}"
    return (root, name), None


def _remove_stale(root: int, place: str) -> None:
    """Removes the cgroups of wardens that were killed."""
    folder = os.open(place, os.O_RDONLY | os.O_DIRECTORY, dir_fd=root)
    try:
        names = [name for name in os.listdir(folder) if name.startswith(_GROUP)]  # noqa: PTH208 - by descriptor
    finally:
        os.close(folder)
    for name in names:
        if not Path("/proc", name.removeprefix(_GROUP)).exists():
            remove_tree(root, f"{place}/{name}")


def join(group: tuple[int, str], pid: int) -> None:
    """Puts a process into a cgroup."""
    root, name = group
    file = os.open(f"{name}/cgroup.procs", os.O_WRONLY, dir_fd=root)
    try:
        os.write(file, str(pid).encode())
    finally:
        os.close(file)


def remove_tree(root: int, name: str) -> None:
    """Removes a cgroup without processes, and those below it."""
    for folder, _, _, _ in list(os.fwalk(name, topdown=False, dir_fd=root)):
        with contextlib.suppress(OSError):
            os.rmdir(folder, dir_fd=root)


def mount_cgroup() -> None:
    """Inside: shows the enclosure's own cgroup at /sys/fs/cgroup.

    Raises:
        NotEnteredError: the kernel refused it.
    """
    flags = _MS_NOSUID | _MS_NODEV | _MS_NOEXEC
    answer = ctypes.CDLL(None, use_errno=True).mount(b"cgroup2", b"/sys/fs/cgroup", b"cgroup2", flags, None)
    step(answer, "mount the enclosure's own cgroup", "the kernel needs cgroup2")
