"""`vgpu-harness conform`: do libraries keep the rules of the CUDA driver API and of NVML."""

import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from vgpu_harness.errors import RunError

if TYPE_CHECKING:
    from vgpu_harness.conformance.control import Control
    from vgpu_harness.conformance.result import Result
    from vgpu_harness.conformance.rule import ApiName, Rule
    from vgpu_harness.conformance.subject import Subject


@click.command("conform")
@click.option("--cuda", type=click.Path(path_type=Path), metavar="LIB", help="A libcuda; the shim if neither is given.")
@click.option(
    "--nvml", type=click.Path(path_type=Path), metavar="LIB", help="A libnvidia-ml; the shim if neither is given."
)
@click.option(
    "--host",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="Host file that the libraries show; the default host for our own shims, none for other libraries.",
)
@click.option("--rule", "patterns", multiple=True, metavar="GLOB", help="Only rules of this name, or of this function.")
@click.option(
    "--rules",
    "files",
    type=click.Path(path_type=Path),
    multiple=True,
    metavar="FILE",
    help="More rules, a Python file.",
)
@click.option(
    "--timeout", type=click.FloatRange(min=0.1), default=10.0, show_default=True, help="Seconds that each rule has."
)
@click.option("--allow-missing", is_flag=True, help="A function that the library does not export is no finding.")
@click.option("--no-sandbox", is_flag=True, help="Run libraries that are not ours as this user, and let them see /dev.")
@click.option("--record", "to", type=click.Path(path_type=Path), metavar="FILE", help="Keep what the libraries answer.")
@click.option(
    "--against",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="Compare what the libraries answer with a recording.",
)
@click.option("--list", "only_list", is_flag=True, help="List the rules and where they come from; try none.")
@click.option("--controls", "lies", is_flag=True, help="Let each function of our own shims lie: a rule must notice.")
@click.option("--all", "every", is_flag=True, help="Show what passed, too.")
@click.option("--json", "as_json", is_flag=True, help="Write a JSON list, one object a rule.")
@click.pass_context
def command(
    ctx: click.Context,
    *,
    cuda: Path | None,
    nvml: Path | None,
    host: Path | None,
    patterns: tuple[str, ...],
    files: tuple[Path, ...],
    timeout: float,
    allow_missing: bool,
    no_sandbox: bool,
    to: Path | None,
    against: Path | None,
    only_list: bool,
    lies: bool,
    every: bool,
    as_json: bool,
) -> None:
    """Try the rules of the CUDA driver API and of NVML on libraries, each rule in a process of its own.

    With --record or --against no rule is tried: every function of the libraries is called instead, and the answers are
    kept, or compared.

    Exit status: 0 if no rule was broken and at least one passed, or if nothing differs from the recording; 1 if not; 2
    if something was wrong before the start.
    """
    from vgpu_harness.conformance.control import controls
    from vgpu_harness.conformance.result import as_hoped
    from vgpu_harness.conformance.rule import load, select
    from vgpu_harness.conformance.subject import subjects
    from vgpu_harness.conformance.suite import Suite
    from vgpu_harness.host import Host
    from vgpu_harness.shims.build import check_fresh

    chosen = subjects(cuda, nvml, None if host is None else Host.load(host))
    if to is not None or against is not None:
        if patterns or files or only_list or lies:
            raise click.UsageError("--record and --against try no rules; leave the options of rules out")
        check_fresh()
        ctx.exit(0 if _recorded(chosen, to, against, sandboxed=not no_sandbox, as_json=as_json) else 1)
    for file in files:
        load(file)
    rules = select(patterns)
    if not rules:
        raise click.BadParameter(f"no rule is named {' or '.join(patterns)}; see --list", param_hint="--rule")
    if only_list:
        _show_rules(rules, as_json=as_json)
        return
    check_fresh()
    with Suite(chosen, timeout, sandbox=not no_sandbox, files=files) as suite:
        if lies:
            found = list(controls(suite, rules))
            _show_controls(found, as_json=as_json, every=every)
            ctx.exit(0 if all(control.good for control in found) else 1)
        results = list(suite.run(rules))
    _show(results, as_json=as_json, every=every)
    ctx.exit(0 if as_hoped(results, allow_missing=allow_missing) else 1)


def _recorded(
    chosen: "Mapping[ApiName, Subject]", to: Path | None, against: Path | None, *, sandboxed: bool, as_json: bool
) -> bool:
    """Records the libraries; keeps that, and compares it. Answers whether nothing differs."""
    from vgpu_harness.conformance.compare import compare
    from vgpu_harness.conformance.record import Recording, record

    if to is not None and not os.path.isdir(to.parent):  # noqa: PTH112 - Path's raises where folders cannot be searched
        raise RunError(f"{to}: cannot be written: there is no directory {to.parent}; make it, or name another one")
    if to is not None and os.path.isdir(to):  # noqa: PTH112
        raise RunError(f"{to}: cannot be written: it is a directory; name a file in it")
    other = None if against is None else Recording.read(against)
    paths = {api: subject.path for api, subject in chosen.items()}
    if other is not None and not set(other.libraries) & set(paths):
        raise RunError(
            f"{against}: has recorded {' and '.join(other.libraries) or 'nothing'}, and there is a library for "
            f"{' and '.join(paths)} here: there is nothing to compare; give the other recording, or the other library"
        )
    shown = next((subject.host for subject in chosen.values() if subject.host is not None), None)
    recording = record(paths.get("cuda"), paths.get("nvml"), shown, sandboxed=sandboxed)
    if to is not None:
        try:
            recording.write(to)
        except OSError as error:
            raise RunError(f"{to}: cannot be written: {error.strerror}; name a file in a directory of yours") from error
    if other is None:
        if as_json:
            click.echo("[]")
        return True
    found = compare(other, recording)
    if as_json:
        click.echo(json.dumps([difference.to_json() for difference in found.differences], indent=1))
    else:
        for line in (*map(str, found.differences), *found.summary()):
            click.echo(line)
    return not found.differences


def _show_rules(rules: "Sequence[Rule]", *, as_json: bool) -> None:
    from rich.console import Console

    from vgpu_harness.conformance.report import render_rules

    if as_json:
        click.echo(json.dumps([rule.to_json() for rule in rules], indent=1))
    else:
        render_rules(rules, Console())


def _show_controls(found: "Sequence[Control]", *, as_json: bool, every: bool) -> None:
    from rich.console import Console

    from vgpu_harness.conformance.report import render_controls

    if as_json:
        click.echo(json.dumps([control.to_json() for control in found], indent=1))
    else:
        render_controls(found, Console(), every=every)


def _show(results: "Sequence[Result]", *, as_json: bool, every: bool) -> None:
    from rich.console import Console

    from vgpu_harness.conformance.report import render

    if as_json:
        click.echo(json.dumps([result.to_json() for result in results], indent=1))
    else:
        render(results, Console(), every=every)
