/* Processes that a program makes of itself: the new one opens the file. */
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "escape/probe.h"

static void await(pid_t child) {
    int status = 0;
    if (child < 0) {
        unavailable("a new process");
    }
    while (waitpid(child, &status, __WALL) < 0 && errno == EINTR) {
    }
    if (WIFSIGNALED(status)) {
        raise(WTERMSIG(status));
    }
}

static void forked(const char *unused) {
    (void)unused;
    pid_t child = fork();
    if (child == 0) {
        check_file(open(at.vendor, O_RDONLY));
        _exit(0);
    }
    await(child);
}

static void forked_twice(const char *unused) {
    (void)unused;
    pid_t child = fork();
    if (child == 0) {
        forked(NULL);
        _exit(0);
    }
    await(child);
}

static void forked_by_number(const char *unused) {
    (void)unused;
    pid_t child = (pid_t)syscall(SYS_fork);
    if (child == 0) {
        check_file(open(at.vendor, O_RDONLY));
        _exit(0);
    }
    await(child);
}

/* What the child notes is in memory that both have anyway. */
static void vforked(const char *unused) {
    (void)unused;
    pid_t child = vfork();
    if (child == 0) {
        check_file(open(at.vendor, O_RDONLY));
        _exit(0);
    }
    await(child);
}

static int look(void *unused) {
    (void)unused;
    check_file(open(at.vendor, O_RDONLY));
    return 0;
}

static void cloned(int flags) {
    size_t size = 256 * 1024;
    char *stack = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_STACK, -1, 0);
    await(clone(look, stack + size, flags | SIGCHLD, NULL));
}

static void cloned_with_own_memory(const char *unused) {
    (void)unused;
    cloned(0);
}

static void cloned_with_shared_memory(const char *unused) {
    (void)unused;
    cloned(CLONE_VM | CLONE_VFORK);
}

static void cloned_with_shared_files(const char *unused) {
    (void)unused;
    cloned(CLONE_FILES | CLONE_FS);
}

/* The end of the pipe that only the grandchild still has says when it is done. */
static void without_parent(const char *unused) {
    int ends[2];
    char byte;
    (void)unused;
    if (pipe(ends) != 0) {
        unavailable("pipe");
    }
    pid_t child = fork();
    if (child == 0) {
        pid_t parent = getpid();
        if (fork() == 0) {
            while (getppid() == parent) {
                sched_yield();
            }
            check_file(open(at.vendor, O_RDONLY));
        }
        _exit(0);
    }
    close(ends[1]);
    await(child);
    expect(read(ends[0], &byte, 1) == 0, "read: %m");
}

const struct probe processes[] = {
    {"fork", forked, NULL},
    {"fork, fork", forked_twice, NULL},
    {"syscall(SYS_fork)", forked_by_number, NULL},
    {"vfork", vforked, NULL},
    {"clone", cloned_with_own_memory, NULL},
    {"clone(CLONE_VM | CLONE_VFORK)", cloned_with_shared_memory, NULL},
    {"clone(CLONE_FILES | CLONE_FS)", cloned_with_shared_files, NULL},
    {"a process whose parent is gone", without_parent, NULL},
    NO_PROBE,
};
