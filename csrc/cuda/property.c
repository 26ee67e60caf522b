/* Properties of a device that are put together from its attributes. */
#include "cuda/structs_device.h"

#include "cuda/model.h"

enum {
    AFFINITY_SM_COUNT = 0,
    FLUSH_CURRENT_CONTEXT = 0,
    FLUSH_TO_OWNER = 100,
    FLUSH_TO_ALL_DEVICES = 200,
    FLUSH_OPTION_HOST = 1,

    ATTRIBUTE_TEXTURE1D_LINEAR_WIDTH = 69,
    ATTRIBUTE_RDMA_FLUSH_OPTIONS = 117,
};

CUresult vgpu_cuDeviceGetProperties(struct vgpu_process *process, struct vgpu_call *call, CUdevprop *prop,
                                    CUdevice dev) {
    if (prop == NULL) {
        return CUDA_ERROR_INVALID_VALUE;
    }
    struct vgpu_device *device = vgpu_cuda_device(process, dev);
    if (device == NULL) {
        return CUDA_ERROR_INVALID_DEVICE;
    }
    /* The attributes have the numbers 1 to 14 in the order of the struct's members (cuda.h). */
    int *members[] = {
        &prop->maxThreadsPerBlock,  &prop->maxThreadsDim[0], &prop->maxThreadsDim[1], &prop->maxThreadsDim[2],
        &prop->maxGridSize[0],      &prop->maxGridSize[1],   &prop->maxGridSize[2],   &prop->sharedMemPerBlock,
        &prop->totalConstantMemory, &prop->SIMDWidth,        &prop->memPitch,         &prop->regsPerBlock,
        &prop->clockRate,           &prop->textureAlign,
    };
    for (int i = 0; i < (int)(sizeof(members) / sizeof(members[0])); i++) {
        *members[i] = vgpu_cuda_device_attribute(process, dev, VGPU_ATTRIBUTE_FIRST + i);
    }
    vgpu_call_output(call, &prop->maxThreadsPerBlock, sizeof(prop->maxThreadsPerBlock));
    vgpu_cuda_say_pci(call, device);
    return CUDA_SUCCESS;
}

CUresult vgpu_cuDeviceComputeCapability(struct vgpu_process *process, struct vgpu_call *call, int *major, int *minor,
                                        CUdevice dev) {
    if (major == NULL || minor == NULL) {
        return CUDA_ERROR_INVALID_VALUE;
    }
    struct vgpu_device *device = vgpu_cuda_device(process, dev);
    if (device == NULL) {
        return CUDA_ERROR_INVALID_DEVICE;
    }
    *major = device->gpu->compute_major;
    *minor = device->gpu->compute_minor;
    vgpu_call_output(call, major, sizeof(*major));
    vgpu_call_output(call, minor, sizeof(*minor));
    vgpu_cuda_say_pci(call, device);
    return CUDA_SUCCESS;
}

/* Bytes of one channel; 0: no format of a linear texture (the CUarray_format of cuda.h up to FLOAT). */
static size_t channel_size(CUarray_format format) {
    static const uint8_t sizes[] = {[0x01] = 1, [0x02] = 2, [0x03] = 4, [0x08] = 1,
                                    [0x09] = 2, [0x0a] = 4, [0x10] = 2, [0x20] = 4};
    return format >= 0 && (size_t)format < sizeof(sizes) ? sizes[format] : 0;
}

/* The attribute, which cuda.h calls deprecated in favour of this function, is taken for texels of 4 bytes: own choice,
 * NVIDIA tells no more than that the width depends on the size. */
CUresult vgpu_cuDeviceGetTexture1DLinearMaxWidth(struct vgpu_process *process, struct vgpu_call *call,
                                                 size_t *maxWidthInElements, CUarray_format format,
                                                 unsigned numChannels, CUdevice dev) {
    size_t size = channel_size(format) * numChannels;
    if (maxWidthInElements == NULL || size == 0 || (numChannels != 1 && numChannels != 2 && numChannels != 4)) {
        return CUDA_ERROR_INVALID_VALUE;
    }
    struct vgpu_device *device = vgpu_cuda_device(process, dev);
    if (device == NULL) {
        return CUDA_ERROR_INVALID_DEVICE;
    }
    size_t width = (size_t)vgpu_cuda_device_attribute(process, dev, ATTRIBUTE_TEXTURE1D_LINEAR_WIDTH);
    *maxWidthInElements = size <= sizeof(float) ? width : width * sizeof(float) / size;
    vgpu_call_output(call, maxWidthInElements, sizeof(*maxWidthInElements));
    vgpu_cuda_say_pci(call, device);
    return CUDA_SUCCESS;
}

/* Contexts with fewer multiprocessors are for clients of MPS (doc), and there is no MPS here. */
CUresult vgpu_cuDeviceGetExecAffinitySupport(struct vgpu_process *process, struct vgpu_call *call, int *pi,
                                             CUexecAffinityType type, CUdevice dev) {
    if (pi == NULL || type != AFFINITY_SM_COUNT) {
        return CUDA_ERROR_INVALID_VALUE;
    }
    struct vgpu_device *device = vgpu_cuda_device(process, dev);
    if (device == NULL) {
        return CUDA_ERROR_INVALID_DEVICE;
    }
    *pi = 0;
    vgpu_call_output(call, pi, sizeof(*pi));
    vgpu_cuda_say_pci(call, device);
    return CUDA_SUCCESS;
}

/* A locally unique identifier is what Windows knows an adapter by; Linux has none. */
CUresult vgpu_cuDeviceGetLuid(struct vgpu_process *process, struct vgpu_call *call, char *luid,
                              unsigned int *deviceNodeMask, CUdevice dev) {
    (void)call;
    if (luid == NULL || deviceNodeMask == NULL) {
        return CUDA_ERROR_INVALID_VALUE;
    }
    return vgpu_cuda_device(process, dev) != NULL ? CUDA_ERROR_NOT_SUPPORTED : CUDA_ERROR_INVALID_DEVICE;
}

/* Nobody writes into the device's memory from outside: whatever was written is visible. */
CUresult vgpu_cuFlushGPUDirectRDMAWrites(struct vgpu_process *process, struct vgpu_call *call,
                                         CUflushGPUDirectRDMAWritesTarget target,
                                         CUflushGPUDirectRDMAWritesScope scope) {
    (void)call;
    if (target != FLUSH_CURRENT_CONTEXT || (scope != FLUSH_TO_OWNER && scope != FLUSH_TO_ALL_DEVICES)) {
        return CUDA_ERROR_INVALID_VALUE;
    }
    CUcontext context;
    CUdevice dev;
    CUresult refusal = vgpu_context_current(process, &context, &dev);
    if (refusal != CUDA_SUCCESS) {
        return refusal;
    }
    int options = vgpu_cuda_device_attribute(process, dev, ATTRIBUTE_RDMA_FLUSH_OPTIONS);
    return (options & FLUSH_OPTION_HOST) != 0 ? CUDA_SUCCESS : CUDA_ERROR_NOT_SUPPORTED;
}
