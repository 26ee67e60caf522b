#include <stdlib.h>
#include <string.h>

#include "nvml/ask.h"

static void free_state(struct vgpu_process *process) {
    vgpu_nvml_free_events(process->nvml);
    vgpu_nvml_free_samples(process->nvml);
    free(process->nvml->mig);
    free(process->nvml->settings);
    free(process->nvml);
    process->nvml = NULL;
}

static int make(struct vgpu_process *process) {
    struct vgpu_nvml *nvml = calloc(1, sizeof(*nvml));
    struct vgpu_nvml_settings *settings = calloc(1, sizeof(*settings));
    if (nvml == NULL || settings == NULL) {
        free(nvml);
        free(settings);
        return 0;
    }
    nvml->settings = settings;
    process->nvml = nvml;
    process->free_nvml = free_state;
    return 1;
}

int vgpu_nvml_make(struct vgpu_process *process) {
    if (process->nvml == NULL) {
        return make(process);
    }
    if (process->nvml->model.forked) {
        struct vgpu_nvml_settings *settings = process->nvml->settings;
        struct vgpu_nvml_mig *mig = process->nvml->mig;
        vgpu_nvml_free_events(process->nvml);
        vgpu_nvml_free_samples(process->nvml);
        memset(process->nvml, 0, sizeof(*process->nvml));
        process->nvml->settings = settings;
        process->nvml->mig = mig;
    }
    return 1;
}
