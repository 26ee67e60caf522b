"""node-llama-cpp 3.22.1 as npm has it, unmodified: what it says of the GPUs of the simulated host.

It loads its own CUDA build of llama.cpp, first in a child that it forks for a trial and then in its own process. Only
the CUDA runtime and cuBLAS are this project's stand-ins, found by LD_LIBRARY_PATH.
"""

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import foreign
import pytest
from support.compile import compile_library

from vgpu_harness import Host, Run, shim_path
from vgpu_harness.shims.paths import cudalib_path
from vgpu_harness.trace import Kind, Library

MakeRun = Callable[..., Run]

MIB = 1 << 20
H100 = "NVIDIA H100 80GB HBM3"
TOTAL = (81559 - 480) * MIB

# build "never": it may neither compile nor download anything.
LOOK = """
import {getLlama} from "node-llama-cpp";
const llama = await getLlama({gpu: process.argv[2], build: "never", logLevel: "error"});
const answer = {gpu: llama.gpu, names: await llama.getGpuDeviceNames(), vram: await llama.getVramState()};
console.log(JSON.stringify(answer));
await llama.dispose();
"""


@pytest.fixture
def libraries(tmp_path: Path) -> Path:
    """A folder as a CUDA installation's: node-llama-cpp looks there for files of these names before it loads any."""
    folder = tmp_path / "cuda"
    folder.mkdir()
    for name in ("libcudart.so.13", "libcublas.so.13"):
        (folder / name).symlink_to(cudalib_path(name))
    (folder / "libcuda.so.1").symlink_to(shim_path("cuda"))
    (folder / "libnvidia-ml.so.1").symlink_to(shim_path("nvml"))
    # Its existence is asked about, nothing loads it.
    (folder / "libcublasLt.so.13").symlink_to(compile_library("", "libcublasLt.so.13"))
    return folder


@pytest.fixture
def look(vgpu_run: MakeRun, libraries: Path, tmp_path: Path) -> Callable[..., Run]:
    """``look(backend="cuda", **host) -> Run``: the JavaScript API of node-llama-cpp on a host."""
    (tmp_path / "node_modules").symlink_to(foreign.node_modules())
    script = tmp_path / "look.mjs"
    script.write_text(LOOK)

    def looked(backend: str = "cuda", **host: Any) -> Run:
        described = Host.model_validate(host)
        argv = [foreign.node(), script, backend]
        return vgpu_run(argv, host=described, library_path=[libraries], check_mapped=False)

    return looked


def answer(run: Run) -> dict[str, Any]:
    """What the script printed; it must have ended well."""
    assert run.returncode == 0, run.explain()
    found = json.loads(run.stdout)
    assert isinstance(found, dict)
    return found


def test_the_api_shows_the_device(look: Callable[..., Run]) -> None:
    """getGpuDeviceNames and getVramState answer the H100 of the default host, with the memory that CUDA may use."""
    run = look()
    found = answer(run)
    assert (found["gpu"], found["names"]) == ("cuda", [H100])
    assert found["vram"] == {"total": TOTAL, "used": 0, "free": TOTAL, "unifiedSize": 0}
    calls = {
        (r.pid, r.name) for r in run.trace.records if (r.library, r.kind, r.result) == (Library.CUDA, Kind.CALL, 0)
    }
    assert len({pid for pid, name in calls if name == "cuInit"}) == 2, "in the child for the trial, and in its own"


def test_every_number_is_the_host_files(look: Callable[..., Run]) -> None:
    """With two other GPUs, one of which is in use, names and sums are those of the host."""
    gpus = [{"profile": "l40s-48gb", "used_mib": 1000}, {"profile": "t4-16gb"}]
    found = answer(look(gpu=gpus))
    assert found["names"] == ["NVIDIA L40S", "Tesla T4"]
    total = (46068 - 601 + 15360 - 448) * MIB
    assert (found["vram"]["total"], found["vram"]["used"]) == (total, 1000 * MIB)


def test_left_to_itself_it_takes_cuda(look: Callable[..., Run]) -> None:
    """With gpu "auto" it chooses CUDA, for the files that it finds."""
    assert answer(look("auto"))["gpu"] == "cuda"


def test_inspect_gpu(vgpu_run: MakeRun, libraries: Path) -> None:
    """`node-llama-cpp inspect gpu` says that CUDA is available, and on which devices."""
    program = foreign.node_modules() / "node-llama-cpp" / "dist" / "cli" / "cli.js"
    host = Host.model_validate({"gpu": [{}, {"profile": "rtx4090-24gb"}]})
    run = vgpu_run([foreign.node(), program, "inspect", "gpu"], host=host, library_path=[libraries])
    lines = re.sub(r"\x1b\[[0-9;]*m", "", run.stdout).splitlines()
    assert "node-llama-cpp: 3.22.1" in lines, run.explain()
    assert "CUDA: available" in lines
    # The driver puts the fastest first: cores times clock.
    assert f"CUDA devices: NVIDIA GeForce RTX 4090, {H100}" in lines
    gib = (81559 - 480 + 24564 - 354) / 1024
    assert f"CUDA free VRAM: 100% ({gib:.2f}GB/{gib:.2f}GB)" in lines


NO_CUDA = 'The prebuilt binary for platform "linux" "x64" with CUDA support is not compatible with the current system'
FAILURES: dict[str, dict[str, Any]] = {
    "no driver": {"delivery": {"preload": ["syscall", "nvml"], "links": []}},
    "cuInit": {"faults": [{"function": "cuInit", "result": 802}]},
    "symbol": {"faults": [{"library": "cuda", "missing_symbol": "cuMemCreate"}]},
    "driver": {"driver": {"version": "575.51.03"}},
}


@pytest.mark.parametrize("failure", FAILURES)
def test_it_sees_no_gpu_when_the_host_has_none(look: Callable[..., Run], libraries: Path, failure: str) -> None:
    """Without a driver that starts, its own trial fails: it is the shim and the stand-ins that answered above."""
    (libraries / "libcuda.so.1").unlink()
    run = look(**FAILURES[failure])
    assert run.returncode == 1, run.explain()
    assert NO_CUDA in run.stderr


def test_nvidias_own_runtime_stops_it(look: Callable[..., Run], libraries: Path) -> None:
    """On NVIDIA's libcudart, which asks for private tables, node-llama-cpp finds no GPU either."""
    (libraries / "libcudart.so.13").unlink()
    (libraries / "libcudart.so.13").symlink_to(foreign.cudart(13))
    run = look()
    assert (run.returncode, NO_CUDA in run.stderr) == (1, True), run.explain()
    tables = [r.result for r in run.trace.records if (r.kind, r.name) == (Kind.CALL, "cuGetExportTable")]
    assert tables[-1:] == [1]
