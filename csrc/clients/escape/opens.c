/* Functions that open a path and answer a descriptor. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "escape/probe.h"

static void by_path(const char *function) {
    check_file(((int (*)(const char *, int, ...))find(function))(at.vendor, O_RDONLY));
}

static void with_mode(const char *function) {
    check_file(((int (*)(const char *, int, ...))find(function))(at.vendor, O_RDONLY | O_CLOEXEC, 0600));
}

static void by_directory(const char *function) {
    check_file(((int (*)(int, const char *, int, ...))find(function))(AT_FDCWD, at.vendor, O_RDONLY));
}

static void fortified(const char *function) {
    check_file(((int (*)(const char *, int))find(function))(at.vendor, O_RDONLY));
}

static void fortified_at(const char *function) {
    check_file(((int (*)(int, const char *, int))find(function))(AT_FDCWD, at.vendor, O_RDONLY));
}

/* A directory cannot be created anew; one that only the simulated host has is seen by that. */
static void creating(const char *function) {
    int fd = ((int (*)(const char *, mode_t))find(function))(at.driver, 0600);
    see(fd < 0 && errno == EISDIR, "%s", fd < 0 ? strerror(errno) : "created");
}

static void device(const char *function) {
    struct stat facts = {0};
    int fd = ((int (*)(const char *, int, ...))find(function))(at.device, O_RDWR);
    check_device_stat(fd < 0 ? -1 : fstat(fd, &facts), &facts);
}

/* A descriptor without the right to read; it is opened again by its name in /proc. */
static void again(const char *function) {
    char name[32];
    int (*call)(int, const char *, unsigned int) = (int (*)(int, const char *, unsigned int))find(function);
    int fd = (int)need(function, call(AT_FDCWD, at.vendor, 0));
    if (see(fd >= 0, "%m")) {
        snprintf(name, sizeof(name), "/proc/self/fd/%d", fd);
        check_file(open(name, O_RDONLY));
    }
}

static void place_only(const char *function) {
    char name[32];
    int fd = ((int (*)(const char *, int, ...))find(function))(at.vendor, O_PATH);
    if (see(fd >= 0, "%m")) {
        snprintf(name, sizeof(name), "/proc/self/fd/%d", fd);
        check_file(open(name, O_RDONLY));
    }
}

const struct probe opens[] = {
    {"open", by_path, "open"},
    {"open64", by_path, "open64"},
    {"__open", by_path, "__open"},
    {"__open64", by_path, "__open64"},
    {"open with a mode", with_mode, "open"},
    {"open of a place (O_PATH)", place_only, "open"},
    {"open of the device", device, "open"},
    {"open64 of the device", device, "open64"},
    {"openat", by_directory, "openat"},
    {"openat64", by_directory, "openat64"},
    {"__open_2", fortified, "__open_2"},
    {"__open64_2", fortified, "__open64_2"},
    {"__openat_2", fortified_at, "__openat_2"},
    {"__openat64_2", fortified_at, "__openat64_2"},
    {"creat", creating, "creat"},
    {"creat64", creating, "creat64"},
    {"open_tree", again, "open_tree"},
    NO_PROBE,
};
