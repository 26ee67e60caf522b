/* MIG: the mode, and MIG devices by their handles. What instances there are is kept here: those of the host image,
 * until the program makes others. */
#include "nvml/mig.h"

#include <stdlib.h>

#include "vgpu/image.h"

static uint32_t place_of(struct vgpu_process *process, const struct vgpu_gpu *gpu) {
    return (uint32_t)(gpu - vgpu_image_gpu(process->image, 0));
}

static const struct vgpu_mig_profile *profile_of(struct vgpu_process *process, const struct vgpu_gpu *gpu,
                                                 uint32_t profile) {
    const struct vgpu_mig_profile *all = vgpu_image_mig_profiles(process->image, gpu);
    for (uint32_t i = 0; i < gpu->mig_profiles.count; i++) {
        if (all[i].profile == profile) {
            return &all[i];
        }
    }
    return NULL;
}

/* The instance of an id: there already, or put into the first free place. */
static struct nvmlGpuInstance_st *instance_for(struct nvmlGpuInstance_st *instances, unsigned int id) {
    for (uint32_t i = 0; i < VGPU_NVML_INSTANCES; i++) {
        if (!instances[i].used || instances[i].id == id) {
            return &instances[i];
        }
    }
    return NULL;
}

static void take_image(struct vgpu_process *process, uint32_t place) {
    const struct vgpu_gpu *gpu = vgpu_image_gpu(process->image, place);
    const struct vgpu_mig_device *devices = vgpu_image_migs(process->image, gpu);
    for (uint32_t i = 0; i < gpu->migs.count; i++) {
        struct nvmlGpuInstance_st *instance =
            instance_for(process->nvml->mig->instance[place], devices[i].gpu_instance);
        const struct vgpu_mig_profile *profile = profile_of(process, gpu, devices[i].profile);
        if (instance == NULL || profile == NULL) {
            continue;
        }
        instance->used = 1;
        instance->gpu = place;
        instance->id = devices[i].gpu_instance;
        instance->start = devices[i].start;
        instance->profile = profile;
        unsigned int start = 0;
        uint32_t n = 0;
        while (n < VGPU_NVML_INSTANCES && instance->compute[n].used) {
            start += instance->compute[n++].device.compute_slices;
        }
        if (n < VGPU_NVML_INSTANCES) {
            instance->compute[n] = (struct nvmlComputeInstance_st){1, instance, start, devices[i]};
        }
    }
}

struct nvmlGpuInstance_st *vgpu_nvml_instances(struct vgpu_process *process, const struct vgpu_gpu *gpu) {
    if (process->nvml->mig == NULL) {
        process->nvml->mig = calloc(1, sizeof(*process->nvml->mig));
        if (process->nvml->mig == NULL) {
            return NULL;
        }
        for (uint32_t i = 0; i < process->image->gpus.count; i++) {
            take_image(process, i);
        }
    }
    return process->nvml->mig->instance[place_of(process, gpu)];
}

int vgpu_nvml_has_mig(struct vgpu_process *process, const struct vgpu_gpu *gpu) {
    int64_t mode;
    return vgpu_nvml_get(process, gpu, VGPU_PROPERTY_MIG, 0, &mode);
}

int vgpu_nvml_mig_is_on(struct vgpu_process *process, const struct vgpu_gpu *gpu) {
    return vgpu_nvml_get_or(process, gpu, VGPU_PROPERTY_MIG, 0, 0) != 0;
}

int vgpu_nvml_runs_on(struct vgpu_process *process, const struct vgpu_gpu *gpu, const struct vgpu_gpu_process *user,
                      const struct vgpu_mig_device *device) {
    if (user->mig == 0 || user->mig > gpu->migs.count) {
        return 0;
    }
    const struct vgpu_mig_device *own = &vgpu_image_migs(process->image, gpu)[user->mig - 1];
    return own->gpu_instance == device->gpu_instance && own->compute_instance == device->compute_instance;
}

int vgpu_nvml_mig_is_used(struct vgpu_process *process, const struct vgpu_gpu *gpu,
                          const struct vgpu_mig_device *device) {
    const struct vgpu_gpu_process *users = vgpu_image_processes(process->image, gpu);
    for (uint32_t i = 0; i < gpu->processes.count; i++) {
        if (vgpu_nvml_runs_on(process, gpu, &users[i], device)) {
            return 1;
        }
    }
    return 0;
}

