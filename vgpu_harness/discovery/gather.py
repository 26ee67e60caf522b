"""Gathers the facts of a finished run: what was preloaded, what was to be found, and what it lacked.

Resolution follows ld.so(8): a name without a slash is first compared with the DT_SONAME of what is loaded already (the
preloaded files), then looked for in LD_LIBRARY_PATH, where a file of another ELF class is passed over. What the
system's own directories hold is not searched here; if a client took a library from there, the auditor's records
show it.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from vgpu_harness.discovery.clients import (
    BACKEND_FILE,
    NVML_SYMBOLS_B,
    PREFIX,
    RUNTIME_SYMBOLS_B,
    SYMBOLS_A,
    Layout,
    search_path,
)
from vgpu_harness.discovery.facts import Facts, File, Generation, Needs, Resolution, Role, SeenProcess
from vgpu_harness.discovery.log import items, parse
from vgpu_harness.errors import ShimError
from vgpu_harness.shims.elf import ElfFacts, read_elf
from vgpu_harness.trace import Kind

if TYPE_CHECKING:
    from vgpu_harness.run import Run

DRIVER = "libcuda.so.1"
NVML = "libnvidia-ml.so.1"
MISSING = "does not exist"
FOUND = "discovered GPU libraries"

# Two names each: a library that lacks one of them has its role all the same.
_ROLES: tuple[tuple[str, Role], ...] = (
    ("cuInit", "cuda"), ("cuDeviceGetCount", "cuda"), ("nvmlInit_v2", "nvml"), ("nvmlShutdown", "nvml"),
    ("execve", "exec"), ("open", "syscall"),
)  # fmt: skip


@dataclass(frozen=True)
class Library:
    """A library file as read: its facts and, where it can be loaded, what its ELF headers say."""

    file: File
    elf: ElfFacts | None = None

    def exports(self, name: str) -> bool:
        """Does it define the dynamic symbol `name`?"""
        return self.elf is not None and self.elf.exports(name)


def read_library(path: str) -> Library:
    """Reads the file at `path`; what is wrong with it is said in ``file.problem``, nothing is raised."""
    try:
        status = Path(path).stat()
        elf = read_elf(path)
    except FileNotFoundError:
        return Library(File(path=path, problem=MISSING))
    except OSError as error:
        return Library(File(path=path, problem=f"cannot be read ({error.strerror})"))
    except ShimError as error:
        return Library(File(path=path, problem=f"cannot be loaded ({str(error).partition(': ')[2] or error})"))
    problem = None
    if not elf.is_native:
        problem = f"is of the wrong ELF class or machine ({elf.bits}-bit {elf.machine})"
    elif not elf.is_dynamic:
        problem = "is not a dynamic library"
    role = next((role for name, role in _ROLES if problem is None and elf.exports(name)), None)
    real, identity = str(Path(path).resolve()), (status.st_dev, status.st_ino)
    file = File(path=path, real=real, identity=identity, soname=elf.soname, role=role, problem=problem)
    return Library(file, elf if problem is None else None)


class Shelf:
    """Reads each library file once, and knows which of them the host's delivery brought."""

    def __init__(self, run_directory: Path, preload: Sequence[str]) -> None:
        """`preload` are the entries of LD_PRELOAD, in order."""
        self._known: dict[str, Library] = {}
        self._delivered: set[tuple[int, int]] = set()
        for path in preload:
            self._bring(path)
        for name in ("libcuda.so*", "libnvidia-ml.so*"):
            for found in sorted((run_directory / PREFIX).rglob(name)):
                self._bring(str(found))

    def _bring(self, path: str) -> None:
        identity = self.library(path).file.identity
        if identity is not None:
            self._delivered.add(identity)

    def library(self, path: str) -> Library:
        """The library at `path`, read at most once."""
        if path not in self._known:
            self._known[path] = read_library(path)
        return self._known[path]

    def file(self, path: str) -> File:
        """Its facts, ``delivered`` included."""
        file = self.library(path).file
        return file.model_copy(update={"delivered": file.identity in self._delivered})

    def files(self, paths: Iterable[str]) -> tuple[File, ...]:
        """The facts of each path, once, in order."""
        return tuple(self.file(path) for path in dict.fromkeys(paths))


def candidates(directories: Iterable[str], patterns: Sequence[str] = ("libcuda.so*", "libnvidia-ml.so*")) -> list[str]:
    """The driver library files in `directories`, in the order in which a client's patterns find them."""
    return [
        str(path) for directory in directories for pattern in patterns for path in sorted(Path(directory).glob(pattern))
    ]


