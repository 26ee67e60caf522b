/* The parts of generation C's mini libggml-cuda.so. */
#ifndef LLAMA_CUDA_H
#define LLAMA_CUDA_H

#include <stddef.h>

#include "abi.h"
#include "cudalibs/cublas.h"
#include "cudalibs/runtime.h"
#include "llama/ggml_abi.h"

enum { CUDA_DEVICES_MAX = 16 }; /* GGML_CUDA_MAX_DEVICES */

struct cuda_device {
    int number;
    int vmm;
    size_t granularity;
    char name[16];
    char description[256];
    char pci_id[32];
};

/* Symbols that the linker binds straight to libcuda.so.1, not by way of the runtime. */
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

/* Anything but success is said and ends the process. */
void cuda_check(cudaError_t code, const char *statement, const char *function, int line);
void cuda_driver_check(cu_result code, const char *statement, const char *function, int line);
void cuda_blas_check(cublasStatus_t code, const char *statement, const char *function, int line);
#define CUDA_CHECK(call) cuda_check((call), #call, __func__, __LINE__)
#define CU_CHECK(call) cuda_driver_check((call), #call, __func__, __LINE__)
#define CUBLAS_CHECK(call) cuda_blas_check((call), #call, __func__, __LINE__)

void cuda_pool_prop(int number, struct cu_allocation_prop *prop);
ggml_backend_t cuda_context_new(ggml_backend_dev_t entry);

#endif
