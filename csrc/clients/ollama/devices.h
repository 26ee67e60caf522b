/* ml.DeviceInfo: what generations B and C know of a GPU, and the filters that discover/runner.go sends the list
 * through. */
#ifndef OLLAMA_DEVICES_H
#define OLLAMA_DEVICES_H

#include <stdint.h>

#include "ollama/text.h"

struct device {
    char id[96]; /* the UUID in B, a number in C */
    char library[256];
    char name[256];
    char description[256];
    char filter_id[96];
    char pci_id[64];
    int integrated;
    uint64_t total;
    uint64_t free;
    int compute_major;
    int compute_minor;
    int driver_major; /* of CUDA */
    int driver_minor;
    int nvidia_driver_major; /* the branch of the kernel driver; only C asks for it */
    struct strings library_path;
};

struct devices {
    struct device *items;
    size_t count;
};

void devices_add(struct devices *devices, const struct device *device); /* takes library_path over */
void devices_remove(struct devices *devices, size_t index);
void devices_free(struct devices *devices);
const char *device_directory(const struct device *device); /* the last of library_path, or "" */

/* filterOverlapByLibrary: marks in `dropped` what another directory's library serves too. */
void devices_filter_overlap(const struct devices *devices, int *dropped);
/* Removes what two libraries report of one GPU. */
void devices_filter_duplicates(struct devices *devices);

/* The final lines of discovery. */
void devices_report(const struct devices *devices);

#endif
