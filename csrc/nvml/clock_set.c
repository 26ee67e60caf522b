/* Clocks that a program chooses: for applications, locked between two bounds, boosted. */
#include "nvml/ask.h"
#include "nvml/clock.h"
#include "nvml/structs_clock.h"

nvmlReturn_t vgpu_nvmlDeviceSetApplicationsClocks(struct vgpu_process *process, struct vgpu_call *call,
                                                  nvmlDevice_t device, unsigned int memClockMHz,
                                                  unsigned int graphicsClockMHz) {
    enum { SET_APPLICATION_CLOCKS = 0 };
    const struct vgpu_gpu *gpu = vgpu_nvml_gpu(process, device);
    int64_t lowest;
    if (gpu == NULL) {
        return NVML_ERROR_INVALID_ARGUMENT;
    }
    if (!vgpu_nvml_is_root() && vgpu_nvml_is_restricted(process, gpu, SET_APPLICATION_CLOCKS)) {
        return NVML_ERROR_NO_PERMISSION;
    }
    if (!vgpu_nvml_lowest(process, gpu, VGPU_PROPERTY_GRAPHICS_CLOCKS, &lowest)) {
        return NVML_ERROR_NOT_SUPPORTED;
    }
    if (!vgpu_nvml_is_listed(process, gpu, VGPU_PROPERTY_MEMORY_CLOCKS, memClockMHz) ||
        !vgpu_nvml_is_listed(process, gpu, VGPU_PROPERTY_GRAPHICS_CLOCKS, graphicsClockMHz)) {
        return NVML_ERROR_INVALID_ARGUMENT;
    }
    vgpu_nvml_say_pci(call, gpu);
    nvmlReturn_t result =
        vgpu_nvml_set(process, gpu, VGPU_PROPERTY_APPLICATIONS_CLOCK, VGPU_NVML_CLOCK_MEMORY, memClockMHz);
    return result != NVML_SUCCESS ? result
                                  : vgpu_nvml_set(process, gpu, VGPU_PROPERTY_APPLICATIONS_CLOCK,
                                                  VGPU_NVML_CLOCK_GRAPHICS, graphicsClockMHz);
}

nvmlReturn_t vgpu_nvmlDeviceResetApplicationsClocks(struct vgpu_process *process, struct vgpu_call *call,
                                                    nvmlDevice_t device) {
    enum { SET_APPLICATION_CLOCKS = 0 };
    const struct vgpu_gpu *gpu = vgpu_nvml_gpu(process, device);
    if (gpu == NULL) {
        return NVML_ERROR_INVALID_ARGUMENT;
    }
    if (!vgpu_nvml_is_root() && vgpu_nvml_is_restricted(process, gpu, SET_APPLICATION_CLOCKS)) {
        return NVML_ERROR_NO_PERMISSION;
    }
    vgpu_nvml_unset(process, gpu, VGPU_PROPERTY_APPLICATIONS_CLOCK, VGPU_NVML_CLOCK_MEMORY);
    vgpu_nvml_unset(process, gpu, VGPU_PROPERTY_APPLICATIONS_CLOCK, VGPU_NVML_CLOCK_GRAPHICS);
    vgpu_nvml_say_pci(call, gpu);
    return NVML_SUCCESS;
}

static void unlock(struct vgpu_process *process, const struct vgpu_gpu *gpu, uint32_t clock) {
    vgpu_nvml_unset(process, gpu, VGPU_PROPERTY_CLOCK_LOCKED_MIN, clock);
    vgpu_nvml_unset(process, gpu, VGPU_PROPERTY_CLOCK_LOCKED_MAX, clock);
}

