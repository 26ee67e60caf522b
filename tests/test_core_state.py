"""The core of the shims, in process: state, fork page, gate, environment, freestanding code."""

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from vgpu_harness._wire import ffi, lib
from vgpu_harness.host import Gate, Host, write_image, write_tree
from vgpu_harness.shims import shim_path
from vgpu_harness.trace import Kind, Trace, create_trace

CSRC = Path(__file__).parent.parent / "csrc"
FREESTANDING = ("environment", "image", "paths", "trace")


def in_child(code: int) -> int:
    """Waits for the forked child `code` and answers its exit status."""
    return os.waitstatus_to_exitcode(os.waitpid(code, 0)[1])


@pytest.fixture
def image(tmp_path: Path) -> Path:
    """The default host's image."""
    host = Host(gate=Gate(allow=("lspci",), deny=("sshd", "systemd*")))
    return write_image(host, write_tree(host, tmp_path / "tree"), tmp_path / "host.image")


@pytest.fixture
def process(image: Path, tmp_path: Path) -> Iterator[ffi.CData]:
    """A state of its own over that image, with a trace."""
    create_trace(tmp_path / "trace", 1 << 20)
    state = lib.vgpu_process_new(os.fsencode(image), os.fsencode(tmp_path / "trace"))
    yield state
    lib.vgpu_process_free(state)


def facts(**values: object) -> ffi.CData:
    """Facts of a process that is far enough along."""
    return ffi.new("struct vgpu_facts *", {"libc_ready": 1} | values)


class TestFork:
    def test_a_child_is_told_once(self, process: ffi.CData) -> None:
        """A forked child learns of it at its first question, and only then; the parent never does."""
        assert lib.vgpu_process_forked(process) == 0
        pid = os.fork()
        if pid == 0:
            os._exit(lib.vgpu_process_forked(process) + 2 * lib.vgpu_process_forked(process))
        assert in_child(pid) == 1
        assert lib.vgpu_process_forked(process) == 0

    def test_a_lock_held_at_the_fork_is_free_in_the_child(self, process: ffi.CData) -> None:
        """The child of a parent that holds the lock can take it; the parent still holds it."""
        lib.vgpu_lock(process)
        pid = os.fork()
        if pid == 0:
            lib.vgpu_lock(process)
            os._exit(7)
        assert in_child(pid) == 7
        assert process.fork_page.lock == 1
        lib.vgpu_unlock(process)


class TestGate:
    @pytest.mark.parametrize(
        ("values", "application"),
        [
            ({"exe": b"ollama", "comm": b"ollama"}, True),
            ({"exe": b"sshd", "comm": b"sshd"}, False),
            ({"exe": b"systemd-journald", "comm": b"systemd-journal"}, False),
            ({"exe": b"systemctl"}, True),
            ({"exe": b"ollama", "comm": b"sshd"}, True),
            ({"exe": b"", "comm": b"sshd"}, False),
            ({"exe": b"lspci", "secure": 1}, False),
        ],
    )
    def test_who_is_an_application(self, process: ffi.CData, values: dict[str, object], application: bool) -> None:
        """The executable decides, a rule with `*` names a family, comm stands in for a hidden executable."""
        assert bool(lib.is_application_process(process.image, facts(**values))) is application

    def test_a_comm_is_cut_at_15_bytes(self, tmp_path: Path) -> None:
        """A rule of more than 15 bytes names the program by what the kernel leaves of its name, and no shorter one."""
        host = Host(gate=Gate(deny=("ollama_llama_server",)))
        path = write_image(host, write_tree(host, tmp_path / "tree2"), tmp_path / "other.image")
        state = lib.vgpu_process_new(os.fsencode(path), ffi.NULL)
        asked = [
            lib.is_application_process(state.image, facts(comm=name))
            for name in (b"ollama_llama_se", b"ollama_llama_s")
        ]
        lib.vgpu_process_free(state)
        assert asked == [0, 1]

    def test_too_early_is_not_remembered(self, process: ffi.CData, tmp_path: Path) -> None:
        """A process that was asked too early is asked again; a lasting answer is written once."""
        lib.vgpu_process_set_facts(process, ffi.new("struct vgpu_facts *"))
        assert lib.ensure_init(process) == lib.VGPU_TOO_EARLY
        lib.vgpu_process_set_facts(process, facts(exe=b"ollama"))
        assert [lib.ensure_init(process) for _ in range(3)] == [lib.VGPU_READY] * 3
        decisions = [r.text for r in Trace.open(tmp_path / "trace").records if r.kind == Kind.GATE]
        assert decisions == ["too early: libc has not started", "an application"]


