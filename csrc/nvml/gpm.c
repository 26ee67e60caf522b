/* Performance monitoring of Hopper and newer: a metric is what happened between two samples. The simulated GPU does
 * the same all the time, so a sample says only of which GPU it is. */
#include <stdlib.h>

#include "nvml/structs_event.h"
#include "nvml/usage.h"
#include "vgpu/image.h"

struct nvmlGpmSample_st {
    struct nvmlGpmSample_st *next;
    uint32_t gpu; /* 1 + its place; 0: nothing has been sampled */
};

/* What is told of: names and units as nvml.h's comments have them. */
static const struct metric {
    unsigned int first, last; /* NVML_GPM_METRIC_* */
    enum vgpu_property_id id; /* 0: always nothing */
    uint32_t index;
    int per; /* of the property's unit */
    const char *name;
    const char *unit;
} metrics[] = {
    {1, 1, VGPU_PROPERTY_UTILIZATION_GPU, 0, 1, "Graphics Util", "%"},
    {2, 2, VGPU_PROPERTY_UTILIZATION_GPU, 0, 1, "SM Util", "%"},
    {3, 9, 0, 0, 1, "SM Pipe Util", "%"},
    {10, 10, VGPU_PROPERTY_UTILIZATION_MEMORY, 0, 1, "DRAM BW Util", "%"},
    {11, 13, 0, 0, 1, "FP Util", "%"},
    {20, 20, VGPU_PROPERTY_PCIE_THROUGHPUT, 0, 1024, "PCIe TX", "MiB/s"},
    {21, 21, VGPU_PROPERTY_PCIE_THROUGHPUT, 1, 1024, "PCIe RX", "MiB/s"},
    {30, 37, VGPU_PROPERTY_UTILIZATION_DECODER, 0, 1, "NVDEC Util", "%"},
    {40, 47, VGPU_PROPERTY_UTILIZATION_JPG, 0, 1, "NVJPG Util", "%"},
    {50, 51, VGPU_PROPERTY_UTILIZATION_OFA, 0, 1, "NVOFA Util", "%"},
    {60, 97, 0, 0, 1, "NVLink", "MiB/s"},
};

void vgpu_nvml_free_samples(struct vgpu_nvml *nvml) {
    while (nvml->samples != NULL) {
        struct nvmlGpmSample_st *sample = nvml->samples;
        nvml->samples = sample->next;
        free(sample);
    }
}

static struct nvmlGpmSample_st **find(struct vgpu_process *process, const struct nvmlGpmSample_st *sample) {
    for (struct nvmlGpmSample_st **at = &process->nvml->samples; *at != NULL; at = &(*at)->next) {
        if (*at == sample) {
            return at;
        }
    }
    return NULL;
}

nvmlReturn_t vgpu_nvmlGpmSampleAlloc(struct vgpu_process *process, struct vgpu_call *call, nvmlGpmSample_t *gpmSample) {
    (void)call;
    if (gpmSample == NULL) {
        return NVML_ERROR_INVALID_ARGUMENT;
    }
    struct nvmlGpmSample_st *sample = calloc(1, sizeof(*sample));
    if (sample == NULL) {
        return NVML_ERROR_MEMORY;
    }
    sample->next = process->nvml->samples;
    process->nvml->samples = sample;
    *gpmSample = sample;
    return NVML_SUCCESS;
}

nvmlReturn_t vgpu_nvmlGpmSampleFree(struct vgpu_process *process, struct vgpu_call *call, nvmlGpmSample_t gpmSample) {
    (void)call;
    struct nvmlGpmSample_st **at = find(process, gpmSample);
    if (at == NULL) {
        return NVML_ERROR_INVALID_ARGUMENT;
    }
    *at = gpmSample->next;
    free(gpmSample);
    return NVML_SUCCESS;
}

/* The version here is a plain number (NVML_GPM_SUPPORT_VERSION). */
nvmlReturn_t vgpu_nvmlGpmQueryDeviceSupport(struct vgpu_process *process, struct vgpu_call *call, nvmlDevice_t device,
                                            nvmlGpmSupport_t *gpmSupport) {
    const struct vgpu_gpu *gpu = vgpu_nvml_gpu(process, device);
    if (gpu == NULL || gpmSupport == NULL) {
        return NVML_ERROR_INVALID_ARGUMENT;
    }
    if (gpmSupport->version != 1) {
        return NVML_ERROR_ARGUMENT_VERSION_MISMATCH;
    }
    return vgpu_nvml_say(call, gpu, &gpmSupport->isSupportedDevice, vgpu_nvml_is_since(gpu, 9, 0));
}

