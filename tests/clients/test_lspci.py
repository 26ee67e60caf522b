"""Debian's lspci, unmodified: what it says of the simulated host."""

import shutil
from collections.abc import Callable

import pytest

from vgpu_harness import Host, Run
from vgpu_harness.host import Gate, Gpu

MakeRun = Callable[..., Run]


@pytest.fixture(scope="module")
def lspci() -> str:
    """Debian's lspci; missing is a failure, with the remedy."""
    found = shutil.which("lspci", path="/usr/bin:/bin:/usr/sbin:/sbin")
    assert found, "lspci is not installed: apt-get install pciutils"
    return found


def test_numbers(vgpu_run: MakeRun, lspci: str) -> None:
    """00:05.0 is class 0302, 10de:2331."""
    run = vgpu_run([lspci, "-n", "-s", "00:05.0"])
    assert (run.stdout, run.stderr) == ("00:05.0 0302: 10de:2331 (rev a1)\n", "")


def test_names(vgpu_run: MakeRun, lspci: str) -> None:
    """Class and vendor have their names."""
    names = vgpu_run([lspci, "-nn", "-s", "00:05.0"]).stdout
    assert names.startswith("00:05.0 3D controller [0302]: NVIDIA")
    assert "[10de:2331]" in names


def test_verbose_output_reads_the_config_space(vgpu_run: MakeRun, lspci: str) -> None:
    """`lspci -vv` walks the capability list of the 256-byte config space and finds nothing to complain about."""
    text = vgpu_run([lspci, "-vv", "-s", "00:05.0"]).stdout
    assert "Express" in text
    assert "!!!" not in text
    assert "Unknown header type" not in text


def test_all_other_devices_are_the_real_ones(vgpu_run: MakeRun, lspci: str) -> None:
    """Nothing else of the machine changes: the same lines as lspci says when the gate keeps it out."""

    def others(run: Run) -> list[str]:
        return [line for line in run.stdout.splitlines() if not line.startswith("00:05.0 ")]

    real = vgpu_run([lspci, "-n"], host=Host(gate=Gate(deny=("lspci",))))
    assert others(vgpu_run([lspci, "-n"])) == others(real)


def test_denied_it_sees_no_gpu(vgpu_run: MakeRun, lspci: str) -> None:
    """A gate that denies lspci leaves it with the real machine: the tests above can fail."""
    host = Host(gate=Gate(deny=("lspci",)), gpu=(Gpu(pci="0000:00:1e.0"),))
    assert "10de:2331" not in vgpu_run([lspci, "-n"], host=host).stdout
    assert "10de:2331" in vgpu_run([lspci, "-n"], host=host.model_copy(update={"gate": Gate()})).stdout


def test_two_gpus_on_another_domain(vgpu_run: MakeRun, lspci: str) -> None:
    """GPUs on a bus that this machine does not have are listed at their addresses."""
    host = Host(gpu=(Gpu(pci="0001:3b:00.0"), Gpu(pci="0001:3c:00.0", profile="a100-80gb-sxm4")))
    lines = vgpu_run([lspci, "-D", "-n"], host=host).stdout
    assert "0001:3b:00.0 0302: 10de:2331" in lines
    assert "0001:3c:00.0 0302: 10de:20b2" in lines
