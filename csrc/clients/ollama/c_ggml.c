/* probeGGMLDevicesLinux: ggml's own libraries, opened as any program may, asked for the devices of the CUDA backend. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "llama/ggml_abi.h"
#include "ollama/gen_c.h"
#include "ollama/glob.h"
#include "ollama/log.h"
#include "ollama/raw.h"

/* ggmlBackendDevProps of native_probe.go: Ollama declares the structure for itself, apart from llama.cpp. */
_Static_assert(offsetof(struct ggml_backend_dev_props, memory_total) == 24, "total memory");
_Static_assert(offsetof(struct ggml_backend_dev_props, type) == 32, "type of device");
_Static_assert(offsetof(struct ggml_backend_dev_props, device_id) == 40, "address");
_Static_assert(sizeof(struct ggml_backend_dev_props) == 56, "all of it");

static struct {
    ggml_backend_reg_t (*load)(const char *path);
    size_t (*device_count)(ggml_backend_reg_t reg);
    ggml_backend_dev_t (*device)(ggml_backend_reg_t reg, size_t index);
    const char *(*name)(ggml_backend_reg_t reg);
    void (*props)(ggml_backend_dev_t device, struct ggml_backend_dev_props *props);
} ggml;

/* lib<name>.so, or the last of lib<name>.so.*; the caller frees it. */
static char *library_file(const char *directory, const char *name) {
    struct stat found;
    struct strings files = {0};
    char *exact = text_format("%s/lib%s.so", directory, name);
    if (raw_stat(exact, &found, 0) != 0) {
        char *pattern = text_format("%s.*", exact);
        glob_paths(pattern, &files);
        free(pattern);
    }
    if (files.count > 0) {
        free(exact);
        exact = text_format("%s", files.items[files.count - 1]);
    }
    strings_free(&files);
    return exact;
}

static char *open_library(const char *directory, const char *name, void **library) {
    char *file = library_file(directory, name);
    char *error = c_open(file, 1, library);
    free(file);
    return error;
}

static char *find_functions(void *base, void *library) {
    const struct {
        void *library;
        const char *name;
        void *slot;
    } names[] = {
        {library, "ggml_backend_load", &ggml.load},        {base, "ggml_backend_reg_dev_count", &ggml.device_count},
        {base, "ggml_backend_reg_dev_get", &ggml.device},  {base, "ggml_backend_reg_name", &ggml.name},
        {base, "ggml_backend_dev_get_props", &ggml.props},
    };
    char *error = NULL;
    for (size_t i = 0; i < sizeof names / sizeof names[0] && error == NULL; i++) {
        error = c_symbol(names[i].library, names[i].name, names[i].slot);
    }
    return error;
}

static void add_devices(ggml_backend_reg_t reg, struct c_natives *natives) {
    const char *name = ggml.name(reg);
    size_t count = ggml.device_count(reg);
    for (size_t i = 0; i < count; i++) {
        struct ggml_backend_dev_props props = {0};
        ggml_backend_dev_t device = ggml.device(reg, i);
        if (device == NULL) {
            continue;
        }
        ggml.props(device, &props);
        if (props.memory_total == 0) {
            continue;
        }
        struct c_native native = {.index = (int)i, .index_matches_backend = 1};
        native.integrated = props.type == GGML_BACKEND_DEVICE_TYPE_IGPU;
        native.integrated_known = native.integrated || props.type == GGML_BACKEND_DEVICE_TYPE_GPU;
        native.total = props.memory_total;
        native.free = props.memory_free;
        snprintf(native.library, sizeof native.library, "%s", name);
        snprintf(native.name, sizeof native.name, "%s", props.name == NULL ? "" : props.name);
        snprintf(native.description, sizeof native.description, "%s",
                 props.description == NULL ? "" : props.description);
        snprintf(native.device_id, sizeof native.device_id, "%s", props.device_id == NULL ? "" : props.device_id);
        c_natives_add(natives, &native);
        char index[24];
        char type[16];
        snprintf(index, sizeof index, "%zu", i);
        snprintf(type, sizeof type, "%d", (int)props.type);
        log_line(LOG_DEBUG, "native_probe_linux.go:236", "GGML GPU device type", "library", native.library, "index",
                 index, "ggml_type", type, "integrated", native.integrated ? "true" : "false", NULL);
    }
}

char *c_probe_ggml(const struct strings *directories, struct c_natives *natives) {
    void *base = NULL;
    void *library = NULL;
    char *error = open_library(directories->items[0], "ggml-base", &base);
    if (error == NULL) {
        error = open_library(directories->items[0], "ggml", &library);
    }
    if (error == NULL) {
        error = find_functions(base, library);
    }
    for (size_t i = 0; i < directories->count && error == NULL; i++) {
        struct stat found;
        char *file = text_format("%s/libggml-cuda.so", directories->items[i]);
        ggml_backend_reg_t reg = raw_stat(file, &found, AT_SYMLINK_NOFOLLOW) == 0 ? ggml.load(file) : NULL;
        if (reg != NULL) {
            add_devices(reg, natives);
        }
        free(file);
    }
    return error;
}