struct nvmlGpuInstance_st *vgpu_nvml_gpu_instance(struct vgpu_process *process, nvmlGpuInstance_t handle) {
    for (uint32_t i = 0; i < process->image->gpus.count; i++) {
        struct nvmlGpuInstance_st *instances = vgpu_nvml_instances(process, vgpu_image_gpu(process->image, i));
        for (uint32_t k = 0; instances != NULL && k < VGPU_NVML_INSTANCES; k++) {
            if (&instances[k] == handle && instances[k].used) {
                return vgpu_nvml_is_there(process, i) ? &instances[k] : NULL;
            }
        }
    }
    return NULL;
}

/* The `n`th compute instance of a GPU that is in use; NULL: there are not so many. */
static struct nvmlComputeInstance_st *nth(struct vgpu_process *process, const struct vgpu_gpu *gpu, uint32_t n) {
    struct nvmlGpuInstance_st *instances = vgpu_nvml_instances(process, gpu);
    for (uint32_t i = 0; instances != NULL && i < VGPU_NVML_INSTANCES * VGPU_NVML_INSTANCES; i++) {
        struct nvmlGpuInstance_st *parent = &instances[i / VGPU_NVML_INSTANCES];
        struct nvmlComputeInstance_st *compute = &parent->compute[i % VGPU_NVML_INSTANCES];
        if (parent->used && compute->used && n-- == 0) {
            return compute;
        }
    }
    return NULL;
}

/* A MIG device's handle is the address of its facts, which nobody reads by it. */
static nvmlDevice_t handle_of(struct nvmlComputeInstance_st *compute) {
    return (nvmlDevice_t)(void *)&compute->device;
}

const struct vgpu_mig_device *vgpu_nvml_nth_mig(struct vgpu_process *process, const struct vgpu_gpu *gpu, uint32_t n,
                                                nvmlDevice_t *device) {
    struct nvmlComputeInstance_st *compute = vgpu_nvml_mig_is_on(process, gpu) ? nth(process, gpu, n) : NULL;
    if (compute == NULL) {
        return NULL;
    }
    *device = handle_of(compute);
    return &compute->device;
}

const struct vgpu_mig_device *vgpu_nvml_mig(struct vgpu_process *process, nvmlDevice_t device,
                                            const struct vgpu_gpu **gpu) {
    for (uint32_t i = 0; i < process->image->gpus.count; i++) {
        *gpu = vgpu_image_gpu(process->image, i);
        nvmlDevice_t handle;
        const struct vgpu_mig_device *mig;
        for (uint32_t n = 0; (mig = vgpu_nvml_nth_mig(process, *gpu, n, &handle)) != NULL; n++) {
            if (handle == device && vgpu_nvml_is_there(process, i)) {
                return mig;
            }
        }
    }
    *gpu = NULL;
    return NULL;
}

nvmlReturn_t vgpu_nvmlDeviceGetMigMode(struct vgpu_process *process, struct vgpu_call *call, nvmlDevice_t device,
                                       unsigned int *currentMode, unsigned int *pendingMode) {
    const struct vgpu_gpu *gpu = vgpu_nvml_gpu(process, device);
    if (gpu == NULL || currentMode == NULL || pendingMode == NULL) {
        return NVML_ERROR_INVALID_ARGUMENT;
    }
    if (!vgpu_nvml_has_mig(process, gpu)) {
        return NVML_ERROR_NOT_SUPPORTED;
    }
    int mode = vgpu_nvml_mig_is_on(process, gpu);
    vgpu_nvml_say(call, gpu, currentMode, mode);
    return vgpu_nvml_say(call, gpu, pendingMode, vgpu_nvml_get_or(process, gpu, VGPU_PROPERTY_MIG_NEXT, 0, mode));
}

static int has_instances(struct vgpu_process *process, const struct vgpu_gpu *gpu) {
    struct nvmlGpuInstance_st *instances = vgpu_nvml_instances(process, gpu);
    for (uint32_t i = 0; instances != NULL && i < VGPU_NVML_INSTANCES; i++) {
        if (instances[i].used) {
            return 1;
        }
    }
    return 0;
}

