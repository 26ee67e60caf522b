"""Shims and libraries made by hand with one detail wrong: the verdict names that detail, and its remedy would mend it.

Each verdict is derived a second time from a copy without host image and tree (see support/controls.py).
"""

from pathlib import Path
from typing import Any

import pytest
from support.clients import CUDA
from support.compile import compile_library
from support.controls import Control, discovered, fault, made

from vgpu_harness.discovery import verdict_of
from vgpu_harness.discovery.installation import lay_out
from vgpu_harness.errors import TraceError
from vgpu_harness.shims import client_path, paths

SHIMS = ("exec", "syscall", "cuda", "nvml")
CONSTRUCTOR = """
#include <errno.h>
#include <string.h>
#include <unistd.h>
__attribute__((constructor)) static void start(int count, char **words) {
    static char text[SIZE];
    memset(text, 'x', sizeof text);
    memcpy(text, TEXT, sizeof TEXT - 1);
    text[sizeof text - 1] = '\\n';
    const char *job = count > 1 ? words[1] : "";
    if (WANTED[0] == '\\0' || strcmp(program_invocation_short_name, WANTED) == 0 || strcmp(job, WANTED) == 0) {
        (void)!write(2, text, sizeof text);
        END;
    }
}
"""


def preloaded(text: str = "noise", *, size: int = 0, end: str = "(void)0", program: str = "") -> dict[str, Any]:
    """A host that preloads a library whose constructor writes `text` to stderr and does `end`, in `program` only."""
    quoted = '"' + text.replace("\n", "\\n") + '"'
    library = compile_library(
        "#define _GNU_SOURCE\n" + CONSTRUCTOR,
        "libstrange.so",
        *(f"-DTEXT={quoted}", f"-DSIZE={size or len(text) + 1}", f"-DEND={end}", f'-DWANTED="{program}"'),
    )
    return {"delivery": {"preload": [str(library), *SHIMS]}}


