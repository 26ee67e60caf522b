"""Attempts to change the tree of virtual files: refused, and with the errno that the kernel gives on the real sysfs."""

import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from test_syscall_exports import table_names
from test_syscall_files import GPU, REAL_GPU

from vgpu_harness.host import Gpu, Host, write_image, write_tree
from vgpu_harness.shims import shim_path
from vgpu_harness.trace import create_trace

REAL = ("/sys/devices/system/cpu/online", "/sys/devices/system/cpu", "/sys/bus/cpu")
"""A file, a directory and a directory that holds links, of the sysfs of any machine."""
VIRTUAL = (f"{REAL_GPU}/vendor", REAL_GPU, "/sys/bus/pci/drivers/nvidia")

CHANGES = """
import ctypes, errno, json, os, stat, sys
file, directory, links, outside = sys.argv[1:5]
uid = int(sys.argv[5])
if uid:
    os.setgid(uid)
    os.setuid(uid)
libc = ctypes.CDLL(None, use_errno=True)
E = os.fsencode
FILE, DIRECTORY, NEW, OUTSIDE, MISSING = map(E, (file, directory, directory + "/new", outside, directory + "/missing"))
HERE = -100
times = (ctypes.c_long * 4)(1, 0, 1, 0)
device = ctypes.c_ulong(0)
answers = {}
def call(label, name, *arguments):
    ctypes.set_errno(0)
    answer = getattr(libc, name)(*arguments)
    error = ctypes.get_errno() if answer < 0 else 0
    answers[label + " " + name] = errno.errorcode[error] if error else "0"
for label, what in (("file", FILE), ("missing", MISSING), ("directory", DIRECTORY)):
    call(label, "unlink", what)
    call(label, "unlinkat", HERE, what, 0)
    call(label, "rmdir", what)
    call(label, "remove", what)
    call(label + " flag", "unlinkat", HERE, what, 0x200)
for label, what in (("new", NEW), ("exists", DIRECTORY)):
    call(label, "mkdir", what, 0o755)
    call(label, "mkdirat", HERE, what, 0o755)
    call(label, "mkfifo", what, 0o644)
    call(label, "mkfifoat", HERE, what, 0o644)
    call(label, "mknod", what, stat.S_IFREG | 0o644, device)
    call(label, "mknodat", HERE, what, stat.S_IFREG | 0o644, device)
    call(label, "__xmknod", 0, what, stat.S_IFIFO | 0o644, ctypes.byref(device))
    call(label, "__xmknodat", 0, HERE, what, stat.S_IFREG | 0o644, ctypes.byref(device))
    call(label, "symlink", b"text", what)
    call(label, "symlinkat", b"text", HERE, what)
for label, a, b in (("inside", FILE, NEW), ("out", FILE, OUTSIDE + b".new"), ("in", OUTSIDE, NEW)):
    call(label, "link", a, b)
    call(label, "linkat", HERE, a, HERE, b, 0)
    call(label, "rename", a, b)
    call(label, "renameat", HERE, a, HERE, b)
    call(label, "renameat2", HERE, a, HERE, b, 0)
    call(label + " 86", "syscall", 86, a, b)  # link, by its number
    call(label + " 265", "syscall", 265, HERE, a, HERE, b, 0)  # linkat
    call(label + " 82", "syscall", 82, a, b)  # rename
    call(label + " 264", "syscall", 264, HERE, a, HERE, b)  # renameat
    call(label + " 316", "syscall", 316, HERE, a, HERE, b, 0)  # renameat2
call("user", "setxattr", FILE, b"user.x", b"1", 1, 0)
call("user", "lsetxattr", FILE, b"user.x", b"1", 1, 0)
call("user", "removexattr", FILE, b"user.x")
call("user", "lremovexattr", FILE, b"user.x")
refused = dict(answers)
# The others are root's to do on a real sysfs: never tried there.
for label, what in (("file", FILE), ("missing", MISSING)) if sys.argv[6] == "all" else ():
    for name in ("truncate", "truncate64"):
        call(label, name, what, 0)
    call(label, "chmod", what, 0o777)
    call(label, "lchmod", what, 0o777)
    call(label, "fchmodat", HERE, what, 0o777, 0)
    call(label, "chown", what, uid, uid)
    call(label, "lchown", what, uid, uid)
    call(label, "fchownat", HERE, what, uid, uid, 0)
    call(label, "utime", what, None)
    call(label, "utimes", what, None)
    call(label, "lutimes", what, None)
    call(label, "futimesat", HERE, what, None)
    call(label, "utimensat", HERE, what, None, 0)
print(json.dumps([refused, answers]))
"""


