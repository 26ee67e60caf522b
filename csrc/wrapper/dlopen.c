/* libvgpu-dlopen.so: a dlopen that leads to the shims, as shims have had one. In normal use there is none: a SONAME, a
 * link or an auditor leads there too, and leaves dlopen alone. A host with delivery.dlopen_wrapper preloads a copy of
 * this library, in which the harness has filled in the settings.
 *
 * dlopen searches the RUNPATH of the object that it returns to (ld.so(8)). So the real one has to see the program's
 * return address, not one in here: it is reached by a jump, which no compiler's option can turn into a call. */
#include <stdint.h>

#include "vgpu/environment.h"
#include "vgpu/next.h"
#include "vgpu/raw.h"
#include "vgpu/trace.h"

enum { MARK_SIZE = 24, DIRECTORY_SIZE = 3840, PATH_SIZE = 4096 };

/* vgpu_harness/shims/wrapper.py finds this by its mark. */
struct settings {
    char mark[MARK_SIZE];
    uint32_t bypassed; /* so many calls of a process go by first */
    char directory[DIRECTORY_SIZE];
};

static volatile struct settings settings __attribute__((used, section(".data"))) = {.mark = "VGPU DLOPEN SETTINGS"};

static const char *const led[] = {"libcuda.so.1", "libnvidia-ml.so.1"};

static struct vgpu_trace trace;
static uint32_t trace_claimed; /* atomic: somebody has opened the trace, or is about to */
static uint32_t trace_ready;   /* atomic */
static uint32_t calls;         /* atomic: of this process so far */

__attribute__((used, visibility("hidden"))) void *vgpu_dlopen_real;

/* The call that comes first opens the trace; one that comes meanwhile has no record. */
static void record(const char *file, uint32_t call, int is_led, uint64_t caller) {
    if (__atomic_exchange_n(&trace_claimed, 1, __ATOMIC_ACQ_REL) == 0) {
        char path[PATH_SIZE];
        if (vgpu_first_environment("VGPU_TRACE", path, sizeof(path)) > 0) {
            vgpu_trace_open(&trace, path);
        }
        __atomic_store_n(&trace_ready, 1, __ATOMIC_RELEASE);
    }
    if (__atomic_load_n(&trace_ready, __ATOMIC_ACQUIRE)) {
        struct vgpu_event event = {
            .kind = VGPU_RECORD_CALL,
            .library = VGPU_LIBRARY_DLOPEN,
            .inputs = 3,
            .in = {call, settings.bypassed, (uint64_t)is_led},
            .caller = caller,
            .name = "dlopen",
            .text = file,
        };
        vgpu_trace_write(&trace, &event);
    }
}

static const char *name_of(const char *file) {
    const char *name = file;
    for (const char *at = file; *at != '\0'; at++) {
        if (*at == '/') {
            name = at + 1;
        }
    }
    return name;
}

/* The shim's path for this name, in static memory: nothing here is on a small stack, and it is always the same. */
static const char *path_of(uint32_t which) {
    static char paths[sizeof(led) / sizeof(led[0])][PATH_SIZE];
    char *path = paths[which];
    size_t n = 0;
    for (; n < DIRECTORY_SIZE - 1 && settings.directory[n] != '\0'; n++) {
        path[n] = settings.directory[n];
    }
    path[n++] = '/';
    vgpu_copy_text(path + n, PATH_SIZE - n, led[which]);
    return path;
}

/* What the real dlopen is to open in the place of `file`. */
__attribute__((used, visibility("hidden"))) const char *vgpu_dlopen_lead(const char *file, uint64_t caller);

const char *vgpu_dlopen_lead(const char *file, uint64_t caller) {
    uint32_t call = __atomic_fetch_add(&calls, 1, __ATOMIC_RELAXED);
    if (__atomic_load_n(&vgpu_dlopen_real, __ATOMIC_RELAXED) == NULL) {
        __atomic_store_n(&vgpu_dlopen_real, vgpu_next("dlopen", NULL), __ATOMIC_RELAXED);
    }
    for (uint32_t i = 0; file != NULL && i < sizeof(led) / sizeof(led[0]); i++) {
        if (vgpu_same_text(name_of(file), led[i])) {
            int is_led = call >= settings.bypassed;
            record(file, call, is_led, caller);
            return is_led ? path_of(i) : file;
        }
    }
    return file;
}

/* void *dlopen(const char *file, int mode) */
__asm__(".text\n"
        ".globl dlopen\n"
        ".type dlopen, @function\n"
        "dlopen:\n"
        ".cfi_startproc\n"
        "    endbr64\n"
        "    push %rsi\n"
        ".cfi_adjust_cfa_offset 8\n"
        "    mov 8(%rsp), %rsi\n"
        "    call vgpu_dlopen_lead\n"
        "    pop %rsi\n"
        ".cfi_adjust_cfa_offset -8\n"
        "    mov %rax, %rdi\n"
        "    jmp *vgpu_dlopen_real(%rip)\n"
        ".cfi_endproc\n"
        ".size dlopen, . - dlopen\n");
