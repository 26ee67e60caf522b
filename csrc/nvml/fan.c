/* Fans: boards for data centres have none, and then there is nothing to ask. */
#include "nvml/ask.h"
#include "nvml/structs_clock.h"

enum {
    POLICY_AUTOMATIC = 0, /* NVML_FAN_POLICY_TEMPERATURE_CONTINOUS_SW */
    POLICY_MANUAL = 1,
    SPEED_MIN = 30, /* percent: where the host says nothing, as most consumer boards have it */
    SPEED_MAX = 100,
    RPM_MAX = 3000,           /* own choice: NVIDIA publishes none */
    COOLER_VARIABLE = 2,      /* NVML_THERMAL_COOLER_SIGNAL_VARIABLE */
    COOLER_GPU_RELATED = 0xe, /* NVML_THERMAL_COOLER_TARGET_GPU_RELATED */
};

/* The GPU of a question about its fan `fan`: NOT_SUPPORTED where it has none, INVALID_ARGUMENT for one too many. */
static nvmlReturn_t find(struct vgpu_process *process, nvmlDevice_t device, unsigned int fan,
                         const struct vgpu_gpu **gpu) {
    *gpu = vgpu_nvml_gpu(process, device);
    if (*gpu == NULL) {
        return NVML_ERROR_INVALID_ARGUMENT;
    }
    int64_t fans = vgpu_nvml_get_or(process, *gpu, VGPU_PROPERTY_FANS, 0, 0);
    if (fans == 0) {
        return NVML_ERROR_NOT_SUPPORTED;
    }
    return fan < fans ? NVML_SUCCESS : NVML_ERROR_INVALID_ARGUMENT;
}

static int64_t speed_of(struct vgpu_process *process, const struct vgpu_gpu *gpu, unsigned int fan) {
    int64_t speed = vgpu_nvml_get_or(process, gpu, VGPU_PROPERTY_FAN_SPEED, fan, SPEED_MIN);
    return vgpu_nvml_get_or(process, gpu, VGPU_PROPERTY_FAN_TARGET, fan, speed);
}

nvmlReturn_t vgpu_nvmlDeviceGetNumFans(struct vgpu_process *process, struct vgpu_call *call, nvmlDevice_t device,
                                       unsigned int *numFans) {
    const struct vgpu_gpu *gpu;
    nvmlReturn_t refusal = find(process, device, 0, &gpu);
    if (numFans == NULL) {
        return NVML_ERROR_INVALID_ARGUMENT;
    }
    return refusal != NVML_SUCCESS
               ? refusal
               : vgpu_nvml_say(call, gpu, numFans, vgpu_nvml_get_or(process, gpu, VGPU_PROPERTY_FANS, 0, 0));
}

nvmlReturn_t vgpu_nvmlDeviceGetFanSpeed_v2(struct vgpu_process *process, struct vgpu_call *call, nvmlDevice_t device,
                                           unsigned int fan, unsigned int *speed) {
    const struct vgpu_gpu *gpu;
    nvmlReturn_t refusal = find(process, device, fan, &gpu);
    if (speed == NULL) {
        return NVML_ERROR_INVALID_ARGUMENT;
    }
    return refusal != NVML_SUCCESS ? refusal : vgpu_nvml_say(call, gpu, speed, speed_of(process, gpu, fan));
}

nvmlReturn_t vgpu_nvmlDeviceGetFanSpeed(struct vgpu_process *process, struct vgpu_call *call, nvmlDevice_t device,
                                        unsigned int *speed) {
    return vgpu_nvmlDeviceGetFanSpeed_v2(process, call, device, 0, speed);
}

/* A simulated fan is at its target at once. */
nvmlReturn_t vgpu_nvmlDeviceGetTargetFanSpeed(struct vgpu_process *process, struct vgpu_call *call, nvmlDevice_t device,
                                              unsigned int fan, unsigned int *targetSpeed) {
    return vgpu_nvmlDeviceGetFanSpeed_v2(process, call, device, fan, targetSpeed);
}

nvmlReturn_t vgpu_nvmlDeviceGetFanSpeedRPM(struct vgpu_process *process, struct vgpu_call *call, nvmlDevice_t device,
                                           nvmlFanSpeedInfo_t *fanSpeed) {
    const struct vgpu_gpu *gpu;
    if (fanSpeed == NULL || vgpu_nvml_gpu(process, device) == NULL) {
        return NVML_ERROR_INVALID_ARGUMENT;
    }
    if (fanSpeed->version != VGPU_NVML_STRUCT(nvmlFanSpeedInfo_t, 1)) {
        return NVML_ERROR_ARGUMENT_VERSION_MISMATCH;
    }
    nvmlReturn_t refusal = find(process, device, fanSpeed->fan, &gpu);
    if (refusal != NVML_SUCCESS) {
        return refusal;
    }
    int64_t full = vgpu_nvml_get_or(process, gpu, VGPU_PROPERTY_FAN_RPM, 0, RPM_MAX);
    return vgpu_nvml_say(call, gpu, &fanSpeed->speed, speed_of(process, gpu, fanSpeed->fan) * full / 100);
}

static int64_t slowest(struct vgpu_process *process, const struct vgpu_gpu *gpu) {
    return vgpu_nvml_get_or(process, gpu, VGPU_PROPERTY_FAN_SPEED_MIN, 0, SPEED_MIN);
}

