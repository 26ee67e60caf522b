/* What is asked about an address: the attributes of the memory that it is in. */
#include <string.h>

#include "cuda/pool.h"
#include "cuda/structs_copy.h"
#include "cuda/vmm.h"

enum attribute {
    CONTEXT = 1,
    MEMORY_TYPE = 2,
    DEVICE_POINTER = 3,
    HOST_POINTER = 4,
    SYNC_MEMOPS = 6,
    BUFFER_ID = 7,
    IS_MANAGED = 8,
    DEVICE_ORDINAL = 9,
    IS_IPC_CAPABLE = 10,
    RANGE_START = 11,
    RANGE_SIZE = 12,
    MAPPED = 13,
    HANDLE_TYPES = 14,
    IS_RDMA_CAPABLE = 15,
    ACCESS_FLAGS = 16,
    POOL_HANDLE = 17,
    MAPPING_SIZE = 18,
    MAPPING_BASE = 19,
    BLOCK_ID = 20,
    IS_DECOMPRESS_CAPABLE = 21,
    LOCALITY_DOMAIN = 22,
    ATTRIBUTE_RDMA_SUPPORTED = 116,
    NO_DEVICE = -2, /* CU_DEVICE_INVALID */
    NO_DOMAIN = -1,
};

struct answer {
    uint64_t value;
    size_t size;
};

static struct answer number(uint64_t value) {
    return (struct answer){value, sizeof(value)};
}

static struct answer small(int value) {
    return (struct answer){(uint32_t)value, sizeof(value)};
}

/* cuda.h says "a boolean"; its size is that of an int: NCCL reads it from one that it has not set before. */
static struct answer flag(int value) {
    return small(value != 0);
}

static int is_on_device(const struct vgpu_region *region) {
    return region->kind == VGPU_REGION_DEVICE || region->kind == VGPU_REGION_POOL ||
           region->kind == VGPU_REGION_MAPPED || region->kind == VGPU_REGION_IPC || region->kind == VGPU_REGION_GRAPH;
}

static int is_in_host_space(const struct vgpu_region *region) {
    return region->kind == VGPU_REGION_HOST || region->kind == VGPU_REGION_REGISTERED ||
           region->kind == VGPU_REGION_MANAGED;
}

static int access_of(struct vgpu_process *process, const struct vgpu_region *region) {
    CUcontext context;
    CUdevice device;
    if (region->kind != VGPU_REGION_MAPPED) {
        return VGPU_ACCESS_READ_WRITE;
    }
    int known = vgpu_context_current(process, &context, &device) == CUDA_SUCCESS;
    return known ? region->access[device] : VGPU_ACCESS_NONE;
}

/* Of an address that is reserved, or in a region of a reserved range. */
static int range_of(struct vgpu_process *process, const struct vgpu_region *region, uint64_t address, uint64_t *start,
                    uint64_t *size) {
    if (region != NULL && region->kind != VGPU_REGION_MAPPED) {
        *start = region->address;
        *size = region->size;
        return 1;
    }
    return vgpu_reserved_at(process->cuda, address, start, size);
}

/* 1, or 0: there is no such attribute, or memory of this kind has none. */
static int answer(struct vgpu_process *process, const struct vgpu_region *region, uint64_t address, int attribute,
                  struct answer *out) {
    uint64_t start = 0;
    uint64_t size = 0;
    int reserved = range_of(process, region, address, &start, &size);
    switch (attribute) {
    case RANGE_START:
        *out = number(start);
        return reserved;
    case RANGE_SIZE:
        *out = (struct answer){size, sizeof(size_t)};
        return reserved;
    case MAPPED:
        *out = flag(region != NULL);
        return reserved || region != NULL;
    default:
        break;
    }
    if (region == NULL) {
        return 0;
    }
    switch (attribute) {
    case CONTEXT: /* memory of pools, and mapped memory, is of none */
        *out = number((uint64_t)(uintptr_t)region->owner);
        return 1;
    case MEMORY_TYPE: /* managed memory counts as the device's */
        *out =
            small(is_on_device(region) || region->kind == VGPU_REGION_MANAGED ? VGPU_MEMORY_DEVICE : VGPU_MEMORY_HOST);
        return 1;
    case DEVICE_POINTER:
        *out = number(address);
        return access_of(process, region) != VGPU_ACCESS_NONE;
    case HOST_POINTER:
        *out = number(address);
        return is_in_host_space(region);
    case SYNC_MEMOPS:
        *out = flag((int)region->sync);
        return 1;
    case BUFFER_ID:
    case BLOCK_ID:
        *out = number(region->id);
        return 1;
    case IS_MANAGED:
        *out = flag(region->kind == VGPU_REGION_MANAGED);
        return 1;
    case DEVICE_ORDINAL:
        *out = small(region->device);
        return 1;
    case IS_IPC_CAPABLE:
        *out = flag(region->kind == VGPU_REGION_DEVICE);
        return 1;
    case HANDLE_TYPES:
        *out = number(region->physical != NULL ? (uint64_t)region->physical->prop.requestedHandleTypes : 0);
        return 1;
    case IS_RDMA_CAPABLE:
        *out = flag(is_on_device(region) &&
                    vgpu_cuda_device_attribute(process, region->device, ATTRIBUTE_RDMA_SUPPORTED) != 0);
        return 1;
    case ACCESS_FLAGS:
        *out = small(access_of(process, region));
        return 1;
    case POOL_HANDLE:
        *out = number(region->pool != NULL ? region->pool->object.handle : 0);
        return 1;
    case MAPPING_SIZE:
        *out = (struct answer){region->size, sizeof(size_t)};
        return 1;
    case MAPPING_BASE:
        *out = number(region->address);
        return 1;
    case IS_DECOMPRESS_CAPABLE:
        *out = flag(0);
        return 1;
    case LOCALITY_DOMAIN:
        *out = small(NO_DOMAIN);
        return 1;
    default:
        return 0;
    }
}

