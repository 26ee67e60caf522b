/* Ways to write the same path: with open, and some with stat and realpath too. */
#include <dirent.h>
#include <fcntl.h>
#include <glob.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "escape/probe.h"

/* `format` has %s for the root and %s for the GPU's address. */
static void opened(const char *format) {
    char path[PATH_MAX];
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wformat-nonliteral"
    snprintf(path, sizeof(path), format, at.root, at.address, at.address);
#pragma GCC diagnostic pop
    check_file(open(path, O_RDONLY));
}

static void with_many_dots(const char *unused) {
    char path[PATH_MAX];
    (void)unused;
    size_t length = (size_t)snprintf(path, sizeof(path), "%s", at.root);
    while (length < PATH_MAX - 400) {
        length += (size_t)snprintf(path + length, sizeof(path) - length, "/././/./");
    }
    snprintf(path + length, sizeof(path) - length, "%s", at.vendor + strlen(at.root));
    check_file(open(path, O_RDONLY));
}

static void through_own_number(const char *unused) {
    char path[PATH_MAX + 32];
    (void)unused;
    snprintf(path, sizeof(path), "/proc/%d/root%s", getpid(), at.vendor);
    check_file(open(path, O_RDONLY));
}

/* A link in a directory of the program's own, to `to`; its path goes to `link`. */
static void alias(char *link, const char *to) {
    const char *temporary = getenv("TMPDIR");
    snprintf(link, PATH_MAX, "%.2000s/vgpu-escape-XXXXXX", temporary == NULL ? "/tmp" : temporary);
    if (mkdtemp(link) == NULL) {
        unavailable("mkdtemp");
    }
    strncat(link, "/alias", PATH_MAX - strlen(link) - 1);
    if (symlink(to, link) != 0) {
        unavailable("symlink");
    }
}

static void remove_alias(char *link) {
    unlink(link);
    *strrchr(link, '/') = '\0';
    rmdir(link);
}

static void through_a_link_to_sys(const char *unused) {
    char link[PATH_MAX], path[PATH_MAX];
    (void)unused;
    alias(link, at.sys);
    join(path, link, at.vendor + strlen(at.sys));
    check_file(open(path, O_RDONLY));
    remove_alias(link);
}

/* The driver's directory, which no machine without the driver has. */
static void through_a_link_to_the_file(const char *unused) {
    char link[PATH_MAX], path[PATH_MAX];
    (void)unused;
    join(path, at.bound, "/vendor");
    alias(link, path);
    check_file(open(link, O_RDONLY));
    remove_alias(link);
}

static void through_a_link_to_a_link(const char *unused) {
    char link[PATH_MAX], second[PATH_MAX], path[PATH_MAX];
    (void)unused;
    join(path, at.bound, "/vendor");
    alias(link, path);
    alias(second, link);
    FILE *stream = fopen(second, "r");
    check_file(stream == NULL ? -1 : fileno(stream));
    remove_alias(second);
    remove_alias(link);
}

/* The device in a listing of what `link` leads to, by a stream or by a stream of a descriptor. */
static void list_through(DIR *stream) {
    int found = 0;
    for (struct dirent *entry; stream != NULL && (entry = readdir(stream)) != NULL;) {
        found |= strcmp(entry->d_name, strrchr(at.device, '/') + 1) == 0;
    }
    see(found, "the device is not listed");
}

/* What is there on every machine, too: the simulated host only adds to it. */
static void alias_of_a_merged_directory(char *link) {
    char path[PATH_MAX];
    join(path, at.device, "");
    *strrchr(path, '/') = '\0';
    alias(link, path);
}

static void through_a_link_to_a_merged_directory(const char *unused) {
    char link[PATH_MAX];
    (void)unused;
    alias_of_a_merged_directory(link);
    list_through(opendir(link));
    remove_alias(link);
}

static void by_a_descriptor_of_a_link_to_it(const char *unused) {
    char link[PATH_MAX];
    (void)unused;
    alias_of_a_merged_directory(link);
    int before = dup(0);
    close(before);
    int fd = open(link, O_RDONLY | O_DIRECTORY);
    expect(fd == before, "the descriptor is %d, not the lowest free one, %d", fd, before);
    list_through(fd < 0 ? NULL : fdopendir(fd));
    remove_alias(link);
}

static void scanned_through_a_link(const char *unused) {
    char link[PATH_MAX];
    struct dirent **entries;
    int found = 0;
    (void)unused;
    alias_of_a_merged_directory(link);
    int count = scandir(link, &entries, NULL, NULL);
    for (int i = 0; i < count; i++) {
        found |= strcmp(entries[i]->d_name, strrchr(at.device, '/') + 1) == 0;
    }
    see(found, "%d entries, none the device", count);
    remove_alias(link);
}

