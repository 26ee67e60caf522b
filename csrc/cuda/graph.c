/* Graphs: making, copying and destroying them and their nodes, and what they say of themselves. */
#include "cuda/graph.h"

#include <stdlib.h>
#include <string.h>

struct vgpu_graph *vgpu_graph_find(struct vgpu_process *process, CUgraph handle) {
    return vgpu_object_find(process, VGPU_OBJECT_GRAPH, handle);
}

struct vgpu_node *vgpu_node_find(struct vgpu_process *process, CUgraphNode handle) {
    return vgpu_object_find(process, VGPU_OBJECT_NODE, handle);
}

static void end_graph(struct vgpu_process *process, struct vgpu_object *object) {
    struct vgpu_graph *graph = (struct vgpu_graph *)object;
    while (graph->count > 0) {
        vgpu_object_drop(process, &graph->nodes[graph->count - 1]->object);
    }
    vgpu_held_release(process, graph);
    free(graph->nodes);
    free(graph);
}

/* Out of its graph: the nodes after it wait for one less. */
static void unlink_node(struct vgpu_node *node) {
    struct vgpu_graph *graph = node->graph;
    size_t kept = 0;
    for (size_t i = 0; i < graph->count; i++) {
        struct vgpu_node *other = graph->nodes[i];
        if (other == node) {
            continue;
        }
        graph->nodes[kept++] = other;
        size_t edges = 0;
        for (size_t j = 0; j < other->before_count; j++) {
            if (other->before[j].from != node) {
                other->before[edges++] = other->before[j];
            }
        }
        other->before_count = edges;
    }
    graph->count = kept;
}

static void end_node(struct vgpu_process *process, struct vgpu_object *object) {
    struct vgpu_node *node = (struct vgpu_node *)object;
    unlink_node(node);
    vgpu_params_end(process, node);
    free(node->attributes);
    free(node->before);
    free(node);
}

struct vgpu_graph *vgpu_graph_new(struct vgpu_process *process) {
    struct vgpu_graph *graph = calloc(1, sizeof(*graph));
    if (graph == NULL) {
        return NULL;
    }
    graph->object = (struct vgpu_object){.kind = VGPU_OBJECT_GRAPH, .end = end_graph};
    if (!vgpu_object_add(process, &graph->object)) {
        free(graph);
        return NULL;
    }
    graph->id = ++process->cuda->graphs_given;
    return graph;
}

/* A node without parameters and edges. */
static struct vgpu_node *new_node(struct vgpu_process *process, struct vgpu_graph *graph) {
    if (graph->count == graph->room) {
        size_t room = graph->room == 0 ? 8 : 2 * graph->room;
        struct vgpu_node **nodes = realloc(graph->nodes, room * sizeof(struct vgpu_node *));
        if (nodes == NULL) {
            return NULL;
        }
        graph->nodes = nodes;
        graph->room = room;
    }
    struct vgpu_node *node = calloc(1, sizeof(*node));
    if (node == NULL) {
        return NULL;
    }
    node->object = (struct vgpu_object){.kind = VGPU_OBJECT_NODE, .is_part = 1, .end = end_node};
    node->graph = graph;
    node->params.type = VGPU_NODE_EMPTY;
    if (!vgpu_object_add(process, &node->object)) {
        free(node);
        return NULL;
    }
    node->id = graph->nodes_given++;
    graph->nodes[graph->count++] = node;
    return node;
}

CUresult vgpu_graph_add(struct vgpu_process *process, struct vgpu_graph *graph, struct vgpu_dependencies before,
                        const CUgraphNodeParams *params, CUgraphNode *handle) {
    CUresult refusal = vgpu_params_check(process, graph, params);
    if (refusal != CUDA_SUCCESS) {
        return refusal;
    }
    struct vgpu_node *node = new_node(process, graph);
    if (node == NULL) {
        return CUDA_ERROR_OUT_OF_MEMORY;
    }
    refusal = vgpu_edges_add(process, node, before);
    refusal = refusal == CUDA_SUCCESS ? vgpu_params_put(process, node, params) : refusal;
    if (refusal != CUDA_SUCCESS) {
        vgpu_object_drop(process, &node->object);
        return refusal;
    }
    *handle = vgpu_object_handle(&node->object);
    return CUDA_SUCCESS;
}

struct vgpu_node *vgpu_graph_copy_of(const struct vgpu_graph *copy, uint64_t origin) {
    for (size_t i = 0; i < copy->count; i++) {
        if (copy->nodes[i]->origin == origin) {
            return copy->nodes[i];
        }
    }
    return NULL;
}

static int copy_attributes(struct vgpu_node *node, const struct vgpu_node *from) {
    if (from->attributes == NULL) {
        return 1;
    }
    node->attributes = calloc(VGPU_LAUNCH_ATTRIBUTES, sizeof(*node->attributes));
    if (node->attributes != NULL) {
        memcpy(node->attributes, from->attributes, VGPU_LAUNCH_ATTRIBUTES * sizeof(*node->attributes));
    }
    return node->attributes != NULL;
}