/* Before Hopper the mode waits for a reset of the GPU (MIG User Guide); it is in the way of nobody's instances. */
nvmlReturn_t vgpu_nvmlDeviceSetMigMode(struct vgpu_process *process, struct vgpu_call *call, nvmlDevice_t device,
                                       unsigned int mode, nvmlReturn_t *activationStatus) {
    const struct vgpu_gpu *gpu;
    nvmlReturn_t refusal = vgpu_nvml_settable(process, device, &gpu);
    if (refusal == NVML_ERROR_INVALID_ARGUMENT || activationStatus == NULL || mode > 1) {
        return NVML_ERROR_INVALID_ARGUMENT;
    }
    if (refusal != NVML_SUCCESS) {
        return refusal;
    }
    if (!vgpu_nvml_has_mig(process, gpu)) {
        return NVML_ERROR_NOT_SUPPORTED;
    }
    vgpu_nvml_say_pci(call, gpu);
    *activationStatus = NVML_SUCCESS;
    vgpu_call_output(call, activationStatus, sizeof(*activationStatus));
    if ((int)mode == vgpu_nvml_mig_is_on(process, gpu)) {
        vgpu_nvml_unset(process, gpu, VGPU_PROPERTY_MIG_NEXT, 0);
        return NVML_SUCCESS;
    }
    if (gpu->processes.count > 0 || has_instances(process, gpu)) {
        *activationStatus = NVML_ERROR_IN_USE;
        return vgpu_nvml_set(process, gpu, VGPU_PROPERTY_MIG_NEXT, 0, mode);
    }
    if (!vgpu_nvml_is_since(gpu, 9, 0)) {
        *activationStatus = NVML_ERROR_RESET_REQUIRED;
        return vgpu_nvml_set(process, gpu, VGPU_PROPERTY_MIG_NEXT, 0, mode);
    }
    return vgpu_nvml_set(process, gpu, VGPU_PROPERTY_MIG, 0, mode);
}

nvmlReturn_t vgpu_nvmlDeviceIsMigDeviceHandle(struct vgpu_process *process, struct vgpu_call *call, nvmlDevice_t device,
                                              unsigned int *isMigDevice) {
    const struct vgpu_gpu *gpu = vgpu_nvml_gpu(process, device);
    int is_whole = gpu != NULL;
    int is_part = !is_whole && vgpu_nvml_mig(process, device, &gpu) != NULL;
    if ((!is_whole && !is_part) || isMigDevice == NULL) {
        return NVML_ERROR_INVALID_ARGUMENT;
    }
    return vgpu_nvml_say(call, gpu, isMigDevice, is_part);
}

/* How a question about a MIG device begins: INVALID_ARGUMENT, NOT_SUPPORTED for a whole GPU, or SUCCESS. */
static nvmlReturn_t begin(struct vgpu_process *process, nvmlDevice_t device, const void *to,
                          const struct vgpu_mig_device **mig, const struct vgpu_gpu **gpu) {
    if (to == NULL) {
        return NVML_ERROR_INVALID_ARGUMENT;
    }
    *mig = vgpu_nvml_mig(process, device, gpu);
    if (*mig != NULL) {
        return NVML_SUCCESS;
    }
    return vgpu_nvml_gpu(process, device) != NULL ? NVML_ERROR_NOT_SUPPORTED : NVML_ERROR_INVALID_ARGUMENT;
}

nvmlReturn_t vgpu_nvmlDeviceGetGpuInstanceId(struct vgpu_process *process, struct vgpu_call *call, nvmlDevice_t device,
                                             unsigned int *id) {
    const struct vgpu_gpu *gpu;
    const struct vgpu_mig_device *mig;
    nvmlReturn_t refusal = begin(process, device, id, &mig, &gpu);
    return refusal == NVML_SUCCESS ? vgpu_nvml_say(call, gpu, id, mig->gpu_instance) : refusal;
}

nvmlReturn_t vgpu_nvmlDeviceGetComputeInstanceId(struct vgpu_process *process, struct vgpu_call *call,
                                                 nvmlDevice_t device, unsigned int *id) {
    const struct vgpu_gpu *gpu;
    const struct vgpu_mig_device *mig;
    nvmlReturn_t refusal = begin(process, device, id, &mig, &gpu);
    return refusal == NVML_SUCCESS ? vgpu_nvml_say(call, gpu, id, mig->compute_instance) : refusal;
}

