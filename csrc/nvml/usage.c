/* How busy a GPU is, and how long it has been held back. */
#include <time.h>

#include "nvml/structs_usage.h"
#include "nvml/usage.h"

enum {
    PERIOD_US = 1000000 / 6, /* a sixth of a second, the shortest of nvmlUtilization_t's sample periods */
    SAMPLES = 16,            /* in a buffer: own choice */
    UNSIGNED_INT = 1,        /* NVML_VALUE_TYPE_UNSIGNED_INT */
    ENCODERS = 3,            /* NVML_ENCODER_QUERY_* */
};

unsigned long long vgpu_nvml_now(void) {
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    return (unsigned long long)now.tv_sec * 1000000 + (unsigned long long)now.tv_nsec / 1000;
}

nvmlReturn_t vgpu_nvmlDeviceGetUtilizationRates(struct vgpu_process *process, struct vgpu_call *call,
                                                nvmlDevice_t device, nvmlUtilization_t *utilization) {
    const struct vgpu_gpu *gpu = vgpu_nvml_gpu(process, device);
    if (gpu == NULL || utilization == NULL) {
        return NVML_ERROR_INVALID_ARGUMENT;
    }
    if (vgpu_nvml_get_or(process, gpu, VGPU_PROPERTY_MIG, 0, 0) != 0) {
        return NVML_ERROR_NOT_SUPPORTED; /* not while MIG is on (doc) */
    }
    vgpu_nvml_say(call, gpu, &utilization->gpu, vgpu_nvml_get_or(process, gpu, VGPU_PROPERTY_UTILIZATION_GPU, 0, 0));
    return vgpu_nvml_say(call, gpu, &utilization->memory,
                         vgpu_nvml_get_or(process, gpu, VGPU_PROPERTY_UTILIZATION_MEMORY, 0, 0));
}

static nvmlReturn_t engine(struct vgpu_process *process, struct vgpu_call *call, nvmlDevice_t device,
                           enum vgpu_property_id id, int32_t major, int32_t minor, unsigned int *utilization,
                           unsigned int *period) {
    const struct vgpu_gpu *gpu = vgpu_nvml_gpu(process, device);
    if (gpu == NULL || utilization == NULL || period == NULL) {
        return NVML_ERROR_INVALID_ARGUMENT;
    }
    if (!vgpu_nvml_is_since(gpu, major, minor)) {
        return NVML_ERROR_NOT_SUPPORTED;
    }
    vgpu_nvml_say(call, gpu, utilization, vgpu_nvml_get_or(process, gpu, id, 0, 0));
    return vgpu_nvml_say(call, gpu, period, PERIOD_US);
}

/* Kepler (3.0) and newer, and for the latter two Turing (7.5) and newer (doc). */
#define ENGINE(name, property, major, minor)                                                                           \
    nvmlReturn_t vgpu_nvmlDeviceGet##name##Utilization(struct vgpu_process *process, struct vgpu_call *call,           \
                                                       nvmlDevice_t device, unsigned int *utilization,                 \
                                                       unsigned int *samplingPeriodUs) {                               \
        return engine(process, call, device, VGPU_PROPERTY_UTILIZATION_##property, major, minor, utilization,          \
                      samplingPeriodUs);                                                                               \
    }

ENGINE(Encoder, ENCODER, 3, 0)
ENGINE(Decoder, DECODER, 3, 0)
ENGINE(Jpg, JPG, 7, 5)
ENGINE(Ofa, OFA, 7, 5)

nvmlReturn_t vgpu_nvmlDeviceGetEncoderCapacity(struct vgpu_process *process, struct vgpu_call *call,
                                               nvmlDevice_t device, nvmlEncoderType_t encoderQueryType,
                                               unsigned int *encoderCapacity) {
    if (encoderQueryType < 0 || encoderQueryType >= ENCODERS) {
        return NVML_ERROR_INVALID_ARGUMENT;
    }
    return vgpu_nvml_answer(process, call, device, VGPU_PROPERTY_ENCODER_CAPACITY, (uint32_t)encoderQueryType,
                            encoderCapacity);
}

/* Nobody encodes or captures frames on the simulated GPU: there are no sessions. */
nvmlReturn_t vgpu_nvmlDeviceGetEncoderStats(struct vgpu_process *process, struct vgpu_call *call, nvmlDevice_t device,
                                            unsigned int *sessionCount, unsigned int *averageFps,
                                            unsigned int *averageLatency) {
    const struct vgpu_gpu *gpu = vgpu_nvml_gpu(process, device);
    if (gpu == NULL || sessionCount == NULL || averageFps == NULL || averageLatency == NULL) {
        return NVML_ERROR_INVALID_ARGUMENT;
    }
    *averageLatency = 0;
    vgpu_nvml_say(call, gpu, sessionCount, 0);
    return vgpu_nvml_say(call, gpu, averageFps, 0);
}

static nvmlReturn_t no_sessions(struct vgpu_process *process, struct vgpu_call *call, nvmlDevice_t device,
                                unsigned int *count) {
    const struct vgpu_gpu *gpu = vgpu_nvml_gpu(process, device);
    return gpu != NULL && count != NULL ? vgpu_nvml_say(call, gpu, count, 0) : NVML_ERROR_INVALID_ARGUMENT;
}

