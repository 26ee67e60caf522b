/* Fills of device memory. Elements lie at multiples of their size (cuda.h); asynchronous fills have happened when they
 * return. */
#include "cuda/capture.h"

/* How many bytes from an address on are zeros that nobody has written. */
static uint64_t zeros_at(const struct vgpu_memory *memory, uint64_t address, uint64_t size) {
    const struct vgpu_region *region = vgpu_region_at(memory, address);
    if (region == NULL || region->store == NULL) {
        return 0;
    }
    uint64_t inside = address - region->address;
    uint64_t length = region->size - inside < size ? region->size - inside : size;
    return vgpu_store_read(region->store, region->offset + inside, &length) == NULL ? length : 0;
}

/* An area to be filled, which has been checked. */
struct area {
    uint64_t to;
    uint64_t pitch; /* of several rows */
    uint32_t element;
    uint32_t width; /* of an element, bytes */
    uint64_t elements;
    uint64_t rows;
};

/* Zeros where nobody has written are there already: such rows, of which there may be very many, are passed over. */
static CUresult fill(struct vgpu_process *process, struct vgpu_call *call, const struct area *area) {
    uint64_t row = area->elements * area->width;
    CUresult result = CUDA_SUCCESS;
    for (uint64_t i = 0; result == CUDA_SUCCESS && i < area->rows; i++) {
        uint64_t at = area->to + i * area->pitch;
        uint64_t rest = (area->rows - 1 - i) * area->pitch + row;
        uint64_t zeros = area->element == 0 ? zeros_at(&process->cuda->memory, at, rest) : 0;
        if (zeros >= row) {
            i += area->rows > 1 ? (zeros - row) / area->pitch : 0;
        } else {
            result = vgpu_fill(process, call, (struct vgpu_place){NULL, at}, area->element, area->width, row);
        }
    }
    return result;
}

static CUresult capture(struct vgpu_process *process, struct vgpu_stream *stream, const struct area *area) {
    CUgraphNodeParams params = {.type = VGPU_NODE_MEMSET};
    params.memset.ctx = stream->object.context;
    params.memset.of = (CUDA_MEMSET_NODE_PARAMS){
        .dst = area->to,
        .pitch = area->pitch,
        .value = area->element,
        .elementSize = area->width,
        .width = area->elements,
        .height = area->rows,
    };
    return vgpu_capture_node(process, stream, &params);
}

/* The pitch of a single row does not matter (doc). `stream`: NULL, or one that may be in a capture. */
static CUresult fill_area(struct vgpu_process *process, struct vgpu_call *call, struct vgpu_stream *stream,
                          struct area area) {
    CUcontext context;
    CUdevice device;
    CUresult refusal = vgpu_context_current(process, &context, &device);
    if (refusal != CUDA_SUCCESS || area.elements == 0 || area.rows == 0) {
        return refusal;
    }
    if (area.to % area.width != 0 || area.elements > UINT64_MAX / area.width) {
        return CUDA_ERROR_INVALID_VALUE;
    }
    uint64_t size = area.elements * area.width;
    area.pitch = area.rows > 1 ? area.pitch : size;
    if (area.pitch % area.width != 0 || size > area.pitch || area.rows - 1 > (UINT64_MAX - size) / area.pitch) {
        return CUDA_ERROR_INVALID_VALUE;
    }
    int captures = stream != NULL && stream->capture != NULL;
    if (!captures || !vgpu_graph_memory_has(process, area.to)) {
        refusal = vgpu_reach(process, device, area.to, (area.rows - 1) * area.pitch + size, VGPU_ACCESS_READ_WRITE, 0);
    }
    if (refusal != CUDA_SUCCESS) {
        return refusal;
    }
    return captures ? capture(process, stream, &area) : fill(process, call, &area);
}

static CUresult fill_in(struct vgpu_process *process, struct vgpu_call *call, CUstream handle, struct area area) {
    struct vgpu_stream *stream;
    CUresult refusal = vgpu_stream_for_work(process, call, handle, &stream);
    return refusal == CUDA_SUCCESS ? fill_area(process, call, stream, area) : refusal;
}

CUresult vgpu_fill_2d(struct vgpu_process *process, struct vgpu_call *call, CUdeviceptr to, size_t pitch,
                      uint32_t element, uint32_t width, size_t elements, size_t rows) {
    return fill_area(process, call, NULL, (struct area){to, pitch, element, width, elements, rows});
}

static CUresult fill_now(struct vgpu_process *process, struct vgpu_call *call, struct area area) {
    CUresult refusal = vgpu_stream_now(process, call);
    return refusal == CUDA_SUCCESS ? fill_area(process, call, NULL, area) : refusal;
}

CUresult vgpu_cuMemsetD8_v2(struct vgpu_process *process, struct vgpu_call *call, CUdeviceptr dstDevice,
                            unsigned char uc, size_t N) {
    return fill_now(process, call, (struct area){dstDevice, 0, uc, 1, N, 1});
}

CUresult vgpu_cuMemsetD8(struct vgpu_process *process, struct vgpu_call *call, CUdeviceptr_v1 dstDevice,
                         unsigned char uc, unsigned int N) {
    return fill_now(process, call, (struct area){dstDevice, 0, uc, 1, N, 1});
}

