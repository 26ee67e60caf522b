"""Provider notification: directories that only the tree has are entered, and links of it are held by descriptors."""

import errno
import os
import re
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from support.compile import compile_program
from support.users import in_child, open_to_all

from vgpu_harness.host import Host
from vgpu_harness.host.faults import FunctionFault
from vgpu_harness.run import Run, run
from vgpu_harness.trace import Kind

LINK = "/sys/bus/pci/drivers/nvidia/0000:00:05.0"
"""A directory that no machine without the driver has, by a link."""
HOME = "/sys/devices/pci0000:00/0000:00:05.0"
"""Where that leads."""
SYSFS = 0x62656572
"""SYSFS_MAGIC of <linux/magic.h>."""

ENTER = r"""
/* Goes to directories in the ways that its arguments name; one line each. */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <pthread.h>
#include <signal.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/statfs.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <unistd.h>

static const char place[] = "/sys/bus/pci/drivers/nvidia/0000:00:05.0";

static void result(const char *label, long answer) {
    printf("%s %ld %d\n", label, answer, answer < 0 ? errno : 0);
    fflush(stdout);
}

static void here(const char *label) {
    char name[PATH_MAX];
    printf("%s %s\n", label, getcwd(name, sizeof(name)) != NULL ? name : strerror(errno));
}

static void content(const char *label, const char *path) {
    char text[32] = "-\n";
    int fd = open(path, O_RDONLY);
    if (fd >= 0 && read(fd, text, sizeof(text) - 1) < 0) {
        text[0] = '\0';
    }
    close(fd);
    printf("%s %.*s\n", label, (int)strcspn(text, "\n"), text);
}

static void by_path(void) {
    char name[PATH_MAX] = "";
    int lowest = dup(0);
    close(lowest);
    result("go", chdir(place));
    here("at");
    content("relative", "vendor");
    ssize_t length = readlink("/proc/self/cwd", name, sizeof(name));
    printf("cwd %.*s\n", (int)length, name);
    content("above", "../0000:00:05.0/device");
    result("up", chdir("../.."));
    here("above_at");
    result("down", chdir("pci0000:00/0000:00:05.0"));
    here("below_at");
    content("there", "class");
    result("root", chdir("../../.."));
    here("root_at");
    content("from_root", "bus/pci/drivers/nvidia/0000:00:05.0/vendor");
    result("missing", chdir("/sys/bus/pci/drivers/nvidia/none"));
    result("file", chdir("/proc/driver/nvidia/version"));
    result("bad", chdir((const char *)8));
    result("empty", chdir(""));
    result("machine", chdir("/usr/bin/"));
    here("machine_at");
    result("nowhere", chdir("/usr/bin/nowhere"));
    int next = dup(0);
    printf("descriptors %d\n", next - lowest);
    close(next);
}

static volatile sig_atomic_t ticks;
static int went[2];
static void tick(int number) {
    (void)number;
    ticks++;
}

static void under_signals(int flags) {
    struct sigaction action = {.sa_handler = tick, .sa_flags = flags};
    struct itimerval often = {{0, 300}, {0, 300}}, never = {{0, 0}, {0, 0}};
    sigset_t before, after;
    long wrong = 0;
    sigemptyset(&before);
    sigaddset(&before, SIGUSR2);
    sigprocmask(SIG_BLOCK, &before, NULL);
    sigaction(SIGALRM, &action, NULL);
    sigprocmask(SIG_BLOCK, NULL, &before);
    setitimer(ITIMER_REAL, &often, NULL);
    for (int i = 0; i < 60 || ticks < 20; i++) {
        wrong += chdir(i % 2 ? "/" : place) != 0;
    }
    setitimer(ITIMER_REAL, &never, NULL);
    sigprocmask(SIG_BLOCK, NULL, &after);
    printf("%s %ld", flags ? "restarted" : "signalled", wrong);
    for (int number = 1; number < 32; number++) {
        if (sigismember(&before, number) != sigismember(&after, number)) {
            printf(" %d", number);
        }
    }
    printf("\n");
    ticks = 0;
}

static void *changing(void *number) {
    long wrong = 0;
    for (int i = 0; i < 40; i++) {
        wrong += chdir(i % 2 ? "/" : place) != 0;
    }
    went[(long)number] = (int)wrong;
    return NULL;
}

static void in_threads(void) {
    pthread_t threads[2];
    for (long i = 0; i < 2; i++) {
        pthread_create(&threads[i], NULL, changing, (void *)i);
    }
    for (int i = 0; i < 2; i++) {
        pthread_join(threads[i], NULL);
    }
    printf("threads %d\n", went[0] + went[1]);
}

/* A child changes its directory for ever; it is stopped, goes on, and is killed. */
static void in_the_middle(void) {
    int status = 0;
    long wrong = 0;
    for (int i = 0; i < 6; i++) {
        int shared[2];
        char byte;
        if (pipe(shared) != 0) {
            return;
        }
        pid_t child = fork();
        if (child == 0) {
            for (long turn = 0;; turn++) {
                chdir(turn % 2 ? "/" : place);
                if (turn < 2 || turn % 8 == 0) {
                    (void)!write(shared[1], "!", 1);
                }
            }
        }
        (void)!read(shared[0], &byte, 1);
        (void)!read(shared[0], &byte, 1);
        for (int turn = 0; turn < 4; turn++) {
            kill(child, SIGSTOP);
            wrong += waitpid(child, &status, WUNTRACED) != child || !WIFSTOPPED(status);
            kill(child, SIGCONT);
            (void)!read(shared[0], &byte, 1);
        }
        usleep(1000 + 100 * i);
        kill(child, SIGKILL);
        wrong += waitpid(child, &status, 0) != child || WTERMSIG(status) != SIGKILL;
        close(shared[0]);
        close(shared[1]);
    }
    printf("middle %ld\n", wrong);
}

static void *go_for_ever(void *unused) {
    for (int i = 0;; i++) {
        chdir(i % 2 ? "/" : place);
    }
    return unused;
}

/* The leader's calls end in the middle, by another thread's exec; the new program is whole. */
static void *become_another(void *unused) {
    usleep(3000);
    execl("/bin/echo", "echo", "exec whole", (char *)NULL);
    return unused;
}

static void races(void) {
    for (int i = 0; i < 4; i++) {
        pid_t child = fork();
        if (child == 0) {
            pthread_t thread;
            pthread_create(&thread, NULL, i % 2 ? become_another : go_for_ever, NULL);
            i % 2 ? go_for_ever(NULL) : become_another(NULL);
        }
        waitpid(child, NULL, 0);
    }
}

static void with_no_descriptor(void) {
    struct rlimit before;
    int next = dup(0);
    close(next);
    getrlimit(RLIMIT_NOFILE, &before);
    setrlimit(RLIMIT_NOFILE, &(struct rlimit){(rlim_t)next, before.rlim_max});
    result("full_machine", chdir("/"));
    result("full_tree", chdir(place));
    setrlimit(RLIMIT_NOFILE, &before);
}

/* A filter of the program's own that stops for a tracer: without one of its own the call is ENOSYS. */
static void with_a_filter(void) {
    struct sock_filter code[] = {
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_getpgid, 0, 1),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_TRACE | 7),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
    };
    struct sock_fprog filter = {sizeof(code) / sizeof(code[0]), code};
    prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
    result("filter", prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &filter));
    result("stopped", syscall(SYS_getpgid, 0));
    result("filtered", chdir(place));
    here("filtered_at");
}

/* Opens a file by a descriptor of the tree's, with the rights of root and of an ordinary user. */
static const char *secret = "";
static void rights(const char *who) {
    char label[64], path[PATH_MAX];
    int fd = open("/sys/bus/pci/drivers/nvidia", O_RDONLY | O_DIRECTORY);
    snprintf(path, sizeof(path), "../../../../..%s", secret);
    snprintf(label, sizeof(label), "%s_secret", who);
    result(label, openat(fd, path, O_RDONLY) < 0 ? -1 : 0);
    snprintf(label, sizeof(label), "%s_memory", who);
    result(label, open("/sys/bus/pci/drivers/nvidia/0000:00:05.0/resource0", O_RDONLY) < 0 ? -1 : 0);
    snprintf(label, sizeof(label), "%s_access", who);
    result(label, access("/sys/bus/pci/drivers/nvidia/0000:00:05.0/resource0", R_OK));
    close(fd);
}

static void as_another(void) {
    rights("root");
    if (geteuid() == 0 && (setgid(65534) != 0 || setuid(65534) != 0)) {
        result("another", -1);
    }
    rights("other");
    result("other_user", chdir(place));
    content("other_relative", "vendor");
}

/* Nobody may read the memory of such a process but who may do anything. */
static void hidden(void) {
    prctl(PR_SET_DUMPABLE, 0);
    content("hidden", "/proc/driver/nvidia/params");
}

static void by_link(void) {
    char text[PATH_MAX] = "";
    char name[64];
    struct stat facts = {0};
    struct statfs system;
    struct statx more = {0};
    int fd = open(place, O_PATH | O_NOFOLLOW | O_CLOEXEC);
    printf("link %d %d\n", fd >= 0, fcntl(fd, F_GETFD));
    ssize_t length = readlinkat(fd, "", text, sizeof(text));
    printf("leads %.*s\n", (int)length, text);
    length = readlinkat(fd, "", text, 5);
    printf("cut %.*s\n", (int)length, text);
    printf("fstat %d", fstat(fd, &facts));
    printf(" %o\n", facts.st_mode);
    memset(&facts, 0, sizeof(facts));
    printf("fstatat %d", fstatat(fd, "", &facts, AT_EMPTY_PATH));
    printf(" %o\n", facts.st_mode);
    printf("statx %d", statx(fd, "", AT_EMPTY_PATH, STATX_BASIC_STATS, &more));
    printf(" %o\n", more.stx_mode);
    printf("statfs %d", fstatfs(fd, &system));
    printf(" %lx\n", (unsigned long)system.f_type);
    snprintf(name, sizeof(name), "/proc/self/fd/%d", fd);
    length = readlink(name, text, sizeof(text));
    printf("name %.*s\n", (int)length, text);
    result("through", openat(fd, "vendor", O_RDONLY));
    result("as_directory", open(place, O_PATH | O_NOFOLLOW | O_DIRECTORY));
    int other = (int)syscall(SYS_memfd_create, "vgpu", 0);
    printf("other %d", fstat(other, &facts));
    printf(" %o\n", facts.st_mode & S_IFMT);
    close(other);
    result("closed", close(fd));
}

static void by_handle(void) {
    union {
        struct file_handle handle;
        char room[sizeof(struct file_handle) + MAX_HANDLE_SZ];
    } found;
    int mount = -1, real = -1;
    found.handle.handle_bytes = MAX_HANDLE_SZ;
    long above = name_to_handle_at(AT_FDCWD, "/sys", &found.handle, &real, 0);
    int error = above < 0 ? errno : 0;
    found.handle.handle_bytes = MAX_HANDLE_SZ;
    long answer = name_to_handle_at(AT_FDCWD, place, &found.handle, &mount, AT_SYMLINK_FOLLOW);
    printf("handle %d %d\n", answer == above && (answer == 0 || errno == error), answer != 0 || mount == real);
    found.handle.handle_bytes = 0;
    answer = name_to_handle_at(AT_FDCWD, place, &found.handle, &mount, AT_SYMLINK_FOLLOW);
    printf("small %d\n", answer == -1 && (errno == EOVERFLOW || errno == error));
    result("handle_missing", name_to_handle_at(AT_FDCWD, "/proc/driver/nvidia/none", &found.handle, &mount, 0));
    result("handle_flags", name_to_handle_at(AT_FDCWD, place, &found.handle, &mount, 1 << 30));
}

int main(int argc, char **argv) {
    static const struct {
        const char *name;
        void (*does)(void);
    } ways[] = {{"path", by_path}, {"threads", in_threads}, {"middle", in_the_middle}, {"races", races},
                {"full", with_no_descriptor}, {"link", by_link}, {"handle", by_handle}, {"user", as_another},
                {"filter", with_a_filter}, {"hidden", hidden}};
    for (int i = 1; i < argc; i++) {
        for (size_t way = 0; way < sizeof(ways) / sizeof(ways[0]); way++) {
            if (strcmp(argv[i], ways[way].name) == 0) {
                ways[way].does();
            }
        }
        if (strcmp(argv[i], "signals") == 0) {
            under_signals(SA_RESTART);
            under_signals(0);
        }
        if (argv[i][0] == '/') {
            secret = argv[i];
        }
        if (strcmp(argv[i], "go") == 0) {
            result("go", chdir(place));
        }
        fflush(stdout);
    }
    return 0;
}
"""

