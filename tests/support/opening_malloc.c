/* A malloc of the program's own that looks at files while it sets itself up and now and then afterwards, as jemalloc
 * (/etc/malloc.conf, /proc/sys/vm/overcommit_memory) does. It never gives memory back. */
#define _GNU_SOURCE
#include <fcntl.h>
#include <stddef.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

static char *room;
static size_t left;
static _Thread_local int inside;
unsigned long opening_malloc_looks;

static void look(void) {
    struct stat facts;
    char text[64];
    inside = 1;
    int fd = open("/proc/sys/vm/overcommit_memory", O_RDONLY | O_CLOEXEC);
    opening_malloc_looks += fd >= 0 && read(fd, text, sizeof(text)) > 0;
    close(fd);
    opening_malloc_looks += stat("/sys/bus/pci/devices/0000:00:05.0/vendor", &facts) == 0;
    opening_malloc_looks += readlink("/etc/malloc.conf", text, sizeof(text)) >= 0;
    inside = 0;
}

void *malloc(size_t size) {
    static unsigned int calls;
    size = (size + 31) & ~(size_t)15;
    if (!inside && (calls++ & 15) == 0) {
        look();
    }
    if (left < size) {
        left = size + (1 << 24);
        room = mmap(NULL, left, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    }
    size_t *head = (size_t *)(void *)room;
    *head = size - 16;
    room += size;
    left -= size;
    return (char *)head + 16;
}

void free(void *memory) {
    (void)memory;
}

void *calloc(size_t count, size_t size) {
    return malloc(count * size); /* fresh from the kernel */
}

void *realloc(void *memory, size_t size) {
    void *more = malloc(size);
    if (memory != NULL) {
        size_t old = ((size_t *)memory)[-2];
        memcpy(more, memory, old < size ? old : size);
    }
    return more;
}
