"""Every path of the tree by every way: all say the same, and it is what the host file says.

Files are as sysfs, procfs and devtmpfs show theirs; so they are from main, from another library's constructor, in a
forked child, in a thread and in a signal handler.
"""

import errno
import os
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from support.every import (
    PLACES,
    Answers,
    agreed,
    answers,
    disagreements,
    every_path,
    facts,
    fnv,
    held_still,
    write_list,
)
from test_syscall_files import Machine, MakeMachine, make_machine  # noqa: F401

from vgpu_harness.host import Gpu, Host, Mig, write_tree
from vgpu_harness.host.faults import FunctionFault
from vgpu_harness.host.pci import regions

SYSTEMS = ("sys", "proc", "dev")
BLOCK = {"sys": "4096", "proc": "1024", "dev": "4096"}
"""st_blksize of sysfs and devtmpfs, and of procfs (fs/proc/root.c)."""
REAL = {"sys": "/sys/kernel/uevent_seqnum", "proc": "/proc/version", "dev": "/dev/null"}
"""A file that each Linux machine has in each file system."""
NO_RIGHT, IS_DIRECTORY, NO_PERMISSION = "errno=13", "errno=21", "errno=1"

KNOWN = {("xattr", "fgetxattr", "proc")}
"""Ways that say something else: fgetxattr is not interposed, and the tree's file system has attributes (ENODATA, not
EOPNOTSUPP as procfs)."""


@dataclass(frozen=True)
class World:
    """A simulated host with its tree: the paths, by where the tree has them; its merged directories; its devices."""

    host: Host
    machine: Machine
    paths: dict[str, Path]
    merged: frozenset[str]
    devices: dict[str, tuple[int, int]]

    def ask(self, place: str, *, shim: bool = True, paths: list[str] | None = None) -> str:
        """What the probe says of all paths in a place, as it says it."""
        names = list(self.paths) if paths is None else paths
        changing = set(names) - self.merged if shim else set()
        program = every_path()
        run = self.machine.run(
            program, place, write_list(self.machine.directory / "list", names, changing=changing), shim=shim
        )
        assert (run.returncode, run.stderr) == (0, "")
        return run.stdout


def make_world(make: MakeMachine, host: Host) -> World:
    """The host's tree, and which of its entries are the host's own: a link to an absolute path is the machine's."""
    machine = make(host)
    rows = write_tree(host, machine.directory / "rows").rows
    merged = {row.path for row in rows if not row.whole and row.device is None}
    exact = {row.path for row in rows}
    own = {row.path for row in rows if row.whole}
    found: dict[str, Path] = {}
    for directory, directories, files in os.walk(machine.tree):
        for entry in (Path(directory, name) for name in (*directories, *files)):
            path = f"/{entry.relative_to(machine.tree)}"
            whole = any(path == place or path.startswith(f"{place}/") for place in own)
            if (path in exact or whole) and not (entry.is_symlink() and str(entry.readlink()).startswith("/")):
                found[path] = entry
    assert own - {row.path for row in rows if not os.path.lexists(row.target)} <= set(found)
    return World(host, machine, found, frozenset(merged), {row.path: row.device for row in rows if row.device})


@pytest.fixture(scope="module")
def world(make_machine: MakeMachine) -> Iterator[World]:  # noqa: F811
    """Two GPUs, one of them with MIG devices, whose capabilities have device nodes of other modes."""
    made = make_world(make_machine, Host(gpu=(Gpu(), Gpu(mig=(Mig(profile="1g.10gb"),)))))
    with held_still(made.paths):
        yield made


@pytest.fixture(scope="module")
def in_main(world: World) -> str:
    """What all ways say of all paths in main, as the probe says it."""
    return world.ask("main")


@pytest.fixture(scope="module")
def told(in_main: str) -> Answers:
    """The same, in order."""
    return answers(in_main)


@pytest.fixture(scope="module")
def mounts(world: World) -> Answers:
    """What the machine says of its own /sys, /proc and /dev, and of some files there."""
    return answers(world.ask("main", shim=False, paths=[*REAL.values(), *(f"/{system}" for system in SYSTEMS)]))


def system_of(path: str) -> str:
    """The file system of a path: "sys"."""
    return path.split("/")[1]


def size_of(world: World, path: str) -> int:
    """st_size of a file as the real file system has it (drivers/pci/pci-sysfs.c for what is no text)."""
    name = path.rpartition("/")[2]
    if system_of(path) != "sys":
        return 0
    for gpu in world.host.gpu:
        if gpu.pci in path:
            sizes = {f"resource{region.bar.index}": region.bar.mib << 20 for region in regions(gpu)}
            if (base := name.removesuffix("_wc")) in sizes:
                return sizes[base]
    return 256 if name == "config" else 4096


