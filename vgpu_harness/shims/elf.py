"""What an ELF file says of itself, from its program headers alone: the dynamic linker reads no section headers."""

import os
import struct
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from mmap import ACCESS_READ, mmap
from pathlib import Path
from types import TracebackType
from typing import IO, TYPE_CHECKING, Any, Self, TypeVar

from vgpu_harness.errors import ShimError
from vgpu_harness.shims import versions

if TYPE_CHECKING:
    from elftools.elf.elffile import ELFFile

MACHINE = "EM_X86_64"

_T = TypeVar("_T")


@dataclass(frozen=True)
class ElfFacts:
    """The facts that decide whether and how a file takes part in dynamic linking.

    Attributes:
        path: the file.
        bits: 32 or 64.
        machine: "EM_X86_64", "EM_AARCH64", ...
        type: "ET_DYN" (a library or a position-independent program), "ET_EXEC", ...
        soname: DT_SONAME, or None.
        needed: DT_NEEDED, in order.
        interp: the dynamic linker a program asks for, or None.
        verneed: versions that are needed of other libraries: {"libc.so.6": ("GLIBC_2.2.5", ...)}.
        version_nodes: the versions that the file itself defines, in order; () if its symbols have none.
    """

    path: Path
    bits: int
    machine: str
    type: str
    soname: str | None
    needed: tuple[str, ...]
    interp: str | None
    verneed: dict[str, tuple[str, ...]]
    version_nodes: tuple[str, ...]
    is_dynamic: bool

    @property
    def is_native(self) -> bool:
        """Can it be in a process of the shims: 64 bits, x86-64?"""
        return self.bits == 64 and self.machine == MACHINE

    @property
    def is_static(self) -> bool:
        """No dynamic linker runs when this is executed as a program, so nothing is ever preloaded."""
        return self.interp is None

    def exports(self, name: str) -> bool:
        """Does the file define the dynamic symbol `name`? Looked up as the dynamic linker does, in its hash table."""
        with opened(self.path) as elf:
            return elf.defines(name)

    @cached_property
    def undefined(self) -> frozenset[str]:
        """Names of the dynamic symbols that other objects are to define. Walks the whole symbol table."""
        with opened(self.path) as elf:
            return frozenset(name for name, defined in elf.symbols() if not defined)

    @cached_property
    def exported(self) -> frozenset[str]:
        """Names of the dynamic symbols that the file defines. Walks the whole symbol table."""
        with opened(self.path) as elf:
            return frozenset(name for name, defined in elf.symbols() if defined)

    @cached_property
    def required(self) -> frozenset[tuple[str, str]]:
        """(name, version) of each symbol that other objects are to define; "" where no version is asked for."""
        with opened(self.path) as elf:
            return frozenset((name, version) for name, defined, version in elf.versioned_symbols() if not defined)

    @cached_property
    def provided(self) -> Mapping[str, frozenset[str]]:
        """The versions of each symbol that the file defines; {""} for a symbol without one."""
        found: dict[str, frozenset[str]] = {}
        with opened(self.path) as elf:
            for name, defined, version in elf.versioned_symbols():
                if defined:
                    found[name] = found.get(name, frozenset()) | {version}
        return found


def read_elf(path: str | os.PathLike[str]) -> ElfFacts:
    """Reads the facts of a file.

    Raises:
        ShimError: the file cannot be read, or is not ELF or is damaged.
    """
    with opened(Path(path)) as elf:
        return elf.facts()


def is_elf(path: str | os.PathLike[str]) -> bool:
    """Does the file start as ELF files do? False, too, for what cannot be read."""
    try:
        with Path(path).open("rb") as file:
            return file.read(4) == b"\x7fELF"
    except OSError:
        return False


