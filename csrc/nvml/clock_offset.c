/* Offsets on the curve of voltage and frequency: consumer boards can be overclocked, data centre ones cannot. */
#include "nvml/ask.h"
#include "nvml/clock.h"
#include "nvml/structs_clock.h"

struct bounds {
    int64_t least;
    int64_t most;
};

static int bounds_of(struct vgpu_process *process, const struct vgpu_gpu *gpu, uint32_t clock, struct bounds *bounds) {
    return vgpu_nvml_get(process, gpu, VGPU_PROPERTY_CLOCK_OFFSET_MIN, clock, &bounds->least) &&
           vgpu_nvml_get(process, gpu, VGPU_PROPERTY_CLOCK_OFFSET_MAX, clock, &bounds->most);
}

static int64_t offset_of(struct vgpu_process *process, const struct vgpu_gpu *gpu, uint32_t clock) {
    return vgpu_nvml_get_or(process, gpu, VGPU_PROPERTY_CLOCK_OFFSET, clock, 0);
}

static nvmlReturn_t answer(struct vgpu_process *process, struct vgpu_call *call, nvmlDevice_t device, uint32_t clock,
                           int *offset) {
    const struct vgpu_gpu *gpu = vgpu_nvml_gpu(process, device);
    struct bounds bounds;
    if (gpu == NULL || offset == NULL) {
        return NVML_ERROR_INVALID_ARGUMENT;
    }
    if (!bounds_of(process, gpu, clock, &bounds)) {
        return NVML_ERROR_NOT_SUPPORTED;
    }
    return vgpu_nvml_say(call, gpu, (unsigned int *)offset, offset_of(process, gpu, clock));
}

static nvmlReturn_t answer_bounds(struct vgpu_process *process, struct vgpu_call *call, nvmlDevice_t device,
                                  uint32_t clock, int *least, int *most) {
    const struct vgpu_gpu *gpu = vgpu_nvml_gpu(process, device);
    struct bounds bounds;
    if (gpu == NULL || least == NULL || most == NULL) {
        return NVML_ERROR_INVALID_ARGUMENT;
    }
    if (!bounds_of(process, gpu, clock, &bounds)) {
        return NVML_ERROR_NOT_SUPPORTED;
    }
    vgpu_nvml_say(call, gpu, (unsigned int *)least, bounds.least);
    return vgpu_nvml_say(call, gpu, (unsigned int *)most, bounds.most);
}

static nvmlReturn_t set(struct vgpu_process *process, struct vgpu_call *call, nvmlDevice_t device, uint32_t clock,
                        int offset) {
    const struct vgpu_gpu *gpu;
    struct bounds bounds;
    nvmlReturn_t refusal = vgpu_nvml_settable(process, device, &gpu);
    if (refusal != NVML_SUCCESS) {
        return refusal;
    }
    if (!bounds_of(process, gpu, clock, &bounds)) {
        return NVML_ERROR_NOT_SUPPORTED;
    }
    vgpu_nvml_say_pci(call, gpu);
    return offset < bounds.least || offset > bounds.most
               ? NVML_ERROR_INVALID_ARGUMENT
               : vgpu_nvml_set(process, gpu, VGPU_PROPERTY_CLOCK_OFFSET, clock, offset);
}

nvmlReturn_t vgpu_nvmlDeviceGetGpcClkVfOffset(struct vgpu_process *process, struct vgpu_call *call, nvmlDevice_t device,
                                              int *offset) {
    return answer(process, call, device, VGPU_NVML_CLOCK_GRAPHICS, offset);
}

nvmlReturn_t vgpu_nvmlDeviceGetMemClkVfOffset(struct vgpu_process *process, struct vgpu_call *call, nvmlDevice_t device,
                                              int *offset) {
    return answer(process, call, device, VGPU_NVML_CLOCK_MEMORY, offset);
}

nvmlReturn_t vgpu_nvmlDeviceGetGpcClkMinMaxVfOffset(struct vgpu_process *process, struct vgpu_call *call,
                                                    nvmlDevice_t device, int *minOffset, int *maxOffset) {
    return answer_bounds(process, call, device, VGPU_NVML_CLOCK_GRAPHICS, minOffset, maxOffset);
}

nvmlReturn_t vgpu_nvmlDeviceGetMemClkMinMaxVfOffset(struct vgpu_process *process, struct vgpu_call *call,
                                                    nvmlDevice_t device, int *minOffset, int *maxOffset) {
    return answer_bounds(process, call, device, VGPU_NVML_CLOCK_MEMORY, minOffset, maxOffset);
}

nvmlReturn_t vgpu_nvmlDeviceSetGpcClkVfOffset(struct vgpu_process *process, struct vgpu_call *call, nvmlDevice_t device,
                                              int offset) {
    return set(process, call, device, VGPU_NVML_CLOCK_GRAPHICS, offset);
}

nvmlReturn_t vgpu_nvmlDeviceSetMemClkVfOffset(struct vgpu_process *process, struct vgpu_call *call, nvmlDevice_t device,
                                              int offset) {
    return set(process, call, device, VGPU_NVML_CLOCK_MEMORY, offset);
}

/* The offset is one for all performance states of a clock: they share the curve. */
static nvmlReturn_t check(struct vgpu_process *process, const struct vgpu_gpu *gpu, const nvmlClockOffset_t *info) {
    if (gpu == NULL || info == NULL) {
        return NVML_ERROR_INVALID_ARGUMENT;
    }
    if (info->version != VGPU_NVML_STRUCT(nvmlClockOffset_t, 1)) {
        return NVML_ERROR_ARGUMENT_VERSION_MISMATCH;
    }
    return vgpu_nvml_is_clock(info->type) && vgpu_nvml_has_pstate(process, gpu, info->pstate)
               ? NVML_SUCCESS
               : NVML_ERROR_INVALID_ARGUMENT;
}

nvmlReturn_t vgpu_nvmlDeviceGetClockOffsets(struct vgpu_process *process, struct vgpu_call *call, nvmlDevice_t device,
                                            nvmlClockOffset_t *info) {
    const struct vgpu_gpu *gpu = vgpu_nvml_gpu(process, device);
    struct bounds bounds;
    nvmlReturn_t refusal = check(process, gpu, info);
    if (refusal != NVML_SUCCESS) {
        return refusal;
    }
    if (!bounds_of(process, gpu, (uint32_t)info->type, &bounds)) {
        return NVML_ERROR_NOT_SUPPORTED;
    }
    info->minClockOffsetMHz = (int)bounds.least;
    info->maxClockOffsetMHz = (int)bounds.most;
    return vgpu_nvml_say(call, gpu, (unsigned int *)&info->clockOffsetMHz,
                         offset_of(process, gpu, (uint32_t)info->type));
}

nvmlReturn_t vgpu_nvmlDeviceSetClockOffsets(struct vgpu_process *process, struct vgpu_call *call, nvmlDevice_t device,
                                            nvmlClockOffset_t *info) {
    nvmlReturn_t refusal = check(process, vgpu_nvml_gpu(process, device), info);
    return refusal != NVML_SUCCESS ? refusal : set(process, call, device, (uint32_t)info->type, info->clockOffsetMHz);
}
