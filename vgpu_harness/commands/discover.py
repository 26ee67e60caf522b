"""`vgpu-harness discover`: is the GPU of a simulated host found, and if not, where did discovery stop and why."""

import json
import shutil
import sys
import tempfile
import threading
import time
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Self

import click

from vgpu_harness.cli import complain
from vgpu_harness.commands.run import Size

if TYPE_CHECKING:
    from vgpu_harness.discovery import Verdict

PATIENCE = 1.0
"""Seconds of silence before progress is shown."""


@click.command("discover")
@click.option(
    "--generation",
    type=click.Choice(["a", "b", "c", "all"]),
    default="all",
    show_default=True,
    help="Generation of Ollama.",
)
@click.option(
    "--host", type=click.Path(path_type=Path), metavar="FILE", help="Host file; the default host (one H100) otherwise."
)
@click.option("--json", "as_json", is_flag=True, help="Write a JSON list, one object a generation.")
@click.option(
    "--scale", type=float, default=1.0, show_default=True, metavar="X", help="Multiply the client's time limits."
)
@click.option("--trace-size", type=Size(), default="64M", show_default=True, help="Size of each trace, as in 64M.")
@click.option(
    "--keep", type=click.Path(path_type=Path), metavar="DIR", help="Keep the files of the runs in DIR/a, DIR/b, DIR/c."
)
@click.option(
    "--libraries",
    type=click.Path(path_type=Path),
    metavar="DIR",
    help="Use the libraries in DIR, laid out like Ollama's lib/ollama, in place of the stand-ins.",
)
@click.option("--no-audit", is_flag=True, help="Do not record which objects are mapped.")
@click.pass_context
def command(
    ctx: click.Context,
    *,
    generation: str,
    host: Path | None,
    as_json: bool,
    scale: float,
    trace_size: int,
    keep: Path | None,
    libraries: Path | None,
    no_audit: bool,
) -> None:
    """Run stand-ins for Ollama's GPU discovery on a simulated host and say at which stage they stopped.

    Three generations of it: a, up to v0.12.3; b, v0.12.4 to v0.24.0; c, from v0.30.0.

    Exit status: 0 if every generation answers cuda without a finding, 1 if not, 2 if something was wrong before
    the start.
    """
    from vgpu_harness.discovery import discover
    from vgpu_harness.discovery.clients import GENERATIONS

    if not 0 < scale < 1e6:
        raise click.BadParameter(
            f"{scale} is not a factor for time limits; give a number above 0", param_hint="--scale"
        )
    chosen = GENERATIONS if generation == "all" else (generation,)
    with ExitStack() as stack:
        directory = keep
        if directory is None:
            directory = Path(tempfile.mkdtemp(prefix="vgpu-discover-"))
            stack.callback(shutil.rmtree, directory, ignore_errors=True)
        with Progress() as progress:
            verdicts = discover(
                chosen,
                host,
                scale=scale,
                directory=directory,
                libraries=libraries,
                audit=not no_audit,
                trace_size=trace_size,
                progress=progress.tell,
            )
        good = all(verdict.as_hoped for verdict in verdicts)
        if keep is None and not good:
            stack.pop_all()
            complain(f"the files of the runs are kept in {directory}; remove them when done")
        _show(verdicts, as_json=as_json)
    ctx.exit(0 if good else 1)


def _show(verdicts: "list[Verdict]", *, as_json: bool) -> None:
    if as_json:
        click.echo(json.dumps([verdict.to_json() for verdict in verdicts], indent=1))
        return
    from rich.console import Console

    from vgpu_harness.discovery import render

    render(verdicts, Console())


class Progress:
    """One line on stderr that says what goes on, if stderr is a terminal and it takes longer than a second."""

    def __init__(self) -> None:
        self._shown = sys.stderr.isatty()
        self._step = "starting"
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._work, daemon=True)

    def tell(self, step: str) -> None:
        """Called with each step, from any thread."""
        self._step = step

    def _work(self) -> None:
        started = time.monotonic()
        if self._over.wait(PATIENCE):
            return
        while True:
            line = f"{time.monotonic() - started:4.0f} s  {self._step}"
            sys.stderr.write(f"\r\x1b[K{line}")
            sys.stderr.flush()
            if self._over.wait(0.5):
                break
        sys.stderr.write("\r\x1b[K")
        sys.stderr.flush()

    def __enter__(self) -> Self:
        if self._shown:
            self._thread.start()
        return self

    def __exit__(
        self, _kind: type[BaseException] | None, _error: BaseException | None, _: TracebackType | None
    ) -> None:
        self._over.set()
        if self._shown:
            self._thread.join()
