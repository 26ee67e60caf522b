/* Which devices there are, and in which order: CUDA_DEVICE_ORDER and CUDA_VISIBLE_DEVICES.
 *
 * The second is a list of indices into that order, of GPU-<uuid> and MIG-<uuid>, which may be cut as long as one device
 * alone fits, and of MIG-GPU-<uuid>/<GPU instance>/<compute instance>. It ends at its first entry that names no device
 * (CUDA C++ Programming Guide, environment variables). One that names a device twice leaves none: so torch.cuda, which
 * has these rules to itself, describes the driver. An index is read as strtoul reads it, so "1x" is 1.
 *
 * A GPU whose MIG is on is no device, its MIG devices are; of all that are visible a process sees the first one alone,
 * and then no other GPU (MIG User Guide, "Device Enumeration"). */
#include <string.h>

#include "cuda/model.h"
#include "vgpu/gpu_text.h"
#include "vgpu/image.h"

enum { PREFIX = 4 };

/* The GPUs in the order that indices count in. */
struct order {
    const struct vgpu_image *image;
    const struct vgpu_gpu *gpu[VGPU_GPUS_MAX];
    uint32_t count;
};

struct text {
    const char *at;
    size_t length;
};

static uint64_t place_of(const struct vgpu_gpu *gpu) {
    return (uint64_t)gpu->pci_domain << 32 | gpu->pci_bus << 8 | gpu->pci_device;
}

static uint64_t attribute(const struct vgpu_image *image, const struct vgpu_gpu *gpu, int32_t id) {
    const struct vgpu_attribute *list = vgpu_image_attributes(image, gpu);
    for (uint32_t i = 0; i < gpu->attributes.count; i++) {
        if (list[i].id == id) {
            return (uint64_t)list[i].value;
        }
    }
    return 0;
}

/* NVIDIA tells only that it is a simple heuristic. This one: CUDA cores times clock. */
static uint64_t speed_of(const struct vgpu_image *image, const struct vgpu_gpu *gpu) {
    int64_t cores = 0;
    vgpu_image_property(image, gpu, VGPU_PROPERTY_CORES, 0, &cores);
    return (uint64_t)cores * attribute(image, gpu, VGPU_ATTRIBUTE_CLOCK_RATE);
}

static int is_before(const struct order *order, const struct vgpu_gpu *a, const struct vgpu_gpu *b, int by_speed) {
    uint64_t speed_a = by_speed ? speed_of(order->image, a) : 0;
    uint64_t speed_b = by_speed ? speed_of(order->image, b) : 0;
    return speed_a != speed_b ? speed_a > speed_b : place_of(a) < place_of(b);
}

static void sort(struct order *order, int by_speed) {
    for (order->count = 0; order->count < order->image->gpus.count; order->count++) {
        const struct vgpu_gpu *next = vgpu_image_gpu(order->image, order->count);
        uint32_t at = order->count;
        for (; at > 0 && is_before(order, next, order->gpu[at - 1], by_speed); at--) {
            order->gpu[at] = order->gpu[at - 1];
        }
        order->gpu[at] = next;
    }
}

static int has_mig(const struct vgpu_image *image, const struct vgpu_gpu *gpu) {
    int64_t mode;
    return gpu->migs.count > 0 || (vgpu_image_property(image, gpu, VGPU_PROPERTY_MIG, 0, &mode) && mode != 0);
}

/* One device that an entry may name: a GPU, or part of one. */
struct named {
    const struct vgpu_gpu *gpu;
    const struct vgpu_mig_device *mig;
};

static int starts_with(struct text text, const char *start) {
    size_t length = strlen(start);
    return text.length > length && strncmp(text.at, start, length) == 0;
}

static int is_start_of(struct text text, const uint8_t *uuid, const char *prefix) {
    char full[VGPU_UUID_TEXT_SIZE];
    vgpu_put_uuid(full, uuid);
    memcpy(full, prefix, PREFIX - 1);
    return text.length < sizeof(full) && strncmp(full, text.at, text.length) == 0;
}

/* The first MIG device of the GPU stands for it. */
static void name_gpu(const struct order *order, const struct vgpu_gpu *gpu, struct named *found) {
    found->gpu = gpu;
    found->mig = has_mig(order->image, gpu) && gpu->migs.count > 0 ? vgpu_image_migs(order->image, gpu) : NULL;
}

static int by_uuid(const struct order *order, struct text text, int want_mig, struct named *found) {
    int count = 0;
    for (uint32_t i = 0; i < order->count; i++) {
        const struct vgpu_gpu *gpu = order->gpu[i];
        const struct vgpu_mig_device *migs = vgpu_image_migs(order->image, gpu);
        if (!want_mig && is_start_of(text, gpu->uuid, "GPU")) {
            name_gpu(order, gpu, found);
            count++;
        }
        for (uint32_t part = 0; want_mig && part < gpu->migs.count; part++) {
            if (is_start_of(text, migs[part].uuid, "MIG")) {
                *found = (struct named){gpu, &migs[part]};
                count++;
            }
        }
    }
    return count == 1;
}