static int copy_edges(struct vgpu_node *node, const struct vgpu_node *from) {
    if (from->before_count == 0) {
        return 1;
    }
    node->before = calloc(from->before_count, sizeof(*node->before));
    if (node->before == NULL) {
        return 0;
    }
    for (size_t i = 0; i < from->before_count; i++) {
        node->before[i].from = vgpu_graph_copy_of(node->graph, from->before[i].from->object.handle);
        node->before[i].data = from->before[i].data;
    }
    node->before_count = from->before_count;
    return 1;
}

static int copy_into(struct vgpu_process *process, struct vgpu_graph *copy, const struct vgpu_graph *graph) {
    for (size_t i = 0; i < graph->count; i++) {
        struct vgpu_node *node = new_node(process, copy);
        if (node == NULL) {
            return 0;
        }
        node->id = graph->nodes[i]->id;
        node->origin = graph->nodes[i]->object.handle;
        node->disabled = graph->nodes[i]->disabled;
        if (vgpu_params_put(process, node, &graph->nodes[i]->params) != CUDA_SUCCESS ||
            !copy_attributes(node, graph->nodes[i])) {
            return 0;
        }
    }
    for (size_t i = 0; i < graph->count; i++) {
        if (!copy_edges(copy->nodes[i], graph->nodes[i])) {
            return 0;
        }
    }
    return vgpu_held_copy(process, copy, graph);
}

struct vgpu_graph *vgpu_graph_copy(struct vgpu_process *process, const struct vgpu_graph *graph) {
    struct vgpu_graph *copy = vgpu_graph_new(process);
    if (copy == NULL) {
        return NULL;
    }
    copy->origin = graph->object.handle;
    if (!copy_into(process, copy, graph)) {
        vgpu_object_drop(process, &copy->object);
        return NULL;
    }
    copy->nodes_given = graph->nodes_given;
    return copy;
}

CUresult vgpu_cuGraphCreate(struct vgpu_process *process, struct vgpu_call *call, CUgraph *phGraph,
                            unsigned int flags) {
    if (phGraph == NULL || flags != 0) {
        return CUDA_ERROR_INVALID_VALUE;
    }
    struct vgpu_graph *graph = vgpu_graph_new(process);
    if (graph == NULL) {
        return CUDA_ERROR_OUT_OF_MEMORY;
    }
    *phGraph = vgpu_object_handle(&graph->object);
    vgpu_call_output(call, phGraph, sizeof(*phGraph));
    return CUDA_SUCCESS;
}

CUresult vgpu_cuGraphDestroy(struct vgpu_process *process, struct vgpu_call *call, CUgraph hGraph) {
    (void)call;
    struct vgpu_graph *graph = vgpu_graph_find(process, hGraph);
    if (graph == NULL || graph->object.is_part || graph->captures > 0) {
        return CUDA_ERROR_INVALID_VALUE;
    }
    vgpu_object_drop(process, &graph->object);
    return CUDA_SUCCESS;
}

CUresult vgpu_cuGraphClone(struct vgpu_process *process, struct vgpu_call *call, CUgraph *phGraphClone,
                           CUgraph originalGraph) {
    struct vgpu_graph *graph = vgpu_graph_find(process, originalGraph);
    if (phGraphClone == NULL || graph == NULL) {
        return CUDA_ERROR_INVALID_VALUE;
    }
    if (vgpu_graph_has_memory(graph)) { /* cannot be copied (doc, cuGraphAddMemAllocNode) */
        return CUDA_ERROR_NOT_SUPPORTED;
    }
    struct vgpu_graph *copy = vgpu_graph_copy(process, graph);
    if (copy == NULL) {
        return CUDA_ERROR_OUT_OF_MEMORY;
    }
    *phGraphClone = vgpu_object_handle(&copy->object);
    vgpu_call_output(call, phGraphClone, sizeof(*phGraphClone));
    return CUDA_SUCCESS;
}

CUresult vgpu_cuGraphNodeFindInClone(struct vgpu_process *process, struct vgpu_call *call, CUgraphNode *phNode,
                                     CUgraphNode hOriginalNode, CUgraph hClonedGraph) {
    struct vgpu_graph *copy = vgpu_graph_find(process, hClonedGraph);
    if (phNode == NULL || hOriginalNode == NULL || copy == NULL) {
        return CUDA_ERROR_INVALID_VALUE;
    }
    struct vgpu_node *node = vgpu_graph_copy_of(copy, (uint64_t)(uintptr_t)hOriginalNode);
    if (node == NULL) {
        return CUDA_ERROR_INVALID_VALUE;
    }
    *phNode = vgpu_object_handle(&node->object);
    vgpu_call_output(call, phNode, sizeof(*phNode));
    return CUDA_SUCCESS;
}

