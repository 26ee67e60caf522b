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


# Opens one file by a link that the program is given, in as many ways as libc has; prints a line for each: the name of
# the way, the file's first bytes, and what is wrong of number, flags and errno.
OPENED = r"""
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <linux/openat2.h>
#include <mntent.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

static int lowest;

static void summarise(char *text) {
    strcpy(text + strcspn(text, "\n"), strstr(text, "nvidia") != NULL ? " with nvidia" : "");
}

static void tell(const char *way, int fd, int is_lowest) {
    char text[8192] = "";
    struct stat facts;
    if (fd < 0 || pread(fd, text, sizeof(text) - 1, 0) < 0) {
        snprintf(text, sizeof(text), "%s", strerror(errno));
    }
    summarise(text);
    printf("%s: %s%s%s%s\n", way, text, is_lowest && fd != lowest ? " NUMBER" : "", errno == 42 ? "" : " ERRNO",
           fstat(fd, &facts) == 0 ? "" : " FSTAT");
    close(fd);
    errno = 42;
}

static void tell_stream(const char *way, FILE *stream, const char *wanted) {
    char text[8192] = "";
    if (fread(text, 1, sizeof(text) - 1, stream) == 0) {
        snprintf(text, sizeof(text), "nothing");
    }
    summarise(text);
    printf("%s: %s%s%s\n", way, text, errno == 42 ? "" : " ERRNO",
           (fcntl(fileno(stream), F_GETFD) == FD_CLOEXEC) == (strchr(wanted, 'e') != NULL) ? "" : " FLAGS");
    fclose(stream);
    errno = 42;
}

/* What a program has as its input that is spawned with the file there; a copy of it, or -1. */
static int spawned(const char *path, int flags) {
    posix_spawn_file_actions_t actions;
    char *const words[] = {"sleep", "5", NULL};
    char input[64];
    pid_t child;
    int fd = -1;
    posix_spawn_file_actions_init(&actions);
    posix_spawn_file_actions_addopen(&actions, 0, path, flags, 0);
    if (posix_spawnp(&child, words[0], &actions, NULL, words, environ) == 0) {
        snprintf(input, sizeof(input), "/proc/%d/fd/0", (int)child);
        fd = open(input, O_RDONLY);
        kill(child, SIGKILL);
        waitpid(child, NULL, 0);
    }
    posix_spawn_file_actions_destroy(&actions);
    errno = 42;
    return fd;
}

int main(int argc, char **argv) {
    const char *link = argv[1], *name = strrchr(argv[1], '/') + 1;
    char place[4096], way[4200];
    struct open_how how = {O_RDONLY, 0, 0}, narrow = {O_RDONLY, 0, RESOLVE_BENEATH};
    struct open_how straight = {O_RDONLY, 0, RESOLVE_NO_SYMLINKS};
    struct stat facts, direct;
    (void)argc;
    snprintf(place, sizeof(place), "%.*s", (int)(name - 1 - link), link);
    snprintf(way, sizeof(way), "way/%s", argv[2]);
    int directory = open(place, O_PATH | O_DIRECTORY);
    int nowhere = open("/", O_PATH | O_DIRECTORY);
    stat(argv[3], &direct);
    lowest = dup(0);
    close(lowest);
    errno = 42;
    for (int again = 0; again < 3; again++) {
        tell("O_NOFOLLOW|O_PATH", open(link, O_PATH | O_NOFOLLOW), 0);
        tell("open", open(link, O_RDONLY), 1);
        tell("open64", open64(link, O_RDONLY | O_CLOEXEC), 1);
        tell("openat", openat(AT_FDCWD, link, O_RDONLY), 1);
        tell("openat64, ignored", openat64(nowhere, link, O_RDONLY), 1);
        tell("openat, descriptor", openat(directory, name, O_RDONLY), 1);
        tell("openat, descriptor, way", openat(directory, way, O_RDONLY), 1);
        tell("syscall open", (int)syscall(SYS_open, link, O_RDONLY), 1);
        tell("syscall openat", (int)syscall(SYS_openat, directory, name, O_RDONLY), 1);
        tell("syscall openat2", (int)syscall(SYS_openat2, directory, name, &how, sizeof(how)), 1);
        tell_stream("fopen", fopen(link, "r"), "r");
        tell_stream("fopen64", fopen64(link, "re"), "re");
        tell_stream("freopen", freopen(link, "r", fopen("/etc/passwd", "r")), "r");
        FILE *same = freopen(NULL, "r", fopen("/etc/passwd", "r"));
        printf("freopen, no path: %d\n", same != NULL && fgetc(same) != EOF && fclose(same) == 0);
        tell("spawned", spawned(link, O_RDONLY), 0);
        printf("spawned, no links: %d\n", spawned(link, O_RDONLY | O_NOFOLLOW) < 0);
        tell_stream("setmntent", setmntent(link, "r"), "e");
        syscall(SYS_stat, link, &facts);
        printf("syscall stat: %d\n", facts.st_ino == direct.st_ino);
        syscall(SYS_newfstatat, directory, name, &facts, 0);
        printf("syscall newfstatat: %d\n", facts.st_ino == direct.st_ino);
        fstatat(directory, name, &facts, 0);
        printf("fstatat: %d\n", facts.st_ino == direct.st_ino);
        fstatat(directory, way, &facts, 0);
        printf("fstatat, way: %d\n", facts.st_ino == direct.st_ino);
        printf("beneath: %ld", syscall(SYS_openat2, directory, name, &narrow, sizeof(narrow)));
        printf(" %s\n", strerror(errno));
        printf("no links: %ld", syscall(SYS_openat2, directory, name, &straight, sizeof(straight)));
        printf(" %s\n", strerror(errno));
        errno = 42;
        chdir(place);
        errno = 42;
        tell("relative", open(name, O_RDONLY), 1);
        tell_stream("relative fopen", fopen(name, "r"), "r");
        chdir("/");
        errno = 42;
    }
    return 0;
}
"""


