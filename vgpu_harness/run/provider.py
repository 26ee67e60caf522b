"""The ways in which a program is shown the virtual files: the table of providers, and what each of them has to say.

A provider is chosen for a run. All of them show the same tree, written from the same host; docs/providers.md has what
each one sees, needs and costs.
"""

from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Literal, Protocol, get_args

from vgpu_harness.errors import RunError

if TYPE_CHECKING:
    from vgpu_harness.run.delivery import Delivered
    from vgpu_harness.run.observer import Process
    from vgpu_harness.run.started import Started

ProviderName = Literal["preload", "namespace", "notification"]
"""The names of the providers."""


@dataclass(frozen=True)
class Command:
    """What is executed in the program's place.

    Attributes:
        argv: the command line.
        path: the file.
        environment: the whole environment.
        descriptors: descriptors of this process that it is to have.
    """

    argv: tuple[str, ...]
    path: Path
    environment: Mapping[str, str]
    descriptors: tuple[int, ...] = ()


class Enclosure(Protocol):
    """What a provider puts around one program."""

    def command(self, argv: Sequence[str], program: Path, environment: Mapping[str, str]) -> Command:
        """What to execute so that `program` is executed in the end, with this command line and environment."""

    def waiting(self, started: "Started") -> None:
        """The process is there, and waits in vgpu-start for the word to execute the command.

        Raises:
            RunError: it cannot be enclosed.
        """

    def entered(self) -> int | None:
        """Waits until the program runs, once the command is executed.

        Returns:
            The number of the program's process; None if it is the one that executed the command.

        Raises:
            OSError: the kernel refused to execute the program.
            RunError: the enclosure could not be set up.
        """

    def processes_of_run(self, processes: tuple["Process", ...]) -> tuple["Process", ...]:
        """The processes without those, and without those images, that are the enclosure's own."""

    def findings(self) -> tuple[str, ...]:
        """What the user should hear of it when the run has ended, one sentence each."""

    def status(self, root: int, processes: tuple["Process", ...]) -> int:
        """The program's exit status, -n if signal n killed it.

        Args:
            root: exit status of the process that executed the command.
            processes: all that were seen.
        """


class Provider(Protocol):
    """A way to show the files.

    Attributes:
        withheld: short names of shims that it takes the place of: they are not preloaded.
        shows_static: static programs see the files too.
        system_links: it can put links into the system's own directories.
    """

    withheld: frozenset[str]
    shows_static: bool
    system_links: bool

    def available(self) -> str | None:
        """Why it cannot be had on this machine, with the remedy; None if it can."""

    def enclose(self, delivered: "Delivered") -> AbstractContextManager[Enclosure] | None:
        """The enclosure of one run, open until the run has ended; None if the program is executed as it is.

        Raises:
            RunError: the machine has not what this host's files need.
        """


class Preload:
    """The file shim is preloaded: libc's file calls lead into the tree."""

    withheld: frozenset[str] = frozenset()
    shows_static = False
    system_links = False

    def available(self) -> str | None:
        """It always is."""
        return None

    def enclose(self, delivered: "Delivered") -> None:
        """The program is executed as it is."""


# Where the class of each provider is: those that a run does not use are not imported.
_PLACES: dict[str, tuple[str, str]] = {
    "preload": ("vgpu_harness.run.provider", "Preload"),
    "namespace": ("vgpu_harness.run.namespace", "Namespace"),
    "notification": ("vgpu_harness.run.notification", "Notification"),
}

PROVIDERS: tuple[str, ...] = get_args(ProviderName)


def provider(name: str) -> Provider:
    """The provider of a name, if this machine has what it needs.

    Raises:
        RunError: there is none of this name, or it cannot be had here.
    """
    if name not in _PLACES:
        raise RunError(f"provider {name!r}: is none of {', '.join(map(repr, PROVIDERS))}; give one of them")
    module, attribute = _PLACES[name]
    found: Provider = getattr(import_module(module), attribute)()
    if reason := found.available():
        raise RunError(f"provider {name!r}: cannot be had here: {reason}")
    return found
