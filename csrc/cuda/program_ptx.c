/* PTX, as far as its directives go (PTX ISA 9.1, chapters 4, 5 and 11): .version, .target, .entry with its parameters
 * and limits, .global and .shared variables. Instructions are not looked at. */
#include <ctype.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>

#include "cuda/program.h"

/* Registers that a kernel is taken to need: how many a compiler would give it is unknown (own choice). */
enum { REGISTERS = 32, VERSION_MAX = 1000 };

struct text {
    const char *at;
    const char *end;
    const char *word; /* the token before `at` */
    size_t length;
};

static void skip_space(struct text *text) {
    while (text->at < text->end) {
        size_t left = (size_t)(text->end - text->at);
        if (isspace((unsigned char)*text->at)) {
            text->at++;
        } else if (left >= 2 && text->at[0] == '/' && text->at[1] == '/') {
            const char *end = memchr(text->at, '\n', left);
            text->at = end != NULL ? end : text->end;
        } else if (left >= 2 && text->at[0] == '/' && text->at[1] == '*') {
            const char *end = memmem(text->at + 2, left - 2, "*/", 2);
            text->at = end != NULL ? end + 2 : text->end;
        } else {
            return;
        }
    }
}

static int is_word(char character) {
    return isalnum((unsigned char)character) || strchr("_$%.", character) != NULL;
}

/* The next name, directive, number, string or sign; 0 at the end. */
static int next(struct text *text) {
    skip_space(text);
    if (text->at == text->end) {
        return 0;
    }
    text->word = text->at;
    if (*text->at == '"') {
        const char *end = memchr(text->at + 1, '"', (size_t)(text->end - text->at - 1));
        text->at = end != NULL ? end + 1 : text->end;
    } else if (is_word(*text->at)) {
        while (text->at < text->end && is_word(*text->at)) {
            text->at++;
        }
    } else {
        text->at++;
    }
    text->length = (size_t)(text->at - text->word);
    return 1;
}

static int is(const struct text *text, const char *wanted) {
    return text->length == strlen(wanted) && memcmp(text->word, wanted, text->length) == 0;
}

int vgpu_is_ptx(struct vgpu_code code) {
    const char *start = (const char *)code.bytes;
    struct text text = {start, start + strnlen(start, code.size), start, 0};
    return next(&text) && is(&text, ".version");
}

/* A number of PTX within the token; -1: it is none. */
static long number(const struct text *text) {
    char *end;
    char digits[24] = "";
    if (text->length >= sizeof(digits) || !isdigit((unsigned char)text->word[0])) {
        return -1;
    }
    memcpy(digits, text->word, text->length);
    long value = strtol(digits, &end, 0);
    return *end == 0 || (*end == 'U' && end[1] == 0) ? value : -1;
}

/* Bytes of one element of a fundamental type: .b8, .u16, .f32x2, .pred; 0: it is none. */
static uint32_t size_of_type(const struct text *text) {
    if (text->length < 3 || text->word[0] != '.' || strchr("bsuf", text->word[1]) == NULL) {
        return 0;
    }
    char *end;
    long bits = strtol(text->word + 2, &end, 10);
    if (end == text->word + 2 || end > text->word + text->length || bits < 8 || bits > 128 || bits % 8 != 0) {
        return 0;
    }
    uint32_t parts = end[0] == 'x' && (end[1] == '2' || end[1] == '4') ? (uint32_t)(end[1] - '0') : 1;
    return (uint32_t)bits / 8 * parts;
}

struct declaration {
    const char *name;
    size_t length;
    uint64_t size;
    uint32_t alignment;
    int managed;
};

/* `.align 8 .b8 name[16]` up to a sign that ends it: , ; ) = */
static int read_declaration(struct text *text, struct declaration *declaration) {
    uint64_t elements = 1;
    uint32_t element = 0;
    uint32_t vector = 1;
    *declaration = (struct declaration){NULL, 0, 0, 0, 0};
    while (next(text) && !is(text, ",") && !is(text, ";") && !is(text, ")") && !is(text, "=")) {
        uint32_t size = size_of_type(text);
        if (is(text, ".align") && next(text)) {
            long alignment = number(text);
            declaration->alignment = alignment > 0 ? (uint32_t)alignment : 0;
        } else if (is(text, ".v2") || is(text, ".v4")) {
            vector = (uint32_t)(text->word[2] - '0');
        } else if (is(text, ".attribute")) {
            while (next(text) && !is(text, ")")) {
                declaration->managed |= is(text, ".managed");
            }
        } else if (size != 0) {
            element = size;
        } else if (is(text, "[")) {
            long count = next(text) ? number(text) : -1;
            elements *= count > 0 ? (uint64_t)count : 0;
        } else if (text->word[0] != '.' && !is(text, "]") && declaration->name == NULL) {
            declaration->name = text->word;
            declaration->length = text->length;
        }
    }
    declaration->size = elements * element * vector;
    declaration->alignment = declaration->alignment != 0 ? declaration->alignment : element * vector;
    return declaration->name != NULL && element != 0;
}

/* From behind "(" to behind ")". */
static int read_parameters(struct text *text, struct vgpu_kernel_facts *kernel) {
    struct text look = *text;
    if (next(&look) && is(&look, ")")) {
        *text = look;
        return 1;
    }
    uint64_t offset = 0;
    for (size_t i = 0;; i++) {
        struct declaration declaration;
        if (!next(text) || !is(text, ".param") || !read_declaration(text, &declaration)) {
            return 0;
        }
        uint64_t alignment = declaration.alignment;
        offset = (offset + alignment - 1) / alignment * alignment;
        struct vgpu_parameter parameter = {(uint32_t)offset, (uint32_t)declaration.size};
        if (!vgpu_kernel_add_parameter(kernel, i, parameter)) {
            return 0;
        }
        offset += declaration.size;
        if (is(text, ")")) {
            return 1;
        }
    }
}

