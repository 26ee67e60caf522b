/* Structs of nvml.h 13.5 about NVLink and its fabric. Written from the documented ABI. */
#ifndef VGPU_NVML_STRUCTS_LINK_H
#define VGPU_NVML_STRUCTS_LINK_H

#include "nvml/names.h"

struct nvmlGpuFabricInfo_st {
    unsigned char clusterUuid[16];
    nvmlReturn_t status;
    unsigned int cliqueId;
    unsigned char state;
};

struct nvmlGpuFabricInfoV_st {
    unsigned int version;
    unsigned char clusterUuid[16];
    nvmlReturn_t status;
    unsigned int cliqueId;
    unsigned char state;
    unsigned int healthMask;
    unsigned char healthSummary;
};

struct vgpu_nvml_fabric_clique {
    unsigned char type;
    unsigned int id;
};

struct nvmlGpuFabricInfo_v4_st {
    unsigned char clusterUuid[16];
    nvmlReturn_t status;
    struct vgpu_nvml_fabric_clique cliques[64];
    unsigned int numCliques;
    unsigned char state;
    unsigned int healthMask;
    unsigned char healthSummary;
};

struct nvmlNvlinkSupportedBwModes_st {
    unsigned int version;
    unsigned char bwModes[23];
    unsigned char totalBwModes;
};

struct nvmlNvlinkGetBwMode_st {
    unsigned int version;
    unsigned int bIsBest;
    unsigned char bwMode;
};

struct nvmlNvlinkSetBwMode_st {
    unsigned int version;
    unsigned int bSetBest;
    unsigned char bwMode;
};

struct nvmlNvLinkPowerThres_st {
    unsigned int lowPwrThreshold;
};

struct vgpu_nvml_nvlink_firmware_version {
    unsigned char ucodeType;
    unsigned int major;
    unsigned int minor;
    unsigned int subMinor;
};

struct vgpu_nvml_nvlink_firmware_info {
    struct vgpu_nvml_nvlink_firmware_version firmwareVersion[100];
    unsigned int numValidEntries;
};

struct nvmlNvLinkInfo_st {
    unsigned int version;
    unsigned int isNvleEnabled;
    struct vgpu_nvml_nvlink_firmware_info firmwareInfo;
};

struct nvmlNvLinkInfo_v3_st {
    unsigned int isNvleEnabled;
    struct vgpu_nvml_nvlink_firmware_info firmwareInfo;
    unsigned int isNvleReady;
};

#ifndef VGPU_CDEF
static_assert(sizeof(struct nvmlGpuFabricInfo_st) == 28, "as nvml.h has it");
static_assert(sizeof(struct nvmlGpuFabricInfoV_st) == 40, "as nvml.h has it");
static_assert(sizeof(struct nvmlGpuFabricInfo_v4_st) == 548, "as nvml.h has it");
static_assert(sizeof(struct nvmlNvlinkSupportedBwModes_st) == 28, "as nvml.h has it");
static_assert(sizeof(struct nvmlNvlinkGetBwMode_st) == 12, "as nvml.h has it");
static_assert(sizeof(struct nvmlNvlinkSetBwMode_st) == 12, "as nvml.h has it");
static_assert(sizeof(struct nvmlNvLinkInfo_st) == 1612, "as nvml.h has it");
static_assert(sizeof(struct nvmlNvLinkInfo_v3_st) == 1612, "as nvml.h has it");
#endif

#endif
