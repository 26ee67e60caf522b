"""What a program finds at its start is the same with each observer, and as if it had been started without any."""

import contextlib
import errno
import os
import resource
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest
from support.compile import compile_program

from vgpu_harness.errors import RunError, ShimError
from vgpu_harness.run import Run
from vgpu_harness.run import run as run_program
from vgpu_harness.run.child import NotStartedError, Observe
from vgpu_harness.run.started import Started
from vgpu_harness.shims.paths import client_path

OBSERVERS: tuple[Observe, ...] = ("ptrace", "sampled")
SHOW = r"""
/* Says what execve gave it: command line, environment, descriptors, session, signals, limits. */
#include <dirent.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/auxv.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

extern char **environ;

int main(int argc, char **argv) {
    char line[4096];
    FILE *status = fopen("/proc/self/status", "re");
    for (int i = 0; i < argc; i++) {
        printf("argument %d <%s>\n", i, argv[i]);
    }
    for (char **at = environ; *at != NULL; at++) {
        printf("variable <%s>\n", *at);
    }
    for (int descriptor = 0; descriptor < 1000; descriptor++) {
        struct stat found;
        if (descriptor != fileno(status) && fstat(descriptor, &found) == 0) {
            printf("descriptor %d of kind %o with flags %d\n", descriptor, found.st_mode & S_IFMT,
                   fcntl(descriptor, F_GETFD));
        }
    }
    while (fgets(line, sizeof(line), status) != NULL) {
        const char *names[] = {"SigPnd", "SigBlk", "SigIgn", "SigCgt",     "ShdPnd",
                               "Cap",    "Umask",  "NoNewPrivs", "Seccomp"};
        for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
            if (strncmp(line, names[i], strlen(names[i])) == 0) {
                printf("%s", line);
            }
        }
    }
    for (int kind = 0; kind < RLIM_NLIMITS; kind++) {
        struct rlimit limit;
        getrlimit(kind, &limit);
        if (kind != RLIMIT_CORE) {
            printf("limit %d %ju %ju\n", kind, (uintmax_t)limit.rlim_cur, (uintmax_t)limit.rlim_max);
        }
    }
    printf("leader %d %d\n", getsid(0) == getpid(), getpgid(0) == getpid());
    printf("directory %s\nexecuted as %s\nsecure %lu\n", getcwd(line, sizeof(line)),
           (const char *)getauxval(AT_EXECFN), getauxval(AT_SECURE));
    printf("nice %d\n", getpriority(PRIO_PROCESS, 0));
    return 0;
}
"""


@pytest.fixture
def run(tmp_path: Path) -> Callable[..., Run]:
    """A run in a directory of this test for each observer."""

    def started(*argv: Any, observe: Observe, **options: Any) -> Run:
        options = {"directory": tmp_path / observe, "trace_size": 1 << 20, "timeout": 20.0} | options
        return run_program([str(word) for word in argv], observe=observe, **options)

    return started


@pytest.fixture
def _unusual() -> Iterator[None]:
    """A caller with a blocked and an ignored signal, a low limit of descriptors, and an inheritable descriptor open."""
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGUSR1])
    handler = signal.signal(signal.SIGUSR2, signal.SIG_IGN)
    opened = os.open("/dev/null", os.O_RDONLY)
    os.set_inheritable(opened, True)  # noqa: FBT003 - the function takes no name for it
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(500, limits[0]), limits[1]))
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, limits)
    os.close(opened)
    signal.signal(signal.SIGUSR2, handler)
    signal.pthread_sigmask(signal.SIG_SETMASK, mask)


@pytest.mark.usefixtures("_unusual")
@pytest.mark.parametrize("observe", OBSERVERS)
def test_a_program_finds_what_it_would_find(run: Callable[..., Run], tmp_path: Path, observe: Observe) -> None:
    """Nothing tells it that it was not started directly, but the tracer's number in /proc."""
    program = compile_program(SHOW, "show")
    words = ["two words", "", "-c", "ü"]
    done = run(program, *words, observe=observe, cwd=tmp_path, env={"A": "1"})
    environment = dict(line[10:-1].split("=", 1) for line in done.stdout.splitlines() if line.startswith("variable <"))
    with (tmp_path / "plain").open("wb") as stdout, (tmp_path / "errors").open("wb") as stderr:
        subprocess.run(
            [program, *words],
            stdin=subprocess.DEVNULL, stdout=stdout, stderr=stderr,
            env=environment, cwd=tmp_path, start_new_session=True, check=True, timeout=20,
        )  # fmt: skip
    assert done.stdout == (tmp_path / "plain").read_text()
    assert "SigBlk:\t0000000000000200\n" in done.stdout
    assert "limit 7 500 " in done.stdout
    assert done.stdout.count("\ndescriptor ") == 3
    assert f"argument 0 <{program}>\n" in done.stdout


@pytest.mark.parametrize("observe", OBSERVERS)
def test_what_cannot_be_executed_is_said_in_the_kernels_words(
    run: Callable[..., Run], tmp_path: Path, observe: Observe
) -> None:
    """The errno of execve comes back from the process that tried, as the error's cause."""
    busy = tmp_path / "busy"
    busy.write_bytes(compile_program(SHOW, "show").read_bytes())
    busy.chmod(0o755)
    with (
        busy.open("r+b"),
        pytest.raises(NotStartedError, match=f"{busy}: cannot be executed: Text file busy; ") as caught,
    ):
        run(busy, observe=observe)
    assert isinstance(caught.value.__cause__, OSError)
    assert caught.value.__cause__.errno == errno.ETXTBSY
    with pytest.raises(NotStartedError, match="No such file or directory") as caught:
        run("true", observe=observe, cwd=tmp_path / "nowhere", directory=tmp_path / "second")
    assert isinstance(caught.value.__cause__, FileNotFoundError)