CUresult vgpu_cuPointerGetAttribute(struct vgpu_process *process, struct vgpu_call *call, void *data,
                                    CUpointer_attribute attribute, CUdeviceptr ptr) {
    const struct vgpu_region *region = vgpu_region_at(&process->cuda->memory, ptr);
    struct answer got;
    if (data == NULL || !answer(process, region, ptr, attribute, &got)) {
        return CUDA_ERROR_INVALID_VALUE;
    }
    memcpy(data, &got.value, got.size);
    vgpu_call_output(call, data, got.size);
    return CUDA_SUCCESS;
}

/* What an address is told to have that CUDA does not know, or memory that lacks the attribute (doc: default values); 0:
 * there is no such attribute. */
static int nothing(int attribute, struct answer *out) {
    switch (attribute) {
    case MEMORY_TYPE:
    case IS_MANAGED:
    case ACCESS_FLAGS:
        *out = small(0);
        return 1;
    case DEVICE_ORDINAL:
        *out = small(NO_DEVICE);
        return 1;
    case LOCALITY_DOMAIN:
        *out = small(NO_DOMAIN);
        return 1;
    case SYNC_MEMOPS:
    case IS_IPC_CAPABLE:
    case MAPPED:
    case IS_RDMA_CAPABLE:
    case IS_DECOMPRESS_CAPABLE:
        *out = flag(0);
        return 1;
    case CONTEXT:
    case DEVICE_POINTER:
    case HOST_POINTER:
    case BUFFER_ID:
    case RANGE_START:
    case RANGE_SIZE:
    case HANDLE_TYPES:
    case POOL_HANDLE:
    case MAPPING_SIZE:
    case MAPPING_BASE:
    case BLOCK_ID:
        *out = number(0);
        return 1;
    default:
        return 0;
    }
}

CUresult vgpu_cuPointerGetAttributes(struct vgpu_process *process, struct vgpu_call *call, unsigned int numAttributes,
                                     CUpointer_attribute *attributes, void **data, CUdeviceptr ptr) {
    if (numAttributes == 0 || attributes == NULL || data == NULL) {
        return CUDA_ERROR_INVALID_VALUE;
    }
    const struct vgpu_region *region = vgpu_region_at(&process->cuda->memory, ptr);
    for (unsigned int i = 0; i < numAttributes; i++) {
        struct answer got;
        if (data[i] == NULL || !nothing(attributes[i], &got)) {
            return CUDA_ERROR_INVALID_VALUE;
        }
    }
    for (unsigned int i = 0; i < numAttributes; i++) {
        struct answer got;
        if (!answer(process, region, ptr, attributes[i], &got)) {
            nothing(attributes[i], &got);
        }
        memcpy(data[i], &got.value, got.size);
        vgpu_call_output(call, data[i], got.size);
    }
    return CUDA_SUCCESS;
}

CUresult vgpu_cuPointerSetAttribute(struct vgpu_process *process, struct vgpu_call *call, const void *value,
                                    CUpointer_attribute attribute, CUdeviceptr ptr) {
    (void)call;
    struct vgpu_region *region = vgpu_region_at(&process->cuda->memory, ptr);
    unsigned int wanted;
    if (value == NULL || attribute != SYNC_MEMOPS || region == NULL) {
        return CUDA_ERROR_INVALID_VALUE;
    }
    memcpy(&wanted, value, sizeof(wanted));
    region->sync = wanted != 0;
    return CUDA_SUCCESS;
}
