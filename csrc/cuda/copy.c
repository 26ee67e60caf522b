/* Copies of one run of bytes. All have happened when they return, the asynchronous ones, too. A range must lie in one
 * allocation (cuda.h: anything else is undefined; here it is an invalid value). */
#include "cuda/array.h"
#include "cuda/capture.h"
#include "cuda/copy_2d.h"

/* What takes part in a copy: an address that CUDA must know, one that may be any of the host's, bytes of an array. */
struct side {
    uint64_t address;
    int host; /* 1: host memory that CUDA does not know of is right, too */
    CUarray array;
    size_t offset;
};

static CUresult find_side(struct vgpu_process *process, CUdevice device, const struct side *side, uint64_t size,
                          int access, struct vgpu_place *place) {
    if (side->array == NULL) {
        *place = (struct vgpu_place){NULL, side->address};
        return vgpu_reach(process, device, side->address, size, access, side->host);
    }
    struct vgpu_array *array;
    CUresult refusal = vgpu_array_find(process, side->array, &array);
    return refusal == CUDA_SUCCESS ? vgpu_array_run(array, side->offset, size, place) : refusal;
}

static CUresult copy(struct vgpu_process *process, struct vgpu_call *call, const struct side *to,
                     const struct side *from, uint64_t size) {
    CUcontext context;
    CUdevice device;
    CUresult refusal = vgpu_context_current(process, &context, &device);
    if (refusal != CUDA_SUCCESS || size == 0) {
        return refusal;
    }
    struct vgpu_place target;
    struct vgpu_place source;
    refusal = find_side(process, device, to, size, VGPU_ACCESS_READ_WRITE, &target);
    if (refusal == CUDA_SUCCESS) {
        refusal = find_side(process, device, from, size, VGPU_ACCESS_READ, &source);
    }
    return refusal == CUDA_SUCCESS ? vgpu_move(process, call, target, source, size) : refusal;
}

static CUresult copy_now(struct vgpu_process *process, struct vgpu_call *call, const struct side *to,
                         const struct side *from, uint64_t size) {
    CUresult refusal = vgpu_stream_now(process, call);
    return refusal == CUDA_SUCCESS ? copy(process, call, to, from, size) : refusal;
}

static struct vgpu_side_3d in_3d(const struct side *side) {
    return (struct vgpu_side_3d){
        .type = side->array != NULL ? VGPU_MEMORY_ARRAY
                : side->host        ? VGPU_MEMORY_UNIFIED
                                    : VGPU_MEMORY_DEVICE,
        .host = side->host,
        .address = side->address,
        .array = side->array,
        .x = side->offset,
    };
}

/* A node of a graph that is captured has it as a copy of one row. */
static CUresult copy_in(struct vgpu_process *process, struct vgpu_call *call, CUstream handle, const struct side *to,
                        const struct side *from, uint64_t size) {
    struct vgpu_stream *stream;
    CUresult refusal = vgpu_stream_for_work(process, call, handle, &stream);
    if (refusal != CUDA_SUCCESS || stream->capture == NULL) {
        return refusal == CUDA_SUCCESS ? copy(process, call, to, from, size) : refusal;
    }
    const struct vgpu_side_3d target = in_3d(to);
    const struct vgpu_side_3d source = in_3d(from);
    return vgpu_copy_sides(process, call, stream, &target, &source, &(struct vgpu_extent){size, 1, 1});
}

static struct side device_at(uint64_t address) {
    return (struct side){.address = address};
}

static struct side host_at(const void *memory) {
    return (struct side){.address = (uint64_t)(uintptr_t)memory, .host = 1};
}

static struct side anything_at(uint64_t address) {
    return (struct side){.address = address, .host = 1};
}

/* No array is a wrong handle, not an address. */
static struct side array_at(CUarray array, size_t offset) {
    return (struct side){.array = array != NULL ? array : VGPU_NO_ARRAY, .offset = offset};
}

