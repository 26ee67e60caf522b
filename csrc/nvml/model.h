/* The state of NVML in one process, and the functions that the models share. */
#ifndef VGPU_NVML_MODEL_H
#define VGPU_NVML_MODEL_H

#include "nvml/api.h"
#include "nvml/names.h"
#include "vgpu/call.h"

struct vgpu_nvml_settings;
struct vgpu_nvml_mig;

struct vgpu_nvml {
    struct vgpu_model model;             /* first: vgpu/call.c marks it */
    uint32_t references;                 /* nvmlInit adds one, nvmlShutdown takes one */
    uint32_t was_initialised;            /* an init has succeeded */
    char handles[VGPU_GPUS_MAX];         /* the address of byte i is the handle of GPU i; nothing is ever read there */
    struct vgpu_nvml_settings *settings; /* ask.c: what setters have changed */
    struct nvmlEventSet_st *event_sets;  /* event.c */
    uint32_t event_sets_made;            /* event.c */
    struct nvmlGpmSample_st *samples;    /* gpm.c */
    struct vgpu_nvml_mig *mig;           /* mig.c: made at its first use */
};

#define VGPU_NVML(name, when, parameters, arguments, inputs)                                                           \
    nvmlReturn_t vgpu_##name(struct vgpu_process *process, struct vgpu_call *call VGPU_AND parameters);
#define VGPU_NVML_TEXT(name, parameters, arguments, inputs)                                                            \
    const char *vgpu_##name(struct vgpu_process *process, struct vgpu_call *call VGPU_AND parameters);
#define VGPU_NVML_UNMODELLED(name, when, parameters, arguments, inputs)
#include "nvml/nvml.def"

/* state.c: 1, or 0: no memory. A forked child starts anew. */
int vgpu_nvml_make(struct vgpu_process *process);

/* mig.c: the MIG device of a handle and the GPU that it is part of; NULL if it is none. */
const struct vgpu_mig_device *vgpu_nvml_mig(struct vgpu_process *process, nvmlDevice_t device,
                                            const struct vgpu_gpu **gpu);

/* mig.c: the `n`th MIG device of a GPU and its handle; NULL: there are not so many. */
const struct vgpu_mig_device *vgpu_nvml_nth_mig(struct vgpu_process *process, const struct vgpu_gpu *gpu, uint32_t n,
                                                nvmlDevice_t *device);

/* event.c, gpm.c: frees what the program has not freed. */
void vgpu_nvml_free_events(struct vgpu_nvml *nvml);
void vgpu_nvml_free_samples(struct vgpu_nvml *nvml);

/* system.c: a text into a caller's buffer, never cut. */
nvmlReturn_t vgpu_nvml_text(struct vgpu_call *call, const char *text, char *to, unsigned int length);

/* handle.c: NULL if it is no handle of ours. Index i is a GPU's place in the host image; nvmlDeviceGetIndex counts
 * without those that nvmlDeviceRemoveGpu has taken out. */
const struct vgpu_gpu *vgpu_nvml_gpu(struct vgpu_process *process, nvmlDevice_t device);
nvmlDevice_t vgpu_nvml_handle(struct vgpu_process *process, uint32_t i);
int vgpu_nvml_is_removed(struct vgpu_process *process, uint32_t i);
/* Neither removed nor lost; says that the call is about it if it is not removed. */
int vgpu_nvml_is_there(struct vgpu_process *process, uint32_t i);
void vgpu_nvml_say_pci(struct vgpu_call *call, const struct vgpu_gpu *gpu);

#endif
