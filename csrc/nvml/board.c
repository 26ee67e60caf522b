/* The board: what it is called, what is on it, where it belongs. */
#include <string.h>

#include "nvml/ask.h"
#include "nvml/structs_device.h"
#include "vgpu/image.h"

nvmlReturn_t vgpu_nvmlDeviceGetBrand(struct vgpu_process *process, struct vgpu_call *call, nvmlDevice_t device,
                                     nvmlBrandType_t *type) {
    return vgpu_nvml_answer_or(process, call, device, VGPU_PROPERTY_BRAND, 0, 0, (unsigned int *)type);
}

nvmlReturn_t vgpu_nvmlDeviceGetModuleId(struct vgpu_process *process, struct vgpu_call *call, nvmlDevice_t device,
                                        unsigned int *moduleId) {
    return vgpu_nvml_answer_or(process, call, device, VGPU_PROPERTY_MODULE_ID, 0, 0, moduleId);
}

nvmlReturn_t vgpu_nvmlDeviceGetNumGpuCores(struct vgpu_process *process, struct vgpu_call *call, nvmlDevice_t device,
                                           unsigned int *numCores) {
    return vgpu_nvml_answer(process, call, device, VGPU_PROPERTY_CORES, 0, numCores);
}

nvmlReturn_t vgpu_nvmlDeviceGetIrqNum(struct vgpu_process *process, struct vgpu_call *call, nvmlDevice_t device,
                                      unsigned int *irqNum) {
    return vgpu_nvml_answer(process, call, device, VGPU_PROPERTY_IRQ, 0, irqNum);
}

nvmlReturn_t vgpu_nvmlDeviceGetBoardPartNumber(struct vgpu_process *process, struct vgpu_call *call,
                                               nvmlDevice_t device, char *partNumber, unsigned int length) {
    return vgpu_nvml_answer_text(process, call, device, VGPU_TEXT_BOARD_PART_NUMBER, 0, partNumber, length);
}

nvmlReturn_t vgpu_nvmlDeviceGetVbiosVersion(struct vgpu_process *process, struct vgpu_call *call, nvmlDevice_t device,
                                            char *version, unsigned int length) {
    return vgpu_nvml_answer_text(process, call, device, VGPU_TEXT_VBIOS, 0, version, length);
}

/* A virtual machine's GPU at 00:05.0 has board id 0x5, one at 1b:00.0 0x1b00 (nvidia-smi -q, "Board ID"). */
static int64_t board(struct vgpu_process *process, const struct vgpu_gpu *gpu) {
    int64_t of_address = (int64_t)gpu->pci_domain << 16 | gpu->pci_bus << 8 | gpu->pci_device;
    return vgpu_nvml_get_or(process, gpu, VGPU_PROPERTY_BOARD_ID, 0, of_address);
}

nvmlReturn_t vgpu_nvmlDeviceGetBoardId(struct vgpu_process *process, struct vgpu_call *call, nvmlDevice_t device,
                                       unsigned int *boardId) {
    const struct vgpu_gpu *gpu = vgpu_nvml_gpu(process, device);
    if (gpu == NULL || boardId == NULL) {
        return NVML_ERROR_INVALID_ARGUMENT;
    }
    return vgpu_nvml_say(call, gpu, boardId, board(process, gpu));
}

nvmlReturn_t vgpu_nvmlDeviceGetMultiGpuBoard(struct vgpu_process *process, struct vgpu_call *call, nvmlDevice_t device,
                                             unsigned int *multiGpuBool) {
    return vgpu_nvml_answer_or(process, call, device, VGPU_PROPERTY_MULTI_GPU_BOARD, 0, 0, multiGpuBool);
}

nvmlReturn_t vgpu_nvmlDeviceOnSameBoard(struct vgpu_process *process, struct vgpu_call *call, nvmlDevice_t device1,
                                        nvmlDevice_t device2, int *onSameBoard) {
    const struct vgpu_gpu *one = vgpu_nvml_gpu(process, device1);
    const struct vgpu_gpu *other = vgpu_nvml_gpu(process, device2);
    if (one == NULL || other == NULL || onSameBoard == NULL) {
        return NVML_ERROR_INVALID_ARGUMENT;
    }
    int64_t several = vgpu_nvml_get_or(process, one, VGPU_PROPERTY_MULTI_GPU_BOARD, 0, 0);
    int64_t same = one == other || (several != 0 && board(process, one) == board(process, other));
    return vgpu_nvml_say(call, one, (unsigned int *)onSameBoard, same);
}

