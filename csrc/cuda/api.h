/* What the CUDA room offers: for each entry point a function that takes the state of a process.
 *
 *   vgpu_call_cuInit(process, flags)          as a test calls it
 *   vgpu_from_cuInit(process, caller, flags)  as the exported cuInit calls it, with its return address */
#ifndef VGPU_CUDA_API_H
#define VGPU_CUDA_API_H

#include "cuda/names.h"
#include "vgpu/process.h"

/* The same helper as in vgpu/call.h, which cffi does not read. */
#ifdef VGPU_CDEF
#undef VGPU_AND
#define VGPU_AND(...) , ##__VA_ARGS__
#else
#include "vgpu/call.h"
#endif

#define VGPU_CUDA(name, when, base, since, parameters, arguments, inputs)                                              \
    CUresult vgpu_call_##name(struct vgpu_process *process VGPU_AND parameters);
#include "cuda/cuda.def"

/* The list itself, for tests: names in the list's order, NULL past its end; and each name's enum vgpu_when. */
const char *vgpu_cuda_name(uint32_t i);
int vgpu_cuda_when(uint32_t i);

/* Whether there is a model behind name i: 1 or 0, -1 past the end. */
int vgpu_cuda_modelled(uint32_t i);

/* What cuGetProcAddress knows name i by, and from which version on; NULL and 0: not at all. */
const char *vgpu_cuda_base(uint32_t i);
int vgpu_cuda_since(uint32_t i);

/* Which entry point a function that cuGetProcAddress has answered is, or NULL. */
const char *vgpu_cuda_name_of(const void *function);

#ifndef VGPU_CDEF
#define VGPU_CUDA(name, when, base, since, parameters, arguments, inputs)                                              \
    CUresult vgpu_from_##name(struct vgpu_process *process, uint64_t caller VGPU_AND parameters);
#include "cuda/cuda.def"

enum vgpu_cuda_entry {
#define VGPU_CUDA(name, when, base, since, parameters, arguments, inputs) VGPU_CUDA_ENTRY_##name,
#include "cuda/cuda.def"
};

/* What cuGetProcAddress answers for name i: the exported function. In a module without exports (the tests') it is its
 * vgpu_call_ function. A switch and not a table of addresses, which ld.so would have to fill in at the start of every
 * program (benchmarks/start.py). */
typedef void (*vgpu_cuda_function)(void);
vgpu_cuda_function vgpu_cuda_function_at(uint32_t i);
#endif

#endif
