/* Launches of graphs: their nodes are done one after the other, before the call returns. */
#include <stdlib.h>

#include "cuda/capture.h"
#include "cuda/graph.h"
#include "cuda/stream_memory.h"

/* What no graph here can do: kernels do not run, semaphores of other APIs have nobody behind them, and a loop whose
 * condition nothing changes has no end. */
static int is_possible(struct vgpu_process *process, const struct vgpu_graph *graph) {
    for (size_t i = 0; i < graph->count; i++) {
        const struct vgpu_node *node = graph->nodes[i];
        int type = node->params.type;
        int impossible =
            type == VGPU_NODE_KERNEL || type == VGPU_NODE_SEMAPHORES_SIGNAL || type == VGPU_NODE_SEMAPHORES_WAIT;
        if (type == VGPU_NODE_CONDITIONAL && node->params.conditional.type == VGPU_CONDITIONAL_WHILE) {
            impossible = vgpu_conditional_value(process, node->params.conditional.handle) != 0;
        }
        if (impossible && !node->disabled) {
            return 0;
        }
        for (size_t j = 0; j < node->child_count; j++) {
            if (!is_possible(process, node->children[j])) {
                return 0;
            }
        }
    }
    return 1;
}

static int has_host_nodes(const struct vgpu_graph *graph) {
    for (size_t i = 0; i < graph->count; i++) {
        if (graph->nodes[i]->params.type == VGPU_NODE_HOST) {
            return 1;
        }
        for (size_t j = 0; j < graph->nodes[i]->child_count; j++) {
            if (has_host_nodes(graph->nodes[i]->children[j])) {
                return 1;
            }
        }
    }
    return 0;
}

/* With the node's context current: a launch needs none, copies do. */
static CUresult copy(struct vgpu_process *process, struct vgpu_call *call, const struct vgpu_node *node,
                     CUcontext context) {
    if (context != NULL && !vgpu_stack_push(process->cuda, context)) {
        return CUDA_ERROR_OUT_OF_MEMORY;
    }
    const CUDA_MEMSET_NODE_PARAMS *fill = &node->params.memset.of;
    CUresult result = CUDA_SUCCESS;
    if (node->params.type == VGPU_NODE_MEMCPY) {
        result = vgpu_copy_3d(process, call, &node->params.memcpy.of);
    } else if (node->params.type == VGPU_NODE_MEMSET) {
        size_t pitch = fill->height > 1 ? fill->pitch : fill->width * fill->elementSize;
        result =
            vgpu_fill_2d(process, call, fill->dst, pitch, fill->value, fill->elementSize, fill->width, fill->height);
    } else {
        result = vgpu_batch(process, call, node->params.memOp.count, node->params.memOp.paramArray);
    }
    if (context != NULL) {
        vgpu_stack_pop(process->cuda);
    }
    return result;
}

static CUresult run(struct vgpu_process *process, struct vgpu_call *call, const struct vgpu_graph *graph);

/* Only the body that the condition's value leads to. */
static CUresult run_conditional(struct vgpu_process *process, struct vgpu_call *call, const struct vgpu_node *node) {
    unsigned int value = vgpu_conditional_value(process, node->params.conditional.handle);
    size_t body = node->params.conditional.type == VGPU_CONDITIONAL_SWITCH ? value : value == 0;
    return body < node->child_count && (node->params.conditional.type != VGPU_CONDITIONAL_WHILE || value != 0)
               ? run(process, call, node->children[body])
               : CUDA_SUCCESS;
}

/* The program's function is called without the lock. */
static void run_host(struct vgpu_process *process, const CUDA_HOST_NODE_PARAMS *params) {
    vgpu_unlock(process);
    params->fn(params->userData);
    vgpu_lock(process);
}

static CUresult run_node(struct vgpu_process *process, struct vgpu_call *call, const struct vgpu_node *node) {
    struct vgpu_cuda_event *event;
    switch (node->params.type) {
    case VGPU_NODE_MEMCPY:
        return copy(process, call, node, node->params.memcpy.copyCtx);
    case VGPU_NODE_MEMSET:
        return copy(process, call, node, node->params.memset.ctx);
    case VGPU_NODE_BATCH_MEM_OP:
        return copy(process, call, node, node->params.memOp.ctx);
    case VGPU_NODE_HOST:
        run_host(process, &node->params.host.of);
        return CUDA_SUCCESS;
    case VGPU_NODE_GRAPH:
        return run(process, call, node->children[0]);
    case VGPU_NODE_CONDITIONAL:
        return run_conditional(process, call, node);
    case VGPU_NODE_EVENT_RECORD:
        event = vgpu_event_find(process, node->params.event.event);
        if (event != NULL) {
            vgpu_event_record(event);
        }
        return CUDA_SUCCESS;
    case VGPU_NODE_MEM_ALLOC:
        return vgpu_graph_memory_allocate(process, node->block);
    case VGPU_NODE_MEM_FREE:
        return vgpu_graph_memory_free(process, node->block);
    default: /* it is done already, or does nothing */
        return CUDA_SUCCESS;
    }
}

