/* How many blocks of a kernel a multiprocessor has room for: threads, blocks, registers and shared memory of the device
 * against what a block needs (CUDA C++ Programming Guide, 5.2.3; allocation units of compute capability 5.0 on from the
 * occupancy calculator of the toolkit: registers 256 a warp, warps in fours, shared memory 128 bytes). */
#include "cuda/function.h"

enum {
    REGISTER_UNIT = 256,
    WARP_UNIT = 4,
    SHARED_UNIT = 128,
    OVERRIDE_FLAG = 1, /* CU_OCCUPANCY_DISABLE_CACHING_OVERRIDE */
    CLUSTER_PORTABLE = 8,
    CLUSTER_LARGEST = 16,
};

static int limit(struct vgpu_process *process, CUdevice device, enum vgpu_launch_limit attribute) {
    return vgpu_cuda_device_attribute(process, device, (CUdevice_attribute)attribute);
}

static int up_to(int value, int unit) {
    return (value + unit - 1) / unit * unit;
}

static int least(int a, int b) {
    return a < b ? a : b;
}

/* Bytes of shared memory of a multiprocessor that a block takes. */
static size_t shared_of(struct vgpu_process *process, const struct vgpu_function *function, CUdevice device,
                        size_t dynamic_shared) {
    size_t used = (size_t)function->facts->shared + dynamic_shared;
    used += (size_t)limit(process, device, VGPU_LIMIT_RESERVED_SHARED);
    return (used + SHARED_UNIT - 1) / SHARED_UNIT * SHARED_UNIT;
}

static int most_threads(struct vgpu_process *process, const struct vgpu_function *function, CUdevice device) {
    int threads = 0;
    vgpu_function_attribute(process, function, device, VGPU_FUNCTION_MAX_THREADS, &threads);
    return threads;
}

int vgpu_occupancy(struct vgpu_process *process, const struct vgpu_function *function, CUdevice device, int block,
                   size_t dynamic_shared) {
    int warp = limit(process, device, VGPU_LIMIT_WARP);
    if (warp <= 0 || block > most_threads(process, function, device)) {
        return 0;
    }
    int warps = up_to(block, warp) / warp;
    int blocks = limit(process, device, VGPU_LIMIT_THREADS_PER_SM) / (warps * warp);
    int most = limit(process, device, VGPU_LIMIT_BLOCKS_PER_SM);
    blocks = most > 0 ? least(blocks, most) : blocks;
    if (function->facts->registers > 0) {
        int each = up_to(function->facts->registers * warp, REGISTER_UNIT);
        int room = limit(process, device, VGPU_LIMIT_REGISTERS_PER_SM) / each / WARP_UNIT * WARP_UNIT;
        blocks = least(blocks, room / warps);
    }
    size_t shared = shared_of(process, function, device, dynamic_shared);
    size_t all = (size_t)limit(process, device, VGPU_LIMIT_SHARED_PER_SM);
    return shared > 0 && all / shared < (size_t)blocks ? (int)(all / shared) : blocks;
}

static CUresult find(struct vgpu_process *process, CUfunction handle, struct vgpu_function **function,
                     CUdevice *device) {
    *function = vgpu_function_find(process, handle);
    return *function != NULL ? vgpu_function_device(process, *function, device) : CUDA_ERROR_INVALID_HANDLE;
}

CUresult vgpu_cuOccupancyMaxActiveBlocksPerMultiprocessorWithFlags(struct vgpu_process *process, struct vgpu_call *call,
                                                                   int *numBlocks, CUfunction func, int blockSize,
                                                                   size_t dynamicSMemSize, unsigned int flags) {
    if (numBlocks == NULL || blockSize <= 0 || (flags & ~(unsigned int)OVERRIDE_FLAG) != 0) {
        return CUDA_ERROR_INVALID_VALUE;
    }
    struct vgpu_function *function;
    CUdevice device;
    CUresult result = find(process, func, &function, &device);
    if (result == CUDA_SUCCESS) {
        *numBlocks = vgpu_occupancy(process, function, device, blockSize, dynamicSMemSize);
        vgpu_call_output(call, numBlocks, sizeof(*numBlocks));
    }
    return result;
}

