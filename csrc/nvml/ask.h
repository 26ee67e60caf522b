/* What most of NVML's functions do: look a property of a GPU up, and answer or change it.
 *
 * Arguments are judged in this order: NULL and handles (INVALID_ARGUMENT), a struct's version, whether the caller may
 * (NO_PERMISSION), whether the GPU can (NOT_SUPPORTED), the values. NVIDIA documents the codes and no order: own
 * choice. */
#ifndef VGPU_NVML_ASK_H
#define VGPU_NVML_ASK_H

#include "nvml/model.h"
#include "nvml/structs_device.h"

/* A struct's version number, by nvml.h's NVML_STRUCT_VERSION. */
#define VGPU_NVML_STRUCT(type, n) ((unsigned int)(sizeof(type) | (n##u << 24)))

enum { VGPU_NVML_SETTINGS_MAX = 128 };

struct vgpu_nvml_gpu_settings {
    uint32_t count;
    uint32_t removed; /* nvmlDeviceRemoveGpu has taken it out of the enumeration */
    struct vgpu_property set[VGPU_NVML_SETTINGS_MAX];
    char hostname[VGPU_NVML_HOSTNAME_SIZE];
};

struct vgpu_nvml_settings {
    struct vgpu_nvml_gpu_settings gpu[VGPU_GPUS_MAX];
};

/* 1 and *value, or 0: it is not known of this GPU. */
int vgpu_nvml_get(struct vgpu_process *process, const struct vgpu_gpu *gpu, enum vgpu_property_id id, uint32_t index,
                  int64_t *value);
int64_t vgpu_nvml_get_or(struct vgpu_process *process, const struct vgpu_gpu *gpu, enum vgpu_property_id id,
                         uint32_t index, int64_t otherwise);
/* SUCCESS, or INSUFFICIENT_RESOURCES. */
nvmlReturn_t vgpu_nvml_set(struct vgpu_process *process, const struct vgpu_gpu *gpu, enum vgpu_property_id id,
                           uint32_t index, int64_t value);
void vgpu_nvml_unset(struct vgpu_process *process, const struct vgpu_gpu *gpu, enum vgpu_property_id id,
                     uint32_t index);

/* The name that has been given to a GPU, VGPU_NVML_HOSTNAME_SIZE bytes of room; "" at first. */
char *vgpu_nvml_hostname(struct vgpu_process *process, const struct vgpu_gpu *gpu);

/* Writes a number and says so to the record. */
nvmlReturn_t vgpu_nvml_say(struct vgpu_call *call, const struct vgpu_gpu *gpu, unsigned int *to, int64_t value);
nvmlReturn_t vgpu_nvml_say_long(struct vgpu_call *call, const struct vgpu_gpu *gpu, unsigned long long *to,
                                int64_t value);

/* A whole getter of one number, or of one text: INVALID_ARGUMENT for a wrong handle or NULL, NOT_SUPPORTED for what the
 * GPU does not have, unless there is another answer for that. */
nvmlReturn_t vgpu_nvml_answer(struct vgpu_process *process, struct vgpu_call *call, nvmlDevice_t device,
                              enum vgpu_property_id id, uint32_t index, unsigned int *to);
nvmlReturn_t vgpu_nvml_answer_or(struct vgpu_process *process, struct vgpu_call *call, nvmlDevice_t device,
                                 enum vgpu_property_id id, uint32_t index, int64_t otherwise, unsigned int *to);
nvmlReturn_t vgpu_nvml_answer_text(struct vgpu_process *process, struct vgpu_call *call, nvmlDevice_t device,
                                   enum vgpu_text_id id, uint32_t index, char *to, unsigned int length);

/* How a setter that is root's begins: INVALID_ARGUMENT, NO_PERMISSION, or SUCCESS and the GPU. */
nvmlReturn_t vgpu_nvml_settable(struct vgpu_process *process, nvmlDevice_t device, const struct vgpu_gpu **gpu);

int vgpu_nvml_is_root(void);

/* Whether a function of enum nvmlRestrictedAPI_t is root's alone. */
int vgpu_nvml_is_restricted(struct vgpu_process *process, const struct vgpu_gpu *gpu, nvmlRestrictedAPI_t api);

/* Whether the GPU's compute capability is at least this: how nvml.h's "for Ampere or newer" is told. */
int vgpu_nvml_is_since(const struct vgpu_gpu *gpu, int32_t major, int32_t minor);

#endif
