"""The directory that a run's tree lies in: in memory, open to all, and gone with the run, or with the harness."""

import fcntl
import os
import signal
import stat
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from vgpu_harness.run import scratch as room
from vgpu_harness.run.scratch import PREFIX, is_memory, remove_stale, scratch

HOLD = """
import sys, time
from pathlib import Path
from vgpu_harness.run import scratch
scratch.is_memory = lambda directory: directory == Path(sys.argv[1])
with scratch.scratch(Path(sys.argv[2]), Path(sys.argv[1])) as (place, _):
    (place / "tree").mkdir()
    print(place, flush=True)
    time.sleep(60)
"""


@pytest.fixture
def memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A directory that counts as a tmpfs, as no other does."""
    place = tmp_path / "memory"
    place.mkdir()
    monkeypatch.setattr(room, "is_memory", lambda directory: directory == place or place in directory.parents)
    return place


def test_all_may_enter_it_and_it_is_removed(memory: Path, tmp_path: Path) -> None:
    """Other users go through it into the tree, but do not list it; at the end it is gone, with all that is in it."""
    with scratch(tmp_path, memory) as (place, in_memory):
        assert in_memory
        assert place.parent == memory
        assert stat.S_IMODE(place.stat().st_mode) == 0o711
        (place / "tree/deep").mkdir(parents=True)
    assert list(memory.iterdir()) == []


def test_an_error_removes_it_too(memory: Path, tmp_path: Path) -> None:
    """However the run ends."""
    with pytest.raises(KeyboardInterrupt), scratch(tmp_path, memory):
        raise KeyboardInterrupt
    assert list(memory.iterdir()) == []


def test_a_run_whose_directory_is_in_memory_has_it_there(memory: Path) -> None:
    """If there is no other tmpfs: the run's own directory is closed to other users."""
    own = memory / "run"
    own.mkdir()
    with scratch(own, Path("/nowhere")) as (place, in_memory):
        assert (place.parent, in_memory) == (own, True)
    assert list(own.iterdir()) == []


def test_a_run_whose_directory_is_in_memory_has_it_beside_that(memory: Path) -> None:
    """Where a program goes that has given its rights up."""
    own = memory / "run"
    own.mkdir(mode=0o700)
    with scratch(own, memory) as (place, in_memory):
        assert (place.parent, in_memory) == (memory, True)
    assert list(own.iterdir()) == []


@pytest.mark.parametrize("why", ["absent", "no tmpfs", "full"])
def test_where_there_is_no_memory(memory: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, why: str) -> None:
    """It lies in the run's directory, which is told, and is removed as well."""
    run = tmp_path / "run"
    run.mkdir()
    where = {"absent": tmp_path / "none", "no tmpfs": tmp_path, "full": memory}[why]
    if why == "full":
        monkeypatch.setattr(room, "_ROOM", 1 << 62)
    with scratch(run, where) as (place, in_memory):
        assert (place.parent, in_memory) == (run, False)
    assert list(run.iterdir()) == []
    assert list(memory.iterdir()) == []


def test_what_a_killed_harness_leaves_is_removed_by_the_next(memory: Path, tmp_path: Path) -> None:
    """Not before: while its harness lives, the directory stays."""
    command = [sys.executable, "-c", HOLD, str(memory), str(tmp_path)]
    holder = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    try:
        assert holder.stdout is not None
        place = Path(holder.stdout.readline().strip())
        remove_stale(memory)
        assert (place / "tree").is_dir()
        os.kill(holder.pid, signal.SIGKILL)
        holder.wait()
        assert (place / "tree").is_dir()
        with scratch(tmp_path, memory):
            assert not place.exists()
    finally:
        holder.kill()
        holder.communicate()


def test_other_entries_are_left_alone(memory: Path) -> None:
    """What has another name, and what is no directory, is nobody's to remove."""
    (memory / "other").mkdir()
    (memory / f"{PREFIX}file").touch()
    (memory / f"{PREFIX}link").symlink_to(memory / "other")
    remove_stale(memory)
    assert {entry.name for entry in memory.iterdir()} == {"other", f"{PREFIX}file", f"{PREFIX}link"}


def test_its_lock_is_held(memory: Path, tmp_path: Path) -> None:
    """Nobody else can take it: that is what tells a live directory from a stale one."""
    with scratch(tmp_path, memory) as (place, _):
        descriptor = os.open(place, os.O_RDONLY)
        with pytest.raises(BlockingIOError):
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        os.close(descriptor)


def test_many_at_once(memory: Path, tmp_path: Path) -> None:
    """Threads that begin at the same time do not take each other's directories for stale ones."""

    def one(number: int) -> tuple[bool, bool]:
        with scratch(tmp_path, memory) as (place, in_memory):
            (place / str(number)).touch()
            return in_memory, [entry.name for entry in place.iterdir()] == [str(number)]

    with ThreadPoolExecutor(8) as pool:
        assert set(pool.map(one, range(64))) == {(True, True)}
    assert list(memory.iterdir()) == []


def test_a_tmpfs_is_recognised() -> None:
    """By the file system's name in mountinfo, not by the directory's."""
    types = {
        fields[4]: line.split(" - ")[1].split()[0]
        for line in Path("/proc/self/mountinfo").read_text().splitlines()
        if (fields := line.split()) and os.access(fields[4], os.X_OK) and Path(fields[4]).is_dir()
    }
    assert types, "this machine shows no mounts"
    assert {path: is_memory(Path(path)) for path in ("/proc", "/sys") if path in types} == {
        path: False for path in ("/proc", "/sys") if path in types
    }
    assert not is_memory(Path("/nowhere"))
    if types.get("/dev/shm") == "tmpfs":
        assert is_memory(Path("/dev/shm"))
