/* Functions that list a directory, or find names by a pattern. */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <glob.h>
#include <string.h>
#include <unistd.h>
#include <wordexp.h>

#include "escape/probe.h"

/* The driver's directory, which only the simulated host has, holds the GPU as a link. */
static void check_entries(const struct dirent *const *entries, int count) {
    const struct dirent *gpu = NULL;
    int dots = 0;
    for (int i = 0; i < count; i++) {
        gpu = strcmp(entries[i]->d_name, at.address) == 0 ? entries[i] : gpu;
        dots += strcmp(entries[i]->d_name, ".") == 0 || strcmp(entries[i]->d_name, "..") == 0;
    }
    if (see(gpu != NULL, "%s", count < 0 ? strerror(errno) : "the GPU is not listed")) {
        expect(gpu->d_type == DT_LNK, "its d_type is %d: no link", gpu->d_type);
        expect(dots == 2, "%d of `.` and `..`", dots);
    }
}

static void check_stream(DIR *stream) {
    static struct dirent copies[ESCAPE_BYTES / sizeof(struct dirent)];
    const struct dirent *entries[sizeof(copies) / sizeof(copies[0])];
    int count = stream == NULL ? -1 : 0, most = (int)(sizeof(copies) / sizeof(copies[0]));
    for (struct dirent *entry; stream != NULL && count < most && (entry = readdir(stream)) != NULL; count++) {
        copies[count] = *entry;
        entries[count] = &copies[count];
    }
    check_entries(entries, count);
}

static void opened(const char *function) {
    check_stream(((DIR * (*)(const char *)) find(function))(at.driver));
}

static void opened_by_descriptor(const char *function) {
    (void)function;
    int fd = open(at.driver, O_RDONLY | O_DIRECTORY);
    check_stream(fd < 0 ? NULL : fdopendir(fd));
}

static void opened_from(const char *function) {
    (void)function;
    DIR *stream = opendir(at.bound);
    check_file(stream == NULL ? -1 : openat(dirfd(stream), "vendor", O_RDONLY));
}

typedef int scan(const char *path, struct dirent ***to, int (*filter)(const struct dirent *),
                 int (*order)(const struct dirent **, const struct dirent **));
typedef int scan_at(int directory, const char *path, struct dirent ***to, int (*filter)(const struct dirent *),
                    int (*order)(const struct dirent **, const struct dirent **));

static void scanned(const char *function) {
    struct dirent **entries = NULL;
    int count = ((scan *)find(function))(at.driver, &entries, NULL, alphasort);
    check_entries((const struct dirent *const *)entries, count);
}

static void scanned_at(const char *function) {
    struct dirent **entries = NULL;
    int count = ((scan_at *)find(function))(AT_FDCWD, at.driver, &entries, NULL, alphasort);
    check_entries((const struct dirent *const *)entries, count);
}

/* In /sys/bus/pci/drivers every entry is a directory. */
static void types(const char *function) {
    int found = 0;
    (void)function;
    DIR *stream = opendir(at.drivers);
    for (struct dirent *entry; stream != NULL && (entry = readdir(stream)) != NULL;) {
        found |= strcmp(entry->d_name, "nvidia") == 0;
        expect(entry->d_type == DT_DIR, "d_type of %.60s is %d: no directory", entry->d_name, entry->d_type);
    }
    see(found, "%s", stream == NULL ? strerror(errno) : "the driver is not listed");
}

static void check_matches(char *const *paths, size_t count) {
    char wanted[PATH_MAX];
    join(wanted, at.bound, "/vendor");
    int found = 0;
    for (size_t i = 0; i < count; i++) {
        size_t length = strlen(paths[i]);
        found |= strchr(paths[i], '*') == NULL && length > 7 && strcmp(paths[i] + length - 7, "/vendor") == 0;
    }
    if (see(found, "no file matches")) {
        expect(count == 1 && strcmp(paths[0], wanted) == 0, "%zu matches, %s", count, paths[0]);
    }
}

static void pattern(char *to) {
    join(to, at.root, "/sys/bus/pci/driver*/nvidi?/[0-9a-f]*:*/vendor");
}

typedef int globbing(const char *pattern, int flags, int (*error)(const char *, int), glob_t *to);

static void globbed(const char *function) {
    char text[PATH_MAX];
    glob_t found = {0};
    pattern(text);
    ((globbing *)find(function))(text, 0, NULL, &found);
    check_matches(found.gl_pathv, found.gl_pathc);
}

static void globbed_with_braces(const char *function) {
    char text[PATH_MAX];
    glob_t found = {0};
    join(text, at.root, "/sys/bus/pci/drivers/{nvidia,nouveau}/*:*/vendor");
    ((globbing *)find(function))(text, GLOB_BRACE | GLOB_NOSORT, NULL, &found);
    check_matches(found.gl_pathv, found.gl_pathc);
}

static void globbed_without_pattern(const char *function) {
    char text[PATH_MAX];
    glob_t found = {0};
    join(text, at.bound, "/vendor");
    ((globbing *)find(function))(text, 0, NULL, &found);
    check_matches(found.gl_pathv, found.gl_pathc);
}

static void expanded(const char *function) {
    char text[PATH_MAX];
    wordexp_t found = {0};
    pattern(text);
    ((int (*)(const char *, wordexp_t *, int))find(function))(text, &found, 0);
    check_matches(found.we_wordv, found.we_wordc);
}

const struct probe lists[] = {
    {"opendir", opened, "opendir"},
    {"fdopendir", opened_by_descriptor, NULL},
    {"opendir, dirfd, openat", opened_from, NULL},
    {"scandir", scanned, "scandir"},
    {"scandir64", scanned, "scandir64"},
    {"scandirat", scanned_at, "scandirat"},
    {"scandirat64", scanned_at, "scandirat64"},
    {"readdir: types in a merged directory", types, NULL},
    {"glob", globbed, "glob"},
    {"glob64", globbed, "glob64"},
    {"glob with braces", globbed_with_braces, "glob"},
    {"glob without a pattern", globbed_without_pattern, "glob"},
    {"wordexp", expanded, "wordexp"},
    NO_PROBE,
};
