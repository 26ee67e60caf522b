/* NVLink: the links of a GPU, where they lead, what went wrong on them.
 *
 * Links are active where there is a GPU to lead to: one with links, and the same major compute capability, as for peer
 * access in CUDA's model. They are dealt out to these GPUs in turn: own choice, since switches are not modelled. The
 * host file may have it otherwise. */
#include <string.h>

#include "nvml/structs_link.h"
#include "nvml/usage.h"
#include "vgpu/gpu_text.h"
#include "vgpu/image.h"

enum { ERROR_KINDS = 5, ERROR_STEP = 16 }; /* NVML_NVLINK_ERROR_COUNT */
enum { TYPE_GPU = 0, TYPE_UNKNOWN = 255 }; /* enum nvmlIntNvLinkDeviceType_t */
enum { CAPABILITY_P2P = 0, CAPABILITY_ATOMICS = 2, CAPABILITY_VALID = 5, CAPABILITIES = 6 };

int64_t vgpu_nvml_links(struct vgpu_process *process, const struct vgpu_gpu *gpu) {
    return vgpu_nvml_get_or(process, gpu, VGPU_PROPERTY_NVLINKS, 0, 0);
}

int vgpu_nvml_are_linked(struct vgpu_process *process, const struct vgpu_gpu *a, const struct vgpu_gpu *b) {
    return a != b && vgpu_nvml_links(process, a) > 0 && vgpu_nvml_links(process, b) > 0 &&
           a->compute_major == b->compute_major;
}

static const struct vgpu_gpu *peer(struct vgpu_process *process, const struct vgpu_gpu *gpu, unsigned int link) {
    const struct vgpu_gpu *peers[VGPU_GPUS_MAX];
    unsigned int count = 0;
    for (uint32_t i = 0; i < process->image->gpus.count; i++) {
        const struct vgpu_gpu *other = vgpu_image_gpu(process->image, i);
        if (vgpu_nvml_are_linked(process, gpu, other) && !vgpu_nvml_is_removed(process, i)) {
            peers[count++] = other;
        }
    }
    return count > 0 ? peers[link % count] : NULL;
}

int vgpu_nvml_link_is_active(struct vgpu_process *process, const struct vgpu_gpu *gpu, unsigned int link) {
    int led = peer(process, gpu, link) != NULL;
    return vgpu_nvml_get_or(process, gpu, VGPU_PROPERTY_NVLINK_STATE, link, led) != 0;
}

/* What one link carries one way, as `nvidia-smi nvlink -s` shows it for P100, V100, A100, H100, B200; at the index of
 * enum nvmlNvlinkVersion_t. */
int64_t vgpu_nvml_link_speed(struct vgpu_process *process, const struct vgpu_gpu *gpu) {
    static const int64_t speeds[] = {0, 20000, 25781, 25781, 25000, 25000, 26562, 50000};
    int64_t version = vgpu_nvml_get_or(process, gpu, VGPU_PROPERTY_NVLINK_VERSION, 0, 0);
    int64_t usual = version > 0 && version < (int64_t)(sizeof(speeds) / sizeof(speeds[0])) ? speeds[version] : 0;
    return vgpu_nvml_get_or(process, gpu, VGPU_PROPERTY_NVLINK_SPEED, 0, usual);
}

/* How a question about a link begins: INVALID_ARGUMENT, NOT_SUPPORTED, or SUCCESS and the GPU. */
static nvmlReturn_t begin(struct vgpu_process *process, nvmlDevice_t device, unsigned int link, const void *to,
                          const struct vgpu_gpu **gpu) {
    *gpu = vgpu_nvml_gpu(process, device);
    if (*gpu == NULL || to == NULL) {
        return NVML_ERROR_INVALID_ARGUMENT;
    }
    int64_t links = vgpu_nvml_links(process, *gpu);
    if (links == 0) {
        return NVML_ERROR_NOT_SUPPORTED;
    }
    return link < links ? NVML_SUCCESS : NVML_ERROR_INVALID_ARGUMENT;
}

nvmlReturn_t vgpu_nvmlDeviceGetNvLinkState(struct vgpu_process *process, struct vgpu_call *call, nvmlDevice_t device,
                                           unsigned int link, nvmlEnableState_t *isActive) {
    const struct vgpu_gpu *gpu;
    nvmlReturn_t refusal = begin(process, device, link, isActive, &gpu);
    return refusal != NVML_SUCCESS
               ? refusal
               : vgpu_nvml_say(call, gpu, (unsigned int *)isActive, vgpu_nvml_link_is_active(process, gpu, link));
}

nvmlReturn_t vgpu_nvmlDeviceGetNvLinkVersion(struct vgpu_process *process, struct vgpu_call *call, nvmlDevice_t device,
                                             unsigned int link, unsigned int *version) {
    const struct vgpu_gpu *gpu;
    nvmlReturn_t refusal = begin(process, device, link, version, &gpu);
    if (refusal != NVML_SUCCESS) {
        return refusal;
    }
    return vgpu_nvml_answer(process, call, device, VGPU_PROPERTY_NVLINK_VERSION, 0, version);
}

