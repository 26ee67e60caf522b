"""The tree of virtual files and its path table, over a made-up machine and over the real one."""

import errno
import os
import shutil
import stat
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from vgpu_harness.host import Gpu, Host, write_tree
from vgpu_harness.host.pci import config_space

BUS = "/sys/bus/pci/devices"


@pytest.fixture
def machine(tmp_path):
    """A machine with a network card at 0000:00:03.0, another device where the default GPU goes, and a /dev/null."""
    root = tmp_path / "machine"
    for address, driver in (("0000:00:03.0", "e1000"), ("0000:00:05.0", "virtio-pci")):
        device = root / f"sys/devices/pci0000:00/{address}"
        device.mkdir(parents=True)
        (device / "vendor").write_text("0x1af4\n")
        (device / "driver").symlink_to(f"../../../bus/pci/drivers/{driver}")
        for place in (f"sys/bus/pci/drivers/{driver}", "sys/bus/pci/devices"):
            (root / place).mkdir(parents=True, exist_ok=True)
            up = "../" * (place.count("/"))
            (root / place / address).symlink_to(f"{up}devices/pci0000:00/{address}")
    (root / "sys/devices/system/cpu").mkdir(parents=True)
    (root / "sys/devices/system/cpu/online").write_text("0-3,32\n")
    (root / "sys/module/e1000").mkdir(parents=True)
    (root / "proc/driver/rtc").mkdir(parents=True)
    (root / "proc/1").mkdir()
    (root / "dev").mkdir()
    (root / "dev/null").touch()
    return root


@pytest.fixture
def tree(machine, tmp_path):
    """The default host's tree over the made-up machine."""
    return write_tree(Host(), tmp_path / "tree", machine=str(machine))


def find(tree, path):
    """What the path table answers, by the rule of csrc/vgpu/paths.c: the longest row, and below it if it is whole."""
    for row in tree.rows:
        if path == row.path or (row.whole and path.startswith(f"{row.path}/")):
            return Path(row.target + path[len(row.path) :])
    return None


def read(tree, path):
    """The text that a program finds at `path`."""
    return find(tree, path).read_text()


class TestDeviceFiles:
    @pytest.mark.parametrize(
        ("name", "text"),
        [
            ("vendor", "0x10de\n"),
            ("device", "0x2331\n"),
            ("class", "0x030200\n"),
            ("subsystem_vendor", "0x10de\n"),
            ("subsystem_device", "0x16c1\n"),
            ("revision", "0xa1\n"),
            ("enable", "1\n"),
            ("irq", "10\n"),
            ("numa_node", "-1\n"),
            ("local_cpulist", "0-3,32\n"),
            ("local_cpus", "1,0000000f\n"),
            ("modalias", "pci:v000010DEd00002331sv000010DEsd000016C1bc03sc02i00\n"),
            ("current_link_speed", "32.0 GT/s PCIe\n"),
            ("max_link_width", "16\n"),
            ("power_state", "D0\n"),
        ],
    )
    def test_sysfs_texts(self, tree, name, text):
        """The GPU's attributes read as the kernel writes them."""
        assert read(tree, f"{BUS}/0000:00:05.0/{name}") == text

    def test_uevent(self, tree):
        """The device's uevent names driver, class, identifiers and slot."""
        lines = dict(line.split("=") for line in read(tree, f"{BUS}/0000:00:05.0/uevent").splitlines())
        assert lines["DRIVER"] == "nvidia"
        assert lines["PCI_CLASS"] == "30200"
        assert lines["PCI_ID"] == "10DE:2331"
        assert lines["PCI_SLOT_NAME"] == "0000:00:05.0"

    def test_config_is_the_configuration_space(self, tree):
        """The binary file is 256 bytes, those of config_space."""
        assert find(tree, f"{BUS}/0000:00:05.0/config").read_bytes() == config_space(Gpu())

    def test_both_ways_to_a_device_are_one_file(self, tree):
        """A file is the same through /sys/bus and through /sys/devices."""
        by_bus = find(tree, f"{BUS}/0000:00:05.0/vendor")
        assert by_bus.samefile(find(tree, "/sys/devices/pci0000:00/0000:00:05.0/vendor"))

    def test_links_are_relative_and_lead_on(self, tree):
        """Links of the GPU are the kernel's own texts, and lead to what exists in the tree."""
        assert str(find(tree, f"{BUS}/0000:00:05.0").readlink()) == "../../../devices/pci0000:00/0000:00:05.0"
        driver = find(tree, "/sys/devices/pci0000:00/0000:00:05.0/driver")
        assert str(driver.readlink()) == "../../../bus/pci/drivers/nvidia"
        written = {"bind", "unbind", "new_id", "remove_id", "uevent"}
        assert {entry.name for entry in driver.iterdir()} == {"0000:00:05.0", "module", *written}
        assert (driver / "0000:00:05.0/vendor").read_text() == "0x10de\n"
        assert (driver / "module/version").read_text() == "580.95.05\n"

    def test_modes(self, tree):
        """Attributes are read-only to all; device files may be opened for writing by all."""
        assert stat.S_IMODE(find(tree, f"{BUS}/0000:00:05.0/vendor").stat().st_mode) == 0o444
        assert stat.S_IMODE(find(tree, "/dev/nvidia0").stat().st_mode) == 0o666


