"""The tree of virtual files: what /sys, /proc and /dev show of the GPUs, and the path table that leads there.

A directory that the real machine has too is merged: its real entries stand in ours as absolute links. A directory that
is ours alone, a GPU's for example, hides whatever the real machine has at that place.
"""

import contextlib
import dataclasses
import errno
import os
import stat
import time
from pathlib import Path

from vgpu_harness.host import marks, modules, nodes, procfs
from vgpu_harness.host.model import Host

# Directories that are never merged: /proc has an entry for each process, and nobody finds the driver by listing "/".
_NOT_MERGED = ("/", "/proc")

_MERGED_FILES = ("/proc/devices", "/proc/modules")
"""Files that have the machine's lines, as they were when the tree was written, and ours."""


@dataclasses.dataclass(frozen=True)
class Row:
    """One row of the path table.

    Attributes:
        path: what a program asks for, absolute and normal.
        target: where the tree has it, absolute. A target that does not exist hides the real file.
        whole: what is below the path is answered from the tree too.
        device: (major, minor) of the character device that a stat is to answer, else None.
    """

    path: str
    target: str
    whole: bool
    device: tuple[int, int] | None = None


@dataclasses.dataclass(frozen=True)
class Tree:
    """A written tree: its directory and the path table, longest path first."""

    directory: Path
    rows: tuple[Row, ...]


def write_tree(host: Host, directory: str | os.PathLike[str], *, machine: str = "/") -> Tree:
    """Writes the tree of virtual files.

    Args:
        host: whose GPUs and driver the files show.
        directory: where to; made if it is missing, and empty if not.
        machine: root of the machine whose directories are merged in.

    Raises:
        OSError: the tree cannot be written; FileExistsError if something is there already.
    """
    root = Path(directory).absolute()
    if not root.exists():
        root.mkdir(parents=True)
        root.chmod(0o755)
    if any(root.iterdir()):
        raise FileExistsError(errno.EEXIST, "the directory for the tree is not empty", str(root))
    writer = _Writer(str(root))
    devices = _write_files(host, writer, machine)
    for path, target in (nodes.links(host) | modules.module_links()).items():
        writer.link(path, target)
    rows = [Row(path, f"{root}{path}", whole=False, device=numbers) for path, numbers in devices.items()]
    rows += [Row(path, f"{root}{path}", whole=False) for path in _MERGED_FILES]
    own = [nodes.DRIVER, *modules.directories(), procfs.PROC]
    own += [place for place in (procfs.CAPS, procfs.CAPS_DEVICES) if writer.has(place)]
    for gpu in host.gpu:
        own += [nodes.device_directory(gpu), f"{nodes.DEVICES}/{gpu.pci}"]
    hidden = _other_drivers(host, machine)
    rows += [Row(path, f"{root}{path}", whole=True) for path in (*own, *hidden)]
    around = [row.path for row in rows if row.path.rpartition("/")[0] not in own]
    rows += _merge(writer, machine, around, set(hidden))
    writer.finish()
    return Tree(root, tuple(sorted(rows, key=lambda row: (-len(row.path.encode()), row.path))))


_links: dict[str, str] = {}
"""Where this process has made a symbolic link to a target before: each tree has hundreds, and most are the same."""


