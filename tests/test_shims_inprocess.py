"""The shims' code in this process: fresh state for each object, answers by entry point, the gate and the path table."""

from pathlib import Path

import pytest

from vgpu_harness._wire import ffi
from vgpu_harness.errors import ImageError, ShimError
from vgpu_harness.host import Gpu, Host, write_image, write_tree
from vgpu_harness.shims.inprocess import Cuda, Files, Gate, Nvml
from vgpu_harness.trace import Kind, Library, Trace, create_trace

NOT_INITIALIZED = 3
UNINITIALIZED = 1
NO_DEVICE = 100


@pytest.fixture
def image(tmp_path: Path) -> Path:
    """A host with two GPUs."""
    host = Host(gpu=[Gpu(), Gpu(profile="a100-80gb-sxm4", pci="0000:3b:00.0")])  # type: ignore[arg-type]
    return write_image(host, write_tree(host, tmp_path / "tree"), tmp_path / "host.image")


def test_cuda_answers_as_the_host_says(image: Path) -> None:
    """The helpers answer (code, value) with the values of the host."""
    with Cuda(image) as cuda:
        assert cuda.init() == 0
        assert cuda.device_count() == (0, 2)
        assert cuda.driver_version() == (0, 13000)
        assert cuda.device(1) == (0, 1)
        assert cuda.name(0) == (0, "NVIDIA H100 80GB HBM3")
        assert cuda.pci_bus_id(1) == (0, "0000:3b:00.0")
        assert cuda.uuid(0) == (0, Gpu().uuid)
        assert cuda.attribute(75, 1) == (0, 8)
        assert cuda.total_memory(0) == (0, (Gpu().memory_mib - Gpu().reserved_mib) << 20)


def test_nvml_answers_as_the_host_says(image: Path) -> None:
    """The same for NVML."""
    with Nvml(image) as nvml:
        assert nvml.init() == 0
        assert nvml.device_count() == (0, 2)
        assert nvml.driver_version() == (0, "580.95.05")
        code, device = nvml.device(0)
        assert code == 0
        assert nvml.name(device) == (0, "NVIDIA H100 80GB HBM3")
        assert nvml.uuid(device) == (0, Gpu().uuid)
        assert nvml.shutdown() == 0
        assert nvml.device_count()[0] == UNINITIALIZED


def test_each_object_is_a_process_of_its_own(image: Path) -> None:
    """An initialisation in one is none in the other."""
    with Cuda(image) as first, Cuda(image) as second:
        assert first.init() == 0
        assert first.device_count()[0] == 0
        assert second.device_count()[0] == NOT_INITIALIZED
        assert second.init() == 0
        assert second.device_count() == (0, 2)


def test_without_an_image_there_is_no_gpu() -> None:
    """As NVIDIA's library answers where there is none."""
    with Cuda() as cuda:
        assert cuda.init() == NO_DEVICE


def test_entry_points_are_attributes(image: Path) -> None:
    """By their own names, with cffi's arguments; what is not one is an AttributeError with the name."""
    with Cuda(image) as cuda:
        assert cuda.cuInit(0) == 0
        count = ffi.new("int *")
        assert (cuda.cuDeviceGetCount(count), count[0]) == (0, 2)
        with pytest.raises(AttributeError, match="Cuda has no entry point 'cuNothing'"):
            cuda.cuNothing()
        assert not hasattr(cuda, "__nothing__")


def test_calls_go_into_the_trace(image: Path, tmp_path: Path) -> None:
    """What is called in this process is recorded as it is in a program."""
    trace = create_trace(tmp_path / "trace", 1 << 20)
    with Cuda(image, trace=trace) as cuda:
        cuda.init()
        cuda.device(1)
    calls = [record for record in Trace.open(trace) if record.kind == Kind.CALL]
    assert [(record.library, record.name) for record in calls] == [
        (Library.CUDA, "cuInit"),
        (Library.CUDA, "cuDeviceGet"),
    ]
    assert calls[1].text == "0000:3b:00.0"


def test_a_closed_object_is_an_error_not_a_crash(image: Path) -> None:
    """After close, and after a second one, every call says so."""
    cuda = Cuda(image)
    cuda.close()
    cuda.close()
    with pytest.raises(ShimError, match="Cuda: is closed"):
        cuda.init()


def test_a_missing_image_is_an_error(tmp_path: Path) -> None:
    """A mistyped path is not a host without GPUs."""
    with pytest.raises(ImageError, match="no such host image"):
        Cuda(tmp_path / "nothing")


def test_fixed_facts_decide_at_the_gate(image: Path) -> None:
    """With the facts of sshd the driver is not there; with those of ollama it is."""
    with Cuda(image) as cuda:
        cuda.set_facts(exe="sshd")
        assert cuda.init() == NOT_INITIALIZED
    with Cuda(image) as cuda:
        cuda.set_facts(exe="ollama")
        assert cuda.init() == 0


def test_the_gate_is_asked_about_given_facts(image: Path) -> None:
    """Both questions, together and apart; a misspelt fact is an error."""
    with Gate(image) as gate:
        assert gate.ask(exe="ollama").ready == "ready"
        assert gate.ask(exe="sshd") == ("not an application", 'not an application: gate.deny names the program "sshd*"')
        assert gate.ask(exe="ollama", libc_ready=False).ready == "too early"
        assert gate.is_application_process(exe="ollama")
        assert not gate.is_application_process(exe="lspci")
        assert not gate.is_safe_to_check_process(exe="ollama", libc_ready=False)
        with pytest.raises(TypeError, match="no such facts: exec; known are "):
            gate.ask(exec="ollama")
    with Gate() as gate:
        assert gate.ask(exe="ollama").ready == "no image"


def test_files_are_found_in_the_tree(image: Path, tmp_path: Path) -> None:
    """A path of the host leads into its tree, another one nowhere; an answer that does not fit is ENAMETOOLONG."""
    vendor = "/sys/bus/pci/devices/0000:3b:00.0/vendor"
    with Files(image) as files:
        assert files.read(vendor) == b"0x10de\n"
        found = files.find(vendor)
        assert found is not None
        assert found.is_relative_to(tmp_path / "tree")
        assert files.find("/etc/passwd") is None
        with pytest.raises(FileNotFoundError, match="/etc/passwd"):
            files.read("/etc/passwd")
        with pytest.raises(OSError, match="File name too long"):
            files.find(vendor, size=10)


class TestEnsureInit:
    def test_too_early_is_asked_again_and_an_answer_lasts(self, vgpu_gate: Gate) -> None:
        """A process that was too early may be ready later; a ready process is asked nothing more."""
        assert vgpu_gate.ensure_init(exe="ollama", libc_ready=False) == "too early"
        assert vgpu_gate.ensure_init(exe="ollama") == "ready"
        vgpu_gate.process.facts.libc_ready = 0
        assert vgpu_gate.ensure_init() == "ready"

    def test_other_facts_are_another_process(self, vgpu_gate: Gate) -> None:
        """New facts are asked about anew."""
        assert [vgpu_gate.ensure_init(exe=name) for name in ("ollama", "sshd", "ollama")] == [
            "ready",
            "not an application",
            "ready",
        ]
