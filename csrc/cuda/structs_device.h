/* The struct of cuDeviceGetProperties. Written from the documented ABI; its size is tested. */
#ifndef VGPU_CUDA_STRUCTS_DEVICE_H
#define VGPU_CUDA_STRUCTS_DEVICE_H

#include "cuda/names.h"

struct CUdevprop_st {
    int maxThreadsPerBlock;
    int maxThreadsDim[3];
    int maxGridSize[3];
    int sharedMemPerBlock;
    int totalConstantMemory;
    int SIMDWidth;
    int memPitch;
    int regsPerBlock;
    int clockRate;
    int textureAlign;
};

#ifndef VGPU_CDEF
static_assert(sizeof(struct CUdevprop_st) == 56, "as cuda.h has it");
#endif

#endif
