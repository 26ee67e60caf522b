/* Libraries: code that belongs to no context, and is a module in each context that it is used in. */
#include <stdlib.h>
#include <string.h>

#include "cuda/function.h"

struct vgpu_module *vgpu_library_find(struct vgpu_process *process, CUlibrary handle) {
    return vgpu_object_find(process, VGPU_OBJECT_LIBRARY, handle);
}

struct search {
    uint64_t library;
    CUcontext context; /* NULL: any */
    struct vgpu_module *found;
};

static void look(struct vgpu_object *object, void *data) {
    struct search *search = data;
    struct vgpu_module *module = (struct vgpu_module *)object;
    if (module->library == search->library && (search->context == NULL || object->context == search->context)) {
        search->found = module;
    }
}

static struct vgpu_module *instance_of(struct vgpu_process *process, uint64_t library, CUcontext context) {
    struct search search = {library, context, NULL};
    vgpu_objects_visit(process, VGPU_OBJECT_MODULE, look, &search);
    return search.found;
}

CUresult vgpu_library_module(struct vgpu_process *process, struct vgpu_module *library, struct vgpu_module **module) {
    CUcontext context;
    CUdevice device;
    CUresult result = vgpu_context_current(process, &context, &device);
    if (result != CUDA_SUCCESS) {
        return result;
    }
    *module = instance_of(process, library->object.handle, context);
    if (*module != NULL) {
        return CUDA_SUCCESS;
    }
    library->program->users++;
    result = vgpu_module_new(process, VGPU_OBJECT_MODULE, context, device, library->program, module);
    if (result == CUDA_SUCCESS) {
        (*module)->library = library->object.handle;
    }
    return result;
}

/* The code is chosen for the first device, as long as there is no context that would say for which one. */
static CUresult load(struct vgpu_process *process, struct vgpu_call *call, CUlibrary *handle,
                     struct vgpu_program *program) {
    struct vgpu_module *library;
    CUresult result = vgpu_module_new(process, VGPU_OBJECT_LIBRARY, NULL, 0, program, &library);
    if (result == CUDA_SUCCESS) {
        *handle = vgpu_object_handle(&library->object);
        vgpu_call_output(call, handle, sizeof(*handle));
    }
    return result;
}

static CUresult check_options(const void *options, void *const *values, unsigned int count) {
    return count > 0 && (options == NULL || values == NULL) ? CUDA_ERROR_INVALID_VALUE : CUDA_SUCCESS;
}

CUresult vgpu_cuLibraryLoadData(struct vgpu_process *process, struct vgpu_call *call, CUlibrary *library,
                                const void *code, CUjit_option *jitOptions, void **jitOptionsValues,
                                unsigned int numJitOptions, CUlibraryOption *libraryOptions, void **libraryOptionValues,
                                unsigned int numLibraryOptions) {
    if (library == NULL || code == NULL) {
        return CUDA_ERROR_INVALID_VALUE;
    }
    CUresult result = vgpu_cuda_ready(process);
    result = result == CUDA_SUCCESS ? check_options(jitOptions, jitOptionsValues, numJitOptions) : result;
    result = result == CUDA_SUCCESS ? check_options(libraryOptions, libraryOptionValues, numLibraryOptions) : result;
    struct vgpu_program *program;
    if (result == CUDA_SUCCESS) {
        result = vgpu_program_read((struct vgpu_code){code, SIZE_MAX, vgpu_device_sm(process, 0)}, &program);
    }
    return result == CUDA_SUCCESS ? load(process, call, library, program) : result;
}

CUresult vgpu_cuLibraryLoadFromFile(struct vgpu_process *process, struct vgpu_call *call, CUlibrary *library,
                                    const char *fileName, CUjit_option *jitOptions, void **jitOptionsValues,
                                    unsigned int numJitOptions, CUlibraryOption *libraryOptions,
                                    void **libraryOptionValues, unsigned int numLibraryOptions) {
    if (library == NULL || fileName == NULL) {
        return CUDA_ERROR_INVALID_VALUE;
    }
    CUresult result = vgpu_cuda_ready(process);
    result = result == CUDA_SUCCESS ? check_options(jitOptions, jitOptionsValues, numJitOptions) : result;
    result = result == CUDA_SUCCESS ? check_options(libraryOptions, libraryOptionValues, numLibraryOptions) : result;
    struct vgpu_program *program;
    if (result == CUDA_SUCCESS) {
        result = vgpu_program_load(fileName, vgpu_device_sm(process, 0), &program);
    }
    return result == CUDA_SUCCESS ? load(process, call, library, program) : result;
}

