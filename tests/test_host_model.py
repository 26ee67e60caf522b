"""The models of a host, made from keyword arguments."""

import pickle

import pytest

from vgpu_harness.errors import HostError
from vgpu_harness.host import Delivery, Driver, Gate, Gpu, Host
from vgpu_harness.host.faults import FunctionFault, ImageFault, SonameFault, SymbolFault, known_functions
from vgpu_harness.host.profile import profile_names


def message(make):
    """The words of the HostError that `make` ends in."""
    with pytest.raises(HostError) as caught:
        make()
    return str(caught.value)


class TestDefaults:
    def test_the_default_host_is_one_h100(self):
        """An empty host is one H100 80GB HBM3 at 0000:00:05.0 with compute capability 9.0."""
        (gpu,) = Host().gpu
        assert (gpu.name, gpu.pci, gpu.compute) == ("NVIDIA H100 80GB HBM3", "0000:00:05.0", "9.0")
        assert (gpu.model.vendor, gpu.model.device, gpu.model.class_code) == (0x10DE, 0x2331, 0x030200)
        assert (gpu.memory_mib, gpu.reserved_mib, gpu.used_mib, gpu.minor) == (81559, 480, 0, 0)

    def test_eight_default_gpus_differ(self):
        """Eight GPUs of which nothing is said have eight addresses, UUIDs, serial and minor numbers."""
        host = Host(gpu=[Gpu() for _ in range(8)])
        assert [gpu.pci for gpu in host.gpu] == [f"0000:00:{5 + i:02x}.0" for i in range(8)]
        assert [gpu.minor for gpu in host.gpu] == list(range(8))
        assert len({gpu.uuid for gpu in host.gpu}) == len({gpu.serial for gpu in host.gpu}) == 8
        assert all(gpu.nvml_uuid == gpu.uuid for gpu in host.gpu)

    def test_uuid_follows_from_the_address(self):
        """The derived UUID is a function of the PCI address alone."""
        assert Gpu(pci="0000:00:06.0").uuid == Host(gpu=[Gpu(), Gpu()]).gpu[1].uuid
        assert Gpu(pci="0000:00:06.0").uuid != Gpu(pci="0000:00:07.0").uuid

    def test_given_values_stay(self):
        """A position fills in only what the host does not name."""
        host = Host(gpu=[Gpu(), Gpu(pci="0001:3b:00.0", minor=7)])
        assert (host.gpu[1].pci, host.gpu[1].minor) == ("0001:3b:00.0", 7)

    def test_gpus_of_a_host_make_the_same_host_again(self):
        """A host made from another host's GPUs is equal to it."""
        host = Host(gpu=[Gpu(), Gpu(profile="a100-80gb-sxm4")])
        assert Host(gpu=host.gpu) == host

    def test_a_gpu_takes_its_sizes_from_its_profile(self):
        """Name, compute capability and memory are the profile's where the GPU names none."""
        gpu = Gpu(profile="a100-80gb-sxm4", memory_mib=40960)
        assert (gpu.name, gpu.compute, gpu.memory_mib) == ("NVIDIA A100-SXM4-80GB", "8.0", 40960)

    @pytest.mark.parametrize(
        ("version", "cuda", "nvml"),
        [
            ("570.86.10", "12.8", "12.570.86.10"),
            ("575.51.03", "12.9", "12.575.51.03"),
            ("580.95.05", "13.0", "13.580.95.05"),
            ("585.10", "13.0", "13.585.10"),
            ("590.44.01", "13.1", "13.590.44.01"),
        ],
    )
    def test_cuda_and_nvml_follow_from_the_driver(self, version, cuda, nvml):
        """A driver branch brings its CUDA version; NVML's version is made of both."""
        driver = Driver(version=version)
        assert (driver.cuda, driver.nvml) == (cuda, nvml)
        assert Driver(version=version, cuda="12.4").nvml == f"12.{version}"

    def test_cuda_number(self):
        """The number of cuDriverGetVersion is 1000 * major + 10 * minor."""
        assert (Driver(cuda="12.8").cuda_number, Driver(cuda="13.0").cuda_number) == (12080, 13000)

    def test_spellings_of_an_address_are_one(self):
        """A PCI address without its function, or in capitals, is the same address."""
        assert Gpu(pci="0001:3B:1F").pci == "0001:3b:1f.0"
        assert Gpu(pci="0001:3b:1f.0").pci_numbers == (1, 0x3B, 0x1F)


