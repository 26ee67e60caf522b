"""The enclosure of preflight: namespaces in which a library may crash every program, and nothing outside notices.

The process that makes it stays outside (`Warden`); its child is process 1 of the enclosure, with

- process, mount, IPC, network, UTS, cgroup and user namespaces of its own. Users have the same numbers inside as
  outside, but no right of theirs reaches outside: no device, no kernel setting, no clock, no reboot;
- the file systems of the machine, read-only; that is locked, because the user namespace is made after it;
- its own /etc and /var (the machine's, what is changed lies in memory), /run, /tmp, /dev and /proc.

Set-user-ID programs work. bubblewrap cannot make this: it always sets "no new rights", which switches them off.
"""

import contextlib
import ctypes
import errno
import os
import resource
import signal
import struct
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from vgpu_harness.conformance.enter import (
    NODES,
    NotEnteredError,
    bind,
    opened,
    outermost,
    step,
    tmpfs,
)
from vgpu_harness.preflight import group

# <linux/sched.h>, <linux/mount.h>, <linux/prctl.h>, <asm/unistd_64.h>
_NEWNS, _NEWCGROUP, _NEWUTS, _NEWIPC = 0x00020000, 0x02000000, 0x04000000, 0x08000000
_NEWUSER, _NEWPID, _NEWNET = 0x10000000, 0x20000000, 0x40000000
_MS_RDONLY, _MS_NOSUID, _MS_NODEV, _MS_NOEXEC, _MS_REMOUNT = 0x1, 0x2, 0x4, 0x8, 0x20
_MS_BIND, _MS_REC, _MS_PRIVATE = 0x1000, 0x4000, 0x40000
_ATTR_RDONLY, _AT_RECURSIVE, _AT_FDCWD, _SYS_MOUNT_SETATTR = 0x1, 0x8000, -100, 442
_PR_SET_PDEATHSIG = 1

PLACES = ("/dev", "/run", "/tmp")  # noqa: S108 - the enclosure's own
"""Folders that are empty in the enclosure, but for what is kept."""

_OVERLAID = ("/etc", "/var")
CHANGED = "/run/vgpu-preflight/changed"
"""Inside: what was changed in these lies here, in folders of their names; what was removed is a device 0:0 here."""

_CLOSED = ("/proc/sys", "/proc/sysrq-trigger", "/proc/irq", "/proc/bus", "/proc/fs", "/proc/acpi")
"""Parts of /proc that root may write to by the number of its user alone."""

_MOST_PROCESSES = 4096
_LINKS = 40
"""So many links the kernel follows; path_resolution(7)."""

_NAMESPACES = (
    "allow namespaces (sysctl user.max_user_namespaces, kernel.unprivileged_userns_clone, "
    "kernel.apparmor_restrict_unprivileged_userns), or run as root; a container needs the capability SYS_ADMIN"
)


@dataclass
class Warden:
    """What the process outside knows of its enclosure.

    Attributes:
        pid: process 1 of the enclosure, by its number outside.
        console: the other end of its /dev/console.
        no_cgroup: why it has no cgroup of its own; None if it has one.
    """

    pid: int
    console: int
    no_cgroup: str | None
    _groups: list[tuple[int, str]] = field(default_factory=list)

    def end(self) -> int:
        """Ends everything in the enclosure; answers the wait status of its process 1."""
        with contextlib.suppress(ProcessLookupError):
            os.kill(self.pid, signal.SIGKILL)
        status = os.waitpid(self.pid, 0)[1]
        while not (os.WIFEXITED(status) or os.WIFSIGNALED(status)):  # it had let itself be traced
            status = os.waitpid(self.pid, 0)[1]
        for root, name in self._groups:
            group.remove_tree(root, name)
            os.close(root)
        return status


