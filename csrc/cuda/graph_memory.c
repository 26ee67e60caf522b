/* Memory that nodes of graphs allocate and free. Its address is given when the node is made, and is there for good;
 * what is behind it is there from a launch of the node until it is freed, by another node or by the program
 * (cuda.h 13.5, cuGraphAddMemAllocNode). What a device has once given for it stays reserved until cuDeviceGraphMemTrim.
 */
#include <stdlib.h>

#include "cuda/graph.h"

enum graph_memory_attribute { USED = 0, USED_HIGH = 1, RESERVED = 2, RESERVED_HIGH = 3 };

#define STEP ((uint64_t)VGPU_CUDA_GRANULARITY) /* own choice: as pools take it */

static uint64_t rounded(uint64_t bytes) {
    return bytes > UINT64_MAX - STEP ? bytes : (bytes + STEP - 1) / STEP * STEP;
}

static struct vgpu_block *find(const struct vgpu_cuda *cuda, uint64_t address) {
    struct vgpu_block *block = cuda->graph_blocks;
    while (block != NULL && block->address != address) {
        block = block->next;
    }
    return block;
}

int vgpu_graph_memory_has(const struct vgpu_process *process, uint64_t address) {
    const struct vgpu_block *block = process->cuda->graph_blocks;
    while (block != NULL && address - block->address >= block->size) {
        block = block->next;
    }
    return block != NULL;
}

static void drop(struct vgpu_cuda *cuda, struct vgpu_block *block) {
    if (--block->users > 0) {
        return;
    }
    struct vgpu_block **link = &cuda->graph_blocks;
    while (*link != block) {
        link = &(*link)->next;
    }
    *link = block->next;
    free(block);
}

/* Peers are described as with cuMemPoolSetAccess. */
static CUresult check_access(struct vgpu_process *process, const CUDA_MEM_ALLOC_NODE_PARAMS *params) {
    if (params->accessDescCount > process->cuda->devices ||
        (params->accessDescCount > 0 && params->accessDescs == NULL)) {
        return CUDA_ERROR_INVALID_VALUE;
    }
    for (size_t i = 0; i < params->accessDescCount; i++) {
        const CUmemAccessDesc *access = &params->accessDescs[i];
        if (access->location.type != VGPU_LOCATION_DEVICE || vgpu_cuda_device(process, access->location.id) == NULL ||
            (access->flags != VGPU_ACCESS_NONE && access->flags != VGPU_ACCESS_READ_WRITE)) {
            return CUDA_ERROR_INVALID_VALUE;
        }
    }
    return CUDA_SUCCESS;
}

/* Graphs within nodes take no more such nodes (cuda.h 13.5, CU_GRAPH_CHILD_GRAPH_OWNERSHIP_CLONE, _MOVE; the bodies of
 * conditions have no such nodes either). */
CUresult vgpu_graph_memory_check(struct vgpu_process *process, const struct vgpu_graph *graph,
                                 const CUDA_MEM_ALLOC_NODE_PARAMS *params) {
    if (graph->object.is_part) {
        return CUDA_ERROR_NOT_SUPPORTED;
    }
    if (params->bytesize == 0 || params->poolProps.win32SecurityAttributes != NULL) {
        return CUDA_ERROR_INVALID_VALUE;
    }
    CUresult refusal = vgpu_pool_check(process, &params->poolProps);
    return refusal == CUDA_SUCCESS ? check_access(process, params) : refusal;
}

/* What is freed in its own graph is freed nowhere else, and the other way round (cuda.h 13.5, cuGraphAddMemAllocNode).
 */
CUresult vgpu_graph_memory_check_free(struct vgpu_process *process, const struct vgpu_graph *graph, CUdeviceptr dptr) {
    const struct vgpu_block *block = find(process->cuda, dptr);
    if (graph->object.is_part) {
        return CUDA_ERROR_NOT_SUPPORTED;
    }
    if (block == NULL || block->freed_inside) {
        return CUDA_ERROR_INVALID_VALUE;
    }
    if (block->owner == graph->object.handle) {
        return block->freed_outside == 0 ? CUDA_SUCCESS : CUDA_ERROR_INVALID_VALUE;
    }
    for (size_t i = 0; i < graph->count; i++) {
        const CUgraphNodeParams *other = &graph->nodes[i]->params;
        if (other->type == VGPU_NODE_MEM_FREE && other->free.dptr == dptr) {
            return CUDA_ERROR_INVALID_VALUE;
        }
    }
    return CUDA_SUCCESS;
}

