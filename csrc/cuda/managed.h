/* What is remembered of managed memory. */
#ifndef VGPU_CUDA_MANAGED_H
#define VGPU_CUDA_MANAGED_H

#include "cuda/model.h"

enum vgpu_managed_number {
    VGPU_PLACE_NONE = 0, /* of CUmemLocationType, as VGPU_LOCATION_DEVICE is */
    VGPU_PLACE_HOST = 2,
    VGPU_PLACE_NUMA_CURRENT = 4,
    VGPU_DEVICE_CPU = -1, /* CU_DEVICE_CPU */
    VGPU_NOWHERE = -2,    /* CU_DEVICE_INVALID */
    VGPU_ACCESSED_BY_CPU = VGPU_GPUS_MAX,
};

struct vgpu_range {
    uint32_t read_mostly;
    uint32_t accessed_by; /* a bit for each device, and one for VGPU_ACCESSED_BY_CPU */
    CUmemLocation preferred;
    CUmemLocation prefetched;
};

/* CUDA_SUCCESS where all of it is in one allocation of managed memory, else INVALID_VALUE. */
CUresult vgpu_managed_check(struct vgpu_process *process, uint64_t address, uint64_t size);
/* CUDA_SUCCESS where managed memory can be there, else the code; puts a number where the id does not matter. */
CUresult vgpu_managed_location(struct vgpu_process *process, CUmemLocation *location);
/* As functions from before CUDA 12.2 say it: a device, or the CPU. */
CUmemLocation vgpu_managed_device(CUdevice device);
/* Calls `change` for each part of a range that has been checked. */
CUresult vgpu_managed_change(struct vgpu_process *process, uint64_t address, uint64_t size,
                             void (*change)(struct vgpu_range *range, const CUmemLocation *location),
                             const CUmemLocation *location);
/* What holds for all of a range that has been checked. */
struct vgpu_range vgpu_managed_range(struct vgpu_process *process, uint64_t address, uint64_t size);
void vgpu_managed_discard(uint64_t address, uint64_t size);

#endif
