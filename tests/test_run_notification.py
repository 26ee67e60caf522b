"""Provider notification: programs that no library can be preloaded into see the GPU, by system calls of every kind."""

import errno
import os
import signal
import stat
import subprocess
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from support.compile import compile_program
from support.users import NOBODY, in_child, open_to_all

from vgpu_harness.host import Gate, Host, write_image, write_tree
from vgpu_harness.host.faults import FunctionFault
from vgpu_harness.run import run
from vgpu_harness.run.notification import NotificationError, Supervised, supervised
from vgpu_harness.run.runner import NotMappedError
from vgpu_harness.run.started import Started
from vgpu_harness.trace import Kind, Library, Record, Trace, create_trace

GPU = "/sys/bus/pci/devices/0000:00:05.0"
DEVICE = "/dev/nvidia0"
IDS = "0x10de 0x2331 0x030200"
"""What a program finds of the default host's GPU: vendor, device, class."""

LOOK = r"""
/* Looks at the GPU's files and its device in the ways that its arguments name; one line each. */
#define _GNU_SOURCE
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/openat2.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/inotify.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/statfs.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <sys/wait.h>
#include <sys/xattr.h>
#include <unistd.h>

static const char gpu[] = "/sys/bus/pci/devices/0000:00:05.0";
static const char device[] = "/dev/nvidia0";

static int by_open(const char *path) { return open(path, O_RDONLY); }
static int by_openat(const char *path) { return openat(AT_FDCWD, path, O_RDONLY); }
static int by_openat2(const char *path) {
    struct open_how how = {.flags = O_RDONLY};
    return (int)syscall(SYS_openat2, AT_FDCWD, path, &how, sizeof(how));
}
static int by_raw(const char *path) {
    long answer;
    __asm__ volatile("syscall" : "=a"(answer) : "a"(SYS_open), "D"(path), "S"(0L), "d"(0L) : "rcx", "r11", "memory");
    return (int)answer;
}

static void ids(const char *label, int (*opened)(const char *)) {
    const char *names[] = {"vendor", "device", "class"};
    char line[256] = "";
    for (int i = 0; i < 3; i++) {
        char path[256];
        char text[32] = "";
        snprintf(path, sizeof(path), "%s/%s", gpu, names[i]);
        int fd = opened(path);
        ssize_t got = fd >= 0 ? read(fd, text, sizeof(text) - 1) : -1;
        if (fd >= 0) {
            close(fd);
        }
        snprintf(line + strlen(line), sizeof(line) - strlen(line), " %.*s", got > 0 ? (int)got - 1 : 1,
                 got > 0 ? text : "-");
    }
    printf("%s%s\n", label, line);
    fflush(stdout);
}

static void show(const char *label, int answer, mode_t mode, unsigned int first, unsigned int second) {
    printf("%s %d %o %u:%u\n", label, answer, mode, first, second);
}

static void metadata(void) {
    struct stat s = {0};
    struct statx x = {0};
    int answer = stat(device, &s);
    show("stat", answer, s.st_mode, major(s.st_rdev), minor(s.st_rdev));
    answer = (int)syscall(SYS_lstat, device, &s);
    show("lstat", answer, s.st_mode, major(s.st_rdev), minor(s.st_rdev));
    answer = statx(AT_FDCWD, device, 0, STATX_BASIC_STATS, &x);
    show("statx", answer, x.stx_mode, x.stx_rdev_major, x.stx_rdev_minor);
    int fd = open(device, O_RDWR);
    answer = fstat(fd, &s);
    show("fstat", answer, s.st_mode, major(s.st_rdev), minor(s.st_rdev));
    answer = (int)syscall(SYS_fstat, fd, &s);
    show("raw_fstat", answer, s.st_mode, major(s.st_rdev), minor(s.st_rdev));
    answer = statx(fd, "", AT_EMPTY_PATH, STATX_BASIC_STATS, &x);
    show("statx_fd", answer, x.stx_mode, x.stx_rdev_major, x.stx_rdev_minor);
    answer = ioctl(fd, _IOWR('F', 200, int), &answer);
    printf("ioctl %d %d\n", answer, errno);
    printf("tty %d\n", ioctl(1, _IO('F', 0)) < 0 ? errno : 0);
    close(fd);
}

/* A call's answer, and errno after it. */
static void result(const char *label, long answer) {
    printf("%s %ld %d\n", label, answer, answer < 0 ? errno : 0);
}

static void paths(void) {
    char text[512];
    char link[64];
    struct statfs fs;
    ssize_t got = readlink(gpu, text, sizeof(text));
    printf("link %.*s\n", (int)got, text);
    int fd = open("/sys/bus/pci/devices", O_RDONLY | O_DIRECTORY);
    snprintf(link, sizeof(link), "/proc/self/fd/%d", fd);
    got = readlink(link, text, sizeof(text));
    printf("descriptor %.*s\n", (int)got, text);
    snprintf(text, sizeof(text), "../devices/0000:00:05.0/vendor");
    int below = openat(fd, text, O_RDONLY | O_CLOEXEC);
    got = read(below, text, sizeof(text));
    printf("below %.*s %d\n", (int)got - 1, text, fcntl(below, F_GETFD));
    printf("enter %d", fchdir(fd));
    printf(" %s\n", getcwd(text, sizeof(text)));
    below = open("0000:00:05.0/vendor", O_RDONLY);
    got = read(below, text, sizeof(text));
    printf("relative %.*s %d\n", (int)got - 1, text, fcntl(below, F_GETFD));
    printf("statfs %d", statfs(gpu, &fs));
    printf(" %lx\n", (unsigned long)fs.f_type);
    result("access", access(gpu, R_OK | X_OK));
    result("write_access", access("/proc/driver/nvidia/version", W_OK));
    result("write", open("/proc/driver/nvidia/version", O_WRONLY));
    result("create", open("/proc/driver/nvidia/new", O_WRONLY | O_CREAT, 0600));
    result("unlink", unlink("/sys/bus/pci/devices/0000:00:05.0/vendor"));
    result("mkdir", mkdir("/sys/module/nvidia/x", 0700));
    result("missing", open("/proc/driver/nvidia/none", O_RDONLY));
    result("attributes", getxattr(device, "user.none", text, sizeof(text)));
    result("directory", chdir("/proc/driver/nvidia/version"));
    printf("go %d", chdir("/sys"));
    printf(" %s", getcwd(text, sizeof(text)));
    printf(" %d\n", access("bus/pci/devices/../drivers/nvidia", F_OK));
    result("own_directory", chdir("/proc/driver/nvidia"));
    result("change", fchownat(open(device, O_RDWR), "", 0, 0, AT_EMPTY_PATH));
    int events = inotify_init1(IN_NONBLOCK);
    printf("watch %d", inotify_add_watch(events, "/proc/driver/nvidia/version", IN_OPEN));
    close(open("/proc/driver/nvidia/version", O_RDONLY));
    printf(" %d\n", read(events, text, sizeof(text)) > 0);
    result("elsewhere", open("/nowhere/file", O_RDONLY));
    result("shell", access("/bin/sh", X_OK));
    result("bad", open((const char *)8, O_RDONLY));
}

static void *in_thread(void *unused) {
    ids("thread", by_openat);
    return unused;
}

int main(int argc, char **argv) {
    for (int i = 1; i < argc; i++) {
        if (strcmp(argv[i], "ids") == 0) {
            ids("open", by_open);
            ids("openat", by_openat);
            ids("openat2", by_openat2);
            ids("raw", by_raw);
        } else if (strcmp(argv[i], "children") == 0) {
            pthread_t thread;
            pthread_create(&thread, NULL, in_thread, NULL);
            pthread_join(thread, NULL);
            if (fork() == 0) {
                ids("child", by_open);
                _exit(0);
            }
            wait(NULL);
        } else if (strcmp(argv[i], "bare") == 0) {
            close(0);
            close(2);
            syscall(SYS_close_range, 3, ~0U, 0);
            ids("bare", by_open);
        } else if (strcmp(argv[i], "metadata") == 0) {
            metadata();
        } else if (strcmp(argv[i], "paths") == 0) {
            paths();
        } else if (strcmp(argv[i], "wait") == 0) {
            char byte;
            printf("ready\n");
            fflush(stdout);
            while (read(0, &byte, 1) < 0 && errno == EINTR) {
            }
            result("open", open(device, O_RDONLY));
        }
    }
    return 0;
}
"""


