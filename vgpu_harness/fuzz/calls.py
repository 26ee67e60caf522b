"""Calls as values: what is asked of a library, wherever it is asked, in this process or in another one."""

import functools
from enum import Enum
from typing import Any, NamedTuple

from vgpu_harness.fuzz import functions

MARK = 90
"""What memory has in each byte before a call, behind the bytes that were given."""


class Memory(NamedTuple):
    """An argument that is the address of memory of the caller.

    Attributes:
        size: bytes, 0 to 4096.
        given: what the first of them are before the call; the others are `MARK`.
        keep: the register, 0 to 255, that gets the first 8 bytes if the call wrote any; None for none.
    """

    size: int
    given: bytes = b""
    keep: int | None = None

    def filled(self) -> bytes:
        """What is in it before the call."""
        return self.given.ljust(self.size, bytes((MARK,)))


class TextAt(NamedTuple):
    """An argument that is the address of a pointer which the call lets point to a text: ``const char **``."""


class Kept(NamedTuple):
    """An argument that is what an earlier call of the sequence has written, 0 if none did; see `Memory.keep`."""

    register: int


Argument = int | Memory | TextAt | Kept
"""A number stands for itself: an int, a handle, an address, or NULL."""


class Call(NamedTuple):
    """One call. Thread 0 is the first of the process; there are 4."""

    function: str
    arguments: tuple[Argument, ...] = ()
    thread: int = 0

    def __repr__(self) -> str:
        thread = f", thread={self.thread}" if self.thread else ""
        return f"Call({self.function!r}, {self.arguments!r}{thread})"


def c_string(text: str | bytes) -> Memory:
    """A string with its NUL, as an argument."""
    raw = text.encode() if isinstance(text, str) else text
    return Memory(len(raw) + 1, raw + b"\0")


class Kind(Enum):
    """What a parameter is to its function."""

    NUMBER = "a number by value"
    HANDLE = "a handle by value: CUcontext, nvmlDevice_t"
    STRING = "a text that is read"
    TEXT = "memory for a text; the parameter behind it is its length"
    TEXT_AT = "the address of a pointer to a text"
    OUT_NUMBER = "the address of a number"
    OUT_HANDLE = "the address of a handle, or of a device or function address"
    STRUCT = "the address of a struct, read, written, or both"


class Parameter(NamedTuple):
    """A parameter: `size` is that of the number, or of what is pointed to; `type` is as in C."""

    kind: Kind
    size: int
    signed: bool
    type: str


class Signature(NamedTuple):
    """An entry point as the lists in csrc/ declare it.

    Attributes:
        api: "cuda" or "nvml".
        parameters: in their order.
        returns_text: it answers a text instead of a code.
    """

    api: str
    parameters: tuple[Parameter, ...]
    returns_text: bool


def _pointee(target: Any, following: Any) -> Kind:
    """What a pointer to `target` is to a function whose next parameter is of type `following` (None: no more)."""
    from vgpu_harness._wire import ffi

    if target.kind == "struct":
        try:
            ffi.sizeof(target)
        except ffi.error:
            # A handle is a pointer to a struct that nobody declares.
            return Kind.HANDLE
        return Kind.STRUCT
    if target.kind == "pointer":
        return Kind.TEXT_AT if target.item.cname == "char" else Kind.OUT_HANDLE
    if target.cname == "char":
        return Kind.TEXT if following is not None and following.kind == "primitive" else Kind.STRING
    # cuda.h has device addresses and memory handles, and nothing else, as unsigned long long.
    return Kind.OUT_HANDLE if target.cname == "unsigned long long" else Kind.OUT_NUMBER


def _is_signed(kind: Any) -> bool:
    from vgpu_harness._wire import ffi

    return kind.kind in {"primitive", "enum"} and int(ffi.cast(kind, -1)) < 0


def _parameter(kind: Any, following: Any) -> Parameter:
    from vgpu_harness._wire import ffi

    what = _pointee(kind.item, following) if kind.kind == "pointer" else Kind.NUMBER
    measured = kind if what in {Kind.NUMBER, Kind.HANDLE} else kind.item
    return Parameter(what, int(ffi.sizeof(measured)), _is_signed(measured), str(kind.cname))


@functools.cache
def signatures() -> dict[str, Signature]:
    """The entry points that sequences are drawn from, by name; their parameters are those of the lists in csrc/."""
    from vgpu_harness._wire import ffi, lib

    found: dict[str, Signature] = {}
    for api, names in (("cuda", functions.CUDA), ("nvml", functions.NVML)):
        for name in names:
            function = ffi.typeof(getattr(lib, f"vgpu_call_{name}"))
            types = [*function.args[1:], None]
            parameters = tuple(_parameter(kind, types[i + 1]) for i, kind in enumerate(types[:-1]))
            found[name] = Signature(api, parameters, function.result.kind == "pointer")
    return found
