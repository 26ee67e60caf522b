"""Who asks the kernel: stat and access of a usual path by the shim itself, unless another library has a say in it."""

from pathlib import Path

import pytest
from support.compile import compile_library, compile_program
from test_syscall_files import Machine, MakeMachine, make_machine  # noqa: F401

from vgpu_harness.host import Host

# Says of each call which library has asked the kernel: that is told by the address of the refused system call.
PROGRAM = r"""
#define _GNU_SOURCE
#include <dlfcn.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <signal.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <ucontext.h>
#include <unistd.h>

#define TRAP(number) BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, number, 0, 1), BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_TRAP)

static const char *asker = "nobody";

static void trapped(int number, siginfo_t *info, void *context) {
    Dl_info where;
    (void)number;
    asker = dladdr(info->si_call_addr, &where) ? strrchr(where.dli_fname, '/') + 1 : "?";
    ((ucontext_t *)context)->uc_mcontext.gregs[REG_RAX] = 0;
}

static int look(const char *function, const char *path) {
    struct stat to = {0};
    return strcmp(function, "stat") == 0      ? stat(path, &to)
           : strcmp(function, "stat64") == 0  ? stat64(path, (struct stat64 *)&to)
           : strcmp(function, "lstat") == 0   ? lstat(path, &to)
           : strcmp(function, "lstat64") == 0 ? lstat64(path, (struct stat64 *)&to)
                                              : access(path, R_OK);
}

int main(int argc, char **argv) {
    struct sock_filter filter[] = {
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
        TRAP(SYS_newfstatat),
        TRAP(SYS_access),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
    };
    struct sock_fprog program = {sizeof(filter) / sizeof(filter[0]), filter};
    struct sigaction action = {.sa_sigaction = trapped, .sa_flags = SA_SIGINFO};
    access("/etc/passwd", R_OK); /* all functions are looked up, and the directory is known, from here on */
    sigaction(SIGSYS, &action, NULL);
    prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
    prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program);
    for (int i = 1; i < argc; i++) {
        int answer = look(argv[i], "/etc/hostname");
        dprintf(1, "%s %d %s\n", argv[i], answer, asker);
    }
    return 0;
}
"""

# Hooks one function; all of them have two arguments of a word each.
PEER = r"""
#define _GNU_SOURCE
#include <dlfcn.h>
#include <sys/syscall.h>

long syscall(long, ...); /* unistd.h has access */

#define TEXT_OF(name) #name
#define TEXT(name) TEXT_OF(name)

int HOOKED(const char *path, void *second) {
    int (*next)(const char *, void *) = (int (*)(const char *, void *))dlsym(RTLD_NEXT, TEXT(HOOKED));
    return syscall(SYS_write, 1, "hooked ", 7) == 7 ? next(path, second) : -1;
}
"""
FUNCTIONS = ("stat", "stat64", "lstat", "lstat64", "access")


@pytest.fixture(scope="module")
def machine(make_machine: MakeMachine) -> Machine:  # noqa: F811
    """The default host."""
    return make_machine(Host())


@pytest.fixture(scope="module")
def probe() -> Path:
    """The program above."""
    return compile_program(PROGRAM, "asker", "-ldl")


def asked(machine: Machine, probe: Path, *behind: Path) -> list[str]:
    """What the program says, with these libraries behind the shim."""
    preload = ":".join([machine.environment["LD_PRELOAD"], *map(str, behind)])
    done = machine.run(probe, *FUNCTIONS, LD_PRELOAD=preload)
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout.splitlines()


def test_the_shim_asks_itself(machine: Machine, probe: Path) -> None:
    """Where libc would be the next, the system call is the shim's own."""
    assert asked(machine, probe) == [f"{name} 0 libvgpu-syscall.so" for name in FUNCTIONS]


def test_without_the_shim_libc_asks(machine: Machine, probe: Path) -> None:
    """The program can tell one library from another."""
    done = machine.run(probe, *FUNCTIONS, shim=False)
    assert done.stdout.splitlines() == [f"{name} 0 libc.so.6" for name in FUNCTIONS]


@pytest.mark.parametrize("hooked", FUNCTIONS)
def test_a_library_behind_the_shim_is_asked(machine: Machine, probe: Path, hooked: str) -> None:
    """Whatever one of these functions a library behind the shim has, it gets each call of it, and libc asks for all."""
    peer = compile_library(PEER, f"libhooks-{hooked}.so", f"-DHOOKED={hooked}", "-fno-builtin")
    expected = [f"{'hooked ' if name == hooked else ''}{name} 0 libc.so.6" for name in FUNCTIONS]
    if hooked == "access":
        expected[0] = f"hooked {expected[0]}"  # the program's first look
    assert asked(machine, probe, peer) == expected
