/* The rules. What a program finds by the usual search is left alone: a preloaded library comes first there, as it
 * should. What is found in libc all the same has been looked for there, and is answered by the shim that has the name:
 *
 *   - not if a shim asks: it looks for the real function;
 *   - not if the object that asks defines the name: it stands in front of libc as the shims do, and means what is
 *     behind it; ours may be before it, and would call it again;
 *   - not if an object between the shim and libc defines the name, for the same reason: so the shim's own real function
 *     is libc's, and no circle can close;
 *   - of another namespace's libc only what deals in numbers: its streams and its memory are not those of the libc that
 *     the shim calls. A caller there has an errno of its own, too, which is seen to (elsewhere.c).
 *
 * What the linker does not report, pointers in data and calls without a PLT entry, is led before it relocates an object
 * (pointers.c): of each, as only some are opened RTLD_DEEPBIND and the linker does not tell which. For the others the
 * shim is what they would find, which is asked; and a name that any other object defines is left alone. */
#include "audit/lead.h"

#include <stddef.h>

#include "audit/elsewhere.h"
#include "audit/numeric.h"
#include "audit/pointers.h"
#include "audit/symbols.h"
#include "audit/texts.h"
#include "vgpu/raw.h"

/* In the low bits of a cookie, which is the address of the object's link map, and that is aligned. */
enum { IS_SHIM = 1, IS_LIBC = 2, IS_ELSEWHERE = 4, KINDS = 7 };

enum { TARGETS = 2 };

static const char *const target_files[TARGETS] = {"libvgpu-exec.so", "libvgpu-syscall.so"};

/* The shims that have functions of libc, as they were preloaded; NULL: not there. Written while the program starts. */
static const struct link_map *targets[TARGETS];
static struct vgpu_symbols target_symbols[TARGETS];
static int started;

/* The program's libc. */
static const struct link_map *own_libc;

/* Opened, and not relocated yet: the linker does that for one dlopen at a time. What there is no room for is not led.
 */
enum { FRESH = 256 };
static const struct link_map *fresh[FRESH];
static int fresh_count;

static const struct link_map *map_of(uintptr_t cookie) {
    return (const struct link_map *)(cookie & ~(uintptr_t)KINDS);
}

unsigned int vgpu_lead_mapped(struct link_map *map, Lmid_t space, const char *path, uintptr_t *cookie) {
    const char *file = vgpu_file_of(path);
    uintptr_t kind = space == LM_ID_BASE ? 0 : IS_ELSEWHERE;
    unsigned int report = started ? LA_FLG_BINDFROM : 0;
    if (vgpu_same_text(file, "libc.so.6")) {
        own_libc = kind == 0 ? map : own_libc;
        kind |= IS_LIBC;
        report = LA_FLG_BINDTO;
    } else if (vgpu_starts(file, "libvgpu-")) {
        kind |= IS_SHIM;
        report = 0;
    }
    for (int i = 0; i < TARGETS && !started && kind == IS_SHIM; i++) {
        if (targets[i] == NULL && vgpu_same_text(file, target_files[i])) {
            target_symbols[i] = vgpu_symbols_of(map);
            targets[i] = map;
        }
    }
    if (started && kind == 0 && fresh_count < FRESH) {
        fresh[fresh_count++] = map;
    }
    *cookie = (uintptr_t)map | kind;
    return report;
}

void vgpu_lead_unmapped(const uintptr_t *cookie) {
    for (int i = 0; i < TARGETS; i++) {
        if (targets[i] != NULL && targets[i] == map_of(*cookie)) {
            targets[i] = NULL;
        }
    }
    for (int i = 0; i < fresh_count; i++) {
        fresh[i] = fresh[i] == map_of(*cookie) ? NULL : fresh[i];
    }
    if ((*cookie & IS_LIBC) != 0 && (*cookie & IS_ELSEWHERE) != 0) {
        vgpu_elsewhere_close(map_of(*cookie));
    }
}

void vgpu_lead_started(void) {
    started = 1;
}

