/* Field values: many questions in one call, each with its own answer. The numbers are nvml.h's NVML_FI_DEV_*. */
#include <string.h>

#include "nvml/structs_usage.h"
#include "nvml/usage.h"
#include "vgpu/image.h"

enum { UNSIGNED_INT = 1, UNSIGNED_LONG_LONG = 3 }; /* enum nvmlValueType_t */

struct answer {
    nvmlReturn_t result;
    nvmlValueType_t type;
    unsigned long long value;
};

static struct answer number(int64_t value) {
    return (struct answer){NVML_SUCCESS, UNSIGNED_INT, (unsigned int)value};
}

static struct answer long_number(int64_t value) {
    return (struct answer){NVML_SUCCESS, UNSIGNED_LONG_LONG, (unsigned long long)value};
}

static struct answer refused(nvmlReturn_t result) {
    return (struct answer){result, UNSIGNED_INT, 0};
}

static struct answer property(struct vgpu_process *process, const struct vgpu_gpu *gpu, enum vgpu_property_id id,
                              uint32_t index) {
    int64_t value;
    return vgpu_nvml_get(process, gpu, id, index, &value) ? number(value) : refused(NVML_ERROR_NOT_SUPPORTED);
}

/* Fields 1 to 28. Each list has the two kinds of error of one place side by side, and last the control unit, whose
 * errors are never corrected. */
static struct answer ecc_field(struct vgpu_process *process, const struct vgpu_gpu *gpu, unsigned int id) {
    enum { CURRENT = 1, PENDING = 2, TOTALS = 3, VOLATILES = 7, AGGREGATES = 18, PLACES = 5, CONTROL_UNIT = 6 };
    int64_t mode;
    if (!vgpu_nvml_get(process, gpu, VGPU_PROPERTY_ECC, 0, &mode) || (id >= TOTALS && mode == 0)) {
        return refused(NVML_ERROR_NOT_SUPPORTED);
    }
    if (id <= PENDING) {
        return number(id == CURRENT ? mode : vgpu_nvml_get_or(process, gpu, VGPU_PROPERTY_ECC_NEXT, 0, mode));
    }
    if (id < VOLATILES) {
        int kind = (int)(id - TOTALS);
        return long_number(vgpu_nvml_ecc_errors(process, gpu, kind % 2, kind / 2, VGPU_NVML_EVERYWHERE));
    }
    int counter = id >= AGGREGATES;
    int place = (int)(id - (counter ? AGGREGATES : VOLATILES));
    return long_number(place < 2 * PLACES ? vgpu_nvml_ecc_errors(process, gpu, place % 2, counter, place / 2)
                                          : vgpu_nvml_ecc_errors(process, gpu, 1, counter, CONTROL_UNIT));
}

/* Fields whose answer is one of another function's: asked with a record of its own, which nobody sees. */
static struct answer asked(struct vgpu_process *process, nvmlDevice_t device, unsigned int id) {
    enum { ENERGY = 83, ENERGY_ALIAS = 191, AVERAGE = 185, INSTANT = 186, LEAST = 187, MOST = 188, USUAL = 189 };
    struct vgpu_call aside = {.process = process};
    struct answer answer = refused(NVML_SUCCESS);
    unsigned int least = 0, most = 0;
    if (id == ENERGY || id == ENERGY_ALIAS) {
        answer.type = UNSIGNED_LONG_LONG;
        answer.result = vgpu_nvmlDeviceGetTotalEnergyConsumption(process, &aside, device, &answer.value);
        return answer;
    }
    if (id == AVERAGE || id == INSTANT) {
        answer.result = vgpu_nvmlDeviceGetPowerUsage(process, &aside, device, &most);
    } else if (id == LEAST || id == MOST) {
        answer.result = vgpu_nvmlDeviceGetPowerManagementLimitConstraints(process, &aside, device, &least, &most);
    } else if (id == USUAL) {
        answer.result = vgpu_nvmlDeviceGetPowerManagementDefaultLimit(process, &aside, device, &most);
    } else {
        answer.result = vgpu_nvmlDeviceGetPowerManagementLimit(process, &aside, device, &most);
    }
    answer.value = id == LEAST ? least : most;
    return answer;
}

static int is_within(unsigned int id, unsigned int first, unsigned int last) {
    return id >= first && id <= last;
}

/* Fields about links that name the link in their number: link 0 to 5, and a second row for 6 to 11. */
static struct answer link_speed(struct vgpu_process *process, const struct vgpu_gpu *gpu, unsigned int link) {
    if (link >= vgpu_nvml_links(process, gpu)) {
        return refused(NVML_ERROR_NOT_SUPPORTED);
    }
    return number(vgpu_nvml_link_is_active(process, gpu, link) ? vgpu_nvml_link_speed(process, gpu) : 0);
}

