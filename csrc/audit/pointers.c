/* A relocation that names a function becomes one that gives an address (R_X86_64_RELATIVE): the linker then asks
 * nobody. The table is read-only; its pages are made writable for the moment, each process having its own copy then. */
#include "audit/pointers.h"

#include <stddef.h>
#include <sys/mman.h>

#include "audit/symbols.h"
#include "vgpu/raw.h"

enum { PAGE = 4096 };

struct table {
    Elf64_Rela *rows;
    uint64_t count;
};

static struct table table_of(const struct link_map *map) {
    struct table table = {NULL, 0};
    for (const Elf64_Dyn *at = map->l_ld; at != NULL && at->d_tag != DT_NULL; at++) {
        if (at->d_tag == DT_RELA) {
            uintptr_t value = at->d_un.d_ptr;
            table.rows = (Elf64_Rela *)(value < map->l_addr ? value + map->l_addr : value);
        } else if (at->d_tag == DT_RELASZ) {
            table.count = at->d_un.d_val / sizeof(Elf64_Rela);
        }
    }
    return table;
}

/* How the pages at `address` are mapped (PROT_*), by the program headers; 0: they do not say. */
static int protection_of(const struct link_map *map, uintptr_t address) {
    unsigned char resident;
    const Elf64_Ehdr *header = (const Elf64_Ehdr *)map->l_addr;
    /* An object need not begin at its load address: nothing may be mapped there. */
    if (map->l_addr == 0 || vgpu_raw3(SYS_mincore, (long)map->l_addr, PAGE, (long)&resident) != 0 ||
        header->e_ident[EI_MAG0] != ELFMAG0) {
        return 0;
    }
    const Elf64_Phdr *segments = (const Elf64_Phdr *)(map->l_addr + header->e_phoff);
    for (int i = 0; i < header->e_phnum; i++) {
        uintptr_t start = map->l_addr + segments[i].p_vaddr;
        if (segments[i].p_type == PT_LOAD && address >= start && address - start < segments[i].p_memsz) {
            uint32_t flags = segments[i].p_flags;
            return (flags & PF_R ? PROT_READ : 0) | (flags & PF_W ? PROT_WRITE : 0) | (flags & PF_X ? PROT_EXEC : 0);
        }
    }
    return 0;
}

static void replace(const struct link_map *map, Elf64_Rela *row, uintptr_t target) {
    uintptr_t first = (uintptr_t)row & ~(uintptr_t)(PAGE - 1);
    uintptr_t size = (uintptr_t)(row + 1) - first;
    int protection = protection_of(map, (uintptr_t)row);
    /* What has been written to may not become executable again where SELinux says so, and code may lie there. */
    if ((protection & PROT_READ) == 0 || (protection & PROT_EXEC) != 0 ||
        vgpu_raw3(SYS_mprotect, (long)first, (long)size, PROT_READ | PROT_WRITE) != 0) {
        return;
    }
    int64_t addend = ELF64_R_TYPE(row->r_info) == R_X86_64_64 ? row->r_addend : 0;
    row->r_info = ELF64_R_INFO(0, R_X86_64_RELATIVE);
    row->r_addend = (int64_t)(target - map->l_addr) + addend;
    vgpu_raw3(SYS_mprotect, (long)first, (long)size, protection);
}

void vgpu_pointers_lead(const struct link_map *map, vgpu_pointer_target *target) {
    struct table table = table_of(map);
    struct vgpu_symbols own = vgpu_symbols_of(map);
    if (table.rows == NULL || own.symbols == NULL || own.texts == NULL) {
        return;
    }
    for (uint64_t i = 0; i < table.count; i++) {
        uint64_t type = ELF64_R_TYPE(table.rows[i].r_info);
        const Elf64_Sym *symbol = &own.symbols[ELF64_R_SYM(table.rows[i].r_info)];
        if ((type != R_X86_64_GLOB_DAT && type != R_X86_64_64) || symbol->st_shndx != SHN_UNDEF) {
            continue;
        }
        const char *name = own.texts + symbol->st_name;
        uintptr_t leads_to = *name != '\0' ? target(map, name, vgpu_symbol_hash(name)) : 0;
        if (leads_to != 0) {
            replace(map, &table.rows[i], leads_to);
        }
    }
}
