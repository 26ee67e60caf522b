"""System calls by number: libc's syscall() sees the tree of virtual files, and passes all else on as it is."""

import ctypes
import json
import os
import sys
from typing import Any

import pytest
from support.compile import compile_library, compile_program
from test_syscall_files import GPU, Machine, MakeMachine, make_machine  # noqa: F401

from vgpu_harness.host import Gpu, Host
from vgpu_harness.host.faults import FunctionFault

PROGRAM = r"""
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/inotify.h>
#include <sys/stat.h>
#include <sys/statfs.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#define GPU "/sys/bus/pci/devices/0000:00:05.0"
struct how { uint64_t flags, mode, resolve; };

static void content(const char *name, long fd) {
    char text[64];
    ssize_t got = fd >= 0 ? read((int)fd, text, sizeof(text) - 1) : -1;
    text[got > 0 ? got - 1 : 0] = '\0';
    printf("%s %s\n", name, fd >= 0 ? text : strerrorname_np(errno));
    if (fd >= 0) {
        close((int)fd);
    }
}

static void number(const char *name, long answer) {
    printf("%s %s\n", name, answer >= 0 ? "0" : strerrorname_np(errno));
}

static void kind(const char *name, long answer, const struct stat *st) {
    if (answer == 0) {
        printf("%s %o %u:%u\n", name, st->st_mode, major(st->st_rdev), minor(st->st_rdev));
    } else {
        printf("%s %s\n", name, strerrorname_np(errno));
    }
}

int main(void) {
    char text[256];
    struct stat st;
    struct statx sx;
    struct statfs fs;
    struct how how = {.flags = O_RDONLY}, write_how = {.flags = O_RDWR}, beneath = {.flags = O_RDONLY, .resolve = 8};
    int root = open("/", O_RDONLY | O_DIRECTORY);
    int pci = open("/sys/bus/pci", O_RDONLY | O_DIRECTORY);
    content("open", syscall(SYS_open, GPU "/vendor", O_RDONLY));
    content("openat", syscall(SYS_openat, AT_FDCWD, GPU "/vendor", O_RDONLY));
    content("openat-dirfd", syscall(SYS_openat, root, GPU + 1, O_RDONLY | O_DIRECTORY) >= 0
            ? syscall(SYS_openat, pci, "devices/0000:00:05.0/vendor", O_RDONLY) : -1);
    content("openat-odd", syscall(SYS_openat, AT_FDCWD, "/usr/.." GPU "/vendor", O_RDONLY));
    content("openat2", syscall(SYS_openat2, AT_FDCWD, GPU "/vendor", &how, sizeof(how)));
    content("openat2-write", syscall(SYS_openat2, AT_FDCWD, GPU "/vendor", &write_how, sizeof(how)));
    content("openat2-beneath", syscall(SYS_openat2, AT_FDCWD, GPU "/vendor", &beneath, sizeof(how)));
    content("openat2-size", syscall(SYS_openat2, AT_FDCWD, GPU "/vendor", &how, 3));
    content("openat2-null", syscall(SYS_openat2, AT_FDCWD, GPU "/vendor", NULL, sizeof(how)));
    number("creat", syscall(SYS_creat, GPU "/vendor", 0644));
    kind("stat", syscall(SYS_stat, "/dev/nvidia99", &st), &st);
    kind("lstat", syscall(SYS_lstat, "/dev/nvidia99", &st), &st);
    kind("newfstatat", syscall(SYS_newfstatat, root, "dev/nvidia99", &st, 0), &st);
    int device = open("/dev/nvidia99", O_RDWR);
    kind("fstat", syscall(SYS_fstat, device, &st), &st);
    kind("newfstatat-empty", syscall(SYS_newfstatat, device, "", &st, AT_EMPTY_PATH), &st);
    long answer = syscall(SYS_statx, AT_FDCWD, "/dev/nvidia99", 0, STATX_BASIC_STATS, &sx);
    st.st_mode = sx.stx_mode;
    st.st_rdev = makedev(sx.stx_rdev_major, sx.stx_rdev_minor);
    kind("statx", answer, &st);
    number("access", syscall(SYS_access, GPU "/vendor", R_OK));
    number("access-write", syscall(SYS_access, GPU "/vendor", W_OK));
    number("faccessat", syscall(SYS_faccessat, AT_FDCWD, "/dev/nvidia99", W_OK));
    number("faccessat2", syscall(SYS_faccessat2, AT_FDCWD, GPU "/config", W_OK, AT_EACCESS));
    memset(text, 0, sizeof(text));
    printf("readlink %s\n", syscall(SYS_readlink, GPU, text, sizeof(text)) > 0 ? text : "error");
    memset(text, 0, sizeof(text));
    long length = syscall(SYS_readlinkat, pci, "devices/0000:00:05.0", text, sizeof(text));
    printf("readlinkat %s\n", length > 0 ? text : "error");
    number("statfs", syscall(SYS_statfs, "/proc/driver/nvidia", &fs));
    number("inotify_add_watch", syscall(SYS_inotify_add_watch, inotify_init(), "/proc/driver/nvidia", IN_OPEN));
    number("getxattr", syscall(SYS_getxattr, "/dev/nvidia99", "user.none", text, sizeof(text)) >= 0
           || errno == ENODATA || errno == EOPNOTSUPP ? 0 : -1);
    number("chdir", syscall(SYS_chdir, "/proc/driver/nvidia"));
    printf("getcwd %s\n", syscall(SYS_getcwd, text, sizeof(text)) > 0 ? text : "error");
    number("fchdir", syscall(SYS_fchdir, root));
    content("open-relative", syscall(SYS_open, GPU "/vendor" + 1, O_RDONLY));
    number("ioctl", syscall(SYS_ioctl, device, 0xc00846d6ul, text));
    number("truncate", syscall(SYS_truncate, GPU "/vendor", 0));
    number("unlinkat-dir", syscall(SYS_unlinkat, AT_FDCWD, "/proc/driver/nvidia", AT_REMOVEDIR) == 0 ? 0
           : errno == EPERM || errno == EACCES ? 0 : -1);
    number("mkdirat", syscall(SYS_mkdirat, AT_FDCWD, "/proc/driver/nvidia/new", 0755));
    /* All else: eight words reach the kernel, whatever they are. */
    number("getpid", syscall(SYS_getpid) == getpid() ? 0 : -1);
    number("pselect6", syscall(SYS_pselect6, 0, NULL, NULL, NULL, &(struct timespec){0, 1}, NULL));
    number("unknown", syscall(9999, 1, 2, 3, 4, 5, 6));
    number("negative", syscall(-1));
    content("elsewhere", syscall(SYS_openat, AT_FDCWD, "/proc/sys/kernel/ostype", O_RDONLY));
    return 0;
}
"""