static CUresult run(struct vgpu_process *process, struct vgpu_call *call, const struct vgpu_graph *graph) {
    struct vgpu_node **order = vgpu_graph_in_order(graph);
    if (order == NULL && graph->count > 0) {
        return CUDA_ERROR_OUT_OF_MEMORY;
    }
    CUresult result = CUDA_SUCCESS;
    for (size_t i = 0; i < graph->count && result == CUDA_SUCCESS; i++) {
        result = order[i]->disabled ? CUDA_SUCCESS : run_node(process, call, order[i]);
    }
    free(order);
    return result;
}

struct later {
    struct vgpu_process *process;
    struct vgpu_graph *graph;
};

/* What goes wrong in a graph with host functions is told to nobody: the call has been answered by then. */
static void run_later(void *data) {
    struct later *later = data;
    struct vgpu_call call = {.process = later->process};
    vgpu_lock(later->process);
    run(later->process, &call, later->graph);
    vgpu_object_drop(later->process, &later->graph->object);
    vgpu_unlock(later->process);
    free(later);
}

static void release_all(struct vgpu_process *process, struct vgpu_graph *graph) {
    vgpu_held_release(process, graph);
    for (size_t i = 0; i < graph->count; i++) {
        for (size_t j = 0; j < graph->nodes[i]->child_count; j++) {
            release_all(process, graph->nodes[i]->children[j]);
        }
    }
}

/* A copy of the graph is run: a host function may destroy it. It holds nothing, as it ends outside of any call. */
static CUresult put_off(struct vgpu_process *process, struct vgpu_call *call, const struct vgpu_graph *graph) {
    struct later *later = malloc(sizeof(*later));
    struct vgpu_graph *own = later != NULL ? vgpu_graph_copy(process, graph) : NULL;
    if (own == NULL) {
        free(later);
        return CUDA_ERROR_OUT_OF_MEMORY;
    }
    release_all(process, own);
    *later = (struct later){process, own};
    call->then = run_later;
    call->then_data = later;
    return CUDA_SUCCESS;
}

static CUresult find(struct vgpu_process *process, struct vgpu_call *call, CUgraphExec handle, CUstream hStream,
                     struct vgpu_exec **exec, struct vgpu_stream **stream) {
    CUresult refusal = vgpu_stream_use(process, call, hStream, stream);
    *exec = refusal == CUDA_SUCCESS ? vgpu_exec_find(process, handle) : NULL;
    return refusal == CUDA_SUCCESS && *exec == NULL ? CUDA_ERROR_INVALID_VALUE : refusal;
}

/* A stream that is being captured takes the graph in as a node. */
CUresult vgpu_cuGraphLaunch(struct vgpu_process *process, struct vgpu_call *call, CUgraphExec hGraph,
                            CUstream hStream) {
    struct vgpu_exec *exec;
    struct vgpu_stream *stream;
    CUresult refusal = find(process, call, hGraph, hStream, &exec, &stream);
    if (refusal != CUDA_SUCCESS) {
        return refusal;
    }
    if (stream->capture != NULL) {
        CUgraphNodeParams params = {.type = VGPU_NODE_GRAPH};
        params.graph.graph = vgpu_object_handle(&exec->graph->object);
        return vgpu_capture_node(process, stream, &params);
    }
    if (!is_possible(process, exec->graph)) {
        return CUDA_ERROR_NOT_SUPPORTED;
    }
    refusal = vgpu_graph_memory_prepare(process, exec, 1);
    if (refusal != CUDA_SUCCESS) {
        return refusal;
    }
    return has_host_nodes(exec->graph) ? put_off(process, call, exec->graph) : run(process, call, exec->graph);
}

CUresult vgpu_cuGraphUpload(struct vgpu_process *process, struct vgpu_call *call, CUgraphExec hGraph,
                            CUstream hStream) {
    struct vgpu_exec *exec;
    struct vgpu_stream *stream;
    CUresult refusal = find(process, call, hGraph, hStream, &exec, &stream);
    refusal = refusal == CUDA_SUCCESS ? vgpu_capture_refuse(process, stream) : refusal;
    return refusal == CUDA_SUCCESS ? vgpu_graph_memory_prepare(process, exec, 0) : refusal;
}
