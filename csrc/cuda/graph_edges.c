/* What waits for what in a graph. */
#include <stdlib.h>
#include <string.h>

#include "cuda/graph.h"

static const CUgraphEdgeData plain;

static int is_plain(const CUgraphEdgeData *data) {
    return memcmp(data, &plain, sizeof(plain)) == 0;
}

static struct vgpu_edge *edge_of(const struct vgpu_node *node, const struct vgpu_node *from) {
    for (size_t i = 0; i < node->before_count; i++) {
        if (node->before[i].from == from) {
            return &node->before[i];
        }
    }
    return NULL;
}

/* 1 if each node is behind those that it waits for, as nodes mostly are, since they are made in that order. */
static int is_in_order(const struct vgpu_graph *graph) {
    for (size_t i = 0; i < graph->count; i++) {
        graph->nodes[i]->mark = 0;
    }
    for (size_t i = 0; i < graph->count; i++) {
        const struct vgpu_node *node = graph->nodes[i];
        for (size_t j = 0; j < node->before_count; j++) {
            if (!node->before[j].from->mark) {
                return 0;
            }
        }
        graph->nodes[i]->mark = 1;
    }
    return 1;
}

/* `order` is filled with nodes that have all that they wait for before them; their number is answered. It is less than
 * the graph's where there is a circle. */
static size_t put_in_order(const struct vgpu_graph *graph, struct vgpu_node **order, size_t *waiting) {
    size_t count = 0;
    for (size_t i = 0; i < graph->count; i++) {
        waiting[i] = graph->nodes[i]->before_count;
        if (waiting[i] == 0) {
            order[count++] = graph->nodes[i];
        }
    }
    for (size_t done = 0; done < count; done++) {
        for (size_t i = 0; i < graph->count; i++) {
            if (waiting[i] > 0 && edge_of(graph->nodes[i], order[done]) != NULL && --waiting[i] == 0) {
                order[count++] = graph->nodes[i];
            }
        }
    }
    return count;
}

struct vgpu_node **vgpu_graph_in_order(const struct vgpu_graph *graph) {
    if (graph->count == 0) {
        return NULL;
    }
    struct vgpu_node **order = calloc(graph->count, sizeof(struct vgpu_node *));
    if (order != NULL && is_in_order(graph)) {
        memcpy(order, graph->nodes, graph->count * sizeof(struct vgpu_node *));
        return order;
    }
    size_t *waiting = calloc(graph->count, sizeof(*waiting));
    if (order == NULL || waiting == NULL) {
        free(order);
        free(waiting);
        return NULL;
    }
    put_in_order(graph, order, waiting);
    free(waiting);
    return order;
}

/* No recursion: a graph may be as deep as it has nodes. 0 also where there is no memory to look. */
int vgpu_node_is_after(const struct vgpu_node *node, const struct vgpu_node *other) {
    const struct vgpu_graph *graph = node->graph;
    const struct vgpu_node **stack = calloc(graph->count, sizeof(const struct vgpu_node *));
    unsigned char *seen = calloc(graph->nodes_given, 1);
    int found = 0;
    size_t depth = 0;
    if (stack != NULL && seen != NULL) {
        stack[depth++] = node;
        seen[node->id] = 1;
    }
    while (depth > 0 && !found) {
        const struct vgpu_node *at = stack[--depth];
        found = at == other;
        for (size_t i = 0; i < at->before_count; i++) {
            const struct vgpu_node *from = at->before[i].from;
            if (!seen[from->id]) {
                seen[from->id] = 1;
                stack[depth++] = from;
            }
        }
    }
    free(stack);
    free(seen);
    return found;
}

static CUresult add_edge(struct vgpu_node *node, struct vgpu_node *from, const CUgraphEdgeData *data) {
    if (edge_of(node, from) != NULL) {
        return CUDA_ERROR_INVALID_VALUE;
    }
    struct vgpu_edge *before = realloc(node->before, (node->before_count + 1) * sizeof(*before));
    if (before == NULL) {
        return CUDA_ERROR_OUT_OF_MEMORY;
    }
    node->before = before;
    before[node->before_count++] = (struct vgpu_edge){from, data != NULL ? *data : plain};
    return CUDA_SUCCESS;
}

/* To a new node, which nothing waits for. */
CUresult vgpu_edges_add(struct vgpu_process *process, struct vgpu_node *node, struct vgpu_dependencies before) {
    if (before.count > 0 && before.nodes == NULL) {
        return CUDA_ERROR_INVALID_VALUE;
    }
    CUresult result = CUDA_SUCCESS;
    for (size_t i = 0; i < before.count && result == CUDA_SUCCESS; i++) {
        struct vgpu_node *from = vgpu_node_find(process, before.nodes[i]);
        result = from == NULL || from->graph != node->graph
                     ? CUDA_ERROR_INVALID_VALUE
                     : add_edge(node, from, before.edges != NULL ? &before.edges[i] : NULL);
    }
    return result;
}