static int64_t fastest(struct vgpu_process *process, const struct vgpu_gpu *gpu) {
    return vgpu_nvml_get_or(process, gpu, VGPU_PROPERTY_FAN_SPEED_MAX, 0, SPEED_MAX);
}

nvmlReturn_t vgpu_nvmlDeviceGetMinMaxFanSpeed(struct vgpu_process *process, struct vgpu_call *call, nvmlDevice_t device,
                                              unsigned int *minSpeed, unsigned int *maxSpeed) {
    const struct vgpu_gpu *gpu;
    nvmlReturn_t refusal = find(process, device, 0, &gpu);
    if (minSpeed == NULL || maxSpeed == NULL) {
        return NVML_ERROR_INVALID_ARGUMENT;
    }
    if (refusal != NVML_SUCCESS) {
        return refusal;
    }
    vgpu_nvml_say(call, gpu, minSpeed, slowest(process, gpu));
    return vgpu_nvml_say(call, gpu, maxSpeed, fastest(process, gpu));
}

/* A fan whose speed has been set is under manual control. */
nvmlReturn_t vgpu_nvmlDeviceGetFanControlPolicy_v2(struct vgpu_process *process, struct vgpu_call *call,
                                                   nvmlDevice_t device, unsigned int fan,
                                                   nvmlFanControlPolicy_t *policy) {
    const struct vgpu_gpu *gpu;
    int64_t target;
    nvmlReturn_t refusal = find(process, device, fan, &gpu);
    if (policy == NULL) {
        return NVML_ERROR_INVALID_ARGUMENT;
    }
    if (refusal != NVML_SUCCESS) {
        return refusal;
    }
    int is_set = vgpu_nvml_get(process, gpu, VGPU_PROPERTY_FAN_TARGET, fan, &target);
    return vgpu_nvml_say(call, gpu, policy, is_set ? POLICY_MANUAL : POLICY_AUTOMATIC);
}

/* The GPU of a root's order to its fan. */
static nvmlReturn_t find_settable(struct vgpu_process *process, nvmlDevice_t device, unsigned int fan,
                                  const struct vgpu_gpu **gpu) {
    nvmlReturn_t refusal = vgpu_nvml_settable(process, device, gpu);
    return refusal != NVML_SUCCESS ? refusal : find(process, device, fan, gpu);
}

nvmlReturn_t vgpu_nvmlDeviceSetFanSpeed_v2(struct vgpu_process *process, struct vgpu_call *call, nvmlDevice_t device,
                                           unsigned int fan, unsigned int speed) {
    const struct vgpu_gpu *gpu;
    nvmlReturn_t refusal = find_settable(process, device, fan, &gpu);
    if (refusal != NVML_SUCCESS) {
        return refusal;
    }
    vgpu_nvml_say_pci(call, gpu);
    return speed < slowest(process, gpu) || speed > fastest(process, gpu)
               ? NVML_ERROR_INVALID_ARGUMENT
               : vgpu_nvml_set(process, gpu, VGPU_PROPERTY_FAN_TARGET, fan, speed);
}

nvmlReturn_t vgpu_nvmlDeviceSetDefaultFanSpeed_v2(struct vgpu_process *process, struct vgpu_call *call,
                                                  nvmlDevice_t device, unsigned int fan) {
    const struct vgpu_gpu *gpu;
    nvmlReturn_t refusal = find_settable(process, device, fan, &gpu);
    if (refusal != NVML_SUCCESS) {
        return refusal;
    }
    vgpu_nvml_unset(process, gpu, VGPU_PROPERTY_FAN_TARGET, fan);
    vgpu_nvml_say_pci(call, gpu);
    return NVML_SUCCESS;
}

nvmlReturn_t vgpu_nvmlDeviceSetFanControlPolicy(struct vgpu_process *process, struct vgpu_call *call,
                                                nvmlDevice_t device, unsigned int fan, nvmlFanControlPolicy_t policy) {
    const struct vgpu_gpu *gpu;
    if (policy > POLICY_MANUAL) {
        return NVML_ERROR_INVALID_ARGUMENT;
    }
    if (policy == POLICY_AUTOMATIC) {
        return vgpu_nvmlDeviceSetDefaultFanSpeed_v2(process, call, device, fan);
    }
    nvmlReturn_t refusal = find_settable(process, device, fan, &gpu);
    if (refusal != NVML_SUCCESS) {
        return refusal;
    }
    vgpu_nvml_say_pci(call, gpu);
    return vgpu_nvml_set(process, gpu, VGPU_PROPERTY_FAN_TARGET, fan, speed_of(process, gpu, fan));
}

nvmlReturn_t vgpu_nvmlDeviceGetCoolerInfo(struct vgpu_process *process, struct vgpu_call *call, nvmlDevice_t device,
                                          nvmlCoolerInfo_t *coolerInfo) {
    const struct vgpu_gpu *gpu;
    if (coolerInfo == NULL || vgpu_nvml_gpu(process, device) == NULL) {
        return NVML_ERROR_INVALID_ARGUMENT;
    }
    if (coolerInfo->version != VGPU_NVML_STRUCT(nvmlCoolerInfo_t, 1)) {
        return NVML_ERROR_ARGUMENT_VERSION_MISMATCH;
    }
    nvmlReturn_t refusal = find(process, device, coolerInfo->index, &gpu);
    if (refusal != NVML_SUCCESS) {
        return refusal;
    }
    coolerInfo->target = COOLER_GPU_RELATED;
    return vgpu_nvml_say(call, gpu, (unsigned int *)&coolerInfo->signalType, COOLER_VARIABLE);
}
