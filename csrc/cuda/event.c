/* Events. What they wait for is done when they are recorded, so a query never answers NOT_READY; the times between them
 * are those of the host's clock. */
#include "cuda/event.h"

#include <stdlib.h>
#include <time.h>

#include "cuda/capture.h"

#define KNOWN_FLAGS ((unsigned int)(VGPU_EVENT_BLOCKING_SYNC | VGPU_EVENT_DISABLE_TIMING | VGPU_EVENT_INTERPROCESS))

static void end_event(struct vgpu_process *process, struct vgpu_object *object) {
    (void)process;
    free(((struct vgpu_cuda_event *)object)->nodes);
    free(object);
}

struct vgpu_cuda_event *vgpu_event_find(struct vgpu_process *process, CUevent handle) {
    return vgpu_object_find(process, VGPU_OBJECT_EVENT, handle);
}

void vgpu_event_record(struct vgpu_cuda_event *event) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    event->time_ns = (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
    event->recorded = 1;
    event->capture = 0;
    event->node_count = 0;
}

/* An event for other processes cannot be timed (doc). */
static int are_flags(unsigned int flags) {
    return (flags & ~KNOWN_FLAGS) == 0 &&
           ((flags & VGPU_EVENT_INTERPROCESS) == 0 || (flags & VGPU_EVENT_DISABLE_TIMING) != 0);
}

CUresult vgpu_cuEventCreate(struct vgpu_process *process, struct vgpu_call *call, CUevent *phEvent,
                            unsigned int Flags) {
    if (phEvent == NULL || !are_flags(Flags)) {
        return CUDA_ERROR_INVALID_VALUE;
    }
    CUcontext context;
    CUdevice device;
    CUresult refusal = vgpu_context_current(process, &context, &device);
    return refusal == CUDA_SUCCESS ? vgpu_event_new(process, call, context, Flags, phEvent) : refusal;
}

CUresult vgpu_event_new(struct vgpu_process *process, struct vgpu_call *call, CUcontext context, unsigned int flags,
                        CUevent *handle) {
    struct vgpu_cuda_event *event = calloc(1, sizeof(*event));
    if (event == NULL) {
        return CUDA_ERROR_OUT_OF_MEMORY;
    }
    event->object = (struct vgpu_object){.kind = VGPU_OBJECT_EVENT, .context = context, .end = end_event};
    event->flags = flags;
    if (!vgpu_object_add(process, &event->object)) {
        free(event);
        return CUDA_ERROR_OUT_OF_MEMORY;
    }
    *handle = vgpu_object_handle(&event->object);
    vgpu_call_output(call, handle, sizeof(*handle));
    return CUDA_SUCCESS;
}

/* NVIDIA's library takes the context from what the handle leads to, before it asks whether it is initialised: NULL is
 * 400, and what is no event has no context, 201 (measured on 535.261.03). */
static CUresult find(struct vgpu_process *process, CUevent handle, struct vgpu_cuda_event **event) {
    if (handle == NULL) {
        return CUDA_ERROR_INVALID_HANDLE;
    }
    *event = vgpu_event_find(process, handle);
    CUcontext context;
    CUdevice device;
    if (*event == NULL) {
        CUresult refusal = vgpu_context_current(process, &context, &device);
        return refusal != CUDA_SUCCESS ? refusal : CUDA_ERROR_INVALID_HANDLE;
    }
    return vgpu_cuda_ready(process);
}

CUresult vgpu_cuEventDestroy_v2(struct vgpu_process *process, struct vgpu_call *call, CUevent hEvent) {
    (void)call;
    struct vgpu_cuda_event *event;
    CUresult refusal = find(process, hEvent, &event);
    if (refusal == CUDA_SUCCESS) {
        vgpu_object_drop(process, &event->object);
    }
    return refusal;
}

CUresult vgpu_cuEventDestroy(struct vgpu_process *process, struct vgpu_call *call, CUevent hEvent) {
    return vgpu_cuEventDestroy_v2(process, call, hEvent);
}

/* One that was never recorded stands for no work, which is done (doc). */
CUresult vgpu_cuEventQuery(struct vgpu_process *process, struct vgpu_call *call, CUevent hEvent) {
    (void)call;
    struct vgpu_cuda_event *event;
    CUresult refusal = find(process, hEvent, &event);
    if (refusal != CUDA_SUCCESS) {
        return refusal;
    }
    return event->capture != 0 ? vgpu_capture_spoil(process, event->capture, CUDA_ERROR_CAPTURED_EVENT)
                               : vgpu_capture_unsafe(process);
}

