/* Stands where libc would be asked: what is left of a call's time is the call itself and the shim in front of it. */
#include <stddef.h>

int open(const char *path, int flags, ...) {
    (void)path;
    (void)flags;
    return 3;
}
int stat(const char *path, void *to) {
    (void)path;
    (void)to;
    return 0;
}
int access(const char *path, int mode) {
    (void)path;
    (void)mode;
    return 0;
}
void *fopen(const char *path, const char *mode) {
    (void)path;
    (void)mode;
    return NULL;
}
void *opendir(const char *path) {
    (void)path;
    return NULL;
}
