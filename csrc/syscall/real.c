/* The real functions are those of the next library behind the shim, so that shims may be stacked. They are looked up
 * together at the first call of any, and not by dlsym, which would wait for a dlopen that waits for this thread. */
#include "syscall/real.h"

#include <errno.h>

#include "syscall/known.h"
#include "vgpu/next.h"

#define IS_NUMBER(type) (__builtin_types_compatible_p(type, int) || __builtin_types_compatible_p(type, ssize_t) ? 1 : 0)

const struct vgpu_file_row vgpu_file_rows[VGPU_FILE_FUNCTIONS] = {
#define VGPU_FILE(type, name, parameters, arguments, family, before, serve)                                            \
    {#name, VGPU_FAMILY_##family, before, IS_NUMBER(type)},
#include "syscall/syscall.def"
};

void *vgpu_reals[VGPU_FILE_FUNCTIONS];

/* What a function does that this libc does not have: stat before glibc 2.33, statx before 2.28. */
static long missing_number(void) {
    errno = ENOSYS;
    return -1;
}

static void *missing_pointer(void) {
    errno = ENOSYS;
    return NULL;
}

/* Are stat, access and the like libc's own? Another library's that stands there has to be called. */
static int can_ask_kernel(void) {
#define VGPU_FILE(type, name, parameters, arguments, family, before, serve)
#define VGPU_FILE_LOOK(type, name, parameters, arguments, family, before, serve, flags) &&vgpu_next_is_libcs(#name)
#define VGPU_FILE_ASK VGPU_FILE_LOOK
    return 1
#include "syscall/syscall.def"
        ;
}

void *vgpu_real_resolve(enum vgpu_file_function function) {
    int saved = errno;
    for (int i = 0; i < VGPU_FILE_FUNCTIONS; i++) {
        if (__atomic_load_n(&vgpu_reals[i], __ATOMIC_RELAXED) == NULL) {
            void *real = vgpu_next(vgpu_file_rows[i].name, NULL);
            if (real == NULL) {
                real = vgpu_file_rows[i].number ? (void *)missing_number : (void *)missing_pointer;
            }
            __atomic_store_n(&vgpu_reals[i], real, __ATOMIC_RELAXED);
        }
    }
    __atomic_store_n(&vgpu_filter.asks_kernel, can_ask_kernel(), __ATOMIC_RELAXED);
    errno = saved;
    return __atomic_load_n(&vgpu_reals[function], __ATOMIC_RELAXED);
}
