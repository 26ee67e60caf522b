"""The library that stands in front of dlopen, and what the harness writes into a copy of it (csrc/wrapper/dlopen.c)."""

import os
import struct
from pathlib import Path

from vgpu_harness.errors import ShimError

BYPASSED_MAX = 2**32 - 1

_MARK = b"VGPU DLOPEN SETTINGS".ljust(24, b"\0")
_DIRECTORY_SIZE = 3840
_SETTINGS = struct.Struct(f"<24sI{_DIRECTORY_SIZE}s")


def fill_in(copy: str | os.PathLike[str], bypassed: int, directory: str | os.PathLike[str]) -> None:
    """Writes the settings into a copy of the library.

    Args:
        copy: the file, which is changed in place.
        bypassed: how many calls of each process go to the real dlopen as they are, 0 to `BYPASSED_MAX`.
        directory: absolute; later calls for libcuda.so.1 and libnvidia-ml.so.1 open the files of these names there.

    Raises:
        ShimError: it is no such library, or the directory's path is too long for it.
    """
    path = Path(copy)
    data = path.read_bytes()
    at = data.find(_MARK)
    if at < 0 or data.find(_MARK, at + 1) >= 0:
        raise ShimError(f"{path}: has no place for the settings of dlopen; give a copy of libvgpu-dlopen.so")
    where = os.fsencode(directory)
    if len(where) >= _DIRECTORY_SIZE:
        raise ShimError(f"{directory}: is {len(where)} bytes long, and there is room for {_DIRECTORY_SIZE - 1}")
    with path.open("r+b") as file:
        file.seek(at)
        file.write(_SETTINGS.pack(_MARK, bypassed, where))
