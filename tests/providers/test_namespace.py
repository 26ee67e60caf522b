"""The provider "namespace": programs that no library can be in see the host, and all else is as it was."""

import errno
import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil
import pytest
from programs import GPU, IDS, reader, ring_reader, static_reader
from support.compile import compile_program

from vgpu_harness.errors import ProgramError, RunError
from vgpu_harness.host import Delivery, Gpu, Host
from vgpu_harness.run import Run
from vgpu_harness.run import run as run_program
from vgpu_harness.run.child import NotStartedError
from vgpu_harness.shims import shim_path
from vgpu_harness.trace import Kind, Library

FILES = [f"{GPU}/{name}" for name in ("vendor", "device", "class")]
SHOW = r"""
/* Says what kind of process it is. */
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>
int main(int argc, char **argv) {
    char cwd[4096], line[100] = "";
    printf("pid %d\nargv %s %d %s\ncwd %s\nstdin %s\nMARK %s\npreload %s\n", getpid(), argv[0], argc, argv[1],
           getcwd(cwd, sizeof(cwd)), fgets(line, sizeof(line), stdin) != NULL ? line : "", getenv("MARK"),
           getenv("LD_PRELOAD"));
    return 3;
}
"""
LOAD = r"""
/* Opens a library by its bare name, calls cuInit and says what it answered. */
#include <dlfcn.h>
#include <stdio.h>
int main(int argc, char **argv) {
    void *library = dlopen(argc > 1 ? argv[1] : "libcuda.so.1", RTLD_NOW);
    int (*init)(unsigned) = library != NULL ? (int (*)(unsigned))dlsym(library, "cuInit") : NULL;
    printf("%d\n", init != NULL ? init(0) : -1);
    return 0;
}
"""


@pytest.fixture
def run(tmp_path: Path) -> Callable[..., Run]:
    """Runs a program in a namespace; its files are in a directory of the test's."""

    def run_it(*argv: Any, **options: Any) -> Run:
        directory = tmp_path / f"run{len(list(tmp_path.glob('run*')))}"
        return run_program(argv, directory=directory, provider="namespace", trace_size=1 << 20, **options)

    return run_it


class TestPrograms:
    """Programs that the file shim cannot be in see the GPU all the same."""

    def test_static(self, run: Callable[..., Run]) -> None:
        """A static program reads the GPU's identity, and that it is static is no finding."""
        done = run(static_reader(), *FILES)
        assert done.stdout.split() == IDS
        assert (done.findings, done.without_shims, done.provider) == ((), (), "namespace")

    def test_go(self, run: Callable[..., Run], go_program: Path) -> None:
        """An unmodified Go program, which makes its own system calls, reads and globs it."""
        lines = run(go_program, *FILES, "/dev/nvidia*", "/sys/bus/pci/devices/0000:00:05.*").stdout.splitlines()
        assert lines[:3] == IDS
        assert lines[3].split() == [
            f"/dev/nvidia{name}" for name in ("-modeset", "-uvm", "-uvm-tools", "0", "ctl")
        ]  # fmt: skip
        assert lines[4] == GPU

    def test_io_uring(self, run: Callable[..., Run]) -> None:
        """A file that io_uring opens is the host's too; there is no system call to see."""
        assert run(ring_reader(), *FILES).stdout.split() == IDS

    def test_without_the_namespace_they_see_the_machine(self, tmp_path: Path, go_program: Path) -> None:
        """The same programs outside see no H100, and the preload provider refuses what it could not show it to."""
        for program in (static_reader(), go_program, ring_reader()):
            plain = subprocess.run([program, *FILES], capture_output=True, text=True, timeout=30, check=True)
            assert plain.stdout.split() != IDS
            with pytest.raises(ProgramError, match="static program"):
                run_program([program, *FILES], directory=tmp_path / "run", observe_files="watch")

    def test_in_children_with_an_empty_environment(self, run: Callable[..., Run]) -> None:
        """`env -i` takes the shims away, and not the files."""
        done = run("env", "-i", static_reader(), *FILES)
        assert done.stdout.split() == IDS