def test_a_directory_that_is_gone_is_said(
    run: Callable[..., Run], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The current directory may have been removed."""
    gone = tmp_path / "gone"
    gone.mkdir()
    monkeypatch.chdir(gone)
    gone.rmdir()
    with pytest.raises(RunError, match="the current directory: No such file or directory; change to"):
        run("/bin/true", observe="auto")


@pytest.mark.parametrize("answer", [None, Path("1")])
def test_a_proc_of_others_is_said(
    run: Callable[..., Run], monkeypatch: pytest.MonkeyPatch, answer: Path | None
) -> None:
    """Without /proc, or with that of another PID namespace, no process could be seen or ended."""

    def readlink(path: Path) -> Path:
        if answer is None:
            raise FileNotFoundError(errno.ENOENT, "No such file or directory", str(path))
        return answer

    monkeypatch.setattr(Path, "readlink", readlink)
    with pytest.raises(RunError, match="/proc: does not show this process; mount it"):
        run("/bin/true", observe="auto")


def test_no_thread_left_is_no_process_left(run: Callable[..., Run], monkeypatch: pytest.MonkeyPatch) -> None:
    """The limit of processes counts threads: that the tracing thread cannot be made is said as of a process."""

    def refuse(_thread: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(threading.Thread, "start", refuse)
    with pytest.raises(NotStartedError, match="cannot be executed: Resource temporarily unavailable"):
        run("/bin/true", observe="ptrace")


def test_an_unknown_observer_is_refused(run: Callable[..., Run], tmp_path: Path) -> None:
    """The name is quoted, the known ones are listed, and nothing is left behind."""
    with pytest.raises(RunError, match="observe 'strace': is none of 'auto', 'ptrace', 'sampled'"):
        run("true", observe="strace")
    assert list(tmp_path.iterdir()) == []


def test_core_files_are_off_from_the_first_instruction(run: Callable[..., Run]) -> None:
    """The limit is there when the program starts: its own first look finds it, each time."""
    for observe in OBSERVERS:
        assert run("sh", "-c", "ulimit -H -c", observe=observe).stdout == "0\n"


def launched(argv: list[str]) -> Started:
    """A process that waits in vgpu-start."""
    started = Started()
    started.launch(argv, Path("/bin/sh"), {"A": "1"}, Path("/"), own_session=True, streams={})
    return started


def test_a_process_waits_until_it_may_go() -> None:
    """Until then it is vgpu-start, which maps no library, whatever is preloaded; then it is the program."""
    started = launched(["sh", "-c", "exit 3"])
    assert Path(f"/proc/{started.pid}/exe").readlink() == client_path("vgpu-start").resolve()
    mapped = Path(f"/proc/{started.pid}/maps").read_text()
    assert "libc.so" not in mapped
    started.go()
    assert started.wait() == 3


def test_without_its_harness_nothing_is_started(tmp_path: Path) -> None:
    """A process whose harness is gone before the word to go ends without having been the program."""
    started = launched(["sh", "-c", f"touch {tmp_path}/made"])
    started.abandon()
    assert started.wait() == 126
    assert not (tmp_path / "made").exists()


def test_a_process_that_is_killed_while_it_waits_has_ended() -> None:
    """That is no failure to execute: it ends as a program does that is killed at its start."""
    started = launched(["sh"])
    os.kill(started.pid, signal.SIGKILL)
    with contextlib.suppress(ProcessLookupError):
        os.waitid(os.P_PID, started.pid, os.WEXITED | os.WNOWAIT)
    started.go()
    assert started.wait() == -signal.SIGKILL


@pytest.mark.parametrize("observe", OBSERVERS)
def test_a_vgpu_start_of_another_version_is_said(
    run: Callable[..., Run], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, observe: Observe
) -> None:
    """A file that does not answer is an error that names it, and nothing is left: neither process nor directory."""
    mute = compile_program("#include <unistd.h>\nint main(void) { return pause(); }", "mute")
    # By its name in sys.modules: `vgpu_harness.run` is a function too.
    module = sys.modules["vgpu_harness.run.started"]
    monkeypatch.setattr(module, "client_path", lambda _: mute)
    monkeypatch.setattr(module, "_PATIENCE", 0.2)
    with pytest.raises(ShimError, match=f"{mute}: has not answered for 0.2 s; build it again"):
        run("true", observe=observe)
    assert list(tmp_path.iterdir()) == []
    assert "mute" not in {process.name() for process in psutil.Process().children(recursive=True)}


@pytest.mark.parametrize(
    "words", [(), ("3",), ("3", "/bin/true"), ("9999", "/bin/true", "true"), ("x", "/bin/true", "true")]
)
def test_vgpu_start_alone_starts_nothing(words: tuple[str, ...]) -> None:
    """Without a command line, or without a socket, it ends at once."""
    done = subprocess.run(
        [client_path("vgpu-start"), *words], stdin=subprocess.DEVNULL, timeout=20, check=False, capture_output=True
    )
    assert (done.returncode, done.stdout, done.stderr) == (126, b"", b"")