CUresult vgpu_cuMemcpyHtoD_v2(struct vgpu_process *process, struct vgpu_call *call, CUdeviceptr dstDevice,
                              const void *srcHost, size_t ByteCount) {
    const struct side to = device_at(dstDevice);
    const struct side from = host_at(srcHost);
    return copy_now(process, call, &to, &from, ByteCount);
}

CUresult vgpu_cuMemcpyHtoD(struct vgpu_process *process, struct vgpu_call *call, CUdeviceptr_v1 dstDevice,
                           const void *srcHost, unsigned int ByteCount) {
    return vgpu_cuMemcpyHtoD_v2(process, call, dstDevice, srcHost, ByteCount);
}

CUresult vgpu_cuMemcpyDtoH_v2(struct vgpu_process *process, struct vgpu_call *call, void *dstHost,
                              CUdeviceptr srcDevice, size_t ByteCount) {
    const struct side to = host_at(dstHost);
    const struct side from = device_at(srcDevice);
    return copy_now(process, call, &to, &from, ByteCount);
}

CUresult vgpu_cuMemcpyDtoH(struct vgpu_process *process, struct vgpu_call *call, void *dstHost,
                           CUdeviceptr_v1 srcDevice, unsigned int ByteCount) {
    return vgpu_cuMemcpyDtoH_v2(process, call, dstHost, srcDevice, ByteCount);
}

CUresult vgpu_cuMemcpyDtoD_v2(struct vgpu_process *process, struct vgpu_call *call, CUdeviceptr dstDevice,
                              CUdeviceptr srcDevice, size_t ByteCount) {
    const struct side to = device_at(dstDevice);
    const struct side from = device_at(srcDevice);
    return copy_now(process, call, &to, &from, ByteCount);
}

CUresult vgpu_cuMemcpyDtoD(struct vgpu_process *process, struct vgpu_call *call, CUdeviceptr_v1 dstDevice,
                           CUdeviceptr_v1 srcDevice, unsigned int ByteCount) {
    return vgpu_cuMemcpyDtoD_v2(process, call, dstDevice, srcDevice, ByteCount);
}

CUresult vgpu_cuMemcpyDtoA_v2(struct vgpu_process *process, struct vgpu_call *call, CUarray dstArray, size_t dstOffset,
                              CUdeviceptr srcDevice, size_t ByteCount) {
    const struct side to = array_at(dstArray, dstOffset);
    const struct side from = device_at(srcDevice);
    return copy_now(process, call, &to, &from, ByteCount);
}

CUresult vgpu_cuMemcpyDtoA(struct vgpu_process *process, struct vgpu_call *call, CUarray dstArray,
                           unsigned int dstOffset, CUdeviceptr_v1 srcDevice, unsigned int ByteCount) {
    return vgpu_cuMemcpyDtoA_v2(process, call, dstArray, dstOffset, srcDevice, ByteCount);
}

CUresult vgpu_cuMemcpyAtoD_v2(struct vgpu_process *process, struct vgpu_call *call, CUdeviceptr dstDevice,
                              CUarray srcArray, size_t srcOffset, size_t ByteCount) {
    const struct side to = device_at(dstDevice);
    const struct side from = array_at(srcArray, srcOffset);
    return copy_now(process, call, &to, &from, ByteCount);
}

CUresult vgpu_cuMemcpyAtoD(struct vgpu_process *process, struct vgpu_call *call, CUdeviceptr_v1 dstDevice,
                           CUarray srcArray, unsigned int srcOffset, unsigned int ByteCount) {
    return vgpu_cuMemcpyAtoD_v2(process, call, dstDevice, srcArray, srcOffset, ByteCount);
}

CUresult vgpu_cuMemcpyHtoA_v2(struct vgpu_process *process, struct vgpu_call *call, CUarray dstArray, size_t dstOffset,
                              const void *srcHost, size_t ByteCount) {
    const struct side to = array_at(dstArray, dstOffset);
    const struct side from = host_at(srcHost);
    return copy_now(process, call, &to, &from, ByteCount);
}

