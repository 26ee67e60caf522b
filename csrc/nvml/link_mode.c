/* NVLink's settings: how much bandwidth is used, after which idle time a link saves power; and its encryption, off. */
#include <string.h>

#include "nvml/structs_link.h"
#include "nvml/usage.h"
#include "vgpu/image.h"

enum { FULL = 0, MODES = 5 }; /* NVML_GPU_NVLINK_BW_MODE_* of nvml.h 12.9: full, off, least, half, three quarters */
#define DEFAULT_THRESHOLD 0xFFFFFFFFu /* NVML_NVLINK_LOW_POWER_THRESHOLD_RESET */

/* Hopper or newer, with links (doc). */
static int can(struct vgpu_process *process, const struct vgpu_gpu *gpu) {
    return vgpu_nvml_links(process, gpu) > 0 && vgpu_nvml_is_since(gpu, 9, 0);
}

static int64_t mode_of(struct vgpu_process *process, const struct vgpu_gpu *gpu) {
    return vgpu_nvml_get_or(process, gpu, VGPU_PROPERTY_NVLINK_MODE, 0, FULL);
}

/* The mode of the system is that of its GPUs that have one. */
nvmlReturn_t vgpu_nvmlSystemGetNvlinkBwMode(struct vgpu_process *process, struct vgpu_call *call,
                                            unsigned int *nvlinkBwMode) {
    if (nvlinkBwMode == NULL) {
        return NVML_ERROR_INVALID_ARGUMENT;
    }
    if (!vgpu_nvml_is_root()) {
        return NVML_ERROR_NO_PERMISSION;
    }
    for (uint32_t i = 0; i < process->image->gpus.count; i++) {
        const struct vgpu_gpu *gpu = vgpu_image_gpu(process->image, i);
        if (can(process, gpu)) {
            return vgpu_nvml_say(call, gpu, nvlinkBwMode, mode_of(process, gpu));
        }
    }
    return NVML_ERROR_NOT_SUPPORTED;
}

nvmlReturn_t vgpu_nvmlSystemSetNvlinkBwMode(struct vgpu_process *process, struct vgpu_call *call,
                                            unsigned int nvlinkBwMode) {
    (void)call;
    if (nvlinkBwMode >= MODES) {
        return NVML_ERROR_INVALID_ARGUMENT;
    }
    if (!vgpu_nvml_is_root()) {
        return NVML_ERROR_NO_PERMISSION;
    }
    nvmlReturn_t result = NVML_ERROR_NOT_SUPPORTED;
    for (uint32_t i = 0; i < process->image->gpus.count; i++) {
        const struct vgpu_gpu *gpu = vgpu_image_gpu(process->image, i);
        if (can(process, gpu)) {
            result = vgpu_nvml_set(process, gpu, VGPU_PROPERTY_NVLINK_MODE, 0, nvlinkBwMode);
        }
    }
    return result;
}

/* How a question of a versioned struct begins. */
static nvmlReturn_t begin(struct vgpu_process *process, nvmlDevice_t device, const unsigned int *version,
                          unsigned int wanted, const struct vgpu_gpu **gpu) {
    *gpu = vgpu_nvml_gpu(process, device);
    if (*gpu == NULL || version == NULL) {
        return NVML_ERROR_INVALID_ARGUMENT;
    }
    if (*version != wanted) {
        return NVML_ERROR_ARGUMENT_VERSION_MISMATCH;
    }
    return can(process, *gpu) ? NVML_SUCCESS : NVML_ERROR_NOT_SUPPORTED;
}

nvmlReturn_t vgpu_nvmlDeviceGetNvlinkSupportedBwModes(struct vgpu_process *process, struct vgpu_call *call,
                                                      nvmlDevice_t device,
                                                      nvmlNvlinkSupportedBwModes_t *supportedBwMode) {
    const struct vgpu_gpu *gpu;
    const unsigned int *version = supportedBwMode != NULL ? &supportedBwMode->version : NULL;
    nvmlReturn_t refusal = begin(process, device, version, VGPU_NVML_STRUCT(nvmlNvlinkSupportedBwModes_t, 1), &gpu);
    if (refusal != NVML_SUCCESS) {
        return refusal;
    }
    memset(supportedBwMode->bwModes, 0, sizeof(supportedBwMode->bwModes));
    for (unsigned char i = 0; i < MODES; i++) {
        supportedBwMode->bwModes[i] = i;
    }
    supportedBwMode->totalBwModes = MODES;
    vgpu_call_output(call, &supportedBwMode->totalBwModes, sizeof(supportedBwMode->totalBwModes));
    vgpu_nvml_say_pci(call, gpu);
    return NVML_SUCCESS;
}

