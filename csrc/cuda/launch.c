/* Launches. All arguments are looked at as the driver does; a launch that would be right then answers NOT_SUPPORTED,
 * since kernels do not run here: a wrong result would be worse. Host functions do run. */
#include <stdlib.h>

#include "cuda/capture.h"
#include "cuda/function.h"

enum {
    COOPERATIVE_MULTI_FLAGS = 3, /* CUDA_COOPERATIVE_LAUNCH_MULTI_DEVICE_NO_*_SYNC */
    SYNC_MODES = 2,              /* of cuLaunchHostFunc_v2 */
};

static int limit(struct vgpu_process *process, CUdevice device, int attribute) {
    return vgpu_cuda_device_attribute(process, device, attribute);
}

CUresult vgpu_launch_check(struct vgpu_process *process, const struct vgpu_function *function,
                           const unsigned int grid[3], const unsigned int block[3], size_t dynamic_shared) {
    CUdevice device;
    CUresult refusal = vgpu_function_device(process, function, &device);
    if (refusal != CUDA_SUCCESS) {
        return refusal;
    }
    uint64_t threads = 1;
    for (int i = 0; i < 3; i++) {
        unsigned int most_blocks = (unsigned int)limit(process, device, VGPU_LIMIT_GRID_X + i);
        unsigned int most_threads = (unsigned int)limit(process, device, VGPU_LIMIT_BLOCK_X + i);
        if (grid[i] == 0 || block[i] == 0 || grid[i] > most_blocks || block[i] > most_threads) {
            return CUDA_ERROR_INVALID_VALUE;
        }
        threads *= block[i];
    }
    int most = 0;
    int dynamic = 0;
    vgpu_function_attribute(process, function, device, VGPU_FUNCTION_MAX_THREADS, &most);
    vgpu_function_attribute(process, function, device, VGPU_FUNCTION_MAX_DYNAMIC_SHARED, &dynamic);
    if (threads > (uint64_t)limit(process, device, VGPU_LIMIT_THREADS_PER_BLOCK)) {
        return CUDA_ERROR_INVALID_VALUE;
    }
    if (threads > (uint64_t)most) {
        return CUDA_ERROR_LAUNCH_OUT_OF_RESOURCES;
    }
    return dynamic < 0 || dynamic_shared > (size_t)dynamic ? CUDA_ERROR_INVALID_VALUE : CUDA_SUCCESS;
}

/* A value that has no place is refused at once (measured by the lupine project on 590.48.01). */
int vgpu_launch_has_parameters(const struct vgpu_function *function, const CUDA_KERNEL_NODE_PARAMS *params) {
    size_t count = vgpu_function_parameters(function);
    if (params->kernelParams == NULL) {
        return count == 0 || params->extra != NULL;
    }
    for (size_t i = 0; i < count; i++) {
        if (params->kernelParams[i] == NULL) {
            return 0;
        }
    }
    return params->extra == NULL;
}

/* As vgpu_stream_use, and function and stream must be of one context (doc). */
static CUresult find(struct vgpu_process *process, struct vgpu_call *call, CUfunction handle, CUstream hStream,
                     struct vgpu_function **function, struct vgpu_stream **stream) {
    CUresult refusal = vgpu_cuda_tried(process);
    if (refusal != CUDA_SUCCESS) {
        return refusal;
    }
    *function = vgpu_function_find(process, handle);
    if (*function == NULL) {
        return CUDA_ERROR_INVALID_HANDLE;
    }
    refusal = vgpu_stream_use(process, call, hStream, stream);
    int apart = refusal == CUDA_SUCCESS && (*function)->object.kind == VGPU_OBJECT_FUNCTION &&
                (*function)->module->object.context != (*stream)->object.context;
    return apart ? CUDA_ERROR_INVALID_HANDLE : refusal;
}

/* A stream that is being captured takes the launch in: it is only done when the graph is launched. */
static CUresult launch(struct vgpu_process *process, struct vgpu_call *call, const CUDA_KERNEL_NODE_PARAMS *params,
                       CUstream hStream) {
    struct vgpu_function *function;
    struct vgpu_stream *stream;
    CUresult result = find(process, call, params->func, hStream, &function, &stream);
    if (result != CUDA_SUCCESS) {
        return result;
    }
    call->event.text = function->facts->name;
    const unsigned int grid[3] = {params->gridDimX, params->gridDimY, params->gridDimZ};
    const unsigned int block[3] = {params->blockDimX, params->blockDimY, params->blockDimZ};
    result = vgpu_launch_check(process, function, grid, block, params->sharedMemBytes);
    if (result == CUDA_SUCCESS && !vgpu_launch_has_parameters(function, params)) {
        result = CUDA_ERROR_INVALID_VALUE;
    }
    if (result != CUDA_SUCCESS) {
        return result;
    }
    function->is_loaded = 1;
    if (stream->capture != NULL) {
        CUgraphNodeParams node = {.type = VGPU_NODE_KERNEL};
        node.kernel = *params;
        return vgpu_capture_node(process, stream, &node);
    }
    return CUDA_ERROR_NOT_SUPPORTED;
}

