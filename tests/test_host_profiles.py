"""The device profiles: what the shims answer with each of them, and whether its numbers can be those of one GPU."""

import re
import sys
from importlib.resources import files

import pytest

from vgpu_harness._wire import ffi
from vgpu_harness.host import Gpu, Host
from vgpu_harness.host.pci import config_space
from vgpu_harness.host.profile import attribute_ids, profile, profile_names

MIB = 1 << 20
DATA_CENTRE, VGA = 0x030200, 0x030000

# What programs show of these GPUs: name, compute capability, PCI device and class, MiB by nvidia-smi.
SHOWN = {
    "a100-80gb-sxm4": ("NVIDIA A100-SXM4-80GB", "8.0", 0x20B2, DATA_CENTRE, 81920),
    "h100-80gb-hbm3": ("NVIDIA H100 80GB HBM3", "9.0", 0x2331, DATA_CENTRE, 81559),
    "h100-80gb-pcie": ("NVIDIA H100 PCIe", "9.0", 0x2331, DATA_CENTRE, 81559),
    "l40s-48gb": ("NVIDIA L40S", "8.9", 0x26B9, DATA_CENTRE, 46068),
    "rtx4090-24gb": ("NVIDIA GeForce RTX 4090", "8.9", 0x2684, VGA, 24564),
    "t4-16gb": ("Tesla T4", "7.5", 0x1EB8, DATA_CENTRE, 15360),
}

# CUDA C++ Programming Guide, "Technical Specifications per Compute Capability": resident threads and blocks of a
# multiprocessor, its shared memory and that of a block in KB. All of these have 65536 registers.
LIMITS = {
    "7.5": (1024, 16, 64, 64),
    "8.0": (2048, 32, 164, 163),
    "8.9": (1536, 24, 100, 99),
    "9.0": (2048, 32, 228, 227),
}

every_profile = pytest.mark.parametrize("name", sorted(SHOWN))


@pytest.fixture
def vgpu_host(name):
    """One GPU of the profile that the test is about."""
    return Host(gpu=(Gpu(profile=name),))


def test_the_profiles_are_those_that_ship():
    """No profile is without a line in the tables of this module."""
    assert profile_names() == tuple(sorted(SHOWN))
    assert {profile(name).compute for name in SHOWN} == set(LIMITS)


@every_profile
def test_cuda_answers_the_profile(name, vgpu_cuda):
    """Name, compute capability, PCI place, memory and every attribute of the profile come back from the driver API."""
    kind, (shown, compute, _, _, mib) = profile(name), SHOWN[name]
    assert vgpu_cuda.init() == 0
    assert vgpu_cuda.name() == (0, shown)
    assert vgpu_cuda.total_memory() == (0, (mib - kind.reserved_mib) * MIB)
    assert vgpu_cuda.pci_bus_id() == (0, "0000:00:05.0")
    ids = attribute_ids()
    assert f"{vgpu_cuda.attribute(75)[1]}.{vgpu_cuda.attribute(76)[1]}" == compute
    assert {key: vgpu_cuda.attribute(ids[key]) for key in kind.attributes} == {
        key: (0, value) for key, value in kind.attributes.items()
    }


@every_profile
def test_nvml_answers_the_profile(name, vgpu_nvml):
    """Name, PCI identifiers and memory come back from NVML; the reserved memory counts as used."""
    kind, (shown, _, device_id, _, mib) = profile(name), SHOWN[name]
    assert vgpu_nvml.init() == 0
    _, device = vgpu_nvml.device()
    assert vgpu_nvml.name(device) == (0, shown)
    pci, memory = ffi.new("nvmlPciInfo_t *"), ffi.new("nvmlMemory_t *")
    assert (vgpu_nvml.nvmlDeviceGetPciInfo_v3(device, pci), vgpu_nvml.nvmlDeviceGetMemoryInfo(device, memory)) == (0, 0)
    assert pci.pciDeviceId == device_id << 16 | 0x10DE
    assert pci.pciSubSystemId == kind.subsystem_device << 16 | 0x10DE
    assert (memory.total, memory.used) == (mib * MIB, kind.reserved_mib * MIB)


