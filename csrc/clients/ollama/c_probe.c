/* native_probe_linux.go: `ollama gpu-discover`. Nothing but JSON may be on stdout; what goes wrong is on stderr. */
#include <dlfcn.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "ollama/fault.h"
#include "ollama/gen_c.h"
#include "ollama/raw.h"

char *c_open(const char *path, int global, void **library) {
    *library = dlopen(path, RTLD_NOW | (global ? RTLD_GLOBAL : RTLD_LOCAL));
    return *library != NULL ? NULL : text_format("dlopen %s: %s", path, dlerror());
}

char *c_symbol(void *library, const char *name, void *function) {
    void *symbol = dlsym(library, name);
    memcpy(function, &symbol, sizeof symbol);
    return symbol != NULL ? NULL : text_format("dlsym %s: %s", name, dlerror());
}

/* os.Exit: no exit handler of C runs, so what a library left in a stdio buffer is never written. */
__attribute__((noreturn)) static void leave(int status) {
    raw_call(SYS_exit_group, status, 0, 0, 0);
    __builtin_trap();
}

static int has_cuda(const struct strings *directories) {
    for (size_t i = 0; i < directories->count; i++) {
        struct stat found;
        char *file = text_format("%s/libggml-cuda.so", directories->items[i]);
        int there = strcasestr(path_base(directories->items[i]), "cuda") != NULL || raw_stat(file, &found, 0) == 0;
        free(file);
        if (there) {
            return 1;
        }
    }
    return 0;
}

int c_probe(int argc, char **argv) {
    struct strings directories = {0};
    struct c_natives found = {0};
    struct c_natives driver = {0};
    for (int i = 2; i < argc; i += 2) {
        if (strcmp(argv[i], "--lib-dir") != 0 || i + 1 == argc) {
            return -1;
        }
        strings_add(&directories, argv[i + 1]);
    }
    if (directories.count == 0) {
        struct layout layout;
        if (layout_find(&layout) != 0) {
            return 1;
        }
        strings_add(&directories, layout.lib_ollama);
        layout_free(&layout);
    }
    fault_catch();
    char *ggml_error = c_probe_ggml(&directories, &found);
    char *cuda_error = has_cuda(&directories) ? c_probe_cuda(&driver) : NULL;
    c_natives_merge(&found, &driver);
    const char *error = ggml_error != NULL ? ggml_error : cuda_error;
    if (found.count == 0 && error != NULL) {
        char *line = text_format("Error: %s\n", error);
        raw_write_all(STDERR_FILENO, line, strlen(line));
        leave(1);
    }
    char *answer = c_natives_write(&found);
    raw_write_all(STDOUT_FILENO, answer, strlen(answer));
    leave(0);
}
