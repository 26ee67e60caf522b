"""Generation C's stand-ins on a host with one thing wrong: each cause has its lines, and costs the GPU or a field."""

import re
from pathlib import Path
from typing import Any

import pytest
from support.client_c import DRIVER, PCI, chatter, folded, on_cpu, only, serve
from support.compile import compile_library

from vgpu_harness.discovery.installation import Layout


def fault(**keys: Any) -> dict[str, Any]:
    """A host with one fault."""
    return {"faults": [keys]}


def test_a_gpu_with_too_old_a_capability(tmp_path: Path) -> None:
    """Compute 3.7 is in no directory's list; 6.1 is in the older one's only."""
    found = serve(tmp_path / "old", {"gpu": [{"compute": "3.7"}]})
    assert on_cpu(found)
    skipped = found.answer.all("skipping CUDA device")
    assert [line["cc"] for line in skipped] == ["370", "370"]
    assert skipped[0]["archs"].startswith("[500 520 ")
    assert skipped[1]["archs"].startswith("[750 800 ")
    found = serve(tmp_path / "older", {"gpu": [{"compute": "6.1"}]})
    assert found.gpus[0]["libdirs"] == "ollama,cuda_v12"
    assert found.gpus[0]["compute"] == "6.1"


def test_no_device_in_the_driver(tmp_path: Path) -> None:
    """cuInit 100: the backend says so and has no device; gpu-discover ends with an error, which costs nothing more."""
    found = serve(tmp_path, fault(function="cuInit", result=100))
    assert on_cpu(found)
    assert "E ggml_cuda_init: failed to initialize CUDA: no CUDA-capable device is detected" in found.answer.stderr
    failed = found.answer.all("native GPU discovery failed")
    assert [line["error"] for line in failed] == ["exit status 1"] * 2
    assert "Error: cuInit failed: 100" in failed[0]["stderr"]
    assert found.answer.one("evaluating which, if any")["initial_count"] == "0"
    assert not found.answer.all("failure during llama-server GPU discovery")


def test_no_driver_library(tmp_path: Path) -> None:
    """Without libcuda.so.1 the loader's words are in the children's output, and no driver function is called."""
    found = serve(tmp_path, {"delivery": {"preload": ["syscall", "nvml"], "links": []}})
    assert on_cpu(found)
    pattern = r"E load_backend: failed to load \S*/cuda_v13/libggml-cuda\.so: libcuda\.so\.1: cannot open shared object"
    assert len(re.findall(pattern, found.answer.stderr)) == 2
    assert not [record for record in found.run.trace.records if record.name.startswith("cu")]
    quiet = serve(tmp_path / "quiet", {"delivery": {"preload": ["syscall", "nvml"], "links": []}}, debug="1")
    assert "E load_backend" not in quiet.answer.stderr
    assert on_cpu(quiet)


def test_a_missing_name_keeps_the_backend_out(tmp_path: Path) -> None:
    """One of the eleven directly bound names is missing: RTLD_NOW fails, and the driver alone is no device."""
    found = serve(tmp_path, fault(library="cuda", missing_symbol="cuMemMap"))
    assert on_cpu(found)
    assert "undefined symbol: cuMemMap" in found.answer.stderr
    calls = found.calls(found.child("probe", "cuda_v13"))
    assert folded(calls) == DRIVER


def test_no_memory_is_no_device(tmp_path: Path) -> None:
    """cudaMemGetInfo fails: 0/0, and the line of the list is taken for a pseudo-device."""
    found = serve(tmp_path, fault(function="cuMemGetInfo_v2", result=999))
    assert on_cpu(found)
    assert "cudaMemGetInfo failed (unknown error), returning 0/0" in found.answer.stderr
    assert "  CUDA0: NVIDIA H100 80GB HBM3 (0 MiB, 0 MiB free)" in found.answer.stderr
    assert [line["name"] for line in found.answer.all("skipping pseudo-device with zero memory")] == ["CUDA0", "CUDA0"]


def test_an_old_driver_branch_counts_under_cuda_v12_only(tmp_path: Path) -> None:
    """NVML's 535 drops the device of cuda_v12, by the name of its libcudart; 555 and a modern GPU do not."""
    driver = {"driver": {"version": "535.288.01", "cuda": "13.0"}}
    found = serve(tmp_path / "both", driver)
    dropped = found.answer.one("NVIDIA driver too old")
    assert (dropped["level"], dropped["driver"], dropped["required_driver"]) == ("WARN", "535", "550 or newer")
    assert found.gpus[0]["libdirs"] == "ollama,cuda_v13"
    assert on_cpu(serve(tmp_path / "v12", driver, change=only("cuda_v12")))
    newer = {"driver": {"version": "555.42.02", "cuda": "13.0"}}
    assert len(serve(tmp_path / "newer", newer, change=only("cuda_v12")).gpus) == 1
    old_gpu = serve(tmp_path / "old", newer | {"gpu": [{"compute": "6.1"}]}, change=only("cuda_v12"))
    assert old_gpu.answer.one("NVIDIA driver too old")["required_driver"] == "570 or newer"
    assert on_cpu(old_gpu)


