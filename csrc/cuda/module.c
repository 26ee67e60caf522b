/* Modules: code in a context, its functions and variables. */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "cuda/function.h"

enum { ATTACH_GLOBAL = 1 }; /* CU_MEM_ATTACH_GLOBAL */

/* Variables of a module are memory of its context, and go when that goes, or with the module. */
static void end_module(struct vgpu_process *process, struct vgpu_object *object) {
    struct vgpu_module *module = (struct vgpu_module *)object;
    while (module->functions != NULL) {
        struct vgpu_function *next = module->functions->next;
        vgpu_object_drop(process, &module->functions->object);
        module->functions = next;
    }
    while (module->places != NULL) {
        struct vgpu_variable_place *next = module->places->next;
        struct vgpu_region *region = vgpu_region_at(&process->cuda->memory, module->places->address);
        if (region != NULL) {
            vgpu_region_remove(process->cuda, region);
        }
        free(module->places);
        module->places = next;
    }
    vgpu_program_drop(module->program);
    free(module);
}

/* Takes the program over, whatever it answers. */
CUresult vgpu_module_new(struct vgpu_process *process, enum vgpu_object_kind kind, CUcontext context, CUdevice device,
                         struct vgpu_program *program, struct vgpu_module **module) {
    struct vgpu_module *new = calloc(1, sizeof(*new));
    if (new != NULL) {
        new->object = (struct vgpu_object){.kind = kind, .context = context, .end = end_module};
        new->device = device;
        new->program = program;
    }
    if (new == NULL || !vgpu_object_add(process, &new->object)) {
        vgpu_program_drop(program);
        free(new);
        return CUDA_ERROR_OUT_OF_MEMORY;
    }
    *module = new;
    return CUDA_SUCCESS;
}

struct vgpu_module *vgpu_module_find(struct vgpu_process *process, CUmodule handle) {
    return vgpu_object_find(process, VGPU_OBJECT_MODULE, handle);
}

/* Functions end with their module only, which end_module sees to. */
static struct vgpu_function *new_function(struct vgpu_process *process, struct vgpu_module *module,
                                          enum vgpu_object_kind kind, const struct vgpu_kernel_facts *facts) {
    struct vgpu_function *function = calloc(1, sizeof(*function));
    if (function == NULL) {
        return NULL;
    }
    function->object = (struct vgpu_object){.kind = kind, .is_part = 1, .end = vgpu_object_free};
    if (!vgpu_object_add(process, &function->object)) {
        free(function);
        return NULL;
    }
    function->module = module;
    function->facts = facts;
    for (size_t i = 0; i < VGPU_GPUS_MAX; i++) {
        function->settings[i].dynamic_shared = -1;
        function->settings[i].carveout = -1;
    }
    function->next = module->functions;
    module->functions = function;
    return function;
}

/* Of a kernel there is one handle in a module. What is in compressed code is not known: each name is taken to be there
 * (own choice), since a program asks for what it has. */
CUresult vgpu_module_function(struct vgpu_process *process, struct vgpu_module *module, enum vgpu_object_kind kind,
                              const char *name, struct vgpu_function **function) {
    const struct vgpu_kernel_facts *facts = vgpu_program_kernel(module->program, name);
    if (facts == NULL) {
        if (!module->program->is_opaque || name[0] == 0) {
            return CUDA_ERROR_NOT_FOUND;
        }
        facts = vgpu_program_add_kernel(module->program, name, strlen(name));
        if (facts == NULL) {
            return CUDA_ERROR_OUT_OF_MEMORY;
        }
    }
    for (*function = module->functions; *function != NULL; *function = (*function)->next) {
        if ((*function)->facts == facts) {
            return CUDA_SUCCESS;
        }
    }
    *function = new_function(process, module, kind, facts);
    return *function != NULL ? CUDA_SUCCESS : CUDA_ERROR_OUT_OF_MEMORY;
}

