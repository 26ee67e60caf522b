/* What a pool is asked for and told: its attributes, and which devices have access to its memory. */
#include <string.h>

#include "cuda/pool.h"

enum { NO_DOMAIN = -1 };

/* Where an attribute's number is; NULL: it is none of 64 bits. */
static uint64_t *long_attribute(struct vgpu_pool *pool, CUmemPool_attribute attribute) {
    uint64_t *const numbers[] = {
        [VGPU_POOL_RELEASE_THRESHOLD] = &pool->threshold, [VGPU_POOL_RESERVED] = &pool->reserved,
        [VGPU_POOL_RESERVED_HIGH] = &pool->reserved_high, [VGPU_POOL_USED] = &pool->used,
        [VGPU_POOL_USED_HIGH] = &pool->used_high,         [VGPU_POOL_MAX_SIZE] = &pool->props.maxSize};
    return attribute >= 0 && (size_t)attribute < sizeof(numbers) / sizeof(numbers[0]) ? numbers[attribute] : NULL;
}

/* Those of 32 bits; 0: there is no such attribute. */
static int short_attribute(const struct vgpu_pool *pool, CUmemPool_attribute attribute, int *value) {
    switch ((enum vgpu_pool_attribute)attribute) {
    case VGPU_POOL_FOLLOW_EVENTS:
    case VGPU_POOL_OPPORTUNISTIC:
    case VGPU_POOL_INTERNAL_DEPENDENCIES:
        *value = pool->reuse[attribute];
        return 1;
    case VGPU_POOL_ALLOCATION_TYPE:
        *value = pool->props.allocType;
        return 1;
    case VGPU_POOL_HANDLE_TYPES:
        *value = pool->props.handleTypes;
        return 1;
    case VGPU_POOL_LOCATION_ID:
        *value = pool->props.location.id;
        return 1;
    case VGPU_POOL_LOCATION_TYPE:
        *value = pool->props.location.type;
        return 1;
    case VGPU_POOL_HW_DECOMPRESS:
        *value = 0;
        return 1;
    case VGPU_POOL_LOCALITY_DOMAIN:
        *value = NO_DOMAIN;
        return 1;
    case VGPU_POOL_RELEASE_THRESHOLD:
    case VGPU_POOL_RESERVED:
    case VGPU_POOL_RESERVED_HIGH:
    case VGPU_POOL_USED:
    case VGPU_POOL_USED_HIGH:
    case VGPU_POOL_MAX_SIZE:
        break;
    }
    return 0;
}

CUresult vgpu_cuMemPoolGetAttribute(struct vgpu_process *process, struct vgpu_call *call, CUmemoryPool pool,
                                    CUmemPool_attribute attr, void *value) {
    struct vgpu_pool *found = vgpu_pool_find(process, pool);
    if (found == NULL || value == NULL) {
        return CUDA_ERROR_INVALID_VALUE;
    }
    const uint64_t *number = long_attribute(found, attr);
    int small;
    if (number == NULL && !short_attribute(found, attr, &small)) {
        return CUDA_ERROR_INVALID_VALUE;
    }
    size_t size = number != NULL ? sizeof(*number) : sizeof(small);
    memcpy(value, number != NULL ? (const void *)number : &small, size);
    vgpu_call_output(call, value, size);
    return CUDA_SUCCESS;
}

/* High watermarks can only be set to 0 (doc). */
CUresult vgpu_cuMemPoolSetAttribute(struct vgpu_process *process, struct vgpu_call *call, CUmemoryPool pool,
                                    CUmemPool_attribute attr, void *value) {
    (void)call;
    struct vgpu_pool *found = vgpu_pool_find(process, pool);
    if (found == NULL || value == NULL) {
        return CUDA_ERROR_INVALID_VALUE;
    }
    if (attr >= VGPU_POOL_FOLLOW_EVENTS && attr <= VGPU_POOL_INTERNAL_DEPENDENCIES) {
        int flag;
        memcpy(&flag, value, sizeof(flag));
        found->reuse[attr] = flag != 0;
        return CUDA_SUCCESS;
    }
    int is_high = attr == VGPU_POOL_RESERVED_HIGH || attr == VGPU_POOL_USED_HIGH;
    uint64_t number = 0;
    if (is_high || attr == VGPU_POOL_RELEASE_THRESHOLD) {
        memcpy(&number, value, sizeof(number));
    }
    if ((is_high && number != 0) || (!is_high && attr != VGPU_POOL_RELEASE_THRESHOLD)) {
        return CUDA_ERROR_INVALID_VALUE;
    }
    *long_attribute(found, attr) = number;
    return CUDA_SUCCESS;
}

/* A pool's own device keeps its access (own choice: nobody could use the memory). */
CUresult vgpu_cuMemPoolSetAccess(struct vgpu_process *process, struct vgpu_call *call, CUmemoryPool pool,
                                 const CUmemAccessDesc *map, size_t count) {
    (void)call;
    struct vgpu_pool *found = vgpu_pool_find(process, pool);
    if (found == NULL || (map == NULL && count != 0)) {
        return CUDA_ERROR_INVALID_VALUE;
    }
    for (size_t i = 0; i < count; i++) {
        if (map[i].location.type != VGPU_LOCATION_DEVICE ||
            (map[i].flags != VGPU_ACCESS_NONE && map[i].flags != VGPU_ACCESS_READ_WRITE)) {
            return CUDA_ERROR_INVALID_VALUE;
        }
        if (vgpu_cuda_device(process, map[i].location.id) == NULL) {
            return CUDA_ERROR_INVALID_DEVICE;
        }
        int own = map[i].location.id == found->device;
        if (own ? map[i].flags == VGPU_ACCESS_NONE : !vgpu_peer_possible(process, map[i].location.id, found->device)) {
            return CUDA_ERROR_INVALID_VALUE;
        }
    }
    for (size_t i = 0; i < count; i++) {
        found->access[map[i].location.id] = (uint8_t)map[i].flags;
    }
    return CUDA_SUCCESS;
}

CUresult vgpu_cuMemPoolGetAccess(struct vgpu_process *process, struct vgpu_call *call, CUmemAccess_flags *flags,
                                 CUmemoryPool memPool, CUmemLocation *location) {
    const struct vgpu_pool *found = vgpu_pool_find(process, memPool);
    if (found == NULL || flags == NULL || location == NULL || location->type != VGPU_LOCATION_DEVICE) {
        return CUDA_ERROR_INVALID_VALUE;
    }
    if (vgpu_cuda_device(process, location->id) == NULL) {
        return CUDA_ERROR_INVALID_DEVICE;
    }
    *flags = found->access[location->id];
    vgpu_call_output(call, flags, sizeof(*flags));
    return CUDA_SUCCESS;
}
