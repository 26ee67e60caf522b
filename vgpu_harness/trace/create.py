"""Making the trace file of a run: all its blocks are on the disk before the first program starts.

A shim writes through a shared mapping. In a sparse file on a full disk that store is answered with SIGBUS, which would
kill the program under test; hence posix_fallocate, here and nowhere else. When the last writer is gone, the blocks that
no record needed go back.
"""

import contextlib
import os
import tempfile
import time
from pathlib import Path

from vgpu_harness._wire import ffi, lib
from vgpu_harness.errors import TraceError

DEFAULT_SIZE = 64 << 20
"""Bytes of a trace unless told otherwise: room for about half a million records."""

MINIMUM_SIZE: int = lib.VGPU_TRACE_HEADER_SIZE + 32 * lib.VGPU_SLOT_SIZE
"""Bytes below which a trace is refused: the auditor alone writes some ten records for each process."""

MAGIC = b"VGPUTRCE"


def _header(capacity: int) -> bytes:
    header = ffi.new("struct vgpu_trace_header *")
    header.magic = MAGIC
    header.version = lib.VGPU_TRACE_VERSION
    header.slot_size = lib.VGPU_SLOT_SIZE
    header.capacity = capacity
    header.start_realtime_ns = time.time_ns()
    header.start_monotonic_ns = time.monotonic_ns()
    header.build_id = ffi.string(lib.vgpu_build_id())[: lib.VGPU_BUILD_ID_SIZE - 1]
    return bytes(ffi.buffer(header))


def create_trace(path: str | os.PathLike[str], size: int = DEFAULT_SIZE) -> Path:
    """Makes an empty trace, or leaves things as they were.

    Args:
        path: where; a trace that is there already is replaced.
        size: bytes of the file, at least `MINIMUM_SIZE`.

    Returns:
        The absolute path.

    Raises:
        TraceError: `size` is too small, the disk or a quota is full, or the place cannot be written.
    """
    target = Path(path).absolute()
    if size < MINIMUM_SIZE:
        raise TraceError(f"trace size {size}: at least {MINIMUM_SIZE} bytes are needed; give a larger --trace-size")
    if target.exists() and not target.is_file():
        raise TraceError(f"{target}: is not a regular file; give the trace another path")
    capacity = (size - lib.VGPU_TRACE_HEADER_SIZE) // lib.VGPU_SLOT_SIZE
    temporary = ""
    try:
        descriptor, temporary = tempfile.mkstemp(prefix=f".{target.name}.", dir=target.parent)
        try:
            os.posix_fallocate(descriptor, 0, size)
            os.pwrite(descriptor, _header(capacity), 0)
        finally:
            os.close(descriptor)
        Path(temporary).replace(target)
    except OSError as error:
        if temporary:
            with contextlib.suppress(FileNotFoundError):
                Path(temporary).unlink()
        raise TraceError(
            f"{target}: cannot make a trace of {size} bytes: {error.strerror}; "
            "free some space, give a smaller --trace-size, or another place"
        ) from error
    return target


def release_unused(path: str | os.PathLike[str]) -> None:
    """Gives the blocks behind the last record back to the disk; content and size of the file stay as they are.

    For a trace that nobody writes to any more. Where there is no such file, it is no trace, or its file system has no
    holes, nothing is done: what is recorded matters, and reading it says what is wrong.

    Args:
        path: the trace.
    """
    with contextlib.suppress(OSError), Path(path).open("r+b") as file:
        header = ffi.new("struct vgpu_trace_header *")
        file.readinto(ffi.buffer(header))
        if ffi.buffer(header.magic)[:] != MAGIC:
            return
        used = lib.VGPU_TRACE_HEADER_SIZE + min(header.next, header.capacity) * lib.VGPU_SLOT_SIZE
        unused = os.fstat(file.fileno()).st_size - used
        if unused > 0:
            lib.fallocate(file.fileno(), lib.FALLOC_FL_PUNCH_HOLE | lib.FALLOC_FL_KEEP_SIZE, used, unused)
