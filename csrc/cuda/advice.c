/* Advice about managed memory, prefetches of it, and what is told of both. */
#include <string.h>

#include "cuda/managed.h"

enum advice {
    SET_READ_MOSTLY = 1,
    UNSET_READ_MOSTLY = 2,
    SET_PREFERRED = 3,
    UNSET_PREFERRED = 4,
    SET_ACCESSED_BY = 5,
    UNSET_ACCESSED_BY = 6,
};

enum range_attribute {
    READ_MOSTLY = 1,
    PREFERRED = 2,
    ACCESSED_BY = 3,
    PREFETCHED = 4,
    PREFERRED_TYPE = 5,
    PREFERRED_ID = 6,
    PREFETCHED_TYPE = 7,
    PREFETCHED_ID = 8,
};

static uint32_t bit_of(const CUmemLocation *location) {
    return 1u << (location->type == VGPU_LOCATION_DEVICE ? location->id : VGPU_ACCESSED_BY_CPU);
}

static void set_read_mostly(struct vgpu_range *range, const CUmemLocation *location) {
    (void)location;
    range->read_mostly = 1;
}

static void unset_read_mostly(struct vgpu_range *range, const CUmemLocation *location) {
    (void)location;
    range->read_mostly = 0;
}

static void set_preferred(struct vgpu_range *range, const CUmemLocation *location) {
    range->preferred = *location;
}

static void unset_preferred(struct vgpu_range *range, const CUmemLocation *location) {
    (void)location;
    range->preferred = (CUmemLocation){VGPU_PLACE_NONE, VGPU_NOWHERE};
}

static void set_accessed_by(struct vgpu_range *range, const CUmemLocation *location) {
    range->accessed_by |= bit_of(location);
}

static void unset_accessed_by(struct vgpu_range *range, const CUmemLocation *location) {
    range->accessed_by &= ~bit_of(location);
}

static void set_prefetched(struct vgpu_range *range, const CUmemLocation *location) {
    range->prefetched = *location;
}

/* Does the advice need a location? -1: there is no such advice. */
static int needs_location(CUmem_advise advice) {
    if (advice < SET_READ_MOSTLY || advice > UNSET_ACCESSED_BY) {
        return -1;
    }
    return advice == SET_PREFERRED || advice == SET_ACCESSED_BY || advice == UNSET_ACCESSED_BY;
}

static CUresult advise(struct vgpu_process *process, uint64_t address, uint64_t size, CUmem_advise advice,
                       CUmemLocation location) {
    static void (*const changes[])(struct vgpu_range *, const CUmemLocation *) = {
        [SET_READ_MOSTLY] = set_read_mostly, [UNSET_READ_MOSTLY] = unset_read_mostly,
        [SET_PREFERRED] = set_preferred,     [UNSET_PREFERRED] = unset_preferred,
        [SET_ACCESSED_BY] = set_accessed_by, [UNSET_ACCESSED_BY] = unset_accessed_by,
    };
    CUresult refusal = vgpu_managed_check(process, address, size);
    if (refusal == CUDA_SUCCESS && needs_location(advice)) {
        refusal = vgpu_managed_location(process, &location);
        if (advice != SET_PREFERRED && location.type == VGPU_LOCATION_HOST_NUMA) {
            return CUDA_ERROR_INVALID_VALUE;
        }
    }
    return refusal == CUDA_SUCCESS ? vgpu_managed_change(process, address, size, changes[advice], &location) : refusal;
}

CUresult vgpu_cuMemAdvise(struct vgpu_process *process, struct vgpu_call *call, CUdeviceptr devPtr, size_t count,
                          CUmem_advise advice, CUdevice device) {
    (void)call;
    return needs_location(advice) >= 0 ? advise(process, devPtr, count, advice, vgpu_managed_device(device))
                                       : CUDA_ERROR_INVALID_VALUE;
}

static int is_location(const CUmemLocation *location) {
    return location->type >= VGPU_LOCATION_DEVICE && location->type <= VGPU_PLACE_NUMA_CURRENT;
}

/* Advice and location are looked at before cuInit is asked for (measured on 535.261.03). */
CUresult vgpu_cuMemAdvise_v2(struct vgpu_process *process, struct vgpu_call *call, CUdeviceptr devPtr, size_t count,
                             CUmem_advise advice, CUmemLocation location) {
    (void)call;
    int needs = needs_location(advice);
    if (needs < 0 || (needs && !is_location(&location))) {
        return CUDA_ERROR_INVALID_VALUE;
    }
    CUresult refusal = vgpu_cuda_ready(process);
    return refusal == CUDA_SUCCESS ? advise(process, devPtr, count, advice, location) : refusal;
}

