"""What a process sees of files through the file shim: its own functions, one by one, by the probe program."""

import hashlib
import json
import os
import re
import shutil
import stat
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from errno import EACCES, EEXIST, EIO, ENAMETOOLONG, ENOENT
from pathlib import Path
from typing import Any

import pytest

from vgpu_harness.host import Gate, Gpu, Host, write_image, write_tree
from vgpu_harness.host.faults import FunctionFault, ImageFault
from vgpu_harness.shims import client_path, shim_path
from vgpu_harness.trace import Kind, Library, Record, Trace, create_trace

GPU = "/sys/bus/pci/devices/0000:00:05.0"
REAL_GPU = "/sys/devices/pci0000:00/0000:00:05.0"
MARK = 77
"""What the probe sets errno to before each call."""

OPENS = {"open", "open64", "openat", "openat64", "__open_2", "__open64_2", "__openat_2", "__openat64_2"}
STREAMS = {"fopen", "fopen64", "freopen", "freopen64"}
DESCRIPTOR_STATS = {"fstat", "fstat64", "__fxstat", "__fxstat64", "fstatat of a descriptor", "statx of a descriptor"}
LINK_STATS = {"lstat", "lstat64", "__lxstat", "__lxstat64"}
STATS = {
    "stat", "stat64", "__xstat", "__xstat64", "fstatat", "fstatat64", "__fxstatat", "__fxstatat64", "statx",
}  # fmt: skip
ACCESSES = {"access", "faccessat", "euidaccess", "eaccess"}
LINKS = {"readlink", "readlinkat", "__readlink_chk", "__readlinkat_chk"}
REAL_PATHS = {"realpath", "__realpath_chk", "canonicalize_file_name"}
LISTS = {"opendir", "scandir", "scandir64"}
STRICT_PLACES = ("signal handler", "vfork child", "thread")

Lines = dict[str, dict[str, Any]]


@dataclass(frozen=True)
class Machine:
    """A simulated host in a directory, and how programs are run on it."""

    directory: Path
    environment: dict[str, str]

    @property
    def tree(self) -> Path:
        """The tree of virtual files."""
        return self.directory / "tree"

    def run(self, *argv: str | Path, shim: bool = True, **variables: str) -> subprocess.CompletedProcess[str]:
        """Runs a program with the shim preloaded, or as if there were none."""
        plain = {"PATH": "/usr/bin:/bin:/usr/sbin:/sbin", "LC_ALL": "C", "HOME": str(self.directory)}
        environment = plain | self.environment | variables if shim else plain
        return subprocess.run(
            [str(word) for word in argv], env=environment, stdin=subprocess.DEVNULL, capture_output=True, text=True,
            timeout=30, check=False,
        )  # fmt: skip

    def probe(self, path: str | Path, *, shim: bool = True, write: bool = False, program: Path | None = None) -> Lines:
        """What each function answers for the path, by the function's name."""
        options = ["--write"] if write else []
        run = self.run(program or probe_path(), *options, path, shim=shim)
        assert (run.returncode, run.stderr) == (0, "")
        lines = [json.loads(line) for line in run.stdout.splitlines()]
        return {line.pop("function"): line for line in lines}

    def records(self, kind: Kind = Kind.CALL) -> list[Record]:
        """The file shim's records of one kind: of calls, unless told otherwise."""
        records = Trace.open(self.directory / "trace").records
        return [record for record in records if record.kind == kind and record.library == Library.SYSCALL]

    def calls(self) -> list[tuple[str, str, int]]:
        """The calls that were answered from the tree: function, path asked for, 0 or errno."""
        return [(record.name, record.text, record.result) for record in self.records()]

    def tree_state(self) -> str:
        """A digest of every name, link, byte and time of change of the tree."""
        digest = hashlib.sha256()
        for directory, directories, files in os.walk(self.tree):
            directories.sort()
            for name in sorted(files):
                path = Path(directory, name)
                digest.update(f"{path} {path.lstat().st_mtime_ns}".encode())
                if path.is_symlink():
                    digest.update(os.fsencode(path.readlink()))
                elif os.access(path, os.R_OK):  # some of sysfs are for writing alone
                    digest.update(path.read_bytes())
        return digest.hexdigest()


