/* Where look-ups of functions lead: for each argument HOW:NAME[@VERSION], one line "HOW:NAME[@VERSION] FILE". HOW is
 * the place that is asked: `default` and `next` of the linker's own order, `libc` and `other` for the handle of the
 * program's libc and of one in a namespace of its own. Then what it is like to use what was found. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#ifdef HAS_OPEN
/* The program has its own, and asks for the one behind it. */
int open(const char *path, int flags, ...) {
    int (*next)(const char *, int, ...) = (int (*)(const char *, int, ...))dlsym(RTLD_NEXT, "open");
    return next(path, flags, 0600);
}
#endif

static void *other;

static void *place(const char *how) {
    if (strcmp(how, "libc") == 0) {
        return dlopen("libc.so.6", RTLD_NOW);
    }
    if (strcmp(how, "other") == 0) {
        other = other != NULL ? other : dlmopen(LM_ID_NEWLM, "libc.so.6", RTLD_NOW);
        return other;
    }
    return strcmp(how, "next") == 0 ? RTLD_NEXT : RTLD_DEFAULT;
}

static void *look_up(const char *argument) {
    char copy[128];
    snprintf(copy, sizeof(copy), "%s", argument);
    char *name = strchr(copy, ':');
    char *version = strchr(copy, '@');
    *name++ = '\0';
    if (version != NULL) {
        *version++ = '\0';
        return dlvsym(place(copy), name, version);
    }
    return dlsym(place(copy), name);
}

static void use(const char *path) {
    char text[16] = "";
    int (*opens)(const char *, int) = (int (*)(const char *, int))look_up("other:open");
    FILE *(*streams)(const char *, const char *) = (FILE * (*)(const char *, const char *)) look_up("other:fopen");
    int (*closes)(FILE *) = (int (*)(FILE *))look_up("other:fclose");
    int fd = opens(path, O_RDONLY);
    ssize_t got = read(fd, text, sizeof(text) - 1);
    text[got > 0 ? got - 1 : 0] = '\0';
    errno = 0;
    int missing = opens("/no/such/file", O_RDONLY);
    printf("fd %s, missing %d %s", text, missing, strerror(errno));
    FILE *stream = streams("/etc/passwd", "r");
    printf(", stream %d\n", stream == NULL ? -1 : closes(stream));
}

int main(int count, char **words) {
    for (int i = 1; i < count; i++) {
        Dl_info where = {.dli_fname = "nowhere"};
        if (strncmp(words[i], "use:", 4) == 0) {
            use(words[i] + 4);
            continue;
        }
        if (strncmp(words[i], "open:", 5) == 0) {
            char text[16] = "";
            int fd = open(words[i] + 5, O_RDONLY);
            ssize_t got = read(fd, text, sizeof(text) - 1);
            printf("open %.*s\n", (int)(got > 0 ? got - 1 : 0), text);
            continue;
        }
        void *found = look_up(words[i]);
        if (found != NULL) {
            dladdr(found, &where);
        }
        const char *slash = strrchr(where.dli_fname, '/');
        printf("%s %s %d\n", words[i], slash == NULL ? where.dli_fname : slash + 1,
               dladdr(found, &where) != 0 && where.dli_saddr == found);
    }
    return 0;
}
