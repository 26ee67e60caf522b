/* Copies and fills. Addresses are unified: a host pointer and a device pointer are never the same number. */
#include "cudart.h"

static driver_pointer address(const void *pointer) {
    return (driver_pointer)(uintptr_t)pointer;
}

static cudaError_t copy(void *dst, const void *src, size_t count, cudaMemcpyKind kind, cudaStream_t stream) {
    switch (kind) {
    case cudaMemcpyHostToDevice:
        return CUDART_DRIVER(cuMemcpyHtoDAsync_v2, address(dst), src, count, stream);
    case cudaMemcpyDeviceToHost:
        return CUDART_DRIVER(cuMemcpyDtoHAsync_v2, dst, address(src), count, stream);
    case cudaMemcpyDeviceToDevice:
        return CUDART_DRIVER(cuMemcpyDtoDAsync_v2, address(dst), address(src), count, stream);
    case cudaMemcpyHostToHost:
    case cudaMemcpyDefault:
        return CUDART_DRIVER(cuMemcpyAsync, address(dst), address(src), count, stream);
    default:
        return cudaErrorInvalidMemcpyDirection;
    }
}

cudaError_t cudaMemcpyAsync(void *dst, const void *src, size_t count, cudaMemcpyKind kind, cudaStream_t stream) {
    cudaError_t code = cudart_enter();
    if (code == cudaSuccess && count != 0) {
        code = dst == NULL || src == NULL ? cudaErrorInvalidValue : copy(dst, src, count, kind, stream);
    }
    return cudart_end(code);
}

static int memory_type(int on_host, cudaMemcpyKind kind) {
    return kind == cudaMemcpyDefault ? DRIVER_MEMORY_UNIFIED : on_host ? DRIVER_MEMORY_HOST : DRIVER_MEMORY_DEVICE;
}

/* For unified memory cuda.h takes the address from the device fields; host and device fields may both be set. */
cudaError_t cudaMemcpy2DAsync(void *dst, size_t dpitch, const void *src, size_t spitch, size_t width, size_t height,
                              cudaMemcpyKind kind, cudaStream_t stream) {
    cudaError_t code = cudart_enter();
    if (code != cudaSuccess || width == 0 || height == 0) {
        return cudart_end(code);
    }
    if (dst == NULL || src == NULL) {
        return cudart_end(cudaErrorInvalidValue);
    }
    if (dpitch < width || spitch < width) {
        return cudart_end(cudaErrorInvalidPitchValue);
    }
    if (kind < cudaMemcpyHostToHost || kind > cudaMemcpyDefault) {
        return cudart_end(cudaErrorInvalidMemcpyDirection);
    }
    const struct driver_copy_2d way = {
        .from_type = memory_type(kind == cudaMemcpyHostToHost || kind == cudaMemcpyHostToDevice, kind),
        .from_host = src,
        .from_device = address(src),
        .from_pitch = spitch,
        .to_type = memory_type(kind == cudaMemcpyHostToHost || kind == cudaMemcpyDeviceToHost, kind),
        .to_host = dst,
        .to_device = address(dst),
        .to_pitch = dpitch,
        .width = width,
        .height = height,
    };
    return cudart_end(CUDART_DRIVER(cuMemcpy2DAsync_v2, &way, stream));
}

cudaError_t cudaMemcpyPeerAsync(void *dst, int dstDevice, const void *src, int srcDevice, size_t count,
                                cudaStream_t stream) {
    driver_context to = NULL;
    driver_context from = NULL;
    cudaError_t code = cudart_enter();
    if (code == cudaSuccess && (cudart_device(dstDevice) == NULL || cudart_device(srcDevice) == NULL)) {
        code = cudaErrorInvalidDevice;
    }
    if (code == cudaSuccess) {
        code = cudart_primary_context(dstDevice, &to);
    }
    if (code == cudaSuccess) {
        code = cudart_primary_context(srcDevice, &from);
    }
    if (code == cudaSuccess && count != 0) {
        code = CUDART_DRIVER(cuMemcpyPeerAsync, address(dst), to, address(src), from, count, stream);
    }
    return cudart_end(code);
}

cudaError_t cudaMemset(void *devPtr, int value, size_t count) {
    cudaError_t code = cudart_enter();
    if (code == cudaSuccess && count != 0) {
        code = CUDART_DRIVER(cuMemsetD8_v2, address(devPtr), (unsigned char)value, count);
    }
    return cudart_end(code);
}

cudaError_t cudaMemsetAsync(void *devPtr, int value, size_t count, cudaStream_t stream) {
    cudaError_t code = cudart_enter();
    if (code == cudaSuccess && count != 0) {
        code = CUDART_DRIVER(cuMemsetD8Async, address(devPtr), (unsigned char)value, count, stream);
    }
    return cudart_end(code);
}
