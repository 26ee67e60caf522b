"""Which programs are served and which are left alone, and what a call answers that fails."""

import errno
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from support.compile import compile_program
from test_exec_ways import PROBE, SHIMS, Said, probe, records, start

from vgpu_harness.run import Run
from vgpu_harness.shims.elf import read_elf
from vgpu_harness.trace import Kind

SERVED, SECURE, STATIC, FOREIGN, UNKNOWN = range(5)
ATTEMPT = r"""
/* attempt WAY PROGRAM: starts it with an empty environment, after errno was set to 77; says how that failed. */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

extern char **environ;
int spawnp_old(pid_t *, const char *, const posix_spawn_file_actions_t *, const posix_spawnattr_t *, char *const[],
               char *const[]);
__asm__(".symver spawnp_old, posix_spawnp@GLIBC_2.2.5");

int main(int argc, char **argv) {
    char *none[] = {NULL}, *words[] = {"program", "one", NULL}, *program = argv[2];
    const char *way = argv[1];
    int status = -1, error = -1;
    pid_t pid = 0;
    (void)argc;
    program = strcmp(program, "<bad pointer>") == 0 ? (char *)8 : program;
    errno = 77;
    if (strcmp(way, "execve") == 0) {
        error = execve(program, words, none) == -1 ? errno : -2;
    } else if (strcmp(way, "execveat-link") == 0) {
        error = execveat(AT_FDCWD, program, words, none, AT_SYMLINK_NOFOLLOW) == -1 ? errno : -2;
    } else if (strcmp(way, "fexecve") == 0) {
        error = fexecve(atoi(program), words, none) == -1 ? errno : -2;
    } else if (strcmp(way, "execvp") == 0) {
        error = execvpe(program, words, none) == -1 ? errno : -2;
    } else {
        int (*spawn)(pid_t *, const char *, const posix_spawn_file_actions_t *, const posix_spawnattr_t *,
                     char *const[], char *const[]) = strcmp(way, "old") == 0 ? spawnp_old : posix_spawnp;
        error = spawn(&pid, program, NULL, NULL, words, none);
        int left = errno;
        if (error == 0) {
            waitpid(pid, &status, 0);
            printf("status %d\n", WEXITSTATUS(status));
        }
        printf("left %d\n", left);
    }
    printf("error %d\n", error);
    return 0;
}
"""

Attempt = Callable[..., tuple[Run, Said]]


@pytest.fixture
def attempt(tmp_path: Path) -> Attempt:
    """Runs ATTEMPT: the run, and what the probe said, if it came so far."""

    def tried(way: str, program: object, **env: str) -> tuple[Run, Said]:
        run = start(tmp_path / "run", compile_program(ATTEMPT, "attempt"), way, program, env=env)
        assert (run.returncode, run.timed_out) == (0, False), run.explain()
        return run, Said(run.stdout)

    return tried


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    """A copy of the probe, to be changed."""
    target = tmp_path / "copy"
    target.write_bytes(probe().read_bytes())
    target.chmod(0o755)
    return target


def script(path: Path, first_line: str, rest: str = "") -> Path:
    """An executable script."""
    path.write_text(f"{first_line}\n{rest}")
    path.chmod(0o755)
    return path


def verdict(run: Run) -> tuple[int, ...]:
    """What the shim has recorded of the program's one call: changed variables, kind of program started."""
    return next(record.inputs for record in records(run) if record.pid == run.pid)


def plain(way: str, program: str) -> str:
    """What ATTEMPT says without any shim."""
    words = [str(compile_program(ATTEMPT, "attempt")), way, program]
    return subprocess.run(words, env={}, capture_output=True, text=True, timeout=20, check=True).stdout


def add_capability(path: Path) -> None:
    """Gives a file CAP_NET_RAW in its permitted set: struct vfs_cap_data of linux/capability.h, revision 2."""
    value = (0x02000000).to_bytes(4, "little") + (1 << 13).to_bytes(4, "little") + bytes(12)
    code = f"import os; os.setxattr({str(path)!r}, 'security.capability', {value!r})"
    # An ordinary user may do so in a user namespace of his own.
    namespace = [] if os.geteuid() == 0 else ["unshare", "-r"]
    subprocess.run([*namespace, sys.executable, "-I", "-c", code], check=True, timeout=30)


