"""Paths of the tree of virtual files in every spelling: `..`, links, /proc/self/root, relative to somewhere."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from support.compile import compile_program
from test_syscall_files import GPU, REAL_GPU, Machine, MakeMachine, make_machine  # noqa: F401

from vgpu_harness.host import Gpu, Host
from vgpu_harness.host.faults import FunctionFault

ADDRESS = "0000:00:05.0"
VENDOR = "0x10de"

# Reads the paths that it is given, one after the other, in one process: {"path": ..., "in": directory or null, "cwd":
# directory or null} a line, the content or the errno as the answer.
READER = """
import errno, json, os, sys
answers = []
for question in json.load(sys.stdin):
    if question.get("cwd"):
        os.chdir(question["cwd"])
    directory = os.open(question["in"], os.O_RDONLY) if question.get("in") else None
    try:
        fd = os.open(question["path"], os.O_RDONLY, dir_fd=directory)
        answers.append(os.read(fd, 200).decode(errors="replace"))
        os.close(fd)
    except OSError as error:
        answers.append(errno.errorcode[error.errno])
    if directory is not None:
        os.close(directory)
print(json.dumps(answers))
"""


@pytest.fixture(scope="module")
def machine(make_machine: MakeMachine) -> Machine:  # noqa: F811
    """A host whose device no machine has, with links into sysfs from elsewhere."""
    machine = make_machine(Host(gpu=(Gpu(minor=99),)))
    (machine.directory / "alias").symlink_to("/sys/bus/pci")
    (machine.directory / "gpu").symlink_to(GPU)
    (machine.directory / "again").symlink_to("alias")
    (machine.directory / "deep").mkdir()
    return machine


def read(machine: Machine, questions: list[dict[str, str | None]], *, shim: bool = True) -> list[str]:
    """What one Python program reads of each path."""
    environment = {"PATH": "/usr/bin:/bin", "LC_ALL": "C.UTF-8"} | (machine.environment if shim else {})
    run = subprocess.run(
        [sys.executable, "-I", "-S", "-c", READER], env=environment, input=json.dumps(questions), capture_output=True,
        text=True, timeout=30, check=False, cwd=machine.directory,
    )  # fmt: skip
    assert (run.returncode, run.stderr) == (0, "")
    answers: list[str] = json.loads(run.stdout)
    return answers


def python(machine: Machine, code: str) -> Any:
    """The JSON that a Python program prints on the simulated host."""
    run = machine.run(sys.executable, "-I", "-S", "-c", f"import errno, json, os, sys\n{code}")
    assert (run.returncode, run.stderr) == (0, "")
    return json.loads(run.stdout)


def spellings(machine: Machine) -> list[dict[str, str | None]]:
    """Ways to ask for the GPU's vendor; `in` is opened first, `cwd` entered first."""
    own = machine.directory
    up = "../" * len(own.parts)
    absolute = [
        f"{GPU}/vendor",
        f"//sys/./bus//pci/devices/{ADDRESS}/vendor",
        f"/proc/..{GPU}/vendor",
        f"/usr/..{GPU}/vendor",
        f"/usr/lib/../..{GPU}/vendor",
        f"/sys/bus/pci/../pci/devices/{ADDRESS}/vendor",
        f"/sys/bus/pci/devices/../devices/{ADDRESS}/vendor",
        f"{GPU}/../{ADDRESS}/vendor",
        f"{GPU}/../../../bus/pci/devices/{ADDRESS}/vendor",
        f"{GPU}/driver/../nvidia/{ADDRESS}/vendor",
        f"{REAL_GPU}/driver/{ADDRESS}/vendor",
        f"/proc/self/root{GPU}/vendor",
        f"/proc/thread-self/root/{GPU}/vendor",
        f"/proc/self/task/../root{GPU}/vendor",
        f"/dev/fd/../root{GPU}/vendor",
        f"{own}/alias/devices/{ADDRESS}/vendor",
        f"{own}/again/devices/{ADDRESS}/vendor",
        f"{own}/alias/../pci/devices/{ADDRESS}/vendor",
        f"{own}/deep/../alias/devices/{ADDRESS}/vendor",
        f"{own}/gpu/vendor",
    ]
    relative = [
        ("/", f"sys/bus/pci/devices/{ADDRESS}/vendor"),
        ("/", f"./sys//bus/pci/devices/{ADDRESS}/vendor"),
        ("/proc", f"..{GPU}/vendor"),
        ("/proc", f"self/root{GPU}/vendor"),
        ("/sys", f"bus/pci/devices/{ADDRESS}/vendor"),
        ("/sys/bus", f"pci/devices/{ADDRESS}/vendor"),
        ("/sys/bus/pci", f"devices/{ADDRESS}/vendor"),
        ("/sys/bus/pci", f"../pci/devices/{ADDRESS}/vendor"),
        ("/sys/bus/pci/devices", f"{ADDRESS}/vendor"),
        (GPU, "vendor"),
        (GPU, f"../{ADDRESS}/vendor"),
        ("/usr/lib", f"../..{GPU}/vendor"),
        (str(own), f"{up}sys/bus/pci/devices/{ADDRESS}/vendor"),
        (f"{own}/deep", f"../alias/devices/{ADDRESS}/vendor"),
    ]
    here = [(str(own), f"alias/devices/{ADDRESS}/vendor"), (str(own), "gpu/vendor"), (GPU, "/proc/self/cwd/vendor")]
    questions: list[dict[str, str | None]] = [{"path": path, "in": None} for path in absolute]
    questions += [{"path": path, "in": directory} for directory, path in relative]
    questions += [{"path": path, "cwd": directory} for directory, path in relative + here]
    return questions


