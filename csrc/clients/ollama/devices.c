/* The list of devices, and the filters that runner.go sends it through. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "ollama/devices.h"
#include "ollama/log.h"

void devices_add(struct devices *devices, const struct device *device) {
    devices->items = realloc(devices->items, (devices->count + 1) * sizeof *device);
    if (devices->items == NULL) {
        abort();
    }
    devices->items[devices->count++] = *device;
}

void devices_remove(struct devices *devices, size_t index) {
    strings_free(&devices->items[index].library_path);
    devices->count--;
    memmove(devices->items + index, devices->items + index + 1, (devices->count - index) * sizeof *devices->items);
}

void devices_free(struct devices *devices) {
    for (size_t i = 0; i < devices->count; i++) {
        strings_free(&devices->items[i].library_path);
    }
    free(devices->items);
    devices->items = NULL;
    devices->count = 0;
}

const char *device_directory(const struct device *device) {
    return device->library_path.count == 0 ? "" : device->library_path.items[device->library_path.count - 1];
}

/* runner.go's map supported[library][directory][id], of one library. */
struct supported {
    const struct devices *devices;
    const int *dropped;
    const char *library;
};

static int belongs(const struct supported *map, size_t index, const char *directory) {
    const struct device *device = &map->devices->items[index];
    return !map->dropped[index] && strcmp(device->library, map->library) == 0 &&
           (directory == NULL || strcmp(device_directory(device), directory) == 0);
}

static int has_device(const struct supported *map, const char *directory, const char *id) {
    for (size_t i = 0; i < map->devices->count; i++) {
        if (belongs(map, i, directory) && strcmp(map->devices->items[i].id, id) == 0) {
            return 1;
        }
    }
    return 0;
}

static int same_devices(const struct supported *map, const char *one, const char *other) {
    for (size_t i = 0; i < map->devices->count; i++) {
        const char *id = map->devices->items[i].id;
        if ((belongs(map, i, one) && !has_device(map, other, id)) ||
            (belongs(map, i, other) && !has_device(map, one, id))) {
            return 0;
        }
    }
    return 1;
}

/* The newest directory, if all serve the same devices; else the oldest: runner.go never clears its flag `anyMissing`.
 */
static const char *choose_directory(const struct supported *map, const struct strings *directories) {
    const char *newest = directories->items[directories->count - 1];
    for (size_t i = 0; i + 1 < directories->count; i++) {
        if (!same_devices(map, newest, directories->items[i])) {
            return directories->items[0];
        }
    }
    return newest;
}

static void filter_library(const struct supported *map, int *marks) {
    struct strings directories = {0};
    for (size_t i = 0; i < map->devices->count; i++) {
        const char *directory = device_directory(&map->devices->items[i]);
        if (belongs(map, i, NULL) && !strings_has(&directories, directory)) {
            strings_add(&directories, directory);
        }
    }
    strings_sort(&directories);
    const char *kept = directories.count > 1 ? choose_directory(map, &directories) : NULL;
    for (size_t i = 0; i < map->devices->count && kept != NULL; i++) {
        const struct device *device = &map->devices->items[i];
        if (belongs(map, i, NULL) && strcmp(device_directory(device), kept) != 0 && has_device(map, kept, device->id)) {
            char index[24];
            snprintf(index, sizeof index, "%zu", i);
            log_line(LOG_DEBUG, "runner.go:391", "filtering device with overlapping libraries", "id", device->id,
                     "library", device_directory(device), "delete_index", index, "kept_library", kept, NULL);
            marks[i] = 1;
        }
    }
    strings_free(&directories);
}

void devices_filter_overlap(const struct devices *devices, int *dropped) {
    struct strings libraries = {0};
    int *marks = calloc(devices->count + 1, sizeof *marks);
    if (marks == NULL) {
        abort();
    }
    for (size_t i = 0; i < devices->count; i++) {
        if (!strings_has(&libraries, devices->items[i].library)) {
            strings_add(&libraries, devices->items[i].library);
        }
    }
    for (size_t i = 0; i < libraries.count; i++) {
        struct supported map = {devices, dropped, libraries.items[i]};
        filter_library(&map, marks);
    }
    for (size_t i = 0; i < devices->count; i++) {
        dropped[i] |= marks[i];
    }
    free(marks);
    strings_free(&libraries);
}

static void describe_drop(const struct device *device) {
    char compute[32];
    char driver[32];
    char total[32];
    char available[32];
    char *directories = strings_join(&device->library_path, ",");
    snprintf(compute, sizeof compute, "%d.%d", device->compute_major, device->compute_minor);
    snprintf(driver, sizeof driver, "%d.%d", device->driver_major, device->driver_minor);
    log_line(LOG_DEBUG, "runner.go:232", "dropping duplicate device", "id", device->id, "library", device->library,
             "compute", compute, "name", device->name, "description", device->description, "libdirs", directories,
             "driver", driver, "pci_id", device->pci_id, "type", device->integrated ? "iGPU" : "discrete", "total",
             human_bytes(total, device->total), "available", human_bytes(available, device->free), NULL);
    free(directories);
}

/* DeviceInfo.Compare and PreferredLibrary: equal addresses are one GPU; without an address the identity decides. CUDA
 * and ROCm are preferred to other libraries. */
void devices_filter_duplicates(struct devices *devices) {
    for (size_t i = 0; i < devices->count; i++) {
        for (size_t j = i + 1; j < devices->count;) {
            struct device *one = &devices->items[i];
            struct device *other = &devices->items[j];
            int same_library = strcmp(one->library, other->library) == 0;
            if (strcasecmp(one->pci_id, other->pci_id) != 0 ||
                (one->pci_id[0] == '\0' && (!same_library || strcmp(one->id, other->id) != 0))) {
                j++;
                continue;
            }
            if (!same_library) {
                if (strcmp(one->library, "CUDA") != 0 && strcmp(one->library, "ROCm") != 0) {
                    struct device kept = *other;
                    *other = *one;
                    *one = kept;
                }
                describe_drop(other);
            }
            devices_remove(devices, j);
        }
    }
}
