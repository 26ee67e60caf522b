"""`vgpu-harness run`: one program on the simulated host, with the terminal's streams and its own exit status."""

import json
import math
import os
import re
import signal
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from vgpu_harness.cli import complain

if TYPE_CHECKING:
    from vgpu_harness.run import Run
    from vgpu_harness.run.child import Observe
    from vgpu_harness.run.provider import ProviderName
    from vgpu_harness.run.witness import ObserveFiles

HARNESS_FAILED = 125
CANNOT_EXECUTE = 126
NOT_FOUND = 127
"""As env(1) answers: the harness itself failed, the program cannot be executed, it was not found."""

PROVIDERS = ("preload", "namespace", "notification")
"""`vgpu_harness.run.provider.PROVIDERS`, which is not imported for a --help."""

_SHOWN = 3
"""So many programs that the shims did not reach are named; a script can start thousands."""

_UNITS = {"": 1, "k": 1 << 10, "m": 1 << 20, "g": 1 << 30}


class Size(click.ParamType[int]):
    """A number of bytes, with K, M or G for powers of 1024."""

    name = "size"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        """The number."""
        if isinstance(value, int):
            return value
        found = re.fullmatch(r"(\d{1,12})([kmg]?)(i?b)?", str(value).strip().lower())
        if found is None:
            self.fail(f"{value!r} is not a size; write bytes, or a number with K, M or G, as in 64M", param, ctx)
        return int(found[1]) * _UNITS[found[2]]


@click.command("run", context_settings={"allow_interspersed_args": False})
@click.option(
    "--host",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="Host file or host image; the default host otherwise.",
)
@click.option("--trace", type=click.Path(path_type=Path), metavar="FILE", help="Put the trace there.")
@click.option(
    "--json", "json_file", type=click.Path(path_type=Path), metavar="FILE", help="Write a summary of the run there."
)
@click.option("--trace-size", type=Size(), default="64M", show_default=True, help="Size of the trace, as in 64M.")
@click.option("--timeout", type=float, metavar="S", help="End the program after S seconds.")
@click.option(
    "--observe",
    type=click.Choice(["auto", "ptrace", "sampled"]),
    default="auto",
    show_default=True,
    help="How its processes are seen: all of them by ptrace, or by looking at /proc now and then.",
)
@click.option(
    "--observe-files",
    type=click.Choice(["auto", "watch", "notification", "none"]),
    default="auto",
    show_default=True,
    help="How programs that go past the preloaded file shim are found: by a watch of the machine's own files, or by "
    "their system calls, which sees paths too that the machine does not have; auto is that for static and Go programs.",
)
@click.option(
    "--provider",
    type=click.Choice(PROVIDERS),
    default="preload",
    show_default=True,
    help="How it is shown the virtual files: by a preloaded library, in a mount namespace, or by a supervisor of its "
    "system calls. Static programs see them by the last two.",
)
@click.option("--no-audit", is_flag=True, help="Do not record which objects are mapped.")
@click.option("--keep", type=click.Path(path_type=Path), metavar="DIR", help="Keep the files of the run in DIR.")
@click.argument("program", nargs=-1, required=True, type=click.UNPROCESSED, metavar="-- PROGRAM [ARG]...")
@click.pass_context
def command(
    ctx: click.Context,
    *,
    host: Path | None,
    trace: Path | None,
    json_file: Path | None,
    trace_size: int,
    timeout: float | None,
    observe: "Observe",
    observe_files: "ObserveFiles",
    provider: "ProviderName",
    no_audit: bool,
    keep: Path | None,
    program: tuple[str, ...],
) -> None:
    """Run PROGRAM on the simulated host.

    Its streams are the terminal's, its environment is built, not inherited (PATH, LANG, TERM and TZ are kept).

    Exit status: the program's own, 128 + n if signal n killed it; 2 if something was wrong before the start; 126 or 127
    if it could not be executed; 125 if the harness failed, the shims never got into it, or the host is strict and a
    function without a model was called.
    """
    if timeout is not None and not timeout > 0:
        raise click.BadParameter(f"{timeout} is not above 0; give seconds", param_hint="--timeout")
    if json_file is not None:
        _check_writable(json_file)
    signal.signal(signal.SIGTERM, _end)
    signal.signal(signal.SIGHUP, _end)
    if signal.getsignal(signal.SIGCHLD) == signal.SIG_IGN:
        # As timeout(1) has it: where that was inherited, the kernel throws the exit status away.
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    with tempfile.TemporaryDirectory(prefix="vgpu-run-", ignore_cleanup_errors=True) as scratch:
        directory = keep if keep is not None else Path(scratch)
        ctx.exit(
            _run(
                program,
                json_file,
                host=host,
                trace=trace,
                trace_size=trace_size,
                timeout=timeout if timeout is not None else math.inf,
                audit=not no_audit,
                observe=observe,
                observe_files=observe_files,
                provider=provider,
                directory=directory,
                keep_tree=keep is not None,
            )
        )


def _end(number: int, _frame: object) -> None:
    sys.exit(128 + number)


def _check_writable(path: Path) -> None:
    if path.is_dir() or not os.access(path.parent, os.W_OK):
        raise click.BadParameter(f"{path} cannot be written; give a file in a directory that can", param_hint="--json")


def _run(program: tuple[str, ...], json_file: Path | None, **options: Any) -> int:
    from vgpu_harness.errors import VgpuHarnessError
    from vgpu_harness.run import run
    from vgpu_harness.run.child import NotStartedError

    try:
        done = run(program, pass_streams=True, check_mapped=False, check_strict=False, **options)
        if json_file is not None:
            _write_summary(done, json_file)
    except NotStartedError as error:
        complain(error)
        return NOT_FOUND if isinstance(error.__cause__, FileNotFoundError) else CANNOT_EXECUTE
    except VgpuHarnessError:
        raise
    except Exception as error:
        complain(f"failed: {type(error).__name__}: {error}; report this")
        return HARNESS_FAILED
    return _status(done)


def _write_summary(done: "Run", path: Path) -> None:
    temporary = path.with_name(f".{path.name}.part")
    temporary.write_text(json.dumps(done.to_json(), indent=1) + "\n", encoding="utf-8")
    temporary.replace(path)


def _past(done: "Run") -> list[str]:
    """What went past the shims, for a message."""
    bypassed = [str(bypass) for bypass in done.bypassed if bypass.is_of_run]
    if len(bypassed) > _SHOWN:
        return [*bypassed[:_SHOWN], f"and {len(bypassed) - _SHOWN} more paths, which --json lists"]
    return bypassed


def _status(done: "Run") -> int:
    if done.unmapped is not None:
        complain("; ".join([f"{done.argv[0]}: {done.unmapped}", *done.findings, *_past(done)]))
        return HARNESS_FAILED
    if done.not_strict is not None:
        complain(f"{done.argv[0]}: {done.not_strict}")
        return HARNESS_FAILED
    remarks = [*done.findings, *map(str, done.without_shims[:_SHOWN])]
    if len(done.without_shims) > _SHOWN:
        remarks.append(f"and {len(done.without_shims) - _SHOWN} more programs without shims, which --json lists")
    remarks += _past(done)
    if done.timed_out:
        remarks.insert(0, f"{done.argv[0]}: ended, its time was over")
    if remarks:
        complain("; ".join(remarks))
    return done.returncode if done.returncode >= 0 else 128 - done.returncode
