/* The end of a program: what its exit handlers and destructors are answered.
 *
 * CUDA_ERROR_DEINITIALIZED is for calls after the driver has shut down (cuda.h), and NVIDIA's library shuts down in an
 * exit handler of its own. Handlers run last in, first out: those that a program registered after cuInit still have a
 * driver, those from before cuInit, and destructors, have none. The handler is this library's alone: at dlclose it
 * runs, too, and is gone with it. */
#include "cuda/model.h"

/* What is below atexit; of the C++ ABI for Itanium, section 3.3.6. */
int __cxa_atexit(void (*end)(void *), void *argument, void *handle);
void __cxa_finalize(void *handle);

static uint32_t registered;
static uint32_t ended;

static void end(void *unused) {
    (void)unused;
    __atomic_store_n(&ended, 1, __ATOMIC_RELAXED);
}

static int handle; /* its address is what this library's handler is registered for */

/* At dlclose; see the destructor of vgpu/process.c. gcc's start files would do this, and cost the start of every
 * program (benchmarks/start.py). */
static void __attribute__((destructor)) unload(void) {
    if (registered) {
        __cxa_finalize(&handle);
    }
}

/* A test's own state is not the program's: it lives on at exit. */
static int is_own(const struct vgpu_process *process) {
    return process->library == VGPU_LIBRARY_CUDA;
}

void vgpu_cuda_end_at_exit(struct vgpu_process *process) {
    if (is_own(process) && !registered) {
        registered = __cxa_atexit(end, NULL, &handle) == 0;
    }
}

int vgpu_cuda_has_ended(const struct vgpu_process *process) {
    return is_own(process) && __atomic_load_n(&ended, __ATOMIC_RELAXED);
}
