/* Launches. Kernels do not run on the shims: the code with which the driver refuses one is the answer. */
#include "cudart.h"

enum { CONFIGURATIONS_MAX = 32 };

struct configuration {
    dim3 grid;
    dim3 block;
    size_t shared;
    cudaStream_t stream;
};

/* One <<<...>>> after the other; they nest only where a kernel's argument launches a kernel itself. */
static _Thread_local struct configuration configurations[CONFIGURATIONS_MAX];
static _Thread_local unsigned int configured;

/* Anything but 0 makes the compiled code skip the launch. */
unsigned int __cudaPushCallConfiguration(dim3 gridDim, dim3 blockDim, size_t sharedMem, cudaStream_t stream) {
    if (configured == CONFIGURATIONS_MAX) {
        return (unsigned int)cudart_end(cudaErrorMemoryAllocation);
    }
    configurations[configured++] = (struct configuration){gridDim, blockDim, sharedMem, stream};
    return 0;
}

cudaError_t __cudaPopCallConfiguration(dim3 *gridDim, dim3 *blockDim, size_t *sharedMem, void *stream) {
    if (configured == 0) {
        return cudart_end(cudaErrorMissingConfiguration);
    }
    if (gridDim == NULL || blockDim == NULL || sharedMem == NULL || stream == NULL) {
        return cudart_end(cudaErrorInvalidValue);
    }
    const struct configuration *last = &configurations[--configured];
    *gridDim = last->grid;
    *blockDim = last->block;
    *sharedMem = last->shared;
    *(cudaStream_t *)stream = last->stream;
    return cudaSuccess;
}

/* The handle of a kernel is the address that it is registered with; 12 answers without a start, 13 with its error, both
 * refuse NULL before it (measured on 12.8.90 and 13.0.96). The code is loaded when the kernel is launched. */
cudaError_t __cudaGetKernel(cudaKernel_t *kernelPtr, const void *entryFuncAddr) {
    if (kernelPtr == NULL) {
        return cudart_end(cudaErrorInvalidValue);
    }
    if (entryFuncAddr == NULL) {
        return cudart_end(cudaErrorInvalidDeviceFunction);
    }
    *kernelPtr = (cudaKernel_t)(uintptr_t)entryFuncAddr;
#if CUDART_MAJOR == 12
    return cudaSuccess;
#else
    return cudart_end(cudart_start());
#endif
}

static cudaError_t launch(const void *func, dim3 grid, dim3 block, void **args, size_t shared, cudaStream_t stream) {
    driver_function function;
    cudaError_t code = cudart_enter_function(func, &function);
    if (code == cudaSuccess) {
        code = CUDART_DRIVER(cuLaunchKernel, function, grid.x, grid.y, grid.z, block.x, block.y, block.z,
                             (unsigned int)shared, stream, args, NULL);
    }
    return cudart_end(code);
}

cudaError_t __cudaLaunchKernel(cudaKernel_t kernel, dim3 gridDim, dim3 blockDim, void **args, size_t sharedMem,
                               cudaStream_t stream) {
    return launch(kernel, gridDim, blockDim, args, sharedMem, stream);
}

cudaError_t cudaLaunchKernel(const void *func, dim3 gridDim, dim3 blockDim, void **args, size_t sharedMem,
                             cudaStream_t stream) {
    return launch(func, gridDim, blockDim, args, sharedMem, stream);
}

cudaError_t cudaLaunchCooperativeKernel(const void *func, dim3 gridDim, dim3 blockDim, void **args, size_t sharedMem,
                                        cudaStream_t stream) {
    driver_function function;
    cudaError_t code = cudart_enter_function(func, &function);
    if (code == cudaSuccess) {
        code = CUDART_DRIVER(cuLaunchCooperativeKernel, function, gridDim.x, gridDim.y, gridDim.z, blockDim.x,
                             blockDim.y, blockDim.z, (unsigned int)sharedMem, stream, args);
    }
    return cudart_end(code);
}

cudaError_t cudaLaunchKernelExC(const cudaLaunchConfig_t *config, const void *func, void **args) {
    driver_function function;
    cudaError_t code = cudart_start_with(config);
    if (code == cudaSuccess) {
        code = cudart_enter_function(func, &function);
    }
    if (code != cudaSuccess) {
        return cudart_end(code);
    }
    const struct driver_launch way = {
        .grid_x = config->gridDim.x,
        .grid_y = config->gridDim.y,
        .grid_z = config->gridDim.z,
        .block_x = config->blockDim.x,
        .block_y = config->blockDim.y,
        .block_z = config->blockDim.z,
        .shared = (unsigned int)config->dynamicSmemBytes,
        .stream = config->stream,
        .attributes = config->attrs,
        .attribute_count = config->numAttrs,
    };
    return cudart_end(CUDART_DRIVER(cuLaunchKernelEx, &way, function, args, NULL));
}
