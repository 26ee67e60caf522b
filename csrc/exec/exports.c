/* The names that libvgpu-exec.so puts in front of libc's. They are given by asm labels, so that libc's own prototypes
 * ("never NULL", variadic) do not reach these definitions.
 *
 * No process gate is asked here, and that is meant: a shell, env or sudo's child does not see the GPU, but what it
 * starts may be the program that the GPU is for. The variables go through all of them. */
#include <errno.h>
#include <stdarg.h>
#include <stdint.h>
#include <unistd.h>

#include "exec/exec.h"
#include "exec/room.h"

#define CALLER ((uint64_t)(uintptr_t)__builtin_return_address(0))
#define EXPORT __attribute__((visibility("default")))

/* The call's memory is not in the frame of the exported function: that of a transparent shim is empty. */
#define SERVE(type, name, parameters, arguments)                                                                       \
    static __attribute__((noinline)) type serve_##name(const struct vgpu_kept *kept, enum vgpu_exec_function function, \
                                                       uint64_t caller, VGPU_BARE parameters) {                        \
        struct vgpu_exec_call call;                                                                                    \
        call.kept = kept;                                                                                              \
        call.function = function;                                                                                      \
        call.caller = caller;                                                                                          \
        return vgpu_serve_##name(&call, VGPU_BARE arguments);                                                          \
    }

#define BODY(name, arguments)                                                                                          \
    {                                                                                                                  \
        const struct vgpu_kept *kept = vgpu_kept();                                                                    \
        if (kept == NULL) {                                                                                            \
            return VGPU_EXEC_REAL(name) arguments;                                                                     \
        }                                                                                                              \
        return serve_##name(kept, VGPU_EXEC_##name, CALLER, VGPU_BARE arguments);                                      \
    }

#define VGPU_EXEC(type, name, parameters, arguments)                                                                   \
    SERVE(type, name, parameters, arguments)                                                                           \
    EXPORT type vgpu_export_##name parameters __asm__(#name);                                                          \
    type vgpu_export_##name parameters BODY(name, arguments)
#define VGPU_EXEC_LIST(type, name, parameters, last, plain, plain_arguments)
#define VGPU_EXEC_AT(type, name, parameters, arguments, symbol, mark, version)                                         \
    SERVE(type, name, parameters, arguments)                                                                           \
    EXPORT type vgpu_export_##name parameters;                                                                         \
    __asm__(".symver vgpu_export_" #name ", " #symbol mark #version);                                                  \
    type vgpu_export_##name parameters BODY(name, arguments)
#include "exec/exec.def"

/* The arguments of an execl, from `first`, which may be the NULL that ends them, as an array in `few` or, where they
 * are too many, in *room. NULL: the kernel has no memory. */
static char **put_together(const char *first, va_list *rest, char *few[VGPU_EXEC_FEW], void **room) {
    size_t count = 0;
    va_list counted;
    va_copy(counted, *rest);
    for (const char *at = first; at != NULL; at = va_arg(counted, const char *)) {
        count++;
    }
    va_end(counted);
    char **argv = few;
    *room = NULL;
    if (count >= VGPU_EXEC_FEW) {
        argv = *room = vgpu_room_take(VGPU_ROOM_ARGUMENTS, (count + 1) * sizeof(char *));
    }
    for (size_t i = 0; argv != NULL && i <= count; i++) {
        argv[i] = i == 0 ? (char *)(uintptr_t)first : va_arg(*rest, char *);
    }
    return argv;
}

#define VGPU_EXEC(type, name, parameters, arguments)
#define VGPU_EXEC_LIST(type, name, parameters, last, plain, plain_arguments)                                           \
    EXPORT type vgpu_export_##name parameters __asm__(#name);                                                          \
    type vgpu_export_##name parameters {                                                                               \
        char *few[VGPU_EXEC_FEW];                                                                                      \
        void *room;                                                                                                    \
        va_list rest;                                                                                                  \
        va_start(rest, first);                                                                                         \
        char **argv = put_together(first, &rest, few, &room);                                                          \
        char *const *envp = last ? va_arg(rest, char *const *) : NULL;                                                 \
        (void)envp;                                                                                                    \
        va_end(rest);                                                                                                  \
        if (argv == NULL) {                                                                                            \
            errno = ENOMEM;                                                                                            \
            return -1;                                                                                                 \
        }                                                                                                              \
        const struct vgpu_kept *kept = vgpu_kept();                                                                    \
        if (kept == NULL) {                                                                                            \
            VGPU_EXEC_REAL(plain) plain_arguments;                                                                     \
        } else {                                                                                                       \
            serve_##plain(kept, VGPU_EXEC_##name, CALLER, VGPU_BARE plain_arguments);                                  \
        }                                                                                                              \
        vgpu_room_give_back(VGPU_ROOM_ARGUMENTS, room);                                                                \
        return -1;                                                                                                     \
    }
#define VGPU_EXEC_AT(type, name, parameters, arguments, symbol, mark, version)
#include "exec/exec.def"
