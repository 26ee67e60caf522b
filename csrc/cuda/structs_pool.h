/* What memory pools are made from and asked for, as cuda.h 13.5 lays it out. */
#ifndef VGPU_CUDA_STRUCTS_POOL_H
#define VGPU_CUDA_STRUCTS_POOL_H

#include "cuda/names.h"

enum vgpu_pool_attribute {
    VGPU_POOL_FOLLOW_EVENTS = 1,
    VGPU_POOL_OPPORTUNISTIC = 2,
    VGPU_POOL_INTERNAL_DEPENDENCIES = 3,
    VGPU_POOL_RELEASE_THRESHOLD = 4,
    VGPU_POOL_RESERVED = 5,
    VGPU_POOL_RESERVED_HIGH = 6,
    VGPU_POOL_USED = 7,
    VGPU_POOL_USED_HIGH = 8,
    VGPU_POOL_ALLOCATION_TYPE = 9,
    VGPU_POOL_HANDLE_TYPES = 10,
    VGPU_POOL_LOCATION_ID = 11,
    VGPU_POOL_LOCATION_TYPE = 12,
    VGPU_POOL_MAX_SIZE = 13,
    VGPU_POOL_HW_DECOMPRESS = 14,
    VGPU_POOL_LOCALITY_DOMAIN = 15,
};

struct CUmemPoolProps_st {
    int allocType;
    int handleTypes;
    CUmemLocation location;
    void *win32SecurityAttributes;
    size_t maxSize;
    unsigned short usage;
    unsigned char gpuDirectRDMACapable;
    unsigned char reserved[53];
};

#ifndef VGPU_CDEF
static_assert(sizeof(CUmemPoolProps) == 88, "as cuda.h has it");
#endif

#endif
