/* The questions about devices and versions. */
#include <stdio.h>
#include <string.h>

#include "cudart.h"

enum {
#if CUDART_MAJOR == 12
    RUNTIME_VERSION = 12080,
    OLD_PROPERTIES_SIZE = offsetof(struct cudaDeviceProp, hostRegisterSupported),
#else
    RUNTIME_VERSION = 13000,
#endif
};

/* The count stays as it was where there is an error (measured on 12.8.90 and 13.0.96). */
cudaError_t cudaGetDeviceCount(int *count) {
    cudaError_t code = cudart_start_with(count);
    if (code == cudaSuccess) {
        *count = cudart_device_count();
    }
    return cudart_end(code);
}

static cudaError_t properties(struct cudaDeviceProp *prop, int device, size_t size) {
    cudaError_t code = cudart_start_for(prop, device);
    if (code == cudaSuccess) {
        memcpy(prop, &cudart_device(device)->properties, size);
    }
    return cudart_end(code);
}

#if CUDART_MAJOR == 12
cudaError_t cudaGetDeviceProperties_v2(struct cudaDeviceProp *prop, int device) {
    return properties(prop, device, sizeof(*prop));
}

/* Programs built by a toolkit before 12.0 have the shorter struct, 728 bytes in driver_types.h of 11.8.89: the same
 * fields up to hostRegisterSupported. */
#undef cudaGetDeviceProperties
static_assert(OLD_PROPERTIES_SIZE == 728, "the size of 11.8");
cudaError_t cudaGetDeviceProperties(struct cudaDeviceProp *prop, int device) {
    return properties(prop, device, OLD_PROPERTIES_SIZE);
}
#else
cudaError_t cudaGetDeviceProperties(struct cudaDeviceProp *prop, int device) {
    return properties(prop, device, sizeof(*prop));
}
#endif

cudaError_t cudaDeviceGetAttribute(int *value, cudaDeviceAttr attr, int device) {
    cudaError_t code = cudart_start_for(value, device);
    if (code == cudaSuccess) {
        code = CUDART_DRIVER(cuDeviceGetAttribute, value, attr, cudart_device(device)->handle);
    }
    return cudart_end(code);
}

/* Put together from the attributes that were read at the start: a driver whose own text says something else is to show
 * as a disagreement between the two. */
cudaError_t cudaDeviceGetPCIBusId(char *pciBusId, int len, int device) {
    char text[sizeof("00000000:00:00.0")];
    cudaError_t code = cudart_start_for(pciBusId, device);
    if (code == cudaSuccess) {
        const struct cudaDeviceProp *prop = &cudart_device(device)->properties;
        int needed = snprintf(text, sizeof(text), "%04x:%02x:%02x.0", (unsigned int)prop->pciDomainID,
                              (unsigned int)prop->pciBusID & 0xff, (unsigned int)prop->pciDeviceID & 0xff);
        if (needed >= len) {
            code = cudaErrorInvalidValue;
        } else {
            memcpy(pciBusId, text, (size_t)needed + 1);
        }
    }
    return cudart_end(code);
}

/* Starts the runtime, and does not say what came of it: only NULL is an error (measured on 12.8.90 and 13.0.96). */
cudaError_t cudaDriverGetVersion(int *driverVersion) {
    if (driverVersion == NULL) {
        return cudart_end(cudaErrorInvalidValue);
    }
    (void)cudart_start();
    *driverVersion = cudart_driver_version();
    return cudaSuccess;
}

cudaError_t cudaRuntimeGetVersion(int *runtimeVersion) {
    if (runtimeVersion == NULL) {
        return cudart_end(cudaErrorInvalidValue);
    }
    *runtimeVersion = RUNTIME_VERSION;
    return cudaSuccess;
}
