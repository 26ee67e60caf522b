"""Which devices there are, and in which order: CUDA_VISIBLE_DEVICES, CUDA_DEVICE_ORDER, MIG."""

import pytest

from vgpu_harness._wire import ffi, lib

SUCCESS, NO_DEVICE = 0, 100
MULTIPROCESSORS = 16
UUIDS = tuple(f"GPU-{first}0000000-0000-4000-8000-00000000000{n}" for n, first in enumerate("aab"))
PARTS = tuple(f"MIG-{first}0000000-0000-4000-8000-00000000000{n}" for n, first in enumerate("cd"))

three = pytest.mark.vgpu(
    host={"gpu": [{"pci": f"000{n}:{n + 0x3A:02x}:{n + 0x1D:02x}.0", "uuid": UUIDS[n]} for n in range(3)]}
)
# By units times clock the L40S is first, then the H100, then the T4.
mixed = pytest.mark.vgpu(
    host={
        "gpu": [
            {"pci": f"0000:{bus:02x}:00.0", "profile": profile}
            for bus, profile in ((3, "t4-16gb"), (1, "h100-80gb-hbm3"), (2, "l40s-48gb"), (9, "l40s-48gb"))
        ]
    }
)
parted = pytest.mark.vgpu(
    host={
        "gpu": [
            {"pci": "0000:01:00.0", "uuid": UUIDS[2]},
            {
                "pci": "0000:02:00.0",
                "uuid": UUIDS[0],
                "mig": [{"profile": "1g.10gb", "uuid": uuid, "start": n} for n, uuid in enumerate(PARTS)],
            },
        ]
    }
)


@pytest.fixture(autouse=True)
def unset(monkeypatch):
    """Neither variable is set."""
    for name in ("CUDA_VISIBLE_DEVICES", "CUDA_DEVICE_ORDER"):
        monkeypatch.delenv(name, raising=False)


@three
@pytest.mark.parametrize(
    ("value", "devices"),
    [
        ("0", [0]),
        ("2,0", [2, 0]),
        (" 1 , 2", [1, 2]),
        ("+1", [1]),
        ("1x", [1]),
        ("0,3,1", [0]),
        ("0,,1", [0]),
        ("1,-1,2", [1]),
        ("0,0", []),
        ("0,1,0", []),
        ("3", []),
        ("x", []),
        ("-1", []),
        ("", []),
        (",0", []),
        ("4294967296", []),
        (UUIDS[1], [1]),
        (f"{UUIDS[2]},{UUIDS[0]}", [2, 0]),
        ("GPU-b", [2]),
        ("GPU-a", []),
        ("GPU-", []),
        ("GPU-c", []),
        (UUIDS[1] + "0", []),
        ("GPU-b,1", [2, 1]),
        ("GPU-B", []),
        ("MIG-0", []),
        (UUIDS[2] + " ", [2]),
    ],
)
def test_visible_devices(value, devices, vgpu_cuda, vgpu_host, monkeypatch):
    """Indices and UUIDs, cut short as long as they are unambiguous; the list ends at the first that names nothing."""
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", value)
    assert vgpu_cuda.cuInit(0) == (SUCCESS if devices else NO_DEVICE)
    assert vgpu_cuda.device_count()[1] == len(devices)
    assert [vgpu_cuda.uuid(n)[1] for n in range(len(devices))] == [vgpu_host.gpu[n].uuid for n in devices]
    assert [vgpu_cuda.pci_bus_id(n)[1] for n in range(len(devices))] == [vgpu_host.gpu[n].pci for n in devices]


@three
def test_visible_devices_are_read_once(vgpu_cuda, monkeypatch):
    """What the variable says after cuInit means nothing."""
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "2")
    vgpu_cuda.cuInit(0)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0,1")
    vgpu_cuda.cuInit(0)
    assert vgpu_cuda.device_count() == (SUCCESS, 1)
    assert vgpu_cuda.uuid(0) == (SUCCESS, UUIDS[2])


def places(cuda) -> list[str]:
    """The PCI addresses of all devices."""
    return [cuda.pci_bus_id(n)[1] for n in range(cuda.device_count()[1])]


def part(cuda, device: int = 0) -> str:
    """cuDeviceGetUuid_v2, written as NVIDIA writes a MIG device's."""
    out = ffi.new("CUuuid *")
    assert cuda.cuDeviceGetUuid_v2(out, device) == SUCCESS
    digits = bytes(ffi.buffer(out)).hex()
    return "MIG-" + "-".join((digits[:8], digits[8:12], digits[12:16], digits[16:20], digits[20:]))


