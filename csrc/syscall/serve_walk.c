/* ftw and nftw, as glibc's: the same flags, the same order (that of the directory), the same file once only where links
 * are followed. A directory's names are read at once, so that no more than one descriptor is ever open. */
#include <stdlib.h>
#include <string.h>

#include "syscall/linked.h"
#include "syscall/serve_walk.h"
#include "vgpu/image.h"
#include "vgpu/paths.h"
#include "vgpu/raw.h"

int vgpu_walk_begin(struct vgpu_file_call *call, struct vgpu_process *process, enum vgpu_file_function function,
                    const char **path, uint64_t caller) {
    const struct vgpu_image *image = vgpu_file_image(process);
    if (image == NULL) {
        return 0;
    }
    if (vgpu_file_enter(call, process, function, AT_FDCWD, path, caller)) {
        return 1;
    }
    int has_below = vgpu_path_leads_to(image, *path) || vgpu_linked_find(AT_FDCWD, *path, NULL);
    if (!has_below || ensure_init(process) != VGPU_READY) {
        return 0;
    }
    call->process = process;
    call->function = function;
    call->path = *path;
    call->caller = caller;
    call->entry = NULL;
    call->saved_errno = errno;
    call->error = 0;
    call->flags = 0;
    return 1;
}

dev_t vgpu_walk_device(struct vgpu_process *process, const char *path, const struct stat *facts) {
    const struct vgpu_path *entry;
    struct stat top;
    if (vgpu_spelling_find(process->image, AT_FDCWD, path, NULL, 0, &entry) == VGPU_SPELLING_TREE) {
        struct vgpu_mount mount = vgpu_mount_of(vgpu_image_text(process->image, entry->path));
        if (vgpu_raw6(SYS_newfstatat, AT_FDCWD, (long)mount.name, (long)&top, 0, 0, 0) == 0) {
            return top.st_dev;
        }
    }
    return facts->st_dev;
}

struct seen {
    dev_t device;
    ino_t inode;
};

struct tree_walk {
    struct vgpu_process *process;
    uint64_t caller;
    __ftw_func_t plain;  /* ftw's, or NULL */
    __nftw_func_t visit; /* nftw's */
    int flags;
    struct FTW at;
    char *path;
    size_t room;
    dev_t device;      /* FTW_MOUNT: where it started */
    struct seen *seen; /* directories, where links are followed */
    size_t seen_count;
};

/* What ftw(3), which knows fewer kinds, is told of each of nftw's. */
static int plain_kind(int kind) {
    return kind == FTW_SL ? FTW_F : kind == FTW_DP ? FTW_D : kind == FTW_SLN ? FTW_NS : kind;
}

static int tell(struct tree_walk *walk, const struct stat *facts, int kind) {
    return walk->plain != NULL ? walk->plain(walk->path, facts, plain_kind(kind))
                               : walk->visit(walk->path, facts, kind, &walk->at);
}

static int look(struct tree_walk *walk, struct stat *facts, int follow) {
    return follow ? vgpu_linked_stat(walk->process, walk->caller, walk->path, facts)
                  : vgpu_call_lstat(walk->process, walk->caller, walk->path, facts);
}

/* 1: the directory is new; 0: it has been walked; -1: no memory. */
static int first_time(struct tree_walk *walk, const struct stat *facts) {
    for (size_t i = 0; i < walk->seen_count; i++) {
        if (walk->seen[i].inode == facts->st_ino && walk->seen[i].device == facts->st_dev) {
            return 0;
        }
    }
    if ((walk->seen_count & (walk->seen_count - 1)) == 0) {
        size_t room = walk->seen_count != 0 ? 2 * walk->seen_count : 1;
        struct seen *more = realloc(walk->seen, room * sizeof(*more));
        if (more == NULL) {
            return -1;
        }
        walk->seen = more;
    }
    walk->seen[walk->seen_count++] = (struct seen){facts->st_dev, facts->st_ino};
    return 1;
}

/* Makes `name` the path's last component, behind `length` bytes. 0, or -1: no memory. */
static int put_name(struct tree_walk *walk, size_t length, const char *name) {
    size_t size = strlen(name) + 1;
    if (length + 1 + size > walk->room) {
        size_t room = 2 * (length + 1 + size);
        char *more = realloc(walk->path, room);
        if (more == NULL) {
            return -1;
        }
        walk->path = more;
        walk->room = room;
    }
    if (length == 0 || walk->path[length - 1] != '/') {
        walk->path[length++] = '/';
    }
    memcpy(walk->path + length, name, size);
    walk->at.base = (int)length;
    return 0;
}

