"""The driver's kernel modules: /sys/module/nvidia*, and their lines in /proc/modules and /proc/devices.

Names and dependences are those of NVIDIA's open-gpu-kernel-modules (kernel-open/{nvidia,nvidia-modeset,nvidia-drm,
nvidia-uvm}); the files of a module those of kernel/module/sysfs.c and kernel/module/main.c, its line that of
kernel/module/procfs.c. Sizes are of the order of a build for x86-64; they are no facts about a driver version.
"""

import hashlib
from dataclasses import dataclass

from vgpu_harness.host.model import Host
from vgpu_harness.host.nodes import CAPS_MAJOR, NVIDIA_MAJOR, UVM_MAJOR, File

DIRECTORY = "/sys/module"

_TAINT = "OE"
"""A module of no kernel tree, unsigned; Documentation/admin-guide/tainted-kernels.rst."""


@dataclass(frozen=True)
class Module:
    """A kernel module.

    Attributes:
        name: as /proc/modules has it.
        size: bytes of memory that its code and data take.
        parameters: what /sys/module/NAME/parameters shows, with the values.
        holders: the modules that use it.
    """

    name: str
    size: int
    parameters: dict[str, str]
    holders: tuple[str, ...] = ()


MODULES = (
    Module("nvidia_drm", 131072, {"modeset": "N"}),
    Module("nvidia_uvm", 2150400, {"uvm_disable_hmm": "N"}),
    Module("nvidia_modeset", 1830912, {}, ("nvidia_drm",)),
    # Its NVreg_* parameters have no permissions in nv-reg.h: /proc/driver/nvidia/params shows them.
    Module("nvidia", 104165376, {}, ("nvidia_uvm", "nvidia_modeset")),
)
"""In the order of /proc/modules: the last loaded first."""

DEVICES = ((NVIDIA_MAJOR, "nvidia"), (NVIDIA_MAJOR, "nvidia-modeset"), (NVIDIA_MAJOR, "nvidiactl"),
           (CAPS_MAJOR, "nvidia-caps"), (UVM_MAJOR, "nvidia-uvm"))  # fmt: skip
"""Character devices that the modules register, by major number."""


def directories() -> list[str]:
    """The directories of the modules."""
    return [f"{DIRECTORY}/{module.name}" for module in MODULES]


def _used(module: Module, host: Host) -> int:
    """How often a module is in use: by each module that needs it, and, the first one, by each GPU."""
    return len(module.holders) + (len(host.gpu) if module.name == "nvidia" else 0)


def module_files(host: Host) -> dict[str, File]:
    """The files of the modules' directories, by path."""
    files: dict[str, File] = {}
    for module in MODULES:
        place = f"{DIRECTORY}/{module.name}"
        # Of the form that scripts/mod/sumversion.c makes, an MD4 digest cut short; the kernel never compares it.
        source = hashlib.sha256(f"{module.name} {host.driver.version}".encode()).hexdigest()[:23].upper()
        files |= {
            f"{place}/version": File(f"{host.driver.version}\n"),
            f"{place}/srcversion": File(f"{source}\n"),
            f"{place}/initstate": File("live\n"),
            f"{place}/coresize": File(f"{module.size}\n"),
            f"{place}/initsize": File("0\n"),
            f"{place}/taint": File(f"{_TAINT}\n"),
            f"{place}/refcnt": File(f"{_used(module, host)}\n"),
            f"{place}/uevent": File("", 0o200),
        }
        for name, value in module.parameters.items():
            files[f"{place}/parameters/{name}"] = File(f"{value}\n", 0o444)
    return files


def module_directories() -> list[str]:
    """Directories that are there even if nothing is in them."""
    return [f"{DIRECTORY}/{module.name}/holders" for module in MODULES]


def module_links() -> dict[str, str]:
    """The links of the modules' directories, by path."""
    links = {f"{DIRECTORY}/nvidia/drivers/pci:nvidia": "../../../bus/pci/drivers/nvidia"}
    for module in MODULES:
        for holder in module.holders:
            links[f"{DIRECTORY}/{module.name}/holders/{holder}"] = f"../../{holder}"
    return links


def with_modules(host: Host, real: str) -> str:
    """/proc/modules with the driver's lines first: it was loaded last.

    Args:
        host: whose GPUs use the driver.
        real: what the machine's own has; its own lines of these modules are left out.
    """
    names = {module.name for module in MODULES}
    lines = []
    for module in MODULES:
        users = "".join(f"{holder}," for holder in module.holders) or "-"
        # The address is shown as 0 to all but root (kernel.kptr_restrict).
        lines.append(f"{module.name} {module.size} {_used(module, host)} {users} Live 0x{0:016x} ({_TAINT})")
    lines += [line for line in real.splitlines() if line.partition(" ")[0] not in names]
    return "".join(f"{line}\n" for line in lines)


def with_devices(real: str) -> str:
    """/proc/devices with the driver's character devices, in the kernel's order: by major number.

    Args:
        real: what the machine's own has; its own lines of these devices are left out.
    """
    characters, _, blocks = real.partition("\nBlock devices:\n")
    names = {name for _, name in DEVICES}
    rows = [line for line in characters.splitlines()[1:] if line.strip() and line.split()[1] not in names]
    # Stable: of one number, the machine's own first.
    rows = sorted([*rows, *(f"{major:3d} {name}" for major, name in DEVICES)], key=lambda line: int(line.split()[0]))
    return "Character devices:\n" + "".join(f"{row}\n" for row in rows) + f"\nBlock devices:\n{blocks}"
