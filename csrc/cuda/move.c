/* Copies and fills between any two places. Memory that CUDA does not know of is the program's: its bytes are moved by
 * the kernel (process_vm_readv on the own process), which answers EFAULT where a plain copy would crash. */
#include <errno.h>
#include <string.h>
#include <sys/uio.h>
#include <unistd.h>

#include "cuda/model.h"
#include "vgpu/raw.h"

enum { ZEROS = 65536 };

static const uint8_t zeros[ZEROS];

/* A run of bytes that lies in one store, or in the program's memory. */
struct run {
    struct vgpu_store *store; /* NULL: the program's */
    uint64_t offset;          /* in the store; without one the address */
    uint64_t length;
};

static struct run run_at(const struct vgpu_memory *memory, struct vgpu_place place, uint64_t size) {
    if (place.store != NULL) {
        return (struct run){place.store, place.at, size};
    }
    const struct vgpu_region *region = vgpu_region_at(memory, place.at);
    if (region != NULL) {
        uint64_t inside = place.at - region->address;
        uint64_t left = region->size - inside;
        return (struct run){region->store, region->offset + inside, left < size ? left : size};
    }
    const struct vgpu_region *next = vgpu_region_after(memory, place.at);
    uint64_t left = next != NULL ? next->address - place.at : size;
    return (struct run){NULL, place.at, left < size ? left : size};
}

/* Where the kernel refuses the call as such (a filter of system calls), it is a plain copy. */
static int by_kernel(int writing, void *ours, uint64_t address, uint64_t length) {
    while (length > 0) {
        struct iovec here = {ours, length};
        struct iovec there = {(void *)(uintptr_t)address, length};
        long number = writing ? SYS_process_vm_writev : SYS_process_vm_readv;
        long done = vgpu_raw6(number, getpid(), (long)&here, 1, (long)&there, 1, 0);
        if (done < 0 && done != -EFAULT) {
            memmove(writing ? there.iov_base : ours, writing ? ours : there.iov_base, length);
            return 1;
        }
        if (done <= 0) {
            return 0;
        }
        ours = (uint8_t *)ours + done;
        address += (uint64_t)done;
        length -= (uint64_t)done;
    }
    return 1;
}

static CUresult put_zeros(struct vgpu_process *process, struct vgpu_call *call, const struct run *to) {
    for (uint64_t done = 0; done < to->length;) {
        uint64_t length = to->length - done;
        if (to->store == NULL) {
            length = length < ZEROS ? length : ZEROS;
            if (!by_kernel(1, (void *)(uintptr_t)zeros, to->offset + done, length)) {
                return CUDA_ERROR_INVALID_VALUE;
            }
        } else if (vgpu_store_read(to->store, to->offset + done, &length) != NULL) {
            memset(vgpu_store_write(process, call, to->store, to->offset + done, length), 0, length);
        }
        done += length;
    }
    return CUDA_SUCCESS;
}

/* `to` and `from` are of one length. */
static CUresult move_run(struct vgpu_process *process, struct vgpu_call *call, const struct run *to,
                         const struct run *from, const uint8_t *bytes) {
    void *room = (void *)(uintptr_t)to->offset;
    if (to->store != NULL) {
        room = vgpu_store_write(process, call, to->store, to->offset, to->length);
        if (room == NULL) {
            return CUDA_ERROR_OUT_OF_MEMORY;
        }
    }
    if (from->store == NULL) {
        return by_kernel(0, room, from->offset, to->length) ? CUDA_SUCCESS : CUDA_ERROR_INVALID_VALUE;
    }
    if (to->store == NULL) {
        return by_kernel(1, (void *)(uintptr_t)bytes, to->offset, to->length) ? CUDA_SUCCESS : CUDA_ERROR_INVALID_VALUE;
    }
    memmove(room, bytes, to->length);
    return CUDA_SUCCESS;
}

