/* syscall.forkAndExecInChild: clone(CLONE_VM|CLONE_VFORK) and execve as bare system calls, so that no hook of fork,
 * vfork, posix_spawn or execve is reached. The child shares the caller's memory until it has executed the program. */
#include "ollama/spawn.h"

#include <errno.h>
#include <sched.h>
#include <signal.h>
#include <stddef.h>
#include <string.h>
#include <sys/wait.h>

#include "ollama/raw.h"
#include "ollama/text.h"

enum { STACK_SIZE = 16384 };

struct start {
    const char *program;
    char *const *argv;
    char *const *envp;
    int outputs[2];
    long error;
};

static void run_child(struct start *start) {
    int null = raw_open("/dev/null", O_RDWR, 0);
    if (null < 0) {
        start->error = null;
        return;
    }
    start->error = raw_call(SYS_dup3, null, 0, 0, 0);
    for (int fd = 1; fd <= 2 && start->error >= 0; fd++) {
        int wanted = start->outputs[fd - 1];
        if (wanted != SPAWN_INHERITED) {
            start->error = raw_call(SYS_dup3, wanted == SPAWN_NOWHERE ? null : wanted, fd, 0, 0);
        }
    }
    if (start->error >= 0) {
        start->error = raw_call(SYS_execve, (long)start->program, (long)start->argv, (long)start->envp, 0);
    }
}

/* The child runs on a stack of its own and never returns from here. */
static long clone_and_run(struct start *start, char *stack_top) {
    long result;
    register long r10 __asm__("r10") = 0;
    register void (*body)(struct start *) __asm__("r8") = run_child;
    register struct start *argument __asm__("r9") = start;
    __asm__ volatile("syscall\n\t"
                     "test %%rax, %%rax\n\t"
                     "jnz 1f\n\t"
                     "xor %%ebp, %%ebp\n\t"
                     "mov %%r9, %%rdi\n\t"
                     "call *%%r8\n\t"
                     "mov $127, %%edi\n\t"
                     "mov %[exit], %%eax\n\t"
                     "syscall\n\t"
                     "hlt\n"
                     "1:"
                     : "=a"(result)
                     : "a"(SYS_clone), "D"(CLONE_VM | CLONE_VFORK | SIGCHLD), "S"(stack_top), "d"(0), "r"(r10),
                       "r"(body), "r"(argument), [exit] "i"(SYS_exit)
                     : "rcx", "r11", "memory");
    return result;
}

int spawn_start(struct child *child, const char *program, char *const argv[], char *const envp[], int out, int err) {
    _Alignas(16) char stack[STACK_SIZE];
    struct start start = {program, argv, envp, {out, err}, 0};
    child->exited = 0;
    child->status = 0;
    long pid = clone_and_run(&start, stack + sizeof stack);
    if (pid < 0) {
        return (int)-pid;
    }
    child->pid = (int)pid;
    if (start.error < 0) {
        spawn_kill(child);
        return (int)-start.error;
    }
    return 0;
}

static int wait_for(struct child *child, int options) {
    long got;
    do {
        got = raw_call(SYS_wait4, child->pid, (long)&child->status, options, 0);
    } while (got == -EINTR);
    return got == child->pid;
}

int spawn_has_exited(struct child *child) {
    if (!child->exited) {
        child->exited = wait_for(child, WNOHANG);
    }
    return child->exited;
}

void spawn_kill(struct child *child) {
    if (!child->exited) {
        raw_call(SYS_kill, child->pid, SIGKILL, 0, 0);
        child->exited = wait_for(child, 0);
    }
}

char *spawn_status(const struct child *child) {
    if (WIFEXITED(child->status)) {
        return text_format("exit status %d", WEXITSTATUS(child->status));
    }
    /* Go's names are lower case and its own; libc's differ in the first letter for those that end a client */
    char *text = text_format("signal: %s%s", strsignal(WTERMSIG(child->status)),
                             WCOREDUMP(child->status) ? " (core dumped)" : "");
    text[8] |= 0x20;
    return text;
}
