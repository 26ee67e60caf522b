"""Faults: which calls they take, for whom, and what they do."""

import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from vgpu_harness._wire import ffi, lib
from vgpu_harness.host import Gpu, Host, Tree, write_image
from vgpu_harness.trace import Kind, Trace, create_trace

Made = Callable[..., ffi.CData]


@pytest.fixture
def made(tmp_path: Path) -> Iterator[Made]:
    """Makes the state of a process over a host with these faults, with a trace, both libraries initialised."""
    states = []

    def make(*faults: dict[str, object], gpus: int = 1, init: bool = True, trace: bool = True) -> ffi.CData:
        place = tmp_path / str(len(states))
        (place / "tree").mkdir(parents=True)
        host = Host(gpu=[Gpu() for _ in range(gpus)], faults=faults)
        image = write_image(host, Tree(place / "tree", ()), place / "host.image")
        create_trace(place / "trace", 1 << 20)
        state = lib.vgpu_process_new(os.fsencode(image), os.fsencode(place / "trace") if trace else ffi.NULL)
        states.append(state)
        if init:
            assert (lib.vgpu_call_cuInit(state, 0), lib.vgpu_call_nvmlInit_v2(state)) == (0, 0)
        return state

    yield make
    for state in states:
        lib.vgpu_process_free(state)


def counts(process: ffi.CData, calls: int) -> list[int]:
    """The codes of so many calls of cuDeviceGetCount."""
    out = ffi.new("int *")
    return [lib.vgpu_call_cuDeviceGetCount(process, out) for _ in range(calls)]


def handle(process: ffi.CData, i: int = 0) -> tuple[int, ffi.CData]:
    """NVML's handle of a GPU, with the code."""
    out = ffi.new("nvmlDevice_t *")
    return lib.vgpu_call_nvmlDeviceGetHandleByIndex_v2(process, i, out), out[0]


def name(process: ffi.CData, device: ffi.CData) -> tuple[int, str]:
    """NVML's name of a GPU, with the code."""
    out = ffi.new("char[96]")
    return lib.vgpu_call_nvmlDeviceGetName(process, device, out, 96), ffi.string(out).decode()


def cuda_name(process: ffi.CData, device: int) -> int:
    """The code of cuDeviceGetName."""
    return lib.vgpu_call_cuDeviceGetName(process, ffi.new("char[96]"), 96, device)


def function(**keys: object) -> dict[str, object]:
    """A fault of cuDeviceGetCount."""
    return {"function": "cuDeviceGetCount"} | keys


class TestWhichCalls:
    def test_after_and_times(self, made: Made) -> None:
        """So many calls pass, so many are taken, then all is well again; without `times` it never is."""
        assert counts(made(function(result=46, after=2, times=3)), 7) == [0, 0, 46, 46, 46, 0, 0]
        assert counts(made(function(result=46, after=2)), 5) == [0, 0, 46, 46, 46]

    def test_faults_follow_one_another(self, made: Made) -> None:
        """What one fault takes the next does not count: a sequence is written as it happens."""
        process = made(function(result=1, times=2), function(result=2, after=1, times=2), function(result=3, after=2))
        assert counts(process, 8) == [1, 1, 0, 2, 2, 0, 3, 3]

    def test_counts_go_on_for_ever(self, made: Made) -> None:
        """A count that runs over 32 bits of calls does not start again: `after` plus `times` may pass 2**32."""
        process = made(function(result=1, after=2**32 - 1, times=2**32 - 1))
        assert counts(process, 3) == [0, 0, 0]

    def test_a_fault_works_for_a_function_without_a_model(self, made: Made) -> None:
        """A fault's code is the answer, and the trace says that a fault gave it."""
        process = made({"function": "nvmlDeviceGetVgpuCapabilities", "result": 999, "times": 1})
        device = handle(process)[1]
        got = [lib.vgpu_call_nvmlDeviceGetVgpuCapabilities(process, device, 0, ffi.new("unsigned int *")) for _ in "ab"]
        assert got[0] == 999
        assert got[1] != 999

    def test_an_output_that_is_not_the_first(self, made: Made) -> None:
        """`output` says where the value goes, in the order of the function's parameters."""
        for output in (0, 1):
            process = made({"function": "cuMemGetInfo_v2", "value": 77, "output": output})
            assert lib.vgpu_call_cuCtxCreate_v2(process, ffi.new("CUcontext *"), 0, 0) == 0
            free, total = ffi.new("size_t *"), ffi.new("size_t *")
            assert lib.vgpu_call_cuMemGetInfo_v2(process, free, total) == 0
            assert [free[0] == 77, total[0] == 77] == [output == 0, output == 1]


