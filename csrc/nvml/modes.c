/* Modes that can be asked for and set: persistence, compute, display, operation, driver model, who may do what. */
#include "nvml/ask.h"
#include "nvml/structs_device.h"

enum {
    COMPUTE_MODES = 4, /* NVML_COMPUTEMODE_COUNT */
    OPERATION_MODES = 3,
    DRIVER_MODELS = 3,
    RESTRICTED_APIS = 2,
    SET_AUTO_BOOSTED_CLOCKS = 1, /* NVML_RESTRICTED_API_SET_AUTO_BOOSTED_CLOCKS */
    ADDRESSING_HMM = 1,          /* NVML_DEVICE_ADDRESSING_MODE_HMM */
};

static int is_below(int value, int limit) {
    return value >= 0 && value < limit;
}

nvmlReturn_t vgpu_nvmlDeviceGetPersistenceMode(struct vgpu_process *process, struct vgpu_call *call,
                                               nvmlDevice_t device, nvmlEnableState_t *mode) {
    return vgpu_nvml_answer_or(process, call, device, VGPU_PROPERTY_PERSISTENCE_MODE, 0, 0, (unsigned int *)mode);
}

/* A root's setter of a mode: its whole way. */
static nvmlReturn_t set_mode(struct vgpu_process *process, struct vgpu_call *call, nvmlDevice_t device,
                             enum vgpu_property_id id, int mode, int limit) {
    const struct vgpu_gpu *gpu;
    nvmlReturn_t refusal = vgpu_nvml_settable(process, device, &gpu);
    if (refusal == NVML_ERROR_INVALID_ARGUMENT || !is_below(mode, limit)) {
        return NVML_ERROR_INVALID_ARGUMENT;
    }
    if (refusal != NVML_SUCCESS) {
        return refusal;
    }
    vgpu_nvml_say_pci(call, gpu);
    return vgpu_nvml_set(process, gpu, id, 0, mode);
}

nvmlReturn_t vgpu_nvmlDeviceSetPersistenceMode(struct vgpu_process *process, struct vgpu_call *call,
                                               nvmlDevice_t device, nvmlEnableState_t mode) {
    return set_mode(process, call, device, VGPU_PROPERTY_PERSISTENCE_MODE, mode, 2);
}

nvmlReturn_t vgpu_nvmlDeviceGetComputeMode(struct vgpu_process *process, struct vgpu_call *call, nvmlDevice_t device,
                                           nvmlComputeMode_t *mode) {
    return vgpu_nvml_answer_or(process, call, device, VGPU_PROPERTY_COMPUTE_MODE, 0, 0, (unsigned int *)mode);
}

nvmlReturn_t vgpu_nvmlDeviceSetComputeMode(struct vgpu_process *process, struct vgpu_call *call, nvmlDevice_t device,
                                           nvmlComputeMode_t mode) {
    return set_mode(process, call, device, VGPU_PROPERTY_COMPUTE_MODE, mode, COMPUTE_MODES);
}

nvmlReturn_t vgpu_nvmlDeviceGetDisplayMode(struct vgpu_process *process, struct vgpu_call *call, nvmlDevice_t device,
                                           nvmlEnableState_t *display) {
    return vgpu_nvml_answer_or(process, call, device, VGPU_PROPERTY_DISPLAY_MODE, 0, 0, (unsigned int *)display);
}

nvmlReturn_t vgpu_nvmlDeviceGetDisplayActive(struct vgpu_process *process, struct vgpu_call *call, nvmlDevice_t device,
                                             nvmlEnableState_t *isActive) {
    return vgpu_nvml_answer_or(process, call, device, VGPU_PROPERTY_DISPLAY_ACTIVE, 0, 0, (unsigned int *)isActive);
}

/* Turing and newer (doc). HMM is what the open kernel modules have since 535, on Linux 6.1 and newer. */
nvmlReturn_t vgpu_nvmlDeviceGetAddressingMode(struct vgpu_process *process, struct vgpu_call *call, nvmlDevice_t device,
                                              nvmlDeviceAddressingMode_t *mode) {
    const struct vgpu_gpu *gpu = vgpu_nvml_gpu(process, device);
    if (gpu == NULL || mode == NULL) {
        return NVML_ERROR_INVALID_ARGUMENT;
    }
    if (mode->version != VGPU_NVML_STRUCT(nvmlDeviceAddressingMode_t, 1)) {
        return NVML_ERROR_ARGUMENT_VERSION_MISMATCH;
    }
    if (!vgpu_nvml_is_since(gpu, 7, 5)) {
        return NVML_ERROR_NOT_SUPPORTED;
    }
    int64_t value = vgpu_nvml_get_or(process, gpu, VGPU_PROPERTY_ADDRESSING_MODE, 0, ADDRESSING_HMM);
    return vgpu_nvml_say(call, gpu, &mode->value, value);
}

