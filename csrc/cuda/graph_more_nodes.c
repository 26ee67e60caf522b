/* Nodes of graphs: kernels, graphs in graphs, events, memory. The others are in graph_nodes.c. */
#include "cuda/graph.h"

/* The older form has no kernel and no context. */
static const struct vgpu_part kernel_v1 = {VGPU_NODE_KERNEL, offsetof(CUgraphNodeParams, kernel),
                                           sizeof(CUDA_KERNEL_NODE_PARAMS_v1)};

static_assert(offsetof(CUDA_KERNEL_NODE_PARAMS, kern) == sizeof(CUDA_KERNEL_NODE_PARAMS_v1), "its beginning");

/* Whether the driver is initialised is asked before what the handle is (measured on 535.261.03). */
static CUresult change_kernel(struct vgpu_process *process, CUgraphNode hNode, struct vgpu_part part,
                              const void *nodeParams) {
    if (hNode == NULL || nodeParams == NULL) {
        return CUDA_ERROR_INVALID_VALUE;
    }
    CUresult refusal = vgpu_cuda_ready(process);
    return refusal == CUDA_SUCCESS ? vgpu_part_change(process, hNode, part, nodeParams) : refusal;
}

CUresult vgpu_cuGraphAddKernelNode(struct vgpu_process *process, struct vgpu_call *call, CUgraphNode *phGraphNode,
                                   CUgraph hGraph, const CUgraphNode *dependencies, size_t numDependencies,
                                   const CUDA_KERNEL_NODE_PARAMS_v1 *nodeParams) {
    return vgpu_part_add(process, call, phGraphNode, hGraph,
                         (struct vgpu_dependencies){dependencies, NULL, numDependencies}, kernel_v1, nodeParams);
}

CUresult vgpu_cuGraphKernelNodeGetParams(struct vgpu_process *process, struct vgpu_call *call, CUgraphNode hNode,
                                         CUDA_KERNEL_NODE_PARAMS_v1 *nodeParams) {
    (void)call;
    return vgpu_part_get(process, NULL, hNode, kernel_v1, nodeParams);
}

CUresult vgpu_cuGraphKernelNodeSetParams(struct vgpu_process *process, struct vgpu_call *call, CUgraphNode hNode,
                                         const CUDA_KERNEL_NODE_PARAMS_v1 *nodeParams) {
    (void)call;
    return change_kernel(process, hNode, kernel_v1, nodeParams);
}

CUresult vgpu_cuGraphAddKernelNode_v2(struct vgpu_process *process, struct vgpu_call *call, CUgraphNode *phGraphNode,
                                      CUgraph hGraph, const CUgraphNode *dependencies, size_t numDependencies,
                                      const CUDA_KERNEL_NODE_PARAMS *nodeParams) {
    return vgpu_part_add(process, call, phGraphNode, hGraph,
                         (struct vgpu_dependencies){dependencies, NULL, numDependencies},
                         VGPU_PART(VGPU_NODE_KERNEL, kernel), nodeParams);
}

CUresult vgpu_cuGraphKernelNodeGetParams_v2(struct vgpu_process *process, struct vgpu_call *call, CUgraphNode hNode,
                                            CUDA_KERNEL_NODE_PARAMS *nodeParams) {
    (void)call;
    return vgpu_part_get(process, NULL, hNode, VGPU_PART(VGPU_NODE_KERNEL, kernel), nodeParams);
}

CUresult vgpu_cuGraphKernelNodeSetParams_v2(struct vgpu_process *process, struct vgpu_call *call, CUgraphNode hNode,
                                            const CUDA_KERNEL_NODE_PARAMS *nodeParams) {
    (void)call;
    return change_kernel(process, hNode, VGPU_PART(VGPU_NODE_KERNEL, kernel), nodeParams);
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
    return vgpu_part_add(process, call, phGraphNode, hGraph,
                         (struct vgpu_dependencies){dependencies, NULL, numDependencies},
                         VGPU_PART(VGPU_NODE_GRAPH, graph.graph), &childGraph);
}

CUresult vgpu_cuGraphChildGraphNodeGetGraph(struct vgpu_process *process, struct vgpu_call *call, CUgraphNode hNode,
                                            CUgraph *phGraph) {
    return vgpu_part_get(process, call, hNode, VGPU_PART(VGPU_NODE_GRAPH, graph.graph), phGraph);
}

CUresult vgpu_cuGraphAddEventRecordNode(struct vgpu_process *process, struct vgpu_call *call, CUgraphNode *phGraphNode,
                                        CUgraph hGraph, const CUgraphNode *dependencies, size_t numDependencies,
                                        CUevent event) {
    return vgpu_part_add(process, call, phGraphNode, hGraph,
                         (struct vgpu_dependencies){dependencies, NULL, numDependencies},
                         VGPU_PART(VGPU_NODE_EVENT_RECORD, event.event), &event);
}

CUresult vgpu_cuGraphEventRecordNodeGetEvent(struct vgpu_process *process, struct vgpu_call *call, CUgraphNode hNode,
                                             CUevent *event_out) {
    return vgpu_part_get(process, call, hNode, VGPU_PART(VGPU_NODE_EVENT_RECORD, event.event), event_out);
}

CUresult vgpu_cuGraphEventRecordNodeSetEvent(struct vgpu_process *process, struct vgpu_call *call, CUgraphNode hNode,
                                             CUevent event) {
    (void)call;
    return vgpu_part_change(process, hNode, VGPU_PART(VGPU_NODE_EVENT_RECORD, event.event), &event);
}

CUresult vgpu_cuGraphAddEventWaitNode(struct vgpu_process *process, struct vgpu_call *call, CUgraphNode *phGraphNode,
                                      CUgraph hGraph, const CUgraphNode *dependencies, size_t numDependencies,
                                      CUevent event) {
    return vgpu_part_add(process, call, phGraphNode, hGraph,
                         (struct vgpu_dependencies){dependencies, NULL, numDependencies},
                         VGPU_PART(VGPU_NODE_WAIT_EVENT, event.event), &event);
}

CUresult vgpu_cuGraphEventWaitNodeGetEvent(struct vgpu_process *process, struct vgpu_call *call, CUgraphNode hNode,
                                           CUevent *event_out) {
    return vgpu_part_get(process, call, hNode, VGPU_PART(VGPU_NODE_WAIT_EVENT, event.event), event_out);
}

CUresult vgpu_cuGraphEventWaitNodeSetEvent(struct vgpu_process *process, struct vgpu_call *call, CUgraphNode hNode,
                                           CUevent event) {
    (void)call;
    return vgpu_part_change(process, hNode, VGPU_PART(VGPU_NODE_WAIT_EVENT, event.event), &event);
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
    return vgpu_part_add(process, call, phGraphNode, hGraph,
                         (struct vgpu_dependencies){dependencies, NULL, numDependencies},
                         VGPU_PART(VGPU_NODE_MEM_FREE, free.dptr), &dptr);
}

CUresult vgpu_cuGraphMemFreeNodeGetParams(struct vgpu_process *process, struct vgpu_call *call, CUgraphNode hNode,
                                          CUdeviceptr *dptr_out) {
    return vgpu_part_get(process, call, hNode, VGPU_PART(VGPU_NODE_MEM_FREE, free.dptr), dptr_out);
}
