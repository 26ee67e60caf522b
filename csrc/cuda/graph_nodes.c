/* Nodes of each type: added to a graph, asked for their parameters, given others. Those of all types at once
 * (cuGraphAddNode and its like) take the same way. */
#include <string.h>

#include "cuda/graph.h"

/* NVIDIA's library follows the handle of the graph before it asks whether it is initialised (measured on 535.261.03);
 * what is no graph is invalid. */
CUresult vgpu_node_add(struct vgpu_process *process, struct vgpu_call *call, CUgraphNode *handle, CUgraph hGraph,
                       struct vgpu_dependencies before, const CUgraphNodeParams *params) {
    struct vgpu_graph *graph = vgpu_graph_find(process, hGraph);
    if (handle == NULL || graph == NULL || params == NULL ||
        (params->type == VGPU_NODE_GRAPH && params->graph.ownership < VGPU_OWNERSHIP_CLONE)) {
        return CUDA_ERROR_INVALID_VALUE;
    }
    CUresult result = vgpu_cuda_ready(process);
    result = result == CUDA_SUCCESS ? vgpu_graph_add(process, graph, before, params, handle) : result;
    if (result == CUDA_SUCCESS) {
        vgpu_call_output(call, handle, sizeof(*handle));
    }
    return result;
}

CUresult vgpu_node_check(struct vgpu_process *process, CUgraphNode handle, int type, const void *params,
                         struct vgpu_node **node) {
    *node = vgpu_node_find(process, handle);
    if (*node == NULL || params == NULL || (*node)->params.type != type) {
        return CUDA_ERROR_INVALID_VALUE;
    }
    return vgpu_cuda_ready(process);
}

CUresult vgpu_node_set(struct vgpu_process *process, struct vgpu_node *node, const CUgraphNodeParams *params) {
    if (params->type != node->params.type || params->type == VGPU_NODE_MEM_ALLOC ||
        params->type == VGPU_NODE_MEM_FREE || params->type == VGPU_NODE_CONDITIONAL ||
        (params->type == VGPU_NODE_GRAPH && params->graph.ownership == VGPU_OWNERSHIP_MOVE)) {
        return CUDA_ERROR_INVALID_VALUE;
    }
    CUresult result = vgpu_params_check(process, node->graph, params);
    if (result != CUDA_SUCCESS) {
        return result;
    }
    /* The new ones may point to what the node itself has handed out: they are copied before that goes. */
    struct vgpu_node old = *node;
    memset(node->owned, 0, sizeof(node->owned));
    node->children = NULL;
    node->child_count = 0;
    result = vgpu_params_put(process, node, params);
    if (result == CUDA_SUCCESS) {
        vgpu_params_end(process, &old);
        return result;
    }
    vgpu_params_end(process, node);
    node->params = old.params;
    memcpy(node->owned, old.owned, sizeof(node->owned));
    node->children = old.children;
    node->child_count = old.child_count;
    return result;
}

CUresult vgpu_node_change(struct vgpu_process *process, CUgraphNode handle, const CUgraphNodeParams *params) {
    struct vgpu_node *node;
    CUresult result = vgpu_node_check(process, handle, params->type, params, &node);
    return result == CUDA_SUCCESS ? vgpu_node_set(process, node, params) : result;
}

static int put(CUgraphNodeParams *params, struct vgpu_part part, const void *from) {
    *params = (CUgraphNodeParams){.type = part.type};
    if (from != NULL) {
        memcpy((char *)params + part.offset, from, part.size);
    }
    return from != NULL;
}

CUresult vgpu_part_add(struct vgpu_process *process, struct vgpu_call *call, CUgraphNode *handle, CUgraph hGraph,
                       struct vgpu_dependencies before, struct vgpu_part part, const void *from) {
    CUgraphNodeParams params;
    return put(&params, part, from) ? vgpu_node_add(process, call, handle, hGraph, before, &params)
                                    : CUDA_ERROR_INVALID_VALUE;
}

CUresult vgpu_part_get(struct vgpu_process *process, struct vgpu_call *call, CUgraphNode handle, struct vgpu_part part,
                       void *to) {
    struct vgpu_node *node;
    CUresult result = vgpu_node_check(process, handle, part.type, to, &node);
    if (result == CUDA_SUCCESS) {
        memcpy(to, (const char *)&node->params + part.offset, part.size);
    }
    if (result == CUDA_SUCCESS && call != NULL) {
        vgpu_call_output(call, to, part.size);
    }
    return result;
}

CUresult vgpu_part_change(struct vgpu_process *process, CUgraphNode handle, struct vgpu_part part, const void *from) {
    CUgraphNodeParams params;
    return put(&params, part, from) ? vgpu_node_change(process, handle, &params) : CUDA_ERROR_INVALID_VALUE;
}

