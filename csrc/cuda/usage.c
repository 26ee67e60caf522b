/* What a context is known by, and how many use it. */
#include "cuda/model.h"

CUresult vgpu_cuCtxGetApiVersion(struct vgpu_process *process, struct vgpu_call *call, CUcontext ctx,
                                 unsigned int *version) {
    if (version == NULL) {
        return CUDA_ERROR_INVALID_VALUE;
    }
    struct vgpu_settings *settings;
    CUdevice dev;
    CUresult refusal = vgpu_context_settings(process, ctx, &settings, &dev);
    if (refusal == CUDA_SUCCESS) {
        *version = settings->api_version;
        vgpu_call_output(call, version, sizeof(*version));
    }
    return refusal;
}

CUresult vgpu_cuCtxGetId(struct vgpu_process *process, struct vgpu_call *call, CUcontext ctx,
                         unsigned long long *ctxId) {
    if (ctxId == NULL) {
        return CUDA_ERROR_INVALID_VALUE;
    }
    CUresult refusal = vgpu_cuda_ready(process);
    if (refusal != CUDA_SUCCESS) {
        return refusal;
    }
    struct vgpu_settings *settings;
    CUdevice dev;
    refusal = vgpu_context_settings(process, ctx, &settings, &dev);
    if (refusal == CUDA_SUCCESS) {
        *ctxId = settings->id;
        vgpu_call_output(call, ctxId, sizeof(*ctxId));
    }
    return refusal;
}

CUresult vgpu_cuCtxAttach(struct vgpu_process *process, struct vgpu_call *call, CUcontext *pctx, unsigned int flags) {
    (void)call;
    if (pctx == NULL || flags != 0) {
        return CUDA_ERROR_INVALID_VALUE;
    }
    struct vgpu_settings *settings;
    CUdevice dev;
    CUresult refusal = vgpu_context_settings(process, NULL, &settings, &dev);
    if (refusal == CUDA_SUCCESS) {
        settings->uses++;
        *pctx = vgpu_stack_top(process->cuda);
    }
    return refusal;
}

/* A primary context ends with its last release, not so. */
CUresult vgpu_cuCtxDetach(struct vgpu_process *process, struct vgpu_call *call, CUcontext ctx) {
    (void)call;
    struct vgpu_settings *settings;
    CUdevice dev;
    if (ctx == NULL || ctx != vgpu_stack_top(process->cuda)) {
        return CUDA_ERROR_INVALID_CONTEXT;
    }
    CUresult refusal = vgpu_context_settings(process, ctx, &settings, &dev);
    if (refusal != CUDA_SUCCESS) {
        return refusal;
    }
    if (settings->uses == 0) {
        return CUDA_ERROR_INVALID_CONTEXT;
    }
    int last = --settings->uses == 0 && vgpu_primary_device(process->cuda, ctx) < 0;
    return last ? vgpu_context_destroy(process, ctx) : CUDA_SUCCESS;
}
