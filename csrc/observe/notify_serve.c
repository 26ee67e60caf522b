/* The answer to one call. What the tree says of a path is said by the file shim's own functions, called with a shim's
 * state that stands for the program: so each provider gives the same answers, faults included. */
#include <errno.h>
#include <fcntl.h>
#include <linux/openat2.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/inotify.h>
#include <sys/ioctl.h>
#include <sys/vfs.h>

#include "observe/notify_own.h"
#include "syscall/files.h"
#include "vgpu/image.h"
#include "vgpu/paths.h"
#include "vgpu/raw.h"

/* Since Linux 5.14, seccomp_unotify(2); Debian 12's headers have it. */
#ifndef SECCOMP_ADDFD_FLAG_SEND
#define SECCOMP_ADDFD_FLAG_SEND (1UL << 1)
#endif

enum { XATTR_NAME_SIZE = 256, XATTR_VALUE_SIZE = 65536 }; /* <linux/limits.h>: XATTR_NAME_MAX + 1, XATTR_SIZE_MAX */

static uint64_t argument(const struct vgpu_notify_call *call, int number) {
    return call->asked->data.args[number];
}

static int flags_of(const struct vgpu_notify_call *call) {
    return (int)(call->row->fixed | (call->row->flags >= 0 ? (uint32_t)argument(call, call->row->flags) : 0));
}

static int directory_of(const struct vgpu_notify_call *call) {
    return call->row->directory >= 0 ? (int)argument(call, call->row->directory) : AT_FDCWD;
}

static uint64_t room_of(const struct vgpu_notify_call *call) {
    return argument(call, call->row->to);
}

static long or_errno(long answer) {
    return answer < 0 ? -errno : answer;
}

const char *vgpu_notify_spelled(const struct vgpu_notify_call *call) {
    const struct vgpu_image *image = call->notify->process->image;
    const struct vgpu_path *entry;
    char target[PATH_MAX];
    return call->text[0] == '/' && strstr(call->text, "/..") == NULL && strncmp(call->text, "/proc/", 6) != 0 &&
                   vgpu_path_find(image, call->text, target, sizeof(target), &entry) == 1
               ? call->text
               : call->path;
}

long vgpu_notify_look(struct vgpu_notify_call *call, struct stat *to, int flags) {
    char target[PATH_MAX];
    int found = vgpu_path_find(call->notify->process->image, call->path, target, sizeof(target), NULL);
    const char *path = found == 1 ? target : call->path;
    return found < 0 ? -ENAMETOOLONG : vgpu_raw6(SYS_newfstatat, AT_FDCWD, (long)path, (long)to, flags, 0, 0);
}

long vgpu_notify_inject(struct vgpu_notify_call *call, int fd, int flags) {
    struct seccomp_notif_addfd added = {
        .id = call->asked->id,
        .flags = SECCOMP_ADDFD_FLAG_SEND,
        .srcfd = (uint32_t)fd,
        .newfd_flags = (uint32_t)(flags & O_CLOEXEC),
    };
    int error = ioctl(call->notify->listener, SECCOMP_IOCTL_NOTIF_ADDFD, &added) < 0 ? errno : 0;
    close(fd);
    return error == 0 || error == ENOENT ? VGPU_NOTIFY_ANSWERED : -error;
}