class TestDriverFiles:
    def test_version(self, tree):
        """The driver's version file has the words that parsers look for."""
        assert read(tree, "/proc/driver/nvidia/version").startswith(
            "NVRM version: NVIDIA UNIX x86_64 Kernel Module  580.95.05  "
        )
        assert read(tree, "/sys/module/nvidia/version") == "580.95.05\n"
        assert read(tree, "/sys/module/nvidia/initstate") == "live\n"

    def test_information(self, tree):
        """A GPU's information file says what the host file says; its UUID is NVML's."""
        text = read(tree, "/proc/driver/nvidia/gpus/0000:00:05.0/information")
        facts = {key.strip(): value.strip() for key, _, value in (line.partition(":") for line in text.splitlines())}
        gpu = Host().gpu[0]
        assert facts["Model"] == gpu.name
        assert facts["GPU UUID"] == gpu.nvml_uuid
        assert facts["Bus Location"] == "0000:00:05.0"
        assert facts["Device Minor"] == "0"

    def test_information_has_the_uuid_of_nvml(self, machine, tmp_path):
        """The kernel module and NVML agree, whatever CUDA says."""
        gpu = Gpu(nvml_uuid="GPU-ffeeddcc-bbaa-9988-7766-554433221100")
        tree = write_tree(Host(gpu=[gpu]), tmp_path / "other", machine=str(machine))
        assert f"GPU UUID: \t {gpu.nvml_uuid}\n" in read(tree, "/proc/driver/nvidia/gpus/0000:00:05.0/information")

    def test_params(self, tree):
        """The parameters that nvidia-modprobe reads are there, in its format."""
        lines = read(tree, "/proc/driver/nvidia/params").splitlines()
        assert {"ModifyDeviceFiles: 1", "DeviceFileUID: 0", "DeviceFileGID: 0", "DeviceFileMode: 438"} <= set(lines)

    def test_device_rows(self, tree):
        """The character devices have rows with NVIDIA's numbers, and files of their own."""
        rows = {row.path: row.device for row in tree.rows if row.device}
        assert rows == {
            "/dev/nvidia0": (195, 0),
            "/dev/nvidiactl": (195, 255),
            "/dev/nvidia-modeset": (195, 254),
            "/dev/nvidia-uvm": (510, 0),
            "/dev/nvidia-uvm-tools": (510, 1),
        }
        assert len({find(tree, path).stat().st_ino for path in rows}) == 5


