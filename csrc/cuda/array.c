/* Arrays: made, asked for their shape, ended. They take memory of the device as their elements do, without what
 * NVIDIA's layout adds (own choice). */
#include "cuda/array.h"

#include <stdlib.h>

enum {
    FLAGS = VGPU_ARRAY_LAYERED | VGPU_ARRAY_SURFACE | VGPU_ARRAY_CUBEMAP | VGPU_ARRAY_GATHER | VGPU_ARRAY_DEPTH |
        VGPU_ARRAY_COLOR | VGPU_ARRAY_SPARSE | VGPU_ARRAY_DEFERRED,
    FACES = 6,
};

/* By the numbers of CUarray_format; the packed ones say themselves how many channels they have. Formats of blocks and
 * of video, which have no elements of whole bytes, are not here. */
uint64_t vgpu_array_element(CUarray_format format, unsigned int channels) {
    static const struct {
        int format;
        uint32_t bytes;
        uint32_t channels; /* 0: 1, 2 or 4 of them */
    } formats[] = {
        {0x01, 1, 0}, {0x02, 2, 0}, {0x03, 4, 0}, {0x08, 1, 0}, {0x09, 2, 0}, {0x0a, 4, 0}, {0x10, 2, 0},
        {0x20, 4, 0}, {0xc0, 1, 1}, {0xc1, 1, 2}, {0xc2, 1, 4}, {0xc3, 2, 1}, {0xc4, 2, 2}, {0xc5, 2, 4},
        {0xc6, 1, 1}, {0xc7, 1, 2}, {0xc8, 1, 4}, {0xc9, 2, 1}, {0xca, 2, 2}, {0xcb, 2, 4}, {0x50, 1, 4},
    };
    for (size_t i = 0; i < sizeof(formats) / sizeof(formats[0]); i++) {
        if (formats[i].format == format) {
            int right = formats[i].channels != 0 ? channels == formats[i].channels
                                                 : channels == 1 || channels == 2 || channels == 4;
            return right ? (uint64_t)formats[i].bytes * channels : 0;
        }
    }
    return 0;
}

CUresult vgpu_array_find(struct vgpu_process *process, CUarray handle, struct vgpu_array **array) {
    if (handle == NULL) {
        return CUDA_ERROR_INVALID_HANDLE;
    }
    *array = vgpu_object_find(process, VGPU_OBJECT_ARRAY, handle);
    return *array != NULL ? vgpu_cuda_ready(process) : CUDA_ERROR_INVALID_CONTEXT;
}

CUresult vgpu_array_run(const struct vgpu_array *array, uint64_t offset, uint64_t size, struct vgpu_place *place) {
    if (array->rows != 1 || array->slices != 1 || offset % array->element != 0 || size % array->element != 0 ||
        offset > array->row || size > array->row - offset) {
        return CUDA_ERROR_INVALID_VALUE;
    }
    *place = (struct vgpu_place){array->store, offset};
    return CUDA_SUCCESS;
}

/* The kinds of cuArray3DCreate, by which of the three numbers are 0 (doc). */
static int is_shape(const CUDA_ARRAY3D_DESCRIPTOR *shape) {
    int layered = (shape->Flags & VGPU_ARRAY_LAYERED) != 0;
    int cube = (shape->Flags & VGPU_ARRAY_CUBEMAP) != 0;
    if (shape->Width == 0 || (shape->Height == 0 && shape->Depth != 0 && !layered)) {
        return 0;
    }
    if (layered && shape->Depth == 0) {
        return 0;
    }
    if ((shape->Flags & VGPU_ARRAY_GATHER) != 0 && (shape->Height == 0 || shape->Depth != 0)) {
        return 0;
    }
    return !cube || (shape->Width == shape->Height && (layered ? shape->Depth % FACES == 0 : shape->Depth == FACES));
}

/* The limits of the device, by number of cuDeviceGetAttribute: width, height, depth or layers; 0: it has none. */
static int is_within(struct vgpu_process *process, CUdevice device, const CUDA_ARRAY3D_DESCRIPTOR *shape) {
    static const int limits[][3] = {
        {21, 0, 0},   /* 1D */
        {22, 23, 0},  /* 2D */
        {24, 25, 26}, /* 3D */
        {42, 0, 43},  /* 1D layered */
        {27, 28, 29}, /* 2D layered */
        {52, 52, 0},  /* cube */
        {53, 53, 54}, /* cube, layered */
    };
    int layered = (shape->Flags & VGPU_ARRAY_LAYERED) != 0;
    size_t kind = (shape->Flags & VGPU_ARRAY_CUBEMAP) != 0 ? (layered ? 6 : 5)
                  : layered                                ? (shape->Height == 0 ? 3 : 4)
                  : shape->Depth != 0                      ? 2
                  : shape->Height != 0                     ? 1
                                                           : 0;
    const size_t numbers[] = {shape->Width, shape->Height, shape->Depth};
    for (size_t i = 0; i < 3; i++) {
        int32_t most = limits[kind][i] != 0 ? vgpu_cuda_device_attribute(process, device, limits[kind][i]) : 0;
        if (most > 0 && numbers[i] > (size_t)most) {
            return 0;
        }
    }
    return 1;
}

