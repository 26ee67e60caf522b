/* What is known of a GPU: what this process has set, else what the host image says.
 *
 * A setting stands for the property that it changes, so a getter needs not know of its setter. Settings are the
 * driver's, not the library's: they outlive nvmlShutdown, and a forked child has them too. */
#include "nvml/ask.h"

#include <unistd.h>

#include "vgpu/image.h"

static struct vgpu_nvml_gpu_settings *settings_of(struct vgpu_process *process, const struct vgpu_gpu *gpu) {
    return &process->nvml->settings->gpu[gpu - vgpu_image_gpu(process->image, 0)];
}

static struct vgpu_property *find(struct vgpu_nvml_gpu_settings *settings, enum vgpu_property_id id, uint32_t index) {
    for (uint32_t i = 0; i < settings->count; i++) {
        if (settings->set[i].id == id && settings->set[i].index == index) {
            return &settings->set[i];
        }
    }
    return NULL;
}

int vgpu_nvml_get(struct vgpu_process *process, const struct vgpu_gpu *gpu, enum vgpu_property_id id, uint32_t index,
                  int64_t *value) {
    const struct vgpu_property *set = find(settings_of(process, gpu), id, index);
    if (set != NULL) {
        *value = set->value;
        return 1;
    }
    return vgpu_image_property(process->image, gpu, id, index, value);
}

int64_t vgpu_nvml_get_or(struct vgpu_process *process, const struct vgpu_gpu *gpu, enum vgpu_property_id id,
                         uint32_t index, int64_t otherwise) {
    int64_t value;
    return vgpu_nvml_get(process, gpu, id, index, &value) ? value : otherwise;
}

nvmlReturn_t vgpu_nvml_set(struct vgpu_process *process, const struct vgpu_gpu *gpu, enum vgpu_property_id id,
                           uint32_t index, int64_t value) {
    struct vgpu_nvml_gpu_settings *settings = settings_of(process, gpu);
    struct vgpu_property *set = find(settings, id, index);
    if (set == NULL) {
        if (settings->count == VGPU_NVML_SETTINGS_MAX) {
            return NVML_ERROR_INSUFFICIENT_RESOURCES;
        }
        set = &settings->set[settings->count++];
    }
    *set = (struct vgpu_property){.id = (uint16_t)id, .index = (uint16_t)index, .value = value};
    return NVML_SUCCESS;
}

void vgpu_nvml_unset(struct vgpu_process *process, const struct vgpu_gpu *gpu, enum vgpu_property_id id,
                     uint32_t index) {
    struct vgpu_nvml_gpu_settings *settings = settings_of(process, gpu);
    struct vgpu_property *set = find(settings, id, index);
    if (set != NULL) {
        *set = settings->set[--settings->count];
    }
}

char *vgpu_nvml_hostname(struct vgpu_process *process, const struct vgpu_gpu *gpu) {
    return settings_of(process, gpu)->hostname;
}

nvmlReturn_t vgpu_nvml_say(struct vgpu_call *call, const struct vgpu_gpu *gpu, unsigned int *to, int64_t value) {
    *to = (unsigned int)value;
    vgpu_call_output(call, to, sizeof(*to));
    vgpu_nvml_say_pci(call, gpu);
    return NVML_SUCCESS;
}

nvmlReturn_t vgpu_nvml_say_long(struct vgpu_call *call, const struct vgpu_gpu *gpu, unsigned long long *to,
                                int64_t value) {
    *to = (unsigned long long)value;
    vgpu_call_output(call, to, sizeof(*to));
    vgpu_nvml_say_pci(call, gpu);
    return NVML_SUCCESS;
}

nvmlReturn_t vgpu_nvml_answer(struct vgpu_process *process, struct vgpu_call *call, nvmlDevice_t device,
                              enum vgpu_property_id id, uint32_t index, unsigned int *to) {
    const struct vgpu_gpu *gpu = vgpu_nvml_gpu(process, device);
    if (gpu == NULL || to == NULL) {
        return NVML_ERROR_INVALID_ARGUMENT;
    }
    int64_t value;
    return vgpu_nvml_get(process, gpu, id, index, &value) ? vgpu_nvml_say(call, gpu, to, value)
                                                          : NVML_ERROR_NOT_SUPPORTED;
}

nvmlReturn_t vgpu_nvml_answer_or(struct vgpu_process *process, struct vgpu_call *call, nvmlDevice_t device,
                                 enum vgpu_property_id id, uint32_t index, int64_t otherwise, unsigned int *to) {
    const struct vgpu_gpu *gpu = vgpu_nvml_gpu(process, device);
    if (gpu == NULL || to == NULL) {
        return NVML_ERROR_INVALID_ARGUMENT;
    }
    return vgpu_nvml_say(call, gpu, to, vgpu_nvml_get_or(process, gpu, id, index, otherwise));
}

nvmlReturn_t vgpu_nvml_answer_text(struct vgpu_process *process, struct vgpu_call *call, nvmlDevice_t device,
                                   enum vgpu_text_id id, uint32_t index, char *to, unsigned int length) {
    const struct vgpu_gpu *gpu = vgpu_nvml_gpu(process, device);
    if (gpu == NULL || to == NULL) {
        return NVML_ERROR_INVALID_ARGUMENT;
    }
    const char *text = vgpu_image_gpu_text(process->image, gpu, id, index);
    return text != NULL ? vgpu_nvml_text(call, text, to, length) : NVML_ERROR_NOT_SUPPORTED;
}

nvmlReturn_t vgpu_nvml_settable(struct vgpu_process *process, nvmlDevice_t device, const struct vgpu_gpu **gpu) {
    *gpu = vgpu_nvml_gpu(process, device);
    if (*gpu == NULL) {
        return NVML_ERROR_INVALID_ARGUMENT;
    }
    return vgpu_nvml_is_root() ? NVML_SUCCESS : NVML_ERROR_NO_PERMISSION;
}

int vgpu_nvml_is_root(void) {
    return geteuid() == 0;
}

int vgpu_nvml_is_since(const struct vgpu_gpu *gpu, int32_t major, int32_t minor) {
    return gpu->compute_major > major || (gpu->compute_major == major && gpu->compute_minor >= minor);
}

int vgpu_nvml_is_restricted(struct vgpu_process *process, const struct vgpu_gpu *gpu, nvmlRestrictedAPI_t api) {
    enum { SET_APPLICATION_CLOCKS = 0 };
    return vgpu_nvml_get_or(process, gpu, VGPU_PROPERTY_API_RESTRICTED, (uint32_t)api, api == SET_APPLICATION_CLOCKS) !=
           0;
}