nvmlReturn_t vgpu_nvmlDeviceGetNvlinkBwMode(struct vgpu_process *process, struct vgpu_call *call, nvmlDevice_t device,
                                            nvmlNvlinkGetBwMode_t *getBwMode) {
    const struct vgpu_gpu *gpu;
    const unsigned int *version = getBwMode != NULL ? &getBwMode->version : NULL;
    nvmlReturn_t refusal = begin(process, device, version, VGPU_NVML_STRUCT(nvmlNvlinkGetBwMode_t, 1), &gpu);
    if (refusal != NVML_SUCCESS) {
        return refusal;
    }
    getBwMode->bwMode = (unsigned char)mode_of(process, gpu);
    return vgpu_nvml_say(call, gpu, &getBwMode->bIsBest, getBwMode->bwMode == FULL);
}

nvmlReturn_t vgpu_nvmlDeviceSetNvlinkBwMode(struct vgpu_process *process, struct vgpu_call *call, nvmlDevice_t device,
                                            nvmlNvlinkSetBwMode_t *setBwMode) {
    const struct vgpu_gpu *gpu;
    const unsigned int *version = setBwMode != NULL ? &setBwMode->version : NULL;
    nvmlReturn_t refusal = begin(process, device, version, VGPU_NVML_STRUCT(nvmlNvlinkSetBwMode_t, 1), &gpu);
    if (refusal == NVML_ERROR_INVALID_ARGUMENT || refusal == NVML_ERROR_ARGUMENT_VERSION_MISMATCH) {
        return refusal;
    }
    if (!vgpu_nvml_is_root()) {
        return NVML_ERROR_NO_PERMISSION;
    }
    if (refusal != NVML_SUCCESS) {
        return refusal;
    }
    if (setBwMode->bSetBest == 0 && setBwMode->bwMode >= MODES) {
        return NVML_ERROR_INVALID_ARGUMENT;
    }
    vgpu_nvml_say_pci(call, gpu);
    return vgpu_nvml_set(process, gpu, VGPU_PROPERTY_NVLINK_MODE, 0, setBwMode->bSetBest ? FULL : setBwMode->bwMode);
}

/* Field NVML_FI_DEV_NVLINK_GET_POWER_THRESHOLD answers what has been set. */
nvmlReturn_t vgpu_nvmlDeviceSetNvLinkDeviceLowPowerThreshold(struct vgpu_process *process, struct vgpu_call *call,
                                                             nvmlDevice_t device, nvmlNvLinkPowerThres_t *info) {
    const struct vgpu_gpu *gpu = vgpu_nvml_gpu(process, device);
    if (gpu == NULL || info == NULL) {
        return NVML_ERROR_INVALID_ARGUMENT;
    }
    if (!can(process, gpu)) {
        return NVML_ERROR_NOT_SUPPORTED;
    }
    unsigned int threshold = info->lowPwrThreshold;
    vgpu_nvml_say_pci(call, gpu);
    if (threshold == DEFAULT_THRESHOLD) {
        vgpu_nvml_unset(process, gpu, VGPU_PROPERTY_NVLINK_IDLE, 0);
        return NVML_SUCCESS;
    }
    if (threshold < VGPU_NVML_IDLE_MIN || threshold > VGPU_NVML_IDLE_MAX) {
        return NVML_ERROR_INVALID_ARGUMENT;
    }
    return vgpu_nvml_set(process, gpu, VGPU_PROPERTY_NVLINK_IDLE, 0, threshold);
}

/* Links are not encrypted, and have no firmware of their own to tell of. Version 1 of the struct ends before it. */
nvmlReturn_t vgpu_nvmlDeviceGetNvLinkInfo(struct vgpu_process *process, struct vgpu_call *call, nvmlDevice_t device,
                                          nvmlNvLinkInfo_t *info) {
    enum { VERSION_1 = 8 | 1 << 24 };
    const struct vgpu_gpu *gpu = vgpu_nvml_gpu(process, device);
    if (gpu == NULL || info == NULL) {
        return NVML_ERROR_INVALID_ARGUMENT;
    }
    if (info->version != VERSION_1 && info->version != VGPU_NVML_STRUCT(nvmlNvLinkInfo_t, 2)) {
        return NVML_ERROR_ARGUMENT_VERSION_MISMATCH;
    }
    if (!can(process, gpu)) {
        return NVML_ERROR_NOT_SUPPORTED;
    }
    if (info->version != VERSION_1) {
        memset(&info->firmwareInfo, 0, sizeof(info->firmwareInfo));
    }
    return vgpu_nvml_say(call, gpu, &info->isNvleEnabled, 0);
}

nvmlReturn_t vgpu_nvmlDeviceGetNvLinkInfo_v3(struct vgpu_process *process, struct vgpu_call *call, nvmlDevice_t device,
                                             nvmlNvLinkInfo_v3_t *info) {
    const struct vgpu_gpu *gpu = vgpu_nvml_gpu(process, device);
    if (gpu == NULL || info == NULL) {
        return NVML_ERROR_INVALID_ARGUMENT;
    }
    if (!can(process, gpu)) {
        return NVML_ERROR_NOT_SUPPORTED;
    }
    memset(info, 0, sizeof(*info));
    vgpu_nvml_say(call, gpu, &info->isNvleEnabled, 0);
    return vgpu_nvml_say(call, gpu, &info->isNvleReady, 0);
}
