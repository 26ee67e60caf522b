/* Mipmapped arrays, and what is asked of arrays that are not of the plain kind. */
#include <stdlib.h>

#include "cuda/array.h"

enum { LEVELS_MAX = 32 };

struct vgpu_mipmap {
    struct vgpu_object object;
    unsigned int flags;
    unsigned int levels;
    CUarray level[LEVELS_MAX];
};

static void end_mipmap(struct vgpu_process *process, struct vgpu_object *object) {
    struct vgpu_mipmap *mipmap = (struct vgpu_mipmap *)object;
    for (unsigned int i = 0; i < mipmap->levels; i++) {
        struct vgpu_array *array = vgpu_object_find(process, VGPU_OBJECT_ARRAY, mipmap->level[i]);
        if (array != NULL) {
            vgpu_object_drop(process, &array->object);
        }
    }
    free(mipmap);
}

static CUresult find(struct vgpu_process *process, CUmipmappedArray handle, struct vgpu_mipmap **mipmap) {
    if (handle == NULL) {
        return CUDA_ERROR_INVALID_HANDLE;
    }
    *mipmap = vgpu_object_find(process, VGPU_OBJECT_MIPMAP, handle);
    return *mipmap != NULL ? vgpu_cuda_ready(process) : CUDA_ERROR_INVALID_CONTEXT;
}

static size_t half(size_t number, unsigned int times) {
    return number == 0 ? 0 : number >> times > 0 ? number >> times : 1;
}

/* Each level has half the numbers of the one before, at least 1; layers stay as they are. More levels than there are
 * halves are cut (doc). */
CUresult vgpu_cuMipmappedArrayCreate(struct vgpu_process *process, struct vgpu_call *call, CUmipmappedArray *pHandle,
                                     const CUDA_ARRAY3D_DESCRIPTOR *pMipmappedArrayDesc, unsigned int numMipmapLevels) {
    if (pHandle == NULL || pMipmappedArrayDesc == NULL || numMipmapLevels == 0) {
        return CUDA_ERROR_INVALID_VALUE;
    }
    const CUDA_ARRAY3D_DESCRIPTOR *shape = pMipmappedArrayDesc;
    CUresult result = vgpu_array_check(process, shape);
    struct vgpu_mipmap *mipmap = result == CUDA_SUCCESS ? calloc(1, sizeof(*mipmap)) : NULL;
    if (mipmap == NULL) {
        return result != CUDA_SUCCESS ? result : CUDA_ERROR_OUT_OF_MEMORY;
    }
    int fixed = (shape->Flags & (VGPU_ARRAY_LAYERED | VGPU_ARRAY_CUBEMAP)) != 0;
    size_t longest = shape->Width > shape->Height ? shape->Width : shape->Height;
    longest = !fixed && shape->Depth > longest ? shape->Depth : longest;
    unsigned int levels = 1;
    while (longest >> levels != 0 && levels < LEVELS_MAX) {
        levels++;
    }
    levels = numMipmapLevels < levels ? numMipmapLevels : levels;
    mipmap->flags = shape->Flags;
    mipmap->object = (struct vgpu_object){.kind = VGPU_OBJECT_MIPMAP, .end = end_mipmap};
    for (unsigned int i = 0; result == CUDA_SUCCESS && i < levels; i++) {
        CUDA_ARRAY3D_DESCRIPTOR level = *shape;
        struct vgpu_array *array;
        level.Width = half(shape->Width, i);
        level.Height = half(shape->Height, i);
        level.Depth = fixed ? shape->Depth : half(shape->Depth, i);
        result = vgpu_array_new(process, &level, mipmap, &array);
        if (result == CUDA_SUCCESS) {
            mipmap->object.context = array->object.context;
            mipmap->level[mipmap->levels++] = vgpu_object_handle(&array->object);
        }
    }
    if (result == CUDA_SUCCESS && !vgpu_object_add(process, &mipmap->object)) {
        result = CUDA_ERROR_OUT_OF_MEMORY;
    }
    if (result != CUDA_SUCCESS) {
        end_mipmap(process, &mipmap->object);
        return result;
    }
    *pHandle = vgpu_object_handle(&mipmap->object);
    vgpu_call_output(call, pHandle, sizeof(*pHandle));
    return CUDA_SUCCESS;
}

CUresult vgpu_cuMipmappedArrayGetLevel(struct vgpu_process *process, struct vgpu_call *call, CUarray *pLevelArray,
                                       CUmipmappedArray hMipmappedArray, unsigned int level) {
    struct vgpu_mipmap *mipmap;
    CUresult refusal = find(process, hMipmappedArray, &mipmap);
    if (refusal != CUDA_SUCCESS) {
        return refusal;
    }
    if (pLevelArray == NULL || level >= mipmap->levels) {
        return CUDA_ERROR_INVALID_VALUE;
    }
    *pLevelArray = mipmap->level[level];
    vgpu_call_output(call, pLevelArray, sizeof(*pLevelArray));
    return CUDA_SUCCESS;
}

