"""Preflight on libraries that are bad on purpose: each is not safe, for the right reason; ours and an empty one are."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from support.preflight import AT_START, FEW, NO_WRITE, chosen, open_folder, plain_once, put

from vgpu_harness.host import Host
from vgpu_harness.preflight import check
from vgpu_harness.preflight.check import BOOT, preflight
from vgpu_harness.preflight.programs import Program
from vgpu_harness.preflight.report import Report
from vgpu_harness.shims import shim_path

OPEN = """#include <errno.h>
#include <string.h>
int open(const char *path, int flags, ...);
int open(const char *path, int flags, ...)
{
    (void)flags;
    errno = strstr(path, "passwd") != NULL ? EACCES : ENOENT;
    return -1;
}
"""


@pytest.fixture
def folder() -> Iterator[Path]:
    """Where every user may read a library."""
    with open_folder() as place:
        yield place


@pytest.fixture(autouse=True)
def _plain_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Speed alone: what programs do without libraries is the same in all tests."""
    monkeypatch.setattr(check, "try_programs", plain_once)


def tried(*libraries: Path, programs: tuple[Program, ...] = FEW, timeout: float = 5.0) -> Report:
    """A preflight by a few programs, without systemd."""
    return preflight(libraries, without=[BOOT], programs=programs, timeout=timeout)


@pytest.mark.parametrize(
    ("statement", "step", "reason", "evidence"),
    [
        (
            "volatile int *volatile none = NULL; *none = 1;",
            "start",
            "it crashes: killed by SIGSEGV",
            "with: killed by SIGSEGV",
        ),
        ("_exit(3);", "start", "its end has changed: exit status 3", "with: exit status 3"),
        ('fputs("shim loaded\\n", stderr);', "start", "stderr is not what it is", "+shim loaded"),
        ('puts("shim loaded");', "cat", "stdout is not what it is", "+shim loaded"),
        ("kill(-1, SIGKILL); kill(getpid(), SIGKILL);", "start", "it crashes: killed by SIGKILL", "with: killed by"),
        ("close(1);", "cat", "its end has changed: exit status 1", "stderr: "),
        ('if (system("true") != 0) { _exit(9); }', "start", "processes are started without end", "there were"),
    ],
    ids=["segv", "exit", "stderr", "stdout", "kill", "close", "system"],
)
def test_a_bad_constructor_is_not_safe(folder: Path, statement: str, step: str, reason: str, evidence: str) -> None:
    """A constructor that harms programs is named, with the first step that shows it, what was seen, and a remedy."""
    library = put(folder, "libbad.so", AT_START % statement)
    report = tried(library)
    assert report.verdict == "not safe"
    found = next(each for each in report.failed if each.name == step)
    assert found.reason.startswith(reason)
    assert any(evidence in line for line in found.evidence)
    assert found.libraries == (str(library),)
    assert found.remedy


def test_a_hang_is_ended_and_no_other_program_is_tried(folder: Path) -> None:
    """A constructor that never comes back is ended at the limit; what was not tried then is not called passed."""
    library = put(folder, "libhang.so", AT_START % "for (;;) { pause(); }")
    report = tried(library, timeout=0.5)
    assert report.verdict == "not safe"
    assert [(step.name, step.reason) for step in report.failed] == [("start", "it hangs")]
    assert {step.name for step in report.not_run} == {"loaded", "cat", "shell"}
    assert all("no program starts" in step.reason for step in report.not_run)


def test_a_call_that_is_broken_is_not_safe(folder: Path) -> None:
    """A library that starts well, and refuses files to everybody, is found by the programs that open files."""
    report = tried(put(folder, "libopen.so", OPEN))
    assert report.verdict == "not safe"
    assert "start" not in {step.name for step in report.failed}
    (found,) = [step for step in report.failed if step.name == "cat"]
    assert any("/etc/passwd: Permission denied" in line for line in found.evidence)


def test_lost_output_is_not_safe(folder: Path) -> None:
    """A library that lets output vanish, with every exit status as it was, is found by the missing lines."""
    report = tried(put(folder, "libwrite.so", NO_WRITE))
    (found,) = [step for step in report.failed if step.name == "cat"]
    assert found.reason.startswith("stdout is not what it is")
    assert any(line.startswith("-root:") for line in found.evidence)