# Looks for /sys/module/nvidia through a link to /sys/module, by what lists, walks and enters directories.
LISTED = r"""
#define _GNU_SOURCE
#include <dirent.h>
#include <fcntl.h>
#include <fts.h>
#include <ftw.h>
#include <glob.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static int is_it(const char *path) {
    const char *slash = strrchr(path, '/');
    return strcmp(slash != NULL ? slash + 1 : path, "nvidia") == 0;
}

static int visit(const char *path, const struct stat *facts, int kind) {
    (void)facts, (void)kind;
    return is_it(path) ? 7 : 0;
}

static int visit_more(const char *path, const struct stat *facts, int kind, struct FTW *at) {
    (void)at;
    return visit(path, facts, kind);
}

static int has(struct dirent **entries, int count) {
    int found = 0;
    for (int i = 0; i < count; i++) {
        found |= is_it(entries[i]->d_name);
    }
    return found;
}

static int lists(char *const *paths, int options) {
    FTS *walk = fts_open(paths, options, NULL);
    FTSENT *entry;
    while ((entry = fts_read(walk)) != NULL && !(entry->fts_level == 1 && is_it(entry->fts_name))) {
        if (entry->fts_level == 1) {
            fts_set(walk, entry, FTS_SKIP);
        }
    }
    fts_close(walk);
    return entry != NULL;
}

int main(int argc, char **argv) {
    char *link[] = {argv[1], NULL};
    char pattern[4096];
    struct dirent **entries;
    glob_t found = {0};
    const char *name = strrchr(argv[1], '/') + 1;
    (void)argc;
    chdir(argv[2]);
    int directory = open(argv[2], O_PATH | O_DIRECTORY);
    printf("scandir %d\n", has(entries, scandir(link[0], &entries, NULL, NULL)));
    printf("scandir, relative %d\n", has(entries, scandir(name, &entries, NULL, NULL)));
    printf("scandirat %d\n", has(entries, scandirat(directory, name, &entries, NULL, NULL)));
    snprintf(pattern, sizeof(pattern), "%s/nvidi*", link[0]);
    printf("glob %d\n", glob(pattern, 0, NULL, &found) == 0 && is_it(found.gl_pathv[0]));
    snprintf(pattern, sizeof(pattern), "%s/nvidi[a]", name);
    printf("glob, relative %d\n", glob(pattern, 0, NULL, &found) == 0 && is_it(found.gl_pathv[0]));
    printf("fts_open, logical %d\n", lists(link, FTS_LOGICAL));
    printf("fts_open, to the link's end %d\n", lists(link, FTS_COMFOLLOW | FTS_PHYSICAL));
    if (argc > 3) {
        printf("ftw %d\n", ftw(link[0], visit, 8) == 7);
        printf("nftw %d\n", nftw(link[0], visit_more, 8, 0) == 7);
    }
    printf("openat, faccessat %d\n", faccessat(openat(directory, name, O_PATH), "nvidia", F_OK, 0) == 0);
    int before = chdir(link[0]);
    printf("chdir %d\n", before == 0 && access("nvidia", F_OK) == 0);
    chdir(argv[2]);
    before = fchdir(open(name, O_RDONLY | O_DIRECTORY));
    printf("fchdir %d\n", before == 0 && access("nvidia", F_OK) == 0);
    printf("getcwd %s\n", getcwd(pattern, sizeof(pattern)));
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


def opened(machine: Machine, place: Path, target: str, *, shim: bool = True) -> dict[str, set[str]]:
    """What each way tells of a link to a file of /proc."""
    program = compile_program(OPENED, "opened", "-Wno-unused-result", "-Wno-format-truncation")
    link = place / f"link-to-{Path(target).name}"
    if not link.exists():
        link.symlink_to(target)
    if not (place / "way").exists():
        (place / "way").symlink_to("/proc")
    done = machine.run(str(program), str(link), str(Path(target).relative_to("/proc")), target, shim=shim)
    assert (done.returncode, done.stderr) == (0, "")
    found: dict[str, set[str]] = {}
    for line in done.stdout.splitlines():
        way, _, text = line.partition(": ")
        found.setdefault(way, set()).add(text)
    return found


OPENERS = {
    "open", "open64", "openat", "openat64, ignored", "openat, descriptor", "openat, descriptor, way", "syscall open",
    "syscall openat", "syscall openat2", "fopen", "fopen64", "freopen", "setmntent", "spawned", "relative",
    "relative fopen",
}  # fmt: skip


def test_what_a_link_leads_to_is_opened_of_the_tree(machine: Machine, tmp_path: Path) -> None:
    """By every function that opens, again and again, with the number, flags and errno that it would have had."""
    found = opened(machine, tmp_path, "/proc/devices")
    assert {way: found[way] for way in OPENERS} == {way: {"Character devices: with nvidia"} for way in OPENERS}
    for way in ("syscall stat", "syscall newfstatat", "fstatat", "fstatat, way"):
        assert found[way] == {"1"}, way


def test_what_is_asked_for_without_links_is_not_opened(machine: Machine, tmp_path: Path) -> None:
    """RESOLVE_BENEATH and RESOLVE_NO_SYMLINKS are refused as without the shim; a link itself stays one."""
    with_shim, without = (opened(machine, tmp_path, "/proc/devices", shim=shim) for shim in (True, False))
    assert with_shim["spawned, no links"] == with_shim["freopen, no path"] == {"1"}
    for way in ("beneath", "no links", "O_NOFOLLOW|O_PATH"):
        assert with_shim[way] == without[way]


def test_without_the_shim_the_link_leads_to_the_machine(machine: Machine, tmp_path: Path) -> None:
    """Control: the ways tell the machine's file from the tree's."""
    found = opened(machine, tmp_path, "/proc/devices", shim=False)
    assert "nvidia" in Path("/proc/devices").read_text() or {text for way in OPENERS for text in found[way]} == {
        "Character devices:"
    }


@pytest.mark.parametrize("target", ["/proc/version", "/proc/self/status"])
def test_other_files_of_the_machine_are_opened_as_they_are(machine: Machine, tmp_path: Path, target: str) -> None:
    """A link to a file of /proc that the tree does not have: all as without the shim."""
    with_shim, without = (opened(machine, tmp_path, target, shim=shim) for shim in (True, False))
    assert with_shim == without


def listed(machine: Machine, place: Path, *more: str, shim: bool = True) -> list[str]:
    """What each way of listing, walking and entering tells of a link to /sys/module."""
    program = compile_program(LISTED, "listed", "-Wno-unused-result", "-Wno-format-truncation")
    (place / "modules").symlink_to("/sys/module")
    done = machine.run(str(program), str(place / "modules"), str(place), *more, shim=shim)
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout.splitlines()


def test_a_link_to_a_directory_of_the_machine_is_listed_with_the_tree(machine: Machine, tmp_path: Path) -> None:
    """By all that lists, walks or enters a directory; the working directory has the name that the kernel gives it."""
    *found, place = listed(machine, tmp_path, "walk")
    assert len(found) == 12
    assert [line for line in found if not line.endswith(" 1")] == []
    assert place == "getcwd /sys/module"


def test_without_the_shim_the_machines_directory_is_listed(machine: Machine, tmp_path: Path) -> None:
    """Control: the ways tell the machine's directory from the tree's."""
    *found, place = listed(machine, tmp_path, shim=False)
    assert Path("/sys/module/nvidia").exists() or [line for line in found if not line.endswith(" 0")] == []
    assert place == "getcwd /sys/module"