int vgpu_device_sm(struct vgpu_process *process, CUdevice device) {
    const struct vgpu_gpu *gpu = process->cuda->device[device].gpu;
    return 10 * gpu->compute_major + gpu->compute_minor;
}

static CUresult load(struct vgpu_process *process, struct vgpu_call *call, CUmodule *handle, CUcontext context,
                     CUdevice device, struct vgpu_program *program) {
    struct vgpu_module *module;
    CUresult result = vgpu_module_new(process, VGPU_OBJECT_MODULE, context, device, program, &module);
    if (result == CUDA_SUCCESS) {
        *handle = vgpu_object_handle(&module->object);
        vgpu_call_output(call, handle, sizeof(*handle));
    }
    return result;
}

CUresult vgpu_cuModuleLoadData(struct vgpu_process *process, struct vgpu_call *call, CUmodule *module,
                               const void *image) {
    if (module == NULL || image == NULL) {
        return CUDA_ERROR_INVALID_VALUE;
    }
    CUcontext context;
    CUdevice device;
    struct vgpu_program *program;
    CUresult result = vgpu_context_current(process, &context, &device);
    if (result == CUDA_SUCCESS) {
        result = vgpu_program_read((struct vgpu_code){image, SIZE_MAX, vgpu_device_sm(process, device)}, &program);
    }
    return result == CUDA_SUCCESS ? load(process, call, module, context, device, program) : result;
}

/* Options are for the compiler of PTX, which is not there: they change nothing. */
CUresult vgpu_cuModuleLoadDataEx(struct vgpu_process *process, struct vgpu_call *call, CUmodule *module,
                                 const void *image, unsigned int numOptions, CUjit_option *options,
                                 void **optionValues) {
    if (numOptions > 0 && (options == NULL || optionValues == NULL)) {
        return CUDA_ERROR_INVALID_VALUE;
    }
    return vgpu_cuModuleLoadData(process, call, module, image);
}

CUresult vgpu_cuModuleLoadFatBinary(struct vgpu_process *process, struct vgpu_call *call, CUmodule *module,
                                    const void *fatCubin) {
    return vgpu_cuModuleLoadData(process, call, module, fatCubin);
}

/* NULL: no memory, or it cannot be read. */
static unsigned char *read_all(int file, size_t size) {
    unsigned char *bytes = malloc(size + 1);
    size_t done = 0;
    while (bytes != NULL && done < size) {
        ssize_t count = read(file, bytes + done, size - done);
        if (count <= 0 && !(count < 0 && errno == EINTR)) {
            free(bytes);
            return NULL;
        }
        done += count > 0 ? (size_t)count : 0;
    }
    if (bytes != NULL) {
        bytes[size] = 0;
    }
    return bytes;
}

CUresult vgpu_file_read(const char *path, unsigned char **bytes, size_t *size) {
    int file = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK); /* a FIFO would wait for a writer */
    if (file < 0) {
        return CUDA_ERROR_FILE_NOT_FOUND;
    }
    struct stat facts;
    int regular = fstat(file, &facts) == 0 && S_ISREG(facts.st_mode);
    *size = regular ? (size_t)facts.st_size : 0;
    *bytes = regular ? read_all(file, *size) : NULL;
    close(file);
    if (!regular) {
        return CUDA_ERROR_FILE_NOT_FOUND;
    }
    return *bytes != NULL ? CUDA_SUCCESS : CUDA_ERROR_OUT_OF_MEMORY;
}

CUresult vgpu_program_load(const char *path, int sm, struct vgpu_program **program) {
    unsigned char *bytes;
    size_t size;
    CUresult result = vgpu_file_read(path, &bytes, &size);
    if (result == CUDA_SUCCESS) {
        result = vgpu_program_read((struct vgpu_code){bytes, size, sm}, program);
        free(bytes);
    }
    return result;
}

