/* Nodes of graphs: kernels, graphs in graphs, events, memory. The others are in graph_nodes.c. */
#include <string.h>

#include "cuda/graph.h"

/* The older form has no kernel and no context. */
static void widen(CUDA_KERNEL_NODE_PARAMS *params, const CUDA_KERNEL_NODE_PARAMS_v1 *from) {
    memset(params, 0, sizeof(*params));
    memcpy(params, from, sizeof(*from));
}

static_assert(offsetof(CUDA_KERNEL_NODE_PARAMS, kern) == sizeof(CUDA_KERNEL_NODE_PARAMS_v1), "widen() copies");

CUresult vgpu_cuGraphAddKernelNode(struct vgpu_process *process, struct vgpu_call *call, CUgraphNode *phGraphNode,
                                   CUgraph hGraph, const CUgraphNode *dependencies, size_t numDependencies,
                                   const CUDA_KERNEL_NODE_PARAMS_v1 *nodeParams) {
    CUgraphNodeParams params = {.type = VGPU_NODE_KERNEL};
    if (nodeParams == NULL) {
        return CUDA_ERROR_INVALID_VALUE;
    }
    widen(&params.kernel, nodeParams);
    return vgpu_node_add(process, call, phGraphNode, hGraph,
                         (struct vgpu_dependencies){dependencies, NULL, numDependencies}, &params);
}

CUresult vgpu_cuGraphKernelNodeGetParams(struct vgpu_process *process, struct vgpu_call *call, CUgraphNode hNode,
                                         CUDA_KERNEL_NODE_PARAMS_v1 *nodeParams) {
    (void)call;
    struct vgpu_node *node;
    CUresult result = vgpu_node_check(process, hNode, VGPU_NODE_KERNEL, nodeParams, &node);
    if (result == CUDA_SUCCESS) {
        memcpy(nodeParams, &node->params.kernel, sizeof(*nodeParams));
    }
    return result;
}

CUresult vgpu_cuGraphKernelNodeSetParams(struct vgpu_process *process, struct vgpu_call *call, CUgraphNode hNode,
                                         const CUDA_KERNEL_NODE_PARAMS_v1 *nodeParams) {
    (void)call;
    if (hNode == NULL || nodeParams == NULL) {
        return CUDA_ERROR_INVALID_VALUE;
    }
    CUresult refusal = vgpu_cuda_ready(process);
    CUgraphNodeParams params = {.type = VGPU_NODE_KERNEL};
    widen(&params.kernel, nodeParams);
    return refusal != CUDA_SUCCESS ? refusal : vgpu_node_change(process, hNode, &params);
}

CUresult vgpu_cuGraphAddKernelNode_v2(struct vgpu_process *process, struct vgpu_call *call, CUgraphNode *phGraphNode,
                                      CUgraph hGraph, const CUgraphNode *dependencies, size_t numDependencies,
                                      const CUDA_KERNEL_NODE_PARAMS *nodeParams) {
    CUgraphNodeParams params = {.type = VGPU_NODE_KERNEL};
    if (nodeParams == NULL) {
        return CUDA_ERROR_INVALID_VALUE;
    }
    params.kernel = *nodeParams;
    return vgpu_node_add(process, call, phGraphNode, hGraph,
                         (struct vgpu_dependencies){dependencies, NULL, numDependencies}, &params);
}

CUresult vgpu_cuGraphKernelNodeGetParams_v2(struct vgpu_process *process, struct vgpu_call *call, CUgraphNode hNode,
                                            CUDA_KERNEL_NODE_PARAMS *nodeParams) {
    (void)call;
    struct vgpu_node *node;
    CUresult result = vgpu_node_check(process, hNode, VGPU_NODE_KERNEL, nodeParams, &node);
    if (result == CUDA_SUCCESS) {
        *nodeParams = node->params.kernel;
    }
    return result;
}

