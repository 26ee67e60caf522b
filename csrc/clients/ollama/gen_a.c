/* `ollama serve` up to v0.12.3, as far as it looks for NVIDIA GPUs (discover/gpu.go GetGPUInfo and LogDetails): one
 * process, no time limit, NVML not used. It does its discovery once and exits. */
#include "ollama/gen_a.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "ollama/layout.h"
#include "ollama/log.h"

struct devices {
    struct a_device *items;
    size_t count;
};

/* gpu.go loadNVCUDAMgmt: which level and words an error deserves. */
static void report_failure(const char *path, const struct a_library *library) {
    enum log_level level = LOG_INFO;
    char *message = NULL;
    switch (library->code) {
    case CU_INSUFFICIENT_DRIVER:
    case CU_SYSTEM_DRIVER_MISMATCH:
        level = LOG_WARN;
        message = text_format("version mismatch between driver and cuda driver library - reboot or upgrade may be "
                              "required: library %s",
                              path);
        break;
    case CU_NO_DEVICE:
        message = text_format("no nvidia devices detected by library %s", path);
        break;
    case CU_UNKNOWN:
        level = LOG_WARN;
        message = text_format("unknown error initializing cuda driver library %s: %s. see "
                              "https://github.com/ollama/ollama/blob/main/docs/troubleshooting.md for more information",
                              path, library->error);
        break;
    default:
        if (strstr(library->error, "wrong ELF class") != NULL) {
            log_line(LOG_DEBUG, "gpu.go:626", "skipping 32bit library", "library", path, NULL);
            return;
        }
        message = text_format("Unable to load cudart library %s: %s", path, library->error);
        break;
    }
    log_line(level, "gpu.go:612", message, NULL);
    free(message);
}

/* The first library that opens wins, even if it has no device. */
static void open_driver(const struct layout *layout, struct a_library *library) {
    struct strings paths = {0};
    struct strings none = {0};
    a_find_libraries(layout->lib_ollama, "libcuda.so*", &none, &paths);
    for (size_t i = 0; i < paths.count && library->handle == NULL; i++) {
        char count[16];
        a_nvcuda_open(paths.items[i], library);
        if (library->handle == NULL) {
            report_failure(paths.items[i], library);
            free(library->error);
            continue;
        }
        snprintf(count, sizeof count, "%d", library->devices);
        log_line(LOG_DEBUG, "gpu.go:125", "detected GPUs", "count", count, "library", paths.items[i], NULL);
    }
    strings_free(&paths);
}

static void open_runtime(const struct layout *layout, struct a_library *library) {
    struct strings paths = {0};
    struct strings bundled = {0};
    strings_addf(&bundled, "%s/cuda_v*", layout->lib_ollama);
    a_find_libraries(layout->lib_ollama, "libcudart.so*", &bundled, &paths);
    for (size_t i = 0; i < paths.count && library->handle == NULL; i++) {
        char count[16];
        a_cudart_open(paths.items[i], library);
        if (library->handle == NULL) {
            char *message = text_format("Unable to load cudart library %s: %s", paths.items[i], library->error);
            log_line(LOG_DEBUG, "gpu.go:593", message, NULL);
            free(message);
            free(library->error);
            continue;
        }
        snprintf(count, sizeof count, "%d", library->devices);
        log_line(LOG_DEBUG, "gpu.go:140", "detected GPUs", "library", paths.items[i], "count", count, NULL);
    }
    strings_free(&bundled);
    strings_free(&paths);
}

static void bootstrap(const struct a_library *library, int from_runtime, struct devices *devices) {
    for (int i = 0; i < library->devices; i++) {
        struct a_device device;
        if (from_runtime) {
            a_cudart_device(library, i, &device);
        } else {
            a_nvcuda_device(library, i, &device);
        }
        if (device.error != NULL) {
            log_line(LOG_INFO, "gpu.go:310", "error looking up nvidia GPU memory", "error", device.error, NULL);
            free(device.error);
            continue;
        }
        if (device.major < 5) {
            char *message = text_format("[%d] CUDA GPU is too old. Compute Capability detected: %d.%d", i, device.major,
                                        device.minor);
            log_line(LOG_INFO, "gpu.go:332", message, NULL);
            free(message);
            continue;
        }
        devices->items = realloc(devices->items, (devices->count + 1) * sizeof device);
        if (devices->items == NULL) {
            abort();
        }
        devices->items[devices->count++] = device;
    }
}

