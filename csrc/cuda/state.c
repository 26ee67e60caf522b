#include <stdlib.h>

#include "cuda/model.h"

static void free_state(struct vgpu_process *process) {
    struct vgpu_cuda *cuda = process->cuda;
    vgpu_objects_free_all(process);
    vgpu_stacks_free(cuda);
    vgpu_contexts_free(cuda);
    vgpu_peers_drop(cuda, NULL);
    vgpu_coredumps_drop(cuda, NULL);
    vgpu_memory_free_all(cuda);
    vgpu_vmm_free_all(cuda);
    free(cuda);
    process->cuda = NULL;
}

int vgpu_cuda_make(struct vgpu_process *process) {
    if (process->cuda == NULL) {
        process->cuda = calloc(1, sizeof(*process->cuda));
        process->free_cuda = free_state;
    }
    if (process->cuda == NULL) {
        process->free_cuda = NULL;
    }
    return process->cuda != NULL;
}
