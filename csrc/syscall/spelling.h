/* Which path of the host a program's spelling of it means: `..`, /proc/self/root, links that lead in from elsewhere,
 * paths relative to the working directory or to a directory's descriptor. */
#ifndef VGPU_SPELLING_H
#define VGPU_SPELLING_H

#include <stddef.h>

#include "vgpu/wire.h"

enum vgpu_spelling {
    VGPU_SPELLING_NO_ROOM = -1, /* of the tree, and longer than a path may be */
    VGPU_SPELLING_REAL = 0,     /* not of the tree: what the real function makes of it is right */
    VGPU_SPELLING_TREE = 1,
    VGPU_SPELLING_LEFT =
        2, /* not of the tree, but the way there leads through it, where the kernel would stay inside */
};

/* Finds `path`, relative to `directory` (a descriptor or AT_FDCWD) unless it is absolute. `out`, if not NULL, is set to
 * where the tree has it, or for LEFT to the host's path; `entry` to the table's row. System calls only: no libc, no
 * lock, and about 2 KiB of stack. */
enum vgpu_spelling vgpu_spelling_find(const struct vgpu_image *image, int directory, const char *path, char *out,
                                      size_t size, const struct vgpu_path **entry);

/* 1: `path`, which is absolute and which vgpu_spelling_find has found to be real, will be found so again, until
 * vgpu_known_forget. */
int vgpu_spelling_is_settled(const char *path);

/* 1: `path` leads into the tree for a function that follows links, also by one that is the whole of `path`. `host`, if
 * not NULL, is set to the host's path of what is there, without such a link. Always costs system calls. */
int vgpu_spelling_follow(const struct vgpu_image *image, int directory, const char *path, char *host, size_t size);

/* `text` (a path that came out of the kernel) behind the tree's root, if it is below it: "/sys/bus/pci", or "/" for the
 * root itself. Else NULL. */
const char *vgpu_spelling_behind_root(const struct vgpu_image *image, const char *text);

/* Bits of vgpu_filter.near: what this process, or a vfork child of it, may have as its working directory or as a
 * directory's descriptor. They are set, never cleared: a bit too many costs time, no more. */
enum vgpu_near {
    VGPU_NEAR_ABOVE = 1, /* a real directory above rows of the path table: "/", "/proc" */
    VGPU_NEAR_TREE = 2,  /* a directory of the tree */
};
void vgpu_near_note_bits(uint32_t bits);

/* The process is in `path` (as the kernel says) now, or has a descriptor of it. */
void vgpu_near_note(const struct vgpu_image *image, const char *path);

/* The same for the working directory, as it is now. */
void vgpu_near_note_here(const struct vgpu_image *image);

#endif
