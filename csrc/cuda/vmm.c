/* Virtual memory management: physical memory (cuMemCreate) and address ranges (cuMemAddressReserve) that it is mapped
 * to.
 *
 * Ranges are really reserved, without access, so that no host allocation lands in one. Physical memory is accounted,
 * and lives until its handle is released and its last mapping is gone (doc); all its mappings show the same bytes. A
 * wrong handle is undefined in cuda.h; here it is an invalid value. */
#include <stdlib.h>
#include <sys/mman.h>

#include "cuda/vmm.h"

#define GRANULARITY ((uint64_t)VGPU_CUDA_GRANULARITY)
#define HANDLE_BASE 0x00e0000000000000ull

struct vgpu_reservation {
    struct vgpu_reservation *next;
    uint64_t start;
    uint64_t size;
    uint32_t mappings;
};

static void drop_unused(struct vgpu_cuda *cuda, struct vgpu_physical *physical) {
    if (physical->references != 0 || physical->mappings != 0) {
        return;
    }
    struct vgpu_physical **link = &cuda->memory.physicals;
    while (*link != physical) {
        link = &(*link)->next;
    }
    *link = physical->next;
    if (!physical->imported) {
        cuda->device[physical->prop.location.id].allocated -= physical->size;
    }
    vgpu_store_drop(&cuda->memory, physical->store);
    free(physical);
}

void vgpu_mapping_gone(struct vgpu_cuda *cuda, const struct vgpu_region *region) {
    region->reservation->mappings--;
    region->physical->mappings--;
    drop_unused(cuda, region->physical);
}

static void give_back(struct vgpu_reservation **link) {
    struct vgpu_reservation *range = *link;
    *link = range->next;
    munmap((void *)(uintptr_t)range->start, range->size);
    free(range);
}

void vgpu_vmm_free_all(struct vgpu_cuda *cuda) {
    while (cuda->memory.reservations != NULL) {
        give_back(&cuda->memory.reservations);
    }
    while (cuda->memory.physicals != NULL) {
        cuda->memory.physicals->references = 0;
        drop_unused(cuda, cuda->memory.physicals);
    }
}

static int is_multiple(uint64_t number, uint64_t of) {
    return number % of == 0;
}

static CUresult check_device(struct vgpu_process *process, int ordinal) {
    const struct vgpu_device *device = vgpu_cuda_device(process, ordinal);
    if (device == NULL) {
        return CUDA_ERROR_INVALID_DEVICE;
    }
    int supported = vgpu_cuda_attribute(process, device->gpu, VGPU_ATTRIBUTE_VMM_SUPPORTED) != 0;
    return supported ? CUDA_SUCCESS : CUDA_ERROR_NOT_SUPPORTED;
}

/* Memory of the host's NUMA nodes, and handles other than file descriptors, are things that NVIDIA's library has and
 * this one has not. */
static CUresult check_properties(struct vgpu_process *process, const CUmemAllocationProp *prop) {
    if (prop == NULL || prop->type != VGPU_ALLOCATION_PINNED) {
        return CUDA_ERROR_INVALID_VALUE;
    }
    if (prop->location.type == VGPU_LOCATION_HOST_NUMA || (prop->requestedHandleTypes & ~VGPU_HANDLE_FILE) != 0) {
        return CUDA_ERROR_NOT_SUPPORTED;
    }
    return prop->location.type == VGPU_LOCATION_DEVICE ? check_device(process, prop->location.id)
                                                       : CUDA_ERROR_INVALID_VALUE;
}

CUresult vgpu_cuMemGetAllocationGranularity(struct vgpu_process *process, struct vgpu_call *call, size_t *granularity,
                                            const CUmemAllocationProp *prop, CUmemAllocationGranularity_flags option) {
    if (granularity == NULL || (option != VGPU_GRANULARITY_MINIMUM && option != VGPU_GRANULARITY_RECOMMENDED)) {
        return CUDA_ERROR_INVALID_VALUE;
    }
    CUresult refusal = check_properties(process, prop);
    if (refusal != CUDA_SUCCESS) {
        return refusal;
    }
    *granularity = VGPU_CUDA_GRANULARITY;
    vgpu_call_output(call, granularity, sizeof(*granularity));
    vgpu_cuda_say_pci(call, vgpu_cuda_device(process, prop->location.id));
    return CUDA_SUCCESS;
}