/* FTW_CHDIR: into the first `length` bytes of the path. A system call, so that nobody's table sees a change that the
 * program has not made. */
static int enter(struct tree_walk *walk, size_t length) {
    char target[PATH_MAX];
    char kept = walk->path[length];
    walk->path[length] = '\0';
    const char *path = walk->path;
    if (vgpu_path_find(walk->process->image, path, target, sizeof(target), NULL) == 1) {
        path = target;
    }
    long answer = vgpu_raw3(SYS_chdir, (long)path, 0, 0);
    if (answer == 0) {
        vgpu_near_note(walk->process->image, path);
    }
    walk->path[length] = kept;
    errno = answer < 0 ? (int)-answer : errno;
    return answer < 0 ? -1 : 0;
}

/* The names in the directory at the path, one behind the other, and an empty one. NULL: errno says why. */
static char *names_of(struct tree_walk *walk) {
    DIR *stream = vgpu_linked_opendir(walk->process, walk->caller, walk->path);
    char *names = NULL;
    size_t used = 0;
    size_t room = 0;
    if (stream == NULL) {
        return NULL;
    }
    for (;;) {
        const struct dirent *entry = VGPU_REAL(readdir)(stream);
        const char *name = entry != NULL ? entry->d_name : "";
        size_t size = strlen(name) + 1;
        if (strcmp(name, ".") == 0 || strcmp(name, "..") == 0) {
            continue;
        }
        if (used + size > room) {
            char *more = realloc(names, room = 2 * (used + size));
            if (more == NULL) {
                free(names);
                closedir(stream);
                errno = ENOMEM;
                return NULL;
            }
            names = more;
        }
        memcpy(names + used, name, size);
        used += size;
        if (entry == NULL) {
            closedir(stream);
            return names;
        }
    }
}

static int walk_entry(struct tree_walk *walk);

static int walk_directory(struct tree_walk *walk, const struct stat *facts) {
    size_t length = strlen(walk->path);
    int base = walk->at.base;
    char *names = names_of(walk);
    if (names == NULL) {
        return errno == EACCES ? tell(walk, facts, FTW_DNR) : -1;
    }
    int changes = (walk->flags & FTW_CHDIR) != 0;
    int result = (walk->flags & FTW_DEPTH) != 0 ? 0 : tell(walk, facts, FTW_D);
    if (result == 0 && changes) {
        result = enter(walk, length);
    }
    if (result != 0) {
        free(names);
        return result;
    }
    walk->at.level++;
    for (const char *name = names; result == 0 && *name != '\0'; name += strlen(name) + 1) {
        result = put_name(walk, length, name) == 0 ? walk_entry(walk) : -1;
    }
    walk->at.level--;
    walk->at.base = base;
    walk->path[length] = '\0';
    free(names);
    if ((walk->flags & FTW_ACTIONRETVAL) != 0 && result == FTW_SKIP_SIBLINGS) {
        result = 0;
    }
    if (result == 0 && (walk->flags & FTW_DEPTH) != 0) {
        result = tell(walk, facts, FTW_DP);
    }
    int goes_on = result == 0 || ((walk->flags & FTW_ACTIONRETVAL) != 0 && result != -1 && result != FTW_STOP);
    if (changes && goes_on && enter(walk, base > 1 ? (size_t)base - 1 : 1) != 0) {
        result = -1;
    }
    return result;
}

/* The file at the path, and what is below it. The program's answer, or -1. */
static int walk_file(struct tree_walk *walk, int is_start) {
    struct stat facts;
    int follow = (walk->flags & FTW_PHYS) == 0;
    if (look(walk, &facts, follow) != 0) {
        int error = errno;
        if (follow && error == ENOENT && look(walk, &facts, 0) == 0 && S_ISLNK(facts.st_mode)) {
            return tell(walk, &facts, FTW_SLN);
        }
        errno = error;
        return is_start || (error != EACCES && error != ENOENT) ? -1 : tell(walk, &facts, FTW_NS);
    }
    dev_t device = (walk->flags & FTW_MOUNT) != 0 ? vgpu_walk_device(walk->process, walk->path, &facts) : 0;
    if (is_start) {
        walk->device = device;
    } else if (device != walk->device && (walk->flags & FTW_MOUNT) != 0) {
        return 0;
    }
    if (S_ISDIR(facts.st_mode)) {
        int is_new = follow ? first_time(walk, &facts) : 1;
        return is_new > 0 ? walk_directory(walk, &facts) : is_new;
    }
    return tell(walk, &facts, S_ISLNK(facts.st_mode) ? FTW_SL : FTW_F);
}

