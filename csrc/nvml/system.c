/* Versions. NVML's own is always there. The CUDA driver's needs no nvmlInit where there is a driver (nvml.h's list of
 * codes); without one it is uninitialised (measured on 535.261.03). */
#include <string.h>

#include "nvml/model.h"

static const char own_version[] = "13.580.95.05"; /* where there is no host image */

nvmlReturn_t vgpu_nvml_text(struct vgpu_call *call, const char *text, char *to, unsigned int length) {
    if (to == NULL) {
        return NVML_ERROR_INVALID_ARGUMENT;
    }
    size_t size = strlen(text) + 1;
    if (size > length) {
        return NVML_ERROR_INSUFFICIENT_SIZE;
    }
    memcpy(to, text, size);
    vgpu_call_text(call, to, length);
    return NVML_SUCCESS;
}

nvmlReturn_t vgpu_nvmlSystemGetDriverVersion(struct vgpu_process *process, struct vgpu_call *call, char *version,
                                             unsigned int length) {
    return vgpu_nvml_text(call, process->image->driver.version, version, length);
}

nvmlReturn_t vgpu_nvmlSystemGetNVMLVersion(struct vgpu_process *process, struct vgpu_call *call, char *version,
                                           unsigned int length) {
    const char *text = process->image != NULL ? process->image->driver.nvml_version : own_version;
    return vgpu_nvml_text(call, text, version, length);
}

nvmlReturn_t vgpu_nvmlSystemGetCudaDriverVersion(struct vgpu_process *process, struct vgpu_call *call,
                                                 int *cudaDriverVersion) {
    if (process->image == NULL) {
        return NVML_ERROR_UNINITIALIZED;
    }
    if (cudaDriverVersion == NULL) {
        return NVML_ERROR_INVALID_ARGUMENT;
    }
    *cudaDriverVersion = process->image->driver.cuda_version;
    vgpu_call_output(call, cudaDriverVersion, sizeof(*cudaDriverVersion));
    return NVML_SUCCESS;
}

nvmlReturn_t vgpu_nvmlSystemGetCudaDriverVersion_v2(struct vgpu_process *process, struct vgpu_call *call,
                                                    int *cudaDriverVersion) {
    return vgpu_nvmlSystemGetCudaDriverVersion(process, call, cudaDriverVersion);
}
