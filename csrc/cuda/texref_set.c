/* What is set of a texture reference, and told of it. */
#include <string.h>

#include "cuda/texref.h"

enum { ANISOTROPY_MAX = 16 };

/* Sets fields of the texture reference `found` where `right` says that the numbers are. */
#define SET(right, change)                                                                                             \
    do {                                                                                                               \
        (void)call;                                                                                                    \
        struct vgpu_texref *found = vgpu_texref_find(process, hTexRef);                                                \
        if (found == NULL || !(right)) {                                                                               \
            return CUDA_ERROR_INVALID_VALUE;                                                                           \
        }                                                                                                              \
        change;                                                                                                        \
        return CUDA_SUCCESS;                                                                                           \
    } while (0)

/* Tells a number of the texture reference `found` where `right` says that there is one. */
#define TELL(out, right, number)                                                                                       \
    do {                                                                                                               \
        const struct vgpu_texref *found = vgpu_texref_find(process, hTexRef);                                          \
        if (found == NULL || (out) == NULL || !(right)) {                                                              \
            return CUDA_ERROR_INVALID_VALUE;                                                                           \
        }                                                                                                              \
        *(out) = number;                                                                                               \
        vgpu_call_output(call, out, sizeof(*(out)));                                                                   \
        return CUDA_SUCCESS;                                                                                           \
    } while (0)

CUresult vgpu_cuTexRefSetFormat(struct vgpu_process *process, struct vgpu_call *call, CUtexref hTexRef,
                                CUarray_format fmt, int NumPackedComponents) {
    SET(vgpu_array_element(fmt, (unsigned int)NumPackedComponents) != 0,
        (found->format = fmt, found->channels = NumPackedComponents));
}

CUresult vgpu_cuTexRefSetAddressMode(struct vgpu_process *process, struct vgpu_call *call, CUtexref hTexRef, int dim,
                                     CUaddress_mode am) {
    SET(dim >= 0 && dim < VGPU_TEXTURE_DIMENSIONS && am >= 0 && am < VGPU_ADDRESS_MODES, found->modes[dim] = am);
}

CUresult vgpu_cuTexRefSetFilterMode(struct vgpu_process *process, struct vgpu_call *call, CUtexref hTexRef,
                                    CUfilter_mode fm) {
    SET(fm >= 0 && fm < VGPU_FILTER_MODES, found->filter = fm);
}

CUresult vgpu_cuTexRefSetMipmapFilterMode(struct vgpu_process *process, struct vgpu_call *call, CUtexref hTexRef,
                                          CUfilter_mode fm) {
    SET(fm >= 0 && fm < VGPU_FILTER_MODES, found->mipmap_filter = fm);
}

CUresult vgpu_cuTexRefSetMipmapLevelBias(struct vgpu_process *process, struct vgpu_call *call, CUtexref hTexRef,
                                         float bias) {
    SET(1, found->bias = bias);
}

CUresult vgpu_cuTexRefSetMipmapLevelClamp(struct vgpu_process *process, struct vgpu_call *call, CUtexref hTexRef,
                                          float minMipmapLevelClamp, float maxMipmapLevelClamp) {
    SET(1, (found->clamp[0] = minMipmapLevelClamp, found->clamp[1] = maxMipmapLevelClamp));
}

/* More than the hardware has is what it has (own choice). */
CUresult vgpu_cuTexRefSetMaxAnisotropy(struct vgpu_process *process, struct vgpu_call *call, CUtexref hTexRef,
                                       unsigned int maxAniso) {
    SET(1, found->anisotropy = maxAniso < ANISOTROPY_MAX ? maxAniso : ANISOTROPY_MAX);
}

CUresult vgpu_cuTexRefSetBorderColor(struct vgpu_process *process, struct vgpu_call *call, CUtexref hTexRef,
                                     float *pBorderColor) {
    SET(pBorderColor != NULL, memcpy(found->border, pBorderColor, sizeof(found->border)));
}

CUresult vgpu_cuTexRefSetFlags(struct vgpu_process *process, struct vgpu_call *call, CUtexref hTexRef,
                               unsigned int Flags) {
    SET((Flags & ~(unsigned int)VGPU_TEXTURE_FLAGS) == 0, found->flags = Flags);
}

CUresult vgpu_cuTexRefGetAddress_v2(struct vgpu_process *process, struct vgpu_call *call, CUdeviceptr *pdptr,
                                    CUtexref hTexRef) {
    TELL(pdptr, found->address != 0, found->address);
}

