/* Fills of device memory. Elements lie at multiples of their size (cuda.h); asynchronous fills have happened when they
 * return. */
#include "cuda/model.h"

static CUresult fill(struct vgpu_process *process, struct vgpu_call *call, uint64_t to, uint32_t element,
                     uint32_t width, uint64_t elements) {
    CUcontext context;
    CUdevice device;
    CUresult refusal = vgpu_context_current(process, &context, &device);
    if (refusal != CUDA_SUCCESS || elements == 0) {
        return refusal;
    }
    if (to % width != 0 || elements > UINT64_MAX / width) {
        return CUDA_ERROR_INVALID_VALUE;
    }
    refusal = vgpu_reach(process, device, to, elements * width, VGPU_ACCESS_READ_WRITE, 0);
    return refusal == CUDA_SUCCESS
               ? vgpu_fill(process, call, (struct vgpu_place){NULL, to}, element, width, elements * width)
               : refusal;
}

/* The pitch of a single row does not matter (doc). */
CUresult vgpu_fill_2d(struct vgpu_process *process, struct vgpu_call *call, CUdeviceptr to, size_t pitch,
                      uint32_t element, uint32_t width, size_t elements, size_t rows) {
    CUcontext context;
    CUdevice device;
    CUresult refusal = vgpu_context_current(process, &context, &device);
    if (refusal != CUDA_SUCCESS || elements == 0 || rows == 0) {
        return refusal;
    }
    if (rows == 1) {
        return fill(process, call, to, element, width, elements);
    }
    if (to % width != 0 || pitch % width != 0 || elements > pitch / width ||
        (rows - 1) > (UINT64_MAX - pitch) / pitch) {
        return CUDA_ERROR_INVALID_VALUE;
    }
    uint64_t row = elements * width;
    refusal = vgpu_reach(process, device, to, (rows - 1) * pitch + row, VGPU_ACCESS_READ_WRITE, 0);
    for (size_t i = 0; refusal == CUDA_SUCCESS && i < rows; i++) {
        refusal = vgpu_fill(process, call, (struct vgpu_place){NULL, to + i * pitch}, element, width, row);
    }
    return refusal;
}

CUresult vgpu_cuMemsetD8_v2(struct vgpu_process *process, struct vgpu_call *call, CUdeviceptr dstDevice,
                            unsigned char uc, size_t N) {
    return fill(process, call, dstDevice, uc, 1, N);
}

CUresult vgpu_cuMemsetD8(struct vgpu_process *process, struct vgpu_call *call, CUdeviceptr_v1 dstDevice,
                         unsigned char uc, unsigned int N) {
    return fill(process, call, dstDevice, uc, 1, N);
}

CUresult vgpu_cuMemsetD8Async(struct vgpu_process *process, struct vgpu_call *call, CUdeviceptr dstDevice,
                              unsigned char uc, size_t N, CUstream hStream) {
    CUresult refusal = vgpu_stream_check(process, call, hStream);
    return refusal == CUDA_SUCCESS ? fill(process, call, dstDevice, uc, 1, N) : refusal;
}

CUresult vgpu_cuMemsetD2D8_v2(struct vgpu_process *process, struct vgpu_call *call, CUdeviceptr dstDevice,
                              size_t dstPitch, unsigned char uc, size_t Width, size_t Height) {
    return vgpu_fill_2d(process, call, dstDevice, dstPitch, uc, 1, Width, Height);
}

CUresult vgpu_cuMemsetD2D8(struct vgpu_process *process, struct vgpu_call *call, CUdeviceptr_v1 dstDevice,
                           unsigned int dstPitch, unsigned char uc, unsigned int Width, unsigned int Height) {
    return vgpu_fill_2d(process, call, dstDevice, dstPitch, uc, 1, Width, Height);
}

CUresult vgpu_cuMemsetD2D8Async(struct vgpu_process *process, struct vgpu_call *call, CUdeviceptr dstDevice,
                                size_t dstPitch, unsigned char uc, size_t Width, size_t Height, CUstream hStream) {
    CUresult refusal = vgpu_stream_check(process, call, hStream);
    return refusal == CUDA_SUCCESS ? vgpu_fill_2d(process, call, dstDevice, dstPitch, uc, 1, Width, Height) : refusal;
}

