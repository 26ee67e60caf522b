/* GPU instances: what they can be, making and taking them, which there are. A GPU's memory slices are dealt out to them
 * from the starts that each profile allows; compute slices are limited, too. */
#include <string.h>

#include "nvml/mig.h"
#include "vgpu/image.h"

/* A profile by NVML_GPU_INSTANCE_PROFILE_*, or by its id; NULL: the GPU has none such. */
static const struct vgpu_mig_profile *profile_by(struct vgpu_process *process, const struct vgpu_gpu *gpu, int by_id,
                                                 unsigned int number) {
    const struct vgpu_mig_profile *all = vgpu_image_mig_profiles(process->image, gpu);
    for (uint32_t i = 0; i < gpu->mig_profiles.count; i++) {
        if ((by_id ? all[i].id : all[i].profile) == number) {
            return &all[i];
        }
    }
    return NULL;
}

/* How a question begins: INVALID_ARGUMENT, NOT_SUPPORTED without MIG, or SUCCESS, the GPU and the profile. */
static nvmlReturn_t begin(struct vgpu_process *process, nvmlDevice_t device, const void *to, int by_id,
                          unsigned int number, const struct vgpu_gpu **gpu, const struct vgpu_mig_profile **profile) {
    enum { PROFILES = 18 }; /* NVML_GPU_INSTANCE_PROFILE_COUNT */
    *gpu = vgpu_nvml_gpu(process, device);
    if (*gpu == NULL || to == NULL || (!by_id && number >= PROFILES)) {
        return NVML_ERROR_INVALID_ARGUMENT;
    }
    if (!vgpu_nvml_has_mig(process, *gpu)) {
        return NVML_ERROR_NOT_SUPPORTED;
    }
    *profile = profile_by(process, *gpu, by_id, number);
    if (*profile != NULL) {
        return NVML_SUCCESS;
    }
    return by_id ? NVML_ERROR_INVALID_ARGUMENT : NVML_ERROR_NOT_SUPPORTED;
}

static nvmlReturn_t info_v2(struct vgpu_process *process, struct vgpu_call *call, const struct vgpu_gpu *gpu,
                            const struct vgpu_mig_profile *profile, nvmlGpuInstanceProfileInfo_v2_t *info) {
    *info = (nvmlGpuInstanceProfileInfo_v2_t){
        .version = info->version,
        .id = profile->id,
        .sliceCount = profile->compute_slices,
        .instanceCount = profile->instances,
        .multiprocessorCount = profile->multiprocessors,
        .copyEngineCount = profile->copy_engines,
        .decoderCount = profile->decoders,
        .encoderCount = profile->encoders,
        .jpegCount = profile->jpegs,
        .ofaCount = profile->ofas,
        .memorySizeMB = profile->memory >> 20,
    };
    strncpy(info->name, vgpu_image_text(process->image, profile->name), sizeof(info->name) - 1);
    vgpu_nvml_say(call, gpu, &info->id, info->id);
    return vgpu_nvml_say(call, gpu, &info->sliceCount, info->sliceCount);
}

nvmlReturn_t vgpu_nvmlDeviceGetGpuInstanceProfileInfo(struct vgpu_process *process, struct vgpu_call *call,
                                                      nvmlDevice_t device, unsigned int profile,
                                                      nvmlGpuInstanceProfileInfo_t *info) {
    const struct vgpu_gpu *gpu;
    const struct vgpu_mig_profile *found;
    nvmlReturn_t refusal = begin(process, device, info, 0, profile, &gpu, &found);
    if (refusal != NVML_SUCCESS) {
        return refusal;
    }
    struct vgpu_call aside = {.process = process};
    nvmlGpuInstanceProfileInfo_v2_t whole = {0};
    info_v2(process, &aside, gpu, found, &whole);
    memcpy(info, &whole.id, offsetof(nvmlGpuInstanceProfileInfo_t, memorySizeMB));
    info->memorySizeMB = whole.memorySizeMB;
    vgpu_nvml_say(call, gpu, &info->id, info->id);
    return vgpu_nvml_say(call, gpu, &info->sliceCount, info->sliceCount);
}

static nvmlReturn_t info_of(struct vgpu_process *process, struct vgpu_call *call, nvmlDevice_t device, int by_id,
                            unsigned int number, nvmlGpuInstanceProfileInfo_v2_t *info) {
    const struct vgpu_gpu *gpu;
    const struct vgpu_mig_profile *found;
    nvmlReturn_t refusal = begin(process, device, info, by_id, number, &gpu, &found);
    if (info != NULL && vgpu_nvml_gpu(process, device) != NULL &&
        info->version != VGPU_NVML_STRUCT(nvmlGpuInstanceProfileInfo_v2_t, 2)) {
        return NVML_ERROR_ARGUMENT_VERSION_MISMATCH;
    }
    return refusal == NVML_SUCCESS ? info_v2(process, call, gpu, found, info) : refusal;
}