CUresult vgpu_part_set(struct vgpu_process *process, struct vgpu_node *node, struct vgpu_part part, const void *from) {
    CUgraphNodeParams params;
    return put(&params, part, from) ? vgpu_node_set(process, node, &params) : CUDA_ERROR_INVALID_VALUE;
}

CUresult vgpu_cuGraphAddHostNode(struct vgpu_process *process, struct vgpu_call *call, CUgraphNode *phGraphNode,
                                 CUgraph hGraph, const CUgraphNode *dependencies, size_t numDependencies,
                                 const CUDA_HOST_NODE_PARAMS *nodeParams) {
    return vgpu_part_add(process, call, phGraphNode, hGraph,
                         (struct vgpu_dependencies){dependencies, NULL, numDependencies},
                         VGPU_PART(VGPU_NODE_HOST, host.of), nodeParams);
}

CUresult vgpu_cuGraphHostNodeGetParams(struct vgpu_process *process, struct vgpu_call *call, CUgraphNode hNode,
                                       CUDA_HOST_NODE_PARAMS *nodeParams) {
    (void)call;
    return vgpu_part_get(process, NULL, hNode, VGPU_PART(VGPU_NODE_HOST, host.of), nodeParams);
}

CUresult vgpu_cuGraphHostNodeSetParams(struct vgpu_process *process, struct vgpu_call *call, CUgraphNode hNode,
                                       const CUDA_HOST_NODE_PARAMS *nodeParams) {
    (void)call;
    return vgpu_part_change(process, hNode, VGPU_PART(VGPU_NODE_HOST, host.of), nodeParams);
}

CUresult vgpu_cuGraphAddExternalSemaphoresSignalNode(struct vgpu_process *process, struct vgpu_call *call,
                                                     CUgraphNode *phGraphNode, CUgraph hGraph,
                                                     const CUgraphNode *dependencies, size_t numDependencies,
                                                     const CUDA_EXT_SEM_SIGNAL_NODE_PARAMS *nodeParams) {
    return vgpu_part_add(process, call, phGraphNode, hGraph,
                         (struct vgpu_dependencies){dependencies, NULL, numDependencies},
                         VGPU_PART(VGPU_NODE_SEMAPHORES_SIGNAL, extSemSignal.of), nodeParams);
}

CUresult vgpu_cuGraphExternalSemaphoresSignalNodeGetParams(struct vgpu_process *process, struct vgpu_call *call,
                                                           CUgraphNode hNode,
                                                           CUDA_EXT_SEM_SIGNAL_NODE_PARAMS *params_out) {
    (void)call;
    return vgpu_part_get(process, NULL, hNode, VGPU_PART(VGPU_NODE_SEMAPHORES_SIGNAL, extSemSignal.of), params_out);
}

CUresult vgpu_cuGraphExternalSemaphoresSignalNodeSetParams(struct vgpu_process *process, struct vgpu_call *call,
                                                           CUgraphNode hNode,
                                                           const CUDA_EXT_SEM_SIGNAL_NODE_PARAMS *nodeParams) {
    (void)call;
    return vgpu_part_change(process, hNode, VGPU_PART(VGPU_NODE_SEMAPHORES_SIGNAL, extSemSignal.of), nodeParams);
}

CUresult vgpu_cuGraphAddExternalSemaphoresWaitNode(struct vgpu_process *process, struct vgpu_call *call,
                                                   CUgraphNode *phGraphNode, CUgraph hGraph,
                                                   const CUgraphNode *dependencies, size_t numDependencies,
                                                   const CUDA_EXT_SEM_WAIT_NODE_PARAMS *nodeParams) {
    return vgpu_part_add(process, call, phGraphNode, hGraph,
                         (struct vgpu_dependencies){dependencies, NULL, numDependencies},
                         VGPU_PART(VGPU_NODE_SEMAPHORES_WAIT, extSemWait.of), nodeParams);
}

CUresult vgpu_cuGraphExternalSemaphoresWaitNodeGetParams(struct vgpu_process *process, struct vgpu_call *call,
                                                         CUgraphNode hNode, CUDA_EXT_SEM_WAIT_NODE_PARAMS *params_out) {
    (void)call;
    return vgpu_part_get(process, NULL, hNode, VGPU_PART(VGPU_NODE_SEMAPHORES_WAIT, extSemWait.of), params_out);
}

CUresult vgpu_cuGraphExternalSemaphoresWaitNodeSetParams(struct vgpu_process *process, struct vgpu_call *call,
                                                         CUgraphNode hNode,
                                                         const CUDA_EXT_SEM_WAIT_NODE_PARAMS *nodeParams) {
    (void)call;
    return vgpu_part_change(process, hNode, VGPU_PART(VGPU_NODE_SEMAPHORES_WAIT, extSemWait.of), nodeParams);
}

