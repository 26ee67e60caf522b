"""Which programs get the virtual GPU: by name in real processes, and the same facts asked as a pure function."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from support.compile import compile_program

SOURCE = r"""
/* Prints what the driver, NVML and a file of the driver's answer; its threads may take names of their own. */
#include <dlfcn.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>

static int code_of(const char *library, const char *function, int with_flags) {
    void *handle = dlopen(library, RTLD_NOW);
    void *symbol = handle == NULL ? NULL : dlsym(handle, function);
    if (symbol == NULL) {
        return -1;
    }
    int (*init)(unsigned) = (int (*)(unsigned))symbol;
    int (*plain)(void) = (int (*)(void))symbol;
    return with_flags ? init(0) : plain();
}

static void *ask(void *own_name) {
    char comm[16] = "";
    if (own_name != NULL) {
        prctl(PR_SET_NAME, own_name);
    }
    prctl(PR_GET_NAME, comm);
    int file = open("/proc/driver/nvidia/version", O_RDONLY);
    printf("%s %d %d %s\n", comm, code_of("libcuda.so.1", "cuInit", 1), code_of("libnvidia-ml.so.1", "nvmlInit_v2", 0),
           file >= 0 ? "file" : "nothing");
    return NULL;
}

int main(int argc, char **argv) {
    if (argc == 3 && strcmp(argv[1], "thread") == 0) {
        pthread_t thread;
        pthread_create(&thread, NULL, ask, argv[2]);
        pthread_join(thread, NULL);
    } else {
        ask(argc == 3 ? argv[2] : NULL);
    }
    return 0;
}
"""

COMM_SIZE = 15
ADMITTED = ("ollama", "ollama_llama_server", "llama-server", "python3.11", "nvtop")
DENIED = ("sshd", "sshd-session", "systemd", "systemd-udevd", "lspci", "bash")
READY = "0 0 file"
NOT_AN_APPLICATION = "3 1 file" if Path("/proc/driver/nvidia/version").exists() else "3 1 nothing"
"""CUDA_ERROR_NOT_INITIALIZED, NVML_ERROR_UNINITIALIZED, and the real machine, with or without an NVIDIA driver."""


@pytest.fixture
def program() -> Path:
    """The program above; its copies are the programs of the tests."""
    return compile_program(SOURCE, "gate", "-pthread", "-ldl")


@pytest.fixture
def answer(vgpu_run: Callable[..., Any]) -> Callable[..., str]:
    """Runs a program as it is, without the admission that ``run`` gives to the program that it is asked to run."""

    def asked(*argv: str | Path) -> str:
        run = vgpu_run([str(word) for word in argv], admit=False)
        assert (run.returncode, run.stderr) == (0, "")
        return str(run.stdout).strip()

    return asked


@pytest.mark.parametrize("name", ADMITTED)
def test_an_application_gets_the_gpu(name: str, program: Path, copy_as: Any, answer: Any) -> None:
    """A program that the policy does not deny has driver, NVML and files, however long its name is."""
    assert answer(copy_as(program, name)) == f"{name[:COMM_SIZE]} {READY}"


@pytest.mark.parametrize("name", DENIED)
def test_a_denied_program_sees_no_gpu(name: str, program: Path, copy_as: Any, answer: Any) -> None:
    """A program of the deny list gets the codes of an uninitialised driver and the real files."""
    assert answer(copy_as(program, name)) == f"{name[:COMM_SIZE]} {NOT_AN_APPLICATION}"


@pytest.mark.parametrize(
    ("name", "expected"), [("ollama", READY), ("ollama_llama_server", READY), ("sshd", NOT_AN_APPLICATION)]
)
@pytest.mark.parametrize("where", ["thread", "main"])
@pytest.mark.parametrize("own_name", ["ollama", "sshd", "runtime/worker0"])
def test_the_name_of_a_thread_is_irrelevant(
    name: str, expected: str, where: str, own_name: str, program: Path, copy_as: Any, answer: Any
) -> None:
    """Whatever name a thread gives itself, as Go's and Java's do, the program decides."""
    assert answer(copy_as(program, name), where, own_name) == f"{own_name} {expected}"


def test_a_renamed_program_is_what_its_file_is_called(program: Path, copy_as: Any, answer: Any) -> None:
    """A rename admits a denied program and denies an admitted one."""
    sshd = copy_as(program, "sshd")
    assert answer(sshd).endswith(NOT_AN_APPLICATION)
    ollama = sshd.rename(sshd.with_name("ollama"))
    assert answer(ollama).endswith(READY)
    assert answer(ollama.rename(sshd)).endswith(NOT_AN_APPLICATION)


def test_a_symbolic_link_is_the_program_behind_it(program: Path, copy_as: Any, answer: Any) -> None:
    """A link's own name, which is also the comm, neither admits nor denies."""
    for real, link, expected in (("sshd", "ollama", NOT_AN_APPLICATION), ("ollama", "sshd", READY)):
        target = copy_as(program, real)
        place = target.parent / "links"
        place.mkdir(exist_ok=True)
        (place / link).symlink_to(target)
        assert answer(place / link) == f"{link} {expected}"


