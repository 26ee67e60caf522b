/* The way of a file call through the shim. An exported function asks vgpu_file_maybe whether its path can be of the
 * tree at all; nearly every path cannot, and goes to the real function by a tail call. Of the others
 * vgpu_file_is_of_tree says for certain, on little stack. Then vgpu_call_<name> finds where the tree has the path, asks
 * the gate, and either the real function or the row's `serve` answers.
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

#include "syscall/known.h"
#include "syscall/real.h"
#include "syscall/spelling.h"
#include "vgpu/paths.h"
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

/* What a row without such a parameter has: its paths are relative to the working directory. The parameter `directory`
 * of a row that has one hides this. */
enum { directory = AT_FDCWD, second_directory = AT_FDCWD };

/* Code that calls of usual paths run through, all on one page: csrc/syscall/way.c. */
#define VGPU_USUAL __attribute__((section(".text.hot.vgpu_usual")))

/* Can `path` be of the tree? It says so at its start, or is relative where that may matter, or is spelled oddly. The
 * parameter `at` is the directory that a relative path starts from. */
VGPU_USUAL int vgpu_file_maybe(int at, const char *path);

/* The same for what opens: is the path of the tree? Of one that is opened for the first time nothing is known: a link
 * may lead it there (vgpu_linked_opened). */
enum { VGPU_OPENS_TREE = 1, VGPU_OPENS_UNKNOWN = 2 };
VGPU_USUAL unsigned int vgpu_file_opens(enum vgpu_file_function function, int at, const char *path);

/* What a stat of either kind has told. */
#define VGPU_DEVICE_OF(to) (_Generic((to), struct statx *: vgpu_statx_device, struct stat *: vgpu_stat_device)(to))
#define VGPU_IS_LINK(to)                                                                                               \
    (_Generic((to),                                                                                                    \
         const struct statx *: vgpu_statx_is_link,                                                                     \
         struct statx *: vgpu_statx_is_link,                                                                           \
         const struct stat *: vgpu_stat_is_link,                                                                       \
         struct stat *: vgpu_stat_is_link)(to))

static inline uint64_t vgpu_stat_device(const struct stat *of) {
    return of->st_dev;
}

static inline uint64_t vgpu_statx_device(const struct statx *of) {
    return makedev(of->stx_dev_major, of->stx_dev_minor);
}

static inline int vgpu_stat_is_link(const struct stat *of) {
    return S_ISLNK(of->st_mode);
}

static inline int vgpu_statx_is_link(const struct statx *of) {
    return S_ISLNK(of->stx_mode);
}

/* Does some file of the tree's file system have this device? It may be a device of the tree, then. */
static inline int vgpu_file_device_maybe(uint64_t device) {
    uint64_t tree = __atomic_load_n(&vgpu_filter.tree_dev, __ATOMIC_RELAXED);
    return tree != 0 && device == tree;
}

#define VGPU_IDENTIFY(process, function, caller, to)                                                                   \
    _Generic((to), struct statx *: vgpu_identify_statx, struct stat *: vgpu_identify_stat)(process, function, caller,  \
                                                                                           to)

/* This shim's own state; learns vgpu_filter.candidates and its like once the image is known. */
struct vgpu_process *vgpu_file_self(void);

/* The image, or NULL where there is none, or set-up is under way below us: then files are real. */
const struct vgpu_image *vgpu_file_image(struct vgpu_process *process);

/* 1: the shim has a say in this call. Of the own process, before any gate. */
__attribute__((cold)) int vgpu_file_is_of_tree(enum vgpu_file_function function, int at, const char *path);

/* 1: the tree answers this call. 0: the real function does, with *path, which may have become call->target: the host's
 * name of a path that leads out of the tree again. */
int vgpu_file_enter(struct vgpu_file_call *call, struct vgpu_process *process, enum vgpu_file_function function, int at,
                    const char **path, uint64_t caller);

/* The same for the file behind a descriptor, which `entry` is. */
int vgpu_file_begin_device(struct vgpu_file_call *call, struct vgpu_process *process, enum vgpu_file_function function,
                           const struct vgpu_path *entry, uint64_t caller);

/* Writes the CALL record. `answer` is a number or -errno; sets errno and answers -1 in the latter case. */
long vgpu_file_end(struct vgpu_file_call *call, long answer);

/* The same; the record has a number too: what was asked of a device. */
long vgpu_file_end_request(struct vgpu_file_call *call, long answer, uint64_t request);

/* The same for a function that answers a pointer; NULL: errno says why. */
void *vgpu_file_end_pointer(struct vgpu_file_call *call, void *answer);

/* Puts what the tree's file stands for into what the real function answered about one that has no path, or a relative
 * one. 0, or -1 and errno for a device's fault. */
int vgpu_identify_stat(struct vgpu_process *process, enum vgpu_file_function function, uint64_t caller,
                       struct stat *to);
