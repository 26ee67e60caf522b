/* Which processes use a GPU: those of the host image. Each list has a newer form with more about each process.
 *
 * The count goes in as the room and comes out as what is there; too little room is INSUFFICIENT_SIZE, and no process
 * needs none (doc). */
#include <unistd.h>

#include "nvml/mig.h"
#include "nvml/structs_usage.h"
#include "nvml/usage.h"
#include "vgpu/image.h"

#define NO_INSTANCE 0xFFFFFFFFu             /* in nvmlProcessInfo_t: the process runs on no MIG device */
#define NOT_AVAILABLE 0xFFFFFFFFFFFFFFFFull /* NVML_VALUE_NOT_AVAILABLE as an unsigned long long */

/* One process as every form has it. */
struct user {
    unsigned int pid;
    unsigned long long used;
    unsigned int gpu_instance;
    unsigned int compute_instance;
};

static struct user user_of(struct vgpu_process *process, const struct vgpu_gpu *gpu,
                           const struct vgpu_gpu_process *from) {
    struct user user = {from->pid != 0 ? from->pid : (unsigned int)getpid(), from->used, NO_INSTANCE, NO_INSTANCE};
    if (from->mig != 0 && from->mig <= gpu->migs.count) {
        const struct vgpu_mig_device *mig = &vgpu_image_migs(process->image, gpu)[from->mig - 1];
        user.gpu_instance = mig->gpu_instance;
        user.compute_instance = mig->compute_instance;
    }
    return user;
}

/* Whose processes are asked for: a GPU's, or those of one of its MIG devices alone. */
struct whose {
    const struct vgpu_gpu *gpu;
    const struct vgpu_mig_device *mig; /* NULL: all of the GPU */
    enum vgpu_process_kind kind;
};

static int owner_of(struct vgpu_process *process, nvmlDevice_t device, struct whose *whose) {
    whose->gpu = vgpu_nvml_gpu(process, device);
    whose->mig = whose->gpu == NULL ? vgpu_nvml_mig(process, device, &whose->gpu) : NULL;
    return whose->gpu != NULL;
}

/* The `n`th process; 0: there are not so many. */
static int find(struct vgpu_process *process, const struct whose *whose, unsigned int n, struct user *user) {
    const struct vgpu_gpu *gpu = whose->gpu;
    const struct vgpu_gpu_process *all = vgpu_image_processes(process->image, gpu);
    for (uint32_t i = 0; i < gpu->processes.count; i++) {
        int wanted = all[i].kind == (uint32_t)whose->kind &&
                     (whose->mig == NULL || vgpu_nvml_runs_on(process, gpu, &all[i], whose->mig));
        if (wanted && n-- == 0) {
            *user = user_of(process, gpu, &all[i]);
            return 1;
        }
    }
    return 0;
}

typedef void put_user(void *list, unsigned int i, const struct user *user);

static void put_v1(void *list, unsigned int i, const struct user *user) {
    ((nvmlProcessInfo_v1_t *)list)[i] = (nvmlProcessInfo_v1_t){user->pid, user->used};
}

static void put_v2(void *list, unsigned int i, const struct user *user) {
    ((nvmlProcessInfo_v2_t *)list)[i] =
        (nvmlProcessInfo_v2_t){user->pid, user->used, user->gpu_instance, user->compute_instance};
}

static void put_detail(void *list, unsigned int i, const struct user *user) {
    ((struct vgpu_nvml_process_detail *)list)[i] = (struct vgpu_nvml_process_detail){
        user->pid, user->used, user->gpu_instance, user->compute_instance, NOT_AVAILABLE};
}

