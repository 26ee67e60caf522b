/* Attempts to change the tree, refused as Linux refuses them on sysfs and procfs (errno values measured on Linux 6.18
 * as root and as another user). A device is refused like a file of sysfs: nobody may move the simulated nodes away. */
#include "syscall/files.h"
#include "vgpu/image.h"
#include "vgpu/raw.h"

/* procfs has no way to make a name at all, and says so. */
static int is_of_proc(const struct vgpu_file_call *call) {
    const char *path = vgpu_image_text(call->process->image, call->entry->path);
    return path[1] == 'p' && path[2] == 'r' && path[3] == 'o' && path[4] == 'c' && path[5] == '/';
}

enum ending { IS_NAME, IS_NAME_AND_SLASH, IS_DOT, IS_PARENT };

/* The path's last component as the kernel parses it. */
static enum ending ending_of(const char *path) {
    size_t length = vgpu_length(path);
    size_t end = length;
    while (end > 1 && path[end - 1] == '/') {
        end--;
    }
    size_t start = end;
    while (start > 0 && path[start - 1] != '/') {
        start--;
    }
    if (end - start == 1 && path[start] == '.') {
        return IS_DOT;
    }
    if (end - start == 2 && path[start] == '.' && path[start + 1] == '.') {
        return IS_PARENT;
    }
    return end < length ? IS_NAME_AND_SLASH : IS_NAME;
}

/* `.` and `..` can neither be made nor be taken away (filename_create, do_rmdir and do_unlinkat of fs/namei.c). */
static long dots_refusal(const struct vgpu_file_call *call, enum vgpu_change change, enum ending ending) {
    struct stat facts;
    long missing = vgpu_raw6(SYS_newfstatat, AT_FDCWD, (long)call->target, (long)&facts, 0, 0, 0);
    if (missing < 0) {
        return missing;
    }
    if (change == VGPU_CHANGE_REMOVE_DIRECTORY) {
        return ending == IS_DOT ? -EINVAL : -ENOTEMPTY;
    }
    return change == VGPU_CHANGE_REMOVE ? -EISDIR : -EEXIST;
}

static int is_of_a_name(enum vgpu_change change) {
    return change == VGPU_CHANGE_CREATE || change == VGPU_CHANGE_CREATE_FILE || change == VGPU_CHANGE_REMOVE ||
           change == VGPU_CHANGE_REMOVE_DIRECTORY;
}

static long refusal(struct vgpu_file_call *call, enum vgpu_change change) {
    int root = vgpu_raw3(SYS_geteuid, 0, 0, 0) == 0;
    struct stat facts;
    enum ending ending = is_of_a_name(change) ? ending_of(call->path) : IS_NAME;
    if (ending == IS_DOT || ending == IS_PARENT) {
        return dots_refusal(call, change, ending);
    }
    if (is_of_a_name(change)) { /* a slash names a directory, but follows no link */
        for (size_t end = vgpu_length(call->target); end > 1 && call->target[end - 1] == '/'; end--) {
            call->target[end - 1] = '\0';
        }
    }
    long missing = vgpu_raw6(SYS_newfstatat, AT_FDCWD, (long)call->target, (long)&facts, AT_SYMLINK_NOFOLLOW, 0, 0);
    /* Before anybody's rights are looked at (do_unlinkat; do_rmdir asks for them first). */
    if (missing == 0 && ending == IS_NAME_AND_SLASH && change == VGPU_CHANGE_REMOVE) {
        return S_ISDIR(facts.st_mode) ? -EISDIR : -ENOTDIR;
    }
    switch (change) {
    case VGPU_CHANGE_CREATE:
    case VGPU_CHANGE_CREATE_FILE:
        if (missing != -ENOENT) {
            return missing == 0 ? -EEXIST : missing;
        }
        if (is_of_proc(call)) {
            return -ENOENT;
        }
        return root && change == VGPU_CHANGE_CREATE ? -EPERM : -EACCES;
    case VGPU_CHANGE_REMOVE:
    case VGPU_CHANGE_REMOVE_DIRECTORY:
        if (missing < 0) {
            return missing;
        }
        if (root && S_ISDIR(facts.st_mode) != (change == VGPU_CHANGE_REMOVE_DIRECTORY)) {
            return S_ISDIR(facts.st_mode) ? -EISDIR : -ENOTDIR;
        }
        return root ? -EPERM : -EACCES;
    case VGPU_CHANGE_MODE:
        return missing < 0 ? missing : -EPERM;
    case VGPU_CHANGE_TIMES:
        return missing < 0 ? missing : root ? -EPERM : -EACCES;
    case VGPU_CHANGE_SIZE:
        return missing < 0 ? missing : S_ISDIR(facts.st_mode) ? -EISDIR : -EACCES;
    case VGPU_CHANGE_INVALID:
        return -EINVAL;
    case VGPU_CHANGE_ATTRIBUTE:
        return missing < 0 ? missing : root ? -ENOTSUP : -EACCES;
    }
    return -EPERM;
}

int vgpu_serve_change(struct vgpu_file_call *call, enum vgpu_change change) {
    return (int)vgpu_file_end(call, call->error != 0 ? -call->error : refusal(call, change));
}

/* remove(3) is unlink, and rmdir where that says that it is a directory. */
int vgpu_serve_remove(struct vgpu_file_call *call) {
    long answer = call->error != 0 ? -call->error : refusal(call, VGPU_CHANGE_REMOVE);
    if (answer == -EISDIR) {
        answer = refusal(call, VGPU_CHANGE_REMOVE_DIRECTORY);
    }
    return (int)vgpu_file_end(call, answer);
}

/* A link is refused by the kernel's guard of foreign files, before the directory is asked (fs.protected_hardlinks). */
static long move_refusal(const struct vgpu_file_call *call) {
    int links = call->function == VGPU_FILE_link || call->function == VGPU_FILE_linkat;
    return links || vgpu_raw3(SYS_geteuid, 0, 0, 0) == 0 ? -EPERM : -EACCES;
}

int vgpu_serve_move(struct vgpu_file_call *from, struct vgpu_file_call *to) {
    struct vgpu_file_call *call = from != NULL ? from : to;
    struct stat facts;
    long answer = -call->error;
    if (answer == 0 && from != NULL) {
        answer = vgpu_raw6(SYS_newfstatat, AT_FDCWD, (long)from->target, (long)&facts, AT_SYMLINK_NOFOLLOW, 0, 0);
    }
    if (answer == 0) {
        answer = from == NULL || to == NULL ? -EXDEV : move_refusal(call);
    }
    return (int)vgpu_file_end(call, answer);
}