def subdirectories(place: Path) -> int:
    """The directories that a program finds in a directory: the tree's own, and those of the machine."""
    found = 0
    for entry in place.iterdir():
        target = entry.readlink() if entry.is_symlink() else entry
        real = target if target.is_absolute() else entry
        found += real.is_dir() and not real.is_symlink()
    return found


def expected_stat(world: World, path: str) -> dict[str, str]:
    """The fields of lstat(path) that the host decides."""
    entry = world.paths[path]
    system = system_of(path)
    own = entry.lstat()
    top = Path(f"/{system}").stat().st_dev
    fields = {"uid": "0", "gid": "0", "blocks": "0", "nlink": "1", "rdev": "0:0", "blksize": BLOCK[system]}
    fields["dev"] = f"{os.major(top)}:{os.minor(top)}"
    if path in world.devices:
        major, minor = world.devices[path]
        mode, size = stat.S_IFCHR | stat.S_IMODE(own.st_mode), 0
        fields["rdev"] = f"{major}:{minor}"
    elif stat.S_ISDIR(own.st_mode):
        mode = stat.S_IFDIR | (0o555 if system == "proc" or path == "/sys" else 0o755)
        fields["nlink"] = str(2 + subdirectories(entry))
        size = None if system == "dev" else 0  # as many entries as there are, 20 bytes each
    elif stat.S_ISLNK(own.st_mode):
        mode, size = own.st_mode, 0
    else:
        mode, size = own.st_mode, size_of(world, path)
    return fields | {"mode": f"{mode:o}"} | ({} if size is None else {"size": str(size)})


def allowed(world: World, path: str, mode: int) -> tuple[bool, bool]:
    """May this process read the file, and write to it? No one writes to sysfs and procfs."""
    bits = mode if os.geteuid() == 0 else mode & 0o7
    writes = path in world.devices and (os.geteuid() == 0 or bits & 0o222 != 0)
    return bits & 0o444 != 0, writes


def expected_bytes(world: World, path: str) -> str:
    """What reading says: the tree's bytes, or why not."""
    entry = world.paths[path].resolve()
    if entry.is_dir():
        return IS_DIRECTORY
    return fnv(entry.read_bytes()) if allowed(world, path, entry.stat().st_mode)[0] else NO_RIGHT


def wrong(world: World, told: Answers, mounts: Answers) -> set[tuple[str, str]]:
    """What is said of a path and is not so on the host: (what, path)."""
    found = set()
    for path, kinds in told.items():
        said = agreed(kinds)
        own = facts(said["lstat"])
        entry = world.paths[path]
        system = system_of(path)
        top = agreed(mounts[path if path in mounts else REAL[system]])
        right = {
            "lstat": expected_stat(world, path).items() <= own.items(),
            "times": len({own.get(name) for name in ("atime", "mtime", "ctime")}) == 1,
            "file system": all(said[kind] == top[kind] for kind in ("statfs", "statvfs", "statx")),
            "bytes": said["bytes"] == expected_bytes(world, path),
            "link": said["link"] == (str(entry.readlink()) if entry.is_symlink() else "errno=22"),
            "path": said["path"] == f"/{entry.resolve().relative_to(world.machine.tree.resolve())}",
            "write": said.get("write", expected_write(world, path)) == expected_write(world, path),
            "mode": said.get("mode", NO_PERMISSION) == NO_PERMISSION,
            "types": said.get("types", "0 wrong") == "0 wrong",
        }
        found |= {(what, path) for what, so in right.items() if not so}
    return found


def expected_write(world: World, path: str) -> str:
    """What opening for writing says."""
    entry = world.paths[path].resolve()
    if entry.is_dir():
        return IS_DIRECTORY
    return "errno=0" if allowed(world, path, entry.stat().st_mode)[1] else NO_RIGHT


def test_the_list_has_every_kind(world: World) -> None:
    """The paths are those of the whole tree: files of each file system, directories, links, devices of each mode."""
    kinds = {(system_of(path), stat.S_IFMT(entry.lstat().st_mode)) for path, entry in world.paths.items()}
    assert {(system, kind) for system in SYSTEMS for kind in (stat.S_IFREG, stat.S_IFDIR)} <= kinds
    assert ("sys", stat.S_IFLNK) in kinds
    assert set(world.devices) <= set(world.paths)
    assert {"/dev", "/sys/bus/pci", "/proc/driver"} <= set(world.paths)
    assert len(world.paths) > 150


def test_all_ways_agree(world: World, told: Answers) -> None:
    """Whichever function is asked, by whichever path or descriptor: what it says of a path is the same."""
    assert set(told) == set(world.paths)
    found = {(kind, way, system_of(path)) for kind, way, path in disagreements(told)}
    assert found == KNOWN


def test_all_is_as_on_the_host(world: World, told: Answers, mounts: Answers) -> None:
    """Bytes, types, modes, sizes, numbers of devices, links, file systems, real paths and refusals are the host's."""
    assert wrong(world, told, mounts) == set()


