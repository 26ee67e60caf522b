"""The gate's rules in real processes: what is gathered of them, and one decision for all shims of a process."""

import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
import pytest
from support.compile import compile_program

from vgpu_harness._wire import ffi, lib
from vgpu_harness.host import Gate, Gpu, Host, Tree, write_image, write_tree
from vgpu_harness.shims import shim_path
from vgpu_harness.shims.inprocess import Gate as Asked
from vgpu_harness.trace import Kind, Trace, create_trace

ADDRESS = "00fe:3b:1f.0"
SOURCE = r"""
/* Does what each letter of its first argument says, and prints what it finds. */
#include <dlfcn.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#define FILE_OF_THE_GPU "/sys/bus/pci/devices/00fe:3b:1f.0/vendor"
#define NAME "re) R 1 (named"

static int code_of(const char *function, int with_flags) {
    void *symbol = dlsym(RTLD_DEFAULT, function);
    if (symbol == NULL) {
        return -1;
    }
    return with_flags ? ((int (*)(unsigned))symbol)(0) : ((int (*)(void))symbol)();
}

static void handler(int number) {
    (void)number;
    printf("h%d", access(FILE_OF_THE_GPU, F_OK) == 0);
}

static void forked(void) {
    fflush(stdout);
    if (fork() == 0) {
        printf("F%d", access(FILE_OF_THE_GPU, F_OK) == 0);
        fflush(stdout);
        _exit(0);
    }
    wait(NULL);
}

/* The program goes on in a child that outlives its parent. */
static void orphan(void) {
    pid_t parent = getpid();
    fflush(stdout);
    if (fork() != 0) {
        _exit(0);
    }
    while (getppid() == parent) {
        usleep(100);
    }
}

int main(int argc, char **argv) {
    char actions[64];
    char other[4096] = "";
    volatile int seen = 0;
    snprintf(actions, sizeof(actions), "%s", argv[1]);
    snprintf(other, sizeof(other), "%s", argc > 2 ? argv[2] : "");
    for (const char *at = actions; *at != '\0'; at++) {
        switch (*at) {
        case 'f':
            printf("f%d", access(FILE_OF_THE_GPU, F_OK) == 0);
            break;
        case 'c':
            printf("c%d", code_of("cuInit", 1) == 0);
            break;
        case 'n':
            printf("n%d", code_of("nvmlInit_v2", 0) == 0);
            break;
        case 'm':
            prctl(PR_SET_NAME, NAME);
            break;
        case 't':
            memset(argv[0], 'x', (size_t)(argv[argc - 1] - argv[0]) + strlen(argv[argc - 1]));
            break;
        case 'e':
            setenv("VGPU_HOST", other, 1);
            break;
        case 'o':
            orphan();
            break;
        case 'b': /* the address where shims look for each other's decision is taken */
            if (mmap((void *)0x7ec076500000, 4096, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, -1,
                     0) == MAP_FAILED) {
                return 3;
            }
            break;
        case 'v':
            if (vfork() == 0) {
                seen = access(FILE_OF_THE_GPU, F_OK) == 0;
                _exit(0);
            }
            wait(NULL);
            printf("v%d", seen);
            break;
        case 'F':
            forked();
            break;
        case 'h':
            signal(SIGUSR1, handler);
            raise(SIGUSR1);
            break;
        case 's': /* is started by one of another name */
            fflush(stdout);
            if (fork() == 0) {
                execl(argv[2], "younger", at + 1, "", "--port=80", "", (char *)NULL);
            }
            wait(NULL);
            return 0;
        case 'w':
            printf("%d\n", getpid());
            fflush(stdout);
            getchar();
            break;
        default:
            return 2;
        }
    }
    printf("\n");
    return 0;
}
"""

NAME = "re) R 1 (named"


@dataclass(frozen=True)
class Machine:
    """A simulated host whose policy changes from test to test."""

    directory: Path
    tree: Tree

    def image(self, **policy: Any) -> Path:
        """The host's image with this policy."""
        host = Host(gpu=[Gpu(pci=ADDRESS)], gate=Gate(**policy))
        return write_image(host, self.tree, self.directory / "host.image")

    def run(self, actions: str, *words: str, name: str = "asker", **policy: Any) -> str:
        """What the program prints of these actions, with all shims preloaded."""
        program = Path(shutil.copy(compile_program(SOURCE, "asker", "-ldl"), self.directory / name))
        create_trace(self.directory / "trace", 1 << 20)
        environment = {
            "LD_PRELOAD": ":".join(str(shim_path(shim)) for shim in ("exec", "syscall", "cuda", "nvml")),
            "VGPU_HOST": str(self.image(**policy)),
            "VGPU_TRACE": str(self.directory / "trace"),
        }
        done = subprocess.run(
            [program, actions, *words], env=environment, capture_output=True, text=True, timeout=30, check=False
        )
        assert (done.returncode, done.stderr) == (0, "")
        return done.stdout.strip()

    def decisions(self) -> set[str]:
        """The reasons that the shims of the last run gave."""
        return {record.text for record in Trace.open(self.directory / "trace").records if record.kind == Kind.GATE}


