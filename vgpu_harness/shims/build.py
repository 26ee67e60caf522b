"""Which C sources the libraries were built from, and whether a checkout has changed since."""

import runpy
from pathlib import Path

import vgpu_harness
from vgpu_harness.errors import ShimError


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
    now = runpy.run_path(str(csrc / "wire" / "build_id.py"))["build_id"](csrc)
    if now != build_id():
        raise ShimError(
            f"{csrc}: changed since the shims were built (sources {now}, shims {build_id()}); "
            f"rebuild them: pip install --no-build-isolation -e {csrc.parent}"
        )