@pytest.mark.parametrize("place", [place for place in PLACES if place != "main"])
def test_places_make_no_difference(world: World, in_main: str, place: str) -> None:
    """Another library's constructor, a forked child, a thread and a signal handler are told the same as main."""
    assert world.ask(place).splitlines() == in_main.splitlines()


@pytest.mark.parametrize(
    "path", ["/sys/devices/pci0000:00/0000:00:05.0/config", "/dev/nvidia0", "/sys/bus/pci/drivers/nvidia"]
)
def test_spellings_make_no_difference(world: World, told: Answers, path: str) -> None:
    """A path with `//`, `/./` and `..`, and one through /proc/self/root, says in all ways what the plain one says."""
    first, rest = path[1:].split("/", 1)
    spellings = [f"//{first}//./{rest}", f"/{first}/../{first}/{rest}", f"/usr/.././{path}", f"/proc/self/root{path}"]
    spelled = answers(world.ask("main", paths=spellings))
    assert set(spelled) == set(spellings)
    for spelling, kinds in spelled.items():
        assert {(kind, way) for kind, way, _ in disagreements({spelling: kinds})} == set(), spelling
        said = agreed(told[path])
        assert {kind: answer for kind, answer in agreed(kinds).items() if answer != said[kind]} == {}, spelling


def test_the_tree_stays_as_it_is(world: World, told: Answers) -> None:
    """None of the attempts to write, to create, to cut, to change mode or owner has changed a thing."""
    assert told
    for path, entry in world.paths.items():
        found = entry.lstat()
        assert found.st_uid == os.geteuid(), path
        assert stat.S_ISLNK(found.st_mode) or stat.S_IMODE(found.st_mode) != 0o777, path
    text = {path: world.paths[path].read_bytes() for path in world.devices}
    assert set(text.values()) == {b""}


def test_files_are_like_the_machines(told: Answers, mounts: Answers) -> None:
    """A text of sysfs and one of procfs have what the machine's own have but for name, number, times and content."""
    for ours, real in (
        ("/sys/devices/pci0000:00/0000:00:05.0/vendor", REAL["sys"]),
        ("/proc/driver/nvidia/version", REAL["proc"]),
    ):
        said, machine = agreed(told[ours]), agreed(mounts[real])
        for kind in ("stat", "lstat"):
            others = {"ino", "atime", "mtime", "ctime"}
            wanted = {name: value for name, value in facts(machine[kind]).items() if name not in others}
            assert wanted.items() <= facts(said[kind]).items(), (kind, ours)
        for kind in ("statx", "lstatx", "statfs", "statvfs", "xattr", "xattrs", "link"):
            assert said[kind] == machine[kind], (kind, ours)


def test_numbers_are_no_other_files(world: World, told: Answers) -> None:
    """No two files but links have one st_dev and st_ino; numbers of directories are none of the real file system's."""
    found = [facts(agreed(kinds)["lstat"]) for kinds in told.values()]
    files = [one for one in found if not one["mode"].startswith("12")]
    assert len({(one["dev"], one["ino"]) for one in files}) == len(files) > 100
    directories = [facts(agreed(told[path])["lstat"]) for path in told if path.count("/") > 1 and "list" in told[path]]
    assert len(directories) > 10
    assert min(int(one["ino"]) for one in directories if one["mode"].startswith("4")) > 1 << 32


class TestControls:
    def test_without_the_shim_nothing_is_there(self, world: World, mounts: Answers) -> None:
        """The same check on what the machine itself says of a GPU's files finds them missing."""
        path = "/proc/driver/nvidia/version"
        told = answers(world.ask("main", shim=False, paths=[path]))
        assert ("bytes", path) in wrong(world, told, mounts) or Path(path).exists()

    def test_a_way_that_lies_is_found(self, make_machine: MakeMachine) -> None:  # noqa: F811
        """A host on which one function fails: that way disagrees with all others, and no other does."""
        lying = make_world(make_machine, Host(faults=[FunctionFault(function="__xstat", result=errno.EIO)]))
        told = answers(lying.ask("main", paths=["/dev/nvidia0"]))
        assert disagreements(told) == {("stat", "__xstat", "/dev/nvidia0")}

    def test_a_file_without_its_mark_is_found(self, make_machine: MakeMachine) -> None:  # noqa: F811
        """A file of the tree whose times say nothing of it shows the tree's file system, and the check says so."""
        bare = make_world(make_machine, Host())
        path = "/sys/devices/pci0000:00/0000:00:05.0/vendor"
        os.utime(bare.paths[path], ns=(10**18, 10**18))
        names = [path, path.replace("vendor", "device")]
        tops = answers(bare.ask("main", shim=False, paths=[REAL["sys"]]))
        assert wrong(bare, answers(bare.ask("main", paths=names)), tops) >= {("lstat", path)}
        assert {name for _, name in wrong(bare, answers(bare.ask("main", paths=names)), tops)} == {path}
