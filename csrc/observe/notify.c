/* The supervisor's loop: one call after another, from a thread of the harness. */
#include "observe/notify.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "observe/notify_own.h"
#include "vgpu/image.h"
#include "vgpu/paths.h"
#include "vgpu/raw.h"

/* Since Linux 6.6, later than Debian 12's headers: the waker hands its processor over. A fifth of the time on an idle
 * machine, where waking another processor takes longest. */
#ifndef SECCOMP_IOCTL_NOTIF_SET_FLAGS
#define SECCOMP_IOCTL_NOTIF_SET_FLAGS SECCOMP_IOW(4, __u64)
#define SECCOMP_USER_NOTIF_FD_SYNC_WAKE_UP (1UL << 0)
#endif

/* The kernel's structs may be longer than those of the headers; it refuses to write into less than its own. */
enum { NOTIF_ROOM = 512 };

union room {
    struct seccomp_notif asked;
    struct seccomp_notif_resp answer;
    char bytes[NOTIF_ROOM];
};

/* The directory in which the rows' paths are laid out as on the host, as /proc shows it: without links. */
static void find_root(struct vgpu_notify *notify) {
    const struct vgpu_image *image = notify->process->image;
    const struct vgpu_path *rows = (const struct vgpu_path *)((const char *)image + image->paths.offset);
    for (uint32_t i = 0; i < image->paths.count; i++) {
        const char *path = vgpu_image_text(image, rows[i].path);
        const char *target = vgpu_image_text(image, rows[i].target);
        char root[PATH_MAX];
        notify->first_bytes |= (uint64_t)1 << ((unsigned char)path[1] & 63);
        if (notify->root_length != 0 || rows[i].target_length <= rows[i].path_length ||
            strcmp(target + rows[i].target_length - rows[i].path_length, path) != 0) {
            continue;
        }
        vgpu_copy_text(root, sizeof(root), target);
        root[rows[i].target_length - rows[i].path_length] = '\0';
        if (realpath(root, notify->root) != NULL) {
            notify->root_length = strlen(notify->root);
        }
    }
}

struct vgpu_notify *vgpu_notify_new(int listener, const char *host, const char *trace, int log, const char **reason) {
    struct vgpu_notify *notify = calloc(1, sizeof(*notify));
    *reason = "no memory";
    if (notify == NULL) {
        return NULL;
    }
    notify->log = log;
    notify->listener = -1;
    notify->stop = eventfd(0, EFD_CLOEXEC);
    notify->process = vgpu_process_new(host, NULL);
    if (notify->process == NULL || notify->process->image == NULL || notify->stop < 0) {
        *reason = notify->stop < 0 ? "no descriptor is left" : "the host image is refused";
        vgpu_notify_free(notify);
        return NULL;
    }
    if (trace != NULL && !log) {
        vgpu_trace_open(&notify->process->trace, trace);
    }
    /* Whether a program may see the GPU is asked for each of them (notify_serve.c). */
    notify->process->gate = 1 + VGPU_READY;
    find_root(notify);
    vgpu_notify_know_self(notify);
    notify->listener = listener;
    __u64 flags = SECCOMP_USER_NOTIF_FD_SYNC_WAKE_UP;
    /* An older kernel answers EINVAL, and is slower. */
    ioctl(listener, SECCOMP_IOCTL_NOTIF_SET_FLAGS, flags);
    *reason = NULL;
    return notify;
}

void vgpu_notify_stop(struct vgpu_notify *notify) {
    uint64_t one = 1;
    while (write(notify->stop, &one, sizeof(one)) < 0 && errno == EINTR) {
    }
}

void vgpu_notify_free(struct vgpu_notify *notify) {
    if (notify == NULL) {
        return;
    }
    if (notify->listener >= 0) {
        close(notify->listener);
    }
    if (notify->stop >= 0) {
        close(notify->stop);
    }
    vgpu_process_free(notify->process);
    free(notify);
}

