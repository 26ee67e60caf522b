/* The NVLink fabric of several hosts: Hopper and newer GPUs can be in one. Without the property FABRIC_STATE the GPU's
 * state is that it supports none, as on a host without NVSwitch. */
#include <string.h>

#include "nvml/structs_link.h"
#include "nvml/usage.h"
#include "vgpu/image.h"

struct fabric {
    unsigned char cluster[16];
    unsigned int clique;
    unsigned char state;
};

static int digit(char c) {
    return c >= 'a' ? c - 'a' + 10 : c >= 'A' ? c - 'A' + 10 : c - '0';
}

static struct fabric fabric_of(struct vgpu_process *process, const struct vgpu_gpu *gpu) {
    struct fabric fabric = {
        .clique = (unsigned int)vgpu_nvml_get_or(process, gpu, VGPU_PROPERTY_FABRIC_CLIQUE, 0, 0),
        .state = (unsigned char)vgpu_nvml_get_or(process, gpu, VGPU_PROPERTY_FABRIC_STATE, 0, 0),
    };
    const char *cluster = vgpu_image_gpu_text(process->image, gpu, VGPU_TEXT_FABRIC_CLUSTER, 0);
    if (cluster != NULL && strlen(cluster) == 2 * sizeof(fabric.cluster)) {
        for (size_t i = 0; i < sizeof(fabric.cluster); i++) {
            fabric.cluster[i] = (unsigned char)(digit(cluster[2 * i]) << 4 | digit(cluster[2 * i + 1]));
        }
    }
    return fabric;
}

static nvmlReturn_t begin(struct vgpu_process *process, nvmlDevice_t device, const void *to,
                          const struct vgpu_gpu **gpu) {
    *gpu = vgpu_nvml_gpu(process, device);
    if (*gpu == NULL || to == NULL) {
        return NVML_ERROR_INVALID_ARGUMENT;
    }
    return vgpu_nvml_is_since(*gpu, 9, 0) ? NVML_SUCCESS : NVML_ERROR_NOT_SUPPORTED;
}

nvmlReturn_t vgpu_nvmlDeviceGetGpuFabricInfo(struct vgpu_process *process, struct vgpu_call *call, nvmlDevice_t device,
                                             nvmlGpuFabricInfo_t *gpuFabricInfo) {
    const struct vgpu_gpu *gpu;
    nvmlReturn_t refusal = begin(process, device, gpuFabricInfo, &gpu);
    if (refusal != NVML_SUCCESS) {
        return refusal;
    }
    struct fabric fabric = fabric_of(process, gpu);
    memcpy(gpuFabricInfo->clusterUuid, fabric.cluster, sizeof(fabric.cluster));
    gpuFabricInfo->status = NVML_SUCCESS;
    gpuFabricInfo->state = fabric.state;
    return vgpu_nvml_say(call, gpu, &gpuFabricInfo->cliqueId, fabric.clique);
}

/* Version 2 ends before healthSummary. Nothing is known of the fabric's health: all parts of the mask are 0. */
nvmlReturn_t vgpu_nvmlDeviceGetGpuFabricInfoV(struct vgpu_process *process, struct vgpu_call *call, nvmlDevice_t device,
                                              nvmlGpuFabricInfoV_t *gpuFabricInfo) {
    enum { VERSION_2 = 36 | 2 << 24 };
    const struct vgpu_gpu *gpu;
    nvmlReturn_t refusal = begin(process, device, gpuFabricInfo, &gpu);
    if (refusal == NVML_ERROR_INVALID_ARGUMENT) {
        return refusal;
    }
    int whole = gpuFabricInfo->version == VGPU_NVML_STRUCT(nvmlGpuFabricInfoV_t, 3);
    if (!whole && gpuFabricInfo->version != VERSION_2) {
        return NVML_ERROR_ARGUMENT_VERSION_MISMATCH;
    }
    if (refusal != NVML_SUCCESS) {
        return refusal;
    }
    struct fabric fabric = fabric_of(process, gpu);
    memcpy(gpuFabricInfo->clusterUuid, fabric.cluster, sizeof(fabric.cluster));
    gpuFabricInfo->status = NVML_SUCCESS;
    gpuFabricInfo->state = fabric.state;
    gpuFabricInfo->healthMask = 0;
    if (whole) {
        gpuFabricInfo->healthSummary = 0;
    }
    return vgpu_nvml_say(call, gpu, &gpuFabricInfo->cliqueId, fabric.clique);
}

/* A GPU that has joined is in one clique. */
nvmlReturn_t vgpu_nvmlDeviceGetGpuFabricInfo_v4(struct vgpu_process *process, struct vgpu_call *call,
                                                nvmlDevice_t device, nvmlGpuFabricInfo_v4_t *gpuFabricInfo) {
    enum { COMPLETED = 3 };
    const struct vgpu_gpu *gpu;
    nvmlReturn_t refusal = begin(process, device, gpuFabricInfo, &gpu);
    if (refusal != NVML_SUCCESS) {
        return refusal;
    }
    struct fabric fabric = fabric_of(process, gpu);
    memset(gpuFabricInfo, 0, sizeof(*gpuFabricInfo));
    memcpy(gpuFabricInfo->clusterUuid, fabric.cluster, sizeof(fabric.cluster));
    gpuFabricInfo->state = fabric.state;
    gpuFabricInfo->cliques[0].id = fabric.clique;
    return vgpu_nvml_say(call, gpu, &gpuFabricInfo->numCliques, fabric.state == COMPLETED);
}
