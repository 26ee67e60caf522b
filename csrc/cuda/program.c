/* Code of a program: which form it has, and the fat binary, which has several of them in it.
 *
 * The layout of a fat binary is not documented by NVIDIA; that of container and entries is as read from libggml-cuda.so
 * of CUDA 13 and as the project cuda-fatbin-decompression describes it. */
#include "cuda/program.h"
#include "vgpu/raw.h"

#include <elf.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/uio.h>
#include <unistd.h>

#define WRAPPER_MAGIC 0x466243b1u
#define FATBIN_MAGIC 0xba55ed50u
#define IMAGE_MAX ((uint64_t)4 << 30) /* bytes; what says that it is larger makes no sense */

enum {
    ENTRY_PTX = 1,
    ENTRY_CUBIN = 2,
    ENTRY_COMPRESSED = 0xa000, /* 0x2000: LZ4, 0x8000: Zstandard */
    PARAMETERS_MAX = 4096,
};

/* What nvcc leaves for the runtime to register: where the fat binary is. */
struct wrapper {
    uint32_t magic;
    uint32_t version;
    const void *data;
    const void *more;
};

struct container {
    uint32_t magic;
    uint16_t version;
    uint16_t header_size;
    uint64_t size; /* of the entries */
};

struct entry {
    uint16_t kind;
    uint16_t unknown;
    uint32_t header_size;
    uint64_t size;
    uint32_t compressed_size;
    uint32_t options;
    uint16_t minor;
    uint16_t major;
    uint32_t sm;
    uint32_t name[2];
    uint64_t flags;
};

static_assert(sizeof(struct container) == 16, "as read from libggml-cuda.so");
static_assert(offsetof(struct entry, flags) == 40, "as read from libggml-cuda.so");

void vgpu_program_drop(struct vgpu_program *program) {
    if (--program->users > 0) {
        return;
    }
    for (size_t i = 0; i < program->kernel_count; i++) {
        free(program->kernels[i]->name);
        free(program->kernels[i]->parameters);
        free(program->kernels[i]);
    }
    for (size_t i = 0; i < program->variable_count; i++) {
        free(program->variables[i].name);
    }
    free(program->kernels);
    free(program->variables);
    free(program);
}

struct vgpu_kernel_facts *vgpu_program_kernel(struct vgpu_program *program, const char *name) {
    for (size_t i = 0; i < program->kernel_count; i++) {
        if (strcmp(program->kernels[i]->name, name) == 0) {
            return program->kernels[i];
        }
    }
    return NULL;
}

struct vgpu_kernel_facts *vgpu_program_add_kernel(struct vgpu_program *program, const char *name, size_t length) {
    char *copy = strndup(name, length);
    struct vgpu_kernel_facts *found = copy != NULL ? vgpu_program_kernel(program, copy) : NULL;
    if (found != NULL || copy == NULL) {
        free(copy);
        return found;
    }
    struct vgpu_kernel_facts *kernel = calloc(1, sizeof(*kernel));
    struct vgpu_kernel_facts **kernels =
        realloc(program->kernels, (program->kernel_count + 1) * sizeof(struct vgpu_kernel_facts *));
    if (kernels != NULL) {
        program->kernels = kernels;
    }
    if (kernel == NULL || kernels == NULL) {
        free(kernel);
        free(copy);
        return NULL;
    }
    kernel->name = copy;
    kernels[program->kernel_count++] = kernel;
    return kernel;
}

struct vgpu_variable *vgpu_program_add_variable(struct vgpu_program *program, const char *name, size_t length) {
    char *copy = strndup(name, length);
    struct vgpu_variable *variables =
        realloc(program->variables, (program->variable_count + 1) * sizeof(*program->variables));
    if (variables != NULL) {
        program->variables = variables;
    }
    if (copy == NULL || variables == NULL) {
        free(copy);
        return NULL;
    }
    variables[program->variable_count] = (struct vgpu_variable){.name = copy};
    return &variables[program->variable_count++];
}

