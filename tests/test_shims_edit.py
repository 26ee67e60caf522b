"""One-byte edits of a copy: what the dynamic linker then finds, and that nothing else has changed."""

import ctypes
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from support.compile import compile_library

from vgpu_harness.errors import ShimError
from vgpu_harness.shims.edit import copy_library, hide_symbol, set_soname, set_version_node
from vgpu_harness.shims.elf import read_elf
from vgpu_harness.shims.paths import cudalib_path

SOURCE = """
int cuInit(unsigned flags) { return 41 + (int)flags; }
int tail_cuInit(void) { return 42; }
int Init(void) { return 43; }
int cuCtxCreate_v3(void) { return 44; }
int cuCtxCreate_v2(void) { return 45; }
"""
SONAME = "libcuda-edit.so.1"


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    """A copy of a library some of whose names share their ends in .dynstr."""
    return copy_library(compile_library(SOURCE, SONAME, "-Wl,-O2"), tmp_path / "copy.so")


def differences(a: Path, b: Path) -> int:
    """How many bytes of two files of one size differ."""
    first, second = a.read_bytes(), b.read_bytes()
    assert len(first) == len(second)
    return sum(x != y for x, y in zip(first, second, strict=True))


def test_a_hidden_symbol_is_gone_and_only_it(copy: Path, tmp_path: Path) -> None:
    """One byte differs; the name is not found any more, every other one is, and still works."""
    original = copy_library(copy, tmp_path / "original.so")
    before = read_elf(copy).exported
    hide_symbol(copy, "cuCtxCreate_v3")
    assert differences(copy, original) == 1
    assert before - read_elf(copy).exported == {"cuCtxCreate_v3"}
    assert not read_elf(copy).exports("cuCtxCreate_v3")
    library = ctypes.CDLL(str(copy))
    assert (library.cuInit(0), library.tail_cuInit(), library.Init(), library.cuCtxCreate_v2()) == (41, 42, 43, 45)
    assert not hasattr(library, "cuCtxCreate_v3")
    assert ctypes.CDLL(str(original)).cuCtxCreate_v3() == 44


def test_a_name_that_ends_in_another_name_keeps_it(copy: Path) -> None:
    """`tail_cuInit` shares its end with `cuInit` and `Init`: a byte in front of them is taken."""
    hide_symbol(copy, "tail_cuInit")
    facts = read_elf(copy)
    assert [facts.exports(name) for name in ("tail_cuInit", "cuInit", "Init")] == [False, True, True]


def test_a_name_that_is_the_end_of_another_cannot_be_hidden_alone(copy: Path) -> None:
    """All bytes of `Init` are bytes of `tail_cuInit`, as the linker merges ends: refused, and nothing is changed."""
    before = copy.read_bytes()
    with pytest.raises(ShimError, match="'Init' shares its bytes with another name"):
        hide_symbol(copy, "Init")
    assert copy.read_bytes() == before
    # The control: with ends kept apart, the same name can be hidden.
    apart = copy_library(
        compile_library("int Init(void) { return 43; } int cuInit_x(void) { return 1; }", SONAME), copy
    )
    hide_symbol(apart, "Init")
    assert not read_elf(apart).exports("Init")


def test_two_symbols_can_be_hidden(copy: Path) -> None:
    """Edits of one copy add up."""
    hide_symbol(copy, "cuCtxCreate_v3")
    hide_symbol(copy, "cuCtxCreate_v2")
    assert read_elf(copy).exported == {"cuInit", "tail_cuInit", "Init", *_changed(copy)}
    assert len(_changed(copy)) == 2


def _changed(path: Path) -> set[str]:
    return {name for name in read_elf(path).exported if "CtxCreate" in name or name.startswith("X")}


@pytest.mark.parametrize("name", ["nothing", "cuCtxCreate", "puts"])
def test_a_symbol_that_is_not_there_cannot_be_hidden(copy: Path, name: str) -> None:
    """A misspelt fault is an error, not a run without the fault."""
    with pytest.raises(ShimError, match=f"does not define '{name}'"):
        hide_symbol(copy, name)


def test_another_soname_is_one_byte(copy: Path, tmp_path: Path) -> None:
    """The new name is what the dynamic linker reads, and every symbol is as before."""
    original = copy_library(copy, tmp_path / "original.so")
    set_soname(copy, "libcudb-edit.so.1")
    assert differences(copy, original) == 1
    facts, before = read_elf(copy), read_elf(original)
    assert facts.soname == "libcudb-edit.so.1"
    assert (facts.exported, facts.needed, facts.verneed) == (before.exported, before.needed, before.verneed)


@pytest.mark.parametrize("soname", [SONAME, "libcudb-edit.so.2", "libcuda-edit.so.11", "", "libcudä-edit.so.1"])
def test_a_soname_further_away_is_refused(copy: Path, soname: str) -> None:
    """None, two, or more bytes of difference are an error, and the copy is untouched."""
    before = copy.read_bytes()
    with pytest.raises(ShimError, match="exactly one byte"):
        set_soname(copy, soname)
    assert copy.read_bytes() == before


