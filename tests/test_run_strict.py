"""A strict host: who calls a function without a model has failed, wherever the run is made."""

import importlib
import json
import re
import signal
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from click.testing import CliRunner

from vgpu_harness.cli import vgpu_harness
from vgpu_harness.host import Host, write_image, write_tree
from vgpu_harness.run import run
from vgpu_harness.run.runner import NotStrictError
from vgpu_harness.trace import create_trace
from vgpu_harness.trace.text import to_json, to_line

ENTRIES = sorted((Path(__file__).parent.parent / "csrc" / "cuda" / "entries").glob("*.def"))
# Any will do: what has no model today may have one tomorrow.
WITHOUT = re.search(r"^VGPU_CUDA_UNMODELLED\((\w+), INITIALISED", "".join(map(Path.read_text, ENTRIES)), re.MULTILINE)[
    1
]
PROGRAM = "import ctypes, sys; c = ctypes.CDLL('libcuda.so.1'); c.cuInit(0); [c[f](*[0] * 9) for f in sys.argv[1:]]"


def calling(*functions: str) -> list[str]:
    """A program that calls cuInit, then these functions of the driver."""
    return [sys.executable, "-I", "-S", "-c", PROGRAM, *functions]


def test_a_call_without_a_model_fails_a_strict_run(tmp_path: Path) -> None:
    """The error names function, process, caller, count and remedy; the run's files have it too."""
    with pytest.raises(NotStrictError) as caught:
        run(calling(WITHOUT, WITHOUT), Host(strict=True), directory=tmp_path / "run")
    words = str(caught.value)
    assert re.search(
        rf"without a model were called: {WITHOUT} by process \d+ \(python[\d.]*\) from /\S+, 2 times", words
    )
    assert "docs/coverage.md" in words
    assert json.loads((tmp_path / "run" / "run.json").read_text())["not_strict"] in words


@pytest.mark.parametrize(("strict", "function"), [(True, "cuDeviceGetCount"), (False, WITHOUT)])
def test_other_runs_do_not_fail(tmp_path: Path, strict: bool, function: str) -> None:
    """A call with a model is welcome on a strict host, and any call on another."""
    done = run(calling(function), Host(strict=strict), directory=tmp_path / "run")
    assert (done.returncode, done.not_strict) == (0, None)
    assert [record.unmodelled for record in done.trace if record.name == function] == [function == WITHOUT]


def test_an_image_is_strict_too(tmp_path: Path) -> None:
    """A host image keeps what its host said."""
    host = Host(strict=True)
    image = write_image(host, write_tree(host, tmp_path / "tree"), tmp_path / "host.image")
    with pytest.raises(NotStrictError):
        run(calling(WITHOUT), image, directory=tmp_path / "run")


def test_the_command_fails(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """`vgpu-harness run` ends with 125 and says why; without `strict` with the program's own status."""
    monkeypatch.setattr(signal, "signal", lambda *_: None)  # the command's handlers are not for this process
    for text, status in (("strict = true\n", 125), ("", 0)):
        (tmp_path / "host.toml").write_text(text)
        done = CliRunner().invoke(vgpu_harness, ["run", "--host", str(tmp_path / "host.toml"), "--", *calling(WITHOUT)])
        assert done.exit_code == status, done.output
        assert (WITHOUT in done.output) is (status == 125)


def test_a_strict_run_may_be_looked_at(tmp_path: Path) -> None:
    """Without the check the run is answered, with the reason in it; many functions are counted, not all named."""
    done = run(calling(WITHOUT), Host(strict=True), directory=tmp_path / "run", check_strict=False)
    assert done.not_strict is not None
    record = next(record for record in done.trace if record.name == WITHOUT)
    assert "(no model)" in to_line(record)
    assert to_json(record)["unmodelled"] is True
    other = next(record for record in done.trace if record.name == "cuInit")
    assert "(no model)" not in to_line(other)
    assert to_json(other)["unmodelled"] is False


def test_a_trace_without_calls_is_strict(tmp_path: Path) -> None:
    """Nothing called is nothing missing."""
    from vgpu_harness.run.strict import why_not_strict
    from vgpu_harness.trace import Trace

    assert why_not_strict(Trace.open(create_trace(tmp_path / "trace", 1 << 16))) is None


def test_a_full_trace_is_not_strict(tmp_path: Path) -> None:
    """What the trace had no room for may have been such a call."""
    many = ["cuDeviceGetCount"] * 600
    done = run(calling(*many), Host(strict=True), directory=tmp_path / "run", check_strict=False, trace_size=1 << 16)
    assert done.trace.dropped > 0
    assert re.search(rf"the trace was full: {done.trace.dropped} records were dropped", done.not_strict or "")


@pytest.mark.parametrize("reason", ["the host is strict, and so on", None])
def test_discovery_has_a_finding(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, reason: str | None) -> None:
    """A verdict over a run that was not strict has the run's reason among its findings, and is not as hoped."""
    from vgpu_harness.discovery import discover

    room = importlib.import_module("vgpu_harness.run")  # `vgpu_harness.run` is the function
    real = room.run
    monkeypatch.setattr(room, "run", lambda *args, **keys: replace(real(*args, **keys), not_strict=reason))
    (verdict,) = discover(["a"], directory=tmp_path)
    assert verdict.findings == (() if reason is None else (reason,))
    assert verdict.as_hoped is (reason is None)
