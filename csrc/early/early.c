/* libvgpu-early.so: the shims' start-up in a constructor, as shims have it that do not wait for their first call. It is
 * a library of its own, as the shims' constructors do nothing: only a host with delivery.init = "constructor" preloads
 * it, behind them. */
#include <errno.h>
#include <unistd.h>

/* Weak: which shims are there is the host's choice. */
int cuInit(unsigned int flags) __attribute__((weak));
int nvmlInit_v2(void) __attribute__((weak));

__attribute__((constructor)) static void start(void) {
    int saved = errno;
    if (cuInit != NULL) {
        cuInit(0);
    }
    if (nvmlInit_v2 != NULL) {
        nvmlInit_v2();
    }
    /* Through libc's name, so that the file shim has its first call too. */
    access("/dev/nvidiactl", F_OK);
    errno = saved;
}
