"""The first use of the shims where it is hardest: by many threads at once, and in a child forked meanwhile."""

import os
import signal
import subprocess
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest
from support.compile import compile_program

from vgpu_harness.host import Gate, Gpu, Host, write_image, write_tree
from vgpu_harness.shims import shim_path
from vgpu_harness.trace import Kind, Library, Trace, create_trace

SHIMS = ("exec", "syscall", "cuda", "nvml")
SOURCE = r"""
/* many THREADS: each thread's first call is one of another shim.
 * forked FIFO IMAGE: a thread is held in set-up by a FIFO in place of the host image; a child is forked meanwhile.
 * handler WHICH: the first call of one shim comes in a signal handler on a small stack of its own.
 * killed FIFO IMAGE: a vfork child is held so, and killed there; its parent goes on.
 * late FIFO IMAGE: a thread that asks whether the one in set-up still lives gets its answer when that one has set the
 * shim up and ended. */
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <pthread.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/auxv.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <unistd.h>

static pthread_barrier_t barrier;
static int good[4];
static volatile pid_t held;

static int file(void) {
    return access("/sys/bus/pci/devices/00fe:3b:1f.0/vendor", F_OK) == 0;
}

static int driver(void) {
    int (*init)(unsigned) = (int (*)(unsigned))dlsym(RTLD_DEFAULT, "cuInit");
    return init(0) == 0;
}

static int management(void) {
    int (*init)(void) = (int (*)(void))dlsym(RTLD_DEFAULT, "nvmlInit_v2");
    return init() == 0;
}

static int start(void) {
    pid_t child;
    char *const argv[] = {"true", NULL};
    char *const none[] = {NULL};
    int status = 1;
    return posix_spawn(&child, "/bin/true", NULL, NULL, argv, none) == 0 && waitpid(child, &status, 0) == child &&
           status == 0;
}

static void *first(void *which) {
    static int (*const calls[])(void) = {file, driver, management, start};
    size_t i = (size_t)which % 4;
    pthread_barrier_wait(&barrier);
    if (calls[i]()) {
        __atomic_fetch_add(&good[i], 1, __ATOMIC_RELAXED);
    }
    return NULL;
}

static void *hold(void *result) {
    held = (pid_t)syscall(SYS_gettid);
    *(int *)result = driver();
    return NULL;
}

static char state_of(pid_t thread) {
    char path[64];
    char text[256] = "";
    snprintf(path, sizeof(path), "/proc/self/task/%d/stat", thread);
    int fd = open(path, O_RDONLY);
    ssize_t got = read(fd, text, sizeof(text) - 1);
    close(fd);
    return got > 0 && strrchr(text, ')') != NULL ? strrchr(text, ')')[2] : '?';
}

static int in_fork(const char *fifo, const char *image) {
    char link_to_it[4096];
    int status = 0;
    int result = -1;
    pthread_t thread;
    snprintf(link_to_it, sizeof(link_to_it), "%s.held", fifo);
    if (link(fifo, link_to_it) != 0 || pthread_create(&thread, NULL, hold, &result) != 0) {
        return 2;
    }
    while (held == 0 || state_of(held) != 'S') {
        usleep(1000);
    }
    if (rename(image, fifo) != 0) {
        return 3;
    }
    pid_t child = fork();
    if (child == 0) {
        alarm(10);
        _exit(driver() ? 42 : 1);
    }
    waitpid(child, &status, 0);
    printf("child %d\n", WIFEXITED(status) ? WEXITSTATUS(status) : -WTERMSIG(status));
    close(open(link_to_it, O_WRONLY | O_NONBLOCK));
    pthread_join(thread, NULL);
    printf("parent %d\n", result);
    return 0;
}

static int in_vfork(const char *fifo, const char *image) {
    struct itimerval soon = {.it_value = {.tv_usec = 100000}};
    int status = 0;
    pid_t child = vfork();
    if (child == 0) {
        setitimer(ITIMER_REAL, &soon, NULL); /* no handler: it ends the child, which has a timer of its own */
        _exit(driver());
    }
    alarm(10);
    if (rename(image, fifo) != 0) {
        return 3;
    }
    /* The child is a zombie until it is waited for. */
    int result = driver();
    waitpid(child, &status, 0);
    printf("child %d\nparent %d\n", WIFSIGNALED(status) ? -WTERMSIG(status) : WEXITSTATUS(status), result);
    return 0;
}

/* A descriptor that reports each kill() of the threads started from now on, and holds it. */
static int held_kills(void) {
    struct sock_filter filter[] = {
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, 0), /* struct seccomp_data begins with the number */
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_kill, 0, 1),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_USER_NOTIF),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
    };
    struct sock_fprog program = {.len = sizeof(filter) / sizeof(filter[0]), .filter = filter};
    prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
    return (int)syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, SECCOMP_FILTER_FLAG_NEW_LISTENER, &program);
}

static int too_late(const char *fifo, const char *image) {
    char link_to_it[4096];
    int results[2] = {-1, -1};
    pthread_t threads[2];
    struct seccomp_notif asked = {0};
    int listener = held_kills();
    snprintf(link_to_it, sizeof(link_to_it), "%s.held", fifo);
    if (listener < 0 || link(fifo, link_to_it) != 0 || pthread_create(&threads[0], NULL, hold, &results[0]) != 0) {
        return 2;
    }
    while (held == 0 || state_of(held) != 'S') {
        usleep(1000);
    }
    pid_t first_thread = held;
    if (pthread_create(&threads[1], NULL, hold, &results[1]) != 0 ||
        ioctl(listener, SECCOMP_IOCTL_NOTIF_RECV, &asked) != 0 || rename(image, fifo) != 0) {
        return 3;
    }
    close(open(link_to_it, O_WRONLY | O_NONBLOCK));
    pthread_join(threads[0], NULL);
    while (syscall(SYS_tgkill, getpid(), first_thread, 0) == 0) {
        usleep(1000);
    }
    struct seccomp_notif_resp gone = {.id = asked.id, .error = -ESRCH};
    if (ioctl(listener, SECCOMP_IOCTL_NOTIF_SEND, &gone) != 0) {
        return 4;
    }
    pthread_join(threads[1], NULL);
    printf("first %d\nsecond %d\n", results[0], results[1]);
    return 0;
}

static int (*in_handler)(void);
static volatile int seen = -1;

static void handler(int number) {
    (void)number;
    seen = in_handler();
}

/* What the kernel's own frame takes, a path, and 1.5 KiB; before it is a page that nobody may write to. */
static int on_small_stack(char which) {
    const size_t page = 4096;
    size_t size = getauxval(AT_MINSIGSTKSZ) + 4096 + 1536;
    char *room = mmap(NULL, 8 * page + size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    stack_t small = {.ss_sp = room + page, .ss_size = size};
    struct sigaction action = {.sa_handler = handler, .sa_flags = SA_ONSTACK};
    in_handler = which == 'f' ? file : which == 'c' ? driver : management;
    dlsym(RTLD_DEFAULT, "cuInit"); /* the dynamic linker's own look-up takes more stack than all else here */
    mprotect(room, page, PROT_NONE);
    sigaltstack(&small, NULL);
    sigaction(SIGUSR1, &action, NULL);
    raise(SIGUSR1);
    printf("%d\n", seen);
    return 0;
}

int main(int argc, char **argv) {
    if (argv[1][0] == 'h') {
        return on_small_stack(argv[2][0]);
    }
    if (argc == 4) {
        if (argv[1][0] == 'l') {
            return too_late(argv[2], argv[3]);
        }
        return argv[1][0] == 'k' ? in_vfork(argv[2], argv[3]) : in_fork(argv[2], argv[3]);
    }
    pthread_t threads[64];
    size_t count = (size_t)atoi(argv[2]);
    pthread_barrier_init(&barrier, NULL, (unsigned)count);
    for (size_t i = 0; i < count; i++) {
        pthread_create(&threads[i], NULL, first, (void *)i);
    }
    for (size_t i = 0; i < count; i++) {
        pthread_join(threads[i], NULL);
    }
    printf("%d %d %d %d\n", good[0], good[1], good[2], good[3]);
    return 0;
}
"""
THREADS = 24
EVERY_FACT = Gate(deny=["nobody", {"argument": "nothing"}], allow=[{"comm": "first", "ancestor": "*", "unit": "*"}])
POLICIES = [Gate(), EVERY_FACT]


