"""Every process of a run is seen by ptrace events, whatever it does with fork, exec, threads, signals and sessions."""

import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest
from support.compile import compile_program

from vgpu_harness.run import Run
from vgpu_harness.run import run as run_program
from vgpu_harness.run.observer import Process, Signs, auxiliary
from vgpu_harness.run.started import Started
from vgpu_harness.run.tracer import Tracer

STARTS = r"""
/* Starts one process by each way there is, `argv[1]` in most of them, with 8 threads that come and go. */
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

extern char **environ;

static void *wait_for(pid_t child, int options) {
    while (waitpid(child, NULL, options) != child) {
    }
    return NULL;
}

static void *start(void *program) {
    char *argv[] = {program, "from-thread", NULL};
    pid_t child = fork();
    if (child == 0) {
        execv(program, argv);
        _exit(1);
    }
    return wait_for(child, 0);
}

int main(int argc, char **argv) {
    char *words[] = {argv[argc - 1], "vfork", NULL};
    pthread_t threads[8];
    pid_t child;
    for (int i = 0; i < 8; i++) {
        pthread_create(&threads[i], NULL, start, argv[1]);
    }
    for (int i = 0; i < 8; i++) {
        pthread_join(threads[i], NULL);
    }
    child = vfork();
    if (child == 0) {
        execv(argv[1], words);
        _exit(1);
    }
    wait_for(child, 0);
    words[1] = "spawn";
    posix_spawn(&child, argv[1], NULL, NULL, words, environ);
    wait_for(child, 0);
    /* A process that ends without a signal to its parent: the kernel reports it as it does a thread. */
    child = (pid_t)syscall(SYS_clone, 0, NULL, NULL, NULL, NULL);
    if (child == 0) {
        words[1] = "silent";
        execv(argv[1], words);
        _exit(1);
    }
    wait_for(child, __WALL);
    if (fork() == 0) {
        _exit(5);
    }
    wait(NULL);
    return 0;
}
"""
THREAD_EXECUTES = r"""
/* A thread that is not the first executes `argv[1]`, while others live. */
#include <pthread.h>
#include <unistd.h>

static void *live(void *unused) {
    pause();
    return unused;
}

static void *become(void *program) {
    char *argv[] = {program, "by-thread", NULL};
    usleep(2000);
    execv(program, argv);
    return NULL;
}

int main(int argc, char **argv) {
    pthread_t threads[4];
    for (int i = 0; i < 3; i++) {
        pthread_create(&threads[i], NULL, live, NULL);
    }
    pthread_create(&threads[3], NULL, become, argv[argc - 1]);
    pause();
    return 1;
}
"""
KILLED_AT_BIRTH = r"""
/* Forks 200 children and kills each at once: many have not run a single instruction. */
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

int main(void) {
    for (int i = 0; i < 200; i++) {
        pid_t child = fork();
        if (child == 0) {
            pause();
        }
        kill(child, SIGKILL);
        waitpid(child, NULL, 0);
    }
    return 0;
}
"""
STOPS = r"""
/* A child stops itself and is let go on; says what its parent hears of it, and when. */
#include <signal.h>
#include <stdio.h>
#include <sys/wait.h>
#include <unistd.h>

int main(void) {
    int status = 0;
    for (int number = 0; number < 2; number++) {
        int how = number == 0 ? SIGSTOP : SIGTSTP;
        pid_t child = fork();
        if (child == 0) {
            /* Its group has a parent outside of it, so it is no orphaned one, which SIGTSTP does not stop. */
            setpgid(0, 0);
            kill(getpid(), how);
            _exit(9);
        }
        waitpid(child, &status, WUNTRACED);
        printf("stopped %d\n", WIFSTOPPED(status) ? WSTOPSIG(status) == how : -1);
        usleep(50000);
        printf("still %d\n", waitpid(child, &status, WNOHANG | WUNTRACED) == 0);
        kill(child, SIGCONT);
        waitpid(child, &status, WCONTINUED);
        printf("continued %d\n", WIFCONTINUED(status) != 0);
        waitpid(child, &status, 0);
        printf("ended %d\n", WIFEXITED(status) ? WEXITSTATUS(status) : -1);
    }
    return 0;
}
"""
WITHOUT_FIRST_THREAD = r"""
/* The first thread ends, another goes on and ignores SIGTERM: /proc shows the process as a zombie. */
#include <pthread.h>
#include <signal.h>
#include <unistd.h>

static void *live(void *unused) {
    for (;;) {
        pause();
    }
    return unused;
}

int main(void) {
    pthread_t thread;
    signal(SIGTERM, SIG_IGN);
    pthread_create(&thread, NULL, live, NULL);
    pthread_exit(NULL);
}
"""
TRUE = "int main(void) { return 0; }"


