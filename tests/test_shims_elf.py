"""ELF facts of libraries and programs that are compiled here, against what the linker was told; damaged files."""

import ctypes.util
import struct
import subprocess
import sys
from pathlib import Path

import pytest
from support.compile import compile_library, compile_program

from vgpu_harness.errors import ShimError
from vgpu_harness.shims.elf import is_elf, read_elf
from vgpu_harness.shims.paths import CUDALIBS, cudalib_path

LIBRARY = """
#include <stdio.h>
int cuInit(unsigned flags) { return (int)flags; }
int cuInit_v2(unsigned flags) { return puts("") + (int)flags; }
static int hidden(void) { return 3; }
int calls(void) { return hidden(); }
"""
PROGRAM = "int main(void) { return 0; }"
VERSIONED = """
int plain(void) { return 1; }
int old_step(void) { return 2; }
int new_step(void) { return 3; }
__asm__(".symver old_step, step@LIB_1");
__asm__(".symver new_step, step@@LIB_2");
"""
SCRIPT = "LIB_1 { global: plain; step; local: *; };\nLIB_2 { global: step; } LIB_1;\n"
CLIENT = "int plain(void); int step(void); int other(void); int all(void) { return plain() + step() + other(); }"


@pytest.fixture(scope="module")
def library() -> Path:
    """A library with three exported functions."""
    return compile_library(LIBRARY, "libelf-facts.so.1")


def test_a_library_says_what_the_linker_was_told(library: Path) -> None:
    """Name, needs, versions, class and machine are those of the link."""
    facts = read_elf(library)
    assert (facts.soname, facts.bits, facts.machine, facts.type) == ("libelf-facts.so.1", 64, "EM_X86_64", "ET_DYN")
    assert facts.needed == ("libc.so.6",)
    assert facts.verneed == {"libc.so.6": ("GLIBC_2.2.5",)}
    assert facts.interp is None
    assert facts.is_native
    assert facts.is_dynamic


@pytest.fixture
def versioned(tmp_path: Path) -> Path:
    """A library with two version nodes; one of its symbols is in both."""
    script = tmp_path / "script.map"
    script.write_text(SCRIPT)
    return compile_library(VERSIONED, "libversioned.so.1", f"-Wl,--version-script={script}")


def test_the_versions_that_a_library_provides(versioned: Path, library: Path) -> None:
    """Nodes and symbols are those of the version script; a library without one has symbols without a version."""
    facts = read_elf(versioned)
    assert facts.version_nodes == ("LIB_1", "LIB_2")
    assert facts.provided["plain"] == {"LIB_1"}
    assert facts.provided["step"] == {"LIB_1", "LIB_2"}
    assert facts.provided.keys() - {"LIB_1", "LIB_2"} == {"plain", "step"}
    assert read_elf(library).version_nodes == ()
    assert read_elf(library).provided == {name: {""} for name in ("cuInit", "cuInit_v2", "calls")}


def test_the_versions_that_a_library_requires(versioned: Path, library: Path) -> None:
    """A client takes the default version of each symbol that it was linked to, and none of what nobody defined."""
    client = compile_library(CLIENT, "libclient.so.1", str(versioned))
    required = read_elf(client).required
    assert {("plain", "LIB_1"), ("step", "LIB_2"), ("other", "")} <= required
    assert {name for name, _ in required} == read_elf(client).undefined
    assert ("puts", "GLIBC_2.2.5") in read_elf(library).required


@pytest.mark.parametrize("name", CUDALIBS)
def test_the_cuda_stand_ins_have_one_node_of_their_own_name(name: str) -> None:
    """NVIDIA's node has the name of the library: every symbol is in it."""
    facts = read_elf(cudalib_path(name))
    assert facts.version_nodes == (name,) == (facts.soname,)
    assert set(facts.provided.values()) == {frozenset({name})}


@pytest.mark.parametrize("style", ["gnu", "sysv"])
def test_exports_are_looked_up_in_the_hash_table(style: str) -> None:
    """Defined names are found, in both kinds of table; hidden, undefined and absent ones are not."""
    facts = read_elf(compile_library(LIBRARY, "libelf-facts.so.1", f"-Wl,--hash-style={style}"))
    assert facts.exports("cuInit")
    assert facts.exports("cuInit_v2")
    for name in ("hidden", "puts", "cuInit_v3", "cu", ""):
        assert not facts.exports(name), name


def test_symbols_are_told_apart(library: Path) -> None:
    """What is defined here and what others define are two sets, of the names that nm lists."""
    facts = read_elf(library)
    lines = subprocess.run(["nm", "-D", library], capture_output=True, text=True, check=True, timeout=30).stdout
    words = [line.split()[-2:] for line in lines.splitlines()]
    assert facts.undefined == {name.partition("@")[0] for kind, name in words if kind in "Uw"}
    assert facts.exported == {name for kind, name in words if kind not in "Uw"} == {"cuInit", "cuInit_v2", "calls"}


def test_no_section_headers_are_needed(library: Path, tmp_path: Path) -> None:
    """A library whose section headers were cut off, as the dynamic linker sees it, has the same facts."""
    data = bytearray(library.read_bytes())
    start = struct.unpack_from("<Q", data, 0x28)[0]
    struct.pack_into("<Q", data, 0x28, 0)
    struct.pack_into("<HHH", data, 0x3A, 64, 0, 0)
    stripped = tmp_path / "stripped.so"
    stripped.write_bytes(data[:start])
    facts, whole = read_elf(stripped), read_elf(library)
    assert (facts.soname, facts.needed, facts.verneed) == (whole.soname, whole.needed, whole.verneed)
    assert facts.exports("cuInit")
    assert facts.undefined == whole.undefined


