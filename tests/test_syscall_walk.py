"""Walks and listings through the file shim, compared with libc's own of a real directory of the same content."""

import dataclasses
import os
from collections.abc import Callable
from pathlib import Path

import pytest
from support.compile import compile_program
from test_syscall_files import Machine

from vgpu_harness.host import Gate, Host, write_image, write_tree
from vgpu_harness.host.faults import FunctionFault
from vgpu_harness.host.tree import Row
from vgpu_harness.shims import shim_path
from vgpu_harness.trace import create_trace

SOURCE = Path(__file__).with_name("support") / "walkprobe.c"
GPU = "/sys/devices/pci0000:00/0000:00:05.0"
EDGE = "/sys/edge"
"""Where the simulated host has a directory of odd files, so that its walks are the shim's own."""

KNOT = "/sys/knot"
"""Another, with a link to itself: it ends ftw and nftw, after which names is up to the directory's order."""

FAR = "/sys/far"
"""Another, with a link to a directory whose parent is elsewhere."""

PHYS, MOUNT, CHDIR, DEPTH, ACTION = 1, 2, 4, 8, 16
COMFOLLOW, LOGICAL, NOCHDIR, NOSTAT, PHYSICAL, SEEDOT, XDEV = 1, 2, 4, 8, 16, 32, 64
MARK, NOSORT, DOOFFS, NOCHECK, NOESCAPE, PERIOD, BRACE, TILDE_CHECK = 2, 4, 8, 16, 64, 128, 1024, 16384
LISTS = ("readdir", "readdir64", "readdir_r", "readdir64_r", "getdents64", "getdirentries", "getdirentries64")


@pytest.fixture(scope="module")
def probe() -> Path:
    """The program that walks."""
    return compile_program(SOURCE.read_text(encoding="utf-8"), "walkprobe")


def make_edge(directory: Path) -> None:
    """Odd files: links to nothing and to a directory above, names that the probe acts upon. Beside them KNOT and FAR.

    Walks that follow links tell the same whichever order the file system lists these names in.
    """
    for name in ("skip/below", "children/c1", "dir/deep/deeper/deepest/bottom", "again", "a", ".hidden/h", "siblings"):
        (directory / name).mkdir(parents=True)
    for name in (
        "file",
        "dir/f1",
        "dir/f2",
        "skip/below/unseen",
        "children/c1/x",
        "a/[bracket]",
        ".dot",
        "siblings/s1",
    ):
        (directory / name).write_text(name)
    (directory / "broken").symlink_to("nowhere")
    (directory / "dir/up").symlink_to("..")
    (directory / "follow").symlink_to("children")
    (directory / "b").symlink_to("file")
    os.mkfifo(directory / "fifo")
    for name, link, target in (("knot", "loop", "loop"), ("far", "follow", f"../{directory.name}/dir/deep")):
        (directory.parent / name).mkdir()
        (directory.parent / name / "file").write_text(name)
        (directory.parent / name / link).symlink_to(target)


@pytest.fixture(scope="module")
def machine(tmp_path_factory: pytest.TempPathFactory) -> Machine:
    """The default host, with the odd directory, and a shell that may look at it."""
    return make(tmp_path_factory.mktemp("machine"), Host())


def make(directory: Path, host: Host) -> Machine:
    """A simulated host with the odd directories at EDGE, KNOT and FAR; the real ones have their names."""
    make_edge(directory / "edge")
    tree = write_tree(host, directory / "tree")
    odd = (Row(path, str(directory / Path(path).name), whole=True) for path in (EDGE, KNOT, FAR))
    rows = (*odd, *tree.rows)
    rows = tuple(sorted(rows, key=lambda row: (-len(row.path.encode()), row.path)))
    image = write_image(host, dataclasses.replace(tree, rows=rows), directory / "host.image")
    create_trace(directory / "trace", 16 << 20)
    return Machine(
        directory,
        {
            "LD_PRELOAD": str(shim_path("syscall")),
            "VGPU_HOST": str(image),
            "VGPU_TRACE": str(directory / "trace"),
        },
    )


def real(machine: Machine, path: str) -> str:
    """Where a file of the odd directories is on the disk."""
    return f"{machine.directory}/{path.removeprefix('/sys/')}"


Walk = Callable[..., list[str]]


