"""Generation B's stand-in, server and runner, against libraries that answer what the test tells them."""

import os
import signal
import subprocess
import time
from itertools import groupby
from pathlib import Path

import pytest
from support.clients import CUDA, PCI_ID, UUID, Answer, Installation
from support.compile import compile_library

RUNTIME = ["cuDriverGetVersion", "cuInit", "cuDeviceGetCount", "cuDeviceGet", "cuDeviceGetName", "cuDeviceTotalMem_v2",
           "cuDeviceGetUuid", "cuDeviceGetAttribute"]  # fmt: skip
"""The runtime asks for many attributes, here and below told as one call; it keeps the driver's version."""
BACKEND = ["cuDeviceGet", "cuDeviceGetAttribute", "cuMemGetAllocationGranularity"]
NVML = ["nvmlInit_v2", "nvmlDeviceGetHandleByUUID", "nvmlDeviceGetMemoryInfo", "nvmlShutdown"]


def on_cpu(answer: Answer) -> bool:
    """Did discovery end without a GPU?"""
    return answer.returncode == 0 and answer.one("inference compute")["library"] == "cpu"


def test_a_gpu_is_found_in_two_passes(tmp_path: Path) -> None:
    """Two directories are tried, both devices verified, the newer kept; the final line has every field."""
    answer = Installation(tmp_path, "b").serve()
    assert answer.returncode == 0
    line = answer.one("inference compute")
    expected = {
        "level": "INFO", "id": UUID, "filter_id": "", "library": "CUDA", "compute": "9.0", "name": "CUDA0",
        "description": 'NVIDIA Test "80GB"', "libdirs": "ollama,cuda_v13", "driver": "13.0", "pci_id": PCI_ID,
        "type": "discrete", "total": "78.0 GiB", "available": "77.0 GiB",
    }  # fmt: skip
    assert {key: line[key] for key in expected} == expected
    assert len(answer.all("starting runner for device discovery")) == 4
    assert len(answer.all("bootstrap discovery took")) == 4
    assert answer.one("evaluating which, if any")["initial_count"] == "2"
    assert [Path(line["library"]).name for line in answer.all("verifying if device")] == ["cuda_v12", "cuda_v13"]
    overlap = answer.one("filtering device with overlapping libraries")
    assert (Path(overlap["library"]).name, Path(overlap["kept_library"]).name) == ("cuda_v12", "cuda_v13")
    assert answer.one("vram-based default context")["default_num_ctx"] == "262144"
    assert not answer.all("filtering device which didn't")


def test_the_calls_are_those_of_the_original(tmp_path: Path) -> None:
    """One child: the runtime's calls, the backend's own, then NVML; no context is made."""
    answer = Installation(tmp_path, "b", backends=("cuda_v13",)).serve(debug="0")
    one = RUNTIME + BACKEND + NVML
    assert [name for name, _ in groupby(answer.calls)] == one + one
    assert [line["msg"] for line in answer.lines] == [
        "discovering available GPUs...", "starting runner", "starting runner", "inference compute",
        "vram-based default context",
    ]  # fmt: skip


def test_the_second_pass_shows_one_device(tmp_path: Path) -> None:
    """Pass 2 sets CUDA_VISIBLE_DEVICES to the UUID and GGML_CUDA_INIT; LD_PRELOAD is inherited but never shown."""
    preloaded = compile_library("int nothing; ", "libnothing.so")
    answer = Installation(tmp_path, "b", backends=("cuda_v12",)).serve(debug="1", LD_PRELOAD=str(preloaded))
    first, second = answer.all("subprocess")
    assert "GGML_CUDA_INIT" not in first
    assert (second["CUDA_VISIBLE_DEVICES"], second["GGML_CUDA_INIT"]) == (UUID, "1")
    assert "LD_PRELOAD" not in answer.stderr
    maps = answer.all("bootstrap discovery took")
    assert [line["extra_envs"] for line in maps] == ["map[]", f"map[CUDA_VISIBLE_DEVICES:{UUID} GGML_CUDA_INIT:1]"]


