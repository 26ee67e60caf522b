/* Events, as the rest of the room uses them. */
#ifndef VGPU_CUDA_EVENT_H
#define VGPU_CUDA_EVENT_H

#include "cuda/objects.h"

enum {
    VGPU_EVENT_BLOCKING_SYNC = 1,
    VGPU_EVENT_DISABLE_TIMING = 2,
    VGPU_EVENT_INTERPROCESS = 4,
    VGPU_EVENT_EXTERNAL = 1, /* of a record or a wait: a node of the graph that is being captured */
};

struct vgpu_cuda_event {
    struct vgpu_object object;
    unsigned int flags;
    int recorded;
    uint64_t time_ns; /* CLOCK_MONOTONIC, when it was recorded last */
    /* capture.c: recorded in a capture last; its nodes then. 0: not. */
    uint64_t capture;
    CUgraphNode *nodes;
    size_t node_count;
};

/* The living event, or NULL. */
struct vgpu_cuda_event *vgpu_event_find(struct vgpu_process *process, CUevent handle);

CUresult vgpu_event_new(struct vgpu_process *process, struct vgpu_call *call, CUcontext context, unsigned int flags,
                        CUevent *handle);

/* It happens now: all work before it is done. */
void vgpu_event_record(struct vgpu_cuda_event *event);

#endif
