/* User objects that a graph holds references to, until it is destroyed. */
#include <limits.h>
#include <stdlib.h>

#include "cuda/graph.h"

enum { FLAG_MOVE = 1 }; /* CU_GRAPH_USER_OBJECT_MOVE: the caller's references become the graph's */

struct vgpu_held {
    struct vgpu_held *next;
    CUuserObject object;
    unsigned int count;
};

/* 1, or 0: no memory. The references have been taken already. */
static int hold(struct vgpu_graph *graph, CUuserObject object, unsigned int count) {
    struct vgpu_held *held = calloc(1, sizeof(*held));
    if (held != NULL) {
        *held = (struct vgpu_held){graph->held, object, count};
        graph->held = held;
    }
    return held != NULL;
}

int vgpu_held_copy(struct vgpu_process *process, struct vgpu_graph *copy, const struct vgpu_graph *graph) {
    for (const struct vgpu_held *held = graph->held; held != NULL; held = held->next) {
        if (vgpu_user_object_retain(process, held->object, held->count) && !hold(copy, held->object, held->count)) {
            return 0;
        }
    }
    return 1;
}

/* Where the state itself ends there is no call, and nobody is told. */
void vgpu_held_release(struct vgpu_process *process, struct vgpu_graph *graph) {
    struct vgpu_call *call = vgpu_call_current(process);
    while (graph->held != NULL) {
        struct vgpu_held *held = graph->held;
        graph->held = held->next;
        if (call != NULL) {
            vgpu_user_object_release(process, call, held->object, held->count);
        }
        free(held);
    }
}

CUresult vgpu_cuGraphRetainUserObject(struct vgpu_process *process, struct vgpu_call *call, CUgraph graph,
                                      CUuserObject object, unsigned int count, unsigned int flags) {
    (void)call;
    struct vgpu_graph *found = vgpu_graph_find(process, graph);
    if (found == NULL || count == 0 || count > INT_MAX || (flags & ~(unsigned int)FLAG_MOVE) != 0) {
        return CUDA_ERROR_INVALID_VALUE;
    }
    CUresult refusal = vgpu_cuda_ready(process);
    if (refusal != CUDA_SUCCESS) {
        return refusal;
    }
    /* A move takes none: but the object must be there. */
    if (!vgpu_user_object_retain(process, object, (flags & FLAG_MOVE) != 0 ? 0 : count)) {
        return CUDA_ERROR_INVALID_VALUE;
    }
    return hold(found, object, count) ? CUDA_SUCCESS : CUDA_ERROR_OUT_OF_MEMORY;
}

static unsigned int count_of(const struct vgpu_graph *graph, CUuserObject object) {
    unsigned int count = 0;
    for (const struct vgpu_held *held = graph->held; held != NULL; held = held->next) {
        count += held->object == object ? held->count : 0;
    }
    return count;
}

CUresult vgpu_cuGraphReleaseUserObject(struct vgpu_process *process, struct vgpu_call *call, CUgraph graph,
                                       CUuserObject object, unsigned int count) {
    struct vgpu_graph *found = vgpu_graph_find(process, graph);
    if (found == NULL || count == 0 || count > count_of(found, object)) {
        return CUDA_ERROR_INVALID_VALUE;
    }
    CUresult refusal = vgpu_cuda_ready(process);
    if (refusal != CUDA_SUCCESS) {
        return refusal;
    }
    unsigned int left = count;
    for (struct vgpu_held **link = &found->held; *link != NULL && left > 0;) {
        struct vgpu_held *held = *link;
        unsigned int taken = held->object != object ? 0 : held->count < left ? held->count : left;
        held->count -= taken;
        left -= taken;
        if (held->count == 0) {
            *link = held->next;
            free(held);
        } else {
            link = &held->next;
        }
    }
    vgpu_user_object_release(process, call, object, count);
    return CUDA_SUCCESS;
}
