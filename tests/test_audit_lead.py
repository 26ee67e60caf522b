"""The auditor leads look-ups that go past the preloaded shims to libc back to them, and no other look-up."""

import functools
from collections.abc import Sequence
from pathlib import Path

import pytest
from escape import ratchet
from escape.matrix import under
from support.compile import compile_library, compile_program

from vgpu_harness.host import Delivery, Host
from vgpu_harness.run import run

SUPPORT = Path(__file__).with_name("support")
VENDOR = "/sys/bus/pci/devices/0000:00:05.0/vendor"

FILES, EXEC, LIBC = "libvgpu-syscall.so", "libvgpu-exec.so", "libc.so.6"


@functools.cache
def program(*flags: str) -> Path:
    """The program that looks functions up."""
    source = (SUPPORT / "audit_probe.c").read_text(encoding="utf-8")
    return compile_program(source, "lookup", "-ldl", *flags)


def chained(name: str, asked: str, place: str = "RTLD_NEXT") -> str:
    """A preloaded library that has `name`, and asks for `asked` behind itself, or in libc."""
    source = (SUPPORT / "audit_chained.c").read_text(encoding="utf-8")
    flags = (f"-DNAME={name}", f'-DASKED="{asked}"', f"-DPLACE={place}", "-fno-builtin")
    return str(compile_library(source, f"lib{name}-{asked}.so", *flags))


def answers(
    tmp_path: Path, words: Sequence[str], *, behind: Sequence[str] = (), before: Sequence[str] = (),
    audit: bool = True, which: Path | None = None,
) -> list[str]:  # fmt: skip
    """The lines of the program under the shims.

    Args:
        tmp_path: for the run's files.
        words: what it looks up.
        behind: libraries that are preloaded behind the shims.
        before: the same, before them.
        audit: with the auditor.
        which: the program, if not the usual one.
    """
    host = Host(delivery=Delivery(preload=(*before, "exec", "syscall", *behind)))
    done = run([which or program(), *words], host, directory=tmp_path / "run", audit=audit, timeout=20)
    assert (done.returncode, done.stderr) == (0, ""), (done.returncode, done.stderr)
    return done.stdout.splitlines()


def found(tmp_path: Path, words: Sequence[str], **options: object) -> dict[str, str]:
    """The file that each look-up leads to."""
    lines = answers(tmp_path, words, **options)  # type: ignore[arg-type]
    return {line.split()[0]: line.split()[1] for line in lines}


LED = {
    "default:open": FILES,
    "next:stat": FILES,
    "libc:open": FILES,
    "libc:stat": FILES,
    "libc:fopen": FILES,
    "libc:realpath": FILES,
    "libc:execve": EXEC,
    "libc:posix_spawn": EXEC,
    "libc:popen": EXEC,
    "default:open@GLIBC_2.2.5": FILES,
    "default:realpath@GLIBC_2.2.5": FILES,
    "libc:realpath@GLIBC_2.3": FILES,
    "other:open": FILES,
    "other:statx": FILES,
    "other:ioctl": FILES,
    "other:readlink": FILES,
}
"""Where look-ups lead that the shims have an answer to."""

LEFT = {
    "libc:malloc": LIBC,
    "libc:close": LIBC,
    "default:read": LIBC,
    "other:malloc": LIBC,
    "other:fopen": LIBC,
    "other:opendir": LIBC,
    "other:readdir": LIBC,
    "other:realpath": LIBC,
    "other:glob": LIBC,
    "other:getcwd": LIBC,
    "other:posix_spawn_file_actions_addopen": LIBC,
    "other:execve": LIBC,
}
"""And those that they have none to: other functions, and what has streams or memory of another libc."""