nvmlReturn_t vgpu_nvmlDeviceGetBridgeChipInfo(struct vgpu_process *process, struct vgpu_call *call, nvmlDevice_t device,
                                              nvmlBridgeChipHierarchy_t *bridgeHierarchy) {
    const struct vgpu_gpu *gpu = vgpu_nvml_gpu(process, device);
    if (gpu == NULL || bridgeHierarchy == NULL) {
        return NVML_ERROR_INVALID_ARGUMENT;
    }
    uint32_t count;
    const struct vgpu_property *chips = vgpu_image_properties(process->image, gpu, VGPU_PROPERTY_BRIDGE_CHIP, &count);
    if (count == 0) {
        return NVML_ERROR_NOT_SUPPORTED;
    }
    memset(bridgeHierarchy, 0, sizeof(*bridgeHierarchy));
    for (uint32_t i = 0; i < count && i < VGPU_NVML_BRIDGES_MAX; i++) {
        bridgeHierarchy->bridgeChipInfo[i].type = (int)(chips[i].value & 0xff);
        bridgeHierarchy->bridgeChipInfo[i].fwVersion = (unsigned int)(chips[i].value >> 8);
        bridgeHierarchy->bridgeCount++;
    }
    vgpu_call_output(call, &bridgeHierarchy->bridgeCount, sizeof(bridgeHierarchy->bridgeCount));
    vgpu_nvml_say_pci(call, gpu);
    return NVML_SUCCESS;
}

/* GSP firmware has the driver's version: it comes with it. */
nvmlReturn_t vgpu_nvmlDeviceGetGspFirmwareVersion(struct vgpu_process *process, struct vgpu_call *call,
                                                  nvmlDevice_t device, char *version) {
    const struct vgpu_gpu *gpu = vgpu_nvml_gpu(process, device);
    if (gpu == NULL || version == NULL) {
        return NVML_ERROR_INVALID_ARGUMENT;
    }
    if (vgpu_nvml_get_or(process, gpu, VGPU_PROPERTY_GSP_FIRMWARE, 0, 0) == 0) {
        return NVML_ERROR_NOT_SUPPORTED;
    }
    return vgpu_nvml_text(call, process->image->driver.version, version, VGPU_NVML_GSP_VERSION);
}

nvmlReturn_t vgpu_nvmlDeviceGetGspFirmwareMode(struct vgpu_process *process, struct vgpu_call *call,
                                               nvmlDevice_t device, unsigned int *isEnabled,
                                               unsigned int *defaultMode) {
    const struct vgpu_gpu *gpu = vgpu_nvml_gpu(process, device);
    int64_t enabled;
    if (gpu == NULL || isEnabled == NULL || defaultMode == NULL) {
        return NVML_ERROR_INVALID_ARGUMENT;
    }
    if (!vgpu_nvml_get(process, gpu, VGPU_PROPERTY_GSP_FIRMWARE, 0, &enabled)) {
        return NVML_ERROR_NOT_SUPPORTED;
    }
    vgpu_nvml_say(call, gpu, isEnabled, enabled);
    return vgpu_nvml_say(call, gpu, defaultMode,
                         vgpu_nvml_get_or(process, gpu, VGPU_PROPERTY_GSP_FIRMWARE, 1, enabled));
}

nvmlReturn_t vgpu_nvmlDeviceGetCapabilities(struct vgpu_process *process, struct vgpu_call *call, nvmlDevice_t device,
                                            nvmlDeviceCapabilities_t *caps) {
    const struct vgpu_gpu *gpu = vgpu_nvml_gpu(process, device);
    if (gpu == NULL || caps == NULL) {
        return NVML_ERROR_INVALID_ARGUMENT;
    }
    if (caps->version != VGPU_NVML_STRUCT(nvmlDeviceCapabilities_t, 1)) {
        return NVML_ERROR_ARGUMENT_VERSION_MISMATCH;
    }
    return vgpu_nvml_say(call, gpu, &caps->capMask, vgpu_nvml_get_or(process, gpu, VGPU_PROPERTY_CAPABILITIES, 0, 0));
}

