#include "vgpu/fault.h"

#include <errno.h>
#include <stddef.h>
#include <sys/prctl.h>
#include <time.h>

#include "vgpu/image.h"
#include "vgpu/raw.h"

enum { THREAD_NAME_SIZE = 16 }; /* TASK_COMM_LEN */

static int is_this_program(const struct vgpu_process *process, const char *rule) {
    const struct vgpu_facts *facts = &process->facts;
    return facts->exe[0] != '\0' ? vgpu_names(rule, facts->exe, 0) : vgpu_names(rule, facts->comm, 1);
}

static int is_this_thread(const char *rule) {
    if (vgpu_same_text(rule, "main")) {
        return vgpu_raw3(SYS_gettid, 0, 0, 0) == vgpu_raw3(SYS_getpid, 0, 0, 0);
    }
    char name[THREAD_NAME_SIZE] = "";
    vgpu_raw3(SYS_prctl, PR_GET_NAME, (long)name, 0);
    return vgpu_names(rule, name, 1);
}

/* Counts the call for fault `i` if it is one of its calls; 1 if the fault takes it. */
static int takes(struct vgpu_process *process, uint32_t i, const struct vgpu_fault *fault, const char *name) {
    const struct vgpu_image *image = process->image;
    if (!vgpu_same_text(vgpu_image_text(image, fault->function), name) ||
        (fault->program != 0 && !is_this_program(process, vgpu_image_text(image, fault->program))) ||
        (fault->thread != 0 && !is_this_thread(vgpu_image_text(image, fault->thread)))) {
        return 0;
    }
    uint32_t calls = __atomic_fetch_add(&process->fault_calls[i], 1, __ATOMIC_RELAXED);
    return calls >= fault->after && (fault->times == 0 || calls - fault->after < fault->times);
}

static void sleep_ms(uint32_t milliseconds) {
    struct timespec left = {.tv_sec = milliseconds / 1000, .tv_nsec = (long)(milliseconds % 1000) * 1000000};
    while (vgpu_raw3(SYS_nanosleep, (long)&left, (long)&left, 0) == -EINTR) {
    }
}

/* As a bug in a driver would: by an access to memory that is not there. Handlers of the program run, and have the
 * address. Assembler, as a compiler may take a store through a null pointer for one that never comes. */
static void crash(void) {
    for (;;) {
        __asm__ volatile("movl $0, (%0)" : : "r"((uintptr_t)0) : "memory");
    }
}

static void hang(void) {
    for (;;) {
        vgpu_raw3(SYS_pause, 0, 0, 0);
    }
}

void vgpu_fault_enter(struct vgpu_process *process, const struct vgpu_fault *fault, uint8_t library, const char *name,
                      uint64_t caller) {
    const uint32_t ends = VGPU_FAULT_CRASH | VGPU_FAULT_HANG;
    if (fault->delay_ms != 0 || (fault->flags & ends) != 0) {
        struct vgpu_event event = {
            .kind = VGPU_RECORD_ENTERED,
            .library = library,
            .flags = (fault->flags & ends) != 0 ? VGPU_RECORD_FAULTED : 0,
            .caller = caller,
            .name = name,
        };
        vgpu_trace_write(&process->trace, &event);
        sleep_ms(fault->delay_ms);
    }
    if ((fault->flags & VGPU_FAULT_LOST) != 0) {
        vgpu_gpu_lose(process, (uint32_t)fault->value);
    }
    if ((fault->flags & VGPU_FAULT_CRASH) != 0) {
        crash();
    }
    if ((fault->flags & VGPU_FAULT_HANG) != 0) {
        hang();
    }
}

const struct vgpu_fault *vgpu_fault_for(struct vgpu_process *process, uint8_t library, const char *name,
                                        uint64_t caller) {
    const struct vgpu_image *image = process->image;
    for (uint32_t i = 0; image != NULL && i < image->faults.count; i++) {
        const struct vgpu_fault *fault = vgpu_image_fault(image, i);
        if (fault->gpu == 0 && takes(process, i, fault, name)) {
            vgpu_fault_enter(process, fault, library, name, caller);
            return fault;
        }
    }
    return NULL;
}

const struct vgpu_fault *vgpu_fault_about(struct vgpu_process *process, const char *name, uint32_t about) {
    const struct vgpu_image *image = process->image;
    for (uint32_t i = 0; image != NULL && i < image->faults.count; i++) {
        const struct vgpu_fault *fault = vgpu_image_fault(image, i);
        if (fault->gpu != 0 && (about >> (fault->gpu - 1) & 1) != 0 && takes(process, i, fault, name)) {
            return fault;
        }
    }
    return NULL;
}

void vgpu_gpu_lose(struct vgpu_process *process, uint32_t gpu) {
    if (gpu < VGPU_GPUS_MAX) {
        __atomic_fetch_or(&process->lost, 1u << gpu, __ATOMIC_RELAXED);
        if (process->trace.header != NULL) {
            __atomic_fetch_or(&process->trace.header->lost, 1u << gpu, __ATOMIC_RELAXED);
        }
    }
}

int vgpu_gpu_is_lost(const struct vgpu_process *process, uint32_t gpu) {
    uint32_t lost = __atomic_load_n(&process->lost, __ATOMIC_RELAXED);
    if (process->trace.header != NULL) {
        lost |= __atomic_load_n(&process->trace.header->lost, __ATOMIC_RELAXED);
    }
    return (int)(lost >> (gpu % VGPU_GPUS_MAX) & 1);
}
