/* Requests to io_uring: the kernel opens the file, and no system call has the path. A ring is made by hand, as
 * io_uring(7) shows it. */
#include <errno.h>
#include <fcntl.h>
#include <linux/io_uring.h>
#include <linux/openat2.h>
#include <stdint.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include "escape/probe.h"

static void *map(int ring, size_t size, off_t what) {
    void *place = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_POPULATE, ring, what);
    if (place == MAP_FAILED) {
        unavailable("mmap of a ring");
    }
    return place;
}

/* Has the kernel do one request. The result, or -1 and errno. */
static int request(const struct io_uring_sqe *wanted) {
    struct io_uring_params facts = {0};
    int ring = (int)syscall(SYS_io_uring_setup, 2, &facts);
    if (ring < 0) {
        unavailable("io_uring_setup");
    }
    char *queue = map(ring, facts.sq_off.array + facts.sq_entries * sizeof(uint32_t), IORING_OFF_SQ_RING);
    char *done = map(ring, facts.cq_off.cqes + facts.cq_entries * sizeof(struct io_uring_cqe), IORING_OFF_CQ_RING);
    struct io_uring_sqe *entries = map(ring, facts.sq_entries * sizeof(*entries), IORING_OFF_SQES);
    uint32_t *tail = (uint32_t *)(queue + facts.sq_off.tail);
    uint32_t mask = *(uint32_t *)(queue + facts.sq_off.ring_mask), slot = *tail & mask;
    entries[slot] = *wanted;
    ((uint32_t *)(queue + facts.sq_off.array))[slot] = slot;
    __atomic_store_n(tail, *tail + 1, __ATOMIC_RELEASE);
    if (syscall(SYS_io_uring_enter, ring, 1, 1, IORING_ENTER_GETEVENTS, NULL, 0) != 1) {
        unavailable("io_uring_enter");
    }
    uint32_t head = __atomic_load_n((uint32_t *)(done + facts.cq_off.head), __ATOMIC_ACQUIRE);
    uint32_t done_mask = *(uint32_t *)(done + facts.cq_off.ring_mask);
    int result = ((struct io_uring_cqe *)(done + facts.cq_off.cqes))[head & done_mask].res;
    close(ring);
    if (result < 0) {
        errno = -result;
        return -1;
    }
    return result;
}

static void opened(const char *unused) {
    struct io_uring_sqe wanted = {.opcode = IORING_OP_OPENAT, .fd = AT_FDCWD, .addr = (uintptr_t)at.vendor};
    (void)unused;
    wanted.open_flags = O_RDONLY;
    check_file(request(&wanted));
}

static void opened_how(const char *unused) {
    struct open_how how = {.flags = O_RDONLY};
    struct io_uring_sqe wanted = {.opcode = IORING_OP_OPENAT2, .fd = AT_FDCWD, .addr = (uintptr_t)at.vendor};
    (void)unused;
    wanted.len = sizeof(how);
    wanted.off = (uintptr_t)&how;
    check_file(request(&wanted));
}

static void stated(const char *unused) {
    struct statx facts = {0};
    struct io_uring_sqe wanted = {.opcode = IORING_OP_STATX, .fd = AT_FDCWD, .addr = (uintptr_t)at.device};
    (void)unused;
    wanted.len = STATX_BASIC_STATS;
    wanted.off = (uintptr_t)&facts;
    int returned = request(&wanted);
    check_device(returned, facts.stx_mode, makedev(facts.stx_rdev_major, facts.stx_rdev_minor));
}

const struct probe rings[] = {
    {"io_uring: openat", opened, NULL},
    {"io_uring: openat2", opened_how, NULL},
    {"io_uring: statx", stated, NULL},
    NO_PROBE,
};
