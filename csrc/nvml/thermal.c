/* Temperatures and the thresholds that they are measured against. */
#include <string.h>

#include "nvml/ask.h"
#include "nvml/structs_clock.h"

enum {
    SENSORS = 2,    /* NVML_TEMPERATURE_COUNT */
    THRESHOLDS = 8, /* NVML_TEMPERATURE_THRESHOLD_COUNT */
    THRESHOLD_SLOWDOWN = 1,
    THRESHOLD_ACOUSTIC_MIN = 4,
    THRESHOLD_ACOUSTIC_CURRENT = 5,
    THRESHOLD_ACOUSTIC_MAX = 6,
    ALL_SENSORS = 15,        /* NVML_THERMAL_TARGET_ALL */
    CONTROLLER_INTERNAL = 1, /* NVML_THERMAL_CONTROLLER_GPU_INTERNAL */
    TARGET_GPU = 1,          /* NVML_THERMAL_TARGET_GPU */
    SENSOR_MAX = 127,        /* the range of a GPU's own sensor, as NVAPI's users report it: 0 to 127 */
};

nvmlReturn_t vgpu_nvmlDeviceGetTemperature(struct vgpu_process *process, struct vgpu_call *call, nvmlDevice_t device,
                                           nvmlTemperatureSensors_t sensorType, unsigned int *temp) {
    if (sensorType < 0 || sensorType >= SENSORS) {
        return NVML_ERROR_INVALID_ARGUMENT;
    }
    return vgpu_nvml_answer(process, call, device, VGPU_PROPERTY_TEMPERATURE, (uint32_t)sensorType, temp);
}

nvmlReturn_t vgpu_nvmlDeviceGetTemperatureV(struct vgpu_process *process, struct vgpu_call *call, nvmlDevice_t device,
                                            nvmlTemperature_t *temperature) {
    if (vgpu_nvml_gpu(process, device) == NULL || temperature == NULL) {
        return NVML_ERROR_INVALID_ARGUMENT;
    }
    if (temperature->version != VGPU_NVML_STRUCT(nvmlTemperature_t, 1)) {
        return NVML_ERROR_ARGUMENT_VERSION_MISMATCH;
    }
    return vgpu_nvmlDeviceGetTemperature(process, call, device, temperature->sensorType,
                                         (unsigned int *)&temperature->temperature);
}

nvmlReturn_t vgpu_nvmlDeviceGetTemperatureThreshold(struct vgpu_process *process, struct vgpu_call *call,
                                                    nvmlDevice_t device, nvmlTemperatureThresholds_t thresholdType,
                                                    unsigned int *temp) {
    if (thresholdType < 0 || thresholdType >= THRESHOLDS) {
        return NVML_ERROR_INVALID_ARGUMENT;
    }
    return vgpu_nvml_answer(process, call, device, VGPU_PROPERTY_TEMPERATURE_THRESHOLD, (uint32_t)thresholdType, temp);
}

/* Only the acoustic target can be moved, between the two acoustic bounds. */
nvmlReturn_t vgpu_nvmlDeviceSetTemperatureThreshold(struct vgpu_process *process, struct vgpu_call *call,
                                                    nvmlDevice_t device, nvmlTemperatureThresholds_t thresholdType,
                                                    int *temp) {
    const struct vgpu_gpu *gpu;
    int64_t least, most;
    nvmlReturn_t refusal = vgpu_nvml_settable(process, device, &gpu);
    if (refusal == NVML_ERROR_INVALID_ARGUMENT || temp == NULL || thresholdType < 0 || thresholdType >= THRESHOLDS) {
        return NVML_ERROR_INVALID_ARGUMENT;
    }
    if (refusal != NVML_SUCCESS) {
        return refusal;
    }
    if (thresholdType != THRESHOLD_ACOUSTIC_CURRENT ||
        !vgpu_nvml_get(process, gpu, VGPU_PROPERTY_TEMPERATURE_THRESHOLD, THRESHOLD_ACOUSTIC_MIN, &least) ||
        !vgpu_nvml_get(process, gpu, VGPU_PROPERTY_TEMPERATURE_THRESHOLD, THRESHOLD_ACOUSTIC_MAX, &most)) {
        return NVML_ERROR_NOT_SUPPORTED;
    }
    vgpu_nvml_say_pci(call, gpu);
    return *temp < least || *temp > most
               ? NVML_ERROR_INVALID_ARGUMENT
               : vgpu_nvml_set(process, gpu, VGPU_PROPERTY_TEMPERATURE_THRESHOLD, THRESHOLD_ACOUSTIC_CURRENT, *temp);
}

nvmlReturn_t vgpu_nvmlDeviceGetMarginTemperature(struct vgpu_process *process, struct vgpu_call *call,
                                                 nvmlDevice_t device, nvmlMarginTemperature_t *marginTempInfo) {
    const struct vgpu_gpu *gpu = vgpu_nvml_gpu(process, device);
    int64_t now, slowdown;
    if (gpu == NULL || marginTempInfo == NULL) {
        return NVML_ERROR_INVALID_ARGUMENT;
    }
    if (marginTempInfo->version != VGPU_NVML_STRUCT(nvmlMarginTemperature_t, 1)) {
        return NVML_ERROR_ARGUMENT_VERSION_MISMATCH;
    }
    if (!vgpu_nvml_get(process, gpu, VGPU_PROPERTY_TEMPERATURE, 0, &now) ||
        !vgpu_nvml_get(process, gpu, VGPU_PROPERTY_TEMPERATURE_THRESHOLD, THRESHOLD_SLOWDOWN, &slowdown)) {
        return NVML_ERROR_NOT_SUPPORTED;
    }
    return vgpu_nvml_say(call, gpu, (unsigned int *)&marginTempInfo->marginTemperature, slowdown - now);
}

/* There is one sensor, the GPU's own; it is asked for by its index or with all. */
nvmlReturn_t vgpu_nvmlDeviceGetThermalSettings(struct vgpu_process *process, struct vgpu_call *call,
                                               nvmlDevice_t device, unsigned int sensorIndex,
                                               nvmlGpuThermalSettings_t *pThermalSettings) {
    const struct vgpu_gpu *gpu = vgpu_nvml_gpu(process, device);
    int64_t now;
    if (gpu == NULL || pThermalSettings == NULL || (sensorIndex != 0 && sensorIndex != ALL_SENSORS)) {
        return NVML_ERROR_INVALID_ARGUMENT;
    }
    if (!vgpu_nvml_get(process, gpu, VGPU_PROPERTY_TEMPERATURE, 0, &now)) {
        return NVML_ERROR_NOT_SUPPORTED;
    }
    memset(pThermalSettings, 0, sizeof(*pThermalSettings));
    pThermalSettings->sensor[0] = (struct vgpu_nvml_thermal_sensor){
        .controller = CONTROLLER_INTERNAL,
        .defaultMaxTemp = SENSOR_MAX,
        .currentTemp = (int)now,
        .target = TARGET_GPU,
    };
    return vgpu_nvml_say(call, gpu, &pThermalSettings->count, 1);
}
