"""The host image: the flat file that tells the shims everything about the host, laid out as csrc/vgpu/wire.h says."""

import os
import tempfile
from pathlib import Path
from typing import Any

from vgpu_harness.errors import ImageError
from vgpu_harness.host.faults import FunctionFault, ImageFault, SymbolFault
from vgpu_harness.host.gate import Rule, reason_of, rule_of
from vgpu_harness.host.image_gpu import MIB, Tables, Text, fill_gpu, gpu_tables
from vgpu_harness.host.model import Host
from vgpu_harness.host.tree import Row, Tree

_MAGIC = b"VGPUHOST"
_ALIGNMENT = 8


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


def is_strict(path: str | os.PathLike[str]) -> bool:
    """Does the image say that calls of functions without a model fail a run? One that the shims refuse does not.

    Raises:
        OSError: it cannot be read.
    """
    from vgpu_harness._wire import ffi

    try:
        check_image(path)
    except ImageError:
        return False
    return bool(ffi.from_buffer("struct vgpu_image *", Path(path).read_bytes()).strict)


def device_targets(path: str | os.PathLike[str]) -> list[str]:
    """Where an image that the shims read has the files of its devices.

    Raises:
        OSError: it cannot be read.
    """
    from vgpu_harness._wire import ffi

    data = Path(path).read_bytes()
    image = ffi.from_buffer("struct vgpu_image *", data)
    start = image.paths.offset
    size = image.paths.count * ffi.sizeof("struct vgpu_path")
    rows = ffi.from_buffer("struct vgpu_path[]", data[start : start + size])
    return [os.fsdecode(data[row.target : row.target + row.target_length]) for row in rows if row.device]


def _layout(host: Host, tree: Tree) -> bytes:
    from vgpu_harness._wire import ffi, lib

    fault_rows = _fault_rows(host)
    rows = sorted(tree.rows, key=lambda row: (-len(os.fsencode(row.path)), row.path))
    tables = Tables(ffi, ffi.sizeof("struct vgpu_image"))
    gpus = tables.add("struct vgpu_gpu", len(host.gpu))
    lists = [gpu_tables(gpu, tables) for gpu in host.gpu]
    faults = tables.add("struct vgpu_fault", len(fault_rows))
    paths = tables.add("struct vgpu_path", len(rows))
    rules = {which: tables.add("struct vgpu_rule", len(getattr(host.gate, which))) for which in ("allow", "deny")}

    text = Text(tables.end)
    for i, gpu in enumerate(host.gpu):
        fill_gpu(gpus.rows[i], gpu, lists[i], text)
    for i, fault in enumerate(fault_rows):
        _fill_fault(faults.rows[i], fault, text, lib)
    for i, row in enumerate(rows):
        _fill_path(paths.rows[i], row, text, lib)
    for which, table in rules.items():
        for i, entry in enumerate(getattr(host.gate, which)):
            _fill_rule(table.rows[i], which, entry, text, lib)

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
    image.strict = host.strict
    image.memory.backing = host.memory.backing_mib * MIB
    image.gpus, image.faults, image.paths = gpus.span, faults.span, paths.span
    image.gate.allow, image.gate.deny = rules["allow"].span, rules["deny"].span
    image.text = {"offset": text.offset, "count": len(text.data)}

    data = bytearray(image.size)
    data[: image.header_size] = ffi.buffer(image)
    for table in tables.all:
        data[table.span["offset"] : table.span["offset"] + ffi.sizeof(table.rows)] = ffi.buffer(table.rows)
    data[text.offset :] = text.data
    return bytes(data)


def _fault_rows(host: Host) -> list[FunctionFault | SymbolFault]:
    """The faults that C has to know of, those of functions first: of several for one function the first one holds.

    A missing symbol of the CUDA shim is among them, as cuGetProcAddress is not to know it either.
    """
    functions = [fault for fault in host.faults if isinstance(fault, FunctionFault)]
    missing = [fault for fault in host.faults if isinstance(fault, SymbolFault) and fault.library == "cuda"]
    return [*functions, *missing]


def _fill_fault(out: Any, fault: FunctionFault | SymbolFault, text: Text, lib: Any) -> None:
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
    if fault.lost is not None:
        out.flags |= lib.VGPU_FAULT_LOST
        out.value = fault.lost
    out.flags |= lib.VGPU_FAULT_CRASH if fault.crash else 0
    out.flags |= lib.VGPU_FAULT_HANG if fault.hang else 0
    out.program = text.put(fault.program) if fault.program is not None else 0
    out.thread = text.put(fault.thread) if fault.thread is not None else 0
    out.gpu = 0 if fault.gpu is None else 1 + fault.gpu
    out.output = fault.output
    out.after, out.times = fault.after, fault.times
    out.delay_ms = round(fault.delay * 1000)


def _fill_rule(out: Any, which: str, entry: str | Rule, text: Text, lib: Any) -> None:
    for key, value in rule_of(entry).asks.items():
        out.text[getattr(lib, f"VGPU_RULE_{key.upper()}")] = text.put(value)
    out.reason = text.put(reason_of(which, entry))


def _fill_path(out: Any, row: Row, text: Text, lib: Any) -> None:
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
