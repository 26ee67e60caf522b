/* ECC: its mode, and the errors that it has counted. A GPU without the property ECC has none. */
#include <string.h>

#include "nvml/structs_usage.h"
#include "nvml/usage.h"

/* enum nvmlMemoryLocation_t */
enum {
    L1 = 0,
    L2 = 1,
    DEVICE = 2,
    REGISTERS = 3,
    TEXTURE = 4,
    SHARED = 5,
    CONTROL = 6,
    SRAM = 7,
    LOCATIONS = 8,
};
enum { CORRECTED = 0, UNCORRECTED = 1, TYPES = 2 };
enum { VOLATILE = 0, AGGREGATE = 1, COUNTERS = 2 };

static uint32_t index_of(int type, int counter, int location) {
    return (uint32_t)(4 * location + 2 * counter + type);
}

int vgpu_nvml_has_ecc(struct vgpu_process *process, const struct vgpu_gpu *gpu) {
    return vgpu_nvml_get_or(process, gpu, VGPU_PROPERTY_ECC, 0, 0) != 0;
}

int64_t vgpu_nvml_ecc_errors(struct vgpu_process *process, const struct vgpu_gpu *gpu, int type, int counter,
                             int location) {
    int64_t sum = 0;
    for (int i = 0; i < LOCATIONS; i++) {
        if (location == VGPU_NVML_EVERYWHERE || location == i) {
            sum += vgpu_nvml_get_or(process, gpu, VGPU_PROPERTY_ECC_ERRORS, index_of(type, counter, i), 0);
        }
    }
    return sum;
}

nvmlReturn_t vgpu_nvmlDeviceGetEccMode(struct vgpu_process *process, struct vgpu_call *call, nvmlDevice_t device,
                                       nvmlEnableState_t *current, nvmlEnableState_t *pending) {
    const struct vgpu_gpu *gpu = vgpu_nvml_gpu(process, device);
    int64_t mode;
    if (gpu == NULL || current == NULL || pending == NULL) {
        return NVML_ERROR_INVALID_ARGUMENT;
    }
    if (!vgpu_nvml_get(process, gpu, VGPU_PROPERTY_ECC, 0, &mode)) {
        return NVML_ERROR_NOT_SUPPORTED;
    }
    vgpu_nvml_say(call, gpu, (unsigned int *)current, mode);
    return vgpu_nvml_say(call, gpu, (unsigned int *)pending,
                         vgpu_nvml_get_or(process, gpu, VGPU_PROPERTY_ECC_NEXT, 0, mode));
}

nvmlReturn_t vgpu_nvmlDeviceGetDefaultEccMode(struct vgpu_process *process, struct vgpu_call *call, nvmlDevice_t device,
                                              nvmlEnableState_t *defaultMode) {
    const struct vgpu_gpu *gpu = vgpu_nvml_gpu(process, device);
    int64_t mode;
    if (gpu == NULL || defaultMode == NULL) {
        return NVML_ERROR_INVALID_ARGUMENT;
    }
    if (!vgpu_nvml_get(process, gpu, VGPU_PROPERTY_ECC, 0, &mode)) {
        return NVML_ERROR_NOT_SUPPORTED;
    }
    return vgpu_nvml_say(call, gpu, (unsigned int *)defaultMode,
                         vgpu_nvml_get_or(process, gpu, VGPU_PROPERTY_ECC_DEFAULT, 0, mode));
}

/* The mode changes at the next start (doc); until then it is pending. */
nvmlReturn_t vgpu_nvmlDeviceSetEccMode(struct vgpu_process *process, struct vgpu_call *call, nvmlDevice_t device,
                                       nvmlEnableState_t ecc) {
    const struct vgpu_gpu *gpu;
    nvmlReturn_t refusal = vgpu_nvml_settable(process, device, &gpu);
    int64_t mode;
    if (refusal == NVML_ERROR_INVALID_ARGUMENT || ecc < 0 || ecc > 1) {
        return NVML_ERROR_INVALID_ARGUMENT;
    }
    if (refusal != NVML_SUCCESS) {
        return refusal;
    }
    if (!vgpu_nvml_get(process, gpu, VGPU_PROPERTY_ECC, 0, &mode)) {
        return NVML_ERROR_NOT_SUPPORTED;
    }
    vgpu_nvml_say_pci(call, gpu);
    return vgpu_nvml_set(process, gpu, VGPU_PROPERTY_ECC_NEXT, 0, ecc);
}

