/* Page-locked memory of the host: allocated here, or the program's own, registered. It is the program's to use, so it
 * does not count for memory.backing (own choice: with a real device it would use it, too). Device and host address are
 * the same (own choice where cuda.h leaves it open: write-combined and registered memory).
 *
 * What NULL, no bytes and other memory are answered was measured by the lupine project on 590.48.01. */
#include <errno.h>
#include <sys/mman.h>

#include "cuda/model.h"

enum {
    ALLOC_FLAGS = 0x07,    /* portable, mapped, write-combined */
    REGISTER_FLAGS = 0x0f, /* portable, mapped, I/O memory, read-only */
    FLAG_MAPPED = 0x02,
    FLAG_IO_MEMORY = 0x04,
    RESIDENT_PAGES = 4096,
};

static CUresult allocate(struct vgpu_process *process, uint64_t size, unsigned int flags, void **memory) {
    struct vgpu_memory *all = &process->cuda->memory;
    struct vgpu_region region = {.size = size, .kind = VGPU_REGION_HOST, .flags = flags | FLAG_MAPPED};
    CUresult refusal = vgpu_context_current(process, &region.owner, &region.device);
    if (refusal != CUDA_SUCCESS) {
        return refusal;
    }
    if ((flags & ~(unsigned int)ALLOC_FLAGS) != 0) {
        return CUDA_ERROR_INVALID_VALUE;
    }
    if (size == 0) {
        *memory = NULL;
        return CUDA_SUCCESS;
    }
    void *got = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (got == MAP_FAILED) {
        return CUDA_ERROR_OUT_OF_MEMORY;
    }
    region.address = (uint64_t)(uintptr_t)got;
    region.store = vgpu_store_new_direct(got, size, 1);
    if (region.store == NULL) {
        munmap(got, size);
        return CUDA_ERROR_OUT_OF_MEMORY;
    }
    if (vgpu_region_add(all, &region) == NULL) {
        vgpu_store_drop(all, region.store);
        return CUDA_ERROR_OUT_OF_MEMORY;
    }
    *memory = got;
    return CUDA_SUCCESS;
}

/* All such memory is mapped: the devices have unified addressing (doc). */
CUresult vgpu_cuMemHostAlloc(struct vgpu_process *process, struct vgpu_call *call, void **pp, size_t bytesize,
                             unsigned int Flags) {
    if (pp == NULL) {
        return CUDA_ERROR_INVALID_VALUE;
    }
    CUresult refusal = allocate(process, bytesize, Flags, pp);
    if (refusal == CUDA_SUCCESS) {
        vgpu_call_output(call, pp, sizeof(*pp));
    }
    return refusal;
}

CUresult vgpu_cuMemAllocHost_v2(struct vgpu_process *process, struct vgpu_call *call, void **pp, size_t bytesize) {
    return vgpu_cuMemHostAlloc(process, call, pp, bytesize, 0);
}

CUresult vgpu_cuMemAllocHost(struct vgpu_process *process, struct vgpu_call *call, void **pp, unsigned int bytesize) {
    return vgpu_cuMemHostAlloc(process, call, pp, bytesize, 0);
}

/* The region that begins at `memory`, or in which it lies. */
static CUresult find(struct vgpu_process *process, const void *memory, int beginning, struct vgpu_region **region) {
    CUcontext context;
    CUdevice dev;
    CUresult refusal = vgpu_context_current(process, &context, &dev);
    if (refusal != CUDA_SUCCESS) {
        return refusal;
    }
    uint64_t address = (uint64_t)(uintptr_t)memory;
    *region = vgpu_region_at(&process->cuda->memory, address);
    if (*region == NULL || (beginning && (*region)->address != address)) {
        return CUDA_ERROR_INVALID_VALUE;
    }
    return CUDA_SUCCESS;
}

/* NULL is nothing to free, nor is what cuMemHostAlloc answers for no bytes. */
CUresult vgpu_cuMemFreeHost(struct vgpu_process *process, struct vgpu_call *call, void *p) {
    (void)call;
    CUcontext context;
    CUdevice dev;
    if (p == NULL) {
        return vgpu_context_current(process, &context, &dev);
    }
    struct vgpu_region *region;
    CUresult refusal = find(process, p, 1, &region);
    if (refusal != CUDA_SUCCESS) {
        return refusal;
    }
    if (region->kind != VGPU_REGION_HOST) {
        return CUDA_ERROR_INVALID_VALUE;
    }
    vgpu_region_remove(process->cuda, region);
    return CUDA_SUCCESS;
}

/* mincore answers ENOMEM where a page of the range is not mapped. */
static int is_mapped(uint64_t address, uint64_t size) {
    unsigned char resident[RESIDENT_PAGES];
    uint64_t start = address / VGPU_PAGE * VGPU_PAGE;
    uint64_t end = address + size;
    while (start < end) {
        uint64_t length = end - start < sizeof(resident) * VGPU_PAGE ? end - start : sizeof(resident) * VGPU_PAGE;
        if (mincore((void *)(uintptr_t)start, length, resident) != 0 && errno == ENOMEM) {
            return 0;
        }
        start += length;
    }
    return 1;
}

