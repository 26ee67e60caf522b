"""Command lines of many programs do the same with the shims as without: output, exit status, files."""

import os
import shlex
import shutil
import tempfile
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from both import Both, Outcome, first_uses, require_an_ordinary_user
from material import lay_out
from support.compile import compile_library

from vgpu_harness.run import Run
from vgpu_harness.run.child import Observe
from vgpu_harness.trace import Library

COMMANDS: list[dict[str, Any]] = tomllib.loads(Path(__file__).with_name("commands.toml").read_text())["commands"]
PATIENCE = 60.0
CANNOT_START = {126, 127}  # what a shell answers

# A program that looks at the GPU's files under another name, as it were: each of its ways is one field of an Outcome.
DISTURBANCES = {
    "stdout": '__attribute__((constructor)) void f(void) { write(1, "x", 1); }',
    "stderr": '__attribute__((constructor)) void f(void) { write(2, "x", 1); }',
    "status": "__attribute__((destructor)) void f(void) { _exit(77); }",
    "file made": '__attribute__((constructor)) void f(void) { close(open("made", O_CREAT | O_WRONLY, 0600)); }',
    "file copy": '__attribute__((destructor)) void f(void) { chmod("copy", 0600); }',
}
DISTURBED = 'sh -c "cat words.txt > copy; /bin/echo done"'


def program_of(command: dict[str, Any]) -> str:
    """The file name of the program that has to call a hooked function, behind the links of its name."""
    name = command.get("program") or shlex.split(command["line"])[0]
    found = shutil.which(name)
    return Path(found).resolve().name if found else name


@pytest.fixture(params=["far", "near"])
def both(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Both]:
    """Folders far from the GPU's files, and near them: in /dev, a relative path may lead to a device."""
    require_an_ordinary_user()
    if request.param == "far":
        yield Both(tmp_path, lay_out)
        return
    with tempfile.TemporaryDirectory(prefix="unnoticed-", dir="/dev/shm") as name:
        yield Both(Path(name), lay_out)


def pair(both: Both, command: dict[str, Any], **env: str) -> tuple[Outcome, Outcome, Run]:
    """What the line leaves behind without the shims, and with them; `env` is for the latter."""
    argv = shlex.split(command["line"].replace("@/", f"{both.work}/"))
    plain = both.plain(argv, {}, PATIENCE)
    observe: Observe = "sampled" if command.get("tracer") else "auto"
    shimmed, run = both.shimmed(argv, env, PATIENCE, observe=observe)
    return plain, shimmed, run


class TestCommandLines:
    def test_are_many(self) -> None:
        """There are a hundred of them at least, of sixty programs."""
        assert len({command["line"] for command in COMMANDS}) >= 100
        assert len({program_of(command) for command in COMMANDS}) >= 60

    @pytest.mark.parametrize("command", COMMANDS, ids=lambda command: command["line"])
    def test_do_the_same(self, both: Both, command: dict[str, Any]) -> None:
        """Output, errors, exit status and files are the same to the byte, and the program called a shim."""
        plain, shimmed, run = pair(both, command)
        assert plain.status not in CANNOT_START, plain
        if plain.differences(shimmed):
            again = both.plain(run.argv, {}, PATIENCE)
            assert not plain.differences(again), "not the same twice without the shims either: take another line"
        assert not plain.differences(shimmed)
        assert program_of(command) in {program for program, _ in first_uses(run)}


class TestControls:
    @pytest.mark.parametrize("kind", DISTURBANCES)
    def test_a_disturbance_is_noticed(self, both: Both, kind: str) -> None:
        """A library that writes, exits or changes files beside the shims is seen by the same comparison."""
        source = f"#include <fcntl.h>\n#include <sys/stat.h>\n#include <unistd.h>\n{DISTURBANCES[kind]}\n"
        disturbing = compile_library(source, "libdisturbing.so", "-Wno-unused-result")
        plain, shimmed, _ = pair(both, {"line": DISTURBED}, LD_PRELOAD=str(disturbing))
        assert any(told.startswith(kind) for told in plain.differences(shimmed))

    def test_the_same_without_it_is_not(self, both: Both) -> None:
        """The line of the other controls is the same with the shims alone."""
        plain, shimmed, _ = pair(both, {"line": DISTURBED})
        assert not plain.differences(shimmed)

    def test_a_program_that_calls_nothing_has_no_record(self, both: Both) -> None:
        """`true` is loaded with the shims, and is not taken for a program that called one."""
        _, _, run = pair(both, {"line": "true"})
        assert first_uses(run) == set()

    def test_a_look_at_the_gpu_is_noticed(self, both: Both) -> None:
        """A line that does look at a GPU's file is not the same: the shims are at work in these runs."""
        plain, shimmed, run = pair(both, {"line": "cat /proc/driver/nvidia/version"})
        assert (plain.status, shimmed.status) == (1, 0)
        assert ("cat", Library.SYSCALL) in first_uses(run)


def test_the_user_has_files_near_the_tree() -> None:
    """/dev/shm, where half of the lines run, is there and may be written."""
    assert os.access("/dev/shm", os.W_OK | os.X_OK)
