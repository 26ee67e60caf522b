/* Copies with attributes, one or many at once. All of a batch is checked before any of it is done. The attributes only
 * say when a source may be read, and where managed memory may lie: for work that is done at once, nothing. */
#include "cuda/array.h"
#include "cuda/capture.h"
#include "cuda/copy_2d.h"

enum {
    ORDER_FIRST = 1, /* in stream order, during the call, at any time */
    ORDER_LAST = 3,
    COPY_FLAGS = 1, /* prefer overlap with compute */
};

/* The legacy stream is refused (doc for a batch; NVIDIA/cuda-python, pull request 2636, for the single copy), and so is
 * one that is being captured, whose capture goes on without the copy (rapidsai/rmm, issue 2518: 900 from a batch, then
 * a graph that ends well; that a single copy does the same is own choice). */
static CUresult check_stream(struct vgpu_process *process, struct vgpu_call *call, CUstream handle) {
    struct vgpu_stream *stream;
    if ((handle == NULL && !call->per_thread) || handle == VGPU_STREAM_LEGACY) {
        return CUDA_ERROR_INVALID_VALUE;
    }
    CUresult refusal = vgpu_stream_for_work(process, call, handle, &stream);
    return refusal == CUDA_SUCCESS ? vgpu_capture_decline(stream) : refusal;
}

static int is_order(int order, unsigned int flags) {
    return order >= ORDER_FIRST && order <= ORDER_LAST && (flags & ~(unsigned int)COPY_FLAGS) == 0;
}

static int are_attributes(const CUmemcpyAttributes *attrs, const size_t *indices, size_t attributes, size_t count) {
    if (attrs == NULL || indices == NULL || attributes == 0 || attributes > count || indices[0] != 0) {
        return 0;
    }
    for (size_t i = 0; i < attributes; i++) {
        if (!is_order(attrs[i].srcAccessOrder, attrs[i].flags) || indices[i] >= count ||
            (i > 0 && indices[i] <= indices[i - 1])) {
            return 0;
        }
    }
    return 1;
}

static CUresult check(struct vgpu_process *process, CUdevice device, uint64_t to, uint64_t from, uint64_t size) {
    if (size == 0) {
        return CUDA_SUCCESS;
    }
    CUresult refusal = vgpu_reach(process, device, to, size, VGPU_ACCESS_READ_WRITE, 1);
    return refusal == CUDA_SUCCESS ? vgpu_reach(process, device, from, size, VGPU_ACCESS_READ, 1) : refusal;
}

/* `failed`: which copy it was, SIZE_MAX: no single one. */
static CUresult copy_all(struct vgpu_process *process, struct vgpu_call *call, const CUdeviceptr *dsts,
                         const CUdeviceptr *srcs, const size_t *sizes, size_t count, size_t *failed) {
    CUcontext context;
    CUdevice device;
    *failed = SIZE_MAX;
    CUresult result = vgpu_context_current(process, &context, &device);
    for (size_t i = 0; result == CUDA_SUCCESS && i < count; i++) {
        result = check(process, device, dsts[i], srcs[i], sizes[i]);
        *failed = result == CUDA_SUCCESS ? SIZE_MAX : i;
    }
    for (size_t i = 0; result == CUDA_SUCCESS && i < count; i++) {
        result =
            vgpu_move(process, call, (struct vgpu_place){NULL, dsts[i]}, (struct vgpu_place){NULL, srcs[i]}, sizes[i]);
        *failed = result == CUDA_SUCCESS ? SIZE_MAX : i;
    }
    return result;
}

CUresult vgpu_cuMemcpyBatchAsync(struct vgpu_process *process, struct vgpu_call *call, CUdeviceptr *dsts,
                                 CUdeviceptr *srcs, size_t *sizes, size_t count, CUmemcpyAttributes *attrs,
                                 size_t *attrsIdxs, size_t numAttrs, size_t *failIdx, CUstream hStream) {
    CUresult refusal = check_stream(process, call, hStream);
    if (refusal == CUDA_SUCCESS && (dsts == NULL || srcs == NULL || sizes == NULL || count == 0 ||
                                    !are_attributes(attrs, attrsIdxs, numAttrs, count))) {
        refusal = CUDA_ERROR_INVALID_VALUE;
    }
    size_t failed = SIZE_MAX;
    if (refusal == CUDA_SUCCESS) {
        refusal = copy_all(process, call, dsts, srcs, sizes, count, &failed);
    }
    if (refusal != CUDA_SUCCESS && failIdx != NULL) {
        *failIdx = failed;
        vgpu_call_output(call, failIdx, sizeof(*failIdx));
    }
    return refusal;
}

CUresult vgpu_cuMemcpyBatchAsync_v2(struct vgpu_process *process, struct vgpu_call *call, CUdeviceptr *dsts,
                                    CUdeviceptr *srcs, size_t *sizes, size_t count, CUmemcpyAttributes *attrs,
                                    size_t *attrsIdxs, size_t numAttrs, CUstream hStream) {
    return vgpu_cuMemcpyBatchAsync(process, call, dsts, srcs, sizes, count, attrs, attrsIdxs, numAttrs, NULL, hStream);
}

CUresult vgpu_cuMemcpyWithAttributesAsync(struct vgpu_process *process, struct vgpu_call *call, CUdeviceptr dst,
                                          CUdeviceptr src, size_t size, CUmemcpyAttributes *attr, CUstream hStream) {
    CUresult refusal = check_stream(process, call, hStream);
    if (refusal != CUDA_SUCCESS) {
        return refusal;
    }
    size_t failed;
    return attr != NULL && is_order(attr->srcAccessOrder, attr->flags)
               ? copy_all(process, call, &dst, &src, &size, 1, &failed)
               : CUDA_ERROR_INVALID_VALUE;
}

