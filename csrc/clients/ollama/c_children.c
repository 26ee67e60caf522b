/* What the three children of a look for devices have in common: their environment, how they are started, and what
 * becomes of what they print. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "ollama/environment.h"
#include "ollama/gen_c.h"
#include "ollama/glob.h"
#include "ollama/log.h"
#include "ollama/raw.h"

/* llm.StatusWriter: shows the children's output at TRACE, and keeps the last piece of it that looks like an error. */
void c_pass_on(struct c_look *look, const char *bytes, size_t size) {
    static const char *const prefixes[] = {"error:",  "CUDA error",          "cudaMalloc failed",
                                           "\"ERR\"", "error loading model", "GGML_ASSERT"};
    if (size == 0) {
        return;
    }
    char *text = text_format("%.*s", (int)size, bytes);
    for (size_t i = 0; i < sizeof prefixes / sizeof prefixes[0]; i++) {
        const char *found = strstr(text, prefixes[i]);
        if (found != NULL) {
            const char *rest = found + strlen(prefixes[i]);
            rest += strspn(rest, " \t\r\n");
            size_t length = strlen(rest);
            while (length > 0 && strchr(" \t\r\n", rest[length - 1]) != NULL) {
                length--;
            }
            free(look->detail);
            look->detail = text_format("%s%.*s", prefixes[i], (int)length, rest);
        }
    }
    free(text);
    if (log_threshold() <= LOG_TRACE) {
        raw_write_all(STDERR_FILENO, bytes, size);
    }
}

/* The first backend by name: what ggml takes from GGML_BACKEND_PATH. NULL: none; the caller frees it. */
static char *find_backend(const char *directory) {
    struct strings files = {0};
    char *pattern = text_format("%s/libggml-*.so*", directory);
    char *found = NULL;
    glob_paths(pattern, &files);
    for (size_t i = 0; i < files.count && found == NULL; i++) {
        const char *name = path_base(files.items[i]);
        if (strncmp(name, "libggml-base", 12) != 0 && strncmp(name, "libggml-cpu", 11) != 0) {
            found = text_format("%s", files.items[i]);
        }
    }
    free(pattern);
    strings_free(&files);
    return found;
}

static void add_path(struct strings *paths, const char *path) {
    if (*path != '\0' && !strings_has(paths, path)) {
        strings_add(paths, path);
    }
}

/* llm.SetupLlamaServerCommandEnv, the same for all three children. */
void c_set_environment(struct c_look *look) {
    const char *inherited = getenv("LD_LIBRARY_PATH");
    struct strings changes = {0};
    struct strings paths = {0};
    char *own = path_directory(look->llama_server);
    char *backend = NULL;
    add_path(&paths, own);
    for (size_t i = 0; i < look->directories->count; i++) {
        const char *directory = look->directories->items[i];
        if (strcmp(directory, look->server->layout.lib_ollama) != 0 && strcmp(directory, own) != 0) {
            backend = backend == NULL ? find_backend(directory) : backend;
            add_path(&paths, directory);
        }
    }
    if (inherited != NULL) {
        struct strings old = {0};
        strings_split(&old, inherited, ':');
        for (size_t i = 0; i < old.count; i++) {
            add_path(&paths, old.items[i]);
        }
        strings_free(&old);
    }
    char *joined = strings_join(&paths, ":");
    for (size_t i = 0; i < look->extra->count; i++) {
        strings_add(&changes, look->extra->items[i]);
    }
    strings_addf(&changes, "LD_LIBRARY_PATH=%s", joined);
    if (backend != NULL) {
        strings_addf(&changes, "GGML_BACKEND_PATH=%s", backend);
    }
    environment_of_child(&changes, look->server->rebuild_child_environment, &look->environment);
    free(joined);
    free(backend);
    free(own);
    strings_free(&paths);
    strings_free(&changes);
}

static void say_started(const struct c_process *process, int pid) {
    static const char *const prefixes[] = {"CUDA_", "ROCR_", "ROCM_", "HIP_",
                                           "HSA_",  "GGML_", "PATH=", "LD_LIBRARY_PATH="};
    struct strings words = {0};
    struct strings environment = {0};
    char number[16];
    for (char **word = process->argv; *word != NULL; word++) {
        strings_add(&words, *word);
    }
    for (char **item = process->envp; *item != NULL; item++) {
        strings_add(&environment, *item);
    }
    char *command = strings_join(&words, " ");
    snprintf(number, sizeof number, "%d", pid);
    log_line(LOG_INFO, "llama_server.go:640",
             strcmp(words.items[1], "gpu-discover") == 0 ? "starting gpu-discover" : "starting llama-server", "cmd",
             command, "pid", number, NULL);
    environment_log("llama_server.go:641", &environment, prefixes, sizeof prefixes / sizeof prefixes[0]);
    free(command);
    strings_free(&words);
    strings_free(&environment);
}

/* NULL-terminated, as for execve; the caller frees the array. */
static char **vector(const struct strings *list) {
    char **items = calloc(list->count + 1, sizeof *items);
    if (items == NULL) {
        abort();
    }
    if (list->count > 0) {
        memcpy(items, list->items, list->count * sizeof *items);
    }
    return items;
}

enum c_end c_run_child(const struct c_look *look, struct c_process *process, const struct strings *words,
                       int64_t deadline, struct child *child, int *error) {
    process->program = words->items[0];
    process->argv = vector(words);
    process->envp = vector(&look->environment);
    process->started = say_started;
    process->grace = (int64_t)(5e9 * look->server->scale); /* WaitDelay */
    enum c_end end = c_process_run(process, deadline, child, error);
    free(process->argv);
    free(process->envp);
    return end;
}
