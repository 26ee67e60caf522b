/* Memory and events that several processes use. Exported memory moves into a memfd; its handle says in which process
 * that is open, and /proc/PID/fd leads there, for who may trace that process: its own user. */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "cuda/event.h"

enum {
    OPEN_LAZILY = 1, /* CU_IPC_MEM_LAZY_ENABLE_PEER_ACCESS: the only flags there are */
    DMA_BUF = 1,     /* CU_MEM_RANGE_HANDLE_TYPE_DMA_BUF_FD */
    OVER_PCIE = 1,   /* its only flag */
    PATH_SIZE = 64,
};

static const char magic[8] = "VGPUIPC";

/* What is in a CUipcMemHandle. */
struct handle {
    char magic[8];
    int32_t pid;
    int32_t file;
    uint64_t inode;
    uint64_t size;
    uint64_t id; /* of the region: two allocations never have one handle */
    uint8_t uuid[VGPU_UUID_BYTES];
    uint64_t reserved;
};

static_assert(sizeof(struct handle) == sizeof(CUipcMemHandle), "it fills the handle");

static CUresult current(struct vgpu_process *process, CUcontext *context, CUdevice *device) {
    CUresult refusal = vgpu_cuda_ready(process);
    return refusal == CUDA_SUCCESS ? vgpu_context_current(process, context, device) : refusal;
}

CUresult vgpu_cuIpcGetMemHandle(struct vgpu_process *process, struct vgpu_call *call, CUipcMemHandle *pHandle,
                                CUdeviceptr dptr) {
    CUcontext context;
    CUdevice device;
    CUresult refusal = pHandle != NULL ? current(process, &context, &device) : CUDA_ERROR_INVALID_VALUE;
    if (refusal != CUDA_SUCCESS) {
        return refusal;
    }
    const struct vgpu_region *region = vgpu_region_at(&process->cuda->memory, dptr);
    if (region == NULL || region->kind != VGPU_REGION_DEVICE) {
        return CUDA_ERROR_INVALID_VALUE;
    }
    struct stat status;
    if (!vgpu_store_share(process, call, region->store, "vgpu-ipc") || fstat(region->store->file, &status) != 0) {
        return CUDA_ERROR_OUT_OF_MEMORY;
    }
    struct handle handle = {
        .pid = getpid(), .file = region->store->file, .inode = status.st_ino, .size = region->size, .id = region->id};
    memcpy(handle.magic, magic, sizeof(magic));
    memcpy(handle.uuid, process->cuda->device[region->device].gpu->uuid, sizeof(handle.uuid));
    memcpy(pHandle, &handle, sizeof(handle));
    return CUDA_SUCCESS;
}

/* The exporter's memfd; -1: it is no longer there, or not ours to open. */
static int open_file(const struct handle *handle) {
    char path[PATH_SIZE];
    struct stat status;
    snprintf(path, sizeof(path), "/proc/%d/fd/%d", handle->pid, handle->file);
    int file = open(path, O_RDWR | O_CLOEXEC);
    if (file >= 0 &&
        (fstat(file, &status) != 0 || status.st_ino != handle->inode || (uint64_t)status.st_size < handle->size)) {
        close(file);
        return -1;
    }
    return file;
}

static struct vgpu_region *find_open(const struct vgpu_memory *memory, CUcontext context, const struct handle *handle) {
    for (size_t i = 0; i < memory->count; i++) {
        struct vgpu_region *region = memory->regions[i];
        if (region->kind == VGPU_REGION_IPC && region->owner == context && region->inode == handle->inode) {
            return region;
        }
    }
    return NULL;
}

static CUresult open_handle(struct vgpu_process *process, struct vgpu_call *call, const struct handle *handle,
                            struct vgpu_region *region) {
    struct vgpu_memory *memory = &process->cuda->memory;
    int file = open_file(handle);
    if (file < 0) {
        return CUDA_ERROR_MAP_FAILED;
    }
    region->size = handle->size;
    region->inode = handle->inode;
    region->store = vgpu_store_new_shared(process, call, file, handle->size);
    if (region->store == NULL) {
        close(file);
        return CUDA_ERROR_OUT_OF_MEMORY;
    }
    region->address = vgpu_region_new_address(memory, handle->size, 0);
    if (region->address == 0 || vgpu_region_add(memory, region) == NULL) {
        vgpu_store_drop(memory, region->store);
        return CUDA_ERROR_OUT_OF_MEMORY;
    }
    return CUDA_SUCCESS;
}

/* The flags are looked at before cuInit is asked for (measured on 535.261.03). What is opened again in the same context
 * is the same address, and must be closed as often (doc). A process cannot open what it has exported itself. */
CUresult vgpu_cuIpcOpenMemHandle_v2(struct vgpu_process *process, struct vgpu_call *call, CUdeviceptr *pdptr,
                                    CUipcMemHandle handle, unsigned int Flags) {
    if (pdptr == NULL || Flags != OPEN_LAZILY) {
        return CUDA_ERROR_INVALID_VALUE;
    }
    struct vgpu_region region = {.kind = VGPU_REGION_IPC, .opened = 1};
    CUresult refusal = current(process, &region.owner, &region.device);
    if (refusal != CUDA_SUCCESS) {
        return refusal;
    }
    struct handle wanted;
    memcpy(&wanted, &handle, sizeof(wanted));
    if (memcmp(wanted.magic, magic, sizeof(magic)) != 0 || wanted.size == 0) {
        return CUDA_ERROR_INVALID_VALUE;
    }
    if (wanted.pid == getpid()) {
        return CUDA_ERROR_INVALID_CONTEXT;
    }
    struct vgpu_region *opened = find_open(&process->cuda->memory, region.owner, &wanted);
    if (opened != NULL) {
        opened->opened++;
        region.address = opened->address;
    } else {
        refusal = open_handle(process, call, &wanted, &region);
    }
    if (refusal != CUDA_SUCCESS) {
        return refusal;
    }
    *pdptr = region.address;
    vgpu_call_output(call, pdptr, sizeof(*pdptr));
    return CUDA_SUCCESS;
}