CUresult vgpu_cuLaunchKernel(struct vgpu_process *process, struct vgpu_call *call, CUfunction f, unsigned int gridDimX,
                             unsigned int gridDimY, unsigned int gridDimZ, unsigned int blockDimX,
                             unsigned int blockDimY, unsigned int blockDimZ, unsigned int sharedMemBytes,
                             CUstream hStream, void **kernelParams, void **extra) {
    CUDA_KERNEL_NODE_PARAMS params = {f,         gridDimX,       gridDimY,     gridDimZ, blockDimX, blockDimY,
                                      blockDimZ, sharedMemBytes, kernelParams, extra,    NULL,      NULL};
    return launch(process, call, &params, hStream);
}

/* Attributes of a launch: a cluster must fit, the rest are hints. */
static CUresult check_attributes(const CUlaunchConfig *config) {
    if (config->numAttrs > 0 && config->attrs == NULL) {
        return CUDA_ERROR_INVALID_VALUE;
    }
    for (unsigned int i = 0; i < config->numAttrs; i++) {
        const CUlaunchAttribute *attribute = &config->attrs[i];
        if (attribute->id < 0 || attribute->id >= VGPU_LAUNCH_ATTRIBUTES) {
            return CUDA_ERROR_INVALID_VALUE;
        }
        if (attribute->id != VGPU_LAUNCH_CLUSTER_DIMENSION) {
            continue;
        }
        const unsigned int cluster[3] = {attribute->value.clusterDim.x, attribute->value.clusterDim.y,
                                         attribute->value.clusterDim.z};
        if (cluster[0] == 0 || cluster[1] == 0 || cluster[2] == 0 || config->gridDimX % cluster[0] != 0 ||
            config->gridDimY % cluster[1] != 0 || config->gridDimZ % cluster[2] != 0) {
            return CUDA_ERROR_INVALID_CLUSTER_SIZE;
        }
    }
    return CUDA_SUCCESS;
}

CUresult vgpu_cuLaunchKernelEx(struct vgpu_process *process, struct vgpu_call *call, const CUlaunchConfig *config,
                               CUfunction f, void **kernelParams, void **extra) {
    if (config == NULL) {
        return CUDA_ERROR_INVALID_VALUE;
    }
    CUresult refusal = check_attributes(config);
    CUDA_KERNEL_NODE_PARAMS params = {f,
                                      config->gridDimX,
                                      config->gridDimY,
                                      config->gridDimZ,
                                      config->blockDimX,
                                      config->blockDimY,
                                      config->blockDimZ,
                                      config->sharedMemBytes,
                                      kernelParams,
                                      extra,
                                      NULL,
                                      NULL};
    return refusal != CUDA_SUCCESS ? refusal : launch(process, call, &params, config->hStream);
}

/* All blocks must be on the device at once (doc). */
static CUresult check_cooperative(struct vgpu_process *process, const struct vgpu_function *function,
                                  const CUDA_KERNEL_NODE_PARAMS *params) {
    CUdevice device;
    CUresult refusal = vgpu_function_device(process, function, &device);
    if (refusal != CUDA_SUCCESS) {
        return refusal;
    }
    if (limit(process, device, VGPU_LIMIT_COOPERATIVE_LAUNCH) == 0) {
        return CUDA_ERROR_NOT_SUPPORTED;
    }
    uint64_t threads = (uint64_t)params->blockDimX * params->blockDimY * params->blockDimZ;
    if (threads == 0 || threads > (uint64_t)limit(process, device, VGPU_LIMIT_THREADS_PER_BLOCK)) {
        return CUDA_ERROR_INVALID_VALUE;
    }
    int each = vgpu_occupancy(process, function, device, (int)threads, params->sharedMemBytes);
    uint64_t room = (uint64_t)each * (uint64_t)limit(process, device, VGPU_LIMIT_MULTIPROCESSORS);
    uint64_t blocks = (uint64_t)params->gridDimX * params->gridDimY * params->gridDimZ;
    return blocks > room ? CUDA_ERROR_COOPERATIVE_LAUNCH_TOO_LARGE : CUDA_SUCCESS;
}

CUresult vgpu_cuLaunchCooperativeKernel(struct vgpu_process *process, struct vgpu_call *call, CUfunction f,
                                        unsigned int gridDimX, unsigned int gridDimY, unsigned int gridDimZ,
                                        unsigned int blockDimX, unsigned int blockDimY, unsigned int blockDimZ,
                                        unsigned int sharedMemBytes, CUstream hStream, void **kernelParams) {
    CUDA_KERNEL_NODE_PARAMS params = {f,         gridDimX,       gridDimY,     gridDimZ, blockDimX, blockDimY,
                                      blockDimZ, sharedMemBytes, kernelParams, NULL,     NULL,      NULL};
    struct vgpu_function *function;
    struct vgpu_stream *stream;
    CUresult result = find(process, call, f, hStream, &function, &stream);
    result = result == CUDA_SUCCESS ? check_cooperative(process, function, &params) : result;
    return result == CUDA_SUCCESS ? launch(process, call, &params, hStream) : result;
}

