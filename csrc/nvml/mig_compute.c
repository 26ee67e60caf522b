/* Compute instances: parts of a GPU instance's multiprocessors, with its memory and engines in common. */
#include <stdio.h>
#include <string.h>

#include "nvml/mig.h"
#include "vgpu/image.h"

enum { ENGINE_PROFILES = 1 }; /* NVML_COMPUTE_INSTANCE_ENGINE_PROFILE_COUNT */

/* At the index of NVML_COMPUTE_INSTANCE_PROFILE_*; the number is the profile's id, too (nvidia-smi mig -lcip). Two have
 * a second form, which is not offered. */
static const unsigned int slices_of[VGPU_NVML_COMPUTE_PROFILES] = {1, 2, 3, 4, 7, 8, 6, 0, 0};

/* Any number of slices that the profiles name, up to the whole instance: own choice, nvidia-smi offers fewer. */
unsigned int vgpu_nvml_compute_slices(const struct nvmlGpuInstance_st *instance, unsigned int profile) {
    unsigned int slices = profile < VGPU_NVML_COMPUTE_PROFILES ? slices_of[profile] : 0;
    return slices <= instance->profile->compute_slices ? slices : 0;
}

/* A compute slice has the multiprocessors of the smallest GPU instance, which is one slice; those that an instance has
 * beyond that go to the compute instance that fills it: 1c, 2c and 3c of an A100's 3g.20gb have 14, 28, 42 (MIG User
 * Guide, "Creating Compute Instances"). That it is so where slices do not add up to the whole, as on Hopper and
 * Blackwell (16, 32, 60), is an own choice. */
static unsigned int multiprocessors(struct vgpu_process *process, const struct nvmlGpuInstance_st *instance,
                                    unsigned int slices) {
    unsigned int part = instance->profile->multiprocessors;
    if (slices == instance->profile->compute_slices) {
        return part;
    }
    const struct vgpu_gpu *gpu = vgpu_image_gpu(process->image, instance->gpu);
    const struct vgpu_mig_profile *all = vgpu_image_mig_profiles(process->image, gpu);
    for (uint32_t i = 0; i < gpu->mig_profiles.count; i++) {
        if (all[i].compute_slices == 1 && slices * all[i].multiprocessors < part) {
            part = slices * all[i].multiprocessors;
        }
    }
    return part;
}

/* "1c.3g.40gb" for a part, "3g.40gb" for the whole. */
static void put_name(struct vgpu_process *process, const struct nvmlGpuInstance_st *instance, unsigned int slices,
                     char *to, size_t size) {
    const char *name = vgpu_image_text(process->image, instance->profile->name);
    if (slices == instance->profile->compute_slices) {
        snprintf(to, size, "%s", name);
    } else {
        snprintf(to, size, "%uc.%s", slices, name);
    }
}

/* How a question about a profile begins: INVALID_ARGUMENT, NOT_SUPPORTED if it does not fit, or SUCCESS. */
static nvmlReturn_t begin(struct vgpu_process *process, nvmlGpuInstance_t handle, unsigned int profile, const void *to,
                          struct nvmlGpuInstance_st **instance, unsigned int *slices) {
    *instance = vgpu_nvml_gpu_instance(process, handle);
    if (*instance == NULL || to == NULL || profile >= VGPU_NVML_COMPUTE_PROFILES) {
        return NVML_ERROR_INVALID_ARGUMENT;
    }
    *slices = vgpu_nvml_compute_slices(*instance, profile);
    return *slices != 0 ? NVML_SUCCESS : NVML_ERROR_NOT_SUPPORTED;
}