CUresult vgpu_cuEventSynchronize(struct vgpu_process *process, struct vgpu_call *call, CUevent hEvent) {
    return vgpu_cuEventQuery(process, call, hEvent);
}

static int is_timed(const struct vgpu_cuda_event *event) {
    return event->recorded && (event->flags & VGPU_EVENT_DISABLE_TIMING) == 0;
}

CUresult vgpu_cuEventElapsedTime_v2(struct vgpu_process *process, struct vgpu_call *call, float *pMilliseconds,
                                    CUevent hStart, CUevent hEnd) {
    struct vgpu_cuda_event *start;
    struct vgpu_cuda_event *end;
    CUresult refusal = find(process, hStart, &start);
    refusal = refusal == CUDA_SUCCESS ? find(process, hEnd, &end) : refusal;
    if (refusal != CUDA_SUCCESS) {
        return refusal;
    }
    if (pMilliseconds == NULL) {
        return CUDA_ERROR_INVALID_VALUE;
    }
    if (start->capture != 0 || end->capture != 0) {
        return CUDA_ERROR_CAPTURED_EVENT;
    }
    if (!is_timed(start) || !is_timed(end)) {
        return CUDA_ERROR_INVALID_HANDLE;
    }
    *pMilliseconds = (float)((double)(int64_t)(end->time_ns - start->time_ns) / 1e6);
    vgpu_call_output(call, pMilliseconds, sizeof(*pMilliseconds));
    return CUDA_SUCCESS;
}

CUresult vgpu_cuEventElapsedTime(struct vgpu_process *process, struct vgpu_call *call, float *pMilliseconds,
                                 CUevent hStart, CUevent hEnd) {
    return vgpu_cuEventElapsedTime_v2(process, call, pMilliseconds, hStart, hEnd);
}

CUresult vgpu_cuEventRecordWithFlags(struct vgpu_process *process, struct vgpu_call *call, CUevent hEvent,
                                     CUstream hStream, unsigned int flags) {
    struct vgpu_stream *stream;
    CUresult refusal = vgpu_stream_use(process, call, hStream, &stream);
    if (refusal != CUDA_SUCCESS) {
        return refusal;
    }
    struct vgpu_cuda_event *event = vgpu_event_find(process, hEvent);
    if (event == NULL || event->object.context != stream->object.context) {
        return CUDA_ERROR_INVALID_HANDLE;
    }
    int external = (flags & VGPU_EVENT_EXTERNAL) != 0;
    if ((flags & ~(unsigned int)VGPU_EVENT_EXTERNAL) != 0 || (external && stream->capture == NULL)) {
        return CUDA_ERROR_INVALID_VALUE;
    }
    if (stream->capture != NULL) {
        return vgpu_capture_record(process, stream, event, external);
    }
    vgpu_event_record(event);
    return CUDA_SUCCESS;
}

CUresult vgpu_cuEventRecord(struct vgpu_process *process, struct vgpu_call *call, CUevent hEvent, CUstream hStream) {
    return vgpu_cuEventRecordWithFlags(process, call, hEvent, hStream, 0);
}

/* Events of other contexts and devices can be waited for (doc). */
CUresult vgpu_cuStreamWaitEvent(struct vgpu_process *process, struct vgpu_call *call, CUstream hStream, CUevent hEvent,
                                unsigned int Flags) {
    struct vgpu_stream *stream;
    CUresult refusal = vgpu_stream_use(process, call, hStream, &stream);
    if (refusal != CUDA_SUCCESS) {
        return refusal;
    }
    struct vgpu_cuda_event *event = vgpu_event_find(process, hEvent);
    if (event == NULL) {
        return CUDA_ERROR_INVALID_HANDLE;
    }
    int external = (Flags & VGPU_EVENT_EXTERNAL) != 0;
    if ((Flags & ~(unsigned int)VGPU_EVENT_EXTERNAL) != 0 || (external && stream->capture == NULL)) {
        return CUDA_ERROR_INVALID_VALUE;
    }
    return vgpu_capture_wait(process, stream, event, external);
}
