/* Copies of rows and slices: cuMemcpy2D, cuMemcpy3D and their like are all one copy in three dimensions. All of both
 * sides is checked before the first byte moves. */
#include "cuda/copy_2d.h"
#include "cuda/array.h"
#include "cuda/capture.h"

enum { ATTRIBUTE_MAX_PITCH = 11 };

/* `product` and 1, or 0: it has more than 64 bits. */
static int multiply(uint64_t a, uint64_t b, uint64_t *product) {
    return !__builtin_mul_overflow(a, b, product);
}

static int add(uint64_t a, uint64_t b, uint64_t *sum) {
    return !__builtin_add_overflow(a, b, sum);
}

static CUresult find_array(struct vgpu_process *process, const struct vgpu_side_3d *side,
                           const struct vgpu_extent *extent, struct vgpu_layout *layout) {
    struct vgpu_array *array;
    CUresult refusal = vgpu_array_find(process, side->array, &array);
    if (refusal != CUDA_SUCCESS) {
        return refusal;
    }
    if (side->x % array->element != 0 || extent->width % array->element != 0 || side->x > array->row ||
        extent->width > array->row - side->x || side->y > array->rows || extent->height > array->rows - side->y ||
        side->z > array->slices || extent->depth > array->slices - side->z) {
        return CUDA_ERROR_INVALID_VALUE;
    }
    layout->start = (struct vgpu_place){array->store, (side->z * array->rows + side->y) * array->row + side->x};
    layout->pitch = array->row;
    layout->slice = array->row * array->rows;
    return CUDA_SUCCESS;
}

/* A pitch need not be given for a single row, a height not for a single slice (doc for the height; own choice for the
 * pitch). */
static CUresult find_linear(struct vgpu_process *process, CUdevice device, const struct vgpu_side_3d *side,
                            const struct vgpu_extent *extent, int access, struct vgpu_layout *layout) {
    int32_t longest = vgpu_cuda_attribute(process, process->cuda->device[device].gpu, ATTRIBUTE_MAX_PITCH);
    uint64_t row;
    uint64_t rows;
    if (!add(side->x, extent->width, &row) || !add(side->y, extent->height, &rows) ||
        (longest > 0 && side->pitch > (uint64_t)longest)) {
        return CUDA_ERROR_INVALID_VALUE;
    }
    int flat = rows == 1 && extent->depth == 1 && side->z == 0;
    if ((side->pitch != 0 || !flat) && side->pitch < row) {
        return CUDA_ERROR_INVALID_VALUE;
    }
    int one_slice = extent->depth == 1 && side->z == 0;
    if ((side->height != 0 || !one_slice) && side->height < rows) {
        return CUDA_ERROR_INVALID_VALUE;
    }
    uint64_t first;
    uint64_t last;
    uint64_t offset;
    layout->pitch = side->pitch;
    uint64_t height = one_slice ? 0 : side->height;
    if (!multiply(side->pitch, height, &layout->slice) || !multiply(layout->slice, side->z, &first) ||
        !multiply(side->pitch, side->y, &offset) || !add(first, offset, &first) || !add(first, side->x, &first) ||
        !multiply(layout->slice, extent->depth - 1, &last) || !multiply(side->pitch, extent->height - 1, &offset) ||
        !add(last, offset, &last) || !add(last, extent->width, &last) || !add(side->address, first, &first)) {
        return CUDA_ERROR_INVALID_VALUE;
    }
    layout->start = (struct vgpu_place){NULL, first};
    return side->address != 0 ? vgpu_reach(process, device, first, last, access, side->host) : CUDA_ERROR_INVALID_VALUE;
}

CUresult vgpu_side_find(struct vgpu_process *process, CUdevice device, const struct vgpu_side_3d *side,
                        const struct vgpu_extent *extent, int access, struct vgpu_layout *layout) {
    return side->type == VGPU_MEMORY_ARRAY ? find_array(process, side, extent, layout)
                                           : find_linear(process, device, side, extent, access, layout);
}