NEVER = {"openat2-beneath": "EXDEV", "openat2-size": "EINVAL", "openat2-null": "EFAULT", "unknown": "ENOSYS",
         "negative": "ENOSYS", "getpid": "0", "pselect6": "0", "elsewhere": "Linux"}  # fmt: skip
"""What is the kernel's to answer, with the shim as without."""

SEEN = {
    "open": "0x10de", "openat": "0x10de", "openat-dirfd": "0x10de", "openat-odd": "0x10de", "openat2": "0x10de",
    "open-relative": "0x10de", "openat2-write": "EACCES", "creat": "EACCES",
    **dict.fromkeys(("stat", "lstat", "newfstatat", "fstat", "newfstatat-empty", "statx"), "20666 195:99"),
    "access": "0", "access-write": "EACCES", "faccessat": "0", "faccessat2": "EACCES",
    **dict.fromkeys(("readlink", "readlinkat"), "../../../devices/pci0000:00/0000:00:05.0"),
    **dict.fromkeys(("statfs", "inotify_add_watch", "getxattr", "chdir", "fchdir", "unlinkat-dir"), "0"),
    "getcwd": "/proc/driver/nvidia", "ioctl": "EINVAL", "truncate": "EACCES", "mkdirat": "ENOENT",
}  # fmt: skip