static nvmlReturn_t put_all(struct vgpu_process *process, struct vgpu_call *call, const struct whose *whose,
                            unsigned int *count, void *list, put_user *put) {
    struct user user;
    unsigned int there = 0;
    while (find(process, whose, there, &user)) {
        there++;
    }
    unsigned int room = *count;
    vgpu_nvml_say(call, whose->gpu, count, there);
    if (there > room || (there > 0 && list == NULL)) {
        return room == 0 || there > room ? NVML_ERROR_INSUFFICIENT_SIZE : NVML_ERROR_INVALID_ARGUMENT;
    }
    for (unsigned int i = 0; find(process, whose, i, &user); i++) {
        put(list, i, &user);
    }
    return NVML_SUCCESS;
}

static nvmlReturn_t list_all(struct vgpu_process *process, struct vgpu_call *call, nvmlDevice_t device,
                             enum vgpu_process_kind kind, unsigned int *count, void *list, put_user *put) {
    struct whose whose = {.kind = kind};
    if (count == NULL || !owner_of(process, device, &whose)) {
        return NVML_ERROR_INVALID_ARGUMENT;
    }
    return put_all(process, call, &whose, count, list, put);
}

#define LISTS(name, kind)                                                                                              \
    nvmlReturn_t vgpu_nvmlDeviceGet##name(struct vgpu_process *process, struct vgpu_call *call, nvmlDevice_t device,   \
                                          unsigned int *infoCount, nvmlProcessInfo_v1_t *infos) {                      \
        return list_all(process, call, device, kind, infoCount, infos, put_v1);                                        \
    }                                                                                                                  \
    nvmlReturn_t vgpu_nvmlDeviceGet##name##_v2(struct vgpu_process *process, struct vgpu_call *call,                   \
                                               nvmlDevice_t device, unsigned int *infoCount,                           \
                                               nvmlProcessInfo_v2_t *infos) {                                          \
        return list_all(process, call, device, kind, infoCount, infos, put_v2);                                        \
    }                                                                                                                  \
    nvmlReturn_t vgpu_nvmlDeviceGet##name##_v3(struct vgpu_process *process, struct vgpu_call *call,                   \
                                               nvmlDevice_t device, unsigned int *infoCount,                           \
                                               nvmlProcessInfo_t *infos) {                                             \
        return list_all(process, call, device, kind, infoCount, infos, put_v2);                                        \
    }

LISTS(ComputeRunningProcesses, VGPU_PROCESS_COMPUTE)
LISTS(GraphicsRunningProcesses, VGPU_PROCESS_GRAPHICS)
LISTS(MPSComputeRunningProcesses, VGPU_PROCESS_MPS)

/* The modes 0, 1 and 2 are compute, graphics and MPS processes (doc). */
nvmlReturn_t vgpu_nvmlDeviceGetRunningProcessDetailList(struct vgpu_process *process, struct vgpu_call *call,
                                                        nvmlDevice_t device, nvmlProcessDetailList_t *plist) {
    static const enum vgpu_process_kind kinds[] = {VGPU_PROCESS_COMPUTE, VGPU_PROCESS_GRAPHICS, VGPU_PROCESS_MPS};
    struct whose whose;
    if (plist == NULL || !owner_of(process, device, &whose)) {
        return NVML_ERROR_INVALID_ARGUMENT;
    }
    if (plist->version != VGPU_NVML_STRUCT(nvmlProcessDetailList_t, 1)) {
        return NVML_ERROR_ARGUMENT_VERSION_MISMATCH;
    }
    if (plist->mode >= sizeof(kinds) / sizeof(kinds[0])) {
        return NVML_ERROR_INVALID_ARGUMENT;
    }
    whose.kind = kinds[plist->mode];
    return put_all(process, call, &whose, &plist->numProcArrayEntries, plist->procArray, put_detail);
}

static int is_busy(const struct vgpu_gpu_process *user) {
    return user->sm != 0 || user->memory != 0 || user->encoder != 0 || user->decoder != 0;
}

/* How many processes have used something; a sample of each has the age of this moment. */
static unsigned int busy_count(struct vgpu_process *process, const struct vgpu_gpu *gpu) {
    const struct vgpu_gpu_process *all = vgpu_image_processes(process->image, gpu);
    unsigned int count = 0;
    for (uint32_t i = 0; i < gpu->processes.count; i++) {
        count += (unsigned int)is_busy(&all[i]);
    }
    return count;
}