def probe_path() -> Path:
    """The built probe program."""
    return client_path("vgpu-fileprobe")


MakeMachine = Callable[[Host], Machine]


@pytest.fixture(scope="module")
def make_machine(tmp_path_factory: pytest.TempPathFactory) -> MakeMachine:
    """Builds simulated hosts."""

    def make(host: Host) -> Machine:
        directory = tmp_path_factory.mktemp("machine")
        image = write_image(host, write_tree(host, directory / "tree"), directory / "host.image")
        create_trace(directory / "trace", 4 << 20)
        environment = {
            "LD_PRELOAD": str(shim_path("syscall")),
            "VGPU_HOST": str(image),
            "VGPU_TRACE": str(directory / "trace"),
        }
        return Machine(directory, environment)

    return make


@pytest.fixture(scope="module")
def machine(make_machine: MakeMachine) -> Machine:
    """The default host."""
    return make_machine(Host())


def names_in(directory: Path) -> set[str]:
    """The names that the machine that runs this test has in a directory; none if there is no such directory."""
    return {path.name for path in directory.iterdir()} if directory.is_dir() else set()


def errno_of(line: dict[str, Any]) -> int:
    """0 for a call that succeeded, else its errno."""
    return 0 if line["return"] >= 0 else int(line["errno"])


def succeeded(lines: Lines) -> Iterator[tuple[str, dict[str, Any]]]:
    """The lines of functions that did what they were asked."""
    return ((name, line) for name, line in lines.items() if line["return"] >= 0)


class TestGpuFiles:
    @pytest.mark.parametrize(
        ("name", "content"), [("vendor", "0x10de\n"), ("device", "0x2331\n"), ("class", "0x030200\n")]
    )
    @pytest.mark.parametrize("directory", [GPU, REAL_GPU, f"/{GPU}", GPU.replace("/pci/", "//pci/./")])
    def test_are_read_by_every_function(self, machine: Machine, directory: str, name: str, content: str) -> None:
        """All opens and streams read the simulated GPU's identity, in each spelling of the path."""
        lines = machine.probe(f"{directory}/{name}")
        for function in OPENS | STREAMS:
            assert lines[function] == {"return": 0, "errno": MARK, "bytes": content}, function

    def test_have_a_stat_by_every_function(self, machine: Machine) -> None:
        """All stats show a regular file, all accesses allow reading it."""
        lines = machine.probe(f"{GPU}/vendor")
        for function in STATS | LINK_STATS | DESCRIPTOR_STATS:
            assert stat.S_ISREG(lines[function]["mode"]), function
        for function in ACCESSES:
            assert lines[function] == {"return": 0, "errno": MARK}, function

    def test_hold_a_config_space(self, machine: Machine) -> None:
        """The config file has 256 bytes, with vendor, device and class at their little-endian places."""
        lines = machine.probe(f"{GPU}/config")
        for function in OPENS | STREAMS:
            config = lines[function]["bytes"].encode("latin-1")
            assert len(config) == 256
            assert config[0:4] == bytes.fromhex("de103123")
            assert config[0x0A:0x0C] == bytes.fromhex("0203")

    def test_leave_errno_alone(self, machine: Machine) -> None:
        """A call that succeeds does not change errno; the real realpath does."""
        for path in (f"{GPU}/vendor", GPU, "/dev/nvidia0"):
            for function, line in succeeded(machine.probe(path)):
                assert line["errno"] == MARK, function

    def test_are_the_real_ones_without_the_shim(self, machine: Machine) -> None:
        """The same probe without the shim sees no H100: what the other tests see is the shim's work."""
        lines = machine.probe(f"{GPU}/device", shim=False)
        assert all(lines[function].get("bytes") != "0x2331\n" for function in OPENS | STREAMS)

    def test_are_seen_where_little_is_allowed(self, machine: Machine) -> None:
        """A signal handler, a vfork child and a thread see the GPU's files too."""
        lines = machine.probe(GPU)
        for place in STRICT_PLACES:
            assert lines[f"open in a {place}"]["return"] == 0
            assert stat.S_ISDIR(lines[f"stat in a {place}"]["mode"])
            assert lines[f"readlink in a {place}"] == {"return": 0, "errno": MARK}

    def test_that_do_not_exist_are_missing(self, machine: Machine) -> None:
        """A name that the simulated GPU has no file for is ENOENT, whatever the real directory holds."""
        real = names_in(Path(GPU))
        extra = sorted(real - names_in(machine.tree / REAL_GPU[1:]))
        for name in ["no-such-file", *extra[:2]]:
            lines = machine.probe(f"{GPU}/{name}")
            for function in OPENS | STATS:
                assert lines[function] == {"return": -1, "errno": ENOENT}, function