def test_the_library_path_of_a_child(tmp_path: Path) -> None:
    """Ollama's two directories come before the inherited ones; a user's OLLAMA_LIBRARY_PATH is overwritten."""
    installation = Installation(tmp_path, "b", backends=("cuda_v13",))
    answer = installation.serve(LD_LIBRARY_PATH="/one:/two", OLLAMA_LIBRARY_PATH="/users")
    child = answer.all("subprocess")[0]
    own = f"{installation.library_directory}:{installation.library_directory}/cuda_v13"
    assert child["LD_LIBRARY_PATH"] == f"{own}:/one:/two"
    assert child["OLLAMA_LIBRARY_PATH"] == own


def test_a_rebuilt_environment_loses_the_rest(tmp_path: Path) -> None:
    """With --rebuild-child-environment the child gets PATH, HOME and the two paths only."""
    answer = Installation(tmp_path, "b", backends=("cuda_v13",)).serve("--rebuild-child-environment", SECRET="1")
    assert set(answer.all("subprocess")[0]) == {
        "time", "level", "source", "msg", "PATH", "LD_LIBRARY_PATH", "OLLAMA_LIBRARY_PATH",
    }  # fmt: skip
    assert answer.calls == []
    assert answer.one("inference compute")["library"] == "CUDA"


def test_requests_that_match_nothing_start_no_child(tmp_path: Path) -> None:
    """OLLAMA_LLM_LIBRARY=cuda names no directory: nothing is started and nothing is called."""
    answer = Installation(tmp_path, "b").serve(OLLAMA_LLM_LIBRARY="cuda")
    assert on_cpu(answer)
    assert answer.calls == []
    assert not answer.all("starting runner")
    assert len(answer.all("skipping available library at user's request")) == 2


def test_a_request_chooses_a_directory(tmp_path: Path) -> None:
    """OLLAMA_LLM_LIBRARY=cuda_v12 keeps the older directory."""
    answer = Installation(tmp_path, "b").serve(OLLAMA_LLM_LIBRARY="cuda_v12")
    assert answer.one("inference compute")["libdirs"] == "ollama,cuda_v12"


def test_a_flat_installation_has_one_runner(tmp_path: Path) -> None:
    """No directory with a ggml library: one child with LibOllamaPath alone, which finds nothing."""
    answer = Installation(tmp_path, "b", backends=()).serve()
    assert on_cpu(answer)
    assert len(answer.all("bootstrap discovery took")) == 1
    assert answer.one("evaluating which, if any")["initial_count"] == "0"


def test_a_user_that_hides_devices_is_warned(tmp_path: Path) -> None:
    """CUDA_VISIBLE_DEVICES in the server's environment is named, with the advice to unset it."""
    answer = Installation(tmp_path, "b", backends=("cuda_v13",)).serve(CUDA_VISIBLE_DEVICES="00")
    assert answer.one("user overrode visible devices")["CUDA_VISIBLE_DEVICES"] == "00"
    assert answer.one("if GPUs are not correctly discovered, unset and try again")["level"] == "WARN"


def test_a_missing_driver_is_silent(tmp_path: Path) -> None:
    """libggml-cuda.so that cannot be opened for want of libcuda.so.1 leaves no word at any level."""
    answer = Installation(tmp_path, "b", cuda=None).serve()
    assert on_cpu(answer)
    assert "loaded CUDA backend" not in answer.stderr
    assert "cannot open shared object" not in answer.stderr
    assert not [line for line in answer.lines if line["level"] in {"WARN", "ERROR"}]


def test_a_missing_name_keeps_the_backend_out(tmp_path: Path) -> None:
    """One of the eleven directly bound names is missing: RTLD_NOW fails before any call."""
    answer = Installation(tmp_path, "b", cuda=("-DWITHOUT_CUMEMMAP",)).serve()
    assert on_cpu(answer)
    assert answer.calls == []


def test_a_preloaded_driver_serves_by_its_soname(tmp_path: Path) -> None:
    """No file, but a preloaded library of SONAME libcuda.so.1: the backend loads; of another SONAME: it does not."""
    right = compile_library(CUDA, "libcuda.so.1")
    wrong = compile_library(CUDA, "libcudb.so.1")
    installation = Installation(tmp_path, "b", cuda=None)
    assert installation.serve(LD_PRELOAD=str(right)).one("inference compute")["library"] == "CUDA"
    failed = installation.serve(LD_PRELOAD=str(wrong))
    assert on_cpu(failed)
    assert failed.calls == []


