/* The list of devices, and the filters that runner.go sends it through. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "ollama/gen_b.h"
#include "ollama/log.h"

void b_devices_add(struct b_devices *devices, const struct b_device *device) {
    devices->items = realloc(devices->items, (devices->count + 1) * sizeof *device);
    if (devices->items == NULL) {
        abort();
    }
    devices->items[devices->count++] = *device;
}

void b_devices_remove(struct b_devices *devices, size_t index) {
    strings_free(&devices->items[index].library_path);
    devices->count--;
    memmove(devices->items + index, devices->items + index + 1, (devices->count - index) * sizeof *devices->items);
}

void b_devices_free(struct b_devices *devices) {
    for (size_t i = 0; i < devices->count; i++) {
        strings_free(&devices->items[i].library_path);
    }
    free(devices->items);
    devices->items = NULL;
    devices->count = 0;
}

const char *b_device_directory(const struct b_device *device) {
    return device->library_path.count == 0 ? "" : device->library_path.items[device->library_path.count - 1];
}

/* runner.go's map supported[library][directory][id]: the index of the last device that was put there, or -1. */
static int find_supported(const struct b_devices *devices, const int *dropped, const char *directory, const char *id) {
    for (size_t i = devices->count; i-- > 0;) {
        if (!dropped[i] && strcmp(b_device_directory(&devices->items[i]), directory) == 0 &&
            strcmp(devices->items[i].id, id) == 0) {
            return (int)i;
        }
    }
    return -1;
}

static int same_devices(const struct b_devices *devices, const int *dropped, const char *one, const char *other) {
    for (size_t i = 0; i < devices->count; i++) {
        const char *directory = b_device_directory(&devices->items[i]);
        if (dropped[i]) {
            continue;
        }
        if (strcmp(directory, one) == 0 && find_supported(devices, dropped, other, devices->items[i].id) < 0) {
            return 0;
        }
        if (strcmp(directory, other) == 0 && find_supported(devices, dropped, one, devices->items[i].id) < 0) {
            return 0;
        }
    }
    return 1;
}

/* The newest directory, if all serve the same devices; else the oldest: runner.go never clears its flag `anyMissing`.
 */
static const char *choose_directory(const struct b_devices *devices, const int *dropped,
                                    const struct strings *directories) {
    const char *newest = directories->items[directories->count - 1];
    for (size_t i = 0; i + 1 < directories->count; i++) {
        if (!same_devices(devices, dropped, newest, directories->items[i])) {
            return directories->items[0];
        }
    }
    return newest;
}

void b_filter_overlap(const struct b_devices *devices, int *dropped) {
    struct strings directories = {0};
    for (size_t i = 0; i < devices->count; i++) {
        const char *directory = b_device_directory(&devices->items[i]);
        if (!dropped[i] && !strings_has(&directories, directory)) {
            strings_add(&directories, directory);
        }
    }
    strings_sort(&directories);
    if (directories.count > 1) {
        const char *kept = choose_directory(devices, dropped, &directories);
        int *marks = calloc(devices->count, sizeof *marks);
        if (marks == NULL) {
            abort();
        }
        for (size_t i = 0; i < devices->count; i++) {
            const char *directory = b_device_directory(&devices->items[i]);
            if (!dropped[i] && strcmp(directory, kept) != 0 &&
                find_supported(devices, dropped, kept, devices->items[i].id) >= 0) {
                char index[24];
                snprintf(index, sizeof index, "%zu", i);
                log_line(LOG_DEBUG, "runner.go:391", "filtering device with overlapping libraries", "id",
                         devices->items[i].id, "library", directory, "delete_index", index, "kept_library", kept, NULL);
                marks[i] = 1;
            }
        }
        for (size_t i = 0; i < devices->count; i++) {
            dropped[i] |= marks[i];
        }
        free(marks);
    }
    strings_free(&directories);
}

static void describe_drop(const struct b_device *device) {
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
void b_filter_duplicates(struct b_devices *devices) {
    for (size_t i = 0; i < devices->count; i++) {
        for (size_t j = i + 1; j < devices->count;) {
            struct b_device *one = &devices->items[i];
            struct b_device *other = &devices->items[j];
            int same_library = strcmp(one->library, other->library) == 0;
            if (strcmp(one->pci_id, other->pci_id) != 0 ||
                (one->pci_id[0] == '\0' && (!same_library || strcmp(one->id, other->id) != 0))) {
                j++;
                continue;
            }
            if (!same_library) {
                if (strcmp(one->library, "CUDA") != 0 && strcmp(one->library, "ROCm") != 0) {
                    struct b_device kept = *other;
                    *other = *one;
                    *one = kept;
                }
                describe_drop(other);
            }
            b_devices_remove(devices, j);
        }
    }
}
