"""The facts of files, and the dynamic linker's rules over them."""

import json
import shutil
import struct
from pathlib import Path

import pytest
from support.compile import compile_library
from support.evidence import sound_b

from vgpu_harness.discovery.facts import Facts, SeenProcess
from vgpu_harness.discovery.library_files import MISSING, Shelf, read_library
from vgpu_harness.discovery.linking import DRIVER, Linker, lacking, lacking_versions
from vgpu_harness.errors import TraceError
from vgpu_harness.shims import client_path, paths, shim_path
from vgpu_harness.shims.edit import copy_library, hide_symbol, set_version_node
from vgpu_harness.shims.elf import read_elf

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
    assert read_library(str(shim_path("exec"))).file.role == "exec"
    assert read_library(str(paths.cudalib_path("libcudart.so.13"))).file.role == "runtime"
    assert read_library(str(paths.cudalib_path("libcublas.so.12"))).file.role == "runtime"


def test_a_file_that_changes_is_read_again(tmp_path: Path) -> None:
    """What was read of a file is not taken for what another file of that path says."""
    place = tmp_path / "x.so"
    shutil.copy(shim_path("cuda"), place)
    assert read_library(str(place)).file.role == "cuda"
    place.unlink()
    shutil.copy(shim_path("nvml"), place)
    assert read_library(str(place)).file.role == "nvml"


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
    assert library.exported_of(["cuInit"]) == frozenset()


def test_a_preloaded_soname_wins_over_the_search_path(tmp_path: Path) -> None:
    """A name is compared with the SONAMEs of preloaded files before any directory is looked at."""
    shim, stub = str(shim_path("cuda")), client_path(STUB)
    shelf = Shelf(tmp_path, [shim])
    assert Linker(shelf, [shim], [str(stub.parent)]).resolve("c", DRIVER).path == shim
    assert Linker(shelf, [], [str(stub.parent)]).resolve("c", DRIVER).path == str(stub)
    assert Linker(shelf, [], [str(tmp_path)]).resolve("c", DRIVER).path is None


def test_a_file_of_another_class_is_passed_over(tmp_path: Path) -> None:
    """A 32-bit libcuda.so.1 that comes first is not the answer (ld.so(8) goes on to the next directory)."""
    first, second = tmp_path / "first", tmp_path / "second"
    first.mkdir()
    second.mkdir()
    elf32(first / DRIVER)
    shutil.copy(client_path(STUB), second / DRIVER)
    linker = Linker(Shelf(tmp_path, []), [], [str(first), str(second)])
    assert linker.resolve("c", DRIVER).path == str(second / DRIVER)


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


RUNTIME = "libcudart.so.13"
BACKEND = "ggml-c/cuda_v13/libggml-cuda.so"


def versions_lacking(runtime: Path) -> tuple[str, ...]:
    """Which versioned symbols of a runtime generation C's backend does not find in this file."""
    backend = client_path(BACKEND)
    needs = lacking_versions(Shelf(runtime.parent, []), str(backend), read_elf(backend), RUNTIME, str(runtime))
    assert needs is not None
    assert f"cudaGetDeviceCount@{RUNTIME}" in needs.symbols
    return needs.missing


def test_a_runtime_of_the_same_release_lacks_nothing() -> None:
    """The runtime that the backend was linked with has each symbol in the version that is asked for."""
    assert versions_lacking(paths.cudalib_path(RUNTIME)) == ()


def test_a_missing_version_node_takes_all_its_symbols(tmp_path: Path) -> None:
    """Where the library has other versions only, every symbol of the version is missing, as ld.so sees it."""
    copy = copy_library(paths.cudalib_path(RUNTIME), tmp_path / RUNTIME)
    set_version_node(copy, RUNTIME, RUNTIME[1:])
    missing = versions_lacking(copy)
    assert f"cudaGetDeviceCount@{RUNTIME}" in missing
    needed = {f"{symbol}@{version}" for symbol, version in read_elf(client_path(BACKEND)).required}
    assert set(missing) == {name for name in needed if name.endswith(f"@{RUNTIME}")}


def test_a_symbol_that_its_version_lacks_is_named_alone(tmp_path: Path) -> None:
    """Where the version is there and one symbol is not in it, that one is missing."""
    copy = copy_library(paths.cudalib_path(RUNTIME), tmp_path / RUNTIME)
    hide_symbol(copy, "cudaGetDeviceCount")
    assert versions_lacking(copy) == (f"cudaGetDeviceCount@{RUNTIME}",)


def test_a_library_without_versions_passes_by_name(tmp_path: Path) -> None:
    """ld.so takes a versioned symbol from a library that has no versions at all; only names can be missing then."""
    bare = compile_library("int cudaGetDeviceCount(int *count) { *count = 1; return 0; }", RUNTIME)
    missing = versions_lacking(bare)
    assert missing
    assert not any(name.startswith("cudaGetDeviceCount") for name in missing)
    assert not any("@" in name for name in missing)


def test_nothing_is_missing_of_a_library_that_is_not_asked() -> None:
    """A library of which no version is needed has no needs."""
    elf = read_elf(client_path(BACKEND))
    assert lacking_versions(Shelf(Path("/"), []), "c", elf, "libother.so.1", str(shim_path("cuda"))) is None


def test_evidence_of_an_earlier_version_is_read(tmp_path: Path) -> None:
    """Evidence without what later versions added is read, with the meaning that it had."""
    facts = sound_b().facts.model_copy(
        update={"processes": (SeenProcess(pid=1, parent=0, program="/p", preloaded=True),)}
    )
    old = json.loads(facts.model_dump_json(by_alias=True))
    del old["observed"]
    for needs in old["needs"]:
        del needs["optional"]
    for process in old["processes"]:
        for name in ("traced", "secure", "static", "copied"):
            del process[name]
    (tmp_path / "evidence.json").write_text(json.dumps(old))
    assert Facts.read(tmp_path) == facts


@pytest.mark.parametrize("content", [None, "", "{", '{"schema": 2}', "[]"])
def test_evidence_that_cannot_be_read_is_a_trace_error(content: str | None, tmp_path: Path) -> None:
    """A missing, damaged or newer evidence file is one message with its path."""
    if content is not None:
        (tmp_path / "evidence.json").write_text(content)
    with pytest.raises(TraceError, match=r"evidence\.json"):
        Facts.read(tmp_path)
