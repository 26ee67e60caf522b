#include "exec/real.h"

#include <errno.h>

#include "vgpu/next.h"

struct row {
    const char *name;
    const char *version;
};

static const struct row rows[VGPU_EXEC_FUNCTIONS] = {
#define VGPU_EXEC(type, name, parameters, arguments) {#name, NULL},
#define VGPU_EXEC_LIST(type, name, parameters, last, plain, plain_arguments) {#name, NULL},
#define VGPU_EXEC_AT(type, name, parameters, arguments, symbol, mark, version) {#symbol, #version},
#include "exec/exec.def"
};

static void *reals[VGPU_EXEC_FUNCTIONS];

const char *vgpu_exec_name(enum vgpu_exec_function function) {
    return rows[function].name;
}

/* What a function does that this libc does not have: execveat before glibc 2.34, execvpe before 2.11. */
static long missing(void) {
    errno = ENOSYS;
    return -1;
}

void *vgpu_exec_real(enum vgpu_exec_function function) {
    void *real = __atomic_load_n(&reals[function], __ATOMIC_RELAXED);
    if (real == NULL) {
        real = vgpu_next(rows[function].name, rows[function].version);
        real = real != NULL ? real : (void *)missing;
        __atomic_store_n(&reals[function], real, __ATOMIC_RELAXED);
    }
    return real;
}
