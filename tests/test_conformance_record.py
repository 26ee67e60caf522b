"""Recordings: what a library answers is what the file says, and it is as it was when it is read again."""

import hashlib
import json
import os
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from support.compile import compile_library

from vgpu_harness import Host
from vgpu_harness.conformance import probes
from vgpu_harness.conformance.probes import Prober, base_name, expanded, functions_of, resolve, sweep
from vgpu_harness.conformance.record import Recording, RecordingError, record
from vgpu_harness.conformance.values import devices, is_volatile
from vgpu_harness.errors import RunError, ShimError
from vgpu_harness.host import Gpu
from vgpu_harness.shims import shim_path

SOME = (
    "cuInit", "cuDriverGetVersion", "cuDeviceGetCount", "cuCtxCreate", "cuMemAlloc", "cuGetErrorName",
    "nvmlInit_v2", "nvmlErrorString", "nvmlDeviceGetCount_v2", "nvmlSystemGetDriverVersion",
)  # fmt: skip

FOREIGN = r"""
#define _GNU_SOURCE
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <unistd.h>

int cuNumber = 5;
static int initialised;
int cuInit(unsigned flags) { initialised = 1; return flags == 0 ? 100 : 1; }
int cuOrder(void) { return initialised ? 4 : 3; }
int cuReads(const int *p) { return 40 + *p; }
int cuWrites(int *p) { *p = 77; return 0; }
int cuGives(int *p) { *p = 5; return 0; }
int cuTakes(uint64_t handle) { return handle == 5 ? 21 : 22; }
int cuAborts(void) { abort(); }
int cuExits(void) { exit(3); }
int cuReturnsTwice(void) { return fork() < 0 ? 1 : 14; }
int cuIgnoresAlarm(void) { signal(SIGALRM, SIG_IGN); for (;;) pause(); }
int cuStops(void) { raise(SIGSTOP); return 0; }
int cuHasNoNameForItsEnd(void) { return raise(37); }
int cuHangs(const void *p) { for (; p == NULL;) pause(); return 9; }
int cuNumbers(unsigned a) { return a == 0 ? 1 : (int)(a >> 16); }
int cuNoise(void) { printf("code 5\n"); fflush(stdout); fputs("code 6\n", stderr); return getchar() == EOF ? 7 : 8; }
int cuForks(void) {
    if (fork() == 0) { setsid(); prctl(PR_SET_NAME, LEFT); for (;;) pause(); }
    return 11;
}
int cuLives(const char *home) {
    const char *kept = getenv("HOME");
    return home == NULL && kept != NULL && strcmp(kept, "/tmp/home") == 0 && access(kept, W_OK) == 0 ? 12 : 13;
}
int cuAll(uint64_t a, uint64_t b, uint64_t c, uint64_t d, uint64_t e, uint64_t f, uint64_t g, uint64_t h,
          uint64_t i, uint64_t j, uint64_t k, uint64_t l, uint64_t m, uint64_t n, uint64_t o, uint64_t p) {
    uint64_t all[16] = {a, b, c, d, e, f, g, h, i, j, k, l, m, n, o, p};
    int nulls = 0, zeroed = 0;
    for (int at = 0; at < 16; at++) {
        nulls += all[at] == 0;
        for (int byte = 0; all[at] != 0 && byte < 65536; byte++)
            zeroed += ((const char *)all[at])[byte] == 0;
    }
    return nulls == 16 ? 16 : zeroed == 16 * 65536 ? 17 : 18;
}
extern __typeof__(cuOrder) cuSameAsOrder __attribute__((alias("cuOrder")));
static int hidden(void) { return 0; }
int cuGetProcAddress(const char *name, void **pfn, int version, uint64_t flags) {
    if (strcmp(name, "cuCrash") == 0) *(volatile int *)0 = 1;
    if (version < 3000 || strcmp(name, "cuOrder") != 0) return 500;
    *pfn = flags == 2 ? (void *)hidden : (void *)cuOrder;
    return 0;
}
int cuGetProcAddress_v2(const char *name, void **pfn, int version, uint64_t flags, int *status) {
    int code = cuGetProcAddress(name, pfn, version, flags);
    if (code != 0) { *pfn = NULL; *status = 2; } else { *status = 0; }
    return 0;
}
"""

