/* Accounting: what processes have used over their lives. Those of the host image are running for ever. */
#include <string.h>
#include <unistd.h>

#include "nvml/structs_event.h"
#include "nvml/usage.h"
#include "vgpu/image.h"

enum { BUFFER = 4000 }; /* nvidia-smi -q, "Accounting Mode Buffer Size" */

nvmlReturn_t vgpu_nvmlDeviceGetAccountingMode(struct vgpu_process *process, struct vgpu_call *call, nvmlDevice_t device,
                                              nvmlEnableState_t *mode) {
    return vgpu_nvml_answer_or(process, call, device, VGPU_PROPERTY_ACCOUNTING_MODE, 0, 0, (unsigned int *)mode);
}

nvmlReturn_t vgpu_nvmlDeviceSetAccountingMode(struct vgpu_process *process, struct vgpu_call *call, nvmlDevice_t device,
                                              nvmlEnableState_t mode) {
    const struct vgpu_gpu *gpu;
    nvmlReturn_t refusal = vgpu_nvml_settable(process, device, &gpu);
    if (refusal == NVML_ERROR_INVALID_ARGUMENT || mode < 0 || mode > 1) {
        return NVML_ERROR_INVALID_ARGUMENT;
    }
    if (refusal != NVML_SUCCESS) {
        return refusal;
    }
    vgpu_nvml_say_pci(call, gpu);
    return vgpu_nvml_set(process, gpu, VGPU_PROPERTY_ACCOUNTING_MODE, 0, mode);
}

nvmlReturn_t vgpu_nvmlDeviceGetAccountingBufferSize(struct vgpu_process *process, struct vgpu_call *call,
                                                    nvmlDevice_t device, unsigned int *bufferSize) {
    const struct vgpu_gpu *gpu = vgpu_nvml_gpu(process, device);
    return gpu != NULL && bufferSize != NULL ? vgpu_nvml_say(call, gpu, bufferSize, BUFFER)
                                             : NVML_ERROR_INVALID_ARGUMENT;
}

/* INVALID_ARGUMENT, NOT_SUPPORTED while the mode is off (doc), or SUCCESS and the GPU. */
static nvmlReturn_t begin(struct vgpu_process *process, nvmlDevice_t device, const void *to,
                          const struct vgpu_gpu **gpu) {
    *gpu = vgpu_nvml_gpu(process, device);
    if (*gpu == NULL || to == NULL) {
        return NVML_ERROR_INVALID_ARGUMENT;
    }
    int on = vgpu_nvml_get_or(process, *gpu, VGPU_PROPERTY_ACCOUNTING_MODE, 0, 0) != 0;
    return on ? NVML_SUCCESS : NVML_ERROR_NOT_SUPPORTED;
}

static unsigned int pid_of(const struct vgpu_gpu_process *user) {
    return user->pid != 0 ? user->pid : (unsigned int)getpid();
}

nvmlReturn_t vgpu_nvmlDeviceGetAccountingPids(struct vgpu_process *process, struct vgpu_call *call, nvmlDevice_t device,
                                              unsigned int *count, unsigned int *pids) {
    const struct vgpu_gpu *gpu;
    nvmlReturn_t refusal = begin(process, device, count, &gpu);
    if (refusal != NVML_SUCCESS) {
        return refusal;
    }
    unsigned int room = *count;
    vgpu_nvml_say(call, gpu, count, gpu->processes.count);
    if (room < gpu->processes.count) {
        return NVML_ERROR_INSUFFICIENT_SIZE;
    }
    const struct vgpu_gpu_process *users = vgpu_image_processes(process->image, gpu);
    if (pids == NULL) {
        return gpu->processes.count == 0 ? NVML_SUCCESS : NVML_ERROR_INVALID_ARGUMENT;
    }
    for (uint32_t i = 0; i < gpu->processes.count; i++) {
        pids[i] = pid_of(&users[i]);
    }
    return NVML_SUCCESS;
}

static const struct vgpu_gpu_process *user_of(struct vgpu_process *process, const struct vgpu_gpu *gpu,
                                              unsigned int pid) {
    const struct vgpu_gpu_process *users = vgpu_image_processes(process->image, gpu);
    for (uint32_t i = 0; i < gpu->processes.count; i++) {
        if (pid_of(&users[i]) == pid) {
            return &users[i];
        }
    }
    return NULL;
}

/* Running processes have no time yet (doc); when they started is not known. */
nvmlReturn_t vgpu_nvmlDeviceGetAccountingStats(struct vgpu_process *process, struct vgpu_call *call,
                                               nvmlDevice_t device, unsigned int pid, nvmlAccountingStats_t *stats) {
    const struct vgpu_gpu *gpu;
    nvmlReturn_t refusal = begin(process, device, stats, &gpu);
    if (refusal != NVML_SUCCESS) {
        return refusal;
    }
    const struct vgpu_gpu_process *user = user_of(process, gpu, pid);
    if (user == NULL) {
        return NVML_ERROR_NOT_FOUND;
    }
    memset(stats, 0, sizeof(*stats));
    stats->maxMemoryUsage = user->used;
    stats->isRunning = 1;
    vgpu_nvml_say(call, gpu, &stats->gpuUtilization, user->sm);
    return vgpu_nvml_say(call, gpu, &stats->memoryUtilization, user->memory);
}

/* The sums are of one sample: the simulated process always does the same. */
nvmlReturn_t vgpu_nvmlDeviceGetAccountingStats_v2(struct vgpu_process *process, struct vgpu_call *call,
                                                  nvmlDevice_t device, nvmlAccountingStats_v2_t *stats) {
    const struct vgpu_gpu *gpu;
    nvmlReturn_t refusal = begin(process, device, stats, &gpu);
    if (refusal != NVML_SUCCESS) {
        return refusal;
    }
    const struct vgpu_gpu_process *user = user_of(process, gpu, stats->pid);
    if (user == NULL) {
        return NVML_ERROR_NOT_FOUND;
    }
    *stats = (nvmlAccountingStats_v2_t){.pid = stats->pid,
                                        .isRunning = 1,
                                        .maxMemoryUsage = user->used,
                                        .sampleCount = 1,
                                        .sumGpuUtil = user->sm,
                                        .sumFbUtil = user->memory};
    vgpu_nvml_say(call, gpu, &stats->gpuUtilization, user->sm);
    return vgpu_nvml_say(call, gpu, &stats->memoryUtilization, user->memory);
}