@mixed
@pytest.mark.parametrize(
    ("order", "buses"),
    [
        (None, [2, 9, 1, 3]),
        ("FASTEST_FIRST", [2, 9, 1, 3]),
        ("pci_bus_id", [2, 9, 1, 3]),
        ("", [2, 9, 1, 3]),
        ("PCI_BUS_ID", [1, 2, 3, 9]),
    ],
)
def test_the_order_of_devices(order, buses, vgpu_cuda, monkeypatch):
    """The fastest first unless PCI_BUS_ID is asked for; of equal ones the lower address."""
    if order is not None:
        monkeypatch.setenv("CUDA_DEVICE_ORDER", order)
    vgpu_cuda.cuInit(0)
    assert places(vgpu_cuda) == [f"0000:{bus:02x}:00.0" for bus in buses]


@mixed
@pytest.mark.parametrize(("order", "buses"), [("FASTEST_FIRST", [1, 2]), ("PCI_BUS_ID", [3, 1])])
def test_indices_count_in_the_order(order, buses, vgpu_cuda, monkeypatch):
    """An index of CUDA_VISIBLE_DEVICES is one into the order that is asked for."""
    monkeypatch.setenv("CUDA_DEVICE_ORDER", order)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "2,0")
    vgpu_cuda.cuInit(0)
    assert places(vgpu_cuda) == [f"0000:{bus:02x}:00.0" for bus in buses]


@parted
@pytest.mark.parametrize(
    ("value", "device"),
    [
        (None, PARTS[0]),
        ("1", PARTS[0]),
        ("0", UUIDS[2]),
        ("0,1", PARTS[0]),
        ("GPU-a", PARTS[0]),
        (PARTS[1], PARTS[1]),
        ("MIG-d", PARTS[1]),
        (f"{PARTS[1]},{PARTS[0]}", PARTS[1]),
        (f"{UUIDS[2]},{PARTS[1]}", PARTS[1]),
        ("0,MIG-e", UUIDS[2]),
        (f"MIG-{UUIDS[0]}/1/0", None),
        ("MIG-e", None),
        ("MIG-", None),
        ("GPU-c", None),
        (f"{PARTS[1]},{PARTS[1]}", None),
        (f"MIG-{UUIDS[0]}", None),
        (f"MIG-{UUIDS[0]}/", None),
        (f"MIG-{UUIDS[0]}/99/0", None),
        (f"MIG-{UUIDS[2]}/7/0", None),
    ],
)
def test_mig_devices(value, device, vgpu_cuda, monkeypatch):
    """One MIG device alone, the first unless another is named; a GPU whose MIG is off only where none is named."""
    if value is not None:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", value)
    assert vgpu_cuda.cuInit(0) == (NO_DEVICE if device is None else SUCCESS)
    assert vgpu_cuda.device_count()[1] == (device is not None)
    if device is not None:
        assert part(vgpu_cuda)[4:] == device[4:]


@parted
def test_a_mig_device_is_known_by_its_instances(vgpu_cuda, monkeypatch):
    """The form of drivers before 470 names a MIG device by the numbers of its two instances."""
    image = vgpu_cuda.process.image
    second = lib.vgpu_image_migs(image, lib.vgpu_image_gpu(image, 1))[1]
    numbers = f"{second.gpu_instance}/{second.compute_instance}"
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", f"MIG-{UUIDS[0]}/{numbers}")
    assert (vgpu_cuda.cuInit(0), part(vgpu_cuda)) == (SUCCESS, PARTS[1])


@parted
def test_what_a_mig_device_says_of_itself(vgpu_cuda):
    """Name, memory and multiprocessors are the part's; the address, and the first form's UUID, are the GPU's."""
    vgpu_cuda.cuInit(0)
    name, total = vgpu_cuda.name()[1], vgpu_cuda.total_memory()[1]
    assert name == "NVIDIA H100 80GB HBM3 MIG 1g.10gb"
    assert 9 << 30 < total < 11 << 30
    assert 10 <= vgpu_cuda.attribute(MULTIPROCESSORS)[1] <= 20
    assert (vgpu_cuda.pci_bus_id()[1], vgpu_cuda.uuid()[1]) == ("0000:02:00.0", UUIDS[0])
    vgpu_cuda.cuCtxCreate_v2(ffi.new("CUcontext *"), 0, 0)
    free = ffi.new("size_t[2]")
    assert (vgpu_cuda.cuMemGetInfo_v2(free, free + 1), free[1]) == (SUCCESS, total)


@pytest.mark.vgpu(host={"gpu": [{"nvml": {"MIG": 1}}]})
def test_mig_without_instances_is_no_device(vgpu_cuda):
    """A GPU whose MIG is on, and which has no MIG devices, cannot be used."""
    assert vgpu_cuda.cuInit(0) == NO_DEVICE
