"""`vgpu-harness paths`: where the built shims are."""

import json

import click


@click.command("paths")
@click.option("--json", "as_json", is_flag=True, help="Write a JSON object.")
def command(as_json: bool) -> None:
    """Show where the built shims are, and which C sources they are of.

    Exit status: 0, or 1 if a checkout has changed since they were built.
    """
    from vgpu_harness.errors import ShimError
    from vgpu_harness.shims.build import build_id, check_fresh
    from vgpu_harness.shims.paths import available

    stale = None
    try:
        check_fresh()
    except ShimError as error:
        stale = str(error)
    shims = {name: str(path) for name, path in available().items()}
    if as_json:
        click.echo(json.dumps({"schema": 1, "build_id": build_id(), "stale": stale, "shims": shims}, indent=1))
    else:
        for name, path in shims.items():
            click.echo(f"{name:<8} {path}")
        click.echo(f"{'build':<8} {build_id()}")
        if stale is not None:
            click.echo(f"vgpu-harness: {stale}", err=True)
    if stale is not None:
        click.get_current_context().exit(1)