CUresult vgpu_array_check(struct vgpu_process *process, const CUDA_ARRAY3D_DESCRIPTOR *shape) {
    CUcontext context;
    CUdevice device;
    CUresult refusal = vgpu_context_current(process, &context, &device);
    if (refusal != CUDA_SUCCESS) {
        return refusal;
    }
    if ((shape->Flags & ~(unsigned int)FLAGS) != 0 || vgpu_array_element(shape->Format, shape->NumChannels) == 0 ||
        !is_shape(shape) || !is_within(process, device, shape)) {
        return CUDA_ERROR_INVALID_VALUE;
    }
    /* What has no memory of its own but is mapped to some. */
    int elsewhere = (shape->Flags & (VGPU_ARRAY_SPARSE | VGPU_ARRAY_DEFERRED)) != 0;
    return elsewhere ? CUDA_ERROR_NOT_SUPPORTED : CUDA_SUCCESS;
}

static void end_array(struct vgpu_process *process, struct vgpu_object *object) {
    struct vgpu_array *array = (struct vgpu_array *)object;
    process->cuda->device[array->device].allocated -= array->store->size;
    vgpu_store_drop(&process->cuda->memory, array->store);
    free(array);
}

static uint64_t at_least_1(uint64_t number) {
    return number != 0 ? number : 1;
}

CUresult vgpu_array_new(struct vgpu_process *process, const CUDA_ARRAY3D_DESCRIPTOR *shape, struct vgpu_mipmap *mipmap,
                        struct vgpu_array **array) {
    struct vgpu_array *made = calloc(1, sizeof(*made));
    uint64_t size = 0;
    if (made == NULL) {
        return CUDA_ERROR_OUT_OF_MEMORY;
    }
    made->shape = *shape;
    made->mipmap = mipmap;
    made->element = vgpu_array_element(shape->Format, shape->NumChannels);
    made->rows = at_least_1(shape->Height);
    made->slices = at_least_1(shape->Depth);
    made->object = (struct vgpu_object){.kind = VGPU_OBJECT_ARRAY, .end = end_array};
    vgpu_context_current(process, &made->object.context, &made->device);
    struct vgpu_device *device = &process->cuda->device[made->device];
    if (!__builtin_mul_overflow(made->element, shape->Width, &made->row) &&
        !__builtin_mul_overflow(made->row, made->rows, &size) && !__builtin_mul_overflow(size, made->slices, &size) &&
        size <= vgpu_cuda_free(device)) {
        made->store = vgpu_store_new(size);
    }
    if (made->store == NULL || !vgpu_object_add(process, &made->object)) {
        vgpu_store_drop(&process->cuda->memory, made->store);
        free(made);
        return CUDA_ERROR_OUT_OF_MEMORY;
    }
    device->allocated += size;
    *array = made;
    return CUDA_SUCCESS;
}

static CUresult create(struct vgpu_process *process, struct vgpu_call *call, CUarray *handle,
                       const CUDA_ARRAY3D_DESCRIPTOR *shape) {
    struct vgpu_array *array;
    CUresult refusal = handle != NULL ? vgpu_array_check(process, shape) : CUDA_ERROR_INVALID_VALUE;
    refusal = refusal == CUDA_SUCCESS ? vgpu_array_new(process, shape, NULL, &array) : refusal;
    if (refusal != CUDA_SUCCESS) {
        return refusal;
    }
    *handle = vgpu_object_handle(&array->object);
    vgpu_call_output(call, handle, sizeof(*handle));
    return CUDA_SUCCESS;
}

/* Both forms of a descriptor have the same fields. */
#define FLAT(descriptor)                                                                                               \
    ((CUDA_ARRAY3D_DESCRIPTOR){(descriptor)->Width, (descriptor)->Height, 0, (descriptor)->Format,                     \
                               (descriptor)->NumChannels, 0})
#define SOLID(descriptor)                                                                                              \
    ((CUDA_ARRAY3D_DESCRIPTOR){(descriptor)->Width, (descriptor)->Height, (descriptor)->Depth, (descriptor)->Format,   \
                               (descriptor)->NumChannels, (descriptor)->Flags})
#define CREATE(shape)                                                                                                  \
    do {                                                                                                               \
        if (pAllocateArray == NULL) {                                                                                  \
            return CUDA_ERROR_INVALID_VALUE;                                                                           \
        }                                                                                                              \
        const CUDA_ARRAY3D_DESCRIPTOR wanted = shape(pAllocateArray);                                                  \
        return create(process, call, pHandle, &wanted);                                                                \
    } while (0)

