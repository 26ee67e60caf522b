/* Arrays, textures, surfaces, tensor maps: as cuda.h 13.5 lays them out. */
#ifndef VGPU_CUDA_STRUCTS_TEXTURE_H
#define VGPU_CUDA_STRUCTS_TEXTURE_H

#include "cuda/names.h"

enum vgpu_array_flag {
    VGPU_ARRAY_LAYERED = 0x01,
    VGPU_ARRAY_SURFACE = 0x02,
    VGPU_ARRAY_CUBEMAP = 0x04,
    VGPU_ARRAY_GATHER = 0x08,
    VGPU_ARRAY_DEPTH = 0x10,
    VGPU_ARRAY_COLOR = 0x20,
    VGPU_ARRAY_SPARSE = 0x40,
    VGPU_ARRAY_DEFERRED = 0x80,
};

struct CUDA_ARRAY_DESCRIPTOR_st {
    size_t Width;
    size_t Height;
    CUarray_format Format;
    unsigned int NumChannels;
};

struct CUDA_ARRAY_DESCRIPTOR_v1_st {
    unsigned int Width;
    unsigned int Height;
    CUarray_format Format;
    unsigned int NumChannels;
};

struct CUDA_ARRAY3D_DESCRIPTOR_st {
    size_t Width;
    size_t Height;
    size_t Depth;
    CUarray_format Format;
    unsigned int NumChannels;
    unsigned int Flags;
};

struct CUDA_ARRAY3D_DESCRIPTOR_v1_st {
    unsigned int Width;
    unsigned int Height;
    unsigned int Depth;
    CUarray_format Format;
    unsigned int NumChannels;
    unsigned int Flags;
};

enum vgpu_resource_type {
    VGPU_RESOURCE_ARRAY = 0,
    VGPU_RESOURCE_MIPMAP = 1,
    VGPU_RESOURCE_LINEAR = 2,
    VGPU_RESOURCE_PITCH_2D = 3,
};

struct CUDA_RESOURCE_DESC_st {
    int resType; /* enum vgpu_resource_type */
    union {
        struct {
            CUarray hArray;
        } array;
        struct {
            CUmipmappedArray hMipmappedArray;
        } mipmap;
        struct {
            CUdeviceptr devPtr;
            CUarray_format format;
            unsigned int numChannels;
            size_t sizeInBytes;
        } linear;
        struct {
            CUdeviceptr devPtr;
            CUarray_format format;
            unsigned int numChannels;
            size_t width;
            size_t height;
            size_t pitchInBytes;
        } pitch2D;
        struct {
            int reserved[32];
        } reserved;
    } res;
    unsigned int flags;
};

enum vgpu_texture_number {
    VGPU_ADDRESS_MODES = 4, /* wrap, clamp, mirror, border: 0 to 3 */
    VGPU_ADDRESS_CLAMP = 1,
    VGPU_FILTER_MODES = 2, /* point, linear */
    VGPU_TEXTURE_DIMENSIONS = 3,
    VGPU_VIEW_FORMATS = 0x23,
    VGPU_TEXTURE_FLAGS = 0x73, /* integers, normalized, sRGB, no trilinear optimization, seamless */
    VGPU_OVERRIDE_FORMAT = 1,  /* the one flag of cuTexRefSetArray; it must be set */
};

struct CUDA_TEXTURE_DESC_st {
    CUaddress_mode addressMode[3];
    CUfilter_mode filterMode;
    unsigned int flags;
    unsigned int maxAnisotropy;
    CUfilter_mode mipmapFilterMode;
    float mipmapLevelBias;
    float minMipmapLevelClamp;
    float maxMipmapLevelClamp;
    float borderColor[4];
    int reserved[12];
};

struct CUDA_RESOURCE_VIEW_DESC_st {
    int format;
    size_t width;
    size_t height;
    size_t depth;
    unsigned int firstMipmapLevel;
    unsigned int lastMipmapLevel;
    unsigned int firstLayer;
    unsigned int lastLayer;
    unsigned int reserved[16];
};

/* cuda.h aligns it to 128 bytes; what a caller passes is checked, not taken for granted. */
struct CUtensorMap_st {
    cuuint64_t opaque[16];
};

#ifndef VGPU_CDEF
static_assert(sizeof(CUDA_ARRAY_DESCRIPTOR) == 24, "as cuda.h has it");
static_assert(sizeof(CUDA_ARRAY_DESCRIPTOR_v1) == 16, "as cuda.h has it");
static_assert(sizeof(CUDA_ARRAY3D_DESCRIPTOR) == 40, "as cuda.h has it");
static_assert(sizeof(CUDA_ARRAY3D_DESCRIPTOR_v1) == 24, "as cuda.h has it");
static_assert(sizeof(CUDA_RESOURCE_DESC) == 144, "as cuda.h has it");
static_assert(sizeof(CUDA_TEXTURE_DESC) == 104, "as cuda.h has it");
static_assert(sizeof(CUDA_RESOURCE_VIEW_DESC) == 112, "as cuda.h has it");
static_assert(sizeof(CUtensorMap) == 128, "as cuda.h has it");
#endif

#endif
