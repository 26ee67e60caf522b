"""NVML's answers about MIG that follow from the board: parts of GPU instances, names, handles, memory."""

import os

import pytest

from vgpu_harness._wire import ffi, lib
from vgpu_harness.host import Gpu, Host, Tree, write_image
from vgpu_harness.host.profile import profile
from vgpu_harness.shims.inprocess import Nvml

SUCCESS, NO_PERMISSION, NOT_FOUND, INSUFFICIENT_RESOURCES = 0, 4, 6, 23
PART, TWO_PARTS, THREE_PARTS = 0, 1, 2
"""NVML_COMPUTE_INSTANCE_PROFILE_{1,2,3}_SLICE."""
MIG_UUID = "MIG-00112233-4455-6677-8899-aabbccddeeff"


@pytest.fixture
def nvml(vgpu_nvml):
    """NVML after nvmlInit_v2; instances are root's to make, so the process is taken for root's."""
    assert vgpu_nvml.nvmlInit_v2() == SUCCESS
    return vgpu_nvml


def made(nvml: Nvml, device: object, name: str) -> object | None:
    """A GPU instance of the default board, by its profile's name; None: only root may."""
    number = next(row.id for row in profile("h100-80gb-hbm3").mig if row.name == name)
    instance = ffi.new("nvmlGpuInstance_t *")
    code = nvml.nvmlDeviceCreateGpuInstance(device, number, instance)
    assert code == (SUCCESS if os.geteuid() == 0 else NO_PERMISSION)
    return instance[0] if code == SUCCESS else None


def multiprocessors(nvml: Nvml, instance: object, part: int) -> int:
    """How many a compute instance of this profile has."""
    info = ffi.new("nvmlComputeInstanceProfileInfo_t *")
    assert nvml.nvmlGpuInstanceGetComputeInstanceProfileInfo(instance, part, 0, info) == SUCCESS
    return int(info.multiprocessorCount)


@pytest.mark.parametrize(
    ("board", "whole", "answers"),
    [
        ("a100-40gb-sxm4", "3g.20gb", [14, 28, 42]),
        ("h100-80gb-hbm3", "3g.40gb", [16, 32, 60]),
        ("h100-80gb-hbm3", "1g.20gb", [26]),
        ("b200-180gb", "3g.90gb", [18, 36, 70]),
    ],
)
def test_a_part_has_the_multiprocessors_of_its_slices(board, whole, answers, tmp_path):
    """A compute slice has as many as the smallest GPU instance; those that are over belong to the whole alone."""
    host = Host(gpu=[Gpu(profile=board, mig=[{"profile": whole}])])
    slices = [PART, TWO_PARTS, THREE_PARTS][: len(answers)]
    with Nvml(write_image(host, Tree(tmp_path, ()), tmp_path / "image")) as nvml:
        assert nvml.nvmlInit_v2() == SUCCESS
        number = next(row.id for row in profile(board).mig if row.name == whole)
        instances, count = ffi.new("nvmlGpuInstance_t[8]"), ffi.new("unsigned int *")
        code = nvml.nvmlDeviceGetGpuInstances(nvml.device(0)[1], number, instances, count)
        if os.geteuid() != 0:
            assert code == NO_PERMISSION
            return
        assert (code, count[0]) == (SUCCESS, 1)
        assert [multiprocessors(nvml, instances[0], part) for part in slices] == answers


LONG = "NVIDIA H100 80GB HBM3 of a cloud that gives its boards very long names, v2"
"""As long as the name of a GPU may be to have a MIG device 1g.10gb; with a part's name it does not fit."""