@pytest.fixture(scope="module")
def walk(machine: Machine, probe: Path) -> Walk:
    """Runs the probe: its lines."""

    def run(
        start: str | Path, function: str, number: int = 0, *, shim: bool = True, on: Machine = machine
    ) -> list[str]:
        done = on.run(probe, start, function, str(number), shim=shim)
        assert (done.returncode, done.stderr) == (0, "")
        return done.stdout.splitlines()

    return run


class TestOwnWalks:
    """What the shim walks itself tells the same as libc's own walk of the same directory."""

    @pytest.mark.parametrize("function", ["ftw", "ftw64"])
    def test_ftw(self, walk: Walk, machine: Machine, function: str) -> None:
        """ftw visits the same files in the same order with the same kinds."""
        for path in (EDGE, KNOT, FAR):
            assert walk(path, function) == walk(real(machine, path), function, shim=False)
        assert len(walk(EDGE, function)) > 20
        assert "-1 40" in walk(KNOT, function)
        assert any(line.startswith("/follow/deeper/") for line in walk(FAR, function))

    @pytest.mark.parametrize("flags", range(32))
    def test_nftw(self, walk: Walk, machine: Machine, flags: int) -> None:
        """Nftw does, too, for all sets of its flags, `base`, `level` and the working directory included."""
        for path in (EDGE, KNOT) if flags & CHDIR else (EDGE, KNOT, FAR):
            lines = walk(path, "nftw", flags)
            assert lines == walk(real(machine, path), "nftw", flags, shim=False)
            assert lines[-1] == "where: as before"

    def test_nftw_comes_back_from_a_link(self, walk: Walk) -> None:
        """With FTW_CHDIR, too, what comes after a directory behind a link is looked at where it is.

        glibc 2.36 leaves such a directory by "..", is in another then, and has no facts of the rest (FTW_NS).
        """
        for flags in (0, DEPTH):
            lines = walk(FAR, "nftw", flags | CHDIR)
            assert [line.split()[:3] for line in lines] == [line.split()[:3] for line in walk(FAR, "nftw", flags)]
            assert "/file 0 f base 1 level 1 here 0" in lines
            assert lines[-1] == "where: as before"

    @pytest.mark.parametrize(
        "path", [f"{EDGE}/file", f"{EDGE}/broken", f"{KNOT}/loop", f"{EDGE}/follow", f"{FAR}/follow", f"{EDGE}//"]
    )
    def test_nftw_from(self, walk: Walk, machine: Machine, path: str) -> None:
        """A walk may start at a file, a link, a broken link, and with slashes at its end."""
        for flags in (0, PHYS, PHYS | CHDIR, CHDIR | DEPTH):
            assert walk(path, "nftw", flags) == walk(real(machine, path), "nftw", flags, shim=False), flags

    def test_nftw_of_nothing(self, walk: Walk) -> None:
        """A start that is not there is ENOENT; flags that do not exist are EINVAL."""
        assert walk(f"{EDGE}/none", "nftw64")[0] == "-1 2"
        assert walk(EDGE, "nftw64", 1 << 9)[0] == "-1 22"

    @pytest.mark.parametrize("kind", [PHYSICAL, LOGICAL, PHYSICAL | COMFOLLOW])
    @pytest.mark.parametrize("more", [0, NOSTAT, SEEDOT, XDEV, NOSTAT | SEEDOT])
    @pytest.mark.parametrize("start", [EDGE, KNOT, FAR, f"{EDGE}/follow", f"{EDGE}/file", f"{EDGE}/broken"])
    def test_fts(self, walk: Walk, machine: Machine, kind: int, more: int, start: str) -> None:
        """Fts shows the same entries with the same facts, and obeys fts_set and fts_children."""
        options = kind | more | NOCHDIR
        assert walk(start, "fts", options) == walk(real(machine, start), "fts", options, shim=False)

    def test_fts_leaves_the_directory(self, walk: Walk) -> None:
        """Without FTS_NOCHDIR, too, the process stays where it is; bad options are refused."""
        lines = walk(EDGE, "fts64", PHYSICAL)
        assert lines[-1] == "where: as before"
        assert len(lines) > 20
        assert walk(EDGE, "fts", 1 << 12)[0] == "open: Invalid argument"
        assert walk(f"{EDGE}/none", "fts", PHYSICAL)[1].startswith(" info 10 level 0")

    @pytest.mark.parametrize("function", ["glob", "glob64"])
    @pytest.mark.parametrize(
        "flags", [0, MARK, NOSORT, DOOFFS, NOCHECK, NOESCAPE, PERIOD, BRACE, BRACE | MARK | PERIOD]
    )
    def test_glob(self, walk: Walk, machine: Machine, function: str, flags: int) -> None:
        """Glob finds the same names, appended ones and those of braces included, and leaves the same flags."""
        lines = walk(EDGE, function, flags)
        assert lines == walk(machine.directory / "edge", function, flags, shim=False)
        assert any("children" in line for line in lines)

    @pytest.mark.parametrize("function", ["scandir", "scandir64", "scandirat", "scandirat64", *LISTS])
    def test_lists(self, walk: Walk, machine: Machine, function: str) -> None:
        """Every listing has the same names of the same types."""
        lines = walk(EDGE, function)
        assert lines == walk(machine.directory / "edge", function, shim=False)
        assert "dir 4" in lines

    def test_of_another_content_differ(self, walk: Walk, machine: Machine) -> None:
        """The comparisons above can fail: what is below `dir` gives other lines."""
        for function in ("nftw", "fts", "glob", "scandir", "readdir"):
            assert walk(EDGE, function, PHYSICAL) != walk(
                machine.directory / "edge/dir", function, PHYSICAL, shim=False
            )


