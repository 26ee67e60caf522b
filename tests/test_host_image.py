"""The host image, read back through the C reader that the shims have."""

import os
import stat
from pathlib import Path

import pytest

from vgpu_harness._wire import ffi, lib
from vgpu_harness.errors import HostError, ImageError
from vgpu_harness.host import Driver, Gate, Gpu, Host, Tree, check_image, is_image, write_image, write_tree
from vgpu_harness.host.profile import attribute_ids

MIB = 1 << 20


@pytest.fixture
def written(tmp_path):
    """Writes a host's tree and image; answers the image's path."""

    def write(host):
        return write_image(host, write_tree(host, tmp_path / "tree"), tmp_path / "host.image")

    return write


@pytest.fixture
def opened(written):
    """Writes a host's image and maps it with the shims' reader."""
    mapped = []

    def open_image(host):
        out = ffi.new("struct vgpu_image **")
        reason = lib.vgpu_image_open(os.fsencode(written(host)), out)
        assert reason == ffi.NULL, ffi.string(reason)
        mapped.append(out[0])
        return out[0]

    yield open_image
    for image in mapped:
        lib.vgpu_image_close(image)


def text(value):
    """A C string as a str."""
    return ffi.string(value).decode()


def find(image, path, size=4096):
    """The path table's answer: (code, target, row)."""
    out, row = ffi.new("char[]", size), ffi.new("struct vgpu_path **")
    code = lib.vgpu_path_find(image, path.encode(), out, size, row)
    return code, text(out), row[0]


def test_a_gpu_arrives_field_by_field(opened):
    """Every field of a GPU that Python writes is the one that C reads."""
    gpu = Gpu(
        pci="0001:3b:1f.0",
        uuid="GPU-00112233-4455-6677-8899-aabbccddeeff",
        nvml_uuid="GPU-ffeeddcc-bbaa-9988-7766-554433221100",
        name="Grafikkarte Ü",
        compute="12.1",
        memory_mib=24000,
        reserved_mib=400,
        used_mib=300,
        serial="123",
        minor=9,
    )
    row = lib.vgpu_image_gpu(opened(Host(gpu=[gpu])), 0)
    assert (text(row.name), text(row.serial)) == ("Grafikkarte Ü", "123")
    assert bytes(row.uuid).hex() == "00112233445566778899aabbccddeeff"
    assert bytes(row.nvml_uuid).hex() == "ffeeddccbbaa99887766554433221100"
    assert (row.pci_domain, row.pci_bus, row.pci_device) == (1, 0x3B, 0x1F)
    assert (row.pci_id, row.pci_subsystem_id) == (0x233110DE, 0x16C110DE)
    assert (row.minor_number, row.compute_major, row.compute_minor) == (9, 12, 1)
    assert (row.memory_total, row.memory_reserved, row.memory_used) == (24000 * MIB, 400 * MIB, 300 * MIB)


def test_attributes_of_each_gpu(opened):
    """Each GPU has its profile's attributes, its own address and its own compute capability, in order of number."""
    ids = attribute_ids()
    image = opened(Host(gpu=[Gpu(), Gpu(profile="a100-80gb-sxm4", pci="0002:41:03.0")]))
    answers = []
    for i in range(2):
        row = lib.vgpu_image_gpu(image, i)
        pairs = lib.vgpu_image_attributes(image, row)
        numbers = [pairs[j].id for j in range(row.attributes.count)]
        assert numbers == sorted(ids.values())
        answers.append({pairs[j].id: pairs[j].value for j in range(row.attributes.count)})
    assert [answer[ids["MULTIPROCESSOR_COUNT"]] for answer in answers] == [132, 108]
    assert [answer[ids["COMPUTE_CAPABILITY_MAJOR"]] for answer in answers] == [9, 8]
    address = [ids[name] for name in ("PCI_DOMAIN_ID", "PCI_BUS_ID", "PCI_DEVICE_ID")]
    assert [answers[1][number] for number in address] == [2, 0x41, 3]
    assert answers[0][ids["HOST_NUMA_ID"]] == -1


def test_eight_gpus(opened):
    """An image holds eight GPUs, and has no ninth."""
    image = opened(Host(gpu=[Gpu() for _ in range(8)]))
    assert [lib.vgpu_image_gpu(image, i).pci_device for i in range(8)] == list(range(5, 13))
    assert lib.vgpu_image_gpu(image, 8) == ffi.NULL


def test_driver_and_build(opened):
    """The driver's three versions and the build id of the sources are in the image."""
    image = opened(Host(driver=Driver(version="575.51.03")))
    assert (text(image.driver.version), text(image.driver.nvml_version)) == ("575.51.03", "12.575.51.03")
    assert image.driver.cuda_version == 12090
    assert text(image.build_id) == text(lib.vgpu_build_id())


