"""Discovery with real libraries in place of the stand-ins, by `discover(..., libraries=DIR)`.

ggml's CUDA backend reaches in client C what the stand-in for it reaches, on a sound host and on hosts with a fault.
NVIDIA's CUDA runtime stops in B and C at its private tables, and the verdict says so.
"""

import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import foreign
import pytest
from support.compile import compile_library

from vgpu_harness import Host, Verdict
from vgpu_harness.shims.edit import set_version_node
from vgpu_harness.shims.paths import cudalib_path
from vgpu_harness.trace import Kind, Trace

Discover = Callable[..., Verdict]

# NVIDIA's runtime makes some 440 driver calls in each of 12 processes.
pytestmark = pytest.mark.vgpu(trace_size=8 << 20)

# What libggml-cuda.so calls of the driver itself.
DIRECT = (
    "cuDeviceGet", "cuDeviceGetAttribute", "cuGetErrorString", "cuMemAddressFree", "cuMemAddressReserve",
    "cuMemCreate", "cuMemGetAllocationGranularity", "cuMemMap", "cuMemRelease", "cuMemSetAccess", "cuMemUnmap",
)  # fmt: skip
INTERFACE = "6bd5fb6c-5bf4-e74a-8987-d93912fd9df9"
CUDARTS = ("cuda_v12/libcudart.so.12", "cuda_v13/libcudart.so.13")


def ollamas(folder: Path, files: dict[str, Path]) -> Path:
    """A directory that is laid out like Ollama's lib/ollama, of links."""
    for name, file in files.items():
        place = folder / name
        place.parent.mkdir(parents=True, exist_ok=True)
        place.symlink_to(file)
    return folder


@pytest.fixture(scope="module")
def real() -> dict[str, Path]:
    """ggml's own libraries, by the names that Ollama has for them. They are built for CUDA 13."""
    ggml = foreign.ggml()
    (registry,) = ggml.glob("libggml.cuda.*.so")
    return {
        "libggml-base.so": ggml / "libggml-base.so",
        "libggml.so": registry,
        "cuda_v13/libggml-cuda.so": ggml / "libggml-cuda.so",
    }


def test_the_real_backend_reports_the_gpu(vgpu_discover: Discover, real: dict[str, Path], tmp_path: Path) -> None:
    """Client C with ggml's own libraries answers cuda, the PCI address, and all that the host says of the GPU."""
    verdict = vgpu_discover("c", libraries=ollamas(tmp_path / "lib", real))
    assert (verdict.library, verdict.pci_id, verdict.findings) == ("cuda", "0000:00:05.0", ()), verdict.cause
    (device,) = verdict.devices
    assert device["name"] == "NVIDIA H100 80GB HBM3"
    assert device["compute"] == "9.0"
    assert device["libdirs"] == "ollama,cuda_v13"
    assert device["total"] == f"{(81559 - 480) / 1024:.1f} GiB"
    assert verdict.directory is not None
    mapped = {r.text for r in Trace.open(verdict.directory / "trace").records if r.kind == Kind.MAPPED}
    assert real["cuda_v13/libggml-cuda.so"].resolve() in {Path(path).resolve() for path in mapped}


@pytest.mark.parametrize("count", [2, 8])
def test_several_gpus(vgpu_discover: Discover, real: dict[str, Path], tmp_path: Path, count: int) -> None:
    """Each GPU of the host is a device of its own."""
    host = Host.model_validate({"gpu": [{}] * count})
    verdict = vgpu_discover("c", host, libraries=ollamas(tmp_path / "lib", real))
    assert verdict.library == "cuda", verdict.cause
    assert [device["pci_id"] for device in verdict.devices] == [gpu.pci for gpu in host.gpu]


@dataclass(frozen=True)
class Control:
    """A host with a fault, and the stage at which client C stops on it; None: it answers cuda all the same."""

    host: dict[str, Any]
    stop: str | None
    scale: float = 1.0
    other_nodes: tuple[str, ...] = ()
    """Stand-ins, by their names in lib/ollama, whose version node lacks its first letter."""


def fault(**keys: Any) -> dict[str, Any]:
    """A host with one fault."""
    return {"faults": [keys]}


