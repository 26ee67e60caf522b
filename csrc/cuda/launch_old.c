/* The launches of CUDA 2: a function is told its block and parameters one by one, then launched. */
#include "cuda/capture.h"
#include "cuda/function.h"

enum { PARAMETERS_MAX = 4096 }; /* bytes, of kernels without large parameters (CUDA C++ Programming Guide) */

CUresult vgpu_cuFuncSetBlockShape(struct vgpu_process *process, struct vgpu_call *call, CUfunction hfunc, int x, int y,
                                  int z) {
    (void)call;
    struct vgpu_function *function = vgpu_function_find(process, hfunc);
    if (function == NULL) {
        return CUDA_ERROR_INVALID_HANDLE;
    }
    if (x <= 0 || y <= 0 || z <= 0) {
        return CUDA_ERROR_INVALID_VALUE;
    }
    unsigned int grid[3] = {1, 1, 1};
    unsigned int block[3] = {(unsigned int)x, (unsigned int)y, (unsigned int)z};
    CUresult result = vgpu_launch_check(process, function, grid, block, function->shared_size);
    if (result == CUDA_SUCCESS) {
        function->block[0] = x;
        function->block[1] = y;
        function->block[2] = z;
    }
    return result;
}

CUresult vgpu_cuFuncSetSharedSize(struct vgpu_process *process, struct vgpu_call *call, CUfunction hfunc,
                                  unsigned int bytes) {
    (void)call;
    struct vgpu_function *function = vgpu_function_find(process, hfunc);
    if (function == NULL) {
        return CUDA_ERROR_INVALID_HANDLE;
    }
    unsigned int one[3] = {1, 1, 1};
    CUresult result = vgpu_launch_check(process, function, one, one, bytes);
    function->shared_size = result == CUDA_SUCCESS ? bytes : function->shared_size;
    return result;
}

CUresult vgpu_cuParamSetSize(struct vgpu_process *process, struct vgpu_call *call, CUfunction hfunc,
                             unsigned int numbytes) {
    (void)call;
    struct vgpu_function *function = vgpu_function_find(process, hfunc);
    if (function == NULL) {
        return CUDA_ERROR_INVALID_HANDLE;
    }
    if (numbytes > PARAMETERS_MAX) {
        return CUDA_ERROR_INVALID_VALUE;
    }
    function->parameter_size = numbytes;
    return CUDA_SUCCESS;
}

/* Values are for a kernel that does not run: that they have a place is all that matters. */
static CUresult put(struct vgpu_process *process, CUfunction hfunc, int offset, size_t size) {
    const struct vgpu_function *function = vgpu_function_find(process, hfunc);
    if (function == NULL) {
        return CUDA_ERROR_INVALID_HANDLE;
    }
    return offset >= 0 && size <= PARAMETERS_MAX && (size_t)offset <= PARAMETERS_MAX - size ? CUDA_SUCCESS
                                                                                            : CUDA_ERROR_INVALID_VALUE;
}

CUresult vgpu_cuParamSeti(struct vgpu_process *process, struct vgpu_call *call, CUfunction hfunc, int offset,
                          unsigned int value) {
    (void)call;
    return put(process, hfunc, offset, sizeof(value));
}

CUresult vgpu_cuParamSetf(struct vgpu_process *process, struct vgpu_call *call, CUfunction hfunc, int offset,
                          float value) {
    (void)call;
    return put(process, hfunc, offset, sizeof(value));
}

CUresult vgpu_cuParamSetv(struct vgpu_process *process, struct vgpu_call *call, CUfunction hfunc, int offset, void *ptr,
                          unsigned int numbytes) {
    (void)call;
    return ptr != NULL ? put(process, hfunc, offset, numbytes) : CUDA_ERROR_INVALID_VALUE;
}

static CUresult launch(struct vgpu_process *process, struct vgpu_call *call, CUfunction f, int width, int height,
                       CUstream hStream) {
    const struct vgpu_function *function = vgpu_function_find(process, f);
    struct vgpu_stream *stream;
    if (function == NULL) {
        return CUDA_ERROR_INVALID_HANDLE;
    }
    CUresult result = vgpu_stream_use(process, call, hStream, &stream);
    result = result == CUDA_SUCCESS ? vgpu_capture_refuse(process, stream) : result;
    if (result != CUDA_SUCCESS) {
        return result;
    }
    call->event.text = function->facts->name;
    unsigned int grid[3] = {width > 0 ? (unsigned int)width : 0, height > 0 ? (unsigned int)height : 0, 1};
    unsigned int block[3] = {(unsigned int)function->block[0], (unsigned int)function->block[1],
                             (unsigned int)function->block[2]};
    result = vgpu_launch_check(process, function, grid, block, function->shared_size);
    return result == CUDA_SUCCESS ? CUDA_ERROR_NOT_SUPPORTED : result;
}

CUresult vgpu_cuLaunch(struct vgpu_process *process, struct vgpu_call *call, CUfunction f) {
    return launch(process, call, f, 1, 1, NULL);
}

CUresult vgpu_cuLaunchGrid(struct vgpu_process *process, struct vgpu_call *call, CUfunction f, int grid_width,
                           int grid_height) {
    return launch(process, call, f, grid_width, grid_height, NULL);
}

CUresult vgpu_cuLaunchGridAsync(struct vgpu_process *process, struct vgpu_call *call, CUfunction f, int grid_width,
                                int grid_height, CUstream hStream) {
    return launch(process, call, f, grid_width, grid_height, hStream);
}