@pytest.mark.parametrize(
    ("fault", "text"),
    [
        ({"FAKE_cuInit": "802"}, "system not yet initialized"),
        ({"FAKE_cuInit": "100"}, "no CUDA-capable device is detected"),
        ({"FAKE_cuInit": "999"}, "unknown error"),
        ({"FAKE_VERSION": "11080"}, "CUDA driver version is insufficient for CUDA runtime version"),
        ({"FAKE_cuDeviceGetCount": "801"}, "initialization error"),
        ({"FAKE_COUNT": "0"}, "no CUDA-capable device is detected"),
    ],
)
def test_the_runtimes_error_is_shown_at_trace_only(tmp_path: Path, fault: dict[str, str], text: str) -> None:
    """The backend registers no device; why stands in a line that the server throws away below TRACE."""
    installation = Installation(tmp_path, "b", backends=("cuda_v12",))
    line = f"ggml_cuda_init: failed to initialize CUDA: {text}\n"
    traced = installation.serve(**fault)
    assert on_cpu(traced)
    assert line in traced.stderr
    assert "loaded CUDA backend" in traced.stderr
    assert line not in installation.serve(debug="1", **fault).stderr


def test_a_driver_before_13_leaves_the_older_runtime(tmp_path: Path) -> None:
    """Driver 12.8 is refused by cuda_v13 and taken by cuda_v12."""
    line = Installation(tmp_path, "b").serve(FAKE_VERSION="12080").one("inference compute")
    assert (line["libdirs"], line["driver"]) == ("ollama,cuda_v12", "12.8")


def test_an_old_gpu_falls_in_the_second_pass(tmp_path: Path) -> None:
    """Compute 3.7 is listed in pass 1; in pass 2 the backend aborts, which the server sees as exit status 2."""
    answer = Installation(tmp_path, "b", backends=("cuda_v13",)).serve(FAKE_MAJOR="3", FAKE_MINOR="7")
    assert on_cpu(answer)
    assert answer.one("evaluating which, if any")["initial_count"] == "1"
    assert "ggml was not compiled with support for this arch" in answer.stderr
    assert answer.one("runner exited")["code"] == "2"
    assert answer.one("filtering device which didn't fully initialize")["id"] == UUID
    assert not answer.all("failure during GPU discovery")


def test_a_gpu_that_only_the_newer_runtime_knows(tmp_path: Path) -> None:
    """Compute 8.7 is in cuda_v13's list only, 6.1 in cuda_v12's only."""
    installation = Installation(tmp_path, "b")
    newer = installation.serve(FAKE_MAJOR="8", FAKE_MINOR="7").one("inference compute")
    older = installation.serve(FAKE_MAJOR="6", FAKE_MINOR="1").one("inference compute")
    assert (newer["libdirs"], older["libdirs"]) == ("ollama,cuda_v13", "ollama,cuda_v12")


def test_a_device_that_is_gone_in_the_second_pass(tmp_path: Path) -> None:
    """A driver that does not take the UUID in CUDA_VISIBLE_DEVICES (as with MIG) loses the device."""
    answer = Installation(tmp_path, "b", backends=("cuda_v13",)).serve(FAKE_VISIBLE="0")
    assert on_cpu(answer)
    assert answer.one("filtering device which didn't fully initialize")["pci_id"] == PCI_ID


def test_a_slow_driver_runs_into_the_limit(tmp_path: Path) -> None:
    """A cuInit that takes longer than the scaled 30 s: the words of the time-out, and the child is killed."""
    installation = Installation(tmp_path, "b", backends=("cuda_v13",))
    started = time.monotonic()
    answer = installation.serve("--scale", "0.02", FAKE_DELAY_MS="20000")
    assert 0.5 < time.monotonic() - started < 10
    failure = answer.one("failure during GPU discovery")
    assert failure["error"] == "failed to finish discovery before timeout"
    assert (failure["level"], failure["extra_envs"]) == ("INFO", "map[]")
    assert on_cpu(answer)
    assert str(installation.program).encode() not in b"".join(
        path.read_bytes() for path in Path("/proc").glob("[0-9]*/cmdline") if os.access(path, os.R_OK)
    )


