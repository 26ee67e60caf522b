/* What the models of usage, errors and links share. */
#ifndef VGPU_NVML_USAGE_H
#define VGPU_NVML_USAGE_H

#include "nvml/ask.h"

/* The time of samples: microseconds since 1970, as nvmlSample_t has it. */
unsigned long long vgpu_nvml_now(void);

/* ecc.c: 1: ECC is on now. Errors of a kind (0 corrected, 1 not) and a counter (0 volatile, 1 aggregate) at a place, or
 * at all of them (VGPU_NVML_EVERYWHERE); what has been cleared no longer counts. */
enum { VGPU_NVML_EVERYWHERE = -1 };
int vgpu_nvml_has_ecc(struct vgpu_process *process, const struct vgpu_gpu *gpu);
int64_t vgpu_nvml_ecc_errors(struct vgpu_process *process, const struct vgpu_gpu *gpu, int type, int counter,
                             int location);

/* link.c: how many links, whether two GPUs can reach each other over them, a link's speed in MB/s. */
int64_t vgpu_nvml_links(struct vgpu_process *process, const struct vgpu_gpu *gpu);
int vgpu_nvml_link_is_active(struct vgpu_process *process, const struct vgpu_gpu *gpu, unsigned int link);
int vgpu_nvml_are_linked(struct vgpu_process *process, const struct vgpu_gpu *a, const struct vgpu_gpu *b);
int64_t vgpu_nvml_link_speed(struct vgpu_process *process, const struct vgpu_gpu *gpu);

/* Idle time of a link, in 100 us: NVML_NVLINK_LOW_POWER_THRESHOLD_MIN and _MAX. */
enum { VGPU_NVML_IDLE_MIN = 1, VGPU_NVML_IDLE_MAX = 0x1FFF };

#endif
