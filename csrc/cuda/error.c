/* Names and texts of the result codes. They serve processes that the gate has refused as well: those are the ones that
 * have an error to print. */
#include "cuda/model.h"

static const struct {
    CUresult code;
    const char *name;
    const char *text;
} codes[] = {
#define VGPU_CUDA_CODE(name, number, text) {name, #name, text},
#include "cuda/errors.def"
};

enum { CODES = sizeof(codes) / sizeof(codes[0]) };

static CUresult answer(struct vgpu_call *call, CUresult error, int want_name, const char **pStr) {
    if (pStr == NULL) {
        return CUDA_ERROR_INVALID_VALUE;
    }
    *pStr = NULL;
    for (uint32_t i = 0; i < CODES; i++) {
        if (codes[i].code == error) {
            *pStr = want_name ? codes[i].name : codes[i].text;
            call->event.text = *pStr;
            return CUDA_SUCCESS;
        }
    }
    return CUDA_ERROR_INVALID_VALUE;
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
