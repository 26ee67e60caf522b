/* Which context is current to the calling thread. */
#include "cuda/model.h"

/* A destroyed context is still answered (measured by the lupine project on 590.48.01). */
CUresult vgpu_cuCtxGetCurrent(struct vgpu_process *process, struct vgpu_call *call, CUcontext *pctx) {
    (void)call;
    if (pctx == NULL) {
        return CUDA_ERROR_INVALID_VALUE;
    }
    *pctx = vgpu_stack_top(process->cuda);
    return CUDA_SUCCESS;
}

/* Replaces the top of the stack; NULL takes it off, and is nothing on an empty one (doc). */
CUresult vgpu_cuCtxSetCurrent(struct vgpu_process *process, struct vgpu_call *call, CUcontext ctx) {
    (void)call;
    struct vgpu_cuda *cuda = process->cuda;
    CUdevice device;
    CUresult refusal = ctx != NULL ? vgpu_context_check(process, ctx, &device) : CUDA_SUCCESS;
    if (refusal != CUDA_SUCCESS) {
        return refusal;
    }
    if (vgpu_stack_top(cuda) != NULL) {
        vgpu_stack_pop(cuda);
    }
    return ctx == NULL || vgpu_stack_push(cuda, ctx) ? CUDA_SUCCESS : CUDA_ERROR_OUT_OF_MEMORY;
}

CUresult vgpu_cuCtxPushCurrent_v2(struct vgpu_process *process, struct vgpu_call *call, CUcontext ctx) {
    (void)call;
    if (ctx == NULL) {
        return CUDA_ERROR_INVALID_VALUE;
    }
    CUdevice device;
    CUresult refusal = vgpu_context_check(process, ctx, &device);
    if (refusal != CUDA_SUCCESS) {
        return refusal;
    }
    return vgpu_stack_push(process->cuda, ctx) ? CUDA_SUCCESS : CUDA_ERROR_OUT_OF_MEMORY;
}

CUresult vgpu_cuCtxPushCurrent(struct vgpu_process *process, struct vgpu_call *call, CUcontext ctx) {
    return vgpu_cuCtxPushCurrent_v2(process, call, ctx);
}

/* The caller need not want to know what it was (doc). */
CUresult vgpu_cuCtxPopCurrent_v2(struct vgpu_process *process, struct vgpu_call *call, CUcontext *pctx) {
    (void)call;
    CUcontext top = vgpu_stack_top(process->cuda);
    if (top == NULL) {
        return CUDA_ERROR_INVALID_CONTEXT;
    }
    vgpu_stack_pop(process->cuda);
    if (pctx != NULL) {
        *pctx = top;
    }
    return CUDA_SUCCESS;
}

CUresult vgpu_cuCtxPopCurrent(struct vgpu_process *process, struct vgpu_call *call, CUcontext *pctx) {
    return vgpu_cuCtxPopCurrent_v2(process, call, pctx);
}
