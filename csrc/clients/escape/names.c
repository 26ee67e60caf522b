/* Functions that ask whether a path may be used, where a link leads, and how a path is called really. */
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "escape/probe.h"

/* Root may read and write every file, but execute none that has no right to it. */
static void check_access(int (*ask)(const char *function, const char *path, int mode), const char *function) {
    char path[PATH_MAX];
    join(path, at.bound, "/vendor");
    if (see(ask(function, path, R_OK) == 0, "%m")) {
        expect(ask(function, path, X_OK) < 0 && errno == EACCES, "the file may be executed");
        join(path, at.bound, "/no-such-file");
        expect(ask(function, path, F_OK) < 0 && errno == ENOENT, "a file that is not there is found");
    }
}

static int ask_path(const char *function, const char *path, int mode) {
    return ((int (*)(const char *, int))find(function))(path, mode);
}

static int ask_directory(const char *function, const char *path, int mode) {
    return ((int (*)(int, const char *, int, int))find(function))(AT_FDCWD, path, mode, 0);
}

static int ask_effective(const char *function, const char *path, int mode) {
    return ((int (*)(int, const char *, int, int))find(function))(AT_FDCWD, path, mode, AT_EACCESS);
}

static int ask_the_link(const char *function, const char *path, int mode) {
    return ((int (*)(int, const char *, int, int))find(function))(AT_FDCWD, path, mode, AT_SYMLINK_NOFOLLOW);
}

static void may(const char *function) {
    check_access(ask_path, function);
}

static void may_at(const char *function) {
    check_access(ask_directory, function);
}

static void may_effectively(const char *function) {
    check_access(ask_effective, function);
}

static void may_use_the_link(const char *function) {
    check_access(ask_the_link, function);
}

static void may_write_the_device(const char *function) {
    see(ask_path(function, at.device, R_OK | W_OK) == 0, "%m");
}

static void check_link(const char *text, ssize_t length) {
    if (see(length >= 0, "%m")) {
        expect(length == (ssize_t)strlen(at.link) && memcmp(text, at.link, (size_t)length) == 0, "it leads to %.*s",
               (int)length, text);
    }
}

static void leads(const char *function) {
    char text[PATH_MAX];
    check_link(text, ((ssize_t (*)(const char *, char *, size_t))find(function))(at.bound, text, sizeof(text)));
}

static void leads_fortified(const char *function) {
    char text[PATH_MAX];
    size_t size = sizeof(text);
    check_link(text, ((ssize_t (*)(const char *, char *, size_t, size_t))find(function))(at.bound, text, size, size));
}

static void leads_at(const char *function) {
    char text[PATH_MAX];
    ssize_t (*call)(int, const char *, char *, size_t) = (ssize_t (*)(int, const char *, char *, size_t))find(function);
    check_link(text, call(AT_FDCWD, at.bound, text, sizeof(text)));
}

static void leads_at_fortified(const char *function) {
    char text[PATH_MAX];
    size_t size = sizeof(text);
    ssize_t (*call)(int, const char *, char *, size_t, size_t) =
        (ssize_t (*)(int, const char *, char *, size_t, size_t))find(function);
    check_link(text, call(AT_FDCWD, at.bound, text, size, size));
}

static void descriptor_leads(const char *function) {
    char text[PATH_MAX];
    int fd = open(at.bound, O_PATH | O_NOFOLLOW);
    ssize_t (*call)(int, const char *, char *, size_t) = (ssize_t (*)(int, const char *, char *, size_t))find(function);
    check_link(text, call(fd, "", text, sizeof(text)));
}

/* The GPU's directory by the driver's link. */
static void is_really(const char *function) {
    char path[PATH_MAX];
    check_path(((char *(*)(const char *, char *))find(function))(at.bound, path), at.home);
}

static void is_really_to_malloc(const char *function) {
    check_path(((char *(*)(const char *, char *))find(function))(at.bound, NULL), at.home);
}

static void is_really_to_an_old_program(const char *function) {
    char path[PATH_MAX];
    char *(*call)(const char *, char *) =
        (char *(*)(const char *, char *))dlvsym(RTLD_DEFAULT, function, "GLIBC_2.2.5");
    if (call == NULL) {
        errno = 0;
        unavailable(function);
    }
    check_path(call(at.bound, path), at.home);
}

static void is_really_fortified(const char *function) {
    char path[PATH_MAX];
    check_path(((char *(*)(const char *, char *, size_t))find(function))(at.bound, path, sizeof(path)), at.home);
}

static void is_canonically(const char *function) {
    check_path(((char *(*)(const char *))find(function))(at.bound), at.home);
}

