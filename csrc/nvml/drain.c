/* Taking a GPU out of service: draining, removal, discovery. A GPU is named by its PCI address here. */
#include <string.h>

#include "nvml/ask.h"
#include "vgpu/image.h"

static uint32_t place_of(struct vgpu_process *process, const nvmlPciInfo_t *pci) {
    uint32_t i = 0;
    for (const struct vgpu_gpu *gpu; (gpu = vgpu_image_gpu(process->image, i)) != NULL; i++) {
        if (gpu->pci_domain == pci->domain && gpu->pci_bus == pci->bus && gpu->pci_device == pci->device) {
            break;
        }
    }
    return i;
}

static struct vgpu_nvml_gpu_settings *settings_at(struct vgpu_process *process, uint32_t i) {
    return &process->nvml->settings->gpu[i];
}

/* The GPU that a call is about, if it is there and may be changed. */
static nvmlReturn_t find(struct vgpu_process *process, struct vgpu_call *call, const nvmlPciInfo_t *pci,
                         const struct vgpu_gpu **gpu) {
    if (pci == NULL) {
        return NVML_ERROR_INVALID_ARGUMENT;
    }
    uint32_t i = place_of(process, pci);
    *gpu = vgpu_image_gpu(process->image, i);
    if (*gpu == NULL || !vgpu_nvml_is_there(process, i)) {
        return NVML_ERROR_INVALID_ARGUMENT;
    }
    vgpu_nvml_say_pci(call, *gpu);
    return NVML_SUCCESS;
}

nvmlReturn_t vgpu_nvmlDeviceQueryDrainState(struct vgpu_process *process, struct vgpu_call *call,
                                            nvmlPciInfo_t *pciInfo, nvmlEnableState_t *currentState) {
    const struct vgpu_gpu *gpu;
    nvmlReturn_t refusal = currentState != NULL ? find(process, call, pciInfo, &gpu) : NVML_ERROR_INVALID_ARGUMENT;
    if (refusal != NVML_SUCCESS) {
        return refusal;
    }
    int64_t state = vgpu_nvml_get_or(process, gpu, VGPU_PROPERTY_DRAINING, 0, 0);
    return vgpu_nvml_say(call, gpu, (unsigned int *)currentState, state);
}

nvmlReturn_t vgpu_nvmlDeviceModifyDrainState(struct vgpu_process *process, struct vgpu_call *call,
                                             nvmlPciInfo_t *pciInfo, nvmlEnableState_t newState) {
    const struct vgpu_gpu *gpu;
    nvmlReturn_t refusal = find(process, call, pciInfo, &gpu);
    if (refusal != NVML_SUCCESS || newState < 0 || newState > 1) {
        return NVML_ERROR_INVALID_ARGUMENT;
    }
    if (!vgpu_nvml_is_root()) {
        return NVML_ERROR_NO_PERMISSION;
    }
    return vgpu_nvml_set(process, gpu, VGPU_PROPERTY_DRAINING, 0, newState);
}

/* Not while it is in use: by a process, or by persistence mode, which counts as one (doc). */
nvmlReturn_t vgpu_nvmlDeviceRemoveGpu_v2(struct vgpu_process *process, struct vgpu_call *call, nvmlPciInfo_t *pciInfo,
                                         nvmlDetachGpuState_t gpuState, nvmlPcieLinkState_t linkState) {
    const struct vgpu_gpu *gpu;
    nvmlReturn_t refusal = find(process, call, pciInfo, &gpu);
    if (refusal != NVML_SUCCESS || gpuState < 0 || gpuState > 1 || linkState < 0 || linkState > 1) {
        return NVML_ERROR_INVALID_ARGUMENT;
    }
    if (!vgpu_nvml_is_root()) {
        return NVML_ERROR_NO_PERMISSION;
    }
    if (gpu->processes.count > 0 || vgpu_nvml_get_or(process, gpu, VGPU_PROPERTY_PERSISTENCE_MODE, 0, 0) != 0) {
        return NVML_ERROR_IN_USE;
    }
    settings_at(process, place_of(process, pciInfo))->removed = 1;
    return NVML_SUCCESS;
}

nvmlReturn_t vgpu_nvmlDeviceRemoveGpu(struct vgpu_process *process, struct vgpu_call *call, nvmlPciInfo_t *pciInfo) {
    return vgpu_nvmlDeviceRemoveGpu_v2(process, call, pciInfo, 0, 0);
}

/* Looks for GPUs below a bridge, or at one address; here each is its own place. One that comes back is as new. */
nvmlReturn_t vgpu_nvmlDeviceDiscoverGpus(struct vgpu_process *process, struct vgpu_call *call, nvmlPciInfo_t *pciInfo) {
    if (pciInfo == NULL) {
        return NVML_ERROR_INVALID_ARGUMENT;
    }
    if (!vgpu_nvml_is_root()) {
        return NVML_ERROR_NO_PERMISSION;
    }
    uint32_t i = place_of(process, pciInfo);
    const struct vgpu_gpu *gpu = vgpu_image_gpu(process->image, i);
    if (gpu == NULL) {
        return NVML_ERROR_INVALID_ARGUMENT;
    }
    if (vgpu_nvml_is_removed(process, i)) {
        memset(settings_at(process, i), 0, sizeof(struct vgpu_nvml_gpu_settings));
    }
    vgpu_nvml_say_pci(call, gpu);
    return NVML_SUCCESS;
}
