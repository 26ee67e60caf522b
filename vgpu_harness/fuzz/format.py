"""The executor's format, as its greeting tells it: requests to bytes, bytes to results.

Numbers, types and sizes are those of csrc/clients/executor/format.def; here stands only in which order which fields are
used, and a greeting that has others is refused.
"""

import struct
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from vgpu_harness.errors import RunError
from vgpu_harness.fuzz.calls import MARK, Call, Kept, Memory, TextAt, signatures
from vgpu_harness.fuzz.outcome import Descriptor, Ended, Outcome, Result

_LETTERS = {"u8": "B", "u16": "H", "u32": "I", "i32": "i", "u64": "Q"}

_FIELDS = {
    "request": "size kind count",
    "found": "size",
    "example": "size calls timeout_ms flags",
    "call": "function thread arguments flags",
    "argument": "kind place size given value",
    "outcome": ("size ended status call results descriptors processes out_bytes out_kept err_bytes err_kept"),
    "result": "value error flags outputs text",
    "output": "argument flags size text",
    "descriptor": "number open text",
}

_NUMBERS = {
    "REQUEST_BYTES", "THREADS_MAX", "ARGUMENTS_MAX", "REGISTERS_MAX", "BUFFERS_BYTES", "BUFFER_EDGE", "ERRNO_MARK",
    "REQUEST_FUNCTIONS", "REQUEST_VARIABLE", "REQUEST_EXAMPLES", "EXAMPLE_STAYS", "EXAMPLE_EXITS", "CALL_RETURNS_TEXT",
    "ARGUMENT_NUMBER", "ARGUMENT_BUFFER", "ARGUMENT_TEXT", "ARGUMENT_KEPT", "NOWHERE", "RESULT_MISSING",
    "OUTPUT_BEFORE", "OUTPUT_BEHIND", *(f"ENDED_{ended.name}" for ended in Ended if ended is not Ended.LOST),
}  # fmt: skip

_ALL_64 = (1 << 64) - 1


_TIMEOUT_MAX = 4_000_000
"""Seconds that a sequence can have: a u32 counts the milliseconds."""

_CALLS_KNOWN = 10_000
"""Calls whose bytes are remembered: fuzzing makes many of them again."""


class _Known(NamedTuple):
    """A call's bytes; what its `Memory` and `TextAt` arguments hold before it, and which of these each argument is."""

    encoded: bytes
    before: list[bytes | None]
    places: dict[int, int]


class ExecutorError(RunError):
    """The executor could not be started, did not answer, or was asked for what it cannot do."""


def _other(what: str) -> ExecutorError:
    return ExecutorError(
        f"vgpu-executor: its format is another one ({what}); rebuild it: pip install . in the checkout of vgpu-harness"
    )


