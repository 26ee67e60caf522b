/* Multi-instance GPUs: GPU instances, and compute instances in them. Each compute instance is a MIG device. */
#ifndef VGPU_NVML_MIG_H
#define VGPU_NVML_MIG_H

#include "nvml/ask.h"
#include "nvml/structs_mig.h"

enum { VGPU_NVML_INSTANCES = 8, VGPU_NVML_COMPUTE_PROFILES = 9 };

struct nvmlComputeInstance_st {
    int used;
    struct nvmlGpuInstance_st *parent;
    unsigned int start; /* first compute slice within the GPU instance */
    struct vgpu_mig_device device;
};

struct nvmlGpuInstance_st {
    int used;
    uint32_t gpu; /* its place */
    unsigned int id;
    unsigned int start; /* first memory slice */
    const struct vgpu_mig_profile *profile;
    struct nvmlComputeInstance_st compute[VGPU_NVML_INSTANCES];
};

struct vgpu_nvml_mig {
    struct nvmlGpuInstance_st instance[VGPU_GPUS_MAX][VGPU_NVML_INSTANCES];
};

/* mig.c: the instances of a GPU, VGPU_NVML_INSTANCES of them, those of the host image at first; NULL: no memory. */
struct nvmlGpuInstance_st *vgpu_nvml_instances(struct vgpu_process *process, const struct vgpu_gpu *gpu);
int vgpu_nvml_has_mig(struct vgpu_process *process, const struct vgpu_gpu *gpu);
int vgpu_nvml_mig_is_on(struct vgpu_process *process, const struct vgpu_gpu *gpu);

/* 1: this process of the host image runs in this compute instance; any does. */
int vgpu_nvml_runs_on(struct vgpu_process *process, const struct vgpu_gpu *gpu, const struct vgpu_gpu_process *user,
                      const struct vgpu_mig_device *device);
int vgpu_nvml_mig_is_used(struct vgpu_process *process, const struct vgpu_gpu *gpu,
                          const struct vgpu_mig_device *device);

/* NULL if it is no instance of ours. */
struct nvmlGpuInstance_st *vgpu_nvml_gpu_instance(struct vgpu_process *process, nvmlGpuInstance_t handle);

/* mig_compute.c: slices of a compute profile in a GPU instance, 0: it does not fit. */
unsigned int vgpu_nvml_compute_slices(const struct nvmlGpuInstance_st *instance, unsigned int profile);

#endif