CRASH = "__builtin_trap()"
STOPS = [
    Control("start-exits", preloaded(end="_exit(3)"), dict.fromkeys("abc", "S0"), "status 3, and had not written a"),
    Control("start-crashes", preloaded(end=CRASH), dict.fromkeys("abc", "S0"), "signal 4, and had not written a line"),
    Control(
        "server-crashes",
        preloaded(end=CRASH, program="llama-server"),
        {"c": "S3"},
        "libstrange.so, which LD_PRELOAD names and which is none of the shims",
    ),
    Control(
        "stray-archs", preloaded("CUDA : ARCHS = 350"), {"c": "S11"}, "'CUDA : ARCHS = 350', which is not of llama"
    ),
    Control("line-too-long", preloaded(size=70000), {"c": "S8"}, "up to a line of 69999 bytes"),
    Control("name-empty", fault(function="cuDeviceGetName", text=""), {"c": "S8"}, "cuDeviceGetName answered ''"),
    Control("name-of-two-lines", fault(function="cuDeviceGetName", text="H\n1"), {"c": "S8"}, "answered 'H\\n1'"),
    Control(
        "granularity",
        fault(function="cuMemGetAllocationGranularity", result=999),
        {"b": "S8", "c": "S8"},
        "cuMemGetAllocationGranularity answered 999",
    ),
    Control("set-current", fault(function="cuCtxSetCurrent", result=201), {"c": "S9"}, "cuCtxSetCurrent answered 201"),
    Control(
        "lookups-end",
        fault(function="cuGetProcAddress_v2", result=500, after=3),
        {"b": "S6", "c": "S6"},
        "could not obtain its functions from the driver",
    ),
    Control(
        "version-not-answered",
        fault(function="cuDriverGetVersion", result=999),
        {"b": "S6", "c": "S6"},
        "did not get the driver's version: cuDriverGetVersion answered 999",
    ),
    Control(
        "rebuilt-with-links",
        {"delivery": {"child_environment": "rebuilt"}},
        {"b": "S0", "c": "S0"},
        "environment was rebuilt",
    ),
    Control(
        "no-soname",
        {"delivery": {"preload": [str(compile_library(CUDA, ""))], "links": []}},
        {"b": "S4", "c": "S4"},
        "it has no SONAME libcuda.so.1",
    ),
    Control(
        "own-driver-crashes",
        {
            "delivery": {
                "preload": [str(compile_library(CUDA.replace('called("cuInit");', CRASH + ";"), "libcuda.so.1"))],
                "links": [],
            }
        },
        {"b": "S7", "c": "S7"},
        "libcuda.so.1 mapped, and the trace has no call of it",
    ),
]
FINDINGS = [
    Control(
        "stray-device",
        preloaded("  CUDA7: Fake (4096 MiB, 4000 MiB free)"),
        {"c": None},
        finding="it took a line for a device that is none ('CUDA7: Fake (4096 MiB, 4000 MiB free)')",
    ),
    Control("stray-system", preloaded("system_info: none"), {"c": None}, finding="compiled for the device (msg="),
    Control(
        "driver-535-and-cuda-13",
        fault(function="nvmlSystemGetDriverVersion", text="535.288.01"),
        {"c": None},
        finding='msg="NVIDIA driver too old"',
    ),
    Control(
        "second-init",
        fault(function="cuInit", result=100, after=1),
        {"c": None},
        finding="in gpu-discover, trace: cuInit(0) = 100 CUDA_ERROR_NO_DEVICE. Let cuInit answer 0",
    ),
    Control(
        "nvml-init",
        fault(function="nvmlInit_v2", result=3),
        {"b": None, "c": None},
        finding="nvmlInit_v2() = 3 NVML_ERROR_NOT_SUPPORTED",
    ),
    Control(
        "nvml-unreadable",
        fault(function="nvmlSystemGetDriverVersion", text="vgpu"),
        {"c": None},
        finding="'vgpu', which is no version to it. Answer nvmlSystemGetDriverVersion",
    ),
    Control(
        "one-address-for-all",
        {"gpu": [{}, {}], **fault(function="cuDeviceGetPCIBusId", text="0000:00:05.0")},
        {"c": None},
        finding="cuDeviceGetPCIBusId(32, 1) = 0, '0000:00:05.0' is not the address that ggml has, 0000:00:06.0",
    ),
    Control(
        "probe-crashes",
        preloaded(end=CRASH, program="gpu-discover"),
        {"c": None},
        finding="the process crashed; likely ",
    ),
    Control(
        "name-with-memory",
        fault(function="cuDeviceGetName", text="GPU (123 MiB, 5 MiB free)"),
        {"c": None},
        finding="(GPU) with 123.0 MiB, and the driver answered 8",
    ),
    Control(
        "links-of-one-backend",
        {"delivery": {"preload": [], "links": ["lib/ollama/cuda_v12"]}},
        {"b": None, "c": None},
        finding="cuda_v13/libggml-cuda.so needs libcuda.so.1, which is neither preloaded",
    ),
]
CASES = [(control, generation) for control in STOPS for generation in control.stops]
FOUND = [(control, generation) for control in FINDINGS for generation in control.stops]


@pytest.mark.parametrize(("control", "generation"), CASES, ids=[f"{c.name}-{g}" for c, g in CASES])
def test_a_wrong_detail_stops_where_it_is(control: Control, generation: str, tmp_path: Path) -> None:
    """The stage is the one where the detail matters, the cause names it, and a remedy is there."""
    verdict = discovered(made(control.host, foreign=False), generation, tmp_path)
    assert (verdict.library, verdict.stopped_at) == ("cpu", control.stops[generation]), verdict.cause
    assert control.words in (verdict.cause or ""), verdict.cause
    assert verdict.remedy


@pytest.mark.parametrize(("control", "generation"), FOUND, ids=[f"{c.name}-{g}" for c, g in FOUND])
def test_a_wrong_detail_under_cuda_is_a_finding(control: Control, generation: str, tmp_path: Path) -> None:
    """The client answers cuda all the same, and a finding names the detail."""
    verdict = discovered(made(control.host, foreign=False), generation, tmp_path)
    assert (verdict.library, verdict.stopped_at) == ("cuda", None), verdict.cause
    assert any(control.finding in finding for finding in verdict.findings), verdict.findings


