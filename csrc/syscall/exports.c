/* The names that libvgpu-syscall.so puts in front of libc's. They are given by asm labels, so that libc's own
 * prototypes (variadic, redirected, "never NULL") do not reach these definitions. */
#include <stdarg.h>
#include <sys/ioctl.h>

#include "syscall/linked.h"
#include "syscall/number.h"
#include "syscall/serve_walk.h"
#include "vgpu/raw.h"

/* A row's parameter `directory` hides the constant of files.h. */
#pragma GCC diagnostic ignored "-Wshadow"

/* What a row without such a parameter has. */
enum { flags = 0 };

#define CALLER ((uint64_t)(uintptr_t)__builtin_return_address(0))
#define EXPORT(type, name, parameters)                                                                                 \
    __attribute__((visibility("default"))) type vgpu_export_##name parameters __asm__(#name);                          \
    type vgpu_export_##name parameters

/* What a program asks for again and again is not looked up each time. */
#define IS_OF_TREE(name, at, path)                                                                                     \
    (VGPU_SELDOM(vgpu_file_maybe(at, path)) && !vgpu_elsewhere_has(path) &&                                            \
     vgpu_file_is_of_tree(VGPU_FILE_##name, at, path))

/* Where libc would do no more than ask the kernel, that is done here: a return less behind the system call. None of
 * these functions is a cancellation point. */
#define ASKS_KERNEL (!VGPU_SELDOM(__atomic_load_n(&vgpu_filter.asks_kernel, __ATOMIC_RELAXED) == 0))

/* What the real function says, unless that is nothing, and the tree has it by a link. */
#define OR_LINKED(type, name, arguments)                                                                               \
    type answer = VGPU_REAL(name) arguments;                                                                           \
    if (VGPU_SELDOM(VGPU_LINKED_MISSED(answer))) {                                                                     \
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

/* The same for what opens a file: a link may have led to one that the machine has as well. */
#define OPENED(type, name, arguments, fd_of, nothing)                                                                  \
    unsigned int opens = vgpu_file_opens(VGPU_FILE_##name, directory, path);                                           \
    if (VGPU_SELDOM(opens & VGPU_OPENS_TREE)) {                                                                        \
        return vgpu_call_##name(vgpu_file_self(), CALLER, VGPU_BARE arguments);                                        \
    }                                                                                                                  \
    type answer = VGPU_REAL(name) arguments;                                                                           \
    if (VGPU_SELDOM((opens & VGPU_OPENS_UNKNOWN) | (answer == (nothing))) &&                                           \
        (answer == (nothing) ? VGPU_LINKED_MISSED(answer) : vgpu_linked_opened(directory, path, fd_of(answer)))) {     \
        return vgpu_again_##name(CALLER, answer, VGPU_BARE arguments);                                                 \
    }                                                                                                                  \
    return answer;

/* A link that was not followed says nothing of where it leads. */
#define FOLLOWED(fd) ((flags & O_NOFOLLOW) != 0 ? -1 : (fd))

#define VGPU_FILE_OPEN(type, name, parameters, arguments, family, before, serve)                                       \
    EXPORT(type, name, parameters) {                                                                                   \
        OPENED(type, name, arguments, FOLLOWED, -1)                                                                    \
    }

#define VGPU_FILE_LIST(type, name, parameters, arguments, family, before, serve)                                       \
    EXPORT(type, name, parameters) {                                                                                   \
        OPENED(type, name, arguments, dirfd, NULL)                                                                     \
    }

#define VGPU_FILE_STREAM(type, name, parameters, arguments, family, before, serve)                                     \
    EXPORT(type, name, parameters) {                                                                                   \
        OPENED(type, name, arguments, vgpu_linked_number, NULL)                                                        \
    }

/* What opens a path where no shim sees it: beside that, a look at the path costs little. */
#define VGPU_FILE_SCAN(type, name, parameters, arguments, family, before, serve)                                       \
    EXPORT(type, name, parameters) {                                                                                   \
        if (IS_OF_TREE(name, directory, path)) {                                                                       \
            return vgpu_call_##name(vgpu_file_self(), CALLER, VGPU_BARE arguments);                                    \
        }                                                                                                              \
        if ((flags & O_NOFOLLOW) == 0 && vgpu_linked_find(directory, path, NULL)) {                                    \
            return vgpu_again_##name(CALLER, -1, VGPU_BARE arguments);                                                 \
        }                                                                                                              \
        return VGPU_REAL(name) arguments;                                                                              \
    }

/* One that has failed has closed the stream, and cannot be tried again. The path may be NULL: the file that the stream
 * has. */
#define VGPU_FILE_REOPEN(type, name, parameters, arguments, family, before, serve)                                     \
    EXPORT(type, name, parameters) {                                                                                   \
        unsigned int opens = vgpu_file_opens(VGPU_FILE_##name, directory, path);                                       \
        if (VGPU_SELDOM(opens & VGPU_OPENS_TREE)) {                                                                    \
            return vgpu_call_##name(vgpu_file_self(), CALLER, VGPU_BARE arguments);                                    \
        }                                                                                                              \
        type answer = VGPU_REAL(name) arguments;                                                                       \
        if (VGPU_SELDOM(opens & VGPU_OPENS_UNKNOWN) && answer != NULL &&                                               \
            vgpu_linked_opened(directory, path, vgpu_linked_number(answer))) {                                         \
            return vgpu_again_##name(CALLER, answer, VGPU_BARE arguments);                                             \
        }                                                                                                              \
        return answer;                                                                                                 \
    }

/* The mode is there to be taken only if the flags ask for one. */
#define VGPU_FILE_MODE(type, name, parameters, arguments, family, before, serve, open_parameters)                      \
    VGPU_USUAL EXPORT(type, name, open_parameters) {                                                                   \
        mode_t mode = 0;                                                                                               \
        if (__OPEN_NEEDS_MODE(flags)) {                                                                                \
            va_list rest;                                                                                              \
            va_start(rest, flags);                                                                                     \
            mode = va_arg(rest, mode_t);                                                                               \
            va_end(rest);                                                                                              \
        }                                                                                                              \
        OPENED(type, name, arguments, FOLLOWED, -1)                                                                    \
    }

/* What the real function has answered may be a device's, or another's than that of a link into the tree. */
#define VGPU_FILE_STAT_ANSWERED(type, name, parameters, arguments)                                                     \
    static __attribute__((cold, noinline)) type vgpu_looked_##name(uint64_t caller, type answer,                       \
                                                                   VGPU_BARE parameters) {                             \
        if (answer == 0 && vgpu_file_device_maybe(VGPU_DEVICE_OF(to))) {                                               \
            return VGPU_IDENTIFY(vgpu_file_self(), VGPU_FILE_##name, caller, to);                                      \
        }                                                                                                              \
        if (answer == 0 ? VGPU_LINKED_STAT(directory, path, flags, to) : VGPU_LINKED_MISSED(answer)) {                 \
            return vgpu_again_##name(caller, answer, VGPU_BARE arguments);                                             \
        }                                                                                                              \
        return answer;                                                                                                 \
    }

#define VGPU_FILE_STAT(type, name, parameters, arguments, family, before, serve)                                       \
    VGPU_FILE_STAT_ANSWERED(type, name, parameters, arguments)                                                         \
    EXPORT(type, name, parameters) {                                                                                   \
        if (IS_OF_TREE(name, directory, path)) {                                                                       \
            return vgpu_call_##name(vgpu_file_self(), CALLER, VGPU_BARE arguments);                                    \
        }                                                                                                              \
        type answer = VGPU_REAL(name) arguments;                                                                       \
        if (!VGPU_SELDOM(answer != 0) && !VGPU_SELDOM(vgpu_linked_odd(0, VGPU_DEVICE_OF(to)))) {                       \
            return answer;                                                                                             \
        }                                                                                                              \
        return vgpu_looked_##name(CALLER, answer, VGPU_BARE arguments);                                                \
    }

/* The kernel's answer has one branch to pass: just behind a system call each of them is guessed wrongly. */
#define VGPU_FILE_LOOK(type, name, parameters, arguments, family, before, serve, flags)                                \
    VGPU_FILE_STAT_ANSWERED(type, name, parameters, arguments)                                                         \
    VGPU_USUAL EXPORT(type, name, parameters) {                                                                        \
        if (IS_OF_TREE(name, directory, path)) {                                                                       \
            return vgpu_call_##name(vgpu_file_self(), CALLER, VGPU_BARE arguments);                                    \
        }                                                                                                              \
        type answer;                                                                                                   \
        if (ASKS_KERNEL) {                                                                                             \
            long told = vgpu_raw4(SYS_newfstatat, directory, (long)path, (long)to, flags);                             \
            if (!VGPU_SELDOM(vgpu_linked_odd_answer(told, to))) {                                                      \
                return 0;                                                                                              \
            }                                                                                                          \
            answer = vgpu_real_answer(told);                                                                           \
        } else {                                                                                                       \
            answer = VGPU_REAL(name) arguments;                                                                        \
            if (!VGPU_SELDOM(answer != 0) && !VGPU_SELDOM(vgpu_linked_odd(0, VGPU_DEVICE_OF(to)))) {                   \
                return answer;                                                                                         \
            }                                                                                                          \
        }                                                                                                              \
        return vgpu_looked_##name(CALLER, answer, VGPU_BARE arguments);                                                \
    }

#define VGPU_FILE_ASK(type, name, parameters, arguments, family, before, serve, ask)                                   \
    VGPU_USUAL EXPORT(type, name, parameters) {                                                                        \
        if (IS_OF_TREE(name, directory, path)) {                                                                       \
            return vgpu_call_##name(vgpu_file_self(), CALLER, VGPU_BARE arguments);                                    \
        }                                                                                                              \
        long told = ASKS_KERNEL ? (ask) : 1;                                                                           \
        if (!VGPU_SELDOM(told != 0)) {                                                                                 \
            return 0;                                                                                                  \
        }                                                                                                              \
        type answer = told < 0 ? vgpu_real_answer(told) : VGPU_REAL(name) arguments;                                   \
        if (VGPU_SELDOM(VGPU_LINKED_MISSED(answer))) {                                                                 \
            return vgpu_again_##name(CALLER, answer, VGPU_BARE arguments);                                             \
        }                                                                                                              \
        return answer;                                                                                                 \
    }

#define VGPU_FILE_FSTAT(type, name, parameters, arguments, family, before)                                             \
    EXPORT(type, name, parameters) {                                                                                   \
        type answer = VGPU_REAL(name) arguments;                                                                       \
        if (answer == 0 && VGPU_SELDOM(vgpu_file_device_maybe(VGPU_DEVICE_OF(to)))) {                                  \
            return VGPU_IDENTIFY(vgpu_file_self(), VGPU_FILE_##name, CALLER, to);                                      \
        }                                                                                                              \
        return answer;                                                                                                 \
    }

#define VGPU_FILE_LINK(type, name, parameters, arguments, family, before, serve)                                       \
    EXPORT(type, name, parameters) {                                                                                   \
        if (VGPU_SELDOM(vgpu_file_maybe(directory, path))) {                                                           \
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
        return VGPU_SELDOM(VGPU_LINKED_MISSED(answer)) ? vgpu_again_##name(CALLER, answer, VGPU_BARE arguments)        \
                                                       : vgpu_real_path(answer);                                       \
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
        if (VGPU_SELDOM(test)) {                                                                                       \
            return vgpu_call_##name(vgpu_file_self(), CALLER VGPU_AND arguments);                                      \
        }                                                                                                              \
        return VGPU_REAL(name) arguments;                                                                              \
    }
#include "syscall/syscall.def"
