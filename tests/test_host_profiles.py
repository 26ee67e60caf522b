"""The device profiles: what the shims answer with each of them, and whether its numbers can be those of one GPU."""

import re
import sys
from importlib.resources import files
from pathlib import Path

import pytest

from vgpu_harness._wire import ffi
from vgpu_harness.host import Gpu, Host
from vgpu_harness.host.pci import config_space
from vgpu_harness.host.profile import attribute_ids, profile, profile_names
from vgpu_harness.host.properties import merged

MIB = 1 << 20
DATA_CENTRE, VGA = 0x030200, 0x030000

# What programs show of these GPUs, and what NVIDIA's data sheets and specifications have: name, compute capability, PCI
# device and class, MiB by nvidia-smi, CUDA cores, GB/s of memory bandwidth, W of board power.
SHOWN = {
    "a100-40gb-pcie": ("NVIDIA A100-PCIE-40GB", "8.0", 0x20F1, DATA_CENTRE, 40960, 6912, 1555, 250),
    "a100-40gb-sxm4": ("NVIDIA A100-SXM4-40GB", "8.0", 0x20B0, DATA_CENTRE, 40960, 6912, 1555, 400),
    "a100-80gb-pcie": ("NVIDIA A100 80GB PCIe", "8.0", 0x20B5, DATA_CENTRE, 81920, 6912, 1935, 300),
    "a100-80gb-sxm4": ("NVIDIA A100-SXM4-80GB", "8.0", 0x20B2, DATA_CENTRE, 81920, 6912, 2039, 400),
    "a30-24gb": ("NVIDIA A30", "8.0", 0x20B7, DATA_CENTRE, 24576, 3584, 933, 165),
    "b200-180gb": ("NVIDIA B200", "10.0", 0x2901, DATA_CENTRE, 183359, 18944, 7700, 1000),
    "h100-80gb-hbm3": ("NVIDIA H100 80GB HBM3", "9.0", 0x2331, DATA_CENTRE, 81559, 16896, 3350, 700),
    "h100-80gb-pcie": ("NVIDIA H100 PCIe", "9.0", 0x2331, DATA_CENTRE, 81559, 14592, 2000, 350),
    "h100-94gb-nvl": ("NVIDIA H100 NVL", "9.0", 0x2321, DATA_CENTRE, 95830, 16896, 3900, 400),
    "h200-141gb": ("NVIDIA H200", "9.0", 0x2335, DATA_CENTRE, 143771, 16896, 4800, 700),
    "l4-24gb": ("NVIDIA L4", "8.9", 0x27B8, DATA_CENTRE, 23034, 7424, 300, 72),
    "l40s-48gb": ("NVIDIA L40S", "8.9", 0x26B9, DATA_CENTRE, 46068, 18176, 864, 350),
    "rtx3090-24gb": ("NVIDIA GeForce RTX 3090", "8.6", 0x2204, VGA, 24576, 10496, 936, 350),
    "rtx4090-24gb": ("NVIDIA GeForce RTX 4090", "8.9", 0x2684, VGA, 24564, 16384, 1008, 450),
    "rtx5090-32gb": ("NVIDIA GeForce RTX 5090", "12.0", 0x2B85, VGA, 32607, 21760, 1792, 575),
    "t4-16gb": ("Tesla T4", "7.5", 0x1EB8, DATA_CENTRE, 15360, 2560, 320, 70),
    "v100-16gb-sxm2": ("Tesla V100-SXM2-16GB", "7.0", 0x1DB1, DATA_CENTRE, 16384, 5120, 900, 300),
}

