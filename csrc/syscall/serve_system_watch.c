/* Those who are told of a file's changes, its handle, what a program opens before it starts, and rare ways to open. */
#include <fcntl.h>
#include <spawn.h>
#include <stdio_ext.h>

#include "syscall/serve_walk.h"
#include "vgpu/image.h"
#include "vgpu/raw.h"

/* A directory that the host's tree only adds to is watched where the machine changes it. */
static int is_merged(const struct vgpu_file_call *call) {
    return call->entry->kind == VGPU_PATH_EXACT && !call->entry->device;
}

int vgpu_serve_watch(struct vgpu_file_call *call, int fd, uint32_t mask) {
    long answer = -call->error;
    if (answer == 0) {
        const char *path = is_merged(call) ? vgpu_image_text(call->process->image, call->entry->path) : call->target;
        answer = vgpu_raw3(SYS_inotify_add_watch, fd, (long)path, mask);
    }
    return (int)vgpu_file_end(call, answer);
}

int vgpu_serve_mark(struct vgpu_file_call *call, int fd, unsigned int flags, uint64_t mask) {
    long answer = -call->error;
    if (answer == 0) {
        const char *path = is_merged(call) ? vgpu_image_text(call->process->image, call->entry->path) : call->target;
        answer = vgpu_raw6(SYS_fanotify_mark, fd, flags, (long)mask, AT_FDCWD, (long)path, 0);
    }
    return (int)vgpu_file_end(call, answer);
}

/* A handle is made by the file system that the host has there, or not at all (procfs); its mount is the host's. */
static long host_handle(const struct vgpu_file_call *call, struct file_handle *handle, int *mount, int flags) {
    struct {
        struct file_handle head;
        unsigned char bytes[MAX_HANDLE_SZ];
    } top = {.head = {.handle_bytes = MAX_HANDLE_SZ}};
    struct vgpu_mount place = vgpu_mount_of(vgpu_image_text(call->process->image, call->entry->path));
    struct stat facts;
    int number = 0;
    long missing = vgpu_raw6(SYS_newfstatat, AT_FDCWD, (long)call->target, (long)&facts, AT_SYMLINK_NOFOLLOW, 0, 0);
    if (missing != 0) {
        return missing;
    }
    long answer = vgpu_raw6(SYS_name_to_handle_at, AT_FDCWD, (long)place.name, (long)&top, (long)&number, 0, 0);
    if (answer != 0) {
        return answer;
    }
    answer = vgpu_raw6(SYS_name_to_handle_at, AT_FDCWD, (long)call->target, (long)handle, (long)mount, flags, 0);
    if (answer == 0 || answer == -EOVERFLOW) {
        *mount = number;
    }
    return answer;
}

int vgpu_serve_handle(struct vgpu_file_call *call, struct file_handle *handle, int *mount, int flags) {
    return (int)vgpu_file_end(call, call->error != 0 ? -call->error : host_handle(call, handle, mount, flags));
}

/* The child's open is a system call of libc's own: so the path is the tree's. One for writing has to fail there, and
 * nothing of the machine may be touched: the root directory cannot be written to by anyone. */
int vgpu_serve_spawn_open(struct vgpu_file_call *call, posix_spawn_file_actions_t *actions, int fd, int flags,
                          mode_t mode) {
    int writes = (flags & O_ACCMODE) != O_RDONLY || (flags & (O_CREAT | O_TRUNC)) != 0;
    int safe = flags & ~(O_CREAT | O_EXCL | O_TRUNC);
    int error = call->error;
    if (error == 0 && writes && !call->entry->device) {
        error = VGPU_REAL(posix_spawn_file_actions_addopen)(actions, fd, "/", O_WRONLY, mode);
    } else if (error == 0) {
        error = VGPU_REAL(posix_spawn_file_actions_addopen)(actions, fd, call->target, safe, mode);
    }
    vgpu_file_end(call, -error);
    errno = call->saved_errno;
    return error;
}

int vgpu_serve_spawn_chdir(struct vgpu_file_call *call, posix_spawn_file_actions_t *actions) {
    int error = call->error;
    if (error == 0) {
        error = VGPU_REAL(posix_spawn_file_actions_addchdir_np)(actions, call->target);
    }
    vgpu_file_end(call, -error);
    errno = call->saved_errno;
    return error;
}

/* As any place (O_PATH); a tree of mounts that is cut off (OPEN_TREE_CLONE) is for who may mount. */
int vgpu_serve_open_tree(struct vgpu_file_call *call, unsigned int flags) {
    long answer = -call->error;
    if (answer == 0) {
        answer = vgpu_raw3(SYS_open_tree, AT_FDCWD, (long)call->target, (long)flags);
        vgpu_near_note_bits(VGPU_NEAR_TREE);
    }
    return (int)vgpu_file_end(call, answer);
}

/* As ftok(3) has it: 16 bits of the inode, 8 of the device, 8 of the caller's. */
key_t vgpu_serve_ftok(struct vgpu_file_call *call, int id) {
    struct stat facts;
    if (vgpu_serve_stat(call, 1, &facts, 0) != 0) {
        return -1;
    }
    return (key_t)((facts.st_ino & 0xffff) | (facts.st_dev & 0xff) << 16 | ((unsigned int)id & 0xff) << 24);
}

/* misc/mntent_r.c of glibc: the stream is closed by exec, and locked by nobody but its caller. */
FILE *vgpu_serve_setmntent(struct vgpu_file_call *call, const char *mode) {
    char own[8] = "";
    for (size_t i = 0; mode[i] != '\0' && i + 2 < sizeof(own); i++) {
        own[i] = mode[i];
        own[i + 1] = 'e';
    }
    FILE *stream = vgpu_serve_fopen(call, own);
    if (stream != NULL) {
        __fsetlocking(stream, FSETLOCKING_BYCALLER);
    }
    return stream;
}
