/* A libnvidia-ml.so.1 for tests of the clients, as fake_cuda.c is a libcuda.so.1. */
struct memory {
    unsigned long long total, free, used;
};
int nvmlInit_v2(void);
int nvmlInit_v2(void) {
    called("nvmlInit_v2");
    return number("FAKE_nvmlInit_v2", 0);
}
int nvmlShutdown(void);
int nvmlShutdown(void) {
    called("nvmlShutdown");
    return 0;
}
int nvmlDeviceGetHandleByUUID(const char *uuid, void **device);
int nvmlDeviceGetHandleByUUID(const char *uuid, void **device) {
    called("nvmlDeviceGetHandleByUUID");
    *device = (void *)device;
    return strncmp(uuid, getenv("FAKE_NVML_UUID") ? getenv("FAKE_NVML_UUID") : "GPU-1111", 8) == 0 ? 0 : 6;
}
int nvmlDeviceGetMemoryInfo(void *device, struct memory *memory);
int nvmlDeviceGetMemoryInfo(void *device, struct memory *memory) {
    (void)device;
    called("nvmlDeviceGetMemoryInfo");
    memory->total = 78ULL << 30;
    memory->free = 77ULL << 30;
    memory->used = 1ULL << 30;
    return number("FAKE_nvmlDeviceGetMemoryInfo", 0);
}
int nvmlDeviceGetName(void *device, char *name, unsigned size);
int nvmlDeviceGetName(void *device, char *name, unsigned size) {
    (void)device;
    snprintf(name, size, "test");
    return 0;
}
#ifndef WITHOUT_NVMLERRORSTRING
const char *nvmlErrorString(int code);
const char *nvmlErrorString(int code) {
    (void)code;
    called("nvmlErrorString");
    return "told to fail";
}
#endif
