/* The way of a file call through the shim. An exported function asks vgpu_file_candidate whether its path can be of the
 * tree at all; nearly every path cannot, and goes to the real function by a tail call. The others go through
 * vgpu_call_<name>: look the path up, ask the gate, and either the real function or the row's `serve` answers.
 *
 * Serving keeps no state and takes no lock; open, stat, access and readlink are raw system calls, so a signal handler
 * and a vfork child may do them. Descriptors are real ones of the tree's files: read, mmap and dup need no shim. */
#ifndef VGPU_FILES_H
#define VGPU_FILES_H

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdint.h>
#include <stdio.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <sys/types.h>
#include <unistd.h>

#include "syscall/real.h"
#include "vgpu/process.h"

/* One call whose path is of the tree. */
struct vgpu_file_call {
    struct vgpu_process *process;
    enum vgpu_file_function function;
    const char *path;              /* as the program asked */
    uint64_t caller;               /* return address, 0: none */
    const struct vgpu_path *entry; /* the row of the path table */
    int saved_errno;               /* success leaves errno alone, whatever happens on the way */
    int error;                     /* 0, or the errno that is the answer: a fault's, or ENAMETOOLONG */
    uint8_t flags;                 /* of enum vgpu_record_flag */
    char target[PATH_MAX];         /* where the tree has it */
};

/* Bit N: a path whose first component starts with a byte of value N modulo 64 may be of the tree. All ones until the
 * host image is known. */
extern uint64_t vgpu_file_candidates;

/* The first bytes of `path`, no more: can it be of the tree? */
static inline int vgpu_file_candidate(const char *path) {
    if (path == NULL || path[0] != '/') {
        return 0;
    }
    do {
        path++;
    } while (path[0] == '/' || (path[0] == '.' && path[1] == '/'));
    return (int)(__atomic_load_n(&vgpu_file_candidates, __ATOMIC_RELAXED) >> ((unsigned char)path[0] & 63) & 1);
}

/* A path that says nothing of where it leads: relative, empty or NULL. A device's file may still be behind it. */
static inline int vgpu_file_relative(const char *path) {
    return (path == NULL || path[0] != '/') && __atomic_load_n(&vgpu_file_candidates, __ATOMIC_RELAXED) != 0;
}

/* This shim's own state; learns vgpu_file_candidates once the image is known. */
struct vgpu_process *vgpu_file_self(void);

/* 1: the tree answers this call, 0: the real function does. */
int vgpu_file_begin(struct vgpu_file_call *call, struct vgpu_process *process, enum vgpu_file_function function,
                    const char *path, uint64_t caller);

/* Writes the CALL record. `answer` is a number or -errno; sets errno and answers -1 in the latter case. */
long vgpu_file_end(struct vgpu_file_call *call, long answer);

/* The same for a function that answers a pointer; NULL: errno says why. */
void *vgpu_file_end_pointer(struct vgpu_file_call *call, void *answer);

/* Puts a device's identity into what the real function answered about a file that has no path, or a relative one. 0, or
 * -1 and errno for a fault. */
int vgpu_identify_stat(struct vgpu_process *process, enum vgpu_file_function function, uint64_t caller,
                       struct stat *to);
int vgpu_identify_statx(struct vgpu_process *process, enum vgpu_file_function function, uint64_t caller,
                        struct statx *to);

/* Puts what a device of the tree is into an answer about its file. */
void vgpu_device_stat(const struct vgpu_path *entry, struct stat *to);
void vgpu_device_statx(const struct vgpu_path *entry, struct statx *to);

int vgpu_serve_open(struct vgpu_file_call *call, int flags);
FILE *vgpu_serve_fopen(struct vgpu_file_call *call, const char *mode);
FILE *vgpu_serve_freopen(struct vgpu_file_call *call, const char *mode, FILE *stream);
int vgpu_serve_stat(struct vgpu_file_call *call, int version, struct stat *to, int flags);
int vgpu_serve_statx(struct vgpu_file_call *call, int flags, unsigned int mask, struct statx *to);
ssize_t vgpu_serve_xattr(struct vgpu_file_call *call, long number, const char *name, void *to, size_t size);
ssize_t vgpu_serve_xattr_list(struct vgpu_file_call *call, long number, char *to, size_t size);
int vgpu_serve_access(struct vgpu_file_call *call, int mode, int flags);
ssize_t vgpu_serve_readlink(struct vgpu_file_call *call, char *to, size_t size);
char *vgpu_serve_realpath(struct vgpu_file_call *call, char *to);
DIR *vgpu_serve_opendir(struct vgpu_file_call *call);
int vgpu_serve_scandir(struct vgpu_file_call *call, struct dirent ***to, int (*filter)(const struct dirent *),
                       int (*order)(const struct dirent **, const struct dirent **));

/* vgpu_call_<name>(process, caller, <the parameters>), one for each row: a test passes a process of its own. */
#define VGPU_BARE(...) __VA_ARGS__
#define VGPU_FILE(type, name, parameters, arguments, family, before, serve)                                            \
    type vgpu_call_##name(struct vgpu_process *process, uint64_t caller, VGPU_BARE parameters);
#include "syscall/syscall.def"

#endif
