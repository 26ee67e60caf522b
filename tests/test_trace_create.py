"""Making a trace: it is whole, of the size that was asked for, or it is not there at all."""

import os
import pickle
import resource
from pathlib import Path

import pytest

from vgpu_harness._wire import ffi
from vgpu_harness.errors import TraceError
from vgpu_harness.run import run
from vgpu_harness.shims.build import build_id
from vgpu_harness.trace import MINIMUM_SIZE, Trace, create_trace, release_unused


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


def test_a_run_gives_back_the_blocks_that_no_record_needed(tmp_path: Path) -> None:
    """After the run the file has its size and its records, and takes no more of the disk than these."""
    result = run(["true"], directory=tmp_path / "run", trace_size=64 << 20)
    facts = result.trace_path.stat()
    assert facts.st_size == 64 << 20
    assert facts.st_blocks * 512 < 1 << 20
    assert result.trace.capacity == ((64 << 20) - 4096) // 128
    assert len(result.trace) > 5


def test_giving_blocks_back_keeps_every_byte(tmp_path: Path) -> None:
    """A full trace, a file that is none and a missing one are left alone; of an empty one only the header stays."""
    path = create_trace(tmp_path / "trace", 1 << 20)
    before = path.read_bytes()
    release_unused(path)
    assert path.read_bytes() == before
    assert path.stat().st_blocks * 512 <= 8192
    full = create_trace(tmp_path / "full", 1 << 20)
    at = ffi.offsetof("struct vgpu_trace_header", "next")
    with full.open("r+b") as file:
        file.seek(at)
        file.write((1 << 40).to_bytes(8, "little"))
    blocks = full.stat().st_blocks
    release_unused(full)
    assert full.stat().st_blocks == blocks
    other = tmp_path / "other"
    other.write_bytes(b"\0" * (1 << 20))
    blocks = other.stat().st_blocks
    release_unused(other)
    assert other.stat().st_blocks == blocks
    release_unused(tmp_path / "missing")
    assert not (tmp_path / "missing").exists()


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