CUresult vgpu_cuMemCreate(struct vgpu_process *process, struct vgpu_call *call, CUmemGenericAllocationHandle *handle,
                          size_t size, const CUmemAllocationProp *prop, unsigned long long flags) {
    struct vgpu_cuda *cuda = process->cuda;
    if (handle == NULL || flags != 0 || size == 0 || !is_multiple(size, GRANULARITY)) {
        return CUDA_ERROR_INVALID_VALUE;
    }
    CUresult refusal = check_properties(process, prop);
    if (refusal != CUDA_SUCCESS) {
        return refusal;
    }
    struct vgpu_device *device = vgpu_cuda_device(process, prop->location.id);
    struct vgpu_store *store = size <= vgpu_cuda_free(device) ? vgpu_store_new(size) : NULL;
    struct vgpu_physical *physical = store != NULL ? vgpu_physical_add(cuda, prop, size, store) : NULL;
    if (physical == NULL) {
        vgpu_store_drop(&cuda->memory, store);
        return CUDA_ERROR_OUT_OF_MEMORY;
    }
    device->allocated += size;
    *handle = physical->handle;
    vgpu_call_output(call, handle, sizeof(*handle));
    return CUDA_SUCCESS;
}

struct vgpu_physical *vgpu_physical_add(struct vgpu_cuda *cuda, const CUmemAllocationProp *prop, uint64_t size,
                                        struct vgpu_store *store) {
    struct vgpu_physical *physical = calloc(1, sizeof(*physical));
    if (physical != NULL) {
        physical->handle = HANDLE_BASE + ++cuda->memory.physicals_given;
        physical->size = size;
        physical->prop = *prop;
        physical->store = store;
        physical->references = 1;
        physical->next = cuda->memory.physicals;
        cuda->memory.physicals = physical;
    }
    return physical;
}

struct vgpu_physical *vgpu_physical_find(struct vgpu_cuda *cuda, uint64_t handle) {
    for (struct vgpu_physical *at = cuda->memory.physicals; at != NULL; at = at->next) {
        if (at->handle == handle && at->references != 0) {
            return at;
        }
    }
    return NULL;
}

CUresult vgpu_cuMemRelease(struct vgpu_process *process, struct vgpu_call *call, CUmemGenericAllocationHandle handle) {
    (void)call;
    struct vgpu_physical *physical = vgpu_physical_find(process->cuda, handle);
    if (physical == NULL) {
        return CUDA_ERROR_INVALID_VALUE;
    }
    physical->references--;
    drop_unused(process->cuda, physical);
    return CUDA_SUCCESS;
}