class TestSpellings:
    def test_all_lead_to_the_gpu(self, machine: Machine) -> None:
        """The GPU's vendor is read however its path is written, and from wherever it is relative to."""
        questions = spellings(machine)
        answers = read(machine, questions)
        assert [q for q, answer in zip(questions, answers, strict=True) if answer != f"{VENDOR}\n"] == []
        assert len(questions) > 40

    def test_lead_nowhere_without_the_shim(self, machine: Machine) -> None:
        """The same program without the shim never reads the simulated vendor: the answers above are the shim's."""
        assert f"{VENDOR}\n" not in read(machine, spellings(machine), shim=False)

    def test_in_new_processes_too(self, machine: Machine) -> None:
        """A spelling is seen when it is the first thing that a process asks for."""
        up = os.path.relpath("/", machine.directory)
        for path in (f"/usr/..{GPU}/vendor", f"{machine.directory}/gpu/vendor", f"{up}{GPU}/vendor"):
            assert read(machine, [{"path": path}]) == [f"{VENDOR}\n"], path

    def test_that_lead_elsewhere_do_not(self, machine: Machine) -> None:
        """Where the kernel follows another way, so does the shim: missing directories, links, ends of the tree."""
        own = machine.directory
        (own / "usr").symlink_to("/usr/lib")
        questions: list[dict[str, str | None]] = [
            {"path": f"/no-such-directory/..{GPU}/vendor"},
            {"path": f"/etc/hostname/..{GPU}/vendor"},
            {"path": f"{own}/usr/..{GPU}/vendor"},
            {"path": f"{own}/usr/../..{GPU}/vendor"},
            {"path": f"{GPU}/../../../../etc/passwd"},
            {"path": "../../../../../etc/passwd", "in": GPU},
            {"path": "../../../../etc/passwd", "cwd": GPU},
            {"path": "../../../../../sys/../etc/passwd", "in": "/sys/bus/pci/devices"},
        ]
        passwd = Path("/etc/passwd").read_text(encoding="utf-8")[:200]
        assert read(machine, questions) == ["ENOENT", "ENOTDIR", "ENOENT", f"{VENDOR}\n", *[passwd] * 4]

    def test_of_links_that_appear_later(self, machine: Machine) -> None:
        """A link that the process puts in place of a directory it has used is followed from then on."""
        code = f"""
os.mkdir("{machine.directory}/later"); os.mkdir("{machine.directory}/later/devices")
before = os.path.exists("{machine.directory}/later/devices/{ADDRESS}/vendor")
os.rename("{machine.directory}/later", "{machine.directory}/gone")
os.symlink("/sys/bus/pci", "{machine.directory}/later")
print(json.dumps([before, open("{machine.directory}/later/devices/{ADDRESS}/vendor").read()]))
"""
        assert python(machine, code) == [False, f"{VENDOR}\n"]

    def test_of_another_process_are_its_own(self, machine: Machine) -> None:
        """The root and working directory of another process are left to the kernel."""
        parent = os.getpid()
        (answer,) = read(machine, [{"path": f"/proc/{parent}/root{GPU}/vendor"}])
        assert answer == read(machine, [{"path": f"/proc/{parent}/root{GPU}/vendor"}], shim=False)[0]

    def test_that_are_long_work(self, machine: Machine) -> None:
        """A path close to the kernel's limit is seen, as its resolved form is short."""
        path = f"{REAL_GPU}/" + f"../{ADDRESS}/" * 250 + "vendor"
        assert 3800 < len(path) < 4096
        assert read(machine, [{"path": path}]) == [f"{VENDOR}\n"]

    def test_with_the_fault_of_their_function(self, make_machine: MakeMachine) -> None:  # noqa: F811
        """A planted hole in `open` shows in an odd spelling as well: it goes the same way as the plain one."""
        machine = make_machine(Host(faults=[FunctionFault(function="open64", result=5)]))
        assert read(machine, [{"path": f"/usr/..{GPU}/vendor"}]) == ["EIO"]


