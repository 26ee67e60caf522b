/* What the models of clocks and performance states share: clock.c. */
#ifndef VGPU_NVML_CLOCK_H
#define VGPU_NVML_CLOCK_H

#include "nvml/model.h"

int vgpu_nvml_is_clock(nvmlClockType_t type);

/* 1 and *clock in MHz, or 0: the GPU does not tell. The clock now, and the one that applications are to have. */
int vgpu_nvml_clock_now(struct vgpu_process *process, const struct vgpu_gpu *gpu, nvmlClockType_t type, int64_t *clock);
int vgpu_nvml_application_clock(struct vgpu_process *process, const struct vgpu_gpu *gpu, nvmlClockType_t type,
                                int64_t *clock);

/* Whether a list of properties has the value; its lowest one, 0 for an empty list. */
int vgpu_nvml_is_listed(struct vgpu_process *process, const struct vgpu_gpu *gpu, enum vgpu_property_id list,
                        int64_t value);
int vgpu_nvml_lowest(struct vgpu_process *process, const struct vgpu_gpu *gpu, enum vgpu_property_id list,
                     int64_t *value);

/* pstate.c: whether a GPU has the performance state. */
int vgpu_nvml_has_pstate(struct vgpu_process *process, const struct vgpu_gpu *gpu, nvmlPstates_t pstate);

#endif
