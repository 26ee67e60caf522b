/* Memory that the nodes of graphs hold, counted for each device. */
#include "cuda/graph.h"

enum graph_memory_attribute { USED = 0, USED_HIGH = 1, RESERVED = 2, RESERVED_HIGH = 3, ATTRIBUTES = 4 };

void vgpu_graph_memory_begin(struct vgpu_process *process, struct vgpu_node *node) {
    struct vgpu_cuda *cuda = process->cuda;
    const struct vgpu_region *region = vgpu_region_at(&cuda->memory, node->params.alloc.dptr);
    node->memory_device = region->device;
    node->memory = region->size;
    uint64_t used = cuda->graph_memory[region->device] += region->size;
    if (used > cuda->graph_memory_high[region->device]) {
        cuda->graph_memory_high[region->device] = used;
    }
}

/* The context it was in may have ended before, and the memory with it. */
void vgpu_graph_memory_end(struct vgpu_process *process, struct vgpu_node *node) {
    struct vgpu_cuda *cuda = process->cuda;
    struct vgpu_region *region = vgpu_region_at(&cuda->memory, node->params.alloc.dptr);
    cuda->graph_memory[node->memory_device] -= node->memory;
    if (node->memory > 0 && region != NULL && region->address == node->params.alloc.dptr) {
        vgpu_region_remove(cuda, region);
    }
}

/* Nothing is kept for later: what no node holds is free already. */
CUresult vgpu_cuDeviceGraphMemTrim(struct vgpu_process *process, struct vgpu_call *call, CUdevice device) {
    (void)call;
    return vgpu_cuda_device(process, device) != NULL ? CUDA_SUCCESS : CUDA_ERROR_INVALID_DEVICE;
}

CUresult vgpu_cuDeviceGetGraphMemAttribute(struct vgpu_process *process, struct vgpu_call *call, CUdevice device,
                                           CUgraphMem_attribute attr, void *value) {
    if (vgpu_cuda_device(process, device) == NULL) {
        return CUDA_ERROR_INVALID_DEVICE;
    }
    if (value == NULL || attr < 0 || attr >= ATTRIBUTES) {
        return CUDA_ERROR_INVALID_VALUE;
    }
    int high = attr == USED_HIGH || attr == RESERVED_HIGH;
    *(cuuint64_t *)value = high ? process->cuda->graph_memory_high[device] : process->cuda->graph_memory[device];
    vgpu_call_output(call, value, sizeof(cuuint64_t));
    return CUDA_SUCCESS;
}

/* The high marks alone can be set, to 0: they begin anew from what is in use (doc). */
CUresult vgpu_cuDeviceSetGraphMemAttribute(struct vgpu_process *process, struct vgpu_call *call, CUdevice device,
                                           CUgraphMem_attribute attr, void *value) {
    (void)call;
    if (vgpu_cuda_device(process, device) == NULL) {
        return CUDA_ERROR_INVALID_DEVICE;
    }
    if (value == NULL || (attr != USED_HIGH && attr != RESERVED_HIGH) || *(const cuuint64_t *)value != 0) {
        return CUDA_ERROR_INVALID_VALUE;
    }
    process->cuda->graph_memory_high[device] = process->cuda->graph_memory[device];
    return CUDA_SUCCESS;
}
