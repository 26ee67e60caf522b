"""What a library does to its caller is a result, told as what it is, and the executor outlives it."""

import contextlib
import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from support.compile import compile_library

from vgpu_harness.fuzz import Call, Ended, Executor, Memory, TextAt
from vgpu_harness.fuzz.outcome import Outcome
from vgpu_harness.host import Delivery, Host

# A libcuda whose cuInit misbehaves as its flags say; 0 is sound.
LYING = r"""
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <unistd.h>
enum { SOUND, CRASH, HANG, SPIN, STDOUT, STDERR, ERRNO, OPEN, CLOSE, CLOSE_ALL, EXIT, ABORT, PARENT, FORK, DAEMON,
       USE_UP, HIGH, FLOOD, AT_EXIT, STOP, LOWER, SEEK, DAEMON_PARENT };
static int armed;
static char memory[4096];
static int with_limit(rlim_t soft, int fd) {
    struct rlimit limit;
    getrlimit(RLIMIT_NOFILE, &limit);
    limit.rlim_cur = soft;
    return setrlimit(RLIMIT_NOFILE, &limit) || (fd && dup2(0, fd) != fd);
}
int cuInit(unsigned int flags) {
    pid_t child;
    switch (flags) {
    case CRASH: *(volatile int *)8 = 1; return 0;
    case HANG: for (;;) pause();
    case SPIN: for (;;) errno = errno;
    case STDOUT: printf("hello"); return 0;
    case STDERR: fprintf(stderr, "cuda: %d\n", 7); return 0;
    case ERRNO: errno = ENOENT; return 0;
    case OPEN: return open("/dev/null", O_RDONLY) < 0;
    case CLOSE: return close(1);
    case CLOSE_ALL: return close_range(0, ~0u, 0);
    case EXIT: exit(3);
    case ABORT: abort();
    case PARENT: kill(getppid(), SIGKILL); pause(); return 0;
    case FORK: child = fork(); if (child > 0) usleep(50000); return child < 0;
    case DAEMON:
        child = fork();
        if (child == 0) { setsid(); signal(SIGTERM, SIG_IGN); for (;;) pause(); }
        return child;
    case USE_UP: while (dup(0) >= 0) {} errno = 7077; return 0;
    case HIGH: return with_limit(600, 500);
    case FLOOD: for (;;) if (write(1, memory, sizeof(memory)) < 0) return 1;
    case AT_EXIT: armed = 1; return 0;
    case STOP: raise(SIGSTOP); return 0;
    case LOWER: return with_limit(2, 0);
    case SEEK: return fcntl(1, F_SETFL, 0) || lseek(1, 1000, SEEK_SET) != 1000;
    case DAEMON_PARENT: return cuInit(DAEMON) < 0 || cuInit(PARENT);
    }
    return 0;
}
int cuDeviceGetCount(int *count) { count[1] = 0; return 0; }
int cuDeviceGet(int *device, int ordinal) { device[-1] = ordinal; return 0; }
int cuGetErrorName(int error, const char **text) { *text = (const char *)(long)error; return 0; }
int cuCtxSynchronize(void) { errno = EINTR; printf("two"); open("/dev/zero", O_RDONLY); return 0; }
static void __attribute__((destructor)) leave(void) { if (armed) *(volatile int *)8 = 1; }
"""
DEFECTS = (
    "sound", "crash", "hang", "spin", "stdout", "stderr", "errno", "open", "close", "close_all", "exit", "abort",
    "parent", "fork", "daemon", "use_up", "high", "flood", "at_exit", "stop", "lower", "seek", "daemon_parent",
)  # fmt: skip
"""The flags by name."""


@pytest.fixture(scope="module")
def lying() -> Iterator[Executor]:
    """The executor with that library."""
    library = compile_library(LYING, "libcuda.so.1")
    with Executor(Host(delivery=Delivery(preload=(str(library),)))) as running:
        yield running