static CUresult move_forward(struct vgpu_process *process, struct vgpu_call *call, struct vgpu_place to,
                             struct vgpu_place from, uint64_t size) {
    const struct vgpu_memory *memory = &process->cuda->memory;
    while (size > 0) {
        struct run source = run_at(memory, from, size);
        struct run target = run_at(memory, to, source.length);
        uint64_t length = target.length;
        const uint8_t *bytes =
            source.store != NULL ? vgpu_store_read(source.store, source.offset, &length) : (const uint8_t *)"";
        source.length = target.length = length;
        CUresult failure =
            bytes == NULL ? put_zeros(process, call, &target) : move_run(process, call, &target, &source, bytes);
        if (failure != CUDA_SUCCESS) {
            return failure;
        }
        to.at += length;
        from.at += length;
        size -= length;
    }
    return CUDA_SUCCESS;
}

/* Both lie in one store, and the end of the source is the beginning of the target. cuda.h leaves open what comes of
 * it; here it is what memmove does. */
static int is_overlap(const struct run *to, const struct run *from, uint64_t size) {
    return to->store != NULL && to->store == from->store && to->length == size && from->length == size &&
           to->offset > from->offset && to->offset - from->offset < size;
}

CUresult vgpu_move(struct vgpu_process *process, struct vgpu_call *call, struct vgpu_place to, struct vgpu_place from,
                   uint64_t size) {
    if (size == 0) {
        return CUDA_SUCCESS;
    }
    struct run source = run_at(&process->cuda->memory, from, size);
    struct run target = run_at(&process->cuda->memory, to, size);
    if (!is_overlap(&target, &source, size)) {
        return move_forward(process, call, to, from, size);
    }
    uint8_t *room = vgpu_store_write(process, call, target.store, target.offset, size);
    if (room == NULL) {
        return CUDA_ERROR_OUT_OF_MEMORY;
    }
    memmove(room, target.store->bytes + source.offset, size);
    return CUDA_SUCCESS;
}

static void put_elements(uint8_t *room, uint32_t element, uint32_t width, uint64_t size) {
    if (width == 1) {
        memset(room, (int)element, size);
        return;
    }
    if (width == 2) {
        for (uint16_t *at = (uint16_t *)(void *)room; size > 0; size -= width) {
            *at++ = (uint16_t)element;
        }
        return;
    }
    for (uint32_t *at = (uint32_t *)(void *)room; size > 0; size -= width) {
        *at++ = element;
    }
}

CUresult vgpu_fill(struct vgpu_process *process, struct vgpu_call *call, struct vgpu_place to, uint32_t element,
                   uint32_t width, uint64_t size) {
    while (size > 0) {
        struct run target = run_at(&process->cuda->memory, to, size);
        if (target.store == NULL) {
            return CUDA_ERROR_INVALID_VALUE;
        }
        if (element == 0) {
            put_zeros(process, call, &target);
        } else {
            uint8_t *room = vgpu_store_write(process, call, target.store, target.offset, target.length);
            if (room == NULL) {
                return CUDA_ERROR_OUT_OF_MEMORY;
            }
            put_elements(room, element, width, target.length);
        }
        to.at += target.length;
        size -= target.length;
    }
    return CUDA_SUCCESS;
}

/* The bytes from `address` on that belong to one allocation: a copy may go over neighbouring mappings of one reserved
 * range. 0: `device` has no such access there. */
static uint64_t usable(const struct vgpu_memory *memory, const struct vgpu_region *region, CUdevice device,
                       uint64_t address, uint64_t size, int access) {
    uint64_t end = address;
    while (region != NULL && end - address < size) {
        if (region->kind == VGPU_REGION_MAPPED && (region->access[device] & access) != access) {
            return 0;
        }
        end = region->address + region->size;
        const struct vgpu_region *next = region->kind == VGPU_REGION_MAPPED ? vgpu_region_at(memory, end) : NULL;
        region = next != NULL && next->reservation == region->reservation ? next : NULL;
    }
    return end - address;
}

CUresult vgpu_reach(struct vgpu_process *process, CUdevice device, uint64_t address, uint64_t size, int access,
                    int host) {
    const struct vgpu_memory *memory = &process->cuda->memory;
    const struct vgpu_region *region = vgpu_region_at(memory, address);
    if (region != NULL) {
        return usable(memory, region, device, address, size, access) >= size ? CUDA_SUCCESS : CUDA_ERROR_INVALID_VALUE;
    }
    if (!host || address == 0 || address >= VGPU_USER_SPACE_END || size > VGPU_USER_SPACE_END - address) {
        return CUDA_ERROR_INVALID_VALUE;
    }
    return CUDA_SUCCESS;
}
