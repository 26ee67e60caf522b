/* libvgpu-audit.so, for LD_AUDIT: records every object that the dynamic linker maps into a process. A shim that never
 * gets a call is mapped all the same; this is who says so.
 *
 * The dynamic linker gives an auditor a namespace of its own. If it needed libc, a second libc would be mapped there
 * (measured: 100-200 us a start), so it needs none. It defines no la_symbind and no la_pltenter: those would change how
 * the program's calls are bound. */
#include <link.h>

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
    (void)space;
    (void)cookie;
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
    return 0; /* no symbol of this object is to be reported */
}