static void is_really_below(const char *function) {
    char path[PATH_MAX], asked[PATH_MAX];
    join(asked, at.gpu, "/driver");
    check_path(((char *(*)(const char *, char *))find(function))(asked, path), at.driver);
}

static void enter(void) {
    see(chdir(at.bound) == 0, "chdir: %m");
}

static void stands(const char *function) {
    char path[PATH_MAX];
    enter();
    check_path(((char *(*)(char *, size_t))find(function))(path, sizeof(path)), at.home);
}

static void stands_fortified(const char *function) {
    char path[PATH_MAX];
    enter();
    check_path(((char *(*)(char *, size_t, size_t))find(function))(path, sizeof(path), sizeof(path)), at.home);
}

static void stands_by_name(const char *function) {
    enter();
    check_path(((char *(*)(void))find(function))(), at.home);
}

static void stands_the_old_way(const char *function) {
    char path[PATH_MAX];
    enter();
    check_path(((char *(*)(char *))find(function))(path), at.home);
}

/* What /proc says is the kernel's word: a text that no function of libc makes. */
static void is_called_by_proc(const char *function) {
    char name[32], path[PATH_MAX] = "", wanted[PATH_MAX];
    (void)function;
    join(wanted, at.bound, "/vendor");
    int fd = open(wanted, O_RDONLY);
    snprintf(name, sizeof(name), "/proc/self/fd/%d", fd);
    ssize_t length = fd < 0 ? -1 : readlink(name, path, sizeof(path) - 1);
    join(wanted, at.home, "/vendor");
    check_path(length < 0 ? NULL : path, wanted);
}

/* The same with less room than the kernel's own text takes: the start of the name, as it is cut. */
static void is_cut_by_proc(const char *function) {
    enum { ROOM = 20 };
    char name[32], path[ROOM + 1] = "", wanted[PATH_MAX];
    (void)function;
    int fd = open(at.bound, O_RDONLY);
    snprintf(name, sizeof(name), "/proc/self/fd/%d", fd);
    ssize_t length = fd < 0 ? -1 : readlink(name, path, ROOM);
    join(wanted, at.home, "");
    wanted[ROOM] = '\0';
    check_path(length != ROOM ? NULL : path, wanted);
}

static void is_really_by_proc(const char *function) {
    char name[32], path[PATH_MAX];
    (void)function;
    int fd = open(at.bound, O_RDONLY);
    snprintf(name, sizeof(name), "/proc/self/fd/%d", fd);
    check_path(fd < 0 ? NULL : realpath(name, path), at.home);
}

static void stands_by_proc(const char *function) {
    char path[PATH_MAX] = "";
    (void)function;
    enter();
    ssize_t length = readlink("/proc/self/cwd", path, sizeof(path) - 1);
    check_path(length < 0 ? NULL : path, at.home);
}

const struct probe names[] = {
    {"access", may, "access"},
    {"eaccess", may, "eaccess"},
    {"euidaccess", may, "euidaccess"},
    {"access of the device", may_write_the_device, "access"},
    {"faccessat", may_at, "faccessat"},
    {"faccessat for the effective user", may_effectively, "faccessat"},
    {"faccessat, no link followed", may_use_the_link, "faccessat"},
    {"readlink", leads, "readlink"},
    {"readlinkat", leads_at, "readlinkat"},
    {"__readlink_chk", leads_fortified, "__readlink_chk"},
    {"__readlinkat_chk", leads_at_fortified, "__readlinkat_chk"},
    {"readlinkat of a descriptor", descriptor_leads, "readlinkat"},
    {"realpath", is_really, "realpath"},
    {"realpath to malloc's memory", is_really_to_malloc, "realpath"},
    {"realpath, version 2.2.5", is_really_to_an_old_program, "realpath"},
    {"realpath of the driver", is_really_below, "realpath"},
    {"__realpath_chk", is_really_fortified, "__realpath_chk"},
    {"canonicalize_file_name", is_canonically, "canonicalize_file_name"},
    {"getcwd", stands, "getcwd"},
    {"__getcwd_chk", stands_fortified, "__getcwd_chk"},
    {"getwd", stands_the_old_way, "getwd"},
    {"get_current_dir_name", stands_by_name, "get_current_dir_name"},
    {"/proc/self/fd: name of a descriptor", is_called_by_proc, NULL},
    {"/proc/self/fd: name of a directory, cut", is_cut_by_proc, NULL},
    {"/proc/self/fd: realpath", is_really_by_proc, NULL},
    {"/proc/self/cwd: name of a directory", stands_by_proc, NULL},
    NO_PROBE,
};
