/* Reads /proc/self/environ in pieces, so that an environment of any size needs only a small stack. */
#include "vgpu/environment.h"

#include <fcntl.h>

#include "vgpu/raw.h"

/* How far the current variable has been read. */
struct scan {
    size_t matched; /* bytes of the name that agree so far */
    size_t length;  /* bytes of the value so far */
    enum { IN_NAME, IN_VALUE, IN_OTHER } where;
};

/* Takes one byte. Answers 1 when it was the NUL behind the value that was looked for. */
static int step(struct scan *scan, const char *name, char byte, char *buffer, size_t size) {
    if (byte == '\0') {
        if (scan->where == IN_VALUE) {
            buffer[scan->length] = '\0';
            return 1;
        }
        *scan = (struct scan){.where = IN_NAME};
        return 0;
    }
    if (scan->where == IN_NAME) {
        if (name[scan->matched] == byte && byte != '=') {
            scan->matched++;
        } else {
            scan->where = name[scan->matched] == '\0' && byte == '=' ? IN_VALUE : IN_OTHER;
        }
    } else if (scan->where == IN_VALUE) {
        if (scan->length + 1 < size) {
            buffer[scan->length++] = byte;
        } else {
            scan->where = IN_OTHER;
        }
    }
    return 0;
}

size_t vgpu_first_environment(const char *name, char *buffer, size_t size) {
    char piece[512];
    struct scan scan = {.where = IN_NAME};
    size_t found = 0;
    int done = 0;
    long fd = vgpu_raw6(SYS_openat, AT_FDCWD, (long)"/proc/self/environ", O_RDONLY | O_CLOEXEC, 0, 0, 0);
    if (fd < 0) {
        return 0;
    }
    while (!done) {
        long got = vgpu_raw3(SYS_read, fd, (long)piece, sizeof(piece));
        if (got <= 0) {
            break;
        }
        for (long i = 0; i < got && !done; i++) {
            done = step(&scan, name, piece[i], buffer, size);
            found = done ? scan.length : 0;
        }
    }
    vgpu_raw3(SYS_close, fd, 0, 0);
    return found;
}
