/* Physical memory by other ways than its handle: by an address that it is mapped to, and from process to process as a
 * file descriptor. The descriptor is that of a memfd which has the contents, and whose name says of which GPU. */
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "cuda/vmm.h"
#include "vgpu/gpu_text.h"

enum { LINK_SIZE = 128 };

static const char prefix[] = "vgpu-memory-";

CUresult vgpu_cuMemGetAccess(struct vgpu_process *process, struct vgpu_call *call, unsigned long long *flags,
                             const CUmemLocation *location, CUdeviceptr ptr) {
    if (flags == NULL || location == NULL || location->type != VGPU_LOCATION_DEVICE) {
        return CUDA_ERROR_INVALID_VALUE;
    }
    if (vgpu_cuda_device(process, location->id) == NULL) {
        return CUDA_ERROR_INVALID_DEVICE;
    }
    const struct vgpu_region *region = vgpu_region_at(&process->cuda->memory, ptr);
    if (region == NULL || region->kind != VGPU_REGION_MAPPED) {
        return CUDA_ERROR_INVALID_VALUE;
    }
    *flags = region->access[location->id];
    vgpu_call_output(call, flags, sizeof(*flags));
    return CUDA_SUCCESS;
}

CUresult vgpu_cuMemGetAllocationPropertiesFromHandle(struct vgpu_process *process, struct vgpu_call *call,
                                                     CUmemAllocationProp *prop, CUmemGenericAllocationHandle handle) {
    const struct vgpu_physical *physical = vgpu_physical_find(process->cuda, handle);
    if (prop == NULL || physical == NULL) {
        return CUDA_ERROR_INVALID_VALUE;
    }
    *prop = physical->prop;
    vgpu_call_output(call, &prop->type, sizeof(prop->type));
    return CUDA_SUCCESS;
}

/* The handle has one reference more, and must be released once more (doc). */
CUresult vgpu_cuMemRetainAllocationHandle(struct vgpu_process *process, struct vgpu_call *call,
                                          CUmemGenericAllocationHandle *handle, void *addr) {
    const struct vgpu_region *region = vgpu_region_at(&process->cuda->memory, (uint64_t)(uintptr_t)addr);
    if (handle == NULL || region == NULL || region->kind != VGPU_REGION_MAPPED) {
        return CUDA_ERROR_INVALID_VALUE;
    }
    region->physical->references++;
    *handle = region->physical->handle;
    vgpu_call_output(call, handle, sizeof(*handle));
    return CUDA_SUCCESS;
}

CUresult vgpu_cuMemExportToShareableHandle(struct vgpu_process *process, struct vgpu_call *call, void *shareableHandle,
                                           CUmemGenericAllocationHandle handle, CUmemAllocationHandleType handleType,
                                           unsigned long long flags) {
    const struct vgpu_physical *physical = vgpu_physical_find(process->cuda, handle);
    if (shareableHandle == NULL || physical == NULL || flags != 0 || handleType != VGPU_HANDLE_FILE ||
        (physical->prop.requestedHandleTypes & handleType) == 0) {
        return CUDA_ERROR_INVALID_VALUE;
    }
    char name[LINK_SIZE];
    memcpy(name, prefix, sizeof(prefix));
    vgpu_put_uuid(name + sizeof(prefix) - 1, process->cuda->device[physical->prop.location.id].gpu->uuid);
    if (!vgpu_store_share(process, call, physical->store, name)) {
        return CUDA_ERROR_OUT_OF_MEMORY;
    }
    int file = fcntl(physical->store->file, F_DUPFD_CLOEXEC, 0);
    if (file < 0) {
        return CUDA_ERROR_OPERATING_SYSTEM;
    }
    memcpy(shareableHandle, &file, sizeof(file));
    vgpu_call_output(call, shareableHandle, sizeof(file));
    return CUDA_SUCCESS;
}

/* The device whose memory a descriptor is; -1: it is no such descriptor, or the GPU is none of this process's. */
static CUdevice device_of(struct vgpu_process *process, int file) {
    static const char beginning[] = "/memfd:";
    char path[LINK_SIZE];
    char link[LINK_SIZE];
    snprintf(path, sizeof(path), "/proc/self/fd/%d", file);
    ssize_t length = readlink(path, link, sizeof(link) - 1);
    if (length < (ssize_t)(sizeof(beginning) - 1 + sizeof(prefix) - 1)) {
        return -1;
    }
    link[length] = '\0';
    const char *name = link + sizeof(beginning) - 1;
    if (strncmp(link, beginning, sizeof(beginning) - 1) != 0 || strncmp(name, prefix, sizeof(prefix) - 1) != 0) {
        return -1;
    }
    for (uint32_t i = 0; i < process->cuda->devices; i++) {
        char uuid[LINK_SIZE];
        vgpu_put_uuid(uuid, process->cuda->device[i].gpu->uuid);
        if (strncmp(name + sizeof(prefix) - 1, uuid, strlen(uuid)) == 0) {
            return (CUdevice)i;
        }
    }
    return -1;
}

/* The caller keeps its descriptor. What it is imported as is not accounted: its exporter has it on its account. */
CUresult vgpu_cuMemImportFromShareableHandle(struct vgpu_process *process, struct vgpu_call *call,
                                             CUmemGenericAllocationHandle *handle, void *osHandle,
                                             CUmemAllocationHandleType shHandleType) {
    if (handle == NULL) {
        return CUDA_ERROR_INVALID_VALUE;
    }
    if (shHandleType != VGPU_HANDLE_FILE) {
        return CUDA_ERROR_NOT_SUPPORTED;
    }
    struct stat status;
    int given = (int)(uintptr_t)osHandle;
    CUdevice device = device_of(process, given);
    if (device < 0 || fstat(given, &status) != 0 || status.st_size <= 0) {
        return CUDA_ERROR_INVALID_VALUE;
    }
    struct vgpu_memory *memory = &process->cuda->memory;
    int file = fcntl(given, F_DUPFD_CLOEXEC, 0);
    struct vgpu_store *store = file >= 0 ? vgpu_store_new_shared(process, call, file, (uint64_t)status.st_size) : NULL;
    if (store == NULL) {
        if (file >= 0) {
            close(file);
        }
        return CUDA_ERROR_OUT_OF_MEMORY;
    }
    const CUmemAllocationProp prop = {.type = VGPU_ALLOCATION_PINNED,
                                      .requestedHandleTypes = VGPU_HANDLE_FILE,
                                      .location = {VGPU_LOCATION_DEVICE, device}};
    struct vgpu_physical *physical = vgpu_physical_add(process->cuda, &prop, store->size, store);
    if (physical == NULL) {
        vgpu_store_drop(memory, store);
        return CUDA_ERROR_OUT_OF_MEMORY;
    }
    physical->imported = 1;
    *handle = physical->handle;
    vgpu_call_output(call, handle, sizeof(*handle));
    return CUDA_SUCCESS;
}
