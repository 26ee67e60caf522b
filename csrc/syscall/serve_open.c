/* Opening the tree's files and directories. Nothing here can change the tree: its files are opened for reading only, as
 * those of sysfs and procfs that they stand for; devices for writing too, but never created or cut. */
#include <stdlib.h>
#include <string.h>

#include "syscall/files.h"
#include "vgpu/raw.h"

static long raw_stat_mode(const char *path) {
    struct stat facts;
    long answer = vgpu_raw6(SYS_newfstatat, AT_FDCWD, (long)path, (long)&facts, 0, 0, 0);
    return answer < 0 ? answer : (long)facts.st_mode;
}

/* 0, or -errno as the kernel answers these flags for a file of sysfs or a device of /dev. */
static long refusal(const struct vgpu_file_call *call, int flags) {
    int writes = (flags & O_ACCMODE) != O_RDONLY || (flags & O_TRUNC) != 0;
    if (flags & O_PATH) {
        return 0;
    }
    if ((flags & O_TMPFILE) == O_TMPFILE) {
        return -EOPNOTSUPP;
    }
    if (!writes && !(flags & O_CREAT)) {
        return 0;
    }
    long mode = raw_stat_mode(call->target);
    if (mode < 0) {
        return mode == -ENOENT && (flags & O_CREAT) ? -EACCES : mode;
    }
    if ((flags & (O_CREAT | O_EXCL)) == (O_CREAT | O_EXCL)) {
        return -EEXIST;
    }
    if (S_ISDIR(mode)) {
        return -EISDIR;
    }
    return writes && !call->entry->device ? -EACCES : 0;
}

/* With a descriptor of a directory of the tree, a path that is relative to one may be of the tree. */
static void note_directory(long fd) {
    struct stat facts;
    if (fd >= 0 && (vgpu_file_near & VGPU_NEAR_TREE) == 0 && vgpu_raw3(SYS_fstat, fd, (long)&facts, 0) == 0 &&
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