CUresult vgpu_cuMipmappedArrayDestroy(struct vgpu_process *process, struct vgpu_call *call,
                                      CUmipmappedArray hMipmappedArray) {
    (void)call;
    struct vgpu_mipmap *mipmap;
    CUresult refusal = vgpu_cuda_tried(process);
    refusal = refusal == CUDA_SUCCESS ? find(process, hMipmappedArray, &mipmap) : refusal;
    if (refusal != CUDA_SUCCESS) {
        return refusal;
    }
    vgpu_object_drop(process, &mipmap->object);
    return CUDA_SUCCESS;
}

/* Planes are of the formats of video, and there are none of those here. */
CUresult vgpu_cuArrayGetPlane(struct vgpu_process *process, struct vgpu_call *call, CUarray *pPlaneArray,
                              CUarray hArray, unsigned int planeIdx) {
    (void)call;
    (void)pPlaneArray;
    (void)planeIdx;
    struct vgpu_array *array;
    CUresult refusal = vgpu_array_find(process, hArray, &array);
    return refusal != CUDA_SUCCESS ? refusal : CUDA_ERROR_INVALID_VALUE;
}

/* Only sparse arrays have sparse properties, only those of deferred mapping requirements (doc); there are none of
 * either here, so that whatever is asked for is an invalid value, initialised or not (measured on 535.261.03). */
CUresult vgpu_cuArrayGetSparseProperties(struct vgpu_process *process, struct vgpu_call *call,
                                         CUDA_ARRAY_SPARSE_PROPERTIES *sparseProperties, CUarray array) {
    (void)call;
    struct vgpu_array *found;
    int sparse = sparseProperties != NULL && vgpu_array_find(process, array, &found) == CUDA_SUCCESS &&
                 (found->shape.Flags & VGPU_ARRAY_SPARSE) != 0;
    return sparse ? CUDA_ERROR_NOT_SUPPORTED : CUDA_ERROR_INVALID_VALUE;
}

CUresult vgpu_cuMipmappedArrayGetSparseProperties(struct vgpu_process *process, struct vgpu_call *call,
                                                  CUDA_ARRAY_SPARSE_PROPERTIES *sparseProperties,
                                                  CUmipmappedArray mipmap) {
    (void)call;
    struct vgpu_mipmap *found;
    int sparse = sparseProperties != NULL && find(process, mipmap, &found) == CUDA_SUCCESS &&
                 (found->flags & VGPU_ARRAY_SPARSE) != 0;
    return sparse ? CUDA_ERROR_NOT_SUPPORTED : CUDA_ERROR_INVALID_VALUE;
}

CUresult vgpu_cuArrayGetMemoryRequirements(struct vgpu_process *process, struct vgpu_call *call,
                                           CUDA_ARRAY_MEMORY_REQUIREMENTS *memoryRequirements, CUarray array,
                                           CUdevice device) {
    (void)call;
    struct vgpu_array *found;
    int deferred = memoryRequirements != NULL && vgpu_array_find(process, array, &found) == CUDA_SUCCESS &&
                   (found->shape.Flags & VGPU_ARRAY_DEFERRED) != 0 && vgpu_cuda_device(process, device) != NULL;
    return deferred ? CUDA_ERROR_NOT_SUPPORTED : CUDA_ERROR_INVALID_VALUE;
}

CUresult vgpu_cuMipmappedArrayGetMemoryRequirements(struct vgpu_process *process, struct vgpu_call *call,
                                                    CUDA_ARRAY_MEMORY_REQUIREMENTS *memoryRequirements,
                                                    CUmipmappedArray mipmap, CUdevice device) {
    (void)call;
    struct vgpu_mipmap *found;
    int deferred = memoryRequirements != NULL && find(process, mipmap, &found) == CUDA_SUCCESS &&
                   (found->flags & VGPU_ARRAY_DEFERRED) != 0 && vgpu_cuda_device(process, device) != NULL;
    return deferred ? CUDA_ERROR_NOT_SUPPORTED : CUDA_ERROR_INVALID_VALUE;
}

/* Maps memory to sparse arrays. The list is looked at before the stream, the stream before cuInit (measured on
 * 535.261.03). */
CUresult vgpu_cuMemMapArrayAsync(struct vgpu_process *process, struct vgpu_call *call, CUarrayMapInfo *mapInfoList,
                                 unsigned int count, CUstream hStream) {
    if (mapInfoList == NULL || count == 0) {
        return CUDA_ERROR_INVALID_VALUE;
    }
    CUresult refusal = vgpu_stream_check(process, call, hStream);
    return refusal != CUDA_SUCCESS ? refusal : CUDA_ERROR_NOT_SUPPORTED;
}
