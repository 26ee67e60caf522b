#include "observe/ptrace.h"

#include <errno.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/ptrace.h>

_Static_assert((int)VGPU_EVENT_FORK == (int)PTRACE_EVENT_FORK, "fork");
_Static_assert((int)VGPU_EVENT_VFORK == (int)PTRACE_EVENT_VFORK, "vfork");
_Static_assert((int)VGPU_EVENT_CLONE == (int)PTRACE_EVENT_CLONE, "clone");
_Static_assert((int)VGPU_EVENT_EXEC == (int)PTRACE_EVENT_EXEC, "exec");
_Static_assert((int)VGPU_EVENT_SECCOMP == (int)PTRACE_EVENT_SECCOMP, "seccomp");
_Static_assert((int)VGPU_EVENT_STOP == (int)PTRACE_EVENT_STOP, "stop");

static int answer(long result) {
    return result == -1 ? errno : 0;
}

int vgpu_observe_seize(int pid) {
    uintptr_t options = PTRACE_O_TRACEFORK | PTRACE_O_TRACEVFORK | PTRACE_O_TRACECLONE | PTRACE_O_TRACEEXEC |
                        PTRACE_O_TRACESECCOMP | PTRACE_O_TRACESYSGOOD | PTRACE_O_EXITKILL;
    return answer(ptrace(PTRACE_SEIZE, pid, NULL, (void *)options));
}

int vgpu_observe_continue(int tid, int signal) {
    return answer(ptrace(PTRACE_CONT, tid, NULL, (void *)(intptr_t)signal));
}

int vgpu_observe_listen(int tid) {
    return answer(ptrace(PTRACE_LISTEN, tid, NULL, NULL));
}

int vgpu_observe_message(int tid, unsigned long *message) {
    return answer(ptrace(PTRACE_GETEVENTMSG, tid, NULL, message));
}
