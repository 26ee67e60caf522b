/* What has been found out about directories, and what else a usual call asks (struct vgpu_filter), so that an ordinary
 * path costs no system call: a small table of hashes, shared by all threads, without a lock. An entry that is lost, or
 * overwritten by another thread's, is found out again.
 *
 * A directory or a file may be replaced by a link later. Where this process does that (chdir, rename, symlink) all is
 * forgotten; a link that another process puts in place of what was known here stays unseen. */
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

enum { VGPU_KNOWN_BITS = 10, VGPU_WHOLE_BITS = 10, VGPU_PAGE_SIZE = 4096, VGPU_CHUNK = 16 };

extern uint64_t vgpu_known[1 << VGPU_KNOWN_BITS];
extern uint64_t vgpu_whole[1 << VGPU_WHOLE_BITS];

enum { VGPU_SYSTEMS = 3 };
#define VGPU_NOBODYS UINT64_MAX

/* What the usual way of a call needs beside the table, in one line of the cache: whoever comes from the kernel finds
 * few of its own there. Atomic, each by itself. */
struct vgpu_filter {
    uint64_t candidates; /* bits by the start of a path (way.c): it may be of the tree. All ones until set up */
    uint64_t tree_dev;   /* st_dev of the tree; 0 until set up, or where it has no device */
    uint64_t systems[VGPU_SYSTEMS]; /* of /sys, /proc and /dev; NOBODYS: until set up, or no file system of its own */
    uint64_t seed;                  /* of the hashes: another one forgets all */
    uint32_t near;                  /* enum vgpu_near */
    uint32_t asks_kernel;           /* 1: stat, access and their like are libc's own, and so one system call each */
};
extern struct vgpu_filter vgpu_filter;

void vgpu_known_forget(void);
void vgpu_known_add(const char *directory, size_t length, enum vgpu_known_kind kind);
int vgpu_known_has(const char *directory, size_t length, enum vgpu_known_kind kind);

/* `path`, as it is spelled, begins as paths of the tree do, and is not one: /dev/null, /sys/class/net. Absolute paths
 * alone are added. */
void vgpu_elsewhere_add(const char *path);
int vgpu_elsewhere_has(const char *path);

/* `path`, opened as it is spelled and relative to the descriptor `at` or AT_FDCWD, is the machine's: it is not of the
 * tree, as far as its directory goes, and no link itself that leads there. A descriptor's number may be another
 * directory's later: then a link of the same name stays unseen. */
void vgpu_direct_add(int at, const char *path);
int vgpu_direct_has(int at, const char *path);

/* A branch that a usual path does not take: the code of that path stands in one piece. */
#define VGPU_SELDOM(condition) __builtin_expect((condition) != 0, 0)

/* Reads past the end of a text, never past its page: no fault, but a sanitizer would call it one. */
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define VGPU_UNCHECKED __attribute__((no_sanitize("address"), no_sanitize("thread")))
#else
#define VGPU_UNCHECKED
#endif

/* The greater of two, without a branch: gcc would make one of it. */
static inline uintptr_t vgpu_greater(uintptr_t a, uintptr_t b) {
    __asm__("cmp %1, %0\n\tcmovb %1, %0" : "+r"(a) : "r"(b) : "cc");
    return a;
}

/* The ends and the middle of a directory's text stand for all of it: three loads that do not wait for each other. Eight
 * bytes can be read at `text`, whatever `length` is. Of a shorter one all three are the same, without what is behind
 * it: /etc, /usr and /tmp are as usual as longer ones, and are to take no branch. */
VGPU_UNCHECKED static inline uint64_t vgpu_known_hash(const char *text, size_t length) {
    uint64_t first;
    uint64_t middle;
    uint64_t last;
    uintptr_t at = (uintptr_t)text;
    size_t behind = vgpu_greater(sizeof(first), length) - length;
    memcpy(&first, text, sizeof(first));
    memcpy(&middle, (const char *)vgpu_greater(at + length / 2 - sizeof(middle) / 2, at), sizeof(middle));
    memcpy(&last, (const char *)vgpu_greater(at + length - sizeof(last), at), sizeof(last));
    return length * UINT64_C(0x9e3779b97f4a7c15) ^ __atomic_load_n(&vgpu_filter.seed, __ATOMIC_RELAXED) ^
           (first << 8 * behind) * UINT64_C(0xd6e8feb86659fd93) ^
           (middle << 8 * behind) * UINT64_C(0xa0761d6478bd642f) ^ (last << 8 * behind) * UINT64_C(0xe7037ed1a0b428db);
}

/* 1: a chunk that begins here, and the byte behind it, may reach into the next page. */
static inline int vgpu_is_at_page_end(const char *at) {
    return ((uintptr_t)at & (VGPU_PAGE_SIZE - 1)) > VGPU_PAGE_SIZE - VGPU_CHUNK - 1;
}

/* Of all the bytes of a path, as a path of the tree that is taken for another would be looked up on the machine: its
 * whole chunks one by one, as wyhash does, */
static inline uint64_t vgpu_whole_chunk(const char *at, size_t offset) {
    uint64_t half[2];
    memcpy(half, at, sizeof(half));
    unsigned __int128 product = half[0] ^ (UINT64_C(0x9e3779b97f4a7c15) + offset);
    product *= half[1] ^ UINT64_C(0xd6e8feb86659fd93);
    return (uint64_t)product ^ (uint64_t)(product >> 64);
}