class TestForWhom:
    @pytest.mark.parametrize(
        ("program", "hit"), [("ollama", True), ("oll*", True), ("ollam", False), ("python*", False)]
    )
    def test_one_program(self, made: Made, program: str, hit: bool) -> None:
        """A fault for a program is a fault for no other one."""
        process = made(function(result=46, program=program))
        lib.vgpu_process_set_facts(process, ffi.new("struct vgpu_facts *", {"libc_ready": 1, "exe": b"ollama"}))
        assert counts(process, 1) == [46 if hit else 0]

    def test_one_thread(self, made: Made) -> None:
        """A fault for a thread takes, and counts, the calls of that thread alone."""
        process = made(function(result=1, thread="work*", after=1), function(result=2, thread="main"))
        got: list[int] = []

        def work(label: str) -> None:
            Path("/proc/thread-self/comm").write_text(label)
            got.extend(counts(process, 2))

        assert counts(process, 2) == [2, 2]
        for label in ("worker-7", "other"):
            thread = threading.Thread(target=work, args=(label,))
            thread.start()
            thread.join()
        assert got == [0, 1, 0, 0]

    def test_one_gpu(self, made: Made) -> None:
        """A fault for a GPU counts and takes the calls that are about it: code, number and text."""
        process = made(
            {"function": "nvmlDeviceGetName", "gpu": 1, "result": 999, "after": 1, "times": 1},
            {"function": "nvmlDeviceGetName", "gpu": 1, "text": "Riva 128"},
            gpus=2,
        )
        first, second = handle(process, 0)[1], handle(process, 1)[1]
        sound = (0, "NVIDIA H100 80GB HBM3")
        assert [name(process, first) for _ in range(3)] == [sound] * 3
        assert [name(process, second)[1] for _ in range(1)] == ["Riva 128"]
        assert name(process, second)[0] == 999
        assert name(process, second) == (0, "Riva 128")
        assert name(process, first) == sound

    def test_a_refusal_for_one_gpu_comes_before_the_work(self, made: Made) -> None:
        """What a fault for a GPU answers for is not done: no output, no memory freed, no callback."""
        calls = {"cuStreamCreate": 2, "cuMemFree_v2": 0, "cuLaunchHostFunc": 46, "cuStreamQuery": 700}
        faults = [{"function": name, "gpu": 0, "result": code, "times": 1} for name, code in calls.items()]
        process = made(*faults)
        assert lib.vgpu_call_cuCtxCreate_v2(process, ffi.new("CUcontext *"), 0, 0) == 0
        poison = ffi.cast("CUstream", 0x5A5A)
        stream, memory = ffi.new("CUstream *", poison), ffi.new("CUdeviceptr *")
        assert (lib.vgpu_call_cuStreamCreate(process, stream, 0), stream[0]) == (2, poison)
        assert lib.vgpu_call_cuStreamCreate(process, stream, 0) == 0
        assert lib.vgpu_call_cuMemAlloc_v2(process, memory, 1 << 20) == 0
        assert [lib.vgpu_call_cuMemFree_v2(process, memory[0]) for _ in range(3)] == [0, 0, 1], (
            "the first freed nothing"
        )
        seen: list[int] = []
        call = ffi.callback("void(void *)", lambda _data: seen.append(1))
        got = [(lib.vgpu_call_cuLaunchHostFunc(process, stream[0], call, ffi.NULL), len(seen)) for _ in range(2)]
        assert got == [(46, 0), (0, 1)]
        assert [lib.vgpu_call_cuStreamQuery(process, stream[0]) for _ in range(2)] == [700, 0], "the stream is there"

    def test_a_gpu_lost_with_a_result(self, made: Made) -> None:
        """The call that loses its GPU answers the fault's code and does nothing."""
        process = made({"function": "cuDevicePrimaryCtxRetain", "gpu": 1, "lost": 1, "result": 2}, gpus=2)
        poison = ffi.cast("CUcontext", 0x5A5A)
        context = ffi.new("CUcontext *", poison)
        assert (lib.vgpu_call_cuDevicePrimaryCtxRetain(process, context, 1), context[0]) == (2, poison)
        assert [cuda_name(process, i) for i in range(2)] == [0, 999]
        assert lib.vgpu_call_cuDevicePrimaryCtxRetain(process, context, 0) == 0

    def test_a_call_about_two_gpus(self, made: Made) -> None:
        """A fault for either of the GPUs of a call takes it, and counts it once."""
        peers = {"function": "cuDeviceCanAccessPeer", "result": 101}
        process = made(peers | {"gpu": 1, "after": 1, "times": 1}, gpus=3)
        out = ffi.new("int *")
        pairs = [(0, 1), (2, 0), (1, 0), (0, 1)]
        assert [lib.vgpu_call_cuDeviceCanAccessPeer(process, out, *pair) for pair in pairs] == [0, 0, 101, 0]