CUresult vgpu_copy_layouts(struct vgpu_process *process, struct vgpu_call *call, const struct vgpu_layout *to,
                           const struct vgpu_layout *from, const struct vgpu_extent *extent) {
    for (uint64_t z = 0; z < extent->depth; z++) {
        for (uint64_t y = 0; y < extent->height; y++) {
            const struct vgpu_place target = {to->start.store, to->start.at + z * to->slice + y * to->pitch};
            const struct vgpu_place source = {from->start.store, from->start.at + z * from->slice + y * from->pitch};
            CUresult failure = vgpu_move(process, call, target, source, extent->width);
            if (failure != CUDA_SUCCESS) {
                return failure;
            }
        }
    }
    return CUDA_SUCCESS;
}

/* The place of a side in the struct that nodes of graphs have. */
#define PUT_SIDE(copy, way, side)                                                                                      \
    do {                                                                                                               \
        (copy)->way##XInBytes = (side)->x;                                                                             \
        (copy)->way##Y = (side)->y;                                                                                    \
        (copy)->way##Z = (side)->z;                                                                                    \
        (copy)->way##MemoryType = (side)->type;                                                                        \
        (copy)->way##Host = (void *)(uintptr_t)(side)->address;                                                        \
        (copy)->way##Device = (side)->address;                                                                         \
        (copy)->way##Array = (side)->array;                                                                            \
        (copy)->way##Pitch = (side)->pitch;                                                                            \
        (copy)->way##Height = (side)->height;                                                                          \
    } while (0)

static CUresult capture(struct vgpu_process *process, struct vgpu_stream *stream, const struct vgpu_side_3d *to,
                        const struct vgpu_side_3d *from, const struct vgpu_extent *extent) {
    CUgraphNodeParams params = {.type = VGPU_NODE_MEMCPY};
    CUDA_MEMCPY3D *copy = &params.memcpy.of;
    params.memcpy.copyCtx = stream->object.context;
    PUT_SIDE(copy, dst, to);
    PUT_SIDE(copy, src, from);
    copy->WidthInBytes = extent->width;
    copy->Height = extent->height;
    copy->Depth = extent->depth;
    return vgpu_capture_node(process, stream, &params);
}

/* What is not there before the launch is looked at then. */
static int is_of_graph(const struct vgpu_process *process, const struct vgpu_side_3d *side) {
    return side->type != VGPU_MEMORY_ARRAY && vgpu_graph_memory_has(process, side->address);
}

CUresult vgpu_copy_sides(struct vgpu_process *process, struct vgpu_call *call, struct vgpu_stream *stream,
                         const struct vgpu_side_3d *to, const struct vgpu_side_3d *from,
                         const struct vgpu_extent *extent) {
    CUcontext context;
    CUdevice device;
    CUresult refusal = vgpu_context_current(process, &context, &device);
    if (refusal != CUDA_SUCCESS) {
        return refusal;
    }
    if (to->type < VGPU_MEMORY_HOST || to->type > VGPU_MEMORY_UNIFIED || from->type < VGPU_MEMORY_HOST ||
        from->type > VGPU_MEMORY_UNIFIED || to->lod != 0 || from->lod != 0) {
        return CUDA_ERROR_INVALID_VALUE;
    }
    if (extent->width == 0 || extent->height == 0 || extent->depth == 0) {
        return CUDA_SUCCESS;
    }
    int captures = stream != NULL && stream->capture != NULL;
    struct vgpu_layout target;
    struct vgpu_layout source;
    if (!captures || !is_of_graph(process, to)) {
        refusal = vgpu_side_find(process, device, to, extent, VGPU_ACCESS_READ_WRITE, &target);
    }
    if (refusal == CUDA_SUCCESS && (!captures || !is_of_graph(process, from))) {
        refusal = vgpu_side_find(process, device, from, extent, VGPU_ACCESS_READ, &source);
    }
    if (refusal != CUDA_SUCCESS) {
        return refusal;
    }
    return captures ? capture(process, stream, to, from, extent)
                    : vgpu_copy_layouts(process, call, &target, &source, extent);
}