CUresult vgpu_cuTexRefGetAddress(struct vgpu_process *process, struct vgpu_call *call, CUdeviceptr_v1 *pdptr,
                                 CUtexref hTexRef) {
    TELL(pdptr, found->address != 0 && found->address <= UINT32_MAX, (CUdeviceptr_v1)found->address);
}

CUresult vgpu_cuTexRefGetArray(struct vgpu_process *process, struct vgpu_call *call, CUarray *phArray,
                               CUtexref hTexRef) {
    TELL(phArray, found->array != NULL, found->array);
}

CUresult vgpu_cuTexRefGetMipmappedArray(struct vgpu_process *process, struct vgpu_call *call,
                                        CUmipmappedArray *phMipmappedArray, CUtexref hTexRef) {
    TELL(phMipmappedArray, found->mipmap != NULL, found->mipmap);
}

CUresult vgpu_cuTexRefGetAddressMode(struct vgpu_process *process, struct vgpu_call *call, CUaddress_mode *pam,
                                     CUtexref hTexRef, int dim) {
    TELL(pam, dim >= 0 && dim < VGPU_TEXTURE_DIMENSIONS, found->modes[dim]);
}

CUresult vgpu_cuTexRefGetFilterMode(struct vgpu_process *process, struct vgpu_call *call, CUfilter_mode *pfm,
                                    CUtexref hTexRef) {
    TELL(pfm, 1, found->filter);
}

/* Each of the two may be left out. */
CUresult vgpu_cuTexRefGetFormat(struct vgpu_process *process, struct vgpu_call *call, CUarray_format *pFormat,
                                int *pNumChannels, CUtexref hTexRef) {
    const struct vgpu_texref *found = vgpu_texref_find(process, hTexRef);
    if (found == NULL) {
        return CUDA_ERROR_INVALID_VALUE;
    }
    if (pFormat != NULL) {
        *pFormat = found->format;
        vgpu_call_output(call, pFormat, sizeof(*pFormat));
    }
    if (pNumChannels != NULL) {
        *pNumChannels = found->channels;
        vgpu_call_output(call, pNumChannels, sizeof(*pNumChannels));
    }
    return CUDA_SUCCESS;
}

CUresult vgpu_cuTexRefGetMipmapFilterMode(struct vgpu_process *process, struct vgpu_call *call, CUfilter_mode *pfm,
                                          CUtexref hTexRef) {
    TELL(pfm, 1, found->mipmap_filter);
}

CUresult vgpu_cuTexRefGetMipmapLevelBias(struct vgpu_process *process, struct vgpu_call *call, float *pbias,
                                         CUtexref hTexRef) {
    TELL(pbias, 1, found->bias);
}

CUresult vgpu_cuTexRefGetMipmapLevelClamp(struct vgpu_process *process, struct vgpu_call *call,
                                          float *pminMipmapLevelClamp, float *pmaxMipmapLevelClamp, CUtexref hTexRef) {
    const struct vgpu_texref *found = vgpu_texref_find(process, hTexRef);
    if (found == NULL || pminMipmapLevelClamp == NULL || pmaxMipmapLevelClamp == NULL) {
        return CUDA_ERROR_INVALID_VALUE;
    }
    *pminMipmapLevelClamp = found->clamp[0];
    *pmaxMipmapLevelClamp = found->clamp[1];
    vgpu_call_output(call, pminMipmapLevelClamp, sizeof(*pminMipmapLevelClamp));
    vgpu_call_output(call, pmaxMipmapLevelClamp, sizeof(*pmaxMipmapLevelClamp));
    return CUDA_SUCCESS;
}

CUresult vgpu_cuTexRefGetMaxAnisotropy(struct vgpu_process *process, struct vgpu_call *call, int *pmaxAniso,
                                       CUtexref hTexRef) {
    TELL(pmaxAniso, 1, (int)found->anisotropy);
}

CUresult vgpu_cuTexRefGetBorderColor(struct vgpu_process *process, struct vgpu_call *call, float *pBorderColor,
                                     CUtexref hTexRef) {
    const struct vgpu_texref *found = vgpu_texref_find(process, hTexRef);
    if (found == NULL || pBorderColor == NULL) {
        return CUDA_ERROR_INVALID_VALUE;
    }
    memcpy(pBorderColor, found->border, sizeof(found->border));
    vgpu_call_output(call, pBorderColor, sizeof(*pBorderColor));
    return CUDA_SUCCESS;
}

CUresult vgpu_cuTexRefGetFlags(struct vgpu_process *process, struct vgpu_call *call, unsigned int *pFlags,
                               CUtexref hTexRef) {
    TELL(pFlags, 1, found->flags);
}
