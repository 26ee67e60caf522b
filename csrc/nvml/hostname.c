/* The name that an administrator gives a GPU, to find it again: Blackwell and newer (doc). */
#include <string.h>

#include "nvml/ask.h"
#include "nvml/structs_device.h"

/* Which characters are valid nvml.h does not say: those of a host name (RFC 1123). */
static int is_valid(const char *name) {
    size_t length = strnlen(name, VGPU_NVML_HOSTNAME_SIZE);
    return length < VGPU_NVML_HOSTNAME_SIZE &&
           strspn(name, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789.-") == length;
}

nvmlReturn_t vgpu_nvmlDeviceSetHostname_v1(struct vgpu_process *process, struct vgpu_call *call, nvmlDevice_t device,
                                           nvmlHostname_v1_t *hostname) {
    const struct vgpu_gpu *gpu;
    nvmlReturn_t refusal = vgpu_nvml_settable(process, device, &gpu);
    if (refusal == NVML_ERROR_INVALID_ARGUMENT || hostname == NULL || !is_valid(hostname->value)) {
        return NVML_ERROR_INVALID_ARGUMENT;
    }
    if (refusal != NVML_SUCCESS) {
        return refusal;
    }
    if (!vgpu_nvml_is_since(gpu, 10, 0)) {
        return NVML_ERROR_NOT_SUPPORTED;
    }
    memcpy(vgpu_nvml_hostname(process, gpu), hostname->value, VGPU_NVML_HOSTNAME_SIZE);
    vgpu_nvml_say_pci(call, gpu);
    return NVML_SUCCESS;
}

nvmlReturn_t vgpu_nvmlDeviceGetHostname_v1(struct vgpu_process *process, struct vgpu_call *call, nvmlDevice_t device,
                                           nvmlHostname_v1_t *hostname) {
    const struct vgpu_gpu *gpu = vgpu_nvml_gpu(process, device);
    if (gpu == NULL || hostname == NULL) {
        return NVML_ERROR_INVALID_ARGUMENT;
    }
    if (!vgpu_nvml_is_since(gpu, 10, 0)) {
        return NVML_ERROR_NOT_SUPPORTED;
    }
    return vgpu_nvml_text(call, vgpu_nvml_hostname(process, gpu), hostname->value, sizeof(hostname->value));
}
