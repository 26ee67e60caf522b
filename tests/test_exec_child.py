"""Between fork or vfork and exec: no malloc, little memory and stack, no set-up."""

from pathlib import Path

import pytest
from support.compile import compile_library, compile_program
from test_exec_ways import SHIMS, Said, probe, records, start

ABORTING = r"""
/* A malloc that ends the process where it must not be called: in a child of the one that was started first. */
#include <stdlib.h>
#include <unistd.h>
#include <sys/syscall.h>

void *__libc_malloc(size_t);
void *__libc_calloc(size_t, size_t);
void *__libc_realloc(void *, size_t);
void __libc_free(void *);
static int first;

static void check(void) {
    int pid = (int)syscall(SYS_getpid);
    first = first != 0 ? first : pid;
    if (pid != first) {
        syscall(SYS_exit_group, 77);
    }
}

void *malloc(size_t size) { check(); return __libc_malloc(size); }
void *calloc(size_t count, size_t size) { check(); return __libc_calloc(count, size); }
void *realloc(void *at, size_t size) { check(); return __libc_realloc(at, size); }
void free(void *at) { if (at != NULL) { check(); } __libc_free(at); }
"""
CHILDREN = r"""
/* children PROBE WAY COUNT: execve with COUNT variables in a child of vfork or fork, or one that calls malloc there. */
#define _GNU_SOURCE
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

int main(int argc, char **argv) {
    (void)argc;
    int count = atoi(argv[3]), status = 0;
    char **environment = malloc(((size_t)count + 1) * sizeof(char *));
    char *none[] = {"probe", NULL};
    for (int i = 0; i < count; i++) {
        environment[i] = "OTHER=1";
    }
    environment[count] = NULL;
    pid_t pid = argv[2][0] == 'v' ? vfork() : fork();
    if (pid == 0) {
        if (argv[2][0] == 'm') {
            free(realloc(malloc(1), 2));
        }
        if (strcmp(argv[2], "vlist") == 0) {
            char *a = "x";
            execle(argv[1], a, a, a, a, a, a, a, a, a, a, a, a, a, a, a, a, a, a, a, a, a, a, a, a, a, a, a, a, a, a, a,
                   a, a, a, a, a, a, a, a, a, a, a, a, a, a, a, a, a, a, a, a, a, a, a, a, a, a, a, a, a, a, a, a, a, a,
                   a, a, a, a, a, NULL, environment);
        }
        execve(argv[1], none, environment);
        _exit(98);
    }
    waitpid(pid, &status, 0);
    printf("status %d\n", WEXITSTATUS(status));
    return 0;
}
"""


@pytest.mark.parametrize(
    ("way", "count", "status"),
    [
        ("vfork", 0, 0),
        ("fork", 0, 0),
        ("vfork", 10_000, 0),
        ("fork", 10_000, 0),
        ("vlist", 10_000, 0),
        ("malloc", 0, 77),
    ],
)
def test_calls_no_malloc_between_fork_and_exec(way: str, count: int, status: int, tmp_path: Path) -> None:
    """A malloc that ends any child that calls it is never called, for long lists either; the last is the control.

    In the probe the same library stands for a process of its own, which may call it.
    """
    library = compile_library(ABORTING, "libaborting.so")
    run = start(
        tmp_path / "run", compile_program(CHILDREN, "children"), probe(), way, count, env={"LD_PRELOAD": str(library)}
    )
    said = Said(run.stdout)
    assert said.status == status, run.explain()
    if status == 0:
        assert said.mapped == SHIMS
        assert str(library) in said.environment["LD_PRELOAD"]


MEMORY = r"""
/* memory PROBE: starts it five times from a vfork child with a long environment; says how big this process is then. */
#include <stdio.h>
#include <sys/wait.h>
#include <unistd.h>

int main(int argc, char **argv) {
    static char *environment[1001], *words[] = {"probe", NULL};
    (void)argc;
    for (int i = 0; i < 1000; i++) {
        environment[i] = "OTHER=1";
    }
    setvbuf(stdout, NULL, _IONBF, 0);
    for (int i = 0; i < 5; i++) {
        int pages = -1;
        pid_t pid = vfork();
        if (pid == 0) {
            execve(argv[1], words, environment);
            _exit(1);
        }
        FILE *size = fopen("/proc/self/statm", "r");
        if (waitpid(pid, NULL, 0) != pid || size == NULL || fscanf(size, "%d", &pages) != 1) {
            return 1;
        }
        fclose(size);
        printf("pages %d\n", pages);
    }
    return 0;
}
"""