CUresult vgpu_cuOccupancyMaxActiveBlocksPerMultiprocessor(struct vgpu_process *process, struct vgpu_call *call,
                                                          int *numBlocks, CUfunction func, int blockSize,
                                                          size_t dynamicSMemSize) {
    return vgpu_cuOccupancyMaxActiveBlocksPerMultiprocessorWithFlags(process, call, numBlocks, func, blockSize,
                                                                     dynamicSMemSize, 0);
}

/* The program's function is called without the lock: it may call in, and another thread may unload the code. */
static CUresult ask_shared(struct vgpu_process *process, CUoccupancyB2DSize ask, int block, size_t *shared,
                           CUfunction handle, struct vgpu_function **function) {
    CUdevice device;
    vgpu_unlock(process);
    *shared = ask(block);
    vgpu_lock(process);
    return find(process, handle, function, &device);
}

/* The largest block among those that keep most threads at work. */
CUresult vgpu_cuOccupancyMaxPotentialBlockSizeWithFlags(struct vgpu_process *process, struct vgpu_call *call,
                                                        int *minGridSize, int *blockSize, CUfunction func,
                                                        CUoccupancyB2DSize blockSizeToDynamicSMemSize,
                                                        size_t dynamicSMemSize, int blockSizeLimit,
                                                        unsigned int flags) {
    if (minGridSize == NULL || blockSize == NULL || blockSizeLimit < 0 || (flags & ~(unsigned int)OVERRIDE_FLAG) != 0) {
        return CUDA_ERROR_INVALID_VALUE;
    }
    struct vgpu_function *function;
    CUdevice device;
    CUresult result = find(process, func, &function, &device);
    if (result != CUDA_SUCCESS) {
        return result;
    }
    int warp = limit(process, device, VGPU_LIMIT_WARP);
    int largest = most_threads(process, function, device);
    largest = blockSizeLimit > 0 ? least(largest, blockSizeLimit) : largest;
    int best = 0;
    int best_blocks = 0;
    for (int size = up_to(largest, warp > 0 ? warp : 1); size > 0; size -= warp > 0 ? warp : 1) {
        int block = least(size, largest);
        size_t shared = dynamicSMemSize;
        if (blockSizeToDynamicSMemSize != NULL) {
            result = ask_shared(process, blockSizeToDynamicSMemSize, block, &shared, func, &function);
        }
        if (result != CUDA_SUCCESS) {
            return result;
        }
        int blocks = vgpu_occupancy(process, function, device, block, shared);
        if (blocks * block > best_blocks * best) {
            best = block;
            best_blocks = blocks;
        }
    }
    *blockSize = best;
    *minGridSize = best_blocks * limit(process, device, VGPU_LIMIT_MULTIPROCESSORS);
    vgpu_call_output(call, minGridSize, sizeof(*minGridSize));
    vgpu_call_output(call, blockSize, sizeof(*blockSize));
    return CUDA_SUCCESS;
}

CUresult vgpu_cuOccupancyMaxPotentialBlockSize(struct vgpu_process *process, struct vgpu_call *call, int *minGridSize,
                                               int *blockSize, CUfunction func,
                                               CUoccupancyB2DSize blockSizeToDynamicSMemSize, size_t dynamicSMemSize,
                                               int blockSizeLimit) {
    return vgpu_cuOccupancyMaxPotentialBlockSizeWithFlags(
        process, call, minGridSize, blockSize, func, blockSizeToDynamicSMemSize, dynamicSMemSize, blockSizeLimit, 0);
}

CUresult vgpu_cuOccupancyAvailableDynamicSMemPerBlock(struct vgpu_process *process, struct vgpu_call *call,
                                                      size_t *dynamicSmemSize, CUfunction func, int numBlocks,
                                                      int blockSize) {
    if (dynamicSmemSize == NULL || numBlocks <= 0 || blockSize <= 0) {
        return CUDA_ERROR_INVALID_VALUE;
    }
    struct vgpu_function *function;
    CUdevice device;
    CUresult result = find(process, func, &function, &device);
    if (result != CUDA_SUCCESS) {
        return result;
    }
    if (numBlocks > vgpu_occupancy(process, function, device, blockSize, 0)) {
        return CUDA_ERROR_INVALID_VALUE;
    }
    size_t each = (size_t)limit(process, device, VGPU_LIMIT_SHARED_PER_SM) / (size_t)numBlocks;
    each = each / SHARED_UNIT * SHARED_UNIT;
    size_t used = shared_of(process, function, device, 0);
    size_t left = each > used ? each - used : 0;
    size_t most = (size_t)(limit(process, device, VGPU_LIMIT_SHARED_OPTIN) - function->facts->shared);
    *dynamicSmemSize = left < most ? left : most;
    vgpu_call_output(call, dynamicSmemSize, sizeof(*dynamicSmemSize));
    return CUDA_SUCCESS;
}

