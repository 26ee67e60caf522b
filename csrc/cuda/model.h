/* The state of the CUDA driver in one process, and the functions that the models share. */
#ifndef VGPU_CUDA_MODEL_H
#define VGPU_CUDA_MODEL_H

#include "cuda/api.h"
#include "cuda/types.h"
#include "vgpu/call.h"

enum { VGPU_STACK_BUCKETS = 64 };

struct vgpu_context;
struct vgpu_stack;
struct vgpu_allocation;
struct vgpu_physical;
struct vgpu_reservation;

/* The primary context of a device has one handle for ever. */
struct vgpu_primary {
    uint32_t references;
    uint32_t active;    /* 0 after a reset although references are left */
    uint32_t was_given; /* its handle has been given out */
};

struct vgpu_device {
    const struct vgpu_gpu *gpu;
    uint64_t allocated; /* bytes that this process holds */
    struct vgpu_primary primary;
};

struct vgpu_cuda {
    struct vgpu_model model; /* first: vgpu/call.c marks it */
    uint32_t initialised;
    uint32_t devices; /* those that CUDA_VISIBLE_DEVICES leaves; a CUdevice counts among them */
    struct vgpu_device device[VGPU_GPUS_MAX];
    struct vgpu_stack *stacks[VGPU_STACK_BUCKETS];
    struct vgpu_context *contexts;
    uint64_t contexts_given;
    struct vgpu_allocation *allocations;
    uint64_t next_address;
    uint64_t next_low_address;
    struct vgpu_physical *physicals;
    uint64_t physicals_given;
    struct vgpu_reservation *reservations;
};

#define VGPU_CUDA(name, when, base, since, parameters, arguments, inputs)                                              \
    CUresult vgpu_##name(struct vgpu_process *process, struct vgpu_call *call VGPU_AND parameters);
#include "cuda/cuda.def"

/* state.c */
int vgpu_cuda_make(struct vgpu_process *process); /* 1, or 0: no memory */

/* init.c */
CUresult vgpu_cuda_initialise(struct vgpu_process *process);

/* visible.c: fills `visible` with indices of the image's GPUs; `list` is the variable's value, NULL if it is not set.
 */
uint32_t vgpu_cuda_visible(const struct vgpu_image *image, const char *list, uint32_t visible[VGPU_GPUS_MAX]);

/* device.c */
struct vgpu_device *vgpu_cuda_device(struct vgpu_process *process, CUdevice dev); /* NULL: there is none */
int32_t vgpu_cuda_attribute(struct vgpu_process *process, const struct vgpu_gpu *gpu, CUdevice_attribute attribute);
uint64_t vgpu_cuda_total(const struct vgpu_device *device);
uint64_t vgpu_cuda_free(const struct vgpu_device *device);
void vgpu_cuda_say_pci(struct vgpu_call *call, const struct vgpu_device *device);

/* stack.c: the calling thread's context stack. */
CUcontext vgpu_stack_top(struct vgpu_cuda *cuda);               /* NULL: empty */
int vgpu_stack_push(struct vgpu_cuda *cuda, CUcontext context); /* 1, or 0: no memory */
void vgpu_stack_pop(struct vgpu_cuda *cuda);                    /* must not be empty */
void vgpu_stacks_free(struct vgpu_cuda *cuda);

/* context.c */
CUresult vgpu_context_check(struct vgpu_process *process, CUcontext context, CUdevice *device);
CUresult vgpu_context_current(struct vgpu_process *process, CUcontext *context, CUdevice *device);
void vgpu_contexts_free(struct vgpu_cuda *cuda);

/* memory.c */
void vgpu_memory_drop(struct vgpu_process *process, CUcontext owner); /* all that the context has allocated */
void vgpu_memory_free_all(struct vgpu_cuda *cuda);

/* vmm.c */
void vgpu_vmm_free_all(struct vgpu_cuda *cuda);

#endif
