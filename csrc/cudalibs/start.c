/* What the first call of a process does: driver, version, cuInit, devices. Order and error codes are those measured
 * with NVIDIA's libcudart 12.8.90 and 13.0.96, less the private export tables, which only NVIDIA's driver has.
 *
 * A forked child of a process that has started gets cudaErrorInitializationError, as the driver would answer there. */
#include <pthread.h>
#include <string.h>
#include <unistd.h>

#include "cudart.h"

enum { MINIMUM_DRIVER = CUDART_MAJOR * 1000 };

static pthread_once_t once = PTHREAD_ONCE_INIT;
static cudaError_t start_error;
static pid_t started_in;
static int driver_version;
static int device_total;
static struct cudart_device devices[CUDART_DEVICES_MAX];

static const struct {
    size_t offset;
    size_t size;
    int count;
    int attribute;
} fields[] = {
#define CUDART_PROP(type, name, dimension, attribute)                                                                  \
    {offsetof(struct cudaDeviceProp, name), sizeof(type), sizeof(((struct cudaDeviceProp *)0)->name) / sizeof(type),   \
     attribute},
#include "device_prop.def"
};

/* A driver that is older than an attribute answers that the value is invalid: the device lacks what it stands for. */
static cudaError_t read_attribute(int *value, int attribute, int handle) {
    int code = cudart_driver.cuDeviceGetAttribute(value, attribute, handle);
    if (code == cudaErrorInvalidValue) {
        *value = 0;
        return cudaSuccess;
    }
    return code == cudaSuccess ? cudaSuccess : cudaErrorInitializationError;
}

static cudaError_t read_attributes(struct cudart_device *device) {
    for (size_t i = 0; i < sizeof(fields) / sizeof(fields[0]); i++) {
        char *at = (char *)&device->properties + fields[i].offset;
        for (int n = 0; fields[i].attribute != 0 && n < fields[i].count; n++, at += fields[i].size) {
            int value = 0;
            if (read_attribute(&value, fields[i].attribute + n, device->handle) != cudaSuccess) {
                return cudaErrorInitializationError;
            }
            if (fields[i].size == sizeof(size_t)) {
                size_t wide = (size_t)(unsigned int)value;
                memcpy(at, &wide, sizeof(wide));
            } else {
                memcpy(at, &value, sizeof(value));
            }
        }
    }
    return cudaSuccess;
}

/* Whatever fails here, NVIDIA's runtime calls it an initialisation error. */
static int read_device(struct cudart_device *device, int ordinal) {
    struct cudaDeviceProp *properties = &device->properties;
    int major;
    int minor;
    return CUDART_DRIVER(cuDeviceGet, &device->handle, ordinal) == cudaSuccess &&
           CUDART_DRIVER(cuDeviceGetName, properties->name, sizeof(properties->name), device->handle) == cudaSuccess &&
           CUDART_DRIVER(cuDeviceTotalMem_v2, &properties->totalGlobalMem, device->handle) == cudaSuccess &&
           CUDART_DRIVER(cuDeviceGetUuid, &properties->uuid, device->handle) == cudaSuccess &&
           CUDART_DRIVER(cuDeviceGetAttribute, &major, cudaDevAttrComputeCapabilityMajor, device->handle) ==
               cudaSuccess &&
           CUDART_DRIVER(cuDeviceGetAttribute, &minor, cudaDevAttrComputeCapabilityMinor, device->handle) ==
               cudaSuccess &&
           read_attributes(device) == cudaSuccess;
}

static cudaError_t start(void) {
    int count = 0;
    if (!cudart_find_driver() || CUDART_DRIVER(cuDriverGetVersion, &driver_version) != cudaSuccess ||
        driver_version < MINIMUM_DRIVER) {
        return cudaErrorInsufficientDriver;
    }
    cudaError_t code = CUDART_DRIVER(cuInit, 0);
    if (code != cudaSuccess) {
        return code;
    }
    if (CUDART_DRIVER(cuDeviceGetCount, &count) != cudaSuccess) {
        return cudaErrorInitializationError;
    }
    if (count <= 0) {
        return cudaErrorNoDevice;
    }
    device_total = count < CUDART_DEVICES_MAX ? count : CUDART_DEVICES_MAX;
    for (int i = 0; i < device_total; i++) {
        if (!read_device(&devices[i], i)) {
            return cudaErrorInitializationError;
        }
        /* Whoever reads it relies on the NUL; a driver need not have left room for one. */
        char *name = devices[i].properties.name;
        name[sizeof(devices[i].properties.name) - 1] = '\0';
    }
    return cudaSuccess;
}

static void start_once(void) {
    start_error = start();
    started_in = getpid();
}

cudaError_t cudart_start(void) {
    pthread_once(&once, start_once);
    return start_error == cudaSuccess && started_in != getpid() ? cudaErrorInitializationError : start_error;
}

cudaError_t cudart_start_with(const void *needed) {
    cudaError_t code = cudart_start();
    return code == cudaSuccess && needed == NULL ? cudaErrorInvalidValue : code;
}

cudaError_t cudart_start_for(const void *needed, int ordinal) {
    cudaError_t code = cudart_start_with(needed);
    return code == cudaSuccess && cudart_device(ordinal) == NULL ? cudaErrorInvalidDevice : code;
}

int cudart_driver_version(void) {
    return driver_version;
}

int cudart_device_count(void) {
    return device_total;
}

const struct cudart_device *cudart_device(int ordinal) {
    return ordinal >= 0 && ordinal < device_total ? &devices[ordinal] : NULL;
}