/* How a question for errors begins: INVALID_ARGUMENT, NOT_SUPPORTED, or SUCCESS and the GPU. */
static nvmlReturn_t countable(struct vgpu_process *process, nvmlDevice_t device, int type, int counter, const void *to,
                              const struct vgpu_gpu **gpu) {
    *gpu = vgpu_nvml_gpu(process, device);
    if (*gpu == NULL || to == NULL || type < 0 || type >= TYPES || counter < 0 || counter >= COUNTERS) {
        return NVML_ERROR_INVALID_ARGUMENT;
    }
    return vgpu_nvml_has_ecc(process, *gpu) ? NVML_SUCCESS : NVML_ERROR_NOT_SUPPORTED;
}

nvmlReturn_t vgpu_nvmlDeviceGetTotalEccErrors(struct vgpu_process *process, struct vgpu_call *call, nvmlDevice_t device,
                                              nvmlMemoryErrorType_t errorType, nvmlEccCounterType_t counterType,
                                              unsigned long long *eccCounts) {
    const struct vgpu_gpu *gpu;
    nvmlReturn_t refusal = countable(process, device, errorType, counterType, eccCounts, &gpu);
    if (refusal != NVML_SUCCESS) {
        return refusal;
    }
    int64_t count = vgpu_nvml_ecc_errors(process, gpu, errorType, counterType, VGPU_NVML_EVERYWHERE);
    return vgpu_nvml_say_long(call, gpu, eccCounts, count);
}

nvmlReturn_t vgpu_nvmlDeviceGetDetailedEccErrors(struct vgpu_process *process, struct vgpu_call *call,
                                                 nvmlDevice_t device, nvmlMemoryErrorType_t errorType,
                                                 nvmlEccCounterType_t counterType, nvmlEccErrorCounts_t *eccCounts) {
    const struct vgpu_gpu *gpu;
    nvmlReturn_t refusal = countable(process, device, errorType, counterType, eccCounts, &gpu);
    if (refusal != NVML_SUCCESS) {
        return refusal;
    }
    unsigned long long *to[] = {&eccCounts->l1Cache, &eccCounts->l2Cache, &eccCounts->deviceMemory,
                                &eccCounts->registerFile};
    for (int location = L1; location <= REGISTERS; location++) {
        vgpu_nvml_say_long(call, gpu, to[location],
                           vgpu_nvml_ecc_errors(process, gpu, errorType, counterType, location));
    }
    return NVML_SUCCESS;
}

nvmlReturn_t vgpu_nvmlDeviceGetMemoryErrorCounter(struct vgpu_process *process, struct vgpu_call *call,
                                                  nvmlDevice_t device, nvmlMemoryErrorType_t errorType,
                                                  nvmlEccCounterType_t counterType, nvmlMemoryLocation_t locationType,
                                                  unsigned long long *count) {
    const struct vgpu_gpu *gpu;
    nvmlReturn_t refusal = countable(process, device, errorType, counterType, count, &gpu);
    if (locationType < 0 || locationType >= LOCATIONS) {
        return NVML_ERROR_INVALID_ARGUMENT;
    }
    if (refusal != NVML_SUCCESS) {
        return refusal;
    }
    return vgpu_nvml_say_long(call, gpu, count,
                              vgpu_nvml_ecc_errors(process, gpu, errorType, counterType, locationType));
}

nvmlReturn_t vgpu_nvmlDeviceClearEccErrorCounts(struct vgpu_process *process, struct vgpu_call *call,
                                                nvmlDevice_t device, nvmlEccCounterType_t counterType) {
    const struct vgpu_gpu *gpu;
    nvmlReturn_t refusal = vgpu_nvml_settable(process, device, &gpu);
    if (refusal == NVML_ERROR_INVALID_ARGUMENT || counterType < 0 || counterType >= COUNTERS) {
        return NVML_ERROR_INVALID_ARGUMENT;
    }
    if (refusal != NVML_SUCCESS) {
        return refusal;
    }
    if (!vgpu_nvml_has_ecc(process, gpu)) {
        return NVML_ERROR_NOT_SUPPORTED;
    }
    for (int i = 0; i < LOCATIONS * TYPES && refusal == NVML_SUCCESS; i++) {
        uint32_t index = index_of(i % TYPES, counterType, i / TYPES);
        if (vgpu_nvml_get_or(process, gpu, VGPU_PROPERTY_ECC_ERRORS, index, 0) != 0) {
            refusal = vgpu_nvml_set(process, gpu, VGPU_PROPERTY_ECC_ERRORS, index, 0);
        }
    }
    vgpu_nvml_say_pci(call, gpu);
    return refusal;
}

