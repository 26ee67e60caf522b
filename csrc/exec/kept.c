/* The source is the memory that the kernel put the environment into, as /proc/self/environ shows it. A program that
 * writes its title there (setproctitle) overwrites it from its start; what is missing then is taken from `environ`,
 * which such a program has copied away before. */
#include "exec/kept.h"

#include <fcntl.h>
#include <stdint.h>
#include <sys/mman.h>
#include <sys/single_threaded.h>
#include <sys/stat.h>
#include <unistd.h>

#include "exec/list.h"
#include "vgpu/raw.h"

const struct vgpu_kept_row vgpu_kept_rows[VGPU_KEPT_VARIABLES] = {
    [VGPU_KEPT_PRELOAD] = {"LD_PRELOAD", ": ", 1},      [VGPU_KEPT_AUDIT] = {"LD_AUDIT", "::", 0},
    [VGPU_KEPT_FOLDERS] = {"LD_LIBRARY_PATH", ":;", 1}, [VGPU_KEPT_HOST] = {"VGPU_HOST", "", 0},
    [VGPU_KEPT_TRACE] = {"VGPU_TRACE", "", 0},
};

const struct vgpu_kept vgpu_kept_unknown;
static const struct vgpu_kept nothing;

/* Published whole, in one step: who comes meanwhile reads for himself, and gives his own back. Nobody waits, so it does
 * not matter if a vfork child is killed half way, or a fork leaves the reading thread behind. */
static const struct vgpu_kept *published;

const char *vgpu_kept_value(const char *variable, const char *name) {
    while (*name != '\0' && *variable == *name) {
        variable++;
        name++;
    }
    return *name == '\0' && *variable == '=' ? variable + 1 : NULL;
}

