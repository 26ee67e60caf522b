"""A library's functions by the prototypes of this package, and C values as Python has them.

The prototypes are this package's own declarations (csrc/cuda, csrc/nvml), read through cffi; nothing is declared a
second time.
"""

import ctypes
import os
from typing import Any

from vgpu_harness._wire import ffi, lib

POISON = 0xA5
"""Fills outputs before a call: no text, no small number, no valid handle, no boolean has it."""

_SHOWN = 16
"""Bytes of an output, at most, for its value to stand in the log of calls."""


class Missing(Exception):  # noqa: N818 - the same
    """The library does not export a function that the rule calls; the message is its name."""


class Library:
    """A shared library in this process, by the prototypes of this package.

    Args:
        path: the file.

    Raises:
        OSError: it cannot be loaded.
    """

    def __init__(self, path: str) -> None:
        self._handle = ctypes.CDLL(path, mode=os.RTLD_LOCAL | os.RTLD_NOW)
        self._found: dict[str, Any] = {}

    def has(self, name: str) -> bool:
        """Does it export the function?"""
        return self._address(name) is not None

    def _address(self, name: str) -> int | None:
        try:
            return ctypes.cast(self._handle[name], ctypes.c_void_p).value
        except AttributeError:
            return None

    def function(self, name: str) -> Any:
        """The function, as a cffi pointer.

        Raises:
            Missing: it is not exported.
            AttributeError: this package has no declaration of it.
        """
        if name not in self._found:
            kind = pointer_type(name)
            address = self._address(name)
            if address is None:
                raise Missing(name)
            self._found[name] = ffi.cast(kind, address)
        return self._found[name]


def pointer_type(name: str) -> Any:
    """The C type of a pointer to the entry point: our function's, without its first parameter, the state."""
    own = ffi.typeof(getattr(lib, f"vgpu_call_{name}"))
    parameters = ", ".join(argument.cname for argument in own.args[1:]) or "void"
    return ffi.typeof(f"{own.result.cname}(*)({parameters})")


def shown_answer(answer: Any) -> int | str:
    """What a function answered, for the log."""
    if isinstance(answer, ffi.CData) and ffi.typeof(answer).kind == "pointer":
        return "NULL" if answer == ffi.NULL else repr(ffi.string(answer).decode("utf-8", "backslashreplace"))
    return int(answer)


def passed(kind: Any, argument: Any) -> Any:
    """An argument as cffi takes it for a parameter of this type."""
    if argument is None:
        return ffi.NULL
    if isinstance(argument, str):
        argument = argument.encode()
    if kind.kind == "pointer":
        if isinstance(argument, bytes) and kind.item.kind == "void":
            return ffi.from_buffer(argument)
        if isinstance(argument, int):
            return ffi.cast(kind, argument)
    if kind.kind in {"primitive", "enum"}:
        if isinstance(argument, ffi.CData):
            argument = int(ffi.cast("uintptr_t", argument))
        # As C converts it: -1 for an unsigned parameter is its highest number.
        return ffi.cast(kind, argument)
    return argument


def shown(argument: Any) -> str:
    """An argument for the log."""
    if argument is None or (isinstance(argument, ffi.CData) and _is_null(argument)):
        return "NULL"
    if isinstance(argument, ffi.CData):
        kind = ffi.typeof(argument)
        return f"&{kind.item.cname}" if kind.kind == "array" else _number(argument)
    return hex(argument) if isinstance(argument, int) and abs(argument) > 1 << 16 else repr(argument)


def _is_null(argument: Any) -> bool:
    return bool(ffi.typeof(argument).kind == "pointer" and argument == ffi.NULL)


def _number(argument: Any) -> str:
    kind = ffi.typeof(argument)
    return hex(int(ffi.cast("uintptr_t", argument))) if kind.kind == "pointer" else kind.cname


def content(box: Any) -> str:
    """What an output holds, for the log: a number, a text, the poison, or its first bytes."""
    raw = bytes(ffi.buffer(box))
    if set(raw) == {POISON}:
        return "untouched"
    kind = ffi.typeof(box).item
    if kind.cname == "char":
        return repr(raw.partition(b"\0")[0].decode("utf-8", "backslashreplace"))
    if kind.kind in {"primitive", "enum", "pointer"} and len(raw) <= _SHOWN:
        size = ffi.sizeof(kind)
        numbers = [int.from_bytes(raw[i : i + size], "little") for i in range(0, len(raw), size)]
        return " ".join(hex(number) if number > 1 << 16 else str(number) for number in numbers)
    return raw[:_SHOWN].hex()
