/* libvgpu-audit.so, for LD_AUDIT: records every object that the dynamic linker maps into a process. A shim that never
 * gets a call is mapped all the same; this is who says so.
 *
 * The dynamic linker gives an auditor a namespace of its own. If it needed libc, a second libc would be mapped there
 * (measured: 100-200 us a start), so it needs none. It defines no la_pltenter and no la_pltexit: with those every call
 * through a PLT costs 20-50 ns, and a program that is linked to be bound at its start is bound lazily. */
#include <link.h>

#include "audit/lead.h"
#include "vgpu/environment.h"
#include "vgpu/raw.h"
#include "vgpu/trace.h"

#define VGPU_EXPORT __attribute__((visibility("default")))

static struct vgpu_trace trace;

VGPU_EXPORT unsigned int la_version(unsigned int offered) {
    char path[4096];
    if (vgpu_first_environment("VGPU_TRACE", path, sizeof(path)) == 0 || vgpu_trace_open(&trace, path) != 0) {
        return 0; /* ld.so then drops the auditor: nothing to write to */
    }
    return offered < LAV_CURRENT ? offered : LAV_CURRENT;
}

VGPU_EXPORT unsigned int la_objopen(struct link_map *map, Lmid_t space, uintptr_t *cookie) {
    char program[4096];
    const char *path = map->l_name;
    if (path == NULL || *path == '\0') {
        long got = vgpu_raw3(SYS_readlink, (long)"/proc/self/exe", (long)program, sizeof(program) - 1);
        program[got > 0 ? got : 0] = '\0';
        path = program;
    }
    struct vgpu_event event = {
        .kind = VGPU_RECORD_MAPPED,
        .library = VGPU_LIBRARY_AUDIT,
        .inputs = 1,
        .in = {map->l_addr},
        .text = path,
    };
    vgpu_trace_write(&trace, &event);
    return vgpu_lead_mapped(map, space, path, cookie);
}

VGPU_EXPORT void la_preinit(uintptr_t *cookie) {
    (void)cookie;
    vgpu_lead_started();
}

VGPU_EXPORT void la_activity(uintptr_t *cookie, unsigned int flag) {
    (void)cookie;
    if (flag == LA_ACT_CONSISTENT) {
        vgpu_lead_opened();
    }
}

VGPU_EXPORT unsigned int la_objclose(uintptr_t *cookie) {
    vgpu_lead_unmapped(cookie);
    return 0;
}

/* Where the linker asks: an object that was opened after the start binds a call to libc, and any dlsym or dlvsym that
 * libc has the answer to. */
VGPU_EXPORT uintptr_t la_symbind64(Elf64_Sym *symbol, unsigned int i, uintptr_t *from, uintptr_t *to,
                                   unsigned int *flags, const char *name) {
    (void)flags;
    return vgpu_lead(*from, *to, i, name, symbol->st_value);
}
