/* A cubin: an ELF file (machine 190) whose kernels are sections `.text.NAME`.
 *
 * NVIDIA documents neither these sections nor what is in `.nv.info`; facts are from the project CuAssembler: the number
 * of registers is the top byte of sh_info, `.nv.info.NAME` is a list of (form, attribute, 16-bit size or value). */
#include <elf.h>
#include <string.h>

#include "cuda/program.h"

enum {
    MACHINE_CUDA = 190,
    INFO_SIZED = 4, /* the form that has a payload of the size that follows */
    INFO_MAX_THREADS = 0x05,
    INFO_FRAME_SIZE = 0x11,
    INFO_PARAMETER = 0x17,
};

struct elf {
    struct vgpu_code code;
    Elf64_Ehdr header;
    const char *names;
    size_t names_size;
};

static int is_inside(const struct elf *elf, uint64_t offset, uint64_t size) {
    return offset <= elf->code.size && size <= elf->code.size - offset;
}

static int section(const struct elf *elf, size_t i, Elf64_Shdr *at) {
    uint64_t offset = elf->header.e_shoff + i * sizeof(*at);
    if (!is_inside(elf, offset, sizeof(*at))) {
        return 0;
    }
    memcpy(at, elf->code.bytes + offset, sizeof(*at));
    return at->sh_type == SHT_NOBITS || is_inside(elf, at->sh_offset, at->sh_size);
}

static const char *name_of(const struct elf *elf, uint32_t offset) {
    return offset < elf->names_size ? elf->names + offset : "";
}

/* What follows the prefix in a section's name, or NULL. */
static const char *after(const char *name, const char *prefix) {
    size_t length = strlen(prefix);
    return strncmp(name, prefix, length) == 0 ? name + length : NULL;
}

static void read_info(const struct elf *elf, const Elf64_Shdr *info, struct vgpu_kernel_facts *kernel) {
    const unsigned char *at = elf->code.bytes + info->sh_offset;
    const unsigned char *end = at + info->sh_size;
    while (end - at >= 4) {
        uint16_t size;
        memcpy(&size, at + 2, sizeof(size));
        size_t payload = at[0] == INFO_SIZED ? size : 0;
        if ((size_t)(end - at) < 4 + payload) {
            return;
        }
        uint32_t words[3] = {0, 0, 0};
        memcpy(words, at + 4, payload < sizeof(words) ? payload : sizeof(words));
        if (at[1] == INFO_PARAMETER && payload == sizeof(words)) {
            struct vgpu_parameter parameter = {words[1] >> 16, words[2] >> 18 & 0x3fff};
            kernel->parameters_known = vgpu_kernel_add_parameter(kernel, words[1] & 0xffff, parameter);
        }
        if (at[1] == INFO_MAX_THREADS && payload >= sizeof(words)) {
            kernel->max_threads = (int)(words[0] * words[1] * words[2]);
        }
        if (at[1] == INFO_FRAME_SIZE && payload >= 8) {
            kernel->local = (int)words[1];
        }
        at += 4 + payload;
    }
}

/* What another section says of a kernel that is there. */
static void read_more(const struct elf *elf, const Elf64_Shdr *at, const char *name, struct vgpu_program *program) {
    struct vgpu_kernel_facts *kernel;
    if (after(name, ".nv.info.") != NULL && at->sh_type != SHT_NOBITS) {
        kernel = vgpu_program_kernel(program, after(name, ".nv.info."));
        if (kernel != NULL) {
            read_info(elf, at, kernel);
        }
    } else if (after(name, ".nv.shared.") != NULL) {
        kernel = vgpu_program_kernel(program, after(name, ".nv.shared."));
        if (kernel != NULL) {
            kernel->shared = (int)at->sh_size;
        }
    }
}

