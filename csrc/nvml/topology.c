/* How far GPUs are from each other and from processors, and whether one can reach another.
 *
 * GPUs of one PCI domain are below one host bridge, others meet in the node; all are near all processors. */
#include <unistd.h>

#include "nvml/usage.h"
#include "vgpu/image.h"

enum {
    SAME = 0,
    ONE_SWITCH = 10,
    SWITCHES = 20,
    HOST_BRIDGE = 30,
    NODE = 40,
    SYSTEM = 50
}; /* nvmlGpuTopologyLevel_t */
enum { P2P_OK = 0, P2P_CHIPSET_NOT_SUPPORTED = 1 }; /* nvmlGpuP2PStatus_t */
enum { P2P_PCI = 4, P2P_INDICES = 5 };              /* nvmlGpuP2PCapsIndex_t */

static nvmlGpuTopologyLevel_t level_of(const struct vgpu_gpu *a, const struct vgpu_gpu *b) {
    if (a == b) {
        return SAME;
    }
    return a->pci_domain == b->pci_domain ? HOST_BRIDGE : NODE;
}

nvmlReturn_t vgpu_nvmlDeviceGetTopologyCommonAncestor(struct vgpu_process *process, struct vgpu_call *call,
                                                      nvmlDevice_t device1, nvmlDevice_t device2,
                                                      nvmlGpuTopologyLevel_t *pathInfo) {
    const struct vgpu_gpu *a = vgpu_nvml_gpu(process, device1);
    const struct vgpu_gpu *b = vgpu_nvml_gpu(process, device2);
    if (a == NULL || b == NULL || pathInfo == NULL) {
        return NVML_ERROR_INVALID_ARGUMENT;
    }
    return vgpu_nvml_say(call, a, (unsigned int *)pathInfo, level_of(a, b));
}

/* GPUs at `level` from one, or all where it is NULL. A count of 0 asks how many there are. */
static void put_gpus(struct vgpu_process *process, const struct vgpu_gpu *from, nvmlGpuTopologyLevel_t level,
                     unsigned int *count, nvmlDevice_t *to) {
    unsigned int room = *count;
    unsigned int found = 0;
    for (uint32_t i = 0; i < process->image->gpus.count; i++) {
        const struct vgpu_gpu *gpu = vgpu_image_gpu(process->image, i);
        int wanted = from == NULL || (gpu != from && level_of(from, gpu) == level);
        if (!wanted || vgpu_nvml_is_removed(process, i) || (room != 0 && found == room)) {
            continue;
        }
        if (room != 0) {
            to[found] = vgpu_nvml_handle(process, i);
        }
        found++;
    }
    *count = found;
}

static int is_level(nvmlGpuTopologyLevel_t level) {
    return level == SAME || level == ONE_SWITCH || level == SWITCHES || level == HOST_BRIDGE || level == NODE ||
           level == SYSTEM;
}

nvmlReturn_t vgpu_nvmlDeviceGetTopologyNearestGpus(struct vgpu_process *process, struct vgpu_call *call,
                                                   nvmlDevice_t device, nvmlGpuTopologyLevel_t level,
                                                   unsigned int *count, nvmlDevice_t *deviceArray) {
    const struct vgpu_gpu *gpu = vgpu_nvml_gpu(process, device);
    if (gpu == NULL || !is_level(level) || count == NULL || (*count != 0 && deviceArray == NULL)) {
        return NVML_ERROR_INVALID_ARGUMENT;
    }
    put_gpus(process, gpu, level, count, deviceArray);
    vgpu_call_output(call, count, sizeof(*count));
    vgpu_nvml_say_pci(call, gpu);
    return NVML_SUCCESS;
}

nvmlReturn_t vgpu_nvmlSystemGetTopologyGpuSet(struct vgpu_process *process, struct vgpu_call *call,
                                              unsigned int cpuNumber, unsigned int *count, nvmlDevice_t *deviceArray) {
    long processors = sysconf(_SC_NPROCESSORS_ONLN);
    if (count == NULL || (*count != 0 && deviceArray == NULL) || cpuNumber >= (unsigned long)processors) {
        return NVML_ERROR_INVALID_ARGUMENT;
    }
    put_gpus(process, NULL, 0, count, deviceArray);
    vgpu_call_output(call, count, sizeof(*count));
    return NVML_SUCCESS;
}

/* Over NVLink, as in CUDA's model; over PCI Express virtual machines seldom let one GPU reach another. */
nvmlReturn_t vgpu_nvmlDeviceGetP2PStatus(struct vgpu_process *process, struct vgpu_call *call, nvmlDevice_t device1,
                                         nvmlDevice_t device2, nvmlGpuP2PCapsIndex_t p2pIndex,
                                         nvmlGpuP2PStatus_t *p2pStatus) {
    const struct vgpu_gpu *a = vgpu_nvml_gpu(process, device1);
    const struct vgpu_gpu *b = vgpu_nvml_gpu(process, device2);
    if (a == NULL || b == NULL || p2pStatus == NULL || p2pIndex < 0 || p2pIndex >= P2P_INDICES) {
        return NVML_ERROR_INVALID_ARGUMENT;
    }
    int reached = p2pIndex != P2P_PCI && vgpu_nvml_are_linked(process, a, b);
    return vgpu_nvml_say(call, a, (unsigned int *)p2pStatus, reached ? P2P_OK : P2P_CHIPSET_NOT_SUPPORTED);
}
