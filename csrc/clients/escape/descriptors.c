/* What can be done with a descriptor, once a file is open. */
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/sendfile.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <unistd.h>

#include "escape/probe.h"

static int opened(void) {
    int fd = open(at.vendor, O_RDONLY);
    if (!see(fd >= 0, "%m")) {
        _exit(0);
    }
    return fd;
}

static char text[ESCAPE_BYTES];

static void with_pread(const char *unused) {
    (void)unused;
    check_text(text, pread(opened(), text, sizeof(text), 0));
}

static void with_readv(const char *unused) {
    struct iovec parts[] = {{text, 2}, {text + 2, sizeof(text) - 2}};
    (void)unused;
    check_text(text, readv(opened(), parts, 2));
}

static void with_preadv2(const char *unused) {
    struct iovec part = {text, sizeof(text)};
    (void)unused;
    check_text(text, preadv2(opened(), &part, 1, 0, 0));
}

static void read_twice(const char *unused) {
    (void)unused;
    int fd = opened();
    expect(read(fd, text, 3) == 3 && lseek(fd, 0, SEEK_CUR) == 3, "the place is not 3");
    expect(lseek(fd, 0, SEEK_SET) == 0, "lseek: %m");
    check_file(fd);
}

/* The file that programs map is `config`: the vendor's number is its first two bytes (PCI Local Bus 3.0, 6.1). */
static void mapped(const char *unused) {
    char path[PATH_MAX];
    unsigned int wanted = 0;
    (void)unused;
    sscanf(at.vendor_text, "%x", &wanted);
    join(path, at.gpu, "/config");
    int fd = open(path, O_RDONLY);
    const unsigned char *bytes = fd < 0 ? MAP_FAILED : mmap(NULL, 64, PROT_READ, MAP_PRIVATE, fd, 0);
    if (bytes == MAP_FAILED) {
        see(0, "%m");
    } else {
        see((bytes[0] | bytes[1] << 8) == (int)wanted, "config starts with 0x%02x%02x", bytes[1], bytes[0]);
    }
}

static void copied_by_dup(const char *unused) {
    (void)unused;
    check_file(dup(opened()));
}

static void copied_by_dup2(const char *unused) {
    (void)unused;
    check_file(dup2(opened(), 200));
}

static void copied_by_fcntl(const char *unused) {
    (void)unused;
    check_file(fcntl(opened(), F_DUPFD_CLOEXEC, 100));
}

static void sent_as_file(const char *unused) {
    int ends[2];
    (void)unused;
    if (pipe(ends) == 0 && sendfile(ends[1], opened(), NULL, sizeof(text)) >= 0) {
        check_text(text, read(ends[0], text, sizeof(text)));
    } else {
        see(0, "sendfile: %m");
    }
}

static void sent_over_a_socket(const char *unused) {
    int ends[2], fd = opened();
    char byte = 'v';
    union {
        struct cmsghdr header;
        char room[CMSG_SPACE(sizeof(int))];
    } control = {0};
    struct iovec part = {&byte, 1};
    struct msghdr message = {
        .msg_iov = &part, .msg_iovlen = 1, .msg_control = &control, .msg_controllen = sizeof(control)};
    (void)unused;
    control.header = (struct cmsghdr){CMSG_LEN(sizeof(int)), SOL_SOCKET, SCM_RIGHTS};
    memcpy(CMSG_DATA(&control.header), &fd, sizeof(fd));
    int sent = socketpair(AF_UNIX, SOCK_STREAM, 0, ends) == 0 && sendmsg(ends[0], &message, 0) == 1;
    close(fd);
    if (expect(sent && recvmsg(ends[1], &message, 0) == 1, "%m")) {
        memcpy(&fd, CMSG_DATA(&control.header), sizeof(fd));
        check_file(fd);
    }
}

static void as_a_stream(const char *unused) {
    (void)unused;
    FILE *stream = fdopen(opened(), "r");
    char *line = stream == NULL ? NULL : fgets(text, sizeof(text), stream);
    check_text(text, line == NULL ? -1 : (ssize_t)strlen(line));
}

static void in_a_child(const char *unused) {
    (void)unused;
    int fd = opened();
    pid_t child = fork();
    if (child == 0) {
        check_file(fd);
        _exit(0);
    }
    waitpid(child, NULL, 0);
}

static void taken_from_a_process(const char *unused) {
    (void)unused;
    int process = (int)syscall(SYS_pidfd_open, getpid(), 0);
    int fd = process < 0 ? -1 : (int)syscall(SYS_pidfd_getfd, process, opened(), 0);
    if (fd < 0) {
        unavailable("pidfd_getfd");
    }
    check_file(fd);
}

const struct probe descriptors[] = {
    {"pread", with_pread, NULL},
    {"readv", with_readv, NULL},
    {"preadv2", with_preadv2, NULL},
    {"read, lseek, read", read_twice, NULL},
    {"mmap", mapped, NULL},
    {"dup", copied_by_dup, NULL},
    {"dup2", copied_by_dup2, NULL},
    {"fcntl(F_DUPFD_CLOEXEC)", copied_by_fcntl, NULL},
    {"sendfile", sent_as_file, NULL},
    {"SCM_RIGHTS", sent_over_a_socket, NULL},
    {"fdopen, fgets", as_a_stream, NULL},
    {"a descriptor in a forked child", in_a_child, NULL},
    {"pidfd_getfd", taken_from_a_process, NULL},
    NO_PROBE,
};
