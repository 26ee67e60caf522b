/* What ggml_backend_cuda_context of ggml-cuda.cu holds: the VMM pool (reserve addresses, create memory, map it, allow
 * access) and the cuBLAS handle. With the calls of the start, these are the eleven names that RTLD_NOW needs from
 * libcuda.so.1. */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cudalibs/cublas.h"
#include "ggml.h"

struct buffer {
    cublasHandle_t blas;
    unsigned long long address;
    unsigned long long handle;
    size_t size;
};

void ggml_cu_check(cu_result code, const char *statement, int line) {
    const char *text = NULL;
    if (code == CU_SUCCESS) {
        return;
    }
    if (cuGetErrorString(code, &text) != CU_SUCCESS || text == NULL) {
        text = "unknown error";
    }
    fprintf(stderr, "CUDA error: %s\n  %s\n", text, statement);
    ggml_abort("ggml-cuda.cu", line, "CUDA error");
}

static void cublas_check(cublasStatus_t status, const char *statement, int line) {
    if (status != CUBLAS_STATUS_SUCCESS) {
        fprintf(stderr, "CUDA error: %s\n  %s\n", cublasGetStatusString(status), statement);
        ggml_abort("ggml-cuda.cu", line, "CUDA error");
    }
}
#define CUBLAS_CHECK(call) cublas_check((call), #call, __LINE__)

void ggml_allocation_prop(cu_device handle, struct cu_allocation_prop *prop) {
    memset(prop, 0, sizeof *prop);
    prop->type = CU_ALLOCATION_PINNED;
    prop->location.type = CU_LOCATION_DEVICE;
    prop->location.id = handle;
}

void *ggml_buffer_new(cu_device handle, size_t granularity, size_t size) {
    struct cu_allocation_prop prop;
    struct cu_access access = {{CU_LOCATION_DEVICE, handle}, CU_ACCESS_READ_WRITE};
    struct buffer *buffer = malloc(sizeof *buffer);
    if (buffer == NULL || granularity == 0) {
        free(buffer);
        return NULL;
    }
    ggml_allocation_prop(handle, &prop);
    buffer->size = (size + granularity - 1) / granularity * granularity;
    CU_CHECK(cuMemCreate(&buffer->handle, buffer->size, &prop, 0));
    CU_CHECK(cuMemAddressReserve(&buffer->address, buffer->size, 0, 0, 0));
    CU_CHECK(cuMemMap(buffer->address, buffer->size, 0, buffer->handle, 0));
    CU_CHECK(cuMemRelease(buffer->handle));
    CU_CHECK(cuMemSetAccess(buffer->address, buffer->size, &access, 1));
    CUBLAS_CHECK(cublasCreate_v2(&buffer->blas));
    CUBLAS_CHECK(cublasSetMathMode(buffer->blas, CUBLAS_TF32_TENSOR_OP_MATH));
    return buffer;
}

void ggml_buffer_free(void *memory) {
    struct buffer *buffer = memory;
    if (buffer == NULL) {
        return;
    }
    CUBLAS_CHECK(cublasDestroy_v2(buffer->blas));
    CU_CHECK(cuMemUnmap(buffer->address, buffer->size));
    CU_CHECK(cuMemAddressFree(buffer->address, buffer->size));
    free(buffer);
}
