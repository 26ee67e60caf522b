"""What has broken other preload libraries, or was broken by them: programs and peers that the file shim must bear.

The bugs are those of umockdev (one lock around the real call, a table of 50 descriptors), socket_wrapper (a table that
a vfork child changes), fakechroot (#85: stat64 expanded twice), libfaketime (#130, #365, #478: start-up inside malloc
and under AddressSanitizer; constructors of other libraries that call first).
"""

import os
import subprocess
from pathlib import Path

import pytest
from support.compile import compile_library, compile_program
from test_syscall_files import GPU, Machine, MakeMachine, make_machine, probe_path  # noqa: F401

from vgpu_harness.host import Host

SUPPORT = Path(__file__).with_name("support")
VENDOR = f"{GPU}/vendor"


@pytest.fixture(scope="module")
def machine(make_machine: MakeMachine) -> Machine:  # noqa: F811
    """The default host."""
    return make_machine(Host())


@pytest.fixture(scope="module")
def probe() -> Path:
    """The program that does what programs have been seen to do."""
    return compile_program((SUPPORT / "peerprobe.c").read_text(encoding="utf-8"), "peerprobe", "-pthread")


def peer(name: str, *flags: str) -> Path:
    """Another project's preload library, called `name`."""
    source = (SUPPORT / "preloaded.c").read_text(encoding="utf-8")
    return compile_library(source, f"lib{name}.so", f'-DNAME="{name}"', "-pthread", *flags)


def shim(machine: Machine) -> str:
    """The file shim's path."""
    return machine.environment["LD_PRELOAD"]


class TestFifo:
    @pytest.fixture
    def fifo(self, tmp_path: Path) -> Path:
        """A FIFO that nobody writes to."""
        os.mkfifo(tmp_path / "fifo")
        return tmp_path / "fifo"

    def test_that_blocks_an_open_stops_nobody_else(self, machine: Machine, probe: Path, fifo: Path) -> None:
        """While one thread waits in open of a FIFO, another looks at files of its own and of the GPU."""
        run = machine.run(probe, "fifo", VENDOR, fifo)
        assert (run.returncode, run.stdout) == (0, "stat 0 open yes fifo yes\n")

    def test_under_one_lock_does(self, machine: Machine, probe: Path, fifo: Path) -> None:
        """A peer that holds one lock around the real call stops it until the alarm: the test above can fail."""
        run = machine.run(probe, "fifo", VENDOR, fifo, "soon", LD_PRELOAD=str(peer("locked", "-DLOCKED")))
        assert run.returncode == -14


class TestDescriptors:
    def test_are_as_many_as_the_kernel_gives(self, machine: Machine, probe: Path) -> None:
        """10,000 opens of a device succeed, and each is a device."""
        run = machine.run(probe, "many", "/dev/nvidia0")
        assert (run.returncode, run.stdout) == (0, "opened 10000 devices 100\n")

    def test_survive_a_vfork_childs_close(self, machine: Machine, probe: Path) -> None:
        """A device's descriptor is one after a vfork child has closed its own."""
        run = machine.run(probe, "vfork", "/dev/nvidia0")
        assert (run.returncode, run.stdout) == (0, "fstat 0 device 1\n")


class TestBindings:
    @pytest.mark.parametrize("flags", [(), ("-fno-plt",), ("-O0", "-Wl,-z,lazy"), ("-fno-pie", "-no-pie")])
    def test_of_every_kind_come_to_the_shim(self, machine: Machine, flags: tuple[str, ...]) -> None:
        """Pointers in data, calls without a PLT and the functions of old programs see the GPU."""
        program = compile_program((SUPPORT / "peerprobe.c").read_text(encoding="utf-8"), "bound", "-pthread", *flags)
        run = machine.run(program, "pointers", VENDOR)
        assert run.stdout == "open 6 0x10de direct 6 0x10de stat 0 xstat 0 lxstat 0 fxstat 0\n"


class TestMalloc:
    @pytest.mark.parametrize("first", ["malloc", "shim"])
    def test_that_looks_at_files_is_borne(self, machine: Machine, probe: Path, first: str) -> None:
        """A malloc that opens files, before the shim or behind it, neither hangs nor crashes, and the GPU is seen."""
        malloc = compile_library((SUPPORT / "opening_malloc.c").read_text(encoding="utf-8"), "libopening.so")
        order = [str(malloc), shim(machine)]
        preload = ":".join(order if first == "malloc" else order[::-1])
        run = machine.run(probe, "calls", VENDOR, "/etc/passwd", LD_PRELOAD=preload)
        assert (run.returncode, run.stdout) == (0, "0 0 stream\n0 0 stream\n")
        lines = machine.run(probe_path(), VENDOR, LD_PRELOAD=preload).stdout
        assert lines == machine.run(probe_path(), VENDOR).stdout

    def test_linked_to_the_program_is_borne(self, machine: Machine) -> None:
        """So is one that is part of the program itself."""
        source = (SUPPORT / "opening_malloc.c").read_text(encoding="utf-8")
        program = compile_program(source + (SUPPORT / "peerprobe.c").read_text(encoding="utf-8"), "own", "-pthread")
        run = machine.run(program, "calls", VENDOR, "/etc/passwd")
        assert (run.returncode, run.stdout) == (0, "0 0 stream\n0 0 stream\n")


@pytest.fixture(scope="module")
def sanitized() -> Path:
    """The same program under AddressSanitizer, whose library wants to be the first."""
    source = (SUPPORT / "peerprobe.c").read_text(encoding="utf-8")
    return compile_program(source, "sanitized", "-pthread", "-fsanitize=address")


