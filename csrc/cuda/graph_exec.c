/* Executable graphs: made from a graph, changed, thrown away. They are launched in graph_launch.c. */
#include <stdlib.h>

#include "cuda/graph.h"

enum {
    FLAG_AUTO_FREE = 1,
    FLAG_UPLOAD = 2,
    FLAG_DEVICE_LAUNCH = 4,
    FLAG_PRIORITY = 8,
    INSTANTIATE_SUCCESS = 0,
    INSTANTIATE_ERROR = 1,
    UPDATE_SUCCESS = 0,
    UPDATE_TOPOLOGY = 2,
    UPDATE_TYPE = 3,
    UPDATE_PARAMETERS = 5,
};

static void end_exec(struct vgpu_process *process, struct vgpu_object *object) {
    struct vgpu_exec *exec = (struct vgpu_exec *)object;
    vgpu_object_drop(process, &exec->graph->object);
    free(exec);
}

struct vgpu_exec *vgpu_exec_find(struct vgpu_process *process, CUgraphExec handle) {
    return vgpu_object_find(process, VGPU_OBJECT_EXEC, handle);
}

struct twin {
    uint64_t origin;
    int found;
};

static void look_for_twin(struct vgpu_object *object, void *data) {
    struct twin *twin = data;
    twin->found |= ((const struct vgpu_exec *)object)->graph->origin == twin->origin;
}

static int has_executable(struct vgpu_process *process, const struct vgpu_graph *graph) {
    struct twin twin = {graph->object.handle, 0};
    vgpu_objects_visit(process, VGPU_OBJECT_EXEC, look_for_twin, &twin);
    return twin.found;
}

/* Device code would have to launch it, and none runs. Memory is for one executable graph at a time (doc). */
static CUresult check(struct vgpu_process *process, const struct vgpu_graph *graph, uint64_t flags) {
    const uint64_t exclusive = FLAG_DEVICE_LAUNCH | FLAG_AUTO_FREE;
    if (graph == NULL || graph->is_moved || (flags & exclusive) == exclusive ||
        (vgpu_graph_has_memory(graph) && has_executable(process, graph))) {
        return CUDA_ERROR_INVALID_VALUE;
    }
    if (graph->captures > 0) {
        return CUDA_ERROR_ILLEGAL_STATE;
    }
    return (flags & FLAG_DEVICE_LAUNCH) != 0 ? CUDA_ERROR_NOT_SUPPORTED : CUDA_SUCCESS;
}

static CUresult instantiate(struct vgpu_process *process, struct vgpu_call *call, CUgraphExec *handle, CUgraph hGraph,
                            uint64_t flags) {
    const struct vgpu_graph *graph = vgpu_graph_find(process, hGraph);
    CUresult refusal = check(process, graph, flags);
    if (refusal != CUDA_SUCCESS) {
        return refusal;
    }
    struct vgpu_exec *exec = calloc(1, sizeof(*exec));
    struct vgpu_graph *copy = exec != NULL ? vgpu_graph_copy(process, graph) : NULL;
    if (copy == NULL) {
        free(exec);
        return CUDA_ERROR_OUT_OF_MEMORY;
    }
    copy->object.is_part = 1;
    exec->object = (struct vgpu_object){.kind = VGPU_OBJECT_EXEC, .end = end_exec};
    exec->graph = copy;
    exec->flags = flags;
    exec->frees = (flags & FLAG_AUTO_FREE) != 0;
    exec->id = copy->id;
    if (!vgpu_object_add(process, &exec->object)) {
        vgpu_object_drop(process, &copy->object);
        free(exec);
        return CUDA_ERROR_OUT_OF_MEMORY;
    }
    *handle = vgpu_object_handle(&exec->object);
    vgpu_call_output(call, handle, sizeof(*handle));
    return CUDA_SUCCESS;
}

static const uint64_t known_flags = FLAG_AUTO_FREE | FLAG_UPLOAD | FLAG_DEVICE_LAUNCH | FLAG_PRIORITY;

