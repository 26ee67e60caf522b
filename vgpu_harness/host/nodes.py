"""What sysfs says of a GPU: the files of its PCI device and of its driver, the links between them; its device nodes.

Formats and modes are the kernel's: drivers/pci/pci-sysfs.c, drivers/pci/pci-driver.c, drivers/base/bus.c and
drivers/base/power/sysfs.c; Documentation/ABI/testing/sysfs-bus-pci.
"""

from typing import NamedTuple

from vgpu_harness.host.gpu import Gpu
from vgpu_harness.host.model import Host
from vgpu_harness.host.pci import CONFIG_SIZE, IRQ, config_space, regions, resource_text

DRIVER = "/sys/bus/pci/drivers/nvidia"
DEVICES = "/sys/bus/pci/devices"

_SPEEDS = {1: "2.5", 2: "5.0", 3: "8.0", 4: "16.0", 5: "32.0"}

# Numbers of the character devices. 195, 254 and 255 are fixed (nv-chardev-numbers.h of NVIDIA's
# open-gpu-kernel-modules). The kernel hands out the major numbers of nvidia-uvm and nvidia-caps when they are loaded,
# and they differ between machines; 510 and 236 are usual.
NVIDIA_MAJOR = 195
MODESET_MINOR = 254
CONTROL_MINOR = 255
UVM_MAJOR = 510
CAPS_MAJOR = 236


class File(NamedTuple):
    """A file of the tree: its content, its mode as the kernel makes it, and what a stat answers as its size.

    The size is a power of two; None is that of all texts of the file system.
    """

    content: str | bytes
    mode: int = 0o444
    size: int | None = None


def device_directory(gpu: Gpu) -> str:
    """The GPU's own directory in /sys/devices, on a root bus of its own number."""
    return f"/sys/devices/pci{gpu.pci[:7]}/{gpu.pci}"


def device_nodes(host: Host) -> dict[str, tuple[int, int]]:
    """The character devices of /dev that anyone may open, with (major, minor)."""
    nodes = {f"/dev/nvidia{gpu.minor}": (NVIDIA_MAJOR, gpu.minor) for gpu in host.gpu}
    nodes["/dev/nvidiactl"] = (NVIDIA_MAJOR, CONTROL_MINOR)
    nodes["/dev/nvidia-modeset"] = (NVIDIA_MAJOR, MODESET_MINOR)
    nodes["/dev/nvidia-uvm"] = (UVM_MAJOR, 0)
    nodes["/dev/nvidia-uvm-tools"] = (UVM_MAJOR, 1)
    return nodes


def gpu_files(gpu: Gpu, cpus: str) -> dict[str, File]:
    """The files of the GPU's directory in /sys/devices, by name.

    Not there: `rom` (the GPU is passed through without one), `msi_irqs` (its numbers would have to be in
    /proc/interrupts), and what needs the extended configuration space (aer_*, sriov_*).

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
    uevent = (
        f"DRIVER=nvidia\nPCI_CLASS={kind.class_code:X}\nPCI_ID={ids}\nPCI_SUBSYS_ID={subsystem}\n"
        f"PCI_SLOT_NAME={gpu.pci}\nMODALIAS={alias}\n"
    )
    files = {
        "vendor": File(f"0x{kind.vendor:04x}\n"),
        "device": File(f"0x{kind.device:04x}\n"),
        "subsystem_vendor": File(f"0x{kind.subsystem_vendor:04x}\n"),
        "subsystem_device": File(f"0x{kind.subsystem_device:04x}\n"),
        "class": File(f"0x{kind.class_code:06x}\n"),
        "revision": File(f"0x{kind.revision:02x}\n"),
        "config": File(config_space(gpu), 0o644, CONFIG_SIZE),
        "resource": File(resource_text(gpu)),
        "irq": File(f"{IRQ}\n"),
        "enable": File("1\n", 0o644),
        "numa_node": File("-1\n", 0o644),
        "local_cpulist": File(f"{cpus}\n"),
        "local_cpus": File(f"{_mask(cpus)}\n"),
        "modalias": File(f"{alias}\n"),
        "uevent": File(uevent, 0o644),
        "current_link_speed": File(speed),
        "max_link_speed": File(speed),
        "current_link_width": File(f"{kind.link_width}\n"),
        "max_link_width": File(f"{kind.link_width}\n"),
        "power_state": File("D0\n"),
        "dma_mask_bits": File("52\n"),
        "consistent_dma_mask_bits": File("52\n"),
        "broken_parity_status": File("0\n", 0o644),
        "msi_bus": File("1\n", 0o644),
        "ari_enabled": File("0\n"),
        "d3cold_allowed": File("1\n", 0o644),
        "driver_override": File("(null)\n", 0o644),
        # Function level reset is among the capabilities of `config`.
        "reset_method": File("flr bus\n", 0o644),
        "reset": File("", 0o200),
        "remove": File("", 0o220),
        "rescan": File("", 0o200),
        "power/control": File("on\n", 0o644),
        "power/runtime_status": File("active\n"),
        "power/runtime_active_time": File("0\n"),
        "power/runtime_suspended_time": File("0\n"),
    }
    if kind.class_code >> 8 == _VGA:
        files["boot_vga"] = File("0\n")
    for region in regions(gpu):
        # Empty: reading one is an error of its driver (memory, no ports), and 64 GiB of nothing would harm whoever
        # copies a tree.
        ranged = File("", 0o600, region.bar.mib << 20)
        files[f"resource{region.bar.index}"] = ranged
        if region.bar.prefetchable:
            files[f"resource{region.bar.index}_wc"] = ranged
    return files


_VGA = 0x0300
"""PCI_CLASS_DISPLAY_VGA; boards without a display are 0x0302."""


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


def pci_driver_files() -> dict[str, File]:
    """The files of the driver's directory on the PCI bus, by path: all are written to, by root."""
    return {f"{DRIVER}/{name}": File("", 0o200) for name in ("bind", "unbind", "new_id", "remove_id", "uevent")}


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
