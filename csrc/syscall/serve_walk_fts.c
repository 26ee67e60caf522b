/* fts(3) for walks that come by the tree, as its manual page and glibc's have it. The directory of the process is never
 * changed: as with FTS_NOCHDIR, fts_accpath is fts_path. Each entry has its path in a block of its own. */
#include <stdlib.h>
#include <string.h>

#include "syscall/linked.h"
#include "syscall/serve_walk.h"
#include "vgpu/image.h"
#include "vgpu/raw.h"

struct own_walk {
    FTS head;
    struct vgpu_process *process;
    uint64_t caller;
};

/* The struct stat of an entry lies before it, its name in it, its path behind. */
static FTSENT *new_entry(const char *above, const char *name) {
    size_t name_length = strlen(name);
    size_t length = strlen(above);
    int slash = length > 0 && above[length - 1] != '/';
    size_t path_room = length + (size_t)slash + name_length + 1;
    char *block = calloc(1, sizeof(struct stat) + sizeof(FTSENT) + name_length + 1 + path_room);
    if (block == NULL) {
        return NULL;
    }
    FTSENT *entry = (FTSENT *)(void *)(block + sizeof(struct stat));
    entry->fts_statp = (struct stat *)(void *)block;
    char *path = entry->fts_name + name_length + 1;
    memcpy(entry->fts_name, name, name_length + 1);
    memcpy(path, above, length);
    memcpy(path + length, "/", (size_t)slash);
    memcpy(path + length + (size_t)slash, name, name_length + 1);
    entry->fts_namelen = (unsigned short)name_length;
    entry->fts_path = entry->fts_accpath = path;
    entry->fts_pathlen = (unsigned short)(path_room - 1);
    entry->fts_instr = FTS_NOINSTR;
    return entry;
}

static void free_entry(FTSENT *entry) {
    if (entry != NULL) {
        free(entry->fts_statp);
    }
}

static void free_list(FTSENT *entry) {
    while (entry != NULL) {
        FTSENT *next = entry->fts_link;
        free_entry(entry);
        entry = next;
    }
}

static int is_dot(const char *name) {
    return name[0] == '.' && (name[1] == '\0' || (name[1] == '.' && name[2] == '\0'));
}

/* Fills in what stat says of an entry; its fts_info. */
static unsigned short look(struct own_walk *walk, FTSENT *entry, int follow) {
    struct stat *facts = entry->fts_statp;
    follow |= (walk->head.fts_options & FTS_LOGICAL) != 0;
    int failed = follow ? vgpu_linked_stat(walk->process, walk->caller, entry->fts_path, facts)
                        : vgpu_call_lstat(walk->process, walk->caller, entry->fts_path, facts);
    if (failed && follow) {
        int error = errno;
        if (vgpu_call_lstat(walk->process, walk->caller, entry->fts_path, facts) == 0) {
            errno = 0;
            return FTS_SLNONE;
        }
        errno = error;
    }
    if (failed) {
        entry->fts_errno = errno;
        memset(facts, 0, sizeof(*facts));
        return FTS_NS;
    }
    if (!S_ISDIR(facts->st_mode)) {
        return S_ISLNK(facts->st_mode) ? FTS_SL : S_ISREG(facts->st_mode) ? FTS_F : FTS_DEFAULT;
    }
    entry->fts_dev = vgpu_walk_device(walk->process, entry->fts_path, facts);
    entry->fts_ino = facts->st_ino;
    entry->fts_nlink = facts->st_nlink;
    if (entry->fts_level > FTS_ROOTLEVEL && is_dot(entry->fts_name)) {
        return FTS_DOT;
    }
    for (FTSENT *above = entry->fts_parent; above->fts_level >= FTS_ROOTLEVEL; above = above->fts_parent) {
        if (above->fts_ino == entry->fts_ino && above->fts_statp->st_dev == facts->st_dev) {
            entry->fts_cycle = above;
            return FTS_DC;
        }
    }
    return FTS_D;
}

static FTSENT *sorted(struct own_walk *walk, FTSENT *first, size_t count) {
    FTSENT **order = walk->head.fts_compar != NULL && count > 1 ? malloc(count * sizeof(FTSENT *)) : NULL;
    if (order == NULL) {
        return first;
    }
    for (size_t i = 0; i < count; i++, first = first->fts_link) {
        order[i] = first;
    }
    qsort(order, count, sizeof(*order), walk->head.fts_compar);
    for (size_t i = 0; i < count; i++) {
        order[i]->fts_link = i + 1 < count ? order[i + 1] : NULL;
    }
    first = order[0];
    free(order);
    return first;
}

/* No memory, or a directory that cannot be read to its end: the walk is over. */
static FTSENT *stop(struct own_walk *walk, FTSENT *list, DIR *stream) {
    int error = errno;
    free_list(list);
    if (stream != NULL) {
        closedir(stream);
    }
    walk->head.fts_options |= FTS_STOP;
    errno = error;
    return NULL;
}

