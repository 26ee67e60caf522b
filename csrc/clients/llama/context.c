/* ggml_backend_cuda_init, with what the original makes at the first use of a device: a cuBLAS handle, and a memory pool
 * of addresses that are reserved, and memory that is created and mapped, by the driver's calls. Nothing of discovery
 * comes here, but these names too must be found when the library is opened with RTLD_NOW. */
#include <stdlib.h>
#include <string.h>

#include "llama/cuda.h"

struct context {
    struct ggml_backend backend;
    const struct cuda_device *device;
    cublasHandle_t blas;
    unsigned long long pool; /* 0: the device has no virtual memory management */
};

void cuda_pool_prop(int number, struct cu_allocation_prop *prop) {
    memset(prop, 0, sizeof *prop);
    prop->type = CU_ALLOCATION_PINNED;
    prop->location.type = CU_LOCATION_DEVICE;
    prop->location.id = number;
}

static const char *context_name(ggml_backend_t backend) {
    return ((struct context *)backend->context)->device->name;
}

static void context_free(ggml_backend_t backend) {
    struct context *context = backend->context;
    if (context->pool != 0) {
        CU_CHECK(cuMemUnmap(context->pool, context->device->granularity));
        CU_CHECK(cuMemAddressFree(context->pool, context->device->granularity));
    }
    CUBLAS_CHECK(cublasDestroy_v2(context->blas));
    free(context);
}

static void make_pool(struct context *context) {
    struct cu_access access = {{CU_LOCATION_DEVICE, context->device->number}, CU_ACCESS_READ_WRITE};
    struct cu_allocation_prop prop;
    size_t size = context->device->granularity;
    unsigned long long handle = 0;
    cuda_pool_prop(context->device->number, &prop);
    CU_CHECK(cuMemCreate(&handle, size, &prop, 0));
    CU_CHECK(cuMemAddressReserve(&context->pool, size, 0, 0, 0));
    CU_CHECK(cuMemMap(context->pool, size, 0, handle, 0));
    CU_CHECK(cuMemRelease(handle));
    CU_CHECK(cuMemSetAccess(context->pool, size, &access, 1));
}

ggml_backend_t cuda_context_new(ggml_backend_dev_t entry) {
    struct context *context = calloc(1, sizeof *context);
    if (context == NULL) {
        return NULL;
    }
    context->device = entry->context;
    context->backend.iface.get_name = context_name;
    context->backend.iface.free = context_free;
    context->backend.device = entry;
    context->backend.context = context;
    CUDA_CHECK(cudaSetDevice(context->device->number));
    CUBLAS_CHECK(cublasCreate_v2(&context->blas));
    if (context->device->vmm) {
        make_pool(context);
    }
    return &context->backend;
}
