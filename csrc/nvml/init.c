/* nvmlInit and nvmlShutdown count: the last shutdown ends what the first init began. */
#include "nvml/model.h"

static nvmlReturn_t init(struct vgpu_process *process) {
    if (process->image == NULL) {
        return NVML_ERROR_DRIVER_NOT_LOADED;
    }
    process->nvml->references++;
    return NVML_SUCCESS;
}

nvmlReturn_t vgpu_nvmlInit(struct vgpu_process *process, struct vgpu_call *call) {
    (void)call;
    return init(process);
}

nvmlReturn_t vgpu_nvmlInit_v2(struct vgpu_process *process, struct vgpu_call *call) {
    (void)call;
    return init(process);
}

/* nvml.h names no wrong flag. Both known ones (no GPUs, no attach) only lift demands that this host always meets. */
nvmlReturn_t vgpu_nvmlInitWithFlags(struct vgpu_process *process, struct vgpu_call *call, unsigned int flags) {
    (void)call;
    (void)flags;
    return init(process);
}

/* One more than inits is an error (the lupine project, on 590.48.01; cuda-python's tests; nvml.h says both). Without a
 * driver 535.261.03 answers 0 (measured). */
nvmlReturn_t vgpu_nvmlShutdown(struct vgpu_process *process, struct vgpu_call *call) {
    (void)call;
    if (process->image == NULL) {
        return NVML_SUCCESS;
    }
    if (process->nvml->references == 0) {
        return NVML_ERROR_UNINITIALIZED;
    }
    process->nvml->references--;
    return NVML_SUCCESS;
}
