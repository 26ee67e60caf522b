/* Attributes and occupancy of kernels. */
#include <string.h>

#include "cudart.h"

/* CUfunction_attribute of cuda.h, for the fields of struct cudaFuncAttributes. */
static const struct {
    size_t offset;
    int attribute;
    int wide; /* 1: the field is a size_t */
} fields[] = {
    {offsetof(struct cudaFuncAttributes, maxThreadsPerBlock), 0, 0},
    {offsetof(struct cudaFuncAttributes, sharedSizeBytes), 1, 1},
    {offsetof(struct cudaFuncAttributes, constSizeBytes), 2, 1},
    {offsetof(struct cudaFuncAttributes, localSizeBytes), 3, 1},
    {offsetof(struct cudaFuncAttributes, numRegs), 4, 0},
    {offsetof(struct cudaFuncAttributes, ptxVersion), 5, 0},
    {offsetof(struct cudaFuncAttributes, binaryVersion), 6, 0},
    {offsetof(struct cudaFuncAttributes, cacheModeCA), 7, 0},
    {offsetof(struct cudaFuncAttributes, maxDynamicSharedSizeBytes), 8, 0},
    {offsetof(struct cudaFuncAttributes, preferredShmemCarveout), 9, 0},
    {offsetof(struct cudaFuncAttributes, clusterDimMustBeSet), 10, 0},
    {offsetof(struct cudaFuncAttributes, requiredClusterWidth), 11, 0},
    {offsetof(struct cudaFuncAttributes, requiredClusterHeight), 12, 0},
    {offsetof(struct cudaFuncAttributes, requiredClusterDepth), 13, 0},
    {offsetof(struct cudaFuncAttributes, nonPortableClusterSizeAllowed), 14, 0},
    {offsetof(struct cudaFuncAttributes, clusterSchedulingPolicyPreference), 15, 0},
};
static_assert(sizeof(struct cudaFuncAttributes) == 144, "as driver_types.h of 12.8.90 and 13.0.96 has it");

cudaError_t cudaFuncGetAttributes(struct cudaFuncAttributes *attr, const void *func) {
    driver_function function;
    cudaError_t code = cudart_start_with(attr);
    if (code == cudaSuccess) {
        code = cudart_enter_function(func, &function);
    }
    struct cudaFuncAttributes found = {0};
    for (size_t i = 0; code == cudaSuccess && i < sizeof(fields) / sizeof(fields[0]); i++) {
        int value = 0;
        code = CUDART_DRIVER(cuFuncGetAttribute, &value, fields[i].attribute, function);
        size_t wide = (size_t)(unsigned int)value;
        char *at = (char *)&found + fields[i].offset;
        if (fields[i].wide) {
            memcpy(at, &wide, sizeof(wide));
        } else {
            memcpy(at, &value, sizeof(value));
        }
    }
    if (code == cudaSuccess) {
        *attr = found;
    }
    return cudart_end(code);
}

/* The numbers of cudaFuncAttribute are those of CUfunction_attribute. */
cudaError_t cudaFuncSetAttribute(const void *func, cudaFuncAttribute attr, int value) {
    driver_function function;
    cudaError_t code = cudart_enter_function(func, &function);
    return cudart_end(code == cudaSuccess ? CUDART_DRIVER(cuFuncSetAttribute, function, attr, value) : code);
}

cudaError_t cudaOccupancyMaxActiveBlocksPerMultiprocessorWithFlags(int *numBlocks, const void *func, int blockSize,
                                                                   size_t dynamicSMemSize, unsigned int flags) {
    driver_function function;
    cudaError_t code = cudart_start_with(numBlocks);
    if (code == cudaSuccess) {
        code = cudart_enter_function(func, &function);
    }
    if (code == cudaSuccess) {
        code = CUDART_DRIVER(cuOccupancyMaxActiveBlocksPerMultiprocessorWithFlags, numBlocks, function, blockSize,
                             dynamicSMemSize, flags);
    }
    return cudart_end(code);
}
