"""What the virtual files say: the texts of sysfs and procfs for the GPUs and the driver of a host.

Formats are the kernel's (drivers/pci/pci-sysfs.c, Documentation/ABI/testing/sysfs-bus-pci) and those of NVIDIA's
open-gpu-kernel-modules (kernel-open/nvidia/nv-procfs.c).
"""

from vgpu_harness.host.gpu import Gpu
from vgpu_harness.host.model import Host
from vgpu_harness.host.pci import IRQ, config_space, resource_text

DRIVER = "/sys/bus/pci/drivers/nvidia"
MODULE = "/sys/module/nvidia"
PROC = "/proc/driver/nvidia"
DEVICES = "/sys/bus/pci/devices"

_SPEEDS = {1: "2.5", 2: "5.0", 3: "8.0", 4: "16.0", 5: "32.0"}

# Numbers of the character devices. 195 and 255 are fixed (nv-chardev-numbers.h of NVIDIA's open-gpu-kernel-modules).
# The major number of nvidia-uvm is handed out by the kernel at load time and differs between machines; 510 is usual.
NVIDIA_MAJOR = 195
CONTROL_MINOR = 255
UVM_MAJOR = 510


def device_directory(gpu: Gpu) -> str:
    """The GPU's own directory in /sys/devices, on a root bus of its own number."""
    return f"/sys/devices/pci{gpu.pci[:7]}/{gpu.pci}"


def device_nodes(host: Host) -> dict[str, tuple[int, int]]:
    """The character devices of /dev, with (major, minor)."""
    nodes = {f"/dev/nvidia{gpu.minor}": (NVIDIA_MAJOR, gpu.minor) for gpu in host.gpu}
    nodes["/dev/nvidiactl"] = (NVIDIA_MAJOR, CONTROL_MINOR)
    nodes["/dev/nvidia-uvm"] = (UVM_MAJOR, 0)
    nodes["/dev/nvidia-uvm-tools"] = (UVM_MAJOR, 1)
    return nodes


def gpu_files(gpu: Gpu, cpus: str) -> dict[str, str | bytes]:
    """The files of the GPU's directory in /sys/devices, by name.

    Args:
        gpu: the GPU.
        cpus: the machine's online processors as the kernel lists them, "0-3,8".
    """
    kind = gpu.model
    ids = f"{kind.vendor:04X}:{kind.device:04X}"
    subsystem = f"{kind.subsystem_vendor:04X}:{kind.subsystem_device:04X}"
    base, sub, interface = kind.class_code >> 16, kind.class_code >> 8 & 0xFF, kind.class_code & 0xFF
    alias = (
        f"pci:v{kind.vendor:08X}d{kind.device:08X}sv{kind.subsystem_vendor:08X}sd{kind.subsystem_device:08X}"
        f"bc{base:02X}sc{sub:02X}i{interface:02X}"
    )
    speed = f"{_SPEEDS[kind.link_generation]} GT/s PCIe\n"
    return {
        "vendor": f"0x{kind.vendor:04x}\n",
        "device": f"0x{kind.device:04x}\n",
        "subsystem_vendor": f"0x{kind.subsystem_vendor:04x}\n",
        "subsystem_device": f"0x{kind.subsystem_device:04x}\n",
        "class": f"0x{kind.class_code:06x}\n",
        "revision": f"0x{kind.revision:02x}\n",
        "config": config_space(gpu),
        "resource": resource_text(gpu),
        "irq": f"{IRQ}\n",
        "enable": "1\n",
        "numa_node": "-1\n",
        "local_cpulist": f"{cpus}\n",
        "local_cpus": f"{_mask(cpus)}\n",
        "modalias": f"{alias}\n",
        "uevent": f"DRIVER=nvidia\nPCI_CLASS={kind.class_code:X}\nPCI_ID={ids}\nPCI_SUBSYS_ID={subsystem}\n"
        f"PCI_SLOT_NAME={gpu.pci}\nMODALIAS={alias}\n",
        "current_link_speed": speed,
        "max_link_speed": speed,
        "current_link_width": f"{kind.link_width}\n",
        "max_link_width": f"{kind.link_width}\n",
        "power_state": "D0\n",
        "dma_mask_bits": "52\n",
        "consistent_dma_mask_bits": "52\n",
        "broken_parity_status": "0\n",
        "msi_bus": "1\n",
    }


def _mask(cpus: str) -> str:
    """A list of processors as a mask: "0-1" is "3"; groups of 32 bits, the first without leading zeros."""
    bits = 0
    for part in cpus.split(","):
        first, _, last = part.partition("-")
        for cpu in range(int(first), int(last or first) + 1):
            bits |= 1 << cpu
    groups = []
    while bits:
        groups.append(bits & 0xFFFFFFFF)
        bits >>= 32
    return ",".join([f"{groups[-1]:x}", *(f"{group:08x}" for group in reversed(groups[:-1]))])


def driver_files(host: Host) -> dict[str, str]:
    """The driver's own files, by path: /proc/driver/nvidia and /sys/module/nvidia."""
    version = host.driver.version
    files = {
        # The build's date is part of the format; it is no fact about the driver version.
        f"{PROC}/version": f"NVRM version: NVIDIA UNIX x86_64 Kernel Module  {version}  Wed Jan  1 00:00:00 UTC 2025\n"
        "GCC version:  gcc version 12.2.0 (Debian 12.2.0-14)\n",
        f"{PROC}/params": "".join(f"{name}: {value}\n" for name, value in _PARAMS.items()),
        f"{MODULE}/version": f"{version}\n",
        f"{MODULE}/initstate": "live\n",
        f"{MODULE}/refcnt": f"{len(host.gpu)}\n",
    }
    for gpu in host.gpu:
        files[f"{PROC}/gpus/{gpu.pci}/information"] = _information(gpu, version)
    return files


# Defaults of the module parameters (kernel-open/nvidia/nv-reg.h); nvidia-modprobe reads the DeviceFile ones.
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
    "EnableStreamMemOPs": 0,
    "EnableUserNUMAManagement": 1,
}


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


def links(host: Host) -> dict[str, str]:
    """The symbolic links between the above, by path, relative as in the real sysfs."""
    found = {f"{DRIVER}/module": "../../../../module/nvidia"}
    for gpu in host.gpu:
        place = device_directory(gpu)
        found[f"{DEVICES}/{gpu.pci}"] = f"../../..{place.removeprefix('/sys')}"
        found[f"{DRIVER}/{gpu.pci}"] = f"../../../..{place.removeprefix('/sys')}"
        found[f"{place}/driver"] = "../../../bus/pci/drivers/nvidia"
        found[f"{place}/subsystem"] = "../../../bus/pci"
    return found
