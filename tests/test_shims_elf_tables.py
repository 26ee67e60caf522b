"""The reader of ELF tables against another one, pyelftools, and against files of other machines that are made here."""

import ctypes.util
import struct
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from support.compile import compile_library

from vgpu_harness.errors import ShimError
from vgpu_harness.shims import available, client_path, shim_path
from vgpu_harness.shims.elf import opened, read_elf
from vgpu_harness.shims.elf_tables import Tables
from vgpu_harness.shims.paths import CUDALIBS, cudalib_path

PLAIN = "int outer(void); int first(void) { return outer(); } int second(void) { return 2; }"


def system_libraries() -> Iterator[Path]:
    """The C library and libstdc++, if there is one, as they are mapped or found beside each other."""
    names = {str(ctypes.util.find_library("c"))}
    places = {line.split()[-1] for line in Path("/proc/self/maps").read_text().splitlines() if ".so" in line}
    yield from (Path(place) for place in sorted(places) if Path(place).name in names or "libm" in place)


def files() -> list[Path]:
    """Libraries and programs of many makers: the shims, the stand-ins, the clients, the system's, this Python."""
    built = [shim_path(name) for name in available()] + [cudalib_path(name) for name in CUDALIBS]
    clients = [client_path(name) for name in ("ollama-a", "ggml/cuda_v13/libggml-cuda.so")]
    return [*built, *clients, *system_libraries(), Path(sys.executable).resolve()]


def as_pyelftools_has_it(path: Path) -> dict[str, Any]:
    """What pyelftools reads from the same headers."""
    from elftools.elf.dynamic import DynamicSegment
    from elftools.elf.elffile import ELFFile
    from elftools.elf.sections import SymbolTableSection
    from elftools.elf.segments import InterpSegment

    with path.open("rb") as file:
        elf = ELFFile(file)
        dynamic = next(s for s in elf.iter_segments() if isinstance(s, DynamicSegment))
        interp = [s.get_interp_name() for s in elf.iter_segments() if isinstance(s, InterpSegment)]
        tags: list[Any] = list(dynamic.iter_tags())
        table = elf.get_section_by_name(".dynsym")  # the section headers have its size
        assert isinstance(table, SymbolTableSection)
        symbols: list[Any] = list(table.iter_symbols())
        return {
            "bits": elf.elfclass,
            "machine": elf["e_machine"],
            "type": elf["e_type"],
            "soname": next((tag.soname for tag in tags if tag.entry.d_tag == "DT_SONAME"), None),
            "needed": tuple(tag.needed for tag in tags if tag.entry.d_tag == "DT_NEEDED"),
            "interp": next(iter(interp), None),
            "exported": {symbol.name for symbol in symbols if symbol.name and symbol["st_shndx"] != "SHN_UNDEF"},
            "undefined": {symbol.name for symbol in symbols if symbol.name and symbol["st_shndx"] == "SHN_UNDEF"},
        }


def as_read_here(path: Path) -> dict[str, Any]:
    """The same facts by our own reader."""
    facts = read_elf(path)
    names = ("bits", "machine", "type", "soname", "needed", "interp", "exported", "undefined")
    return {name: getattr(facts, name) for name in names}


@pytest.mark.parametrize("path", files(), ids=lambda path: path.name)
def test_two_readers_agree(path: Path) -> None:
    """Every fact and every symbol is what pyelftools reads, and each exported symbol is found by its hash."""
    here = as_read_here(path)
    assert here == as_pyelftools_has_it(path)
    with opened(path) as elf:
        assert all(elf.defines(name) for name in sorted(here["exported"])[:200])
        assert not any(elf.defines(f"{name}!") for name in sorted(here["exported"])[:200])
        assert not any(elf.defines(name) for name in here["undefined"] - here["exported"])


def test_two_readers_would_differ(tmp_path: Path) -> None:
    """Control: a file that was changed in one byte of a name is not what the other reader had."""
    original = compile_library(PLAIN, "libplain.so.1")
    changed = tmp_path / "changed.so"
    changed.write_bytes(original.read_bytes().replace(b"\0second\0", b"\0secone\0"))
    assert as_read_here(original) == as_pyelftools_has_it(original)
    assert as_read_here(changed) != as_pyelftools_has_it(original)
    assert as_read_here(changed)["exported"] == {"first", "secone"}
    with opened(changed) as elf:
        assert not elf.defines("second")  # its hash leads to another string


BASE = 0x10000
"""The address at which a made library is loaded: an address is not an offset."""
STRINGS = b"\0libmade.so.1\0libneeded.so\0defined\0wanted\0"