@pytest.fixture(scope="module")
def directory() -> Iterator[Path]:
    """A simulated host where every user may read it, the shim with it."""
    with tempfile.TemporaryDirectory() as name:
        directory = Path(name)
        directory.chmod(0o755)
        host = Host(gpu=(Gpu(minor=99),))
        write_image(host, write_tree(host, directory / "tree"), directory / "host.image")
        create_trace(directory / "trace", 1 << 20)
        (directory / "trace").chmod(0o666)
        (directory / "host.image").chmod(0o644)
        shutil.copy(shim_path("syscall"), directory / "shim.so")
        (directory / "outside").mkdir()
        (directory / "outside").chmod(0o777)
        (directory / "outside" / "file").touch()
        (directory / "outside" / "file").chmod(0o666)
        yield directory


USERS = (0, 65534) if os.geteuid() == 0 else (os.geteuid(),)


def attempts(directory: Path, paths: tuple[str, str, str], user: int, *, shim: bool) -> list[dict[str, str]]:
    """The errno of each attempt: of those that root may not do on sysfs either, and of all."""
    environment = {"PATH": "/usr/bin:/bin"}
    if shim:
        environment |= {
            "LD_PRELOAD": f"{directory}/shim.so", "VGPU_HOST": f"{directory}/host.image",
            "VGPU_TRACE": f"{directory}/trace",
        }  # fmt: skip
    arguments = [*paths, f"{directory}/outside/file", str(0 if user == os.geteuid() else user)]
    run = subprocess.run(
        [sys.executable, "-I", "-S", "-c", CHANGES, *arguments, "refused" if paths is REAL else "all"],
        env=environment, capture_output=True, text=True, timeout=30, check=False,
    )  # fmt: skip
    assert (run.returncode, run.stderr) == (0, "")
    answers: list[dict[str, str]] = json.loads(run.stdout)
    return answers


def state(directory: Path) -> str:
    """A digest of the tree's names, modes, owners, times and contents."""
    digest = hashlib.sha256()
    for at, directories, files in os.walk(directory / "tree"):
        directories.sort()
        for name in sorted([*directories, *files]):
            facts = Path(at, name).lstat()
            digest.update(f"{at}/{name} {facts.st_mode} {facts.st_uid} {facts.st_size} {facts.st_mtime_ns}".encode())
    return digest.hexdigest()


@pytest.mark.parametrize("user", USERS)
def test_attempts_are_refused_as_the_kernel_does(directory: Path, user: int) -> None:
    """On the tree each attempt has the errno that it has on this machine's sysfs, and changes nothing."""
    before = state(directory)
    refused, attempted = attempts(directory, VIRTUAL, user, shim=True)
    real, _ = attempts(directory, REAL, user, shim=False)
    if user != 0 and not int(Path("/proc/sys/fs/protected_hardlinks").read_text()):
        links = ("inside link", "inside linkat", "inside 86 syscall", "inside 265 syscall")
        refused |= {name: real[name] for name in links}
    assert refused == real
    assert set(attempted.values()) <= {"EPERM", "EACCES", "ENOENT", "EEXIST", "EISDIR", "ENOTDIR", "EXDEV", "ENOTSUP"}
    assert {value for name, value in attempted.items() if name.startswith("missing ")} == {"ENOENT"}
    assert state(directory) == before
    assert (directory / "outside" / "file").exists()


def copied(source: str, target: str) -> None:
    """Copies a file; one that may only be written, as an ordinary user finds `unbind`, becomes an empty one."""
    if os.access(source, os.R_OK):
        shutil.copy2(source, target)
    else:
        Path(target).touch()


def test_a_tree_without_the_shim_can_be_changed(directory: Path, tmp_path: Path) -> None:
    """Control: the same attempts on an ordinary directory succeed, and the digest above sees it."""
    shutil.copytree(directory / "tree", tmp_path / "tree", symlinks=True, copy_function=copied)
    before = state(tmp_path)
    place = tmp_path / "tree" / REAL_GPU[1:]
    (tmp_path / "outside").mkdir()
    (tmp_path / "outside" / "file").touch()
    answers = attempts(tmp_path, (f"{place}/vendor", str(place), str(place)), os.geteuid(), shim=False)[1]
    assert "0" in answers.values()
    assert state(tmp_path) != before


