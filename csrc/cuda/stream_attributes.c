/* What a stream is set to: hints for a device, kept and handed out again. */
#include <string.h>

#include "cuda/capture.h"

enum {
    ATTACH_GLOBAL = 1,
    ATTACH_HOST = 2,
    ATTACH_SINGLE = 4,
    POLICY_AUTO = 1, /* CUsynchronizationPolicy */
    POLICY_BLOCKING = 4,
};

static int is_stream_attribute(CUstreamAttrID attribute) {
    return attribute == VGPU_LAUNCH_ACCESS_POLICY_WINDOW || attribute == VGPU_LAUNCH_SYNCHRONIZATION_POLICY ||
           attribute == VGPU_LAUNCH_PRIORITY || attribute == VGPU_LAUNCH_MEM_SYNC_DOMAIN_MAP ||
           attribute == VGPU_LAUNCH_MEM_SYNC_DOMAIN;
}

CUresult vgpu_cuStreamGetAttribute(struct vgpu_process *process, struct vgpu_call *call, CUstream hStream,
                                   CUstreamAttrID attr, CUstreamAttrValue *value) {
    struct vgpu_stream *stream;
    CUresult refusal = vgpu_stream_find(process, call, hStream, &stream);
    if (refusal != CUDA_SUCCESS) {
        return refusal;
    }
    if (value == NULL || !is_stream_attribute(attr)) {
        return CUDA_ERROR_INVALID_VALUE;
    }
    *value = stream->attributes[attr];
    if (attr == VGPU_LAUNCH_PRIORITY) {
        value->priority = stream->priority;
    }
    if (attr == VGPU_LAUNCH_SYNCHRONIZATION_POLICY && value->syncPolicy == 0) {
        value->syncPolicy = POLICY_AUTO;
    }
    vgpu_call_output(call, &value->priority, sizeof(value->priority));
    return CUDA_SUCCESS;
}

static int is_value(CUstreamAttrID attr, const CUstreamAttrValue *value) {
    if (attr == VGPU_LAUNCH_SYNCHRONIZATION_POLICY) {
        return value->syncPolicy >= POLICY_AUTO && value->syncPolicy <= POLICY_BLOCKING;
    }
    if (attr == VGPU_LAUNCH_PRIORITY) {
        return value->priority <= VGPU_STREAM_PRIORITY_LEAST && value->priority >= VGPU_STREAM_PRIORITY_GREATEST;
    }
    if (attr == VGPU_LAUNCH_MEM_SYNC_DOMAIN) {
        return value->memSyncDomain == 0 || value->memSyncDomain == 1;
    }
    if (attr == VGPU_LAUNCH_ACCESS_POLICY_WINDOW) {
        float ratio = value->accessPolicyWindow.hitRatio;
        return ratio >= 0.0f && ratio <= 1.0f;
    }
    return 1;
}

CUresult vgpu_cuStreamSetAttribute(struct vgpu_process *process, struct vgpu_call *call, CUstream hStream,
                                   CUstreamAttrID attr, const CUstreamAttrValue *param) {
    struct vgpu_stream *stream;
    CUresult refusal = vgpu_stream_find(process, call, hStream, &stream);
    if (refusal != CUDA_SUCCESS) {
        return refusal;
    }
    if (param == NULL || !is_stream_attribute(attr) || !is_value(attr, param)) {
        return CUDA_ERROR_INVALID_VALUE;
    }
    stream->attributes[attr] = *param;
    if (attr == VGPU_LAUNCH_PRIORITY) {
        stream->priority = param->priority;
    }
    return CUDA_SUCCESS;
}

/* Both streams must be of one context (doc). */
CUresult vgpu_cuStreamCopyAttributes(struct vgpu_process *process, struct vgpu_call *call, CUstream dstStream,
                                     CUstream srcStream) {
    struct vgpu_stream *to;
    struct vgpu_stream *from;
    CUresult refusal = vgpu_stream_find(process, call, dstStream, &to);
    refusal = refusal == CUDA_SUCCESS ? vgpu_stream_find(process, call, srcStream, &from) : refusal;
    if (refusal != CUDA_SUCCESS) {
        return refusal;
    }
    if (to->object.context != from->object.context) {
        return CUDA_ERROR_INVALID_VALUE;
    }
    memcpy(to->attributes, from->attributes, sizeof(to->attributes));
    to->priority = from->priority;
    return CUDA_SUCCESS;
}

/* Only what the program sees itself can be attached: managed memory, as a whole (doc). Since all work is done when a
 * call returns, it makes no difference to what (own choice). */
CUresult vgpu_cuStreamAttachMemAsync(struct vgpu_process *process, struct vgpu_call *call, CUstream hStream,
                                     CUdeviceptr dptr, size_t length, unsigned int flags) {
    struct vgpu_stream *stream;
    CUresult refusal = vgpu_stream_use(process, call, hStream, &stream);
    refusal = refusal == CUDA_SUCCESS ? vgpu_capture_refuse(process, stream) : refusal;
    if (refusal != CUDA_SUCCESS) {
        return refusal;
    }
    const struct vgpu_region *region = vgpu_region_at(&process->cuda->memory, dptr);
    if (region == NULL || region->kind != VGPU_REGION_MANAGED || (length != 0 && length != region->size) ||
        region->address != dptr) {
        return CUDA_ERROR_INVALID_VALUE;
    }
    if (flags != ATTACH_GLOBAL && flags != ATTACH_HOST && flags != ATTACH_SINGLE) {
        return CUDA_ERROR_INVALID_VALUE;
    }
    return flags == ATTACH_SINGLE && stream->special != NULL ? CUDA_ERROR_INVALID_VALUE : CUDA_SUCCESS;
}