/* Bounds beyond what the GPU can do are cut, as by nvidia-smi -lgc. */
static nvmlReturn_t lock(struct vgpu_process *process, const struct vgpu_gpu *gpu, uint32_t clock,
                         enum vgpu_property_id list, unsigned int from, unsigned int to) {
    int64_t highest, lowest;
    if (!vgpu_nvml_get(process, gpu, VGPU_PROPERTY_CLOCK_MAX, clock, &highest)) {
        return NVML_ERROR_NOT_SUPPORTED;
    }
    if (from > to) {
        return NVML_ERROR_INVALID_ARGUMENT;
    }
    int64_t least = from < highest ? from : highest;
    int64_t most = to < highest ? to : highest;
    if (vgpu_nvml_lowest(process, gpu, list, &lowest)) {
        least = least > lowest ? least : lowest;
        most = most > lowest ? most : lowest;
    }
    nvmlReturn_t result = vgpu_nvml_set(process, gpu, VGPU_PROPERTY_CLOCK_LOCKED_MIN, clock, least);
    return result != NVML_SUCCESS ? result : vgpu_nvml_set(process, gpu, VGPU_PROPERTY_CLOCK_LOCKED_MAX, clock, most);
}

/* enum nvmlClockLimitId_t: names in place of numbers. The clock that the thermal design allows is not known apart from
 * the highest one, so a lock to it is one to that. */
static int is_name(unsigned int clock) {
    enum { TDP = 0xffffff01, UNLIMITED = 0xffffff02 };
    return clock == (unsigned int)TDP || clock == (unsigned int)UNLIMITED;
}

static nvmlReturn_t lock_by_name(struct vgpu_process *process, const struct vgpu_gpu *gpu, unsigned int from,
                                 unsigned int to) {
    const unsigned int unlimited = 0xffffff02;
    unlock(process, gpu, VGPU_NVML_CLOCK_GRAPHICS);
    if (from == unlimited) {
        return NVML_SUCCESS;
    }
    (void)to;
    return lock(process, gpu, VGPU_NVML_CLOCK_GRAPHICS, VGPU_PROPERTY_GRAPHICS_CLOCKS, UINT32_MAX, UINT32_MAX);
}

/* Volta and newer (doc). */
nvmlReturn_t vgpu_nvmlDeviceSetGpuLockedClocks(struct vgpu_process *process, struct vgpu_call *call,
                                               nvmlDevice_t device, unsigned int minGpuClockMHz,
                                               unsigned int maxGpuClockMHz) {
    const struct vgpu_gpu *gpu;
    nvmlReturn_t refusal = vgpu_nvml_settable(process, device, &gpu);
    if (refusal != NVML_SUCCESS) {
        return refusal;
    }
    if (!vgpu_nvml_is_since(gpu, 7, 0)) {
        return NVML_ERROR_NOT_SUPPORTED;
    }
    vgpu_nvml_say_pci(call, gpu);
    if (is_name(minGpuClockMHz) != is_name(maxGpuClockMHz)) {
        return NVML_ERROR_INVALID_ARGUMENT;
    }
    if (is_name(minGpuClockMHz)) {
        return lock_by_name(process, gpu, minGpuClockMHz, maxGpuClockMHz);
    }
    return lock(process, gpu, VGPU_NVML_CLOCK_GRAPHICS, VGPU_PROPERTY_GRAPHICS_CLOCKS, minGpuClockMHz, maxGpuClockMHz);
}

/* Ampere and newer (doc). */
nvmlReturn_t vgpu_nvmlDeviceSetMemoryLockedClocks(struct vgpu_process *process, struct vgpu_call *call,
                                                  nvmlDevice_t device, unsigned int minMemClockMHz,
                                                  unsigned int maxMemClockMHz) {
    const struct vgpu_gpu *gpu;
    nvmlReturn_t refusal = vgpu_nvml_settable(process, device, &gpu);
    if (refusal != NVML_SUCCESS) {
        return refusal;
    }
    if (!vgpu_nvml_is_since(gpu, 8, 0)) {
        return NVML_ERROR_NOT_SUPPORTED;
    }
    vgpu_nvml_say_pci(call, gpu);
    return lock(process, gpu, VGPU_NVML_CLOCK_MEMORY, VGPU_PROPERTY_MEMORY_CLOCKS, minMemClockMHz, maxMemClockMHz);
}

static nvmlReturn_t reset(struct vgpu_process *process, struct vgpu_call *call, nvmlDevice_t device, int32_t since,
                          uint32_t clock) {
    const struct vgpu_gpu *gpu;
    nvmlReturn_t refusal = vgpu_nvml_settable(process, device, &gpu);
    if (refusal != NVML_SUCCESS) {
        return refusal;
    }
    if (!vgpu_nvml_is_since(gpu, since, 0)) {
        return NVML_ERROR_NOT_SUPPORTED;
    }
    unlock(process, gpu, clock);
    vgpu_nvml_say_pci(call, gpu);
    return NVML_SUCCESS;
}

