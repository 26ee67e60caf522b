/* The working directory: where it is in the tree, the program is told the host's name of it. */
#include <stdlib.h>
#include <string.h>

#include "syscall/linked.h"
#include "vgpu/image.h"
#include "vgpu/raw.h"

/* Relative paths start elsewhere now. */
static void note_place(struct vgpu_process *process) {
    const struct vgpu_image *image = vgpu_file_image(process);
    vgpu_known_forget();
    if (image != NULL) {
        vgpu_near_note_here(image);
    }
}

static int change(struct vgpu_process *process, uint64_t caller, const char *path) {
    struct vgpu_file_call call;
    if (!vgpu_file_enter(&call, process, VGPU_FILE_chdir, AT_FDCWD, &path, caller)) {
        return VGPU_REAL(chdir)(path);
    }
    return (int)vgpu_file_end(&call, call.error != 0 ? -call.error : vgpu_raw3(SYS_chdir, (long)call.target, 0, 0));
}

/* A link may have led to a directory that the machine has as well. */
static void enter_tree(struct vgpu_process *process, uint64_t caller) {
    const struct vgpu_image *image = vgpu_file_image(process);
    char here[PATH_MAX];
    int saved = errno;
    if (image != NULL && vgpu_raw3(SYS_getcwd, (long)here, sizeof(here), 0) > 0 && here[0] == '/' &&
        vgpu_path_find(image, here, NULL, 0, NULL) > 0) {
        change(process, caller, here);
    }
    errno = saved;
}

int vgpu_serve_chdir(struct vgpu_process *process, uint64_t caller, const char *path) {
    int answer = change(process, caller, path);
    if (answer < 0 && vgpu_linked_is_missing(errno) && vgpu_linked_find(AT_FDCWD, path, NULL)) {
        char *there = __builtin_alloca(PATH_MAX);
        answer = vgpu_linked_find(AT_FDCWD, path, there) ? change(process, caller, there) : answer;
    }
    if (answer == 0) {
        enter_tree(process, caller);
        note_place(process);
    }
    return answer;
}

int vgpu_serve_fchdir(struct vgpu_process *process, int fd) {
    int answer = VGPU_REAL(fchdir)(fd);
    if (answer == 0) {
        note_place(process);
    }
    return answer;
}

/* The working directory in host terms, if it is in the tree: its length without the NUL. 0: it is elsewhere. */
static size_t place(struct vgpu_process *process, char *to, size_t size) {
    const struct vgpu_image *image = vgpu_file_image(process);
    if (image == NULL || vgpu_raw3(SYS_getcwd, (long)to, (long)size, 0) <= 0) {
        return 0;
    }
    const char *behind = vgpu_spelling_behind_root(image, to);
    if (behind == NULL) {
        return 0;
    }
    size_t length = vgpu_length(behind);
    memmove(to, behind, length + 1);
    return length;
}

/* As glibc's getcwd: without a buffer it makes one, of the size needed or of `size` where that is given. */
static char *put_place(const char *here, size_t length, char *to, size_t size) {
    if ((size != 0 || to != NULL) && size <= length) {
        errno = to != NULL && size == 0 ? EINVAL : ERANGE;
        return NULL;
    }
    if (to == NULL) {
        to = malloc(size != 0 ? size : length + 1);
    }
    return to != NULL ? memcpy(to, here, length + 1) : NULL;
}

char *vgpu_serve_getcwd(struct vgpu_process *process, char *to, size_t size) {
    char here[PATH_MAX];
    size_t length = place(process, here, sizeof(here));
    return length != 0 ? put_place(here, length, to, size) : VGPU_REAL(getcwd)(to, size);
}

char *vgpu_serve_getcwd_chk(struct vgpu_process *process, char *to, size_t size, size_t room) {
    char here[PATH_MAX];
    size_t length = size > room ? 0 : place(process, here, sizeof(here));
    return length != 0 ? put_place(here, length, to, size) : VGPU_REAL(__getcwd_chk)(to, size, room);
}

char *vgpu_serve_getwd(struct vgpu_process *process, char *to) {
    char here[PATH_MAX];
    size_t length = to == NULL ? 0 : place(process, here, sizeof(here));
    return length != 0 ? put_place(here, length, to, PATH_MAX) : VGPU_REAL(getwd)(to);
}

char *vgpu_serve_getwd_chk(struct vgpu_process *process, char *to, size_t room) {
    char here[PATH_MAX];
    size_t length = to == NULL ? 0 : place(process, here, sizeof(here));
    return length != 0 && length < room ? put_place(here, length, to, room) : VGPU_REAL(__getwd_chk)(to, room);
}

/* PWD may be the shell's way to the same directory; what the real function makes of it is right then. */
char *vgpu_serve_current_dir(struct vgpu_process *process) {
    char here[PATH_MAX];
    size_t length = place(process, here, sizeof(here));
    return length != 0 ? put_place(here, length, NULL, 0) : VGPU_REAL(get_current_dir_name)();
}
