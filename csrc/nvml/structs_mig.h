/* Structs of nvml.h 13.5 about multi-instance GPUs. Written from the documented ABI. */
#ifndef VGPU_NVML_STRUCTS_MIG_H
#define VGPU_NVML_STRUCTS_MIG_H

#include "nvml/names.h"
#include "vgpu/wire.h"

/* What both versions of each struct have. */
#define VGPU_GPU_INSTANCE_PROFILE                                                                                      \
    unsigned int id;                                                                                                   \
    unsigned int isP2pSupported;                                                                                       \
    unsigned int sliceCount;                                                                                           \
    unsigned int instanceCount;                                                                                        \
    unsigned int multiprocessorCount;                                                                                  \
    unsigned int copyEngineCount;                                                                                      \
    unsigned int decoderCount;                                                                                         \
    unsigned int encoderCount;                                                                                         \
    unsigned int jpegCount;                                                                                            \
    unsigned int ofaCount;                                                                                             \
    unsigned long long memorySizeMB
#define VGPU_COMPUTE_INSTANCE_PROFILE                                                                                  \
    unsigned int id;                                                                                                   \
    unsigned int sliceCount;                                                                                           \
    unsigned int instanceCount;                                                                                        \
    unsigned int multiprocessorCount;                                                                                  \
    unsigned int sharedCopyEngineCount;                                                                                \
    unsigned int sharedDecoderCount;                                                                                   \
    unsigned int sharedEncoderCount;                                                                                   \
    unsigned int sharedJpegCount;                                                                                      \
    unsigned int sharedOfaCount

struct nvmlGpuInstancePlacement_st {
    unsigned int start;
    unsigned int size;
};

struct nvmlGpuInstanceProfileInfo_st {
    VGPU_GPU_INSTANCE_PROFILE;
};

struct nvmlGpuInstanceProfileInfo_v2_st {
    unsigned int version;
    VGPU_GPU_INSTANCE_PROFILE;
    char name[VGPU_NAME_SIZE];
};

struct nvmlGpuInstanceInfo_st {
    nvmlDevice_t device;
    unsigned int id;
    unsigned int profileId;
    nvmlGpuInstancePlacement_t placement;
};

struct nvmlComputeInstancePlacement_st {
    unsigned int start;
    unsigned int size;
};

struct nvmlComputeInstanceProfileInfo_st {
    VGPU_COMPUTE_INSTANCE_PROFILE;
};

struct nvmlComputeInstanceProfileInfo_v2_st {
    unsigned int version;
    VGPU_COMPUTE_INSTANCE_PROFILE;
    char name[VGPU_NAME_SIZE];
};

struct nvmlComputeInstanceInfo_st {
    nvmlDevice_t device;
    nvmlGpuInstance_t gpuInstance;
    unsigned int id;
    unsigned int profileId;
    nvmlComputeInstancePlacement_t placement;
};

struct nvmlDeviceAttributes_st {
    unsigned int multiprocessorCount;
    unsigned int sharedCopyEngineCount;
    unsigned int sharedDecoderCount;
    unsigned int sharedEncoderCount;
    unsigned int sharedJpegCount;
    unsigned int sharedOfaCount;
    unsigned int gpuInstanceSliceCount;
    unsigned int computeInstanceSliceCount;
    unsigned long long memorySizeMB;
};

#ifndef VGPU_CDEF
static_assert(sizeof(struct nvmlGpuInstanceProfileInfo_st) == 48, "as nvml.h has it");
static_assert(sizeof(struct nvmlGpuInstanceProfileInfo_v2_st) == 152, "as nvml.h has it");
static_assert(sizeof(struct nvmlGpuInstanceInfo_st) == 24, "as nvml.h has it");
static_assert(sizeof(struct nvmlComputeInstanceProfileInfo_st) == 36, "as nvml.h has it");
static_assert(sizeof(struct nvmlComputeInstanceProfileInfo_v2_st) == 136, "as nvml.h has it");
static_assert(sizeof(struct nvmlComputeInstanceInfo_st) == 32, "as nvml.h has it");
static_assert(sizeof(struct nvmlDeviceAttributes_st) == 40, "as nvml.h has it");
#endif

#endif