def make(keep: Iterable[str], *, with_group: bool = False) -> Warden | None:
    """Makes an enclosure. Like fork(2), it answers twice: outside the warden, inside None.

    The caller has one thread. Inside, whatever Python still has to import must be imported already.

    Args:
        keep: paths below PLACES that stay visible, for reading only.
        with_group: with a cgroup of its own, which an init needs; where that is refused, the warden knows why.

    Raises:
        NotEnteredError: the kernel refused a step; raised in the process that it was refused.
    """
    libc = ctypes.CDLL(None, use_errno=True)
    is_root = os.geteuid() == 0
    outer = _NEWPID | _NEWIPC | _NEWNET
    uid, gid = os.geteuid(), os.getegid()
    os.umask(0o022)
    step(libc.unshare(outer if is_root else outer | _NEWUSER), "make namespaces", _NAMESPACES)
    if not is_root:
        _write_maps("self", f"0 {uid} 1", f"0 {gid} 1", may_setgroups=False)
    master, slave = os.openpty()
    os.set_blocking(master, False)
    cgroup, no_cgroup = group.own_group() if with_group else (None, "none was asked for")
    ready, mapped = os.pipe(), os.pipe()
    pid = os.fork()
    if pid == 0:
        for end in (ready[0], mapped[1], master):
            os.close(end)
        _inside(libc, keep, slave, ready[1], mapped[0])
        return None
    for end in (ready[1], mapped[0], slave):
        os.close(end)
    warden = Warden(pid, master, no_cgroup, [cgroup] if cgroup else [])
    try:
        if os.read(ready[0], 1) == b"m":
            if cgroup:
                group.join(cgroup, pid)
            os.write(mapped[1], b"c")
        if os.read(ready[0], 1) == b"u":
            _write_maps(str(pid), *_identity(), may_setgroups=is_root)
            os.write(mapped[1], b"u")
    except BaseException:
        warden.end()
        raise
    finally:
        os.close(ready[0])
        os.close(mapped[1])
    return warden


def _inside(libc: ctypes.CDLL, keep: Iterable[str], slave: int, ready: int, mapped: int) -> None:
    """Process 1: mounts first, then the user namespace that locks them."""
    step(libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0), "end with the parent", "")
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_DFL)  # which process 1 ignores, where the sender is inside
    # 1, not 0: with it, no handler that /proc/sys/kernel/core_pattern names is started, outside, for a crash in here.
    resource.setrlimit(resource.RLIMIT_CORE, (1, 1))
    step(libc.unshare(_NEWNS), "make a mount namespace", _NAMESPACES)
    step(libc.mount(b"none", b"/", None, _MS_REC | _MS_PRIVATE, None), "make mounts private", "")
    _mount_all(libc, keep, slave)
    if not os.statvfs("/").f_flag & os.ST_RDONLY or os.stat("/etc").st_dev == os.stat("/").st_dev:  # noqa: PTH116
        raise NotEnteredError(errno.EBUSY, "the file systems are not what was mounted; nothing is started")
    os.write(ready, b"m")
    if os.read(mapped, 1) != b"c":
        os._exit(1)
    step(libc.unshare(_NEWUSER | _NEWNS | _NEWUTS | _NEWCGROUP), "make a user namespace", _NAMESPACES)
    os.write(ready, b"u")
    if os.read(mapped, 1) != b"u":
        os._exit(1)
    os.close(ready)
    os.close(mapped)
    os.setresgid(0, 0, 0)
    os.setresuid(0, 0, 0)
    # A library may start processes, and take memory, without end: these are the limit, and the first to be killed then.
    allowed = resource.getrlimit(resource.RLIMIT_NPROC)[1]
    most = _MOST_PROCESSES if allowed == resource.RLIM_INFINITY else min(allowed, _MOST_PROCESSES)
    resource.setrlimit(resource.RLIMIT_NPROC, (most, most))
    Path("/proc/self/oom_score_adj").write_text("1000")
    # The parent's death would not be heard any more: the change of users has cleared it.
    step(libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0), "end with the parent", "")
    os.chdir("/")


