"""The part of the host image that describes the GPUs, and the pieces that an image is laid out from."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from vgpu_harness.host.gpu import Gpu, GpuProcess, mig_name
from vgpu_harness.host.mig import MEMORY_SLICES, default_mig_uuid
from vgpu_harness.host.profile import attribute_ids
from vgpu_harness.host.properties import merged, property_ids, text_ids

MIB = 1 << 20
_ALIGNMENT = 8


class Text:
    """The text span: every string once, each with its NUL."""

    def __init__(self, offset: int) -> None:
        self.offset = offset
        self.data = bytearray()
        self._at: dict[bytes, int] = {}

    def put(self, text: str | bytes) -> int:
        """Keeps the text; answers its offset from the start of the image."""
        raw = text.encode("utf-8", "surrogateescape") if isinstance(text, str) else text
        if raw not in self._at:
            self._at[raw] = self.offset + len(self.data)
            self.data += raw + b"\0"
        return self._at[raw]


@dataclass
class Table:
    """The rows of one kind, and where in the image they stand."""

    rows: Any
    span: dict[str, int]


class Tables:
    """The tables of an image, one behind the other."""

    def __init__(self, ffi: Any, end: int) -> None:
        self._ffi = ffi
        self.end = end
        self.all: list[Table] = []

    def add(self, kind: str, count: int) -> Table:
        """Room for `count` objects of the C type `kind`, all zero."""
        offset = -(-self.end // _ALIGNMENT) * _ALIGNMENT
        table = Table(self._ffi.new(f"{kind}[]", count), {"offset": offset, "count": count})
        self.end = offset + self._ffi.sizeof(table.rows)
        self.all.append(table)
        return table


@dataclass
class GpuTables:
    """What of a GPU stands outside of its own row, with the values that come there."""

    attributes: tuple[Table, list[tuple[int, int]]]
    properties: tuple[Table, list[tuple[int, int, int]]]
    texts: tuple[Table, list[tuple[int, int, str]]]
    processes: tuple[Table, Sequence[GpuProcess]]
    migs: Table
    mig_profiles: Table


def gpu_tables(gpu: Gpu, tables: Tables) -> GpuTables:
    """Makes room for the tables of a GPU."""
    attributes = _attributes(gpu)
    numbers, texts = _properties(gpu)
    return GpuTables(
        (tables.add("struct vgpu_attribute", len(attributes)), attributes),
        (tables.add("struct vgpu_property", len(numbers)), numbers),
        (tables.add("struct vgpu_text", len(texts)), texts),
        (tables.add("struct vgpu_gpu_process", len(gpu.process)), gpu.process),
        tables.add("struct vgpu_mig_device", len(gpu.mig)),
        tables.add("struct vgpu_mig_profile", len(gpu.model.mig)),
    )


def fill_gpu(out: Any, gpu: Gpu, tables: GpuTables, text: Text) -> None:
    """Fills in a GPU's row, a `struct vgpu_gpu`, and its tables."""
    out.name = gpu.name.encode()
    out.serial = gpu.serial.encode()
    out.uuid = _uuid_bytes(gpu.uuid)
    out.nvml_uuid = _uuid_bytes(gpu.nvml_uuid)
    out.pci_domain, out.pci_bus, out.pci_device = gpu.pci_numbers
    out.pci_id = gpu.model.device << 16 | gpu.model.vendor
    out.pci_subsystem_id = gpu.model.subsystem_device << 16 | gpu.model.subsystem_vendor
    out.minor_number = gpu.minor
    out.compute_major, out.compute_minor = gpu.compute_numbers
    out.memory_total = gpu.memory_mib * MIB
    out.memory_reserved = gpu.reserved_mib * MIB
    out.memory_used = gpu.used_mib * MIB
    table, attributes = tables.attributes
    out.attributes = table.span
    for i, pair in enumerate(attributes):
        table.rows[i] = pair
    table, numbers = tables.properties
    out.properties = table.span
    for i, (number, index, value) in enumerate(numbers):
        table.rows[i] = {"id": number, "index": index, "value": value}
    table, texts = tables.texts
    out.texts = table.span
    for i, (number, index, words) in enumerate(texts):
        table.rows[i] = {"id": number, "index": index, "text": text.put(words)}
    _fill_processes(out, gpu, tables, text)
    _fill_migs(out, gpu, tables, text)


