/* Functions and kernels: what they need, and what can be set for them. */
#include "cuda/function.h"

/* A function goes with its module, and that with its context. */
struct vgpu_function *vgpu_function_find(struct vgpu_process *process, CUfunction handle) {
    struct vgpu_function *function = vgpu_object_find(process, VGPU_OBJECT_FUNCTION, handle);
    if (function == NULL) {
        return vgpu_object_find(process, VGPU_OBJECT_KERNEL, handle);
    }
    return vgpu_module_find(process, vgpu_object_handle(&function->module->object)) != NULL ? function : NULL;
}

struct vgpu_function *vgpu_kernel_find(struct vgpu_process *process, CUkernel handle) {
    return vgpu_object_find(process, VGPU_OBJECT_KERNEL, handle);
}

CUresult vgpu_function_device(struct vgpu_process *process, const struct vgpu_function *function, CUdevice *device) {
    if (function->object.kind == VGPU_OBJECT_FUNCTION) {
        *device = function->module->device;
        return CUDA_SUCCESS;
    }
    CUcontext context;
    return vgpu_context_current(process, &context, device);
}

size_t vgpu_function_parameters(const struct vgpu_function *function) {
    return function->facts->parameters_known ? function->facts->parameter_count : 0;
}

static int limit(struct vgpu_process *process, CUdevice device, enum vgpu_launch_limit attribute) {
    return vgpu_cuda_device_attribute(process, device, (CUdevice_attribute)attribute);
}

/* Threads that the registers of a block are enough for, in whole warps. */
static int max_threads(struct vgpu_process *process, const struct vgpu_function *function, CUdevice device) {
    int threads = limit(process, device, VGPU_LIMIT_THREADS_PER_BLOCK);
    if (function->facts->max_threads > 0 && function->facts->max_threads < threads) {
        threads = function->facts->max_threads;
    }
    int warp = limit(process, device, VGPU_LIMIT_WARP);
    int registers = limit(process, device, VGPU_LIMIT_REGISTERS_PER_BLOCK);
    int each = function->facts->registers;
    int enough = each > 0 && warp > 0 ? registers / each / warp * warp : threads;
    return enough < threads ? enough : threads;
}

static int dynamic_shared(struct vgpu_process *process, const struct vgpu_function *function, CUdevice device) {
    int set = function->settings[device].dynamic_shared;
    return set >= 0 ? set : limit(process, device, VGPU_LIMIT_SHARED_PER_BLOCK) - function->facts->shared;
}

int vgpu_function_attribute(struct vgpu_process *process, const struct vgpu_function *function, CUdevice device,
                            CUfunction_attribute attribute, int *value) {
    const struct vgpu_function_settings *settings = &function->settings[device];
    const struct vgpu_kernel_facts *facts = function->facts;
    const struct vgpu_program *program = function->module->program;
    const int values[] = {
        [VGPU_FUNCTION_MAX_THREADS] = max_threads(process, function, device),
        [VGPU_FUNCTION_SHARED] = facts->shared,
        [VGPU_FUNCTION_CONST] = facts->constant,
        [VGPU_FUNCTION_LOCAL] = facts->local,
        [VGPU_FUNCTION_REGISTERS] = facts->registers,
        [VGPU_FUNCTION_PTX_VERSION] = program->sm,
        [VGPU_FUNCTION_BINARY_VERSION] = program->ptx_version != 0 ? vgpu_device_sm(process, device) : program->sm,
        [VGPU_FUNCTION_CACHE_MODE_CA] = 0,
        [VGPU_FUNCTION_MAX_DYNAMIC_SHARED] = dynamic_shared(process, function, device),
        [VGPU_FUNCTION_CARVEOUT] = settings->carveout,
        [VGPU_FUNCTION_CLUSTER_MUST_BE_SET] = facts->cluster[0] > 0,
        [VGPU_FUNCTION_CLUSTER_WIDTH] = facts->cluster[0] > 0 ? facts->cluster[0] : settings->cluster[0],
        [VGPU_FUNCTION_CLUSTER_HEIGHT] = facts->cluster[0] > 0 ? facts->cluster[1] : settings->cluster[1],
        [VGPU_FUNCTION_CLUSTER_DEPTH] = facts->cluster[0] > 0 ? facts->cluster[2] : settings->cluster[2],
        [VGPU_FUNCTION_NON_PORTABLE_CLUSTER] = settings->non_portable_cluster,
        [VGPU_FUNCTION_CLUSTER_SCHEDULING] = settings->cluster_scheduling,
    };
    if (attribute < 0 || (size_t)attribute >= sizeof(values) / sizeof(values[0])) {
        return 0;
    }
    *value = values[attribute];
    return 1;
}