CUresult vgpu_cuModuleLoad(struct vgpu_process *process, struct vgpu_call *call, CUmodule *module, const char *fname) {
    if (module == NULL || fname == NULL) {
        return CUDA_ERROR_INVALID_VALUE;
    }
    CUcontext context;
    CUdevice device;
    struct vgpu_program *program;
    CUresult result = vgpu_context_current(process, &context, &device);
    if (result == CUDA_SUCCESS) {
        result = vgpu_program_load(fname, vgpu_device_sm(process, device), &program);
    }
    return result == CUDA_SUCCESS ? load(process, call, module, context, device, program) : result;
}

/* An instance of a library goes with that alone (doc). */
CUresult vgpu_cuModuleUnload(struct vgpu_process *process, struct vgpu_call *call, CUmodule hmod) {
    (void)call;
    struct vgpu_module *module = vgpu_module_find(process, hmod);
    if (module == NULL) {
        return CUDA_ERROR_INVALID_HANDLE;
    }
    if (module->library != 0) {
        return CUDA_ERROR_NOT_PERMITTED;
    }
    vgpu_object_drop(process, &module->object);
    return CUDA_SUCCESS;
}

CUresult vgpu_cuModuleGetFunction(struct vgpu_process *process, struct vgpu_call *call, CUfunction *hfunc,
                                  CUmodule hmod, const char *name) {
    if (hfunc == NULL || name == NULL) {
        return CUDA_ERROR_INVALID_VALUE;
    }
    struct vgpu_module *module = vgpu_module_find(process, hmod);
    if (module == NULL) {
        return CUDA_ERROR_INVALID_HANDLE;
    }
    struct vgpu_function *function;
    CUresult result = vgpu_module_function(process, module, VGPU_OBJECT_FUNCTION, name, &function);
    if (result == CUDA_SUCCESS) {
        *hfunc = vgpu_object_handle(&function->object);
        vgpu_call_output(call, hfunc, sizeof(*hfunc));
    }
    return result;
}

CUresult vgpu_cuModuleGetFunctionCount(struct vgpu_process *process, struct vgpu_call *call, unsigned int *count,
                                       CUmodule mod) {
    struct vgpu_module *module = vgpu_module_find(process, mod);
    if (count == NULL || module == NULL) {
        return count == NULL ? CUDA_ERROR_INVALID_VALUE : CUDA_ERROR_INVALID_HANDLE;
    }
    *count = (unsigned int)module->program->kernel_count;
    vgpu_call_output(call, count, sizeof(*count));
    return CUDA_SUCCESS;
}

CUresult vgpu_cuModuleEnumerateFunctions(struct vgpu_process *process, struct vgpu_call *call, CUfunction *functions,
                                         unsigned int numFunctions, CUmodule mod) {
    struct vgpu_module *module = vgpu_module_find(process, mod);
    if (functions == NULL || numFunctions == 0 || module == NULL) {
        return functions == NULL || numFunctions == 0 ? CUDA_ERROR_INVALID_VALUE : CUDA_ERROR_INVALID_HANDLE;
    }
    for (size_t i = 0; i < numFunctions && i < module->program->kernel_count; i++) {
        struct vgpu_function *function;
        CUresult result =
            vgpu_module_function(process, module, VGPU_OBJECT_FUNCTION, module->program->kernels[i]->name, &function);
        if (result != CUDA_SUCCESS) {
            return result;
        }
        functions[i] = vgpu_object_handle(&function->object);
        vgpu_call_output(call, &functions[i], sizeof(functions[i]));
    }
    return CUDA_SUCCESS;
}

/* Memory for a variable is taken when it is asked for first; what it was initialised with is not copied (own choice:
 * no kernel reads it), so it is zeros. */