class TestDevices:
    @pytest.mark.parametrize(
        ("name", "number"), [("nvidia0", [195, 0]), ("nvidiactl", [195, 255]), ("nvidia-uvm", [510, 0])]
    )
    def test_are_character_devices(self, machine: Machine, name: str, number: list[int]) -> None:
        """Every kind of stat, by path and by descriptor, answers a character device with NVIDIA's numbers."""
        lines = machine.probe(f"/dev/{name}")
        for function in STATS | LINK_STATS | DESCRIPTOR_STATS:
            assert lines[function] == {
                "return": 0, "errno": MARK, "mode": stat.S_IFCHR | 0o666, "rdev": number, "size": 0,
            }, function  # fmt: skip

    def test_open_for_writing(self, machine: Machine) -> None:
        """A device opens for reading and writing, with O_CREAT and O_TRUNC too, and its file stays as it is."""
        before = machine.tree_state()
        lines = machine.probe("/dev/nvidia0", write=True)
        assert {line["return"] for line in lines.values()} == {0}
        assert machine.tree_state() == before

    def test_are_listed(self, machine: Machine) -> None:
        """/dev lists the simulated devices among the real ones."""
        for function, line in machine.probe("/dev").items():
            if function in LISTS:
                assert {"nvidia0", "nvidiactl", "nvidia-uvm", "null"} <= set(line["names"])

    def test_of_other_names_are_real(self, machine: Machine) -> None:
        """/dev/null is what it is."""
        assert machine.probe("/dev/null") == machine.probe("/dev/null", shim=False)


class TestDirectories:
    def test_list_real_entries_and_ours(self, make_machine: MakeMachine) -> None:
        """The list of PCI devices has the machine's own and each simulated GPU, once."""
        machine = make_machine(Host(gpu=[Gpu(), Gpu(pci="0000:b1:00.0")]))
        directory = "/sys/bus/pci/devices"
        expected = {".", "..", "0000:00:05.0", "0000:b1:00.0"}
        expected |= names_in(Path(directory))
        lines = machine.probe(directory)
        for function in LISTS:
            assert lines[function]["names"] == sorted(expected), function

    def test_are_links_as_in_sysfs(self, machine: Machine) -> None:
        """A GPU's entry is the kernel's relative link, and resolves to the path that a real host has."""
        lines = machine.probe(GPU)
        for function in LINKS:
            assert lines[function]["link"] == "../../../devices/pci0000:00/0000:00:05.0", function
        for function in REAL_PATHS:
            assert lines[function]["link"] == REAL_GPU, function
        for function in LINK_STATS:
            assert stat.S_ISLNK(lines[function]["mode"]), function

    @pytest.mark.parametrize(
        "path", [GPU, f"{GPU}/vendor", f"{GPU}/driver", "/dev", "/dev/nvidia0", "/sys/bus/pci/devices"]
    )
    def test_never_name_the_tree(self, machine: Machine, path: str) -> None:
        """No answer has the path of the tree of virtual files in it."""
        assert str(machine.tree) not in machine.run(probe_path(), path).stdout


class TestOtherPaths:
    @pytest.mark.parametrize(
        "path",
        [
            __file__, "/", "/etc/passwd", "/proc/version", "/proc/self/exe", "/sys/devices/system/cpu/online",
            "/dev/zero", "/dev/nvidia0x", "/sys/bus/pci/devices/0000:ff:1f.7", "/no/such/file", "relative", "",
            "/" + "x" * 300,
        ],
    )  # fmt: skip
    def test_are_untouched(self, machine: Machine, path: str) -> None:
        """A path outside of the tree gets the same answer from every function as without the shim, errno included."""
        assert machine.probe(path) == machine.probe(path, shim=False)

    def test_are_created_and_cut(self, machine: Machine, tmp_path: Path) -> None:
        """Opens that write, create and cut work on real files, mode argument included."""
        os.umask(umask := os.umask(0o022))
        for shim in (True, False):
            path = tmp_path / f"{shim}"
            assert {line["return"] for line in machine.probe(path, shim=shim, write=True).values()} <= {0, -1}
            assert stat.S_IMODE(path.stat().st_mode) == 0o644 & ~umask
        assert machine.probe(tmp_path / "True", write=True) == machine.probe(tmp_path / "False", shim=False, write=True)

    def test_write_no_record(self, make_machine: MakeMachine) -> None:
        """Only calls that the tree answers are in the trace."""
        machine = make_machine(Host())
        machine.probe("/etc/passwd")
        assert machine.calls() == []


