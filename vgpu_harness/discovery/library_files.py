"""Library files as they lie there: what each says of itself, and which of them the host's delivery brought."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from vgpu_harness.discovery.clients import PREFIX
from vgpu_harness.discovery.facts import File, Role
from vgpu_harness.errors import ShimError
from vgpu_harness.shims.elf import ElfFacts, opened, read_elf

MISSING = "does not exist"

# Two names each: a library that lacks one of them has its role all the same.
_ROLES: tuple[tuple[str, Role], ...] = (
    ("cuInit", "cuda"), ("cuDeviceGetCount", "cuda"), ("nvmlInit_v2", "nvml"), ("nvmlShutdown", "nvml"),
    ("cudaGetDeviceCount", "runtime"), ("cublasCreate_v2", "runtime"), ("execve", "exec"), ("open", "syscall"),
)  # fmt: skip


@dataclass(frozen=True)
class Library:
    """A library file as read: its facts and, where it can be loaded, what its ELF headers say."""

    file: File
    elf: ElfFacts | None = None

    def exported_of(self, names: Iterable[str]) -> frozenset[str]:
        """Those of `names` that are dynamic symbols it defines."""
        return frozenset() if self.elf is None else _defined(self.file.path, names)


def _defined(path: str, names: Iterable[str]) -> frozenset[str]:
    """One reading of the file for all names: most of the time goes into its headers."""
    with opened(Path(path)) as elf:
        return frozenset(name for name in names if elf.defines(name))


@lru_cache(maxsize=256)
def _content(path: str, _unchanged: tuple[int, ...]) -> tuple[ElfFacts, str | None, Role | None, bool]:
    """What a library says of itself, its problem, its role, has it a dlopen? Asked once for an unchanged file."""
    elf = read_elf(path)
    if not elf.is_native:
        return elf, f"is of the wrong ELF class or machine ({elf.bits}-bit {elf.machine})", None, False
    if not elf.is_dynamic:
        return elf, "is not a dynamic library", None, False
    defined = _defined(path, [*(name for name, _ in _ROLES), "dlopen"])
    role = next((role for name, role in _ROLES if name in defined), None)
    return elf, None, role, "dlopen" in defined


def read_library(path: str) -> Library:
    """Reads the file at `path`; what is wrong with it is said in ``file.problem``, nothing is raised."""
    try:
        status, real = Path(path).stat(), str(Path(path).resolve())
        unchanged = (status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns)
        elf, problem, role, wraps = _content(real, unchanged)
    except FileNotFoundError:
        return Library(File(path=path, problem=MISSING))
    except OSError as error:
        return Library(File(path=path, problem=f"cannot be read ({error.strerror})"))
    except ShimError as error:
        return Library(File(path=path, problem=f"cannot be loaded ({str(error).partition(': ')[2] or error})"))
    identity = (status.st_dev, status.st_ino)
    file = File(
        path=path, real=real, identity=identity, soname=elf.soname, role=role, problem=problem, wraps_dlopen=wraps
    )
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
