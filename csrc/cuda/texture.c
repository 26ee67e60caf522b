/* Texture and surface objects: what a kernel would read an array or memory through. They are kept as they were made,
 * and what they are made of is checked then. */
#include "cuda/array.h"

#include <stdlib.h>

enum {
    ATTRIBUTE_ALIGNMENT = 14,
    ATTRIBUTE_PITCH_ALIGNMENT = 51,
    ATTRIBUTE_LINEAR_WIDTH = 70, /* of rows in memory, then their height and pitch */
    ATTRIBUTE_LINEAR_HEIGHT = 71,
    ATTRIBUTE_LINEAR_PITCH = 72,
};

struct texture {
    struct vgpu_object object;
    CUDA_RESOURCE_DESC resource;
    CUDA_TEXTURE_DESC texture;
    CUDA_RESOURCE_VIEW_DESC view;
    int has_view;
};

static int is_aligned(struct vgpu_process *process, CUdevice device, int attribute, uint64_t number) {
    int32_t alignment = vgpu_cuda_device_attribute(process, device, attribute);
    return alignment <= 0 || number % (uint64_t)alignment == 0;
}

static int is_at_most(struct vgpu_process *process, CUdevice device, int attribute, uint64_t number) {
    int32_t most = vgpu_cuda_device_attribute(process, device, attribute);
    return most <= 0 || number <= (uint64_t)most;
}

static CUresult check_linear(struct vgpu_process *process, CUdevice device, const CUDA_RESOURCE_DESC *resource) {
    uint64_t element = vgpu_array_element(resource->res.linear.format, resource->res.linear.numChannels);
    if (element == 0 || resource->res.linear.sizeInBytes < element ||
        !is_aligned(process, device, ATTRIBUTE_ALIGNMENT, resource->res.linear.devPtr)) {
        return CUDA_ERROR_INVALID_VALUE;
    }
    return vgpu_reach(process, device, resource->res.linear.devPtr, resource->res.linear.sizeInBytes, VGPU_ACCESS_READ,
                      0);
}

static CUresult check_rows(struct vgpu_process *process, CUdevice device, const CUDA_RESOURCE_DESC *resource) {
    uint64_t element = vgpu_array_element(resource->res.pitch2D.format, resource->res.pitch2D.numChannels);
    uint64_t pitch = resource->res.pitch2D.pitchInBytes;
    uint64_t width = resource->res.pitch2D.width;
    uint64_t height = resource->res.pitch2D.height;
    if (element == 0 || width == 0 || height == 0 || width > pitch / element ||
        !is_at_most(process, device, ATTRIBUTE_LINEAR_WIDTH, width) ||
        !is_at_most(process, device, ATTRIBUTE_LINEAR_HEIGHT, height) ||
        !is_at_most(process, device, ATTRIBUTE_LINEAR_PITCH, pitch) || height > UINT64_MAX / pitch ||
        !is_aligned(process, device, ATTRIBUTE_ALIGNMENT, resource->res.pitch2D.devPtr) ||
        !is_aligned(process, device, ATTRIBUTE_PITCH_ALIGNMENT, pitch)) {
        return CUDA_ERROR_INVALID_VALUE;
    }
    return vgpu_reach(process, device, resource->res.pitch2D.devPtr, (height - 1) * pitch + width * element,
                      VGPU_ACCESS_READ, 0);
}

static CUresult check_resource(struct vgpu_process *process, CUdevice device, const CUDA_RESOURCE_DESC *resource) {
    if (resource->flags != 0) {
        return CUDA_ERROR_INVALID_VALUE;
    }
    switch (resource->resType) {
    case VGPU_RESOURCE_ARRAY:
        return vgpu_object_find(process, VGPU_OBJECT_ARRAY, resource->res.array.hArray) != NULL
                   ? CUDA_SUCCESS
                   : CUDA_ERROR_INVALID_VALUE;
    case VGPU_RESOURCE_MIPMAP:
        return vgpu_object_find(process, VGPU_OBJECT_MIPMAP, resource->res.mipmap.hMipmappedArray) != NULL
                   ? CUDA_SUCCESS
                   : CUDA_ERROR_INVALID_VALUE;
    case VGPU_RESOURCE_LINEAR:
        return check_linear(process, device, resource);
    case VGPU_RESOURCE_PITCH_2D:
        return check_rows(process, device, resource);
    default:
        return CUDA_ERROR_INVALID_VALUE;
    }
}

