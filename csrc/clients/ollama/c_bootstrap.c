/* llama_server.go llamaServerDiscoverDevices: llama-server until it has described the system, llama-server once more
 * for the list of devices, then gpu-discover; all within one limit, and what they print is one text. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>

#include "ollama/environment.h"
#include "ollama/gen_c.h"
#include "ollama/log.h"
#include "ollama/raw.h"
#include "ollama/regex.h"
#include "ollama/scanner.h"

static const char late[] = "context deadline exceeded";

struct startup {
    struct c_look *look;
    size_t read; /* of the text */
    struct c_text lines;
    int count;
    int found;
};

static int read_line(struct startup *startup, const struct scanner *lines) {
    struct regex_group whole[REGEX_GROUPS];
    c_text_add(&startup->lines, lines->line, lines->size);
    c_text_add(&startup->lines, "\n", 1);
    c_pass_on(startup->look, startup->lines.items + startup->lines.size - lines->size - 1, lines->size + 1);
    startup->count++;
    startup->found = regex_find("system_info:", lines->line, lines->size, whole);
    return startup->found;
}

static struct scanner unread(const struct startup *startup, const struct c_text *err) {
    return err->size == 0 ? scanner_of("", 0) : scanner_of(err->items + startup->read, err->size - startup->read);
}

/* The loop around bufio.Scanner: it ends at the line that describes the system, and at one that is too long. */
static int read_startup(void *context, const struct c_text *err) {
    struct startup *startup = context;
    struct scanner lines = unread(startup, err);
    while (scanner_complete(&lines)) {
        int found = read_line(startup, &lines);
        startup->read = (size_t)(lines.at - err->items);
        if (found) {
            return 1;
        }
    }
    return lines.is_over;
}

/* What was left without a newline when the child closed its stderr. */
static void read_rest(struct startup *startup, const struct c_text *err) {
    struct scanner lines = unread(startup, err);
    while (!startup->found && scanner_next(&lines)) {
        read_line(startup, &lines);
    }
}

/* What is said of the end of a llama-server that was started. NULL, or why discovery ends here; the caller frees it. */
static char *after_startup(const struct c_look *look, const struct startup *startup, const struct child *child,
                           enum c_end end) {
    char count[24];
    char *status = WIFEXITED(child->status) ? spawn_status(child) : text_format("unknown");
    snprintf(count, sizeof count, "%d", startup->count);
    log_line(LOG_DEBUG, "llama_server.go:137", "llama-server discovery: stopped subprocess after collecting GPU info",
             "exit", status, "libDirs", look->shown, NULL);
    free(status);
    if (end == C_LATE) {
        log_line(LOG_WARN, "llama_server.go:146", "llama-server discovery: timed out waiting for server startup",
                 "error", late, "libDirs", look->shown, "lines_captured", count, NULL);
        return text_format("%s", late);
    }
    if (!startup->found) {
        log_line(LOG_WARN, "llama_server.go:152",
                 "llama-server discovery: system_info line not found in output - CUDA architecture filtering will be "
                 "disabled. If GPU inference fails, this may indicate an incompatible llama-server version.",
                 "libDirs", look->shown, "lines_captured", count, NULL);
    }
    return NULL;
}

static char *start_up(struct c_look *look, struct startup *startup) {
    struct c_text out = {0};
    struct c_text err = {0};
    struct child child = {0};
    struct strings words = {0};
    struct c_process process = {.out = &out, .err = &err, .is_enough = read_startup, .context = startup};
    int error = 0;
    strings_add(&words, look->llama_server);
    strings_add(&words, "--port");
    strings_addf(&words, "%lld", 49152 + (long long)(clock_now() % 16383));
    strings_add(&words, "--host");
    strings_add(&words, "127.0.0.1");
    strings_add(&words, "--no-webui");
    strings_add(&words, "--offline");
    strings_add(&words, "--verbose");
    enum c_end end = c_run_child(look, &process, &words, look->deadline, &child, &error);
    char *failure = NULL;
    if (end == C_NOT_STARTED) {
        failure = text_format("fork/exec %s: %s", look->llama_server, strerror(error));
        log_line(LOG_DEBUG, "llama_server.go:102", "llama-server discovery: failed to start", "error", failure, NULL);
    } else {
        read_rest(startup, &err);
        c_pass_on(look, out.items, out.size);
        failure = after_startup(look, startup, &child, end);
    }
    free(out.items);
    free(err.items);
    strings_free(&words);
    return failure;
}

static char *list_devices(struct c_look *look, struct c_text *listed) {
    struct child child = {0};
    struct strings words = {0};
    struct c_process process = {.out = listed, .err = listed};
    int error = 0;
    strings_add(&words, look->llama_server);
    strings_add(&words, "--list-devices");
    strings_add(&words, "--offline");
    strings_add(&words, "--verbose");
    enum c_end end = c_run_child(look, &process, &words, look->deadline, &child, &error);
    c_pass_on(look, listed->items, listed->size);
    strings_free(&words);
    if (end == C_LATE) {
        return text_format("%s", late);
    }
    if (end == C_EXITED && child.status == 0) {
        return NULL;
    }
    char *why = end == C_NOT_STARTED ? text_format("fork/exec %s: %s", look->llama_server, strerror(error))
                                     : spawn_status(&child);
    log_line(LOG_DEBUG, "llama_server.go:166", "llama-server --list-devices failed", "error", why, "exit",
             end == C_EXITED && WIFEXITED(child.status) ? why : "unknown", NULL);
    char *failure = text_format("llama-server --list-devices failed: %s", why);
    free(why);
    return failure;
}

