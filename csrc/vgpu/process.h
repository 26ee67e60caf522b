/* The state of one shim in one process, and the way every entry point goes: ensure_init, fault, model, trace.
 *
 * Every function of the models takes a struct vgpu_process. The preloadable libraries have one of their own each
 * (vgpu_self); a test makes as many as it likes (vgpu_process_new). */
#ifndef VGPU_PROCESS_H
#define VGPU_PROCESS_H

#include "vgpu/gate.h"
#include "vgpu/trace.h"
#include "vgpu/wire.h"

enum {
    VGPU_ENTRY_NAME_SIZE = 64, /* bytes for an entry point's name in a list of them; the longest has 53 */
};

enum vgpu_image_state {
    VGPU_IMAGE_NONE = 0, /* VGPU_HOST is not set: the shim is transparent */
    VGPU_IMAGE_MAPPED = 1,
    VGPU_IMAGE_REFUSED = 2, /* the reason is in the trace */
};

/* Lives on a page of its own that the kernel clears in a forked child (MADV_WIPEONFORK): so locks are free there and
 * `alive` is 0, without pthread_atfork. A vfork child shares the page, and sees 1. */
struct vgpu_fork_page {
    uint32_t alive;
    uint32_t lock;
};

struct vgpu_cuda; /* the CUDA model's state, csrc/cuda */
struct vgpu_nvml; /* NVML's, csrc/nvml */

struct vgpu_process {
    uint32_t started; /* atomic: 2 once it is set up */
    uint32_t image_state;
    const struct vgpu_image *image;
    struct vgpu_trace trace;
    uint32_t library;     /* enum vgpu_library: which shim this is, VGPU_LIBRARY_NONE in a test's own state */
    uint32_t gate;        /* atomic: 0 not asked, else 1 + enum vgpu_ready (too early is never kept) */
    uint32_t calls;       /* atomic: for facts.calls_before */
    uint32_t fixed_facts; /* 1: a test has set `facts` */
    struct vgpu_fork_page *fork_page;
    struct vgpu_fork_page spare_page;      /* where the kernel gives no page: forks go unnoticed, all else works */
    uint32_t fault_calls[VGPU_FAULTS_MAX]; /* atomic: calls counted by fault i, for `after` and `times` */
    uint32_t lost;                         /* atomic: bit N: GPU N has fallen off the bus */
    uint32_t about;                        /* bit N: the call that holds the lock is about GPU N */
    /* Each made by its model at first use, under the lock, together with the function that frees it. */
    struct vgpu_cuda *cuda;
    struct vgpu_nvml *nvml;
    void (*free_cuda)(struct vgpu_process *process);
    void (*free_nvml)(struct vgpu_process *process);
    struct vgpu_facts facts; /* those that every process has; all of them where a test has set them */
};

/* A test's own state. `host` and `trace` are paths or NULL. NULL: no memory. */
struct vgpu_process *vgpu_process_new(const char *host, const char *trace);
void vgpu_process_free(struct vgpu_process *process);
void vgpu_process_set_facts(struct vgpu_process *process, const struct vgpu_facts *facts);

/* The state of the shim this is compiled into; VGPU_HOST and VGPU_TRACE are read at its first use. */
struct vgpu_process *vgpu_self(void);

/* Asks the gate, once it has an answer that lasts. Writes INIT, REFUSED and GATE records. */
enum vgpu_ready ensure_init(struct vgpu_process *process);

/* 1, once, in a child that was forked since the last call: the caller puts its own state right. Under the lock. */
int vgpu_process_forked(struct vgpu_process *process);

void vgpu_lock(struct vgpu_process *process);
void vgpu_unlock(struct vgpu_process *process);

/* 1: this thread is between vgpu_lock and vgpu_unlock. Who asks is a signal handler that has interrupted it, and would
 * wait for itself. */
int vgpu_is_locking(void);

/* csrc/vgpu/identity.c, compiled once for each library: which one this is, and a hash of csrc/. */
extern const uint32_t vgpu_this_library;
const char *vgpu_build_id(void);

/* A model calls it for each GPU (of the image) that a call is about, under the lock, before it writes an output or
 * changes its state. 1: the GPU has fallen off the bus, or a fault for it answers this call; the model stops, and
 * vgpu_call_end gives the answer. */
int vgpu_gpu_lost(struct vgpu_process *process, uint32_t gpu);

#endif
