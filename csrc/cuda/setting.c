/* What can be set for a context: flags, limits, preferences. Nothing runs, so they are kept and answered. */
#include "cuda/model.h"

#define KIB 1024ull
#define MIB (1024 * KIB)

enum {
    LIMIT_STACK_SIZE = 0,
    LIMIT_PRINTF_FIFO_SIZE = 1,
    LIMIT_MALLOC_HEAP_SIZE = 2,
    LIMIT_SYNC_DEPTH = 3,
    LIMIT_PENDING_LAUNCH_COUNT = 4,
    LIMIT_L2_FETCH_GRANULARITY = 5,
    LIMIT_PERSISTING_L2_SIZE = 6,

    SYNC_DEPTH_MAX = 24,
    SYNC_DEPTH_UP_TO = 9, /* compute capability; from it on there is no such limit */
    STACK_GRANULARITY = 16,
    L2_FETCH_MAX = 128,
    CACHE_PREFERENCES = 4,
    BANK_SIZES = 3,
    BANK_OF_FOUR_BYTES = 1,
    PRIORITY_GREATEST = -5, /* as deviceQuery's successors print it from compute capability 7.0 on */
    AFFINITY_SM_COUNT = 0,

    ATTRIBUTE_STREAM_PRIORITIES = 78,
    ATTRIBUTE_PERSISTING_L2_MAX = 108,
};

/* Defaults: CUDA C++ Programming Guide, of the limits of the device runtime, of printf (1 MB) and of malloc (8 MB);
 * stack and fetch granularity: cudaDeviceGetLimit on an A100. */
void vgpu_settings_begin(struct vgpu_process *process, struct vgpu_settings *settings) {
    *settings = (struct vgpu_settings){
        .id = ++process->cuda->context_ids,
        .limits =
            {
                [LIMIT_STACK_SIZE] = KIB,
                [LIMIT_PRINTF_FIFO_SIZE] = MIB,
                [LIMIT_MALLOC_HEAP_SIZE] = 8 * MIB,
                [LIMIT_SYNC_DEPTH] = 2,
                [LIMIT_PENDING_LAUNCH_COUNT] = 2048,
                [LIMIT_L2_FETCH_GRANULARITY] = 64,
            },
    };
}

static CUresult current(struct vgpu_process *process, struct vgpu_settings **settings, CUdevice *dev) {
    return vgpu_context_settings(process, NULL, settings, dev);
}

/* The rest of CUlimit is for graphics in the same context (CIG) and for blocks of newer GPUs. */
static CUresult limit_of(struct vgpu_process *process, CUlimit limit, struct vgpu_settings **settings, CUdevice *dev) {
    CUresult refusal = current(process, settings, dev);
    if (refusal != CUDA_SUCCESS) {
        return refusal;
    }
    int known = limit >= LIMIT_STACK_SIZE && limit <= LIMIT_PERSISTING_L2_SIZE;
    int too_new = limit == LIMIT_SYNC_DEPTH && process->cuda->device[*dev].gpu->compute_major >= SYNC_DEPTH_UP_TO;
    int no_cache = limit == LIMIT_PERSISTING_L2_SIZE &&
                   vgpu_cuda_device_attribute(process, *dev, ATTRIBUTE_PERSISTING_L2_MAX) == 0;
    return known && !too_new && !no_cache ? CUDA_SUCCESS : CUDA_ERROR_UNSUPPORTED_LIMIT;
}

/* The driver may change a value to what it can do (doc). The largest stack: local memory of a thread, CUDA C++
 * Programming Guide, "Technical Specifications per Compute Capability". */
static uint64_t possible(struct vgpu_process *process, CUdevice dev, CUlimit limit, uint64_t value) {
    uint64_t most = UINT64_MAX;
    if (limit == LIMIT_STACK_SIZE) {
        most = 512 * KIB;
        value = value < most ? (value + STACK_GRANULARITY - 1) / STACK_GRANULARITY * STACK_GRANULARITY : value;
    } else if (limit == LIMIT_L2_FETCH_GRANULARITY) {
        most = L2_FETCH_MAX;
    } else if (limit == LIMIT_PERSISTING_L2_SIZE) {
        most = (uint64_t)vgpu_cuda_device_attribute(process, dev, ATTRIBUTE_PERSISTING_L2_MAX);
    }
    return value < most ? value : most;
}

CUresult vgpu_cuCtxSetLimit(struct vgpu_process *process, struct vgpu_call *call, CUlimit limit, size_t value) {
    (void)call;
    struct vgpu_settings *settings;
    CUdevice dev;
    CUresult refusal = limit_of(process, limit, &settings, &dev);
    if (refusal != CUDA_SUCCESS) {
        return refusal;
    }
    if (limit == LIMIT_SYNC_DEPTH && value > SYNC_DEPTH_MAX) {
        return CUDA_ERROR_INVALID_VALUE;
    }
    if (limit == LIMIT_MALLOC_HEAP_SIZE && value > vgpu_cuda_free(&process->cuda->device[dev])) {
        return CUDA_ERROR_OUT_OF_MEMORY;
    }
    settings->limits[limit] = possible(process, dev, limit, value);
    return CUDA_SUCCESS;
}

CUresult vgpu_cuCtxGetLimit(struct vgpu_process *process, struct vgpu_call *call, size_t *pvalue, CUlimit limit) {
    if (pvalue == NULL) {
        return CUDA_ERROR_INVALID_VALUE;
    }
    struct vgpu_settings *settings;
    CUdevice dev;
    CUresult refusal = limit_of(process, limit, &settings, &dev);
    if (refusal == CUDA_SUCCESS) {
        *pvalue = settings->limits[limit];
        vgpu_call_output(call, pvalue, sizeof(*pvalue));
    }
    return refusal;
}