# CUDA C++ Programming Guide, "Technical Specifications per Compute Capability": resident threads and blocks of a
# multiprocessor, its shared memory and that of a block in KB. All of these have 65536 registers. Then, of "Arithmetic
# Instructions", the 32-bit additions and 64-bit multiplications per cycle of a multiprocessor.
LIMITS = {
    "7.0": (2048, 32, 96, 96, 64, 32),
    "7.5": (1024, 16, 64, 64, 64, 2),
    "8.0": (2048, 32, 164, 163, 64, 32),
    "8.6": (1536, 16, 100, 99, 128, 2),
    "8.9": (1536, 24, 100, 99, 128, 2),
    "9.0": (2048, 32, 228, 227, 128, 64),
    "10.0": (2048, 32, 228, 227, 128, 64),
    "12.0": (1536, 24, 100, 99, 128, 2),
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
    """Name, compute capability, PCI place, memory and every attribute that the driver knows come back from CUDA."""
    kind, (shown, compute, _, _, mib, *_) = profile(name), SHOWN[name]
    assert vgpu_cuda.init() == 0
    assert vgpu_cuda.name() == (0, shown)
    assert vgpu_cuda.total_memory() == (0, (mib - kind.reserved_mib) * MIB)
    assert vgpu_cuda.pci_bus_id() == (0, "0000:00:05.0")
    ids = attribute_ids()
    assert f"{vgpu_cuda.attribute(75)[1]}.{vgpu_cuda.attribute(76)[1]}" == compute
    # cuda.h 13.0 ends at 147: what is newer the default driver does not know.
    known = {key: value for key, value in kind.attributes.items() if ids[key] <= 147}
    assert {key: vgpu_cuda.attribute(ids[key]) for key in known} == {key: (0, value) for key, value in known.items()}


@every_profile
def test_nvml_answers_the_profile(name, vgpu_nvml):
    """Name, PCI identifiers and memory come back from NVML; the reserved memory counts as used."""
    kind, (shown, _, device_id, _, mib, *_) = profile(name), SHOWN[name]
    assert vgpu_nvml.init() == 0
    _, device = vgpu_nvml.device()
    assert vgpu_nvml.name(device) == (0, shown)
    pci, memory = ffi.new("nvmlPciInfo_t *"), ffi.new("nvmlMemory_t *")
    assert (vgpu_nvml.nvmlDeviceGetPciInfo_v3(device, pci), vgpu_nvml.nvmlDeviceGetMemoryInfo(device, memory)) == (0, 0)
    assert pci.pciDeviceId == device_id << 16 | 0x10DE
    assert pci.pciSubSystemId == kind.subsystem_device << 16 | 0x10DE
    assert (memory.total, memory.used) == (mib * MIB, kind.reserved_mib * MIB)


@pytest.mark.parametrize("name", ["h100-80gb-hbm3", "rtx5090-32gb"])
def test_a_program_reads_the_profile(name, vgpu_run):
    """A program that the shims are preloaded into finds identity and class in sysfs."""
    _, _, device_id, class_code, *_ = SHOWN[name]
    code = "import sys; [print(open(f'/sys/bus/pci/devices/0000:00:05.0/{x}').read(), end='') for x in sys.argv[1:]]"
    run = vgpu_run([sys.executable, "-I", "-S", "-c", code, "vendor", "device", "class"])
    assert run.stdout.split() == ["0x10de", f"{device_id:#06x}", f"{class_code:#08x}"], run.explain()


@every_profile
def test_the_config_space_is_the_profiles(name):
    """Identity and class stand in the config space."""
    _, _, device_id, class_code, *_ = SHOWN[name]
    space = config_space(Gpu(profile=name))
    assert int.from_bytes(space[2:4], "little") == device_id
    assert int.from_bytes(space[9:12], "little") == class_code


@every_profile
def test_limits_are_those_of_the_compute_capability(name):
    """What depends on the compute capability alone is what the programming guide has for it."""
    kind = profile(name)
    values = kind.attributes
    threads, blocks, shared, block, single, double = LIMITS[kind.compute]
    assert values["MAX_THREADS_PER_MULTIPROCESSOR"] == threads
    assert values["MAX_BLOCKS_PER_MULTIPROCESSOR"] == blocks
    assert values["MAX_SHARED_MEMORY_PER_MULTIPROCESSOR"] == shared << 10
    assert values["MAX_SHARED_MEMORY_PER_BLOCK_OPTIN"] == block << 10
    assert values["RESERVED_SHARED_MEMORY_PER_BLOCK"] == (shared - block) << 10
    assert values["SINGLE_TO_DOUBLE_PRECISION_PERF_RATIO"] == single // double
    hopper = int(kind.compute.partition(".")[0]) >= 9
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
    *_, cores, gigabytes, watts = SHOWN[name]
    # Two transfers a clock. The data sheets round: 2 TB/s is 2.04 of an H100 PCIe.
    bandwidth = 2 * values["MEMORY_CLOCK_RATE"] * 1000 * values["GLOBAL_MEMORY_BUS_WIDTH"] // 8
    assert bandwidth == pytest.approx(gigabytes * 1e9, rel=0.02)
    assert values["MULTIPROCESSOR_COUNT"] * LIMITS[kind.compute][4] == cores == kind.properties["CORES"]
    assert kind.properties["POWER_LIMIT_DEFAULT"] == watts * 1000
    assert 1_000_000 < values["CLOCK_RATE"] < 3_000_000
    assert values["ASYNC_ENGINE_COUNT"] in (2, 3, 5)
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
def test_what_nvml_tells_fits_the_rest(name):
    """Clocks, limits and thresholds are in order among themselves, and agree with what CUDA tells."""
    kind = profile(name)
    values, nvml = kind.attributes, merged(kind.properties)
    numbers = {key: list(entries.values()) for key, entries in nvml.items()}
    assert numbers["POWER_LIMIT_MIN"] <= numbers["POWER_LIMIT_DEFAULT"] <= numbers["POWER_LIMIT_MAX"]
    assert numbers["POWER_USAGE"] < numbers["POWER_LIMIT_MIN"]
    graphics, multiprocessor, memory, _ = numbers["CLOCK_MAX"]
    assert graphics == multiprocessor >= values["CLOCK_RATE"] // 1000
    assert memory == values["MEMORY_CLOCK_RATE"] // 1000 == numbers["MEMORY_CLOCKS"][0]
    assert all(now <= most for now, most in zip(numbers["CLOCK"], numbers["CLOCK_MAX"], strict=True))
    for clocks in (numbers["MEMORY_CLOCKS"], numbers["GRAPHICS_CLOCKS"]):
        assert clocks == sorted(set(clocks), reverse=True)
    assert numbers["GRAPHICS_CLOCKS"][0] == graphics
    assert numbers["CLOCK"][2] in numbers["MEMORY_CLOCKS"]
    limits = nvml["TEMPERATURE_THRESHOLD"]
    assert numbers["TEMPERATURE"][0] < limits[3] < limits[1] < limits[0]
    assert numbers["PERFORMANCE_STATE"][0] in numbers["PERFORMANCE_STATES"]
    assert ("ECC" in nvml and nvml["ECC"][0] == 1) == bool(values["ECC_ENABLED"])
    assert ("MIG" in nvml) == bool(kind.mig)
    assert ("NVLINKS" in nvml) == ("NVLINK_VERSION" in nvml)
    assert ("FANS" in nvml) == (kind.class_code == VGA)
    assert nvml["PCI_CLASS"] == {0: kind.class_code >> 8}


@every_profile
def test_mig_profiles_fit_the_gpu(name):
    """Instances of each kind fit as often as it says; memory and multiprocessors are those of the GPU at most."""
    kind = profile(name)
    assert bool(kind.mig) == (name.startswith(("a100", "a30", "h", "b"))), "NVIDIA MIG User Guide, Supported GPUs"
    assert len({row.id for row in kind.mig}) == len({row.number for row in kind.mig}) == len(kind.mig)
    slices = max((row.memory_slices for row in kind.mig), default=0)
    for row in kind.mig:
        gpu = Gpu(profile=name, mig=[{"profile": row.name}] * row.instances)
        assert len({device.gpu_instance for device in gpu.mig_devices}) == row.instances
        assert row.instances * row.memory_mib <= kind.memory_mib
        assert row.instances * row.multiprocessors <= kind.attributes["MULTIPROCESSOR_COUNT"]
        # The name rounds a slice's share up, some a little further: 47 of 94, 23 of 180, 6 of 24.
        assert int(re.search(r"\.(\d+)gb", row.name)[1]) == pytest.approx(row.memory_mib / 1000, rel=0.15)
        assert all(start % row.memory_slices == 0 and start < slices for start in row.starts)


@every_profile
def test_every_figure_names_its_source(name):
    """No number of a GPU stands in a profile without a word on where it comes from."""
    text = files("vgpu_harness.host").joinpath("profiles", f"{name}.toml").read_text(encoding="utf-8")
    attributes, _, nvml = text.partition("[attributes]\n")[2].partition("[nvml]\n")
    nvml, _, migs = nvml.partition("[[mig]]\n")
    lines = [line for line in (attributes + nvml).splitlines() if line and not line.startswith("#")]
    assert len(lines) >= 13 + 18
    assert [line for line in lines if not re.fullmatch(r"[A-Z0-9_]+ = .+ +# \S.+", line)] == []
    assert bool(migs) == ("# NVIDIA Multi-Instance GPU User Guide" in nvml)


@every_profile
def test_every_attribute_is_there(name):
    """Each attribute of cuda.h 13.5 has a value: the profile's, or one that follows from the GPU; none has both."""
    from_the_gpu = {
        "PCI_BUS_ID",
        "PCI_DEVICE_ID",
        "PCI_DOMAIN_ID",
        "COMPUTE_CAPABILITY_MAJOR",
        "COMPUTE_CAPABILITY_MINOR",
        "GPU_PCI_DEVICE_ID",
        "GPU_PCI_SUBSYSTEM_ID",
        "LOCALITY_DOMAIN_MULTIPROCESSOR_COUNT",
    }
    ids = attribute_ids()
    assert set(profile(name).attributes) == set(ids) - from_the_gpu


def test_the_page_of_profiles_is_true():
    """docs/profiles.md has each profile with its figures, and no other."""
    text = (Path(__file__).parents[1] / "docs" / "profiles.md").read_text(encoding="utf-8")
    rows = [line for line in text.splitlines() if line.startswith("| `")]
    wanted = []
    for name in profile_names():
        kind = profile(name)
        migs = ", ".join(row.name for row in kind.mig) or "none"
        memory = f"{kind.memory_mib} | {kind.memory_mib - kind.reserved_mib}"
        count = kind.attributes["MULTIPROCESSOR_COUNT"]
        wanted.append(f"| `{name}` | {kind.name} | {kind.compute} | {memory} | {count} | {migs} |")
    assert rows == wanted