static int is_texture(const CUDA_TEXTURE_DESC *texture) {
    for (int i = 0; i < VGPU_TEXTURE_DIMENSIONS; i++) {
        if (texture->addressMode[i] < 0 || texture->addressMode[i] >= VGPU_ADDRESS_MODES) {
            return 0;
        }
    }
    return texture->filterMode >= 0 && texture->filterMode < VGPU_FILTER_MODES && texture->mipmapFilterMode >= 0 &&
           texture->mipmapFilterMode < VGPU_FILTER_MODES && (texture->flags & ~(unsigned int)VGPU_TEXTURE_FLAGS) == 0;
}

/* A view is of an array, or of a mipmapped one (doc). */
static int is_view(const CUDA_RESOURCE_VIEW_DESC *view, const CUDA_RESOURCE_DESC *resource) {
    return (resource->resType == VGPU_RESOURCE_ARRAY || resource->resType == VGPU_RESOURCE_MIPMAP) &&
           view->format >= 0 && view->format < VGPU_VIEW_FORMATS && view->firstMipmapLevel <= view->lastMipmapLevel &&
           view->firstLayer <= view->lastLayer;
}

static CUresult make(struct vgpu_process *process, struct vgpu_call *call, uint32_t kind,
                     const CUDA_RESOURCE_DESC *resource, CUcontext context, unsigned long long *handle,
                     struct texture **made) {
    *made = calloc(1, sizeof(**made));
    if (*made == NULL) {
        return CUDA_ERROR_OUT_OF_MEMORY;
    }
    (*made)->object = (struct vgpu_object){.kind = kind, .context = context, .end = vgpu_object_free};
    (*made)->resource = *resource;
    if (!vgpu_object_add(process, &(*made)->object)) {
        free(*made);
        return CUDA_ERROR_OUT_OF_MEMORY;
    }
    *handle = (*made)->object.handle;
    vgpu_call_output(call, handle, sizeof(*handle));
    return CUDA_SUCCESS;
}

CUresult vgpu_cuTexObjectCreate(struct vgpu_process *process, struct vgpu_call *call, CUtexObject *pTexObject,
                                const CUDA_RESOURCE_DESC *pResDesc, const CUDA_TEXTURE_DESC *pTexDesc,
                                const CUDA_RESOURCE_VIEW_DESC *pResViewDesc) {
    CUcontext context;
    CUdevice device;
    CUresult refusal = vgpu_context_current(process, &context, &device);
    if (refusal != CUDA_SUCCESS) {
        return refusal;
    }
    if (pTexObject == NULL || pResDesc == NULL || pTexDesc == NULL || !is_texture(pTexDesc) ||
        (pResViewDesc != NULL && !is_view(pResViewDesc, pResDesc))) {
        return CUDA_ERROR_INVALID_VALUE;
    }
    struct texture *made;
    refusal = check_resource(process, device, pResDesc);
    refusal = refusal == CUDA_SUCCESS ? make(process, call, VGPU_OBJECT_TEXTURE, pResDesc, context, pTexObject, &made)
                                      : refusal;
    if (refusal != CUDA_SUCCESS) {
        return refusal;
    }
    made->texture = *pTexDesc;
    made->has_view = pResViewDesc != NULL;
    if (made->has_view) {
        made->view = *pResViewDesc;
    }
    return CUDA_SUCCESS;
}

