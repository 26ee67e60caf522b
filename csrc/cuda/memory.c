/* Device memory that belongs to a context: accounted, not there. An address is never given out twice, and is none that
 * the host could have mapped, so that a client that dereferences one finds out, as it would with a real device. */
#include <stdlib.h>

#include "cuda/model.h"

#define ADDRESS_BASE 0x0000800000000000ull /* the first that is no user-space address on x86-64 */
#define ALIGNMENT 512ull /* what NVIDIA's allocator aligns to (CUDA C++ Programming Guide: at least 256) */

enum { LOW_ADDRESS_BASE = 0x10000000 };

struct vgpu_allocation {
    struct vgpu_allocation *next;
    uint64_t address;
    uint64_t size;
    CUcontext owner;
    CUdevice device;
};

static void give_back(struct vgpu_cuda *cuda, struct vgpu_allocation **link) {
    struct vgpu_allocation *allocation = *link;
    cuda->device[allocation->device].allocated -= allocation->size;
    *link = allocation->next;
    free(allocation);
}

void vgpu_memory_drop(struct vgpu_process *process, CUcontext owner) {
    struct vgpu_allocation **link = &process->cuda->allocations;
    while (*link != NULL) {
        if ((*link)->owner == owner) {
            give_back(process->cuda, link);
        } else {
            link = &(*link)->next;
        }
    }
}

void vgpu_memory_free_all(struct vgpu_cuda *cuda) {
    while (cuda->allocations != NULL) {
        give_back(cuda, &cuda->allocations);
    }
}

static uint64_t new_address(uint64_t *next, uint64_t base, uint64_t size, uint64_t end) {
    uint64_t address = *next != 0 ? *next : base;
    if (size > end - address || ALIGNMENT > end - address - size) {
        return 0;
    }
    *next = (address + size + ALIGNMENT - 1) / ALIGNMENT * ALIGNMENT;
    return address;
}

/* `low`: for a program of the time when device addresses had 32 bits. */
static CUresult allocate(struct vgpu_process *process, uint64_t size, int low, uint64_t *address) {
    struct vgpu_cuda *cuda = process->cuda;
    CUcontext context;
    CUdevice dev;
    CUresult refusal = vgpu_context_current(process, &context, &dev);
    if (refusal != CUDA_SUCCESS) {
        return refusal;
    }
    if (size == 0) {
        return CUDA_ERROR_INVALID_VALUE;
    }
    if (size > vgpu_cuda_free(&cuda->device[dev])) {
        return CUDA_ERROR_OUT_OF_MEMORY;
    }
    struct vgpu_allocation *allocation = calloc(1, sizeof(*allocation));
    if (allocation == NULL) {
        return CUDA_ERROR_OUT_OF_MEMORY;
    }
    *address = low ? new_address(&cuda->next_low_address, LOW_ADDRESS_BASE, size, UINT32_MAX)
                   : new_address(&cuda->next_address, ADDRESS_BASE, size, UINT64_MAX);
    if (*address == 0) {
        free(allocation);
        return CUDA_ERROR_OUT_OF_MEMORY;
    }
    *allocation = (struct vgpu_allocation){cuda->allocations, *address, size, context, dev};
    cuda->allocations = allocation;
    cuda->device[dev].allocated += size;
    return CUDA_SUCCESS;
}

CUresult vgpu_cuMemAlloc_v2(struct vgpu_process *process, struct vgpu_call *call, CUdeviceptr *dptr, size_t bytesize) {
    if (dptr == NULL) {
        return CUDA_ERROR_INVALID_VALUE;
    }
    uint64_t address;
    CUresult refusal = allocate(process, bytesize, 0, &address);
    if (refusal != CUDA_SUCCESS) {
        return refusal;
    }
    *dptr = address;
    vgpu_call_output(call, dptr, sizeof(*dptr));
    return CUDA_SUCCESS;
}

CUresult vgpu_cuMemAlloc(struct vgpu_process *process, struct vgpu_call *call, CUdeviceptr_v1 *dptr,
                         unsigned int bytesize) {
    if (dptr == NULL) {
        return CUDA_ERROR_INVALID_VALUE;
    }
    uint64_t address;
    CUresult refusal = allocate(process, bytesize, 1, &address);
    if (refusal != CUDA_SUCCESS) {
        return refusal;
    }
    *dptr = (CUdeviceptr_v1)address;
    vgpu_call_output(call, dptr, sizeof(*dptr));
    return CUDA_SUCCESS;
}

/* Addresses are of all contexts of the process (unified addressing): any living context may be current. */
CUresult vgpu_cuMemFree_v2(struct vgpu_process *process, struct vgpu_call *call, CUdeviceptr dptr) {
    (void)call;
    CUcontext context;
    CUdevice dev;
    CUresult refusal = vgpu_context_current(process, &context, &dev);
    if (refusal != CUDA_SUCCESS) {
        return refusal;
    }
    struct vgpu_allocation **link = &process->cuda->allocations;
    while (*link != NULL && (*link)->address != dptr) {
        link = &(*link)->next;
    }
    if (*link == NULL) {
        return CUDA_ERROR_INVALID_VALUE;
    }
    give_back(process->cuda, link);
    return CUDA_SUCCESS;
}

CUresult vgpu_cuMemFree(struct vgpu_process *process, struct vgpu_call *call, CUdeviceptr_v1 dptr) {
    return vgpu_cuMemFree_v2(process, call, dptr);
}

/* The device of the current context, whose memory is asked for. */
static CUresult current_device(struct vgpu_process *process, struct vgpu_device **device) {
    CUcontext context;
    CUdevice dev;
    CUresult refusal = vgpu_context_current(process, &context, &dev);
    *device = refusal == CUDA_SUCCESS ? &process->cuda->device[dev] : NULL;
    return refusal;
}

CUresult vgpu_cuMemGetInfo_v2(struct vgpu_process *process, struct vgpu_call *call, size_t *free_bytes,
                              size_t *total_bytes) {
    struct vgpu_device *device;
    if (free_bytes == NULL || total_bytes == NULL) {
        return CUDA_ERROR_INVALID_VALUE;
    }
    CUresult refusal = current_device(process, &device);
    if (refusal != CUDA_SUCCESS) {
        return refusal;
    }
    *free_bytes = vgpu_cuda_free(device);
    *total_bytes = vgpu_cuda_total(device);
    vgpu_call_output(call, free_bytes, sizeof(*free_bytes));
    vgpu_call_output(call, total_bytes, sizeof(*total_bytes));
    vgpu_cuda_say_pci(call, device);
    return CUDA_SUCCESS;
}

static unsigned int in_32_bits(size_t bytes) {
    return bytes < UINT32_MAX ? (unsigned int)bytes : UINT32_MAX;
}

CUresult vgpu_cuMemGetInfo(struct vgpu_process *process, struct vgpu_call *call, unsigned int *free_bytes,
                           unsigned int *total_bytes) {
    struct vgpu_device *device;
    if (free_bytes == NULL || total_bytes == NULL) {
        return CUDA_ERROR_INVALID_VALUE;
    }
    CUresult refusal = current_device(process, &device);
    if (refusal != CUDA_SUCCESS) {
        return refusal;
    }
    *free_bytes = in_32_bits(vgpu_cuda_free(device));
    *total_bytes = in_32_bits(vgpu_cuda_total(device));
    vgpu_call_output(call, free_bytes, sizeof(*free_bytes));
    vgpu_call_output(call, total_bytes, sizeof(*total_bytes));
    vgpu_cuda_say_pci(call, device);
    return CUDA_SUCCESS;
}
