/* The PCI facts of a device, in the three layouts that nvmlPciInfo_t has had. */
#include <string.h>

#include "nvml/model.h"
#include "vgpu/gpu_text.h"

static const char upper[] = "0123456789ABCDEF";

static nvmlPciInfo_t whole(const struct vgpu_gpu *gpu) {
    nvmlPciInfo_t pci = {
        .domain = gpu->pci_domain,
        .bus = gpu->pci_bus,
        .device = gpu->pci_device,
        .pciDeviceId = gpu->pci_id,
        .pciSubSystemId = gpu->pci_subsystem_id,
    };
    vgpu_put_pci(pci.busIdLegacy, gpu, 4, upper);
    vgpu_put_pci(pci.busId, gpu, 8, upper);
    return pci;
}

nvmlReturn_t vgpu_nvmlDeviceGetPciInfo_v3(struct vgpu_process *process, struct vgpu_call *call, nvmlDevice_t device,
                                          nvmlPciInfo_t *pci) {
    const struct vgpu_gpu *gpu = vgpu_nvml_gpu(process, device);
    if (gpu == NULL || pci == NULL) {
        return NVML_ERROR_INVALID_ARGUMENT;
    }
    *pci = whole(gpu);
    vgpu_call_output(call, &pci->domain, sizeof(pci->domain));
    vgpu_call_output(call, &pci->bus, sizeof(pci->bus));
    vgpu_nvml_say_pci(call, gpu);
    return NVML_SUCCESS;
}

nvmlReturn_t vgpu_nvmlDeviceGetPciInfo_v2(struct vgpu_process *process, struct vgpu_call *call, nvmlDevice_t device,
                                          nvmlPciInfo_v2_t *pci) {
    const struct vgpu_gpu *gpu = vgpu_nvml_gpu(process, device);
    if (gpu == NULL || pci == NULL) {
        return NVML_ERROR_INVALID_ARGUMENT;
    }
    nvmlPciInfo_t known = whole(gpu);
    memset(pci, 0, sizeof(*pci));
    memcpy(pci, &known, offsetof(nvmlPciInfo_t, busId));
    vgpu_call_output(call, &pci->domain, sizeof(pci->domain));
    vgpu_call_output(call, &pci->bus, sizeof(pci->bus));
    vgpu_nvml_say_pci(call, gpu);
    return NVML_SUCCESS;
}

nvmlReturn_t vgpu_nvmlDeviceGetPciInfo(struct vgpu_process *process, struct vgpu_call *call, nvmlDevice_t device,
                                       nvmlPciInfo_v1_t *pci) {
    const struct vgpu_gpu *gpu = vgpu_nvml_gpu(process, device);
    if (gpu == NULL || pci == NULL) {
        return NVML_ERROR_INVALID_ARGUMENT;
    }
    nvmlPciInfo_t known = whole(gpu);
    memcpy(pci, &known, sizeof(*pci));
    vgpu_call_output(call, &pci->domain, sizeof(pci->domain));
    vgpu_call_output(call, &pci->bus, sizeof(pci->bus));
    vgpu_nvml_say_pci(call, gpu);
    return NVML_SUCCESS;
}