class TestWriting:
    @pytest.mark.parametrize("path", [f"{GPU}/vendor", f"{GPU}/config", "/proc/driver/nvidia/version"])
    def test_is_refused(self, machine: Machine, path: str) -> None:
        """Files of sysfs and procfs are read-only, for root too, and the tree stays as it is."""
        before = machine.tree_state()
        for function, line in machine.probe(path, write=True).items():
            assert (line["return"], line["errno"]) == (-1, EACCES), function
        assert machine.tree_state() == before

    def test_does_not_create(self, machine: Machine) -> None:
        """A file that the simulated directory does not have is not made in the tree."""
        before = machine.tree_state()
        lines = machine.probe(f"{GPU}/new", write=True)
        assert {line["return"] for line in lines.values()} == {-1}
        assert {lines[function]["errno"] for function in ("open", "creat", "fopen")} == {EACCES}
        assert machine.tree_state() == before


class TestLongPaths:
    def test_are_refused_not_real(self, machine: Machine) -> None:
        """A path that fits the kernel's limit, but not with the tree before it, is ENAMETOOLONG."""
        path = f"{REAL_GPU}/" + "p/" * 2022 + "vendor"
        assert 4060 < len(path) < 4096
        lines = machine.probe(path)
        del lines["fstat"], lines["fstat64"], lines["__fxstat"], lines["__fxstat64"]
        for function, line in lines.items():
            if not function.endswith("of a descriptor"):
                assert (line["return"], line["errno"]) == (-1, ENAMETOOLONG), function


class TestGate:
    def copy(self, machine: Machine, name: str) -> Path:
        """A copy of the probe under another program's name."""
        return Path(shutil.copy(probe_path(), machine.directory / name))

    @pytest.mark.parametrize("path", [f"{GPU}/vendor", "/dev/nvidia0", "/sys/bus/pci/devices"])
    def test_shows_real_files_to_denied_programs(self, machine: Machine, path: str) -> None:
        """A program named sshd sees the machine as it is, and no call of it is recorded as answered."""
        program = self.copy(machine, "sshd")
        assert machine.probe(path, program=program) == machine.probe(path, shim=False)

    def test_can_be_overridden_for_families(self, make_machine: MakeMachine) -> None:
        """With open, fopen and opendir before the gate, a denied program opens the device, and its stat says ENOENT."""
        machine = make_machine(Host(gate=Gate(before_gate=("open", "fopen", "opendir"))))
        program = self.copy(machine, "sshd")
        real = machine.probe("/dev/nvidia0", shim=False)
        lines = machine.probe("/dev/nvidia0", program=program)
        for function in OPENS | STREAMS:
            assert lines[function]["return"] == 0, function
        for function in STATS | LINK_STATS | ACCESSES | LINKS | REAL_PATHS:
            assert lines[function] == real[function], function
        assert {name for name, _, _ in machine.calls()} == OPENS | STREAMS | {"opendir", "scandir", "scandir64"}

    def test_lets_the_first_calls_go_by(self, make_machine: MakeMachine) -> None:
        """With calls_before = 3, the first three calls see real files, the fourth the simulated ones."""
        machine = make_machine(Host(gate=Gate(calls_before=3)))
        lines = list(machine.probe(f"{GPU}/device").values())
        assert [line.get("bytes") == "0x2331\n" for line in lines[:5]] == [False, False, False, True, True]


