"""The command line: `vgpu-harness COMMAND`. A command's module is imported when the command is called."""

from importlib import import_module, metadata
from typing import Any

import click

from vgpu_harness.errors import VgpuHarnessError

COMMANDS = ("discover", "run", "conform", "preflight", "paths", "trace")
"""Names of the commands; each is `command` in the module of its name in vgpu_harness.commands."""

WRONG_SET_UP = 2
INTERRUPTED = 130
"""128 + SIGINT, as a shell has it."""


def complain(message: object) -> None:
    """Writes one message to stderr."""
    click.echo(f"vgpu-harness: {message}", err=True)


class Commands(click.Group):
    """The group: imports commands lazily, and turns this package's errors into a message and an exit status."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002 - click's signature
        """Names of the commands, in the order of the help text."""
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002 - click's signature
        """The command of a name, None if there is none."""
        if cmd_name not in COMMANDS:
            return None
        command = import_module(f"vgpu_harness.commands.{cmd_name}").command
        if not isinstance(command, click.Command):
            raise TypeError(f"vgpu_harness.commands.{cmd_name}.command is {command!r}, not a click command")
        return command

    def invoke(self, ctx: click.Context) -> Any:
        """Runs the command that was asked for."""
        try:
            return super().invoke(ctx)
        except VgpuHarnessError as error:
            complain(error)
            ctx.exit(WRONG_SET_UP)
        except KeyboardInterrupt:
            ctx.exit(INTERRUPTED)


def _version() -> str:
    try:
        return metadata.version("vgpu-harness")
    except metadata.PackageNotFoundError:
        return "unknown (not installed)"


def _print_version(ctx: click.Context, _parameter: click.Parameter, wanted: bool) -> None:
    if wanted and not ctx.resilient_parsing:
        click.echo(f"vgpu-harness {_version()}")
        ctx.exit()


@click.group(cls=Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.option(
    "--version",
    is_flag=True,
    is_eager=True,
    expose_value=False,
    callback=_print_version,
    help="Show the version and exit.",
)
def vgpu_harness() -> None:
    """Finds out at which stage GPU discovery stopped, why, and what to change.

    Exit status: 0 as hoped, 1 a finding, 2 wrong usage or a broken set-up.
    """


def main() -> None:
    """The console script."""
    vgpu_harness(prog_name="vgpu-harness")
