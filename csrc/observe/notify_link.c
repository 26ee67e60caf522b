/* Links that a program holds by a descriptor (O_PATH | O_NOFOLLOW), as systemd's chase() and what is built on it does.
 * The kernel hands no O_PATH descriptor over, and a link cannot be opened otherwise: so the program gets an empty file
 * in memory that has the link's path for its name, and what it asks of that is answered as of the link. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "observe/notify_own.h"
#include "syscall/files.h"
#include "vgpu/raw.h"

/* memfd_create(2): /proc shows "/memfd:" before the name and " (deleted)" behind it; a name has at most 249 bytes. */
#define STAND_IN "vgpu-link:"
#define SHOWN "/memfd:" STAND_IN
static const char deleted[] = " (deleted)";

int vgpu_notify_names_stand_in(char *path) {
    size_t length = strlen(path);
    size_t before = sizeof(SHOWN) - 1;
    size_t behind = sizeof(deleted) - 1;
    if (strncmp(path, SHOWN, before) != 0 || length < before + behind || strcmp(path + length - behind, deleted) != 0) {
        return 0;
    }
    path[length - behind] = '\0';
    memmove(path, path + before, length - behind - before + 1);
    return 1;
}

long vgpu_notify_stand_in(struct vgpu_notify_call *call, int flags) {
    char name[PATH_MAX + sizeof(STAND_IN)];
    snprintf(name, sizeof(name), STAND_IN "%s", call->path);
    int fd = memfd_create(name, MFD_CLOEXEC);
    if (fd < 0) {
        return errno == EINVAL ? -ENAMETOOLONG : -errno;
    }
    struct stat facts;
    if (vgpu_raw3(SYS_fstat, fd, (long)&facts, 0) == 0) {
        call->notify->stand_ins = facts.st_dev;
    }
    vgpu_notify_record(call, 0, 0);
    return vgpu_notify_inject(call, fd, flags);
}

int vgpu_notify_is_stand_in(struct vgpu_notify_call *call, int fd) {
    char link[64];
    struct stat facts;
    if (call->notify->stand_ins == 0) {
        return 0;
    }
    snprintf(link, sizeof(link), "/proc/%u/fd/%d", call->asked->pid, fd);
    if (vgpu_raw6(SYS_newfstatat, AT_FDCWD, (long)link, (long)&facts, 0, 0, 0) != 0 ||
        facts.st_dev != call->notify->stand_ins) {
        return 0;
    }
    ssize_t got = readlink(link, call->path, sizeof(call->path) - 1);
    call->path[got > 0 ? got : 0] = '\0';
    return vgpu_notify_names_stand_in(call->path);
}

/* Puts `length` bytes of text where a readlink of the program wants them; they are cut to its room. */
static long put_link(struct vgpu_notify_call *call, const char *text, size_t length) {
    int size = (int)call->asked->data.args[call->row->to + 1];
    if (size <= 0) {
        return -EINVAL;
    }
    length = length < (size_t)size ? length : (size_t)size;
    return vgpu_notify_write(call, call->asked->data.args[call->row->to], text, length) == 0 ? (long)length : -EFAULT;
}

long vgpu_notify_read_link(struct vgpu_notify_call *call) {
    char text[PATH_MAX];
    if ((int)call->asked->data.args[call->row->to + 1] <= 0) {
        return -EINVAL;
    }
    ssize_t got =
        vgpu_call_readlinkat(call->notify->process, 0, AT_FDCWD, vgpu_notify_spelled(call), text, sizeof(text));
    return got < 0 ? -errno : put_link(call, text, (size_t)got);
}

long vgpu_notify_read_stand_in(struct vgpu_notify_call *call) {
    if (call->row->directory < 0 || !vgpu_notify_is_stand_in(call, (int)call->asked->data.args[call->row->directory])) {
        return VGPU_NOTIFY_GO_ON;
    }
    return vgpu_notify_read_link(call);
}

long vgpu_notify_magic_link(struct vgpu_notify_call *call) {
    char text[PATH_MAX];
    if (!call->complete || strncmp(call->path, "/proc/", 6) != 0) {
        return VGPU_NOTIFY_GO_ON;
    }
    ssize_t got = readlink(call->path, text, sizeof(text) - 1);
    text[got > 0 ? got : 0] = '\0';
    return vgpu_notify_host_terms(call->notify, text) ? put_link(call, text, strlen(text)) : VGPU_NOTIFY_GO_ON;
}
