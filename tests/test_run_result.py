"""A run as a value: what it shows, what it writes, and that it comes back from its files."""

import dataclasses
import json
import pickle
import shutil
from pathlib import Path

import pytest

from vgpu_harness.errors import RunError, TraceError
from vgpu_harness.run import Run, run
from vgpu_harness.run.result import status_in_words


@pytest.fixture
def done(tmp_path: Path) -> Run:
    """A run with output in both streams."""
    script = "for i in $(seq 30); do echo line $i; done; echo oops >&2; ls /dev/nvidia0; exit 4"
    return run(["sh", "-c", script], directory=tmp_path / "run", trace_size=1 << 20, env={"OLLAMA_DEBUG": "1"})


def test_it_is_frozen_and_short(done: Run) -> None:
    """A run cannot be changed, and its repr is one line with the status and where the files are."""
    with pytest.raises(dataclasses.FrozenInstanceError):
        done.returncode = 0  # type: ignore[misc]
    assert "\n" not in repr(done)
    assert "sh: exit status 4" in repr(done)
    assert str(done.directory) in repr(done)
    assert len(repr(done)) < 200 + len(str(done.directory))


def test_it_explains_itself(done: Run) -> None:
    """Command line, status, the ends of both streams and of the trace, with what was left out."""
    text = done.explain(lines=5)
    assert "exit status 4" in text
    assert "oops" in text
    assert "stdout, the last 5 of 31 lines" in text
    assert "line 30" in text
    assert "line 3\n" not in text
    assert '"/dev/nvidia0"' in text


def test_it_comes_back_from_its_files(done: Run) -> None:
    """What is loaded is equal to what was returned, also from a copy of the directory."""
    again = Run.load(done.directory)
    assert dataclasses.replace(again, duration=done.duration) == done
    copy = shutil.copytree(done.directory, done.directory.with_name("copy"), symlinks=True)
    shutil.rmtree(done.directory)
    moved = Run.load(copy)
    assert (moved.stdout, moved.trace_path) == (done.stdout, copy / "trace")
    assert len(moved.trace) > 0


def test_it_can_be_sent_between_processes(done: Run) -> None:
    """pytest-xdist and pools pickle results."""
    assert pickle.loads(pickle.dumps(done)) == done


def test_the_summary_keeps_no_secret(tmp_path: Path) -> None:
    """Of the environment only variables of the known families are written."""
    kept = run(["true"], directory=tmp_path / "run", trace_size=1 << 20, env={"MY_SECRET": "hunter2", "CUDA_X": "1"})
    text = (kept.directory / "run.json").read_text()
    assert "hunter2" not in text
    summary = json.loads(text)
    assert summary["environment"]["CUDA_X"] == "1"
    assert set(summary["environment"]) == {"CUDA_X", "LD_PRELOAD", "LD_AUDIT", "VGPU_HOST", "VGPU_TRACE"}
    assert summary["argv"] == ["true"]


@pytest.mark.parametrize(
    "content", [None, "", "[]", "{}", '{"schema": 9}', '{"schema": 1}', '{"schema": 1, "argv": 3}']
)
def test_a_directory_without_a_run_is_said(tmp_path: Path, content: str | None) -> None:
    """Missing, empty, newer or damaged: one error with the file's path."""
    if content is not None:
        (tmp_path / "run.json").write_text(content)
    with pytest.raises(RunError, match=str(tmp_path / "run.json")):
        Run.load(tmp_path)


def test_a_trace_that_is_gone_is_said(done: Run) -> None:
    """The run itself loads; only its trace is missing."""
    done.trace_path.unlink()
    with pytest.raises(TraceError):
        _ = Run.load(done.directory).trace


@pytest.mark.parametrize(
    ("status", "words"), [(0, "exit status 0"), (-9, "killed by SIGKILL"), (-99, "killed by signal 99")]
)
def test_statuses_are_words(status: int, words: str) -> None:
    """Signals have their names where they have one."""
    assert status_in_words(status) == words
