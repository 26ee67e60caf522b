"""What the started program's environment is: ours put back, its own left as it is, in order."""

import os
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path

import pytest
from support.compile import compile_library, compile_program
from test_exec_ways import SHIMS, Said, probe, records, start

from vgpu_harness.shims import shim_path

GIVE = r"""
/* give COUNT [NAME=VALUE]... -- PROBE: execve with these variables and COUNT more; $GIVEN says where the array is. */
#define _GNU_SOURCE
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

int main(int argc, char **argv) {
    int count = atoi(argv[1]), at = 0;
    char **given = calloc((size_t)(argc + count + 1), sizeof(char *));
    for (int i = 2; i < argc && strcmp(argv[i], "--") != 0; i++) {
        given[at++] = argv[i];
    }
    while (count-- > 0) {
        char *name = malloc(32);
        sprintf(name, "MORE%d=%d", count, count);
        given[at++] = name;
    }
    char *words[] = {"probe", NULL}, number[32];
    sprintf(number, "GIVEN=%p", (void *)given);
    putenv(number);
    execve(argv[argc - 1], words, given);
    perror("execve");
    return 98;
}
"""
BEHIND = r"""
/* A library that stands behind the shim: says whether the array that it is handed is the one that was given. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

int execve(const char *path, char *const argv[], char *const envp[]) {
    char number[32];
    const char *given = getenv("GIVEN");
    snprintf(number, sizeof(number), "%p", (void *)envp);
    int same = 1;
    for (int i = 0; given != NULL && (given[i] != '\0' || number[i] != '\0') && same; i++) {
        same = given[i] == number[i];
    }
    if (given != NULL) {
        dprintf(1, "OWN_ARRAY=%s\n", same ? "same" : "another");
    }
    int (*real)(const char *, char *const[], char *const[]) = (int (*)(const char *, char *const[], char *const[]))
        dlsym(RTLD_NEXT, "execve");
    return real(path, argv, envp);
}
"""


class Machine:
    """Runs GIVE on one simulated host; `run` is its first run's environment."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.count = 0

    def give(
        self, *variables: str, count: int = 0, env: dict[str, str] | None = None, folders: Sequence[Path] = ()
    ) -> Said:
        """What the probe says of an environment of `variables`; `self.run` is the run."""
        self.count += 1
        self.run = start(
            self.directory / str(self.count), compile_program(GIVE, "give"), str(count), *variables, "--", probe(),
            env=env, library_path=folders,
        )  # fmt: skip
        assert self.run.returncode == 0, self.run.explain()
        return Said(self.run.stdout)

    @property
    def preload(self) -> str:
        """LD_PRELOAD of the run."""
        return self.run.environment["LD_PRELOAD"]

    @property
    def changes(self) -> int:
        """How many variables the shim says that it changed or added."""
        (record,) = records(self.run)
        return record.inputs[0]


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    """Runs in folders of this test."""
    return Machine(tmp_path)


@pytest.fixture
def own(tmp_path: Path) -> tuple[str, str]:
    """Two libraries of the program's own."""

    def library(name: str) -> str:
        source = f"int own_{name}(void);\nint own_{name}(void) {{ return 1; }}\n"
        return str(shutil.copy(compile_library(source, f"lib{name}.so"), tmp_path))

    return library("first"), library("second")


