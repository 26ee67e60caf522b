"""Which mounts show a tree in the place of the machine's own files, and the directories that they need.

A directory in which ours and the machine's entries are to stand side by side is made anew, with a place for each of its
entries: links are copied, and the rest are mounted again, one by one. Where there are many of these, they are links to
the machine's directory, which is mounted a second time elsewhere: each mount costs bwrap 0.1 ms and more.
"""

import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from vgpu_harness.errors import RunError
from vgpu_harness.host import Tree

_MANY = 16
"""A directory with more entries than this, links not counted, gets links in place of mounts."""

_DEVICES = frozenset({"null", "zero", "full", "random", "urandom", "tty", "ptmx", "console", "kvm", "fuse"})
"""Devices that are mounted all the same: programs ask what these are, not only what is in them."""

_KERNELS_OWN = ("/proc", "/")
"""Directories that cannot be made anew: one of the kernel's processes, and the one that all others are in."""

_OPTIONAL = frozenset({"/proc/modules", "/proc/devices"})
"""Files that a kernel may lack; then they cannot be shown in a namespace, as /proc cannot be made anew."""


@dataclass(frozen=True)
class Mount:
    """One mount: what is mounted where, and whether it may be written to."""

    source: str
    place: str
    writable: bool = False


@dataclass
class _Entries:
    """What a directory has beside the machine's entries: links and placeholders by name, and names that are hidden."""

    links: dict[str, str] = field(default_factory=dict)
    files: set[str] = field(default_factory=set)
    directories: set[str] = field(default_factory=set)
    hidden: set[str] = field(default_factory=set)

    @property
    def names(self) -> set[str]:
        return {*self.links, *self.files, *self.directories, *self.hidden}


class Plan:
    """The mounts of one namespace.

    Args:
        place: an empty directory for the directories that are made anew.
    """

    def __init__(self, place: Path) -> None:
        self._place = place
        self._ours: list[Mount] = []
        self._anew: list[Mount] = []
        self._machines: list[Mount] = []
        self._again: list[Mount] = []
        self._merged: dict[str, _Entries] = {}

    def show(self, tree: Tree) -> None:
        """Shows the files of a tree.

        Raises:
            RunError: the machine lacks a directory that they would be mounted in.
        """
        whole = {row.path for row in tree.rows if row.whole}
        for row in tree.rows:
            inside = any(str(parent) in whole for parent in Path(row.path).parents)
            merged = not row.whole and os.path.isdir(row.target)  # noqa: PTH112 - a string, as all here
            if not inside and not merged:
                self._put(row.path, row.target, writable=row.device is not None)

    def link(self, directories: Sequence[str], served: Mapping[str, Path]) -> None:
        """Puts links to libraries into directories of the system, which are made if they are missing.

        Args:
            directories: absolute paths.
            served: the libraries, by the names of the links.
        """
        for directory in directories:
            entries = self._merge(os.path.realpath(directory), directory)
            entries.links |= {name: str(library) for name, library in served.items()}

    def _put(self, path: str, target: str, *, writable: bool) -> None:
        parent, name = os.path.split(path)
        if os.path.islink(target):  # noqa: PTH114
            text = os.readlink(target)  # noqa: PTH115
            if not (os.path.islink(path) and os.readlink(path) == text):  # noqa: PTH114, PTH115
                self._merge(parent, path).links[name] = text
        elif not os.path.exists(target):  # noqa: PTH110
            self._merge(parent, path).hidden.add(name)
        else:
            is_directory = os.path.isdir(target)  # noqa: PTH112
            there = os.path.lexists(path) and not os.path.islink(path)  # noqa: PTH114
            if not there or os.path.isdir(path) != is_directory:  # noqa: PTH112
                if path in _OPTIONAL:
                    return
                entries = self._merge(parent, path)
                (entries.directories if is_directory else entries.files).add(name)
            self._ours.append(Mount(target, path, writable))

    def _merge(self, directory: str, reason: str) -> _Entries:
        """A directory that is to be made anew, with those above it that are missing."""
        if directory not in self._merged:
            is_file = os.path.lexists(directory) and not os.path.isdir(directory)  # noqa: PTH112
            if directory in _KERNELS_OWN or is_file:
                raise RunError(
                    f"{reason}: cannot be shown in a mount namespace: {directory} would have to be made anew; "
                    "use the provider preload, or a machine on which the directory around it exists"
                )
            self._merged[directory] = _Entries()
            if not os.path.isdir(directory):  # noqa: PTH112
                parent, name = os.path.split(directory)
                self._merge(parent, reason).directories.add(name)
        return self._merged[directory]

    def mounts(self) -> Iterator[Mount]:
        """Makes the directories; the mounts in the order in which they are to be made.

        Raises:
            OSError: a directory cannot be made or read.
        """
        taken = {*self._merged, *(mount.place for mount in self._ours)}
        for number, directory in enumerate(sorted(self._merged, key=_depth)):
            new = self._place / "anew" / str(number)
            new.mkdir(parents=True)
            self._make(directory, new, self._merged[directory], taken)
        # A directory before what is in it. The last ones may lie in a directory that is mounted over; what they show is
        # the machine's all the same.
        yield from (*self._anew, *self._machines, *self._ours, *self._again)

    def _make(self, directory: str, new: Path, entries: _Entries, taken: set[str]) -> None:
        for name, text in entries.links.items():
            (new / name).symlink_to(text)
        for name in entries.directories:
            (new / name).mkdir()
        for name in entries.files:
            (new / name).touch()
        self._anew.append(Mount(str(new), directory))
        if os.path.isdir(directory):  # noqa: PTH112
            with os.scandir(directory) as found:
                self._keep(directory, new, [entry for entry in found if entry.name not in entries.names], taken)

    def _keep(self, directory: str, new: Path, found: "list[os.DirEntry[str]]", taken: set[str]) -> None:
        """Gives a directory that is made anew the machine's own entries, and a place for what is mounted there."""
        rest = []
        for entry in found:
            if entry.is_symlink():
                (new / entry.name).symlink_to(os.readlink(entry.path))  # noqa: PTH115
            elif entry.path in taken:
                (new / entry.name).mkdir() if entry.is_dir() else (new / entry.name).touch()
            else:
                rest.append(entry)
        again = self._place / "machine" / new.name
        for entry in rest:
            is_directory = entry.is_dir()
            in_dev = directory == "/dev" and (is_directory or entry.name in _DEVICES)
            if len(rest) <= _MANY or in_dev:
                (new / entry.name).mkdir() if is_directory else (new / entry.name).touch()
                self._machines.append(Mount(entry.path, entry.path, writable=True))
            else:
                (new / entry.name).symlink_to(again / entry.name)
        if len(rest) > _MANY:
            again.mkdir(parents=True)
            self._again.append(Mount(directory, str(again), writable=True))


def _depth(path: str) -> int:
    return path.count("/") if path != "/" else 0
