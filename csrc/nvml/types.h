/* The types of nvml.h 12.9 that the entry points take. Written from the documented ABI; sizes are tested. */
#ifndef VGPU_NVML_TYPES_H
#define VGPU_NVML_TYPES_H

#ifndef VGPU_CDEF
#include <assert.h>
#include <stddef.h>
#include <stdint.h>
#endif

typedef enum nvmlReturn_enum {
#define VGPU_NVML_CODE(name, number, text) name = number,
#include "nvml/errors.def"
} nvmlReturn_t;

typedef struct nvmlDevice_st *nvmlDevice_t;
typedef unsigned int nvmlDeviceArchitecture_t;

enum vgpu_nvml_size {
    VGPU_NVML_PCI_V2 = 16, /* NVML_DEVICE_PCI_BUS_ID_BUFFER_V2_SIZE */
    VGPU_NVML_PCI = 32,    /* NVML_DEVICE_PCI_BUS_ID_BUFFER_SIZE */
};

/* NVML_DEVICE_ARCH_*, the lowest compute capability of each architecture beside it. */
enum vgpu_nvml_architecture {
    VGPU_ARCHITECTURE_KEPLER = 2,     /* 3.0 */
    VGPU_ARCHITECTURE_MAXWELL = 3,    /* 5.0 */
    VGPU_ARCHITECTURE_PASCAL = 4,     /* 6.0 */
    VGPU_ARCHITECTURE_VOLTA = 5,      /* 7.0 */
    VGPU_ARCHITECTURE_TURING = 6,     /* 7.5 */
    VGPU_ARCHITECTURE_AMPERE = 7,     /* 8.0 */
    VGPU_ARCHITECTURE_ADA = 8,        /* 8.9 */
    VGPU_ARCHITECTURE_HOPPER = 9,     /* 9.0 */
    VGPU_ARCHITECTURE_BLACKWELL = 10, /* 10.0 */
};

/* Plain nvmlDeviceGetPciInfo writes no more than this. */
typedef struct nvmlPciInfo_v1_st {
    char busId[VGPU_NVML_PCI_V2];
    unsigned int domain;
    unsigned int bus;
    unsigned int device;
    unsigned int pciDeviceId;
} nvmlPciInfo_v1_t;

typedef struct nvmlPciInfo_v2_st {
    char busId[VGPU_NVML_PCI_V2];
    unsigned int domain;
    unsigned int bus;
    unsigned int device;
    unsigned int pciDeviceId;
    unsigned int pciSubSystemId;
    unsigned int reserved[4];
} nvmlPciInfo_v2_t;

typedef struct nvmlPciInfo_st {
    char busIdLegacy[VGPU_NVML_PCI_V2];
    unsigned int domain;
    unsigned int bus;
    unsigned int device;
    unsigned int pciDeviceId;
    unsigned int pciSubSystemId;
    char busId[VGPU_NVML_PCI];
} nvmlPciInfo_t;

typedef struct nvmlMemory_st {
    unsigned long long total;
    unsigned long long free;
    unsigned long long used;
} nvmlMemory_t;

typedef struct nvmlMemory_v2_st {
    unsigned int version;
    unsigned long long total;
    unsigned long long reserved;
    unsigned long long free;
    unsigned long long used;
} nvmlMemory_v2_t;

#ifndef VGPU_CDEF
static_assert(sizeof(nvmlReturn_t) == 4, "an enum is an int");
static_assert(sizeof(nvmlPciInfo_v1_t) == 32, "as nvml.h 1 had it");
static_assert(sizeof(nvmlPciInfo_v2_t) == 52, "as nvml.h 2.285 had it");
static_assert(sizeof(nvmlPciInfo_t) == 68, "as nvml.h has it");
static_assert(sizeof(nvmlMemory_t) == 24, "as nvml.h has it");
static_assert(sizeof(nvmlMemory_v2_t) == 40, "as nvml.h has it");
#endif

#endif
