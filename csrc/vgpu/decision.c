/* Most policies ask for the executable's name, which every shim of a process finds the same (unless somebody renames
 * the file meanwhile). Where rules ask for more, the answer may change while a program runs: it writes a title over its
 * command line, renames its main thread, outlives its parent, is moved to another control group. So the first shim that
 * asks keeps the decision where the others look: on a page at an address of its own. They share no symbol, as none may
 * export one, and a page that a shim maps itself would be known to it alone. A forked child has the page too, and a new
 * program has it not. */
#include "vgpu/decision.h"

#include <errno.h>
#include <linux/futex.h>
#include <sys/mman.h>
#include <time.h>

#include "vgpu/image.h"
#include "vgpu/raw.h"

enum {
    BOARD_SIZE = 4096,
    BOARD_MAGIC = 0x47504756, /* "VGPG" */
    PATIENCE = 1000,
};

/* Below what the kernel gives out by itself (mmap_base of arch/x86/mm/mmap.c, by default 2^28 pages at most below the
 * stack), above all heaps. If something else is there, each shim decides for itself. */
static const uintptr_t board_address = 0x7ec076500000;

struct board {
    uint32_t magic; /* atomic: BOARD_MAGIC once `policy` is written */
    uint32_t policy;
    uint32_t decision; /* atomic: 1 + the rule, 0 while nobody has decided */
};

/* Facts that change, and are gathered where a rule asks for them. An executable's path does not. */
enum { CHANGING = 1 << VGPU_RULE_COMM | 1 << VGPU_RULE_ARGUMENT | 1 << VGPU_RULE_ANCESTOR | 1 << VGPU_RULE_UNIT };

/* FNV-1a of all that the rules say: shims with other host images must not take each other's decisions. */
static uint32_t policy_of(const struct vgpu_image *image) {
    const struct vgpu_span spans[] = {image->gate.allow, image->gate.deny};
    uint32_t hash = 2166136261u;
    for (size_t n = 0; n < sizeof(spans) / sizeof(spans[0]); n++) {
        const struct vgpu_rule *rules = (const struct vgpu_rule *)((const char *)image + spans[n].offset);
        hash = (hash ^ spans[n].count) * 16777619u;
        for (uint32_t i = 0; i < spans[n].count; i++) {
            /* The reason quotes the whole rule. */
            for (const char *at = vgpu_image_text(image, rules[i].reason); *at != '\0'; at++) {
                hash = (hash ^ (unsigned char)*at) * 16777619u;
            }
        }
    }
    return hash;
}

/* Is what lies at the address a board? Another mapping may not even be readable, so the kernel is asked: to wait for
 * no time while the first word is the magic number. Any program with threads is allowed that call. */
static int is_board(const struct board *board, uint32_t policy) {
    struct timespec no_time = {0};
    for (int i = 0; i < PATIENCE; i++) {
        long answer = vgpu_raw6(SYS_futex, (long)&board->magic, FUTEX_WAIT_PRIVATE, BOARD_MAGIC, (long)&no_time, 0, 0);
        if (answer == -ETIMEDOUT) {
            return board->policy == policy;
        }
        if (answer != -EAGAIN && answer != -EINTR) {
            return 0;
        }
        vgpu_raw3(SYS_sched_yield, 0, 0, 0); /* another shim may be making it just now */
    }
    return 0;
}

/* NULL: there is none to be had. */
static struct board *find_board(uint32_t policy) {
    struct board *board = (struct board *)board_address;
    long at = vgpu_raw6(SYS_mmap, (long)board_address, BOARD_SIZE, PROT_READ | PROT_WRITE,
                        MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, -1, 0);
    if (at == (long)board_address) {
        board->policy = policy;
        __atomic_store_n(&board->magic, BOARD_MAGIC, __ATOMIC_RELEASE);
        return board;
    }
    if (at > 0) { /* a kernel before 4.17 takes the address for a wish */
        vgpu_raw3(SYS_munmap, at, BOARD_SIZE, 0);
        return NULL;
    }
    return at == -EEXIST && is_board(board, policy) ? board : NULL;
}

/* The kernel gives a new process no list of robust futexes; libc hands one in at the start of a program and of a
 * thread, and in a forked child, but not in a child of vfork. */
int vgpu_is_borrowing_memory(void) {
    void *list = NULL;
    size_t length;
    return vgpu_raw3(SYS_get_robust_list, 0, (long)&list, (long)&length) != 0 || list == NULL;
}

static uint32_t decide(const struct vgpu_image *image, const struct vgpu_facts *facts) {
    /* Too large for a signal stack; the kernel gives pages only for what is written. */
    long at =
        vgpu_raw6(SYS_mmap, 0, sizeof(struct vgpu_facts), PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (at <= 0) {
        return vgpu_gate_rule(image, facts);
    }
    struct vgpu_facts *all = (struct vgpu_facts *)at;
    vgpu_copy_text(all->exe, sizeof(all->exe), facts->exe);
    vgpu_copy_text(all->comm, sizeof(all->comm), facts->comm);
    vgpu_copy_text(all->path, sizeof(all->path), facts->path);
    /* A vfork child is its parent until it executes something: what it decides holds for both. */
    long pid = vgpu_is_borrowing_memory() ? vgpu_raw3(SYS_getppid, 0, 0, 0) : 0;
    vgpu_facts_gather_more(image, (int32_t)pid, all);
    uint32_t rule = vgpu_gate_rule(image, all);
    vgpu_raw3(SYS_munmap, at, sizeof(struct vgpu_facts), 0);
    return rule;
}

uint32_t vgpu_decision(const struct vgpu_image *image, const struct vgpu_facts *facts) {
    if ((vgpu_gate_wants(image) & CHANGING) == 0) {
        return vgpu_gate_rule(image, facts);
    }
    struct board *board = find_board(policy_of(image));
    if (board == NULL) {
        return decide(image, facts);
    }
    uint32_t known = __atomic_load_n(&board->decision, __ATOMIC_ACQUIRE);
    if (known == 0) {
        uint32_t decision = 1 + decide(image, facts);
        if (__atomic_compare_exchange_n(&board->decision, &known, decision, 0, __ATOMIC_ACQ_REL, __ATOMIC_ACQUIRE)) {
            known = decision;
        }
    }
    return known - 1;
}
