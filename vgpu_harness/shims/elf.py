"""What an ELF file says of itself, from its program headers alone: the dynamic linker reads no section headers."""

import os
import struct
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from mmap import ACCESS_READ, mmap
from pathlib import Path
from types import TracebackType
from typing import Self, TypeVar

from vgpu_harness.errors import ShimError
from vgpu_harness.shims import versions
from vgpu_harness.shims.elf_tables import PT_LOAD, Symbol, Tables

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
            return frozenset(symbol.name for symbol in elf.symbols() if not symbol.defined)

    @cached_property
    def exported(self) -> frozenset[str]:
        """Names of the dynamic symbols that the file defines. Walks the whole symbol table."""
        with opened(self.path) as elf:
            return frozenset(symbol.name for symbol in elf.symbols() if symbol.defined)

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
        self._data: mmap
        self._tables: Tables

    def __enter__(self) -> Self:
        try:
            file = self.path.open("rb")
        except OSError as error:
            raise ShimError(f"{self.path}: cannot be read: {error.strerror}; give an ELF file") from error
        try:
            with file:
                self._data = mmap(file.fileno(), 0, access=ACCESS_READ)
        except _DAMAGE as error:
            raise self._damaged(error) from error
        try:
            self._tables = Tables(self._data)
        except BaseException as error:
            self._data.close()
            if isinstance(error, _DAMAGE):
                raise self._damaged(error) from error
            raise
        return self

    def __exit__(self, _kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        self._data.close()
        if isinstance(error, _DAMAGE):
            raise self._damaged(error) from error

    def _damaged(self, error: BaseException) -> ShimError:
        return ShimError(
            f"{self.path}: is not a sound ELF file ({str(error) or type(error).__name__}); build or copy it again"
        )

    def facts(self) -> ElfFacts:
        """The whole of `ElfFacts`."""
        tables = self._tables
        soname = tables.value_of("DT_SONAME")
        return ElfFacts(
            path=self.path,
            bits=tables.bits,
            machine=tables.machine,
            type=tables.type,
            soname=None if soname is None else tables.text(soname),
            needed=tuple(tables.text(at) for at in tables.values("DT_NEEDED")),
            interp=tables.interp,
            verneed=self._verneed(),
            version_nodes=tuple(node.name for node in self.version_definitions() if not node.is_base),
            is_dynamic=tables.is_dynamic,
        )

    def offset_of(self, tag: str) -> int | None:
        """Where in the file the address is that a dynamic tag holds."""
        return self._tables.offset_of(tag)

    def value_of(self, tag: str) -> int | None:
        """The number that a dynamic tag holds."""
        return self._tables.value_of(tag)

    def defines(self, name: str) -> bool:
        """Is `name` a defined dynamic symbol?"""
        return self._tables.defines(name)

    def symbols(self) -> Iterable[Symbol]:
        """Every dynamic symbol that has a name."""
        return self._tables.symbols()

    def symbol_names(self) -> list[tuple[str, bool, int]]:
        """(name, is it defined here?, offset of the name in .dynstr) of every dynamic symbol that has a name."""
        return [(symbol.name, symbol.defined, symbol.name_at) for symbol in self.symbols()]

    def versioned_symbols(self) -> Iterable[tuple[str, bool, str]]:
        """(name, is it defined here?, version or "") of every dynamic symbol."""
        at = self.offset_of("DT_VERSYM")
        if at is None:
            yield from ((symbol.name, symbol.defined, "") for symbol in self.symbols())
            return
        names = {node.index: node.name for node in self.version_definitions()}
        names |= {index: version for _, version, index in self._needs()}
        names |= {versions.LOCAL: "", versions.GLOBAL: ""}
        indices = versions.indices(self._data, self.order, at, self._tables.symbol_count)
        yield from ((symbol.name, symbol.defined, names[indices[symbol.number]]) for symbol in self.symbols())

    def version_definitions(self) -> list[versions.Definition]:
        """The version nodes of DT_VERDEF, that of the file itself among them."""
        return list(self._versions(versions.definitions, "DT_VERDEF", "DT_VERDEFNUM"))

    def room_behind(self, offset: int) -> tuple[int, int, int]:
        """The loaded segment with an offset: where its program header stands, where it ends, where another one begins.

        A segment that is longer in memory than in the file has no room behind it: it ends where "another one" begins.
        """
        loaded = [segment for segment in self._tables.segments if segment.type == PT_LOAD]
        for segment in loaded:
            end = segment.offset + segment.in_file
            if segment.offset <= offset < end:
                others = [other.offset for other in loaded if other.offset >= end]
                full = segment.in_memory != segment.in_file
                return segment.header, end, end if full else min(others, default=self._data.size())
        raise ShimError(f"{self.path}: has no loaded segment at offset {offset}; build or copy it again")

    @property
    def order(self) -> str:
        """Byte order, as `struct` has it."""
        return self._tables.order

    def _needs(self) -> list[tuple[str, str, int]]:
        return list(self._versions(versions.needs, "DT_VERNEED", "DT_VERNEEDNUM"))

    def _versions(self, read: Callable[..., Iterable[_T]], table: str, number: str) -> Iterable[_T]:
        at, count = self.offset_of(table), self.value_of(number)
        if at is None or count is None:
            return ()
        return read(self._data, self.order, at, count, self._tables.text)

    def _verneed(self) -> dict[str, tuple[str, ...]]:
        needs: dict[str, tuple[str, ...]] = {}
        for file, version, _ in self._needs():
            needs[file] = (*needs.get(file, ()), version)
        return needs


# What comes of offsets that lead nowhere; OSError is a file that cannot be mapped, a directory or a device.
_DAMAGE = (IndexError, KeyError, OSError, OverflowError, ValueError, struct.error)