static CUresult set_cluster(struct vgpu_function *function, CUdevice device, int which, int value) {
    /* What is fixed at compile time stays (doc). */
    if (function->facts->cluster[0] > 0) {
        return CUDA_ERROR_NOT_PERMITTED;
    }
    if (value < 0) {
        return CUDA_ERROR_INVALID_VALUE;
    }
    function->settings[device].cluster[which] = value;
    return CUDA_SUCCESS;
}

static CUresult set_flag(int *setting, int value, int most) {
    if (value < 0 || value > most) {
        return CUDA_ERROR_INVALID_VALUE;
    }
    *setting = value;
    return CUDA_SUCCESS;
}

static CUresult set(struct vgpu_process *process, struct vgpu_function *function, CUdevice device,
                    CUfunction_attribute attribute, int value) {
    enum { SCHEDULING_POLICIES = 3, CARVEOUT_DEFAULT = -1, PERCENT = 100 };
    struct vgpu_function_settings *settings = &function->settings[device];
    int largest = limit(process, device, VGPU_LIMIT_SHARED_OPTIN) - function->facts->shared;
    switch (attribute) {
    case VGPU_FUNCTION_MAX_DYNAMIC_SHARED:
        return set_flag(&settings->dynamic_shared, value, largest);
    case VGPU_FUNCTION_CARVEOUT:
        if (value == CARVEOUT_DEFAULT) {
            settings->carveout = value;
            return CUDA_SUCCESS;
        }
        return set_flag(&settings->carveout, value, PERCENT);
    case VGPU_FUNCTION_CLUSTER_WIDTH:
    case VGPU_FUNCTION_CLUSTER_HEIGHT:
    case VGPU_FUNCTION_CLUSTER_DEPTH:
        return set_cluster(function, device, attribute - VGPU_FUNCTION_CLUSTER_WIDTH, value);
    case VGPU_FUNCTION_NON_PORTABLE_CLUSTER:
        return set_flag(&settings->non_portable_cluster, value, 1);
    case VGPU_FUNCTION_CLUSTER_SCHEDULING:
        return set_flag(&settings->cluster_scheduling, value, SCHEDULING_POLICIES - 1);
    default:
        return CUDA_ERROR_INVALID_VALUE;
    }
}

/* The function, and the device that is meant. */
static CUresult find(struct vgpu_process *process, CUfunction handle, struct vgpu_function **function,
                     CUdevice *device) {
    *function = vgpu_function_find(process, handle);
    return *function != NULL ? vgpu_function_device(process, *function, device) : CUDA_ERROR_INVALID_HANDLE;
}

static CUresult find_kernel(struct vgpu_process *process, CUkernel handle, CUdevice device,
                            struct vgpu_function **kernel) {
    *kernel = vgpu_kernel_find(process, handle);
    if (*kernel == NULL) {
        return CUDA_ERROR_INVALID_HANDLE;
    }
    return vgpu_cuda_device(process, device) != NULL ? CUDA_SUCCESS : CUDA_ERROR_INVALID_DEVICE;
}

CUresult vgpu_cuFuncGetAttribute(struct vgpu_process *process, struct vgpu_call *call, int *pi,
                                 CUfunction_attribute attrib, CUfunction hfunc) {
    struct vgpu_function *function;
    CUdevice device;
    CUresult result = pi == NULL ? CUDA_ERROR_INVALID_VALUE : find(process, hfunc, &function, &device);
    if (result == CUDA_SUCCESS && !vgpu_function_attribute(process, function, device, attrib, pi)) {
        result = CUDA_ERROR_INVALID_VALUE;
    }
    if (result == CUDA_SUCCESS) {
        vgpu_call_output(call, pi, sizeof(*pi));
    }
    return result;
}