class TestLeftAlone:
    @pytest.mark.parametrize(
        ("mode", "kind"),
        [(0o4755, SECURE), (0o2755, SECURE), (0o6755, SECURE), (0o2745, SERVED), (0o1755, SERVED), (0o755, SERVED)],
    )
    def test_set_id_programs(self, mode: int, kind: int, attempt: Attempt, copy: Path) -> None:
        """A program with a set-ID bit gets the environment as given; set-group-ID counts with group execution only."""
        copy.chmod(mode)
        run, said = attempt("execve", copy)
        assert verdict(run) == (0 if kind == SECURE else 4, kind)
        assert said.arguments == ["one"]
        assert said.mapped == ([] if kind == SECURE else SHIMS)
        assert (said.variables == []) == (kind == SECURE)

    def test_a_program_with_capabilities(self, attempt: Attempt, copy: Path) -> None:
        """ld.so takes the variables out of it, as out of a set-user-ID program."""
        add_capability(copy)
        run, said = attempt("execve", copy)
        assert (verdict(run), said.variables, said.arguments) == ((0, SECURE), [], ["one"])

    @pytest.mark.parametrize("flags", [("-static",), ("-static-pie",)])
    def test_static_programs(self, flags: tuple[str, ...], attempt: Attempt) -> None:
        """No dynamic linker runs there, so its environment stays as it was given."""
        run, said = attempt("execve", compile_program(PROBE, "static", *flags))
        assert (verdict(run), said.variables, said.arguments) == ((0, STATIC), [], ["one"])

    @pytest.mark.parametrize(
        ("bits", "machine"), [(1, 3), (2, 183), (1, 40)], ids=["32-bit x86", "AArch64", "32-bit ARM"]
    )
    def test_programs_of_another_architecture(self, bits: int, machine: int, attempt: Attempt, copy: Path) -> None:
        """The kernel says ENOEXEC of a 64-bit x86 file with such a header, and that is what the caller hears."""
        with copy.open("r+b") as file:
            for offset, value in ((4, bits), (18, machine)):
                file.seek(offset)
                file.write(bytes([value]))
        run, _ = attempt("execve", copy)
        assert verdict(run) == (0, FOREIGN)
        assert [r.result for r in records(run, Kind.CALL)] == [errno.ENOEXEC]
        assert run.stdout == f"error {errno.ENOEXEC}\n"

    def test_the_dynamic_linker_as_a_program_is_served(self, tmp_path: Path) -> None:
        """It has no dynamic linker of its own, and runs the program that it is told to with what is preloaded."""
        linker = read_elf(probe()).interp
        run = start(tmp_path / "run", "env", "-i", linker, probe(), "one")
        assert (Said(run.stdout).mapped, Said(run.stdout).arguments) == (SHIMS, ["one"])


