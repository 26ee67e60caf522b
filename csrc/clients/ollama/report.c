/* discover/types.go LogDetails: one line for each GPU, or one for the CPU, and what the memory means for a context. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "ollama/devices.h"
#include "ollama/layout.h"
#include "ollama/log.h"

static void report_device(const struct device *device) {
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

void devices_report(const struct devices *devices) {
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