/* Only of an array that was made for it (doc: CUDA_ARRAY3D_SURFACE_LDST). */
CUresult vgpu_cuSurfObjectCreate(struct vgpu_process *process, struct vgpu_call *call, CUsurfObject *pSurfObject,
                                 const CUDA_RESOURCE_DESC *pResDesc) {
    CUcontext context;
    CUdevice device;
    CUresult refusal = vgpu_context_current(process, &context, &device);
    if (refusal != CUDA_SUCCESS) {
        return refusal;
    }
    if (pSurfObject == NULL || pResDesc == NULL || pResDesc->resType != VGPU_RESOURCE_ARRAY || pResDesc->flags != 0) {
        return CUDA_ERROR_INVALID_VALUE;
    }
    const struct vgpu_array *array = vgpu_object_find(process, VGPU_OBJECT_ARRAY, pResDesc->res.array.hArray);
    if (array == NULL || (array->shape.Flags & VGPU_ARRAY_SURFACE) == 0) {
        return CUDA_ERROR_INVALID_VALUE;
    }
    struct texture *made;
    return make(process, call, VGPU_OBJECT_SURFACE, pResDesc, context, pSurfObject, &made);
}

static struct texture *find(struct vgpu_process *process, enum vgpu_object_kind kind, unsigned long long handle) {
    return vgpu_object_find(process, kind, (const void *)(uintptr_t)handle);
}

static CUresult destroy(struct vgpu_process *process, enum vgpu_object_kind kind, unsigned long long handle) {
    struct texture *found = find(process, kind, handle);
    if (found == NULL) {
        return CUDA_ERROR_INVALID_VALUE;
    }
    vgpu_object_drop(process, &found->object);
    return CUDA_SUCCESS;
}

CUresult vgpu_cuTexObjectDestroy(struct vgpu_process *process, struct vgpu_call *call, CUtexObject texObject) {
    (void)call;
    return destroy(process, VGPU_OBJECT_TEXTURE, texObject);
}

CUresult vgpu_cuSurfObjectDestroy(struct vgpu_process *process, struct vgpu_call *call, CUsurfObject surfObject) {
    (void)call;
    return destroy(process, VGPU_OBJECT_SURFACE, surfObject);
}

static CUresult tell_resource(struct vgpu_process *process, struct vgpu_call *call, enum vgpu_object_kind kind,
                              unsigned long long handle, CUDA_RESOURCE_DESC *resource) {
    const struct texture *found = find(process, kind, handle);
    if (found == NULL || resource == NULL) {
        return CUDA_ERROR_INVALID_VALUE;
    }
    *resource = found->resource;
    vgpu_call_output(call, &resource->resType, sizeof(resource->resType));
    return CUDA_SUCCESS;
}

CUresult vgpu_cuTexObjectGetResourceDesc(struct vgpu_process *process, struct vgpu_call *call,
                                         CUDA_RESOURCE_DESC *pResDesc, CUtexObject texObject) {
    return tell_resource(process, call, VGPU_OBJECT_TEXTURE, texObject, pResDesc);
}

CUresult vgpu_cuSurfObjectGetResourceDesc(struct vgpu_process *process, struct vgpu_call *call,
                                          CUDA_RESOURCE_DESC *pResDesc, CUsurfObject surfObject) {
    return tell_resource(process, call, VGPU_OBJECT_SURFACE, surfObject, pResDesc);
}

CUresult vgpu_cuTexObjectGetTextureDesc(struct vgpu_process *process, struct vgpu_call *call,
                                        CUDA_TEXTURE_DESC *pTexDesc, CUtexObject texObject) {
    const struct texture *found = find(process, VGPU_OBJECT_TEXTURE, texObject);
    if (found == NULL || pTexDesc == NULL) {
        return CUDA_ERROR_INVALID_VALUE;
    }
    *pTexDesc = found->texture;
    vgpu_call_output(call, &pTexDesc->addressMode[0], sizeof(pTexDesc->addressMode[0]));
    return CUDA_SUCCESS;
}

/* Without a view there is none to tell (doc). */
CUresult vgpu_cuTexObjectGetResourceViewDesc(struct vgpu_process *process, struct vgpu_call *call,
                                             CUDA_RESOURCE_VIEW_DESC *pResViewDesc, CUtexObject texObject) {
    const struct texture *found = find(process, VGPU_OBJECT_TEXTURE, texObject);
    if (found == NULL || pResViewDesc == NULL || !found->has_view) {
        return CUDA_ERROR_INVALID_VALUE;
    }
    *pResViewDesc = found->view;
    vgpu_call_output(call, &pResViewDesc->format, sizeof(pResViewDesc->format));
    return CUDA_SUCCESS;
}