def test_programs_are_dynamic_or_static() -> None:
    """A dynamic program names its dynamic linker; a static one has none, position-independent or not."""
    dynamic = read_elf(compile_program(PROGRAM, "dynamic"))
    assert (dynamic.is_static, dynamic.interp) == (False, "/lib64/ld-linux-x86-64.so.2")
    assert read_elf(compile_program(PROGRAM, "static", "-static")).is_static
    assert read_elf(compile_program(PROGRAM, "static-pie", "-static-pie")).is_static


def test_a_big_library_is_looked_up_in_no_time() -> None:
    """A lookup does not walk the symbol table: libc is asked in a fraction of the time that its table takes."""
    import time

    name = ctypes.util.find_library("c")
    assert name is not None
    libc = next(
        Path(line.split()[-1]) for line in Path("/proc/self/maps").read_text().splitlines() if line.endswith(name)
    )
    facts = read_elf(libc)
    assert facts.exports("open")
    started = time.process_time()
    assert facts.exports("statx")
    looked_up = time.process_time() - started
    started = time.process_time()
    assert "statx" in facts.exported
    assert looked_up < (time.process_time() - started) / 3


@pytest.mark.parametrize(
    "content", [b"", b"\x7fEL", b"#!/bin/sh\n", b"\x7fELF" + bytes(60), b"\x7fELF\x09\x01" + bytes(200)]
)
def test_what_is_not_elf_is_said(content: bytes, tmp_path: Path) -> None:
    """A script, an empty file, a bare header: one error that names the file."""
    path = tmp_path / "file"
    path.write_bytes(content)
    with pytest.raises(ShimError, match="is not a sound ELF file"):
        read_elf(path)


def test_a_cut_library_is_said(library: Path, tmp_path: Path) -> None:
    """However a library is cut, reading its facts works or ends in a ShimError; nothing else comes out."""
    data = library.read_bytes()
    path = tmp_path / "cut.so"
    messages = []
    for size in range(0, len(data), 97):
        path.write_bytes(data[:size])
        try:
            read_elf(path).exports("cuInit")
        except ShimError as error:
            messages.append(str(error))
    assert messages
    assert all(str(path) in message for message in messages)


def dynamic(data: bytes) -> dict[int, int]:
    """The dynamic tags of a 64-bit library by number. Its first segment holds the tables: addresses are offsets."""
    headers, count = struct.unpack_from("<Q", data, 32)[0], struct.unpack_from("<H", data, 56)[0]
    segments = [struct.unpack_from("<IIQQQQQQ", data, headers + 56 * i) for i in range(count)]
    offset, size = next((segment[2], segment[5]) for segment in segments if segment[0] == 2)
    return dict(struct.unpack_from("<QQ", data, at) for at in range(offset, offset + size, 16))


DT_HASH, DT_STRTAB, DT_SYMTAB, DT_GNU_HASH, DT_VERSYM = 4, 5, 6, 0x6FFFFEF5, 0x6FFFFFF0
DT_VERDEF, DT_VERNEED, DT_VERNEEDNUM = 0x6FFFFFFC, 0x6FFFFFFE, 0x6FFFFFFF


def test_a_library_with_flipped_bytes_is_said(versioned: Path, tmp_path: Path) -> None:
    """In headers and tables: all that can be asked is answered or ends in a ShimError; nothing else comes out."""
    data = versioned.read_bytes()
    tags = dynamic(data)
    tables = (DT_HASH, DT_STRTAB, DT_SYMTAB, DT_GNU_HASH, DT_VERSYM, DT_VERDEF, DT_VERNEED)
    starts = [0, *(tags[tag] for tag in tables if tag in tags)]
    path = tmp_path / "damaged.so"
    messages = []
    for at in (place for start in starts for place in range(start, start + 40)):
        for byte in (0xFF, 0x7F, data[at] ^ 0x10):
            path.write_bytes(data[:at] + bytes([byte]) + data[at + 1 :])
            try:
                facts = read_elf(path)
                assert isinstance(facts.required, frozenset)
                assert facts.exports("step") in {True, False}
                assert dict(facts.provided) is not None
            except ShimError as error:
                messages.append(str(error))
    assert messages
    assert all(str(path) in message for message in messages)


@pytest.mark.parametrize("step", [0, 1])
def test_versions_do_not_lead_in_circles(step: int, library: Path, tmp_path: Path) -> None:
    """A list that names itself as the next one ends there, as for ld.so; one of more entries than bytes is damage."""
    data = bytearray(library.read_bytes())
    at = dynamic(data)[DT_VERNEED]
    version, names, file, first, _ = struct.unpack_from("<HHIII", data, at)
    struct.pack_into("<HHIII", data, at, version, 65535 if step else names, file, first, step)
    if step:
        struct.pack_into("<I", data, at + first + 12, step)
    number = data.index(struct.pack("<QQ", DT_VERNEEDNUM, 1))
    struct.pack_into("<QQ", data, number, DT_VERNEEDNUM, 1 << 40)
    path = tmp_path / "circle.so"
    path.write_bytes(data)
    if step:
        with pytest.raises(ShimError, match="is not a sound ELF file"):
            read_elf(path)
    else:
        assert read_elf(path).verneed == read_elf(library).verneed


def test_a_missing_file_is_said(tmp_path: Path) -> None:
    """The reason is the system's."""
    with pytest.raises(ShimError, match="No such file or directory"):
        read_elf(tmp_path / "nothing.so")
    assert not is_elf(tmp_path / "nothing.so")


def test_is_elf_looks_at_the_first_bytes(library: Path) -> None:
    """A library and a program are, a Python file is not."""
    assert is_elf(library)
    assert is_elf(Path(sys.executable).resolve())
    assert not is_elf(__file__)
