/* glob: libc's own, with our opendir, readdir and stat in the place of its own (GLOB_ALTDIRFUNC). Those get no word of
 * who asks: for the time of the call, that is kept for the thread. */
#include <glob.h>

#include "syscall/linked.h"
#include "syscall/serve_walk.h"
#include "vgpu/raw.h"

struct asker {
    struct vgpu_process *process;
    uint64_t caller;
};

static __thread __attribute__((tls_model("initial-exec"))) const struct asker *asker;

static void *open_directory(const char *path) {
    return vgpu_linked_opendir(asker->process, asker->caller, path);
}

static struct dirent *read_directory(void *stream) {
    return vgpu_serve_readdir(asker->process, stream, VGPU_REAL(readdir)(stream));
}

static void close_directory(void *stream) {
    closedir(stream);
}

static int stat_file(const char *path, struct stat *to) {
    return vgpu_linked_stat(asker->process, asker->caller, path, to);
}

static int lstat_file(const char *path, struct stat *to) {
    return vgpu_call_lstat(asker->process, asker->caller, path, to);
}

int vgpu_glob_is_ours(const char *pattern, int flags) {
    return pattern != NULL && (flags & GLOB_ALTDIRFUNC) == 0 && vgpu_file_image_known();
}

static int real_glob(const char *pattern, int flags, int (*failed)(const char *, int), glob_t *to) {
    glob_t own = *to;
    own.gl_opendir = open_directory;
    own.gl_readdir = read_directory;
    own.gl_closedir = close_directory;
    own.gl_stat = stat_file;
    own.gl_lstat = lstat_file;
    int answer = VGPU_REAL(glob)(pattern, flags | GLOB_ALTDIRFUNC, failed, &own);
    to->gl_pathc = own.gl_pathc;
    to->gl_pathv = own.gl_pathv;
    to->gl_offs = own.gl_offs;
    to->gl_flags = own.gl_flags & ~GLOB_ALTDIRFUNC;
    return answer;
}

/* Where a pattern starts that is fixed: "/dev/nvidia*" in "/dev". The walk down to its matches is recorded there. */
static void fixed_part(const char *pattern, char *to, size_t size) {
    size_t end = 0;
    for (size_t i = 0; i + 1 < size && pattern[i] != '\0'; i++) {
        if (pattern[i] == '*' || pattern[i] == '?' || pattern[i] == '[' || pattern[i] == '{' || pattern[i] == '\\') {
            break;
        }
        if (pattern[i] == '/') {
            end = i == 0 ? 1 : i;
        }
        to[i] = pattern[i];
    }
    to[end] = '\0';
}

int vgpu_serve_glob(struct vgpu_process *process, enum vgpu_file_function function, uint64_t caller,
                    const char *pattern, int flags, int (*failed)(const char *, int), glob_t *to) {
    const struct asker *outer = asker;
    const struct asker own = {process, caller};
    struct vgpu_file_call call;
    char start[PATH_MAX];
    const char *path = start;
    if (vgpu_file_image(process) == NULL) {
        return VGPU_REAL(glob)(pattern, flags, failed, to);
    }
    fixed_part(pattern, start, sizeof(start));
    int is_told = vgpu_walk_begin(&call, process, function, &path, caller);
    if (is_told && call.error != 0) {
        vgpu_file_end(&call, -call.error);
        return GLOB_ABORTED;
    }
    asker = &own;
    int answer = real_glob(pattern, flags, failed, to);
    asker = outer;
    if (is_told) {
        int error = errno;
        vgpu_file_end(&call, 0);
        errno = error;
    }
    return answer;
}
