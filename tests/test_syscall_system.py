"""File systems, watches, handles and started programs: what is said of the tree's files is what the host says there."""

import json
import os
from pathlib import Path

import pytest
from support.compile import compile_program
from test_syscall_files import GPU, Machine, MakeMachine, make_machine  # noqa: F401

from vgpu_harness.host import Gate, Host
from vgpu_harness.host.faults import FunctionFault

SOURCE = Path(__file__).with_name("support") / "systemprobe.c"
SYSFS, PROC = "62656572", "9fa0"
"""linux/magic.h: SYSFS_MAGIC, PROC_SUPER_MAGIC."""

FILE_SYSTEM = (
    "statfs",
    "statfs64",
    "__statfs",
    "fstatfs",
    "fstatfs64",
    "statvfs",
    "statvfs64",
    "fstatvfs",
    "fstatvfs64",
)


@pytest.fixture(scope="module")
def probe() -> Path:
    """The program that asks."""
    return compile_program(SOURCE.read_text(encoding="utf-8"), "systemprobe")


@pytest.fixture(scope="module")
def machine(make_machine: MakeMachine) -> Machine:  # noqa: F811
    """The default host."""
    return make_machine(Host())


def answers(machine: Machine, probe: Path, path: str | Path, *, shim: bool = True) -> dict[str, str]:
    """What each function answers, by name."""
    run = machine.run(probe, path, shim=shim)
    assert (run.returncode, run.stderr) == (0, "")
    return dict(line.partition(" ")[::2] for line in run.stdout.splitlines())


class TestFileSystem:
    @pytest.mark.parametrize(
        ("path", "top"),
        [
            (f"{GPU}/vendor", "/sys"),
            (GPU, "/sys"),
            ("/sys/bus/pci", "/sys"),
            ("/sys/bus/pci/../pci/devices", "/sys"),
            ("/proc/driver/nvidia/version", "/proc"),
            ("/dev/nvidia0", "/dev"),
            ("/dev", "/dev"),
        ],
    )
    def test_is_the_hosts(self, machine: Machine, probe: Path, path: str, top: str) -> None:
        """Every kind of statfs, by path and by descriptor, answers what the machine's own mount point answers."""
        lines = answers(machine, probe, path)
        expected = answers(machine, probe, top, shim=False)
        for function in FILE_SYSTEM:
            assert lines[function] == expected[function], function
        magic = {"/sys": SYSFS, "/proc": PROC}.get(top)
        assert magic is None or lines["statfs"].split()[2] == magic

    def test_is_not_the_trees(self, machine: Machine, probe: Path) -> None:
        """Asked without the shim, the tree's own file system is another one: the test above can fail."""
        real = answers(machine, probe, machine.tree, shim=False)
        assert answers(machine, probe, GPU)["statfs"] != real["statfs"]

    def test_of_a_missing_file_is_none(self, machine: Machine, probe: Path) -> None:
        """A file that the tree does not have is ENOENT for each function that takes its path."""
        lines = answers(machine, probe, f"{GPU}/none")
        for function in ("statfs", "statvfs64", "inotify_add_watch", "name_to_handle_at"):
            assert lines[function].split()[:2] in (["-1", "2"], ["no", "2"]), function
        assert "pathconf 3: -1 2" in machine.run(probe, f"{GPU}/none").stdout.splitlines()

    @pytest.mark.parametrize("path", ["/etc/passwd", "/sys/devices/system/cpu/online", "/proc/version", "/tmp", "none"])
    def test_of_other_files_is_real(self, machine: Machine, probe: Path, path: str) -> None:
        """Every answer about a file outside of the tree is the same as without the shim."""
        assert answers(machine, probe, path) == answers(machine, probe, path, shim=False)

    def test_has_the_limits_of_the_host(self, machine: Machine, probe: Path) -> None:
        """Pathconf answers for a file of the tree what it answers for the mount point, "no limit" included."""
        run = machine.run(probe, f"{GPU}/vendor").stdout.splitlines()
        top = machine.run(probe, "/sys/kernel/uevent_seqnum", shim=False).stdout.splitlines()
        limits = [line for line in run if line.startswith("pathconf")]
        assert limits == [line for line in top if line.startswith("pathconf")]
        assert len({line.split()[2] for line in limits}) > 4


