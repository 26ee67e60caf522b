"""Generation A's stand-in against libraries that answer what the test tells them."""

from pathlib import Path

import pytest
from support.clients import CUDA, UUID, Installation
from support.compile import compile_library

START = ["cuInit", "cuDriverGetVersion", "cuDeviceGetCount"]
DEVICE = ["cuDeviceGet", "cuDeviceGetAttribute", "cuDeviceGetAttribute", "cuDeviceGetUuid", "cuDeviceGetName",
          "cuCtxCreate_v3", "cuMemGetInfo_v2", "cuCtxDestroy"]  # fmt: skip
MISMATCH = "version mismatch between driver and cuda driver library - reboot or upgrade may be required: library {path}"
UNKNOWN = (
    "unknown error initializing cuda driver library {path}: cuda driver library init failure: 999. see "
    "https://github.com/ollama/ollama/blob/main/docs/troubleshooting.md for more information"
)
NAMES = [*START, "cuDeviceGet", "cuDeviceGetAttribute", *DEVICE[3:]]


def test_a_gpu_is_found_with_the_calls_of_the_original(tmp_path: Path) -> None:
    """One device: the ten names in order, the calls in order, and the final line with all its fields."""
    answer = Installation(tmp_path, "a").serve(debug="1")
    assert answer.returncode == 0
    assert answer.calls == START + DEVICE
    assert [line.split()[1] for line in answer.stderr.splitlines() if line.startswith("dlsym: ")] == NAMES
    line = answer.one("inference compute")
    expected = {
        "level": "INFO", "source": "types.go:131", "id": UUID, "library": "cuda", "variant": "v13", "compute": "9.0",
        "driver": "13.0", "name": 'NVIDIA Test "80GB"', "total": "80.0 GiB", "available": "79.0 GiB",
    }  # fmt: skip
    assert {key: line[key] for key in expected} == expected
    assert not answer.all("entering low vram mode")
    assert "device count 1\n" in answer.stderr
    assert "raw version 0x32c8\n" in answer.stderr


def test_without_debug_only_information_is_written(tmp_path: Path) -> None:
    """At the default level neither DEBUG lines nor the lines of the C code appear."""
    answer = Installation(tmp_path, "a").serve(debug="0")
    assert [line["msg"] for line in answer.lines] == ["looking for compatible GPUs", "inference compute"]
    assert len(answer.stderr.splitlines()) == 2


def test_the_globs_come_in_the_originals_order(tmp_path: Path) -> None:
    """LibOllamaPath, LD_LIBRARY_PATH made absolute, then the fixed list; no PhysX; links are resolved once."""
    installation = Installation(tmp_path, "a")
    other = tmp_path / "PhysX"
    other.mkdir()
    answer = installation.serve(debug="1", LD_LIBRARY_PATH=f"{other}:{installation.library_directory}/../ollama")
    globs = answer.all("gpu library search")[0]["globs"].strip("[]").split()
    lib = str(installation.library_directory)
    assert globs[:4] == [f"{lib}/libcuda.so*", f"{other}/libcuda.so*", f"{lib}/libcuda.so*",
                         "/usr/local/cuda*/targets/*/lib/libcuda.so*"]  # fmt: skip
    assert globs[-1] == "/usr/local/lib*/libcuda.so*"
    assert answer.one("skipping PhysX cuda library path")["path"] == globs[1]
    real = str((installation.library_directory / "libcuda.so.1").resolve())
    assert answer.all("discovered GPU libraries")[0]["paths"].strip("[]").split().count(real) == 1
    assert f"initializing {real}\n" in answer.stderr


def test_an_empty_library_path_is_the_working_directory(tmp_path: Path) -> None:
    """Without LD_LIBRARY_PATH the current directory is searched, as strings.Split of an empty string gives."""
    installation = Installation(tmp_path, "a", cuda=None)
    (tmp_path / "libcuda.so.9").symlink_to(compile_library(CUDA, "libcuda.so.1"))
    assert installation.serve().one("inference compute")["library"] == "cuda"


def test_without_a_file_the_driver_is_not_looked_for(tmp_path: Path) -> None:
    """A library that is only preloaded is in no glob: its functions are never called."""
    installation = Installation(tmp_path, "a", cuda=None)
    preloaded = compile_library(CUDA, "libcuda.so.1", "-Wl,-soname,libcuda.so.1")
    answer = installation.serve(debug="1", LD_PRELOAD=str(preloaded))
    assert "cuInit" not in answer.calls
    assert str(tmp_path) not in answer.all("discovered GPU libraries")[0]["paths"]


