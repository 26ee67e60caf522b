"""A thread that is led into a directory by its tracer, and killed before any of the tracer's requests."""

import signal
import subprocess
from pathlib import Path

import pytest
from support.compile import compile_program

CSRC = Path(__file__).resolve().parent.parent / "csrc"

# Prints a line for each time: before which request of vgpu_observe_enter the child was killed (0: never), what that
# answered, and the status that it or the next waitpid told.
TRACES = r"""
#include "observe/enter.c"

#include <limits.h>
#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>

static int requests, last;
static pid_t child;

long __real_ptrace(int request, pid_t pid, void *address, void *data);
long __wrap_ptrace(int request, pid_t pid, void *address, void *data);
long __wrap_ptrace(int request, pid_t pid, void *address, void *data) {
    if (++requests == last) {
        kill(child, SIGKILL);
    }
    return __real_ptrace(request, pid, address, data);
}

static void enters(void) {
    struct sock_filter code[] = {
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_chdir, 0, 1),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_TRACE | VGPU_NOTIFY_ENTERS),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
    };
    struct sock_fprog filter = {sizeof(code) / sizeof(code[0]), code};
    char now[PATH_MAX];
    raise(SIGSTOP);
    prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
    prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &filter);
    _exit(chdir("/usr") != 0 || strcmp(getcwd(now, sizeof(now)), "/usr") != 0);
}

/* The number of requests that were made. */
static int once(int before) {
    int status = 0, became;
    if ((child = fork()) == 0) {
        enters();
    }
    waitpid(child, &status, WUNTRACED);
    if (__real_ptrace(PTRACE_SEIZE, child, NULL, (void *)(PTRACE_O_TRACESECCOMP | PTRACE_O_TRACESYSGOOD)) != 0) {
        exit(1);
    }
    kill(child, SIGCONT);
    while (waitpid(child, &status, 0) == child && status >> 16 != VGPU_EVENT_SECCOMP) {
        __real_ptrace(PTRACE_CONT, child, NULL, NULL);
    }
    requests = 0;
    last = before;
    became = vgpu_observe_enter(child, &status);
    if (became <= 0) {
        if (became == 0) {
            __real_ptrace(PTRACE_CONT, child, NULL, NULL);
        }
        waitpid(child, &status, 0);
    }
    printf("%d %d %d\n", before, became, status);
    if (WIFSTOPPED(status)) {
        kill(child, SIGKILL);
        waitpid(child, &status, 0);
    }
    return requests;
}

int main(void) {
    int all = once(0);
    for (int before = 1; before <= all; before++) {
        once(before);
    }
    return 0;
}
"""


@pytest.fixture(scope="module")
def told() -> dict[int, tuple[int, int]]:
    """What became of the child (0, 1, -1) and its status, by the request before which it was killed."""
    program = compile_program(TRACES, "traces", f"-I{CSRC}", "-D_GNU_SOURCE", "-Wl,--wrap=ptrace")
    done = subprocess.run([program], capture_output=True, text=True, timeout=30, check=True)
    lines = [[int(word) for word in line.split()] for line in done.stdout.splitlines()]
    return {before: (became, status) for before, became, status in lines}


def test_a_thread_that_nobody_kills_is_in_the_directory(told: dict[int, tuple[int, int]]) -> None:
    """Control: it is stopped behind its call, goes on, and is there."""
    assert told[0] == (0, 0)
    assert len(told) > 15


def test_its_end_is_told_once_and_as_it_was(told: dict[int, tuple[int, int]]) -> None:
    """No status is taken for one that nothing has told: what SIGKILL ended is never said to have exited with 0."""
    killed = {before: status for before, (_, status) in told.items() if before}
    assert killed == dict.fromkeys(killed, int(signal.SIGKILL))


def test_both_ways_to_learn_of_it_are_tried(told: dict[int, tuple[int, int]]) -> None:
    """While its tracer lets it go on, who reads the end; while it is stopped, who has to wait for it."""
    assert {became for became, _ in told.values()} == {0, 1, -1}
