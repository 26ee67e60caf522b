/* Structs of nvml.h 13.5 about what a device is. Written from the documented ABI. */
#ifndef VGPU_NVML_STRUCTS_DEVICE_H
#define VGPU_NVML_STRUCTS_DEVICE_H

#include "nvml/names.h"

enum vgpu_nvml_device_size {
    VGPU_NVML_HOSTNAME_SIZE = 64, /* NVML_DEVICE_HOSTNAME_BUFFER_SIZE */
    VGPU_NVML_UUID_TEXT = 41,     /* NVML_DEVICE_UUID_ASCII_LEN */
    VGPU_NVML_UUID_BYTES = 16,    /* NVML_DEVICE_UUID_BINARY_LEN */
    VGPU_NVML_UUID_BUFFER = 80,
    VGPU_NVML_VERSION_BUFFER = 80,
    VGPU_NVML_BRIDGES_MAX = 128,
    VGPU_NVML_CLOCK_DOMAINS_MAX = 32,
    VGPU_NVML_GUID = 16,
    VGPU_NVML_CHASSIS_SERIAL = 16,
    VGPU_NVML_GSP_VERSION = 64, /* NVML_GSP_FIRMWARE_VERSION_BUF_SIZE */
};

struct nvmlUUID_st {
    unsigned int version;
    unsigned int type; /* 1 text, 2 bytes */
    union {
        char str[VGPU_NVML_UUID_TEXT];
        unsigned char bytes[VGPU_NVML_UUID_BYTES];
    } value;
};

struct nvmlSystemDriverBranchInfo_st {
    unsigned int version;
    char branch[VGPU_NVML_VERSION_BUFFER];
};

struct nvmlExcludedDeviceInfo_st {
    nvmlPciInfo_t pciInfo;
    char uuid[VGPU_NVML_UUID_BUFFER];
};

struct nvmlPciInfoExt_st {
    unsigned int version;
    unsigned int domain;
    unsigned int bus;
    unsigned int device;
    unsigned int pciDeviceId;
    unsigned int pciSubSystemId;
    unsigned int baseClass;
    unsigned int subClass;
    char busId[VGPU_NVML_PCI];
};

struct nvmlDeviceAddressingMode_st {
    unsigned int version;
    unsigned int value;
};

struct nvmlRepairStatus_st {
    unsigned int version;
    unsigned int bChannelRepairPending;
    unsigned int bTpcRepairPending;
};

struct nvmlBBXTimeData_v1_st {
    unsigned int timeRun; /* seconds */
};

struct nvmlGpuUptime_v1_st {
    unsigned int uptime; /* seconds */
};

struct vgpu_nvml_bridge_chip {
    int type;
    unsigned int fwVersion;
};

struct nvmlBridgeChipHierarchy_st {
    unsigned char bridgeCount;
    struct vgpu_nvml_bridge_chip bridgeChipInfo[VGPU_NVML_BRIDGES_MAX];
};

struct vgpu_nvml_clock_fault {
    unsigned int clkApiDomain;
    unsigned int clkDomainFaultMask;
};

struct nvmlClkMonStatus_status {
    unsigned int bGlobalStatus;
    unsigned int clkMonListSize;
    struct vgpu_nvml_clock_fault clkMonList[VGPU_NVML_CLOCK_DOMAINS_MAX];
};

/* Version 1 has a rack's GUID where version 2 has the chassis's serial number; both are of one layout. */
struct nvmlPlatformInfo_st {
    unsigned int version;
    unsigned char ibGuid[VGPU_NVML_GUID];
    unsigned char chassisSerialNumber[VGPU_NVML_CHASSIS_SERIAL];
    unsigned char slotNumber;
    unsigned char trayIndex;
    unsigned char hostId;
    unsigned char peerType;
    unsigned char moduleId;
};

struct nvmlPdi_st {
    unsigned int version;
    unsigned long long value;
};

struct nvmlHostname_v1_st {
    char value[VGPU_NVML_HOSTNAME_SIZE];
};

struct nvmlDeviceCapabilities_st {
    unsigned int version;
    unsigned int capMask;
};

#ifndef VGPU_CDEF
static_assert(sizeof(struct nvmlUUID_st) == 52, "as nvml.h has it");
static_assert(sizeof(struct nvmlSystemDriverBranchInfo_st) == 84, "as nvml.h has it");
static_assert(sizeof(struct nvmlExcludedDeviceInfo_st) == 148, "as nvml.h has it");
static_assert(sizeof(struct nvmlPciInfoExt_st) == 64, "as nvml.h has it");
static_assert(sizeof(struct nvmlDeviceAddressingMode_st) == 8, "as nvml.h has it");
static_assert(sizeof(struct nvmlRepairStatus_st) == 12, "as nvml.h has it");
static_assert(sizeof(struct nvmlBridgeChipHierarchy_st) == 1028, "as nvml.h has it");
static_assert(sizeof(struct nvmlClkMonStatus_status) == 264, "as nvml.h has it");
static_assert(sizeof(struct nvmlPlatformInfo_st) == 44, "as nvml.h has it");
static_assert(sizeof(struct nvmlPdi_st) == 16, "as nvml.h has it");
static_assert(sizeof(struct nvmlDeviceCapabilities_st) == 8, "as nvml.h has it");
#endif

#endif
