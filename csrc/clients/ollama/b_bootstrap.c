/* runner.go bootstrapDevices, llm.StartRunner and ml.GetDevicesFromRunner: start a runner with the directories at the
 * front of its library path, ask it every 10 ms until it answers, dies or the time is up, then kill it. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "ollama/gen_b.h"
#include "ollama/http.h"
#include "ollama/log.h"
#include "ollama/spawn.h"

extern char **environ;

enum { TICK_NS = 10000000 };

static int has_name(const char *item, const char *name) {
    size_t length = strlen(name);
    return strncmp(item, name, length) == 0 && item[length] == '=';
}

/* LD_LIBRARY_PATH and OLLAMA_LIBRARY_PATH are replaced, `extra` added; the rest is inherited unless a host that
 * rebuilds its children's environment is played. */
static void child_environment(const struct b_server *server, const struct strings *directories,
                              const struct strings *extra, struct strings *items) {
    const char *inherited = getenv("LD_LIBRARY_PATH");
    char *front = strings_join(directories, ":");
    for (char **item = environ; *item != NULL; item++) {
        int replaced = has_name(*item, "LD_LIBRARY_PATH") || has_name(*item, "OLLAMA_LIBRARY_PATH");
        for (size_t i = 0; i < extra->count; i++) {
            const char *equals = strchr(extra->items[i], '=');
            size_t length = equals == NULL ? 0 : (size_t)(equals - extra->items[i]) + 1;
            replaced |= length > 0 && strncmp(*item, extra->items[i], length) == 0;
        }
        int kept = !server->rebuild_child_environment || has_name(*item, "PATH") || has_name(*item, "HOME");
        if (!replaced && kept) {
            strings_add(items, *item);
        }
    }
    strings_addf(items, "LD_LIBRARY_PATH=%s%s%s", front, inherited == NULL || *inherited == '\0' ? "" : ":",
                 inherited == NULL ? "" : inherited);
    strings_addf(items, "OLLAMA_LIBRARY_PATH=%s", front);
    for (size_t i = 0; i < extra->count; i++) {
        strings_add(items, extra->items[i]);
    }
    free(front);
}

/* llm/server.go filteredEnv: LD_PRELOAD is never shown, whatever the child has. */
static void log_environment(const struct strings *items) {
    static const char *const prefixes[] = {"OLLAMA_", "CUDA_", "ROCR_", "ROCM_", "HIP_",
                                           "GPU_",    "HSA_",  "GGML_", "PATH=", "LD_LIBRARY_PATH="};
    struct strings shown = {0};
    for (size_t i = 0; i < items->count; i++) {
        for (size_t k = 0; k < sizeof prefixes / sizeof prefixes[0]; k++) {
            if (strncmp(items->items[i], prefixes[k], strlen(prefixes[k])) == 0) {
                strings_add(&shown, items->items[i]);
                break;
            }
        }
    }
    log_items(LOG_DEBUG, "server.go:431", "subprocess", &shown);
    strings_free(&shown);
}

/* 0, or an errno. */
static int start_runner(const struct b_server *server, const struct strings *directories, const struct strings *extra,
                        int port, struct child *child) {
    struct strings environment = {0};
    char number[16];
    snprintf(number, sizeof number, "%d", port);
    char *program = server->layout.executable;
    char runner[] = "runner";
    char engine[] = "--ollama-engine";
    char option[] = "--port";
    char *argv[] = {program, runner, engine, option, number, NULL};
    child_environment(server, directories, extra, &environment);
    char *command = text_format("%s runner --ollama-engine --port %d", program, port);
    log_line(LOG_INFO, "server.go:430", "starting runner", "cmd", command, NULL);
    log_environment(&environment);
    char **envp = calloc(environment.count + 1, sizeof *envp);
    if (envp == NULL) {
        abort();
    }
    memcpy(envp, environment.items, environment.count * sizeof *envp);
    int error = spawn_start(child, program, argv, envp, log_threshold() != LOG_TRACE);
    free(envp);
    free(command);
    strings_free(&environment);
    return error;
}

static void sleep_tick(int64_t deadline) {
    int64_t left = deadline - clock_now();
    int64_t pause = left < TICK_NS ? left : TICK_NS;
    if (pause > 0) {
        struct timespec time = {0, pause};
        nanosleep(&time, NULL);
    }
}

