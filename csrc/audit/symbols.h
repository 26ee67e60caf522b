/* Which symbols a mapped object defines, by its own dynamic section and hash table (the ELF specification; DT_GNU_HASH
 * as GNU ld writes it). No libc symbol: this runs inside the dynamic linker. */
#ifndef VGPU_AUDIT_SYMBOLS_H
#define VGPU_AUDIT_SYMBOLS_H

#include <link.h>
#include <stdint.h>

/* What there is to be known of an object's symbols. */
struct vgpu_symbols {
    uintptr_t base; /* load address */
    const Elf64_Sym *symbols;
    const char *texts;
    const Elf64_Versym *versions; /* NULL: they have none */
    const uint32_t *hash;         /* DT_GNU_HASH; NULL: there is none, so nothing can be said */
};

struct vgpu_symbols vgpu_symbols_of(const struct link_map *map);

/* The hash of a name in such a table. */
uint32_t vgpu_symbol_hash(const char *name);

/* The symbol of this name that the object defines, or NULL. Of two versions that with `hidden` (VERSYM_HIDDEN: no call
 * of a newly linked program is bound to it), or without, is preferred. */
const Elf64_Sym *vgpu_symbol_find(const struct vgpu_symbols *object, const char *name, uint32_t hash, int hidden);

/* 1: symbol `i` is of a version that has been superseded. */
int vgpu_symbol_is_hidden(const struct vgpu_symbols *object, uint32_t i);

#endif