/* A question for the size is answered with INSUFFICIENT_SIZE (as nvidia-ml-py's and DCGM's callers expect). */
nvmlReturn_t vgpu_nvmlDeviceGetProcessUtilization(struct vgpu_process *process, struct vgpu_call *call,
                                                  nvmlDevice_t device, nvmlProcessUtilizationSample_t *utilization,
                                                  unsigned int *processSamplesCount,
                                                  unsigned long long lastSeenTimeStamp) {
    const struct vgpu_gpu *gpu = vgpu_nvml_gpu(process, device);
    if (gpu == NULL || processSamplesCount == NULL) {
        return NVML_ERROR_INVALID_ARGUMENT;
    }
    unsigned long long now = vgpu_nvml_now();
    unsigned int room = *processSamplesCount;
    unsigned int there = lastSeenTimeStamp < now ? busy_count(process, gpu) : 0;
    vgpu_nvml_say(call, gpu, processSamplesCount, there);
    if (there == 0) {
        return NVML_ERROR_NOT_FOUND;
    }
    if (utilization == NULL || room < there) {
        return NVML_ERROR_INSUFFICIENT_SIZE;
    }
    const struct vgpu_gpu_process *all = vgpu_image_processes(process->image, gpu);
    for (uint32_t i = 0; i < gpu->processes.count; i++) {
        if (is_busy(&all[i])) {
            *utilization++ = (nvmlProcessUtilizationSample_t){.pid = user_of(process, gpu, &all[i]).pid,
                                                              .timeStamp = now,
                                                              .smUtil = all[i].sm,
                                                              .memUtil = all[i].memory,
                                                              .encUtil = all[i].encoder,
                                                              .decUtil = all[i].decoder};
        }
    }
    return NVML_SUCCESS;
}

nvmlReturn_t vgpu_nvmlDeviceGetProcessesUtilizationInfo(struct vgpu_process *process, struct vgpu_call *call,
                                                        nvmlDevice_t device,
                                                        nvmlProcessesUtilizationInfo_t *procesesUtilInfo) {
    const struct vgpu_gpu *gpu = vgpu_nvml_gpu(process, device);
    if (gpu == NULL || procesesUtilInfo == NULL) {
        return NVML_ERROR_INVALID_ARGUMENT;
    }
    if (procesesUtilInfo->version != VGPU_NVML_STRUCT(nvmlProcessesUtilizationInfo_t, 1)) {
        return NVML_ERROR_ARGUMENT_VERSION_MISMATCH;
    }
    unsigned long long now = vgpu_nvml_now();
    unsigned int room = procesesUtilInfo->processSamplesCount;
    unsigned int there = procesesUtilInfo->lastSeenTimeStamp < now ? busy_count(process, gpu) : 0;
    vgpu_nvml_say(call, gpu, &procesesUtilInfo->processSamplesCount, there);
    if (there == 0) {
        return NVML_ERROR_NOT_FOUND;
    }
    struct vgpu_nvml_process_utilization *to = procesesUtilInfo->procUtilArray;
    if (to == NULL || room < there) {
        return NVML_ERROR_INSUFFICIENT_SIZE;
    }
    const struct vgpu_gpu_process *all = vgpu_image_processes(process->image, gpu);
    for (uint32_t i = 0; i < gpu->processes.count; i++) {
        if (is_busy(&all[i])) {
            *to++ = (struct vgpu_nvml_process_utilization){.timeStamp = now,
                                                           .pid = user_of(process, gpu, &all[i]).pid,
                                                           .smUtil = all[i].sm,
                                                           .memUtil = all[i].memory,
                                                           .encUtil = all[i].encoder,
                                                           .decUtil = all[i].decoder};
        }
    }
    return NVML_SUCCESS;
}