def resolve(shelf: Shelf, client: str, name: str, preload: Sequence[str], search: Sequence[str]) -> Resolution:
    """Where the dynamic linker finds `name` for `client`, with these preloaded files and LD_LIBRARY_PATH."""
    for path in preload:
        file = shelf.file(path)
        if file.problem is None and file.soname == name:
            return Resolution(client=client, name=name, path=path, how="preloaded under this name")
    for directory in search:
        path = str(Path(directory) / name)
        if shelf.file(path).problem is None:
            return Resolution(client=client, name=name, path=path, how="found in LD_LIBRARY_PATH")
    return Resolution(
        client=client, name=name, path=None, how="neither preloaded under this name nor in LD_LIBRARY_PATH"
    )


def lacking(shelf: Shelf, client: str, library: str, symbols: Sequence[str], scope: Sequence[str] = ()) -> Needs:
    """Which of `symbols` neither `library` nor a library of `scope` (bound before it) exports; `a|b`: either."""
    places = [shelf.library(path) for path in (*scope, library)]
    missing = tuple(
        wanted for wanted in symbols if not any(place.exports(name) for name in wanted.split("|") for place in places)
    )
    return Needs(client=client, library=library, symbols=tuple(symbols), missing=missing)


def gather(generation: Generation, layout: Layout, run: "Run") -> Facts:
    """The facts of a run that has just ended. `layout` is where the client lies in the run's directory."""
    preload = [entry for entry in run.environment.get("LD_PRELOAD", "").split(":") if entry]
    inherited = [entry for entry in run.environment.get("LD_LIBRARY_PATH", "").split(":") if entry]
    shelf = Shelf(run.directory, preload)
    search = search_path(generation, layout, inherited)
    backends = [folder for folder in layout.backends if (folder / BACKEND_FILE).exists()]
    libraries = candidates(search)
    if generation == "a":
        libraries += [
            path for line in parse(run.stderr).messages(FOUND) for path in items(line.fields.get("paths", ""))
        ]
    mapped = [file for file in shelf.files(_mapped(run)) if file.role in {"cuda", "nvml"}]
    resolved, needs = _needs(generation, layout, shelf, preload, inherited)
    return Facts(
        generation=generation,
        argv=run.argv,
        pid=run.pid,
        returncode=run.returncode,
        timed_out=run.timed_out,
        audit=run.audit,
        processes=tuple(
            SeenProcess(pid=p.pid, parent=p.parent, program=p.program, preloaded=p.preloaded) for p in run.processes
        ),
        library_directory=str(layout.library_directory) if layout.library_directory.is_dir() else None,
        backends=tuple(map(str, backends)),
        preload=shelf.files(preload),
        search=tuple(search),
        libraries=shelf.files(libraries),
        mapped=tuple(mapped),
        resolved=tuple(resolved),
        needs=tuple(needs),
    )


def _mapped(run: "Run") -> list[str]:
    """The objects that the auditor saw, each once."""
    return list(dict.fromkeys(r.text for r in run.trace.records if r.kind == Kind.MAPPED and r.text.startswith("/")))


def _needs(
    generation: Generation, layout: Layout, shelf: Shelf, preload: Sequence[str], inherited: Sequence[str]
) -> tuple[list[Resolution], list[Needs]]:
    if generation == "a":
        directories = search_path("a", layout, inherited)
        found = [path for path in candidates(directories, ("libcuda.so*",)) if shelf.file(path).role == "cuda"]
        return [], [lacking(shelf, str(layout.program), path, SYMBOLS_A) for path in found]
    resolved: list[Resolution] = []
    needs: list[Needs] = []
    loaded = [path for path in preload if shelf.file(path).problem is None]
    for folder in layout.backends:
        client = str(folder / BACKEND_FILE)
        elf = shelf.library(client).elf
        if elf is None:
            continue
        # llm/server.go:334 of Ollama v0.24.0: the library directory, the backend's, then what was inherited
        search = [str(layout.library_directory), str(folder), *inherited]
        driver = resolve(shelf, client, DRIVER, preload, search)
        nvml = resolve(shelf, client, NVML, preload, search)
        resolved += [driver, nvml]
        if driver.path is not None:
            bound = sorted(name for name in elf.undefined if name.startswith("cu"))
            needs.append(lacking(shelf, client, driver.path, bound, loaded))
            needs.append(lacking(shelf, client, driver.path, RUNTIME_SYMBOLS_B))
        if nvml.path is not None:
            needs.append(lacking(shelf, client, nvml.path, NVML_SYMBOLS_B))
    return resolved, needs
