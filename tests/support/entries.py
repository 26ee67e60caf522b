"""The entry points of an API as data, and calls of all of them with the same kind of arguments."""

import os
import select
import signal
import traceback
from collections.abc import Callable
from typing import Any

from vgpu_harness._wire import ffi, lib

ALWAYS, READY, INIT, INITIALISED, CHECKED = range(5)
"""enum vgpu_when of csrc/vgpu/call.h."""

BUFFER = 512
MARKED = b"\x5a" * (BUFFER - 8) + bytes(8)
"""What a marked buffer holds; it ends in zeros, since a text has an end."""


def entries(api: str) -> dict[str, int]:
    """The entry points of "cuda" or "nvml", each with its enum vgpu_when."""
    name_of, when_of = (getattr(lib, f"vgpu_{api}_{what}") for what in ("name", "when"))
    found: dict[str, int] = {}
    while (name := name_of(len(found))) != ffi.NULL:
        found[ffi.string(name).decode()] = int(when_of(len(found)))
    return found


def call_with(name: str, process: Any, make: Callable[[Any], Any]) -> Any:
    """Calls an entry point with the arguments that `make` answers for each parameter's cffi type."""
    function = getattr(lib, f"vgpu_call_{name}")
    kept = [make(kind) for kind in ffi.typeof(function).args[1:]]
    return function(process, *kept)


def _number(kind: Any, number: int) -> Any:
    """`number` as a parameter that is no pointer; a struct that is passed by value is zeroed, a callback NULL."""
    if kind.kind == "struct":
        return ffi.new(f"{kind.cname} *")[0]
    return ffi.cast(kind, number if kind.kind == "primitive" else 0)


def nulls(number: int) -> Callable[[Any], Any]:
    """Makes NULL for pointers and `number` for the rest."""
    return lambda kind: ffi.NULL if kind.kind == "pointer" else _number(kind, number)


nothing = nulls(0)
"""Makes NULL and 0."""


def looks_into_structs(name: str) -> bool:
    """Does this function take a pointer to a struct whose members the shims know?

    Rubbish in such a struct may be a pointer: to follow it is the caller's crash.
    """
    pointers = [kind for kind in ffi.typeof(getattr(lib, f"vgpu_call_{name}")).args[1:] if kind.kind == "pointer"]
    return any(_is_known(kind.item) for kind in pointers)


def _is_known(kind: Any) -> bool:
    if kind.kind not in {"struct", "union"}:
        return False
    try:
        return ffi.sizeof(kind) > 0
    except ffi.error:  # of opaque ones there is no size
        return False


class Marked:
    """Makes memory that is full of a mark for pointers, and `number` for the rest."""

    def __init__(self, number: int = 0) -> None:
        self.number = number
        self.buffers: list[Any] = []

    def __call__(self, kind: Any) -> Any:
        """An argument of this cffi type."""
        if kind.kind != "pointer":
            return _number(kind, self.number)
        self.buffers.append(ffi.new("char[]", BUFFER))
        ffi.memmove(self.buffers[-1], MARKED, BUFFER)
        return ffi.cast(kind, self.buffers[-1])

    def untouched(self) -> bool:
        """Is every buffer as it was?"""
        return all(bytes(ffi.buffer(buffer, BUFFER)) == MARKED for buffer in self.buffers)


def zeros() -> Callable[[Any], Any]:
    """Makes zeroed memory for pointers and 0 for the rest."""
    kept = []

    def make(kind: Any) -> Any:
        if kind.kind != "pointer":
            return _number(kind, 0)
        kept.append(ffi.new("char[]", BUFFER))
        return ffi.cast(kind, kept[-1])

    return make


def in_child(action: Callable[[], Any]) -> str:
    """Runs `action` in a forked child with 30 s of time: repr of what it answered, or how it ended."""
    ours, theirs = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            os.write(theirs, repr(action()).encode()[:4096])
            os._exit(0)
        except BaseException:
            os.write(theirs, traceback.format_exc().encode()[-4096:])
        finally:
            os._exit(1)
    os.close(theirs)
    if not select.select([ours], [], [], 30)[0]:
        os.kill(child, signal.SIGKILL)
    said = os.read(ours, 8192).decode()
    os.close(ours)
    status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    return said if status == 0 else f"ended with {status}: {said}"
