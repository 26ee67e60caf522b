/* A link outside of the tree that is a whole path and leads into it: /tmp/gpu -> /dev/nvidia0. To ask of each path
 * whether it is such a link would cost each call a system call; so that is asked when a real function has answered that
 * there is no such file, or when a stat tells that the path has led to a file system that the tree stands for.
 *
 * What stays unseen: a link to a file that the machine has as well, for a function that does not tell where it is. */
#ifndef VGPU_LINKED_H
#define VGPU_LINKED_H

#include <errno.h>

#include "syscall/files.h"

/* 1: `path` is a link that leads into the tree, and `to` (of PATH_MAX bytes, or NULL) is where on the host. errno is
 * as before. */
__attribute__((cold)) int vgpu_linked_find(int at, const char *path, char *to);

/* 1: `device` is that of /sys, /proc or /dev, where that is a file system of its own. */
int vgpu_linked_is_virtual(uint64_t device);

/* What the real function says of a link to a file that the tree alone has; ENXIO: of a device that no driver has. */
static inline int vgpu_linked_is_missing(int error) {
    return error == ENOENT || error == ENXIO || error == ENODEV;
}

#define VGPU_LINKED_MISSED(answer)                                                                                     \
    ((intptr_t)(answer) == _Generic((answer), int: -1, long: -1, default: 0) &&                                        \
     __atomic_load_n(&vgpu_file_candidates, __ATOMIC_RELAXED) != 0 && vgpu_linked_is_missing(errno))

/* Numbers of file systems without a disk have no major part. What has one is neither a file of the tree, unless the
 * tree lies on a disk, nor of /sys, /proc or /dev. One branch: just behind a system call each of them is guessed
 * wrongly. */
#define VGPU_LINKED_NO_DISK(to)                                                                                        \
    (_Generic((to), struct statx *: vgpu_statx_has_no_disk, struct stat *: vgpu_stat_has_no_disk)(to))

static inline int vgpu_stat_has_no_disk(const struct stat *of) {
    uint64_t tree = __atomic_load_n(&vgpu_file_tree_dev, __ATOMIC_RELAXED);
    return (of->st_dev == tree) | (major(of->st_dev) == 0);
}

static inline int vgpu_statx_has_no_disk(const struct statx *of) {
    return vgpu_file_statx_maybe(of) | (of->stx_dev_major == 0);
}

#define VGPU_LINKED_STAT(at, path, to)                                                                                 \
    (_Generic((to), struct statx *: vgpu_linked_statx, struct stat *: vgpu_linked_stat)(to) &&                         \
     ((path)[0] == '/' || (at) == AT_FDCWD) && !vgpu_file_maybe(at, path))

static inline int vgpu_linked_stat(const struct stat *of) {
    return major(of->st_dev) == 0 && !S_ISLNK(of->st_mode) && vgpu_linked_is_virtual(of->st_dev);
}

static inline int vgpu_linked_statx(const struct statx *of) {
    return of->stx_dev_major == 0 && !S_ISLNK(of->stx_mode) &&
           vgpu_linked_is_virtual(makedev(of->stx_dev_major, of->stx_dev_minor));
}

/* vgpu_again_<name>(caller, answer, <the parameters>): the call once more where the link leads, if it leads into the
 * tree; else `answer`, which is the real function's. */
#define VGPU_FILE(type, name, parameters, arguments, family, before, serve)                                            \
    type vgpu_again_##name(uint64_t caller, type answer, VGPU_BARE parameters);
#define VGPU_FILE_FSTAT(type, name, parameters, arguments, family, before)
#define VGPU_FILE_LINK(type, name, parameters, arguments, family, before, serve)
#define VGPU_FILE_NAME(type, name, parameters, arguments, family, before, serve)
#define VGPU_FILE_PAIR(type, name, parameters, arguments, family, before, change)
#define VGPU_FILE_OTHER(type, name, parameters, arguments, family, before, test, serve)
#include "syscall/syscall.def"

#endif
