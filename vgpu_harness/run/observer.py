"""The processes of a run, seen from outside: what each of them executed, and what of the shims reached it.

The shims and the auditor report themselves; a process that neither of them is in shows only here. Two observers fill in
these values: `vgpu_harness.run.tracer` is told of every process, `vgpu_harness.run.sampler` looks a hundred times a
second.
"""

import contextlib
import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from struct import iter_unpack
from typing import Any, Literal, Self

from vgpu_harness.errors import ShimError

Observed = Literal["ptrace", "sampled"]
"""How the processes of a run were seen: by events of the kernel, all of them, or by looking at /proc now and then."""

SHIM_VARIABLES = ("LD_PRELOAD", "LD_AUDIT", "VGPU_HOST", "VGPU_TRACE")
"""The variables that carry the shims from a program to those that it starts."""

# <elf.h>: what the kernel tells a program at its start, and the fields of an ELF header.
_AT_BASE, _AT_SECURE = 7, 23
_EI_CLASS, _E_TYPE, _E_MACHINE = 4, 16, 18
_ELFCLASS32, _ELFCLASS64, _ET_DYN, _EM_X86_64 = 1, 2, 3, 62


@dataclass(frozen=True)
class Image:
    """One program that a process executed.

    Attributes:
        program: path of the file, "" if that may not be read.
        argv: its command line.
        traced: its environment named the run's trace.
        preloaded: its environment had an LD_PRELOAD.
        secure: it was given other privileges than its caller had (AT_SECURE): ld.so then ignores LD_PRELOAD.
        static: no dynamic linker runs in it.
        foreign: it is no 64-bit x86-64 program.
        lost: what the run's environment had and its own had not: a variable, "VGPU_HOST=" if that was there without a
            value, or "LD_PRELOAD: PATH" for one entry.
        caller: the program that the process was before; "" if that is not known.
        nested: its environment named another trace: it belongs to a run within this one.
    """

    program: str
    argv: tuple[str, ...]
    traced: bool
    preloaded: bool
    secure: bool = False
    static: bool = False
    foreign: bool = False
    lost: tuple[str, ...] = ()
    caller: str = ""
    nested: bool = False

    @property
    def name(self) -> str:
        """The program's name for a message."""
        return Path(self.program or (self.argv[0] if self.argv else "") or "?").name

    @classmethod
    def from_json(cls, entry: Mapping[str, Any]) -> Self:
        """The image of a JSON object of `Process.to_json`."""
        return cls(**{**entry, "argv": tuple(entry["argv"]), "lost": tuple(entry["lost"])})


