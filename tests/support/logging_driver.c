/* A libcuda.so.1 that has every driver function the CUDA runtime stand-ins know of: each prints its name and what it
 * was given, and succeeds. Handles are small numbers. With -DFAIL=NAME that function answers 719. */
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "driver.h"

#define STRING_OF(text) #text
#define STRING(text) STRING_OF(text)

static int called(const char *name, const char *format, ...) {
    va_list values;
    printf("%s", name);
    va_start(values, format);
    vprintf(format, values);
    va_end(values);
    printf("\n");
    fflush(stdout);
    return strcmp(name, STRING(FAIL)) == 0 ? 719 : 0;
}

#define DRIVER(symbol, base, version, parameters) int symbol parameters;
#include "driver.def"

#define GIVE(pointer, number) (*(pointer) = (__typeof__(*(pointer)))(uintptr_t)(number))
#define AS(type, value) ((type)(uintptr_t)(value))
#define N(value) ((unsigned long long)(uintptr_t)(value))

static driver_context current;

/* The start is silent. */
int cuInit(unsigned int flags) {
    return (int)flags;
}
int cuDriverGetVersion(int *version) {
    return GIVE(version, 13000), 0;
}
int cuDeviceGetCount(int *count) {
    return GIVE(count, 2), 0;
}
int cuDeviceGet(int *device, int ordinal) {
    return GIVE(device, ordinal + 40), 0;
}
int cuDeviceGetName(char *name, int size, int device) {
    return snprintf(name, (size_t)size, "device %d", device) < 0;
}
int cuDeviceTotalMem_v2(size_t *bytes, int device) {
    return GIVE(bytes, device), 0;
}
int cuDeviceGetUuid(cudaUUID_t *uuid, int device) {
    return memset(uuid, device, sizeof *uuid), 0;
}
int cuDeviceGetAttribute(int *value, int attribute, int device) {
    return GIVE(value, attribute + 0 * device), 0;
}
int cuCtxGetCurrent(driver_context *context) {
    return *context = current, 0;
}
int cuCtxGetDevice(int *device) {
    return GIVE(device, current != NULL ? N(current) - 100 : 0), current != NULL ? 0 : 201;
}
int cuDevicePrimaryCtxRetain(driver_context *context, int device) {
    GIVE(context, device + 100);
    return called(__func__, " %d", device);
}
int cuCtxSetCurrent(driver_context context) {
    current = context;
    return called(__func__, " %llu", N(context));
}

