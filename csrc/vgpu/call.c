#include "vgpu/call.h"

#include <errno.h>
#include <string.h>

#include "vgpu/fault.h"
#include "vgpu/image.h"
#include "vgpu/raw.h"

/* What a function answers for a GPU that has fallen off the bus: nvml.h's NVML_ERROR_GPU_IS_LOST; CUDA has no code for
 * it, and programs see CUDA_ERROR_UNKNOWN then (proteneer/timemachine PR 1203). */
enum { NVML_GPU_IS_LOST = 15, CUDA_UNKNOWN = 999 };

/* The call that this thread is in. Not in struct vgpu_process: a model that waits leaves the lock to other calls. */
static __thread struct vgpu_call *this_call __attribute__((tls_model("initial-exec")));

static void mark_forked(struct vgpu_process *process) {
    struct vgpu_model *models[] = {(struct vgpu_model *)process->cuda, (struct vgpu_model *)process->nvml};
    for (size_t i = 0; i < sizeof(models) / sizeof(models[0]); i++) {
        if (models[i] != NULL) {
            models[i]->forked = 1;
        }
    }
}

static void write_entered(struct vgpu_call *call) {
    struct vgpu_event event = call->event;
    event.kind = VGPU_RECORD_ENTERED;
    vgpu_trace_write(&call->process->trace, &event);
}

static int fault_has(const struct vgpu_call *call, uint32_t flag) {
    return call->fault != NULL && (call->fault->flags & flag) != 0;
}

int vgpu_call_begin(struct vgpu_call *call, struct vgpu_process *process, const struct vgpu_event *event,
                    enum vgpu_when when) {
    memset(call, 0, sizeof(*call));
    call->saved_errno = errno;
    call->process = process;
    call->event = *event;
    call->event.kind = VGPU_RECORD_CALL;
    call->ready = vgpu_is_locking() ? VGPU_TOO_EARLY : ensure_init(process);
    if (call->ready == VGPU_READY) {
        call->fault = vgpu_fault_for(process, event->library, event->name, event->caller);
        int delayed = call->fault != NULL && call->fault->delay_ms != 0;
        if (when == VGPU_WHEN_INIT && !delayed) {
            write_entered(call);
        }
    }
    /* A fault with a value or a text has the model asked: only it knows where they go. */
    if (fault_has(call, VGPU_FAULT_RESULT) && !fault_has(call, VGPU_FAULT_VALUE | VGPU_FAULT_TEXT)) {
        return 0;
    }
    /* Too early may mean that the lock is not there yet, or that this thread has it: no model with a state is asked. */
    if (call->ready != VGPU_TOO_EARLY) {
        vgpu_lock(process);
        call->locked = 1;
        call->outer = this_call;
        this_call = call;
        process->about = 0;
        if (vgpu_process_forked(process)) {
            mark_forked(process);
        }
    }
    return 1;
}

void vgpu_call_output(struct vgpu_call *call, void *at, size_t size) {
    if (call->event.outputs < VGPU_RECORD_OUTPUTS) {
        call->outputs[call->event.outputs] = at;
        call->output_sizes[call->event.outputs] = size;
        call->event.outputs++;
    }
}

void vgpu_call_text(struct vgpu_call *call, char *buffer, size_t size) {
    call->buffer = buffer;
    call->buffer_size = size;
    call->event.text = buffer;
}

/* Copies keep to the caller's alignment, which need not be ours. */
static void put_value(struct vgpu_call *call) {
    uint64_t value = (uint64_t)call->fault->value;
    uint32_t i = (call->first_output + call->fault->output) % call->event.outputs;
    memcpy(call->outputs[i], &value, call->output_sizes[i]);
    call->event.flags |= VGPU_RECORD_FAULTED;
}

static void put_text(struct vgpu_call *call) {
    vgpu_copy_text(call->buffer, call->buffer_size, vgpu_image_text(call->process->image, call->fault->text));
    call->event.flags |= VGPU_RECORD_FAULTED;
}

/* Is the call about a GPU that has been lost? */
static int is_lost(struct vgpu_process *process) {
    for (uint32_t gpu = 0; gpu < VGPU_GPUS_MAX; gpu++) {
        if ((process->about >> gpu & 1) != 0 && vgpu_gpu_is_lost(process, gpu)) {
            return 1;
        }
    }
    return 0;
}

/* A value or a text is put where the model's would be: for these the model goes on, and knows where that is. A delay
 * alone changes nothing. What takes time, or never ends, waits until the lock is free. */
static void find_late(struct vgpu_call *call, uint32_t gpu) {
    call->fault = vgpu_fault_about(call->process, call->event.name, 1u << gpu);
    call->late = call->fault != NULL;
    if (fault_has(call, VGPU_FAULT_LOST)) {
        vgpu_gpu_lose(call->process, (uint32_t)call->fault->value);
    }
    int is_answered = fault_has(call, VGPU_FAULT_RESULT | VGPU_FAULT_CRASH | VGPU_FAULT_HANG);
    if (is_answered && !fault_has(call, VGPU_FAULT_VALUE | VGPU_FAULT_TEXT)) {
        call->refused |= 1u << gpu;
    }
}

struct vgpu_call *vgpu_call_current(const struct vgpu_process *process) {
    return this_call != NULL && this_call->process == process ? this_call : NULL;
}

int vgpu_gpu_lost(struct vgpu_process *process, uint32_t gpu) {
    struct vgpu_call *call = vgpu_call_current(process);
    gpu %= VGPU_GPUS_MAX;
    process->about |= 1u << gpu;
    if (call == NULL || call->ready != VGPU_READY) {
        return vgpu_gpu_is_lost(process, gpu);
    }
    if (call->fault == NULL && (call->asked >> gpu & 1) == 0) {
        find_late(call, gpu);
    }
    call->asked |= 1u << gpu;
    return (call->refused >> gpu & 1) != 0 || vgpu_gpu_is_lost(process, gpu);
}

static void answer_if_lost(struct vgpu_call *call) {
    if (call->locked && call->ready == VGPU_READY && is_lost(call->process)) {
        call->event.result = call->event.library == VGPU_LIBRARY_NVML ? NVML_GPU_IS_LOST : CUDA_UNKNOWN;
        call->event.flags |= VGPU_RECORD_FAULTED;
    }
}

int32_t vgpu_call_end(struct vgpu_call *call) {
    answer_if_lost(call);
    if (fault_has(call, VGPU_FAULT_VALUE) && call->fault->output < call->event.outputs) {
        put_value(call);
    }
    if (fault_has(call, VGPU_FAULT_TEXT) && call->buffer != NULL) {
        put_text(call);
    }
    if (fault_has(call, VGPU_FAULT_RESULT)) {
        call->event.result = call->fault->result;
        call->event.flags |= VGPU_RECORD_FAULTED;
    }
    for (uint32_t i = 0; i < call->event.outputs; i++) {
        memcpy(&call->event.out[i], call->outputs[i], call->output_sizes[i]);
    }
    if (call->locked) {
        this_call = call->outer;
        vgpu_unlock(call->process);
    }
    if (call->late) {
        vgpu_fault_enter(call->process, call->fault, call->event.library, call->event.name, call->event.caller);
    }
    if (__atomic_load_n(&call->process->started, __ATOMIC_ACQUIRE) == 2) {
        vgpu_trace_write(&call->process->trace, &call->event);
    }
    errno = call->saved_errno;
    if (call->then != NULL) {
        call->then(call->then_data);
    }
    return call->event.result;
}
