/* Addresses: a sorted array of regions, since a device's addresses only rise and a new one nearly always goes last. */
#include <stdlib.h>
#include <string.h>

#include "cuda/model.h"

#define LOW_BASE 0x10000000ull
#define ALIGNMENT 512ull /* what NVIDIA's allocator aligns to (CUDA C++ Programming Guide: at least 256) */

enum { FIRST_ROOM = 64 };

/* How many regions begin at the address or before it. */
static size_t position(const struct vgpu_memory *memory, uint64_t address) {
    size_t low = 0;
    size_t high = memory->count;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if (memory->regions[middle]->address <= address) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    return low;
}

struct vgpu_region *vgpu_region_at(const struct vgpu_memory *memory, uint64_t address) {
    size_t at = position(memory, address);
    struct vgpu_region *region = at != 0 ? memory->regions[at - 1] : NULL;
    return region != NULL && address - region->address < region->size ? region : NULL;
}

struct vgpu_region *vgpu_region_after(const struct vgpu_memory *memory, uint64_t address) {
    size_t at = position(memory, address);
    return at < memory->count ? memory->regions[at] : NULL;
}

int vgpu_region_is_free(const struct vgpu_memory *memory, uint64_t address, uint64_t size) {
    const struct vgpu_region *next = vgpu_region_after(memory, address);
    return vgpu_region_at(memory, address) == NULL && (next == NULL || next->address - address >= size);
}

struct vgpu_region *vgpu_region_add(struct vgpu_memory *memory, const struct vgpu_region *region) {
    if (memory->count == memory->room) {
        size_t room = memory->room == 0 ? FIRST_ROOM : 2 * memory->room;
        struct vgpu_region **regions = realloc(memory->regions, room * sizeof(*regions));
        if (regions == NULL) {
            return NULL;
        }
        memory->regions = regions;
        memory->room = room;
    }
    struct vgpu_region *added = malloc(sizeof(*added));
    if (added == NULL) {
        return NULL;
    }
    *added = *region;
    added->id = ++memory->ids;
    size_t at = position(memory, region->address);
    memmove(&memory->regions[at + 1], &memory->regions[at], (memory->count - at) * sizeof(*memory->regions));
    memory->regions[at] = added;
    memory->count++;
    return added;
}

/* What it held; it is no longer in the array. */
static void end(struct vgpu_cuda *cuda, struct vgpu_region *region) {
    if (region->kind == VGPU_REGION_DEVICE) {
        cuda->device[region->device].allocated -= region->size;
    }
    if (region->pool != NULL) {
        vgpu_pool_give_back(cuda, region->pool, region->size);
    }
    if (region->block != NULL) {
        vgpu_graph_memory_gone(cuda, region->block);
    }
    vgpu_store_drop(&cuda->memory, region->store);
    if (region->physical != NULL) {
        vgpu_mapping_gone(cuda, region);
    }
    vgpu_advice_free(region->advice);
    free(region);
}

void vgpu_region_remove(struct vgpu_cuda *cuda, struct vgpu_region *region) {
    struct vgpu_memory *memory = &cuda->memory;
    size_t at = position(memory, region->address) - 1;
    memory->count--;
    memmove(&memory->regions[at], &memory->regions[at + 1], (memory->count - at) * sizeof(*memory->regions));
    end(cuda, region);
}

void vgpu_memory_drop(struct vgpu_process *process, CUcontext owner) {
    struct vgpu_memory *memory = &process->cuda->memory;
    size_t kept = 0;
    for (size_t i = 0; i < memory->count; i++) {
        struct vgpu_region *region = memory->regions[i];
        if (region->owner == owner) {
            end(process->cuda, region);
        } else {
            memory->regions[kept++] = region;
        }
    }
    memory->count = kept;
}

void vgpu_memory_free_all(struct vgpu_cuda *cuda) {
    struct vgpu_memory *memory = &cuda->memory;
    for (size_t i = 0; i < memory->count; i++) {
        end(cuda, memory->regions[i]);
    }
    free(memory->regions);
    memory->regions = NULL;
    memory->count = 0;
    memory->room = 0;
}

static uint64_t take(uint64_t *next, uint64_t base, uint64_t size, uint64_t last) {
    uint64_t address = *next != 0 ? *next : base;
    if (size > last - address || ALIGNMENT > last - address - size) {
        return 0;
    }
    *next = (address + size + ALIGNMENT - 1) / ALIGNMENT * ALIGNMENT;
    return address;
}

uint64_t vgpu_region_new_address(struct vgpu_memory *memory, uint64_t size, int low) {
    return low ? take(&memory->next_low_address, LOW_BASE, size, UINT32_MAX)
               : take(&memory->next_address, VGPU_USER_SPACE_END, size, UINT64_MAX);
}
