/* nvmlInit and nvmlShutdown count: the last shutdown ends what the first init began. */
#include <stdlib.h>

#include "nvml/model.h"

static nvmlReturn_t init(struct vgpu_process *process) {
    if (process->image == NULL) {
        return NVML_ERROR_DRIVER_NOT_LOADED;
    }
    process->nvml->references++;
    process->nvml->was_initialised = 1;
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

enum { OLD_BRANCH = 535 };

/* Where no init has succeeded, 535.261.03 answers 0 (measured, before an init and after a failed one), and 590.48.01
 * answers 1 (the lupine project); from when on is not known. One more than inits is an error for both (cuda-python's
 * tests; nvml.h says both). */
static nvmlReturn_t never_initialised(const struct vgpu_image *image) {
    return atoi(image->driver.version) <= OLD_BRANCH ? NVML_SUCCESS : NVML_ERROR_UNINITIALIZED;
}

nvmlReturn_t vgpu_nvmlShutdown(struct vgpu_process *process, struct vgpu_call *call) {
    (void)call;
    if (process->image == NULL) {
        return NVML_SUCCESS;
    }
    if (process->nvml->references == 0) {
        return process->nvml->was_initialised ? NVML_ERROR_UNINITIALIZED : never_initialised(process->image);
    }
    process->nvml->references--;
    return NVML_SUCCESS;
}