class TestGpus:
    @pytest.mark.parametrize(("function", "number"), [("ftw", 0), ("nftw", PHYS), ("fts", PHYSICAL), ("glob", 0)])
    def test_are_found(self, walk: Walk, machine: Machine, function: str, number: int) -> None:
        """A walk of the GPU's directory finds what the tree has there, and names nothing else."""
        assert walk(GPU, function, number) == walk(machine.tree / GPU[1:], function, number, shim=False) or (
            function == "ftw"  # follows links to the whole of the bus
        )
        assert any(line.startswith("/vendor") or line == "  /vendor" for line in walk(GPU, function, number))
        assert not any(str(machine.tree) in line for line in walk(GPU, function, number))

    @pytest.mark.parametrize("start", ["/sys/bus/pci", "/sys/bus"])
    def test_are_found_from_above(self, walk: Walk, start: str) -> None:
        """A walk of a merged directory shows the GPU's link as a link, and real directories as directories."""
        for lines in (walk(start, "nftw", PHYS), walk(start, "fts", PHYSICAL)):
            gpu = [line for line in lines if "/devices/0000:00:05.0 " in line]
            assert len(gpu) == 1
            assert " l " in gpu[0] or " mode l " in gpu[0]
        kinds = {line.split()[0]: line.split()[1] for line in walk(start, "readdir") if not line.startswith("where")}
        for path in Path(start).iterdir():
            expected = "10" if path.is_symlink() else "4" if path.is_dir() else "8"
            assert kinds[path.name] == expected, path

    def test_devices_are_character_devices(self, walk: Walk) -> None:
        """Each listing of /dev has NVIDIA's nodes as character devices (DT_CHR), and real ones as what they are."""
        for function in ("scandir", "scandirat64", *LISTS):
            lines = walk("/dev", function)
            assert {"nvidia0 2", "nvidiactl 2", "null 2", "fd 10"} <= set(lines), function

    def test_are_where_the_walk_stays_on_one_file_system(self, walk: Walk) -> None:
        """FTW_MOUNT and FTS_XDEV do not stop at the border between the tree and the real sysfs, which is none."""
        real = {path.name for path in Path("/sys/bus").iterdir()}
        for lines in (walk("/sys/bus", "nftw", PHYS | MOUNT), walk("/sys/bus", "fts", PHYSICAL | XDEV)):
            found = {line.split()[0].rpartition("/")[0].strip("/") for line in lines}
            assert real <= found | {"pci"}
            assert "pci/devices" in found

    @pytest.mark.parametrize(
        ("pattern", "count"),
        [
            ("/dev/nvidia[0-9]*", 1),
            ("/sys/bus/pci/devices/0000:00:05.[0]", 1),
            ("/*/bus/pci/devices/0000:00:05.0/vendor", 1),
            ("/proc/driver/nv*/gpus/*/information", 1),
            ("/dev/nvidia{ctl,-uvm}", 2),
        ],
    )
    def test_match_patterns(self, machine: Machine, pattern: str, count: int) -> None:
        """A pattern finds the GPU's files where its fixed part ends above or in the tree."""
        code = """
#include <glob.h>
#include <stdio.h>
int main(int count, char **words) {
    glob_t found;
    int answer = glob(words[count - 1], GLOB_BRACE, NULL, &found);
    printf("%d %zu", answer, answer == 0 ? found.gl_pathc : 0);
    return 0;
}
"""
        program = compile_program(code, "globber")
        assert machine.run(program, pattern).stdout == f"0 {count}"
        if "nvidia" in pattern:
            assert machine.run(program, pattern, shim=False).stdout in ("3 0", f"0 {count}")

    def test_own_functions_of_a_glob_are_called(self, machine: Machine) -> None:
        """A caller's own gl_opendir (GLOB_ALTDIRFUNC) is asked, not the shim's."""
        code = """
#define _GNU_SOURCE
#include <dirent.h>
#include <glob.h>
#include <stdio.h>
#include <sys/stat.h>
static int asked;
static struct dirent entry = {.d_name = "nvidia7", .d_type = DT_REG, .d_ino = 1};
static void *open_(const char *path) { (void)path; asked++; return &entry; }
static struct dirent *read_(void *at) { return asked++ == 1 ? at : NULL; }
static void close_(void *at) { (void)at; }
static int stat_(const char *path, struct stat *to) { (void)path; to->st_mode = S_IFREG; return 0; }
int main(void) {
    glob_t found = {.gl_opendir = open_, .gl_readdir = read_, .gl_closedir = close_};
    found.gl_stat = found.gl_lstat = stat_;
    int answer = glob("/dev/nvidia*", GLOB_ALTDIRFUNC, NULL, &found);
    printf("%d %zu %s", answer, found.gl_pathc, answer == 0 ? found.gl_pathv[0] : "");
    return 0;
}
"""
        assert machine.run(compile_program(code, "ownglob")).stdout == "0 1 /dev/nvidia7"