def _attributes(gpu: Gpu) -> list[tuple[int, int]]:
    """What cuDeviceGetAttribute answers, by number: the profile's attributes, and those that follow from the GPU."""
    domain, bus, device = gpu.pci_numbers
    major, minor = gpu.compute_numbers
    values = gpu.model.attributes | {
        "PCI_BUS_ID": bus,
        "PCI_DEVICE_ID": device,
        "PCI_DOMAIN_ID": domain,
        "COMPUTE_CAPABILITY_MAJOR": major,
        "COMPUTE_CAPABILITY_MINOR": minor,
        "LOCALITY_DOMAIN_MULTIPROCESSOR_COUNT": gpu.model.attributes["MULTIPROCESSOR_COUNT"],
        "GPU_PCI_DEVICE_ID": gpu.model.device << 16 | gpu.model.vendor,
        "GPU_PCI_SUBSYSTEM_ID": gpu.model.subsystem_device << 16 | gpu.model.subsystem_vendor,
    }
    ids = attribute_ids()
    return sorted((ids[name], value) for name, value in values.items())


def _properties(gpu: Gpu) -> tuple[list[tuple[int, int, int]], list[tuple[int, int, str]]]:
    """Numbers and texts, by id, then by index: the host file's before what follows from it before the profile's."""
    numbers, texts = property_ids(), text_ids()
    found = merged(gpu.model.properties, _following(gpu), gpu.nvml)
    rows = [(name, index, value) for name, values in found.items() for index, value in values.items()]
    return (
        sorted((numbers[name], index, value) for name, index, value in rows if isinstance(value, int)),
        sorted((texts[name], index, value) for name, index, value in rows if isinstance(value, str)),
    )


def _following(gpu: Gpu) -> dict[str, int]:
    """Utilisation, from the processes; MIG is on where there are MIG devices."""
    found: dict[str, int] = {}
    if gpu.process:
        columns = {"GPU": "sm", "MEMORY": "memory", "ENCODER": "encoder", "DECODER": "decoder"}
        for name, column in columns.items():
            total = sum(getattr(process, column) for process in gpu.process)
            found[f"UTILIZATION_{name}"] = min(100, total)
    return found | ({"MIG": 1} if gpu.mig else {})


def _fill_processes(out: Any, gpu: Gpu, tables: GpuTables, text: Text) -> None:
    from vgpu_harness._wire import lib

    table, processes = tables.processes
    out.processes = table.span
    place = {device.order: 1 + i for i, device in enumerate(gpu.mig_devices)}
    for i, process in enumerate(processes):
        table.rows[i] = {
            "kind": getattr(lib, f"VGPU_PROCESS_{process.kind.upper()}"),
            "pid": 0 if process.pid == "self" else process.pid,
            "name": text.put(process.name),
            "sm": process.sm,
            "memory": process.memory,
            "encoder": process.encoder,
            "decoder": process.decoder,
            "mig": 0 if process.mig is None else place[process.mig],
            "used": process.memory_mib * MIB,
        }


def _fill_migs(out: Any, gpu: Gpu, tables: GpuTables, text: Text) -> None:
    out.migs, out.mig_profiles = tables.migs.span, tables.mig_profiles.span
    for i, device in enumerate(gpu.mig_devices):
        row, wanted = device.profile, gpu.mig[device.order]
        tables.migs.rows[i] = {
            "name": mig_name(gpu.name, row.name).encode(),
            "uuid": _uuid_bytes(wanted.uuid or default_mig_uuid(gpu.uuid, device.order)),
            "gpu_instance": device.gpu_instance,
            "compute_instance": 0,
            "profile": row.number,
            "compute_profile": row.compute_number,
            "start": device.start,
            "size": row.memory_slices,
            "compute_slices": row.compute_slices,
            "multiprocessors": row.multiprocessors,
            "memory": row.memory_mib * MIB,
        }
    for i, row in enumerate(gpu.model.mig):
        tables.mig_profiles.rows[i] = {
            "name": text.put(row.name),
            "profile": row.number,
            "compute_profile": row.compute_number,
            "id": row.id,
            "compute_slices": row.compute_slices,
            "memory_slices": row.memory_slices,
            "multiprocessors": row.multiprocessors,
            "copy_engines": row.copy_engines,
            "decoders": row.decoders,
            "encoders": row.encoders,
            "jpegs": row.jpegs,
            "ofas": row.ofas,
            "instances": row.instances,
            "starts": sum(1 << start for start in row.starts if start < MEMORY_SLICES),
            "memory": row.memory_mib * MIB,
        }


def _uuid_bytes(text: str) -> bytes:
    return bytes.fromhex(text[len("GPU-") :].replace("-", ""))
