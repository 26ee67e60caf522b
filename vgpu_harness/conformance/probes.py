"""What a library is asked for a recording. vgpu-prober (csrc/clients/prober) does the calls, function by function.

A library that is not one of this package's shims is called in the sandbox only.
"""

import os
import signal
import subprocess
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from vgpu_harness.conformance import sandbox
from vgpu_harness.conformance.result import signal_name
from vgpu_harness.errors import RunError, ShimError
from vgpu_harness.shims.elf import opened
from vgpu_harness.shims.paths import available, client_path

Api = Literal["cuda", "nvml"]
Answer = int | str
"""What a call came to: its return code, or a word: the name of a signal, "timeout", "exit N", "missing", "text T"."""

INIT: dict[Api, str] = {"cuda": "cuInit i0", "nvml": "nvmlInit_v2"}
PREFIX: dict[Api, str] = {"cuda": "cu", "nvml": "nvml"}
STATES = ("before", "after")
ARGUMENTS = ("nulls", "buffers")
SWEPT = tuple((state, arguments) for state in STATES for arguments in ARGUMENTS)
"""How each function is called: before and after the initialisation, with NULL and with pointers to zeroed memory."""

BUFFERS_AT = 0x7EA0_1000_0000
"""Where the zeroed memory lies. A function that takes a number gets the lower half of it, so it is always the same.

Programs have nothing there, and the sanitizers of GCC and Clang allow it."""

_STT_FUNC, _STT_GNU_IFUNC, _SYMBOL_BYTES, _INFO_AT = 2, 10, 24, 4
_ANSWERED = ("call ", "text ", "resolve ", "aliases")
_PATIENCE = 1800.0
_LIBRARY, _PROBER, _IMAGE = "/tmp/library", "/tmp/prober", "/tmp/host.image"  # noqa: S108 - of the sandbox


def is_crash(answer: Answer) -> bool:
    """Did the call end its process, or never come back?"""
    return isinstance(answer, str) and answer.startswith(("SIG", "signal ", "timeout", "exit "))


def functions_of(api: Api, library: Path) -> list[str]:
    """The functions that a library exports, of those whose names are the API's.

    Raises:
        ShimError: it cannot be read.
    """
    with opened(library) as elf:
        at, data = elf.offset_of("DT_SYMTAB"), library.read_bytes()
        return sorted(
            symbol.name
            for symbol in elf.symbols()
            if symbol.defined
            and symbol.name.startswith(PREFIX[api])
            and at is not None
            and data[at + symbol.number * _SYMBOL_BYTES + _INFO_AT] & 0xF in {_STT_FUNC, _STT_GNU_IFUNC}
        )


def is_own(library: Path) -> bool:
    """Is it one of this package's shims?"""
    return any(library.samefile(path) for path in available().values())


@dataclass(frozen=True)
class Prober:
    """A library, and how it is asked.

    Attributes:
        api: whose functions it has.
        library: the file.
        image: the host image that a shim of this package shows; None for none.
        buffers: where the zeroed memory lies.
        seconds: what a call may take; an initialisation that finds no GPU takes less than one.
        sandboxed: is a library that is not one of this package's shims called in the sandbox? If not, it is called as
            the user who asks, and may write wherever he may.
    """

    api: Api
    library: Path
    image: Path | None = None
    buffers: int = BUFFERS_AT
    seconds: int = 5
    sandboxed: bool = True

    def ask(self, tasks: Iterable[str]) -> list[str]:
        """The answers of vgpu-prober, a line for each task that has one.

        Raises:
            RunError: the sandbox cannot be made, or the prober failed.
            ShimError: the library cannot be loaded.
        """
        library = self.library.resolve()
        own = is_own(library) or not self.sandboxed
        prober = client_path("vgpu-prober")
        place = library if own else Path(_LIBRARY, library.name)
        image = self.image if own or self.image is None else Path(_IMAGE)
        show: dict[str, Path] = {_LIBRARY: library.parent, _PROBER: prober}
        if self.image is not None:
            show[_IMAGE] = self.image
        command = [str(prober)] if own else sandbox.command([_PROBER], sandbox.library_folders(), show)
        environment = {name: os.environ[name] for name in ("LD_LIBRARY_PATH",) if name in os.environ}
        settings = [f"buffers {self.buffers:#x}", f"seconds {self.seconds}", f"library {place}"]
        job = [*settings, f"init {INIT[self.api]}", *tasks]
        try:
            done = subprocess.run(
                command,
                input="\n".join(job) + "\n",
                env=sandbox.environment(environment | ({} if image is None else {"VGPU_HOST": str(image)})),
                cwd="/",
                capture_output=True,
                text=True,
                errors="replace",
                timeout=_PATIENCE,
                check=False,
            )
        except subprocess.TimeoutExpired as error:
            raise RunError(f"{self.library}: was not asked in {_PATIENCE:g} s; record fewer functions") from error
        if done.returncode != 0:
            complaint = done.stderr.strip() or f"exit status {done.returncode}"
            if str(place) in complaint:
                complaint = complaint.replace(str(place), str(self.library))
                why = None if own else sandbox.closed_to_nobody(library)
                remedy = why or "give a 64-bit x86-64 shared library"
                raise ShimError(f"{self.library}: cannot be loaded: {complaint}; {remedy}")
            raise RunError(f"{self.library}: could not be asked: {complaint}")
        answers = done.stdout.split("\n")[:-1]
        wanted = sum(task.startswith(_ANSWERED) for task in job)
        if len(answers) != wanted:
            raise RunError(
                f"{self.library}: could not be asked: {len(answers)} answers for {wanted} questions; "
                "does loading it end the process?"
            )
        return answers