/* The kernel hands no O_PATH descriptor over; one to read serves those that only start from it. */
static int to_read(int place) {
    char link[64];
    snprintf(link, sizeof(link), "/proc/self/fd/%d", place);
    int fd = open(link, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
    int error = errno;
    close(place);
    errno = error;
    return fd;
}

static long open_for(struct vgpu_notify_call *call, int flags) {
    int with = flags;
    struct stat link;
    if ((flags & (O_PATH | O_NOFOLLOW)) == (O_PATH | O_NOFOLLOW) &&
        vgpu_notify_look(call, &link, AT_SYMLINK_NOFOLLOW) == 0 && S_ISLNK(link.st_mode)) {
        return (flags & O_DIRECTORY) != 0 ? -ENOTDIR : vgpu_notify_stand_in(call, flags);
    }
    if (flags & O_PATH) {
        with = flags & (O_PATH | O_DIRECTORY | O_NOFOLLOW);
    }
    /* Nothing that a path leads to may make the supervisor wait, and nothing is made or changed on its account. */
    if (call->through &&
        !vgpu_path_find(call->notify->process->image, call->path, (char[PATH_MAX]){0}, PATH_MAX, NULL)) {
        if ((with & O_ACCMODE) != O_RDONLY || (with & (O_CREAT | O_TRUNC)) != 0) {
            return -EACCES;
        }
        with |= O_NONBLOCK;
    }
    int changes = (with & (O_CREAT | O_TRUNC)) != 0 || (with & O_ACCMODE) != O_RDONLY;
    vgpu_notify_as_caller(call, (with & O_PATH) != 0 ? F_OK : changes ? R_OK | W_OK : R_OK);
    int fd =
        vgpu_call_openat(call->notify->process, 0, AT_FDCWD, vgpu_notify_spelled(call), with | O_CLOEXEC | O_NOCTTY, 0);
    if (fd >= 0 && (flags & O_PATH) != 0) {
        fd = to_read(fd);
    }
    long error = fd < 0 ? -errno : 0;
    vgpu_notify_as_self(call);
    return fd < 0 ? error : vgpu_notify_inject(call, fd, flags);
}

/* The row of the device that the program has open as this descriptor, or NULL. */
static const struct vgpu_path *device_of(struct vgpu_notify_call *call, int fd) {
    char path[64];
    struct stat facts;
    snprintf(path, sizeof(path), "/proc/%u/fd/%d", call->asked->pid, fd);
    if (vgpu_raw6(SYS_newfstatat, AT_FDCWD, (long)path, (long)&facts, 0, 0, 0) != 0 || !S_ISREG(facts.st_mode)) {
        return NULL;
    }
    return vgpu_path_device(call->notify->process->image, facts.st_dev, facts.st_ino);
}

static void name_device(struct vgpu_notify_call *call, const struct vgpu_path *entry) {
    call->text[0] = '\0';
    vgpu_copy_text(call->path, sizeof(call->path), vgpu_image_text(call->notify->process->image, entry->path));
}

static long stat_path(struct vgpu_notify_call *call, int flags) {
    struct stat found;
    flags &= AT_SYMLINK_NOFOLLOW | AT_NO_AUTOMOUNT;
    long answer =
        or_errno(vgpu_call_fstatat(call->notify->process, 0, AT_FDCWD, vgpu_notify_spelled(call), &found, flags));
    return answer < 0 ? answer : vgpu_notify_write(call, room_of(call), &found, sizeof(found));
}

static long statx_path(struct vgpu_notify_call *call, int flags) {
    struct statx found;
    flags &= ~AT_EMPTY_PATH;
    unsigned int mask = (unsigned int)argument(call, 3);
    long answer =
        or_errno(vgpu_call_statx(call->notify->process, 0, AT_FDCWD, vgpu_notify_spelled(call), flags, mask, &found));
    return answer < 0 ? answer : vgpu_notify_write(call, room_of(call), &found, sizeof(found));
}

/* As the file system that the host has the path in: /sys, /proc or /dev. */
static long stat_file_system(struct vgpu_notify_call *call, const char *path) {
    char mount[16];
    struct statfs found;
    snprintf(mount, sizeof(mount), "/%.*s", (int)strcspn(path + 1, "/"), path + 1);
    if (statfs(mount, &found) != 0) {
        return -errno;
    }
    return vgpu_notify_write(call, room_of(call), &found, sizeof(found));
}

static long xattr_path(struct vgpu_notify_call *call, int list) {
    char value[XATTR_VALUE_SIZE];
    struct vgpu_process *process = call->notify->process;
    int nofollow = (call->row->fixed & AT_SYMLINK_NOFOLLOW) != 0;
    char name[XATTR_NAME_SIZE] = "";
    size_t size = (size_t)argument(call, call->row->to + 1);
    size_t room = size < sizeof(value) ? size : sizeof(value);
    long answer;
    if (list) {
        answer = nofollow ? vgpu_call_llistxattr(process, 0, call->path, value, room)
                          : vgpu_call_listxattr(process, 0, call->path, value, room);
    } else {
        long length = vgpu_notify_read_text(call, argument(call, 1), name, sizeof(name));
        if (length < 0) {
            return length == -ENAMETOOLONG ? -ERANGE : length;
        }
        answer = nofollow ? vgpu_call_lgetxattr(process, 0, call->path, name, value, room)
                          : vgpu_call_getxattr(process, 0, call->path, name, value, room);
    }
    answer = or_errno(answer);
    if (answer <= 0 || size == 0) {
        return answer;
    }
    return vgpu_notify_write(call, room_of(call), value, (size_t)answer) == 0 ? answer : -EFAULT;
}

/* Watches the tree's file in the program's own inotify instance. */
static long watch_path(struct vgpu_notify_call *call) {
    char target[PATH_MAX];
    vgpu_notify_owner(call);
    if (vgpu_path_find(call->notify->process->image, call->path, target, sizeof(target), NULL) != 1) {
        return VGPU_NOTIFY_GO_ON;
    }
    long process = vgpu_raw3(SYS_pidfd_open, call->pid, 0, 0);
    if (process < 0) {
        return VGPU_NOTIFY_GO_ON;
    }
    long fd = vgpu_raw3(SYS_pidfd_getfd, process, (long)(int)argument(call, 0), 0);
    close((int)process);
    if (fd < 0) {
        return fd;
    }
    long answer = vgpu_raw3(SYS_inotify_add_watch, fd, (long)target, (long)(uint32_t)argument(call, 2));
    close((int)fd);
    return answer;
}

/* A handle is of the file system that the host has the path in: the file shim knows whether that makes any. */
static long make_handle(struct vgpu_notify_call *call, int flags) {
    union {
        struct file_handle head;
        char room[sizeof(struct file_handle) + MAX_HANDLE_SZ];
    } handle;
    int mount = 0;
    uint64_t to = room_of(call);
    long got = vgpu_notify_read(call, to, &handle, sizeof(struct file_handle));
    if (got < 0) {
        return -EFAULT;
    }
    /* Since Linux 6.12 a flag asks for a number of 64 bits; a kernel before that refuses it. */
    if (handle.head.handle_bytes > MAX_HANDLE_SZ || (flags & ~(AT_SYMLINK_FOLLOW | AT_EMPTY_PATH)) != 0) {
        return -EINVAL;
    }
    flags &= AT_SYMLINK_FOLLOW;
    long answer = or_errno(vgpu_call_name_to_handle_at(call->notify->process, 0, AT_FDCWD, vgpu_notify_spelled(call),
                                                       &handle.head, &mount, flags));
    if (answer != 0 && answer != -EOVERFLOW) {
        return answer;
    }
    size_t size = sizeof(struct file_handle) + (answer == 0 ? handle.head.handle_bytes : 0);
    if (vgpu_notify_write(call, to, &handle, size) != 0 ||
        vgpu_notify_write(call, argument(call, call->row->to + 1), &mount, sizeof(mount)) != 0) {
        return -EFAULT;
    }
    return answer;
}

static long ask_access(struct vgpu_notify_call *call, int flags) {
    int mode = (int)argument(call, call->row->path + 1);
    vgpu_notify_as_caller(call, mode);
    long answer = or_errno(vgpu_call_faccessat(call->notify->process, 0, AT_FDCWD, vgpu_notify_spelled(call), mode,
                                               flags & (AT_EACCESS | AT_SYMLINK_NOFOLLOW)));
    vgpu_notify_as_self(call);
    return answer;
}

/* Nothing can be made, taken away or changed in sysfs and procfs: EPERM, as kernfs has no such operations. */
static long refuse_change(struct vgpu_notify_call *call) {
    struct stat found;
    int there = vgpu_notify_look(call, &found, AT_SYMLINK_NOFOLLOW) == 0;
    switch (call->row->number) {
    case SYS_mkdir:
    case SYS_mkdirat:
    case SYS_mknod:
    case SYS_mknodat:
    case SYS_symlink:
    case SYS_symlinkat:
        return there ? -EEXIST : -EPERM;
    case SYS_truncate:
        return !there ? -ENOENT : S_ISDIR(found.st_mode) ? -EISDIR : S_ISREG(found.st_mode) ? -EACCES : -EINVAL;
    default:
        return there ? -EPERM : -ENOENT;
    }
}

/* A driver that does not have the request; the nodes are there, and nothing is behind them. */
static long control_device(struct vgpu_notify_call *call) {
    const struct vgpu_path *entry = device_of(call, (int)argument(call, 0));
    if (entry == NULL) {
        return VGPU_NOTIFY_GO_ON;
    }
    name_device(call, entry);
    vgpu_notify_record(call, EINVAL, argument(call, 1));
    return -EINVAL;
}

/* Is this process one that the virtual GPU is for? By what the host's rules ask for, as it is now. */
static int admitted(struct vgpu_notify_call *call) {
    const struct vgpu_image *image = call->notify->process->image;
    struct vgpu_facts facts;
    memset(&facts, 0, sizeof(facts));
    vgpu_notify_owner(call);
    vgpu_facts_gather_of(call->pid, &facts);
    vgpu_facts_gather_more(image, call->pid, &facts);
    facts.secure = 0;
    facts.libc_ready = 1;
    facts.calls_before = UINT32_MAX;
    const char *reason;
    enum vgpu_ready ready = vgpu_gate_ask(image, &facts, &reason);
    if (ready == VGPU_READY) {
        return 1;
    }
    if (call->notify->denied != call->pid) {
        call->notify->denied = call->pid;
        uint64_t from = call->notify->process->trace.header != NULL ? call->notify->process->trace.header->next : 0;
        struct vgpu_event event = {
            .kind = VGPU_RECORD_GATE,
            .library = VGPU_LIBRARY_SYSCALL,
            .inputs = 1,
            .in = {(uint64_t)ready},
            .text = reason,
        };
        vgpu_trace_write(&call->notify->process->trace, &event);
        vgpu_notify_adopt(call, from);
    }
    return 0;
}

static long recorded(struct vgpu_notify_call *call, long answer) {
    if (answer != VGPU_NOTIFY_GO_ON) {
        vgpu_notify_record(call, answer < 0 ? (int)-answer : 0, 0);
    }
    return answer;
}

static long serve_path(struct vgpu_notify_call *call, int flags) {
    switch ((enum vgpu_notify_kind)call->row->kind) {
    case VGPU_NOTIFY_OPEN:
    case VGPU_NOTIFY_OPENAT2:
        return open_for(call, flags);
    case VGPU_NOTIFY_STAT:
        return stat_path(call, flags);
    case VGPU_NOTIFY_STATX:
        return statx_path(call, flags);
    case VGPU_NOTIFY_ACCESS:
        return ask_access(call, flags);
    case VGPU_NOTIFY_READLINK:
        return vgpu_notify_read_link(call);
    case VGPU_NOTIFY_STATFS: {
        struct stat found;
        long answer = vgpu_notify_look(call, &found, 0);
        return recorded(call, answer < 0 ? answer : stat_file_system(call, call->path));
    }
    case VGPU_NOTIFY_XATTR:
        return xattr_path(call, 0);
    case VGPU_NOTIFY_XATTR_LIST:
        return xattr_path(call, 1);
    case VGPU_NOTIFY_WATCH:
        return recorded(call, watch_path(call));
    case VGPU_NOTIFY_CHDIR:
        return vgpu_notify_change_directory(call);
    case VGPU_NOTIFY_HANDLE:
        return make_handle(call, flags);
    case VGPU_NOTIFY_CHANGE:
        return recorded(call, refuse_change(call));
    case VGPU_NOTIFY_FSTAT:
    case VGPU_NOTIFY_FSTATFS:
    case VGPU_NOTIFY_GETCWD:
    case VGPU_NOTIFY_IOCTL:
    case VGPU_NOTIFY_RING:
        break;
    }
    return VGPU_NOTIFY_GO_ON;
}

/* A file of the tree says itself what it stands for: enum vgpu_mark. */
static long stat_marked(struct vgpu_notify_call *call, int fd) {
    uint64_t tree = vgpu_path_tree_dev(call->notify->process->image);
    char link[64];
    struct stat found;
    snprintf(link, sizeof(link), "/proc/%u/fd/%d", call->asked->pid, fd);
    if (vgpu_raw6(SYS_newfstatat, AT_FDCWD, (long)link, (long)&found, 0, 0, 0) != 0 || found.st_dev != tree ||
        !vgpu_mark_is(found.st_mtim.tv_nsec) || !admitted(call)) {
        return VGPU_NOTIFY_GO_ON;
    }
    if (call->row->kind == VGPU_NOTIFY_STATX) {
        struct statx facts;
        long answer = vgpu_raw6(SYS_statx, AT_FDCWD, (long)link, 0, (long)argument(call, 3), (long)&facts, 0);
        if (answer < 0) {
            return answer;
        }
        vgpu_mark_statx(&facts);
        return vgpu_notify_write(call, room_of(call), &facts, sizeof(facts));
    }
    vgpu_mark_stat(&found);
    return vgpu_notify_write(call, room_of(call), &found, sizeof(found));
}

/* A call about a descriptor: a device, a link, or another file of the tree. */
static long serve_descriptor(struct vgpu_notify_call *call, int fd, int flags) {
    int is_statx = call->row->kind == VGPU_NOTIFY_STATX;
    if (!is_statx && call->row->kind != VGPU_NOTIFY_STAT && call->row->kind != VGPU_NOTIFY_FSTAT) {
        return VGPU_NOTIFY_GO_ON;
    }
    const struct vgpu_path *entry = device_of(call, fd);
    int link = entry == NULL && vgpu_notify_is_stand_in(call, fd);
    if (entry == NULL && !link) {
        return stat_marked(call, fd);
    }
    if (!admitted(call)) {
        return VGPU_NOTIFY_GO_ON;
    }
    if (link) {
        return is_statx ? statx_path(call, flags | AT_SYMLINK_NOFOLLOW) : stat_path(call, AT_SYMLINK_NOFOLLOW);
    }
    name_device(call, entry);
    return is_statx ? statx_path(call, flags) : stat_path(call, 0);
}

static long serve_file_system(struct vgpu_notify_call *call) {
    char link[64];
    char text[PATH_MAX];
    snprintf(link, sizeof(link), "/proc/%u/fd/%d", call->asked->pid, (int)argument(call, 0));
    ssize_t got = readlink(link, text, sizeof(text) - 1);
    text[got > 0 ? got : 0] = '\0';
    return vgpu_notify_host_terms(call->notify, text) ? stat_file_system(call, text) : VGPU_NOTIFY_GO_ON;
}

/* The flags of openat2, which are in memory; -errno: the kernel answers better. */
static long read_how(struct vgpu_notify_call *call, int *flags) {
    struct open_how how;
    long got = vgpu_notify_read(call, argument(call, 2), &how, sizeof(how));
    /* RESOLVE_IN_ROOT makes another directory the root: then the path is none of the host's. */
    if (got < 0 || (how.resolve & RESOLVE_IN_ROOT) != 0) {
        return -1;
    }
    *flags = (int)how.flags;
    return 0;
}

static int follows(const struct vgpu_notify_call *call, int flags) {
    if (call->row->kind == VGPU_NOTIFY_OPEN || call->row->kind == VGPU_NOTIFY_OPENAT2) {
        return (flags & O_NOFOLLOW) == 0 && (flags & (O_CREAT | O_EXCL)) != (O_CREAT | O_EXCL);
    }
    if (call->row->kind == VGPU_NOTIFY_WATCH) {
        return (argument(call, 2) & IN_DONT_FOLLOW) == 0;
    }
    if (call->row->kind == VGPU_NOTIFY_HANDLE) {
        return (flags & AT_SYMLINK_FOLLOW) != 0;
    }
    return (flags & AT_SYMLINK_NOFOLLOW) == 0;
}

long vgpu_notify_answer(struct vgpu_notify_call *call) {
    int flags = flags_of(call);
    switch ((enum vgpu_notify_kind)call->row->kind) {
    case VGPU_NOTIFY_FSTAT:
        return serve_descriptor(call, (int)argument(call, 0), 0);
    case VGPU_NOTIFY_FSTATFS:
        return serve_file_system(call);
    case VGPU_NOTIFY_GETCWD:
        return vgpu_notify_current_directory(call);
    case VGPU_NOTIFY_IOCTL:
        return control_device(call);
    case VGPU_NOTIFY_RING:
        return VGPU_NOTIFY_GO_ON;
    case VGPU_NOTIFY_OPENAT2:
        if (read_how(call, &flags) != 0) {
            return VGPU_NOTIFY_GO_ON;
        }
        break;
    case VGPU_NOTIFY_OPEN:
    case VGPU_NOTIFY_STAT:
    case VGPU_NOTIFY_STATX:
    case VGPU_NOTIFY_ACCESS:
    case VGPU_NOTIFY_READLINK:
    case VGPU_NOTIFY_STATFS:
    case VGPU_NOTIFY_XATTR:
    case VGPU_NOTIFY_XATTR_LIST:
    case VGPU_NOTIFY_WATCH:
    case VGPU_NOTIFY_CHDIR:
    case VGPU_NOTIFY_HANDLE:
    case VGPU_NOTIFY_CHANGE:
        break;
    }
    if (call->text[0] == '\0' && call->row->kind == VGPU_NOTIFY_READLINK) {
        return vgpu_notify_read_stand_in(call);
    }
    if (call->text[0] == '\0') {
        return (flags & AT_EMPTY_PATH) != 0 ? serve_descriptor(call, directory_of(call), flags) : VGPU_NOTIFY_GO_ON;
    }
    int found = vgpu_notify_walk(call, directory_of(call), call->text, follows(call, flags));
    if (found == 0) {
        return call->row->kind == VGPU_NOTIFY_READLINK ? vgpu_notify_magic_link(call) : VGPU_NOTIFY_GO_ON;
    }
    if (!admitted(call)) {
        return VGPU_NOTIFY_GO_ON;
    }
    if (found < 0) {
        vgpu_notify_record(call, -found, 0);
        return found;
    }
    return serve_path(call, flags);
}
