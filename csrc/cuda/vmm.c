/* Virtual memory management: physical memory (cuMemCreate) and address ranges (cuMemAddressReserve) that it is mapped
 * to.
 *
 * Ranges are really reserved, without access, so that no host allocation lands in one. Physical memory is accounted,
 * and lives until its handle is released and its last mapping is gone (doc). A wrong handle is undefined in cuda.h;
 * here it is an invalid value. */
#include <stdlib.h>
#include <sys/mman.h>

#include "cuda/model.h"

enum { PAGE = 4096 };

#define GRANULARITY ((uint64_t)VGPU_CUDA_GRANULARITY)
#define HANDLE_BASE 0x00e0000000000000ull

struct vgpu_physical {
    struct vgpu_physical *next;
    uint64_t handle;
    uint64_t size;
    CUdevice device;
    uint32_t mappings;
    uint32_t released;
};

struct vgpu_mapping {
    struct vgpu_mapping *next; /* by rising address */
    uint64_t start;
    uint64_t size;
    struct vgpu_physical *physical;
};

struct vgpu_reservation {
    struct vgpu_reservation *next;
    uint64_t start;
    uint64_t size;
    struct vgpu_mapping *mappings;
};

static void drop_unused(struct vgpu_cuda *cuda, struct vgpu_physical *physical) {
    if (!physical->released || physical->mappings != 0) {
        return;
    }
    struct vgpu_physical **link = &cuda->physicals;
    while (*link != physical) {
        link = &(*link)->next;
    }
    *link = physical->next;
    cuda->device[physical->device].allocated -= physical->size;
    free(physical);
}

static void unmap_first(struct vgpu_cuda *cuda, struct vgpu_mapping **link) {
    struct vgpu_mapping *mapping = *link;
    *link = mapping->next;
    mapping->physical->mappings--;
    drop_unused(cuda, mapping->physical);
    free(mapping);
}

static void give_back(struct vgpu_cuda *cuda, struct vgpu_reservation **link) {
    struct vgpu_reservation *range = *link;
    while (range->mappings != NULL) {
        unmap_first(cuda, &range->mappings);
    }
    *link = range->next;
    munmap((void *)(uintptr_t)range->start, range->size);
    free(range);
}

