/* Memory of the device and of the host. */
#include "cudart.h"

static driver_pointer device_pointer(const void *pointer) {
    return (driver_pointer)(uintptr_t)pointer;
}

static void *host_view(driver_pointer pointer) {
    return (void *)(uintptr_t)pointer;
}

cudaError_t cudaMemGetInfo(size_t *free, size_t *total) {
    cudaError_t code = cudart_enter_with(free != NULL ? total : NULL);
    return cudart_end(code == cudaSuccess ? CUDART_DRIVER(cuMemGetInfo_v2, free, total) : code);
}

/* Nothing is a valid amount for the runtime, and NULL the answer; the driver refuses it. */
cudaError_t cudaMalloc(void **devPtr, size_t size) {
    driver_pointer pointer = 0;
    cudaError_t code = cudart_enter_with(devPtr);
    if (code == cudaSuccess && size != 0) {
        code = CUDART_DRIVER(cuMemAlloc_v2, &pointer, size);
    }
    if (code == cudaSuccess) {
        *devPtr = host_view(pointer);
    }
    return cudart_end(code);
}

cudaError_t cudaMallocManaged(void **devPtr, size_t size, unsigned int flags) {
    driver_pointer pointer = 0;
    cudaError_t code = cudart_enter_with(devPtr);
    if (code == cudaSuccess) {
        code = CUDART_DRIVER(cuMemAllocManaged, &pointer, size, flags);
    }
    if (code == cudaSuccess) {
        *devPtr = host_view(pointer);
    }
    return cudart_end(code);
}

cudaError_t cudaFree(void *devPtr) {
    cudaError_t code = cudart_enter();
    if (code == cudaSuccess && devPtr != NULL) {
        code = CUDART_DRIVER(cuMemFree_v2, device_pointer(devPtr));
    }
    return cudart_end(code);
}

static cudaError_t allocate_host(void **pointer, size_t size, unsigned int flags) {
    void *memory = NULL;
    cudaError_t code = cudart_enter_with(pointer);
    if (code == cudaSuccess && size != 0) {
        code = CUDART_DRIVER(cuMemHostAlloc, &memory, size, flags);
    }
    if (code == cudaSuccess) {
        *pointer = memory;
    }
    return cudart_end(code);
}

cudaError_t cudaMallocHost(void **ptr, size_t size) {
    return allocate_host(ptr, size, 0);
}

cudaError_t cudaHostAlloc(void **pHost, size_t size, unsigned int flags) {
    return allocate_host(pHost, size, flags);
}

cudaError_t cudaFreeHost(void *ptr) {
    cudaError_t code = cudart_enter();
    if (code == cudaSuccess && ptr != NULL) {
        code = CUDART_DRIVER(cuMemFreeHost, ptr);
    }
    return cudart_end(code);
}

cudaError_t cudaHostGetDevicePointer(void **pDevice, void *pHost, unsigned int flags) {
    driver_pointer pointer = 0;
    cudaError_t code = cudart_enter_with(pHost != NULL && flags == 0 ? pDevice : NULL);
    if (code == cudaSuccess) {
        code = CUDART_DRIVER(cuMemHostGetDevicePointer_v2, &pointer, pHost, flags);
    }
    if (code == cudaSuccess) {
        *pDevice = host_view(pointer);
    }
    return cudart_end(code);
}

cudaError_t cudaHostRegister(void *ptr, size_t size, unsigned int flags) {
    cudaError_t code = cudart_enter_with(size != 0 ? ptr : NULL);
    return cudart_end(code == cudaSuccess ? CUDART_DRIVER(cuMemHostRegister_v2, ptr, size, flags) : code);
}

cudaError_t cudaHostUnregister(void *ptr) {
    cudaError_t code = cudart_enter_with(ptr);
    return cudart_end(code == cudaSuccess ? CUDART_DRIVER(cuMemHostUnregister, ptr) : code);
}
