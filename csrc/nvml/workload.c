/* Power profiles for kinds of work, from Blackwell on: what there is, what was asked for, what holds. */
#include <string.h>

#include "nvml/ask.h"
#include "nvml/structs_clock.h"
#include "vgpu/image.h"

enum { WORD_BITS = 64, WORDS = 4, OPERATION_CLEAR = 0, OPERATION_SET = 1, OPERATION_OVERWRITE = 2 };

static void put_bit(struct vgpu_nvml_mask *mask, uint32_t id) {
    mask->mask[id / 32] |= 1u << id % 32;
}

static int has_bit(const struct vgpu_nvml_mask *mask, uint32_t id) {
    return (mask->mask[id / 32] >> id % 32 & 1) != 0;
}

static struct vgpu_nvml_mask known_of(struct vgpu_process *process, const struct vgpu_gpu *gpu) {
    struct vgpu_nvml_mask known = {0};
    uint32_t count;
    const struct vgpu_property *profiles =
        vgpu_image_properties(process->image, gpu, VGPU_PROPERTY_WORKLOAD_PROFILES, &count);
    for (uint32_t i = 0; i < count; i++) {
        if (profiles[i].index < VGPU_NVML_PROFILES_MAX) {
            put_bit(&known, profiles[i].index);
        }
    }
    return known;
}

static struct vgpu_nvml_mask requested_of(struct vgpu_process *process, const struct vgpu_gpu *gpu) {
    struct vgpu_nvml_mask requested;
    for (uint32_t i = 0; i < WORDS; i++) {
        uint64_t word = (uint64_t)vgpu_nvml_get_or(process, gpu, VGPU_PROPERTY_WORKLOAD_REQUESTED, i, 0);
        requested.mask[2 * i] = (unsigned int)word;
        requested.mask[2 * i + 1] = (unsigned int)(word >> 32);
    }
    return requested;
}

static nvmlReturn_t keep(struct vgpu_process *process, const struct vgpu_gpu *gpu,
                         const struct vgpu_nvml_mask *requested) {
    nvmlReturn_t result = NVML_SUCCESS;
    for (uint32_t i = 0; i < WORDS && result == NVML_SUCCESS; i++) {
        uint64_t word = requested->mask[2 * i] | (uint64_t)requested->mask[2 * i + 1] << 32;
        result = vgpu_nvml_set(process, gpu, VGPU_PROPERTY_WORKLOAD_REQUESTED, i, (int64_t)word);
    }
    return result;
}

/* Profiles 0 to 63 can exclude each other: more has no GPU. */
static uint64_t conflicts_of(struct vgpu_process *process, const struct vgpu_gpu *gpu, uint32_t id) {
    return (uint64_t)vgpu_nvml_get_or(process, gpu, VGPU_PROPERTY_WORKLOAD_CONFLICTS, id, 0);
}

static int64_t priority_of(struct vgpu_process *process, const struct vgpu_gpu *gpu, uint32_t id) {
    return vgpu_nvml_get_or(process, gpu, VGPU_PROPERTY_WORKLOAD_PROFILES, id, 0);
}

/* Of profiles that exclude each other the one of the lower number in priority holds (doc). */
static struct vgpu_nvml_mask enforced_of(struct vgpu_process *process, const struct vgpu_gpu *gpu,
                                         const struct vgpu_nvml_mask *requested) {
    struct vgpu_nvml_mask enforced = {0};
    for (uint32_t id = 0; id < VGPU_NVML_PROFILES_MAX; id++) {
        int holds = has_bit(requested, id);
        uint64_t conflicts = holds ? conflicts_of(process, gpu, id) : 0;
        for (uint32_t other = 0; other < WORD_BITS && holds; other++) {
            holds = (conflicts >> other & 1) == 0 || !has_bit(requested, other) ||
                    priority_of(process, gpu, id) < priority_of(process, gpu, other);
        }
        if (holds) {
            put_bit(&enforced, id);
        }
    }
    return enforced;
}

static int has_profiles(struct vgpu_process *process, const struct vgpu_gpu *gpu) {
    uint32_t count;
    vgpu_image_properties(process->image, gpu, VGPU_PROPERTY_WORKLOAD_PROFILES, &count);
    return count > 0;
}

nvmlReturn_t vgpu_nvmlDeviceWorkloadPowerProfileGetProfilesInfo(struct vgpu_process *process, struct vgpu_call *call,
                                                                nvmlDevice_t device,
                                                                nvmlWorkloadPowerProfileProfilesInfo_t *profilesInfo) {
    const struct vgpu_gpu *gpu = vgpu_nvml_gpu(process, device);
    if (gpu == NULL || profilesInfo == NULL) {
        return NVML_ERROR_INVALID_ARGUMENT;
    }
    if (profilesInfo->version != VGPU_NVML_STRUCT(nvmlWorkloadPowerProfileProfilesInfo_t, 1)) {
        return NVML_ERROR_ARGUMENT_VERSION_MISMATCH;
    }
    if (!has_profiles(process, gpu)) {
        return NVML_ERROR_NOT_SUPPORTED;
    }
    struct vgpu_nvml_mask known = known_of(process, gpu);
    profilesInfo->perfProfilesMask = known;
    memset(profilesInfo->perfProfile, 0, sizeof(profilesInfo->perfProfile));
    for (uint32_t id = 0; id < VGPU_NVML_PROFILES_MAX; id++) {
        if (has_bit(&known, id)) {
            uint64_t conflicts = conflicts_of(process, gpu, id);
            profilesInfo->perfProfile[id] = (struct vgpu_nvml_workload_profile){
                .version = VGPU_NVML_STRUCT(struct vgpu_nvml_workload_profile, 1),
                .profileId = id,
                .priority = (unsigned int)priority_of(process, gpu, id),
                .conflictingMask = {{(unsigned int)conflicts, (unsigned int)(conflicts >> 32)}},
            };
        }
    }
    vgpu_call_output(call, &profilesInfo->perfProfilesMask.mask[0], sizeof(profilesInfo->perfProfilesMask.mask[0]));
    vgpu_nvml_say_pci(call, gpu);
    return NVML_SUCCESS;
}

