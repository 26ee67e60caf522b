"""Records as lines for people and as JSON for programs."""

from typing import Any

from vgpu_harness._wire import lib
from vgpu_harness.trace.record import Kind, Record

_READY = {
    lib.VGPU_READY: "ready",
    lib.VGPU_TOO_EARLY: "too early",
    lib.VGPU_NOT_AN_APPLICATION: "not an application",
    lib.VGPU_NO_IMAGE: "no image",
}
_IMAGE = {
    lib.VGPU_IMAGE_NONE: "no host image",
    lib.VGPU_IMAGE_MAPPED: "host image mapped",
    lib.VGPU_IMAGE_REFUSED: "host image refused",
}


def _number(value: int) -> str:
    """A 64-bit number: what looks like a pointer or a negative number is shown as such."""
    if value >= 1 << 63:
        return str(value - (1 << 64))
    return hex(value) if value >= 1 << 44 else str(value)


def _quoted(text: str) -> str:
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n") + '"'


def _what(record: Record) -> str:
    first = record.inputs[0] if record.inputs else -1
    match record.kind:
        case Kind.MAPPED:
            return f"{record.text} at {first:#x}"
        case Kind.INIT:
            return f"{_IMAGE.get(first, first)}, in {record.text}"
        case Kind.GATE:
            return f"{_READY.get(first, first)}: {record.text}"
        case Kind.REFUSED:
            return record.text
    line = f"{record.name}({', '.join(map(_number, record.inputs))})"
    if record.kind == Kind.CALL:
        line += f" = {record.result}"
    if record.outputs:
        line += f" [{', '.join(map(_number, record.outputs))}]"
    if record.text:
        line += f" {_quoted(record.text)}"
    return line


def to_line(record: Record, *, start_ns: int = 0, caller: str | None = None) -> str:
    """One line for a terminal, without a newline.

    Args:
        record: the record.
        start_ns: the time that is shown as 0, CLOCK_MONOTONIC in nanoseconds.
        caller: the object that called, as `Trace.object_of` answers it.
    """
    seconds = (record.time_ns - start_ns) / 1e9
    thread = f"{record.pid}" if record.tid == record.pid else f"{record.pid}/{record.tid}"
    line = f"{seconds:11.6f} {thread:<9} {record.library.name.lower():<7} {record.kind.name.lower():<7} {_what(record)}"
    if record.faulted:
        line += " (fault)"
    if record.unmodelled:
        line += " (no model)"
    if record.cut:
        line += " (text cut)"
    if caller:
        line += f" <- {caller}"
    return "".join(c if c.isprintable() else f"\\x{ord(c):02x}" for c in line)


def to_json(record: Record, *, caller: str | None = None) -> dict[str, Any]:
    """The record as a JSON object; `caller` as for `to_line`."""
    return {
        "kind": record.kind.name.lower(),
        "time_ns": record.time_ns,
        "pid": record.pid,
        "tid": record.tid,
        "parent": record.parent,
        "library": record.library.name.lower(),
        "name": record.name,
        "text": record.text,
        "inputs": list(record.inputs),
        "outputs": list(record.outputs),
        "result": record.result,
        "caller": record.caller,
        "caller_object": caller,
        "cut": record.cut,
        "faulted": record.faulted,
        "unmodelled": record.unmodelled,
    }
