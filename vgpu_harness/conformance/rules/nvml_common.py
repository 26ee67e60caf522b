"""What the rules of NVML share: asking for numbers and texts, wrong arguments, and who may change a GPU."""

import contextlib
import ctypes
import os
from pathlib import Path
from typing import Any

from vgpu_harness.conformance.api import Nvml
from vgpu_harness.conformance.library import pointer_type

SUCCESS, UNINITIALIZED, INVALID_ARGUMENT, NOT_SUPPORTED, NO_PERMISSION = 0, 1, 2, 3, 4
NOT_FOUND, INSUFFICIENT_SIZE, IN_USE, VERSION_MISMATCH, NOT_READY = 6, 7, 19, 25, 27

_CLONE_NEWUSER, _NOBODY = 0x10000000, 65534


def version(nvml: Nvml, kind: str, number: int) -> int:
    """The version number of a struct: its size, and the number in the highest byte (NVML_STRUCT_VERSION)."""
    return int(nvml.ffi.sizeof(kind)) | number << 24


def number(nvml: Nvml, function: str, *arguments: Any) -> int | None:
    """Asks for a number, the last argument: it; None where a foreign library's device does not have it.

    On the simulated host it must be there.
    """
    out = nvml.out(pointer_type(function).args[-1].item.cname)
    if nvml.host is None and nvml.expect((SUCCESS, NOT_SUPPORTED), function, *arguments, out) == NOT_SUPPORTED:
        return None
    if nvml.host is not None:
        nvml.ok(function, *arguments, out)
    return int(nvml.value(out))


def is_number(nvml: Nvml, wanted: int, function: str, *arguments: Any) -> None:
    """Claims that a function answers a number; of a foreign library, that it answers any, or that it has none."""
    got = number(nvml, function, *arguments)
    if nvml.host is not None:
        nvml.equal(got, wanted, f"{function}{arguments[1:]}")


def refuses_nothing(nvml: Nvml, function: str, *arguments: Any) -> None:
    """Claims that a function refuses NULL for its handle, the first argument, and for its output, the last one."""
    out = nvml.out("char", 4096)
    nvml.expect(INVALID_ARGUMENT, function, None, *arguments[1:], nvml.ffi.cast("void *", out))
    nvml.untouched(out)
    nvml.expect(INVALID_ARGUMENT, function, *arguments, None)


def is_text(nvml: Nvml, wanted: str, function: str, *arguments: Any, room: int = 96) -> None:
    """Claims that a function answers a text into a buffer and its size, the last two arguments.

    Args:
        nvml: the library.
        wanted: the text on the simulated host.
        function: the function.
        *arguments: those before the buffer.
        room: its size.
    """
    text = nvml.out("char", room)
    if nvml.host is None and nvml.expect((SUCCESS, NOT_SUPPORTED), function, *arguments, text, room) == NOT_SUPPORTED:
        return
    if nvml.host is not None:
        nvml.ok(function, *arguments, text, room)
        nvml.equal(nvml.text(text), wanted, function)
    said, small = nvml.text(text), nvml.out("char", room)
    nvml.expect(INSUFFICIENT_SIZE, function, *arguments, small, len(said))
    nvml.untouched(small)
    nvml.ok(function, *arguments, small, len(said) + 1)
    nvml.equal(nvml.text(small), said, f"{function} in a buffer that it just fits")
    nvml.expect(INVALID_ARGUMENT, function, *arguments, None, room)


def checks_version(nvml: Nvml, function: str, device: Any, kind: str, number: int, **fields: Any) -> None:
    """Claims that a function with a versioned struct refuses another version, NULL, and a wrong handle."""
    right = version(nvml, kind, number)
    for wrong in (0, right + 1, right + (8 << 24), right & 0xFFFFFF):
        box = nvml.out(kind, version=wrong, **fields)
        before = bytes(nvml.ffi.buffer(box))
        nvml.expect(VERSION_MISMATCH, function, device, box)
        nvml.equal(bytes(nvml.ffi.buffer(box)), before, f"what {function} has left of a struct of version {wrong:#x}")
    nvml.expect(INVALID_ARGUMENT, function, device, None)
    nvml.expect(INVALID_ARGUMENT, function, None, nvml.out(kind, version=right, **fields))


def may_change(nvml: Nvml) -> bool:
    """Whether a rule may change settings: on a simulated GPU alone, and as root, which this process then is.

    A user who is not root becomes it in a user namespace of its own, which is enough for the shims.
    """
    if nvml.host is None:
        return False
    if os.geteuid() != 0:
        own = os.geteuid()
        if ctypes.CDLL(None).unshare(_CLONE_NEWUSER) == 0:
            with contextlib.suppress(OSError):
                Path("/proc/self/uid_map").write_text(f"0 {own} 1")
    nvml.check(os.geteuid() == 0, "this process is root, in a user namespace at least")
    return True


def is_roots(nvml: Nvml, function: str, *arguments: Any) -> None:
    """Claims that a function is root's alone. To be called before `may_change`.

    In a user namespace that has no other user nobody can be refused.
    """
    if os.geteuid() != 0:
        nvml.expect(NO_PERMISSION, function, *arguments)
        return
    with contextlib.suppress(OSError):
        os.seteuid(_NOBODY)
        try:
            nvml.expect(NO_PERMISSION, function, *arguments)
        finally:
            os.seteuid(0)
