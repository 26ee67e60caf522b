/* Listings of the tree's directories. A merged directory has the machine's entries as links to their own paths, and
 * devices as regular files: what readdir says of those is put right here. Nothing is kept: a link is known by its text,
 * a device by its inode. */
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>

#include "syscall/serve_walk.h"
#include "vgpu/image.h"
#include "vgpu/paths.h"
#include "vgpu/raw.h"

/* The inodes of the tree's devices lie between these, so that most regular files need one comparison. */
static uint64_t first_device = 1;
static uint64_t last_device;

static const struct vgpu_path *rows_of(const struct vgpu_image *image) {
    return (const struct vgpu_path *)((const char *)image + image->paths.offset);
}

static int may_be_device(const struct vgpu_image *image, uint64_t inode) {
    uint64_t last = __atomic_load_n(&last_device, __ATOMIC_ACQUIRE);
    if (last == 0) {
        uint64_t first = UINT64_MAX;
        for (uint32_t i = 0; i < image->paths.count; i++) {
            const struct vgpu_path *row = &rows_of(image)[i];
            if (row->device) {
                first = row->tree_ino < first ? row->tree_ino : first;
                last = row->tree_ino > last ? row->tree_ino : last;
            }
        }
        __atomic_store_n(&first_device, first, __ATOMIC_RELAXED);
        __atomic_store_n(&last_device, last, __ATOMIC_RELEASE);
    }
    return inode <= last && inode >= __atomic_load_n(&first_device, __ATOMIC_RELAXED);
}

/* The length of the directory part of `text` where its last component is `name`, else 0. */
static size_t directory_length(const char *text, size_t length, const char *name) {
    size_t tail = vgpu_length(name);
    if (length <= tail + 1 || text[length - tail - 1] != '/' || !vgpu_same_text(text + length - tail, name)) {
        return 0;
    }
    return length - tail - 1;
}

/* Is the open directory `fd` the tree's for the host's directory `path` (of `length` bytes)? */
static int is_merged(const struct vgpu_image *image, int fd, const char *path, size_t length) {
    struct stat own;
    struct stat row;
    for (uint32_t i = 0; i < image->paths.count; i++) {
        const struct vgpu_path *at = &rows_of(image)[i];
        if (at->kind == VGPU_PATH_EXACT && at->path_length == length &&
            memcmp(vgpu_image_text(image, at->path), path, length) == 0) {
            long target = (long)vgpu_image_text(image, at->target);
            return vgpu_raw6(SYS_newfstatat, AT_FDCWD, target, (long)&row, 0, 0, 0) == 0 &&
                   vgpu_raw3(SYS_fstat, fd, (long)&own, 0) == 0 && row.st_dev == own.st_dev && row.st_ino == own.st_ino;
        }
    }
    return 0;
}

static void put_right(struct vgpu_process *process, int fd, struct dirent *entry) {
    const struct vgpu_image *image = process->image;
    struct stat facts;
    if (entry->d_type == DT_LNK) {
        char text[PATH_MAX];
        long got = vgpu_raw6(SYS_readlinkat, fd, (long)entry->d_name, (long)text, sizeof(text) - 1, 0, 0);
        if (got <= 0 || text[0] != '/') {
            return;
        }
        text[got] = '\0';
        size_t length = directory_length(text, (size_t)got, entry->d_name);
        if (length != 0 && is_merged(image, fd, text, length) && ensure_init(process) == VGPU_READY &&
            vgpu_raw6(SYS_newfstatat, AT_FDCWD, (long)text, (long)&facts, AT_SYMLINK_NOFOLLOW, 0, 0) == 0) {
            entry->d_type = IFTODT(facts.st_mode);
            entry->d_ino = facts.st_ino;
        }
    } else if (may_be_device(image, entry->d_ino) && vgpu_raw3(SYS_fstat, fd, (long)&facts, 0) == 0 &&
               vgpu_path_device(image, facts.st_dev, entry->d_ino) != NULL && ensure_init(process) == VGPU_READY) {
        entry->d_type = DT_CHR;
    }
}

static void look_at(struct vgpu_process *process, int fd, struct dirent *entry) {
    if ((entry->d_type == DT_LNK || entry->d_type == DT_REG) && fd >= 0 && vgpu_file_image(process) != NULL) {
        int saved = errno;
        put_right(process, fd, entry);
        errno = saved;
    }
}

struct dirent *vgpu_serve_readdir(struct vgpu_process *process, DIR *stream, struct dirent *entry) {
    if (entry != NULL) {
        look_at(process, dirfd(stream), entry);
    }
    return entry;
}

int vgpu_serve_readdir_r(struct vgpu_process *process, DIR *stream, int answer, struct dirent **found) {
    if (answer == 0 && *found != NULL) {
        look_at(process, dirfd(stream), *found);
    }
    return answer;
}

ssize_t vgpu_serve_entries(struct vgpu_process *process, int fd, void *entries, ssize_t size) {
    for (ssize_t at = 0; at < size;) {
        struct dirent *entry = (struct dirent *)((char *)entries + at);
        look_at(process, fd, entry);
        at += entry->d_reclen;
    }
    return size;
}

struct listing {
    struct dirent **entries;
    size_t count;
    size_t room;
};

/* 0, or the errno. */
static int add_entry(struct listing *list, const struct dirent *entry) {
    if (list->count == list->room) {
        size_t room = list->room != 0 ? 2 * list->room : 16;
        struct dirent **more = realloc(list->entries, room * sizeof(*more));
        if (more == NULL) {
            return ENOMEM;
        }
        list->entries = more;
        list->room = room;
    }
    struct dirent *copy = malloc(entry->d_reclen);
    if (copy == NULL) {
        return ENOMEM;
    }
    list->entries[list->count++] = memcpy(copy, entry, entry->d_reclen);
    return 0;
}

/* As scandir(3), which takes the filter's errno for no failure of its own. */
static long scan(struct vgpu_file_call *call, DIR *stream, struct dirent ***to, int (*filter)(const struct dirent *),
                 int (*order)(const struct dirent **, const struct dirent **)) {
    struct listing list = {0};
    int error = 0;
    while (error == 0) {
        errno = 0;
        struct dirent *entry = vgpu_serve_readdir(call->process, stream, VGPU_REAL(readdir)(stream));
        if (entry == NULL) {
            error = errno;
            break;
        }
        if (filter == NULL || filter(entry) != 0) {
            error = add_entry(&list, entry);
        }
    }
    if (error != 0) {
        while (list.count > 0) {
            free(list.entries[--list.count]);
        }
        free(list.entries);
        return -error;
    }
    if (order != NULL && list.count > 1) {
        qsort(list.entries, list.count, sizeof(*list.entries),
              (int (*)(const void *, const void *))(void (*)(void))order);
    }
    *to = list.entries;
    return (long)list.count;
}

int vgpu_serve_scan(struct vgpu_file_call *call, struct dirent ***to, int (*filter)(const struct dirent *),
                    int (*order)(const struct dirent **, const struct dirent **)) {
    long answer = -call->error;
    if (answer == 0) {
        DIR *stream = VGPU_REAL(opendir)(call->target);
        answer = stream != NULL ? scan(call, stream, to, filter, order) : -errno;
        if (stream != NULL) {
            closedir(stream);
        }
    }
    return (int)vgpu_file_end(call, answer);
}
