"""The PCI side of a GPU: its 256 bytes of configuration space and its address ranges.

Registers are those of the PCI Local Bus Specification 3.0 (header, MSI, MSI-X), the PCI Power Management Specification
1.2 and the PCI Express Base Specification 5.0. The capabilities stand where an H100 SXM5 board has them (0x40, 0x48,
0x60, 0xb0); its vendor-specific one is left out.
"""

import dataclasses

from vgpu_harness.host.gpu import Gpu
from vgpu_harness.host.profile import Bar, Profile

CONFIG_SIZE = 256
IRQ = 10
"""Interrupt line of every GPU, as /proc/driver/nvidia/gpus/*/information shows it on machines that use MSI."""

_POWER, _MSI, _EXPRESS, _MSIX = 0x40, 0x48, 0x60, 0xB0
_WINDOW_64 = 0x2000_0000_0000, 1 << 39
_WINDOW_32 = 0x8000_0000, 1 << 24
_WINDOWS_32 = 64


@dataclasses.dataclass(frozen=True)
class Region:
    """One base address register with the memory behind it: addresses in bytes, both included."""

    bar: Bar
    first: int

    @property
    def last(self) -> int:
        """Address of the last byte."""
        return self.first + (self.bar.mib << 20) - 1

    @property
    def low_bits(self) -> int:
        """The register's read-only bits: 64-bit (bit 2), prefetchable (bit 3)."""
        return (self.bar.wide << 2) | (self.bar.prefetchable << 3)


def regions(gpu: Gpu) -> tuple[Region, ...]:
    """The GPU's address ranges, each aligned to its size.

    They follow from the minor number, which differs between the GPUs of a host: their ranges do not overlap.
    """
    base, window = _WINDOW_64
    at = base + gpu.minor * window
    found = {}
    for bar in sorted(gpu.model.bars, key=lambda bar: -bar.mib):
        if bar.wide:
            found[bar.index] = Region(bar, at)
            at += bar.mib << 20
        else:
            small, step = _WINDOW_32
            found[bar.index] = Region(bar, small + gpu.minor % _WINDOWS_32 * step)
    return tuple(found[index] for index in sorted(found))


class _Bytes:
    """Little-endian registers."""

    def __init__(self) -> None:
        self.data = bytearray(CONFIG_SIZE)

    def put(self, offset: int, size: int, value: int) -> None:
        self.data[offset : offset + size] = value.to_bytes(size, "little")


def config_space(gpu: Gpu) -> bytes:
    """The 256 bytes of /sys/bus/pci/devices/*/config."""
    kind = gpu.model
    space = _Bytes()
    put = space.put
    put(0x00, 2, kind.vendor)
    put(0x02, 2, kind.device)
    # Command: memory space, bus master, parity error response, SERR#, INTx disabled. Status: capability list.
    put(0x04, 2, 0x0546)
    put(0x06, 2, 0x0010)
    put(0x08, 1, kind.revision)
    put(0x09, 3, kind.class_code)
    for region in regions(gpu):
        put(0x10 + 4 * region.bar.index, 8 if region.bar.wide else 4, region.first | region.low_bits)
    put(0x2C, 2, kind.subsystem_vendor)
    put(0x2E, 2, kind.subsystem_device)
    put(0x34, 1, _POWER)
    put(0x3C, 1, IRQ)
    put(0x3D, 1, 1)  # interrupt pin INTA#
    _power_management(space)
    _message_interrupts(space)
    _express(space, kind)
    return bytes(space.data)


def _power_management(space: _Bytes) -> None:
    space.put(_POWER, 1, 0x01)
    space.put(_POWER + 1, 1, _MSI)
    space.put(_POWER + 2, 2, 0x0003)  # version 3; no D1, D2, PME#
    space.put(_POWER + 4, 2, 0x0008)  # D0, no soft reset


def _message_interrupts(space: _Bytes) -> None:
    space.put(_MSI, 1, 0x05)
    space.put(_MSI + 1, 1, _EXPRESS)
    space.put(_MSI + 2, 2, 0x0188)  # disabled, 16 vectors, 64-bit addresses, per-vector masking
    space.put(_MSIX, 1, 0x11)
    space.put(_MSIX + 1, 1, 0)
    space.put(_MSIX + 2, 2, 0x8000 | (9 - 1))  # enabled, 9 vectors
    space.put(_MSIX + 4, 4, 0x00B90000)  # vector table: this offset in region 0
    space.put(_MSIX + 8, 4, 0x00BA0000)  # pending bits: the same


def _express(space: _Bytes, kind: Profile) -> None:
    speed, width = kind.link_generation, kind.link_width
    at = _EXPRESS
    space.put(at, 1, 0x10)
    space.put(at + 1, 1, _MSIX)
    space.put(at + 0x02, 2, 0x0002)  # capability version 2, endpoint
    # Device: payload 256 bytes, extended tags, L0s and L1 latency unlimited, role-based errors, function level reset.
    space.put(at + 0x04, 4, 1 | 1 << 5 | 7 << 6 | 7 << 9 | 1 << 15 | 1 << 28)
    # Control: report errors, relaxed ordering, payload 256, extended tags, no snoop, read requests of 512 bytes.
    space.put(at + 0x08, 2, 0x000F | 1 << 4 | 1 << 5 | 1 << 8 | 1 << 11 | 2 << 12)
    # Link: speed, width, clock power management, ASPM optionality compliance.
    space.put(at + 0x0C, 4, speed | width << 4 | 1 << 18 | 1 << 22)
    space.put(at + 0x10, 2, 1 << 6)  # common clock
    space.put(at + 0x12, 2, speed | width << 4 | 1 << 12)  # slot clock
    space.put(at + 0x24, 4, 0x2 | 1 << 4)  # completion timeout range B, may be disabled
    space.put(at + 0x2C, 4, ((1 << speed) - 1) << 1)  # speeds: this one and all before it
    space.put(at + 0x30, 2, speed)  # target speed
    if speed >= 3:
        space.put(at + 0x32, 2, 0x001E)  # equalisation complete, its three phases successful


def resource_text(gpu: Gpu) -> str:
    """The `resource` file: a line with first address, last address and flags for six registers, the ROM and SR-IOV.

    Flags are those of include/linux/ioport.h: IORESOURCE_MEM, _PREFETCH, _SIZEALIGN and _MEM_64, and the register's
    low bits.
    """
    rows = [(0, 0, 0)] * 13
    for region in regions(gpu):
        flags = 0x40200 | (region.bar.prefetchable * 0x2000) | (region.bar.wide * 0x100000) | region.low_bits
        rows[region.bar.index] = (region.first, region.last, flags)
    return "".join(f"0x{first:016x} 0x{last:016x} 0x{flags:016x}\n" for first, last, flags in rows)
