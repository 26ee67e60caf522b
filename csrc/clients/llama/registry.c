/* The mini libggml.so: finds backend libraries, opens them and keeps what they register (ggml-backend-reg.cpp). */
#include <dlfcn.h>
#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "llama/ggml_abi.h"

enum { BACKENDS_MAX = 16 };

static ggml_backend_reg_t backends[BACKENDS_MAX];
static size_t backend_count;

static void *symbol(void *library, const char *name, void *function) {
    void *found = dlsym(library, name);
    memcpy(function, &found, sizeof found);
    return found;
}

/* NULL, with the reason in the log unless `silent`. */
static ggml_backend_reg_t start_backend(const char *path, void *library, int silent) {
    ggml_backend_score_t score;
    ggml_backend_init_t init;
    if (symbol(library, "ggml_backend_score", &score) != NULL && score() == 0) {
        if (!silent) {
            ggml_log_internal(GGML_LOG_LEVEL_INFO, "load_backend: backend %s is not supported on this system\n", path);
        }
        return NULL;
    }
    if (symbol(library, "ggml_backend_init", &init) == NULL) {
        if (!silent) {
            ggml_log_internal(GGML_LOG_LEVEL_ERROR, "load_backend: failed to find ggml_backend_init in %s\n", path);
        }
        return NULL;
    }
    ggml_backend_reg_t reg = init();
    if (reg == NULL && !silent) {
        ggml_log_internal(GGML_LOG_LEVEL_ERROR,
                          "load_backend: failed to initialize backend from %s: ggml_backend_init returned NULL\n",
                          path);
    }
    if (reg != NULL && reg->api_version != GGML_BACKEND_API_VERSION) {
        if (!silent) {
            ggml_log_internal(
                GGML_LOG_LEVEL_ERROR,
                "load_backend: failed to initialize backend from %s: incompatible API version (backend: %d, current: "
                "%d)\n",
                path, reg->api_version, GGML_BACKEND_API_VERSION);
        }
        return NULL;
    }
    return reg;
}

static ggml_backend_reg_t load(const char *path, int silent) {
    void *library = dlopen(path, RTLD_NOW | RTLD_LOCAL);
    if (library == NULL) {
        if (!silent) {
            ggml_log_internal(GGML_LOG_LEVEL_ERROR, "load_backend: failed to load %s: %s\n", path, dlerror());
        }
        return NULL;
    }
    ggml_backend_reg_t reg = start_backend(path, library, silent);
    if (reg == NULL || backend_count == BACKENDS_MAX) {
        dlclose(library);
        return NULL;
    }
    for (size_t i = 0; i < backend_count; i++) {
        if (backends[i] == reg) {
            return reg;
        }
    }
    ggml_log_internal(GGML_LOG_LEVEL_INFO, "load_backend: loaded %s backend from %s\n", ggml_backend_reg_name(reg),
                      path);
    backends[backend_count++] = reg;
    return reg;
}

ggml_backend_reg_t ggml_backend_load(const char *path) {
    return load(path, 0);
}

/* Beside the program, then in the working directory. */
static void load_first(const char *name) {
    char own[PATH_MAX];
    char path[PATH_MAX + 64];
    struct stat found;
    ssize_t length = readlink("/proc/self/exe", own, sizeof own - 1);
    own[length < 0 ? 0 : length] = '\0';
    char *slash = strrchr(own, '/');
    if (slash != NULL) {
        *slash = '\0';
    }
    const char *directories[] = {own, "."};
    for (size_t i = 0; i < 2; i++) {
        snprintf(path, sizeof path, "%s/libggml-%s.so", directories[i], name);
        if (stat(path, &found) == 0) {
            load(path, 1);
            return;
        }
    }
}

/* In release builds what is beside the program fails without a word; what GGML_BACKEND_PATH names does not. */
void ggml_backend_load_all(void) {
    static const char *const names[] = {"blas",   "zendnn",  "cann",   "cuda",    "hip",  "metal",    "rpc", "sycl",
                                        "vulkan", "virtgpu", "opencl", "hexagon", "musa", "openvino", "cpu"};
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        load_first(names[i]);
    }
    const char *path = getenv("GGML_BACKEND_PATH");
    if (path != NULL) {
        ggml_backend_load(path);
    }
}

size_t ggml_backend_reg_count(void) {
    return backend_count;
}

ggml_backend_reg_t ggml_backend_reg_get(size_t index) {
    return index < backend_count ? backends[index] : NULL;
}

size_t ggml_backend_dev_count(void) {
    size_t count = 0;
    for (size_t i = 0; i < backend_count; i++) {
        count += ggml_backend_reg_dev_count(backends[i]);
    }
    return count;
}

ggml_backend_dev_t ggml_backend_dev_get(size_t index) {
    for (size_t i = 0; i < backend_count; i++) {
        size_t count = ggml_backend_reg_dev_count(backends[i]);
        if (index < count) {
            return ggml_backend_reg_dev_get(backends[i], index);
        }
        index -= count;
    }
    return NULL;
}
