"""Small edits of a copy of a library: a symbol that is not there, a name or a version that is not the right one.

A symbol and a DT_SONAME are changed by one byte of .dynstr. The dynamic linker finds a symbol by the hash of the name
that is asked for, then compares the strings; a string that differs in one byte is never equal, and the hash table stays
as it is. A version node gets another name and its hash. No compiler is needed, so this works on a library that a user
has brought.
"""

import os
import shutil
from collections.abc import Callable
from pathlib import Path
from struct import pack_into, unpack_from

from vgpu_harness.errors import ShimError
from vgpu_harness.shims import versions
from vgpu_harness.shims.elf import opened, read_elf

_PAGE = 4096
"""Memory is mapped by pages: what stands in the file behind a segment, up to the end of its page, is mapped too."""


def copy_library(source: str | os.PathLike[str], target: str | os.PathLike[str]) -> Path:
    """Copies a library, so that it can be edited; answers the copy's path.

    Raises:
        ShimError: it cannot be copied.
    """
    try:
        # A copy of the content: a link, hard or symbolic, would edit the original.
        copy = Path(shutil.copyfile(source, target))
        copy.chmod(0o755)
    except OSError as error:
        raise ShimError(f"{source}: cannot be copied to {target}: {error.strerror}") from error
    return copy


def _dynstr(path: Path) -> tuple[int, int]:
    """Offset and size of .dynstr in the file."""
    with opened(path) as elf:
        offset, size = elf.offset_of("DT_STRTAB"), elf.value_of("DT_STRSZ")
    if offset is None or size is None:
        raise ShimError(f"{path}: has no dynamic string table; give a shared library")
    return offset, size


def _write_byte(path: Path, offset: int, value: int) -> None:
    with path.open("r+b") as file:
        file.seek(offset)
        file.write(bytes([value]))


def _read(path: Path, offset: int, size: int) -> bytes:
    with path.open("rb") as file:
        file.seek(offset)
        return file.read(size)


def _all_names(path: Path) -> list[str]:
    """Every string that the dynamic linker takes from .dynstr, one entry for each use, in a fixed order."""
    facts = read_elf(path)
    with opened(path) as elf:
        names = [name for name, _, _ in elf.symbol_names()]
    versions = [text for file, needed in facts.verneed.items() for text in (file, *needed)]
    return [*names, *facts.needed, *versions, facts.soname or ""]


def _edit(path: Path, offsets: list[int], value: Callable[[int], int], sound: Callable[[], bool], problem: str) -> None:
    """Tries one offset after the other until the library is as `sound` wants it; else undoes the edit and complains."""
    for offset in offsets:
        before = _read(path, offset, 1)[0]
        _write_byte(path, offset, value(before))
        if sound():
            return
        _write_byte(path, offset, before)
    raise ShimError(f"{path}: {problem}")


def hide_symbol(copy: str | os.PathLike[str], name: str) -> None:
    """Makes `copy` a library that does not define `name`; every other name stays as it was.

    Strings in .dynstr may share their ends ("cuInit" can stand inside "my_cuInit"), so a byte is taken whose change is
    seen in this one name only.

    Raises:
        ShimError: the library does not define `name`, or shares every byte of the name with another one.
    """
    path = Path(copy)
    with opened(path) as elf:
        offsets = {at for text, defined, at in elf.symbol_names() if defined and text == name}
    if not offsets:
        raise ShimError(f"{path}: does not define {name!r}, so it cannot be taken away; check the spelling")
    start, _ = _dynstr(path)
    before = _all_names(path)
    for at in sorted(offsets):
        # A longer string that contains this one shares all its bytes; a shorter one that ends it leaves the first free.
        _edit(
            path,
            [start + at + n for n in range(len(name))],
            lambda byte: ord("Y") if byte == ord("X") else ord("X"),
            lambda: all(a in {b, name} for a, b in zip(before, _all_names(path), strict=True)),
            f"the name {name!r} shares its bytes with another name; it cannot be changed alone",
        )
    if read_elf(path).exports(name):
        raise ShimError(f"{path}: still defines {name!r} after the edit; report this library")


def set_soname(copy: str | os.PathLike[str], soname: str) -> None:
    """Gives `copy` another DT_SONAME; every other name stays as it was.

    Args:
        copy: the library to edit.
        soname: the new one; it differs from the library's own in exactly one byte.

    Raises:
        ShimError: it differs in more, or the library has none, or shares the byte with another name.
    """
    path = Path(copy)
    with opened(path) as elf:
        at = elf.value_of("DT_SONAME")
    old = read_elf(path).soname
    if at is None or old is None:
        raise ShimError(f"{path}: has no DT_SONAME to change; link the library with -Wl,-soname,NAME")
    new_bytes, old_bytes = soname.encode(), old.encode()
    places = [n for n, (a, b) in enumerate(zip(new_bytes, old_bytes, strict=False)) if a != b]
    if len(new_bytes) != len(old_bytes) or len(places) != 1:
        raise ShimError(
            f"{path}: soname {soname!r} does not differ from {old!r} in exactly one byte; choose one that does"
        )
    start, _ = _dynstr(path)
    before = _all_names(path)[:-1]
    _edit(
        path,
        [start + at + places[0]],
        lambda _: new_bytes[places[0]],
        lambda: _all_names(path) == [*before, soname],
        f"the soname {old!r} shares the byte with another name; choose a soname that differs in another place",
    )


def set_version_node(copy: str | os.PathLike[str], old: str, new: str) -> None:
    """Gives the version node `old` of `copy` the name `new`; DT_SONAME and every other name stay as they were.

    A program that needs a symbol in version `old` is then refused by the dynamic linker: "version `old' not found".
    The definition that stands for the file itself is renamed with the node where both have one name, since the dynamic
    linker is content with either.

    Args:
        copy: the library to edit.
        old: one of its `ElfFacts.version_nodes`.
        new: the other name, not one of them.

    Raises:
        ShimError: the library has no node `old`, has one `new` already, or there is no room in it for the new name.
    """
    path = Path(copy)
    facts = read_elf(path)
    nodes = facts.version_nodes
    if not facts.is_native:
        raise ShimError(f"{path}: is not of this architecture; give a 64-bit x86-64 library")
    if old not in nodes:
        known = ", ".join(nodes) or "none"
        raise ShimError(f"{path}: has no version node {old!r}; it has {known}")
    if new in nodes:
        raise ShimError(f"{path}: has a version node {new!r} already; choose another name")
    data = bytearray(path.read_bytes())
    with opened(path) as elf:
        offset = _put_name(path, data, new)
        for node in elf.version_definitions():
            if node.name == old:
                versions.rename(data, elf.order, node, new, offset)
    path.write_bytes(data)


def _put_name(path: Path, data: bytearray, name: str) -> int:
    """Where in .dynstr a name stands: where it is already, as a string's end, or in the room behind the segment."""
    start, size = _dynstr(path)
    raw = name.encode() + b"\0"
    known = data.find(raw, start, start + size)
    if known >= 0:
        return known - start
    with opened(path) as elf:
        header, end, limit = elf.room_behind(start)
    room = bytes(data[end : min(limit, -(-end // _PAGE) * _PAGE)])
    if len(room) < len(raw) or room.strip(b"\0"):
        raise ShimError(
            f"{path}: has no room for the name {name!r} behind its strings; choose one that a string there ends in"
        )
    data[end : end + len(raw)] = raw
    # p_filesz and p_memsz of Elf64_Phdr
    for field in (header + 32, header + 40):
        (length,) = unpack_from("<Q", data, field)
        pack_into("<Q", data, field, length + len(raw))
    return end - start