@pytest.fixture
def program() -> Path:
    """The program above."""
    return compile_program(SOURCE, "first", "-pthread", "-ldl")


def environment(image: Path, trace: Path, shims: tuple[str, ...] = SHIMS) -> dict[str, str]:
    """What a program needs to have these shims."""
    create_trace(trace, 1 << 20)
    preload = ":".join(str(shim_path(shim)) for shim in shims)
    return {"LD_PRELOAD": preload, "VGPU_HOST": str(image), "VGPU_TRACE": str(trace)}


@pytest.mark.parametrize("policy", POLICIES, ids=["by name", "by all facts"])
def test_many_threads_at_once_are_answered_alike(program: Path, policy: Gate, tmp_path: Path) -> None:
    """24 threads whose first calls come at the same moment all get their answer; each shim starts and decides once."""
    host = Host(gpu=[Gpu(pci="00fe:3b:1f.0")], gate=policy)
    image = write_image(host, write_tree(host, tmp_path / "tree"), tmp_path / "host.image")
    for i in range(4):
        variables = environment(image, tmp_path / f"trace{i}")
        done = subprocess.run(
            [program, "many", str(THREADS)], env=variables, capture_output=True, text=True, timeout=60, check=False
        )
        assert (done.returncode, done.stdout, done.stderr) == (0, "6 6 6 6\n", "")
        records = Trace.open(tmp_path / f"trace{i}").records
        own = [record for record in records if record.pid == records[0].pid]
        started = Counter(record.library for record in own if record.kind == Kind.INIT)
        assert started == Counter((Library.EXEC, Library.SYSCALL, Library.CUDA, Library.NVML))
        decided = Counter(record.library for record in own if record.kind == Kind.GATE)
        assert decided == Counter((Library.SYSCALL, Library.CUDA, Library.NVML))


