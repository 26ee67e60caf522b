/* Memory operations of streams: values that are written, and that are waited for. */
#include "cuda/stream_memory.h"

#include <string.h>

#include "cuda/capture.h"

enum {
    BATCH_MAX = 256, /* operations (doc) */
    WAIT_GEQ = 0,
    WAIT_EQ = 1,
    WAIT_AND = 2,
    WAIT_NOR = 3,
    WAIT_KINDS = 3, /* mask of them */
    WAIT_FLUSH = 1 << 30,
    WRITE_NO_BARRIER = 1,
    REDUCE_ADD = 0,
    REDUCE_AND = 5,
    REDUCE_OR = 6,
    SCALAR_32 = 1 << 3, /* of the type of a reduction */
};

/* The bytes at a device address, in or out. */
static CUresult move(struct vgpu_process *process, struct vgpu_call *call, CUdeviceptr address, void *value,
                     size_t size, int writes) {
    CUcontext context;
    CUdevice device;
    CUresult result = vgpu_context_current(process, &context, &device);
    if (result == CUDA_SUCCESS && address % size != 0) {
        result = CUDA_ERROR_INVALID_VALUE;
    }
    if (result == CUDA_SUCCESS) {
        result = vgpu_reach(process, device, address, size, writes ? VGPU_ACCESS_READ_WRITE : VGPU_ACCESS_READ, 0);
    }
    if (result != CUDA_SUCCESS) {
        return result;
    }
    struct vgpu_place there = {NULL, address};
    struct vgpu_place here = {NULL, (uint64_t)(uintptr_t)value};
    return writes ? vgpu_move(process, call, there, here, size) : vgpu_move(process, call, here, there, size);
}

static CUresult write_value(struct vgpu_process *process, struct vgpu_call *call, CUdeviceptr address, uint64_t value,
                            size_t size, unsigned int flags) {
    if ((flags & ~(unsigned int)WRITE_NO_BARRIER) != 0) {
        return CUDA_ERROR_INVALID_VALUE;
    }
    return move(process, call, address, &value, size, 1);
}

/* Cyclic: the difference as a signed number of that size (doc). */
static int holds(uint64_t there, uint64_t value, size_t size, unsigned int kind) {
    uint64_t mask = size == sizeof(uint32_t) ? UINT32_MAX : UINT64_MAX;
    uint64_t sign = mask / 2 + 1;
    switch (kind) {
    case WAIT_GEQ:
        return ((there - value) & mask) < sign;
    case WAIT_EQ:
        return (there & mask) == (value & mask);
    case WAIT_AND:
        return (there & value & mask) != 0;
    default:
        return (~(there | value) & mask) != 0;
    }
}

/* A stream that waits would have to stand still while others go on; where all is done at once it never could again. So
 * what does not hold already is refused. */
static CUresult wait_value(struct vgpu_process *process, struct vgpu_call *call, CUdeviceptr address, uint64_t value,
                           size_t size, unsigned int flags) {
    if ((flags & ~(unsigned int)(WAIT_KINDS | WAIT_FLUSH)) != 0) {
        return CUDA_ERROR_INVALID_VALUE;
    }
    uint64_t there = 0;
    CUresult result = move(process, call, address, &there, size, 0);
    if (result == CUDA_SUCCESS && !holds(there, value, size, flags & WAIT_KINDS)) {
        call->event.text = "the value is not there: the stream would wait for ever";
        result = CUDA_ERROR_NOT_SUPPORTED;
    }
    return result;
}

static CUresult reduce(struct vgpu_process *process, struct vgpu_call *call, const CUstreamBatchMemOpParams *params) {
    size_t size = (params->atomicReduction.dataType & SCALAR_32) != 0 ? sizeof(uint32_t) : sizeof(uint64_t);
    uint64_t value = params->atomicReduction.value;
    uint64_t there = 0;
    CUresult result = move(process, call, params->atomicReduction.address, &there, size, 0);
    switch (params->atomicReduction.reductionOp) {
    case REDUCE_ADD:
        there += value;
        break;
    case REDUCE_AND:
        there &= value;
        break;
    case REDUCE_OR:
        there |= value;
        break;
    default:
        return CUDA_ERROR_INVALID_VALUE;
    }
    return result == CUDA_SUCCESS ? move(process, call, params->atomicReduction.address, &there, size, 1) : result;
}

static CUresult do_one(struct vgpu_process *process, struct vgpu_call *call, const CUstreamBatchMemOpParams *params) {
    switch (params->operation) {
    case VGPU_OPERATION_WAIT_32:
    case VGPU_OPERATION_WAIT_64: {
        int wide = params->operation == VGPU_OPERATION_WAIT_64;
        return wait_value(process, call, params->waitValue.address,
                          wide ? params->waitValue.value : (uint32_t)params->waitValue.value,
                          wide ? sizeof(uint64_t) : sizeof(uint32_t), params->waitValue.flags);
    }
    case VGPU_OPERATION_WRITE_32:
    case VGPU_OPERATION_WRITE_64: {
        int wide = params->operation == VGPU_OPERATION_WRITE_64;
        return write_value(process, call, params->writeValue.address,
                           wide ? params->writeValue.value : (uint32_t)params->writeValue.value,
                           wide ? sizeof(uint64_t) : sizeof(uint32_t), params->writeValue.flags);
    }
    case VGPU_OPERATION_FLUSH:
        return params->flushRemoteWrites.flags == 0 ? CUDA_SUCCESS : CUDA_ERROR_INVALID_VALUE;
    case VGPU_OPERATION_BARRIER:
        return params->memoryBarrier.flags <= 1 ? CUDA_SUCCESS : CUDA_ERROR_INVALID_VALUE;
    case VGPU_OPERATION_ATOMIC:
        return reduce(process, call, params);
    default:
        return CUDA_ERROR_INVALID_VALUE;
    }
}