/* The mode now and the one from the next start on. */
nvmlReturn_t vgpu_nvmlDeviceGetGpuOperationMode(struct vgpu_process *process, struct vgpu_call *call,
                                                nvmlDevice_t device, nvmlGpuOperationMode_t *current,
                                                nvmlGpuOperationMode_t *pending) {
    const struct vgpu_gpu *gpu = vgpu_nvml_gpu(process, device);
    if (gpu == NULL || current == NULL || pending == NULL) {
        return NVML_ERROR_INVALID_ARGUMENT;
    }
    int64_t mode;
    if (!vgpu_nvml_get(process, gpu, VGPU_PROPERTY_OPERATION_MODE, 0, &mode)) {
        return NVML_ERROR_NOT_SUPPORTED;
    }
    int64_t next = vgpu_nvml_get_or(process, gpu, VGPU_PROPERTY_OPERATION_MODE_NEXT, 0, mode);
    vgpu_nvml_say(call, gpu, (unsigned int *)current, mode);
    return vgpu_nvml_say(call, gpu, (unsigned int *)pending, next);
}

nvmlReturn_t vgpu_nvmlDeviceSetGpuOperationMode(struct vgpu_process *process, struct vgpu_call *call,
                                                nvmlDevice_t device, nvmlGpuOperationMode_t mode) {
    const struct vgpu_gpu *gpu = vgpu_nvml_gpu(process, device);
    int64_t now;
    if (gpu != NULL && vgpu_nvml_is_root() && is_below(mode, OPERATION_MODES) &&
        !vgpu_nvml_get(process, gpu, VGPU_PROPERTY_OPERATION_MODE, 0, &now)) {
        return NVML_ERROR_NOT_SUPPORTED;
    }
    return set_mode(process, call, device, VGPU_PROPERTY_OPERATION_MODE_NEXT, mode, OPERATION_MODES);
}

/* Windows alone has driver models (doc). */
nvmlReturn_t vgpu_nvmlDeviceGetDriverModel_v2(struct vgpu_process *process, struct vgpu_call *call, nvmlDevice_t device,
                                              nvmlDriverModel_t *current, nvmlDriverModel_t *pending) {
    (void)call;
    if (vgpu_nvml_gpu(process, device) == NULL || (current == NULL && pending == NULL)) {
        return NVML_ERROR_INVALID_ARGUMENT;
    }
    return NVML_ERROR_NOT_SUPPORTED;
}

nvmlReturn_t vgpu_nvmlDeviceGetDriverModel(struct vgpu_process *process, struct vgpu_call *call, nvmlDevice_t device,
                                           nvmlDriverModel_t *current, nvmlDriverModel_t *pending) {
    return vgpu_nvmlDeviceGetDriverModel_v2(process, call, device, current, pending);
}

nvmlReturn_t vgpu_nvmlDeviceSetDriverModel(struct vgpu_process *process, struct vgpu_call *call, nvmlDevice_t device,
                                           nvmlDriverModel_t driverModel, unsigned int flags) {
    (void)call;
    (void)flags;
    if (vgpu_nvml_gpu(process, device) == NULL || !is_below(driverModel, DRIVER_MODELS)) {
        return NVML_ERROR_INVALID_ARGUMENT;
    }
    return NVML_ERROR_NOT_SUPPORTED;
}

/* A restriction on something that the GPU cannot do is not supported (doc). */
static int can_restrict(struct vgpu_process *process, const struct vgpu_gpu *gpu, nvmlRestrictedAPI_t api) {
    int64_t value;
    return api != SET_AUTO_BOOSTED_CLOCKS || vgpu_nvml_get(process, gpu, VGPU_PROPERTY_AUTO_BOOST, 0, &value);
}

/* Until root changes it, application clocks are root's, auto boost is everyone's (doc). */
nvmlReturn_t vgpu_nvmlDeviceGetAPIRestriction(struct vgpu_process *process, struct vgpu_call *call, nvmlDevice_t device,
                                              nvmlRestrictedAPI_t apiType, nvmlEnableState_t *isRestricted) {
    const struct vgpu_gpu *gpu = vgpu_nvml_gpu(process, device);
    if (gpu == NULL || isRestricted == NULL || !is_below(apiType, RESTRICTED_APIS)) {
        return NVML_ERROR_INVALID_ARGUMENT;
    }
    if (!can_restrict(process, gpu, apiType)) {
        return NVML_ERROR_NOT_SUPPORTED;
    }
    return vgpu_nvml_say(call, gpu, (unsigned int *)isRestricted, vgpu_nvml_is_restricted(process, gpu, apiType));
}

nvmlReturn_t vgpu_nvmlDeviceSetAPIRestriction(struct vgpu_process *process, struct vgpu_call *call, nvmlDevice_t device,
                                              nvmlRestrictedAPI_t apiType, nvmlEnableState_t isRestricted) {
    const struct vgpu_gpu *gpu;
    nvmlReturn_t refusal = vgpu_nvml_settable(process, device, &gpu);
    if (refusal == NVML_ERROR_INVALID_ARGUMENT || !is_below(apiType, RESTRICTED_APIS) || !is_below(isRestricted, 2)) {
        return NVML_ERROR_INVALID_ARGUMENT;
    }
    if (refusal != NVML_SUCCESS) {
        return refusal;
    }
    if (!can_restrict(process, gpu, apiType)) {
        return NVML_ERROR_NOT_SUPPORTED;
    }
    vgpu_nvml_say_pci(call, gpu);
    return vgpu_nvml_set(process, gpu, VGPU_PROPERTY_API_RESTRICTED, (uint32_t)apiType, isRestricted);
}