def test_a_refused_image_is_refused_once_however_many_ask(program: Path, tmp_path: Path) -> None:
    """Without a usable image the same threads get real files, no driver and their programs, and one reason a shim."""
    image = tmp_path / "host.image"
    image.write_bytes(b"VGPUHOST" * 2)
    variables = environment(image, tmp_path / "trace")
    done = subprocess.run(
        [program, "many", str(THREADS)], env=variables, capture_output=True, text=True, timeout=60, check=False
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "0 0 0 6\n", "")
    records = Trace.open(tmp_path / "trace").records
    refused = Counter(r.library for r in records if r.kind == Kind.REFUSED and r.pid == records[0].pid)
    assert refused == Counter((Library.EXEC, Library.SYSCALL, Library.CUDA, Library.NVML))


def test_a_first_call_fits_on_a_signal_stack(program: Path, tmp_path: Path) -> None:
    """With room for the kernel's frame, one path and 1.5 KiB each shim starts and decides, by rules over all facts."""
    host = Host(gpu=[Gpu(pci="00fe:3b:1f.0")], gate=EVERY_FACT)
    image = write_image(host, write_tree(host, tmp_path / "tree"), tmp_path / "host.image")
    variables = environment(image, tmp_path / "trace")
    for which in ("file", "cuda", "nvml"):
        done = subprocess.run(
            [program, "handler", which], env=variables, capture_output=True, text=True, timeout=30, check=False
        )
        assert (done.returncode, done.stdout, done.stderr) == (0, "1\n", ""), which


@pytest.fixture
def held(program: Path, tmp_path: Path) -> Callable[[str], str]:
    """Runs the program with a FIFO in place of the host image, and the image beside it; answers what it prints."""

    def run(how: str) -> str:
        host = Host()
        image = write_image(host, write_tree(host, tmp_path / "tree"), tmp_path / "host.image")
        fifo = tmp_path / "fifo"
        os.mkfifo(fifo)
        variables = environment(fifo, tmp_path / "trace", ("cuda",))
        done = subprocess.run(
            [program, how, fifo, image], env=variables, capture_output=True, text=True, timeout=30, check=False
        )
        assert (done.returncode, done.stderr) == (0, "")
        return done.stdout

    return run


def test_a_child_forked_during_set_up_sets_itself_up(held: Callable[[str], str]) -> None:
    """The thread that had begun is not in the child: there the shim starts again, and the parent's thread goes on."""
    # What the parent's thread was held by is empty, and so its image is refused: no driver, and no harm.
    assert held("forked") == "child 42\nparent 0\n"


def test_a_vfork_child_that_is_killed_in_set_up_does_not_take_its_parent_along(held: Callable[[str], str]) -> None:
    """What the child had begun in its parent's memory is done again there, though nobody has waited for the child."""
    assert held("killed") == f"child {-signal.SIGALRM}\nparent 1\n"


def test_who_asks_about_set_up_too_late_does_not_set_up_again(held: Callable[[str], str]) -> None:
    """Whoever had begun is gone because it is done: others use what it set up already, so none may start over."""
    # The first was held by what is no image. Set up once more, there would be one.
    assert held("late") == "first 0\nsecond 0\n"
