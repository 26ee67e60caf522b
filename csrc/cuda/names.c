/* The list of entry points as data. */
#include "cuda/api.h"

static const struct {
    const char *name;
    int when;
} entries[] = {
#define VGPU_CUDA(name, when, base, since, parameters, arguments, inputs) {#name, VGPU_WHEN_##when},
#include "cuda/cuda.def"
};

enum { ENTRIES = sizeof(entries) / sizeof(entries[0]) };

const char *vgpu_cuda_name(uint32_t i) {
    return i < ENTRIES ? entries[i].name : NULL;
}

int vgpu_cuda_when(uint32_t i) {
    return i < ENTRIES ? entries[i].when : -1;
}

const char *vgpu_cuda_name_of(const void *function) {
    for (uint32_t i = 0; i < ENTRIES; i++) {
        if ((const void *)vgpu_cuda_functions[i] == function) {
            return entries[i].name;
        }
    }
    return NULL;
}
