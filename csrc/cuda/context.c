/* Contexts that a program creates: which there are, and which is meant.
 *
 * A handle is a number that is never given out twice, so a destroyed context is known as such for ever: use of one
 * answers CONTEXT_IS_DESTROYED, and of a handle that never was INVALID_CONTEXT. That is our rule (cuda.h leaves it
 * undefined). The numbers are no user-space addresses: a client that dereferences one finds out. */
#include <stdlib.h>

#include "cuda/capture.h"

#define HANDLE_BASE 0x00c0000000000000ull

enum {
    HANDLE_STEP = 16,
    FLAGS_MASK = 0xff,     /* CU_CTX_FLAGS_MASK */
    SCHEDULING_MASK = 0x7, /* CU_CTX_SCHED_MASK: spin, yield, blocking sync */
    VERSION_OLD = 3010,    /* cuCtxGetApiVersion of a context from before 3.2, and of any other */
    VERSION_NEW = 3020,
};

struct vgpu_context {
    struct vgpu_context *next;
    CUcontext handle;
    CUdevice device;
    struct vgpu_settings settings;
};

static CUcontext handle_of(uint64_t number) {
    return (CUcontext)(uintptr_t)(HANDLE_BASE + HANDLE_STEP * number);
}

static int was_given(struct vgpu_cuda *cuda, CUcontext context) {
    uint64_t past = (uint64_t)(uintptr_t)context - HANDLE_BASE;
    return past % HANDLE_STEP == 0 && past / HANDLE_STEP < cuda->contexts_given;
}

static struct vgpu_context **link_of(struct vgpu_cuda *cuda, CUcontext context) {
    struct vgpu_context **link = &cuda->contexts;
    while (*link != NULL && (*link)->handle != context) {
        link = &(*link)->next;
    }
    return link;
}

CUresult vgpu_context_settings(struct vgpu_process *process, CUcontext context, struct vgpu_settings **settings,
                               CUdevice *device) {
    struct vgpu_cuda *cuda = process->cuda;
    context = context != NULL ? context : vgpu_stack_top(cuda);
    CUdevice primary = vgpu_primary_device(cuda, context);
    if (primary >= 0) {
        *device = primary;
        *settings = &cuda->device[primary].primary.settings;
        return cuda->device[primary].primary.active ? CUDA_SUCCESS : CUDA_ERROR_CONTEXT_IS_DESTROYED;
    }
    struct vgpu_context *found = *link_of(cuda, context);
    if (found != NULL) {
        *device = found->device;
        *settings = &found->settings;
        return CUDA_SUCCESS;
    }
    if (was_given(cuda, context)) {
        return CUDA_ERROR_CONTEXT_IS_DESTROYED;
    }
    return vgpu_green_settings(process, context, settings, device);
}

CUresult vgpu_context_check(struct vgpu_process *process, CUcontext context, CUdevice *device) {
    struct vgpu_settings *settings;
    CUresult refusal =
        context != NULL ? vgpu_context_settings(process, context, &settings, device) : CUDA_ERROR_INVALID_CONTEXT;
    return refusal == CUDA_SUCCESS && vgpu_cuda_device(process, *device) == NULL ? CUDA_ERROR_UNKNOWN : refusal;
}

CUresult vgpu_context_current(struct vgpu_process *process, CUcontext *context, CUdevice *device) {
    *context = vgpu_stack_top(process->cuda);
    return vgpu_context_check(process, *context, device);
}

void vgpu_context_end(struct vgpu_process *process, CUcontext context) {
    vgpu_objects_drop(process, context);
    vgpu_memory_drop(process, context);
    vgpu_peers_drop(process->cuda, context);
    vgpu_coredumps_drop(process->cuda, context);
}

void vgpu_contexts_free(struct vgpu_cuda *cuda) {
    while (cuda->contexts != NULL) {
        struct vgpu_context *next = cuda->contexts->next;
        free(cuda->contexts);
        cuda->contexts = next;
    }
}

CUresult vgpu_context_flags(unsigned int flags) {
    unsigned int scheduling = flags & SCHEDULING_MASK;
    int one = (scheduling & (scheduling - 1)) == 0;
    return (flags & ~(unsigned int)FLAGS_MASK) == 0 && one ? CUDA_SUCCESS : CUDA_ERROR_INVALID_VALUE;
}

static CUresult create(struct vgpu_process *process, struct vgpu_call *call, CUcontext *pctx, unsigned int flags,
                       CUdevice dev, uint32_t version) {
    struct vgpu_cuda *cuda = process->cuda;
    if (pctx == NULL) {
        return CUDA_ERROR_INVALID_VALUE;
    }
    struct vgpu_device *device = vgpu_cuda_device(process, dev);
    if (device == NULL) {
        return CUDA_ERROR_INVALID_DEVICE;
    }
    if (vgpu_context_flags(flags) != CUDA_SUCCESS) {
        return CUDA_ERROR_INVALID_VALUE;
    }
    struct vgpu_context *context = calloc(1, sizeof(*context));
    if (context == NULL) {
        return CUDA_ERROR_OUT_OF_MEMORY;
    }
    context->handle = handle_of(cuda->contexts_given);
    context->device = dev;
    if (!vgpu_stack_push(cuda, context->handle)) {
        free(context);
        return CUDA_ERROR_OUT_OF_MEMORY;
    }
    vgpu_settings_begin(process, &context->settings);
    context->settings.flags = flags;
    context->settings.api_version = version;
    context->settings.uses = 1;
    cuda->contexts_given++;
    context->next = cuda->contexts;
    cuda->contexts = context;
    *pctx = context->handle;
    vgpu_cuda_say_pci(call, device);
    return CUDA_SUCCESS;
}