def test_gate(opened):
    """Rules, counts and families of the gate arrive."""
    gate = Gate(
        allow=["ollama*", {"argument": "runner", "unit": "a.service"}],
        deny=["/bin/lspci"],
        auto_init=True,
        calls_before=3,
        before_gate=["stat", "opendir"],
    )
    image = opened(Host(gate=gate))
    policy = image.gate

    def rules(span):
        rows = ffi.cast("struct vgpu_rule *", ffi.cast("char *", image) + span.offset)
        texts = [{fact: at for fact, at in enumerate(rows[i].text) if at} for i in range(span.count)]
        return [{fact: text(lib.vgpu_image_text(image, at)) for fact, at in row.items()} for row in texts]

    assert rules(policy.allow) == [
        {lib.VGPU_RULE_PROGRAM: "ollama*"},
        {lib.VGPU_RULE_ARGUMENT: "runner", lib.VGPU_RULE_UNIT: "a.service"},
    ]
    assert rules(policy.deny) == [{lib.VGPU_RULE_PATH: "/bin/lspci"}]
    assert (policy.auto_init, policy.calls_before) == (1, 3)
    assert policy.before_gate == 1 << lib.VGPU_FAMILY_STAT | 1 << lib.VGPU_FAMILY_OPENDIR


def test_faults(opened):
    """Function faults arrive in order with all that they say; behind them what cuGetProcAddress is not to know."""
    image = opened(
        Host(
            faults=[
                {"function": "cuInit", "result": 802, "after": 2},
                {"library": "cuda", "missing_symbol": "cuInit"},
                {"function": "cuDeviceGetCount", "value": 0, "delay": 1.5},
                {"function": "nvmlInit_v2", "delay": 0.25},
                {"library": "nvml", "missing_symbol": "nvmlShutdown"},
                {"function": "cuDeviceGetName", "text": "Grafikkarte Ü"},
            ]
        )
    )
    rows = [lib.vgpu_image_fault(image, i) for i in range(image.faults.count)]
    assert [text(lib.vgpu_image_text(image, row.function)) for row in rows] == [
        "cuInit",
        "cuDeviceGetCount",
        "nvmlInit_v2",
        "cuDeviceGetName",
        "cuInit",
    ]
    assert [(row.flags, row.result, row.value, row.after, row.delay_ms) for row in rows] == [
        (lib.VGPU_FAULT_RESULT, 802, 0, 2, 0),
        (lib.VGPU_FAULT_VALUE, 0, 0, 0, 1500),
        (0, 0, 0, 0, 250),
        (lib.VGPU_FAULT_TEXT, 0, 0, 0, 0),
        (lib.VGPU_FAULT_HIDDEN, 0, 0, 0, 0),
    ]
    assert text(lib.vgpu_image_text(image, rows[3].text)) == "Grafikkarte Ü"


def many_faults(missing):
    """A host with 60 faults of functions and some missing symbols."""
    symbols = [{"library": "cuda", "missing_symbol": f"cu{i}"} for i in range(missing)]
    return Host(faults=[*[{"function": "cuInit", "delay": 1.0}] * 60, *symbols])


def test_faults_of_all_kinds_fit_together(written):
    """Faults of functions and missing symbols have 64 places between them."""
    check_image(written(many_faults(missing=4)))


def test_faults_that_do_not_fit_are_refused():
    """The error counts both kinds."""
    with pytest.raises(HostError, match="60 faults of functions and 5 missing symbols of the CUDA shim are too many"):
        many_faults(missing=5)


def test_a_text_outside_of_the_image_is_damage(written):
    """A fault's text is inside the file, or the image is refused; without the flag nobody looks there."""
    path = written(Host(faults=[{"function": "cuDeviceGetName", "text": "x"}]))
    data = bytearray(path.read_bytes())
    image = ffi.from_buffer("struct vgpu_image *", data)
    row = ffi.cast("struct vgpu_fault *", ffi.cast("char *", image) + image.faults.offset)
    row.text = 2**31
    path.unlink()
    path.write_bytes(data)
    with pytest.raises(ImageError, match="a fault's text lies outside of the text"):
        check_image(path)
    row.flags = 0
    path.write_bytes(data)
    check_image(path)