static int take_number(struct text *text, uint32_t *number) {
    size_t digits = 0;
    *number = 0;
    for (; digits < text->length && text->at[digits] >= '0' && text->at[digits] <= '9'; digits++) {
        if (*number > UINT32_MAX / 100) {
            return 0;
        }
        *number = *number * 10 + (uint32_t)(text->at[digits] - '0');
    }
    text->at += digits;
    text->length -= digits;
    return digits > 0;
}

/* The form of drivers before 470: MIG-GPU-<uuid>/<GPU instance>/<compute instance>. */
static int by_instances(const struct order *order, struct text text, struct named *found) {
    struct text rest = {text.at + PREFIX + VGPU_UUID_TEXT_SIZE - 1, 0};
    if (text.length < PREFIX + VGPU_UUID_TEXT_SIZE) {
        return 0;
    }
    rest.length = (size_t)(text.at + text.length - rest.at);
    uint32_t numbers[2];
    for (int i = 0; i < 2; i++) {
        if (rest.length == 0 || rest.at[0] != '/') {
            return 0;
        }
        rest = (struct text){rest.at + 1, rest.length - 1};
        if (!take_number(&rest, &numbers[i])) {
            return 0;
        }
    }
    struct named gpu;
    struct text uuid = {text.at + PREFIX, VGPU_UUID_TEXT_SIZE - 1};
    if (rest.length != 0 || !by_uuid(order, uuid, 0, &gpu)) {
        return 0;
    }
    const struct vgpu_mig_device *migs = vgpu_image_migs(order->image, gpu.gpu);
    for (uint32_t i = 0; i < gpu.gpu->migs.count; i++) {
        if (migs[i].gpu_instance == numbers[0] && migs[i].compute_instance == numbers[1]) {
            *found = (struct named){gpu.gpu, &migs[i]};
            return 1;
        }
    }
    return 0;
}

static int by_index(const struct order *order, struct text text, struct named *found) {
    uint32_t index;
    if (text.length > 0 && text.at[0] == '+') {
        text = (struct text){text.at + 1, text.length - 1};
    }
    if (!take_number(&text, &index) || index >= order->count) {
        return 0;
    }
    name_gpu(order, order->gpu[index], found);
    return 1;
}

static int one(const struct order *order, struct text text, struct named *found) {
    while (text.length > 0 && (*text.at == ' ' || *text.at == '\t')) {
        text = (struct text){text.at + 1, text.length - 1};
    }
    while (text.length > 0 && (text.at[text.length - 1] == ' ' || text.at[text.length - 1] == '\t')) {
        text.length--;
    }
    if (starts_with(text, "GPU-")) {
        return by_uuid(order, text, 0, found);
    }
    if (starts_with(text, "MIG-GPU-")) {
        return by_instances(order, text, found);
    }
    return starts_with(text, "MIG-") ? by_uuid(order, text, 1, found) : by_index(order, text, found);
}

static int is_among(const struct named *found, const struct named *list, uint32_t count) {
    for (uint32_t i = 0; i < count; i++) {
        if (list[i].gpu == found->gpu && list[i].mig == found->mig) {
            return 1;
        }
    }
    return 0;
}

static uint32_t read_list(const struct order *order, const char *list, struct named devices[VGPU_GPUS_MAX]) {
    uint32_t count = 0;
    for (;;) {
        size_t length = strcspn(list, ",");
        struct named found;
        if (!one(order, (struct text){list, length}, &found)) {
            return count;
        }
        if (is_among(&found, devices, count)) {
            return 0;
        }
        if (count < VGPU_GPUS_MAX) {
            devices[count++] = found;
        }
        if (list[length] == '\0') {
            return count;
        }
        list += length + 1;
    }
}

/* One MIG device alone; without any, the GPUs whose MIG is off. */
static uint32_t usable(const struct order *order, struct named *devices, uint32_t count) {
    uint32_t left = 0;
    for (uint32_t i = 0; i < count; i++) {
        if (devices[i].mig != NULL) {
            devices[0] = devices[i];
            return 1;
        }
    }
    for (uint32_t i = 0; i < count; i++) {
        if (!has_mig(order->image, devices[i].gpu)) {
            devices[left++] = devices[i];
        }
    }
    return left;
}

uint32_t vgpu_cuda_visible(const struct vgpu_image *image, const char *list, const char *order,
                           struct vgpu_device devices[VGPU_GPUS_MAX]) {
    struct order all = {.image = image};
    struct named visible[VGPU_GPUS_MAX];
    sort(&all, order == NULL || strcmp(order, "PCI_BUS_ID") != 0);
    uint32_t count = all.count;
    for (uint32_t i = 0; i < count; i++) {
        name_gpu(&all, all.gpu[i], &visible[i]);
    }
    count = usable(&all, visible, list != NULL ? read_list(&all, list, visible) : count);
    for (uint32_t i = 0; i < count; i++) {
        devices[i].gpu = visible[i].gpu;
        devices[i].mig = visible[i].mig;
    }
    return count;
}
