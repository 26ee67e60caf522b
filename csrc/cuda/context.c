/* Contexts: which there are, which is current, and the primary context of each device.
 *
 * A handle is a number that is never given out twice, so a destroyed context is known as such for ever: use of one
 * answers CONTEXT_IS_DESTROYED, and of a handle that never was INVALID_CONTEXT. That is our rule (cuda.h leaves it
 * undefined). The numbers are no user-space addresses: a client that dereferences one finds out. */
#include <stdlib.h>

#include "cuda/model.h"

#define HANDLE_BASE 0x00c0000000000000ull
#define PRIMARY_BASE 0x00d0000000000000ull

enum {
    HANDLE_STEP = 16,
    FLAGS_MASK = 0xff,     /* CU_CTX_FLAGS_MASK */
    SCHEDULING_MASK = 0x7, /* CU_CTX_SCHED_MASK: spin, yield, blocking sync */
};

struct vgpu_context {
    struct vgpu_context *next;
    CUcontext handle;
    CUdevice device;
};

static CUcontext handle_of(uint64_t base, uint64_t number) {
    return (CUcontext)(uintptr_t)(base + HANDLE_STEP * number);
}

/* The device whose primary context this is, or -1. */
static CUdevice primary_of(struct vgpu_cuda *cuda, CUcontext context) {
    for (uint32_t i = 0; i < cuda->devices; i++) {
        if (cuda->device[i].primary.was_given && handle_of(PRIMARY_BASE, i) == context) {
            return (CUdevice)i;
        }
    }
    return -1;
}

static int was_given(struct vgpu_cuda *cuda, CUcontext context) {
    uint64_t past = (uint64_t)(uintptr_t)context - HANDLE_BASE;
    return past % HANDLE_STEP == 0 && past / HANDLE_STEP < cuda->contexts_given;
}

CUresult vgpu_context_check(struct vgpu_process *process, CUcontext context, CUdevice *device) {
    struct vgpu_cuda *cuda = process->cuda;
    CUdevice primary = primary_of(cuda, context);
    if (primary >= 0) {
        *device = primary;
        return cuda->device[primary].primary.active ? CUDA_SUCCESS : CUDA_ERROR_CONTEXT_IS_DESTROYED;
    }
    for (struct vgpu_context *at = cuda->contexts; at != NULL; at = at->next) {
        if (at->handle == context) {
            *device = at->device;
            return CUDA_SUCCESS;
        }
    }
    return was_given(cuda, context) ? CUDA_ERROR_CONTEXT_IS_DESTROYED : CUDA_ERROR_INVALID_CONTEXT;
}

CUresult vgpu_context_current(struct vgpu_process *process, CUcontext *context, CUdevice *device) {
    *context = vgpu_stack_top(process->cuda);
    return vgpu_context_check(process, *context, device);
}

void vgpu_contexts_free(struct vgpu_cuda *cuda) {
    while (cuda->contexts != NULL) {
        struct vgpu_context *next = cuda->contexts->next;
        free(cuda->contexts);
        cuda->contexts = next;
    }
}

static CUresult create(struct vgpu_process *process, struct vgpu_call *call, CUcontext *pctx, unsigned int flags,
                       CUdevice dev) {
    struct vgpu_cuda *cuda = process->cuda;
    if (pctx == NULL) {
        return CUDA_ERROR_INVALID_VALUE;
    }
    struct vgpu_device *device = vgpu_cuda_device(process, dev);
    if (device == NULL) {
        return CUDA_ERROR_INVALID_DEVICE;
    }
    unsigned int scheduling = flags & SCHEDULING_MASK;
    if ((flags & ~(unsigned int)FLAGS_MASK) != 0 || (scheduling & (scheduling - 1)) != 0) {
        return CUDA_ERROR_INVALID_VALUE;
    }
    struct vgpu_context *context = calloc(1, sizeof(*context));
    if (context == NULL) {
        return CUDA_ERROR_OUT_OF_MEMORY;
    }
    context->handle = handle_of(HANDLE_BASE, cuda->contexts_given);
    context->device = dev;
    if (!vgpu_stack_push(cuda, context->handle)) {
        free(context);
        return CUDA_ERROR_OUT_OF_MEMORY;
    }
    cuda->contexts_given++;
    context->next = cuda->contexts;
    cuda->contexts = context;
    *pctx = context->handle;
    vgpu_cuda_say_pci(call, device);
    return CUDA_SUCCESS;
}

CUresult vgpu_cuCtxCreate(struct vgpu_process *process, struct vgpu_call *call, CUcontext *pctx, unsigned int flags,
                          CUdevice dev) {
    return create(process, call, pctx, flags, dev);
}

