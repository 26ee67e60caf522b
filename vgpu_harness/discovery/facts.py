"""What the files of a run say, written down right after it: `evidence.json`.

The trace and the client's log say what happened. What they cannot say is in the files that the dynamic linker and the
client looked at: which of them were there, what they call themselves, what they export. These facts are gathered once,
at run time, from the environment that the process was given and from the ELF files; paths stay as they were then. So a
verdict can be derived again later, from a copy, on another machine.
"""

from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from vgpu_harness.errors import TraceError

EVIDENCE_FILE = "evidence.json"

Role = Literal["cuda", "nvml", "runtime", "syscall", "exec"]
Generation = Literal["a", "b", "c"]
Observed = Literal["ptrace", "sampled"]


class _Fact(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", populate_by_name=True)


class File(_Fact):
    """A library file as it was at run time.

    ``real`` is the path behind all links; ``identity`` its device and inode, by which the dynamic linker tells whether
    it has a file already. ``problem`` says why it cannot be loaded. ``role`` is what it stands in for, by its exports.
    ``delivered``: it is one of the files that the host's delivery put in the client's way, not another driver library.
    ``wraps_dlopen``: it exports dlopen; where it is preloaded, that one is called in the place of libc's.
    """

    path: str
    problem: str | None = None
    real: str | None = None
    identity: tuple[int, int] | None = None
    soname: str | None = None
    role: Role | None = None
    delivered: bool = False
    wraps_dlopen: bool = False


class Resolution(_Fact):
    """Which file a library name leads to in a client process, by the dynamic linker's rules.

    ``how`` is in words. ``path`` is None where no file answers to the name.
    """

    client: str
    name: str
    path: str | None
    how: str


class Needs(_Fact):
    """The symbols that ``client`` must find, the library where it looks, and those that are not there.

    A symbol that is bound to a version is written ``name@version``; where the library has not even the version, that
    alone is missing, as ``@version``. ``optional``: the client does without the library if it must.
    """

    client: str
    library: str
    optional: bool = False
    symbols: tuple[str, ...]
    missing: tuple[str, ...]


class SeenProcess(_Fact):
    """A process of the run, as the observer saw it last.

    ``preloaded``: its environment had an LD_PRELOAD; ``traced``: and the run's VGPU_TRACE. ``secure``: the kernel had
    the dynamic linker ignore both (AT_SECURE). ``static``: its program has no dynamic linker. ``copied``: it executed
    nothing itself, so all of this is its parent's.
    """

    pid: int
    parent: int
    program: str
    preloaded: bool
    traced: bool = True
    secure: bool = False
    static: bool = False
    copied: bool = False


class Facts(_Fact):
    """The content of `evidence.json`.

    ``search`` are the directories in which the client looks for a driver library. ``observed`` says how processes were
    seen: each one's start and end, or whatever was there at the time of a look.
    """

    version: Annotated[Literal[1], Field(alias="schema")] = 1
    generation: Generation
    argv: tuple[str, ...]
    pid: int | None
    returncode: int | None
    timed_out: bool
    audit: bool
    processes: tuple[SeenProcess, ...]
    observed: Observed = "sampled"
    library_directory: str | None
    backends: tuple[str, ...]
    preload: tuple[File, ...]
    search: tuple[str, ...]
    libraries: tuple[File, ...]
    mapped: tuple[File, ...]
    resolved: tuple[Resolution, ...]
    needs: tuple[Needs, ...]

    def write(self, directory: Path) -> None:
        """Writes `evidence.json` into the run directory."""
        text = self.model_dump_json(by_alias=True, indent=1)
        (directory / EVIDENCE_FILE).write_text(text + "\n", encoding="utf-8")

    @classmethod
    def read(cls, directory: Path) -> "Facts":
        """Reads `evidence.json` of a run directory.

        Raises:
            TraceError: it is missing (not a run of ``discover``), or is not what this version can read.
        """
        path = directory / EVIDENCE_FILE
        try:
            return cls.model_validate_json(path.read_text(encoding="utf-8"))
        except FileNotFoundError as error:
            raise TraceError(
                f"{path}: missing. A funnel needs the evidence that `vgpu-harness discover --keep DIRECTORY` leaves in "
                "DIRECTORY/a, DIRECTORY/b and DIRECTORY/c: name one of these."
            ) from error
        except (OSError, UnicodeDecodeError, ValidationError) as error:
            raise TraceError(f"{path}: not evidence that this version can read: {error}") from error