CUresult vgpu_cuIpcOpenMemHandle(struct vgpu_process *process, struct vgpu_call *call, CUdeviceptr *pdptr,
                                 CUipcMemHandle handle, unsigned int Flags) {
    return vgpu_cuIpcOpenMemHandle_v2(process, call, pdptr, handle, Flags);
}

CUresult vgpu_cuIpcCloseMemHandle(struct vgpu_process *process, struct vgpu_call *call, CUdeviceptr dptr) {
    (void)call;
    CUcontext context;
    CUdevice device;
    CUresult refusal = vgpu_context_current(process, &context, &device);
    if (refusal != CUDA_SUCCESS) {
        return refusal;
    }
    struct vgpu_region *region = vgpu_region_at(&process->cuda->memory, dptr);
    if (region == NULL || region->kind != VGPU_REGION_IPC || region->address != dptr) {
        return CUDA_ERROR_INVALID_VALUE;
    }
    if (--region->opened == 0) {
        vgpu_region_remove(process->cuda, region);
    }
    return CUDA_SUCCESS;
}

static const char event_magic[8] = "VGPUEVT";

/* What is in a CUipcEventHandle. */
struct event_handle {
    char magic[8];
    int32_t pid;
    int32_t reserved;
    uint64_t event; /* two events never have one handle */
    uint8_t uuid[VGPU_UUID_BYTES];
    uint64_t rest[3];
};

static_assert(sizeof(struct event_handle) == sizeof(CUipcEventHandle), "it fills the handle");

/* Only events that were made for it (doc). */
CUresult vgpu_cuIpcGetEventHandle(struct vgpu_process *process, struct vgpu_call *call, CUipcEventHandle *pHandle,
                                  CUevent event) {
    (void)call;
    CUcontext context;
    CUdevice device;
    CUresult refusal = pHandle != NULL ? current(process, &context, &device) : CUDA_ERROR_INVALID_VALUE;
    if (refusal != CUDA_SUCCESS) {
        return refusal;
    }
    const struct vgpu_cuda_event *found = vgpu_event_find(process, event);
    if (found == NULL || (found->flags & VGPU_EVENT_INTERPROCESS) == 0) {
        return CUDA_ERROR_INVALID_HANDLE;
    }
    refusal = vgpu_context_check(process, found->object.context, &device);
    if (refusal != CUDA_SUCCESS) {
        return refusal;
    }
    struct event_handle handle = {.pid = getpid(), .event = found->object.handle};
    memcpy(handle.magic, event_magic, sizeof(event_magic));
    memcpy(handle.uuid, process->cuda->device[device].gpu->uuid, sizeof(handle.uuid));
    memcpy(pHandle, &handle, sizeof(handle));
    return CUDA_SUCCESS;
}

/* Work is done when it has been asked for, in the other process as well: there is never anything to wait for, and the
 * new event stands for that. As with memory, a process cannot open what it has exported itself (own choice). */
CUresult vgpu_cuIpcOpenEventHandle(struct vgpu_process *process, struct vgpu_call *call, CUevent *phEvent,
                                   CUipcEventHandle handle) {
    CUcontext context;
    CUdevice device;
    CUresult refusal = phEvent != NULL ? current(process, &context, &device) : CUDA_ERROR_INVALID_VALUE;
    if (refusal != CUDA_SUCCESS) {
        return refusal;
    }
    struct event_handle wanted;
    memcpy(&wanted, &handle, sizeof(wanted));
    if (memcmp(wanted.magic, event_magic, sizeof(event_magic)) != 0 || wanted.pid <= 0 ||
        (kill(wanted.pid, 0) != 0 && errno == ESRCH)) {
        return CUDA_ERROR_INVALID_HANDLE;
    }
    if (wanted.pid == getpid()) {
        return CUDA_ERROR_INVALID_CONTEXT;
    }
    return vgpu_event_new(process, call, context, VGPU_EVENT_DISABLE_TIMING | VGPU_EVENT_INTERPROCESS, phEvent);
}

/* The kernel has no dma-buf of memory that is not there. What is asked for is looked at before cuInit (measured on
 * 535.261.03). */
CUresult vgpu_cuMemGetHandleForAddressRange(struct vgpu_process *process, struct vgpu_call *call, void *handle,
                                            CUdeviceptr dptr, size_t size, CUmemRangeHandleType handleType,
                                            unsigned long long flags) {
    (void)call;
    if (handle == NULL || handleType != DMA_BUF || (flags & ~(unsigned long long)OVER_PCIE) != 0) {
        return CUDA_ERROR_INVALID_VALUE;
    }
    CUcontext context;
    CUdevice device;
    CUresult refusal = current(process, &context, &device);
    refusal = refusal == CUDA_SUCCESS ? vgpu_reach(process, device, dptr, size, VGPU_ACCESS_READ, 0) : refusal;
    return refusal != CUDA_SUCCESS ? refusal : CUDA_ERROR_NOT_SUPPORTED;
}
