/* System call notification, seccomp_unotify(2): a program's file calls wait until its supervisor has answered them. So
 * programs that no library can be preloaded into see the tree of virtual files too: static ones, Go's, raw calls.
 *
 * A filter in the program sends the calls that name a file to a listener, which the supervisor serves from a thread. A
 * call whose path is of the tree is answered with a descriptor of the tree's file, put into the program, or with what
 * the file shim's own functions say of that path; every other call the kernel goes on with. */
#ifndef VGPU_OBSERVE_NOTIFY_H
#define VGPU_OBSERVE_NOTIFY_H

#ifndef VGPU_CDEF
#include <stdint.h>
#endif

enum vgpu_notify_size {
    VGPU_NOTIFY_NAME_SIZE = 24,
    VGPU_NOTIFY_PATH_SIZE = 512,
    VGPU_NOTIFY_SIGHTS_MAX = 256,
};

/* What becomes of io_uring_setup: the files that a ring opens reach no filter. */
enum vgpu_notify_rings {
    VGPU_RINGS_ALLOWED = 0,
    VGPU_RINGS_REFUSED = 1,  /* ENOSYS, as on a kernel without rings: programs have another way for that */
    VGPU_RINGS_REPORTED = 2, /* allowed, and the supervisor is told */
};

/* What tells our stops at a chdir from those of a program's own filters, and our calls of open from the program's. */
enum vgpu_notify_mark { VGPU_NOTIFY_ENTERS = 0x5647 };

/* Writes the filter, struct sock_filter by struct sock_filter; answers its size in bytes, 0 if that is above `size`.
 * Where the program has a tracer, each chdir `stops` for it (vgpu_observe_enter); without one that would be ENOSYS. */
uint64_t vgpu_notify_filter(void *to, uint64_t size, enum vgpu_notify_rings rings, int stops);

/* 0, or the errno with which this kernel says that it has no such notification. */
int vgpu_notify_available(void);

/* A path of the table that a process reached without the shims, or an io_uring that it made (path ""). */
struct vgpu_notify_sight {
    int32_t pid;
    uint32_t times;
    char name[VGPU_NOTIFY_NAME_SIZE];    /* of the first system call that did it */
    char path[VGPU_NOTIFY_PATH_SIZE];    /* as the host calls it */
    char program[VGPU_NOTIFY_PATH_SIZE]; /* what the process executed then; "" if that may not be read */
};

struct vgpu_notify_counts {
    uint64_t calls;    /* that reached the supervisor */
    uint64_t served;   /* answered here */
    uint64_t unread;   /* of a process whose memory may not be read: it saw the real files */
    uint64_t unlisted; /* sights that found no room */
};

struct vgpu_notify;

/* A supervisor for `listener`, which it closes in the end. `host` is the host image, `trace` the trace or NULL. With
 * `log` it answers no call and notes who reached a path of the table. NULL: *reason says why. */
struct vgpu_notify *vgpu_notify_new(int listener, const char *host, const char *trace, int log, const char **reason);

/* Serves until the last process with the filter is gone (0) or vgpu_notify_stop is called (1); else -errno. */
int vgpu_notify_serve(struct vgpu_notify *notify);

/* From any thread. Calls that wait then, or come later, get ENOSYS once the supervisor is freed. */
void vgpu_notify_stop(struct vgpu_notify *notify);
void vgpu_notify_free(struct vgpu_notify *notify);

/* A watch of the machine's own files: what opens or reads a path of the table really has gone past the shims. `named`
 * is by fanotify(7), which tells the process and is for root; else by inotify(7). The descriptor, or -errno. */
int vgpu_notify_real_files(int named);

/* Watches a file, or a directory and what is in it: the watch's number, 0 if it is by fanotify, or -errno. */
int vgpu_notify_real_file(int descriptor, int named, const char *path);

/* What was noted so far; complete when vgpu_notify_serve has answered. */
struct vgpu_notify_counts vgpu_notify_counts(const struct vgpu_notify *notify);
const struct vgpu_notify_sight *vgpu_notify_sights(const struct vgpu_notify *notify, uint32_t *count);

#endif