def asked_for(defect: str, executor: Executor, timeout: float = 10.0) -> Outcome:
    """The outcome of a sound call and the defect's."""
    return executor.run([Call("cuInit", (0,)), Call("cuInit", (DEFECTS.index(defect),))], timeout)


SENTENCES = {
    "crash": "SIGSEGV in call 1, cuInit",
    "stdout": "wrote to stdout: b'hello'",
    "stderr": "wrote to stderr: b'cuda: 7\\n'",
    "errno": "errno was changed to ENOENT in call 1, cuInit",
    "open": "descriptor 3 was left open, to /dev/null",
    "close": "descriptor 1 was closed",
    "exit": "the process was ended with status 3 in call 1, cuInit",
    "abort": "SIGABRT in call 1, cuInit",
    "parent": "the executor itself was ended in call 0, cuInit",
    "fork": "1 left behind",
    "daemon": "1 left behind",
    "high": "descriptor 500 was left open, to /dev/null",
}
KINDS = {
    "crash": "crash", "stdout": "output", "stderr": "output", "errno": "errno", "open": "descriptor",
    "close": "descriptor", "exit": "exit", "abort": "crash", "parent": "lost", "fork": "process", "daemon": "process",
    "high": "descriptor",
}  # fmt: skip


@pytest.mark.parametrize("defect", SENTENCES)
def test_a_defect_is_told_as_what_it_is(defect: str, lying: Executor) -> None:
    """One sentence for one defect, of the right kind; and the next sequence knows nothing of it."""
    outcome = asked_for(defect, lying)
    assert [(problem.kind, problem.text) for problem in outcome.problems] == [(KINDS[defect], SENTENCES[defect])]
    assert asked_for("sound", lying).problems == ()


@pytest.mark.parametrize("defect", ["hang", "spin", "stop"])
def test_a_hang_is_ended_when_its_time_is_over(defect: str, lying: Executor) -> None:
    """Waiting, computing or stopped: told as a hang in its call, not before its time, and the process is gone."""
    started = time.monotonic()
    outcome = asked_for(defect, lying, timeout=0.3)
    assert time.monotonic() - started >= 0.3
    assert [problem.text for problem in outcome.problems] == ["not done in time in call 1, cuInit"]
    assert [result.code for result in outcome.results] == [0]
    assert Path(f"/proc/{lying.pid}/task/{lying.pid}/children").read_text() == ""
    assert asked_for("sound", lying).problems == ()


def test_the_results_before_a_crash_are_there(lying: Executor) -> None:
    """Each call that returned is told, the one that crashed and those behind it are not."""
    calls = [Call("cuInit", (0,))] * 3 + [Call("cuInit", (1,)), Call("cuInit", (0,))]
    outcome = lying.run(calls)
    assert (outcome.ended, len(outcome.results), outcome.call) == (Ended.CRASH, 3, 3)


def test_a_library_may_take_every_descriptor(lying: Executor) -> None:
    """All three streams are told as closed, and the calls go on and are answered, in a session too."""
    outcome = asked_for("close_all", lying)
    assert [problem.text for problem in outcome.problems] == [f"descriptor {n} was closed" for n in range(3)]
    assert [result.code for result in outcome.results] == [0, 0]
    with lying.session() as session:
        for _ in range(2):
            assert session.call(Call("cuInit", (DEFECTS.index("close_all"),))).ended is Ended.STAYS
    assert session.outcome.ended is Ended.LEFT


def test_a_library_may_use_up_all_descriptors(lying: Executor) -> None:
    """The first 64 of them are told."""
    outcome = asked_for("use_up", lying)
    assert [change.number for change in outcome.descriptors] == list(range(3, 67))
    assert {problem.kind for problem in outcome.problems} == {"descriptor"}


def test_a_lowered_limit_hides_nothing(lying: Executor) -> None:
    """A library that lowers the limit of descriptors is not taken for one that closes them."""
    calls = [Call("cuInit", (DEFECTS.index("open"),)), Call("cuInit", (DEFECTS.index("lower"),))]
    assert [problem.text for problem in lying.run(calls).problems] == ["descriptor 3 was left open, to /dev/null"]


