/* Prints where the compiler puts the fields of the CUDA runtime's structs, and the numbers of its result codes, by one
 * of two headers: NVIDIA's own (NVIDIA defined) or this project's. Both must print the same for the same CUDART_MAJOR.
 */
#include <stddef.h>
#include <stdio.h>

#ifdef NVIDIA
#include <driver_types.h>
#include <vector_types.h>
#else
#include "cudalibs/runtime.h"
#endif

#define FIELD(type, name) printf("%s.%s %zu %zu\n", #type, #name, offsetof(type, name), sizeof(((type *)NULL)->name));

int main(void) {
#define CUDART_PROP(type, name, dimension, attribute) FIELD(struct cudaDeviceProp, name)
#include "cudalibs/device_prop.def"
    printf("struct cudaDeviceProp %zu\n", sizeof(struct cudaDeviceProp));

    FIELD(struct cudaFuncAttributes, sharedSizeBytes)
    FIELD(struct cudaFuncAttributes, constSizeBytes)
    FIELD(struct cudaFuncAttributes, localSizeBytes)
    FIELD(struct cudaFuncAttributes, maxThreadsPerBlock)
    FIELD(struct cudaFuncAttributes, numRegs)
    FIELD(struct cudaFuncAttributes, binaryVersion)
    FIELD(struct cudaFuncAttributes, maxDynamicSharedSizeBytes)
    FIELD(struct cudaFuncAttributes, nonPortableClusterSizeAllowed)
    printf("struct cudaFuncAttributes %zu\n", sizeof(struct cudaFuncAttributes));

    FIELD(cudaLaunchConfig_t, gridDim)
    FIELD(cudaLaunchConfig_t, blockDim)
    FIELD(cudaLaunchConfig_t, dynamicSmemBytes)
    FIELD(cudaLaunchConfig_t, stream)
    FIELD(cudaLaunchConfig_t, attrs)
    FIELD(cudaLaunchConfig_t, numAttrs)
    printf("cudaLaunchConfig_t %zu\n", sizeof(cudaLaunchConfig_t));

    FIELD(cudaGraphExecUpdateResultInfo, result)
    FIELD(cudaGraphExecUpdateResultInfo, errorNode)
    FIELD(cudaGraphExecUpdateResultInfo, errorFromNode)
    printf("dim3 %zu, cudaError_t %zu\n", sizeof(struct dim3), sizeof(cudaError_t));

    const int numbers[] = {cudaDevAttrIntegrated,
                           cudaDevAttrPciBusId,
                           cudaDevAttrPciDeviceId,
                           cudaDevAttrPciDomainId,
                           cudaDevAttrComputeCapabilityMajor,
                           cudaDevAttrComputeCapabilityMinor,
                           cudaDevAttrCooperativeLaunch,
                           cudaMemcpyHostToHost,
                           cudaMemcpyHostToDevice,
                           cudaMemcpyDeviceToHost,
                           cudaMemcpyDeviceToDevice,
                           cudaMemcpyDefault};
    for (size_t i = 0; i < sizeof(numbers) / sizeof(numbers[0]); i++) {
        printf("number %zu is %d\n", i, numbers[i]);
    }
#define CUDART_CODE(name, number, text) printf("%s %d\n", #name, (int)name);
#include "cudalibs/errors.def"
    return 0;
}
