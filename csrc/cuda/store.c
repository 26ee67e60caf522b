/* Contents of device memory. What has never been written is zeros and takes no memory: a client may allocate all of a
 * simulated 80 GB, and read it. What is written is counted in granules; a process may have memory.backing of them. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "cuda/model.h"

enum { BITS = 64 };

static uint64_t in_pages(uint64_t size) {
    return (size + VGPU_PAGE - 1) / VGPU_PAGE * VGPU_PAGE;
}

static int has(const struct vgpu_store *store, uint64_t granule) {
    return (store->written[granule / BITS] >> granule % BITS & 1) != 0;
}

static uint64_t limit_of(const struct vgpu_process *process) {
    uint64_t limit = process->image != NULL ? process->image->memory.backing : 0;
    return limit != 0 ? limit : VGPU_BACKING_DEFAULT;
}

static int charge(struct vgpu_process *process, struct vgpu_call *call, struct vgpu_store *store, uint64_t bytes) {
    struct vgpu_memory *memory = &process->cuda->memory;
    uint64_t limit = limit_of(process);
    if (bytes > limit || memory->charged > limit - bytes) {
        call->event.text = "memory.backing of the host file is used up";
        return 0;
    }
    memory->charged += bytes;
    store->charged += bytes;
    return 1;
}

struct vgpu_store *vgpu_store_new(uint64_t size) {
    struct vgpu_store *store = calloc(1, sizeof(*store));
    if (store != NULL) {
        store->size = size;
        store->users = 1;
        store->file = -1;
    }
    return store;
}

struct vgpu_store *vgpu_store_new_direct(void *bytes, uint64_t size, int own) {
    struct vgpu_store *store = vgpu_store_new(size);
    if (store != NULL) {
        store->bytes = bytes;
        store->direct = 1;
        store->own = own != 0;
    }
    return store;
}

/* Not of huge pages: one byte written would be 2 MiB taken. */
static uint8_t *map(uint64_t size) {
    void *got = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (got == MAP_FAILED) {
        return NULL;
    }
    madvise(got, size, MADV_NOHUGEPAGE);
    return got;
}

int vgpu_store_file(const struct vgpu_store *store) {
    struct stat status;
    int is_ours = store->file >= 0 && fstat(store->file, &status) == 0 && status.st_ino == store->inode;
    return is_ours ? store->file : -1;
}

static void set_file(struct vgpu_store *store, int file) {
    struct stat status;
    store->inode = fstat(file, &status) == 0 ? status.st_ino : 0;
    store->file = file;
}

void vgpu_store_drop(struct vgpu_memory *memory, struct vgpu_store *store) {
    if (store == NULL || --store->users != 0) {
        return;
    }
    memory->charged -= store->charged;
    if (store->own && store->bytes != NULL) {
        munmap(store->bytes, in_pages(store->size));
    }
    if (vgpu_store_file(store) >= 0) {
        close(store->file);
    }
    free(store->written);
    free(store);
}

struct vgpu_store *vgpu_store_new_managed(struct vgpu_process *process, struct vgpu_call *call, uint64_t size) {
    struct vgpu_store *store = size <= SIZE_MAX - VGPU_PAGE ? vgpu_store_new(size) : NULL;
    if (store == NULL) {
        return NULL;
    }
    store->direct = 1;
    store->own = 1;
    store->bytes = charge(process, call, store, in_pages(size)) ? map(in_pages(size)) : NULL;
    if (store->bytes == NULL) {
        vgpu_store_drop(&process->cuda->memory, store);
        return NULL;
    }
    return store;
}