class TestTheProgram:
    """bwrap is around the program, and is not the program."""

    def test_is_what_was_asked_for(self, run: Callable[..., Run], tmp_path: Path) -> None:
        """Number, argv[0], directory, standard input, environment and exit status are the program's own."""
        program = compile_program(SHOW, "show")
        done = run(program, "one", input="line", env={"MARK": "m"}, cwd=tmp_path)
        said = dict(line.split(" ", 1) for line in done.stdout.splitlines())
        assert (done.returncode, said["pid"]) == (3, str(done.pid))
        assert said["argv"] == f"{program} 2 one"
        assert (said["cwd"], said["stdin"], said["MARK"]) == (str(tmp_path), "line", "m")
        assert said["preload"] == ":".join(done.preload)

    def test_by_its_name_in_path(self, run: Callable[..., Run]) -> None:
        """argv[0] is the word that was given, not the path that was found."""
        assert run("sh", "-c", "echo $0").stdout == "sh\n"

    @pytest.mark.parametrize("observe", ["auto", "sampled"])
    def test_ends_by_a_signal(self, run: Callable[..., Run], observe: str) -> None:
        """A signal that kills it is its status, although bwrap ends with a number."""
        done = run("sh", "-c", "sleep 0.1; kill -SEGV $$", observe=observe)
        assert done.returncode == -signal.SIGSEGV

    def test_its_processes_are_seen_without_bwrap(self, run: Callable[..., Run]) -> None:
        """The observer's list has the program and its children, each with its status."""
        done = run("sh", "-c", "/bin/true; /bin/false; exit 5")
        assert done.observed == "ptrace"
        assert [(Path(process.program).name, process.status) for process in done.processes] == [
            (Path(shutil.which("sh") or "").resolve().name, 5), ("true", 0), ("false", 1),
        ]  # fmt: skip
        assert [process.parent for process in done.processes] == [os.getpid(), done.pid, done.pid]
        assert [len(process.images) for process in done.processes] == [1, 1, 1]

    def test_has_the_other_shims(self, run: Callable[..., Run]) -> None:
        """cuda, nvml and exec are mapped and work; the file shim is not there."""
        done = run(compile_program(LOAD, "load"))
        assert done.stdout == "0\n"
        mapped = {record.text for record in done.trace.records if record.kind == Kind.MAPPED}
        assert {str(shim_path(name)) for name in ("cuda", "nvml", "exec")} <= mapped
        assert str(shim_path("syscall")) not in mapped
        assert str(shim_path("syscall")) not in done.preload
        assert any(record.library == Library.CUDA and record.name == "cuInit" for record in done.trace.records)

    def test_that_cannot_be_executed(self, run: Callable[..., Run], tmp_path: Path) -> None:
        """The kernel's reason comes back from inside, and nothing is left running."""
        program = tmp_path / "program"
        shutil.copy(static_reader(), program)
        program.chmod(0o755)
        writer = program.open("ab")
        with writer, pytest.raises(NotStartedError) as caught:
            run(program)
        assert isinstance(caught.value.__cause__, OSError)
        assert caught.value.__cause__.errno == errno.ETXTBSY

    def test_whose_time_is_over(self, run: Callable[..., Run]) -> None:
        """It and its daemons are ended, bwrap is not counted among those."""
        done = run("sh", "-c", "setsid sleep 60 & exec sleep 60", timeout=1)
        assert done.timed_out
        assert done.returncode == -signal.SIGTERM
        for process in done.processes:
            assert not psutil.pid_exists(process.pid) or psutil.Process(process.pid).status() == psutil.STATUS_ZOMBIE
        assert set(done.reaped) <= {process.pid for process in done.processes}