Entering = Callable[..., tuple[dict[str, str], Run]]


@pytest.fixture
def program() -> Path:
    """The program, without a dynamic linker."""
    return compile_program(ENTER, "enter-static", "-static", "-pthread")


@pytest.fixture
def entering(tmp_path: Path, program: Path) -> Entering:
    """Runs the program under the provider; what it printed, by the first word of each line, and the run."""

    def run_it(*words: str, host: Host | None = None, **options: Any) -> tuple[dict[str, str], Run]:
        directory = tmp_path / f"run{len(list(tmp_path.glob('run*')))}"
        done = run(
            [program, *words], host, directory=directory, provider="notification", trace_size=1 << 20, **options
        )  # fmt: skip
        assert (done.returncode, done.stderr) == (0, "")
        return dict(line.split(" ", 1) for line in done.stdout.splitlines()), done

    return run_it


def test_a_directory_of_the_tree_is_entered_by_its_path(entering: Entering) -> None:
    """getcwd, /proc/self/cwd, `..` and relative paths are then as on the host; refusals too; no descriptor is left."""
    found, done = entering("path")
    assert done.observed == "ptrace"
    assert found == {
        "go": "0 0", "at": HOME, "relative": "0x10de", "cwd": HOME, "above": "0x2331",
        "up": "0 0", "above_at": "/sys/devices", "down": "0 0", "below_at": HOME, "there": "0x030200",
        "root": "0 0", "root_at": "/sys", "from_root": "0x10de",
        "missing": f"-1 {errno.ENOENT}", "file": f"-1 {errno.ENOTDIR}", "bad": f"-1 {errno.EFAULT}",
        "empty": f"-1 {errno.ENOENT}", "machine": "0 0", "machine_at": os.path.realpath("/usr/bin"),
        "nowhere": f"-1 {errno.ENOENT}", "descriptors": "0",
    }  # fmt: skip
    asked = [record for record in done.trace.records if record.kind == Kind.CALL and record.text == LINK]
    assert [(record.name, record.result, record.pid) for record in asked] == [("chdir", 0, done.pid)]