class TestAddressSanitizer:
    def test_refuses_any_preload(self, machine: Machine, sanitized: Path) -> None:
        """A sanitized program stops before main, with its own message, when anything at all is preloaded."""
        run = machine.run(sanitized, "pointers", VENDOR)
        assert run.returncode == 1
        assert "ASan runtime does not come first" in run.stderr

    def test_sees_the_gpu_when_told_not_to_look(self, machine: Machine, sanitized: Path) -> None:
        """With verify_asan_link_order=0 it runs under the shim, without a finding, and sees the GPU."""
        options = "verify_asan_link_order=0:detect_leaks=0"
        run = machine.run(sanitized, "pointers", VENDOR, ASAN_OPTIONS=options)
        assert (run.returncode, run.stderr) == (0, "")
        assert run.stdout.startswith("open 6 0x10de direct 6 0x10de stat 0")

    def test_sees_the_gpu_with_its_library_first(self, machine: Machine, sanitized: Path) -> None:
        """So it does, without the option, where its own library stands before the shim in LD_PRELOAD."""
        command = ["cc", "-print-file-name=libasan.so"]
        found = subprocess.run(command, check=True, capture_output=True, text=True, timeout=30).stdout.strip()
        preload = f"{Path(found).resolve()}:{shim(machine)}"
        run = machine.run(sanitized, "pointers", VENDOR, LD_PRELOAD=preload, ASAN_OPTIONS="detect_leaks=0")
        assert (run.returncode, run.stderr) == (0, "")
        assert run.stdout.startswith("open 6 0x10de direct 6 0x10de stat 0")


class TestChain:
    def told(self, machine: Machine, probe: Path, preload: list[str], tmp_path: Path) -> tuple[str, list[str]]:
        """What the program prints, and the peers' lines."""
        log = tmp_path / "log"
        with log.open("w") as stream:
            run = subprocess.run(
                [str(probe), "calls", VENDOR, "/etc/passwd"], pass_fds=(stream.fileno(),), capture_output=True,
                env=machine.environment | {"LD_PRELOAD": ":".join(preload), "PEER_FD": str(stream.fileno())},
                text=True, timeout=30, check=False,
            )  # fmt: skip
        assert (run.returncode, run.stderr) == (0, "")
        return run.stdout, log.read_text().splitlines()

    def test_before_and_behind_sees_each_call_once(self, machine: Machine, probe: Path, tmp_path: Path) -> None:
        """Each library sees each call at most once, by its own name: no stat64 becomes an __xstat64 on its way."""
        preload = [str(peer("before")), shim(machine), str(peer("behind"))]
        printed, told = self.told(machine, probe, preload, tmp_path)
        assert printed == "0 0 stream\n0 0 stream\n"
        functions = ["open", "stat", "stat64", "fopen"]
        assert [line for line in told if line.startswith("before")] == [
            f"before {name} {path}" for path in (VENDOR, "/etc/passwd") for name in functions
        ]
        behind = [line for line in told if line.startswith("behind") and line.endswith("/etc/passwd")]
        assert behind == [f"behind {name} /etc/passwd" for name in functions]
        assert not any("__xstat64" in line or line == f"behind stat {VENDOR}" for line in told)

    def test_without_the_shim_is_seen_whole(self, machine: Machine, probe: Path, tmp_path: Path) -> None:
        """Two peers alone see every call twice: the logs are what they are taken for."""
        _, told = self.told(machine, probe, [str(peer("before")), str(peer("behind"))], tmp_path)
        assert len(told) == 16


def settled(text: str) -> list[str]:
    """The lines without the terminals and the shared memory below /dev, which come and go meanwhile."""
    return [line for line in text.splitlines() if not line.startswith(("/pts/", "/shm/"))]


class TestConstructors:
    @pytest.mark.parametrize(
        ("source", "words"),
        [
            (SUPPORT / "walkprobe.c", ["/dev", "fts64", "16"]),
            (SUPPORT / "walkprobe.c", ["/sys/bus/pci", "nftw", "1"]),
            (SUPPORT / "walkprobe.c", [GPU, "glob"]),
            (SUPPORT / "walkprobe.c", ["/dev", "scandirat64"]),
            (SUPPORT / "systemprobe.c", [VENDOR]),
            (SUPPORT.parent.parent / "csrc/clients/fileprobe.c", [VENDOR]),
            (SUPPORT.parent.parent / "csrc/clients/fileprobe.c", ["/dev/nvidia0"]),
        ],
    )
    def test_of_other_libraries_may_call_first(self, machine: Machine, source: Path, words: list[str]) -> None:
        """Every hooked function answers in another library's constructor, before main, what it answers in a program."""
        text = source.read_text(encoding="utf-8")
        flags = ("-D_GNU_SOURCE", "-Wno-error", "-pthread")
        constructor = (
            "\n#undef main\n#include <stdlib.h>\n"
            "__attribute__((constructor)) static void first(int count, char **words, char **environment) {\n"
            "    (void)environment;\n    int status = probe_main(count, words);\n"
            "    fflush(NULL);\n    _exit(status);\n}\n"
        )
        text = text.replace("#define _GNU_SOURCE\n", "")
        library = compile_library(f"#define main probe_main\n{text}{constructor}", "libfirst.so", *flags)
        program = compile_program(text, "plain", *flags)
        idle = compile_program(
            "int main(void) { return 99; }", "idle", "-Wl,--no-as-needed", str(library), f"-Wl,-rpath,{library.parent}"
        )
        run = machine.run(idle, *words)
        expected = machine.run(program, *words)
        assert (run.returncode, run.stderr) == (0, "")
        assert settled(run.stdout) == settled(expected.stdout)
        assert "nvidia" in run.stdout or "vendor" in run.stdout or "10de" in run.stdout or "statfs" in run.stdout
