/* CUDA arrays: memory whose layout is the driver's own. Here it is rows without a gap. */
#ifndef VGPU_CUDA_ARRAY_H
#define VGPU_CUDA_ARRAY_H

#include "cuda/objects.h"
#include "cuda/structs_texture.h"

#define VGPU_NO_ARRAY ((CUarray)1) /* a handle that no array has */

struct vgpu_mipmap;

struct vgpu_array {
    struct vgpu_object object;
    CUDA_ARRAY3D_DESCRIPTOR shape; /* as it was asked for: 0 for a dimension that it has not */
    uint64_t element;              /* bytes */
    uint64_t row;
    uint64_t rows;
    uint64_t slices; /* its depth, or its layers */
    struct vgpu_store *store;
    CUdevice device;
    struct vgpu_mipmap *mipmap; /* whose level it is; NULL: it stands alone */
};

/* CUDA_SUCCESS; INVALID_HANDLE for NULL; INVALID_CONTEXT for a handle that there is none of, whose context NVIDIA's
 * library misses first (measured on 535.261.03 with zeroed memory). */
CUresult vgpu_array_find(struct vgpu_process *process, CUarray handle, struct vgpu_array **array);

/* Where [offset, offset + size) of a one-dimensional array is, offset and size in bytes. */
CUresult vgpu_array_run(const struct vgpu_array *array, uint64_t offset, uint64_t size, struct vgpu_place *place);

/* The number of bytes of an element; 0: there is no such format. */
uint64_t vgpu_array_element(CUarray_format format, unsigned int channels);

/* A new one in the current context. `shape` has been checked. */
CUresult vgpu_array_new(struct vgpu_process *process, const CUDA_ARRAY3D_DESCRIPTOR *shape, struct vgpu_mipmap *mipmap,
                        struct vgpu_array **array);
CUresult vgpu_array_check(struct vgpu_process *process, const CUDA_ARRAY3D_DESCRIPTOR *shape);

#endif
