/* The parts of the mini libggml-cuda.so: log, memory by NVML, buffers by the driver's virtual memory calls. */
#ifndef GGML_GGML_H
#define GGML_GGML_H

#include <stddef.h>
#include <stdint.h>

#include "abi.h"
#include "backend.h"

__attribute__((format(printf, 2, 3))) void ggml_log(enum ggml_log_level level, const char *format, ...);

/* ggml_abort: the message on stderr, then SIGABRT. */
__attribute__((noreturn, format(printf, 3, 4))) void ggml_abort(const char *file, int line, const char *format, ...);

/* mem_nvml.cpp. init: 0 or an NVML code; memory likewise; release after each successful init. */
int ggml_nvml_init(void);
int ggml_nvml_memory(const char *uuid, uint64_t *available, uint64_t *total);
void ggml_nvml_release(void);

/* Symbols that the linker binds straight to libcuda.so.1, not by dlsym. */
extern cu_result cuDeviceGet(cu_device *device, int ordinal);
extern cu_result cuDeviceGetAttribute(int *value, int attribute, cu_device device);
extern cu_result cuGetErrorString(cu_result error, const char **text);
extern cu_result cuMemGetAllocationGranularity(size_t *size, const struct cu_allocation_prop *prop, int option);
extern cu_result cuMemCreate(unsigned long long *handle, size_t size, const struct cu_allocation_prop *prop,
                             unsigned long long flags);
extern cu_result cuMemAddressReserve(unsigned long long *address, size_t size, size_t alignment,
                                     unsigned long long wanted, unsigned long long flags);
extern cu_result cuMemMap(unsigned long long address, size_t size, size_t offset, unsigned long long handle,
                          unsigned long long flags);
extern cu_result cuMemSetAccess(unsigned long long address, size_t size, const struct cu_access *access, size_t count);
extern cu_result cuMemUnmap(unsigned long long address, size_t size);
extern cu_result cuMemRelease(unsigned long long handle);
extern cu_result cuMemAddressFree(unsigned long long address, size_t size);

/* CU_CHECK: aborts with the driver's text for `code` unless it is success. */
void ggml_cu_check(cu_result code, const char *statement, int line);
#define CU_CHECK(call) ggml_cu_check((call), #call, __LINE__)

void ggml_allocation_prop(cu_device handle, struct cu_allocation_prop *prop);
void *ggml_buffer_new(cu_device handle, size_t granularity, size_t size);
void ggml_buffer_free(void *buffer);

#endif
