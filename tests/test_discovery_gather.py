"""The facts of files, and the dynamic linker's rules over them."""

import shutil
import struct
from pathlib import Path

import pytest

from vgpu_harness.discovery.facts import Facts
from vgpu_harness.discovery.gather import DRIVER, MISSING, Shelf, lacking, read_library, resolve
from vgpu_harness.errors import TraceError
from vgpu_harness.shims import client_path, shim_path

STUB = "stub/libcuda.so.1"


def elf32(path: Path) -> Path:
    """A file with the header of a 32-bit ELF library."""
    head = b"\x7fELF" + bytes([1, 1, 1]) + bytes(9)
    path.write_bytes(head + struct.pack("<HHIIIIIHHHHHH", 3, 3, 1, 0, 52, 0, 0, 52, 32, 0, 40, 0, 0))
    return path


def test_a_shim_is_known_by_its_exports() -> None:
    """The role comes from what a file exports, not from its name."""
    file = read_library(str(shim_path("cuda"))).file
    assert (file.problem, file.role, file.soname) == (None, "cuda", DRIVER)
    assert read_library(str(shim_path("nvml"))).file.role == "nvml"
    assert read_library(str(shim_path("syscall"))).file.role == "syscall"


@pytest.mark.parametrize("kind", ["missing", "empty", "text", "elf32", "directory"])
def test_what_is_no_library_has_a_problem(kind: str, tmp_path: Path) -> None:
    """What cannot be loaded is said in words, never raised."""
    path = tmp_path / "x.so"
    if kind == "elf32":
        elf32(path)
    elif kind == "directory":
        path.mkdir()
    elif kind != "missing":
        path.write_text("" if kind == "empty" else "hello, world: no ELF file here\n")
    library = read_library(str(path))
    assert library.file.problem
    assert (library.file.problem == MISSING) == (kind == "missing")
    assert not library.exports("cuInit")


def test_a_preloaded_soname_wins_over_the_search_path(tmp_path: Path) -> None:
    """A name is compared with the SONAMEs of preloaded files before any directory is looked at."""
    shim, stub = str(shim_path("cuda")), client_path(STUB)
    shelf = Shelf(tmp_path, [shim])
    assert resolve(shelf, "c", DRIVER, [shim], [str(stub.parent)]).path == shim
    assert resolve(shelf, "c", DRIVER, [], [str(stub.parent)]).path == str(stub)
    assert resolve(shelf, "c", DRIVER, [], [str(tmp_path)]).path is None


def test_a_file_of_another_class_is_passed_over(tmp_path: Path) -> None:
    """A 32-bit libcuda.so.1 that comes first is not the answer (ld.so(8) goes on to the next directory)."""
    first, second = tmp_path / "first", tmp_path / "second"
    first.mkdir()
    second.mkdir()
    elf32(first / DRIVER)
    shutil.copy(client_path(STUB), second / DRIVER)
    assert resolve(Shelf(tmp_path, []), "c", DRIVER, [], [str(first), str(second)]).path == str(second / DRIVER)


def test_delivered_are_the_preloaded_files_and_those_of_the_installation(tmp_path: Path) -> None:
    """A link in the run's installation to the shim, and the shim by any path, are delivered; another library is not."""
    shim, stub = shim_path("cuda"), client_path(STUB)
    link = tmp_path / "ollama" / "lib" / DRIVER
    link.parent.mkdir(parents=True)
    link.symlink_to(shim)
    shelf = Shelf(tmp_path, [])
    assert [shelf.file(str(path)).delivered for path in (link, shim, stub)] == [True, True, False]


def test_lacking_names_what_no_library_exports(tmp_path: Path) -> None:
    """A symbol counts as there if the library or one bound before it exports it; of alternatives, one will do."""
    shim = str(shim_path("cuda"))
    shelf = Shelf(tmp_path, [])
    asked = ("cuInit", "cuNoSuch", "cuNoSuch|cuInit", "nvmlInit_v2")
    assert lacking(shelf, "c", shim, asked).missing == ("cuNoSuch", "nvmlInit_v2")
    assert lacking(shelf, "c", shim, asked, [str(shim_path("nvml"))]).missing == ("cuNoSuch",)


@pytest.mark.parametrize("content", [None, "", "{", '{"schema": 2}', "[]"])
def test_evidence_that_cannot_be_read_is_a_trace_error(content: str | None, tmp_path: Path) -> None:
    """A missing, damaged or newer evidence file is one message with its path."""
    if content is not None:
        (tmp_path / "evidence.json").write_text(content)
    with pytest.raises(TraceError, match=r"evidence\.json"):
        Facts.read(tmp_path)
