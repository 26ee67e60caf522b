/* hardship KIND FILE GPU_FILE [CHILD]: brings a hardship over itself before it has called any function that a shim
 * stands in front of, then looks at two files and prints what it found; with a program to start, also what the driver
 * answers and how the program ended. Its own output needs nothing that the hardship takes. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <sched.h>
#include <spawn.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
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

static int hide_proc(void) {
    return (unshare(CLONE_NEWNS) != 0 && unshare(CLONE_NEWUSER | CLONE_NEWNS) != 0) ||
           mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) != 0 || mount("none", "/proc", "tmpfs", 0, NULL) != 0;
}

static int (*cuda_init)(unsigned int);
static int (*cuda_count)(int *);
static int (*cuda_version)(int *);
static int (*nvml_init)(void);
static int (*nvml_count)(unsigned int *);

/* Looked up before the hardship, which is about the shims' start-up and not about dlsym. */
static void find_driver(void) {
    cuda_init = (int (*)(unsigned int))dlsym(RTLD_DEFAULT, "cuInit");
    cuda_count = (int (*)(int *))dlsym(RTLD_DEFAULT, "cuDeviceGetCount");
    cuda_version = (int (*)(int *))dlsym(RTLD_DEFAULT, "cuDriverGetVersion");
    nvml_init = (int (*)(void))dlsym(RTLD_DEFAULT, "nvmlInit_v2");
    nvml_count = (int (*)(unsigned int *))dlsym(RTLD_DEFAULT, "nvmlDeviceGetCount_v2");
}

static void ask_driver(char *to, size_t size) {
    int devices = -1;
    unsigned int boards = 99;
    if (cuda_init == NULL || cuda_count == NULL || nvml_init == NULL || nvml_count == NULL) {
        snprintf(to, size, "no driver\n");
        return;
    }
    int cuda[] = {cuda_init(0), cuda_count(&devices)};
    int nvml[] = {nvml_init(), nvml_count(&boards)};
    snprintf(to, size, "cuda %d %d %d nvml %d %d %u\n", cuda[0], cuda[1], devices, nvml[0], nvml[1], boards);
}

static void start_child(char *program, char *to, size_t size) {
    char *argv[] = {program, NULL};
    int status[2] = {-1, -1};
    pid_t child = -1;
    int error = posix_spawn(&child, program, NULL, NULL, argv, environ);
    if (error == 0) {
        waitpid(child, &status[0], 0);
    }
    child = vfork();
    if (child == 0) {
        execve(program, argv, environ);
        _exit(errno);
    }
    waitpid(child, &status[1], 0);
    snprintf(to, size, "spawn %d %d exec %d\n", error, status[0], status[1]);
}

int main(int count, char **words) {
    char lines[4][256];
    const char *kind = words[1];
    int failed = count < 4;
    int last = count < 5 ? 2 : 4;
    int version;
    find_driver();
    if (strcmp(kind, "descriptors") == 0) {
        failed = limit(RLIMIT_NOFILE, 3);
    } else if (strcmp(kind, "memory") == 0) {
        failed = limit(RLIMIT_AS, 1 << 20);
    } else if (strcmp(kind, "mmap") == 0) {
        failed = refuse(SYS_mmap, 0xffffffff, EPERM);
    } else if (strcmp(kind, "read-only") == 0) {
        failed = refuse(SYS_openat, O_RDWR, EROFS) || refuse(SYS_open, 0, EROFS);
    } else if (strcmp(kind, "late memory") == 0) {
        failed = (cuda_version != NULL && cuda_version(&version) != 0) || limit(RLIMIT_AS, 1 << 20);
    } else if (strcmp(kind, "proc") == 0) {
        failed = hide_proc();
    }
    if (failed) {
        return 2;
    }
    look(words[2], lines[0], sizeof(lines[0]));
    look(words[3], lines[1], sizeof(lines[1]));
    if (last == 4) {
        ask_driver(lines[2], sizeof(lines[2]));
        start_child(words[4], lines[3], sizeof(lines[3]));
    }
    for (int i = 0; i < last; i++) {
        if (write(1, lines[i], strlen(lines[i])) < 0) {
            return 3;
        }
    }
    return 0;
}
