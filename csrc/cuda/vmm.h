/* Physical memory, as vmm.c and vmm_share.c know it. */
#ifndef VGPU_CUDA_VMM_H
#define VGPU_CUDA_VMM_H

#include "cuda/model.h"

enum { VGPU_HANDLE_FILE = 1 }; /* CU_MEM_HANDLE_TYPE_POSIX_FILE_DESCRIPTOR */

struct vgpu_physical {
    struct vgpu_physical *next;
    uint64_t handle;
    uint64_t size;
    CUmemAllocationProp prop;
    struct vgpu_store *store;
    uint32_t references; /* of the program, by its handle */
    uint32_t mappings;
    uint32_t imported; /* another process, or another handle, accounts for it */
};

/* NULL: the program has no such handle. */
struct vgpu_physical *vgpu_physical_find(struct vgpu_cuda *cuda, uint64_t handle);
/* A new one with one reference; takes the store over unless NULL is answered. */
struct vgpu_physical *vgpu_physical_add(struct vgpu_cuda *cuda, const CUmemAllocationProp *prop, uint64_t size,
                                        struct vgpu_store *store);
/* The range that the address is reserved in: 1, or 0: none. */
int vgpu_reserved_at(struct vgpu_cuda *cuda, uint64_t address, uint64_t *start, uint64_t *size);

#endif
