/* Functions that say what a path or a descriptor is. */
#include <fcntl.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include "escape/probe.h"

typedef int path_stat(const char *path, struct stat *to);

static void by_path(const char *function) {
    struct stat facts = {0};
    check_device_stat(((path_stat *)find(function))(at.device, &facts), &facts);
}

static void by_old_path(const char *function) {
    struct stat facts = {0};
    check_device_stat(((int (*)(int, const char *, struct stat *))find(function))(1, at.device, &facts), &facts);
}

static void by_directory(const char *function) {
    struct stat facts = {0};
    int returned = ((int (*)(int, const char *, struct stat *, int))find(function))(AT_FDCWD, at.device, &facts, 0);
    check_device_stat(returned, &facts);
}

static void by_old_directory(const char *function) {
    struct stat facts = {0};
    int (*call)(int, int, const char *, struct stat *, int) =
        (int (*)(int, int, const char *, struct stat *, int))find(function);
    check_device_stat(call(1, AT_FDCWD, at.device, &facts, 0), &facts);
}

static int open_device(void) {
    int fd = open(at.device, O_RDONLY);
    see(fd >= 0, "open: %m");
    return fd;
}

static void by_descriptor(const char *function) {
    struct stat facts = {0};
    check_device_stat(((int (*)(int, struct stat *))find(function))(open_device(), &facts), &facts);
}

static void by_old_descriptor(const char *function) {
    struct stat facts = {0};
    check_device_stat(((int (*)(int, int, struct stat *))find(function))(1, open_device(), &facts), &facts);
}

static void by_empty_path(const char *function) {
    struct stat facts = {0};
    int (*call)(int, const char *, struct stat *, int) = (int (*)(int, const char *, struct stat *, int))find(function);
    check_device_stat(call(open_device(), "", &facts, AT_EMPTY_PATH), &facts);
}

static void check_extended(int returned, const struct statx *facts) {
    check_device(returned, facts->stx_mode, makedev(facts->stx_rdev_major, facts->stx_rdev_minor));
}

static void extended(const char *function) {
    (void)function;
    struct statx facts = {0};
    check_extended(statx(AT_FDCWD, at.device, 0, STATX_BASIC_STATS, &facts), &facts);
}

static void extended_by_descriptor(const char *function) {
    (void)function;
    struct statx facts = {0};
    check_extended(statx(open_device(), "", AT_EMPTY_PATH, STATX_BASIC_STATS, &facts), &facts);
}

static void check_attribute(int returned, const struct stat *facts) {
    if (see(returned == 0, "%m")) {
        expect(facts->st_mode == (S_IFREG | 0444), "its mode is %o", facts->st_mode);
        expect(facts->st_size == at.size, "its size is %lld", (long long)facts->st_size);
    }
}

/* By the driver's link, which only the simulated host has. */
static void attribute_path(char *path) {
    join(path, at.bound, "/vendor");
}

static void attribute(const char *function) {
    char path[PATH_MAX];
    struct stat facts = {0};
    attribute_path(path);
    check_attribute(((path_stat *)find(function))(path, &facts), &facts);
}

static void attribute_by_descriptor(const char *function) {
    (void)function;
    char path[PATH_MAX];
    struct stat facts = {0};
    attribute_path(path);
    check_attribute(fstat(open(path, O_RDONLY), &facts), &facts);
}

static void attribute_extended(const char *function) {
    (void)function;
    char path[PATH_MAX];
    struct statx facts = {0};
    attribute_path(path);
    int returned = statx(AT_FDCWD, path, 0, STATX_BASIC_STATS, &facts);
    check_attribute(returned, &(struct stat){.st_mode = facts.stx_mode, .st_size = (off_t)facts.stx_size});
}

static void file_system(const char *function) {
    struct stat facts, whole = {0};
    stat(at.sys, &whole);
    if (see(((path_stat *)find(function))(at.driver, &facts) == 0, "%m")) {
        expect(facts.st_dev == whole.st_dev, "st_dev is %u:%u, that of /sys %u:%u", major(facts.st_dev),
               minor(facts.st_dev), major(whole.st_dev), minor(whole.st_dev));
    }
}

static void of_a_link(const char *function) {
    struct stat facts;
    if (see(((path_stat *)find(function))(at.bound, &facts) == 0, "%m")) {
        expect(S_ISLNK(facts.st_mode), "its mode is %o: no link", facts.st_mode);
    }
}

static void of_a_directory(const char *function) {
    struct stat facts;
    if (see(((path_stat *)find(function))(at.bound, &facts) == 0, "%m")) {
        expect(facts.st_mode == (S_IFDIR | 0755), "its mode is %o", facts.st_mode);
    }
}

static void identity(const char *function) {
    struct stat facts, opened;
    if (see(((path_stat *)find(function))(at.driver, &facts) == 0, "%m")) {
        int fd = open(at.driver, O_RDONLY | O_DIRECTORY);
        expect(fd >= 0 && fstat(fd, &opened) == 0 && opened.st_ino == facts.st_ino && opened.st_dev == facts.st_dev,
               "fstat shows another file");
    }
}

const struct probe stats[] = {
    {"stat", by_path, "stat"},
    {"stat64", by_path, "stat64"},
    {"lstat", by_path, "lstat"},
    {"lstat64", by_path, "lstat64"},
    {"__xstat", by_old_path, "__xstat"},
    {"__xstat64", by_old_path, "__xstat64"},
    {"__lxstat", by_old_path, "__lxstat"},
    {"__lxstat64", by_old_path, "__lxstat64"},
    {"fstatat", by_directory, "fstatat"},
    {"fstatat64", by_directory, "fstatat64"},
    {"__fxstatat", by_old_directory, "__fxstatat"},
    {"__fxstatat64", by_old_directory, "__fxstatat64"},
    {"statx", extended, NULL},
    {"fstat", by_descriptor, "fstat"},
    {"fstat64", by_descriptor, "fstat64"},
    {"__fxstat", by_old_descriptor, "__fxstat"},
    {"__fxstat64", by_old_descriptor, "__fxstat64"},
    {"fstatat of a descriptor", by_empty_path, "fstatat"},
    {"fstatat64 of a descriptor", by_empty_path, "fstatat64"},
    {"statx of a descriptor", extended_by_descriptor, NULL},
    {"stat: size of an attribute", attribute, "stat"},
    {"fstat: size of an attribute", attribute_by_descriptor, NULL},
    {"statx: size of an attribute", attribute_extended, NULL},
    {"stat: file system of a directory", file_system, "stat"},
    {"stat of a directory", of_a_directory, "stat"},
    {"lstat of a link", of_a_link, "lstat"},
    {"stat and fstat agree", identity, "stat"},
    NO_PROBE,
};