@dataclass(frozen=True)
class Machine:
    """A simulated host in a directory, and programs that run on it under a supervisor."""

    directory: Path
    image: Path
    trace: Path

    def launch(self, watch: Supervised, program: Path, *words: str, **streams: Any) -> "subprocess.Popen[bytes]":
        """Starts the program under its supervisor."""
        streams = {"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE} | streams
        started = launched(watch, program, *words, environment={"VGPU_TRACE": str(self.trace)}, streams=streams)
        started.go()
        assert started.process is not None
        return started.process

    def run(self, program: Path, *words: str) -> tuple[dict[str, str], Supervised]:
        """Runs the program; answers what it printed, by the first word of each line, and its supervisor."""
        with supervised(self.image) as watch, self.launch(watch, program, *words) as process:
            out, error = process.communicate(timeout=30)
            assert (process.returncode, error) == (0, b"")
        return dict(line.split(" ", 1) for line in out.decode().splitlines()), watch

    @property
    def calls(self) -> list[Record]:
        """The CALL records."""
        return [record for record in Trace.open(self.trace).records if record.kind == Kind.CALL]


def launched(
    watch: Supervised, program: Path, *words: str, environment: dict[str, str], streams: dict[str, Any]
) -> Started:
    """The program with its filter, in front of its execve."""
    command = watch.command([str(program), *words], program, environment)
    started = Started()
    started.launch(
        command.argv, command.path, command.environment, Path("/"), own_session=False, streams=streams,
        descriptors=command.descriptors,
    )  # fmt: skip
    watch.waiting(started)
    return started


def make_machine(directory: Path, host: Host) -> Machine:
    """Writes the host's tree, its image and an empty trace."""
    tree = write_tree(host, directory / "tree")
    return Machine(
        directory, write_image(host, tree, directory / "host.image"), create_trace(directory / "trace", 1 << 20)
    )


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    """The default host."""
    return make_machine(tmp_path, Host())


@pytest.fixture
def static() -> Path:
    """The looking program, without a dynamic linker."""
    return compile_program(LOOK, "look-static", "-static", "-pthread")


def test_a_static_program_sees_the_gpu(machine: Machine, static: Path) -> None:
    """By open, openat, openat2 and a raw instruction, in a thread, in a forked child, and with no descriptor left."""
    found, watch = machine.run(static, "ids", "children", "bare")
    assert found == dict.fromkeys(("open", "openat", "openat2", "raw", "thread", "child", "bare"), IDS)
    assert watch.served == 3 * len(found)
    plain = subprocess.run([static, "ids"], capture_output=True, text=True, timeout=20, check=True).stdout
    assert "0x10de 0x2331" not in plain


def test_a_dynamic_program_needs_no_shim(machine: Machine) -> None:
    """The supervisor answers libc's calls as well, and its dynamic linker's go on."""
    found, _ = machine.run(compile_program(LOOK, "look", "-pthread"), "ids", "children")
    assert set(found.values()) == {IDS}


def test_a_device_is_a_character_device(machine: Machine, static: Path) -> None:
    """By path and by descriptor; its driver has no request, and other descriptors' requests are their own."""
    found, _ = machine.run(static, "metadata")
    device = f"0 {stat.S_IFCHR | 0o666:o} 195:0"
    assert found == {
        **dict.fromkeys(("stat", "lstat", "statx", "fstat", "raw_fstat", "statx_fd"), device),
        "ioctl": f"-1 {errno.EINVAL}",
        "tty": str(errno.ENOTTY),
    }
    request = next(record for record in machine.calls if record.name == "ioctl")
    assert (request.text, request.inputs, request.result) == (DEVICE, (0xC00446C8,), errno.EINVAL)


def test_paths_are_those_of_the_host(machine: Machine, static: Path) -> None:
    """Links, descriptors, directories and refusals are as on a machine with the GPU: nothing names the tree."""
    found, _ = machine.run(static, "paths")
    words = ["stat", "-f", "-c", "%t", "/sys"]
    sysfs = subprocess.run(words, capture_output=True, text=True, timeout=20, check=True).stdout.strip()
    assert found == {
        "link": "../../../devices/pci0000:00/0000:00:05.0",
        "descriptor": "/sys/bus/pci/devices",
        "below": "0x10de 1",
        "enter": "0 /sys/bus/pci/devices",
        "relative": "0x10de 0",
        "statfs": f"0 {sysfs}",
        "access": "0 0",
        "write_access": f"-1 {errno.EACCES}",
        "write": f"-1 {errno.EACCES}",
        "create": f"-1 {errno.EACCES}",
        "unlink": f"-1 {errno.EPERM}",
        "mkdir": f"-1 {errno.EPERM}",
        "missing": f"-1 {errno.ENOENT}",
        "attributes": found["attributes"],
        "directory": f"-1 {errno.ENOTDIR}",
        "go": "0 /sys 0",
        "own_directory": "0 0" if Path("/proc/driver/nvidia").is_dir() else f"-1 {errno.EACCES}",
        "change": "0 0" if os.geteuid() == 0 else f"-1 {errno.EPERM}",
        "watch": "1 1",
        "elsewhere": f"-1 {errno.ENOENT}",
        "shell": "0 0",
        "bad": f"-1 {errno.EFAULT}",
    }
    assert found["attributes"] in {f"-1 {errno.ENODATA}", f"-1 {errno.ENOTSUP}"}


def test_what_was_answered_is_in_the_trace(machine: Machine, static: Path) -> None:
    """As calls of the process that made them, not of the supervisor, spelled as they were."""
    with supervised(machine.image) as watch, machine.launch(watch, static, "ids", "children") as process:
        process.communicate(timeout=30)
    made = [record for record in machine.calls if record.text == f"{GPU}/vendor"]
    assert {record.library for record in made} == {Library.SYSCALL}
    assert [record.pid == process.pid for record in made] == [True] * 5 + [False]
    assert made[-1].parent == process.pid
    assert made[4].tid != made[0].tid


def test_the_gate_and_faults_are_those_of_the_shims(tmp_path: Path, static: Path) -> None:
    """A program that the host denies gets the real files, and says so in the trace; a fault of a call is answered."""
    (tmp_path / "denied").mkdir()
    denied = make_machine(tmp_path / "denied", Host(gate=Gate(deny=(static.name,))))
    found, watch = denied.run(static, "ids")
    assert IDS not in found.values()
    assert watch.served == 0
    gate = [record for record in Trace.open(denied.trace).records if record.kind == Kind.GATE]
    (record,) = gate
    assert record.text.startswith("not an application: gate.deny names the program")
    (tmp_path / "faulty").mkdir()
    fault = FunctionFault(function="openat", result=errno.EIO)
    faulty = make_machine(tmp_path / "faulty", Host(faults=(fault,)))
    found, _ = faulty.run(static, "ids")
    assert set(found.values()) == {"- - -"}
    assert {(record.result, record.faulted) for record in faulty.calls} == {(errno.EIO, True)}


@pytest.fixture
def common(static: Path) -> Iterator[tuple[Path, Path]]:
    """A directory that any user may write to, and the static program in it."""
    with open_to_all(static) as found:
        yield found


def test_an_ordinary_user_has_it_too(common: tuple[Path, Path]) -> None:
    """Harness and program without any privilege: the kernel asks for NO_NEW_PRIVS, which the program then has."""
    place, program = common

    def look() -> Any:
        (place / "run").mkdir()
        found, watch = make_machine(place / "run", Host()).run(program, "ids", "metadata")
        return [os.geteuid(), found["open"], found["stat"], watch.unread]

    user, ids, device, unread = in_child(look, NOBODY)
    assert user != 0
    assert (ids, device, unread) == (IDS, f"0 {stat.S_IFCHR | 0o666:o} 195:0", 0)


def test_a_killed_supervisor_leaves_nothing_hanging(common: tuple[Path, Path]) -> None:
    """The program's next call gets ENOSYS, and the program ends by itself."""
    place, program = common
    (place / "run").mkdir()
    machine = make_machine(place / "run", Host())
    word, told = os.pipe()
    answer, said = os.pipe()
    harness = os.fork()
    if harness == 0:
        try:
            streams = {"stdin": word, "stdout": said}
            launched(Supervised(machine.image), program, "wait", environment={}, streams=streams).go()
            signal.pause()
        finally:
            os._exit(1)
    for descriptor in (word, said):
        os.close(descriptor)
    with os.fdopen(answer, "rb") as lines:
        assert lines.readline() == b"ready\n"
        os.kill(harness, signal.SIGKILL)
        os.waitpid(harness, 0)
        os.write(told, b"!")
        os.close(told)
        assert lines.readline() == f"open -1 {errno.ENOSYS}\n".encode()
        assert lines.readline() == b""


def test_a_supervisor_can_be_stopped(machine: Machine, static: Path) -> None:
    """From another thread, while it waits for calls; a call that comes later gets ENOSYS."""
    with supervised(machine.image) as watch:
        process = machine.launch(watch, static, "wait", stdin=subprocess.PIPE)
        assert process.stdout is not None
        assert process.stdout.readline() == b"ready\n"
        watch.stop()
        out, _ = process.communicate(b"!", timeout=20)
    assert out.decode() == f"open -1 {errno.ENOSYS}\n"
    assert "vgpu-notify" not in {thread.name for thread in threading.enumerate()}


def test_a_second_listener_is_refused_in_words(machine: Machine, static: Path) -> None:
    """A process has one: in a run within a run the kernel refuses the filter, and the program is not started."""
    streams = {"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE}
    with supervised(machine.image) as watch, supervised(machine.image) as second:
        started = launched(watch, static, "ids", environment={}, streams=streams)
        with pytest.raises(NotificationError, match="the kernel refuses the filter: Device or resource busy; use ano"):
            second.waiting(started)
        started.abandon()
        assert started.process is not None
        assert (started.process.communicate(timeout=20)[0], started.wait()) == (b"", 126)


def test_a_damaged_image_is_said(machine: Machine, static: Path, tmp_path: Path) -> None:
    """The supervisor reads it as the shims do; the process ends before it was the program."""
    damaged = tmp_path / "damaged"
    damaged.write_bytes(machine.image.read_bytes()[:-1])
    started = Started()
    started.launch(["x"], static, {}, Path("/"), own_session=False, streams={})
    with pytest.raises(NotificationError, match=f"{damaged}: the host image is refused; write the image again"):
        Supervised(damaged).waiting(started)
    started.abandon()
    assert started.wait() == 126


def test_a_whole_run_is_supervised(tmp_path: Path, static: Path) -> None:
    """With observer, reaper and result: a script, a static program, what they leave behind; no shim for files."""
    script = f"{static} ids; read id < {GPU}/device; echo shell $id; sleep 60 & cat {GPU}/class"
    done = run(["sh", "-c", script], directory=tmp_path / "run", provider="notification", trace_size=1 << 20)
    assert done.stdout.splitlines()[-2:] == ["shell 0x2331", "0x030200"]
    assert done.stdout.count(IDS) == 4
    assert done.provider == "notification"
    assert not any("libvgpu-syscall.so" in entry for entry in done.preload)
    assert done.without_shims == ()
    assert len(done.reaped) == 1
    programs = {Path(process.program).name for process in done.processes}
    assert {"look-static", "cat", "sleep"} <= programs
    alone = run([static, "ids"], directory=tmp_path / "alone", provider="notification", observe="sampled")
    assert alone.stdout.count(IDS) == 4
    with pytest.raises(NotMappedError, match=r"is a static program: .* bypassed the shims; use the provider namespace"):
        run([static, "ids"], directory=tmp_path / "preload")
