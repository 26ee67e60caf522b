/* What both ways of generation A have in common: open a library, and look its functions up one by one. */
#include <dlfcn.h>
#include <stdlib.h>
#include <string.h>

#include "ollama/gen_a.h"
#include "ollama/log.h"

int a_verbose(void) {
    return log_threshold() < LOG_INFO;
}

void a_give_up(struct a_library *library, cu_result code, char *error) {
    if (library->handle != NULL) {
        dlclose(library->handle);
    }
    free(library->functions);
    library->handle = NULL;
    library->functions = NULL;
    library->code = code;
    library->error = error;
}

void *a_load(const char *path, struct a_library *library, const struct a_name *names, size_t count, size_t size,
             int announce) {
    memset(library, 0, sizeof *library);
    library->handle = dlopen(path, RTLD_LAZY);
    if (library->handle == NULL) {
        const char *why = dlerror();
        log_bare(a_verbose(), "library %s load err: %s\n", path, why);
        a_give_up(library, -1, text_format("Unable to load %s library to query for Nvidia GPUs: %s", path, why));
        return NULL;
    }
    library->functions = calloc(1, size);
    if (library->functions == NULL) {
        abort();
    }
    for (size_t i = 0; i < count; i++) {
        void *function = dlsym(library->handle, names[i].name);
        if (function == NULL) {
            const char *why = dlerror();
            log_bare(a_verbose(), "dlerr: %s\n", why);
            a_give_up(library, -1, text_format("symbol lookup for %s failed: %s", names[i].name, why));
            return NULL;
        }
        memcpy((char *)library->functions + names[i].offset, &function, sizeof function);
        log_bare(announce && a_verbose(), "dlsym: %s - %p\n", names[i].name, function);
    }
    return library->functions;
}
