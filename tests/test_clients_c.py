"""Generation C's stand-ins on sound hosts: children, calls, lines, environment, and what the user may ask for."""

import contextlib
import os
import re
import signal
import subprocess
from pathlib import Path

import pytest
from support.client_c import BACKEND, DRIVER, MEMORY, PCI, START, folded, on_cpu, only, serve

from vgpu_harness.discovery.installation import Layout, lay_out

MIB = 81079  # what cuDeviceTotalMem answers on the default host


def test_a_gpu_is_found_in_two_passes(tmp_path: Path) -> None:
    """Two directories, three children each, twice; the newer directory is kept; the final line has every field."""
    found = serve(tmp_path)
    line = found.answer.one("inference compute")
    expected = {
        "level": "INFO", "id": "0", "filter_id": "0", "library": "CUDA", "compute": "9.0", "name": "CUDA0",
        "description": "NVIDIA H100 80GB HBM3", "libdirs": "ollama,cuda_v13", "driver": "13.0", "pci_id": PCI,
        "type": "discrete", "total": "79.2 GiB", "available": "79.2 GiB",
    }  # fmt: skip
    assert {key: line[key] for key in expected} == expected
    trios = ["start", "list", "probe"]
    assert [(child.what, child.directory) for child in found.children[:6]] == [
        *((what, "cuda_v12") for what in trios), *((what, "cuda_v13") for what in trios)
    ]  # fmt: skip
    assert sorted(child.what for child in found.children[6:]) == sorted(trios * 2)
    assert found.answer.one("evaluating which, if any")["initial_count"] == "2"
    overlap = found.answer.one("filtering device with overlapping libraries")
    assert (Path(overlap["library"]).name, Path(overlap["kept_library"]).name) == ("cuda_v12", "cuda_v13")
    assert found.answer.one("adjusting filtering IDs")["new_ID"] == "0"
    assert not [line for line in found.answer.lines if line["level"] in {"WARN", "ERROR"}]
    assert not found.answer.all("native GPU discovery failed")


def test_the_calls_of_each_child_are_those_of_the_original(tmp_path: Path) -> None:
    """The runtime's start and ggml's own calls in all three, memory in two, then driver and NVML in one."""
    found = serve(tmp_path)
    for directory in ("cuda_v12", "cuda_v13"):
        start = folded(found.calls(found.child("start", directory)))
        # 12.x asks for the UUID's newer form
        assert [name.replace("Uuid_v2", "Uuid") for name in start] == START + BACKEND
        listed = folded(found.calls(found.child("list", directory)))
        assert listed == start + MEMORY
        probed = folded(found.calls(found.child("probe", directory)))
        assert probed == start + MEMORY + DRIVER


def test_what_the_children_print(tmp_path: Path) -> None:
    """llama.cpp's log prefix, ggml's lines, the system line with the compiled architectures, the list on stdout."""
    found = serve(tmp_path, change=only("cuda_v13"))
    lines = found.answer.stderr.splitlines()
    stamp = r"\d+\.\d\d\.\d{3}\.\d{3} I "
    patterns = [
        rf"{stamp}ggml_cuda_init: found 1 CUDA devices \(Total VRAM: {MIB} MiB\):",
        rf"{stamp}  Device 0: NVIDIA H100 80GB HBM3, compute capability 9\.0, VMM: yes, VRAM: {MIB} MiB",
        rf"{stamp}load_backend: loaded CUDA backend from .*/cuda_v13/libggml-cuda\.so",
        rf"{stamp}system_info: n_threads = .* \| CUDA : ARCHS = 750,800,.*,1210 \| .*",
        r"Available devices:",
        rf"  CUDA0: NVIDIA H100 80GB HBM3 \({MIB} MiB, {MIB} MiB free\)",
        rf"ggml_cuda_init: found 1 CUDA devices \(Total VRAM: {MIB} MiB\):",
    ]
    for pattern in patterns:
        assert any(re.fullmatch(pattern, line) for line in lines), pattern


def test_below_trace_nothing_of_the_children_is_shown(tmp_path: Path) -> None:
    """At OLLAMA_DEBUG=1 their output is parsed and thrown away."""
    found = serve(tmp_path, debug="1")
    assert len(found.gpus) == 1
    assert "ggml_cuda_init" not in found.answer.stderr
    assert all(line.startswith("time=") for line in found.answer.stderr.splitlines())


