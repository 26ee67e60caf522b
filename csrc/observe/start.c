/* vgpu-start: waits until its observer is ready, then becomes the program to run.
 *
 *     vgpu-start DESCRIPTOR PROGRAM ARGV0 [ARG]...
 *
 * One byte to the socket DESCRIPTOR says that vgpu-start is there: whoever seizes it before sees an execve too many.
 * One byte from it is the word to go; at its end, when the harness is gone, nothing is started. If the kernel refuses
 * to execute the program, the errno goes back on the same socket, which a successful execve closes.
 *
 * Static and without libc: LD_PRELOAD and LD_AUDIT, which are in its environment for the program, do nothing here. All
 * that execve keeps (mask and dispositions of signals, limits, session, directory, descriptors) stays as it was given.
 */
#include <errno.h>
#include <fcntl.h>

#include "vgpu/raw.h"

enum { CANNOT_EXECUTE = 126 };

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
    do {
        got = vgpu_raw3(SYS_read, channel, (long)&word, sizeof(word));
    } while (got == -EINTR);
    if (got != sizeof(word)) {
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
