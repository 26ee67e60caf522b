/* A link outside of the tree that is a whole path and leads into it: /tmp/gpu -> /dev/nvidia0. To ask of each path
 * whether it is such a link would cost each call a system call; so that is asked when a real function has answered that
 * there is no such file, or when a stat tells that the path has led to a file system that the tree stands for.
 *
 * What stays unseen: a link to a file, but not a directory, that the machine has as well, for a function that does not
 * tell where it is. */
#ifndef VGPU_LINKED_H
#define VGPU_LINKED_H

#include <errno.h>

#include "syscall/files.h"

/* 1: `path` is a link that leads into the tree, and `to` (of PATH_MAX bytes, or NULL) is where on the host. errno is
 * as before. */
__attribute__((cold)) int vgpu_linked_find(int at, const char *path, char *to);

/* Finds vgpu_filter.systems. Two threads may do it at once: they find the same. */
void vgpu_linked_learn(void);

/* What the real function says of a link to a file that the tree alone has; ENXIO: of a device that no driver has. */
static inline int vgpu_linked_is_missing(int error) {
    return error == ENOENT || error == ENXIO || error == ENODEV;
}

#define VGPU_LINKED_MISSED(answer)                                                                                     \
    ((intptr_t)(answer) == _Generic((answer), int: -1, long: -1, default: 0) &&                                        \
     __atomic_load_n(&vgpu_filter.candidates, __ATOMIC_RELAXED) != 0 && vgpu_linked_is_missing(errno))

/* 1: a call has failed, or the file that it has told of lies where the tree does, or on a file system that the tree
 * stands for. One branch for all of it: just behind a system call each is guessed wrongly. */
static inline int vgpu_linked_odd(int has_failed, uint64_t device) {
    unsigned int is_odd = (has_failed != 0) | (device == __atomic_load_n(&vgpu_filter.tree_dev, __ATOMIC_RELAXED));
#pragma GCC unroll 3
    for (int i = 0; i < VGPU_SYSTEMS; i++) {
        is_odd |= device == __atomic_load_n(&vgpu_filter.systems[i], __ATOMIC_RELAXED);
    }
    __asm__("" : "+r"(is_odd)); /* or gcc makes a branch of each */
    return (int)is_odd;
}

/* The same of the kernel's answer: `to` is not looked at if that is an error. */
static inline int vgpu_linked_odd_answer(long answer, const struct stat *to) {
    static const struct stat none;
    __asm__("test %1, %1\n\tcmovne %2, %0" : "+r"(to) : "r"(answer), "r"(&none) : "cc");
    return vgpu_linked_odd(answer != 0, to->st_dev);
}

/* Such a file: has the path come there by a link? */
#define VGPU_LINKED_STAT(at, path, to)                                                                                 \
    (!VGPU_IS_LINK(to) && !vgpu_path_is_no_text(path) && ((path)[0] == '/' || (at) == AT_FDCWD) &&                     \
     !vgpu_file_begins(path))

/* The same of a directory that has been opened: `fd` is a descriptor of it, or -1. What is known to be none costs no
 * system call. */
__attribute__((cold)) int vgpu_linked_opened(int at, const char *path, int fd);
__attribute__((cold)) void vgpu_linked_close(int fd);

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
