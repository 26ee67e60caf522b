/* Memory pools and the stream-ordered allocator. A pool takes memory of its device in steps, and keeps what it has up
 * to its release threshold. What is freed is free at once: work is done when the call that asks for it returns, so
 * there is no synchronisation to wait for (own choice). */
#include "cuda/pool.h"

#include <stdlib.h>

#include "cuda/capture.h"
#include "cuda/graph.h"

#define STEP ((uint64_t)VGPU_CUDA_GRANULARITY) /* own choice; NVIDIA's library takes 32 MiB at first */

enum {
    ATTRIBUTE_POOLS_SUPPORTED = 115,
    ALLOCATION_ALIGNMENT = 512, /* what each allocation counts in */
    NO_DOMAIN = -1,
};

static uint64_t rounded(uint64_t bytes, uint64_t step) {
    return (bytes + step - 1) / step * step;
}

static void set_reserved(struct vgpu_cuda *cuda, struct vgpu_pool *pool, uint64_t bytes) {
    cuda->device[pool->device].allocated += bytes - pool->reserved;
    pool->reserved = bytes;
    pool->reserved_high = bytes > pool->reserved_high ? bytes : pool->reserved_high;
}

/* Gives back all above what is in use and `keep`. */
static void trim(struct vgpu_cuda *cuda, struct vgpu_pool *pool, uint64_t keep) {
    uint64_t least = rounded(pool->used, STEP);
    if (keep < pool->reserved) {
        keep = keep > UINT64_MAX - STEP ? keep : rounded(keep, STEP);
        least = keep > least ? keep : least;
        set_reserved(cuda, pool, least < pool->reserved ? least : pool->reserved);
    }
}

static void end_pool(struct vgpu_process *process, struct vgpu_object *object) {
    struct vgpu_pool *pool = (struct vgpu_pool *)object;
    pool->destroyed = 1;
    pool->threshold = 0;
    trim(process->cuda, pool, 0);
    if (pool->allocations == 0) {
        free(pool);
    }
}

void vgpu_pool_give_back(struct vgpu_cuda *cuda, struct vgpu_pool *pool, uint64_t size) {
    pool->allocations--;
    pool->used -= rounded(size, ALLOCATION_ALIGNMENT);
    trim(cuda, pool, pool->threshold);
    if (pool->destroyed && pool->allocations == 0) {
        free(pool);
    }
}

static struct vgpu_pool *make(struct vgpu_process *process, const CUmemPoolProps *props) {
    struct vgpu_pool *pool = calloc(1, sizeof(*pool));
    if (pool == NULL) {
        return NULL;
    }
    pool->object = (struct vgpu_object){.kind = VGPU_OBJECT_POOL, .end = end_pool};
    pool->props = *props;
    pool->device = props->location.id;
    pool->access[pool->device] = VGPU_ACCESS_READ_WRITE;
    for (int i = VGPU_POOL_FOLLOW_EVENTS; i <= VGPU_POOL_INTERNAL_DEPENDENCIES; i++) {
        pool->reuse[i] = 1;
    }
    if (!vgpu_object_add(process, &pool->object)) {
        free(pool);
        return NULL;
    }
    return pool;
}

static CUresult check_device(struct vgpu_process *process, CUdevice dev) {
    if (vgpu_cuda_device(process, dev) == NULL) {
        return CUDA_ERROR_INVALID_DEVICE;
    }
    return vgpu_cuda_device_attribute(process, dev, ATTRIBUTE_POOLS_SUPPORTED) != 0 ? CUDA_SUCCESS
                                                                                    : CUDA_ERROR_NOT_SUPPORTED;
}