CUresult vgpu_cuMemsetD16_v2(struct vgpu_process *process, struct vgpu_call *call, CUdeviceptr dstDevice,
                             unsigned short us, size_t N) {
    return fill(process, call, dstDevice, us, 2, N);
}

CUresult vgpu_cuMemsetD16(struct vgpu_process *process, struct vgpu_call *call, CUdeviceptr_v1 dstDevice,
                          unsigned short us, unsigned int N) {
    return fill(process, call, dstDevice, us, 2, N);
}

CUresult vgpu_cuMemsetD16Async(struct vgpu_process *process, struct vgpu_call *call, CUdeviceptr dstDevice,
                               unsigned short us, size_t N, CUstream hStream) {
    CUresult refusal = vgpu_stream_check(process, call, hStream);
    return refusal == CUDA_SUCCESS ? fill(process, call, dstDevice, us, 2, N) : refusal;
}

CUresult vgpu_cuMemsetD2D16_v2(struct vgpu_process *process, struct vgpu_call *call, CUdeviceptr dstDevice,
                               size_t dstPitch, unsigned short us, size_t Width, size_t Height) {
    return vgpu_fill_2d(process, call, dstDevice, dstPitch, us, 2, Width, Height);
}

CUresult vgpu_cuMemsetD2D16(struct vgpu_process *process, struct vgpu_call *call, CUdeviceptr_v1 dstDevice,
                            unsigned int dstPitch, unsigned short us, unsigned int Width, unsigned int Height) {
    return vgpu_fill_2d(process, call, dstDevice, dstPitch, us, 2, Width, Height);
}

CUresult vgpu_cuMemsetD2D16Async(struct vgpu_process *process, struct vgpu_call *call, CUdeviceptr dstDevice,
                                 size_t dstPitch, unsigned short us, size_t Width, size_t Height, CUstream hStream) {
    CUresult refusal = vgpu_stream_check(process, call, hStream);
    return refusal == CUDA_SUCCESS ? vgpu_fill_2d(process, call, dstDevice, dstPitch, us, 2, Width, Height) : refusal;
}

CUresult vgpu_cuMemsetD32_v2(struct vgpu_process *process, struct vgpu_call *call, CUdeviceptr dstDevice,
                             unsigned int ui, size_t N) {
    return fill(process, call, dstDevice, ui, 4, N);
}

CUresult vgpu_cuMemsetD32(struct vgpu_process *process, struct vgpu_call *call, CUdeviceptr_v1 dstDevice,
                          unsigned int ui, unsigned int N) {
    return fill(process, call, dstDevice, ui, 4, N);
}

CUresult vgpu_cuMemsetD32Async(struct vgpu_process *process, struct vgpu_call *call, CUdeviceptr dstDevice,
                               unsigned int ui, size_t N, CUstream hStream) {
    CUresult refusal = vgpu_stream_check(process, call, hStream);
    return refusal == CUDA_SUCCESS ? fill(process, call, dstDevice, ui, 4, N) : refusal;
}

CUresult vgpu_cuMemsetD2D32_v2(struct vgpu_process *process, struct vgpu_call *call, CUdeviceptr dstDevice,
                               size_t dstPitch, unsigned int ui, size_t Width, size_t Height) {
    return vgpu_fill_2d(process, call, dstDevice, dstPitch, ui, 4, Width, Height);
}

CUresult vgpu_cuMemsetD2D32(struct vgpu_process *process, struct vgpu_call *call, CUdeviceptr_v1 dstDevice,
                            unsigned int dstPitch, unsigned int ui, unsigned int Width, unsigned int Height) {
    return vgpu_fill_2d(process, call, dstDevice, dstPitch, ui, 4, Width, Height);
}

CUresult vgpu_cuMemsetD2D32Async(struct vgpu_process *process, struct vgpu_call *call, CUdeviceptr dstDevice,
                                 size_t dstPitch, unsigned int ui, size_t Width, size_t Height, CUstream hStream) {
    CUresult refusal = vgpu_stream_check(process, call, hStream);
    return refusal == CUDA_SUCCESS ? vgpu_fill_2d(process, call, dstDevice, dstPitch, ui, 4, Width, Height) : refusal;
}
