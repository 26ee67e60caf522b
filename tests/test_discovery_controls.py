"""The negative controls, end to end: a host with one thing wrong, the real client, its verdict.

Each runs in every generation named, without and with another libcuda.so.1 (whose functions all answer 34) in the host's
library path. Each verdict is derived a second time from a copy of the run that has no host image, no tree and no edited
shims, and comes out the same. The same host without the fault reaches cuda.
"""

import json
import shutil
from pathlib import Path

import pytest
from support.controls import Control, discovered, fault, made

from vgpu_harness.discovery.clients import MEMORY_SYMBOLS, RUNTIME_SYMBOLS, SYMBOLS_A
from vgpu_harness.shims import shim_path

NO_SHIM = "/nonexistent/libvgpu-cuda.so"
OTHER_UUID = "GPU-ffffffff-ffff-ffff-ffff-ffffffffffff"
DELAY = 1.2
SCALE = 0.03  # of 30 s: 0.9 s, less than the delay


CONTROLS = [
    Control(
        "preload-missing",
        {"delivery": {"preload": [NO_SHIM], "links": []}},
        {"a": "S0", "b": "S0", "c": "S0"},
        f"{NO_SHIM} of LD_PRELOAD does not exist",
        sound={"delivery": {"preload": ["cuda", "nvml"], "links": ["lib/ollama"]}},
    ),
    Control(
        "preload-missing-with-links",
        {"delivery": {"preload": [NO_SHIM]}},
        {"a": None, "b": None, "c": None},
        finding=f"LD_PRELOAD names {NO_SHIM}, which does not exist",
    ),
    Control(
        "child-environment-rebuilt",
        {"delivery": {"links": [], "child_environment": "rebuilt"}},
        {"b": "S0", "c": "S0"},
        "environment was rebuilt",
        sound={"delivery": {"links": []}},
    ),
    Control(
        "soname",
        {"delivery": {"links": []}, **fault(library="cuda", soname="libcudb.so.1")},
        {"a": "S2", "b": "S4", "c": "S4"},
        "libvgpu-cuda.so",
        sound={},
    ),
    Control("cuinit-802", fault(function="cuInit", result=802), dict.fromkeys("abc", "S7"), "802 CUDA_ERROR_SYSTEM"),
    Control("count-0", fault(function="cuDeviceGetCount", value=0), {"a": "S8", "b": "S8", "c": "S8"}, "0 devices"),
    Control("compute-3.7", {"gpu": [{"compute": "3.7"}]}, {"a": "S8", "b": "S11", "c": "S11"}, "3.7"),
    Control(
        "cuinit-late",
        fault(function="cuInit", delay=DELAY),
        {"a": None, "b": "S10", "c": "S10"},
        "cuInit was entered and had not returned",
        finding=f"cuInit took {DELAY} s",
        scale=SCALE,
    ),
    Control(
        "nvml-uuid",
        {"gpu": [{"nvml_uuid": OTHER_UUID}]},
        {"b": None},
        finding="NVML does not know the UUID that CUDA answers",
    ),
    *(
        Control(f"image-{how}", fault(image=how), {"a": "S0", "b": "S0", "c": "S0"}, "image refused")
        for how in ("truncated", "foreign", "version")
    ),
    Control("gate-deny", {"gate": {"deny": ["ollama"]}}, {"a": "S0", "b": "S0"}, "not an application"),
    Control("gate-deny-server", {"gate": {"deny": ["llama-server"]}}, {"c": "S0"}, "not an application"),
    Control("gate-early", {"gate": {"calls_before": 1000}}, {"a": "S0", "b": "S0", "c": "S0"}, "too early"),
    Control(
        "driver-old",
        {"driver": {"cuda": "11.8"}},
        {"b": "S6", "c": "S6"},
        "cuDriverGetVersion answered 11080, cuInit was never called, and cudaGetDeviceCount answered 35",
    ),
    Control(
        "no-lookup",
        fault(function="cuGetProcAddress_v2", result=500),
        {"b": "S6", "c": "S6"},
        "could not obtain its functions from the driver",
    ),
    Control("context-801", fault(function="cuCtxCreate_v3", result=801), {"a": "S9"}, "801 CUDA_ERROR_NOT_SUPPORTED"),
]  # fmt: skip

BACKEND_SYMBOLS = (
    *("cuMemCreate", "cuMemMap", "cuGetErrorString", "cuMemGetAllocationGranularity", "cuMemAddressReserve"),
    *("cuMemSetAccess", "cuMemUnmap", "cuMemRelease", "cuMemAddressFree", *RUNTIME_SYMBOLS),
)
# Without the second step cuGetProcAddress answers the first, of 32 bits: the runtime starts, and counts wrongly.
STEPS = ("cuDeviceTotalMem_v2", "cuMemGetInfo_v2")
SYMBOLS = [
    *((generation, name, foreign) for foreign in (False, True) for generation, name in (
        *(("a", name) for name in SYMBOLS_A), *(("b", name) for name in BACKEND_SYMBOLS if name not in STEPS),
    )),
    *(("c", name, True) for name in (*BACKEND_SYMBOLS, *MEMORY_SYMBOLS) if name not in STEPS),
]  # fmt: skip

