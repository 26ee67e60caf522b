/* Power: what is drawn, its limits, the energy so far, and hints on how to trade it. */
#include <string.h>
#include <time.h>

#include "nvml/ask.h"
#include "nvml/structs_clock.h"

enum { POWER_MIZER_MODES = 4, POWER_SCOPES = 4 };

static int64_t limit_of(struct vgpu_process *process, const struct vgpu_gpu *gpu) {
    int64_t usual = vgpu_nvml_get_or(process, gpu, VGPU_PROPERTY_POWER_LIMIT_DEFAULT, 0, 0);
    return vgpu_nvml_get_or(process, gpu, VGPU_PROPERTY_POWER_LIMIT, 0, usual);
}

nvmlReturn_t vgpu_nvmlDeviceGetPowerManagementLimit(struct vgpu_process *process, struct vgpu_call *call,
                                                    nvmlDevice_t device, unsigned int *limit) {
    const struct vgpu_gpu *gpu = vgpu_nvml_gpu(process, device);
    if (gpu == NULL || limit == NULL) {
        return NVML_ERROR_INVALID_ARGUMENT;
    }
    int64_t value = limit_of(process, gpu);
    return value > 0 ? vgpu_nvml_say(call, gpu, limit, value) : NVML_ERROR_NOT_SUPPORTED;
}

nvmlReturn_t vgpu_nvmlDeviceGetEnforcedPowerLimit(struct vgpu_process *process, struct vgpu_call *call,
                                                  nvmlDevice_t device, unsigned int *limit) {
    return vgpu_nvmlDeviceGetPowerManagementLimit(process, call, device, limit);
}

nvmlReturn_t vgpu_nvmlDeviceGetPowerManagementMode(struct vgpu_process *process, struct vgpu_call *call,
                                                   nvmlDevice_t device, nvmlEnableState_t *mode) {
    const struct vgpu_gpu *gpu = vgpu_nvml_gpu(process, device);
    if (gpu == NULL || mode == NULL) {
        return NVML_ERROR_INVALID_ARGUMENT;
    }
    return vgpu_nvml_say(call, gpu, (unsigned int *)mode, limit_of(process, gpu) > 0);
}

nvmlReturn_t vgpu_nvmlDeviceGetPowerManagementDefaultLimit(struct vgpu_process *process, struct vgpu_call *call,
                                                           nvmlDevice_t device, unsigned int *defaultLimit) {
    return vgpu_nvml_answer(process, call, device, VGPU_PROPERTY_POWER_LIMIT_DEFAULT, 0, defaultLimit);
}

static int bounds_of(struct vgpu_process *process, const struct vgpu_gpu *gpu, int64_t *least, int64_t *most) {
    return vgpu_nvml_get(process, gpu, VGPU_PROPERTY_POWER_LIMIT_MIN, 0, least) &&
           vgpu_nvml_get(process, gpu, VGPU_PROPERTY_POWER_LIMIT_MAX, 0, most);
}

nvmlReturn_t vgpu_nvmlDeviceGetPowerManagementLimitConstraints(struct vgpu_process *process, struct vgpu_call *call,
                                                               nvmlDevice_t device, unsigned int *minLimit,
                                                               unsigned int *maxLimit) {
    const struct vgpu_gpu *gpu = vgpu_nvml_gpu(process, device);
    int64_t least, most;
    if (gpu == NULL || minLimit == NULL || maxLimit == NULL) {
        return NVML_ERROR_INVALID_ARGUMENT;
    }
    if (!bounds_of(process, gpu, &least, &most)) {
        return NVML_ERROR_NOT_SUPPORTED;
    }
    vgpu_nvml_say(call, gpu, minLimit, least);
    return vgpu_nvml_say(call, gpu, maxLimit, most);
}

