/* The way of every call: what must be true before the model is asked, by the list's `when` column. */
#include "cuda/model.h"

static int refused(struct vgpu_call *call, CUresult result) {
    call->event.result = (int32_t)result;
    return 0;
}

static int allowed(struct vgpu_call *call, CUresult refusal) {
    return refusal == CUDA_SUCCESS ? 1 : refused(call, refusal);
}

/* 1 in a forked child whose parent had initialised. One whose parent had not starts anew. */
static int is_inherited(struct vgpu_process *process) {
    if (process->cuda->model.forked && !process->cuda->initialised) {
        process->cuda->model.forked = 0;
    }
    return process->cuda->model.forked != 0;
}

CUresult vgpu_cuda_ready(struct vgpu_process *process) {
    if (vgpu_cuda_has_ended(process)) {
        return CUDA_ERROR_DEINITIALIZED;
    }
    if (is_inherited(process)) {
        return CUDA_ERROR_NOT_INITIALIZED;
    }
    if (!process->cuda->initialised && process->image != NULL && process->image->gate.auto_init) {
        vgpu_cuda_initialise(process);
    }
    return process->cuda->initialised ? CUDA_SUCCESS : CUDA_ERROR_NOT_INITIALIZED;
}

/* Most functions of NVIDIA's library check for cuInit before it looks at an argument: out parameters stay as they were
 * (measured by the lupine project on 590.48.01). */
static int may_ask(struct vgpu_call *call, enum vgpu_when when) {
    struct vgpu_process *process = call->process;
    if (when == VGPU_WHEN_ALWAYS) {
        return 1;
    }
    if (call->ready == VGPU_TOO_EARLY || call->ready == VGPU_NOT_AN_APPLICATION) {
        return refused(call, CUDA_ERROR_NOT_INITIALIZED);
    }
    if (!vgpu_cuda_make(process)) {
        return refused(call, CUDA_ERROR_OUT_OF_MEMORY);
    }
    if (when == VGPU_WHEN_INIT && vgpu_cuda_has_ended(process)) {
        return refused(call, CUDA_ERROR_DEINITIALIZED);
    }
    /* A child of a process that had called cuInit can never use CUDA (triton PR 10443: 3 on eight H100). */
    if (when == VGPU_WHEN_INIT && is_inherited(process)) {
        return refused(call, CUDA_ERROR_NOT_INITIALIZED);
    }
    return when == VGPU_WHEN_INITIALISED ? allowed(call, vgpu_cuda_ready(process)) : 1;
}

static int begin(struct vgpu_call *call, struct vgpu_process *process, const char *name, enum vgpu_when when,
                 uint64_t caller, const uint64_t *inputs, size_t count) {
    struct vgpu_event event = {.library = VGPU_LIBRARY_CUDA, .caller = caller, .name = name, .inputs = (uint8_t)count};
    for (size_t i = 0; i < count; i++) {
        event.in[i] = inputs[i];
    }
    if (!vgpu_call_begin(call, process, &event, when)) {
        if (when == VGPU_WHEN_INIT && call->fault->result != CUDA_SUCCESS) {
            vgpu_lock(process);
            vgpu_cuda_init_failed(process);
            vgpu_unlock(process);
        }
        return 0;
    }
    return may_ask(call, when);
}

/* An entry point `exported`; `answer` is what it answers when it may be asked. */
#define ENTRY(exported, when, parameters, arguments, inputs, twin, answer)                                             \
    CUresult vgpu_from_##exported(struct vgpu_process *process, uint64_t caller VGPU_AND parameters) {                 \
        const uint64_t in[] = {VGPU_BARE inputs};                                                                      \
        struct vgpu_call call;                                                                                         \
        if (begin(&call, process, #exported, VGPU_WHEN_##when, caller, in, sizeof(in) / sizeof(in[0]))) {              \
            call.per_thread = twin;                                                                                    \
            call.event.result = (int32_t)(answer);                                                                     \
        }                                                                                                              \
        return (CUresult)vgpu_call_end(&call);                                                                         \
    }                                                                                                                  \
    CUresult vgpu_call_##exported(struct vgpu_process *process VGPU_AND parameters) {                                  \
        return vgpu_from_##exported(process, 0 VGPU_AND arguments);                                                    \
    }

/* The arguments are there for the compiler, which counts unused ones. */
static CUresult unmodelled(struct vgpu_call *call, ...) {
    call->event.flags |= VGPU_RECORD_UNMODELLED;
    return CUDA_ERROR_NOT_SUPPORTED;
}

#define VGPU_CUDA(name, when, base, since, parameters, arguments, inputs)                                              \
    ENTRY(name, when, parameters, arguments, inputs, 0, vgpu_##name(process, &call VGPU_AND arguments))
#define VGPU_CUDA_TWIN(name, suffix, when, base, since, parameters, arguments, inputs)                                 \
    ENTRY(name##suffix, when, parameters, arguments, inputs, 1, vgpu_##name(process, &call VGPU_AND arguments))
#define VGPU_CUDA_UNMODELLED(name, when, base, since, parameters, arguments, inputs)                                   \
    ENTRY(name, when, parameters, arguments, inputs, 0, unmodelled(&call VGPU_AND arguments))
#include "cuda/cuda.def"

/* Weak: libvgpu-cuda.so has its exported functions instead. */
__attribute__((weak)) vgpu_cuda_function vgpu_cuda_function_at(uint32_t i) {
    switch (i) {
#define VGPU_CUDA(name, when, base, since, parameters, arguments, inputs)                                              \
    case VGPU_CUDA_ENTRY_##name:                                                                                       \
        return (vgpu_cuda_function)vgpu_call_##name;
#include "cuda/cuda.def"
    default:
        return NULL;
    }
}