class TestLookups:
    def test_lead_to_the_shims(self, tmp_path: Path) -> None:
        """By whatever way a function is asked for, the shim's is found; what is not the shims' is libc's."""
        wanted = LED | LEFT
        assert found(tmp_path, list(wanted)) == wanted

    def test_without_the_auditor_lead_to_libc(self, tmp_path: Path) -> None:
        """What goes past the preloaded libraries is not led back then: the test above can fail."""
        past = [words for words in LED if not words.startswith("next:") and words != "default:open"]
        assert found(tmp_path, past, audit=False) == dict.fromkeys(past, LIBC)

    def test_keep_an_old_version_apart(self, tmp_path: Path) -> None:
        """posix_spawn of glibc 2.2.5 starts scripts without a first line; the shim has both, and each is found."""
        words = [
            f"{how}:posix_spawn@{version}" for how in ("default", "libc") for version in ("GLIBC_2.2.5", "GLIBC_2.15")
        ]
        script = tmp_path / "plain"
        script.write_text("echo ran\n")
        script.chmod(0o755)
        source = (
            "#define _GNU_SOURCE\n#include <dlfcn.h>\n#include <spawn.h>\n#include <stdio.h>\n#include <sys/wait.h>\n"
            "int main(int n, char **w) { (void)n; char *a[] = {w[1], 0}; pid_t p; for (int i = 2; i < 4; i++) {\n"
            'int (*f)() = (int (*)())dlvsym(dlopen("libc.so.6", RTLD_NOW), "posix_spawn", w[i]);\n'
            'int e = f(&p, w[1], 0, 0, a, 0); if (!e) { wait(0); } printf("%d\\n", e); fflush(stdout); } }\n'
        )
        spawner = compile_program(source, "spawner", "-ldl", "-Wno-deprecated-declarations")
        assert set(found(tmp_path, words).values()) == {EXEC}
        run_again = tmp_path / "again"
        done = run([spawner, script, "GLIBC_2.2.5", "GLIBC_2.15"], directory=run_again, timeout=20)
        assert done.stdout.split() == ["ran", "0", "8"]


class TestAnotherLibc:
    def test_opens_for_its_caller(self, tmp_path: Path) -> None:
        """A function that is led gives the caller its descriptor and its errno; streams stay with their libc."""
        assert answers(tmp_path, [f"use:{VENDOR}"]) == [
            "fd 0x10de, missing -1 No such file or directory, stream 0"
        ]  # fmt: skip


class TestPeers:
    @pytest.mark.parametrize("place", ["RTLD_NEXT", 'dlopen("libc.so.6", RTLD_NOW)'])
    @pytest.mark.parametrize("where", ["behind", "before"])
    def test_find_what_is_behind_them(self, tmp_path: Path, place: str, where: str) -> None:
        """A library that has `open` and asks for the next is not led back to itself, before the shim or behind it."""
        library = chained("open", "open", place)
        lines = answers(tmp_path, [f"open:{VENDOR}", "open:/etc/hostname"], **{where: [library]})  # type: ignore[arg-type]
        seen = where == "behind" or place == "RTLD_NEXT"
        assert (lines[0] == "open 0x10de") == seen
        assert lines[1] == f"open {Path('/etc/hostname').read_text().strip()[:14]}"

    def test_are_not_passed_by(self, tmp_path: Path) -> None:
        """With a library between the shim and libc that has the name, libc's handle gives libc's; others are led."""
        behind = [chained("open", "open")]
        assert found(tmp_path, ["libc:open", "libc:stat"], behind=behind) == {"libc:open": LIBC, "libc:stat": FILES}

    def test_of_two_names_close_no_circle(self, tmp_path: Path) -> None:
        """Two libraries, each of which asks for the other's name: each call ends in libc."""
        behind = [chained("open64", "open"), chained("open", "open64")]
        words = ["open:/etc/hostname", f"open:{VENDOR}"]
        assert answers(tmp_path, words, behind=behind)[1] == "open 0x10de"

    def test_that_are_the_program_find_libc(self, tmp_path: Path) -> None:
        """A program that exports an `open` of its own finds libc's behind it, as without the auditor."""
        own = program("-DHAS_OPEN", "-rdynamic")
        words = ["libc:open", "libc:stat", "open:/etc/hostname"]
        lines = answers(tmp_path, words, which=own)
        assert [line.split()[1] for line in lines[:2]] == [LIBC, FILES]
        assert lines[2].startswith("open ")


class TestMatrix:
    def test_without_the_auditor_has_the_loaders_escapes(self, tmp_path: Path) -> None:
        """Exactly the ways around the preloaded libraries escape in a run that is not audited, and no other changes."""
        results = under("preload", tmp_path, audit=False)
        known = ratchet.load(list(results))["preload"]
        listed = {name: known[name].outcome if name in known else "right" for name in results}
        changed = {name for name, one in results.items() if one.outcome not in {listed[name], "unavailable"}}
        assert changed == {
            "realpath, version 2.2.5", "dlsym of libc's handle", "dlsym of libc's handle: stat",
            "dlvsym(RTLD_DEFAULT)", "dlvsym of libc's handle", "dlmopen of libc", "a library opened RTLD_DEEPBIND",
        }  # fmt: skip