nvmlReturn_t vgpu_nvmlGpmSampleGet(struct vgpu_process *process, struct vgpu_call *call, nvmlDevice_t device,
                                   nvmlGpmSample_t gpmSample) {
    const struct vgpu_gpu *gpu = vgpu_nvml_gpu(process, device);
    if (gpu == NULL || find(process, gpmSample) == NULL) {
        return NVML_ERROR_INVALID_ARGUMENT;
    }
    if (!vgpu_nvml_is_since(gpu, 9, 0)) {
        return NVML_ERROR_NOT_SUPPORTED;
    }
    gpmSample->gpu = 1 + (uint32_t)(gpu - vgpu_image_gpu(process->image, 0));
    vgpu_nvml_say_pci(call, gpu);
    return NVML_SUCCESS;
}

static void fill(struct vgpu_process *process, const struct vgpu_gpu *gpu, struct vgpu_nvml_gpm_metric *to) {
    to->nvmlReturn = NVML_ERROR_NOT_SUPPORTED;
    for (size_t i = 0; i < sizeof(metrics) / sizeof(metrics[0]); i++) {
        const struct metric *from = &metrics[i];
        if (to->metricId >= from->first && to->metricId <= from->last) {
            int64_t value = from->id != 0 ? vgpu_nvml_get_or(process, gpu, from->id, from->index, 0) : 0;
            to->nvmlReturn = NVML_SUCCESS;
            to->value = (double)value / from->per;
            to->shortName = to->longName = from->name;
            to->unit = from->unit;
        }
    }
}

nvmlReturn_t vgpu_nvmlGpmMetricsGet(struct vgpu_process *process, struct vgpu_call *call,
                                    nvmlGpmMetricsGet_t *metricsGet) {
    if (metricsGet == NULL) {
        return NVML_ERROR_INVALID_ARGUMENT;
    }
    if (metricsGet->version != 1) {
        return NVML_ERROR_ARGUMENT_VERSION_MISMATCH;
    }
    if (metricsGet->numMetrics == 0 || metricsGet->numMetrics > VGPU_NVML_GPM_METRICS ||
        find(process, metricsGet->sample1) == NULL || find(process, metricsGet->sample2) == NULL ||
        metricsGet->sample1->gpu == 0 || metricsGet->sample1->gpu != metricsGet->sample2->gpu) {
        return NVML_ERROR_INVALID_ARGUMENT;
    }
    const struct vgpu_gpu *gpu = vgpu_nvml_gpu(process, vgpu_nvml_handle(process, metricsGet->sample1->gpu - 1));
    if (gpu == NULL) {
        return NVML_ERROR_INVALID_ARGUMENT;
    }
    for (unsigned int i = 0; i < metricsGet->numMetrics; i++) {
        fill(process, gpu, &metricsGet->metrics[i]);
    }
    vgpu_call_output(call, &metricsGet->metrics[0].nvmlReturn, sizeof(metricsGet->metrics[0].nvmlReturn));
    vgpu_nvml_say_pci(call, gpu);
    return NVML_SUCCESS;
}

nvmlReturn_t vgpu_nvmlGpmQueryIfStreamingEnabled(struct vgpu_process *process, struct vgpu_call *call,
                                                 nvmlDevice_t device, unsigned int *state) {
    return vgpu_nvml_answer_or(process, call, device, VGPU_PROPERTY_GPM_STREAMING, 0, 0, state);
}

nvmlReturn_t vgpu_nvmlGpmSetStreamingEnabled(struct vgpu_process *process, struct vgpu_call *call, nvmlDevice_t device,
                                             unsigned int state) {
    const struct vgpu_gpu *gpu;
    nvmlReturn_t refusal = vgpu_nvml_settable(process, device, &gpu);
    if (refusal == NVML_ERROR_INVALID_ARGUMENT || state > 1) {
        return NVML_ERROR_INVALID_ARGUMENT;
    }
    if (refusal != NVML_SUCCESS) {
        return refusal;
    }
    vgpu_nvml_say_pci(call, gpu);
    return vgpu_nvml_set(process, gpu, VGPU_PROPERTY_GPM_STREAMING, 0, state);
}