/* Errors in memories other than the device's own. All that are not corrected are taken as found by SEC-DED codes. */
static unsigned long long sram_errors(struct vgpu_process *process, const struct vgpu_gpu *gpu, int type, int counter) {
    return (unsigned long long)(vgpu_nvml_ecc_errors(process, gpu, type, counter, VGPU_NVML_EVERYWHERE) -
                                vgpu_nvml_ecc_errors(process, gpu, type, counter, DEVICE));
}

static unsigned long long uncorrected_at(struct vgpu_process *process, const struct vgpu_gpu *gpu, int location) {
    return (unsigned long long)vgpu_nvml_ecc_errors(process, gpu, UNCORRECTED, AGGREGATE, location);
}

nvmlReturn_t vgpu_nvmlDeviceGetSramEccErrorStatus(struct vgpu_process *process, struct vgpu_call *call,
                                                  nvmlDevice_t device, nvmlEccSramErrorStatus_t *status) {
    const struct vgpu_gpu *gpu;
    nvmlReturn_t refusal = countable(process, device, 0, 0, status, &gpu);
    if (refusal == NVML_ERROR_INVALID_ARGUMENT) {
        return refusal;
    }
    if (status->version != VGPU_NVML_STRUCT(nvmlEccSramErrorStatus_t, 1)) {
        return NVML_ERROR_ARGUMENT_VERSION_MISMATCH;
    }
    if (refusal != NVML_SUCCESS || !vgpu_nvml_is_since(gpu, 8, 0)) {
        return NVML_ERROR_NOT_SUPPORTED;
    }
    *status = (nvmlEccSramErrorStatus_t){
        .version = status->version,
        .aggregateUncSecDed = sram_errors(process, gpu, UNCORRECTED, AGGREGATE),
        .aggregateCor = sram_errors(process, gpu, CORRECTED, AGGREGATE),
        .volatileUncSecDed = sram_errors(process, gpu, UNCORRECTED, VOLATILE),
        .volatileCor = sram_errors(process, gpu, CORRECTED, VOLATILE),
        .aggregateUncBucketL2 = uncorrected_at(process, gpu, L2),
        .aggregateUncBucketSm = uncorrected_at(process, gpu, L1) + uncorrected_at(process, gpu, REGISTERS) +
                                uncorrected_at(process, gpu, TEXTURE) + uncorrected_at(process, gpu, SHARED),
        .aggregateUncBucketOther = uncorrected_at(process, gpu, CONTROL) + uncorrected_at(process, gpu, SRAM),
    };
    vgpu_call_output(call, &status->aggregateUncSecDed, sizeof(status->aggregateUncSecDed));
    vgpu_call_output(call, &status->volatileUncSecDed, sizeof(status->volatileUncSecDed));
    vgpu_nvml_say_pci(call, gpu);
    return NVML_SUCCESS;
}

/* Addresses of errors are not modelled: the list has as many places as the host image has such errors, so it is told
 * only where there are none. */
nvmlReturn_t
vgpu_nvmlDeviceGetSramUniqueUncorrectedEccErrorCounts(struct vgpu_process *process, struct vgpu_call *call,
                                                      nvmlDevice_t device,
                                                      nvmlEccSramUniqueUncorrectedErrorCounts_t *errorCounts) {
    const struct vgpu_gpu *gpu;
    nvmlReturn_t refusal = countable(process, device, 0, 0, errorCounts, &gpu);
    if (refusal == NVML_ERROR_INVALID_ARGUMENT) {
        return refusal;
    }
    if (errorCounts->version != VGPU_NVML_STRUCT(nvmlEccSramUniqueUncorrectedErrorCounts_t, 1)) {
        return NVML_ERROR_ARGUMENT_VERSION_MISMATCH;
    }
    if (refusal != NVML_SUCCESS || !vgpu_nvml_is_since(gpu, 8, 0) ||
        sram_errors(process, gpu, UNCORRECTED, AGGREGATE) != 0) {
        return NVML_ERROR_NOT_SUPPORTED;
    }
    return vgpu_nvml_say(call, gpu, &errorCounts->entryCount, 0);
}
