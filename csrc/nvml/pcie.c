/* The link to the host: PCI Express in all that this package has profiles of. */
#include <string.h>

#include "nvml/ask.h"
#include "nvml/structs_device.h"
#include "vgpu/gpu_text.h"

enum {
    BUS_PCI_EXPRESS = 2, /* NVML_BUS_TYPE_PCIE */
    GENERATIONS = 6,
    CLASS_3D_CONTROLLER = 0x0302, /* pci.ids: base class 03, subclass 02 */
};

nvmlReturn_t vgpu_nvmlDeviceGetBusType(struct vgpu_process *process, struct vgpu_call *call, nvmlDevice_t device,
                                       nvmlBusType_t *type) {
    const struct vgpu_gpu *gpu = vgpu_nvml_gpu(process, device);
    if (gpu == NULL || type == NULL) {
        return NVML_ERROR_INVALID_ARGUMENT;
    }
    return vgpu_nvml_say(call, gpu, type, BUS_PCI_EXPRESS);
}

nvmlReturn_t vgpu_nvmlDeviceGetMaxPcieLinkGeneration(struct vgpu_process *process, struct vgpu_call *call,
                                                     nvmlDevice_t device, unsigned int *maxLinkGen) {
    return vgpu_nvml_answer(process, call, device, VGPU_PROPERTY_LINK_GENERATION_MAX, 0, maxLinkGen);
}

nvmlReturn_t vgpu_nvmlDeviceGetGpuMaxPcieLinkGeneration(struct vgpu_process *process, struct vgpu_call *call,
                                                        nvmlDevice_t device, unsigned int *maxLinkGenDevice) {
    return vgpu_nvml_answer(process, call, device, VGPU_PROPERTY_LINK_GENERATION_MAX, 0, maxLinkGenDevice);
}

nvmlReturn_t vgpu_nvmlDeviceGetMaxPcieLinkWidth(struct vgpu_process *process, struct vgpu_call *call,
                                                nvmlDevice_t device, unsigned int *maxLinkWidth) {
    return vgpu_nvml_answer(process, call, device, VGPU_PROPERTY_LINK_WIDTH_MAX, 0, maxLinkWidth);
}

/* What the link does now is never more than what it can do. 0: the GPU does not tell what it can. */
static int64_t current(struct vgpu_process *process, const struct vgpu_gpu *gpu, enum vgpu_property_id now,
                       enum vgpu_property_id highest) {
    int64_t most = vgpu_nvml_get_or(process, gpu, highest, 0, 0);
    int64_t is = vgpu_nvml_get_or(process, gpu, now, 0, most);
    return is < most ? is : most;
}

static nvmlReturn_t answer_current(struct vgpu_process *process, struct vgpu_call *call, nvmlDevice_t device,
                                   enum vgpu_property_id now, enum vgpu_property_id highest, unsigned int *to) {
    const struct vgpu_gpu *gpu = vgpu_nvml_gpu(process, device);
    if (gpu == NULL || to == NULL) {
        return NVML_ERROR_INVALID_ARGUMENT;
    }
    int64_t value = current(process, gpu, now, highest);
    return value != 0 ? vgpu_nvml_say(call, gpu, to, value) : NVML_ERROR_NOT_SUPPORTED;
}

nvmlReturn_t vgpu_nvmlDeviceGetCurrPcieLinkGeneration(struct vgpu_process *process, struct vgpu_call *call,
                                                      nvmlDevice_t device, unsigned int *currLinkGen) {
    return answer_current(process, call, device, VGPU_PROPERTY_LINK_GENERATION, VGPU_PROPERTY_LINK_GENERATION_MAX,
                          currLinkGen);
}

nvmlReturn_t vgpu_nvmlDeviceGetCurrPcieLinkWidth(struct vgpu_process *process, struct vgpu_call *call,
                                                 nvmlDevice_t device, unsigned int *currLinkWidth) {
    return answer_current(process, call, device, VGPU_PROPERTY_LINK_WIDTH, VGPU_PROPERTY_LINK_WIDTH_MAX, currLinkWidth);
}

