/* A library that looks at the path in ESCAPE_PATH: in its constructor, and when it is asked. */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>

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