/* None can be taken out of a graph with memory (doc), nor while a capture puts others in. */
CUresult vgpu_cuGraphDestroyNode(struct vgpu_process *process, struct vgpu_call *call, CUgraphNode hNode) {
    (void)call;
    struct vgpu_node *node = vgpu_node_find(process, hNode);
    if (node == NULL || node->graph->captures > 0) {
        return CUDA_ERROR_INVALID_VALUE;
    }
    if (vgpu_graph_has_memory(node->graph)) {
        return CUDA_ERROR_NOT_SUPPORTED;
    }
    vgpu_object_drop(process, &node->object);
    return CUDA_SUCCESS;
}

CUresult vgpu_cuGraphNodeGetType(struct vgpu_process *process, struct vgpu_call *call, CUgraphNode hNode,
                                 CUgraphNodeType *type) {
    struct vgpu_node *node = vgpu_node_find(process, hNode);
    if (node == NULL || type == NULL) {
        return CUDA_ERROR_INVALID_VALUE;
    }
    *type = node->params.type;
    vgpu_call_output(call, type, sizeof(*type));
    return CUDA_SUCCESS;
}

CUresult vgpu_cuGraphNodeGetContainingGraph(struct vgpu_process *process, struct vgpu_call *call, CUgraphNode hNode,
                                            CUgraph *phGraph) {
    struct vgpu_node *node = vgpu_node_find(process, hNode);
    if (node == NULL || phGraph == NULL) {
        return CUDA_ERROR_INVALID_VALUE;
    }
    *phGraph = vgpu_object_handle(&node->graph->object);
    vgpu_call_output(call, phGraph, sizeof(*phGraph));
    return CUDA_SUCCESS;
}

CUresult vgpu_cuGraphNodeGetLocalId(struct vgpu_process *process, struct vgpu_call *call, CUgraphNode hNode,
                                    unsigned int *nodeId) {
    struct vgpu_node *node = vgpu_node_find(process, hNode);
    if (node == NULL || nodeId == NULL) {
        return CUDA_ERROR_INVALID_VALUE;
    }
    *nodeId = node->id;
    vgpu_call_output(call, nodeId, sizeof(*nodeId));
    return CUDA_SUCCESS;
}

/* Graph and node in one number, which no other node has. */
CUresult vgpu_cuGraphNodeGetToolsId(struct vgpu_process *process, struct vgpu_call *call, CUgraphNode hNode,
                                    unsigned long long *toolsNodeId) {
    struct vgpu_node *node = vgpu_node_find(process, hNode);
    if (node == NULL || toolsNodeId == NULL) {
        return CUDA_ERROR_INVALID_VALUE;
    }
    *toolsNodeId = (unsigned long long)node->graph->id << 32 | node->id;
    vgpu_call_output(call, toolsNodeId, sizeof(*toolsNodeId));
    return CUDA_SUCCESS;
}

CUresult vgpu_cuGraphGetId(struct vgpu_process *process, struct vgpu_call *call, CUgraph hGraph,
                           unsigned int *graphId) {
    struct vgpu_graph *graph = vgpu_graph_find(process, hGraph);
    if (graph == NULL || graphId == NULL) {
        return CUDA_ERROR_INVALID_VALUE;
    }
    *graphId = graph->id;
    vgpu_call_output(call, graphId, sizeof(*graphId));
    return CUDA_SUCCESS;
}

CUresult vgpu_cuGraphGetNodes(struct vgpu_process *process, struct vgpu_call *call, CUgraph hGraph, CUgraphNode *nodes,
                              size_t *numNodes) {
    struct vgpu_graph *graph = vgpu_graph_find(process, hGraph);
    if (graph == NULL || numNodes == NULL) {
        return CUDA_ERROR_INVALID_VALUE;
    }
    for (size_t i = 0; nodes != NULL && i < *numNodes; i++) {
        nodes[i] = i < graph->count ? vgpu_object_handle(&graph->nodes[i]->object) : NULL;
    }
    *numNodes = nodes == NULL || *numNodes > graph->count ? graph->count : *numNodes;
    vgpu_call_output(call, numNodes, sizeof(*numNodes));
    return CUDA_SUCCESS;
}

CUresult vgpu_cuGraphGetRootNodes(struct vgpu_process *process, struct vgpu_call *call, CUgraph hGraph,
                                  CUgraphNode *rootNodes, size_t *numRootNodes) {
    struct vgpu_graph *graph = vgpu_graph_find(process, hGraph);
    if (graph == NULL || numRootNodes == NULL) {
        return CUDA_ERROR_INVALID_VALUE;
    }
    size_t found = 0;
    for (size_t i = 0; i < graph->count; i++) {
        if (graph->nodes[i]->before_count > 0) {
            continue;
        }
        if (rootNodes != NULL && found < *numRootNodes) {
            rootNodes[found] = vgpu_object_handle(&graph->nodes[i]->object);
        }
        found++;
    }
    for (size_t i = found; rootNodes != NULL && i < *numRootNodes; i++) {
        rootNodes[i] = NULL;
    }
    *numRootNodes = rootNodes == NULL || *numRootNodes > found ? found : *numRootNodes;
    vgpu_call_output(call, numRootNodes, sizeof(*numRootNodes));
    return CUDA_SUCCESS;
}