def test_an_older_runtime_has_no_floor(tmp_path: Path) -> None:
    """libcudart.so.12.2.140 runs on a 535 driver."""

    def rename(layout: Layout) -> None:
        only("cuda_v12")(layout)
        folder = layout.library_directory / "cuda_v12"
        (folder / "libcudart.so.12").unlink()
        (folder / "libcudart.so.12.8.90").rename(folder / "libcudart.so.12.2.140")
        (folder / "libcudart.so.12").symlink_to("libcudart.so.12.2.140")

    found = serve(tmp_path, {"driver": {"version": "535.288.01", "cuda": "13.0"}}, change=rename)
    assert len(found.gpus) == 1


def test_without_nvml_the_floor_is_not_checked(tmp_path: Path) -> None:
    """nvmlInit_v2 fails: a warning, and the device of cuda_v12 stays."""
    found = serve(tmp_path, fault(function="nvmlInit_v2", result=9), change=only("cuda_v12"))
    assert found.answer.one("could not verify NVIDIA driver compatibility for CUDA")["level"] == "WARN"
    assert len(found.gpus) == 1


def test_an_address_in_nvmls_form_costs_the_drivers_fields(tmp_path: Path) -> None:
    """cuDeviceGetPCIBusId "00000000:00:05.0" matches no backend's address: the driver's entry is discarded."""
    found = serve(tmp_path, fault(function="cuDeviceGetPCIBusId", text="00000000:00:05.0"), change=only("cuda_v12"))
    (gpu,) = found.gpus
    assert gpu["pci_id"] == PCI
    assert gpu["driver"] == "12.8"  # of the runtime's file name, not of the driver
    assert found.answer.all("could not verify NVIDIA driver compatibility for CUDA")


def test_a_noisy_stdout_costs_the_native_fields(tmp_path: Path) -> None:
    """A preloaded library that writes to gpu-discover's stdout breaks its JSON: no address, but a device."""
    noise = chatter("ollama", "gpu-discover", r'say(1, "hello from a shim\n");')
    found = serve(tmp_path, preload=[noise], change=only("cuda_v13"))
    failed = found.answer.all("native GPU discovery failed")
    assert [line["error"] for line in failed] == ["invalid character 'h' looking for beginning of value"] * 2
    (gpu,) = found.gpus
    assert (gpu["pci_id"], gpu["driver"], gpu["compute"]) == ("", "13.0", "9.0")


def test_a_buffered_stdout_is_lost(tmp_path: Path) -> None:
    """gpu-discover ends as a Go program does, without C's exit handlers: printf without a flush does no harm."""
    noise = chatter("ollama", "gpu-discover", r'extern int printf(const char *, ...); printf("hello from a shim\n");')
    found = serve(tmp_path, preload=[noise], change=only("cuda_v13"))
    assert not found.answer.all("native GPU discovery failed")
    assert found.gpus[0]["pci_id"] == PCI


def test_chatter_that_matches_is_taken_for_data(tmp_path: Path) -> None:
    """A line of the right form on llama-server's stdout is a device, whoever wrote it."""
    line = r"  CUDA7: made up (1024 MiB, 512 MiB free)\n"
    noise = chatter("llama-server", "--list-devices", f'say(1, "{line}");')
    found = serve(tmp_path, preload=[noise], change=only("cuda_v13"))
    assert (found.gpus[0]["name"], found.gpus[0]["description"]) == ("CUDA7", "made up")


@pytest.mark.parametrize(("size", "seen"), [(65535, True), (65536, False)], ids=["fits", "too long"])
def test_a_line_may_have_64_kib(size: int, seen: bool, tmp_path: Path) -> None:
    """A longer one ends the reading before the system line; the filter by architectures is then off."""
    noise = chatter(
        "llama-server", "--port",
        f"char *t = malloc({size} + 2); memset(t, 120, {size}); t[{size}] = 10; t[{size} + 1] = 0; say(2, t);",
    )  # fmt: skip
    found = serve(tmp_path, preload=[noise], change=only("cuda_v13"))
    warned = found.answer.all("llama-server discovery: system_info line not found in output - CUDA architecture")
    assert bool(warned) != seen
    assert len(found.gpus) == 1
    unfiltered = found.answer.all("llama-server discovery: could not determine compiled CUDA architectures")
    assert bool(unfiltered) != seen


