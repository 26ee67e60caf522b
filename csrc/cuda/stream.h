/* Streams, as the rest of the room uses them. All work is done when the call that asks for it returns, so a stream is
 * never busy. */
#ifndef VGPU_CUDA_STREAM_H
#define VGPU_CUDA_STREAM_H

#include "cuda/objects.h"
#include "cuda/structs_stream.h"

#define VGPU_STREAM_LEGACY ((CUstream)1)
#define VGPU_STREAM_PER_THREAD ((CUstream)2)

enum {
    VGPU_STREAM_NON_BLOCKING = 1,
    VGPU_STREAM_PRIORITY_LEAST = 0,
    VGPU_STREAM_PRIORITY_GREATEST = -5, /* cuCtxGetStreamPriorityRange on a H100 */
};

struct vgpu_capture;

struct vgpu_stream {
    struct vgpu_object object;
    struct vgpu_stream *next_default; /* of vgpu_cuda.default_streams */
    CUstream special;                 /* VGPU_STREAM_LEGACY, VGPU_STREAM_PER_THREAD, NULL: a created one */
    uint64_t thread;                  /* whose VGPU_STREAM_PER_THREAD it is */
    CUdevice device;
    CUgreenCtx green; /* NULL: of the whole device */
    int is_detached;  /* its green context has been destroyed */
    unsigned int flags;
    int priority;
    CUstreamAttrValue attributes[VGPU_LAUNCH_ATTRIBUTES];
    /* capture.c: what the stream is being captured into, NULL: nothing; and what its next node will depend on. */
    struct vgpu_capture *capture;
    CUgraphNode *dependencies;
    size_t dependency_count;
};

/* The stream that a handle stands for: CUDA_SUCCESS, 3, 400, 201. */
CUresult vgpu_stream_find(struct vgpu_process *process, struct vgpu_call *call, CUstream handle,
                          struct vgpu_stream **stream);

/* The same for what is put into it, or waits for it: 906 for a stream 0 that would wait for captured work. */
CUresult vgpu_stream_use(struct vgpu_process *process, struct vgpu_call *call, CUstream handle,
                         struct vgpu_stream **stream);

/* That alone, for what is done in the stream 0 of the current context without naming it. */
CUresult vgpu_stream_now(struct vgpu_process *process, const struct vgpu_call *call);

/* The same for work, which needs a current context as well. */
CUresult vgpu_stream_for_work(struct vgpu_process *process, struct vgpu_call *call, CUstream handle,
                              struct vgpu_stream **stream);

/* A new one in a context. */
CUresult vgpu_stream_new(struct vgpu_process *process, CUcontext context, CUdevice device, unsigned int flags,
                         int priority, CUgreenCtx green, CUstream *handle);

/* The green context is being destroyed: its streams stay for cuStreamDestroy alone, and their captures are spoiled. */
void vgpu_streams_detach(struct vgpu_process *process, CUgreenCtx green, CUcontext context);

uint64_t vgpu_stream_id(const struct vgpu_stream *stream);

#endif