class TestScripts:
    def test_are_what_their_interpreter_is(self, attempt: Attempt, copy: Path, tmp_path: Path) -> None:
        """Served, set-user-ID, static: the last file of the line decides, and the script's own bits mean nothing."""
        first = script(tmp_path / "first", f"#! \t{copy} argument")
        first.chmod(0o4755)
        second = script(tmp_path / "second", f"#!{first}")
        run, said = attempt("execve", second)
        assert (verdict(run), said.mapped) == ((4, SERVED), SHIMS)
        assert said.arguments[:2] == ["argument", str(first)]
        assert records(run)[0].text == str(second)

    def test_of_a_set_user_id_interpreter_are_left_alone(self, attempt: Attempt, copy: Path, tmp_path: Path) -> None:
        """Its bits count, however many scripts stand before it."""
        copy.chmod(0o4755)
        run, said = attempt("execve", script(tmp_path / "script", f"#!{copy}"))
        assert (verdict(run), said.variables) == ((0, SECURE), [])

    def test_that_run_in_a_circle_fail(self, attempt: Attempt, tmp_path: Path) -> None:
        """The kernel gives up with ELOOP, and so does the look at them."""
        circle = tmp_path / "circle"
        run, _ = attempt("execve", script(circle, f"#!{circle}"))
        assert (verdict(run), run.stdout) == ((0, UNKNOWN), f"error {errno.ELOOP}\n")

    def test_five_deep_still_run(self, attempt: Attempt, tmp_path: Path) -> None:
        """As deep as the kernel goes, the shims are kept; one deeper it does not go."""
        path = probe()
        for depth in range(5):
            path = script(tmp_path / f"deep{depth}", f"#!{path}")
        assert attempt("execve", path)[1].mapped == SHIMS

    def test_six_deep_do_not(self, attempt: Attempt, tmp_path: Path) -> None:
        """The control of the limit."""
        path = probe()
        for depth in range(6):
            path = script(tmp_path / f"deep{depth}", f"#!{path}")
        run, _ = attempt("execve", path)
        assert (verdict(run), run.stdout) == ((0, UNKNOWN), f"error {errno.ELOOP}\n")

    @pytest.mark.parametrize("first_line", ["#!", "#!   ", "#!" + "/" * 300, ""])
    def test_without_an_interpreter_have_no_format(self, first_line: str, attempt: Attempt, tmp_path: Path) -> None:
        """An empty or endless first line is ENOEXEC for execve."""
        run, _ = attempt("execve", script(tmp_path / "odd", first_line))
        assert run.stdout == f"error {errno.ENOEXEC}\n"
        assert verdict(run) == (4, SERVED)

    @pytest.mark.parametrize("way", ["execvp", "old"])
    def test_without_a_first_line_go_to_the_shell(self, way: str, attempt: Attempt, tmp_path: Path) -> None:
        """execvp, and posix_spawnp of before glibc 2.15, hand such a file to /bin/sh, with the shims."""
        run, said = attempt(way, script(tmp_path / "plain", f"exec {probe()} from the shell"))
        assert said.mapped == SHIMS
        assert said.arguments == ["from", "the", "shell"]
        assert verdict(run) == (4, SERVED)

    def test_without_a_first_line_are_no_programs_for_posix_spawn(self, attempt: Attempt, tmp_path: Path) -> None:
        """The version that programs are linked to today answers ENOEXEC: the two are kept apart."""
        run, _ = attempt("spawn", script(tmp_path / "plain", f"exec {probe()} from the shell"))
        assert run.stdout.endswith(f"error {errno.ENOEXEC}\n")


class TestFailures:
    @pytest.mark.parametrize("way", ["execve", "execvp", "spawn", "old"])
    @pytest.mark.parametrize(
        ("name", "error"),
        [
            ("{folder}/nothing", errno.ENOENT),
            ("{folder}", errno.EACCES),
            ("{folder}/lost/x", errno.ENOTDIR),
            ("{folder}/lost", errno.ENOENT),
            ("", errno.ENOENT),
        ],
        ids=["missing", "directory", "below a file", "lost interpreter", "empty"],
    )
    def test_answer_what_the_kernel_says(
        self, way: str, name: str, error: int, attempt: Attempt, tmp_path: Path
    ) -> None:
        """The call returns with the error, errno as without the shim, and the failure is recorded."""
        script(tmp_path / "lost", "#!/nowhere/interpreter")
        path = name.format(folder=tmp_path)
        run, _ = attempt(way, path)
        assert run.stdout == plain(way, path)
        assert run.stdout.endswith(f"error {error}\n")
        assert verdict(run) == (0, UNKNOWN)
        (failure,) = records(run, Kind.CALL)
        assert (failure.result, failure.text) == (error, path)

    def test_of_a_bad_pointer_is_no_crash(self, attempt: Attempt) -> None:
        """execve of an address that cannot be read answers EFAULT; the record has no text."""
        run, _ = attempt("execve", "<bad pointer>")
        assert run.stdout == f"error {errno.EFAULT}\n"
        assert records(run)[0].text == ""

    def test_of_a_bad_descriptor(self, attempt: Attempt) -> None:
        """fexecve says EINVAL of a negative descriptor and EBADF of one that is not open."""
        assert attempt("fexecve", "-1")[0].stdout == f"error {errno.EINVAL}\n"

    def test_of_a_link_that_is_not_to_be_followed(self, attempt: Attempt, tmp_path: Path) -> None:
        """execveat with AT_SYMLINK_NOFOLLOW answers ELOOP."""
        (tmp_path / "link").symlink_to(probe())
        run, _ = attempt("execveat-link", tmp_path / "link")
        assert (run.stdout, verdict(run)) == (f"error {errno.ELOOP}\n", (0, UNKNOWN))

    def test_success_leaves_errno_alone(self, attempt: Attempt) -> None:
        """posix_spawn of a good program: errno is what it was."""
        run, said = attempt("spawn", probe())
        assert run.stdout.endswith("status 0\nleft 77\nerror 0\n")
        assert (said.mapped, verdict(run)) == (SHIMS, (4, SERVED))