CUresult vgpu_graph_memory_put(struct vgpu_process *process, struct vgpu_node *node) {
    struct vgpu_cuda *cuda = process->cuda;
    int allocates = node->params.type == VGPU_NODE_MEM_ALLOC;
    if (allocates && node->origin == 0) {
        struct vgpu_block *made = calloc(1, sizeof(*made));
        uint64_t size = node->params.alloc.bytesize;
        uint64_t address = made != NULL ? vgpu_region_new_address(&cuda->memory, size, 0) : 0;
        if (address == 0) {
            free(made);
            return CUDA_ERROR_OUT_OF_MEMORY;
        }
        *made = (struct vgpu_block){.next = cuda->graph_blocks,
                                    .address = address,
                                    .size = size,
                                    .device = node->params.alloc.poolProps.location.id,
                                    .owner = node->graph->object.handle};
        cuda->graph_blocks = made;
        node->params.alloc.dptr = address;
    }
    node->block = find(cuda, allocates ? node->params.alloc.dptr : node->params.free.dptr);
    if (node->block == NULL) {
        return CUDA_ERROR_INVALID_VALUE;
    }
    node->block->users++;
    if (!allocates && node->origin == 0) {
        int inside = node->block->owner == node->graph->object.handle;
        *(inside ? &node->block->freed_inside : &node->block->freed_outside) += 1;
    }
    return CUDA_SUCCESS;
}

void vgpu_graph_memory_end(struct vgpu_process *process, struct vgpu_node *node) {
    struct vgpu_block *block = node->block;
    if (block == NULL) {
        return;
    }
    if (node->params.type == VGPU_NODE_MEM_FREE && node->origin == 0) {
        int inside = block->owner == node->graph->object.handle;
        *(inside ? &block->freed_inside : &block->freed_outside) -= 1;
    }
    node->block = NULL;
    drop(process->cuda, block);
}

int vgpu_graph_memory_reserve(struct vgpu_cuda *cuda, CUdevice device, uint64_t live) {
    struct vgpu_graph_memory *memory = &cuda->graph_memory[device];
    uint64_t wanted = rounded(live);
    if (wanted <= memory->reserved) {
        return 1;
    }
    if (wanted - memory->reserved > vgpu_cuda_free(&cuda->device[device])) {
        return 0;
    }
    cuda->device[device].allocated += wanted - memory->reserved;
    memory->reserved = wanted;
    memory->reserved_high = wanted > memory->reserved_high ? wanted : memory->reserved_high;
    return 1;
}

struct usage {
    CUdevice device;
    uint64_t most;
};

static void look_at_exec(struct vgpu_object *object, void *data) {
    struct usage *usage = data;
    const struct vgpu_exec *exec = (const struct vgpu_exec *)object;
    uint64_t bytes = exec->mapped[usage->device];
    usage->most = bytes > usage->most ? bytes : usage->most;
}

/* An executable graph keeps the memory of its last launch mapped until a trim, freed or not; several share it
 * (NVIDIA/cuda-python, test_cuda_graphMem_attr; NVIDIA/cuda-samples, graphMemoryFootprint). */
static uint64_t used(struct vgpu_process *process, CUdevice device) {
    const struct vgpu_graph_memory *memory = &process->cuda->graph_memory[device];
    struct usage usage = {device, rounded(memory->live)};
    vgpu_objects_visit(process, VGPU_OBJECT_EXEC, look_at_exec, &usage);
    return usage.most;
}

void vgpu_graph_memory_map(struct vgpu_process *process, struct vgpu_exec *exec, CUdevice device, uint64_t live) {
    struct vgpu_graph_memory *memory = &process->cuda->graph_memory[device];
    exec->mapped[device] = rounded(live);
    uint64_t now = used(process, device);
    memory->used_high = now > memory->used_high ? now : memory->used_high;
}

CUresult vgpu_graph_memory_allocate(struct vgpu_process *process, struct vgpu_block *block) {
    struct vgpu_cuda *cuda = process->cuda;
    uint64_t live = cuda->graph_memory[block->device].live + block->size;
    if (block->is_there) {
        return CUDA_ERROR_INVALID_VALUE;
    }
    if (!vgpu_graph_memory_reserve(cuda, block->device, live)) {
        return CUDA_ERROR_OUT_OF_MEMORY;
    }
    struct vgpu_region region = {.address = block->address,
                                 .size = block->size,
                                 .kind = VGPU_REGION_GRAPH,
                                 .device = block->device,
                                 .block = block};
    region.store = vgpu_store_new(block->size);
    if (region.store == NULL || vgpu_region_add(&cuda->memory, &region) == NULL) {
        vgpu_store_drop(&cuda->memory, region.store);
        return CUDA_ERROR_OUT_OF_MEMORY;
    }
    block->is_there = 1;
    block->users++;
    cuda->graph_memory[block->device].live = live;
    return CUDA_SUCCESS;
}