def test_a_slow_driver_within_the_limit_is_waited_for(tmp_path: Path) -> None:
    """The same delay with the limit above it ends well."""
    answer = Installation(tmp_path, "b", backends=("cuda_v13",)).serve("--scale", "0.5", FAKE_DELAY_MS="100")
    assert answer.one("inference compute")["library"] == "CUDA"


def test_an_unwritable_tmpdir_is_a_runner_error(tmp_path: Path) -> None:
    """The runner cannot make its dummy model: HTTP 500, whose body the server reports."""
    answer = Installation(tmp_path, "b", backends=("cuda_v13",)).serve(TMPDIR=str(tmp_path / "missing"))
    error = answer.one("failure during GPU discovery")["error"]
    assert error.startswith("runner error: failed to initialize backend")
    assert answer.calls == []
    assert on_cpu(answer)


def test_nothing_is_left_behind(tmp_path: Path) -> None:
    """The dummy models are removed."""
    installation = Installation(tmp_path, "b", backends=("cuda_v13",))
    installation.serve()
    assert list((tmp_path / "tmp").iterdir()) == []


@pytest.mark.parametrize(
    "fault",
    [{"FAKE_NVML_UUID": "GPU-9999"}, {"FAKE_nvmlInit_v2": "999"}, {"FAKE_nvmlDeviceGetMemoryInfo": "999"}],
    ids=["other UUID", "no init", "no memory"],
)
def test_without_nvml_the_context_gives_the_memory(tmp_path: Path, fault: dict[str, str]) -> None:
    """NVML that fails or knows another UUID: the primary context is made and asked."""
    answer = Installation(tmp_path, "b", backends=("cuda_v13",)).serve(**fault)
    assert answer.one("inference compute")["total"] == "80.0 GiB"
    assert answer.calls[-3:] == ["cuDevicePrimaryCtxRetain", "cuCtxSetCurrent", "cuMemGetInfo_v2"]
    assert "utilizing NVML memory reporting" not in answer.stderr


def test_no_nvml_library_and_no_context_is_an_abort(tmp_path: Path) -> None:
    """A cudaMemGetInfo that fails aborts the child: invisible but at TRACE, and the CPU."""
    answer = Installation(tmp_path, "b", nvml=None, backends=("cuda_v13",)).serve(FAKE_cuDevicePrimaryCtxRetain="801")
    assert on_cpu(answer)
    assert "CUDA error: operation not supported\n" in answer.stderr
    assert "SIGABRT: abort\n" in answer.stderr
    assert answer.one("runner exited")["code"] == "2"


def test_an_nvml_without_error_texts_faults(tmp_path: Path) -> None:
    """The text is asked for unchecked where nvmlInit_v2 fails: a library without it takes the child down."""
    installation = Installation(tmp_path, "b", nvml=("-DWITHOUT_NVMLERRORSTRING",), backends=("cuda_v13",))
    answer = installation.serve(FAKE_nvmlInit_v2="9")
    assert on_cpu(answer)
    assert "SIGSEGV: segmentation violation\n" in answer.stderr
    assert installation.serve().one("inference compute")["library"] == "CUDA"


def test_memory_that_nvml_does_not_support_is_the_hosts(tmp_path: Path) -> None:
    """NVML_ERROR_NOT_SUPPORTED means a device in the host's memory: /proc/meminfo answers."""
    answer = Installation(tmp_path, "b", backends=("cuda_v13",)).serve(FAKE_nvmlDeviceGetMemoryInfo="3")
    kib = int(Path("/proc/meminfo").read_text().split("MemTotal:")[1].split()[0])
    assert answer.one("inference compute")["total"] == f"{kib / 1024 / 1024:.1f} GiB"
    assert "cuDevicePrimaryCtxRetain" not in answer.calls


def test_a_failing_driver_call_aborts_the_backend(tmp_path: Path) -> None:
    """CU_CHECK: the driver's own text, then the abort."""
    answer = Installation(tmp_path, "b", backends=("cuda_v13",)).serve(FAKE_cuMemGetAllocationGranularity="1")
    assert "CUDA error: told to fail\n" in answer.stderr
    assert "cuGetErrorString" in answer.calls
    assert on_cpu(answer)


def test_a_device_without_vmm_is_not_asked_for_granularity(tmp_path: Path) -> None:
    """Attribute 102 = 0: VMM: no."""
    answer = Installation(tmp_path, "b", backends=("cuda_v13",)).serve(FAKE_VMM="0")
    assert "VMM: no, ID: " in answer.stderr
    assert "cuMemGetAllocationGranularity" not in answer.calls