nvmlReturn_t vgpu_nvmlDeviceResetGpuLockedClocks(struct vgpu_process *process, struct vgpu_call *call,
                                                 nvmlDevice_t device) {
    return reset(process, call, device, 7, VGPU_NVML_CLOCK_GRAPHICS);
}

nvmlReturn_t vgpu_nvmlDeviceResetMemoryLockedClocks(struct vgpu_process *process, struct vgpu_call *call,
                                                    nvmlDevice_t device) {
    return reset(process, call, device, 8, VGPU_NVML_CLOCK_MEMORY);
}

/* Boards until Maxwell have it; from Pascal on application clocks do its work (doc). */
nvmlReturn_t vgpu_nvmlDeviceGetAutoBoostedClocksEnabled(struct vgpu_process *process, struct vgpu_call *call,
                                                        nvmlDevice_t device, nvmlEnableState_t *isEnabled,
                                                        nvmlEnableState_t *defaultIsEnabled) {
    const struct vgpu_gpu *gpu = vgpu_nvml_gpu(process, device);
    int64_t enabled;
    if (gpu == NULL || isEnabled == NULL) {
        return NVML_ERROR_INVALID_ARGUMENT;
    }
    if (!vgpu_nvml_get(process, gpu, VGPU_PROPERTY_AUTO_BOOST, 0, &enabled)) {
        return NVML_ERROR_NOT_SUPPORTED;
    }
    vgpu_nvml_say(call, gpu, (unsigned int *)isEnabled, enabled);
    if (defaultIsEnabled != NULL) {
        int64_t usual = vgpu_nvml_get_or(process, gpu, VGPU_PROPERTY_AUTO_BOOST, 1, enabled);
        vgpu_nvml_say(call, gpu, (unsigned int *)defaultIsEnabled, usual);
    }
    return NVML_SUCCESS;
}

static nvmlReturn_t set_boost(struct vgpu_process *process, struct vgpu_call *call, const struct vgpu_gpu *gpu,
                              uint32_t index, nvmlEnableState_t enabled) {
    int64_t known;
    if (!vgpu_nvml_get(process, gpu, VGPU_PROPERTY_AUTO_BOOST, 0, &known)) {
        return NVML_ERROR_NOT_SUPPORTED;
    }
    vgpu_nvml_say_pci(call, gpu);
    return vgpu_nvml_set(process, gpu, VGPU_PROPERTY_AUTO_BOOST, index, enabled);
}

nvmlReturn_t vgpu_nvmlDeviceSetAutoBoostedClocksEnabled(struct vgpu_process *process, struct vgpu_call *call,
                                                        nvmlDevice_t device, nvmlEnableState_t enabled) {
    enum { SET_AUTO_BOOSTED_CLOCKS = 1 };
    const struct vgpu_gpu *gpu = vgpu_nvml_gpu(process, device);
    if (gpu == NULL || enabled < 0 || enabled > 1) {
        return NVML_ERROR_INVALID_ARGUMENT;
    }
    if (!vgpu_nvml_is_root() && vgpu_nvml_is_restricted(process, gpu, SET_AUTO_BOOSTED_CLOCKS)) {
        return NVML_ERROR_NO_PERMISSION;
    }
    return set_boost(process, call, gpu, 0, enabled);
}

nvmlReturn_t vgpu_nvmlDeviceSetDefaultAutoBoostedClocksEnabled(struct vgpu_process *process, struct vgpu_call *call,
                                                               nvmlDevice_t device, nvmlEnableState_t enabled,
                                                               unsigned int flags) {
    (void)flags;
    const struct vgpu_gpu *gpu;
    nvmlReturn_t refusal = vgpu_nvml_settable(process, device, &gpu);
    if (refusal == NVML_ERROR_INVALID_ARGUMENT || enabled < 0 || enabled > 1) {
        return NVML_ERROR_INVALID_ARGUMENT;
    }
    return refusal != NVML_SUCCESS ? refusal : set_boost(process, call, gpu, 1, enabled);
}