def test_the_environment_of_the_children(tmp_path: Path) -> None:
    """llama-server's directory first, then the backend's, then what was inherited, once each; LD_PRELOAD unshown."""
    library = tmp_path / "client" / "ollama" / "lib" / "ollama"
    host = {"delivery": {"library_path": ["/one", "/two"]}}
    found = serve(tmp_path, host, change=only("cuda_v12"), GGML_BACKEND_PATH="/users", OLLAMA_LIBRARY_PATH="/users")
    for child in found.children:
        path = child.environment["LD_LIBRARY_PATH"].split(":")
        assert path[:2] == [str(library), str(library / "cuda_v12")]
        assert path[-2:] == ["/one", "/two"]
        assert len(set(path)) == len(path)
        assert child.environment["GGML_BACKEND_PATH"] == str(library / "cuda_v12" / "libggml-cuda.so")
    first, second = found.children[:3], found.children[3:]
    assert all("GGML_CUDA_INIT" not in child.environment for child in first)
    for child in second:
        assert (child.environment["CUDA_VISIBLE_DEVICES"], child.environment["GGML_CUDA_INIT"]) == ("0", "1")
    assert "LD_PRELOAD" not in found.answer.stderr


def test_a_rebuilt_environment_loses_the_shims(tmp_path: Path) -> None:
    """With --rebuild-child-environment the children have PATH, HOME and what the server sets: no shim, no device."""
    host = {"delivery": {"links": []}}
    assert len(serve(tmp_path / "kept", host).gpus) == 1
    found = serve(tmp_path / "rebuilt", host, "--rebuild-child-environment", SECRET="1")
    assert on_cpu(found)
    assert {key for child in found.children for key in child.environment} == {
        "time", "level", "source", "msg", "PATH", "LD_LIBRARY_PATH", "GGML_BACKEND_PATH",
    }  # fmt: skip


@pytest.mark.parametrize("count", [2, 8])
def test_several_gpus(count: int, tmp_path: Path) -> None:
    """Each is verified alone in each directory, and all end in the newer one with addresses of their own."""
    found = serve(tmp_path, {"gpu": [{}] * count})
    assert [(gpu["id"], gpu["filter_id"], gpu["name"]) for gpu in found.gpus] == [
        (str(n), str(n), f"CUDA{n}") for n in range(count)
    ]
    assert [gpu["pci_id"] for gpu in found.gpus] == [f"0000:00:{5 + n:02x}.0" for n in range(count)]
    assert {gpu["libdirs"] for gpu in found.gpus} == {"ollama,cuda_v13"}
    assert len(found.children) == 6 + 6 * count
    assert {child.environment["CUDA_VISIBLE_DEVICES"] for child in found.children[6:]} == {str(n) for n in range(count)}
    assert found.answer.stderr.count(f"found {count} CUDA devices (Total VRAM: {count * MIB} MiB)") == 6


def test_a_user_that_hides_devices(tmp_path: Path) -> None:
    """CUDA_VISIBLE_DEVICES is warned of, followed in pass 1, and its own numbers become the filter."""
    found = serve(tmp_path / "one", {"gpu": [{}, {}]}, CUDA_VISIBLE_DEVICES="1,0")
    assert found.answer.one("user overrode visible devices")["CUDA_VISIBLE_DEVICES"] == "1,0"
    assert found.answer.one("if GPUs are not correctly discovered, unset and try again")["level"] == "WARN"
    assert [gpu["pci_id"] for gpu in found.gpus] == ["0000:00:06.0", "0000:00:05.0"]
    assert [(gpu["id"], gpu["filter_id"]) for gpu in found.gpus] == [("0", "1"), ("1", "0")]
    hidden = serve(tmp_path / "none", CUDA_VISIBLE_DEVICES="-1")
    assert on_cpu(hidden)


def test_requests_that_match_nothing_start_no_child(tmp_path: Path) -> None:
    """OLLAMA_LLM_LIBRARY=cuda names no directory; cuda_v12 chooses one; a request for MLX is none."""
    found = serve(tmp_path / "none", OLLAMA_LLM_LIBRARY="cuda")
    assert on_cpu(found)
    assert found.children == []
    assert len(found.answer.all("skipping available library at user's request")) == 2
    assert serve(tmp_path / "v12", OLLAMA_LLM_LIBRARY="cuda_v12").gpus[0]["libdirs"] == "ollama,cuda_v12"
    assert serve(tmp_path / "mlx", OLLAMA_LLM_LIBRARY="mlx_cuda_v13").gpus[0]["libdirs"] == "ollama,cuda_v13"


