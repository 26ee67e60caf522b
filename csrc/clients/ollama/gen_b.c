/* `ollama serve` of v0.12.4 .. v0.24.0, as far as it looks for NVIDIA GPUs (discover/runner.go GPUDevices and
 * LogDetails), and the entry of its children. It does its discovery once and exits. */
#include "ollama/gen_b.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "ollama/glob.h"
#include "ollama/log.h"

static int64_t deadline_after(const struct b_server *server, double seconds) {
    return clock_now() + (int64_t)(seconds * server->scale * 1e9);
}

/* The directories below LibOllamaPath with a ggml library in them; one empty name where there are none. Go goes through
 * them in the random order of a map; here it is the alphabet's, so that runs can be compared. */
static void find_directories(const struct b_server *server, struct strings *directories) {
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

/* What the user or the platform rules out before anything is started. */
static int is_skipped(const char *directory) {
    const char *requested = getenv("OLLAMA_LLM_LIBRARY");
    const char *vulkan = getenv("OLLAMA_VULKAN");
    const char *base = path_base(directory);
    if (requested != NULL && *requested != '\0' && strcmp(base, requested) != 0) {
        log_line(LOG_DEBUG, "runner.go:103", "skipping available library at user's request", "requested", requested,
                 "libDir", directory, NULL);
        return 1;
    }
    if (strstr(base, "cuda_jetpack") != NULL) {
        log_line(LOG_DEBUG, "runner.go:108",
                 "jetpack not detected (set JETSON_JETPACK or OLLAMA_LLM_LIBRARY to override), skipping", "libDir",
                 directory, NULL);
        return 1;
    }
    if (strstr(base, "vulkan") != NULL && (vulkan == NULL || strcmp(vulkan, "1") != 0)) {
        log_line(LOG_INFO, "runner.go:111", "experimental Vulkan support disabled.  To enable, set OLLAMA_VULKAN=1",
                 NULL);
        return 1;
    }
    return 0;
}

static void first_pass(const struct b_server *server, struct b_devices *devices) {
    struct strings directories = {0};
    struct strings none = {0};
    find_directories(server, &directories);
    log_line(LOG_INFO, "runner.go:67", "discovering available GPUs...", NULL);
    warn_of_overrides();
    for (size_t i = 0; i < directories.count; i++) {
        const char *directory = directories.items[i];
        struct strings searched = {0};
        struct b_devices found = {0};
        if (*directory != '\0' && is_skipped(directory)) {
            continue;
        }
        strings_add(&searched, server->layout.lib_ollama);
        if (*directory != '\0') {
            strings_add(&searched, directory);
        }
        b_bootstrap(server, deadline_after(server, 30), &searched, &none, &found);
        for (size_t k = 0; k < found.count; k++) {
            b_devices_add(devices, &found.items[k]);
        }
        free(found.items);
        strings_free(&searched);
    }
    strings_free(&directories);
}

struct verification {
    const struct b_server *server;
    const struct b_device *device;
    int64_t deadline;
    int dropped;
    int started;
    pthread_t thread;
};

static void *verify(void *argument) {
    struct verification *work = argument;
    const struct b_device *device = work->device;
    struct strings extra = {0};
    struct b_devices found = {0};
    strings_addf(&extra, "CUDA_VISIBLE_DEVICES=%s", device->filter_id[0] == '\0' ? device->id : device->filter_id);
    strings_add(&extra, "GGML_CUDA_INIT=1");
    b_bootstrap(work->server, work->deadline, &device->library_path, &extra, &found);
    if (found.count == 0) {
        log_line(LOG_DEBUG, "runner.go:167", "filtering device which didn't fully initialize", "id", device->id,
                 "libdir", b_device_directory(device), "pci_id", device->pci_id, "library", device->library, NULL);
        work->dropped = 1;
    }
    b_devices_free(&found);
    strings_free(&extra);
    return NULL;
}

/* Every device again, all at the same time and within one limit, each alone and with its backend's self-check on. */
static void second_pass(const struct b_server *server, const struct b_devices *devices, int *dropped) {
    char count[24];
    snprintf(count, sizeof count, "%zu", devices->count);
    log_line(LOG_DEBUG, "runner.go:124", "evaluating which, if any, devices to filter out", "initial_count", count,
             NULL);
    struct verification *works = calloc(devices->count + 1, sizeof *works);
    if (works == NULL) {
        abort();
    }
    int64_t deadline = deadline_after(server, 30);
    for (size_t i = 0; i < devices->count; i++) {
        const struct b_device *device = &devices->items[i];
        char compute[32];
        if (strcmp(device->library, "CUDA") != 0) {
            continue;
        }
        snprintf(compute, sizeof compute, "%d.%d", device->compute_major, device->compute_minor);
        log_line(LOG_DEBUG, "runner.go:150", "verifying if device is supported", "library", b_device_directory(device),
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

static void report_device(const struct b_device *device) {
    struct strings names = {0};
    char compute[32];
    char driver[32];
    char total[32];
    char available[32];
    for (size_t i = 0; i < device->library_path.count; i++) {
        if (strstr(device->library_path.items[i], "lib/ollama") != NULL) {
            strings_add(&names, path_base(device->library_path.items[i]));
        }
    }
    char *directories = strings_join(&names, ",");
    snprintf(compute, sizeof compute, "%d.%d", device->compute_major, device->compute_minor);
    snprintf(driver, sizeof driver, "%d.%d", device->driver_major, device->driver_minor);
    log_line(LOG_INFO, "types.go:42", "inference compute", "id", device->id, "filter_id", device->filter_id, "library",
             device->library, "compute", compute, "name", device->name, "description", device->description, "libdirs",
             directories, "driver", driver, "pci_id", device->pci_id, "type", device->integrated ? "iGPU" : "discrete",
             "total", human_bytes(total, device->total), "available", human_bytes(available, device->free), NULL);
    free(directories);
    strings_free(&names);
}

void b_report(const struct b_devices *devices) {
    char total[32];
    char available[32];
    uint64_t sum = 0;
    for (size_t i = 0; i < devices->count; i++) {
        report_device(&devices->items[i]);
        sum += devices->items[i].total;
    }
    if (devices->count == 0) {
        uint64_t host_total = 0;
        uint64_t host_available = 0;
        host_memory(&host_total, &host_available);
        log_line(LOG_INFO, "types.go:60", "inference compute", "id", "cpu", "library", "cpu", "compute", "", "name",
                 "cpu", "description", "cpu", "libdirs", "ollama", "driver", "", "pci_id", "", "type", "", "total",
                 human_bytes(total, host_total), "available", human_bytes(available, host_available), NULL);
    }
    const char *context = sum >= UINT64_C(47) << 30 ? "262144" : sum >= UINT64_C(23) << 30 ? "32768" : "4096";
    log_line(LOG_INFO, "routes.go:1848", "vram-based default context", "total_vram", human_bytes(total, sum),
             "default_num_ctx", context, NULL);
}

static void serve(const struct b_server *server) {
    struct b_devices devices = {0};
    char took[32];
    int64_t started = clock_now();
    first_pass(server, &devices);
    int *dropped = calloc(devices.count + 1, sizeof *dropped);
    if (dropped == NULL) {
        abort();
    }
    second_pass(server, &devices, dropped);
    b_filter_overlap(&devices, dropped);
    for (size_t i = devices.count; i-- > 0;) {
        if (dropped[i]) {
            b_devices_remove(&devices, i);
        }
    }
    free(dropped);
    b_filter_duplicates(&devices);
    log_line(LOG_DEBUG, "runner.go:41", "GPU bootstrap discovery took", "duration",
             human_duration(took, clock_now() - started), NULL);
    b_report(&devices);
    b_devices_free(&devices);
}

static int usage(void) {
    fprintf(stderr, "usage: ollama serve [--scale X] [--rebuild-child-environment]\n"
                    "       ollama runner --ollama-engine --port N\n");
    return 2;
}

static int serve_arguments(int argc, char **argv, struct b_server *server) {
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

int main(int argc, char **argv) {
    struct b_server server = {.scale = 1};
    log_start();
    if (argc == 5 && strcmp(argv[1], "runner") == 0 && strcmp(argv[2], "--ollama-engine") == 0 &&
        strcmp(argv[3], "--port") == 0) {
        int port = atoi(argv[4]);
        return port > 0 && port < 65536 ? b_runner(port) : usage();
    }
    if (argc < 2 || strcmp(argv[1], "serve") != 0 || !serve_arguments(argc, argv, &server)) {
        return usage();
    }
    if (layout_find(&server.layout) != 0) {
        return 1;
    }
    serve(&server);
    layout_free(&server.layout);
    return 0;
}