def test_nothing_else_of_the_program_is_touched(entering: Entering) -> None:
    """Signals, with SA_RESTART and without, threads, stops, ends and an exec in the middle, a filter of its own."""
    found, done = entering("signals", "threads", "middle", "races", "filter")
    assert found == {
        "restarted": "0", "signalled": "0", "threads": "0", "middle": "0", "exec": "whole",
        "filter": "0 0", "stopped": f"-1 {errno.ENOSYS}", "filtered": "0 0", "filtered_at": HOME,
    }  # fmt: skip
    assert done.stdout.count("exec whole") == 4
    assert [process.status for process in done.processes].count(-signal.SIGKILL) == 6


def test_without_a_descriptor_only_the_tree_is_closed(entering: Entering) -> None:
    """EMFILE, which tells what the way in needs; the machine's directories need none."""
    found, _ = entering("full", "go")
    assert found == {"full_machine": "0 0", "full_tree": f"-1 {errno.EMFILE}", "go": "0 0"}


def test_a_program_has_the_rights_of_its_user(entering: Entering, program: Path) -> None:
    """Not those of the supervisor, where root's were given up; directories of the tree are open to all."""
    with open_to_all(program) as (place, _):
        (place / "secret").touch(mode=0o600)
        found, _ = entering(str(place / "secret"), "user")
    names = [f"{who}_{what}" for who in ("root", "other") for what in ("secret", "memory", "access")]
    refused = f"-1 {errno.EACCES}"
    wanted = ["0 0"] * 3 + [refused] * 3 if os.geteuid() == 0 else ["0 0", refused, refused] * 2
    assert found == {**dict(zip(names, wanted, strict=True)), "other_user": "0 0", "other_relative": "0x10de"}


