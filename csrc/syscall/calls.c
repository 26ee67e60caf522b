/* vgpu_call_<name> for each row of the table that says how it is served. */
#include "syscall/files.h"
#include "syscall/serve_walk.h"

/* A row's parameter `directory` hides the constant of files.h. */
#pragma GCC diagnostic ignored "-Wshadow"

#define VGPU_FILE(type, name, parameters, arguments, family, before, serve)                                            \
    type vgpu_call_##name(struct vgpu_process *process, uint64_t caller, VGPU_BARE parameters) {                       \
        struct vgpu_file_call call;                                                                                    \
        if (!vgpu_file_enter(&call, process, VGPU_FILE_##name, directory, &path, caller)) {                            \
            return VGPU_REAL(name) arguments;                                                                          \
        }                                                                                                              \
        return serve;                                                                                                  \
    }

#define VGPU_FILE_LINK(type, name, parameters, arguments, family, before, serve)                                       \
    type vgpu_call_##name(struct vgpu_process *process, uint64_t caller, VGPU_BARE parameters) {                       \
        struct vgpu_file_call call;                                                                                    \
        if (!vgpu_file_enter(&call, process, VGPU_FILE_##name, directory, &path, caller)) {                            \
            return vgpu_real_link(&call, directory, path, to, VGPU_REAL(name) arguments, size);                        \
        }                                                                                                              \
        return serve;                                                                                                  \
    }

#define VGPU_FILE_PAIR(type, name, parameters, arguments, family, before, change)                                      \
    type vgpu_call_##name(struct vgpu_process *process, uint64_t caller, VGPU_BARE parameters) {                       \
        struct vgpu_file_call call;                                                                                    \
        struct vgpu_file_call other;                                                                                   \
        int from = vgpu_file_enter(&call, process, VGPU_FILE_##name, directory, &path, caller);                        \
        int into = vgpu_file_enter(&other, process, VGPU_FILE_##name, second_directory, &second, caller);              \
        if (!from && !into) {                                                                                          \
            return VGPU_REAL(name) arguments;                                                                          \
        }                                                                                                              \
        if (from != into && vgpu_path_is_no_text(from ? second : path)) {                                              \
            return (int)vgpu_file_end(from ? &call : &other, -EFAULT);                                                 \
        }                                                                                                              \
        return vgpu_serve_move(from ? &call : NULL, into ? &other : NULL);                                             \
    }

#define VGPU_FILE_FSTAT(type, name, parameters, arguments, family, before)

#define VGPU_FILE_OTHER(type, name, parameters, arguments, family, before, test, serve)                                \
    type vgpu_call_##name(struct vgpu_process *process, uint64_t caller VGPU_AND parameters) {                         \
        const enum vgpu_file_function function = VGPU_FILE_##name;                                                     \
        (void)function;                                                                                                \
        (void)caller;                                                                                                  \
        return serve;                                                                                                  \
    }
#include "syscall/syscall.def"
