"""The shipped file, or a user's, in this process: a private copy that is gone when it is closed.

The dynamic linker knows a library by device and inode, so a second load of the same file would be the same state. Each
object here has a copy of its own; RTLD_LOCAL keeps its names from everybody else.
"""

import _ctypes
import contextlib
import ctypes
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from vgpu_harness._wire import ffi
from vgpu_harness.errors import ShimError
from vgpu_harness.shims.paths import shim_path

PathLike = str | os.PathLike[str]


@contextlib.contextmanager
def _variables(values: dict[str, str | None]) -> Iterator[None]:
    """Sets environment variables, or unsets those that are None, and puts back what was there."""
    before = {name: os.environ.get(name) for name in values}

    def put(wanted: dict[str, str | None]) -> None:
        for name, value in wanted.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value

    put(values)
    try:
        yield
    finally:
        put(before)


class Shipped:
    """A library, loaded from a private copy. A context manager.

    A shim reads VGPU_HOST and VGPU_TRACE at its first use. So they are set for that one call, `first`, and then put
    back; not to be used while other threads read the environment.

    Args:
        library: short name of a shim, or the path of a library.
        image: the host image; None for none.
        trace: a trace file to write to; None for none.

    Raises:
        ShimError: there is no such library, or it cannot be loaded.
    """

    def __init__(self, library: PathLike, image: PathLike | None = None, *, trace: PathLike | None = None) -> None:
        self._library: ctypes.CDLL | None = None
        self._first: dict[str, str | None] | None = {
            "VGPU_HOST": None if image is None else str(Path(image).absolute()),
            "VGPU_TRACE": None if trace is None else str(Path(trace).absolute()),
        }
        name = os.fspath(library)
        self.source = shim_path(name) if "/" not in name else Path(name)
        with tempfile.TemporaryDirectory(prefix="vgpu-shim-") as directory:
            copy = Path(directory) / self.source.name
            try:
                shutil.copyfile(self.source, copy)
                # Once mapped, the file is not needed: the copy has no name any more while it is used.
                self._library = ctypes.CDLL(str(copy), mode=ctypes.RTLD_LOCAL)
            except OSError as error:
                raise ShimError(
                    f"{self.source}: cannot be loaded: {error}; give a 64-bit x86-64 shared library"
                ) from error

    def function(self, name: str, signature: str) -> Callable[..., Any]:
        """An exported function.

        Args:
            name: its name.
            signature: its C type, as in ``int(*)(unsigned int)``; types of the cffi module are known.

        Raises:
            ShimError: the library does not export it, or is closed.
        """
        if self._library is None:
            raise ShimError(f"{self.source}: is closed; load it again")
        try:
            address = ctypes.cast(self._library[name], ctypes.c_void_p).value
        except AttributeError as error:
            raise ShimError(f"{self.source}: does not export {name!r}; check the spelling") from error
        pointer = ffi.cast(signature, address)

        def call(*arguments: Any) -> Any:
            if self._library is None:
                raise ShimError(f"{self.source}: is closed; load it again")
            if self._first is None:
                return pointer(*arguments)
            with _variables(self._first):
                self._first = None
                return pointer(*arguments)

        call.__name__ = name
        return call

    def close(self) -> None:
        """Unloads the library; a second time does nothing."""
        if self._library is not None:
            # ctypes never closes what it has opened, and has no public call that does.
            _ctypes.dlclose(self._library._handle)  # noqa: SLF001
            self._library = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, _kind: type[BaseException] | None, _error: BaseException | None, _trace: TracebackType | None
    ) -> None:
        self.close()
