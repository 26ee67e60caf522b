"""The stand-ins for Ollama: where they lie in a run's directory, how they are started, what they need.

What generation B's libggml-cuda.so needs stands in the file itself; what a client looks up by name stands here.
"""

import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from vgpu_harness.discovery.facts import Generation

if TYPE_CHECKING:
    from vgpu_harness.host import Host

GENERATIONS: tuple[Generation, ...] = ("a", "b")

PREFIX = "ollama"
"""The installation prefix in a run's directory, below which the host's links lie too."""

BACKENDS = ("cuda_v12", "cuda_v13")
BACKEND_FILE = "libggml-cuda.so"

# What Ollama v0.12.3 looks up, in its order (discover/gpu_info_nvcuda.c:7-105).
SYMBOLS_A = (
    "cuInit", "cuDriverGetVersion", "cuDeviceGetCount", "cuDeviceGet", "cuDeviceGetAttribute", "cuDeviceGetUuid",
    "cuDeviceGetName", "cuCtxCreate_v3", "cuMemGetInfo_v2", "cuCtxDestroy",
)  # fmt: skip

# What the CUDA runtime of generation B's backends looks up in the driver, and cannot start without; `a|b`: either.
RUNTIME_SYMBOLS_B = (
    "cuDriverGetVersion", "cuInit", "cuDeviceGetCount", "cuDeviceGet", "cuDeviceGetName", "cuDeviceTotalMem_v2",
    "cuDeviceGetUuid_v2|cuDeviceGetUuid", "cuDeviceGetAttribute",
)  # fmt: skip

# What ggml's wrapper of NVML looks up (ml/backend/ggml/ggml/src/mem_nvml.cpp:115 of Ollama v0.24.0).
NVML_SYMBOLS_B = (
    "nvmlInit_v2", "nvmlShutdown", "nvmlDeviceGetHandleByUUID", "nvmlDeviceGetMemoryInfo", "nvmlDeviceGetName",
    "nvmlErrorString",
)  # fmt: skip

# The debug level at which the client hands on what its children and its C code write.
TRACE_LEVEL = "2"


@dataclass(frozen=True)
class Layout:
    """A client's installation: the program, its library directory, and the directories of backends in that."""

    program: Path
    library_directory: Path
    backends: tuple[Path, ...]


def lay_out(generation: Generation, directory: Path) -> Layout:
    """Puts a client into the run directory `directory`.

    Raises:
        ShimError: the client is not built.
    """
    from vgpu_harness.shims import client_path

    prefix = directory / PREFIX
    program, library_directory = prefix / "bin" / "ollama", prefix / "lib" / "ollama"
    program.parent.mkdir(parents=True)
    shutil.copy2(client_path(f"ollama-{generation}"), program)
    backends = []
    for backend in BACKENDS:
        folder = library_directory / backend
        folder.mkdir(parents=True)
        shutil.copy2(client_path(f"ggml/{backend}/{BACKEND_FILE}"), folder / BACKEND_FILE)
        backends.append(folder)
    return Layout(program, library_directory, tuple(backends))


def command(layout: Layout, host: "Host", scale: float) -> list[str]:
    """The command line of a client on `host`; `scale` multiplies the client's time limits."""
    words = [str(layout.program), "serve", "--scale", f"{scale:g}"]
    return [*words, "--rebuild-child-environment"] if host.delivery.child_environment == "rebuilt" else words


def search_path(generation: Generation, layout: Layout, library_path: Sequence[str]) -> list[str]:
    """The directories in which a client looks for a driver library, in order, the system's own left out.

    A globs in its library directory and in LD_LIBRARY_PATH; B starts children with LD_LIBRARY_PATH =
    library directory : backend's directory : what was inherited (llm/server.go:334 of v0.24.0).
    """
    own = [layout.library_directory, *(layout.backends if generation == "b" else ())]
    return list(dict.fromkeys([*map(str, own), *library_path]))