def parsed(line: str) -> tuple[Answer, list[bytes]]:
    """A line of the prober: what came of the call, and the outputs that were asked for."""
    kind, _, rest = line.partition(" ")
    if kind == "code":
        code, *outputs = rest.split()
        return int(code), [bytes.fromhex(output) for output in outputs]
    if kind == "signal":
        number = int(rest)
        return "timeout" if number == signal.SIGALRM else signal_name(number), []
    return line, []


def text_functions() -> frozenset[str]:
    """Entry points that answer the address of a text in place of a code."""
    from vgpu_harness._wire import ffi, lib

    entries = (name for name in dir(lib) if name.startswith("vgpu_call_"))
    pointers = (name for name in entries if ffi.typeof(getattr(lib, name)).result.kind == "pointer")
    return frozenset(name.removeprefix("vgpu_call_") for name in pointers)


def sweep(prober: Prober, functions: Sequence[str]) -> dict[str, list[Answer]]:
    """What each function answers in each way of `SWEPT`, each call in a process of its own."""
    texts = text_functions()
    tasks = []
    for name in functions:
        for state, arguments in SWEPT:
            tasks += [f"child {state}", f"{'text' if name in texts else 'call'} {name} {arguments}"]
    answers = iter(prober.ask(tasks))
    return {name: [parsed(next(answers))[0] for _ in SWEPT] for name in functions}


@dataclass(frozen=True)
class Resolved:
    """What cuGetProcAddress answered for names x `versions` x flags 0, 1, 2.

    Attributes:
        versions: what it was asked for, ascending.
        answers: by form ("v1", "v2") and name: for each flag the runs (version, answer), each of which holds up to the
            next one. An answer is "CODE,STATUS,TARGET"; status "-" was not written; a target is an exported name,
            "unexported", "null", or "untouched".
        aliases: exported names that are one function.
    """

    versions: list[int]
    answers: dict[str, dict[str, list[list[tuple[int, str]]]]]
    aliases: list[list[str]]


def own_symbols() -> tuple[set[str], set[int]]:
    """The names that our list knows cuGetProcAddress by, and the versions at which an answer changes."""
    from vgpu_harness._wire import ffi, lib

    names, versions, i = set(), set(), 0
    while lib.vgpu_cuda_name(i) != ffi.NULL:
        if lib.vgpu_cuda_base(i) != ffi.NULL:
            names.add(ffi.string(lib.vgpu_cuda_base(i)).decode())
            versions.add(int(lib.vgpu_cuda_since(i)))
        i += 1
    return names, versions


def base_name(function: str) -> str:
    """A function's name without the endings of its versions and per-thread forms."""
    for ending in ("_ptsz", "_ptds"):
        function = function.removesuffix(ending)
    stem, _, version = function.rpartition("_v")
    return stem if stem and version.isdigit() else function


def symbols_and_versions(functions: Iterable[str]) -> tuple[list[str], list[int]]:
    """What `resolve` asks a library with these functions: the names, and each step, one below it, and a few more."""
    names, steps = own_symbols()
    asked = {version for step in steps for version in (step - 1, step)} | {12020, 13000, 99999}
    return sorted(names | {base_name(name) for name in functions}), sorted(asked)


def resolve(prober: Prober, functions: Sequence[str], symbols: Sequence[str], versions: Sequence[int]) -> Resolved:
    """Asks both forms of cuGetProcAddress, before the initialisation."""
    tasks = [f"exports {' '.join(functions)}", f"versions {' '.join(map(str, versions))}", "child before", "aliases"]
    for form in ("v1", "v2"):
        for symbol in symbols:
            tasks += ["child before", f"resolve {form} {symbol}"]
    aliases, *rest = prober.ask(tasks)
    lines = iter(rest)
    return Resolved(
        versions=list(versions),
        answers={form: {symbol: _runs(next(lines)) for symbol in symbols} for form in ("v1", "v2")},
        aliases=[group.split("=") for group in aliases.split()[1:]],
    )


def _runs(line: str) -> list[list[tuple[int, str]]]:
    kind, _, rest = line.partition(" ")
    if kind != "answers":
        return [[(0, str(parsed(line)[0]))]] * 3
    found = []
    for flag in rest.split("/")[1:]:
        pairs = (run.partition(":") for run in flag.split())
        found.append([(int(version), answer) for version, _, answer in pairs])
    return found


def expanded(runs: Sequence[tuple[int, str]], versions: Sequence[int]) -> Iterator[tuple[int, str]]:
    """(version, answer) for each version that was asked for."""
    answer, left = "", list(runs)
    for version in versions:
        while left and left[0][0] <= version:
            answer = left.pop(0)[1]
        yield version, answer
