"""Reading a trace: of a run that is over, of one that still goes on, of one whose writers were killed."""

import mmap
import os
import struct
from bisect import bisect_right
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Self

from vgpu_harness._wire import ffi, lib
from vgpu_harness.errors import TraceError
from vgpu_harness.trace.create import MAGIC
from vgpu_harness.trace.record import Kind, Library, Record

_SLOT: int = lib.VGPU_SLOT_SIZE
_START: int = lib.VGPU_TRACE_HEADER_SIZE
_FIRST_TEXT: int = lib.VGPU_RECORD_TEXT_SIZE
_INPUTS: int = lib.VGPU_RECORD_INPUTS
_OUTPUTS: int = lib.VGPU_RECORD_OUTPUTS
_MORE_TEXT: int = ffi.offsetof("struct vgpu_more", "text")
_LETTERS = {"uint8_t": "B", "uint16_t": "H", "int32_t": "i", "uint32_t": "I", "uint64_t": "Q"}


def _layout(struct_name: str) -> tuple[struct.Struct, tuple[str, ...]]:
    """A struct of the wire format for Python's struct module, and the names of its fields in order."""
    letters, names, at = "=", [], 0
    for name, field in ffi.typeof(f"struct {struct_name}").fields:
        letters += "x" * (field.offset - at)
        size = ffi.sizeof(field.type)
        if field.type.kind == "primitive":
            letters += _LETTERS[field.type.cname]
        elif field.type.item.cname == "char":
            letters += f"{size}s"
        else:
            letters += _LETTERS[field.type.item.cname] * field.type.length
        names.append(name)
        at = field.offset + size
    return struct.Struct(letters + "x" * (ffi.sizeof(f"struct {struct_name}") - at)), tuple(names)


_HEADER, _HEADER_FIELDS = _layout("vgpu_trace_header")
_RECORD, _RECORD_FIELDS = _layout("vgpu_record")
_MORE, _ = _layout("vgpu_more")

# The reader below takes a record's numbers by their place: a field that moves in wire.h must move here.
if (
    *("state", "index", "kind", "slots", "library", "flags", "inputs", "outputs"),
    *("time_ns", "pid", "tid", "parent", "result", "caller", "in", "out", "text"),
) != _RECORD_FIELDS:
    raise ImportError(f"struct vgpu_record has the fields {_RECORD_FIELDS}, which this reader does not know")


@dataclass(frozen=True)
class _Content:
    records: list[Record]
    torn: int


