/* The functions of the interception table by number, and the real ones behind them. */
#ifndef VGPU_REAL_H
#define VGPU_REAL_H

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <fts.h>
#include <ftw.h>
#include <glob.h>
#include <spawn.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <sys/stat.h>
#include <sys/statfs.h>
#include <sys/statvfs.h>
#include <sys/types.h>

#include "vgpu/wire.h"

typedef int vgpu_fts_order(const FTSENT **, const FTSENT **);

/* The rows give parameters and arguments in parentheses; these put them to use. */
#define VGPU_AND(...) , ##__VA_ARGS__
#define VGPU_BARE(...) __VA_ARGS__
#define VGPU_FIRST(first, ...) first
#define VGPU_PARAMETERS(...) VGPU_FIRST(__VA_OPT__((__VA_ARGS__), )(void), )

enum vgpu_file_function {
#define VGPU_FILE(type, name, parameters, arguments, family, before, serve) VGPU_FILE_##name,
#include "syscall/syscall.def"
    VGPU_FILE_FUNCTIONS,
};

struct vgpu_file_row {
    char name[40];  /* the longest has 32 */
    uint8_t family; /* enum vgpu_family */
    uint8_t before; /* 1: served before the gate on every host */
    uint8_t number; /* 1: it answers -1 on failure, 0: NULL */
};

extern const struct vgpu_file_row vgpu_file_rows[VGPU_FILE_FUNCTIONS];

/* NULL until the first call of any of them. */
extern void *vgpu_reals[VGPU_FILE_FUNCTIONS];

/* What libc makes of the kernel's answer. */
static inline int vgpu_real_answer(long answer) {
    if (answer < 0) {
        errno = (int)-answer;
        return -1;
    }
    return 0;
}

/* Finds all the real functions, so that none has to be looked for later, in a signal handler; answers that of
 * `function`. */
void *vgpu_real_resolve(enum vgpu_file_function function);

static inline void *vgpu_real(enum vgpu_file_function function) {
    void *real = __atomic_load_n(&vgpu_reals[function], __ATOMIC_RELAXED);
    return __builtin_expect(real != NULL, 1) ? real : vgpu_real_resolve(function);
}

#define VGPU_FILE(type, name, parameters, arguments, family, before, serve)                                            \
    typedef type vgpu_type_##name VGPU_PARAMETERS parameters;
#define VGPU_FILE_MODE(type, name, parameters, arguments, family, before, serve, open_parameters)                      \
    typedef type vgpu_type_##name open_parameters;
#include "syscall/syscall.def"

/* The real function of this name, to be called. */
#define VGPU_REAL(name) ((vgpu_type_##name *)vgpu_real(VGPU_FILE_##name))

#endif
