/* What the threads of the stress program do. */
#ifndef VGPU_STRESS_WORK_H
#define VGPU_STRESS_WORK_H

#include <stdint.h>

#include "cuda/api.h"
#include "nvml/api.h"

enum { SLOTS = 16 };

struct worker {
    struct vgpu_process *process;
    uint64_t random;
    uint64_t calls; /* of either API */
    uint64_t inits; /* those that write a second record, as they may take long */
    uint64_t wrong; /* answers that nobody else's calls explain */
    const char *first_wrong;
    CUcontext context; /* the primary one, shared by all */
    CUdeviceptr memory[SLOTS];
    unsigned char mark[SLOTS]; /* what the memory is full of */
    CUstream streams[SLOTS];
    CUevent events[SLOTS];
};

enum { BLOCK = 4096 };

/* One call, or a few that belong together. */
void work(struct worker *self);

/* Gives all back that this worker still holds. */
void finish(struct worker *self);

#endif
