/* The questions about a device. The order of checks is that of NVIDIA's library: the out pointer, the device, the rest.
 */
#include <string.h>

#include "cuda/model.h"
#include "vgpu/gpu_text.h"
#include "vgpu/image.h"

static const char lower[] = "0123456789abcdef";

struct vgpu_device *vgpu_cuda_device(struct vgpu_process *process, CUdevice dev) {
    if (dev < 0 || (uint32_t)dev >= process->cuda->devices) {
        return NULL;
    }
    struct vgpu_device *device = &process->cuda->device[dev];
    return vgpu_gpu_lost(process, (uint32_t)(device->gpu - vgpu_image_gpu(process->image, 0))) ? NULL : device;
}

void vgpu_cuda_say_pci(struct vgpu_call *call, const struct vgpu_device *device) {
    vgpu_put_pci(call->text, device->gpu, 4, lower);
    call->event.text = call->text;
}

uint64_t vgpu_cuda_total(const struct vgpu_device *device) {
    return device->mig != NULL ? device->mig->memory : device->gpu->memory_total - device->gpu->memory_reserved;
}

uint64_t vgpu_cuda_free(const struct vgpu_device *device) {
    uint64_t total = vgpu_cuda_total(device);
    uint64_t used = device->mig != NULL ? 0 : device->gpu->memory_used;
    uint64_t taken = used + device->allocated;
    return taken < total ? total - taken : 0;
}

CUresult vgpu_cuDeviceGetCount(struct vgpu_process *process, struct vgpu_call *call, int *count) {
    if (count == NULL) {
        return CUDA_ERROR_INVALID_VALUE;
    }
    *count = (int)process->cuda->devices;
    vgpu_call_output(call, count, sizeof(*count));
    return CUDA_SUCCESS;
}

CUresult vgpu_cuDeviceGet(struct vgpu_process *process, struct vgpu_call *call, CUdevice *device, int ordinal) {
    if (device == NULL) {
        return CUDA_ERROR_INVALID_VALUE;
    }
    struct vgpu_device *found = vgpu_cuda_device(process, ordinal);
    if (found == NULL) {
        return CUDA_ERROR_INVALID_DEVICE;
    }
    *device = ordinal;
    vgpu_call_output(call, device, sizeof(*device));
    vgpu_cuda_say_pci(call, found);
    return CUDA_SUCCESS;
}

int32_t vgpu_cuda_attribute(struct vgpu_process *process, const struct vgpu_gpu *gpu, CUdevice_attribute attribute) {
    switch (attribute) {
    case VGPU_ATTRIBUTE_COMPUTE_MAJOR:
        return gpu->compute_major;
    case VGPU_ATTRIBUTE_COMPUTE_MINOR:
        return gpu->compute_minor;
    case VGPU_ATTRIBUTE_PCI_DOMAIN_ID:
        return (int32_t)gpu->pci_domain;
    case VGPU_ATTRIBUTE_PCI_BUS_ID:
        return (int32_t)gpu->pci_bus;
    case VGPU_ATTRIBUTE_PCI_DEVICE_ID:
        return (int32_t)gpu->pci_device;
    default:
        break;
    }
    const struct vgpu_attribute *list = vgpu_image_attributes(process->image, gpu);
    for (uint32_t i = 0; i < gpu->attributes.count; i++) {
        if (list[i].id == attribute) {
            return list[i].value;
        }
    }
    return 0;
}

int32_t vgpu_cuda_device_attribute(struct vgpu_process *process, CUdevice dev, CUdevice_attribute attribute) {
    const struct vgpu_device *device = &process->cuda->device[dev];
    return device->mig != NULL && attribute == VGPU_ATTRIBUTE_MULTIPROCESSOR_COUNT
               ? (int32_t)device->mig->multiprocessors
               : vgpu_cuda_attribute(process, device->gpu, attribute);
}

/* An attribute of cuda.h 13.0 (1 to 147) that the host does not state is 0, as what a device lacks is; any other number
 * is an invalid value (measured by the lupine project; cuda-python's tests rely on it). */
CUresult vgpu_cuDeviceGetAttribute(struct vgpu_process *process, struct vgpu_call *call, int *pi,
                                   CUdevice_attribute attrib, CUdevice dev) {
    if (pi == NULL) {
        return CUDA_ERROR_INVALID_VALUE;
    }
    CUresult refusal = vgpu_cuda_ready(process);
    if (refusal != CUDA_SUCCESS) {
        return refusal;
    }
    struct vgpu_device *device = vgpu_cuda_device(process, dev);
    if (device == NULL) {
        return CUDA_ERROR_INVALID_DEVICE;
    }
    /* A driver does not know what came after it; where between 13.0 and 13.5 each came is not known. */
    int known = process->image->driver.cuda_version <= 13000 ? VGPU_ATTRIBUTE_LAST_13_0 : VGPU_ATTRIBUTE_LAST;
    if (attrib < VGPU_ATTRIBUTE_FIRST || attrib > known) {
        return CUDA_ERROR_INVALID_VALUE;
    }
    *pi = vgpu_cuda_device_attribute(process, dev, attrib);
    vgpu_call_output(call, pi, sizeof(*pi));
    vgpu_cuda_say_pci(call, device);
    return CUDA_SUCCESS;
}