CUresult vgpu_cuCtxGetFlags(struct vgpu_process *process, struct vgpu_call *call, unsigned int *flags) {
    if (flags == NULL) {
        return CUDA_ERROR_INVALID_VALUE;
    }
    struct vgpu_settings *settings;
    CUdevice dev;
    CUresult refusal = vgpu_cuda_ready(process);
    refusal = refusal != CUDA_SUCCESS ? refusal : current(process, &settings, &dev);
    if (refusal == CUDA_SUCCESS) {
        *flags = settings->flags;
        vgpu_call_output(call, flags, sizeof(*flags));
    }
    return refusal;
}

CUresult vgpu_cuCtxSetFlags(struct vgpu_process *process, struct vgpu_call *call, unsigned int flags) {
    (void)call;
    if (vgpu_context_flags(flags) != CUDA_SUCCESS) {
        return CUDA_ERROR_INVALID_VALUE;
    }
    struct vgpu_settings *settings;
    CUdevice dev;
    CUresult refusal = current(process, &settings, &dev);
    if (refusal == CUDA_SUCCESS) {
        settings->flags = flags;
    }
    return refusal;
}

CUresult vgpu_cuCtxGetCacheConfig(struct vgpu_process *process, struct vgpu_call *call, CUfunc_cache *pconfig) {
    if (pconfig == NULL) {
        return CUDA_ERROR_INVALID_VALUE;
    }
    struct vgpu_settings *settings;
    CUdevice dev;
    CUresult refusal = current(process, &settings, &dev);
    if (refusal == CUDA_SUCCESS) {
        *pconfig = settings->cache_config;
        vgpu_call_output(call, pconfig, sizeof(*pconfig));
    }
    return refusal;
}

CUresult vgpu_cuCtxSetCacheConfig(struct vgpu_process *process, struct vgpu_call *call, CUfunc_cache config) {
    (void)call;
    if (config < 0 || config >= CACHE_PREFERENCES) {
        return CUDA_ERROR_INVALID_VALUE;
    }
    struct vgpu_settings *settings;
    CUdevice dev;
    CUresult refusal = current(process, &settings, &dev);
    if (refusal == CUDA_SUCCESS) {
        settings->cache_config = config;
    }
    return refusal;
}

/* Only compute capability 3.x can change the size of its banks; elsewhere setting it does nothing (doc). */
CUresult vgpu_cuCtxGetSharedMemConfig(struct vgpu_process *process, struct vgpu_call *call, CUsharedconfig *pConfig) {
    if (pConfig == NULL) {
        return CUDA_ERROR_INVALID_VALUE;
    }
    struct vgpu_settings *settings;
    CUdevice dev;
    CUresult refusal = current(process, &settings, &dev);
    if (refusal == CUDA_SUCCESS) {
        *pConfig = BANK_OF_FOUR_BYTES;
        vgpu_call_output(call, pConfig, sizeof(*pConfig));
    }
    return refusal;
}

CUresult vgpu_cuCtxSetSharedMemConfig(struct vgpu_process *process, struct vgpu_call *call, CUsharedconfig config) {
    (void)call;
    struct vgpu_settings *settings;
    CUdevice dev;
    return config < 0 || config >= BANK_SIZES ? CUDA_ERROR_INVALID_VALUE : current(process, &settings, &dev);
}

CUresult vgpu_cuCtxGetStreamPriorityRange(struct vgpu_process *process, struct vgpu_call *call, int *leastPriority,
                                          int *greatestPriority) {
    struct vgpu_settings *settings;
    CUdevice dev;
    CUresult refusal = current(process, &settings, &dev);
    if (refusal != CUDA_SUCCESS) {
        return refusal;
    }
    if (leastPriority != NULL) {
        *leastPriority = 0;
        vgpu_call_output(call, leastPriority, sizeof(*leastPriority));
    }
    if (greatestPriority != NULL) {
        int supported = vgpu_cuda_device_attribute(process, dev, ATTRIBUTE_STREAM_PRIORITIES) != 0;
        *greatestPriority = supported ? PRIORITY_GREATEST : 0;
        vgpu_call_output(call, greatestPriority, sizeof(*greatestPriority));
    }
    return CUDA_SUCCESS;
}

CUresult vgpu_cuCtxResetPersistingL2Cache(struct vgpu_process *process, struct vgpu_call *call) {
    (void)call;
    struct vgpu_settings *settings;
    CUdevice dev;
    CUresult refusal = current(process, &settings, &dev);
    if (refusal != CUDA_SUCCESS) {
        return refusal;
    }
    int supported = vgpu_cuda_device_attribute(process, dev, ATTRIBUTE_PERSISTING_L2_MAX) != 0;
    return supported ? CUDA_SUCCESS : CUDA_ERROR_NOT_SUPPORTED;
}

/* Execution affinity is for clients of MPS only (doc), and there is no MPS here. */
CUresult vgpu_cuCtxGetExecAffinity(struct vgpu_process *process, struct vgpu_call *call,
                                   CUexecAffinityParam *pExecAffinity, CUexecAffinityType type) {
    (void)call;
    if (pExecAffinity == NULL || type != AFFINITY_SM_COUNT) {
        return CUDA_ERROR_INVALID_VALUE;
    }
    struct vgpu_settings *settings;
    CUdevice dev;
    CUresult refusal = current(process, &settings, &dev);
    return refusal != CUDA_SUCCESS ? refusal : CUDA_ERROR_UNSUPPORTED_EXEC_AFFINITY;
}
