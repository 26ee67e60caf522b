/* path.go: LibOllamaPath is the first of ../lib/ollama, build/lib/ollama beside the program and build/lib/ollama below
 * the working directory that exists, else the program's own directory (which then looks like a broken installation). */
#include "ollama/layout.h"

#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "ollama/raw.h"
#include "ollama/text.h"

int layout_find(struct layout *layout) {
    char target[PATH_MAX];
    long length = raw_readlink("/proc/self/exe", target, sizeof target);
    if (length < 0) {
        fprintf(stderr, "ollama: /proc/self/exe cannot be read: %s\n", strerror((int)-length));
        return -1;
    }
    layout->executable = text_format("%s", target);
    layout->lib_ollama = NULL;
    char *directory = path_directory(target);
    char *up = text_format("%s/../lib/ollama", directory);
    char *candidates[] = {
        path_clean(up),
        text_format("%s/build/lib/ollama", directory),
        path_absolute("build/lib/ollama"),
    };
    for (size_t i = 0; i < sizeof candidates / sizeof candidates[0]; i++) {
        struct stat found;
        if (layout->lib_ollama == NULL && raw_stat(candidates[i], &found, 0) == 0) {
            layout->lib_ollama = candidates[i];
        } else {
            free(candidates[i]);
        }
    }
    if (layout->lib_ollama == NULL) {
        layout->lib_ollama = text_format("%s", directory);
    }
    free(up);
    free(directory);
    return 0;
}

void layout_free(struct layout *layout) {
    free(layout->executable);
    free(layout->lib_ollama);
}

static uint64_t field(const char *text, const char *name) {
    const char *at = strstr(text, name);
    return at == NULL ? 0 : strtoull(at + strlen(name), NULL, 10) * 1024;
}

void host_memory(uint64_t *total, uint64_t *available) {
    char text[8192];
    long size = -1;
    int fd = raw_open("/proc/meminfo", O_RDONLY, 0);
    if (fd >= 0) {
        size = raw_read(fd, text, sizeof text - 1);
        raw_close(fd);
    }
    text[size < 0 ? 0 : size] = '\0';
    *total = field(text, "MemTotal:");
    *available = field(text, "MemAvailable:");
}
