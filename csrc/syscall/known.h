/* What has been found out about directories, so that an ordinary path costs no system call: a small table of hashes,
 * shared by all threads, without a lock. An entry that is lost, or overwritten by another thread's, is found out again.
 *
 * A directory may be replaced by a link later. Where this process does that (chdir, rename, symlink) all is forgotten;
 * a link that another process puts in place of a directory that was known here stays unseen. */
#ifndef VGPU_KNOWN_H
#define VGPU_KNOWN_H

#include <emmintrin.h>
#include <fcntl.h>
#include <stdint.h>
#include <string.h>

enum vgpu_known_kind {
    VGPU_KNOWN_OUTSIDE = 1, /* no link of this directory, as it is spelled, leads into the tree */
    VGPU_KNOWN_NO_LINK = 2, /* this path, absolute and normal, is not a link itself */
};

enum { VGPU_KNOWN_BITS = 10, VGPU_ELSEWHERE_BITS = 9, VGPU_PAGE_SIZE = 4096, VGPU_CHUNK = 16 };

extern uint64_t vgpu_known[1 << VGPU_KNOWN_BITS];
extern uint64_t vgpu_elsewhere[1 << VGPU_ELSEWHERE_BITS];
extern uint64_t vgpu_known_seed;

void vgpu_known_forget(void);
void vgpu_known_add(const char *directory, size_t length, enum vgpu_known_kind kind);
int vgpu_known_has(const char *directory, size_t length, enum vgpu_known_kind kind);

/* `path`, as it is spelled, begins as paths of the tree do, and is not one: /dev/null, /sys/class/net. */
void vgpu_elsewhere_add(const char *path);
int vgpu_elsewhere_has(const char *path);

/* Reads past the end of a text, never past its page: no fault, but a sanitizer would call it one. */
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define VGPU_UNCHECKED __attribute__((no_sanitize("address"), no_sanitize("thread")))
#else
#define VGPU_UNCHECKED
#endif

/* The ends and the middle of a directory's text stand for all of it: three loads that do not wait for each other. Eight
 * bytes can be read at `text`, whatever `length` is. */
VGPU_UNCHECKED static inline uint64_t vgpu_known_hash(const char *text, size_t length) {
    uint64_t first;
    memcpy(&first, text, sizeof(first));
    uint64_t hash = length * UINT64_C(0x9e3779b97f4a7c15) ^ __atomic_load_n(&vgpu_known_seed, __ATOMIC_RELAXED);
    if (length < sizeof(first)) {
        return hash ^ (first << (64 - 8 * length)) * UINT64_C(0xd6e8feb86659fd93);
    }
    uint64_t middle;
    uint64_t last;
    memcpy(&middle, text + length / 2 - sizeof(middle) / 2, sizeof(middle));
    memcpy(&last, text + length - sizeof(last), sizeof(last));
    return hash ^ first * UINT64_C(0xd6e8feb86659fd93) ^ middle * UINT64_C(0xa0761d6478bd642f) ^
           last * UINT64_C(0xe7037ed1a0b428db);
}

/* 1: a chunk that begins here, and the byte behind it, may reach into the next page. */
static inline int vgpu_is_at_page_end(const char *at) {
    return ((uintptr_t)at & (VGPU_PAGE_SIZE - 1)) > VGPU_PAGE_SIZE - VGPU_CHUNK - 1;
}

/* Of all the bytes of a path, as a path of the tree that is taken for another would be looked up on the machine: the
 * halves of a chunk are multiplied, and the product is folded, as wyhash does. 0: it cannot be read in chunks. */
VGPU_UNCHECKED static inline uint64_t vgpu_elsewhere_hash(const char *path) {
    uint64_t hash = __atomic_load_n(&vgpu_known_seed, __ATOMIC_RELAXED);
    uint64_t salt = UINT64_C(0x9e3779b97f4a7c15);
    unsigned int ends;
    do {
        if (vgpu_is_at_page_end(path)) {
            return 0;
        }
        __m128i bytes = _mm_loadu_si128((const __m128i *)(const void *)path);
        ends = (unsigned int)_mm_movemask_epi8(_mm_cmpeq_epi8(bytes, _mm_setzero_si128()));
        if (ends != 0) {
            const __m128i places = _mm_set_epi8(15, 14, 13, 12, 11, 10, 9, 8, 7, 6, 5, 4, 3, 2, 1, 0);
            bytes = _mm_and_si128(bytes, _mm_cmplt_epi8(places, _mm_set1_epi8((char)__builtin_ctz(ends))));
        }
        unsigned __int128 product = (uint64_t)_mm_cvtsi128_si64(bytes) ^ salt;
        product *= (uint64_t)_mm_cvtsi128_si64(_mm_unpackhi_epi64(bytes, bytes)) ^ UINT64_C(0xd6e8feb86659fd93);
        hash ^= (uint64_t)product ^ (uint64_t)(product >> 64);
        salt += UINT64_C(0xa0761d6478bd642f);
        path += VGPU_CHUNK;
    } while (ends == 0);
    return hash;
}

static inline int vgpu_elsewhere_slot(uint64_t hash) {
    return (int)((hash ^ hash >> 29) >> (64 - VGPU_ELSEWHERE_BITS));
}

static inline int vgpu_known_slot(uint64_t hash) {
    return (int)((hash ^ hash >> 29) >> (64 - VGPU_KNOWN_BITS));
}

/* Can `path`, whose start says that it lies elsewhere, be of the tree all the same? 0: it has no `..`, and its
 * directory is known to be outside. What is relative to a directory's descriptor is asked for `..` alone. */
VGPU_UNCHECKED static inline int vgpu_spelling_is_odd(int directory, const char *path) {
    const __m128i dot = _mm_set1_epi8('.');
    const char *end = path;
    unsigned int ends;
    const char *at = path;
    do {
        if (vgpu_is_at_page_end(at)) {
            return 1;
        }
        __m128i bytes = _mm_loadu_si128((const __m128i *)(const void *)at);
        __m128i next = _mm_loadu_si128((const __m128i *)(const void *)(at + 1));
        ends = (unsigned int)_mm_movemask_epi8(_mm_cmpeq_epi8(bytes, _mm_setzero_si128()));
        unsigned int inside = (ends - 1) & ~ends; /* the bytes before the NUL; all where there is none */
        unsigned int dots =
            (unsigned int)_mm_movemask_epi8(_mm_and_si128(_mm_cmpeq_epi8(bytes, dot), _mm_cmpeq_epi8(next, dot)));
        unsigned int slashes = (unsigned int)_mm_movemask_epi8(_mm_cmpeq_epi8(bytes, _mm_set1_epi8('/'))) & inside;
        if (dots & inside) {
            return 1;
        }
        if (slashes != 0) {
            end = at + (31 - __builtin_clz(slashes));
        }
        at += VGPU_CHUNK;
    } while (ends == 0);
    if (end == path || (path[0] != '/' && directory != AT_FDCWD)) {
        return 0;
    }
    uint64_t hash = vgpu_known_hash(path, (size_t)(end - path)) ^ VGPU_KNOWN_OUTSIDE;
    return __atomic_load_n(&vgpu_known[vgpu_known_slot(hash)], __ATOMIC_RELAXED) != hash;
}

#endif