CUresult vgpu_cuMemcpyHtoA(struct vgpu_process *process, struct vgpu_call *call, CUarray dstArray,
                           unsigned int dstOffset, const void *srcHost, unsigned int ByteCount) {
    return vgpu_cuMemcpyHtoA_v2(process, call, dstArray, dstOffset, srcHost, ByteCount);
}

CUresult vgpu_cuMemcpyAtoH_v2(struct vgpu_process *process, struct vgpu_call *call, void *dstHost, CUarray srcArray,
                              size_t srcOffset, size_t ByteCount) {
    const struct side to = host_at(dstHost);
    const struct side from = array_at(srcArray, srcOffset);
    return copy_now(process, call, &to, &from, ByteCount);
}

CUresult vgpu_cuMemcpyAtoH(struct vgpu_process *process, struct vgpu_call *call, void *dstHost, CUarray srcArray,
                           unsigned int srcOffset, unsigned int ByteCount) {
    return vgpu_cuMemcpyAtoH_v2(process, call, dstHost, srcArray, srcOffset, ByteCount);
}

CUresult vgpu_cuMemcpyAtoA_v2(struct vgpu_process *process, struct vgpu_call *call, CUarray dstArray, size_t dstOffset,
                              CUarray srcArray, size_t srcOffset, size_t ByteCount) {
    const struct side to = array_at(dstArray, dstOffset);
    const struct side from = array_at(srcArray, srcOffset);
    return copy_now(process, call, &to, &from, ByteCount);
}

CUresult vgpu_cuMemcpyAtoA(struct vgpu_process *process, struct vgpu_call *call, CUarray dstArray,
                           unsigned int dstOffset, CUarray srcArray, unsigned int srcOffset, unsigned int ByteCount) {
    return vgpu_cuMemcpyAtoA_v2(process, call, dstArray, dstOffset, srcArray, srcOffset, ByteCount);
}

CUresult vgpu_cuMemcpyHtoDAsync_v2(struct vgpu_process *process, struct vgpu_call *call, CUdeviceptr dstDevice,
                                   const void *srcHost, size_t ByteCount, CUstream hStream) {
    const struct side to = device_at(dstDevice);
    const struct side from = host_at(srcHost);
    return copy_in(process, call, hStream, &to, &from, ByteCount);
}

CUresult vgpu_cuMemcpyHtoDAsync(struct vgpu_process *process, struct vgpu_call *call, CUdeviceptr_v1 dstDevice,
                                const void *srcHost, unsigned int ByteCount, CUstream hStream) {
    return vgpu_cuMemcpyHtoDAsync_v2(process, call, dstDevice, srcHost, ByteCount, hStream);
}

CUresult vgpu_cuMemcpyDtoHAsync_v2(struct vgpu_process *process, struct vgpu_call *call, void *dstHost,
                                   CUdeviceptr srcDevice, size_t ByteCount, CUstream hStream) {
    const struct side to = host_at(dstHost);
    const struct side from = device_at(srcDevice);
    return copy_in(process, call, hStream, &to, &from, ByteCount);
}

CUresult vgpu_cuMemcpyDtoHAsync(struct vgpu_process *process, struct vgpu_call *call, void *dstHost,
                                CUdeviceptr_v1 srcDevice, unsigned int ByteCount, CUstream hStream) {
    return vgpu_cuMemcpyDtoHAsync_v2(process, call, dstHost, srcDevice, ByteCount, hStream);
}

CUresult vgpu_cuMemcpyDtoDAsync_v2(struct vgpu_process *process, struct vgpu_call *call, CUdeviceptr dstDevice,
                                   CUdeviceptr srcDevice, size_t ByteCount, CUstream hStream) {
    const struct side to = device_at(dstDevice);
    const struct side from = device_at(srcDevice);
    return copy_in(process, call, hStream, &to, &from, ByteCount);
}

CUresult vgpu_cuMemcpyDtoDAsync(struct vgpu_process *process, struct vgpu_call *call, CUdeviceptr_v1 dstDevice,
                                CUdeviceptr_v1 srcDevice, unsigned int ByteCount, CUstream hStream) {
    return vgpu_cuMemcpyDtoDAsync_v2(process, call, dstDevice, srcDevice, ByteCount, hStream);
}

