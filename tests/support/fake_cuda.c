/* A libcuda.so.1 for tests of the clients: each function appends its name to $FAKE_LOG and answers what the environment
 * says (FAKE_<function> is its code); -DWITHOUT_<NAME> leaves a name out. */
#define ANSWER(name)                                                                                                   \
    do {                                                                                                               \
        called(name);                                                                                                  \
        if (number("FAKE_" name, 0) != 0)                                                                              \
            return number("FAKE_" name, 0);                                                                            \
    } while (0)
#define PLAIN(name)                                                                                                    \
    int name(void);                                                                                                    \
    int name(void) {                                                                                                   \
        ANSWER(#name);                                                                                                 \
        return 0;                                                                                                      \
    }

int cuInit(unsigned flags);
int cuInit(unsigned flags) {
    (void)flags;
    called("cuInit");
    int delay = number("FAKE_DELAY_MS", 0);
    nanosleep(&(struct timespec){delay / 1000, delay % 1000 * 1000000L}, NULL);
    return number("FAKE_cuInit", 0);
}
int cuDriverGetVersion(int *version);
int cuDriverGetVersion(int *version) {
    ANSWER("cuDriverGetVersion");
    *version = number("FAKE_VERSION", 13000);
    return 0;
}
int cuDeviceGetCount(int *count);
int cuDeviceGetCount(int *count) {
    ANSWER("cuDeviceGetCount");
    const char *visible = getenv("CUDA_VISIBLE_DEVICES");
    int all = number("FAKE_COUNT", 1);
    *count = visible == NULL ? all : number("FAKE_VISIBLE", 1);
    return 0;
}
/* with CUDA_VISIBLE_DEVICES=GPU-..NN the only device is NN */
static int real_index(int device) {
    const char *visible = getenv("CUDA_VISIBLE_DEVICES");
    return visible == NULL || strlen(visible) < 2 ? device : atoi(visible + strlen(visible) - 2);
}
int cuDeviceGet(int *device, int ordinal);
int cuDeviceGet(int *device, int ordinal) {
    ANSWER("cuDeviceGet");
    *device = ordinal;
    return 0;
}
int cuDeviceGetAttribute(int *value, int attribute, int device);
int cuDeviceGetAttribute(int *value, int attribute, int device) {
    char name[32];
    snprintf(name, sizeof name, "FAKE_MAJOR%d", real_index(device));
    ANSWER("cuDeviceGetAttribute");
    switch (attribute) {
    case 75:
        *value = number(name, number("FAKE_MAJOR", 9));
        break;
    case 76:
        *value = number("FAKE_MINOR", 0);
        break;
    case 33:
        *value = 0;
        break;
    case 34:
        *value = number("FAKE_SAME_ADDRESS", 0) ? 5 : 5 + real_index(device);
        break;
    case 102:
        *value = number("FAKE_VMM", 1);
        break;
    default:
        *value = 0;
        break;
    }
    return 0;
}
int cuDeviceGetUuid_v2(unsigned char *uuid, int device);
static int uuid_of(unsigned char *uuid, int device) {
    static const unsigned char bytes[16] = {0x11, 0x11, 0x11, 0x11, 0x22, 0x22, 0x33, 0x33,
                                            0x44, 0x44, 0x55, 0x55, 0x55, 0x55, 0x55, 0};
    memcpy(uuid, bytes, 16);
    uuid[15] = (unsigned char)real_index(device);
    return 0;
}
int cuDeviceGetUuid_v2(unsigned char *uuid, int device) {
    ANSWER("cuDeviceGetUuid_v2");
    return uuid_of(uuid, device);
}
int cuDeviceGetUuid(unsigned char *uuid, int device);
int cuDeviceGetUuid(unsigned char *uuid, int device) {
    ANSWER("cuDeviceGetUuid");
    return uuid_of(uuid, device);
}
int cuDeviceGetName(char *name, int size, int device);
int cuDeviceGetName(char *name, int size, int device) {
    (void)device;
    ANSWER("cuDeviceGetName");
    snprintf(name, (size_t)size, "%s", getenv("FAKE_NAME") ? getenv("FAKE_NAME") : "NVIDIA Test \"80GB\"");
    return 0;
}
int cuDeviceTotalMem_v2(size_t *total, int device);
int cuDeviceTotalMem_v2(size_t *total, int device) {
    (void)device;
    ANSWER("cuDeviceTotalMem_v2");
    *total = 80UL << 30;
    return 0;
}
#ifndef WITHOUT_CUCTXCREATE_V3
int cuCtxCreate_v3(void **context, void *params, int count, unsigned flags, int device);
int cuCtxCreate_v3(void **context, void *params, int count, unsigned flags, int device) {
    (void)params;
    (void)count;
    (void)flags;
    (void)device;
    ANSWER("cuCtxCreate_v3");
    *context = (void *)context;
    return 0;
}
#endif
int cuMemGetInfo_v2(size_t *available, size_t *total);
int cuMemGetInfo_v2(size_t *available, size_t *total) {
    ANSWER("cuMemGetInfo_v2");
    *available = 79UL << 30;
    *total = 80UL << 30;
    return 0;
}
PLAIN(cuCtxDestroy)
int cuDevicePrimaryCtxRetain(void **context, int device);
int cuDevicePrimaryCtxRetain(void **context, int device) {
    (void)device;
    ANSWER("cuDevicePrimaryCtxRetain");
    *context = (void *)context;
    return 0;
}
PLAIN(cuCtxSetCurrent)
int cuGetErrorString(int error, const char **text);
int cuGetErrorString(int error, const char **text) {
    (void)error;
    called("cuGetErrorString");
    *text = "told to fail";
    return 0;
}
int cuMemGetAllocationGranularity(size_t *size, const void *prop, int option);
int cuMemGetAllocationGranularity(size_t *size, const void *prop, int option) {
    (void)prop;
    (void)option;
    ANSWER("cuMemGetAllocationGranularity");
    *size = 2UL << 20;
    return 0;
}
#ifndef WITHOUT_CUMEMMAP
int cuMemMap(unsigned long long address, size_t size, size_t offset, unsigned long long handle,
             unsigned long long flags);
int cuMemMap(unsigned long long address, size_t size, size_t offset, unsigned long long handle,
             unsigned long long flags) {
    char line[64];
    (void)offset;
    (void)handle;
    (void)flags;
    (void)address;
    snprintf(line, sizeof line, "cuMemMap %zu", size);
    called(line);
    return number("FAKE_cuMemMap", 0);
}
#endif
PLAIN(cuMemCreate)
PLAIN(cuMemAddressReserve) PLAIN(cuMemSetAccess) PLAIN(cuMemUnmap) PLAIN(cuMemRelease) PLAIN(cuMemAddressFree)
