/* native_probe.go mergeNativeProbeDevices: one entry for what the backend and the driver say of a GPU. */
#include <stdio.h>
#include <string.h>
#include <strings.h>

#include "ollama/gen_c.h"

static int is_same(const struct c_native *one, const struct c_native *other) {
    if (strcasecmp(one->library, other->library) != 0) {
        return 0;
    }
    if (one->device_id[0] != '\0' && other->device_id[0] != '\0') {
        return strcasecmp(one->device_id, other->device_id) == 0;
    }
    return one->index_matches_backend && other->index_matches_backend && one->index == other->index;
}

static int has_index(const struct c_natives *natives, const struct c_native *wanted) {
    for (size_t i = 0; i < natives->count; i++) {
        if (strcasecmp(natives->items[i].library, wanted->library) == 0 && natives->items[i].index == wanted->index) {
            return 1;
        }
    }
    return 0;
}

static void fill_text(char *out, size_t size, const char *text) {
    if (*out == '\0') {
        snprintf(out, size, "%s", text);
    }
}

static void merge(struct c_native *into, const struct c_native *from) {
    into->index_matches_backend |= from->index_matches_backend;
    fill_text(into->name, sizeof into->name, from->name);
    fill_text(into->description, sizeof into->description, from->description);
    fill_text(into->device_id, sizeof into->device_id, from->device_id);
    if (from->integrated_known || (!into->integrated_known && from->integrated)) {
        into->integrated = from->integrated;
        into->integrated_known |= from->integrated_known;
    }
    into->total = into->total == 0 ? from->total : into->total;
    into->free = into->free == 0 ? from->free : into->free;
    if (into->compute_major == 0) {
        into->compute_major = from->compute_major;
        into->compute_minor = from->compute_major == 0 ? into->compute_minor : from->compute_minor;
    }
    if (into->cuda_driver_major == 0) {
        into->cuda_driver_major = from->cuda_driver_major;
        into->cuda_driver_minor = from->cuda_driver_major == 0 ? into->cuda_driver_minor : from->cuda_driver_minor;
    }
    if (into->nvidia_driver_major == 0) {
        into->nvidia_driver_major = from->nvidia_driver_major;
    }
}

void c_natives_merge(struct c_natives *base, const struct c_natives *more) {
    int was_empty = base->count == 0;
    for (size_t i = 0; i < more->count; i++) {
        const struct c_native *extra = &more->items[i];
        struct c_native *same = NULL;
        for (size_t k = 0; k < base->count && same == NULL && !was_empty; k++) {
            same = is_same(&base->items[k], extra) ? &base->items[k] : NULL;
        }
        if (same != NULL) {
            merge(same, extra);
        } else if (extra->index_matches_backend && (was_empty || !has_index(base, extra))) {
            c_natives_add(base, extra);
        }
    }
}