CUresult vgpu_batch(struct vgpu_process *process, struct vgpu_call *call, size_t count,
                    const CUstreamBatchMemOpParams *params) {
    CUresult result = CUDA_SUCCESS;
    for (size_t i = 0; i < count && result == CUDA_SUCCESS; i++) {
        result = do_one(process, call, &params[i]);
    }
    return result;
}

static CUresult put(struct vgpu_process *process, struct vgpu_call *call, CUstream handle, unsigned int count,
                    CUstreamBatchMemOpParams *params) {
    struct vgpu_stream *stream;
    CUresult result = vgpu_stream_use(process, call, handle, &stream);
    if (result == CUDA_SUCCESS && stream->capture != NULL) {
        CUgraphNodeParams node = {.type = VGPU_NODE_BATCH_MEM_OP};
        node.memOp = (CUDA_BATCH_MEM_OP_NODE_PARAMS){stream->object.context, count, params, 0};
        return vgpu_capture_node(process, stream, &node);
    }
    return result == CUDA_SUCCESS ? vgpu_batch(process, call, count, params) : result;
}

CUresult vgpu_cuStreamBatchMemOp_v2(struct vgpu_process *process, struct vgpu_call *call, CUstream stream,
                                    unsigned int count, CUstreamBatchMemOpParams *paramArray, unsigned int flags) {
    struct vgpu_stream *found;
    CUresult result = vgpu_stream_use(process, call, stream, &found);
    if (result != CUDA_SUCCESS) {
        return result;
    }
    if (count == 0 || count > BATCH_MAX || paramArray == NULL || flags != 0) {
        return CUDA_ERROR_INVALID_VALUE;
    }
    return put(process, call, stream, count, paramArray);
}

CUresult vgpu_cuStreamBatchMemOp(struct vgpu_process *process, struct vgpu_call *call, CUstream stream,
                                 unsigned int count, CUstreamBatchMemOpParams *paramArray, unsigned int flags) {
    return vgpu_cuStreamBatchMemOp_v2(process, call, stream, count, paramArray, flags);
}

static CUresult one_value(struct vgpu_process *process, struct vgpu_call *call, CUstream stream, int operation,
                          CUdeviceptr address, uint64_t value, unsigned int flags) {
    CUstreamBatchMemOpParams params;
    memset(&params, 0, sizeof(params));
    params.operation = operation;
    /* Both forms lie alike. */
    params.writeValue.address = address;
    params.writeValue.value = value;
    params.writeValue.flags = flags;
    return put(process, call, stream, 1, &params);
}

CUresult vgpu_cuStreamWriteValue32_v2(struct vgpu_process *process, struct vgpu_call *call, CUstream stream,
                                      CUdeviceptr addr, cuuint32_t value, unsigned int flags) {
    return one_value(process, call, stream, VGPU_OPERATION_WRITE_32, addr, value, flags);
}

CUresult vgpu_cuStreamWriteValue32(struct vgpu_process *process, struct vgpu_call *call, CUstream stream,
                                   CUdeviceptr addr, cuuint32_t value, unsigned int flags) {
    return one_value(process, call, stream, VGPU_OPERATION_WRITE_32, addr, value, flags);
}

CUresult vgpu_cuStreamWriteValue64_v2(struct vgpu_process *process, struct vgpu_call *call, CUstream stream,
                                      CUdeviceptr addr, cuuint64_t value, unsigned int flags) {
    return one_value(process, call, stream, VGPU_OPERATION_WRITE_64, addr, value, flags);
}

CUresult vgpu_cuStreamWriteValue64(struct vgpu_process *process, struct vgpu_call *call, CUstream stream,
                                   CUdeviceptr addr, cuuint64_t value, unsigned int flags) {
    return one_value(process, call, stream, VGPU_OPERATION_WRITE_64, addr, value, flags);
}

CUresult vgpu_cuStreamWaitValue32_v2(struct vgpu_process *process, struct vgpu_call *call, CUstream stream,
                                     CUdeviceptr addr, cuuint32_t value, unsigned int flags) {
    return one_value(process, call, stream, VGPU_OPERATION_WAIT_32, addr, value, flags);
}

CUresult vgpu_cuStreamWaitValue32(struct vgpu_process *process, struct vgpu_call *call, CUstream stream,
                                  CUdeviceptr addr, cuuint32_t value, unsigned int flags) {
    return one_value(process, call, stream, VGPU_OPERATION_WAIT_32, addr, value, flags);
}

CUresult vgpu_cuStreamWaitValue64_v2(struct vgpu_process *process, struct vgpu_call *call, CUstream stream,
                                     CUdeviceptr addr, cuuint64_t value, unsigned int flags) {
    return one_value(process, call, stream, VGPU_OPERATION_WAIT_64, addr, value, flags);
}

CUresult vgpu_cuStreamWaitValue64(struct vgpu_process *process, struct vgpu_call *call, CUstream stream,
                                  CUdeviceptr addr, cuuint64_t value, unsigned int flags) {
    return one_value(process, call, stream, VGPU_OPERATION_WAIT_64, addr, value, flags);
}
