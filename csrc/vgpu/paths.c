/* Look-ups in the path table, on the caller's stack. Uses no libc symbol. */
#include "vgpu/paths.h"

#include "vgpu/image.h"
#include "vgpu/raw.h"

/* Answers the path behind the separators and `.` components at its start: "//./sys" -> "sys". */
static const char *skip_separators(const char *path) {
    for (;;) {
        while (*path == '/') {
            path++;
        }
        if (path[0] == '.' && (path[1] == '/' || path[1] == '\0')) {
            path++;
            continue;
        }
        return path;
    }
}

/* Compares the table's normal `row` with the program's `path`, `//` and `/./` folded. Answers what is left of `path`
 * behind the row ("" or "vendor"), or NULL. */
static const char *match(const char *row, const char *path) {
    const char *at = path;
    const char *wanted = row;
    while (*wanted != '\0' && *wanted == *at) {
        wanted++;
        at++;
    }
    if (*wanted == '\0') {
        int whole = *at == '/' || *at == '\0' || (wanted > row && wanted[-1] == '/');
        return whole ? skip_separators(at) : (const char *)0;
    }
    if (*at != '/' && *at != '.') {
        return (const char *)0; /* a separator too many is the only thing that may still be folded away */
    }
    for (;;) {
        row = skip_separators(row);
        path = skip_separators(path);
        if (*row == '\0') {
            return path;
        }
        while (*row != '\0' && *row != '/') {
            if (*row++ != *path++) {
                return (const char *)0;
            }
        }
        if (*path != '/' && *path != '\0') {
            return (const char *)0;
        }
    }
}

/* The first bytes of a path, to be compared at once: nearly every row of the table differs there. */
struct head {
    uint64_t bytes;
    uint64_t mask; /* of the bytes there are; 0: the path is not normal at its start, and every row is looked at */
};

static struct head head_of(const char *path) {
    struct head head = {0, 0};
    for (uint32_t i = 0; i < sizeof(head.bytes) && path[i] != '\0'; i++) {
        if (i > 0 && path[i - 1] == '/' && (path[i] == '/' || path[i] == '.')) {
            return (struct head){0, 0};
        }
        head.bytes |= (uint64_t)(unsigned char)path[i] << 8 * i;
        head.mask |= (uint64_t)0xff << 8 * i;
    }
    return head;
}

/* 1: the row, of `length` bytes, begins otherwise. */
static int differs(const struct head *head, const char *row, uint32_t length) {
    uint64_t bytes;
    if (length < sizeof(bytes)) {
        return 0;
    }
    __builtin_memcpy(&bytes, row, sizeof(bytes));
    return ((bytes ^ head->bytes) & head->mask) != 0;
}

static int append(char *out, uint64_t size, uint64_t *at, const char *text) {
    while (*text != '\0') {
        if (*at + 1 >= size) {
            return -1;
        }
        out[(*at)++] = *text++;
    }
    out[*at] = '\0';
    return 0;
}

/* Does a path that ends at `end` name a directory: by a slash, or a `.` behind one? A link is followed then. */
static int names_directory(const char *path, const char *end) {
    return end > path && (end[-1] == '/' || (end - path > 1 && end[-1] == '.' && end[-2] == '/'));
}

int vgpu_path_find(const struct vgpu_image *image, const char *path, char *out, uint64_t size,
                   const struct vgpu_path **entry) {
    if (image == (const struct vgpu_image *)0 || !vgpu_path_candidate(path)) {
        return 0;
    }
    const struct vgpu_path *rows = (const struct vgpu_path *)((const char *)image + image->paths.offset);
    struct head head = head_of(path);
    for (uint32_t i = 0; i < image->paths.count; i++) {
        const char *row = vgpu_image_text(image, rows[i].path);
        const char *rest = differs(&head, row, rows[i].path_length) ? (const char *)0 : match(row, path);
        if (rest == (const char *)0 || (rows[i].kind == VGPU_PATH_EXACT && *rest != '\0')) {
            continue;
        }
        if (entry != (const struct vgpu_path **)0) {
            *entry = &rows[i];
        }
        if (out == (char *)0) {
            return 1;
        }
        uint64_t at = 0;
        int full = append(out, size, &at, vgpu_image_text(image, rows[i].target));
        if (full == 0 && *rest != '\0') {
            full = append(out, size, &at, "/") != 0 || append(out, size, &at, rest) != 0;
        } else if (full == 0 && names_directory(path, rest)) {
            full = append(out, size, &at, "/");
        }
        return full == 0 ? 1 : -1;
    }
    return 0;
}

int vgpu_path_leads_to(const struct vgpu_image *image, const char *path) {
    if (image == (const struct vgpu_image *)0 || vgpu_path_is_no_text(path) || path[0] != '/') {
        return 0;
    }
    const struct vgpu_path *rows = (const struct vgpu_path *)((const char *)image + image->paths.offset);
    struct head head = head_of(path);
    for (uint32_t i = 0; i < image->paths.count; i++) {
        const char *row = vgpu_image_text(image, rows[i].path);
        if (!differs(&head, row, rows[i].path_length) && match(path, row) != (const char *)0) {
            return 1;
        }
    }
    return 0;
}

const struct vgpu_path *vgpu_path_device(const struct vgpu_image *image, uint64_t st_dev, uint64_t st_ino) {
    if (image == (const struct vgpu_image *)0) {
        return (const struct vgpu_path *)0;
    }
    const struct vgpu_path *rows = (const struct vgpu_path *)((const char *)image + image->paths.offset);
    for (uint32_t i = 0; i < image->paths.count; i++) {
        if (rows[i].device && rows[i].tree_ino == st_ino && rows[i].tree_dev == st_dev) {
            return &rows[i];
        }
    }
    return (const struct vgpu_path *)0;
}

uint64_t vgpu_path_tree_dev(const struct vgpu_image *image) {
    const struct vgpu_path *rows = (const struct vgpu_path *)((const char *)image + image->paths.offset);
    for (uint32_t i = 0; i < image->paths.count; i++) {
        if (rows[i].device) {
            return rows[i].tree_dev;
        }
    }
    return 0;
}
