/* Versions. NVML's own is always there. The CUDA driver's needs no nvmlInit where there is a driver (nvml.h's list of
 * codes); without one it is uninitialised (measured on 535.261.03). */
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "nvml/ask.h"
#include "nvml/structs_device.h"
#include "vgpu/image.h"

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

/* "r580_00" for driver 580.95.05: NVIDIA names its branches so (NV_BUILD_BRANCH of the open kernel modules); which of a
 * series it was built from cannot be told from the version, 00 is an own choice. */
nvmlReturn_t vgpu_nvmlSystemGetDriverBranch(struct vgpu_process *process, struct vgpu_call *call,
                                            nvmlSystemDriverBranchInfo_t *branchInfo, unsigned int length) {
    if (branchInfo == NULL) {
        return NVML_ERROR_INVALID_ARGUMENT;
    }
    if (branchInfo->version != VGPU_NVML_STRUCT(nvmlSystemDriverBranchInfo_t, 1)) {
        return NVML_ERROR_ARGUMENT_VERSION_MISMATCH;
    }
    const char *version = process->image->driver.version;
    char branch[sizeof(branchInfo->branch)];
    snprintf(branch, sizeof(branch), "r%.*s_00", (int)strcspn(version, "."), version);
    unsigned int room = length < sizeof(branchInfo->branch) ? length : sizeof(branchInfo->branch);
    return vgpu_nvml_text(call, branch, branchInfo->branch, room);
}

/* A process of the host file that is not a real one has its name there. */
static const char *listed_name(struct vgpu_process *process, unsigned int pid) {
    for (uint32_t i = 0; i < process->image->gpus.count; i++) {
        const struct vgpu_gpu *gpu = vgpu_image_gpu(process->image, i);
        const struct vgpu_gpu_process *users = vgpu_image_processes(process->image, gpu);
        for (uint32_t k = 0; k < gpu->processes.count; k++) {
            if (users[k].pid != 0 && users[k].pid == pid) {
                return vgpu_image_text(process->image, users[k].name);
            }
        }
    }
    return NULL;
}

/* The file or the first argument that the process was started with: all that /proc tells everyone. */
static ssize_t command(unsigned int pid, char *to, size_t size) {
    char path[32];
    snprintf(path, sizeof(path), "/proc/%u/cmdline", pid);
    int file = open(path, O_RDONLY | O_CLOEXEC);
    if (file < 0) {
        return -1;
    }
    ssize_t got = read(file, to, size - 1);
    close(file);
    to[got > 0 ? got : 0] = '\0';
    return got;
}

/* Cut to the caller's size (doc). */
nvmlReturn_t vgpu_nvmlSystemGetProcessName(struct vgpu_process *process, struct vgpu_call *call, unsigned int pid,
                                           char *name, unsigned int length) {
    if (name == NULL || length == 0) {
        return NVML_ERROR_INVALID_ARGUMENT;
    }
    char text[4096];
    const char *known = listed_name(process, pid);
    if (known == NULL) {
        if (command(pid, text, sizeof(text)) < 0) {
            return NVML_ERROR_NOT_FOUND;
        }
        known = text;
    }
    size_t size = strlen(known) + 1 < length ? strlen(known) + 1 : length;
    memcpy(name, known, size - 1);
    name[size - 1] = '\0';
    vgpu_call_text(call, name, length);
    return NVML_SUCCESS;
}

/* No GPU is kept from a driver here by a list (NVreg_ExcludedGpus): none is excluded. */
nvmlReturn_t vgpu_nvmlGetExcludedDeviceCount(struct vgpu_process *process, struct vgpu_call *call,
                                             unsigned int *deviceCount) {
    (void)process;
    if (deviceCount == NULL) {
        return NVML_ERROR_INVALID_ARGUMENT;
    }
    *deviceCount = 0;
    vgpu_call_output(call, deviceCount, sizeof(*deviceCount));
    return NVML_SUCCESS;
}

nvmlReturn_t vgpu_nvmlGetBlacklistDeviceCount(struct vgpu_process *process, struct vgpu_call *call,
                                              unsigned int *deviceCount) {
    return vgpu_nvmlGetExcludedDeviceCount(process, call, deviceCount);
}

nvmlReturn_t vgpu_nvmlGetExcludedDeviceInfoByIndex(struct vgpu_process *process, struct vgpu_call *call,
                                                   unsigned int index, nvmlExcludedDeviceInfo_t *info) {
    (void)process;
    (void)call;
    (void)index;
    (void)info;
    return NVML_ERROR_INVALID_ARGUMENT;
}

nvmlReturn_t vgpu_nvmlGetBlacklistDeviceInfoByIndex(struct vgpu_process *process, struct vgpu_call *call,
                                                    unsigned int index, nvmlExcludedDeviceInfo_t *info) {
    return vgpu_nvmlGetExcludedDeviceInfoByIndex(process, call, index, info);
}

/* NVIDIA's private tables are not there. Uninitialised, 535.261.03 answers NULL for each, and calls the id an invalid
 * argument (measured); later an id without a table is not found (the lupine project, on 590.48.01). */
nvmlReturn_t vgpu_nvmlInternalGetExportTable(struct vgpu_process *process, struct vgpu_call *call,
                                             const void **ppExportTable, const void *pExportTableId) {
    (void)call;
    if (ppExportTable == NULL || pExportTableId == NULL) {
        return NVML_ERROR_INVALID_ARGUMENT;
    }
    *ppExportTable = NULL;
    return process->image == NULL || process->nvml->references == 0 ? NVML_ERROR_INVALID_ARGUMENT
                                                                    : NVML_ERROR_FUNCTION_NOT_FOUND;
}