@pytest.fixture(scope="module")
def machine(tmp_path_factory: pytest.TempPathFactory) -> Machine:
    """The host, with its tree of files."""
    directory = tmp_path_factory.mktemp("machine")
    return Machine(directory, write_tree(Host(gpu=[Gpu(pci=ADDRESS)]), directory / "tree"))


@contextmanager
def waiting(*argv: str | Path) -> Iterator[tuple[int, subprocess.Popen[str]]]:
    """A process that waits, and its number; perhaps a child of the one that is started."""
    with subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as started:
        assert started.stdin is not None
        assert started.stdout is not None
        try:
            yield int(started.stdout.readline()), started
        finally:
            started.stdin.close()
            started.wait(30)


def gathered(image: Path, pid: int) -> dict[str, str]:
    """The facts of a process, as the rules of this image ask for them."""
    facts = ffi.new("struct vgpu_facts *")
    with Asked(image) as gate:
        lib.vgpu_facts_gather_of(pid, facts)
        lib.vgpu_facts_gather_more(gate.process.image, pid, facts)
    found = {name: ffi.string(getattr(facts, name)).decode() for name in ("exe", "path", "comm", "unit")}
    for name in ("arguments", "ancestors"):
        found[name] = bytes(ffi.buffer(getattr(facts, name))).partition(b"\0\0")[0].decode()
    return found


EVERY = ["/*", dict.fromkeys(("comm", "argument", "ancestor", "unit"), "*")]


def test_facts_are_those_of_proc(machine: Machine) -> None:
    """All facts of a process are found: words without empty ones, a comm with parentheses, parents up to init."""
    program = compile_program(SOURCE, "asker", "-ldl")
    copy = Path(shutil.copy(program, machine.directory / "younger than (all)"))
    with waiting(copy, "mswx", str(program)) as (pid, elder):
        facts = gathered(machine.image(deny=EVERY), pid)
        younger = psutil.Process(pid)
        names = [Path(f"/proc/{parent.pid}/comm").read_text().strip() for parent in younger.parents()]
        groups = Path(f"/proc/{pid}/cgroup").read_text().splitlines()
        assert younger.ppid() == elder.pid
    assert names[0] == NAME
    assert facts["ancestors"].split("\0") == names
    assert (facts["exe"], facts["path"], facts["comm"]) == ("asker", str(program), "asker")
    assert facts["arguments"].split("\0") == ["wx", "--port=80"]
    own = [line for line in groups if ":name=systemd:" in line] or [line for line in groups if line.startswith("0::")]
    assert facts["unit"] == own[0].split(":", 2)[2]


@pytest.mark.parametrize(
    ("text", "unit"),
    [
        ("0::/system.slice/ollama.service\n", "/system.slice/ollama.service"),
        ("12:cpu,cpuacct:/a\n1:name=systemd:/user.slice/s.scope\n0::/b\n", "/user.slice/s.scope"),
        ("0::/b\n1:name=systemd:/c\n", "/c"),
        ("5:memory:/docker/1\n0::/", "/"),
        ("5:memory:/docker/1\n", ""),
        ("0::/a:b::c\n", "/a:b::c"),
        ("nonsense\n\n:\n", ""),
        ("", ""),
    ],
)
def test_the_unit_is_that_of_systemds_hierarchy(text: str, unit: str) -> None:
    """Of version 1, of both versions, and of version 2; a controller's own hierarchy does not count."""
    room = ffi.new("char[]", text.encode())
    lib.vgpu_facts_unit(room)
    assert ffi.string(room).decode() == unit


def test_a_long_command_line_is_known_by_its_first_words(machine: Machine) -> None:
    """Words that do not fit are left out whole; those before them are all there."""
    words = [f"{i:07}" for i in range(10_000)]
    with waiting(compile_program(SOURCE, "asker", "-ldl"), "w", *words) as (pid, _):
        found = gathered(machine.image(deny=EVERY), pid)["arguments"].split("\0")
    assert found == ["w", *words][: len(found)]
    assert 4_000 < len(found) < lib.VGPU_ARGUMENTS_SIZE / 8


