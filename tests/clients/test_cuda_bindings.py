"""cuda-bindings (PyPI), NVIDIA's own Python binding of the driver API and of NVML, unmodified."""

import json
import sys
from collections.abc import Callable

import pytest

from vgpu_harness import Host, Run
from vgpu_harness.host import Driver, Gpu

MakeRun = Callable[..., Run]

CHECKED = """
import json, os
from cuda.bindings import driver as d
def ok(answer):
    assert answer[0] == d.CUresult.CUDA_SUCCESS, answer
    return answer[1] if len(answer) == 2 else answer[1:]
ok(d.cuInit(0))
"""

# What the sample program deviceQuery prints of each device, and its last line.
DEVICE_QUERY = (
    CHECKED
    + """
A = d.CUdevice_attribute
def attribute(name, dev):
    return ok(d.cuDeviceGetAttribute(getattr(A, "CU_DEVICE_ATTRIBUTE_" + name), dev))
count = ok(d.cuDeviceGetCount())
print(f"Detected {count} CUDA Capable device(s)")
for i in range(count):
    dev = ok(d.cuDeviceGet(i))
    name = ok(d.cuDeviceGetName(96, dev)).split(b"\\0")[0].decode()
    total = ok(d.cuDeviceTotalMem(dev))
    domain, bus, slot = (attribute(f"PCI_{x}_ID", dev) for x in ("DOMAIN", "BUS", "DEVICE"))
    print(f'Device {i}: "{name}"')
    major, minor = (attribute(f"COMPUTE_CAPABILITY_{x}", dev) for x in ("MAJOR", "MINOR"))
    print(f"  CUDA Capability Major/Minor version number: {major}.{minor}")
    print(f"  Total amount of global memory: {total} bytes")
    print(f"  Multiprocessors: {attribute('MULTIPROCESSOR_COUNT', dev)}")
    print(f"  Memory Bus Width: {attribute('GLOBAL_MEMORY_BUS_WIDTH', dev)}-bit")
    print(f"  Warp size: {attribute('WARP_SIZE', dev)}")
    print(f"  Maximum number of threads per block: {attribute('MAX_THREADS_PER_BLOCK', dev)}")
    print(f"  PCI Domain ID / Bus ID / location ID: {domain} / {bus} / {slot}")
version = ok(d.cuDriverGetVersion())
print(f"deviceQuery, CUDA Driver Version = {version // 1000}.{version % 100 // 10}, NumDevs = {count}")
"""
)

ROUND_TRIP = (
    CHECKED
    + """
import hashlib
size = 64 << 20
dev = ok(d.cuDeviceGet(0))
ok(d.cuCtxSetCurrent(ok(d.cuDevicePrimaryCtxRetain(dev))))
before = ok(d.cuMemGetInfo())
sent, back = os.urandom(size), bytearray(size)
one, two = ok(d.cuMemAlloc(size)), ok(d.cuMemAlloc(size))
during = ok(d.cuMemGetInfo())
ok(d.cuMemcpyHtoD(one, sent, size))
ok(d.cuMemcpyDtoD(two, one, size))
ok(d.cuMemFree(one))
ok(d.cuMemcpyDtoH(back, two, size))
ok(d.cuMemFree(two))
print(json.dumps({"same": bytes(back) == sent, "before": before, "during": during, "after": ok(d.cuMemGetInfo())}))
"""
)

OBJECTS = (
    CHECKED
    + """
dev = ok(d.cuDeviceGet(0))
context = ok(d.cuDevicePrimaryCtxRetain(dev))
ok(d.cuCtxSetCurrent(context))
assert int(ok(d.cuCtxGetDevice())) == 0
stream = ok(d.cuStreamCreate(0))
first, last = ok(d.cuEventCreate(0)), ok(d.cuEventCreate(0))
ok(d.cuEventRecord(first, stream)); ok(d.cuEventRecord(last, stream))
ok(d.cuStreamSynchronize(stream))
assert ok(d.cuEventElapsedTime(first, last)) >= 0
ok(d.cuEventDestroy(first)); ok(d.cuStreamDestroy(stream))
print(d.cuStreamQuery(stream)[0].name)
code, module = d.cuModuleLoadData(b"not a module" + bytes(64))
print(code.name)
print(d.cuLaunchKernel(0, 1, 1, 1, 1, 1, 1, 0, 0, 0, 0)[0].name)
"""
)

MANAGEMENT = """
import json
from cuda.bindings import nvml
try:
    nvml.device_get_count_v2()
    print("initialised")
except nvml.UninitializedError as error:
    print(error)
nvml.init_v2()
handle = nvml.device_get_handle_by_index_v2(0)
pci, memory = nvml.device_get_pci_info_v3(handle), nvml.device_get_memory_info_v2(handle)
print(json.dumps({
    "count": nvml.device_get_count_v2(), "name": nvml.device_get_name(handle), "uuid": nvml.device_get_uuid(handle),
    "driver": nvml.system_get_driver_version(), "memory": [int(memory.total), int(memory.free)],
    "bus": pci.bus_id, "power": nvml.device_get_power_management_limit(handle),
}))
"""