class TestPaths:
    def test_a_file_of_the_gpu(self, opened, tmp_path):
        """The reader answers the tree's file for a path of the GPU, however the path is written."""
        image = opened(Host())
        code, target, _ = find(image, "/sys//bus/./pci/devices/0000:00:05.0/vendor")
        assert (code, target) == (1, f"{tmp_path}/tree/sys/bus/pci/devices/0000:00:05.0/vendor")
        assert Path(target).read_text() == "0x10de\n"

    @pytest.mark.parametrize("path", ["/sys/bus/pci/devices/0000:00:04.0/vendor", "/proc", "/etc/passwd", "/dev/null"])
    def test_other_paths_are_the_machines(self, opened, path):
        """A path that is not of the GPUs is not in the table, nor is what is below a merged directory."""
        assert find(opened(Host()), path)[0] == 0

    def test_devices(self, opened, tmp_path):
        """A device's row has its numbers, and is found again by the identity of its file."""
        image = opened(Host())
        code, target, row = find(image, "/dev/nvidia0")
        assert (code, row.device, row.rdev) == (1, 1, os.makedev(195, 0))
        facts = Path(target).stat()
        assert lib.vgpu_path_device(image, facts.st_dev, facts.st_ino) == row
        other = tmp_path.stat()
        assert lib.vgpu_path_device(image, other.st_dev, other.st_ino) == ffi.NULL

    def test_rows_are_longest_first(self, tmp_path):
        """The reader takes the first row that matches, so the longest comes first, in whatever order they are given."""
        tree = write_tree(Host(), tmp_path / "tree")
        mixed = Tree(tree.directory, tuple(sorted(tree.rows, key=lambda row: len(row.path))))
        out = ffi.new("struct vgpu_image **")
        lib.vgpu_image_open(os.fsencode(write_image(Host(), mixed, tmp_path / "host.image")), out)
        rows = ffi.cast("struct vgpu_path *", ffi.cast("char *", out[0]) + out[0].paths.offset)
        lengths = [rows[i].path_length for i in range(out[0].paths.count)]
        lib.vgpu_image_close(out[0])
        assert len(lengths) == len(tree.rows)
        assert lengths == sorted(lengths, reverse=True)

    def test_a_path_that_does_not_fit_is_refused(self, opened):
        """A buffer that is too small is reported, never a cut path."""
        assert find(opened(Host()), "/dev/nvidia0", size=8)[0] == -1


class TestWrongImages:
    def test_a_sound_image_passes(self, written):
        """An image as it was written is accepted, read-only, and alone in its directory."""
        path = written(Host())
        check_image(path)
        assert is_image(path)
        assert stat.S_IMODE(path.stat().st_mode) == 0o444
        assert sorted(entry.name for entry in path.parent.iterdir()) == ["host.image", "tree"]

    @pytest.mark.parametrize(
        ("kind", "reason", "looks"),
        [
            ("truncated", "truncated: its size is not the one that it was written with", True),
            ("foreign", "foreign: it does not start with VGPUHOST", False),
            ("version", "of another version: these shims read host images of version 3", True),
        ],
    )
    def test_image_faults_are_refused_for_their_reason(self, written, kind, reason, looks):
        """Each kind of image fault makes an image that the reader refuses, and says why."""
        path = written(Host(faults=[{"image": kind}]))
        with pytest.raises(ImageError) as caught:
            check_image(path)
        assert str(caught.value) == f"{path}: {reason}; write the image again from its host file"
        assert is_image(path) is looks

    @pytest.mark.parametrize("size", [0, 1, 23, 24, 100])
    def test_any_stump_is_refused(self, written, tmp_path, size):
        """A file of which only the start is there is refused, however short."""
        stump = tmp_path / "stump"
        stump.write_bytes(written(Host()).read_bytes()[:size])
        with pytest.raises(ImageError, match="truncated"):
            check_image(stump)

    def test_nothing_is_left_of_a_failed_write(self, tmp_path):
        """If the tree is gone, there is no image, not even half of one."""
        tree = write_tree(Host(), tmp_path / "tree")
        (tmp_path / "tree/dev/nvidia0").unlink()
        with pytest.raises(FileNotFoundError):
            write_image(Host(), tree, tmp_path / "host.image")
        assert [entry.name for entry in tmp_path.iterdir()] == ["tree"]

    def test_a_full_directory_leaves_the_old_image(self, written, tmp_path, monkeypatch):
        """A write that fails half-way leaves the image that was there, and no temporary file."""
        path = written(Host())
        before = path.read_bytes()
        tree = write_tree(Host(), tmp_path / "tree2")

        def full(*_):
            raise OSError(28, "No space left on device")

        monkeypatch.setattr(os, "fchmod", full)
        with pytest.raises(OSError, match="No space left"):
            write_image(Host(driver=Driver(version="570.1")), tree, path)
        assert path.read_bytes() == before
        assert sorted(entry.name for entry in tmp_path.iterdir()) == ["host.image", "tree", "tree2"]
