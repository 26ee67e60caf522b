/* Performance states: which one, which there are, the clocks of each, why clocks are not higher. */
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "nvml/ask.h"
#include "nvml/clock.h"
#include "nvml/structs_clock.h"
#include "vgpu/image.h"

/* Why clocks are not higher: bits of nvmlClocksEventReason*. */
enum {
    REASON_IDLE = 0x1,
    REASON_APPLICATIONS = 0x2,
    REASONS_KNOWN = 0x1ff /* nvmlClocksEventReasonAll of nvml.h 12.9 */
};

static const struct vgpu_property *states(struct vgpu_process *process, const struct vgpu_gpu *gpu, uint32_t *count) {
    return vgpu_image_properties(process->image, gpu, VGPU_PROPERTY_PERFORMANCE_STATES, count);
}

int vgpu_nvml_has_pstate(struct vgpu_process *process, const struct vgpu_gpu *gpu, nvmlPstates_t pstate) {
    return vgpu_nvml_is_listed(process, gpu, VGPU_PROPERTY_PERFORMANCE_STATES, pstate);
}

nvmlReturn_t vgpu_nvmlDeviceGetPerformanceState(struct vgpu_process *process, struct vgpu_call *call,
                                                nvmlDevice_t device, nvmlPstates_t *pState) {
    return vgpu_nvml_answer_or(process, call, device, VGPU_PROPERTY_PERFORMANCE_STATE, 0, 0, (unsigned int *)pState);
}

nvmlReturn_t vgpu_nvmlDeviceGetPowerState(struct vgpu_process *process, struct vgpu_call *call, nvmlDevice_t device,
                                          nvmlPstates_t *pState) {
    return vgpu_nvmlDeviceGetPerformanceState(process, call, device, pState);
}

/* `size` is in bytes; what is left of it says "unknown" (doc). */
nvmlReturn_t vgpu_nvmlDeviceGetSupportedPerformanceStates(struct vgpu_process *process, struct vgpu_call *call,
                                                          nvmlDevice_t device, nvmlPstates_t *pstates,
                                                          unsigned int size) {
    const struct vgpu_gpu *gpu = vgpu_nvml_gpu(process, device);
    uint32_t count;
    if (gpu == NULL || pstates == NULL) {
        return NVML_ERROR_INVALID_ARGUMENT;
    }
    const struct vgpu_property *known = states(process, gpu, &count);
    if (count == 0) {
        return NVML_ERROR_NOT_SUPPORTED;
    }
    if (size / sizeof(*pstates) < count) {
        return NVML_ERROR_INSUFFICIENT_SIZE;
    }
    for (uint32_t i = 0; i < size / sizeof(*pstates); i++) {
        pstates[i] = i < count ? (nvmlPstates_t)known[i].value : (nvmlPstates_t)VGPU_NVML_PSTATE_UNKNOWN;
    }
    vgpu_call_output(call, &pstates[0], sizeof(pstates[0]));
    vgpu_nvml_say_pci(call, gpu);
    return NVML_SUCCESS;
}

struct range {
    int64_t least;
    int64_t most;
};

/* Memory has one clock in each state, the fastest in the first; the others range from the lowest choice to the highest
 * clock in every state. */
static int range_of(struct vgpu_process *process, const struct vgpu_gpu *gpu, nvmlClockType_t type, uint32_t state,
                    struct range *range) {
    uint32_t count;
    const struct vgpu_property *memory =
        vgpu_image_properties(process->image, gpu, VGPU_PROPERTY_MEMORY_CLOCKS, &count);
    if (type == VGPU_NVML_CLOCK_MEMORY && count > 0) {
        range->least = range->most = memory[state < count ? state : count - 1].value;
        return 1;
    }
    if (!vgpu_nvml_get(process, gpu, VGPU_PROPERTY_CLOCK_MAX, (uint32_t)type, &range->most)) {
        return 0;
    }
    range->least = range->most;
    if (type == VGPU_NVML_CLOCK_GRAPHICS || type == VGPU_NVML_CLOCK_SM) {
        vgpu_nvml_lowest(process, gpu, VGPU_PROPERTY_GRAPHICS_CLOCKS, &range->least);
    }
    return 1;
}

nvmlReturn_t vgpu_nvmlDeviceGetMinMaxClockOfPState(struct vgpu_process *process, struct vgpu_call *call,
                                                   nvmlDevice_t device, nvmlClockType_t type, nvmlPstates_t pstate,
                                                   unsigned int *minClockMHz, unsigned int *maxClockMHz) {
    const struct vgpu_gpu *gpu = vgpu_nvml_gpu(process, device);
    uint32_t count;
    struct range range;
    if (gpu == NULL || minClockMHz == NULL || maxClockMHz == NULL || !vgpu_nvml_is_clock(type)) {
        return NVML_ERROR_INVALID_ARGUMENT;
    }
    const struct vgpu_property *known = states(process, gpu, &count);
    for (uint32_t i = 0; i < count; i++) {
        if (known[i].value == pstate) {
            if (!range_of(process, gpu, type, i, &range)) {
                return NVML_ERROR_NOT_SUPPORTED;
            }
            vgpu_nvml_say(call, gpu, minClockMHz, range.least);
            return vgpu_nvml_say(call, gpu, maxClockMHz, range.most);
        }
    }
    return count > 0 ? NVML_ERROR_INVALID_ARGUMENT : NVML_ERROR_NOT_SUPPORTED;
}