class TestLists:
    def test_ours_come_first_then_the_childs_own(self, machine: Machine, own: tuple[str, str]) -> None:
        """The child's own entries keep their order and their separators; all of ours stand before them."""
        said = machine.give(f"LD_PRELOAD={own[1]} {own[0]}")
        assert said.environment["LD_PRELOAD"] == f"{machine.preload}:{own[1]} {own[0]}"
        assert said.mapped == SHIMS
        assert machine.changes == 4

    def test_each_library_is_there_once(self, machine: Machine, own: tuple[str, str]) -> None:
        """Of ours only those are added that the child lacks, in our order; what it has stays where it has it."""
        cuda, nvml = shim_path("cuda"), shim_path("nvml")
        said = machine.give(f"LD_PRELOAD={own[0]}:{nvml} {cuda}")
        first = f"{shim_path('exec')}:{shim_path('syscall')}"
        assert said.environment["LD_PRELOAD"] == f"{first}:{own[0]}:{nvml} {cuda}"
        assert said.mapped == SHIMS

    def test_a_library_that_was_preloaded_twice_is_put_back_once(self, machine: Machine, own: tuple[str, str]) -> None:
        """A user's own entry of the start is kept too, and its repetition is not."""
        said = machine.give(env={"LD_PRELOAD": f"{own[0]}:{own[0]}"})
        assert machine.preload.count(own[0]) == 2
        assert said.environment["LD_PRELOAD"] == machine.preload.removesuffix(f":{own[0]}")

    def test_of_several_the_one_that_counts_is_completed(self, machine: Machine, own: tuple[str, str]) -> None:
        """ld.so takes the last LD_PRELOAD and all LD_AUDIT: the shims stand in the last one, and no auditor twice."""
        audit = shim_path("audit")
        said = machine.give(f"LD_PRELOAD={own[0]}", f"LD_PRELOAD={own[1]}", "LD_AUDIT=", f"LD_AUDIT={audit}")
        assert [text for text in said.variables if text.startswith("LD_PRELOAD=")] == [
            f"LD_PRELOAD={own[0]}", f"LD_PRELOAD={machine.preload}:{own[1]}",
        ]  # fmt: skip
        assert [text for text in said.variables if text.startswith("LD_AUDIT=")] == ["LD_AUDIT=", f"LD_AUDIT={audit}"]
        assert said.mapped == SHIMS
        assert machine.changes == 3

    def test_an_auditor_of_its_own_comes_behind_ours(self, machine: Machine, own: tuple[str, str]) -> None:
        """LD_AUDIT is a list of its own, split at colons only."""
        said = machine.give(f"LD_AUDIT={own[0]}")
        assert said.environment["LD_AUDIT"] == f"{shim_path('audit')}:{own[0]}"

    def test_names_that_only_start_alike_are_other_variables(self, machine: Machine) -> None:
        """LD_PRELOADS, VGPU_HOSTS and one without a value are handed on, and stand for nothing."""
        said = machine.give("LD_PRELOADS=x", "VGPU_HOSTS=y", "OWN", "LD_PRELOA=z")
        assert said.variables[:4] == ["LD_PRELOADS=x", "VGPU_HOSTS=y", "OWN", "LD_PRELOA=z"]
        assert said.mapped == SHIMS


class TestLinkFolders:
    @pytest.fixture
    def folders(self, tmp_path: Path) -> list[Path]:
        """Four folders; in the second lies a libcuda.so.1, in the fourth a link that leads nowhere."""
        made = [tmp_path / name for name in ("plain", "cuda", "other", "nvml")]
        for folder in made:
            folder.mkdir()
        shutil.copy(shim_path("cuda"), made[1] / "libcuda.so.1")
        (made[3] / "libnvidia-ml.so.1").symlink_to("/nowhere")
        return made

    def test_are_put_back_and_nothing_else(self, machine: Machine, folders: list[Path]) -> None:
        """Of LD_LIBRARY_PATH only the folders with a library of the driver are handed on."""
        said = machine.give(folders=folders)
        assert said.environment["LD_LIBRARY_PATH"] == f"{folders[1]}:{folders[3]}"
        assert machine.changes == 5

    def test_come_behind_the_childs_own(self, machine: Machine, folders: list[Path]) -> None:
        """The child's folders are searched first, each of ours is there once, and an empty entry stays one."""
        said = machine.give(f"LD_LIBRARY_PATH={folders[0]};{folders[3]}:", folders=folders)
        assert said.environment["LD_LIBRARY_PATH"] == f"{folders[0]};{folders[3]}::{folders[1]}"

    def test_of_a_run_without_any_nothing_is_put_back(self, machine: Machine, folders: list[Path]) -> None:
        """Folders without such a library are the program's business."""
        said = machine.give(folders=[folders[0], folders[2]])
        assert "LD_LIBRARY_PATH" not in said.environment


