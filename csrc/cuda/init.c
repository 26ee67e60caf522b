/* cuInit, the driver's version, and the private tables that we do not have. */
#include <string.h>
#include <unistd.h>

#include "cuda/model.h"
#include "vgpu/gpu_text.h"
#include "vgpu/image.h"

/* getenv is not used: some programs, bash among them, have their own. */
static const char *variable(const char *name) {
    size_t length = strlen(name);
    for (char **at = environ; at != NULL && *at != NULL; at++) {
        if (strncmp(*at, name, length) == 0 && (*at)[length] == '=') {
            return *at + length + 1;
        }
    }
    return NULL;
}

void vgpu_cuda_init_failed(struct vgpu_process *process) {
    if (vgpu_cuda_make(process)) {
        process->cuda->init_failed = 1;
    }
}

static CUresult initialise(struct vgpu_process *process) {
    struct vgpu_cuda *cuda = process->cuda;
    if (cuda->initialised) {
        return CUDA_SUCCESS;
    }
    if (process->image == NULL) {
        return CUDA_ERROR_NO_DEVICE;
    }
    cuda->devices = vgpu_cuda_visible(process->image, variable("CUDA_VISIBLE_DEVICES"), variable("CUDA_DEVICE_ORDER"),
                                      cuda->device);
    if (cuda->devices == 0) {
        return CUDA_ERROR_NO_DEVICE;
    }
    cuda->initialised = 1;
    vgpu_cuda_end_at_exit(process);
    return CUDA_SUCCESS;
}

CUresult vgpu_cuda_initialise(struct vgpu_process *process) {
    CUresult result = initialise(process);
    if (result != CUDA_SUCCESS) {
        vgpu_cuda_init_failed(process);
    }
    return result;
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
