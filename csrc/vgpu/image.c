/* Reader of the host image. An image is used only if every span and every text in it lies inside the file: after
 * vgpu_image_check nobody needs to look at a bound again. Uses no libc symbol. */
#include "vgpu/image.h"

#include <fcntl.h>
#include <linux/stat.h>
#include <sys/mman.h>

#include "vgpu/raw.h"

static const char image_magic[VGPU_MAGIC_SIZE] = {'V', 'G', 'P', 'U', 'H', 'O', 'S', 'T'};

static int span_fits(struct vgpu_span span, uint64_t item, uint64_t alignment, uint64_t size) {
    return span.offset % alignment == 0 && span.offset <= size && span.count <= (size - span.offset) / item;
}

/* A text is whole if it starts inside the text span; that span ends with a NUL. */
static int text_fits(const struct vgpu_image *image, uint32_t offset) {
    return offset >= image->text.offset && offset - image->text.offset < image->text.count;
}

static int rules_fit(const struct vgpu_image *image, struct vgpu_span span) {
    const struct vgpu_rule *rules = (const struct vgpu_rule *)((const char *)image + span.offset);
    for (uint32_t i = 0; i < span.count; i++) {
        for (uint32_t fact = 0; fact < VGPU_RULE_FACTS; fact++) {
            if (rules[i].text[fact] != 0 && !text_fits(image, rules[i].text[fact])) {
                return 0;
            }
        }
        if (!text_fits(image, rules[i].reason)) {
            return 0;
        }
    }
    return 1;
}

static int ends_in_nul(const char *field, uint64_t size) {
    for (uint64_t i = 0; i < size; i++) {
        if (field[i] == '\0') {
            return 1;
        }
    }
    return 0;
}

static const char *check_tables_of(const struct vgpu_image *image, const struct vgpu_gpu *gpu) {
    const uint64_t size = image->size;
    if (!span_fits(gpu->attributes, sizeof(struct vgpu_attribute), _Alignof(struct vgpu_attribute), size) ||
        !span_fits(gpu->properties, sizeof(struct vgpu_property), _Alignof(struct vgpu_property), size) ||
        !span_fits(gpu->texts, sizeof(struct vgpu_text), _Alignof(struct vgpu_text), size) ||
        !span_fits(gpu->processes, sizeof(struct vgpu_gpu_process), _Alignof(struct vgpu_gpu_process), size) ||
        !span_fits(gpu->migs, sizeof(struct vgpu_mig_device), _Alignof(struct vgpu_mig_device), size) ||
        !span_fits(gpu->mig_profiles, sizeof(struct vgpu_mig_profile), _Alignof(struct vgpu_mig_profile), size)) {
        return "damaged: a GPU's tables lie outside of the file";
    }
    const struct vgpu_text *texts = (const struct vgpu_text *)((const char *)image + gpu->texts.offset);
    for (uint32_t i = 0; i < gpu->texts.count; i++) {
        if (!text_fits(image, texts[i].text)) {
            return "damaged: a GPU's text lies outside of the text";
        }
    }
    for (uint32_t i = 0; i < gpu->processes.count; i++) {
        if (!text_fits(image, vgpu_image_processes(image, gpu)[i].name)) {
            return "damaged: a process's name lies outside of the text";
        }
    }
    for (uint32_t i = 0; i < gpu->migs.count; i++) {
        if (!ends_in_nul(vgpu_image_migs(image, gpu)[i].name, VGPU_NAME_SIZE)) {
            return "damaged: a MIG device's name does not end";
        }
    }
    for (uint32_t i = 0; i < gpu->mig_profiles.count; i++) {
        if (!text_fits(image, vgpu_image_mig_profiles(image, gpu)[i].name)) {
            return "damaged: a MIG profile's name lies outside of the text";
        }
    }
    return NULL;
}

