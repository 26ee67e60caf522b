/* Stand-in for libcudart, for the calls of ggml-cuda's start. Order and error codes are those measured with NVIDIA's
 * libcudart 12.8.90 and 13.0.96, less the private export tables, which only NVIDIA's driver has. */
#include "cudart.h"

#include <dlfcn.h>
#include <pthread.h>
#include <string.h>

#ifndef GGML_CUDART_MAJOR
#error "GGML_CUDART_MAJOR is the CUDA version that the library is built for: 12 or 13"
#endif

static struct {
    cu_result (*driver_version)(int *version);
    cu_result (*init)(unsigned int flags);
    cu_result (*device_count)(int *count);
    cu_result (*device_get)(cu_device *device, int ordinal);
    cu_result (*device_name)(char *name, int size, cu_device device);
    cu_result (*device_memory)(size_t *total, cu_device device);
    cu_result (*device_uuid)(cu_uuid *uuid, cu_device device);
    cu_result (*device_uuid_old)(cu_uuid *uuid, cu_device device);
    cu_result (*device_attribute)(int *value, int attribute, cu_device device);
    cu_result (*primary_retain)(cu_context *context, cu_device device);
    cu_result (*context_set)(cu_context context);
    cu_result (*memory_info)(size_t *available, size_t *total);
} driver;

static const struct {
    const char *name;
    void *slot;
} names[] = {
    {"cuDriverGetVersion", &driver.driver_version},     {"cuInit", &driver.init},
    {"cuDeviceGetCount", &driver.device_count},         {"cuDeviceGet", &driver.device_get},
    {"cuDeviceGetName", &driver.device_name},           {"cuDeviceTotalMem_v2", &driver.device_memory},
    {"cuDeviceGetUuid_v2", &driver.device_uuid},        {"cuDeviceGetUuid", &driver.device_uuid_old},
    {"cuDeviceGetAttribute", &driver.device_attribute}, {"cuDevicePrimaryCtxRetain", &driver.primary_retain},
    {"cuCtxSetCurrent", &driver.context_set},           {"cuMemGetInfo_v2", &driver.memory_info},
};

static pthread_once_t once = PTHREAD_ONCE_INIT;
static int start_error;
static int device_total;
static struct cudart_device devices[CUDART_DEVICES_MAX];

static void read_attribute(int *value, int attribute, cu_device handle, int *failed) {
    if (driver.device_attribute(value, attribute, handle) != CU_SUCCESS) {
        *failed = 1;
    }
}

static int read_device(int index) {
    struct cudart_device *device = &devices[index];
    int failed = 0;
    if (driver.device_get == NULL || driver.device_attribute == NULL ||
        (driver.device_uuid == NULL && driver.device_uuid_old == NULL)) {
        return CU_NOT_INITIALIZED;
    }
    if (driver.device_get(&device->handle, index) != CU_SUCCESS) {
        return CU_NOT_INITIALIZED;
    }
    if (driver.device_name == NULL || driver.device_memory == NULL ||
        driver.device_name(device->name, sizeof device->name, device->handle) != CU_SUCCESS ||
        driver.device_memory(&device->total, device->handle) != CU_SUCCESS) {
        return CU_NOT_INITIALIZED;
    }
    cu_result code = driver.device_uuid != NULL ? driver.device_uuid(&device->uuid, device->handle)
                                                : driver.device_uuid_old(&device->uuid, device->handle);
    if (code != CU_SUCCESS) {
        return CU_NOT_INITIALIZED;
    }
    read_attribute(&device->major, CU_ATTRIBUTE_COMPUTE_MAJOR, device->handle, &failed);
    read_attribute(&device->minor, CU_ATTRIBUTE_COMPUTE_MINOR, device->handle, &failed);
    read_attribute(&device->integrated, CU_ATTRIBUTE_INTEGRATED, device->handle, &failed);
    read_attribute(&device->pci_bus, CU_ATTRIBUTE_PCI_BUS, device->handle, &failed);
    read_attribute(&device->pci_device, CU_ATTRIBUTE_PCI_DEVICE, device->handle, &failed);
    read_attribute(&device->pci_domain, CU_ATTRIBUTE_PCI_DOMAIN, device->handle, &failed);
    return failed ? CU_NOT_INITIALIZED : CU_SUCCESS;
}