/* native_probe.go discoverNativeDevices. What fails here costs the fields, not the device; only the common limit ends
 * discovery. */
static char *probe(struct c_look *look, struct c_text *err, struct c_natives *natives) {
    struct c_text out = {0};
    struct child child = {0};
    struct strings words = {0};
    struct c_process process = {.out = &out, .err = err};
    int error = 0;
    int64_t own = server_deadline(look->server, 15);
    strings_add(&words, look->server->layout.executable);
    strings_add(&words, "gpu-discover");
    for (size_t i = 0; i < look->directories->count; i++) {
        strings_add(&words, "--lib-dir");
        strings_add(&words, look->directories->items[i]);
    }
    enum c_end end = c_run_child(look, &process, &words, own < look->deadline ? own : look->deadline, &child, &error);
    char *why = NULL;
    if (end == C_NOT_STARTED) {
        why = text_format("fork/exec %s: %s", look->server->layout.executable, strerror(error));
    } else if (end == C_LATE) {
        why = text_format("%s", late);
    } else if (child.status != 0) {
        why = spawn_status(&child);
    } else {
        why = c_natives_parse(out.items, out.size, natives);
    }
    c_pass_on(look, err->items, err->size);
    if (why != NULL && err->size > 0) {
        log_line(LOG_DEBUG, "native_probe.go:250", "native GPU discovery failed", "error", why, "stderr", err->items,
                 "libDirs", look->shown, NULL);
    } else if (why != NULL) {
        log_line(LOG_DEBUG, "native_probe.go:253", "native GPU discovery failed", "error", why, "libDirs", look->shown,
                 NULL);
    }
    free(why);
    free(out.items);
    strings_free(&words);
    return clock_now() >= look->deadline ? text_format("%s", late) : NULL;
}

static char *look_for_devices(struct c_look *look, struct devices *found) {
    struct startup startup = {.look = look};
    struct c_text listed = {0};
    struct c_text native_err = {0};
    struct c_natives natives = {0};
    struct stat file;
    look->llama_server = text_format("%s/llama-server", look->server->layout.lib_ollama);
    if (raw_stat(look->llama_server, &file, 0) != 0) {
        log_line(LOG_DEBUG, "llama_server.go:60", "llama-server not available for device discovery", "error",
                 "llama-server binary not found", NULL);
        return text_format("llama-server binary not found");
    }
    c_set_environment(look);
    char *failure = start_up(look, &startup);
    if (failure == NULL) {
        failure = list_devices(look, &listed);
    }
    if (failure == NULL) {
        failure = probe(look, &native_err, &natives);
    }
    if (failure == NULL) {
        c_text_add(&listed, "\n", 1);
        c_text_append(&listed, &startup.lines);
        c_text_append(&listed, &native_err);
        c_parse(listed.items, listed.size, look->directories, &natives, found);
    }
    free(startup.lines.items);
    free(listed.items);
    free(native_err.items);
    free(natives.items);
    return failure;
}

void c_bootstrap(const struct server *server, int64_t deadline, const struct strings *directories,
                 const struct strings *extra, struct devices *found) {
    struct c_look look = {.server = server, .directories = directories, .extra = extra, .deadline = deadline};
    char took[32];
    int64_t started = clock_now();
    look.shown = strings_go(directories);
    char *map = environment_map(extra);
    char *failure = look_for_devices(&look, found);
    int is_late = failure != NULL && strcmp(failure, late) == 0;
    if (is_late) {
        log_line(LOG_WARN, "runner.go:541", "llama-server GPU discovery watchdog timed out", "OLLAMA_LIBRARY_PATH",
                 look.shown, "extra_envs", map, "error", failure, NULL);
    }
    log_line(LOG_DEBUG, "llama_server.go:66", "llama-server device discovery took", "duration",
             human_duration(took, clock_now() - started), "libDirs", look.shown, NULL);
    log_line(LOG_DEBUG, "runner.go:461", "bootstrap discovery took", "duration",
             human_duration(took, clock_now() - started), "OLLAMA_LIBRARY_PATH", look.shown, "extra_envs", map, NULL);
    if (failure != NULL) {
        log_line(LOG_INFO, "runner.go:499", "failure during llama-server GPU discovery", "OLLAMA_LIBRARY_PATH",
                 look.shown, "extra_envs", map, "error", failure, "detail",
                 is_late || look.detail == NULL ? "" : look.detail, NULL);
    }
    strings_free(&look.environment);
    free(look.llama_server);
    free(look.shown);
    free(look.detail);
    free(failure);
    free(map);
}