class Format:
    """The format of one executor.

    Args:
        greeting: the table that it has sent.
        functions: the names that a call may have, in the order that the executor knows.

    Raises:
        ExecutorError: the greeting is not that of a format which this module can write and read.
    """

    def __init__(self, greeting: str, functions: Sequence[str]) -> None:
        self.number: dict[str, int] = {}
        self._records: dict[str, struct.Struct] = {}
        told: dict[str, str] = {}
        for line in greeting.strip().splitlines():
            try:
                what, name, *rest = line.split(" ")
                if what == "number":
                    self.number[name] = int(rest[0])
                else:
                    told[name] = " ".join(field.partition(":")[0] for field in rest)
                    letters = "".join(_LETTERS[field.partition(":")[2]] for field in rest)
                    self._records[name] = struct.Struct("=" + letters)
            except (LookupError, ValueError) as error:
                raise _other(f"{line[:60]!r}") from error
        if told != _FIELDS or self.number.get("MARK") != MARK:
            wrong = sorted(name for name in {*told, *_FIELDS} if told.get(name) != _FIELDS.get(name)) or ["MARK"]
            raise _other(", ".join(wrong))
        if missing := sorted(_NUMBERS - self.number.keys()):
            raise _other(", ".join(missing))
        self._index = {name: place for place, name in enumerate(functions)}
        text_flag = self.number["CALL_RETURNS_TEXT"]
        self._flags = {name: text_flag for name, entry in signatures().items() if entry.returns_text}
        self._ended = {self.number[f"ENDED_{ended.name}"]: ended for ended in Ended if ended is not Ended.LOST}
        self._calls: dict[Call, _Known] = {}
        self._marks = self.number["ERRNO_MARK"], self.number["RESULT_MISSING"]
        self._edges = self.number["OUTPUT_BEFORE"], self.number["OUTPUT_BEHIND"]
        self._result_record, self._output_record = self._records["result"], self._records["output"]
        self.header_size = self._records["outcome"].size
        self.request_header_size = self._records["request"].size

    def request(self, kind: str, count: int, body: bytes) -> bytes:
        """A whole request."""
        return self._records["request"].pack(len(body), self.number[f"REQUEST_{kind}"], count) + body

    def found_size(self, header: bytes) -> int:
        """How many bytes follow the head of the answer to FUNCTIONS."""
        return int(self._records["found"].unpack(header)[0])

    def outcome_size(self, header: bytes) -> int:
        """How many bytes follow the head of an outcome."""
        return int(self._records["outcome"].unpack(header)[0])

    def example(self, calls: Iterable[Call], timeout: float, flags: Iterable[str] = ()) -> bytes:
        """A sequence of calls.

        Args:
            calls: what is called.
            timeout: seconds after which the process is killed.
            flags: "STAYS", "EXITS".

        Raises:
            ExecutorError: a call or the time cannot be written in this format.
        """
        if not 0 <= timeout <= _TIMEOUT_MAX:
            raise ExecutorError(f"{timeout!r}: is no time that a sequence can have; give 0 to {_TIMEOUT_MAX} seconds")
        parts = [self._known(call).encoded for call in calls]
        body = b"".join(parts)
        number = sum(self.number[f"EXAMPLE_{flag}"] for flag in flags)
        return self._records["example"].pack(len(body), len(parts), max(1, round(timeout * 1000)), number) + body

    def _known(self, call: Call) -> _Known:
        known = self._calls.get(call)
        if known is None:
            if len(self._calls) >= _CALLS_KNOWN:
                self._calls.clear()
            self._check(call)
            places: dict[int, int] = {}
            before: list[bytes | None] = []
            for place, argument in enumerate(call.arguments):
                if isinstance(argument, (Memory, TextAt)):
                    places[place] = len(before)
                    before.append(argument.filled() if isinstance(argument, Memory) else None)
            known = self._calls[call] = _Known(self._encode(call), before, places)
        return known

    def _encode(self, call: Call) -> bytes:
        pack = self._records["argument"].pack
        number, nowhere = self.number["ARGUMENT_NUMBER"], self.number["NOWHERE"]
        head = self._index[call.function], call.thread, len(call.arguments), self._flags.get(call.function, 0)
        parts = [self._records["call"].pack(*head)]
        for argument in call.arguments:
            if isinstance(argument, int):
                parts.append(pack(number, nowhere, 0, 0, argument & _ALL_64))
            elif isinstance(argument, Memory):
                size, given, keep = argument
                place = nowhere if keep is None else keep
                parts.extend((pack(self.number["ARGUMENT_BUFFER"], place, size, len(given), 0), given))
            elif isinstance(argument, Kept):
                parts.append(pack(self.number["ARGUMENT_KEPT"], argument.register, 0, 0, 0))
            else:
                parts.append(pack(self.number["ARGUMENT_TEXT"], nowhere, 8, 0, 0))
        return b"".join(parts)

    def _check(self, call: Call) -> None:
        """What the executor would refuse, at the price of its life."""
        if call.function not in self._index:
            raise ExecutorError(
                f"{call.function!r}: the executor does not know this function; name it in Executor(functions=...)"
            )
        memory = [argument for argument in call.arguments if isinstance(argument, Memory)]
        used = sum(size + 3 * self.number["BUFFER_EDGE"] for size, _, _ in memory)
        registers = [argument.register for argument in call.arguments if isinstance(argument, Kept)]
        registers += [keep for _, _, keep in memory if keep is not None]
        if (
            not 0 <= call.thread < self.number["THREADS_MAX"]
            or len(call.arguments) > self.number["ARGUMENTS_MAX"]
            or used > self.number["BUFFERS_BYTES"]
            or any(not 0 <= register < self.number["REGISTERS_MAX"] for register in registers)
            or any(not len(given) <= size for size, given, _ in memory)
        ):
            raise ExecutorError(f"{call!r}: is more than the executor takes; see Memory and Call for what fits")

    def outcome(self, header: bytes, body: bytes, calls: tuple[Call, ...], made_by: Mapping[str, Any]) -> Outcome:
        """An outcome from its head and what follows it.

        Raises:
            ExecutorError: the bytes are not an outcome: an example has written into the executor's memory.
        """
        fields = self._records["outcome"].unpack(header)
        _, ended, status, call, results, descriptors, processes, out_bytes, out_kept, err_bytes, err_kept = fields
        try:
            at, found = 0, []
            for i in range(results):
                at, result = self._result(body, at, calls[i])
                found.append(result)
            changes = []
            for _ in range(descriptors):
                number, is_open, length = self._records["descriptor"].unpack_from(body, at)
                at += self._records["descriptor"].size
                target = body[at : at + length].decode(errors="replace")
                at += length
                changes.append(Descriptor(number, bool(is_open), target))
            how = self._ended[ended]
        except (LookupError, struct.error) as error:
            raise ExecutorError(
                f"vgpu-executor: an answer makes no sense ({error}); run its calls one by one"
            ) from error
        end = len(body) - err_kept
        return Outcome(
            calls, tuple(found), how, status, call, body[end - out_kept : end], body[end:],
            out_bytes + err_bytes - out_kept - err_kept, tuple(changes), processes, made_by,
        )  # fmt: skip

    def _result(self, body: bytes, at: int, call: Call) -> tuple[int, Result]:
        value, error, flags, outputs, text = self._result_record.unpack_from(body, at)
        at += self._result_record.size
        returned = body[at : at + text] if text else None
        at += text
        _, before, places = self._known(call)
        after = before.copy()
        beyond: list[tuple[int, bool]] = []
        for _ in range(outputs):
            place, edges, size, length = self._output_record.unpack_from(body, at)
            at += self._output_record.size
            written = body[at : at + size]
            at += size
            filled = before[places[place]]
            if filled is not None:
                after[places[place]] = written + filled[size:]
            elif any(written):
                after[places[place]] = body[at : at + length]
            at += length
            if edges:
                beyond.extend((place, side == 1) for side in (0, 1) if edges & self._edges[side])
        mark, missing = self._marks
        changed = error if error != mark else None
        return at, Result(value, tuple(after), returned, changed, tuple(beyond), bool(flags & missing))
