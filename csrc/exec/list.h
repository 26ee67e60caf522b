/* Lists in one text, as LD_PRELOAD is one. */
#ifndef VGPU_EXEC_LIST_H
#define VGPU_EXEC_LIST_H

#include <stddef.h>

struct vgpu_list_entry {
    const char *start;
    size_t length;
};

/* Takes the next entry that is not empty; *at moves behind it. 0: there is none. */
static inline int vgpu_list_next(const char **at, const char *separators, struct vgpu_list_entry *entry) {
    const char *from = *at;
    while (*from != '\0' && (*from == separators[0] || *from == separators[1])) {
        from++;
    }
    size_t length = 0;
    while (from[length] != '\0' && from[length] != separators[0] && from[length] != separators[1]) {
        length++;
    }
    *entry = (struct vgpu_list_entry){from, length};
    *at = from + length;
    return length != 0;
}

/* Is the entry in that part of `list` that ends at `end` (NULL: in all of it)? */
static inline int vgpu_list_has(const char *list, const char *end, const char *separators,
                                const struct vgpu_list_entry *wanted) {
    struct vgpu_list_entry entry;
    while (vgpu_list_next(&list, separators, &entry) && (end == NULL || entry.start < end)) {
        size_t n = 0;
        while (n < wanted->length && n < entry.length && entry.start[n] == wanted->start[n]) {
            n++;
        }
        if (n == wanted->length && n == entry.length) {
            return 1;
        }
    }
    return 0;
}

#endif