static nvmlComputeInstanceProfileInfo_v2_t info_of(struct vgpu_process *process,
                                                   const struct nvmlGpuInstance_st *instance, unsigned int profile,
                                                   unsigned int slices) {
    const struct vgpu_mig_profile *from = instance->profile;
    nvmlComputeInstanceProfileInfo_v2_t info = {
        .id = profile,
        .sliceCount = slices,
        .instanceCount = from->compute_slices / slices,
        .multiprocessorCount = multiprocessors(process, instance, slices),
        .sharedCopyEngineCount = from->copy_engines,
        .sharedDecoderCount = from->decoders,
        .sharedEncoderCount = from->encoders,
        .sharedJpegCount = from->jpegs,
        .sharedOfaCount = from->ofas,
    };
    put_name(process, instance, slices, info.name, sizeof(info.name));
    return info;
}

nvmlReturn_t vgpu_nvmlGpuInstanceGetComputeInstanceProfileInfo(struct vgpu_process *process, struct vgpu_call *call,
                                                               nvmlGpuInstance_t gpuInstance, unsigned int profile,
                                                               unsigned int engProfile,
                                                               nvmlComputeInstanceProfileInfo_t *info) {
    struct nvmlGpuInstance_st *instance;
    unsigned int slices;
    nvmlReturn_t refusal = begin(process, gpuInstance, profile, info, &instance, &slices);
    if (refusal != NVML_SUCCESS || engProfile >= ENGINE_PROFILES) {
        return refusal != NVML_SUCCESS ? refusal : NVML_ERROR_INVALID_ARGUMENT;
    }
    nvmlComputeInstanceProfileInfo_v2_t whole = info_of(process, instance, profile, slices);
    memcpy(info, &whole.id, sizeof(*info));
    vgpu_call_output(call, &info->id, sizeof(info->id));
    vgpu_call_output(call, &info->sliceCount, sizeof(info->sliceCount));
    return NVML_SUCCESS;
}

nvmlReturn_t vgpu_nvmlGpuInstanceGetComputeInstanceProfileInfoV(struct vgpu_process *process, struct vgpu_call *call,
                                                                nvmlGpuInstance_t gpuInstance, unsigned int profile,
                                                                unsigned int engProfile,
                                                                nvmlComputeInstanceProfileInfo_v2_t *info) {
    struct nvmlGpuInstance_st *instance;
    unsigned int slices;
    nvmlReturn_t refusal = begin(process, gpuInstance, profile, info, &instance, &slices);
    if (refusal == NVML_ERROR_INVALID_ARGUMENT || engProfile >= ENGINE_PROFILES) {
        return NVML_ERROR_INVALID_ARGUMENT;
    }
    unsigned int version = info->version;
    if (version != VGPU_NVML_STRUCT(nvmlComputeInstanceProfileInfo_v2_t, 2)) {
        return NVML_ERROR_ARGUMENT_VERSION_MISMATCH;
    }
    if (refusal != NVML_SUCCESS) {
        return refusal;
    }
    *info = info_of(process, instance, profile, slices);
    info->version = version;
    vgpu_call_output(call, &info->id, sizeof(info->id));
    vgpu_call_output(call, &info->sliceCount, sizeof(info->sliceCount));
    return NVML_SUCCESS;
}

/* Bit N: compute slice N of the GPU instance is taken. */
static uint32_t taken_of(const struct nvmlGpuInstance_st *instance) {
    uint32_t taken = 0;
    for (uint32_t i = 0; i < VGPU_NVML_INSTANCES; i++) {
        if (instance->compute[i].used) {
            taken |= ((1u << instance->compute[i].device.compute_slices) - 1) << instance->compute[i].start;
        }
    }
    return taken;
}

static int fits(const struct nvmlGpuInstance_st *instance, uint32_t taken, unsigned int start, unsigned int slices) {
    return start + slices <= instance->profile->compute_slices && (taken & ((1u << slices) - 1) << start) == 0;
}