class TestWhatTheChildHas:
    def test_another_host_is_kept(self, machine: Machine) -> None:
        """A VGPU_HOST or VGPU_TRACE that the parent gives its child on purpose stays, even an empty one."""
        said = machine.give("VGPU_HOST=/elsewhere", "VGPU_TRACE=")
        assert said.environment["VGPU_HOST"] == "/elsewhere"
        assert said.environment["VGPU_TRACE"] == ""
        assert machine.changes == 2

    @pytest.mark.parametrize("complete", [True, False])
    def test_a_complete_environment_is_the_same_array(self, complete: bool, machine: Machine) -> None:
        """Nothing is copied where nothing lacks: a library behind the shim is handed the program's own array."""
        behind = compile_library(BEHIND, "libbehind.so")
        machine.give()
        whole = [f"{name}={machine.run.environment[name]}" for name in ("LD_AUDIT", "VGPU_HOST")]
        given = [f"LD_PRELOAD={machine.preload}:{behind}", *whole, "VGPU_TRACE=/elsewhere"]
        said = machine.give(*(given if complete else given[1:]), env={"LD_PRELOAD": str(behind)})
        assert said.variables[0] == f"OWN_ARRAY={'same' if complete else 'another'}"
        assert machine.changes == (0 if complete else 1)

    def test_its_own_variables_keep_their_order(self, machine: Machine) -> None:
        """What is added stands behind, in a fixed order."""
        said = machine.give("OWN2=b", "VGPU_TRACE=x", "OWN1=a")
        assert [text.split("=")[0] for text in said.variables] == [
            "OWN2", "VGPU_TRACE", "OWN1", "LD_PRELOAD", "LD_AUDIT", "VGPU_HOST",
        ]  # fmt: skip

    @pytest.mark.parametrize("count", [200, 10_000])
    def test_a_big_environment_is_whole(self, count: int, machine: Machine) -> None:
        """Ten thousand variables arrive, ours with them: too many for the stack, they are in mapped memory."""
        said = machine.give("OWN=1", count=count)
        assert said.mapped == SHIMS
        assert said.environment["OWN"] == "1"


TITLE = r"""
/* title PROBE MODE: overwrites the memory of its environment, as setproctitle does, then starts PROBE. "whole": all of
 * it, with `environ` copied away before; "xlost": without; "half": as far as VGPU_HOST; "front": without, but only
 * the first variable; "late": without, but after an exec. */
#define _GNU_SOURCE
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

extern char **environ;

int main(int argc, char **argv) {
    (void)argc;
    char *none[] = {NULL}, *words[] = {"probe", NULL};
    char *start = environ[0], *end = start, *host = getenv("VGPU_HOST");
    int count = 0;
    if (strcmp(argv[2], "late") == 0) {
        execve("/nowhere", words, none);
    }
    while (environ[count] != NULL) {
        end = environ[count] + strlen(environ[count]) + 1;
        count++;
    }
    char **copy = calloc((size_t)count + 1, sizeof(char *));
    for (int i = 0; i < count; i++) {
        copy[i] = strdup(environ[i]);
    }
    if (strcmp(argv[2], "half") == 0) {
        end = host;
    }
    if (strcmp(argv[2], "front") == 0) {
        end = environ[1];
    }
    memset(start, 0, (size_t)(end - start));
    memcpy(start, "title", 5);
    environ = argv[2][0] == 'w' || argv[2][0] == 'h' ? copy : none;
    execve(argv[1], words, none);
    return 98;
}
"""


