/* The board's own memory of itself (InfoROM, black box), its repairs and its age. */
#include <string.h>
#include <time.h>

#include "nvml/ask.h"
#include "nvml/structs_device.h"
#include "vgpu/image.h"

enum { INFOROM_OBJECTS = 4 }; /* NVML_INFOROM_COUNT */

nvmlReturn_t vgpu_nvmlDeviceGetInforomVersion(struct vgpu_process *process, struct vgpu_call *call, nvmlDevice_t device,
                                              nvmlInforomObject_t object, char *version, unsigned int length) {
    if (object < 0 || object >= INFOROM_OBJECTS) {
        return NVML_ERROR_INVALID_ARGUMENT;
    }
    return vgpu_nvml_answer_text(process, call, device, VGPU_TEXT_INFOROM, (uint32_t)object, version, length);
}

nvmlReturn_t vgpu_nvmlDeviceGetInforomImageVersion(struct vgpu_process *process, struct vgpu_call *call,
                                                   nvmlDevice_t device, char *version, unsigned int length) {
    return vgpu_nvml_answer_text(process, call, device, VGPU_TEXT_INFOROM_IMAGE, 0, version, length);
}

nvmlReturn_t vgpu_nvmlDeviceGetInforomConfigurationChecksum(struct vgpu_process *process, struct vgpu_call *call,
                                                            nvmlDevice_t device, unsigned int *checksum) {
    return vgpu_nvml_answer(process, call, device, VGPU_PROPERTY_INFOROM_CHECKSUM, 0, checksum);
}

static int has_inforom(struct vgpu_process *process, const struct vgpu_gpu *gpu) {
    return vgpu_image_gpu_text(process->image, gpu, VGPU_TEXT_INFOROM_IMAGE, 0) != NULL;
}

nvmlReturn_t vgpu_nvmlDeviceValidateInforom(struct vgpu_process *process, struct vgpu_call *call, nvmlDevice_t device) {
    const struct vgpu_gpu *gpu = vgpu_nvml_gpu(process, device);
    if (gpu == NULL) {
        return NVML_ERROR_INVALID_ARGUMENT;
    }
    vgpu_nvml_say_pci(call, gpu);
    return has_inforom(process, gpu) ? NVML_SUCCESS : NVML_ERROR_NOT_SUPPORTED;
}

nvmlReturn_t vgpu_nvmlDeviceGetLastBBXFlushTime(struct vgpu_process *process, struct vgpu_call *call,
                                                nvmlDevice_t device, unsigned long long *timestamp,
                                                unsigned long *durationUs) {
    const struct vgpu_gpu *gpu = vgpu_nvml_gpu(process, device);
    if (gpu == NULL || timestamp == NULL || durationUs == NULL) {
        return NVML_ERROR_INVALID_ARGUMENT;
    }
    int64_t when;
    if (!vgpu_nvml_get(process, gpu, VGPU_PROPERTY_BBX_FLUSH, 0, &when)) {
        return has_inforom(process, gpu) ? NVML_ERROR_NOT_READY : NVML_ERROR_NOT_SUPPORTED;
    }
    *durationUs = (unsigned long)vgpu_nvml_get_or(process, gpu, VGPU_PROPERTY_BBX_FLUSH, 1, 0);
    vgpu_nvml_say_long(call, gpu, timestamp, when);
    vgpu_call_output(call, durationUs, sizeof(*durationUs));
    return NVML_SUCCESS;
}

nvmlReturn_t vgpu_nvmlDeviceGetBBXTimeData_v1(struct vgpu_process *process, struct vgpu_call *call, nvmlDevice_t device,
                                              nvmlBBXTimeData_v1_t *timeData) {
    unsigned int *to = timeData != NULL ? &timeData->timeRun : NULL;
    return vgpu_nvml_answer(process, call, device, VGPU_PROPERTY_BBX_TIME_RUN, 0, to);
}

/* The driver of a simulated host was loaded when the machine started. */
nvmlReturn_t vgpu_nvmlDeviceGetGpuUptime_v1(struct vgpu_process *process, struct vgpu_call *call, nvmlDevice_t device,
                                            nvmlGpuUptime_v1_t *uptime) {
    const struct vgpu_gpu *gpu = vgpu_nvml_gpu(process, device);
    if (gpu == NULL || uptime == NULL) {
        return NVML_ERROR_INVALID_ARGUMENT;
    }
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return vgpu_nvml_say(call, gpu, &uptime->uptime, now.tv_sec);
}

nvmlReturn_t vgpu_nvmlDeviceGetRepairStatus(struct vgpu_process *process, struct vgpu_call *call, nvmlDevice_t device,
                                            nvmlRepairStatus_t *repairStatus) {
    const struct vgpu_gpu *gpu = vgpu_nvml_gpu(process, device);
    if (gpu == NULL || repairStatus == NULL) {
        return NVML_ERROR_INVALID_ARGUMENT;
    }
    if (repairStatus->version != VGPU_NVML_STRUCT(nvmlRepairStatus_t, 1)) {
        return NVML_ERROR_ARGUMENT_VERSION_MISMATCH;
    }
    if (!vgpu_nvml_is_since(gpu, 8, 0)) {
        return NVML_ERROR_NOT_SUPPORTED;
    }
    int64_t channel = vgpu_nvml_get_or(process, gpu, VGPU_PROPERTY_REPAIR_PENDING, 0, 0);
    int64_t tpc = vgpu_nvml_get_or(process, gpu, VGPU_PROPERTY_REPAIR_PENDING, 1, 0);
    vgpu_nvml_say(call, gpu, &repairStatus->bChannelRepairPending, channel);
    return vgpu_nvml_say(call, gpu, &repairStatus->bTpcRepairPending, tpc);
}

/* Ampere and newer, and root's (doc). No clock of a simulated GPU ever fails. */
nvmlReturn_t vgpu_nvmlDeviceGetClkMonStatus(struct vgpu_process *process, struct vgpu_call *call, nvmlDevice_t device,
                                            nvmlClkMonStatus_t *status) {
    const struct vgpu_gpu *gpu;
    nvmlReturn_t refusal = vgpu_nvml_settable(process, device, &gpu);
    if (status == NULL) {
        return NVML_ERROR_INVALID_ARGUMENT;
    }
    if (refusal != NVML_SUCCESS) {
        return refusal;
    }
    if (!vgpu_nvml_is_since(gpu, 8, 0)) {
        return NVML_ERROR_NOT_SUPPORTED;
    }
    memset(status, 0, sizeof(*status));
    vgpu_call_output(call, &status->bGlobalStatus, sizeof(status->bGlobalStatus));
    vgpu_call_output(call, &status->clkMonListSize, sizeof(status->clkMonListSize));
    vgpu_nvml_say_pci(call, gpu);
    return NVML_SUCCESS;
}
