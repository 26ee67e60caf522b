/* What the nodes of a graph are to do: checked where it is given, and kept. What pointers of the parameters lead to is
 * copied, so that the caller's arrays may go (doc). */
#include <stdlib.h>
#include <string.h>

#include "cuda/event.h"
#include "cuda/function.h"
#include "cuda/graph.h"

enum {
    BATCH_MAX = 256,    /* operations of one cuStreamBatchMemOp (doc) */
    BODIES_MAX = 65536, /* of a switch (own choice, as cuda.h has no limit): each is a graph that takes memory */
};

static CUresult check_kernel(struct vgpu_process *process, const CUDA_KERNEL_NODE_PARAMS *params) {
    struct vgpu_function *function =
        params->func != NULL ? vgpu_function_find(process, params->func) : vgpu_kernel_find(process, params->kern);
    if (function == NULL) {
        return CUDA_ERROR_INVALID_VALUE;
    }
    unsigned int grid[3] = {params->gridDimX, params->gridDimY, params->gridDimZ};
    unsigned int block[3] = {params->blockDimX, params->blockDimY, params->blockDimZ};
    return vgpu_launch_check(process, function, grid, block, params->sharedMemBytes);
}

static int is_memset(const CUDA_MEMSET_NODE_PARAMS *params) {
    unsigned int size = params->elementSize;
    return (size == 1 || size == 2 || size == 4) && params->width > 0 && params->height > 0 &&
           params->dst % size == 0 && (params->height == 1 || params->pitch >= params->width * size);
}

static int is_copy(const CUDA_MEMCPY3D *params) {
    int types[] = {params->srcMemoryType, params->dstMemoryType};
    for (size_t i = 0; i < 2; i++) {
        if (types[i] < VGPU_MEMORY_HOST || types[i] > VGPU_MEMORY_UNIFIED) {
            return 0;
        }
    }
    return params->WidthInBytes > 0 && params->Height > 0 && params->Depth > 0;
}

static int is_batch(const CUDA_BATCH_MEM_OP_NODE_PARAMS *params) {
    return params->count > 0 && params->count <= BATCH_MAX && params->paramArray != NULL && params->flags == 0;
}

int vgpu_graph_has_memory(const struct vgpu_graph *graph) {
    for (size_t i = 0; i < graph->count; i++) {
        if (graph->nodes[i]->params.type == VGPU_NODE_MEM_ALLOC || graph->nodes[i]->params.type == VGPU_NODE_MEM_FREE) {
            return 1;
        }
        for (size_t j = 0; j < graph->nodes[i]->child_count; j++) {
            if (vgpu_graph_has_memory(graph->nodes[i]->children[j])) {
                return 1;
            }
        }
    }
    return 0;
}

/* Is `other` this graph, or somewhere in it? */
static int is_in(const struct vgpu_graph *other, const struct vgpu_graph *graph) {
    int found = other == graph;
    for (size_t i = 0; i < graph->count && !found; i++) {
        for (size_t j = 0; j < graph->nodes[i]->child_count && !found; j++) {
            found = is_in(other, graph->nodes[i]->children[j]);
        }
    }
    return found;
}

/* No graph can have itself in it. */
static CUresult check_child(struct vgpu_process *process, const struct vgpu_graph *graph, CUgraph handle) {
    const struct vgpu_graph *child = vgpu_graph_find(process, handle);
    if (child == NULL || is_in(graph, child)) {
        return CUDA_ERROR_INVALID_VALUE;
    }
    return vgpu_graph_has_memory(child) ? CUDA_ERROR_NOT_SUPPORTED : CUDA_SUCCESS;
}

/* A handle for the conditions of this graph, which no other node has taken. */
static int is_conditional(struct vgpu_process *process, const struct vgpu_graph *graph,
                          const CUgraphNodeParams *params) {
    const struct vgpu_object *handle =
        vgpu_object_find(process, VGPU_OBJECT_CONDITIONAL, (const void *)(uintptr_t)params->conditional.handle);
    unsigned int size = params->conditional.size;
    int fits = params->conditional.type == VGPU_CONDITIONAL_IF      ? size == 1 || size == 2
               : params->conditional.type == VGPU_CONDITIONAL_WHILE ? size == 1
                                                                    : size >= 1;
    return handle != NULL && graph != NULL && fits && params->conditional.type >= VGPU_CONDITIONAL_IF &&
           params->conditional.type <= VGPU_CONDITIONAL_SWITCH;
}

static CUresult valid(int condition) {
    return condition ? CUDA_SUCCESS : CUDA_ERROR_INVALID_VALUE;
}

