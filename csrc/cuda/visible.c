/* CUDA_VISIBLE_DEVICES: a list of indices and of GPU-<uuid>, which may be cut as long as one GPU alone fits.
 *
 * The list ends at its first entry that names no GPU (CUDA C++ Programming Guide, environment variables). One that
 * names a GPU twice leaves none: so torch.cuda, which has these rules to itself, describes the driver. An index is read
 * as strtoul reads it, so "1x" is 1. */
#include <string.h>

#include "cuda/model.h"
#include "vgpu/gpu_text.h"
#include "vgpu/image.h"

enum { NONE = -1 };

static int by_uuid(const struct vgpu_image *image, const char *text, size_t length) {
    int found = NONE;
    for (uint32_t i = 0; i < image->gpus.count; i++) {
        char uuid[VGPU_UUID_TEXT_SIZE];
        vgpu_put_uuid(uuid, vgpu_image_gpu(image, i)->uuid);
        if (length < sizeof(uuid) && strncmp(uuid, text, length) == 0) {
            if (found != NONE) {
                return NONE;
            }
            found = (int)i;
        }
    }
    return found;
}

static int by_index(const struct vgpu_image *image, const char *text, size_t length) {
    uint32_t index = 0;
    size_t digits = 0;
    if (length > 0 && text[0] == '+') {
        text++;
        length--;
    }
    for (; digits < length && text[digits] >= '0' && text[digits] <= '9'; digits++) {
        index = index * 10 + (uint32_t)(text[digits] - '0');
        if (index >= image->gpus.count) {
            return NONE;
        }
    }
    return digits == 0 || index >= image->gpus.count ? NONE : (int)index;
}

static int one(const struct vgpu_image *image, const char *text, size_t length) {
    while (length > 0 && (*text == ' ' || *text == '\t')) {
        text++;
        length--;
    }
    while (length > 0 && (text[length - 1] == ' ' || text[length - 1] == '\t')) {
        length--;
    }
    int is_uuid = length > 4 && strncmp(text, "GPU-", 4) == 0;
    return is_uuid ? by_uuid(image, text, length) : by_index(image, text, length);
}

uint32_t vgpu_cuda_visible(const struct vgpu_image *image, const char *list, uint32_t visible[VGPU_GPUS_MAX]) {
    uint32_t count = 0;
    if (list == NULL) {
        for (; count < image->gpus.count; count++) {
            visible[count] = count;
        }
        return count;
    }
    for (;;) {
        size_t length = strcspn(list, ",");
        int found = one(image, list, length);
        if (found == NONE) {
            return count;
        }
        for (uint32_t i = 0; i < count; i++) {
            if (visible[i] == (uint32_t)found) {
                return 0;
            }
        }
        visible[count++] = (uint32_t)found;
        if (list[length] == '\0') {
            return count;
        }
        list += length + 1;
    }
}