/* NULL, or why there are no devices; the caller frees it. */
static char *ask_runner(int port, struct child *child, int64_t deadline, struct b_devices *found) {
    for (;;) {
        struct http_answer answer = {0};
        sleep_tick(deadline);
        if (clock_now() >= deadline) {
            return text_format("failed to finish discovery before timeout");
        }
        if (http_get(port, "/info", deadline, &answer) != 0) {
            if (spawn_has_exited(child)) {
                return text_format("runner crashed");
            }
            continue;
        }
        char *error = NULL;
        int good = 0;
        if (answer.status == 404) {
            error = text_format("llamarunner free vram reporting not supported");
        } else if (answer.status != 200) {
            char status[16];
            snprintf(status, sizeof status, "%d", answer.status);
            log_line(LOG_TRACE, "device.go:664", "runner failed to discover free VRAM", "status", status, "response",
                     answer.body, NULL);
            error = text_format("runner error: %s", answer.body);
        } else if (b_devices_parse(answer.body, answer.size, found) != 0) {
            log_line(LOG_WARN, "device.go:668", "unmarshal encode response", "error", "invalid JSON", NULL);
        } else {
            good = 1;
        }
        free(answer.body);
        if (error != NULL || good) {
            return error;
        }
    }
}

/* A Go map prints as map[A:1 B:2], sorted. */
static char *show_map(const struct strings *extra) {
    struct strings pairs = {0};
    for (size_t i = 0; i < extra->count; i++) {
        const char *equals = strchr(extra->items[i], '=');
        strings_addf(&pairs, "%.*s:%s", (int)(equals - extra->items[i]), extra->items[i], equals + 1);
    }
    strings_sort(&pairs);
    char *inner = strings_join(&pairs, " ");
    char *map = text_format("map[%s]", inner);
    free(inner);
    strings_free(&pairs);
    return map;
}

static void report_failure(const struct child *child, const char *paths, const char *map, const char *error) {
    if (child->exited && WIFEXITED(child->status)) {
        char code[16];
        snprintf(code, sizeof code, "%d", WEXITSTATUS(child->status));
        log_line(LOG_TRACE, "runner.go:497", "runner exited", "OLLAMA_LIBRARY_PATH", paths, "extra_envs", map, "code",
                 code, NULL);
    } else {
        log_line(LOG_INFO, "runner.go:499", "failure during GPU discovery", "OLLAMA_LIBRARY_PATH", paths, "extra_envs",
                 map, "error", error, "detail", "", NULL);
    }
}

static void report_devices(const struct b_devices *found, const char *paths) {
    struct strings ids = {0};
    for (size_t i = 0; i < found->count; i++) {
        strings_add(&ids, found->items[i].id);
    }
    char *shown = strings_go(&ids);
    log_line(LOG_TRACE, "runner.go:502", "runner enumerated devices", "OLLAMA_LIBRARY_PATH", paths, "devices", shown,
             NULL);
    free(shown);
    strings_free(&ids);
}

void b_bootstrap(const struct b_server *server, int64_t deadline, const struct strings *directories,
                 const struct strings *extra, struct b_devices *found) {
    struct child child = {0};
    char took[32];
    int64_t started = clock_now();
    char *paths = strings_go(directories);
    char *map = show_map(extra);
    log_line(LOG_TRACE, "runner.go:466", "starting runner for device discovery", "libDirs", paths, "extraEnvs", map,
             NULL);
    int port;
    int reservation = http_reserve_port(&port);
    int failed = reservation < 0 ? EADDRNOTAVAIL : start_runner(server, directories, extra, port, &child);
    if (failed != 0) {
        log_line(LOG_DEBUG, "runner.go:475", "failed to start runner to discovery GPUs", "error", strerror(failed),
                 NULL);
    } else {
        char *error = ask_runner(port, &child, deadline, found);
        if (error != NULL) {
            report_failure(&child, paths, map, error);
            free(error);
        }
        report_devices(found, paths);
        spawn_kill(&child);
    }
    if (reservation >= 0) {
        close(reservation);
    }
    log_line(LOG_DEBUG, "runner.go:461", "bootstrap discovery took", "duration",
             human_duration(took, clock_now() - started), "OLLAMA_LIBRARY_PATH", paths, "extra_envs", map, NULL);
    free(paths);
    free(map);
}