CUresult vgpu_cuLibraryUnload(struct vgpu_process *process, struct vgpu_call *call, CUlibrary library) {
    (void)call;
    if (library == NULL) {
        return CUDA_ERROR_INVALID_HANDLE;
    }
    CUresult refusal = vgpu_cuda_ready(process);
    struct vgpu_module *found = vgpu_library_find(process, library);
    if (refusal != CUDA_SUCCESS || found == NULL) {
        return refusal != CUDA_SUCCESS ? refusal : CUDA_ERROR_INVALID_HANDLE;
    }
    struct vgpu_module *instance = instance_of(process, found->object.handle, NULL);
    while (instance != NULL) {
        vgpu_object_drop(process, &instance->object);
        instance = instance_of(process, found->object.handle, NULL);
    }
    vgpu_object_drop(process, &found->object);
    return CUDA_SUCCESS;
}

/* The order that NVIDIA's library checks in: arguments that are missing, cuInit, the handle (measured on 535.261.03).
 */
static CUresult find(struct vgpu_process *process, const void *output, const void *name, CUlibrary handle,
                     struct vgpu_module **library) {
    if (output == NULL || name == NULL || handle == NULL) {
        return CUDA_ERROR_INVALID_VALUE;
    }
    CUresult refusal = vgpu_cuda_ready(process);
    *library = refusal == CUDA_SUCCESS ? vgpu_library_find(process, handle) : NULL;
    return refusal == CUDA_SUCCESS && *library == NULL ? CUDA_ERROR_INVALID_HANDLE : refusal;
}

CUresult vgpu_cuLibraryGetKernel(struct vgpu_process *process, struct vgpu_call *call, CUkernel *pKernel,
                                 CUlibrary library, const char *name) {
    struct vgpu_module *found;
    struct vgpu_function *kernel;
    CUresult result = find(process, pKernel, name, library, &found);
    result = result == CUDA_SUCCESS ? vgpu_module_function(process, found, VGPU_OBJECT_KERNEL, name, &kernel) : result;
    if (result == CUDA_SUCCESS) {
        *pKernel = vgpu_object_handle(&kernel->object);
        vgpu_call_output(call, pKernel, sizeof(*pKernel));
    }
    return result;
}

CUresult vgpu_cuLibraryGetKernelCount(struct vgpu_process *process, struct vgpu_call *call, unsigned int *count,
                                      CUlibrary lib) {
    struct vgpu_module *found;
    CUresult result = find(process, count, "", lib, &found);
    if (result == CUDA_SUCCESS) {
        *count = (unsigned int)found->program->kernel_count;
        vgpu_call_output(call, count, sizeof(*count));
    }
    return result;
}

CUresult vgpu_cuLibraryEnumerateKernels(struct vgpu_process *process, struct vgpu_call *call, CUkernel *kernels,
                                        unsigned int numKernels, CUlibrary lib) {
    struct vgpu_module *found;
    CUresult result = find(process, kernels, "", lib, &found);
    result = result == CUDA_SUCCESS && numKernels == 0 ? CUDA_ERROR_INVALID_VALUE : result;
    for (size_t i = 0; result == CUDA_SUCCESS && i < numKernels && i < found->program->kernel_count; i++) {
        struct vgpu_function *kernel;
        result = vgpu_module_function(process, found, VGPU_OBJECT_KERNEL, found->program->kernels[i]->name, &kernel);
        if (result == CUDA_SUCCESS) {
            kernels[i] = vgpu_object_handle(&kernel->object);
            vgpu_call_output(call, &kernels[i], sizeof(kernels[i]));
        }
    }
    return result;
}

CUresult vgpu_cuLibraryGetModule(struct vgpu_process *process, struct vgpu_call *call, CUmodule *pMod,
                                 CUlibrary library) {
    struct vgpu_module *found;
    struct vgpu_module *module;
    CUresult result = find(process, pMod, "", library, &found);
    result = result == CUDA_SUCCESS ? vgpu_library_module(process, found, &module) : result;
    if (result == CUDA_SUCCESS) {
        *pMod = vgpu_object_handle(&module->object);
        vgpu_call_output(call, pMod, sizeof(*pMod));
    }
    return result;
}

static CUresult say_place(struct vgpu_call *call, const struct vgpu_variable_place *place, CUdeviceptr *dptr,
                          size_t *bytes) {
    if (dptr != NULL) {
        *dptr = place->address;
        vgpu_call_output(call, dptr, sizeof(*dptr));
    }
    if (bytes != NULL) {
        *bytes = place->variable->size;
        vgpu_call_output(call, bytes, sizeof(*bytes));
    }
    return CUDA_SUCCESS;
}