LEFT = f"left-{os.getpid()}"
"""What a process calls itself that the library leaves behind."""

BUILD_ID = "00112233445566778899aabbccddeeff"


@pytest.fixture(scope="module")
def foreign() -> Path:
    """A libcuda that is not ours: it crashes, exits, hangs, prints and forks."""
    return compile_library(FOREIGN, "libcuda.so.1", "-Wno-unused", f'-DLEFT="{LEFT}"', f"-Wl,--build-id=0x{BUILD_ID}")


@pytest.fixture(scope="module")
def recording() -> Recording:
    """A few functions of our shims on a host with two GPUs."""
    host = Host(gpu=(Gpu(pci="0000:3b:00.0"), Gpu(pci="0000:3c:00.0", profile="a100-80gb-sxm4")))
    return record(shim_path("cuda"), shim_path("nvml"), host, functions=SOME)


def test_our_shims_answer_as_their_models_do(recording: Recording) -> None:
    """The sweep has each code of the models: before and after the initialisation, for NULL and for zeroed memory."""
    cuda, nvml = recording.libraries["cuda"], recording.libraries["nvml"]
    assert (cuda.init, nvml.init) == (0, 0)
    assert cuda.sweep["cuInit"] == [0, 1, 0, 1]
    assert cuda.sweep["cuDriverGetVersion"] == [1, 0, 1, 0]
    assert cuda.sweep["cuDeviceGetCount"] == [3, 3, 1, 0]
    assert nvml.sweep["nvmlDeviceGetCount_v2"] == [1, 1, 2, 0]
    assert nvml.sweep["nvmlErrorString"] == ["text Success", "text Unknown Error"] * 2
    assert set(cuda.sweep) | set(nvml.sweep) == set(SOME)


def test_a_transparent_shim_has_no_devices() -> None:
    """Without a host the initialisation fails, so there is nothing to say of devices: the values come from the host."""
    bare = record(shim_path("cuda"), shim_path("nvml"), functions=["cuDeviceGetCount"])
    cuda, nvml = bare.libraries["cuda"], bare.libraries["nvml"]
    assert (cuda.init, nvml.init, cuda.devices, nvml.devices) == (100, 9, [], [])
    assert cuda.sweep == {"cuDeviceGetCount": [3, 3, 3, 3]}


def test_devices_are_those_of_the_host(recording: Recording) -> None:
    """Names, addresses, memory, attributes and NVML's numbers are the host's, device by device."""
    one, two = recording.libraries["cuda"].devices
    assert one["cuDeviceGetName"] == (0, "NVIDIA H100 80GB HBM3")
    assert (one["cuDeviceGetPCIBusId"], two["cuDeviceGetPCIBusId"]) == ((0, "0000:3b:00.0"), (0, "0000:3c:00.0"))
    assert (one["cuDeviceGetAttribute 75"], two["cuDeviceGetAttribute 75"]) == ((0, 9), (0, 8))
    assert one["cuDeviceGetAttribute 199"] == (1, None)
    first, second = recording.libraries["nvml"].devices
    assert (first["nvmlDeviceGetIndex"], second["nvmlDeviceGetIndex"]) == ((0, 0), (0, 1))
    assert second["nvmlDeviceGetCudaComputeCapability"] == (0, [8, 0])
    pci = first["nvmlDeviceGetPciInfo_v3"][1]
    assert isinstance(pci, dict)
    assert (pci["busId"], pci["bus"]) == ("00000000:3B:00.0", 0x3B)


def test_what_changes_from_minute_to_minute_is_not_kept(recording: Recording) -> None:
    """Free memory and temperatures are recorded by code alone; limits and supported lists are kept."""
    (device, _) = recording.libraries["nvml"].devices
    assert device["nvmlDeviceGetMemoryInfo"] == (0, None)
    for label in ("nvmlDeviceGetPowerUsage", "nvmlDeviceGetFanSpeed", "nvmlDeviceGetCurrPcieLinkWidth"):
        assert is_volatile(label)
    for label in ("nvmlDeviceGetName", "nvmlDeviceGetSupportedMemoryClocks", "cuDeviceGetAttribute 13"):
        assert not is_volatile(label)