def _mount_all(libc: ctypes.CDLL, keep: Iterable[str], slave: int) -> None:
    nodes = {f"/dev/{name}": opened(f"/dev/{name}") for name in NODES if Path("/dev", name).is_char_device()}
    nodes["/dev/console"] = opened(os.ttyname(slave))
    kept = {path: opened(path) for path in outermost(keep)}
    attributes = struct.pack("QQQQ", _ATTR_RDONLY, 0, 0, 0)
    answer = libc.syscall(
        ctypes.c_long(_SYS_MOUNT_SETATTR), ctypes.c_long(_AT_FDCWD), b"/", ctypes.c_long(_AT_RECURSIVE), attributes,
        ctypes.c_long(len(attributes)),
    )  # fmt: skip
    step(answer, "make the file systems read-only", "Linux 5.12 or a newer one can (mount_setattr)")
    changed = _overlay(libc)
    for place in PLACES:
        tmpfs(libc, place, f"mode={'1777' if place == '/tmp' else '755'},size=64m")  # noqa: S108
    bind(libc, changed, CHANGED, is_folder=True)
    step(libc.mount(None, CHANGED.encode(), None, _MS_BIND | _MS_REMOUNT | _MS_RDONLY, None), f"close {CHANGED}", "")
    for path, descriptor in nodes.items():
        bind(libc, descriptor, path, is_folder=False)
    os.close(slave)
    _furnish(libc)
    flags = _MS_NOSUID | _MS_NODEV | _MS_NOEXEC
    step(libc.mount(b"proc", b"/proc", b"proc", flags, None), "mount a new /proc", "a container hides parts of its own")
    for name in filter(os.path.exists, _CLOSED):
        part = name.encode()
        step(libc.mount(part, part, None, _MS_BIND, None), f"show {name}", "")
        step(libc.mount(None, part, None, _MS_BIND | _MS_REMOUNT | _MS_RDONLY | flags, None), f"close {name}", "")
    for path, descriptor in kept.items():
        bind(libc, descriptor, path, is_folder=os.path.isdir(f"/proc/self/fd/{descriptor}"))  # noqa: PTH112


def _overlay(libc: ctypes.CDLL) -> int:
    """/etc and /var as they are; what is changed there lies in memory, below a /tmp that is covered afterwards.

    Returns:
        A descriptor of the folder with what is changed.
    """
    scratch = "/tmp"  # noqa: S108
    tmpfs(libc, scratch, "mode=755,size=256m")
    for place in _OVERLAID:
        name = place.strip("/")
        for part in ("changed", "work"):
            Path(scratch, part, name).mkdir(parents=True)
        options = f"lowerdir={place},upperdir={scratch}/changed/{name},workdir={scratch}/work/{name}"
        answer = libc.mount(b"overlay", place.encode(), b"overlay", _MS_NODEV, options.encode())
        step(answer, f"overlay {place}", "the kernel needs overlayfs (modprobe overlay)")
    return opened(f"{scratch}/changed")


def _furnish(libc: ctypes.CDLL) -> None:
    links = {"fd": "/proc/self/fd", "stdin": "fd/0", "stdout": "fd/1", "stderr": "fd/2", "ptmx": "pts/ptmx"}
    for name, target in links.items():
        Path("/dev", name).symlink_to(target)
    for name in ("shm", "pts"):
        Path("/dev", name).mkdir()
    options = b"newinstance,ptmxmode=0666,mode=620"
    step(libc.mount(b"devpts", b"/dev/pts", b"devpts", _MS_NOSUID | _MS_NOEXEC, options), "mount /dev/pts", "")
    tmpfs(libc, "/dev/shm", "mode=1777,size=64m")  # noqa: S108
    Path("/run/lock").mkdir()


def _identity() -> tuple[str, str]:
    """The maps of users and groups that leave every number as it is."""
    texts = []
    for name in ("uid_map", "gid_map"):
        rows = [line.split() for line in Path("/proc/self", name).read_text().splitlines()]
        texts.append("\n".join(f"{first} {first} {count}" for first, _, count in rows))
    return texts[0], texts[1]


def _write_maps(process: str, users: str, groups: str, *, may_setgroups: bool) -> None:
    files = [("uid_map", users), ("gid_map", groups)]
    if not may_setgroups:
        files.insert(0, ("setgroups", "deny"))
    for name, text in files:
        try:
            Path("/proc", process, name).write_text(text)
        except OSError as error:
            raise NotEnteredError(
                error.errno, f"write {name} of a user namespace: {error.strerror}; {_NAMESPACES}"
            ) from None


def visible(paths: Sequence[str]) -> list[str]:
    """Which folders or files have to be kept, so that libraries and what lies beside them ($ORIGIN) can be read."""
    kept = []
    for path in (place for each in paths for place in followed(each)):
        folder = str(Path(path).parent)
        kept.append(path if folder in {"/", *PLACES} else folder)
    return kept


def followed(path: str) -> list[str]:
    """A path, and those to which it is a link, one after another."""
    found = [path]
    while os.path.islink(found[-1]) and len(found) <= _LINKS:  # noqa: PTH114 - no error where nobody may look
        found.append(os.path.abspath(Path(found[-1]).parent / Path(found[-1]).readlink()))  # noqa: PTH100
    return found
