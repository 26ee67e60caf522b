"""The host image: the flat file that tells the shims everything about the host, laid out as csrc/vgpu/wire.h says."""

import os
import tempfile
from pathlib import Path
from typing import Any

from vgpu_harness.errors import ImageError
from vgpu_harness.host.faults import FunctionFault, ImageFault, SymbolFault
from vgpu_harness.host.model import Gpu, Host
from vgpu_harness.host.profile import attribute_ids
from vgpu_harness.host.tree import Row, Tree

_MAGIC = b"VGPUHOST"
_ALIGNMENT = 8
_MIB = 1 << 20


def write_image(host: Host, tree: Tree, path: str | os.PathLike[str]) -> Path:
    """Writes the host image. The file appears whole or not at all, and is read-only.

    Args:
        host: what the image describes.
        tree: as ``write_tree`` answered it; its files must still be there.
        path: where to.

    Raises:
        OSError: the file cannot be written, or a file of the tree is gone.
    """
    path = Path(path)
    data = _spoiled(host, _layout(host, tree))
    handle, temporary = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(data)
            os.fchmod(file.fileno(), 0o444)
        Path(temporary).replace(path)
    except BaseException:
        Path(temporary).unlink()
        raise
    return path


def check_image(path: str | os.PathLike[str]) -> None:
    """Reads an image as the shims do.

    Raises:
        ImageError: it is truncated, foreign, of a version that the shims do not read, or damaged.
        OSError: it cannot be read.
    """
    from vgpu_harness._wire import ffi, lib

    data = Path(path).read_bytes()
    # The reader maps whole pages, so it may rely on an alignment that a bytes object does not promise.
    memory = ffi.new("uint64_t[]", len(data) // _ALIGNMENT + 1)
    ffi.memmove(memory, data, len(data))
    reason = lib.vgpu_image_check(memory, len(data))
    if reason != ffi.NULL:
        raise ImageError(f"{os.fspath(path)}: {ffi.string(reason).decode()}; write the image again from its host file")


def is_image(path: str | os.PathLike[str]) -> bool:
    """Does the file start as a host image does?"""
    with Path(path).open("rb") as file:
        return file.read(len(_MAGIC)) == _MAGIC


class _Text:
    """The text span: every string once, each with its NUL."""

    def __init__(self, offset: int) -> None:
        self.offset = offset
        self.data = bytearray()
        self._at: dict[bytes, int] = {}

    def put(self, text: str | bytes) -> int:
        raw = text.encode("utf-8", "surrogateescape") if isinstance(text, str) else text
        if raw not in self._at:
            self._at[raw] = self.offset + len(self.data)
            self.data += raw + b"\0"
        return self._at[raw]


def _layout(host: Host, tree: Tree) -> bytes:
    from vgpu_harness._wire import ffi, lib

    fault_rows = _fault_rows(host)
    rows = sorted(tree.rows, key=lambda row: (-len(os.fsencode(row.path)), row.path))
    attributes = [_attributes(gpu) for gpu in host.gpu]

    sizes: list[tuple[str, int]] = [("struct vgpu_gpu[]", len(host.gpu))]
    sizes += [("struct vgpu_attribute[]", len(found)) for found in attributes]
    sizes += [("struct vgpu_fault[]", len(fault_rows)), ("struct vgpu_path[]", len(rows))]
    sizes += [("uint32_t[]", len(host.gate.allow)), ("uint32_t[]", len(host.gate.deny))]
    tables = [ffi.new(kind, count) for kind, count in sizes]
    spans, end = [], ffi.sizeof("struct vgpu_image")
    for table in tables:
        end = -(-end // _ALIGNMENT) * _ALIGNMENT
        spans.append({"offset": end, "count": len(table)})
        end += ffi.sizeof(table)
    text = _Text(end)
    text.put("")

    gpus, *lists = tables
    faults, paths, allow, deny = lists[len(attributes) :]
    for i, gpu in enumerate(host.gpu):
        _fill_gpu(gpus[i], gpu, spans[1 + i])
        for j, (number, value) in enumerate(attributes[i]):
            lists[i][j] = (number, value)
    for i, fault in enumerate(fault_rows):
        _fill_fault(faults[i], fault, text, lib)
    for i, row in enumerate(rows):
        _fill_path(paths[i], row, text, lib)
    for i, name in enumerate(host.gate.allow):
        allow[i] = text.put(name)
    for i, name in enumerate(host.gate.deny):
        deny[i] = text.put(name)

    image = ffi.new("struct vgpu_image *")
    image.magic = _MAGIC
    image.version = lib.VGPU_IMAGE_VERSION
    image.header_size = ffi.sizeof("struct vgpu_image")
    image.size = text.offset + len(text.data)
    image.build_id = ffi.string(lib.vgpu_build_id())
    image.driver.version = host.driver.version.encode()
    image.driver.nvml_version = host.driver.nvml.encode()
    image.driver.cuda_version = host.driver.cuda_number
    image.gate.auto_init = host.gate.auto_init
    image.gate.calls_before = host.gate.calls_before
    for family in host.gate.before_gate:
        image.gate.before_gate |= 1 << getattr(lib, f"VGPU_FAMILY_{family.upper()}")
    image.gpus = spans[0]
    image.faults, image.paths, image.gate.allow, image.gate.deny = spans[1 + len(attributes) :]
    image.text = {"offset": text.offset, "count": len(text.data)}

    data = bytearray(image.size)
    data[: image.header_size] = ffi.buffer(image)
    for span, table in zip(spans, tables, strict=True):
        data[span["offset"] : span["offset"] + ffi.sizeof(table)] = ffi.buffer(table)
    data[text.offset :] = text.data
    return bytes(data)


def _fault_rows(host: Host) -> list[FunctionFault | SymbolFault]:
    """The faults that C has to know of, those of functions first: of several for one function the first one holds.

    A missing symbol of the CUDA shim is among them, as cuGetProcAddress is not to know it either.
    """
    functions = [fault for fault in host.faults if isinstance(fault, FunctionFault)]
    missing = [fault for fault in host.faults if isinstance(fault, SymbolFault) and fault.library == "cuda"]
    return [*functions, *missing]


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
        "GPU_PCI_DEVICE_ID": gpu.model.device << 16 | gpu.model.vendor,
        "GPU_PCI_SUBSYSTEM_ID": gpu.model.subsystem_device << 16 | gpu.model.subsystem_vendor,
    }
    ids = attribute_ids()
    return sorted((ids[name], value) for name, value in values.items())


def _uuid_bytes(text: str) -> bytes:
    return bytes.fromhex(text.removeprefix("GPU-").replace("-", ""))


def _fill_gpu(out: Any, gpu: Gpu, attributes: dict[str, int]) -> None:
    out.name = gpu.name.encode()
    out.serial = gpu.serial.encode()
    out.uuid = _uuid_bytes(gpu.uuid)
    out.nvml_uuid = _uuid_bytes(gpu.nvml_uuid)
    out.pci_domain, out.pci_bus, out.pci_device = gpu.pci_numbers
    out.pci_id = gpu.model.device << 16 | gpu.model.vendor
    out.pci_subsystem_id = gpu.model.subsystem_device << 16 | gpu.model.subsystem_vendor
    out.minor_number = gpu.minor
    out.compute_major, out.compute_minor = gpu.compute_numbers
    out.memory_total = gpu.memory_mib * _MIB
    out.memory_reserved = gpu.reserved_mib * _MIB
    out.memory_used = gpu.used_mib * _MIB
    out.attributes = attributes


def _fill_fault(out: Any, fault: FunctionFault | SymbolFault, text: _Text, lib: Any) -> None:
    if isinstance(fault, SymbolFault):
        out.function, out.flags = text.put(fault.missing_symbol), lib.VGPU_FAULT_HIDDEN
        return
    out.function = text.put(fault.function)
    if fault.result is not None:
        out.flags |= lib.VGPU_FAULT_RESULT
        out.result = fault.result
    if fault.value is not None:
        out.flags |= lib.VGPU_FAULT_VALUE
        out.value = fault.value
    if fault.text is not None:
        out.flags |= lib.VGPU_FAULT_TEXT
        out.text = text.put(fault.text)
    out.after = fault.after
    out.delay_ms = round(fault.delay * 1000)


def _fill_path(out: Any, row: Row, text: _Text, lib: Any) -> None:
    out.path, out.target = text.put(row.path), text.put(row.target)
    out.path_length, out.target_length = len(os.fsencode(row.path)), len(os.fsencode(row.target))
    out.kind = lib.VGPU_PATH_TREE if row.whole else lib.VGPU_PATH_EXACT
    if row.device is not None:
        facts = Path(row.target).stat()
        out.device, out.rdev = 1, os.makedev(*row.device)
        out.tree_dev, out.tree_ino = facts.st_dev, facts.st_ino


def _spoiled(host: Host, data: bytes) -> bytes:
    """The image as an image fault wants it: one that the shims must refuse, for the fault's own reason."""
    from vgpu_harness._wire import ffi, lib

    kinds = {fault.image for fault in host.faults if isinstance(fault, ImageFault)}
    if "truncated" in kinds:
        return data[: len(data) // 2]
    if "foreign" in kinds:
        return b"NOTVGPU\0" + data[len(_MAGIC) :]
    if "version" in kinds:
        at = ffi.offsetof("struct vgpu_image", "version")
        newer = bytes(ffi.buffer(ffi.new("uint32_t *", lib.VGPU_IMAGE_VERSION + 1)))
        return data[:at] + newer + data[at + len(newer) :]
    return data