/* A text that grows at its end and is never cut. */
struct text {
    char *at;
    size_t room;
    int overflown;
};

__attribute__((format(printf, 2, 3))) static void put(struct text *text, const char *format, ...) {
    va_list arguments;
    va_start(arguments, format);
    int length = vsnprintf(text->at, text->room, format, arguments);
    va_end(arguments);
    if (length < 0 || (size_t)length >= text->room) {
        text->overflown = 1;
        return;
    }
    text->at += length;
    text->room -= (size_t)length;
}

/* Memory moves data on both edges of its clock, so its transfer rate is twice that. */
static void put_clock(struct text *text, const char *name, const char *rate, int64_t now, struct range range,
                      int editable) {
    put(text, ", %s=%lld, %smin=%lld, %smax=%lld, %seditable=%d", name, (long long)now, name, (long long)range.least,
        name, (long long)range.most, name, editable);
    if (rate != NULL) {
        put(text, ", %s=%lld, %smin=%lld, %smax=%lld, %seditable=%d", rate, 2ll * now, rate, 2ll * range.least, rate,
            2ll * range.most, rate, editable);
    }
}

static int can_offset(struct vgpu_process *process, const struct vgpu_gpu *gpu, uint32_t clock) {
    int64_t bound;
    return vgpu_nvml_get(process, gpu, VGPU_PROPERTY_CLOCK_OFFSET_MAX, clock, &bound);
}

static int put_clocks(struct vgpu_process *process, const struct vgpu_gpu *gpu, uint32_t state, int64_t graphics,
                      int64_t memory, struct text *text) {
    struct range range;
    if (!range_of(process, gpu, VGPU_NVML_CLOCK_GRAPHICS, state, &range)) {
        return 0;
    }
    put_clock(text, "nvclock", NULL, graphics >= 0 ? graphics : range.least, range,
              can_offset(process, gpu, VGPU_NVML_CLOCK_GRAPHICS));
    if (!range_of(process, gpu, VGPU_NVML_CLOCK_MEMORY, state, &range)) {
        return 0;
    }
    put_clock(text, "memclock", "memtransferrate", memory >= 0 ? memory : range.least, range,
              can_offset(process, gpu, VGPU_NVML_CLOCK_MEMORY));
    return 1;
}

static nvmlReturn_t answer_modes(struct vgpu_call *call, const struct text *text, char *known, char *to, int is_known) {
    if (!is_known) {
        return NVML_ERROR_NOT_SUPPORTED;
    }
    return text->overflown ? NVML_ERROR_INSUFFICIENT_SIZE
                           : vgpu_nvml_text(call, known, to, VGPU_NVML_PERFORMANCE_MODES);
}

/* Performance level 0 is the slowest (doc), so the list of states is gone through from its end. */
nvmlReturn_t vgpu_nvmlDeviceGetPerformanceModes(struct vgpu_process *process, struct vgpu_call *call,
                                                nvmlDevice_t device, nvmlDevicePerfModes_t *perfModes) {
    const struct vgpu_gpu *gpu = vgpu_nvml_gpu(process, device);
    if (gpu == NULL || perfModes == NULL) {
        return NVML_ERROR_INVALID_ARGUMENT;
    }
    if (perfModes->version != VGPU_NVML_STRUCT(nvmlDevicePerfModes_t, 1)) {
        return NVML_ERROR_ARGUMENT_VERSION_MISMATCH;
    }
    char known[VGPU_NVML_PERFORMANCE_MODES] = "";
    struct text text = {.at = known, .room = sizeof(known)};
    uint32_t count;
    states(process, gpu, &count);
    int is_known = count > 0;
    for (uint32_t level = 0; level < count && is_known; level++) {
        put(&text, "%sperf=%u", level > 0 ? " ; " : "", level);
        is_known = put_clocks(process, gpu, count - 1 - level, -1, -1, &text);
    }
    return answer_modes(call, &text, known, perfModes->str, is_known);
}

