/* The linker. Code is checked as it comes in; what would make one cubin of several, a compiler, is not there. A link of
 * one cubin or of one PTX alone comes to an end, as itself: what cuLinkComplete hands out, cuModuleLoadData takes. */
#include <stdlib.h>
#include <string.h>

#include "cuda/function.h"

enum { INPUT_CUBIN = 0, INPUT_PTX = 1, INPUT_FATBIN = 2, INPUT_OBJECT = 3, INPUT_LIBRARY = 4, INPUT_NVVM = 5 };

struct link {
    struct vgpu_object object;
    int sm;
    unsigned int inputs;
    unsigned char *code; /* the one that has been added, a copy that ends with a NUL; NULL: none */
    size_t size;
};

static void end_link(struct vgpu_process *process, struct vgpu_object *object) {
    (void)process;
    free(((struct link *)object)->code);
    free(object);
}

CUresult vgpu_cuLinkCreate_v2(struct vgpu_process *process, struct vgpu_call *call, unsigned int numOptions,
                              CUjit_option *options, void **optionValues, CUlinkState *stateOut) {
    if (stateOut == NULL || (numOptions > 0 && (options == NULL || optionValues == NULL))) {
        return CUDA_ERROR_INVALID_VALUE;
    }
    CUcontext context;
    CUdevice device;
    CUresult refusal = vgpu_context_current(process, &context, &device);
    if (refusal != CUDA_SUCCESS) {
        return refusal;
    }
    struct link *link = calloc(1, sizeof(*link));
    if (link == NULL) {
        return CUDA_ERROR_OUT_OF_MEMORY;
    }
    link->object = (struct vgpu_object){.kind = VGPU_OBJECT_LINK, .context = context, .end = end_link};
    link->sm = vgpu_device_sm(process, device);
    if (!vgpu_object_add(process, &link->object)) {
        free(link);
        return CUDA_ERROR_OUT_OF_MEMORY;
    }
    *stateOut = vgpu_object_handle(&link->object);
    vgpu_call_output(call, stateOut, sizeof(*stateOut));
    return CUDA_SUCCESS;
}

CUresult vgpu_cuLinkCreate(struct vgpu_process *process, struct vgpu_call *call, unsigned int numOptions,
                           CUjit_option *options, void **optionValues, CUlinkState *stateOut) {
    return vgpu_cuLinkCreate_v2(process, call, numOptions, options, optionValues, stateOut);
}

/* NULL first, then cuInit (measured on 535.261.03: 400 and then a crash). */
static CUresult find(struct vgpu_process *process, CUlinkState state, struct link **link) {
    if (state == NULL) {
        return CUDA_ERROR_INVALID_HANDLE;
    }
    CUresult refusal = vgpu_cuda_ready(process);
    *link = refusal == CUDA_SUCCESS ? vgpu_object_find(process, VGPU_OBJECT_LINK, state) : NULL;
    return refusal == CUDA_SUCCESS && *link == NULL ? CUDA_ERROR_INVALID_HANDLE : refusal;
}

static CUresult keep(struct link *link, const void *data, size_t size) {
    link->inputs++;
    free(link->code);
    link->code = malloc(size + 1);
    if (link->code == NULL) {
        return CUDA_ERROR_OUT_OF_MEMORY;
    }
    memcpy(link->code, data, size);
    link->code[size] = 0;
    link->size = size;
    return CUDA_SUCCESS;
}

CUresult vgpu_cuLinkAddData_v2(struct vgpu_process *process, struct vgpu_call *call, CUlinkState state,
                               CUjitInputType type, void *data, size_t size, const char *name, unsigned int numOptions,
                               CUjit_option *options, void **optionValues) {
    (void)call;
    (void)name;
    struct link *link;
    CUresult result = find(process, state, &link);
    if (result != CUDA_SUCCESS) {
        return result;
    }
    if (data == NULL || size == 0 || type < INPUT_CUBIN || type > INPUT_NVVM ||
        (numOptions > 0 && (options == NULL || optionValues == NULL))) {
        return CUDA_ERROR_INVALID_VALUE;
    }
    struct vgpu_program *program;
    switch (type) {
    case INPUT_CUBIN:
    case INPUT_PTX:
        result = vgpu_program_read((struct vgpu_code){data, size, link->sm}, &program);
        if (result != CUDA_SUCCESS) {
            return result;
        }
        vgpu_program_drop(program);
        return keep(link, data, type == INPUT_PTX ? strnlen(data, size) : size);
    default: /* the compiler is a library of its own in NVIDIA's driver, too */
        return CUDA_ERROR_JIT_COMPILER_NOT_FOUND;
    }
}

CUresult vgpu_cuLinkAddData(struct vgpu_process *process, struct vgpu_call *call, CUlinkState state,
                            CUjitInputType type, void *data, size_t size, const char *name, unsigned int numOptions,
                            CUjit_option *options, void **optionValues) {
    return vgpu_cuLinkAddData_v2(process, call, state, type, data, size, name, numOptions, options, optionValues);
}

CUresult vgpu_cuLinkAddFile_v2(struct vgpu_process *process, struct vgpu_call *call, CUlinkState state,
                               CUjitInputType type, const char *path, unsigned int numOptions, CUjit_option *options,
                               void **optionValues) {
    struct link *link;
    CUresult result = find(process, state, &link);
    if (result != CUDA_SUCCESS) {
        return result;
    }
    if (path == NULL) {
        return CUDA_ERROR_INVALID_VALUE;
    }
    size_t size;
    unsigned char *bytes;
    result = vgpu_file_read(path, &bytes, &size);
    if (result == CUDA_SUCCESS) {
        result =
            vgpu_cuLinkAddData_v2(process, call, state, type, bytes, size, path, numOptions, options, optionValues);
        free(bytes);
    }
    return result;
}

CUresult vgpu_cuLinkAddFile(struct vgpu_process *process, struct vgpu_call *call, CUlinkState state,
                            CUjitInputType type, const char *path, unsigned int numOptions, CUjit_option *options,
                            void **optionValues) {
    return vgpu_cuLinkAddFile_v2(process, call, state, type, path, numOptions, options, optionValues);
}

/* What is handed out lives until cuLinkDestroy (doc). */
CUresult vgpu_cuLinkComplete(struct vgpu_process *process, struct vgpu_call *call, CUlinkState state, void **cubinOut,
                             size_t *sizeOut) {
    struct link *link;
    CUresult result = find(process, state, &link);
    if (result != CUDA_SUCCESS) {
        return result;
    }
    if (cubinOut == NULL || link->inputs == 0) {
        return CUDA_ERROR_INVALID_VALUE;
    }
    if (link->inputs > 1) {
        return CUDA_ERROR_NOT_SUPPORTED;
    }
    *cubinOut = link->code;
    vgpu_call_output(call, cubinOut, sizeof(*cubinOut));
    if (sizeOut != NULL) {
        *sizeOut = link->size;
        vgpu_call_output(call, sizeOut, sizeof(*sizeOut));
    }
    return CUDA_SUCCESS;
}

CUresult vgpu_cuLinkDestroy(struct vgpu_process *process, struct vgpu_call *call, CUlinkState state) {
    (void)call;
    struct link *link;
    CUresult result = find(process, state, &link);
    if (result == CUDA_SUCCESS) {
        vgpu_object_drop(process, &link->object);
    }
    return result;
}