CUresult vgpu_cuGraphInstantiateWithFlags(struct vgpu_process *process, struct vgpu_call *call,
                                          CUgraphExec *phGraphExec, CUgraph hGraph, unsigned long long flags) {
    if ((flags & ~known_flags) != 0) {
        return CUDA_ERROR_INVALID_VALUE;
    }
    CUresult refusal = vgpu_cuda_ready(process);
    if (refusal != CUDA_SUCCESS || phGraphExec == NULL) {
        return refusal != CUDA_SUCCESS ? refusal : CUDA_ERROR_INVALID_VALUE;
    }
    return instantiate(process, call, phGraphExec, hGraph, flags);
}

/* The log is for what goes wrong in a node: there is nothing to say. */
CUresult vgpu_cuGraphInstantiate_v2(struct vgpu_process *process, struct vgpu_call *call, CUgraphExec *phGraphExec,
                                    CUgraph hGraph, CUgraphNode *phErrorNode, char *logBuffer, size_t bufferSize) {
    if (phGraphExec == NULL) {
        return CUDA_ERROR_INVALID_VALUE;
    }
    if (phErrorNode != NULL) {
        *phErrorNode = NULL;
    }
    if (logBuffer != NULL && bufferSize > 0) {
        logBuffer[0] = 0;
    }
    return instantiate(process, call, phGraphExec, hGraph, 0);
}

CUresult vgpu_cuGraphInstantiate(struct vgpu_process *process, struct vgpu_call *call, CUgraphExec *phGraphExec,
                                 CUgraph hGraph, CUgraphNode *phErrorNode, char *logBuffer, size_t bufferSize) {
    return vgpu_cuGraphInstantiate_v2(process, call, phGraphExec, hGraph, phErrorNode, logBuffer, bufferSize);
}

CUresult vgpu_cuGraphInstantiateWithParams(struct vgpu_process *process, struct vgpu_call *call,
                                           CUgraphExec *phGraphExec, CUgraph hGraph,
                                           CUDA_GRAPH_INSTANTIATE_PARAMS *instantiateParams) {
    if (phGraphExec == NULL || instantiateParams == NULL) {
        return CUDA_ERROR_INVALID_VALUE;
    }
    CUresult result = vgpu_cuda_ready(process);
    if (result != CUDA_SUCCESS) {
        return result;
    }
    result = (instantiateParams->flags & ~known_flags) != 0
                 ? CUDA_ERROR_INVALID_VALUE
                 : instantiate(process, call, phGraphExec, hGraph, instantiateParams->flags);
    instantiateParams->hErrNode_out = NULL;
    instantiateParams->result_out = result == CUDA_SUCCESS ? INSTANTIATE_SUCCESS : INSTANTIATE_ERROR;
    return result;
}

CUresult vgpu_cuGraphExecDestroy(struct vgpu_process *process, struct vgpu_call *call, CUgraphExec hGraphExec) {
    (void)call;
    struct vgpu_exec *exec = vgpu_exec_find(process, hGraphExec);
    if (exec == NULL) {
        return CUDA_ERROR_INVALID_VALUE;
    }
    vgpu_object_drop(process, &exec->object);
    return CUDA_SUCCESS;
}

CUresult vgpu_cuGraphExecGetFlags(struct vgpu_process *process, struct vgpu_call *call, CUgraphExec hGraphExec,
                                  cuuint64_t *flags) {
    struct vgpu_exec *exec = vgpu_exec_find(process, hGraphExec);
    if (exec == NULL || flags == NULL) {
        return CUDA_ERROR_INVALID_VALUE;
    }
    *flags = exec->flags;
    vgpu_call_output(call, flags, sizeof(*flags));
    return CUDA_SUCCESS;
}

CUresult vgpu_cuGraphExecGetId(struct vgpu_process *process, struct vgpu_call *call, CUgraphExec hGraphExec,
                               unsigned int *graphId) {
    struct vgpu_exec *exec = vgpu_exec_find(process, hGraphExec);
    if (exec == NULL || graphId == NULL) {
        return CUDA_ERROR_INVALID_VALUE;
    }
    *graphId = exec->id;
    vgpu_call_output(call, graphId, sizeof(*graphId));
    return CUDA_SUCCESS;
}

