/* Names and texts of the result codes. They serve processes that the gate has refused as well: those are the ones that
 * have an error to print. */
#include "cuda/model.h"

static const char *name_or_text(CUresult error, int want_name) {
    switch (error) {
#define VGPU_CUDA_CODE(name, number, text)                                                                             \
    case name:                                                                                                         \
        return want_name ? #name : (text);
#include "cuda/errors.def"
    default:
        return NULL;
    }
}

static CUresult answer(struct vgpu_call *call, CUresult error, int want_name, const char **pStr) {
    if (pStr == NULL) {
        return CUDA_ERROR_INVALID_VALUE;
    }
    *pStr = name_or_text(error, want_name);
    if (*pStr == NULL) {
        return CUDA_ERROR_INVALID_VALUE;
    }
    call->event.text = *pStr;
    return CUDA_SUCCESS;
}

CUresult vgpu_cuGetErrorString(struct vgpu_process *process, struct vgpu_call *call, CUresult error,
                               const char **pStr) {
    (void)process;
    return answer(call, error, 0, pStr);
}

CUresult vgpu_cuGetErrorName(struct vgpu_process *process, struct vgpu_call *call, CUresult error, const char **pStr) {
    (void)process;
    return answer(call, error, 1, pStr);
}
