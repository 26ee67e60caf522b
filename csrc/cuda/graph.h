/* Graphs as data: nodes, edges, copies. */
#ifndef VGPU_CUDA_GRAPH_H
#define VGPU_CUDA_GRAPH_H

#include "cuda/objects.h"
#include "cuda/structs_graph.h"

struct vgpu_node;

/* That a node waits for `from`. */
struct vgpu_edge {
    struct vgpu_node *from;
    CUgraphEdgeData data;
};

struct vgpu_node {
    struct vgpu_object object;
    struct vgpu_graph *graph;
    uint32_t id;              /* in its graph */
    uint64_t origin;          /* the handle of the node that this is a copy of */
    int disabled;             /* of an executable graph: it does nothing */
    CUgraphNodeParams params; /* what its pointers lead to is the node's */
    void *owned[2];
    struct vgpu_graph **children; /* a child node's graph, a conditional's bodies */
    size_t child_count;
    CUkernelNodeAttrValue *attributes; /* VGPU_LAUNCH_ATTRIBUTES, of a kernel node; NULL: as they are by default */
    uint64_t memory;                   /* bytes that it holds on `memory_device` */
    CUdevice memory_device;
    uint32_t mark; /* graph_edges.c */
    struct vgpu_edge *before;
    size_t before_count;
};

struct vgpu_graph {
    struct vgpu_object object;
    uint32_t id;
    uint32_t nodes_given;
    uint64_t origin;        /* the handle of the graph that this is a copy of */
    uint32_t captures;      /* that put nodes into it */
    struct vgpu_held *held; /* graph_held.c: user objects that live as long as it */
    struct vgpu_node **nodes;
    size_t count;
    size_t room;
};

/* An executable graph is a copy of the graph it was made from, whose nodes it knows by their handles. */
struct vgpu_exec {
    struct vgpu_object object;
    struct vgpu_graph *graph;
    uint64_t flags;
    uint32_t id;
};

/* What edges point to, and where their data is; `edges` may be NULL. */
struct vgpu_dependencies {
    const CUgraphNode *nodes;
    const CUgraphEdgeData *edges;
    size_t count;
};

/* graph.c */
struct vgpu_graph *vgpu_graph_find(struct vgpu_process *process, CUgraph handle);
struct vgpu_node *vgpu_node_find(struct vgpu_process *process, CUgraphNode handle);
struct vgpu_graph *vgpu_graph_new(struct vgpu_process *process);
struct vgpu_graph *vgpu_graph_copy(struct vgpu_process *process, const struct vgpu_graph *graph);
struct vgpu_node *vgpu_graph_copy_of(const struct vgpu_graph *copy, uint64_t origin); /* of that node, or NULL */

/* Adds a node with the parameters, which are checked. Where it answers CUDA_SUCCESS, *handle is the node. */
CUresult vgpu_graph_add(struct vgpu_process *process, struct vgpu_graph *graph, struct vgpu_dependencies before,
                        const CUgraphNodeParams *params, CUgraphNode *handle);

/* graph_edges.c */
CUresult vgpu_edges_add(struct vgpu_process *process, struct vgpu_node *node, struct vgpu_dependencies before);
int vgpu_node_is_after(const struct vgpu_node *node, const struct vgpu_node *other); /* or is it */

/* All nodes, each after those that it waits for: the caller frees it. NULL: no memory, or no nodes. */
struct vgpu_node **vgpu_graph_in_order(const struct vgpu_graph *graph);

/* graph_nodes.c: the ways of all functions that add a node, look at one, change one. */
CUresult vgpu_node_add(struct vgpu_process *process, struct vgpu_call *call, CUgraphNode *handle, CUgraph hGraph,
                       struct vgpu_dependencies before, const CUgraphNodeParams *params);
CUresult vgpu_node_check(struct vgpu_process *process, CUgraphNode handle, int type, const void *params,
                         struct vgpu_node **node);
CUresult vgpu_node_change(struct vgpu_process *process, CUgraphNode handle, const CUgraphNodeParams *params);
CUresult vgpu_node_set(struct vgpu_process *process, struct vgpu_node *node, const CUgraphNodeParams *params);

/* graph_any_node.c: what a condition comes to. */
unsigned int vgpu_conditional_value(struct vgpu_process *process, CUgraphConditionalHandle handle);

/* graph_exec.c */
struct vgpu_exec *vgpu_exec_find(struct vgpu_process *process, CUgraphExec handle);

/* graph_memory.c: the memory of a node has been taken; it goes. */
void vgpu_graph_memory_begin(struct vgpu_process *process, struct vgpu_node *node);
void vgpu_graph_memory_end(struct vgpu_process *process, struct vgpu_node *node);

/* graph_held.c */
int vgpu_held_copy(struct vgpu_process *process, struct vgpu_graph *copy, const struct vgpu_graph *graph);
void vgpu_held_release(struct vgpu_process *process, struct vgpu_graph *graph); /* all that it holds */

/* graph_params.c */
int vgpu_graph_has_memory(const struct vgpu_graph *graph); /* it, or a graph in it, has nodes that hold memory */
CUresult vgpu_params_check(struct vgpu_process *process, const struct vgpu_graph *graph,
                           const CUgraphNodeParams *params);
CUresult vgpu_params_put(struct vgpu_process *process, struct vgpu_node *node, const CUgraphNodeParams *params);
void vgpu_params_end(struct vgpu_process *process, struct vgpu_node *node);

#endif
