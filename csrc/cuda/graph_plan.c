/* Whether the memory of a graph can be had, before any of its nodes is done: a launch does all or nothing. */
#include <stdlib.h>

#include "cuda/graph.h"

/* What a launch would come to, node by node. */
struct plan {
    int frees; /* what is there already goes, as it were, before the launch */
    uint64_t launch;
    uint64_t live[VGPU_GPUS_MAX];
    uint64_t most[VGPU_GPUS_MAX];
};

static CUresult plan_node(struct plan *plan, const struct vgpu_node *node) {
    struct vgpu_block *block = node->block;
    int is_there = block->launch == plan->launch ? block->planned : block->is_there;
    if (node->params.type == VGPU_NODE_MEM_FREE) {
        if (!is_there) {
            return CUDA_ERROR_INVALID_VALUE;
        }
        plan->live[block->device] -= block->size;
    } else if (is_there) {
        if (!plan->frees) {
            return CUDA_ERROR_INVALID_VALUE;
        }
    } else if (block->size > UINT64_MAX - plan->live[block->device]) {
        return CUDA_ERROR_OUT_OF_MEMORY;
    } else {
        plan->live[block->device] += block->size;
    }
    block->launch = plan->launch;
    block->planned = node->params.type == VGPU_NODE_MEM_ALLOC;
    if (plan->live[block->device] > plan->most[block->device]) {
        plan->most[block->device] = plan->live[block->device];
    }
    return CUDA_SUCCESS;
}

static CUresult plan_graph(struct plan *plan, const struct vgpu_graph *graph) {
    struct vgpu_node **order = vgpu_graph_in_order(graph);
    if (order == NULL && graph->count > 0) {
        return CUDA_ERROR_OUT_OF_MEMORY;
    }
    CUresult result = CUDA_SUCCESS;
    for (size_t i = 0; i < graph->count && result == CUDA_SUCCESS; i++) {
        if (order[i]->block != NULL) {
            result = plan_node(plan, order[i]);
        } else if (order[i]->params.type == VGPU_NODE_GRAPH) {
            result = plan_graph(plan, order[i]->children[0]);
        }
    }
    free(order);
    return result;
}

/* Those that another launch has left. */
static void free_all(struct vgpu_process *process, const struct vgpu_graph *graph) {
    for (size_t i = 0; i < graph->count; i++) {
        const struct vgpu_node *node = graph->nodes[i];
        if (node->params.type == VGPU_NODE_MEM_ALLOC && node->block->is_there) {
            vgpu_graph_memory_free(process, node->block);
        }
        if (node->params.type == VGPU_NODE_GRAPH) {
            free_all(process, node->children[0]);
        }
    }
}

CUresult vgpu_graph_memory_prepare(struct vgpu_process *process, struct vgpu_exec *exec, int launches) {
    struct vgpu_cuda *cuda = process->cuda;
    if (!vgpu_graph_has_memory(exec->graph)) {
        return CUDA_SUCCESS;
    }
    struct plan plan = {.frees = exec->frees, .launch = ++cuda->graph_launches};
    for (uint32_t i = 0; i < cuda->devices; i++) {
        plan.live[i] = cuda->graph_memory[i].live;
    }
    CUresult result = plan_graph(&plan, exec->graph);
    if (result == CUDA_ERROR_INVALID_VALUE && !launches) {
        return CUDA_SUCCESS;
    }
    for (uint32_t i = 0; i < cuda->devices && result == CUDA_SUCCESS; i++) {
        result = vgpu_graph_memory_reserve(cuda, (CUdevice)i, plan.most[i]) ? CUDA_SUCCESS : CUDA_ERROR_OUT_OF_MEMORY;
    }
    for (uint32_t i = 0; i < cuda->devices && result == CUDA_SUCCESS; i++) {
        vgpu_graph_memory_map(process, exec, (CUdevice)i, plan.most[i]);
    }
    if (result == CUDA_SUCCESS && exec->frees && launches) {
        free_all(process, exec->graph);
    }
    return result;
}
