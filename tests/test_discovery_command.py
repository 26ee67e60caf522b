"""`vgpu-harness discover` and `vgpu-harness trace funnel` as a user calls them."""

import json
import os
import pty
import subprocess
import sys
from pathlib import Path

import pytest

COMMAND = [sys.executable, "-m", "vgpu_harness"]
JSON_KEYS = [
    *("schema", "generation", "library", "pci_id", "devices", "stages", "stopped_at", "cause", "remedy", "findings"),
    "processes",
]
SMALL = ["--trace-size", "1M"]
BROKEN = '[[faults]]\nfunction = "cuInit"\nresult = 802\n'


def harness(*arguments: str | Path, **environment: str) -> subprocess.CompletedProcess[str]:
    """Runs the command."""
    return subprocess.run(
        [*COMMAND, *map(str, arguments)],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        env=os.environ | environment,
    )


@pytest.fixture
def broken_host(tmp_path: Path) -> Path:
    """A host file whose cuInit answers 802."""
    path = tmp_path / "host.toml"
    path.write_text(BROKEN)
    return path


@pytest.fixture
def scratch(tmp_path: Path) -> Path:
    """An empty directory for temporary files."""
    path = tmp_path / "scratch"
    path.mkdir()
    return path


def test_the_default_host_is_found_by_all_generations(scratch: Path) -> None:
    """Without options each generation answers cuda with the GPU's address, exit status 0, and nothing is left."""
    done = harness("discover", *SMALL, TMPDIR=str(scratch))
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.count("library=cuda pci_id=0000:00:05.0") == 3
    assert "\x1b" not in done.stdout
    assert list(scratch.iterdir()) == []


def test_json_has_the_promised_form() -> None:
    """A list of one object a generation, with exactly the promised keys."""
    done = harness("discover", "--json", *SMALL)
    verdicts = json.loads(done.stdout)
    assert [verdict["generation"] for verdict in verdicts] == ["a", "b", "c"]
    for verdict in verdicts:
        assert list(verdict) == JSON_KEYS
        assert [list(stage) for stage in verdict["stages"]] == [["stage", "title", "status", "evidence"]] * 15
        assert [stage["stage"] for stage in verdict["stages"]] == [f"S{n}" for n in range(15)]
        assert (verdict["schema"], verdict["pci_id"]) == (1, "0000:00:05.0")


def test_a_stop_is_exit_status_1_and_says_where_the_run_is(broken_host: Path, scratch: Path) -> None:
    """The files of a run that stopped are kept, and the place is named on stderr."""
    done = harness("discover", "--generation", "a", "--host", broken_host, *SMALL, TMPDIR=str(scratch))
    assert done.returncode == 1
    assert "stopped at S7" in done.stdout
    (kept,) = scratch.iterdir()
    assert str(kept) in done.stderr
    assert (kept / "a" / "trace").is_file()
    assert kept.stat().st_mode & 0o777 == 0o700


def test_trace_funnel_gives_the_same_json(broken_host: Path, tmp_path: Path) -> None:
    """`trace funnel` of a kept run, by its directory or its trace, writes what `discover` wrote, byte for byte."""
    keep = tmp_path / "kept"
    done = harness("discover", "--generation", "b", "--json", "--host", broken_host, "--keep", keep, *SMALL)
    (keep / "b" / "host.image").unlink()
    for place in (keep / "b", keep / "b" / "trace"):
        again = harness("trace", "funnel", "--json", place)
        assert (again.returncode, again.stdout) == (1, done.stdout)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--generation", "z"], "z"),
        (["--scale", "0"], "0.0 is not a factor"),
        (["--scale", "nan"], "nan is not a factor"),
        (["--host", "/nonexistent/host.toml"], "/nonexistent/host.toml"),
        (["--trace-size", "x"], "x"),
        (["--keep", "/dev/null/x"], "/dev/null"),
        (["--libraries", "/nonexistent/lib"], "/nonexistent/lib: is not a directory of libraries"),
        (["--libraries", "/proc/self"], "/proc/self: has no library"),
        (["--nonsense"], "--nonsense"),
    ],
)
def test_wrong_usage_is_one_message_and_exit_status_2(arguments: list[str], words: str, scratch: Path) -> None:
    """Wrong input ends with status 2 and a message that names it; nothing is left behind, no traceback is shown."""
    done = harness("discover", *arguments, TMPDIR=str(scratch))
    assert (done.returncode, done.stdout) == (2, "")
    assert words in done.stderr
    assert "Traceback" not in done.stderr
    assert list(scratch.iterdir()) == []


def test_a_run_that_cannot_be_set_up_leaves_nothing(tmp_path: Path) -> None:
    """A fault that cannot be made on the shim is found before the start, and the directory to keep is not made."""
    host = tmp_path / "host.toml"
    host.write_text('[[faults]]\nlibrary = "cuda"\nmissing_symbol = "cuNoSuchFunction"\n')
    done = harness("discover", "--host", host, "--keep", tmp_path / "k", *SMALL)
    assert (done.returncode, done.stdout) == (2, "")
    assert "cuNoSuchFunction" in done.stderr
    assert not (tmp_path / "k").exists()


def test_a_kept_directory_is_not_used_twice(tmp_path: Path) -> None:
    """A second run into the same directory is refused, and the first run's files stay."""
    first = harness("discover", "--generation", "a", "--keep", tmp_path / "k", *SMALL)
    trace = (tmp_path / "k" / "a" / "trace").read_bytes()
    second = harness("discover", "--generation", "a", "--keep", tmp_path / "k", *SMALL)
    assert (first.returncode, second.returncode) == (0, 2)
    assert "has the files of a run already" in second.stderr
    assert (tmp_path / "k" / "a" / "trace").read_bytes() == trace


def test_a_directory_without_evidence_is_refused(tmp_path: Path) -> None:
    """`trace funnel` says what it needs."""
    done = harness("trace", "funnel", tmp_path)
    assert done.returncode == 2
    assert "evidence.json" in done.stderr


def test_progress_is_shown_on_a_terminal_after_a_second(tmp_path: Path) -> None:
    """On a terminal, a discovery of over a second says on stderr what it does, and wipes it at the end."""
    host = tmp_path / "slow.toml"
    host.write_text('[[faults]]\nfunction = "cuInit"\ndelay = 2.0\n')
    ours, theirs = pty.openpty()
    command = [*COMMAND, "discover", "--generation", "a", "--host", str(host), *SMALL, "--keep", str(tmp_path / "k")]
    subprocess.run(command, stdout=subprocess.DEVNULL, stderr=theirs, timeout=60, check=False)
    os.close(theirs)
    shown = os.read(ours, 65536).decode()
    os.close(ours)
    assert "generation a: running the client" in shown
    assert shown.endswith("\r\x1b[K")
