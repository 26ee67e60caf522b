/* The state of NVML in one process, and the functions that the models share. */
#ifndef VGPU_NVML_MODEL_H
#define VGPU_NVML_MODEL_H

#include "nvml/api.h"
#include "nvml/types.h"
#include "vgpu/call.h"

struct vgpu_nvml {
    struct vgpu_model model;     /* first: vgpu/call.c marks it */
    uint32_t references;         /* nvmlInit adds one, nvmlShutdown takes one */
    char handles[VGPU_GPUS_MAX]; /* the address of byte i is the handle of GPU i; nothing is ever read there */
};

#define VGPU_NVML(name, when, parameters, arguments, inputs)                                                           \
    nvmlReturn_t vgpu_##name(struct vgpu_process *process, struct vgpu_call *call VGPU_AND parameters);
#define VGPU_NVML_TEXT(name, parameters, arguments, inputs)                                                            \
    const char *vgpu_##name(struct vgpu_process *process, struct vgpu_call *call VGPU_AND parameters);
#include "nvml/nvml.def"

/* state.c: 1, or 0: no memory. A forked child starts anew. */
int vgpu_nvml_make(struct vgpu_process *process);

/* system.c: a text into a caller's buffer, never cut. */
nvmlReturn_t vgpu_nvml_text(struct vgpu_call *call, const char *text, char *to, unsigned int length);

/* handle.c: NULL if it is no handle of ours. */
const struct vgpu_gpu *vgpu_nvml_gpu(struct vgpu_process *process, nvmlDevice_t device);
nvmlDevice_t vgpu_nvml_handle(struct vgpu_process *process, uint32_t i);
void vgpu_nvml_say_pci(struct vgpu_call *call, const struct vgpu_gpu *gpu);

#endif
