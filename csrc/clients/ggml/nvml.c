/* mem_nvml.cpp: free memory by NVML, found by the UUID that the CUDA runtime reported. Opened and closed for each
 * question. */
#include <dlfcn.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "ggml.h"

static struct {
    void *library;
    int (*init)(void);
    int (*shutdown)(void);
    int (*handle_by_uuid)(const char *uuid, nvml_device *device);
    int (*memory_info)(nvml_device device, struct nvml_memory *memory);
    int (*device_name)(nvml_device device, char *name, unsigned int size);
    const char *(*error_text)(int code);
} nvml;

static const struct {
    const char *name;
    void *slot;
} names[] = {
    {"nvmlInit_v2", &nvml.init},
    {"nvmlShutdown", &nvml.shutdown},
    {"nvmlDeviceGetHandleByUUID", &nvml.handle_by_uuid},
    {"nvmlDeviceGetMemoryInfo", &nvml.memory_info},
    {"nvmlDeviceGetName", &nvml.device_name},
    {"nvmlErrorString", &nvml.error_text},
};

static void unload(void) {
    dlclose(nvml.library);
    memset(&nvml, 0, sizeof nvml);
}

int ggml_nvml_init(void) {
    static const char *const paths[] = {"/usr/lib/wsl/lib/libnvidia-ml.so.1", "libnvidia-ml.so.1"};
    for (size_t i = 0; i < sizeof paths / sizeof paths[0] && nvml.library == NULL; i++) {
        nvml.library = dlopen(paths[i], RTLD_LAZY);
    }
    if (nvml.library == NULL) {
        ggml_log(GGML_LOG_INFO, "ggml_nvml_init unable to load libnvidia-ml: %s\n", dlerror());
        return 12; /* NVML_ERROR_LIBRARY_NOT_FOUND */
    }
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        void *function = dlsym(nvml.library, names[i].name);
        memcpy(names[i].slot, &function, sizeof function);
    }
    if (nvml.init == NULL || nvml.shutdown == NULL || nvml.handle_by_uuid == NULL || nvml.memory_info == NULL ||
        nvml.device_name == NULL) {
        ggml_log(GGML_LOG_INFO, "ggml_nvml_init unable to locate required symbols in NVML\n");
        unload();
        return 13; /* NVML_ERROR_FUNCTION_NOT_FOUND */
    }
    int code = nvml.init();
    if (code != NVML_OK) {
        /* as in Ollama, the text is asked for without a look at the pointer: a library without it ends here in SIGSEGV
         */
        ggml_log(GGML_LOG_INFO, "ggml_nvml_init unable to initialize NVML: %s\n", nvml.error_text(code));
        unload();
    }
    return code;
}

void ggml_nvml_release(void) {
    nvml.shutdown();
    unload();
}

/* Devices that share the host's memory have none of their own to report. */
static int host_memory(uint64_t *available, uint64_t *total) {
    char line[256];
    FILE *file = fopen("/proc/meminfo", "re");
    *available = 0;
    *total = 0;
    if (file == NULL) {
        return NVML_NOT_SUPPORTED;
    }
    while (fgets(line, sizeof line, file) != NULL) {
        if (strncmp(line, "MemTotal:", 9) == 0) {
            *total = strtoull(line + 9, NULL, 10) * 1024;
        } else if (strncmp(line, "MemAvailable:", 13) == 0) {
            *available = strtoull(line + 13, NULL, 10) * 1024;
        }
    }
    fclose(file);
    return NVML_OK;
}

int ggml_nvml_memory(const char *uuid, uint64_t *available, uint64_t *total) {
    nvml_device device = NULL;
    struct nvml_memory memory = {0};
    int code = nvml.handle_by_uuid(uuid, &device);
    if (code != NVML_OK) {
        return code;
    }
    code = nvml.memory_info(device, &memory);
    if (code == NVML_NOT_SUPPORTED) {
        return host_memory(available, total);
    }
    if (code == NVML_OK) {
        *total = memory.total;
        *available = memory.free;
    }
    return code;
}
