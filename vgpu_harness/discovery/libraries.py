"""A user's own libraries in a client: the real ggml backends, CUDA runtimes and cuBLAS in place of the stand-ins."""

from collections.abc import Iterator
from pathlib import Path

from vgpu_harness.discovery.clients import BACKEND_FILE
from vgpu_harness.discovery.facts import Generation
from vgpu_harness.errors import RunError

# Generation B's backend speaks another ABI than C's: only what is NVIDIA's fits both.
_FIT_B = ("libcudart", "libcublas")


def _files(directory: Path) -> Iterator[Path]:
    """The library files in `directory` and in its folders, links that lead to one too, by their path relative to it."""
    for path in sorted([*directory.glob("lib*.so*"), *directory.glob("*/lib*.so*")]):
        if path.is_file():
            yield path.relative_to(directory)


def check_libraries(directory: Path) -> Path:
    """The directory with all links resolved, if a client can be given its libraries.

    Raises:
        RunError: it is no directory that can be read, or it is not laid out like Ollama's lib/ollama.
    """
    wanted = "give one that is laid out like Ollama's lib/ollama, with cuda_v12/libcudart.so.12 and so on"
    if not directory.is_dir():
        raise RunError(f"{directory}: is not a directory of libraries; {wanted}")
    names = list(_files(directory))
    if not names:
        raise RunError(f"{directory}: has no library (lib*.so*) in it; {wanted}")
    if BACKEND_FILE in map(str, names):
        raise RunError(f"{directory / BACKEND_FILE}: a client looks for this one directory below; {wanted}")
    return directory.resolve()


def overlay(directory: Path, generation: Generation, target: Path) -> None:
    """Puts links to the user's libraries into the client's library directory `target`, over the stand-ins there."""
    for name in _files(directory):
        if generation == "c" or (generation == "b" and name.name.startswith(_FIT_B)):
            place = target / name
            place.parent.mkdir(parents=True, exist_ok=True)
            place.unlink(missing_ok=True)
            place.symlink_to((directory / name).resolve())