nvmlReturn_t vgpu_nvmlDeviceGetGpuInstanceProfileInfoV(struct vgpu_process *process, struct vgpu_call *call,
                                                       nvmlDevice_t device, unsigned int profile,
                                                       nvmlGpuInstanceProfileInfo_v2_t *info) {
    return info_of(process, call, device, 0, profile, info);
}

nvmlReturn_t vgpu_nvmlDeviceGetGpuInstanceProfileInfoByIdV(struct vgpu_process *process, struct vgpu_call *call,
                                                           nvmlDevice_t device, unsigned int profileId,
                                                           nvmlGpuInstanceProfileInfo_v2_t *info) {
    return info_of(process, call, device, 1, profileId, info);
}

nvmlReturn_t vgpu_nvmlDeviceGetGpuInstancePossiblePlacements_v2(struct vgpu_process *process, struct vgpu_call *call,
                                                                nvmlDevice_t device, unsigned int profileId,
                                                                nvmlGpuInstancePlacement_t *placements,
                                                                unsigned int *count) {
    const struct vgpu_gpu *gpu;
    const struct vgpu_mig_profile *profile;
    nvmlReturn_t refusal = begin(process, device, count, 1, profileId, &gpu, &profile);
    if (refusal != NVML_SUCCESS) {
        return refusal;
    }
    unsigned int there = (unsigned int)__builtin_popcount(profile->starts);
    unsigned int room = *count;
    vgpu_nvml_say(call, gpu, count, there);
    if (placements == NULL) {
        return NVML_SUCCESS;
    }
    if (room < there) {
        return NVML_ERROR_INSUFFICIENT_SIZE;
    }
    for (unsigned int start = 0; start < 32; start++) {
        if ((profile->starts >> start & 1) != 0) {
            *placements++ = (nvmlGpuInstancePlacement_t){start, profile->memory_slices};
        }
    }
    return NVML_SUCCESS;
}

nvmlReturn_t vgpu_nvmlDeviceGetGpuInstancePossiblePlacements(struct vgpu_process *process, struct vgpu_call *call,
                                                             nvmlDevice_t device, unsigned int profileId,
                                                             nvmlGpuInstancePlacement_t *placements,
                                                             unsigned int *count) {
    return vgpu_nvmlDeviceGetGpuInstancePossiblePlacements_v2(process, call, device, profileId, placements, count);
}

/* What instances have taken. */
struct taken {
    uint32_t memory;      /* bit N: memory slice N */
    uint64_t bytes;       /* of memory */
    unsigned int compute; /* slices */
    unsigned int alike;   /* instances of the profile */
};

static void take(struct taken *taken, const struct vgpu_mig_profile *profile, unsigned int start) {
    taken->memory |= ((1u << profile->memory_slices) - 1) << start;
    taken->bytes += profile->memory;
    taken->compute += profile->compute_slices;
}

static struct taken taken_of(struct nvmlGpuInstance_st *instances, const struct vgpu_mig_profile *profile) {
    struct taken taken = {0};
    for (uint32_t i = 0; i < VGPU_NVML_INSTANCES; i++) {
        if (instances[i].used) {
            take(&taken, instances[i].profile, instances[i].start);
            taken.alike += instances[i].profile == profile;
        }
    }
    return taken;
}

static unsigned int compute_slices(struct vgpu_process *process, const struct vgpu_gpu *gpu) {
    const struct vgpu_mig_profile *all = vgpu_image_mig_profiles(process->image, gpu);
    unsigned int most = 0;
    for (uint32_t i = 0; i < gpu->mig_profiles.count; i++) {
        most = all[i].compute_slices > most ? all[i].compute_slices : most;
    }
    return most;
}

/* A host file can give a GPU less memory than its model has. */
static int fits(const struct taken *taken, const struct vgpu_gpu *gpu, const struct vgpu_mig_profile *profile,
                unsigned int start, unsigned int slices) {
    uint32_t wanted = ((1u << profile->memory_slices) - 1) << start;
    return (profile->starts >> start & 1) != 0 && (taken->memory & wanted) == 0 &&
           taken->bytes + profile->memory <= gpu->memory_total && taken->compute + profile->compute_slices <= slices &&
           taken->alike < profile->instances;
}

