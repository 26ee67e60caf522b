/* Handles: opaque addresses, recognised and never read. CUDA_VISIBLE_DEVICES means nothing to NVML: all GPUs count. */
#include <string.h>

#include "nvml/ask.h"
#include "nvml/structs_device.h"
#include "vgpu/gpu_text.h"
#include "vgpu/image.h"

nvmlDevice_t vgpu_nvml_handle(struct vgpu_process *process, uint32_t i) {
    return (nvmlDevice_t)(void *)&process->nvml->handles[i];
}

int vgpu_nvml_is_removed(struct vgpu_process *process, uint32_t i) {
    return process->nvml->settings->gpu[i].removed != 0;
}

int vgpu_nvml_is_there(struct vgpu_process *process, uint32_t i) {
    return !vgpu_nvml_is_removed(process, i) && !vgpu_gpu_lost(process, i);
}

const struct vgpu_gpu *vgpu_nvml_gpu(struct vgpu_process *process, nvmlDevice_t device) {
    for (uint32_t i = 0; i < process->image->gpus.count; i++) {
        if (device == vgpu_nvml_handle(process, i)) {
            return vgpu_nvml_is_there(process, i) ? vgpu_image_gpu(process->image, i) : NULL;
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
    unsigned int count = 0;
    for (uint32_t i = 0; i < process->image->gpus.count; i++) {
        count += !vgpu_nvml_is_removed(process, i);
    }
    *deviceCount = count;
    vgpu_call_output(call, deviceCount, sizeof(*deviceCount));
    return NVML_SUCCESS;
}

nvmlReturn_t vgpu_nvmlDeviceGetCount(struct vgpu_process *process, struct vgpu_call *call, unsigned int *deviceCount) {
    return vgpu_nvmlDeviceGetCount_v2(process, call, deviceCount);
}

static nvmlReturn_t found(struct vgpu_process *process, struct vgpu_call *call, uint32_t i, nvmlDevice_t *device) {
    if (vgpu_gpu_lost(process, i)) {
        return NVML_ERROR_GPU_IS_LOST;
    }
    *device = vgpu_nvml_handle(process, i);
    vgpu_nvml_say_pci(call, vgpu_image_gpu(process->image, i));
    return NVML_SUCCESS;
}

/* The next GPU from place `i` on that is there; NULL past the last. */
static const struct vgpu_gpu *next(struct vgpu_process *process, uint32_t *i) {
    while (*i < process->image->gpus.count && vgpu_nvml_is_removed(process, *i)) {
        ++*i;
    }
    return vgpu_image_gpu(process->image, *i);
}

nvmlReturn_t vgpu_nvmlDeviceGetHandleByIndex_v2(struct vgpu_process *process, struct vgpu_call *call,
                                                unsigned int index, nvmlDevice_t *device) {
    if (device == NULL) {
        return NVML_ERROR_INVALID_ARGUMENT;
    }
    unsigned int before = 0;
    for (uint32_t i = 0; next(process, &i) != NULL; i++) {
        if (before++ == index) {
            return found(process, call, i, device);
        }
    }
    return NVML_ERROR_INVALID_ARGUMENT;
}

nvmlReturn_t vgpu_nvmlDeviceGetHandleByIndex(struct vgpu_process *process, struct vgpu_call *call, unsigned int index,
                                             nvmlDevice_t *device) {
    return vgpu_nvmlDeviceGetHandleByIndex_v2(process, call, index, device);
}

nvmlReturn_t vgpu_nvmlDeviceGetIndex(struct vgpu_process *process, struct vgpu_call *call, nvmlDevice_t device,
                                     unsigned int *index) {
    const struct vgpu_gpu *gpu = vgpu_nvml_gpu(process, device);
    if (gpu == NULL || index == NULL) {
        return NVML_ERROR_INVALID_ARGUMENT;
    }
    unsigned int before = 0;
    for (uint32_t i = 0; next(process, &i) != gpu; i++) {
        before++;
    }
    return vgpu_nvml_say(call, gpu, index, before);
}

/* Is a MIG device's UUID this text, or, if that is NULL, are these its bytes? "MIG-" stands where a GPU's has "GPU-".
 */
static int is_named(const struct vgpu_mig_device *mig, const char *uuid, const unsigned char *bytes) {
    if (uuid == NULL) {
        return memcmp(mig->uuid, bytes, sizeof(mig->uuid)) == 0;
    }
    char text[VGPU_UUID_TEXT_SIZE];
    vgpu_put_uuid(text, mig->uuid);
    memcpy(text, "MIG-", strlen("MIG-"));
    return strcmp(text, uuid) == 0;
}

static nvmlReturn_t mig_by_uuid(struct vgpu_process *process, struct vgpu_call *call, const char *uuid,
                                const unsigned char *bytes, nvmlDevice_t *device) {
    const struct vgpu_gpu *gpu;
    for (uint32_t i = 0; (gpu = next(process, &i)) != NULL; i++) {
        const struct vgpu_mig_device *mig;
        nvmlDevice_t handle;
        for (uint32_t n = 0; (mig = vgpu_nvml_nth_mig(process, gpu, n, &handle)) != NULL; n++) {
            if (is_named(mig, uuid, bytes)) {
                nvmlReturn_t result = found(process, call, i, device);
                *device = result == NVML_SUCCESS ? handle : *device;
                return result;
            }
        }
    }
    return NVML_ERROR_NOT_FOUND;
}

nvmlReturn_t vgpu_nvmlDeviceGetHandleByUUID(struct vgpu_process *process, struct vgpu_call *call, const char *uuid,
                                            nvmlDevice_t *device) {
    if (uuid == NULL || device == NULL) {
        return NVML_ERROR_INVALID_ARGUMENT;
    }
    call->event.text = uuid;
    const struct vgpu_gpu *gpu;
    for (uint32_t i = 0; (gpu = next(process, &i)) != NULL; i++) {
        char text[VGPU_UUID_TEXT_SIZE];
        vgpu_put_uuid(text, gpu->nvml_uuid);
        if (strcmp(text, uuid) == 0) {
            return found(process, call, i, device);
        }
    }
    return mig_by_uuid(process, call, uuid, NULL, device);
}

static nvmlReturn_t by_bytes(struct vgpu_process *process, struct vgpu_call *call, const unsigned char *bytes,
                             nvmlDevice_t *device) {
    const struct vgpu_gpu *gpu;
    for (uint32_t i = 0; (gpu = next(process, &i)) != NULL; i++) {
        if (memcmp(gpu->nvml_uuid, bytes, sizeof(gpu->nvml_uuid)) == 0) {
            return found(process, call, i, device);
        }
    }
    return mig_by_uuid(process, call, NULL, bytes, device);
}

nvmlReturn_t vgpu_nvmlDeviceGetHandleByUUIDV(struct vgpu_process *process, struct vgpu_call *call,
                                             const nvmlUUID_t *uuid, nvmlDevice_t *device) {
    enum { TEXT = 1, BYTES = 2 };
    if (uuid == NULL || device == NULL) {
        return NVML_ERROR_INVALID_ARGUMENT;
    }
    if (uuid->version != VGPU_NVML_STRUCT(nvmlUUID_t, 1)) {
        return NVML_ERROR_ARGUMENT_VERSION_MISMATCH;
    }
    if (uuid->type == BYTES) {
        return by_bytes(process, call, uuid->value.bytes, device);
    }
    if (uuid->type != TEXT || memchr(uuid->value.str, '\0', sizeof(uuid->value.str)) == NULL) {
        return NVML_ERROR_INVALID_ARGUMENT;
    }
    return vgpu_nvmlDeviceGetHandleByUUID(process, call, uuid->value.str, device);
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
    const struct vgpu_gpu *gpu;
    for (uint32_t i = 0; (gpu = next(process, &i)) != NULL; i++) {
        if (vgpu_is_at(gpu, &address)) {
            return found(process, call, i, device);
        }
    }
    return NVML_ERROR_NOT_FOUND;
}

nvmlReturn_t vgpu_nvmlDeviceGetHandleByPciBusId(struct vgpu_process *process, struct vgpu_call *call,
                                                const char *pciBusId, nvmlDevice_t *device) {
    return vgpu_nvmlDeviceGetHandleByPciBusId_v2(process, call, pciBusId, device);
}

/* Two GPUs of one number are on one board, and the number says neither (doc: an invalid argument). */
nvmlReturn_t vgpu_nvmlDeviceGetHandleBySerial(struct vgpu_process *process, struct vgpu_call *call, const char *serial,
                                              nvmlDevice_t *device) {
    if (serial == NULL || device == NULL) {
        return NVML_ERROR_INVALID_ARGUMENT;
    }
    call->event.text = serial;
    uint32_t first = VGPU_GPUS_MAX;
    const struct vgpu_gpu *gpu;
    for (uint32_t i = 0; (gpu = next(process, &i)) != NULL; i++) {
        if (gpu->serial[0] != '\0' && strcmp(gpu->serial, serial) == 0) {
            if (first != VGPU_GPUS_MAX) {
                return NVML_ERROR_INVALID_ARGUMENT;
            }
            first = i;
        }
    }
    return first != VGPU_GPUS_MAX ? found(process, call, first, device) : NVML_ERROR_NOT_FOUND;
}
