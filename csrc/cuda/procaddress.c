/* cuGetProcAddress: which function of the list a name means for a program that was built for some version.
 *
 * The highest step that is no higher than the version asked for wins. A step that is newer than the host's driver is
 * not in its table, and neither is one that a fault of the host hides. None of our functions has a per-thread-stream
 * twin, for which flag 2 falls back to the plain one (doc). */
#include <string.h>

#include "cuda/model.h"
#include "vgpu/image.h"

static const struct {
    const char *name;
    const char *base;
    int since;
} steps[] = {
#define VGPU_CUDA(name, when, base, since, parameters, arguments, inputs) {#name, #base, since},
#include "cuda/cuda.def"
};

enum {
    STEPS = sizeof(steps) / sizeof(steps[0]),
    FLAGS = VGPU_PROC_LEGACY_STREAM |
        VGPU_PROC_PER_THREAD_STREAM, /* both together are accepted (measured on 535.261.03) */
};

static int hidden(const struct vgpu_image *image, const char *name) {
    for (uint32_t i = 0; image != NULL && i < image->faults.count; i++) {
        const struct vgpu_fault *fault = vgpu_image_fault(image, i);
        if ((fault->flags & VGPU_FAULT_HIDDEN) != 0 && strcmp(vgpu_image_text(image, fault->function), name) == 0) {
            return 1;
        }
    }
    return 0;
}

static int find(const struct vgpu_process *process, const char *symbol, int version, uint32_t *found) {
    int driver = process->image != NULL ? process->image->driver.cuda_version : VGPU_CUDA_OWN_VERSION;
    int status = VGPU_PROC_NOT_FOUND;
    int best = 0;
    for (uint32_t i = 0; i < STEPS; i++) {
        if (steps[i].since > driver || strcmp(steps[i].base, symbol) != 0 || hidden(process->image, steps[i].name)) {
            continue;
        }
        if (steps[i].since > version) {
            status = status == VGPU_PROC_SUCCESS ? status : VGPU_PROC_VERSION_NOT_SUFFICIENT;
        } else if (steps[i].since > best) {
            best = steps[i].since;
            *found = i;
            status = VGPU_PROC_SUCCESS;
        }
    }
    return status;
}

/* What is not found, as measured on NVIDIA's libcuda 535.261.03: success, NULL and a status. */
CUresult vgpu_cuGetProcAddress_v2(struct vgpu_process *process, struct vgpu_call *call, const char *symbol, void **pfn,
                                  int cudaVersion, cuuint64_t flags, CUdriverProcAddressQueryResult *symbolStatus) {
    if (symbol == NULL || pfn == NULL || (flags & ~(cuuint64_t)FLAGS) != 0) {
        return CUDA_ERROR_INVALID_VALUE;
    }
    call->event.text = symbol;
    uint32_t found = 0;
    int status = find(process, symbol, cudaVersion, &found);
    *pfn = status == VGPU_PROC_SUCCESS ? (void *)vgpu_cuda_functions[found] : NULL;
    if (symbolStatus != NULL) {
        *symbolStatus = status;
        vgpu_call_output(call, symbolStatus, sizeof(*symbolStatus));
    }
    return CUDA_SUCCESS;
}

/* The first form has no status: it answers 500 and leaves the pointer alone (measured likewise). */
CUresult vgpu_cuGetProcAddress(struct vgpu_process *process, struct vgpu_call *call, const char *symbol, void **pfn,
                               int cudaVersion, cuuint64_t flags) {
    void *function;
    CUresult refusal =
        vgpu_cuGetProcAddress_v2(process, call, symbol, pfn != NULL ? &function : NULL, cudaVersion, flags, NULL);
    if (refusal != CUDA_SUCCESS) {
        return refusal;
    }
    if (function == NULL) {
        return CUDA_ERROR_NOT_FOUND;
    }
    *pfn = function;
    return CUDA_SUCCESS;
}
