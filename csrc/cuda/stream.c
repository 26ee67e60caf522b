/* Streams: which there are, and what they are asked. Work is done when the call that asks for it returns (own choice:
 * there is nothing here that could work beside the program), so each stream is always idle. */
#include "cuda/capture.h"

#include <stdlib.h>

CUresult vgpu_cuda_tried(struct vgpu_process *process) {
    CUresult refusal = vgpu_cuda_ready(process);
    return process->cuda->init_failed ? CUDA_SUCCESS : refusal;
}

static void end_stream(struct vgpu_process *process, struct vgpu_object *object) {
    struct vgpu_stream *stream = (struct vgpu_stream *)object;
    struct vgpu_stream **link = &process->cuda->default_streams;
    while (*link != NULL && *link != stream) {
        link = &(*link)->next_default;
    }
    if (*link != NULL) {
        *link = stream->next_default;
    }
    vgpu_capture_abandon(process, stream);
    free(stream);
}

static struct vgpu_stream *make(struct vgpu_process *process, CUcontext context, CUdevice device) {
    struct vgpu_stream *stream = calloc(1, sizeof(*stream));
    if (stream == NULL) {
        return NULL;
    }
    stream->object = (struct vgpu_object){.kind = VGPU_OBJECT_STREAM, .context = context, .end = end_stream};
    stream->device = device;
    if (!vgpu_object_add(process, &stream->object)) {
        free(stream);
        return NULL;
    }
    return stream;
}

/* The stream 0 of the current context: one for all threads, or the calling thread's own. */
static CUresult find_default(struct vgpu_process *process, CUstream special, struct vgpu_stream **stream) {
    CUcontext context;
    CUdevice device;
    CUresult refusal = vgpu_cuda_ready(process);
    refusal = refusal == CUDA_SUCCESS ? vgpu_context_current(process, &context, &device) : refusal;
    if (refusal != CUDA_SUCCESS) {
        return refusal;
    }
    uint64_t thread = special == VGPU_STREAM_PER_THREAD ? vgpu_thread_number() : 0;
    for (struct vgpu_stream *at = process->cuda->default_streams; at != NULL; at = at->next_default) {
        if (at->object.context == context && at->special == special && at->thread == thread) {
            *stream = at;
            return CUDA_SUCCESS;
        }
    }
    *stream = make(process, context, device);
    if (*stream == NULL) {
        return CUDA_ERROR_OUT_OF_MEMORY;
    }
    (*stream)->special = special;
    (*stream)->thread = thread;
    (*stream)->next_default = process->cuda->default_streams;
    process->cuda->default_streams = *stream;
    return CUDA_SUCCESS;
}

/* Before any cuInit NVIDIA's library answers 3 for each handle; after a failed one 3 for the stream 0, and 400 for a
 * handle (measured on 535.261.03). */
CUresult vgpu_stream_find(struct vgpu_process *process, struct vgpu_call *call, CUstream handle,
                          struct vgpu_stream **stream) {
    CUresult refusal = vgpu_cuda_tried(process);
    if (refusal != CUDA_SUCCESS) {
        return refusal;
    }
    if (handle == NULL) {
        return find_default(process, call->per_thread ? VGPU_STREAM_PER_THREAD : VGPU_STREAM_LEGACY, stream);
    }
    if (handle == VGPU_STREAM_LEGACY || handle == VGPU_STREAM_PER_THREAD) {
        return find_default(process, handle, stream);
    }
    *stream = vgpu_object_find(process, VGPU_OBJECT_STREAM, handle);
    if (*stream == NULL) {
        return CUDA_ERROR_INVALID_HANDLE;
    }
    return (*stream)->is_detached ? CUDA_ERROR_STREAM_DETACHED : CUDA_SUCCESS;
}

CUresult vgpu_stream_use(struct vgpu_process *process, struct vgpu_call *call, CUstream handle,
                         struct vgpu_stream **stream) {
    CUresult refusal = vgpu_stream_find(process, call, handle, stream);
    return refusal == CUDA_SUCCESS && (*stream)->special == VGPU_STREAM_LEGACY
               ? vgpu_capture_implicit(process, (*stream)->object.context)
               : refusal;
}

