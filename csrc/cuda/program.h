/* What can be read out of the code that a program hands to the driver: a cubin, PTX, or a fat binary with such in it.
 * None of it is ever run: what matters is which kernels and variables there are, and what a launch would need. */
#ifndef VGPU_CUDA_PROGRAM_H
#define VGPU_CUDA_PROGRAM_H

#include "cuda/names.h"

struct vgpu_parameter {
    uint32_t offset;
    uint32_t size;
};

struct vgpu_kernel_facts {
    char *name;
    int registers; /* a thread's */
    int shared;    /* bytes of a block, those of the code itself */
    int constant;
    int local;       /* bytes of a thread */
    int max_threads; /* of a block; 0: as many as the device allows */
    int cluster[3];  /* required by the code; 0: not */
    struct vgpu_parameter *parameters;
    size_t parameter_count;
    int parameters_known;
};

struct vgpu_variable {
    char *name;
    uint64_t size;
    int managed;
};

struct vgpu_program {
    uint32_t users;
    int is_opaque;   /* compressed: what is in it stays unknown */
    int ptx_version; /* 10 * major + minor, of the PTX; 0: there was none */
    int sm;          /* 10 * major + minor of the compute capability it is for */
    struct vgpu_kernel_facts **kernels;
    size_t kernel_count;
    struct vgpu_variable *variables;
    size_t variable_count;
};

/* What vgpu_program_read hands over to the readers of one form. `size` is SIZE_MAX where the caller gave none: then the
 * form itself says where it ends. `sm` is the device's compute capability, 10 * major + minor. */
struct vgpu_code {
    const unsigned char *bytes;
    size_t size;
    int sm;
};

/* CUDA_SUCCESS, with one user; or INVALID_IMAGE, INVALID_PTX, NO_BINARY_FOR_GPU, OUT_OF_MEMORY. */
CUresult vgpu_program_read(struct vgpu_code code, struct vgpu_program **program);
void vgpu_program_drop(struct vgpu_program *program);

struct vgpu_kernel_facts *vgpu_program_kernel(struct vgpu_program *program, const char *name);

/* Adds one with the name of `length` bytes, or finds the one that is there; NULL: no memory. Variables
 * move when the next one is added. */
struct vgpu_kernel_facts *vgpu_program_add_kernel(struct vgpu_program *program, const char *name, size_t length);
struct vgpu_variable *vgpu_program_add_variable(struct vgpu_program *program, const char *name, size_t length);
int vgpu_kernel_add_parameter(struct vgpu_kernel_facts *kernel, size_t index, struct vgpu_parameter parameter);

/* program_cubin.c, program_ptx.c: fill in; CUDA_SUCCESS, or what is wrong. */
CUresult vgpu_program_read_cubin(struct vgpu_code code, struct vgpu_program *program);
CUresult vgpu_program_read_ptx(struct vgpu_code code, struct vgpu_program *program);
int vgpu_is_ptx(struct vgpu_code code);

#endif