/* and its last sixteen bytes, which overlap with those. Eight bytes can be read at `path`, whatever `length` is. */
VGPU_UNCHECKED static inline uint64_t vgpu_whole_end(const char *path, size_t length) {
    uint64_t before;
    uint64_t last;
    uintptr_t at = (uintptr_t)path;
    size_t behind = (vgpu_greater(sizeof(last), length) - length) * 8 & 63; /* the empty path has any hash */
    memcpy(&before, (const char *)vgpu_greater(at + length - VGPU_CHUNK, at), sizeof(before));
    memcpy(&last, (const char *)vgpu_greater(at + length - sizeof(last), at), sizeof(last));
    return length * UINT64_C(0x9e3779b97f4a7c15) ^ __atomic_load_n(&vgpu_filter.seed, __ATOMIC_RELAXED) ^
           (before << behind) * UINT64_C(0xa0761d6478bd642f) ^ (last << behind) * UINT64_C(0xe7037ed1a0b428db);
}

/* 0: it cannot be read in chunks. */
VGPU_UNCHECKED static inline uint64_t vgpu_whole_hash(const char *path) {
    uint64_t chunks = 0;
    for (const char *at = path; !vgpu_is_at_page_end(at); at += VGPU_CHUNK) {
        __m128i bytes = _mm_loadu_si128((const __m128i *)(const void *)at);
        unsigned int ends = (unsigned int)_mm_movemask_epi8(_mm_cmpeq_epi8(bytes, _mm_setzero_si128()));
        if (ends != 0) {
            return chunks ^ vgpu_whole_end(path, (size_t)(at - path) + (size_t)__builtin_ctz(ends));
        }
        chunks ^= vgpu_whole_chunk(at, (size_t)(at - path));
    }
    return 0;
}

static inline int vgpu_whole_slot(uint64_t hash) {
    return (int)((hash ^ hash >> 29) >> (64 - VGPU_WHOLE_BITS));
}

static inline int vgpu_whole_has(uint64_t hash) {
    return __atomic_load_n(&vgpu_whole[vgpu_whole_slot(hash)], __ATOMIC_RELAXED) == hash;
}

/* What vgpu_direct_add has of a path, beside its hash. */
static inline uint64_t vgpu_direct_mark(int at) {
    uint64_t near = __atomic_load_n(&vgpu_filter.near, __ATOMIC_RELAXED);
    return (near << 32 | (uint32_t)at) * UINT64_C(0xbf58476d1ce4e5b9);
}

/* In the bits that choose a slot, so that a directory keeps what is known of it as a path. */
static inline uint64_t vgpu_known_mark(enum vgpu_known_kind kind) {
    return (uint64_t)kind << 60;
}

static inline int vgpu_known_slot(uint64_t hash) {
    return (int)((hash ^ hash >> 29) >> (64 - VGPU_KNOWN_BITS));
}

/* Sixteen times the same byte: from a number in the code, as a constant in memory is one more line of it to miss. */
static inline __m128i vgpu_sixteen(char byte) {
    uint32_t four = (uint32_t)(unsigned char)byte * 0x01010101U;
    __asm__("" : "+r"(four));
    return _mm_set1_epi32((int)four);
}

/* Can `path`, whose start says that it lies elsewhere, be of the tree all the same? 0: it has no `..`, and its
 * directory is known to be outside. What is relative to a directory's descriptor is asked for `..` alone. */
VGPU_UNCHECKED static inline int vgpu_spelling_is_odd(int directory, const char *path) {
    const char *end = path;
    unsigned int ends;
    const char *at = path;
    do {
        if (VGPU_SELDOM(vgpu_is_at_page_end(at))) {
            return 1;
        }
        const __m128i dot = vgpu_sixteen('.');
        __m128i bytes = _mm_loadu_si128((const __m128i *)(const void *)at);
        __m128i next = _mm_loadu_si128((const __m128i *)(const void *)(at + 1));
        ends = (unsigned int)_mm_movemask_epi8(_mm_cmpeq_epi8(bytes, _mm_setzero_si128()));
        unsigned int inside = (ends - 1) & ~ends; /* the bytes before the NUL; all where there is none */
        unsigned int dots =
            (unsigned int)_mm_movemask_epi8(_mm_and_si128(_mm_cmpeq_epi8(bytes, dot), _mm_cmpeq_epi8(next, dot)));
        unsigned int slashes = (unsigned int)_mm_movemask_epi8(_mm_cmpeq_epi8(bytes, vgpu_sixteen('/'))) & inside;
        if (VGPU_SELDOM(dots & inside)) {
            return 1;
        }
        if (!VGPU_SELDOM(slashes == 0)) {
            end = at + (31 - __builtin_clz(slashes));
        }
        at += VGPU_CHUNK;
    } while (VGPU_SELDOM(ends == 0));
    if (VGPU_SELDOM(end == path) || (VGPU_SELDOM(path[0] != '/') && directory != AT_FDCWD)) {
        return 0;
    }
    uint64_t hash = vgpu_known_hash(path, (size_t)(end - path)) ^ vgpu_known_mark(VGPU_KNOWN_OUTSIDE);
    return __atomic_load_n(&vgpu_known[vgpu_known_slot(hash)], __ATOMIC_RELAXED) != hash;
}

#endif
