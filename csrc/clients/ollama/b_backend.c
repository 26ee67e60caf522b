/* ml/backend/ggml: which directories a runner takes backends from, and how ggml loads the CUDA one. A library that
 * cannot be opened is passed over without a word at any log level, as in release builds. */
#include <dirent.h>
#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "ggml/backend.h"
#include "ollama/gen_b.h"
#include "ollama/log.h"

/* ggml's lines reach the log through a callback that knows its level. */
static void show(enum ggml_log_level level, const char *text) {
    int threshold = log_threshold();
    int wanted = level == GGML_LOG_DEBUG  ? LOG_DEBUG
                 : level == GGML_LOG_INFO ? LOG_INFO
                 : level == GGML_LOG_WARN ? LOG_WARN
                                          : LOG_ERROR;
    log_bare(wanted >= threshold, "%s", text);
}

static int library_score(const char *path) {
    void *library = dlopen(path, RTLD_NOW | RTLD_LOCAL);
    int score = 0;
    if (library != NULL) {
        ggml_backend_score_function function;
        void *symbol = dlsym(library, "ggml_backend_score");
        memcpy(&function, &symbol, sizeof function);
        score = symbol == NULL ? 0 : function();
        dlclose(library);
    }
    return score;
}

/* ggml_backend_load_best("cuda"): the libggml-cuda-*.so with the highest score, else libggml-cuda.so. */
static char *best_library(const char *directory) {
    char *best = NULL;
    int best_score = 0;
    DIR *listing = opendir(directory);
    for (struct dirent *entry = listing == NULL ? NULL : readdir(listing); entry != NULL; entry = readdir(listing)) {
        size_t length = strlen(entry->d_name);
        if (strncmp(entry->d_name, "libggml-cuda-", 13) != 0 || length < 17 ||
            strcmp(entry->d_name + length - 3, ".so") != 0) {
            continue;
        }
        char *path = text_format("%s/%s", directory, entry->d_name);
        int score = library_score(path);
        if (score > best_score) {
            free(best);
            best = text_format("%s", path);
            best_score = score;
        }
        free(path);
    }
    if (listing != NULL) {
        closedir(listing);
    }
    if (best == NULL) {
        struct stat found;
        best = text_format("%s/libggml-cuda.so", directory);
        if (stat(best, &found) != 0) {
            free(best);
            best = NULL;
        }
    }
    return best;
}

static struct ggml_backend_reg *load_backend(const char *path) {
    void *library = dlopen(path, RTLD_NOW | RTLD_LOCAL);
    if (library == NULL) {
        return NULL;
    }
    ggml_backend_init_function init;
    ggml_log_set_function log_set;
    ggml_backend_score_function score;
    void *symbol = dlsym(library, "ggml_backend_score");
    memcpy(&score, &symbol, sizeof score);
    int supported = symbol == NULL || score() != 0;
    symbol = dlsym(library, "ggml_log_set");
    memcpy(&log_set, &symbol, sizeof log_set);
    if (symbol != NULL) {
        log_set(show);
    }
    symbol = dlsym(library, "ggml_backend_init");
    memcpy(&init, &symbol, sizeof init);
    struct ggml_backend_reg *reg = supported && symbol != NULL ? init() : NULL;
    if (reg == NULL || reg->api_version != GGML_BACKEND_API_VERSION) {
        dlclose(library);
        return NULL;
    }
    char *line = text_format("load_backend: loaded %s backend from %s\n", reg->name, path);
    show(GGML_LOG_INFO, line);
    free(line);
    return reg;
}

static void list_devices(const struct ggml_backend_reg *reg, const struct strings *paths, struct devices *devices) {
    for (size_t i = 0; i < reg->device_count(); i++) {
        struct ggml_device_props props;
        struct device device = {0};
        reg->device_props(i, &props);
        reg->device_memory(i, &device.free, &device.total);
        snprintf(device.id, sizeof device.id, "%s", props.id);
        snprintf(device.library, sizeof device.library, "%s", reg->name);
        snprintf(device.name, sizeof device.name, "%s", props.name);
        snprintf(device.description, sizeof device.description, "%s", props.description);
        snprintf(device.pci_id, sizeof device.pci_id, "%s", props.pci_id);
        device.integrated = props.integrated;
        device.compute_major = props.compute_major;
        device.compute_minor = props.compute_minor;
        device.driver_major = props.driver_major;
        device.driver_minor = props.driver_minor;
        for (size_t k = 0; k < paths->count; k++) {
            strings_add(&device.library_path, paths->items[k]);
        }
        devices_add(devices, &device);
    }
}

/* ggml.OnceLoad: only the program's own directory and paths with lib/ollama in them may give backends. */
static void load_all(const struct layout *layout, const struct strings *paths, struct ggml_backend_reg **found) {
    struct strings visited = {0};
    char *own = path_directory(layout->executable);
    for (size_t i = 0; i < paths->count; i++) {
        char *path = path_absolute(paths->items[i]);
        if (strcmp(path, own) != 0 && strstr(path, "lib/ollama") == NULL) {
            log_line(LOG_DEBUG, "ggml.go:84", "skipping path which is not part of ollama", "path", path, NULL);
        } else if (!strings_has(&visited, path)) {
            log_line(LOG_DEBUG, "ggml.go:94", "ggml backend load all from path", "path", path, NULL);
            char *library = best_library(path);
            struct ggml_backend_reg *reg = library == NULL ? NULL : load_backend(library);
            if (reg != NULL) {
                *found = reg;
            }
            free(library);
            strings_add(&visited, path);
        }
        free(path);
    }
    free(own);
    strings_free(&visited);
}

static void log_system(const struct ggml_backend_reg *reg) {
    struct strings features = {0};
    if (reg != NULL && reg->device_count() > 0) {
        strings_addf(&features, "%s.0.ARCHS=%s", reg->name, reg->archs);
        strings_addf(&features, "%s.0.USE_GRAPHS=1", reg->name);
    }
    log_items(LOG_INFO, "ggml.go:104", "system", &features);
    strings_free(&features);
}

void b_backend_devices(struct devices *devices) {
    struct layout layout;
    struct strings paths = {0};
    struct ggml_backend_reg *reg = NULL;
    const char *value = getenv("OLLAMA_LIBRARY_PATH");
    if (layout_find(&layout) != 0) {
        return;
    }
    if (value == NULL) {
        log_line(LOG_DEBUG, "ggml.go:69", "OLLAMA_LIBRARY_PATH not set, falling back to default", "search",
                 layout.lib_ollama, NULL);
        value = layout.lib_ollama;
    }
    strings_split(&paths, value, ':');
    load_all(&layout, &paths, &reg);
    log_system(reg);
    if (reg != NULL) {
        list_devices(reg, &paths, devices);
    }
    strings_free(&paths);
    layout_free(&layout);
}