def test_a_library_that_forks_does_not_do_the_example_twice(lying: Executor) -> None:
    """The call returns in two processes; the calls behind it are done in one."""
    outcome = lying.run([Call("cuInit", (DEFECTS.index(defect),)) for defect in ("fork", "stdout")])
    assert outcome.stdout == b"hello"
    assert [problem.kind for problem in outcome.problems] == ["output", "process"]


def test_a_daemon_does_not_outlive_its_example(lying: Executor) -> None:
    """A process in a session of its own that ignores SIGTERM is gone when the outcome is there."""
    daemon = asked_for("daemon", lying).results[1].code
    assert daemon > 0
    with pytest.raises(ProcessLookupError):
        os.kill(daemon, 0)


def test_a_daemon_does_not_outlive_an_executor_that_was_killed() -> None:
    """A library that starts one and then kills the executor: nobody of them is left when the outcome is there."""
    library = compile_library(LYING, "libcuda.so.1")
    with Executor(Host(delivery=Delivery(preload=(str(library),)))) as running:
        folder = os.fsencode(Path(f"/proc/{running.pid}/cwd").readlink())
        assert asked_for("daemon_parent", running).ended is Ended.LOST
        mine = [int(place.name) for place in Path("/proc").glob("[0-9]*") if folder in environment(place)]
        assert mine == [running.pid]


def environment(place: Path) -> bytes:
    """The environment that a process was started with."""
    with contextlib.suppress(OSError):
        return (place / "environ").read_bytes()
    return b""


def test_a_crowd_is_ended_and_counted() -> None:
    """More processes than one read of /proc names; each in a session of its own."""
    crowd = """
        #include <unistd.h>
        int cuInit(unsigned int flags) {
            for (unsigned int i = 0; i < flags; i++)
                if (fork() == 0) { setsid(); for (;;) pause(); }
            return 0;
        }
    """
    library = compile_library(crowd, "libcuda.so.1")
    with Executor(Host(delivery=Delivery(preload=(str(library),)))) as running:
        assert running.run([Call("cuInit", (900,))]).processes == 900
        assert Path(f"/proc/{running.pid}/task/{running.pid}/children").read_text() == ""


def test_what_is_done_to_a_stream_ends_with_its_sequence(lying: Executor) -> None:
    """A library that moves in stdout and takes its flags away: what the next one writes stands alone."""
    assert asked_for("seek", lying).problems == ()
    assert asked_for("stdout", lying).stdout == b"hello"


def test_after_an_interrupt_answers_belong_to_their_questions(lying: Executor) -> None:
    """Ctrl-C while a sequence runs: its outcome, which comes later, is not the next one's."""

    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGALRM, interrupt)
    try:
        signal.setitimer(signal.ITIMER_REAL, 0.2)
        with pytest.raises(KeyboardInterrupt):
            asked_for("hang", lying, timeout=0.5)
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
    assert asked_for("stdout", lying).stdout == b"hello"


def test_output_without_end_is_cut(lying: Executor) -> None:
    """A library that writes for ever is ended by SIGXFSZ; the start of what it wrote is kept, the rest counted."""
    outcome = asked_for("flood", lying)
    assert (outcome.ended, outcome.status) == (Ended.CRASH, 25)
    assert (len(outcome.stdout), outcome.not_kept) == (4096, (16 << 20) - 4096)
    assert asked_for("sound", lying).problems == ()


def test_a_destructor_is_run_where_that_is_asked(lying: Executor) -> None:
    """A library that crashes as its process leaves does so by exit(), after the last call, and not by _exit()."""
    calls = [Call("cuInit", (DEFECTS.index("at_exit"),))]
    assert lying.run(calls).problems == ()
    outcome = lying.run(calls, leave="exit")
    assert [(problem.call, problem.text) for problem in outcome.problems] == [(None, "SIGSEGV after the last call")]


