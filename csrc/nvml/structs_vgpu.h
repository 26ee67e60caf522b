/* Structs of nvml.h 13.5 about virtual GPUs. Written from the documented ABI. */
#ifndef VGPU_NVML_STRUCTS_VGPU_H
#define VGPU_NVML_STRUCTS_VGPU_H

#include "nvml/names.h"

enum vgpu_nvml_grid_size {
    VGPU_NVML_GRID_FEATURES = 3, /* NVML_GRID_LICENSE_FEATURE_MAX_COUNT */
    VGPU_NVML_GRID_TEXT = 128,   /* NVML_GRID_LICENSE_BUFFER_SIZE */
};

struct vgpu_nvml_grid_expiry {
    unsigned int year;
    unsigned short month;
    unsigned short day;
    unsigned short hour;
    unsigned short min;
    unsigned short sec;
    unsigned char status;
};

struct vgpu_nvml_grid_feature {
    int featureCode;
    unsigned int featureState;
    char licenseInfo[VGPU_NVML_GRID_TEXT];
    char productName[VGPU_NVML_GRID_TEXT];
    unsigned int featureEnabled;
    struct vgpu_nvml_grid_expiry licenseExpiry;
};

struct nvmlGridLicensableFeatures_st {
    int isGridLicenseSupported;
    unsigned int licensableFeaturesCount;
    struct vgpu_nvml_grid_feature gridLicensableFeatures[VGPU_NVML_GRID_FEATURES];
};

#ifndef VGPU_CDEF
static_assert(sizeof(struct vgpu_nvml_grid_expiry) == 16, "as nvml.h has it");
static_assert(sizeof(struct vgpu_nvml_grid_feature) == 284, "as nvml.h has it");
static_assert(sizeof(struct nvmlGridLicensableFeatures_st) == 860, "as nvml.h has it");
#endif

#endif