def test_memory_of_vfork_children_is_used_again(tmp_path: Path) -> None:
    """What a vfork child cannot give back, the thread's next one takes: the process does not grow with each."""
    run = start(tmp_path / "run", compile_program(MEMORY, "memory"), probe())
    assert run.returncode == 0, run.explain()
    assert run.stdout.count("mapped libvgpu-cuda.so") == 5
    sizes = [line for line in run.stdout.splitlines() if line.startswith("pages")]
    assert (len(sizes), len(set(sizes))) == (5, 1)


NO_MEMORY = r"""
/* no-memory PROBE WHEN: execve with a long environment, posix_spawn and popen where nothing can be mapped any more.
 * With "later", the shim has been called before that. */
#include <errno.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

extern char **environ;

int main(int argc, char **argv) {
    static char *environment[1001], *words[] = {"probe", NULL};
    char text[200];
    struct rlimit none = {4096, 4096};
    pid_t pid;
    (void)argc;
    for (int i = 0; i < 1000; i++) {
        environment[i] = "OTHER=1";
    }
    if (strcmp(argv[2], "later") == 0) {
        execve("/nowhere", words, environment);
    }
    environ = NULL;
    setrlimit(RLIMIT_AS, &none);
    int executed = execve(argv[1], words, environment) == -1 ? errno : 0;
    int spawned = posix_spawn(&pid, argv[1], NULL, NULL, words, environment);
    int piped = popen("true", "r") == NULL ? errno : 0;
    int size = snprintf(text, sizeof(text), "execve %d, posix_spawn %d, popen %d\n", executed, spawned, piped);
    return write(1, text, (size_t)size) != size;
}
"""


@pytest.mark.parametrize("when", ["first", "later"])
def test_without_memory_nothing_is_started(when: str, tmp_path: Path) -> None:
    """An environment that cannot be kept is ENOMEM to the caller: no program loses the shims unnoticed."""
    run = start(tmp_path / "run", compile_program(NO_MEMORY, "no-memory"), probe(), when)
    assert run.stdout == "execve 12, posix_spawn 12, popen 12\n"


ALARM = r"""
/* alarm SIZE PROBE: execve from a signal handler on a stack of SIZE bytes, with a page below that faults. */
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

static char *program, *none[] = {NULL};

static void handler(int number) {
    char *words[] = {"probe", NULL};
    (void)number;
    execve(program, words, none);
}

int main(int argc, char **argv) {
    size_t size = (size_t)atoi(argv[1]);
    struct sigaction action;
    char *memory = mmap(NULL, 4096 + size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    stack_t stack = {.ss_sp = memory + 4096, .ss_size = size};
    program = argv[argc - 1];
    mprotect(memory, 4096, PROT_NONE);
    memset(&action, 0, sizeof(action));
    action.sa_handler = handler;
    action.sa_flags = SA_ONSTACK;
    if (sigaltstack(&stack, NULL) == 0 && sigaction(SIGUSR1, &action, NULL) == 0) {
        raise(SIGUSR1);
    }
    return 1;
}
"""


@pytest.mark.parametrize(("size", "kept"), [(12 << 10, True), (4 << 10, False)])
def test_the_first_call_fits_a_small_signal_stack(size: int, kept: bool, tmp_path: Path) -> None:
    """The shim's set-up, look and record need less than 12 KiB in all; 4 KiB are the control: an overflow is seen."""
    run = start(tmp_path / "run", compile_program(ALARM, "alarm"), size, probe())
    assert (run.returncode == 0, Said(run.stdout).mapped == SHIMS) == (kept, kept), run.explain()


RECORDS = r"""
/* records PROBE: a posix_spawn, then an execve in a vfork child. */
#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>

int main(int argc, char **argv) {
    char *none[] = {0}, *words[] = {"probe", 0};
    pid_t pid;
    (void)argc;
    posix_spawn(&pid, argv[1], 0, 0, words, none);
    waitpid(pid, 0, 0);
    if ((pid = vfork()) == 0) {
        execve(argv[1], words, none);
        _exit(1);
    }
    return waitpid(pid, 0, 0) != pid;
}
"""


def test_a_vfork_child_of_a_process_that_is_set_up_leaves_records(tmp_path: Path) -> None:
    """What it may not do is to set up; with that done by the parent, its call is recorded under its own number."""
    run = start(tmp_path / "run", compile_program(RECORDS, "records"), probe())
    spawned, executed = records(run)
    assert (spawned.name, spawned.pid, executed.name, executed.parent) == ("posix_spawn", run.pid, "execve", run.pid)
    assert executed.pid != run.pid
