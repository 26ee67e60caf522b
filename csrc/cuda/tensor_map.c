/* Tensor maps. What is asked for is checked as cuda.h 13.5 says; the 128 bytes, which are the driver's own business,
 * have all of it in an order of ours. No kernel runs that would read them. */
#include <string.h>

#include "cuda/model.h"
#include "cuda/structs_texture.h"

enum {
    MAP_ALIGNMENT = 64,
    RANK_MAX = 5,
    BOX_MAX = 256,
    PIXELS_MAX = 1024,
    ELEMENT_STRIDE_MAX = 8,
    ALIGNMENT = 16,
    WIDE_ALIGNMENT = 32,
    PACKED_BOX = 128,
    INTERLEAVE_32B = 2,
    ATTRIBUTE_TENSOR_MAP = 127,
};

#define DIMENSION_MAX ((uint64_t)1 << 31)
#define STRIDE_END ((uint64_t)1 << 40)

enum data_type { PACKED_4_ALIGN_8 = 13, PACKED_4_ALIGN_16 = 14, PACKED_6_ALIGN_16 = 15, DATA_TYPES = 16 };

/* Bits of an element, by number of CUtensorMapDataType. */
static const uint8_t element_bits[DATA_TYPES] = {8, 16, 32, 32, 64, 64, 16, 32, 64, 16, 32, 32, 32, 4, 4, 6};

/* What both encodings have. */
struct tensor {
    CUtensorMapDataType type;
    cuuint32_t rank;
    const void *address;
    const cuuint64_t *dimensions;
    const cuuint64_t *strides;
    const cuuint32_t *steps;
    CUtensorMapInterleave interleave;
    CUtensorMapSwizzle swizzle;
    CUtensorMapL2promotion promotion;
    CUtensorMapFloatOOBfill fill;
};

/* Our order of the 128 bytes. */
struct encoded {
    uint64_t address;
    uint8_t type;
    uint8_t rank;
    uint8_t options[4];
    uint8_t steps[RANK_MAX];
    uint8_t is_im2col;
    uint32_t last[RANK_MAX]; /* a dimension less 1 */
    uint16_t box[RANK_MAX];  /* im2col: channels and pixels */
    uint16_t corners[6];
    uint64_t strides[RANK_MAX - 1];
};

static_assert(sizeof(struct encoded) <= sizeof(CUtensorMap), "it fits the map");

static int is_wide(CUtensorMapDataType type) {
    return type == PACKED_4_ALIGN_16 || type == PACKED_6_ALIGN_16;
}

static int is_float(CUtensorMapDataType type) {
    return type >= 6 && type <= 12;
}

static int are_options(const struct tensor *tensor) {
    return tensor->type >= 0 && tensor->type < DATA_TYPES && tensor->interleave >= 0 &&
           tensor->interleave <= INTERLEAVE_32B && tensor->swizzle >= 0 && tensor->swizzle <= 6 &&
           tensor->promotion >= 0 && tensor->promotion <= 3 &&
           (tensor->fill == 0 || (tensor->fill == 1 && is_float(tensor->type))) &&
           (tensor->interleave != INTERLEAVE_32B || tensor->swizzle == 1) &&
           (tensor->type != PACKED_6_ALIGN_16 || tensor->interleave == 0);
}

static int are_dimensions(const struct tensor *tensor) {
    uint64_t alignment = tensor->interleave == INTERLEAVE_32B || is_wide(tensor->type) ? WIDE_ALIGNMENT : ALIGNMENT;
    if ((uintptr_t)tensor->address % alignment != 0 || tensor->dimensions == NULL || tensor->steps == NULL ||
        (tensor->strides == NULL && tensor->rank > 1)) {
        return 0;
    }
    for (cuuint32_t i = 0; i < tensor->rank; i++) {
        int ignored = i == 0 && tensor->interleave == 0;
        if (tensor->dimensions[i] == 0 || tensor->dimensions[i] > DIMENSION_MAX ||
            (!ignored && (tensor->steps[i] == 0 || tensor->steps[i] > ELEMENT_STRIDE_MAX))) {
            return 0;
        }
    }
    for (cuuint32_t i = 0; i + 1 < tensor->rank; i++) {
        if (tensor->strides[i] % alignment != 0 || tensor->strides[i] >= STRIDE_END) {
            return 0;
        }
    }
    return (!is_wide(tensor->type) || tensor->dimensions[0] % PACKED_BOX == 0) &&
           (tensor->type != PACKED_4_ALIGN_8 || tensor->dimensions[0] % 2 == 0);
}

