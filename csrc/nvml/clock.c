/* Clocks: what they are now, how high they can be, what can be chosen. */
#include "nvml/clock.h"

#include "nvml/ask.h"
#include "nvml/structs_clock.h"
#include "vgpu/image.h"

int vgpu_nvml_is_clock(nvmlClockType_t type) {
    return type >= 0 && type < VGPU_NVML_CLOCKS;
}

/* The SM's clock is the graphics clock's: they are locked and set as one. */
static uint32_t domain(nvmlClockType_t type) {
    return type == VGPU_NVML_CLOCK_SM ? VGPU_NVML_CLOCK_GRAPHICS : (uint32_t)type;
}

int vgpu_nvml_application_clock(struct vgpu_process *process, const struct vgpu_gpu *gpu, nvmlClockType_t type,
                                int64_t *clock) {
    return vgpu_nvml_get(process, gpu, VGPU_PROPERTY_APPLICATIONS_CLOCK, domain(type), clock) ||
           vgpu_nvml_get(process, gpu, VGPU_PROPERTY_CLOCK_DEFAULT, (uint32_t)type, clock) ||
           vgpu_nvml_get(process, gpu, VGPU_PROPERTY_CLOCK_DEFAULT, domain(type), clock);
}

/* An idle GPU's clock is the host's; a lock holds it within its bounds, an application clock below itself. */
int vgpu_nvml_clock_now(struct vgpu_process *process, const struct vgpu_gpu *gpu, nvmlClockType_t type,
                        int64_t *clock) {
    int64_t bound;
    if (!vgpu_nvml_get(process, gpu, VGPU_PROPERTY_CLOCK, (uint32_t)type, clock) &&
        !vgpu_nvml_get(process, gpu, VGPU_PROPERTY_CLOCK_MAX, (uint32_t)type, clock)) {
        return 0;
    }
    if (vgpu_nvml_get(process, gpu, VGPU_PROPERTY_APPLICATIONS_CLOCK, domain(type), &bound) && *clock > bound) {
        *clock = bound;
    }
    if (vgpu_nvml_get(process, gpu, VGPU_PROPERTY_CLOCK_LOCKED_MIN, domain(type), &bound) && *clock < bound) {
        *clock = bound;
    }
    if (vgpu_nvml_get(process, gpu, VGPU_PROPERTY_CLOCK_LOCKED_MAX, domain(type), &bound) && *clock > bound) {
        *clock = bound;
    }
    return 1;
}

int vgpu_nvml_is_listed(struct vgpu_process *process, const struct vgpu_gpu *gpu, enum vgpu_property_id list,
                        int64_t value) {
    uint32_t count;
    const struct vgpu_property *known = vgpu_image_properties(process->image, gpu, list, &count);
    for (uint32_t i = 0; i < count; i++) {
        if (known[i].value == value) {
            return 1;
        }
    }
    return 0;
}

int vgpu_nvml_lowest(struct vgpu_process *process, const struct vgpu_gpu *gpu, enum vgpu_property_id list,
                     int64_t *value) {
    uint32_t count;
    const struct vgpu_property *known = vgpu_image_properties(process->image, gpu, list, &count);
    for (uint32_t i = 0; i < count; i++) {
        *value = i == 0 || known[i].value < *value ? known[i].value : *value;
    }
    return count > 0;
}

typedef int source(struct vgpu_process *process, const struct vgpu_gpu *gpu, nvmlClockType_t type, int64_t *clock);

static nvmlReturn_t answer(struct vgpu_process *process, struct vgpu_call *call, nvmlDevice_t device,
                           nvmlClockType_t type, source *from, unsigned int *to) {
    const struct vgpu_gpu *gpu = vgpu_nvml_gpu(process, device);
    int64_t clock;
    if (gpu == NULL || to == NULL || !vgpu_nvml_is_clock(type)) {
        return NVML_ERROR_INVALID_ARGUMENT;
    }
    return from(process, gpu, type, &clock) ? vgpu_nvml_say(call, gpu, to, clock) : NVML_ERROR_NOT_SUPPORTED;
}

static int highest(struct vgpu_process *process, const struct vgpu_gpu *gpu, nvmlClockType_t type, int64_t *clock) {
    return vgpu_nvml_get(process, gpu, VGPU_PROPERTY_CLOCK_MAX, (uint32_t)type, clock);
}

static int by_default(struct vgpu_process *process, const struct vgpu_gpu *gpu, nvmlClockType_t type, int64_t *clock) {
    return vgpu_nvml_get(process, gpu, VGPU_PROPERTY_CLOCK_DEFAULT, (uint32_t)type, clock) ||
           vgpu_nvml_get(process, gpu, VGPU_PROPERTY_CLOCK_DEFAULT, domain(type), clock);
}

/* Video clocks are nobody's to choose, so there is no customer's highest one (nvidia-smi -q: N/A). */
static int customer_highest(struct vgpu_process *process, const struct vgpu_gpu *gpu, nvmlClockType_t type,
                            int64_t *clock) {
    return type != VGPU_NVML_CLOCK_VIDEO && highest(process, gpu, type, clock);
}