@dataclass(frozen=True)
class Process:
    """A process of a run.

    What it executes is told by `program` to `static`: of the last of its images, or, if it never executed anything
    itself, of what its parent was when it was made.

    Attributes:
        pid: its number.
        parent: its parent's number when it was first seen.
        program: path of what it executes, "" if that is not known.
        argv: its command line.
        traced: its environment named the run's trace; without, the shims have been taken out of its environment.
        preloaded: its environment had an LD_PRELOAD.
        secure: it has other privileges than its caller (AT_SECURE): ld.so ignored LD_PRELOAD.
        static: no dynamic linker runs in it.
        status: its exit status, -n if signal n killed it; None if that was not seen.
        images: each program that it executed, in turn; empty if it only ever was a copy of its parent.
    """

    pid: int
    parent: int
    program: str
    argv: tuple[str, ...]
    traced: bool
    preloaded: bool
    secure: bool = False
    static: bool = False
    status: int | None = None
    images: tuple[Image, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """The process as a JSON object."""
        return asdict(self)

    @classmethod
    def from_json(cls, entry: Mapping[str, Any]) -> Self:
        """The process of a JSON object of `to_json`."""
        images = tuple(Image.from_json(image) for image in entry["images"])
        return cls(**{**entry, "argv": tuple(entry["argv"]), "images": images})


@dataclass
class Sighting:
    """What an observer knows of a process so far; `image` is its parent's until it executes something itself."""

    pid: int
    parent: int
    image: Image | None = None
    images: list[Image] = field(default_factory=list)
    status: int | None = None

    def executed(self, image: Image | None) -> None:
        """The process is another program now; None if it was gone before that could be read."""
        if image is not None:
            self.image = image
            self.images.append(image)

    def process(self) -> Process:
        """The value."""
        image = self.image or Image("", (), traced=False, preloaded=False)
        return Process(
            self.pid, self.parent, image.program, image.argv, image.traced, image.preloaded, image.secure, image.static,
            self.status, tuple(self.images),
        )  # fmt: skip


class Signs:
    """What in the environment of a run carries the shims; reads the images of its processes.

    Attributes:
        trace: the run's trace, as its environment names it; "" if it names none.
    """

    def __init__(self, environment: Mapping[str, str]) -> None:
        self._given = {name: environment[name] for name in SHIM_VARIABLES if name in environment}
        self.trace = self._given.get("VGPU_TRACE", "")

    def _lost(self, environment: Mapping[str, str]) -> tuple[str, ...]:
        lost: list[str] = []
        for name, given in self._given.items():
            if not (has := environment.get(name, "")):
                # A VGPU_HOST or VGPU_TRACE of its own is meant so, even one without a value.
                lost.append(f"{name}=" if name in environment and name.startswith("VGPU_") else name)
            elif name.startswith("LD_"):
                # LD_PRELOAD is split at spaces too, ld.so(8); no entry of a run's own has one.
                lost += [
                    f"{name}: {entry}" for entry in given.split(":") if entry not in has.replace(" ", ":").split(":")
                ]
        return tuple(lost)

    def read(self, pid: int, caller: str = "", expected: bytes = b"") -> Image | None:
        """What the process executes now; None if it is gone, or in the middle of an execve.

        Args:
            pid: the process.
            caller: what it executed before.
            expected: its `auxiliary`, if another than this means that it has become another program meanwhile.
        """
        place = Path(f"/proc/{pid}")
        try:
            if expected and not _is_set_up(place):
                return None
            argv = tuple(os.fsdecode(word) for word in (place / "cmdline").read_bytes().split(b"\0")[:-1])
        except OSError:
            return None
        try:
            program = str((place / "exe").readlink())
            block = (place / "environ").read_bytes()
            auxiliary = (place / "auxv").read_bytes()
        except PermissionError:
            # It may do more than we may: only what everyone may read is known of it, and nothing once it has ended.
            if not argv:
                return None
            return Image("", argv, traced=False, preloaded=False, secure=_has_other_user(place), caller=caller)
        except OSError:
            return None
        environment = dict(word.split("=", 1) for word in os.fsdecode(block).split("\0") if "=" in word)
        header = _header(place / "exe")
        # The kernel writes auxv in words of the program's own class.
        values = dict(iter_unpack("=II" if header[_EI_CLASS] == _ELFCLASS32 else "=QQ", auxiliary))
        # Read last: it is there as long as the memory is.
        if _AT_BASE not in values or auxiliary != (expected or auxiliary):
            return None
        trace = environment.get("VGPU_TRACE", "")
        return Image(
            program=program,
            argv=argv,
            traced=bool(self.trace) and trace == self.trace,
            preloaded="LD_PRELOAD" in environment,
            secure=values.get(_AT_SECURE, 0) != 0,
            static=values.get(_AT_BASE, 0) == 0 and not _is_linker(place / "exe", header),
            foreign=header[_EI_CLASS] != _ELFCLASS64 or int.from_bytes(header[_E_MACHINE:], "little") != _EM_X86_64,
            lost=self._lost(environment),
            caller=caller,
            nested=bool(self.trace and trace) and trace != self.trace,
        )


def auxiliary(pid: int) -> bytes:
    """What the kernel told the program at its start, b"" if that may not be read.

    A forked child has its parent's; each execve makes another (AT_RANDOM's address, AT_SYSINFO_EHDR).
    """
    with contextlib.suppress(OSError):
        return Path(f"/proc/{pid}/auxv").read_bytes()
    return b""


def _is_set_up(place: Path) -> bool:
    """Has its execve come to an end? fs/binfmt_elf.c sets startcode, field 26 of stat (proc(5)), after all else."""
    fields = (place / "stat").read_bytes().rpartition(b") ")[2].split()
    return fields[26 - 3] != b"0"


def _header(path: Path) -> bytes:
    """The start of an ELF header; of a program that may be executed and not read, that of an ordinary one."""
    with contextlib.suppress(OSError), path.open("rb") as file:
        if len(start := file.read(_E_MACHINE + 2)) == _E_MACHINE + 2:
            return start
    return b"\x7fELF" + bytes([_ELFCLASS64]) + bytes(11) + bytes([_ET_DYN, 0, _EM_X86_64, 0])


def _is_linker(path: Path, header: bytes) -> bool:
    """Is it a dynamic linker, executed as in `ld.so PROGRAM`? That has a soname, which static programs have not."""
    if header[_E_TYPE] != _ET_DYN:
        return False
    from vgpu_harness.shims.elf import read_elf

    try:
        return read_elf(path).soname is not None
    except ShimError:
        return False


def _has_other_user(place: Path) -> bool:
    """Are real and effective user or group different (proc(5): the first two numbers of Uid and Gid in status)?"""
    try:
        lines = (place / "status").read_text().splitlines()
    except OSError:
        return False
    numbers = [line.split()[1:3] for line in lines if line.startswith(("Uid:", "Gid:"))]
    return any(real != effective for real, effective in numbers)
