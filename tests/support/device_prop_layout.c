/* Compares struct cudaDeviceProp of csrc/cudalibs with NVIDIA's own, field by field; compiling it is the check:
 *
 *     cc -std=gnu11 -fsyntax-only -DCUDART_MAJOR=13 -I csrc/cudalibs -isystem TOOLKIT/include device_prop_layout.c
 *
 * It needs driver_types.h and crt/host_defines.h. PyPI has them for 13.0 in nvidia-cuda-runtime 13.0.96 and
 * nvidia-cuda-crt 13.0.88, for 12.8 in nvidia-cuda-runtime-cu12 12.8.90 and nvidia-cuda-nvcc-cu12 12.8.93. With
 * -DCUDART_MAJOR=12, -DOLD_LAYOUT and the driver_types.h of nvidia-cuda-runtime-cu11 11.8.89 it checks the struct that
 * cudaGetDeviceProperties of libcudart.so.12 fills: the first fields of 12. */
#define cudaDeviceProp our_device_prop
#define cudaUUID_t our_uuid_t
#define CUuuid_st our_uuid
#include "device_prop.h"
#undef cudaDeviceProp
#undef cudaUUID_t
#undef CUuuid_st

#include <driver_types.h>

#define SAME(name)                                                                                                     \
    _Static_assert(offsetof(struct our_device_prop, name) == offsetof(struct cudaDeviceProp, name), #name " moved");   \
    _Static_assert(sizeof(((struct our_device_prop *)0)->name) == sizeof(((struct cudaDeviceProp *)0)->name),          \
                   #name " has another size");

#ifdef OLD_LAYOUT
_Static_assert(offsetof(struct our_device_prop, hostRegisterSupported) == sizeof(struct cudaDeviceProp),
               "the old struct ends where 12.0 added fields");
SAME(name)
SAME(uuid)
SAME(totalGlobalMem)
SAME(major)
SAME(minor)
SAME(multiProcessorCount)
SAME(pciBusID)
SAME(pciDeviceID)
SAME(pciDomainID)
SAME(cooperativeLaunch)
SAME(sharedMemPerBlockOptin)
SAME(reservedSharedMemPerBlock)
#else
_Static_assert(sizeof(struct our_device_prop) == sizeof(struct cudaDeviceProp), "the structs have one size");
#define CUDART_PROP(type, name, dimension, attribute) SAME(name)
#include "device_prop.def"
#endif
