/* Reads the dynamic sections of the objects on the dynamic linker's list, as the gABI and glibc's elf/dl-lookup.c have
 * it: DT_GNU_HASH or DT_HASH, DT_SYMTAB, DT_VERSYM, DT_VERDEF. */
#include "vgpu/next.h"

#include <link.h>
#include <stddef.h>
#include <stdint.h>

#include "vgpu/raw.h"

struct object {
    uintptr_t base;
    const char *strings;
    const ElfW(Sym) * symbols;
    const uint32_t *gnu_hash;
    const uint32_t *hash;
    const ElfW(Half) * versions;
    const ElfW(Verdef) * definitions;
};

/* glibc relocates the pointers of a dynamic section in place, but not all of them, nor those of a section that is read
 * only (the vDSO's). An offset is smaller than the address that the object was loaded at. */
static const void *address(const struct link_map *map, const ElfW(Dyn) * entry) {
    uintptr_t at = entry->d_un.d_ptr;
    return (const void *)(at < map->l_addr ? at + map->l_addr : at);
}

static struct object read_object(const struct link_map *map) {
    struct object object = {.base = map->l_addr};
    for (const ElfW(Dyn) *entry = map->l_ld; entry != NULL && entry->d_tag != DT_NULL; entry++) {
        const void *at = address(map, entry);
        if (entry->d_tag == DT_STRTAB) {
            object.strings = at;
        } else if (entry->d_tag == DT_SYMTAB) {
            object.symbols = at;
        } else if (entry->d_tag == DT_GNU_HASH) {
            object.gnu_hash = at;
        } else if (entry->d_tag == DT_HASH) {
            object.hash = at;
        } else if (entry->d_tag == DT_VERSYM) {
            object.versions = at;
        } else if (entry->d_tag == DT_VERDEF) {
            object.definitions = at;
        }
    }
    return object;
}

static const char *version_name(const struct object *object, unsigned int number) {
    const ElfW(Verdef) *definition = object->definitions;
    while (definition->vd_ndx != number) {
        if (definition->vd_next == 0) {
            return "";
        }
        definition = (const ElfW(Verdef) *)((const char *)definition + definition->vd_next);
    }
    const ElfW(Verdaux) *name = (const ElfW(Verdaux) *)((const char *)definition + definition->vd_aux);
    return object->strings + name->vda_name;
}

/* Numbers 0 and 1 are a symbol without a version; the top bit marks one that only those find who ask for its version.
 */
static int version_fits(const struct object *object, uint32_t symbol, const char *version) {
    if (object->versions == NULL || object->definitions == NULL) {
        return 1;
    }
    unsigned int number = object->versions[symbol] & 0x7fff;
    if (number <= 1 || version == NULL) {
        return number != 0 && (object->versions[symbol] & 0x8000) == 0;
    }
    return vgpu_same_text(version_name(object, number), version);
}

static void *defined(const struct object *object, uint32_t i, const char *name, const char *version) {
    const ElfW(Sym) *symbol = &object->symbols[i];
    unsigned int type = ELF64_ST_TYPE(symbol->st_info);
    if (symbol->st_shndx == SHN_UNDEF || symbol->st_value == 0 || (type != STT_FUNC && type != STT_NOTYPE) ||
        !vgpu_same_text(object->strings + symbol->st_name, name) || !version_fits(object, i, version)) {
        return NULL;
    }
    return (void *)(object->base + symbol->st_value);
}

static void *find_gnu(const struct object *object, const char *name, const char *version) {
    uint32_t hash = 5381;
    for (const char *at = name; *at != '\0'; at++) {
        hash = hash * 33 + (unsigned char)*at;
    }
    uint32_t buckets = object->gnu_hash[0];
    uint32_t first = object->gnu_hash[1];
    const uint32_t *bucket = object->gnu_hash + 4 + (size_t)object->gnu_hash[2] * (sizeof(ElfW(Addr)) / 4);
    const uint32_t *chain = bucket + buckets;
    uint32_t i = buckets != 0 ? bucket[hash % buckets] : 0;
    if (i < first) {
        return NULL;
    }
    for (;; i++) {
        uint32_t entry = chain[i - first];
        void *found = (entry | 1) == (hash | 1) ? defined(object, i, name, version) : NULL;
        if (found != NULL || (entry & 1) != 0) {
            return found;
        }
    }
}

static void *find_sysv(const struct object *object, const char *name, const char *version) {
    uint32_t symbols = object->hash[1];
    for (uint32_t i = 1; i < symbols; i++) {
        void *found = defined(object, i, name, version);
        if (found != NULL) {
            return found;
        }
    }
    return NULL;
}

/* The first object from `map` on that defines the name, or NULL; *found is where. */
static const struct link_map *find_from(const struct link_map *map, const char *name, const char *version,
                                        void **found) {
    for (; map != NULL; map = map->l_next) {
        struct object object = read_object(map);
        if (map->l_ld == _DYNAMIC || object.strings == NULL || object.symbols == NULL) {
            continue;
        }
        *found = object.gnu_hash != NULL ? find_gnu(&object, name, version)
                 : object.hash != NULL   ? find_sysv(&object, name, version)
                                         : NULL;
        if (*found != NULL) {
            return map;
        }
    }
    return NULL;
}

static const struct link_map *find(const char *name, const char *version, void **found) {
    const struct link_map *own = _r_debug.r_map;
    while (own != NULL && own->l_ld != _DYNAMIC) {
        own = own->l_next;
    }
    const struct link_map *map = own != NULL ? find_from(own->l_next, name, version, found) : NULL;
    /* A library that was opened later stands behind libc. */
    return map != NULL ? map : find_from(_r_debug.r_map, name, version, found);
}

void *vgpu_next(const char *name, const char *version) {
    void *found = NULL;
    find(name, version, &found);
    return found;
}

int vgpu_next_is_libcs(const char *name) {
    void *found = NULL;
    const struct link_map *map = find(name, NULL, &found);
    return map != NULL && map == find("gnu_get_libc_version", NULL, &found);
}
