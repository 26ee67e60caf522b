/* Memory that errors have put out of use: retired pages before compute capability 8.0, remapped rows from it on. */
#include "nvml/structs_usage.h"
#include "nvml/usage.h"
#include "vgpu/image.h"

enum { ONE_BIT = 0, TWO_BITS = 1 }; /* enum nvmlPageRetirementCause_t */
enum { CORRECTABLE = 0, UNCORRECTABLE = 1, PENDING = 2, FAILED = 3 };

/* How a question begins: INVALID_ARGUMENT, NOT_SUPPORTED, or SUCCESS and the GPU. */
static nvmlReturn_t begin(struct vgpu_process *process, nvmlDevice_t device, int rows, const struct vgpu_gpu **gpu) {
    *gpu = vgpu_nvml_gpu(process, device);
    if (*gpu == NULL) {
        return NVML_ERROR_INVALID_ARGUMENT;
    }
    int has = vgpu_nvml_has_ecc(process, *gpu) && vgpu_nvml_is_since(*gpu, 8, 0) == rows;
    return has ? NVML_SUCCESS : NVML_ERROR_NOT_SUPPORTED;
}

static nvmlReturn_t pages(struct vgpu_process *process, struct vgpu_call *call, nvmlDevice_t device, int cause,
                          unsigned int *count, unsigned long long *addresses, unsigned long long *timestamps) {
    const struct vgpu_gpu *gpu;
    nvmlReturn_t refusal = begin(process, device, 0, &gpu);
    if (refusal == NVML_ERROR_INVALID_ARGUMENT || count == NULL || cause < ONE_BIT || cause > TWO_BITS ||
        (addresses == NULL && *count != 0)) {
        return NVML_ERROR_INVALID_ARGUMENT;
    }
    if (refusal != NVML_SUCCESS) {
        return refusal;
    }
    uint32_t there;
    const struct vgpu_property *list = vgpu_image_properties(
        process->image, gpu, cause == ONE_BIT ? VGPU_PROPERTY_RETIRED_PAGES : VGPU_PROPERTY_RETIRED_PAGES_DOUBLE,
        &there);
    unsigned int room = *count;
    vgpu_nvml_say(call, gpu, count, there);
    if (room < there) {
        return NVML_ERROR_INSUFFICIENT_SIZE;
    }
    for (uint32_t i = 0; i < there; i++) {
        addresses[i] = (unsigned long long)list[i].value;
        if (timestamps != NULL) {
            timestamps[i] = 0; /* the driver does not know when: the pages were retired before it was loaded */
        }
    }
    return NVML_SUCCESS;
}

nvmlReturn_t vgpu_nvmlDeviceGetRetiredPages(struct vgpu_process *process, struct vgpu_call *call, nvmlDevice_t device,
                                            nvmlPageRetirementCause_t cause, unsigned int *pageCount,
                                            unsigned long long *addresses) {
    return pages(process, call, device, cause, pageCount, addresses, NULL);
}

nvmlReturn_t vgpu_nvmlDeviceGetRetiredPages_v2(struct vgpu_process *process, struct vgpu_call *call,
                                               nvmlDevice_t device, nvmlPageRetirementCause_t cause,
                                               unsigned int *pageCount, unsigned long long *addresses,
                                               unsigned long long *timestamps) {
    return pages(process, call, device, cause, pageCount, addresses, timestamps);
}

nvmlReturn_t vgpu_nvmlDeviceGetRetiredPagesPendingStatus(struct vgpu_process *process, struct vgpu_call *call,
                                                         nvmlDevice_t device, nvmlEnableState_t *isPending) {
    const struct vgpu_gpu *gpu;
    nvmlReturn_t refusal = begin(process, device, 0, &gpu);
    if (refusal == NVML_ERROR_INVALID_ARGUMENT || isPending == NULL) {
        return NVML_ERROR_INVALID_ARGUMENT;
    }
    return refusal == NVML_SUCCESS ? vgpu_nvml_say(call, gpu, (unsigned int *)isPending, 0) : refusal;
}

static unsigned int rows_of(struct vgpu_process *process, const struct vgpu_gpu *gpu, uint32_t index) {
    return (unsigned int)vgpu_nvml_get_or(process, gpu, VGPU_PROPERTY_REMAPPED_ROWS, index, 0);
}

static unsigned int inactive_rows(struct vgpu_process *process, const struct vgpu_gpu *gpu, uint32_t index) {
    return (unsigned int)vgpu_nvml_get_or(process, gpu, VGPU_PROPERTY_REMAPPED_ROWS_INACTIVE, index, 0);
}

nvmlReturn_t vgpu_nvmlDeviceGetRemappedRows(struct vgpu_process *process, struct vgpu_call *call, nvmlDevice_t device,
                                            unsigned int *corrRows, unsigned int *uncRows, unsigned int *isPending,
                                            unsigned int *failureOccurred) {
    const struct vgpu_gpu *gpu;
    nvmlReturn_t refusal = begin(process, device, 1, &gpu);
    if (refusal == NVML_ERROR_INVALID_ARGUMENT || corrRows == NULL || uncRows == NULL || isPending == NULL ||
        failureOccurred == NULL) {
        return NVML_ERROR_INVALID_ARGUMENT;
    }
    if (refusal != NVML_SUCCESS) {
        return refusal;
    }
    unsigned int *to[] = {corrRows, uncRows, isPending, failureOccurred};
    for (uint32_t i = CORRECTABLE; i <= FAILED; i++) {
        vgpu_nvml_say(call, gpu, to[i], rows_of(process, gpu, i));
    }
    return NVML_SUCCESS;
}