CUresult vgpu_cuMemcpyHtoAAsync_v2(struct vgpu_process *process, struct vgpu_call *call, CUarray dstArray,
                                   size_t dstOffset, const void *srcHost, size_t ByteCount, CUstream hStream) {
    const struct side to = array_at(dstArray, dstOffset);
    const struct side from = host_at(srcHost);
    return copy_in(process, call, hStream, &to, &from, ByteCount);
}

CUresult vgpu_cuMemcpyHtoAAsync(struct vgpu_process *process, struct vgpu_call *call, CUarray dstArray,
                                unsigned int dstOffset, const void *srcHost, unsigned int ByteCount, CUstream hStream) {
    return vgpu_cuMemcpyHtoAAsync_v2(process, call, dstArray, dstOffset, srcHost, ByteCount, hStream);
}

CUresult vgpu_cuMemcpyAtoHAsync_v2(struct vgpu_process *process, struct vgpu_call *call, void *dstHost,
                                   CUarray srcArray, size_t srcOffset, size_t ByteCount, CUstream hStream) {
    const struct side to = host_at(dstHost);
    const struct side from = array_at(srcArray, srcOffset);
    return copy_in(process, call, hStream, &to, &from, ByteCount);
}

CUresult vgpu_cuMemcpyAtoHAsync(struct vgpu_process *process, struct vgpu_call *call, void *dstHost, CUarray srcArray,
                                unsigned int srcOffset, unsigned int ByteCount, CUstream hStream) {
    return vgpu_cuMemcpyAtoHAsync_v2(process, call, dstHost, srcArray, srcOffset, ByteCount, hStream);
}

CUresult vgpu_cuMemcpy(struct vgpu_process *process, struct vgpu_call *call, CUdeviceptr dst, CUdeviceptr src,
                       size_t ByteCount) {
    const struct side to = anything_at(dst);
    const struct side from = anything_at(src);
    return copy_now(process, call, &to, &from, ByteCount);
}

CUresult vgpu_cuMemcpyAsync(struct vgpu_process *process, struct vgpu_call *call, CUdeviceptr dst, CUdeviceptr src,
                            size_t ByteCount, CUstream hStream) {
    const struct side to = anything_at(dst);
    const struct side from = anything_at(src);
    return copy_in(process, call, hStream, &to, &from, ByteCount);
}

static CUresult check_contexts(struct vgpu_process *process, CUcontext to, CUcontext from) {
    CUdevice device;
    CUresult refusal = vgpu_context_check(process, to, &device);
    return refusal == CUDA_SUCCESS ? vgpu_context_check(process, from, &device) : refusal;
}

CUresult vgpu_cuMemcpyPeer(struct vgpu_process *process, struct vgpu_call *call, CUdeviceptr dstDevice,
                           CUcontext dstContext, CUdeviceptr srcDevice, CUcontext srcContext, size_t ByteCount) {
    CUresult refusal = check_contexts(process, dstContext, srcContext);
    const struct side to = device_at(dstDevice);
    const struct side from = device_at(srcDevice);
    return refusal == CUDA_SUCCESS ? copy(process, call, &to, &from, ByteCount) : refusal;
}

CUresult vgpu_cuMemcpyPeerAsync(struct vgpu_process *process, struct vgpu_call *call, CUdeviceptr dstDevice,
                                CUcontext dstContext, CUdeviceptr srcDevice, CUcontext srcContext, size_t ByteCount,
                                CUstream hStream) {
    struct vgpu_stream *stream;
    CUresult refusal = vgpu_stream_for_work(process, call, hStream, &stream);
    refusal = refusal == CUDA_SUCCESS ? check_contexts(process, dstContext, srcContext) : refusal;
    const struct side to = device_at(dstDevice);
    const struct side from = device_at(srcDevice);
    return refusal == CUDA_SUCCESS ? copy_in(process, call, hStream, &to, &from, ByteCount) : refusal;
}