static void matched_through_a_link(const char *unused) {
    char link[PATH_MAX], pattern[PATH_MAX];
    glob_t found = {0};
    (void)unused;
    alias_of_a_merged_directory(link);
    join(pattern, link, strrchr(at.device, '/'));
    pattern[strlen(pattern) - 1] = '*';
    int answer = glob(pattern, 0, NULL, &found);
    see(answer == 0, "no file matches");
    remove_alias(link);
}

static void entered_through_a_link_to_it(const char *unused) {
    char link[PATH_MAX], place[PATH_MAX], path[PATH_MAX];
    (void)unused;
    alias_of_a_merged_directory(link);
    see(chdir(link) == 0 && access(strrchr(at.device, '/') + 1, F_OK) == 0, "%m");
    join(path, at.device, "");
    *strrchr(path, '/') = '\0';
    expect(getcwd(place, sizeof(place)) != NULL && strcmp(place, path) == 0, "the working directory is %s", place);
    remove_alias(link);
}

/* The file at `fd`, of a list with the driver in it, or -1. */
static void check_list(int fd) {
    char text[8192] = "";
    see(fd >= 0 && pread(fd, text, sizeof(text) - 1, 0) > 0 && strstr(text, "nvidia") != NULL,
        "the driver is not listed");
}

static void alias_of_a_merged_file(char *link) {
    char path[PATH_MAX];
    join(path, at.root, "/proc/devices");
    alias(link, path);
}

static void through_a_link_to_a_merged_file(const char *unused) {
    char link[PATH_MAX];
    (void)unused;
    alias_of_a_merged_file(link);
    FILE *stream = fopen(link, "r");
    check_list(stream == NULL ? -1 : fileno(stream));
    remove_alias(link);
}

static void reopened_through_a_link(const char *unused) {
    char link[PATH_MAX];
    (void)unused;
    alias_of_a_merged_file(link);
    FILE *stream = freopen(link, "r", stdin);
    check_list(stream == NULL ? -1 : fileno(stream));
    remove_alias(link);
}

static void opened_through_a_link(const char *unused) {
    char link[PATH_MAX];
    (void)unused;
    alias_of_a_merged_file(link);
    check_list(open(link, O_RDONLY));
    remove_alias(link);
}

static void through_a_link_below_a_descriptor(const char *unused) {
    char link[PATH_MAX], path[PATH_MAX];
    (void)unused;
    join(path, at.root, "/proc");
    alias(link, path);
    char *name = strrchr(link, '/');
    *name = '\0';
    int directory = open(link, O_PATH | O_DIRECTORY);
    *name = '/';
    join(path, name + 1, "/devices");
    check_list(openat(directory, path, O_RDONLY));
    remove_alias(link);
}

static void through_a_link_to_the_device(const char *unused) {
    char link[PATH_MAX];
    struct stat facts = {0};
    (void)unused;
    alias(link, at.device);
    check_device_stat(stat(link, &facts), &facts);
    expect(lstat(link, &facts) == 0 && S_ISLNK(facts.st_mode), "lstat follows the link");
    remove_alias(link);
}

static void may_through_a_link_to_the_device(const char *unused) {
    char link[PATH_MAX];
    (void)unused;
    alias(link, at.device);
    see(access(link, R_OK | W_OK) == 0, "%m");
    remove_alias(link);
}

static void listed_through_a_link(const char *unused) {
    char link[PATH_MAX];
    (void)unused;
    alias(link, at.driver);
    DIR *stream = opendir(link);
    int found = 0;
    for (struct dirent *entry; stream != NULL && (entry = readdir(stream)) != NULL;) {
        found |= strcmp(entry->d_name, at.address) == 0;
    }
    see(found, "the GPU is not listed");
    remove_alias(link);
}

static void entered_through_a_link(const char *unused) {
    char link[PATH_MAX], here[PATH_MAX];
    (void)unused;
    alias(link, at.bound);
    check_path(chdir(link) < 0 ? NULL : getcwd(here, sizeof(here)), at.home);
    remove_alias(link);
}

static void resolved_through_a_link(const char *unused) {
    char link[PATH_MAX], found[PATH_MAX];
    (void)unused;
    alias(link, at.bound);
    check_path(realpath(link, found), at.home);
    remove_alias(link);
}

static void from_the_root(const char *unused) {
    (void)unused;
    check_file(chdir("/") < 0 ? -1 : open(at.vendor + 1, O_RDONLY));
}

static void from_a_real_directory(const char *unused) {
    (void)unused;
    check_file(chdir(at.buses) < 0 ? -1 : open(at.vendor + strlen(at.buses) + 1, O_RDONLY));
}