struct vgpu_store *vgpu_store_new_shared(struct vgpu_process *process, struct vgpu_call *call, int file,
                                         uint64_t size) {
    struct vgpu_store *store = vgpu_store_new(size);
    if (store == NULL) {
        return NULL;
    }
    store->direct = 1;
    store->own = 1;
    void *got = MAP_FAILED;
    if (charge(process, call, store, in_pages(size))) {
        got = mmap(NULL, in_pages(size), PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
    }
    if (got == MAP_FAILED) {
        vgpu_store_drop(&process->cuda->memory, store);
        return NULL;
    }
    store->bytes = got;
    set_file(store, file);
    return store;
}

/* What has been written, into the file; the rest is zeros there, too. */
static int save(const struct vgpu_store *store, int file) {
    for (uint64_t at = 0; at < store->size;) {
        uint64_t length = store->size - at;
        const uint8_t *from = vgpu_store_read(store, at, &length);
        if (from != NULL) {
            ssize_t done = pwrite(file, from, length, (off_t)at); /* at most 0x7ffff000 bytes: pwrite(2) */
            if (done == 0 || (done < 0 && errno != EINTR)) {
                return 0;
            }
            length = done > 0 ? (uint64_t)done : 0;
        }
        at += length;
    }
    return 1;
}

int vgpu_store_share(struct vgpu_process *process, struct vgpu_call *call, struct vgpu_store *store, const char *name) {
    if (store->file >= 0) {
        return vgpu_store_file(store) >= 0;
    }
    uint64_t size = in_pages(store->size);
    uint64_t more = store->direct ? 0 : size - store->charged;
    if (!charge(process, call, store, more)) {
        return 0;
    }
    int file = memfd_create(name, MFD_CLOEXEC);
    if (file >= 0 && ftruncate(file, (off_t)size) == 0 && save(store, file)) {
        void *got = mmap(store->bytes, size, PROT_READ | PROT_WRITE,
                         MAP_SHARED | (store->bytes != NULL ? MAP_FIXED : 0), file, 0);
        if (got != MAP_FAILED) {
            store->bytes = got;
            store->direct = 1;
            store->own = 1;
            set_file(store, file);
            return 1;
        }
    }
    if (file >= 0) {
        close(file);
    }
    process->cuda->memory.charged -= more;
    store->charged -= more;
    return 0;
}

const uint8_t *vgpu_store_read(const struct vgpu_store *store, uint64_t offset, uint64_t *length) {
    if (store->direct || store->bytes == NULL) {
        return store->bytes != NULL ? store->bytes + offset : NULL;
    }
    uint64_t granule = offset / VGPU_GRANULE;
    uint64_t last = (offset + *length - 1) / VGPU_GRANULE;
    int there = has(store, granule);
    while (granule <= last && has(store, granule) == there) {
        granule++;
    }
    if (granule <= last) {
        *length = granule * VGPU_GRANULE - offset;
    }
    return there ? store->bytes + offset : NULL;
}

static int make_room(struct vgpu_store *store) {
    if (store->bytes != NULL) {
        return 1;
    }
    uint64_t granules = (store->size + VGPU_GRANULE - 1) / VGPU_GRANULE;
    store->written = calloc((granules + BITS - 1) / BITS, sizeof(*store->written));
    store->bytes = store->written != NULL ? map(in_pages(store->size)) : NULL;
    if (store->bytes == NULL) {
        free(store->written);
        store->written = NULL;
        return 0;
    }
    store->own = 1;
    return 1;
}

uint8_t *vgpu_store_write(struct vgpu_process *process, struct vgpu_call *call, struct vgpu_store *store,
                          uint64_t offset, uint64_t length) {
    if (store->direct) {
        return store->bytes + offset;
    }
    if (!make_room(store)) {
        call->event.text = "the host has no memory for contents of device memory";
        return NULL;
    }
    for (uint64_t granule = offset / VGPU_GRANULE; granule <= (offset + length - 1) / VGPU_GRANULE; granule++) {
        if (has(store, granule)) {
            continue;
        }
        uint64_t rest = in_pages(store->size) - granule * VGPU_GRANULE;
        if (!charge(process, call, store, rest < VGPU_GRANULE ? rest : VGPU_GRANULE)) {
            return NULL;
        }
        store->written[granule / BITS] |= (uint64_t)1 << granule % BITS;
    }
    return store->bytes + offset;
}
