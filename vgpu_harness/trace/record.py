"""One record of a trace, as a value."""

from dataclasses import dataclass
from enum import IntEnum
from typing import Self

from vgpu_harness._wire import lib


class _Named(IntEnum):
    """An enum of the wire format. A value that only a newer writer knows gets its number as its name."""

    @classmethod
    def _missing_(cls, value: object) -> Self | None:
        if not isinstance(value, int):
            return None
        member = int.__new__(cls, value)
        member._name_ = f"{cls.__name__.upper()}_{value}"
        member._value_ = value
        return member


class Kind(_Named):
    """What a record tells (enum vgpu_record_kind of csrc/vgpu/wire.h)."""

    MAPPED = lib.VGPU_RECORD_MAPPED
    INIT = lib.VGPU_RECORD_INIT
    REFUSED = lib.VGPU_RECORD_REFUSED
    GATE = lib.VGPU_RECORD_GATE
    ENTERED = lib.VGPU_RECORD_ENTERED
    CALL = lib.VGPU_RECORD_CALL


class Library(_Named):
    """Who wrote a record (enum vgpu_library of csrc/vgpu/wire.h)."""

    NONE = lib.VGPU_LIBRARY_NONE
    CUDA = lib.VGPU_LIBRARY_CUDA
    NVML = lib.VGPU_LIBRARY_NVML
    SYSCALL = lib.VGPU_LIBRARY_SYSCALL
    EXEC = lib.VGPU_LIBRARY_EXEC
    AUDIT = lib.VGPU_LIBRARY_AUDIT
    CUDALIBS = lib.VGPU_LIBRARY_CUDALIBS
    DLOPEN = lib.VGPU_LIBRARY_DLOPEN


@dataclass(frozen=True, slots=True)
class Record:
    """One event of one process.

    Attributes:
        kind: what happened.
        time_ns: when, CLOCK_MONOTONIC in nanoseconds.
        pid: the process.
        tid: its thread.
        parent: the process's parent at that time.
        library: which of the shims wrote it, or the auditor.
        name: the entry point, "" for records that are not about one.
        text: a path, a reason, or the string that was answered, as the kind of record has it.
        inputs: the arguments that matter, as unsigned 64-bit numbers.
        outputs: the numbers that were answered, as unsigned 64-bit numbers.
        result: the function's result code.
        caller: the return address, 0 if there is none.
        cut: the text was longer than a record can hold.
        faulted: a fault of the host changed the answer.
        unmodelled: there is no model of the function; it answered that it is not supported.
    """

    kind: Kind
    time_ns: int
    pid: int
    tid: int
    parent: int
    library: Library
    name: str
    text: str
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]
    result: int
    caller: int
    cut: bool
    faulted: bool
    unmodelled: bool = False
