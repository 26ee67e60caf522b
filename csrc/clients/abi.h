/* The parts of NVIDIA's public ABI that the clients use, as cuda.h and nvml.h publish them. The clients are stand-ins
 * for programs that know nothing of these shims, so they share no header with them. */
#ifndef CLIENTS_ABI_H
#define CLIENTS_ABI_H

#include <stddef.h>

typedef int cu_result;
typedef int cu_device;
typedef struct cu_context_opaque *cu_context;
typedef struct {
    unsigned char bytes[16];
} cu_uuid;

enum {
    CU_SUCCESS = 0,
    CU_NOT_INITIALIZED = 3,
    CU_INSUFFICIENT_DRIVER = 35,
    CU_CALL_REQUIRES_NEWER_DRIVER = 36,
    CU_NO_DEVICE = 100,
    CU_SYSTEM_DRIVER_MISMATCH = 803,
    CU_UNKNOWN = 999,
};

enum {
    CU_ATTRIBUTE_INTEGRATED = 18,
    CU_ATTRIBUTE_PCI_BUS = 33,
    CU_ATTRIBUTE_PCI_DEVICE = 34,
    CU_ATTRIBUTE_PCI_DOMAIN = 50,
    CU_ATTRIBUTE_COMPUTE_MAJOR = 75,
    CU_ATTRIBUTE_COMPUTE_MINOR = 76,
    CU_ATTRIBUTE_VMM_SUPPORTED = 102,
};

/* CUmemAllocationProp and CUmemAccessDesc: 32 and 12 bytes on LP64. */
struct cu_location {
    int type;
    int id;
};
struct cu_allocation_prop {
    int type;
    int handle_types;
    struct cu_location location;
    void *win32_meta_data;
    unsigned char alloc_flags[8];
};
struct cu_access {
    struct cu_location location;
    int flags;
};
enum { CU_ALLOCATION_PINNED = 1, CU_LOCATION_DEVICE = 1, CU_GRANULARITY_RECOMMENDED = 1, CU_ACCESS_READ_WRITE = 3 };

enum { NVML_OK = 0, NVML_NOT_SUPPORTED = 3 };
typedef struct nvml_device_opaque *nvml_device;
struct nvml_memory {
    unsigned long long total;
    unsigned long long free;
    unsigned long long used;
};

#endif