class TestDirectories:
    """What the machine has is there too, and nothing of it is changed."""

    def test_listings_are_the_machines_and_ours(self, run: Callable[..., Run]) -> None:
        """Every directory around our files lists the machine's entries and ours."""
        for directory, ours in (
            ("/dev", {"nvidia0", "nvidiactl", "nvidia-uvm", "nvidia-uvm-tools", "nvidia-modeset"}),
            ("/sys/bus/pci/devices", {"0000:00:05.0"}),
            ("/sys/bus/pci/drivers", {"nvidia"}),
            ("/sys/module", {"nvidia", "nvidia_uvm", "nvidia_modeset", "nvidia_drm"}),
            ("/proc/driver", {"nvidia"}),
        ):
            assert set(run("ls", "-A", directory).stdout.split()) == {*os.listdir(directory), *ours}  # noqa: PTH208

    def test_the_machines_own_entries_are_what_they_are(self, run: Callable[..., Run]) -> None:
        """Devices that programs ask about are devices, and other modules' files read as they do outside."""
        assert run("stat", "-c", "%F %t:%T", "/dev/null", "/dev/tty").stdout.splitlines() == [
            "character special file 1:3", "character special file 5:0",
        ]  # fmt: skip
        drivers = {
            path: path.read_text() for path in Path("/sys/module").glob("*/parameters/*") if path.stat().st_mode & 4
        }
        named = dict(list(drivers.items())[:20])
        assert named, "no module of this machine shows a parameter"
        assert run("cat", *named).stdout == "".join(named.values())
        assert run("sh", "-c", "echo x > /dev/null && head -c 4 /dev/zero | od -An -tx1").stdout.split() == ["00"] * 4

    def test_links_lead_to_ours(self, run: Callable[..., Run]) -> None:
        """realpath of a GPU's directory and of its driver is what it is on a real machine."""
        done = run("realpath", GPU, f"{GPU}/driver", "/sys/bus/pci/drivers/nvidia/module")
        assert done.stdout.split() == [
            "/sys/devices/pci0000:00/0000:00:05.0", "/sys/bus/pci/drivers/nvidia", "/sys/module/nvidia",
        ]  # fmt: skip

    def test_a_gpu_on_a_bus_that_the_machine_lacks(self, run: Callable[..., Run]) -> None:
        """Its root bus is listed beside the machine's own, whose devices stay."""
        host = Host(gpu=(Gpu(pci="0001:3b:00.0"), Gpu(pci="0000:00:1f.0")))
        done = run(static_reader(), *(f"/sys/bus/pci/devices/{gpu.pci}/vendor" for gpu in host.gpu), host=host)
        assert done.stdout.split() == ["0x10de", "0x10de"]
        there = set(run("ls", "/sys/devices", host=host).stdout.split())
        assert there == {*os.listdir("/sys/devices"), "pci0000:00", "pci0001:3b"}  # noqa: PTH208

    def test_files_cannot_be_written(self, run: Callable[..., Run]) -> None:
        """Attributes are mounted read-only, for root too."""
        assert run("sh", "-c", f"echo x 2>&- > {GPU}/vendor || echo refused").stdout == "refused\n"
        assert run(static_reader(), *FILES).stdout.split() == IDS

    def test_nothing_of_it_is_left_on_the_machine(self, run: Callable[..., Run]) -> None:
        """After a run, and for everybody else during it, the machine is as it was."""
        places = ("/dev", "/sys/bus/pci/devices", "/proc/driver", "/usr/lib", "/usr/local/lib")
        before = {place: sorted(os.listdir(place)) for place in places}  # noqa: PTH208
        mounts = Path("/proc/self/mountinfo").read_text()
        run("true", host=Host(delivery=Delivery(system_links=("/usr/lib64", "/usr/local/lib/ollama"))))
        assert {place: sorted(os.listdir(place)) for place in places} == before  # noqa: PTH208
        assert Path("/proc/self/mountinfo").read_text() == mounts


