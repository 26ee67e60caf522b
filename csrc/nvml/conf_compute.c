/* Confidential computing: the simulated host's processor offers none, so it is off, though Hopper GPUs could do it. */
#include "nvml/structs_event.h"
#include "nvml/usage.h"
#include "vgpu/image.h"

nvmlReturn_t vgpu_nvmlSystemGetConfComputeCapabilities(struct vgpu_process *process, struct vgpu_call *call,
                                                       nvmlConfComputeSystemCaps_t *capabilities) {
    if (capabilities == NULL) {
        return NVML_ERROR_INVALID_ARGUMENT;
    }
    unsigned int capable = process->image->gpus.count > 0;
    for (uint32_t i = 0; i < process->image->gpus.count; i++) {
        capable &= (unsigned int)vgpu_nvml_is_since(vgpu_image_gpu(process->image, i), 9, 0);
    }
    *capabilities = (nvmlConfComputeSystemCaps_t){.cpuCaps = 0, .gpusCaps = capable};
    vgpu_call_output(call, &capabilities->cpuCaps, sizeof(capabilities->cpuCaps));
    vgpu_call_output(call, &capabilities->gpusCaps, sizeof(capabilities->gpusCaps));
    return NVML_SUCCESS;
}

nvmlReturn_t vgpu_nvmlSystemGetConfComputeState(struct vgpu_process *process, struct vgpu_call *call,
                                                nvmlConfComputeSystemState_t *state) {
    (void)process;
    if (state == NULL) {
        return NVML_ERROR_INVALID_ARGUMENT;
    }
    *state = (nvmlConfComputeSystemState_t){0};
    vgpu_call_output(call, &state->environment, sizeof(state->environment));
    vgpu_call_output(call, &state->ccFeature, sizeof(state->ccFeature));
    return NVML_SUCCESS;
}

nvmlReturn_t vgpu_nvmlSystemGetConfComputeSettings(struct vgpu_process *process, struct vgpu_call *call,
                                                   nvmlSystemConfComputeSettings_t *settings) {
    (void)process;
    if (settings == NULL) {
        return NVML_ERROR_INVALID_ARGUMENT;
    }
    if (settings->version != VGPU_NVML_STRUCT(nvmlSystemConfComputeSettings_t, 1)) {
        return NVML_ERROR_ARGUMENT_VERSION_MISMATCH;
    }
    *settings = (nvmlSystemConfComputeSettings_t){.version = settings->version};
    vgpu_call_output(call, &settings->environment, sizeof(settings->environment));
    vgpu_call_output(call, &settings->ccFeature, sizeof(settings->ccFeature));
    return NVML_SUCCESS;
}

nvmlReturn_t vgpu_nvmlSystemGetConfComputeGpusReadyState(struct vgpu_process *process, struct vgpu_call *call,
                                                         unsigned int *isAcceptingWork) {
    (void)process;
    if (isAcceptingWork == NULL) {
        return NVML_ERROR_INVALID_ARGUMENT;
    }
    *isAcceptingWork = 0;
    vgpu_call_output(call, isAcceptingWork, sizeof(*isAcceptingWork));
    return NVML_SUCCESS;
}

/* All memory is unprotected. */
nvmlReturn_t vgpu_nvmlDeviceGetConfComputeMemSizeInfo(struct vgpu_process *process, struct vgpu_call *call,
                                                      nvmlDevice_t device, nvmlConfComputeMemSizeInfo_t *memInfo) {
    const struct vgpu_gpu *gpu = vgpu_nvml_gpu(process, device);
    if (gpu == NULL || memInfo == NULL) {
        return NVML_ERROR_INVALID_ARGUMENT;
    }
    if (!vgpu_nvml_is_since(gpu, 9, 0)) {
        return NVML_ERROR_NOT_SUPPORTED;
    }
    vgpu_nvml_say_long(call, gpu, &memInfo->protectedMemSizeKib, 0);
    return vgpu_nvml_say_long(call, gpu, &memInfo->unprotectedMemSizeKib, (int64_t)(gpu->memory_total / 1024));
}