/* Errors of one kind (enum nvmlNvLinkErrorCounter_t) on the link that the scope names, or on all. */
static struct answer link_errors(struct vgpu_process *process, const struct vgpu_gpu *gpu, unsigned int kind,
                                 unsigned int link) {
    enum { ALL = 0xFFFFFFFF };
    int64_t links = vgpu_nvml_links(process, gpu);
    int64_t sum = 0;
    if (links == 0) {
        return refused(NVML_ERROR_NOT_SUPPORTED);
    }
    if (link >= links && link != (unsigned int)ALL) {
        return refused(NVML_ERROR_INVALID_ARGUMENT);
    }
    for (unsigned int i = 0; i < links; i++) {
        if (link == (unsigned int)ALL || link == i) {
            sum += vgpu_nvml_get_or(process, gpu, VGPU_PROPERTY_NVLINK_ERRORS, 16 * i + kind, 0);
        }
    }
    return long_number(sum);
}

static struct answer link_field(struct vgpu_process *process, const struct vgpu_gpu *gpu, unsigned int id,
                                unsigned int scope) {
    enum { COMMON_SPEED = 90, COUNT = 91, REPLAY = 161, RECOVERY = 162, CRC = 163, SPEED = 164, STATE = 165 };
    enum { KIND_REPLAY = 0, KIND_RECOVERY = 1, KIND_CRC = 2 };
    int64_t links = vgpu_nvml_links(process, gpu);
    if (id == COUNT) {
        return number(links);
    }
    if (id == REPLAY || id == RECOVERY || id == CRC) {
        unsigned int kind = id == REPLAY ? KIND_REPLAY : id == RECOVERY ? KIND_RECOVERY : KIND_CRC;
        return link_errors(process, gpu, kind, scope);
    }
    if (links == 0) {
        return refused(NVML_ERROR_NOT_SUPPORTED);
    }
    if (id == COMMON_SPEED) {
        int64_t active = 0;
        for (unsigned int i = 0; i < links; i++) {
            active |= vgpu_nvml_link_is_active(process, gpu, i);
        }
        return number(active ? vgpu_nvml_link_speed(process, gpu) : 0);
    }
    if (scope >= links) {
        return refused(NVML_ERROR_INVALID_ARGUMENT);
    }
    if (id == SPEED) {
        return link_speed(process, gpu, scope);
    }
    return id == STATE ? number(vgpu_nvml_link_is_active(process, gpu, scope))
                       : property(process, gpu, VGPU_PROPERTY_NVLINK_VERSION, 0);
}

/* Fields 168, 200, 223, 224 and 225: after which idle time links save power, its bounds, and its unit (0: 100 us). */
static struct answer idle_field(struct vgpu_process *process, const struct vgpu_gpu *gpu, unsigned int id) {
    enum { NOW = 168, MOST = 200, LEAST = 223, UNIT = 224, USUAL = 50 }; /* 5 ms: own choice */
    if (vgpu_nvml_links(process, gpu) == 0 || !vgpu_nvml_is_since(gpu, 9, 0)) {
        return refused(NVML_ERROR_NOT_SUPPORTED);
    }
    if (id == NOW) {
        return number(vgpu_nvml_get_or(process, gpu, VGPU_PROPERTY_NVLINK_IDLE, 0, USUAL));
    }
    if (id == MOST || id == LEAST) {
        return number(id == MOST ? VGPU_NVML_IDLE_MAX : VGPU_NVML_IDLE_MIN);
    }
    return number(id != UNIT);
}

static struct answer rows_field(struct vgpu_process *process, const struct vgpu_gpu *gpu, enum vgpu_property_id id,
                                uint32_t index) {
    if (!vgpu_nvml_has_ecc(process, gpu) || !vgpu_nvml_is_since(gpu, 8, 0)) {
        return refused(NVML_ERROR_NOT_SUPPORTED);
    }
    return number(vgpu_nvml_get_or(process, gpu, id, index, 0));
}

/* Fields 29 and 30: how many pages have been retired; 31, 92 and 93: whether some wait for it. */
static struct answer pages_field(struct vgpu_process *process, const struct vgpu_gpu *gpu, unsigned int id) {
    enum { ONE_BIT = 29, TWO_BITS = 30 };
    uint32_t count = 0;
    if (!vgpu_nvml_has_ecc(process, gpu) || vgpu_nvml_is_since(gpu, 8, 0)) {
        return refused(NVML_ERROR_NOT_SUPPORTED);
    }
    if (id == ONE_BIT || id == TWO_BITS) {
        vgpu_image_properties(process->image, gpu,
                              id == ONE_BIT ? VGPU_PROPERTY_RETIRED_PAGES : VGPU_PROPERTY_RETIRED_PAGES_DOUBLE, &count);
    }
    return number(count);
}