nvmlReturn_t vgpu_nvmlDeviceGetNvLinkCapability(struct vgpu_process *process, struct vgpu_call *call,
                                                nvmlDevice_t device, unsigned int link,
                                                nvmlNvLinkCapability_t capability, unsigned int *capResult) {
    const struct vgpu_gpu *gpu;
    nvmlReturn_t refusal = begin(process, device, link, capResult, &gpu);
    if (capability < 0 || capability >= CAPABILITIES) {
        return NVML_ERROR_INVALID_ARGUMENT;
    }
    if (refusal != NVML_SUCCESS) {
        return refusal;
    }
    int active = vgpu_nvml_link_is_active(process, gpu, link);
    int has = capability == CAPABILITY_VALID ||
              (active && (capability == CAPABILITY_P2P || capability == CAPABILITY_ATOMICS));
    return vgpu_nvml_say(call, gpu, capResult, has);
}

nvmlReturn_t vgpu_nvmlDeviceGetNvLinkRemoteDeviceType(struct vgpu_process *process, struct vgpu_call *call,
                                                      nvmlDevice_t device, unsigned int link,
                                                      nvmlIntNvLinkDeviceType_t *pNvLinkDeviceType) {
    const struct vgpu_gpu *gpu;
    nvmlReturn_t refusal = begin(process, device, link, pNvLinkDeviceType, &gpu);
    if (refusal != NVML_SUCCESS) {
        return refusal;
    }
    int usual = vgpu_nvml_link_is_active(process, gpu, link) && peer(process, gpu, link) ? TYPE_GPU : TYPE_UNKNOWN;
    return vgpu_nvml_say(call, gpu, (unsigned int *)pNvLinkDeviceType,
                         vgpu_nvml_get_or(process, gpu, VGPU_PROPERTY_NVLINK_REMOTE_TYPE, link, usual));
}

/* Where an inactive link leads is not known. */
nvmlReturn_t vgpu_nvmlDeviceGetNvLinkRemotePciInfo_v2(struct vgpu_process *process, struct vgpu_call *call,
                                                      nvmlDevice_t device, unsigned int link, nvmlPciInfo_t *pci) {
    static const char upper[] = "0123456789ABCDEF";
    const struct vgpu_gpu *gpu;
    nvmlReturn_t refusal = begin(process, device, link, pci, &gpu);
    if (refusal != NVML_SUCCESS) {
        return refusal;
    }
    const struct vgpu_gpu *other = peer(process, gpu, link);
    struct vgpu_gpu remote = {0};
    int64_t address;
    if (vgpu_nvml_get(process, gpu, VGPU_PROPERTY_NVLINK_REMOTE, link, &address)) {
        remote.pci_domain = (uint32_t)(address >> 16);
        remote.pci_bus = (uint32_t)(address >> 8 & 0xff);
        remote.pci_device = (uint32_t)(address & 0xff);
    } else if (other != NULL) {
        remote = *other;
    }
    if (!vgpu_nvml_link_is_active(process, gpu, link) || (other == NULL && remote.pci_device == 0)) {
        return NVML_ERROR_NOT_SUPPORTED;
    }
    *pci = (nvmlPciInfo_t){
        .domain = remote.pci_domain, .bus = remote.pci_bus, .device = remote.pci_device, .pciDeviceId = remote.pci_id};
    vgpu_put_pci(pci->busIdLegacy, &remote, 4, upper);
    vgpu_put_pci(pci->busId, &remote, 8, upper);
    vgpu_call_output(call, &pci->domain, sizeof(pci->domain));
    vgpu_call_output(call, &pci->bus, sizeof(pci->bus));
    vgpu_nvml_say_pci(call, gpu);
    return NVML_SUCCESS;
}

nvmlReturn_t vgpu_nvmlDeviceGetNvLinkRemotePciInfo(struct vgpu_process *process, struct vgpu_call *call,
                                                   nvmlDevice_t device, unsigned int link, nvmlPciInfo_t *pci) {
    return vgpu_nvmlDeviceGetNvLinkRemotePciInfo_v2(process, call, device, link, pci);
}

nvmlReturn_t vgpu_nvmlDeviceGetNvLinkErrorCounter(struct vgpu_process *process, struct vgpu_call *call,
                                                  nvmlDevice_t device, unsigned int link,
                                                  nvmlNvLinkErrorCounter_t counter, unsigned long long *counterValue) {
    const struct vgpu_gpu *gpu;
    nvmlReturn_t refusal = begin(process, device, link, counterValue, &gpu);
    if (counter < 0 || counter >= ERROR_KINDS) {
        return NVML_ERROR_INVALID_ARGUMENT;
    }
    if (refusal != NVML_SUCCESS) {
        return refusal;
    }
    uint32_t index = ERROR_STEP * link + (uint32_t)counter;
    return vgpu_nvml_say_long(call, gpu, counterValue,
                              vgpu_nvml_get_or(process, gpu, VGPU_PROPERTY_NVLINK_ERRORS, index, 0));
}

nvmlReturn_t vgpu_nvmlDeviceResetNvLinkErrorCounters(struct vgpu_process *process, struct vgpu_call *call,
                                                     nvmlDevice_t device, unsigned int link) {
    const struct vgpu_gpu *gpu;
    nvmlReturn_t result = begin(process, device, link, &link, &gpu);
    for (uint32_t i = 0; i < ERROR_KINDS && result == NVML_SUCCESS; i++) {
        uint32_t index = ERROR_STEP * link + i;
        if (vgpu_nvml_get_or(process, gpu, VGPU_PROPERTY_NVLINK_ERRORS, index, 0) != 0) {
            result = vgpu_nvml_set(process, gpu, VGPU_PROPERTY_NVLINK_ERRORS, index, 0);
        }
        vgpu_nvml_say_pci(call, gpu);
    }
    return result;
}
