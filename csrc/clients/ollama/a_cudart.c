/* gpu_info_cudart.c: the CUDA runtime, asked only where no driver library could be opened. */
#include <dlfcn.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "ollama/gen_a.h"
#include "ollama/log.h"

struct runtime {
    int (*set_device)(int device);
    int (*synchronize)(void);
    int (*reset)(void);
    int (*memory_info)(size_t *available, size_t *total);
    int (*device_count)(int *count);
    int (*device_attribute)(int *value, int attribute, int device);
    int (*driver_version)(int *version);
    int (*device_properties)(void *properties, int device);
};

static const struct a_name names[] = {
    {"cudaSetDevice", offsetof(struct runtime, set_device)},
    {"cudaDeviceSynchronize", offsetof(struct runtime, synchronize)},
    {"cudaDeviceReset", offsetof(struct runtime, reset)},
    {"cudaMemGetInfo", offsetof(struct runtime, memory_info)},
    {"cudaGetDeviceCount", offsetof(struct runtime, device_count)},
    {"cudaDeviceGetAttribute", offsetof(struct runtime, device_attribute)},
    {"cudaDriverGetVersion", offsetof(struct runtime, driver_version)},
    {"cudaGetDeviceProperties", offsetof(struct runtime, device_properties)},
};

/* cudaDeviceProp begins with name[256] and the 16 bytes of the UUID; it is about 1 KiB, with room to grow. */
struct properties {
    char name[256];
    unsigned char uuid[16];
    unsigned char rest[8192 - 272];
};

void a_cudart_open(const char *path, struct a_library *library) {
    int version = 0;
    struct runtime *runtime = a_load(path, library, names, sizeof names / sizeof names[0], sizeof *runtime, 0);
    if (runtime == NULL) {
        return;
    }
    int code = runtime->set_device(0);
    if (code != 0) {
        log_bare(a_verbose(), "cudaSetDevice err: %d\n", code);
        a_give_up(library, code,
                  code == CU_INSUFFICIENT_DRIVER
                      ? text_format("your nvidia driver is too old or missing.  If you have a CUDA GPU please upgrade "
                                    "to run ollama")
                      : text_format("cudart init failure: %d", code));
        return;
    }
    code = runtime->driver_version(&version);
    if (code != 0) {
        log_bare(a_verbose(), "cudaDriverGetVersion failed: %d\n", code);
    } else {
        log_bare(a_verbose(), "CUDA driver version: %d-%d\n", version / 1000, version % 1000 / 10);
    }
    code = runtime->device_count(&library->devices);
    if (code != 0) {
        log_bare(a_verbose(), "cudaGetDeviceCount err: %d\n", code);
        a_give_up(library, code, text_format("unable to get device count: %d", code));
    }
}

void a_cudart_device(const struct a_library *library, int index, struct a_device *device) {
    const struct runtime *runtime = library->functions;
    struct properties properties = {0};
    size_t available = 0;
    size_t total = 0;
    memset(device, 0, sizeof *device);
    if (runtime->set_device(index) != 0) {
        device->error = text_format("cudart device failed to initialize");
        return;
    }
    if (runtime->device_attribute(&device->major, CU_ATTRIBUTE_COMPUTE_MAJOR, index) != 0 ||
        runtime->device_attribute(&device->minor, CU_ATTRIBUTE_COMPUTE_MINOR, index) != 0) {
        device->major = 0;
        device->minor = 0;
    }
    if (runtime->device_properties(&properties, index) != 0) {
        snprintf(device->id, sizeof device->id, "%d", index);
    } else {
        a_format_uuid(device->id, sizeof device->id, properties.uuid);
        snprintf(device->name, sizeof device->name, "%.255s", properties.name);
    }
    int code = runtime->memory_info(&available, &total);
    if (code != 0) {
        device->error = text_format("cudart device memory info lookup failure %d", code);
        return;
    }
    device->total = total;
    device->free = available;
}

void a_cudart_release(struct a_library *library) {
    log_bare(a_verbose(), "releasing cudart library\n");
    a_give_up(library, 0, NULL);
}
