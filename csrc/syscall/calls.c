/* vgpu_call_<name> for each row of the table. */
#include "syscall/files.h"

#define IDENTIFY(process, function, caller, to)                                                                        \
    _Generic((to), struct statx *: vgpu_identify_statx, struct stat *: vgpu_identify_stat)(process, function, caller,  \
                                                                                           to)

#define VGPU_FILE(type, name, parameters, arguments, family, before, serve)                                            \
    type vgpu_call_##name(struct vgpu_process *process, uint64_t caller, VGPU_BARE parameters) {                       \
        struct vgpu_file_call call;                                                                                    \
        if (!vgpu_file_begin(&call, process, VGPU_FILE_##name, path, caller)) {                                        \
            return VGPU_REAL(name) arguments;                                                                          \
        }                                                                                                              \
        return serve;                                                                                                  \
    }

#define VGPU_FILE_STAT(type, name, parameters, arguments, family, before, serve)                                       \
    type vgpu_call_##name(struct vgpu_process *process, uint64_t caller, VGPU_BARE parameters) {                       \
        struct vgpu_file_call call;                                                                                    \
        if (vgpu_file_begin(&call, process, VGPU_FILE_##name, path, caller)) {                                         \
            return serve;                                                                                              \
        }                                                                                                              \
        type answer = VGPU_REAL(name) arguments;                                                                       \
        return answer == 0 && (path == NULL || path[0] != '/') ? IDENTIFY(process, VGPU_FILE_##name, caller, to)       \
                                                               : answer;                                               \
    }

#define VGPU_FILE_FSTAT(type, name, parameters, arguments, family, before)                                             \
    type vgpu_call_##name(struct vgpu_process *process, uint64_t caller, VGPU_BARE parameters) {                       \
        type answer = VGPU_REAL(name) arguments;                                                                       \
        return answer == 0 ? IDENTIFY(process, VGPU_FILE_##name, caller, to) : answer;                                 \
    }
#include "syscall/syscall.def"