def test_a_crash_of_llama_server(tmp_path: Path) -> None:
    """CU_CHECK aborts: no system line, and --list-devices ends by a signal, which is the failure's text."""
    keys = {"function": "cuMemGetAllocationGranularity", "result": 1}
    found = serve(tmp_path / "crash", fault(**keys), change=only("cuda_v13"))
    assert on_cpu(found)
    assert found.answer.all("llama-server discovery: system_info line not found in output")
    failure = found.answer.one("failure during llama-server GPU discovery")
    assert re.fullmatch(r"llama-server --list-devices failed: signal: aborted( \(core dumped\))?", failure["error"])
    assert failure["level"] == "INFO"
    assert failure["detail"].startswith("CUDA error: invalid argument")
    assert [child.what for child in found.children] == ["start", "list"]
    assert len(serve(tmp_path / "later", fault(**keys, after=1), change=only("cuda_v13")).gpus) == 1


def test_a_failing_exit_of_llama_server(tmp_path: Path) -> None:
    """A library that ends `llama-server --list-devices` with status 3."""
    noise = chatter("llama-server", "--list-devices", r'say(2, "error: no luck\n"); _exit(3);')
    found = serve(tmp_path, preload=[noise], change=only("cuda_v13"))
    failure = found.answer.one("failure during llama-server GPU discovery")
    assert failure["error"] == "llama-server --list-devices failed: exit status 3"
    assert failure["detail"] == "error:no luck"


def test_a_crash_of_gpu_discover(tmp_path: Path) -> None:
    """abort() in a Go program is a word on stderr and exit status 2; the device survives without its native fields."""
    source = r"""
    #define _GNU_SOURCE
    #include <dlfcn.h>
    #include <errno.h>
    #include <stdlib.h>
    #include <string.h>
    int cuMemGetAllocationGranularity(unsigned long *size, const void *prop, int option) {
        int (*next)(unsigned long *, const void *, int) = dlsym(RTLD_NEXT, "cuMemGetAllocationGranularity");
        if (strcmp(program_invocation_short_name, PROGRAM) == 0) abort();
        return next(size, prop, option);
    }
    """
    for program, error in (("ollama", "exit status 2"), ("nobody", "")):
        early = compile_library(source, "libearly.so", f'-DPROGRAM="{program}"')
        host = {"delivery": {"preload": [str(early), "exec", "syscall", "cuda", "nvml"]}}
        found = serve(tmp_path / program, host, change=only("cuda_v13"))
        failed = found.answer.all("native GPU discovery failed")
        assert {line["error"] for line in failed} == ({error} if error else set())
        assert all("SIGABRT: abort" in line["stderr"] for line in failed)
        assert found.gpus[0]["pci_id"] == ("" if error else PCI)


def test_a_slow_driver_runs_into_the_watchdog(tmp_path: Path) -> None:
    """One limit for three children: a cuInit of 0.5 s each is too much for 0.9 s, and enough for 30 s."""
    slow = fault(function="cuInit", delay=0.5)
    found = serve(tmp_path / "short", slow, "--scale", "0.03", change=only("cuda_v13"))
    assert on_cpu(found)
    watchdog = found.answer.one("llama-server GPU discovery watchdog timed out")
    assert (watchdog["level"], watchdog["error"]) == ("WARN", "context deadline exceeded")
    failure = found.answer.one("failure during llama-server GPU discovery")
    assert (failure["error"], failure["detail"]) == ("context deadline exceeded", "")
    assert [child.what for child in found.children] == ["start", "list"]
    assert not found.run.reaped
    assert len(serve(tmp_path / "long", fault(function="cuInit", delay=0.05), change=only("cuda_v13")).gpus) == 1


def test_a_slow_start_is_named(tmp_path: Path) -> None:
    """The watchdog ends llama-server before its system line, and says so."""
    found = serve(tmp_path, fault(function="cuInit", delay=3.0), "--scale", "0.01", change=only("cuda_v13"))
    late = found.answer.one("llama-server discovery: timed out waiting for server startup")
    assert (late["error"], late["lines_captured"]) == ("context deadline exceeded", "0")
    assert [child.what for child in found.children] == ["start"]


def test_gpu_discover_has_a_limit_of_its_own(tmp_path: Path) -> None:
    """Half of the common one: a probe that hangs costs its fields only."""
    noise = chatter("ollama", "gpu-discover", "sleep(20);")
    found = serve(tmp_path, None, "--scale", "0.04", preload=[noise], change=only("cuda_v13"))
    failed = found.answer.all("native GPU discovery failed")
    assert {line["error"] for line in failed} == {"context deadline exceeded"}
    assert found.gpus[0]["pci_id"] == ""


def test_a_device_that_is_gone_in_the_second_pass(tmp_path: Path) -> None:
    """Pass 2 finds nothing behind CUDA_VISIBLE_DEVICES: the device is filtered."""
    gone = chatter("llama-server", "--offline", 'if (getenv("GGML_CUDA_INIT")) setenv("CUDA_VISIBLE_DEVICES", "9", 1);')
    found = serve(tmp_path, preload=[gone], change=only("cuda_v13"))
    filtered = found.answer.one("filtering device which didn't fully initialize")
    assert (filtered["id"], filtered["pci_id"], filtered["library"]) == ("0", PCI, "CUDA")
    assert on_cpu(found)