/* The executable graph's own node for one of the graph that it was made from. */
static CUresult find(struct vgpu_process *process, CUgraphExec handle, CUgraphNode hNode, struct vgpu_node **node) {
    struct vgpu_exec *exec = vgpu_exec_find(process, handle);
    *node = exec != NULL && hNode != NULL ? vgpu_graph_copy_of(exec->graph, (uint64_t)(uintptr_t)hNode) : NULL;
    return *node != NULL ? vgpu_cuda_ready(process) : CUDA_ERROR_INVALID_VALUE;
}

static CUresult change(struct vgpu_process *process, CUgraphExec handle, CUgraphNode hNode,
                       const CUgraphNodeParams *params) {
    struct vgpu_node *node;
    CUresult result = find(process, handle, hNode, &node);
    return result == CUDA_SUCCESS ? vgpu_node_set(process, node, params) : result;
}

static CUresult change_part(struct vgpu_process *process, CUgraphExec handle, CUgraphNode hNode, struct vgpu_part part,
                            const void *from) {
    struct vgpu_node *node;
    CUresult result = from != NULL ? find(process, handle, hNode, &node) : CUDA_ERROR_INVALID_VALUE;
    return result == CUDA_SUCCESS ? vgpu_part_set(process, node, part, from) : result;
}

CUresult vgpu_cuGraphExecNodeSetParams(struct vgpu_process *process, struct vgpu_call *call, CUgraphExec hGraphExec,
                                       CUgraphNode hNode, CUgraphNodeParams *nodeParams) {
    (void)call;
    return nodeParams != NULL ? change(process, hGraphExec, hNode, nodeParams) : CUDA_ERROR_INVALID_VALUE;
}

CUresult vgpu_cuGraphExecMemcpyNodeSetParams(struct vgpu_process *process, struct vgpu_call *call,
                                             CUgraphExec hGraphExec, CUgraphNode hNode, const CUDA_MEMCPY3D *copyParams,
                                             CUcontext ctx) {
    (void)call;
    if (copyParams == NULL) {
        return CUDA_ERROR_INVALID_VALUE;
    }
    CUgraphNodeParams params = {.type = VGPU_NODE_MEMCPY};
    params.memcpy.of = *copyParams;
    params.memcpy.copyCtx = ctx;
    return change(process, hGraphExec, hNode, &params);
}

CUresult vgpu_cuGraphExecMemsetNodeSetParams(struct vgpu_process *process, struct vgpu_call *call,
                                             CUgraphExec hGraphExec, CUgraphNode hNode,
                                             const CUDA_MEMSET_NODE_PARAMS *memsetParams, CUcontext ctx) {
    (void)call;
    if (memsetParams == NULL) {
        return CUDA_ERROR_INVALID_VALUE;
    }
    CUgraphNodeParams params = {.type = VGPU_NODE_MEMSET};
    params.memset.of = *memsetParams;
    params.memset.ctx = ctx;
    return change(process, hGraphExec, hNode, &params);
}

CUresult vgpu_cuGraphExecHostNodeSetParams(struct vgpu_process *process, struct vgpu_call *call, CUgraphExec hGraphExec,
                                           CUgraphNode hNode, const CUDA_HOST_NODE_PARAMS *nodeParams) {
    (void)call;
    return change_part(process, hGraphExec, hNode, VGPU_PART(VGPU_NODE_HOST, host.of), nodeParams);
}

CUresult vgpu_cuGraphExecExternalSemaphoresSignalNodeSetParams(struct vgpu_process *process, struct vgpu_call *call,
                                                               CUgraphExec hGraphExec, CUgraphNode hNode,
                                                               const CUDA_EXT_SEM_SIGNAL_NODE_PARAMS *nodeParams) {
    (void)call;
    return change_part(process, hGraphExec, hNode, VGPU_PART(VGPU_NODE_SEMAPHORES_SIGNAL, extSemSignal.of), nodeParams);
}

CUresult vgpu_cuGraphExecExternalSemaphoresWaitNodeSetParams(struct vgpu_process *process, struct vgpu_call *call,
                                                             CUgraphExec hGraphExec, CUgraphNode hNode,
                                                             const CUDA_EXT_SEM_WAIT_NODE_PARAMS *nodeParams) {
    (void)call;
    return change_part(process, hGraphExec, hNode, VGPU_PART(VGPU_NODE_SEMAPHORES_WAIT, extSemWait.of), nodeParams);
}