class TestWorkingDirectory:
    def test_is_told_in_host_terms(self, machine: Machine) -> None:
        """getcwd, /proc/self/cwd and realpath name the directory as the host does, and `..` is the host's."""
        code = f"""
answers = []
for directory in ("/sys/bus/pci", "{GPU}", "..", "..", "/proc/driver/nvidia", "..", "/sys/bus/pci/devices", "../../.."):
    os.chdir(directory)
    answers.append([os.getcwd(), os.readlink("/proc/self/cwd"), os.path.realpath(".")])
print(json.dumps(answers))
"""
        assert python(machine, code) == [
            [where] * 3
            for where in ("/sys/bus/pci", REAL_GPU, "/sys/devices/pci0000:00", "/sys/devices", "/proc/driver/nvidia",
                          "/proc/driver", "/sys/bus/pci/devices", "/sys")
        ]  # fmt: skip

    def test_has_its_names_by_every_function(self, machine: Machine) -> None:
        """getcwd with and without a buffer, getwd, get_current_dir_name: the host's name, and ERANGE by its length."""
        program = compile_program(CWD, "cwd", "-Wno-deprecated-declarations")
        run = machine.run(program)
        assert run.stdout.splitlines() == ["/sys/bus/pci"] * 7 + ["ERANGE", "/sys/bus/pci"]

    def test_is_the_real_one_elsewhere(self, machine: Machine) -> None:
        """In an ordinary directory all of them answer as without the shim."""
        program = compile_program(CWD, "cwd", "-Wno-deprecated-declarations")
        assert machine.run(program, "/usr").stdout == machine.run(program, "/usr", shim=False).stdout

    def test_of_the_start_is_known(self, machine: Machine) -> None:
        """A program that is started in `/` or in /sys/bus sees the GPU by relative paths at once."""
        for directory, path in (("/", GPU[1:]), ("/sys/bus", f"pci/devices/{ADDRESS}")):
            run = subprocess.run(
                ["cat", f"{path}/vendor"], cwd=directory, env={"PATH": "/usr/bin:/bin"} | machine.environment,
                capture_output=True, text=True, timeout=20, check=False,
            )  # fmt: skip
            assert (run.stdout, run.stderr) == (f"{VENDOR}\n", "")

    def test_is_handed_on_to_children(self, machine: Machine) -> None:
        """A shell's cd into the tree holds for the programs that it starts, which name no tree either."""
        run = machine.run("dash", "-c", f"cd /sys/bus/pci && /bin/pwd && cat devices/{ADDRESS}/vendor && cd /sys && "
                          f"cat bus/pci/devices/{ADDRESS}/device")  # fmt: skip
        assert run.stdout.split() == ["/sys/bus/pci", VENDOR, "0x2331"]


class TestDescriptors:
    def test_of_directories_lead_on(self, machine: Machine) -> None:
        """From a directory's descriptor of the tree all works: stat, readlink, write attempts, the host's parent."""
        code = f"""
def answer(call):
    try: return call()
    except OSError as error: return errno.errorcode[error.errno]
fd = os.open("/sys/bus/pci/devices", os.O_RDONLY)
dev = os.open("/dev", os.O_RDONLY)
print(json.dumps([
    os.readlink("{ADDRESS}", dir_fd=fd),
    answer(lambda: os.open("{ADDRESS}/vendor", os.O_RDWR, dir_fd=fd)),
    answer(lambda: os.unlink("{ADDRESS}", dir_fd=fd)),
    os.stat("../../..", dir_fd=fd).st_dev == os.stat("/sys").st_dev,
    oct(os.stat("nvidia99", dir_fd=dev).st_mode),
    oct(os.stat("/proc/self/fd/%d" % os.open("nvidia99", os.O_RDWR, dir_fd=dev)).st_mode),
    os.path.exists("/proc/self/fd/%d/null" % dev),
    os.readlink("/proc/self/fd/%d" % fd),
]))
"""
        refused = "EPERM" if os.geteuid() == 0 else "EACCES"
        assert python(machine, code) == [
            "../../../devices/pci0000:00/0000:00:05.0", "EACCES", refused, True, "0o20666", "0o20666", True,
            "/sys/bus/pci/devices",
        ]  # fmt: skip


CWD = r"""
#define _GNU_SOURCE
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <unistd.h>

char *__getcwd_chk(char *to, size_t size, size_t room);
char *__getwd_chk(char *to, size_t room);

int main(int argc, char **argv) {
    char text[4096];
    if (chdir(argc > 1 ? argv[1] : "/sys/bus/pci") != 0) {
        return 1;
    }
    puts(getcwd(text, sizeof(text)));
    puts(getcwd(NULL, 0));
    puts(getcwd(NULL, 100));
    puts(getwd(text));
    puts(get_current_dir_name());
    puts(__getcwd_chk(text, sizeof(text), sizeof(text)));
    puts(__getwd_chk(text, sizeof(text)));
    puts(getcwd(text, 4) == NULL && errno == ERANGE ? "ERANGE" : "no error");
    puts(syscall(SYS_getcwd, text, sizeof(text)) > 0 ? text : "error");
    return 0;
}
"""
