"""The shims' code in this process, through the cffi module: each object is a process that has called nothing yet.

Nothing here touches the state of a shim that may be preloaded into this process: the module's own code is called, and
every call names the state that it is about.
"""

import itertools
import os
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Any, NamedTuple, Self

from vgpu_harness._wire import ffi, lib
from vgpu_harness.errors import ImageError, ShimError

PathLike = str | os.PathLike[str]

_UUID_DIGITS = (8, 12, 16, 20)


class State:
    """The state of one simulated process, `struct vgpu_process`. A context manager.

    Args:
        image: the host image; None for a process without one.
        trace: a trace file to write to; None for none.

    Raises:
        ImageError: there is no such image. One that the shims refuse is not an error here: the calls answer so.
        ShimError: no memory.
    """

    def __init__(self, image: PathLike | None = None, *, trace: PathLike | None = None) -> None:
        self._process: Any = ffi.NULL
        if image is not None and not Path(image).is_file():
            raise ImageError(f"{os.fspath(image)}: no such host image; make one with vgpu_harness.host.write_image")
        paths = [ffi.NULL if path is None else ffi.new("char[]", os.fsencode(path)) for path in (image, trace)]
        self._process = lib.vgpu_process_new(*paths)
        if self._process == ffi.NULL:
            raise ShimError("no memory for the state of a process")

    @property
    def process(self) -> Any:
        """The `struct vgpu_process *`, for functions of the cffi module.

        Raises:
            ShimError: it has been closed.
        """
        if self._process == ffi.NULL:
            raise ShimError(f"{type(self).__name__}: is closed; make a new one")
        return self._process

    def close(self) -> None:
        """Frees the state; a second time does nothing."""
        if self._process != ffi.NULL:
            lib.vgpu_process_free(self._process)
            self._process = ffi.NULL

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, _kind: type[BaseException] | None, _error: BaseException | None, _trace: TracebackType | None
    ) -> None:
        self.close()

    def __del__(self) -> None:
        self.close()

    def set_facts(self, **facts: str | int | bool) -> None:
        """Fixes the facts that the process gate is asked about; see `Gate.ask`."""
        lib.vgpu_process_set_facts(self.process, new_facts(**facts))


class Driver(State):
    """An API by the names of its entry points: ``cuda.cuInit(0)`` answers the result code, as an int.

    Arguments are what cffi takes: numbers, bytes, and memory of `vgpu_harness._wire.ffi.new`.
    """

    def __getattr__(self, name: str) -> Callable[..., int]:
        function = getattr(lib, f"vgpu_call_{name}", None) if not name.startswith("_") else None
        if function is None:
            raise AttributeError(f"{type(self).__name__} has no entry point {name!r}; see the .def lists in csrc/")

        def call(*arguments: Any) -> int:
            return int(function(self.process, *arguments))

        call.__name__ = name
        return call

    def number(self, name: str, kind: str, *arguments: Any, before: tuple[Any, ...] = ()) -> tuple[int, int]:
        """Calls an entry point that writes one number: (code, number).

        Args:
            name: the entry point.
            kind: the number's C type.
            arguments: those after the output.
            before: those before it.
        """
        out = ffi.new(f"{kind} *")
        code = getattr(self, name)(*before, out, *arguments)
        return code, int(out[0])

    def text(self, name: str, size: int, *arguments: Any, before: tuple[Any, ...] = ()) -> tuple[int, str]:
        """Calls an entry point that writes a string into a buffer of `size` bytes: (code, string)."""
        out = ffi.new("char[]", size)
        code = getattr(self, name)(*before, out, size, *arguments)
        return code, ffi.string(out).decode("utf-8", "backslashreplace")


class Cuda(Driver):
    """The CUDA driver API in a process of its own."""

    def init(self, flags: int = 0) -> int:
        """cuInit: the code."""
        return self.cuInit(flags)

    def driver_version(self) -> tuple[int, int]:
        """cuDriverGetVersion: (code, 1000 * major + 10 * minor)."""
        return self.number("cuDriverGetVersion", "int")

    def device_count(self) -> tuple[int, int]:
        """cuDeviceGetCount: (code, count)."""
        return self.number("cuDeviceGetCount", "int")

    def device(self, ordinal: int = 0) -> tuple[int, int]:
        """cuDeviceGet: (code, device)."""
        return self.number("cuDeviceGet", "int", ordinal)

    def attribute(self, attribute: int, device: int = 0) -> tuple[int, int]:
        """cuDeviceGetAttribute: (code, value)."""
        return self.number("cuDeviceGetAttribute", "int", attribute, device)

    def name(self, device: int = 0, size: int = 96) -> tuple[int, str]:
        """cuDeviceGetName: (code, name)."""
        return self.text("cuDeviceGetName", size, device)

    def pci_bus_id(self, device: int = 0, size: int = 32) -> tuple[int, str]:
        """cuDeviceGetPCIBusId: (code, "0000:00:05.0")."""
        return self.text("cuDeviceGetPCIBusId", size, device)

    def total_memory(self, device: int = 0) -> tuple[int, int]:
        """cuDeviceTotalMem: (code, bytes)."""
        return self.number("cuDeviceTotalMem_v2", "size_t", device)

    def uuid(self, device: int = 0) -> tuple[int, str]:
        """cuDeviceGetUuid: (code, "GPU-..."), written as NVML writes it."""
        out = ffi.new("CUuuid *")
        code = self.cuDeviceGetUuid(out, device)
        digits = bytes(ffi.buffer(out)).hex()
        ends = (0, *_UUID_DIGITS, len(digits))
        return code, "GPU-" + "-".join(digits[a:b] for a, b in itertools.pairwise(ends))