class TestWhatTheyDo:
    def die(self, process: ffi.CData, *, wait: float = 5.0) -> int | None:
        """How a child ends that makes one call; None if it does not end in time (then it is killed)."""
        pid = os.fork()
        if pid == 0:
            for number in (signal.SIGSEGV, signal.SIGTERM):
                signal.signal(number, signal.SIG_DFL)
            counts(process, 1)
            os._exit(0)
        end = time.monotonic() + wait
        while time.monotonic() < end:
            if (found := os.waitpid(pid, os.WNOHANG))[0]:
                return os.waitstatus_to_exitcode(found[1])
            time.sleep(0.005)
        os.kill(pid, signal.SIGTERM)
        assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == -signal.SIGTERM
        return None

    def kinds(self, tmp_path: Path) -> list[Kind]:
        """The kinds of the records of cuDeviceGetCount."""
        return [record.kind for record in Trace.open(tmp_path / "0" / "trace") if record.name == "cuDeviceGetCount"]

    def test_a_crash(self, made: Made, tmp_path: Path) -> None:
        """The process dies by SIGSEGV inside of the call: the trace has its entry and no return."""
        process = made(function(crash=True), init=False)
        assert self.die(process) == -signal.SIGSEGV
        assert self.kinds(tmp_path) == [Kind.ENTERED]

    def test_a_hang(self, made: Made, tmp_path: Path) -> None:
        """The call never returns, the process can be killed, and the trace has the entry alone."""
        process = made(function(hang=True), init=False)
        assert self.die(process, wait=0.2) is None
        assert self.kinds(tmp_path) == [Kind.ENTERED]

    def test_without_them_the_process_lives(self, made: Made, tmp_path: Path) -> None:
        """The same child ends well where the fault is not for it: it is the fault that crashes and hangs."""
        process = made(function(crash=True, after=1), function(hang=True, program="other"), init=False)
        assert self.die(process) == 0
        assert self.kinds(tmp_path) == [Kind.CALL]

    def test_a_hang_of_one_gpu_leaves_the_lock_free(self, made: Made) -> None:
        """A hang that waits for the model's word on the GPU holds nothing: other threads go on."""
        process = made({"function": "nvmlDeviceGetName", "gpu": 0, "hang": True}, init=False)
        pid = os.fork()
        if pid == 0:
            lib.vgpu_call_nvmlInit_v2(process)
            thread = threading.Thread(target=name, args=(process, handle(process)[1]), daemon=True)
            thread.start()
            thread.join(0.1)
            os._exit(handle(process)[0] + thread.is_alive())
        assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 1, "the call hangs, and the lock is free"

    @pytest.mark.parametrize("trace", [True, False])
    def test_a_lost_gpu_is_lost_for_both(self, made: Made, trace: bool) -> None:
        """After the call all functions of that GPU in both APIs answer so; other GPUs, and counting, do not."""
        process = made({"function": "cuDeviceGetCount", "lost": 1, "after": 1}, gpus=2, trace=trace)
        devices = [handle(process, i)[1] for i in range(2)]
        counts(process, 1)
        assert [name(process, device)[0] for device in devices] == [0, 0]
        assert [cuda_name(process, i) for i in range(2)] == [0, 0]
        counts(process, 1)
        assert [name(process, device)[0] for device in devices] == [0, 15]
        assert [cuda_name(process, i) for i in range(2)] == [0, 999]
        assert handle(process, 1)[0] == 15
        number = ffi.new("unsigned int *")
        assert (lib.vgpu_call_nvmlDeviceGetCount_v2(process, number), number[0]) == (0, 2)

    def test_a_lost_gpu_is_lost_for_other_processes(self, made: Made, tmp_path: Path) -> None:
        """All that write one trace see it, as on one machine; a process of another trace does not."""
        process = made({"function": "cuDeviceGetCount", "lost": 0})
        image, trace = (os.fsencode(tmp_path / "0" / file) for file in ("host.image", "trace"))
        counts(process, 1)
        for place, code in ((trace, 15), (ffi.NULL, 0)):
            other = lib.vgpu_process_new(image, place)
            assert lib.vgpu_call_nvmlInit_v2(other) == 0
            assert handle(other)[0] == code
            lib.vgpu_process_free(other)
