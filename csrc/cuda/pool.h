/* A memory pool, as pool.c and pool_use.c know it. */
#ifndef VGPU_CUDA_POOL_H
#define VGPU_CUDA_POOL_H

#include "cuda/objects.h"
#include "cuda/structs_pool.h"

struct vgpu_pool {
    struct vgpu_object object;
    CUmemPoolProps props;
    CUdevice device;
    uint32_t is_default;
    uint32_t destroyed; /* its handle is gone; it ends with its last allocation */
    int reuse[VGPU_POOL_INTERNAL_DEPENDENCIES + 1];
    uint64_t threshold;
    uint64_t reserved;
    uint64_t reserved_high;
    uint64_t used;
    uint64_t used_high;
    uint64_t allocations;
    uint8_t access[VGPU_GPUS_MAX];
};

struct vgpu_pool *vgpu_pool_find(struct vgpu_process *process, CUmemoryPool handle); /* NULL: there is none */

#endif