static CUresult check_conditional(struct vgpu_process *process, const struct vgpu_graph *graph,
                                  const CUgraphNodeParams *params) {
    CUresult refusal = valid(is_conditional(process, graph, params));
    return refusal == CUDA_SUCCESS && params->conditional.size > BODIES_MAX ? CUDA_ERROR_OUT_OF_MEMORY : refusal;
}

CUresult vgpu_params_check(struct vgpu_process *process, const struct vgpu_graph *graph,
                           const CUgraphNodeParams *params) {
    switch (params->type) {
    case VGPU_NODE_KERNEL:
        return check_kernel(process, &params->kernel);
    case VGPU_NODE_MEMCPY:
        return valid(is_copy(&params->memcpy.of));
    case VGPU_NODE_MEMSET:
        return valid(is_memset(&params->memset.of));
    case VGPU_NODE_HOST:
        return valid(params->host.of.fn != NULL);
    case VGPU_NODE_GRAPH:
        return check_child(process, graph, params->graph.graph);
    case VGPU_NODE_EMPTY:
        return CUDA_SUCCESS;
    case VGPU_NODE_WAIT_EVENT:
    case VGPU_NODE_EVENT_RECORD:
        return valid(vgpu_event_find(process, params->event.event) != NULL);
    case VGPU_NODE_SEMAPHORES_SIGNAL:
        return valid(params->extSemSignal.of.numExtSems > 0 && params->extSemSignal.of.extSemArray != NULL &&
                     params->extSemSignal.of.paramsArray != NULL);
    case VGPU_NODE_SEMAPHORES_WAIT:
        return valid(params->extSemWait.of.numExtSems > 0 && params->extSemWait.of.extSemArray != NULL &&
                     params->extSemWait.of.paramsArray != NULL);
    case VGPU_NODE_MEM_ALLOC:
        return valid(params->alloc.bytesize > 0);
    case VGPU_NODE_MEM_FREE:
        return valid(params->free.dptr != 0);
    case VGPU_NODE_BATCH_MEM_OP:
        return valid(is_batch(&params->memOp));
    case VGPU_NODE_CONDITIONAL:
        return check_conditional(process, graph, params);
    default:
        return CUDA_ERROR_INVALID_VALUE;
    }
}

/* A copy that the node owns; NULL: no memory. */
static void *keep(struct vgpu_node *node, size_t slot, const void *from, size_t size) {
    void *copy = malloc(size);
    if (copy != NULL) {
        memcpy(copy, from, size);
    }
    node->owned[slot] = copy;
    return copy;
}

static CUresult put_batch(struct vgpu_node *node) {
    CUDA_BATCH_MEM_OP_NODE_PARAMS *params = &node->params.memOp;
    params->paramArray = keep(node, 0, params->paramArray, params->count * sizeof(*params->paramArray));
    return params->paramArray != NULL ? CUDA_SUCCESS : CUDA_ERROR_OUT_OF_MEMORY;
}

/* The parameters of a semaphore's signal and of a wait are 144 bytes each. */
static CUresult put_semaphores(struct vgpu_node *node) {
    enum { SEMAPHORE_PARAMS_SIZE = 144 };
    CUDA_EXT_SEM_SIGNAL_NODE_PARAMS *params = &node->params.extSemSignal.of;
    params->extSemArray = keep(node, 0, params->extSemArray, params->numExtSems * sizeof(*params->extSemArray));
    params->paramsArray = keep(node, 1, params->paramsArray, (size_t)params->numExtSems * SEMAPHORE_PARAMS_SIZE);
    return params->extSemArray != NULL && params->paramsArray != NULL ? CUDA_SUCCESS : CUDA_ERROR_OUT_OF_MEMORY;
}

/* Values of kernel parameters are copied where the code says how large they are; else the caller's array stays in use,
 * which nobody reads here. */
static CUresult put_kernel(struct vgpu_process *process, struct vgpu_node *node) {
    CUDA_KERNEL_NODE_PARAMS *params = &node->params.kernel;
    const struct vgpu_function *function =
        params->func != NULL ? vgpu_function_find(process, params->func) : vgpu_kernel_find(process, params->kern);
    size_t count = function != NULL && params->kernelParams != NULL ? vgpu_function_parameters(function) : 0;
    if (count == 0) {
        return CUDA_SUCCESS;
    }
    size_t size = 0;
    for (size_t i = 0; i < count; i++) { /* the code need not have them in order */
        size_t end = (size_t)function->facts->parameters[i].offset + function->facts->parameters[i].size;
        size = end > size ? end : size;
    }
    void **pointers = calloc(count, sizeof(void *));
    char *values = calloc(1, size);
    node->owned[0] = pointers;
    node->owned[1] = values;
    if (pointers == NULL || values == NULL) {
        return CUDA_ERROR_OUT_OF_MEMORY;
    }
    for (size_t i = 0; i < count; i++) {
        const struct vgpu_parameter *parameter = &function->facts->parameters[i];
        pointers[i] = values + parameter->offset;
        memcpy(pointers[i], params->kernelParams[i], parameter->size);
    }
    params->kernelParams = pointers;
    return CUDA_SUCCESS;
}