nvmlReturn_t vgpu_nvmlDeviceGetRemappedRows_v2(struct vgpu_process *process, struct vgpu_call *call,
                                               nvmlDevice_t device, nvmlRemappedRowsInfo_v2_t *info) {
    const struct vgpu_gpu *gpu;
    nvmlReturn_t refusal = begin(process, device, 1, &gpu);
    if (refusal == NVML_ERROR_INVALID_ARGUMENT || info == NULL) {
        return NVML_ERROR_INVALID_ARGUMENT;
    }
    if (refusal != NVML_SUCCESS) {
        return refusal;
    }
    *info = (nvmlRemappedRowsInfo_v2_t){
        .corrActiveRemaps = rows_of(process, gpu, CORRECTABLE),
        .corrInactiveRemaps = inactive_rows(process, gpu, CORRECTABLE),
        .uncActiveRemaps = rows_of(process, gpu, UNCORRECTABLE),
        .uncInactiveRemaps = inactive_rows(process, gpu, UNCORRECTABLE),
        .bPending = rows_of(process, gpu, PENDING),
        .bFailureOccurred = rows_of(process, gpu, FAILED),
    };
    vgpu_call_output(call, &info->corrActiveRemaps, sizeof(info->corrActiveRemaps));
    vgpu_call_output(call, &info->uncActiveRemaps, sizeof(info->uncActiveRemaps));
    vgpu_nvml_say_pci(call, gpu);
    return NVML_SUCCESS;
}

nvmlReturn_t vgpu_nvmlDeviceGetRowRemapperHistogram(struct vgpu_process *process, struct vgpu_call *call,
                                                    nvmlDevice_t device, nvmlRowRemapperHistogramValues_t *values) {
    const struct vgpu_gpu *gpu;
    nvmlReturn_t refusal = begin(process, device, 1, &gpu);
    int64_t most;
    if (refusal == NVML_ERROR_INVALID_ARGUMENT || values == NULL) {
        return NVML_ERROR_INVALID_ARGUMENT;
    }
    if (refusal != NVML_SUCCESS || !vgpu_nvml_get(process, gpu, VGPU_PROPERTY_ROW_BANKS, 0, &most)) {
        return NVML_ERROR_NOT_SUPPORTED;
    }
    unsigned int *to[] = {&values->max, &values->high, &values->partial, &values->low, &values->none};
    for (uint32_t i = 0; i < sizeof(to) / sizeof(to[0]); i++) {
        vgpu_nvml_say(call, gpu, to[i], vgpu_nvml_get_or(process, gpu, VGPU_PROPERTY_ROW_BANKS, i, 0));
    }
    return NVML_SUCCESS;
}

/* Only newer memories have spare banks; who has, has the property. */
nvmlReturn_t vgpu_nvmlDeviceGetBankRemapperStatus_v1(struct vgpu_process *process, struct vgpu_call *call,
                                                     nvmlDevice_t device,
                                                     nvmlEccBankRemapperStatus_v1_t *pBankRemapperStatus) {
    const struct vgpu_gpu *gpu;
    nvmlReturn_t refusal = begin(process, device, 1, &gpu);
    int64_t groups;
    if (refusal == NVML_ERROR_INVALID_ARGUMENT || pBankRemapperStatus == NULL) {
        return NVML_ERROR_INVALID_ARGUMENT;
    }
    if (refusal != NVML_SUCCESS || !vgpu_nvml_get(process, gpu, VGPU_PROPERTY_BANKS_REMAPPED, 3, &groups)) {
        return NVML_ERROR_NOT_SUPPORTED;
    }
    unsigned int *to[] = {&pBankRemapperStatus->activeRemappings, &pBankRemapperStatus->inactiveRemappings,
                          &pBankRemapperStatus->bPending, &pBankRemapperStatus->histogram.maxSpareGroupCount,
                          &pBankRemapperStatus->histogram.noSpareGroupCount};
    for (uint32_t i = 0; i < sizeof(to) / sizeof(to[0]); i++) {
        vgpu_nvml_say(call, gpu, to[i], vgpu_nvml_get_or(process, gpu, VGPU_PROPERTY_BANKS_REMAPPED, i, 0));
    }
    return NVML_SUCCESS;
}

/* Memory cannot be repaired where a remapping has failed. */
nvmlReturn_t vgpu_nvmlDeviceGetUnrepairableMemoryFlag_v1(struct vgpu_process *process, struct vgpu_call *call,
                                                         nvmlDevice_t device,
                                                         nvmlUnrepairableMemoryStatus_v1_t *unrepairableMemoryStatus) {
    const struct vgpu_gpu *gpu;
    nvmlReturn_t refusal = begin(process, device, 1, &gpu);
    if (refusal == NVML_ERROR_INVALID_ARGUMENT || unrepairableMemoryStatus == NULL) {
        return NVML_ERROR_INVALID_ARGUMENT;
    }
    if (refusal != NVML_SUCCESS) {
        return refusal;
    }
    return vgpu_nvml_say(call, gpu, &unrepairableMemoryStatus->bUnrepairableMemory, rows_of(process, gpu, FAILED));
}