CUresult vgpu_cuGraphKernelNodeSetParams_v2(struct vgpu_process *process, struct vgpu_call *call, CUgraphNode hNode,
                                            const CUDA_KERNEL_NODE_PARAMS *nodeParams) {
    (void)call;
    if (hNode == NULL || nodeParams == NULL) {
        return CUDA_ERROR_INVALID_VALUE;
    }
    CUresult refusal = vgpu_cuda_ready(process);
    CUgraphNodeParams params = {.type = VGPU_NODE_KERNEL};
    params.kernel = *nodeParams;
    return refusal != CUDA_SUCCESS ? refusal : vgpu_node_change(process, hNode, &params);
}

CUresult vgpu_cuGraphAddEmptyNode(struct vgpu_process *process, struct vgpu_call *call, CUgraphNode *phGraphNode,
                                  CUgraph hGraph, const CUgraphNode *dependencies, size_t numDependencies) {
    CUgraphNodeParams params = {.type = VGPU_NODE_EMPTY};
    return vgpu_node_add(process, call, phGraphNode, hGraph,
                         (struct vgpu_dependencies){dependencies, NULL, numDependencies}, &params);
}

CUresult vgpu_cuGraphAddChildGraphNode(struct vgpu_process *process, struct vgpu_call *call, CUgraphNode *phGraphNode,
                                       CUgraph hGraph, const CUgraphNode *dependencies, size_t numDependencies,
                                       CUgraph childGraph) {
    CUgraphNodeParams params = {.type = VGPU_NODE_GRAPH};
    params.graph.graph = childGraph;
    return vgpu_node_add(process, call, phGraphNode, hGraph,
                         (struct vgpu_dependencies){dependencies, NULL, numDependencies}, &params);
}

CUresult vgpu_cuGraphChildGraphNodeGetGraph(struct vgpu_process *process, struct vgpu_call *call, CUgraphNode hNode,
                                            CUgraph *phGraph) {
    struct vgpu_node *node;
    CUresult result = vgpu_node_check(process, hNode, VGPU_NODE_GRAPH, phGraph, &node);
    if (result == CUDA_SUCCESS) {
        *phGraph = node->params.graph.graph;
        vgpu_call_output(call, phGraph, sizeof(*phGraph));
    }
    return result;
}

CUresult vgpu_cuGraphAddEventRecordNode(struct vgpu_process *process, struct vgpu_call *call, CUgraphNode *phGraphNode,
                                        CUgraph hGraph, const CUgraphNode *dependencies, size_t numDependencies,
                                        CUevent event) {
    CUgraphNodeParams params = {.type = VGPU_NODE_EVENT_RECORD};
    params.event.event = event;
    return vgpu_node_add(process, call, phGraphNode, hGraph,
                         (struct vgpu_dependencies){dependencies, NULL, numDependencies}, &params);
}

CUresult vgpu_cuGraphEventRecordNodeGetEvent(struct vgpu_process *process, struct vgpu_call *call, CUgraphNode hNode,
                                             CUevent *event_out) {
    struct vgpu_node *node;
    CUresult result = vgpu_node_check(process, hNode, VGPU_NODE_EVENT_RECORD, event_out, &node);
    if (result == CUDA_SUCCESS) {
        *event_out = node->params.event.event;
        vgpu_call_output(call, event_out, sizeof(*event_out));
    }
    return result;
}

CUresult vgpu_cuGraphEventRecordNodeSetEvent(struct vgpu_process *process, struct vgpu_call *call, CUgraphNode hNode,
                                             CUevent event) {
    (void)call;
    CUgraphNodeParams params = {.type = VGPU_NODE_EVENT_RECORD};
    params.event.event = event;
    return vgpu_node_change(process, hNode, &params);
}

CUresult vgpu_cuGraphAddEventWaitNode(struct vgpu_process *process, struct vgpu_call *call, CUgraphNode *phGraphNode,
                                      CUgraph hGraph, const CUgraphNode *dependencies, size_t numDependencies,
                                      CUevent event) {
    CUgraphNodeParams params = {.type = VGPU_NODE_WAIT_EVENT};
    params.event.event = event;
    return vgpu_node_add(process, call, phGraphNode, hGraph,
                         (struct vgpu_dependencies){dependencies, NULL, numDependencies}, &params);
}

