"""nvitop and gpustat (PyPI) and nvtop (Debian), monitors of NVIDIA GPUs, unmodified.

The hosts are strict: a function that they call and that has no model fails the run.
"""

import os
import re
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pexpect
import pyte
import pytest
from foreign import nvtop

from vgpu_harness import Host, Run
from vgpu_harness.host import Driver, Gpu, GpuProcess

MakeRun = Callable[..., Run]

SCREEN = (120, 40)
"""Columns and lines of the terminal that a full-screen program gets."""

GPU = Gpu(process=(GpuProcess(pid="self", name="trainer", memory_mib=1024),), nvml={"TEMPERATURE": 61})


def program(name: str) -> str:
    """A program that PyPI has put beside Python."""
    path = Path(sys.executable).parent / name
    assert path.is_file(), f"{path} is missing; run it as `nox -s clients`, which installs it"
    return str(path)


def test_nvitop_shows_the_gpu(vgpu_run: MakeRun) -> None:
    """`nvitop -1`: name, bus id, versions, temperature, used and total memory, and the process on the GPU."""
    run = vgpu_run([program("nvitop"), "-1"], host=Host(strict=True, gpu=(GPU,)))
    assert run.returncode == 0, run.explain()
    assert re.search(r"Driver Version: 580\.95\.05 +CUDA Driver Version: 13\.0", run.stdout)
    assert "H100 80GB HBM3" in run.stdout
    assert "00000000:00:05.0" in run.stdout
    assert "61C" in run.stdout
    assert re.search(r"10\d\dMiB / 79\.65GiB", run.stdout)
    assert re.search(rf"\b{run.pid}\b.*1024MiB", run.stdout)
    assert "No running processes" not in run.stdout


def test_nvitop_of_a_host_without_processes(vgpu_run: MakeRun) -> None:
    """The control: another GPU, nothing on it."""
    run = vgpu_run([program("nvitop"), "-1"], host=Host(gpu=(Gpu(profile="t4-16gb"),)))
    assert "Tesla T4" in run.stdout
    assert "H100" not in run.stdout
    assert "No running processes" in run.stdout


def test_gpustat_shows_the_gpu(vgpu_run: MakeRun) -> None:
    """`gpustat -cp`: one line with name, temperature, memory and the process with its memory."""
    run = vgpu_run([program("gpustat"), "--no-color", "-cp", "--no-header"], host=Host(strict=True, gpu=(GPU,)))
    assert run.returncode == 0, run.explain()
    (line,) = run.stdout.strip().splitlines()
    assert re.match(r"\[0\] NVIDIA H100 80GB HBM3 *\| *61.C", line)
    assert re.search(r"\| +1\d\d\d / 81559 MB", line)
    assert re.search(rf"/{run.pid}\(1024M\)", line)


def test_gpustat_without_a_driver(vgpu_run: MakeRun) -> None:
    """The control: NVML that does not initialise is an error of gpustat."""
    from vgpu_harness.host.faults import FunctionFault

    host = Host(faults=(FunctionFault(function="nvmlInitWithFlags", result=9),))
    run = vgpu_run([program("gpustat"), "--no-color"], host=host)
    assert run.returncode != 0
    assert "H100" not in run.stdout


@pytest.fixture
def screen_of(tmp_path: Path) -> Iterator[Callable[[Host, str], str]]:
    """Starts nvtop on a host in a terminal of its own; answers the screen's text once `expected` stands there."""
    children: list[pexpect.spawn] = []

    def look(host: Host, expected: str) -> str:
        file = tmp_path / f"host{len(children)}.toml"
        file.write_text(host.dump())
        command = [sys.executable, "-m", "vgpu_harness", "run", "--host", str(file), "--", str(nvtop())]
        environment = dict(os.environ) | {"TERM": "xterm", "LC_ALL": "C.UTF-8"}
        child = pexpect.spawn(
            command[0], command[1:], env=environment, dimensions=(SCREEN[1], SCREEN[0]), encoding="utf-8", timeout=30
        )
        children.append(child)
        screen = pyte.Screen(*SCREEN)
        stream = pyte.Stream(screen)
        for _ in range(200):
            try:
                stream.feed(child.read_nonblocking(4096, timeout=1))
            except pexpect.TIMEOUT:
                continue
            except pexpect.EOF:
                break
            if expected in "\n".join(screen.display):
                break
        return "\n".join(screen.display)

    yield look
    for child in children:
        child.send("q")
        child.expect(pexpect.EOF)
        child.close()
        assert child.exitstatus == 0


def test_nvtop_shows_the_gpu(screen_of: Callable[[Host, str], str]) -> None:
    """In a terminal nvtop draws the GPU's name, temperature, power limit and memory."""
    text = screen_of(Host(strict=True, gpu=(GPU,)), "79.647Gi")
    assert "NVIDIA H100 80GB HBM3" in text, text
    assert re.search(r"TEMP +61.C", text), text
    assert re.search(r"/ *700 W", text), text
    assert re.search(r"MEM\[.*/79\.647Gi\]", text), text


def test_nvtop_of_another_host(screen_of: Callable[[Host, str], str]) -> None:
    """The control: two other GPUs, with their own memory."""
    host = Host(driver=Driver(version="550.54.15"), gpu=(Gpu(profile="t4-16gb"), Gpu(profile="l40s-48gb")))
    text = screen_of(host, "NVIDIA L40S")
    assert "Tesla T4" in text, text
    assert "NVIDIA L40S" in text, text
    assert "H100" not in text
