/* vgpu-start: waits until its observer is ready, then becomes the program to run.
 *
 *     vgpu-start DESCRIPTOR PROGRAM ARGV0 [ARG]...
 *
 * One byte to the socket DESCRIPTOR says that vgpu-start is there: whoever seizes it before sees an execve too many.
 * One byte from it is the word to go; at its end, when the harness is gone, nothing is started. If the kernel refuses
 * to execute the program, the errno goes back on the same socket, which a successful execve closes.
 *
 * Before the word to go there may be a seccomp filter (observe/notify.h): an 'f' and its instructions, in one message.
 * The filter's listener goes back with one byte, or, without it, the errno with which the kernel refused.
 *
 * Static and without libc: LD_PRELOAD and LD_AUDIT, which are in its environment for the program, do nothing here. All
 * that execve keeps (mask and dispositions of signals, limits, session, directory, descriptors) stays as it was given.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <sys/prctl.h>
#include <sys/socket.h>

#include "vgpu/raw.h"

/* Since Linux 5.19: a signal does not end a call that its supervisor has begun to answer. Go's run-time library sends
 * itself signals all the time. */
#ifndef SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV
#define SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV (1UL << 5)
#endif

enum { CANNOT_EXECUTE = 126, FILTER_MAX = 256 };

/* In memory that is zero at the start: no memset is there. */
static struct {
    char skipped[7]; /* a message starts with the word, and its instructions are aligned */
    char word;
    struct sock_filter filter[FILTER_MAX];
} said;
static union {
    struct cmsghdr header;
    char bytes[CMSG_SPACE(sizeof(int))];
} passed;
static struct iovec one_byte;
static struct msghdr message;
static struct sock_fprog program;

static int number_of(const char *text) {
    int number = 0;
    for (; *text >= '0' && *text <= '9'; text++) {
        number = 10 * number + (*text - '0');
    }
    return number;
}

static _Noreturn void end(int status) {
    for (;;) {
        vgpu_raw3(SYS_exit_group, status, 0, 0);
    }
}

static long install(unsigned long flags) {
    return vgpu_raw3(SYS_seccomp, SECCOMP_SET_MODE_FILTER, (long)(SECCOMP_FILTER_FLAG_NEW_LISTENER | flags),
                     (long)&program);
}

/* The listener, or -errno. */
static long install_any(void) {
    long listener = install(SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV);
    return listener == -EINVAL ? install(0) : listener;
}

/* Sets the filter, of `size` bytes, and sends its listener. */
static void filter(int channel, long size) {
    program.filter = said.filter;
    program.len = (unsigned short)((unsigned long)size / sizeof(said.filter[0]));
    long listener = install_any();
    if (listener == -EACCES) {
        /* Only who could do anything anyway sets a filter that a set-user-ID program would have too. */
        vgpu_raw6(SYS_prctl, PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0, 0);
        listener = install_any();
    }
    if (listener < 0) {
        int32_t error = (int32_t)-listener;
        vgpu_raw3(SYS_write, channel, (long)&error, sizeof(error));
        return;
    }
    one_byte.iov_base = &said.word;
    one_byte.iov_len = sizeof(said.word);
    passed.header.cmsg_len = CMSG_LEN(sizeof(int));
    passed.header.cmsg_level = SOL_SOCKET;
    passed.header.cmsg_type = SCM_RIGHTS;
    *(int *)(void *)CMSG_DATA(&passed.header) = (int)listener;
    message.msg_iov = &one_byte;
    message.msg_iovlen = 1;
    message.msg_control = &passed;
    message.msg_controllen = sizeof(passed);
    vgpu_raw3(SYS_sendmsg, channel, (long)&message, 0);
    vgpu_raw3(SYS_close, listener, 0, 0);
}

/* `stack` is what the kernel leaves there: argc, argv, NULL, envp, NULL. */
_Noreturn void vgpu_start(long *stack);
_Noreturn void vgpu_start(long *stack) {
    long argc = stack[0];
    char **argv = (char **)(stack + 1);
    char **environment = argv + argc + 1;
    char word = '!';
    long got;
    int channel;
    int32_t error;

    if (argc < 4) {
        end(CANNOT_EXECUTE);
    }
    channel = number_of(argv[1]);
    vgpu_raw3(SYS_write, channel, (long)&word, sizeof(word));
    for (;;) {
        got = vgpu_raw3(SYS_read, channel, (long)&said.word, sizeof(said) - offsetof(typeof(said), word));
        if (got > 1 && said.word == 'f') {
            filter(channel, got - 1);
        } else if (got != -EINTR) {
            break;
        }
    }
    if (got != 1) {
        end(CANNOT_EXECUTE);
    }
    vgpu_raw3(SYS_fcntl, channel, F_SETFD, FD_CLOEXEC);
    error = (int32_t)-vgpu_raw3(SYS_execve, (long)argv[2], (long)(argv + 3), (long)environment);
    vgpu_raw3(SYS_write, channel, (long)&error, sizeof(error));
    end(CANNOT_EXECUTE);
}

/* The ABI's entry: the stack pointer is at argc, and no frame is there to return to. */
__asm__(".globl _start\n"
        "_start:\n"
        "    xorl %ebp, %ebp\n"
        "    movq %rsp, %rdi\n"
        "    andq $-16, %rsp\n"
        "    call vgpu_start\n");
