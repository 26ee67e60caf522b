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

/* The path for the file shim: as the program spelled it where that says the same to anybody, which the trace then
 * shows. */
static const char *spelled(const struct vgpu_notify_call *call) {
    const struct vgpu_image *image = call->notify->process->image;
    const struct vgpu_path *entry;
    char target[PATH_MAX];
    return call->text[0] == '/' && strstr(call->text, "/..") == NULL && strncmp(call->text, "/proc/", 6) != 0 &&
                   vgpu_path_find(image, call->text, target, sizeof(target), &entry) == 1
               ? call->text
               : call->path;
}

/* Asks the tree about call->path, without a word in the trace. */
static long look_at(struct vgpu_notify_call *call, struct stat *to, int flags) {
    char target[PATH_MAX];
    int found = vgpu_path_find(call->notify->process->image, call->path, target, sizeof(target), NULL);
    const char *path = found == 1 ? target : call->path;
    return found < 0 ? -ENAMETOOLONG : vgpu_raw6(SYS_newfstatat, AT_FDCWD, (long)path, (long)to, flags, 0, 0);
}

/* Puts the descriptor into the program as the answer to its call; the kernel closes it there if the program is gone. */
static long inject(struct vgpu_notify_call *call, int fd, int flags) {
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

static long open_for(struct vgpu_notify_call *call, int flags) {
    int with = flags;
    if (flags & O_PATH) {
        /* The kernel hands no O_PATH descriptor over; one to read serves those that only start from it. */
        with = flags & (O_DIRECTORY | O_NOFOLLOW);
    }
    /* Nothing that a path leads to may make the supervisor wait, and nothing is made or changed on its account. */
    if (call->through &&
        !vgpu_path_find(call->notify->process->image, call->path, (char[PATH_MAX]){0}, PATH_MAX, NULL)) {
        if ((with & O_ACCMODE) != O_RDONLY || (with & (O_CREAT | O_TRUNC)) != 0) {
            return -EACCES;
        }
        with |= O_NONBLOCK;
    }
    int fd = vgpu_call_openat(call->notify->process, 0, AT_FDCWD, spelled(call), with | O_CLOEXEC | O_NOCTTY, 0);
    return fd < 0 ? -errno : inject(call, fd, flags);
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
    long answer = or_errno(vgpu_call_fstatat(call->notify->process, 0, AT_FDCWD, spelled(call), &found, flags));
    return answer < 0 ? answer : vgpu_notify_write(call, room_of(call), &found, sizeof(found));
}

static long statx_path(struct vgpu_notify_call *call, int flags) {
    struct statx found;
    flags &= ~AT_EMPTY_PATH;
    unsigned int mask = (unsigned int)argument(call, 3);
    long answer = or_errno(vgpu_call_statx(call->notify->process, 0, AT_FDCWD, spelled(call), flags, mask, &found));
    return answer < 0 ? answer : vgpu_notify_write(call, room_of(call), &found, sizeof(found));
}

static long read_link(struct vgpu_notify_call *call) {
    char text[PATH_MAX];
    int size = (int)argument(call, call->row->to + 1);
    if (size <= 0) {
        return -EINVAL;
    }
    size_t room = (size_t)size < sizeof(text) ? (size_t)size : sizeof(text);
    long answer = or_errno(vgpu_call_readlinkat(call->notify->process, 0, AT_FDCWD, spelled(call), text, room));
    if (answer < 0) {
        return answer;
    }
    return vgpu_notify_write(call, room_of(call), text, (size_t)answer) == 0 ? answer : -EFAULT;
}

/* A link of /proc, /proc/self/fd/3 for one, may lead into the tree. */
static long read_magic_link(struct vgpu_notify_call *call) {
    char text[PATH_MAX];
    if (!call->complete || strncmp(call->path, "/proc/", 6) != 0) {
        return VGPU_NOTIFY_GO_ON;
    }
    ssize_t got = readlink(call->path, text, sizeof(text) - 1);
    if (got <= 0) {
        return VGPU_NOTIFY_GO_ON;
    }
    text[got] = '\0';
    int size = (int)argument(call, call->row->to + 1);
    if (size <= 0 || !vgpu_notify_host_terms(call->notify, text)) {
        return VGPU_NOTIFY_GO_ON;
    }
    size_t length = strlen(text) < (size_t)size ? strlen(text) : (size_t)size;
    return vgpu_notify_write(call, room_of(call), text, length) == 0 ? (long)length : -EFAULT;
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

/* Nobody but a process itself can change its directory. Where the machine has one at that place too, it goes there, and
 * its relative paths are followed from there as the host has them. */
static long change_directory(struct vgpu_notify_call *call) {
    char asked[PATH_MAX + 64];
    char real[PATH_MAX];
    struct stat found;
    long missing = look_at(call, &found, 0);
    if (missing < 0) {
        return missing;
    }
    if (!S_ISDIR(found.st_mode)) {
        return -ENOTDIR;
    }
    if (call->text[0] == '/') {
        vgpu_copy_text(asked, sizeof(asked), call->text);
    } else {
        snprintf(asked, sizeof(asked), "/proc/%u/cwd/%s", call->asked->pid, call->text);
    }
    return realpath(asked, real) != NULL && strcmp(real, call->path) == 0 ? VGPU_NOTIFY_GO_ON : -EACCES;
}

static long current_directory(struct vgpu_notify_call *call) {
    char link[64];
    char text[PATH_MAX];
    snprintf(link, sizeof(link), "/proc/%u/cwd", call->asked->pid);
    ssize_t got = readlink(link, text, sizeof(text) - 1);
    text[got > 0 ? got : 0] = '\0';
    if (!vgpu_notify_host_terms(call->notify, text)) {
        return VGPU_NOTIFY_GO_ON;
    }
    size_t size = strlen(text) + 1;
    if (size > argument(call, 1)) {
        return -ERANGE;
    }
    return vgpu_notify_write(call, room_of(call), text, size) == 0 ? (long)size : -EFAULT;
}

/* Nothing can be made, taken away or changed in sysfs and procfs: EPERM, as kernfs has no such operations. */
static long refuse_change(struct vgpu_notify_call *call) {
    struct stat found;
    int there = look_at(call, &found, AT_SYMLINK_NOFOLLOW) == 0;
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

/* Is this process one that the virtual GPU is for? As for the shims, its executable decides. */
static int admitted(struct vgpu_notify_call *call) {
    const struct vgpu_image *image = call->notify->process->image;
    struct vgpu_facts facts;
    char link[64];
    char program[PATH_MAX];
    memset(&facts, 0, sizeof(facts));
    snprintf(link, sizeof(link), "/proc/%u/exe", call->asked->pid);
    ssize_t got = readlink(link, program, sizeof(program) - 1);
    program[got > 0 ? got : 0] = '\0';
    const char *base = strrchr(program, '/');
    vgpu_copy_text(facts.exe, sizeof(facts.exe), base != NULL ? base + 1 : program);
    facts.libc_ready = 1;
    facts.calls_before = UINT32_MAX;
    const char *reason;
    enum vgpu_ready ready = vgpu_gate_ask(image, &facts, &reason);
    if (ready == VGPU_READY) {
        return 1;
    }
    vgpu_notify_owner(call);
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
        return or_errno(vgpu_call_faccessat(call->notify->process, 0, AT_FDCWD, spelled(call),
                                            (int)argument(call, call->row->path + 1),
                                            flags & (AT_EACCESS | AT_SYMLINK_NOFOLLOW)));
    case VGPU_NOTIFY_READLINK:
        return read_link(call);
    case VGPU_NOTIFY_STATFS: {
        struct stat found;
        long answer = look_at(call, &found, 0);
        return recorded(call, answer < 0 ? answer : stat_file_system(call, call->path));
    }
    case VGPU_NOTIFY_XATTR:
        return xattr_path(call, 0);
    case VGPU_NOTIFY_XATTR_LIST:
        return xattr_path(call, 1);
    case VGPU_NOTIFY_WATCH:
        return recorded(call, watch_path(call));
    case VGPU_NOTIFY_CHDIR:
        return recorded(call, change_directory(call));
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

/* A call about a descriptor: of those that the program has of the tree, only a device's has to be told apart. */
static long serve_descriptor(struct vgpu_notify_call *call, int fd, int flags) {
    int is_statx = call->row->kind == VGPU_NOTIFY_STATX;
    if (!is_statx && call->row->kind != VGPU_NOTIFY_STAT && call->row->kind != VGPU_NOTIFY_FSTAT) {
        return VGPU_NOTIFY_GO_ON;
    }
    const struct vgpu_path *entry = device_of(call, fd);
    if (entry == NULL || !admitted(call)) {
        return VGPU_NOTIFY_GO_ON;
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
        return current_directory(call);
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
    case VGPU_NOTIFY_CHANGE:
        break;
    }
    if (call->text[0] == '\0') {
        return (flags & AT_EMPTY_PATH) != 0 ? serve_descriptor(call, directory_of(call), flags) : VGPU_NOTIFY_GO_ON;
    }
    int found = vgpu_notify_walk(call, directory_of(call), call->text, follows(call, flags));
    if (found == 0) {
        return call->row->kind == VGPU_NOTIFY_READLINK ? read_magic_link(call) : VGPU_NOTIFY_GO_ON;
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
