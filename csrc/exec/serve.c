/* vgpu_serve_<name> for the functions that execute a program or start one. */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <unistd.h>

#include "exec/exec.h"

/* What an exec answers is its failure: errno says which. */
static int failed(struct vgpu_exec_call *call, int error) {
    vgpu_exec_end(call, error);
    errno = error;
    return -1;
}

int vgpu_serve_execve(struct vgpu_exec_call *call, const char *path, char *const argv[], char *const envp[]) {
    int error = vgpu_exec_begin(call, vgpu_program_look(AT_FDCWD, path, 0), path, envp);
    if (error == 0) {
        VGPU_EXEC_REAL(execve)(path, argv, call->envp);
        error = errno;
    }
    return failed(call, error);
}

int vgpu_serve_execv(struct vgpu_exec_call *call, const char *path, char *const argv[]) {
    return vgpu_serve_execve(call, path, argv, environ);
}

int vgpu_serve_execvpe(struct vgpu_exec_call *call, const char *file, char *const argv[], char *const envp[]) {
    char buffer[PATH_MAX];
    const char *path = vgpu_program_search(file, buffer, sizeof(buffer));
    enum vgpu_program program = path != NULL ? vgpu_program_look(AT_FDCWD, path, 0) : VGPU_PROGRAM_UNKNOWN;
    int error = vgpu_exec_begin(call, program, path != NULL ? path : file, envp);
    if (error == 0) {
        VGPU_EXEC_REAL(execvpe)(file, argv, call->envp);
        error = errno;
    }
    return failed(call, error);
}

int vgpu_serve_execvp(struct vgpu_exec_call *call, const char *file, char *const argv[]) {
    return vgpu_serve_execvpe(call, file, argv, environ);
}

int vgpu_serve_fexecve(struct vgpu_exec_call *call, int fd, char *const argv[], char *const envp[]) {
    char path[PATH_MAX];
    vgpu_program_path(fd, "", path, sizeof(path));
    enum vgpu_program program = fd >= 0 ? vgpu_program_look(fd, "", AT_EMPTY_PATH) : VGPU_PROGRAM_UNKNOWN;
    int error = vgpu_exec_begin(call, program, path, envp);
    if (error == 0) {
        VGPU_EXEC_REAL(fexecve)(fd, argv, call->envp);
        error = errno;
    }
    return failed(call, error);
}

int vgpu_serve_execveat(struct vgpu_exec_call *call, int directory, const char *path, char *const argv[],
                        char *const envp[], int flags) {
    char buffer[PATH_MAX];
    const char *text = path;
    if (directory != AT_FDCWD && vgpu_program_is_text(path) && path[0] != '/') {
        vgpu_program_path(directory, path, buffer, sizeof(buffer));
        text = buffer;
    }
    int error = vgpu_exec_begin(call, vgpu_program_look(directory, path, flags), text, envp);
    if (error == 0) {
        VGPU_EXEC_REAL(execveat)(directory, path, argv, call->envp, flags);
        error = errno;
    }
    return failed(call, error);
}

/* File actions may give the child another current directory, and nobody but libc can read them: then a relative path
 * says nothing here, and the program is taken for an ordinary one. */
static enum vgpu_program look_for_spawn(const char *path, const posix_spawn_file_actions_t *actions) {
    if (actions != NULL && (path == NULL || path[0] != '/')) {
        return VGPU_PROGRAM_SERVED;
    }
    return path != NULL ? vgpu_program_look(AT_FDCWD, path, 0) : VGPU_PROGRAM_UNKNOWN;
}

typedef vgpu_exec_type_posix_spawn spawn_function;

static int spawn(struct vgpu_exec_call *call, pid_t *pid, const char *path, const posix_spawn_file_actions_t *actions,
                 const posix_spawnattr_t *attributes, char *const argv[], char *const envp[]) {
    spawn_function *real = (spawn_function *)vgpu_exec_real(call->function);
    int error = vgpu_exec_begin(call, look_for_spawn(path, actions), path, envp);
    error = error != 0 ? error : real(pid, path, actions, attributes, argv, call->envp);
    vgpu_exec_end(call, error);
    return error;
}

static int spawn_by_name(struct vgpu_exec_call *call, pid_t *pid, const char *file,
                         const posix_spawn_file_actions_t *actions, const posix_spawnattr_t *attributes,
                         char *const argv[], char *const envp[]) {
    char buffer[PATH_MAX];
    spawn_function *real = (spawn_function *)vgpu_exec_real(call->function);
    const char *path = vgpu_program_search(file, buffer, sizeof(buffer));
    int error = vgpu_exec_begin(call, look_for_spawn(path, actions), path != NULL ? path : file, envp);
    error = error != 0 ? error : real(pid, file, actions, attributes, argv, call->envp);
    vgpu_exec_end(call, error);
    return error;
}

int vgpu_serve_posix_spawn(struct vgpu_exec_call *call, pid_t *pid, const char *path,
                           const posix_spawn_file_actions_t *actions, const posix_spawnattr_t *attributes,
                           char *const argv[], char *const envp[]) {
    return spawn(call, pid, path, actions, attributes, argv, envp);
}

int vgpu_serve_posix_spawn_old(struct vgpu_exec_call *call, pid_t *pid, const char *path,
                               const posix_spawn_file_actions_t *actions, const posix_spawnattr_t *attributes,
                               char *const argv[], char *const envp[]) {
    return spawn(call, pid, path, actions, attributes, argv, envp);
}

int vgpu_serve_posix_spawnp(struct vgpu_exec_call *call, pid_t *pid, const char *file,
                            const posix_spawn_file_actions_t *actions, const posix_spawnattr_t *attributes,
                            char *const argv[], char *const envp[]) {
    return spawn_by_name(call, pid, file, actions, attributes, argv, envp);
}

int vgpu_serve_posix_spawnp_old(struct vgpu_exec_call *call, pid_t *pid, const char *file,
                                const posix_spawn_file_actions_t *actions, const posix_spawnattr_t *attributes,
                                char *const argv[], char *const envp[]) {
    return spawn_by_name(call, pid, file, actions, attributes, argv, envp);
}
