"""ggml's CUDA backend as npm's @node-llama-cpp/linux-x64-cuda has it (llama.cpp v0.5.0, CUDA 13), on the shims.

The library is loaded as it is; the CUDA runtime and cuBLAS that it needs are this project's stand-ins.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import foreign
import pytest
from support.compile import compile_program

from vgpu_harness import Host, Run
from vgpu_harness.shims.paths import cudalib_path

MakeRun = Callable[..., Run]

MIB = 1 << 20
H100 = "NVIDIA H100 80GB HBM3"
H100_MIB = 81559 - 480
"""What CUDA may use of an H100: its memory less the driver's reserve."""


@pytest.fixture(scope="module")
def walk() -> Path:
    """A program that loads the backend and prints its devices."""
    return compile_program((Path(__file__).parent / "ggml_devices.c").read_text(), "ggml-devices", "-ldl")


@pytest.fixture
def devices(vgpu_run: MakeRun, walk: Path) -> Callable[..., Run]:
    """``devices(runtime=None, **host) -> Run``: ggml's devices on a host; `runtime`: another folder with libcudart."""

    def found(runtime: Path | None = None, **host: Any) -> Run:
        folders = [cudalib_path("libcudart.so.13").parent]
        if runtime is not None:
            folders.insert(0, runtime)
        described = Host.model_validate(host)
        return vgpu_run([walk, foreign.ggml()], host=described, library_path=folders, check_mapped=False)

    return found


def line(index: int, name: str, pci: str, total_mib: int, used_mib: int = 0) -> str:
    """A device as the program prints it."""
    return f"CUDA{index}|{name}|{pci}|{total_mib * MIB}|{(total_mib - used_mib) * MIB}"


def said(index: int, name: str, compute: str, mib: int) -> str:
    """A device as ggml's log has it."""
    return f"  Device {index}: {name}, compute capability {compute}, VMM: yes, VRAM: {mib} MiB"


def test_the_default_host(devices: Callable[..., Run]) -> None:
    """`found 1 CUDA devices`, description, PCI address and memory are the host's; all that it calls has a model."""
    run = devices(strict=True)
    assert run.returncode == 0, run.explain()
    assert run.stdout.splitlines() == [line(0, H100, "0000:00:05.0", H100_MIB)]
    assert run.stderr.splitlines() == [
        f"ggml_cuda_init: found 1 CUDA devices (Total VRAM: {H100_MIB} MiB):",
        said(0, H100, "9.0", H100_MIB),
    ]


def test_two_gpus(devices: Callable[..., Run]) -> None:
    """Two unlike GPUs, one of them in use and on another domain, each have their own facts."""
    run = devices(gpu=[{"used_mib": 1000}, {"profile": "t4-16gb", "pci": "0001:3b:00.0", "compute": "8.6"}])
    assert run.stdout.splitlines() == [
        line(0, H100, "0000:00:05.0", H100_MIB, used_mib=1000),
        line(1, "Tesla T4", "0001:3b:00.0", 14912),
    ]
    assert run.stderr.splitlines()[1:] == [said(0, H100, "9.0", H100_MIB), said(1, "Tesla T4", "8.6", 14912)]


def test_eight_gpus(devices: Callable[..., Run]) -> None:
    """Eight GPUs are eight devices at eight addresses."""
    run = devices(gpu=[{}] * 8)
    assert run.stdout.splitlines() == [line(i, H100, f"0000:00:{5 + i:02x}.0", H100_MIB) for i in range(8)]
    assert f"found 8 CUDA devices (Total VRAM: {8 * H100_MIB} MiB)" in run.stderr


def fault(**keys: Any) -> dict[str, Any]:
    """A host with one fault."""
    return {"faults": [keys]}


# What ggml_cuda_init says when the runtime cannot start, by the fault of the host.
FAILURES: list[tuple[dict[str, Any], str]] = [
    (fault(function="cuInit", result=100), "no CUDA-capable device is detected"),
    (fault(function="cuInit", result=802), "system not yet initialized"),
    (fault(function="cuInit", result=999), "unknown error"),
    (fault(function="cuDeviceGetCount", value=0), "no CUDA-capable device is detected"),
    ({"driver": {"version": "575.51.03"}}, "CUDA driver version is insufficient for CUDA runtime version"),
]


@pytest.mark.parametrize(("host", "words"), FAILURES, ids=["100", "802", "999", "count-0", "driver-12.9"])
def test_a_runtime_that_cannot_start(devices: Callable[..., Run], host: dict[str, Any], words: str) -> None:
    """The driver's code arrives in ggml's log as the runtime's words for it, and there is no device."""
    run = devices(**host)
    assert (run.stdout, run.stderr.strip()) == ("", f"ggml_cuda_init: failed to initialize CUDA: {words}")


def test_a_driver_without_a_symbol(devices: Callable[..., Run]) -> None:
    """The library calls 11 driver functions directly: without one of them it is not loaded."""
    run = devices(**fault(library="cuda", missing_symbol="cuMemCreate"))
    assert (run.returncode, run.stdout) == (2, "")
    assert run.stderr.endswith("libggml-cuda.so: undefined symbol: cuMemCreate\n")


def test_without_a_driver(devices: Callable[..., Run]) -> None:
    """Without the shim there is no libcuda.so.1 to load it with: it is the shim that answered above."""
    run = devices(delivery={"preload": ["syscall"], "links": []})
    assert run.returncode == 2
    assert "libcuda.so.1: cannot open shared object file" in run.stderr


def test_nvidias_own_runtime_stops_it(devices: Callable[..., Run]) -> None:
    """On NVIDIA's libcudart, which asks for private tables, the same library finds no device."""
    run = devices(runtime=foreign.cudart(13).parent)
    assert (run.returncode, run.stdout) == (0, "")
    assert run.stderr.strip() == "ggml_cuda_init: failed to initialize CUDA: invalid argument"
