/* Structs of nvml.h 13.5 about events, accounting, performance monitoring, confidential computing. Written from the
 * documented ABI. */
#ifndef VGPU_NVML_STRUCTS_EVENT_H
#define VGPU_NVML_STRUCTS_EVENT_H

#include "nvml/names.h"

enum { VGPU_NVML_GPM_METRICS = 477 }; /* NVML_GPM_METRIC_MAX; nvml.h 12.9 has fewer, so a shorter struct */

struct nvmlEventData_st {
    nvmlDevice_t device;
    unsigned long long eventType;
    unsigned long long eventData;
    unsigned int gpuInstanceId;
    unsigned int computeInstanceId;
};

struct nvmlSystemEventSetCreateRequest_st {
    unsigned int version;
    struct nvmlEventSet_st *set;
};

struct nvmlSystemEventSetFreeRequest_st {
    unsigned int version;
    struct nvmlEventSet_st *set;
};

struct nvmlSystemRegisterEventRequest_st {
    unsigned int version;
    unsigned long long eventTypes;
    struct nvmlEventSet_st *set;
};

struct vgpu_nvml_system_event {
    unsigned long long eventType;
    unsigned int gpuId;
};

struct nvmlSystemEventSetWaitRequest_st {
    unsigned int version;
    unsigned int timeoutms;
    struct nvmlEventSet_st *set;
    struct vgpu_nvml_system_event *data;
    unsigned int dataSize;
    unsigned int numEvent;
};

struct nvmlAccountingStats_st {
    unsigned int gpuUtilization;
    unsigned int memoryUtilization;
    unsigned long long maxMemoryUsage;
    unsigned long long time;
    unsigned long long startTime;
    unsigned int isRunning;
    unsigned int reserved[5];
};

struct nvmlAccountingStats_v2_st {
    unsigned int pid;
    unsigned int isRunning;
    unsigned int gpuUtilization;
    unsigned int memoryUtilization;
    unsigned long long maxMemoryUsage;
    unsigned int sampleCount;
    unsigned long long sumGpuUtil;
    unsigned long long sumFbUtil;
    unsigned long long time;
    unsigned long long startTime;
};

struct nvmlConfComputeSystemCaps_st {
    unsigned int cpuCaps;
    unsigned int gpusCaps;
};

struct nvmlConfComputeSystemState_st {
    unsigned int environment;
    unsigned int ccFeature;
    unsigned int devToolsMode;
};

struct nvmlSystemConfComputeSettings_st {
    unsigned int version;
    unsigned int environment;
    unsigned int ccFeature;
    unsigned int devToolsMode;
    unsigned int multiGpuMode;
};

struct nvmlConfComputeMemSizeInfo_st {
    unsigned long long protectedMemSizeKib;
    unsigned long long unprotectedMemSizeKib;
};

struct vgpu_nvml_gpm_metric {
    unsigned int metricId;
    nvmlReturn_t nvmlReturn;
    double value;
    const char *shortName;
    const char *longName;
    const char *unit;
};

struct nvmlGpmMetricsGet_st {
    unsigned int version;
    unsigned int numMetrics;
    nvmlGpmSample_t sample1;
    nvmlGpmSample_t sample2;
    struct vgpu_nvml_gpm_metric metrics[VGPU_NVML_GPM_METRICS];
};

struct nvmlGpmSupport_st {
    unsigned int version;
    unsigned int isSupportedDevice;
};

#ifndef VGPU_CDEF
static_assert(sizeof(struct nvmlEventData_st) == 32, "as nvml.h has it");
static_assert(sizeof(struct nvmlSystemEventSetCreateRequest_st) == 16, "as nvml.h has it");
static_assert(sizeof(struct nvmlSystemRegisterEventRequest_st) == 24, "as nvml.h has it");
static_assert(sizeof(struct vgpu_nvml_system_event) == 16, "as nvml.h has it");
static_assert(sizeof(struct nvmlSystemEventSetWaitRequest_st) == 32, "as nvml.h has it");
static_assert(sizeof(struct nvmlAccountingStats_st) == 56, "as nvml.h has it");
static_assert(sizeof(struct nvmlAccountingStats_v2_st) == 64, "as nvml.h has it");
static_assert(sizeof(struct nvmlConfComputeSystemCaps_st) == 8, "as nvml.h has it");
static_assert(sizeof(struct nvmlConfComputeSystemState_st) == 12, "as nvml.h has it");
static_assert(sizeof(struct nvmlSystemConfComputeSettings_st) == 20, "as nvml.h has it");
static_assert(sizeof(struct nvmlConfComputeMemSizeInfo_st) == 16, "as nvml.h has it");
static_assert(sizeof(struct vgpu_nvml_gpm_metric) == 40, "as nvml.h has it");
static_assert(sizeof(struct nvmlGpmMetricsGet_st) == 19104, "as nvml.h has it");
static_assert(sizeof(struct nvmlGpmSupport_st) == 8, "as nvml.h has it");
#endif

#endif