/* NVML_PCIE_LINK_MAX_SPEED_* count as the generations do. */
nvmlReturn_t vgpu_nvmlDeviceGetPcieLinkMaxSpeed(struct vgpu_process *process, struct vgpu_call *call,
                                                nvmlDevice_t device, unsigned int *maxSpeed) {
    return vgpu_nvml_answer(process, call, device, VGPU_PROPERTY_LINK_GENERATION_MAX, 0, maxSpeed);
}

nvmlReturn_t vgpu_nvmlDeviceGetPcieSpeed(struct vgpu_process *process, struct vgpu_call *call, nvmlDevice_t device,
                                         unsigned int *pcieSpeed) {
    static const unsigned int megatransfers[GENERATIONS + 1] = {0, 2500, 5000, 8000, 16000, 32000, 64000};
    const struct vgpu_gpu *gpu = vgpu_nvml_gpu(process, device);
    if (gpu == NULL || pcieSpeed == NULL) {
        return NVML_ERROR_INVALID_ARGUMENT;
    }
    int64_t generation = current(process, gpu, VGPU_PROPERTY_LINK_GENERATION, VGPU_PROPERTY_LINK_GENERATION_MAX);
    if (generation < 1 || generation > GENERATIONS) {
        return NVML_ERROR_NOT_SUPPORTED;
    }
    return vgpu_nvml_say(call, gpu, pcieSpeed, megatransfers[generation]);
}

/* Maxwell and newer (doc); no traffic unless the host has some. */
nvmlReturn_t vgpu_nvmlDeviceGetPcieThroughput(struct vgpu_process *process, struct vgpu_call *call, nvmlDevice_t device,
                                              nvmlPcieUtilCounter_t counter, unsigned int *value) {
    enum { COUNTERS = 2 };
    if (counter < 0 || counter >= COUNTERS) {
        return NVML_ERROR_INVALID_ARGUMENT;
    }
    return vgpu_nvml_answer_or(process, call, device, VGPU_PROPERTY_PCIE_THROUGHPUT, (uint32_t)counter, 0, value);
}

nvmlReturn_t vgpu_nvmlDeviceGetPcieReplayCounter(struct vgpu_process *process, struct vgpu_call *call,
                                                 nvmlDevice_t device, unsigned int *value) {
    return vgpu_nvml_answer_or(process, call, device, VGPU_PROPERTY_PCIE_REPLAYS, 0, 0, value);
}

nvmlReturn_t vgpu_nvmlDeviceGetPciInfoExt(struct vgpu_process *process, struct vgpu_call *call, nvmlDevice_t device,
                                          nvmlPciInfoExt_t *pci) {
    const struct vgpu_gpu *gpu = vgpu_nvml_gpu(process, device);
    if (gpu == NULL || pci == NULL) {
        return NVML_ERROR_INVALID_ARGUMENT;
    }
    if (pci->version != VGPU_NVML_STRUCT(nvmlPciInfoExt_t, 1)) {
        return NVML_ERROR_ARGUMENT_VERSION_MISMATCH;
    }
    int64_t class = vgpu_nvml_get_or(process, gpu, VGPU_PROPERTY_PCI_CLASS, 0, CLASS_3D_CONTROLLER);
    *pci = (nvmlPciInfoExt_t){
        .version = pci->version,
        .domain = gpu->pci_domain,
        .bus = gpu->pci_bus,
        .device = gpu->pci_device,
        .pciDeviceId = gpu->pci_id,
        .pciSubSystemId = gpu->pci_subsystem_id,
        .baseClass = (unsigned int)(class >> 8),
        .subClass = (unsigned int)(class & 0xff),
    };
    vgpu_put_pci(pci->busId, gpu, 8, "0123456789ABCDEF");
    vgpu_call_output(call, &pci->domain, sizeof(pci->domain));
    vgpu_call_output(call, &pci->bus, sizeof(pci->bus));
    vgpu_nvml_say_pci(call, gpu);
    return NVML_SUCCESS;
}
