"""Provider notification under load: many processes and threads, signals, ends in the middle, limits, several runs."""

import errno
import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

import psutil
import pytest
from support.compile import compile_program

from vgpu_harness.run import Run, run
from vgpu_harness.run.child import Observe

STORM = r"""
/* Looks at the GPU again and again, in the ways that its arguments name; one line each. */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <unistd.h>

static const char driver[] = "/sys/bus/pci/drivers/nvidia";
static const char vendor[] = "/sys/bus/pci/drivers/nvidia/0000:00:05.0/vendor";

/* 0: as it should be, O_CLOEXEC too; else errno, or -1. */
static int look(void) {
    char text[32] = "";
    int fd = open(vendor, O_RDONLY | O_CLOEXEC);
    if (fd < 0) {
        return errno;
    }
    ssize_t got = read(fd, text, sizeof(text) - 1);
    int flags = fcntl(fd, F_GETFD);
    close(fd);
    return got == 7 && strcmp(text, "0x10de\n") == 0 && flags == FD_CLOEXEC ? 0 : -1;
}

static void *looks(void *bad) {
    for (int i = 0; i < 8; i++) {
        *(long *)bad += look() != 0;
    }
    return bad;
}

static void many(void) {
    int bad = 0, status;
    for (int i = 0; i < 100; i++) {
        if (fork() == 0) {
            pthread_t threads[2];
            long wrong[2] = {0, 0};
            for (int k = 0; k < 2; k++) {
                pthread_create(&threads[k], NULL, looks, &wrong[k]);
            }
            for (int k = 0; k < 2; k++) {
                pthread_join(threads[k], NULL);
            }
            _exit(wrong[0] + wrong[1] != 0);
        }
    }
    while (wait(&status) > 0) {
        bad += status != 0;
    }
    printf("many %d\n", bad);
}

static volatile sig_atomic_t ticks;
static void tick(int number) {
    (void)number;
    ticks++;
}

/* A handler without SA_RESTART ends the open of a FIFO, and no call that a signal never ends otherwise. */
static void interrupted(const char *fifo) {
    struct sigaction action = {.sa_handler = tick};
    struct itimerval often = {{0, 200}, {0, 200}}, once = {{0, 0}, {0, 20000}}, never = {{0, 0}, {0, 0}};
    struct stat facts;
    int bad[3] = {0, 0, 0};
    sigaction(SIGALRM, &action, NULL);
    setitimer(ITIMER_REAL, &often, NULL);
    for (int i = 0; i < 300 || ticks < 100; i++) {
        bad[0] += look() != 0;
        bad[1] += stat(vendor, &facts) != 0;
        bad[2] += access("/nowhere", F_OK) != -1 || errno != ENOENT;
    }
    setitimer(ITIMER_REAL, &once, NULL);
    int fd = open(fifo, O_RDONLY);
    printf("interrupted %d %d %d %d %d\n", bad[0], bad[1], bad[2], fd, errno);
    setitimer(ITIMER_REAL, &never, NULL);
}

static void *for_ever(void *unused) {
    for (;;) {
        look();
    }
    return unused;
}

static void killed(void) {
    for (int i = 0; i < 30; i++) {
        pid_t child = fork();
        if (child == 0) {
            pthread_t thread;
            pthread_create(&thread, NULL, for_ever, NULL);
            if (i % 3 == 0) {
                usleep(500);
                execl("/bin/true", "true", (char *)NULL);
            }
            for_ever(NULL);
        }
        usleep((useconds_t)(500 + 37 * i));
        kill(child, SIGKILL);
        waitpid(child, NULL, 0);
    }
    printf("killed %d\n", look());
}

static void limited(void) {
    struct rlimit before;
    struct stat facts;
    int next = dup(0);
    close(next);
    getrlimit(RLIMIT_NOFILE, &before);
    setrlimit(RLIMIT_NOFILE, &(struct rlimit){(rlim_t)next, before.rlim_max});
    printf("full %d %d", look(), stat(vendor, &facts));
    setrlimit(RLIMIT_NOFILE, &before);
    int high = fcntl(open(driver, O_RDONLY | O_DIRECTORY), F_DUPFD, 800);
    printf(" %d %d\n", look(), openat(high, "0000:00:05.0/vendor", O_RDONLY) >= 0);
}

/* Memory and stack are the parent's, who waits. */
static void in_vfork(void) {
    volatile int found = -1;
    pid_t child = vfork();
    if (child == 0) {
        found = look();
        _exit(0);
    }
    waitpid(child, NULL, 0);
    printf("vfork %d\n", found);
}

int main(int argc, char **argv) {
    for (int i = 1; i < argc; i++) {
        if (strcmp(argv[i], "many") == 0) {
            many();
        } else if (strcmp(argv[i], "killed") == 0) {
            killed();
        } else if (strcmp(argv[i], "limited") == 0) {
            limited();
        } else if (strcmp(argv[i], "vfork") == 0) {
            in_vfork();
        } else if (strcmp(argv[i], "ever") == 0) {
            printf("ready\n");
            fflush(stdout);
            for_ever(NULL);
        } else {
            interrupted(argv[i]);
        }
        fflush(stdout);
    }
    return 0;
}
"""