/* Global symbols of .nv.global and .nv.global.init are the variables. */
static CUresult read_symbols(const struct elf *elf, const Elf64_Shdr *table, struct vgpu_program *program) {
    Elf64_Shdr strings;
    if (!section(elf, table->sh_link, &strings) || strings.sh_type == SHT_NOBITS || strings.sh_size == 0 ||
        elf->code.bytes[strings.sh_offset + strings.sh_size - 1] != 0) {
        return CUDA_ERROR_INVALID_IMAGE;
    }
    for (uint64_t i = 0; i < table->sh_size / sizeof(Elf64_Sym); i++) {
        Elf64_Sym symbol;
        Elf64_Shdr home;
        memcpy(&symbol, elf->code.bytes + table->sh_offset + i * sizeof(symbol), sizeof(symbol));
        int named = symbol.st_name < strings.sh_size && ELF64_ST_TYPE(symbol.st_info) == STT_OBJECT &&
                    symbol.st_shndx < SHN_LORESERVE && section(elf, symbol.st_shndx, &home);
        if (!named || after(name_of(elf, home.sh_name), ".nv.global") == NULL) {
            continue;
        }
        const char *name = (const char *)elf->code.bytes + strings.sh_offset + symbol.st_name;
        struct vgpu_variable *variable = vgpu_program_add_variable(program, name, strlen(name));
        if (variable == NULL) {
            return CUDA_ERROR_OUT_OF_MEMORY;
        }
        variable->size = symbol.st_size;
    }
    return CUDA_SUCCESS;
}

static CUresult read_sections(const struct elf *elf, struct vgpu_program *program) {
    Elf64_Shdr at;
    for (size_t i = 0; i < elf->header.e_shnum; i++) {
        if (!section(elf, i, &at)) {
            return CUDA_ERROR_INVALID_IMAGE;
        }
        const char *kernel = after(name_of(elf, at.sh_name), ".text.");
        if (kernel != NULL && kernel[0] != 0) {
            struct vgpu_kernel_facts *added = vgpu_program_add_kernel(program, kernel, strlen(kernel));
            if (added == NULL) {
                return CUDA_ERROR_OUT_OF_MEMORY;
            }
            added->registers = (int)(at.sh_info >> 24);
        }
    }
    for (size_t i = 0; i < elf->header.e_shnum; i++) {
        if (!section(elf, i, &at)) {
            return CUDA_ERROR_INVALID_IMAGE;
        }
        read_more(elf, &at, name_of(elf, at.sh_name), program);
        CUresult result = at.sh_type == SHT_SYMTAB ? read_symbols(elf, &at, program) : CUDA_SUCCESS;
        if (result != CUDA_SUCCESS) {
            return result;
        }
    }
    return CUDA_SUCCESS;
}

/* Up to ELF ABI version 7 the low byte of e_flags is the compute capability; later ones have it in the second byte. */
static int capability(const Elf64_Ehdr *header) {
    return header->e_ident[EI_ABIVERSION] <= 7 ? (int)(header->e_flags & 0xff) : (int)(header->e_flags >> 8 & 0xff);
}

CUresult vgpu_program_read_cubin(struct vgpu_code code, struct vgpu_program *program) {
    struct elf elf = {.code = code};
    if (code.size < sizeof(elf.header)) {
        return CUDA_ERROR_INVALID_IMAGE;
    }
    if (code.bytes[EI_CLASS] != ELFCLASS64 || code.bytes[EI_DATA] != ELFDATA2LSB) {
        return CUDA_ERROR_INVALID_IMAGE;
    }
    memcpy(&elf.header, code.bytes, sizeof(elf.header));
    if (elf.header.e_machine != MACHINE_CUDA || elf.header.e_shentsize != sizeof(Elf64_Shdr)) {
        return CUDA_ERROR_INVALID_IMAGE;
    }
    program->sm = capability(&elf.header);
    if (program->sm != 0 && (program->sm / 10 != code.sm / 10 || program->sm > code.sm)) {
        return CUDA_ERROR_NO_BINARY_FOR_GPU;
    }
    Elf64_Shdr names;
    if (!section(&elf, elf.header.e_shstrndx, &names) || names.sh_type != SHT_STRTAB || names.sh_size == 0 ||
        code.bytes[names.sh_offset + names.sh_size - 1] != 0) {
        return CUDA_ERROR_INVALID_IMAGE;
    }
    elf.names = (const char *)code.bytes + names.sh_offset;
    elf.names_size = names.sh_size;
    return read_sections(&elf, program);
}