static int start(void) {
    int version = 0;
    int count = 0;
    void *library = dlopen("libcuda.so.1", RTLD_NOW);
    if (library == NULL) {
        return CU_INSUFFICIENT_DRIVER;
    }
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        void *function = dlsym(library, names[i].name);
        memcpy(names[i].slot, &function, sizeof function);
    }
    if (driver.driver_version == NULL || driver.driver_version(&version) != CU_SUCCESS ||
        version < GGML_CUDART_MAJOR * 1000) {
        return CU_INSUFFICIENT_DRIVER;
    }
    if (driver.init == NULL) {
        return CU_CALL_REQUIRES_NEWER_DRIVER;
    }
    cu_result code = driver.init(0);
    if (code != CU_SUCCESS) {
        return code;
    }
    if (driver.device_count == NULL || driver.device_count(&count) != CU_SUCCESS) {
        return CU_NOT_INITIALIZED;
    }
    if (count <= 0) {
        return CU_NO_DEVICE;
    }
    device_total = count < CUDART_DEVICES_MAX ? count : CUDART_DEVICES_MAX;
    for (int i = 0; i < device_total; i++) {
        int failed = read_device(i);
        if (failed != CU_SUCCESS) {
            return failed;
        }
    }
    return CU_SUCCESS;
}

static void start_once(void) {
    start_error = start();
}

int cudart_device_count(int *count) {
    pthread_once(&once, start_once);
    *count = start_error == CU_SUCCESS ? device_total : 0;
    return start_error;
}

int cudart_device_properties(int index, struct cudart_device *device) {
    pthread_once(&once, start_once);
    if (start_error != CU_SUCCESS) {
        return start_error;
    }
    if (index < 0 || index >= device_total) {
        return 101; /* cudaErrorInvalidDevice */
    }
    *device = devices[index];
    return CU_SUCCESS;
}

/* cudaDriverGetVersion needs no initialisation, and says 0 where there is no driver. */
int cudart_driver_version(int *version) {
    pthread_once(&once, start_once);
    *version = 0;
    return driver.driver_version == NULL ? CU_SUCCESS : driver.driver_version(version);
}

/* cudaMemGetInfo makes the primary context first: it is what costs memory on a real GPU. */
int cudart_memory_info(int index, size_t *available, size_t *total) {
    cu_context context = NULL;
    struct cudart_device device;
    int code = cudart_device_properties(index, &device);
    if (code != CU_SUCCESS) {
        return code;
    }
    if (driver.primary_retain == NULL || driver.context_set == NULL || driver.memory_info == NULL) {
        return CU_CALL_REQUIRES_NEWER_DRIVER;
    }
    code = driver.primary_retain(&context, device.handle);
    if (code == CU_SUCCESS) {
        code = driver.context_set(context);
    }
    return code == CU_SUCCESS ? driver.memory_info(available, total) : code;
}

/* cudaGetErrorString of the codes that its start can end with. */
const char *cudart_error_text(int code) {
    static const struct {
        int code;
        const char *text;
    } texts[] = {
        {0, "no error"},
        {1, "invalid argument"},
        {2, "out of memory"},
        {3, "initialization error"},
        {34, "CUDA driver is a stub library"},
        {35, "CUDA driver version is insufficient for CUDA runtime version"},
        {36, "API call is not supported in the installed CUDA driver"},
        {100, "no CUDA-capable device is detected"},
        {101, "invalid device ordinal"},
        {103, "integrity checks failed"},
        {201, "invalid device context"},
        {205, "mapping of buffer object failed"},
        {500, "named symbol not found"},
        {800, "operation not permitted"},
        {801, "operation not supported"},
        {802, "system not yet initialized"},
        {803, "system has unsupported display driver / cuda driver combination"},
        {804, "forward compatibility was attempted on non supported HW"},
        {999, "unknown error"},
    };
    for (size_t i = 0; i < sizeof texts / sizeof texts[0]; i++) {
        if (texts[i].code == code) {
            return texts[i].text;
        }
    }
    return "unrecognized error code";
}
