/* The way of every call: what must be true before the model is asked, by the list's `when` column. */
#include "nvml/model.h"

static int refused(struct vgpu_call *call, nvmlReturn_t result) {
    call->event.result = (int32_t)result;
    return 0;
}

static int may_ask(struct vgpu_call *call, enum vgpu_when when) {
    if (when == VGPU_WHEN_ALWAYS) {
        return 1;
    }
    if (call->ready == VGPU_TOO_EARLY || call->ready == VGPU_NOT_AN_APPLICATION) {
        return refused(call, NVML_ERROR_UNINITIALIZED);
    }
    if (!vgpu_nvml_make(call->process)) {
        return refused(call, NVML_ERROR_MEMORY);
    }
    if (when == VGPU_WHEN_INITIALISED && call->process->nvml->references == 0) {
        return refused(call, NVML_ERROR_UNINITIALIZED);
    }
    return 1;
}

static int begin(struct vgpu_call *call, struct vgpu_process *process, const char *name, enum vgpu_when when,
                 uint64_t caller, const uint64_t *inputs, size_t count) {
    struct vgpu_event event = {.library = VGPU_LIBRARY_NVML, .caller = caller, .name = name, .inputs = (uint8_t)count};
    for (size_t i = 0; i < count; i++) {
        event.in[i] = inputs[i];
    }
    return vgpu_call_begin(call, process, &event, when) && may_ask(call, when);
}

#define ENTRY(name, when, parameters, arguments, inputs, answer)                                                       \
    nvmlReturn_t vgpu_from_##name(struct vgpu_process *process, uint64_t caller VGPU_AND parameters) {                 \
        const uint64_t in[] = {VGPU_BARE inputs};                                                                      \
        struct vgpu_call call;                                                                                         \
        if (begin(&call, process, #name, VGPU_WHEN_##when, caller, in, sizeof(in) / sizeof(in[0]))) {                  \
            call.event.result = (int32_t)(answer);                                                                     \
        }                                                                                                              \
        return (nvmlReturn_t)vgpu_call_end(&call);                                                                     \
    }                                                                                                                  \
    nvmlReturn_t vgpu_call_##name(struct vgpu_process *process VGPU_AND parameters) {                                  \
        return vgpu_from_##name(process, 0 VGPU_AND arguments);                                                        \
    }

/* The arguments are there for the compiler, which counts unused ones. */
static nvmlReturn_t unmodelled(struct vgpu_call *call, ...) {
    call->event.flags |= VGPU_RECORD_UNMODELLED;
    return NVML_ERROR_NOT_SUPPORTED;
}

#define VGPU_NVML(name, when, parameters, arguments, inputs)                                                           \
    ENTRY(name, when, parameters, arguments, inputs, vgpu_##name(process, &call VGPU_AND arguments))
#define VGPU_NVML_UNMODELLED(name, when, parameters, arguments, inputs)                                                \
    ENTRY(name, when, parameters, arguments, inputs, unmodelled(&call VGPU_AND arguments))

/* A text has no result code for a fault to change; only a fault's delay is felt. */
#define VGPU_NVML_TEXT(name, parameters, arguments, inputs)                                                            \
    const char *vgpu_from_##name(struct vgpu_process *process, uint64_t caller VGPU_AND parameters) {                  \
        const uint64_t in[] = {VGPU_BARE inputs};                                                                      \
        struct vgpu_call call;                                                                                         \
        begin(&call, process, #name, VGPU_WHEN_ALWAYS, caller, in, sizeof(in) / sizeof(in[0]));                        \
        const char *text = vgpu_##name(process, &call VGPU_AND arguments);                                             \
        vgpu_call_end(&call);                                                                                          \
        return text;                                                                                                   \
    }                                                                                                                  \
    const char *vgpu_call_##name(struct vgpu_process *process VGPU_AND parameters) {                                   \
        return vgpu_from_##name(process, 0 VGPU_AND arguments);                                                        \
    }
#include "nvml/nvml.def"