CUresult vgpu_cuCtxCreate_v2(struct vgpu_process *process, struct vgpu_call *call, CUcontext *pctx, unsigned int flags,
                             CUdevice dev) {
    return create(process, call, pctx, flags, dev);
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
    return refusal != CUDA_SUCCESS ? refusal : create(process, call, pctx, flags, dev);
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
    return refusal != CUDA_SUCCESS ? refusal : create(process, call, pctx, flags, dev);
}

/* Popped if it is current to this thread (doc); wherever else it is current it stays, destroyed. A primary context is
 * not destroyed by its handle. */
CUresult vgpu_cuCtxDestroy_v2(struct vgpu_process *process, struct vgpu_call *call, CUcontext ctx) {
    (void)call;
    CUdevice device;
    CUresult refusal = vgpu_context_check(process, ctx, &device);
    if (refusal != CUDA_SUCCESS) {
        return refusal;
    }
    struct vgpu_context **link = &process->cuda->contexts;
    while (*link != NULL && (*link)->handle != ctx) {
        link = &(*link)->next;
    }
    if (*link == NULL) {
        return CUDA_ERROR_INVALID_CONTEXT;
    }
    struct vgpu_context *context = *link;
    *link = context->next;
    free(context);
    vgpu_memory_drop(process, ctx);
    if (vgpu_stack_top(process->cuda) == ctx) {
        vgpu_stack_pop(process->cuda);
    }
    return CUDA_SUCCESS;
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
    return vgpu_context_check(process, ctx != NULL ? ctx : vgpu_stack_top(process->cuda), &device);
}

CUresult vgpu_cuCtxSynchronize(struct vgpu_process *process, struct vgpu_call *call) {
    return vgpu_cuCtxSynchronize_v2(process, call, NULL);
}

CUresult vgpu_cuDevicePrimaryCtxRetain(struct vgpu_process *process, struct vgpu_call *call, CUcontext *pctx,
                                       CUdevice dev) {
    if (pctx == NULL) {
        return CUDA_ERROR_INVALID_VALUE;
    }
    struct vgpu_device *device = vgpu_cuda_device(process, dev);
    if (device == NULL) {
        return CUDA_ERROR_INVALID_DEVICE;
    }
    device->primary.references++;
    device->primary.active = 1;
    device->primary.was_given = 1;
    *pctx = handle_of(PRIMARY_BASE, (uint64_t)dev);
    vgpu_cuda_say_pci(call, device);
    return CUDA_SUCCESS;
}

static void end_primary(struct vgpu_process *process, CUdevice dev) {
    process->cuda->device[dev].primary.active = 0;
    vgpu_memory_drop(process, handle_of(PRIMARY_BASE, (uint64_t)dev));
}

/* No stack is popped (doc). */
CUresult vgpu_cuDevicePrimaryCtxRelease_v2(struct vgpu_process *process, struct vgpu_call *call, CUdevice dev) {
    struct vgpu_device *device = vgpu_cuda_device(process, dev);
    if (device == NULL) {
        return CUDA_ERROR_INVALID_DEVICE;
    }
    if (device->primary.references == 0) {
        return CUDA_ERROR_INVALID_CONTEXT;
    }
    if (--device->primary.references == 0) {
        end_primary(process, dev);
    }
    vgpu_cuda_say_pci(call, device);
    return CUDA_SUCCESS;
}

CUresult vgpu_cuDevicePrimaryCtxRelease(struct vgpu_process *process, struct vgpu_call *call, CUdevice dev) {
    return vgpu_cuDevicePrimaryCtxRelease_v2(process, call, dev);
}

/* Destroys it under whoever has it current; references stay to be released (doc). */
CUresult vgpu_cuDevicePrimaryCtxReset_v2(struct vgpu_process *process, struct vgpu_call *call, CUdevice dev) {
    struct vgpu_device *device = vgpu_cuda_device(process, dev);
    if (device == NULL) {
        return CUDA_ERROR_INVALID_DEVICE;
    }
    end_primary(process, dev);
    vgpu_cuda_say_pci(call, device);
    return CUDA_SUCCESS;
}

CUresult vgpu_cuDevicePrimaryCtxReset(struct vgpu_process *process, struct vgpu_call *call, CUdevice dev) {
    return vgpu_cuDevicePrimaryCtxReset_v2(process, call, dev);
}

CUresult vgpu_cuDevicePrimaryCtxGetState(struct vgpu_process *process, struct vgpu_call *call, CUdevice dev,
                                         unsigned int *flags, int *active) {
    if (flags == NULL || active == NULL) {
        return CUDA_ERROR_INVALID_VALUE;
    }
    struct vgpu_device *device = vgpu_cuda_device(process, dev);
    if (device == NULL) {
        return CUDA_ERROR_INVALID_DEVICE;
    }
    *flags = 0;
    *active = (int)device->primary.active;
    vgpu_call_output(call, flags, sizeof(*flags));
    vgpu_call_output(call, active, sizeof(*active));
    vgpu_cuda_say_pci(call, device);
    return CUDA_SUCCESS;
}