def test_bytes_beyond_the_memory_are_told(lying: Executor) -> None:
    """Written behind the memory, and before it: each side by the number of the argument."""
    behind = lying.run([Call("cuDeviceGetCount", (Memory(4),))])
    before = lying.run([Call("cuDeviceGet", (Memory(4), 7))])
    assert [problem.text for problem in behind.problems] == [
        "written behind the memory of argument 0 in call 0, cuDeviceGetCount"
    ]
    assert [problem.text for problem in before.problems] == [
        "written before the memory of argument 0 in call 0, cuDeviceGet"
    ]
    assert lying.run([Call("cuDeviceGetCount", (Memory(8),))]).problems == ()


def test_a_pointer_to_nowhere_is_a_crash_of_its_call(lying: Executor) -> None:
    """A text that a library points to is read in the child: what cannot be read ends that, in that call."""
    outcome = lying.run([Call("cuInit", (0,)), Call("cuGetErrorName", (8, TextAt()))])
    assert [problem.text for problem in outcome.problems] == ["SIGSEGV in call 1, cuGetErrorName"]


def test_several_defects_are_all_told(lying: Executor) -> None:
    """A call with three of them is told three times."""
    outcome = lying.run([Call("cuCtxSynchronize")])
    assert [problem.kind for problem in outcome.problems] == ["errno", "output", "descriptor"]


@pytest.mark.parametrize("defect", ["crash", "parent", "exit", "hang"])
def test_a_defect_in_a_batch_is_the_outcome_of_its_sequence_alone(defect: str, lying: Executor) -> None:
    """The sequences before and behind it are answered, each in its place, even where the executor was replaced."""
    batch = [[Call("cuInit", (0,))] * (i + 1) for i in range(9)]
    batch[4] = [Call("cuInit", (DEFECTS.index(defect),))]
    outcomes = list(lying.run_many(batch, timeout=0.5 if defect == "hang" else 10.0))
    assert [bool(outcome.problems) for outcome in outcomes] == [i == 4 for i in range(9)]
    assert [len(outcome.results) for outcome in outcomes] == [1, 2, 3, 4, 0, 6, 7, 8, 9]


@pytest.mark.parametrize("defect", ["crash", "parent", "exit", "hang"])
def test_a_session_ends_with_its_process(defect: str, lying: Executor) -> None:
    """In a session too; afterwards another one can be opened."""
    with lying.session(timeout=0.5 if defect == "hang" else 10.0) as session:
        session.call(Call("cuInit", (0,)))
        outcome = session.call(Call("cuInit", (DEFECTS.index(defect),)))
        assert outcome.ended not in {Ended.STAYS, Ended.LEFT}
        assert outcome.call == 1 or defect == "parent"
    with lying.session() as session:
        assert session.call(Call("cuInit", (0,))).ended is Ended.STAYS
    assert session.outcome.problems == ()


@pytest.mark.parametrize("leave", ["_exit", "exit"])
def test_the_shims_do_none_of_it(leave: str) -> None:
    """Control: the same calls of the real shim are refused, and nothing is wrong with any."""
    with Executor() as sound:
        outcomes = list(sound.run_many([[Call("cuInit", (flags,))] for flags in range(len(DEFECTS))], leave=leave))
    assert [outcome.problems for outcome in outcomes] == [()] * len(DEFECTS)
    assert [outcome.results[0].code for outcome in outcomes] == [0] + [1] * (len(DEFECTS) - 1)


def test_nothing_is_left_when_the_executor_is_closed() -> None:
    """Its process is gone, and its folder, even with a session open."""
    with Executor() as executor:
        pid = executor.pid
        folder = Path(f"/proc/{pid}/cwd").readlink()
        session = executor.session()
        session.call(Call("cuInit", (0,)))
        child = int(Path(f"/proc/{pid}/task/{pid}/children").read_text())
    for gone in (pid, child):
        with pytest.raises(ProcessLookupError):
            os.kill(gone, 0)
    assert not folder.exists()