/* May an entry do without a stat? As in glibc, only where links are not followed. */
static int unlooked(const struct own_walk *walk, unsigned char type) {
    const int both = FTS_NOSTAT | FTS_PHYSICAL;
    return (walk->head.fts_options & both) == both && type != DT_UNKNOWN && type != DT_DIR;
}

/* The entries of the directory `above`; NULL: none, or its fts_info or FTS_STOP tells why. */
static FTSENT *build(struct own_walk *walk, FTSENT *above) {
    DIR *stream = vgpu_linked_opendir(walk->process, walk->caller, above->fts_accpath);
    FTSENT *first = NULL;
    FTSENT **last = &first;
    size_t count = 0;
    if (stream == NULL) {
        above->fts_info = FTS_DNR;
        above->fts_errno = errno;
        return NULL;
    }
    for (;;) {
        errno = 0;
        struct dirent *found = vgpu_serve_readdir(walk->process, stream, VGPU_REAL(readdir)(stream));
        if (found == NULL) {
            break;
        }
        if (is_dot(found->d_name) && (walk->head.fts_options & FTS_SEEDOT) == 0) {
            continue;
        }
        FTSENT *entry = new_entry(above->fts_path, found->d_name);
        if (entry == NULL) {
            return stop(walk, first, stream);
        }
        entry->fts_level = (short)(above->fts_level + 1);
        entry->fts_parent = above;
        entry->fts_info = unlooked(walk, found->d_type) ? FTS_NSOK : look(walk, entry, 0);
        *last = entry;
        last = &entry->fts_link;
        count++;
    }
    if (errno != 0) {
        return stop(walk, first, stream);
    }
    closedir(stream);
    return sorted(walk, first, count);
}

/* The walk's roots, or NULL with errno. */
static FTSENT *roots(struct own_walk *walk, FTSENT *above, char *const *paths) {
    FTSENT *first = NULL;
    FTSENT **last = &first;
    size_t count = 0;
    for (; *paths != NULL; paths++, count++) {
        FTSENT *entry = **paths != '\0' ? new_entry("", *paths) : NULL;
        if (entry == NULL) {
            errno = **paths != '\0' ? ENOMEM : ENOENT;
            free_list(first);
            return NULL;
        }
        entry->fts_level = FTS_ROOTLEVEL;
        entry->fts_parent = above;
        entry->fts_pathlen = 0;
        entry->fts_info = look(walk, entry, (walk->head.fts_options & FTS_COMFOLLOW) != 0);
        *last = entry;
        last = &entry->fts_link;
    }
    return sorted(walk, first, count);
}

/* The walk stands before its roots: at an entry that links to the first. */
static FTS *open_walk(struct vgpu_process *process, uint64_t caller, char *const *paths, int options,
                      vgpu_fts_order *order) {
    struct own_walk *walk = calloc(1, sizeof(*walk));
    FTSENT *above = new_entry("", "");
    FTSENT *start = new_entry("", "");
    if (walk != NULL && above != NULL && start != NULL) {
        walk->process = process;
        walk->caller = caller;
        walk->head.fts_options = options | VGPU_FTS_OURS | FTS_NOCHDIR;
        walk->head.fts_compar = (int (*)(const void *, const void *))(void (*)(void))order;
        walk->head.fts_rfd = -1;
        above->fts_level = FTS_ROOTPARENTLEVEL;
        start->fts_info = FTS_INIT;
        start->fts_level = FTS_ROOTLEVEL;
        start->fts_parent = above;
        errno = 0;
        start->fts_link = roots(walk, above, paths);
        if (start->fts_link != NULL || errno == 0) {
            walk->head.fts_cur = start;
            return &walk->head;
        }
    }
    int error = errno;
    free_entry(start);
    free_entry(above);
    free(walk);
    errno = error;
    return NULL;
}

FTS *vgpu_serve_fts_open(struct vgpu_process *process, enum vgpu_file_function function, uint64_t caller,
                         char *const *paths, int options, vgpu_fts_order *order) {
    struct vgpu_file_call call;
    int ours = 0;
    for (size_t i = 0; (options & ~FTS_OPTIONMASK) == 0 && !ours && paths[i] != NULL; i++) {
        const char *path = paths[i];
        ours = path[0] != '\0' && vgpu_walk_begin(&call, process, function, &path, caller);
    }
    if (!ours) {
        return VGPU_REAL(fts_open)(paths, options, order);
    }
    FTS *walk = NULL;
    errno = call.error;
    if (call.error == 0) {
        walk = open_walk(process, caller, paths, options, order);
    }
    return vgpu_file_end_pointer(&call, walk);
}

/* A root's name is its last component from when it is first shown, and its path has a length only then. */
static void name_root(FTSENT *entry) {
    const char *slash = strrchr(entry->fts_name, '/');
    entry->fts_pathlen = (unsigned short)strlen(entry->fts_path);
    if (slash != NULL && (slash != entry->fts_name || slash[1] != '\0')) {
        entry->fts_namelen = (unsigned short)strlen(slash + 1);
        memmove(entry->fts_name, slash + 1, (size_t)entry->fts_namelen + 1);
    }
}

