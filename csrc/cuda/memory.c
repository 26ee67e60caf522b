/* Device memory that belongs to a context. It is accounted to the byte, against what the host says the device has; an
 * address is never given out twice, and is none that the host could have mapped, so that a client that dereferences one
 * finds out, as it would with a real device. */
#include "cuda/capture.h"

enum {
    ATTRIBUTE_MAX_PITCH = 11,
    ATTRIBUTE_TEXTURE_ALIGNMENT =
        14, /* what the rows of cuMemAllocPitch are aligned to, as measured on many GPUs: 512 */
    PITCH_ALIGNMENT = 512,
};

/* The device of the current context, whose memory is asked for. */
static CUresult current_device(struct vgpu_process *process, struct vgpu_device **device) {
    CUcontext context;
    CUdevice dev;
    CUresult refusal = vgpu_context_current(process, &context, &dev);
    *device = refusal == CUDA_SUCCESS ? &process->cuda->device[dev] : NULL;
    return refusal;
}

/* `low`: for a program of the time when device addresses had 32 bits. */
CUresult vgpu_memory_new(struct vgpu_process *process, CUcontext owner, CUdevice dev, uint64_t size, int low,
                         uint64_t *address) {
    struct vgpu_cuda *cuda = process->cuda;
    if (size > vgpu_cuda_free(&cuda->device[dev])) {
        return CUDA_ERROR_OUT_OF_MEMORY;
    }
    struct vgpu_region region = {.size = size, .kind = VGPU_REGION_DEVICE, .owner = owner, .device = dev};
    region.address = vgpu_region_new_address(&cuda->memory, size, low);
    region.store = region.address != 0 ? vgpu_store_new(size) : NULL;
    if (region.store == NULL || vgpu_region_add(&cuda->memory, &region) == NULL) {
        vgpu_store_drop(&cuda->memory, region.store);
        return CUDA_ERROR_OUT_OF_MEMORY;
    }
    cuda->device[dev].allocated += size;
    *address = region.address;
    return CUDA_SUCCESS;
}

static CUresult allocate(struct vgpu_process *process, uint64_t size, int low, uint64_t *address) {
    CUcontext context;
    CUdevice dev;
    CUresult refusal = vgpu_context_current(process, &context, &dev);
    if (refusal == CUDA_SUCCESS && size == 0) {
        refusal = CUDA_ERROR_INVALID_VALUE;
    }
    refusal = refusal == CUDA_SUCCESS ? vgpu_capture_unsafe(process) : refusal;
    return refusal == CUDA_SUCCESS ? vgpu_memory_new(process, context, dev, size, low, address) : refusal;
}

CUresult vgpu_cuMemAlloc_v2(struct vgpu_process *process, struct vgpu_call *call, CUdeviceptr *dptr, size_t bytesize) {
    if (dptr == NULL) {
        return CUDA_ERROR_INVALID_VALUE;
    }
    uint64_t address;
    CUresult refusal = allocate(process, bytesize, 0, &address);
    if (refusal != CUDA_SUCCESS) {
        return refusal;
    }
    *dptr = address;
    vgpu_call_output(call, dptr, sizeof(*dptr));
    return CUDA_SUCCESS;
}

CUresult vgpu_cuMemAlloc(struct vgpu_process *process, struct vgpu_call *call, CUdeviceptr_v1 *dptr,
                         unsigned int bytesize) {
    if (dptr == NULL) {
        return CUDA_ERROR_INVALID_VALUE;
    }
    uint64_t address;
    CUresult refusal = allocate(process, bytesize, 1, &address);
    if (refusal != CUDA_SUCCESS) {
        return refusal;
    }
    *dptr = (CUdeviceptr_v1)address;
    vgpu_call_output(call, dptr, sizeof(*dptr));
    return CUDA_SUCCESS;
}

