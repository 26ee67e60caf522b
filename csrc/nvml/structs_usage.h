/* Structs of nvml.h 13.5 about memory, errors, utilisation, processes. Written from the documented ABI. */
#ifndef VGPU_NVML_STRUCTS_USAGE_H
#define VGPU_NVML_STRUCTS_USAGE_H

#include "nvml/names.h"

struct nvmlEccErrorCounts_st {
    unsigned long long l1Cache;
    unsigned long long l2Cache;
    unsigned long long deviceMemory;
    unsigned long long registerFile;
};

struct nvmlUtilization_st {
    unsigned int gpu;
    unsigned int memory;
};

struct nvmlBAR1Memory_st {
    unsigned long long bar1Total;
    unsigned long long bar1Free;
    unsigned long long bar1Used;
};

struct nvmlProcessInfo_v1_st {
    unsigned int pid;
    unsigned long long usedGpuMemory;
};

struct nvmlProcessInfo_v2_st {
    unsigned int pid;
    unsigned long long usedGpuMemory;
    unsigned int gpuInstanceId;
    unsigned int computeInstanceId;
};

struct vgpu_nvml_process_detail {
    unsigned int pid;
    unsigned long long usedGpuMemory;
    unsigned int gpuInstanceId;
    unsigned int computeInstanceId;
    unsigned long long usedGpuCcProtectedMemory;
};

struct nvmlProcessDetailList_st {
    unsigned int version;
    unsigned int mode;
    unsigned int numProcArrayEntries;
    struct vgpu_nvml_process_detail *procArray;
};

struct nvmlUnrepairableMemoryStatus_v1_st {
    unsigned int bUnrepairableMemory;
};

struct nvmlRowRemapperHistogramValues_st {
    unsigned int max;
    unsigned int high;
    unsigned int partial;
    unsigned int low;
    unsigned int none;
};

union vgpu_nvml_value {
    double dVal;
    int siVal;
    unsigned int uiVal;
    unsigned long ulVal;
    unsigned long long ullVal;
    signed long long sllVal;
    unsigned short usVal;
};

struct nvmlSample_st {
    unsigned long long timeStamp;
    union vgpu_nvml_value sampleValue;
};

struct nvmlViolationTime_st {
    unsigned long long referenceTime;
    unsigned long long violationTime;
};

struct nvmlProcessUtilizationSample_st {
    unsigned int pid;
    unsigned long long timeStamp;
    unsigned int smUtil;
    unsigned int memUtil;
    unsigned int encUtil;
    unsigned int decUtil;
};

struct vgpu_nvml_process_utilization {
    unsigned long long timeStamp;
    unsigned int pid;
    unsigned int smUtil;
    unsigned int memUtil;
    unsigned int encUtil;
    unsigned int decUtil;
    unsigned int jpgUtil;
    unsigned int ofaUtil;
};

struct nvmlProcessesUtilizationInfo_st {
    unsigned int version;
    unsigned int processSamplesCount;
    unsigned long long lastSeenTimeStamp;
    struct vgpu_nvml_process_utilization *procUtilArray;
};

struct nvmlEccSramErrorStatus_st {
    unsigned int version;
    unsigned long long aggregateUncParity;
    unsigned long long aggregateUncSecDed;
    unsigned long long aggregateCor;
    unsigned long long volatileUncParity;
    unsigned long long volatileUncSecDed;
    unsigned long long volatileCor;
    unsigned long long aggregateUncBucketL2;
    unsigned long long aggregateUncBucketSm;
    unsigned long long aggregateUncBucketPcie;
    unsigned long long aggregateUncBucketMcu;
    unsigned long long aggregateUncBucketOther;
    unsigned int bThresholdExceeded;
};

struct vgpu_nvml_sram_error {
    unsigned int unit;
    unsigned int location;
    unsigned int sublocation;
    unsigned int extlocation;
    unsigned int address;
    unsigned int isParity;
    unsigned int count;
};

struct nvmlEccSramUniqueUncorrectedErrorCounts_st {
    unsigned int version;
    unsigned int entryCount;
    struct vgpu_nvml_sram_error *entries;
};

