/* Structs of nvml.h 13.5 about clocks, power, temperature and fans. Written from the documented ABI. */
#ifndef VGPU_NVML_STRUCTS_CLOCK_H
#define VGPU_NVML_STRUCTS_CLOCK_H

#include "nvml/names.h"

enum vgpu_nvml_clock {
    VGPU_NVML_CLOCK_GRAPHICS = 0,
    VGPU_NVML_CLOCK_SM = 1,
    VGPU_NVML_CLOCK_MEMORY = 2,
    VGPU_NVML_CLOCK_VIDEO = 3,
    VGPU_NVML_CLOCKS = 4,
};

enum vgpu_nvml_clock_size {
    VGPU_NVML_SENSORS_MAX = 3,
    VGPU_NVML_UTILIZATIONS_MAX = 8,
    VGPU_NVML_PSTATES_MAX = 16,
    VGPU_NVML_PSTATE_UNKNOWN = 32,
    VGPU_NVML_PERFORMANCE_MODES = 2048, /* NVML_PERF_MODES_BUFFER_SIZE */
    VGPU_NVML_MASK_WORDS = 8,
    VGPU_NVML_PROFILES_MAX = 255,
};

struct nvmlGpuThermalSettings_st {
    unsigned int count;
    struct vgpu_nvml_thermal_sensor {
        int controller;
        int defaultMinTemp;
        int defaultMaxTemp;
        int currentTemp;
        int target;
    } sensor[VGPU_NVML_SENSORS_MAX];
};

struct nvmlCoolerInfo_st {
    unsigned int version;
    unsigned int index;
    int signalType;
    int target;
};

struct nvmlTemperature_st {
    unsigned int version;
    int sensorType;
    int temperature;
};

struct nvmlMarginTemperature_st {
    unsigned int version;
    int marginTemperature;
};

struct nvmlFanSpeedInfo_st {
    unsigned int version;
    unsigned int fan;
    unsigned int speed; /* revolutions a minute */
};

struct nvmlClockOffset_st {
    unsigned int version;
    int type;
    int pstate;
    int clockOffsetMHz;
    int minClockOffsetMHz;
    int maxClockOffsetMHz;
};

struct nvmlDevicePerfModes_st {
    unsigned int version;
    char str[VGPU_NVML_PERFORMANCE_MODES];
};

struct nvmlDeviceCurrentClockFreqs_st {
    unsigned int version;
    char str[VGPU_NVML_PERFORMANCE_MODES];
};

struct nvmlDevicePowerMizerModes_v1_st {
    unsigned int currentMode;
    unsigned int mode; /* the one to be set */
    unsigned int supportedPowerMizerModes;
};

struct nvmlPowerValue_v2_st {
    unsigned int version;
    unsigned char powerScope;
    unsigned int powerValueMw;
};

struct nvmlAdaptiveTgpModeInfo_v1_st {
    int inBandEnableRequest;
    int featureAllowedByAdmin;
    int adminOverrideEnabled;
    int enablementStatus;
    unsigned int adjustedLimitMw;
};

struct nvmlGpuDynamicPstatesInfo_st {
    unsigned int flags;
    struct vgpu_nvml_utilization_domain {
        unsigned int bIsPresent;
        unsigned int percentage;
        unsigned int incThreshold;
        unsigned int decThreshold;
    } utilization[VGPU_NVML_UTILIZATIONS_MAX];
};

struct vgpu_nvml_mask {
    unsigned int mask[VGPU_NVML_MASK_WORDS];
};

struct vgpu_nvml_workload_profile {
    unsigned int version;
    unsigned int profileId;
    unsigned int priority;
    struct vgpu_nvml_mask conflictingMask;
};

struct nvmlWorkloadPowerProfileProfilesInfo_st {
    unsigned int version;
    struct vgpu_nvml_mask perfProfilesMask;
    struct vgpu_nvml_workload_profile perfProfile[VGPU_NVML_PROFILES_MAX];
};

struct nvmlWorkloadPowerProfileCurrentProfiles_st {
    unsigned int version;
    struct vgpu_nvml_mask perfProfilesMask;
    struct vgpu_nvml_mask requestedProfilesMask;
    struct vgpu_nvml_mask enforcedProfilesMask;
};

struct nvmlWorkloadPowerProfileRequestedProfiles_st {
    unsigned int version;
    struct vgpu_nvml_mask requestedProfilesMask;
};

struct nvmlWorkloadPowerProfileUpdateProfiles_v1_st {
    int operation;
    struct vgpu_nvml_mask updateProfilesMask;
};

#ifndef VGPU_CDEF
static_assert(sizeof(struct nvmlGpuThermalSettings_st) == 64, "as nvml.h has it");
static_assert(sizeof(struct nvmlCoolerInfo_st) == 16, "as nvml.h has it");
static_assert(sizeof(struct nvmlTemperature_st) == 12, "as nvml.h has it");
static_assert(sizeof(struct nvmlClockOffset_st) == 24, "as nvml.h has it");
static_assert(sizeof(struct nvmlDevicePerfModes_st) == 2052, "as nvml.h has it");
static_assert(sizeof(struct nvmlPowerValue_v2_st) == 12, "as nvml.h has it");
static_assert(sizeof(struct nvmlGpuDynamicPstatesInfo_st) == 132, "as nvml.h has it");
static_assert(sizeof(struct nvmlWorkloadPowerProfileProfilesInfo_st) == 11256, "as nvml.h has it");
static_assert(sizeof(struct nvmlWorkloadPowerProfileCurrentProfiles_st) == 100, "as nvml.h has it");
#endif

#endif
