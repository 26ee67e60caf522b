/* A library that looks at the path in ESCAPE_PATH: in its constructor, and when it is asked. */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>

/* Read at run time, so that the linker does not take it for a call through the PLT. */
static int (*const volatile open_without_plt)(const char *path, int flags, ...) = open;

int escape_early = -1, escape_early_error;

__attribute__((constructor)) static void look_early(void) {
    const char *path = getenv("ESCAPE_PATH");
    escape_early = path == NULL ? -1 : open(path, O_RDONLY);
    escape_early_error = errno;
}

int escape_open(const char *path);

int escape_open(const char *path) {
    return open(path, O_RDONLY);
}

int escape_open_without_plt(const char *path);

int escape_open_without_plt(const char *path) {
    return open_without_plt(path, O_RDONLY);
}
