/* Events: sets of them, what they record, and waiting.
 *
 * What can happen to a simulated GPU: it falls off the bus (a fault of the host file), which is XID 79; it is taken out
 * of service or put back, which is a system event. Each set tells each event once. */
#include <stdlib.h>
#include <time.h>

#include "nvml/structs_event.h"
#include "nvml/usage.h"
#include "vgpu/fault.h"
#include "vgpu/image.h"

/* nvmlEventType* */
enum {
    SINGLE_BIT = 0x1,
    DOUBLE_BIT = 0x2,
    PSTATE = 0x4,
    XID = 0x8,
    CLOCK = 0x10,
    MIG_CONFIG = 0x100,
    STORM = 0x200,
    DRAM_RETIREMENT = 0x400,
    DRAM_FAILURE = 0x800,
    POISON = 0x1000,
    FATAL_POISON = 0x2000,
    UNAVAILABLE = 0x4000,
    RECOVERY = 0x8000,
    ALL = 0xFF9F, /* bits 5 and 6 have no event */
};
enum { UNBIND = 1, BIND = 2, SYSTEM_ALL = 3 }; /* nvmlSystemEventType* */
enum { XID_OFF_THE_BUS = 79, NO_INSTANCE = -1, SLICE_MS = 5 };

struct nvmlEventSet_st {
    struct nvmlEventSet_st *next;
    uint32_t number; /* tells it from a later one at the same address */
    int system;
    unsigned long long types[VGPU_GPUS_MAX]; /* of GPU events that are recorded */
    unsigned long long system_types;
    uint32_t told_lost; /* bit N: of GPU N the loss has been told, or came before the registration */
    uint32_t removed;   /* bit N: GPU N was out of service when last told of */
};

void vgpu_nvml_free_events(struct vgpu_nvml *nvml) {
    while (nvml->event_sets != NULL) {
        struct nvmlEventSet_st *set = nvml->event_sets;
        nvml->event_sets = set->next;
        free(set);
    }
}

/* Where the list has the set; NULL: it is none of that kind. */
static struct nvmlEventSet_st **find(struct vgpu_process *process, const struct nvmlEventSet_st *set, int system) {
    for (struct nvmlEventSet_st **at = &process->nvml->event_sets; *at != NULL; at = &(*at)->next) {
        if (*at == set && set->system == system) {
            return at;
        }
    }
    return NULL;
}

/* Without saying that the call is about the GPU: then it would end as one to a lost GPU does. */
static uint32_t lost_gpus(const struct vgpu_process *process) {
    uint32_t lost = 0;
    for (uint32_t i = 0; i < process->image->gpus.count; i++) {
        lost |= (uint32_t)vgpu_gpu_is_lost(process, i) << i;
    }
    return lost;
}

static uint32_t removed_gpus(struct vgpu_process *process) {
    uint32_t removed = 0;
    for (uint32_t i = 0; i < process->image->gpus.count; i++) {
        removed |= (uint32_t)vgpu_nvml_is_removed(process, i) << i;
    }
    return removed;
}

static nvmlReturn_t create(struct vgpu_process *process, int system, struct nvmlEventSet_st **to) {
    struct nvmlEventSet_st *set = calloc(1, sizeof(*set));
    if (set == NULL) {
        return NVML_ERROR_MEMORY;
    }
    set->number = process->nvml->event_sets_made++;
    set->system = system;
    set->next = process->nvml->event_sets;
    process->nvml->event_sets = set;
    *to = set;
    return NVML_SUCCESS;
}

static nvmlReturn_t destroy(struct vgpu_process *process, struct nvmlEventSet_st *set, int system) {
    struct nvmlEventSet_st **at = find(process, set, system);
    if (at == NULL) {
        return NVML_ERROR_INVALID_ARGUMENT;
    }
    *at = set->next;
    free(set);
    return NVML_SUCCESS;
}

nvmlReturn_t vgpu_nvmlEventSetCreate(struct vgpu_process *process, struct vgpu_call *call, nvmlEventSet_t *set) {
    (void)call;
    return set != NULL ? create(process, 0, set) : NVML_ERROR_INVALID_ARGUMENT;
}

nvmlReturn_t vgpu_nvmlEventSetFree(struct vgpu_process *process, struct vgpu_call *call, nvmlEventSet_t set) {
    (void)call;
    return destroy(process, set, 0);
}

static unsigned long long supported(struct vgpu_process *process, const struct vgpu_gpu *gpu) {
    int64_t mig;
    unsigned long long types = PSTATE | XID | CLOCK;
    if (vgpu_nvml_has_ecc(process, gpu)) {
        types |= SINGLE_BIT | DOUBLE_BIT | STORM | DRAM_RETIREMENT | DRAM_FAILURE;
    }
    if (vgpu_nvml_get(process, gpu, VGPU_PROPERTY_MIG, 0, &mig)) {
        types |= MIG_CONFIG;
    }
    return vgpu_nvml_is_since(gpu, 9, 0) ? types | POISON | FATAL_POISON | UNAVAILABLE | RECOVERY : types;
}