CUresult vgpu_cuMemHostRegister_v2(struct vgpu_process *process, struct vgpu_call *call, void *p, size_t bytesize,
                                   unsigned int Flags) {
    (void)call;
    struct vgpu_memory *all = &process->cuda->memory;
    struct vgpu_region region = {
        .address = (uint64_t)(uintptr_t)p, .size = bytesize, .kind = VGPU_REGION_REGISTERED, .flags = Flags};
    CUresult refusal = vgpu_context_current(process, &region.owner, &region.device);
    if (refusal != CUDA_SUCCESS) {
        return refusal;
    }
    if (p == NULL || bytesize == 0 || (Flags & ~(unsigned int)REGISTER_FLAGS) != 0 || bytesize > VGPU_USER_SPACE_END ||
        region.address > VGPU_USER_SPACE_END - bytesize) {
        return CUDA_ERROR_INVALID_VALUE;
    }
    if (!vgpu_region_is_free(all, region.address, bytesize)) {
        return CUDA_ERROR_HOST_MEMORY_ALREADY_REGISTERED;
    }
    /* There is no I/O memory of another device here. */
    if ((Flags & FLAG_IO_MEMORY) != 0) {
        return CUDA_ERROR_NOT_PERMITTED;
    }
    if (!is_mapped(region.address, bytesize)) {
        return CUDA_ERROR_INVALID_VALUE;
    }
    region.store = vgpu_store_new_direct(p, bytesize, 0);
    if (region.store == NULL || vgpu_region_add(all, &region) == NULL) {
        vgpu_store_drop(all, region.store);
        return CUDA_ERROR_OUT_OF_MEMORY;
    }
    return CUDA_SUCCESS;
}

CUresult vgpu_cuMemHostRegister(struct vgpu_process *process, struct vgpu_call *call, void *p, size_t bytesize,
                                unsigned int Flags) {
    return vgpu_cuMemHostRegister_v2(process, call, p, bytesize, Flags);
}

CUresult vgpu_cuMemHostUnregister(struct vgpu_process *process, struct vgpu_call *call, void *p) {
    (void)call;
    struct vgpu_region *region;
    if (p == NULL) {
        return CUDA_ERROR_INVALID_VALUE;
    }
    CUresult refusal = find(process, p, 0, &region);
    if (refusal != CUDA_SUCCESS) {
        return refusal == CUDA_ERROR_INVALID_VALUE ? CUDA_ERROR_HOST_MEMORY_NOT_REGISTERED : refusal;
    }
    if (region->kind != VGPU_REGION_REGISTERED || region->address != (uint64_t)(uintptr_t)p) {
        return CUDA_ERROR_INVALID_VALUE; /* what was allocated, and the middle of what was registered */
    }
    vgpu_region_remove(process->cuda, region);
    return CUDA_SUCCESS;
}

static CUresult device_pointer(struct vgpu_process *process, void *memory, unsigned int flags, uint64_t *address) {
    struct vgpu_region *region;
    CUresult refusal = find(process, memory, 0, &region);
    if (refusal != CUDA_SUCCESS) {
        return refusal;
    }
    if (flags != 0 || (region->kind != VGPU_REGION_HOST && region->kind != VGPU_REGION_REGISTERED)) {
        return CUDA_ERROR_INVALID_VALUE;
    }
    *address = (uint64_t)(uintptr_t)memory;
    return CUDA_SUCCESS;
}

CUresult vgpu_cuMemHostGetDevicePointer_v2(struct vgpu_process *process, struct vgpu_call *call, CUdeviceptr *pdptr,
                                           void *p, unsigned int Flags) {
    uint64_t address;
    CUresult refusal = pdptr != NULL ? device_pointer(process, p, Flags, &address) : CUDA_ERROR_INVALID_VALUE;
    if (refusal != CUDA_SUCCESS) {
        return refusal;
    }
    *pdptr = address;
    vgpu_call_output(call, pdptr, sizeof(*pdptr));
    return CUDA_SUCCESS;
}

/* Host memory lies above 4 GiB, where 32 bits do not reach (own choice). */
CUresult vgpu_cuMemHostGetDevicePointer(struct vgpu_process *process, struct vgpu_call *call, CUdeviceptr_v1 *pdptr,
                                        void *p, unsigned int Flags) {
    uint64_t address;
    CUresult refusal = pdptr != NULL ? device_pointer(process, p, Flags, &address) : CUDA_ERROR_INVALID_VALUE;
    if (refusal != CUDA_SUCCESS || address > UINT32_MAX) {
        return refusal != CUDA_SUCCESS ? refusal : CUDA_ERROR_INVALID_VALUE;
    }
    *pdptr = (CUdeviceptr_v1)address;
    vgpu_call_output(call, pdptr, sizeof(*pdptr));
    return CUDA_SUCCESS;
}

/* NVIDIA's library looks at the output first (measured on 535.261.03). */
CUresult vgpu_cuMemHostGetFlags(struct vgpu_process *process, struct vgpu_call *call, unsigned int *pFlags, void *p) {
    if (pFlags == NULL) {
        return CUDA_ERROR_INVALID_VALUE;
    }
    struct vgpu_region *region;
    CUresult refusal = vgpu_cuda_ready(process);
    refusal = refusal == CUDA_SUCCESS ? find(process, p, 0, &region) : refusal;
    if (refusal != CUDA_SUCCESS) {
        return refusal;
    }
    if (region->kind != VGPU_REGION_HOST) {
        return CUDA_ERROR_INVALID_VALUE;
    }
    *pFlags = region->flags;
    vgpu_call_output(call, pFlags, sizeof(*pFlags));
    return CUDA_SUCCESS;
}