class TestSystemLinks:
    """The driver's libraries in the system's own directories: what globs and ld.so find."""

    PLACES = ("/usr/lib64", "/usr/lib/x86_64-linux-gnu", "/usr/local/lib/ollama")

    @pytest.fixture
    def host(self) -> Host:
        """A host without preloaded driver libraries, with links."""
        return Host(delivery=Delivery(preload=("exec",), system_links=self.PLACES))

    def test_a_glob_of_a_go_program_finds_them(self, run: Callable[..., Run], go_program: Path, host: Host) -> None:
        """Each directory has both links, also the one that the machine has not."""
        found = run(go_program, *(f"{place}/libcuda.so*" for place in self.PLACES), host=host).stdout.splitlines()
        assert found == [f"{place}/libcuda.so.1" for place in self.PLACES]
        assert run("readlink", f"{self.PLACES[2]}/libnvidia-ml.so.1", host=host).stdout == f"{shim_path('nvml')}\n"

    def test_the_linker_finds_them(self, run: Callable[..., Run], host: Host) -> None:
        """dlopen of the bare name loads the shim from a default directory; without the links there is none."""
        load = compile_program(LOAD, "load")
        assert run(load, host=host).stdout == "0\n"
        bare = Host(delivery=Delivery(preload=("exec",)))
        assert run(load, "libcuda-of-nobody.so.1", host=bare).stdout == "-1\n"

    def test_other_libraries_stay(self, run: Callable[..., Run], host: Host) -> None:
        """All that the directory has is there, and a large program starts."""
        there = set(os.listdir("/usr/lib/x86_64-linux-gnu"))  # noqa: PTH208
        listed = run("ls", "-A", "/usr/lib/x86_64-linux-gnu", host=host).stdout.split("\n")
        assert set(listed) - {""} == there | {"libcuda.so.1", "libnvidia-ml.so.1"}
        assert run("bash", "-c", "ls -l / | sort | head -1 > /dev/null && echo fine", host=host).stdout == "fine\n"


def test_many_gpus(run: Callable[..., Run]) -> None:
    """Eight GPUs are seen, by a program whose shims count them as well."""
    host = Host(gpu=tuple(Gpu() for _ in range(8)))
    done = run(static_reader(), *(f"/sys/bus/pci/devices/{gpu.pci}/device" for gpu in host.gpu), host=host)
    assert done.stdout.split() == ["0x2331"] * 8


def test_a_program_that_needs_libc_is_seen_too(run: Callable[..., Run]) -> None:
    """A dynamic program without the file shim reads the same."""
    assert run(reader(), *FILES).stdout.split() == IDS


def test_by_the_fixture(vgpu_run: Callable[..., Run]) -> None:
    """`vgpu_run` takes the provider's name."""
    assert vgpu_run([static_reader(), *FILES], provider="namespace").stdout.split() == IDS


def test_by_the_command(tmp_path: Path) -> None:
    """`vgpu-harness run --provider` too; the summary has it; a run within a run is one more namespace."""
    command = [sys.executable, "-P", "-m", "vgpu_harness", "run", "--provider", "namespace"]
    summary = tmp_path / "run.json"
    inner = [*command, "--", static_reader(), *FILES]
    env = ["env", *(f"{name}={os.environ[name]}" for name in ("PYTHONPATH",) if name in os.environ)]
    done = subprocess.run(
        [*command, "--json", summary, "--", *env, *inner], capture_output=True, text=True, timeout=60, check=True
    )
    assert (done.stdout.split(), done.stderr) == (IDS, "")
    assert json.loads(summary.read_text())["provider"] == "namespace"


def test_an_image_has_no_files_to_mount(run: Callable[..., Run], tmp_path: Path) -> None:
    """A host image has the names of the files only."""
    image = run_program(["true"], directory=tmp_path / "first", keep_tree=True).directory / "host.image"
    with pytest.raises(RunError, match="give the host file"):
        run("true", host=image)
