/* Which processors and which memory are near a GPU: on this machine, since the simulated host runs on it. */
#include <sched.h>
#include <string.h>
#include <unistd.h>

#include "nvml/ask.h"

enum {
    WORD_BITS = 8 * sizeof(unsigned long),
    SCOPES = 2, /* node, socket */
};

/* All processors that are online are as near as any: the simulated GPU hangs on no node of the machine. */
static long processors(void) {
    long count = sysconf(_SC_NPROCESSORS_ONLN);
    return count > 0 ? count : 1;
}

nvmlReturn_t vgpu_nvmlDeviceGetCpuAffinityWithinScope(struct vgpu_process *process, struct vgpu_call *call,
                                                      nvmlDevice_t device, unsigned int cpuSetSize,
                                                      unsigned long *cpuSet, nvmlAffinityScope_t scope) {
    const struct vgpu_gpu *gpu = vgpu_nvml_gpu(process, device);
    if (gpu == NULL || cpuSetSize == 0 || cpuSet == NULL || scope >= SCOPES) {
        return NVML_ERROR_INVALID_ARGUMENT;
    }
    memset(cpuSet, 0, cpuSetSize * sizeof(*cpuSet));
    for (unsigned long i = 0, count = (unsigned long)processors(); i < count && i / WORD_BITS < cpuSetSize; i++) {
        cpuSet[i / WORD_BITS] |= 1ul << i % WORD_BITS;
    }
    vgpu_call_output(call, cpuSet, sizeof(*cpuSet));
    vgpu_nvml_say_pci(call, gpu);
    return NVML_SUCCESS;
}

nvmlReturn_t vgpu_nvmlDeviceGetCpuAffinity(struct vgpu_process *process, struct vgpu_call *call, nvmlDevice_t device,
                                           unsigned int cpuSetSize, unsigned long *cpuSet) {
    return vgpu_nvmlDeviceGetCpuAffinityWithinScope(process, call, device, cpuSetSize, cpuSet, 0);
}

/* Binds the calling thread. */
nvmlReturn_t vgpu_nvmlDeviceSetCpuAffinity(struct vgpu_process *process, struct vgpu_call *call, nvmlDevice_t device) {
    const struct vgpu_gpu *gpu = vgpu_nvml_gpu(process, device);
    if (gpu == NULL) {
        return NVML_ERROR_INVALID_ARGUMENT;
    }
    cpu_set_t near;
    CPU_ZERO(&near);
    for (long i = 0, count = processors(); i < count; i++) {
        CPU_SET(i, &near);
    }
    vgpu_nvml_say_pci(call, gpu);
    return sched_setaffinity(0, sizeof(near), &near) == 0 ? NVML_SUCCESS : NVML_ERROR_OPERATING_SYSTEM;
}

nvmlReturn_t vgpu_nvmlDeviceClearCpuAffinity(struct vgpu_process *process, struct vgpu_call *call,
                                             nvmlDevice_t device) {
    const struct vgpu_gpu *gpu = vgpu_nvml_gpu(process, device);
    if (gpu == NULL) {
        return NVML_ERROR_INVALID_ARGUMENT;
    }
    cpu_set_t all;
    memset(&all, 0xff, sizeof(all));
    vgpu_nvml_say_pci(call, gpu);
    return sched_setaffinity(0, sizeof(all), &all) == 0 ? NVML_SUCCESS : NVML_ERROR_OPERATING_SYSTEM;
}

nvmlReturn_t vgpu_nvmlDeviceGetNumaNodeId(struct vgpu_process *process, struct vgpu_call *call, nvmlDevice_t device,
                                          unsigned int *node) {
    return vgpu_nvml_answer(process, call, device, VGPU_PROPERTY_NUMA_NODE, 0, node);
}