class TestOtherPlaces:
    @pytest.mark.parametrize(
        ("function", "number"), [("ftw", 0), ("nftw", PHYS | CHDIR), ("fts", PHYSICAL), ("glob", 0)]
    )
    def test_are_walked_by_libc(self, walk: Walk, machine: Machine, function: str, number: int) -> None:
        """A walk that cannot come by the tree gives the same lines with and without the shim."""
        for start in (machine.directory / "edge", Path("/etc"), Path("relative")):
            assert walk(start, function, number) == walk(start, function, number, shim=False), start

    def test_of_a_denied_program_are_real(self, tmp_path: Path, probe: Path) -> None:
        """A program that the gate denies walks the machine as it is."""
        machine = make(tmp_path, Host(gate=Gate(deny=("walkprobe",))))
        for function in ("nftw", "fts", "scandirat", "readdir", "glob"):
            real = machine.run(probe, "/sys/bus/pci", function, "16", shim=False).stdout
            assert machine.run(probe, "/sys/bus/pci", function, "16").stdout == real, function
        assert machine.calls() == []


class TestTrace:
    def test_has_walks_and_their_looks(self, tmp_path: Path, probe: Path) -> None:
        """A walk is one record by its own name; each of its looks at a file of the tree is one more."""
        machine = make(tmp_path, Host())
        for function in ("ftw", "nftw64", "fts64", "glob64", "scandirat"):
            machine.run(probe, EDGE, function, "16")
        calls = machine.calls()
        expected = ["ftw", "nftw64", "fts64_open", "glob64", "scandirat"]
        assert [name for name, path, _ in calls if path == EDGE and name in expected] == [
            name for name in expected for _ in range(14 if name == "glob64" else 1)
        ]
        assert ("lstat", f"{EDGE}/dir/deep", 0) in calls
        assert ("opendir", f"{EDGE}/dir/deep", 0) in calls

    def test_has_faults(self, tmp_path: Path, probe: Path) -> None:
        """A fault of a walker's name is its answer."""
        names = ("ftw", "nftw", "fts_open", "glob", "scandirat")
        machine = make(tmp_path, Host(faults=[FunctionFault(function=name, result=5) for name in names]))
        assert machine.run(probe, EDGE, "ftw").stdout.splitlines()[0] == "-1 5"
        assert machine.run(probe, EDGE, "nftw").stdout.splitlines()[0] == "-1 5"
        assert machine.run(probe, EDGE, "fts", "16").stdout.splitlines()[0] == "open: Input/output error"
        assert machine.run(probe, EDGE, "glob").stdout.startswith("*: 2, 0")
        assert machine.run(probe, EDGE, "scandirat").stdout.splitlines()[0] == "-1 5"
        assert {record.name for record in machine.records() if record.faulted} == set(names)