nvmlReturn_t vgpu_nvmlDeviceSetPowerManagementLimit(struct vgpu_process *process, struct vgpu_call *call,
                                                    nvmlDevice_t device, unsigned int limit) {
    const struct vgpu_gpu *gpu;
    int64_t least, most;
    nvmlReturn_t refusal = vgpu_nvml_settable(process, device, &gpu);
    if (refusal != NVML_SUCCESS) {
        return refusal;
    }
    if (!bounds_of(process, gpu, &least, &most)) {
        return NVML_ERROR_NOT_SUPPORTED;
    }
    vgpu_nvml_say_pci(call, gpu);
    return limit < least || limit > most ? NVML_ERROR_INVALID_ARGUMENT
                                         : vgpu_nvml_set(process, gpu, VGPU_PROPERTY_POWER_LIMIT, 0, limit);
}

/* The GPU's own limit; modules and memory with limits of their own are in no profile. */
nvmlReturn_t vgpu_nvmlDeviceSetPowerManagementLimit_v2(struct vgpu_process *process, struct vgpu_call *call,
                                                       nvmlDevice_t device, nvmlPowerValue_v2_t *powerValue) {
    if (vgpu_nvml_gpu(process, device) == NULL || powerValue == NULL) {
        return NVML_ERROR_INVALID_ARGUMENT;
    }
    if (powerValue->version != VGPU_NVML_STRUCT(nvmlPowerValue_v2_t, 2)) {
        return NVML_ERROR_ARGUMENT_VERSION_MISMATCH;
    }
    if (powerValue->powerScope >= POWER_SCOPES) {
        return NVML_ERROR_INVALID_ARGUMENT;
    }
    return powerValue->powerScope == 0
               ? vgpu_nvmlDeviceSetPowerManagementLimit(process, call, device, powerValue->powerValueMw)
               : NVML_ERROR_NOT_SUPPORTED;
}

/* Never above the limit. */
static int usage_of(struct vgpu_process *process, const struct vgpu_gpu *gpu, int64_t *usage) {
    int64_t limit = limit_of(process, gpu);
    if (!vgpu_nvml_get(process, gpu, VGPU_PROPERTY_POWER_USAGE, 0, usage)) {
        return 0;
    }
    if (limit > 0 && *usage > limit) {
        *usage = limit;
    }
    return 1;
}

nvmlReturn_t vgpu_nvmlDeviceGetPowerUsage(struct vgpu_process *process, struct vgpu_call *call, nvmlDevice_t device,
                                          unsigned int *power) {
    const struct vgpu_gpu *gpu = vgpu_nvml_gpu(process, device);
    int64_t usage;
    if (gpu == NULL || power == NULL) {
        return NVML_ERROR_INVALID_ARGUMENT;
    }
    return usage_of(process, gpu, &usage) ? vgpu_nvml_say(call, gpu, power, usage) : NVML_ERROR_NOT_SUPPORTED;
}

/* In mJ; Volta and newer (doc). The power of now, for as long as the machine is up. */
nvmlReturn_t vgpu_nvmlDeviceGetTotalEnergyConsumption(struct vgpu_process *process, struct vgpu_call *call,
                                                      nvmlDevice_t device, unsigned long long *energy) {
    const struct vgpu_gpu *gpu = vgpu_nvml_gpu(process, device);
    int64_t usage;
    if (gpu == NULL || energy == NULL) {
        return NVML_ERROR_INVALID_ARGUMENT;
    }
    if (!vgpu_nvml_is_since(gpu, 7, 0) || !usage_of(process, gpu, &usage)) {
        return NVML_ERROR_NOT_SUPPORTED;
    }
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return vgpu_nvml_say_long(call, gpu, energy, usage * now.tv_sec + usage * (now.tv_nsec / 1000) / 1000000);
}

nvmlReturn_t vgpu_nvmlDeviceGetPowerSource(struct vgpu_process *process, struct vgpu_call *call, nvmlDevice_t device,
                                           nvmlPowerSource_t *powerSource) {
    return vgpu_nvml_answer_or(process, call, device, VGPU_PROPERTY_POWER_SOURCE, 0, 0, powerSource);
}

