"""Funnel and verdict see evidence only."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import vgpu_harness.discovery.funnel

ROOM = Path(vgpu_harness.discovery.funnel.__file__).parent
DERIVING = (
    *("funnel", "verdict", "evidence", "facts", "findings", "findings_c", "answer", "arrival", "driver_calls"),
    *("generation_a", "generation_b", "generation_c", "backend", "runtime", "processes", "log", "codes", "stages"),
    *("clients", "render", "gather", "linking", "library_files"),
)


def imported(source: str) -> set[str]:
    """The modules that a source text imports, anywhere in it."""
    names: set[str] = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            names |= {node.module or "", *(f"{node.module}.{alias.name}" for alias in node.names)}
    return names


def knows_the_host(source: str) -> bool:
    """Does a source text import the host's room, or use the mark that a fault leaves on a record?"""
    room = any(name == "vgpu_harness.host" or name.startswith("vgpu_harness.host.") for name in imported(source))
    attributes = {node.attr for node in ast.walk(ast.parse(source)) if isinstance(node, ast.Attribute)}
    return room or "faulted" in attributes


@pytest.mark.parametrize("module", DERIVING)
def test_a_deriving_module_does_not_know_the_host(module: str) -> None:
    """No module between evidence and verdict imports the host's room or reads the mark of a fault."""
    assert not knows_the_host((ROOM / f"{module}.py").read_text(encoding="utf-8"))


@pytest.mark.parametrize(
    "source",
    [
        "import vgpu_harness.host.model",
        "def f():\n    from vgpu_harness import host",
        "from vgpu_harness.host import Host",
        "def f(record):\n    return record.faulted",
    ],
)
def test_the_check_sees_a_module_that_does(source: str) -> None:
    """Control: each way to know the host is found."""
    assert knows_the_host(source)


def test_deriving_a_verdict_loads_no_host() -> None:
    """In a fresh process, importing all that derives a verdict does not load the host's room by another way."""
    code = (
        "import sys, vgpu_harness.discovery\n"
        "sys.exit(any(m == 'vgpu_harness.host' or m.startswith('vgpu_harness.host.') for m in sys.modules))"
    )
    assert subprocess.run([sys.executable, "-c", code], timeout=60, check=False).returncode == 0