void vgpu_vmm_free_all(struct vgpu_cuda *cuda) {
    while (cuda->reservations != NULL) {
        give_back(cuda, &cuda->reservations);
    }
    while (cuda->physicals != NULL) {
        cuda->physicals->released = 1;
        drop_unused(cuda, cuda->physicals);
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

/* Memory of the host's NUMA nodes is a thing that NVIDIA's library has and this one has not. */
static CUresult check_properties(struct vgpu_process *process, const CUmemAllocationProp *prop) {
    if (prop == NULL || prop->type != VGPU_ALLOCATION_PINNED) {
        return CUDA_ERROR_INVALID_VALUE;
    }
    if (prop->location.type == VGPU_LOCATION_HOST_NUMA) {
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
    struct vgpu_physical *physical = size <= vgpu_cuda_free(device) ? calloc(1, sizeof(*physical)) : NULL;
    if (physical == NULL) {
        return CUDA_ERROR_OUT_OF_MEMORY;
    }
    physical->handle = HANDLE_BASE + ++cuda->physicals_given;
    physical->size = size;
    physical->device = prop->location.id;
    physical->next = cuda->physicals;
    cuda->physicals = physical;
    device->allocated += size;
    *handle = physical->handle;
    vgpu_call_output(call, handle, sizeof(*handle));
    return CUDA_SUCCESS;
}

static struct vgpu_physical *find_physical(struct vgpu_cuda *cuda, uint64_t handle) {
    for (struct vgpu_physical *at = cuda->physicals; at != NULL; at = at->next) {
        if (at->handle == handle && !at->released) {
            return at;
        }
    }
    return NULL;
}

CUresult vgpu_cuMemRelease(struct vgpu_process *process, struct vgpu_call *call, CUmemGenericAllocationHandle handle) {
    (void)call;
    struct vgpu_physical *physical = find_physical(process->cuda, handle);
    if (physical == NULL) {
        return CUDA_ERROR_INVALID_VALUE;
    }
    physical->released = 1;
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
    if (ptr == NULL || flags != 0 || size == 0 || !is_multiple(size, PAGE) || (alignment & (alignment - 1)) != 0 ||
        !is_multiple(addr, PAGE)) {
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
    range->next = process->cuda->reservations;
    process->cuda->reservations = range;
    *ptr = start;
    vgpu_call_output(call, ptr, sizeof(*ptr));
    return CUDA_SUCCESS;
}

CUresult vgpu_cuMemAddressFree(struct vgpu_process *process, struct vgpu_call *call, CUdeviceptr ptr, size_t size) {
    (void)call;
    struct vgpu_reservation **link = &process->cuda->reservations;
    while (*link != NULL && (*link)->start != ptr) {
        link = &(*link)->next;
    }
    if (*link == NULL || (*link)->size != size || (*link)->mappings != NULL) {
        return CUDA_ERROR_INVALID_VALUE;
    }
    give_back(process->cuda, link);
    return CUDA_SUCCESS;
}

/* The range that has all of [ptr, ptr + size), or NULL. */
static struct vgpu_reservation *find_range(struct vgpu_cuda *cuda, uint64_t ptr, uint64_t size) {
    for (struct vgpu_reservation *at = cuda->reservations; at != NULL; at = at->next) {
        if (ptr >= at->start && ptr - at->start < at->size && size <= at->size - (ptr - at->start)) {
            return at;
        }
    }
    return NULL;
}

CUresult vgpu_cuMemMap(struct vgpu_process *process, struct vgpu_call *call, CUdeviceptr ptr, size_t size,
                       size_t offset, CUmemGenericAllocationHandle handle, unsigned long long flags) {
    (void)call;
    struct vgpu_reservation *range = find_range(process->cuda, ptr, size);
    struct vgpu_physical *physical = find_physical(process->cuda, handle);
    if (range == NULL || physical == NULL || flags != 0 || offset != 0 || size == 0 || size > physical->size ||
        !is_multiple(ptr, GRANULARITY) || !is_multiple(size, GRANULARITY)) {
        return CUDA_ERROR_INVALID_VALUE;
    }
    struct vgpu_mapping **link = &range->mappings;
    while (*link != NULL && (*link)->start + (*link)->size <= ptr) {
        link = &(*link)->next;
    }
    if (*link != NULL && (*link)->start < ptr + size) {
        return CUDA_ERROR_INVALID_VALUE;
    }
    struct vgpu_mapping *mapping = calloc(1, sizeof(*mapping));
    if (mapping == NULL) {
        return CUDA_ERROR_OUT_OF_MEMORY;
    }
    *mapping = (struct vgpu_mapping){*link, ptr, size, physical};
    *link = mapping;
    physical->mappings++;
    return CUDA_SUCCESS;
}

/* The link to the first of the mappings that fill [ptr, ptr + size) exactly, or NULL. */
static struct vgpu_mapping **find_mappings(struct vgpu_cuda *cuda, uint64_t ptr, uint64_t size) {
    struct vgpu_reservation *range = size != 0 ? find_range(cuda, ptr, size) : NULL;
    if (range == NULL) {
        return NULL;
    }
    struct vgpu_mapping **first = &range->mappings;
    while (*first != NULL && (*first)->start < ptr) {
        first = &(*first)->next;
    }
    uint64_t end = ptr;
    for (struct vgpu_mapping *at = *first; end < ptr + size; at = at->next) {
        if (at == NULL || at->start != end) {
            return NULL;
        }
        end += at->size;
    }
    return end == ptr + size ? first : NULL;
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
    if (desc == NULL || count == 0 || find_mappings(process->cuda, ptr, size) == NULL) {
        return CUDA_ERROR_INVALID_VALUE;
    }
    for (size_t i = 0; i < count; i++) {
        CUresult refusal = check_access(process, &desc[i]);
        if (refusal != CUDA_SUCCESS) {
            return refusal;
        }
    }
    return CUDA_SUCCESS;
}

/* Several mappings may go at once, no part of one (doc: the entire contiguous range that was mapped). */
CUresult vgpu_cuMemUnmap(struct vgpu_process *process, struct vgpu_call *call, CUdeviceptr ptr, size_t size) {
    (void)call;
    struct vgpu_mapping **link = find_mappings(process->cuda, ptr, size);
    if (link == NULL) {
        return CUDA_ERROR_INVALID_VALUE;
    }
    while (*link != NULL && (*link)->start < ptr + size) {
        unmap_first(process->cuda, link);
    }
    return CUDA_SUCCESS;
}
