/* The system calls that name a file, and the filter made of them. */
#include <errno.h>
#include <fcntl.h>
#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <stddef.h>
#include <sys/fanotify.h>
#include <sys/inotify.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "observe/notify_own.h"

#define ROW(number, kind, directory, path, flags, to, fixed)                                                           \
    {SYS_##number, VGPU_NOTIFY_##kind, directory, path, flags, to, fixed, #number}

static const struct vgpu_notify_row rows[] = {
    ROW(open, OPEN, -1, 0, 1, -1, 0),
    ROW(creat, OPEN, -1, 0, -1, -1, O_CREAT | O_WRONLY | O_TRUNC),
    ROW(openat, OPEN, 0, 1, 2, -1, 0),
    ROW(openat2, OPENAT2, 0, 1, -1, -1, 0),
    ROW(stat, STAT, -1, 0, -1, 1, 0),
    ROW(lstat, STAT, -1, 0, -1, 1, AT_SYMLINK_NOFOLLOW),
    ROW(newfstatat, STAT, 0, 1, 3, 2, 0),
    ROW(statx, STATX, 0, 1, 2, 4, 0),
    ROW(fstat, FSTAT, 0, -1, -1, 1, 0),
    ROW(access, ACCESS, -1, 0, -1, -1, 0),
    ROW(faccessat, ACCESS, 0, 1, -1, -1, 0),
    ROW(faccessat2, ACCESS, 0, 1, 3, -1, 0),
    ROW(readlink, READLINK, -1, 0, -1, 1, AT_SYMLINK_NOFOLLOW),
    ROW(readlinkat, READLINK, 0, 1, -1, 2, AT_SYMLINK_NOFOLLOW),
    ROW(statfs, STATFS, -1, 0, -1, 1, 0),
    ROW(fstatfs, FSTATFS, 0, -1, -1, 1, 0),
    ROW(getxattr, XATTR, -1, 0, -1, 2, 0),
    ROW(lgetxattr, XATTR, -1, 0, -1, 2, AT_SYMLINK_NOFOLLOW),
    ROW(listxattr, XATTR_LIST, -1, 0, -1, 1, 0),
    ROW(llistxattr, XATTR_LIST, -1, 0, -1, 1, AT_SYMLINK_NOFOLLOW),
    ROW(inotify_add_watch, WATCH, -1, 1, -1, -1, 0),
    ROW(chdir, CHDIR, -1, 0, -1, -1, 0),
    ROW(getcwd, GETCWD, -1, -1, -1, 0, 0),
    ROW(name_to_handle_at, HANDLE, 0, 1, 4, 2, 0),
    ROW(truncate, CHANGE, -1, 0, -1, -1, 0),
    ROW(chmod, CHANGE, -1, 0, -1, -1, 0),
    ROW(fchmodat, CHANGE, 0, 1, -1, -1, 0),
    ROW(chown, CHANGE, -1, 0, -1, -1, 0),
    ROW(lchown, CHANGE, -1, 0, -1, -1, AT_SYMLINK_NOFOLLOW),
    ROW(fchownat, CHANGE, 0, 1, 4, -1, 0),
    ROW(utimensat, CHANGE, 0, 1, 3, -1, 0),
    ROW(mkdir, CHANGE, -1, 0, -1, -1, AT_SYMLINK_NOFOLLOW),
    ROW(mkdirat, CHANGE, 0, 1, -1, -1, AT_SYMLINK_NOFOLLOW),
    ROW(mknod, CHANGE, -1, 0, -1, -1, AT_SYMLINK_NOFOLLOW),
    ROW(mknodat, CHANGE, 0, 1, -1, -1, AT_SYMLINK_NOFOLLOW),
    ROW(rmdir, CHANGE, -1, 0, -1, -1, AT_SYMLINK_NOFOLLOW),
    ROW(unlink, CHANGE, -1, 0, -1, -1, AT_SYMLINK_NOFOLLOW),
    ROW(unlinkat, CHANGE, 0, 1, -1, -1, AT_SYMLINK_NOFOLLOW),
    ROW(rename, CHANGE, -1, 0, -1, -1, AT_SYMLINK_NOFOLLOW),
    ROW(renameat, CHANGE, 0, 1, -1, -1, AT_SYMLINK_NOFOLLOW),
    ROW(renameat2, CHANGE, 0, 1, -1, -1, AT_SYMLINK_NOFOLLOW),
    ROW(symlink, CHANGE, -1, 1, -1, -1, AT_SYMLINK_NOFOLLOW),
    ROW(symlinkat, CHANGE, 1, 2, -1, -1, AT_SYMLINK_NOFOLLOW),
    ROW(ioctl, IOCTL, 0, -1, -1, -1, 0),
    ROW(io_uring_setup, RING, -1, -1, -1, -1, 0),
};

enum { ROWS = sizeof(rows) / sizeof(rows[0]) };

const struct vgpu_notify_row *vgpu_notify_row(int32_t number) {
    for (uint32_t i = 0; i < ROWS; i++) {
        if (rows[i].number == number) {
            return &rows[i];
        }
    }
    return NULL;
}

#define LOAD(field) BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, field))
#define JUMP(test, value, yes, no) BPF_JUMP(BPF_JMP | (test) | BPF_K, value, yes, no)
#define ANSWER(action) BPF_STMT(BPF_RET | BPF_K, action)

/* 32-bit programs and the x32 numbers go their way: the shims are for 64-bit programs alone. */
enum { X32 = 0x40000000, BEGIN = 4, END = 9 };

uint64_t vgpu_notify_filter(void *to, uint64_t size, enum vgpu_notify_rings rings, int stops) {
    struct sock_filter *at = to;
    struct sock_filter begin[BEGIN] = {
        LOAD(arch),
        JUMP(BPF_JEQ, AUDIT_ARCH_X86_64, 0, ROWS + 2),
        LOAD(nr),
        JUMP(BPF_JGE, X32, ROWS, 0),
    };
    /* Of ioctl only the requests of the driver's nodes, whose type is 'F' (nv-ioctl-numbers.h of NVIDIA's
     * open-gpu-kernel-modules); the second argument's low word is first in memory. */
    struct sock_filter end[END] = {
        ANSWER(SECCOMP_RET_ALLOW),
        LOAD(args[1]),
        BPF_STMT(BPF_ALU | BPF_RSH | BPF_K, 8),
        BPF_STMT(BPF_ALU | BPF_AND | BPF_K, 0xff),
        JUMP(BPF_JEQ, 'F', 1, 0),
        ANSWER(SECCOMP_RET_ALLOW),
        ANSWER(SECCOMP_RET_USER_NOTIF),
        ANSWER(SECCOMP_RET_ERRNO | ENOSYS),
        ANSWER(SECCOMP_RET_TRACE | VGPU_NOTIFY_ENTERS),
    };
    const uint8_t allowed = 0, is_ioctl = 1, notified = 6, refused = 7, stopped = 8;
    const uint8_t ring = rings == VGPU_RINGS_ALLOWED ? allowed : rings == VGPU_RINGS_REFUSED ? refused : notified;

    if (size < (BEGIN + ROWS + END) * sizeof(*at)) {
        return 0;
    }
    for (int i = 0; i < BEGIN; i++) {
        *at++ = begin[i];
    }
    for (uint8_t i = 0; i < ROWS; i++) {
        uint8_t place = rows[i].kind == VGPU_NOTIFY_IOCTL            ? is_ioctl
                        : rows[i].kind == VGPU_NOTIFY_RING           ? ring
                        : rows[i].kind == VGPU_NOTIFY_CHDIR && stops ? stopped
                                                                     : notified;
        *at++ = (struct sock_filter)JUMP(BPF_JEQ, (uint32_t)rows[i].number, (uint8_t)(ROWS - 1 - i + place), 0);
    }
    for (int i = 0; i < END; i++) {
        *at++ = end[i];
    }
    return (BEGIN + ROWS + END) * sizeof(*at);
}

int vgpu_notify_available(void) {
    uint32_t action = SECCOMP_RET_USER_NOTIF;
    struct seccomp_notif_sizes sizes;
    if (syscall(SYS_seccomp, SECCOMP_GET_ACTION_AVAIL, 0, &action) != 0 ||
        syscall(SYS_seccomp, SECCOMP_GET_NOTIF_SIZES, 0, &sizes) != 0) {
        return errno;
    }
    return 0;
}

int vgpu_notify_real_files(int named) {
    int fd = named ? fanotify_init(FAN_CLASS_NOTIF | FAN_CLOEXEC | FAN_NONBLOCK, O_RDONLY | O_CLOEXEC | O_NONBLOCK)
                   : inotify_init1(IN_CLOEXEC | IN_NONBLOCK);
    return fd < 0 ? -errno : fd;
}

int vgpu_notify_real_file(int descriptor, int named, const char *path) {
    int watch = named ? fanotify_mark(descriptor, FAN_MARK_ADD, FAN_OPEN | FAN_ACCESS | FAN_ONDIR | FAN_EVENT_ON_CHILD,
                                      AT_FDCWD, path)
                      : inotify_add_watch(descriptor, path, IN_OPEN | IN_ACCESS);
    return watch < 0 ? -errno : watch;
}
