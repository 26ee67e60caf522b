/* gpu.go FindGPULibs: globs over fixed directories and LD_LIBRARY_PATH. A library that only ld.so knows, preloaded or
 * cached, is not found: that is the point of this generation. */
#include <errno.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>

#include "ollama/gen_a.h"
#include "ollama/glob.h"
#include "ollama/log.h"
#include "ollama/raw.h"

/* gpu_linux.go NvcudaGlobs and CudartGlobs, in their order. */
static const char *const cuda_directories[] = {
    "/usr/local/cuda*/targets/*/lib",
    "/usr/lib/*-linux-gnu/nvidia/current",
    "/usr/lib/*-linux-gnu",
    "/usr/lib/wsl/lib",
    "/usr/lib/wsl/drivers/*",
    "/opt/cuda/lib*",
    "/usr/local/cuda/lib*",
    "/usr/lib*",
    "/usr/local/lib*",
};
static const char *const cudart_directories[] = {
    "/usr/local/cuda/lib64",
    "/usr/lib/x86_64-linux-gnu/nvidia/current",
    "/usr/lib/x86_64-linux-gnu",
    "/usr/lib/wsl/lib",
    "/usr/lib/wsl/drivers/*",
    "/opt/cuda/lib64",
    "/usr/local/cuda*/targets/aarch64-linux/lib",
    "/usr/lib/aarch64-linux-gnu/nvidia/current",
    "/usr/lib/aarch64-linux-gnu",
    "/usr/local/cuda/lib*",
    "/usr/lib*",
    "/usr/local/lib*",
};

/* gpu.go's readlink loop: it follows links of the last component only, so one library may have two directories' names.
 */
static char *follow_links(const char *match) {
    char target[PATH_MAX];
    char *path = text_format("%s", match);
    for (int i = 0; i < 64 && raw_readlink(path, target, sizeof target) >= 0; i++) {
        char *next = NULL;
        if (target[0] == '/') {
            next = text_format("%s", target);
        } else {
            char *directory = path_directory(path);
            char *joined = text_format("%s/%s", directory, target);
            next = path_clean(joined);
            free(joined);
            free(directory);
        }
        free(path);
        path = next;
    }
    return path;
}

static void list_patterns(const char *lib_ollama, const char *name, const struct strings *extra,
                          struct strings *patterns) {
    struct strings inherited = {0};
    const char *variable = getenv("LD_LIBRARY_PATH");
    strings_addf(patterns, "%s/%s", lib_ollama, name);
    /* strings.Split: no variable and an empty one give one empty item, the working directory */
    strings_split(&inherited, variable == NULL ? "" : variable, ':');
    for (size_t i = 0; i < inherited.count; i++) {
        char *directory = path_absolute(inherited.items[i]);
        strings_addf(patterns, "%s/%s", strcmp(directory, "/") == 0 ? "" : directory, name);
        free(directory);
    }
    strings_free(&inherited);
    for (size_t i = 0; i < extra->count; i++) {
        strings_addf(patterns, "%s/%s", extra->items[i], name);
    }
    int runtime = strncmp(name, "libcudart", strlen("libcudart")) == 0;
    const char *const *directories = runtime ? cudart_directories : cuda_directories;
    size_t count = runtime ? sizeof cudart_directories / sizeof cudart_directories[0]
                           : sizeof cuda_directories / sizeof cuda_directories[0];
    for (size_t i = 0; i < count; i++) {
        strings_addf(patterns, "%s/%s", directories[i], name);
    }
}

void a_find_libraries(const char *lib_ollama, const char *name, const struct strings *extra, struct strings *paths) {
    struct strings patterns = {0};
    log_line(LOG_DEBUG, "gpu.go:520", "Searching for GPU library", "name", name, NULL);
    list_patterns(lib_ollama, name, extra, &patterns);
    char *shown = strings_go(&patterns);
    log_line(LOG_DEBUG, "gpu.go:544", "gpu library search", "globs", shown, NULL);
    free(shown);
    for (size_t i = 0; i < patterns.count; i++) {
        if (strstr(patterns.items[i], "PhysX") != NULL) {
            log_line(LOG_DEBUG, "gpu.go:549", "skipping PhysX cuda library path", "path", patterns.items[i], NULL);
            continue;
        }
        struct strings matches = {0};
        glob_paths(patterns.items[i], &matches);
        for (size_t k = 0; k < matches.count; k++) {
            char *path = follow_links(matches.items[k]);
            if (!strings_has(paths, path)) {
                strings_add(paths, path);
            }
            free(path);
        }
        strings_free(&matches);
    }
    shown = strings_go(paths);
    log_line(LOG_DEBUG, "gpu.go:577", "discovered GPU libraries", "paths", shown, NULL);
    free(shown);
    strings_free(&patterns);
}
