/* Loads a libggml-cuda.so as ggml's registry does and prints what it says of each device, a line each.
 *
 *   ggml-devices DIRECTORY    with libggml-base.so and libggml-cuda.so
 *
 * Types: ggml/include/ggml-backend.h of llama.cpp v0.5.0. */
#include <dlfcn.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>

typedef struct ggml_backend_reg *ggml_backend_reg_t;
typedef struct ggml_backend_device *ggml_backend_dev_t;

struct ggml_backend_dev_props {
    const char *name;
    const char *description;
    size_t memory_free;
    size_t memory_total;
    int type;
    const char *device_id;
    struct {
        bool async;
        bool host_buffer;
        bool buffer_from_host_ptr;
        bool events;
    } caps;
};

static void *library(const char *directory, const char *name, int flags) {
    char path[4096];
    snprintf(path, sizeof(path), "%s/%s", directory, name);
    void *handle = dlopen(path, RTLD_NOW | flags);
    if (handle == NULL) {
        fprintf(stderr, "dlopen: %s\n", dlerror());
        exit(2);
    }
    return handle;
}

static void *symbol(void *handle, const char *name) {
    void *found = dlsym(handle, name);
    if (found == NULL) {
        fprintf(stderr, "dlsym: %s\n", dlerror());
        exit(3);
    }
    return found;
}

int main(int argc, char **argv) {
    if (argc != 2) {
        return 64;
    }
    void *base = library(argv[1], "libggml-base.so", RTLD_GLOBAL);
    void *cuda = library(argv[1], "libggml-cuda.so", RTLD_LOCAL);
    ggml_backend_reg_t (*init)(void) = symbol(cuda, "ggml_backend_init");
    size_t (*count)(ggml_backend_reg_t) = symbol(base, "ggml_backend_reg_dev_count");
    ggml_backend_dev_t (*get)(ggml_backend_reg_t, size_t) = symbol(base, "ggml_backend_reg_dev_get");
    void (*properties)(ggml_backend_dev_t, struct ggml_backend_dev_props *) =
        symbol(base, "ggml_backend_dev_get_props");
    ggml_backend_reg_t reg = init();
    if (reg == NULL) {
        fprintf(stderr, "ggml_backend_init: no backend\n");
        return 4;
    }
    for (size_t i = 0; i < count(reg); i++) {
        struct ggml_backend_dev_props props = {0};
        properties(get(reg, i), &props);
        printf("%s|%s|%s|%zu|%zu\n", props.name, props.description, props.device_id, props.memory_total,
               props.memory_free);
    }
    return 0;
}
