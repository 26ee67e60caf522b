"""What came of a sequence of calls in a process of its own: results, and what the process did besides."""

import errno
import signal
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum
from functools import cached_property
from typing import Any, NamedTuple

from vgpu_harness.fuzz.answer import Answer, Value
from vgpu_harness.fuzz.calls import Call, Kept, Kind, Memory, Parameter, TextAt, signatures


class Ended(Enum):
    """How the process ended."""

    LEFT = "left as it should"
    STAYS = "waits for more calls"
    CRASH = "was killed by a signal"
    HANG = "was not done in time"
    EXIT = "was ended by the library"
    FULL = "had more results than there is room for"
    NO_PROCESS = "could not be forked"
    LOST = "took the executor with it"


class Descriptor(NamedTuple):
    """A file descriptor that calls have opened and left open, or that was open before and is closed (`target` "")."""

    number: int
    open: bool
    target: str


class Result(NamedTuple):
    """What one call answered.

    Attributes:
        value: what the function returned, as 64 bits.
        outputs: for each `Memory` of the arguments what is in it, whole; for each `TextAt` the text that the pointer
            leads to, None if the pointer was not set.
        returned: the text that the function returned.
        error: errno, if the call changed it.
        beyond: arguments whose memory was left: written before it (False) or behind it (True).
        missing: no library has the function; nothing was called.
    """

    value: int
    outputs: tuple[bytes | None, ...]
    returned: bytes | None = None
    error: int | None = None
    beyond: tuple[tuple[int, bool], ...] = ()
    missing: bool = False

    @property
    def code(self) -> int:
        """The returned value as CUresult or nvmlReturn_t: an int of 32 bits."""
        low = self.value & 0xFFFFFFFF
        return low - (1 << 32) if low >> 31 else low


class Problem(NamedTuple):
    """Something that no library may do to its caller.

    Attributes:
        kind: "crash", "hang", "exit", "output", "errno", "descriptor", "process", "memory", "missing", "lost".
        call: the number of the call that did it; None where that is not known, or it was after the last.
        text: a sentence.
    """

    kind: str
    call: int | None
    text: str


class Handle(int):
    """A handle or address by its turn: 1 is the first that a sequence saw, 0 is NULL."""

    def __repr__(self) -> str:
        return f"handle {int(self)}"


def text_of(raw: bytes) -> str:
    """The string at the start of memory; bytes that a cut has left of a character are replaced."""
    return raw.partition(b"\0")[0].decode(errors="replace")


def struct_values(kind: str, raw: bytes) -> tuple[Value, ...]:
    """The fields of a struct that are numbers, texts or, for a UUID, bytes."""
    from vgpu_harness._wire import ffi

    struct = ffi.from_buffer(kind, raw)
    values: list[Value] = []
    for name, member in ffi.typeof(kind).item.fields:
        value = getattr(struct, name)
        if member.type.kind == "primitive":
            values.append(int(value))
        elif member.type.kind == "array" and member.type.item.cname == "char":
            whole = bytes(ffi.buffer(value))
            values.append(whole.hex() if "CUuuid" in kind else text_of(whole))
    return tuple(values)


class _Reader:
    """Reads the outputs of calls; the same handle is the same token throughout."""

    def __init__(self) -> None:
        self._tokens: dict[int, Handle] = {0: Handle(0)}

    def _handle(self, number: int) -> Handle:
        return self._tokens.setdefault(number, Handle(len(self._tokens)))

    def _values(self, parameter: Parameter | None, argument: Memory, raw: bytes) -> tuple[Value, ...]:
        kind = parameter.kind if parameter is not None else None
        if kind is Kind.OUT_HANDLE:
            return (self._handle(int.from_bytes(raw[:8], "little")),)
        if parameter is not None and kind is Kind.OUT_NUMBER:
            return (int.from_bytes(raw[: parameter.size], "little", signed=parameter.signed),)
        if kind is Kind.TEXT:
            return (text_of(raw),)
        if kind is Kind.STRING or (raw.startswith(argument.given) and argument.size == len(argument.given)):
            return ()
        if parameter is not None and kind is Kind.STRUCT and len(raw) >= parameter.size:
            return struct_values(parameter.type, raw)
        return (raw.hex(),)

    def answer(self, call: Call, result: Result) -> Answer:
        """A call's answer: its code and, where that is 0, what it wrote."""
        known = signatures().get(call.function)
        if known is not None and known.returns_text:
            return Answer(0, () if result.returned is None else (result.returned.decode(errors="replace"),))
        values: list[Value] = []
        outputs = iter(result.outputs)
        for place, argument in enumerate(call.arguments if result.code == 0 else ()):
            if not isinstance(argument, (Memory, TextAt)):
                continue
            raw = next(outputs)
            if isinstance(argument, TextAt):
                values.append("" if raw is None else raw.decode(errors="replace"))
            elif raw is not None:
                inside = known is not None and place < len(known.parameters)
                values.extend(self._values(known.parameters[place] if known and inside else None, argument, raw))
        return Answer(result.code, tuple(values))


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"


