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

/* Memory of an allocation node, and of its copies. It lives as long as a node speaks of it, or it is there. */
struct vgpu_block {
    struct vgpu_block *next;
    uint64_t address;
    uint64_t size;
    CUdevice device;
    uint64_t owner;         /* the handle of the graph that the node is of */
    uint32_t users;         /* nodes, and the region */
    uint32_t freed_inside;  /* by nodes of its graph: 0, 1 */
    uint32_t freed_outside; /* by how many nodes of other graphs */
    int is_there;           /* allocated, and not freed: there is a region */
    uint64_t launch;        /* graph_plan.c: the last one that was planned, and what it led to */
    int planned;
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
    struct vgpu_block *block;          /* that it allocates or frees */
    uint32_t mark;                     /* graph_edges.c */
    struct vgpu_edge *before;
    size_t before_count;
};

struct vgpu_graph {
    struct vgpu_object object;
    uint32_t id;
    uint32_t nodes_given;
    uint64_t origin;        /* the handle of the graph that this is a copy of */
    uint32_t captures;      /* that put nodes into it */
    int is_moved;           /* into a node of another graph, whole */
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
    int frees;                      /* what a launch has left when it is launched again */
    uint64_t mapped[VGPU_GPUS_MAX]; /* bytes of each device, since its last launch */
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

/* The parameters of one type of node, within those of any. */
struct vgpu_part {
    int type;
    size_t offset;
    size_t size;
};

#define VGPU_PART(type, member)                                                                                        \
    ((struct vgpu_part){type, offsetof(CUgraphNodeParams, member), sizeof(((CUgraphNodeParams *)NULL)->member)})

/* The same ways for one type. `from`, `to`: NULL is an invalid value; `call`: NULL for what is no single number. */
CUresult vgpu_part_add(struct vgpu_process *process, struct vgpu_call *call, CUgraphNode *handle, CUgraph hGraph,
                       struct vgpu_dependencies before, struct vgpu_part part, const void *from);
CUresult vgpu_part_get(struct vgpu_process *process, struct vgpu_call *call, CUgraphNode handle, struct vgpu_part part,
                       void *to);
CUresult vgpu_part_change(struct vgpu_process *process, CUgraphNode handle, struct vgpu_part part, const void *from);
CUresult vgpu_part_set(struct vgpu_process *process, struct vgpu_node *node, struct vgpu_part part, const void *from);

/* graph_any_node.c: what a condition comes to. */
int vgpu_conditional_is_free(struct vgpu_process *process, CUgraphConditionalHandle handle,
                             const struct vgpu_graph *graph); /* for a node of the graph */
unsigned int vgpu_conditional_value(struct vgpu_process *process, CUgraphConditionalHandle handle);

/* graph_exec.c */
struct vgpu_exec *vgpu_exec_find(struct vgpu_process *process, CUgraphExec handle);

/* graph_memory.c: what a new node would allocate or free; a node that does begins, and ends. */
CUresult vgpu_graph_memory_check(struct vgpu_process *process, const struct vgpu_graph *graph,
                                 const CUDA_MEM_ALLOC_NODE_PARAMS *params);
CUresult vgpu_graph_memory_check_free(struct vgpu_process *process, const struct vgpu_graph *graph, CUdeviceptr dptr);
CUresult vgpu_graph_memory_put(struct vgpu_process *process, struct vgpu_node *node);
void vgpu_graph_memory_end(struct vgpu_process *process, struct vgpu_node *node);

/* The nodes are done. INVALID_VALUE: it is there already, or not there. */
CUresult vgpu_graph_memory_allocate(struct vgpu_process *process, struct vgpu_block *block);
CUresult vgpu_graph_memory_free(struct vgpu_process *process, const struct vgpu_block *block);
/* Room for so much memory that is there at once: 1, or 0: there is not enough. */
int vgpu_graph_memory_reserve(struct vgpu_cuda *cuda, CUdevice device, uint64_t live);
/* The executable graph has so much of the device mapped now. */
void vgpu_graph_memory_map(struct vgpu_process *process, struct vgpu_exec *exec, CUdevice device, uint64_t live);

/* graph_plan.c: reserves what a launch takes, if nothing stands in its way. `launches`: or is it an upload, which does
 * no more? */
CUresult vgpu_graph_memory_prepare(struct vgpu_process *process, struct vgpu_exec *exec, int launches);

/* pool.c: whether such memory can be allocated. */
CUresult vgpu_pool_check(struct vgpu_process *process, const CUmemPoolProps *props);

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