@pytest.fixture
def run(tmp_path: Path) -> Callable[..., Run]:
    """A run with ptrace in a directory of this test; a number tells several apart."""

    def started(*argv: Any, number: int = 0, **options: Any) -> Run:
        options = {"directory": tmp_path / f"run{number}", "trace_size": 1 << 20, "timeout": 30.0} | options
        return run_program([str(word) for word in argv], **({"observe": "ptrace"} | options))

    return started


def second_words(done: Run) -> list[str]:
    """The second words of all command lines but the first process's, sorted."""
    return sorted(process.argv[1] for process in done.processes[1:] if len(process.argv) > 1)


def test_no_process_is_too_short_lived(run: Callable[..., Run]) -> None:
    """Of 300 programs that end at once all are seen, with path, parent and status; sampling misses most of them."""
    program = compile_program(TRUE, "brief")
    script = f"for i in $(seq 300); do {program} $i; done; exit 3"
    done = run("sh", "-c", script)
    assert done.observed == "ptrace"
    brief = [process for process in done.processes if process.program == str(program)]
    assert [process.argv[1:] for process in brief] == [(str(number),) for number in range(1, 301)]
    assert {(process.parent, process.status, process.traced) for process in brief} == {(done.pid, 0, True)}
    assert (done.processes[0].pid, done.processes[0].parent, done.processes[0].status) == (done.pid, os.getpid(), 3)
    control = run("sh", "-c", script, observe="sampled", number=1)
    assert control.observed == "sampled"
    assert sum(process.program == str(program) for process in control.processes) < 300


def test_each_way_to_start_a_process_is_seen(run: Callable[..., Run]) -> None:
    """Fork from threads, vfork, posix_spawn, clone without a signal; a fork that executes nothing; and no thread."""
    program = compile_program(TRUE, "brief")
    done = run(compile_program(STARTS, "starts"), program)
    assert second_words(done) == sorted(["from-thread"] * 8 + ["silent", "spawn", str(program), "vfork"])
    (copy,) = [process for process in done.processes if not process.images]
    assert (copy.status, copy.program, copy.parent) == (5, done.processes[0].program, done.pid)
    assert len(done.processes) == 1 + 8 + 3 + 1
    assert {process.parent for process in done.processes[1:]} == {done.pid}


def test_each_program_of_a_process_is_seen(run: Callable[..., Run]) -> None:
    """A process that executes one program after another has them all, in order, each with its own environment."""
    done = run("sh", "-c", "exec env A=1 sh -c 'exec env -i /bin/sleep 0'")
    (process,) = done.processes
    shell = Path("/bin/sh").resolve().name
    assert [image.name for image in process.images] == [shell, "env", shell, "env", "sleep"]
    assert [Path(image.caller).name for image in process.images] == ["", shell, "env", shell, "env"]
    assert (process.program, process.argv) == (process.images[-1].program, ("/bin/sleep", "0"))


def test_a_thread_may_execute_a_program(run: Callable[..., Run]) -> None:
    """The process keeps its number, its other threads are gone, and it ends as the new program does."""
    program = compile_program(TRUE, "brief")
    done = run(compile_program(THREAD_EXECUTES, "becomes"), program)
    (process,) = done.processes
    assert [image.argv[1:] for image in process.images] == [(str(program),), ("by-thread",)]
    assert (done.returncode, process.status) == (0, 0)


def test_a_process_killed_at_its_birth_is_seen(run: Callable[..., Run]) -> None:
    """Each of 200 children that are killed at once is there with its status, and the run ends."""
    done = run(compile_program(KILLED_AT_BIRTH, "kills"))
    assert done.returncode == 0
    assert [process.status for process in done.processes[1:]] == [-signal.SIGKILL] * 200


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGSEGV, signal.SIGTRAP, signal.SIGRTMAX])
def test_who_died_of_which_signal_is_seen(run: Callable[..., Run], number: signal.Signals) -> None:
    """A signal kills child and parent as it does without an observer, SIGTRAP too, which ptrace itself uses."""
    done = run("sh", "-c", f"sh -c 'kill -{int(number)} $$'; kill -{int(number)} $$")
    assert [process.status for process in done.processes] == [-number, -number]
    assert done.returncode == -number


def test_stopped_processes_stay_stopped(run: Callable[..., Run]) -> None:
    """Job control is as without an observer: a parent hears of a stop, nothing moves until SIGCONT, then it goes on."""
    done = run(compile_program(STOPS, "stops"))
    assert done.stdout.splitlines() == ["stopped 1", "still 1", "continued 1", "ended 9"] * 2
    assert run(compile_program(STOPS, "stops"), observe="sampled", number=1).stdout == done.stdout
    assert [process.status for process in done.processes] == [0, 9, 9]


