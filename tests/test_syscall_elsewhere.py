"""Paths that begin as the tree's do and lie elsewhere are looked up once; none of the tree's is taken for one."""

import re
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from support.compile import compile_program
from test_syscall_files import Machine, MakeMachine, make_machine  # noqa: F401

from vgpu_harness.host import Gpu, Host

KNOWN = Path(__file__).resolve().parent.parent / "csrc" / "syscall"
DEVICE = "/sys/bus/pci/devices/0000:00:05.0"

# Adds each path that differs in one byte, or is shorter or longer, and asks whether that is known for the path.
NEIGHBOURS = r"""
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#define VGPU_TEXT_AT(page) ((page) + 4096 - 20)

static _Alignas(4096) char path[512], other[512]; /* a text at the end of a page is a case of its own, below */

int main(int argc, char **argv) {
    int wrong = 0;
    for (int i = 1; i < argc; i++) {
        size_t length = strlen(argv[i]);
        snprintf(path, sizeof(path), "%s", argv[i]);
        for (size_t at = 0; at <= length; at++) {
            for (int byte = at == length ? 1 : 0; byte < 256; byte++) {
                snprintf(other, sizeof(other), "%s", path);
                other[at] = (char)byte;
                other[length + 1] = '\0';
                if (strcmp(other, path) != 0 && other[0] != '\0') {
                    vgpu_elsewhere_add(other);
                    wrong += vgpu_elsewhere_has(path);
                    wrong += !vgpu_elsewhere_has(other) && vgpu_whole_hash(other) != 0;
                }
            }
        }
        for (size_t offset = 0; offset < 16; offset++) {
            strcpy(other + offset, path);
            vgpu_elsewhere_add(other + offset);
            wrong += !vgpu_elsewhere_has(path);
        }
        wrong += vgpu_direct_has(AT_FDCWD, path);
        vgpu_direct_add(3, path);
        wrong += !vgpu_direct_has(3, path) || vgpu_direct_has(4, path) || vgpu_direct_has(AT_FDCWD, path);
        vgpu_known_forget();
        wrong += vgpu_elsewhere_has(path) || vgpu_direct_has(3, path);
    }
    char *pages = mmap(NULL, 8192, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    mprotect(pages + 4096, 4096, PROT_NONE);
    char *last = strcpy(VGPU_TEXT_AT(pages), "/sys/kernel/debug/x");
    vgpu_elsewhere_add(last);
    wrong += vgpu_elsewhere_has(last);
    printf("%d\n", wrong);
}
"""

# A directory whose file has been asked for becomes a link into the tree.
MOVED = r"""
#include <stdio.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

static const char *first_line(const char *path, char *line) {
    FILE *stream = fopen(path, "r");
    if (stream == NULL || fgets(line, 64, stream) == NULL) {
        strcpy(line, "nothing\n");
    }
    if (stream != NULL) {
        fclose(stream);
    }
    return line;
}

int main(int argc, char **argv) {
    char line[64], file[4096], moved[4096];
    int numbers = argc > 3;
    snprintf(file, sizeof(file), "%s/vendor", argv[1]);
    snprintf(moved, sizeof(moved), "%s.away", argv[1]);
    for (int i = 0; i < 3; i++) {
        printf("%s", first_line(file, line));
    }
    if (numbers) {
        printf("%d\n", syscall(SYS_rename, argv[1], moved) == 0 && syscall(SYS_symlink, argv[2], argv[1]) == 0);
    } else {
        printf("%d\n", rename(argv[1], moved) == 0 && symlink(argv[2], argv[1]) == 0);
    }
    printf("%s", first_line(file, line));
}
"""

# Asks for a file below a descriptor that is another directory by then.
REUSED = r"""
#include <fcntl.h>
#include <stdio.h>
#include <unistd.h>

int main(int argc, char **argv) {
    char path[128], line[64] = "nothing\n";
    (void)argc;
    int fd = open(argv[1], O_RDONLY | O_DIRECTORY);
    snprintf(path, sizeof(path), "/proc/self/fd/%d%s", fd, argv[2]);
    for (int i = 0; i < 3; i++) {
        printf("%d\n", access(path, F_OK));
    }
    dup2(open("/", O_RDONLY | O_DIRECTORY), fd);
    FILE *stream = fopen(path, "r");
    printf("%s", stream != NULL ? fgets(line, sizeof(line), stream) : line);
}
"""