@pytest.mark.vgpu(host={"gpu": [{"name": LONG, "nvml": {"MIG": 1}}]})
def test_the_name_of_a_device_made_at_run_time(nvml):
    """It is the GPU's whole name, as for a device of the host file, unless the two would not fit in NVML's 96 bytes."""
    device = nvml.device(0)[1]
    instance = made(nvml, device, "1g.10gb")
    if instance is None:
        return
    compute, handle = ffi.new("nvmlComputeInstance_t *"), ffi.new("nvmlDevice_t *")
    assert nvml.nvmlGpuInstanceCreateComputeInstance(instance, PART, compute) == SUCCESS
    assert nvml.nvmlDeviceGetMigDeviceHandleByIndex(device, 0, handle) == SUCCESS
    assert nvml.text("nvmlDeviceGetName", 96, before=(handle[0],)) == (SUCCESS, f"{LONG} MIG 1g.10gb")


@pytest.mark.vgpu(host={"gpu": [{"name": "é" * 47, "nvml": {"MIG": 1}}]})
def test_a_name_that_does_not_fit_is_cut_between_characters(nvml):
    """The GPU's part is cut, to whole characters of UTF-8, and what the device is stays."""
    device = nvml.device(0)[1]
    instance = made(nvml, device, "3g.40gb")
    if instance is None:
        return
    compute, handle = ffi.new("nvmlComputeInstance_t *"), ffi.new("nvmlDevice_t *")
    assert nvml.nvmlGpuInstanceCreateComputeInstance(instance, PART, compute) == SUCCESS
    assert nvml.nvmlDeviceGetMigDeviceHandleByIndex(device, 0, handle) == SUCCESS
    room = (96 - 1 - len(" MIG 1c.3g.40gb")) // 2
    assert nvml.text("nvmlDeviceGetName", 96, before=(handle[0],)) == (SUCCESS, "é" * room + " MIG 1c.3g.40gb")


@pytest.mark.vgpu(host={"gpu": [{"mig": [{"profile": "1g.10gb", "uuid": MIG_UUID}]}]})
def test_a_device_by_the_bytes_of_its_uuid(nvml):
    """Both forms of nvmlUUID_t find it; other bytes find nothing."""
    form, mig, found = (ffi.new(f"{kind} *") for kind in ("nvmlUUID_t", "nvmlDevice_t", "nvmlDevice_t"))
    assert nvml.nvmlDeviceGetHandleByUUID(MIG_UUID.encode(), mig) == SUCCESS
    form.version, form.type = ffi.sizeof("nvmlUUID_t") | 1 << 24, 2
    form.value.bytes = bytes.fromhex(MIG_UUID.removeprefix("MIG-").replace("-", ""))
    assert (nvml.nvmlDeviceGetHandleByUUIDV(form, found), found[0]) == (SUCCESS, mig[0])
    form.value.bytes = bytes(15) + b"\1"
    assert nvml.nvmlDeviceGetHandleByUUIDV(form, found) == NOT_FOUND


@pytest.mark.vgpu(host={"gpu": [{"memory_mib": 50000, "reserved_mib": 0, "nvml": {"MIG": 1}}]})
def test_instances_that_would_have_more_memory_than_the_gpu(nvml):
    """Where the host gives the GPU less memory than its model has, an instance too many is refused."""
    device, count = nvml.device(0)[1], ffi.new("unsigned int *")
    number = next(row.id for row in profile("h100-80gb-hbm3").mig if row.name == "3g.40gb")
    first = made(nvml, device, "3g.40gb")
    if first is None:
        return
    assert (nvml.nvmlDeviceGetGpuInstanceRemainingCapacity(device, number, count), count[0]) == (SUCCESS, 0)
    instance = ffi.new("nvmlGpuInstance_t *")
    assert nvml.nvmlDeviceCreateGpuInstance(device, number, instance) == INSUFFICIENT_RESOURCES
    assert nvml.nvmlGpuInstanceDestroy(first) == SUCCESS
    assert (nvml.nvmlDeviceGetGpuInstanceRemainingCapacity(device, number, count), count[0]) == (SUCCESS, 1)
    assert lib.vgpu_call_nvmlDeviceCreateGpuInstance(nvml.process, device, number, instance) == SUCCESS
