"""Harm that no simple program shows: each kind has a step that shows it; and what is no library's harm blames none."""

from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest
from support.preflight import AT_START, NO_WRITE, chosen, open_folder, plain_once, put

from vgpu_harness.preflight import check, judge
from vgpu_harness.preflight.check import BOOT, preflight
from vgpu_harness.preflight.programs import Program
from vgpu_harness.preflight.report import Report, render
from vgpu_harness.preflight.trial import PRELOAD_FILE, Outcome, Setting, try_programs

STATES = {
    "prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)": "NoNewPrivs:\t1",
    'prctl(PR_SET_NAME, "shim")': "Name:\tshim",
    "umask(077)": "Umask:\t0077",
    "signal(SIGPIPE, SIG_IGN)": "SigIgn:\t0000000000001000",
    "sigset_t some; sigemptyset(&some); sigaddset(&some, SIGUSR1); sigprocmask(SIG_BLOCK, &some, NULL)": (
        "SigBlk:\t0000000000000200"
    ),
    'setenv("SHIM", "1", 1)': "SHIM=1",
    'fcntl(open("/dev/null", O_RDONLY | O_CLOEXEC), F_DUPFD, 200)': "1 descriptors",
    "if (nice(1) < 0) { abort(); }": "2",
    'if (chdir("/usr") != 0) { abort(); }': "/usr",
}
"""What a constructor may change, and the line that the step "state" writes then."""

PLACES = """
    if (fcntl(1, F_GETFD) < 0) { abort(); }
    if (access("/proc/self/maps", F_OK) != 0) { abort(); }
    if (strcmp(program_invocation_short_name, "ip") == 0) { abort(); }
    if (isatty(0)) { abort(); }
"""

OPEN_WITHOUT_MODE = """#include <fcntl.h>
#include <sys/syscall.h>
#include <unistd.h>
int open(const char *path, int flags, ...);
int open(const char *path, int flags, ...)
{
    return (int)syscall(SYS_openat, AT_FDCWD, path, flags, 0);
}
"""

LOCKED = """#include <fcntl.h>
#include <pthread.h>
#include <sys/syscall.h>
#include <unistd.h>
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
int open64(const char *path, int flags, ...);
int open64(const char *path, int flags, ...)
{
    pthread_mutex_lock(&lock);
    int answer = (int)syscall(SYS_openat, AT_FDCWD, path, flags, 0600);
    pthread_mutex_unlock(&lock);
    return answer;
}
"""


@pytest.fixture
def folder() -> Iterator[Path]:
    """Where every user may read a library."""
    with open_folder() as place:
        yield place


def tried(library: Path, programs: tuple[Program, ...], timeout: float = 5.0) -> Report:
    """A preflight by a few programs, without systemd."""
    return preflight([library], without=[BOOT], programs=programs, timeout=timeout)


def test_what_a_process_hands_on_is_seen(folder: Path) -> None:
    """Each thing that a constructor can change for the programs that a program starts is a line of the output."""
    library = put(folder, "libstate.so", AT_START % "".join(f"{{ {statement}; }}" for statement in STATES))
    programs = chosen("start", "state")
    setting = Setting(keep=(str(folder),))
    plain = plain_once(setting, programs, 5.0)["state"]
    found = try_programs(setting.with_libraries([str(library)]), programs, 5.0)["state"]
    trouble = judge.trouble(programs[1], [plain, plain], found, [str(library)])
    assert trouble is not None
    assert trouble.kind == "state"
    assert [line for line in STATES.values() if line not in found.stdout.splitlines()] == []
    assert [line for line in STATES.values() if line in plain.stdout.splitlines()] == []


@pytest.mark.parametrize(
    ("source", "step", "evidence"),
    [
        (AT_START % "alarm(3600);", "perl", "+3600"),
        (OPEN_WITHOUT_MODE, "files", "+sorted 4 ---------- 1 root"),
        (LOCKED, "python", "with: was ended after "),
    ],
    ids=["alarm", "mode", "lock"],
)  # fmt: skip
def test_each_step_shows_its_kind_of_harm(folder: Path, source: str, step: str, evidence: str) -> None:
    """An alarm, a new file's mode, a lock that is held over a wait."""
    report = tried(put(folder, "libbad.so", source), chosen("start", step), timeout=2.0)
    assert [each.name for each in report.failed] == [step]
    assert any(evidence in line for line in report.failed[0].evidence), report.failed[0].evidence


def test_places_where_something_is_missing_or_new_are_tried(folder: Path) -> None:
    """No stdout, no /proc, a terminal, a tool for repairs: a constructor that crashes in one of them is found there."""
    steps = {"closed output", "no /proc, no /dev", "terminal", "tools"}
    report = tried(put(folder, "libplaces.so", AT_START % PLACES), chosen("start", "state", *steps))
    assert {step.name for step in report.failed} == steps
    assert {step.name for step in report.steps if step.verdict == "passed"} == {"readable", "start", "state"}


def test_files_that_are_left_are_told_and_changed_ones_are_harm(folder: Path) -> None:
    """A log in /tmp is told with the verdict; a file of the machine that is changed or gone is not safe."""
    log = 'fclose(fopen("/tmp/shim.log", "a"));'
    report = tried(put(folder, "liblog.so", AT_START % log), chosen("start", "changes"))
    assert report.verdict == "safe"
    assert "noticed   changes (as deployed): files were left: /tmp/shim.log\n" in render(report)
    harm = 'unlink("/etc/passwd"); fclose(fopen("/etc/shim.conf", "w"));'
    report = tried(put(folder, "libharm.so", AT_START % (log + harm)), chosen("start", "changes"))
    (found,) = report.failed
    assert set(found.evidence) == {"/etc/passwd was removed", "/etc/shim.conf was written"}
    assert "noticed" not in render(tried(put(folder, "libempty.so", "extern int nothing;"), chosen("start", "changes")))


def test_after_three_that_hang_no_other_is_tried(folder: Path) -> None:
    """Each program that hangs takes its whole time: after three, the others are told as not run."""
    source = AT_START % 'if (strcmp(program_invocation_short_name, "cat") == 0) { for (;;) { pause(); } }'
    programs = (*chosen("start", "loaded", "cat", "shell"), Program("last", ("true",)))
    report = tried(put(folder, "libhang.so", source), programs, timeout=0.3)
    assert [(step.name, step.reason) for step in report.failed] == [
        ("loaded", "it hangs"), ("cat", "it hangs"), ("shell", "it hangs"),
    ]  # fmt: skip
    assert [(step.name, step.reason) for step in report.not_run] == [
        ("last", "3 programs hang with the libraries (as deployed)")
    ]


def test_a_machine_that_changes_meanwhile_blames_nobody(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What a program does differently without the libraries, too, since they were tried, is the machine's doing."""
    fact, turns = folder / "fact", []

    def changing(setting: Setting, programs: Sequence[Program], timeout: float) -> dict[str, Outcome]:
        turns.append(PRELOAD_FILE in setting.files)
        fact.write_text("before\n" if len(turns) <= 2 else "after\n")
        return try_programs(setting, programs, timeout)

    monkeypatch.setattr(check, "try_programs", changing)
    programs = (*chosen("start"), Program("fact", ("cat", str(fact))))
    empty = put(folder, "libempty.so", "extern int nothing;")
    report = tried(empty, programs)
    assert (report.verdict, len(report.steps)) == ("safe", 3)
    assert turns == [False, False, True, False, False, False, True]
    turns.clear()
    report = tried(put(folder, "libwrite.so", NO_WRITE), programs)
    assert [step.name for step in report.failed] == ["fact"]
