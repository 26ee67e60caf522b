/* Work of a whole context, green or not: its events, and streams for green contexts. All work is done when the call
 * that asks for it returns. */
#include "cuda/event.h"
#include "cuda/stream.h"

struct search {
    CUcontext context;
    CUgreenCtx green; /* NULL: all streams of the context */
    int capturing;
};

static void look(struct vgpu_object *object, void *data) {
    struct search *search = data;
    struct vgpu_stream *stream = (struct vgpu_stream *)object;
    int meant = stream->object.context == search->context || (search->green != NULL && stream->green == search->green);
    search->capturing |= meant && stream->capture != NULL;
}

/* Contexts with a stream that is being captured refuse (doc). */
static CUresult check(struct vgpu_process *process, CUcontext context, CUgreenCtx green) {
    struct search search = {.context = context, .green = green};
    vgpu_objects_visit(process, VGPU_OBJECT_STREAM, look, &search);
    return search.capturing ? CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED : CUDA_SUCCESS;
}

CUresult vgpu_cuCtxRecordEvent(struct vgpu_process *process, struct vgpu_call *call, CUcontext hCtx, CUevent hEvent) {
    (void)call;
    CUdevice dev;
    CUresult refusal = vgpu_context_check(process, hCtx, &dev);
    if (refusal != CUDA_SUCCESS) {
        return refusal;
    }
    struct vgpu_cuda_event *event = vgpu_event_find(process, hEvent);
    if (event == NULL || event->object.context != hCtx) {
        return CUDA_ERROR_INVALID_HANDLE;
    }
    refusal = check(process, hCtx, NULL);
    if (refusal == CUDA_SUCCESS) {
        vgpu_event_record(event);
    }
    return refusal;
}

CUresult vgpu_cuCtxWaitEvent(struct vgpu_process *process, struct vgpu_call *call, CUcontext hCtx, CUevent hEvent) {
    (void)call;
    CUdevice dev;
    CUresult refusal = vgpu_context_check(process, hCtx, &dev);
    if (refusal != CUDA_SUCCESS) {
        return refusal;
    }
    return vgpu_event_find(process, hEvent) == NULL ? CUDA_ERROR_INVALID_HANDLE : check(process, hCtx, NULL);
}

/* Events of the primary context that it is a part of, and of all its parts (doc). */
static int is_of(struct vgpu_process *process, const struct vgpu_cuda_event *event, CUdevice dev) {
    CUcontext context = event->object.context;
    CUgreenCtx green = vgpu_green_of(process, context);
    CUcontext same;
    CUdevice other;
    return context == vgpu_primary_handle(dev) ||
           (green != NULL && vgpu_green_check(process, green, &same, &other) == CUDA_SUCCESS && other == dev);
}

CUresult vgpu_cuGreenCtxRecordEvent(struct vgpu_process *process, struct vgpu_call *call, CUgreenCtx hCtx,
                                    CUevent hEvent) {
    (void)call;
    CUcontext context;
    CUdevice dev;
    CUresult refusal = vgpu_green_check(process, hCtx, &context, &dev);
    if (refusal != CUDA_SUCCESS) {
        return refusal;
    }
    struct vgpu_cuda_event *event = vgpu_event_find(process, hEvent);
    if (event == NULL || !is_of(process, event, dev)) {
        return CUDA_ERROR_INVALID_HANDLE;
    }
    refusal = check(process, context, hCtx);
    if (refusal == CUDA_SUCCESS) {
        vgpu_event_record(event);
    }
    return refusal;
}

CUresult vgpu_cuGreenCtxWaitEvent(struct vgpu_process *process, struct vgpu_call *call, CUgreenCtx hCtx,
                                  CUevent hEvent) {
    (void)call;
    CUcontext context;
    CUdevice dev;
    CUresult refusal = vgpu_green_check(process, hCtx, &context, &dev);
    if (refusal != CUDA_SUCCESS) {
        return refusal;
    }
    return vgpu_event_find(process, hEvent) == NULL ? CUDA_ERROR_INVALID_HANDLE : check(process, context, hCtx);
}

/* The stream is in the primary context, and outlives its green context there (doc). */
CUresult vgpu_cuGreenCtxStreamCreate(struct vgpu_process *process, struct vgpu_call *call, CUstream *phStream,
                                     CUgreenCtx greenCtx, unsigned int flags, int priority) {
    if (phStream == NULL || flags != VGPU_STREAM_NON_BLOCKING) {
        return CUDA_ERROR_INVALID_VALUE;
    }
    CUcontext context;
    CUdevice dev;
    CUresult refusal = vgpu_green_check(process, greenCtx, &context, &dev);
    if (refusal != CUDA_SUCCESS) {
        return refusal;
    }
    refusal = vgpu_stream_new(process, vgpu_primary_handle(dev), dev, flags, priority, greenCtx, phStream);
    if (refusal == CUDA_SUCCESS) {
        vgpu_call_output(call, phStream, sizeof(*phStream));
    }
    return refusal;
}

CUresult vgpu_cuStreamGetGreenCtx(struct vgpu_process *process, struct vgpu_call *call, CUstream hStream,
                                  CUgreenCtx *phCtx) {
    if (phCtx == NULL) {
        return CUDA_ERROR_INVALID_VALUE;
    }
    struct vgpu_stream *stream;
    CUresult refusal = vgpu_stream_find(process, call, hStream, &stream);
    if (refusal == CUDA_SUCCESS) {
        *phCtx = stream->green != NULL ? stream->green : vgpu_green_of(process, stream->object.context);
    }
    return refusal;
}