struct vgpu_notify_counts vgpu_notify_counts(const struct vgpu_notify *notify) {
    return notify->counts;
}

const struct vgpu_notify_sight *vgpu_notify_sights(const struct vgpu_notify *notify, uint32_t *count) {
    *count = notify->sights;
    return notify->seen;
}

void vgpu_notify_adopt(struct vgpu_notify_call *call, uint64_t from) {
    struct vgpu_trace_header *header = call->notify->process->trace.header;
    if (header == NULL) {
        return;
    }
    uint64_t to = __atomic_load_n(&header->next, __ATOMIC_RELAXED);
    to = to < header->capacity ? to : header->capacity;
    if (from >= to) {
        return;
    }
    int32_t own = (int32_t)gettid();
    vgpu_notify_owner(call);
    for (uint64_t at = from; at < to; at++) {
        struct vgpu_record *record =
            (struct vgpu_record *)((char *)header + VGPU_TRACE_HEADER_SIZE + at * VGPU_SLOT_SIZE);
        if (__atomic_load_n(&record->state, __ATOMIC_ACQUIRE) == VGPU_SLOT_DONE && record->tid == own) {
            record->pid = call->pid;
            record->tid = (int32_t)call->asked->pid;
            record->parent = call->parent;
        }
    }
}

void vgpu_notify_record(struct vgpu_notify_call *call, int error, uint64_t request) {
    struct vgpu_event event = {
        .kind = VGPU_RECORD_CALL,
        .library = VGPU_LIBRARY_SYSCALL,
        .result = error,
        .inputs = request != 0,
        .in = {request},
        .name = call->row->name,
        .text = call->path,
    };
    vgpu_trace_write(&call->notify->process->trace, &event);
}

/* Notes that the program reached call->path by itself. */
static void note(struct vgpu_notify_call *call) {
    struct vgpu_notify *notify = call->notify;
    vgpu_notify_owner(call);
    for (uint32_t i = 0; i < notify->sights; i++) {
        struct vgpu_notify_sight *seen = &notify->seen[i];
        if (seen->pid == call->pid && strncmp(seen->path, call->path, sizeof(seen->path) - 1) == 0) {
            seen->times++;
            return;
        }
    }
    if (notify->sights == VGPU_NOTIFY_SIGHTS_MAX) {
        notify->counts.unlisted++;
        return;
    }
    struct vgpu_notify_sight *sight = &notify->seen[notify->sights++];
    char link[64];
    sight->pid = call->pid;
    sight->times = 1;
    vgpu_copy_text(sight->name, sizeof(sight->name), call->row->name);
    vgpu_copy_text(sight->path, sizeof(sight->path), call->path);
    snprintf(link, sizeof(link), "/proc/%d/exe", call->pid);
    ssize_t got = readlink(link, sight->program, sizeof(sight->program) - 1);
    sight->program[got > 0 ? got : 0] = '\0';
}

/* Is it worth a note that the program asks for this row? Not what the file shim itself asks when it follows a path,
 * whose links it reads. A directory that the tree only adds names to is, if it is listed; libc lists /dev by itself
 * (ttyname). */
static int worth(const struct vgpu_notify_call *call, const struct vgpu_path *row) {
    if (call->row->kind == VGPU_NOTIFY_READLINK) {
        return 0;
    }
    if (row->kind == VGPU_PATH_TREE || row->device) {
        return 1;
    }
    return call->row->kind == VGPU_NOTIFY_OPEN && strchr(call->path + 1, '/') != NULL;
}

static long observe(struct vgpu_notify_call *call) {
    char target[PATH_MAX];
    const struct vgpu_path *row = NULL;
    if (call->row->kind == VGPU_NOTIFY_RING) {
        note(call);
    } else if (call->row->path >= 0 && call->text[0] != '\0') {
        int directory = call->row->directory >= 0 ? (int)call->asked->data.args[call->row->directory] : AT_FDCWD;
        /* What the shims open starts with the tree's own place, which no program knows. */
        if (vgpu_notify_walk(call, directory, call->text, 1) != 0 && call->complete && !call->from_tree &&
            vgpu_path_find(call->notify->process->image, call->path, target, sizeof(target), &row) != 0 &&
            worth(call, row)) {
            note(call);
        }
    }
    return VGPU_NOTIFY_GO_ON;
}

