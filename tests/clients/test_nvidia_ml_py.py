"""nvidia-ml-py (PyPI), NVIDIA's own Python binding of NVML, unmodified."""

import json
import sys
from collections.abc import Callable

import pytest

from vgpu_harness import Host, Run
from vgpu_harness.host import Delivery, Driver, Gpu

MakeRun = Callable[..., Run]

LOOK = """
import json, pynvml as n
n.nvmlInit()
def text(value):
    return value.decode() if isinstance(value, bytes) else value
devices = []
for i in range(n.nvmlDeviceGetCount()):
    h = n.nvmlDeviceGetHandleByIndex(i)
    pci, memory = n.nvmlDeviceGetPciInfo(h), n.nvmlDeviceGetMemoryInfo(h)
    v2 = n.nvmlDeviceGetMemoryInfo(h, n.nvmlMemory_v2)
    assert n.nvmlDeviceGetIndex(n.nvmlDeviceGetHandleByUUID(n.nvmlDeviceGetUUID(h))) == i
    assert n.nvmlDeviceGetIndex(n.nvmlDeviceGetHandleByPciBusId(pci.busId)) == i
    devices.append({
        "name": text(n.nvmlDeviceGetName(h)), "uuid": text(n.nvmlDeviceGetUUID(h)), "bus": text(pci.busId),
        "legacy": text(pci.busIdLegacy), "id": pci.pciDeviceId, "memory": [memory.total, memory.used, memory.free],
        "v2": [v2.total, v2.reserved, v2.used, v2.free], "minor": n.nvmlDeviceGetMinorNumber(h),
        "compute": list(n.nvmlDeviceGetCudaComputeCapability(h)),
    })
answer = {"driver": text(n.nvmlSystemGetDriverVersion()), "nvml": text(n.nvmlSystemGetNVMLVersion()),
          "cuda": n.nvmlSystemGetCudaDriverVersion(), "devices": devices}
n.nvmlShutdown()
print(json.dumps(answer))
"""

COUNT = """
import pynvml as n
def code(call):
    try:
        call()
        return 0
    except n.NVMLError as error:
        return error.value
n.nvmlInit(); n.nvmlInit()
print(code(n.nvmlDeviceGetCount), code(n.nvmlShutdown), code(n.nvmlDeviceGetCount), code(n.nvmlShutdown),
      code(n.nvmlDeviceGetCount), code(n.nvmlShutdown))
n.nvmlInit()
print(code(n.nvmlDeviceGetCount), n.nvmlDeviceGetCount())
"""

MIB = 1 << 20


def python(vgpu_run: MakeRun, code: str, host: Host | None = None) -> Run:
    """Runs Python code on the simulated host; it must end well."""
    run = vgpu_run([sys.executable, "-c", code], host=host)
    assert run.returncode == 0, run.explain()
    return run


def test_the_default_host(vgpu_run: MakeRun) -> None:
    """It sees one H100 80GB HBM3 at 0000:00:05.0 with its memory, and the driver's versions."""
    answer = json.loads(python(vgpu_run, LOOK).stdout)
    (device,) = answer["devices"]
    assert device["name"] == "NVIDIA H100 80GB HBM3"
    assert (device["bus"], device["legacy"], device["id"]) == ("00000000:00:05.0", "0000:00:05.0", 0x233110DE)
    assert device["memory"] == [81559 * MIB, 480 * MIB, 81079 * MIB]
    assert device["v2"] == [81559 * MIB, 480 * MIB, 0, 81079 * MIB]
    assert device["compute"] == [9, 0]
    assert (answer["driver"], answer["cuda"]) == ("580.95.05", 13000)


def test_every_field_is_the_host_files(vgpu_run: MakeRun) -> None:
    """With another host, each answer is that host's: nothing above was a constant."""
    first = Gpu(
        pci="0002:81:00.0", name="NVIDIA Test 1", uuid="GPU-01234567-89ab-cdef-0123-456789abcdef", minor=3,
        compute="8.6", memory_mib=24576, reserved_mib=300, used_mib=1000,
    )  # fmt: skip
    host = Host(driver=Driver(version="570.124.06"), gpu=(first, Gpu(profile="a100-80gb-sxm4", pci="0000:41:00.0")))
    answer = json.loads(python(vgpu_run, LOOK, host).stdout)
    one, two = answer["devices"]
    assert (one["name"], one["uuid"], one["minor"]) == ("NVIDIA Test 1", first.uuid, 3)
    assert (one["bus"], one["compute"]) == ("00000002:81:00.0", [8, 6])
    assert one["memory"] == [24576 * MIB, 1300 * MIB, 23276 * MIB]
    assert one["v2"] == [24576 * MIB, 300 * MIB, 1000 * MIB, 23276 * MIB]
    assert (two["bus"], two["id"]) == ("00000000:41:00.0", 0x20B210DE)
    assert (answer["driver"], answer["cuda"]) == ("570.124.06", 12080)


def test_init_and_shutdown_are_counted(vgpu_run: MakeRun) -> None:
    """Two inits need two shutdowns; after them calls raise NVMLError_Uninitialized (1); a new init works."""
    assert python(vgpu_run, COUNT).stdout.splitlines() == ["0 0 0 0 1 1", "0 1"]


@pytest.mark.parametrize(
    "call", ["nvmlDeviceGetCount()", "nvmlDeviceGetHandleByIndex(0)", "nvmlSystemGetDriverVersion()"]
)
def test_uninitialised_raises_the_right_exception(vgpu_run: MakeRun, call: str) -> None:
    """Before nvmlInit the binding raises NVMLError_Uninitialized."""
    code = f"import pynvml as n\ntry:\n    n.{call}\nexcept n.NVMLError_Uninitialized as error:\n    print(error)"
    assert python(vgpu_run, code).stdout == "Uninitialized\n"


def test_without_the_shim_there_is_no_library(vgpu_run: MakeRun) -> None:
    """With NVML's shim not delivered, the binding does not find a library: it is the shim that answered above."""
    code = "import pynvml as n\ntry:\n    n.nvmlInit()\nexcept n.NVMLError as error:\n    print(error.value)"
    host = Host(delivery=Delivery(preload=("syscall", "cuda"), links=()))
    assert python(vgpu_run, code, host).stdout == "12\n"