static CUresult allocate_rows(struct vgpu_process *process, uint64_t width, uint64_t height, unsigned int element,
                              int low, uint64_t *address, uint64_t *pitch) {
    struct vgpu_device *device;
    CUresult refusal = current_device(process, &device);
    if (refusal != CUDA_SUCCESS) {
        return refusal;
    }
    int32_t longest = vgpu_cuda_attribute(process, device->gpu, ATTRIBUTE_MAX_PITCH);
    if (width == 0 || height == 0 || (element != 4 && element != 8 && element != 16) ||
        (longest > 0 && width > (uint64_t)longest)) {
        return CUDA_ERROR_INVALID_VALUE;
    }
    int32_t stated = vgpu_cuda_attribute(process, device->gpu, ATTRIBUTE_TEXTURE_ALIGNMENT);
    uint64_t alignment = stated > 0 ? (uint64_t)stated : PITCH_ALIGNMENT;
    if (width > UINT64_MAX - alignment) {
        return CUDA_ERROR_INVALID_VALUE;
    }
    *pitch = (width + alignment - 1) / alignment * alignment;
    if (height > UINT64_MAX / *pitch) {
        return CUDA_ERROR_OUT_OF_MEMORY;
    }
    return allocate(process, *pitch * height, low, address);
}

CUresult vgpu_cuMemAllocPitch_v2(struct vgpu_process *process, struct vgpu_call *call, CUdeviceptr *dptr,
                                 size_t *pPitch, size_t WidthInBytes, size_t Height, unsigned int ElementSizeBytes) {
    if (dptr == NULL || pPitch == NULL) {
        return CUDA_ERROR_INVALID_VALUE;
    }
    uint64_t address;
    uint64_t pitch;
    CUresult refusal = allocate_rows(process, WidthInBytes, Height, ElementSizeBytes, 0, &address, &pitch);
    if (refusal != CUDA_SUCCESS) {
        return refusal;
    }
    *dptr = address;
    *pPitch = pitch;
    vgpu_call_output(call, dptr, sizeof(*dptr));
    vgpu_call_output(call, pPitch, sizeof(*pPitch));
    return CUDA_SUCCESS;
}

CUresult vgpu_cuMemAllocPitch(struct vgpu_process *process, struct vgpu_call *call, CUdeviceptr_v1 *dptr,
                              unsigned int *pPitch, unsigned int WidthInBytes, unsigned int Height,
                              unsigned int ElementSizeBytes) {
    if (dptr == NULL || pPitch == NULL) {
        return CUDA_ERROR_INVALID_VALUE;
    }
    uint64_t address;
    uint64_t pitch;
    CUresult refusal = allocate_rows(process, WidthInBytes, Height, ElementSizeBytes, 1, &address, &pitch);
    if (refusal != CUDA_SUCCESS) {
        return refusal;
    }
    *dptr = (CUdeviceptr_v1)address;
    *pPitch = (unsigned int)pitch;
    vgpu_call_output(call, dptr, sizeof(*dptr));
    vgpu_call_output(call, pPitch, sizeof(*pPitch));
    return CUDA_SUCCESS;
}

/* Addresses are of all contexts of the process (unified addressing): any living context may be current. 0 is nothing to
 * free, as with free() (measured by the lupine project on 590.48.01). */
CUresult vgpu_cuMemFree_v2(struct vgpu_process *process, struct vgpu_call *call, CUdeviceptr dptr) {
    (void)call;
    struct vgpu_device *device;
    CUresult refusal = current_device(process, &device);
    if (refusal != CUDA_SUCCESS || dptr == 0) {
        return refusal;
    }
    struct vgpu_region *region = vgpu_region_at(&process->cuda->memory, dptr);
    if (region == NULL || region->address != dptr || region->is_part ||
        (region->kind != VGPU_REGION_DEVICE && region->kind != VGPU_REGION_POOL &&
         region->kind != VGPU_REGION_MANAGED && region->kind != VGPU_REGION_GRAPH) ||
        (region->block != NULL && !vgpu_graph_memory_is_free_to_go(region->block))) {
        return CUDA_ERROR_INVALID_VALUE;
    }
    vgpu_region_remove(process->cuda, region);
    return CUDA_SUCCESS;
}

CUresult vgpu_cuMemFree(struct vgpu_process *process, struct vgpu_call *call, CUdeviceptr_v1 dptr) {
    return vgpu_cuMemFree_v2(process, call, dptr);
}