static CUresult prefetch(struct vgpu_process *process, uint64_t address, uint64_t size, CUmemLocation location) {
    CUresult refusal = vgpu_managed_check(process, address, size);
    refusal = refusal == CUDA_SUCCESS ? vgpu_managed_location(process, &location) : refusal;
    return refusal == CUDA_SUCCESS ? vgpu_managed_change(process, address, size, set_prefetched, &location) : refusal;
}

CUresult vgpu_cuMemPrefetchAsync(struct vgpu_process *process, struct vgpu_call *call, CUdeviceptr devPtr, size_t count,
                                 CUdevice dstDevice, CUstream hStream) {
    CUresult refusal = vgpu_stream_check(process, call, hStream);
    return refusal == CUDA_SUCCESS ? prefetch(process, devPtr, count, vgpu_managed_device(dstDevice)) : refusal;
}

CUresult vgpu_cuMemPrefetchAsync_v2(struct vgpu_process *process, struct vgpu_call *call, CUdeviceptr devPtr,
                                    size_t count, CUmemLocation location, unsigned int flags, CUstream hStream) {
    if (!is_location(&location) || flags != 0) {
        return CUDA_ERROR_INVALID_VALUE;
    }
    CUresult refusal = vgpu_stream_check(process, call, hStream);
    return refusal == CUDA_SUCCESS ? prefetch(process, devPtr, count, location) : refusal;
}

/* A batch: all of it is checked before any of it is done. `places` NULL: it is not prefetched. */
struct batch {
    const CUdeviceptr *addresses;
    const size_t *sizes;
    size_t count;
    const CUmemLocation *places;
    const size_t *indices;
    size_t place_count;
    int discarding;
};

static CUresult check_batch(struct vgpu_process *process, const struct batch *batch) {
    CUresult refusal = CUDA_SUCCESS;
    for (size_t i = 0; refusal == CUDA_SUCCESS && i < batch->count; i++) {
        refusal = vgpu_managed_check(process, batch->addresses[i], batch->sizes[i]);
    }
    for (size_t i = 0; refusal == CUDA_SUCCESS && i < batch->place_count; i++) {
        CUmemLocation place = batch->places[i];
        int ordered = i == 0 ? batch->indices[0] == 0 : batch->indices[i] > batch->indices[i - 1];
        refusal = ordered && batch->indices[i] < batch->count ? vgpu_managed_location(process, &place)
                                                              : CUDA_ERROR_INVALID_VALUE;
    }
    return refusal;
}

static CUresult do_batch(struct vgpu_process *process, struct vgpu_call *call, const struct batch *batch,
                         unsigned long long flags, CUstream stream) {
    CUresult result =
        stream != NULL || call->per_thread ? vgpu_stream_check(process, call, stream) : CUDA_ERROR_INVALID_VALUE;
    if (result == CUDA_SUCCESS &&
        (batch->addresses == NULL || batch->sizes == NULL || batch->count == 0 || flags != 0)) {
        result = CUDA_ERROR_INVALID_VALUE;
    }
    result = result == CUDA_SUCCESS ? check_batch(process, batch) : result;
    size_t place = 0;
    for (size_t i = 0; result == CUDA_SUCCESS && i < batch->count; i++) {
        if (batch->discarding) {
            vgpu_managed_discard(batch->addresses[i], batch->sizes[i]);
        }
        if (place + 1 < batch->place_count && batch->indices[place + 1] == i) {
            place++;
        }
        if (batch->places != NULL) {
            result = prefetch(process, batch->addresses[i], batch->sizes[i], batch->places[place]);
        }
    }
    return result;
}

CUresult vgpu_cuMemPrefetchBatchAsync(struct vgpu_process *process, struct vgpu_call *call, CUdeviceptr *dptrs,
                                      size_t *sizes, size_t count, CUmemLocation *prefetchLocs, size_t *prefetchLocIdxs,
                                      size_t numPrefetchLocs, unsigned long long flags, CUstream hStream) {
    const struct batch batch = {dptrs, sizes, count, prefetchLocs, prefetchLocIdxs, numPrefetchLocs, 0};
    return prefetchLocs != NULL && prefetchLocIdxs != NULL && numPrefetchLocs != 0 && numPrefetchLocs <= count
               ? do_batch(process, call, &batch, flags, hStream)
               : CUDA_ERROR_INVALID_VALUE;
}

CUresult vgpu_cuMemDiscardBatchAsync(struct vgpu_process *process, struct vgpu_call *call, CUdeviceptr *dptrs,
                                     size_t *sizes, size_t count, unsigned long long flags, CUstream hStream) {
    const struct batch batch = {.addresses = dptrs, .sizes = sizes, .count = count, .discarding = 1};
    return do_batch(process, call, &batch, flags, hStream);
}