@pytest.fixture(scope="module")
def machine(make_machine: MakeMachine) -> Machine:  # noqa: F811
    """The usual host."""
    return make_machine(Host(gpu=(Gpu(),)))


@pytest.fixture
def shared() -> Iterator[Path]:
    """A directory whose path begins as those of the tree's devices do."""
    with tempfile.TemporaryDirectory(dir="/dev/shm") as name:
        yield Path(name)


def taken_for_another(header: str) -> int:
    """How often a path was known because another one was, with this hash."""
    table = re.sub(r'#include "syscall/known.h"', "", (KNOWN / "known.c").read_text(encoding="utf-8"))
    program = compile_program(header + table + NEIGHBOURS, "neighbours", "-Wno-implicit-fallthrough")
    paths = ["/dev/null", "/sys/class/net", DEVICE, f"{DEVICE}/vendor", f"/sys/{'long/' * 50}x", f"/sys/{'a' * 40}"]
    done = subprocess.run([program, *paths], capture_output=True, text=True, timeout=60, check=True)
    return int(done.stdout)


def test_no_path_is_taken_for_its_neighbour() -> None:
    """Every byte counts, wherever the text lies in memory; a text that ends at the end of a page is not read beyond."""
    assert taken_for_another((KNOWN / "known.h").read_text(encoding="utf-8")) == 0


SEEDED = "__atomic_load_n(&vgpu_filter.seed, __ATOMIC_RELAXED) ^\n           (before"


@pytest.mark.parametrize(
    ("sound", "broken"),
    [
        ("(uint64_t)product ^ (uint64_t)(product >> 64)", "(uint64_t)product & 0"),
        ("(before << behind) * UINT64_C(0xa0761d6478bd642f)", "0"),
        ("(last << behind) * UINT64_C(0xe7037ed1a0b428db)", "((last << behind) * 3 & 0xffff)"),
        (f"return length * UINT64_C(0x9e3779b97f4a7c15) ^ {SEEDED}", f"return {SEEDED}"),
        (SEEDED, "(before"),
    ],
    ids=["last bytes alone", "last eight", "few bits", "no length", "never forgets"],
)  # fmt: skip
def test_a_weaker_hash_is_noticed(sound: str, broken: str) -> None:
    """Control: a hash of the path's start, of few bits, or one that nothing makes forget."""
    header = (KNOWN / "known.h").read_text(encoding="utf-8")
    assert header.count(sound) == 1
    assert taken_for_another(header.replace(sound, broken)) > 0


@pytest.mark.parametrize("numbers", [(), ("numbers",)], ids=["functions", "numbers"])
def test_a_directory_that_becomes_a_link_into_the_tree_is_followed(
    machine: Machine, shared: Path, numbers: tuple[str, ...]
) -> None:
    """What was known of a file below it is forgotten by the program's own rename and symlink, and syscall() of them."""
    directory = shared / "gpu"
    directory.mkdir()
    (directory / "vendor").write_text("mine\n")
    program = compile_program(MOVED, "moved", "-Wno-format-truncation")
    done = machine.run(program, directory, DEVICE, *numbers)
    assert done.stdout.splitlines() == ["mine", "mine", "mine", "1", "0x10de"], done.stderr


def test_a_path_through_a_descriptor_is_looked_up_each_time(machine: Machine, shared: Path) -> None:
    """/proc/self/fd/N/sys/... is asked for while N is another directory, and then the root."""
    mine = Path(f"{shared}{DEVICE}/vendor")
    mine.parent.mkdir(parents=True)
    mine.write_text("mine\n")
    done = machine.run(compile_program(REUSED, "reused", "-Wno-unused-result"), shared, f"{DEVICE}/vendor")
    assert done.stdout.splitlines() == ["0", "0", "0", "0x10de"], done.stderr


def test_the_tree_stays_seen_between_its_neighbours(machine: Machine) -> None:
    """The tree's files are answered after thousands of questions for paths that differ from theirs in one byte."""
    text = f"""
import os
for target in ("{DEVICE}/vendor", "/dev/nvidia0", "/proc/driver/nvidia/version"):
    for at in range(1, len(target)):
        for byte in "0123456789abcdefghijklmnopqrstuvwxyz./:":
            near = target[:at] + byte + target[at + 1 :]
            for _ in range(2):
                os.access(near, os.F_OK)
        assert os.access(target, os.F_OK), (target, at)
print(open("{DEVICE}/vendor").read().strip())
"""
    done = machine.run("/usr/bin/env", "python3", "-c", text)
    assert done.stdout == "0x10de\n", done.stderr
