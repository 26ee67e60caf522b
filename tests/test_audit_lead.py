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


# Says what its calls answer and what their errno is: of its own libc, as the program has another.
LOOKER = r"""
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

int look(const char *path, char *to, size_t size) {
    char text[16] = "", link[16] = "";
    struct stat facts;
    errno = 42;
    int fd = open(path, O_RDONLY);
    int kept = errno;
    ssize_t got = fd < 0 ? -1 : read(fd, text, sizeof(text) - 1);
    text[got > 0 ? got - 1 : 0] = '\0';
    int opened = open("/sys/bus/pci/devices/none", O_RDONLY), first = errno;
    int looked = stat(path, (void *)-1L), second = errno;
    int allowed = access(path, W_OK | X_OK), third = errno;
    ssize_t linked = readlink(path, link, sizeof(link));
    int fourth = errno;
    int good = fstatat(AT_FDCWD, path, &facts, 0);
    return snprintf(to, size, "%s %d; %d %d, %d %d, %d %d, %zd %d; %d", text, kept, opened, first, looked, second,
                    allowed, third, linked, fourth, good);
}
"""

# Opens LOOKERs, each in a namespace of its own, and has them look from threads; then closes them, and again.
OPENER = r"""
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <sys/mman.h>

static const char *path;

static void *looks(void *function) {
    static __thread char line[256];
    errno = 77;
    ((int (*)(const char *, char *, size_t))function)(path, line, sizeof(line));
    printf("%s, program %d\n", line, errno);
    return NULL;
}

int main(int argc, char **argv) {
    path = argv[2];
    for (int round = 0; round < (argc > 3 ? 40 : 1); round++) {
        void *handles[2];
        for (int i = 0; i < 2; i++) {
            pthread_t thread;
            handles[i] = dlmopen(LM_ID_NEWLM, argv[1], RTLD_NOW);
            void *function = handles[i] == NULL ? NULL : dlsym(handles[i], "look");
            if (function == NULL || pthread_create(&thread, NULL, looks, function) != 0) {
                printf("%s\n", dlerror());
                return 1;
            }
            pthread_join(thread, NULL);
        }
        dlclose(handles[0]);
        dlclose(handles[1]);
        mmap(NULL, 1 << 20, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0); /* the next libc lies elsewhere */
    }
    return 0;
}
"""


class TestNamespaces:
    def lines(self, tmp_path: Path, *more: str, audit: bool = True) -> list[str]:
        """What libraries in two namespaces say."""
        looker = compile_library(LOOKER, "liblooker.so", "-O0", "-Wno-nonnull", "-Wno-stringop-overread")
        opener = compile_program(OPENER, "opener", "-ldl", "-pthread")
        return answers(tmp_path, [str(looker), VENDOR, *more], which=opener, audit=audit)

    def test_have_their_own_errno(self, tmp_path: Path) -> None:
        """A library there sees the GPU, each failure's errno in its own libc, and nothing in it after a success."""
        expected = "0x10de 42; -1 2, -1 14, -1 13, -1 22; 0, program 77"
        assert self.lines(tmp_path) == [expected] * 2

    def test_without_the_auditor_look_past(self, tmp_path: Path) -> None:
        """Their calls go to their own libc: the test above can fail."""
        assert not any("0x10de" in line for line in self.lines(tmp_path, audit=False))

    def test_come_and_go(self, tmp_path: Path) -> None:
        """Eighty of them, two at a time, are served: what one of them had is free again for the next."""
        lines = self.lines(tmp_path, "often")
        assert len(lines) == 80
        assert len(set(lines)) == 1
        assert lines[0].startswith("0x10de 42; -1 2,")


# Has functions of libc in its data, and calls them so.
POINTER = r"""
#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <unistd.h>

static int (*const volatile opens)(const char *, int, ...) = open;
static int (*const volatile looks)(const char *, int) = access;
static ssize_t (*const volatile reads)(int, void *, size_t) = read;
static DIR *(*const volatile lists)(const char *) = opendir;

int look(const char *path, char *to, size_t size) {
    char text[16] = "";
    int fd = opens(path, O_RDONLY);
    ssize_t got = reads(fd, text, sizeof(text) - 1);
    text[got > 0 ? got - 1 : 0] = '\0';
    return snprintf(to, size, "%s %d %d", text, looks(path, F_OK), lists("/sys/module/nvidia") != NULL);
}
"""
LOADER = r"""
#define _GNU_SOURCE
#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>

int main(int argc, char **argv) {
    char line[256];
    void *handle = dlopen(argv[1], RTLD_NOW | atoi(argv[3]) * RTLD_DEEPBIND);
    int (*look)(const char *, char *, size_t) = handle == NULL ? NULL : dlsym(handle, "look");
    if (argc != 4 || look == NULL) {
        printf("%s\n", dlerror());
        return 1;
    }
    look(argv[2], line, sizeof(line));
    puts(line);
    return 0;
}
"""


class TestPointers:
    def look(self, tmp_path: Path, *flags: str, deep: bool = True, audit: bool = True) -> str:
        """What a library says that has been opened by itself."""
        library = compile_library(POINTER, "libpointer.so", *flags)
        words = [str(library), VENDOR, str(int(deep))]
        (line,) = answers(tmp_path, words, which=compile_program(LOADER, "loader", "-ldl"), audit=audit)
        return line

    @pytest.mark.parametrize("flags", [("-Wl,-z,separate-code",), ("-fno-plt",), ("-Wl,-z,now,-z,relro",)])
    @pytest.mark.parametrize("deep", [True, False])
    def test_of_a_library_opened_later_are_led(self, tmp_path: Path, flags: tuple[str, ...], deep: bool) -> None:
        """They are the shims', where the library looks into libc first, too; others are libc's."""
        assert self.look(tmp_path, *flags, deep=deep) == "0x10de 0 1"

    def test_without_the_auditor_are_libcs(self, tmp_path: Path) -> None:
        """The test above can fail."""
        assert "0x10de" not in self.look(tmp_path, audit=False)

    def test_beside_code_are_left_alone(self, tmp_path: Path) -> None:
        """No page that holds code is written to: what a library without separate code looks for first, it finds."""
        flags = "-Wl,-z,noseparate-code"
        assert "0x10de" not in self.look(tmp_path, flags)
        assert self.look(tmp_path / "again", flags, deep=False) == "0x10de 0 1"

    def test_to_another_library_are_left_alone(self, tmp_path: Path) -> None:
        """A library that brings an `access` of its own along has that one, and its `open` is led all the same."""
        own = compile_library("int access(const char *path, int mode) { return path[0] + mode; }", "libown.so", "-w")
        line = self.look(tmp_path, f"-L{own.parent}", "-Wl,--no-as-needed,-lown", f"-Wl,-rpath,{own.parent}")
        assert line == f"0x10de {ord('/')} 1"


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
            "a library opened RTLD_DEEPBIND, a call without a PLT", "a library in a namespace of its own",
        }  # fmt: skip
