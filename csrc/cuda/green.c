/* Green contexts: a device's multiprocessors in parts, and contexts that have a part each.
 *
 * A resource lies in the program's memory; what it is known by here lies in its padding. */
#include <stdlib.h>
#include <string.h>

#include "cuda/stream.h"
#include "cuda/structs_partition.h"

#define CONTEXT_BASE 0x00d8000000000000ull

enum {
    CONTEXT_STEP = 16,
    RESOURCE_INVALID = 0,
    RESOURCE_SM = 1,
    RESOURCE_MARK = 0x56475055,
    SPLIT_IGNORE_COSCHEDULING = 1,
    SPLIT_MAX_CLUSTER = 2,
    FLAG_DEFAULT_STREAM = 1,
    FLAGS_OPTIONAL_FROM = 13000, /* cuda.h 12.9 wants FLAG_DEFAULT_STREAM, 13.0 allows none */
    API_VERSION = 3020,
};

/* What a resource is, in a descriptor and in a green context. */
struct part {
    CUdevice device;
    unsigned int first;
    unsigned int count;
};

struct resources {
    struct vgpu_object object;
    struct part part;
};

struct green {
    struct vgpu_object object;
    struct part part;
    CUcontext context; /* what cuCtxFromGreenCtx answers */
    struct vgpu_settings settings;
};

/* Smallest part, and what its size is a multiple of: cuda.h 12.9, by compute capability. */
static void sizes_of(const struct vgpu_gpu *gpu, unsigned int flags, unsigned int *minimum, unsigned int *multiple) {
    int alone = (flags & SPLIT_IGNORE_COSCHEDULING) != 0;
    if (gpu->compute_major < 7) {
        *minimum = *multiple = 1;
    } else if (gpu->compute_major >= 9 && !alone) {
        *minimum = *multiple = 8;
    } else {
        *minimum = gpu->compute_major == 8 && !alone ? 4 : 2;
        *multiple = 2;
    }
}

static void put(struct vgpu_process *process, CUdevResource *resource, const struct part *part, uint64_t split) {
    memset(resource, 0, sizeof(*resource));
    resource->type = part->count > 0 ? RESOURCE_SM : RESOURCE_INVALID;
    resource->own_mark = RESOURCE_MARK;
    resource->own_device = (unsigned int)part->device;
    resource->own_first = part->first;
    resource->own_split[0] = (unsigned int)split;
    resource->own_split[1] = (unsigned int)(split >> 32);
    resource->sm.smCount = part->count;
    sizes_of(process->cuda->device[part->device].gpu, 0, &resource->sm.minSmPartitionSize,
             &resource->sm.smCoscheduledAlignment);
}

static uint64_t split_of(const CUdevResource *resource) {
    return (uint64_t)resource->own_split[1] << 32 | resource->own_split[0];
}

/* Whether this process's driver has written it, and nobody since. */
static CUresult take(struct vgpu_process *process, const CUdevResource *resource, struct part *part) {
    *part = (struct part){(CUdevice)resource->own_device, resource->own_first, resource->sm.smCount};
    if (resource->type != RESOURCE_SM) {
        return CUDA_ERROR_INVALID_RESOURCE_TYPE;
    }
    if (resource->own_mark != RESOURCE_MARK || vgpu_cuda_device(process, part->device) == NULL) {
        return CUDA_ERROR_INVALID_VALUE;
    }
    unsigned int all =
        (unsigned int)vgpu_cuda_device_attribute(process, part->device, VGPU_ATTRIBUTE_MULTIPROCESSOR_COUNT);
    int inside = part->count > 0 && part->first <= all && part->count <= all - part->first;
    return inside ? CUDA_SUCCESS : CUDA_ERROR_INVALID_VALUE;
}

static struct part whole(struct vgpu_process *process, CUdevice dev) {
    int all = vgpu_cuda_device_attribute(process, dev, VGPU_ATTRIBUTE_MULTIPROCESSOR_COUNT);
    return (struct part){dev, 0, (unsigned int)all};
}

/* Of several green contexts the one that a CUcontext is of. */
struct search {
    CUcontext context;
    struct green *found;
};

