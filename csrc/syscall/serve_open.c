/* Opening the tree's files and directories. Nothing here can change the tree: its files are opened for reading only, as
 * those of sysfs and procfs that they stand for; devices for writing too, but never created or cut. */
#include <stdlib.h>
#include <string.h>

#include "syscall/files.h"
#include "vgpu/paths.h"
#include "vgpu/raw.h"

/* What an open with these flags asks of the file's mode. */
static int wanted(int flags) {
    int mode = (flags & O_ACCMODE) == O_RDONLY ? R_OK : (flags & O_ACCMODE) == O_WRONLY ? W_OK : R_OK | W_OK;
    return (flags & O_TRUNC) != 0 ? mode | W_OK : mode;
}

/* As do_tmpfile of fs/namei.c, for a directory whose file system has no such files. */
static long temporary_refusal(const struct vgpu_file_call *call, int flags) {
    struct stat facts;
    if ((wanted(flags) & W_OK) == 0) {
        return -EINVAL;
    }
    long missing = vgpu_raw6(SYS_newfstatat, AT_FDCWD, (long)call->target, (long)&facts, 0, 0, 0);
    return missing < 0                   ? missing
           : !S_ISDIR(facts.st_mode)     ? -ENOTDIR
           : vgpu_permits(0555, W_OK, 1) ? -EOPNOTSUPP
                                         : -EACCES;
}

/* What sysfs and procfs ask beyond the mode, of root too: reading and writing need somebody's permission to
 * (KERNFS_ROOT_EXTRA_OPEN_PERM_CHECK), where no file of the tree can be written to; and neither has direct I/O. An open
 * for neither, access mode 3, and one that cuts pass. */
static long kernfs_refusal(const struct stat *facts, int flags) {
    int mode = flags & O_ACCMODE;
    if (mode == O_WRONLY || mode == O_RDWR || (mode == O_RDONLY && (facts->st_mode & 0444) == 0)) {
        return -EACCES;
    }
    return (flags & O_DIRECT) != 0 ? -EINVAL : 0;
}

/* 0, or -errno as the kernel answers these flags for a file of sysfs or procfs, or a device of /dev. */
static long refusal(const struct vgpu_file_call *call, int flags) {
    struct stat facts;
    int new = (flags & (O_CREAT | O_EXCL)) == (O_CREAT | O_EXCL);
    if (flags & O_PATH) {
        return 0;
    }
    if ((flags & O_TMPFILE) == O_TMPFILE) {
        return temporary_refusal(call, flags);
    }
    if ((flags & O_CREAT) && (flags & O_DIRECTORY)) {
        return -EINVAL; /* since Linux 6.4 */
    }
    if ((flags & O_CREAT) && call->path[0] != '\0' && call->path[vgpu_length(call->path) - 1] == '/') {
        return -EISDIR;
    }
    int nofollow = new || (flags & O_NOFOLLOW) != 0 ? AT_SYMLINK_NOFOLLOW : 0;
    long missing = vgpu_raw6(SYS_newfstatat, AT_FDCWD, (long)call->target, (long)&facts, nofollow, 0, 0);
    if (missing < 0) {
        return missing == -ENOENT && (flags & O_CREAT) ? -EACCES : missing;
    }
    if (new) {
        return -EEXIST;
    }
    if (S_ISLNK(facts.st_mode)) {
        return (flags & O_DIRECTORY) != 0 ? -ENOTDIR : -ELOOP;
    }
    if (S_ISDIR(facts.st_mode)) {
        return (flags & O_CREAT) != 0 || (wanted(flags) & W_OK) != 0 ? -EISDIR : 0;
    }
    if (flags & O_DIRECTORY) {
        return -ENOTDIR;
    }
    if (facts.st_dev != vgpu_path_tree_dev(call->process->image)) {
        return (wanted(flags) & W_OK) != 0 ? -EACCES : 0; /* the machine's own, behind a link */
    }
    if (!vgpu_permits(facts.st_mode, wanted(flags), 1)) {
        return -EACCES;
    }
    return call->entry->device ? 0 : kernfs_refusal(&facts, flags);
}

/* With a descriptor of a directory of the tree, a path that is relative to one may be of the tree. */
static void note_directory(long fd) {
    struct stat facts;
    if (fd >= 0 && (vgpu_filter.near & VGPU_NEAR_TREE) == 0 && vgpu_raw3(SYS_fstat, fd, (long)&facts, 0) == 0 &&
        S_ISDIR(facts.st_mode)) {
        vgpu_near_note_bits(VGPU_NEAR_TREE);
    }
}

int vgpu_serve_open(struct vgpu_file_call *call, int flags) {
    long answer = -call->error;
    if (answer == 0) {
        answer = refusal(call, flags);
    }
    if (answer == 0) {
        int safe = flags & ~(O_CREAT | O_EXCL | O_TRUNC);
        answer = vgpu_raw6(SYS_openat, AT_FDCWD, (long)call->target, safe, 0, 0, 0);
        note_directory(answer);
    }
    return (int)vgpu_file_end(call, answer);
}

/* The open flags of an fopen mode, as far as they matter here. */
static int mode_flags(const char *mode) {
    int flags = mode[0] == 'w' ? O_WRONLY | O_CREAT | O_TRUNC : mode[0] == 'a' ? O_WRONLY | O_CREAT : O_RDONLY;
    for (const char *at = mode + 1; mode[0] != '\0' && *at != '\0' && *at != ','; at++) {
        if (*at == '+') {
            flags = (flags & ~O_ACCMODE) | O_RDWR;
        } else if (*at == 'x') {
            flags |= O_EXCL;
        }
    }
    return flags;
}

/* Errno, 0 if the real fopen may be asked with *mode, which is made harmless. */
static int prepare_stream(const struct vgpu_file_call *call, const char **mode) {
    int flags = mode_flags(*mode);
    int error = call->error != 0 ? call->error : (int)-refusal(call, flags);
    if (error == 0 && flags != O_RDONLY) {
        *mode = strchr(*mode, 'e') != NULL ? "r+e" : "r+";
    }
    return error;
}

FILE *vgpu_serve_fopen(struct vgpu_file_call *call, const char *mode) {
    int error = prepare_stream(call, &mode);
    if (error != 0) {
        errno = error;
        return vgpu_file_end_pointer(call, NULL);
    }
    return vgpu_file_end_pointer(call, VGPU_REAL(fopen)(call->target, mode));
}

FILE *vgpu_serve_freopen(struct vgpu_file_call *call, const char *mode, FILE *stream) {
    int error = prepare_stream(call, &mode);
    /* A freopen that fails has closed the stream: the real one does that for a name that no file can have. */
    FILE *answer = VGPU_REAL(freopen)(error == 0 ? call->target : "", mode, stream);
    if (error != 0) {
        errno = error;
    }
    return vgpu_file_end_pointer(call, answer);
}

DIR *vgpu_serve_opendir(struct vgpu_file_call *call) {
    if (call->error != 0) {
        errno = call->error;
        return vgpu_file_end_pointer(call, NULL);
    }
    vgpu_near_note_bits(VGPU_NEAR_TREE);
    return vgpu_file_end_pointer(call, VGPU_REAL(opendir)(call->target));
}
