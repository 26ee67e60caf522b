/* Before and after the real function: environment, memory, records. */
#include <errno.h>

#include "exec/exec.h"
#include "exec/room.h"
#include "vgpu/process.h"
#include "vgpu/raw.h"

enum { PATIENCE = 10000 };

/* Is this a process that may be changed for good? The kernel gives a new process no list of robust futexes; libc hands
 * one in at the start of a program and of a thread, and in a forked child, but not in a child of vfork, which lives in
 * its parent's memory. */
static int has_own_memory(void) {
    void *list = NULL;
    size_t length;
    return vgpu_raw3(SYS_get_robust_list, 0, (long)&list, (long)&length) == 0 && list != NULL;
}

struct vgpu_process *vgpu_exec_process(void) {
    static struct vgpu_process *known;
    static uint32_t claimed;
    struct vgpu_process *process = __atomic_load_n(&known, __ATOMIC_ACQUIRE);
    if (process != NULL || !has_own_memory()) {
        return process;
    }
    /* Who claims it may be another thread, or one that a fork has left behind half way: so nobody waits for long. */
    if (__atomic_exchange_n(&claimed, 1, __ATOMIC_ACQ_REL) == 0) {
        __atomic_store_n(&known, vgpu_self(), __ATOMIC_RELEASE);
    }
    for (int i = 0; i < PATIENCE && process == NULL; i++) {
        process = __atomic_load_n(&known, __ATOMIC_ACQUIRE);
        if (process == NULL) {
            vgpu_raw3(SYS_sched_yield, 0, 0, 0);
        }
    }
    return process;
}

static void record(const struct vgpu_exec_call *call, struct vgpu_event *event) {
    struct vgpu_process *process = vgpu_exec_process();
    if (process != NULL) {
        event->library = VGPU_LIBRARY_EXEC;
        event->caller = call->caller;
        event->name = vgpu_exec_name(call->function);
        event->text = call->text;
        vgpu_trace_write(&process->trace, event);
    }
}

void vgpu_exec_record_entered(const struct vgpu_exec_call *call, enum vgpu_program program, uint32_t changes) {
    struct vgpu_event event = {.kind = VGPU_RECORD_ENTERED, .inputs = 2, .in = {changes, program}};
    record(call, &event);
}

void vgpu_exec_record_failed(const struct vgpu_exec_call *call, int error) {
    struct vgpu_event event = {.kind = VGPU_RECORD_CALL, .result = error};
    record(call, &event);
}

int vgpu_exec_begin(struct vgpu_exec_call *call, enum vgpu_program program, const char *text, char *const envp[]) {
    struct vgpu_plan plan = {.changes = 0};
    call->room = NULL;
    call->envp = envp;
    call->text = program != VGPU_PROGRAM_UNKNOWN || vgpu_program_is_text(text) ? text : NULL;
    if (call->kept == &vgpu_kept_unknown) {
        return ENOMEM;
    }
    if (program == VGPU_PROGRAM_SERVED) {
        vgpu_plan_make(&plan, call->kept, envp);
    }
    if (plan.changes != 0) {
        void *room = call->small;
        if (plan.size > sizeof(call->small)) {
            room = call->room = vgpu_room_take(VGPU_ROOM_ENVIRONMENT, plan.size);
        }
        if (room == NULL) {
            return ENOMEM;
        }
        call->envp = vgpu_plan_carry_out(&plan, room);
    }
    vgpu_exec_record_entered(call, program, plan.changes);
    return 0;
}

void vgpu_exec_end(struct vgpu_exec_call *call, int error) {
    vgpu_room_give_back(VGPU_ROOM_ENVIRONMENT, call->room);
    if (error != 0) {
        vgpu_exec_record_failed(call, error);
    }
}
