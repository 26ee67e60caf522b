/* Texture references: deprecated, but told as they were set. A module's are not here, since no module has code. This
 * is what they are bound to. */
#include "cuda/texref.h"

#include <stdlib.h>

enum {
    ATTRIBUTE_ALIGNMENT = 14,
    ATTRIBUTE_PITCH_ALIGNMENT = 51,
    ATTRIBUTE_1D_LINEAR_WIDTH = 69,
    ATTRIBUTE_2D_LINEAR_WIDTH = 70,
    ATTRIBUTE_2D_LINEAR_HEIGHT = 71,
    ATTRIBUTE_2D_LINEAR_PITCH = 72,
};

CUresult vgpu_cuTexRefCreate(struct vgpu_process *process, struct vgpu_call *call, CUtexref *pTexRef) {
    CUcontext context;
    CUdevice device;
    CUresult refusal = vgpu_context_current(process, &context, &device);
    if (refusal != CUDA_SUCCESS || pTexRef == NULL) {
        return refusal != CUDA_SUCCESS ? refusal : CUDA_ERROR_INVALID_VALUE;
    }
    struct vgpu_texref *made = calloc(1, sizeof(*made));
    if (made == NULL) {
        return CUDA_ERROR_OUT_OF_MEMORY;
    }
    made->object = (struct vgpu_object){.kind = VGPU_OBJECT_TEXREF, .context = context, .end = vgpu_object_free};
    made->format = 1; /* own choice: single bytes */
    made->channels = 1;
    if (!vgpu_object_add(process, &made->object)) {
        free(made);
        return CUDA_ERROR_OUT_OF_MEMORY;
    }
    *pTexRef = vgpu_object_handle(&made->object);
    vgpu_call_output(call, pTexRef, sizeof(*pTexRef));
    return CUDA_SUCCESS;
}

CUresult vgpu_cuTexRefDestroy(struct vgpu_process *process, struct vgpu_call *call, CUtexref hTexRef) {
    (void)call;
    struct vgpu_texref *found = vgpu_texref_find(process, hTexRef);
    if (found == NULL) {
        return CUDA_ERROR_INVALID_VALUE;
    }
    vgpu_object_drop(process, &found->object);
    return CUDA_SUCCESS;
}

/* What it is bound to takes the place of all it was bound to before (doc). */
static void bind(struct vgpu_texref *texref, CUarray array, CUmipmappedArray mipmap, uint64_t address) {
    texref->array = array;
    texref->mipmap = mipmap;
    texref->address = address;
}

CUresult vgpu_cuTexRefSetArray(struct vgpu_process *process, struct vgpu_call *call, CUtexref hTexRef, CUarray hArray,
                               unsigned int Flags) {
    (void)call;
    struct vgpu_texref *found = vgpu_texref_find(process, hTexRef);
    const struct vgpu_array *array = vgpu_object_find(process, VGPU_OBJECT_ARRAY, hArray);
    if (found == NULL || array == NULL || Flags != VGPU_OVERRIDE_FORMAT) {
        return CUDA_ERROR_INVALID_VALUE;
    }
    bind(found, hArray, NULL, 0);
    found->format = array->shape.Format;
    found->channels = (int)array->shape.NumChannels;
    return CUDA_SUCCESS;
}

CUresult vgpu_cuTexRefSetMipmappedArray(struct vgpu_process *process, struct vgpu_call *call, CUtexref hTexRef,
                                        CUmipmappedArray hMipmappedArray, unsigned int Flags) {
    (void)call;
    struct vgpu_texref *found = vgpu_texref_find(process, hTexRef);
    if (found == NULL || Flags != VGPU_OVERRIDE_FORMAT ||
        vgpu_object_find(process, VGPU_OBJECT_MIPMAP, hMipmappedArray) == NULL) {
        return CUDA_ERROR_INVALID_VALUE;
    }
    bind(found, NULL, hMipmappedArray, 0);
    return CUDA_SUCCESS;
}

static int limit(struct vgpu_process *process, CUdevice device, int attribute, uint64_t number) {
    int32_t most = vgpu_cuda_device_attribute(process, device, attribute);
    return most <= 0 || number <= (uint64_t)most;
}

static uint64_t alignment_of(struct vgpu_process *process, CUdevice device, int attribute) {
    int32_t alignment = vgpu_cuda_device_attribute(process, device, attribute);
    return alignment > 0 ? (uint64_t)alignment : 1;
}

/* What sticks out before the address is the offset: the texture begins at a multiple of its alignment (doc). */
static CUresult bind_address(struct vgpu_process *process, CUtexref handle, uint64_t address, uint64_t size,
                             int takes_offset, uint64_t *offset) {
    CUcontext context;
    CUdevice device;
    CUresult refusal = vgpu_context_current(process, &context, &device);
    struct vgpu_texref *found = refusal == CUDA_SUCCESS ? vgpu_texref_find(process, handle) : NULL;
    if (found == NULL) {
        return refusal != CUDA_SUCCESS ? refusal : CUDA_ERROR_INVALID_VALUE;
    }
    uint64_t element = vgpu_array_element(found->format, (unsigned int)found->channels);
    *offset = address % alignment_of(process, device, ATTRIBUTE_ALIGNMENT);
    if ((*offset != 0 && !takes_offset) || element == 0 || size == 0 ||
        !limit(process, device, ATTRIBUTE_1D_LINEAR_WIDTH, size / element)) {
        return CUDA_ERROR_INVALID_VALUE;
    }
    refusal = vgpu_reach(process, device, address, size, VGPU_ACCESS_READ, 0);
    if (refusal == CUDA_SUCCESS) {
        bind(found, NULL, NULL, address - *offset);
    }
    return refusal;
}

