"""Goes into the sandbox of foreign libraries, in the process that is to live there.

It uses the standard library alone, and is a program too, which becomes PROGRAM in the sandbox:

    python -I enter.py [--keep PATH]... [--show PATH AS]... -- PROGRAM ARGUMENT...

`vgpu_harness.conformance.sandbox` says what the sandbox is, and is what to import.
"""

import ctypes
import os
import resource
import stat
import struct
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path

NOBODY = 65534
HOME = "/tmp/home"  # noqa: S108 - the sandbox's own /tmp
REFUSED = 125
"""Exit status where the sandbox cannot be made, as env(1) has it for failures of its own."""

NODES = ("null", "zero", "full", "random", "urandom", "tty")
"""What a new /dev gets of the old one, beside NVIDIA's nodes that are there already."""

# <linux/sched.h>, <linux/mount.h>, <linux/prctl.h>, <linux/capability.h>, <asm/unistd_64.h>
_CLONE_NEWNS, _CLONE_NEWUSER = 0x00020000, 0x10000000
_MS_NOSUID, _MS_NOEXEC, _MS_BIND, _MS_REC, _MS_PRIVATE = 0x2, 0x8, 0x1000, 0x4000, 0x40000
_MOUNT_ATTR_RDONLY, _MOUNT_ATTR_NOSUID, _AT_RECURSIVE, _AT_FDCWD, _SYS_MOUNT_SETATTR = 0x1, 0x2, 0x8000, -100, 442
_PR_SET_PDEATHSIG, _PR_SET_DUMPABLE, _PR_SET_NO_NEW_PRIVS = 1, 4, 38
_CAPABILITY_VERSION_3 = 0x20080522
_SIGKILL = 9

_Libc = ctypes.CDLL


class NotEnteredError(OSError):
    """The kernel refused a step; the text says which one, and what would help."""


def enter(keep: Iterable[str] = (), show: Mapping[str, str] | None = None) -> None:
    """Takes this process into a sandbox of its own; there is no way back. The process must have one thread.

    Args:
        keep: files and folders below /tmp or /dev/shm that stay visible, for reading only.
        show: files and folders that appear at a path below /tmp, for reading only; by that path.

    Raises:
        NotEnteredError: the kernel refused; the process is then neither here nor there, and should end.
    """
    libc = ctypes.CDLL(None, use_errno=True)
    root = os.geteuid() == 0
    os.umask(0o022)  # what is made here on the way to what is shown has to be searched by nobody
    _own_namespaces(libc, root=root)
    step(libc.mount(b"none", b"/", None, _MS_REC | _MS_PRIVATE, None), "make mounts private", "")
    devices = {path: opened(path) for path in _nodes()}
    kept = {path: opened(path) for path in outermost(keep)}
    kept |= {place: opened(path) for place, path in (show or {}).items()}
    _read_only(libc)
    tmpfs(libc, "/dev", "mode=755,size=16m")
    for path, descriptor in devices.items():
        bind(libc, descriptor, path, is_folder=False)
    for name, target in (("fd", "/proc/self/fd"), ("stdin", "fd/0"), ("stdout", "fd/1"), ("stderr", "fd/2")):
        Path("/dev", name).symlink_to(target)
    Path("/dev/shm").mkdir()  # noqa: S108
    Path("/dev/shm").chmod(0o1777)  # noqa: S108
    tmpfs(libc, "/tmp", "mode=1777,size=256m")  # noqa: S108
    Path(HOME).mkdir(mode=0o700)
    if root:
        os.chown(HOME, NOBODY, NOBODY)
    for path, descriptor in kept.items():
        bind(libc, descriptor, path, is_folder=stat.S_ISDIR(os.fstat(descriptor).st_mode))
    _become_nobody(libc, root=root)
    os.chdir(HOME)


def _own_namespaces(libc: _Libc, *, root: bool) -> None:
    uid, gid = os.geteuid(), os.getegid()
    if root:
        remedy = "a container needs the capability SYS_ADMIN for it, or run this as an ordinary user"
        step(libc.unshare(_CLONE_NEWNS), "make a mount namespace", remedy)
        return
    remedy = "allow user namespaces (sysctl kernel.unprivileged_userns_clone, user.max_user_namespaces), or run as root"
    step(libc.unshare(_CLONE_NEWUSER | _CLONE_NEWNS), "make a user namespace", remedy)
    for file, text in (("setgroups", "deny"), ("uid_map", f"{uid} {uid} 1"), ("gid_map", f"{gid} {gid} 1")):
        try:
            Path("/proc/self", file).write_text(text)
        except OSError as error:
            raise NotEnteredError(
                error.errno, f"write {file} of a user namespace: {error.strerror}; {remedy}"
            ) from None


