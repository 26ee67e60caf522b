/* A program's path, followed as on the simulated host. The supervisor sees the machine's files as the program does;
 * what is not the same for both (the directory a process is in, its descriptors, /proc/self) is asked of /proc. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/uio.h>
#include <unistd.h>

#include "observe/notify_own.h"
#include "vgpu/image.h"
#include "vgpu/paths.h"

enum { PAGE = 4096, LINKS_MAX = 40 /* MAXSYMLINKS of the kernel's namei.h */ };

long vgpu_notify_read(struct vgpu_notify_call *call, uint64_t address, void *to, size_t size) {
    struct iovec here = {to, size};
    struct iovec there = {(void *)(uintptr_t)address, size};
    ssize_t got = process_vm_readv((pid_t)call->asked->pid, &here, 1, &there, 1, 0);
    return got < 0 ? -errno : (size_t)got < size ? -EFAULT : got;
}

long vgpu_notify_write(struct vgpu_notify_call *call, uint64_t address, const void *from, size_t size) {
    struct iovec here = {(void *)(uintptr_t)from, size};
    struct iovec there = {(void *)(uintptr_t)address, size};
    ssize_t done = size == 0 ? 0 : process_vm_writev((pid_t)call->asked->pid, &here, 1, &there, 1, 0);
    return done == (ssize_t)size ? 0 : -EFAULT;
}

long vgpu_notify_read_text(struct vgpu_notify_call *call, uint64_t address, char *to, size_t size) {
    /* Page by page: what lies behind the text's end may not be mapped. */
    for (size_t at = 0; at < size;) {
        size_t part = PAGE - (address + at) % PAGE;
        part = part < size - at ? part : size - at;
        long got = vgpu_notify_read(call, address + at, to + at, part);
        if (got < 0) {
            return got;
        }
        const char *end = memchr(to + at, '\0', part);
        if (end != NULL) {
            return end - to;
        }
        at += part;
    }
    return -ENAMETOOLONG;
}

static int32_t number_behind(const char *text, const char *name) {
    const char *at = strstr(text, name);
    return at != NULL ? (int32_t)strtol(at + strlen(name), NULL, 10) : 0;
}

void vgpu_notify_owner(struct vgpu_notify_call *call) {
    char path[64];
    char text[1024];
    struct vgpu_notify *notify = call->notify;
    if (call->pid != 0) {
        return;
    }
    call->pid = (int32_t)call->asked->pid;
    /* The look into /proc costs as much as the rest of an answer, and most calls come from who made the last one. */
    if (notify->last_thread == call->asked->pid) {
        call->pid = notify->last_pid;
        call->parent = notify->last_parent;
        return;
    }
    snprintf(path, sizeof(path), "/proc/%u/status", call->asked->pid);
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0) {
        return;
    }
    ssize_t got = read(fd, text, sizeof(text) - 1);
    close(fd);
    text[got > 0 ? got : 0] = '\0';
    int32_t pid = number_behind(text, "\nTgid:\t");
    call->pid = pid != 0 ? pid : call->pid;
    call->parent = number_behind(text, "\nPPid:\t");
    notify->last_thread = call->asked->pid;
    notify->last_pid = call->pid;
    notify->last_parent = call->parent;
}

int vgpu_notify_host_terms(const struct vgpu_notify *notify, char *path) {
    size_t length = notify->root_length;
    if (notify->stand_ins != 0 && vgpu_notify_names_stand_in(path)) {
        return 1;
    }
    if (length == 0 || strncmp(path, notify->root, length) != 0 || (path[length] != '\0' && path[length] != '/')) {
        return 0;
    }
    memmove(path, path + length, strlen(path + length) + 1);
    return 1;
}

/* The directory that a relative path starts from, into call->path. 1, or 0: it is none. */
static int start(struct vgpu_notify_call *call, int directory) {
    char link[64];
    if (directory == AT_FDCWD) {
        snprintf(link, sizeof(link), "/proc/%u/cwd", call->asked->pid);
    } else {
        snprintf(link, sizeof(link), "/proc/%u/fd/%d", call->asked->pid, directory);
    }
    ssize_t got = readlink(link, call->path, sizeof(call->path) - 1);
    if (got <= 0 || call->path[0] != '/') {
        return 0;
    }
    call->path[got] = '\0';
    /* Nothing is below a link, and the kernel says so of the file that stands for it. */
    if (strncmp(call->path, "/memfd:", 7) == 0) {
        return 0;
    }
    if (strcmp(call->path, "/") == 0) {
        call->path[0] = '\0';
    }
    call->from_tree = vgpu_notify_host_terms(call->notify, call->path);
    call->through |= call->from_tree;
    return 1;
}

/* Is call->path of the table? *target is where the tree has it. -1: too long for that. */
static int find(struct vgpu_notify_call *call, char *target, const struct vgpu_path **entry) {
    const char *path = call->path;
    if (path[0] == '\0' || (call->notify->first_bytes >> ((unsigned char)path[1] & 63) & 1) == 0) {
        return 0;
    }
    return vgpu_path_find(call->notify->process->image, path, target, PATH_MAX, entry);
}

