/* Leads look-ups that pass the preloaded shims by back to them: dlsym of libc's own handle, look-ups with a version, a
 * library that was opened RTLD_DEEPBIND, libraries and a libc in a namespace of their own. */
#ifndef VGPU_AUDIT_LEAD_H
#define VGPU_AUDIT_LEAD_H

#include <link.h>
#include <stdint.h>

/* An object is mapped: what is to be reported of it (LA_FLG_*); its cookie says from now on what it is. */
unsigned int vgpu_lead_mapped(struct link_map *map, Lmid_t space, const char *path, uintptr_t *cookie);

/* An object is gone. */
void vgpu_lead_unmapped(const uintptr_t *cookie);

/* What the program started with is mapped; what comes now is opened by it. */
void vgpu_lead_started(void);

/* All that a dlopen needs is mapped, and is relocated next. */
void vgpu_lead_opened(void);

/* Where a binding leads to that the linker has resolved to `found`: there, or into a shim.
 *
 *   from   cookie of the object that asks
 *   to     cookie of the object that has been found, whose symbol `i` it is */
uintptr_t vgpu_lead(uintptr_t from, uintptr_t to, uint32_t i, const char *name, uintptr_t found);

#endif
