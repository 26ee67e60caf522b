"""system and popen where `environ` lacks the variables: they answer and behave as libc's do, and the shims are kept."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from support.compile import compile_library, compile_program
from test_exec_ways import SHIMS, Said, probe, records, start

from vgpu_harness.run import Run
from vgpu_harness.trace import Kind

BEHAVIOUR = r"""
/* behaviour MODE: with "cleared", `environ` is cleared before. Says what system and popen answer and do. */
#define _GNU_SOURCE
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

extern char **environ;
static int children, interrupts;

static void count(int number) {
    children += number == SIGCHLD;
    interrupts += number == SIGINT;
}

static void show_signals(const char *when) {
    struct sigaction action;
    sigset_t mask;
    sigaction(SIGINT, NULL, &action);
    sigprocmask(SIG_SETMASK, NULL, &mask);
    printf("%s: INT %s, CHLD %d, USR1 %d, %d children, %d interrupts\n", when,
           action.sa_handler == count ? "ours" : action.sa_handler == SIG_IGN ? "ignored" : "default",
           sigismember(&mask, SIGCHLD), sigismember(&mask, SIGUSR1), children, interrupts);
}

static void popened(const char *command, const char *mode) {
    char line[100] = "";
    errno = 0;
    FILE *stream = popen(command, mode);
    if (stream == NULL) {
        printf("popen %s: errno %d\n", mode, errno);
        return;
    }
    if (mode[0] == 'w') {
        fputs("written\n", stream);
    } else {
        fgets(line, sizeof(line), stream);
    }
    int status = pclose(stream);
    printf("popen %s: %s status %d\n", mode, line, status);
}

int main(int argc, char **argv) {
    struct sigaction action;
    char *path = strdup("PATH=/usr/bin:/bin");
    setvbuf(stdout, NULL, _IONBF, 0);
    memset(&action, 0, sizeof(action));
    action.sa_handler = count;
    (void)argc;
    if (strcmp(argv[1], "cleared") == 0) {
        clearenv();
        putenv(path);
    }
    char **before = environ;
    sigaction(SIGCHLD, &action, NULL);
    sigset_t mask;
    sigemptyset(&mask);
    sigaddset(&mask, SIGUSR1);
    sigprocmask(SIG_BLOCK, &mask, NULL);
    printf("null %d\n", system(NULL) != 0);
    errno = 77;
    printf("exit %d\n", system("exit 7"));
    printf("errno %d\n", errno);
    printf("killed %d\n", system("kill -9 $$"));
    printf("not found %d\n", system("/nowhere/at-all 2>/dev/null"));
    show_signals("after");
    /* The parent ignores the signal, the shell does not: it has the default action again. */
    printf("parent %d\n", system("kill -INT $PPID"));
    printf("shell %d\n", system("kill -INT $$"));
    printf("shell %d\n", system("kill -QUIT $$"));
    sigaction(SIGINT, &action, NULL);
    printf("parent %d\n", system("kill -INT $PPID"));
    show_signals("handled");
    action.sa_handler = SIG_IGN;
    sigaction(SIGINT, &action, NULL);
    printf("ignored %d\n", system("kill -INT $$"));
    show_signals("ignored");
    popened("echo read; exit 3", "r");
    popened("cat", "w");
    popened("echo close; exit 4", "re");
    popened("true", "x");
    printf("environ %d, PATH %s, OWN %s\n", environ == before, getenv("PATH"), getenv("OWN"));
    printf("LD_PRELOAD %s\n", getenv("LD_PRELOAD") != NULL ? "is there" : "is not");
    return 0;
}
"""
THREADS = r"""
/* threads PROBE: system and popen from many threads at once, `environ` cleared, while another reads and one forks. */
#define _GNU_SOURCE
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

extern char **environ;
static char command[5000];
static int stop, wrong;

static int kept(const char *from) {
    char line[4096];
    int found = 0;
    FILE *stream = popen(from, "r");
    while (stream != NULL && fgets(line, sizeof(line), stream) != NULL) {
        found += strstr(line, "mapped libvgpu-cuda.so") != NULL;
    }
    return stream != NULL && pclose(stream) == 0 && found == 1;
}

static void *work(void *argument) {
    char quiet[6000];
    snprintf(quiet, sizeof(quiet), "%s | grep -q libvgpu-cuda.so", command);
    for (int i = 0; i < 4; i++) {
        int right = argument == NULL ? kept(command) : system(quiet) == 0;
        if (argument == NULL && i == 2) {
            int status = -1;
            pid_t pid = fork();
            if (pid == 0) {
                /* not popen: glibc's own lock in it may be held by a thread that is not here any more */
                _exit(system(quiet) == 0 ? 0 : 1);
            }
            right &= waitpid(pid, &status, 0) == pid && status == 0;
        }
        __atomic_fetch_add(&wrong, !right, __ATOMIC_RELAXED);
    }
    return NULL;
}

static void *reader(void *argument) {
    while (!__atomic_load_n(&stop, __ATOMIC_RELAXED)) {
        for (char **at = __atomic_load_n(&environ, __ATOMIC_RELAXED); at != NULL && *at != NULL; at++) {
            __atomic_fetch_add(&wrong, strchr(*at, '=') == NULL, __ATOMIC_RELAXED);
        }
        usleep(50);
    }
    return argument;
}

