#include "audit/elsewhere.h"

#include <assert.h>
#include <stddef.h>

#include "audit/symbols.h"

enum { SLOTS = 256 }; /* and .rept below: three namespaces that use all of the functions */

typedef int *errno_location(void);

/* One function for the callers of one libc. `there` is written last. */
struct slot {
    uintptr_t function;
    errno_location *there; /* atomic */
};

/* For the code below, by its name. */
typedef long word_function(long, long, long, long, long, long);
__attribute__((used, visibility("hidden"))) struct slot vgpu_elsewhere_slots[SLOTS];
__attribute__((used, visibility("hidden"))) long vgpu_elsewhere_call(long a, long b, long c, long d, long e, long f,
                                                                     const struct slot *slot);
extern const char vgpu_elsewhere_entries[] __attribute__((visibility("hidden")));

enum { ENTRY_SIZE = 16 };

/* Entry i hands its caller's registers on with slot i as a seventh word: what is led takes six words at most. */
__asm__(".pushsection .text\n"
        ".balign 16\n"
        ".hidden vgpu_elsewhere_entries\n"
        "vgpu_elsewhere_entries:\n"
        ".set vgpu_i, 0\n"
        ".rept 256\n"
        "    .balign 16\n"
        "    endbr64\n"
        "    movl $vgpu_i, %r11d\n"
        "    jmp 1f\n"
        "    .set vgpu_i, vgpu_i + 1\n"
        ".endr\n"
        "1:  .cfi_startproc\n"
        "    shl $4, %r11\n" /* sizeof(struct slot) */
        "    lea vgpu_elsewhere_slots(%rip), %r10\n"
        "    add %r11, %r10\n"
        "    push %r10\n"
        "    .cfi_adjust_cfa_offset 8\n"
        "    call vgpu_elsewhere_call\n"
        "    add $8, %rsp\n"
        "    .cfi_adjust_cfa_offset -8\n"
        "    ret\n"
        "    .cfi_endproc\n"
        ".popsection\n");

static_assert(sizeof(struct slot) == 16, "the shift above");

static errno_location *here; /* atomic */

/* The program does not see that its errno has been borrowed. A variadic mode is a word like the others. */
long vgpu_elsewhere_call(long a, long b, long c, long d, long e, long f, const struct slot *slot) {
    int *own = __atomic_load_n(&here, __ATOMIC_ACQUIRE)();
    int saved = *own;
    long answer = ((word_function *)slot->function)(a, b, c, d, e, f);
    if ((int)answer == -1) {
        *__atomic_load_n(&slot->there, __ATOMIC_ACQUIRE)() = *own;
    }
    *own = saved;
    return answer;
}

static errno_location *errno_of(const struct link_map *libc) {
    static const char name[] = "__errno_location";
    struct vgpu_symbols symbols = vgpu_symbols_of(libc);
    const Elf64_Sym *symbol = vgpu_symbol_find(&symbols, name, vgpu_symbol_hash(name), 0);
    return symbol != NULL ? (errno_location *)(symbols.base + symbol->st_value) : NULL;
}

/* Calls are bound by many threads at once. Who finds that another took a free slot first takes the next. */
uintptr_t vgpu_elsewhere(uintptr_t function, const struct link_map *own_libc, const struct link_map *their_libc) {
    errno_location *there = errno_of(their_libc);
    errno_location *own = own_libc != NULL ? errno_of(own_libc) : NULL;
    if (there == NULL || own == NULL) {
        return 0;
    }
    __atomic_store_n(&here, own, __ATOMIC_RELEASE);
    for (uintptr_t i = 0; i < SLOTS; i++) {
        struct slot *slot = &vgpu_elsewhere_slots[i];
        uintptr_t taken = 0;
        if (__atomic_compare_exchange_n(&slot->function, &taken, function, 0, __ATOMIC_ACQ_REL, __ATOMIC_ACQUIRE)) {
            __atomic_store_n(&slot->there, there, __ATOMIC_RELEASE);
        } else if (taken != function || __atomic_load_n(&slot->there, __ATOMIC_ACQUIRE) != there) {
            continue;
        }
        return (uintptr_t)vgpu_elsewhere_entries + i * ENTRY_SIZE;
    }
    return 0;
}

void vgpu_elsewhere_close(const struct link_map *their_libc) {
    errno_location *there = errno_of(their_libc);
    for (uintptr_t i = 0; i < SLOTS; i++) {
        struct slot *slot = &vgpu_elsewhere_slots[i];
        if (there != NULL && __atomic_load_n(&slot->there, __ATOMIC_ACQUIRE) == there) {
            __atomic_store_n(&slot->there, (errno_location *)NULL, __ATOMIC_RELEASE);
            __atomic_store_n(&slot->function, 0, __ATOMIC_RELEASE);
        }
    }
}
