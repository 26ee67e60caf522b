/* Structs of nvml.h 13.5 about S-class systems. Written from the documented ABI. */
#ifndef VGPU_NVML_STRUCTS_UNIT_H
#define VGPU_NVML_STRUCTS_UNIT_H

#include "nvml/names.h"

struct nvmlHwbcEntry_st {
    unsigned int hwbcId;
    char firmwareVersion[32];
};

#ifndef VGPU_CDEF
static_assert(sizeof(struct nvmlHwbcEntry_st) == 36, "as nvml.h has it");
#endif

#endif
