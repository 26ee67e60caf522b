"""Where the built shims and client programs are."""

from importlib.resources import files
from pathlib import Path

import vgpu_harness
from vgpu_harness.errors import ShimError

SHIMS = ("exec", "syscall", "cuda", "nvml", "audit")
"""Short names of the shims, in the order in which they are preloaded; the last is for LD_AUDIT."""

VARIANTS = ("early", "dlopen")
"""What shims have had that ours have not: a start-up in a constructor, a wrapper of dlopen; only some hosts ask."""

CUDALIBS = ("libcudart.so.12", "libcudart.so.13", "libcublas.so.12", "libcublas.so.13")
"""File names of the stand-ins for NVIDIA's CUDA runtime and cuBLAS; the dynamic linker finds them, nothing preloads."""

_REBUILD = "build it: pip install . in the checkout of vgpu-harness"


def _installed(*parts: str) -> Path | None:
    """A file of the installed package.

    An editable install has two trees, the sources and what was built from csrc/, and both are in the package's path.
    """
    roots = [Path(str(files("vgpu_harness")))] + [Path(root) for root in vgpu_harness.__path__]
    for root in roots:
        path = root.joinpath(*parts)
        if path.is_file():
            return path.absolute()
    return None


def shim_path(name: str) -> Path:
    """The built shim of a short name.

    Args:
        name: one of `SHIMS`.

    Raises:
        ShimError: there is no shim of that name, or it is not built.
    """
    if name not in SHIMS:
        raise ShimError(f"{name!r}: is not the short name of a shim; known are {', '.join(SHIMS)}")
    path = _installed("lib", f"libvgpu-{name}.so")
    if path is None:
        raise ShimError(f"libvgpu-{name}.so: is not in this installation of vgpu_harness; {_REBUILD}")
    return path


def available() -> dict[str, Path]:
    """The shims that are built, by short name, in the order of `SHIMS`."""
    found = {name: _installed("lib", f"libvgpu-{name}.so") for name in SHIMS}
    return {name: path for name, path in found.items() if path is not None}


def variant_path(name: str) -> Path:
    """The built library of a variant.

    Args:
        name: one of `VARIANTS`.

    Raises:
        ShimError: there is none of that name, or it is not built.
    """
    if name not in VARIANTS:
        raise ShimError(f"{name!r}: is not the name of a variant; known are {', '.join(VARIANTS)}")
    path = _installed("lib", f"libvgpu-{name}.so")
    if path is None:
        raise ShimError(f"libvgpu-{name}.so: is not in this installation of vgpu_harness; {_REBUILD}")
    return path


def cudalib_path(name: str) -> Path:
    """The built stand-in for one of NVIDIA's CUDA libraries.

    Args:
        name: one of `CUDALIBS`.

    Raises:
        ShimError: there is no stand-in of that name, or it is not built.
    """
    if name not in CUDALIBS:
        raise ShimError(f"{name!r}: there is no stand-in for this library; known are {', '.join(CUDALIBS)}")
    path = _installed("lib", "cudalibs", name)
    if path is None:
        raise ShimError(f"lib/cudalibs/{name}: is not in this installation of vgpu_harness; {_REBUILD}")
    return path


def client_path(name: str) -> Path:
    """A client program or library of ``libexec``.

    Args:
        name: its path there, as in ``ollama-a`` or ``ggml/cuda_v12/libggml-cuda.so``.

    Raises:
        ShimError: it is not there.
    """
    path = _installed("libexec", *Path(name).parts)
    if path is None:
        raise ShimError(f"libexec/{name}: is not in this installation of vgpu_harness; {_REBUILD}")
    return path
