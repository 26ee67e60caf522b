/* walkprobe START FUNCTION [NUMBER]: what one of libc's walkers tells of what is at START, one line for each thing,
 * without START itself, so that two places with the same content give the same lines. The function is found by name,
 * as programs of every kind would bind it. */
#define _GNU_SOURCE
#include <dirent.h>
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <fts.h>
#include <ftw.h>
#include <glob.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

static size_t prefix;
static int number;
static int told;

static const char *rest(const char *path) {
    return strlen(path) >= prefix ? path + prefix : path;
}

static char kind_of(mode_t mode) {
    return S_ISDIR(mode) ? 'd' : S_ISLNK(mode) ? 'l' : S_ISCHR(mode) ? 'c' : S_ISREG(mode) ? 'f' : '?';
}

static int plain(const char *path, const struct stat *facts, int kind) {
    printf("%s %d %c\n", rest(path), kind, kind == FTW_NS ? '-' : kind_of(facts->st_mode));
    return 0;
}

/* With FTW_ACTIONRETVAL a "skip" and a "stop" are obeyed; with FTW_CHDIR the file is looked at from where we are. */
static int visit(const char *path, const struct stat *facts, int kind, struct FTW *at) {
    struct stat here;
    const char *name = path + at->base;
    int seen = (number & FTW_CHDIR) == 0 ? -2 : lstat(*name != '\0' ? name : ".", &here);
    printf("%s %d %c base %d level %d here %d\n", rest(path), kind, kind == FTW_NS ? '-' : kind_of(facts->st_mode),
           at->base - (int)prefix, at->level, seen);
    if ((number & FTW_ACTIONRETVAL) != 0) {
        return strcmp(name, "skip") == 0 ? FTW_SKIP_SUBTREE : strcmp(name, "siblings") == 0 ? FTW_SKIP_SIBLINGS : 0;
    }
    return strcmp(name, "stop") == 0 ? 42 : 0;
}

static int by_name(const FTSENT **a, const FTSENT **b) {
    return strcmp((*a)->fts_name, (*b)->fts_name);
}

static void show(const FTSENT *entry) {
    int has_facts = (number & FTS_NOSTAT) == 0 && entry->fts_info != FTS_NS && entry->fts_info != FTS_NSOK;
    printf("%s info %d level %d name %s lengths %d %d errno %d mode %c cycle %d\n", rest(entry->fts_path),
           entry->fts_info, entry->fts_level, entry->fts_level > 0 ? entry->fts_name : "-",
           entry->fts_pathlen != 0 ? entry->fts_pathlen - (int)prefix : 0,
           entry->fts_level > 0 ? entry->fts_namelen : 0,
           entry->fts_info == FTS_NS || entry->fts_info == FTS_DNR ? entry->fts_errno : 0,
           has_facts ? kind_of(entry->fts_statp->st_mode) : '-',
           entry->fts_info == FTS_DC ? entry->fts_cycle->fts_level : -1);
}

/* Directories called "skip" are skipped, links called "follow" are
 * followed, "again" is asked for twice, and the children of "children" are listed before. */
static void walk_fts(int is_64, char *start) {
    static const char *const names[2][5] = {
        {"fts_open", "fts_read", "fts_set", "fts_children", "fts_close"},
        {"fts64_open", "fts64_read", "fts64_set", "fts64_children", "fts64_close"},
    };
    const char *const *name = names[is_64];
    char *paths[] = {start, NULL};
    FTS *(*fts_open_)(char *const *, int, int (*)(const FTSENT **, const FTSENT **)) = dlsym(RTLD_DEFAULT, name[0]);
    FTSENT *(*fts_read_)(FTS *) = dlsym(RTLD_DEFAULT, name[1]);
    int (*fts_set_)(FTS *, FTSENT *, int) = dlsym(RTLD_DEFAULT, name[2]);
    FTSENT *(*fts_children_)(FTS *, int) = dlsym(RTLD_DEFAULT, name[3]);
    int (*fts_close_)(FTS *) = dlsym(RTLD_DEFAULT, name[4]);
    FTS *walk = fts_open_(paths, number, by_name);
    FTSENT *entry;
    int again = 0;
    if (walk == NULL) {
        printf("open: %s\n", strerror(errno));
        return;
    }
    for (entry = fts_children_(walk, 0); entry != NULL; entry = entry->fts_link) {
        printf("root ");
        show(entry);
    }
    while ((errno = 0, entry = fts_read_(walk)) != NULL) {
        show(entry);
        if (entry->fts_info == FTS_D && strcmp(entry->fts_name, "skip") == 0) {
            printf("set %d\n", fts_set_(walk, entry, FTS_SKIP));
        } else if (entry->fts_info == FTS_SL && strcmp(entry->fts_name, "follow") == 0) {
            printf("set %d\n", fts_set_(walk, entry, FTS_FOLLOW));
        } else if (strcmp(entry->fts_name, "again") == 0 && again++ == 0) {
            printf("set %d\n", fts_set_(walk, entry, FTS_AGAIN));
        } else if (entry->fts_info == FTS_D && strcmp(entry->fts_name, "children") == 0) {
            for (FTSENT *child = fts_children_(walk, 0); child != NULL; child = child->fts_link) {
                printf("child %s info %d level %d\n", child->fts_name, child->fts_info, child->fts_level);
            }
        } else if (entry->fts_level > 4) {
            fts_set_(walk, entry, FTS_SKIP);
        }
        if (++told > 5000) {
            break;
        }
    }
    printf("end %d", errno);
    errno = 0;
    printf(" set %d", fts_set_(walk, NULL, 99));
    printf(" %d", errno);
    printf(" close %d\n", fts_close_(walk));
}