nvmlReturn_t
vgpu_nvmlDeviceWorkloadPowerProfileGetCurrentProfiles(struct vgpu_process *process, struct vgpu_call *call,
                                                      nvmlDevice_t device,
                                                      nvmlWorkloadPowerProfileCurrentProfiles_t *currentProfiles) {
    const struct vgpu_gpu *gpu = vgpu_nvml_gpu(process, device);
    if (gpu == NULL || currentProfiles == NULL) {
        return NVML_ERROR_INVALID_ARGUMENT;
    }
    if (currentProfiles->version != VGPU_NVML_STRUCT(nvmlWorkloadPowerProfileCurrentProfiles_t, 1)) {
        return NVML_ERROR_ARGUMENT_VERSION_MISMATCH;
    }
    if (!has_profiles(process, gpu)) {
        return NVML_ERROR_NOT_SUPPORTED;
    }
    currentProfiles->perfProfilesMask = known_of(process, gpu);
    currentProfiles->requestedProfilesMask = requested_of(process, gpu);
    currentProfiles->enforcedProfilesMask = enforced_of(process, gpu, &currentProfiles->requestedProfilesMask);
    unsigned int *first = &currentProfiles->perfProfilesMask.mask[0];
    vgpu_call_output(call, first, sizeof(*first));
    vgpu_nvml_say_pci(call, gpu);
    return NVML_SUCCESS;
}

static nvmlReturn_t update(struct vgpu_process *process, struct vgpu_call *call, nvmlDevice_t device, int operation,
                           const struct vgpu_nvml_mask *profiles) {
    const struct vgpu_gpu *gpu;
    nvmlReturn_t refusal = vgpu_nvml_settable(process, device, &gpu);
    if (refusal != NVML_SUCCESS) {
        return refusal;
    }
    if (!has_profiles(process, gpu)) {
        return NVML_ERROR_NOT_SUPPORTED;
    }
    struct vgpu_nvml_mask known = known_of(process, gpu);
    struct vgpu_nvml_mask requested = requested_of(process, gpu);
    for (uint32_t i = 0; i < VGPU_NVML_MASK_WORDS; i++) {
        if ((profiles->mask[i] & ~known.mask[i]) != 0) {
            return NVML_ERROR_INVALID_ARGUMENT;
        }
        unsigned int kept = operation == OPERATION_OVERWRITE ? 0 : requested.mask[i];
        requested.mask[i] = operation == OPERATION_CLEAR ? kept & ~profiles->mask[i] : kept | profiles->mask[i];
    }
    vgpu_nvml_say_pci(call, gpu);
    return keep(process, gpu, &requested);
}

static nvmlReturn_t change(struct vgpu_process *process, struct vgpu_call *call, nvmlDevice_t device, int operation,
                           const nvmlWorkloadPowerProfileRequestedProfiles_t *profiles) {
    if (vgpu_nvml_gpu(process, device) == NULL || profiles == NULL) {
        return NVML_ERROR_INVALID_ARGUMENT;
    }
    if (profiles->version != VGPU_NVML_STRUCT(nvmlWorkloadPowerProfileRequestedProfiles_t, 1)) {
        return NVML_ERROR_ARGUMENT_VERSION_MISMATCH;
    }
    return update(process, call, device, operation, &profiles->requestedProfilesMask);
}

nvmlReturn_t vgpu_nvmlDeviceWorkloadPowerProfileSetRequestedProfiles(
    struct vgpu_process *process, struct vgpu_call *call, nvmlDevice_t device,
    nvmlWorkloadPowerProfileRequestedProfiles_t *requestedProfiles) {
    return change(process, call, device, OPERATION_SET, requestedProfiles);
}

nvmlReturn_t vgpu_nvmlDeviceWorkloadPowerProfileClearRequestedProfiles(
    struct vgpu_process *process, struct vgpu_call *call, nvmlDevice_t device,
    nvmlWorkloadPowerProfileRequestedProfiles_t *requestedProfiles) {
    return change(process, call, device, OPERATION_CLEAR, requestedProfiles);
}

nvmlReturn_t
vgpu_nvmlDeviceWorkloadPowerProfileUpdateProfiles_v1(struct vgpu_process *process, struct vgpu_call *call,
                                                     nvmlDevice_t device,
                                                     nvmlWorkloadPowerProfileUpdateProfiles_v1_t *updateProfiles) {
    if (vgpu_nvml_gpu(process, device) == NULL || updateProfiles == NULL ||
        updateProfiles->operation < OPERATION_CLEAR || updateProfiles->operation > OPERATION_OVERWRITE) {
        return NVML_ERROR_INVALID_ARGUMENT;
    }
    return update(process, call, device, updateProfiles->operation, &updateProfiles->updateProfilesMask);
}