@pytest.mark.parametrize(
    ("code", "level", "message"),
    [
        (802, "INFO", "Unable to load cudart library {path}: cuda driver library init failure: 802"),
        (100, "INFO", "no nvidia devices detected by library {path}"),
        (803, "WARN", MISMATCH),
        (35, "WARN", MISMATCH),
        (999, "WARN", UNKNOWN),
    ],
)
def test_a_failed_init_is_reported_by_its_code(tmp_path: Path, code: int, level: str, message: str) -> None:
    """Each code of cuInit has the level and the words that Ollama gives it, and ends on the CPU."""
    installation = Installation(tmp_path, "a")
    answer = installation.serve(debug="1", FAKE_cuInit=str(code))
    path = (installation.library_directory / "libcuda.so.1").resolve()
    assert answer.one(message.format(path=path))["level"] == level
    assert answer.calls[0] == "cuInit"
    assert "cuDeviceGetCount" not in answer.calls
    assert f"cuInit err: {code}\n" in answer.stderr
    assert answer.one("inference compute")["library"] == "cpu"
    assert answer.one("entering low vram mode")["total vram"] == "0 B"


def test_a_missing_name_ends_the_lookup(tmp_path: Path) -> None:
    """cuCtxCreate_v3 missing: it is named, no later name is looked up, and nothing is called."""
    answer = Installation(tmp_path, "a", cuda=("-DWITHOUT_CUCTXCREATE_V3",)).serve(debug="1")
    failure = answer.one("Unable to load cudart library")["msg"]
    assert "symbol lookup for cuCtxCreate_v3 failed: " in failure
    assert failure.endswith("undefined symbol: cuCtxCreate_v3")
    assert answer.calls == []
    assert "cuMemGetInfo_v2" not in answer.stderr


def test_a_library_of_another_class_is_passed_over(tmp_path: Path) -> None:
    """A 32-bit libcuda before the good one costs a DEBUG line, not the GPU."""
    installation = Installation(tmp_path, "a")
    wrong = bytearray((installation.library_directory / "libcuda.so.1").read_bytes())
    wrong[4] = 1  # ELFCLASS32
    (installation.library_directory / "libcuda.so").write_bytes(wrong)
    answer = installation.serve(debug="1")
    assert answer.one("skipping 32bit library")["library"] == str(installation.library_directory / "libcuda.so")
    assert answer.one("inference compute")["library"] == "cuda"


def test_no_device_is_no_error(tmp_path: Path) -> None:
    """A count of 0 is success: no other library is tried, and the end is the CPU."""
    answer = Installation(tmp_path, "a").serve(debug="1", FAKE_COUNT="0")
    assert answer.calls == START
    assert answer.one("detected GPUs")["count"] == "0"
    assert answer.one("no compatible GPUs were discovered")["level"] == "INFO"
    assert len(answer.all("Searching for GPU library")) == 1


def test_an_old_gpu_is_dropped(tmp_path: Path) -> None:
    """Compute capability 3.7 is below 5.0."""
    answer = Installation(tmp_path, "a").serve(FAKE_MAJOR="3", FAKE_MINOR="7")
    assert answer.one("[0] CUDA GPU is too old. Compute Capability detected: 3.7")["level"] == "INFO"
    assert answer.one("inference compute")["library"] == "cpu"


@pytest.mark.parametrize(
    ("function", "error"),
    [
        ("cuCtxCreate_v3", "cuda driver library failed to get device context 801"),
        ("cuMemGetInfo_v2", "cuda driver library device memory info lookup failure 801"),
        ("cuDeviceGet", "cuda driver library device failed to initialize"),
    ],
)
def test_a_device_without_context_or_memory_is_skipped(tmp_path: Path, function: str, error: str) -> None:
    """The step of the bootstrap that failed stands in the line, and the device is left out."""
    answer = Installation(tmp_path, "a").serve(**{f"FAKE_{function}": "801"})
    assert answer.one("error looking up nvidia GPU memory")["error"] == error
    assert answer.one("inference compute")["library"] == "cpu"
    assert answer.calls.count("cuCtxDestroy") == (1 if function == "cuMemGetInfo_v2" else 0)