CUresult vgpu_cuMemsetD8Async(struct vgpu_process *process, struct vgpu_call *call, CUdeviceptr dstDevice,
                              unsigned char uc, size_t N, CUstream hStream) {
    return fill_in(process, call, hStream, (struct area){dstDevice, 0, uc, 1, N, 1});
}

CUresult vgpu_cuMemsetD2D8_v2(struct vgpu_process *process, struct vgpu_call *call, CUdeviceptr dstDevice,
                              size_t dstPitch, unsigned char uc, size_t Width, size_t Height) {
    return fill_now(process, call, (struct area){dstDevice, dstPitch, uc, 1, Width, Height});
}

CUresult vgpu_cuMemsetD2D8(struct vgpu_process *process, struct vgpu_call *call, CUdeviceptr_v1 dstDevice,
                           unsigned int dstPitch, unsigned char uc, unsigned int Width, unsigned int Height) {
    return fill_now(process, call, (struct area){dstDevice, dstPitch, uc, 1, Width, Height});
}

CUresult vgpu_cuMemsetD2D8Async(struct vgpu_process *process, struct vgpu_call *call, CUdeviceptr dstDevice,
                                size_t dstPitch, unsigned char uc, size_t Width, size_t Height, CUstream hStream) {
    return fill_in(process, call, hStream, (struct area){dstDevice, dstPitch, uc, 1, Width, Height});
}

CUresult vgpu_cuMemsetD16_v2(struct vgpu_process *process, struct vgpu_call *call, CUdeviceptr dstDevice,
                             unsigned short us, size_t N) {
    return fill_now(process, call, (struct area){dstDevice, 0, us, 2, N, 1});
}

CUresult vgpu_cuMemsetD16(struct vgpu_process *process, struct vgpu_call *call, CUdeviceptr_v1 dstDevice,
                          unsigned short us, unsigned int N) {
    return fill_now(process, call, (struct area){dstDevice, 0, us, 2, N, 1});
}

CUresult vgpu_cuMemsetD16Async(struct vgpu_process *process, struct vgpu_call *call, CUdeviceptr dstDevice,
                               unsigned short us, size_t N, CUstream hStream) {
    return fill_in(process, call, hStream, (struct area){dstDevice, 0, us, 2, N, 1});
}

CUresult vgpu_cuMemsetD2D16_v2(struct vgpu_process *process, struct vgpu_call *call, CUdeviceptr dstDevice,
                               size_t dstPitch, unsigned short us, size_t Width, size_t Height) {
    return fill_now(process, call, (struct area){dstDevice, dstPitch, us, 2, Width, Height});
}

CUresult vgpu_cuMemsetD2D16(struct vgpu_process *process, struct vgpu_call *call, CUdeviceptr_v1 dstDevice,
                            unsigned int dstPitch, unsigned short us, unsigned int Width, unsigned int Height) {
    return fill_now(process, call, (struct area){dstDevice, dstPitch, us, 2, Width, Height});
}

CUresult vgpu_cuMemsetD2D16Async(struct vgpu_process *process, struct vgpu_call *call, CUdeviceptr dstDevice,
                                 size_t dstPitch, unsigned short us, size_t Width, size_t Height, CUstream hStream) {
    return fill_in(process, call, hStream, (struct area){dstDevice, dstPitch, us, 2, Width, Height});
}

CUresult vgpu_cuMemsetD32_v2(struct vgpu_process *process, struct vgpu_call *call, CUdeviceptr dstDevice,
                             unsigned int ui, size_t N) {
    return fill_now(process, call, (struct area){dstDevice, 0, ui, 4, N, 1});
}

CUresult vgpu_cuMemsetD32(struct vgpu_process *process, struct vgpu_call *call, CUdeviceptr_v1 dstDevice,
                          unsigned int ui, unsigned int N) {
    return fill_now(process, call, (struct area){dstDevice, 0, ui, 4, N, 1});
}

CUresult vgpu_cuMemsetD32Async(struct vgpu_process *process, struct vgpu_call *call, CUdeviceptr dstDevice,
                               unsigned int ui, size_t N, CUstream hStream) {
    return fill_in(process, call, hStream, (struct area){dstDevice, 0, ui, 4, N, 1});
}

CUresult vgpu_cuMemsetD2D32_v2(struct vgpu_process *process, struct vgpu_call *call, CUdeviceptr dstDevice,
                               size_t dstPitch, unsigned int ui, size_t Width, size_t Height) {
    return fill_now(process, call, (struct area){dstDevice, dstPitch, ui, 4, Width, Height});
}

CUresult vgpu_cuMemsetD2D32(struct vgpu_process *process, struct vgpu_call *call, CUdeviceptr_v1 dstDevice,
                            unsigned int dstPitch, unsigned int ui, unsigned int Width, unsigned int Height) {
    return fill_now(process, call, (struct area){dstDevice, dstPitch, ui, 4, Width, Height});
}

CUresult vgpu_cuMemsetD2D32Async(struct vgpu_process *process, struct vgpu_call *call, CUdeviceptr dstDevice,
                                 size_t dstPitch, unsigned int ui, size_t Width, size_t Height, CUstream hStream) {
    return fill_in(process, call, hStream, (struct area){dstDevice, dstPitch, ui, 4, Width, Height});
}
