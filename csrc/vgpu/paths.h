/* The path table: which paths are answered from the tree of virtual files. No libc symbol, no allocation, no lock. */
#ifndef VGPU_PATHS_H
#define VGPU_PATHS_H

#include "vgpu/wire.h"

/* Looks `path` (absolute; `//` and `/./` are allowed) up. Answers 1 and writes where the tree has it to `out`, 0 if the
 * path is not of the table, -1 if it is but does not fit `size` bytes (the caller answers ENAMETOOLONG: never
 * the real file). *entry, if not NULL, is set to the table's row. `out` may be NULL: only whether, then. */
int vgpu_path_find(const struct vgpu_image *image, const char *path, char *out, uint64_t size,
                   const struct vgpu_path **entry);

/* 1: `path` (absolute) is a row or a directory above one. */
int vgpu_path_leads_to(const struct vgpu_image *image, const char *path);

/* The row of the device whose tree file has this identity, or NULL. */
const struct vgpu_path *vgpu_path_device(const struct vgpu_image *image, uint64_t st_dev, uint64_t st_ino);

/* st_dev of the tree's files; 0: it has no device, and does not tell. */
uint64_t vgpu_path_tree_dev(const struct vgpu_image *image);

/* A pointer that nobody can read from: NULL, another one into the first page, and the kernel's half of the addresses,
 * (char *)-1 for one. The kernel answers EFAULT, and so must whoever looks before it. */
static inline int vgpu_path_is_no_text(const char *path) {
    enum { FIRST_PAGE = 4096 };
    return (intptr_t)path < FIRST_PAGE;
}

/* A cheap "no" for nearly every call of a program. The rows of a table stand below /sys, /proc and /dev; `//` and `/.`
 * may be such a path in another spelling. */
static inline int vgpu_path_candidate(const char *path) {
    return !vgpu_path_is_no_text(path) && path[0] == '/' &&
           (path[1] == 's' || path[1] == 'p' || path[1] == 'd' || path[1] == '/' || path[1] == '.');
}

#endif