CUresult vgpu_cuFuncSetAttribute(struct vgpu_process *process, struct vgpu_call *call, CUfunction hfunc,
                                 CUfunction_attribute attrib, int value) {
    (void)call;
    struct vgpu_function *function;
    CUdevice device;
    CUresult result = find(process, hfunc, &function, &device);
    return result == CUDA_SUCCESS ? set(process, function, device, attrib, value) : result;
}

CUresult vgpu_cuKernelGetAttribute(struct vgpu_process *process, struct vgpu_call *call, int *pi,
                                   CUfunction_attribute attrib, CUkernel kernel, CUdevice dev) {
    struct vgpu_function *found;
    CUresult result = pi == NULL ? CUDA_ERROR_INVALID_VALUE : find_kernel(process, kernel, dev, &found);
    if (result == CUDA_SUCCESS && !vgpu_function_attribute(process, found, dev, attrib, pi)) {
        result = CUDA_ERROR_INVALID_VALUE;
    }
    if (result == CUDA_SUCCESS) {
        vgpu_call_output(call, pi, sizeof(*pi));
    }
    return result;
}

CUresult vgpu_cuKernelSetAttribute(struct vgpu_process *process, struct vgpu_call *call, CUfunction_attribute attrib,
                                   int val, CUkernel kernel, CUdevice dev) {
    (void)call;
    struct vgpu_function *found;
    CUresult result = find_kernel(process, kernel, dev, &found);
    return result == CUDA_SUCCESS ? set(process, found, dev, attrib, val) : result;
}

enum { CACHE_CONFIGS = 4, SHARED_CONFIGS = 3 }; /* CUfunc_cache, CUsharedconfig */

CUresult vgpu_cuFuncSetCacheConfig(struct vgpu_process *process, struct vgpu_call *call, CUfunction hfunc,
                                   CUfunc_cache config) {
    (void)call;
    struct vgpu_function *function;
    CUdevice device;
    CUresult result = find(process, hfunc, &function, &device);
    return result == CUDA_SUCCESS ? set_flag(&function->settings[device].cache_config, config, CACHE_CONFIGS - 1)
                                  : result;
}

CUresult vgpu_cuKernelSetCacheConfig(struct vgpu_process *process, struct vgpu_call *call, CUkernel kernel,
                                     CUfunc_cache config, CUdevice dev) {
    (void)call;
    struct vgpu_function *found;
    CUresult result = find_kernel(process, kernel, dev, &found);
    return result == CUDA_SUCCESS ? set_flag(&found->settings[dev].cache_config, config, CACHE_CONFIGS - 1) : result;
}

/* Devices of today have one bank size: the setting is checked and has no effect (doc). */
CUresult vgpu_cuFuncSetSharedMemConfig(struct vgpu_process *process, struct vgpu_call *call, CUfunction hfunc,
                                       CUsharedconfig config) {
    (void)call;
    struct vgpu_function *function;
    CUdevice device;
    int setting;
    CUresult result = find(process, hfunc, &function, &device);
    return result == CUDA_SUCCESS ? set_flag(&setting, config, SHARED_CONFIGS - 1) : result;
}

CUresult vgpu_cuFuncGetModule(struct vgpu_process *process, struct vgpu_call *call, CUmodule *hmod, CUfunction hfunc) {
    struct vgpu_function *function = vgpu_function_find(process, hfunc);
    if (hmod == NULL || function == NULL || function->object.kind != VGPU_OBJECT_FUNCTION) {
        return hmod == NULL ? CUDA_ERROR_INVALID_VALUE : CUDA_ERROR_INVALID_HANDLE;
    }
    *hmod = vgpu_object_handle(&function->module->object);
    vgpu_call_output(call, hmod, sizeof(*hmod));
    return CUDA_SUCCESS;
}

/* NULL for a handle is an invalid value (NVIDIA/cuda-python, test_cuFuncGetName_failure, test_cuKernelGetName_failure).
 */
