/* A texture reference, as texref.c and texref_set.c know it. */
#ifndef VGPU_CUDA_TEXREF_H
#define VGPU_CUDA_TEXREF_H

#include "cuda/array.h"

enum { VGPU_BORDER_CHANNELS = 4 };

struct vgpu_texref {
    struct vgpu_object object;
    CUarray array;
    CUmipmappedArray mipmap;
    uint64_t address; /* 0: it is bound to none */
    CUarray_format format;
    int channels;
    CUaddress_mode modes[VGPU_TEXTURE_DIMENSIONS];
    CUfilter_mode filter;
    CUfilter_mode mipmap_filter;
    float bias;
    float clamp[2];
    unsigned int anisotropy;
    float border[VGPU_BORDER_CHANNELS];
    unsigned int flags;
};

/* NULL: there is none. */
static inline struct vgpu_texref *vgpu_texref_find(struct vgpu_process *process, CUtexref handle) {
    return vgpu_object_find(process, VGPU_OBJECT_TEXREF, handle);
}

#endif
