"""What the CUDA runtime stand-ins say of the devices: the host's own facts, for each of them, in both layouts."""

import re
from pathlib import Path

import pytest
from support.runtime import CUDALIBS, MAJORS, Runtime

from vgpu_harness.host import Gpu, Host
from vgpu_harness.host.profile import attribute_ids

INVALID_VALUE, INVALID_DEVICE = 1, 101
FIELD = re.compile(r"^CUDART_PROP(?:_\d+)?\([\w ]+, (\w+), (?:\[(\d+)\])?, (\d+)\)", re.MULTILINE)
FIELDS = Path(__file__).with_name("support") / "device_prop_fields.txt"
EACH_MAJOR = pytest.mark.parametrize("major", MAJORS)
MIB = 1 << 20
TWO = [Gpu(), Gpu(profile="a100-80gb-sxm4", pci="0001:3b:1e.0", compute="8.0", memory_mib=40960, reserved_mib=400)]
NOT_IN_12 = {"NUMA_CONFIG", "NUMA_ID", "MPS_ENABLED", "HOST_NUMA_ID", "GPU_PCI_DEVICE_ID", "GPU_PCI_SUBSYSTEM_ID",
             "HOST_NUMA_MULTINODE_IPC_SUPPORTED"}  # fmt: skip


@pytest.fixture
def ask(tmp_path: Path) -> Runtime:
    """Asks the runtime in a child process on a simulated host."""
    return Runtime(tmp_path)


@EACH_MAJOR
def test_properties_are_the_hosts(ask, major):
    """Name, UUID, memory and every attribute of two unlike GPUs arrive in the fields of the struct."""
    host = Host(gpu=TWO)
    asked = ask(major, "properties:0 properties:1", gpu=TWO)
    assert asked.codes == [0, 0]
    ids = attribute_ids()
    for gpu, answer in zip(host.gpu, asked.answers, strict=True):
        values = dict(answer.values)
        assert bytes.fromhex(values.pop("name")).decode() == gpu.name
        assert values.pop("uuid") == gpu.uuid.removeprefix("GPU-").replace("-", "")
        assert int(values.pop("totalGlobalMem")) == (gpu.memory_mib - gpu.reserved_mib) * MIB
        domain, bus, device = gpu.pci_numbers
        expected = gpu.model.attributes | {
            "PCI_DOMAIN_ID": domain, "PCI_BUS_ID": bus, "PCI_DEVICE_ID": device,
            "COMPUTE_CAPABILITY_MAJOR": gpu.compute_numbers[0], "COMPUTE_CAPABILITY_MINOR": gpu.compute_numbers[1],
        }  # fmt: skip
        numbers = {ids[name]: value for name, value in expected.items()}
        shown = {int(number): int(value) for number, value in values.items()}
        assert len(shown) > 90
        for number, value in shown.items():
            if number in numbers:
                assert value == numbers[number], number


def test_each_field_is_the_attribute_that_it_is_called_after():
    """The numbers in the list of fields are those of the attributes with the fields' meaning, element by element."""
    ids, listed = attribute_ids(), FIELD.findall((CUDALIBS / "device_prop.def").read_text())
    numbers = {name: [int(first) + i for i in range(int(count or 1))] for name, count, first in listed if first != "0"}
    lines = [line.split() for line in FIELDS.read_text().splitlines() if not line.startswith("#")]
    assert numbers == {name: [ids[attribute] for attribute in attributes] for name, *attributes in lines}


@pytest.mark.parametrize(("major", "there"), [(12, False), (13, True)])
def test_fields_that_13_added_are_in_13_alone(ask, major, there):
    """And those that it dropped in 12 alone: each layout has its own fields."""
    ids = attribute_ids()
    shown = {int(key) for key in ask(major, "properties:0").answers[0].values if key.isdigit()}
    assert {ids[name] in shown for name in NOT_IN_12} == {there}
    assert (ids["CLOCK_RATE"] in shown) is not there


