"""A user's own libraries in the clients, and how the clients are laid out."""

from pathlib import Path

import pytest
from support.controls import discovered

from vgpu_harness.discovery import discover
from vgpu_harness.discovery.installation import lay_out, search_path
from vgpu_harness.discovery.libraries import check_libraries
from vgpu_harness.errors import RunError
from vgpu_harness.host import Host
from vgpu_harness.shims import client_path, paths, shim_path


def names(directory: Path) -> list[str]:
    """All files and links below a directory, by their relative paths."""
    return sorted(str(path.relative_to(directory)) for path in directory.rglob("*") if not path.is_dir())


def test_client_c_is_laid_out_as_ollama_is(tmp_path: Path) -> None:
    """Programs, ggml's libraries, and a directory a CUDA major with backend, runtime and cuBLAS by Ollama's names."""
    layout = lay_out("c", tmp_path)
    assert layout.program == tmp_path / "ollama" / "bin" / "ollama"
    assert names(layout.library_directory) == [
        *("cuda_v12/libcublas.so.12", "cuda_v12/libcudart.so.12", "cuda_v12/libcudart.so.12.8.90"),
        *("cuda_v12/libggml-cuda.so", "cuda_v13/libcublas.so.13", "cuda_v13/libcudart.so.13"),
        *("cuda_v13/libggml-cuda.so", "libggml-base.so", "libggml.so", "llama-server"),
    ]
    assert (layout.library_directory / "cuda_v12" / "libcudart.so.12").readlink() == Path("libcudart.so.12.8.90")
    assert not (layout.library_directory / "llama-server").is_symlink()
    assert layout.limit == 90.0


def test_a_has_no_runtime_and_b_has_one_a_backend(tmp_path: Path) -> None:
    """Generation A would fall back to a CUDA runtime if it found one, so it has none; each backend of B has its own."""
    a, b = (lay_out(generation, tmp_path / generation) for generation in ("a", "b"))
    assert names(a.library_directory) == ["cuda_v12/libggml-cuda.so", "cuda_v13/libggml-cuda.so"]
    assert "cuda_v13/libcudart.so.13" in names(b.library_directory)
    assert "llama-server" not in names(b.library_directory)


def test_children_search_the_library_directory_first(tmp_path: Path) -> None:
    """C's children look beside llama-server, with the backend, then where the host says; A leaves the second out."""
    layout = lay_out("c", tmp_path)
    own = [str(layout.library_directory), *map(str, layout.backends)]
    assert search_path("c", layout, ["/opt/x"]) == [*own, "/opt/x"]
    assert search_path("a", layout, ["/opt/x"]) == [own[0], "/opt/x"]


@pytest.fixture
def own(tmp_path: Path) -> Path:
    """A directory like lib/ollama with a runtime, a backend of C's, and a library of another kind."""
    directory = tmp_path / "own"
    for name, library in (
        ("cuda_v13/libcudart.so.13", paths.cudalib_path("libcudart.so.13")),
        ("cuda_v13/libggml-cuda.so", client_path("ggml-c/cuda_v13/libggml-cuda.so")),
        ("libggml-base.so", client_path("ggml-c/libggml-base.so")),
        ("extra/libmore.so.1", shim_path("cuda")),
    ):
        (directory / name).parent.mkdir(parents=True, exist_ok=True)
        (directory / name).write_bytes(library.read_bytes())
    (directory / "cuda_v13" / "README").write_text("no library\n")
    return directory


def test_c_takes_all_libraries(own: Path, tmp_path: Path) -> None:
    """Each file of the directory takes the stand-in's place as a link to it; what has no stand-in is added."""
    place = lay_out("c", tmp_path / "run", check_libraries(own)).library_directory
    for name in ("cuda_v13/libcudart.so.13", "cuda_v13/libggml-cuda.so", "libggml-base.so", "extra/libmore.so.1"):
        assert (place / name).readlink() == own / name
    assert not (place / "cuda_v13" / "README").exists()
    own_backend = client_path("ggml-c/cuda_v12/libggml-cuda.so")
    assert (place / "cuda_v12" / "libggml-cuda.so").read_bytes() == own_backend.read_bytes()


def test_b_takes_what_is_nvidias(own: Path, tmp_path: Path) -> None:
    """Generation B's backend has another ABI: of the directory it takes the CUDA runtime and cuBLAS, A nothing."""
    place = lay_out("b", tmp_path / "b", check_libraries(own)).library_directory
    assert (place / "cuda_v13" / "libcudart.so.13").readlink() == own / "cuda_v13" / "libcudart.so.13"
    assert (place / "cuda_v13" / "libggml-cuda.so").resolve() != own / "cuda_v13" / "libggml-cuda.so"
    assert not (place / "extra").exists()
    before = names(lay_out("a", tmp_path / "a").library_directory)
    assert names(lay_out("a", tmp_path / "with", check_libraries(own)).library_directory) == before


def test_a_link_is_followed_to_its_file(own: Path, tmp_path: Path) -> None:
    """A versioned file and the link to it both come, each as a link to the file itself."""
    real = own / "cuda_v13" / "libcudart.so.13"
    real.rename(own / "cuda_v13" / "libcudart.so.13.0.96")
    real.symlink_to("libcudart.so.13.0.96")
    place = lay_out("c", tmp_path / "run", check_libraries(own)).library_directory / "cuda_v13"
    assert (place / "libcudart.so.13").readlink() == own / "cuda_v13" / "libcudart.so.13.0.96"
    assert (place / "libcudart.so.13.0.96").readlink() == own / "cuda_v13" / "libcudart.so.13.0.96"


def test_discovery_runs_on_a_users_libraries(own: Path, tmp_path: Path) -> None:
    """Generation C loads the user's backend and runtime, and says so in its log."""
    verdict = discovered(Host(), "c", tmp_path / "run", libraries=own)
    assert (verdict.library, verdict.findings) == ("cuda", ())
    mapped = (tmp_path / "run" / "c" / "evidence.json").read_text()
    assert str(own / "cuda_v13" / "libcudart.so.13") in mapped


@pytest.mark.parametrize("kind", ["missing", "file", "empty", "text", "flat"])
def test_a_directory_without_libraries_is_one_error(kind: str, tmp_path: Path) -> None:
    """What is no directory, has no library, or has them in the wrong place is refused before anything is made."""
    place = tmp_path / "libraries"
    if kind == "file":
        place.write_text("x")
    elif kind != "missing":
        place.mkdir()
    if kind == "text":
        (place / "README").write_text("x")
    elif kind == "flat":
        (place / "libggml-cuda.so").write_text("x")
    with pytest.raises(RunError, match=str(place)):
        discover("c", directory=tmp_path / "run", libraries=place, trace_size=1 << 20)
    assert not (tmp_path / "run").exists()
