/* hardship KIND FILE GPU_FILE: brings a hardship over itself before it has called any function that a shim stands in
 * front of, then looks at two files and prints what it found. Its own output needs nothing that the hardship takes. */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

/* The system call `number` fails with `error`, where its third argument has all bits of `bits`. */
static int refuse(unsigned int number, unsigned int bits, unsigned int error) {
    struct sock_filter filter[] = {
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, number, 0, 3),
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, args[2])),
        BPF_JUMP(BPF_JMP | BPF_JSET | BPF_K, bits, 0, 1),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | error),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
    };
    struct sock_fprog program = {sizeof(filter) / sizeof(filter[0]), filter};
    return prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0 || prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program) != 0;
}

static int limit(int what, rlim_t value) {
    struct rlimit both = {value, value};
    return setrlimit(what, &both);
}

static void look(const char *path, char *to, size_t size) {
    struct stat facts = {0};
    char text[16] = "";
    errno = 0;
    int answer = stat(path, &facts);
    int error = errno;
    errno = 0;
    int fd = open(path, O_RDONLY);
    int open_error = errno;
    ssize_t got = fd >= 0 ? read(fd, text, 6) : -1;
    close(fd);
    snprintf(to, size, "stat %d %d mode %o; open %d read %zd %.6s; access %d\n", answer, error,
             (unsigned int)facts.st_mode, open_error, got, text, access(path, R_OK));
}

int main(int count, char **words) {
    char lines[2][256];
    const char *kind = words[1];
    int failed = count != 4;
    if (strcmp(kind, "descriptors") == 0) {
        failed = limit(RLIMIT_NOFILE, 3);
    } else if (strcmp(kind, "memory") == 0) {
        failed = limit(RLIMIT_AS, 1 << 20);
    } else if (strcmp(kind, "mmap") == 0) {
        failed = refuse(SYS_mmap, 0xffffffff, EPERM);
    } else if (strcmp(kind, "read-only") == 0) {
        failed = refuse(SYS_openat, O_RDWR, EROFS) || refuse(SYS_open, 0, EROFS);
    }
    if (failed) {
        return 2;
    }
    look(words[2], lines[0], sizeof(lines[0]));
    look(words[3], lines[1], sizeof(lines[1]));
    for (int i = 0; i < 2; i++) {
        if (write(1, lines[i], strlen(lines[i])) < 0) {
            return 3;
        }
    }
    return 0;
}
