/* The list of entry points as data. */
#include "cuda/api.h"

static const struct {
    char name[VGPU_ENTRY_NAME_SIZE];
    char base[VGPU_ENTRY_NAME_SIZE];
    int when;
    int since;
    int modelled;
} entries[] = {
#define VGPU_CUDA(name, when, base, since, parameters, arguments, inputs) {#name, #base, VGPU_WHEN_##when, since, 1},
#define VGPU_CUDA_UNMODELLED(name, when, base, since, parameters, arguments, inputs)                                   \
    {#name, #base, VGPU_WHEN_##when, since, 0},
#include "cuda/cuda.def"
};

enum { ENTRIES = sizeof(entries) / sizeof(entries[0]) };

const char *vgpu_cuda_name(uint32_t i) {
    return i < ENTRIES ? entries[i].name : NULL;
}

int vgpu_cuda_when(uint32_t i) {
    return i < ENTRIES ? entries[i].when : -1;
}

int vgpu_cuda_modelled(uint32_t i) {
    return i < ENTRIES ? entries[i].modelled : -1;
}

const char *vgpu_cuda_base(uint32_t i) {
    return i < ENTRIES && entries[i].since != 0 ? entries[i].base : NULL;
}

int vgpu_cuda_since(uint32_t i) {
    return i < ENTRIES ? entries[i].since : 0;
}

const char *vgpu_cuda_name_of(const void *function) {
    for (uint32_t i = 0; i < ENTRIES; i++) {
        if ((const void *)vgpu_cuda_function_at(i) == function) {
            return entries[i].name;
        }
    }
    return NULL;
}