static int failed_at(const char *path, int error) {
    printf("failed %s %d\n", rest(path), error);
    return 0;
}

/* Patterns below the start; the second is appended to the first. */
static void walk_glob(int (*glob_)(const char *, int, int (*)(const char *, int), glob_t *), const char *start) {
    const char *patterns[] = {"*", "*/*", "[!a]*", "{a,b}*", "no-such", "d?r/../d*", ""};
    for (size_t i = 0; i < sizeof(patterns) / sizeof(patterns[0]); i++) {
        char pattern[4096];
        glob_t found = {.gl_offs = 2};
        snprintf(pattern, sizeof(pattern), "%s/%s", start, patterns[i]);
        int first = glob_(pattern, number, failed_at, &found);
        int answer = first != 0 ? first : glob_(pattern, number | GLOB_APPEND, failed_at, &found);
        printf("%s: %d, %zu, flags %x\n", patterns[i], answer, found.gl_pathc, found.gl_flags);
        size_t offset = (number & GLOB_DOOFFS) != 0 ? found.gl_offs : 0;
        for (size_t k = 0; answer == 0 && k < found.gl_pathc; k++) {
            printf("  %s\n", rest(found.gl_pathv[k + offset]));
        }
        if (answer == 0) {
            globfree(&found);
        }
    }
}

static int no_dots(const struct dirent *entry) {
    errno = EPERM;
    return entry->d_name[0] != '.';
}

static void show_entry(const struct dirent *entry) {
    printf("%s %d\n", entry->d_name, entry->d_type);
}

static void list_scan(int count, struct dirent **entries) {
    printf("%d %d\n", count, count < 0 ? errno : 0);
    for (int i = 0; i < count; i++) {
        show_entry(entries[i]);
        free(entries[i]);
    }
    if (count >= 0) {
        free(entries);
    }
}

static void list_entries(char *entries, ssize_t size) {
    for (ssize_t at = 0; at < size;) {
        const struct dirent *entry = (const struct dirent *)(const void *)(entries + at);
        show_entry(entry);
        at += entry->d_reclen;
    }
}

static void list(const char *function, const char *start) {
    void *real = dlsym(RTLD_DEFAULT, function);
    struct dirent **entries;
    if (strncmp(function, "scandirat", 9) == 0) {
        int (*call)(int, const char *, struct dirent ***, int (*)(const struct dirent *),
                    int (*)(const struct dirent **, const struct dirent **)) = real;
        int count = call(AT_FDCWD, start, &entries, no_dots, alphasort);
        list_scan(count, entries);
    } else if (strncmp(function, "scandir", 7) == 0) {
        int (*call)(const char *, struct dirent ***, int (*)(const struct dirent *),
                    int (*)(const struct dirent **, const struct dirent **)) = real;
        int count = call(start, &entries, no_dots, alphasort);
        list_scan(count, entries);
    } else if (strncmp(function, "getd", 4) == 0) {
        static char room[1 << 16] __attribute__((aligned(16)));
        off_t base = 0;
        ssize_t (*getdents)(int, void *, size_t) = real;
        ssize_t (*getdirentries_)(int, char *, size_t, off_t *) = real;
        int fd = open(start, O_RDONLY | O_DIRECTORY);
        list_entries(room, function[4] == 'e' ? getdents(fd, room, sizeof(room))
                                              : getdirentries_(fd, room, sizeof(room), &base));
    } else {
        DIR *stream = opendir(start);
        struct dirent *(*next)(DIR *) = real;
        int (*next_r)(DIR *, struct dirent *, struct dirent **) = real;
        struct dirent own;
        struct dirent *entry = &own;
        for (;;) {
            if (strstr(function, "_r") != NULL) {
                next_r(stream, &own, &entry);
            } else {
                entry = next(stream);
            }
            if (entry == NULL) {
                break;
            }
            show_entry(entry);
        }
        closedir(stream);
    }
}

int main(int count, char **words) {
    char *start = words[1];
    const char *function = words[2];
    char before[4096];
    char after[4096];
    prefix = strlen(start);
    while (prefix > 1 && start[prefix - 1] == '/') {
        prefix--;
    }
    number = count > 3 ? (int)strtol(words[3], NULL, 0) : 0;
    syscall(SYS_getcwd, before, sizeof(before));
    if (strncmp(function, "ftw", 3) == 0) {
        int (*call)(const char *, __ftw_func_t, int) = dlsym(RTLD_DEFAULT, function);
        int answer = call(start, plain, 3);
        printf("%d %d\n", answer, answer < 0 ? errno : 0);
    } else if (strncmp(function, "nftw", 4) == 0) {
        int (*call)(const char *, __nftw_func_t, int, int) = dlsym(RTLD_DEFAULT, function);
        int answer = call(start, visit, 3, number);
        printf("%d %d\n", answer, answer < 0 ? errno : 0);
    } else if (strncmp(function, "fts", 3) == 0) {
        walk_fts(strcmp(function, "fts64") == 0, start);
    } else if (strncmp(function, "glob", 4) == 0) {
        walk_glob(dlsym(RTLD_DEFAULT, function), start);
    } else {
        list(function, start);
    }
    syscall(SYS_getcwd, after, sizeof(after));
    printf("where: %s\n", strcmp(before, after) == 0 ? "as before" : after);
    return 0;
}
