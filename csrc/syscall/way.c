/* The way of a call: the quick filter, the path table, the gate, faults, the trace. */
#include "syscall/linked.h"
#include "vgpu/fault.h"
#include "vgpu/image.h"
#include "vgpu/paths.h"
#include "vgpu/raw.h"

const struct vgpu_image *vgpu_file_image(struct vgpu_process *process) {
    return __atomic_load_n(&process->started, __ATOMIC_ACQUIRE) == 2 ? process->image : NULL;
}

/* Usual calls run through the second half of a page: this function, and behind it the exported ones that call it. At
 * the offsets of the first half a stat takes 1 to 2 % longer (docs/cost.md); the kernel's entry code begins at a page's
 * start, and what has the same low bits of an address is likely to be gone from the processor's caches, and its memory
 * of branches, when a system call is back. */
__asm__(".pushsection .text.hot.vgpu_usual, \"ax\", @progbits\n"
        ".balign 4096\n"
        ".skip 2048\n"
        ".popsection");

/* The bit of vgpu_filter.candidates for a path whose first component begins so. Of two bytes, as /srv and /data are to
 * differ from /sys and /dev; /usr and other usual directories do, too. 0: the root. */
static unsigned int first_bit(const char *first) {
    return VGPU_SELDOM(first[0] == '\0') ? 0 : ((unsigned char)first[0] * 7U + (unsigned char)first[1]) & 63;
}

/* `path` begins as the tree's do, or is relative where that may matter. */
static inline int begins_so(uint64_t candidates, const char *path) {
    if (VGPU_SELDOM(path[0] != '/')) {
        return __atomic_load_n(&vgpu_filter.near, __ATOMIC_RELAXED) != 0;
    }
    const char *first = path;
    do {
        first++;
    } while (VGPU_SELDOM(first[0] == '/') || VGPU_SELDOM(first[0] == '.' && first[1] == '/'));
    return VGPU_SELDOM(candidates >> first_bit(first) & 1);
}

int vgpu_file_maybe(int at, const char *path) {
    uint64_t candidates = __atomic_load_n(&vgpu_filter.candidates, __ATOMIC_RELAXED);
    if (VGPU_SELDOM(candidates == 0) || VGPU_SELDOM(vgpu_path_is_no_text(path))) {
        return 0;
    }
    return VGPU_SELDOM(begins_so(candidates, path)) || vgpu_spelling_is_odd(at, path);
}

static __attribute__((cold, noinline)) unsigned int first_open(enum vgpu_file_function function, int at,
                                                               const char *path) {
    return vgpu_file_maybe(at, path) && !vgpu_elsewhere_has(path) && vgpu_file_is_of_tree(function, at, path)
               ? VGPU_OPENS_TREE
               : VGPU_OPENS_UNKNOWN;
}

unsigned int vgpu_file_opens(enum vgpu_file_function function, int at, const char *path) {
    if (VGPU_SELDOM(__atomic_load_n(&vgpu_filter.candidates, __ATOMIC_RELAXED) == 0) ||
        VGPU_SELDOM(vgpu_path_is_no_text(path))) {
        return 0;
    }
    if (VGPU_SELDOM(!vgpu_whole_has(vgpu_whole_hash(path) ^ vgpu_direct_mark(at)))) {
        return first_open(function, at, path);
    }
    return 0;
}

static uint64_t candidates_of(const struct vgpu_image *image) {
    uint64_t candidates = 0;
    if (image == NULL) {
        return 0;
    }
    const struct vgpu_path *rows = (const struct vgpu_path *)((const char *)image + image->paths.offset);
    for (uint32_t i = 0; i < image->paths.count; i++) {
        const char *path = vgpu_image_text(image, rows[i].path);
        if (path[1] == '\0') {
            return UINT64_MAX;
        }
        candidates |= (uint64_t)1 << first_bit(path + 1);
        if (path[2] == '\0' || path[2] == '/') {
            const char alone[2][2] = {{path[1], '\0'}, {path[1], '/'}};
            candidates |= (uint64_t)1 << first_bit(alone[0]) | (uint64_t)1 << first_bit(alone[1]);
        }
    }
    return candidates | 1; /* and the root itself, for whose descriptor the paths of the tree are relative ones */
}

