"""What procfs says of the driver: /proc/driver/nvidia and /proc/driver/nvidia-caps.

Names, formats and modes are those of NVIDIA's open-gpu-kernel-modules: kernel-open/nvidia/nv-procfs.c, nv-reg.h and
nv-caps.c. No `numa_status`: nv-procfs.c makes it only where a GPU's memory is a node of the machine's own.
"""

from functools import cache

from vgpu_harness.host.gpu import Gpu
from vgpu_harness.host.model import Host
from vgpu_harness.host.nodes import CAPS_MAJOR, File
from vgpu_harness.host.pci import IRQ

PROC = "/proc/driver/nvidia"
CAPS = "/proc/driver/nvidia-caps"
CAPS_DEVICES = "/dev/nvidia-caps"

# Defaults of the module parameters, in the order of nv-reg.h's table; nvidia-modprobe reads the DeviceFile ones.
_PARAMS = {
    "ResmanDebugLevel": 2**32 - 1,
    "RmLogonRC": 1,
    "ModifyDeviceFiles": 1,
    "DeviceFileUID": 0,
    "DeviceFileGID": 0,
    "DeviceFileMode": 0o666,
    "InitializeSystemMemoryAllocations": 1,
    "UsePageAttributeTable": 2**32 - 1,
    "EnableMSI": 1,
    "EnablePCIeGen3": 0,
    "MemoryPoolSize": 0,
    "KMallocHeapMaxSize": 0,
    "VMallocHeapMaxSize": 0,
    "IgnoreMMIOCheck": 0,
    "EnableStreamMemOPs": 0,
    "EnableUserNUMAManagement": 1,
    "NvLinkDisable": 0,
    "RmProfilingAdminOnly": 1,
    "PreserveVideoMemoryAllocations": 0,
    "EnableS0ixPowerManagement": 0,
    "S0ixPowerManagementVideoMemoryThreshold": 256,
    "DynamicPowerManagement": 3,
    "DynamicPowerManagementVideoMemoryThreshold": 200,
    "RegisterPCIDriver": 1,
    "EnablePCIERelaxedOrderingMode": 0,
    "EnableGpuFirmware": 18,
    "EnableGpuFirmwareLogs": 2,
    "EnableDbgBreakpoint": 0,
    "OpenRmEnableUnsupportedGpus": 1,
}
_TEXT_PARAMS = (
    "RegistryDwords", "RegistryDwordsPerDevice", "RmMsg", "GpuBlacklist", "TemporaryFilePath", "ExcludedGpus",
)  # fmt: skip
_REGISTRY = File('Binary: ""\n', 0o644)
_POWER = File(
    "Runtime D3 status:          Disabled by default\n"
    "Video Memory:               Active\n"
    "\n"
    "GPU Hardware Support:\n"
    " Video Memory Self Refresh: Not Supported\n"
    " Video Memory Off:          Supported\n"
    "\n"
    "Power Limits:\n"
    " Default:                   N/A milliwatts\n"
    " GPU Boost:                 N/A milliwatts\n"
)

# The minor numbers of all capabilities that there can be (NVIDIA MIG User Guide, "Device nodes and capabilities").
_CONFIG, _MONITOR, _FIRST = 1, 2, 3
_GPUS, _INSTANCES, _COMPUTE_INSTANCES = 32, 15, 8


def driver_files(host: Host) -> dict[str, File]:
    """The driver's own files, by path."""
    version = host.driver.version
    files = {
        # The build's date is part of the format; it is no fact about the driver version.
        f"{PROC}/version": File(
            f"NVRM version: NVIDIA UNIX x86_64 Kernel Module  {version}  Wed Jan  1 00:00:00 UTC 2025\n"
            "GCC version:  gcc version 12.2.0 (Debian 12.2.0-14)\n"
        ),
        f"{PROC}/params": File(
            "".join(f"{name}: {value}\n" for name, value in _PARAMS.items())
            + "".join(f'{name}: ""\n' for name in _TEXT_PARAMS)
        ),
        f"{PROC}/registry": _REGISTRY,
        f"{PROC}/suspend": File("suspend hibernate resume\n", 0o644),
        f"{PROC}/suspend_depth": File("default modeset uvm\n", 0o644),
    }
    for gpu in host.gpu:
        place = f"{PROC}/gpus/{gpu.pci}"
        files[f"{place}/information"] = File(_information(gpu, version))
        files[f"{place}/registry"] = _REGISTRY
        files[f"{place}/power"] = _POWER
    if capabilities := _capabilities(host):
        files[f"{CAPS}/mig-minors"] = File(_mig_minors())
        for name, (minor, mode) in capabilities.items():
            files[f"{PROC}/capabilities/{name}"] = File(
                f"DeviceFileMinor: {minor}\nDeviceFileMode: {mode}\nDeviceFileModify: 1\n"
            )
    return files


def driver_directories() -> list[str]:
    """Directories that are there even if nothing is in them."""
    return [f"{PROC}/{name}" for name in ("capabilities", "patches", "warnings")]


def capability_nodes(host: Host) -> dict[str, tuple[tuple[int, int], int]]:
    """The character devices of /dev/nvidia-caps, with (major, minor) and mode; none where MIG is off."""
    return {
        f"{CAPS_DEVICES}/nvidia-cap{minor}": ((CAPS_MAJOR, minor), mode) for minor, mode in _capabilities(host).values()
    }


def _minor(gpu: int, instance: int, compute: int | None = None) -> int:
    per_instance = 1 + _COMPUTE_INSTANCES
    first = _FIRST + (gpu * _INSTANCES + instance) * per_instance
    return first if compute is None else first + 1 + compute


def _capabilities(host: Host) -> dict[str, tuple[int, int]]:
    """Minor number and mode of each capability of the MIG devices, by its path below `capabilities`."""
    if not any(gpu.mig for gpu in host.gpu):
        return {}
    found = {"mig/config": (_CONFIG, 0o400), "mig/monitor": (_MONITOR, 0o444)}
    for gpu in host.gpu:
        for device in gpu.mig_devices:
            place = f"gpu{gpu.minor}/mig/gi{device.gpu_instance}"
            found[f"{place}/access"] = (_minor(gpu.minor, device.gpu_instance), 0o444)
            found[f"{place}/ci0/access"] = (_minor(gpu.minor, device.gpu_instance, 0), 0o444)
    return found


@cache
def _mig_minors() -> str:
    lines = [f"config {_CONFIG}", f"monitor {_MONITOR}"]
    for gpu in range(_GPUS):
        for instance in range(_INSTANCES):
            place = f"gpu{gpu}/gi{instance}"
            lines.append(f"{place}/access {_minor(gpu, instance)}")
            lines += [f"{place}/ci{i}/access {_minor(gpu, instance, i)}" for i in range(_COMPUTE_INSTANCES)]
    return "".join(f"{line}\n" for line in lines)


def _information(gpu: Gpu, version: str) -> str:
    rows = (
        ("Model: \t\t ", gpu.name),
        ("IRQ:   \t\t ", IRQ),
        ("GPU UUID: \t ", gpu.nvml_uuid),
        ("Video BIOS: \t ", gpu.model.video_bios),
        ("Bus Type: \t ", "PCIe"),
        ("DMA Size: \t ", "52 bits"),
        ("DMA Mask: \t ", f"0x{(1 << 52) - 1:x}"),
        ("Bus Location: \t ", gpu.pci),
        ("Device Minor: \t ", gpu.minor),
        ("GPU Firmware: \t ", version),
        ("GPU Excluded:\t ", "No"),
    )
    return "".join(f"{label}{value}\n" for label, value in rows)
