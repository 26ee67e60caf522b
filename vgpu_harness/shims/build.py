"""Which C sources the libraries were built from, and whether a checkout has changed since."""

import os
import runpy
import time
from collections.abc import Iterator
from pathlib import Path

import vgpu_harness
from vgpu_harness.errors import ShimError

_About = tuple[str, int, int, int, int]

_SETTLED_NS = 2_000_000_000
"""Age from which a change of a file shows in its times: those are as coarse as the clock of its file system."""

_hashed: dict[Path, tuple[frozenset[_About], str]] = {}
"""The hash of a folder's sources, and what their files were like when it was taken."""


def build_id() -> str:
    """The hash of the C sources that this installation was built from."""
    from vgpu_harness._wire import ffi, lib

    return str(ffi.string(lib.vgpu_build_id()).decode())


def checkout() -> Path | None:
    """The folder of the C sources, if this package is used from a checkout."""
    for root in vgpu_harness.__path__:
        csrc = Path(root).parent / "csrc"
        if (csrc / "wire" / "build_id.py").is_file():
            return csrc
    return None


def check_fresh(csrc: Path | None = None) -> None:
    """Compares a checkout with the libraries that are used; an installation without sources passes.

    Args:
        csrc: the C sources; None for those of the checkout that this package is part of.

    Raises:
        ShimError: the sources have changed since the libraries were built.
    """
    csrc = csrc or checkout()
    if csrc is None:
        return
    now = _hash(csrc)
    if now != build_id():
        raise ShimError(
            f"{csrc}: changed since the shims were built (sources {now}, shims {build_id()}); "
            f"rebuild them: pip install --no-build-isolation -e {csrc.parent}"
        )


def _hash(csrc: Path) -> str:
    """The hash of the sources: to read them all takes as long as a short run, to see that none has changed does not."""
    settled = time.time_ns() - _SETTLED_NS
    state = frozenset(_state(csrc))
    known = _hashed.get(csrc)
    if known is not None and known[0] == state:
        return known[1]
    found: str = runpy.run_path(str(csrc / "wire" / "build_id.py"))["build_id"](csrc)
    if all(changed < settled for _, _, _, _, changed in state):
        _hashed[csrc] = state, found
    return found


def _state(folder: str | os.PathLike[str]) -> Iterator[_About]:
    """Path, inode, size, and times in ns of the last change of text and inode, of all that lies below a folder."""
    with os.scandir(folder) as entries:
        for entry in entries:
            about = entry.stat(follow_symlinks=False)
            yield entry.path, about.st_ino, about.st_size, about.st_mtime_ns, about.st_ctime_ns
            if entry.is_dir(follow_symlinks=False):
                yield from _state(entry.path)
