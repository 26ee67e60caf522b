/* Resources of a device, for green contexts. Written from the documented ABI; sizes are tested.
 *
 * What cuda.h 12.9 has is the same up to `smCount`, and ends in padding where 13.x has `nextResource`. */
#ifndef VGPU_CUDA_STRUCTS_PARTITION_H
#define VGPU_CUDA_STRUCTS_PARTITION_H

#include "cuda/names.h"

typedef struct CUdevSmResource_st {
    unsigned int smCount;
    unsigned int minSmPartitionSize;
    unsigned int smCoscheduledAlignment;
    unsigned int flags;
    unsigned int localityDomainId;
} CUdevSmResource;

struct CUdevResource_st {
    CUdevResourceType type;
    /* Padding in cuda.h, for the library's own use. */
    unsigned int own_mark;
    unsigned int own_device;
    unsigned int own_first;    /* the multiprocessors are those from here on */
    unsigned int own_split[2]; /* which split it came from, low and high half; 0: none */
    unsigned char own_rest[72];
    CUdevSmResource sm;
    unsigned char own_more[20];
    struct CUdevResource_st *nextResource;
};

struct CU_DEV_SM_RESOURCE_GROUP_PARAMS_st {
    unsigned int smCount;
    unsigned int coscheduledSmCount;
    unsigned int preferredCoscheduledSmCount;
    unsigned int flags;
    unsigned int localityDomainId;
    unsigned int reserved[11];
};

#ifndef VGPU_CDEF
static_assert(sizeof(struct CUdevResource_st) == 144, "as cuda.h has it");
static_assert(offsetof(struct CUdevResource_st, sm) == 96, "as cuda.h has it");
static_assert(offsetof(struct CUdevResource_st, nextResource) == 136, "as cuda.h has it");
static_assert(sizeof(struct CU_DEV_SM_RESOURCE_GROUP_PARAMS_st) == 64, "as cuda.h has it");
#endif

#endif
