/* The parts of generation C's mini libggml-cuda.so. */
#ifndef LLAMA_CUDA_H
#define LLAMA_CUDA_H

#include <stddef.h>

#include "cudalibs/cublas.h"
#include "cudalibs/runtime.h"
#include "driver.h"
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