/* 1: an object behind `shim` has the name, before libc does. */
static int is_chained(const struct link_map *shim, const char *name, uint32_t hash) {
    for (const struct link_map *at = shim->l_next; at != NULL; at = at->l_next) {
        const char *file = vgpu_file_of(at->l_name);
        if (vgpu_same_text(file, "libc.so.6")) {
            return 0;
        }
        struct vgpu_symbols object = vgpu_symbols_of(at);
        if (!vgpu_starts(file, "libvgpu-") &&
            (object.hash == NULL || vgpu_symbol_find(&object, name, hash, 0) != NULL)) {
            return 1;
        }
    }
    return 1; /* no libc behind it: not as we know it */
}

/* 1: what `from` has found in the libc `to` is answered by `shim`, which has the name. */
static int is_led(uintptr_t from, uintptr_t to, const struct link_map *shim, const char *name, uint32_t hash) {
    struct vgpu_symbols asker = vgpu_symbols_of(map_of(from));
    if ((to & IS_ELSEWHERE) != 0 && !vgpu_numeric(name)) {
        return 0;
    }
    return asker.hash != NULL && vgpu_symbol_find(&asker, name, hash, 0) == NULL && !is_chained(shim, name, hash);
}

uintptr_t vgpu_lead(uintptr_t from, uintptr_t to, uint32_t i, const char *name, uintptr_t found) {
    if ((to & IS_LIBC) == 0 || (from & IS_SHIM) != 0) {
        return found;
    }
    uint32_t hash = vgpu_symbol_hash(name);
    for (int n = 0; n < TARGETS; n++) {
        const struct link_map *shim = targets[n];
        if (shim == NULL || vgpu_symbol_find(&target_symbols[n], name, hash, 0) == NULL) {
            continue;
        }
        struct vgpu_symbols libc = vgpu_symbols_of(map_of(to));
        const Elf64_Sym *symbol = vgpu_symbol_find(&target_symbols[n], name, hash, vgpu_symbol_is_hidden(&libc, i));
        if (!is_led(from, to, shim, name, hash)) {
            return found;
        }
        uintptr_t function = target_symbols[n].base + symbol->st_value;
        uintptr_t led = (from & IS_ELSEWHERE) != 0 ? vgpu_elsewhere(function, own_libc, map_of(to)) : function;
        return led != 0 ? led : found;
    }
    return found;
}

/* 1: an object of the program's namespace that is neither libc nor a shim defines the name; or may do so. */
static int is_anothers(const struct link_map *map, const char *name, uint32_t hash) {
    while (map->l_prev != NULL) {
        map = map->l_prev;
    }
    for (; map != NULL; map = map->l_next) {
        const char *file = vgpu_file_of(map->l_name);
        if (vgpu_same_text(file, "libc.so.6") || vgpu_starts(file, "libvgpu-") || vgpu_starts(file, "linux-vdso")) {
            continue;
        }
        struct vgpu_symbols object = vgpu_symbols_of(map);
        if (object.hash == NULL || vgpu_symbol_find(&object, name, hash, 0) != NULL) {
            return 1;
        }
    }
    return 0;
}

/* Which of two versions a pointer is to have, its object's own tables would have to say: those names are left alone. */
static int has_two_versions(const char *name, uint32_t hash) {
    struct vgpu_symbols libc = vgpu_symbols_of(own_libc);
    return vgpu_symbol_find(&libc, name, hash, 0) != vgpu_symbol_find(&libc, name, hash, 1);
}

static uintptr_t pointer_target(const struct link_map *map, const char *name, uint32_t hash) {
    for (int n = 0; n < TARGETS; n++) {
        const Elf64_Sym *symbol = targets[n] == NULL ? NULL : vgpu_symbol_find(&target_symbols[n], name, hash, 0);
        if (symbol != NULL) {
            return has_two_versions(name, hash) || is_anothers(map, name, hash)
                       ? 0
                       : target_symbols[n].base + symbol->st_value;
        }
    }
    return 0;
}

void vgpu_lead_opened(void) {
    for (int i = 0; i < fresh_count && own_libc != NULL; i++) {
        if (fresh[i] != NULL) {
            vgpu_pointers_lead(fresh[i], pointer_target);
        }
    }
    fresh_count = 0;
}