CUresult vgpu_cuDeviceGetUuid(struct vgpu_process *process, struct vgpu_call *call, CUuuid *uuid, CUdevice dev) {
    if (uuid == NULL) {
        return CUDA_ERROR_INVALID_VALUE;
    }
    struct vgpu_device *device = vgpu_cuda_device(process, dev);
    if (device == NULL) {
        return CUDA_ERROR_INVALID_DEVICE;
    }
    memcpy(uuid->bytes, device->gpu->uuid, sizeof(uuid->bytes));
    vgpu_put_uuid(call->text, device->gpu->uuid);
    call->event.text = call->text;
    return CUDA_SUCCESS;
}

/* They differ for parts of a GPU only (MIG), where this one names the part. */
CUresult vgpu_cuDeviceGetUuid_v2(struct vgpu_process *process, struct vgpu_call *call, CUuuid *uuid, CUdevice dev) {
    CUresult refusal = vgpu_cuDeviceGetUuid(process, call, uuid, dev);
    if (refusal == CUDA_SUCCESS && process->cuda->device[dev].mig != NULL) {
        const uint8_t *bytes = process->cuda->device[dev].mig->uuid;
        memcpy(uuid->bytes, bytes, sizeof(uuid->bytes));
        vgpu_put_uuid(call->text, bytes);
        memcpy(call->text, "MIG", 3);
    }
    return refusal;
}

CUresult vgpu_cuDeviceGetName(struct vgpu_process *process, struct vgpu_call *call, char *name, int len, CUdevice dev) {
    if (name == NULL) {
        return CUDA_ERROR_INVALID_VALUE;
    }
    struct vgpu_device *device = vgpu_cuda_device(process, dev);
    if (device == NULL) {
        return CUDA_ERROR_INVALID_DEVICE;
    }
    if (len <= 0) {
        return CUDA_ERROR_INVALID_VALUE;
    }
    const char *full = device->mig != NULL ? device->mig->name : device->gpu->name;
    size_t length = strnlen(full, VGPU_NAME_SIZE - 1);
    size_t room = (size_t)len - 1;
    memcpy(name, full, length < room ? length : room);
    name[length < room ? length : room] = '\0';
    vgpu_call_text(call, name, (size_t)len);
    return CUDA_SUCCESS;
}

CUresult vgpu_cuDeviceTotalMem_v2(struct vgpu_process *process, struct vgpu_call *call, size_t *bytes, CUdevice dev) {
    if (bytes == NULL) {
        return CUDA_ERROR_INVALID_VALUE;
    }
    struct vgpu_device *device = vgpu_cuda_device(process, dev);
    if (device == NULL) {
        return CUDA_ERROR_INVALID_DEVICE;
    }
    *bytes = vgpu_cuda_total(device);
    vgpu_call_output(call, bytes, sizeof(*bytes));
    vgpu_cuda_say_pci(call, device);
    return CUDA_SUCCESS;
}

/* 32 bits hold no more than 4 GiB - 1. */
CUresult vgpu_cuDeviceTotalMem(struct vgpu_process *process, struct vgpu_call *call, unsigned int *bytes,
                               CUdevice dev) {
    if (bytes == NULL) {
        return CUDA_ERROR_INVALID_VALUE;
    }
    struct vgpu_device *device = vgpu_cuda_device(process, dev);
    if (device == NULL) {
        return CUDA_ERROR_INVALID_DEVICE;
    }
    uint64_t total = vgpu_cuda_total(device);
    *bytes = total < UINT32_MAX ? (unsigned int)total : UINT32_MAX;
    vgpu_call_output(call, bytes, sizeof(*bytes));
    vgpu_cuda_say_pci(call, device);
    return CUDA_SUCCESS;
}

CUresult vgpu_cuDeviceGetPCIBusId(struct vgpu_process *process, struct vgpu_call *call, char *pciBusId, int len,
                                  CUdevice dev) {
    if (pciBusId == NULL) {
        return CUDA_ERROR_INVALID_VALUE;
    }
    struct vgpu_device *device = vgpu_cuda_device(process, dev);
    if (device == NULL) {
        return CUDA_ERROR_INVALID_DEVICE;
    }
    if (len < VGPU_PCI_TEXT_SIZE) {
        return CUDA_ERROR_INVALID_VALUE;
    }
    vgpu_put_pci(pciBusId, device->gpu, 4, lower);
    vgpu_call_text(call, pciBusId, (size_t)len);
    return CUDA_SUCCESS;
}

CUresult vgpu_cuDeviceGetByPCIBusId(struct vgpu_process *process, struct vgpu_call *call, CUdevice *dev,
                                    const char *pciBusId) {
    if (dev == NULL || pciBusId == NULL) {
        return CUDA_ERROR_INVALID_VALUE;
    }
    call->event.text = pciBusId;
    struct vgpu_pci_address address;
    if (!vgpu_take_pci(pciBusId, &address)) {
        return CUDA_ERROR_INVALID_VALUE;
    }
    for (uint32_t i = 0; i < process->cuda->devices; i++) {
        struct vgpu_device *device = &process->cuda->device[i];
        if (vgpu_is_at(device->gpu, &address)) {
            *dev = (CUdevice)i;
            vgpu_call_output(call, dev, sizeof(*dev));
            vgpu_cuda_say_pci(call, device);
            return CUDA_SUCCESS;
        }
    }
    return CUDA_ERROR_INVALID_DEVICE;
}
