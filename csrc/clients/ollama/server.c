/* discover/runner.go GPUDevices: what generations B and C have in common. Discovery is done once, then the server
 * exits. */
#include "ollama/server.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "ollama/glob.h"
#include "ollama/log.h"

int64_t server_deadline(const struct server *server, double seconds) {
    return clock_now() + (int64_t)(seconds * server->scale * 1e9);
}

/* The directories below LibOllamaPath with a ggml library in them; one empty name where there are none. Go goes through
 * them in the random order of a map; here it is the alphabet's, so that runs can be compared. */
static void find_directories(const struct server *server, struct strings *directories) {
    struct strings files = {0};
    char *pattern = text_format("%s/*/*ggml-*", server->layout.lib_ollama);
    glob_paths(pattern, &files);
    for (size_t i = 0; i < files.count; i++) {
        char *directory = path_directory(files.items[i]);
        if (!strings_has(directories, directory)) {
            strings_add(directories, directory);
        }
        free(directory);
    }
    if (directories->count == 0) {
        strings_add(directories, "");
    }
    free(pattern);
    strings_free(&files);
}

static void warn_of_overrides(void) {
    static const char *const names[] = {"CUDA_VISIBLE_DEVICES",    "HIP_VISIBLE_DEVICES", "ROCR_VISIBLE_DEVICES",
                                        "GGML_VK_VISIBLE_DEVICES", "GPU_DEVICE_ORDINAL",  "HSA_OVERRIDE_GFX_VERSION"};
    int found = 0;
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        const char *value = getenv(names[i]);
        if (value != NULL && *value != '\0') {
            found = 1;
            log_line(LOG_WARN, "runner.go:523", "user overrode visible devices", names[i], value, NULL);
        }
    }
    if (found) {
        log_line(LOG_WARN, "runner.go:527", "if GPUs are not correctly discovered, unset and try again", NULL);
    }
}

int server_not_requested(const char *directory) {
    const char *requested = getenv("OLLAMA_LLM_LIBRARY");
    if (requested == NULL || *requested == '\0' || strcmp(path_base(directory), requested) == 0) {
        return 0;
    }
    log_line(LOG_DEBUG, "runner.go:103", "skipping available library at user's request", "requested", requested,
             "libDir", directory, NULL);
    return 1;
}

int server_is_jetpack(const char *directory) {
    if (strstr(path_base(directory), "cuda_jetpack") == NULL) {
        return 0;
    }
    log_line(LOG_DEBUG, "runner.go:108",
             "jetpack not detected (set JETSON_JETPACK or OLLAMA_LLM_LIBRARY to override), skipping", "libDir",
             directory, NULL);
    return 1;
}

static void first_pass(const struct server *server, struct devices *devices) {
    struct strings directories = {0};
    struct strings none = {0};
    find_directories(server, &directories);
    log_line(LOG_INFO, "runner.go:67", "discovering available GPUs...", NULL);
    warn_of_overrides();
    for (size_t i = 0; i < directories.count; i++) {
        const char *directory = directories.items[i];
        struct strings searched = {0};
        struct devices found = {0};
        if (*directory != '\0' && server->generation->is_skipped(directory)) {
            continue;
        }
        strings_add(&searched, server->layout.lib_ollama);
        if (*directory != '\0') {
            strings_add(&searched, directory);
        }
        server->generation->bootstrap(server, server_deadline(server, 30), &searched, &none, &found);
        if (server->generation->sort_out != NULL) {
            server->generation->sort_out(searched.items[searched.count - 1], &found);
        }
        for (size_t k = 0; k < found.count; k++) {
            devices_add(devices, &found.items[k]);
        }
        free(found.items);
        strings_free(&searched);
    }
    strings_free(&directories);
    if (server->generation->admit != NULL) {
        server->generation->admit(devices);
    }
}

struct verification {
    const struct server *server;
    const struct device *device;
    int64_t deadline;
    int dropped;
    int started;
    pthread_t thread;
};

static void *verify(void *argument) {
    struct verification *work = argument;
    const struct device *device = work->device;
    struct strings extra = {0};
    struct devices found = {0};
    strings_addf(&extra, "CUDA_VISIBLE_DEVICES=%s", device->filter_id[0] == '\0' ? device->id : device->filter_id);
    strings_add(&extra, "GGML_CUDA_INIT=1");
    work->server->generation->bootstrap(work->server, work->deadline, &device->library_path, &extra, &found);
    if (found.count == 0) {
        log_line(LOG_DEBUG, "runner.go:167", "filtering device which didn't fully initialize", "id", device->id,
                 "libdir", device_directory(device), "pci_id", device->pci_id, "library", device->library, NULL);
        work->dropped = 1;
    }
    devices_free(&found);
    strings_free(&extra);
    return NULL;
}

