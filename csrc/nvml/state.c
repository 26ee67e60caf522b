#include <stdlib.h>
#include <string.h>

#include "nvml/model.h"

static void free_state(struct vgpu_process *process) {
    free(process->nvml);
    process->nvml = NULL;
}

int vgpu_nvml_make(struct vgpu_process *process) {
    if (process->nvml == NULL) {
        process->nvml = calloc(1, sizeof(*process->nvml));
        process->free_nvml = process->nvml != NULL ? free_state : NULL;
    }
    if (process->nvml != NULL && process->nvml->model.forked) {
        memset(process->nvml, 0, sizeof(*process->nvml));
    }
    return process->nvml != NULL;
}
