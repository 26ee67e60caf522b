"""The command line as a whole: commands, versions, errors, what is imported, and the reading of traces."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from vgpu_harness._wire import ffi, lib
from vgpu_harness.shims import available
from vgpu_harness.shims.build import build_id
from vgpu_harness.trace import create_trace


def call(*words: object) -> subprocess.CompletedProcess[str]:
    """Runs the harness."""
    line = [sys.executable, "-m", "vgpu_harness", *map(str, words)]
    return subprocess.run(line, capture_output=True, text=True, timeout=60, check=False)


@pytest.fixture
def trace(tmp_path: Path) -> Path:
    """A trace with five records, written by the C writer."""
    path = create_trace(tmp_path / "trace", 1 << 20)
    writer = ffi.new("struct vgpu_trace *")
    assert lib.vgpu_trace_open(writer, os.fsencode(path)) == 0
    for kind, library, name, text in (
        (lib.VGPU_RECORD_MAPPED, lib.VGPU_LIBRARY_AUDIT, "", "/usr/bin/[x]"),
        (lib.VGPU_RECORD_INIT, lib.VGPU_LIBRARY_CUDA, "", "/usr/bin/[x]"),
        (lib.VGPU_RECORD_CALL, lib.VGPU_LIBRARY_CUDA, "cuInit", ""),
        (lib.VGPU_RECORD_CALL, lib.VGPU_LIBRARY_NVML, "nvmlInit_v2", ""),
        (lib.VGPU_RECORD_CALL, lib.VGPU_LIBRARY_CUDA, "cuDeviceGet", "0000:00:05.0"),
    ):
        words = [ffi.new("char[]", os.fsencode(word)) for word in (name, text)]
        event = {"kind": kind, "library": library, "name": words[0], "text": words[1], "inputs": 1, "in": [1]}
        lib.vgpu_trace_write(writer, ffi.new("struct vgpu_event *", event))
    lib.vgpu_trace_close(writer)
    return path


def test_help_and_version() -> None:
    """Both exit 0; the help names every command."""
    shown = call("--help")
    assert shown.returncode == 0
    for name in ("discover", "run", "paths", "trace"):
        assert f"\n  {name} " in shown.stdout
    version = call("--version")
    assert version.returncode == 0
    assert version.stdout.startswith("vgpu-harness ")


def test_an_unknown_command_exits_2() -> None:
    """It is click's usage error."""
    done = call("nothing")
    assert (done.returncode, "No such command 'nothing'" in done.stderr) == (2, True)


def test_only_the_command_that_is_called_is_imported() -> None:
    """`paths` pays for neither the models of hosts, nor the terminal, nor ELF files, nor pytest."""
    code = (
        "import sys; from vgpu_harness.cli import vgpu_harness as group\n"
        "group(['paths'], standalone_mode=False)\n"
        "heavy = ('pydantic', 'rich', 'elftools', 'psutil', 'pytest', 'tomlkit')\n"
        "print([name for name in heavy if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60)
    assert done.stdout.splitlines()[-1] == "[]"


def test_paths_are_those_of_the_package() -> None:
    """The lines and the JSON name each built shim and the build."""
    lines = dict(line.split(maxsplit=1) for line in call("paths").stdout.splitlines())
    assert lines == {name: str(path) for name, path in available().items()} | {"build": build_id()}
    data = json.loads(call("paths", "--json").stdout)
    assert data["shims"] == {name: str(path) for name, path in available().items()}
    assert data["build_id"] == build_id()


def test_records_are_shown_one_a_line(trace: Path) -> None:
    """All of them, in order, from the file or from the directory it lies in."""
    shown = call("trace", "show", trace)
    assert (shown.returncode, shown.stderr) == (0, "")
    assert [line.split(maxsplit=4)[3] for line in shown.stdout.splitlines()] == [
        "mapped",
        "init",
        "call",
        "call",
        "call",
    ]
    assert "/usr/bin/[x] at 0x1" in shown.stdout
    assert shown.stdout.splitlines()[-1].endswith('cuDeviceGet(1) = 0 "0000:00:05.0"')
    assert call("trace", "show", trace.parent).stdout == shown.stdout


@pytest.mark.parametrize(
    ("options", "names"),
    [
        (("--library", "cuda", "--kind", "call"), ["cuInit", "cuDeviceGet"]),
        (("--library", "nvml"), ["nvmlInit_v2"]),
        (("--tail", "2"), ["nvmlInit_v2", "cuDeviceGet"]),
        (("--kind", "call", "--kind", "init", "--tail", "9"), ["", "cuInit", "nvmlInit_v2", "cuDeviceGet"]),
        (("--pid", "1"), []),
        (("--pid", os.getpid(), "--tail", "0"), []),
    ],
)
def test_records_can_be_chosen(trace: Path, options: tuple[object, ...], names: list[str]) -> None:
    """By library, kind and process; the tail is taken of what was chosen."""
    shown = call("trace", "show", trace, "--json", *options)
    assert [json.loads(line)["name"] for line in shown.stdout.splitlines()] == names


def test_what_a_trace_lacks_is_said(trace: Path) -> None:
    """Torn records are counted on stderr; the whole ones are shown."""
    with trace.open("r+b") as file:
        file.seek(lib.VGPU_TRACE_HEADER_SIZE + 2 * lib.VGPU_SLOT_SIZE)
        file.write(bytes(lib.VGPU_SLOT_SIZE))
    shown = call("trace", "show", trace)
    assert len(shown.stdout.splitlines()) == 4
    assert shown.stderr == f"vgpu-harness: {trace}: 0 records dropped for want of room, 1 torn\n"


@pytest.mark.parametrize("words", [("show",), ("funnel",)])
def test_what_is_no_trace_exits_2(words: tuple[str, ...], tmp_path: Path) -> None:
    """One message with the path; no traceback."""
    (tmp_path / "file").write_text("x")
    done = call("trace", *words, tmp_path / "file")
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (2, "", 1)
    assert done.stderr.startswith("vgpu-harness: ")
    assert str(tmp_path) in done.stderr


def test_a_reader_that_goes_away_is_no_error(trace: Path) -> None:
    """`trace show | head -1` ends quietly."""
    script = f'"{sys.executable}" -m vgpu_harness trace show {trace} | head -1'
    done = subprocess.run(["sh", "-c", script], capture_output=True, text=True, check=False, timeout=60)
    assert (done.stdout.count("\n"), done.stderr) == (1, "")