/* Reads what the call is about: 1, or 0 if the kernel is to answer it. */
static int prepare(struct vgpu_notify_call *call) {
    call->text[0] = '\0';
    call->path[0] = '\0';
    if (call->row == NULL) {
        return 0;
    }
    if (call->row->path < 0) {
        return 1;
    }
    uint64_t address = call->asked->data.args[call->row->path];
    if (address == 0) {
        return 1;
    }
    long got = vgpu_notify_read_text(call, address, call->text, sizeof(call->text));
    if (got < 0) {
        call->notify->counts.unread += got == -EPERM;
        return 0;
    }
    return 1;
}

static void send_answer(struct vgpu_notify *notify, uint64_t id, long answer) {
    union room room;
    memset(&room, 0, sizeof(room));
    room.answer.id = id;
    if (answer == VGPU_NOTIFY_GO_ON) {
        room.answer.flags = SECCOMP_USER_NOTIF_FLAG_CONTINUE;
    } else if (answer < 0) {
        room.answer.error = (int32_t)answer;
    } else {
        room.answer.val = answer;
    }
    /* ENOENT: the process was killed meanwhile, or a signal has ended the call. */
    ioctl(notify->listener, SECCOMP_IOCTL_NOTIF_SEND, &room);
}

/* 0, or -errno. */
static int serve_next(struct vgpu_notify *notify, struct vgpu_notify_call *call, union room *room) {
    memset(room, 0, sizeof(*room));
    if (ioctl(notify->listener, SECCOMP_IOCTL_NOTIF_RECV, room) != 0) {
        return errno == EINTR || errno == ENOENT ? 0 : -errno;
    }
    notify->counts.calls++;
    call->notify = notify;
    call->asked = &room->asked;
    call->entering = !notify->log && room->asked.data.nr == SYS_open && room->asked.data.args[5] == VGPU_NOTIFY_ENTERS;
    call->row = vgpu_notify_row(call->entering ? SYS_chdir : room->asked.data.nr);
    call->pid = 0;
    call->parent = 0;
    long answer = VGPU_NOTIFY_GO_ON;
    struct vgpu_trace_header *header = notify->process->trace.header;
    uint64_t from = header != NULL ? __atomic_load_n(&header->next, __ATOMIC_RELAXED) : 0;
    int ready = prepare(call);
    /* The number of a process that is gone may be another's by now. */
    if (ioctl(notify->listener, SECCOMP_IOCTL_NOTIF_ID_VALID, &room->asked.id) != 0) {
        return 0;
    }
    if (ready) {
        answer = notify->log ? observe(call) : vgpu_notify_answer(call);
    }
    vgpu_notify_adopt(call, from);
    if (answer != VGPU_NOTIFY_ANSWERED) {
        send_answer(notify, room->asked.id, answer);
    }
    notify->counts.served += answer != VGPU_NOTIFY_GO_ON;
    return 0;
}

int vgpu_notify_serve(struct vgpu_notify *notify) {
    struct vgpu_notify_call call;
    union room room;
    struct pollfd set[] = {{notify->listener, POLLIN, 0}, {notify->stop, POLLIN, 0}};
    int answer = 0;
    while (answer == 0) {
        if (poll(set, 2, -1) < 0) {
            answer = errno == EINTR ? 0 : -errno;
        } else if (set[1].revents != 0) {
            return 1;
        } else if (set[0].revents & POLLIN) {
            answer = serve_next(notify, &call, &room);
        } else if (set[0].revents != 0) {
            return 0;
        }
    }
    return answer;
}