CUresult vgpu_stream_for_work(struct vgpu_process *process, struct vgpu_call *call, CUstream handle,
                              struct vgpu_stream **stream) {
    CUcontext context;
    CUdevice device;
    CUresult refusal = vgpu_stream_use(process, call, handle, stream);
    return refusal == CUDA_SUCCESS ? vgpu_context_current(process, &context, &device) : refusal;
}

CUresult vgpu_stream_now(struct vgpu_process *process, const struct vgpu_call *call) {
    return call->per_thread ? CUDA_SUCCESS : vgpu_capture_implicit(process, vgpu_stack_top(process->cuda));
}

CUresult vgpu_stream_check(struct vgpu_process *process, struct vgpu_call *call, CUstream stream) {
    struct vgpu_stream *found;
    CUresult refusal = vgpu_stream_for_work(process, call, stream, &found);
    return refusal == CUDA_SUCCESS ? vgpu_capture_refuse(process, found) : refusal;
}

struct detached {
    struct vgpu_process *process;
    CUgreenCtx green;
    CUcontext context;
};

static void detach(struct vgpu_object *object, void *data) {
    const struct detached *detached = data;
    struct vgpu_stream *stream = (struct vgpu_stream *)object;
    int is_its = stream->green == detached->green || object->context == detached->context;
    if (is_its && stream->special == NULL) {
        vgpu_capture_refuse(detached->process, stream);
        stream->is_detached = 1;
        object->context = NULL;
    }
}

void vgpu_streams_detach(struct vgpu_process *process, CUgreenCtx green, CUcontext context) {
    struct detached detached = {process, green, context};
    vgpu_objects_visit(process, VGPU_OBJECT_STREAM, detach, &detached);
}

uint64_t vgpu_stream_id(const struct vgpu_stream *stream) {
    return (stream->object.handle & 0xfffffffffull) / 16;
}

CUresult vgpu_stream_new(struct vgpu_process *process, CUcontext context, CUdevice device, unsigned int flags,
                         int priority, CUgreenCtx green, CUstream *handle) {
    struct vgpu_stream *stream = make(process, context, device);
    if (stream == NULL) {
        return CUDA_ERROR_OUT_OF_MEMORY;
    }
    stream->flags = flags;
    stream->green = green;
    /* A priority outside of the range is the nearest one in it (doc). */
    stream->priority = priority > VGPU_STREAM_PRIORITY_LEAST      ? VGPU_STREAM_PRIORITY_LEAST
                       : priority < VGPU_STREAM_PRIORITY_GREATEST ? VGPU_STREAM_PRIORITY_GREATEST
                                                                  : priority;
    *handle = vgpu_object_handle(&stream->object);
    return CUDA_SUCCESS;
}

CUresult vgpu_cuStreamCreateWithPriority(struct vgpu_process *process, struct vgpu_call *call, CUstream *phStream,
                                         unsigned int flags, int priority) {
    if (phStream == NULL || (flags & ~(unsigned int)VGPU_STREAM_NON_BLOCKING) != 0) {
        return CUDA_ERROR_INVALID_VALUE;
    }
    CUcontext context;
    CUdevice device;
    CUresult refusal = vgpu_cuda_ready(process);
    refusal = refusal == CUDA_SUCCESS ? vgpu_context_current(process, &context, &device) : refusal;
    refusal =
        refusal == CUDA_SUCCESS ? vgpu_stream_new(process, context, device, flags, priority, NULL, phStream) : refusal;
    if (refusal == CUDA_SUCCESS) {
        vgpu_call_output(call, phStream, sizeof(*phStream));
    }
    return refusal;
}

CUresult vgpu_cuStreamCreate(struct vgpu_process *process, struct vgpu_call *call, CUstream *phStream,
                             unsigned int Flags) {
    return vgpu_cuStreamCreateWithPriority(process, call, phStream, Flags, VGPU_STREAM_PRIORITY_LEAST);
}

