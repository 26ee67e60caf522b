"""The stand-in clients with the real shims beside them, started by hand: no run, no trace, no funnel."""

from pathlib import Path

import pytest
from support.clients import Answer, Installation

from vgpu_harness import Host
from vgpu_harness.host import write_image, write_tree
from vgpu_harness.shims import shim_path


def serve(tmp_path: Path, generation: str, **environment: str) -> Answer:
    """One discovery of a client whose library directory has links to the shims."""
    installation = Installation(tmp_path / generation, generation, cuda=None, nvml=None)
    (installation.library_directory / "libcuda.so.1").symlink_to(shim_path("cuda"))
    (installation.library_directory / "libnvidia-ml.so.1").symlink_to(shim_path("nvml"))
    return installation.serve(**environment)


@pytest.mark.parametrize(("generation", "library"), [("a", "cuda"), ("b", "CUDA")])
def test_the_default_host_has_an_h100(tmp_path: Path, generation: str, library: str) -> None:
    """With a host image each generation reports the GPU of the default host."""
    host = Host()
    tree = write_tree(host, tmp_path / "tree")
    write_image(host, tree, tmp_path / "host.image")
    line = serve(tmp_path, generation, VGPU_HOST=str(tmp_path / "host.image")).one("inference compute")
    assert (line["library"], line["compute"], line["driver"]) == (library, "9.0", "13.0")
    assert line["available"] == "79.2 GiB"
    if generation == "b":
        assert (line["pci_id"], line["description"]) == ("0000:00:05.0", "NVIDIA H100 80GB HBM3")
        assert (line["total"], line["libdirs"]) == ("79.6 GiB", "ollama,cuda_v13")


@pytest.mark.parametrize(
    ("generation", "words"),
    [
        ("a", "no nvidia devices detected by library"),
        ("b", "ggml_cuda_init: failed to initialize CUDA: no CUDA-capable device is detected"),
    ],
)
def test_without_an_image_there_is_no_gpu(tmp_path: Path, generation: str, words: str) -> None:
    """Transparent shims answer as NVIDIA's libraries do on a machine without a GPU."""
    answer = serve(tmp_path, generation)
    assert words in answer.stderr
    assert answer.one("inference compute")["library"] == "cpu"