static CUresult put_children(struct vgpu_process *process, struct vgpu_node *node, size_t count,
                             const struct vgpu_graph *const *from) {
    node->children = calloc(count, sizeof(struct vgpu_graph *));
    if (node->children == NULL) {
        return CUDA_ERROR_OUT_OF_MEMORY;
    }
    for (size_t i = 0; i < count; i++) {
        node->children[i] = from != NULL ? vgpu_graph_copy(process, from[i]) : vgpu_graph_new(process);
        if (node->children[i] == NULL) {
            return CUDA_ERROR_OUT_OF_MEMORY;
        }
        node->children[i]->object.is_part = 1;
        node->child_count++;
    }
    return CUDA_SUCCESS;
}

static CUresult put_child(struct vgpu_process *process, struct vgpu_node *node) {
    const struct vgpu_graph *child = vgpu_graph_find(process, node->params.graph.graph);
    CUresult result = put_children(process, node, 1, &child);
    node->params.graph.graph = result == CUDA_SUCCESS ? vgpu_object_handle(&node->children[0]->object) : NULL;
    return result;
}

/* The bodies are new and empty, or copies of the bodies of the node that this is a copy of. */
static CUresult put_conditional(struct vgpu_process *process, struct vgpu_node *node) {
    size_t count = node->params.conditional.size;
    const struct vgpu_node *from = vgpu_node_find(process, (CUgraphNode)(uintptr_t)node->origin);
    CUresult result =
        put_children(process, node, count, from != NULL ? (const struct vgpu_graph *const *)from->children : NULL);
    CUgraph *bodies = calloc(count, sizeof(CUgraph));
    node->owned[0] = bodies;
    for (size_t i = 0; i < node->child_count && bodies != NULL; i++) {
        bodies[i] = vgpu_object_handle(&node->children[i]->object);
    }
    node->params.conditional.phGraph_out = bodies;
    return bodies == NULL ? CUDA_ERROR_OUT_OF_MEMORY : result;
}

/* The memory is there from the node's making until its end, not only between two nodes of a launch (own choice). A copy
 * of the node is for the same memory. */
static CUresult put_memory(struct vgpu_process *process, struct vgpu_node *node) {
    if (node->origin != 0) {
        return CUDA_SUCCESS;
    }
    struct vgpu_call call = {.process = process};
    CUdeviceptr address;
    CUresult result = vgpu_cuMemAlloc_v2(process, &call, &address, node->params.alloc.bytesize);
    node->params.alloc.dptr = result == CUDA_SUCCESS ? address : 0;
    if (result == CUDA_SUCCESS) {
        vgpu_graph_memory_begin(process, node);
    }
    return result;
}

CUresult vgpu_params_put(struct vgpu_process *process, struct vgpu_node *node, const CUgraphNodeParams *params) {
    node->params = *params;
    switch (params->type) {
    case VGPU_NODE_KERNEL:
        return put_kernel(process, node);
    case VGPU_NODE_GRAPH:
        return put_child(process, node);
    case VGPU_NODE_SEMAPHORES_SIGNAL:
    case VGPU_NODE_SEMAPHORES_WAIT:
        return put_semaphores(node);
    case VGPU_NODE_MEM_ALLOC:
        return put_memory(process, node);
    case VGPU_NODE_BATCH_MEM_OP:
        return put_batch(node);
    case VGPU_NODE_CONDITIONAL:
        return put_conditional(process, node);
    default:
        return CUDA_SUCCESS;
    }
}

void vgpu_params_end(struct vgpu_process *process, struct vgpu_node *node) {
    if (node->params.type == VGPU_NODE_MEM_ALLOC && node->origin == 0) {
        vgpu_graph_memory_end(process, node);
    }
    for (size_t i = 0; i < node->child_count; i++) {
        vgpu_object_drop(process, &node->children[i]->object);
    }
    free(node->children);
    for (size_t i = 0; i < 2; i++) {
        free(node->owned[i]);
        node->owned[i] = NULL;
    }
    node->children = NULL;
    node->child_count = 0;
}