def test_provenance_says_which_file_it_was(recording: Recording, foreign: Path) -> None:
    """Name, size, hash, soname, build id and version; the host as a host file; no folder and no environment."""
    found = recording.libraries["cuda"].provenance
    data = shim_path("cuda").read_bytes()
    assert (found.size, found.sha256) == (len(data), hashlib.sha256(data).hexdigest())
    assert (found.file, found.soname, found.version) == ("libvgpu-cuda.so", "libcuda.so.1", 13000)
    assert found.host is not None
    assert "0000:3b:00.0" in found.host
    assert recording.libraries["nvml"].provenance.version == "13.580.95.05"
    other = record(foreign, functions=["cuOrder"]).libraries["cuda"].provenance
    assert (other.build_id, other.host, other.version) == (BUILD_ID, None, None)


def test_it_is_read_as_it_was_written(recording: Recording, tmp_path: Path) -> None:
    """Writing and reading changes nothing, and the file has a line for each function."""
    file = tmp_path / "recording.json"
    recording.write(file)
    assert Recording.read(file) == recording
    assert any(line.startswith('"cuDeviceGetCount": [3, 3, 1, 0]') for line in file.read_text().splitlines())
    assert str(tmp_path) not in file.read_text()
    assert list(tmp_path.iterdir()) == [file]


@pytest.mark.parametrize("text", ["", "{}", "[1]", '{"schema": 1, "libraries": {"cuda": {}}}', '{"schema": 1}'])
def test_what_is_no_recording_is_refused(tmp_path: Path, text: str) -> None:
    """A file of another kind is an error that names it."""
    file = tmp_path / "other.json"
    file.write_text(text)
    with pytest.raises(RecordingError, match=r"other\.json: is no recording"):
        Recording.read(file)


def test_a_newer_schema_is_refused(tmp_path: Path, recording: Recording) -> None:
    """A recording of a later vgpu-harness is not half understood; a missing one is said to be missing."""
    file = tmp_path / "later.json"
    recording.write(file)
    file.write_text(json.dumps(json.loads(file.read_text()) | {"schema": 2}))
    with pytest.raises(RecordingError, match="schema 2, this reads 1"):
        Recording.read(file)
    with pytest.raises(RecordingError, match="cannot be read"):
        Recording.read(tmp_path / "none.json")


def test_each_call_is_alone(foreign: Path) -> None:
    """A call that crashes, exits or aborts is an answer; what a call leaves behind is not there in the next one."""
    answers = sweep(Prober("cuda", foreign), ["cuReads", "cuAborts", "cuExits", "cuOrder", "cuInit", "cuGone"])
    assert answers == {
        "cuReads": ["SIGSEGV", 40, "SIGSEGV", 40],
        "cuAborts": ["SIGABRT"] * 4,
        "cuExits": ["exit 3"] * 4,
        "cuOrder": [3, 3, 4, 4],
        "cuInit": [100, 1, 100, 1],
        "cuGone": ["missing"] * 4,
    }


def test_arguments_are_null_or_zeroed_memory(foreign: Path) -> None:
    """A function of sixteen arguments sees sixteen NULLs, or sixteen times 64 KiB of zeros."""
    assert sweep(Prober("cuda", foreign), ["cuAll"]) == {"cuAll": [16, 17, 16, 17]}


def test_numbers_are_the_address_that_was_chosen(foreign: Path) -> None:
    """A function that takes a number sees the lower half of the address, so two places tell it from a pointer."""
    here, there = (Prober("cuda", foreign, buffers=at) for at in (0x7EA0_1000_0000, 0x7EA0_2000_0000))
    assert (sweep(here, ["cuNumbers"])["cuNumbers"], sweep(there, ["cuNumbers"])["cuNumbers"]) == (
        [1, 0x1000, 1, 0x1000],
        [1, 0x2000, 1, 0x2000],
    )


def test_a_call_that_never_ends_is_ended(foreign: Path) -> None:
    """A hang is recorded as one, and the calls after it are done."""
    prober = Prober("cuda", foreign, seconds=1)
    assert prober.ask(["child before", "call cuHangs nulls", "call cuHangs buffers"]) == ["signal 14", "code 9"]