CUresult vgpu_graph_memory_free(struct vgpu_process *process, const struct vgpu_block *block) {
    struct vgpu_cuda *cuda = process->cuda;
    if (!block->is_there) {
        return CUDA_ERROR_INVALID_VALUE;
    }
    vgpu_region_remove(cuda, vgpu_region_at(&cuda->memory, block->address));
    return CUDA_SUCCESS;
}

int vgpu_graph_memory_is_free_to_go(const struct vgpu_block *block) {
    return !block->freed_inside;
}

void vgpu_graph_memory_gone(struct vgpu_cuda *cuda, struct vgpu_block *block) {
    block->is_there = 0;
    cuda->graph_memory[block->device].live -= block->size;
    drop(cuda, block);
}

static uint64_t live_in(const struct vgpu_graph *graph, CUdevice device) {
    uint64_t live = 0;
    for (size_t i = 0; i < graph->count; i++) {
        const struct vgpu_node *node = graph->nodes[i];
        if (node->params.type == VGPU_NODE_MEM_ALLOC && node->block->is_there && node->block->device == device) {
            live += node->block->size;
        }
        live += node->params.type == VGPU_NODE_GRAPH ? live_in(node->children[0], device) : 0;
    }
    return live;
}

static void unmap(struct vgpu_object *object, void *device) {
    struct vgpu_exec *exec = (struct vgpu_exec *)object;
    exec->mapped[*(CUdevice *)device] = rounded(live_in(exec->graph, *(CUdevice *)device));
}

/* What is in use stays (doc). */
CUresult vgpu_cuDeviceGraphMemTrim(struct vgpu_process *process, struct vgpu_call *call, CUdevice device) {
    (void)call;
    if (vgpu_cuda_device(process, device) == NULL) {
        return CUDA_ERROR_INVALID_DEVICE;
    }
    struct vgpu_graph_memory *memory = &process->cuda->graph_memory[device];
    uint64_t least = rounded(memory->live);
    process->cuda->device[device].allocated -= memory->reserved - least;
    memory->reserved = least;
    vgpu_objects_visit(process, VGPU_OBJECT_EXEC, unmap, &device);
    return CUDA_SUCCESS;
}

static uint64_t attribute(struct vgpu_process *process, CUdevice device, CUgraphMem_attribute attr) {
    const struct vgpu_graph_memory *memory = &process->cuda->graph_memory[device];
    return attr == USED        ? used(process, device)
           : attr == USED_HIGH ? memory->used_high
           : attr == RESERVED  ? memory->reserved
                               : memory->reserved_high;
}

CUresult vgpu_cuDeviceGetGraphMemAttribute(struct vgpu_process *process, struct vgpu_call *call, CUdevice device,
                                           CUgraphMem_attribute attr, void *value) {
    if (vgpu_cuda_device(process, device) == NULL) {
        return CUDA_ERROR_INVALID_DEVICE;
    }
    if (value == NULL || attr < USED || attr > RESERVED_HIGH) {
        return CUDA_ERROR_INVALID_VALUE;
    }
    *(cuuint64_t *)value = attribute(process, device, attr);
    vgpu_call_output(call, value, sizeof(cuuint64_t));
    return CUDA_SUCCESS;
}

/* The high marks alone can be set, to 0: they begin anew from what there is (doc). */
CUresult vgpu_cuDeviceSetGraphMemAttribute(struct vgpu_process *process, struct vgpu_call *call, CUdevice device,
                                           CUgraphMem_attribute attr, void *value) {
    (void)call;
    if (vgpu_cuda_device(process, device) == NULL) {
        return CUDA_ERROR_INVALID_DEVICE;
    }
    if (value == NULL || (attr != USED_HIGH && attr != RESERVED_HIGH) || *(const cuuint64_t *)value != 0) {
        return CUDA_ERROR_INVALID_VALUE;
    }
    struct vgpu_graph_memory *memory = &process->cuda->graph_memory[device];
    *(attr == USED_HIGH ? &memory->used_high : &memory->reserved_high) =
        attribute(process, device, attr == USED_HIGH ? USED : RESERVED);
    return CUDA_SUCCESS;
}