struct nvmlRemappedRowsInfo_v2_t {
    unsigned int corrActiveRemaps;
    unsigned int corrInactiveRemaps;
    unsigned int uncActiveRemaps;
    unsigned int uncInactiveRemaps;
    unsigned int bPending;
    unsigned int bFailureOccurred;
};

struct nvmlFieldValue_st {
    unsigned int fieldId;
    unsigned int scopeId;
    long long timestamp;
    long long latencyUsec;
    nvmlValueType_t valueType;
    nvmlReturn_t nvmlReturn;
    union vgpu_nvml_value value;
};

struct nvmlEncoderSessionInfo_st {
    unsigned int sessionId;
    unsigned int pid;
    nvmlVgpuInstance_t vgpuInstance;
    nvmlEncoderType_t codecType;
    unsigned int hResolution;
    unsigned int vResolution;
    unsigned int averageFps;
    unsigned int averageLatency;
};

struct nvmlFBCStats_st {
    unsigned int sessionsCount;
    unsigned int averageFPS;
    unsigned int averageLatency;
};

struct nvmlFBCSessionInfo_st {
    unsigned int sessionId;
    unsigned int pid;
    nvmlVgpuInstance_t vgpuInstance;
    unsigned int displayOrdinal;
    int sessionType;
    unsigned int sessionFlags;
    unsigned int hMaxResolution;
    unsigned int vMaxResolution;
    unsigned int hResolution;
    unsigned int vResolution;
    unsigned int averageFPS;
    unsigned int averageLatency;
};

struct vgpu_nvml_bank_histogram {
    unsigned int maxSpareGroupCount;
    unsigned int noSpareGroupCount;
};

struct nvmlEccBankRemapperStatus_v1_st {
    unsigned int activeRemappings;
    unsigned int inactiveRemappings;
    unsigned int bPending;
    struct vgpu_nvml_bank_histogram histogram;
};

#ifndef VGPU_CDEF
static_assert(sizeof(struct nvmlEccErrorCounts_st) == 32, "as nvml.h has it");
static_assert(sizeof(struct nvmlUtilization_st) == 8, "as nvml.h has it");
static_assert(sizeof(struct nvmlBAR1Memory_st) == 24, "as nvml.h has it");
static_assert(sizeof(struct nvmlProcessInfo_v1_st) == 16, "as nvml.h has it");
static_assert(sizeof(struct nvmlProcessInfo_v2_st) == 24, "as nvml.h has it");
static_assert(sizeof(struct vgpu_nvml_process_detail) == 32, "as nvml.h has it");
static_assert(sizeof(struct nvmlProcessDetailList_st) == 24, "as nvml.h has it");
static_assert(sizeof(struct nvmlRowRemapperHistogramValues_st) == 20, "as nvml.h has it");
static_assert(sizeof(struct nvmlSample_st) == 16, "as nvml.h has it");
static_assert(sizeof(struct nvmlViolationTime_st) == 16, "as nvml.h has it");
static_assert(sizeof(struct nvmlProcessUtilizationSample_st) == 32, "as nvml.h has it");
static_assert(sizeof(struct vgpu_nvml_process_utilization) == 40, "as nvml.h has it");
static_assert(sizeof(struct nvmlProcessesUtilizationInfo_st) == 24, "as nvml.h has it");
static_assert(sizeof(struct nvmlEccSramErrorStatus_st) == 104, "as nvml.h has it");
static_assert(sizeof(struct vgpu_nvml_sram_error) == 28, "as nvml.h has it");
static_assert(sizeof(struct nvmlEccSramUniqueUncorrectedErrorCounts_st) == 16, "as nvml.h has it");
static_assert(sizeof(struct nvmlRemappedRowsInfo_v2_t) == 24, "as nvml.h has it");
static_assert(sizeof(struct nvmlFieldValue_st) == 40, "as nvml.h has it");
static_assert(sizeof(struct nvmlEncoderSessionInfo_st) == 32, "as nvml.h has it");
static_assert(sizeof(struct nvmlFBCStats_st) == 12, "as nvml.h has it");
static_assert(sizeof(struct nvmlFBCSessionInfo_st) == 48, "as nvml.h has it");
static_assert(sizeof(struct nvmlEccBankRemapperStatus_v1_st) == 20, "as nvml.h has it");
#endif

#endif