CUresult vgpu_cuMemGetInfo_v2(struct vgpu_process *process, struct vgpu_call *call, size_t *free_bytes,
                              size_t *total_bytes) {
    struct vgpu_device *device;
    if (free_bytes == NULL || total_bytes == NULL) {
        return CUDA_ERROR_INVALID_VALUE;
    }
    CUresult refusal = current_device(process, &device);
    if (refusal != CUDA_SUCCESS) {
        return refusal;
    }
    *free_bytes = vgpu_cuda_free(device);
    *total_bytes = vgpu_cuda_total(device);
    vgpu_call_output(call, free_bytes, sizeof(*free_bytes));
    vgpu_call_output(call, total_bytes, sizeof(*total_bytes));
    vgpu_cuda_say_pci(call, device);
    return CUDA_SUCCESS;
}

static unsigned int in_32_bits(uint64_t bytes) {
    return bytes < UINT32_MAX ? (unsigned int)bytes : UINT32_MAX;
}

CUresult vgpu_cuMemGetInfo(struct vgpu_process *process, struct vgpu_call *call, unsigned int *free_bytes,
                           unsigned int *total_bytes) {
    struct vgpu_device *device;
    if (free_bytes == NULL || total_bytes == NULL) {
        return CUDA_ERROR_INVALID_VALUE;
    }
    CUresult refusal = current_device(process, &device);
    if (refusal != CUDA_SUCCESS) {
        return refusal;
    }
    *free_bytes = in_32_bits(vgpu_cuda_free(device));
    *total_bytes = in_32_bits(vgpu_cuda_total(device));
    vgpu_call_output(call, free_bytes, sizeof(*free_bytes));
    vgpu_call_output(call, total_bytes, sizeof(*total_bytes));
    vgpu_cuda_say_pci(call, device);
    return CUDA_SUCCESS;
}

static CUresult find(struct vgpu_process *process, uint64_t address, const struct vgpu_region **region) {
    struct vgpu_device *device;
    CUresult refusal = vgpu_cuda_ready(process);
    refusal = refusal == CUDA_SUCCESS ? current_device(process, &device) : refusal;
    *region = refusal == CUDA_SUCCESS ? vgpu_region_at(&process->cuda->memory, address) : NULL;
    return refusal == CUDA_SUCCESS && *region == NULL ? CUDA_ERROR_NOT_FOUND : refusal;
}

/* Both outputs may be left out; without either there is nothing to do, initialised or not (measured on 535.261.03). */
CUresult vgpu_cuMemGetAddressRange_v2(struct vgpu_process *process, struct vgpu_call *call, CUdeviceptr *pbase,
                                      size_t *psize, CUdeviceptr dptr) {
    const struct vgpu_region *region = NULL;
    CUresult refusal = pbase != NULL || psize != NULL ? find(process, dptr, &region) : CUDA_SUCCESS;
    if (refusal != CUDA_SUCCESS) {
        return refusal;
    }
    if (pbase != NULL) {
        *pbase = region->address;
        vgpu_call_output(call, pbase, sizeof(*pbase));
    }
    if (psize != NULL) {
        *psize = region->size;
        vgpu_call_output(call, psize, sizeof(*psize));
    }
    return CUDA_SUCCESS;
}

CUresult vgpu_cuMemGetAddressRange(struct vgpu_process *process, struct vgpu_call *call, CUdeviceptr_v1 *pbase,
                                   unsigned int *psize, CUdeviceptr_v1 dptr) {
    const struct vgpu_region *region = NULL;
    CUresult refusal = pbase != NULL || psize != NULL ? find(process, dptr, &region) : CUDA_SUCCESS;
    if (refusal != CUDA_SUCCESS) {
        return refusal;
    }
    if (pbase != NULL) {
        *pbase = (CUdeviceptr_v1)region->address;
        vgpu_call_output(call, pbase, sizeof(*pbase));
    }
    if (psize != NULL) {
        *psize = in_32_bits(region->size);
        vgpu_call_output(call, psize, sizeof(*psize));
    }
    return CUDA_SUCCESS;
}
