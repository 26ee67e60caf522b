/* How long one file call takes, in ns: argv[1] names it, argv[2] how many calls, argv[3] the file or directory. Prints
 * the least of five rounds, as what disturbs a round only ever makes it longer. */
#define _GNU_SOURCE
#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

static const char *path;
static int descriptor;
/* Who asks for facts looks at them: the first look at what the kernel has written takes time. */
static volatile long seen;

static void open_close(void) {
    close(open(path, O_RDONLY));
}
static void open_only(void) {
    open(path, O_RDONLY);
}
static void one_stat(void) {
    static struct stat facts; /* not made empty each time: that takes longer than the shim */
    stat(path, &facts);
    seen = facts.st_size;
}
/* More paths than the shim remembers: `path` with a number behind it. */
static const char *next(void) {
    enum { PATHS = 4096, LONGEST = 64 };
    static char paths[PATHS][LONGEST];
    static unsigned int at;
    char *found = paths[at++ % PATHS];
    if (found[0] == '\0') {
        snprintf(found, LONGEST, "%s%u", path, at);
    }
    return found;
}
static void next_stat(void) {
    struct stat facts;
    stat(next(), &facts);
}
static void next_open_close(void) {
    close(open(next(), O_RDONLY));
}
static void next_stream(void) {
    char line[256];
    FILE *file = fopen(next(), "r");
    if (file == NULL || fgets(line, sizeof(line), file) == NULL) {
        abort();
    }
    fclose(file);
}
static void one_access(void) {
    access(path, R_OK);
}
static void one_read(void) {
    char byte;
    if (read(descriptor, &byte, 0) < 0) {
        abort();
    }
}
static void one_pread(void) {
    char bytes[512];
    if (pread(descriptor, bytes, sizeof(bytes), 0) < 0) {
        abort();
    }
}
static void stream(void) {
    char line[256];
    FILE *file = fopen(path, "r");
    if (file == NULL || fgets(line, sizeof(line), file) == NULL) {
        abort();
    }
    fclose(file);
}
static void stream_only(void) {
    fopen(path, "r");
}
static void list(void) {
    DIR *directory = opendir(path);
    while (directory != NULL && readdir(directory) != NULL) {
    }
    closedir(directory);
}
static void list_only(void) {
    opendir(path);
}

static const struct {
    const char *name;
    void (*call)(void);
} calls[] = {
    {"open+close", open_close},
    {"stat", one_stat},
    {"stat of the next", next_stat},
    {"access", one_access},
    {"read", one_read},
    {"pread", one_pread},
    {"fopen+fgets+fclose", stream},
    {"opendir+readdir", list},
    {"open", open_only},
    {"fopen", stream_only},
    {"opendir", list_only},
    {"open+close of the next", next_open_close},
    {"fopen+fgets+fclose of the next", next_stream},
};

static double now(void) {
    struct timespec at;
    clock_gettime(CLOCK_MONOTONIC, &at);
    return (double)at.tv_sec * 1e9 + (double)at.tv_nsec;
}

int main(int argc, char **argv) {
    if (argc != 4) {
        return 2;
    }
    long count = atol(argv[2]);
    path = argv[3];
    descriptor = open("/etc/passwd", O_RDONLY);
    for (size_t i = 0; i < sizeof(calls) / sizeof(calls[0]); i++) {
        if (strcmp(calls[i].name, argv[1]) == 0) {
            double least = 1e18;
            for (int round = 0; round < 5; round++) {
                double started = now();
                for (long n = 0; n < count; n++) {
                    calls[i].call();
                }
                double taken = (now() - started) / (double)count;
                least = taken < least ? taken : least;
            }
            printf("%.2f\n", least);
            return 0;
        }
    }
    return 2;
}
