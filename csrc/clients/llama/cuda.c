/* The mini libggml-cuda.so of generation C: ggml_cuda_init and the registration of ggml-cuda.cu, in the order of its
 * calls, on the CUDA runtime that the library is linked with. */
#include "llama/cuda.h"

#include <stdio.h>
#include <string.h>

/* The architectures that Ollama's release builds carry. */
#if CUDART_MAJOR == 12
static char archs[] = "500,520,600,610,700,750,800,860,890,900,1200";
#elif CUDART_MAJOR == 13
static char archs[] = "750,800,860,870,880,890,900,1000,1030,1100,1200,1210";
#else
#error "no list of architectures for this CUDART_MAJOR"
#endif

static const size_t MiB = 1024 * 1024;

static struct cuda_device devices[CUDA_DEVICES_MAX];
static struct ggml_backend_device entries[CUDA_DEVICES_MAX];
static int device_total;

static void init_device(int number) {
    struct cuda_device *device = &devices[number];
    struct cudaDeviceProp properties;
    cu_device handle;
    int cooperative = 0;
    device->number = number;
    CU_CHECK(cuDeviceGet(&handle, number));
    CU_CHECK(cuDeviceGetAttribute(&device->vmm, CU_ATTRIBUTE_VMM_SUPPORTED, handle));
    if (device->vmm) {
        struct cu_allocation_prop prop;
        cuda_pool_prop(number, &prop);
        CU_CHECK(cuMemGetAllocationGranularity(&device->granularity, &prop, CU_GRANULARITY_RECOMMENDED));
    }
    CUDA_CHECK(cudaGetDeviceProperties(&properties, number));
    CUDA_CHECK(cudaDeviceGetAttribute(&cooperative, cudaDevAttrCooperativeLaunch, number));
    ggml_log_internal(GGML_LOG_LEVEL_INFO, "  Device %d: %s, compute capability %d.%d, VMM: %s, VRAM: %zu MiB\n",
                      number, properties.name, properties.major, properties.minor, device->vmm ? "yes" : "no",
                      properties.totalGlobalMem / MiB);
}

static void init_all(void) {
    int count = 0;
    size_t memory = 0;
    cudaError_t code = cudaGetDeviceCount(&count);
    if (code != cudaSuccess) {
        ggml_log_internal(GGML_LOG_LEVEL_ERROR, "ggml_cuda_init: failed to initialize CUDA: %s\n",
                          cudaGetErrorString(code));
        return;
    }
    if (count > CUDA_DEVICES_MAX) {
        ggml_abort("ggml-cuda.cu", __LINE__, "GGML_ASSERT(%s) failed", "info.device_count <= GGML_CUDA_MAX_DEVICES");
    }
    for (int i = 0; i < count; i++) {
        struct cudaDeviceProp properties;
        CUDA_CHECK(cudaGetDeviceProperties(&properties, i));
        memory += properties.totalGlobalMem;
    }
    ggml_log_internal(GGML_LOG_LEVEL_INFO, "ggml_cuda_init: found %d CUDA devices (Total VRAM: %zu MiB):\n", count,
                      memory / MiB);
    for (int i = 0; i < count; i++) {
        init_device(i);
    }
    device_total = count;
}

static const char *device_name(ggml_backend_dev_t entry) {
    return ((struct cuda_device *)entry->context)->name;
}

static const char *device_description(ggml_backend_dev_t entry) {
    return ((struct cuda_device *)entry->context)->description;
}

/* ggml_cuda_set_device: only a change is a call. */
static void set_device(int number) {
    int current = 0;
    CUDA_CHECK(cudaGetDevice(&current));
    if (current != number) {
        CUDA_CHECK(cudaSetDevice(number));
    }
}

