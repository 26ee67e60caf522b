/* Memory: the first form counts what the driver reserves as used, the second shows it apart (doc). */
#include "nvml/mig.h"
#include "nvml/structs_usage.h"
#include "vgpu/image.h"

/* A GPU's memory, or that of a MIG device, which has no reserve of its own; 0: it is no handle. */
struct memory {
    const struct vgpu_gpu *gpu;
    uint64_t total;
    uint64_t reserved;
    uint64_t used;
};

static int find(struct vgpu_process *process, nvmlDevice_t device, struct memory *memory) {
    const struct vgpu_gpu *gpu = vgpu_nvml_gpu(process, device);
    if (gpu != NULL) {
        *memory = (struct memory){gpu, gpu->memory_total, gpu->memory_reserved, gpu->memory_used};
        return 1;
    }
    const struct vgpu_mig_device *mig = vgpu_nvml_mig(process, device, &gpu);
    if (mig == NULL) {
        return 0;
    }
    *memory = (struct memory){gpu, mig->memory, 0, 0};
    const struct vgpu_gpu_process *users = vgpu_image_processes(process->image, gpu);
    for (uint32_t i = 0; i < gpu->processes.count; i++) {
        memory->used += vgpu_nvml_runs_on(process, gpu, &users[i], mig) ? users[i].used : 0;
    }
    return 1;
}

static uint64_t free_bytes(const struct memory *memory) {
    return memory->total - memory->reserved - memory->used;
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
    struct memory known;
    if (memory == NULL || !find(process, device, &known)) {
        return NVML_ERROR_INVALID_ARGUMENT;
    }
    memory->total = known.total;
    memory->free = free_bytes(&known);
    memory->used = known.reserved + known.used;
    say(call, known.gpu, &memory->free, &memory->total);
    return NVML_SUCCESS;
}

nvmlReturn_t vgpu_nvmlDeviceGetMemoryInfo_v2(struct vgpu_process *process, struct vgpu_call *call, nvmlDevice_t device,
                                             nvmlMemory_v2_t *memory) {
    struct memory known;
    if (memory == NULL || !find(process, device, &known)) {
        return NVML_ERROR_INVALID_ARGUMENT;
    }
    if (memory->version != VGPU_NVML_STRUCT(nvmlMemory_v2_t, 2)) {
        return NVML_ERROR_ARGUMENT_VERSION_MISMATCH;
    }
    memory->total = known.total;
    memory->reserved = known.reserved;
    memory->free = free_bytes(&known);
    memory->used = known.used;
    say(call, known.gpu, &memory->free, &memory->total);
    return NVML_SUCCESS;
}

nvmlReturn_t vgpu_nvmlDeviceGetBAR1MemoryInfo(struct vgpu_process *process, struct vgpu_call *call, nvmlDevice_t device,
                                              nvmlBAR1Memory_t *bar1Memory) {
    const struct vgpu_gpu *gpu = vgpu_nvml_gpu(process, device);
    int64_t total;
    if (gpu == NULL || bar1Memory == NULL) {
        return NVML_ERROR_INVALID_ARGUMENT;
    }
    if (!vgpu_nvml_get(process, gpu, VGPU_PROPERTY_BAR1_TOTAL, 0, &total)) {
        return NVML_ERROR_NOT_SUPPORTED;
    }
    int64_t used = vgpu_nvml_get_or(process, gpu, VGPU_PROPERTY_BAR1_USED, 0, 0);
    bar1Memory->bar1Total = (unsigned long long)total;
    bar1Memory->bar1Used = (unsigned long long)used;
    bar1Memory->bar1Free = (unsigned long long)(total - used);
    say(call, gpu, &bar1Memory->bar1Free, &bar1Memory->bar1Total);
    return NVML_SUCCESS;
}

nvmlReturn_t vgpu_nvmlDeviceGetMemoryBusWidth(struct vgpu_process *process, struct vgpu_call *call, nvmlDevice_t device,
                                              unsigned int *busWidth) {
    return vgpu_nvml_answer(process, call, device, VGPU_PROPERTY_MEMORY_BUS_WIDTH, 0, busWidth);
}

/* The simulated GPU hangs on the machine's first NUMA node, for either scope. */
nvmlReturn_t vgpu_nvmlDeviceGetMemoryAffinity(struct vgpu_process *process, struct vgpu_call *call, nvmlDevice_t device,
                                              unsigned int nodeSetSize, unsigned long *nodeSet,
                                              nvmlAffinityScope_t scope) {
    enum { SCOPES = 2 };
    const struct vgpu_gpu *gpu = vgpu_nvml_gpu(process, device);
    if (gpu == NULL || nodeSetSize == 0 || nodeSet == NULL || scope >= SCOPES) {
        return NVML_ERROR_INVALID_ARGUMENT;
    }
    for (unsigned int i = 0; i < nodeSetSize; i++) {
        nodeSet[i] = i == 0;
    }
    vgpu_call_output(call, nodeSet, sizeof(*nodeSet));
    vgpu_nvml_say_pci(call, gpu);
    return NVML_SUCCESS;
}