WRONG = [
    (lambda: Gpu(memroy_mib=80), "Gpu: memroy_mib: unknown key, got 80; did you mean 'memory_mib'?"),
    (
        lambda: Gpu(pci="00:05"),
        (
            "Gpu: pci: is not a PCI address, got '00:05'; "
            "write domain:bus:device.function in hexadecimal, as in '0000:00:05.0'"
        ),
    ),
    (
        lambda: Gpu(pci="0000:00:05.1"),
        "Gpu: pci: is not a GPU's PCI address: a GPU is function 0, got '0000:00:05.1'; write '0000:00:05.0'",
    ),
    (
        lambda: Gpu(uuid="GPU-12"),
        "Gpu: uuid: is not a GPU's UUID, got 'GPU-12'; write GPU- and 8-4-4-4-12 hexadecimal digits",
    ),
    (lambda: Gpu(compute="9"), "Gpu: compute: is not two numbers, got '9'; write major.minor, as in '9.0'"),
    (lambda: Gpu(compute=9.0), "Gpu: compute: must be a string, got 9.0; write it in quotes"),
    (lambda: Gpu(memory_mib="80"), "Gpu: memory_mib: must be an integer, got '80'; write it without quotes"),
    (lambda: Gpu(memory_mib=0), "Gpu: memory_mib: too small, got 0; write 1 or more"),
    (lambda: Gpu(minor=248), "Gpu: minor: too large, got 248; write 247 or less"),
    (
        lambda: Gpu(memory_mib=1000, reserved_mib=480, used_mib=600),
        (
            "Gpu: used_mib 600 + reserved_mib 480 exceed memory_mib 1000; "
            "lower used_mib or reserved_mib, or raise memory_mib"
        ),
    ),
    (lambda: Gpu(name="é" * 48), f"Gpu: name: is 96 bytes long, got '{'é' * 48}'; write 95 bytes or fewer"),
    (
        lambda: Gpu(name="a\nb"),
        r"Gpu: name: is empty or has a control character, got 'a\nb'; write printable text",
    ),
    (
        lambda: Gpu(profile="h100"),
        (f"Gpu: profile: unknown profile, got 'h100'; known are {', '.join(profile_names())}"),
    ),
    (
        lambda: Gpu(profile="h100-80gb-hbm"),
        (
            "Gpu: profile: unknown profile, got 'h100-80gb-hbm'; did you mean 'h100-80gb-hbm3'? "
            f"(known are {', '.join(profile_names())})"
        ),
    ),
    (
        lambda: Driver(version="580"),
        "Driver: version: is not a driver version, got '580'; write it as in '580.95.05'",
    ),
    (
        lambda: Driver(version="390.48"),
        "Driver: version: is a driver before CUDA 12, got '390.48'; write 525.60.13 or a newer one",
    ),
    (lambda: Host(gpu=[]), "Host: gpu: 0 GPUs; write 1 to 8 of them; leave [[gpu]] out for the default one"),
    (
        lambda: Host(gpu=[Gpu() for _ in range(9)]),
        "Host: gpu: 9 GPUs; write 1 to 8 of them; leave [[gpu]] out for the default one",
    ),
    (
        lambda: Delivery(links=["../lib"]),
        (
            "Delivery: links[0]: does not stay inside the run's directory, got '../lib'; "
            "write a relative directory without '..', as in 'lib/ollama'"
        ),
    ),
    (
        lambda: Delivery(copies=["/usr/lib"]),
        (
            "Delivery: copies[0]: does not stay inside the run's directory, got '/usr/lib'; "
            "write a relative directory without '..', as in 'lib/ollama'"
        ),
    ),
    (
        lambda: Delivery(preload=["/opt/my shims/libcuda.so"]),
        (
            "Delivery: preload[0]: has a space or colon, at which ld.so splits LD_PRELOAD, "
            "got '/opt/my shims/libcuda.so'; copy the file to a path without them"
        ),
    ),
    (
        lambda: Delivery(preload=["/opt/a:b.so"]),
        (
            "Delivery: preload[0]: has a space or colon, at which ld.so splits LD_PRELOAD, got '/opt/a:b.so'; "
            "copy the file to a path without them"
        ),
    ),
    (
        lambda: Delivery(preload=["cudda"]),
        (
            "Delivery: preload[0]: is not the short name of a shim, got 'cudda'; did you mean 'cuda'?; "
            "or write an absolute path"
        ),
    ),
    (
        lambda: Delivery(library_path=["lib"]),
        (
            "Delivery: library_path[0]: cannot be part of LD_LIBRARY_PATH, got 'lib'; "
            "write an absolute directory without ':' and ';'"
        ),
    ),
    (
        lambda: Delivery(child_environment="empty"),
        "Delivery: child_environment: unknown value, got 'empty'; known are inherit, rebuilt",
    ),
    (
        lambda: Gate(before_gate=["opne"]),
        "Gate: before_gate[0]: unknown value, got 'opne'; did you mean 'open'?",
    ),
    (
        lambda: Gate(deny=["bin/lspci"]),
        (
            "Gate: deny[0]: is not the full path of a program, got 'bin/lspci'; "
            "let it begin with '/'; '*' stands only at its end"
        ),
    ),
    (
        lambda: Host(faults=[{"function": "cuInit", "text": "x"}]),
        (
            "Host: faults[0]: cuInit answers no text; "
            "take a function that fills a buffer, such as cuDeviceGetName, or give value"
        ),
    ),
    (
        lambda: Host(faults=[{"function": "cuDeviceGetName", "text": "a\0b"}]),
        "Host: faults[0]: text holds a NUL; write a text without \\u0000; C ends it there",
    ),
    (
        lambda: Host(faults=[{"function": "cuInit"}]),
        (
            "Host: faults[0]: a fault that changes nothing; "
            "give it result, value, text, delay, crash = true, hang = true or lost"
        ),
    ),
    (
        lambda: Host(faults=[{"function": "cuInit", "crash": True, "result": 1}]),
        "Host: faults[0]: a call that does not return has no answer; keep one of crash, hang, and the answer",
    ),
    (
        lambda: Host(faults=[{"function": "cuInit", "crash": True, "hang": True}]),
        "Host: faults[0]: a call that does not return has no answer; keep one of crash, hang, and the answer",
    ),
    (
        lambda: Host(faults=[{"function": "cuCtxSetCurrent", "value": 1}]),
        ("Host: faults[0]: cuCtxSetCurrent writes no number; give it result, or take a function that answers one"),
    ),
    (
        lambda: Host(faults=[{"function": "nvmlErrorString", "result": 1}]),
        (
            "Host: faults[0]: nvmlErrorString answers a text, no result; "
            "give it delay, crash = true, hang = true, or lost"
        ),
    ),
    (
        lambda: Host(faults=[{"function": "cuMemGetInfo_v2", "result": 1, "output": 1}]),
        "Host: faults[0]: output 1 without value; give the value that is to be written there",
    ),
    (
        lambda: Host(gpu=[{"mig": [{"profile": "1g.10gb", "uuid": "MIG-00112233-4455-6677-8899-aabbccddeeff"}]}] * 2),
        (
            "Host: gpu[1].mig[0].uuid: same UUID as a MIG device of gpu[0], got "
            "'MIG-00112233-4455-6677-8899-aabbccddeeff'; give each its own"
        ),
    ),
    (
        lambda: Host(faults=[{"function": "cuInit", "lost": 0, "value": 1}]),
        "Host: faults[0]: both lost and value; keep one of them",
    ),
    (
        lambda: Host(faults=[{"function": "cuInit", "lost": 1}]),
        "Host: faults[0].lost: the host has 1 GPUs, got 1; write the position of one, counted from 0",
    ),
    (
        lambda: Host(faults=[{"function": "open", "value": 1}]),
        ("Host: faults[0]: open is a file function: it has no value, text or gpu; give it result, an errno, or delay"),
    ),
    (
        lambda: Host(faults=[{"function": "cuInit", "result": 1, "program": "bin/x"}]),
        (
            "Host: faults[0].program: is not the name of a program, got 'bin/x'; "
            "write a file name without '/'; '*' stands only at its end"
        ),
    ),
    (
        lambda: Host(faults=[{"after": 1}]),
        "Host: faults[0]: a fault of no known kind; give it one of function, missing_symbol, soname, image",
    ),
    (
        lambda: FunctionFault(function="cuInitt", result=1),
        "FunctionFault: function: no shim has this function, got 'cuInitt'; did you mean 'cuInit'?",
    ),
    (
        lambda: FunctionFault(function="cuInit", delay=-1.0),
        "FunctionFault: delay: too small, got -1.0; write 0.0 or more",
    ),
    (
        lambda: SonameFault(library="cuda", soname="libcuda.so.2x"),
        (
            "SonameFault: soname 'libcuda.so.2x' does not differ from 'libcuda.so.1' in exactly one byte; "
            "write one like 'libcudb.so.1'"
        ),
    ),
    (
        lambda: SonameFault(library="cuda", soname="libcuda.so.1"),
        (
            "SonameFault: soname 'libcuda.so.1' does not differ from 'libcuda.so.1' in exactly one byte; "
            "write one like 'libcudb.so.1'"
        ),
    ),
    (
        lambda: ImageFault(image="gone"),
        "ImageFault: image: unknown value, got 'gone'; known are foreign, truncated, version",
    ),
    (
        lambda: Host(faults=[ImageFault(image="foreign"), ImageFault(image="version")]),
        "Host: faults: more than one image fault; an image is wrong in one way: keep one",
    ),
    (
        lambda: SymbolFault(library="cuda", missing_symbol="cu-Init"),
        (
            "SymbolFault: missing_symbol: is not the name of a C function, got 'cu-Init'; "
            "write it as the library exports it, as in 'cuCtxCreate_v3'"
        ),
    ),
]


