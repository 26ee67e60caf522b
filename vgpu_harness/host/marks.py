"""What the tree's entries say of themselves in the nanoseconds of their times: `enum vgpu_mark` of csrc/vgpu/wire.h.

A program that has one open asks the kernel about its descriptor, and no path says what that is. The file shim reads the
mark and answers as the file system does that the host has there: sysfs, procfs or devtmpfs.
"""

from functools import cache

_SYSFS_TEXT = 4096
"""st_size of every text of sysfs: a page, as fs/sysfs/file.c makes it."""


@cache
def _systems() -> dict[str, int]:
    """The marks of the file systems, with what all marks have, by the first component of a path."""
    from vgpu_harness._wire import lib

    marks = {"sys": lib.VGPU_MARK_SYS, "proc": lib.VGPU_MARK_PROC, "dev": lib.VGPU_MARK_DEV}
    return {name: lib.VGPU_MARK | mark for name, mark in marks.items()}


def _system(path: str) -> tuple[str, int]:
    """The file system of an absolute path, and its mark; 0 for what is on none of them: the root."""
    name = path.split("/", 2)[1]
    return name, _systems().get(name, 0)


def file_mark(path: str, size: int | None) -> int:
    """The mark of a file or a link.

    Args:
        path: where the host has it.
        size: bytes that a stat is to answer, a power of two; None: as all files of its file system have it.
    """
    name, mark = _system(path)
    if size is None:
        size = _SYSFS_TEXT if name == "sys" else 0
    return mark | size.bit_length()


def link_mark(path: str) -> int:
    """The mark of a link: sysfs and procfs give it no size."""
    return _system(path)[1]


def directory_mark(path: str, directories: int) -> int:
    """The mark of a directory.

    Args:
        path: where the host has it.
        directories: how many directories a program finds in it; each has a link to it.
    """
    from vgpu_harness._wire import lib

    name, mark = _system(path)
    if not mark:
        return 0
    if name == "proc" or path == "/sys":
        mark |= lib.VGPU_MARK_READ_ONLY
    if path == f"/{name}":
        mark |= lib.VGPU_MARK_MOUNT
    links = 2 + directories
    return mark | (links if links <= lib.VGPU_MARK_COUNT else 0)
