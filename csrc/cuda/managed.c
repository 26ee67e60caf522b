/* Managed memory: memory of the host that the program and the devices use at one address. All of it counts for
 * memory.backing at once, since the program writes to it unseen; none of it counts for a device, from which it may be
 * evicted (doc). Nothing migrates: advice and prefetches are remembered, and told when asked for. */
#include "cuda/managed.h"

#include <stdlib.h>
#include <sys/mman.h>

enum {
    ATTRIBUTE_MANAGED_MEMORY = 83,
    ATTRIBUTE_CONCURRENT_ACCESS = 89,
    ATTACH_GLOBAL = 1,
    ATTACH_HOST = 2,
};

/* What holds for a part of the region; the parts of a region fill it. */
struct vgpu_advice {
    struct vgpu_advice *next;
    uint64_t start;
    uint64_t end;
    struct vgpu_range range;
};

static const struct vgpu_range nothing = {.preferred = {.id = VGPU_NOWHERE}, .prefetched = {.id = VGPU_NOWHERE}};

void vgpu_advice_free(struct vgpu_advice *advice) {
    while (advice != NULL) {
        struct vgpu_advice *next = advice->next;
        free(advice);
        advice = next;
    }
}

CUresult vgpu_managed_new(struct vgpu_process *process, struct vgpu_call *call, CUcontext owner, CUdevice device,
                          uint64_t size, unsigned int flags, uint64_t *address) {
    struct vgpu_region region = {
        .size = size, .kind = VGPU_REGION_MANAGED, .owner = owner, .device = device, .flags = flags};
    if (vgpu_cuda_device_attribute(process, device, ATTRIBUTE_MANAGED_MEMORY) == 0) {
        return CUDA_ERROR_NOT_SUPPORTED;
    }
    struct vgpu_memory *memory = &process->cuda->memory;
    region.advice = calloc(1, sizeof(*region.advice));
    region.store = region.advice != NULL ? vgpu_store_new_managed(process, call, size) : NULL;
    if (region.store != NULL) {
        region.address = (uint64_t)(uintptr_t)region.store->bytes;
        *region.advice = (struct vgpu_advice){NULL, region.address, region.address + size, nothing};
    }
    if (region.store == NULL || vgpu_region_add(memory, &region) == NULL) {
        vgpu_store_drop(memory, region.store);
        free(region.advice);
        return CUDA_ERROR_OUT_OF_MEMORY;
    }
    *address = region.address;
    return CUDA_SUCCESS;
}

/* The flags are looked at before cuInit is asked for (measured on 535.261.03). */
CUresult vgpu_cuMemAllocManaged(struct vgpu_process *process, struct vgpu_call *call, CUdeviceptr *dptr,
                                size_t bytesize, unsigned int flags) {
    if (dptr == NULL || bytesize == 0 || (flags != ATTACH_GLOBAL && flags != ATTACH_HOST)) {
        return CUDA_ERROR_INVALID_VALUE;
    }
    CUcontext context;
    CUdevice device;
    CUresult refusal = vgpu_cuda_ready(process);
    refusal = refusal == CUDA_SUCCESS ? vgpu_context_current(process, &context, &device) : refusal;
    uint64_t address;
    refusal =
        refusal == CUDA_SUCCESS ? vgpu_managed_new(process, call, context, device, bytesize, flags, &address) : refusal;
    if (refusal != CUDA_SUCCESS) {
        return refusal;
    }
    *dptr = address;
    vgpu_call_output(call, dptr, sizeof(*dptr));
    return CUDA_SUCCESS;
}

CUresult vgpu_managed_check(struct vgpu_process *process, uint64_t address, uint64_t size) {
    const struct vgpu_region *region = vgpu_region_at(&process->cuda->memory, address);
    int inside = region != NULL && region->kind == VGPU_REGION_MANAGED && size != 0 &&
                 size <= region->size - (address - region->address);
    return inside ? CUDA_SUCCESS : CUDA_ERROR_INVALID_VALUE;
}

