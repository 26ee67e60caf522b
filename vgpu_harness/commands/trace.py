"""`vgpu-harness trace`: reads the trace of a run."""

import json
from collections import deque
from collections.abc import Iterable
from pathlib import Path

import click

KINDS = ("mapped", "init", "refused", "gate", "entered", "call")
LIBRARIES = ("cuda", "nvml", "syscall", "exec", "audit", "cudalibs")


@click.group("trace")
def command() -> None:
    """Read the trace of a run."""


@command.command("show")
@click.argument("file", type=click.Path(path_type=Path))
@click.option("--json", "as_json", is_flag=True, help="Write JSON objects, one a line.")
@click.option("--pid", type=int, multiple=True, help="Only records of this process; may be given again.")
@click.option("--kind", type=click.Choice(KINDS), multiple=True, help="Only records of this kind; may be given again.")
@click.option("--library", type=click.Choice(LIBRARIES), multiple=True, help="Only this library's; may be given again.")
@click.option("--tail", type=click.IntRange(min=0), metavar="N", help="Only the last N of them.")
def show(
    file: Path, as_json: bool, pid: tuple[int, ...], kind: tuple[str, ...], library: tuple[str, ...], tail: int | None
) -> None:
    """Show the records of FILE, a trace or the directory of a run, one a line.

    What the trace lacks, records that were dropped or torn, is said on stderr.
    """
    from vgpu_harness.trace import Record, Trace
    from vgpu_harness.trace.text import to_json, to_line

    trace = Trace.open(file)

    def wanted(record: Record) -> bool:
        return (
            (not pid or record.pid in pid)
            and (not kind or record.kind.name.lower() in kind)
            and (not library or record.library.name.lower() in library)
        )

    records: Iterable[Record] = filter(wanted, trace.records)
    if tail is not None:
        records = deque(records, maxlen=tail)
    for record in records:
        caller = trace.object_of(record)
        if as_json:
            click.echo(json.dumps(to_json(record, caller=caller)))
        else:
            click.echo(to_line(record, start_ns=trace.start_monotonic_ns, caller=caller))
    if trace.dropped or trace.torn:
        click.echo(
            f"vgpu-harness: {file}: {trace.dropped} records dropped for want of room, {trace.torn} torn", err=True
        )


@command.command("funnel")
@click.argument("file", type=click.Path(path_type=Path))
@click.option("--json", "as_json", is_flag=True, help="Write a JSON list.")
def funnel(file: Path, as_json: bool) -> None:
    """Derive the verdict again from FILE, the directory of a run of `discover`, or its trace.

    Exit status: 0 if the GPU was discovered without findings, 1 if not.
    """
    from vgpu_harness.discovery import render, verdict_of

    verdict = verdict_of(file)
    if as_json:
        click.echo(json.dumps([verdict.to_json()], indent=1))
    else:
        from rich.console import Console

        render([verdict], Console())
    if not verdict.as_hoped:
        click.get_current_context().exit(1)