def step(answer: int, what: str, remedy: str) -> None:
    """Looks at what a call of libc answered.

    Raises:
        NotEnteredError: it is not 0; with errno, what was tried and the remedy.
    """
    if answer != 0:
        number = ctypes.get_errno()
        raise NotEnteredError(number, f"{what}: {os.strerror(number)}" + (f"; {remedy}" if remedy else ""))


def _nodes() -> list[str]:
    """The device nodes that the sandbox shows; those of NVIDIA's only where the driver has made them."""
    found = [f"/dev/{name}" for name in NODES if Path("/dev", name).is_char_device()]
    made = sorted(Path("/dev").glob("nvidia*"))
    made += [node for path in made if path.is_dir() for node in sorted(path.iterdir())]  # /dev/nvidia-caps/
    return found + [str(path) for path in made if path.is_char_device()]


def outermost(paths: Iterable[str]) -> list[str]:
    """The paths without those that lie in another one, and without those that stay visible anyway."""
    hidden = {str(Path(path).absolute()) for path in paths if Path(path).exists()}
    hidden = {path for path in hidden if path.startswith(("/tmp/", "/dev/shm/"))}  # noqa: S108
    return [path for path in sorted(hidden) if not any(str(parent) in hidden for parent in Path(path).parents)]


def opened(path: str) -> int:
    """A descriptor that keeps a place at hand while something is mounted over it."""
    return os.open(path, os.O_PATH | os.O_CLOEXEC)


def _read_only(libc: _Libc) -> None:
    """Everything that is mounted becomes read-only, and no program there raises anybody's rights."""
    attributes = struct.pack("QQQQ", _MOUNT_ATTR_RDONLY | _MOUNT_ATTR_NOSUID, 0, 0, 0)
    answer = libc.syscall(
        ctypes.c_long(_SYS_MOUNT_SETATTR), ctypes.c_long(_AT_FDCWD), b"/", ctypes.c_long(_AT_RECURSIVE), attributes,
        ctypes.c_long(len(attributes)),
    )  # fmt: skip
    step(answer, "make the file systems read-only", "Linux 5.12 or a newer one can (mount_setattr)")


def tmpfs(libc: _Libc, path: str, options: str) -> None:
    """Mounts an empty file system in memory."""
    answer = libc.mount(b"tmpfs", path.encode(), b"tmpfs", _MS_NOSUID | _MS_NOEXEC * (path == "/dev"), options.encode())
    step(answer, f"mount a new {path}", "")


def bind(libc: _Libc, descriptor: int, path: str, *, is_folder: bool) -> None:
    """Mounts what a descriptor is open to at `path`, which is made."""
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    if is_folder:
        Path(path).mkdir(exist_ok=True)
    else:
        Path(path).touch()
    source = f"/proc/self/fd/{descriptor}".encode()
    step(libc.mount(source, path.encode(), None, _MS_BIND, None), f"show {path}", "")
    os.close(descriptor)


def _become_nobody(libc: _Libc, *, root: bool) -> None:
    if root:
        os.setgroups([])
        os.setresgid(NOBODY, NOBODY, NOBODY)
        os.setresuid(NOBODY, NOBODY, NOBODY)
    else:
        header, none = struct.pack("Ii", _CAPABILITY_VERSION_3, 0), struct.pack("6I", *([0] * 6))
        step(libc.capset(header, none), "give up capabilities", "")
    step(libc.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0), "give up new rights", "")
    # What changes its user is no longer "dumpable", and may not read its own /proc/self any more.
    step(libc.prctl(_PR_SET_DUMPABLE, 1, 0, 0, 0), "keep /proc/self readable", "")
    step(libc.prctl(_PR_SET_PDEATHSIG, _SIGKILL, 0, 0, 0), "end with the parent", "")
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


def main(argv: Sequence[str], execute: Callable[[str, list[str]], None] = os.execv) -> int:
    """The program; answers only if it failed."""
    options, program = list(argv[: argv.index("--")]), list(argv[argv.index("--") + 1 :])
    keep, show = [], {}
    while options:
        option, path = options.pop(0), options.pop(0)
        if option == "--keep":
            keep.append(path)
        else:
            show[options.pop(0)] = path
    try:
        enter(keep, show)
        execute(program[0], program)
    except OSError as error:
        place = f" ({error.filename})" if error.filename else ""
        sys.stderr.write(f"sandbox: {error.strerror}{place}\n")
    return REFUSED


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
