/* The way of every call: what must be true before the model is asked, by the list's `when` column. */
#include "cuda/model.h"

static int refused(struct vgpu_call *call, CUresult result) {
    call->event.result = (int32_t)result;
    return 0;
}

/* NVIDIA's library checks for cuInit before it looks at an argument: out parameters stay as they were (measured by the
 * lupine project on 590.48.01). */
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
    if (when == VGPU_WHEN_READY) {
        return 1;
    }
    /* A child of a process that had called cuInit can never use CUDA (triton PR 10443: 3 on eight H100). */
    if (process->cuda->model.forked) {
        if (process->cuda->initialised) {
            return refused(call, CUDA_ERROR_NOT_INITIALIZED);
        }
        process->cuda->model.forked = 0;
    }
    if (when == VGPU_WHEN_INIT) {
        return 1;
    }
    if (!process->cuda->initialised && process->image != NULL && process->image->gate.auto_init) {
        vgpu_cuda_initialise(process);
    }
    return process->cuda->initialised ? 1 : refused(call, CUDA_ERROR_NOT_INITIALIZED);
}

static int begin(struct vgpu_call *call, struct vgpu_process *process, const char *name, enum vgpu_when when,
                 uint64_t caller, const uint64_t *inputs, size_t count) {
    struct vgpu_event event = {.library = VGPU_LIBRARY_CUDA, .caller = caller, .name = name, .inputs = (uint8_t)count};
    for (size_t i = 0; i < count; i++) {
        event.in[i] = inputs[i];
    }
    return vgpu_call_begin(call, process, &event, when) && may_ask(call, when);
}

#define VGPU_CUDA(name, when, base, since, parameters, arguments, inputs)                                              \
    CUresult vgpu_from_##name(struct vgpu_process *process, uint64_t caller VGPU_AND parameters) {                     \
        const uint64_t in[] = {VGPU_BARE inputs};                                                                      \
        struct vgpu_call call;                                                                                         \
        if (begin(&call, process, #name, VGPU_WHEN_##when, caller, in, sizeof(in) / sizeof(in[0]))) {                  \
            call.event.result = (int32_t)vgpu_##name(process, &call VGPU_AND arguments);                               \
        }                                                                                                              \
        return (CUresult)vgpu_call_end(&call);                                                                         \
    }                                                                                                                  \
    CUresult vgpu_call_##name(struct vgpu_process *process VGPU_AND parameters) {                                      \
        return vgpu_from_##name(process, 0 VGPU_AND arguments);                                                        \
    }
#include "cuda/cuda.def"

/* Weak: libvgpu-cuda.so has its exported functions instead. */
extern const vgpu_cuda_function vgpu_cuda_functions[] __attribute__((weak));
const vgpu_cuda_function vgpu_cuda_functions[] = {
#define VGPU_CUDA(name, when, base, since, parameters, arguments, inputs) (vgpu_cuda_function) vgpu_call_##name,
#include "cuda/cuda.def"
};