CUresult vgpu_cuGraphAddBatchMemOpNode(struct vgpu_process *process, struct vgpu_call *call, CUgraphNode *phGraphNode,
                                       CUgraph hGraph, const CUgraphNode *dependencies, size_t numDependencies,
                                       const CUDA_BATCH_MEM_OP_NODE_PARAMS *nodeParams) {
    return vgpu_part_add(process, call, phGraphNode, hGraph,
                         (struct vgpu_dependencies){dependencies, NULL, numDependencies},
                         VGPU_PART(VGPU_NODE_BATCH_MEM_OP, memOp), nodeParams);
}

CUresult vgpu_cuGraphBatchMemOpNodeGetParams(struct vgpu_process *process, struct vgpu_call *call, CUgraphNode hNode,
                                             CUDA_BATCH_MEM_OP_NODE_PARAMS *nodeParams_out) {
    (void)call;
    return vgpu_part_get(process, NULL, hNode, VGPU_PART(VGPU_NODE_BATCH_MEM_OP, memOp), nodeParams_out);
}

CUresult vgpu_cuGraphBatchMemOpNodeSetParams(struct vgpu_process *process, struct vgpu_call *call, CUgraphNode hNode,
                                             const CUDA_BATCH_MEM_OP_NODE_PARAMS *nodeParams) {
    (void)call;
    return vgpu_part_change(process, hNode, VGPU_PART(VGPU_NODE_BATCH_MEM_OP, memOp), nodeParams);
}

CUresult vgpu_cuGraphAddMemcpyNode(struct vgpu_process *process, struct vgpu_call *call, CUgraphNode *phGraphNode,
                                   CUgraph hGraph, const CUgraphNode *dependencies, size_t numDependencies,
                                   const CUDA_MEMCPY3D *copyParams, CUcontext ctx) {
    CUgraphNodeParams params = {.type = VGPU_NODE_MEMCPY};
    if (copyParams == NULL) {
        return CUDA_ERROR_INVALID_VALUE;
    }
    params.memcpy.of = *copyParams;
    params.memcpy.copyCtx = ctx;
    return vgpu_node_add(process, call, phGraphNode, hGraph,
                         (struct vgpu_dependencies){dependencies, NULL, numDependencies}, &params);
}

CUresult vgpu_cuGraphMemcpyNodeGetParams(struct vgpu_process *process, struct vgpu_call *call, CUgraphNode hNode,
                                         CUDA_MEMCPY3D *nodeParams) {
    (void)call;
    return vgpu_part_get(process, NULL, hNode, VGPU_PART(VGPU_NODE_MEMCPY, memcpy.of), nodeParams);
}

CUresult vgpu_cuGraphMemcpyNodeSetParams(struct vgpu_process *process, struct vgpu_call *call, CUgraphNode hNode,
                                         const CUDA_MEMCPY3D *nodeParams) {
    (void)call;
    CUgraphNodeParams params = {.type = VGPU_NODE_MEMCPY};
    const struct vgpu_node *node = vgpu_node_find(process, hNode);
    if (nodeParams == NULL || node == NULL) {
        return CUDA_ERROR_INVALID_VALUE;
    }
    params.memcpy.of = *nodeParams;
    params.memcpy.copyCtx = node->params.memcpy.copyCtx;
    return vgpu_node_change(process, hNode, &params);
}

CUresult vgpu_cuGraphAddMemsetNode(struct vgpu_process *process, struct vgpu_call *call, CUgraphNode *phGraphNode,
                                   CUgraph hGraph, const CUgraphNode *dependencies, size_t numDependencies,
                                   const CUDA_MEMSET_NODE_PARAMS *memsetParams, CUcontext ctx) {
    CUgraphNodeParams params = {.type = VGPU_NODE_MEMSET};
    if (memsetParams == NULL) {
        return CUDA_ERROR_INVALID_VALUE;
    }
    params.memset.of = *memsetParams;
    params.memset.ctx = ctx;
    return vgpu_node_add(process, call, phGraphNode, hGraph,
                         (struct vgpu_dependencies){dependencies, NULL, numDependencies}, &params);
}

CUresult vgpu_cuGraphMemsetNodeGetParams(struct vgpu_process *process, struct vgpu_call *call, CUgraphNode hNode,
                                         CUDA_MEMSET_NODE_PARAMS *nodeParams) {
    (void)call;
    return vgpu_part_get(process, NULL, hNode, VGPU_PART(VGPU_NODE_MEMSET, memset.of), nodeParams);
}

CUresult vgpu_cuGraphMemsetNodeSetParams(struct vgpu_process *process, struct vgpu_call *call, CUgraphNode hNode,
                                         const CUDA_MEMSET_NODE_PARAMS *nodeParams) {
    (void)call;
    CUgraphNodeParams params = {.type = VGPU_NODE_MEMSET};
    const struct vgpu_node *node = vgpu_node_find(process, hNode);
    if (nodeParams == NULL || node == NULL) {
        return CUDA_ERROR_INVALID_VALUE;
    }
    params.memset.of = *nodeParams;
    params.memset.ctx = node->params.memset.ctx;
    return vgpu_node_change(process, hNode, &params);
}