class TestWithoutImage:
    @pytest.mark.parametrize("path", [f"{GPU}/vendor", "/dev/nvidia0"])
    def test_the_shim_is_transparent(self, machine: Machine, path: str) -> None:
        """Without VGPU_HOST every answer is the real one."""
        transparent = Machine(machine.directory, {"LD_PRELOAD": machine.environment["LD_PRELOAD"]})
        assert transparent.probe(path) == machine.probe(path, shim=False)

    @pytest.mark.parametrize("kind", ["truncated", "foreign", "version"])
    def test_a_refused_one_is_transparent_too(self, make_machine: MakeMachine, kind: Any) -> None:
        """An image that the shim refuses leaves the real files, and says so in the trace."""
        machine = make_machine(Host(faults=[ImageFault(image=kind)]))
        assert machine.probe(f"{GPU}/vendor") == machine.probe(f"{GPU}/vendor", shim=False)
        assert [kind in record.text for record in machine.records(Kind.REFUSED)] == [True]


class TestTrace:
    def test_has_each_call_in_order(self, make_machine: MakeMachine) -> None:
        """Every answered call is one record: function, path as asked, errno, return address in the caller."""
        machine = make_machine(Host())
        path = f"/{GPU}/./vendor"
        lines = machine.probe(path)
        asked = [name.partition(" in a ")[0] for name in lines if name not in DESCRIPTOR_STATS]
        asked.insert(list(lines).index("fstat"), "open")  # for the descriptor that is asked about
        assert machine.calls() == [(name, path, errno_of(lines[name])) for name in asked]

    def test_has_the_caller(self, make_machine: MakeMachine) -> None:
        """A record's return address lies in the program that called."""
        machine = make_machine(Host())
        run = machine.run("sh", "-c", f"exec cat {GPU}/vendor /proc/self/maps")
        ranges = [line.split() for line in run.stdout.splitlines() if line.endswith("/cat")]
        addresses = [int(bound, 16) for words in ranges for bound in words[0].split("-")]
        (record,) = [record for record in machine.records() if record.text == f"{GPU}/vendor"]
        assert min(addresses) <= record.caller < max(addresses)

    def test_has_stats_by_descriptor(self, make_machine: MakeMachine) -> None:
        """A stat of a descriptor that is answered as a device's is recorded with the device's path."""
        machine = make_machine(Host())
        machine.probe("/dev/nvidia0")
        assert {("fstat", "/dev/nvidia0", 0), ("__fxstat64", "/dev/nvidia0", 0)} <= set(machine.calls())


class TestFaults:
    def test_change_one_function(self, make_machine: MakeMachine) -> None:
        """A fault of `stat` answers its errno there, nowhere else, and the record is marked."""
        machine = make_machine(Host(faults=[FunctionFault(function="stat", result=EIO)]))
        lines = machine.probe(f"{GPU}/vendor")
        assert (lines["stat"]["return"], lines["stat"]["errno"]) == (-1, EIO)
        assert lines["stat64"]["return"] == 0
        assert {record.name for record in machine.records() if record.faulted} == {"stat"}

    def test_hold_for_descriptors_streams_and_directories(self, make_machine: MakeMachine) -> None:
        """Functions that answer pointers or take descriptors fail with the fault's errno as well."""
        names = ("fstat", "fopen", "freopen", "opendir", "realpath", "readlink", "access")
        machine = make_machine(Host(faults=[FunctionFault(function=name, result=EEXIST) for name in names]))
        lines = machine.probe("/dev/nvidia0")
        for name in names:
            assert (lines[name]["return"], lines[name]["errno"]) == (-1, EEXIST), name


def test_every_function_of_the_table_is_asked(machine: Machine) -> None:
    """Each function of the interception table is exercised by the probe or named by another test of these tables."""
    from test_syscall_exports import table_names

    asked = set(machine.probe("/dev/nvidia0")) | set(machine.probe("/dev/nvidia0", write=True))
    here = Path(__file__)
    for test in {*here.parent.glob("test_syscall_*.py"), *here.parent.joinpath("support").glob("*.c")} - {here}:
        text = test.read_text(encoding="utf-8")
        asked |= set(re.findall(r"\w+", text))
        asked |= {f"{start}{twin}{end}" for start, end in re.findall(r"(\w+)%s(_\w+)", text) for twin in ("", "64")}
    assert table_names() - asked == set()
    assert "no_such_function" not in asked
