/* The rights with which a file is opened are the program's, not the supervisor's: a daemon that root has started may be
 * another user's by now. The system calls that change an identity are a thread's own; only libc's functions of the same
 * names change it for a whole process. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <unistd.h>

#include "observe/notify_own.h"
#include "vgpu/paths.h"
#include "vgpu/raw.h"

/* Own choice; of what follows in /proc/PID/status nothing matters here. */
enum { STATUS_SIZE = 4096 };

/* Of the four numbers of a user in proc(5)'s status. */
enum { REAL = 0, OF_FILES = 3 };

struct identity {
    uint32_t user[4];
    uint32_t group[4];
    uint32_t groups[VGPU_NOTIFY_GROUPS_MAX];
    long count;
};

/* The numbers of a line of /proc/PID/status: how many. */
static long numbers(const char *text, const char *name, uint32_t *to, long most) {
    const char *at = strstr(text, name);
    long count = 0;
    for (at = at != NULL ? at + strlen(name) : ""; count < most; count++) {
        char *end;
        at += strspn(at, "\t ");
        unsigned long number = strtoul(at, &end, 10);
        if (end == at) {
            break;
        }
        to[count] = (uint32_t)number;
        at = end;
    }
    return count;
}

static int read_identity(uint32_t pid, struct identity *of) {
    char path[64];
    char text[STATUS_SIZE];
    snprintf(path, sizeof(path), "/proc/%u/status", pid);
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0) {
        return 0;
    }
    ssize_t got = read(fd, text, sizeof(text) - 1);
    close(fd);
    text[got > 0 ? got : 0] = '\0';
    of->count = numbers(text, "\nGroups:", of->groups, VGPU_NOTIFY_GROUPS_MAX);
    return numbers(text, "\nUid:", of->user, 4) == 4 && numbers(text, "\nGid:", of->group, 4) == 4;
}

void vgpu_notify_know_self(struct vgpu_notify *notify) {
    notify->is_root = geteuid() == 0;
    notify->real_user = getuid();
    notify->real_group = getgid();
    notify->group = getegid();
    notify->group_count = getgroups(VGPU_NOTIFY_GROUPS_MAX, notify->groups);
    if (notify->group_count < 0) {
        notify->is_root = 0; /* in more groups than it could go back to */
    }
}

/* A file of the tree with such a mode, which everybody may reach on the host: most are, and whose rights the program
 * has, which takes long to find out, does not matter. */
static int open_to_all(struct vgpu_notify_call *call, int want) {
    char target[PATH_MAX];
    struct stat facts;
    return vgpu_path_find(call->notify->process->image, call->path, target, sizeof(target), NULL) == 1 &&
           vgpu_notify_look(call, &facts, 0) == 0 && ((int)facts.st_mode & want) == want;
}

void vgpu_notify_as_caller(struct vgpu_notify_call *call, int want) {
    struct identity caller;
    struct vgpu_notify *notify = call->notify;
    int saved = errno;
    int other = notify->is_root && !open_to_all(call, want) && read_identity(call->asked->pid, &caller) &&
                (caller.user[REAL] != 0 || caller.user[OF_FILES] != 0);
    errno = saved;
    if (!other) {
        return;
    }
    /* The saved identity is the way back. A thread's change makes its process one that cannot be traced. */
    notify->dumpable = prctl(PR_GET_DUMPABLE);
    notify->changed = 1;
    vgpu_raw3(SYS_setgroups, caller.count, (long)caller.groups, 0);
    vgpu_raw3(SYS_setresgid, (long)caller.group[REAL], (long)caller.group[OF_FILES], -1);
    vgpu_raw3(SYS_setresuid, (long)caller.user[REAL], (long)caller.user[OF_FILES], 0);
}

void vgpu_notify_as_self(struct vgpu_notify_call *call) {
    struct vgpu_notify *notify = call->notify;
    if (!notify->changed) {
        return;
    }
    notify->changed = 0;
    vgpu_raw3(SYS_setresuid, (long)notify->real_user, 0, 0);
    vgpu_raw3(SYS_setresgid, (long)notify->real_group, (long)notify->group, -1);
    vgpu_raw3(SYS_setgroups, notify->group_count, (long)notify->groups, 0);
    if (notify->dumpable == 1) {
        prctl(PR_SET_DUMPABLE, 1);
    }
}