CUresult vgpu_cuTexRefSetAddress_v2(struct vgpu_process *process, struct vgpu_call *call, size_t *ByteOffset,
                                    CUtexref hTexRef, CUdeviceptr dptr, size_t bytes) {
    uint64_t offset;
    CUresult refusal = bind_address(process, hTexRef, dptr, bytes, ByteOffset != NULL, &offset);
    if (refusal == CUDA_SUCCESS && ByteOffset != NULL) {
        *ByteOffset = offset;
        vgpu_call_output(call, ByteOffset, sizeof(*ByteOffset));
    }
    return refusal;
}

CUresult vgpu_cuTexRefSetAddress(struct vgpu_process *process, struct vgpu_call *call, unsigned int *ByteOffset,
                                 CUtexref hTexRef, CUdeviceptr_v1 dptr, unsigned int bytes) {
    uint64_t offset;
    CUresult refusal = bind_address(process, hTexRef, dptr, bytes, ByteOffset != NULL, &offset);
    if (refusal == CUDA_SUCCESS && ByteOffset != NULL) {
        *ByteOffset = (unsigned int)offset;
        vgpu_call_output(call, ByteOffset, sizeof(*ByteOffset));
    }
    return refusal;
}

static CUresult bind_rows(struct vgpu_process *process, CUtexref handle, const CUDA_ARRAY_DESCRIPTOR *shape,
                          uint64_t address, uint64_t pitch) {
    CUcontext context;
    CUdevice device;
    CUresult refusal = vgpu_context_current(process, &context, &device);
    struct vgpu_texref *found = refusal == CUDA_SUCCESS ? vgpu_texref_find(process, handle) : NULL;
    if (found == NULL) {
        return refusal != CUDA_SUCCESS ? refusal : CUDA_ERROR_INVALID_VALUE;
    }
    uint64_t element = vgpu_array_element(shape->Format, shape->NumChannels);
    if (element == 0 || shape->Width == 0 || shape->Height == 0 || shape->Width > pitch / element ||
        address % alignment_of(process, device, ATTRIBUTE_ALIGNMENT) != 0 ||
        pitch % alignment_of(process, device, ATTRIBUTE_PITCH_ALIGNMENT) != 0 ||
        !limit(process, device, ATTRIBUTE_2D_LINEAR_WIDTH, shape->Width) ||
        !limit(process, device, ATTRIBUTE_2D_LINEAR_HEIGHT, shape->Height) ||
        !limit(process, device, ATTRIBUTE_2D_LINEAR_PITCH, pitch) || shape->Height > UINT64_MAX / pitch) {
        return CUDA_ERROR_INVALID_VALUE;
    }
    refusal =
        vgpu_reach(process, device, address, (shape->Height - 1) * pitch + shape->Width * element, VGPU_ACCESS_READ, 0);
    if (refusal == CUDA_SUCCESS) {
        bind(found, NULL, NULL, address);
        found->format = shape->Format;
        found->channels = (int)shape->NumChannels;
    }
    return refusal;
}

CUresult vgpu_cuTexRefSetAddress2D_v3(struct vgpu_process *process, struct vgpu_call *call, CUtexref hTexRef,
                                      const CUDA_ARRAY_DESCRIPTOR *desc, CUdeviceptr dptr, size_t Pitch) {
    (void)call;
    return desc != NULL ? bind_rows(process, hTexRef, desc, dptr, Pitch) : CUDA_ERROR_INVALID_VALUE;
}

CUresult vgpu_cuTexRefSetAddress2D_v2(struct vgpu_process *process, struct vgpu_call *call, CUtexref hTexRef,
                                      const CUDA_ARRAY_DESCRIPTOR *desc, CUdeviceptr dptr, size_t Pitch) {
    return vgpu_cuTexRefSetAddress2D_v3(process, call, hTexRef, desc, dptr, Pitch);
}

CUresult vgpu_cuTexRefSetAddress2D(struct vgpu_process *process, struct vgpu_call *call, CUtexref hTexRef,
                                   const CUDA_ARRAY_DESCRIPTOR_v1 *desc, CUdeviceptr_v1 dptr, unsigned int Pitch) {
    if (desc == NULL) {
        return CUDA_ERROR_INVALID_VALUE;
    }
    const CUDA_ARRAY_DESCRIPTOR shape = {desc->Width, desc->Height, desc->Format, desc->NumChannels};
    return vgpu_cuTexRefSetAddress2D_v3(process, call, hTexRef, &shape, dptr, Pitch);
}