class Trace:
    """The content of a trace file at the time it was opened.

    Attributes:
        path: the file.
        version: of the format.
        build_id: of the C sources that the harness was built from.
        capacity: slots of the file; a record takes one slot or, with a long text, some more.
        used: slots handed out to writers.
        dropped: records that found no room.
        start_realtime_ns: when the file was made, CLOCK_REALTIME.
        start_monotonic_ns: the same moment on the clock of the records.
    """

    def __init__(self, path: Path, data: bytes | mmap.mmap) -> None:
        header = dict(zip(_HEADER_FIELDS, _HEADER.unpack_from(data), strict=True))
        self.path = path
        self.version: int = header["version"]
        self.build_id: str = header["build_id"].split(b"\0", 1)[0].decode("ascii", "replace")
        self.capacity: int = header["capacity"]
        self.used: int = min(header["next"], self.capacity)
        self.dropped: int = header["dropped"]
        self.start_realtime_ns: int = header["start_realtime_ns"]
        self.start_monotonic_ns: int = header["start_monotonic_ns"]
        self._overrun: bool = header["next"] > self.capacity
        # A copy of what is used: writers may go on, and two looks at one slot must see one thing.
        self._data = bytes(data[_START : _START + self.used * _SLOT])

    @classmethod
    def open(cls, path: str | os.PathLike[str]) -> Self:
        """Reads a trace file, or the trace of a run directory.

        Raises:
            TraceError: there is no such file, or it is not a trace, cut short, or of a newer version.
        """
        place = Path(path)
        if place.is_dir():
            place /= "trace"
        try:
            with place.open("rb") as file:
                size = os.fstat(file.fileno()).st_size
                if size < _START:
                    raise TraceError(f"{place}: {_problem_of_short(file.read(8), size)}")
                with mmap.mmap(file.fileno(), 0, prot=mmap.PROT_READ) as data:
                    _check(place, data, size)
                    return cls(place, data)
        except (OSError, ValueError) as error:
            if isinstance(error, TraceError):
                raise
            reason = error.strerror if isinstance(error, OSError) else str(error)
            raise TraceError(
                f"{place}: cannot read the trace: {reason}; give a trace file or a run directory"
            ) from error

    def __repr__(self) -> str:
        return f"<Trace {self.path} used={self.used}/{self.capacity} dropped={self.dropped}>"

    def __iter__(self) -> Iterator[Record]:
        return iter(self.records)

    def __len__(self) -> int:
        return len(self.records)

    @property
    def records(self) -> list[Record]:
        """All whole records, in the order in which their writers took their slots."""
        return self._content.records

    @property
    def torn(self) -> int:
        """Records that were begun and never finished: their writer was killed, or is at it.

        A slot that was taken and not written at all counts as a record of its own.
        """
        return self._content.torn

    @cached_property
    def _content(self) -> _Content:
        records: list[Record] = []
        torn = 0
        begun, done = lib.VGPU_SLOT_BEGUN, lib.VGPU_SLOT_DONE
        data, used = self._data, self.used
        kinds: dict[int, Kind] = {}
        libraries: dict[int, Library] = {}
        strings: dict[bytes, tuple[str, str]] = {}
        cut, faulted, unmodelled = lib.VGPU_RECORD_CUT, lib.VGPU_RECORD_FAULTED, lib.VGPU_RECORD_UNMODELLED
        at = 0
        # What a record that did not fit has left at the end is counted as dropped already.
        end = self._end_of_written()
        for_slot = _RECORD.iter_unpack(data)
        while at < end:
            fields = next(for_slot)
            state, index, kind, slots, library, flags, inputs, outputs = fields[:8]
            whole = state == done and index == at & 0xFFFFFFFF and 1 <= slots <= used - at
            extra = slots - 1 if whole else 0
            text: bytes = fields[-1]
            if extra:
                for slot in range(at + 1, at + slots):
                    _, more_index, more = _MORE.unpack_from(data, slot * _SLOT)
                    whole = whole and more_index == slot & 0xFFFFFFFF
                    text += more
                    next(for_slot)
            at += 1 + extra
            if not whole:
                torn += 1
                if state == begun:
                    skipped = self._skip_more(at, min(slots - 1, used - at))
                    at += skipped
                    for _ in range(skipped):
                        next(for_slot)
                continue
            if text not in strings:
                strings[text] = _two_strings(text)
            name, words = strings[text]
            if kind not in kinds:
                kinds[kind] = Kind(kind)
            if library not in libraries:
                libraries[library] = Library(library)
            time_ns, pid, tid, parent, result, caller = fields[8:14]
            records.append(
                Record(
                    kinds[kind],
                    time_ns,
                    pid,
                    tid,
                    parent,
                    libraries[library],
                    name,
                    words,
                    fields[14 : 14 + min(inputs, _INPUTS)],
                    fields[14 + _INPUTS : 14 + _INPUTS + min(outputs, _OUTPUTS)],
                    result,
                    caller,
                    flags & cut != 0,
                    flags & faulted != 0,
                    flags & unmodelled != 0,
                )
            )
        return _Content(records, torn)

    def _end_of_written(self) -> int:
        end = self.used
        while self._overrun and end > 0 and self._data[(end - 1) * _SLOT : (end - 1) * _SLOT + 4] == b"\0\0\0\0":
            end -= 1
        return end

    def _skip_more(self, at: int, limit: int) -> int:
        """How many of the slots from `at` on belong to a record that was begun and not finished."""
        for n in range(max(limit, 0)):
            state, index, _ = _MORE.unpack_from(self._data, (at + n) * _SLOT)
            if state not in {lib.VGPU_SLOT_FREE, lib.VGPU_SLOT_MORE} or index not in {0, (at + n) & 0xFFFFFFFF}:
                return n
        return max(limit, 0)

    def object_of(self, record: Record) -> str | None:
        """The path of the object whose code called, or None if the trace does not tell.

        It is the mapped object with the highest load address below the return address. A forked child has no records of
        its own of what is mapped; what its parents had mapped then holds for it.
        """
        if record.caller == 0:
            return None
        pid, seen = record.pid, set[int]()
        while pid not in seen:
            seen.add(pid)
            loaded = self._mapped.get(pid)
            if loaded is not None:
                return loaded.find(record.time_ns, record.caller)
            if pid not in self._parents:
                return None
            pid = self._parents[pid]
        return None

    @cached_property
    def _parents(self) -> dict[int, int]:
        return {record.pid: record.parent for record in reversed(self.records)}

    @cached_property
    def _mapped(self) -> dict[int, "_Mapped"]:
        mapped: dict[int, _Mapped] = {}
        for record in self.records:
            if record.kind == Kind.MAPPED and record.inputs:
                mapped.setdefault(record.pid, _Mapped()).add(record)
        return mapped


