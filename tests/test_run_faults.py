"""Faults in real programs: what crashes, hangs or loses a GPU, and who is spared."""

import os
import shutil
import signal
import sys
from pathlib import Path

import pytest

from vgpu_harness.host import Host
from vgpu_harness.trace import Kind

COUNT = """
import ctypes, sys, threading
cuda = ctypes.CDLL("libcuda.so.1")
cuda.cuInit(0)
def count(label):
    open("/proc/thread-self/comm", "w").write(label)
    print(label, cuda.cuDeviceGetCount(ctypes.byref(ctypes.c_int())), flush=True)
for label in sys.argv[1:]:
    thread = threading.Thread(target=count, args=(label,))
    thread.start()
    thread.join()
"""
LOSE = """
import ctypes, os, sys
cuda, nvml = ctypes.CDLL("libcuda.so.1"), ctypes.CDLL("libnvidia-ml.so.1")
nvml.nvmlInit_v2()
device = ctypes.c_void_p()
print(nvml.nvmlDeviceGetHandleByIndex_v2(0, ctypes.byref(device)), flush=True)
cuda.cuInit(0)
for _ in range(2):
    if os.fork() == 0:
        os._exit(0)
    os.wait()
    print(nvml.nvmlDeviceGetHandleByIndex_v2(0, ctypes.byref(device)), flush=True)
    cuda.cuDeviceGetCount(ctypes.byref(ctypes.c_int()))
"""


def program(*labels: str, code: str = COUNT, python: Path = Path(sys.executable)) -> list[str]:
    """A program that asks for the number of devices, once in a thread of each name."""
    return [os.fspath(python), "-I", "-S", "-c", code, *labels]


def fault(**keys: object) -> Host:
    """The default host with one fault of cuDeviceGetCount."""
    return Host(faults=[{"function": "cuDeviceGetCount"} | keys])


def kinds(run) -> list[Kind]:
    """The kinds of the records of cuDeviceGetCount."""
    return [record.kind for record in run.trace if record.name == "cuDeviceGetCount"]


def test_a_crash_is_the_programs_death(vgpu_run) -> None:
    """The second call kills the program by SIGSEGV; the trace ends with the entry."""
    run = vgpu_run(program("one", "two", "three"), fault(crash=True, after=1))
    assert (run.returncode, run.stdout) == (-signal.SIGSEGV, "one 0\n"), run.explain()
    assert kinds(run) == [Kind.CALL, Kind.ENTERED]


def test_a_hang_lasts_until_the_program_is_ended(vgpu_run) -> None:
    """The run's time is over; the trace ends with the entry, and nothing is left behind."""
    run = vgpu_run(program("one", "two"), fault(hang=True, after=1), timeout=1.0)
    assert (run.timed_out, run.stdout) == (True, "one 0\n"), run.explain()
    assert kinds(run) == [Kind.CALL, Kind.ENTERED]


def test_one_thread(vgpu_run) -> None:
    """The calls of the named thread are faulted, those of others are not."""
    run = vgpu_run(program("loader", "worker-1", "worker-2"), fault(result=999, thread="worker*", times=1))
    assert run.stdout.splitlines() == ["loader 0", "worker-1 999", "worker-2 0"], run.explain()


@pytest.mark.parametrize(("name", "code"), [("probe", 999), ("prober", 0)])
def test_one_program(vgpu_run, tmp_path: Path, name: str, code: int) -> None:
    """A program of the name is faulted, one of another name is not."""
    place = tmp_path / "bin" / name
    place.parent.mkdir()
    shutil.copy(Path(sys.executable).resolve(), place)
    run = vgpu_run(
        program("one", python=place), fault(result=999, program="probe"), env={"PYTHONHOME": sys.base_prefix}
    )
    assert run.stdout.splitlines() == [f"one {code}"], run.explain()


def test_a_gpu_lost_in_cuda_is_lost_in_nvml(vgpu_run) -> None:
    """The two libraries have a state each, and still lose the same GPU."""
    run = vgpu_run(program(code=LOSE), fault(lost=0))
    assert run.stdout.split() == ["0", "0", "15"], run.explain()
