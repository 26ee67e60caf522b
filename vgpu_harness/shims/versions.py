"""Symbol versions of an ELF file: the tables of DT_VERSYM, DT_VERNEED and DT_VERDEF (gABI, "Symbol Versioning").

Offsets here are offsets in the file; a reader of names turns an offset in .dynstr into text.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from mmap import mmap
from struct import Struct, pack_into, unpack_from

Content = bytes | mmap
"""A whole file."""

NameOf = Callable[[int], str]
"""The string at an offset of .dynstr."""

LOCAL, GLOBAL = 0, 1
"""Indices in DT_VERSYM of symbols without a version."""

_BASE = 1  # VER_FLG_BASE: the definition that stands for the file itself
_INDEX = 0x7FFF  # the highest bit hides a version from the linker


@dataclass(frozen=True)
class Definition:
    """One Elf64_Verdef {version, flags, ndx, cnt, hash, aux, next} with its Elf64_Verdaux {name, next}.

    Attributes:
        name: the version node.
        index: what DT_VERSYM has for the symbols of this node.
        is_base: it stands for the file itself; no symbol belongs to it.
        hash_at: where `hash` stands.
        names_at: where the names stand that are `name`: its own, and a parent's of the same name.
    """

    name: str
    index: int
    is_base: bool
    hash_at: int
    names_at: tuple[int, ...]


def elf_hash(name: str) -> int:
    """The hash of the gABI by which the dynamic linker compares versions."""
    value = 0
    for byte in name.encode():
        value = (value << 4) + byte
        high = value & 0xF0000000
        value = (value ^ high >> 24) & ~high
    return value & 0xFFFFFFFF


class _Chains:
    """Chains of records of one kind, whose last field is how far away the next one is, 0 at the end.

    Counts and distances come from the file: damaged ones must not lead in circles.
    """

    def __init__(self, data: Content, layout: str) -> None:
        self._data = data
        self._record = Struct(layout)
        self._left = len(data) // self._record.size

    def walk(self, at: int, count: int) -> Iterator[tuple[int, tuple[int, ...]]]:
        """(offset, fields) of each record from the one at `at` on, at most `count`.

        Raises:
            ValueError: these chains have more records than there is room for in the file.
        """
        for _ in range(count):
            self._left -= 1
            if self._left < 0:
                raise ValueError("its tables of versions have more records than there is room for")
            fields = self._record.unpack_from(self._data, at)
            yield at, fields
            if fields[-1] == 0:
                return
            at += fields[-1]


def definitions(data: Content, order: str, at: int, count: int, name_of: NameOf) -> Iterator[Definition]:
    """The version nodes that a file defines.

    Args:
        data: the whole file.
        order: byte order as `struct` has it, "<" or ">".
        at: offset of the first definition.
        count: DT_VERDEFNUM.
        name_of: reads a name.
    """
    auxiliary = _Chains(data, f"{order}II")
    for place, (_, flags, index, names, _, aux, _) in _Chains(data, f"{order}HHHHIII").walk(at, count):
        texts = [(at, name_of(offset)) for at, (offset, _) in auxiliary.walk(place + aux, names)]
        name = texts[0][1]
        yield Definition(name, index, bool(flags & _BASE), place + 8, tuple(at for at, text in texts if text == name))


def needs(data: Content, order: str, at: int, count: int, name_of: NameOf) -> Iterator[tuple[str, str, int]]:
    """(library, version, index in DT_VERSYM) of each version that a file needs of others; arguments as `definitions`.

    Elf64_Verneed is {version, cnt, file, aux, next}, Elf64_Vernaux {hash, flags, other, name, next}.
    """
    auxiliary = _Chains(data, f"{order}IHHII")
    for place, (_, versions, file, first, _) in _Chains(data, f"{order}HHIII").walk(at, count):
        for _, (_, _, index, name, _) in auxiliary.walk(place + first, versions):
            yield name_of(file), name_of(name), index & _INDEX


def indices(data: Content, order: str, at: int, count: int) -> tuple[int, ...]:
    """DT_VERSYM: for each dynamic symbol the index of its version."""
    return tuple(index & _INDEX for index in unpack_from(f"{order}{count}H", data, at))


def rename(data: bytearray, order: str, definition: Definition, new: str, offset: int) -> None:
    """Gives a definition another name, and the hash that belongs to it.

    Args:
        data: the whole file, changed in place.
        order: byte order as `struct` has it.
        definition: which.
        new: the name.
        offset: where in .dynstr it stands.
    """
    pack_into(f"{order}I", data, definition.hash_at, elf_hash(new))
    for place in definition.names_at:
        pack_into(f"{order}I", data, place, offset)