/* The innermost run of a box. */
static int is_inner(const struct tensor *tensor, uint64_t elements) {
    static const uint8_t spans[] = {0, 32, 64, 128, 128, 128, 128};
    uint64_t bits = elements * element_bits[tensor->type];
    if (is_wide(tensor->type) && elements != PACKED_BOX) {
        return 0;
    }
    return tensor->interleave != 0 ||
           (bits % (8 * ALIGNMENT) == 0 && (tensor->swizzle == 0 || bits <= 8u * spans[tensor->swizzle]));
}

/* Maps are of the current device where there is one; without a context of any there is nothing to ask (own choice). */
static CUresult check_map(struct vgpu_process *process, const CUtensorMap *map) {
    CUcontext context;
    CUdevice device;
    if (map == NULL || (uintptr_t)map % MAP_ALIGNMENT != 0) {
        return CUDA_ERROR_INVALID_VALUE;
    }
    int known = vgpu_context_current(process, &context, &device) == CUDA_SUCCESS;
    return known && vgpu_cuda_device_attribute(process, device, ATTRIBUTE_TENSOR_MAP) == 0 ? CUDA_ERROR_NOT_SUPPORTED
                                                                                           : CUDA_SUCCESS;
}

static struct encoded encode(const struct tensor *tensor) {
    struct encoded map = {.address = (uint64_t)(uintptr_t)tensor->address,
                          .type = (uint8_t)tensor->type,
                          .rank = (uint8_t)tensor->rank,
                          .options = {(uint8_t)tensor->interleave, (uint8_t)tensor->swizzle, (uint8_t)tensor->promotion,
                                      (uint8_t)tensor->fill}};
    for (cuuint32_t i = 0; i < tensor->rank; i++) {
        map.last[i] = (uint32_t)(tensor->dimensions[i] - 1);
        map.steps[i] = (uint8_t)tensor->steps[i];
    }
    for (cuuint32_t i = 0; i + 1 < tensor->rank; i++) {
        map.strides[i] = tensor->strides[i];
    }
    return map;
}

static CUresult give(struct vgpu_call *call, CUtensorMap *map, const struct encoded *encoded) {
    memset(map, 0, sizeof(*map));
    memcpy(map, encoded, sizeof(*encoded));
    vgpu_call_output(call, map, sizeof(map->opaque[0]));
    return CUDA_SUCCESS;
}

CUresult vgpu_cuTensorMapEncodeTiled(struct vgpu_process *process, struct vgpu_call *call, CUtensorMap *tensorMap,
                                     CUtensorMapDataType tensorDataType, cuuint32_t tensorRank, void *globalAddress,
                                     const cuuint64_t *globalDim, const cuuint64_t *globalStrides,
                                     const cuuint32_t *boxDim, const cuuint32_t *elementStrides,
                                     CUtensorMapInterleave interleave, CUtensorMapSwizzle swizzle,
                                     CUtensorMapL2promotion l2Promotion, CUtensorMapFloatOOBfill oobFill) {
    const struct tensor tensor = {tensorDataType, tensorRank, globalAddress, globalDim,   globalStrides,
                                  elementStrides, interleave, swizzle,       l2Promotion, oobFill};
    CUresult refusal = check_map(process, tensorMap);
    if (refusal != CUDA_SUCCESS) {
        return refusal;
    }
    if (tensorRank == 0 || tensorRank > RANK_MAX || (interleave != 0 && tensorRank < 3) || boxDim == NULL ||
        !are_options(&tensor) || !are_dimensions(&tensor) || !is_inner(&tensor, boxDim[0])) {
        return CUDA_ERROR_INVALID_VALUE;
    }
    struct encoded map = encode(&tensor);
    for (cuuint32_t i = 0; i < tensorRank; i++) {
        if (boxDim[i] == 0 || boxDim[i] > BOX_MAX) {
            return CUDA_ERROR_INVALID_VALUE;
        }
        map.box[i] = (uint16_t)boxDim[i];
    }
    return give(call, tensorMap, &map);
}

