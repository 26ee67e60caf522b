/* The state of a shim in a process. Set up once, by whichever call comes first: no constructor runs.
 *
 * Threads: the first to come claims set-up; the others wait by yielding, as it is some ten system calls. Fork: the lock
 * and `alive` are on a page that the kernel clears in the child. Signal handlers: a handler that interrupts set-up
 * in its own thread would wait for ever, so it is told "too early" (the guard below) and gets the real function. */
#include "vgpu/process.h"

#include <errno.h>
#include <signal.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/single_threaded.h>
#include <sys/wait.h>
#include <unistd.h>

#include "vgpu/decision.h"
#include "vgpu/environment.h"
#include "vgpu/image.h"
#include "vgpu/raw.h"

/* This thread's number while it is inside set_up, or waits for another's: 4 bytes of initial-exec TLS, so that reading
 * it never allocates. A vfork child has its parent's. */
static __thread int32_t setting_up __attribute__((tls_model("initial-exec")));

/* Set while this thread waits for the lock or has it. */
static __thread int locking __attribute__((tls_model("initial-exec")));

enum { FORK_PAGE_SIZE = 4096 };

static_assert(offsetof(struct vgpu_process, facts) + sizeof(struct vgpu_facts) + _Alignof(struct vgpu_process) >
                  sizeof(struct vgpu_process),
              "facts stand last: what unload() leaves as it is was never written");

static struct vgpu_process own;
static uint64_t starter; /* atomic: who sets `own` up: the process whose memory this is, and the thread; 0: none yet */

static void write_init(struct vgpu_process *process, const char *refusal) {
    if (process->trace.header == NULL) {
        return;
    }
    struct vgpu_event event = {
        .kind = VGPU_RECORD_INIT,
        .library = (uint8_t)process->library,
        .inputs = 1,
        .in = {process->image_state},
        .text = process->facts.path,
    };
    vgpu_trace_write(&process->trace, &event);
    if (refusal != NULL) {
        event.kind = VGPU_RECORD_REFUSED;
        event.inputs = 0;
        event.text = refusal;
        vgpu_trace_write(&process->trace, &event);
    }
}

