/* ptrace(2) for an observer of processes: the requests that it makes, in types that Python has. All requests for a
 * process must come from the one thread that seized it. Each answers 0, or the errno of a failure. */
#ifndef VGPU_OBSERVE_PTRACE_H
#define VGPU_OBSERVE_PTRACE_H

#include "observe/notify.h" /* for csrc/wire/cdef.h, which has this header of the room alone */

/* What the kernel reports, status >> 16 of waitpid; <sys/ptrace.h> has the same numbers, checked in ptrace.c. */
enum vgpu_observe_event {
    VGPU_EVENT_FORK = 1,
    VGPU_EVENT_VFORK = 2,
    VGPU_EVENT_CLONE = 3,
    VGPU_EVENT_EXEC = 4,
    VGPU_EVENT_SECCOMP = 7, /* a system call for which a filter answered SECCOMP_RET_TRACE */
    VGPU_EVENT_STOP = 128,  /* a new process's first stop, a group-stop or its end */
};

/* Traces a process and all that come from it, without stopping it; it dies with the thread that traces it. */
int vgpu_observe_seize(int pid);

/* Lets a stopped thread go on, with the signal that it had stopped for, or 0. */
int vgpu_observe_continue(int tid, int signal);

/* Leaves a thread in its group-stop until SIGCONT. */
int vgpu_observe_listen(int tid);

/* The number that comes with an event: the new process's, or, after execve, the former one of the thread. */
int vgpu_observe_message(int tid, unsigned long *message);

/* At VGPU_EVENT_SECCOMP: if that is a chdir of the supervisor's filter (notify.h), the thread's calls become open, with
 * VGPU_NOTIFY_ENTERS as its sixth argument, fchdir and close, and the answer that of chdir. For the stop of another
 * filter the call is ENOSYS, as without a tracer. 0: the thread is stopped behind its call. 1: something else became of
 * it meanwhile, and *status is what waitpid said of that. -1: it is not stopped any more, as SIGKILL ends what is
 * stopped, too; waitpid has yet to tell. */
int vgpu_observe_enter(int tid, int *status);

/* At a signal: if it has broken off a call that waited for the supervisor, that is made again behind its handler. */
void vgpu_observe_restart(int tid);

#endif