/* An edge that a function speaks of: both ends in the graph. */
static CUresult find_ends(struct vgpu_process *process, const struct vgpu_graph *graph, CUgraphNode from,
                          CUgraphNode to, struct vgpu_node *ends[2]) {
    ends[0] = vgpu_node_find(process, from);
    ends[1] = vgpu_node_find(process, to);
    int found = ends[0] != NULL && ends[1] != NULL && ends[0]->graph == graph && ends[1]->graph == graph;
    return found && ends[0] != ends[1] ? CUDA_SUCCESS : CUDA_ERROR_INVALID_VALUE;
}

static void remove_edge(struct vgpu_node *node, struct vgpu_edge *edge) {
    *edge = node->before[--node->before_count];
}

/* All or none. `refused`: the edge that could not be added; those before it are taken out again. */
static void take_back(struct vgpu_process *process, const struct vgpu_graph *graph, const CUgraphNode *from,
                      const CUgraphNode *to, size_t refused) {
    struct vgpu_node *ends[2];
    for (size_t i = 0; i < refused; i++) {
        if (find_ends(process, graph, from[i], to[i], ends) == CUDA_SUCCESS) {
            remove_edge(ends[1], edge_of(ends[1], ends[0]));
        }
    }
}

CUresult vgpu_cuGraphAddDependencies_v2(struct vgpu_process *process, struct vgpu_call *call, CUgraph hGraph,
                                        const CUgraphNode *from, const CUgraphNode *to, const CUgraphEdgeData *edgeData,
                                        size_t numDependencies) {
    (void)call;
    struct vgpu_graph *graph = vgpu_graph_find(process, hGraph);
    if (graph == NULL || (numDependencies > 0 && (from == NULL || to == NULL))) {
        return CUDA_ERROR_INVALID_VALUE;
    }
    CUresult result = CUDA_SUCCESS;
    for (size_t i = 0; i < numDependencies && result == CUDA_SUCCESS; i++) {
        struct vgpu_node *ends[2];
        result = find_ends(process, graph, from[i], to[i], ends);
        if (result == CUDA_SUCCESS && vgpu_node_is_after(ends[0], ends[1])) {
            result = CUDA_ERROR_INVALID_VALUE; /* a circle */
        }
        if (result == CUDA_SUCCESS) {
            result = add_edge(ends[1], ends[0], edgeData != NULL ? &edgeData[i] : NULL);
        }
        if (result != CUDA_SUCCESS) {
            take_back(process, graph, from, to, i);
        }
    }
    return result != CUDA_SUCCESS ? result : vgpu_cuda_ready(process);
}

CUresult vgpu_cuGraphAddDependencies(struct vgpu_process *process, struct vgpu_call *call, CUgraph hGraph,
                                     const CUgraphNode *from, const CUgraphNode *to, size_t numDependencies) {
    return vgpu_cuGraphAddDependencies_v2(process, call, hGraph, from, to, NULL, numDependencies);
}

/* Where edge data is given it must be that of the edge. */
CUresult vgpu_cuGraphRemoveDependencies_v2(struct vgpu_process *process, struct vgpu_call *call, CUgraph hGraph,
                                           const CUgraphNode *from, const CUgraphNode *to,
                                           const CUgraphEdgeData *edgeData, size_t numDependencies) {
    (void)call;
    struct vgpu_graph *graph = vgpu_graph_find(process, hGraph);
    if (graph == NULL || (numDependencies > 0 && (from == NULL || to == NULL))) {
        return CUDA_ERROR_INVALID_VALUE;
    }
    struct vgpu_node *ends[2];
    for (size_t i = 0; i < numDependencies; i++) {
        CUresult refusal = find_ends(process, graph, from[i], to[i], ends);
        struct vgpu_edge *edge = refusal == CUDA_SUCCESS ? edge_of(ends[1], ends[0]) : NULL;
        const CUgraphEdgeData *data = edgeData != NULL ? &edgeData[i] : &plain;
        if (edge == NULL || memcmp(&edge->data, data, sizeof(*data)) != 0) {
            return CUDA_ERROR_INVALID_VALUE;
        }
    }
    if (numDependencies > 0 && vgpu_graph_has_memory(graph)) { /* its edges stay (doc) */
        return CUDA_ERROR_NOT_SUPPORTED;
    }
    for (size_t i = 0; i < numDependencies; i++) {
        find_ends(process, graph, from[i], to[i], ends);
        struct vgpu_edge *edge = edge_of(ends[1], ends[0]);
        if (edge != NULL) {
            remove_edge(ends[1], edge);
        }
    }
    return vgpu_cuda_ready(process);
}

CUresult vgpu_cuGraphRemoveDependencies(struct vgpu_process *process, struct vgpu_call *call, CUgraph hGraph,
                                        const CUgraphNode *from, const CUgraphNode *to, size_t numDependencies) {
    return vgpu_cuGraphRemoveDependencies_v2(process, call, hGraph, from, to, NULL, numDependencies);
}

/* Where a list of edges goes to: arrays of the caller's, each of which may be missing, and how many have been seen. */
struct list {
    CUgraphNode *from;
    CUgraphNode *to;
    CUgraphEdgeData *data;
    size_t room;
    size_t seen;
    int lossy; /* an edge has data, and there is no place for it */
};

