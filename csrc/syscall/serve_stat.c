/* stat, statx, access and the extended attributes of the tree's files. A device of the tree is a regular file, as only
 * root may make others: its mode and number are put into the answer here. */
#include "syscall/files.h"
#include "vgpu/raw.h"

/* What NVIDIA's own nodes have: nvidia-modprobe makes them crw-rw-rw- root root. */
enum { DEVICE_MODE = S_IFCHR | 0666 };

void vgpu_device_stat(const struct vgpu_path *entry, struct stat *to) {
    to->st_mode = DEVICE_MODE;
    to->st_rdev = entry->rdev;
    to->st_uid = 0;
    to->st_gid = 0;
    to->st_size = 0;
    to->st_blocks = 0;
}

void vgpu_device_statx(const struct vgpu_path *entry, struct statx *to) {
    to->stx_mode = DEVICE_MODE;
    to->stx_rdev_major = major(entry->rdev);
    to->stx_rdev_minor = minor(entry->rdev);
    to->stx_uid = 0;
    to->stx_gid = 0;
    to->stx_size = 0;
    to->stx_blocks = 0;
}

/* glibc's _STAT_VER: 0 is the kernel's struct stat and 1 is Linux's; on x86-64 both are struct stat. */
static int known_version(int version) {
    return version == 0 || version == 1;
}

int vgpu_serve_stat(struct vgpu_file_call *call, int version, struct stat *to, int flags) {
    long answer = -call->error;
    if (answer == 0) {
        answer = known_version(version) ? vgpu_raw6(SYS_newfstatat, AT_FDCWD, (long)call->target, (long)to, flags, 0, 0)
                                        : -EINVAL;
    }
    if (answer == 0 && call->entry->device) {
        vgpu_device_stat(call->entry, to);
    }
    return (int)vgpu_file_end(call, answer);
}

int vgpu_serve_statx(struct vgpu_file_call *call, int flags, unsigned int mask, struct statx *to) {
    long answer = -call->error;
    if (answer == 0) {
        answer = vgpu_raw6(SYS_statx, AT_FDCWD, (long)call->target, flags, mask, (long)to, 0);
    }
    if (answer == 0 && call->entry->device) {
        vgpu_device_statx(call->entry, to);
    }
    return (int)vgpu_file_end(call, answer);
}

ssize_t vgpu_serve_xattr(struct vgpu_file_call *call, long number, const char *name, void *to, size_t size) {
    long answer = -call->error;
    if (answer == 0) {
        answer = vgpu_raw6(number, (long)call->target, (long)name, (long)to, (long)size, 0, 0);
    }
    return vgpu_file_end(call, answer);
}

ssize_t vgpu_serve_xattr_list(struct vgpu_file_call *call, long number, char *to, size_t size) {
    long answer = -call->error;
    if (answer == 0) {
        answer = vgpu_raw3(number, (long)call->target, (long)to, (long)size);
    }
    return vgpu_file_end(call, answer);
}

static long access_tree(const char *target, int mode, int flags) {
    long answer = -ENOSYS;
    if (flags != 0) {
        answer = vgpu_raw6(SYS_faccessat2, AT_FDCWD, (long)target, mode, flags, 0, 0);
    }
    /* Kernels before 5.8 have no flags; the tree's modes are the same for real and effective users. */
    return answer == -ENOSYS ? vgpu_raw3(SYS_faccessat, AT_FDCWD, (long)target, mode) : answer;
}

/* Files of sysfs and procfs are read-only on the simulated host, for root too: what access allows, open does. */
int vgpu_serve_access(struct vgpu_file_call *call, int mode, int flags) {
    long answer = call->error != 0 ? -call->error : access_tree(call->target, mode, flags);
    if (answer == 0 && (mode & W_OK) != 0 && !call->entry->device) {
        answer = -EACCES;
    }
    return (int)vgpu_file_end(call, answer);
}
