/* Pointers to functions in an object's data, and calls without a PLT entry: the dynamic linker binds them without a
 * word to its auditor. */
#ifndef VGPU_AUDIT_POINTERS_H
#define VGPU_AUDIT_POINTERS_H

#include <link.h>
#include <stdint.h>

/* Where a name that an object asks for is to lead to; 0: where the linker finds it. */
typedef uintptr_t vgpu_pointer_target(const struct link_map *map, const char *name, uint32_t hash);

/* Has the linker, which is about to relocate the object, put `target`'s answers into its pointers. */
void vgpu_pointers_lead(const struct link_map *map, vgpu_pointer_target *target);

#endif
