"""`vgpu-harness preflight`: are libraries safe in /etc/ld.so.preload?"""

import contextlib
import json
import signal
import sys
from collections.abc import Iterator
from pathlib import Path

import click

_ENDS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


@contextlib.contextmanager
def _tidy_end() -> Iterator[None]:
    """Lets a signal that ends this process be an exception, so that what lies in /tmp is removed; nohup is heeded."""
    heard = [number for number in _ENDS if signal.getsignal(number) is not signal.SIG_IGN]
    before = {number: signal.signal(number, lambda number, _: sys.exit(128 + number)) for number in heard}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@click.command("preflight")
@click.option("--shims", is_flag=True, help="The shims of this package, in their default order, after LIB...")
@click.option("--host", type=click.Path(path_type=Path), metavar="FILE", help="Host file for libraries that read one.")
@click.option("--without", multiple=True, metavar="STEP", help="Leave a step out; the verdict says so.")
@click.option(
    "--timeout",
    type=click.FloatRange(min=0.5),
    default=10.0,
    show_default=True,
    help="Seconds that each program may take; systemd three times as many.",
)
@click.option("--all", "every", is_flag=True, help="Show what passed, too.")
@click.option("--json", "as_json", is_flag=True, help="Write a JSON object.")
@click.argument("libraries", nargs=-1, type=click.Path(path_type=Path), metavar="LIB...")
@click.pass_context
def command(
    ctx: click.Context,
    *,
    shims: bool,
    host: Path | None,
    without: tuple[str, ...],
    timeout: float,
    every: bool,
    as_json: bool,
    libraries: tuple[Path, ...],
) -> None:
    """Try libraries in the /etc/ld.so.preload of a machine like this one: is it safe to deploy them system-wide?

    systemd, sshd, su, cron and others run with them in an enclosure of namespaces, and have to do what they do without.
    The machine itself is not touched. As root everything is tried; an ordinary user learns what is not safe.

    Exit status: 0 if they are safe to deploy; 1 if they are not, or if that is not known, as something vital could not
    be tried; 2 if something was wrong before the start; 128 and its number if a signal has ended it.
    """
    from vgpu_harness.host import Host
    from vgpu_harness.preflight.check import preflight
    from vgpu_harness.preflight.report import SAFE, render
    from vgpu_harness.shims.build import check_fresh
    from vgpu_harness.shims.paths import shim_path

    chosen = list(libraries)
    if shims:
        check_fresh()
        chosen += [shim_path(name) for name in Host().delivery.preload]
    if not chosen:
        raise click.UsageError("name libraries, or give --shims")
    described = None if host is None else Host.load(host)
    with _tidy_end():
        report = preflight(chosen, without=without, host=described, timeout=timeout)
    click.echo(json.dumps(report.to_json(), indent=1) if as_json else render(report, every=every))
    ctx.exit(0 if report.verdict == SAFE else 1)