int main(int argc, char **argv) {
    pthread_t threads[7];
    struct sigaction action;
    snprintf(command, sizeof(command), "%s", argv[argc - 1]);
    clearenv();
    setenv("PATH", "/usr/bin:/bin", 1);
    char **before = environ;
    pthread_create(&threads[6], NULL, reader, NULL);
    for (int i = 0; i < 6; i++) {
        pthread_create(&threads[i], NULL, work, i % 2 == 0 ? NULL : command);
    }
    for (int i = 0; i < 6; i++) {
        pthread_join(threads[i], NULL);
    }
    stop = 1;
    pthread_join(threads[6], NULL);
    sigaction(SIGINT, NULL, &action);
    printf("wrong %d, environ %d, INT %d\n", wrong, environ == before, action.sa_handler == SIG_DFL);
    return 0;
}
"""
REPLACING = r"""
/* A popen behind the shim that gives the program another environment meanwhile. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <stdio.h>
#include <unistd.h>

extern char **environ;
char *replaced[] = {"OWN=replaced", NULL};

FILE *popen(const char *command, const char *mode) {
    FILE *(*real)(const char *, const char *) = (FILE * (*)(const char *, const char *)) dlsym(RTLD_NEXT, "popen");
    FILE *stream = real(command, mode);
    environ = replaced;
    return stream;
}
"""
TWICE = r"""
#include <stdio.h>
#include <stdlib.h>

extern char **environ;

int main(int argc, char **argv) {
    char line[4096];
    (void)argc;
    clearenv();
    for (int i = 0; i < 2; i++) {
        FILE *stream = popen(argv[1], "r");
        while (stream != NULL && fgets(line, sizeof(line), stream) != NULL) {
            fputs(line, stdout);
        }
        pclose(stream);
        printf("now %s\n", environ != NULL && environ[0] != NULL ? environ[0] : "nothing");
    }
    return 0;
}
"""


@pytest.fixture
def run(tmp_path: Path) -> Callable[..., Run]:
    """A run in a folder of this test, which ends well."""

    def started(*argv: Any, name: str = "run", **options: Any) -> Run:
        done = start(tmp_path / name, *argv, **options)
        assert (done.returncode, done.stderr) == (0, ""), done.explain()
        return done

    return started


def test_answer_as_libc_does(run: Callable[..., Run]) -> None:
    """Status, signals, mask, errno, streams: all as without the shim, whether `environ` is complete or not."""
    program = compile_program(BEHAVIOUR, "behaviour")
    ours = run(program, "cleared", env={"OWN": "1"})
    libcs = run(program, "cleared", env={"OWN": "1"}, with_exec=False, name="plain")
    assert ours.stdout == libcs.stdout
    lines = ours.stdout.splitlines()
    assert lines[:4] == ["null 1", f"exit {7 << 8}", "errno 77", "killed 9"]
    assert "handled: INT ours, CHLD 0, USR1 1, 8 children, 0 interrupts" in lines
    assert lines[-1] == "LD_PRELOAD is not"
    complete = run(program, "complete", env={"OWN": "1"}, name="complete")
    assert complete.stdout.splitlines()[:-2] == lines[:-2]
    assert complete.stdout.endswith("OWN 1\nLD_PRELOAD is there\n")


def test_what_was_put_back_is_recorded(run: Callable[..., Run]) -> None:
    """Each call has a record with its command; a complete `environ` is no change; popen's failure has its errno."""
    done = run(compile_program(BEHAVIOUR, "behaviour"), "cleared")
    own = [record for record in records(done) if record.pid == done.pid]
    assert {(record.name, record.inputs) for record in own} == {("system", (4, 0)), ("popen", (4, 0))}
    assert own[0].text == "exit 7"
    assert [(r.name, r.result) for r in records(done, Kind.CALL) if r.pid == done.pid] == [("popen", 22)]
    whole = run(compile_program(BEHAVIOUR, "behaviour"), "complete", name="complete")
    assert {record.inputs for record in records(whole) if record.pid == whole.pid} == {(0, 0)}


def test_many_threads_at_once(run: Callable[..., Run]) -> None:
    """Every shell has the shims, forked children too; afterwards `environ` and the signals are as they were."""
    done = run(compile_program(THREADS, "threads", "-pthread"), probe(), trace_size=16 << 20)
    assert done.stdout == "wrong 0, environ 1, INT 1\n"


def test_many_threads_without_the_shim_lose_them(run: Callable[..., Run]) -> None:
    """The control: the same program counts what is lost."""
    done = run(compile_program(THREADS, "threads", "-pthread"), probe(), trace_size=16 << 20, with_exec=False)
    assert done.stdout == "wrong 24, environ 1, INT 1\n"


def test_an_environment_that_the_program_gets_meanwhile_stays(run: Callable[..., Run]) -> None:
    """What somebody sets while popen runs is not undone, and the next popen completes that."""
    behind = compile_library(REPLACING, "libreplacing.so")
    done = run(compile_program(TWICE, "twice"), probe(), env={"LD_PRELOAD": str(behind)})
    first, second = (Said(part) for part in done.stdout.split("now OWN=replaced\n")[:2])
    assert (first.mapped, second.mapped) == (SHIMS, SHIMS)
    assert ("OWN" in first.environment, second.environment["OWN"]) == (False, "replaced")