nvmlReturn_t vgpu_nvmlDeviceGetSupportedEventTypes(struct vgpu_process *process, struct vgpu_call *call,
                                                   nvmlDevice_t device, unsigned long long *eventTypes) {
    const struct vgpu_gpu *gpu = vgpu_nvml_gpu(process, device);
    if (gpu == NULL || eventTypes == NULL) {
        return NVML_ERROR_INVALID_ARGUMENT;
    }
    return vgpu_nvml_say_long(call, gpu, eventTypes, (int64_t)supported(process, gpu));
}

nvmlReturn_t vgpu_nvmlDeviceRegisterEvents(struct vgpu_process *process, struct vgpu_call *call, nvmlDevice_t device,
                                           unsigned long long eventTypes, nvmlEventSet_t set) {
    const struct vgpu_gpu *gpu = vgpu_nvml_gpu(process, device);
    if (gpu == NULL || find(process, set, 0) == NULL || (eventTypes & ~(unsigned long long)ALL) != 0) {
        return NVML_ERROR_INVALID_ARGUMENT;
    }
    if ((eventTypes & ~supported(process, gpu)) != 0) {
        return NVML_ERROR_NOT_SUPPORTED;
    }
    set->types[gpu - vgpu_image_gpu(process->image, 0)] |= eventTypes;
    vgpu_nvml_say_pci(call, gpu);
    return NVML_SUCCESS;
}

/* The next event of a set: 1 and which GPU it is about, else 0. */
typedef int next_event(struct vgpu_process *process, struct nvmlEventSet_st *set, uint32_t *gpu);

static int next_loss(struct vgpu_process *process, struct nvmlEventSet_st *set, uint32_t *gpu) {
    uint32_t lost = lost_gpus(process);
    for (*gpu = 0; *gpu < process->image->gpus.count; ++*gpu) {
        uint32_t bit = 1u << *gpu;
        if ((lost & ~set->told_lost & bit) != 0 && (set->types[*gpu] & XID) != 0) {
            set->told_lost |= bit;
            return 1;
        }
    }
    return 0;
}

static int next_binding(struct vgpu_process *process, struct nvmlEventSet_st *set, uint32_t *gpu) {
    uint32_t removed = removed_gpus(process);
    for (*gpu = 0; *gpu < process->image->gpus.count; ++*gpu) {
        uint32_t bit = 1u << *gpu;
        if (((removed ^ set->removed) & bit) != 0) {
            set->removed ^= bit;
            if ((set->system_types & ((removed & bit) != 0 ? UNBIND : BIND)) != 0) {
                return 1;
            }
        }
    }
    return 0;
}

static unsigned long long now_ms(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (unsigned long long)now.tv_sec * 1000 + (unsigned long long)now.tv_nsec / 1000000;
}

/* Waits with the process's lock free, a slice at a time, so that others can make what is waited for, can free the set,
 * and can shut NVML down. Which GPUs this call is about is kept over the others' calls. */
static nvmlReturn_t wait(struct vgpu_process *process, struct nvmlEventSet_st *set, int system, unsigned int timeout,
                         next_event *next, uint32_t *gpu) {
    if (find(process, set, system) == NULL) {
        return NVML_ERROR_INVALID_ARGUMENT;
    }
    uint32_t number = set->number;
    unsigned long long end = now_ms() + timeout;
    while (!next(process, set, gpu)) {
        if (now_ms() >= end) {
            return NVML_ERROR_TIMEOUT;
        }
        uint32_t about = process->about;
        vgpu_unlock(process);
        nanosleep(&(struct timespec){.tv_nsec = SLICE_MS * 1000000L}, NULL);
        vgpu_lock(process);
        process->about = about;
        if (process->nvml->references == 0 || find(process, set, system) == NULL || set->number != number) {
            return NVML_ERROR_UNINITIALIZED;
        }
    }
    return NVML_SUCCESS;
}

/* Version 1 of the struct ends before the instances. */
nvmlReturn_t vgpu_nvmlEventSetWait(struct vgpu_process *process, struct vgpu_call *call, nvmlEventSet_t set,
                                   nvmlEventData_t *data, unsigned int timeoutms) {
    uint32_t gpu;
    nvmlReturn_t result =
        data != NULL ? wait(process, set, 0, timeoutms, next_loss, &gpu) : NVML_ERROR_INVALID_ARGUMENT;
    if (result == NVML_SUCCESS) {
        data->device = vgpu_nvml_handle(process, gpu);
        data->eventType = XID;
        data->eventData = XID_OFF_THE_BUS;
        vgpu_call_output(call, &data->eventType, sizeof(data->eventType));
        vgpu_call_output(call, &data->eventData, sizeof(data->eventData));
        vgpu_nvml_say_pci(call, vgpu_image_gpu(process->image, gpu));
    }
    return result;
}