class TestWatches:
    @pytest.mark.parametrize("path", [f"{GPU}/vendor", "/dev/nvidia0", "/proc/driver/nvidia/version", "/sys/bus/pci"])
    def test_are_told(self, machine: Machine, probe: Path, path: str) -> None:
        """A watch on a file of the tree tells of its being opened; a directory is watched where the machine has it."""
        lines = answers(machine, probe, path)
        assert lines["inotify_add_watch"] == ("yes 77 told 1" if path != "/sys/bus/pci" else "yes 77 told 0")
        marked = lines["fanotify_mark"].split()
        assert marked[0] == "0" or os.geteuid() != 0 or marked[1] != "2"

    def test_of_a_missing_device_are_none(self, machine: Machine, probe: Path) -> None:
        """Without the shim there is nothing to watch: what the test above sees is the shim's work."""
        if not Path("/dev/nvidia0").exists():
            assert answers(machine, probe, "/dev/nvidia0", shim=False)["inotify_add_watch"].startswith("no 2")

    def test_have_handles_of_the_hosts_mount(self, machine: Machine, probe: Path) -> None:
        """name_to_handle_at answers the mount of the host's sysfs, and for procfs what procfs answers."""
        for path, top in ((GPU, "/sys"), ("/proc/driver/nvidia/version", "/proc")):
            line = answers(machine, probe, path)["name_to_handle_at"]
            assert line == answers(machine, probe, top, shim=False)["name_to_handle_at"], path


class TestStartedPrograms:
    def test_read_the_trees_file(self, machine: Machine, probe: Path) -> None:
        """A file action opens the tree's file in a child that has no shim, and one for writing is refused."""
        lines = machine.run(probe, f"{GPU}/vendor").stdout.splitlines()
        assert "0x10de" in lines
        assert "addopen 0 addchdir 0 77" in lines
        assert machine.run(probe, "--write", f"{GPU}/vendor").stdout == "write refused\n"

    def test_start_in_the_trees_directory(self, machine: Machine, probe: Path) -> None:
        """A file action that changes directory leads into the tree: a child without a shim is there."""
        lines = machine.run(probe, GPU).stdout.splitlines()
        assert "spawn 0" in lines
        assert any(line.startswith(str(machine.tree)) for line in lines)

    def test_are_untouched_elsewhere(self, machine: Machine, probe: Path, tmp_path: Path) -> None:
        """A file action on another file opens, creates and cuts it."""
        path = tmp_path / "file"
        path.write_text("hello\n")
        assert "hello" in machine.run(probe, path).stdout.splitlines()
        assert machine.run(probe, "--write", path).stdout == "write allowed\n"
        assert path.read_text() == ""


class TestFaults:
    def test_are_answers(self, make_machine: MakeMachine, probe: Path) -> None:  # noqa: F811
        """A fault of one of these functions is its answer, and no other's."""
        names = ("statfs", "fstatvfs", "inotify_add_watch", "name_to_handle_at", "pathconf")
        machine = make_machine(Host(faults=[FunctionFault(function=name, result=5) for name in names]))
        lines = answers(machine, probe, f"{GPU}/vendor")
        assert [lines[name] for name in ("statfs", "fstatvfs")] == ["-1 5", "-1 5"]
        assert lines["inotify_add_watch"].startswith("no 5")
        assert lines["statfs64"].startswith("0 77")
        assert {record.name for record in machine.records() if record.faulted} == set(names)

    def test_of_spawn_are_error_numbers(self, make_machine: MakeMachine, probe: Path) -> None:  # noqa: F811
        """A function that answers its error is answered with the fault's number, errno left alone."""
        machine = make_machine(Host(faults=[FunctionFault(function="posix_spawn_file_actions_addopen", result=12)]))
        assert "addopen 12 addchdir 0 77" in machine.run(probe, f"{GPU}/vendor").stdout.splitlines()


class TestGate:
    def test_hides_the_tree(self, make_machine: MakeMachine, probe: Path) -> None:  # noqa: F811
        """A denied program is told of the machine's own files."""
        machine = make_machine(Host(gate=Gate(deny=("systemprobe",))))
        assert answers(machine, probe, "/dev/nvidia0") == answers(machine, probe, "/dev/nvidia0", shim=False)


class TestAliases:
    def test_of_opens_read_the_gpu(self, machine: Machine) -> None:
        """__open, __open64 and _IO_fopen, which libc exports beside open and fopen, open the tree's file."""
        code = f"""
#include <fcntl.h>
#include <stdio.h>
#include <unistd.h>
int __open(const char *path, int flags, ...);
int __open64(const char *path, int flags, ...);
FILE *_IO_fopen(const char *path, const char *mode);
int main(void) {{
    char text[3][16] = {{"", "", ""}};
    read(__open("{GPU}/vendor", O_RDONLY), text[0], 6);
    read(__open64("{GPU}/vendor", O_RDONLY), text[1], 6);
    fgets(text[2], 7, _IO_fopen("{GPU}/vendor", "r"));
    printf("[\\"%s\\", \\"%s\\", \\"%s\\"]", text[0], text[1], text[2]);
    return 0;
}}
"""
        program = compile_program(code, "aliases", "-Wno-unused-result")
        assert json.loads(machine.run(program).stdout) == ["0x10de"] * 3