CUresult vgpu_cuArrayCreate_v2(struct vgpu_process *process, struct vgpu_call *call, CUarray *pHandle,
                               const CUDA_ARRAY_DESCRIPTOR *pAllocateArray) {
    CREATE(FLAT);
}

CUresult vgpu_cuArrayCreate(struct vgpu_process *process, struct vgpu_call *call, CUarray *pHandle,
                            const CUDA_ARRAY_DESCRIPTOR_v1 *pAllocateArray) {
    CREATE(FLAT);
}

CUresult vgpu_cuArray3DCreate_v2(struct vgpu_process *process, struct vgpu_call *call, CUarray *pHandle,
                                 const CUDA_ARRAY3D_DESCRIPTOR *pAllocateArray) {
    CREATE(SOLID);
}

CUresult vgpu_cuArray3DCreate(struct vgpu_process *process, struct vgpu_call *call, CUarray *pHandle,
                              const CUDA_ARRAY3D_DESCRIPTOR_v1 *pAllocateArray) {
    CREATE(SOLID);
}

/* NVIDIA's library looks at the handle before it asks for cuInit, and at the output last (measured on 535.261.03). */
#define DESCRIBE(descriptor, type, ...)                                                                                \
    do {                                                                                                               \
        struct vgpu_array *array;                                                                                      \
        CUresult refusal = vgpu_array_find(process, hArray, &array);                                                   \
        if (refusal != CUDA_SUCCESS || (descriptor) == NULL) {                                                         \
            return refusal != CUDA_SUCCESS ? refusal : CUDA_ERROR_INVALID_VALUE;                                       \
        }                                                                                                              \
        *(descriptor) = (type){.Width = (__typeof__((descriptor)->Width))array->shape.Width,                           \
                               .Height = (__typeof__((descriptor)->Height))array->shape.Height,                        \
                               .Format = array->shape.Format,                                                          \
                               .NumChannels = array->shape.NumChannels};                                               \
        __VA_ARGS__                                                                                                    \
        vgpu_call_output(call, &(descriptor)->Width, sizeof((descriptor)->Width));                                     \
        vgpu_call_output(call, &(descriptor)->Height, sizeof((descriptor)->Height));                                   \
        return CUDA_SUCCESS;                                                                                           \
    } while (0)
#define DEPTH(descriptor)                                                                                              \
    (descriptor)->Depth = (__typeof__((descriptor)->Depth))array->shape.Depth;                                         \
    (descriptor)->Flags = array->shape.Flags;

CUresult vgpu_cuArrayGetDescriptor_v2(struct vgpu_process *process, struct vgpu_call *call,
                                      CUDA_ARRAY_DESCRIPTOR *pArrayDescriptor, CUarray hArray) {
    DESCRIBE(pArrayDescriptor, CUDA_ARRAY_DESCRIPTOR, );
}

CUresult vgpu_cuArrayGetDescriptor(struct vgpu_process *process, struct vgpu_call *call,
                                   CUDA_ARRAY_DESCRIPTOR_v1 *pArrayDescriptor, CUarray hArray) {
    DESCRIBE(pArrayDescriptor, CUDA_ARRAY_DESCRIPTOR_v1, );
}

CUresult vgpu_cuArray3DGetDescriptor_v2(struct vgpu_process *process, struct vgpu_call *call,
                                        CUDA_ARRAY3D_DESCRIPTOR *pArrayDescriptor, CUarray hArray) {
    DESCRIBE(pArrayDescriptor, CUDA_ARRAY3D_DESCRIPTOR, DEPTH(pArrayDescriptor));
}

CUresult vgpu_cuArray3DGetDescriptor(struct vgpu_process *process, struct vgpu_call *call,
                                     CUDA_ARRAY3D_DESCRIPTOR_v1 *pArrayDescriptor, CUarray hArray) {
    DESCRIBE(pArrayDescriptor, CUDA_ARRAY3D_DESCRIPTOR_v1, DEPTH(pArrayDescriptor));
}

/* A level of a mipmapped array ends with that, not by itself (own choice). */
CUresult vgpu_cuArrayDestroy(struct vgpu_process *process, struct vgpu_call *call, CUarray hArray) {
    (void)call;
    struct vgpu_array *array;
    CUresult refusal = vgpu_cuda_tried(process);
    refusal = refusal == CUDA_SUCCESS ? vgpu_array_find(process, hArray, &array) : refusal;
    if (refusal != CUDA_SUCCESS) {
        return refusal;
    }
    if (array->mipmap != NULL) {
        return CUDA_ERROR_INVALID_HANDLE;
    }
    vgpu_object_drop(process, &array->object);
    return CUDA_SUCCESS;
}
