"""The questions about a device."""

import pytest

from vgpu_harness._wire import ffi

SUCCESS, INVALID_VALUE, INVALID_DEVICE = 0, 1, 101
MAJOR, MINOR, BUS, DEVICE, DOMAIN, INTEGRATED, VMM = 75, 76, 33, 34, 50, 18, 102
LAST = 147
UUIDS = tuple(f"GPU-{first}0000000-0000-4000-8000-00000000000{n}" for n, first in enumerate("aab"))

three = pytest.mark.vgpu(
    host={"gpu": [{"pci": f"000{n}:{n + 0x3A:02x}:{n + 0x1D:02x}.0", "uuid": UUIDS[n]} for n in range(3)]}
)


@pytest.fixture
def cuda(vgpu_cuda, monkeypatch):
    """The driver after cuInit(0), without CUDA_VISIBLE_DEVICES."""
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    assert vgpu_cuda.cuInit(0) == SUCCESS
    return vgpu_cuda


@three
@pytest.mark.parametrize("dev", [0, 1, 2])
def test_attributes_that_ollama_reads(dev, cuda, vgpu_host):
    """Compute capability and PCI place come from the GPU, the rest from its profile."""
    gpu = vgpu_host.gpu[dev]
    domain, bus, slot = gpu.pci_numbers
    major, minor = gpu.compute_numbers
    expected = {MAJOR: major, MINOR: minor, DOMAIN: domain, BUS: bus, DEVICE: slot, INTEGRATED: 0, VMM: 1}
    assert {key: cuda.attribute(key, dev) for key in expected} == {
        key: (SUCCESS, value) for key, value in expected.items()
    }


@pytest.mark.parametrize("attribute", [-1, 0, LAST + 1, 2**31 - 1])
def test_an_unknown_attribute_is_an_invalid_value(attribute, cuda):
    """Numbers outside cuda.h's list are refused, and nothing is written."""
    value = ffi.new("int *", 4711)
    assert (cuda.cuDeviceGetAttribute(value, attribute, 0), value[0]) == (INVALID_VALUE, 4711)


def test_every_attribute_of_cuda_h_is_answered(cuda):
    """1 to 147 succeed, whether the host states them or not."""
    assert {cuda.attribute(number)[0] for number in range(1, LAST + 1)} == {SUCCESS}


@pytest.mark.parametrize("dev", [-1, 1, 8, 2**31 - 1, -(2**31)])
def test_a_device_out_of_range_is_an_invalid_device(dev, cuda):
    """101 from every question about a device."""
    assert [cuda.device(dev)[0], cuda.attribute(MAJOR, dev)[0], cuda.name(dev)[0], cuda.uuid(dev)[0]] == [
        INVALID_DEVICE
    ] * 4
    assert [cuda.total_memory(dev)[0], cuda.pci_bus_id(dev)[0]] == [INVALID_DEVICE] * 2
    assert cuda.cuDevicePrimaryCtxRetain(ffi.new("CUcontext *"), dev) == INVALID_DEVICE


@pytest.mark.parametrize("size", [1, 2, 7, 21, 22, 96])
def test_a_name_is_cut_to_its_buffer(size, cuda, vgpu_host):
    """cuDeviceGetName writes no more than it may, and always an end."""
    buffer = ffi.new("char[]", b"\x5a" * 128)
    assert cuda.cuDeviceGetName(buffer, size, 0) == SUCCESS
    assert ffi.string(buffer).decode() == vgpu_host.gpu[0].name[: size - 1]
    assert bytes(ffi.buffer(buffer, 128))[size:] == b"\x5a" * (128 - size)


@pytest.mark.parametrize("size", [0, -1, -(2**31)])
def test_no_room_for_a_name_is_an_invalid_value(size, cuda):
    """A buffer without room for an end cannot be answered into."""
    buffer = ffi.new("char[]", b"\x5a" * 8)
    assert cuda.cuDeviceGetName(buffer, size, 0) == INVALID_VALUE
    assert bytes(ffi.buffer(buffer, 8)) == b"\x5a" * 8


def test_a_pci_bus_id_needs_13_bytes(cuda):
    """Four digits of domain; a buffer of 12 is refused and left alone."""
    assert cuda.pci_bus_id(0, 13) == (SUCCESS, "0000:00:05.0")
    assert cuda.pci_bus_id(0, 12) == (INVALID_VALUE, "")


@three
@pytest.mark.parametrize(
    ("text", "code", "dev"),
    [
        ("0001:3b:1e.0", SUCCESS, 1),
        ("0001:3B:1E.0", SUCCESS, 1),
        ("00000001:3b:1e.0", SUCCESS, 1),
        ("1:3b:1e", SUCCESS, 1),
        ("3a:1d.0", SUCCESS, 0),
        ("3a:1d", INVALID_VALUE, None),
        ("0001:3b:1e.1", INVALID_DEVICE, None),
        ("0001:3c:1e.0", INVALID_DEVICE, None),
        ("", INVALID_VALUE, None),
        ("x", INVALID_VALUE, None),
        ("0001:3b:1e.0 ", INVALID_VALUE, None),
        ("0001:3b:1e.", INVALID_VALUE, None),
        ("1:2:3:4", INVALID_VALUE, None),
        (":3b:1e.0", INVALID_VALUE, None),
        ("100000001:3b:1e.0", INVALID_VALUE, None),
    ],
)
def test_a_device_is_found_by_its_pci_bus_id(text, code, dev, cuda):
    """The three forms of cuda.h, any case; anything else is an invalid value, an empty place an invalid device."""
    found = ffi.new("CUdevice *", 4711)
    assert cuda.cuDeviceGetByPCIBusId(found, text.encode()) == code
    assert found[0] == (4711 if dev is None else dev)


def test_total_memory_leaves_out_what_the_driver_reserves(cuda, vgpu_host):
    """Bytes, without the reserve; the 32-bit form says 4 GiB less 1 where there is more."""
    gpu = vgpu_host.gpu[0]
    assert cuda.total_memory() == (SUCCESS, (gpu.memory_mib - gpu.reserved_mib) << 20)
    assert cuda.number("cuDeviceTotalMem", "unsigned int", 0) == (SUCCESS, 2**32 - 1)


@pytest.mark.vgpu(host={"gpu": [{"memory_mib": 2048, "reserved_mib": 48}]})
def test_the_32_bit_form_is_exact_where_it_can_be(cuda):
    """Less than 4 GiB is told as it is."""
    assert cuda.number("cuDeviceTotalMem", "unsigned int", 0) == (SUCCESS, 2000 << 20)