static void from_beside(const char *unused) {
    char path[PATH_MAX] = "..";
    (void)unused;
    strncat(path, at.vendor + strlen(at.root) + strlen("/sys"), sizeof(path) - 3);
    check_file(chdir(at.buses) < 0 ? -1 : open(path, O_RDONLY));
}

static void from_the_gpu(const char *unused) {
    (void)unused;
    check_file(chdir(at.gpu) < 0 ? -1 : open("vendor", O_RDONLY));
}

static void from_the_gpu_upwards(const char *unused) {
    char path[PATH_MAX] = "../";
    (void)unused;
    strncat(path, at.address, 32);
    strncat(path, "/vendor", 32);
    check_file(chdir(at.bound) < 0 ? -1 : open(path, O_RDONLY));
}

static void from_a_descriptor(const char *unused) {
    (void)unused;
    int fd = open(at.gpu, O_RDONLY | O_DIRECTORY);
    check_file(fchdir(fd) < 0 ? -1 : open("vendor", O_RDONLY));
}

static void from_own_directory(const char *unused) {
    (void)unused;
    check_file(chdir(at.gpu) < 0 ? -1 : open("/proc/self/cwd/vendor", O_RDONLY));
}

static void by_directory(const char *directory, const char *rest, int flags) {
    check_file(openat(open(directory, flags | O_DIRECTORY), rest, O_RDONLY));
}

static void by_the_root(const char *unused) {
    (void)unused;
    by_directory("/", at.vendor + 1, O_RDONLY);
}

static void by_a_real_directory(const char *unused) {
    (void)unused;
    by_directory(at.buses, at.vendor + strlen(at.buses) + 1, O_RDONLY);
}

static void by_a_place(const char *unused) {
    (void)unused;
    by_directory(at.sys, at.vendor + strlen(at.sys) + 1, O_PATH);
}

static void by_the_gpu(const char *unused) {
    (void)unused;
    by_directory(at.gpu, "vendor", O_RDONLY);
}

static void by_the_gpu_upwards(const char *unused) {
    char path[PATH_MAX] = "../";
    (void)unused;
    strncat(path, at.address, 32);
    strncat(path, "/../", 8);
    strncat(path, at.address, 32);
    strncat(path, "/vendor", 32);
    by_directory(at.gpu, path, O_RDONLY);
}

/* From the GPU's directory up to the bus and down again: `..` leads to the parent that the host has. */
static void by_the_gpu_to_sys(const char *unused) {
    char path[PATH_MAX] = "../../../bus/pci/drivers/nvidia/";
    (void)unused;
    strncat(path, at.address, 32);
    strncat(path, "/vendor", 32);
    by_directory(at.bound, path, O_RDONLY);
}

static void by_name_of_descriptor(const char *unused) {
    char path[PATH_MAX];
    (void)unused;
    int fd = open(at.gpu, O_RDONLY | O_DIRECTORY);
    snprintf(path, sizeof(path), "/proc/self/fd/%d/vendor", fd);
    check_file(fd < 0 ? -1 : open(path, O_RDONLY));
}

static void by_dev_fd(const char *unused) {
    char path[32];
    (void)unused;
    int fd = open(at.vendor, O_RDONLY);
    snprintf(path, sizeof(path), "/dev/fd/%d", fd);
    check_file(fd < 0 ? -1 : open(path, O_RDONLY));
}

static void stated(const char *prefix) {
    char path[PATH_MAX];
    struct stat facts = {0};
    join(path, prefix, at.device);
    check_device_stat(stat(path, &facts), &facts);
}

static void stated_from_the_root(const char *unused) {
    struct stat facts = {0};
    (void)unused;
    check_device_stat(chdir("/") < 0 ? -1 : stat(at.device + 1, &facts), &facts);
}

static void stated_by_the_root(const char *unused) {
    struct stat facts = {0};
    (void)unused;
    check_device_stat(fstatat(open("/", O_PATH), at.device + 1, &facts, 0), &facts);
}

static void stated_with_a_slash(const char *unused) {
    char path[PATH_MAX];
    struct stat facts = {0};
    (void)unused;
    join(path, at.bound, "/");
    if (see(lstat(path, &facts) == 0, "%m")) {
        expect(S_ISDIR(facts.st_mode), "its mode is %o: no directory", facts.st_mode);
    }
}

static void resolved(const char *prefix) {
    char path[PATH_MAX], found[PATH_MAX];
    join(path, prefix, at.bound);
    check_path(realpath(path, found), at.home);
}

static void resolved_from_the_root(const char *unused) {
    char found[PATH_MAX];
    (void)unused;
    check_path(chdir("/") < 0 ? NULL : realpath(at.bound + 1, found), at.home);
}