static void make_fork_page(struct vgpu_process *process) {
    long at = vgpu_raw6(SYS_mmap, 0, FORK_PAGE_SIZE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    process->fork_page = &process->spare_page;
    if (at > 0) {
        vgpu_raw3(SYS_madvise, at, FORK_PAGE_SIZE, MADV_WIPEONFORK);
        process->fork_page = (struct vgpu_fork_page *)at;
    }
    process->fork_page->alive = 1;
}

static void set_up(struct vgpu_process *process, const char *host, const char *trace) {
    if (trace != NULL) {
        vgpu_trace_open(&process->trace, trace);
    }
    const char *refusal = NULL;
    if (host != NULL) {
        refusal = vgpu_image_open(host, &process->image);
        process->image_state = refusal == NULL ? VGPU_IMAGE_MAPPED : VGPU_IMAGE_REFUSED;
    }
    make_fork_page(process);
    if (!process->fixed_facts) {
        vgpu_facts_gather(&process->facts);
    }
    write_init(process, refusal);
}

struct vgpu_process *vgpu_process_new(const char *host, const char *trace) {
    struct vgpu_process *process = calloc(1, sizeof(*process));
    if (process != NULL) {
        set_up(process, host, trace);
        process->facts.libc_ready = 1;
        process->started = 2;
    }
    return process;
}

static void release(struct vgpu_process *process) {
    if (process->free_cuda != NULL) {
        process->free_cuda(process);
    }
    if (process->free_nvml != NULL) {
        process->free_nvml(process);
    }
    vgpu_image_close(process->image);
    vgpu_trace_close(&process->trace);
    if (process->fork_page != &process->spare_page) {
        vgpu_raw3(SYS_munmap, (long)process->fork_page, FORK_PAGE_SIZE, 0);
    }
}

void vgpu_process_free(struct vgpu_process *process) {
    if (process != NULL) {
        release(process);
        free(process);
    }
}

void vgpu_process_set_facts(struct vgpu_process *process, const struct vgpu_facts *facts) {
    process->facts = *facts;
    process->fixed_facts = 1;
    process->gate = 0;
}

/* The value of a variable, from libc's environment or, where a program has cleared that before a shim's first use, from
 * the one the process was started with (into `buffer`). getenv is not used: some programs, bash among them, have their
 * own. */
static const char *variable(const char *name, char *buffer, size_t size) {
    size_t length = vgpu_length(name);
    for (char **at = environ; at != NULL && *at != NULL; at++) {
        size_t n = 0;
        while (n < length && (*at)[n] == name[n]) {
            n++;
        }
        if (n == length && (*at)[n] == '=') {
            return *at + n + 1;
        }
    }
    return vgpu_first_environment(name, buffer, size) > 0 ? buffer : NULL;
}

/* Has this thread ended, or the vfork child that it was? Who has ended is still there until its parent asks for it. */
static int is_gone(int32_t thread) {
    siginfo_t ended = {0};
    return vgpu_raw3(SYS_kill, thread, 0, 0) == -ESRCH ||
           (vgpu_raw6(SYS_waitid, P_PID, thread, (long)&ended, WEXITED | WNOHANG | WNOWAIT, 0, 0) == 0 &&
            ended.si_pid == thread);
}

/* 1: the caller sets the shim up. 0: somebody else is about it, and lives in the same memory: a thread of this process,
 * of its vfork child, or of the parent whose vfork child this is. A forked child has nobody who would go on. */
static int claims(int32_t thread) {
    uint64_t process = (uint64_t)vgpu_raw3(vgpu_is_borrowing_memory() ? SYS_getppid : SYS_getpid, 0, 0, 0);
    uint64_t other = __atomic_load_n(&starter, __ATOMIC_ACQUIRE);
    if (other != 0 && other >> 32 == process && !is_gone((int32_t)other)) {
        return 0;
    }
    uint64_t claim = process << 32 | (uint32_t)thread;
    /* Who is gone may have been done before: then its work is in use, and nobody may begin anew. */
    return __atomic_compare_exchange_n(&starter, &other, claim, 0, __ATOMIC_ACQ_REL, __ATOMIC_ACQUIRE) &&
           __atomic_load_n(&own.started, __ATOMIC_ACQUIRE) != 2;
}

struct vgpu_process *vgpu_self(void) {
    if (__atomic_load_n(&own.started, __ATOMIC_ACQUIRE) == 2) {
        return &own;
    }
    int32_t thread = (int32_t)vgpu_raw3(SYS_gettid, 0, 0, 0);
    if (setting_up == thread || (setting_up != 0 && vgpu_is_borrowing_memory())) {
        return &own;
    }
    setting_up = thread; /* before the claim: a handler may come in between */
    __atomic_signal_fence(__ATOMIC_SEQ_CST);
    while (__atomic_load_n(&own.started, __ATOMIC_ACQUIRE) != 2) {
        if (claims(thread)) {
            /* Not on the stack: the first call may come on a small signal stack. Only one thread ever gets here. */
            static char host[4096];
            static char trace[4096];
            own.library = vgpu_this_library;
            const char *host_path = variable("VGPU_HOST", host, sizeof(host));
            set_up(&own, host_path, variable("VGPU_TRACE", trace, sizeof(trace)));
            __atomic_store_n(&own.started, 2, __ATOMIC_RELEASE);
        } else {
            vgpu_raw3(SYS_sched_yield, 0, 0, 0);
        }
    }
    __atomic_signal_fence(__ATOMIC_SEQ_CST);
    setting_up = 0;
    return &own;
}

/* Asks the gate about a process as it is now. */
static enum vgpu_ready ask_now(struct vgpu_process *process, const char **reason) {
    const struct vgpu_image *image = process->image;
    if (image == NULL) {
        return VGPU_NO_IMAGE;
    }
    uint32_t calls = __atomic_fetch_add(&process->calls, 1, __ATOMIC_RELAXED);
    /* libc sets both in its own initialiser, which runs before any constructor; a program may empty the first. */
    int32_t libc_ready = process->facts.libc_ready || environ != NULL || program_invocation_name[0] != '\0';
    enum vgpu_ready ready = vgpu_gate_when(image, libc_ready, calls, reason);
    if (ready != VGPU_READY) {
        return ready;
    }
    const struct vgpu_facts *facts = &process->facts;
    return vgpu_gate_who(image, facts->secure, facts->secure ? 0 : vgpu_decision(image, facts), reason);
}

enum vgpu_ready ensure_init(struct vgpu_process *process) {
    if (__atomic_load_n(&process->started, __ATOMIC_ACQUIRE) != 2) {
        return VGPU_TOO_EARLY;
    }
    uint32_t known = __atomic_load_n(&process->gate, __ATOMIC_ACQUIRE);
    if (known != 0) {
        return (enum vgpu_ready)(known - 1);
    }
    const char *reason = NULL;
    enum vgpu_ready ready =
        process->fixed_facts ? vgpu_gate_ask(process->image, &process->facts, &reason) : ask_now(process, &reason);
    struct vgpu_event event = {
        .kind = VGPU_RECORD_GATE,
        .library = (uint8_t)process->library,
        .inputs = 1,
        .in = {ready},
        .text = reason,
    };
    if (ready == VGPU_TOO_EARLY) {
        vgpu_trace_write(&process->trace, &event);
        return ready;
    }
    uint32_t unknown = 0;
    if (__atomic_compare_exchange_n(&process->gate, &unknown, 1 + (uint32_t)ready, 0, __ATOMIC_ACQ_REL,
                                    __ATOMIC_ACQUIRE) &&
        process->image != NULL) {
        vgpu_trace_write(&process->trace, &event);
    }
    return ready;
}

int vgpu_process_forked(struct vgpu_process *process) {
    int forked = !process->fork_page->alive;
    process->fork_page->alive = 1;
    return forked;
}

void vgpu_lock(struct vgpu_process *process) {
    locking = 1;
    __atomic_signal_fence(__ATOMIC_SEQ_CST);
    while (__atomic_exchange_n(&process->fork_page->lock, 1, __ATOMIC_ACQUIRE) != 0) {
        vgpu_raw3(SYS_sched_yield, 0, 0, 0);
    }
}

void vgpu_unlock(struct vgpu_process *process) {
    __atomic_store_n(&process->fork_page->lock, 0, __ATOMIC_RELEASE);
    __atomic_signal_fence(__ATOMIC_SEQ_CST);
    locking = 0;
}

int vgpu_is_locking(void) {
    return locking;
}

/* At dlclose: gives back what this library has mapped and allocated, so that load and unload can be repeated. At the
 * end of a program the same function runs; a destructor that runs later and calls in finds a state that has not been
 * used, and sets it up again. With threads about, one of them may be in a call: then all stays as it is. */
static void __attribute__((destructor)) unload(void) {
    if (own.started == 2 && __libc_single_threaded) {
        release(&own);
        /* Facts beyond the first are never gathered here, and so those pages stay unused. */
        memset(&own, 0, offsetof(struct vgpu_process, facts.arguments));
        starter = 0;
    }
}
