/* `llama-server` of llama.cpp, as far as Ollama's discovery runs it: without a model it loads the backends and
 * describes the system, then waits for requests; with --list-devices it asks each device for its memory. */
#include <dlfcn.h>
#include <limits.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <time.h>
#include <unistd.h>

#include "llama/ggml_abi.h"

static struct {
    void (*log_set)(ggml_log_callback callback, void *user_data);
    void (*load_all)(void);
    size_t (*reg_count)(void);
    ggml_backend_reg_t (*reg_get)(size_t index);
    const char *(*reg_name)(ggml_backend_reg_t reg);
    void *(*reg_proc)(ggml_backend_reg_t reg, const char *name);
    size_t (*dev_count)(void);
    ggml_backend_dev_t (*dev_get)(size_t index);
    enum ggml_backend_dev_type (*dev_type)(ggml_backend_dev_t device);
    const char *(*dev_name)(ggml_backend_dev_t device);
    const char *(*dev_description)(ggml_backend_dev_t device);
    void (*dev_memory)(ggml_backend_dev_t device, size_t *available, size_t *total);
} ggml;

static int verbose;
static struct timespec started;

/* common/log.cpp: the time since the start, the level's letter, the text. Without --verbose only errors are shown. */
static void show(enum ggml_log_level level, const char *text, void *user_data) {
    static const char letters[] = " DIWE";
    struct timespec now;
    (void)user_data;
    if (level < GGML_LOG_LEVEL_ERROR && !verbose) {
        return;
    }
    clock_gettime(CLOCK_MONOTONIC, &now);
    long long us = (now.tv_sec - started.tv_sec) * 1000000LL + (now.tv_nsec - started.tv_nsec) / 1000;
    if (level >= GGML_LOG_LEVEL_DEBUG && level <= GGML_LOG_LEVEL_ERROR) {
        fprintf(stderr, "%d.%02d.%03d.%03d %c ", (int)(us / 60000000), (int)(us / 1000000 % 60),
                (int)(us / 1000 % 1000), (int)(us % 1000), letters[level]);
    }
    fputs(text, stderr);
    fflush(stderr);
}

/* llama-server is linked with these two; they lie beside it, whatever the library path says. */
static void *open_beside(const char *name) {
    char path[PATH_MAX + 64];
    ssize_t length = readlink("/proc/self/exe", path, PATH_MAX);
    path[length < 0 ? 0 : length] = '\0';
    char *slash = strrchr(path, '/');
    snprintf(slash == NULL ? path : slash + 1, 64, "%s", name);
    void *library = dlopen(path, RTLD_NOW | RTLD_GLOBAL);
    if (library == NULL) {
        fprintf(stderr, "llama-server: error while loading shared libraries: %s\n", dlerror());
        exit(127);
    }
    return library;
}

static void bind(void) {
    void *base = open_beside("libggml-base.so");
    void *registry = open_beside("libggml.so");
    const struct {
        void *library;
        const char *name;
        void *slot;
    } names[] = {
        {base, "ggml_log_set", &ggml.log_set},
        {registry, "ggml_backend_load_all", &ggml.load_all},
        {registry, "ggml_backend_reg_count", &ggml.reg_count},
        {registry, "ggml_backend_reg_get", &ggml.reg_get},
        {base, "ggml_backend_reg_name", &ggml.reg_name},
        {base, "ggml_backend_reg_get_proc_address", &ggml.reg_proc},
        {registry, "ggml_backend_dev_count", &ggml.dev_count},
        {registry, "ggml_backend_dev_get", &ggml.dev_get},
        {base, "ggml_backend_dev_type", &ggml.dev_type},
        {base, "ggml_backend_dev_name", &ggml.dev_name},
        {base, "ggml_backend_dev_description", &ggml.dev_description},
        {base, "ggml_backend_dev_memory", &ggml.dev_memory},
    };
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        void *function = dlsym(names[i].library, names[i].name);
        if (function == NULL) {
            fprintf(stderr, "llama-server: symbol lookup error: %s\n", dlerror());
            exit(127);
        }
        memcpy(names[i].slot, &function, sizeof function);
    }
}

/* common_params_get_system_info and llama_print_system_info. */
static void print_system(void) {
    char *text = NULL;
    size_t size = 0;
    long cores = sysconf(_SC_NPROCESSORS_ONLN);
    FILE *out = open_memstream(&text, &size);
    if (out == NULL) {
        abort();
    }
    fprintf(out, "system_info: n_threads = %ld (n_threads_batch = %ld) / %ld | ", cores, cores, cores);
    for (size_t i = 0; i < ggml.reg_count(); i++) {
        ggml_backend_reg_t reg = ggml.reg_get(i);
        ggml_backend_get_features_t get_features;
        void *function = ggml.reg_proc(reg, "ggml_backend_get_features");
        memcpy(&get_features, &function, sizeof function);
        if (function == NULL) {
            continue;
        }
        fprintf(out, "%s : ", ggml.reg_name(reg));
        for (const struct ggml_backend_feature *feature = get_features(reg); feature->name != NULL; feature++) {
            fprintf(out, "%s = %s | ", feature->name, feature->value);
        }
    }
    fputc('\n', out);
    if (fclose(out) != 0) {
        abort();
    }
    show(GGML_LOG_LEVEL_INFO, text, NULL);
    free(text);
}

static void list_devices(void) {
    printf("Available devices:\n");
    for (size_t i = 0; i < ggml.dev_count(); i++) {
        ggml_backend_dev_t device = ggml.dev_get(i);
        size_t available = 0;
        size_t total = 0;
        if (ggml.dev_type(device) == GGML_BACKEND_DEVICE_TYPE_CPU) {
            continue;
        }
        ggml.dev_memory(device, &available, &total);
        printf("  %s: %s (%zu MiB, %zu MiB free)\n", ggml.dev_name(device), ggml.dev_description(device),
               total / 1024 / 1024, available / 1024 / 1024);
    }
}

static int usage(const char *argument) {
    fprintf(stderr, "error: invalid argument: %s\n", argument);
    return 1;
}

int main(int argc, char **argv) {
    int list = 0;
    const char *port = "8080";
    const char *host = "127.0.0.1";
    clock_gettime(CLOCK_MONOTONIC, &started);
    for (int i = 1; i < argc; i++) {
        if (strcmp(argv[i], "--verbose") == 0) {
            verbose = 1;
        } else if (strcmp(argv[i], "--list-devices") == 0) {
            list = 1;
        } else if (strcmp(argv[i], "--port") == 0 && i + 1 < argc) {
            port = argv[++i];
        } else if (strcmp(argv[i], "--host") == 0 && i + 1 < argc) {
            host = argv[++i];
        } else if (strcmp(argv[i], "--no-webui") != 0 && strcmp(argv[i], "--offline") != 0) {
            return usage(argv[i]);
        }
    }
    /* whoever started it is expected to kill it; a server that dies itself leaves nothing behind */
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    bind();
    ggml.log_set(show, NULL);
    ggml.load_all();
    if (list) {
        list_devices();
        return 0;
    }
    print_system();
    char line[256];
    snprintf(line, sizeof line, "main: starting router server, no model will be loaded in this process, http://%s:%s\n",
             host, port);
    show(GGML_LOG_LEVEL_INFO, line, NULL);
    for (;;) {
        pause();
    }
}
