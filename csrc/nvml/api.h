/* What the NVML room offers: for each entry point a function that takes the state of a process.
 *
 *   vgpu_call_nvmlInit_v2(process)          as a test calls it
 *   vgpu_from_nvmlInit_v2(process, caller)  as the exported nvmlInit_v2 calls it, with its return address */
#ifndef VGPU_NVML_API_H
#define VGPU_NVML_API_H

#include "nvml/names.h"
#include "vgpu/process.h"

/* The same helper as in vgpu/call.h, which cffi does not read. */
#ifdef VGPU_CDEF
#undef VGPU_AND
#define VGPU_AND(...) , ##__VA_ARGS__
#else
#include "vgpu/call.h"
#endif

#define VGPU_NVML(name, when, parameters, arguments, inputs)                                                           \
    nvmlReturn_t vgpu_call_##name(struct vgpu_process *process VGPU_AND parameters);
#define VGPU_NVML_TEXT(name, parameters, arguments, inputs)                                                            \
    const char *vgpu_call_##name(struct vgpu_process *process VGPU_AND parameters);
#include "nvml/nvml.def"

/* The list itself, for tests: names in the list's order, NULL past its end; and each name's enum vgpu_when. */
const char *vgpu_nvml_name(uint32_t i);
int vgpu_nvml_when(uint32_t i);

/* Whether there is a model behind name i: 1 or 0, -1 past the end. */
int vgpu_nvml_modelled(uint32_t i);

#ifndef VGPU_CDEF
#define VGPU_NVML(name, when, parameters, arguments, inputs)                                                           \
    nvmlReturn_t vgpu_from_##name(struct vgpu_process *process, uint64_t caller VGPU_AND parameters);
#define VGPU_NVML_TEXT(name, parameters, arguments, inputs)                                                            \
    const char *vgpu_from_##name(struct vgpu_process *process, uint64_t caller VGPU_AND parameters);
#include "nvml/nvml.def"
#endif

#endif
