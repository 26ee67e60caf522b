/* Memory: the first form counts what the driver reserves as used, the second shows it apart (doc). */
#include "nvml/model.h"

#define MEMORY_V2 ((unsigned int)(sizeof(nvmlMemory_v2_t) | 2u << 24)) /* nvmlMemory_v2, by NVML_STRUCT_VERSION */

static uint64_t free_bytes(const struct vgpu_gpu *gpu) {
    return gpu->memory_total - gpu->memory_reserved - gpu->memory_used;
}

/* The trace has free before total, as for CUDA. In the struct `total` comes first. */
static void say(struct vgpu_call *call, const struct vgpu_gpu *gpu, unsigned long long *unused,
                unsigned long long *total) {
    vgpu_call_output(call, unused, sizeof(*unused));
    vgpu_call_output(call, total, sizeof(*total));
    call->first_output = 1;
    vgpu_nvml_say_pci(call, gpu);
}

nvmlReturn_t vgpu_nvmlDeviceGetMemoryInfo(struct vgpu_process *process, struct vgpu_call *call, nvmlDevice_t device,
                                          nvmlMemory_t *memory) {
    const struct vgpu_gpu *gpu = vgpu_nvml_gpu(process, device);
    if (gpu == NULL || memory == NULL) {
        return NVML_ERROR_INVALID_ARGUMENT;
    }
    memory->total = gpu->memory_total;
    memory->free = free_bytes(gpu);
    memory->used = gpu->memory_reserved + gpu->memory_used;
    say(call, gpu, &memory->free, &memory->total);
    return NVML_SUCCESS;
}

nvmlReturn_t vgpu_nvmlDeviceGetMemoryInfo_v2(struct vgpu_process *process, struct vgpu_call *call, nvmlDevice_t device,
                                             nvmlMemory_v2_t *memory) {
    const struct vgpu_gpu *gpu = vgpu_nvml_gpu(process, device);
    if (gpu == NULL || memory == NULL) {
        return NVML_ERROR_INVALID_ARGUMENT;
    }
    if (memory->version != MEMORY_V2) {
        return NVML_ERROR_ARGUMENT_VERSION_MISMATCH;
    }
    memory->total = gpu->memory_total;
    memory->reserved = gpu->memory_reserved;
    memory->free = free_bytes(gpu);
    memory->used = gpu->memory_used;
    say(call, gpu, &memory->free, &memory->total);
    return NVML_SUCCESS;
}