class TestSearch:
    @pytest.fixture
    def folders(self, tmp_path: Path) -> tuple[Path, Path, Path]:
        """Three folders: `tool` is a directory in the first, not executable in the second, good in the third."""
        first, second, third = (tmp_path / name for name in ("first", "second", "third"))
        (first / "tool").mkdir(parents=True)
        second.mkdir()
        third.mkdir()
        (second / "tool").write_bytes(b"no program")
        (third / "tool").write_bytes(probe().read_bytes())
        (third / "tool").chmod(0o755)
        return first, second, third

    @pytest.mark.parametrize("way", ["execvp", "spawn"])
    def test_finds_what_is_executed(self, way: str, attempt: Attempt, folders: tuple[Path, ...]) -> None:
        """The record names the file in PATH that the real function finds, and that file is looked at."""
        path = os.pathsep.join(map(str, folders))
        run, said = attempt(way, "tool", PATH=path)
        assert (said.arguments, said.mapped) == (["one"], SHIMS)
        assert (records(run)[0].text, verdict(run)) == (str(folders[2] / "tool"), (4, SERVED))

    def test_looks_at_the_file_found(self, attempt: Attempt, folders: tuple[Path, ...]) -> None:
        """Made set-user-ID, that very file is left alone."""
        (folders[2] / "tool").chmod(0o4755)
        run, said = attempt("execvp", "tool", PATH=f"/nowhere:{folders[2]}")
        assert (said.variables, verdict(run)) == ([], (0, SECURE))

    def test_finds_nothing(self, attempt: Attempt, folders: tuple[Path, ...]) -> None:
        """A name that is in no folder is ENOENT; one that is there but not executable EACCES."""
        run, _ = attempt("execvp", "no-such-tool", PATH=str(folders[0]))
        assert (run.stdout, records(run)[0].text) == (f"error {errno.ENOENT}\n", "no-such-tool")

    def test_finds_what_is_not_executable(self, attempt: Attempt, folders: tuple[Path, ...]) -> None:
        """The real function's own answer: EACCES, as one of the files was there."""
        assert attempt("execvp", "tool", PATH=f"{folders[1]}")[0].stdout == f"error {errno.EACCES}\n"


SPAWN = r"""
#define _GNU_SOURCE
#include <fcntl.h>
#include <signal.h>
#include <spawn.h>
#include <sys/wait.h>

int main(int argc, char **argv) {
    char *none[] = {0}, *words[] = {"grep", "SigBlk", "/proc/self/status", 0}, *name[] = {"probe", 0};
    posix_spawn_file_actions_t actions;
    posix_spawnattr_t attributes;
    sigset_t mask;
    pid_t pid;
    (void)argc;
    sigemptyset(&mask);
    sigaddset(&mask, SIGUSR1);
    posix_spawnattr_init(&attributes);
    posix_spawnattr_setsigmask(&attributes, &mask);
    posix_spawnattr_setflags(&attributes, POSIX_SPAWN_SETSIGMASK);
    posix_spawn_file_actions_init(&actions);
    posix_spawn_file_actions_addchdir_np(&actions, argv[1]);
    posix_spawn_file_actions_addopen(&actions, 1, "output", O_WRONLY | O_CREAT | O_APPEND, 0600);
    if (posix_spawnp(&pid, "grep", &actions, &attributes, words, none) != 0 || waitpid(pid, 0, 0) != pid) {
        return 1;
    }
    return posix_spawn(&pid, "./copy", &actions, &attributes, name, none) != 0 || waitpid(pid, 0, 0) != pid;
}
"""


def test_file_actions_and_attributes_are_passed_on(copy: Path, tmp_path: Path) -> None:
    """The child stands elsewhere, writes elsewhere, has another mask; a path relative to there is served."""
    run = start(tmp_path / "run", compile_program(SPAWN, "spawn"), tmp_path)
    assert (run.returncode, run.stdout, run.stderr) == (0, "", ""), run.explain()
    said = (tmp_path / "output").read_text()
    assert said.startswith("SigBlk:\t0000000000000200\n")
    assert Said(said).mapped == SHIMS
    assert [r.inputs for r in records(run) if r.text == "./copy"] == [(4, SERVED)]
    assert copy.stat().st_mode & 0o7777 == 0o755