nvmlReturn_t vgpu_nvmlGpuInstanceGetComputeInstanceRemainingCapacity(struct vgpu_process *process,
                                                                     struct vgpu_call *call,
                                                                     nvmlGpuInstance_t gpuInstance,
                                                                     unsigned int profileId, unsigned int *count) {
    struct nvmlGpuInstance_st *instance;
    unsigned int slices;
    nvmlReturn_t refusal = begin(process, gpuInstance, profileId, count, &instance, &slices);
    if (refusal != NVML_SUCCESS) {
        return refusal;
    }
    uint32_t taken = taken_of(instance);
    *count = 0;
    for (unsigned int start = 0; start < instance->profile->compute_slices; start++) {
        if (fits(instance, taken, start, slices)) {
            taken |= ((1u << slices) - 1) << start;
            ++*count;
        }
    }
    vgpu_call_output(call, count, sizeof(*count));
    return NVML_SUCCESS;
}

nvmlReturn_t vgpu_nvmlGpuInstanceGetComputeInstancePossiblePlacements(
    struct vgpu_process *process, struct vgpu_call *call, nvmlGpuInstance_t gpuInstance, unsigned int profileId,
    nvmlComputeInstancePlacement_t *placements, unsigned int *count) {
    struct nvmlGpuInstance_st *instance;
    unsigned int slices;
    nvmlReturn_t refusal = begin(process, gpuInstance, profileId, count, &instance, &slices);
    if (refusal != NVML_SUCCESS) {
        return refusal;
    }
    unsigned int there = instance->profile->compute_slices / slices;
    unsigned int room = *count;
    *count = there;
    vgpu_call_output(call, count, sizeof(*count));
    if (placements == NULL) {
        return NVML_SUCCESS;
    }
    if (room < there) {
        return NVML_ERROR_INSUFFICIENT_SIZE;
    }
    for (unsigned int i = 0; i < there; i++) {
        placements[i] = (nvmlComputeInstancePlacement_t){i * slices, slices};
    }
    return NVML_SUCCESS;
}

/* "NVIDIA H100 80GB HBM3 MIG 1c.3g.40gb". A GPU's name that leaves too little room is cut, between two characters of
 * UTF-8. */
static void put_device_name(char to[VGPU_NAME_SIZE], const char *gpu, const char *part) {
    size_t length = strlen(gpu);
    size_t room = VGPU_NAME_SIZE - sizeof(" MIG ") - strlen(part);
    if (length > room) {
        for (length = room; length > 0 && ((unsigned char)gpu[length] & 0xc0) == 0x80;) {
            length--;
        }
    }
    snprintf(to, VGPU_NAME_SIZE, "%.*s MIG %s", (int)length, gpu, part);
}

/* The device's UUID is the GPU's with the two ids in it: any will do that no other has. */
static struct vgpu_mig_device facts_of(struct vgpu_process *process, const struct nvmlGpuInstance_st *instance,
                                       unsigned int profile, unsigned int slices, unsigned int id) {
    const struct vgpu_gpu *gpu = vgpu_image_gpu(process->image, instance->gpu);
    struct vgpu_mig_device device = {
        .gpu_instance = instance->id,
        .compute_instance = id,
        .profile = instance->profile->profile,
        .compute_profile = profile,
        .start = instance->start,
        .size = instance->profile->memory_slices,
        .compute_slices = slices,
        .multiprocessors = multiprocessors(process, instance, slices),
        .memory = instance->profile->memory,
    };
    char part[32];
    put_name(process, instance, slices, part, sizeof(part));
    put_device_name(device.name, gpu->name, part);
    memcpy(device.uuid, gpu->nvml_uuid, sizeof(device.uuid));
    device.uuid[0] ^= 0x5a;
    device.uuid[14] = (uint8_t)(device.uuid[14] ^ instance->id);
    device.uuid[15] = (uint8_t)(device.uuid[15] ^ (id + 1));
    return device;
}