/* What is too large for an int is the largest. */
static int clipped(uint64_t number) {
    return number < INT_MAX ? (int)number : INT_MAX;
}

/* `.maxntid 128, 1, 1`: what its numbers make when multiplied, or in `each`. */
static int read_numbers(struct text *text, int each[3]) {
    int product = 1;
    struct text look = *text;
    for (int i = 0; i < 3 && next(&look) && number(&look) >= 0; i++) {
        each[i] = clipped((uint64_t)number(&look));
        product = clipped((uint64_t)product * (uint64_t)each[i]);
        *text = look;
        if (!next(&look) || !is(&look, ",")) {
            break;
        }
    }
    return product;
}

/* The body: brackets must match, and shared variables count. */
static int read_body(struct text *text, struct vgpu_kernel_facts *kernel) {
    int depth = 1;
    while (depth > 0 && next(text)) {
        struct declaration declaration;
        depth += is(text, "{") ? 1 : is(text, "}") ? -1 : 0;
        if (is(text, ".shared") && read_declaration(text, &declaration)) {
            kernel->shared = clipped((uint64_t)kernel->shared + (uint64_t)clipped(declaration.size));
        }
        if (is(text, ".local") && read_declaration(text, &declaration)) {
            kernel->local = clipped((uint64_t)kernel->local + (uint64_t)clipped(declaration.size));
        }
    }
    return depth == 0;
}

static CUresult read_entry(struct text *text, struct vgpu_program *program) {
    if (!next(text) || !is_word(text->word[0])) {
        return CUDA_ERROR_INVALID_PTX;
    }
    struct vgpu_kernel_facts *kernel = vgpu_program_add_kernel(program, text->word, text->length);
    if (kernel == NULL) {
        return CUDA_ERROR_OUT_OF_MEMORY;
    }
    kernel->registers = REGISTERS;
    kernel->parameters_known = 1;
    while (next(text)) {
        int each[3] = {0, 0, 0};
        if (is(text, "(") && !read_parameters(text, kernel)) {
            return CUDA_ERROR_INVALID_PTX;
        }
        if (is(text, ".maxntid") || is(text, ".reqntid")) {
            kernel->max_threads = read_numbers(text, each);
        } else if (is(text, ".reqnctapercluster")) {
            read_numbers(text, kernel->cluster);
        } else if (is(text, ";")) { /* only declared */
            return CUDA_SUCCESS;
        } else if (is(text, "{")) {
            return read_body(text, kernel) ? CUDA_SUCCESS : CUDA_ERROR_INVALID_PTX;
        }
    }
    return CUDA_ERROR_INVALID_PTX;
}

static CUresult read_variable(struct text *text, struct vgpu_program *program) {
    struct declaration declaration;
    if (!read_declaration(text, &declaration)) {
        return CUDA_ERROR_INVALID_PTX;
    }
    struct vgpu_variable *variable = vgpu_program_add_variable(program, declaration.name, declaration.length);
    if (variable == NULL) {
        return CUDA_ERROR_OUT_OF_MEMORY;
    }
    variable->size = declaration.size;
    variable->managed = declaration.managed;
    return CUDA_SUCCESS;
}

/* `.version 8.5`, `.target sm_90a, debug` */
static CUresult read_head(struct text *text, struct vgpu_program *program, int device) {
    if (!next(text) || !is(text, ".version") || !next(text) || !isdigit((unsigned char)text->word[0])) {
        return CUDA_ERROR_INVALID_PTX;
    }
    char *end;
    long major = strtol(text->word, &end, 10);
    long minor = *end == '.' ? strtol(end + 1, NULL, 10) : 0;
    if (major > VERSION_MAX || minor < 0 || minor > VERSION_MAX) {
        return CUDA_ERROR_INVALID_PTX;
    }
    program->ptx_version = (int)(10 * major + minor);
    if (!next(text) || !is(text, ".target") || !next(text) || strncmp(text->word, "sm_", 3) != 0) {
        return CUDA_ERROR_INVALID_PTX;
    }
    long sm = strtol(text->word + 3, NULL, 10);
    program->sm = sm > 0 ? clipped((uint64_t)sm) : 0;
    return program->sm > 0 && program->sm <= device ? CUDA_SUCCESS : CUDA_ERROR_INVALID_PTX;
}

static CUresult read_text(struct text text, struct vgpu_program *program, int device) {
    CUresult result = read_head(&text, program, device);
    int depth = 0;
    while (result == CUDA_SUCCESS && next(&text)) {
        depth += is(&text, "{") ? 1 : is(&text, "}") ? -1 : 0;
        if (depth == 0 && is(&text, ".entry")) {
            result = read_entry(&text, program);
        } else if (depth == 0 && is(&text, ".global")) {
            result = read_variable(&text, program);
        }
    }
    return result == CUDA_SUCCESS && depth != 0 ? CUDA_ERROR_INVALID_PTX : result;
}

/* In a copy, which ends with a NUL. */
CUresult vgpu_program_read_ptx(struct vgpu_code code, struct vgpu_program *program) {
    char *copy = strndup((const char *)code.bytes, code.size);
    if (copy == NULL) {
        return CUDA_ERROR_OUT_OF_MEMORY;
    }
    CUresult result = read_text((struct text){copy, copy + strlen(copy), copy, 0}, program, code.sm);
    free(copy);
    return result;
}