# B and C find the driver in the same way, so another library beside it is tried with A and B.
CASES = [
    (control, generation, foreign)
    for control in CONTROLS
    for generation in control.stops
    for foreign in ((False, True) if generation != "c" else (False,))
]


@pytest.mark.parametrize(
    ("control", "generation", "foreign"),
    CASES,
    ids=[f"{c.name}-{g}-{'foreign' if foreign else 'alone'}" for c, g, foreign in CASES],
)
def test_a_control_names_its_stage(control: Control, generation: str, foreign: bool, tmp_path: Path) -> None:
    """The host's fault stops discovery at its stage with its cause, or gives cuda with its finding."""
    verdict = discovered(made(control.host, foreign), generation, tmp_path, control.scale)
    stage = control.stops[generation]
    assert (verdict.stopped_at, verdict.library) == (stage, "cuda" if stage is None else "cpu"), verdict.cause
    if stage is None:
        assert [finding for finding in verdict.findings if control.finding in finding]
    else:
        assert control.words in (verdict.cause or "")
        assert verdict.remedy


@pytest.mark.parametrize(("generation", "symbol", "foreign"), SYMBOLS)
def test_a_missing_symbol_is_named(generation: str, symbol: str, foreign: bool, tmp_path: Path) -> None:
    """One of the client's symbols missing stops discovery at S5, with symbol and file in the cause."""
    verdict = discovered(made(fault(library="cuda", missing_symbol=symbol), foreign), generation, tmp_path)
    assert (verdict.stopped_at, verdict.library) == ("S5", "cpu"), verdict.cause
    assert symbol in (verdict.cause or "")
    assert str(tmp_path) in (verdict.cause or "")


@pytest.mark.parametrize(("generation", "symbol"), [("b", STEPS[0]), ("c", STEPS[0]), ("c", STEPS[1])])
def test_a_missing_step_is_a_finding(generation: str, symbol: str, tmp_path: Path) -> None:
    """Where an older step of a function is found for the newer, the client answers cuda, and the step is named."""
    verdict = discovered(made(fault(library="cuda", missing_symbol=symbol), foreign=False), generation, tmp_path)
    assert (verdict.stopped_at, verdict.library) == (None, "cuda"), verdict.cause
    assert any(symbol in finding and "does not export" in finding for finding in verdict.findings)


SOUND = sorted({(json.dumps(control.sound), generation, foreign) for control, generation, foreign in CASES})


@pytest.mark.parametrize(("host", "generation", "foreign"), SOUND)
def test_the_same_host_without_the_fault_reaches_cuda(
    host: str, generation: str, foreign: bool, tmp_path: Path
) -> None:
    """Control of the controls: neither the delivery nor the other library alone stops discovery."""
    verdict = discovered(made(json.loads(host), foreign), generation, tmp_path)
    assert (verdict.library, verdict.stopped_at, verdict.pci_id) == ("cuda", None, "0000:00:05.0"), verdict.cause
    assert verdict.findings == ()


def test_three_ways_not_to_be_called(tmp_path: Path) -> None:
    """Mapped and never called, never mapped, and a child without shims are three different verdicts."""
    hosts = {
        "called": made({"delivery": {"links": []}, **fault(library="cuda", soname="libcudb.so.1")}, foreign=False),
        "mapped": made({"delivery": {"links": [], "preload": [NO_SHIM]}}, foreign=False),
        "child": made({"delivery": {"links": [], "child_environment": "rebuilt"}}, foreign=False),
    }
    causes = {name: discovered(host, "b", tmp_path / name).cause or "" for name, host in hosts.items()}
    assert "is mapped and never called" in causes["called"]
    assert "was never mapped" in causes["mapped"]
    assert "children were started without the shims" in causes["child"]


def test_a_users_own_shim_is_judged_like_ours(tmp_path: Path) -> None:
    """A shim that a user names by its path, with no SONAME of the driver, is found out as the built one is."""
    own = tmp_path / "libmine.so"
    shutil.copy(shim_path("cuda"), own)
    text = own.read_bytes()
    own.write_bytes(text.replace(b"\0libcuda.so.1\0", b"\0libmineX.so1\0"))
    verdict = discovered(made({"delivery": {"preload": [str(own)], "links": []}}, foreign=False), "b", tmp_path / "run")
    assert verdict.stopped_at == "S4"
    assert str(own) in (verdict.cause or "")