CUresult vgpu_cuMemDiscardAndPrefetchBatchAsync(struct vgpu_process *process, struct vgpu_call *call,
                                                CUdeviceptr *dptrs, size_t *sizes, size_t count,
                                                CUmemLocation *prefetchLocs, size_t *prefetchLocIdxs,
                                                size_t numPrefetchLocs, unsigned long long flags, CUstream hStream) {
    const struct batch batch = {dptrs, sizes, count, prefetchLocs, prefetchLocIdxs, numPrefetchLocs, 1};
    return prefetchLocs != NULL && prefetchLocIdxs != NULL && numPrefetchLocs != 0 && numPrefetchLocs <= count
               ? do_batch(process, call, &batch, flags, hStream)
               : CUDA_ERROR_INVALID_VALUE;
}

/* A place as functions from before CUDA 12.2 say it. */
static int device_number(const CUmemLocation *place) {
    return place->type == VGPU_LOCATION_DEVICE ? place->id
           : place->type == VGPU_PLACE_HOST    ? VGPU_DEVICE_CPU
                                               : VGPU_NOWHERE;
}

static void list_devices(uint32_t accessed_by, int *numbers, size_t room) {
    size_t count = 0;
    for (int bit = 0; bit <= VGPU_ACCESSED_BY_CPU && count < room; bit++) {
        if ((accessed_by >> bit & 1) != 0) {
            numbers[count++] = bit == VGPU_ACCESSED_BY_CPU ? VGPU_DEVICE_CPU : bit;
        }
    }
    while (count < room) {
        numbers[count++] = VGPU_NOWHERE;
    }
}

static CUresult tell(const struct vgpu_range *range, void *data, size_t size, CUmem_range_attribute attribute) {
    if (data == NULL || size == 0 || size % sizeof(int) != 0 || (attribute != ACCESSED_BY && size != sizeof(int))) {
        return CUDA_ERROR_INVALID_VALUE;
    }
    int number;
    switch (attribute) {
    case READ_MOSTLY:
        number = (int)range->read_mostly;
        break;
    case PREFERRED:
        number = device_number(&range->preferred);
        break;
    case ACCESSED_BY:
        list_devices(range->accessed_by, data, size / sizeof(int));
        return CUDA_SUCCESS;
    case PREFETCHED:
        number = device_number(&range->prefetched);
        break;
    case PREFERRED_TYPE:
        number = range->preferred.type;
        break;
    case PREFERRED_ID:
        number = range->preferred.id;
        break;
    case PREFETCHED_TYPE:
        number = range->prefetched.type;
        break;
    case PREFETCHED_ID:
        number = range->prefetched.id;
        break;
    default:
        return CUDA_ERROR_INVALID_VALUE;
    }
    memcpy(data, &number, sizeof(number));
    return CUDA_SUCCESS;
}

CUresult vgpu_cuMemRangeGetAttribute(struct vgpu_process *process, struct vgpu_call *call, void *data, size_t dataSize,
                                     CUmem_range_attribute attribute, CUdeviceptr devPtr, size_t count) {
    CUresult refusal = vgpu_managed_check(process, devPtr, count);
    if (refusal != CUDA_SUCCESS) {
        return refusal;
    }
    const struct vgpu_range range = vgpu_managed_range(process, devPtr, count);
    refusal = tell(&range, data, dataSize, attribute);
    if (refusal == CUDA_SUCCESS) {
        vgpu_call_output(call, data, sizeof(int));
    }
    return refusal;
}

CUresult vgpu_cuMemRangeGetAttributes(struct vgpu_process *process, struct vgpu_call *call, void **data,
                                      size_t *dataSizes, CUmem_range_attribute *attributes, size_t numAttributes,
                                      CUdeviceptr devPtr, size_t count) {
    CUresult refusal = vgpu_managed_check(process, devPtr, count);
    if (refusal != CUDA_SUCCESS || data == NULL || dataSizes == NULL || attributes == NULL || numAttributes == 0) {
        return refusal != CUDA_SUCCESS ? refusal : CUDA_ERROR_INVALID_VALUE;
    }
    const struct vgpu_range range = vgpu_managed_range(process, devPtr, count);
    for (size_t i = 0; refusal == CUDA_SUCCESS && i < numAttributes; i++) {
        refusal = tell(&range, data[i], dataSizes[i], attributes[i]);
        if (refusal == CUDA_SUCCESS) {
            vgpu_call_output(call, data[i], sizeof(int));
        }
    }
    return refusal;
}
