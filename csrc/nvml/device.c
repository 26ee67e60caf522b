/* The questions about a device. */
#include <string.h>

#include "nvml/model.h"
#include "vgpu/gpu_text.h"

nvmlReturn_t vgpu_nvmlDeviceGetName(struct vgpu_process *process, struct vgpu_call *call, nvmlDevice_t device,
                                    char *name, unsigned int length) {
    const struct vgpu_gpu *gpu = vgpu_nvml_gpu(process, device);
    const struct vgpu_mig_device *mig = gpu == NULL ? vgpu_nvml_mig(process, device, &gpu) : NULL;
    if (gpu == NULL) {
        return NVML_ERROR_INVALID_ARGUMENT;
    }
    return vgpu_nvml_text(call, mig != NULL ? mig->name : gpu->name, name, length);
}

nvmlReturn_t vgpu_nvmlDeviceGetUUID(struct vgpu_process *process, struct vgpu_call *call, nvmlDevice_t device,
                                    char *uuid, unsigned int length) {
    const struct vgpu_gpu *gpu = vgpu_nvml_gpu(process, device);
    const struct vgpu_mig_device *mig = gpu == NULL ? vgpu_nvml_mig(process, device, &gpu) : NULL;
    if (gpu == NULL) {
        return NVML_ERROR_INVALID_ARGUMENT;
    }
    char text[VGPU_UUID_TEXT_SIZE];
    vgpu_put_uuid(text, mig != NULL ? mig->uuid : gpu->nvml_uuid);
    if (mig != NULL) {
        memcpy(text, "MIG-", strlen("MIG-"));
    }
    return vgpu_nvml_text(call, text, uuid, length);
}

/* A board without a serial number does not support the question (doc). */
nvmlReturn_t vgpu_nvmlDeviceGetSerial(struct vgpu_process *process, struct vgpu_call *call, nvmlDevice_t device,
                                      char *serial, unsigned int length) {
    const struct vgpu_gpu *gpu = vgpu_nvml_gpu(process, device);
    if (gpu == NULL || serial == NULL) {
        return NVML_ERROR_INVALID_ARGUMENT;
    }
    return gpu->serial[0] != '\0' ? vgpu_nvml_text(call, gpu->serial, serial, length) : NVML_ERROR_NOT_SUPPORTED;
}

nvmlReturn_t vgpu_nvmlDeviceGetMinorNumber(struct vgpu_process *process, struct vgpu_call *call, nvmlDevice_t device,
                                           unsigned int *minorNumber) {
    const struct vgpu_gpu *gpu = vgpu_nvml_gpu(process, device);
    if (gpu == NULL || minorNumber == NULL) {
        return NVML_ERROR_INVALID_ARGUMENT;
    }
    *minorNumber = (unsigned int)gpu->minor_number;
    vgpu_call_output(call, minorNumber, sizeof(*minorNumber));
    vgpu_nvml_say_pci(call, gpu);
    return NVML_SUCCESS;
}

nvmlReturn_t vgpu_nvmlDeviceGetCudaComputeCapability(struct vgpu_process *process, struct vgpu_call *call,
                                                     nvmlDevice_t device, int *major, int *minor) {
    const struct vgpu_gpu *gpu = vgpu_nvml_gpu(process, device);
    if (gpu == NULL || major == NULL || minor == NULL) {
        return NVML_ERROR_INVALID_ARGUMENT;
    }
    *major = gpu->compute_major;
    *minor = gpu->compute_minor;
    vgpu_call_output(call, major, sizeof(*major));
    vgpu_call_output(call, minor, sizeof(*minor));
    vgpu_nvml_say_pci(call, gpu);
    return NVML_SUCCESS;
}

static nvmlDeviceArchitecture_t architecture(const struct vgpu_gpu *gpu) {
    static const struct {
        int32_t compute; /* ten times the lowest compute capability */
        nvmlDeviceArchitecture_t architecture;
    } newest_first[] = {
        {100, VGPU_ARCHITECTURE_BLACKWELL}, {90, VGPU_ARCHITECTURE_HOPPER},  {89, VGPU_ARCHITECTURE_ADA},
        {80, VGPU_ARCHITECTURE_AMPERE},     {75, VGPU_ARCHITECTURE_TURING},  {70, VGPU_ARCHITECTURE_VOLTA},
        {60, VGPU_ARCHITECTURE_PASCAL},     {50, VGPU_ARCHITECTURE_MAXWELL}, {30, VGPU_ARCHITECTURE_KEPLER},
    };
    int32_t compute = 10 * gpu->compute_major + gpu->compute_minor;
    for (size_t i = 0; i < sizeof(newest_first) / sizeof(newest_first[0]); i++) {
        if (compute >= newest_first[i].compute) {
            return newest_first[i].architecture;
        }
    }
    return UINT32_MAX; /* NVML_DEVICE_ARCH_UNKNOWN */
}

nvmlReturn_t vgpu_nvmlDeviceGetArchitecture(struct vgpu_process *process, struct vgpu_call *call, nvmlDevice_t device,
                                            nvmlDeviceArchitecture_t *arch) {
    const struct vgpu_gpu *gpu = vgpu_nvml_gpu(process, device);
    if (gpu == NULL || arch == NULL) {
        return NVML_ERROR_INVALID_ARGUMENT;
    }
    *arch = architecture(gpu);
    vgpu_call_output(call, arch, sizeof(*arch));
    vgpu_nvml_say_pci(call, gpu);
    return NVML_SUCCESS;
}