int cuDeviceCanAccessPeer(int *can, int device, int peer) {
    return GIVE(can, 1), called(__func__, " %d %d", device, peer);
}
int cuDevicePrimaryCtxReset(int device) {
    return called(__func__, " %d", device);
}
int cuDevicePrimaryCtxSetFlags_v2(int device, unsigned int flags) {
    return called(__func__, " %d %u", device, flags);
}
int cuCtxSynchronize(void) {
    return called(__func__, "");
}
int cuCtxEnablePeerAccess(driver_context peer, unsigned int flags) {
    return called(__func__, " %llu %u", N(peer), flags);
}
int cuMemGetInfo_v2(size_t *available, size_t *total) {
    return GIVE(available, 1), GIVE(total, 2), called(__func__, "");
}
int cuMemAlloc_v2(driver_pointer *pointer, size_t size) {
    return GIVE(pointer, 7000), called(__func__, " %zu", size);
}
int cuMemAllocManaged(driver_pointer *pointer, size_t size, unsigned int flags) {
    return GIVE(pointer, 7001), called(__func__, " %zu %u", size, flags);
}
int cuMemFree_v2(driver_pointer pointer) {
    return called(__func__, " %llu", pointer);
}
int cuMemHostAlloc(void **pointer, size_t size, unsigned int flags) {
    return GIVE(pointer, 7002), called(__func__, " %zu %u", size, flags);
}
int cuMemFreeHost(void *pointer) {
    return called(__func__, " %llu", N(pointer));
}
int cuMemHostGetDevicePointer_v2(driver_pointer *pointer, void *host, unsigned int flags) {
    return GIVE(pointer, 7003), called(__func__, " %llu %u", N(host), flags);
}
int cuMemHostRegister_v2(void *pointer, size_t size, unsigned int flags) {
    return called(__func__, " %llu %zu %u", N(pointer), size, flags);
}
int cuMemHostUnregister(void *pointer) {
    return called(__func__, " %llu", N(pointer));
}
int cuMemcpyAsync(driver_pointer to, driver_pointer from, size_t size, cudaStream_t stream) {
    return called(__func__, " %llu %llu %zu %llu", to, from, size, N(stream));
}
int cuMemcpyHtoDAsync_v2(driver_pointer to, const void *from, size_t size, cudaStream_t stream) {
    return called(__func__, " %llu %llu %zu %llu", to, N(from), size, N(stream));
}
int cuMemcpyDtoHAsync_v2(void *to, driver_pointer from, size_t size, cudaStream_t stream) {
    return called(__func__, " %llu %llu %zu %llu", N(to), from, size, N(stream));
}
int cuMemcpyDtoDAsync_v2(driver_pointer to, driver_pointer from, size_t size, cudaStream_t stream) {
    return called(__func__, " %llu %llu %zu %llu", to, from, size, N(stream));
}
int cuMemcpy2DAsync_v2(const struct driver_copy_2d *copy, cudaStream_t stream) {
    return called(__func__, " from %d %llu %llu %zu to %d %llu %llu %zu size %zu %zu at %zu stream %llu",
                  copy->from_type, N(copy->from_host), copy->from_device, copy->from_pitch, copy->to_type,
                  N(copy->to_host), copy->to_device, copy->to_pitch, copy->width, copy->height,
                  copy->from_x + copy->from_y + copy->to_x + copy->to_y, N(stream));
}
int cuMemcpyPeerAsync(driver_pointer to, driver_context to_context, driver_pointer from, driver_context from_context,
                      size_t size, cudaStream_t stream) {
    return called(__func__, " %llu@%llu %llu@%llu %zu %llu", to, N(to_context), from, N(from_context), size, N(stream));
}
int cuMemsetD8_v2(driver_pointer pointer, unsigned char value, size_t count) {
    return called(__func__, " %llu %d %zu", pointer, value, count);
}
int cuMemsetD8Async(driver_pointer pointer, unsigned char value, size_t count, cudaStream_t stream) {
    return called(__func__, " %llu %d %zu %llu", pointer, value, count, N(stream));
}
int cuStreamCreate(cudaStream_t *stream, unsigned int flags) {
    return GIVE(stream, 7010), called(__func__, " %u", flags);
}
int cuStreamDestroy_v2(cudaStream_t stream) {
    return called(__func__, " %llu", N(stream));
}
int cuStreamSynchronize(cudaStream_t stream) {
    return called(__func__, " %llu", N(stream));
}
int cuStreamWaitEvent(cudaStream_t stream, cudaEvent_t event, unsigned int flags) {
    return called(__func__, " %llu %llu %u", N(stream), N(event), flags);
}
int cuStreamBeginCapture_v2(cudaStream_t stream, int mode) {
    return called(__func__, " %llu %d", N(stream), mode);
}
int cuStreamEndCapture(cudaStream_t stream, cudaGraph_t *graph) {
    return GIVE(graph, 7012), called(__func__, " %llu", N(stream));
}
int cuStreamIsCapturing(cudaStream_t stream, int *status) {
    return GIVE(status, 1), called(__func__, " %llu", N(stream));
}
int cuEventCreate(cudaEvent_t *event, unsigned int flags) {
    return GIVE(event, 7011), called(__func__, " %u", flags);
}
int cuEventDestroy_v2(cudaEvent_t event) {
    return called(__func__, " %llu", N(event));
}
int cuEventRecord(cudaEvent_t event, cudaStream_t stream) {
    return called(__func__, " %llu %llu", N(event), N(stream));
}
int cuEventSynchronize(cudaEvent_t event) {
    return called(__func__, " %llu", N(event));
}
int cuGraphInstantiateWithFlags(cudaGraphExec_t *exec, cudaGraph_t graph, unsigned long long flags) {
    return GIVE(exec, 7013), called(__func__, " %llu %llu", N(graph), flags);
}
int cuGraphLaunch(cudaGraphExec_t exec, cudaStream_t stream) {
    return called(__func__, " %llu %llu", N(exec), N(stream));
}
int cuGraphExecUpdate_v2(cudaGraphExec_t exec, cudaGraph_t graph, cudaGraphExecUpdateResultInfo *info) {
    info->result = 5;
    return called(__func__, " %llu %llu", N(exec), N(graph));
}
int cuGraphExecDestroy(cudaGraphExec_t exec) {
    return called(__func__, " %llu", N(exec));
}
int cuGraphDestroy(cudaGraph_t graph) {
    return called(__func__, " %llu", N(graph));
}
int cuLibraryLoadData(driver_library *library, const void *code, int *jit_options, void **jit_values,
                      unsigned int jit_count, int *options, void **values, unsigned int count) {
    const void *none[] = {jit_options, jit_values, options, values};
    GIVE(library, 7020);
    return called(__func__, " %s %d", (const char *)code,
                  (int)(jit_count + count) + (none[0] || none[1] || none[2] || none[3]));
}
int cuLibraryUnload(driver_library library) {
    return called(__func__, " %llu", N(library));
}
int cuLibraryGetKernel(cudaKernel_t *kernel, driver_library library, const char *name) {
    return GIVE(kernel, 7021), called(__func__, " %llu %s", N(library), name);
}
int cuKernelGetFunction(driver_function *function, cudaKernel_t kernel) {
    return GIVE(function, 7022), called(__func__, " %llu", N(kernel));
}
int cuFuncGetAttribute(int *value, int attribute, driver_function function) {
    return GIVE(value, 500 + attribute), N(function) != 7022;
}
int cuFuncSetAttribute(driver_function function, int attribute, int value) {
    return called(__func__, " %llu %d %d", N(function), attribute, value);
}
int cuOccupancyMaxActiveBlocksPerMultiprocessorWithFlags(int *blocks, driver_function function, int block_size,
                                                         size_t shared, unsigned int flags) {
    return GIVE(blocks, 3), called(__func__, " %llu %d %zu %u", N(function), block_size, shared, flags);
}
int cuLaunchKernel(driver_function function, unsigned int grid_x, unsigned int grid_y, unsigned int grid_z,
                   unsigned int block_x, unsigned int block_y, unsigned int block_z, unsigned int shared,
                   cudaStream_t stream, void **arguments, void **extra) {
    return called(__func__, " %llu grid %u %u %u block %u %u %u %u %llu argument %s extra %llu", N(function), grid_x,
                  grid_y, grid_z, block_x, block_y, block_z, shared, N(stream), (char *)arguments[0], N(extra));
}
int cuLaunchCooperativeKernel(driver_function function, unsigned int grid_x, unsigned int grid_y, unsigned int grid_z,
                              unsigned int block_x, unsigned int block_y, unsigned int block_z, unsigned int shared,
                              cudaStream_t stream, void **arguments) {
    return called(__func__, " %llu grid %u %u %u block %u %u %u %u %llu argument %s", N(function), grid_x, grid_y,
                  grid_z, block_x, block_y, block_z, shared, N(stream), (char *)arguments[0]);
}
int cuLaunchKernelEx(const struct driver_launch *config, driver_function function, void **arguments, void **extra) {
    return called(__func__, " %llu grid %u %u %u block %u %u %u %u %llu attributes %llu %u argument %s extra %llu",
                  N(function), config->grid_x, config->grid_y, config->grid_z, config->block_x, config->block_y,
                  config->block_z, config->shared, N(config->stream), N(config->attributes), config->attribute_count,
                  (char *)arguments[0], N(extra));
}
