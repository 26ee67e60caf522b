/* What the files of the supervisor share. */
#ifndef VGPU_OBSERVE_NOTIFY_OWN_H
#define VGPU_OBSERVE_NOTIFY_OWN_H

#include <limits.h>
#include <linux/seccomp.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/stat.h>

#include "observe/notify.h"
#include "vgpu/process.h"

/* Own choice: few users are in more. */
enum { VGPU_NOTIFY_GROUPS_MAX = 256 };

enum vgpu_notify_kind {
    VGPU_NOTIFY_OPEN,
    VGPU_NOTIFY_OPENAT2,
    VGPU_NOTIFY_STAT,
    VGPU_NOTIFY_FSTAT,
    VGPU_NOTIFY_STATX,
    VGPU_NOTIFY_ACCESS,
    VGPU_NOTIFY_READLINK,
    VGPU_NOTIFY_STATFS,
    VGPU_NOTIFY_FSTATFS,
    VGPU_NOTIFY_XATTR,
    VGPU_NOTIFY_XATTR_LIST,
    VGPU_NOTIFY_WATCH,
    VGPU_NOTIFY_CHDIR,
    VGPU_NOTIFY_GETCWD,
    VGPU_NOTIFY_HANDLE,
    VGPU_NOTIFY_CHANGE,
    VGPU_NOTIFY_IOCTL,
    VGPU_NOTIFY_RING,
};

/* A system call of the filter. Of its six arguments: which is the directory's descriptor, the path, the flags, and
 * where the answer goes; -1: it has none. */
struct vgpu_notify_row {
    int32_t number;
    uint8_t kind; /* enum vgpu_notify_kind */
    int8_t directory;
    int8_t path;
    int8_t flags;
    int8_t to;
    uint32_t fixed; /* flags that the call has by its name */
    const char *name;
};

/* The row of a system call, or NULL. */
const struct vgpu_notify_row *vgpu_notify_row(int32_t number);

struct vgpu_notify {
    int listener;
    int stop; /* an eventfd */
    int log;
    uint64_t first_bytes;         /* as vgpu_filter.candidates: which bytes the rows of the table begin with */
    struct vgpu_process *process; /* a file shim's state, for processes that have none */
    char root[PATH_MAX];          /* of the tree, as /proc names it; "" if it is not laid out as the host */
    size_t root_length;
    uint32_t last_thread; /* whose process vgpu_notify_owner asked for last */
    int32_t last_pid;
    int32_t last_parent;
    int32_t denied;  /* the last process that the gate turned away */
    dev_t stand_ins; /* of what programs hold in the place of links, notify_link.c; 0: there is none yet */
    uid_t real_user; /* the supervisor's own identity, for which notify_caller.c changes its thread's */
    gid_t real_group, group;
    int is_root;
    int changed;
    int dumpable;
    int group_count;
    gid_t groups[VGPU_NOTIFY_GROUPS_MAX];
    struct vgpu_notify_counts counts;
    uint32_t sights;
    struct vgpu_notify_sight seen[VGPU_NOTIFY_SIGHTS_MAX];
};

/* One call of a program. */
struct vgpu_notify_call {
    struct vgpu_notify *notify;
    const struct seccomp_notif *asked;
    const struct vgpu_notify_row *row;
    int32_t pid; /* of the process; asked->pid is the thread's */
    int32_t parent;
    char text[PATH_MAX]; /* the path as the program gave it */
    char path[PATH_MAX]; /* the same as the host calls it: absolute, without links, `.` and `..` */
    int through;         /* the way to it goes through what only the tree has: the kernel would not find it */
    int from_tree;       /* it starts at a directory of the tree, which the program has open */
    int complete;        /* `path` is whole */
    int entering;        /* a chdir that the tracer has made an open, enter.c: the answer is a descriptor */
};

/* The process's number and its parent's, from /proc; the thread's own number if that is gone. */
void vgpu_notify_owner(struct vgpu_notify_call *call);

/* Reads a string of the program: its length, or -errno. */
long vgpu_notify_read_text(struct vgpu_notify_call *call, uint64_t address, char *to, size_t size);
long vgpu_notify_read(struct vgpu_notify_call *call, uint64_t address, void *to, size_t size);
/* 0, or -EFAULT. */
long vgpu_notify_write(struct vgpu_notify_call *call, uint64_t address, const void *from, size_t size);

/* Turns what /proc says of a descriptor of the tree into what the host calls it, in place. 1 if it was one. */
int vgpu_notify_host_terms(const struct vgpu_notify *notify, char *path);

/* Follows `text` from the descriptor `directory` as the kernel would on the simulated host, into call->path. 1: the
 * tree answers the call, 0: the kernel does, -errno: that is the answer. */
int vgpu_notify_walk(struct vgpu_notify_call *call, int directory, const char *text, int follow);

/* The answers to a call: VGPU_NOTIFY_GO_ON is the kernel's, VGPU_NOTIFY_ANSWERED was given already. */
enum { VGPU_NOTIFY_GO_ON = INT_MIN, VGPU_NOTIFY_ANSWERED };
long vgpu_notify_answer(struct vgpu_notify_call *call);

/* The path for the file shim: as the program spelled it where that says the same to anybody, which the trace then
 * shows. */
const char *vgpu_notify_spelled(const struct vgpu_notify_call *call);

/* Asks the tree about call->path, without a word in the trace: 0, or -errno. */
long vgpu_notify_look(struct vgpu_notify_call *call, struct stat *to, int flags);

/* Puts a descriptor into the program as the answer to its call, with O_CLOEXEC if `flags` have it, and closes it here.
 * The kernel closes it there if the program is gone. */
long vgpu_notify_inject(struct vgpu_notify_call *call, int fd, int flags);

long vgpu_notify_change_directory(struct vgpu_notify_call *call);
long vgpu_notify_current_directory(struct vgpu_notify_call *call);

/* A link's path is read; so is, by the descriptor alone, what stands for one, and a link of /proc, /proc/self/fd/3 for
 * one, that may lead into the tree. */
long vgpu_notify_read_link(struct vgpu_notify_call *call);
long vgpu_notify_read_stand_in(struct vgpu_notify_call *call);
long vgpu_notify_magic_link(struct vgpu_notify_call *call);

/* Opens a link of the tree as a place, O_PATH | O_NOFOLLOW. */
long vgpu_notify_stand_in(struct vgpu_notify_call *call, int flags);

/* Does the program's descriptor stand for a link? call->path is the link's then. */
int vgpu_notify_is_stand_in(struct vgpu_notify_call *call, int fd);

/* The same of what /proc calls the descriptor; *path becomes the link's. */
int vgpu_notify_names_stand_in(char *path);

/* What follows, which asks for `want` (R_OK, W_OK, X_OK) of call->path, is done with the rights of the program, until
 * vgpu_notify_as_self; both leave errno alone. */
void vgpu_notify_know_self(struct vgpu_notify *notify);
void vgpu_notify_as_caller(struct vgpu_notify_call *call, int want);
void vgpu_notify_as_self(struct vgpu_notify_call *call);

/* A record of the call in the trace, as from the program. */
void vgpu_notify_record(struct vgpu_notify_call *call, int error, uint64_t request);

/* Gives the records that this thread wrote since slot `from` the process's numbers. */
void vgpu_notify_adopt(struct vgpu_notify_call *call, uint64_t from);

#endif