/* A corner has 16 bits for one dimension of pixels, 8 for each of two, 5 for each of three (doc). */
static int is_corner(int offset, cuuint32_t rank) {
    int most = rank == 3 ? 32768 : rank == 4 ? 128 : 16;
    return offset >= -most && offset < most;
}

CUresult vgpu_cuTensorMapEncodeIm2col(struct vgpu_process *process, struct vgpu_call *call, CUtensorMap *tensorMap,
                                      CUtensorMapDataType tensorDataType, cuuint32_t tensorRank, void *globalAddress,
                                      const cuuint64_t *globalDim, const cuuint64_t *globalStrides,
                                      const int *pixelBoxLowerCorner, const int *pixelBoxUpperCorner,
                                      cuuint32_t channelsPerPixel, cuuint32_t pixelsPerColumn,
                                      const cuuint32_t *elementStrides, CUtensorMapInterleave interleave,
                                      CUtensorMapSwizzle swizzle, CUtensorMapL2promotion l2Promotion,
                                      CUtensorMapFloatOOBfill oobFill) {
    const struct tensor tensor = {tensorDataType, tensorRank, globalAddress, globalDim,   globalStrides,
                                  elementStrides, interleave, swizzle,       l2Promotion, oobFill};
    CUresult refusal = check_map(process, tensorMap);
    if (refusal != CUDA_SUCCESS) {
        return refusal;
    }
    if (tensorRank < 3 || tensorRank > RANK_MAX || pixelBoxLowerCorner == NULL || pixelBoxUpperCorner == NULL ||
        channelsPerPixel == 0 || channelsPerPixel > BOX_MAX || pixelsPerColumn == 0 || pixelsPerColumn > PIXELS_MAX ||
        !are_options(&tensor) || !are_dimensions(&tensor) || !is_inner(&tensor, channelsPerPixel)) {
        return CUDA_ERROR_INVALID_VALUE;
    }
    struct encoded map = encode(&tensor);
    map.is_im2col = 1;
    map.box[0] = (uint16_t)channelsPerPixel;
    map.box[1] = (uint16_t)pixelsPerColumn;
    for (cuuint32_t i = 0; i + 2 < tensorRank; i++) {
        if (!is_corner(pixelBoxLowerCorner[i], tensorRank) || !is_corner(pixelBoxUpperCorner[i], tensorRank)) {
            return CUDA_ERROR_INVALID_VALUE;
        }
        map.corners[i] = (uint16_t)pixelBoxLowerCorner[i];
        map.corners[3 + i] = (uint16_t)pixelBoxUpperCorner[i];
    }
    return give(call, tensorMap, &map);
}

CUresult vgpu_cuTensorMapReplaceAddress(struct vgpu_process *process, struct vgpu_call *call, CUtensorMap *tensorMap,
                                        void *globalAddress) {
    CUresult refusal = check_map(process, tensorMap);
    if (refusal != CUDA_SUCCESS) {
        return refusal;
    }
    struct encoded map;
    memcpy(&map, tensorMap, sizeof(map));
    int wide = map.options[0] == INTERLEAVE_32B || is_wide(map.type);
    if (map.rank == 0 || (uintptr_t)globalAddress % (wide ? WIDE_ALIGNMENT : ALIGNMENT) != 0) {
        return CUDA_ERROR_INVALID_VALUE;
    }
    map.address = (uint64_t)(uintptr_t)globalAddress;
    return give(call, tensorMap, &map);
}
