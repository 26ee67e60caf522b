"""Loading a library for the suite: what stands in the way is found once, named as the user knows it, with a remedy."""

import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from support.compile import compile_library

from vgpu_harness.cli import vgpu_harness
from vgpu_harness.conformance import sandbox
from vgpu_harness.conformance.rule import all_rules
from vgpu_harness.conformance.subject import subject
from vgpu_harness.conformance.suite import Suite
from vgpu_harness.errors import ShimError

RULE = "cuda_init.the_version_needs_no_init"
VERSION = """
int cuDriverGetVersion(int *version);
int cuDriverGetVersion(int *version) { if (version == 0) return 1; *version = 12020; return 0; }
int cuInit(unsigned flags);
int cuInit(unsigned flags) { return flags == 0 ? 100 : 1; }
"""
START = """
#include <signal.h>
#include <unistd.h>
__attribute__((constructor)) static void start(void) {{ {body} }}
"""


def conform(*words: object) -> Result:
    """Runs the command."""
    return CliRunner().invoke(vgpu_harness, ["conform", *map(str, words)])


@pytest.fixture
def can_sandbox() -> bool:
    """Does the kernel let this user make the sandbox? If not, what there is to say is that."""
    return sandbox.refusal() is None


@pytest.fixture
def below_tmp() -> Iterator[Path]:
    """A folder below /tmp, which the sandbox hides; pytest can have been given another place for its own."""
    with tempfile.TemporaryDirectory(dir="/tmp") as folder:
        Path(folder).chmod(0o755)
        yield Path(folder)


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (
            "for (;;) pause();",
            "loading it takes more than 0.5 s; mend its constructors, or give it more time (--timeout)",
        ),
        ("raise(SIGSEGV);", "loading it ends the process: SIGSEGV; mend its constructors"),
        ("_exit(3);", "loading it ends the process: exit status 3; mend its constructors"),
    ],
)
def test_a_constructor_that_does_not_come_back(body: str, message: str) -> None:
    """It is met once, not once a rule, and said in one line; the exit status is that of what cannot be loaded."""
    library = compile_library(START.format(body=body) + VERSION, "libcuda.so.1")
    done = conform("--no-sandbox", "--timeout", "0.5", "--cuda", library)
    assert done.exit_code == 2
    assert done.stdout == ""
    assert done.stderr.splitlines() == [f"vgpu-harness: {library}: cannot be loaded: {message}"]


def test_what_cannot_be_loaded_is_not_tried_again() -> None:
    """The second rule hears of the first one's failure, even where the worker is gone by then."""
    library = compile_library(START.format(body="for (;;) pause();") + VERSION, "libcuda.so.1")
    with Suite({"cuda": subject("cuda", library, None)}, timeout=0.2, sandbox=False) as suite:
        rule = all_rules()[RULE]
        with pytest.raises(ShimError, match=r"loading it takes more than 0\.2 s") as first:
            suite.try_rule(rule)
        os.kill(suite._worker.pid, 9)
        with pytest.raises(ShimError) as second:
            suite.try_rule(rule)
    assert str(second.value) == str(first.value)


def test_a_library_in_a_folder_that_nobody_may_enter(tmp_path: Path, can_sandbox: bool) -> None:
    """Where its own folder is closed to the user of the sandbox, the message names that folder and what to do."""
    closed = tmp_path / "closed"
    closed.mkdir()
    library = Path(shutil.copy(compile_library(VERSION, "libcuda.so.1"), closed))
    closed.chmod(0o700)
    if os.geteuid() != 0 or not can_sandbox:
        assert conform("--cuda", library, "--rule", RULE).exit_code == (0 if can_sandbox else 2)
        return
    remedy = f"the user nobody, who loads it in the sandbox, may not enter {closed}; run chmod o+x {closed}, or copy it"
    for words in (("--rule", RULE), ("--record", tmp_path / "recording")):
        done = conform("--cuda", library, *words)
        assert done.exit_code == 2
        assert f"vgpu-harness: {library}: cannot be loaded: " in done.stderr
        assert remedy in done.stderr
        assert "/tmp/vgpu-cuda" not in done.stderr
    closed.chmod(0o711)
    assert conform("--cuda", library, "--rule", RULE).exit_code == 0
    library.chmod(0o600)
    assert f"may not read {library}; run chmod o+r {library}, or copy it" in conform("--cuda", library).stderr


def test_a_path_of_the_sandbox_is_not_shown(below_tmp: Path, can_sandbox: bool) -> None:
    """A library that the loader refuses is named by the path that was given, also in ld.so's own words."""
    text = below_tmp / "libcuda.so.1"
    text.write_text("no library" * 100)
    done = conform("--cuda", text)
    assert done.exit_code == 2
    assert (f"{text}: cannot be loaded: {text}: invalid ELF header" in done.stderr) == can_sandbox
    assert "/tmp/vgpu-" not in done.stderr


def test_what_library_path_names_is_found_in_the_sandbox(
    below_tmp: Path, monkeypatch: pytest.MonkeyPatch, can_sandbox: bool
) -> None:
    """A library that needs another one from a folder of LD_LIBRARY_PATH below /tmp is loaded; without, it is not."""
    needed = compile_library("int helper(void);\nint helper(void) { return 0; }\n", "libhelper.so")
    needs = VERSION.replace("return 1;", "return 1 + helper();")
    library = compile_library("int helper(void);\n" + needs, "libcuda.so.1", str(needed))
    (below_tmp / "lib").mkdir()
    shutil.copy(needed, below_tmp / "lib" / "libhelper.so")
    for place in ("", str(below_tmp / "lib")):
        monkeypatch.setenv("LD_LIBRARY_PATH", place)
        fine = can_sandbox and place != ""
        assert conform("--cuda", library, "--rule", RULE).exit_code == (0 if fine else 2)
        assert conform("--cuda", library, "--record", below_tmp / "recording").exit_code == (0 if fine else 2)
    if os.geteuid() == 0 and can_sandbox:
        (below_tmp / "lib").chmod(0o700)
        refused = conform("--cuda", library, "--rule", RULE)
        assert (refused.exit_code, f"may not enter {below_tmp / 'lib'}" in refused.stderr) == (2, True)


def test_without_the_sandbox_a_recording_needs_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """--no-sandbox holds for --record and --against: a machine that refuses the sandbox records all the same."""
    monkeypatch.setattr(sandbox, "command", lambda *_, **__: ["/bin/sh", "-c", "echo refused >&2; exit 125"])
    library, kept = compile_library(VERSION, "libcuda.so.1"), tmp_path / "recording"
    assert "refused" in conform("--cuda", library, "--record", kept).stderr
    assert conform("--no-sandbox", "--cuda", library, "--record", kept).exit_code == 0
    assert "refused" in conform("--cuda", library, "--against", kept).stderr
    assert conform("--no-sandbox", "--cuda", library, "--against", kept).exit_code == 0
    assert subprocess.run(["/usr/bin/test", "-s", kept], check=False, timeout=10).returncode == 0