/* One side of each of the structs, whose fields have the same names in all of them: for unified memory the address is
 * in the device field (doc). */
#define LINEAR(copy, way)                                                                                              \
    .type = (copy)->way##MemoryType, .x = (copy)->way##XInBytes, .y = (copy)->way##Y, .array = (copy)->way##Array,     \
    .pitch = (copy)->way##Pitch,                                                                                       \
    .address =                                                                                                         \
        (copy)->way##MemoryType == VGPU_MEMORY_HOST ? (uint64_t)(uintptr_t)(copy)->way##Host : (copy)->way##Device,    \
    .host = (copy)->way##MemoryType != VGPU_MEMORY_DEVICE
#define SIDE_2D(copy, way) ((struct vgpu_side_3d){LINEAR(copy, way)})
#define SIDE_3D(copy, way)                                                                                             \
    ((struct vgpu_side_3d){LINEAR(copy, way), .z = (copy)->way##Z, .lod = (copy)->way##LOD,                            \
                           .height = (copy)->way##Height})

#define COPY_2D(process, call, stream, copy)                                                                           \
    do {                                                                                                               \
        if ((copy) == NULL) {                                                                                          \
            return CUDA_ERROR_INVALID_VALUE;                                                                           \
        }                                                                                                              \
        const struct vgpu_side_3d to = SIDE_2D(copy, dst);                                                             \
        const struct vgpu_side_3d from = SIDE_2D(copy, src);                                                           \
        const struct vgpu_extent extent = {(copy)->WidthInBytes, (copy)->Height, 1};                                   \
        return vgpu_copy_sides(process, call, stream, &to, &from, &extent);                                            \
    } while (0)

#define COPY_3D(process, call, stream, copy)                                                                           \
    do {                                                                                                               \
        if ((copy) == NULL) {                                                                                          \
            return CUDA_ERROR_INVALID_VALUE;                                                                           \
        }                                                                                                              \
        const struct vgpu_side_3d to = SIDE_3D(copy, dst);                                                             \
        const struct vgpu_side_3d from = SIDE_3D(copy, src);                                                           \
        const struct vgpu_extent extent = {(copy)->WidthInBytes, (copy)->Height, (copy)->Depth};                       \
        return vgpu_copy_sides(process, call, stream, &to, &from, &extent);                                            \
    } while (0)

CUresult vgpu_copy_3d(struct vgpu_process *process, struct vgpu_call *call, const CUDA_MEMCPY3D *copy) {
    COPY_3D(process, call, NULL, copy);
}

/* An asynchronous copy: the stream first, then as the other. */
#define IN_STREAM(process, call, handle, way, copy)                                                                    \
    do {                                                                                                               \
        struct vgpu_stream *stream;                                                                                    \
        CUresult refusal = vgpu_stream_for_work(process, call, handle, &stream);                                       \
        if (refusal != CUDA_SUCCESS) {                                                                                 \
            return refusal;                                                                                            \
        }                                                                                                              \
        way(process, call, stream, copy);                                                                              \
    } while (0)

/* A copy that is done before it returns is one in the stream 0. */
#define NOW(process, call, way, copy)                                                                                  \
    do {                                                                                                               \
        CUresult refusal = vgpu_stream_now(process, call);                                                             \
        if (refusal != CUDA_SUCCESS) {                                                                                 \
            return refusal;                                                                                            \
        }                                                                                                              \
        way(process, call, NULL, copy);                                                                                \
    } while (0)

CUresult vgpu_cuMemcpy2D_v2(struct vgpu_process *process, struct vgpu_call *call, const CUDA_MEMCPY2D *pCopy) {
    NOW(process, call, COPY_2D, pCopy);
}

CUresult vgpu_cuMemcpy2D(struct vgpu_process *process, struct vgpu_call *call, const CUDA_MEMCPY2D_v1 *pCopy) {
    NOW(process, call, COPY_2D, pCopy);
}

/* NVIDIA's library takes any pitch here, and in cuMemcpy2D may refuse one for the hardware's sake; ours takes any in
 * both. */
CUresult vgpu_cuMemcpy2DUnaligned_v2(struct vgpu_process *process, struct vgpu_call *call, const CUDA_MEMCPY2D *pCopy) {
    NOW(process, call, COPY_2D, pCopy);
}

CUresult vgpu_cuMemcpy2DUnaligned(struct vgpu_process *process, struct vgpu_call *call, const CUDA_MEMCPY2D_v1 *pCopy) {
    NOW(process, call, COPY_2D, pCopy);
}

CUresult vgpu_cuMemcpy3D_v2(struct vgpu_process *process, struct vgpu_call *call, const CUDA_MEMCPY3D *pCopy) {
    NOW(process, call, COPY_3D, pCopy);
}

CUresult vgpu_cuMemcpy3D(struct vgpu_process *process, struct vgpu_call *call, const CUDA_MEMCPY3D_v1 *pCopy) {
    NOW(process, call, COPY_3D, pCopy);
}

CUresult vgpu_cuMemcpy2DAsync_v2(struct vgpu_process *process, struct vgpu_call *call, const CUDA_MEMCPY2D *pCopy,
                                 CUstream hStream) {
    IN_STREAM(process, call, hStream, COPY_2D, pCopy);
}

CUresult vgpu_cuMemcpy2DAsync(struct vgpu_process *process, struct vgpu_call *call, const CUDA_MEMCPY2D_v1 *pCopy,
                              CUstream hStream) {
    IN_STREAM(process, call, hStream, COPY_2D, pCopy);
}

CUresult vgpu_cuMemcpy3DAsync_v2(struct vgpu_process *process, struct vgpu_call *call, const CUDA_MEMCPY3D *pCopy,
                                 CUstream hStream) {
    IN_STREAM(process, call, hStream, COPY_3D, pCopy);
}

CUresult vgpu_cuMemcpy3DAsync(struct vgpu_process *process, struct vgpu_call *call, const CUDA_MEMCPY3D_v1 *pCopy,
                              CUstream hStream) {
    IN_STREAM(process, call, hStream, COPY_3D, pCopy);
}

/* The context of an array, or of memory of the host, is not looked at (doc for the array). */
static CUresult check_context(struct vgpu_process *process, CUmemorytype type, CUcontext context) {
    CUdevice device;
    return type == VGPU_MEMORY_DEVICE ? vgpu_context_check(process, context, &device) : CUDA_SUCCESS;
}

static CUresult check_contexts(struct vgpu_process *process, const CUDA_MEMCPY3D_PEER *copy) {
    CUresult refusal =
        copy != NULL ? check_context(process, copy->dstMemoryType, copy->dstContext) : CUDA_ERROR_INVALID_VALUE;
    return refusal == CUDA_SUCCESS ? check_context(process, copy->srcMemoryType, copy->srcContext) : refusal;
}

static CUresult copy_peer(struct vgpu_process *process, struct vgpu_call *call, struct vgpu_stream *stream,
                          const CUDA_MEMCPY3D_PEER *copy) {
    CUresult refusal = check_contexts(process, copy);
    if (refusal != CUDA_SUCCESS) {
        return refusal;
    }
    COPY_3D(process, call, stream, copy);
}

CUresult vgpu_cuMemcpy3DPeer(struct vgpu_process *process, struct vgpu_call *call, const CUDA_MEMCPY3D_PEER *pCopy) {
    CUresult refusal = vgpu_stream_now(process, call);
    return refusal == CUDA_SUCCESS ? copy_peer(process, call, NULL, pCopy) : refusal;
}

CUresult vgpu_cuMemcpy3DPeerAsync(struct vgpu_process *process, struct vgpu_call *call, const CUDA_MEMCPY3D_PEER *pCopy,
                                  CUstream hStream) {
    struct vgpu_stream *stream;
    CUresult refusal = vgpu_stream_for_work(process, call, hStream, &stream);
    return refusal == CUDA_SUCCESS ? copy_peer(process, call, stream, pCopy) : refusal;
}