int vgpu_kernel_add_parameter(struct vgpu_kernel_facts *kernel, size_t index, struct vgpu_parameter parameter) {
    if (index >= PARAMETERS_MAX) {
        return 0;
    }
    if (index >= kernel->parameter_count) {
        struct vgpu_parameter *parameters = realloc(kernel->parameters, (index + 1) * sizeof(*parameters));
        if (parameters == NULL) {
            return 0;
        }
        memset(parameters + kernel->parameter_count, 0, (index + 1 - kernel->parameter_count) * sizeof(*parameters));
        kernel->parameters = parameters;
        kernel->parameter_count = index + 1;
    }
    kernel->parameters[index] = parameter;
    return 1;
}

static uint32_t word_at(struct vgpu_code code) {
    uint32_t word = 0;
    /* Byte by byte: an image that is a short text may end before. */
    for (size_t i = 0; i < sizeof(word) && i < code.size; i++) {
        word |= (uint32_t)code.bytes[i] << 8 * i;
        if (code.bytes[i] == 0) {
            return i == sizeof(word) - 1 ? word : 0;
        }
    }
    return word;
}

static int is_cubin(struct vgpu_code code) {
    return word_at(code) == 0x464c457fu;
}

/* A cubin runs on devices of its generation that are as new as it is; PTX is compiled for any newer device (CUDA C++
 * Programming Guide, binary and PTX compatibility). */
static int fits(int kind, int sm, int device) {
    return kind == ENTRY_PTX ? sm <= device : sm / 10 == device / 10 && sm <= device;
}

struct choice {
    struct vgpu_code code;
    struct entry entry;
};

/* The newest cubin that fits, or else the newest PTX. */
static CUresult choose(struct vgpu_code code, struct choice *choice) {
    struct container container;
    memcpy(&container, code.bytes, sizeof(container));
    if (container.version != 1 || container.header_size < sizeof(container) || container.header_size > code.size ||
        container.size > code.size - container.header_size) {
        return CUDA_ERROR_INVALID_IMAGE;
    }
    const unsigned char *at = code.bytes + container.header_size;
    const unsigned char *end = at + container.size;
    while (at < end) {
        struct entry entry;
        if ((size_t)(end - at) < sizeof(entry)) {
            return CUDA_ERROR_INVALID_IMAGE;
        }
        memcpy(&entry, at, sizeof(entry));
        size_t room = (size_t)(end - at);
        if (entry.header_size < sizeof(entry) || entry.header_size > room || entry.size > room - entry.header_size) {
            return CUDA_ERROR_INVALID_IMAGE;
        }
        int better =
            entry.kind > choice->entry.kind || (entry.kind == choice->entry.kind && entry.sm > choice->entry.sm);
        if ((entry.kind == ENTRY_PTX || entry.kind == ENTRY_CUBIN) && better && entry.sm < 10000 &&
            fits(entry.kind, (int)entry.sm, code.sm)) {
            *choice = (struct choice){{at + entry.header_size, entry.size, code.sm}, entry};
        }
        at += entry.header_size + entry.size;
    }
    return choice->entry.kind != 0 ? CUDA_SUCCESS : CUDA_ERROR_NO_BINARY_FOR_GPU;
}

static CUresult read_fatbin(struct vgpu_code code, struct vgpu_program *program) {
    struct choice choice = {{NULL, 0, 0}, {0}};
    CUresult refusal = choose(code, &choice);
    if (refusal != CUDA_SUCCESS) {
        return refusal;
    }
    program->sm = (int)choice.entry.sm;
    if ((choice.entry.flags & ENTRY_COMPRESSED) != 0) {
        program->is_opaque = 1;
        program->ptx_version = choice.entry.kind == ENTRY_PTX ? 10 * choice.entry.major + choice.entry.minor : 0;
        return CUDA_SUCCESS;
    }
    return choice.entry.kind == ENTRY_CUBIN ? vgpu_program_read_cubin(choice.code, program)
                                            : vgpu_program_read_ptx(choice.code, program);
}

/* Out of memory whose size nobody has told: 1, or 0 where it ends earlier. The kernel looks; where it may not
 * (process_vm_readv refused), so do we. */
