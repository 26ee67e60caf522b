/* The part of NVIDIA's CUDA runtime that this library does for itself: it finds the driver as cudart does (dlopen by
 * soname, dlsym on that handle) and turns what goes wrong into cudart's error codes. */
#ifndef GGML_CUDART_H
#define GGML_CUDART_H

#include <stddef.h>

#include "abi.h"

enum { CUDART_DEVICES_MAX = 16 };

struct cudart_device {
    cu_device handle;
    char name[256];
    cu_uuid uuid;
    size_t total;
    int major;
    int minor;
    int integrated;
    int pci_domain;
    int pci_bus;
    int pci_device;
};

/* Each answers a cudaError_t. */
int cudart_device_count(int *count);
int cudart_device_properties(int index, struct cudart_device *device);
int cudart_driver_version(int *version);
int cudart_memory_info(int index, size_t *available, size_t *total);
const char *cudart_error_text(int code);

#endif