static FTSENT *show(struct own_walk *walk, FTSENT *entry) {
    walk->head.fts_cur = entry;
    return entry;
}

/* The next of a list, or the directory above it, left for the last time. */
static FTSENT *next(struct own_walk *walk, FTSENT *done) {
    FTSENT *above = done->fts_parent;
    for (FTSENT *entry = done->fts_link; entry != NULL; done = entry, entry = entry->fts_link) {
        free_entry(done);
        if (above->fts_level == FTS_ROOTPARENTLEVEL) {
            name_root(entry);
            walk->head.fts_dev = entry->fts_dev;
        }
        if (entry->fts_instr == FTS_SKIP) {
            continue;
        }
        if (entry->fts_instr == FTS_FOLLOW) {
            entry->fts_info = look(walk, entry, 1);
            entry->fts_instr = FTS_NOINSTR;
        }
        return show(walk, entry);
    }
    free_entry(done);
    if (above->fts_level == FTS_ROOTPARENTLEVEL) {
        free_entry(above);
        errno = 0;
        return show(walk, NULL);
    }
    above->fts_info = above->fts_errno != 0 ? FTS_ERR : FTS_DP;
    return show(walk, above);
}

/* A directory that has been shown is gone into now, unless it is not to be. */
static FTSENT *descend(struct own_walk *walk, FTSENT *entry, int instruction) {
    int other = (walk->head.fts_options & FTS_XDEV) != 0 && entry->fts_dev != walk->head.fts_dev;
    if (instruction == FTS_SKIP || other) {
        free_list(walk->head.fts_child);
        walk->head.fts_child = NULL;
        entry->fts_info = FTS_DP;
        return entry;
    }
    FTSENT *child = walk->head.fts_child != NULL ? walk->head.fts_child : build(walk, entry);
    walk->head.fts_child = NULL;
    if (child != NULL) {
        /* The first may be one to skip: it is found as the one behind an entry that is not there. */
        FTSENT *before = new_entry("", "");
        if (before == NULL) {
            return stop(walk, child, NULL);
        }
        before->fts_link = child;
        before->fts_parent = entry;
        return next(walk, before);
    }
    if ((walk->head.fts_options & FTS_STOP) != 0) {
        return NULL;
    }
    if (entry->fts_info == FTS_D) {
        entry->fts_info = FTS_DP;
    }
    return entry;
}

FTSENT *vgpu_serve_fts_read(struct vgpu_process *process, uint64_t caller, FTS *head) {
    struct own_walk *walk = (struct own_walk *)head;
    FTSENT *entry = head->fts_cur;
    walk->process = process;
    walk->caller = caller;
    if (entry == NULL || (head->fts_options & FTS_STOP) != 0) {
        return NULL;
    }
    unsigned short instruction = entry->fts_instr;
    entry->fts_instr = FTS_NOINSTR;
    if (instruction == FTS_AGAIN) {
        entry->fts_info = look(walk, entry, 0);
        return entry;
    }
    if (instruction == FTS_FOLLOW && (entry->fts_info == FTS_SL || entry->fts_info == FTS_SLNONE)) {
        entry->fts_info = look(walk, entry, 1);
        return entry;
    }
    return entry->fts_info == FTS_D ? descend(walk, entry, instruction) : next(walk, entry);
}

FTSENT *vgpu_serve_fts_children(struct vgpu_process *process, uint64_t caller, FTS *head, int what) {
    struct own_walk *walk = (struct own_walk *)head;
    FTSENT *entry = head->fts_cur;
    walk->process = process;
    walk->caller = caller;
    if (what != 0 && what != FTS_NAMEONLY) {
        errno = EINVAL;
        return NULL;
    }
    errno = 0;
    if (entry == NULL || (head->fts_options & FTS_STOP) != 0) {
        return NULL;
    }
    if (entry->fts_info == FTS_INIT) {
        return entry->fts_link;
    }
    if (entry->fts_info != FTS_D) {
        return NULL;
    }
    free_list(head->fts_child);
    head->fts_child = build(walk, entry);
    return head->fts_child;
}

int vgpu_serve_fts_set(FTSENT *entry, int instruction) {
    int known = instruction == 0 || instruction == FTS_AGAIN || instruction == FTS_FOLLOW ||
                instruction == FTS_NOINSTR || instruction == FTS_SKIP;
    if (!known) {
        errno = EINVAL;
        return 1;
    }
    entry->fts_instr = (unsigned short)instruction;
    return 0;
}

int vgpu_serve_fts_close(FTS *head) {
    FTSENT *entry = head->fts_cur;
    while (entry != NULL) {
        FTSENT *after = entry->fts_link != NULL ? entry->fts_link : entry->fts_parent;
        free_entry(entry);
        entry = after;
    }
    free_list(head->fts_child);
    free(head);
    return 0;
}
