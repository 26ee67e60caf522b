"""Faults with a `value`: each NVML function that answers a number takes one."""

import os

import pytest

from vgpu_harness._wire import ffi

SUCCESS, NO_PERMISSION = 0, 4
FUNCTIONS = (
    "nvmlDeviceGetBridgeChipInfo",
    "nvmlDeviceGetPlatformInfo",
    "nvmlDeviceGetNvlinkSupportedBwModes",
    "nvmlDeviceSetMigMode",
    "nvmlGpmMetricsGet",
)


@pytest.fixture
def nvml(vgpu_nvml):
    """NVML after nvmlInit_v2."""
    assert vgpu_nvml.nvmlInit_v2() == SUCCESS
    return vgpu_nvml


@pytest.mark.vgpu(
    host={
        "gpu": [{"nvml": {"BRIDGE_CHIP": 0, "PLATFORM": [1, 2, 3, 4, 5]}}],
        "faults": [{"function": function, "value": 77} for function in FUNCTIONS],
    }
)
def test_a_value_reaches_the_struct(nvml):
    """It stands in the struct's count or first number, or in the number that a setter answers."""
    device = nvml.device(0)[1]
    bridges, platform = ffi.new("nvmlBridgeChipHierarchy_t *"), ffi.new("nvmlPlatformInfo_t *")
    assert (nvml.nvmlDeviceGetBridgeChipInfo(device, bridges), bridges.bridgeCount) == (SUCCESS, 77)
    platform.version = ffi.sizeof("nvmlPlatformInfo_t") | 2 << 24
    assert (nvml.nvmlDeviceGetPlatformInfo(device, platform), platform.slotNumber) == (SUCCESS, 77)
    assert platform.trayIndex == 2
    modes = ffi.new("nvmlNvlinkSupportedBwModes_t *", {"version": ffi.sizeof("nvmlNvlinkSupportedBwModes_t") | 1 << 24})
    assert (nvml.nvmlDeviceGetNvlinkSupportedBwModes(device, modes), modes.totalBwModes) == (SUCCESS, 77)
    sample, question = ffi.new("nvmlGpmSample_t *"), ffi.new("nvmlGpmMetricsGet_t *", {"version": 1, "numMetrics": 1})
    assert nvml.nvmlGpmSampleAlloc(sample) == nvml.nvmlGpmSampleGet(device, sample[0]) == SUCCESS
    question.sample1 = question.sample2 = sample[0]
    question.metrics[0].metricId = 1
    assert (nvml.nvmlGpmMetricsGet(question), question.metrics[0].nvmlReturn) == (SUCCESS, 77)
    status = ffi.new("nvmlReturn_t *")
    code = nvml.nvmlDeviceSetMigMode(device, 1, status)
    assert (code, status[0]) == ((SUCCESS, 77) if os.geteuid() == 0 else (NO_PERMISSION, 0))


@pytest.mark.vgpu(host={"gpu": [{"nvml": {"PLATFORM": 1, "GPU_GUID": "00FfEe" + "aB" * 13}}]})
def test_a_guid_in_capitals_is_the_same(nvml):
    """The digits of the host file may be of either case."""
    platform = ffi.new("nvmlPlatformInfo_t *", {"version": ffi.sizeof("nvmlPlatformInfo_t") | 2 << 24})
    assert nvml.nvmlDeviceGetPlatformInfo(nvml.device(0)[1], platform) == SUCCESS
    assert bytes(platform.ibGuid).hex() == "00ffee" + "ab" * 13