struct vgpu_process *vgpu_file_self(void) {
    struct vgpu_process *process = vgpu_self();
    if (__atomic_load_n(&vgpu_filter.candidates, __ATOMIC_RELAXED) == UINT64_MAX &&
        __atomic_load_n(&process->started, __ATOMIC_ACQUIRE) == 2) {
        if (process->image != NULL) {
            vgpu_near_note_here(process->image);
            vgpu_linked_learn();
            __atomic_store_n(&vgpu_filter.tree_dev, vgpu_path_tree_dev(process->image), __ATOMIC_RELAXED);
        }
        __atomic_store_n(&vgpu_filter.candidates, candidates_of(process->image), __ATOMIC_RELAXED);
    }
    return process;
}

/* The gate is asked only for calls that the tree would answer: it counts them (gate.calls_before). */
static int admitted(struct vgpu_process *process, const struct vgpu_image *image, enum vgpu_file_function function) {
    const struct vgpu_file_row *row = &vgpu_file_rows[function];
    return row->before || (image->gate.before_gate >> row->family & 1) != 0 || ensure_init(process) == VGPU_READY;
}

static void apply_fault(struct vgpu_file_call *call) {
    const char *name = vgpu_file_rows[call->function].name;
    const struct vgpu_fault *fault = vgpu_fault_for(call->process, VGPU_LIBRARY_SYSCALL, name, call->caller);
    if (fault != NULL && (fault->flags & VGPU_FAULT_RESULT) != 0 && fault->result > 0) {
        call->error = fault->result;
        call->flags = VGPU_RECORD_FAULTED;
    }
}

int vgpu_file_is_of_tree(enum vgpu_file_function function, int at, const char *path) {
    const struct vgpu_image *image = vgpu_file_image(vgpu_file_self());
    if (image == NULL || !vgpu_file_maybe(at, path)) {
        return 0;
    }
    if (vgpu_spelling_find(image, at, path, NULL, 0, NULL) != VGPU_SPELLING_REAL) {
        return 1;
    }
    uint8_t family = vgpu_file_rows[function].family;
    if (vgpu_path_leads_to(image, path)) {
        if (family == VGPU_FAMILY_OPEN || family == VGPU_FAMILY_OPENDIR) {
            vgpu_near_note_bits(VGPU_NEAR_ABOVE);
        }
    } else if (path[0] == '/' && vgpu_spelling_is_settled(path)) {
        vgpu_elsewhere_add(path);
    }
    return 0;
}

static void begin(struct vgpu_file_call *call, struct vgpu_process *process, enum vgpu_file_function function,
                  const char *path, uint64_t caller) {
    call->process = process;
    call->function = function;
    call->path = path;
    call->caller = caller;
    call->saved_errno = errno;
    call->error = 0;
    call->flags = 0;
}

int vgpu_file_enter(struct vgpu_file_call *call, struct vgpu_process *process, enum vgpu_file_function function, int at,
                    const char **path, uint64_t caller) {
    const struct vgpu_image *image = vgpu_file_image(process);
    if (vgpu_path_is_no_text(*path)) {
        return 0;
    }
    enum vgpu_spelling spelling =
        vgpu_spelling_find(image, at, *path, call->target, sizeof(call->target), &call->entry);
    if (spelling == VGPU_SPELLING_REAL || !admitted(process, image, function)) {
        return 0;
    }
    if (spelling == VGPU_SPELLING_LEFT) {
        *path = call->target;
        return 0;
    }
    begin(call, process, function, *path, caller);
    call->error = spelling == VGPU_SPELLING_NO_ROOM ? ENAMETOOLONG : 0;
    apply_fault(call);
    return 1;
}