CUresult vgpu_managed_location(struct vgpu_process *process, CUmemLocation *location) {
    switch (location->type) {
    case VGPU_LOCATION_DEVICE:
        if (vgpu_cuda_device(process, location->id) == NULL ||
            vgpu_cuda_device_attribute(process, location->id, ATTRIBUTE_CONCURRENT_ACCESS) == 0) {
            return CUDA_ERROR_INVALID_DEVICE;
        }
        return CUDA_SUCCESS;
    case VGPU_PLACE_HOST:
        location->id = 0;
        return CUDA_SUCCESS;
    case VGPU_LOCATION_HOST_NUMA:
        return location->id >= 0 ? CUDA_SUCCESS : CUDA_ERROR_INVALID_VALUE;
    case VGPU_PLACE_NUMA_CURRENT:
        *location = (CUmemLocation){VGPU_LOCATION_HOST_NUMA, 0};
        return CUDA_SUCCESS;
    default:
        return CUDA_ERROR_INVALID_VALUE;
    }
}

CUmemLocation vgpu_managed_device(CUdevice device) {
    return device == VGPU_DEVICE_CPU ? (CUmemLocation){VGPU_PLACE_HOST, 0}
                                     : (CUmemLocation){VGPU_LOCATION_DEVICE, device};
}

/* Makes a part end at `address`: 1, or 0: no memory. */
static int cut(struct vgpu_advice *part, uint64_t address) {
    while (part != NULL && part->end <= address) {
        part = part->next;
    }
    if (part == NULL || part->start >= address) {
        return 1;
    }
    struct vgpu_advice *rest = malloc(sizeof(*rest));
    if (rest == NULL) {
        return 0;
    }
    *rest = *part;
    rest->start = address;
    part->end = address;
    part->next = rest;
    return 1;
}

CUresult vgpu_managed_change(struct vgpu_process *process, uint64_t address, uint64_t size,
                             void (*change)(struct vgpu_range *range, const CUmemLocation *location),
                             const CUmemLocation *location) {
    const struct vgpu_region *region = vgpu_region_at(&process->cuda->memory, address);
    uint64_t start = address / VGPU_PAGE * VGPU_PAGE; /* whole pages (doc) */
    uint64_t end = (address + size + VGPU_PAGE - 1) / VGPU_PAGE * VGPU_PAGE;
    if (!cut(region->advice, start) || !cut(region->advice, end)) {
        return CUDA_ERROR_OUT_OF_MEMORY;
    }
    for (struct vgpu_advice *part = region->advice; part != NULL; part = part->next) {
        if (part->start >= start && part->end <= end + VGPU_PAGE && part->start < end) {
            change(&part->range, location);
        }
    }
    return CUDA_SUCCESS;
}

static int is_same(const CUmemLocation *a, const CUmemLocation *b) {
    return a->type == b->type && a->id == b->id;
}

struct vgpu_range vgpu_managed_range(struct vgpu_process *process, uint64_t address, uint64_t size) {
    const struct vgpu_region *region = vgpu_region_at(&process->cuda->memory, address);
    struct vgpu_range all = nothing;
    int first = 1;
    for (const struct vgpu_advice *part = region->advice; part != NULL; part = part->next) {
        if (part->end <= address || part->start >= address + size) {
            continue;
        }
        if (first) {
            all = part->range;
        }
        all.read_mostly &= part->range.read_mostly;
        all.accessed_by &= part->range.accessed_by;
        all.preferred = is_same(&all.preferred, &part->range.preferred) ? all.preferred : nothing.preferred;
        all.prefetched = is_same(&all.prefetched, &part->range.prefetched) ? all.prefetched : nothing.prefetched;
        first = 0;
    }
    return all;
}

/* The contents are no longer of use: they become zeros, and the host has its memory back. A page that has other
 * contents, too, stays. */
void vgpu_managed_discard(uint64_t address, uint64_t size) {
    uint64_t start = (address + VGPU_PAGE - 1) / VGPU_PAGE * VGPU_PAGE;
    uint64_t end = (address + size) / VGPU_PAGE * VGPU_PAGE;
    if (start < end) {
        madvise((void *)(uintptr_t)start, end - start, MADV_DONTNEED);
    }
}
