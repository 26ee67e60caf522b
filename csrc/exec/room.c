#include "exec/room.h"

#include <stdint.h>
#include <sys/mman.h>

#include "vgpu/raw.h"

struct head {
    size_t size;  /* of the mapping */
    int32_t user; /* the process that took it; this thread's vfork child, if it is another and not our parent */
    int32_t reserved;
};

/* A vfork child has the thread's own: both run on one thread pointer, never at once. */
static __thread struct head *remembered[VGPU_ROOM_KINDS] __attribute__((tls_model("initial-exec")));

static struct head *map(size_t size) {
    long at = vgpu_raw6(SYS_mmap, 0, (long)size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (at <= 0) {
        return NULL;
    }
    struct head *head = (struct head *)at;
    head->size = size;
    return head;
}

/* Is it in use below us: by a call that this signal handler has interrupted, in this process or, where the handler has
 * called vfork, in our parent? Any other user was a vfork child, which is done with it, as the thread runs again. */
static int is_busy(const struct head *head, int32_t pid) {
    return head->user == pid || head->user == (int32_t)vgpu_raw3(SYS_getppid, 0, 0, 0);
}

void *vgpu_room_take(enum vgpu_room_kind kind, size_t size) {
    int32_t pid = (int32_t)vgpu_raw3(SYS_getpid, 0, 0, 0);
    struct head *head = remembered[kind];
    size += sizeof(struct head);
    if (head != NULL && is_busy(head, pid)) {
        head = map(size);
        return head != NULL ? head + 1 : NULL;
    }
    if (head != NULL && head->size < size) {
        remembered[kind] = NULL;
        vgpu_raw3(SYS_munmap, (long)head, (long)head->size, 0);
        head = NULL;
    }
    head = head != NULL ? head : map(size);
    if (head == NULL) {
        return NULL;
    }
    head->user = pid;
    remembered[kind] = head;
    return head + 1;
}

void vgpu_room_give_back(enum vgpu_room_kind kind, void *room) {
    if (room != NULL) {
        struct head *head = (struct head *)room - 1;
        remembered[kind] = remembered[kind] == head ? NULL : remembered[kind];
        vgpu_raw3(SYS_munmap, (long)head, (long)head->size, 0);
    }
}
