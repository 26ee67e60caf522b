/* Nodes of any type by one structure, edges with data, conditions and attributes of kernels. */
#include <stdlib.h>
#include <string.h>

#include "cuda/graph.h"

enum {
    ASSIGN_DEFAULT = 1, /* CU_GRAPH_COND_ASSIGN_DEFAULT */
    LAST_KERNEL_ATTRIBUTE = VGPU_LAUNCH_ATTRIBUTES - 1,
};

/* Outputs of the structure: where the memory is, and the bodies of a condition. */
static void put_outputs(struct vgpu_process *process, CUgraphNode handle, CUgraphNodeParams *params) {
    const struct vgpu_node *node = vgpu_node_find(process, handle);
    if (params->type == VGPU_NODE_MEM_ALLOC) {
        params->alloc.dptr = node->params.alloc.dptr;
    }
    if (params->type == VGPU_NODE_CONDITIONAL) {
        params->conditional.phGraph_out = node->params.conditional.phGraph_out;
    }
}

CUresult vgpu_cuGraphAddNode_v2(struct vgpu_process *process, struct vgpu_call *call, CUgraphNode *phGraphNode,
                                CUgraph hGraph, const CUgraphNode *dependencies, const CUgraphEdgeData *dependencyData,
                                size_t numDependencies, CUgraphNodeParams *nodeParams) {
    if (phGraphNode == NULL || nodeParams == NULL) {
        return CUDA_ERROR_INVALID_VALUE;
    }
    CUresult result = vgpu_cuda_ready(process);
    if (result == CUDA_SUCCESS) {
        result = vgpu_node_add(process, call, phGraphNode, hGraph,
                               (struct vgpu_dependencies){dependencies, dependencyData, numDependencies}, nodeParams);
    }
    if (result == CUDA_SUCCESS) {
        put_outputs(process, *phGraphNode, nodeParams);
    }
    return result;
}

CUresult vgpu_cuGraphAddNode_v3(struct vgpu_process *process, struct vgpu_call *call, CUgraphNode *phGraphNode,
                                CUgraph hGraph, const CUgraphNode *dependencies, const CUgraphEdgeData *dependencyData,
                                size_t numDependencies, CUgraphNodeParams *nodeParams) {
    return vgpu_cuGraphAddNode_v2(process, call, phGraphNode, hGraph, dependencies, dependencyData, numDependencies,
                                  nodeParams);
}

CUresult vgpu_cuGraphAddNode(struct vgpu_process *process, struct vgpu_call *call, CUgraphNode *phGraphNode,
                             CUgraph hGraph, const CUgraphNode *dependencies, size_t numDependencies,
                             CUgraphNodeParams *nodeParams) {
    return vgpu_cuGraphAddNode_v2(process, call, phGraphNode, hGraph, dependencies, NULL, numDependencies, nodeParams);
}

CUresult vgpu_cuGraphNodeSetParams(struct vgpu_process *process, struct vgpu_call *call, CUgraphNode hNode,
                                   CUgraphNodeParams *nodeParams) {
    (void)call;
    if (hNode == NULL || nodeParams == NULL) {
        return CUDA_ERROR_INVALID_VALUE;
    }
    CUresult refusal = vgpu_cuda_ready(process);
    return refusal == CUDA_SUCCESS ? vgpu_node_change(process, hNode, nodeParams) : refusal;
}

CUresult vgpu_cuGraphNodeSetParams_v2(struct vgpu_process *process, struct vgpu_call *call, CUgraphNode hNode,
                                      CUgraphNodeParams *nodeParams) {
    return vgpu_cuGraphNodeSetParams(process, call, hNode, nodeParams);
}

CUresult vgpu_cuGraphNodeGetParams(struct vgpu_process *process, struct vgpu_call *call, CUgraphNode hNode,
                                   CUgraphNodeParams *nodeParams) {
    struct vgpu_node *node = vgpu_node_find(process, hNode);
    if (node == NULL || nodeParams == NULL) {
        return CUDA_ERROR_INVALID_VALUE;
    }
    *nodeParams = node->params;
    vgpu_call_output(call, &nodeParams->type, sizeof(nodeParams->type));
    return CUDA_SUCCESS;
}

/* A condition: only code on the device can change its value, and none runs, so it keeps the one it begins with. */
struct conditional {
    struct vgpu_object object;
    CUgraph graph;
    unsigned int value;
};

static int has_conditional(const struct vgpu_graph *graph, CUgraphConditionalHandle handle) {
    for (size_t i = 0; i < graph->count; i++) {
        const CUgraphNodeParams *params = &graph->nodes[i]->params;
        if (params->type == VGPU_NODE_CONDITIONAL && params->conditional.handle == handle) {
            return 1;
        }
    }
    return 0;
}

int vgpu_conditional_is_free(struct vgpu_process *process, CUgraphConditionalHandle handle,
                             const struct vgpu_graph *graph) {
    const struct conditional *found =
        vgpu_object_find(process, VGPU_OBJECT_CONDITIONAL, (const void *)(uintptr_t)handle);
    return found != NULL && (uint64_t)(uintptr_t)found->graph == graph->object.handle &&
           !has_conditional(graph, handle);
}

