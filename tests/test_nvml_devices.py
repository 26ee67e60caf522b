"""NVML's answers: handles, texts and their buffers, PCI layouts, memory, versions, faults."""

import pytest

from vgpu_harness._wire import ffi
from vgpu_harness.shims.inprocess import Nvml
from vgpu_harness.trace import Kind, Trace, create_trace

SUCCESS, INVALID_ARGUMENT, NOT_SUPPORTED, NOT_FOUND, INSUFFICIENT_SIZE, VERSION_MISMATCH = 0, 2, 3, 6, 7, 25
MIB = 1 << 20
CUDA_UUID = "GPU-8f3a1c52-7e90-4b6d-a1f2-3c4d5e6f7a8b"
NVML_UUID = "GPU-8f3a1c52-7e90-4b6d-a1f2-3c4d5e6f7a8c"

pair = pytest.mark.vgpu(
    host={
        "gpu": [
            {"pci": "0000:00:05.0", "serial": "1650000000001"},
            {
                "pci": "00ab:3c:1e.0",
                "serial": "1650000000002",
                "uuid": CUDA_UUID,
                "nvml_uuid": NVML_UUID,
                "minor": 6,
                "memory_mib": 1024,
                "reserved_mib": 24,
                "used_mib": 100,
                "profile": "a100-80gb-sxm4",
            },
        ]
    }
)


@pytest.fixture
def nvml(vgpu_nvml):
    """NVML after nvmlInit_v2."""
    assert vgpu_nvml.nvmlInit_v2() == SUCCESS
    return vgpu_nvml


def handle(nvml, function: str, key) -> tuple[int, int | None]:
    """A handle getter: (code, index of the device); None where nothing was written."""
    mark = ffi.cast("nvmlDevice_t", 0x5A5A)
    out, index = ffi.new("nvmlDevice_t *", mark), ffi.new("unsigned int *")
    code = getattr(nvml, function)(key, out)
    if out[0] == mark:
        return code, None
    assert nvml.nvmlDeviceGetIndex(out[0], index) == SUCCESS
    return code, int(index[0])


@pair
@pytest.mark.parametrize("function", ["nvmlDeviceGetHandleByIndex", "nvmlDeviceGetHandleByIndex_v2"])
def test_by_index(function, nvml, monkeypatch):
    """All devices count, whatever CUDA_VISIBLE_DEVICES says; one too high is an invalid argument."""
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "1")
    assert [handle(nvml, function, n) for n in (0, 1, 2, 2**32 - 1)] == [
        (0, 0),
        (0, 1),
        (INVALID_ARGUMENT, None),
        (INVALID_ARGUMENT, None),
    ]
    assert [nvml.device_count(), nvml.number("nvmlDeviceGetCount", "unsigned int")] == [(SUCCESS, 2)] * 2


@pair
@pytest.mark.parametrize(
    ("key", "answer"),
    [
        (NVML_UUID, (SUCCESS, 1)),
        (CUDA_UUID, (NOT_FOUND, None)),
        (NVML_UUID[:-1], (NOT_FOUND, None)),
        ("", (NOT_FOUND, None)),
        (NVML_UUID.upper(), (NOT_FOUND, None)),
        (NVML_UUID + "0", (NOT_FOUND, None)),
    ],
)
def test_by_uuid(key, answer, nvml):
    """NVML's own UUID and that alone, whole: a host may have it unlike CUDA's."""
    assert handle(nvml, "nvmlDeviceGetHandleByUUID", key.encode()) == answer


@pair
@pytest.mark.parametrize("function", ["nvmlDeviceGetHandleByPciBusId", "nvmlDeviceGetHandleByPciBusId_v2"])
@pytest.mark.parametrize(
    ("key", "answer"),
    [
        ("00AB:3C:1E.0", (SUCCESS, 1)),
        ("000000ab:3c:1e.0", (SUCCESS, 1)),
        ("0000:00:05.0", (SUCCESS, 0)),
        ("00:05.0", (SUCCESS, 0)),
        ("0000:3c:1e.0", (NOT_FOUND, None)),
        ("00ab:3c:1e.1", (NOT_FOUND, None)),
        ("nonsense", (INVALID_ARGUMENT, None)),
        ("", (INVALID_ARGUMENT, None)),
    ],
)
def test_by_pci_bus_id(key, answer, function, nvml):
    """Both widths of domain, any case; an empty place is not found, nonsense an invalid argument."""
    assert handle(nvml, function, key.encode()) == answer