CUresult vgpu_cuGraphEventWaitNodeGetEvent(struct vgpu_process *process, struct vgpu_call *call, CUgraphNode hNode,
                                           CUevent *event_out) {
    struct vgpu_node *node;
    CUresult result = vgpu_node_check(process, hNode, VGPU_NODE_WAIT_EVENT, event_out, &node);
    if (result == CUDA_SUCCESS) {
        *event_out = node->params.event.event;
        vgpu_call_output(call, event_out, sizeof(*event_out));
    }
    return result;
}

CUresult vgpu_cuGraphEventWaitNodeSetEvent(struct vgpu_process *process, struct vgpu_call *call, CUgraphNode hNode,
                                           CUevent event) {
    (void)call;
    CUgraphNodeParams params = {.type = VGPU_NODE_WAIT_EVENT};
    params.event.event = event;
    return vgpu_node_change(process, hNode, &params);
}

CUresult vgpu_cuGraphAddMemAllocNode(struct vgpu_process *process, struct vgpu_call *call, CUgraphNode *phGraphNode,
                                     CUgraph hGraph, const CUgraphNode *dependencies, size_t numDependencies,
                                     CUDA_MEM_ALLOC_NODE_PARAMS *nodeParams) {
    if (nodeParams == NULL) {
        return CUDA_ERROR_INVALID_VALUE;
    }
    CUgraphNodeParams params = {.type = VGPU_NODE_MEM_ALLOC};
    params.alloc = *nodeParams;
    CUresult result = vgpu_node_add(process, call, phGraphNode, hGraph,
                                    (struct vgpu_dependencies){dependencies, NULL, numDependencies}, &params);
    if (result == CUDA_SUCCESS) {
        nodeParams->dptr = vgpu_node_find(process, *phGraphNode)->params.alloc.dptr;
        vgpu_call_output(call, &nodeParams->dptr, sizeof(nodeParams->dptr));
    }
    return result;
}

CUresult vgpu_cuGraphMemAllocNodeGetParams(struct vgpu_process *process, struct vgpu_call *call, CUgraphNode hNode,
                                           CUDA_MEM_ALLOC_NODE_PARAMS *params_out) {
    struct vgpu_node *node;
    CUresult result = vgpu_node_check(process, hNode, VGPU_NODE_MEM_ALLOC, params_out, &node);
    if (result == CUDA_SUCCESS) {
        *params_out = node->params.alloc;
        vgpu_call_output(call, &params_out->dptr, sizeof(params_out->dptr));
    }
    return result;
}

CUresult vgpu_cuGraphAddMemFreeNode(struct vgpu_process *process, struct vgpu_call *call, CUgraphNode *phGraphNode,
                                    CUgraph hGraph, const CUgraphNode *dependencies, size_t numDependencies,
                                    CUdeviceptr dptr) {
    CUgraphNodeParams params = {.type = VGPU_NODE_MEM_FREE};
    params.free.dptr = dptr;
    return vgpu_node_add(process, call, phGraphNode, hGraph,
                         (struct vgpu_dependencies){dependencies, NULL, numDependencies}, &params);
}

CUresult vgpu_cuGraphMemFreeNodeGetParams(struct vgpu_process *process, struct vgpu_call *call, CUgraphNode hNode,
                                          CUdeviceptr *dptr_out) {
    struct vgpu_node *node;
    CUresult result = vgpu_node_check(process, hNode, VGPU_NODE_MEM_FREE, dptr_out, &node);
    if (result == CUDA_SUCCESS) {
        *dptr_out = node->params.free.dptr;
        vgpu_call_output(call, dptr_out, sizeof(*dptr_out));
    }
    return result;
}