/* cuda_common.go cudaVariant of v0.12: the lowest common denominator of all GPUs. */
static const char *choose_variant(const struct devices *devices) {
    for (size_t i = 0; i < devices->count; i++) {
        if (devices->items[i].major * 10 + devices->items[i].minor < 75) {
            return "v12";
        }
    }
    if (devices->count > 0 && devices->items[0].driver_major < 13) {
        char version[32];
        snprintf(version, sizeof version, "%d.%d", devices->items[0].driver_major, devices->items[0].driver_minor);
        log_line(LOG_WARN, "cuda_common.go:65",
                 "old CUDA driver detected - please upgrade to a newer driver for best performance", "version", version,
                 NULL);
        return "v12";
    }
    return "v13";
}

static void report(const struct devices *devices, const char *variant) {
    char total[32];
    char available[32];
    uint64_t sum = 0;
    for (size_t i = 0; i < devices->count; i++) {
        const struct a_device *device = &devices->items[i];
        char compute[32];
        char driver[32];
        snprintf(compute, sizeof compute, "%d.%d", device->major, device->minor);
        snprintf(driver, sizeof driver, "%d.%d", device->driver_major, device->driver_minor);
        log_line(LOG_INFO, "types.go:131", "inference compute", "id", device->id, "library", "cuda", "variant", variant,
                 "compute", compute, "driver", driver, "name", device->name, "total", human_bytes(total, device->total),
                 "available", human_bytes(available, device->free), NULL);
        sum += device->total;
    }
    if (devices->count == 0) {
        uint64_t host_total = 0;
        uint64_t host_available = 0;
        host_memory(&host_total, &host_available);
        log_line(LOG_INFO, "types.go:131", "inference compute", "id", "0", "library", "cpu", "variant", "", "compute",
                 "", "driver", "0.0", "name", "", "total", human_bytes(total, host_total), "available",
                 human_bytes(available, host_available), NULL);
    }
    if (sum < UINT64_C(20) << 30) {
        log_line(LOG_INFO, "routes.go:1569", "entering low vram mode", "total vram", human_bytes(total, sum),
                 "threshold", "20.0 GiB", NULL);
    }
}

static void serve(const struct layout *layout) {
    struct a_library library = {0};
    struct devices devices = {0};
    log_line(LOG_INFO, "gpu.go:217", "looking for compatible GPUs", NULL);
    log_line(LOG_DEBUG, "gpu.go:98", "searching for GPU discovery libraries for NVIDIA", NULL);
    int from_runtime = 0;
    open_driver(layout, &library);
    if (library.handle == NULL) {
        open_runtime(layout, &library);
        from_runtime = 1;
    }
    if (library.handle != NULL) {
        bootstrap(&library, from_runtime, &devices);
    }
    const char *variant = choose_variant(&devices);
    if (devices.count == 0) {
        log_line(LOG_INFO, "gpu.go:396", "no compatible GPUs were discovered", NULL);
    }
    if (library.handle != NULL) {
        if (from_runtime) {
            a_cudart_release(&library);
        } else {
            a_nvcuda_release(&library);
        }
    }
    report(&devices, variant);
    free(devices.items);
}

/* Time limits and children's environments are generation B's; the options are taken so that both programs start alike.
 */
static int arguments_fit(int argc, char **argv) {
    if (argc < 2 || strcmp(argv[1], "serve") != 0) {
        return 0;
    }
    for (int i = 2; i < argc; i++) {
        if (strcmp(argv[i], "--scale") == 0 && i + 1 < argc) {
            char *end = NULL;
            double scale = strtod(argv[++i], &end);
            if (*end != '\0' || !(scale > 0 && scale < 1e6)) {
                return 0;
            }
        } else if (strcmp(argv[i], "--rebuild-child-environment") != 0) {
            return 0;
        }
    }
    return 1;
}

int main(int argc, char **argv) {
    struct layout layout;
    if (!arguments_fit(argc, argv)) {
        fprintf(stderr, "usage: ollama serve [--scale X] [--rebuild-child-environment]\n");
        return 2;
    }
    log_start();
    if (layout_find(&layout) != 0) {
        return 1;
    }
    serve(&layout);
    layout_free(&layout);
    return 0;
}
