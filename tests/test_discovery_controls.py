"""The negative controls, end to end: a host with one thing wrong, the real client, its verdict.

Each runs in every generation named, without and with another libcuda.so.1 (whose functions all answer 34) in the host's
library path. Each verdict is derived a second time from a copy of the run that has no host image, no tree and no edited
shims, and comes out the same. The same host without the fault reaches cuda.
"""

import json
import shutil
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from vgpu_harness.discovery import Verdict, discover, verdict_of
from vgpu_harness.discovery.clients import RUNTIME_SYMBOLS_B, SYMBOLS_A
from vgpu_harness.host import Host
from vgpu_harness.shims import client_path, shim_path

TRACE_SIZE = 1 << 20
NO_SHIM = "/nonexistent/libvgpu-cuda.so"
OTHER_UUID = "GPU-ffffffff-ffff-ffff-ffff-ffffffffffff"
DELAY = 2.0
SCALE = 0.05  # of 30 s: 1.5 s, less than the delay


@dataclass(frozen=True)
class Control:
    """A host with a fault, and per generation the stage at which discovery stops (None: cuda, with `finding`)."""

    name: str
    host: dict[str, Any]
    stops: dict[str, str | None]
    words: str = ""
    finding: str = ""
    scale: float = 1.0
    sound: dict[str, Any] = field(default_factory=dict)
    """The same host without the fault."""


def fault(**keys: Any) -> dict[str, Any]:
    """A host with one fault."""
    return {"faults": [keys]}


CONTROLS = [
    Control(
        "preload-missing",
        {"delivery": {"preload": [NO_SHIM], "links": []}},
        {"a": "S0", "b": "S0"},
        f"{NO_SHIM} of LD_PRELOAD does not exist",
        sound={"delivery": {"preload": ["cuda", "nvml"], "links": ["lib/ollama"]}},
    ),
    Control(
        "preload-missing-with-links",
        {"delivery": {"preload": [NO_SHIM]}},
        {"a": None, "b": None},
        finding=f"LD_PRELOAD names {NO_SHIM}, which does not exist",
    ),
    Control(
        "child-environment-rebuilt",
        {"delivery": {"links": [], "child_environment": "rebuilt"}},
        {"b": "S0"},
        "environment was rebuilt",
        sound={"delivery": {"links": []}},
    ),
    Control(
        "soname",
        {"delivery": {"links": []}, **fault(library="cuda", soname="libcudb.so.1")},
        {"a": "S2", "b": "S4"},
        "libvgpu-cuda.so",
        sound={},
    ),
    Control("cuinit-802", fault(function="cuInit", result=802), {"a": "S7", "b": "S7"}, "802 CUDA_ERROR_SYSTEM"),
    Control("count-0", fault(function="cuDeviceGetCount", value=0), {"a": "S8", "b": "S8"}, "0 devices"),
    Control("compute-3.7", {"gpu": [{"compute": "3.7"}]}, {"a": "S8", "b": "S11"}, "3.7"),
    Control(
        "cuinit-late",
        fault(function="cuInit", delay=DELAY),
        {"a": None, "b": "S10"},
        "cuInit was entered and had not returned",
        finding="cuInit took 2.0 s",
        scale=SCALE,
    ),
    Control(
        "nvml-uuid",
        {"gpu": [{"nvml_uuid": OTHER_UUID}]},
        {"b": None},
        finding="NVML does not know the UUID that CUDA answers",
    ),
    *(
        Control(f"image-{how}", fault(image=how), {"a": "S0", "b": "S0"}, "image refused")
        for how in ("truncated", "foreign", "version")
    ),
    Control("gate-deny", {"gate": {"deny": ["ollama"]}}, {"a": "S0", "b": "S0"}, "not an application"),
    Control("gate-early", {"gate": {"calls_before": 1000}}, {"a": "S0", "b": "S0"}, "too early"),
    Control("context-801", fault(function="cuCtxCreate_v3", result=801), {"a": "S9"}, "801 CUDA_ERROR_NOT_SUPPORTED"),
]  # fmt: skip

SYMBOLS = [("a", name) for name in SYMBOLS_A] + [
    ("b", name)
    for name in (
        *("cuMemCreate", "cuMemMap", "cuGetErrorString", "cuMemGetAllocationGranularity", "cuMemAddressReserve"),
        *("cuMemSetAccess", "cuMemUnmap", "cuMemRelease", "cuMemAddressFree"),
        *(name for name in RUNTIME_SYMBOLS_B if "|" not in name),
    )
]

CASES = [(control, generation) for control in CONTROLS for generation in control.stops]
FOREIGN = pytest.mark.parametrize("foreign", [False, True], ids=["alone", "foreign"])


def made(host: dict[str, Any], foreign: bool) -> Host:
    """The host, with the other libcuda.so.1 in its library path if so asked."""
    if foreign:
        path = [str(client_path("stub/libcuda.so.1").parent)]
        host = host | {"delivery": host.get("delivery", {}) | {"library_path": path}}
    return Host.model_validate(host)


def discovered(host: Host, generation: str, directory: Path, scale: float = 1.0) -> Verdict:
    """The verdict, after a look that it follows from the evidence alone."""
    (verdict,) = discover((generation,), host, directory=directory, scale=scale, trace_size=TRACE_SIZE)
    stripped = directory / "stripped"
    assert verdict.directory is not None
    shutil.copytree(
        verdict.directory,
        stripped,
        symlinks=True,
        ignore=shutil.ignore_patterns("host.image", "tree", "shims", "ollama"),
    )
    assert not (stripped / "host.image").exists()
    assert json.dumps(verdict_of(stripped).to_json()) == json.dumps(verdict.to_json())
    return verdict


@FOREIGN
@pytest.mark.parametrize(("control", "generation"), CASES, ids=[f"{c.name}-{g}" for c, g in CASES])
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


@FOREIGN
@pytest.mark.parametrize(("generation", "symbol"), SYMBOLS)
def test_a_missing_symbol_is_named(generation: str, symbol: str, foreign: bool, tmp_path: Path) -> None:
    """One of the client's symbols missing stops discovery at S5, with symbol and file in the cause."""
    verdict = discovered(made(fault(library="cuda", missing_symbol=symbol), foreign), generation, tmp_path)
    assert (verdict.stopped_at, verdict.library) == ("S5", "cpu"), verdict.cause
    assert symbol in (verdict.cause or "")
    assert str(tmp_path) in (verdict.cause or "")


SOUND = sorted({(json.dumps(control.sound), generation) for control, generation in CASES})


@FOREIGN
@pytest.mark.parametrize(("host", "generation"), SOUND)
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
