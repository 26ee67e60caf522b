"""What the tree has of the driver: modules, procfs files, MIG capabilities; and the modes of a GPU's files."""

import os
import stat
from pathlib import Path

import pytest

from vgpu_harness.host import Gpu, Host, Mig, Tree, write_tree
from vgpu_harness.host.modules import with_devices

GPU = "sys/devices/pci0000:00/0000:00:05.0"
REAL_DEVICES = "Character devices:\n  1 mem\n 10 misc\n195 other\n254 ndctl\n\nBlock devices:\n  7 loop\n259 blkext\n"
MODES = {
    "vendor": 0o444, "config": 0o644, "enable": 0o644, "numa_node": 0o644, "uevent": 0o644, "msi_bus": 0o644,
    "broken_parity_status": 0o644, "driver_override": 0o644, "d3cold_allowed": 0o644, "reset_method": 0o644,
    "ari_enabled": 0o444, "reset": 0o200, "remove": 0o220, "rescan": 0o200, "resource": 0o444, "resource0": 0o600,
    "power/control": 0o644, "power/runtime_status": 0o444,
}  # fmt: skip
"""As drivers/pci/pci-sysfs.c and drivers/base/power/sysfs.c declare them."""


@pytest.fixture
def machine(tmp_path: Path) -> Path:
    """A machine with a module and character devices of its own."""
    root = tmp_path / "machine"
    for directory in ("proc/driver", "dev", "sys/module/ext4"):
        (root / directory).mkdir(parents=True)
    (root / "proc/devices").write_text(REAL_DEVICES)
    (root / "proc/modules").write_text(
        "ext4 900000 2 - Live 0x0000000000000000\nnvidia 1 0 - Live 0x0000000000000000\n"
    )
    return root


def tree_of(host: Host, machine: Path) -> Tree:
    """The host's tree over the machine."""
    return write_tree(host, machine.parent / "tree", machine=str(machine))


def modes(directory: Path) -> dict[str, int]:
    """The permissions of each file below a directory, by its path."""
    return {
        str(path.relative_to(directory)): stat.S_IMODE(path.stat().st_mode)
        for path in directory.rglob("*")
        if path.is_file() and not path.is_symlink()
    }


@pytest.mark.parametrize("umask", [0o022, 0o077, 0o000])
def test_modes_are_the_kernels(machine: Path, umask: int) -> None:
    """Each file may be read and written by whom the kernel lets do so, whatever the umask."""
    before = os.umask(umask)
    try:
        tree = tree_of(Host(), machine)
    finally:
        os.umask(before)
    found = modes(tree.directory / GPU)
    assert {name: found[name] for name in MODES} == MODES
    assert {mode for name, mode in found.items() if name.startswith("resource") and name[8:9].isdigit()} == {0o600}
    driver = modes(tree.directory / "sys/bus/pci/drivers/nvidia")
    assert {driver[name] for name in ("bind", "unbind", "new_id", "remove_id", "uevent")} == {0o200}
    assert modes(tree.directory / "proc/driver/nvidia")["registry"] == 0o644


@pytest.mark.parametrize("name", ["h100-80gb-hbm3", "rtx4090-24gb", "t4-16gb"])
def test_there_is_a_file_for_each_range_of_addresses(machine: Path, name: str) -> None:
    """resourceN is there for each line of `resource` that is no zeros, with _wc for what may be prefetched."""
    gpu = Gpu(profile=name)
    place = tree_of(Host(gpu=(gpu,)), machine).directory / GPU
    lines = [[int(word, 16) for word in line.split()] for line in (place / "resource").read_text().splitlines()]
    plain = {f"resource{i}" for i, (_, last, _) in enumerate(lines) if last}
    combining = {f"resource{i}_wc" for i, (_, _, flags) in enumerate(lines) if flags & 0x2000}
    assert {path.name for path in place.glob("resource?*")} == plain | combining
    assert len(plain) == 3
    assert (place / "boot_vga").exists() == (gpu.model.class_code == 0x030000)


def test_modules(machine: Path) -> None:
    """Each module of the driver has its directory; who holds whom is told by links and counted."""
    tree = tree_of(Host(gpu=(Gpu(), Gpu())), machine)
    module = tree.directory / "sys/module"
    assert {path.name for path in module.iterdir()} == {"ext4", "nvidia", "nvidia_drm", "nvidia_modeset", "nvidia_uvm"}
    for name, refcnt in (("nvidia", 4), ("nvidia_modeset", 1), ("nvidia_uvm", 0), ("nvidia_drm", 0)):
        holders = list((module / name / "holders").iterdir())
        assert (module / name / "refcnt").read_text() == f"{refcnt}\n"
        assert len(holders) == refcnt - 2 * (name == "nvidia")
        assert all((holder / "initstate").read_text() == "live\n" for holder in holders)
        assert (module / name / "version").read_text() == "580.95.05\n"
        assert len((module / name / "srcversion").read_text()) == 24
        assert stat.S_IMODE((module / name / "uevent").stat().st_mode) == 0o200
    assert (module / "nvidia/drivers/pci:nvidia/0000:00:05.0/vendor").read_text() == "0x10de\n"
    assert (module / "nvidia_drm/parameters/modeset").read_text() == "N\n"