/* Every device again, all at the same time and within one limit, each alone and with its backend's self-check on. */
static void second_pass(const struct server *server, const struct devices *devices, int *dropped) {
    char count[24];
    snprintf(count, sizeof count, "%zu", devices->count);
    log_line(LOG_DEBUG, "runner.go:124", "evaluating which, if any, devices to filter out", "initial_count", count,
             NULL);
    struct verification *works = calloc(devices->count + 1, sizeof *works);
    if (works == NULL) {
        abort();
    }
    int64_t deadline = server_deadline(server, 30);
    for (size_t i = 0; i < devices->count; i++) {
        const struct device *device = &devices->items[i];
        char compute[32];
        if (strcmp(device->library, "CUDA") != 0) {
            continue;
        }
        snprintf(compute, sizeof compute, "%d.%d", device->compute_major, device->compute_minor);
        log_line(LOG_DEBUG, "runner.go:150", "verifying if device is supported", "library", device_directory(device),
                 "description", device->description, "compute", compute, "id", device->id, "pci_id", device->pci_id,
                 NULL);
        works[i] = (struct verification){.server = server, .device = device, .deadline = deadline};
        works[i].started = pthread_create(&works[i].thread, NULL, verify, &works[i]) == 0;
        works[i].dropped = !works[i].started;
    }
    for (size_t i = 0; i < devices->count; i++) {
        if (works[i].started) {
            pthread_join(works[i].thread, NULL);
        }
        dropped[i] = works[i].dropped;
    }
    free(works);
}

static int is_number(const char *text) {
    return *text != '\0' && text[strspn(text, "0123456789")] == '\0';
}

/* What is left of a library is numbered anew; the number that the backend gave becomes the filter's. A UUID stays. */
static void number_devices(const struct server *server, struct devices *devices) {
    for (size_t i = 0; i < devices->count; i++) {
        struct device *device = &devices->items[i];
        if (is_number(device->id)) {
            int before = 0;
            for (size_t k = 0; k < i; k++) {
                before += strcmp(devices->items[k].library, device->library) == 0;
            }
            snprintf(device->filter_id, sizeof device->filter_id, "%s", device->id);
            snprintf(device->id, sizeof device->id, "%d", before);
            log_line(LOG_DEBUG, "runner.go:202", "adjusting filtering IDs", "FilterID", device->filter_id, "new_ID",
                     device->id, NULL);
        }
        if (server->generation->choose_filter != NULL) {
            server->generation->choose_filter(device);
        }
    }
}

static void serve(const struct server *server) {
    struct devices devices = {0};
    char took[32];
    int64_t started = clock_now();
    first_pass(server, &devices);
    int *dropped = calloc(devices.count + 1, sizeof *dropped);
    if (dropped == NULL) {
        abort();
    }
    second_pass(server, &devices, dropped);
    devices_filter_overlap(&devices, dropped);
    for (size_t i = devices.count; i-- > 0;) {
        if (dropped[i]) {
            devices_remove(&devices, i);
        }
    }
    free(dropped);
    number_devices(server, &devices);
    devices_filter_duplicates(&devices);
    log_line(LOG_DEBUG, "runner.go:41", "GPU bootstrap discovery took", "duration",
             human_duration(took, clock_now() - started), NULL);
    devices_report(&devices);
    devices_free(&devices);
}

static int read_arguments(int argc, char **argv, struct server *server) {
    for (int i = 2; i < argc; i++) {
        if (strcmp(argv[i], "--rebuild-child-environment") == 0) {
            server->rebuild_child_environment = 1;
        } else if (strcmp(argv[i], "--scale") == 0 && i + 1 < argc) {
            char *end = NULL;
            server->scale = strtod(argv[++i], &end);
            if (*end != '\0' || !(server->scale > 0 && server->scale < 1e6)) {
                return 0;
            }
        } else {
            return 0;
        }
    }
    return 1;
}

int server_main(const struct generation *generation, int argc, char **argv) {
    struct server server = {.generation = generation, .scale = 1};
    if (argc < 2 || strcmp(argv[1], "serve") != 0 || !read_arguments(argc, argv, &server)) {
        return -1;
    }
    if (layout_find(&server.layout) != 0) {
        return 1;
    }
    serve(&server);
    layout_free(&server.layout);
    return 0;
}