CONTROLS = {
    "sound": Control({}, None),
    "preload-missing": Control({"delivery": {"preload": ["/nonexistent/libvgpu-cuda.so"], "links": []}}, "S0"),
    "gate-deny": Control({"gate": {"deny": ["ollama", "llama-server"]}}, "S0"),
    "gate-early": Control({"gate": {"calls_before": 1000}}, "S0"),
    **{f"image-{how}": Control(fault(image=how), "S0") for how in ("truncated", "foreign", "version")},
    "environment-rebuilt": Control({"delivery": {"links": [], "child_environment": "rebuilt"}}, "S0"),
    "soname": Control({"delivery": {"links": []}, **fault(library="cuda", soname="libcudb.so.1")}, "S4"),
    **{f"no-{symbol}": Control(fault(library="cuda", missing_symbol=symbol), "S5") for symbol in DIRECT},
    "version-node": Control({}, "S5", other_nodes=CUDARTS),
    "driver-11.8": Control({"driver": {"cuda": "11.8"}}, "S6"),
    "driver-12.9": Control({"driver": {"version": "575.51.03"}}, None),
    **{f"init-{code}": Control(fault(function="cuInit", result=code), "S7") for code in (100, 802, 999)},
    "count-0": Control(fault(function="cuDeviceGetCount", value=0), "S8"),
    "count-999": Control(fault(function="cuDeviceGetCount", result=999), "S8"),
    "memory-0": Control({"gpu": [{"memory_mib": 480}]}, "S9"),
    "memory-801": Control(fault(function="cuMemGetInfo_v2", result=801), "S9"),
    "late": Control(fault(function="cuInit", delay=2.0), "S10", scale=0.05),
    "compute-3.7": Control({"gpu": [{"compute": "3.7"}]}, "S11"),
    "bus-id-of-nvml": Control(fault(function="cuDeviceGetPCIBusId", text="00000000:00:05.0"), None),
    "second-gpu-too-old": Control({"gpu": [{"compute": "8.6"}, {"compute": "3.7", "profile": "t4-16gb"}]}, None),
}


@pytest.fixture
def compare(vgpu_discover: Discover, real: dict[str, Path], tmp_path: Path) -> Callable[..., Verdict]:
    """``compare(control) -> Verdict``: client C's verdict, the same with ggml's backend and with the stand-in."""

    def compared(control: Control) -> Verdict:
        edited = {}
        for file in control.other_nodes:
            soname = Path(file).name
            edited[file] = Path(shutil.copy(cudalib_path(soname), tmp_path / soname))
            set_version_node(edited[file], soname, soname[1:])
        verdicts = []
        for kind, files in (("stand-in", edited), ("real", real | edited)):
            libraries = ollamas(tmp_path / kind, files) if files else None
            host = Host.model_validate(control.host)
            verdicts.append(vgpu_discover("c", host, scale=control.scale, libraries=libraries))
        stand_in, own = verdicts
        assert (stand_in.stopped_at, stand_in.library) == (own.stopped_at, own.library), (stand_in.cause, own.cause)
        assert stand_in.devices == own.devices
        assert len(stand_in.findings) == len(own.findings)
        assert [stage.status for stage in stand_in.stages] == [stage.status for stage in own.stages]
        return own

    return compared


@pytest.mark.parametrize("name", CONTROLS)
def test_real_and_stand_in_reach_the_same_stage(name: str, compare: Callable[..., Verdict]) -> None:
    """The stop, the devices and the findings are the same with ggml's own backend and with the stand-in for it."""
    control = CONTROLS[name]
    verdict = compare(control)
    assert (verdict.stopped_at, verdict.library) == (control.stop, "cuda" if control.stop is None else "cpu")


# Unbuffered: gpu-discover ends without the C library's exit, as a Go program does.
CHATTY = """
#include <stdio.h>

__attribute__((constructor)) static void chat(void) {
    dprintf(1, "shim: loaded\\n");
}
"""


def test_a_shim_that_prints(compare: Callable[..., Verdict]) -> None:
    """A preloaded library that writes to stdout spoils gpu-discover's JSON: the device is there, its address is not."""
    library = str(compile_library(CHATTY, "libchatty.so"))
    verdict = compare(Control({"delivery": {"preload": ["exec", "syscall", "cuda", "nvml", library]}}, None))
    assert (verdict.library, verdict.pci_id) == ("cuda", None)
    assert verdict.findings


@pytest.mark.parametrize("backend", ["stand-in", "real"])
@pytest.mark.parametrize("generation", ["b", "c"])
def test_nvidias_runtime_stops_at_s6(
    generation: str, backend: str, vgpu_discover: Discover, real: dict[str, Path], tmp_path: Path
) -> None:
    """The verdict names the private table, the code of cudaGetDeviceCount and the last driver call."""
    files = dict(zip(CUDARTS, (foreign.cudart(12), foreign.cudart(13)), strict=True))
    if backend == "real":
        files |= real
    verdict = vgpu_discover(generation, libraries=ollamas(tmp_path / "lib", files))
    assert (verdict.library, verdict.stopped_at) == ("cpu", "S6")
    assert f"answered 1 CUDA_ERROR_INVALID_VALUE for {INTERFACE} (CUDART_INTERFACE)" in str(verdict.cause)
    assert "cudaGetDeviceCount answered 1 (invalid argument)" in str(verdict.cause)
    (stop,) = [stage for stage in verdict.stages if stage.status == "stopped"]
    assert any("last driver call of process" in line and "cuGetExportTable" in line for line in stop.evidence)
