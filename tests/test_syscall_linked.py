"""Links from outside into the tree whose target the machine has as well: what is told of them is the tree's."""

from pathlib import Path

import pytest
from support.compile import compile_program
from test_syscall_files import Machine, MakeMachine, make_machine  # noqa: F401

from vgpu_harness.host import Host

# Looks through two links, to /proc/devices and to /dev, whose text ends at each of the last bytes of a page: there a
# text cannot be read in chunks. One letter of a line for each thing that is as without the link.
PROGRAM = r"""
#define _GNU_SOURCE
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

static int lists(DIR *stream) {
    int found = 0;
    for (struct dirent *entry; stream != NULL && (entry = readdir(stream)) != NULL;) {
        found |= strcmp(entry->d_name, "nvidia0") == 0;
    }
    return stream != NULL && closedir(stream) == 0 && found;
}

int main(int argc, char **argv) {
    char *pages = mmap(NULL, 8192, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    struct stat direct, by_link;
    struct statx more;
    mprotect(pages + 4096, 4096, PROT_NONE);
    stat("/proc/devices", &direct);
    for (int left = 0; left < (argc > 3 ? 1 : 40); left++) {
        char *file = strcpy(pages + 4096 - left - strlen(argv[1]) - 1, argv[1]);
        int good = stat(file, &by_link) == 0 && by_link.st_ino == direct.st_ino;
        good += statx(AT_FDCWD, file, 0, STATX_BASIC_STATS, &more) == 0 && more.stx_ino == direct.st_ino;
        char *place = strcpy(pages + 4096 - left - strlen(argv[2]) - 1, argv[2]);
        for (int again = 0; again < 2; again++) {
            good += lists(opendir(place));
            int lowest = dup(0);
            close(lowest);
            int fd = open(place, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
            good += fd == lowest && fcntl(fd, F_GETFD) == FD_CLOEXEC && lists(fdopendir(fd));
            errno = 42;
            fd = openat(AT_FDCWD, place, O_RDONLY | O_DIRECTORY);
            good += fd == lowest && errno == 42 && lists(fdopendir(fd));
        }
        printf("%d ", good);
    }
    int null = open("/dev/null", O_RDONLY);
    int answer = (int)statx(null, NULL, AT_EMPTY_PATH, STATX_BASIC_STATS, &more);
    int other = fstatat(null, NULL, &direct, AT_EMPTY_PATH);
    printf("%d %d\n", answer == 0 ? 0 : errno, other == 0 ? 0 : errno);
    return 0;
}
"""


@pytest.fixture(scope="module")
def machine(make_machine: MakeMachine) -> Machine:  # noqa: F811
    """The default host."""
    return make_machine(Host())


@pytest.fixture
def words(tmp_path: Path) -> list[str]:
    """The program and its two links."""
    program = compile_program(PROGRAM, "through", "-Wno-nonnull")
    (tmp_path / "file").symlink_to("/proc/devices")
    (tmp_path / "directory").symlink_to("/dev")
    return [str(program), str(tmp_path / "file"), str(tmp_path / "directory")]


def test_a_link_to_what_the_machine_has_shows_the_tree(machine: Machine, words: list[str]) -> None:
    """By stat, opendir and open, wherever the text lies in memory; number, flags and errno are those of the call."""
    done = machine.run(*words)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.split()[:40] == ["8"] * 40


def test_without_the_shim_it_shows_the_machine(machine: Machine, words: list[str]) -> None:
    """The program can tell: without the shim /dev has no GPU, whoever it is asked by."""
    done = machine.run(*words, shim=False)
    assert Path("/dev/nvidia0").exists() or done.stdout.split()[:40] == ["2"] * 40


def test_a_look_without_a_path_is_the_kernels(machine: Machine, words: list[str]) -> None:
    """Linux 6.11 takes NULL there for the descriptor, older ones refuse it: the shim answers as they do."""
    ends = [machine.run(*words, "once", shim=shim).stdout.split()[-2:] for shim in (True, False)]
    assert ends[0] == ends[1]