# In front of or behind the shim: counts the calls that it sees, all eight words of them, and passes them on.
COUNTER = r"""
#define _GNU_SOURCE
#include <dlfcn.h>
static long seen;
long counted(void);
long counted(void) { return seen; }
long syscall(long n, long a, long b, long c, long d, long e, long f) {
    static long (*real)(long, long, long, long, long, long, long);
    if (!real) {
        real = (long (*)(long, long, long, long, long, long, long))dlsym(RTLD_NEXT, "syscall");
    }
    seen++;
    return real(n, a, b, c, d, e, f);
}
"""


@pytest.fixture(scope="module")
def machine(make_machine: MakeMachine) -> Machine:  # noqa: F811
    """A host whose device no machine has."""
    return make_machine(Host(gpu=(Gpu(minor=99),)))


def answers(machine: Machine, *, shim: bool = True) -> dict[str, str]:
    """What each call by number answers."""
    run = machine.run(compile_program(PROGRAM, "by-number"), shim=shim)
    assert (run.returncode, run.stderr) == (0, "")
    return dict(line.split(maxsplit=1) for line in run.stdout.splitlines())


def test_calls_by_number_see_the_tree(machine: Machine) -> None:
    """Each known number is answered as the function of the same name."""
    assert answers(machine) == SEEN | NEVER


def test_without_the_shim_they_do_not(machine: Machine) -> None:
    """Without the shim only the kernel's own answers stay: the rest is the shim's work."""
    plain = answers(machine, shim=False)
    own = {name for name, answer in SEEN.items() if answer in ("0x10de", "20666 195:99", "/proc/driver/nvidia")}
    assert len(own) == 13
    assert {name for name in own if plain.get(name) == SEEN[name]} == set()
    assert {name: plain[name] for name in NEVER} == NEVER


def test_calls_by_number_are_recorded_as_their_function(make_machine: MakeMachine) -> None:  # noqa: F811
    """A record has the function's name and the path as asked, an ioctl its request; a fault is found by it."""
    machine = make_machine(Host(gpu=(Gpu(minor=99),), faults=[FunctionFault(function="lstat", result=5)]))
    assert answers(machine)["lstat"] == "EIO"
    calls = machine.calls()
    assert ("openat", f"{GPU}/vendor", 0) in calls
    assert ("lstat", "/dev/nvidia99", 5) in calls
    (request,) = [record.inputs for record in machine.records() if record.name == "ioctl"]
    assert request == (0xC00846D6,)


@pytest.mark.parametrize("before", [True, False])
def test_other_preloads_keep_their_say(machine: Machine, before: bool) -> None:
    """A library that hooks syscall() in front of the shim sees all calls, one behind it those that are not answered."""
    counter = compile_library(COUNTER, "libcounter.so")
    order = (str(counter), machine.environment["LD_PRELOAD"])
    code = f"""
import ctypes, json
libc = ctypes.CDLL(None, use_errno=True)
libc.syscall.restype = ctypes.c_long
counted = ctypes.CDLL("{counter}").counted
before = counted()
first = libc.syscall({257}, -100, b"{GPU}/vendor", 0)
second = libc.syscall({39})
print(json.dumps([first >= 0, second, counted() - before]))
"""
    run = machine.run(sys.executable, "-I", "-S", "-c", code, LD_PRELOAD=":".join(order if before else order[::-1]))
    opened, pid, counted = json.loads(run.stdout)
    assert (opened, pid > 0, counted) == (True, True, 2 if before else 1)


def test_in_this_process_nothing_is_hooked() -> None:
    """Control: where no shim is preloaded, the same call reads this machine's file."""
    libc: Any = ctypes.CDLL(None, use_errno=True)
    fd = libc.syscall(257, -100, b"/dev/nvidia99", os.O_RDONLY)
    assert fd == -1