class Nvml(Driver):
    """NVML in a process of its own."""

    def init(self) -> int:
        """nvmlInit_v2: the code."""
        return self.nvmlInit_v2()

    def shutdown(self) -> int:
        """nvmlShutdown: the code."""
        return self.nvmlShutdown()

    def device_count(self) -> tuple[int, int]:
        """nvmlDeviceGetCount_v2: (code, count)."""
        return self.number("nvmlDeviceGetCount_v2", "unsigned int")

    def driver_version(self, size: int = lib.VGPU_VERSION_TEXT_SIZE) -> tuple[int, str]:
        """nvmlSystemGetDriverVersion: (code, version)."""
        return self.text("nvmlSystemGetDriverVersion", size)

    def device(self, index: int = 0) -> tuple[int, Any]:
        """nvmlDeviceGetHandleByIndex_v2: (code, handle)."""
        out = ffi.new("nvmlDevice_t *")
        return self.nvmlDeviceGetHandleByIndex_v2(index, out), out[0]

    def name(self, device: Any, size: int = lib.VGPU_NAME_SIZE) -> tuple[int, str]:
        """nvmlDeviceGetName: (code, name)."""
        return self.text("nvmlDeviceGetName", size, before=(device,))

    def uuid(self, device: Any, size: int = lib.VGPU_NAME_SIZE) -> tuple[int, str]:
        """nvmlDeviceGetUUID: (code, "GPU-...")."""
        return self.text("nvmlDeviceGetUUID", size, before=(device,))


_READY = {
    lib.VGPU_READY: "ready",
    lib.VGPU_TOO_EARLY: "too early",
    lib.VGPU_NOT_AN_APPLICATION: "not an application",
    lib.VGPU_NO_IMAGE: "no image",
}


class GateAnswer(NamedTuple):
    """What the gate says: "ready", "too early", "not an application" or "no image", and why."""

    ready: str
    reason: str


def new_facts(**facts: str | int | bool) -> Any:
    """A `struct vgpu_facts *` of a process that is far enough along, unless the keyword arguments say otherwise."""
    known = {name for name, _ in ffi.typeof("struct vgpu_facts").fields}
    if unknown := set(facts) - known:
        raise TypeError(f"no such facts: {', '.join(sorted(unknown))}; known are {', '.join(sorted(known))}")
    values = {"libc_ready": True} | facts
    return ffi.new(
        "struct vgpu_facts *",
        {name: os.fsencode(value) if isinstance(value, str) else int(value) for name, value in values.items()},
    )


class Gate(State):
    """The process gate's questions, asked about facts that are given: ``gate.ask(exe="sshd", calls_before=3)``.

    Facts are those of `struct vgpu_facts`: exe, path, comm, unit (strings), arguments, ancestors (strings in which each
    word ends in a NUL), secure, libc_ready, calls_before.
    """

    def ask(self, **facts: str | int | bool) -> GateAnswer:
        """Both questions, in their order."""
        reason = ffi.new("const char **")
        ready = lib.vgpu_gate_ask(self.process.image, new_facts(**facts), reason)
        return GateAnswer(_READY[int(ready)], ffi.string(reason[0]).decode())

    def is_safe_to_check_process(self, **facts: str | int | bool) -> bool:
        """Is the process far enough along to be asked anything?"""
        return bool(lib.is_safe_to_check_process(self.process.image, new_facts(**facts)))

    def is_application_process(self, **facts: str | int | bool) -> bool:
        """Is this a program that the virtual GPU is for?"""
        return bool(lib.is_application_process(self.process.image, new_facts(**facts)))

    def ensure_init(self, **facts: str | int | bool) -> str:
        """What the shims ask before they answer: a lasting answer is kept for the process, "too early" is not.

        Args:
            **facts: the process's from now on; without any, those that were set last, at first those of this process.
        """
        if facts:
            self.set_facts(**facts)
        return _READY[int(lib.ensure_init(self.process))]


class Files(State):
    """The path table: which paths are answered from the tree of virtual files."""

    def find(self, path: PathLike, size: int = 4096) -> Path | None:
        """Where the tree has `path`, None if it is not one of the simulated host's.

        Args:
            path: absolute.
            size: bytes for the answer, its NUL included.

        Raises:
            OSError: ENAMETOOLONG, the answer does not fit.
        """
        import errno

        out = ffi.new("char[]", size)
        found = lib.vgpu_path_find(self.process.image, os.fsencode(path), out, size, ffi.NULL)
        if found < 0:
            raise OSError(errno.ENAMETOOLONG, os.strerror(errno.ENAMETOOLONG), os.fspath(path))
        return Path(os.fsdecode(ffi.string(out))) if found else None

    def read(self, path: PathLike) -> bytes:
        """The content that a program reads from `path`.

        Raises:
            FileNotFoundError: the path is not one of the simulated host's, or the host hides it.
        """
        found = self.find(path)
        if found is None:
            raise FileNotFoundError(f"{os.fspath(path)}: is not a path of the simulated host")
        return found.read_bytes()
