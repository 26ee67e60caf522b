"""Making a trace: it is whole, of the size that was asked for, or it is not there at all."""

import os
import pickle
import resource
from pathlib import Path

import pytest

from vgpu_harness.errors import TraceError
from vgpu_harness.shims.build import build_id
from vgpu_harness.trace import MINIMUM_SIZE, Trace, create_trace


def test_a_new_trace_is_allocated_whole_and_empty(tmp_path: Path) -> None:
    """Every block is on the disk, and the reader finds no record, nothing torn, nothing dropped."""
    path = create_trace(tmp_path / "trace", 1 << 20)
    facts = path.stat()
    assert facts.st_size == 1 << 20
    assert facts.st_blocks * 512 >= 1 << 20
    assert facts.st_mode & 0o777 == 0o600
    trace = Trace.open(path)
    assert (trace.records, trace.torn, trace.dropped, trace.used) == ([], 0, 0, 0)
    assert trace.capacity == ((1 << 20) - 4096) // 128
    assert trace.build_id == build_id()


def test_a_size_below_the_minimum_is_refused(tmp_path: Path) -> None:
    """One byte below the minimum is an error that names it; the minimum itself is taken."""
    with pytest.raises(TraceError, match=f"at least {MINIMUM_SIZE}"):
        create_trace(tmp_path / "trace", MINIMUM_SIZE - 1)
    assert list(tmp_path.iterdir()) == []
    assert create_trace(tmp_path / "trace", MINIMUM_SIZE).exists()


def test_a_full_disk_is_one_message_and_leaves_nothing(tmp_path: Path) -> None:
    """A file system without the room (ENOSPC) is a TraceError with a remedy, and no file is left."""
    place = Path("/dev/shm", f"vgpu-test-{os.getpid()}")
    place.mkdir()
    try:
        with pytest.raises(TraceError, match="No space left on device; free some space"):
            create_trace(place / "trace", 1 << 44)
        assert list(place.iterdir()) == []
        assert create_trace(place / "trace", MINIMUM_SIZE).exists()
    finally:
        for left in place.iterdir():
            left.unlink()
        place.rmdir()


def test_a_limit_on_file_size_leaves_the_old_trace(tmp_path: Path) -> None:
    """EFBIG is the same message; a trace that was there before is untouched."""
    path = create_trace(tmp_path / "trace", MINIMUM_SIZE)
    before = path.read_bytes()
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 16, hard))
    try:
        with pytest.raises(TraceError, match="File too large"):
            create_trace(path, 1 << 20)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert path.read_bytes() == before
    assert [entry.name for entry in tmp_path.iterdir()] == ["trace"]


@pytest.mark.parametrize("place", ["missing/trace", "folder"])
def test_a_place_that_cannot_be_written_is_named(tmp_path: Path, place: str) -> None:
    """A missing folder and a folder in the file's place are errors that name the path."""
    (tmp_path / "folder").mkdir()
    with pytest.raises(TraceError, match=str(tmp_path / place)):
        create_trace(tmp_path / place, MINIMUM_SIZE)
    assert [entry.name for entry in tmp_path.iterdir()] == ["folder"]


def test_the_error_can_be_sent_between_processes() -> None:
    """pytest-xdist pickles errors; message and type survive."""
    error = pickle.loads(pickle.dumps(TraceError("x: y; z")))
    assert (type(error), str(error)) == (TraceError, "x: y; z")