static int walk_entry(struct tree_walk *walk) {
    int result = walk_file(walk, 0);
    return (walk->flags & FTW_ACTIONRETVAL) != 0 && result == FTW_SKIP_SUBTREE ? 0 : result;
}

/* The start's path without slashes at its end; FTW_CHDIR comes back to where it was. */
static int walk_from(struct tree_walk *walk, const char *path) {
    size_t length = strlen(path);
    int back = -1;
    while (length > 1 && path[length - 1] == '/') {
        length--;
    }
    walk->room = length + PATH_MAX;
    walk->path = malloc(walk->room);
    if (walk->path == NULL) {
        return -1;
    }
    memcpy(walk->path, path, length);
    walk->path[length] = '\0';
    const char *slash = strrchr(walk->path, '/');
    walk->at.base = slash != NULL && slash[1] != '\0' ? (int)(slash + 1 - walk->path) : 0;
    int result = 0;
    if ((walk->flags & FTW_CHDIR) != 0) {
        back = (int)vgpu_raw6(SYS_openat, AT_FDCWD, (long)".", O_RDONLY | O_DIRECTORY | O_CLOEXEC, 0, 0, 0);
        result = back < 0        ? -1
                 : slash != NULL ? enter(walk, slash == walk->path ? 1 : (size_t)(slash - walk->path))
                                 : 0;
    }
    if (result == 0) {
        result = walk_file(walk, 1);
    }
    if ((walk->flags & FTW_ACTIONRETVAL) != 0 && (result == FTW_SKIP_SUBTREE || result == FTW_SKIP_SIBLINGS)) {
        result = 0;
    }
    if (back >= 0) {
        vgpu_raw3(SYS_fchdir, back, 0, 0);
        vgpu_raw3(SYS_close, back, 0, 0);
    }
    free(walk->seen);
    free(walk->path);
    return result;
}

/* The record says whether the walk could be made; its errno is left to the program. */
static int walk_and_record(struct vgpu_file_call *call, struct tree_walk *walk) {
    if (call->error != 0) {
        return (int)vgpu_file_end(call, -call->error);
    }
    int result = walk_from(walk, call->path);
    int error = errno;
    vgpu_file_end(call, 0);
    errno = result != 0 ? error : call->saved_errno;
    return result;
}

int vgpu_serve_ftw(struct vgpu_process *process, enum vgpu_file_function function, uint64_t caller, const char *path,
                   __ftw_func_t visit, int descriptors) {
    struct vgpu_file_call call;
    if (path == NULL || !vgpu_walk_begin(&call, process, function, &path, caller)) {
        return VGPU_REAL(ftw)(path, visit, descriptors);
    }
    struct tree_walk walk = {.process = process, .caller = caller, .plain = visit};
    return walk_and_record(&call, &walk);
}

int vgpu_serve_nftw(struct vgpu_process *process, enum vgpu_file_function function, uint64_t caller, const char *path,
                    __nftw_func_t visit, int descriptors, int flags) {
    struct vgpu_file_call call;
    const int known = FTW_PHYS | FTW_MOUNT | FTW_CHDIR | FTW_DEPTH | FTW_ACTIONRETVAL;
    /* A relative path means something else after each change of directory: that walk is libc's own. */
    int lost = path == NULL || (path[0] != '/' && (flags & FTW_CHDIR) != 0);
    if (lost || (flags & ~known) != 0 || !vgpu_walk_begin(&call, process, function, &path, caller)) {
        return VGPU_REAL(nftw)(path, visit, descriptors, flags);
    }
    struct tree_walk walk = {.process = process, .caller = caller, .visit = visit, .flags = flags};
    return walk_and_record(&call, &walk);
}
