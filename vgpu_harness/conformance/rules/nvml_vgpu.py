"""Virtual GPUs: the simulated host has whole GPUs, and is no host of virtual ones."""

from vgpu_harness.conformance.rule import Nvml, rule
from vgpu_harness.conformance.rules.nvml_common import (
    INSUFFICIENT_SIZE,
    INVALID_ARGUMENT,
    NOT_SUPPORTED,
    SUCCESS,
    is_number,
    number,
    refuses_nothing,
)

_HEADER = "nvml.h 13.5"


@rule(
    "nvmlDeviceGetVirtualizationMode",
    source=f"{_HEADER}, nvmlGpuVirtualizationMode_t; own choice: passed through unless the host file says otherwise",
    gpu=True,
    host={"gpu": [{}, {"nvml": {"VIRTUALIZATION_MODE": 0}}]},
)
def virtualization_mode(nvml: Nvml) -> None:
    """A GPU is passed through (1), or on bare metal (0) if the host says so."""
    device = nvml.device()
    nvml.check((number(nvml, "nvmlDeviceGetVirtualizationMode", device) or 0) <= 4, "the mode is one of the five")
    refuses_nothing(nvml, "nvmlDeviceGetVirtualizationMode", device)
    if nvml.host is not None:
        is_number(nvml, 1, "nvmlDeviceGetVirtualizationMode", device)
        is_number(nvml, 0, "nvmlDeviceGetVirtualizationMode", nvml.device(1))


@rule(
    "nvmlDeviceGetSupportedVgpus",
    "nvmlDeviceGetCreatableVgpus",
    "nvmlDeviceGetActiveVgpus",
    source=f"{_HEADER}, the functions named",
    gpu=True,
)
def no_virtual_gpus(nvml: Nvml) -> None:
    """There are no kinds of them, none can be made, and none runs."""
    device = nvml.device()
    for what in ("Supported", "Creatable", "Active"):
        function = f"nvmlDeviceGet{what}Vgpus"
        count, room = nvml.struct("unsigned int"), nvml.out("unsigned int", 4)
        codes = SUCCESS if nvml.host is not None else (SUCCESS, NOT_SUPPORTED, INSUFFICIENT_SIZE)
        nvml.expect(codes, function, device, count, None)
        if nvml.host is not None:
            count[0] = 4
            nvml.ok(function, device, count, room)
            nvml.equal(count[0], 0, f"what {function} counts")
            nvml.untouched(room)
        nvml.expect(INVALID_ARGUMENT, function, device, None, None)
        nvml.expect(INVALID_ARGUMENT, function, None, count, None)


@rule("nvmlDeviceGetGridLicensableFeatures_v4", source=f"{_HEADER}, nvmlGridLicensableFeatures_t", gpu=True)
def nothing_to_license(nvml: Nvml) -> None:
    """Licensing is not supported, and no feature is listed."""
    device, box = nvml.device(), nvml.out("nvmlGridLicensableFeatures_t")
    nvml.ok("nvmlDeviceGetGridLicensableFeatures_v4", device, box)
    features = nvml.value(box)
    nvml.check(features.licensableFeaturesCount <= 3, "there are at most three features")
    if nvml.host is not None:
        nvml.equal((features.isGridLicenseSupported, features.licensableFeaturesCount), (0, 0), "what can be licensed")
    refuses_nothing(nvml, "nvmlDeviceGetGridLicensableFeatures_v4", device)


@rule("nvmlGetVgpuDriverCapabilities", source=f"{_HEADER}, nvmlVgpuDriverCapability_t", gpu=True)
def the_driver_is_no_host(nvml: Nvml) -> None:
    """Neither of the two capabilities is there; there is no third."""
    nvml.init()
    for capability in (0, 1):
        is_number(nvml, 0, "nvmlGetVgpuDriverCapabilities", capability)
        nvml.expect(INVALID_ARGUMENT, "nvmlGetVgpuDriverCapabilities", capability, None)
    nvml.expect(INVALID_ARGUMENT, "nvmlGetVgpuDriverCapabilities", 2, nvml.out("unsigned int"))