/* What the link call->path leads to, into `to`: its length; 0: it is no link; -errno. */
static long look(struct vgpu_notify_call *call, char *to, int *ours) {
    char target[PATH_MAX];
    const struct vgpu_path *entry = NULL;
    /* The supervisor's own would be found there. */
    if (strcmp(call->path, "/proc/self") == 0 || strcmp(call->path, "/proc/thread-self") == 0) {
        vgpu_notify_owner(call);
        *ours = 0;
        return call->path[6] == 's' ? snprintf(to, PATH_MAX, "%d", call->pid)
                                    : snprintf(to, PATH_MAX, "%d/task/%u", call->pid, call->asked->pid);
    }
    int found = find(call, target, &entry);
    if (found < 0) {
        return -ENAMETOOLONG;
    }
    *ours = found;
    if (found && entry->kind == VGPU_PATH_TREE) {
        call->through = 1;
    }
    ssize_t got = readlink(found ? target : call->path, to, PATH_MAX - 1);
    if (got < 0) {
        return errno == EINVAL ? 0 : -errno;
    }
    to[got] = '\0';
    return got;
}

static void cut_last(char *path) {
    char *slash = strrchr(path, '/');
    if (slash != NULL) {
        *slash = '\0';
    }
}

/* Puts `component` behind call->path. */
static int append(struct vgpu_notify_call *call, const char *component, size_t length) {
    size_t at = strlen(call->path);
    if (at + 1 + length + 1 > sizeof(call->path)) {
        return -1;
    }
    call->path[at] = '/';
    memcpy(call->path + at + 1, component, length);
    call->path[at + 1 + length] = '\0';
    return 0;
}

/* Replaces the link that call->path ends with by its text: *rest becomes that and what was behind the link. */
static int replace_link(struct vgpu_notify_call *call, char *link, char *rest, size_t size, const char *behind) {
    char joined[2 * PATH_MAX];
    if (link[0] == '/') {
        call->through |= vgpu_notify_host_terms(call->notify, link);
        call->path[0] = '\0';
    } else {
        cut_last(call->path);
    }
    int length = snprintf(joined, sizeof(joined), "%s%s", link, behind);
    if (length < 0 || (size_t)length >= size) {
        return -1;
    }
    memcpy(rest, joined, (size_t)length + 1);
    return 0;
}

/* Follows `rest` from call->path on. 0: call->path is whole; 1: it ends where only the kernel can say why; -errno. */
static long follow_rest(struct vgpu_notify_call *call, char *rest, size_t size, int follow) {
    char link[PATH_MAX];
    int links = 0;
    for (char *at = rest; *(at += strspn(at, "/")) != '\0';) {
        size_t length = strcspn(at, "/");
        const char *behind = at + length;
        int last = behind[strspn(behind, "/")] == '\0';
        if (length == 1 && at[0] == '.') {
            at += length;
            continue;
        }
        if (length == 2 && at[0] == '.' && at[1] == '.') {
            cut_last(call->path);
            at += length;
            continue;
        }
        if (append(call, at, length) != 0) {
            return -ENAMETOOLONG;
        }
        /* A slash at its end asks for the directory that a link leads to. */
        if (last && !follow && *behind == '\0') {
            return 0;
        }
        int ours = 0;
        long got = look(call, link, &ours);
        if (got == 0 || (got < 0 && last && (ours || call->through))) {
            at += length;
        } else if (got < 0) {
            return ours || call->through ? got : 1;
        } else if (++links > LINKS_MAX) {
            return -ELOOP;
        } else {
            if (replace_link(call, link, rest, size, behind) != 0) {
                return -ENAMETOOLONG;
            }
            at = rest;
        }
    }
    return 0;
}

int vgpu_notify_walk(struct vgpu_notify_call *call, int directory, const char *text, int follow) {
    char rest[2 * PATH_MAX];
    char target[PATH_MAX];
    const struct vgpu_path *entry;
    call->path[0] = '\0';
    call->through = 0;
    call->from_tree = text[0] == '/' && call->notify->root_length != 0 &&
                      strncmp(text, call->notify->root, call->notify->root_length) == 0;
    call->complete = 0;
    if (text[0] != '/' && !start(call, directory)) {
        return 0;
    }
    size_t length = strlen(text);
    memcpy(rest, text, length + 1);
    long stopped = follow_rest(call, rest, sizeof(rest), follow);
    if (stopped != 0) {
        return stopped > 0 ? 0 : (int)stopped;
    }
    if (call->path[0] == '\0') {
        call->path[0] = '/';
        call->path[1] = '\0';
    }
    call->complete = 1;
    int found = find(call, target, &entry);
    if (found == 0 && call->through == 0) {
        return 0;
    }
    /* Whether it has to be a directory is for the open to say. */
    if (length > 0 && text[length - 1] == '/' && append(call, "", 0) != 0) {
        return -ENAMETOOLONG;
    }
    return found < 0 ? -ENAMETOOLONG : 1;
}