@pytest.mark.parametrize(
    "host",
    [preloaded(), fault(function="cuDeviceGetPCIBusId", text="0000:0A:05.0") | {"gpu": [{"pci": "0000:0a:05.0"}]}],
    ids=["noise", "capital-letters"],
)
def test_what_costs_nothing_is_no_finding(host: dict[str, Any], tmp_path: Path) -> None:
    """Control: a library that writes another text to stderr, and an address in capital letters, lose nothing."""
    verdict = discovered(made(host, foreign=False), "c", tmp_path)
    assert (verdict.library, verdict.stopped_at, verdict.findings) == ("cuda", None, ())


def libraries(directory: Path, *names: str, size: int | None = None, source: str = "ggml-c") -> Path:
    """A directory with copies of the backends and runtimes `names`, cut to `size` bytes."""
    for name in names:
        runtime = "cudart" in name
        library = paths.cudalib_path(Path(name).name) if runtime else client_path(f"{source}/{name}")
        (directory / name).parent.mkdir(parents=True, exist_ok=True)
        (directory / name).write_bytes(library.read_bytes()[:size])
    return directory


@pytest.mark.parametrize("size", [0, 5000])
@pytest.mark.parametrize(
    ("generation", "name"),
    [("b", "libcudart.so.13"), ("c", "libcudart.so.13"), ("c", "libggml-cuda.so")],
)
def test_a_users_broken_library_is_a_finding(generation: str, name: str, size: int, tmp_path: Path) -> None:
    """Where one of the user's libraries cannot be loaded and the other backend answers, a finding names the file."""
    own = libraries(tmp_path / "own", f"cuda_v13/{name}", size=size)
    verdict = discovered(made({}, foreign=False), generation, tmp_path / "run", libraries=own)
    assert (verdict.library, verdict.stopped_at) == ("cuda", None)
    (finding,) = verdict.findings
    assert f"cuda_v13/{name} cannot be loaded (" in finding


@pytest.mark.parametrize("name", ["libcudart.so.{}", "libggml-cuda.so"])
def test_broken_libraries_of_both_backends_stop_at_s4(name: str, tmp_path: Path) -> None:
    """Where no backend can be loaded, the cause names a file and what is wrong with it."""
    both = [f"cuda_v{major}/{name.format(major)}" for major in (12, 13)]
    own = libraries(tmp_path / "own", *both, size=5000)
    verdict = discovered(made({}, foreign=False), "c", tmp_path / "run", libraries=own)
    assert (verdict.library, verdict.stopped_at) == ("cpu", "S4"), verdict.cause
    assert f"{both[0]} cannot be loaded (is not a sound ELF file" in (verdict.cause or "")


def test_a_backend_of_another_abi_ends_its_child(tmp_path: Path) -> None:
    """A backend that crashes llama-server after the driver answered is told by its last driver call."""
    own = libraries(tmp_path / "own", "cuda_v12/libggml-cuda.so", "cuda_v13/libggml-cuda.so", source="ggml")
    verdict = discovered(made({}, foreign=False), "c", tmp_path / "run", libraries=own)
    assert (verdict.library, verdict.stopped_at) == ("cpu", "S9"), verdict.cause
    assert "A child ended after cuMemGetAllocationGranularity" in (verdict.cause or "")


@pytest.mark.parametrize("generation", ["a", "b", "c"])
def test_a_file_of_a_run_is_not_the_installed_one(generation: Any, tmp_path: Path) -> None:
    """No file that is laid out leads out of the run, so writing over it changes no installed file."""
    lay_out(generation, tmp_path)
    files = [path for path in tmp_path.rglob("*") if not path.is_dir()]
    assert files
    assert [path for path in files if not path.resolve().is_relative_to(tmp_path.resolve())] == []
    assert [path for path in files if path.stat().st_nlink != 1] == []


def test_a_verdict_on_nothing_names_the_path(tmp_path: Path) -> None:
    """A path that does not exist is said not to exist."""
    with pytest.raises(TraceError, match="nowhere: does not exist"):
        verdict_of(tmp_path / "nowhere")