def test_a_daemon_with_another_environment_is_seen_and_ended(run: Callable[..., Run], tmp_path: Path) -> None:
    """It has left parent, session and the run's variables: by its environment the reaper would not know it."""
    daemon = "env -i setsid -f sh -c 'echo up >fifo; exec sleep 60'"
    done = run("sh", "-c", f"mkfifo fifo; {daemon}; read line <fifo; echo $line", host=_without_exec(), cwd=tmp_path)
    (found,) = [process for process in done.processes if process.pid in done.reaped]
    assert (found.traced, done.stdout, found.status) == (False, "up\n", -signal.SIGTERM)
    assert "setsid" in found.images[0].caller
    assert not psutil.pid_exists(found.pid) or psutil.Process(found.pid).status() == psutil.STATUS_ZOMBIE


def test_a_process_without_its_first_thread_is_ended(run: Callable[..., Run]) -> None:
    """It looks dead in /proc, and is ended all the same."""
    done = run(compile_program(WITHOUT_FIRST_THREAD, "headless"), timeout=0.3)
    assert done.timed_out
    assert done.returncode == -signal.SIGKILL


@pytest.mark.parametrize("flags", [(), ("-static",), ("-static-pie",)])
def test_static_programs_are_told(run: Callable[..., Run], flags: tuple[str, ...]) -> None:
    """A static program is one also if it can be loaded anywhere; a dynamic one is none."""
    program = compile_program(TRUE, "linked", *flags)
    done = run("sh", "-c", f"{program}; true")
    (found,) = [process for process in done.processes if process.program == str(program)]
    assert (found.static, found.images[0].foreign, found.secure) == (bool(flags), False, False)


def test_the_dynamic_linker_as_a_program_is_not_static(run: Callable[..., Run]) -> None:
    """`ld.so PROGRAM` preloads what it is told to, though no interpreter is loaded for it."""
    done = run("sh", "-c", "/lib64/ld-linux-x86-64.so.2 /bin/sleep 0; true")
    (found,) = [process for process in done.processes if "/bin/sleep" in process.argv]
    assert (found.static, found.preloaded) == (False, True)


def test_set_user_id_programs_are_told(run: Callable[..., Run], tmp_path: Path) -> None:
    """The kernel's own mark is read: only a program that changes its user has it, not every one with the bit."""
    own = shutil.copy(compile_program(TRUE, "brief"), tmp_path / "own")
    other = shutil.copy(own, tmp_path / "other")
    if os.geteuid() == 0:
        os.chown(other, 65534, 65534)
    for path in (own, other):
        path.chmod(0o4755)
    done = run("sh", "-c", f"{own}; {other}; true")
    secure = {process.program: process.secure for process in done.processes[1:]}
    assert secure == {str(own): False, str(other): os.geteuid() == 0}


@pytest.fixture
def tracer() -> Iterator[Tracer]:
    """A tracer of nothing yet, which can be told what a kernel reports."""
    started = Started()
    with started._ours, started._theirs:
        yield Tracer(started, lambda: None, Signs({}))


@pytest.mark.parametrize("thread", [False, True])
def test_an_end_may_be_told_before_the_beginning(tracer: Tracer, thread: bool) -> None:
    """Who is killed before its first instruction has ended before its maker's event is read; a thread is no process."""
    tracer._add(100, 1)
    tracer._ended(5, -9)
    tracer._born(100, 5, thread=thread)
    seen = [(process.pid, process.parent, process.status) for process in tracer.processes]
    assert seen == [(100, 1, None), *([] if thread else [(5, 100, -9)])]
    assert tracer.living == (100,)


def test_a_first_stop_may_be_told_before_the_birth(tracer: Tracer) -> None:
    """A new process is then known by what /proc says of it, a new thread by its process; neither is counted twice."""
    tracer._add(os.getpid(), 1)
    release = threading.Event()
    thread = threading.Thread(target=release.wait)
    thread.start()
    child = subprocess.Popen(["sleep", "60"])
    try:
        for number in (thread.native_id or 0, child.pid):
            tracer._meet(number)
            tracer._ended(number, 0)
            tracer._born(os.getpid(), number, thread=True)
        assert [(process.pid, process.parent) for process in tracer.processes[1:]] == [(child.pid, os.getpid())]
    finally:
        release.set()
        thread.join()
        child.kill()
        child.wait()


def test_the_number_of_a_thread_that_executed_is_free(tracer: Tracer) -> None:
    """The thread has its process's number from then on; its own may soon be a new process's."""
    tracer._add(os.getpid(), 1)
    tracer._threads[7] = os.getpid()
    tracer._executed(os.getpid(), 7)
    assert list(tracer._threads) == [os.getpid()]
    assert len(tracer.processes[0].images) == 1