static const char *check_gpus(const struct vgpu_image *image) {
    if (image->gpus.count < 1 || image->gpus.count > VGPU_GPUS_MAX) {
        return "damaged: it must have 1 to 8 GPUs";
    }
    for (uint32_t i = 0; i < image->gpus.count; i++) {
        const struct vgpu_gpu *gpu = vgpu_image_gpu(image, i);
        const char *reason = check_tables_of(image, gpu);
        if (reason != NULL) {
            return reason;
        }
        if (!ends_in_nul(gpu->name, sizeof(gpu->name)) || !ends_in_nul(gpu->serial, sizeof(gpu->serial))) {
            return "damaged: a GPU's name or serial number does not end";
        }
        if (gpu->memory_reserved > gpu->memory_total || gpu->memory_used > gpu->memory_total - gpu->memory_reserved) {
            return "damaged: a GPU has more memory in use than it has";
        }
    }
    return NULL;
}

static const char *check_tables(const struct vgpu_image *image) {
    if (image->faults.count > VGPU_FAULTS_MAX) {
        return "damaged: more faults than a process can count";
    }
    for (uint32_t i = 0; i < image->faults.count; i++) {
        const struct vgpu_fault *fault = vgpu_image_fault(image, i);
        if (!text_fits(image, fault->function)) {
            return "damaged: a fault's function lies outside of the text";
        }
        if (fault->gpu > image->gpus.count) {
            return "damaged: a fault is for a GPU that is not there";
        }
        if (((fault->flags & VGPU_FAULT_TEXT) != 0 && !text_fits(image, fault->text)) ||
            (fault->program != 0 && !text_fits(image, fault->program)) ||
            (fault->thread != 0 && !text_fits(image, fault->thread))) {
            return "damaged: a fault's text lies outside of the text";
        }
    }
    const struct vgpu_path *paths = (const struct vgpu_path *)((const char *)image + image->paths.offset);
    for (uint32_t i = 0; i < image->paths.count; i++) {
        if (!text_fits(image, paths[i].path) || !text_fits(image, paths[i].target) ||
            vgpu_length(vgpu_image_text(image, paths[i].path)) != paths[i].path_length ||
            vgpu_length(vgpu_image_text(image, paths[i].target)) != paths[i].target_length) {
            return "damaged: a row of the path table lies outside of the text";
        }
    }
    if (!rules_fit(image, image->gate.allow) || !rules_fit(image, image->gate.deny)) {
        return "damaged: a rule of the gate's policy lies outside of the text";
    }
    return NULL;
}

const char *vgpu_image_check(const void *bytes, uint64_t size) {
    const struct vgpu_image *image = bytes;
    /* Magic, version and size stand at the same place in every version, so that an image of any version is recognised.
     */
    if (size < offsetof(struct vgpu_image, build_id)) {
        return "truncated: shorter than the start of a host image";
    }
    for (int i = 0; i < VGPU_MAGIC_SIZE; i++) {
        if (image->magic[i] != image_magic[i]) {
            return "foreign: it does not start with VGPUHOST";
        }
    }
    if (image->version != VGPU_IMAGE_VERSION) {
        return "of another version: these shims read host images of version 3";
    }
    if (image->size != size || size < sizeof(*image) || image->header_size != sizeof(*image)) {
        return "truncated: its size is not the one that it was written with";
    }
    const uint64_t row = _Alignof(struct vgpu_gpu);
    if (!span_fits(image->text, 1, 1, size) || !span_fits(image->gpus, sizeof(struct vgpu_gpu), row, size) ||
        !span_fits(image->faults, sizeof(struct vgpu_fault), row, size) ||
        !span_fits(image->paths, sizeof(struct vgpu_path), row, size) ||
        !span_fits(image->gate.allow, sizeof(struct vgpu_rule), _Alignof(struct vgpu_rule), size) ||
        !span_fits(image->gate.deny, sizeof(struct vgpu_rule), _Alignof(struct vgpu_rule), size)) {
        return "damaged: a table lies outside of the file";
    }
    if (image->text.count == 0 || *((const char *)bytes + image->text.offset + image->text.count - 1) != '\0') {
        return "damaged: its text does not end";
    }
    if (!ends_in_nul(image->driver.version, sizeof(image->driver.version)) ||
        !ends_in_nul(image->driver.nvml_version, sizeof(image->driver.nvml_version))) {
        return "damaged: a driver version does not end";
    }
    const char *reason = check_gpus(image);
    return reason != NULL ? reason : check_tables(image);
}