class _Mapped:
    """The objects of one process, program after program: exec starts afresh."""

    def __init__(self) -> None:
        self._records: list[Record] = []
        self._times: list[int] = []

    def add(self, record: Record) -> None:
        self._records.append(record)
        self._times.append(record.time_ns)

    def find(self, time_ns: int, address: int) -> str | None:
        """Where `address` was at `time_ns`."""
        known = self._records[: bisect_right(self._times, time_ns)]
        best: Record | None = None
        for n in range(len(known) - 1, -1, -1):
            mapped = known[n]
            if mapped.inputs[0] <= address and (best is None or mapped.inputs[0] > best.inputs[0]):
                best = mapped
            # The dynamic linker is the second object of a program; before it stands the program itself.
            if Path(mapped.text).name.startswith("ld-linux") and n > 0:
                program = known[n - 1]
                if program.inputs[0] <= address and (best is None or program.inputs[0] > best.inputs[0]):
                    best = program
                break
        return best.text if best is not None else None


def _two_strings(text: bytes) -> tuple[str, str]:
    name, _, rest = text.partition(b"\0")
    words = rest.partition(b"\0")[0]
    return name.decode("utf-8", "backslashreplace"), words.decode("utf-8", "backslashreplace")


def _problem_of_short(start: bytes, size: int) -> str:
    if start == MAGIC:
        return f"truncated: {size} bytes, where the header alone has {_START}; copy the trace again"
    return "is not a trace; give the file that `vgpu-harness run --trace FILE` wrote, or a run directory"


def _check(path: Path, data: mmap.mmap, size: int) -> None:
    header = dict(zip(_HEADER_FIELDS, _HEADER.unpack_from(data), strict=True))
    if header["magic"] != MAGIC:
        raise TraceError(f"{path}: {_problem_of_short(bytes(data[:8]), size)}")
    if not 1 <= header["version"] <= lib.VGPU_TRACE_VERSION:
        raise TraceError(
            f"{path}: trace format version {header['version']}, this vgpu-harness reads 1 to "
            f"{lib.VGPU_TRACE_VERSION}; read it with the newer vgpu-harness that wrote it"
        )
    if header["slot_size"] != _SLOT:
        raise TraceError(f"{path}: damaged: slots of {header['slot_size']} bytes instead of {_SLOT}; record it again")
    if _START + header["capacity"] * _SLOT > size:
        raise TraceError(
            f"{path}: truncated: {size} bytes, where {header['capacity']} slots need "
            f"{_START + header['capacity'] * _SLOT}; copy the trace again"
        )
