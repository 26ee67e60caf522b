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
    CUresult refusal = vgpu_launch_check(process, function, grid, block, params->sharedMemBytes);
    return refusal == CUDA_SUCCESS && !vgpu_launch_has_parameters(function, params) ? CUDA_ERROR_INVALID_VALUE
                                                                                    : refusal;
}

static int is_memset(const CUDA_MEMSET_NODE_PARAMS *params) {
    unsigned int size = params->elementSize;
    size_t row;
    return (size == 1 || size == 2 || size == 4) && params->width > 0 && params->height > 0 &&
           params->dst % size == 0 && !__builtin_mul_overflow(params->width, size, &row) &&
           (params->height == 1 || params->pitch >= row);
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

/* It, or a graph in it. */
static int has_type(const struct vgpu_graph *graph, int type) {
    for (size_t i = 0; i < graph->count; i++) {
        if (graph->nodes[i]->params.type == type) {
            return 1;
        }
        for (size_t j = 0; j < graph->nodes[i]->child_count; j++) {
            if (has_type(graph->nodes[i]->children[j], type)) {
                return 1;
            }
        }
    }
    return 0;
}

int vgpu_graph_has_memory(const struct vgpu_graph *graph) {
    return has_type(graph, VGPU_NODE_MEM_ALLOC) || has_type(graph, VGPU_NODE_MEM_FREE);
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

/* No graph can have itself in it. One that is moved keeps its memory; one that is copied must have none, nor conditions
 * (cuda.h 13.5, cuGraphAddChildGraphNode), else the code is what NVIDIA's library answers (NVIDIA/cccl, pull request
 * 8308). */
static CUresult check_child(struct vgpu_process *process, const struct vgpu_graph *graph,
                            const CUgraphNodeParams *params) {
    const struct vgpu_graph *child = vgpu_graph_find(process, params->graph.graph);
    int ownership = params->graph.ownership;
    int moves = ownership == VGPU_OWNERSHIP_MOVE;
    if (child == NULL || is_in(graph, child) || ownership > VGPU_OWNERSHIP_MOVE ||
        (moves && (child->object.is_part || child->captures > 0))) {
        return CUDA_ERROR_INVALID_VALUE;
    }
    if (ownership == VGPU_OWNERSHIP_UNSAID) { /* of a node that is there, for its copy in an executable graph */
        return CUDA_SUCCESS;
    }
    if (child->is_moved) {
        return CUDA_ERROR_INVALID_VALUE;
    }
    return !moves && (vgpu_graph_has_memory(child) || has_type(child, VGPU_NODE_CONDITIONAL)) ? CUDA_ERROR_NOT_SUPPORTED
                                                                                              : CUDA_SUCCESS;
}

/* A handle for the conditions of this graph, which no other node has taken. */
static int is_conditional(struct vgpu_process *process, const struct vgpu_graph *graph,
                          const CUgraphNodeParams *params) {
    unsigned int size = params->conditional.size;
    int fits = params->conditional.type == VGPU_CONDITIONAL_IF      ? size == 1 || size == 2
               : params->conditional.type == VGPU_CONDITIONAL_WHILE ? size == 1
                                                                    : size >= 1;
    return vgpu_conditional_is_free(process, params->conditional.handle, graph) && fits &&
           params->conditional.type >= VGPU_CONDITIONAL_IF && params->conditional.type <= VGPU_CONDITIONAL_SWITCH;
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
        return check_child(process, graph, params);
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
        return vgpu_graph_memory_check(process, graph, &params->alloc);
    case VGPU_NODE_MEM_FREE:
        return vgpu_graph_memory_check_free(process, graph, params->free.dptr);
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

/* Who asks is not told to whom the graph belongs, so that nobody moves it a second time (cuda.h 13.5,
 * CU_GRAPH_CHILD_GRAPH_OWNERSHIP_INVALID). */
static CUresult put_child(struct vgpu_process *process, struct vgpu_node *node) {
    struct vgpu_graph *child = vgpu_graph_find(process, node->params.graph.graph);
    int moves = node->params.graph.ownership == VGPU_OWNERSHIP_MOVE;
    node->params.graph.ownership = VGPU_OWNERSHIP_UNSAID;
    if (moves) {
        node->children = calloc(1, sizeof(struct vgpu_graph *));
        if (node->children == NULL) {
            return CUDA_ERROR_OUT_OF_MEMORY;
        }
        node->children[0] = child;
        node->child_count = 1;
        child->is_moved = 1;
        child->object.is_part = 1;
        return CUDA_SUCCESS;
    }
    const struct vgpu_graph *from = child;
    CUresult result = put_children(process, node, 1, &from);
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

static CUresult put_allocation(struct vgpu_process *process, struct vgpu_node *node) {
    CUDA_MEM_ALLOC_NODE_PARAMS *params = &node->params.alloc;
    if (params->accessDescCount > 0) {
        params->accessDescs =
            keep(node, 0, params->accessDescs, params->accessDescCount * sizeof(*params->accessDescs));
        if (params->accessDescs == NULL) {
            return CUDA_ERROR_OUT_OF_MEMORY;
        }
    }
    return vgpu_graph_memory_put(process, node);
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
        return put_allocation(process, node);
    case VGPU_NODE_MEM_FREE:
        return vgpu_graph_memory_put(process, node);
    case VGPU_NODE_BATCH_MEM_OP:
        return put_batch(node);
    case VGPU_NODE_CONDITIONAL:
        return put_conditional(process, node);
    default:
        return CUDA_SUCCESS;
    }
}

void vgpu_params_end(struct vgpu_process *process, struct vgpu_node *node) {
    vgpu_graph_memory_end(process, node);
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
