/* struct cudaDeviceProp: for CUDART_MAJOR 12 the layout of cudaGetDeviceProperties_v2, for 13 that of
 * cudaGetDeviceProperties. The offsets below were taken with a compiler from driver_types.h of the wheels
 * nvidia-cuda-runtime-cu12 12.8.90 and nvidia-cuda-runtime 13.0.96. */
#ifndef CUDALIBS_DEVICE_PROP_H
#define CUDALIBS_DEVICE_PROP_H

#include <assert.h>
#include <stddef.h>

#if CUDART_MAJOR != 12 && CUDART_MAJOR != 13
#error "define CUDART_MAJOR: 12 or 13, the major version of the CUDA runtime that is meant"
#endif

typedef struct CUuuid_st cudaUUID_t;
struct CUuuid_st {
    char bytes[16];
};

struct cudaDeviceProp {
#define CUDART_PROP(type, name, dimension, attribute) type name dimension;
#include "device_prop.def"
};

#define CUDART_AT(name, offset)                                                                                        \
    static_assert(offsetof(struct cudaDeviceProp, name) == (offset), #name " is where NVIDIA's header has it")
#if CUDART_MAJOR == 12
static_assert(sizeof(struct cudaDeviceProp) == 1032, "as NVIDIA's header has it");
CUDART_AT(totalGlobalMem, 288);
CUDART_AT(totalConstMem, 352);
CUDART_AT(major, 360);
CUDART_AT(minor, 364);
CUDART_AT(multiProcessorCount, 388);
CUDART_AT(integrated, 396);
CUDART_AT(maxTextureCubemap, 480);
CUDART_AT(surfaceAlignment, 568);
CUDART_AT(pciBusID, 584);
CUDART_AT(pciDomainID, 592);
CUDART_AT(memoryBusWidth, 612);
CUDART_AT(sharedMemPerMultiprocessor, 640);
CUDART_AT(pageableMemoryAccess, 672);
CUDART_AT(cooperativeLaunch, 688);
CUDART_AT(sharedMemPerBlockOptin, 696);
CUDART_AT(hostRegisterSupported, 728);
CUDART_AT(unifiedFunctionPointers, 776);
CUDART_AT(reserved, 780);
#else
static_assert(sizeof(struct cudaDeviceProp) == 1008, "as NVIDIA's header has it");
CUDART_AT(totalGlobalMem, 288);
CUDART_AT(totalConstMem, 352);
CUDART_AT(major, 360);
CUDART_AT(minor, 364);
CUDART_AT(multiProcessorCount, 384);
CUDART_AT(integrated, 388);
CUDART_AT(maxTextureCubemap, 464);
CUDART_AT(surfaceAlignment, 552);
CUDART_AT(pciBusID, 568);
CUDART_AT(pciDomainID, 576);
CUDART_AT(memoryBusWidth, 592);
CUDART_AT(sharedMemPerMultiprocessor, 624);
CUDART_AT(pageableMemoryAccess, 652);
CUDART_AT(cooperativeLaunch, 668);
CUDART_AT(sharedMemPerBlockOptin, 672);
CUDART_AT(hostRegisterSupported, 704);
CUDART_AT(unifiedFunctionPointers, 752);
CUDART_AT(reserved, 784);
#endif
#undef CUDART_AT

#endif