class TestMerging:
    def test_the_bus_lists_real_devices_and_ours(self, tree):
        """A listing of the bus has the real devices and the GPU, each once; the real one reads as it is."""
        bus = find(tree, BUS)
        assert sorted(entry.name for entry in bus.iterdir()) == ["0000:00:03.0", "0000:00:05.0"]
        assert (bus / "0000:00:03.0/vendor").read_text() == "0x1af4\n"
        assert (bus / "0000:00:05.0/vendor").read_text() == "0x10de\n"

    def test_real_devices_stay_where_they_are(self, tree):
        """Files of other devices are not of the tree."""
        assert find(tree, f"{BUS}/0000:00:03.0/vendor") is None
        assert find(tree, "/sys/devices/pci0000:00/0000:00:03.0") is None
        assert find(tree, "/proc/driver/rtc") is None
        assert find(tree, "/proc") is None
        assert find(tree, "/") is None

    def test_a_real_device_at_our_address_is_hidden(self, tree):
        """Neither its files nor its driver's link to it are seen."""
        names = {entry.name for entry in find(tree, "/sys/devices/pci0000:00/0000:00:05.0").iterdir()}
        assert "config" in names
        assert str(find(tree, "/sys/devices/pci0000:00/0000:00:05.0/driver").readlink()).endswith("/nvidia")
        assert list(find(tree, "/sys/bus/pci/drivers/virtio-pci").iterdir()) == []
        hidden = find(tree, "/sys/bus/pci/drivers/virtio-pci/0000:00:05.0")
        assert not os.path.lexists(hidden)

    def test_a_driver_of_another_device_stays(self, tree):
        """A driver that has nothing at our address is not of the tree."""
        assert find(tree, "/sys/bus/pci/drivers/e1000") is None
        assert (find(tree, "/sys/bus/pci/drivers") / "e1000/0000:00:03.0/vendor").read_text() == "0x1af4\n"

    @pytest.mark.parametrize(
        ("directory", "real", "ours"),
        [
            ("/sys/module", "e1000", "nvidia"),
            ("/sys/bus/pci/drivers", "e1000", "nvidia"),
            ("/proc/driver", "rtc", "nvidia"),
            ("/dev", "null", "nvidiactl"),
        ],
    )
    def test_directories_around_list_both(self, tree, directory, real, ours):
        """A listing of a directory around our entries has the machine's entries too."""
        names = {entry.name for entry in find(tree, directory).iterdir()}
        assert {real, ours} <= names

    def test_a_bus_that_the_machine_lacks(self, machine, tmp_path):
        """A GPU in another domain gets a root bus of its own, which /sys/devices lists beside the real ones."""
        tree = write_tree(Host(gpu=[Gpu(pci="0001:3b:00.0")]), tmp_path / "tree", machine=str(machine))
        assert read(tree, "/sys/devices/pci0001:3b/0001:3b:00.0/vendor") == "0x10de\n"
        names = {entry.name for entry in find(tree, "/sys/devices").iterdir()}
        assert {"pci0000:00", "pci0001:3b", "system"} <= names
        assert find(tree, "/sys/devices/pci0001:3b/power") is not None
        assert find(tree, "/sys/devices/pci0000:00") is None
        assert find(tree, f"{BUS}/0000:00:05.0/vendor") is None

    def test_a_machine_without_sysfs(self, tmp_path):
        """Where the machine has no /sys at all, the tree's /sys is the whole of it."""
        (tmp_path / "bare/proc").mkdir(parents=True)
        tree = write_tree(Host(), tmp_path / "tree", machine=str(tmp_path / "bare"))
        assert find(tree, "/sys/kernel") == tree.directory / "sys/kernel"
        assert [entry.name for entry in find(tree, BUS).iterdir()] == ["0000:00:05.0"]
        assert read(tree, f"{BUS}/0000:00:05.0/local_cpus") == "1\n"


def test_rows_come_longest_first(tree):
    """The path table's first match is its longest."""
    lengths = [len(row.path) for row in tree.rows]
    assert lengths == sorted(lengths, reverse=True)
    assert len({row.path for row in tree.rows}) == len(lengths)


def test_eight_gpus(machine, tmp_path):
    """Eight GPUs have eight directories, information files and character devices."""
    host = Host(gpu=[Gpu() for _ in range(8)])
    tree = write_tree(host, tmp_path / "tree", machine=str(machine))
    for i, gpu in enumerate(host.gpu):
        assert read(tree, f"{BUS}/{gpu.pci}/device") == "0x2331\n"
        assert f"Device Minor: \t {i}\n" in read(tree, f"/proc/driver/nvidia/gpus/{gpu.pci}/information")
        assert find(tree, f"/dev/nvidia{i}").exists()
    assert len([row for row in tree.rows if row.device]) == 8 + 4


def test_a_tree_is_not_written_over_another(tree):
    """A directory that has a tree already is left alone."""
    before = sorted(str(path) for path in tree.directory.rglob("*"))
    with pytest.raises(FileExistsError, match="not empty"):
        write_tree(Host(), tree.directory)
    assert sorted(str(path) for path in tree.directory.rglob("*")) == before