static int is_managed(const struct vgpu_module *library, const char *name) {
    for (size_t i = 0; i < library->program->variable_count; i++) {
        if (strcmp(library->program->variables[i].name, name) == 0) {
            return library->program->variables[i].managed;
        }
    }
    return 0;
}

/* Nameless is invalid before anything else (measured on 535.261.03). */
static int are_given(const CUdeviceptr *dptr, const size_t *bytes, const char *name) {
    return name != NULL && name[0] != 0 && (dptr != NULL || bytes != NULL);
}

CUresult vgpu_cuLibraryGetGlobal(struct vgpu_process *process, struct vgpu_call *call, CUdeviceptr *dptr, size_t *bytes,
                                 CUlibrary library, const char *name) {
    if (!are_given(dptr, bytes, name)) {
        return CUDA_ERROR_INVALID_VALUE;
    }
    struct vgpu_module *found;
    struct vgpu_module *module;
    struct vgpu_variable_place *place;
    CUresult result = find(process, call, name, library, &found);
    result = result == CUDA_SUCCESS ? vgpu_library_module(process, found, &module) : result;
    result = result == CUDA_SUCCESS ? vgpu_module_variable(process, module, name, &place) : result;
    return result == CUDA_SUCCESS ? say_place(call, place, dptr, bytes) : result;
}

/* Managed memory is the library's, the same for all contexts (doc). */
CUresult vgpu_cuLibraryGetManaged(struct vgpu_process *process, struct vgpu_call *call, CUdeviceptr *dptr,
                                  size_t *bytes, CUlibrary library, const char *name) {
    if (!are_given(dptr, bytes, name)) {
        return CUDA_ERROR_INVALID_VALUE;
    }
    struct vgpu_module *found;
    struct vgpu_variable_place *place;
    CUresult result = find(process, call, name, library, &found);
    result = result == CUDA_SUCCESS && !is_managed(found, name) ? CUDA_ERROR_NOT_FOUND : result;
    result = result == CUDA_SUCCESS ? vgpu_module_variable(process, found, name, &place) : result;
    return result == CUDA_SUCCESS ? say_place(call, place, dptr, bytes) : result;
}

/* There are no unified functions in code that the shims can read. */
CUresult vgpu_cuLibraryGetUnifiedFunction(struct vgpu_process *process, struct vgpu_call *call, void **fptr,
                                          CUlibrary library, const char *symbol) {
    (void)call;
    struct vgpu_module *found;
    CUresult result = find(process, fptr, symbol, library, &found);
    return result == CUDA_SUCCESS ? CUDA_ERROR_NOT_FOUND : result;
}

CUresult vgpu_cuKernelGetFunction(struct vgpu_process *process, struct vgpu_call *call, CUfunction *pFunc,
                                  CUkernel kernel) {
    if (pFunc == NULL || kernel == NULL) {
        return CUDA_ERROR_INVALID_VALUE;
    }
    CUresult result = vgpu_cuda_ready(process);
    if (result != CUDA_SUCCESS) {
        return result;
    }
    struct vgpu_function *found = vgpu_kernel_find(process, kernel);
    struct vgpu_module *module;
    struct vgpu_function *function;
    result = found != NULL ? vgpu_library_module(process, found->module, &module) : CUDA_ERROR_INVALID_HANDLE;
    result = result == CUDA_SUCCESS
                 ? vgpu_module_function(process, module, VGPU_OBJECT_FUNCTION, found->facts->name, &function)
                 : result;
    if (result == CUDA_SUCCESS) {
        *pFunc = vgpu_object_handle(&function->object);
        vgpu_call_output(call, pFunc, sizeof(*pFunc));
    }
    return result;
}

CUresult vgpu_cuKernelGetLibrary(struct vgpu_process *process, struct vgpu_call *call, CUlibrary *pLib,
                                 CUkernel kernel) {
    struct vgpu_function *found = vgpu_kernel_find(process, kernel);
    if (pLib == NULL || found == NULL) {
        return pLib == NULL ? CUDA_ERROR_INVALID_VALUE : CUDA_ERROR_INVALID_HANDLE;
    }
    *pLib = vgpu_object_handle(&found->module->object);
    vgpu_call_output(call, pLib, sizeof(*pLib));
    return CUDA_SUCCESS;
}