def made(bits: int, order: str, machine: int, **changes: int) -> bytes:
    """A library with one defined and one undefined symbol, one needed library and a DT_HASH, for any machine.

    Args:
        bits: 32 or 64.
        order: "<" or ">".
        machine: e_machine.
        changes: numbers of the hash table that are to be others, "buckets" or "chain".
    """
    wide = bits == 64
    word = f"{order}{'QQ' if wide else 'II'}"
    header, program, entry = (64, 56, 24) if wide else (52, 32, 16)
    strings = header + 2 * program
    symbols = strings + len(STRINGS)
    table = symbols + 3 * entry
    dynamic = table + 4 * 6
    at = {name: STRINGS.index(name) for name in (b"libmade", b"libneeded", b"defined", b"wanted")}
    numbers = {1: at[b"libneeded"], 14: at[b"libmade"], 10: len(STRINGS)}
    addresses = {5: strings, 6: symbols, 4: table}
    tags = [*numbers.items(), *((tag, BASE + place) for tag, place in addresses.items()), (0, 0)]
    tags.append((1, at[b"defined"]))  # what stands behind DT_NULL counts for nothing
    size = dynamic + len(tags) * struct.calcsize(word)
    names = ((0, 0), (at[b"defined"], 1), (at[b"wanted"], 0))

    def segment(kind: int, offset: int, length: int) -> bytes:
        if wide:
            return struct.pack(f"{order}IIQQQQQQ", kind, 4, offset, BASE + offset, 0, length, length, 8)
        return struct.pack(f"{order}IIIIIIII", kind, offset, BASE + offset, 0, length, length, 4, 4)

    def symbol(name: int, section: int) -> bytes:
        if wide:
            return struct.pack(f"{order}IBBHQQ", name, 0x12, 0, section, 0, 0)
        return struct.pack(f"{order}IIIBBH", name, 0, 0, 0x12, 0, section)

    identity = b"\x7fELF" + bytes([1 + wide, 1 if order == "<" else 2, 1]) + bytes(9)
    fields = (3, machine, 1, 0, header, 0, 0, header, program, 2, 0, 0, 0)
    return b"".join(
        [
            identity + struct.pack(f"{order}HHI{'QQQ' if wide else 'III'}IHHHHHH", *fields),
            segment(1, 0, size) + segment(2, dynamic, size - dynamic),
            STRINGS,
            *(symbol(*name) for name in names),
            # one bucket; the chain leads from symbol 1 to 2 and ends there
            struct.pack(f"{order}6I", changes.get("buckets", 1), 3, 1, 0, 2, changes.get("chain", 0)),
            *(struct.pack(word, *tag) for tag in tags),
        ]
    )


@pytest.mark.parametrize(
    ("bits", "order", "machine", "name"),
    [
        (64, "<", 62, "EM_X86_64"), (64, ">", 22, "EM_S390"), (32, "<", 3, "EM_386"), (32, ">", 20, "EM_PPC"),
        (64, "<", 183, "EM_AARCH64"), (64, "<", 48879, "48879"),
    ],
)  # fmt: skip
def test_files_of_other_machines(bits: int, order: str, machine: int, name: str, tmp_path: Path) -> None:
    """Both classes and both byte orders are read; a machine without a name is a number."""
    path = tmp_path / "made.so"
    path.write_bytes(made(bits, order, machine))
    facts = read_elf(path)
    assert (facts.bits, facts.machine, facts.type, facts.is_dynamic) == (bits, name, "ET_DYN", True)
    assert (facts.soname, facts.needed) == ("libmade.so.1", ("libneeded.so",))
    assert (facts.exported, facts.undefined) == (frozenset({"defined"}), frozenset({"wanted"}))
    assert facts.provided == {"defined": {""}}
    assert (facts.exports("defined"), facts.exports("wanted"), facts.exports("absent")) == (True, False, False)
    assert facts.is_native is (machine == 62)


def test_a_damaged_chain_ends(tmp_path: Path) -> None:
    """A chain that leads in a circle and a table without buckets say that a symbol is not there, at once."""
    path = tmp_path / "made.so"
    path.write_bytes(made(64, "<", 62, chain=1))
    assert read_elf(path).exports("defined")
    assert not read_elf(path).exports("absent")
    path.write_bytes(made(64, "<", 62, buckets=0))
    assert not read_elf(path).exports("defined")


@pytest.mark.parametrize("field", [0, 2])
def test_a_hash_table_without_anything_has_no_symbol(field: int, tmp_path: Path) -> None:
    """DT_GNU_HASH without buckets or without a filter: nothing is found, and nothing is divided by zero."""
    data = bytearray(compile_library(PLAIN, "libplain.so.1", "-Wl,--hash-style=gnu").read_bytes())
    with opened(compile_library(PLAIN, "libplain.so.1", "-Wl,--hash-style=gnu")) as elf:
        at = elf.offset_of("DT_GNU_HASH")
        assert elf.defines("first")
    assert at is not None
    struct.pack_into("<I", data, at + 4 * field, 0)
    path = tmp_path / "empty.so"
    path.write_bytes(data)
    assert not read_elf(path).exports("first")


def test_a_library_that_exports_nothing() -> None:
    """What it needs of others is read all the same, though its hash table covers no symbol."""
    source = "int outer(void); static int inner(void) { return outer(); } int (*const kept)(void) = inner;"
    path = compile_library(f"{source}\n", "libnothing.so.1", "-Wl,--hash-style=gnu", "-fvisibility=hidden")
    facts = read_elf(path)
    assert facts.exported == frozenset()
    assert "outer" in facts.undefined
    assert as_read_here(path) == as_pyelftools_has_it(path)


@pytest.mark.parametrize("order", ["<", ">"])
def test_what_ends_behind_the_file_is_damage(order: str, tmp_path: Path) -> None:
    """More symbols than bytes, and a string without an end, are told as damage."""
    path = tmp_path / "made.so"
    whole = made(64, order, 62)
    count = struct.pack(f"{order}6I", 1, 3, 1, 0, 2, 0)
    path.write_bytes(whole.replace(count, struct.pack(f"{order}6I", 1, 1 << 31, 1, 0, 2, 0)))
    with pytest.raises(ShimError, match="dynamic symbols end behind the file"):
        _ = read_elf(path).exported
    with pytest.raises(ValueError, match="does not end"):
        Tables(whole).text(1 << 40)