static void match(struct vgpu_object *object, void *data) {
    struct search *search = data;
    struct green *green = (struct green *)object;
    search->found = green->context == search->context ? green : search->found;
}

static struct green *green_of(struct vgpu_process *process, CUcontext context) {
    struct search search = {.context = context};
    if ((uint64_t)(uintptr_t)context >= CONTEXT_BASE) {
        vgpu_objects_visit(process, VGPU_OBJECT_GREEN, match, &search);
    }
    return search.found;
}

CUresult vgpu_green_settings(struct vgpu_process *process, CUcontext context, struct vgpu_settings **settings,
                             CUdevice *device) {
    struct green *green = green_of(process, context);
    if (green == NULL) {
        uint64_t past = (uint64_t)(uintptr_t)context - CONTEXT_BASE;
        int was_given = past % CONTEXT_STEP == 0 && past / CONTEXT_STEP < process->cuda->greens_given;
        return was_given ? CUDA_ERROR_CONTEXT_IS_DESTROYED : CUDA_ERROR_INVALID_CONTEXT;
    }
    *settings = &green->settings;
    *device = green->part.device;
    return CUDA_SUCCESS;
}

CUgreenCtx vgpu_green_of(struct vgpu_process *process, CUcontext context) {
    struct green *green = green_of(process, context);
    return green != NULL ? vgpu_object_handle(&green->object) : NULL;
}

CUresult vgpu_green_check(struct vgpu_process *process, CUgreenCtx handle, CUcontext *context, CUdevice *device) {
    struct green *green = vgpu_object_find(process, VGPU_OBJECT_GREEN, handle);
    if (green == NULL) {
        return CUDA_ERROR_INVALID_CONTEXT;
    }
    *context = green->context;
    *device = green->part.device;
    return CUDA_SUCCESS;
}

static CUresult answer(struct vgpu_process *process, struct vgpu_call *call, CUdevResource *resource,
                       CUdevResourceType type, const struct part *part) {
    if (type != RESOURCE_SM) {
        return CUDA_ERROR_INVALID_RESOURCE_TYPE;
    }
    put(process, resource, part, 0);
    vgpu_call_output(call, &resource->sm.smCount, sizeof(resource->sm.smCount));
    return CUDA_SUCCESS;
}

CUresult vgpu_cuDeviceGetDevResource(struct vgpu_process *process, struct vgpu_call *call, CUdevice device,
                                     CUdevResource *resource, CUdevResourceType type) {
    if (resource == NULL) {
        return CUDA_ERROR_INVALID_VALUE;
    }
    if (vgpu_cuda_device(process, device) == NULL) {
        return CUDA_ERROR_INVALID_DEVICE;
    }
    struct part part = whole(process, device);
    return answer(process, call, resource, type, &part);
}

CUresult vgpu_cuCtxGetDevResource(struct vgpu_process *process, struct vgpu_call *call, CUcontext hCtx,
                                  CUdevResource *resource, CUdevResourceType type) {
    if (resource == NULL) {
        return CUDA_ERROR_INVALID_VALUE;
    }
    CUdevice dev;
    CUresult refusal = vgpu_context_check(process, hCtx, &dev);
    if (refusal != CUDA_SUCCESS) {
        return refusal;
    }
    struct green *green = green_of(process, hCtx);
    struct part part = green != NULL ? green->part : whole(process, dev);
    return answer(process, call, resource, type, &part);
}

CUresult vgpu_cuGreenCtxGetDevResource(struct vgpu_process *process, struct vgpu_call *call, CUgreenCtx hCtx,
                                       CUdevResource *resource, CUdevResourceType type) {
    if (resource == NULL) {
        return CUDA_ERROR_INVALID_VALUE;
    }
    struct green *green = vgpu_object_find(process, VGPU_OBJECT_GREEN, hCtx);
    return green != NULL ? answer(process, call, resource, type, &green->part) : CUDA_ERROR_INVALID_CONTEXT;
}

