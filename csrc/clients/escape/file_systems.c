/* Functions that ask about the file system, watch a file, or take its attributes. What only the simulated host has must
 * answer as /sys does. */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/inotify.h>
#include <sys/ipc.h>
#include <sys/statfs.h>
#include <sys/statvfs.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "ollama/raw.h"

#include "escape/probe.h"

static void check_type(int returned, const struct statfs *facts) {
    struct statfs whole;
    if (see(returned == 0, "%m")) {
        raw_call(SYS_statfs, (long)at.sys, (long)&whole, 0, 0);
        expect(facts->f_type == whole.f_type, "its type is %#lx, that of /sys %#lx", (long)facts->f_type,
               (long)whole.f_type);
    }
}

static void type(const char *function) {
    struct statfs facts;
    check_type(((int (*)(const char *, struct statfs *))find(function))(at.driver, &facts), &facts);
}

static void type_by_descriptor(const char *function) {
    struct statfs facts;
    int fd = open(at.driver, O_RDONLY);
    check_type(((int (*)(int, struct statfs *))find(function))(fd, &facts), &facts);
}

static void check_room(int returned, const struct statvfs *facts) {
    struct statfs whole;
    if (see(returned == 0, "%m")) {
        raw_call(SYS_statfs, (long)at.sys, (long)&whole, 0, 0);
        expect(facts->f_blocks == whole.f_blocks && facts->f_namemax == (unsigned long)whole.f_namelen,
               "it has %lu blocks, /sys %lu", facts->f_blocks, whole.f_blocks);
    }
}

static void room(const char *function) {
    struct statvfs facts;
    check_room(((int (*)(const char *, struct statvfs *))find(function))(at.driver, &facts), &facts);
}

static void room_by_descriptor(const char *function) {
    struct statvfs facts;
    int fd = open(at.driver, O_RDONLY);
    check_room(((int (*)(int, struct statvfs *))find(function))(fd, &facts), &facts);
}

static void limits(const char *function) {
    long (*call)(const char *, int) = (long (*)(const char *, int))find(function);
    errno = 0;
    long found = call(at.driver, _PC_NAME_MAX);
    if (see(found > 0, "%m")) {
        expect(found == call(at.sys, _PC_NAME_MAX), "names of %ld bytes", found);
        expect(call(at.driver, _PC_LINK_MAX) == call(at.sys, _PC_LINK_MAX), "another number of links");
    }
}

static void watched(const char *function) {
    char events[4096], path[PATH_MAX];
    join(path, at.bound, "/vendor");
    int queue = inotify_init1(IN_NONBLOCK);
    int watch = ((int (*)(int, const char *, uint32_t))find(function))(queue, path, IN_OPEN);
    if (see(watch >= 0, "%m")) {
        close(open(path, O_RDONLY));
        expect(read(queue, events, sizeof(events)) > 0, "opening the file is no event");
    }
}

/* What a file system answers about an attribute that no file has. */
static void check_attribute(ssize_t found, int error, ssize_t found_above, int error_above) {
    if (see(found >= 0 || error != ENOENT, "%s", strerror(error))) {
        expect(found == found_above && (found >= 0 || error == error_above), "%zd, %s; /sys: %zd, %s", found,
               strerror(error), found_above, strerror(error_above));
    }
}

static void attribute(const char *function) {
    char text[256];
    ssize_t (*call)(const char *, const char *, void *, size_t) =
        (ssize_t (*)(const char *, const char *, void *, size_t))find(function);
    ssize_t found = call(at.driver, "user.none", text, sizeof(text));
    int error = errno;
    ssize_t above = call(at.buses, "user.none", text, sizeof(text));
    check_attribute(found, error, above, errno);
}

static void attributes(const char *function) {
    char text[256];
    ssize_t (*call)(const char *, char *, size_t) = (ssize_t (*)(const char *, char *, size_t))find(function);
    ssize_t found = call(at.driver, text, sizeof(text));
    int error = errno;
    ssize_t above = call(at.buses, text, sizeof(text));
    check_attribute(found, error, above, errno);
}

static void handle(const char *function) {
    (void)function;
    union {
        struct file_handle handle;
        char room[sizeof(struct file_handle) + MAX_HANDLE_SZ];
    } found = {0}, above = {0};
    found.handle.handle_bytes = above.handle.handle_bytes = MAX_HANDLE_SZ;
    int mount = 0, mount_above = 0;
    long returned = need("name_to_handle_at", name_to_handle_at(AT_FDCWD, at.driver, &found.handle, &mount, 0));
    int error = errno;
    int returned_above = name_to_handle_at(AT_FDCWD, at.sys, &above.handle, &mount_above, 0);
    if (see(returned == 0 || error != ENOENT, "%s", strerror(error))) {
        expect(returned == returned_above && mount == mount_above, "%ld in mount %d; /sys: %d in mount %d", returned,
               mount, returned_above, mount_above);
    }
}

static void key(const char *function) {
    (void)function;
    struct stat facts = {0};
    key_t found = ftok(at.device, 'v');
    if (see(found != -1, "%m")) {
        stat(at.device, &facts);
        expect((unsigned int)found == ((facts.st_ino & 0xffff) | (facts.st_dev & 0xff) << 16 | (unsigned int)'v' << 24),
               "the key %#x is not made of what stat shows", (unsigned int)found);
    }
}

const struct probe file_systems[] = {
    {"statfs", type, "statfs"},
    {"statfs64", type, "statfs64"},
    {"__statfs", type, "__statfs"},
    {"fstatfs", type_by_descriptor, "fstatfs"},
    {"fstatfs64", type_by_descriptor, "fstatfs64"},
    {"statvfs", room, "statvfs"},
    {"statvfs64", room, "statvfs64"},
    {"fstatvfs", room_by_descriptor, "fstatvfs"},
    {"fstatvfs64", room_by_descriptor, "fstatvfs64"},
    {"pathconf", limits, "pathconf"},
    {"inotify_add_watch", watched, "inotify_add_watch"},
    {"getxattr", attribute, "getxattr"},
    {"lgetxattr", attribute, "lgetxattr"},
    {"listxattr", attributes, "listxattr"},
    {"llistxattr", attributes, "llistxattr"},
    {"name_to_handle_at", handle, NULL},
    {"ftok", key, NULL},
    NO_PROBE,
};