CUresult vgpu_module_variable(struct vgpu_process *process, struct vgpu_module *module, const char *name,
                              struct vgpu_variable_place **place) {
    for (*place = module->places; *place != NULL; *place = (*place)->next) {
        if (strcmp((*place)->variable->name, name) == 0) {
            return CUDA_SUCCESS;
        }
    }
    const struct vgpu_variable *variable = NULL;
    for (size_t i = 0; i < module->program->variable_count; i++) {
        if (strcmp(module->program->variables[i].name, name) == 0) {
            variable = &module->program->variables[i];
        }
    }
    if (variable == NULL) {
        return CUDA_ERROR_NOT_FOUND;
    }
    *place = calloc(1, sizeof(**place));
    if (*place == NULL) {
        return CUDA_ERROR_OUT_OF_MEMORY;
    }
    struct vgpu_call call = {.process = process};
    size_t size = variable->size > 0 ? variable->size : 1;
    uint64_t address;
    /* Whatever context is current: it goes with the module's, that of a library with no context. */
    CUcontext owner = module->object.context;
    CUresult result = variable->managed
                          ? vgpu_managed_new(process, &call, owner, module->device, size, ATTACH_GLOBAL, &address)
                          : vgpu_memory_new(process, owner, module->device, size, 0, &address);
    if (result != CUDA_SUCCESS) {
        free(*place);
        return result;
    }
    vgpu_region_at(&process->cuda->memory, address)->is_part = 1;
    (*place)->address = address;
    (*place)->variable = variable;
    (*place)->next = module->places;
    module->places = *place;
    return CUDA_SUCCESS;
}

CUresult vgpu_cuModuleGetGlobal_v2(struct vgpu_process *process, struct vgpu_call *call, CUdeviceptr *dptr,
                                   size_t *bytes, CUmodule hmod, const char *name) {
    if (name == NULL || (dptr == NULL && bytes == NULL)) {
        return CUDA_ERROR_INVALID_VALUE;
    }
    struct vgpu_module *module = vgpu_module_find(process, hmod);
    struct vgpu_variable_place *place;
    CUresult result = module != NULL ? vgpu_module_variable(process, module, name, &place) : CUDA_ERROR_INVALID_HANDLE;
    if (result != CUDA_SUCCESS) {
        return result;
    }
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

/* Lazy unless the environment says otherwise (CUDA C++ Programming Guide, lazy loading). getenv is not used, as in
 * init.c. */
CUresult vgpu_cuModuleGetLoadingMode(struct vgpu_process *process, struct vgpu_call *call, CUmoduleLoadingMode *mode) {
    static const char eager[] = "CUDA_MODULE_LOADING=EAGER";
    enum { MODE_EAGER = 1, MODE_LAZY = 2 };
    (void)process;
    if (mode == NULL) {
        return CUDA_ERROR_INVALID_VALUE;
    }
    *mode = MODE_LAZY;
    for (char **at = environ; at != NULL && *at != NULL; at++) {
        *mode = strcmp(*at, eager) == 0 ? MODE_EAGER : *mode;
    }
    vgpu_call_output(call, mode, sizeof(*mode));
    return CUDA_SUCCESS;
}

/* Texture and surface references went with CUDA 12: no code that a driver of today loads has any. */
static CUresult no_reference(struct vgpu_process *process, const void *reference, CUmodule hmod, const char *name) {
    if (reference == NULL || name == NULL) {
        return CUDA_ERROR_INVALID_VALUE;
    }
    return vgpu_module_find(process, hmod) != NULL ? CUDA_ERROR_NOT_FOUND : CUDA_ERROR_INVALID_HANDLE;
}

CUresult vgpu_cuModuleGetTexRef(struct vgpu_process *process, struct vgpu_call *call, CUtexref *pTexRef, CUmodule hmod,
                                const char *name) {
    (void)call;
    return no_reference(process, pTexRef, hmod, name);
}

CUresult vgpu_cuModuleGetSurfRef(struct vgpu_process *process, struct vgpu_call *call, CUsurfref *pSurfRef,
                                 CUmodule hmod, const char *name) {
    (void)call;
    return no_reference(process, pSurfRef, hmod, name);
}
