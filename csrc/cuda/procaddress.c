/* cuGetProcAddress: which function of the list a name means for a program that was built for some version.
 *
 * The highest step that is no higher than the version asked for wins. A step that is newer than the host's driver is
 * not in its table, and neither is one that a fault of the host hides. With flag 2 a name that has per-thread forms is
 * answered from those alone: below their first version it is not sufficient; a name without falls back to the plain
 * one (doc; the table of the real driver). */
#include <string.h>

#include "cuda/model.h"
#include "vgpu/image.h"

/* Texts, not pointers to texts: ld.so has nothing to do for them at the start of a program that never asks. */
static const struct {
    char name[VGPU_ENTRY_NAME_SIZE];
    char base[VGPU_ENTRY_NAME_SIZE];
    size_t length; /* of `base`: few have the same, so that few texts are compared */
    int since;     /* 0: the table does not have it */
    int twin;
} steps[] = {
#define VGPU_CUDA(name, when, base, since, parameters, arguments, inputs) {#name, #base, sizeof(#base) - 1, since, 0},
#define VGPU_CUDA_TWIN(name, suffix, when, base, since, parameters, arguments, inputs)                                 \
    {#name #suffix, #base, sizeof(#base) - 1, since, 1},
#define VGPU_CUDA_TWIN_UNMODELLED VGPU_CUDA_TWIN
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

static int is_step_of(uint32_t i, const char *symbol, size_t length) {
    return steps[i].length == length && memcmp(steps[i].base, symbol, length) == 0;
}

static int has_twin(const char *symbol) {
    size_t length = strlen(symbol);
    for (uint32_t i = 0; i < STEPS; i++) {
        if (steps[i].twin && is_step_of(i, symbol, length)) {
            return 1;
        }
    }
    return 0;
}

static int find(const struct vgpu_process *process, const char *symbol, int version, int twin, uint32_t *found) {
    int driver = process->image != NULL ? process->image->driver.cuda_version : VGPU_CUDA_OWN_VERSION;
    size_t length = strlen(symbol);
    int status = VGPU_PROC_NOT_FOUND;
    int best = 0;
    for (uint32_t i = 0; i < STEPS; i++) {
        if (steps[i].since == 0 || steps[i].since > driver || steps[i].twin != twin || !is_step_of(i, symbol, length) ||
            hidden(process->image, steps[i].name)) {
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
    int twin = (flags & VGPU_PROC_PER_THREAD_STREAM) != 0 && has_twin(symbol);
    int status = find(process, symbol, cudaVersion, twin, &found);
    *pfn = status == VGPU_PROC_SUCCESS ? (void *)vgpu_cuda_function_at(found) : NULL;
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
