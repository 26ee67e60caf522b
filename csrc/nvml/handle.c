/* Handles: opaque addresses, recognised and never read. CUDA_VISIBLE_DEVICES means nothing to NVML: all GPUs count. */
#include <string.h>

#include "nvml/model.h"
#include "vgpu/gpu_text.h"
#include "vgpu/image.h"

nvmlDevice_t vgpu_nvml_handle(struct vgpu_process *process, uint32_t i) {
    return (nvmlDevice_t)(void *)&process->nvml->handles[i];
}

const struct vgpu_gpu *vgpu_nvml_gpu(struct vgpu_process *process, nvmlDevice_t device) {
    for (uint32_t i = 0; i < process->image->gpus.count; i++) {
        if (device == vgpu_nvml_handle(process, i)) {
            return vgpu_image_gpu(process->image, i);
        }
    }
    return NULL;
}

void vgpu_nvml_say_pci(struct vgpu_call *call, const struct vgpu_gpu *gpu) {
    vgpu_put_pci(call->text, gpu, 4, "0123456789abcdef");
    call->event.text = call->text;
}

nvmlReturn_t vgpu_nvmlDeviceGetCount_v2(struct vgpu_process *process, struct vgpu_call *call,
                                        unsigned int *deviceCount) {
    if (deviceCount == NULL) {
        return NVML_ERROR_INVALID_ARGUMENT;
    }
    *deviceCount = process->image->gpus.count;
    vgpu_call_output(call, deviceCount, sizeof(*deviceCount));
    return NVML_SUCCESS;
}

nvmlReturn_t vgpu_nvmlDeviceGetCount(struct vgpu_process *process, struct vgpu_call *call, unsigned int *deviceCount) {
    return vgpu_nvmlDeviceGetCount_v2(process, call, deviceCount);
}

static nvmlReturn_t found(struct vgpu_process *process, struct vgpu_call *call, uint32_t i, nvmlDevice_t *device) {
    *device = vgpu_nvml_handle(process, i);
    vgpu_nvml_say_pci(call, vgpu_image_gpu(process->image, i));
    return NVML_SUCCESS;
}

nvmlReturn_t vgpu_nvmlDeviceGetHandleByIndex_v2(struct vgpu_process *process, struct vgpu_call *call,
                                                unsigned int index, nvmlDevice_t *device) {
    if (device == NULL || index >= process->image->gpus.count) {
        return NVML_ERROR_INVALID_ARGUMENT;
    }
    return found(process, call, index, device);
}

nvmlReturn_t vgpu_nvmlDeviceGetHandleByIndex(struct vgpu_process *process, struct vgpu_call *call, unsigned int index,
                                             nvmlDevice_t *device) {
    return vgpu_nvmlDeviceGetHandleByIndex_v2(process, call, index, device);
}

nvmlReturn_t vgpu_nvmlDeviceGetHandleByUUID(struct vgpu_process *process, struct vgpu_call *call, const char *uuid,
                                            nvmlDevice_t *device) {
    if (uuid == NULL || device == NULL) {
        return NVML_ERROR_INVALID_ARGUMENT;
    }
    call->event.text = uuid;
    for (uint32_t i = 0; i < process->image->gpus.count; i++) {
        char text[VGPU_UUID_TEXT_SIZE];
        vgpu_put_uuid(text, vgpu_image_gpu(process->image, i)->nvml_uuid);
        if (strcmp(text, uuid) == 0) {
            return found(process, call, i, device);
        }
    }
    return NVML_ERROR_NOT_FOUND;
}

nvmlReturn_t vgpu_nvmlDeviceGetHandleByPciBusId_v2(struct vgpu_process *process, struct vgpu_call *call,
                                                   const char *pciBusId, nvmlDevice_t *device) {
    if (pciBusId == NULL || device == NULL) {
        return NVML_ERROR_INVALID_ARGUMENT;
    }
    call->event.text = pciBusId;
    struct vgpu_pci_address address;
    if (!vgpu_take_pci(pciBusId, &address)) {
        return NVML_ERROR_INVALID_ARGUMENT;
    }
    for (uint32_t i = 0; i < process->image->gpus.count; i++) {
        if (vgpu_is_at(vgpu_image_gpu(process->image, i), &address)) {
            return found(process, call, i, device);
        }
    }
    return NVML_ERROR_NOT_FOUND;
}

nvmlReturn_t vgpu_nvmlDeviceGetHandleByPciBusId(struct vgpu_process *process, struct vgpu_call *call,
                                                const char *pciBusId, nvmlDevice_t *device) {
    return vgpu_nvmlDeviceGetHandleByPciBusId_v2(process, call, pciBusId, device);
}

nvmlReturn_t vgpu_nvmlDeviceGetHandleBySerial(struct vgpu_process *process, struct vgpu_call *call, const char *serial,
                                              nvmlDevice_t *device) {
    if (serial == NULL || device == NULL) {
        return NVML_ERROR_INVALID_ARGUMENT;
    }
    call->event.text = serial;
    for (uint32_t i = 0; i < process->image->gpus.count; i++) {
        const struct vgpu_gpu *gpu = vgpu_image_gpu(process->image, i);
        if (gpu->serial[0] != '\0' && strcmp(gpu->serial, serial) == 0) {
            return found(process, call, i, device);
        }
    }
    return NVML_ERROR_NOT_FOUND;
}