static void put_edge(struct list *list, const struct vgpu_node *to, const struct vgpu_edge *edge) {
    size_t i = list->seen++;
    if (i >= list->room) {
        return;
    }
    if (list->from != NULL) {
        list->from[i] = vgpu_object_handle(&edge->from->object);
    }
    if (list->to != NULL) {
        list->to[i] = vgpu_object_handle(&to->object);
    }
    if (list->data != NULL) {
        list->data[i] = edge->data;
    }
    list->lossy |= list->data == NULL && (list->from != NULL || list->to != NULL) && !is_plain(&edge->data);
}

/* Entries of the caller's arrays that are left over are NULL (doc). */
static CUresult finish(struct vgpu_call *call, struct list *list, size_t *count) {
    for (size_t i = list->seen; i < list->room; i++) {
        if (list->from != NULL) {
            list->from[i] = NULL;
        }
        if (list->to != NULL) {
            list->to[i] = NULL;
        }
    }
    int asked = list->from != NULL || list->to != NULL;
    *count = asked && list->room < list->seen ? list->room : list->seen;
    vgpu_call_output(call, count, sizeof(*count));
    return list->lossy ? CUDA_ERROR_LOSSY_QUERY : CUDA_SUCCESS;
}

CUresult vgpu_cuGraphGetEdges_v2(struct vgpu_process *process, struct vgpu_call *call, CUgraph hGraph,
                                 CUgraphNode *from, CUgraphNode *to, CUgraphEdgeData *edgeData, size_t *numEdges) {
    struct vgpu_graph *graph = vgpu_graph_find(process, hGraph);
    /* Either both ends are asked for, or only the number (doc). */
    if (graph == NULL || numEdges == NULL || (from == NULL) != (to == NULL) || (edgeData != NULL && from == NULL)) {
        return CUDA_ERROR_INVALID_VALUE;
    }
    struct list list = {from, to, edgeData, from != NULL ? *numEdges : 0, 0, 0};
    for (size_t i = 0; i < graph->count; i++) {
        for (size_t j = 0; j < graph->nodes[i]->before_count; j++) {
            put_edge(&list, graph->nodes[i], &graph->nodes[i]->before[j]);
        }
    }
    return finish(call, &list, numEdges);
}

CUresult vgpu_cuGraphGetEdges(struct vgpu_process *process, struct vgpu_call *call, CUgraph hGraph, CUgraphNode *from,
                              CUgraphNode *to, size_t *numEdges) {
    return vgpu_cuGraphGetEdges_v2(process, call, hGraph, from, to, NULL, numEdges);
}

CUresult vgpu_cuGraphNodeGetDependencies_v2(struct vgpu_process *process, struct vgpu_call *call, CUgraphNode hNode,
                                            CUgraphNode *dependencies, CUgraphEdgeData *edgeData,
                                            size_t *numDependencies) {
    struct vgpu_node *node = vgpu_node_find(process, hNode);
    if (node == NULL || numDependencies == NULL || (edgeData != NULL && dependencies == NULL)) {
        return CUDA_ERROR_INVALID_VALUE;
    }
    struct list list = {dependencies, NULL, edgeData, dependencies != NULL ? *numDependencies : 0, 0, 0};
    for (size_t i = 0; i < node->before_count; i++) {
        put_edge(&list, node, &node->before[i]);
    }
    return finish(call, &list, numDependencies);
}

CUresult vgpu_cuGraphNodeGetDependencies(struct vgpu_process *process, struct vgpu_call *call, CUgraphNode hNode,
                                         CUgraphNode *dependencies, size_t *numDependencies) {
    return vgpu_cuGraphNodeGetDependencies_v2(process, call, hNode, dependencies, NULL, numDependencies);
}

CUresult vgpu_cuGraphNodeGetDependentNodes_v2(struct vgpu_process *process, struct vgpu_call *call, CUgraphNode hNode,
                                              CUgraphNode *dependentNodes, CUgraphEdgeData *edgeData,
                                              size_t *numDependentNodes) {
    struct vgpu_node *node = vgpu_node_find(process, hNode);
    if (node == NULL || numDependentNodes == NULL || (edgeData != NULL && dependentNodes == NULL)) {
        return CUDA_ERROR_INVALID_VALUE;
    }
    struct list list = {NULL, dependentNodes, edgeData, dependentNodes != NULL ? *numDependentNodes : 0, 0, 0};
    for (size_t i = 0; i < node->graph->count; i++) {
        const struct vgpu_edge *edge = edge_of(node->graph->nodes[i], node);
        if (edge != NULL) {
            put_edge(&list, node->graph->nodes[i], edge);
        }
    }
    return finish(call, &list, numDependentNodes);
}

CUresult vgpu_cuGraphNodeGetDependentNodes(struct vgpu_process *process, struct vgpu_call *call, CUgraphNode hNode,
                                           CUgraphNode *dependentNodes, size_t *numDependentNodes) {
    return vgpu_cuGraphNodeGetDependentNodes_v2(process, call, hNode, dependentNodes, NULL, numDependentNodes);
}