CUresult vgpu_cuGraphExecBatchMemOpNodeSetParams(struct vgpu_process *process, struct vgpu_call *call,
                                                 CUgraphExec hGraphExec, CUgraphNode hNode,
                                                 const CUDA_BATCH_MEM_OP_NODE_PARAMS *nodeParams) {
    (void)call;
    return change_part(process, hGraphExec, hNode, VGPU_PART(VGPU_NODE_BATCH_MEM_OP, memOp), nodeParams);
}

CUresult vgpu_cuGraphExecKernelNodeSetParams_v2(struct vgpu_process *process, struct vgpu_call *call,
                                                CUgraphExec hGraphExec, CUgraphNode hNode,
                                                const CUDA_KERNEL_NODE_PARAMS *nodeParams) {
    (void)call;
    return change_part(process, hGraphExec, hNode, VGPU_PART(VGPU_NODE_KERNEL, kernel), nodeParams);
}

CUresult vgpu_cuGraphExecKernelNodeSetParams(struct vgpu_process *process, struct vgpu_call *call,
                                             CUgraphExec hGraphExec, CUgraphNode hNode,
                                             const CUDA_KERNEL_NODE_PARAMS_v1 *nodeParams) {
    (void)call;
    const struct vgpu_part part = {VGPU_NODE_KERNEL, offsetof(CUgraphNodeParams, kernel), sizeof(*nodeParams)};
    return change_part(process, hGraphExec, hNode, part, nodeParams);
}

CUresult vgpu_cuGraphExecChildGraphNodeSetParams(struct vgpu_process *process, struct vgpu_call *call,
                                                 CUgraphExec hGraphExec, CUgraphNode hNode, CUgraph childGraph) {
    (void)call;
    return change_part(process, hGraphExec, hNode, VGPU_PART(VGPU_NODE_GRAPH, graph.graph), &childGraph);
}

CUresult vgpu_cuGraphExecEventRecordNodeSetEvent(struct vgpu_process *process, struct vgpu_call *call,
                                                 CUgraphExec hGraphExec, CUgraphNode hNode, CUevent event) {
    (void)call;
    return change_part(process, hGraphExec, hNode, VGPU_PART(VGPU_NODE_EVENT_RECORD, event.event), &event);
}

CUresult vgpu_cuGraphExecEventWaitNodeSetEvent(struct vgpu_process *process, struct vgpu_call *call,
                                               CUgraphExec hGraphExec, CUgraphNode hNode, CUevent event) {
    (void)call;
    return change_part(process, hGraphExec, hNode, VGPU_PART(VGPU_NODE_WAIT_EVENT, event.event), &event);
}

static int can_be_disabled(const struct vgpu_node *node) {
    return node->params.type == VGPU_NODE_KERNEL || node->params.type == VGPU_NODE_MEMCPY ||
           node->params.type == VGPU_NODE_MEMSET;
}

/* Kernels, copies and fills alone (doc). */
CUresult vgpu_cuGraphNodeSetEnabled(struct vgpu_process *process, struct vgpu_call *call, CUgraphExec hGraphExec,
                                    CUgraphNode hNode, unsigned int isEnabled) {
    (void)call;
    struct vgpu_node *node;
    CUresult result = find(process, hGraphExec, hNode, &node);
    if (result == CUDA_SUCCESS && !can_be_disabled(node)) {
        result = CUDA_ERROR_INVALID_VALUE;
    }
    if (result == CUDA_SUCCESS) {
        node->disabled = isEnabled == 0;
    }
    return result;
}

CUresult vgpu_cuGraphNodeGetEnabled(struct vgpu_process *process, struct vgpu_call *call, CUgraphExec hGraphExec,
                                    CUgraphNode hNode, unsigned int *isEnabled) {
    struct vgpu_node *node;
    CUresult result = isEnabled == NULL ? CUDA_ERROR_INVALID_VALUE : find(process, hGraphExec, hNode, &node);
    if (result == CUDA_SUCCESS && !can_be_disabled(node)) {
        result = CUDA_ERROR_INVALID_VALUE;
    }
    if (result == CUDA_SUCCESS) {
        *isEnabled = !node->disabled;
        vgpu_call_output(call, isEnabled, sizeof(*isEnabled));
    }
    return result;
}