@every_profile
def test_a_program_reads_the_profile(name, vgpu_run):
    """A program that the shims are preloaded into finds identity and class in sysfs; the config space agrees."""
    _, _, device_id, class_code, _ = SHOWN[name]
    code = "import sys; [print(open(f'/sys/bus/pci/devices/0000:00:05.0/{x}').read(), end='') for x in sys.argv[1:]]"
    run = vgpu_run([sys.executable, "-I", "-S", "-c", code, "vendor", "device", "class"])
    assert run.stdout.split() == ["0x10de", f"{device_id:#06x}", f"{class_code:#08x}"], run.explain()
    space = config_space(Gpu(profile=name))
    assert int.from_bytes(space[2:4], "little") == device_id
    assert int.from_bytes(space[9:12], "little") == class_code


@every_profile
def test_limits_are_those_of_the_compute_capability(name):
    """What depends on the compute capability alone is what the programming guide has for it."""
    kind = profile(name)
    values = kind.attributes
    threads, blocks, shared, block = LIMITS[kind.compute]
    assert values["MAX_THREADS_PER_MULTIPROCESSOR"] == threads
    assert values["MAX_BLOCKS_PER_MULTIPROCESSOR"] == blocks
    assert values["MAX_SHARED_MEMORY_PER_MULTIPROCESSOR"] == shared << 10
    assert values["MAX_SHARED_MEMORY_PER_BLOCK_OPTIN"] == block << 10
    assert values["RESERVED_SHARED_MEMORY_PER_BLOCK"] == (shared - block) << 10
    hopper = kind.compute == "9.0"
    assert (values["CLUSTER_LAUNCH"], values["TENSOR_MAP_ACCESS_SUPPORTED"]) == (hopper, hopper)
    assert values["MEM_SYNC_DOMAIN_COUNT"] == (4 if hopper else 1)


@every_profile
def test_numbers_fit_one_another(name):
    """Memory, caches, clocks and regions stand in a relation that a GPU can have."""
    kind = profile(name)
    values = kind.attributes
    assert 0 < kind.reserved_mib < kind.memory_mib // 20
    assert 0 <= values["MAX_PERSISTING_L2_CACHE_SIZE"] < values["L2_CACHE_SIZE"] < kind.memory_mib * MIB
    assert values["GLOBAL_MEMORY_BUS_WIDTH"] % 64 == 0
    # Two transfers a clock: from 320 GB/s of a T4 to 3.4 TB/s of an H100 SXM5 by NVIDIA's data sheets.
    bandwidth = 2 * values["MEMORY_CLOCK_RATE"] * 1000 * values["GLOBAL_MEMORY_BUS_WIDTH"] // 8
    assert 300e9 < bandwidth < 3.5e12
    assert 1_000_000 < values["CLOCK_RATE"] < 3_000_000
    assert values["ASYNC_ENGINE_COUNT"] in (2, 3)
    assert values["ECC_ENABLED"] == (kind.class_code == DATA_CENTRE)
    assert re.fullmatch(r"([0-9A-F]{2}\.){4}[0-9A-F]{2}", kind.video_bios)
    assert 1 <= kind.link_generation <= 5
    taken = [index for bar in kind.bars for index in range(bar.index, bar.index + 1 + bar.wide)]
    assert len(taken) == len(set(taken)), "a 64-bit region takes the next register too"
    assert max(taken) < 6
    assert all(bar.mib & (bar.mib - 1) == 0 for bar in kind.bars)
    assert all(bar.wide for bar in kind.bars if bar.mib >= 4096)
    first, largest = min(kind.bars, key=lambda bar: bar.index), max(kind.bars, key=lambda bar: bar.mib)
    assert (first.index, first.mib) == (0, 16)
    assert largest.mib >= kind.memory_mib or largest.mib == 256, "all of the memory, or the window of old boards"


@every_profile
def test_every_attribute_names_its_source(name):
    """No number of a GPU stands in a profile without a word on where it comes from."""
    text = files("vgpu_harness.host").joinpath("profiles", f"{name}.toml").read_text(encoding="utf-8")
    lines = text.partition("[attributes]\n")[2].splitlines()
    assert len(lines) >= 13
    assert [line for line in lines if not re.fullmatch(r"[A-Z0-9_]+ = \d+ +# \S.+", line)] == []
