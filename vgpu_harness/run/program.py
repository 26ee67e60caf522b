"""Can this program be run under preloaded libraries? Asked before the start: ld.so ignores what it cannot preload."""

import os
import shutil
import stat
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from vgpu_harness.errors import ProgramError, ShimError
from vgpu_harness.shims.elf import ElfFacts, is_elf, read_elf

_SCRIPT_DEPTH = 5
"""How often an interpreter may be a script itself (execve(2), since Linux 2.6.28)."""


@dataclass(frozen=True)
class Program:
    """A program that can be run.

    Attributes:
        path: what is executed.
        binary: the ELF file that runs in the end: the program, or a script's interpreter; without links.
        findings: what may keep the shims out of it all the same.
        static: no dynamic linker runs in it, so no shim gets into it.
    """

    path: Path
    binary: Path
    findings: tuple[str, ...]
    static: bool = False


def find_program(name: str, environment: Mapping[str, str], cwd: Path) -> Path:
    """The file that execvp(3) would take.

    Raises:
        ProgramError: there is none.
    """
    if "/" in name:
        return cwd / name
    found = shutil.which(name, path=environment.get("PATH", os.defpath)) if name else None
    if found is None:
        raise ProgramError(f"{name!r}: no such program in PATH; check the spelling or give its path")
    return cwd / found


def _interpreter(path: Path) -> str | None:
    """The interpreter of a script, None if this is no script."""
    with path.open("rb") as file:
        start = file.read(256)
    if not start.startswith(b"#!"):
        return None
    words = start[2:].partition(b"\n")[0].split()
    return os.fsdecode(words[0]) if words else ""


def _check_file(path: Path, what: str) -> None:
    try:
        mode = path.stat().st_mode
    except OSError as error:
        raise ProgramError(f"{path}: {what} cannot be found: {error.strerror}; check the path") from error
    if stat.S_ISDIR(mode):
        raise ProgramError(f"{path}: is a directory; give the program in it")
    if not stat.S_ISREG(mode) or not os.access(path, os.X_OK):
        raise ProgramError(f"{path}: is not executable; chmod +x it, or give another program")


def _check_elf(path: Path, facts: ElfFacts, *, static: bool) -> None:
    if not facts.is_native:
        raise ProgramError(
            f"{path}: is a {facts.bits}-bit program for {facts.machine.removeprefix('EM_')}; "
            "the shims are 64-bit x86-64 libraries, give a 64-bit x86-64 program"
        )
    if facts.is_static and static:
        return
    if facts.is_static:
        raise ProgramError(
            f"{path}: is a static program: no dynamic linker runs, so nothing can be preloaded; link it dynamically, "
            "or have its files shown by another provider (docs/providers.md)"
        )
    if not Path(str(facts.interp)).exists():
        raise ProgramError(f"{path}: asks for the dynamic linker {facts.interp}, which is not there; install it")


def check_program(name: str, environment: Mapping[str, str], cwd: Path, *, static: bool = False) -> Program:
    """Finds a program and checks that preloaded libraries can get into it.

    Args:
        name: as in a shell: a path, or a name to look for in PATH.
        environment: the program's own, for its PATH.
        cwd: the directory that it is started in.
        static: a static program will do, as it sees the host's files without anything preloaded.

    Raises:
        ProgramError: it cannot be run, or runs without a dynamic linker of our kind.
    """
    path = find_program(name, environment, cwd)
    binary = path
    findings: list[str] = []
    for depth in range(_SCRIPT_DEPTH):
        _check_file(binary, "the program" if depth == 0 else f"the interpreter of {path}")
        if is_elf(binary):
            break
        try:
            interpreter = _interpreter(binary)
        except OSError as error:
            raise ProgramError(f"{binary}: cannot be read: {error.strerror}; make it readable") from error
        if interpreter is None:
            raise ProgramError(
                f"{binary}: is neither an ELF program nor a script; a script starts with #! and its interpreter"
            )
        binary = cwd / interpreter
    else:
        raise ProgramError(
            f"{path}: scripts call each other as interpreters; the kernel gives up after {_SCRIPT_DEPTH}"
        )
    try:
        facts = read_elf(binary)
    except ShimError as error:
        raise ProgramError(str(error)) from error
    _check_elf(binary, facts, static=static)
    mode = binary.stat().st_mode
    if mode & (stat.S_ISUID | stat.S_ISGID):
        findings.append(
            f"{binary} is set-user-ID or set-group-ID: unless it is run by its own user, ld.so ignores LD_PRELOAD "
            "and LD_AUDIT; run a copy without that bit"
        )
    if "musl" in str(facts.interp):
        findings.append(f"{binary} is for musl, which knows no LD_AUDIT: mapped libraries are not recorded")
    return Program(path, binary.resolve(), tuple(findings), facts.is_static)
