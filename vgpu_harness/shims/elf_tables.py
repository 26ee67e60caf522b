"""The tables of an ELF file that the dynamic linker reads: header, segments, dynamic tags, symbols and their hashes.

Layouts are those of the gABI (elf.h); DT_GNU_HASH is as in glibc (elf/dl-lookup.c). Offsets are offsets in the file.
Every number comes from the file: one that leads nowhere is a `struct.error` or a `ValueError`.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from struct import Struct, unpack_from

from vgpu_harness.shims.versions import Content, elf_hash

PT_LOAD, PT_DYNAMIC, PT_INTERP = 1, 2, 3

TAGS = {
    "DT_NULL": 0, "DT_NEEDED": 1, "DT_HASH": 4, "DT_STRTAB": 5, "DT_SYMTAB": 6, "DT_STRSZ": 10, "DT_SONAME": 14,
    "DT_GNU_HASH": 0x6FFFFEF5, "DT_VERSYM": 0x6FFFFFF0, "DT_VERDEF": 0x6FFFFFFC, "DT_VERDEFNUM": 0x6FFFFFFD,
    "DT_VERNEED": 0x6FFFFFFE, "DT_VERNEEDNUM": 0x6FFFFFFF,
}  # fmt: skip
"""The dynamic tags that are asked for here."""

# Tags that hold an address: those above, DT_RELA, DT_INIT, DT_FINI, DT_REL, DT_JMPREL, DT_INIT_ARRAY, DT_FINI_ARRAY.
_ADDRESSES = (4, 5, 7, 12, 13, 17, 23, 25, 26, 0x6FFFFEF5, 0x6FFFFFF0, 0x6FFFFFFC, 0x6FFFFFFE)

_TYPES = ("ET_NONE", "ET_REL", "ET_EXEC", "ET_DYN", "ET_CORE")
_MACHINES = {
    3: "EM_386", 8: "EM_MIPS", 20: "EM_PPC", 21: "EM_PPC64", 22: "EM_S390", 40: "EM_ARM", 43: "EM_SPARCV9",
    62: "EM_X86_64", 183: "EM_AARCH64", 190: "EM_CUDA", 243: "EM_RISCV", 258: "EM_LOONGARCH",
}  # fmt: skip


@dataclass(frozen=True)
class Segment:
    """One program header {type, offset, vaddr, filesz, memsz}, and where it stands itself."""

    header: int
    type: int
    offset: int
    address: int
    in_file: int
    in_memory: int


@dataclass(frozen=True)
class Symbol:
    """One dynamic symbol: its number in the table, where its name stands in .dynstr, is it defined here?"""

    number: int
    name: str
    name_at: int
    defined: bool


class Tables:
    """The tables of one file."""

    def __init__(self, data: Content) -> None:
        """`data` is the whole file.

        Raises:
            ValueError: it is no ELF file.
        """
        self._data = data
        if data[:4] != b"\x7fELF":
            raise ValueError("it does not start as ELF files do")
        kind, encoding = data[4], data[5]
        if kind not in {1, 2} or encoding not in {1, 2}:
            raise ValueError(f"its class is {kind} and its byte order {encoding}")
        self.bits = 32 * kind
        self.order = "<" if encoding == 1 else ">"
        wide = self.bits == 64
        self._tag = Struct(f"{self.order}{'QQ' if wide else 'II'}")
        self._symbol = Struct(f"{self.order}{'IBBHQQ' if wide else 'IIIBBH'}")
        header = unpack_from(f"{self.order}HHI{'QQQ' if wide else 'III'}IHHH", data, 16)
        self.type = _TYPES[header[0]] if header[0] < len(_TYPES) else str(header[0])
        self.machine = _MACHINES.get(header[1], str(header[1]))
        self.segments = tuple(self._segment(header[4] + i * header[8]) for i in range(header[9]))
        dynamic = self.segment(PT_DYNAMIC)
        self.is_dynamic = dynamic is not None
        self._tags: dict[int, list[int]] = {}
        for tag, value in () if dynamic is None else self._entries(dynamic):
            self._tags.setdefault(tag, []).append(value)

    def _segment(self, at: int) -> Segment:
        if self.bits == 64:
            kind, _, offset, address, _, in_file, in_memory = unpack_from(f"{self.order}IIQQQQQ", self._data, at)
        else:
            kind, offset, address, _, in_file, in_memory = unpack_from(f"{self.order}IIIIII", self._data, at)
        return Segment(at, kind, offset, address, in_file, in_memory)

    def _entries(self, dynamic: Segment) -> Iterator[tuple[int, int]]:
        for at in range(dynamic.offset, dynamic.offset + dynamic.in_file, self._tag.size):
            tag, value = self._tag.unpack_from(self._data, at)
            if tag == TAGS["DT_NULL"]:
                return
            yield tag, value

    def segment(self, kind: int) -> Segment | None:
        """The first segment of a kind."""
        return next((segment for segment in self.segments if segment.type == kind), None)

    @property
    def interp(self) -> str | None:
        """The dynamic linker that a program asks for."""
        found = self.segment(PT_INTERP)
        return None if found is None else self._string(found.offset)

    def values(self, tag: str) -> list[int]:
        """What each dynamic tag of this name holds."""
        return self._tags.get(TAGS[tag], [])

    def value_of(self, tag: str) -> int | None:
        """The number that the first dynamic tag of this name holds."""
        return next(iter(self.values(tag)), None)

    def offset_of(self, tag: str) -> int | None:
        """Where in the file the address is that a dynamic tag holds; None without the tag, or if it is in no file."""
        address = self.value_of(tag)
        if address is None:
            return None
        for segment in self.segments:
            if segment.type == PT_LOAD and 0 <= address - segment.address < segment.in_file:
                return segment.offset + address - segment.address
        return None

    def text(self, offset: int) -> str:
        """The string at an offset of .dynstr."""
        return self._string(self._strings + offset)

    @cached_property
    def _strings(self) -> int:
        found = self.offset_of("DT_STRTAB")
        if found is None:
            raise ValueError("it has no dynamic string table")
        return found

    def _string(self, at: int) -> str:
        end = self._data.find(b"\0", at)
        if end < 0:
            raise ValueError(f"the string at offset {at} does not end")
        return self._data[at:end].decode("utf-8", "replace")

    def symbols(self) -> Iterator[Symbol]:
        """The dynamic symbols that have a name: the first has none, and those of sections may have none."""
        at, count = self.offset_of("DT_SYMTAB"), self.symbol_count
        if at is None or count == 0:
            return
        end = at + count * self._symbol.size
        if end > len(self._data):
            raise ValueError(f"its {count} dynamic symbols end behind the file")
        for number, fields in enumerate(self._symbol.iter_unpack(self._data[at:end])):
            if name := self.text(fields[0]):
                yield Symbol(number, name, fields[0], self._section(fields) != 0)

    def _section(self, fields: tuple[int, ...]) -> int:
        return fields[3] if self.bits == 64 else fields[5]

    @cached_property
    def symbol_count(self) -> int:
        """How many dynamic symbols there are: no tag says it, a hash table does if it covers any."""
        if (gnu := self._gnu_hash) is not None:
            buckets = unpack_from(f"{self.order}{gnu.buckets}I", self._data, gnu.buckets_at)
            last = max(buckets, default=0)
            if last < gnu.first:
                return self._symbols_up_to_next()
            while not self._word(gnu.chains_at + 4 * (last - gnu.first)) & 1:
                last += 1
            return last + 1
        at = self.offset_of("DT_HASH")
        return self._symbols_up_to_next() if at is None else self._word(at + 4)

    def _symbols_up_to_next(self) -> int:
        """How many have room up to the next table. For what exports nothing, GNU ld leaves 1 in the hash table."""
        start = self.value_of("DT_SYMTAB")
        if start is None:
            return 0
        behind = [value for tag in _ADDRESSES for value in self._tags.get(tag, []) if value > start]
        return (min(behind, default=start) - start) // self._symbol.size

    def defines(self, name: str) -> bool:
        """Is `name` a defined dynamic symbol? Looked up in a hash table, as the dynamic linker does."""
        raw = name.encode() + b"\0"
        table = self.offset_of("DT_SYMTAB")
        if table is None:
            return False
        for number in self._same_hash(name):
            fields = self._symbol.unpack_from(self._data, table + number * self._symbol.size)
            at = self._strings + fields[0]
            if self._data[at : at + len(raw)] == raw:
                return self._section(fields) != 0
        return False

    def _same_hash(self, name: str) -> Iterator[int]:
        """The numbers of the symbols that a hash table has where `name` belongs."""
        if (gnu := self._gnu_hash) is not None:
            return self._same_gnu_hash(gnu, name)
        return self._same_elf_hash(name)

    def _same_gnu_hash(self, table: "_GnuHash", name: str) -> Iterator[int]:
        value = _gnu_hash(name)
        if not table.buckets or not table.filters:
            return
        width = self.bits // 8
        at = table.filter_at + width * (value // self.bits % table.filters)
        (bits,) = unpack_from(f"{self.order}{'Q' if width == 8 else 'I'}", self._data, at)
        if not (bits >> value % self.bits & bits >> (value >> table.shift) % self.bits & 1):
            return
        number = self._word(table.buckets_at + 4 * (value % table.buckets))
        while number >= table.first:
            found = self._word(table.chains_at + 4 * (number - table.first))
            if found | 1 == value | 1:
                yield number
            if found & 1:
                return
            number += 1

    def _same_elf_hash(self, name: str) -> Iterator[int]:
        at = self.offset_of("DT_HASH")
        if at is None:
            return
        buckets, chains = self._word(at), self._word(at + 4)
        number = self._word(at + 8 + 4 * (elf_hash(name) % buckets)) if buckets else 0
        for _ in range(chains):  # a damaged chain may lead in a circle
            if number == 0:
                return
            yield number
            number = self._word(at + 8 + 4 * (buckets + number))

    @cached_property
    def _gnu_hash(self) -> "_GnuHash | None":
        at = self.offset_of("DT_GNU_HASH")
        if at is None:
            return None
        buckets, first, filters, shift = unpack_from(f"{self.order}IIII", self._data, at)
        buckets_at = at + 16 + filters * self.bits // 8
        return _GnuHash(buckets, first, filters, shift, at + 16, buckets_at, buckets_at + 4 * buckets)

    def _word(self, at: int) -> int:
        (value,) = unpack_from(f"{self.order}I", self._data, at)
        return int(value)


@dataclass(frozen=True)
class _GnuHash:
    """DT_GNU_HASH: its four numbers, and where Bloom filter, buckets and chains stand.

    `first` is the first symbol that it covers: those before are not defined here.
    """

    buckets: int
    first: int
    filters: int
    shift: int
    filter_at: int
    buckets_at: int
    chains_at: int


def _gnu_hash(name: str) -> int:
    value = 5381
    for byte in name.encode():
        value = value * 33 + byte & 0xFFFFFFFF
    return value