int vgpu_file_begin_device(struct vgpu_file_call *call, struct vgpu_process *process, enum vgpu_file_function function,
                           const struct vgpu_path *entry, uint64_t caller) {
    const struct vgpu_image *image = vgpu_file_image(process);
    if (entry == NULL || !admitted(process, image, function)) {
        return 0;
    }
    begin(call, process, function, vgpu_image_text(image, entry->path), caller);
    call->entry = entry;
    apply_fault(call);
    return 1;
}

static struct vgpu_event record(const struct vgpu_file_call *call, int error) {
    return (struct vgpu_event){
        .kind = VGPU_RECORD_CALL,
        .library = VGPU_LIBRARY_SYSCALL,
        .flags = call->flags,
        .result = error,
        .caller = call->caller,
        .name = vgpu_file_rows[call->function].name,
        .text = call->path,
    };
}

static void write_record(struct vgpu_file_call *call, int error) {
    struct vgpu_event event = record(call, error);
    vgpu_trace_write(&call->process->trace, &event);
    errno = error != 0 ? error : call->saved_errno;
}

long vgpu_file_end(struct vgpu_file_call *call, long answer) {
    write_record(call, answer < 0 ? (int)-answer : 0);
    return answer < 0 ? -1 : answer;
}

long vgpu_file_end_request(struct vgpu_file_call *call, long answer, uint64_t request) {
    struct vgpu_event event = record(call, answer < 0 ? (int)-answer : 0);
    event.inputs = 1;
    event.in[0] = request;
    vgpu_trace_write(&call->process->trace, &event);
    errno = answer < 0 ? (int)-answer : call->saved_errno;
    return answer < 0 ? -1 : answer;
}

void *vgpu_file_end_pointer(struct vgpu_file_call *call, void *answer) {
    write_record(call, answer == NULL ? errno : 0);
    return answer;
}

/* How a stat of any kind knows a file of the tree where no path says so: descriptors, /proc/self/fd, hard links. Of
 * devices there is a record and a fault, as their descriptors are what a program asks about; of others there is none.
 */
int vgpu_identify_stat(struct vgpu_process *process, enum vgpu_file_function function, uint64_t caller,
                       struct stat *to) {
    struct vgpu_file_call call;
    const struct vgpu_image *image = vgpu_file_image(process);
    const struct vgpu_path *entry =
        S_ISREG(to->st_mode) ? vgpu_path_device(image, to->st_dev, to->st_ino) : (const struct vgpu_path *)NULL;
    if (entry == NULL) {
        if (vgpu_mark_is(to->st_mtim.tv_nsec) && image != NULL && to->st_dev == vgpu_path_tree_dev(image) &&
            admitted(process, image, function)) {
            vgpu_mark_stat(to);
        }
        return 0;
    }
    if (!vgpu_file_begin_device(&call, process, function, entry, caller)) {
        return 0;
    }
    if (call.error == 0) {
        vgpu_device_stat(call.entry, to);
    }
    return (int)vgpu_file_end(&call, -call.error);
}

int vgpu_identify_statx(struct vgpu_process *process, enum vgpu_file_function function, uint64_t caller,
                        struct statx *to) {
    struct vgpu_file_call call;
    const struct vgpu_image *image = vgpu_file_image(process);
    uint64_t dev = makedev(to->stx_dev_major, to->stx_dev_minor);
    const struct vgpu_path *entry =
        S_ISREG(to->stx_mode) ? vgpu_path_device(image, dev, to->stx_ino) : (const struct vgpu_path *)NULL;
    if (entry == NULL) {
        if (vgpu_mark_is(to->stx_mtime.tv_nsec) && image != NULL && dev == vgpu_path_tree_dev(image) &&
            admitted(process, image, function)) {
            vgpu_mark_statx(to);
        }
        return 0;
    }
    if (!vgpu_file_begin_device(&call, process, function, entry, caller)) {
        return 0;
    }
    if (call.error == 0) {
        vgpu_device_statx(call.entry, to);
    }
    return (int)vgpu_file_end(&call, -call.error);
}