static void *map(size_t size) {
    long at = vgpu_raw6(SYS_mmap, 0, (long)size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    return at > 0 ? (void *)at : NULL;
}

static void unmap(const void *at, size_t size) {
    if (at != NULL && size != 0) {
        vgpu_raw3(SYS_munmap, (long)at, (long)size, 0);
    }
}

struct text {
    char *start; /* NULL: it cannot be read */
    size_t length;
    size_t size; /* of the mapping, 0: it is no copy; there is a NUL behind the text */
};

/* The field of this number (proc(5), from 3) in the rest of /proc/self/stat behind the program's name. */
static size_t stat_field(const char *rest, int number) {
    size_t value = 0;
    for (int field = 2; *rest != '\0' && field < number; rest++) {
        field += *rest == ' ';
    }
    for (; *rest >= '0' && *rest <= '9'; rest++) {
        value = 10 * value + (size_t)(*rest - '0');
    }
    return value;
}

/* The memory itself: where there is none for a copy, and in a process that has given privileges up. That one belongs to
 * root in /proc (PR_SET_DUMPABLE), and may not open its own environ; stat may be opened by everyone, and tells the
 * process itself where that memory is. */
static struct text find_first_environment(void) {
    struct text text = {NULL, 0, 0};
    char line[1536]; /* 52 numbers */
    long fd = vgpu_raw6(SYS_openat, AT_FDCWD, (long)"/proc/self/stat", O_RDONLY | O_CLOEXEC, 0, 0, 0);
    long got = fd >= 0 ? vgpu_raw3(SYS_read, fd, (long)line, sizeof(line) - 1) : 0;
    if (fd >= 0) {
        vgpu_raw3(SYS_close, fd, 0, 0);
    }
    const char *rest = line + (got > 0 ? got : 0);
    line[rest - line] = '\0';
    while (rest > line && *rest != ')') {
        rest--; /* the name is the program's own choice, and may have any byte in it */
    }
    enum { ENV_START = 50, ENV_END = 51 };
    size_t start = stat_field(rest, ENV_START);
    size_t end = stat_field(rest, ENV_END);
    if (start != 0 && end > start) {
        text.start = (char *)start;
        text.length = end - start;
    }
    return text;
}

static struct text read_first_environment(void) {
    struct text text = {NULL, 0, 0};
    long fd = vgpu_raw6(SYS_openat, AT_FDCWD, (long)"/proc/self/environ", O_RDONLY | O_CLOEXEC, 0, 0, 0);
    if (fd < 0) {
        return find_first_environment();
    }
    text.size = 1 << 16;
    text.start = map(text.size);
    while (text.start != NULL) {
        long room = (long)(text.size - text.length - 1);
        long got = vgpu_raw3(SYS_read, fd, (long)text.start + (long)text.length, room);
        if (got <= 0) {
            break;
        }
        text.length += (size_t)got;
        if (got == room) {
            long size = (long)text.size;
            long moved = vgpu_raw6(SYS_mremap, (long)text.start, size, size * 2, MREMAP_MAYMOVE, 0, 0);
            if (moved < 0) {
                unmap(text.start, text.size);
            }
            text.start = moved < 0 ? NULL : (char *)moved;
            text.size *= 2;
        }
    }
    vgpu_raw3(SYS_close, fd, 0, 0);
    return text.start != NULL ? text : find_first_environment();
}

/* Notes the variable if it is one of ours. */
static void note(const char *found[VGPU_KEPT_VARIABLES], const char *variable) {
    for (int i = 0; i < VGPU_KEPT_VARIABLES; i++) {
        const char *value = vgpu_kept_value(variable, vgpu_kept_rows[i].name);
        if (value != NULL && (vgpu_kept_rows[i].last || found[i] == NULL)) {
            found[i] = *value != '\0' ? variable : NULL;
        }
    }
}

/* Where a title was written, there may be many NULs before what is left of the variables. */
static void note_all(const char *found[VGPU_KEPT_VARIABLES], const struct text *text) {
    for (size_t at = 0; at < text->length; at += vgpu_length(text->start + at) + 1) {
        note(found, text->start + at);
    }
    const char *now[VGPU_KEPT_VARIABLES] = {NULL};
    for (char **at = environ; at != NULL && *at != NULL; at++) {
        note(now, *at);
    }
    for (int i = 0; i < VGPU_KEPT_VARIABLES; i++) {
        found[i] = found[i] != NULL ? found[i] : now[i];
    }
}

static char *copy(char *to, const char *from, size_t length) {
    for (size_t i = 0; i < length; i++) {
        to[i] = from[i];
    }
    return to + length;
}

/* Does a library of the driver lie in the folder? A link that leads nowhere does, too: it is the program's to find. */
static int is_link_folder(const char *folder) {
    static const char *const names[] = {"libcuda.so.1", "libnvidia-ml.so.1"};
    struct stat facts;
    int found = 0;
    long fd = vgpu_raw6(SYS_openat, AT_FDCWD, (long)folder, O_PATH | O_DIRECTORY | O_CLOEXEC, 0, 0, 0);
    for (size_t i = 0; fd >= 0 && i < sizeof(names) / sizeof(names[0]); i++) {
        found |= vgpu_raw6(SYS_newfstatat, fd, (long)names[i], (long)&facts, AT_SYMLINK_NOFOLLOW, 0, 0) == 0;
    }
    if (fd >= 0) {
        vgpu_raw3(SYS_close, fd, 0, 0);
    }
    return found;
}

/* Writes the variable with its link folders alone to `to`. 0: it has none. */
static int copy_folders(char *to, const char *variable) {
    const struct vgpu_kept_row *row = &vgpu_kept_rows[VGPU_KEPT_FOLDERS];
    const char *value = vgpu_kept_value(variable, row->name);
    struct vgpu_list_entry entry;
    char *start = copy(to, variable, (size_t)(value - variable));
    char *end = start;
    while (vgpu_list_next(&value, row->separators, &entry)) {
        /* Written first, as the kernel wants a NUL behind it; then kept or forgotten. */
        char *at = end != start ? end + 1 : end;
        *copy(at, entry.start, entry.length) = '\0';
        if (is_link_folder(at)) {
            if (at != end) {
                *end = ':';
            }
            end = at + entry.length;
        }
    }
    *end = '\0';
    return end != start;
}

/* Room for what is kept; without memory a part of the library's own, which only the first to come has. */
static struct vgpu_kept *make_kept(size_t size) {
    static _Alignas(struct vgpu_kept) char reserve[1 << 13];
    static uint32_t is_taken;
    struct vgpu_kept *kept = map(size);
    if (kept != NULL) {
        kept->size = size;
    } else if (size <= sizeof(reserve) && __atomic_exchange_n(&is_taken, 1, __ATOMIC_ACQ_REL) == 0) {
        kept = (struct vgpu_kept *)reserve;
    }
    return kept;
}

static const struct vgpu_kept *compact(const char *const found[VGPU_KEPT_VARIABLES]) {
    size_t size = sizeof(struct vgpu_kept);
    for (int i = 0; i < VGPU_KEPT_VARIABLES; i++) {
        size += found[i] != NULL ? vgpu_length(found[i]) + 1 : 0;
    }
    struct vgpu_kept *kept = make_kept(size);
    if (kept == NULL) {
        return &vgpu_kept_unknown;
    }
    char *to = (char *)(kept + 1);
    for (int i = 0; i < VGPU_KEPT_VARIABLES; i++) {
        if (found[i] == NULL) {
            continue;
        }
        size_t length = vgpu_length(found[i]) + 1;
        int is_kept = 1;
        if (i == VGPU_KEPT_FOLDERS) {
            is_kept = copy_folders(to, found[i]);
        } else {
            copy(to, found[i], length);
        }
        kept->variables[i] = is_kept ? to : NULL;
        to += length;
    }
    return kept;
}

static const struct vgpu_kept *read_kept(void) {
    const char *found[VGPU_KEPT_VARIABLES] = {NULL};
    struct text text = read_first_environment();
    note_all(found, &text);
    const struct vgpu_kept *kept = found[VGPU_KEPT_HOST] != NULL ? compact(found) : &nothing;
    unmap(text.start, text.size);
    return kept;
}

const struct vgpu_kept *vgpu_kept(void) {
    const struct vgpu_kept *kept = __atomic_load_n(&published, __ATOMIC_ACQUIRE);
    if (kept == NULL) {
        kept = read_kept();
        const struct vgpu_kept *expected = NULL;
        if (kept != &vgpu_kept_unknown &&
            !__atomic_compare_exchange_n(&published, &expected, kept, 0, __ATOMIC_ACQ_REL, __ATOMIC_ACQUIRE)) {
            unmap(kept->size != 0 ? kept : NULL, kept->size);
            kept = expected;
        }
    }
    return kept != &nothing ? kept : NULL;
}

/* At dlclose; see the destructor of vgpu/process.c. */
static void __attribute__((destructor)) unload(void) {
    if (published != NULL && __libc_single_threaded) {
        const struct vgpu_kept *kept = published;
        published = NULL;
        unmap(kept->size != 0 ? kept : NULL, kept->size);
    }
}
