#include "vgpu/call.h"

#include <errno.h>
#include <string.h>

#include "vgpu/image.h"
#include "vgpu/raw.h"

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
    call->ready = ensure_init(process);
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
    /* Too early may mean that the lock is not there yet; then no model with a state is asked. */
    if (call->ready != VGPU_TOO_EARLY) {
        vgpu_lock(process);
        call->locked = 1;
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
    memcpy(call->outputs[call->first_output], &value, call->output_sizes[call->first_output]);
    call->event.flags |= VGPU_RECORD_FAULTED;
}

static void put_text(struct vgpu_call *call) {
    vgpu_copy_text(call->buffer, call->buffer_size, vgpu_image_text(call->process->image, call->fault->text));
    call->event.flags |= VGPU_RECORD_FAULTED;
}

int32_t vgpu_call_end(struct vgpu_call *call) {
    if (fault_has(call, VGPU_FAULT_VALUE) && call->event.outputs > 0) {
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
        vgpu_unlock(call->process);
    }
    if (__atomic_load_n(&call->process->started, __ATOMIC_ACQUIRE) == 2) {
        vgpu_trace_write(&call->process->trace, &call->event);
    }
    errno = call->saved_errno;
    return call->event.result;
}
