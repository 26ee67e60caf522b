/* The directory that a program is in. A directory that only the tree has has to be entered by the program itself, by a
 * descriptor of it: where a run is traced, its tracer sees to that (enter.c). */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "observe/notify_own.h"
#include "syscall/files.h"
#include "vgpu/image.h"
#include "vgpu/paths.h"
#include "vgpu/raw.h"

/* Does the kernel find the same directory by itself? */
static int kernel_finds(const struct vgpu_notify_call *call) {
    char asked[PATH_MAX + 64];
    char real[PATH_MAX];
    if (call->text[0] == '/') {
        vgpu_copy_text(asked, sizeof(asked), call->text);
    } else {
        snprintf(asked, sizeof(asked), "/proc/%u/cwd/%s", call->asked->pid, call->text);
    }
    return realpath(asked, real) != NULL && strcmp(real, call->path) == 0;
}

/* The directory for the program's fchdir. What the file shim's chdir has to say of it, faults too, it says first. */
static long open_place(struct vgpu_notify_call *call) {
    struct vgpu_file_call asked;
    const char *path = vgpu_notify_spelled(call);
    int ours = vgpu_file_enter(&asked, call->notify->process, VGPU_FILE_chdir, AT_FDCWD, &path, 0);
    if (ours && asked.error != 0) {
        return vgpu_file_end(&asked, -asked.error) < 0 ? -errno : 0;
    }
    vgpu_notify_as_caller(call, X_OK);
    long fd = vgpu_raw6(SYS_openat, AT_FDCWD, (long)(ours ? asked.target : call->path),
                        O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NONBLOCK, 0, 0, 0);
    vgpu_notify_as_self(call);
    if (ours) {
        fd = vgpu_file_end(&asked, fd) < 0 ? -errno : fd;
    }
    return fd < 0 ? fd : vgpu_notify_inject(call, (int)fd, O_CLOEXEC);
}

static long without_tracer(struct vgpu_notify_call *call, long error) {
    if (error != VGPU_NOTIFY_GO_ON) {
        vgpu_notify_record(call, (int)-error, 0);
    }
    return error;
}

long vgpu_notify_change_directory(struct vgpu_notify_call *call) {
    char target[PATH_MAX];
    const struct vgpu_path *entry = NULL;
    struct stat found;
    long missing = vgpu_notify_look(call, &found, 0);
    if (missing < 0) {
        return without_tracer(call, missing);
    }
    if (!S_ISDIR(found.st_mode)) {
        return without_tracer(call, -ENOTDIR);
    }
    int whole = vgpu_path_find(call->notify->process->image, call->path, target, sizeof(target), &entry) == 1 &&
                entry->kind == VGPU_PATH_TREE;
    /* A directory that the tree only adds names to is the machine's, whose other calls then work there. */
    if (!(call->entering && whole) && kernel_finds(call)) {
        return VGPU_NOTIFY_GO_ON;
    }
    return call->entering ? open_place(call) : without_tracer(call, -EACCES);
}

long vgpu_notify_current_directory(struct vgpu_notify_call *call) {
    char link[64];
    char text[PATH_MAX];
    snprintf(link, sizeof(link), "/proc/%u/cwd", call->asked->pid);
    ssize_t got = readlink(link, text, sizeof(text) - 1);
    text[got > 0 ? got : 0] = '\0';
    if (!vgpu_notify_host_terms(call->notify, text)) {
        return VGPU_NOTIFY_GO_ON;
    }
    size_t size = strlen(text) + 1;
    if (size > call->asked->data.args[1]) {
        return -ERANGE;
    }
    return vgpu_notify_write(call, call->asked->data.args[call->row->to], text, size) == 0 ? (long)size : -EFAULT;
}
