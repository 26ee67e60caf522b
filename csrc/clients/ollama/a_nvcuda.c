/* gpu_info_nvcuda.c: ten mandatory names, asked for in this order, then cuInit and one context a device. */
#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "ollama/gen_a.h"
#include "ollama/log.h"

struct driver {
    cu_result (*init)(unsigned int flags);
    cu_result (*driver_version)(int *version);
    cu_result (*device_count)(int *count);
    cu_result (*device_get)(cu_device *device, int ordinal);
    cu_result (*device_attribute)(int *value, int attribute, cu_device device);
    cu_result (*device_uuid)(cu_uuid *uuid, cu_device device);
    cu_result (*device_name)(char *name, int size, cu_device device);
    cu_result (*context_create)(cu_context *context, void *affinity, int affinities, unsigned int flags,
                                cu_device device);
    cu_result (*memory_info)(size_t *available, size_t *total);
    cu_result (*context_destroy)(cu_context context);
};

static const struct a_name names[] = {
    {"cuInit", offsetof(struct driver, init)},
    {"cuDriverGetVersion", offsetof(struct driver, driver_version)},
    {"cuDeviceGetCount", offsetof(struct driver, device_count)},
    {"cuDeviceGet", offsetof(struct driver, device_get)},
    {"cuDeviceGetAttribute", offsetof(struct driver, device_attribute)},
    {"cuDeviceGetUuid", offsetof(struct driver, device_uuid)},
    {"cuDeviceGetName", offsetof(struct driver, device_name)},
    {"cuCtxCreate_v3", offsetof(struct driver, context_create)},
    {"cuMemGetInfo_v2", offsetof(struct driver, memory_info)},
    {"cuCtxDestroy", offsetof(struct driver, context_destroy)},
};

void a_format_uuid(char *out, size_t size, const unsigned char *bytes) {
    char hex[33];
    for (int i = 0; i < 16; i++) {
        snprintf(hex + 2 * i, 3, "%02x", bytes[i]);
    }
    snprintf(out, size, "GPU-%.8s-%.4s-%.4s-%.4s-%.12s", hex, hex + 8, hex + 12, hex + 16, hex + 20);
}

static void read_version(struct a_library *library, const struct driver *driver) {
    int version = 0;
    log_bare(a_verbose(), "calling cuDriverGetVersion\n");
    cu_result code = driver->driver_version(&version);
    if (code != CU_SUCCESS) {
        log_bare(a_verbose(), "cuDriverGetVersion failed: %d\n", code);
        return;
    }
    library->driver_major = version / 1000;
    library->driver_minor = version % 1000 / 10;
    log_bare(a_verbose(), "raw version 0x%x\n", (unsigned int)version);
    log_bare(a_verbose(), "CUDA driver version: %d.%d\n", library->driver_major, library->driver_minor);
}

void a_nvcuda_open(const char *path, struct a_library *library) {
    log_bare(a_verbose(), "initializing %s\n", path);
    struct driver *driver = a_load(path, library, names, sizeof names / sizeof names[0], sizeof *driver, 1);
    if (driver == NULL) {
        return;
    }
    log_bare(a_verbose(), "calling cuInit\n");
    cu_result code = driver->init(0);
    if (code != CU_SUCCESS) {
        log_bare(a_verbose(), "cuInit err: %d\n", code);
        a_give_up(library, code, text_format("cuda driver library init failure: %d", code));
        return;
    }
    read_version(library, driver);
    log_bare(a_verbose(), "calling cuDeviceGetCount\n");
    code = driver->device_count(&library->devices);
    if (code != CU_SUCCESS) {
        log_bare(a_verbose(), "cuDeviceGetCount err: %d\n", code);
        a_give_up(library, code, text_format("unable to get device count: %d", code));
        return;
    }
    log_bare(a_verbose(), "device count %d\n", library->devices);
}

/* Compute capability, identity and name: no failure here is fatal, a field just stays as it is. */
static void describe(const struct driver *driver, int index, cu_device handle, struct a_device *device) {
    int major = 0;
    int minor = 0;
    cu_uuid uuid = {{0}};
    cu_result code = driver->device_attribute(&major, CU_ATTRIBUTE_COMPUTE_MAJOR, handle);
    if (code != CU_SUCCESS) {
        log_bare(a_verbose(), "[%d] device major lookup failure: %d\n", index, code);
    } else {
        code = driver->device_attribute(&minor, CU_ATTRIBUTE_COMPUTE_MINOR, handle);
        if (code != CU_SUCCESS) {
            log_bare(a_verbose(), "[%d] device minor lookup failure: %d\n", index, code);
        } else {
            device->major = major;
            device->minor = minor;
        }
    }
    code = driver->device_uuid(&uuid, handle);
    if (code != CU_SUCCESS) {
        log_bare(a_verbose(), "[%d] device uuid lookup failure: %d\n", index, code);
        snprintf(device->id, sizeof device->id, "%d", index);
    } else {
        a_format_uuid(device->id, sizeof device->id, uuid.bytes);
    }
    code = driver->device_name(device->name, 96, handle);
    if (code != CU_SUCCESS) {
        log_bare(a_verbose(), "[%d] device name lookup failure: %d\n", index, code);
        device->name[0] = '\0';
    }
}

void a_nvcuda_device(const struct a_library *library, int index, struct a_device *device) {
    const struct driver *driver = library->functions;
    cu_device handle = -1;
    cu_context context = NULL;
    size_t available = 0;
    size_t total = 0;
    memset(device, 0, sizeof *device);
    device->driver_major = library->driver_major;
    device->driver_minor = library->driver_minor;
    if (driver->device_get(&handle, index) != CU_SUCCESS) {
        device->error = text_format("cuda driver library device failed to initialize");
        return;
    }
    describe(driver, index, handle, device);
    cu_result code = driver->context_create(&context, NULL, 0, 0, handle);
    if (code != CU_SUCCESS) {
        device->error = text_format("cuda driver library failed to get device context %d", code);
        return;
    }
    code = driver->memory_info(&available, &total);
    if (code != CU_SUCCESS) {
        device->error = text_format("cuda driver library device memory info lookup failure %d", code);
        driver->context_destroy(context);
        return;
    }
    device->total = total;
    device->free = available;
    log_bare(a_verbose(), "[%s] CUDA totalMem %zu mb\n", device->id, total >> 20);
    log_bare(a_verbose(), "[%s] CUDA freeMem %zu mb\n", device->id, available >> 20);
    log_bare(a_verbose(), "[%s] Compute Capability %d.%d\n", device->id, device->major, device->minor);
    code = driver->context_destroy(context);
    if (code != CU_SUCCESS) {
        log_bare(1, "cuda driver library failed to release device context %d", code);
    }
}

void a_nvcuda_release(struct a_library *library) {
    log_bare(a_verbose(), "releasing cuda driver library\n");
    a_give_up(library, 0, NULL);
}