READS = """
import os, subprocess, sys
from vgpu_harness.run.observer import Signs

def other_user():
    if os.geteuid() == 0:
        os.setresuid(65534, 0, 0)

child = subprocess.Popen(["sleep", "60"], preexec_fn=other_user)
if os.fork() == 0:
    if os.geteuid() == 0:
        os.setresuid(65534, 65534, 65534)
    for pid in (1, child.pid):
        image = Signs({}).read(pid, "/bin/caller")
        print(image.program == "", image.argv != (), image.secure, image.caller, flush=True)
    os._exit(0)
os.wait()
child.kill()
child.wait()
"""


def test_of_what_may_not_be_read_the_rest_is_told() -> None:
    """Another user's program has a command line, and is secure only if it has two users; one's own can be read."""
    done = subprocess.run(
        [sys.executable, "-P", "-c", READS], capture_output=True, text=True, timeout=60, check=False
    )  # fmt: skip
    own = "True True True /bin/caller" if os.geteuid() == 0 else "False True False /bin/caller"
    assert (done.stdout.splitlines(), done.stderr) == (["True True False /bin/caller", own], "")


def test_of_a_process_within_its_execve_nothing_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    """A look from outside may come before the kernel has put environment and auxiliary vector into the new memory."""
    now = auxiliary(os.getpid())
    seen = Signs({}).read(os.getpid(), expected=now)
    assert seen is not None
    assert not seen.static
    assert Signs({}).read(os.getpid(), expected=now[:-1]) is None
    read = Path.read_bytes
    monkeypatch.setattr(Path, "read_bytes", lambda path: bytes(16) if path.name == "auxv" else read(path))
    assert Signs({}).read(os.getpid()) is None
    for start_of_code, is_there in ((b"0", False), (b"4096", True)):
        fields = [b"1", b"(a) 1 (b)", b"S", *[b"1"] * 22, start_of_code, *[b"1"] * 26]
        texts = {"stat": b" ".join(fields)}
        monkeypatch.setattr(Path, "read_bytes", lambda path, texts=texts: texts.get(path.name) or read(path))
        assert (Signs({}).read(os.getpid(), expected=now) is not None) == is_there


def test_children_of_others_are_left_alone(run: Callable[..., Run]) -> None:
    """A child that this process has besides, older or younger than the run, keeps its status for who waits for it."""
    older = subprocess.Popen(["sh", "-c", "sleep 0.1; exit 7"])
    younger: list[subprocess.Popen[bytes]] = []
    starter = threading.Timer(0.05, lambda: younger.append(subprocess.Popen(["sh", "-c", "exit 8"])))
    starter.start()
    done = run("sleep", "0.3")
    starter.join()
    assert (older.wait(timeout=10), younger[0].wait(timeout=10), done.returncode) == (7, 8, 0)
    assert len(done.processes) == 1


def test_runs_in_parallel_see_their_own_processes(run: Callable[..., Run]) -> None:
    """Four runs at once, in four threads: each has its processes, and none of another."""
    done: dict[int, Run] = {}

    def one(number: int) -> None:
        script = f"for i in 1 2 3 4 5 6 7 8 9; do /bin/echo {number}; done; exit {number}"
        done[number] = run("sh", "-c", script, number=number)

    threads = [threading.Thread(target=one, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for number, result in done.items():
        assert result.returncode == number
        assert second_words(result) == [str(number)] * 9
        assert len(result.processes) == 10
    assert sorted(done) == [0, 1, 2, 3]


def test_nothing_of_the_observer_is_left(run: Callable[..., Run]) -> None:
    """No descriptor, no thread, no child of this process is more than before."""

    def left() -> tuple[int, int, list[int]]:
        children = [child.pid for child in psutil.Process().children()]
        return len(list(Path("/proc/self/fd").iterdir())), threading.active_count(), children

    run("true")
    before = left()
    run("sh", "-c", "true & true & wait", number=1)
    run("true", number=2, observe="sampled")
    deadline = time.monotonic() + 5
    while left() != before and time.monotonic() < deadline:
        time.sleep(0.01)
    assert left() == before


def _without_exec() -> Any:
    from vgpu_harness.host import Host

    return Host(delivery={"preload": ["syscall"], "links": []})  # type: ignore[arg-type]


def test_a_process_comes_back_from_json(run: Callable[..., Run]) -> None:
    """What is written of a process is all of it."""
    for process in run("sh", "-c", "env -i sleep 0; exit 2", host=_without_exec()).processes:
        assert Process.from_json(process.to_json()) == process
