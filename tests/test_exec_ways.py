"""Every way to start a program keeps the shims, whatever has become of the environment; without the shim none does."""

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from support.compile import compile_program

from vgpu_harness.host import Host
from vgpu_harness.run import Run
from vgpu_harness.run import run as run_program
from vgpu_harness.shims import shim_path
from vgpu_harness.trace import Kind, Library, Record

SMALL = 1 << 20
PROBE = r"""
/* Prints its arguments, the variables that matter to it, and the shims that are mapped. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

extern char **environ;

int main(int argc, char **argv) {
    static char line[4096], last[4096];
    FILE *maps = fopen("/proc/self/maps", "r");
    for (int i = 1; i < argc && i < 4; i++) {
        printf("argument %s\n", argv[i]);
    }
    for (char **at = environ; at != NULL && *at != NULL; at++) {
        if (strncmp(*at, "LD_", 3) == 0 || strncmp(*at, "VGPU_", 5) == 0 || strncmp(*at, "OWN", 3) == 0) {
            puts(*at);
        }
    }
    while (maps != NULL && fgets(line, sizeof(line), maps) != NULL) {
        char *name = strrchr(line, '/');
        if (name != NULL && strncmp(name, "/libvgpu-", 9) == 0 && strcmp(name, last) != 0) {
            printf("mapped %s", name + 1);
            strcpy(last, name);
        }
    }
    return 0;
}
"""
LAUNCH = r"""
/* launch PROBE WAY...: starts PROBE in each of the ways, in a child of its own whose environment is cleared. */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

extern char **environ;
typedef int spawner(pid_t *, const char *, const posix_spawn_file_actions_t *, const posix_spawnattr_t *,
                    char *const[], char *const[]);
spawner spawn_old, spawnp_old;
__asm__(".symver spawn_old, posix_spawn@GLIBC_2.2.5");
__asm__(".symver spawnp_old, posix_spawnp@GLIBC_2.2.5");
FILE *old_popen(const char *, const char *) __asm__("_IO_popen");

static char *argv[] = {"probe", "one", "two", NULL};
static char *none[] = {NULL};

static int is(const char *way, const char *name) {
    return strcmp(way, name) == 0;
}

static int wait_for(pid_t pid) {
    int status = -1;
    waitpid(pid, &status, 0);
    return WEXITSTATUS(status);
}

static int spawned(spawner *spawn, const char *file) {
    pid_t pid = 0;
    int error = spawn(&pid, file, NULL, NULL, argv, none);
    return error != 0 ? error : wait_for(pid);
}

static int piped(FILE *(*open_pipe)(const char *, const char *), const char *command) {
    char line[4096];
    FILE *stream = open_pipe(command, "r");
    while (stream != NULL && fgets(line, sizeof(line), stream) != NULL) {
        fputs(line, stdout);
    }
    fflush(stdout);
    return stream != NULL ? pclose(stream) : 98;
}

static int go(const char *way, const char *probe) {
    const char *name = strrchr(probe, '/') + 1;
    char folder[4096], command[5000];
    snprintf(folder, sizeof(folder), "%.*s", (int)(name - 1 - probe), probe);
    snprintf(command, sizeof(command), "%s one two", probe);
    pid_t pid;
    if (is(way, "execve")) execve(probe, argv, none);
    if (is(way, "execve-null")) execve(probe, argv, NULL);
    if (is(way, "raw")) syscall(SYS_execve, probe, argv, none);
    if (is(way, "execvpe")) { setenv("PATH", folder, 1); execvpe(name, argv, none); }
    if (is(way, "fexecve")) fexecve(open(probe, O_RDONLY | O_CLOEXEC), argv, none);
    if (is(way, "fexecve-path")) fexecve(open(probe, O_PATH | O_CLOEXEC), argv, none);
    if (is(way, "execveat")) execveat(open(folder, O_PATH | O_CLOEXEC), name, argv, none, 0);
    if (is(way, "execveat-empty")) execveat(open(probe, O_PATH | O_CLOEXEC), "", argv, none, AT_EMPTY_PATH);
    if (is(way, "execle")) execle(probe, "probe", "one", "two", NULL, none);
    if (is(way, "posix_spawn")) return spawned(posix_spawn, probe);
    if (is(way, "posix_spawn-old")) return spawned(spawn_old, probe);
    if (is(way, "posix_spawnp")) { setenv("PATH", folder, 1); return spawned(posix_spawnp, name); }
    if (is(way, "posix_spawnp-old")) { setenv("PATH", folder, 1); return spawned(spawnp_old, name); }
    if (is(way, "vfork")) {
        if ((pid = vfork()) == 0) { execve(probe, argv, none); _exit(99); }
        return wait_for(pid);
    }
    clearenv();
    if (is(way, "execv")) execv(probe, argv);
    if (is(way, "execl")) execl(probe, "probe", "one", "two", NULL);
    if (is(way, "system")) return system(command);
    if (is(way, "popen")) return piped(popen, command);
    if (is(way, "_IO_popen")) return piped(old_popen, command);
    environ = NULL;
    if (is(way, "execv-null")) execv(probe, argv);
    setenv("PATH", folder, 1);
    if (is(way, "execvp")) execvp(name, argv);
    if (is(way, "execlp")) execlp(name, "probe", "one", "two", NULL);
    return 97;
}

int main(int argc, char **argv_) {
    for (int i = 2; i < argc; i++) {
        printf("== %s\n", argv_[i]);
        fflush(stdout);
        pid_t pid = fork();
        if (pid == 0) {
            _exit(go(argv_[i], argv_[1]));
        }
        printf("status %d\n", wait_for(pid));
    }
    return 0;
}
"""
WAYS = {
    "execve": "execve", "execve-null": "execve", "execvpe": "execvpe", "fexecve": "fexecve", "fexecve-path": "fexecve",
    "execveat": "execveat", "execveat-empty": "execveat", "execle": "execle", "posix_spawn": "posix_spawn",
    "posix_spawn-old": "posix_spawn", "posix_spawnp": "posix_spawnp", "posix_spawnp-old": "posix_spawnp",
    "vfork": None, "execv": "execv", "execl": "execl", "system": "system", "popen": "popen", "_IO_popen": "_IO_popen",
    "execv-null": "execv", "execvp": "execvp", "execlp": "execlp",
}  # fmt: skip
"""The ways of LAUNCH, each with the function that its record names; a vfork child that is the first leaves none."""
SHIMS = ["libvgpu-audit.so", "libvgpu-cuda.so", "libvgpu-exec.so", "libvgpu-nvml.so", "libvgpu-syscall.so"]