unsigned int vgpu_conditional_value(struct vgpu_process *process, CUgraphConditionalHandle handle) {
    const struct conditional *found =
        vgpu_object_find(process, VGPU_OBJECT_CONDITIONAL, (const void *)(uintptr_t)handle);
    return found != NULL ? found->value : 0;
}

CUresult vgpu_cuGraphConditionalHandleCreate(struct vgpu_process *process, struct vgpu_call *call,
                                             CUgraphConditionalHandle *pHandle_out, CUgraph hGraph, CUcontext ctx,
                                             unsigned int defaultLaunchValue, unsigned int flags) {
    CUdevice device;
    if (pHandle_out == NULL || vgpu_graph_find(process, hGraph) == NULL || flags > ASSIGN_DEFAULT) {
        return CUDA_ERROR_INVALID_VALUE;
    }
    CUresult refusal = ctx != NULL ? vgpu_context_check(process, ctx, &device) : CUDA_SUCCESS;
    if (refusal != CUDA_SUCCESS) {
        return refusal;
    }
    struct conditional *conditional = calloc(1, sizeof(*conditional));
    if (conditional == NULL) {
        return CUDA_ERROR_OUT_OF_MEMORY;
    }
    conditional->object = (struct vgpu_object){.kind = VGPU_OBJECT_CONDITIONAL, .end = vgpu_object_free};
    conditional->graph = hGraph;
    conditional->value = flags == ASSIGN_DEFAULT ? defaultLaunchValue : 0;
    if (!vgpu_object_add(process, &conditional->object)) {
        free(conditional);
        return CUDA_ERROR_OUT_OF_MEMORY;
    }
    *pHandle_out = conditional->object.handle;
    vgpu_call_output(call, pHandle_out, sizeof(*pHandle_out));
    return CUDA_SUCCESS;
}

static struct vgpu_node *kernel_node(struct vgpu_process *process, CUgraphNode handle) {
    struct vgpu_node *node = vgpu_node_find(process, handle);
    return node != NULL && node->params.type == VGPU_NODE_KERNEL ? node : NULL;
}

static int is_kernel_attribute(CUkernelNodeAttrID attr) {
    return attr > VGPU_LAUNCH_IGNORE && attr <= LAST_KERNEL_ATTRIBUTE && attr != VGPU_LAUNCH_SYNCHRONIZATION_POLICY;
}

CUresult vgpu_cuGraphKernelNodeGetAttribute(struct vgpu_process *process, struct vgpu_call *call, CUgraphNode hNode,
                                            CUkernelNodeAttrID attr, CUkernelNodeAttrValue *value_out) {
    struct vgpu_node *node = kernel_node(process, hNode);
    if (node == NULL || value_out == NULL || !is_kernel_attribute(attr)) {
        return CUDA_ERROR_INVALID_VALUE;
    }
    if (node->attributes != NULL) {
        *value_out = node->attributes[attr];
    } else {
        memset(value_out, 0, sizeof(*value_out));
    }
    vgpu_call_output(call, &value_out->priority, sizeof(value_out->priority));
    return CUDA_SUCCESS;
}

static int have_attributes(struct vgpu_node *node) {
    if (node->attributes == NULL) {
        node->attributes = calloc(VGPU_LAUNCH_ATTRIBUTES, sizeof(*node->attributes));
    }
    return node->attributes != NULL;
}

CUresult vgpu_cuGraphKernelNodeSetAttribute(struct vgpu_process *process, struct vgpu_call *call, CUgraphNode hNode,
                                            CUkernelNodeAttrID attr, const CUkernelNodeAttrValue *value) {
    (void)call;
    struct vgpu_node *node = kernel_node(process, hNode);
    if (node == NULL || value == NULL || !is_kernel_attribute(attr)) {
        return CUDA_ERROR_INVALID_VALUE;
    }
    if (!have_attributes(node)) {
        return CUDA_ERROR_OUT_OF_MEMORY;
    }
    node->attributes[attr] = *value;
    return CUDA_SUCCESS;
}

CUresult vgpu_cuGraphKernelNodeCopyAttributes(struct vgpu_process *process, struct vgpu_call *call, CUgraphNode dst,
                                              CUgraphNode src) {
    (void)call;
    struct vgpu_node *to = kernel_node(process, dst);
    struct vgpu_node *from = kernel_node(process, src);
    if (to == NULL || from == NULL) {
        return CUDA_ERROR_INVALID_VALUE;
    }
    if (!have_attributes(to) || !have_attributes(from)) {
        return CUDA_ERROR_OUT_OF_MEMORY;
    }
    if (to != from) {
        memcpy(to->attributes, from->attributes, VGPU_LAUNCH_ATTRIBUTES * sizeof(*to->attributes));
    }
    return CUDA_SUCCESS;
}
