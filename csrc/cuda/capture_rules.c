/* What captures forbid beside them: waits for captured work, and calls that no capture sees. */
#include <stdlib.h>

#include "cuda/capture.h"

/* Of a thread that has set another capture mode than the default one. */
struct thread_mode {
    struct vgpu_object object;
    uint64_t thread;
    int mode;
};

/* Streams of a context that are being captured. */
struct capturing {
    CUcontext context;
    int blocking; /* those that the stream 0 waits for, else all */
    int spoils;
    int found;
};

static void look_for_capturing(struct vgpu_object *object, void *data) {
    struct capturing *capturing = data;
    const struct vgpu_stream *stream = (const struct vgpu_stream *)object;
    int waits = (stream->flags & VGPU_STREAM_NON_BLOCKING) == 0 && stream->special == NULL;
    if (stream->capture != NULL && object->context == capturing->context && (waits || !capturing->blocking)) {
        capturing->found = 1;
        stream->capture->is_spoiled |= capturing->spoils;
    }
}

static int is_capturing(struct vgpu_process *process, CUcontext context, int blocking, int spoils) {
    struct capturing capturing = {context, blocking, spoils, 0};
    if (process->cuda->captures > 0) {
        vgpu_objects_visit(process, VGPU_OBJECT_STREAM, look_for_capturing, &capturing);
    }
    return capturing.found;
}

/* The stream 0 waits for the others, so what it is asked while one of those is captured would be part of it (doc). */
CUresult vgpu_capture_check_implicit(struct vgpu_process *process, const struct vgpu_stream *stream) {
    int implicit = stream->special == VGPU_STREAM_LEGACY && is_capturing(process, stream->object.context, 1, 0);
    return implicit ? CUDA_ERROR_STREAM_CAPTURE_IMPLICIT : CUDA_SUCCESS;
}

CUresult vgpu_capture_implicit(struct vgpu_process *process, CUcontext context) {
    return is_capturing(process, context, 1, 1) ? CUDA_ERROR_STREAM_CAPTURE_IMPLICIT : CUDA_SUCCESS;
}

CUresult vgpu_capture_refuse_all(struct vgpu_process *process, CUcontext context) {
    return is_capturing(process, context, 0, 1) ? CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED : CUDA_SUCCESS;
}

int vgpu_capture_is_mode(int mode) {
    return mode >= VGPU_CAPTURE_GLOBAL && mode <= VGPU_CAPTURE_RELAXED;
}

struct mode_search {
    uint64_t thread;
    struct thread_mode *found;
};

static void look_for_mode(struct vgpu_object *object, void *data) {
    struct mode_search *search = data;
    struct thread_mode *mode = (struct thread_mode *)object;
    search->found = mode->thread == search->thread ? mode : search->found;
}

static struct thread_mode *find_mode(struct vgpu_process *process) {
    struct mode_search search = {vgpu_thread_number(), NULL};
    vgpu_objects_visit(process, VGPU_OBJECT_THREAD, look_for_mode, &search);
    return search.found;
}

/* Captures that the calling thread must not do unsafe things beside. */
struct prohibition {
    uint64_t thread;
    int mode;
    int found;
};

static void look_for_prohibition(struct vgpu_object *object, void *data) {
    struct prohibition *prohibition = data;
    struct vgpu_capture *capture = (struct vgpu_capture *)object;
    int own = capture->thread == prohibition->thread && capture->mode != VGPU_CAPTURE_RELAXED;
    int other = capture->thread != prohibition->thread && capture->mode == VGPU_CAPTURE_GLOBAL;
    if (own || (other && prohibition->mode == VGPU_CAPTURE_GLOBAL)) {
        prohibition->found = 1;
        capture->is_spoiled = 1;
    }
}

CUresult vgpu_capture_unsafe(struct vgpu_process *process) {
    if (process->cuda->captures == 0) {
        return CUDA_SUCCESS;
    }
    const struct thread_mode *mode = find_mode(process);
    struct prohibition prohibition = {vgpu_thread_number(), mode != NULL ? mode->mode : VGPU_CAPTURE_GLOBAL, 0};
    if (prohibition.mode != VGPU_CAPTURE_RELAXED) {
        vgpu_objects_visit(process, VGPU_OBJECT_CAPTURE, look_for_prohibition, &prohibition);
    }
    return prohibition.found ? CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED : CUDA_SUCCESS;
}

/* Works after a failed cuInit, too, but not before any (measured on 535.261.03). */
CUresult vgpu_cuThreadExchangeStreamCaptureMode(struct vgpu_process *process, struct vgpu_call *call,
                                                CUstreamCaptureMode *mode) {
    CUresult refusal = vgpu_cuda_tried(process);
    if (refusal != CUDA_SUCCESS) {
        return refusal;
    }
    if (mode == NULL || !vgpu_capture_is_mode(*mode)) {
        return CUDA_ERROR_INVALID_VALUE;
    }
    struct thread_mode *kept = find_mode(process);
    if (kept == NULL && *mode != VGPU_CAPTURE_GLOBAL) {
        kept = calloc(1, sizeof(*kept));
        if (kept == NULL) {
            return CUDA_ERROR_OUT_OF_MEMORY;
        }
        kept->object = (struct vgpu_object){.kind = VGPU_OBJECT_THREAD, .end = vgpu_object_free};
        kept->thread = vgpu_thread_number();
        if (!vgpu_object_add(process, &kept->object)) {
            free(kept);
            return CUDA_ERROR_OUT_OF_MEMORY;
        }
    }
    int before = kept != NULL ? kept->mode : VGPU_CAPTURE_GLOBAL;
    if (kept != NULL) {
        kept->mode = *mode;
    }
    *mode = before;
    vgpu_call_output(call, mode, sizeof(*mode));
    return CUDA_SUCCESS;
}