def test_a_hard_link_is_a_renamed_copy(program: Path, copy_as: Any, answer: Any) -> None:
    """A hard link is a file of its own name: that name decides."""
    ollama = copy_as(program, "ollama")
    ollama.with_name("lspci").hardlink_to(ollama)
    assert answer(ollama.with_name("lspci")) == f"lspci {NOT_AN_APPLICATION}"
    assert answer(ollama) == f"ollama {READY}"


@pytest.mark.vgpu(host={"gate": {"allow": ["sshd"], "deny": ["ollama*"]}})
def test_the_host_file_decides(program: Path, copy_as: Any, answer: Any) -> None:
    """A host's own lists replace the default: with allow and deny exchanged, so are the answers."""
    assert answer(copy_as(program, "sshd")).endswith(READY)
    assert answer(copy_as(program, "ollama_llama_server")).endswith(NOT_AN_APPLICATION)
    assert answer(copy_as(program, "bash")).endswith(READY)


@pytest.mark.parametrize("name", [*ADMITTED, *DENIED])
@pytest.mark.parametrize("comm", ["ollama", "sshd", None])
def test_the_same_facts_as_a_pure_function(name: str, comm: str | None, vgpu_gate: Any) -> None:
    """The facts of each process above, asked without a process, get the answer that the process got."""
    answer = vgpu_gate.ask(exe=name, comm=name[:COMM_SIZE] if comm is None else comm)
    assert answer.ready == ("ready" if name in ADMITTED else "not an application")


@pytest.mark.parametrize("name", [*ADMITTED, *DENIED])
def test_comm_stands_in_where_proc_is_not_mounted(name: str, vgpu_gate: Any) -> None:
    """Without /proc/self/exe the kernel's name of the process decides, and its cut at 15 bytes is allowed for."""
    answer = vgpu_gate.ask(exe="", comm=name[:COMM_SIZE])
    assert answer.ready == ("ready" if name in ADMITTED else "not an application")
    assert "deny" in answer.reason or name in ADMITTED


@pytest.mark.vgpu(host={"gate": {"deny": ["ollama_llama_server"]}})
def test_a_rule_longer_than_comm_matches_its_cut(vgpu_gate: Any) -> None:
    """The rule ollama_llama_server names the comm ollama_llama_se, and no shorter one."""
    assert vgpu_gate.ask(exe="", comm="ollama_llama_se").ready == "not an application"
    assert vgpu_gate.ask(exe="", comm="ollama_llama_s").ready == "ready"
    assert vgpu_gate.ask(exe="ollama_llama_se", comm="ollama_llama_se").ready == "ready"


@pytest.mark.vgpu(host={"gate": {"calls_before": 3}})
def test_too_early_comes_before_the_name(vgpu_gate: Any) -> None:
    """The first question is whether the process is far enough along; only then is its name looked at."""
    for exe, later in (("ollama", "ready"), ("sshd", "not an application")):
        answers = [vgpu_gate.ask(exe=exe, calls_before=n).ready for n in range(5)]
        assert answers == ["too early"] * 3 + [later] * 2
        assert vgpu_gate.ask(exe=exe, calls_before=9, libc_ready=False).ready == "too early"
    assert not vgpu_gate.is_safe_to_check_process(calls_before=2)
    assert vgpu_gate.is_safe_to_check_process(calls_before=3)


def test_raised_privileges_are_never_served(vgpu_gate: Any) -> None:
    """A set-user-ID program is refused, whatever it is called, and the reason says so."""
    answer = vgpu_gate.ask(exe="ollama", secure=True)
    assert (answer.ready, "AT_SECURE" in answer.reason) == ("not an application", True)
    assert vgpu_gate.is_application_process(exe="ollama")
    assert not vgpu_gate.is_application_process(exe="ollama", secure=True)