static nvmlReturn_t create(struct vgpu_process *process, nvmlGpuInstance_t gpuInstance, unsigned int profile,
                           const nvmlComputeInstancePlacement_t *placement, nvmlComputeInstance_t *to) {
    struct nvmlGpuInstance_st *instance;
    unsigned int slices;
    nvmlReturn_t refusal = begin(process, gpuInstance, profile, to, &instance, &slices);
    if (refusal != NVML_SUCCESS) {
        return refusal;
    }
    if (!vgpu_nvml_is_root()) {
        return NVML_ERROR_NO_PERMISSION;
    }
    if (placement != NULL && (placement->size != slices || placement->start >= VGPU_NVML_INSTANCES)) {
        return NVML_ERROR_INVALID_ARGUMENT;
    }
    uint32_t taken = taken_of(instance);
    unsigned int start = placement != NULL ? placement->start : 0;
    while (placement == NULL && start < VGPU_NVML_INSTANCES && !fits(instance, taken, start, slices)) {
        start++;
    }
    unsigned int id = 0;
    while (id < VGPU_NVML_INSTANCES && instance->compute[id].used) {
        id++;
    }
    if (start == VGPU_NVML_INSTANCES || id == VGPU_NVML_INSTANCES || !fits(instance, taken, start, slices)) {
        return NVML_ERROR_INSUFFICIENT_RESOURCES;
    }
    instance->compute[id] =
        (struct nvmlComputeInstance_st){1, instance, start, facts_of(process, instance, profile, slices, id)};
    *to = &instance->compute[id];
    return NVML_SUCCESS;
}

nvmlReturn_t vgpu_nvmlGpuInstanceCreateComputeInstance(struct vgpu_process *process, struct vgpu_call *call,
                                                       nvmlGpuInstance_t gpuInstance, unsigned int profileId,
                                                       nvmlComputeInstance_t *computeInstance) {
    (void)call;
    return create(process, gpuInstance, profileId, NULL, computeInstance);
}

nvmlReturn_t vgpu_nvmlGpuInstanceCreateComputeInstanceWithPlacement(
    struct vgpu_process *process, struct vgpu_call *call, nvmlGpuInstance_t gpuInstance, unsigned int profileId,
    const nvmlComputeInstancePlacement_t *placement, nvmlComputeInstance_t *computeInstance) {
    (void)call;
    return placement != NULL ? create(process, gpuInstance, profileId, placement, computeInstance)
                             : NVML_ERROR_INVALID_ARGUMENT;
}

/* NULL if it is no compute instance of ours. */
static struct nvmlComputeInstance_st *find(struct vgpu_process *process, nvmlComputeInstance_t handle) {
    for (uint32_t i = 0; i < process->image->gpus.count; i++) {
        struct nvmlGpuInstance_st *instances = vgpu_nvml_instances(process, vgpu_image_gpu(process->image, i));
        for (uint32_t k = 0; instances != NULL && k < VGPU_NVML_INSTANCES * VGPU_NVML_INSTANCES; k++) {
            struct nvmlGpuInstance_st *parent = &instances[k / VGPU_NVML_INSTANCES];
            struct nvmlComputeInstance_st *compute = &parent->compute[k % VGPU_NVML_INSTANCES];
            if (compute == handle && compute->used && parent->used) {
                return vgpu_nvml_is_there(process, i) ? compute : NULL;
            }
        }
    }
    return NULL;
}

nvmlReturn_t vgpu_nvmlComputeInstanceDestroy(struct vgpu_process *process, struct vgpu_call *call,
                                             nvmlComputeInstance_t computeInstance) {
    struct nvmlComputeInstance_st *compute = find(process, computeInstance);
    if (compute == NULL) {
        return NVML_ERROR_INVALID_ARGUMENT;
    }
    if (!vgpu_nvml_is_root()) {
        return NVML_ERROR_NO_PERMISSION;
    }
    const struct vgpu_gpu *gpu = vgpu_image_gpu(process->image, compute->parent->gpu);
    if (vgpu_nvml_mig_is_used(process, gpu, &compute->device)) {
        return NVML_ERROR_IN_USE;
    }
    vgpu_nvml_say_pci(call, gpu);
    compute->used = 0;
    return NVML_SUCCESS;
}