def test_a_program_whose_file_is_gone_keeps_its_path(machine: Machine) -> None:
    """The kernel's mark of a deleted file is no part of name and path."""
    copy = Path(shutil.copy(compile_program(SOURCE, "asker", "-ldl"), machine.directory / "gone"))
    with waiting(copy, "w") as (pid, _):
        copy.unlink()
        facts = gathered(machine.image(deny=EVERY), pid)
    assert (facts["exe"], facts["path"]) == ("gone", str(copy))


def test_nothing_is_gathered_that_no_rule_asks_for(machine: Machine) -> None:
    """With a rule for the command line alone, all else but the executable stays unknown."""
    program = compile_program(SOURCE, "asker", "-ldl")
    known = {"exe": "asker", "path": str(program)}
    with waiting(program, "w", "x") as (pid, _):
        facts = gathered(machine.image(deny=[{"argument": "x"}]), pid)
    assert facts == known | {"comm": "", "unit": "", "arguments": "w\0x", "ancestors": ""}


@pytest.mark.parametrize(
    ("rule", "holds"),
    [
        ({"argument": "--port*"}, True),
        ({"argument": "asker"}, False),
        ({"comm": "asker"}, True),
        ({"comm": "python*"}, False),
        ({"ancestor": Path("/proc/self/comm").read_text().strip()}, True),
        ({"ancestor": "asker"}, False),
        ({"program": "asker", "argument": "fcn"}, True),
        ({"program": "asker", "argument": "serve"}, False),
    ],
)
def test_a_real_process_is_named_by_its_facts(machine: Machine, rule: dict[str, str], holds: bool) -> None:
    """File, driver and NVML are there exactly for the processes that no rule denies, and the trace names the rule."""
    expected = "f0c0n0" if holds else "f1c1n1"
    assert machine.run("fcn", "--port=80", deny=[rule]) == expected
    (reason,) = machine.decisions()
    assert reason.startswith("not an application: gate.deny names the " if holds else "an application")


CHANGES = [("t", {"argument": "--port=80"}), ("m", {"comm": "younger"}), ("o", {"ancestor": "elderly"})]


@pytest.mark.parametrize(("change", "rule"), CHANGES, ids=[change for change, _ in CHANGES])
def test_all_shims_decide_alike_whatever_changes(machine: Machine, change: str, rule: dict[str, str]) -> None:
    """A title over the command line, a new comm, a parent that ends: what the first shim decided holds for all."""
    program = shutil.copy(compile_program(SOURCE, "asker", "-ldl"), machine.directory / "younger")

    def answers(actions: str, **policy: Any) -> str:
        return machine.run(f"s{actions}", str(program), name="elderly", **policy)

    assert answers(f"f{change}cn", deny=[rule]) == "f0c0n0"
    assert answers(f"n{change}cf", deny=["*"], allow=[rule]) == "n1c1f1"
    # Where they cannot tell each other, each decides by what it finds.
    assert answers(f"bf{change}cn", deny=[rule]) == "f0c1n1"


def test_a_vfork_child_is_its_parent(machine: Machine) -> None:
    """Who asks first in a vfork child asks for the parent; a forked child is a process of its own, with that parent."""
    child = {"deny": [{"ancestor": "asker"}]}
    assert machine.run("vfcn", **child) == "v1f1c1n1"
    assert machine.run("Ffcn", **child) == "F0f1c1n1"
    assert machine.run("hfcn", "serve", deny=[{"argument": "serve"}]) == "h0f0c0n0"


def test_a_new_program_is_decided_anew(machine: Machine) -> None:
    """What started a program, and was denied by its command line, has no say in it."""
    program = shutil.copy(compile_program(SOURCE, "asker", "-ldl"), machine.directory / "younger")
    assert machine.run("fsfcn", str(program), "serve", deny=[{"argument": "serve"}]) == "f0f1c1n1"


def test_a_decision_by_other_rules_is_not_taken_over(machine: Machine) -> None:
    """A shim that has another host image decides by its rules, though one with the first image has decided before."""
    other = machine.image(deny=[{"argument": "run"}]).rename(machine.directory / "other.image")
    same = machine.image(deny=[{"argument": "serve"}]).rename(machine.directory / "same.image")
    for image, expected in ((other, "f0c1n1"), (same, "f0c0n0")):
        assert machine.run("ftecn", str(image), "serve", deny=[{"argument": "serve"}]) == expected