class Said:
    """What a probe printed."""

    def __init__(self, text: str) -> None:
        lines = text.splitlines()
        self.arguments = [line.removeprefix("argument ") for line in lines if line.startswith("argument ")]
        self.mapped = sorted(line.removeprefix("mapped ") for line in lines if line.startswith("mapped "))
        self.variables = [line for line in lines if line.startswith(("LD_", "VGPU_", "OWN"))]
        self.environment = {line.partition("=")[0]: line.partition("=")[2] for line in reversed(self.variables)}
        self.status = next((int(line.split()[1]) for line in lines if line.startswith("status ")), None)


def probe(name: str = "probe") -> Path:
    """The program that says what it sees."""
    return compile_program(PROBE, name)


def host(*, with_exec: bool = True) -> Host:
    """The default host, or one that lacks the exec shim alone."""
    preload = ("exec", "syscall", "cuda", "nvml") if with_exec else ("syscall", "cuda", "nvml")
    return Host.model_validate({"delivery": {"preload": preload, "library_path": []}})


def start(directory: Path, *argv: Any, with_exec: bool = True, **more: Any) -> Run:
    """A run in `directory`."""
    options: dict[str, Any] = {"host": host(with_exec=with_exec), "trace_size": SMALL, "timeout": 60.0, **more}
    return run_program([str(word) for word in argv], directory=directory, **options)


def records(run: Run, kind: Kind = Kind.ENTERED) -> list[Record]:
    """What the exec shim has written of calls."""
    return [record for record in run.trace if record.library == Library.EXEC and record.kind == kind]


@pytest.fixture(scope="module")
def launched(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., tuple[Run, dict[str, Said]]]:
    """All the ways, once with the exec shim and once without: the run, and what the probe said in each way."""
    done: dict[bool, tuple[Run, dict[str, Said]]] = {}

    def launch(*, with_exec: bool) -> tuple[Run, dict[str, Said]]:
        if with_exec not in done:
            run = start(
                tmp_path_factory.mktemp("ways") / "run", compile_program(LAUNCH, "launch"), probe(), *WAYS, "raw",
                with_exec=with_exec,
            )  # fmt: skip
            assert (run.returncode, run.stderr) == (0, ""), run.explain()
            parts = run.stdout.split("== ")[1:]
            done[with_exec] = run, {part.split("\n", 1)[0]: Said(part) for part in parts}
        return done[with_exec]

    return launch


class TestWays:
    @pytest.mark.parametrize("way", WAYS)
    def test_keeps_the_shims(self, way: str, launched: Any) -> None:
        """The program that was started has all four shims mapped, and the auditor, the host and the trace named."""
        run, said = launched(with_exec=True)
        assert said[way].arguments == ["one", "two"]
        assert said[way].mapped == SHIMS
        assert said[way].status == 0
        for name in ("LD_PRELOAD", "LD_AUDIT", "VGPU_HOST", "VGPU_TRACE"):
            assert said[way].environment[name] == run.environment[name]

    @pytest.mark.parametrize("way", WAYS)
    def test_loses_them_without_the_shim(self, way: str, launched: Any) -> None:
        """The same, with the exec shim alone taken from the list: nothing is mapped, and no variable is there."""
        _, said = launched(with_exec=False)
        assert said[way].arguments == ["one", "two"]
        assert (said[way].mapped, said[way].variables) == ([], [])

    def test_a_raw_system_call_is_not_kept(self, launched: Any) -> None:
        """What Go does to start a program passes every shim by; this is not claimed."""
        assert launched(with_exec=True)[1]["raw"].mapped == []
        assert launched(with_exec=True)[1]["raw"].arguments == ["one", "two"]

    @pytest.mark.parametrize("way", [way for way, name in WAYS.items() if name])
    def test_is_recorded(self, way: str, launched: Any) -> None:
        """One record before each call: the function, the program's path, how many variables were put back, served."""
        run, _ = launched(with_exec=True)
        found = [r for r in records(run) if r.name == WAYS[way]]
        same = [other for other, name in WAYS.items() if name == WAYS[way]]
        assert len(found) == len(same)
        record = found[same.index(way)]
        shell = way in {"system", "popen", "_IO_popen"}
        assert record.text == (f"{probe()} one two" if shell else str(probe()))
        assert record.inputs == (4, 0)

    def test_leaves_no_record_of_success(self, launched: Any) -> None:
        """A CALL record of the exec shim is a failure, and nothing has failed here."""
        assert records(launched(with_exec=True)[0], Kind.CALL) == []