nvmlReturn_t vgpu_nvmlDeviceGetPowerMizerMode_v1(struct vgpu_process *process, struct vgpu_call *call,
                                                 nvmlDevice_t device, nvmlDevicePowerMizerModes_v1_t *powerMizerMode) {
    const struct vgpu_gpu *gpu = vgpu_nvml_gpu(process, device);
    int64_t known;
    if (gpu == NULL || powerMizerMode == NULL) {
        return NVML_ERROR_INVALID_ARGUMENT;
    }
    if (!vgpu_nvml_get(process, gpu, VGPU_PROPERTY_POWER_MIZER_KNOWN, 0, &known)) {
        return NVML_ERROR_NOT_SUPPORTED;
    }
    int64_t mode = vgpu_nvml_get_or(process, gpu, VGPU_PROPERTY_POWER_MIZER, 0, 0);
    vgpu_nvml_say(call, gpu, &powerMizerMode->currentMode, mode);
    return vgpu_nvml_say(call, gpu, &powerMizerMode->supportedPowerMizerModes, known);
}

nvmlReturn_t vgpu_nvmlDeviceSetPowerMizerMode_v1(struct vgpu_process *process, struct vgpu_call *call,
                                                 nvmlDevice_t device, nvmlDevicePowerMizerModes_v1_t *powerMizerMode) {
    const struct vgpu_gpu *gpu = vgpu_nvml_gpu(process, device);
    int64_t known;
    if (gpu == NULL || powerMizerMode == NULL || powerMizerMode->mode >= POWER_MIZER_MODES) {
        return NVML_ERROR_INVALID_ARGUMENT;
    }
    if (!vgpu_nvml_get(process, gpu, VGPU_PROPERTY_POWER_MIZER_KNOWN, 0, &known) ||
        (known >> powerMizerMode->mode & 1) == 0) {
        return NVML_ERROR_NOT_SUPPORTED;
    }
    vgpu_nvml_say_pci(call, gpu);
    return vgpu_nvml_set(process, gpu, VGPU_PROPERTY_POWER_MIZER, 0, powerMizerMode->mode);
}

nvmlReturn_t vgpu_nvmlDeviceSetAdaptiveTgpMode_v1(struct vgpu_process *process, struct vgpu_call *call,
                                                  nvmlDevice_t device, nvmlEnableState_t mode) {
    const struct vgpu_gpu *gpu;
    int64_t limit;
    nvmlReturn_t refusal = vgpu_nvml_settable(process, device, &gpu);
    if (refusal == NVML_ERROR_INVALID_ARGUMENT || mode < 0 || mode > 1) {
        return NVML_ERROR_INVALID_ARGUMENT;
    }
    if (refusal != NVML_SUCCESS) {
        return refusal;
    }
    if (!vgpu_nvml_get(process, gpu, VGPU_PROPERTY_ADAPTIVE_TGP, 0, &limit)) {
        return NVML_ERROR_NOT_SUPPORTED;
    }
    vgpu_nvml_say_pci(call, gpu);
    return vgpu_nvml_set(process, gpu, VGPU_PROPERTY_ADAPTIVE_TGP_ON, 0, mode);
}

/* No administrator overrules anything here, so what was asked for is what holds. */
nvmlReturn_t vgpu_nvmlDeviceGetAdaptiveTgpModeInfo_v1(struct vgpu_process *process, struct vgpu_call *call,
                                                      nvmlDevice_t device, nvmlAdaptiveTgpModeInfo_v1_t *info) {
    const struct vgpu_gpu *gpu = vgpu_nvml_gpu(process, device);
    int64_t limit;
    if (gpu == NULL || info == NULL) {
        return NVML_ERROR_INVALID_ARGUMENT;
    }
    if (!vgpu_nvml_get(process, gpu, VGPU_PROPERTY_ADAPTIVE_TGP, 0, &limit)) {
        return NVML_ERROR_NOT_SUPPORTED;
    }
    int on = (int)vgpu_nvml_get_or(process, gpu, VGPU_PROPERTY_ADAPTIVE_TGP_ON, 0, 0);
    *info = (nvmlAdaptiveTgpModeInfo_v1_t){.featureAllowedByAdmin = 1, .enablementStatus = on};
    vgpu_nvml_say(call, gpu, (unsigned int *)&info->inBandEnableRequest, on);
    return vgpu_nvml_say(call, gpu, &info->adjustedLimitMw, on ? limit : 0);
}
