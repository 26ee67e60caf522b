/* A program enters a directory that only the tree has. Nobody but a process itself can change its directory, and its
 * path leads the kernel nowhere. So its tracer has the thread open the directory, which the supervisor answers with a
 * descriptor of the tree's, go there by fchdir, and close it: three calls from the place of the program's one.
 *
 * All signals but SIGKILL and SIGSTOP wait meanwhile: a handler must not see the registers of calls that the program
 * never made. */
#include "observe/ptrace.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdint.h>
#include <sys/ptrace.h>
#include <sys/syscall.h>
#include <sys/user.h>
#include <sys/wait.h>
#include <unistd.h>

enum {
    SYSCALL_LENGTH = 2,  /* of the instruction `syscall`, in bytes */
    SYSCALL_STOP = 0x80, /* added to SIGTRAP by PTRACE_O_TRACESYSGOOD */
    /* <linux/errno.h> of the kernel, which says no more of them to programs: a call that a signal has broken off. */
    RESTART_FIRST = 512,
    RESTART_LAST = 516,
};

struct thread {
    int tid;
    int status;  /* what waitpid said last */
    int other;   /* that is another stop than those of the calls, or its end */
    int held;    /* a signal that came in between, 0: none */
    int stopped; /* its process is in a group-stop */
    struct user_regs_struct begun;
};

/* Lets the thread go on to the next stop at the edge of a system call. 0, or -1: it came to another stop, or its end.
 */
static int go_on(struct thread *thread) {
    for (;;) {
        /* ESRCH: it has been killed, and waitpid says so. */
        ptrace(PTRACE_SYSCALL, thread->tid, NULL, NULL);
        while (waitpid(thread->tid, &thread->status, __WALL) < 0) {
            if (errno != EINTR) {
                return -1;
            }
        }
        if (!WIFSTOPPED(thread->status)) {
            thread->other = 1;
            return -1;
        }
        int event = thread->status >> 16;
        int number = WSTOPSIG(thread->status);
        if (event == 0 && number == (SIGTRAP | SYSCALL_STOP)) {
            return 0;
        }
        if (event == VGPU_EVENT_STOP) {
            thread->stopped = 1;
        } else if (event == 0) {
            thread->held = number;
        } else if (event != VGPU_EVENT_SECCOMP) {
            thread->other = 1;
            return -1;
        }
    }
}

/* What the thread's call answered, in *answer. */
static int take(struct thread *thread, long *answer) {
    struct user_regs_struct now;
    if (ptrace(PTRACE_GETREGS, thread->tid, NULL, &now) != 0) {
        return -1;
    }
    *answer = (long)now.rax;
    return 0;
}

/* The thread executes its instruction once more, for another call. */
static int call(struct thread *thread, long number, const uint64_t *arguments, long *answer) {
    do {
        struct user_regs_struct next = thread->begun;
        next.rip -= SYSCALL_LENGTH;
        next.rax = (unsigned long long)number;
        next.orig_rax = (unsigned long long)-1;
        next.rdi = arguments[0];
        next.rsi = arguments[1];
        next.r9 = arguments[2];
        if (ptrace(PTRACE_SETREGS, thread->tid, NULL, &next) != 0 || go_on(thread) != 0 || go_on(thread) != 0 ||
            take(thread, answer) != 0) {
            return -1;
        }
    } while (*answer <= -RESTART_FIRST && *answer >= -RESTART_LAST);
    return 0;
}

/* From the stop on: chdir by descriptor. */
static int enter(struct thread *thread, long *answer) {
    const uint64_t path = thread->begun.rdi;
    const uint64_t open[] = {path, O_PATH | O_DIRECTORY | O_CLOEXEC, VGPU_NOTIFY_ENTERS};
    const uint64_t plain[] = {path, 0, 0};
    struct user_regs_struct first = thread->begun;
    long fd;
    long closed;
    first.orig_rax = SYS_open;
    first.rsi = open[1];
    first.r9 = open[2];
    if (ptrace(PTRACE_SETREGS, thread->tid, NULL, &first) != 0 || go_on(thread) != 0 || take(thread, &fd) != 0) {
        return -1;
    }
    if (fd <= -RESTART_FIRST && fd >= -RESTART_LAST && call(thread, SYS_open, open, &fd) != 0) {
        return -1;
    }
    *answer = fd;
    if (fd == -EMFILE || fd == -ENFILE) {
        /* The machine's directories need no descriptor. */
        if (call(thread, SYS_chdir, plain, answer) != 0) {
            return -1;
        }
        *answer = *answer == 0 ? 0 : fd;
    }
    if (fd < 0) {
        return 0;
    }
    const uint64_t place[] = {(uint64_t)fd, 0, 0};
    return call(thread, SYS_fchdir, place, answer) == 0 && call(thread, SYS_close, place, &closed) == 0 ? 0 : -1;
}

int vgpu_observe_enter(int tid, int *status) {
    struct thread thread = {.tid = tid};
    unsigned long message = 0;
    uint64_t mask = 0;
    const uint64_t all = UINT64_MAX;
    long answer = -ENOSYS;
    *status = 0;
    if (ptrace(PTRACE_GETREGS, tid, NULL, &thread.begun) != 0 || ptrace(PTRACE_GETEVENTMSG, tid, NULL, &message) != 0) {
        return -1;
    }
    if (message != VGPU_NOTIFY_ENTERS || thread.begun.orig_rax != SYS_chdir) {
        thread.begun.orig_rax = (unsigned long long)-1;
        thread.begun.rax = (unsigned long long)answer;
        ptrace(PTRACE_SETREGS, tid, NULL, &thread.begun);
        return 0;
    }
    if (ptrace(PTRACE_GETSIGMASK, tid, (void *)sizeof(mask), &mask) != 0 ||
        ptrace(PTRACE_SETSIGMASK, tid, (void *)sizeof(all), &all) != 0) {
        return -1;
    }
    if (enter(&thread, &answer) != 0) {
        *status = thread.status;
        return thread.other ? 1 : -1;
    }
    thread.begun.rax = (unsigned long long)answer;
    ptrace(PTRACE_SETREGS, tid, NULL, &thread.begun);
    ptrace(PTRACE_SETSIGMASK, tid, (void *)sizeof(mask), &mask);
    if (thread.held != 0) {
        syscall(SYS_tkill, tid, thread.held);
    }
    if (thread.stopped) {
        /* It stops again with the others of its process, if those still are. */
        ptrace(PTRACE_INTERRUPT, tid, NULL, NULL);
    }
    return 0;
}