def chain(directory: Path, *argv: Any, with_exec: bool = True) -> Said:
    """What the probe says at the end of a command line of other people's programs."""
    run = start(directory, *argv, with_exec=with_exec)
    assert (run.returncode, run.stderr) == (0, ""), run.explain()
    return Said(run.stdout)


@pytest.mark.parametrize(
    "command",
    [
        ["env", "-i"],
        ["env", "-u", "LD_PRELOAD", "-u", "VGPU_HOST", "-u", "VGPU_TRACE"],
        ["bash", "-c", 'unset LD_PRELOAD; exec -c "$@"', "bash"],
        ["env", "-i", "/usr/bin/env", "-i", "/bin/sh", "-c", 'unset LD_PRELOAD; "$@"', "sh"],
    ],
    ids=["env -i", "env -u", "exec -c", "chain of three"],
)  # fmt: skip
class TestOthersPrograms:
    def test_keep_the_shims(self, command: list[str], tmp_path: Path) -> None:
        """Shells and env, which the process gate denies the GPU, still hand the variables on."""
        said = chain(tmp_path / "run", *command, probe())
        assert said.mapped == SHIMS
        assert "VGPU_TRACE" in said.environment

    def test_lose_them_without_the_shim(self, command: list[str], tmp_path: Path) -> None:
        """The control: nothing is left."""
        assert chain(tmp_path / "run", *command, probe(), with_exec=False).mapped == []


@pytest.mark.parametrize(
    "preload", [("exec",), ("nvml", "exec"), ("cuda", "syscall", "exec"), ("syscall", "exec", "cuda", "nvml")]
)
def test_any_list_with_the_shim_is_kept(preload: tuple[str, ...], tmp_path: Path) -> None:
    """Wherever it stands, and whatever is beside it, the list arrives as it was."""
    described = Host.model_validate({"delivery": {"preload": preload, "library_path": []}})
    run = start(tmp_path / "run", "env", "-i", probe(), host=described, audit=False)
    said = Said(run.stdout)
    assert said.environment["LD_PRELOAD"] == run.environment["LD_PRELOAD"]
    assert said.mapped == sorted(f"libvgpu-{name}.so" for name in preload)
    assert "LD_AUDIT" not in said.environment


PYTHON = """
import subprocess, sys, os
subprocess.run([sys.argv[1]], env={}, check=True)
subprocess.run([sys.argv[1]], env={}, check=True, preexec_fn=lambda: None)
os.waitpid(os.posix_spawn(sys.argv[1], [sys.argv[1]], {}), 0)
os.waitpid(os.posix_spawn(sys.argv[1], [sys.argv[1]], {}, file_actions=[(os.POSIX_SPAWN_CLOSE, 0)]), 0)
"""


@pytest.mark.parametrize("with_exec", [True, False])
def test_python_starts_programs_with_an_empty_environment(with_exec: bool, tmp_path: Path) -> None:
    """subprocess by vfork and by fork, and os.posix_spawn with and without file actions, all with env={}."""
    run = start(tmp_path / "run", sys.executable, "-I", "-S", "-c", PYTHON, probe(), with_exec=with_exec)
    assert (run.returncode, run.stderr) == (0, ""), run.explain()
    assert run.stdout.count("mapped libvgpu-cuda.so") == (4 if with_exec else 0)


def test_without_a_host_image_the_shim_does_nothing(tmp_path: Path) -> None:
    """Preloaded where VGPU_HOST is not set, it adds nothing to an empty environment, and starts every program."""
    launch = compile_program(LAUNCH, "launch")
    done = subprocess.run(
        [launch, probe(), *WAYS], env={"LD_PRELOAD": str(shim_path("exec")), "VGPU_TRACE": str(tmp_path / "none")},
        capture_output=True, text=True, timeout=60, check=True,
    )  # fmt: skip
    for way, part in zip(WAYS, done.stdout.split("== ")[1:], strict=True):
        said = Said(part)
        assert (way, said.arguments, said.variables, said.mapped) == (way, ["one", "two"], [], [])
    assert done.stderr == ""