nvmlReturn_t vgpu_nvmlDeviceGetPdi(struct vgpu_process *process, struct vgpu_call *call, nvmlDevice_t device,
                                   nvmlPdi_t *pdi) {
    const struct vgpu_gpu *gpu = vgpu_nvml_gpu(process, device);
    if (gpu == NULL || pdi == NULL) {
        return NVML_ERROR_INVALID_ARGUMENT;
    }
    if (pdi->version != VGPU_NVML_STRUCT(nvmlPdi_t, 1)) {
        return NVML_ERROR_ARGUMENT_VERSION_MISMATCH;
    }
    int64_t value;
    if (!vgpu_nvml_get(process, gpu, VGPU_PROPERTY_PDI, 0, &value)) {
        return NVML_ERROR_NOT_SUPPORTED;
    }
    return vgpu_nvml_say_long(call, gpu, &pdi->value, value);
}

static void put_guid(unsigned char *to, const char *digits) {
    memset(to, 0, VGPU_NVML_GUID);
    for (size_t i = 0; digits != NULL && i < 2 * VGPU_NVML_GUID && digits[i] != '\0'; i++) {
        const char *known = "0123456789abcdef";
        const char *at = strchr(known, digits[i] | 0x20); /* small letters; digits stay as they are */
        to[i / 2] = (unsigned char)(to[i / 2] << 4 | (at != NULL ? at - known : 0));
    }
}

nvmlReturn_t vgpu_nvmlDeviceGetPlatformInfo(struct vgpu_process *process, struct vgpu_call *call, nvmlDevice_t device,
                                            nvmlPlatformInfo_t *platformInfo) {
    const struct vgpu_gpu *gpu = vgpu_nvml_gpu(process, device);
    if (gpu == NULL || platformInfo == NULL) {
        return NVML_ERROR_INVALID_ARGUMENT;
    }
    unsigned int version = platformInfo->version;
    if (version != VGPU_NVML_STRUCT(nvmlPlatformInfo_t, 1) && version != VGPU_NVML_STRUCT(nvmlPlatformInfo_t, 2)) {
        return NVML_ERROR_ARGUMENT_VERSION_MISMATCH;
    }
    int64_t slot;
    if (!vgpu_nvml_get(process, gpu, VGPU_PROPERTY_PLATFORM, 0, &slot)) {
        return NVML_ERROR_NOT_SUPPORTED;
    }
    memset(platformInfo, 0, sizeof(*platformInfo));
    platformInfo->version = version;
    put_guid(platformInfo->ibGuid, vgpu_image_gpu_text(process->image, gpu, VGPU_TEXT_GPU_GUID, 0));
    const char *chassis = vgpu_image_gpu_text(process->image, gpu, VGPU_TEXT_CHASSIS_SERIAL, 0);
    if (chassis != NULL && version == VGPU_NVML_STRUCT(nvmlPlatformInfo_t, 2)) {
        memcpy(platformInfo->chassisSerialNumber, chassis, strnlen(chassis, VGPU_NVML_CHASSIS_SERIAL));
    }
    platformInfo->slotNumber = (unsigned char)slot;
    platformInfo->trayIndex = (unsigned char)vgpu_nvml_get_or(process, gpu, VGPU_PROPERTY_PLATFORM, 1, 0);
    platformInfo->hostId = (unsigned char)vgpu_nvml_get_or(process, gpu, VGPU_PROPERTY_PLATFORM, 2, 0);
    platformInfo->peerType = (unsigned char)vgpu_nvml_get_or(process, gpu, VGPU_PROPERTY_PLATFORM, 3, 0);
    platformInfo->moduleId = (unsigned char)vgpu_nvml_get_or(process, gpu, VGPU_PROPERTY_PLATFORM, 4, 0);
    vgpu_call_output(call, &platformInfo->slotNumber, sizeof(platformInfo->slotNumber));
    vgpu_nvml_say_pci(call, gpu);
    return NVML_SUCCESS;
}
