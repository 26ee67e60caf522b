"""The tree of virtual files: what /sys, /proc and /dev show of the GPUs, and the path table that leads there.

A directory that the real machine has too is merged: its real entries stand in ours as absolute links. A directory that
is ours alone, a GPU's for example, hides whatever the real machine has at that place.
"""

import contextlib
import dataclasses
import errno
import os
from pathlib import Path

from vgpu_harness.host import nodes
from vgpu_harness.host.model import Host

# Directories that are never merged: /proc has an entry for each process, and nobody finds the driver by listing "/".
_NOT_MERGED = ("/", "/proc")


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
    root.mkdir(parents=True, exist_ok=True)
    if any(root.iterdir()):
        raise FileExistsError(errno.EEXIST, "the directory for the tree is not empty", str(root))
    writer = _Writer(str(root))
    _write_files(host, writer, _online_cpus(machine))
    for path, target in nodes.links(host).items():
        writer.link(path, target)
    rows = [
        Row(path, f"{root}{path}", whole=False, device=numbers) for path, numbers in nodes.device_nodes(host).items()
    ]
    own = [nodes.DRIVER, nodes.MODULE, nodes.PROC]
    for gpu in host.gpu:
        own += [nodes.device_directory(gpu), f"{nodes.DEVICES}/{gpu.pci}"]
    hidden = _other_drivers(host, machine)
    rows += [Row(path, f"{root}{path}", whole=True) for path in (*own, *hidden)]
    rows += _merge(writer, machine, [row.path for row in rows], set(hidden))
    return Tree(root, tuple(sorted(rows, key=lambda row: (-len(row.path.encode()), row.path))))


_links: dict[str, str] = {}
"""Where this process has made a symbolic link to a target before: each tree has hundreds, and most are the same."""


class _Writer:
    """Makes the entries of a tree, by the paths that they have on the simulated host."""

    def __init__(self, root: str) -> None:
        self._root = root
        self._directories = {"", "/"}

    def directory(self, path: str) -> str:
        """Where the directory `path` is in the tree; made with those above it."""
        at = f"{self._root}{path}"
        if path not in self._directories:
            Path(at).mkdir(parents=True, exist_ok=True)
            self._directories.add(path)
        return at

    def file(self, path: str, content: bytes, mode: int) -> None:
        """A file, whatever the umask."""
        parent, _, name = path.rpartition("/")
        at = os.open(f"{self.directory(parent)}/{name}", os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
        with os.fdopen(at, "wb") as file:
            file.write(content)
            os.fchmod(at, mode)

    def link(self, path: str, target: str) -> None:
        """A symbolic link.

        One that an earlier tree has gets another name: where making an inode is slow (0.2 ms on a busy ext4), that is
        a tenth of the time. Nothing can be written into a link, so trees that share one are apart all the same.
        """
        parent, _, name = path.rpartition("/")
        at = f"{self.directory(parent)}/{name}"
        known = _links.get(target)
        if known is not None and _link_again(known, target, at):
            return
        Path(at).symlink_to(target)
        _links[target] = at


def _link_again(known: str, target: str, at: str) -> bool:
    """Gives the link `known` the name `at` too; False where it is not there, or not this link any more."""
    try:
        os.link(known, at, follow_symlinks=False)
    except OSError:  # removed with its tree, on another file system, or has as many names as that allows
        return False
    with contextlib.suppress(OSError):
        if os.readlink(at) == target:  # noqa: PTH115 - making a Path takes longer than the call
            return True
    Path(at).unlink()
    return False


def _write_files(host: Host, writer: _Writer, cpus: str) -> None:
    files: dict[str, str | bytes] = dict(nodes.driver_files(host))
    for gpu in host.gpu:
        place = nodes.device_directory(gpu)
        files |= {f"{place}/{name}": content for name, content in nodes.gpu_files(gpu, cpus).items()}
    for path, content in files.items():
        writer.file(path, content if isinstance(content, bytes) else content.encode(), 0o444)
    for path in nodes.device_nodes(host):
        writer.file(path, b"", 0o666)


def _online_cpus(machine: str) -> str:
    try:
        return Path(machine, "sys/devices/system/cpu/online").read_text().strip()
    except OSError:
        return "0"


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
            there = set(os.listdir(ours))  # noqa: PTH208 - names are wanted
            for name in os.listdir(real):  # noqa: PTH208
                if name not in there and f"{parent}/{name}" not in hidden:
                    writer.link(f"{parent}/{name}", f"{real}/{name}")
        else:
            rows[parent] = Row(parent, ours, whole=True)
            waiting.append(parent)
    return list(rows.values())