static CUresult say_name(struct vgpu_call *call, const void *handle, const struct vgpu_function *function,
                         const char **name) {
    if (name == NULL || function == NULL) {
        return name == NULL || handle == NULL ? CUDA_ERROR_INVALID_VALUE : CUDA_ERROR_INVALID_HANDLE;
    }
    *name = function->facts->name;
    vgpu_call_output(call, name, sizeof(*name));
    call->event.text = function->facts->name;
    return CUDA_SUCCESS;
}

CUresult vgpu_cuFuncGetName(struct vgpu_process *process, struct vgpu_call *call, const char **name, CUfunction hfunc) {
    return say_name(call, hfunc, vgpu_function_find(process, hfunc), name);
}

CUresult vgpu_cuKernelGetName(struct vgpu_process *process, struct vgpu_call *call, const char **name, CUkernel hfunc) {
    return say_name(call, hfunc, vgpu_kernel_find(process, hfunc), name);
}

/* Where the code does not say how its parameters lie, no index is one. */
static CUresult say_parameter(struct vgpu_call *call, const struct vgpu_function *function, size_t index,
                              size_t *offset, size_t *size) {
    if (function == NULL || offset == NULL) {
        return offset == NULL ? CUDA_ERROR_INVALID_VALUE : CUDA_ERROR_INVALID_HANDLE;
    }
    if (index >= vgpu_function_parameters(function)) {
        return CUDA_ERROR_INVALID_VALUE;
    }
    *offset = function->facts->parameters[index].offset;
    vgpu_call_output(call, offset, sizeof(*offset));
    if (size != NULL) {
        *size = function->facts->parameters[index].size;
        vgpu_call_output(call, size, sizeof(*size));
    }
    return CUDA_SUCCESS;
}

CUresult vgpu_cuFuncGetParamInfo(struct vgpu_process *process, struct vgpu_call *call, CUfunction func,
                                 size_t paramIndex, size_t *paramOffset, size_t *paramSize) {
    return say_parameter(call, vgpu_function_find(process, func), paramIndex, paramOffset, paramSize);
}

CUresult vgpu_cuKernelGetParamInfo(struct vgpu_process *process, struct vgpu_call *call, CUkernel kernel,
                                   size_t paramIndex, size_t *paramOffset, size_t *paramSize) {
    return say_parameter(call, vgpu_kernel_find(process, kernel), paramIndex, paramOffset, paramSize);
}

static CUresult say_count(struct vgpu_call *call, const struct vgpu_function *function, size_t *count) {
    if (function == NULL || count == NULL) {
        return count == NULL ? CUDA_ERROR_INVALID_VALUE : CUDA_ERROR_INVALID_HANDLE;
    }
    *count = vgpu_function_parameters(function);
    vgpu_call_output(call, count, sizeof(*count));
    return CUDA_SUCCESS;
}

CUresult vgpu_cuFuncGetParamCount(struct vgpu_process *process, struct vgpu_call *call, CUfunction func,
                                  size_t *paramCount) {
    return say_count(call, vgpu_function_find(process, func), paramCount);
}

CUresult vgpu_cuKernelGetParamCount(struct vgpu_process *process, struct vgpu_call *call, CUkernel kernel,
                                    size_t *paramCount) {
    return say_count(call, vgpu_kernel_find(process, kernel), paramCount);
}

/* Loading is lazy: a function is loaded when it is first to be used, or asked to be. */
CUresult vgpu_cuFuncIsLoaded(struct vgpu_process *process, struct vgpu_call *call, CUfunctionLoadingState *state,
                             CUfunction function) {
    struct vgpu_function *found = vgpu_function_find(process, function);
    if (state == NULL || found == NULL) {
        return state == NULL ? CUDA_ERROR_INVALID_VALUE : CUDA_ERROR_INVALID_HANDLE;
    }
    *state = found->is_loaded;
    vgpu_call_output(call, state, sizeof(*state));
    return CUDA_SUCCESS;
}

CUresult vgpu_cuFuncLoad(struct vgpu_process *process, struct vgpu_call *call, CUfunction function) {
    (void)call;
    struct vgpu_function *found = vgpu_function_find(process, function);
    if (found == NULL) {
        return CUDA_ERROR_INVALID_HANDLE;
    }
    found->is_loaded = 1;
    return CUDA_SUCCESS;
}