class TestSharing:
    @pytest.fixture(autouse=True)
    def first_of_its_process(self, monkeypatch):
        """No link is known yet: where one of an earlier tree is gone, the next tree makes all of its own."""
        monkeypatch.setattr("vgpu_harness.host.tree._links", {})

    def links(self, tree):
        """The symbolic links of a tree: path -> (target, inode)."""
        found = [path for path in tree.directory.rglob("*") if path.is_symlink()]
        return {str(path.relative_to(tree.directory)): (str(path.readlink()), path.lstat().st_ino) for path in found}

    def test_links_are_made_once(self, machine, tmp_path):
        """A second tree has the same links, by the inodes of the first: the slow part of a tree is done once."""
        first, second = (write_tree(Host(), tmp_path / name, machine=str(machine)) for name in ("one", "two"))
        assert len(self.links(first)) > 8
        assert self.links(first) == self.links(second)

    def test_files_and_directories_are_apart(self, machine, tmp_path):
        """What can be written into belongs to one tree alone, and what is written is not seen in the other."""
        first, second = (write_tree(Host(), tmp_path / name, machine=str(machine)) for name in ("one", "two"))
        inodes = [
            {path.stat().st_ino for path in tree.directory.rglob("*") if not path.is_symlink()}
            for tree in (first, second)
        ]
        assert inodes[0]
        assert inodes[0].isdisjoint(inodes[1])
        find(first, "/dev/nvidiactl").write_text("mine")
        assert read(second, "/dev/nvidiactl") == ""

    def test_a_tree_outlives_the_one_before(self, machine, tmp_path):
        """Links stay when the tree that they were made for is removed, and new ones are made when all are gone."""
        write_tree(Host(), tmp_path / "one", machine=str(machine))
        second = write_tree(Host(), tmp_path / "two", machine=str(machine))
        shutil.rmtree(tmp_path / "one")
        assert (find(second, BUS) / "0000:00:03.0/vendor").read_text() == "0x1af4\n"
        before = self.links(second)
        shutil.rmtree(tmp_path / "two")
        third = write_tree(Host(), tmp_path / "three", machine=str(machine))
        assert {path: target for path, (target, _) in self.links(third).items()} == {
            path: target for path, (target, _) in before.items()
        }

    @pytest.mark.parametrize("other", ["link", "file"])
    def test_a_link_that_was_changed_is_not_taken(self, machine, tmp_path, other):
        """Where a link of an earlier tree now leads elsewhere, or is a file, a new one is made."""
        first = write_tree(Host(), tmp_path / "one", machine=str(machine))
        place = first.directory / "sys/bus/pci/devices/0000:00:03.0"
        target = place.readlink()
        place.unlink()
        if other == "link":
            place.symlink_to("/nowhere")
        else:
            place.write_text("no link")
        second = write_tree(Host(), tmp_path / "two", machine=str(machine))
        assert (second.directory / "sys/bus/pci/devices/0000:00:03.0").readlink() == target
        assert place.lstat().st_nlink == 1

    @pytest.mark.parametrize("number", [errno.EXDEV, errno.EMLINK, errno.EPERM])
    def test_where_a_link_cannot_get_another_name(self, machine, tmp_path, monkeypatch, number):
        """On another file system, on one without hard links, with too many names: the tree is whole all the same."""
        first = write_tree(Host(), tmp_path / "one", machine=str(machine))
        asked = []

        def refuse(*arguments, **_):
            asked.append(arguments)
            raise OSError(number, os.strerror(number))

        monkeypatch.setattr(os, "link", refuse)
        second = write_tree(Host(), tmp_path / "two", machine=str(machine))
        assert len(asked) == 1
        assert {path: target for path, (target, _) in self.links(second).items()} == {
            path: target for path, (target, _) in self.links(first).items()
        }

    def test_trees_that_are_written_at_once(self, machine, tmp_path):
        """Threads that write trees at the same time get whole ones."""
        with ThreadPoolExecutor(max_workers=4) as pool:
            trees = list(pool.map(lambda i: write_tree(Host(), tmp_path / str(i), machine=str(machine)), range(8)))
        assert len({tuple(sorted((path, target) for path, (target, _) in self.links(t).items())) for t in trees}) == 1


def test_the_umask_changes_nothing(machine, tmp_path):
    """Files have the modes of sysfs and of device files, and directories can be entered, whatever the umask."""
    before = os.umask(0o077)
    try:
        tree = write_tree(Host(), tmp_path / "tree", machine=str(machine))
    finally:
        os.umask(before)
    assert stat.S_IMODE(find(tree, f"{BUS}/0000:00:05.0/vendor").stat().st_mode) == 0o444
    assert stat.S_IMODE(find(tree, "/dev/nvidia0").stat().st_mode) == 0o666
    directories = [tmp_path / "tree", *(path for path in (tmp_path / "tree").rglob("*") if path.is_dir())]
    assert {stat.S_IMODE(path.stat().st_mode) for path in directories} == {0o755}


def test_the_real_machine(tmp_path):
    """Over the real machine every other PCI device keeps its name, and the GPU is added."""
    tree = write_tree(Host(), tmp_path / "tree")
    real = {entry.name for entry in Path(BUS).iterdir()} if Path(BUS).is_dir() else set()
    assert {entry.name for entry in find(tree, BUS).iterdir()} == real | {"0000:00:05.0"}
    assert read(tree, f"{BUS}/0000:00:05.0/vendor") == "0x10de\n"