CUresult vgpu_cuCtxCreate(struct vgpu_process *process, struct vgpu_call *call, CUcontext *pctx, unsigned int flags,
                          CUdevice dev) {
    return create(process, call, pctx, flags, dev, VERSION_OLD);
}

CUresult vgpu_cuCtxCreate_v2(struct vgpu_process *process, struct vgpu_call *call, CUcontext *pctx, unsigned int flags,
                             CUdevice dev) {
    return create(process, call, pctx, flags, dev, VERSION_NEW);
}

/* Execution affinity is for clients of MPS only (doc), and there is no MPS here. */
static CUresult check_affinity(const CUexecAffinityParam *affinity, int count) {
    if (count < 0 || (count > 0 && affinity == NULL)) {
        return CUDA_ERROR_INVALID_VALUE;
    }
    return count > 0 ? CUDA_ERROR_UNSUPPORTED_EXEC_AFFINITY : CUDA_SUCCESS;
}

CUresult vgpu_cuCtxCreate_v3(struct vgpu_process *process, struct vgpu_call *call, CUcontext *pctx,
                             CUexecAffinityParam *paramsArray, int numParams, unsigned int flags, CUdevice dev) {
    CUresult refusal = check_affinity(paramsArray, numParams);
    return refusal != CUDA_SUCCESS ? refusal : create(process, call, pctx, flags, dev, VERSION_NEW);
}

CUresult vgpu_cuCtxCreate_v4(struct vgpu_process *process, struct vgpu_call *call, CUcontext *pctx,
                             CUctxCreateParams *ctxCreateParams, unsigned int flags, CUdevice dev) {
    CUresult refusal = CUDA_SUCCESS;
    if (ctxCreateParams != NULL) {
        refusal = check_affinity(ctxCreateParams->execAffinityParams, ctxCreateParams->numExecAffinityParams);
        if (refusal == CUDA_SUCCESS && ctxCreateParams->cigParams != NULL) {
            refusal = CUDA_ERROR_NOT_SUPPORTED;
        }
    }
    return refusal != CUDA_SUCCESS ? refusal : create(process, call, pctx, flags, dev, VERSION_NEW);
}

/* Popped if it is current to this thread (doc); wherever else it is current it stays, destroyed. A primary context is
 * not destroyed by its handle. */
CUresult vgpu_context_destroy(struct vgpu_process *process, CUcontext context) {
    CUdevice device;
    CUresult refusal = vgpu_context_check(process, context, &device);
    if (refusal != CUDA_SUCCESS) {
        return refusal;
    }
    struct vgpu_context **link = link_of(process->cuda, context);
    if (*link == NULL) {
        return CUDA_ERROR_INVALID_CONTEXT; /* a primary or green one, which ends otherwise */
    }
    vgpu_context_end(process, context);
    struct vgpu_context *found = *link;
    *link = found->next;
    free(found);
    if (vgpu_stack_top(process->cuda) == context) {
        vgpu_stack_pop(process->cuda);
    }
    return CUDA_SUCCESS;
}

CUresult vgpu_cuCtxDestroy_v2(struct vgpu_process *process, struct vgpu_call *call, CUcontext ctx) {
    (void)call;
    if (ctx == NULL) {
        return CUDA_ERROR_INVALID_VALUE;
    }
    CUresult refusal = vgpu_cuda_ready(process);
    return refusal != CUDA_SUCCESS ? refusal : vgpu_context_destroy(process, ctx);
}

CUresult vgpu_cuCtxDestroy(struct vgpu_process *process, struct vgpu_call *call, CUcontext ctx) {
    return vgpu_cuCtxDestroy_v2(process, call, ctx);
}

CUresult vgpu_cuCtxGetDevice_v2(struct vgpu_process *process, struct vgpu_call *call, CUdevice *device, CUcontext ctx) {
    if (device == NULL) {
        return CUDA_ERROR_INVALID_VALUE;
    }
    CUdevice found;
    CUresult refusal = vgpu_context_check(process, ctx != NULL ? ctx : vgpu_stack_top(process->cuda), &found);
    if (refusal != CUDA_SUCCESS) {
        return refusal;
    }
    *device = found;
    vgpu_call_output(call, device, sizeof(*device));
    vgpu_cuda_say_pci(call, &process->cuda->device[found]);
    return CUDA_SUCCESS;
}

CUresult vgpu_cuCtxGetDevice(struct vgpu_process *process, struct vgpu_call *call, CUdevice *device) {
    return vgpu_cuCtxGetDevice_v2(process, call, device, NULL);
}

/* Nothing runs, so there is nothing to wait for. */
CUresult vgpu_cuCtxSynchronize_v2(struct vgpu_process *process, struct vgpu_call *call, CUcontext ctx) {
    (void)call;
    CUdevice device;
    CUcontext context = ctx != NULL ? ctx : vgpu_stack_top(process->cuda);
    CUresult refusal = vgpu_context_check(process, context, &device);
    return refusal == CUDA_SUCCESS ? vgpu_capture_refuse_all(process, context) : refusal;
}

CUresult vgpu_cuCtxSynchronize(struct vgpu_process *process, struct vgpu_call *call) {
    return vgpu_cuCtxSynchronize_v2(process, call, NULL);
}