nvmlReturn_t vgpu_nvmlDeviceGetCurrentClockFreqs(struct vgpu_process *process, struct vgpu_call *call,
                                                 nvmlDevice_t device,
                                                 nvmlDeviceCurrentClockFreqs_t *currentClockFreqs) {
    const struct vgpu_gpu *gpu = vgpu_nvml_gpu(process, device);
    if (gpu == NULL || currentClockFreqs == NULL) {
        return NVML_ERROR_INVALID_ARGUMENT;
    }
    if (currentClockFreqs->version != VGPU_NVML_STRUCT(nvmlDeviceCurrentClockFreqs_t, 1)) {
        return NVML_ERROR_ARGUMENT_VERSION_MISMATCH;
    }
    int64_t state = vgpu_nvml_get_or(process, gpu, VGPU_PROPERTY_PERFORMANCE_STATE, 0, 0);
    uint32_t count, place = 0;
    const struct vgpu_property *known = states(process, gpu, &count);
    while (place + 1 < count && known[place].value != state) {
        place++;
    }
    int64_t graphics = -1, memory = -1;
    vgpu_nvml_clock_now(process, gpu, VGPU_NVML_CLOCK_GRAPHICS, &graphics);
    vgpu_nvml_clock_now(process, gpu, VGPU_NVML_CLOCK_MEMORY, &memory);
    char written[VGPU_NVML_PERFORMANCE_MODES] = "";
    struct text text = {.at = written, .room = sizeof(written)};
    put(&text, "perf=%u", count > 0 ? count - 1 - place : 0);
    int is_known = count > 0 && put_clocks(process, gpu, place, graphics, memory, &text);
    return answer_modes(call, &text, written, currentClockFreqs->str, is_known);
}

nvmlReturn_t vgpu_nvmlDeviceGetCurrentClocksThrottleReasons(struct vgpu_process *process, struct vgpu_call *call,
                                                            nvmlDevice_t device,
                                                            unsigned long long *clocksThrottleReasons) {
    const struct vgpu_gpu *gpu = vgpu_nvml_gpu(process, device);
    if (gpu == NULL || clocksThrottleReasons == NULL) {
        return NVML_ERROR_INVALID_ARGUMENT;
    }
    int64_t chosen;
    int64_t reasons = vgpu_nvml_get_or(process, gpu, VGPU_PROPERTY_CLOCK_REASONS, 0, 0) & ~(int64_t)REASON_IDLE;
    if (vgpu_nvml_get_or(process, gpu, VGPU_PROPERTY_UTILIZATION_GPU, 0, 0) == 0) {
        reasons |= REASON_IDLE;
    }
    if (vgpu_nvml_get(process, gpu, VGPU_PROPERTY_APPLICATIONS_CLOCK, VGPU_NVML_CLOCK_GRAPHICS, &chosen)) {
        reasons |= REASON_APPLICATIONS;
    }
    return vgpu_nvml_say_long(call, gpu, clocksThrottleReasons, reasons);
}

nvmlReturn_t vgpu_nvmlDeviceGetSupportedClocksThrottleReasons(struct vgpu_process *process, struct vgpu_call *call,
                                                              nvmlDevice_t device,
                                                              unsigned long long *supportedClocksThrottleReasons) {
    const struct vgpu_gpu *gpu = vgpu_nvml_gpu(process, device);
    if (gpu == NULL || supportedClocksThrottleReasons == NULL) {
        return NVML_ERROR_INVALID_ARGUMENT;
    }
    return vgpu_nvml_say_long(call, gpu, supportedClocksThrottleReasons,
                              vgpu_nvml_get_or(process, gpu, VGPU_PROPERTY_CLOCK_REASONS_KNOWN, 0, REASONS_KNOWN));
}

nvmlReturn_t vgpu_nvmlDeviceGetDynamicPstatesInfo(struct vgpu_process *process, struct vgpu_call *call,
                                                  nvmlDevice_t device,
                                                  nvmlGpuDynamicPstatesInfo_t *pDynamicPstatesInfo) {
    /* NVML_GPU_UTILIZATION_DOMAIN_*: GPU, frame buffer, video, bus. What video does is the decoder's and encoder's. */
    static const enum vgpu_property_id domains[] = {VGPU_PROPERTY_UTILIZATION_GPU, VGPU_PROPERTY_UTILIZATION_MEMORY,
                                                    VGPU_PROPERTY_UTILIZATION_DECODER};
    const struct vgpu_gpu *gpu = vgpu_nvml_gpu(process, device);
    if (gpu == NULL || pDynamicPstatesInfo == NULL) {
        return NVML_ERROR_INVALID_ARGUMENT;
    }
    memset(pDynamicPstatesInfo, 0, sizeof(*pDynamicPstatesInfo));
    pDynamicPstatesInfo->flags = 1;
    for (size_t i = 0; i < sizeof(domains) / sizeof(domains[0]); i++) {
        pDynamicPstatesInfo->utilization[i].bIsPresent = 1;
        pDynamicPstatesInfo->utilization[i].percentage = (unsigned int)vgpu_nvml_get_or(process, gpu, domains[i], 0, 0);
    }
    vgpu_call_output(call, &pDynamicPstatesInfo->flags, sizeof(pDynamicPstatesInfo->flags));
    vgpu_nvml_say_pci(call, gpu);
    return NVML_SUCCESS;
}

nvmlReturn_t vgpu_nvmlDeviceGetAdaptiveClockInfoStatus(struct vgpu_process *process, struct vgpu_call *call,
                                                       nvmlDevice_t device, unsigned int *adaptiveClockStatus) {
    return vgpu_nvml_answer(process, call, device, VGPU_PROPERTY_ADAPTIVE_CLOCKING, 0, adaptiveClockStatus);
}
