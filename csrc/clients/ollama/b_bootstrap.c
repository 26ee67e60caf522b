/* runner.go bootstrapDevices, llm.StartRunner and ml.GetDevicesFromRunner: start a runner with the directories at the
 * front of its library path, ask it every 10 ms until it answers, dies or the time is up, then kill it. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "ollama/environment.h"
#include "ollama/gen_b.h"
#include "ollama/http.h"
#include "ollama/log.h"
#include "ollama/spawn.h"

enum { TICK_NS = 10000000 };

static const char *const shown_names[] = {"OLLAMA_", "CUDA_", "ROCR_", "ROCM_", "HIP_",
                                          "GPU_",    "HSA_",  "GGML_", "PATH=", "LD_LIBRARY_PATH="};

/* LD_LIBRARY_PATH and OLLAMA_LIBRARY_PATH are replaced. */
static void child_environment(const struct server *server, const struct strings *directories,
                              const struct strings *extra, struct strings *items) {
    const char *inherited = getenv("LD_LIBRARY_PATH");
    struct strings changes = {0};
    char *front = strings_join(directories, ":");
    strings_addf(&changes, "LD_LIBRARY_PATH=%s%s%s", front, inherited == NULL || *inherited == '\0' ? "" : ":",
                 inherited == NULL ? "" : inherited);
    strings_addf(&changes, "OLLAMA_LIBRARY_PATH=%s", front);
    for (size_t i = 0; i < extra->count; i++) {
        strings_add(&changes, extra->items[i]);
    }
    environment_of_child(&changes, server->rebuild_child_environment, items);
    strings_free(&changes);
    free(front);
}

/* 0, or an errno. */
static int start_runner(const struct server *server, const struct strings *directories, const struct strings *extra,
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
    environment_log("server.go:431", &environment, shown_names, sizeof shown_names / sizeof shown_names[0]);
    char **envp = calloc(environment.count + 1, sizeof *envp);
    if (envp == NULL) {
        abort();
    }
    memcpy(envp, environment.items, environment.count * sizeof *envp);
    int output = log_threshold() == LOG_TRACE ? SPAWN_INHERITED : SPAWN_NOWHERE;
    int error = spawn_start(child, program, argv, envp, output, output);
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
static char *ask_runner(int port, struct child *child, int64_t deadline, struct devices *found) {
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

static void report_devices(const struct devices *found, const char *paths) {
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

void b_bootstrap(const struct server *server, int64_t deadline, const struct strings *directories,
                 const struct strings *extra, struct devices *found) {
    struct child child = {0};
    char took[32];
    int64_t started = clock_now();
    char *paths = strings_go(directories);
    char *map = environment_map(extra);
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