/* The size of an element: an array's; without one it is a byte (doc). 0: the arrays differ, or are none. */
static uint64_t element_of(struct vgpu_process *process, const CUDA_MEMCPY3D_BATCH_OP *op) {
    const CUmemcpy3DOperand *sides[] = {&op->dst, &op->src};
    uint64_t element = 0;
    for (size_t i = 0; i < 2; i++) {
        struct vgpu_array *array;
        if (sides[i]->type == VGPU_OPERAND_POINTER) {
            continue;
        }
        if (sides[i]->type != VGPU_OPERAND_ARRAY ||
            vgpu_array_find(process, sides[i]->op.array.array, &array) != CUDA_SUCCESS ||
            (element != 0 && element != array->element)) {
            return 0;
        }
        element = array->element;
    }
    return element != 0 ? element : 1;
}

/* Numbers that do not fit any memory come out as sizes that no side has. */
static struct vgpu_side_3d side_of(const CUmemcpy3DOperand *operand, const CUDA_MEMCPY3D_BATCH_OP *op,
                                   uint64_t element) {
    struct vgpu_side_3d side = {.type = VGPU_MEMORY_ARRAY};
    if (operand->type == VGPU_OPERAND_ARRAY) {
        side.array = operand->op.array.array;
        side.y = operand->op.array.offset.y;
        side.z = operand->op.array.offset.z;
        side.x = __builtin_mul_overflow(operand->op.array.offset.x, element, &side.x) ? UINT64_MAX : side.x;
        return side;
    }
    uint64_t row = operand->op.ptr.rowLength != 0 ? operand->op.ptr.rowLength : op->extent.width;
    side.type = VGPU_MEMORY_UNIFIED;
    side.host = 1;
    side.address = operand->op.ptr.ptr;
    side.pitch = __builtin_mul_overflow(row, element, &side.pitch) ? UINT64_MAX : side.pitch;
    side.height = operand->op.ptr.layerHeight != 0 ? operand->op.ptr.layerHeight : op->extent.height;
    return side;
}

static CUresult copy_3d(struct vgpu_process *process, struct vgpu_call *call, const CUDA_MEMCPY3D_BATCH_OP *op,
                        int moving) {
    CUcontext context;
    CUdevice device;
    CUresult refusal = vgpu_context_current(process, &context, &device);
    uint64_t element = refusal == CUDA_SUCCESS ? element_of(process, op) : 0;
    struct vgpu_extent extent = {0, op->extent.height, op->extent.depth};
    if (refusal != CUDA_SUCCESS) {
        return refusal;
    }
    if (element == 0 || !is_order(op->srcAccessOrder, op->flags) || op->extent.width == 0 || extent.height == 0 ||
        extent.depth == 0 || __builtin_mul_overflow(op->extent.width, element, &extent.width)) {
        return CUDA_ERROR_INVALID_VALUE;
    }
    const struct vgpu_side_3d to = side_of(&op->dst, op, element);
    const struct vgpu_side_3d from = side_of(&op->src, op, element);
    struct vgpu_layout target;
    struct vgpu_layout source;
    refusal = vgpu_side_find(process, device, &to, &extent, VGPU_ACCESS_READ_WRITE, &target);
    if (refusal == CUDA_SUCCESS) {
        refusal = vgpu_side_find(process, device, &from, &extent, VGPU_ACCESS_READ, &source);
    }
    return refusal == CUDA_SUCCESS && moving ? vgpu_copy_layouts(process, call, &target, &source, &extent) : refusal;
}

CUresult vgpu_cuMemcpy3DBatchAsync(struct vgpu_process *process, struct vgpu_call *call, size_t numOps,
                                   CUDA_MEMCPY3D_BATCH_OP *opList, size_t *failIdx, unsigned long long flags,
                                   CUstream hStream) {
    CUresult result = check_stream(process, call, hStream);
    if (result == CUDA_SUCCESS && (numOps == 0 || opList == NULL || flags != 0)) {
        result = CUDA_ERROR_INVALID_VALUE;
    }
    size_t failed = SIZE_MAX;
    for (int moving = 0; moving < 2; moving++) {
        for (size_t i = 0; result == CUDA_SUCCESS && i < numOps; i++) {
            result = copy_3d(process, call, &opList[i], moving);
            failed = result == CUDA_SUCCESS ? SIZE_MAX : i;
        }
    }
    if (result != CUDA_SUCCESS && failIdx != NULL) {
        *failIdx = failed;
        vgpu_call_output(call, failIdx, sizeof(*failIdx));
    }
    return result;
}

CUresult vgpu_cuMemcpy3DBatchAsync_v2(struct vgpu_process *process, struct vgpu_call *call, size_t numOps,
                                      CUDA_MEMCPY3D_BATCH_OP *opList, unsigned long long flags, CUstream hStream) {
    return vgpu_cuMemcpy3DBatchAsync(process, call, numOps, opList, NULL, flags, hStream);
}

CUresult vgpu_cuMemcpy3DWithAttributesAsync(struct vgpu_process *process, struct vgpu_call *call,
                                            CUDA_MEMCPY3D_BATCH_OP *op, unsigned long long flags, CUstream hStream) {
    CUresult refusal = check_stream(process, call, hStream);
    if (refusal != CUDA_SUCCESS) {
        return refusal;
    }
    return op != NULL && flags == 0 ? copy_3d(process, call, op, 1) : CUDA_ERROR_INVALID_VALUE;
}