def test_a_library_that_cannot_be_loaded_is_named_by_the_loader(folder: Path) -> None:
    """A missing dependency, and a file for another kind of machine, are told with ld.so's own reason."""
    needed = put(folder, "libneeded.so", "int needed(void); int needed(void) { return 1; }")
    source = "int needed(void); int user(void); int user(void) { return needed(); }"
    library = put(folder, "libuser.so", source, "-Wl,--no-as-needed", str(needed))
    needed.unlink()
    (found,) = [step for step in tried(library).failed if step.name == "start"]
    assert (found.reason, found.libraries) == ("the loader refuses to start it", (str(library),))
    assert "libneeded.so: cannot open shared object file" in "\n".join(found.evidence)

    data = bytearray(put(folder, "libempty.so", "extern int nothing;").read_bytes())
    data[4] = 1  # EI_CLASS: ELFCLASS32
    (folder / "libempty.so").write_bytes(data)
    (found,) = [step for step in tried(folder / "libempty.so").failed if step.name == "start"]
    assert "wrong ELF class: ELFCLASS32" in found.evidence[0]


def test_the_one_that_does_it_is_named(folder: Path) -> None:
    """Of several libraries, only the one that does it alone is named."""
    good = put(folder, "libgood.so", "extern int nothing;")
    bad = put(folder, "libbad.so", AT_START % "abort();")
    report = tried(good, bad, shim_path("exec"))
    assert {path for step in report.failed for path in step.libraries} == {str(bad)}


def test_those_that_do_it_only_together_are_all_named(folder: Path) -> None:
    """Where no library does it alone, all are named."""
    first = put(folder, "libfirst.so", "int first(void); int first(void) { return 1; }")
    source = "#include <stdlib.h>\nextern int first(void) __attribute__((weak));\n" + AT_START
    second = put(folder, "libsecond.so", source % "if (first) { abort(); }")
    assert tried(second).verdict == "safe"
    (found, *_) = tried(first, second).failed
    assert found.libraries == (str(first), str(second))


def test_one_that_not_every_user_may_read_is_not_safe(folder: Path) -> None:
    """A library in a folder that only its owner may search is told before any program is."""
    library = put(folder, "libgood.so", "extern int nothing;")
    assert tried(library).verdict == "safe"
    folder.chmod(0o700)
    (found,) = tried(library).failed
    assert (found.name, found.libraries) == ("readable", (str(library),))
    assert found.evidence == (f"{folder}: mode 700",)


def test_an_empty_library_is_safe_and_is_seen(folder: Path) -> None:
    """The control: the same programs pass with a library that does nothing, each having been run."""
    report = tried(put(folder, "libempty.so", "extern int nothing;"))
    assert report.verdict == "safe"
    assert {(step.name, step.verdict) for step in report.steps} == {
        ("readable", "passed"),
        *((program.name, "passed") for program in FEW),
    }


HIDES = """#include <fcntl.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>
int open(const char *path, int flags, ...);
int open(const char *path, int flags, ...)
{
    return (int)syscall(SYS_openat, AT_FDCWD, strstr(path, "maps") ? "/proc/version" : path, flags, 0600);
}
"""


def test_a_library_that_is_not_seen_in_memory_does_not_pass(folder: Path) -> None:
    """A library that no memory map shows is told as not loaded: silence is not safety."""
    library = put(folder, "libhides.so", HIDES)
    (found,) = tried(library).failed
    assert (found.name, found.libraries) == ("loaded", (str(library),))


def test_a_library_may_be_named_by_a_link(folder: Path) -> None:
    """A link, as /usr/lib64/libx.so.1 mostly is one, and a link in a linked folder, stand for what they lead to."""
    (folder / "real").mkdir(mode=0o755)
    put(folder / "real", "libempty.so", "extern int nothing;")
    (folder / "libempty.so.1").symlink_to("real/libempty.so")
    (folder / "linked").symlink_to(folder / "real")
    (folder / "real" / "libempty.so.2").symlink_to("libempty.so")
    for path in (folder / "libempty.so.1", folder / "linked" / "libempty.so.2"):
        report = tried(path, programs=chosen("start", "loaded"))
        assert (report.verdict, [step.name for step in report.steps]) == ("safe", ["readable", "start", "loaded"])
    (folder / "real").chmod(0o700)
    (found,) = tried(folder / "libempty.so.1", programs=chosen("start")).failed
    assert (found.name, found.evidence) == ("readable", (f"{folder}/real: mode 700",))


def test_our_shims_are_safe_under_every_condition() -> None:
    """The four shims pass as deployed, with a host image, with a missing and a refused one, and with a bad trace."""
    report = tried(*(shim_path(name) for name in Host().delivery.preload))
    assert report.failed == []
    assert report.verdict == "safe"
    assert {step.condition for step in report.steps} == {
        "as deployed", "host image and trace", "host image missing", "host image refused", "trace full",
        "trace missing",
    }  # fmt: skip