@dataclass(frozen=True)
class Outcome:
    """What came of one sequence. Printed, it is a program that shows it again.

    Attributes:
        calls: what was asked.
        results: those of the calls that returned.
        ended: how the process ended.
        status: the signal of a crash, the exit status of an exit.
        call: the call in which it ended; the number of calls if it was after the last.
        stdout: what was written there, the first 4096 bytes.
        stderr: likewise.
        not_kept: bytes that were written to either beyond these.
        descriptors: those that are open or closed now and were not before.
        processes: how many the calls have left behind; they were ended.
        made_by: the arguments of the `Executor`, and what was set since.
    """

    calls: tuple[Call, ...]
    results: tuple[Result, ...]
    ended: Ended
    status: int = 0
    call: int = 0
    stdout: bytes = b""
    stderr: bytes = b""
    not_kept: int = 0
    descriptors: tuple[Descriptor, ...] = ()
    processes: int = 0
    made_by: Mapping[str, Any] = field(default_factory=dict, repr=False, compare=False)

    @cached_property
    def answers(self) -> tuple[Answer, ...]:
        """The results in the form of the reference model, with handles in the order in which they were seen."""
        reader = _Reader()
        return tuple(reader.answer(call, result) for call, result in zip(self.calls, self.results, strict=False))

    def _place(self, number: int) -> str:
        if number >= len(self.calls):
            return "after the last call"
        return f"in call {number}, {self.calls[number].function}"

    def _ending(self) -> tuple[Problem, ...]:
        call = self.call if self.call < len(self.calls) else None
        what = {
            Ended.CRASH: ("crash", _signal_name(self.status)),
            Ended.HANG: ("hang", "not done in time"),
            Ended.EXIT: ("exit", f"the process was ended with status {self.status}"),
            Ended.FULL: ("memory", "the results have no room"),
            Ended.NO_PROCESS: ("lost", f"fork: {errno.errorcode.get(self.status, self.status)}"),
            Ended.LOST: ("lost", "the executor itself was ended"),
        }.get(self.ended)
        return () if what is None else (Problem(what[0], call, f"{what[1]} {self._place(self.call)}"),)

    def _of_call(self, number: int) -> list[Problem]:
        result, place = self.results[number], self._place(number)
        found = []
        if result.missing:
            found.append(Problem("missing", number, f"no library has the function {place}"))
        if result.error is not None:
            name = errno.errorcode.get(result.error, str(result.error))
            found.append(Problem("errno", number, f"errno was changed to {name} {place}"))
        for argument, behind in result.beyond:
            side = "behind" if behind else "before"
            found.append(Problem("memory", number, f"written {side} the memory of argument {argument} {place}"))
        return found

    @cached_property
    def problems(self) -> tuple[Problem, ...]:
        """All that a library may not do: () for a sound one, whatever codes it answered."""
        found = list(self._ending())
        for number in range(len(self.results)):
            found.extend(self._of_call(number))
        for name, text in (("stdout", self.stdout), ("stderr", self.stderr)):
            if text:
                found.append(Problem("output", None, f"wrote to {name}: {text[:200]!r}"))
        for change in self.descriptors:
            what = f"left open, to {change.target}" if change.open else "closed"
            found.append(Problem("descriptor", None, f"descriptor {change.number} was {what}"))
        if self.processes:
            found.append(Problem("process", None, f"{self.processes} left behind"))
        return tuple(found)

    def reproducer(self) -> str:
        """A Python program that runs the same calls again and leaves `outcome`."""
        used = {type(argument) for call in self.calls for argument in call.arguments}
        names = ["Call", "Executor", *(kind.__name__ for kind in (Kept, Memory, TextAt) if kind in used)]
        made_by = dict(self.made_by)
        timeout = made_by.pop("timeout", None)
        leave = made_by.pop("leave", None)
        host = made_by.pop("host", None)
        lines = [f"from vgpu_harness.fuzz import {', '.join(sorted(names))}"]
        words = [f"{name}={value!r}" for name, value in made_by.items() if value]
        if host is not None and not isinstance(host, str):
            lines.append("from vgpu_harness.host import Host")
            words.insert(0, f"host=Host.model_validate({host.model_dump(exclude_defaults=True)!r})")
        elif host is not None:
            words.insert(0, f"host={host!r}")
        lines += ["", f"with Executor({', '.join(words)}) as executor:", "    outcome = executor.run(["]
        for number, call in enumerate(self.calls):
            said = f"  # {self.answers[number]}" if number < len(self.results) else ""
            lines.append(f"        {call!r},{said}")
        rest = "".join(f", {name}={value!r}" for name, value in (("timeout", timeout), ("leave", leave)) if value)
        return "\n".join([*lines, f"    ]{rest})", ""])

    def __str__(self) -> str:
        heads = [f"# {problem.kind}: {problem.text}" for problem in self.problems] or ["# nothing wrong"]
        return "\n".join([*heads, self.reproducer()])
