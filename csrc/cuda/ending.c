/* The end of a program: what its exit handlers and destructors are answered.
 *
 * CUDA_ERROR_DEINITIALIZED is for calls after the driver has shut down (cuda.h), and NVIDIA's library shuts down in an
 * exit handler of its own. Handlers run last in, first out: those that a program registered after cuInit still have a
 * driver, those from before cuInit, and destructors, have none. atexit in a shared library is for this library alone:
 * at dlclose the handler runs, too, and is gone with it. */
#include <stdlib.h>

#include "cuda/model.h"

static uint32_t registered;
static uint32_t ended;

static void end(void) {
    __atomic_store_n(&ended, 1, __ATOMIC_RELAXED);
}

/* A test's own state is not the program's: it lives on at exit. */
static int is_own(const struct vgpu_process *process) {
    return process->library == VGPU_LIBRARY_CUDA;
}

void vgpu_cuda_end_at_exit(struct vgpu_process *process) {
    if (is_own(process) && !registered) {
        registered = atexit(end) == 0;
    }
}

int vgpu_cuda_has_ended(const struct vgpu_process *process) {
    return is_own(process) && __atomic_load_n(&ended, __ATOMIC_RELAXED);
}