/* `current`: the one that cuMemAllocAsync takes from, else the default one. */
static CUresult pool_of(struct vgpu_process *process, CUdevice dev, int current, struct vgpu_pool **pool) {
    CUresult refusal = check_device(process, dev);
    if (refusal != CUDA_SUCCESS) {
        return refusal;
    }
    struct vgpu_memory *memory = &process->cuda->memory;
    if (memory->default_pool[dev] == NULL) {
        const CUmemPoolProps props = {.allocType = VGPU_ALLOCATION_PINNED, .location = {VGPU_LOCATION_DEVICE, dev}};
        memory->default_pool[dev] = make(process, &props);
        if (memory->default_pool[dev] == NULL) {
            return CUDA_ERROR_OUT_OF_MEMORY;
        }
        memory->default_pool[dev]->is_default = 1;
    }
    *pool = current && memory->pool[dev] != NULL ? memory->pool[dev] : memory->default_pool[dev];
    return CUDA_SUCCESS;
}

static CUresult give_pool(struct vgpu_process *process, struct vgpu_call *call, CUmemoryPool *out, CUdevice dev,
                          int current) {
    struct vgpu_pool *pool;
    CUresult refusal = out != NULL ? pool_of(process, dev, current, &pool) : CUDA_ERROR_INVALID_VALUE;
    if (refusal != CUDA_SUCCESS) {
        return refusal;
    }
    *out = vgpu_object_handle(&pool->object);
    vgpu_call_output(call, out, sizeof(*out));
    return CUDA_SUCCESS;
}

struct vgpu_pool *vgpu_pool_find(struct vgpu_process *process, CUmemoryPool handle) {
    return vgpu_object_find(process, VGPU_OBJECT_POOL, handle);
}

CUresult vgpu_cuDeviceGetDefaultMemPool(struct vgpu_process *process, struct vgpu_call *call, CUmemoryPool *pool_out,
                                        CUdevice dev) {
    return give_pool(process, call, pool_out, dev, 0);
}

CUresult vgpu_cuDeviceGetMemPool(struct vgpu_process *process, struct vgpu_call *call, CUmemoryPool *pool,
                                 CUdevice dev) {
    return give_pool(process, call, pool, dev, 1);
}

CUresult vgpu_cuDeviceSetMemPool(struct vgpu_process *process, struct vgpu_call *call, CUdevice dev,
                                 CUmemoryPool pool) {
    (void)call;
    CUresult refusal = check_device(process, dev);
    if (refusal != CUDA_SUCCESS) {
        return refusal;
    }
    struct vgpu_pool *found = vgpu_pool_find(process, pool);
    if (found == NULL || found->device != dev) {
        return CUDA_ERROR_INVALID_VALUE;
    }
    process->cuda->memory.pool[dev] = found;
    return CUDA_SUCCESS;
}

/* Locations other than a device, and managed memory, have no pools here. */
static CUresult check_location(const CUmemLocation *location, CUmemAllocationType type) {
    if (location == NULL || type != VGPU_ALLOCATION_PINNED || location->type <= 0 ||
        location->type > VGPU_LOCATION_HOST_NUMA) {
        return CUDA_ERROR_INVALID_VALUE;
    }
    return location->type == VGPU_LOCATION_DEVICE ? CUDA_SUCCESS : CUDA_ERROR_NOT_SUPPORTED;
}

CUresult vgpu_cuMemGetDefaultMemPool(struct vgpu_process *process, struct vgpu_call *call, CUmemoryPool *pool_out,
                                     CUmemLocation *location, CUmemAllocationType type) {
    CUresult refusal = check_location(location, type);
    return refusal == CUDA_SUCCESS ? give_pool(process, call, pool_out, location->id, 0) : refusal;
}

CUresult vgpu_cuMemGetMemPool(struct vgpu_process *process, struct vgpu_call *call, CUmemoryPool *pool,
                              CUmemLocation *location, CUmemAllocationType type) {
    CUresult refusal = check_location(location, type);
    return refusal == CUDA_SUCCESS ? give_pool(process, call, pool, location->id, 1) : refusal;
}

CUresult vgpu_cuMemSetMemPool(struct vgpu_process *process, struct vgpu_call *call, CUmemLocation *location,
                              CUmemAllocationType type, CUmemoryPool pool) {
    CUresult refusal = check_location(location, type);
    return refusal == CUDA_SUCCESS ? vgpu_cuDeviceSetMemPool(process, call, location->id, pool) : refusal;
}

