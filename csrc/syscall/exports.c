/* The names that libvgpu-syscall.so puts in front of libc's. They are given by asm labels, so that libc's own
 * prototypes (variadic, redirected, "never NULL") do not reach these definitions. */
#include <stdarg.h>

#include "syscall/files.h"

#define CALLER ((uint64_t)(uintptr_t)__builtin_return_address(0))

#define VGPU_FILE(type, name, parameters, arguments, family, before, serve)                                            \
    __attribute__((visibility("default"))) type vgpu_export_##name parameters __asm__(#name);                          \
    type vgpu_export_##name parameters {                                                                               \
        if (!vgpu_file_candidate(path)) {                                                                              \
            return VGPU_REAL(name) arguments;                                                                          \
        }                                                                                                              \
        return vgpu_call_##name(vgpu_file_self(), CALLER, VGPU_BARE arguments);                                        \
    }

/* The mode is there to be taken only if the flags ask for one. */
#define VGPU_FILE_MODE(type, name, parameters, arguments, family, before, serve, open_parameters)                      \
    __attribute__((visibility("default"))) type vgpu_export_##name open_parameters __asm__(#name);                     \
    type vgpu_export_##name open_parameters {                                                                          \
        mode_t mode = 0;                                                                                               \
        if (__OPEN_NEEDS_MODE(flags)) {                                                                                \
            va_list rest;                                                                                              \
            va_start(rest, flags);                                                                                     \
            mode = va_arg(rest, mode_t);                                                                               \
            va_end(rest);                                                                                              \
        }                                                                                                              \
        if (!vgpu_file_candidate(path)) {                                                                              \
            return VGPU_REAL(name) arguments;                                                                          \
        }                                                                                                              \
        return vgpu_call_##name(vgpu_file_self(), CALLER, VGPU_BARE arguments);                                        \
    }

#define VGPU_FILE_STAT(type, name, parameters, arguments, family, before, serve)                                       \
    __attribute__((visibility("default"))) type vgpu_export_##name parameters __asm__(#name);                          \
    type vgpu_export_##name parameters {                                                                               \
        if (!vgpu_file_candidate(path) && !vgpu_file_relative(path)) {                                                 \
            return VGPU_REAL(name) arguments;                                                                          \
        }                                                                                                              \
        return vgpu_call_##name(vgpu_file_self(), CALLER, VGPU_BARE arguments);                                        \
    }

#define VGPU_FILE_FSTAT(type, name, parameters, arguments, family, before)                                             \
    __attribute__((visibility("default"))) type vgpu_export_##name parameters __asm__(#name);                          \
    type vgpu_export_##name parameters {                                                                               \
        if (!vgpu_file_relative(NULL)) {                                                                               \
            return VGPU_REAL(name) arguments;                                                                          \
        }                                                                                                              \
        return vgpu_call_##name(vgpu_file_self(), CALLER, VGPU_BARE arguments);                                        \
    }
#include "syscall/syscall.def"