class opened:  # noqa: N801 - a context manager, named as one reads it
    """An ELF file that is open: `with opened(path) as elf`.

    Damage is reported as a `ShimError` wherever in the block it is found.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._file: IO[bytes] | None = None
        self._elf: ELFFile
        self._dynamic: Any = None

    def __enter__(self) -> Self:
        from elftools.common.exceptions import ELFError
        from elftools.elf.elffile import ELFFile

        try:
            self._file = self.path.open("rb")
        except OSError as error:
            raise ShimError(f"{self.path}: cannot be read: {error.strerror}; give an ELF file") from error
        try:
            self._elf = ELFFile(self._file)
            self._dynamic = next(self._elf.iter_segments("PT_DYNAMIC"), None)
        except Exception as error:
            self._file.close()
            if isinstance(error, (ELFError, *_DAMAGE)):
                raise self._damaged(error) from error
            raise
        return self

    def __exit__(self, _kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        from elftools.common.exceptions import ELFError

        if self._file is not None:
            if "_data" in self.__dict__:
                self._data.close()
            self._file.close()
        if isinstance(error, (ELFError, *_DAMAGE)):
            raise self._damaged(error) from error

    def _damaged(self, error: BaseException) -> ShimError:
        return ShimError(
            f"{self.path}: is not a sound ELF file ({str(error) or type(error).__name__}); build or copy it again"
        )

    def facts(self) -> ElfFacts:
        """The whole of `ElfFacts`."""
        interp: Any = next(self._elf.iter_segments("PT_INTERP"), None)
        return ElfFacts(
            path=self.path,
            bits=int(self._elf.elfclass),
            machine=str(self._elf["e_machine"]),
            type=str(self._elf["e_type"]),
            soname=next((str(tag.soname) for tag in self._tags("DT_SONAME")), None),
            needed=tuple(str(tag.needed) for tag in self._tags("DT_NEEDED")),
            interp=interp.get_interp_name() if interp is not None else None,
            verneed=self._verneed(),
            version_nodes=tuple(node.name for node in self.version_definitions() if not node.is_base),
            is_dynamic=self._dynamic is not None,
        )

    def _tags(self, tag: str) -> Any:
        return self._dynamic.iter_tags(tag) if self._dynamic is not None else ()

    def offset_of(self, tag: str) -> int | None:
        """Where in the file the address is that a dynamic tag holds."""
        for entry in self._tags(tag):
            return next(iter(self._elf.address_offsets(entry["d_ptr"])), None)
        return None

    def value_of(self, tag: str) -> int | None:
        """The number that a dynamic tag holds."""
        return next((int(entry["d_val"]) for entry in self._tags(tag)), None)

    def defines(self, name: str) -> bool:
        """Is `name` a defined dynamic symbol?"""
        from elftools.elf.hash import ELFHashTable, GNUHashTable

        if self._dynamic is None:
            return False
        if (offset := self.offset_of("DT_GNU_HASH")) is not None:
            symbol = GNUHashTable(self._elf, offset, self._dynamic).get_symbol(name)
        elif (offset := self.offset_of("DT_HASH")) is not None:
            symbol = ELFHashTable(self._elf, offset, None, self._dynamic).get_symbol(name)
        else:
            symbol = None
        return symbol is not None and symbol["st_shndx"] != "SHN_UNDEF"

    def symbols(self) -> list[tuple[str, bool]]:
        """(name, is it defined here?) of every dynamic symbol."""
        return [(name, defined) for name, defined, _ in self.symbol_names()]

    def symbol_names(self) -> list[tuple[str, bool, int]]:
        """(name, is it defined here?, offset of the name in .dynstr) of every dynamic symbol."""
        if self._dynamic is None or self.offset_of("DT_SYMTAB") is None:
            return []
        return [
            (str(symbol.name), symbol["st_shndx"] != "SHN_UNDEF", int(symbol["st_name"]))
            for symbol in self._dynamic.iter_symbols()
            if symbol.name
        ]

    def versioned_symbols(self) -> list[tuple[str, bool, str]]:
        """(name, is it defined here?, version or "") of every dynamic symbol."""
        found = self.symbol_names()
        at = self.offset_of("DT_VERSYM")
        if at is None:
            return [(name, defined, "") for name, defined, _ in found]
        names = {node.index: node.name for node in self.version_definitions()}
        names |= {index: version for _, version, index in self._needs()}
        names |= {versions.LOCAL: "", versions.GLOBAL: ""}
        # symbol_names leaves out symbols without a name: the first is one, sections may be others
        indices = versions.indices(self._data, self.order, at, self._dynamic.num_symbols())
        named = [i for i, symbol in enumerate(self._dynamic.iter_symbols()) if symbol.name]
        return [(name, defined, names[indices[i]]) for i, (name, defined, _) in zip(named, found, strict=True)]

    def version_definitions(self) -> list[versions.Definition]:
        """The version nodes of DT_VERDEF, that of the file itself among them."""
        return list(self._versions(versions.definitions, "DT_VERDEF", "DT_VERDEFNUM"))

    def room_behind(self, offset: int) -> tuple[int, int, int]:
        """The loaded segment with an offset: where its program header stands, where it ends, where another one begins.

        A segment that is longer in memory than in the file has no room behind it: it ends where "another one" begins.
        """
        loaded = [
            (int(self._elf["e_phoff"]) + i * int(self._elf["e_phentsize"]), segment)
            for i, segment in enumerate(self._elf.iter_segments())
            if segment["p_type"] == "PT_LOAD"
        ]
        for header, segment in loaded:
            end = int(segment["p_offset"] + segment["p_filesz"])
            if segment["p_offset"] <= offset < end:
                others = [int(other["p_offset"]) for _, other in loaded if other["p_offset"] >= end]
                full = segment["p_memsz"] != segment["p_filesz"]
                return header, end, end if full else min(others, default=self._data.size())
        raise ShimError(f"{self.path}: has no loaded segment at offset {offset}; build or copy it again")

    @property
    def order(self) -> str:
        """Byte order, as `struct` has it."""
        return "<" if self._elf.little_endian else ">"

    @cached_property
    def _data(self) -> mmap:
        if self._file is None:
            raise ShimError(f"{self.path}: is not open; use it in a with block")
        return mmap(self._file.fileno(), 0, access=ACCESS_READ)

    def _needs(self) -> list[tuple[str, str, int]]:
        return list(self._versions(versions.needs, "DT_VERNEED", "DT_VERNEEDNUM"))

    def _versions(self, read: Callable[..., Iterable[_T]], table: str, number: str) -> Iterable[_T]:
        at, count, strings = self.offset_of(table), self.value_of(number), self.offset_of("DT_STRTAB")
        if at is None or count is None or strings is None:
            return ()

        def text(offset: int) -> str:
            end = self._data.find(b"\0", strings + offset)
            if end < 0:
                raise ValueError(f"the name at {offset} of its strings does not end")
            return self._data[strings + offset : end].decode("utf-8", "replace")

        return read(self._data, self.order, at, count, text)

    def _verneed(self) -> dict[str, tuple[str, ...]]:
        needs: dict[str, tuple[str, ...]] = {}
        for file, version, _ in self._needs():
            needs[file] = (*needs.get(file, ()), version)
        return needs


# What comes of offsets that lead nowhere: pyelftools lets it through, OSError is a seek beyond what a file can be.
_DAMAGE = (
    AssertionError, AttributeError, IndexError, KeyError, OSError, OverflowError, StopIteration, ValueError,
    struct.error,
)  # fmt: skip
