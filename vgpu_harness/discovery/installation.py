"""The stand-ins for Ollama: where they lie in a run's directory, how they are started, where they search."""

import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from vgpu_harness.discovery.clients import BACKEND_FILE, BACKENDS, PREFIX, SERVER_FILE
from vgpu_harness.discovery.facts import Generation
from vgpu_harness.discovery.libraries import overlay
from vgpu_harness.shims import client_path, paths

if TYPE_CHECKING:
    from vgpu_harness.host import Host

# Generation C knows the runtime's version by the name of its file (discover/cuda_compat.go of Ollama v0.33.0).
_RUNTIME_FILES = {"12": "libcudart.so.12.8.90"}

_PASS_LIMIT = 30.0
"""Seconds for each backend in pass 1 (in C for its three children together), and for all of pass 2."""


@dataclass(frozen=True)
class Layout:
    """A client's installation: the program, its library directory, and the directories of backends in that."""

    program: Path
    library_directory: Path
    backends: tuple[Path, ...]

    @property
    def limit(self) -> float:
        """Seconds that a discovery can take by the client's own time limits."""
        return _PASS_LIMIT * (len(self.backends) + 1)


def lay_out(generation: Generation, directory: Path, libraries: Path | None = None) -> Layout:
    """Puts a client into the run directory `directory`, with the user's `libraries` in place of the stand-ins.

    The client's own files are copies, so that nothing that is written into a run changes the installed package, and
    programs find the rest beside themselves. The user's libraries, which may have gigabytes, are links.

    Raises:
        ShimError: the client is not built.
    """
    prefix = directory / PREFIX
    program, library_directory = prefix / "bin" / "ollama", prefix / "lib" / "ollama"
    program.parent.mkdir(parents=True)
    library_directory.mkdir(parents=True)
    shutil.copy2(client_path(f"ollama-{generation}"), program)
    if generation == "c":
        shutil.copy2(client_path(SERVER_FILE), library_directory / SERVER_FILE)
        for name in ("libggml-base.so", "libggml.so"):
            shutil.copy2(client_path(f"ggml-c/{name}"), library_directory / name)
    source = "ggml-c" if generation == "c" else "ggml"
    for backend, major in BACKENDS.items():
        folder = library_directory / backend
        folder.mkdir()
        shutil.copy2(client_path(f"{source}/{backend}/{BACKEND_FILE}"), folder / BACKEND_FILE)
        if generation != "a":
            _bring_runtime(folder, major)
    if libraries is not None:
        overlay(libraries, generation, library_directory)
    backends = sorted(place.parent for place in library_directory.glob(f"*/{BACKEND_FILE}"))
    return Layout(program, library_directory, tuple(backends))


def _bring_runtime(folder: Path, major: str) -> None:
    """The CUDA runtime and cuBLAS that a backend links, under the names that Ollama ships them by."""
    runtime, blas = f"libcudart.so.{major}", f"libcublas.so.{major}"
    file = _RUNTIME_FILES.get(major, runtime)
    shutil.copy2(paths.cudalib_path(runtime), folder / file)
    if file != runtime:
        (folder / runtime).symlink_to(file)
    shutil.copy2(paths.cudalib_path(blas), folder / blas)


def command(layout: Layout, host: "Host", scale: float) -> list[str]:
    """The command line of a client on `host`; `scale` multiplies the client's time limits."""
    words = [str(layout.program), "serve", "--scale", f"{scale:g}"]
    return [*words, "--rebuild-child-environment"] if host.delivery.child_environment == "rebuilt" else words


def search_path(generation: Generation, layout: Layout, library_path: Sequence[str]) -> list[str]:
    """The directories in which a client looks for a driver library, in order, the system's own left out.

    A globs in its library directory and in LD_LIBRARY_PATH; B and C start children with LD_LIBRARY_PATH =
    library directory : backend's directory : what was inherited (llm/server.go:334 of v0.24.0; in C the first is
    llama-server's own directory, llm/llama_server.go:445 of v0.33.0).
    """
    own = [layout.library_directory, *(() if generation == "a" else layout.backends)]
    return list(dict.fromkeys([*map(str, own), *library_path]))