/* How a new graph differs from the executable one, node by node in the order that they were made in. */
static int compare(const struct vgpu_graph *old, const struct vgpu_graph *new, const struct vgpu_node **where) {
    *where = NULL;
    if (old->count != new->count) {
        return UPDATE_TOPOLOGY;
    }
    for (size_t i = 0; i < new->count; i++) {
        const struct vgpu_node *before = old->nodes[i];
        const struct vgpu_node *after = new->nodes[i];
        *where = after;
        if (before->params.type != after->params.type) {
            return UPDATE_TYPE;
        }
        if (before->before_count != after->before_count || before->child_count != after->child_count) {
            return UPDATE_TOPOLOGY;
        }
        for (size_t j = 0; j < after->before_count; j++) {
            size_t at = 0;
            while (at < new->count && new->nodes[at] != after->before[j].from) {
                at++;
            }
            int same = 0;
            for (size_t k = 0; k < before->before_count; k++) {
                same |= before->before[k].from == old->nodes[at];
            }
            if (!same) {
                return UPDATE_TOPOLOGY;
            }
        }
    }
    *where = NULL;
    return UPDATE_SUCCESS;
}

static int has_changes(const struct vgpu_node *node) {
    return node->params.type != VGPU_NODE_MEM_ALLOC && node->params.type != VGPU_NODE_MEM_FREE &&
           node->params.type != VGPU_NODE_CONDITIONAL && node->params.type != VGPU_NODE_EMPTY;
}

static CUresult update(struct vgpu_process *process, CUgraphExec hGraphExec, CUgraph hGraph,
                       CUgraphExecUpdateResultInfo *info) {
    struct vgpu_exec *exec = vgpu_exec_find(process, hGraphExec);
    const struct vgpu_graph *graph = vgpu_graph_find(process, hGraph);
    if (exec == NULL || graph == NULL || graph->is_moved) {
        return CUDA_ERROR_INVALID_VALUE;
    }
    const struct vgpu_node *where;
    info->result = compare(exec->graph, graph, &where);
    for (size_t i = 0; info->result == UPDATE_SUCCESS && i < graph->count; i++) {
        where = graph->nodes[i];
        if (has_changes(where) && vgpu_node_set(process, exec->graph->nodes[i], &where->params) != CUDA_SUCCESS) {
            info->result = UPDATE_PARAMETERS;
        }
    }
    info->errorFromNode = NULL;
    info->errorNode = info->result != UPDATE_SUCCESS && where != NULL ? vgpu_object_handle(&where->object) : NULL;
    return info->result == UPDATE_SUCCESS ? CUDA_SUCCESS : CUDA_ERROR_GRAPH_EXEC_UPDATE_FAILURE;
}

CUresult vgpu_cuGraphExecUpdate_v2(struct vgpu_process *process, struct vgpu_call *call, CUgraphExec hGraphExec,
                                   CUgraph hGraph, CUgraphExecUpdateResultInfo *resultInfo) {
    if (resultInfo == NULL) {
        return CUDA_ERROR_INVALID_VALUE;
    }
    CUgraphExecUpdateResultInfo info = {0, NULL, NULL};
    CUresult result = update(process, hGraphExec, hGraph, &info);
    if (result != CUDA_ERROR_INVALID_VALUE) {
        *resultInfo = info;
        vgpu_call_output(call, &resultInfo->result, sizeof(resultInfo->result));
    }
    return result;
}

CUresult vgpu_cuGraphExecUpdate(struct vgpu_process *process, struct vgpu_call *call, CUgraphExec hGraphExec,
                                CUgraph hGraph, CUgraphNode *hErrorNode_out,
                                CUgraphExecUpdateResult *updateResult_out) {
    if (hErrorNode_out == NULL || updateResult_out == NULL) {
        return CUDA_ERROR_INVALID_VALUE;
    }
    CUgraphExecUpdateResultInfo info = {0, NULL, NULL};
    CUresult result = update(process, hGraphExec, hGraph, &info);
    if (result != CUDA_ERROR_INVALID_VALUE) {
        *hErrorNode_out = info.errorNode;
        *updateResult_out = info.result;
        vgpu_call_output(call, updateResult_out, sizeof(*updateResult_out));
    }
    return result;
}