@pair
def test_by_serial(nvml):
    """The number on the board."""
    keys = (b"1650000000002", b"1650000000003", b"")
    assert [handle(nvml, "nvmlDeviceGetHandleBySerial", key) for key in keys] == [
        (SUCCESS, 1),
        (NOT_FOUND, None),
        (NOT_FOUND, None),
    ]


@pair
@pytest.mark.parametrize("n", [0, 1])
def test_texts_and_their_buffers(n, nvml, vgpu_host):
    """Name, UUID and serial fit exactly or not at all; a buffer that is too small is left alone."""
    gpu, device = vgpu_host.gpu[n], nvml.device(n)[1]
    texts = {"nvmlDeviceGetName": gpu.name, "nvmlDeviceGetUUID": gpu.nvml_uuid, "nvmlDeviceGetSerial": gpu.serial}
    for function, text in texts.items():
        assert nvml.text(function, len(text) + 1, before=(device,)) == (SUCCESS, text)
        assert nvml.text(function, len(text), before=(device,)) == (INSUFFICIENT_SIZE, "")
        assert getattr(nvml, function)(device, ffi.NULL, 96) == INVALID_ARGUMENT


def test_versions_and_their_buffers(nvml, vgpu_host):
    """Driver and NVML version as the host has them; CUDA's as a number."""
    for function, text in (("nvmlSystemGetDriverVersion", "580.95.05"), ("nvmlSystemGetNVMLVersion", "13.580.95.05")):
        assert nvml.text(function, len(text) + 1) == (SUCCESS, text)
        assert nvml.text(function, len(text)) == (INSUFFICIENT_SIZE, "")
        assert getattr(nvml, function)(ffi.NULL, 80) == INVALID_ARGUMENT
    for function in ("nvmlSystemGetCudaDriverVersion", "nvmlSystemGetCudaDriverVersion_v2"):
        assert nvml.number(function, "int") == (SUCCESS, 13000)


@pair
def test_numbers_of_a_device(nvml):
    """Minor number, compute capability and architecture."""
    for n, (minor, compute, architecture) in enumerate([(0, (9, 0), 9), (6, (8, 0), 7)]):
        device, pair_of = nvml.device(n)[1], ffi.new("int[2]")
        assert nvml.number("nvmlDeviceGetMinorNumber", "unsigned int", before=(device,)) == (SUCCESS, minor)
        assert nvml.nvmlDeviceGetCudaComputeCapability(device, pair_of, pair_of + 1) == SUCCESS
        assert tuple(pair_of) == compute
        assert nvml.number("nvmlDeviceGetArchitecture", "unsigned int", before=(device,)) == (SUCCESS, architecture)


@pair
@pytest.mark.parametrize(
    ("function", "kind", "size"),
    [
        ("nvmlDeviceGetPciInfo", "nvmlPciInfo_v1_t", 32),
        ("nvmlDeviceGetPciInfo_v2", "nvmlPciInfo_v2_t", 52),
        ("nvmlDeviceGetPciInfo_v3", "nvmlPciInfo_t", 68),
    ],
)
def test_pci_layouts(function, kind, size, nvml):
    """Each version writes its own layout and no byte more; v3 adds the bus id with eight digits of domain."""
    room = ffi.new("char[]", b"\x5a" * 128)
    pci = ffi.cast(f"{kind} *", room)
    assert getattr(nvml, function)(nvml.device(1)[1], pci) == SUCCESS
    legacy = pci.busIdLegacy if kind == "nvmlPciInfo_t" else pci.busId
    assert ffi.string(legacy) == b"00AB:3C:1E.0"
    assert (pci.domain, pci.bus, pci.device, pci.pciDeviceId) == (0xAB, 0x3C, 0x1E, 0x20B2_10DE)
    if kind == "nvmlPciInfo_t":
        assert ffi.string(pci.busId) == b"000000AB:3C:1E.0"
    if kind != "nvmlPciInfo_v1_t":
        assert pci.pciSubSystemId & 0xFFFF == 0x10DE
    if kind == "nvmlPciInfo_v2_t":
        assert list(pci.reserved) == [0] * 4
    assert (ffi.sizeof(kind), bytes(ffi.buffer(room, 128))[size:]) == (size, b"\x5a" * (128 - size))


@pair
def test_memory(nvml):
    """The first form counts the driver's reserve as used, the second shows it apart."""
    device, first = nvml.device(1)[1], ffi.new("nvmlMemory_t *")
    assert nvml.nvmlDeviceGetMemoryInfo(device, first) == SUCCESS
    assert (first.total, first.free, first.used) == (1024 * MIB, 900 * MIB, 124 * MIB)
    second = ffi.new("nvmlMemory_v2_t *", {"version": 40 | 2 << 24})
    assert nvml.nvmlDeviceGetMemoryInfo_v2(device, second) == SUCCESS
    assert (second.total, second.reserved, second.free, second.used) == (1024 * MIB, 24 * MIB, 900 * MIB, 100 * MIB)
    assert second.version == 40 | 2 << 24