class TestEnvironment:
    PROGRAM = (
        "from vgpu_harness._wire import ffi, lib; import ctypes, os; ctypes.CDLL(None).clearenv();"
        "b = ffi.new('char[]', {size}); n = lib.vgpu_first_environment(b'VGPU_TEST', b, {size});"
        "print(n, ffi.buffer(b)[:n].decode())"
    )

    def ask(self, size: int, environment: dict[str, str]) -> str:
        """What a process reads of its first environment after it has cleared its own."""
        code = self.PROGRAM.format(size=size)
        env = {"PYTHONPATH": os.pathsep.join(sys.path)} | environment
        return subprocess.run([sys.executable, "-c", code], env=env, capture_output=True, text=True, check=True).stdout

    def test_survives_clearenv(self) -> None:
        """The value is found behind a long variable, a name that starts alike, and one that contains it."""
        environment = {"A": "x" * 3000, "VGPU_TES": "1", "VGPU_TEST2": "2", "XVGPU_TEST": "3", "VGPU_TEST": "right=4"}
        assert self.ask(64, environment) == "7 right=4\n"

    def test_a_value_that_does_not_fit_is_no_value(self) -> None:
        """A cut path would name another file: it is not answered at all."""
        assert self.ask(4, {"VGPU_TEST": "abcd"}) == "0 \n"
        assert self.ask(5, {"VGPU_TEST": "abcd"}) == "4 abcd\n"


class TestFreestanding:
    def link(self, directory: Path, *sources: Path) -> subprocess.CompletedProcess[str]:
        """Links sources into a library that may use nothing."""
        flags = [
            "-O2",
            "-fPIC",
            "-shared",
            "-ffreestanding",
            "-fno-tree-loop-distribute-patterns",
            "-fno-stack-protector",
        ]
        command = ["gcc", "-std=gnu11", "-D_GNU_SOURCE", *flags, "-nostdlib", "-Wl,-z,defs", f"-I{CSRC}"]
        command += ["-o", str(directory / "x.so")]
        return subprocess.run([*command, *map(str, sources)], capture_output=True, text=True, check=False)

    def test_what_the_auditor_uses_needs_no_libc(self, tmp_path: Path) -> None:
        """Environment, image, path table and trace writer link with no undefined symbol."""
        result = self.link(tmp_path, *(CSRC / "vgpu" / f"{name}.c" for name in FREESTANDING))
        assert (result.returncode, result.stderr) == (0, "")

    def test_a_libc_call_would_be_seen(self, tmp_path: Path) -> None:
        """The same link fails for a source that calls libc."""
        (tmp_path / "user.c").write_text("#include <stdlib.h>\nint f(void);\nint f(void) { return system(0); }\n")
        assert "undefined reference to `system'" in self.link(tmp_path, tmp_path / "user.c").stderr

    def test_the_built_auditor_has_no_undefined_symbol(self) -> None:
        """The library as installed needs nothing, and exports the functions that ld.so looks for."""
        command = ["nm", "-D", str(shim_path("audit"))]
        listing = subprocess.run(command, capture_output=True, text=True, check=True)
        assert sorted(line.split()[-2:] for line in listing.stdout.splitlines()) == [
            ["T", "la_activity"],
            ["T", "la_objclose"],
            ["T", "la_objopen"],
            ["T", "la_preinit"],
            ["T", "la_symbind64"],
            ["T", "la_version"],
        ]


class TestAuditor:
    def run(self, trace: Path, **extra: str) -> subprocess.CompletedProcess[str]:
        """Runs /bin/true under the auditor."""
        env = {"LD_AUDIT": str(shim_path("audit")), "VGPU_TRACE": str(trace)} | extra
        return subprocess.run(["/bin/true"], env=env, capture_output=True, text=True, check=False, timeout=20)

    def test_records_what_is_mapped(self, tmp_path: Path) -> None:
        """The program by its path, its loader and libc are recorded with load addresses; nothing is printed."""
        create_trace(tmp_path / "trace", 1 << 20)
        result = self.run(tmp_path / "trace")
        assert (result.returncode, result.stdout, result.stderr) == (0, "", "")
        mapped = {r.text: r.inputs[0] for r in Trace.open(tmp_path / "trace").records if r.kind == Kind.MAPPED}
        assert os.path.realpath("/bin/true") in mapped
        assert any(Path(path).name.startswith("libc.so") for path in mapped)
        assert all(mapped.values())

    def test_without_a_trace_the_program_is_left_alone(self, tmp_path: Path) -> None:
        """A trace that is missing, or is none, does no harm and is not created."""
        assert self.run(tmp_path / "missing").returncode == 0
        (tmp_path / "text").write_text("not a trace" * 1000)
        before = (tmp_path / "text").read_bytes()
        assert self.run(tmp_path / "text").returncode == 0
        assert (tmp_path / "text").read_bytes() == before
        assert not (tmp_path / "missing").exists()