nvmlReturn_t vgpu_nvmlEventSetWait_v2(struct vgpu_process *process, struct vgpu_call *call, nvmlEventSet_t set,
                                      nvmlEventData_t *data, unsigned int timeoutms) {
    nvmlReturn_t result = vgpu_nvmlEventSetWait(process, call, set, data, timeoutms);
    if (result == NVML_SUCCESS) {
        data->gpuInstanceId = (unsigned int)NO_INSTANCE;
        data->computeInstanceId = (unsigned int)NO_INSTANCE;
    }
    return result;
}

nvmlReturn_t vgpu_nvmlSystemEventSetCreate(struct vgpu_process *process, struct vgpu_call *call,
                                           nvmlSystemEventSetCreateRequest_t *request) {
    (void)call;
    if (request == NULL) {
        return NVML_ERROR_INVALID_ARGUMENT;
    }
    return request->version == VGPU_NVML_STRUCT(nvmlSystemEventSetCreateRequest_t, 1)
               ? create(process, 1, &request->set)
               : NVML_ERROR_ARGUMENT_VERSION_MISMATCH;
}

nvmlReturn_t vgpu_nvmlSystemEventSetFree(struct vgpu_process *process, struct vgpu_call *call,
                                         nvmlSystemEventSetFreeRequest_t *request) {
    (void)call;
    if (request == NULL) {
        return NVML_ERROR_INVALID_ARGUMENT;
    }
    return request->version == VGPU_NVML_STRUCT(nvmlSystemEventSetFreeRequest_t, 1)
               ? destroy(process, request->set, 1)
               : NVML_ERROR_ARGUMENT_VERSION_MISMATCH;
}

nvmlReturn_t vgpu_nvmlSystemRegisterEvents(struct vgpu_process *process, struct vgpu_call *call,
                                           nvmlSystemRegisterEventRequest_t *request) {
    (void)call;
    if (request == NULL) {
        return NVML_ERROR_INVALID_ARGUMENT;
    }
    if (request->version != VGPU_NVML_STRUCT(nvmlSystemRegisterEventRequest_t, 1)) {
        return NVML_ERROR_ARGUMENT_VERSION_MISMATCH;
    }
    if (find(process, request->set, 1) == NULL || (request->eventTypes & ~(unsigned long long)SYSTEM_ALL) != 0) {
        return NVML_ERROR_INVALID_ARGUMENT;
    }
    if (request->set->system_types == 0) {
        request->set->removed = removed_gpus(process);
    }
    request->set->system_types |= request->eventTypes;
    return NVML_SUCCESS;
}

/* A GPU is named by its PCI address, as board ids are: domain << 16 | bus << 8 | device. */
nvmlReturn_t vgpu_nvmlSystemEventSetWait(struct vgpu_process *process, struct vgpu_call *call,
                                         nvmlSystemEventSetWaitRequest_t *request) {
    if (request == NULL) {
        return NVML_ERROR_INVALID_ARGUMENT;
    }
    if (request->version != VGPU_NVML_STRUCT(nvmlSystemEventSetWaitRequest_t, 1)) {
        return NVML_ERROR_ARGUMENT_VERSION_MISMATCH;
    }
    if (request->data == NULL || request->dataSize == 0) {
        return NVML_ERROR_INVALID_ARGUMENT;
    }
    uint32_t i;
    nvmlReturn_t result = wait(process, request->set, 1, request->timeoutms, next_binding, &i);
    if (result != NVML_SUCCESS && result != NVML_ERROR_TIMEOUT) {
        return result;
    }
    request->numEvent = 0;
    while (result == NVML_SUCCESS) {
        const struct vgpu_gpu *gpu = vgpu_image_gpu(process->image, i);
        request->data[request->numEvent++] = (struct vgpu_nvml_system_event){
            .eventType = vgpu_nvml_is_removed(process, i) ? UNBIND : BIND,
            .gpuId = gpu->pci_domain << 16 | gpu->pci_bus << 8 | gpu->pci_device,
        };
        if (request->numEvent == request->dataSize || !next_binding(process, request->set, &i)) {
            break;
        }
    }
    vgpu_call_output(call, &request->numEvent, sizeof(request->numEvent));
    return result;
}

/* Newer names of functions in pstate.c. */
nvmlReturn_t vgpu_nvmlDeviceGetCurrentClocksEventReasons(struct vgpu_process *process, struct vgpu_call *call,
                                                         nvmlDevice_t device, unsigned long long *clocksEventReasons) {
    return vgpu_nvmlDeviceGetCurrentClocksThrottleReasons(process, call, device, clocksEventReasons);
}

nvmlReturn_t vgpu_nvmlDeviceGetSupportedClocksEventReasons(struct vgpu_process *process, struct vgpu_call *call,
                                                           nvmlDevice_t device,
                                                           unsigned long long *supportedClocksEventReasons) {
    return vgpu_nvmlDeviceGetSupportedClocksThrottleReasons(process, call, device, supportedClocksEventReasons);
}