/* The same, and the right to ask (doc: a privileged user), and the mode. */
static nvmlReturn_t begin_as_root(struct vgpu_process *process, nvmlDevice_t device, const void *to,
                                  unsigned int profileId, const struct vgpu_gpu **gpu,
                                  const struct vgpu_mig_profile **profile, struct nvmlGpuInstance_st **instances) {
    nvmlReturn_t refusal = begin(process, device, to, 1, profileId, gpu, profile);
    if (refusal == NVML_SUCCESS && !vgpu_nvml_is_root()) {
        return NVML_ERROR_NO_PERMISSION;
    }
    if (refusal != NVML_SUCCESS || !vgpu_nvml_mig_is_on(process, *gpu)) {
        return refusal != NVML_SUCCESS ? refusal : NVML_ERROR_NOT_SUPPORTED;
    }
    *instances = vgpu_nvml_instances(process, *gpu);
    return *instances != NULL ? NVML_SUCCESS : NVML_ERROR_MEMORY;
}

nvmlReturn_t vgpu_nvmlDeviceGetGpuInstanceRemainingCapacity(struct vgpu_process *process, struct vgpu_call *call,
                                                            nvmlDevice_t device, unsigned int profileId,
                                                            unsigned int *count) {
    const struct vgpu_gpu *gpu;
    const struct vgpu_mig_profile *profile;
    struct nvmlGpuInstance_st *instances;
    nvmlReturn_t refusal = begin_as_root(process, device, count, profileId, &gpu, &profile, &instances);
    if (refusal != NVML_SUCCESS) {
        return refusal;
    }
    struct taken taken = taken_of(instances, profile);
    unsigned int slices = compute_slices(process, gpu);
    unsigned int more = 0;
    for (unsigned int start = 0; start < 32; start++) {
        if (fits(&taken, gpu, profile, start, slices)) {
            take(&taken, profile, start);
            taken.alike++;
            more++;
        }
    }
    return vgpu_nvml_say(call, gpu, count, more);
}

/* The lowest id, from 1 on, that no instance has. */
static unsigned int free_id(const struct nvmlGpuInstance_st *instances) {
    unsigned int id = 1;
    for (uint32_t i = 0; i < VGPU_NVML_INSTANCES; i++) {
        if (instances[i].used && instances[i].id == id) {
            id++;
            i = UINT32_MAX;
        }
    }
    return id;
}

static nvmlReturn_t create(struct vgpu_process *process, struct vgpu_call *call, nvmlDevice_t device,
                           unsigned int profileId, const nvmlGpuInstancePlacement_t *placement, nvmlGpuInstance_t *to) {
    const struct vgpu_gpu *gpu;
    const struct vgpu_mig_profile *profile;
    struct nvmlGpuInstance_st *instances;
    nvmlReturn_t refusal = begin_as_root(process, device, to, profileId, &gpu, &profile, &instances);
    if (refusal != NVML_SUCCESS) {
        return refusal;
    }
    if (placement != NULL && (placement->start >= 32 || placement->size != profile->memory_slices)) {
        return NVML_ERROR_INVALID_ARGUMENT;
    }
    struct taken taken = taken_of(instances, profile);
    unsigned int slices = compute_slices(process, gpu);
    unsigned int start = placement != NULL ? placement->start : 0;
    while (placement == NULL && start < 32 && !fits(&taken, gpu, profile, start, slices)) {
        start++;
    }
    uint32_t place = 0;
    while (place < VGPU_NVML_INSTANCES && instances[place].used) {
        place++;
    }
    if (start == 32 || place == VGPU_NVML_INSTANCES || !fits(&taken, gpu, profile, start, slices)) {
        return NVML_ERROR_INSUFFICIENT_RESOURCES;
    }
    unsigned int id = free_id(instances);
    instances[place] = (struct nvmlGpuInstance_st){.used = 1,
                                                   .gpu = (uint32_t)(gpu - vgpu_image_gpu(process->image, 0)),
                                                   .id = id,
                                                   .start = start,
                                                   .profile = profile};
    *to = &instances[place];
    vgpu_nvml_say_pci(call, gpu);
    return NVML_SUCCESS;
}

nvmlReturn_t vgpu_nvmlDeviceCreateGpuInstance(struct vgpu_process *process, struct vgpu_call *call, nvmlDevice_t device,
                                              unsigned int profileId, nvmlGpuInstance_t *gpuInstance) {
    return create(process, call, device, profileId, NULL, gpuInstance);
}

