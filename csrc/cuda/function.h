/* Modules, libraries, and the functions in them. */
#ifndef VGPU_CUDA_FUNCTION_H
#define VGPU_CUDA_FUNCTION_H

#include "cuda/objects.h"
#include "cuda/program.h"
#include "cuda/structs_launch.h"

/* What can be set for a function. */
struct vgpu_function_settings {
    int dynamic_shared; /* CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES; -1: as the device has it by default */
    int carveout;
    int cluster[3];
    int non_portable_cluster;
    int cluster_scheduling;
    int cache_config;
};

/* A CUfunction of a module, or a CUkernel of a library: then it has settings for each device. */
struct vgpu_function {
    struct vgpu_object object;
    struct vgpu_function *next; /* of its module */
    struct vgpu_module *module;
    const struct vgpu_kernel_facts *facts; /* the program's */
    struct vgpu_function_settings settings[VGPU_GPUS_MAX];
    int is_loaded;
    int block[3]; /* cuFuncSetBlockShape */
    unsigned int shared_size;
    unsigned int parameter_size;
};

/* Where a variable of a program is. */
struct vgpu_variable_place {
    struct vgpu_variable_place *next;
    const struct vgpu_variable *variable;
    CUdeviceptr address;
};

/* Code that is loaded: a CUmodule in its context, or a CUlibrary in none. */
struct vgpu_module {
    struct vgpu_object object;
    CUdevice device; /* of a module */
    struct vgpu_program *program;
    struct vgpu_function *functions; /* those that have been asked for */
    struct vgpu_variable_place *places;
    uint64_t library; /* the handle of what the module is an instance of; 0: loaded by itself */
};

/* module.c */
CUresult vgpu_module_new(struct vgpu_process *process, enum vgpu_object_kind kind, CUcontext context, CUdevice device,
                         struct vgpu_program *program, struct vgpu_module **module);
CUresult vgpu_module_function(struct vgpu_process *process, struct vgpu_module *module, enum vgpu_object_kind kind,
                              const char *name, struct vgpu_function **function);
CUresult vgpu_module_variable(struct vgpu_process *process, struct vgpu_module *module, const char *name,
                              struct vgpu_variable_place **place);
struct vgpu_module *vgpu_module_find(struct vgpu_process *process, CUmodule handle);
/* A file as a whole, which the caller frees: CUDA_SUCCESS, FILE_NOT_FOUND, OUT_OF_MEMORY. */
CUresult vgpu_file_read(const char *path, unsigned char **bytes, size_t *size);
/* The code of a file, for the device. */
CUresult vgpu_program_load(const char *path, int sm, struct vgpu_program **program);
int vgpu_device_sm(struct vgpu_process *process, CUdevice device);

/* library.c */
struct vgpu_module *vgpu_library_find(struct vgpu_process *process, CUlibrary handle);
/* The library's module in the current context: it is loaded there at its first use. */
CUresult vgpu_library_module(struct vgpu_process *process, struct vgpu_module *library, struct vgpu_module **module);

/* function.c: the living function of a handle, or NULL. A CUkernel may stand where a CUfunction is asked for (doc). */
struct vgpu_function *vgpu_function_find(struct vgpu_process *process, CUfunction handle);
struct vgpu_function *vgpu_kernel_find(struct vgpu_process *process, CUkernel handle);
/* Where it would run: on its module's device, a kernel on that of the current context. */
CUresult vgpu_function_device(struct vgpu_process *process, const struct vgpu_function *function, CUdevice *device);
int vgpu_function_attribute(struct vgpu_process *process, const struct vgpu_function *function, CUdevice device,
                            CUfunction_attribute attribute, int *value); /* 1, or 0: there is none of that number */
size_t vgpu_function_parameters(const struct vgpu_function *function);   /* 0 also where it is not known */

/* launch.c: CUDA_SUCCESS, or why it cannot be launched like that. Kernels do not run all the same. */
CUresult vgpu_launch_check(struct vgpu_process *process, const struct vgpu_function *function,
                           const unsigned int grid[3], const unsigned int block[3], size_t dynamic_shared);
int vgpu_launch_has_parameters(const struct vgpu_function *function, const CUDA_KERNEL_NODE_PARAMS *params);

/* occupancy.c: blocks of that size that are on one multiprocessor at a time. */
int vgpu_occupancy(struct vgpu_process *process, const struct vgpu_function *function, CUdevice device, int block,
                   size_t dynamic_shared);

#endif
