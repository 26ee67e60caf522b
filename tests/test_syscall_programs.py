"""Programs that nobody here wrote, under the file shim: coreutils and Python."""

import sys

import pytest
from test_syscall_files import GPU, REAL_GPU, Machine, MakeMachine, make_machine  # noqa: F401

from vgpu_harness.host import Gate, Gpu, Host


@pytest.fixture(scope="module")
def machine(make_machine: MakeMachine) -> Machine:  # noqa: F811
    """A host that lets a shell see the GPU, which no machine has as /dev/nvidia99."""
    return make_machine(Host(gate=Gate(allow=("bash",)), gpu=(Gpu(minor=99),)))


def python(machine: Machine, code: str) -> str:
    """What a Python program prints on the simulated host."""
    run = machine.run(sys.executable, "-I", "-S", "-c", code)
    assert (run.returncode, run.stderr) == (0, "")
    return run.stdout


class TestCoreutils:
    def test_cat_reads_the_driver_version(self, machine: Machine) -> None:
        """Cat prints the simulated driver's version."""
        run = machine.run("cat", "/proc/driver/nvidia/version")
        assert "580.95.05" in run.stdout
        assert run.stderr == ""

    def test_ls_shows_a_device(self, machine: Machine) -> None:
        """`ls -l` shows crw-rw-rw- and 195, 99, and has nothing to complain about."""
        run = machine.run("ls", "-l", "/dev/nvidia99")
        assert run.stdout.startswith("crw-rw-rw-")
        assert "195, 99" in run.stdout.replace("195,  99", "195, 99")
        assert (run.returncode, run.stderr) == (0, "")

    def test_ls_without_the_shim_does_not(self, machine: Machine) -> None:
        """Without the shim there is no such device: the test above can fail."""
        assert machine.run("ls", "-l", "/dev/nvidia99", shim=False).returncode != 0

    def test_stat_knows_a_device_by_its_descriptor(self, machine: Machine) -> None:
        """A shell that redirects a device to stat's standard input hands on a device."""
        run = machine.run("bash", "-c", "stat -c '%F %t:%T' - < /dev/nvidiactl")
        assert (run.stdout, run.stderr) == ("character special file c3:ff\n", "")

    def test_ls_resolves_links(self, machine: Machine) -> None:
        """`readlink -f` of a GPU's entry answers the path of a real host."""
        assert machine.run("readlink", "-f", GPU).stdout == f"{REAL_GPU}\n"


class TestPython:
    def test_reads_identity_and_config(self, machine: Machine) -> None:
        """open, os.read, os.pread, readinto and mmap work on the tree's files, as their descriptors are real."""
        code = f"""
import os, mmap
print(open("{GPU}/vendor").read().strip())
fd = os.open("{GPU}/config", os.O_RDONLY)
print(os.pread(fd, 4, 0).hex(), len(os.read(fd, 4096)))
print(mmap.mmap(fd, 256, prot=mmap.PROT_READ)[0x0a:0x0c].hex())
"""
        assert python(machine, code).split() == ["0x10de", "de103123", "256", "0203"]

    def test_walks_directories(self, machine: Machine) -> None:
        """listdir, scandir and a stat relative to a directory's descriptor find the GPU."""
        code = f"""
import os, stat
print("0000:00:05.0" in os.listdir("/sys/bus/pci/devices"))
print(any(entry.name == "nvidia99" for entry in os.scandir("/dev")))
fd = os.open("/dev", os.O_RDONLY)
print(stat.S_ISCHR(os.stat("nvidia99", dir_fd=fd).st_mode))
fd = os.open("{GPU}", os.O_RDONLY)
print(os.read(os.open("device", os.O_RDONLY, dir_fd=fd), 99).decode())
"""
        assert python(machine, code).split() == ["True", "True", "True", "0x2331"]

    def test_resolves_paths(self, machine: Machine) -> None:
        """os.path.realpath, which follows links one by one, ends at the path of a real host."""
        code = f'import os; print(os.path.realpath("{GPU}"), os.readlink("{GPU}/driver"))'
        assert python(machine, code).split() == [REAL_GPU, "../../../bus/pci/drivers/nvidia"]