nvmlReturn_t vgpu_nvmlDeviceGetClockInfo(struct vgpu_process *process, struct vgpu_call *call, nvmlDevice_t device,
                                         nvmlClockType_t type, unsigned int *clock) {
    return answer(process, call, device, type, vgpu_nvml_clock_now, clock);
}

nvmlReturn_t vgpu_nvmlDeviceGetMaxClockInfo(struct vgpu_process *process, struct vgpu_call *call, nvmlDevice_t device,
                                            nvmlClockType_t type, unsigned int *clock) {
    return answer(process, call, device, type, highest, clock);
}

nvmlReturn_t vgpu_nvmlDeviceGetApplicationsClock(struct vgpu_process *process, struct vgpu_call *call,
                                                 nvmlDevice_t device, nvmlClockType_t clockType,
                                                 unsigned int *clockMHz) {
    return answer(process, call, device, clockType, vgpu_nvml_application_clock, clockMHz);
}

nvmlReturn_t vgpu_nvmlDeviceGetDefaultApplicationsClock(struct vgpu_process *process, struct vgpu_call *call,
                                                        nvmlDevice_t device, nvmlClockType_t clockType,
                                                        unsigned int *clockMHz) {
    return answer(process, call, device, clockType, by_default, clockMHz);
}

nvmlReturn_t vgpu_nvmlDeviceGetMaxCustomerBoostClock(struct vgpu_process *process, struct vgpu_call *call,
                                                     nvmlDevice_t device, nvmlClockType_t clockType,
                                                     unsigned int *clockMHz) {
    return answer(process, call, device, clockType, customer_highest, clockMHz);
}

nvmlReturn_t vgpu_nvmlDeviceGetClock(struct vgpu_process *process, struct vgpu_call *call, nvmlDevice_t device,
                                     nvmlClockType_t clockType, nvmlClockId_t clockId, unsigned int *clockMHz) {
    static source *const by_id[] = {vgpu_nvml_clock_now, vgpu_nvml_application_clock, by_default, customer_highest};
    if (clockId < 0 || (size_t)clockId >= sizeof(by_id) / sizeof(by_id[0])) {
        return NVML_ERROR_INVALID_ARGUMENT;
    }
    return answer(process, call, device, clockType, by_id[clockId], clockMHz);
}

/* How many there are is answered where the room does not suffice (doc). */
static nvmlReturn_t answer_list(struct vgpu_process *process, struct vgpu_call *call, const struct vgpu_gpu *gpu,
                                enum vgpu_property_id list, unsigned int *count, unsigned int *to) {
    uint32_t known;
    const struct vgpu_property *clocks = vgpu_image_properties(process->image, gpu, list, &known);
    if (known == 0) {
        return NVML_ERROR_NOT_SUPPORTED;
    }
    unsigned int room = *count;
    vgpu_nvml_say(call, gpu, count, known);
    if (room < known) {
        return NVML_ERROR_INSUFFICIENT_SIZE;
    }
    if (to == NULL) {
        return NVML_ERROR_INVALID_ARGUMENT;
    }
    for (uint32_t i = 0; i < known; i++) {
        to[i] = (unsigned int)clocks[i].value;
    }
    vgpu_call_output(call, &to[0], sizeof(to[0]));
    return NVML_SUCCESS;
}

nvmlReturn_t vgpu_nvmlDeviceGetSupportedMemoryClocks(struct vgpu_process *process, struct vgpu_call *call,
                                                     nvmlDevice_t device, unsigned int *count,
                                                     unsigned int *clocksMHz) {
    const struct vgpu_gpu *gpu = vgpu_nvml_gpu(process, device);
    if (gpu == NULL || count == NULL) {
        return NVML_ERROR_INVALID_ARGUMENT;
    }
    return answer_list(process, call, gpu, VGPU_PROPERTY_MEMORY_CLOCKS, count, clocksMHz);
}

nvmlReturn_t vgpu_nvmlDeviceGetSupportedGraphicsClocks(struct vgpu_process *process, struct vgpu_call *call,
                                                       nvmlDevice_t device, unsigned int memoryClockMHz,
                                                       unsigned int *count, unsigned int *clocksMHz) {
    const struct vgpu_gpu *gpu = vgpu_nvml_gpu(process, device);
    int64_t lowest;
    if (gpu == NULL || count == NULL) {
        return NVML_ERROR_INVALID_ARGUMENT;
    }
    if (vgpu_nvml_lowest(process, gpu, VGPU_PROPERTY_MEMORY_CLOCKS, &lowest) &&
        !vgpu_nvml_is_listed(process, gpu, VGPU_PROPERTY_MEMORY_CLOCKS, memoryClockMHz)) {
        return NVML_ERROR_NOT_FOUND;
    }
    return answer_list(process, call, gpu, VGPU_PROPERTY_GRAPHICS_CLOCKS, count, clocksMHz);
}