nvmlReturn_t vgpu_nvmlDeviceGetDeviceHandleFromMigDeviceHandle(struct vgpu_process *process, struct vgpu_call *call,
                                                               nvmlDevice_t migDevice, nvmlDevice_t *device) {
    const struct vgpu_gpu *gpu;
    const struct vgpu_mig_device *mig;
    nvmlReturn_t refusal = begin(process, migDevice, device, &mig, &gpu);
    if (refusal == NVML_SUCCESS) {
        *device = vgpu_nvml_handle(process, place_of(process, gpu));
        vgpu_nvml_say_pci(call, gpu);
    }
    return refusal;
}

/* As many as there are compute slices; 0 while the mode is off or not there (doc). */
static unsigned int most(struct vgpu_process *process, const struct vgpu_gpu *gpu) {
    const struct vgpu_mig_profile *all = vgpu_image_mig_profiles(process->image, gpu);
    unsigned int count = 0;
    for (uint32_t i = 0; vgpu_nvml_mig_is_on(process, gpu) && i < gpu->mig_profiles.count; i++) {
        count = all[i].compute_slices > count ? all[i].compute_slices : count;
    }
    return count;
}

nvmlReturn_t vgpu_nvmlDeviceGetMaxMigDeviceCount(struct vgpu_process *process, struct vgpu_call *call,
                                                 nvmlDevice_t device, unsigned int *count) {
    const struct vgpu_gpu *gpu = vgpu_nvml_gpu(process, device);
    if (gpu == NULL || count == NULL) {
        return NVML_ERROR_INVALID_ARGUMENT;
    }
    return vgpu_nvml_say(call, gpu, count, most(process, gpu));
}

nvmlReturn_t vgpu_nvmlDeviceGetMigDeviceHandleByIndex(struct vgpu_process *process, struct vgpu_call *call,
                                                      nvmlDevice_t device, unsigned int index,
                                                      nvmlDevice_t *migDevice) {
    const struct vgpu_gpu *gpu = vgpu_nvml_gpu(process, device);
    if (gpu == NULL || migDevice == NULL) {
        return NVML_ERROR_INVALID_ARGUMENT;
    }
    if (!vgpu_nvml_has_mig(process, gpu)) {
        return NVML_ERROR_NOT_SUPPORTED;
    }
    vgpu_nvml_say_pci(call, gpu);
    return vgpu_nvml_nth_mig(process, gpu, index, migDevice) != NULL ? NVML_SUCCESS : NVML_ERROR_NOT_FOUND;
}

/* Engines are shared by the compute instances of a GPU instance. */
nvmlReturn_t vgpu_nvmlDeviceGetAttributes_v2(struct vgpu_process *process, struct vgpu_call *call, nvmlDevice_t device,
                                             nvmlDeviceAttributes_t *attributes) {
    const struct vgpu_gpu *gpu;
    const struct vgpu_mig_device *mig;
    nvmlReturn_t refusal = begin(process, device, attributes, &mig, &gpu);
    if (refusal != NVML_SUCCESS) {
        return refusal;
    }
    const struct vgpu_mig_profile *profile = profile_of(process, gpu, mig->profile);
    *attributes = (nvmlDeviceAttributes_t){
        .sharedCopyEngineCount = profile->copy_engines,
        .sharedDecoderCount = profile->decoders,
        .sharedEncoderCount = profile->encoders,
        .sharedJpegCount = profile->jpegs,
        .sharedOfaCount = profile->ofas,
        .gpuInstanceSliceCount = profile->compute_slices,
        .computeInstanceSliceCount = mig->compute_slices,
        .memorySizeMB = mig->memory >> 20,
    };
    return vgpu_nvml_say(call, gpu, &attributes->multiprocessorCount, mig->multiprocessors);
}

nvmlReturn_t vgpu_nvmlDeviceGetAttributes(struct vgpu_process *process, struct vgpu_call *call, nvmlDevice_t device,
                                          nvmlDeviceAttributes_t *attributes) {
    return vgpu_nvmlDeviceGetAttributes_v2(process, call, device, attributes);
}
