#include "syscall/known.h"

uint64_t vgpu_known[1 << VGPU_KNOWN_BITS];
uint64_t vgpu_whole[1 << VGPU_WHOLE_BITS];
struct vgpu_filter vgpu_filter __attribute__((aligned(64))) = {
    .candidates = UINT64_MAX,
    .systems = {VGPU_NOBODYS, VGPU_NOBODYS, VGPU_NOBODYS},
};

void vgpu_known_forget(void) {
    __atomic_fetch_add(&vgpu_filter.seed, UINT64_C(0x8bb84b93962eacc9), __ATOMIC_RELAXED);
}

/* The inline hash reads eight bytes from the start: a short text at the end of a page is copied. */
static uint64_t hash_of(const char *directory, size_t length, enum vgpu_known_kind kind) {
    char copy[8] = "";
    if (length < sizeof(copy)) {
        for (size_t i = 0; i < length; i++) {
            copy[i] = directory[i];
        }
        directory = copy;
    }
    return vgpu_known_hash(directory, length) ^ vgpu_known_mark(kind);
}

void vgpu_known_add(const char *directory, size_t length, enum vgpu_known_kind kind) {
    if (length == 0) {
        return;
    }
    uint64_t hash = hash_of(directory, length, kind);
    __atomic_store_n(&vgpu_known[vgpu_known_slot(hash)], hash, __ATOMIC_RELAXED);
}

int vgpu_known_has(const char *directory, size_t length, enum vgpu_known_kind kind) {
    if (length == 0) {
        return 1; /* the root */
    }
    uint64_t hash = hash_of(directory, length, kind);
    return __atomic_load_n(&vgpu_known[vgpu_known_slot(hash)], __ATOMIC_RELAXED) == hash;
}

static void whole_add(uint64_t hash) {
    __atomic_store_n(&vgpu_whole[vgpu_whole_slot(hash)], hash, __ATOMIC_RELAXED);
}

/* The same number as vgpu_whole_hash, wherever the text lies. */
static uint64_t hash_anywhere(const char *path) {
    char copy[VGPU_CHUNK] = "";
    uint64_t hash = vgpu_whole_hash(path);
    size_t length = 0;
    size_t from = 0;
    if (hash != 0) {
        return hash;
    }
    for (; path[length] != '\0'; length++) {
        if (length - from == VGPU_CHUNK) {
            hash ^= vgpu_whole_chunk(path + from, from);
            from += VGPU_CHUNK;
        }
        if (length < sizeof(copy)) {
            copy[length] = path[length];
        }
    }
    if (length - from == VGPU_CHUNK) {
        hash ^= vgpu_whole_chunk(path + from, from);
    }
    return hash ^ vgpu_whole_end(length < sizeof(copy) ? copy : path, length);
}

void vgpu_elsewhere_add(const char *path) {
    whole_add(hash_anywhere(path));
}

int vgpu_elsewhere_has(const char *path) {
    uint64_t hash = vgpu_whole_hash(path);
    return hash != 0 && vgpu_whole_has(hash);
}

void vgpu_direct_add(int at, const char *path) {
    whole_add(hash_anywhere(path) ^ vgpu_direct_mark(at));
}

int vgpu_direct_has(int at, const char *path) {
    return vgpu_whole_has(hash_anywhere(path) ^ vgpu_direct_mark(at));
}
