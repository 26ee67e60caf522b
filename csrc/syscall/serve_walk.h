/* Walks below directories, listings, and what the file system of a path is: the rows of entries/. A walk keeps all that
 * it knows in its caller's stream or on the stack. */
#ifndef VGPU_SERVE_WALK_H
#define VGPU_SERVE_WALK_H

#include <fts.h>
#include <ftw.h>
#include <glob.h>
#include <spawn.h>
#include <sys/statfs.h>
#include <sys/statvfs.h>

#include "syscall/files.h"

/* 0: there is no image, so no call can be about the tree. Until that is known, 1. */
static inline int vgpu_file_image_known(void) {
    return __atomic_load_n(&vgpu_filter.candidates, __ATOMIC_RELAXED) != 0;
}

/* 0: this process has opened no directory of the tree. */
static inline int vgpu_file_lists_tree(void) {
    return (__atomic_load_n(&vgpu_filter.near, __ATOMIC_RELAXED) & VGPU_NEAR_TREE) != 0;
}

/* 0: this process is not in the tree. Where it has started is found out by the first call. */
static inline int vgpu_file_may_be_inside(void) {
    return vgpu_file_lists_tree() || __atomic_load_n(&vgpu_filter.candidates, __ATOMIC_RELAXED) == UINT64_MAX;
}

/* vgpu_file_enter for a walk: 1 as well for a path that the tree lies below ("/", "/proc"), and for a link into it. */
int vgpu_walk_begin(struct vgpu_file_call *call, struct vgpu_process *process, enum vgpu_file_function function,
                    const char **path, uint64_t caller);

/* The mount point of what the host has at `path` (absolute and normal): its first component. */
struct vgpu_mount {
    char name[16];
};
struct vgpu_mount vgpu_mount_of(const char *path);

/* Device number of the file system that the host has at `path`, whose stat has been `facts`. */
dev_t vgpu_walk_device(struct vgpu_process *process, const char *path, const struct stat *facts);

int vgpu_serve_statfs(struct vgpu_file_call *call, struct statfs *to);
int vgpu_serve_statvfs(struct vgpu_file_call *call, struct statvfs *to);
int vgpu_serve_fstatfs(struct vgpu_process *process, enum vgpu_file_function function, uint64_t caller, int fd,
                       struct statfs *to);
int vgpu_serve_fstatvfs(struct vgpu_process *process, enum vgpu_file_function function, uint64_t caller, int fd,
                        struct statvfs *to);
long vgpu_serve_pathconf(struct vgpu_file_call *call, int name);
int vgpu_serve_watch(struct vgpu_file_call *call, int fd, uint32_t mask);
int vgpu_serve_mark(struct vgpu_file_call *call, int fd, unsigned int flags, uint64_t mask);
int vgpu_serve_handle(struct vgpu_file_call *call, struct file_handle *handle, int *mount, int flags);
int vgpu_serve_spawn_open(struct vgpu_file_call *call, posix_spawn_file_actions_t *actions, int fd, int flags,
                          mode_t mode);
int vgpu_serve_spawn_chdir(struct vgpu_file_call *call, posix_spawn_file_actions_t *actions);
int vgpu_serve_open_tree(struct vgpu_file_call *call, unsigned int flags);
key_t vgpu_serve_ftok(struct vgpu_file_call *call, int id);
FILE *vgpu_serve_setmntent(struct vgpu_file_call *call, const char *mode);

/* Gives an entry that libc has read the type and the number that the host shows. */
struct dirent *vgpu_serve_readdir(struct vgpu_process *process, DIR *stream, struct dirent *entry);
int vgpu_serve_readdir_r(struct vgpu_process *process, DIR *stream, int answer, struct dirent **found);
ssize_t vgpu_serve_entries(struct vgpu_process *process, int fd, void *entries, ssize_t size);
int vgpu_serve_scan(struct vgpu_file_call *call, struct dirent ***to, int (*filter)(const struct dirent *),
                    int (*order)(const struct dirent **, const struct dirent **));

int vgpu_serve_ftw(struct vgpu_process *process, enum vgpu_file_function function, uint64_t caller, const char *path,
                   __ftw_func_t visit, int descriptors);
int vgpu_serve_nftw(struct vgpu_process *process, enum vgpu_file_function function, uint64_t caller, const char *path,
                    __nftw_func_t visit, int descriptors, int flags);

FTS *vgpu_serve_fts_open(struct vgpu_process *process, enum vgpu_file_function function, uint64_t caller,
                         char *const *paths, int options, vgpu_fts_order *order);
FTSENT *vgpu_serve_fts_read(struct vgpu_process *process, uint64_t caller, FTS *walk);
FTSENT *vgpu_serve_fts_children(struct vgpu_process *process, uint64_t caller, FTS *walk, int what);
int vgpu_serve_fts_set(FTSENT *entry, int instruction);
int vgpu_serve_fts_close(FTS *walk);

/* A bit that libc's fts_open refuses in its options marks the walks that are ours. */
enum { VGPU_FTS_OURS = 0x40000000 };

static inline int vgpu_fts_is_ours(const FTS *walk) {
    return walk != NULL && (walk->fts_options & VGPU_FTS_OURS) != 0;
}

/* Can a pattern match in the tree? A caller who brings functions of his own is served through them. */
int vgpu_glob_is_ours(const char *pattern, int flags);
int vgpu_serve_glob(struct vgpu_process *process, enum vgpu_file_function function, uint64_t caller,
                    const char *pattern, int flags, int (*failed)(const char *, int), glob_t *to);

#endif