def test_a_missing_identity_is_tolerated(tmp_path: Path) -> None:
    """Without a UUID the device goes by its number."""
    line = Installation(tmp_path, "a").serve(FAKE_cuDeviceGetUuid="999").one("inference compute")
    assert (line["id"], line["library"]) == ("0", "cuda")


@pytest.mark.parametrize(
    ("version", "major", "variant", "warned"),
    [("13000", "9", "v13", False), ("12080", "9", "v12", True), ("13000", "7", "v12", False)],
)
def test_the_variant_follows_gpu_and_driver(
    tmp_path: Path, version: str, major: str, variant: str, *, warned: bool
) -> None:
    """v13 needs compute 7.5 and a driver 13; only the driver is worth a warning."""
    answer = Installation(tmp_path, "a").serve(FAKE_VERSION=version, FAKE_MAJOR=major)
    assert answer.one("inference compute")["variant"] == variant
    assert bool(answer.all("old CUDA driver detected")) == warned


def test_two_gpus_give_two_lines(tmp_path: Path) -> None:
    """Every device has a bootstrap and a final line of its own."""
    answer = Installation(tmp_path, "a").serve(FAKE_COUNT="2")
    assert [line["id"][-2:] for line in answer.all("inference compute")] == ["00", "01"]
    assert answer.calls == START + DEVICE + DEVICE


RUNTIME = r"""
#include <stddef.h>
#include <string.h>
#define UNUSED(x) ((void)(x))
int cudaSetDevice(int d); int cudaSetDevice(int d) { UNUSED(d); return RESULT; }
int cudaDeviceSynchronize(void); int cudaDeviceSynchronize(void) { return 0; }
int cudaDeviceReset(void); int cudaDeviceReset(void) { return 0; }
int cudaMemGetInfo(size_t *f, size_t *t);
int cudaMemGetInfo(size_t *f, size_t *t) { *f = 1UL << 30; *t = 2UL << 30; return 0; }
int cudaGetDeviceCount(int *c); int cudaGetDeviceCount(int *c) { *c = 1; return 0; }
int cudaDeviceGetAttribute(int *v, int a, int d);
int cudaDeviceGetAttribute(int *v, int a, int d) { UNUSED(d); *v = a == 75 ? 8 : 6; return 0; }
int cudaDriverGetVersion(int *v); int cudaDriverGetVersion(int *v) { *v = 13000; return 0; }
int cudaGetDeviceProperties(void *p, int d);
int cudaGetDeviceProperties(void *p, int d) { UNUSED(d); memset(p, 0, 1008); strcpy(p, "Runtime GPU"); return 0; }
"""


@pytest.mark.parametrize("result", [0, 35, 46])
def test_the_runtime_is_the_last_resort(tmp_path: Path, result: int) -> None:
    """Without a driver library libcudart beside the backends is asked; its failure is a DEBUG line only."""
    installation = Installation(tmp_path, "a", cuda=None)
    runtime = compile_library(RUNTIME, "libcudart.so.12", f"-DRESULT={result}")
    (installation.library_directory / "cuda_v12" / "libcudart.so.12").symlink_to(runtime)
    answer = installation.serve(debug="1")
    last = answer.one("inference compute")
    if result == 0:
        assert (last["library"], last["name"], last["compute"]) == ("cuda", "Runtime GPU", "8.6")
        assert last["driver"] == "0.0"
        return
    words = {35: "your nvidia driver is too old or missing.  If you have a CUDA GPU please upgrade to run ollama",
             46: "cudart init failure: 46"}  # fmt: skip
    failure = answer.one("Unable to load cudart library")
    assert (failure["level"], failure["msg"].split(": ", 1)[1]) == ("DEBUG", words[result])
    assert f"cudaSetDevice err: {result}\n" in answer.stderr
    assert last["library"] == "cpu"


@pytest.mark.parametrize("words", [(), ("run",), ("serve", "--scale"), ("serve", "--scale", "x"), ("serve", "--port")])
def test_wrong_usage_is_refused(tmp_path: Path, words: tuple[str, ...]) -> None:
    """A command line that is not understood ends with status 2 and the usage, before anything is searched."""
    import subprocess

    program = Installation(tmp_path, "a").program
    done = subprocess.run([str(program), *words], capture_output=True, text=True, timeout=10, check=False)
    assert done.returncode == 2
    assert done.stderr.startswith("usage: ollama serve")