nvmlReturn_t vgpu_nvmlDeviceGetEncoderSessions(struct vgpu_process *process, struct vgpu_call *call,
                                               nvmlDevice_t device, unsigned int *sessionCount,
                                               nvmlEncoderSessionInfo_t *sessionInfos) {
    (void)sessionInfos;
    return no_sessions(process, call, device, sessionCount);
}

nvmlReturn_t vgpu_nvmlDeviceGetFBCSessions(struct vgpu_process *process, struct vgpu_call *call, nvmlDevice_t device,
                                           unsigned int *sessionCount, nvmlFBCSessionInfo_t *sessionInfo) {
    (void)sessionInfo;
    return no_sessions(process, call, device, sessionCount);
}

nvmlReturn_t vgpu_nvmlDeviceGetFBCStats(struct vgpu_process *process, struct vgpu_call *call, nvmlDevice_t device,
                                        nvmlFBCStats_t *fbcStats) {
    const struct vgpu_gpu *gpu = vgpu_nvml_gpu(process, device);
    if (gpu == NULL || fbcStats == NULL) {
        return NVML_ERROR_INVALID_ARGUMENT;
    }
    fbcStats->averageLatency = 0;
    vgpu_nvml_say(call, gpu, &fbcStats->sessionsCount, 0);
    return vgpu_nvml_say(call, gpu, &fbcStats->averageFPS, 0);
}

/* What each kind of sample is a sample of. NVML_MODULE_POWER_SAMPLES (7) are of modules with a processor. */
static int sampled(struct vgpu_process *process, const struct vgpu_gpu *gpu, nvmlSamplingType_t type, int64_t *value) {
    static const struct {
        enum vgpu_property_id id;
        uint32_t index;
    } kinds[] = {
        {VGPU_PROPERTY_POWER_USAGE, 0},
        {VGPU_PROPERTY_UTILIZATION_GPU, 0},
        {VGPU_PROPERTY_UTILIZATION_MEMORY, 0},
        {VGPU_PROPERTY_UTILIZATION_ENCODER, 0},
        {VGPU_PROPERTY_UTILIZATION_DECODER, 0},
        {VGPU_PROPERTY_CLOCK, 0},
        {VGPU_PROPERTY_CLOCK, 2},
        {0, 0},
        {VGPU_PROPERTY_UTILIZATION_JPG, 0},
        {VGPU_PROPERTY_UTILIZATION_OFA, 0},
    };
    return kinds[type].id != 0 && vgpu_nvml_get(process, gpu, kinds[type].id, kinds[type].index, value);
}

/* A buffer of samples, a period apart, the newest of now. The first call asks for their number with samples NULL. */
nvmlReturn_t vgpu_nvmlDeviceGetSamples(struct vgpu_process *process, struct vgpu_call *call, nvmlDevice_t device,
                                       nvmlSamplingType_t type, unsigned long long lastSeenTimeStamp,
                                       nvmlValueType_t *sampleValType, unsigned int *sampleCount,
                                       nvmlSample_t *samples) {
    enum { KINDS = 10 };
    const struct vgpu_gpu *gpu = vgpu_nvml_gpu(process, device);
    int64_t value;
    if (gpu == NULL || sampleValType == NULL || sampleCount == NULL || type < 0 || type >= KINDS ||
        (samples != NULL && *sampleCount == 0)) {
        return NVML_ERROR_INVALID_ARGUMENT;
    }
    if (!sampled(process, gpu, type, &value)) {
        return NVML_ERROR_NOT_SUPPORTED;
    }
    unsigned long long now = vgpu_nvml_now();
    unsigned int newer = 0;
    while (newer < SAMPLES && now - newer * PERIOD_US > lastSeenTimeStamp && lastSeenTimeStamp < now) {
        newer++;
    }
    if (newer == 0) {
        return NVML_ERROR_NOT_FOUND;
    }
    *sampleValType = UNSIGNED_INT;
    unsigned int given = samples != NULL && *sampleCount < newer ? *sampleCount : newer;
    vgpu_nvml_say(call, gpu, sampleCount, given);
    for (unsigned int i = 0; samples != NULL && i < given; i++) {
        samples[i].timeStamp = now - (given - 1 - i) * PERIOD_US;
        samples[i].sampleValue.ullVal = 0;
        samples[i].sampleValue.uiVal = (unsigned int)value;
    }
    return NVML_SUCCESS;
}

/* Times in nanoseconds, by nvml.h; the reference is when the question was asked, in microseconds. */
nvmlReturn_t vgpu_nvmlDeviceGetViolationStatus(struct vgpu_process *process, struct vgpu_call *call,
                                               nvmlDevice_t device, nvmlPerfPolicyType_t perfPolicyType,
                                               nvmlViolationTime_t *violTime) {
    enum { FIRST_TOTAL = 10, LAST_TOTAL = 11, LAST_SINGLE = 5 };
    const struct vgpu_gpu *gpu = vgpu_nvml_gpu(process, device);
    int known = (perfPolicyType >= 0 && perfPolicyType <= LAST_SINGLE) ||
                (perfPolicyType >= FIRST_TOTAL && perfPolicyType <= LAST_TOTAL);
    if (gpu == NULL || violTime == NULL || !known) {
        return NVML_ERROR_INVALID_ARGUMENT;
    }
    violTime->referenceTime = vgpu_nvml_now();
    return vgpu_nvml_say_long(call, gpu, &violTime->violationTime,
                              vgpu_nvml_get_or(process, gpu, VGPU_PROPERTY_VIOLATION, (uint32_t)perfPolicyType, 0));
}
