/* System calls by number: through libc's syscall(), and by the bare instruction, as Go's runtime does them. */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/openat2.h>
#include <string.h>
#include <sys/inotify.h>
#include <sys/statfs.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include "ollama/raw.h"

#include "escape/probe.h"

typedef long caller(long number, long a, long b, long c, long d);

static long by_libc(long number, long a, long b, long c, long d) {
    return syscall(number, a, b, c, d);
}

static long by_instruction(long number, long a, long b, long c, long d) {
    long result = raw_call(number, a, b, c, d);
    if (result < 0) {
        errno = (int)-result;
        return -1;
    }
    return result;
}

/* NULL: by libc, else by the instruction. */
static caller *way(const char *bare) {
    return bare == NULL ? by_libc : by_instruction;
}

static void opened(const char *bare) {
    check_file((int)way(bare)(SYS_open, (long)at.vendor, O_RDONLY, 0, 0));
}

static void opened_at(const char *bare) {
    check_file((int)way(bare)(SYS_openat, AT_FDCWD, (long)at.vendor, O_RDONLY, 0));
}

static void opened_how(const char *bare) {
    struct open_how how = {.flags = O_RDONLY | O_CLOEXEC};
    check_file((int)need("openat2", way(bare)(SYS_openat2, AT_FDCWD, (long)at.vendor, (long)&how, sizeof(how))));
}

static void opened_from_the_root(const char *bare) {
    long root = way(bare)(SYS_openat, AT_FDCWD, (long)"/", O_RDONLY, 0);
    check_file((int)way(bare)(SYS_openat, root, (long)(at.vendor + 1), O_RDONLY, 0));
}

static void stated(const char *bare) {
    struct stat facts = {0};
    check_device_stat((int)way(bare)(SYS_stat, (long)at.device, (long)&facts, 0, 0), &facts);
}

static void stated_link(const char *bare) {
    struct stat facts = {0};
    check_device_stat((int)way(bare)(SYS_lstat, (long)at.device, (long)&facts, 0, 0), &facts);
}

static void stated_at(const char *bare) {
    struct stat facts = {0};
    check_device_stat((int)way(bare)(SYS_newfstatat, AT_FDCWD, (long)at.device, (long)&facts, 0), &facts);
}

static void stated_descriptor(const char *bare) {
    struct stat facts = {0};
    long fd = way(bare)(SYS_open, (long)at.device, O_RDONLY, 0, 0);
    check_device_stat((int)way(bare)(SYS_fstat, fd, (long)&facts, 0, 0), &facts);
}

static void extended(const char *bare) {
    struct statx facts = {0};
    long returned = bare == NULL ? syscall(SYS_statx, AT_FDCWD, at.device, 0, STATX_BASIC_STATS, &facts) : -1;
    if (bare != NULL) {
        register long r8 __asm__("r8") = (long)&facts;
        register long r10 __asm__("r10") = STATX_BASIC_STATS;
        __asm__ volatile("syscall"
                         : "=a"(returned)
                         : "a"(SYS_statx), "D"(AT_FDCWD), "S"(at.device), "d"(0), "r"(r10), "r"(r8)
                         : "rcx", "r11", "memory");
        errno = returned < 0 ? (int)-returned : errno;
    }
    need("statx", returned < 0 ? -1 : 0);
    check_device(returned < 0 ? -1 : 0, facts.stx_mode, makedev(facts.stx_rdev_major, facts.stx_rdev_minor));
}

static void allowed(const char *bare) {
    see(way(bare)(SYS_access, (long)at.device, R_OK | W_OK, 0, 0) == 0, "%m");
}

static void allowed_at(const char *bare) {
    see(way(bare)(SYS_faccessat, AT_FDCWD, (long)at.device, R_OK | W_OK, 0) == 0, "%m");
}

static void allowed_at_with_flags(const char *bare) {
    long answer = way(bare)(SYS_faccessat2, AT_FDCWD, (long)at.device, R_OK | W_OK, AT_EACCESS);
    see(need("faccessat2", answer) == 0, "%m");
}

static void check_link(const char *text, long length) {
    if (see(length >= 0, "%m")) {
        expect(length == (long)strlen(at.link) && memcmp(text, at.link, (size_t)length) == 0, "it leads to %.*s",
               (int)length, text);
    }
}

