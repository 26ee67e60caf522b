#include "audit/symbols.h"

#include <stddef.h>

#include "vgpu/raw.h"

enum { VERSION_HIDDEN = 0x8000 }; /* VERSYM_HIDDEN of the GNU version section */

/* glibc has put the load address into an object's pointers by then, where the section is writable. */
static const void *pointer_to(const struct link_map *map, uintptr_t value) {
    return (const void *)(value < map->l_addr ? value + map->l_addr : value);
}

struct vgpu_symbols vgpu_symbols_of(const struct link_map *map) {
    struct vgpu_symbols found = {.base = map->l_addr};
    for (const Elf64_Dyn *at = map->l_ld; at != NULL && at->d_tag != DT_NULL; at++) {
        const void *to = pointer_to(map, at->d_un.d_ptr);
        if (at->d_tag == DT_SYMTAB) {
            found.symbols = to;
        } else if (at->d_tag == DT_STRTAB) {
            found.texts = to;
        } else if (at->d_tag == DT_VERSYM) {
            found.versions = to;
        } else if (at->d_tag == DT_GNU_HASH) {
            found.hash = to;
        }
    }
    return found;
}

uint32_t vgpu_symbol_hash(const char *name) {
    uint32_t hash = 5381;
    for (const unsigned char *at = (const unsigned char *)name; *at != '\0'; at++) {
        hash = hash * 33 + *at;
    }
    return hash;
}

int vgpu_symbol_is_hidden(const struct vgpu_symbols *object, uint32_t i) {
    return object->versions != NULL && (object->versions[i] & VERSION_HIDDEN) != 0;
}

const Elf64_Sym *vgpu_symbol_find(const struct vgpu_symbols *object, const char *name, uint32_t hash, int hidden) {
    if (object->hash == NULL) {
        return NULL;
    }
    /* buckets, first symbol, words of the filter, its shift; then the filter, the buckets and the chains */
    uint32_t buckets = object->hash[0];
    uint32_t first = object->hash[1];
    uint32_t words = object->hash[2];
    const uint64_t *filter = (const uint64_t *)(const void *)(object->hash + 4);
    const uint32_t *bucket = (const uint32_t *)(const void *)(filter + words);
    const uint32_t *chain = bucket + buckets;
    uint64_t word = filter[hash / 64 % words];
    if ((word >> hash % 64 & word >> (hash >> object->hash[3]) % 64 & 1) == 0 || buckets == 0) {
        return NULL;
    }
    const Elf64_Sym *found = NULL;
    for (uint32_t i = bucket[hash % buckets]; i >= first; i++) {
        uint32_t other = chain[i - first];
        const Elf64_Sym *symbol = &object->symbols[i];
        if ((other | 1) == (hash | 1) && symbol->st_shndx != SHN_UNDEF &&
            vgpu_same_text(object->texts + symbol->st_name, name)) {
            found = symbol;
            if (vgpu_symbol_is_hidden(object, i) == hidden) {
                break;
            }
        }
        if ((other & 1) != 0) {
            break; /* the last of its chain */
        }
    }
    return found;
}