@pytest.fixture
def storm() -> Path:
    """The program, without a dynamic linker."""
    return compile_program(STORM, "storm-static", "-static", "-pthread")


def test_every_call_is_answered(tmp_path: Path, storm: Path) -> None:
    """Of 100 processes at a time, between signals, in a vfork child, after ends in the middle and at limits."""
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    words = [str(storm), str(fifo), "many", "killed", "limited", "vfork"]
    done = run(words, directory=tmp_path / "run", provider="notification", trace_size=1 << 22)
    assert (done.returncode, done.stderr, done.observed) == (0, "", "ptrace")
    assert done.stdout.splitlines() == [
        f"interrupted 0 0 0 -1 {errno.EINTR}",
        "many 0",
        "killed 0",
        f"full {errno.EMFILE} 0 0 1",
        "vfork 0",
    ]


def test_runs_at_the_same_time_do_not_meet(tmp_path: Path, storm: Path) -> None:
    """Each in a thread of this process, with its own supervisor, tree and tracer; a sampled one among them."""
    found: dict[int, Run] = {}

    def one(number: int) -> None:
        place = tmp_path / str(number)
        observe: Observe = "sampled" if number == 0 else "auto"
        words = [str(storm), "vfork", "killed"]
        found[number] = run(words, directory=place, provider="notification", trace_size=1 << 20, observe=observe)

    threads = [threading.Thread(target=one, args=(number,)) for number in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert {number: done.stdout for number, done in found.items()} == dict.fromkeys(range(3), "vfork 0\nkilled 0\n")
    assert "vgpu-notify" not in {thread.name for thread in threading.enumerate()}


def test_ctrl_c_ends_program_and_supervisor(tmp_path: Path, storm: Path) -> None:
    """While calls wait for an answer; the harness ends as by Ctrl-C, and nothing of the run is left."""
    words = [sys.executable, "-P", "-m", "vgpu_harness", "run", "--provider", "notification", "--json"]
    command = [*words, str(tmp_path / "json"), "--", "sh", "-c", f"{storm} ever & exec {storm} ever"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, start_new_session=True) as harness:
        assert harness.stdout is not None
        assert [harness.stdout.readline() for _ in range(2)] == [b"ready\n", b"ready\n"]
        children = psutil.Process(harness.pid).children(recursive=True)
        assert {child.name() for child in children} == {storm.name[:15]}
        harness.send_signal(signal.SIGINT)
        harness.communicate(timeout=30)
    assert harness.returncode == 130
    assert not any(child.is_running() and child.status() != psutil.STATUS_ZOMBIE for child in children)
