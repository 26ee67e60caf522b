/* probeCUDADriverLinux and probeNVIDIADriverMajorLinux: the driver itself, past ggml. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "abi.h"
#include "ollama/gen_c.h"

static struct {
    cu_result (*init)(unsigned int flags);
    cu_result (*driver_version)(int *version);
    cu_result (*device_count)(int *count);
    cu_result (*device)(cu_device *device, int ordinal);
    cu_result (*attribute)(int *value, int attribute, cu_device device);
    cu_result (*name)(char *name, int size, cu_device device);
    cu_result (*memory)(size_t *total, cu_device device);
    cu_result (*address)(char *text, int size, cu_device device); /* may be missing */
} cuda;

static struct {
    int (*init)(void);
    int (*shutdown)(void);
    int (*driver_version)(char *version, unsigned int size);
} nvml;

struct name {
    const char *name;
    void *slot;
};

/* The first of two names that opens; else both errors. */
static char *open_first(const char *one, const char *other, void **library) {
    char *first = c_open(one, 0, library);
    char *second = first == NULL ? NULL : c_open(other, 0, library);
    char *error = second == NULL ? NULL : text_format("%s; %s", first, second);
    free(first);
    free(second);
    return error;
}

static char *find_all(void *library, const struct name *names, size_t count) {
    char *error = NULL;
    for (size_t i = 0; i < count && error == NULL; i++) {
        error = c_symbol(library, names[i].name, names[i].slot);
    }
    return error;
}

static char *find_cuda(void *library) {
    static const struct name names[] = {
        {"cuInit", &cuda.init},
        {"cuDriverGetVersion", &cuda.driver_version},
        {"cuDeviceGetCount", &cuda.device_count},
        {"cuDeviceGet", &cuda.device},
        {"cuDeviceGetAttribute", &cuda.attribute},
        {"cuDeviceGetName", &cuda.name},
    };
    char *error = find_all(library, names, sizeof names / sizeof names[0]);
    if (error != NULL) {
        return error;
    }
    char *first = c_symbol(library, "cuDeviceTotalMem_v2", &cuda.memory);
    char *second = first == NULL ? NULL : c_symbol(library, "cuDeviceTotalMem", &cuda.memory);
    error = second == NULL ? NULL : text_format("%s; %s", first, second);
    free(first);
    free(second);
    free(c_symbol(library, "cuDeviceGetPCIBusId", &cuda.address));
    return error;
}

/* The number before the first dot, as strconv.Atoi takes it; 0: not known. */
static int read_major(const char *version) {
    char *end = NULL;
    version += strspn(version, " \t\r\n");
    long value = strtol(version, &end, 10);
    int good = end != version && (*end == '\0' || *end == '.' || strchr(" \t\r\n", *end) != NULL);
    return good && value > 0 && value < 1000000 ? (int)value : 0;
}

static int nvidia_major(void) {
    static const struct name names[] = {
        {"nvmlInit_v2", &nvml.init},
        {"nvmlShutdown", &nvml.shutdown},
        {"nvmlSystemGetDriverVersion", &nvml.driver_version},
    };
    char version[80] = "";
    void *library = NULL;
    char *error = open_first("libnvidia-ml.so.1", "libnvidia-ml.so", &library);
    if (error == NULL) {
        error = find_all(library, names, sizeof names / sizeof names[0]);
    }
    if (error != NULL || nvml.init() != NVML_OK) {
        free(error);
        return 0;
    }
    int code = nvml.driver_version(version, sizeof version);
    nvml.shutdown();
    return code == NVML_OK ? read_major(version) : 0;
}

static int attribute(int number, cu_device device) {
    int value = 0;
    return cuda.attribute(&value, number, device) == CU_SUCCESS ? value : 0;
}

static void add_device(int index, cu_device device, struct c_native native, struct c_natives *natives) {
    char name[128] = "";
    char address[32] = "";
    size_t total = 0;
    native.index = index;
    native.compute_major = attribute(CU_ATTRIBUTE_COMPUTE_MAJOR, device);
    native.compute_minor = attribute(CU_ATTRIBUTE_COMPUTE_MINOR, device);
    native.integrated = attribute(CU_ATTRIBUTE_INTEGRATED, device) == 1;
    cuda.name(name, sizeof name, device);
    cuda.memory(&total, device);
    if (cuda.address != NULL && cuda.address(address, sizeof address, device) == CU_SUCCESS) {
        for (size_t i = 0; i < sizeof address && address[i] != '\0'; i++) {
            native.device_id[i] = (char)(address[i] >= 'A' && address[i] <= 'Z' ? address[i] + 'a' - 'A' : address[i]);
        }
    }
    snprintf(native.description, sizeof native.description, "%.*s", (int)sizeof name, name);
    native.total = total;
    c_natives_add(natives, &native);
}

char *c_probe_cuda(struct c_natives *natives) {
    struct c_native native = {.library = "CUDA", .index_matches_backend = 1, .integrated_known = 1};
    void *library = NULL;
    int version = 0;
    int count = 0;
    char *error = open_first("libcuda.so.1", "libcuda.so", &library);
    if (error == NULL) {
        error = find_cuda(library);
    }
    if (error != NULL) {
        return error;
    }
    cu_result code = cuda.init(0);
    if (code != CU_SUCCESS) {
        return text_format("cuInit failed: %d", code);
    }
    if (cuda.driver_version(&version) == CU_SUCCESS) {
        native.cuda_driver_major = version / 1000;
        native.cuda_driver_minor = version % 1000 / 10;
    }
    native.nvidia_driver_major = nvidia_major();
    code = cuda.device_count(&count);
    if (code != CU_SUCCESS) {
        return text_format("cuDeviceGetCount failed: %d", code);
    }
    for (int i = 0; i < count; i++) {
        cu_device device = 0;
        if (cuda.device(&device, i) == CU_SUCCESS) {
            add_device(i, device, native, natives);
        }
    }
    return NULL;
}