nvmlReturn_t vgpu_nvmlGpuInstanceGetComputeInstances(struct vgpu_process *process, struct vgpu_call *call,
                                                     nvmlGpuInstance_t gpuInstance, unsigned int profileId,
                                                     nvmlComputeInstance_t *computeInstances, unsigned int *count) {
    struct nvmlGpuInstance_st *instance;
    unsigned int slices;
    nvmlReturn_t refusal = begin(process, gpuInstance, profileId, count, &instance, &slices);
    if (refusal != NVML_SUCCESS || computeInstances == NULL) {
        return refusal != NVML_SUCCESS ? refusal : NVML_ERROR_INVALID_ARGUMENT;
    }
    if (!vgpu_nvml_is_root()) {
        return NVML_ERROR_NO_PERMISSION;
    }
    *count = 0;
    for (uint32_t i = 0; i < VGPU_NVML_INSTANCES; i++) {
        if (instance->compute[i].used && instance->compute[i].device.compute_profile == profileId) {
            computeInstances[(*count)++] = &instance->compute[i];
        }
    }
    vgpu_call_output(call, count, sizeof(*count));
    return NVML_SUCCESS;
}

nvmlReturn_t vgpu_nvmlGpuInstanceGetComputeInstanceById(struct vgpu_process *process, struct vgpu_call *call,
                                                        nvmlGpuInstance_t gpuInstance, unsigned int id,
                                                        nvmlComputeInstance_t *computeInstance) {
    (void)call;
    struct nvmlGpuInstance_st *instance = vgpu_nvml_gpu_instance(process, gpuInstance);
    if (instance == NULL || computeInstance == NULL) {
        return NVML_ERROR_INVALID_ARGUMENT;
    }
    if (!vgpu_nvml_is_root()) {
        return NVML_ERROR_NO_PERMISSION;
    }
    for (uint32_t i = 0; i < VGPU_NVML_INSTANCES; i++) {
        if (instance->compute[i].used && instance->compute[i].device.compute_instance == id) {
            *computeInstance = &instance->compute[i];
            return NVML_SUCCESS;
        }
    }
    return NVML_ERROR_NOT_FOUND;
}

nvmlReturn_t vgpu_nvmlComputeInstanceGetInfo_v2(struct vgpu_process *process, struct vgpu_call *call,
                                                nvmlComputeInstance_t computeInstance,
                                                nvmlComputeInstanceInfo_t *info) {
    struct nvmlComputeInstance_st *compute = find(process, computeInstance);
    if (compute == NULL || info == NULL) {
        return NVML_ERROR_INVALID_ARGUMENT;
    }
    *info = (nvmlComputeInstanceInfo_t){
        .device = vgpu_nvml_handle(process, compute->parent->gpu),
        .gpuInstance = compute->parent,
        .id = compute->device.compute_instance,
        .profileId = compute->device.compute_profile,
        .placement = {compute->start, compute->device.compute_slices},
    };
    vgpu_call_output(call, &info->id, sizeof(info->id));
    vgpu_call_output(call, &info->profileId, sizeof(info->profileId));
    return NVML_SUCCESS;
}

/* Version 1 of the struct ends before the placement. */
nvmlReturn_t vgpu_nvmlComputeInstanceGetInfo(struct vgpu_process *process, struct vgpu_call *call,
                                             nvmlComputeInstance_t computeInstance, nvmlComputeInstanceInfo_t *info) {
    nvmlComputeInstanceInfo_t whole;
    struct vgpu_call aside = {.process = process};
    nvmlReturn_t result = info != NULL ? vgpu_nvmlComputeInstanceGetInfo_v2(process, &aside, computeInstance, &whole)
                                       : NVML_ERROR_INVALID_ARGUMENT;
    if (result == NVML_SUCCESS) {
        memcpy(info, &whole, offsetof(nvmlComputeInstanceInfo_t, placement));
        vgpu_call_output(call, &info->id, sizeof(info->id));
        vgpu_call_output(call, &info->profileId, sizeof(info->profileId));
    }
    return result;
}
