/* cuda_compat.go, filterIntegratedGPUs and remapFilterIDForUserVisibleDevices: what rules a device out, or renames it,
 * by the driver's version and the user's wishes. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "ollama/gen_c.h"
#include "ollama/glob.h"
#include "ollama/log.h"

/* Digits at `*at`, which moves behind them; -1 where there are none. */
static int digits(const char **at) {
    char *end = NULL;
    if (**at < '0' || **at > '9') {
        return -1;
    }
    long value = strtol(*at, &end, 10);
    *at = end;
    return value > 100000 ? 100000 : (int)value;
}

static void keep_newest(int *major, int *minor, int new_major, int new_minor) {
    if (new_major > *major || (new_major == *major && new_minor > *minor)) {
        *major = new_major;
        *minor = new_minor;
    }
}

/* `^libcudart\.so\.(\d+)(?:\.(\d+))?` */
static void read_library_name(const char *name, int *major, int *minor) {
    static const char prefix[] = "libcudart.so.";
    if (strncmp(name, prefix, sizeof prefix - 1) != 0) {
        return;
    }
    const char *at = name + sizeof prefix - 1;
    int first = digits(&at);
    int second = -1;
    if (first >= 0 && *at == '.') {
        at++;
        second = digits(&at);
    }
    if (first >= 0) {
        keep_newest(major, minor, first, second < 0 ? 0 : second);
    }
}

int c_runtime_version(const struct strings *directories, int *major, int *minor) {
    int best_major = -1;
    int best_minor = -1;
    for (size_t i = 0; i < directories->count; i++) {
        const char *base = path_base(directories->items[i]);
        struct strings files = {0};
        char *pattern = text_format("%s/*", directories->items[i]);
        glob_paths(pattern, &files);
        for (size_t k = 0; k < files.count; k++) {
            read_library_name(path_base(files.items[k]), &best_major, &best_minor);
        }
        free(pattern);
        strings_free(&files);
        const char *at = base + 6;
        int number = strncmp(base, "cuda_v", 6) == 0 ? digits(&at) : -1;
        if (number >= 0 && *at == '\0') {
            keep_newest(&best_major, &best_minor, number, 0);
        }
    }
    if (best_major >= 0) {
        *major = best_major;
        *minor = best_minor;
    }
    return best_major >= 0;
}

static void drop(struct devices *devices, size_t index, int driver, const char *required) {
    const struct device *device = &devices->items[index];
    char compute[32];
    char number[16];
    snprintf(compute, sizeof compute, "%d.%d", device->compute_major, device->compute_minor);
    snprintf(number, sizeof number, "%d", driver);
    log_line(LOG_WARN, "cuda_compat.go:69", "NVIDIA driver too old", "device", device->description, "compute", compute,
             "driver", number, "required_driver", required, NULL);
    devices_remove(devices, index);
}

void c_filter_old_driver(const char *directory, struct devices *devices) {
    const struct device *first = NULL;
    int driver = 0;
    int major = 0;
    int minor = 0;
    for (size_t i = devices->count; i-- > 0;) {
        if (strcmp(devices->items[i].library, "CUDA") == 0) {
            first = &devices->items[i];
            driver = first->nvidia_driver_major > 0 ? first->nvidia_driver_major : driver;
        }
    }
    if (strcmp(path_base(directory), "cuda_v12") != 0 || first == NULL) {
        return;
    }
    if (driver == 0) {
        log_line(LOG_WARN, "cuda_compat.go:39", "could not verify NVIDIA driver compatibility for CUDA", NULL);
        return;
    }
    /* CUDA 12.4 compresses code, which branches below 550 do not read; 12.8 leaves old GPUs PTX that only 570 reads */
    int is_v12 = c_runtime_version(&first->library_path, &major, &minor) && major == 12;
    int compressed = is_v12 && minor >= 4;
    int legacy = is_v12 && minor >= 8;
    for (size_t i = devices->count; i-- > 0 && driver < 570;) {
        const struct device *device = &devices->items[i];
        if (strcmp(device->library, "CUDA") != 0) {
            continue;
        }
        if (compressed && driver < 550) {
            drop(devices, i, driver, "550 or newer");
        } else if (legacy && device->compute_major > 0 && device->compute_major < 7) {
            drop(devices, i, driver, "570 or newer");
        }
    }
}

/* strconv.ParseBool of OLLAMA_IGPU_ENABLE: 1, 0, or -1 for neither. Without a word from the user CUDA may be
 * integrated. */
static int integrated_wanted(void) {
    static const char *const yes[] = {"1", "t", "T", "true", "TRUE", "True"};
    static const char *const no[] = {"0", "f", "F", "false", "FALSE", "False"};
    const char *value = getenv("OLLAMA_IGPU_ENABLE");
    for (size_t i = 0; i < sizeof yes / sizeof yes[0] && value != NULL; i++) {
        if (strcmp(value, yes[i]) == 0 || strcmp(value, no[i]) == 0) {
            return strcmp(value, yes[i]) == 0;
        }
    }
    return -1;
}

void c_filter_integrated(struct devices *devices) {
    int wanted = integrated_wanted();
    for (size_t i = 0; i < devices->count;) {
        const struct device *device = &devices->items[i];
        char compute[32];
        if (!device->integrated || wanted == 1 || (wanted < 0 && strcmp(device->library, "CUDA") == 0)) {
            i++;
            continue;
        }
        snprintf(compute, sizeof compute, "%d.%d", device->compute_major, device->compute_minor);
        log_line(LOG_INFO, "runner.go:436", "dropping integrated GPU; to enable, set OLLAMA_IGPU_ENABLE=1", "id",
                 device->id, "library", device->library, "compute", compute, "name", device->name, "description",
                 device->description, "pci_id", device->pci_id, NULL);
        devices_remove(devices, i);
    }
}

/* The user's own list of devices names them as the runner must. */
void c_choose_filter(struct device *device) {
    const char *value = getenv("CUDA_VISIBLE_DEVICES");
    struct strings fields = {0};
    long wanted = strtol(device->filter_id[0] == '\0' ? device->id : device->filter_id, NULL, 10);
    long seen = 0;
    if (value == NULL || strcmp(device->library, "CUDA") != 0) {
        return;
    }
    strings_split(&fields, value, ',');
    for (size_t i = 0; i < fields.count; i++) {
        const char *start = fields.items[i] + strspn(fields.items[i], " \t\r\n");
        size_t length = strlen(start);
        while (length > 0 && strchr(" \t\r\n", start[length - 1]) != NULL) {
            length--;
        }
        if (length > 0 && seen++ == wanted) {
            snprintf(device->filter_id, sizeof device->filter_id, "%.*s", (int)length, start);
            break;
        }
    }
    strings_free(&fields);
}