static void leads(const char *bare) {
    char text[PATH_MAX];
    check_link(text, way(bare)(SYS_readlink, (long)at.bound, (long)text, sizeof(text), 0));
}

static void leads_at(const char *bare) {
    char text[PATH_MAX];
    check_link(text, way(bare)(SYS_readlinkat, AT_FDCWD, (long)at.bound, (long)text, sizeof(text)));
}

static void listed(const char *bare) {
    char entries[ESCAPE_BYTES];
    long fd = way(bare)(SYS_open, (long)at.driver, O_RDONLY | O_DIRECTORY, 0, 0);
    long got = fd < 0 ? -1 : way(bare)(SYS_getdents64, fd, (long)entries, sizeof(entries), 0);
    int found = 0;
    for (long i = 0; i < got;) {
        const struct dirent64 *entry = (const struct dirent64 *)(entries + i);
        found |= strcmp(entry->d_name, at.address) == 0;
        i += entry->d_reclen;
    }
    see(found, "%s", got < 0 ? strerror(errno) : "the GPU is not listed");
}

static void entered(const char *bare) {
    char path[PATH_MAX] = "";
    if (see(way(bare)(SYS_chdir, (long)at.bound, 0, 0, 0) == 0, "%m")) {
        check_path(way(bare)(SYS_getcwd, (long)path, sizeof(path), 0, 0) < 0 ? NULL : path, at.home);
    }
}

static void type(const char *bare) {
    struct statfs facts, whole = {0};
    statfs(at.sys, &whole);
    if (see(way(bare)(SYS_statfs, (long)at.driver, (long)&facts, 0, 0) == 0, "%m")) {
        expect(facts.f_type == whole.f_type, "its type is %#lx, that of /sys %#lx", (long)facts.f_type,
               (long)whole.f_type);
    }
}

static void watched(const char *bare) {
    int queue = inotify_init1(IN_NONBLOCK);
    see(way(bare)(SYS_inotify_add_watch, queue, (long)at.device, IN_OPEN, 0) >= 0, "%m");
}

static void attribute(const char *bare) {
    char text[16];
    long got = way(bare)(SYS_getxattr, (long)at.driver, (long)"user.none", (long)text, sizeof(text));
    see(got >= 0 || errno != ENOENT, "%m");
}

#define BARE "instruction"

const struct probe raw_calls[] = {
    {"syscall(SYS_open)", opened, NULL},
    {"syscall(SYS_openat)", opened_at, NULL},
    {"syscall(SYS_openat) from /", opened_from_the_root, NULL},
    {"syscall(SYS_openat2)", opened_how, NULL},
    {"syscall(SYS_stat)", stated, NULL},
    {"syscall(SYS_lstat)", stated_link, NULL},
    {"syscall(SYS_fstat)", stated_descriptor, NULL},
    {"syscall(SYS_newfstatat)", stated_at, NULL},
    {"syscall(SYS_statx)", extended, NULL},
    {"syscall(SYS_access)", allowed, NULL},
    {"syscall(SYS_faccessat)", allowed_at, NULL},
    {"syscall(SYS_faccessat2)", allowed_at_with_flags, NULL},
    {"syscall(SYS_readlink)", leads, NULL},
    {"syscall(SYS_readlinkat)", leads_at, NULL},
    {"syscall(SYS_getdents64)", listed, NULL},
    {"syscall(SYS_chdir), syscall(SYS_getcwd)", entered, NULL},
    {"syscall(SYS_statfs)", type, NULL},
    {"syscall(SYS_inotify_add_watch)", watched, NULL},
    {"syscall(SYS_getxattr)", attribute, NULL},
    {"instruction: open", opened, BARE},
    {"instruction: openat", opened_at, BARE},
    {"instruction: openat2", opened_how, BARE},
    {"instruction: stat", stated, BARE},
    {"instruction: fstat", stated_descriptor, BARE},
    {"instruction: newfstatat", stated_at, BARE},
    {"instruction: statx", extended, BARE},
    {"instruction: access", allowed, BARE},
    {"instruction: faccessat2", allowed_at_with_flags, BARE},
    {"instruction: readlink", leads, BARE},
    {"instruction: readlinkat", leads_at, BARE},
    {"instruction: getdents64", listed, BARE},
    {"instruction: chdir, getcwd", entered, BARE},
    {"instruction: statfs", type, BARE},
    {"instruction: getxattr", attribute, BARE},
    NO_PROBE,
};
