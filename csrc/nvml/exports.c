/* The public face of libvgpu-nvml.so: each entry point is one line. */
#include "nvml/api.h"

#define VGPU_NVML(name, when, parameters, arguments, inputs) VGPU_EXPORT nvmlReturn_t name VGPU_PARAMETERS parameters;
#define VGPU_NVML_TEXT(name, parameters, arguments, inputs) VGPU_EXPORT const char *name VGPU_PARAMETERS parameters;
#include "nvml/nvml.def"

#define VGPU_NVML(name, when, parameters, arguments, inputs)                                                           \
    nvmlReturn_t name VGPU_PARAMETERS parameters {                                                                     \
        return vgpu_from_##name(vgpu_self(), VGPU_CALLER VGPU_AND arguments);                                          \
    }
#define VGPU_NVML_TEXT(name, parameters, arguments, inputs)                                                            \
    const char *name VGPU_PARAMETERS parameters {                                                                      \
        return vgpu_from_##name(vgpu_self(), VGPU_CALLER VGPU_AND arguments);                                          \
    }
#include "nvml/nvml.def"