def test_a_program_of_an_older_toolkit_gets_its_shorter_struct(ask):
    """The unversioned name of 12 fills the 728 bytes that 11.8 knew, and not a byte behind them."""
    asked = ask(12, "oldproperties:0 oldproperties:3")
    assert asked.codes == [0, INVALID_DEVICE]
    assert asked.answers[0].values == {"major": "9", "reserved": "1024", "next": "5a5a5a5a"}


@EACH_MAJOR
def test_eight_devices(ask, major):
    """All are there, each with its own address, and there is no ninth."""
    calls = " ".join(f"pci:{i}:32" for i in range(9))
    asked = ask(major, f"count {calls}", gpu=[{} for _ in range(8)])
    assert asked.codes == [0] * 9 + [INVALID_DEVICE]
    assert asked.answers[0].values == {"value": "8"}
    assert [answer.values["value"] for answer in asked.answers[1:9]] == [f"0000:00:{i:02x}.0" for i in range(5, 13)]


@EACH_MAJOR
@pytest.mark.parametrize(("visible", "count"), [("1", 1), ("1,0", 2)])
def test_only_visible_devices_are_there(ask, major, visible, count):
    """CUDA_VISIBLE_DEVICES is the driver's business: the runtime counts and orders as the driver does."""
    asked = ask(major, "count pci:0:32", gpu=TWO, env={"CUDA_VISIBLE_DEVICES": visible})
    assert [answer.values["value"] for answer in asked.answers] == [str(count), "0001:3b:1e.0"]


@EACH_MAJOR
def test_the_bus_id_is_made_of_attributes(ask, major):
    """A driver whose own text is wrong disagrees with the runtime; so does one with a wrong attribute."""
    text = {"function": "cuDeviceGetPCIBusId", "text": "00000000:00:05.0"}
    asked = ask(major, "pci:0:32", faults=[text])
    assert asked.answers[0].values == {"value": "0000:00:05.0"}
    assert "cuDeviceGetPCIBusId" not in asked.calls


@EACH_MAJOR
@pytest.mark.parametrize(("size", "code"), [(13, 0), (12, INVALID_VALUE), (0, INVALID_VALUE)])
def test_the_bus_id_needs_thirteen_bytes(ask, major, size, code):
    """A smaller buffer is refused and left alone."""
    answer = ask(major, f"pci:0:{size}").answers[0]
    assert (answer.code, answer.values["value"]) == (code, "#" if code else "0000:00:05.0")


@EACH_MAJOR
def test_attributes_are_the_drivers(ask, major):
    """Numbers go to the driver as they are, and its refusals come back."""
    asked = ask(major, "attribute:75:0 attribute:16:1 attribute:99999:0 attribute:75:2", gpu=TWO)
    assert asked.codes == [0, 0, INVALID_VALUE, INVALID_DEVICE]
    assert [answer.values["value"] for answer in asked.answers[:2]] == ["9", "108"]


@EACH_MAJOR
def test_what_an_older_driver_does_not_know_is_zero(ask, major):
    """An attribute that the driver refuses as invalid does not stop the start, unless it is the compute capability."""
    refusing = {"function": "cuDeviceGetAttribute", "result": INVALID_VALUE}
    assert ask(major, "count", faults=[refusing | {"after": 2}]).codes == [0]
    assert ask(major, "count", faults=[refusing]).codes == [3]


@EACH_MAJOR
def test_each_thread_has_a_device_of_its_own(ask, major):
    """A thread begins with device 0, whatever another has set; a device that is not there changes nothing."""
    asked = ask(major, "device set:1 device thread device set:2 device", gpu=TWO)
    assert asked.codes == [0, 0, 0, 0, INVALID_DEVICE, 0]
    assert [answer.values["value"] for answer in asked.answers if answer.values] == ["0", "1", "0", "1"]
