"""A strict host: a run in which a program called a function that the shims have no model of has failed.

Such a function answers NOT_SUPPORTED, as a driver may; what the program does then may be right, and yet say nothing
about a real driver, which has the function.
"""

from pathlib import Path

from vgpu_harness.host import Host
from vgpu_harness.host.image import is_strict
from vgpu_harness.trace import Kind, Record, Trace

_SHOWN = 5
"""So many functions are named; a program that tries each way it knows calls dozens."""


def wants_strict(host: Host | Path) -> bool:
    """Is the host, a value or an image, a strict one?

    Raises:
        OSError: the image cannot be read.
    """
    return host.strict if isinstance(host, Host) else is_strict(host)


def unmodelled_calls(trace: Trace) -> dict[tuple[int, str], list[Record]]:
    """The calls of functions without a model, by process and function, in the order of the first."""
    calls: dict[tuple[int, str], list[Record]] = {}
    for record in trace.records:
        if record.kind == Kind.CALL and record.unmodelled:
            calls.setdefault((record.pid, record.name), []).append(record)
    return calls


def why_not_strict(trace: Trace) -> str | None:
    """Why a run on a strict host has failed, in words with the remedy; None if it has not."""
    calls = unmodelled_calls(trace)
    if not calls and trace.dropped:
        return (
            f"the host is strict, and the trace was full: {trace.dropped} records were dropped, which may be calls of "
            "functions without a model; raise trace_size (--trace-size)"
        )
    if not calls:
        return None
    programs = {record.pid: record.text for record in trace.records if record.kind == Kind.INIT}
    words = []
    for (pid, name), records in list(calls.items())[:_SHOWN]:
        program = Path(programs.get(pid, "")).name
        times = f", {len(records)} times" if len(records) > 1 else ""
        caller = trace.object_of(records[0])
        words.append(
            f"{name} by process {pid}{f' ({program})' if program else ''}{f' from {caller}' if caller else ''}{times}"
        )
    more = f", and {len(calls) - _SHOWN} more, which `vgpu-harness trace show` marks" if len(calls) > _SHOWN else ""
    return (
        f"the host is strict, and functions without a model were called: {'; '.join(words)}{more}; "
        "use what docs/coverage.md has as modelled, or leave `strict` out of the host file"
    )
