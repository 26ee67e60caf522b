/* The primary context of each device: one handle for ever, alive while it is retained. */
#include "cuda/model.h"

#define HANDLE_BASE 0x00d0000000000000ull

enum { HANDLE_STEP = 16, API_VERSION = 3020 };

CUcontext vgpu_primary_handle(CUdevice dev) {
    return (CUcontext)(uintptr_t)(HANDLE_BASE + HANDLE_STEP * (uint64_t)dev);
}

CUdevice vgpu_primary_device(struct vgpu_cuda *cuda, CUcontext context) {
    for (uint32_t i = 0; i < cuda->devices; i++) {
        if (cuda->device[i].primary.was_given && vgpu_primary_handle((CUdevice)i) == context) {
            return (CUdevice)i;
        }
    }
    return -1;
}

CUcontext vgpu_primary_retain(struct vgpu_process *process, CUdevice dev) {
    struct vgpu_primary *primary = &process->cuda->device[dev].primary;
    primary->references++;
    if (!primary->active) {
        uint32_t flags = primary->settings.flags;
        vgpu_settings_begin(process, &primary->settings);
        primary->settings.flags = flags;
        primary->settings.api_version = API_VERSION;
    }
    primary->active = 1;
    primary->was_given = 1;
    return vgpu_primary_handle(dev);
}

CUresult vgpu_cuDevicePrimaryCtxRetain(struct vgpu_process *process, struct vgpu_call *call, CUcontext *pctx,
                                       CUdevice dev) {
    if (pctx == NULL) {
        return CUDA_ERROR_INVALID_VALUE;
    }
    struct vgpu_device *device = vgpu_cuda_device(process, dev);
    if (device == NULL) {
        return CUDA_ERROR_INVALID_DEVICE;
    }
    *pctx = vgpu_primary_retain(process, dev);
    vgpu_cuda_say_pci(call, device);
    return CUDA_SUCCESS;
}

/* No stack is popped (doc). */
static void end(struct vgpu_process *process, CUdevice dev) {
    struct vgpu_primary *primary = &process->cuda->device[dev].primary;
    if (primary->active) {
        vgpu_context_end(process, vgpu_primary_handle(dev));
        primary->active = 0;
    }
}

CUresult vgpu_primary_release(struct vgpu_process *process, CUdevice dev) {
    struct vgpu_primary *primary = &process->cuda->device[dev].primary;
    if (primary->references == 0) {
        return CUDA_ERROR_INVALID_CONTEXT;
    }
    if (--primary->references == 0) {
        end(process, dev);
    }
    return CUDA_SUCCESS;
}

CUresult vgpu_cuDevicePrimaryCtxRelease_v2(struct vgpu_process *process, struct vgpu_call *call, CUdevice dev) {
    struct vgpu_device *device = vgpu_cuda_device(process, dev);
    if (device == NULL) {
        return CUDA_ERROR_INVALID_DEVICE;
    }
    vgpu_cuda_say_pci(call, device);
    return vgpu_primary_release(process, dev);
}

CUresult vgpu_cuDevicePrimaryCtxRelease(struct vgpu_process *process, struct vgpu_call *call, CUdevice dev) {
    return vgpu_cuDevicePrimaryCtxRelease_v2(process, call, dev);
}

/* Destroys it under whoever has it current, with all its state; references stay to be released (doc). */
CUresult vgpu_cuDevicePrimaryCtxReset_v2(struct vgpu_process *process, struct vgpu_call *call, CUdevice dev) {
    struct vgpu_device *device = vgpu_cuda_device(process, dev);
    if (device == NULL) {
        return CUDA_ERROR_INVALID_DEVICE;
    }
    end(process, dev);
    device->primary.settings.flags = 0;
    vgpu_cuda_say_pci(call, device);
    return CUDA_SUCCESS;
}

CUresult vgpu_cuDevicePrimaryCtxReset(struct vgpu_process *process, struct vgpu_call *call, CUdevice dev) {
    return vgpu_cuDevicePrimaryCtxReset_v2(process, call, dev);
}

/* The flags of a context that is, or of the next one. */
CUresult vgpu_cuDevicePrimaryCtxSetFlags_v2(struct vgpu_process *process, struct vgpu_call *call, CUdevice dev,
                                            unsigned int flags) {
    struct vgpu_device *device = vgpu_cuda_device(process, dev);
    if (device == NULL) {
        return CUDA_ERROR_INVALID_DEVICE;
    }
    if (vgpu_context_flags(flags) != CUDA_SUCCESS) {
        return CUDA_ERROR_INVALID_VALUE;
    }
    device->primary.settings.flags = flags;
    vgpu_cuda_say_pci(call, device);
    return CUDA_SUCCESS;
}

/* Before 11.0 an active context kept its flags (the same function in cuda.h 10.2). */
CUresult vgpu_cuDevicePrimaryCtxSetFlags(struct vgpu_process *process, struct vgpu_call *call, CUdevice dev,
                                         unsigned int flags) {
    struct vgpu_device *device = vgpu_cuda_device(process, dev);
    if (device != NULL && device->primary.active) {
        return CUDA_ERROR_PRIMARY_CONTEXT_ACTIVE;
    }
    return vgpu_cuDevicePrimaryCtxSetFlags_v2(process, call, dev, flags);
}

CUresult vgpu_cuDevicePrimaryCtxGetState(struct vgpu_process *process, struct vgpu_call *call, CUdevice dev,
                                         unsigned int *flags, int *active) {
    if (flags == NULL || active == NULL) {
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
    *flags = device->primary.settings.flags;
    *active = (int)device->primary.active;
    vgpu_call_output(call, flags, sizeof(*flags));
    vgpu_call_output(call, active, sizeof(*active));
    vgpu_cuda_say_pci(call, device);
    return CUDA_SUCCESS;
}