/* Pools are of device memory; one that other processes could open would need to share all it ever has. */
CUresult vgpu_pool_check(struct vgpu_process *process, const CUmemPoolProps *props) {
    CUresult refusal = check_location(&props->location, props->allocType);
    refusal = refusal == CUDA_SUCCESS ? check_device(process, props->location.id) : refusal;
    return refusal == CUDA_SUCCESS && (props->handleTypes != 0 || props->usage != 0) ? CUDA_ERROR_NOT_SUPPORTED
                                                                                     : refusal;
}

CUresult vgpu_cuMemPoolCreate(struct vgpu_process *process, struct vgpu_call *call, CUmemoryPool *pool,
                              const CUmemPoolProps *poolProps) {
    if (pool == NULL || poolProps == NULL || poolProps->win32SecurityAttributes != NULL) {
        return CUDA_ERROR_INVALID_VALUE;
    }
    CUresult refusal = vgpu_pool_check(process, poolProps);
    if (refusal != CUDA_SUCCESS) {
        return refusal;
    }
    struct vgpu_pool *made = make(process, poolProps);
    if (made == NULL) {
        return CUDA_ERROR_OUT_OF_MEMORY;
    }
    if (made->props.maxSize != 0 && made->props.maxSize < UINT64_MAX - STEP) {
        made->props.maxSize = rounded(made->props.maxSize, STEP);
    }
    *pool = vgpu_object_handle(&made->object);
    vgpu_call_output(call, pool, sizeof(*pool));
    return CUDA_SUCCESS;
}

/* The device falls back to its default pool, which is never destroyed (doc). */
CUresult vgpu_cuMemPoolDestroy(struct vgpu_process *process, struct vgpu_call *call, CUmemoryPool pool) {
    (void)call;
    struct vgpu_pool *found = vgpu_pool_find(process, pool);
    if (found == NULL || found->is_default) {
        return CUDA_ERROR_INVALID_VALUE;
    }
    if (process->cuda->memory.pool[found->device] == found) {
        process->cuda->memory.pool[found->device] = NULL;
    }
    vgpu_object_drop(process, &found->object);
    return CUDA_SUCCESS;
}

CUresult vgpu_cuMemPoolTrimTo(struct vgpu_process *process, struct vgpu_call *call, CUmemoryPool pool,
                              size_t minBytesToKeep) {
    (void)call;
    struct vgpu_pool *found = vgpu_pool_find(process, pool);
    if (found == NULL) {
        return CUDA_ERROR_INVALID_VALUE;
    }
    trim(process->cuda, found, minBytesToKeep);
    return CUDA_SUCCESS;
}

static CUresult allocate(struct vgpu_process *process, struct vgpu_call *call, struct vgpu_pool *pool,
                         CUdeviceptr *dptr, uint64_t size) {
    struct vgpu_cuda *cuda = process->cuda;
    uint64_t most = vgpu_cuda_free(&cuda->device[pool->device]);
    if (size > most + pool->reserved) {
        return CUDA_ERROR_OUT_OF_MEMORY;
    }
    uint64_t used = pool->used + rounded(size, ALLOCATION_ALIGNMENT);
    uint64_t reserved = rounded(used, STEP);
    if ((reserved > pool->reserved && reserved - pool->reserved > most) ||
        (pool->props.maxSize != 0 && reserved > pool->props.maxSize)) {
        return CUDA_ERROR_OUT_OF_MEMORY;
    }
    struct vgpu_region region = {.size = size, .kind = VGPU_REGION_POOL, .device = pool->device, .pool = pool};
    region.address = vgpu_region_new_address(&cuda->memory, size, 0);
    region.store = region.address != 0 ? vgpu_store_new(size) : NULL;
    if (region.store == NULL || vgpu_region_add(&cuda->memory, &region) == NULL) {
        vgpu_store_drop(&cuda->memory, region.store);
        return CUDA_ERROR_OUT_OF_MEMORY;
    }
    pool->allocations++;
    pool->used = used;
    pool->used_high = used > pool->used_high ? used : pool->used_high;
    if (reserved > pool->reserved) {
        set_reserved(cuda, pool, reserved);
    }
    *dptr = region.address;
    vgpu_call_output(call, dptr, sizeof(*dptr));
    return CUDA_SUCCESS;
}