@pytest.mark.parametrize("version", [0, 2, 40, 2 << 24, 40 | 1 << 24, 40 | 3 << 24, 24 | 2 << 24])
def test_a_wrong_version_of_a_struct_is_refused(version, nvml):
    """Size and version must both be right; nothing is written."""
    memory = ffi.new("nvmlMemory_v2_t *", {"version": version, "total": 4711})
    assert (nvml.nvmlDeviceGetMemoryInfo_v2(nvml.device(0)[1], memory), memory.total) == (VERSION_MISMATCH, 4711)


def test_a_board_without_a_serial(vgpu_image, vgpu_host, tmp_path):
    """The question is not supported, and an empty number finds nothing."""
    serial = vgpu_host.gpu[0].serial.encode()
    image = tmp_path / "no-serial.image"
    image.write_bytes(vgpu_image.read_bytes().replace(serial + b"\0", bytes(len(serial) + 1)))
    with Nvml(image) as nvml:
        nvml.nvmlInit_v2()
        assert nvml.text("nvmlDeviceGetSerial", 30, before=(nvml.device(0)[1],)) == (NOT_SUPPORTED, "")
        assert handle(nvml, "nvmlDeviceGetHandleBySerial", b"") == (NOT_FOUND, None)


@pytest.mark.vgpu(
    host={
        "faults": [{"function": "nvmlDeviceGetMemoryInfo", "value": 5}, {"function": "nvmlInitWithFlags", "result": 18}]
    }
)
def test_faults(nvml, vgpu_image, tmp_path):
    """A result as it stands and uncounted; a value in the struct's first number, total."""
    assert nvml.nvmlInitWithFlags(0) == 18
    memory = ffi.new("nvmlMemory_t *")
    assert (nvml.nvmlDeviceGetMemoryInfo(nvml.device(0)[1], memory), memory.total) == (SUCCESS, 5)
    assert memory.free > 5
    assert [nvml.nvmlShutdown(), nvml.nvmlShutdown()] == [SUCCESS, 1]


@pytest.mark.vgpu(
    host={"gpu": [{"uuid": CUDA_UUID, "nvml_uuid": NVML_UUID, "memory_mib": 1024, "reserved_mib": 24, "used_mib": 100}]}
)
def test_what_the_record_of_each_call_shows(vgpu_image, tmp_path, vgpu_host):
    """Outputs, and a text that names the device; of a search that fails, what was asked for."""
    path = create_trace(tmp_path / "trace", 1 << 20)
    pci, out = vgpu_host.gpu[0].pci, ffi.new("nvmlDevice_t *")
    with Nvml(vgpu_image, trace=path) as nvml:
        nvml.nvmlInit_v2()
        device = nvml.device(0)[1]
        calls = [
            ("nvmlDeviceGetCount_v2", (ffi.new("unsigned int *"),), 0, (1,), ""),
            ("nvmlDeviceGetHandleByIndex_v2", (0, out), 0, (), pci),
            ("nvmlDeviceGetHandleByUUID", (NVML_UUID.encode(), out), 0, (), pci),
            ("nvmlDeviceGetHandleByUUID", (CUDA_UUID.encode(), out), NOT_FOUND, (), CUDA_UUID),
            ("nvmlDeviceGetUUID", (device, ffi.new("char[96]"), 96), 0, (), NVML_UUID),
            ("nvmlDeviceGetName", (device, ffi.new("char[96]"), 96), 0, (), vgpu_host.gpu[0].name),
            ("nvmlDeviceGetMemoryInfo", (device, ffi.new("nvmlMemory_t *")), 0, (900 * MIB, 1024 * MIB), pci),
            ("nvmlSystemGetDriverVersion", (ffi.new("char[80]"), 80), 0, (), "580.95.05"),
            ("nvmlDeviceGetPciInfo_v3", (device, ffi.new("nvmlPciInfo_t *")), 0, (0, 0), pci),
            ("nvmlShutdown", (), 0, (), ""),
        ]
        for function, arguments, *_ in calls:
            getattr(nvml, function)(*arguments)
    records = [record for record in Trace.open(path) if record.kind == Kind.CALL][2:]
    assert [(r.name, r.result, r.outputs, r.text) for r in records] == [
        (name, code, outs, text) for name, _, code, outs, text in calls
    ]