MIB = 1 << 20


def python(vgpu_run: MakeRun, code: str, host: Host | None = None) -> Run:
    """Runs Python code on the simulated host, a strict one if none is given; it must end well."""
    run = vgpu_run([sys.executable, "-c", code], host=host or Host(strict=True))
    assert run.returncode == 0, run.explain()
    return run


def test_device_query(vgpu_run: MakeRun) -> None:
    """Through the binding, deviceQuery's report is that of the H100 of the default host."""
    lines = python(vgpu_run, DEVICE_QUERY).stdout.splitlines()
    assert lines[:2] == ["Detected 1 CUDA Capable device(s)", 'Device 0: "NVIDIA H100 80GB HBM3"']
    assert "  CUDA Capability Major/Minor version number: 9.0" in lines
    assert f"  Total amount of global memory: {(81559 - 480) * MIB} bytes" in lines
    assert "  Multiprocessors: 132" in lines
    assert "  PCI Domain ID / Bus ID / location ID: 0 / 0 / 5" in lines
    assert lines[-1] == "deviceQuery, CUDA Driver Version = 13.0, NumDevs = 1"


def test_device_query_of_another_host(vgpu_run: MakeRun) -> None:
    """With another host file the report is another: nothing above was a constant."""
    host = Host(driver=Driver(version="570.124.06"), gpu=(Gpu(profile="t4-16gb"), Gpu(profile="rtx4090-24gb")))
    lines = python(vgpu_run, DEVICE_QUERY, host).stdout.splitlines()
    assert lines[0] == "Detected 2 CUDA Capable device(s)"
    assert {'Device 0: "NVIDIA GeForce RTX 4090"', 'Device 1: "Tesla T4"'} <= set(lines)
    assert lines[-1] == "deviceQuery, CUDA Driver Version = 12.8, NumDevs = 2"


def test_64_mib_come_back_intact(vgpu_run: MakeRun) -> None:
    """HtoD, DtoD, DtoH of 64 MiB: each byte is the one that was sent, and free memory counts what is held."""
    answer = json.loads(python(vgpu_run, ROUND_TRIP).stdout)
    assert answer["same"]
    (before, total), (during, _) = answer["before"], answer["during"]
    assert before - during == 128 * MIB
    assert answer["after"] == [before, total]


def test_a_copy_that_says_yes_and_does_nothing_is_noticed(vgpu_run: MakeRun) -> None:
    """The control: with a fault in the second copy the bytes are not those that were sent."""
    from vgpu_harness.host.faults import FunctionFault

    host = Host(faults=(FunctionFault(function="cuMemcpyDtoD_v2", result=0),))
    assert not json.loads(python(vgpu_run, ROUND_TRIP, host).stdout)["same"]


def test_streams_events_modules_and_launches(vgpu_run: MakeRun) -> None:
    """Streams and events live and die; what is destroyed, no module or no function is refused by its code."""
    answers = python(vgpu_run, OBJECTS).stdout.split()
    assert answers[0] in {"CUDA_ERROR_INVALID_HANDLE", "CUDA_ERROR_CONTEXT_IS_DESTROYED"}
    assert answers[1:] == ["CUDA_ERROR_INVALID_IMAGE", "CUDA_ERROR_INVALID_HANDLE"]


def test_management(vgpu_run: MakeRun) -> None:
    """cuda.bindings.nvml raises before init, and then tells of the same GPU."""
    first, second = python(vgpu_run, MANAGEMENT).stdout.splitlines()
    assert first == "Uninitialized"
    answer = json.loads(second)
    assert (answer["count"], answer["name"], answer["driver"]) == (1, "NVIDIA H100 80GB HBM3", "580.95.05")
    assert answer["uuid"] == Host().gpu[0].uuid
    assert answer["memory"] == [81559 * MIB, 81079 * MIB]
    assert answer["bus"] == "00000000:00:05.0"
    assert answer["power"] == 700000


@pytest.mark.parametrize("function", ["cuInit", "nvmlInit_v2"])
def test_a_failing_init_is_raised(vgpu_run: MakeRun, function: str) -> None:
    """A driver that refuses is an error of the binding: it was the shim that answered above."""
    from vgpu_harness.host.faults import FunctionFault

    host = Host(faults=(FunctionFault(function=function, result=999),))
    run = vgpu_run([sys.executable, "-c", ROUND_TRIP if function == "cuInit" else MANAGEMENT], host=host)
    assert run.returncode == 1
    assert "999" in run.stderr or "Unknown" in run.stderr