def test_the_list_of_modules_has_the_machines_and_ours(machine: Path) -> None:
    """/proc/modules: ours first, as sysfs has them; a line of the machine's own nvidia is not there twice."""
    tree = tree_of(Host(), machine)
    lines = (tree.directory / "proc/modules").read_text().splitlines()
    rows = {fields[0]: fields for fields in (line.split() for line in lines)}
    assert [line.split()[0] for line in lines] == ["nvidia_drm", "nvidia_uvm", "nvidia_modeset", "nvidia", "ext4"]
    for name in ("nvidia", "nvidia_drm", "nvidia_uvm", "nvidia_modeset"):
        place = tree.directory / "sys/module" / name
        holders = {path.name for path in (place / "holders").iterdir()}
        assert rows[name][1] == (place / "coresize").read_text().strip()
        assert rows[name][2] == (place / "refcnt").read_text().strip()
        assert set(rows[name][3].strip("-").split(",")) - {""} == holders
        assert rows[name][4:] == ["Live", "0x0000000000000000", f"({(place / 'taint').read_text().strip()})"]
    assert {row.path for row in tree.rows if row.path.startswith("/proc/modules")} == {"/proc/modules"}


def test_the_list_of_devices_has_the_machines_and_ours(machine: Path) -> None:
    """/proc/devices: by major number, what the device files have among them; block devices as they were."""
    tree = tree_of(Host(), machine)
    text = (tree.directory / "proc/devices").read_text()
    characters, blocks = text.split("\nBlock devices:\n")
    rows = [(int(line.split()[0]), line.split()[1]) for line in characters.splitlines()[1:]]
    assert [major for major, _ in rows] == sorted(major for major, _ in rows)
    assert {(1, "mem"), (195, "other"), (254, "ndctl"), (195, "nvidia"), (195, "nvidiactl")} <= set(rows)
    assert {row.device[0] for row in tree.rows if row.device} <= {major for major, _ in rows}
    assert blocks == "  7 loop\n259 blkext\n"
    assert with_devices(text) == text


def test_procfs(machine: Path) -> None:
    """/proc/driver/nvidia has the files of nv-procfs.c, and a directory for each GPU."""
    place = tree_of(Host(), machine).directory / "proc/driver/nvidia"
    assert {path.name for path in place.iterdir()} == {
        "capabilities", "gpus", "params", "patches", "registry", "suspend", "suspend_depth", "version", "warnings",
    }  # fmt: skip
    assert {path.name for path in (place / "gpus/0000:00:05.0").iterdir()} == {"information", "power", "registry"}
    assert (place / "registry").read_text() == 'Binary: ""\n'
    assert (place / "params").read_text().splitlines()[-1] == 'ExcludedGpus: ""'


class TestMig:
    """Capabilities of MIG devices, and their device files."""

    def test_without_mig_there_are_none(self, machine: Path) -> None:
        """No directory, no device and no list of minor numbers."""
        tree = tree_of(Host(), machine)
        assert not (tree.directory / "dev/nvidia-caps").exists()
        assert not (tree.directory / "proc/driver/nvidia-caps").exists()
        assert list((tree.directory / "proc/driver/nvidia/capabilities").iterdir()) == []

    def test_each_device_has_a_capability_and_a_file(self, machine: Path) -> None:
        """What a capability's file says is what the list and the device file say."""
        host = Host(gpu=(Gpu(), Gpu(mig=(Mig(profile="3g.40gb"), Mig(profile="1g.10gb")))))
        tree = tree_of(host, machine)
        capabilities = tree.directory / "proc/driver/nvidia/capabilities"
        found = {
            str(path.relative_to(capabilities)): dict(line.split(": ") for line in path.read_text().splitlines())
            for path in capabilities.rglob("*")
            if path.is_file()
        }
        numbers = {
            name.rpartition(" ")[0]: int(name.rpartition(" ")[2])
            for name in (tree.directory / "proc/driver/nvidia-caps/mig-minors").read_text().splitlines()
        }
        instances = {device.gpu_instance for device in host.gpu[1].mig_devices}
        assert set(found) == {"mig/config", "mig/monitor"} | {
            f"gpu1/mig/gi{i}/{access}" for i in instances for access in ("access", "ci0/access")
        }
        devices = {row.path: row.device for row in tree.rows if "nvidia-cap" in row.path and row.device}
        assert len(devices) == len(found)
        for name, facts in found.items():
            minor = int(facts["DeviceFileMinor"])
            assert numbers[name.removeprefix("mig/").replace("/mig/", "/")] == minor
            node = f"/dev/nvidia-caps/nvidia-cap{minor}"
            assert devices[node] == (236, minor)
            assert stat.S_IMODE((tree.directory / node[1:]).stat().st_mode) == int(facts["DeviceFileMode"])

    def test_minor_numbers_are_the_documented_ones(self, machine: Path) -> None:
        """The samples of NVIDIA's MIG user guide; 4322 is the last of all."""
        tree = tree_of(Host(gpu=(Gpu(mig=(Mig(profile="7g.80gb"),)),)), machine)
        lines = (tree.directory / "proc/driver/nvidia-caps/mig-minors").read_text().splitlines()
        assert lines[:4] == ["config 1", "monitor 2", "gpu0/gi0/access 3", "gpu0/gi0/ci0/access 4"]
        assert lines[-1] == "gpu31/gi14/ci7/access 4322"
        assert {"gpu3/gi3/ci3/access 439", "gpu6/gi11/ci5/access 918"} <= set(lines)
