/* The names that libvgpu-syscall.so puts in front of libc's. They are given by asm labels, so that libc's own
 * prototypes (variadic, redirected, "never NULL") do not reach these definitions. */
#include <stdarg.h>
#include <sys/ioctl.h>

#include "syscall/linked.h"
#include "syscall/number.h"
#include "syscall/serve_walk.h"

/* A row's parameter `directory` hides the constant of files.h. */
#pragma GCC diagnostic ignored "-Wshadow"

#define CALLER ((uint64_t)(uintptr_t)__builtin_return_address(0))
#define SELDOM(condition) __builtin_expect((condition) != 0, 0)
#define EXPORT(type, name, parameters)                                                                                 \
    __attribute__((visibility("default"))) type vgpu_export_##name parameters __asm__(#name);                          \
    type vgpu_export_##name parameters

#define IS_OF_TREE(name, at, path)                                                                                     \
    (SELDOM(vgpu_file_maybe_new(at, path)) && vgpu_file_is_of_tree(VGPU_FILE_##name, at, path))

/* What the real function says, unless that is nothing, and the tree has it by a link. */
#define OR_LINKED(type, name, arguments)                                                                               \
    type answer = VGPU_REAL(name) arguments;                                                                           \
    if (SELDOM(VGPU_LINKED_MISSED(answer))) {                                                                          \
        return vgpu_again_##name(CALLER, answer, VGPU_BARE arguments);                                                 \
    }                                                                                                                  \
    return answer;

#define VGPU_FILE(type, name, parameters, arguments, family, before, serve)                                            \
    EXPORT(type, name, parameters) {                                                                                   \
        if (IS_OF_TREE(name, directory, path)) {                                                                       \
            return vgpu_call_##name(vgpu_file_self(), CALLER, VGPU_BARE arguments);                                    \
        }                                                                                                              \
        OR_LINKED(type, name, arguments)                                                                               \
    }

/* The mode is there to be taken only if the flags ask for one. */
#define VGPU_FILE_MODE(type, name, parameters, arguments, family, before, serve, open_parameters)                      \
    EXPORT(type, name, open_parameters) {                                                                              \
        mode_t mode = 0;                                                                                               \
        if (__OPEN_NEEDS_MODE(flags)) {                                                                                \
            va_list rest;                                                                                              \
            va_start(rest, flags);                                                                                     \
            mode = va_arg(rest, mode_t);                                                                               \
            va_end(rest);                                                                                              \
        }                                                                                                              \
        if (IS_OF_TREE(name, directory, path)) {                                                                       \
            return vgpu_call_##name(vgpu_file_self(), CALLER, VGPU_BARE arguments);                                    \
        }                                                                                                              \
        OR_LINKED(type, name, arguments)                                                                               \
    }

#define VGPU_FILE_STAT(type, name, parameters, arguments, family, before, serve)                                       \
    EXPORT(type, name, parameters) {                                                                                   \
        if (IS_OF_TREE(name, directory, path)) {                                                                       \
            return vgpu_call_##name(vgpu_file_self(), CALLER, VGPU_BARE arguments);                                    \
        }                                                                                                              \
        type answer = VGPU_REAL(name) arguments;                                                                       \
        if (!SELDOM(answer != 0)) {                                                                                    \
            if (!SELDOM(VGPU_LINKED_NO_DISK(to))) {                                                                    \
                return answer;                                                                                         \
            }                                                                                                          \
            if (VGPU_FILE_STAT_MAYBE(to)) {                                                                            \
                return VGPU_IDENTIFY(vgpu_file_self(), VGPU_FILE_##name, CALLER, to);                                  \
            }                                                                                                          \
        }                                                                                                              \
        if (answer == 0 ? VGPU_LINKED_STAT(directory, path, to) : VGPU_LINKED_MISSED(answer)) {                        \
            return vgpu_again_##name(CALLER, answer, VGPU_BARE arguments);                                             \
        }                                                                                                              \
        return answer;                                                                                                 \
    }

#define VGPU_FILE_FSTAT(type, name, parameters, arguments, family, before)                                             \
    EXPORT(type, name, parameters) {                                                                                   \
        type answer = VGPU_REAL(name) arguments;                                                                       \
        if (answer == 0 && SELDOM(VGPU_FILE_STAT_MAYBE(to))) {                                                         \
            return VGPU_IDENTIFY(vgpu_file_self(), VGPU_FILE_##name, CALLER, to);                                      \
        }                                                                                                              \
        return answer;                                                                                                 \
    }

#define VGPU_FILE_LINK(type, name, parameters, arguments, family, before, serve)                                       \
    EXPORT(type, name, parameters) {                                                                                   \
        if (SELDOM(vgpu_file_maybe(directory, path))) {                                                                \
            return vgpu_call_##name(vgpu_file_self(), CALLER, VGPU_BARE arguments);                                    \
        }                                                                                                              \
        return VGPU_REAL(name) arguments;                                                                              \
    }

#define VGPU_FILE_REAL(type, name, parameters, arguments, family, before, serve)                                       \
    EXPORT(type, name, parameters) {                                                                                   \
        if (IS_OF_TREE(name, directory, path)) {                                                                       \
            return vgpu_call_##name(vgpu_file_self(), CALLER, VGPU_BARE arguments);                                    \
        }                                                                                                              \
        type answer = VGPU_REAL(name) arguments;                                                                       \
        return SELDOM(VGPU_LINKED_MISSED(answer)) ? vgpu_again_##name(CALLER, answer, VGPU_BARE arguments)             \
                                                  : vgpu_real_path(answer);                                            \
    }

/* What makes or moves names: a directory that was known may be a link afterwards. */
#define VGPU_FILE_NAME(type, name, parameters, arguments, family, before, serve)                                       \
    EXPORT(type, name, parameters) {                                                                                   \
        if (IS_OF_TREE(name, directory, path)) {                                                                       \
            return vgpu_call_##name(vgpu_file_self(), CALLER, VGPU_BARE arguments);                                    \
        }                                                                                                              \
        type answer = VGPU_REAL(name) arguments;                                                                       \
        vgpu_known_forget();                                                                                           \
        return answer;                                                                                                 \
    }

#define VGPU_FILE_PAIR(type, name, parameters, arguments, family, before, change)                                      \
    EXPORT(type, name, parameters) {                                                                                   \
        if (IS_OF_TREE(name, directory, path) || IS_OF_TREE(name, second_directory, second)) {                         \
            return vgpu_call_##name(vgpu_file_self(), CALLER, VGPU_BARE arguments);                                    \
        }                                                                                                              \
        type answer = VGPU_REAL(name) arguments;                                                                       \
        vgpu_known_forget();                                                                                           \
        return answer;                                                                                                 \
    }

#define VGPU_FILE_OTHER(type, name, parameters, arguments, family, before, test, serve)                                \
    EXPORT(type, name, VGPU_PARAMETERS parameters) {                                                                   \
        if (SELDOM(test)) {                                                                                            \
            return vgpu_call_##name(vgpu_file_self(), CALLER VGPU_AND arguments);                                      \
        }                                                                                                              \
        return VGPU_REAL(name) arguments;                                                                              \
    }
#include "syscall/syscall.def"
