/* Virtual GPUs: the simulated host is a virtual machine with whole GPUs passed through, or bare metal. It is no host of
 * virtual GPUs, so of these there are no kinds and none running. */
#include "nvml/structs_vgpu.h"
#include "nvml/usage.h"

enum {
    PASSED_THROUGH = 1,      /* NVML_GPU_VIRTUALIZATION_MODE_PASSTHROUGH */
    DRIVER_CAPABILITIES = 2, /* NVML_VGPU_DRIVER_CAP_COUNT */
};

nvmlReturn_t vgpu_nvmlDeviceGetVirtualizationMode(struct vgpu_process *process, struct vgpu_call *call,
                                                  nvmlDevice_t device, nvmlGpuVirtualizationMode_t *pVirtualMode) {
    return vgpu_nvml_answer_or(process, call, device, VGPU_PROPERTY_VIRTUALIZATION_MODE, 0, PASSED_THROUGH,
                               (unsigned int *)pVirtualMode);
}

/* Nothing is licensed by the GRID licence server here. */
nvmlReturn_t vgpu_nvmlDeviceGetGridLicensableFeatures_v4(struct vgpu_process *process, struct vgpu_call *call,
                                                         nvmlDevice_t device,
                                                         nvmlGridLicensableFeatures_t *pGridLicensableFeatures) {
    const struct vgpu_gpu *gpu = vgpu_nvml_gpu(process, device);
    if (gpu == NULL || pGridLicensableFeatures == NULL) {
        return NVML_ERROR_INVALID_ARGUMENT;
    }
    vgpu_nvml_say(call, gpu, (unsigned int *)&pGridLicensableFeatures->isGridLicenseSupported, 0);
    return vgpu_nvml_say(call, gpu, &pGridLicensableFeatures->licensableFeaturesCount, 0);
}

nvmlReturn_t vgpu_nvmlGetVgpuDriverCapabilities(struct vgpu_process *process, struct vgpu_call *call,
                                                nvmlVgpuDriverCapability_t capability, unsigned int *capResult) {
    (void)process;
    if (capability < 0 || capability >= DRIVER_CAPABILITIES || capResult == NULL) {
        return NVML_ERROR_INVALID_ARGUMENT;
    }
    *capResult = 0;
    vgpu_call_output(call, capResult, sizeof(*capResult));
    return NVML_SUCCESS;
}

static nvmlReturn_t none(struct vgpu_process *process, struct vgpu_call *call, nvmlDevice_t device,
                         unsigned int *count) {
    const struct vgpu_gpu *gpu = vgpu_nvml_gpu(process, device);
    return gpu != NULL && count != NULL ? vgpu_nvml_say(call, gpu, count, 0) : NVML_ERROR_INVALID_ARGUMENT;
}

nvmlReturn_t vgpu_nvmlDeviceGetSupportedVgpus(struct vgpu_process *process, struct vgpu_call *call, nvmlDevice_t device,
                                              unsigned int *vgpuCount, nvmlVgpuTypeId_t *vgpuTypeIds) {
    (void)vgpuTypeIds;
    return none(process, call, device, vgpuCount);
}

nvmlReturn_t vgpu_nvmlDeviceGetCreatableVgpus(struct vgpu_process *process, struct vgpu_call *call, nvmlDevice_t device,
                                              unsigned int *vgpuCount, nvmlVgpuTypeId_t *vgpuTypeIds) {
    (void)vgpuTypeIds;
    return none(process, call, device, vgpuCount);
}

nvmlReturn_t vgpu_nvmlDeviceGetActiveVgpus(struct vgpu_process *process, struct vgpu_call *call, nvmlDevice_t device,
                                           unsigned int *vgpuCount, nvmlVgpuInstance_t *vgpuInstances) {
    (void)vgpuInstances;
    return none(process, call, device, vgpuCount);
}
