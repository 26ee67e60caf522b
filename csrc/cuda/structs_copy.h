/* What copies are described with, as cuda.h 13.5 lays it out; the _v1 forms are of the time of 32-bit addresses. */
#ifndef VGPU_CUDA_STRUCTS_COPY_H
#define VGPU_CUDA_STRUCTS_COPY_H

#include "cuda/names.h"

typedef int CUmemorytype; /* an enum in cuda.h */

enum vgpu_memory_type {
    VGPU_MEMORY_HOST = 1,
    VGPU_MEMORY_DEVICE = 2,
    VGPU_MEMORY_ARRAY = 3,
    VGPU_MEMORY_UNIFIED = 4,
};

struct CUDA_MEMCPY2D_st {
    size_t srcXInBytes;
    size_t srcY;
    CUmemorytype srcMemoryType;
    const void *srcHost;
    CUdeviceptr srcDevice;
    CUarray srcArray;
    size_t srcPitch;
    size_t dstXInBytes;
    size_t dstY;
    CUmemorytype dstMemoryType;
    void *dstHost;
    CUdeviceptr dstDevice;
    CUarray dstArray;
    size_t dstPitch;
    size_t WidthInBytes;
    size_t Height;
};

struct CUDA_MEMCPY2D_v1_st {
    unsigned int srcXInBytes;
    unsigned int srcY;
    CUmemorytype srcMemoryType;
    const void *srcHost;
    CUdeviceptr_v1 srcDevice;
    CUarray srcArray;
    unsigned int srcPitch;
    unsigned int dstXInBytes;
    unsigned int dstY;
    CUmemorytype dstMemoryType;
    void *dstHost;
    CUdeviceptr_v1 dstDevice;
    CUarray dstArray;
    unsigned int dstPitch;
    unsigned int WidthInBytes;
    unsigned int Height;
};

struct CUDA_MEMCPY3D_st {
    size_t srcXInBytes;
    size_t srcY;
    size_t srcZ;
    size_t srcLOD;
    CUmemorytype srcMemoryType;
    const void *srcHost;
    CUdeviceptr srcDevice;
    CUarray srcArray;
    void *reserved0;
    size_t srcPitch;
    size_t srcHeight;
    size_t dstXInBytes;
    size_t dstY;
    size_t dstZ;
    size_t dstLOD;
    CUmemorytype dstMemoryType;
    void *dstHost;
    CUdeviceptr dstDevice;
    CUarray dstArray;
    void *reserved1;
    size_t dstPitch;
    size_t dstHeight;
    size_t WidthInBytes;
    size_t Height;
    size_t Depth;
};

struct CUDA_MEMCPY3D_v1_st {
    unsigned int srcXInBytes;
    unsigned int srcY;
    unsigned int srcZ;
    unsigned int srcLOD;
    CUmemorytype srcMemoryType;
    const void *srcHost;
    CUdeviceptr_v1 srcDevice;
    CUarray srcArray;
    void *reserved0;
    unsigned int srcPitch;
    unsigned int srcHeight;
    unsigned int dstXInBytes;
    unsigned int dstY;
    unsigned int dstZ;
    unsigned int dstLOD;
    CUmemorytype dstMemoryType;
    void *dstHost;
    CUdeviceptr_v1 dstDevice;
    CUarray dstArray;
    void *reserved1;
    unsigned int dstPitch;
    unsigned int dstHeight;
    unsigned int WidthInBytes;
    unsigned int Height;
    unsigned int Depth;
};

struct CUDA_MEMCPY3D_PEER_st {
    size_t srcXInBytes;
    size_t srcY;
    size_t srcZ;
    size_t srcLOD;
    CUmemorytype srcMemoryType;
    const void *srcHost;
    CUdeviceptr srcDevice;
    CUarray srcArray;
    CUcontext srcContext;
    size_t srcPitch;
    size_t srcHeight;
    size_t dstXInBytes;
    size_t dstY;
    size_t dstZ;
    size_t dstLOD;
    CUmemorytype dstMemoryType;
    void *dstHost;
    CUdeviceptr dstDevice;
    CUarray dstArray;
    CUcontext dstContext;
    size_t dstPitch;
    size_t dstHeight;
    size_t WidthInBytes;
    size_t Height;
    size_t Depth;
};

struct CUmemcpyAttributes_st {
    int srcAccessOrder; /* 1 to 3: in stream order, during the call, at any time */
    CUmemLocation srcLocHint;
    CUmemLocation dstLocHint;
    unsigned int flags;
};

enum vgpu_operand_type {
    VGPU_OPERAND_POINTER = 1,
    VGPU_OPERAND_ARRAY = 2,
};

typedef struct CUmemcpy3DOperand_st {
    int type; /* enum vgpu_operand_type */
    union {
        struct {
            CUdeviceptr ptr;
            size_t rowLength; /* in elements */
            size_t layerHeight;
            CUmemLocation locHint;
        } ptr;
        struct {
            CUarray array;
            struct {
                size_t x;
                size_t y;
                size_t z;
            } offset;
        } array;
    } op;
} CUmemcpy3DOperand;

struct CUDA_MEMCPY3D_BATCH_OP_st {
    CUmemcpy3DOperand src;
    CUmemcpy3DOperand dst;
    struct {
        size_t width;
        size_t height;
        size_t depth;
    } extent;
    int srcAccessOrder;
    unsigned int flags;
};

#ifndef VGPU_CDEF
static_assert(sizeof(CUDA_MEMCPY2D) == 128, "as cuda.h has it");
static_assert(sizeof(CUDA_MEMCPY2D_v1) == 96, "as cuda.h has it");
static_assert(sizeof(CUDA_MEMCPY3D) == 200, "as cuda.h has it");
static_assert(sizeof(CUDA_MEMCPY3D_v1) == 144, "as cuda.h has it");
static_assert(sizeof(CUDA_MEMCPY3D_PEER) == 200, "as cuda.h has it");
static_assert(sizeof(CUmemcpyAttributes) == 24, "as cuda.h has it");
static_assert(sizeof(CUDA_MEMCPY3D_BATCH_OP) == 112, "as cuda.h has it");
#endif

#endif