static int fetch(void *to, const void *from, size_t size) {
    struct iovec here = {to, size};
    struct iovec there = {(void *)(uintptr_t)from, size};
    long done = vgpu_raw6(SYS_process_vm_readv, getpid(), (long)&here, 1, (long)&there, 1, 0);
    if (done == -EPERM || done == -ENOSYS) {
        memcpy(to, from, size);
        done = (long)size;
    }
    return done >= 0 && (size_t)done == size;
}

/* How large a cubin says that it is: where its last section ends, or its table of them. 0: it makes no sense. */
static size_t size_of_cubin(const unsigned char *bytes) {
    Elf64_Ehdr header;
    if (!fetch(&header, bytes, sizeof(header)) || header.e_shoff > IMAGE_MAX) {
        return 0;
    }
    uint64_t size = header.e_shoff + (uint64_t)header.e_shnum * sizeof(Elf64_Shdr);
    for (size_t i = 0; i < header.e_shnum; i++) {
        Elf64_Shdr section;
        if (!fetch(&section, bytes + header.e_shoff + i * sizeof(section), sizeof(section)) ||
            section.sh_offset > IMAGE_MAX || section.sh_size > IMAGE_MAX) {
            return 0;
        }
        uint64_t end = section.sh_offset + (section.sh_type != SHT_NOBITS ? section.sh_size : 0);
        size = end > size ? end : size;
    }
    return size <= IMAGE_MAX ? size : 0;
}

static size_t size_of_fatbin(const unsigned char *bytes) {
    struct container container;
    int known = fetch(&container, bytes, sizeof(container)) && container.size <= IMAGE_MAX;
    return known ? container.header_size + container.size : 0;
}

static CUresult read_sized(struct vgpu_code code, struct vgpu_program *program) {
    if (word_at(code) == FATBIN_MAGIC && code.size >= sizeof(struct container)) {
        return read_fatbin(code, program);
    }
    return vgpu_program_read_cubin(code, program);
}

static CUresult read_unsized(struct vgpu_code code, struct vgpu_program *program) {
    size_t size = word_at(code) == FATBIN_MAGIC ? size_of_fatbin(code.bytes) : size_of_cubin(code.bytes);
    unsigned char *copy = size > 0 ? malloc(size) : NULL;
    if (copy == NULL) {
        return size > 0 ? CUDA_ERROR_OUT_OF_MEMORY : CUDA_ERROR_INVALID_IMAGE;
    }
    CUresult result = CUDA_ERROR_INVALID_IMAGE;
    if (fetch(copy, code.bytes, size)) {
        result = read_sized((struct vgpu_code){copy, size, code.sm}, program);
    }
    free(copy);
    return result;
}

static CUresult read_any(struct vgpu_code code, struct vgpu_program *program) {
    if (word_at(code) == WRAPPER_MAGIC && code.size >= sizeof(struct wrapper)) {
        struct wrapper wrapper;
        uint32_t inner;
        if (!fetch(&wrapper, code.bytes, sizeof(wrapper)) || !fetch(&inner, wrapper.data, sizeof(inner)) ||
            inner != FATBIN_MAGIC) {
            return CUDA_ERROR_INVALID_IMAGE;
        }
        code = (struct vgpu_code){wrapper.data, SIZE_MAX, code.sm};
    }
    if (word_at(code) == FATBIN_MAGIC || is_cubin(code)) {
        return code.size == SIZE_MAX ? read_unsized(code, program) : read_sized(code, program);
    }
    return vgpu_is_ptx(code) ? vgpu_program_read_ptx(code, program) : CUDA_ERROR_INVALID_IMAGE;
}

CUresult vgpu_program_read(struct vgpu_code code, struct vgpu_program **program) {
    struct vgpu_program *read = calloc(1, sizeof(*read));
    if (read == NULL) {
        return CUDA_ERROR_OUT_OF_MEMORY;
    }
    read->users = 1;
    CUresult result = read_any(code, read);
    if (result != CUDA_SUCCESS) {
        vgpu_program_drop(read);
        return result;
    }
    *program = read;
    return CUDA_SUCCESS;
}