int vgpu_identify_statx(struct vgpu_process *process, enum vgpu_file_function function, uint64_t caller,
                        struct statx *to);

/* Puts what a device of the tree is into an answer about its file. */
void vgpu_device_stat(const struct vgpu_path *entry, struct stat *to);
void vgpu_device_statx(const struct vgpu_path *entry, struct statx *to);

/* The same for the other files of the tree, which their marks tell: enum vgpu_mark. What has none stays as it is. */
void vgpu_mark_stat(struct stat *to);
void vgpu_mark_statx(struct statx *to);
static inline int vgpu_mark_is(int64_t nanoseconds) {
    return (nanoseconds & VGPU_MARK_MASK) == VGPU_MARK;
}

/* May this process do what `mode` (R_OK, W_OK, X_OK) asks with a file of root's, whose permissions are `of`? The tree's
 * own belong to the user of the run. effective: 1: as an open, 0: as access(2) asks, for the real user. */
int vgpu_permits(mode_t of, int mode, int effective);

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
/* A link's text of `length` bytes, which the real function has put into `to` of `size`, in host terms if it names the
 * tree. Answers the new length. `call` is room: the text may be longer than it fits. */
ssize_t vgpu_real_link(struct vgpu_file_call *call, int at, const char *path, char *to, ssize_t length, size_t size);

/* The same for the path that a real function has answered, or NULL. */
char *vgpu_real_path(char *path);
DIR *vgpu_serve_opendir(struct vgpu_file_call *call);

int vgpu_serve_chdir(struct vgpu_process *process, uint64_t caller, const char *path);
int vgpu_serve_fchdir(struct vgpu_process *process, int fd);
char *vgpu_serve_getcwd(struct vgpu_process *process, char *to, size_t size);
char *vgpu_serve_getcwd_chk(struct vgpu_process *process, char *to, size_t size, size_t room);
char *vgpu_serve_getwd(struct vgpu_process *process, char *to);
char *vgpu_serve_getwd_chk(struct vgpu_process *process, char *to, size_t room);
char *vgpu_serve_current_dir(struct vgpu_process *process);
int vgpu_serve_ioctl(struct vgpu_process *process, uint64_t caller, int fd, unsigned long request, void *argument);
long vgpu_serve_syscall(struct vgpu_process *process, uint64_t caller, long number, long a, long b, long c, long d,
                        long e, long f);

/* What a call that would change something is refused for. */
enum vgpu_change {
    VGPU_CHANGE_CREATE,      /* mkdir, symlink, mkfifo */
    VGPU_CHANGE_CREATE_FILE, /* mknod of a regular file */
    VGPU_CHANGE_REMOVE,
    VGPU_CHANGE_REMOVE_DIRECTORY,
    VGPU_CHANGE_MODE, /* and owner */
    VGPU_CHANGE_TIMES,
    VGPU_CHANGE_SIZE,
    VGPU_CHANGE_ATTRIBUTE,
    VGPU_CHANGE_INVALID, /* flags that the call does not have */
};
#define VGPU_UNLINK_CHANGE(flags)                                                                                      \
    ((flags) == 0 ? VGPU_CHANGE_REMOVE : (flags) == AT_REMOVEDIR ? VGPU_CHANGE_REMOVE_DIRECTORY : VGPU_CHANGE_INVALID)
#define VGPU_TIMES_CHANGE(flags)                                                                                       \
    (((flags) & ~(AT_SYMLINK_NOFOLLOW | AT_EMPTY_PATH)) == 0 ? VGPU_CHANGE_TIMES : VGPU_CHANGE_INVALID)
#define VGPU_NODE_CHANGE(mode) (((mode) & S_IFMT) == 0 || S_ISREG(mode) ? VGPU_CHANGE_CREATE_FILE : VGPU_CHANGE_CREATE)
int vgpu_serve_change(struct vgpu_file_call *call, enum vgpu_change change);
int vgpu_serve_remove(struct vgpu_file_call *call);

/* link and rename of two paths, of which `from`, `to` or both are of the tree; the other is NULL. */
int vgpu_serve_move(struct vgpu_file_call *from, struct vgpu_file_call *to);

/* vgpu_call_<name>(process, caller, <the parameters>), one for each row: a test passes a process of its own. */
#define VGPU_FILE(type, name, parameters, arguments, family, before, serve)                                            \
    type vgpu_call_##name(struct vgpu_process *process, uint64_t caller, VGPU_BARE parameters);
#define VGPU_FILE_FSTAT(type, name, parameters, arguments, family, before)
#define VGPU_FILE_OTHER(type, name, parameters, arguments, family, before, test, serve)                                \
    type vgpu_call_##name(struct vgpu_process *process, uint64_t caller VGPU_AND parameters);
#include "syscall/syscall.def"

#endif
