"""Programs of a run that the shims did not reach, why, and what to change.

The evidence is what the observer read of each program (its environment, what the kernel told it) and what the shims and
the auditor recorded. Of the variables that carry the shims, libvgpu-exec.so keeps what a program throws away, if it is
in that program and the program starts the next one through libc.
"""

from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from vgpu_harness.run.bypass import REMEDY
from vgpu_harness.run.observer import SHIM_VARIABLES, Image, Process
from vgpu_harness.trace import Kind, Library, Record

_PRELOAD_IT = "preload libvgpu-exec.so too (delivery.preload), which keeps it"
_IN_THE_CALLER = "have the caller pass these variables on"


@dataclass(frozen=True)
class Shimless:
    """A program of a run that the shims did not reach.

    Attributes:
        pid: of the process.
        program: path of the program; its argv[0] where the path may not be read.
        reason: why, as a sentence of which the program is the subject.
        remedy: what to change.
    """

    pid: int
    program: str
    reason: str
    remedy: str

    def __str__(self) -> str:
        return f"{self.program} (process {self.pid}) {self.reason}; {self.remedy}"

    def to_json(self) -> dict[str, Any]:
        """The value as a JSON object."""
        return asdict(self)


def without_shims(
    processes: Sequence[Process], preload: Sequence[str], records: Iterable[Record], *, recorded: bool
) -> tuple[Shimless, ...]:
    """The programs of a run that the shims did not reach, in the order in which they were seen.

    Of a run within the run, its own summary tells.

    Args:
        processes: what the observer saw, in that order.
        preload: the entries of LD_PRELOAD.
        records: the trace.
        recorded: does the trace have all objects that were mapped: was the auditor there, and nothing dropped?
    """
    exec_shim = next((entry for entry in preload if "exec" in Path(entry).name), None)
    told = [record for record in records if exec_shim is not None and _is_about(record, exec_shim)]
    found: list[Shimless] = []
    for at, process in enumerate(processes):
        for turn, image in enumerate(process.images):
            if image.nested:
                continue
            if why := _property(image):
                reason, remedy = why
            elif image.lost:
                caller = _caller(processes[:at], process, turn)
                reason, remedy = _loss(process, image, caller, exec_shim, told, recorded)
            else:
                continue
            found.append(Shimless(process.pid, image.program or image.name, reason, remedy))
    return tuple(found)


def _is_about(record: Record, exec_shim: str) -> bool:
    if record.kind == Kind.MAPPED:
        return record.text == exec_shim
    return record.library == Library.EXEC and record.kind == Kind.ENTERED


def _property(image: Image) -> tuple[str, str] | None:
    """What keeps the shims out of a program whatever its environment is."""
    if image.foreign:
        return "is no 64-bit x86-64 program, as the shims are", "use its 64-bit x86-64 build"
    if image.static:
        reason = "is a static program: no dynamic linker runs in it, so nothing is preloaded: "
        return f"{reason}its looks at files bypass the shims", f"link it dynamically, or {REMEDY}"
    if image.secure:
        return (
            "has other privileges than its caller (set-user-ID, set-group-ID): ld.so ignored LD_PRELOAD and LD_AUDIT",
            "run a copy without them, or call it as the user that it belongs to",
        )
    return None


def _caller(before: Sequence[Process], process: Process, turn: int) -> tuple[Process, Image] | None:
    """Who executed this program: the same process as what it was before, or as the copy that it was of its parent."""
    if turn:
        return process, process.images[turn - 1]
    program = process.images[0].caller
    parent = process.parent
    # The last of that number: numbers are used again. A parent that executed nothing is itself a copy of another.
    for other in reversed(before):
        if other.pid == parent:
            if other.images:
                return other, next(
                    (image for image in reversed(other.images) if image.program == program), other.images[-1]
                )
            parent = other.parent
    return None


def _in_words(lost: Sequence[str]) -> str:
    names = [name.removesuffix("=") for name in lost if ": " not in name]
    entries = [f"{path} in {name}" for name, _, path in (entry.partition(": ") for entry in lost) if path]
    *most, last = [*names, *entries]
    return f"{', '.join(most)} and {last}" if most else last


def _loss(
    process: Process,
    image: Image,
    caller: tuple[Process, Image] | None,
    exec_shim: str | None,
    told: Sequence[Record],
    recorded: bool,
) -> tuple[str, str]:
    """Why a program's environment has not what carries the shims."""
    lost = _in_words(image.lost)
    if caller is None:
        return f"was started with an environment without {lost}", _PRELOAD_IT if exec_shim is None else _IN_THE_CALLER
    owner, before = caller
    where = "in the same process" if owner is process else f"process {process.parent}"
    by = f"was started by {before.name} ({where})"
    if set(image.lost) <= set(before.lost):
        return f"{by}, which had no {lost} itself", f"see {before.name}"
    if set(image.lost) <= {f"{name}=" for name in SHIM_VARIABLES}:
        return f"{by} with {lost} set to nothing, which switches the shims off", f"leave {lost} as the run has it"
    reason = f"{by} with an environment without {lost}"
    if exec_shim is None:
        return reason, _PRELOAD_IT
    if _property(before) or any(entry in before.lost for entry in ("LD_PRELOAD", f"LD_PRELOAD: {exec_shim}")):
        return f"{reason}; {Path(exec_shim).name} was not in that one", f"see {before.name}"
    if {"VGPU_HOST", "VGPU_HOST="} & set(before.lost):
        return f"{reason}; {Path(exec_shim).name} does nothing where VGPU_HOST is missing", f"see {before.name}"
    if recorded and not any(record.kind == Kind.MAPPED and record.pid == owner.pid for record in told):
        return f"{reason}; ld.so did not load {exec_shim} there", "see what ld.so says on stderr"
    if any(record.pid in {process.pid, owner.pid} and _same(record.text, image) for record in told if record.name):
        return f"{reason}, although {Path(exec_shim).name} saw the call", "report this, with the trace"
    return (
        f"{reason}, by a raw execve, as Go programs do; {Path(exec_shim).name} cannot reach that",
        f"{_IN_THE_CALLER}: in Go, start from os.Environ() for Cmd.Env",
    )


def _same(path: str, image: Image) -> bool:
    return str(Path(path).resolve()) == image.program