/* Maps `alignment` bytes more than asked for and returns what sticks out on either side. */
static uint64_t reserve(uint64_t size, uint64_t alignment, uint64_t hint) {
    uint64_t whole = size + alignment;
    void *got = mmap((void *)(uintptr_t)hint, whole, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (got == MAP_FAILED) {
        return 0;
    }
    uint64_t at = (uint64_t)(uintptr_t)got;
    uint64_t start = (at + alignment - 1) / alignment * alignment;
    if (start != at) {
        munmap(got, start - at);
    }
    munmap((void *)(uintptr_t)(start + size), at + whole - (start + size));
    return start;
}

CUresult vgpu_cuMemAddressReserve(struct vgpu_process *process, struct vgpu_call *call, CUdeviceptr *ptr, size_t size,
                                  size_t alignment, CUdeviceptr addr, unsigned long long flags) {
    if (ptr == NULL || flags != 0 || size == 0 || !is_multiple(size, VGPU_PAGE) || (alignment & (alignment - 1)) != 0 ||
        !is_multiple(addr, VGPU_PAGE)) {
        return CUDA_ERROR_INVALID_VALUE;
    }
    uint64_t step = alignment > GRANULARITY ? alignment : GRANULARITY;
    if (size > SIZE_MAX - step) {
        return CUDA_ERROR_OUT_OF_MEMORY;
    }
    struct vgpu_reservation *range = calloc(1, sizeof(*range));
    uint64_t start = range != NULL ? reserve(size, step, addr) : 0;
    if (start == 0) {
        free(range);
        return CUDA_ERROR_OUT_OF_MEMORY;
    }
    range->start = start;
    range->size = size;
    range->next = process->cuda->memory.reservations;
    process->cuda->memory.reservations = range;
    *ptr = start;
    vgpu_call_output(call, ptr, sizeof(*ptr));
    return CUDA_SUCCESS;
}

CUresult vgpu_cuMemAddressFree(struct vgpu_process *process, struct vgpu_call *call, CUdeviceptr ptr, size_t size) {
    (void)call;
    struct vgpu_reservation **link = &process->cuda->memory.reservations;
    while (*link != NULL && (*link)->start != ptr) {
        link = &(*link)->next;
    }
    if (*link == NULL || (*link)->size != size || (*link)->mappings != 0) {
        return CUDA_ERROR_INVALID_VALUE;
    }
    give_back(link);
    return CUDA_SUCCESS;
}

/* The range that has all of [ptr, ptr + size), or NULL. */
static struct vgpu_reservation *find_range(struct vgpu_cuda *cuda, uint64_t ptr, uint64_t size) {
    for (struct vgpu_reservation *at = cuda->memory.reservations; at != NULL; at = at->next) {
        if (ptr >= at->start && ptr - at->start < at->size && size <= at->size - (ptr - at->start)) {
            return at;
        }
    }
    return NULL;
}

int vgpu_reserved_at(struct vgpu_cuda *cuda, uint64_t address, uint64_t *start, uint64_t *size) {
    const struct vgpu_reservation *range = find_range(cuda, address, 1);
    if (range != NULL) {
        *start = range->start;
        *size = range->size;
    }
    return range != NULL;
}

CUresult vgpu_cuMemMap(struct vgpu_process *process, struct vgpu_call *call, CUdeviceptr ptr, size_t size,
                       size_t offset, CUmemGenericAllocationHandle handle, unsigned long long flags) {
    (void)call;
    struct vgpu_memory *memory = &process->cuda->memory;
    struct vgpu_reservation *range = find_range(process->cuda, ptr, size);
    struct vgpu_physical *physical = vgpu_physical_find(process->cuda, handle);
    if (range == NULL || physical == NULL || flags != 0 || offset != 0 || size == 0 || size > physical->size ||
        !is_multiple(ptr, GRANULARITY) || !is_multiple(size, GRANULARITY) || !vgpu_region_is_free(memory, ptr, size)) {
        return CUDA_ERROR_INVALID_VALUE;
    }
    const struct vgpu_region region = {.address = ptr,
                                       .size = size,
                                       .store = physical->store,
                                       .kind = VGPU_REGION_MAPPED,
                                       .device = physical->prop.location.id,
                                       .physical = physical,
                                       .reservation = range};
    if (vgpu_region_add(memory, &region) == NULL) {
        return CUDA_ERROR_OUT_OF_MEMORY;
    }
    physical->store->users++;
    physical->mappings++;
    range->mappings++;
    return CUDA_SUCCESS;
}

/* Do whole mappings fill [ptr, ptr + size) exactly? */
static int is_mapped(struct vgpu_cuda *cuda, uint64_t ptr, uint64_t size) {
    if (size == 0 || find_range(cuda, ptr, size) == NULL) {
        return 0;
    }
    uint64_t end = ptr;
    while (end < ptr + size) {
        const struct vgpu_region *region = vgpu_region_at(&cuda->memory, end);
        if (region == NULL || region->address != end || region->kind != VGPU_REGION_MAPPED) {
            return 0;
        }
        end += region->size;
    }
    return end == ptr + size;
}

static CUresult check_access(struct vgpu_process *process, const CUmemAccessDesc *desc) {
    if (desc->flags != VGPU_ACCESS_NONE && desc->flags != VGPU_ACCESS_READ && desc->flags != VGPU_ACCESS_READ_WRITE) {
        return CUDA_ERROR_INVALID_VALUE;
    }
    if (desc->location.type != VGPU_LOCATION_DEVICE) {
        return CUDA_ERROR_INVALID_VALUE;
    }
    return check_device(process, desc->location.id);
}

CUresult vgpu_cuMemSetAccess(struct vgpu_process *process, struct vgpu_call *call, CUdeviceptr ptr, size_t size,
                             const CUmemAccessDesc *desc, size_t count) {
    (void)call;
    if (desc == NULL || count == 0 || !is_mapped(process->cuda, ptr, size)) {
        return CUDA_ERROR_INVALID_VALUE;
    }
    for (size_t i = 0; i < count; i++) {
        CUresult refusal = check_access(process, &desc[i]);
        if (refusal != CUDA_SUCCESS) {
            return refusal;
        }
    }
    for (uint64_t at = ptr; at < ptr + size;) {
        struct vgpu_region *region = vgpu_region_at(&process->cuda->memory, at);
        for (size_t i = 0; i < count; i++) {
            region->access[desc[i].location.id] = (uint8_t)desc[i].flags;
        }
        at += region->size;
    }
    return CUDA_SUCCESS;
}

/* Several mappings may go at once, no part of one (doc: the entire contiguous range that was mapped). */
CUresult vgpu_cuMemUnmap(struct vgpu_process *process, struct vgpu_call *call, CUdeviceptr ptr, size_t size) {
    (void)call;
    if (!is_mapped(process->cuda, ptr, size)) {
        return CUDA_ERROR_INVALID_VALUE;
    }
    for (uint64_t at = ptr; at < ptr + size;) {
        struct vgpu_region *region = vgpu_region_at(&process->cuda->memory, at);
        at += region->size;
        vgpu_region_remove(process->cuda, region);
    }
    return CUDA_SUCCESS;
}
