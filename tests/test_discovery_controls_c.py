"""Negative controls of generation C alone: what its third child loses, its driver floor, its memory, symbol versions.

As in tests/test_discovery_controls.py each verdict is derived a second time from a copy without host image and tree,
and the same host without the fault reaches cuda with no finding.
"""

from pathlib import Path
from typing import Any

import pytest
from support.compile import compile_library
from support.controls import Control, discovered, fault, made

from vgpu_harness.shims import paths
from vgpu_harness.shims.edit import copy_library, set_version_node

NOISE = """
#include <unistd.h>
__attribute__((constructor)) static void say(void) {
    static const char text[] = "noise: hello from a constructor\\n";
    (void)!write(TO, text, sizeof text - 1);
}
"""
SHIMS = ("exec", "syscall", "cuda", "nvml")
SCALE = 0.05  # of the 15 s of gpu-discover: 0.75 s, less than the delay; of the 30 s of all three: 1.5 s, more
DELAY = 1.0


def noisy(descriptor: int) -> dict[str, Any]:
    """A host that preloads a library whose constructor writes to a descriptor."""
    library = compile_library(NOISE, f"libnoise{descriptor}.so", f"-DTO={descriptor}")
    return {"delivery": {"preload": [str(library), *SHIMS]}}


CONTROLS = [
    Control("memory-0", fault(function="cuMemGetInfo_v2", result=2), {"c": "S9"}, "2 CUDA_ERROR_OUT_OF_MEMORY"),
    Control("memory-none", fault(function="cuMemGetInfo_v2", value=0), {"c": None}, finding="available='0 B'"),
    Control("context-801", fault(function="cuDevicePrimaryCtxRetain", result=801), {"c": "S9"}, "801 CUDA_ERROR_NOT"),
    Control(
        "driver-535",
        {"driver": {"version": "535.288.01"}},
        {"c": "S12"},
        'msg="NVIDIA driver too old" device="NVIDIA H100 80GB HBM3" compute=9.0 driver=535',
        sound={"driver": {"version": "570.124.06"}},
    ),
    Control(
        "pci-id-of-nvml",
        fault(function="cuDeviceGetPCIBusId", text="00000000:00:05.0"),
        {"c": None},
        finding="'00000000:00:05.0' is not the address that ggml has, 0000:00:05.0",
    ),
    Control(
        "nvml-missing",
        {"delivery": {"preload": ["cuda"], "links": []}},
        {"c": None},
        finding="Deliver the NVML shim (libvgpu-nvml.so)",
        sound={"delivery": {"preload": ["cuda", "nvml"], "links": []}},
    ),
    Control(
        "probe-late",
        fault(function="nvmlSystemGetDriverVersion", delay=DELAY),
        {"c": None},
        finding="nvmlSystemGetDriverVersion was entered and had not returned",
        scale=SCALE,
    ),
]  # fmt: skip


@pytest.mark.parametrize("control", CONTROLS, ids=[c.name for c in CONTROLS])
def test_a_control_of_c_names_its_stage(control: Control, tmp_path: Path) -> None:
    """The fault stops discovery at its stage with its cause, or gives cuda with one finding; without it, neither."""
    stage = control.stops["c"]
    verdict = discovered(made(control.host, foreign=False), "c", tmp_path / "spoilt", control.scale)
    sound = discovered(made(control.sound, foreign=False), "c", tmp_path / "sound")
    assert (verdict.stopped_at, verdict.library) == (stage, "cuda" if stage is None else "cpu"), verdict.cause
    if stage is None:
        assert len(verdict.findings) == 1, verdict.findings
        assert control.finding in verdict.findings[0]
    else:
        assert control.words in (verdict.cause or "")
        assert verdict.remedy
    assert (sound.library, sound.stopped_at, sound.findings) == ("cuda", None, ())


def test_noise_on_stdout_costs_fields(tmp_path: Path) -> None:
    """A library that writes to stdout costs the address: cuda, one finding with the text, the fields, the library."""
    host = made(noisy(1), foreign=False)
    verdict = discovered(host, "c", tmp_path / "loud")
    assert (verdict.library, verdict.stopped_at, verdict.pci_id) == ("cuda", None, None)
    (finding,) = verdict.findings
    assert "'noise: hello from a constructor'" in finding
    assert "likely " + host.delivery.preload[0] in finding
    assert "Lost of the final line: pci_id, driver" in finding


def test_noise_on_stderr_costs_nothing(tmp_path: Path) -> None:
    """Control: the same library, writing to stderr, is no finding: only stdout has to be pure."""
    verdict = discovered(made(noisy(2), foreign=False), "c", tmp_path / "quiet")
    assert (verdict.library, verdict.pci_id, verdict.findings) == ("cuda", "0000:00:05.0", ())


def runtimes(directory: Path, *, edited: tuple[int, ...]) -> Path:
    """A directory of libraries with copies of both runtimes; those of `edited` majors have another version node."""
    for major in (12, 13):
        name = f"libcudart.so.{major}"
        folder = directory / f"cuda_v{major}"
        folder.mkdir(parents=True)
        copy = copy_library(paths.cudalib_path(name), folder / name)
        if major in edited:
            set_version_node(copy, name, name[1:])
    return directory


@pytest.mark.parametrize("generation", ["b", "c"])
def test_another_version_node_is_named(generation: str, tmp_path: Path) -> None:
    """Runtimes whose symbols have another version stop discovery at S5, with symbol, version and file in the cause."""
    libraries = runtimes(tmp_path / "libraries", edited=(12, 13))
    verdict = discovered(made({}, foreign=False), generation, tmp_path / "run", libraries=libraries)
    assert (verdict.library, verdict.stopped_at) == ("cpu", "S5"), verdict.cause
    for words in ("libcudart.so.12 does not export cuda", "in the version libcudart.so.12", "libggml-cuda.so needs"):
        assert words in (verdict.cause or "")


@pytest.mark.parametrize("generation", ["b", "c"])
def test_a_version_node_of_one_backend_is_a_finding(generation: str, tmp_path: Path) -> None:
    """Where one runtime only is another's, the other backend answers, and the finding names the version."""
    libraries = runtimes(tmp_path / "libraries", edited=(13,))
    verdict = discovered(made({}, foreign=False), generation, tmp_path / "run", libraries=libraries)
    assert (verdict.library, verdict.stopped_at) == ("cuda", None)
    (finding,) = verdict.findings
    assert "in the version libcudart.so.13" in finding


@pytest.mark.parametrize("generation", ["b", "c"])
def test_copies_of_the_runtimes_are_sound(generation: str, tmp_path: Path) -> None:
    """Control: the same directory with unchanged copies reaches cuda with no finding."""
    libraries = runtimes(tmp_path / "libraries", edited=())
    verdict = discovered(made({}, foreign=False), generation, tmp_path / "run", libraries=libraries)
    assert (verdict.library, verdict.stopped_at, verdict.findings) == ("cuda", None, ())