/* Parts of a split cannot be split again: doc. */
CUresult vgpu_cuDevSmResourceSplitByCount(struct vgpu_process *process, struct vgpu_call *call, CUdevResource *result,
                                          unsigned int *nbGroups, const CUdevResource *input, CUdevResource *remainder,
                                          unsigned int flags, unsigned int minCount) {
    if (nbGroups == NULL || input == NULL || (flags & ~(SPLIT_IGNORE_COSCHEDULING | SPLIT_MAX_CLUSTER)) != 0) {
        return CUDA_ERROR_INVALID_VALUE;
    }
    struct part rest;
    CUresult refusal = take(process, input, &rest);
    if (refusal != CUDA_SUCCESS) {
        return refusal;
    }
    if (minCount > rest.count || (result != NULL && *nbGroups == 0)) {
        return CUDA_ERROR_INVALID_VALUE;
    }
    unsigned int minimum;
    unsigned int multiple;
    sizes_of(process->cuda->device[rest.device].gpu, flags, &minimum, &multiple);
    unsigned int size = ((minCount > minimum ? minCount : minimum) + multiple - 1) / multiple * multiple;
    if (split_of(input) != 0 || size > rest.count) {
        return CUDA_ERROR_INVALID_RESOURCE_CONFIGURATION;
    }
    unsigned int groups = rest.count / size;
    groups = result != NULL && *nbGroups < groups ? *nbGroups : groups;
    uint64_t split = result != NULL ? ++process->cuda->splits_made : 0;
    struct part all = rest;
    for (unsigned int i = 0; result != NULL && i < groups; i++) {
        struct part part = {all.device, all.first + i * size, size};
        put(process, &result[i], &part, split);
    }
    rest = (struct part){all.device, all.first + groups * size, all.count - groups * size};
    if (result != NULL && remainder != NULL) {
        put(process, remainder, &rest, split);
    }
    *nbGroups = groups;
    vgpu_call_output(call, nbGroups, sizeof(*nbGroups));
    return CUDA_SUCCESS;
}

/* Has the resource no multiprocessor of those before it? So there are never more than the device has. */
static int is_apart(const CUdevResource *resources, unsigned int which) {
    const CUdevResource *own = &resources[which];
    for (unsigned int i = 0; i < which; i++) {
        const CUdevResource *other = &resources[i];
        if (own->own_first < other->own_first + other->sm.smCount &&
            other->own_first < own->own_first + own->sm.smCount) {
            return 0;
        }
    }
    return 1;
}

CUresult vgpu_cuDevResourceGenerateDesc(struct vgpu_process *process, struct vgpu_call *call, CUdevResourceDesc *phDesc,
                                        CUdevResource *resources, unsigned int nbResources) {
    (void)call;
    if (phDesc == NULL || resources == NULL || nbResources == 0) {
        return CUDA_ERROR_INVALID_VALUE;
    }
    struct part all = {0};
    for (unsigned int i = 0; i < nbResources; i++) {
        struct part part;
        CUresult refusal = take(process, &resources[i], &part);
        if (refusal != CUDA_SUCCESS) {
            return refusal;
        }
        int fits = part.device == all.device && split_of(&resources[i]) == split_of(&resources[0]) &&
                   split_of(&resources[0]) != 0 && is_apart(resources, i);
        if (i > 0 && !fits) {
            return CUDA_ERROR_INVALID_RESOURCE_CONFIGURATION;
        }
        unsigned int first = part.first < all.first ? part.first : all.first;
        all = i > 0 ? (struct part){all.device, first, all.count + part.count} : part;
    }
    struct resources *made = calloc(1, sizeof(*made));
    if (made == NULL) {
        return CUDA_ERROR_OUT_OF_MEMORY;
    }
    made->object.kind = VGPU_OBJECT_RESOURCES;
    made->object.end = vgpu_object_free;
    made->part = all;
    if (!vgpu_object_add(process, &made->object)) {
        free(made);
        return CUDA_ERROR_OUT_OF_MEMORY;
    }
    *phDesc = vgpu_object_handle(&made->object);
    return CUDA_SUCCESS;
}