/* A graph that is captured owns the memory: its node is made as the pool says (cuda.h 13.5, cuMemAllocAsync). */
static CUresult capture(struct vgpu_process *process, struct vgpu_call *call, struct vgpu_stream *stream,
                        const struct vgpu_pool *pool, CUdeviceptr *dptr, uint64_t size) {
    CUmemAccessDesc peers[VGPU_GPUS_MAX];
    CUgraphNodeParams params = {.type = VGPU_NODE_MEM_ALLOC};
    params.alloc.poolProps = pool->props;
    params.alloc.poolProps.maxSize = 0;
    params.alloc.accessDescs = peers;
    params.alloc.bytesize = size;
    for (int i = 0; i < VGPU_GPUS_MAX; i++) {
        if (i != pool->device && pool->access[i] != VGPU_ACCESS_NONE) {
            peers[params.alloc.accessDescCount++] = (CUmemAccessDesc){{VGPU_LOCATION_DEVICE, i}, pool->access[i]};
        }
    }
    CUresult result = vgpu_capture_node(process, stream, &params);
    if (result == CUDA_SUCCESS) {
        *dptr = vgpu_node_find(process, stream->dependencies[0])->params.alloc.dptr;
        vgpu_call_output(call, dptr, sizeof(*dptr));
    }
    return result;
}

static CUresult take(struct vgpu_process *process, struct vgpu_call *call, struct vgpu_stream *stream,
                     struct vgpu_pool *pool, CUdeviceptr *dptr, uint64_t size) {
    if (dptr == NULL || size == 0) {
        return CUDA_ERROR_INVALID_VALUE;
    }
    return stream->capture != NULL ? capture(process, call, stream, pool, dptr, size)
                                   : allocate(process, call, pool, dptr, size);
}

CUresult vgpu_cuMemAllocAsync(struct vgpu_process *process, struct vgpu_call *call, CUdeviceptr *dptr, size_t bytesize,
                              CUstream hStream) {
    struct vgpu_stream *stream;
    struct vgpu_pool *pool;
    CUresult refusal = vgpu_stream_for_work(process, call, hStream, &stream);
    refusal = refusal == CUDA_SUCCESS ? pool_of(process, stream->device, 1, &pool) : refusal;
    return refusal == CUDA_SUCCESS ? take(process, call, stream, pool, dptr, bytesize) : refusal;
}

CUresult vgpu_cuMemAllocFromPoolAsync(struct vgpu_process *process, struct vgpu_call *call, CUdeviceptr *dptr,
                                      size_t bytesize, CUmemoryPool pool, CUstream hStream) {
    struct vgpu_stream *stream;
    CUresult refusal = vgpu_stream_for_work(process, call, hStream, &stream);
    struct vgpu_pool *found = refusal == CUDA_SUCCESS ? vgpu_pool_find(process, pool) : NULL;
    if (found == NULL) {
        return refusal != CUDA_SUCCESS ? refusal : CUDA_ERROR_INVALID_VALUE;
    }
    return take(process, call, stream, found, dptr, bytesize);
}

/* Memory of cuMemAlloc may be freed in a stream, and memory of a pool by cuMemFree (CUDA C++ Programming Guide, Stream
 * Ordered Memory Allocator); a graph that is captured frees memory of graphs alone (cuda.h 13.5, cuMemFreeAsync). */
CUresult vgpu_cuMemFreeAsync(struct vgpu_process *process, struct vgpu_call *call, CUdeviceptr dptr, CUstream hStream) {
    struct vgpu_stream *stream;
    CUresult refusal = vgpu_stream_for_work(process, call, hStream, &stream);
    if (refusal != CUDA_SUCCESS || stream->capture == NULL) {
        return refusal == CUDA_SUCCESS ? vgpu_cuMemFree_v2(process, call, dptr) : refusal;
    }
    CUgraphNodeParams params = {.type = VGPU_NODE_MEM_FREE};
    params.free.dptr = dptr;
    return vgpu_capture_node(process, stream, &params);
}
