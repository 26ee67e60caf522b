/* The list of entry points as data. */
#include "nvml/api.h"

static const struct {
    char name[VGPU_ENTRY_NAME_SIZE];
    int when;
    int modelled;
} entries[] = {
#define VGPU_NVML(name, when, parameters, arguments, inputs) {#name, VGPU_WHEN_##when, 1},
#define VGPU_NVML_UNMODELLED(name, when, parameters, arguments, inputs) {#name, VGPU_WHEN_##when, 0},
#include "nvml/nvml.def"
};

enum { ENTRIES = sizeof(entries) / sizeof(entries[0]) };

const char *vgpu_nvml_name(uint32_t i) {
    return i < ENTRIES ? entries[i].name : NULL;
}

int vgpu_nvml_when(uint32_t i) {
    return i < ENTRIES ? entries[i].when : -1;
}

int vgpu_nvml_modelled(uint32_t i) {
    return i < ENTRIES ? entries[i].modelled : -1;
}
