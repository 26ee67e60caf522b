/* System calls without libc. Go's runtime does every file access and every process start this way, so nothing that
 * interposes libc functions, syscall() included, ever sees them. */
#ifndef OLLAMA_RAW_H
#define OLLAMA_RAW_H

#ifndef __x86_64__
#error "the stand-in clients are written for x86-64"
#endif

#include <fcntl.h>
#include <stddef.h>
#include <sys/stat.h>
#include <sys/syscall.h>

static inline long raw_call(long number, long a, long b, long c, long d) {
    long result;
    register long r10 __asm__("r10") = d;
    __asm__ volatile("syscall" : "=a"(result) : "a"(number), "D"(a), "S"(b), "d"(c), "r"(r10) : "rcx", "r11", "memory");
    return result;
}

static inline int raw_open(const char *path, int flags, int mode) {
    return (int)raw_call(SYS_openat, AT_FDCWD, (long)path, flags | O_CLOEXEC, mode);
}

static inline int raw_close(int fd) {
    return (int)raw_call(SYS_close, fd, 0, 0, 0);
}

static inline long raw_read(int fd, void *buffer, size_t size) {
    return raw_call(SYS_read, fd, (long)buffer, (long)size, 0);
}

static inline long raw_write(int fd, const void *buffer, size_t size) {
    return raw_call(SYS_write, fd, (long)buffer, (long)size, 0);
}

/* Stops at the first error: there is nobody to tell. */
static inline void raw_write_all(int fd, const char *bytes, size_t size) {
    while (size > 0) {
        long written = raw_write(fd, bytes, size);
        if (written <= 0) {
            return;
        }
        bytes += written;
        size -= (size_t)written;
    }
}

/* AT_SYMLINK_NOFOLLOW in `flags` makes it Go's os.Lstat. */
static inline int raw_stat(const char *path, struct stat *found, int flags) {
    return (int)raw_call(SYS_newfstatat, AT_FDCWD, (long)path, (long)found, flags);
}

/* The length, or -errno. The answer is terminated; one that does not fit is -ENAMETOOLONG's negative, -36. */
static inline long raw_readlink(const char *path, char *buffer, size_t size) {
    long length = raw_call(SYS_readlinkat, AT_FDCWD, (long)path, (long)buffer, (long)size);
    if (length < 0) {
        return length;
    }
    if ((size_t)length >= size) {
        return -36;
    }
    buffer[length] = '\0';
    return length;
}

#endif
