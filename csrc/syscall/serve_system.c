/* What the file system of a path is, by path and by descriptor. The tree lies on some tmpfs; the host has sysfs, procfs
 * and devtmpfs there, and the machine's own are asked. */
#include <string.h>
#include <sys/statfs.h>
#include <sys/statvfs.h>

#include "syscall/serve_walk.h"
#include "vgpu/image.h"
#include "vgpu/raw.h"

/* linux/magic.h: SYSFS_MAGIC, PROC_SUPER_MAGIC */
enum { SYSFS = 0x62656572, PROC = 0x9fa0, NAME_LENGTH = 255, PAGE = 4096 };
/* fs/statfs.c: says that f_flags is filled in. What sysfs is mounted with by systemd: nosuid, nodev, noexec, relatime.
 */
enum { MOUNT_FLAGS = 0x0020 | 0x0002 | 0x0004 | 0x0008 | 0x1000 };

struct vgpu_mount vgpu_mount_of(const char *path) {
    struct vgpu_mount mount = {"/"};
    for (size_t i = 1; path[i] != '/' && path[i] != '\0' && i + 1 < sizeof(mount.name); i++) {
        mount.name[i] = path[i];
    }
    return mount;
}

/* The type that a mount point's file system has on every Linux machine, 0 if there is no rule. */
static long magic_of(const struct vgpu_mount *mount) {
    return vgpu_same_text(mount->name, "/sys") ? SYSFS : vgpu_same_text(mount->name, "/proc") ? PROC : 0;
}

/* What the file system of the host's `path` is; a container may have none mounted there: then as fs/libfs.c's
 * simple_statfs describes one. */
static long host_statfs(const char *path, struct statfs *to) {
    struct vgpu_mount mount = vgpu_mount_of(path);
    long answer = vgpu_raw3(SYS_statfs, (long)mount.name, (long)to, 0);
    long magic = magic_of(&mount);
    if (magic != 0 && answer != -EFAULT && (answer < 0 || to->f_type != magic)) {
        *to = (struct statfs){.f_type = magic, .f_bsize = PAGE, .f_frsize = PAGE, .f_namelen = NAME_LENGTH};
        to->f_flags = MOUNT_FLAGS;
        answer = 0;
    }
    return answer;
}

/* As statvfs(3) makes it of statfs(2). */
static void as_statvfs(const struct statfs *from, struct statvfs *to) {
    memset(to, 0, sizeof(*to));
    to->f_bsize = (unsigned long)from->f_bsize;
    to->f_frsize = (unsigned long)(from->f_frsize != 0 ? from->f_frsize : from->f_bsize);
    to->f_blocks = from->f_blocks;
    to->f_bfree = from->f_bfree;
    to->f_bavail = from->f_bavail;
    to->f_files = from->f_files;
    to->f_ffree = from->f_ffree;
    to->f_favail = from->f_ffree;
    memcpy(&to->f_fsid, &from->f_fsid, sizeof(to->f_fsid));
    to->f_namemax = (unsigned long)from->f_namelen;
    to->f_flag = (unsigned long)(from->f_flags & ~0x0020);
}

/* 0 if the tree has the file, else -errno. */
static long exists(const struct vgpu_file_call *call) {
    struct stat facts;
    if (call->error != 0) {
        return -call->error;
    }
    return vgpu_raw6(SYS_newfstatat, AT_FDCWD, (long)call->target, (long)&facts, 0, 0, 0);
}

/* What a program calls the row that a call is about. */
static const char *row_path(const struct vgpu_file_call *call) {
    return vgpu_image_text(call->process->image, call->entry->path);
}

int vgpu_serve_statfs(struct vgpu_file_call *call, struct statfs *to) {
    long answer = exists(call);
    return (int)vgpu_file_end(call, answer == 0 ? host_statfs(row_path(call), to) : answer);
}

int vgpu_serve_statvfs(struct vgpu_file_call *call, struct statvfs *to) {
    struct statfs facts;
    long answer = exists(call);
    if (answer == 0) {
        answer = host_statfs(row_path(call), &facts);
    }
    if (answer == 0) {
        as_statvfs(&facts, to);
    }
    return (int)vgpu_file_end(call, answer);
}

/* Puts the text of /proc/self/fd's link of a descriptor to `to`; its length, or -errno. */
static long descriptor_path(int fd, char *to, size_t size) {
    char link[32] = "/proc/self/fd/";
    char digits[12];
    size_t count = 0;
    size_t at = sizeof("/proc/self/fd/") - 1;
    if (fd < 0) {
        return -EBADF;
    }
    do {
        digits[count++] = (char)('0' + fd % 10);
        fd /= 10;
    } while (fd != 0);
    while (count > 0) {
        link[at++] = digits[--count];
    }
    long got = vgpu_raw6(SYS_readlinkat, AT_FDCWD, (long)link, (long)to, (long)size - 1, 0, 0);
    if (got >= 0) {
        to[got] = '\0';
    }
    return got;
}

/* 1 and the record begun if the file of a descriptor is the tree's: then `room` (of PATH_MAX) holds its name. Only what
 * lies on the same file system is looked at closely. */
static int begin_descriptor(struct vgpu_file_call *call, struct vgpu_process *process, enum vgpu_file_function function,
                            uint64_t caller, int fd, char *room) {
    const struct vgpu_image *image = vgpu_file_image(process);
    struct stat facts;
    if (image == NULL || vgpu_raw3(SYS_fstat, fd, (long)&facts, 0) != 0 || !vgpu_file_device_maybe(facts.st_dev) ||
        descriptor_path(fd, room, PATH_MAX) < 0) {
        return 0;
    }
    const char *path = vgpu_spelling_behind_root(image, room);
    return path != NULL && vgpu_file_enter(call, process, function, AT_FDCWD, &path, caller);
}

int vgpu_serve_fstatfs(struct vgpu_process *process, enum vgpu_file_function function, uint64_t caller, int fd,
                       struct statfs *to) {
    struct vgpu_file_call call;
    char path[PATH_MAX];
    if (!begin_descriptor(&call, process, function, caller, fd, path)) {
        return VGPU_REAL(fstatfs)(fd, to);
    }
    return (int)vgpu_file_end(&call, call.error != 0 ? -call.error : host_statfs(row_path(&call), to));
}

int vgpu_serve_fstatvfs(struct vgpu_process *process, enum vgpu_file_function function, uint64_t caller, int fd,
                        struct statvfs *to) {
    struct vgpu_file_call call;
    struct statfs facts;
    char path[PATH_MAX];
    if (!begin_descriptor(&call, process, function, caller, fd, path)) {
        return VGPU_REAL(fstatvfs)(fd, to);
    }
    long answer = call.error != 0 ? -call.error : host_statfs(row_path(&call), &facts);
    if (answer == 0) {
        as_statvfs(&facts, to);
    }
    return (int)vgpu_file_end(&call, answer);
}

/* -1 is an answer, too: "no limit", with errno as it was. */
long vgpu_serve_pathconf(struct vgpu_file_call *call, int name) {
    struct vgpu_mount mount = vgpu_mount_of(row_path(call));
    long answer = exists(call);
    if (answer != 0) {
        return vgpu_file_end(call, answer);
    }
    errno = 0;
    answer = VGPU_REAL(pathconf)(name == _PC_ASYNC_IO ? call->target : mount.name, name);
    if (answer == -1 && errno != 0) {
        return vgpu_file_end(call, -errno);
    }
    vgpu_file_end(call, 0);
    return answer;
}