@pytest.mark.parametrize(
    ("mode", "kept"), [("whole", True), ("half", True), ("front", True), ("late", True), ("xlost", False)]
)
def test_a_program_that_writes_its_title_over_its_environment(mode: str, kept: bool, tmp_path: Path) -> None:
    """What is overwritten is taken from `environ`, or was read before; with neither (the control) it is lost."""
    run = start(tmp_path / "run", compile_program(TITLE, "title"), probe(), mode)
    assert run.returncode == 0, run.explain()
    assert Said(run.stdout).mapped == (SHIMS if kept else [])


GIVES_UP = r"""
/* gives-up PROBE: its first call comes without `environ`, and while /proc/self/environ belongs to somebody else, as
 * after setuid. Its name is made to look like the rest of its line in /proc/self/stat. */
#define _GNU_SOURCE
#include <fcntl.h>
#include <sys/prctl.h>
#include <unistd.h>

extern char **environ;

int main(int argc, char **argv) {
    (void)argc;
    char *none[] = {NULL}, *words[] = {"probe", NULL};
    int privileged = geteuid() == 0;
    environ = none;
    prctl(PR_SET_NAME, "a) S 1 2 (b", 0, 0, 0);
    prctl(PR_SET_DUMPABLE, 0, 0, 0, 0);
    if ((privileged && seteuid(65534) != 0) || open("/proc/self/environ", O_RDONLY) >= 0) {
        return 97;
    }
    execve("/nowhere", words, none);
    if (privileged && seteuid(0) != 0) {
        return 96;
    }
    execve(argv[1], words, none);
    return 98;
}
"""


def test_a_program_that_gave_its_privileges_up(tmp_path: Path) -> None:
    """Such a process may not open its own environment in /proc; what it started with is kept all the same."""
    run = start(tmp_path / "run", compile_program(GIVES_UP, "gives-up"), probe())
    assert run.returncode == 0, run.explain()
    assert Said(run.stdout).mapped == SHIMS


def test_the_start_is_read_by_whoever_comes_first(tmp_path: Path) -> None:
    """Eight threads that fork and exec at once, with emptied environments, all keep the shims."""
    source = r"""
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

static char *program;
static pthread_barrier_t barrier;

static void *start(void *argument) {
    char *none[] = {NULL}, *words[] = {"probe", NULL};
    pthread_barrier_wait(&barrier);
    for (int i = 0; i < 5; i++) {
        int status = -1;
        pid_t pid = argument == NULL ? fork() : vfork();
        if (pid == 0) {
            execve(program, words, none);
            _exit(1);
        }
        waitpid(pid, &status, 0);
        if (status != 0) {
            exit(1);
        }
    }
    return NULL;
}

int main(int argc, char **argv) {
    pthread_t threads[8];
    program = argv[argc - 1];
    pthread_barrier_init(&barrier, NULL, 8);
    for (int i = 0; i < 8; i++) {
        pthread_create(&threads[i], NULL, start, i % 2 == 0 ? NULL : program);
    }
    for (int i = 0; i < 8; i++) {
        pthread_join(threads[i], NULL);
    }
    return 0;
}
"""
    run = start(tmp_path / "run", compile_program(source, "threads", "-pthread"), probe())
    assert (run.returncode, run.stderr) == (0, ""), run.explain()
    assert run.stdout.count("mapped libvgpu-cuda.so") == 40


def test_a_library_that_is_opened_late_finds_libc(tmp_path: Path) -> None:
    """Not preloaded but opened, where no library stands behind it, the shim calls the real function all the same."""
    source = r"""
#include <dlfcn.h>
#include <stddef.h>

int main(int argc, char **argv) {
    void *library = dlopen(argv[1], RTLD_NOW);
    int (*start)(const char *, char *const[], char *const[]) = NULL;
    *(void **)&start = library != NULL ? dlsym(library, "execve") : NULL;
    return start != NULL ? start(argv[argc - 1], argv + argc - 1, NULL) : 97;
}
"""
    program = compile_program(source, "late")
    done = subprocess.run(
        [program, shim_path("exec"), probe()],
        env={"PATH": os.environ["PATH"]},
        capture_output=True,
        timeout=20,
        check=False,
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, b"", b"")
