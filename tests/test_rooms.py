"""The house keeps its order: a room imports what stands above it, and a shim has no way to print."""

import ast
from pathlib import Path

import pytest

import vgpu_harness
from vgpu_harness.shims import SHIMS, available
from vgpu_harness.shims.elf import read_elf

ROOMS = ("errors", "_wire", "host", "shims", "trace", "run", "conformance", "discovery", "fuzz", "preflight", "faces")
"""From the top floor down, as docs/architecture.md has them."""

FACES = {"cli", "commands", "pytest_plugin", "_pytest_conformance", "_pytest_files", "__main__", "__init__"}

PRINTERS = {
    "printf", "puts", "putchar", "fprintf", "dprintf", "vprintf", "vfprintf", "vdprintf", "fputs", "fputc",
    "fwrite", "write", "writev", "perror", "psignal", "warn", "err", "syslog", "stdout", "stderr",
    "__printf_chk", "__fprintf_chk",
}  # fmt: skip


def room_of(name: str) -> str:
    """The room of a module of the package, by its name below it."""
    first = name.split(".", 1)[0]
    return "faces" if first in FACES else first


def offences(source: str, room: str) -> list[str]:
    """What a module of a room imports from below it."""
    found = []
    for node in ast.walk(ast.parse(source)):
        names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
        if isinstance(node, ast.ImportFrom) and node.module:
            names = [node.module] if node.module != "vgpu_harness" else [f"vgpu_harness.{a.name}" for a in node.names]
        for name in names:
            if name.startswith("vgpu_harness."):
                used = room_of(name.removeprefix("vgpu_harness."))
                if used in ROOMS and ROOMS.index(used) > ROOMS.index(room):
                    found.append(name)
    return found


def modules() -> list[Path]:
    """All Python files of the package."""
    root = Path(vgpu_harness.__file__).parent
    return sorted(path for path in root.rglob("*.py"))


def test_no_room_imports_from_below() -> None:
    """No module imports a room that stands below its own."""
    root = Path(vgpu_harness.__file__).parent
    assert len(modules()) > 50
    wrong = {
        str(path.relative_to(root)): offences(
            path.read_text(), room_of(path.relative_to(root).parts[0].removesuffix(".py"))
        )
        for path in modules()
    }
    assert {name: names for name, names in wrong.items() if names} == {}


@pytest.mark.parametrize(
    "source",
    ["from vgpu_harness.run import Run", "import vgpu_harness.discovery.funnel", "from vgpu_harness import fuzz"],
)
def test_an_import_from_below_would_be_seen(source: str) -> None:
    """Each way to write such an import is found, also inside a function."""
    assert offences(f"def f():\n    {source}\n", "host")
    assert offences("from vgpu_harness.host import Host", "run") == []


def test_the_rooms_are_those_of_the_package() -> None:
    """Each folder and module of the package has its place in the order."""
    root = Path(vgpu_harness.__file__).parent
    assert {room_of(path.relative_to(root).parts[0].removesuffix(".py")) for path in modules()} <= set(ROOMS)


@pytest.mark.parametrize("name", [name for name in SHIMS if name in available()])
def test_a_shim_cannot_print(name: str) -> None:
    """No function of libc that writes text is among what a shim imports."""
    undefined = set(read_elf(available()[name]).undefined)
    assert name == "audit" or "environ" in undefined, "the list of imports was not read"
    assert undefined & PRINTERS == set()