const struct probe spellings[] = {
    {"ROOT//sys", opened, "%s//sys/bus/pci/devices/%s/vendor"},
    {"ROOT/./sys", opened, "%s/./sys/bus/pci/devices/%s/vendor"},
    {"/sys//bus/./pci", opened, "%s/sys//bus/./pci///devices/%s/./vendor"},
    {"/sys/bus/../bus", opened, "%s/sys/bus/../bus/pci/devices/%s/vendor"},
    {"/sys/../sys", opened, "%s/sys/../sys/bus/pci/devices/%s/vendor"},
    {"/sys/devices", opened, "%s/sys/devices/pci%.7s/%s/vendor"},
    {"/sys/bus/pci/drivers/nvidia", opened, "%s/sys/bus/pci/drivers/nvidia/%s/vendor"},
    {"through `driver`", opened, "%s/sys/bus/pci/devices/%s/driver/%s/vendor"},
    {"through `subsystem`", opened, "%s/sys/bus/pci/devices/%s/subsystem/devices/%s/vendor"},
    {"a path of nearly 4096 bytes", with_many_dots, NULL},
    {"/proc/self/root", opened, "/proc/self/root%s/sys/bus/pci/devices/%s/vendor"},
    {"/proc/thread-self/root", opened, "/proc/thread-self/root%s/sys/bus/pci/devices/%s/vendor"},
    {"/proc/PID/root", through_own_number, NULL},
    {"/proc/self/cwd", from_own_directory, NULL},
    {"/proc/self/fd/N/vendor", by_name_of_descriptor, NULL},
    {"/dev/fd/N", by_dev_fd, NULL},
    {"a link to /sys", through_a_link_to_sys, NULL},
    {"a link to the file", through_a_link_to_the_file, NULL},
    {"a link to a link to the file, fopen", through_a_link_to_a_link, NULL},
    {"a link to a directory that the machine has, too", through_a_link_to_a_merged_directory, NULL},
    {"a link to a directory that the machine has, too, opened", by_a_descriptor_of_a_link_to_it, NULL},
    {"a link to a directory that the machine has, too, scandir", scanned_through_a_link, NULL},
    {"a link to a directory that the machine has, too, glob", matched_through_a_link, NULL},
    {"a link to a directory that the machine has, too, chdir", entered_through_a_link_to_it, NULL},
    {"a link to a file that the machine has, too", through_a_link_to_a_merged_file, NULL},
    {"a link to a file that the machine has, too, open", opened_through_a_link, NULL},
    {"a link to a file that the machine has, too, freopen", reopened_through_a_link, NULL},
    {"a link below a descriptor to a directory that the machine has, too", through_a_link_below_a_descriptor, NULL},
    {"stat of a link to the device", through_a_link_to_the_device, NULL},
    {"access of a link to the device", may_through_a_link_to_the_device, NULL},
    {"opendir of a link to the driver", listed_through_a_link, NULL},
    {"chdir to a link to the GPU", entered_through_a_link, NULL},
    {"realpath of a link to the GPU", resolved_through_a_link, NULL},
    {"chdir /, sys/...", from_the_root, NULL},
    {"chdir /sys/bus, pci/...", from_a_real_directory, NULL},
    {"chdir /sys/bus, ../bus/...", from_beside, NULL},
    {"chdir to the GPU, vendor", from_the_gpu, NULL},
    {"chdir to the GPU, ../ADDRESS/vendor", from_the_gpu_upwards, NULL},
    {"fchdir to the GPU, vendor", from_a_descriptor, NULL},
    {"openat of /, sys/...", by_the_root, NULL},
    {"openat of /sys/bus, pci/...", by_a_real_directory, NULL},
    {"openat of the place /sys, bus/...", by_a_place, NULL},
    {"openat of the GPU, vendor", by_the_gpu, NULL},
    {"openat of the GPU, ../ADDRESS/vendor", by_the_gpu_upwards, NULL},
    {"openat of the GPU, ../../../bus/...", by_the_gpu_to_sys, NULL},
    {"stat of //dev", stated, "/"},
    {"stat of /./dev", stated, "/."},
    {"stat of /usr/../dev", stated, "/usr/.."},
    {"stat of /proc/self/root/dev", stated, "/proc/self/root"},
    {"stat from /, dev/...", stated_from_the_root, NULL},
    {"fstatat of /, dev/...", stated_by_the_root, NULL},
    {"lstat of a link with a slash behind", stated_with_a_slash, NULL},
    {"realpath of //sys", resolved, "/"},
    {"realpath of /usr/../sys", resolved, "/usr/.."},
    {"realpath from /, sys/...", resolved_from_the_root, NULL},
    NO_PROBE,
};
