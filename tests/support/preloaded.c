/* Another project's preload library: it hooks open, stat, stat64, __xstat64 and fopen, and hands each on to the next
 * library. NAME is what it calls itself; each call of a hook becomes a line in the file of its descriptor PEER_FD. With
 * LOCKED it does what umockdev does: one lock, held while the real function runs. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#ifdef LOCKED
static pthread_mutex_t one = PTHREAD_MUTEX_INITIALIZER;
#define ENTER pthread_mutex_lock(&one)
#define LEAVE pthread_mutex_unlock(&one)
#else
#define ENTER (void)0
#define LEAVE (void)0
#endif

static void tell(const char *function, const char *path) {
    char line[512];
    const char *fd = getenv("PEER_FD");
    int length = snprintf(line, sizeof(line), NAME " %s %s\n", function, path);
    if (fd != NULL && write(atoi(fd), line, (size_t)length) != length) {
        abort();
    }
}

int open(const char *path, int flags, ...) {
    int (*next)(const char *, int, ...) = dlsym(RTLD_NEXT, "open");
    va_list rest;
    va_start(rest, flags);
    mode_t mode = __OPEN_NEEDS_MODE(flags) ? va_arg(rest, mode_t) : 0;
    va_end(rest);
    tell("open", path);
    ENTER;
    int answer = next(path, flags, mode);
    LEAVE;
    return answer;
}

#define STAT(name)                                                                                                     \
    int name(const char *path, struct stat *to) {                                                                      \
        int (*next)(const char *, struct stat *) = dlsym(RTLD_NEXT, #name);                                            \
        tell(#name, path);                                                                                             \
        ENTER;                                                                                                         \
        int answer = next(path, to);                                                                                   \
        LEAVE;                                                                                                         \
        return answer;                                                                                                 \
    }
STAT(stat)
int __xstat64(int version, const char *path, struct stat64 *to) {
    int (*next)(int, const char *, struct stat64 *) = dlsym(RTLD_NEXT, "__xstat64");
    tell("__xstat64", path);
    return next(version, path, to);
}
int stat64(const char *path, struct stat64 *to) {
    int (*next)(const char *, struct stat64 *) = dlsym(RTLD_NEXT, "stat64");
    tell("stat64", path);
    return next(path, to);
}

FILE *fopen(const char *path, const char *mode) {
    FILE *(*next)(const char *, const char *) = dlsym(RTLD_NEXT, "fopen");
    tell("fopen", path);
    return next(path, mode);
}