def test_a_library_without_soname_has_none_to_change(tmp_path: Path) -> None:
    """The remedy is the linker's option."""
    bare = copy_library(compile_library(SOURCE, ""), tmp_path / "bare.so")
    with pytest.raises(ShimError, match="no DT_SONAME to change; link the library with -Wl,-soname"):
        set_soname(bare, "x")


def test_a_copy_is_no_link_to_the_original(tmp_path: Path) -> None:
    """Copying through a symbolic link copies the content, so that an edit never reaches the installed shim."""
    original = shutil.copy(compile_library(SOURCE, SONAME), tmp_path / "original.so")
    (tmp_path / "link.so").symlink_to(original)
    made = copy_library(tmp_path / "link.so", tmp_path / "copy.so")
    assert not made.is_symlink()
    assert made.stat().st_ino != Path(original).stat().st_ino
    with pytest.raises(ShimError, match="cannot be copied"):
        copy_library(tmp_path / "nothing.so", tmp_path / "other.so")


RUNTIME = "libcudart.so.13"
ASKS_COUNT = "int cudaGetDeviceCount(int *); int ask(int *count) { return cudaGetDeviceCount(count); }"
OPENS = "import ctypes, os, sys\nctypes.CDLL(sys.argv[1], os.RTLD_NOW)\nprint('opened')\n"


@pytest.fixture
def runtime(tmp_path: Path) -> Path:
    """A copy of the CUDA runtime stand-in, under its own name."""
    return copy_library(cudalib_path(RUNTIME), tmp_path / RUNTIME)


def opened(library: Path, directory: Path) -> str:
    """What a child process says that opens a library, with a directory to find others in."""
    command = [sys.executable, "-c", OPENS, str(library)]
    environment = {"LD_LIBRARY_PATH": str(directory)}
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False, env=environment)
    return done.stdout + done.stderr


@pytest.mark.parametrize("new", ["libcudart.so.12", "cudart.so.13", "a" * 200])
def test_the_dynamic_linker_misses_a_renamed_version(runtime: Path, new: str) -> None:
    """A client that needs the node is refused in the dynamic linker's own words; with the node it is opened."""
    client = compile_library(ASKS_COUNT, "libasks.so", str(cudalib_path(RUNTIME)))
    assert opened(client, runtime.parent) == "opened\n"
    set_version_node(runtime, RUNTIME, new)
    said = opened(client, runtime.parent)
    assert f"{runtime}: version `{RUNTIME}' not found (required by {client})" in said


def test_a_renamed_version_changes_nothing_else(runtime: Path, tmp_path: Path) -> None:
    """Every symbol is in the new node, where a client that asks for it finds them; the DT_SONAME is as it was."""
    before = read_elf(runtime)
    set_version_node(runtime, RUNTIME, "libcudart.so.12")
    after = read_elf(runtime)
    assert after.version_nodes == ("libcudart.so.12",)
    assert set(after.provided.values()) == {frozenset({"libcudart.so.12"})}
    assert (after.exported, after.required, after.soname) == (before.exported, before.required, RUNTIME)
    script = tmp_path / "script.map"
    script.write_text("libcudart.so.12 { global: *; };")
    other = compile_library("int cudaGetDeviceCount(int *count) { return *count; }", RUNTIME,
                            f"-Wl,--version-script={script}")  # fmt: skip
    client = compile_library(ASKS_COUNT, "libasks-other.so", str(other))
    assert ("cudaGetDeviceCount", "libcudart.so.12") in read_elf(client).required
    assert opened(client, runtime.parent) == "opened\n"


def test_a_name_that_is_there_needs_no_room(runtime: Path) -> None:
    """The end of a string of the library is used as it stands: the size of no segment changes."""
    size, before = runtime.stat().st_size, runtime.read_bytes()
    set_version_node(runtime, RUNTIME, "cudart.so.13")
    after = runtime.read_bytes()
    assert runtime.stat().st_size == size
    assert sum(a != b for a, b in zip(before, after, strict=True)) <= 16


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("libcudart.so.11", "x", "has no version node 'libcudart.so.11'; it has libcudart.so.13"),
        (RUNTIME, RUNTIME, "has a version node 'libcudart.so.13' already"),
        (RUNTIME, "x" * 4096, "has no room for the name"),
    ],
)
def test_a_version_that_cannot_be_renamed_is_refused(runtime: Path, old: str, new: str, words: str) -> None:
    """The error says what there is, and the copy is as it was."""
    before = runtime.read_bytes()
    with pytest.raises(ShimError, match=words):
        set_version_node(runtime, old, new)
    assert runtime.read_bytes() == before


def test_a_library_without_versions_has_none_to_rename(copy: Path) -> None:
    """The error says that there is none."""
    with pytest.raises(ShimError, match="has no version node 'V1'; it has none"):
        set_version_node(copy, "V1", "V2")
