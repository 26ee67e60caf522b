"""The provider "notification" with Go, whose threads make their own system calls and interrupt each other."""

import subprocess
from pathlib import Path

from programs import GPU, IDS, go_reader, ring_reader

from vgpu_harness.run import run
from vgpu_harness.run.bypass import Watch
from vgpu_harness.run.started import Started

FILES = [f"{GPU}/{name}" for name in ("vendor", "device", "class")]


def test_go_sees_the_gpu(tmp_path: Path) -> None:
    """Unmodified and without cgo, in one file after another, and in what a pattern finds."""
    program = go_reader(tmp_path)
    done = run([program, *FILES * 50], directory=tmp_path / "run", provider="notification", trace_size=1 << 22)
    assert done.stdout.split() == IDS * 50
    globbed = run([program, f"{GPU}/vend*"], directory=tmp_path / "glob", provider="notification", trace_size=1 << 20)
    assert globbed.stdout.split() == FILES[:1]


def test_go_is_reported_where_only_the_shims_are(tmp_path: Path) -> None:
    """The log mode says which process went past the preloaded file shim; the sound control has nothing to say."""
    program = go_reader(tmp_path)
    base = run(["cat", FILES[0]], directory=tmp_path / "sound", keep_tree=True, trace_size=1 << 20)
    assert base.stdout.split() == IDS[:1]
    watch = Watch(tmp_path / "sound" / "host.image", "notification")
    with watch:
        assert watch.enclosure is not None
        started = Started()
        streams = {"stdout": subprocess.DEVNULL}
        started.launch([str(program), FILES[0]], program, {}, Path("/"), own_session=False, streams=streams)
        watch.enclosure.waiting(started)
        started.go()
        assert started.wait() == 0
    (seen,) = watch.found([], [])
    assert (seen.pid, seen.program, seen.call) == (started.pid, str(program), "openat")
    assert seen.path.endswith("/0000:00:05.0/vendor")


def test_a_ring_is_refused(tmp_path: Path) -> None:
    """A program with an io_uring is told that there is none: it cannot see the real files by it."""
    done = run([ring_reader(), *FILES], directory=tmp_path / "run", provider="notification", trace_size=1 << 20)
    assert done.stdout.split() == ["-"] * 3