@pytest.mark.parametrize(("make", "words"), WRONG, ids=[words.partition(";")[0][:60] for _, words in WRONG])
def test_a_wrong_value_is_named_with_its_remedy(make, words):
    """Each wrong value ends in one HostError whose one line has the place, the value and what to write instead."""
    assert message(make) == words


@pytest.mark.parametrize(
    ("key", "value", "what"),
    [
        ("pci", "0000:00:09.0", "PCI address"),
        ("uuid", "GPU-00000000-0000-0000-0000-000000000001", "UUID"),
        ("nvml_uuid", "GPU-00000000-0000-0000-0000-000000000001", "NVML UUID"),
        ("minor", 4, "minor number"),
    ],
)
def test_two_gpus_must_differ(key, value, what):
    """Two GPUs with one address, UUID or minor number are refused, naming the second and the first."""
    other = {"minor": 3} if key == "minor" else {}
    assert Host(gpu=[Gpu(**{key: value}), Gpu(pci="0000:00:0a.0", **other)])
    words = message(lambda: Host(gpu=[Gpu(), Gpu(**{key: value}), Gpu(**{key: value})]))
    assert words == f"Host: gpu[2].{key}: same {what} as gpu[1], got {value!r}; give each GPU its own"


def test_a_default_address_can_clash_with_a_given_one():
    """The address of a position is compared with the addresses that are given."""
    words = message(lambda: Host(gpu=[Gpu(pci="0000:00:06.0"), Gpu()]))
    assert words == "Host: gpu[1].pci: same PCI address as gpu[0], got '0000:00:06.0'; give each GPU its own"


def test_all_errors_come_at_once():
    """One HostError has a line for each wrong value."""
    words = message(lambda: Host(driver={"version": 580}, gpu=[{"pci": "x"}, {"minor": -1}]))
    assert [line.split(": ")[1] for line in words.splitlines()] == ["driver.version", "gpu[0].pci", "gpu[1].minor"]


def test_a_host_error_survives_pickling():
    """pytest-xdist can send a HostError to another process."""
    with pytest.raises(HostError) as caught:
        Gpu(minor=-1)
    copy = pickle.loads(pickle.dumps(caught.value))
    assert (type(copy), str(copy)) == (HostError, str(caught.value))


def test_known_functions_are_the_shims():
    """The functions that a fault can name are those that the shims' own lists have."""
    assert {"cuInit", "cuDeviceGetCount", "nvmlInit_v2"} <= known_functions()
    assert FunctionFault(function="open", result=2).function == "open"


def test_a_host_is_frozen():
    """A host that was checked stays as it was checked."""
    with pytest.raises(ValueError, match="frozen"):
        Gpu().minor = 3  # type: ignore[misc]
