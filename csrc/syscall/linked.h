/* A link outside of the tree that is a whole path and leads into it: /tmp/gpu -> /dev/nvidia0. To ask of each path
 * whether it is such a link would cost each call a system call; so that is asked when a real function has answered that
 * there is no such file, or when a stat, or the first open of a path, tells that it has led to a file system that the
 * tree stands for. (To open with O_NOFOLLOW would tell it without a system call, but that stays in the descriptor's
 * flags, where F_GETFL shows it.)
 *
 * What stays unseen: a link to a file that the machine has as well, for a function that neither opens it nor tells
 * where it is, as access, statfs and chmod. */
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

/* Below the machine's /sys, /proc and /dev no link is the program's own. */
__attribute__((cold)) int vgpu_linked_is_of_system(const char *path);

/* 1: a relative path may lead there by a link of the program's. Not from a directory that lies there itself: a walk
 * through /proc asks for each of its files. errno is as before. */
__attribute__((cold)) int vgpu_linked_from(int at, const char *path);

/* Such a file: has the path come there by a link? `flags` are those of fstatat(2). */
#define VGPU_LINKED_STAT(at, path, flags, to)                                                                          \
    (!VGPU_IS_LINK(to) && !vgpu_path_is_no_text(path) &&                                                               \
     ((path)[0] == '/' ? !vgpu_linked_is_of_system(path)                                                               \
                       : ((flags) & AT_SYMLINK_NOFOLLOW) == 0 && vgpu_linked_from(at, path)))

/* The same of a file that has been opened: `fd` is a descriptor of it, or -1. Costs an fstat the first time. */
__attribute__((cold)) int vgpu_linked_opened(int at, const char *path, int fd);

/* The descriptor of a stream, or -1; errno is as before. */
__attribute__((cold)) int vgpu_linked_number(FILE *stream);

/* vgpu_call_stat and vgpu_call_opendir for who walks: as the exported functions, they follow a link into the tree. */
int vgpu_linked_stat(struct vgpu_process *process, uint64_t caller, const char *path, struct stat *to);
DIR *vgpu_linked_opendir(struct vgpu_process *process, uint64_t caller, const char *path);

/* vgpu_again_<name>(caller, answer, <the parameters>): the call once more where the link leads, if it leads into the
 * tree; else `answer`, which is the real function's. What that has opened is closed first. */
#define VGPU_FILE(type, name, parameters, arguments, family, before, serve)                                            \
    type vgpu_again_##name(uint64_t caller, type answer, VGPU_BARE parameters);
#define VGPU_FILE_FSTAT(type, name, parameters, arguments, family, before)
#define VGPU_FILE_LINK(type, name, parameters, arguments, family, before, serve)
#define VGPU_FILE_NAME(type, name, parameters, arguments, family, before, serve)
#define VGPU_FILE_PAIR(type, name, parameters, arguments, family, before, change)
#define VGPU_FILE_OTHER(type, name, parameters, arguments, family, before, test, serve)
#include "syscall/syscall.def"

#endif
