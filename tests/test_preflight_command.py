"""The command, and what it says: verdicts, exit status, text and JSON."""

import errno
import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from support.compile import compile_library
from support.preflight import plain_once

from vgpu_harness import cli
from vgpu_harness.preflight import check
from vgpu_harness.preflight.check import BOOT, STEPS
from vgpu_harness.preflight.report import Report, Step, render

QUICK = tuple(word for name in STEPS if name not in {"start", "loaded", "readable"} for word in ("--without", name))
"""Leaves out all but three steps."""

NO_NAMESPACES = 'echo 0 >/proc/sys/user/max_user_namespaces && exec "$@"'


@pytest.fixture
def library() -> Iterator[Path]:
    """A library that does nothing, where every user may read it."""
    with tempfile.TemporaryDirectory(prefix="vgpu-libraries-") as name:
        Path(name).chmod(0o755)
        place = Path(name, "libempty.so")
        shutil.copy(compile_library("extern int nothing;", place.name), place)
        place.chmod(0o755)
        yield place


def called(*words: str, monkeypatch: pytest.MonkeyPatch) -> Result:
    """The command, through the group: what it raises becomes a message and an exit status there."""
    monkeypatch.setattr(check, "try_programs", plain_once)
    monkeypatch.setattr(cli, "COMMANDS", (*cli.COMMANDS, "preflight"))
    return CliRunner().invoke(cli.vgpu_harness, ["preflight", *words])


def test_safe_is_0_and_says_what_was_left_out(library: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A library that passes is safe; what the caller did not want to be tried stands in the verdict."""
    result = called(str(library), *QUICK, monkeypatch=monkeypatch)
    last = result.output.splitlines()[-1]
    assert (result.exit_code, result.output.splitlines()[0]) == (0, "3 passed, 0 failed, 0 not run")
    assert last.startswith("safe to deploy (not tried: systemd, cat, ls, ")


def test_not_safe_is_1_with_library_program_step_evidence_and_remedy(
    library: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A library that cannot be loaded is named, in the text and in the JSON."""
    data = library.read_bytes()
    library.write_bytes(data[:4] + b"\1" + data[5:])
    text = called(str(library), *QUICK, monkeypatch=monkeypatch)
    assert text.exit_code == 1
    assert "failed    start, loaded (as deployed): a library cannot be loaded\n" in text.output
    assert f"library:  {library}\n" in text.output
    assert "evidence: ld.so: " in text.output
    assert "remedy:   give a library for this machine" in text.output
    assert text.output.endswith(f"not safe to deploy: {library}\n")
    answer = json.loads(called(str(library), *QUICK, "--json", monkeypatch=monkeypatch).output)
    assert (answer["schema"], answer["verdict"], answer["libraries"]) == (1, "not safe", [str(library)])
    (step,) = [step for step in answer["steps"] if step["step"] == "start"]
    assert (step["verdict"], step["libraries"]) == ("failed", [str(library)])
    assert "wrong ELF class" in step["evidence"][0]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["/nonexistent/lib.so"], "/nonexistent/lib.so: is not a file; name a shared library"),
        (["/tmp/a b.so"], "ld.so splits /etc/ld.so.preload at white space and colons"),
        (["/usr/$LIB/a.so"], "ld.so takes $ for the start of $LIB, $ORIGIN or $PLATFORM; name the file itself"),
        (["/usr/lib"], "/usr/lib: is not a file; name a shared library"),
        (["LIB", "--without", "nothing"], "there is no step 'nothing'; the steps are: readable, systemd, start"),
        (["LIB", "--host", "/nonexistent"], "/nonexistent"),
        ([], "name libraries, or give --shims"),
    ],
)
def test_wrong_usage_is_2(library: Path, words: list[str], message: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is wrong before the start is told with its value and a remedy, and nothing is tried."""
    result = called(*(str(library) if word == "LIB" else word for word in words), monkeypatch=monkeypatch)
    assert result.exit_code == 2
    assert message in result.output


def test_no_room_is_2_and_told_with_a_remedy(library: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A full file system under TMPDIR is a message, and no traceback."""

    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(check, "conditions", full)
    result = called(str(library), *QUICK, monkeypatch=monkeypatch)
    assert result.exit_code == 2
    assert "no place for images and traces: No space left on device; make room there" in result.output


def test_a_machine_without_namespaces_is_2_and_told_what_is_needed(library: Path) -> None:
    """Where the kernel allows no user namespace, preflight says so, and never that a library is safe."""
    words = "from vgpu_harness import cli; cli.COMMANDS += ('preflight',); cli.main()"
    command = [sys.executable, "-P", "-c", words, "preflight", str(library), *QUICK]
    inside = ["unshare", "--user", "--map-root-user", "sh", "-c", NO_NAMESPACES, "sh", *command]
    done = subprocess.run(inside, capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stdout) == (2, "")
    assert "no enclosure can be made: make a user namespace: No space left on device; allow namespaces" in done.stderr
    assert "preflight needs root, or user namespaces" in done.stderr
    control = subprocess.run(
        [*inside[:4], "-c", 'exec "$@"', "sh", *command], capture_output=True, timeout=60, check=False
    )
    assert control.returncode == 0, control.stderr


def step(name: str, verdict: str, *, vital: bool = True) -> Step:
    """A step of a report."""
    return Step(name, "as deployed", verdict, f"reason of {name}", libraries=("/a.so",), vital=vital)  # type: ignore[arg-type]


def test_what_was_not_run_is_never_safe() -> None:
    """A vital step that was not run makes the verdict "not known", a failed one "not safe" whatever else there is."""
    passed, missing = step("start", "passed"), step(BOOT, "not run")
    assert Report(("/a.so",), (passed,)).verdict == "safe"
    assert Report(("/a.so",), (passed, missing)).verdict == "not known"
    assert Report(("/a.so",), (passed, missing, step("cat", "failed"))).verdict == "not safe"
    assert Report(("/a.so",), (passed, step("perl", "not run", vital=False))).verdict == "safe"


def test_the_last_line_is_the_verdict() -> None:
    """The text ends with the verdict, and with the names of what was not tried."""
    passed, missing, less = step("start", "passed"), step(BOOT, "not run"), step("perl", "not run", vital=False)
    assert render(Report((), (passed, missing, missing, less))).splitlines() == [
        "not run   systemd: reason of systemd",
        "not run   perl: reason of perl",
        "1 passed, 0 failed, 2 not run",
        "not known whether it is safe to deploy: not run: systemd",
    ]
    assert render(Report((), (passed, less), ("cron",))).endswith("safe to deploy (not tried: cron, perl)")
    assert render(Report((), (passed, step("cat", "failed")))).endswith("not safe to deploy: /a.so")
    alike = render(Report((), (step("cat", "failed"), step("cat", "failed")))).splitlines()
    assert alike[0] == "failed    cat, cat (as deployed): reason of cat"
    assert render(Report((), (passed,)), every=True).startswith("passed    as deployed: start (reason of start)\n")
