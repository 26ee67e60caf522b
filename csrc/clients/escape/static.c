/* A program without libc and without a dynamic linker, as Go's are: `static PATH` copies the file to standard output,
 * `static -d PATH` says the mode and the number of a device. */
#include <stddef.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>

#include "ollama/raw.h"

static char *put_number(char *to, unsigned long value) {
    char digits[24];
    size_t n = 0;
    do {
        digits[n++] = (char)('0' + value % 10);
        value /= 10;
    } while (value != 0);
    while (n > 0) {
        *to++ = digits[--n];
    }
    return to;
}

static int show_device(const char *path) {
    struct stat facts;
    char line[80], *end = line;
    if (raw_stat(path, &facts, 0) != 0) {
        return 1;
    }
    end = put_number(end, facts.st_mode);
    *end++ = ' ';
    end = put_number(end, facts.st_rdev);
    *end++ = '\n';
    raw_write_all(1, line, (size_t)(end - line));
    return 0;
}

static int show_file(const char *path) {
    char bytes[512];
    int fd = raw_open(path, O_RDONLY, 0);
    if (fd < 0) {
        return 1;
    }
    for (long got; (got = raw_read(fd, bytes, sizeof(bytes))) > 0;) {
        raw_write_all(1, bytes, (size_t)got);
    }
    return 0;
}

__attribute__((used, noreturn)) void escape_main(const long *stack);

void escape_main(const long *stack) {
    long count = stack[0];
    char *const *words = (char *const *)(stack + 1);
    int status = 2;
    if (count == 3 && words[1][0] == '-' && words[1][1] == 'd') {
        status = show_device(words[2]);
    } else if (count == 2) {
        status = show_file(words[1]);
    }
    for (;;) {
        raw_call(SYS_exit_group, status, 0, 0, 0);
    }
}

__asm__(".globl _start\n_start:\n xor %ebp, %ebp\n mov %rsp, %rdi\n and $-16, %rsp\n call escape_main\n");