/* With all that is in it and its reference to the primary context, also where it is that which ends. */
static void end_green(struct vgpu_process *process, struct vgpu_object *object) {
    CUcontext context = ((struct green *)object)->context;
    struct vgpu_primary *primary = &process->cuda->device[((struct green *)object)->part.device].primary;
    primary->references -= primary->references > 0; /* the program may have released more than it had */
    free(object);
    vgpu_context_end(process, context);
}

CUresult vgpu_cuGreenCtxCreate(struct vgpu_process *process, struct vgpu_call *call, CUgreenCtx *phCtx,
                               CUdevResourceDesc desc, CUdevice dev, unsigned int flags) {
    int optional = process->image->driver.cuda_version >= FLAGS_OPTIONAL_FROM;
    if (phCtx == NULL || (flags & ~(unsigned int)FLAG_DEFAULT_STREAM) != 0 || (flags == 0 && !optional)) {
        return CUDA_ERROR_INVALID_VALUE;
    }
    struct vgpu_device *device = vgpu_cuda_device(process, dev);
    if (device == NULL) {
        return CUDA_ERROR_INVALID_DEVICE;
    }
    struct resources *resources = vgpu_object_find(process, VGPU_OBJECT_RESOURCES, desc);
    if (resources == NULL || resources->part.device != dev) {
        return CUDA_ERROR_INVALID_VALUE;
    }
    struct green *green = calloc(1, sizeof(*green));
    if (green == NULL) {
        return CUDA_ERROR_OUT_OF_MEMORY;
    }
    green->object.kind = VGPU_OBJECT_GREEN;
    green->object.end = end_green;
    green->object.context = vgpu_primary_retain(process, dev);
    green->part = resources->part;
    if (!vgpu_object_add(process, &green->object)) {
        vgpu_primary_release(process, dev);
        free(green);
        return CUDA_ERROR_OUT_OF_MEMORY;
    }
    green->context = (CUcontext)(uintptr_t)(CONTEXT_BASE + CONTEXT_STEP * process->cuda->greens_given++);
    vgpu_settings_begin(process, &green->settings);
    green->settings.api_version = API_VERSION;
    *phCtx = vgpu_object_handle(&green->object);
    vgpu_cuda_say_pci(call, device);
    return CUDA_SUCCESS;
}

/* What is current stays so, destroyed. */
CUresult vgpu_cuGreenCtxDestroy(struct vgpu_process *process, struct vgpu_call *call, CUgreenCtx hCtx) {
    (void)call;
    struct green *green = vgpu_object_find(process, VGPU_OBJECT_GREEN, hCtx);
    if (green == NULL) {
        return CUDA_ERROR_INVALID_CONTEXT;
    }
    CUdevice dev = green->part.device;
    vgpu_streams_detach(process, hCtx, green->context);
    vgpu_primary_retain(process, dev);
    vgpu_object_drop(process, &green->object);
    return vgpu_primary_release(process, dev);
}

CUresult vgpu_cuCtxFromGreenCtx(struct vgpu_process *process, struct vgpu_call *call, CUcontext *pContext,
                                CUgreenCtx hCtx) {
    (void)call;
    if (pContext == NULL) {
        return CUDA_ERROR_INVALID_VALUE;
    }
    struct green *green = vgpu_object_find(process, VGPU_OBJECT_GREEN, hCtx);
    if (green == NULL) {
        return CUDA_ERROR_INVALID_CONTEXT;
    }
    *pContext = green->context;
    return CUDA_SUCCESS;
}

CUresult vgpu_cuGreenCtxGetId(struct vgpu_process *process, struct vgpu_call *call, CUgreenCtx greenCtx,
                              unsigned long long *greenCtxId) {
    if (greenCtxId == NULL) {
        return CUDA_ERROR_INVALID_VALUE;
    }
    struct green *green = greenCtx != NULL ? vgpu_object_find(process, VGPU_OBJECT_GREEN, greenCtx)
                                           : green_of(process, vgpu_stack_top(process->cuda));
    if (green == NULL) {
        return CUDA_ERROR_INVALID_CONTEXT;
    }
    *greenCtxId = green->settings.id;
    vgpu_call_output(call, greenCtxId, sizeof(*greenCtxId));
    return CUDA_SUCCESS;
}
