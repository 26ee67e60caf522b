/* cuInit, the driver's version, and the private tables that we do not have. */
#include <string.h>
#include <unistd.h>

#include "cuda/model.h"
#include "vgpu/gpu_text.h"
#include "vgpu/image.h"

/* getenv is not used: some programs, bash among them, have their own. */
static const char *visible_devices(void) {
    static const char name[] = "CUDA_VISIBLE_DEVICES=";
    for (char **at = environ; at != NULL && *at != NULL; at++) {
        if (strncmp(*at, name, sizeof(name) - 1) == 0) {
            return *at + sizeof(name) - 1;
        }
    }
    return NULL;
}

CUresult vgpu_cuda_initialise(struct vgpu_process *process) {
    struct vgpu_cuda *cuda = process->cuda;
    if (cuda->initialised) {
        return CUDA_SUCCESS;
    }
    if (process->image == NULL) {
        return CUDA_ERROR_NO_DEVICE;
    }
    uint32_t visible[VGPU_GPUS_MAX];
    uint32_t count = vgpu_cuda_visible(process->image, visible_devices(), visible);
    if (count == 0) {
        return CUDA_ERROR_NO_DEVICE;
    }
    for (uint32_t i = 0; i < count; i++) {
        cuda->device[i].gpu = vgpu_image_gpu(process->image, visible[i]);
    }
    cuda->devices = count;
    cuda->initialised = 1;
    return CUDA_SUCCESS;
}

CUresult vgpu_cuInit(struct vgpu_process *process, struct vgpu_call *call, unsigned int Flags) {
    (void)call;
    return Flags != 0 ? CUDA_ERROR_INVALID_VALUE : vgpu_cuda_initialise(process);
}

CUresult vgpu_cuDriverGetVersion(struct vgpu_process *process, struct vgpu_call *call, int *driverVersion) {
    if (driverVersion == NULL) {
        return CUDA_ERROR_INVALID_VALUE;
    }
    *driverVersion = process->image != NULL ? process->image->driver.cuda_version : VGPU_CUDA_OWN_VERSION;
    vgpu_call_output(call, driverVersion, sizeof(*driverVersion));
    return CUDA_SUCCESS;
}

/* None of NVIDIA's private tables is here; for an unknown one its library answers 1 and NULL (measured on 535.261.03).
 */
CUresult vgpu_cuGetExportTable(struct vgpu_process *process, struct vgpu_call *call, const void **ppExportTable,
                               const CUuuid *pExportTableId) {
    (void)process;
    if (pExportTableId != NULL) {
        vgpu_put_uuid(call->text, (const uint8_t *)pExportTableId->bytes);
        call->event.text = call->text + sizeof("GPU-") - 1;
    }
    if (ppExportTable != NULL) {
        *ppExportTable = NULL;
    }
    return CUDA_ERROR_INVALID_VALUE;
}