@pytest.mark.parametrize(("value", "looked"), [(None, True), ("1", True), ("x", True), ("0", False), ("false", False)])
def test_vulkan_is_on_by_default(value: str | None, looked: bool, tmp_path: Path) -> None:
    """A directory of Vulkan is looked into unless OLLAMA_VULKAN says no; one of a Jetson never."""

    def add(layout: Layout) -> None:
        only("cuda_v13")(layout)
        for name in ("vulkan", "cuda_jetpack6"):
            folder = layout.library_directory / name
            folder.mkdir()
            (folder / f"libggml-{name}.so").write_bytes(b"no library")

    found = serve(tmp_path, change=add, **({} if value is None else {"OLLAMA_VULKAN": value}))
    assert ("vulkan" in {child.directory for child in found.children}) == looked
    assert "cuda_jetpack6" not in {child.directory for child in found.children}
    assert found.answer.one("jetpack not detected")["libDir"].endswith("cuda_jetpack6")
    assert len(found.gpus) == 1


def test_a_flat_installation(tmp_path: Path) -> None:
    """No directory with a ggml library: three children with LibOllamaPath alone, which find nothing."""
    found = serve(tmp_path, change=only("none"))
    assert on_cpu(found)
    assert [child.what for child in found.children] == ["start", "list", "probe"]
    assert "GGML_BACKEND_PATH" not in found.children[0].environment


def test_llama_server_missing_or_not_executable(tmp_path: Path) -> None:
    """Without it nothing is started; without permission the start fails; each is the failure's error."""
    missing = serve(tmp_path / "gone", change=lambda layout: (layout.library_directory / "llama-server").unlink())
    assert on_cpu(missing)
    assert missing.children == []
    assert len(missing.answer.all("llama-server not available for device discovery")) == 2
    program = tmp_path / "plain" / "client" / "ollama" / "lib" / "ollama" / "llama-server"
    plain = serve(tmp_path / "plain", change=lambda _: program.chmod(0o644))
    assert on_cpu(plain)
    errors = {line["error"] for line in plain.answer.all("failure during llama-server GPU discovery")}
    assert errors == {f"fork/exec {program}: Permission denied"}


def test_an_unwritable_tmpdir_does_not_matter(tmp_path: Path) -> None:
    """Unlike generation B this one writes no file."""
    assert len(serve(tmp_path, TMPDIR="/nonexistent").gpus) == 1


def test_gpu_discover_alone(tmp_path: Path) -> None:
    """The program by itself, without a driver: the error on stderr, nothing on stdout; wrong usage is refused."""
    layout = lay_out("c", tmp_path)

    def ask(*words: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [str(layout.program), *words], env={}, capture_output=True, text=True, timeout=10, check=False
        )

    done = ask("gpu-discover", "--lib-dir", str(tmp_path / "nowhere"), "--lib-dir", str(layout.backends[0]))
    assert (done.returncode, done.stdout) == (1, "")
    assert "Error: dlopen " in done.stderr
    empty = ask("gpu-discover", "--lib-dir", str(layout.library_directory))
    assert (empty.returncode, empty.stdout) == (0, '{"devices":null}\n')
    for words in ((), ("run",), ("gpu-discover", "--lib-dir"), ("gpu-discover", "x", "y"), ("serve", "--scale", "0")):
        done = ask(*words)
        assert (done.returncode, done.stdout) == (2, "")
        assert done.stderr.startswith("usage: ollama serve")


def test_a_killed_server_leaves_no_llama_server(tmp_path: Path) -> None:
    """llama-server without a model waits for requests, and is gone as soon as whoever started it is."""
    layout = lay_out("c", tmp_path)
    command = f"{layout.library_directory / 'llama-server'} --port 50000 --host 127.0.0.1 --offline --verbose"
    script = f"(exec /bin/sh -c 'echo $$; exec {command}') 2>&1 & wait"
    with subprocess.Popen(["/bin/sh", "-c", script], stdout=subprocess.PIPE, text=True, env={}) as shell:
        assert shell.stdout is not None
        pid = int(shell.stdout.readline())
        assert "system_info:" in shell.stdout.readline()
        os.kill(pid, 0)
        shell.kill()
        try:
            shell.communicate(timeout=10)  # its end is the end of the last writer
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