static void device_memory(ggml_backend_dev_t entry, size_t *available, size_t *total) {
    const struct cuda_device *device = entry->context;
    struct cudaDeviceProp properties;
    set_device(device->number);
    cudaError_t code = cudaMemGetInfo(available, total);
    if (code != cudaSuccess) {
        (void)cudaGetLastError();
        ggml_log_internal(GGML_LOG_LEVEL_WARN,
                          "ggml_backend_cuda_device_get_memory: cudaMemGetInfo failed (%s), returning 0/0\n",
                          cudaGetErrorString(code));
        *available = 0;
        *total = 0;
        return;
    }
    /* a device in the host's memory would have the host's numbers */
    CUDA_CHECK(cudaGetDeviceProperties(&properties, device->number));
}

static enum ggml_backend_dev_type device_type(ggml_backend_dev_t entry) {
    const struct cuda_device *device = entry->context;
    struct cudaDeviceProp properties;
    CUDA_CHECK(cudaGetDeviceProperties(&properties, device->number));
    return properties.integrated ? GGML_BACKEND_DEVICE_TYPE_IGPU : GGML_BACKEND_DEVICE_TYPE_GPU;
}

static void device_props(ggml_backend_dev_t entry, struct ggml_backend_dev_props *props) {
    const struct cuda_device *device = entry->context;
    props->name = device->name;
    props->description = device->description;
    props->type = device_type(entry);
    props->device_id = device->pci_id[0] == '\0' ? NULL : device->pci_id;
    device_memory(entry, &props->memory_free, &props->memory_total);
    props->caps = (struct ggml_backend_dev_caps){.async = true, .host_buffer = true, .events = true};
}

static ggml_backend_t device_init(ggml_backend_dev_t entry, const char *params) {
    (void)params;
    return cuda_context_new(entry);
}

static const char *reg_name(ggml_backend_reg_t reg) {
    (void)reg;
    return "CUDA";
}

static size_t reg_count(ggml_backend_reg_t reg) {
    (void)reg;
    return (size_t)device_total;
}

static ggml_backend_dev_t reg_device(ggml_backend_reg_t reg, size_t index) {
    (void)reg;
    return index < (size_t)device_total ? &entries[index] : NULL;
}

static struct ggml_backend_feature *get_features(ggml_backend_reg_t reg) {
    static struct ggml_backend_feature features[] = {{"ARCHS", archs}, {"USE_GRAPHS", "1"}, {NULL, NULL}};
    (void)reg;
    return features;
}

static void *reg_proc(ggml_backend_reg_t reg, const char *name) {
    void *function = NULL;
    ggml_backend_get_features_t features = get_features;
    (void)reg;
    if (strcmp(name, "ggml_backend_get_features") == 0) {
        memcpy(&function, &features, sizeof function);
    }
    return function;
}

static void register_device(int number, ggml_backend_reg_t reg) {
    struct cuda_device *device = &devices[number];
    struct cudaDeviceProp properties;
    snprintf(device->name, sizeof device->name, "CUDA%d", number);
    CUDA_CHECK(cudaGetDeviceProperties(&properties, number));
    memcpy(device->description, properties.name, sizeof device->description);
    CUDA_CHECK(cudaDeviceGetPCIBusId(device->pci_id, sizeof device->pci_id, number));
    for (char *at = device->pci_id; *at != '\0'; at++) {
        *at = (char)(*at >= 'A' && *at <= 'Z' ? *at + 'a' - 'A' : *at);
    }
    entries[number] = (struct ggml_backend_device){
        .iface = {.get_name = device_name,
                  .get_description = device_description,
                  .get_memory = device_memory,
                  .get_type = device_type,
                  .get_props = device_props,
                  .init_backend = device_init},
        .reg = reg,
        .context = device,
    };
}

ggml_backend_reg_t ggml_backend_init(void) {
    static struct ggml_backend_reg reg = {GGML_BACKEND_API_VERSION, {reg_name, reg_count, reg_device, reg_proc}, NULL};
    static int done;
    if (!done) {
        done = 1;
        init_all();
        for (int i = 0; i < device_total; i++) {
            register_device(i, &reg);
        }
    }
    return &reg;
}