def test_every_function_that_changes_is_tried() -> None:
    """The functions tried above are in the interception table; what is not tried is not a function that changes."""
    tried = set(re.findall(r'call\([^"]*"?[^"]*"?, "(\w+)"', CHANGES)) | {"truncate", "truncate64"}
    assert tried <= table_names()
    assert {"unlink", "renameat2", "__xmknodat", "futimesat", "lremovexattr", "truncate64"} <= tried


def test_what_the_machine_lacks_is_refused_by_number_too(directory: Path) -> None:
    """syscall() of what takes two paths, of a file that the tree alone has: the errno is that of the function."""
    code = """
import ctypes, errno, json
libc = ctypes.CDLL(None, use_errno=True)
def answer(name, *arguments):
    return [getattr(libc, name)(*arguments), errno.errorcode.get(ctypes.get_errno())]
HERE, FILE, NEW = -100, b"/proc/driver/nvidia/version", b"/proc/driver/nvidia/new"
print(json.dumps([
    [answer("link", FILE, NEW), answer("syscall", 86, FILE, NEW)],
    [answer("linkat", HERE, FILE, HERE, NEW, 0), answer("syscall", 265, HERE, FILE, HERE, NEW, 0)],
    [answer("rename", FILE, NEW), answer("syscall", 82, FILE, NEW)],
    [answer("renameat", HERE, FILE, HERE, NEW), answer("syscall", 264, HERE, FILE, HERE, NEW)],
    [answer("renameat2", HERE, FILE, HERE, NEW, 0), answer("syscall", 316, HERE, FILE, HERE, NEW, 0)],
    [answer("rename", FILE, None), answer("syscall", 82, FILE, None)],
    [answer("link", None, NEW), answer("syscall", 86, None, NEW)],
]))
"""
    environment = {
        "PATH": "/usr/bin", "LD_PRELOAD": f"{directory}/shim.so", "VGPU_HOST": f"{directory}/host.image",
    }  # fmt: skip
    command = [sys.executable, "-I", "-S", "-c", code]
    run = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=30, check=True)
    pairs = json.loads(run.stdout)
    assert len(pairs) == 7
    for by_name, by_number in pairs:
        assert by_name == by_number
    assert {code for (_, code), _ in pairs[:5]} <= {"EPERM", "EACCES"}
    assert [by_name for by_name, _ in pairs[5:]] == [[-1, "EFAULT"]] * 2


def test_attempts_in_odd_spellings_are_refused_too(directory: Path) -> None:
    """`..`, relative to a descriptor and from the working directory: nothing gets by."""
    code = f"""
import errno, json, os
def answer(call):
    try: call()
    except OSError as error: return errno.errorcode[error.errno]
    return "done"
fd = os.open("{GPU}", os.O_RDONLY)
answers = [answer(lambda: os.unlink("/usr/..{GPU}/vendor")), answer(lambda: os.chmod("vendor", 0o777, dir_fd=fd)),
           answer(lambda: os.rename("vendor", "v", src_dir_fd=fd, dst_dir_fd=fd)),
           answer(lambda: os.open("new", os.O_CREAT | os.O_WRONLY, dir_fd=fd))]
os.chdir("{GPU}")
answers += [answer(lambda: os.remove("vendor")), answer(lambda: os.truncate("vendor", 0)),
            answer(lambda: open("vendor", "w")), answer(lambda: os.access("vendor", os.W_OK) and 1 / 0),
            answer(lambda: os.mkdir("../new"))]
print(json.dumps(answers))
"""
    before = state(directory)
    environment = {
        "PATH": "/usr/bin", "LD_PRELOAD": f"{directory}/shim.so", "VGPU_HOST": f"{directory}/host.image",
    }  # fmt: skip
    run = subprocess.run(
        [sys.executable, "-I", "-S", "-c", code],
        env=environment,
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    no = "EPERM" if os.geteuid() == 0 else "EACCES"
    assert run.stderr == ""
    answers = json.loads(run.stdout)
    assert answers == [no, "EPERM", no, "EACCES", no, "EACCES", "EACCES", "done", no]
    assert state(directory) == before