def test_two_gpus_are_verified_apart(tmp_path: Path) -> None:
    """Each device of each directory has a child of its own in pass 2; all end in the newer directory."""
    answer = Installation(tmp_path, "b").serve(FAKE_COUNT="2")
    assert len(answer.all("starting runner for device discovery")) == 2 + 4
    lines = answer.all("inference compute")
    assert [line["pci_id"] for line in lines] == ["0000:00:05.0", "0000:00:06.0"]
    assert {line["libdirs"] for line in lines} == {"ollama,cuda_v13"}
    assert [line["name"] for line in lines] == ["CUDA0", "CUDA1"]


def test_the_directory_that_serves_all_gpus_wins(tmp_path: Path) -> None:
    """A GPU that only cuda_v12 can use keeps the other one there too."""
    answer = Installation(tmp_path, "b").serve(FAKE_COUNT="2", FAKE_MAJOR1="6")
    lines = answer.all("inference compute")
    assert [line["compute"] for line in lines] == ["9.0", "6.0"]
    assert {line["libdirs"] for line in lines} == {"ollama,cuda_v12"}


def test_two_gpus_with_one_address_are_one(tmp_path: Path) -> None:
    """Equal PCI addresses of one library: the later device goes."""
    answer = Installation(tmp_path, "b", backends=("cuda_v13",)).serve(FAKE_COUNT="2", FAKE_SAME_ADDRESS="1")
    assert answer.one("inference compute")["id"] == UUID


def test_the_child_is_started_past_every_hook(tmp_path: Path) -> None:
    """Hooks of exec*, fork, vfork, posix_spawn, clone and syscall in a preloaded library are never called."""
    names = ["execve", "execv", "execvp", "fork", "vfork", "posix_spawn", "posix_spawnp", "clone", "syscall", "waitpid",
             "wait4", "kill", "readlink"]  # fmt: skip
    body = "".join(f'int {name}(void) {{ said("{name}"); return -1; }}\n' for name in names)
    source = (
        "#define _GNU_SOURCE\nextern long write(int, const void *, unsigned long);\nextern unsigned long strlen(const "
        'char *);\nstatic void said(const char *n) { if (write(2, "HOOK ", 5) + write(2, n, strlen(n)) < 0) { } }\n'
    )
    hooks = compile_library(source + body, "libhooks.so", "-fno-builtin")
    control = subprocess.run(
        ["/bin/sh", "-c", "/bin/true; :"], env={"LD_PRELOAD": str(hooks)}, capture_output=True, timeout=10, check=False
    )
    assert b"HOOK" in control.stderr
    answer = Installation(tmp_path, "b", backends=("cuda_v13",)).serve(LD_PRELOAD=str(hooks))
    assert "HOOK" not in answer.stderr
    assert answer.one("inference compute")["library"] == "CUDA"


def test_a_killed_server_runs_no_further(tmp_path: Path) -> None:
    """The server dies of SIGTERM at once, though its child is inside a slow driver."""
    program = Installation(tmp_path, "b", backends=("cuda_v13",))
    environment = {"PATH": os.environ["PATH"], "FAKE_DELAY_MS": "2000", "LD_LIBRARY_PATH": ""}
    with subprocess.Popen(
        [str(program.program), "serve"], env=environment, stderr=subprocess.PIPE, text=True, start_new_session=True
    ) as server:
        assert server.stderr is not None
        assert "discovering available GPUs" in server.stderr.readline()
        os.killpg(server.pid, signal.SIGTERM)
        assert server.wait(timeout=10) == -signal.SIGTERM


@pytest.mark.parametrize(
    "words",
    [(), ("run",), ("serve", "--scale", "0"), ("serve", "--scale", "1x"), ("runner", "--ollama-engine", "--port", "0")],
)
def test_wrong_usage_is_refused(tmp_path: Path, words: tuple[str, ...]) -> None:
    """A command line that is not understood ends with status 2 and the usage."""
    program = Installation(tmp_path, "b", backends=()).program
    done = subprocess.run([str(program), *words], capture_output=True, text=True, timeout=10, check=False)
    assert done.returncode == 2
    assert done.stderr.startswith("usage: ollama serve")