static struct answer field(struct vgpu_process *process, nvmlDevice_t device, const struct vgpu_gpu *gpu,
                           unsigned int id, unsigned int scope) {
    enum { MEMORY_TEMPERATURE = 82, MEMORY_SENSOR = 1, PCIE_REPLAYS = 94, MIG_QUERY = 199, FIELDS = 310 };
    enum { POWER_AVERAGE = 185 };
    if (id == 0 || id >= FIELDS) {
        return refused(NVML_ERROR_INVALID_ARGUMENT);
    }
    if (id <= 28) {
        return ecc_field(process, gpu, id);
    }
    if (is_within(id, 29, 31) || is_within(id, 92, 93)) {
        return pages_field(process, gpu, id);
    }
    if (is_within(id, 74, 81)) { /* two policies are totals, 10 and 11 of enum nvmlPerfPolicyType_t */
        uint32_t policy = id - 74 < 6 ? id - 74 : id - 70;
        return long_number(vgpu_nvml_get_or(process, gpu, VGPU_PROPERTY_VIOLATION, policy, 0));
    }
    if (id == MEMORY_TEMPERATURE) {
        return property(process, gpu, VGPU_PROPERTY_TEMPERATURE, MEMORY_SENSOR);
    }
    if (id == POWER_AVERAGE && !vgpu_nvml_is_since(gpu, 8, 6)) {
        return refused(NVML_ERROR_NOT_SUPPORTED); /* Ampere, but not GA100, and newer (doc) */
    }
    if (id == 83 || is_within(id, 185, 192)) {
        return asked(process, device, id);
    }
    if (is_within(id, 84, 89) || is_within(id, 132, 137)) {
        return link_speed(process, gpu, id <= 89 ? id - 84 : id - 132 + 6);
    }
    if (is_within(id, 90, 91) || is_within(id, 161, 166)) {
        return link_field(process, gpu, id, scope);
    }
    if (id == 168 || id == 200 || is_within(id, 223, 225)) {
        return idle_field(process, gpu, id);
    }
    if (id == PCIE_REPLAYS) {
        return number(vgpu_nvml_get_or(process, gpu, VGPU_PROPERTY_PCIE_REPLAYS, 0, 0));
    }
    if (is_within(id, 142, 145)) {
        return rows_field(process, gpu, VGPU_PROPERTY_REMAPPED_ROWS, id - 142);
    }
    if (is_within(id, 301, 302)) {
        return rows_field(process, gpu, VGPU_PROPERTY_REMAPPED_ROWS_INACTIVE, id - 301);
    }
    if (id == MIG_QUERY) {
        int64_t mode;
        return number(vgpu_nvml_get(process, gpu, VGPU_PROPERTY_MIG, 0, &mode));
    }
    return refused(NVML_ERROR_NOT_SUPPORTED);
}

nvmlReturn_t vgpu_nvmlDeviceGetFieldValues(struct vgpu_process *process, struct vgpu_call *call, nvmlDevice_t device,
                                           int valuesCount, nvmlFieldValue_t *values) {
    const struct vgpu_gpu *gpu = vgpu_nvml_gpu(process, device);
    if (gpu == NULL || values == NULL || valuesCount <= 0) {
        return NVML_ERROR_INVALID_ARGUMENT;
    }
    for (int i = 0; i < valuesCount; i++) {
        struct answer answer = field(process, device, gpu, values[i].fieldId, values[i].scopeId);
        values[i].timestamp = (long long)vgpu_nvml_now();
        values[i].latencyUsec = 0;
        values[i].valueType = answer.type;
        values[i].nvmlReturn = answer.result;
        values[i].value.ullVal = answer.value;
    }
    vgpu_call_output(call, &values[0].value, sizeof(values[0].value));
    vgpu_nvml_say_pci(call, gpu);
    return NVML_SUCCESS;
}

/* Only the error counters of links can be cleared. */
static nvmlReturn_t clear(struct vgpu_process *process, const struct vgpu_gpu *gpu, unsigned int id,
                          unsigned int scope) {
    enum { REPLAY = 161, CRC = 163, KINDS = 16 };
    int64_t links = vgpu_nvml_links(process, gpu);
    if (!is_within(id, REPLAY, CRC) || links == 0) {
        return NVML_ERROR_NOT_SUPPORTED;
    }
    if (scope >= links) {
        return NVML_ERROR_INVALID_ARGUMENT;
    }
    return vgpu_nvml_set(process, gpu, VGPU_PROPERTY_NVLINK_ERRORS, KINDS * scope + id - REPLAY, 0);
}

nvmlReturn_t vgpu_nvmlDeviceClearFieldValues(struct vgpu_process *process, struct vgpu_call *call, nvmlDevice_t device,
                                             int valuesCount, nvmlFieldValue_t *values) {
    const struct vgpu_gpu *gpu = vgpu_nvml_gpu(process, device);
    if (gpu == NULL || values == NULL || valuesCount <= 0) {
        return NVML_ERROR_INVALID_ARGUMENT;
    }
    for (int i = 0; i < valuesCount; i++) {
        values[i].timestamp = (long long)vgpu_nvml_now();
        values[i].latencyUsec = 0;
        values[i].nvmlReturn = clear(process, gpu, values[i].fieldId, values[i].scopeId);
    }
    vgpu_nvml_say_pci(call, gpu);
    return NVML_SUCCESS;
}
