/* ggml-cuda.cu, as far as discovery reaches: ggml_cuda_init, the registration, and the memory of a device. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cudalibs/runtime.h"
#include "ggml.h"

__attribute__((visibility("default"))) struct ggml_backend_reg *ggml_backend_init(void);

/* The architectures that Ollama's release builds carry. */
#if CUDART_MAJOR == 12
#define ARCHS "500,520,600,610,700,750,800,860,890,900,1200"
static const int archs[] = {50, 52, 60, 61, 70, 75, 80, 86, 89, 90, 120};
#else
#define ARCHS "750,800,860,870,880,890,900,1000,1030,1100,1200,1210"
static const int archs[] = {75, 80, 86, 87, 88, 89, 90, 100, 103, 110, 120, 121};
#endif

enum { DEVICES_MAX = 16 }; /* GGML_CUDA_MAX_DEVICES */

struct device {
    cu_device handle;
    int vmm;
    size_t granularity;
    struct ggml_device_props props;
};

static struct device devices[DEVICES_MAX];
static int device_total;

static void cuda_check(cudaError_t code, const char *statement, int line) {
    if (code != cudaSuccess) {
        fprintf(stderr, "CUDA error: %s\n  %s\n", cudaGetErrorString(code), statement);
        ggml_abort("ggml-cuda.cu", line, "CUDA error");
    }
}
#define CUDA_CHECK(call) cuda_check((call), #call, __LINE__)

static int has_arch(const struct cudaDeviceProp *properties) {
    for (size_t i = 0; i < sizeof archs / sizeof archs[0]; i++) {
        if (archs[i] == properties->major * 10 + properties->minor) {
            return 1;
        }
    }
    return 0;
}

static void format_uuid(char *out, size_t size, const cudaUUID_t *uuid) {
    char hex[33];
    for (int i = 0; i < 16; i++) {
        snprintf(hex + 2 * i, 3, "%02x", (unsigned char)uuid->bytes[i]);
    }
    snprintf(out, size, "GPU-%.8s-%.4s-%.4s-%.4s-%.12s", hex, hex + 8, hex + 12, hex + 16, hex + 20);
}

static void init_device(int index) {
    struct device *device = &devices[index];
    struct cudaDeviceProp properties;
    struct cu_allocation_prop prop;
    CU_CHECK(cuDeviceGet(&device->handle, index));
    CU_CHECK(cuDeviceGetAttribute(&device->vmm, CU_ATTRIBUTE_VMM_SUPPORTED, device->handle));
    if (device->vmm) {
        ggml_allocation_prop(device->handle, &prop);
        CU_CHECK(cuMemGetAllocationGranularity(&device->granularity, &prop, CU_GRANULARITY_RECOMMENDED));
    }
    CUDA_CHECK(cudaGetDeviceProperties(&properties, index));
    /* set in Ollama's second pass only: the first may list devices that this build has no code for */
    if (getenv("GGML_CUDA_INIT") != NULL && !has_arch(&properties)) {
        ggml_abort("ggml-cuda.cu", __LINE__,
                   "GGML_ASSERT(ggml_cuda_has_arch(info.devices[id].cc) && \"ggml was not compiled with support for "
                   "this arch\") failed");
    }
    format_uuid(device->props.id, sizeof device->props.id, &properties.uuid);
    ggml_log(GGML_LOG_INFO, "  Device %d: %s, compute capability %d.%d, VMM: %s, ID: %s\n", index, properties.name,
             properties.major, properties.minor, device->vmm ? "yes" : "no", device->props.id);
}

static void cuda_init(void) {
    int count = 0;
    cudaError_t code = cudaGetDeviceCount(&count);
    if (code != cudaSuccess) {
        ggml_log(GGML_LOG_ERROR, "ggml_cuda_init: failed to initialize CUDA: %s\n", cudaGetErrorString(code));
        return;
    }
    count = count < DEVICES_MAX ? count : DEVICES_MAX;
    ggml_log(GGML_LOG_INFO, "ggml_cuda_init: found %d CUDA devices:\n", count);
    for (int i = 0; i < count; i++) {
        init_device(i);
    }
    device_total = count;
}

static void register_device(int index) {
    struct ggml_device_props *props = &devices[index].props;
    struct cudaDeviceProp properties;
    int version = 0;
    CUDA_CHECK(cudaGetDeviceProperties(&properties, index));
    CUDA_CHECK(cudaDriverGetVersion(&version));
    snprintf(props->name, sizeof props->name, "CUDA%d", index);
    snprintf(props->description, sizeof props->description, "%s", properties.name);
    snprintf(props->pci_id, sizeof props->pci_id, "%04x:%02x:%02x.0", (unsigned int)properties.pciDomainID,
             (unsigned int)properties.pciBusID, (unsigned int)properties.pciDeviceID);
    props->compute_major = properties.major;
    props->compute_minor = properties.minor;
    props->integrated = properties.integrated;
    props->driver_major = version / 1000;
    props->driver_minor = version % 1000 / 10;
}

static size_t device_count(void) {
    return (size_t)device_total;
}

static void device_props(size_t index, struct ggml_device_props *props) {
    *props = devices[index].props;
}

static void set_device(int index) {
    int current = -1;
    CUDA_CHECK(cudaGetDevice(&current));
    if (current != index) {
        CUDA_CHECK(cudaSetDevice(index));
    }
}

static void device_memory(size_t index, uint64_t *available, uint64_t *total) {
    const char *id = devices[index].props.id;
    size_t cuda_free = 0;
    size_t cuda_total = 0;
    set_device((int)index);
    if (ggml_nvml_init() == NVML_OK) {
        int code = ggml_nvml_memory(id, available, total);
        ggml_nvml_release();
        if (code == NVML_OK) {
            ggml_log(GGML_LOG_DEBUG,
                     "ggml_backend_cuda_device_get_memory device %s utilizing NVML memory reporting free: %llu total: "
                     "%llu\n",
                     id, (unsigned long long)*available, (unsigned long long)*total);
            return;
        }
    }
    CUDA_CHECK(cudaMemGetInfo(&cuda_free, &cuda_total));
    *available = cuda_free;
    *total = cuda_total;
}

static void *buffer_new(size_t index, size_t size) {
    return devices[index].vmm ? ggml_buffer_new(devices[index].handle, devices[index].granularity, size) : NULL;
}

struct ggml_backend_reg *ggml_backend_init(void) {
    static struct ggml_backend_reg reg = {
        GGML_BACKEND_API_VERSION, "CUDA", ARCHS, device_count, device_props, device_memory, buffer_new,
        ggml_buffer_free};
    static int done;
    if (!done) {
        done = 1;
        cuda_init();
        for (int i = 0; i < device_total; i++) {
            register_device(i);
        }
    }
    return &reg;
}