/* The function, the device, and the configuration, in the order that NVIDIA's library looks at them (measured on
 * 535.261.03: NULL before cuInit is 1). */
static CUresult find_cluster(struct vgpu_process *process, const int *output, CUfunction handle,
                             const CUlaunchConfig *config, struct vgpu_function **function, CUdevice *device) {
    if (output == NULL || handle == NULL || config == NULL) {
        return CUDA_ERROR_INVALID_VALUE;
    }
    CUresult result = vgpu_cuda_ready(process);
    result = result == CUDA_SUCCESS ? find(process, handle, function, device) : result;
    if (result == CUDA_SUCCESS && limit(process, *device, VGPU_LIMIT_CLUSTER_LAUNCH) == 0) {
        result = CUDA_ERROR_NOT_SUPPORTED;
    }
    unsigned int threads = config->blockDimX * config->blockDimY * config->blockDimZ;
    return result == CUDA_SUCCESS && threads == 0 ? CUDA_ERROR_INVALID_VALUE : result;
}

/* Eight blocks make a cluster on any device that has clusters; sixteen are for those that do without portability (CUDA
 * C++ Programming Guide, thread block clusters). */
CUresult vgpu_cuOccupancyMaxPotentialClusterSize(struct vgpu_process *process, struct vgpu_call *call, int *clusterSize,
                                                 CUfunction func, const CUlaunchConfig *config) {
    struct vgpu_function *function;
    CUdevice device;
    CUresult result = find_cluster(process, clusterSize, func, config, &function, &device);
    if (result != CUDA_SUCCESS) {
        return result;
    }
    const int *required =
        function->facts->cluster[0] > 0 ? function->facts->cluster : function->settings[device].cluster;
    int product = required[0] * required[1] * required[2];
    *clusterSize = product > 0                                            ? product
                   : function->settings[device].non_portable_cluster != 0 ? CLUSTER_LARGEST
                                                                          : CLUSTER_PORTABLE;
    vgpu_call_output(call, clusterSize, sizeof(*clusterSize));
    return CUDA_SUCCESS;
}

static int cluster_of(const struct vgpu_function *function, CUdevice device, const CUlaunchConfig *config) {
    for (unsigned int i = 0; config->attrs != NULL && i < config->numAttrs; i++) {
        if (config->attrs[i].id == VGPU_LAUNCH_CLUSTER_DIMENSION) {
            const CUstreamAttrValue *value = &config->attrs[i].value;
            return (int)(value->clusterDim.x * value->clusterDim.y * value->clusterDim.z);
        }
    }
    const int *set = function->settings[device].cluster;
    return set[0] * set[1] * set[2] > 0 ? set[0] * set[1] * set[2] : 1;
}

CUresult vgpu_cuOccupancyMaxActiveClusters(struct vgpu_process *process, struct vgpu_call *call, int *numClusters,
                                           CUfunction func, const CUlaunchConfig *config) {
    struct vgpu_function *function;
    CUdevice device;
    CUresult result = find_cluster(process, numClusters, func, config, &function, &device);
    if (result != CUDA_SUCCESS) {
        return result;
    }
    int cluster = cluster_of(function, device, config);
    int largest = function->settings[device].non_portable_cluster != 0 ? CLUSTER_LARGEST : CLUSTER_PORTABLE;
    if (cluster <= 0 || cluster > largest) {
        return CUDA_ERROR_INVALID_CLUSTER_SIZE;
    }
    int threads = (int)(config->blockDimX * config->blockDimY * config->blockDimZ);
    int blocks = vgpu_occupancy(process, function, device, threads, config->sharedMemBytes);
    *numClusters = blocks * limit(process, device, VGPU_LIMIT_MULTIPROCESSORS) / cluster;
    vgpu_call_output(call, numClusters, sizeof(*numClusters));
    return CUDA_SUCCESS;
}
