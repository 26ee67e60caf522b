/* The public face of libvgpu-cuda.so: each entry point is one line. */
#include "cuda/api.h"

#define VGPU_CUDA(name, when, base, since, parameters, arguments, inputs)                                              \
    VGPU_EXPORT CUresult name VGPU_PARAMETERS parameters;
#include "cuda/cuda.def"

#define VGPU_CUDA(name, when, base, since, parameters, arguments, inputs)                                              \
    CUresult name VGPU_PARAMETERS parameters {                                                                         \
        return vgpu_from_##name(vgpu_self(), VGPU_CALLER VGPU_AND arguments);                                          \
    }
#include "cuda/cuda.def"

/* Hidden second names: a reference to the public one would be bound to whichever library comes first in the process. */
#define VGPU_CUDA(name, when, base, since, parameters, arguments, inputs)                                              \
    extern __typeof__(name) vgpu_own_##name __attribute__((alias(#name), visibility("hidden")));
#include "cuda/cuda.def"

vgpu_cuda_function vgpu_cuda_function_at(uint32_t i) {
    switch (i) {
#define VGPU_CUDA(name, when, base, since, parameters, arguments, inputs)                                              \
    case VGPU_CUDA_ENTRY_##name:                                                                                       \
        return (vgpu_cuda_function)vgpu_own_##name;
#include "cuda/cuda.def"
    default:
        return NULL;
    }
}