def test_whose_memory_may_not_be_read_is_told_of(program: Path) -> None:
    """Without root's rights the harness cannot read that program's paths: it gets the real files, and that is said."""
    with open_to_all(program) as (place, copy):

        def look() -> Any:
            done = run([copy, "go", "hidden"], directory=place / "run", provider="notification", trace_size=1 << 20)
            return [os.geteuid(), done.stdout, list(done.findings)]

        user, out, findings = in_child(look)
    assert (user != 0, out) == (True, "go 0 0\nhidden -\n")
    (finding,) = findings
    assert re.fullmatch(r"\d+ calls of processes whose memory may not be read got the real files; run .*", finding)


def test_a_fault_of_chdir_is_answered(entering: Entering) -> None:
    """As by the file shim, and the trace says that it was one."""
    found, done = entering("go", host=Host(faults=(FunctionFault(function="chdir", result=errno.EIO),)))
    assert found == {"go": f"-1 {errno.EIO}"}
    asked = [record for record in done.trace.records if record.name == "chdir"]
    assert [(record.result, record.faulted) for record in asked] == [(errno.EIO, True)]


def test_without_a_tracer_it_is_refused(entering: Entering) -> None:
    """Where the processes are sampled nobody can send the program there: EACCES, not a filter's ENOSYS."""
    found, done = entering("go", observe="sampled")
    assert (found, done.observed) == ({"go": f"-1 {errno.EACCES}"}, "sampled")


def test_a_link_is_held_by_a_descriptor(entering: Entering) -> None:
    """O_PATH | O_NOFOLLOW, as systemd's chase() opens each step: it is a link by all calls about the descriptor."""
    found, _ = entering("link", "handle")
    text = "../../../../devices/pci0000:00/0000:00:05.0"
    assert found == {
        "link": "1 1", "leads": text, "cut": text[:5], "fstat": "0 120777",
        "fstatat": "0 120777", "statx": "0 120777", "statfs": f"0 {SYSFS:x}", "name": LINK,
        "through": f"-1 {errno.ENOTDIR}", "as_directory": f"-1 {errno.ENOTDIR}", "other": "0 100000",
        "closed": "0 0", "handle": "1 1", "small": "1", "handle_missing": f"-1 {errno.ENOENT}",
        "handle_flags": f"-1 {errno.EINVAL}",
    }  # fmt: skip