/* The default streams are nobody's to destroy (measured on 535.261.03 for NULL: 400 in any state). */
CUresult vgpu_cuStreamDestroy_v2(struct vgpu_process *process, struct vgpu_call *call, CUstream hStream) {
    if (hStream == NULL || hStream == VGPU_STREAM_LEGACY || hStream == VGPU_STREAM_PER_THREAD) {
        return CUDA_ERROR_INVALID_HANDLE;
    }
    struct vgpu_stream *stream = NULL;
    CUresult refusal = vgpu_stream_find(process, call, hStream, &stream);
    if (stream == NULL || (refusal != CUDA_SUCCESS && refusal != CUDA_ERROR_STREAM_DETACHED)) {
        return refusal;
    }
    vgpu_object_drop(process, &stream->object);
    return CUDA_SUCCESS;
}

CUresult vgpu_cuStreamDestroy(struct vgpu_process *process, struct vgpu_call *call, CUstream hStream) {
    return vgpu_cuStreamDestroy_v2(process, call, hStream);
}

CUresult vgpu_cuStreamQuery(struct vgpu_process *process, struct vgpu_call *call, CUstream hStream) {
    struct vgpu_stream *stream;
    CUresult refusal = vgpu_stream_use(process, call, hStream, &stream);
    return refusal == CUDA_SUCCESS ? vgpu_capture_refuse(process, stream) : refusal;
}

CUresult vgpu_cuStreamSynchronize(struct vgpu_process *process, struct vgpu_call *call, CUstream hStream) {
    return vgpu_cuStreamQuery(process, call, hStream);
}

CUresult vgpu_cuStreamGetPriority(struct vgpu_process *process, struct vgpu_call *call, CUstream hStream,
                                  int *priority) {
    struct vgpu_stream *stream;
    CUresult refusal = priority == NULL ? CUDA_ERROR_INVALID_VALUE : vgpu_stream_find(process, call, hStream, &stream);
    if (refusal == CUDA_SUCCESS) {
        *priority = stream->priority;
        vgpu_call_output(call, priority, sizeof(*priority));
    }
    return refusal;
}

CUresult vgpu_cuStreamGetFlags(struct vgpu_process *process, struct vgpu_call *call, CUstream hStream,
                               unsigned int *flags) {
    struct vgpu_stream *stream;
    CUresult refusal = flags == NULL ? CUDA_ERROR_INVALID_VALUE : vgpu_stream_find(process, call, hStream, &stream);
    if (refusal == CUDA_SUCCESS) {
        *flags = stream->flags;
        vgpu_call_output(call, flags, sizeof(*flags));
    }
    return refusal;
}

CUresult vgpu_cuStreamGetId(struct vgpu_process *process, struct vgpu_call *call, CUstream hStream,
                            unsigned long long *streamId) {
    struct vgpu_stream *stream;
    CUresult refusal = streamId == NULL ? CUDA_ERROR_INVALID_VALUE : vgpu_stream_find(process, call, hStream, &stream);
    if (refusal == CUDA_SUCCESS) {
        *streamId = vgpu_stream_id(stream);
        vgpu_call_output(call, streamId, sizeof(*streamId));
    }
    return refusal;
}

CUresult vgpu_cuStreamGetDevice(struct vgpu_process *process, struct vgpu_call *call, CUstream hStream,
                                CUdevice *device) {
    struct vgpu_stream *stream;
    CUresult refusal = device == NULL ? CUDA_ERROR_INVALID_VALUE : vgpu_stream_find(process, call, hStream, &stream);
    if (refusal == CUDA_SUCCESS) {
        *device = stream->device;
        vgpu_call_output(call, device, sizeof(*device));
    }
    return refusal;
}

CUresult vgpu_cuStreamGetCtx_v2(struct vgpu_process *process, struct vgpu_call *call, CUstream hStream, CUcontext *pCtx,
                                CUgreenCtx *pGreenCtx) {
    struct vgpu_stream *stream;
    CUresult refusal = pCtx == NULL || pGreenCtx == NULL ? CUDA_ERROR_INVALID_VALUE
                                                         : vgpu_stream_find(process, call, hStream, &stream);
    if (refusal == CUDA_SUCCESS) {
        *pCtx = stream->object.context;
        *pGreenCtx = stream->green;
        vgpu_call_output(call, pCtx, sizeof(*pCtx));
    }
    return refusal;
}

CUresult vgpu_cuStreamGetCtx(struct vgpu_process *process, struct vgpu_call *call, CUstream hStream, CUcontext *pctx) {
    CUgreenCtx green;
    return vgpu_cuStreamGetCtx_v2(process, call, hStream, pctx, &green);
}
