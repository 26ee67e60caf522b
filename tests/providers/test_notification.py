"""The provider "notification" with Go, whose threads make their own system calls and interrupt each other."""

import json
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
from programs import GPU, IDS, ring_reader

from vgpu_harness.run import run
from vgpu_harness.run.started import Started
from vgpu_harness.run.witness import Watch

FILES = [f"{GPU}/{name}" for name in ("vendor", "device", "class")]


def test_go_sees_the_gpu(tmp_path: Path, go_program: Path) -> None:
    """Unmodified and without cgo, in one file after another, and in what a pattern finds."""
    done = run([go_program, *FILES * 50], directory=tmp_path / "run", provider="notification", trace_size=1 << 22)
    assert done.stdout.split() == IDS * 50
    globbed = run(
        [go_program, f"{GPU}/vend*"], directory=tmp_path / "glob", provider="notification", trace_size=1 << 20
    )
    assert globbed.stdout.split() == FILES[:1]


@pytest.mark.parametrize("started_by", ["harness", "shell"])
def test_go_is_reported_by_default(tmp_path: Path, go_program: Path, started_by: str) -> None:
    """Without a word about providers or witnesses: an unmodified Go program bypasses the shims, and a run says so."""
    words = [str(go_program), "/proc/driver/nvidia/params", *FILES]
    if started_by == "shell":
        words = ["sh", "-c", f"{shlex.join(words)}; :"]
    command = [sys.executable, "-P", "-m", "vgpu_harness", "run", "--json", tmp_path / "json", "--", *words]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.stdout.split() != ["-", *IDS]
    assert len(done.stderr.splitlines()) == 1
    said = json.loads((tmp_path / "json").read_text())
    if started_by == "shell":
        assert done.returncode == 0
        (shimless,) = said["without_shims"]
        assert shimless["program"] == str(go_program)
        assert f"{go_program} (process {shimless['pid']}) is a static program" in done.stderr
        assert "its looks at files bypass the shims" in done.stderr
        return
    assert done.returncode == 125
    assert f"/proc/driver/nvidia/params: bypassed: {go_program} (process {said['pid']}) " in done.stderr
    assert [seen["path"] for seen in said["bypassed"]][1:] == [str(Path(path).resolve()) for path in FILES]
    assert (said["witness"], said["blind"]) == ("notification", None)


def test_go_is_reported_where_only_the_shims_are(tmp_path: Path, go_program: Path) -> None:
    """The log mode says which process went past the preloaded file shim; the sound control has nothing to say."""
    base = run(["cat", FILES[0]], directory=tmp_path / "sound", keep_tree=True, trace_size=1 << 20)
    assert base.stdout.split() == IDS[:1]
    watch = Watch(tmp_path / "sound" / "host.image", "notification")
    with watch:
        assert watch.enclosure is not None
        started = Started()
        streams = {"stdout": subprocess.DEVNULL}
        started.launch([str(go_program), FILES[0]], go_program, {}, Path("/"), own_session=False, streams=streams)
        watch.enclosure.waiting(started)
        started.go()
        assert started.wait() == 0
    (seen,) = watch.found([], [])
    assert (seen.pid, seen.program, seen.call) == (started.pid, str(go_program), "openat")
    assert seen.path.endswith("/0000:00:05.0/vendor")


def test_a_ring_is_refused(tmp_path: Path) -> None:
    """A program with an io_uring is told that there is none: it cannot see the real files by it."""
    done = run([ring_reader(), *FILES], directory=tmp_path / "run", provider="notification", trace_size=1 << 20)
    assert done.stdout.split() == ["-"] * 3
