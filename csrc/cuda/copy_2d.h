/* A copy in three dimensions, whichever struct of cuda.h has described it. */
#ifndef VGPU_CUDA_COPY_2D_H
#define VGPU_CUDA_COPY_2D_H

#include "cuda/model.h"
#include "cuda/structs_copy.h"

struct vgpu_extent {
    uint64_t width; /* bytes */
    uint64_t height;
    uint64_t depth;
};

struct vgpu_side_3d {
    CUmemorytype type;
    int host; /* memory of the host that CUDA does not know of is right, too */
    uint64_t address;
    CUarray array;
    uint64_t x; /* bytes */
    uint64_t y;
    uint64_t z;
    uint64_t lod; /* must be 0 */
    uint64_t pitch;
    uint64_t height;
};

/* Where its first byte is, and how far it is from row to row and from slice to slice. */
struct vgpu_layout {
    struct vgpu_place start;
    uint64_t pitch;
    uint64_t slice;
};

/* CUDA_SUCCESS and the layout, or why the side cannot take part. The extent is nowhere 0. */
CUresult vgpu_side_find(struct vgpu_process *process, CUdevice device, const struct vgpu_side_3d *side,
                        const struct vgpu_extent *extent, int access, struct vgpu_layout *layout);
CUresult vgpu_copy_layouts(struct vgpu_process *process, struct vgpu_call *call, const struct vgpu_layout *to,
                           const struct vgpu_layout *from, const struct vgpu_extent *extent);
/* At once, or, where a stream is given that is being captured, as a node of its graph. */
CUresult vgpu_copy_sides(struct vgpu_process *process, struct vgpu_call *call, struct vgpu_stream *stream,
                         const struct vgpu_side_3d *to, const struct vgpu_side_3d *from,
                         const struct vgpu_extent *extent);

#endif