const char *vgpu_image_open(const char *path, const struct vgpu_image **image) {
    *image = NULL;
    long fd = vgpu_raw6(SYS_openat, AT_FDCWD, (long)path, O_RDONLY | O_CLOEXEC, 0, 0, 0);
    if (fd < 0) {
        return "missing: the file that VGPU_HOST names cannot be opened";
    }
    struct statx facts;
    const char *reason = "missing: the file that VGPU_HOST names cannot be mapped";
    if (vgpu_raw6(SYS_statx, fd, (long)"", AT_EMPTY_PATH, STATX_SIZE, (long)&facts, 0) == 0) {
        if (facts.stx_size == 0) {
            reason = "truncated: the file is empty";
        } else {
            long at = vgpu_raw6(SYS_mmap, 0, (long)facts.stx_size, PROT_READ, MAP_PRIVATE, fd, 0);
            if (at > 0) {
                reason = vgpu_image_check((const void *)at, facts.stx_size);
                if (reason == NULL) {
                    *image = (const struct vgpu_image *)at;
                } else {
                    vgpu_raw3(SYS_munmap, at, (long)facts.stx_size, 0);
                }
            }
        }
    }
    vgpu_raw3(SYS_close, fd, 0, 0);
    return reason;
}

void vgpu_image_close(const struct vgpu_image *image) {
    if (image != NULL) {
        vgpu_raw3(SYS_munmap, (long)image, (long)image->size, 0);
    }
}

const char *vgpu_image_text(const struct vgpu_image *image, uint32_t offset) {
    return (const char *)image + offset;
}

const struct vgpu_gpu *vgpu_image_gpu(const struct vgpu_image *image, uint32_t i) {
    return i < image->gpus.count ? (const struct vgpu_gpu *)((const char *)image + image->gpus.offset) + i : NULL;
}

const struct vgpu_attribute *vgpu_image_attributes(const struct vgpu_image *image, const struct vgpu_gpu *gpu) {
    return (const struct vgpu_attribute *)((const char *)image + gpu->attributes.offset);
}

const struct vgpu_property *vgpu_image_properties(const struct vgpu_image *image, const struct vgpu_gpu *gpu,
                                                  enum vgpu_property_id id, uint32_t *count) {
    const struct vgpu_property *at = (const struct vgpu_property *)((const char *)image + gpu->properties.offset);
    const struct vgpu_property *end = at + gpu->properties.count;
    while (at < end && at->id != id) {
        at++;
    }
    for (*count = 0; at + *count < end && at[*count].id == id; (*count)++) {
    }
    return at;
}

int vgpu_image_property(const struct vgpu_image *image, const struct vgpu_gpu *gpu, enum vgpu_property_id id,
                        uint32_t index, int64_t *value) {
    uint32_t count;
    const struct vgpu_property *found = vgpu_image_properties(image, gpu, id, &count);
    for (uint32_t i = 0; i < count; i++) {
        if (found[i].index == index) {
            *value = found[i].value;
            return 1;
        }
    }
    return 0;
}

const char *vgpu_image_gpu_text(const struct vgpu_image *image, const struct vgpu_gpu *gpu, enum vgpu_text_id id,
                                uint32_t index) {
    const struct vgpu_text *texts = (const struct vgpu_text *)((const char *)image + gpu->texts.offset);
    for (uint32_t i = 0; i < gpu->texts.count; i++) {
        if (texts[i].id == id && texts[i].index == index) {
            return vgpu_image_text(image, texts[i].text);
        }
    }
    return NULL;
}

const struct vgpu_gpu_process *vgpu_image_processes(const struct vgpu_image *image, const struct vgpu_gpu *gpu) {
    return (const struct vgpu_gpu_process *)((const char *)image + gpu->processes.offset);
}

const struct vgpu_mig_device *vgpu_image_migs(const struct vgpu_image *image, const struct vgpu_gpu *gpu) {
    return (const struct vgpu_mig_device *)((const char *)image + gpu->migs.offset);
}

const struct vgpu_mig_profile *vgpu_image_mig_profiles(const struct vgpu_image *image, const struct vgpu_gpu *gpu) {
    return (const struct vgpu_mig_profile *)((const char *)image + gpu->mig_profiles.offset);
}

const struct vgpu_fault *vgpu_image_fault(const struct vgpu_image *image, uint32_t i) {
    return i < image->faults.count ? (const struct vgpu_fault *)((const char *)image + image->faults.offset) + i : NULL;
}