def test_a_library_that_keeps_its_alarm_away_is_ended(foreign: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A process that ignores SIGALRM, or has stopped itself, is ended from outside; the calls after it are done."""
    monkeypatch.setattr(probes, "_PATIENCE", 20.0)

    def ask(function: str) -> list[str]:
        return Prober("cuda", foreign, seconds=1).ask(["child before", f"call {function}", "call cuOrder"])

    functions = ["cuIgnoresAlarm", "cuStops"]
    with ThreadPoolExecutor() as pool:  # each of them waits for seconds
        assert dict(zip(functions, pool.map(ask, functions), strict=True)) == {
            function: ["signal 14", "code 3"] for function in functions
        }


def test_a_function_that_returns_twice_answers_once(foreign: Path) -> None:
    """The process that it has forked does not go on with the job: each answer stays that of its call."""
    answers = sweep(Prober("cuda", foreign), ["cuReturnsTwice", "cuOrder"])
    assert answers == {"cuReturnsTwice": [14] * 4, "cuOrder": [3, 3, 4, 4]}


def test_a_signal_without_a_name_is_a_crash(foreign: Path) -> None:
    """A real-time signal ends a call as any other does."""
    (answer, *_) = sweep(Prober("cuda", foreign), ["cuHasNoNameForItsEnd"])["cuHasNoNameForItsEnd"]
    assert answer == "signal 37"
    assert probes.is_crash(answer)


def test_each_call_finds_its_memory_as_it_should_be(foreign: Path) -> None:
    """Zeroed memory is zero in the second call of a process too, and a handle that a setup got is exactly that."""
    tasks = ["setup cuGives o4", "child after", "call cuWrites buffers", "call cuReads buffers", "call cuTakes r0"]
    tasks += ["call cuWrites o8"]
    assert Prober("cuda", foreign).ask(tasks) == ["code 0", "code 40", "code 21", "code 0 4d000000a5a5a5a5"]


def test_the_library_does_not_meet_the_job(foreign: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What it prints is not taken for answers, its stdin is empty, its HOME a new one, and its children are ended."""
    monkeypatch.setattr(probes, "_PATIENCE", 20.0)  # a child that is left keeps the answers' pipe open
    answers = sweep(Prober("cuda", foreign), ["cuNoise", "cuLives", "cuForks"])
    assert answers == {"cuNoise": [7] * 4, "cuLives": [12, 13, 12, 13], "cuForks": [11] * 4}
    deadline = time.monotonic() + 10
    while left := [path for path in Path("/proc").glob("[0-9]*/comm") if _text(path) == f"{LEFT}\n"]:
        assert time.monotonic() < deadline, left


def _text(path: Path) -> str:
    try:
        return path.read_text()
    except OSError:
        return ""


def test_functions_are_those_of_the_api(foreign: Path) -> None:
    """Exported data, and functions with other names, are not called."""
    found = functions_of("cuda", foreign)
    assert {"cuInit", "cuOrder", "cuSameAsOrder"} <= set(found)
    assert "cuNumber" not in found
    assert all(name.startswith("cu") for name in found)
    assert functions_of("nvml", foreign) == []


def test_cuGetProcAddress_is_asked_in_both_forms(foreign: Path) -> None:  # noqa: N802 - the function's name
    """Targets are exported names, one of several for one function; a version is kept where the answer changes."""
    functions = functions_of("cuda", foreign)
    found = resolve(Prober("cuda", foreign), functions, ["cuOrder", "cuNone", "cuCrash"], [2000, 2999, 3000, 9000])
    target, hidden = (
        [(2000, "500,-,untouched"), (3000, "0,-,cuOrder")],
        [(2000, "500,-,untouched"), (3000, "0,-,unexported")],
    )
    assert found.answers["v1"]["cuOrder"] == [target, target, hidden]
    assert found.answers["v2"]["cuOrder"][0] == [(2000, "0,2,null"), (3000, "0,0,cuOrder")]
    assert found.answers["v1"]["cuNone"] == [[(2000, "500,-,untouched")]] * 3
    assert found.answers["v2"]["cuCrash"] == [[(0, "SIGSEGV")]] * 3
    assert found.aliases == [["cuOrder", "cuSameAsOrder"]]
    assert list(expanded(target, found.versions)) == [
        (2000, "500,-,untouched"), (2999, "500,-,untouched"), (3000, "0,-,cuOrder"), (9000, "0,-,cuOrder"),
    ]  # fmt: skip


def test_our_own_table_is_recorded_step_by_step(recording: Recording) -> None:
    """cuCtxCreate has its four steps, of which the one below each is still the one before."""
    resolved = recording.libraries["cuda"].resolved
    assert resolved is not None
    steps = [(3020, "cuCtxCreate_v2"), (11040, "cuCtxCreate_v3"), (12050, "cuCtxCreate_v4")]
    assert resolved.answers["v2"]["cuCtxCreate"][0] == [
        (1999, "0,2,null"), (2000, "0,0,cuCtxCreate"), *((version, f"0,0,{name}") for version, name in steps),
    ]  # fmt: skip
    assert {3019, 3020, 12020, 99999} <= set(resolved.versions)


@pytest.mark.parametrize(
    ("name", "base"),
    [
        ("cuMemAlloc_v2", "cuMemAlloc"),
        ("cuMemcpyHtoDAsync_v2_ptsz", "cuMemcpyHtoDAsync"),
        ("cuLaunchKernel_ptsz", "cuLaunchKernel"),
        ("cuInit", "cuInit"),
        ("cuMem_verify", "cuMem_verify"),
    ],
)
def test_base_names(name: str, base: str) -> None:
    """The name that cuGetProcAddress knows is the one without versions and per-thread endings."""
    assert base_name(name) == base


def test_what_cannot_be_loaded_is_named(tmp_path: Path) -> None:
    """A missing file, one that is no library, and one that lacks a symbol it needs are errors that name it."""
    with pytest.raises(ShimError, match="is not a file"):
        record(tmp_path / "libcuda.so.1")
    text = tmp_path / "libcuda.so.1"
    text.write_text("no library")
    with pytest.raises(ShimError, match=r"libcuda\.so\.1"):
        record(text)
    lacking = compile_library("int gone(void); int cuInit(void); int cuInit(void) { return gone(); }", "liblacking.so")
    with pytest.raises(ShimError, match=r"(?s)cannot be loaded.*gone"):
        record(lacking)
    leaving = compile_library(
        "#include <unistd.h>\n__attribute__((constructor)) static void leave(void) { _exit(0); }", "libleaving.so"
    )
    with pytest.raises(RunError, match="0 answers for 1 questions; does loading it end the process"):
        record(leaving)


def test_a_library_that_does_not_lie_in_the_open(foreign: Path, tmp_path: Path) -> None:
    """One below a folder that only its owner may search is recorded all the same."""
    place = tmp_path / "closed" / "lib"
    place.mkdir(parents=True)
    (place / "libcuda.so.1").write_bytes(foreign.read_bytes())
    (tmp_path / "closed").chmod(0o700)
    assert sweep(Prober("cuda", place / "libcuda.so.1"), ["cuOrder"]) == {"cuOrder": [3, 3, 4, 4]}


def test_a_path_with_spaces(foreign: Path, tmp_path: Path) -> None:
    """Without the sandbox, as for our own shims, the library is loaded from where it lies."""
    place = tmp_path / "with two  spaces"
    place.mkdir()
    (place / "libcuda.so.1").write_bytes(foreign.read_bytes())
    assert sweep(Prober("cuda", place / "libcuda.so.1", sandboxed=False), ["cuOrder"]) == {"cuOrder": [3, 3, 4, 4]}


@pytest.fixture
def refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine on which no sandbox can be made."""
    from vgpu_harness.conformance import sandbox

    monkeypatch.setattr(sandbox, "command", lambda *_, **__: ["/bin/sh", "-c", "echo refused >&2; exit 125"])


@pytest.mark.usefixtures("refused")
def test_without_a_sandbox_a_foreign_library_is_not_called(foreign: Path) -> None:
    """Where the sandbox is refused nothing is recorded, and the reason is told; our own shims need none."""
    with pytest.raises(RunError, match="could not be asked: refused"):
        record(foreign, functions=["cuOrder"])
    assert devices(Prober("cuda", shim_path("cuda"))) == []
