"""Ordinary paths cost a look at their bytes: no system call, no lock, no thread-local storage."""

import re
import shutil
import subprocess

import pytest
from support.compile import compile_program
from test_syscall_files import Machine, MakeMachine, make_machine  # noqa: F401

from vgpu_harness.host import Gpu, Host
from vgpu_harness.shims import shim_path

# Asks once about each path, then forbids itself every system call that a look-up would need, and asks again. What is
# asked then: argv[1], a path of the same directories as those asked about before, or of another.
PROGRAM = r"""
#define _GNU_SOURCE
#include <dirent.h>
#include <fcntl.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <stddef.h>
#include <stdio.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#define REFUSE(number) BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, number, 0, 1), BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_KILL)

static int ask(const char *path) {
    int fd = open(path, O_RDONLY);
    FILE *stream = fopen(path, "r");
    int answer = access(path, F_OK) == 0 && fd >= 0 && stream != NULL;
    if (fd >= 0) {
        close(fd);
    }
    if (stream != NULL) {
        fclose(stream);
    }
    return answer;
}

int main(int argc, char **argv) {
    static const char *const known[] = {"/etc/hostname", "/usr/bin/env", "/proc/version",
                                        "/sys/devices/system/cpu/online", "/dev/null", "./host.image",
                                        "deep/file", "host.image"};
    struct sock_filter filter[] = {
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
        REFUSE(SYS_readlink), REFUSE(SYS_readlinkat), REFUSE(SYS_getcwd), REFUSE(SYS_stat), REFUSE(SYS_lstat),
        REFUSE(SYS_mmap), REFUSE(SYS_getpid), REFUSE(SYS_futex), REFUSE(SYS_rt_sigprocmask),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
    };
    struct sock_fprog program = {sizeof(filter) / sizeof(filter[0]), filter};
    int good = 1;
    for (size_t i = 0; i < sizeof(known) / sizeof(known[0]); i++) {
        good &= ask(known[i]);
    }
    int here = open(".", O_RDONLY | O_DIRECTORY);
    prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
    prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program);
    for (size_t i = 0; i < sizeof(known) / sizeof(known[0]); i++) {
        good &= ask(known[i]);
    }
    good &= openat(here, "host.image", O_RDONLY) >= 0 && openat(here, "deep/file", O_RDONLY) >= 0;
    if (argc > 1) {
        ask(argv[1]);
    }
    return good ? 0 : 1;
}
"""


@pytest.fixture(scope="module")
def machine(make_machine: MakeMachine) -> Machine:  # noqa: F811
    """A host whose device no machine has."""
    machine = make_machine(Host(gpu=(Gpu(minor=99),)))
    (machine.directory / "deep").mkdir()
    (machine.directory / "deep" / "file").touch()
    return machine


def status(machine: Machine, *paths: str) -> int:
    """The program's exit status; negative: the signal that ended it."""
    program = compile_program(PROGRAM, "no-look-up", "-Wno-unused-variable")
    return subprocess.run(
        [program, *paths], env=machine.environment, cwd=machine.directory, timeout=20, check=False
    ).returncode


def test_known_directories_cost_no_system_call(machine: Machine) -> None:
    """A path below a directory that has been looked at, absolute or relative, takes the real function's calls alone."""
    assert status(machine) == 0
    assert status(machine, "/etc/passwd") == 0
    assert status(machine, "/etc/../etc/hostname") == 0


@pytest.mark.parametrize("path", ["/usr/share/doc/x", "/usr/lib/../lib/os-release", "/proc/self/root/etc/hostname"])
def test_others_are_looked_up(machine: Machine, path: str) -> None:
    """Control: a new directory, `..` behind one and /proc/self/root take a system call, which ends the program here."""
    assert status(machine, path) == -31


def test_without_an_image_nothing_is_looked_up(machine: Machine) -> None:
    """Where there is no host image the shim asks the kernel nothing, whatever the path is."""
    bare = Machine(machine.directory, {"LD_PRELOAD": machine.environment["LD_PRELOAD"]})
    assert status(bare, "/usr/share/doc/x") == 0
    assert status(bare, "/proc/self/root/etc/hostname") == 0


def test_no_function_locks_or_calls_the_kernel_on_its_way() -> None:
    """Nor do they use thread-local storage. stat and access make one system call: that which they are asked for."""
    lines = re.findall(r"^ +([0-9a-f]+):\t(.*)$", printed("objdump", "-d", "--no-show-raw-insn"), re.MULTILINE)
    exported = re.findall(r"^([0-9a-f]+) ([0-9a-f]+) T (\w+)", printed("nm", "-D", "-S"), re.MULTILINE)
    ranges = {name: range(int(start, 16), int(start, 16) + int(size, 16)) for start, size, name in exported}
    costly = re.compile(r"^(?:lock|syscall)|%fs:")
    asking = ("stat", "lstat64", "access")
    silent = ("open", "openat", "fopen", "fstatat", "opendir", "readlink", "syscall", "ioctl", "getcwd")
    for name in (*asking, *silent):
        code = [text for address, text in lines if int(address, 16) in ranges[name]]
        assert len(code) > 5, name
        assert [text.strip() for text in code if costly.search(text)] == ["syscall"] * (name in asking), name
    assert any(costly.search(text) for _, text in lines)


def printed(tool: str, *options: str) -> str:
    """What a tool of binutils says of the shim."""
    found = shutil.which(tool)
    assert found, f"{tool} is missing; install binutils"
    words = [found, *options, str(shim_path("syscall"))]
    return subprocess.run(words, check=True, capture_output=True, text=True, timeout=60).stdout