CUresult vgpu_cuLaunchCooperativeKernelMultiDevice(struct vgpu_process *process, struct vgpu_call *call,
                                                   CUDA_LAUNCH_PARAMS *launchParamsList, unsigned int numDevices,
                                                   unsigned int flags) {
    CUresult result = vgpu_cuda_tried(process);
    if (result != CUDA_SUCCESS) {
        return result;
    }
    if (launchParamsList == NULL || numDevices == 0 || numDevices > VGPU_GPUS_MAX || flags > COOPERATIVE_MULTI_FLAGS) {
        return CUDA_ERROR_INVALID_VALUE;
    }
    for (unsigned int i = 0; i < numDevices && result == CUDA_SUCCESS; i++) {
        const CUDA_LAUNCH_PARAMS *one = &launchParamsList[i];
        CUDA_KERNEL_NODE_PARAMS params = {one->function,     one->gridDimX,  one->gridDimY,  one->gridDimZ,
                                          one->blockDimX,    one->blockDimY, one->blockDimZ, one->sharedMemBytes,
                                          one->kernelParams, NULL,           NULL,           NULL};
        struct vgpu_function *function;
        struct vgpu_stream *stream;
        result = find(process, call, one->function, one->hStream, &function, &stream);
        /* The stream 0 and one that is captured are not for this (doc). */
        if (result == CUDA_SUCCESS && (stream->special != NULL || stream->capture != NULL)) {
            result = CUDA_ERROR_INVALID_VALUE;
        }
        result = result == CUDA_SUCCESS ? check_cooperative(process, function, &params) : result;
        result = result == CUDA_SUCCESS ? launch(process, call, &params, one->hStream) : result;
    }
    return result;
}

/* A function of the program that is to run when the call is over and the lock is free. */
struct later {
    CUhostFn function;
    CUstreamCallback callback;
    CUstream stream;
    void *data;
};

static void run_later(void *data) {
    struct later later = *(struct later *)data;
    free(data);
    if (later.function != NULL) {
        later.function(later.data);
    } else {
        later.callback(later.stream, CUDA_SUCCESS, later.data);
    }
}

/* All work before it is done, so it runs at once, in the calling thread (own choice; NVIDIA's runs it in another). */
static CUresult run(struct vgpu_call *call, struct later later) {
    struct later *kept = malloc(sizeof(*kept));
    if (kept == NULL) {
        return CUDA_ERROR_OUT_OF_MEMORY;
    }
    *kept = later;
    call->then = run_later;
    call->then_data = kept;
    return CUDA_SUCCESS;
}

CUresult vgpu_cuStreamAddCallback(struct vgpu_process *process, struct vgpu_call *call, CUstream hStream,
                                  CUstreamCallback callback, void *userData, unsigned int flags) {
    CUresult result = vgpu_cuda_tried(process);
    if (result != CUDA_SUCCESS) {
        return result;
    }
    if (callback == NULL || flags != 0) {
        return CUDA_ERROR_INVALID_VALUE;
    }
    struct vgpu_stream *stream;
    result = vgpu_stream_use(process, call, hStream, &stream);
    result = result == CUDA_SUCCESS ? vgpu_capture_refuse(process, stream) : result;
    return result == CUDA_SUCCESS ? run(call, (struct later){NULL, callback, hStream, userData}) : result;
}

CUresult vgpu_cuLaunchHostFunc(struct vgpu_process *process, struct vgpu_call *call, CUstream hStream, CUhostFn fn,
                               void *userData) {
    CUresult result = vgpu_cuda_tried(process);
    if (result != CUDA_SUCCESS) {
        return result;
    }
    if (fn == NULL) {
        return CUDA_ERROR_INVALID_VALUE;
    }
    struct vgpu_stream *stream;
    result = vgpu_stream_use(process, call, hStream, &stream);
    if (result == CUDA_SUCCESS && stream->capture != NULL) {
        CUgraphNodeParams params = {.type = VGPU_NODE_HOST};
        params.host.of = (CUDA_HOST_NODE_PARAMS){fn, userData};
        return vgpu_capture_node(process, stream, &params);
    }
    return result == CUDA_SUCCESS ? run(call, (struct later){fn, NULL, NULL, userData}) : result;
}

CUresult vgpu_cuLaunchHostFunc_v2(struct vgpu_process *process, struct vgpu_call *call, CUstream hStream, CUhostFn fn,
                                  void *userData, unsigned int syncMode) {
    return syncMode < SYNC_MODES ? vgpu_cuLaunchHostFunc(process, call, hStream, fn, userData)
                                 : CUDA_ERROR_INVALID_VALUE;
}
