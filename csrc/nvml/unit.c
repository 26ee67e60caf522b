/* Units are S-class systems of GPUs in a box of their own, gone since Fermi: there is none, and no handle of one. */
#include "nvml/model.h"
#include "nvml/structs_unit.h"

static nvmlReturn_t none(struct vgpu_call *call, unsigned int *count) {
    if (count == NULL) {
        return NVML_ERROR_INVALID_ARGUMENT;
    }
    *count = 0;
    vgpu_call_output(call, count, sizeof(*count));
    return NVML_SUCCESS;
}

nvmlReturn_t vgpu_nvmlUnitGetCount(struct vgpu_process *process, struct vgpu_call *call, unsigned int *unitCount) {
    (void)process;
    return none(call, unitCount);
}

/* The entries may be NULL: there is none to write. */
nvmlReturn_t vgpu_nvmlSystemGetHicVersion(struct vgpu_process *process, struct vgpu_call *call, unsigned int *hwbcCount,
                                          nvmlHwbcEntry_t *hwbcEntries) {
    (void)process;
    (void)hwbcEntries;
    return none(call, hwbcCount);
}

#define NO_SUCH_UNIT(name, ...)                                                                                        \
    nvmlReturn_t vgpu_##name(struct vgpu_process *process, struct vgpu_call *call, __VA_ARGS__) {                      \
        return no_such_unit(process, call);                                                                            \
    }

static nvmlReturn_t no_such_unit(const struct vgpu_process *process, const struct vgpu_call *call) {
    (void)process;
    (void)call;
    return NVML_ERROR_INVALID_ARGUMENT;
}

#pragma GCC diagnostic ignored "-Wunused-parameter"
NO_SUCH_UNIT(nvmlUnitGetHandleByIndex, unsigned int index, nvmlUnit_t *unit)
NO_SUCH_UNIT(nvmlUnitGetUnitInfo, nvmlUnit_t unit, nvmlUnitInfo_t *info)
NO_SUCH_UNIT(nvmlUnitGetLedState, nvmlUnit_t unit, nvmlLedState_t *state)
NO_SUCH_UNIT(nvmlUnitGetPsuInfo, nvmlUnit_t unit, nvmlPSUInfo_t *psu)
NO_SUCH_UNIT(nvmlUnitGetTemperature, nvmlUnit_t unit, unsigned int type, unsigned int *temp)
NO_SUCH_UNIT(nvmlUnitGetFanSpeedInfo, nvmlUnit_t unit, nvmlUnitFanSpeeds_t *fanSpeeds)
NO_SUCH_UNIT(nvmlUnitGetDevices, nvmlUnit_t unit, unsigned int *deviceCount, nvmlDevice_t *devices)
NO_SUCH_UNIT(nvmlUnitSetLedState, nvmlUnit_t unit, nvmlLedColor_t color)