nvmlReturn_t vgpu_nvmlDeviceCreateGpuInstanceWithPlacement(struct vgpu_process *process, struct vgpu_call *call,
                                                           nvmlDevice_t device, unsigned int profileId,
                                                           const nvmlGpuInstancePlacement_t *placement,
                                                           nvmlGpuInstance_t *gpuInstance) {
    return placement != NULL ? create(process, call, device, profileId, placement, gpuInstance)
                             : NVML_ERROR_INVALID_ARGUMENT;
}

/* Not while compute instances are in it (MIG User Guide). */
nvmlReturn_t vgpu_nvmlGpuInstanceDestroy(struct vgpu_process *process, struct vgpu_call *call,
                                         nvmlGpuInstance_t gpuInstance) {
    struct nvmlGpuInstance_st *instance = vgpu_nvml_gpu_instance(process, gpuInstance);
    if (instance == NULL) {
        return NVML_ERROR_INVALID_ARGUMENT;
    }
    if (!vgpu_nvml_is_root()) {
        return NVML_ERROR_NO_PERMISSION;
    }
    for (uint32_t i = 0; i < VGPU_NVML_INSTANCES; i++) {
        if (instance->compute[i].used) {
            return NVML_ERROR_IN_USE;
        }
    }
    vgpu_nvml_say_pci(call, vgpu_image_gpu(process->image, instance->gpu));
    instance->used = 0;
    return NVML_SUCCESS;
}

/* The caller's room is for as many as there can be of the profile (doc). */
nvmlReturn_t vgpu_nvmlDeviceGetGpuInstances(struct vgpu_process *process, struct vgpu_call *call, nvmlDevice_t device,
                                            unsigned int profileId, nvmlGpuInstance_t *gpuInstances,
                                            unsigned int *count) {
    const struct vgpu_gpu *gpu;
    const struct vgpu_mig_profile *profile;
    struct nvmlGpuInstance_st *instances;
    nvmlReturn_t refusal = begin_as_root(process, device, count, profileId, &gpu, &profile, &instances);
    if (gpuInstances == NULL) {
        return NVML_ERROR_INVALID_ARGUMENT;
    }
    if (refusal != NVML_SUCCESS) {
        return refusal;
    }
    unsigned int there = 0;
    for (uint32_t i = 0; i < VGPU_NVML_INSTANCES; i++) {
        if (instances[i].used && instances[i].profile == profile) {
            gpuInstances[there++] = &instances[i];
        }
    }
    return vgpu_nvml_say(call, gpu, count, there);
}

nvmlReturn_t vgpu_nvmlDeviceGetGpuInstanceById(struct vgpu_process *process, struct vgpu_call *call,
                                               nvmlDevice_t device, unsigned int id, nvmlGpuInstance_t *gpuInstance) {
    const struct vgpu_gpu *gpu = vgpu_nvml_gpu(process, device);
    if (gpu == NULL || gpuInstance == NULL) {
        return NVML_ERROR_INVALID_ARGUMENT;
    }
    if (!vgpu_nvml_is_root()) {
        return NVML_ERROR_NO_PERMISSION;
    }
    if (!vgpu_nvml_mig_is_on(process, gpu)) {
        return NVML_ERROR_NOT_SUPPORTED;
    }
    struct nvmlGpuInstance_st *instances = vgpu_nvml_instances(process, gpu);
    for (uint32_t i = 0; instances != NULL && i < VGPU_NVML_INSTANCES; i++) {
        if (instances[i].used && instances[i].id == id) {
            *gpuInstance = &instances[i];
            vgpu_nvml_say_pci(call, gpu);
            return NVML_SUCCESS;
        }
    }
    return NVML_ERROR_NOT_FOUND;
}

nvmlReturn_t vgpu_nvmlGpuInstanceGetInfo(struct vgpu_process *process, struct vgpu_call *call,
                                         nvmlGpuInstance_t gpuInstance, nvmlGpuInstanceInfo_t *info) {
    struct nvmlGpuInstance_st *instance = vgpu_nvml_gpu_instance(process, gpuInstance);
    if (instance == NULL || info == NULL) {
        return NVML_ERROR_INVALID_ARGUMENT;
    }
    const struct vgpu_gpu *gpu = vgpu_image_gpu(process->image, instance->gpu);
    info->device = vgpu_nvml_handle(process, instance->gpu);
    info->placement = (nvmlGpuInstancePlacement_t){instance->start, instance->profile->memory_slices};
    vgpu_nvml_say(call, gpu, &info->id, instance->id);
    return vgpu_nvml_say(call, gpu, &info->profileId, instance->profile->id);
}