class _Writer:
    """Makes the entries of a tree, by the paths that they have on the simulated host."""

    def __init__(self, root: str) -> None:
        self._root = root
        self._shares = True
        self._directories = {"", "/"}
        self._inside: dict[str, set[str]] = {}
        self._moment = int(time.time()) * 10**9
        """What the kernel would say of the time that all of it has come into being, in ns."""

    def directory(self, path: str) -> str:
        """Where the directory `path` is in the tree; made with those above it."""
        at = f"{self._root}{path}"
        if path not in self._directories:
            Path(at).mkdir(parents=True, exist_ok=True)
            while path not in self._directories:
                self._directories.add(path)
                above, _, name = path.rpartition("/")
                self._inside.setdefault(above or "/", set()).add(name)
                path = above
        return at

    def contains(self, path: str, names: set[str]) -> None:
        """Directories of the machine are in the directory `path`, too."""
        self._inside.setdefault(path, set()).update(names)

    def finish(self) -> None:
        """Gives the directories their times, when all is in them, and what a umask has taken from their modes."""
        for path in self._directories - {"", "/"}:
            Path(f"{self._root}{path}").chmod(0o755)  # as sysfs has them
            moment = self._moment + marks.directory_mark(path, len(self._inside.get(path, ())))
            os.utime(f"{self._root}{path}", ns=(moment, moment))

    def has(self, path: str) -> bool:
        """Has the directory been made?"""
        return path in self._directories

    def file(self, path: str, file: nodes.File) -> None:
        """A file, whatever the umask."""
        content, mode, size = file
        parent, _, name = path.rpartition("/")
        at = os.open(f"{self.directory(parent)}/{name}", os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
        try:
            data = content.encode() if isinstance(content, str) else content
            while data:
                data = data[os.write(at, data) :]
            if stat.S_IMODE(os.fstat(at).st_mode) != mode:
                os.fchmod(at, mode)
            moment = self._moment + marks.file_mark(path, size)
            os.utime(at, ns=(moment, moment))
        finally:
            os.close(at)

    def link(self, path: str, target: str) -> None:
        """A symbolic link.

        One that an earlier tree has gets another name: where making an inode is slow (0.2 ms on a busy ext4), that is
        a tenth of the time. Nothing can be written into a link, so trees that share one are apart all the same.
        """
        parent, _, name = path.rpartition("/")
        self.link_at(f"{self.directory(parent)}/{name}", target, marks.link_mark(path))

    def link_at(self, at: str, target: str, mark: int = 0) -> None:
        """The same, by its place in the tree, whose directory is there.

        Without a mark it is no link of the host's: it stands for what the machine has at that place.
        """
        if self._shares and (known := _links.get(target)) is not None:
            # Where one link cannot be shared, its tree removed or on another file system, the others cannot be either.
            self._shares = _link_again(known, target, at)
            if self._shares:
                return
        os.symlink(target, at)  # noqa: PTH211 - making a Path takes longer than the call
        if mark:
            os.utime(at, ns=(self._moment + mark,) * 2, follow_symlinks=False)
        _links[target] = at


def _link_again(known: str, target: str, at: str) -> bool:
    """Gives the link `known` the name `at` too; False where it is not there, or not this link any more."""
    try:
        os.link(known, at, follow_symlinks=False)
    except OSError:  # removed with its tree, on another file system, or has as many names as that allows
        return False
    with contextlib.suppress(OSError):
        if os.readlink(at) == target:  # noqa: PTH115 - likewise
            return True
    Path(at).unlink()
    return False


def _write_files(host: Host, writer: _Writer, machine: str) -> dict[str, tuple[int, int]]:
    """Writes all that is no link; answers the numbers of the character devices, by path."""
    files = procfs.driver_files(host) | modules.module_files(host) | nodes.pci_driver_files()
    files["/proc/devices"] = nodes.File(modules.with_devices(_text(machine, "proc/devices")))
    files["/proc/modules"] = nodes.File(modules.with_modules(host, _text(machine, "proc/modules")))
    cpus = _text(machine, "sys/devices/system/cpu/online").strip() or "0"
    for gpu in host.gpu:
        place = nodes.device_directory(gpu)
        files |= {f"{place}/{name}": file for name, file in nodes.gpu_files(gpu, cpus).items()}
    devices = nodes.device_nodes(host)
    files |= dict.fromkeys(devices, nodes.File("", 0o666))
    for path, (numbers, mode) in procfs.capability_nodes(host).items():
        devices[path] = numbers
        files[path] = nodes.File("", mode)
    for path, file in files.items():
        writer.file(path, file)
    for path in (*procfs.driver_directories(), *modules.module_directories()):
        writer.directory(path)
    return devices


def _text(machine: str, path: str) -> str:
    """What the machine has in a file, "" if it has not."""
    try:
        return Path(machine, path).read_text()
    except OSError:
        return ""


def _other_drivers(host: Host, machine: str) -> list[str]:
    """The links from other drivers to real devices that stand where the host has its GPUs: not to be seen."""
    found = []
    for gpu in host.gpu:
        driver = Path(machine, nodes.DEVICES[1:], gpu.pci, "driver")
        if driver.is_symlink() and (name := driver.readlink().name) != "nvidia":
            found.append(f"/sys/bus/pci/drivers/{name}/{gpu.pci}")
    return found


def _merge(writer: _Writer, machine: str, paths: list[str], hidden: set[str]) -> list[Row]:
    """Makes the directories around `paths` list both the machine's entries and ours; the rows for them."""
    rows: dict[str, Row] = {}
    # A GPU's `subsystem` link leads to the bus itself: it must be as complete as the real one.
    waiting = [*paths, nodes.DEVICES]
    while waiting:
        parent = waiting.pop().rpartition("/")[0] or "/"
        if parent in rows or parent in _NOT_MERGED:
            continue
        real = Path(machine, parent[1:])
        ours = writer.directory(parent)
        if real.is_dir():
            rows[parent] = Row(parent, ours, whole=False)
            base = str(real)
            there = set(os.listdir(ours))  # noqa: PTH208 - names are wanted
            with os.scandir(real) as entries:
                shown = [entry for entry in entries if f"{parent}/{entry.name}" not in hidden]
            for entry in shown:
                if entry.name not in there:
                    writer.link_at(f"{ours}/{entry.name}", f"{base}/{entry.name}")
            writer.contains(parent, {entry.name for entry in shown if entry.is_dir(follow_symlinks=False)})
        else:
            rows[parent] = Row(parent, ours, whole=True)
            waiting.append(parent)
    return list(rows.values())
