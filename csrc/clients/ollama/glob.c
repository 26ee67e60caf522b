/* Go's filepath.Glob. It differs from libc's glob(): `*` matches a leading dot, and no libc function is called. */
#include "ollama/glob.h"

#include <dirent.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "ollama/raw.h"

/* linux_dirent64 of getdents64(2). */
struct entry {
    uint64_t inode;
    int64_t offset;
    uint16_t size;
    uint8_t type;
    char name[];
};

static int matches_star(const char *pattern, const char *name) {
    const char *star = NULL;
    const char *resume = NULL;
    while (*name != '\0') {
        if (*pattern == '*') {
            star = pattern++;
            resume = name;
        } else if (*pattern == *name) {
            pattern++;
            name++;
        } else if (star != NULL) {
            pattern = star + 1;
            name = ++resume;
        } else {
            return 0;
        }
    }
    while (*pattern == '*') {
        pattern++;
    }
    return *pattern == '\0';
}

static void list_directory(const char *directory, struct strings *names) {
    _Alignas(struct entry) char buffer[8192];
    int fd = raw_open(directory, O_RDONLY | O_DIRECTORY, 0);
    if (fd < 0) {
        return;
    }
    for (;;) {
        long size = raw_call(SYS_getdents64, fd, (long)buffer, sizeof buffer, 0);
        if (size <= 0) {
            break;
        }
        for (long at = 0; at < size;) {
            const struct entry *entry = (const struct entry *)(buffer + at);
            if (strcmp(entry->name, ".") != 0 && strcmp(entry->name, "..") != 0) {
                strings_add(names, entry->name);
            }
            at += entry->size;
        }
    }
    raw_close(fd);
}

static void glob_in(const char *directory, const char *pattern, struct strings *matches) {
    struct strings names = {0};
    list_directory(directory, &names);
    strings_sort(&names);
    for (size_t i = 0; i < names.count; i++) {
        if (matches_star(pattern, names.items[i])) {
            strings_addf(matches, "%s/%s", strcmp(directory, "/") == 0 ? "" : directory, names.items[i]);
        }
    }
    strings_free(&names);
}

void glob_paths(const char *pattern, struct strings *matches) {
    if (strchr(pattern, '*') == NULL) {
        struct stat found;
        if (raw_stat(pattern, &found, AT_SYMLINK_NOFOLLOW) == 0) {
            strings_add(matches, pattern);
        }
        return;
    }
    char *directory = path_directory(pattern);
    if (strchr(directory, '*') == NULL) {
        glob_in(directory, path_base(pattern), matches);
    } else {
        struct strings directories = {0};
        glob_paths(directory, &directories);
        for (size_t i = 0; i < directories.count; i++) {
            glob_in(directories.items[i], path_base(pattern), matches);
        }
        strings_free(&directories);
    }
    free(directory);
}
