/* The functions of the driver that ggml's CUDA backend calls by symbol: the linker binds them straight to libcuda.so.1,
 * not by way of the runtime. */
#ifndef CLIENTS_DRIVER_H
#define CLIENTS_DRIVER_H

#include "abi.h"

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

#endif
